// SPDX-License-Identifier: GPL-2.0
/*
 * Tests files of many kinds: files that only read(2) supports, files that
 * are not ready although they say so, and files that cannot be read at all.
 */
#include <arpa/inet.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <pty.h>
#include <sys/signalfd.h>
#include <termios.h>

#include "context_fixture.h"
#include "refused.h"
#include "sleeps.h"
#include "streams.h"

/*
 * These files have no method for the transfer. Native AIO refuses all files
 * without read_iter.
 */
static int a_signalfd(void)
{
	sigset_t none;

	sigemptyset(&none);
	return signalfd(-1, &none, SFD_CLOEXEC);
}

static int a_namespace(void)
{
	return open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
}

static int a_message_queue(void)
{
	const mqd_t queue = mq_open("/kaio-files",
				    O_CREAT | O_RDWR | O_CLOEXEC, 0600, NULL);

	mq_unlink("/kaio-files");
	return queue;
}

static int own_memory(void)
{
	return open("/proc/self/mem", O_RDWR | O_CLOEXEC);
}

static int kaio_itself(void)
{
	return open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
}

static int memory_directory(void)
{
	return open(MEM_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/*
 * Character devices with only read and write are refused too, because these
 * methods may depend on the calling task.
 */
static int full_device(void)
{
	return open("/dev/full", O_RDWR | O_CLOEXEC);
}

static int kernel_log(void)
{
	return open("/dev/kmsg", O_RDONLY | O_CLOEXEC);
}

static char some_memory[PAGE];

/* clang-format off */
#define REFUSED(_name, _opcode, _err, _open) \
	FIXTURE_VARIANT_ADD(refused, _name) { \
		.opcode = IOCB_CMD_##_opcode, .err = _err, .open = _open, \
		.buf = (unsigned long)some_memory, .nbytes = 16, \
	}

REFUSED(read_directory, PREAD, EINVAL, a_directory);
REFUSED(read_memory_directory, PREAD, EINVAL, memory_directory);
REFUSED(read_proc_directory, PREAD, EINVAL, proc_directory);
REFUSED(write_directory, PWRITE, EBADF, a_directory);
REFUSED(read_epoll_fd, PREAD, EINVAL, an_epoll_fd);
REFUSED(write_epoll_fd, PWRITE, EINVAL, an_epoll_fd);
REFUSED(read_pidfd, PREAD, EINVAL, a_pidfd);
REFUSED(write_pidfd, PWRITE, EINVAL, a_pidfd);
REFUSED(read_namespace, PREAD, EINVAL, a_namespace);
REFUSED(read_message_queue, PREAD, EINVAL, a_message_queue);
REFUSED(write_message_queue, PWRITE, EINVAL, a_message_queue);
REFUSED(read_own_memory, PREAD, EINVAL, own_memory);
REFUSED(write_own_memory, PWRITE, EINVAL, own_memory);
REFUSED(read_kaio, PREAD, EINVAL, kaio_itself);
REFUSED(write_kaio, PWRITE, EINVAL, kaio_itself);
REFUSED(write_timerfd, PWRITE, EINVAL, a_timerfd);
REFUSED(write_signalfd, PWRITE, EINVAL, a_signalfd);
REFUSED(read_kernel_log, PREAD, EINVAL, kernel_log);
REFUSED(write_dev_full, PWRITE, EINVAL, full_device);
REFUSED(write_inotify, PWRITE, EBADF, inotify_open);
REFUSED(read_path, PREAD, EBADF, path_fd);
REFUSED(read_pipe_writer, PREAD, EBADF, pipe_writer);
REFUSED(write_pipe_reader, PWRITE, EBADF, pipe_reader);
/* clang-format on */

/* Expects that the context is destroyed within five seconds. */
static void destroy_soon(struct __test_metadata *const _metadata, int fd,
			 __u64 ctx)
{
	const __s64 start = now_ns();

	kaio_destroy(fd, ctx);
	EXPECT_GT(5 * NSEC_PER_SEC, now_ns() - start);
	expect_all_completed(_metadata, fd);
	close(fd);
}

/*
 * An inotify file has only read(2), and does not know IOCB_NOWAIT.
 */
FIXTURE(inotify)
{
	int fd;
	__u64 ctx;
	int file;
	int nr_created;
	struct iocb iocbs[NR_EVENTS];
	struct iocb *pointers[NR_EVENTS];
	struct io_event events[NR_EVENTS];
	char bufs[NR_EVENTS][INOTIFY_SIZE];
};

FIXTURE_SETUP(inotify)
{
	int i;

	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->file = inotify_open();
	ASSERT_LE(0, self->file);
	for (i = 0; i < NR_EVENTS; i++) {
		prep_pread(&self->iocbs[i], self->file, self->bufs[i],
			   INOTIFY_SIZE, 0);
		self->iocbs[i].aio_data = i;
		self->pointers[i] = &self->iocbs[i];
	}
}

FIXTURE_TEARDOWN(inotify)
{
	destroy_soon(_metadata, self->fd, self->ctx);
}

static void create(FIXTURE_DATA(inotify) *self)
{
	inotify_raise(self->nr_created++);
}

TEST_F(inotify, event_available)
{
	create(self);
	EXPECT_EQ((__s64)INOTIFY_SIZE,
		  kaio_do(self->fd, self->ctx, &self->iocbs[0]));
	EXPECT_EQ(0, inotify_number(self->bufs[0]));
}

TEST_F(inotify, event_comes_later)
{
	const long before = sleeps();

	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocbs[0]));
	EXPECT_EQ(before, sleeps());
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	EXPECT_STAT(1, self->fd, "inflight");
	EXPECT_EQ(1, kaio_stat(self->fd, "parked"));
	create(self);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_EQ((__s64)INOTIFY_SIZE, self->events[0].res);
	EXPECT_EQ(0, inotify_number(self->bufs[0]));
}

/* The slower reader finds no event, and must not keep a worker for that. */
TEST_F_TIMEOUT(inotify, two_readers, 60)
{
	int i, first;

	for (i = 0; i < 20; i++) {
		ASSERT_EQ(2, kaio_submit(self->fd, self->ctx, 2,
					 self->pointers));
		create(self);
		ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
		first = self->events[0].data;
		EXPECT_EQ((__s64)INOTIFY_SIZE, self->events[0].res);
		EXPECT_EQ(2 * i, inotify_number(self->bufs[first]));
		EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
		EXPECT_STAT(1, self->fd, "inflight");
		create(self);
		ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
		EXPECT_EQ(!first, (int)self->events[0].data);
		EXPECT_EQ((__s64)INOTIFY_SIZE, self->events[0].res);
		EXPECT_EQ(2 * i + 1, inotify_number(self->bufs[!first]));
	}
}

TEST_F_TIMEOUT(inotify, many_readers, 60)
{
	bool seen[NR_EVENTS] = {};
	int i, k;

	ASSERT_EQ(NR_EVENTS, kaio_submit(self->fd, self->ctx, NR_EVENTS,
					 self->pointers));
	for (i = 0; i < NR_EVENTS; i++)
		create(self);
	ASSERT_EQ(NR_EVENTS, kaio_wait(self->fd, self->ctx, NR_EVENTS,
				       self->events));
	for (i = 0; i < NR_EVENTS; i++) {
		EXPECT_EQ((__s64)INOTIFY_SIZE, self->events[i].res);
		k = inotify_number(self->bufs[self->events[i].data % NR_EVENTS]);
		ASSERT_LE(0, k);
		ASSERT_GT(NR_EVENTS, k);
		EXPECT_FALSE(seen[k]);
		seen[k] = true;
	}
}

/* One event wakes many readers. Those that find no event do not hang. */
TEST_F_TIMEOUT(inotify, destroyed_with_many_readers, 60)
{
	ASSERT_EQ(NR_EVENTS, kaio_submit(self->fd, self->ctx, NR_EVENTS,
					 self->pointers));
	create(self);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_STAT(NR_EVENTS - 1, self->fd, "inflight");
	/* The teardown destroys the context. */
}

TEST_F(inotify, several_events)
{
	char buf[4 * INOTIFY_SIZE];
	struct iocb iocb;

	create(self);
	create(self);
	create(self);
	prep_pread(&iocb, self->file, buf, sizeof(buf), 0);
	EXPECT_EQ(3 * (__s64)INOTIFY_SIZE,
		  kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(2, inotify_number(buf + 2 * INOTIFY_SIZE));
}

TEST_F(inotify, vector)
{
	struct iovec iov[] = {
		{ self->bufs[0], INOTIFY_SIZE },
		{ self->bufs[1], INOTIFY_SIZE },
	};
	struct iocb iocb;

	create(self);
	create(self);
	prep_preadv(&iocb, self->file, iov, 2, 0);
	EXPECT_EQ(2 * (__s64)INOTIFY_SIZE,
		  kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, inotify_number(self->bufs[0]));
	EXPECT_EQ(1, inotify_number(self->bufs[1]));
}

/* read(2) fails in the same way: the buffer is too small. */
TEST_F(inotify, small_buffer)
{
	struct iocb iocb;
	char buf[8];

	create(self);
	EXPECT_EQ(-1, read(self->file, buf, sizeof(buf)));
	EXPECT_EQ(EINVAL, errno);
	prep_pread(&iocb, self->file, buf, sizeof(buf), 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_EQ(-EINVAL, self->events[0].res);
}

TEST_F(inotify, bad_buffer)
{
	struct iocb iocb;

	create(self);
	prep_pread(&iocb, self->file, NULL, INOTIFY_SIZE, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_EQ(-EFAULT, self->events[0].res);
}

TEST_F(inotify, nonblock)
{
	ASSERT_EQ(0, fcntl(self->file, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-EAGAIN, kaio_do(self->fd, self->ctx, &self->iocbs[0]));
	EXPECT_EQ(0, kaio_stat(self->fd, "parked"));
	create(self);
	EXPECT_EQ((__s64)INOTIFY_SIZE,
		  kaio_do(self->fd, self->ctx, &self->iocbs[0]));
}

/* RWF_NOWAIT is only for files that support it. */
TEST_F(inotify, nowait)
{
	self->iocbs[0].aio_rw_flags = RWF_NOWAIT;
	EXPECT_EQ(-EOPNOTSUPP,
		  kaio_submit_one(self->fd, self->ctx, &self->iocbs[0]));
}

TEST_F(inotify, cancelled)
{
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocbs[0]));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	EXPECT_EQ(-EINPROGRESS,
		  kaio_cancel(self->fd, self->ctx, &self->iocbs[0]));
	ASSERT_EQ(1, kaio_getevents(self->fd, self->ctx, 0, 1, self->events,
				    &no_wait));
	EXPECT_EQ(-ECANCELED, self->events[0].res);
	/* The event goes to another reader. */
	create(self);
	EXPECT_EQ((ssize_t)INOTIFY_SIZE,
		  read(self->file, self->bufs[1], INOTIFY_SIZE));
}

TEST_F(inotify, closed_meanwhile)
{
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocbs[0]));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	close(self->file);
	create(self);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_EQ((__s64)INOTIFY_SIZE, self->events[0].res);
}

/*
 * A terminal may say that it is ready, and another reader takes the line.
 */
FIXTURE(terminal)
{
	int fd;
	__u64 ctx;
	int leader;
	int follower;
	struct iocb iocbs[NR_EVENTS];
	struct iocb *pointers[NR_EVENTS];
	struct io_event events[NR_EVENTS];
	char bufs[NR_EVENTS][16];
};

FIXTURE_SETUP(terminal)
{
	int i;

	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	ASSERT_EQ(0, openpty(&self->leader, &self->follower, NULL, NULL, NULL));
	for (i = 0; i < NR_EVENTS; i++) {
		prep_pread(&self->iocbs[i], self->follower, self->bufs[i],
			   sizeof(self->bufs[i]), 0);
		self->iocbs[i].aio_data = i;
		self->pointers[i] = &self->iocbs[i];
	}
}

FIXTURE_TEARDOWN(terminal)
{
	destroy_soon(_metadata, self->fd, self->ctx);
}

TEST_F_TIMEOUT(terminal, two_readers, 60)
{
	long before;
	int i, first;

	for (i = 0; i < 20; i++) {
		before = sleeps();
		ASSERT_EQ(2, kaio_submit(self->fd, self->ctx, 2,
					 self->pointers));
		/*
		 * In later rounds, poll may wait until the echo is processed.
		 */
		if (!i)
			EXPECT_EQ(before, sleeps());
		ASSERT_EQ(3, write(self->leader, "ab\n", 3));
		ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
		first = self->events[0].data;
		EXPECT_EQ(3, self->events[0].res);
		EXPECT_EQ(0, memcmp(self->bufs[first], "ab\n", 3));
		EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
		EXPECT_STAT(1, self->fd, "inflight");
		ASSERT_EQ(3, write(self->leader, "cd\n", 3));
		ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
		EXPECT_EQ(!first, (int)self->events[0].data);
		EXPECT_EQ(3, self->events[0].res);
		EXPECT_EQ(0, memcmp(self->bufs[!first], "cd\n", 3));
	}
}

/* A reader outside kaio takes the line that has woken the request. */
TEST_F_TIMEOUT(terminal, reader_outside, 60)
{
	char buf[16];
	int i;

	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocbs[0]));
	for (i = 0; i < 20; i++) {
		const int outside = reopen(self->follower,
					   O_RDWR | O_NONBLOCK | O_NOCTTY);
		struct pollfd pollfd = { .fd = outside, .events = POLLIN };

		ASSERT_LE(0, outside);
		ASSERT_EQ(3, write(self->leader, "ab\n", 3));
		poll(&pollfd, 1, 50);
		if (read(outside, buf, sizeof(buf)) != 3) {
			/* The request was faster than the other reader. */
			ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1,
					       self->events));
			EXPECT_EQ(3, self->events[0].res);
			ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx,
						     &self->iocbs[0]));
		}
		close(outside);
	}
	/*
	 * However often the request was too slow, it still waits, and gets its
	 * line.
	 */
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	EXPECT_STAT(1, self->fd, "inflight");
	ASSERT_EQ(3, write(self->leader, "cd\n", 3));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_EQ(0, memcmp(self->bufs[0], "cd\n", 3));
}

TEST_F_TIMEOUT(terminal, destroyed_with_many_readers, 60)
{
	ASSERT_EQ(NR_EVENTS, kaio_submit(self->fd, self->ctx, NR_EVENTS,
					 self->pointers));
	ASSERT_EQ(3, write(self->leader, "ab\n", 3));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_EQ(3, self->events[0].res);
	/* The teardown destroys the context with the requests that are left. */
}

/* Requests for a terminal do not delay those for other files. */
TEST_F_TIMEOUT(terminal, other_files_do_not_wait, 60)
{
	const int file = open_temp(MEM_DIR, 0);
	struct iocb iocb;
	int i;

	ASSERT_EQ(NR_EVENTS - 1, kaio_submit(self->fd, self->ctx,
					     NR_EVENTS - 1, self->pointers));
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(3, write(self->leader, "ab\n", 3));
		ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
		EXPECT_EQ(3, self->events[0].res);
		prep_pwrite(&iocb, file, "x", 1, i);
		EXPECT_EQ(1, kaio_do(self->fd, self->ctx, &iocb));
	}
}

/*
 * The terminal says that it is ready when it has one byte, and read(2) then
 * waits up to 25 seconds for more. That is too long for a worker.
 */
static void wait_for_more(struct __test_metadata *const _metadata,
			  FIXTURE_DATA(terminal) *self)
{
	struct termios termios;

	ASSERT_EQ(0, tcgetattr(self->follower, &termios));
	cfmakeraw(&termios);
	termios.c_cc[VMIN] = 8;
	termios.c_cc[VTIME] = 250;
	ASSERT_EQ(0, tcsetattr(self->follower, TCSANOW, &termios));
}

TEST_F(terminal, ready_but_read_waits)
{
	const __s64 start = now_ns();

	wait_for_more(_metadata, self);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocbs[0]));
	ASSERT_EQ(1, write(self->leader, "x", 1));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_EQ(1, self->events[0].res);
	EXPECT_EQ('x', self->bufs[0][0]);
	EXPECT_GT(5 * NSEC_PER_SEC, now_ns() - start);
}

TEST_F(terminal, destroyed_while_read_waits)
{
	wait_for_more(_metadata, self);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocbs[0]));
	ASSERT_EQ(1, write(self->leader, "x", 1));
	ASSERT_TRUE(wait_until(kaio_stat(self->fd, "queued") > 0));
	/* The teardown destroys the context. */
}

TEST_F(terminal, cancelled)
{
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocbs[0]));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	EXPECT_EQ(-EINPROGRESS,
		  kaio_cancel(self->fd, self->ctx, &self->iocbs[0]));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_EQ(-ECANCELED, self->events[0].res);
}

/*
 * When the other end has closed, a read gets an error, and a moment later the
 * end of the file.
 */
TEST_F(terminal, hung_up)
{
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocbs[0]));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	close(self->leader);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_TRUE(self->events[0].res == -EIO || self->events[0].res == 0)
	{
		TH_LOG("res %lld", self->events[0].res);
	}
}

/*
 * A write to a terminal whose output is stopped (^S) waits until the output
 * continues.
 */
TEST_F(terminal, write_while_stopped)
{
	struct iocb iocb;
	char buf[16] = {};

	ASSERT_EQ(0, tcflow(self->follower, TCOOFF));
	prep_pwrite(&iocb, self->follower, "hello", 5, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	ASSERT_EQ(0, tcflow(self->follower, TCOON));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_EQ(5, self->events[0].res);
	ASSERT_EQ(5, read(self->leader, buf, sizeof(buf)));
	EXPECT_STREQ("hello", buf);
}

TEST_F(terminal, destroyed_while_stopped)
{
	struct iocb iocb;

	ASSERT_EQ(0, tcflow(self->follower, TCOOFF));
	prep_pwrite(&iocb, self->follower, "hello", 5, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	EXPECT_STAT(1, self->fd, "inflight");
}

/* A write of more than fits arrives as a whole while another process reads. */
TEST_F_TIMEOUT(terminal, long_write, 60)
{
	enum { LEN = 100 * 1000 };
	static char out[LEN], in[LEN];
	struct termios termios;
	struct iocb iocb;
	ssize_t n, sum;
	int i;

	ASSERT_EQ(0, tcgetattr(self->follower, &termios));
	cfmakeraw(&termios);
	ASSERT_EQ(0, tcsetattr(self->follower, TCSANOW, &termios));
	for (i = 0; i < LEN; i++)
		out[i] = 'a' + i % 23;
	prep_pwrite(&iocb, self->follower, out, LEN, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	for (sum = 0; sum < LEN; sum += n) {
		n = read(self->leader, in + sum, LEN - sum);
		ASSERT_LT(0, n);
	}
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_EQ(LEN, self->events[0].res);
	EXPECT_EQ(0, memcmp(in, out, LEN));
}

/*
 * The tests below use TCP connections.
 */
FIXTURE(inet)
{
	int fd;
	__u64 ctx;
	int listener;
	int here;
	int there;
	struct iocb iocb;
	struct io_event event;
	char buf[64];
};

FIXTURE_SETUP(inet)
{
	struct sockaddr_in addr;

	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ASSERT_TRUE(bind_to_loopback(self->listener, &addr));
	ASSERT_EQ(0, listen(self->listener, 1));
	self->here = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ASSERT_EQ(0, connect(self->here, (void *)&addr, sizeof(addr)));
	self->there = accept(self->listener, NULL, NULL);
	ASSERT_LE(0, self->there);
	prep_pread(&self->iocb, self->here, self->buf, sizeof(self->buf), 0);
	signal(SIGPIPE, SIG_IGN);
}

FIXTURE_TEARDOWN(inet)
{
	close_context(_metadata, self->fd, self->ctx);
}

static void park(struct __test_metadata *const _metadata,
		 FIXTURE_DATA(inet) *self)
{
	const long before = sleeps();

	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	EXPECT_EQ(before, sleeps());
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
}

TEST_F(inet, read)
{
	park(_metadata, self);
	ASSERT_EQ(5, write(self->there, "hello", 5));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(5, self->event.res);
	EXPECT_STREQ("hello", self->buf);
}

TEST_F(inet, end)
{
	park(_metadata, self);
	ASSERT_EQ(0, shutdown(self->there, SHUT_WR));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(0, self->event.res);
}

TEST_F(inet, reset)
{
	const struct linger hard = { .l_onoff = 1 };

	park(_metadata, self);
	ASSERT_EQ(0, setsockopt(self->there, SOL_SOCKET, SO_LINGER, &hard,
				sizeof(hard)));
	close(self->there);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(-ECONNRESET, self->event.res);
}

TEST_F_TIMEOUT(inet, long_write, 60)
{
	enum { LEN = 8 << 20 };
	char *out = malloc(LEN), *in = malloc(LEN);
	ssize_t n, sum;

	ASSERT_NE(NULL, out);
	ASSERT_NE(NULL, in);
	fill_pattern(out, LEN, 6, 0);
	prep_pwrite(&self->iocb, self->here, out, LEN, 0);
	park(_metadata, self);
	for (sum = 0; sum < LEN; sum += n) {
		n = read(self->there, in + sum, LEN - sum);
		ASSERT_LT(0, n);
	}
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(LEN, self->event.res);
	EXPECT_EQ(0, memcmp(in, out, LEN));
}

/* A listening socket cannot be read, and the read fails at once. */
TEST_F(inet, listener)
{
	aio_context_t native;
	struct answer answer;

	prep_pread(&self->iocb, self->listener, self->buf, 1, 0);
	answer = ask_kaio(self->fd, self->ctx, &self->iocb);
	EXPECT_EQ(1, answer.submit);
	EXPECT_EQ(-ENOTCONN, answer.res);
	if (!native_setup(1, &native))
		EXPECT_EQ(-ENOTCONN, ask_native(native, &self->iocb).res);
}

/*
 * The tests below use other kinds of files.
 */
FIXTURE(fifo)
{
	int fd;
	__u64 ctx;
	int in;
	int out;
	struct iocb iocb;
	struct io_event event;
	char buf[16];
};

/* The FIFO has a name, and each end is opened for its own purpose. */
FIXTURE_SETUP(fifo)
{
	const char *path = MEM_DIR "/kaio-files-fifo";

	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	unlink(path);
	ASSERT_EQ(0, mkfifo(path, 0600));
	self->in = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	self->out = open(path, O_WRONLY | O_CLOEXEC);
	ASSERT_LE(0, self->out);
	ASSERT_EQ(0, fcntl(self->in, F_SETFL, 0));
	ASSERT_EQ(0, unlink(path));
	signal(SIGPIPE, SIG_IGN);
}

FIXTURE_TEARDOWN(fifo)
{
	close_context(_metadata, self->fd, self->ctx);
}

TEST_F(fifo, read)
{
	const long before = sleeps();

	prep_pread(&self->iocb, self->in, self->buf, sizeof(self->buf), 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	EXPECT_EQ(before, sleeps());
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	ASSERT_EQ(5, write(self->out, "hello", 5));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(5, self->event.res);
	EXPECT_STREQ("hello", self->buf);
}

TEST_F(fifo, end)
{
	prep_pread(&self->iocb, self->in, self->buf, sizeof(self->buf), 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	close(self->out);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(0, self->event.res);
}

TEST_F(fifo, write)
{
	const size_t junk = fill_fd(self->out);
	static char got[1 << 20];
	long before = sleeps();
	size_t sum = 0;
	ssize_t n;

	ASSERT_LT(0, junk);
	ASSERT_GT(sizeof(got), junk + 5);
	prep_pwrite(&self->iocb, self->out, "hello", 5, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	EXPECT_EQ(before, sleeps());
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	for (; sum < junk + 5; sum += n) {
		n = read(self->in, got + sum, junk + 5 - sum);
		ASSERT_LT(0, n);
	}
	EXPECT_EQ(0, memcmp(got + junk, "hello", 5));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(5, self->event.res);
}

TEST_F(context, dev_full)
{
	const int file = full_device();
	char buf[16], zero[16] = {};
	struct iocb iocb;

	ASSERT_LE(0, file);
	memset(buf, 0x55, sizeof(buf));
	prep_pread(&iocb, file, buf, sizeof(buf), 0);
	EXPECT_EQ((__s64)sizeof(buf), kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, memcmp(buf, zero, sizeof(buf)));
}

TEST_F(context, dev_random)
{
	const int file = open("/dev/random", O_RDONLY | O_CLOEXEC);
	const char zero[64] = {};
	char buf[64] = {};
	struct iocb iocb;

	ASSERT_LE(0, file);
	prep_pread(&iocb, file, buf, sizeof(buf), 0);
	EXPECT_EQ((__s64)sizeof(buf), kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_NE(0, memcmp(buf, zero, sizeof(buf)));
}

TEST_F(context, memfd)
{
	const int file = memfd_create("kaio", MFD_CLOEXEC);
	char buf[16] = {};

	ASSERT_LE(0, file);
	EXPECT_EQ(5, do_pwrite(self->fd, self->ctx, file, "hello", 5, 3));
	EXPECT_EQ(8, do_pread(self->fd, self->ctx, file, buf, sizeof(buf), 0));
	EXPECT_EQ(0, memcmp(buf, "\0\0\0hello", 8));
}

/* A seal forbids the write. */
TEST_F(context, sealed_memfd)
{
	const int file = memfd_create("kaio", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct answer answer;
	struct iocb iocb;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	prep_pwrite(&iocb, file, "hello", 5, 0);
	answer = ask_kaio(self->fd, self->ctx, &iocb);
	EXPECT_EQ(1, answer.submit);
	EXPECT_EQ(-EPERM, answer.res);
}

/* The timer expires once, so only one of two reads completes. */
TEST_F(context, timerfd_with_two_readers)
{
	const struct itimerspec soon = { .it_value.tv_nsec = 1 };
	const int file = a_timerfd();
	struct iocb iocbs[2], *pointers[] = { &iocbs[0], &iocbs[1] };
	struct io_event event;
	__u64 counts[2] = {};

	prep_pread(&iocbs[0], file, &counts[0], 8, 0);
	prep_pread(&iocbs[1], file, &counts[1], 8, 0);
	ASSERT_EQ(2, kaio_submit(self->fd, self->ctx, 2, pointers));
	ASSERT_EQ(0, timerfd_settime(file, 0, &soon, NULL));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(8, event.res);
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	EXPECT_EQ(1, counts[0] + counts[1]);
	ASSERT_EQ(0, timerfd_settime(file, 0, &soon, NULL));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(1, counts[0]);
	EXPECT_EQ(1, counts[1]);
}

/* The eventfd is a semaphore: each read takes one. */
TEST_F(context, eventfd_semaphore)
{
	const int file = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	struct iocb iocbs[8], *pointers[8];
	struct io_event events[8];
	__u64 counts[8] = {};
	int i;

	for (i = 0; i < 8; i++) {
		prep_pread(&iocbs[i], file, &counts[i], 8, 0);
		pointers[i] = &iocbs[i];
	}
	ASSERT_EQ(8, kaio_submit(self->fd, self->ctx, 8, pointers));
	ASSERT_EQ(0, eventfd_write(file, 3));
	ASSERT_EQ(3, kaio_wait(self->fd, self->ctx, 3, events));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	ASSERT_EQ(0, eventfd_write(file, 5));
	ASSERT_EQ(5, kaio_wait(self->fd, self->ctx, 5, events));
	for (i = 0; i < 8; i++)
		EXPECT_EQ(1, counts[i]);
}

/* An eventfd has only write(2), so native AIO cannot write to it. */
TEST_F(context, eventfd_write)
{
	const int file = eventfd(0, EFD_CLOEXEC);
	struct io_event event;
	aio_context_t native;
	struct iocb iocb;
	__u64 one = 1;
	eventfd_t value;
	long before;

	prep_pwrite(&iocb, file, &one, 8, 0);
	if (!native_setup(1, &native))
		EXPECT_EQ(-EINVAL, ask_native(native, &iocb).submit);
	EXPECT_EQ(8, kaio_do(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, eventfd_read(file, &value));
	EXPECT_EQ(1, value);
	/* The write waits while the counter is full. */
	ASSERT_EQ(0, eventfd_write(file, 0xfffffffffffffffeULL));
	before = sleeps();
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(before, sleeps());
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	EXPECT_STAT(1, self->fd, "inflight");
	ASSERT_EQ(0, eventfd_read(file, &value));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(8, event.res);
	ASSERT_EQ(0, eventfd_read(file, &value));
	EXPECT_EQ(1, value);
}

/* The write method of an eventfd does not know IOCB_NOWAIT either. */
TEST_F(context, eventfd_write_nowait)
{
	const int file = eventfd(0, EFD_CLOEXEC);
	const __u64 one = 1;
	struct answer answer;
	struct iocb iocb;

	ASSERT_EQ(0, eventfd_write(file, 0xfffffffffffffffeULL));
	prep_pwrite(&iocb, file, &one, 8, 0);
	iocb.aio_rw_flags = RWF_NOWAIT;
	answer = ask_kaio(self->fd, self->ctx, &iocb);
	EXPECT_TRUE(answer.submit == -EOPNOTSUPP || answer.res == -EAGAIN)
	{
		TH_LOG("submit %ld, res %lld", answer.submit, answer.res);
	}
	ASSERT_EQ(0, fcntl(file, F_SETFL, O_NONBLOCK));
	iocb.aio_rw_flags = 0;
	EXPECT_EQ(-EAGAIN, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, kaio_stat(self->fd, "parked"));
}

TEST_F(context, eventfd_write_of_bad_value)
{
	const int file = eventfd(0, EFD_CLOEXEC);
	struct answer answer;
	__u64 all = ~0ULL;
	struct iocb iocb;

	prep_pwrite(&iocb, file, &all, 8, 0);
	answer = ask_kaio(self->fd, self->ctx, &iocb);
	EXPECT_EQ(1, answer.submit);
	EXPECT_EQ(-EINVAL, answer.res);
	prep_pwrite(&iocb, file, &all, 4, 0);
	EXPECT_EQ(-EINVAL, ask_kaio(self->fd, self->ctx, &iocb).res);
}

/* A datagram that is longer than the buffer is cut, as by read(2). */
TEST_F(context, datagram)
{
	struct io_event event;
	struct iocb iocb;
	char buf[4] = {};
	int ends[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends));
	prep_pread(&iocb, ends[0], buf, 3, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	ASSERT_EQ(5, write(ends[1], "hello", 5));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(3, event.res);
	EXPECT_STREQ("hel", buf);
	ASSERT_EQ(5, write(ends[1], "world", 5));
	EXPECT_EQ(3, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_STREQ("wor", buf);
}

TEST_HARNESS_MAIN
