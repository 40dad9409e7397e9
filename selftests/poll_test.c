// SPDX-License-Identifier: GPL-2.0
/*
 * Tests IOCB_CMD_POLL on every kind of file. A POLL completes once, with the
 * events that poll(2) reports.
 */
#include <mqueue.h>
#include <pty.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/signalfd.h>

#include "context_fixture.h"
#include "opponent.h"
#include "refused.h"
#include "sleeps.h"
#include "streams.h"

/* clang-format off */
#define REFUSED(_name, _err, _open, _events, _spoil) \
	FIXTURE_VARIANT_ADD(refused, _name) { \
		.opcode = IOCB_CMD_POLL, .err = _err, .buf = _events, \
		.open = _open, .make_invalid = _spoil, \
	}

REFUSED(offset, EINVAL, an_eventfd, POLLIN, some_offset);
REFUSED(negative_offset, EINVAL, an_eventfd, POLLIN, negative_offset);
REFUSED(nbytes, EINVAL, an_eventfd, POLLIN, some_nbytes);
REFUSED(known_rw_flag, EINVAL, an_eventfd, POLLIN, known_rw_flag);
REFUSED(unknown_rw_flag, EINVAL, an_eventfd, POLLIN, unknown_rw_flag);
REFUSED(events_17_bits, EINVAL, an_eventfd, 1 << 16 | POLLIN, NULL);
REFUSED(events_64_bits, EINVAL, an_eventfd, 1UL << 63 | POLLIN, NULL);
REFUSED(reserved2, EINVAL, an_eventfd, POLLIN, some_reserved2);
REFUSED(bad_resfd, EBADF, an_eventfd, POLLIN, bad_resfd);
REFUSED(resfd_of_file, EINVAL, a_file, POLLIN, own_fd_as_resfd);
REFUSED(fd_closed, EBADF, closed_fd, POLLIN, NULL);
REFUSED(fd_negative, EBADF, negative_fd, POLLIN, NULL);
REFUSED(fd_of_path, EBADF, path_fd, POLLIN, NULL);
/* These files are always ready for transfers, and never report other events. */
REFUSED(file_without_poll, EINVAL, a_file, POLLPRI, NULL);
REFUSED(device_without_poll, EINVAL, dev_null, POLLPRI, NULL);
/* clang-format on */

/*
 * The files below are not ready, and become ready.
 */
FIXTURE(watch)
{
	int fd;
	__u64 ctx;
	/* The file that is polled. */
	int file;
	/* The file or process that makes it ready. */
	int other;
	struct iocb iocb;
	struct io_event event;
};

FIXTURE_VARIANT(watch)
{
	bool (*open)(FIXTURE_DATA(watch) *self);
	void (*make_ready)(FIXTURE_DATA(watch) *self);
	short events;
	short want;
	/* The file offers two wait queues, which native AIO refuses. */
	bool two_queues;
	/* A poll takes the event away. */
	bool asked_once;
	/* The wanted events that may come a moment after the others. */
	short late;
	/*
	 * Events that the request asked for and that the wake-up reports
	 * without being true.
	 */
	short untrue;
};

static bool open_pair(FIXTURE_DATA(watch) *self, int domain)
{
	return open_ends(domain, SOCK_STREAM, &self->file, &self->other);
}

static bool open_reader(FIXTURE_DATA(watch) *self)
{
	return open_pair(self, 0);
}

static bool open_writer(FIXTURE_DATA(watch) *self)
{
	int reader;

	if (!open_pair(self, 0))
		return false;
	reader = self->file;
	self->file = self->other;
	self->other = reader;
	fill_fd(self->file);
	return true;
}

static bool open_socket(FIXTURE_DATA(watch) *self)
{
	return open_pair(self, AF_UNIX);
}

static bool open_full_socket(FIXTURE_DATA(watch) *self)
{
	if (!open_pair(self, AF_UNIX))
		return false;
	fill_fd(self->file);
	return true;
}

static bool open_eventfd(FIXTURE_DATA(watch) *self)
{
	self->file = self->other = eventfd(0, EFD_CLOEXEC);
	return self->file >= 0;
}

static bool open_full_eventfd(FIXTURE_DATA(watch) *self)
{
	return open_eventfd(self) &&
	       !eventfd_write(self->file, 0xfffffffffffffffeULL);
}

static bool open_timerfd(FIXTURE_DATA(watch) *self)
{
	self->file = a_timerfd();
	return self->file >= 0;
}

static bool open_terminal(FIXTURE_DATA(watch) *self)
{
	return !openpty(&self->other, &self->file, NULL, NULL, NULL);
}

static bool open_watched_dir(FIXTURE_DATA(watch) *self)
{
	self->file = inotify_open();
	return self->file >= 0;
}

static bool open_epoll(FIXTURE_DATA(watch) *self)
{
	struct epoll_event event = { .events = EPOLLIN };

	self->file = epoll_create1(EPOLL_CLOEXEC);
	self->other = eventfd(0, EFD_CLOEXEC);
	return !epoll_ctl(self->file, EPOLL_CTL_ADD, self->other, &event);
}

static bool open_epoll_in_epoll(FIXTURE_DATA(watch) *self)
{
	struct epoll_event event = { .events = EPOLLIN };
	int inner;

	if (!open_epoll(self))
		return false;
	inner = self->file;
	self->file = epoll_create1(EPOLL_CLOEXEC);
	return !epoll_ctl(self->file, EPOLL_CTL_ADD, inner, &event);
}

static bool open_pidfd(FIXTURE_DATA(watch) *self)
{
	self->other = fork();
	if (!self->other) {
		pause();
		_exit(0);
	}
	self->file = syscall(SYS_pidfd_open, self->other, 0);
	return self->file >= 0;
}

/* The wake-ups of a message queue have no key. */
static bool open_mqueue(FIXTURE_DATA(watch) *self)
{
	struct mq_attr attr = { .mq_maxmsg = 4, .mq_msgsize = 16 };

	mq_unlink("/kaio-poll");
	self->file = mq_open("/kaio-poll", O_CREAT | O_RDWR | O_CLOEXEC, 0600,
			     &attr);
	return self->file >= 0 && !mq_unlink("/kaio-poll");
}

#define MOUNT_POINT	MEM_DIR "/kaio-poll"

static bool open_mounts(FIXTURE_DATA(watch) *self)
{
	mkdir(MOUNT_POINT, 0700);
	self->file = open("/proc/self/mounts", O_RDONLY | O_CLOEXEC);
	return self->file >= 0;
}

static bool open_fifo(FIXTURE_DATA(watch) *self)
{
	self->file = self->other = fifo_open(MEM_DIR "/kaio-poll-fifo", 0);
	return self->file >= 0;
}

static void write_other(FIXTURE_DATA(watch) *self)
{
	if (write(self->other, "hello\n", 6) != 6)
		abort();
}

static void drain_other(FIXTURE_DATA(watch) *self)
{
	drain_fd(self->other);
}

static void close_other(FIXTURE_DATA(watch) *self)
{
	close(self->other);
	self->other = -1;
}

static void shut_down_other(FIXTURE_DATA(watch) *self)
{
	shutdown(self->other, SHUT_WR);
}

static void count_up(FIXTURE_DATA(watch) *self)
{
	eventfd_write(self->other, 1);
}

static void count_down(FIXTURE_DATA(watch) *self)
{
	eventfd_t value;

	eventfd_read(self->file, &value);
}

static void set_timer(FIXTURE_DATA(watch) *self)
{
	const struct itimerspec soon = { .it_value.tv_nsec = 1 };

	timerfd_settime(self->file, 0, &soon, NULL);
	wait_until(poll_now(self->file, POLLIN));
}

static void create_file(FIXTURE_DATA(watch) *self)
{
	(void)self;
	inotify_raise(0);
}

static void kill_other(FIXTURE_DATA(watch) *self)
{
	siginfo_t info;

	kill(self->other, SIGKILL);
	/* The process stays a zombie. */
	waitid(P_PID, self->other, &info, WEXITED | WNOWAIT);
}

static void send_message(FIXTURE_DATA(watch) *self)
{
	mq_send(self->file, "hello", 5, 0);
}

static void mount_something(FIXTURE_DATA(watch) *self)
{
	(void)self;
	if (mount("tmpfs", MOUNT_POINT, "tmpfs", 0, NULL) ||
	    umount(MOUNT_POINT))
		abort();
}

/* clang-format off */
#define WATCH(_name, _open, _make_ready, _events, _want, ...) \
	FIXTURE_VARIANT_ADD(watch, _name) { \
		.open = _open, .make_ready = _make_ready, \
		.events = _events, .want = _want, __VA_ARGS__ \
	}

WATCH(pipe_in, open_reader, write_other, POLLIN, POLLIN);
WATCH(pipe_rdnorm, open_reader, write_other, POLLRDNORM, POLLRDNORM);
WATCH(pipe_in_and_hup, open_reader, close_other, POLLIN, POLLHUP);
WATCH(pipe_hup, open_reader, close_other, 0, POLLHUP);
WATCH(pipe_out, open_writer, drain_other, POLLOUT, POLLOUT);
WATCH(pipe_err, open_writer, close_other, 0, POLLERR);
WATCH(socket_in, open_socket, write_other, POLLIN, POLLIN);
WATCH(socket_in_or_pri, open_socket, write_other, POLLIN | POLLPRI, POLLIN,
	.untrue = POLLPRI);
WATCH(socket_out, open_full_socket, drain_other, POLLOUT, POLLOUT);
WATCH(socket_rdhup, open_socket, shut_down_other, POLLRDHUP, POLLRDHUP);
WATCH(socket_hup, open_socket, close_other, 0, POLLHUP);
WATCH(eventfd_in, open_eventfd, count_up, POLLIN, POLLIN);
WATCH(eventfd_out, open_full_eventfd, count_down, POLLOUT, POLLOUT);
WATCH(timerfd_in, open_timerfd, set_timer, POLLIN, POLLIN);
WATCH(terminal_in, open_terminal, write_other, POLLIN, POLLIN,
	.two_queues = true);
WATCH(terminal_hup, open_terminal, close_other, 0, POLLHUP | POLLERR,
	.two_queues = true, .late = POLLERR);
WATCH(inotify_in, open_watched_dir, create_file, POLLIN, POLLIN);
WATCH(epoll_in, open_epoll, count_up, POLLIN, POLLIN);
WATCH(epoll_in_epoll, open_epoll_in_epoll, count_up, POLLIN, POLLIN);
WATCH(pidfd_in, open_pidfd, kill_other, POLLIN, POLLIN);
WATCH(mqueue_in, open_mqueue, send_message, POLLIN, POLLIN);
WATCH(mounts_pri, open_mounts, mount_something, POLLPRI, POLLPRI | POLLERR,
	.asked_once = true);
WATCH(fifo_in, open_fifo, write_other, POLLIN, POLLIN, .two_queues = true);
/* clang-format on */

FIXTURE_SETUP(watch)
{
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	ASSERT_TRUE(variant->open(self));
	ASSERT_EQ(0, poll_now(self->file, variant->events));
	prep_poll(&self->iocb, self->file, variant->events);
}

/*
 * Returns the requested events of a late result. As natively, such a result has
 * all the events that the wake-up reported, true or not.
 */
static __s64 asked(const FIXTURE_VARIANT(watch) *variant, __s64 res)
{
	return (res & (variant->events | POLLERR | POLLHUP)) | variant->late;
}

FIXTURE_TEARDOWN(watch)
{
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	expect_all_completed(_metadata, self->fd);
	close(self->fd);
	close(self->file);
}

TEST_F(watch, becomes_ready)
{
	const long before = sleeps();

	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	EXPECT_EQ(before, sleeps());
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	EXPECT_STAT(1, self->fd, "inflight");
	EXPECT_EQ(1, kaio_stat(self->fd, "parked"));
	variant->make_ready(self);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(variant->want | variant->untrue,
		  asked(variant, self->event.res));
	EXPECT_EQ((uintptr_t)&self->iocb, self->event.obj);
	if (!variant->asked_once)
		EXPECT_EQ(variant->want,
			  poll_now(self->file, variant->events) |
				  variant->late);
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
}

TEST_F(watch, ready_at_submit)
{
	variant->make_ready(self);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	ASSERT_EQ(1, kaio_getevents(self->fd, self->ctx, 0, 1, &self->event,
				    &no_wait));
	EXPECT_EQ(variant->want, self->event.res | variant->late);
	EXPECT_EQ(1, kaio_stat(self->fd, "inline"));
}

/* Each request gets the event. */
TEST_F(watch, many_requests)
{
	struct iocb iocbs[NR_EVENTS], *pointers[NR_EVENTS];
	struct io_event events[NR_EVENTS];
	bool seen[NR_EVENTS] = {};
	int i, nr = NR_EVENTS;

	if (variant->asked_once)
		nr = 1;
	for (i = 0; i < nr; i++) {
		iocbs[i] = self->iocb;
		iocbs[i].aio_data = i;
		pointers[i] = &iocbs[i];
	}
	ASSERT_EQ(nr, kaio_submit(self->fd, self->ctx, nr, pointers));
	EXPECT_STAT(nr, self->fd, "inflight");
	variant->make_ready(self);
	ASSERT_EQ(nr, kaio_wait(self->fd, self->ctx, nr, events));
	for (i = 0; i < nr; i++) {
		ASSERT_GT(nr, (int)events[i].data);
		EXPECT_FALSE(seen[events[i].data]);
		seen[events[i].data] = true;
		EXPECT_EQ(variant->want | variant->untrue,
			  asked(variant, events[i].res));
	}
}

/* The request holds the file. */
TEST_F(watch, closed_meanwhile)
{
	if (self->file == self->other || variant->make_ready == set_timer ||
	    variant->make_ready == send_message)
		return;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	close(self->file);
	self->file = -1;
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	variant->make_ready(self);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(variant->want | variant->untrue,
		  asked(variant, self->event.res));
}

TEST_F(watch, destroyed)
{
	const __s64 start = now_ns();

	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_GT(5 * NSEC_PER_SEC, now_ns() - start);
	EXPECT_STAT(0, self->fd, "inflight");
	EXPECT_EQ(1, kaio_stat(self->fd, "cancelled"));
	/* The file still works, and its queue has no entry of the request. */
	variant->make_ready(self);
	ASSERT_EQ(0, kaio_setup(self->fd, 1, &self->ctx));
	if (!variant->asked_once)
		EXPECT_EQ(variant->want,
			  poll_now(self->file, variant->events) |
				  variant->late);
}

/* For the same wake-up, native AIO and kaio give the same result. */
TEST_F(watch, as_native)
{
	struct iocb *iocb = &self->iocb;
	struct io_event theirs;
	aio_context_t native;

	if (native_setup(1, &native))
		SKIP(return, "this kernel has no native AIO");
	if (variant->two_queues) {
		EXPECT_EQ(-EINVAL, native_submit(native, 1, &iocb));
		return;
	}
	ASSERT_EQ(1, native_submit(native, 1, &iocb));
	if (!variant->asked_once)
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, iocb));
	variant->make_ready(self);
	ASSERT_EQ(1, native_getevents(native, 1, 1, &theirs, &patience));
	EXPECT_EQ(variant->want, theirs.res & variant->want);
	if (variant->asked_once)
		return;
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(theirs.res, self->event.res)
	{
		TH_LOG("natively %#llx, here %#llx", theirs.res, self->event.res);
	}
}

/*
 * Files without a poll method are always ready.
 */
FIXTURE(always)
{
	int fd;
	__u64 ctx;
	int file;
};

FIXTURE_VARIANT(always)
{
	int (*open)(void);
};

/* clang-format off */
FIXTURE_VARIANT_ADD(always, file) { a_file };
FIXTURE_VARIANT_ADD(always, directory) { a_directory };
FIXTURE_VARIANT_ADD(always, device) { dev_null };
FIXTURE_VARIANT_ADD(always, proc_file) { proc_file };
/* clang-format on */

FIXTURE_SETUP(always)
{
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->file = variant->open();
	ASSERT_LE(0, self->file);
}

FIXTURE_TEARDOWN(always)
{
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	close(self->fd);
}

TEST_F(always, ready)
{
	const short asked[] = { POLLIN, POLLOUT, POLLIN | POLLOUT,
				POLLIN | POLLPRI, POLLRDNORM | POLLWRNORM };
	struct iocb iocb;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(asked); i++) {
		prep_poll(&iocb, self->file, asked[i]);
		EXPECT_EQ(poll_now(self->file, asked[i]),
			  kaio_do(self->fd, self->ctx, &iocb))
		{
			TH_LOG("events %#x", asked[i]);
		}
	}
	EXPECT_EQ((long)ARRAY_SIZE(asked), kaio_stat(self->fd, "inline"));
}

TEST_F(always, as_native)
{
	struct answer answer;
	aio_context_t native;
	struct iocb iocb;

	if (native_setup(1, &native))
		SKIP(return, "this kernel has no native AIO");
	prep_poll(&iocb, self->file, POLLIN | POLLOUT);
	answer = ask_native(native, &iocb);
	EXPECT_EQ(1, answer.submit);
	EXPECT_EQ(answer.res, kaio_do(self->fd, self->ctx, &iocb));
}

/*
 * The tests below use the context alone.
 */
TEST_F(context, one_event)
{
	const int file = eventfd(0, EFD_CLOEXEC);
	struct io_event event;
	struct iocb iocb;

	prep_poll(&iocb, file, POLLIN);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, eventfd_write(file, 1));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	ASSERT_EQ(0, eventfd_write(file, 1));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	EXPECT_STAT(0, self->fd, "inflight");
	EXPECT_STAT(1, self->fd, "completed");
}

TEST_F_TIMEOUT(context, thousand_requests, 60)
{
	enum { THOUSAND = 1000 };
	const int file = eventfd(0, EFD_CLOEXEC);
	static struct iocb iocbs[THOUSAND];
	static struct iocb *pointers[THOUSAND];
	static struct io_event events[THOUSAND];
	static bool seen[THOUSAND];
	__u64 ctx;
	int i;

	ASSERT_EQ(0, kaio_setup(self->fd, THOUSAND, &ctx));
	for (i = 0; i < THOUSAND; i++) {
		prep_poll(&iocbs[i], file, POLLIN);
		iocbs[i].aio_data = i;
		pointers[i] = &iocbs[i];
	}
	ASSERT_EQ(THOUSAND, kaio_submit(self->fd, ctx, THOUSAND, pointers));
	EXPECT_STAT(THOUSAND, self->fd, "inflight");
	ASSERT_EQ(0, eventfd_write(file, 1));
	ASSERT_EQ(THOUSAND, kaio_wait(self->fd, ctx, THOUSAND, events));
	for (i = 0; i < THOUSAND; i++) {
		ASSERT_GT(THOUSAND, (int)events[i].data);
		ASSERT_FALSE(seen[events[i].data]);
		seen[events[i].data] = true;
		ASSERT_EQ(POLLIN, events[i].res);
	}
	EXPECT_EQ(0, kaio_getevents(self->fd, ctx, 0, 1, events, &no_wait));
	EXPECT_STAT(0, self->fd, "inflight");
	EXPECT_EQ(0, kaio_destroy(self->fd, ctx));
}

/* A POLL takes no data away from a read. */
TEST_F(context, beside_a_read)
{
	struct io_event events[2];
	struct iocb poll, read;
	char buf[8] = {};
	int ends[2];

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	prep_poll(&poll, ends[0], POLLIN);
	prep_pread(&read, ends[0], buf, sizeof(buf), 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &poll));
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &read));
	ASSERT_EQ(5, write(ends[1], "hello", 5));
	/*
	 * The read may be faster than the POLL, which ends in the wake-up in any
	 * case.
	 */
	ASSERT_EQ(2, kaio_wait(self->fd, self->ctx, 2, events));
	EXPECT_NE(events[0].obj, events[1].obj);
	/* As natively, the wake-up reported both events. */
	EXPECT_EQ(POLLIN | POLLRDNORM,
		  events[events[0].obj != (uintptr_t)&poll].res);
	EXPECT_EQ(5, events[events[0].obj == (uintptr_t)&poll].res);
	EXPECT_STREQ("hello", buf);
}

/* A counter at its maximum is in error. */
TEST_F(context, eventfd_at_maximum)
{
	const int file = eventfd(0, EFD_CLOEXEC);
	struct iocb noop, poll;

	ASSERT_EQ(0, eventfd_write(file, 0xfffffffffffffffeULL));
	prep_noop(&noop, self->fd);
	noop.aio_flags = IOCB_FLAG_RESFD;
	noop.aio_resfd = file;
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &noop));
	EXPECT_TRUE(wait_until(poll_now(file, 0) == POLLERR));
	prep_poll(&poll, file, 0);
	EXPECT_EQ(POLLERR, kaio_do(self->fd, self->ctx, &poll));
}

/* The argument of polls_once(): poll(2) of a file, for a thread. */
struct polls {
	int file;
};

static long polls_once(void *arg)
{
	const struct polls *polls = arg;
	struct pollfd pollfd = { .fd = polls->file, .events = POLLIN };

	return poll(&pollfd, 1, PATIENCE_SECONDS * 1000);
}

/*
 * The event is in the ring when the call returns that makes the file ready: no
 * thread has to run in between. The program sees it without a system call.
 */
static void expect_end_in_wake_up(struct __test_metadata *const _metadata,
				  FIXTURE_DATA(context) *self, int file,
				  int other, int res)
{
	const __u64 one = 1;
	struct io_event event;
	struct iocb iocb;

	prep_poll(&iocb, file, POLLIN);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, ring_reap(self->ctx, &event, 1));
	ASSERT_EQ(sizeof(one), write(other, &one, sizeof(one)));
	ASSERT_EQ(1, ring_reap(self->ctx, &event, 1));
	EXPECT_EQ((uintptr_t)&iocb, event.obj);
	EXPECT_EQ(res, event.res);
	EXPECT_EQ(1, kaio_stat(self->fd, "kicked"));
	EXPECT_STAT(1, self->fd, "completed");
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
}

TEST_F(context, eventfd_ends_in_wake_up)
{
	const int file = eventfd(0, EFD_CLOEXEC);

	expect_end_in_wake_up(_metadata, self, file, file, POLLIN);
}

TEST_F(context, pipe_ends_in_wake_up)
{
	int ends[2];

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	expect_end_in_wake_up(_metadata, self, ends[0], ends[1],
			      POLLIN | POLLRDNORM);
}

/* A socket wakes its waiters with the events of urgent data, too. */
TEST_F(context, socket_ends_in_wake_up)
{
	int ends[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	expect_end_in_wake_up(_metadata, self, ends[0], ends[1],
			      POLLIN | POLLPRI | POLLRDNORM | POLLRDBAND);
}

/*
 * Many POLLs wait on one queue. The wake-up ends some of them, the kick handler
 * the rest, and each has one event.
 */
TEST_F(context, many_end_after_one_wake_up)
{
	enum { MANY = 200, IN_WAKE_UP = 64 };
	const int file = eventfd(0, EFD_CLOEXEC);
	static struct io_event events[MANY];
	static struct iocb iocbs[MANY];
	bool seen[MANY] = {};
	int i, at_once;
	__u64 ctx;

	ASSERT_EQ(0, kaio_setup(self->fd, MANY, &ctx));
	for (i = 0; i < MANY; i++) {
		prep_poll(&iocbs[i], file, POLLIN);
		iocbs[i].aio_data = i;
		ASSERT_EQ(1, kaio_submit_one(self->fd, ctx, &iocbs[i]));
	}
	ASSERT_EQ(0, eventfd_write(file, 1));
	at_once = ring_reap(ctx, events, MANY);
	EXPECT_LE(IN_WAKE_UP, at_once);
	ASSERT_EQ(MANY - at_once,
		  kaio_wait(self->fd, ctx, MANY - at_once, events + at_once));
	for (i = 0; i < MANY; i++) {
		ASSERT_GT(MANY, (int)events[i].data);
		ASSERT_FALSE(seen[events[i].data]);
		seen[events[i].data] = true;
		ASSERT_EQ(POLLIN, events[i].res);
	}
	EXPECT_EQ(MANY, kaio_stat(self->fd, "kicked"));
	EXPECT_EQ(0, kaio_destroy(self->fd, ctx));
}

/*
 * The polled epoll file watches the device. To wake the tasks that poll the
 * device within the wake-up would take the locks of the epoll file twice.
 */
TEST_F(context, polled_epoll_watches_device)
{
	const int watched = eventfd(0, EFD_CLOEXEC);
	const int file = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event interest = { .events = EPOLLIN }, found[2];
	struct io_event event;
	struct iocb iocb;
	eventfd_t value;
	int i;

	ASSERT_EQ(0, epoll_ctl(file, EPOLL_CTL_ADD, watched, &interest));
	ASSERT_EQ(0, epoll_ctl(file, EPOLL_CTL_ADD, self->fd, &interest));
	prep_poll(&iocb, file, POLLIN);
	for (i = 0; i < 50; i++) {
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
		ASSERT_EQ(0, eventfd_write(watched, 1));
		/* The device is readable, too, once the event is there. */
		ASSERT_TRUE(wait_until(epoll_wait(file, found, 2, 0) == 2));
		ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
		EXPECT_TRUE(event.res & POLLIN);
		ASSERT_EQ(0, eventfd_read(watched, &value));
	}
}

/* A task that polls the device is woken by a POLL that ends in a wake-up. */
TEST_F(context, end_in_wake_up_wakes_poll_of_device)
{
	const int file = eventfd(0, EFD_CLOEXEC);
	struct iocb iocb;
	int i;

	prep_poll(&iocb, file, POLLIN);
	for (i = 0; i < 200; i++) {
		struct polls polls = { .file = self->fd };
		struct sleeper sleeper;
		struct io_event event;
		eventfd_t value;

		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
		ASSERT_TRUE(start_call(&sleeper, polls_once, &polls));
		dawdle(i);
		ASSERT_EQ(0, eventfd_write(file, 1));
		ASSERT_EQ(1, woken(&sleeper));
		ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
		ASSERT_EQ(0, eventfd_read(file, &value));
	}
}

/* Submits a POLL of @file whose completion @counter counts. */
static void poll_and_count(struct __test_metadata *const _metadata,
			   FIXTURE_DATA(context) *self, int file, int counter)
{
	struct iocb iocb;

	prep_poll(&iocb, file, POLLIN);
	iocb.aio_flags = IOCB_FLAG_RESFD;
	iocb.aio_resfd = counter;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
}

static void expect_readable(struct __test_metadata *const _metadata,
			    FIXTURE_DATA(context) *self)
{
	struct io_event event;

	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(POLLIN, event.res);
}

/* The POLL waits for the same eventfd that counts its completion. */
TEST_F(context, eventfd_counts_and_is_polled)
{
	const int file = eventfd(0, EFD_CLOEXEC);
	eventfd_t value;

	poll_and_count(_metadata, self, file, file);
	ASSERT_EQ(0, eventfd_write(file, 10));
	expect_readable(_metadata, self);
	ASSERT_EQ(0, eventfd_read(file, &value));
	while (value < 11) {
		eventfd_t more;

		ASSERT_EQ(0, eventfd_read(file, &more));
		value += more;
	}
	EXPECT_EQ(11, value);
}

/*
 * The polled epoll file watches the eventfd that counts the completion. To
 * count within the wake-up would take the locks of the epoll file twice.
 */
TEST_F(context, eventfd_counts_in_polled_epoll)
{
	const int watched = eventfd(0, EFD_CLOEXEC);
	const int counter = eventfd(0, EFD_CLOEXEC);
	const int file = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event interest = { .events = EPOLLIN };
	eventfd_t value;
	int i;

	ASSERT_EQ(0, epoll_ctl(file, EPOLL_CTL_ADD, watched, &interest));
	ASSERT_EQ(0, epoll_ctl(file, EPOLL_CTL_ADD, counter, &interest));
	for (i = 0; i < 50; i++) {
		poll_and_count(_metadata, self, file, counter);
		ASSERT_EQ(0, eventfd_write(watched, 1));
		expect_readable(_metadata, self);
		ASSERT_EQ(0, eventfd_read(counter, &value));
		EXPECT_EQ(1, value);
		ASSERT_EQ(0, eventfd_read(watched, &value));
	}
}

static void make_readable(void *file)
{
	eventfd_write(*(int *)file, 1);
}

/* A file that becomes ready during the submit call is not missed. */
TEST_F_TIMEOUT(context, ready_while_submitted, 60)
{
	int i, file = eventfd(0, EFD_CLOEXEC);
	struct opponent writer = {
		.act = make_readable,
		.arg = &file,
		.rounds = 1000,
	};
	struct io_event event;
	struct iocb iocb;
	eventfd_t value;

	start_opponent(_metadata, &writer);
	for (i = 0; i < writer.rounds; i++) {
		prep_poll(&iocb, file, POLLIN);
		begin_round(&writer);
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
		ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
		end_round(&writer);
		ASSERT_EQ(POLLIN, event.res);
		ASSERT_EQ(0, eventfd_read(file, &value));
	}
	ASSERT_EQ(0, result_of_call(&writer.thread));
	EXPECT_STAT(writer.rounds, self->fd, "completed");
}

/*
 * The wait queue of a signalfd belongs to the task that polls it, and is freed
 * with the signal handlers of that task.
 */
struct watcher {
	int fd;
	__u64 ctx;
	struct iocb iocb;
	long ret;
};

static int submits_and_exits(void *arg)
{
	struct watcher *watcher = arg;

	watcher->ret = kaio_submit_one(watcher->fd, watcher->ctx,
				       &watcher->iocb);
	return 0;
}

/*
 * Submits the request in a process that shares the memory of this process, and
 * so the context, but not its signal handlers. The process is a zombie when
 * this returns.
 */
static pid_t submit_by_another(struct __test_metadata *const _metadata,
			       struct watcher *watcher)
{
	static char stack[16 * PAGE];
	pid_t pid;

	pid = clone(submits_and_exits, stack + sizeof(stack),
		    CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, watcher);
	ASSERT_LT(0, pid);
	ASSERT_EQ(1, watcher->ret);
	return pid;
}

static int a_signalfd(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

TEST_F(context, signalfd_ready)
{
	const int file = a_signalfd();
	struct iocb iocb;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, raise(SIGUSR1));
	prep_poll(&iocb, file, POLLIN);
	EXPECT_EQ(POLLIN, kaio_do(self->fd, self->ctx, &iocb));
}

/*
 * Only the task of a signalfd can see that it is ready, whatever thread runs
 * the request.
 */
TEST_F(context, signalfd_later)
{
	const int file = a_signalfd();
	struct io_event event;
	struct iocb iocb;

	ASSERT_LE(0, file);
	prep_poll(&iocb, file, POLLIN);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	ASSERT_EQ(0, raise(SIGUSR1));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(POLLIN, event.res);
	EXPECT_EQ(POLLIN, poll_now(file, POLLIN));
}

TEST_F(context, signalfd_not_ready)
{
	const int file = a_signalfd();
	struct iocb iocb;

	ASSERT_LE(0, file);
	prep_poll(&iocb, file, POLLIN);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	EXPECT_STAT(1, self->fd, "inflight");
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_STAT(0, self->fd, "inflight");
}

TEST_F_TIMEOUT(context, queue_freed, 60)
{
	struct watcher watcher = { .fd = self->fd, .ctx = self->ctx };
	struct io_event event;
	int i, status;
	pid_t pid;

	prep_poll(&watcher.iocb, a_signalfd(), POLLIN);
	for (i = 0; i < 50; i++) {
		pid = submit_by_another(_metadata, &watcher);
		EXPECT_STAT(1, self->fd, "inflight");
		/*
		 * The exit of the process frees its signal handlers, and the
		 * queue with them.
		 */
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
		EXPECT_EQ((uintptr_t)&watcher.iocb, event.obj);
		EXPECT_TRUE(event.res == 0 || event.res == POLLHUP)
		{
			TH_LOG("res %lld", event.res);
		}
	}
	EXPECT_STAT(50, self->fd, "completed");
}

static void *reaps(void *arg)
{
	const pid_t *pid = arg;

	waitpid(*pid, NULL, 0);
	return NULL;
}

/* The queue is freed while the request is removed from it. */
TEST_F_TIMEOUT(context, queue_freed_while_cancelled, 60)
{
	struct watcher watcher = { .fd = self->fd, .ctx = self->ctx };
	struct io_event event;
	pthread_t thread;
	pid_t pid;
	long ret;
	int i;

	prep_poll(&watcher.iocb, a_signalfd(), POLLIN);
	for (i = 0; i < 200; i++) {
		pid = submit_by_another(_metadata, &watcher);
		ASSERT_EQ(0, pthread_create(&thread, NULL, reaps, &pid));
		ret = kaio_cancel(self->fd, self->ctx, &watcher.iocb);
		ASSERT_TRUE(ret == -EINPROGRESS || ret == -EINVAL)
		{
			TH_LOG("cancel: %ld", ret);
		}
		ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
		EXPECT_EQ((uintptr_t)&watcher.iocb, event.obj);
		ASSERT_EQ(0, pthread_join(thread, NULL));
	}
	EXPECT_STAT(200, self->fd, "completed");
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 1, &event,
				    &no_wait));
}

/* The queue is freed while the context is destroyed. */
TEST_F_TIMEOUT(context, queue_freed_while_destroyed, 60)
{
	struct watcher watcher = { .fd = self->fd };
	pthread_t thread;
	pid_t pid;
	int i;

	prep_poll(&watcher.iocb, a_signalfd(), POLLIN);
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, kaio_setup(self->fd, 1, &watcher.ctx));
		pid = submit_by_another(_metadata, &watcher);
		ASSERT_EQ(0, pthread_create(&thread, NULL, reaps, &pid));
		ASSERT_EQ(0, kaio_destroy(self->fd, watcher.ctx));
		ASSERT_EQ(0, pthread_join(thread, NULL));
	}
	EXPECT_STAT(0, self->fd, "inflight");
}

TEST_HARNESS_MAIN
