// SPDX-License-Identifier: GPL-2.0
/*
 * Tests kaio without enough memory. Each call is repeated: first its first
 * request to the kernel is refused (for memory, or for a copy from or to the
 * caller), then its second, and so on until it has no more. Whatever is
 * refused, the call succeeds or returns an error, no request is lost, and kaio
 * still works.
 *
 * These tests need a debug kernel: CONFIG_FAULT_INJECTION with FAILSLAB,
 * FAIL_PAGE_ALLOC and FAULT_INJECTION_USERCOPY. /proc/PID/fail-nth only refuses
 * what the thread itself asks for. The last tests refuse what a kworker asks
 * for on its behalf, one cache at a time.
 */
#include <sys/mount.h>

#include "mock_fixture.h"

#define DEBUGFS		"/sys/kernel/debug"
/* No call asks for more than this. */
#define MAX_FAULTS	1000
#define SECONDS		60

/* The number of requests in a round, and the size of the largest. */
#define NR		40
#define PAGES		8
#define SEGMENTS	32
/* No user has this uid or a greater one. */
#define SOME_UID	10000

/*
 * The functions below inject faults.
 */
static bool set_debug(const char *file, const char *text)
{
	const ssize_t len = strlen(text);
	char path[128];
	bool ok;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", DEBUGFS, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ok = fd >= 0 && write(fd, text, len) == len;
	close(fd);
	return ok;
}

/*
 * Makes all allocations and copies able to fail on request, without a message.
 */
static bool make_faults_possible(void)
{
	if (access(DEBUGFS "/failslab", F_OK))
		mount("debugfs", DEBUGFS, "debugfs", 0, NULL);
	return set_debug("failslab/ignore-gfp-wait", "N") &&
	       set_debug("failslab/verbose", "0") &&
	       set_debug("fail_page_alloc/ignore-gfp-wait", "N") &&
	       set_debug("fail_page_alloc/ignore-gfp-highmem", "N") &&
	       set_debug("fail_page_alloc/min-order", "0") &&
	       set_debug("fail_page_alloc/verbose", "0") &&
	       set_debug("fail_usercopy/verbose", "0");
}

/* Opens the fault counter of the calling thread. */
static int open_fault(void)
{
	return open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
}

/* Refuses request number @nth to the kernel from now on. */
static bool fault_at(int fault, int nth)
{
	char text[16];
	const int len = snprintf(text, sizeof(text), "%d", nth);

	return pwrite(fault, text, len, 0) == len;
}

/* Stops injecting faults. Returns true if the kernel has refused anything. */
static bool fault_came(int fault)
{
	char text[16] = "";
	/* These calls copy too, so the fault may hit them. */
	const bool came = pread(fault, text, sizeof(text) - 1, 0) > 0 && !atoi(text);

	return (fault_at(fault, 0) || fault_at(fault, 0)) && came;
}

/* Returns true for an error that a call may return. */
static bool is_refusal(long ret)
{
	return ret == -ENOMEM || ret == -EAGAIN || ret == -EFAULT;
}

/* Returns true for an error that an event may have. */
static bool failed(__s64 res)
{
	return res == -ENOMEM || res == -EFAULT;
}

/* Returns the number of rings that this process has mapped. */
static int count_rings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[256];
	int count = 0;

	while (maps && fgets(line, sizeof(line), maps))
		count += !!strstr(line, "[kaio]");
	if (maps)
		fclose(maps);
	return count;
}

/*
 * Each round makes a new context. The files are of all kinds.
 */
FIXTURE(nomem)
{
	int fault;
	int fd;
	__u64 ctx;
	int ends[2];
	int count;
	int file;
	int direct;
	int mock;
	/* A second open file of the device, with a context. */
	int second;
	__u64 second_ctx;
	/*
	 * The round, its requests, and how many of them were submitted before
	 * the call.
	 */
	int round;
	/*
	 * For faults of a cache, its index and the number of the allocation
	 * that is refused.
	 */
	int cache;
	int nth;
	struct iocb iocbs[NR];
	struct iocb *list[NR];
	__s64 want[NR];
	__s64 res[NR];
	int nr;
	int before;
	/* True if anything was refused in the round. */
	bool came;
	/* True if everything that can be refused was refused. */
	bool over;
	/* The events that the call took. */
	struct io_event taken[NR];
	/* The state before the test. */
	__s64 kaio_nr;
	long submitted;
	char *buf;
	struct iovec iov[SEGMENTS];
};

FIXTURE_VARIANT(nomem)
{
	/* Runs before the call. */
	void (*prepare)(struct __test_metadata *const _metadata,
			FIXTURE_DATA(nomem) *self);
	/* Makes the call, and its result if nothing is refused. */
	long (*call)(FIXTURE_DATA(nomem) *self);
	long ok;
	/* Checks the round after all its requests have ended. */
	void (*check)(struct __test_metadata *const _metadata,
		      FIXTURE_DATA(nomem) *self, long ret);
	/* The call returns the number of requests that it started. */
	bool submits;
	/* The call returns the number of events that it took. */
	bool takes;
	/* The call ends the context with all its requests. */
	bool ends;
	/* The call injects the fault itself and reports whether it came. */
	bool arms;
	/* Each request has its normal result, whatever is refused. */
	bool exact;
	/* The call asks the kernel for nothing that can be refused. */
	bool asks_nothing;
	/* A second result that a request may have. */
	__s64 other;
};

FIXTURE_SETUP(nomem)
{
	self->fd = -1;
	self->fault = open_fault();
	if (self->fault >= 0 && !make_faults_possible())
		SKIP(return, "there is no failslab, fail_page_alloc or fail_usercopy");
	self->fd = open_kaio(_metadata);
	if (self->fd < 0)
		return;
	ASSERT_EQ(0, pipe2(self->ends, O_CLOEXEC));
	self->count = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ASSERT_LE(0, self->count);
	self->file = open_pattern(DISK_DIR, 0, PAGES * PAGE);
	ASSERT_LE(0, self->file);
	self->direct = reopen(self->file, O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->direct);
	self->buf = map_guarded(PAGES);
	ASSERT_NE(NULL, self->buf);
	self->mock = -1;
	self->second = -1;
	self->nth = 1;
	self->kaio_nr = kaio_nr(self->fd);
	ASSERT_LE(0, self->kaio_nr);
	/*
	 * Do once what is allocated only once, which would otherwise count in
	 * the first round and in no other.
	 */
	ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &self->ctx));
	ASSERT_EQ(0, kaio_destroy(self->fd, self->ctx));
}

FIXTURE_TEARDOWN(nomem)
{
	if (self->fd < 0)
		return;
	EXPECT_EQ(self->kaio_nr, kaio_nr(self->fd));
	expect_all_completed(_metadata, self->fd);
	close(self->fd);
}

/* Adds a request with the expected result @want to this round. */
static struct iocb *new_iocb(FIXTURE_DATA(nomem) *self, __s64 want)
{
	self->want[self->nr] = want;
	self->list[self->nr] = &self->iocbs[self->nr];
	return self->list[self->nr++];
}

static void add_noops(FIXTURE_DATA(nomem) *self, int nr)
{
	while (nr--)
		prep_noop(new_iocb(self, 0), self->fd);
}

static void add_pipe_reads(FIXTURE_DATA(nomem) *self, int nr)
{
	while (nr--)
		prep_pread(new_iocb(self, 1), self->ends[0], self->buf, 1, 0);
}

static void add_polls(FIXTURE_DATA(nomem) *self, int nr)
{
	while (nr--)
		prep_poll(new_iocb(self, IN), self->ends[0], POLLIN);
}

static void add_file_reads(FIXTURE_DATA(nomem) *self, int nr)
{
	while (nr--)
		prep_pread(new_iocb(self, PAGE), self->file, self->buf, PAGE, 0);
}

/*
 * Submits the requests that the round has so far. They do not belong to the
 * call.
 */
static void submit_before(struct __test_metadata *const _metadata,
			  FIXTURE_DATA(nomem) *self)
{
	self->before = self->nr;
	ASSERT_EQ(self->nr, kaio_submit(self->fd, self->ctx, self->nr, self->list));
}

/* Submits the other requests. */
static long call_submit(FIXTURE_DATA(nomem) *self)
{
	return kaio_submit(self->fd, self->ctx, self->nr - self->before,
			   self->list + self->before);
}

/*
 * The variants below are the calls.
 */
static void prepare_noop(struct __test_metadata *const _metadata,
			 FIXTURE_DATA(nomem) *self)
{
	(void)_metadata;
	add_noops(self, 1);
}

FIXTURE_VARIANT_ADD(nomem, noop) {
	.prepare = prepare_noop,
	.call = call_submit,
	.submits = true,
	.asks_nothing = true,
	.ok = 1,
};

/* The eventfd counts exactly the requests that have an event. */
static void prepare_resfd(struct __test_metadata *const _metadata,
			  FIXTURE_DATA(nomem) *self)
{
	int i;

	(void)_metadata;
	add_noops(self, 1);
	add_pipe_reads(self, 1);
	for (i = 0; i < 2; i++) {
		self->iocbs[i].aio_flags = IOCB_FLAG_RESFD;
		self->iocbs[i].aio_resfd = self->count;
	}
}

static void check_resfd(struct __test_metadata *const _metadata,
			FIXTURE_DATA(nomem) *self, long ret)
{
	__u64 count = 0;

	if (ret > 0)
		ASSERT_EQ((ssize_t)sizeof(count),
			  read(self->count, &count, sizeof(count)));
	EXPECT_EQ(ret > 0 ? ret : 0, (long)count);
	EXPECT_EQ(-1, read(self->count, &count, sizeof(count)));
}

FIXTURE_VARIANT_ADD(nomem, resfd) {
	.prepare = prepare_resfd,
	.call = call_submit,
	.check = check_resfd,
	.submits = true,
	.ok = 2,
};

static void prepare_pipe_read(struct __test_metadata *const _metadata,
			      FIXTURE_DATA(nomem) *self)
{
	(void)_metadata;
	add_pipe_reads(self, 1);
}

FIXTURE_VARIANT_ADD(nomem, pipe_read) {
	.prepare = prepare_pipe_read,
	.call = call_submit,
	.submits = true,
	.ok = 1,
};

static void prepare_poll(struct __test_metadata *const _metadata,
			 FIXTURE_DATA(nomem) *self)
{
	(void)_metadata;
	add_polls(self, 1);
}

FIXTURE_VARIANT_ADD(nomem, poll) {
	.prepare = prepare_poll,
	.call = call_submit,
	.submits = true,
	.ok = 1,
};

/*
 * The request needs an entry for each wait queue, and only two of them need no
 * allocation.
 */
static void prepare_poll_of_many(struct __test_metadata *const _metadata,
				 FIXTURE_DATA(nomem) *self)
{
	self->mock = open_mock(_metadata, KAIO_MOCK);
	if (self->mock < 0)
		return;
	ASSERT_EQ(0, mock_program(self->mock, 3, 0, NOT_NOW));
	prep_poll(new_iocb(self, IN), self->mock, POLLIN);
}

static void check_mock(struct __test_metadata *const _metadata,
		       FIXTURE_DATA(nomem) *self, long ret)
{
	(void)ret;
	EXPECT_EQ(0, mock_waiters(self->mock));
	ASSERT_EQ(0, close(self->mock));
	self->mock = -1;
}

FIXTURE_VARIANT_ADD(nomem, poll_of_many) {
	.prepare = prepare_poll_of_many,
	.call = call_submit,
	.check = check_mock,
	.submits = true,
	.ok = 1,
};

/* The data comes from the disk. */
static void prepare_cold_read(struct __test_metadata *const _metadata,
			      FIXTURE_DATA(nomem) *self)
{
	ASSERT_EQ(0, posix_fadvise(self->file, 0, 0, POSIX_FADV_DONTNEED));
	memset(self->buf, 0, PAGES * PAGE);
	prep_pread(new_iocb(self, PAGES * PAGE), self->file, self->buf,
		   PAGES * PAGE, 0);
}

/* The read has as many bytes of the file as its result says. */
static void check_read(struct __test_metadata *const _metadata,
		       FIXTURE_DATA(nomem) *self, long ret)
{
	if (ret == 1 && self->res[0] > 0)
		EXPECT_TRUE(is_pattern(self->buf, self->res[0], 0, 0));
}

FIXTURE_VARIANT_ADD(nomem, cold_read) {
	.prepare = prepare_cold_read,
	.call = call_submit,
	.check = check_read,
	.submits = true,
	.ok = 1,
};

static void prepare_direct_read(struct __test_metadata *const _metadata,
				FIXTURE_DATA(nomem) *self)
{
	(void)_metadata;
	memset(self->buf, 0, PAGES * PAGE);
	prep_pread(new_iocb(self, PAGES * PAGE), self->direct, self->buf,
		   PAGES * PAGE, 0);
}

FIXTURE_VARIANT_ADD(nomem, direct_read) {
	.prepare = prepare_direct_read,
	.call = call_submit,
	.check = check_read,
	.submits = true,
	.ok = 1,
};

/* In odd rounds the data is in memory. */
static void prepare_vector_read(struct __test_metadata *const _metadata,
				FIXTURE_DATA(nomem) *self)
{
	int i;

	if (self->round % 2 == 0)
		ASSERT_EQ(0, posix_fadvise(self->file, 0, 0, POSIX_FADV_DONTNEED));
	memset(self->buf, 0, PAGES * PAGE);
	for (i = 0; i < SEGMENTS; i++) {
		self->iov[i].iov_base = self->buf + i * 512;
		self->iov[i].iov_len = 512;
	}
	prep_preadv(new_iocb(self, SEGMENTS * 512), self->file, self->iov,
		    SEGMENTS, 0);
}

FIXTURE_VARIANT_ADD(nomem, vector_read) {
	.prepare = prepare_vector_read,
	.call = call_submit,
	.check = check_read,
	.submits = true,
	.ok = 1,
};

/* The data differs in each round. */
static void prepare_write(FIXTURE_DATA(nomem) *self, int file)
{
	fill_pattern(self->buf, PAGE, self->round, 0);
	prep_pwrite(new_iocb(self, PAGE), file, self->buf, PAGE, 0);
}

static void prepare_direct_write(struct __test_metadata *const _metadata,
				 FIXTURE_DATA(nomem) *self)
{
	(void)_metadata;
	prepare_write(self, self->direct);
}

static void prepare_buffered_write(struct __test_metadata *const _metadata,
				   FIXTURE_DATA(nomem) *self)
{
	(void)_metadata;
	prepare_write(self, self->file);
}

/*
 * If the write has succeeded, all its data is in the file. If it was refused,
 * none is.
 */
static void check_write(struct __test_metadata *const _metadata,
			FIXTURE_DATA(nomem) *self, long ret)
{
	memset(self->buf, 0, PAGE);
	ASSERT_EQ((ssize_t)PAGE, pread(self->file, self->buf, PAGE, 0));
	if (ret == 1 && self->res[0] == (__s64)PAGE)
		EXPECT_TRUE(is_pattern(self->buf, PAGE, self->round, 0));
	if (ret < 0)
		EXPECT_FALSE(is_pattern(self->buf, PAGE, self->round, 0));
}

FIXTURE_VARIANT_ADD(nomem, direct_write) {
	.prepare = prepare_direct_write,
	.call = call_submit,
	.check = check_write,
	.submits = true,
	.ok = 1,
};

FIXTURE_VARIANT_ADD(nomem, buffered_write) {
	.prepare = prepare_buffered_write,
	.call = call_submit,
	.check = check_write,
	.submits = true,
	.ok = 1,
};

static void prepare_batch(struct __test_metadata *const _metadata,
			  FIXTURE_DATA(nomem) *self)
{
	int i;

	(void)_metadata;
	for (i = 0; i < NR / 8; i++) {
		add_noops(self, 2);
		add_pipe_reads(self, 2);
		add_polls(self, 2);
		add_file_reads(self, 2);
	}
}

FIXTURE_VARIANT_ADD(nomem, batch) {
	.prepare = prepare_batch,
	.call = call_submit,
	.submits = true,
	.ok = NR,
};

static void prepare_cancel(struct __test_metadata *const _metadata,
			   FIXTURE_DATA(nomem) *self)
{
	add_pipe_reads(self, 2);
	self->want[0] = -ECANCELED;
	submit_before(_metadata, self);
}

static long call_cancel(FIXTURE_DATA(nomem) *self)
{
	return kaio_cancel(self->fd, self->ctx, &self->iocbs[0]);
}

/*
 * If the answer of the cancel could not be copied, the request may complete
 * normally.
 */
FIXTURE_VARIANT_ADD(nomem, cancel) {
	.prepare = prepare_cancel,
	.call = call_cancel,
	.ok = -EINPROGRESS,
	.other = 1,
};

static void prepare_getevents(struct __test_metadata *const _metadata,
			      FIXTURE_DATA(nomem) *self)
{
	add_noops(self, NR / 2);
	submit_before(_metadata, self);
}

static long call_getevents(FIXTURE_DATA(nomem) *self)
{
	sigset_t mask;

	sigfillset(&mask);
	return kaio_pgetevents(self->fd, self->ctx, NR / 2, NR, self->taken,
			       &patience, &mask);
}

static void check_mask(struct __test_metadata *const _metadata,
		       FIXTURE_DATA(nomem) *self, long ret)
{
	sigset_t mask;

	(void)self;
	(void)ret;
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, NULL, &mask));
	EXPECT_FALSE(sigismember(&mask, SIGUSR1));
}

FIXTURE_VARIANT_ADD(nomem, getevents) {
	.prepare = prepare_getevents,
	.call = call_getevents,
	.check = check_mask,
	.takes = true,
	.ok = NR / 2,
};

static void prepare_submit_wait(struct __test_metadata *const _metadata,
				FIXTURE_DATA(nomem) *self)
{
	add_noops(self, NR / 4);
	submit_before(_metadata, self);
	add_pipe_reads(self, 1);
	add_noops(self, NR / 4);
	add_polls(self, 1);
}

static long call_submit_wait(FIXTURE_DATA(nomem) *self)
{
	return kaio_submit_wait(self->fd, self->ctx, self->nr - self->before,
				self->list + self->before, NR / 2, NR,
				self->taken, &patience, NULL);
}

FIXTURE_VARIANT_ADD(nomem, submit_wait) {
	.prepare = prepare_submit_wait,
	.call = call_submit_wait,
	.takes = true,
	.ok = NR / 2,
};

static void prepare_destroy(struct __test_metadata *const _metadata,
			    FIXTURE_DATA(nomem) *self)
{
	prepare_write(self, self->direct);
	add_pipe_reads(self, 2);
	add_polls(self, 2);
	submit_before(_metadata, self);
}

static long call_destroy(FIXTURE_DATA(nomem) *self)
{
	return kaio_destroy(self->fd, self->ctx);
}

FIXTURE_VARIANT_ADD(nomem, destroy) {
	.prepare = prepare_destroy,
	.call = call_destroy,
	.ends = true,
};

static void prepare_nothing(struct __test_metadata *const _metadata,
			    FIXTURE_DATA(nomem) *self)
{
	(void)_metadata;
	(void)self;
}

static long call_setup(FIXTURE_DATA(nomem) *self)
{
	return kaio_setup(self->fd, NR_EVENTS, &self->second_ctx);
}

static void check_setup(struct __test_metadata *const _metadata,
			FIXTURE_DATA(nomem) *self, long ret)
{
	EXPECT_EQ(ret ? 1 : 2, kaio_stat(self->fd, "contexts"));
	EXPECT_EQ(self->kaio_nr + (ret ? 1 : 2) * kaio_capacity(NR_EVENTS),
		  kaio_nr(self->fd));
	if (!ret)
		EXPECT_EQ(0, kaio_destroy(self->fd, self->second_ctx));
}

FIXTURE_VARIANT_ADD(nomem, setup) {
	.prepare = prepare_nothing,
	.call = call_setup,
	.check = check_setup,
};

/* kaio does not know this user yet. */
static void prepare_open(struct __test_metadata *const _metadata,
			 FIXTURE_DATA(nomem) *self)
{
	ASSERT_EQ(0, setresuid(SOME_UID + self->round, -1, -1));
}

static long call_open(FIXTURE_DATA(nomem) *self)
{
	self->second = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	return self->second < 0 ? -errno : 0;
}

/* After a failure the next open works. */
static void check_open(struct __test_metadata *const _metadata,
		       FIXTURE_DATA(nomem) *self, long ret)
{
	struct iocb iocb;

	if (ret)
		self->second = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->second);
	ASSERT_EQ(0, kaio_setup(self->second, 1, &self->second_ctx));
	prep_noop(&iocb, self->second);
	EXPECT_EQ(0, kaio_do(self->second, self->second_ctx, &iocb));
	EXPECT_EQ(0, close(self->second));
	ASSERT_EQ(0, setresuid(0, -1, -1));
}

FIXTURE_VARIANT_ADD(nomem, open) {
	.prepare = prepare_open,
	.call = call_open,
	.check = check_open,
};

static void prepare_close(struct __test_metadata *const _metadata,
			  FIXTURE_DATA(nomem) *self)
{
	struct iocb iocbs[3], *list[] = { &iocbs[0], &iocbs[1], &iocbs[2] };

	self->second = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->second);
	ASSERT_EQ(0, kaio_setup(self->second, NR_EVENTS, &self->second_ctx));
	fill_pattern(self->buf, PAGE, self->round, 0);
	prep_pwrite(&iocbs[0], self->direct, self->buf, PAGE, 0);
	prep_pread(&iocbs[1], self->ends[0], self->buf, 1, 0);
	prep_poll(&iocbs[2], self->ends[0], POLLIN);
	ASSERT_EQ(3, kaio_submit(self->second, self->second_ctx, 3, list));
}

static long call_close(FIXTURE_DATA(nomem) *self)
{
	return close(self->second) ? -errno : 0;
}

/* The requests in flight have ended, so nothing is charged. */
static void check_close(struct __test_metadata *const _metadata,
			FIXTURE_DATA(nomem) *self, long ret)
{
	EXPECT_EQ(0, ret);
	EXPECT_EQ(self->kaio_nr + kaio_capacity(NR_EVENTS), kaio_nr(self->fd));
	EXPECT_EQ(-1, fcntl(self->second, F_GETFD));
}

FIXTURE_VARIANT_ADD(nomem, close) {
	.prepare = prepare_close,
	.call = call_close,
	.check = check_close,
};

/*
 * The thread that waits for events runs the parked read. The POLL ends in the
 * wake-up.
 */
static void prepare_helped(struct __test_metadata *const _metadata,
			   FIXTURE_DATA(nomem) *self)
{
	add_pipe_reads(self, 1);
	add_polls(self, 1);
	submit_before(_metadata, self);
}

static long wait_with_fault(void *arg)
{
	FIXTURE_DATA(nomem) *self = arg;
	const int fault = open_fault();
	long ret = -ENOMSG;

	if (fault_at(fault, self->round)) {
		ret = kaio_getevents(self->fd, self->ctx, 2, 2, self->taken,
				     &patience);
		self->came = fault_came(fault);
	}
	close(fault);
	return ret;
}

/* Returns true if the thread sleeps, or has ended before that. */
static bool sleeps_or_has_ended(const struct sleeper *sleeper)
{
	const pid_t tid = __atomic_load_n(&sleeper->tid, __ATOMIC_ACQUIRE);
	const char state = tid ? task_state(getpid(), tid) : 'R';

	return state == 'S' || !state;
}

static long call_helped(FIXTURE_DATA(nomem) *self)
{
	struct sleeper sleeper = { .call = wait_with_fault, .arg = self };
	const long helped = kaio_stat(self->fd, "helped");
	long ret;

	if (pthread_create(&sleeper.thread, NULL, run_sleeper, &sleeper) ||
	    !wait_until(sleeps_or_has_ended(&sleeper)) ||
	    write(self->ends[1], "ab", 2) != 2)
		return -ENOMSG;
	ret = woken(&sleeper);
	/* If a kworker was faster, repeat the round. */
	self->over = !self->came && kaio_stat(self->fd, "helped") == helped + 1;
	return ret;
}

FIXTURE_VARIANT_ADD(nomem, helped) {
	.prepare = prepare_helped,
	.call = call_helped,
	.takes = true,
	.arms = true,
	.ok = 2,
};

/*
 * Kworkers allocate from the caches for charged memory. Other tasks may
 * allocate from them too, and it does not matter whose allocation is refused.
 */
static const struct cache {
	const char *name;
	int size;
} caches[] = {
	{ "kmalloc-cg-8", 8 },	   { "kmalloc-cg-16", 16 },
	{ "kmalloc-cg-32", 32 },   { "kmalloc-cg-64", 64 },
	{ "kmalloc-cg-128", 128 }, { "kmalloc-cg-256", 256 },
	{ "kmalloc-cg-512", 512 },
};

static bool write_debug(const char *file, unsigned long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", value);
	return set_debug(file, text);
}

static bool let_cache_fail(const struct cache *cache, const char *text)
{
	char path[128];
	bool ok;
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/failslab", cache->name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ok = fd >= 0 && write(fd, text, 1) == 1;
	close(fd);
	return ok;
}

/*
 * Refuses allocation number @nth of any task from @cache: the kernel subtracts
 * each allocation from failslab/space, and refuses one that is not smaller than
 * the rest.
 */
static bool cache_fault_at(const struct cache *cache, int nth)
{
	return let_cache_fail(cache, "1") &&
	       set_debug("failslab/cache-filter", "Y") &&
	       set_debug("failslab/task-filter", "N") &&
	       set_debug("failslab/interval", "1") &&
	       write_debug("failslab/space", (nth - 1) * cache->size + 1) &&
	       set_debug("failslab/times", "1") &&
	       set_debug("failslab/probability", "100");
}

static bool cache_fault_came(const struct cache *cache)
{
	char text[16] = "";
	const int fd = open(DEBUGFS "/failslab/times", O_RDONLY | O_CLOEXEC);
	const bool came = read(fd, text, sizeof(text) - 1) > 0 && !atoi(text);

	close(fd);
	return set_debug("failslab/probability", "0") &&
	       set_debug("failslab/cache-filter", "N") &&
	       let_cache_fail(cache, "0") && came;
}

static long call_in_workers(FIXTURE_DATA(nomem) *self)
{
	const struct cache *cache = &caches[self->cache];
	long ret;

	if (!cache_fault_at(cache, self->nth))
		return -ENOMSG;
	ret = call_submit(self);
	if (ret > 0 && kaio_peek(self->fd, self->ctx, ret, ret, &patience) != ret)
		ret = -ETIME;
	self->came = cache_fault_came(cache);
	self->nth++;
	if (!self->came) {
		self->nth = 1;
		self->cache++;
	}
	self->over = self->cache == ARRAY_SIZE(caches);
	return ret;
}

/* A wait for a page is possible without this memory too. */
FIXTURE_VARIANT_ADD(nomem, cold_read_in_workers) {
	.prepare = prepare_cold_read,
	.call = call_in_workers,
	.check = check_read,
	.submits = true,
	.arms = true,
	.exact = true,
	.ok = 1,
};

/*
 * The functions below run a round.
 */
static void begin_round(struct __test_metadata *const _metadata,
			FIXTURE_DATA(nomem) *self, int round)
{
	self->round = round;
	self->nr = 0;
	self->before = 0;
	memset(self->res, 0, sizeof(self->res));
	drain_fd(self->ends[0]);
	self->submitted = kaio_stat(self->fd, "submitted");
	ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &self->ctx));
	ASSERT_EQ(1, count_rings());
}

/*
 * Expects that each accepted request has one event, with its normal result
 * unless something was refused.
 */
static void take_events(struct __test_metadata *const _metadata,
			FIXTURE_DATA(nomem) *self,
			const FIXTURE_VARIANT(nomem) *variant, long accepted,
			long taken)
{
	static const char bytes[NR];
	struct io_event *event = self->taken;
	bool seen[NR] = {};
	int odd = 0;
	long i;

	ASSERT_EQ((ssize_t)sizeof(bytes),
		  write(self->ends[1], bytes, sizeof(bytes)));
	if (self->mock >= 0)
		ASSERT_EQ(0, mock_wake(self->mock, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(accepted - taken, kaio_wait(self->fd, self->ctx,
					      accepted - taken, event + taken));
	for (; event < self->taken + accepted; event++) {
		i = (struct iocb *)(uintptr_t)event->obj - self->iocbs;
		ASSERT_LE(0, i);
		ASSERT_GT(accepted, i);
		EXPECT_FALSE(seen[i]);
		seen[i] = true;
		EXPECT_EQ(self->iocbs[i].aio_data, event->data);
		EXPECT_EQ(0, event->res2);
		self->res[i] = event->res;
		if (event->res == self->want[i])
			continue;
		odd++;
		EXPECT_TRUE(!variant->exact &&
			    (failed(event->res) ||
			     (variant->other && event->res == variant->other)))
		{
			TH_LOG("request %ld has %lld, and should have %lld", i,
			       event->res, self->want[i]);
		}
	}
	EXPECT_GE(self->came ? 1 : 0, odd);
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 1, event, &no_wait));
}

/* Expects that nothing is left of the round, and that kaio works. */
static void end_round(struct __test_metadata *const _metadata,
		      FIXTURE_DATA(nomem) *self, bool ended)
{
	struct iocb iocb;

	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
	if (!ended) {
		drain_fd(self->ends[0]);
		prep_pread(&iocb, self->ends[0], self->buf, 1, 0);
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
		EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
		prep_noop(&iocb, self->fd);
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
		ASSERT_EQ(0, kaio_destroy(self->fd, self->ctx));
	}
	EXPECT_EQ(-EINVAL, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(0, kaio_stat(self->fd, "contexts"));
	EXPECT_EQ(self->kaio_nr, kaio_nr(self->fd));
	EXPECT_EQ(0, count_rings());
}

/* Refuses request number @round to the kernel, or nothing if @round is 0. */
static long run_round(struct __test_metadata *const _metadata,
		      FIXTURE_DATA(nomem) *self,
		      const FIXTURE_VARIANT(nomem) *variant, int round)
{
	long ret, accepted, taken;

	begin_round(_metadata, self, round);
	variant->prepare(_metadata, self);
	if (variant->arms || !round) {
		ret = variant->call(self);
	} else {
		if (!fault_at(self->fault, round))
			return -EBADF;
		ret = variant->call(self);
		self->came = fault_came(self->fault);
		self->over = !self->came;
	}
	accepted = kaio_stat(self->fd, "submitted") - self->submitted;
	if (variant->submits)
		EXPECT_EQ(self->before + (ret > 0 ? ret : 0), accepted);
	taken = variant->takes && ret > 0 ? ret : 0;
	if (!variant->ends)
		take_events(_metadata, self, variant, accepted, taken);
	if (variant->check)
		variant->check(_metadata, self, ret);
	end_round(_metadata, self, variant->ends);
	return ret;
}

TEST_F_TIMEOUT(nomem, nothing_is_refused, SECONDS)
{
	if (variant->arms)
		SKIP(return, "it is about what is refused elsewhere");
	EXPECT_EQ(variant->ok, run_round(_metadata, self, variant, 0));
}

TEST_F_TIMEOUT(nomem, anything_is_refused, SECONDS)
{
	int round, faults = 0;
	long ret;

	if (self->fault < 0)
		SKIP(return, "there is no /proc/PID/fail-nth: CONFIG_FAULT_INJECTION");
	for (round = 1; !self->over; round++) {
		ASSERT_GT(MAX_FAULTS, round);
		ret = run_round(_metadata, self, variant, round);
		faults += self->came;
		if (ret != variant->ok)
			EXPECT_TRUE(self->came &&
				    (is_refusal(ret) || (variant->submits && ret > 0) ||
				     (variant->takes && ret >= 0)));
		if (_metadata->exit_code) {
			TH_LOG("round %d, which returned %ld", round, ret);
			break;
		}
	}
	TH_LOG("%d faults", faults);
	EXPECT_TRUE(variant->asks_nothing ? !faults : faults > 0);
}

TEST_HARNESS_MAIN
