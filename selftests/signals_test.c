// SPDX-License-Identifier: GPL-2.0
/*
 * Tests the signals that a write raises: SIGPIPE, and SIGXFSZ at
 * RLIMIT_FSIZE. The submitter gets them, whatever task does the write, and the
 * limit is the one at submission.
 */
#include "blocking_threads.h"
#include "devices.h"
#include "streams.h"

/* Returns the number of signals since the last call of count_from_zero(). */
static int signals_so_far(void)
{
	return __atomic_load_n(&signals, __ATOMIC_RELAXED);
}

static void count_from_zero(int signal)
{
	signals_seen();
	catch_signal(signal, SA_RESTART);
}

/* Returns true if @nr signals come and no more follow. */
static bool signals_are(int nr)
{
	bool ok = wait_until(signals_so_far() == nr);

	usleep(20000);
	return ok && signals_so_far() == nr;
}

static void limit_size(rlim_t size)
{
	const struct rlimit limit = { size, RLIM_INFINITY };

	if (setrlimit(RLIMIT_FSIZE, &limit))
		abort();
}

static loff_t size_of(int fd)
{
	struct stat stat;

	return fstat(fd, &stat) ? -1 : stat.st_size;
}

/* Takes exactly @nr events. Signals may interrupt the wait. */
static long take_events(int fd, __u64 ctx, long nr, struct io_event *events)
{
	long ret, sum = 0;

	while (sum < nr) {
		ret = kaio_wait(fd, ctx, nr - sum, events + sum);
		if (ret > 0)
			sum += ret;
		else if (ret != -EINTR)
			break;
	}
	return sum;
}

static __s64 do_request(int fd, __u64 ctx, struct iocb *iocb)
{
	struct io_event event;
	long ret = kaio_submit_one(fd, ctx, iocb);

	if (ret != 1)
		return ret;
	return take_events(fd, ctx, 1, &event) == 1 ? event.res : -ETIME;
}

/* Waits for the signal that is to kill this process. */
static void wait_to_be_killed(void)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	sleep(PATIENCE_SECONDS);
	_exit(1);
}

/*
 * The tests below lower RLIMIT_FSIZE.
 */
FIXTURE(fsize)
{
	int fd;
	__u64 ctx;
	int plain;
	int file;
	char *buf;
	struct guard freezer;
	struct iocb iocb;
	struct io_event event;
};

FIXTURE_VARIANT(fsize)
{
	const char *dir;
	int flags;
	/* The size of the file before the test. An append begins there. */
	loff_t size;
};

#define LIMIT	(8 * PAGE)

/* clang-format off */
FIXTURE_VARIANT_ADD(fsize, disk) { DISK_DIR, 0, 0 };
FIXTURE_VARIANT_ADD(fsize, disk_direct) { DISK_DIR, O_DIRECT, 0 };
FIXTURE_VARIANT_ADD(fsize, disk_sync) { DISK_DIR, O_SYNC, 0 };
FIXTURE_VARIANT_ADD(fsize, memory) { MEM_DIR, 0, 0 };
FIXTURE_VARIANT_ADD(fsize, disk_append) { DISK_DIR, O_APPEND, LIMIT };
FIXTURE_VARIANT_ADD(fsize, disk_direct_append) {
	DISK_DIR, O_DIRECT | O_APPEND, LIMIT
};
FIXTURE_VARIANT_ADD(fsize, memory_append) { MEM_DIR, O_APPEND, LIMIT };
/* clang-format on */

FIXTURE_SETUP(fsize)
{
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->plain = open_temp(variant->dir, 0);
	ASSERT_EQ(0, ftruncate(self->plain, variant->size));
	self->file = reopen(self->plain, O_RDWR | variant->flags);
	ASSERT_LE(0, self->file);
	self->buf = map_guarded(4);
	ASSERT_NE(NULL, self->buf);
	fill_pattern(self->buf, 4 * PAGE, 1, 0);
	count_from_zero(SIGXFSZ);
	limit_size(LIMIT);
}

FIXTURE_TEARDOWN(fsize)
{
	guard_end(&self->freezer);
	kaio_destroy(self->fd, self->ctx);
	EXPECT_STAT(0, self->fd, "inflight");
	close(self->fd);
}

/* Prepares a write that begins at the limit. */
static void prep_beyond(FIXTURE_DATA(fsize) *self)
{
	prep_pwrite(&self->iocb, self->file, self->buf, PAGE, LIMIT);
}

/* Prepares a write of two pages, of which one is below the limit. */
static void prep_across(FIXTURE_DATA(fsize) *self, loff_t size)
{
	if (size && ftruncate(self->plain, LIMIT - PAGE))
		abort();
	prep_pwrite(&self->iocb, self->file, self->buf, 2 * PAGE, LIMIT - PAGE);
}

TEST_F(fsize, beyond_limit)
{
	prep_beyond(self);
	EXPECT_EQ(-EFBIG, do_request(self->fd, self->ctx, &self->iocb));
	EXPECT_TRUE(signals_are(1))
	{
		TH_LOG("signals: %d", signals_so_far());
	}
	EXPECT_EQ(variant->size, size_of(self->plain));
}

TEST_F(fsize, across_limit)
{
	prep_across(self, variant->size);
	EXPECT_EQ((__s64)PAGE, do_request(self->fd, self->ctx, &self->iocb));
	EXPECT_TRUE(signals_are(0));
	EXPECT_EQ((loff_t)LIMIT, size_of(self->plain));
	/* A write of the rest fails. */
	prep_pwrite(&self->iocb, self->file, self->buf + PAGE, PAGE, LIMIT);
	EXPECT_EQ(-EFBIG, do_request(self->fd, self->ctx, &self->iocb));
	EXPECT_TRUE(signals_are(1));
	EXPECT_EQ((loff_t)LIMIT, size_of(self->plain));
}

/* Less than a page is left below the limit. */
TEST_F(fsize, across_limit_by_bytes)
{
	if (variant->flags & O_DIRECT)
		return;
	ASSERT_EQ(0, ftruncate(self->plain, LIMIT - 10));
	prep_pwrite(&self->iocb, self->file, self->buf, 100, LIMIT - 10);
	EXPECT_EQ(10, do_request(self->fd, self->ctx, &self->iocb));
	EXPECT_TRUE(signals_are(0));
	EXPECT_EQ((loff_t)LIMIT, size_of(self->plain));
}

/* write(2) behaves in the same way. */
TEST_F(fsize, as_write)
{
	ssize_t n;

	EXPECT_EQ(-1, pwrite(self->file, self->buf, PAGE, LIMIT));
	EXPECT_EQ(EFBIG, errno);
	EXPECT_TRUE(signals_are(1));
	prep_across(self, variant->size);
	n = pwrite(self->file, self->buf, 2 * PAGE, LIMIT - PAGE);
	EXPECT_EQ((ssize_t)PAGE, n);
	EXPECT_TRUE(signals_are(1));
}

TEST_F(fsize, below_limit)
{
	if (variant->size)
		ASSERT_EQ(0, ftruncate(self->plain, 0));
	prep_pwrite(&self->iocb, self->file, self->buf, PAGE, 0);
	EXPECT_EQ((__s64)PAGE, do_request(self->fd, self->ctx, &self->iocb));
	EXPECT_TRUE(signals_are(0));
}

TEST_F(fsize, ignored)
{
	signal(SIGXFSZ, SIG_IGN);
	prep_beyond(self);
	EXPECT_EQ(-EFBIG, do_request(self->fd, self->ctx, &self->iocb));
}

TEST_F(fsize, kills_process)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		const __u64 ctx = setup_in_child(self->fd, 1);

		signal(SIGXFSZ, SIG_DFL);
		prep_beyond(self);
		kaio_submit_one(self->fd, ctx, &self->iocb);
		wait_to_be_killed();
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGXFSZ, WTERMSIG(status));
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
}

/* The signal goes to the process if the thread that submitted has exited. */
static void *submit_in_thread(void *arg)
{
	FIXTURE_DATA(fsize) *self = arg;

	return (void *)kaio_submit_one(self->fd, self->ctx, &self->iocb);
}

TEST_F(fsize, thread_exits)
{
	pthread_t thread;
	void *ret;

	if (strcmp(variant->dir, DISK_DIR))
		return;
	prep_beyond(self);
	ASSERT_TRUE(freeze(&self->freezer, DISK_DIR));
	ASSERT_EQ(0, pthread_create(&thread, NULL, submit_in_thread, self));
	ASSERT_EQ(0, pthread_join(thread, &ret));
	ASSERT_EQ(1, (long)ret);
	guard_end(&self->freezer);
	ASSERT_EQ(1, take_events(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(-EFBIG, self->event.res);
	EXPECT_TRUE(signals_are(1));
}

/* The limit is the one at submission, however long the write has to wait. */
TEST_F(fsize, lowered_meanwhile)
{
	if (strcmp(variant->dir, DISK_DIR))
		return;
	if (variant->size)
		ASSERT_EQ(0, ftruncate(self->plain, 0));
	ASSERT_TRUE(freeze(&self->freezer, DISK_DIR));
	prep_pwrite(&self->iocb, self->file, self->buf, PAGE, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	limit_size(0);
	guard_end(&self->freezer);
	ASSERT_EQ(1, take_events(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ((__s64)PAGE, self->event.res);
	EXPECT_TRUE(signals_are(0));
	EXPECT_EQ((loff_t)PAGE, size_of(self->plain));
}

TEST_F(fsize, raised_meanwhile)
{
	if (strcmp(variant->dir, DISK_DIR))
		return;
	ASSERT_TRUE(freeze(&self->freezer, DISK_DIR));
	prep_beyond(self);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	limit_size(RLIM_INFINITY);
	guard_end(&self->freezer);
	ASSERT_EQ(1, take_events(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(-EFBIG, self->event.res);
	EXPECT_TRUE(signals_are(1));
	EXPECT_EQ(variant->size, size_of(self->plain));
}

/* The write fails also after its submitter has exited. */
TEST_F(fsize, submitter_exits)
{
	int status;
	pid_t pid;

	if (strcmp(variant->dir, DISK_DIR))
		return;
	ASSERT_TRUE(freeze(&self->freezer, DISK_DIR));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		const __u64 ctx = setup_in_child(self->fd, 1);

		prep_beyond(self);
		_exit(kaio_submit_one(self->fd, ctx, &self->iocb) != 1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	guard_end(&self->freezer);
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
	EXPECT_EQ(variant->size, size_of(self->plain));
	/* The signal was not sent to this process. */
	EXPECT_TRUE(signals_are(0));
}

/* Each append uses up a part of what is left below the limit. */
TEST_F(fsize, appends_up_to_limit)
{
	struct iocb iocbs[4], *pointers[4];
	struct io_event events[4];
	__s64 res[4] = {};
	int i;

	if (!(variant->flags & O_APPEND))
		return;
	ASSERT_EQ(0, ftruncate(self->plain, LIMIT - 2 * PAGE));
	for (i = 0; i < 4; i++) {
		prep_pwrite(&iocbs[i], self->file, self->buf, PAGE, 0);
		iocbs[i].aio_data = i;
		pointers[i] = &iocbs[i];
	}
	ASSERT_EQ(4, kaio_submit(self->fd, self->ctx, 4, pointers));
	ASSERT_EQ(4, take_events(self->fd, self->ctx, 4, events));
	for (i = 0; i < 4; i++)
		res[events[i].data & 3] = events[i].res;
	EXPECT_EQ((__s64)PAGE, res[0]);
	EXPECT_EQ((__s64)PAGE, res[1]);
	EXPECT_EQ(-EFBIG, res[2]);
	EXPECT_EQ(-EFBIG, res[3]);
	EXPECT_EQ((loff_t)LIMIT, size_of(self->plain));
	/* Two pending signals of the same number count as one. */
	EXPECT_TRUE(wait_until(signals_so_far() > 0));
}

TEST_F(fsize, last_append_is_short)
{
	struct iocb iocbs[2], *pointers[] = { &iocbs[0], &iocbs[1] };
	struct io_event events[2];
	__s64 res[2] = {};
	int i;

	if (!(variant->flags & O_APPEND) || variant->flags & O_DIRECT)
		return;
	ASSERT_EQ(0, ftruncate(self->plain, LIMIT - PAGE - PAGE / 2));
	for (i = 0; i < 2; i++) {
		prep_pwrite(&iocbs[i], self->file, self->buf, PAGE, 0);
		iocbs[i].aio_data = i;
	}
	ASSERT_EQ(2, kaio_submit(self->fd, self->ctx, 2, pointers));
	ASSERT_EQ(2, take_events(self->fd, self->ctx, 2, events));
	for (i = 0; i < 2; i++)
		res[events[i].data & 1] = events[i].res;
	EXPECT_EQ((__s64)PAGE, res[0]);
	EXPECT_EQ((__s64)PAGE / 2, res[1]);
	EXPECT_EQ((loff_t)LIMIT, size_of(self->plain));
	EXPECT_TRUE(signals_are(0));
}

/*
 * The tests below raise SIGPIPE.
 */
FIXTURE(sigpipe)
{
	struct stream s;
	struct iocb iocb;
	struct io_event event;
};

FIXTURE_VARIANT(sigpipe)
{
	int domain;
	/* write(2) raises the signal even if it has written a part. */
	bool after_part;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(sigpipe, pipe) { 0, true };
FIXTURE_VARIANT_ADD(sigpipe, socket) { AF_UNIX, false };
/* clang-format on */

FIXTURE_SETUP(sigpipe)
{
	if (!stream_set_up(_metadata, &self->s, variant->domain, SOCK_STREAM))
		return;
	prep_pwrite(&self->iocb, self->s.out, "x", 1, 0);
	count_from_zero(SIGPIPE);
}

FIXTURE_TEARDOWN(sigpipe)
{
	close_context(_metadata, self->s.fd, self->s.ctx);
}

/* Ends the reading side. A close of the socket would reset the connection. */
static void end_reader(FIXTURE_DATA(sigpipe) *self)
{
	if (shutdown(self->s.in, SHUT_RDWR))
		close(self->s.in);
}

static void park(struct __test_metadata *const _metadata,
		 FIXTURE_DATA(sigpipe) *self)
{
	ASSERT_LT(0, fill_fd(self->s.out));
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &self->iocb));
	ASSERT_TRUE(stays_quiet(self->s.fd, self->s.ctx));
}

TEST_F(sigpipe, at_once)
{
	end_reader(self);
	EXPECT_EQ(-EPIPE, do_request(self->s.fd, self->s.ctx, &self->iocb));
	EXPECT_TRUE(signals_are(1));
}

TEST_F(sigpipe, at_once_nosignal)
{
	end_reader(self);
	self->iocb.aio_rw_flags = RWF_NOSIGNAL;
	EXPECT_EQ(-EPIPE, do_request(self->s.fd, self->s.ctx, &self->iocb));
	EXPECT_TRUE(signals_are(0));
}

TEST_F(sigpipe, parked)
{
	park(_metadata, self);
	end_reader(self);
	ASSERT_EQ(1, take_events(self->s.fd, self->s.ctx, 1, &self->event));
	EXPECT_EQ(-EPIPE, self->event.res);
	EXPECT_TRUE(signals_are(1))
	{
		TH_LOG("signals: %d", signals_so_far());
	}
}

TEST_F(sigpipe, parked_nosignal)
{
	self->iocb.aio_rw_flags = RWF_NOSIGNAL;
	park(_metadata, self);
	end_reader(self);
	ASSERT_EQ(1, take_events(self->s.fd, self->s.ctx, 1, &self->event));
	EXPECT_EQ(-EPIPE, self->event.res);
	EXPECT_TRUE(signals_are(0));
}

TEST_F(sigpipe, parked_ignored)
{
	signal(SIGPIPE, SIG_IGN);
	park(_metadata, self);
	end_reader(self);
	ASSERT_EQ(1, take_events(self->s.fd, self->s.ctx, 1, &self->event));
	EXPECT_EQ(-EPIPE, self->event.res);
}

TEST_F(sigpipe, parked_kills)
{
	int status;
	pid_t pid;

	ASSERT_LT(0, fill_fd(self->s.out));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		__u64 ctx;

		signal(SIGPIPE, SIG_DFL);
		close(self->s.in);
		if (kaio_setup(self->s.fd, 1, &ctx))
			_exit(2);
		kaio_submit_one(self->s.fd, ctx, &self->iocb);
		wait_to_be_killed();
	}
	ASSERT_TRUE(wait_until(kaio_stat(self->s.fd, "inflight") == 1));
	end_reader(self);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGPIPE, WTERMSIG(status));
	EXPECT_EQ(0, signals_so_far());
}

/* A cancelled write raises no signal. */
TEST_F(sigpipe, cancelled)
{
	park(_metadata, self);
	EXPECT_EQ(-EINPROGRESS,
		  kaio_cancel(self->s.fd, self->s.ctx, &self->iocb));
	end_reader(self);
	ASSERT_EQ(1, take_events(self->s.fd, self->s.ctx, 1, &self->event));
	EXPECT_EQ(-ECANCELED, self->event.res);
	EXPECT_TRUE(signals_are(0));
}

/*
 * The result is the number of bytes that were written before the reader went
 * away.
 */
static char long_message[1 << 20];

static void *write_long(void *arg)
{
	const int *fd = arg;

	return (void *)write(*fd, long_message, sizeof(long_message));
}

TEST_F(sigpipe, after_part)
{
	prep_pwrite(&self->iocb, self->s.out, long_message, sizeof(long_message),
		    0);
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &self->iocb));
	ASSERT_TRUE(stays_quiet(self->s.fd, self->s.ctx));
	end_reader(self);
	ASSERT_EQ(1, take_events(self->s.fd, self->s.ctx, 1, &self->event));
	EXPECT_LT(0, self->event.res);
	EXPECT_GT((__s64)sizeof(long_message), self->event.res);
	EXPECT_TRUE(signals_are(variant->after_part))
	{
		TH_LOG("signals: %d", signals_so_far());
	}
}

TEST_F(sigpipe, after_part_as_write)
{
	pthread_t thread;
	void *ret;

	ASSERT_EQ(0, pthread_create(&thread, NULL, write_long, &self->s.out));
	/*
	 * Wait until the stream is full, so that the thread sleeps in write(2).
	 */
	ASSERT_TRUE(wait_until(!poll_now(self->s.out, POLLOUT)));
	end_reader(self);
	ASSERT_EQ(0, pthread_join(thread, &ret));
	EXPECT_LT(0, (long)ret);
	EXPECT_TRUE(signals_are(variant->after_part));
}

TEST_HARNESS_MAIN
