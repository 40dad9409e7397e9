// SPDX-License-Identifier: GPL-2.0
/*
 * Tests the promise that submitting never blocks, whatever the file. The
 * scheduler counts sleeps, so a busy host does not falsify the result. The
 * duration of a call is compared with native AIO in the same guest.
 */
#include "devices.h"
#include "blocking_threads.h"
#include "sleeps.h"

/*
 * BOUND is what a submit call usually takes at most. SLOW is the time of a
 * device for which native AIO waits. ONE_BOUND is the limit for each submit
 * call: the host may take a moment, but native AIO is far above this limit each
 * time.
 */
#define BOUND		(4 * NSEC_PER_MSEC)
#define SLOW		(100 * BOUND)
#define ONE_BOUND	(SLOW / 4)

/*
 * The context is full of requests that cannot be done yet.
 */
enum {
	PIPE,
	SOCKET,
	INOTIFY,
	COLD,
	NR_KINDS,
	NR_EACH = 64,
	NR_MIX = NR_KINDS * NR_EACH,
};

static const char *const kind_names[] = { "pipe", "socket", "inotify", "cold" };

FIXTURE(mix)
{
	int fd;
	__u64 ctx;
	struct null_blk dev;
	int cold;
	int inotify;
	int pipes[NR_EACH][2];
	int sockets[NR_EACH][2];
	/* Request @i is number @i / NR_KINDS of kind @i % NR_KINDS. */
	struct iocb iocbs[NR_MIX];
	struct io_event events[NR_MIX];
	bool cancelled[NR_MIX];
	char *bufs;
};

static char *buf_of(const FIXTURE_DATA(mix) *self, int i)
{
	return self->bufs + i * PAGE;
}

FIXTURE_SETUP(mix)
{
	int i, k;

	self->cold = -1;
	if (!open_context(_metadata, &self->fd, NR_MIX, &self->ctx))
		return;
	if (!null_blk_make(&self->dev, "kaio-cold", SLOW, NULL))
		SKIP(return, "there is no null_blk");
	self->bufs = map_guarded(NR_MIX);
	ASSERT_NE(NULL, self->bufs);
	self->cold = open(self->dev.node, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->cold);
	/* Without readahead, each page needs a wait of its own. */
	ASSERT_EQ(0, posix_fadvise(self->cold, 0, 0, POSIX_FADV_RANDOM));
	fill_pattern(self->bufs, NR_MIX * PAGE, 1, 0);
	ASSERT_EQ((ssize_t)(NR_MIX * PAGE),
		  pwrite(self->cold, self->bufs, NR_MIX * PAGE, 0));
	ASSERT_TRUE(drop_cache(self->cold));
	memset(self->bufs, 0, NR_MIX * PAGE);
	self->inotify = inotify_open();
	ASSERT_LE(0, self->inotify);
	for (i = 0; i < NR_EACH; i++) {
		ASSERT_EQ(0, pipe2(self->pipes[i], O_CLOEXEC));
		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
					self->sockets[i]));
	}
	for (i = 0; i < NR_MIX; i++) {
		struct iocb *iocb = &self->iocbs[i];
		char *buf = buf_of(self, i);

		k = i / NR_KINDS;
		switch (i % NR_KINDS) {
		case PIPE:
			prep_pread(iocb, self->pipes[k][0], buf, PAGE, 0);
			break;
		case SOCKET:
			prep_pread(iocb, self->sockets[k][0], buf, PAGE, 0);
			break;
		case INOTIFY:
			prep_pread(iocb, self->inotify, buf, INOTIFY_SIZE, 0);
			break;
		case COLD:
			prep_pread(iocb, self->cold, buf, PAGE, k * PAGE);
			break;
		}
		iocb->aio_data = i;
	}
}

FIXTURE_TEARDOWN(mix)
{
	kaio_destroy(self->fd, self->ctx);
	close(self->cold);
	close(self->fd);
	null_blk_end(&self->dev);
}

static int compare_times(const void *a, const void *b)
{
	const __s64 x = *(const __s64 *)a, y = *(const __s64 *)b;

	return x < y ? -1 : x > y;
}

/*
 * Submits the requests one by one. No call sleeps, none takes long, and most
 * are quick.
 */
static void submit_mix(struct __test_metadata *const _metadata,
		       FIXTURE_DATA(mix) *self)
{
	__s64 took[NR_KINDS][NR_EACH];
	int i;

	for (i = 0; i < NR_MIX; i++) {
		const long before = sleeps();
		const __s64 start = now_ns();

		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx,
					     &self->iocbs[i]));
		took[i % NR_KINDS][i / NR_KINDS] = now_ns() - start;
		EXPECT_GT(ONE_BOUND, took[i % NR_KINDS][i / NR_KINDS])
		{
			TH_LOG("read %d of %s", i / NR_KINDS,
			       kind_names[i % NR_KINDS]);
		}
		EXPECT_EQ(before, sleeps())
		{
			TH_LOG("read %d of %s", i / NR_KINDS,
			       kind_names[i % NR_KINDS]);
		}
	}
	for (i = 0; i < NR_KINDS; i++) {
		qsort(took[i], NR_EACH, sizeof(took[i][0]), compare_times);
		EXPECT_GT(BOUND, took[i][NR_EACH / 2])
		{
			TH_LOG("median read of %s", kind_names[i]);
		}
	}
}

/* Expects the byte that was written for request @i. */
static void expect_byte(struct __test_metadata *const _metadata,
			const FIXTURE_DATA(mix) *self, int i)
{
	EXPECT_EQ('a' + i % 23, buf_of(self, i)[0]);
	EXPECT_EQ(0, buf_of(self, i)[1]);
}

TEST_F_TIMEOUT(mix, half_done_half_cancelled, 120)
{
	bool seen[NR_MIX] = {}, raised[NR_MIX] = {};
	int nr_cancelled = 0, nr_raised = 0;
	int i, j;

	submit_mix(_metadata, self);
	EXPECT_EQ(NR_MIX, kaio_stat(self->fd, "submitted"));

	/* Cancel two of every three requests that wait for another process. */
	for (i = j = 0; i < NR_MIX; i++)
		self->cancelled[i] = i % NR_KINDS != COLD && j++ % 3;
	for (i = 0; i < NR_MIX; i++) {
		if (!self->cancelled[i])
			continue;
		nr_cancelled++;
		ASSERT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx,
						    &self->iocbs[i]))
		{
			TH_LOG("a %s", kind_names[i % NR_KINDS]);
		}
	}
	ASSERT_EQ(NR_MIX / 2, nr_cancelled);
	/*
	 * A request that gets the turn of a cancelled one is tried at that
	 * moment.
	 */
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "cancelled") ==
			       nr_cancelled));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &self->iocbs[1]));

	/* The other requests get what they wait for. */
	for (i = 0; i < NR_MIX; i++) {
		const char c = 'a' + i % 23;
		const int k = i / NR_KINDS;

		if (self->cancelled[i])
			continue;
		switch (i % NR_KINDS) {
		case PIPE:
			ASSERT_EQ(1, write(self->pipes[k][1], &c, 1));
			break;
		case SOCKET:
			ASSERT_EQ(1, write(self->sockets[k][1], &c, 1));
			break;
		case INOTIFY:
			inotify_raise(nr_raised++);
			break;
		}
	}

	ASSERT_EQ(NR_MIX, kaio_wait(self->fd, self->ctx, NR_MIX, self->events));
	for (j = 0; j < NR_MIX; j++) {
		const struct io_event *event = &self->events[j];
		int number;

		i = event->data;
		ASSERT_GT(NR_MIX, i);
		EXPECT_EQ((uintptr_t)&self->iocbs[i], event->obj);
		EXPECT_FALSE(seen[i]);
		seen[i] = true;
		if (self->cancelled[i]) {
			EXPECT_EQ(-ECANCELED, event->res);
			EXPECT_EQ(0, buf_of(self, i)[0]);
			continue;
		}
		switch (i % NR_KINDS) {
		case PIPE:
		case SOCKET:
			EXPECT_EQ(1, event->res);
			expect_byte(_metadata, self, i);
			break;
		case INOTIFY:
			EXPECT_EQ((__s64)INOTIFY_SIZE, event->res);
			number = inotify_number(buf_of(self, i));
			ASSERT_LE(0, number);
			ASSERT_GT(nr_raised, number);
			EXPECT_FALSE(raised[number]);
			raised[number] = true;
			break;
		case COLD:
			EXPECT_EQ((__s64)PAGE, event->res);
			EXPECT_TRUE(is_pattern(buf_of(self, i), PAGE, 1,
					       i / NR_KINDS * PAGE));
			break;
		}
	}
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	EXPECT_EQ(NR_MIX, kaio_stat(self->fd, "submitted"));
	EXPECT_STAT(NR_MIX, self->fd, "completed");
	EXPECT_EQ(NR_MIX / 2, kaio_stat(self->fd, "cancelled"));
	EXPECT_STAT(0, self->fd, "inflight");

	/* Data for cancelled requests goes to other readers. */
	for (i = 0; i < NR_MIX; i++) {
		const int k = i / NR_KINDS;
		char c = 'x';

		if (!self->cancelled[i] || i % NR_KINDS != PIPE)
			continue;
		ASSERT_EQ(1, write(self->pipes[k][1], &c, 1));
		ASSERT_EQ(1, read(self->pipes[k][0], &c, 1));
		EXPECT_EQ(0, buf_of(self, i)[0]);
	}
}

/* The requests can also be submitted in one call. */
TEST_F_TIMEOUT(mix, in_one_call, 120)
{
	struct iocb *pointers[NR_MIX];
	long before;
	int i;

	for (i = 0; i < NR_MIX; i++)
		pointers[i] = &self->iocbs[i];
	before = sleeps();
	ASSERT_EQ(NR_MIX, kaio_submit(self->fd, self->ctx, NR_MIX, pointers));
	EXPECT_EQ(before, sleeps());
	ASSERT_LE(NR_EACH, kaio_wait(self->fd, self->ctx, NR_EACH,
				     self->events));
}

/* The end of a full context waits for the device only. */
TEST_F_TIMEOUT(mix, destroyed, 120)
{
	__s64 start;

	submit_mix(_metadata, self);
	start = now_ns();
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_GT(5 * NSEC_PER_SEC, now_ns() - start);
	EXPECT_STAT(0, self->fd, "inflight");
	EXPECT_STAT(NR_MIX, self->fd, "completed");
}

/* Every cold read is cancelled or done, as the answer of the cancel says. */
TEST_F_TIMEOUT(mix, cold_cancelled, 120)
{
	bool cancelled[NR_EACH], seen[NR_EACH] = {};
	int i, k;

	for (k = 0; k < NR_EACH; k++) {
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx,
					     &self->iocbs[k * NR_KINDS + COLD]));
	}
	for (k = 0; k < NR_EACH; k++) {
		const long ret = kaio_cancel(self->fd, self->ctx,
					     &self->iocbs[k * NR_KINDS + COLD]);

		ASSERT_TRUE(ret == -EINPROGRESS || ret == -EINVAL);
		cancelled[k] = ret == -EINPROGRESS;
	}
	ASSERT_EQ(NR_EACH,
		  kaio_wait(self->fd, self->ctx, NR_EACH, self->events));
	for (i = 0; i < NR_EACH; i++) {
		k = self->events[i].data / NR_KINDS;
		ASSERT_GT(NR_EACH, k);
		EXPECT_FALSE(seen[k]);
		seen[k] = true;
		EXPECT_EQ(cancelled[k] ? -ECANCELED : (__s64)PAGE,
			  self->events[i].res);
	}
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
}

/* Native AIO takes 100 times as long on the same file, and sleeps. */
TEST_F_TIMEOUT(mix, native_cold, 120)
{
	enum { NR_NATIVE = 5, NR_KAIO = 25 };
	__s64 native_took[NR_NATIVE], took[NR_KAIO], start;
	aio_context_t native;
	struct iocb *iocb;
	long before;
	int k;

	if (native_setup(NR_MIX, &native))
		SKIP(return, "this kernel has no native AIO");
	before = sleeps();
	for (k = 0; k < NR_NATIVE; k++) {
		iocb = &self->iocbs[k * NR_KINDS + COLD];
		start = now_ns();
		ASSERT_EQ(1, native_submit(native, 1, &iocb));
		native_took[k] = now_ns() - start;
		EXPECT_LE(100 * BOUND, native_took[k]);
	}
	EXPECT_LE(before + NR_NATIVE, sleeps());

	before = sleeps();
	for (k = 0; k < NR_KAIO; k++) {
		iocb = &self->iocbs[(NR_NATIVE + k) * NR_KINDS + COLD];
		start = now_ns();
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, iocb));
		took[k] = now_ns() - start;
		EXPECT_GT(ONE_BOUND, took[k]);
	}
	EXPECT_EQ(before, sleeps());
	qsort(native_took, NR_NATIVE, sizeof(native_took[0]), compare_times);
	qsort(took, NR_KAIO, sizeof(took[0]), compare_times);
	EXPECT_LE(100 * took[NR_KAIO / 2], native_took[NR_NATIVE / 2]);
	ASSERT_EQ(NR_KAIO,
		  kaio_wait(self->fd, self->ctx, NR_KAIO, self->events));
}

/*
 * A child that submits to native AIO. @returned tells whether the call returned
 * within 100 times the bound.
 */
struct child {
	pid_t pid;
	bool *returned;
};

static bool start_native(struct child *child, struct iocb *iocb)
{
	aio_context_t native;

	child->returned = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	child->pid = fork();
	if (!child->pid) {
		struct answer answer;

		if (native_setup(1, &native))
			_exit(2);
		answer.submit = native_submit(native, 1, &iocb);
		__atomic_store_n(child->returned, true, __ATOMIC_SEQ_CST);
		_exit(answer.submit != 1);
	}
	usleep(100 * BOUND / 1000);
	return child->pid > 0;
}

static bool returned(const struct child *child)
{
	return __atomic_load_n(child->returned, __ATOMIC_SEQ_CST);
}

static int end_native(struct child *child)
{
	int status;

	if (waitpid(child->pid, &status, 0) != child->pid)
		return -1;
	return status;
}

/*
 * Expects that a child cannot submit a request to native AIO without waiting
 * until @peer is written.
 */
static void expect_native_waits(struct __test_metadata *const _metadata,
				struct iocb *iocb, int peer)
{
	struct child child;
	aio_context_t native;

	if (native_setup(1, &native))
		SKIP(return, "this kernel has no native AIO");
	ASSERT_TRUE(start_native(&child, iocb));
	EXPECT_FALSE(returned(&child));
	ASSERT_EQ(1, write(peer, "x", 1));
	EXPECT_EQ(0, end_native(&child));
	EXPECT_TRUE(returned(&child));
}

TEST_F(mix, native_pipe)
{
	expect_native_waits(_metadata, &self->iocbs[PIPE], self->pipes[0][1]);
}

TEST_F(mix, native_socket)
{
	expect_native_waits(_metadata, &self->iocbs[SOCKET],
			    self->sockets[0][1]);
}

/* Native AIO does not block on inotify, because it cannot read it at all. */
TEST_F(mix, native_inotify)
{
	aio_context_t native;
	struct iocb *iocb = &self->iocbs[INOTIFY];

	if (native_setup(1, &native))
		SKIP(return, "this kernel has no native AIO");
	EXPECT_EQ(-EINVAL, native_submit(native, 1, &iocb));
	inotify_raise(1);
	EXPECT_EQ(-EINVAL, native_submit(native, 1, &iocb));
	EXPECT_EQ((__s64)INOTIFY_SIZE, kaio_do(self->fd, self->ctx, iocb));
}

/*
 * The tests below use disks.
 */
FIXTURE(disk)
{
	int fd;
	__u64 ctx;
	struct null_blk dev;
	struct guard guard;
	int file;
	char *buf;
	struct iocb iocbs[NR_EVENTS];
	struct iocb *pointers[NR_EVENTS];
	struct io_event events[NR_EVENTS];
};

FIXTURE_SETUP(disk)
{
	self->file = -1;
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->buf = map_guarded(NR_EVENTS);
	ASSERT_NE(NULL, self->buf);
	fill_pattern(self->buf, NR_EVENTS * PAGE, 1, 0);
}

FIXTURE_TEARDOWN(disk)
{
	guard_end(&self->guard);
	kaio_destroy(self->fd, self->ctx);
	expect_all_completed(_metadata, self->fd);
	close(self->fd);
	close(self->file);
	null_blk_end(&self->dev);
}

/* Opens a new null_blk device in place of the file. Returns false if there is none. */
static bool open_null_blk(struct __test_metadata *const _metadata,
			  FIXTURE_DATA(disk) *self, const char *name,
			  unsigned long nsec, const struct setting *more)
{
	self->file = null_blk_open(_metadata, &self->dev, name, nsec, more);
	return self->file >= 0;
}

/* Prepares requests of a page each. */
static void prep_pages(FIXTURE_DATA(disk) *self, int opcode)
{
	int i;

	for (i = 0; i < NR_EVENTS; i++) {
		prep_rw(&self->iocbs[i], opcode, self->file,
			self->buf + i * PAGE, PAGE, i * PAGE);
		self->pointers[i] = &self->iocbs[i];
	}
}

/* Submits the requests without sleeping. */
static void submit_all(struct __test_metadata *const _metadata,
		       FIXTURE_DATA(disk) *self)
{
	const long before = sleeps();

	ASSERT_EQ(NR_EVENTS, kaio_submit(self->fd, self->ctx, NR_EVENTS,
					 self->pointers));
	EXPECT_EQ(before, sleeps());
}

static void expect_pages(struct __test_metadata *const _metadata,
			 FIXTURE_DATA(disk) *self)
{
	int i;

	ASSERT_EQ(NR_EVENTS,
		  kaio_wait(self->fd, self->ctx, NR_EVENTS, self->events));
	for (i = 0; i < NR_EVENTS; i++) {
		EXPECT_EQ((__s64)PAGE, self->events[i].res)
		{
			TH_LOG("i %d", i);
		}
	}
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
}

/* Returns true if the file has the pattern @number. Reads it without kaio. */
static bool file_has(FIXTURE_DATA(disk) *self, unsigned int number)
{
	memset(self->buf, 0, NR_EVENTS * PAGE);
	return pread(self->file, self->buf, NR_EVENTS * PAGE, 0) ==
		       (ssize_t)(NR_EVENTS * PAGE) &&
	       is_pattern(self->buf, NR_EVENTS * PAGE, number, 0);
}

/* The file is on a real file system, and not in memory. */
TEST_F(disk, cold_file)
{
	self->file = open_pattern(DISK_DIR, 1, NR_EVENTS * PAGE);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, posix_fadvise(self->file, 0, 0, POSIX_FADV_DONTNEED));
	memset(self->buf, 0, NR_EVENTS * PAGE);
	prep_pages(self, IOCB_CMD_PREAD);
	submit_all(_metadata, self);
	expect_pages(_metadata, self);
	EXPECT_TRUE(is_pattern(self->buf, NR_EVENTS * PAGE, 1, 0));
}

/*
 * No thread waits for the page of a cold file: the unlock of the page kicks the
 * request.
 */
TEST_F(disk, cold_read_is_kicked)
{
	if (!open_null_blk(_metadata, self, "kaio-kicks", SLOW, NULL))
		return;
	ASSERT_EQ((ssize_t)PAGE, pwrite(self->file, self->buf, PAGE, 0));
	ASSERT_TRUE(drop_cache(self->file));
	memset(self->buf, 0, PAGE);
	prep_pread(&self->iocbs[0], self->file, self->buf, PAGE, 0);
	EXPECT_EQ((__s64)PAGE, kaio_do(self->fd, self->ctx, &self->iocbs[0]));
	EXPECT_TRUE(is_pattern(self->buf, PAGE, 1, 0));
	EXPECT_EQ(1, kaio_stat(self->fd, "kicked"));
}

/* Zeroes a part of the device. */
static long zero_device(void *file)
{
	const int mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

	return fallocate(*(int *)file, mode, NR_EVENTS * PAGE, 4 << 20) ? -errno : 0;
}

/*
 * A read through the page cache takes the lock of the device. The zeroing of
 * the device holds that lock for a long time, even if the data of the read is
 * in memory.
 */
TEST_F_TIMEOUT(disk, cached_read_of_a_device_that_is_zeroed, 120)
{
	static const struct setting one_tag[] = { { "hw_queue_depth", 1 }, {} };
	struct sleeper zeroing;
	long before;
	int i;

	if (!open_null_blk(_metadata, self, "kaio-zeroed", SLOW, one_tag))
		return;
	ASSERT_EQ((ssize_t)(NR_EVENTS * PAGE),
		  pwrite(self->file, self->buf, NR_EVENTS * PAGE, 0));
	ASSERT_EQ(0, fsync(self->file));
	memset(self->buf, 0, NR_EVENTS * PAGE);
	ASSERT_TRUE(start_call(&zeroing, zero_device, &self->file));
	ASSERT_TRUE(wait_until(zeroing.tid &&
			       task_state(getpid(), zeroing.tid) == 'D'));
	prep_pages(self, IOCB_CMD_PREAD);
	before = sleeps();
	for (i = 0; i < NR_EVENTS; i++)
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocbs[i]));
	EXPECT_EQ(before, sleeps());
	/* The zeroing was not finished meanwhile. */
	EXPECT_EQ('D', task_state(getpid(), zeroing.tid));
	expect_pages(_metadata, self);
	EXPECT_TRUE(is_pattern(self->buf, NR_EVENTS * PAGE, 1, 0));
	EXPECT_EQ(0, result_of_call(&zeroing));
}

/*
 * So cold reads keep no worker, even if they are more than a user may have
 * workers: an fsync of another file system ends before all of them.
 */
TEST_F_TIMEOUT(disk, cold_reads_keep_no_worker, 120)
{
	enum { COLD_READS = 600 };
	static const struct setting many_tags[] = {
		{ "hw_queue_depth", 1024 }, {}
	};
	/* null_blk fails a request after 5 s. */
	const __s64 delay = 3 * NSEC_PER_SEC;
	const int other = open_temp(DISK_DIR, 0);
	static struct iocb iocbs[COLD_READS + 1];
	static struct io_event events[COLD_READS];
	struct iocb *pointers[COLD_READS + 1];
	struct io_event first;
	__s64 start;
	char *buf;
	__u64 ctx;
	int i;

	ASSERT_EQ((ssize_t)PAGE, pwrite(other, self->buf, PAGE, 0));
	if (!open_null_blk(_metadata, self, "kaio-kicks", delay, many_tags))
		return;
	buf = map_guarded(COLD_READS);
	ASSERT_NE(NULL, buf);
	fill_pattern(buf, COLD_READS * PAGE, 1, 0);
	ASSERT_EQ((ssize_t)(COLD_READS * PAGE),
		  pwrite(self->file, buf, COLD_READS * PAGE, 0));
	ASSERT_TRUE(drop_cache(self->file));
	/* Without readahead, each page needs a wait of its own. */
	ASSERT_EQ(0, posix_fadvise(self->file, 0, 0, POSIX_FADV_RANDOM));
	memset(buf, 0, COLD_READS * PAGE);
	for (i = 0; i < COLD_READS; i++) {
		prep_pread(&iocbs[i], self->file, buf + i * PAGE, PAGE,
			   i * PAGE);
		pointers[i] = &iocbs[i];
	}
	prep_fsync(&iocbs[i], other);
	pointers[i] = &iocbs[i];

	ASSERT_EQ(0, kaio_setup(self->fd, COLD_READS + 1, &ctx));
	start = now_ns();
	ASSERT_EQ(COLD_READS + 1,
		  kaio_submit(self->fd, ctx, COLD_READS + 1, pointers));
	ASSERT_EQ(1, kaio_wait(self->fd, ctx, 1, &first));
	EXPECT_GT(delay, now_ns() - start);
	EXPECT_EQ((uintptr_t)&iocbs[COLD_READS], first.obj);
	EXPECT_EQ(0, first.res);
	ASSERT_EQ(COLD_READS, kaio_wait(self->fd, ctx, COLD_READS, events));
	EXPECT_LE(delay, now_ns() - start);
	for (i = 0; i < COLD_READS; i++)
		ASSERT_EQ((__s64)PAGE, events[i].res);
	EXPECT_TRUE(is_pattern(buf, COLD_READS * PAGE, 1, 0));
	EXPECT_EQ(0, kaio_destroy(self->fd, ctx));
	close(other);
}

/* There are more requests than the device has tags. */
TEST_F(disk, direct_beyond_tags)
{
	static const struct setting few_tags[] = { { "hw_queue_depth", 8 }, {} };
	const __s64 delay = 100 * NSEC_PER_MSEC;
	static char data[2 * NR_EVENTS * PAGE];
	__s64 start, native_took;
	aio_context_t native;
	long before;
	int i;

	if (!open_null_blk(_metadata, self, "kaio-tags", delay, few_tags))
		return;
	fill_pattern(data, sizeof(data), 1, 0);
	ASSERT_EQ((ssize_t)sizeof(data),
		  pwrite(self->file, data, sizeof(data), 0));
	ASSERT_TRUE(drop_cache(self->file));
	close(self->file);
	self->file = open(self->dev.node, O_RDWR | O_DIRECT | O_CLOEXEC);
	memset(self->buf, 0, NR_EVENTS * PAGE);
	prep_pages(self, IOCB_CMD_PREAD);
	/* Use every other page, so that no two requests can be merged. */
	for (i = 0; i < NR_EVENTS; i++)
		self->iocbs[i].aio_offset *= 2;
	submit_all(_metadata, self);
	expect_pages(_metadata, self);
	for (i = 0; i < NR_EVENTS; i++) {
		EXPECT_TRUE(is_pattern(self->buf + i * PAGE, PAGE, 1,
				       2 * i * PAGE));
	}

	if (native_setup(NR_EVENTS, &native))
		SKIP(return, "this kernel has no native AIO");
	before = sleeps();
	start = now_ns();
	ASSERT_EQ(NR_EVENTS, native_submit(native, NR_EVENTS, self->pointers));
	native_took = now_ns() - start;
	EXPECT_LT(before, sleeps());
	EXPECT_LT((NR_EVENTS / 8 - 2) * delay, native_took);
	ASSERT_EQ(NR_EVENTS, native_getevents(native, NR_EVENTS, NR_EVENTS,
					      self->events, &patience));
}

/* The file system has to find blocks first. */
TEST_F(disk, direct_write_into_hole)
{
	self->file = open_temp(DISK_DIR, O_DIRECT);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, ftruncate(self->file, NR_EVENTS * PAGE));
	prep_pages(self, IOCB_CMD_PWRITE);
	submit_all(_metadata, self);
	expect_pages(_metadata, self);
	EXPECT_EQ(0, kaio_stat(self->fd, "inline"));
	EXPECT_TRUE(file_has(self, 1));
}

TEST_F(disk, direct_write_past_end)
{
	self->file = open_temp(DISK_DIR, O_DIRECT);
	ASSERT_LE(0, self->file);
	prep_pages(self, IOCB_CMD_PWRITE);
	submit_all(_metadata, self);
	expect_pages(_metadata, self);
	EXPECT_TRUE(file_has(self, 1));
}

TEST_F(disk, buffered_write)
{
	self->file = open_temp(DISK_DIR, 0);
	ASSERT_LE(0, self->file);
	prep_pages(self, IOCB_CMD_PWRITE);
	submit_all(_metadata, self);
	expect_pages(_metadata, self);
	EXPECT_TRUE(file_has(self, 1));
}

/*
 * A task that writes more than the device takes is throttled, but not in a
 * submit call.
 */
static void restore_dirty_ratio(const char *ratio)
{
	write_file("/proc/sys/vm/dirty_ratio", ratio);
}

TEST_F_TIMEOUT(disk, throttled_write, 120)
{
	enum { LEN = 4 * PAGE };
	struct io_event *events = self->events;
	char ratio[16] = {};
	long before;
	int fd, i;

	fd = open("/proc/sys/vm/dirty_ratio", O_RDONLY | O_CLOEXEC);
	ASSERT_LT(0, read(fd, ratio, sizeof(ratio) - 1));
	if (!open_null_blk(_metadata, self, "kaio-throttled", 5 * NSEC_PER_MSEC, NULL))
		return;
	self->guard = guard_start(restore_dirty_ratio, ratio);
	ASSERT_TRUE(write_file("/proc/sys/vm/dirty_bytes", "65536"));
	/* Check that the kernel throttles a writer. */
	before = sleeps();
	for (i = 0; i < NR_EVENTS; i++)
		ASSERT_EQ((ssize_t)LEN,
			  pwrite(self->file, self->buf, LEN, i * LEN));
	EXPECT_LT(before, sleeps());
	for (i = 0; i < NR_EVENTS; i++) {
		prep_pwrite(&self->iocbs[i], self->file, self->buf, LEN,
			    i * LEN);
		self->pointers[i] = &self->iocbs[i];
	}
	submit_all(_metadata, self);
	ASSERT_EQ(NR_EVENTS, kaio_wait(self->fd, self->ctx, NR_EVENTS, events));
	for (i = 0; i < NR_EVENTS; i++)
		EXPECT_EQ((__s64)LEN, events[i].res);
}

/*
 * Nothing can write to a frozen file system until the test thaws it.
 */
FIXTURE(frozen)
{
	int fd;
	__u64 ctx;
	struct guard freezer;
	int file;
	char *buf;
	struct iocb iocb;
	struct io_event event;
};

FIXTURE_VARIANT(frozen)
{
	int opcode;
	int flags;
	__s64 res;
	/* Native AIO does not return until the thaw. */
	bool native_waits;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(frozen, buffered) { IOCB_CMD_PWRITE, 0, PAGE, true };
FIXTURE_VARIANT_ADD(frozen, direct) { IOCB_CMD_PWRITE, O_DIRECT, PAGE, true };
FIXTURE_VARIANT_ADD(frozen, append) { IOCB_CMD_PWRITE, O_APPEND, PAGE, true };
FIXTURE_VARIANT_ADD(frozen, fsync) { IOCB_CMD_FSYNC, 0, 0, false };
FIXTURE_VARIANT_ADD(frozen, fdsync) { IOCB_CMD_FDSYNC, 0, 0, false };
/* clang-format on */

FIXTURE_SETUP(frozen)
{
	int plain;

	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	plain = open_pattern(DISK_DIR, 1, 4 * PAGE);
	ASSERT_LE(0, plain);
	self->file = reopen(plain, O_RDWR | variant->flags);
	ASSERT_LE(0, self->file);
	self->buf = map_guarded(1);
	ASSERT_NE(NULL, self->buf);
	fill_pattern(self->buf, PAGE, 2, 0);
	if (variant->opcode == IOCB_CMD_PWRITE)
		prep_pwrite(&self->iocb, self->file, self->buf, PAGE, 0);
	else
		prep_rw(&self->iocb, variant->opcode, self->file, NULL, 0, 0);
	ASSERT_TRUE(freeze(&self->freezer, DISK_DIR));
}

FIXTURE_TEARDOWN(frozen)
{
	guard_end(&self->freezer);
	kaio_destroy(self->fd, self->ctx);
	expect_all_completed(_metadata, self->fd);
	close(self->fd);
}

TEST_F(frozen, submit)
{
	const loff_t place = variant->flags & O_APPEND ? 4 * PAGE : 0;
	const long before = sleeps();
	const __s64 start = now_ns();
	bool early;

	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	EXPECT_GT(ONE_BOUND, now_ns() - start);
	EXPECT_EQ(before, sleeps());
	early = !stays_quiet(self->fd, self->ctx);
	if (early && !variant->native_waits)
		return;
	ASSERT_FALSE(early);
	/* A request that need not wait for the thaw may end at any moment. */
	if (variant->native_waits)
		EXPECT_STAT(1, self->fd, "inflight");
	guard_end(&self->freezer);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(variant->res, self->event.res);
	if (variant->opcode != IOCB_CMD_PWRITE)
		return;
	memset(self->buf, 0, PAGE);
	ASSERT_EQ((ssize_t)PAGE, pread(self->file, self->buf, PAGE, place));
	EXPECT_TRUE(is_pattern(self->buf, PAGE, 2, 0));
}

TEST_F(frozen, native)
{
	struct child child;
	aio_context_t native;

	if (native_setup(1, &native))
		SKIP(return, "this kernel has no native AIO");
	ASSERT_TRUE(start_native(&child, &self->iocb));
	EXPECT_EQ(variant->native_waits, !returned(&child));
	guard_end(&self->freezer);
	EXPECT_EQ(0, end_native(&child));
}

/* Requests for other file systems go on. */
TEST_F(frozen, other_file_systems_go_on)
{
	const int file = open_temp(MEM_DIR, 0);
	struct iocb iocbs[NR_EVENTS / 2], *pointers[NR_EVENTS / 2];
	struct iocb reading, writing;
	int ends[2], i;
	char c = 0;

	for (i = 0; i < NR_EVENTS / 2; i++) {
		iocbs[i] = self->iocb;
		pointers[i] = &iocbs[i];
	}
	if (!variant->native_waits)
		return;
	ASSERT_EQ(NR_EVENTS / 2, kaio_submit(self->fd, self->ctx,
					     NR_EVENTS / 2, pointers));
	prep_pwrite(&writing, file, "x", 1, 0);
	EXPECT_EQ(1, kaio_do(self->fd, self->ctx, &writing));
	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	prep_pread(&reading, ends[0], &c, 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &reading));
	ASSERT_EQ(1, write(ends[1], "y", 1));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ((uintptr_t)&reading, self->event.obj);
	EXPECT_EQ('y', c);
}

/*
 * Destroy waits for requests that have begun, and so for the thaw. The waiting
 * task can be killed, and the write is still done if the thaw comes in time.
 */
TEST_F(frozen, destroy_killed)
{
	const loff_t place = variant->flags & O_APPEND ? 4 * PAGE : 0;
	int status;
	pid_t pid;

	if (!variant->native_waits)
		return;
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		__u64 ctx;

		if (kaio_setup(self->fd, 1, &ctx) ||
		    kaio_submit_one(self->fd, ctx, &self->iocb) != 1)
			_exit(1);
		kaio_destroy(self->fd, ctx);
		_exit(2);
	}
	ASSERT_TRUE(wait_until(kaio_stat(self->fd, "submitted") == 1));
	/*
	 * Give the task time to begin its wait. The result does not depend on
	 * it.
	 */
	usleep(20000);
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	guard_end(&self->freezer);
	ASSERT_TRUE(wait_until(waitpid(pid, &status, WNOHANG) == pid));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
	memset(self->buf, 0, PAGE);
	ASSERT_EQ((ssize_t)PAGE, pread(self->file, self->buf, PAGE, place));
	EXPECT_TRUE(is_pattern(self->buf, PAGE, 2, 0));
}

TEST_HARNESS_MAIN
