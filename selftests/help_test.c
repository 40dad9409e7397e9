// SPDX-License-Identifier: GPL-2.0
/*
 * Tests kicked requests that a thread runs while it waits for events. The
 * thread runs a request if it would have submitted it in the same way, and a
 * kworker runs it otherwise. Each request has one event, and no thread waits
 * longer than its timeout.
 */
#include <linux/capability.h>
#include <sys/file.h>
#include <sys/prctl.h>

#include "context_fixture.h"
#include "devices.h"
#include "mock_fixture.h"

/* Returns how often a waiting thread ran a request. */
static long helped(int fd)
{
	return kaio_stat(fd, "helped");
}

/*
 * The functions below wait in different ways. They are calls for fall_asleep().
 */
static long wait_with_mask(void *arg)
{
	struct waiter *waiter = arg;
	sigset_t none;

	sigemptyset(&none);
	return kaio_pgetevents(waiter->fd, waiter->ctx, waiter->nr, waiter->nr,
			       waiter->events, NULL, &none);
}

static long wait_and_leave(void *arg)
{
	struct waiter *waiter = arg;
	const long nr = kaio_peek(waiter->fd, waiter->ctx, waiter->nr,
				  waiter->nr, NULL);

	if (nr < 0)
		return nr;
	return ring_reap(waiter->ctx, waiter->events, nr);
}

/* The submitted request does not complete. */
static long submit_and_wait(void *arg)
{
	static struct iocb iocb, *pointer = &iocb;
	struct waiter *waiter = arg;
	static char c;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	prep_pread(&iocb, ends[0], &c, 1, 0);
	return kaio_submit_wait(waiter->fd, waiter->ctx, 1, &pointer,
				waiter->nr, waiter->nr, waiter->events, NULL,
				NULL);
}

static long wait_until_then(void *arg)
{
	struct waiter *waiter = arg;
	struct timespec end;
	struct kaio_getevents get = {
		.ctx_id = waiter->ctx,
		.min_nr = waiter->nr,
		.nr = waiter->nr,
		.events = (uintptr_t)waiter->events,
		.timeout = (uintptr_t)&end,
		.flags = KAIO_GETEVENTS_ABSTIME,
	};

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += PATIENCE_SECONDS;
	return kaio_ioctl(waiter->fd, KAIO_GETEVENTS, &get);
}

FIXTURE(helper)
{
	int fd;
	__u64 ctx;
	struct sleeper sleeper;
	struct waiter waiter;
	struct iocb iocb;
	char buf[16];
};

FIXTURE_VARIANT(helper)
{
	long (*wait)(void *arg);
};

/* clang-format off */
FIXTURE_VARIANT_ADD(helper, getevents) { wait_for_events };
FIXTURE_VARIANT_ADD(helper, pgetevents) { wait_with_mask };
FIXTURE_VARIANT_ADD(helper, peek) { wait_and_leave };
FIXTURE_VARIANT_ADD(helper, submit_wait) { submit_and_wait };
FIXTURE_VARIANT_ADD(helper, abstime) { wait_until_then };
/* clang-format on */

FIXTURE_SETUP(helper)
{
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->waiter = (struct waiter){ self->fd, self->ctx, 1, {} };
	ASSERT_TRUE(fall_asleep(&self->sleeper, variant->wait, &self->waiter));
}

FIXTURE_TEARDOWN(helper)
{
	kaio_destroy(self->fd, self->ctx);
	EXPECT_STAT(0, self->fd, "inflight");
	close(self->fd);
}

static void expect_event(struct __test_metadata *const _metadata,
			 FIXTURE_DATA(helper) *self, __s64 res)
{
	ASSERT_EQ(1, woken(&self->sleeper));
	EXPECT_EQ((uintptr_t)&self->iocb, self->waiter.events[0].obj);
	EXPECT_EQ((uintptr_t)&self->iocb, self->waiter.events[0].data);
	EXPECT_EQ(res, self->waiter.events[0].res);
	EXPECT_EQ(0, self->waiter.events[0].res2);
}

static void expect_help(struct __test_metadata *const _metadata,
			FIXTURE_DATA(helper) *self, __s64 res)
{
	expect_event(_metadata, self, res);
	EXPECT_EQ(1, helped(self->fd));
}

TEST_F(helper, read_of_a_pipe)
{
	int ends[2];

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	prep_pread(&self->iocb, ends[0], self->buf, sizeof(self->buf), 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	ASSERT_EQ(0, helped(self->fd));
	ASSERT_EQ(5, write(ends[1], "hello", 5));
	expect_help(_metadata, self, 5);
	EXPECT_STREQ("hello", self->buf);
}

TEST_F(helper, read_of_a_socket)
{
	int ends[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	prep_pread(&self->iocb, ends[0], self->buf, sizeof(self->buf), 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	ASSERT_EQ(5, write(ends[1], "hello", 5));
	expect_help(_metadata, self, 5);
	EXPECT_STREQ("hello", self->buf);
}

/*
 * A FIFO that is open for reading and writing has two wait queues, so the
 * wake-up of one does not end the POLL.
 */
TEST_F(helper, poll)
{
	const char *const path = MEM_DIR "/helped-fifo";
	int fifo;

	ASSERT_EQ(0, mkfifo(path, 0600));
	fifo = open(path, O_RDWR | O_CLOEXEC);
	EXPECT_EQ(0, unlink(path));
	ASSERT_LE(0, fifo);
	prep_poll(&self->iocb, fifo, POLLIN);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	ASSERT_EQ(5, write(fifo, "hello", 5));
	/* As natively, the result has the events that the wake-up reported. */
	expect_help(_metadata, self, POLLIN | POLLRDNORM);
}

/* A POLL that waits on one queue ends in the wake-up, without help. */
TEST_F(helper, poll_needs_none)
{
	int ends[2];

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	prep_poll(&self->iocb, ends[0], POLLIN);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	ASSERT_EQ(5, write(ends[1], "hello", 5));
	expect_event(_metadata, self, POLLIN | POLLRDNORM);
	EXPECT_EQ(0, helped(self->fd));
}

/* The end of a pipe also wakes the request. */
TEST_F(helper, end_of_a_pipe)
{
	int ends[2];

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	prep_pread(&self->iocb, ends[0], self->buf, sizeof(self->buf), 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	ASSERT_EQ(0, close(ends[1]));
	expect_help(_metadata, self, 0);
}

/*
 * A page of the buffer may have to be read from a disk. The thread does not
 * wait for that, and leaves the request to the kick handler.
 */
TEST_F(helper, buffer_not_in_memory)
{
	int ends[2];

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	prep_pread(&self->iocb, ends[0], (void *)16, 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	ASSERT_EQ(5, write(ends[1], "hello", 5));
	ASSERT_EQ(1, woken(&self->sleeper));
	EXPECT_EQ((uintptr_t)&self->iocb, self->waiter.events[0].obj);
	EXPECT_EQ(-EFAULT, self->waiter.events[0].res);
	EXPECT_EQ(0, helped(self->fd));
}

/* The thread runs a request and goes on waiting for a second event. */
TEST_F(context, one_of_two_events)
{
	struct waiter waiter = { self->fd, self->ctx, 2, {} };
	struct sleeper sleeper;
	struct iocb iocbs[2];
	int ends[2];

	park_reads(_metadata, self, iocbs, 2, ends);
	ASSERT_TRUE(fall_asleep(&sleeper, wait_for_events, &waiter));
	ASSERT_EQ(1, write(ends[1], "x", 1));
	ASSERT_TRUE(wait_until(kaio_stat(self->fd, "completed") == 1));
	/* The thread may also run the second request, whose turn has come. */
	EXPECT_LE(1, helped(self->fd));
	ASSERT_TRUE(wait_until(is_asleep(&sleeper)));
	ASSERT_EQ(1, write(ends[1], "x", 1));
	ASSERT_EQ(2, woken(&sleeper));
	EXPECT_EQ(0, waiter.events[0].data);
	EXPECT_EQ(1, waiter.events[1].data);
	EXPECT_EQ(1, waiter.events[0].res);
	EXPECT_EQ(1, waiter.events[1].res);
	EXPECT_LE(2, helped(self->fd));
}

static void read_without_help(struct __test_metadata *const _metadata,
			      FIXTURE_DATA(context) *self)
{
	struct io_event event;
	struct iocb iocb;
	int ends[2];

	park_reads(_metadata, self, &iocb, 1, ends);
	ASSERT_EQ(1, write(ends[1], "x", 1));
	ASSERT_TRUE(wait_until(kaio_stat(self->fd, "completed") == 1));
	ASSERT_EQ(1, kaio_getevents(self->fd, self->ctx, 1, 1, &event,
				    &no_wait));
	EXPECT_EQ(0, helped(self->fd));
}

/*
 * A waiting thread does not run the requests of the tests below.
 */
TEST_F(context, no_waiting_thread)
{
	read_without_help(_metadata, self);
}

/* A thread that waits for another context does not run the request. */
TEST_F(context, thread_waits_for_other_context)
{
	struct waiter waiter = { .fd = self->fd, .nr = 1 };
	struct sleeper sleeper;

	ASSERT_EQ(0, kaio_setup(self->fd, 1, &waiter.ctx));
	ASSERT_TRUE(fall_asleep(&sleeper, wait_for_events, &waiter));
	read_without_help(_metadata, self);
	ASSERT_EQ(0, kaio_destroy(self->fd, waiter.ctx));
	EXPECT_EQ(-EINVAL, woken(&sleeper));
}

TEST_F(context, write_is_not_helped)
{
	struct waiter waiter = { self->fd, self->ctx, 1, {} };
	struct sleeper sleeper;
	struct iocb iocb;
	int ends[2];

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	ASSERT_LT(0, fill_fd(ends[1]));
	prep_pwrite(&iocb, ends[1], "x", 1, 0);
	ASSERT_TRUE(fall_asleep(&sleeper, wait_for_events, &waiter));
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_LT(0, drain_fd(ends[0]));
	ASSERT_EQ(1, woken(&sleeper));
	EXPECT_EQ(1, waiter.events[0].res);
	EXPECT_LT(0, kaio_stat(self->fd, "kicked"));
	EXPECT_EQ(0, helped(self->fd));
}

/*
 * The end of this read closes the file. A thread that goes on waiting leaves
 * that to a kworker.
 */
TEST_F(context, last_reference_is_not_helped)
{
	struct waiter waiter = { self->fd, self->ctx, 2, {} };
	struct pollfd writer = {};
	struct sleeper sleeper;
	struct iocb iocb;
	int ends[2];
	char c = 0;
	long ret;

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	writer.fd = ends[1];
	prep_pread(&iocb, ends[0], &c, 1, 0);
	ASSERT_TRUE(fall_asleep(&sleeper, wait_for_events, &waiter));
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, close(ends[0]));
	ASSERT_EQ(1, write(ends[1], "x", 1));
	ASSERT_TRUE(wait_until(poll(&writer, 1, 0) == 1 &&
			       (writer.revents & POLLERR)));
	EXPECT_EQ('x', c);
	EXPECT_EQ(0, helped(self->fd));
	EXPECT_TRUE(is_asleep(&sleeper));
	ASSERT_EQ(0, kaio_destroy(self->fd, self->ctx));
	/* The thread may have taken the first event. */
	ret = woken(&sleeper);
	EXPECT_TRUE(ret == 1 || ret == -EINVAL);
}

static long wait_through_signals(void *arg)
{
	long ret;

	do
		ret = wait_for_events(arg);
	while (ret == -EINTR);
	return ret;
}

TEST_F(context, one_sigpipe)
{
	struct waiter waiter = { self->fd, self->ctx, 1, {} };
	struct sleeper sleeper;
	struct iocb iocb;
	int ends[2];

	ASSERT_TRUE(catch_signal(SIGPIPE, SA_RESTART));
	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	ASSERT_LT(0, fill_fd(ends[1]));
	prep_pwrite(&iocb, ends[1], "x", 1, 0);
	ASSERT_TRUE(fall_asleep(&sleeper, wait_through_signals, &waiter));
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, signals_seen());
	close(ends[0]);
	ASSERT_EQ(1, woken(&sleeper));
	EXPECT_EQ(-EPIPE, waiter.events[0].res);
	ASSERT_TRUE(wait_until(__atomic_load_n(&signals, __ATOMIC_RELAXED)));
	usleep(20 * 1000);
	EXPECT_EQ(1, signals_seen());
	EXPECT_EQ(0, helped(self->fd));
}

/*
 * The lock of a named FIFO may be held for a long time, so the thread does not
 * run the request.
 */
TEST_F(context, named_fifo_is_not_helped)
{
	const int file = fifo_open(MEM_DIR "/kaio-help-fifo", 0);
	struct waiter waiter = { self->fd, self->ctx, 1, {} };
	struct sleeper sleeper;
	struct iocb iocb;
	char buf[8] = {};

	ASSERT_LE(0, file);
	prep_pread(&iocb, file, buf, sizeof(buf), 0);
	ASSERT_TRUE(fall_asleep(&sleeper, wait_for_events, &waiter));
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_TRUE(wait_until(kaio_stat(self->fd, "parked") > 0));
	ASSERT_EQ(5, write(file, "hello", 5));
	ASSERT_EQ(1, woken(&sleeper));
	EXPECT_EQ(5, waiter.events[0].res);
	EXPECT_STREQ("hello", buf);
	EXPECT_EQ(0, helped(self->fd));
	close(file);
}

/*
 * In the tests below the waiting thread has other credentials.
 */
struct other {
	struct waiter waiter;
	bool (*change)(void);
};

/*
 * These functions call the kernel and change this thread only. The functions of
 * libc change all threads.
 */
static bool change_user(void)
{
	return !syscall(SYS_setresuid, -1, 1, -1);
}

static bool change_groups(void)
{
	const gid_t group = 12345;

	return !syscall(SYS_setgroups, 1, &group);
}

static bool change_rights(void)
{
	return !prctl(PR_CAPBSET_DROP, CAP_SYS_TIME, 0, 0, 0);
}

static bool change_nothing(void)
{
	return true;
}

static long change_and_wait(void *arg)
{
	struct other *other = arg;

	return other->change() ? wait_for_events(&other->waiter) : -EPERM;
}

FIXTURE(other)
{
	struct mock m;
};

FIXTURE_VARIANT(other)
{
	bool (*change)(void);
	bool helps;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(other, same) { change_nothing, true };
FIXTURE_VARIANT_ADD(other, user) { change_user, false };
FIXTURE_VARIANT_ADD(other, groups) { change_groups, false };
FIXTURE_VARIANT_ADD(other, rights) { change_rights, false };
/* clang-format on */

MOCK_FIXTURE_SETUP(other, KAIO_MOCK)

/* A thread that does not run the request still gets its event. */
TEST_F(other, request_of_another_thread)
{
	struct mock *m = &self->m;
	struct other other = {
		.waiter = { m->fd, m->ctx, 1, {} },
		.change = variant->change,
	};
	struct kaio_mock_info info;
	struct sleeper sleeper;
	struct iocb iocb;

	park(_metadata, m, &iocb);
	ASSERT_TRUE(fall_asleep(&sleeper, change_and_wait, &other));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(1, woken(&sleeper));
	EXPECT_EQ(5, other.waiter.events[0].res);
	info = mock_info(m->file);
	EXPECT_EQ(!variant->helps, info.kthread);
	EXPECT_EQ(0, info.fsuid);
	EXPECT_EQ(variant->helps, helped(m->fd));
}

/* The thread submits the request itself, after it has changed. */
struct own {
	struct other other;
	struct iocb iocb;
};

static long change_submit_and_wait(void *arg)
{
	struct own *own = arg;
	struct waiter *waiter = &own->other.waiter;
	long ret;

	if (!own->other.change())
		return -EPERM;
	ret = kaio_submit_one(waiter->fd, waiter->ctx, &own->iocb);
	return ret == 1 ? wait_for_events(waiter) : ret;
}

TEST_F(other, own_request)
{
	struct mock *m = &self->m;
	struct own own = {
		.other = {
			.waiter = { m->fd, m->ctx, 1, {} },
			.change = variant->change,
		},
	};
	struct sleeper sleeper;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	mock_pread(m, &own.iocb, 5);
	ASSERT_TRUE(fall_asleep(&sleeper, change_submit_and_wait, &own));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(1, woken(&sleeper));
	EXPECT_EQ(5, own.other.waiter.events[0].res);
	EXPECT_EQ(0, mock_info(m->file).kthread);
	EXPECT_EQ(1, helped(m->fd));
}

/*
 * One of two threads may run the requests. The event of the other request comes
 * too, in whatever order the threads look.
 */
TEST_F(other, beside_eligible_thread)
{
	const int rounds = 50;
	struct mock *m = &self->m;
	int i;

	for (i = 0; i < rounds; i++) {
		struct other other = {
			.waiter = { m->fd, m->ctx, 1, {} },
			.change = variant->change,
		};
		struct waiter waiter = { m->fd, m->ctx, 1, {} };
		struct sleeper sleepers[2];
		struct iocb iocbs[2];
		int k;

		ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
		for (k = 0; k < 2; k++) {
			prep_poll(&iocbs[k], m->file, EPOLLIN);
			ASSERT_EQ(1, mock_submit(m, &iocbs[k]));
		}
		ASSERT_TRUE(fall_asleep(&sleepers[0], change_and_wait, &other));
		ASSERT_TRUE(fall_asleep(&sleepers[1], wait_for_events, &waiter));
		ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
		ASSERT_EQ(1, woken(&sleepers[0]))
		{
			TH_LOG("round %d", i);
		}
		ASSERT_EQ(1, woken(&sleepers[1]))
		{
			TH_LOG("round %d", i);
		}
		EXPECT_NE(other.waiter.events[0].obj, waiter.events[0].obj);
		/* The result has all the events that the wake-up reported. */
		EXPECT_EQ((__s64)IN, other.waiter.events[0].res);
		EXPECT_EQ((__s64)IN, waiter.events[0].res);
	}
}

/* Changes the credentials, restores them and submits after that. */
static long change_back_submit_and_wait(void *arg)
{
	if (syscall(SYS_setresuid, -1, 1, -1) ||
	    syscall(SYS_setresuid, -1, 0, -1))
		return -EPERM;
	return change_submit_and_wait(arg);
}

/*
 * In the tests below a waiting thread runs a request in which it sleeps.
 */
FIXTURE(busy)
{
	struct mock m;
	struct waiter waiter;
	struct sleeper sleeper;
	struct iocb iocb;
};

FIXTURE_SETUP(busy)
{
	mock_set_up(_metadata, &self->m, KAIO_MOCK);
	if (self->m.file < 0)
		return;
	self->waiter = (struct waiter){ self->m.fd, self->m.ctx, 1, {} };
}

FIXTURE_TEARDOWN(busy)
{
	mock_tear_down(_metadata, &self->m);
}

TEST_F(busy, credentials_restored)
{
	struct mock *m = &self->m;
	struct own own = {
		.other = { self->waiter, change_nothing },
	};

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	mock_pread(m, &own.iocb, 5);
	ASSERT_TRUE(fall_asleep(&self->sleeper, change_back_submit_and_wait,
				&own));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(1, woken(&self->sleeper));
	EXPECT_EQ(0, mock_info(m->file).kthread);
	EXPECT_EQ(1, helped(m->fd));
}

/*
 * Makes the waiting thread sleep in the file's read until the test lets it go.
 */
static void run_in_sleeper(struct __test_metadata *const _metadata,
			   FIXTURE_DATA(busy) *self)
{
	struct mock *m = &self->m;

	park(_metadata, m, &self->iocb);
	ASSERT_TRUE(fall_asleep(&self->sleeper, wait_for_events, &self->waiter));
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  SLEEPS(5, KAIO_MOCK_KILLABLE)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_TRUE(mock_sleeps(m->file));
	ASSERT_EQ(0, mock_info(m->file).kthread);
}

static long destroy(void *arg)
{
	struct mock *m = arg;

	return kaio_destroy(m->fd, m->ctx);
}

/* Destroy waits, because the buffer is in use. */
TEST_F(busy, destroyed)
{
	struct sleeper destroyer = { .call = destroy, .arg = &self->m };

	run_in_sleeper(_metadata, self);
	ASSERT_EQ(0, pthread_create(&destroyer.thread, NULL, run_sleeper,
				    &destroyer));
	ASSERT_TRUE(wait_until(kaio_stat(self->m.fd, "contexts") == 0));
	EXPECT_STAT(1, self->m.fd, "inflight");
	EXPECT_EQ(EBUSY, pthread_tryjoin_np(destroyer.thread, NULL));
	ASSERT_EQ(0, mock_let_go(self->m.file, 1));
	EXPECT_EQ(0, woken(&destroyer));
	EXPECT_EQ(-EINVAL, woken(&self->sleeper));
	EXPECT_STAT(0, self->m.fd, "inflight");
}

TEST_F(busy, cancelled)
{
	run_in_sleeper(_metadata, self);
	EXPECT_EQ(-EINPROGRESS, mock_cancel(&self->m, &self->iocb));
	ASSERT_EQ(0, mock_let_go(self->m.file, 1));
	ASSERT_EQ(1, woken(&self->sleeper));
	EXPECT_EQ(5, self->waiter.events[0].res);
}

/* Other requests of the context go on. */
TEST_F(busy, other_requests_go_on)
{
	struct mock *m = &self->m;
	struct io_event event;
	struct iocb iocb;
	char c = 0;
	int ends[2];

	run_in_sleeper(_metadata, self);
	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	prep_pread(&iocb, ends[0], &c, 1, 0);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_EQ(1, write(ends[1], "x", 1));
	ASSERT_EQ(1, kaio_wait(m->fd, m->ctx, 1, &event));
	EXPECT_EQ((uintptr_t)&iocb, event.obj);
	EXPECT_EQ('x', c);
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	EXPECT_EQ(1, woken(&self->sleeper));
}

#define A_WHILE_MS 2000

/*
 * Waits for two events, of which one comes. Returns the CPU time of the thread
 * in milliseconds.
 */
static long wait_a_while(void *arg)
{
	const struct timespec a_while = ms(A_WHILE_MS);
	struct waiter *waiter = arg;
	struct timespec cpu;
	long ret;

	ret = kaio_getevents(waiter->fd, waiter->ctx, 2, 2, waiter->events,
			     &a_while);
	if (ret != 1)
		return ret < 0 ? ret : -EPROTO;
	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu))
		return -errno;
	return cpu.tv_sec * 1000 + cpu.tv_nsec / NSEC_PER_MSEC;
}

/*
 * The kick handler is blocked, and the thread may not run the write that waits
 * for it. A worker runs the write, and the thread sleeps meanwhile.
 */
TEST_F(busy, not_eligible)
{
	struct mock *m = &self->m;
	struct io_event event;
	struct iocb iocb;
	int ends[2];
	long cpu;

	park(_metadata, m, &self->iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  SLEEPS(5, KAIO_MOCK_KILLABLE)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_TRUE(mock_sleeps(m->file));
	ASSERT_EQ(1, mock_info(m->file).kthread);

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	ASSERT_LT(0, fill_fd(ends[1]));
	prep_pwrite(&iocb, ends[1], "x", 1, 0);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_TRUE(fall_asleep(&self->sleeper, wait_a_while, &self->waiter));
	ASSERT_LT(0, drain_fd(ends[0]));
	cpu = woken(&self->sleeper);
	EXPECT_LE(0, cpu);
	EXPECT_GT(A_WHILE_MS / 2, cpu);
	EXPECT_EQ((uintptr_t)&iocb, self->waiter.events[0].obj);
	EXPECT_EQ(1, self->waiter.events[0].res);
	EXPECT_EQ(0, helped(m->fd));

	ASSERT_EQ(0, mock_let_go(m->file, 1));
	ASSERT_EQ(1, kaio_wait(m->fd, m->ctx, 1, &event));
	EXPECT_EQ((uintptr_t)&self->iocb, event.obj);
}

/*
 * A run that does not complete the request is no event. The thread sleeps
 * again, and runs the request once more.
 */
TEST_F(busy, not_ready)
{
	struct mock *m = &self->m;

	park(_metadata, m, &self->iocb);
	ASSERT_TRUE(fall_asleep(&self->sleeper, wait_for_events, &self->waiter));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, 0, IN));
	ASSERT_TRUE(wait_until(helped(m->fd) == 1 &&
			       is_asleep(&self->sleeper)));
	EXPECT_EQ(0, mock_info(m->file).kthread);
	EXPECT_STAT(0, m->fd, "completed");
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(1, woken(&self->sleeper));
	EXPECT_EQ(5, self->waiter.events[0].res);
	EXPECT_EQ(2, helped(m->fd));
	EXPECT_EQ(0, mock_info(m->file).kthread);
}

/*
 * The wake-up comes from an interrupt at the moment when the wait times out.
 * The thread does not return to its wait, so a kworker has to run the request.
 */
TEST_F_TIMEOUT(busy, timeout_at_wake_up, 120)
{
	const int rounds = 6000;
	struct mock *m = &self->m;
	struct io_event event;
	struct iocb iocb;
	int i, late = 0;
	long ret;

	/* Make timers expire without a delay. */
	ASSERT_EQ(0, prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0));
	for (i = 0; i < rounds; i++) {
		const struct timespec timeout = { .tv_nsec = 50000 };
		/* A slow machine needs long steps to let the timer win. */
		const int step = i / 400 % 2 ? 200 : 2000;

		park_poll(_metadata, m, &iocb);
		ASSERT_EQ(0, mock_storm(m->file, 1, 55000 + i % 400 * step));
		ret = kaio_getevents(m->fd, m->ctx, 1, 1, &event, &timeout);
		ASSERT_LE(0, ret);
		late += !ret;
		ASSERT_TRUE(ret || wait_until(ring_reap(m->ctx, &event, 1)))
		{
			TH_LOG("round %d", i);
		}
		ASSERT_EQ((__s64)(IN | OUT), event.res);
	}
	/* Each side was first in some rounds. */
	EXPECT_LT(0, late);
	EXPECT_GT(rounds, late);
}

/*
 * Runs in a child: it reads @file and waits. Once its waiting thread is in the
 * read, the child exits or waits until it is killed. Never returns.
 */
static void child_waits(int fd, int file, int ready, bool exits)
{
	struct waiter waiter = { .fd = fd, .nr = 1 };
	struct sleeper sleeper;
	struct iocb iocb;
	char buf[8];

	if (kaio_setup(fd, 1, &waiter.ctx))
		_exit(1);
	prep_pread(&iocb, file, buf, 5, 0);
	if (kaio_submit_one(fd, waiter.ctx, &iocb) != 1)
		_exit(2);
	if (!fall_asleep(&sleeper, wait_for_events, &waiter))
		_exit(3);
	if (write(ready, "r", 1) != 1)
		_exit(4);
	while (!exits)
		pause();
	_exit(mock_sleeps(file) ? 0 : 5);
}

static pid_t start_child(struct __test_metadata *const _metadata, int fd,
			 int file, bool exits)
{
	int ready[2];
	const pid_t pid = fork_child(_metadata, ready);

	if (!pid)
		child_waits(fd, file, ready[1], exits);
	await_child(_metadata, ready);
	return pid;
}

static void end_in_sleeper(struct __test_metadata *const _metadata,
			   struct mock *m, bool exits, int *status)
{
	pid_t pid;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	pid = start_child(_metadata, m->fd, m->file, exits);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  SLEEPS(5, KAIO_MOCK_KILLABLE)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	if (!exits) {
		ASSERT_TRUE(mock_sleeps(m->file));
		ASSERT_EQ(0, kill(pid, SIGKILL));
	}
	ASSERT_EQ(pid, waitpid(pid, status, 0));
	EXPECT_EQ(0, mock_info(m->file).kthread);
	EXPECT_EQ(1, mock_info(m->file).interrupted);
	EXPECT_TRUE(wait_until(kaio_stat(m->fd, "inflight") == 0));
	EXPECT_TRUE(wait_until(kaio_stat(m->fd, "contexts") == 1));
}

TEST_F(busy, killed)
{
	int status;

	end_in_sleeper(_metadata, &self->m, false, &status);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
}

TEST_F(busy, exits)
{
	int status;

	end_in_sleeper(_metadata, &self->m, true, &status);
	EXPECT_EQ(0, status);
}

/* The child is killed at any moment around the kick. */
TEST_F_TIMEOUT(context, kill_against_kick, 120)
{
	const int rounds = 40;
	int status, i, ends[2];
	pid_t pid;

	for (i = 0; i < rounds; i++) {
		ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
		pid = start_child(_metadata, self->fd, ends[0], false);
		ASSERT_EQ(1, write(ends[1], "x", 1));
		dawdle(i);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(SIGKILL, WTERMSIG(status));
		close(ends[0]);
		close(ends[1]);
	}
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "contexts") == 1));
	EXPECT_STAT(rounds, self->fd, "completed");
}

/* When destroy returns, the byte is in the buffer or still in the pipe. */
TEST_F_TIMEOUT(context, destroy_against_kick, 120)
{
	const int rounds = 300;
	int i;

	for (i = 0; i < rounds; i++) {
		struct waiter waiter = { .fd = self->fd, .nr = 1 };
		struct sleeper sleeper;
		struct iocb iocb;
		int ends[2];
		char c = 0;
		long ret;

		ASSERT_EQ(0, kaio_setup(self->fd, 1, &waiter.ctx));
		ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
		prep_pread(&iocb, ends[0], &c, 1, 0);
		ASSERT_EQ(1, kaio_submit_one(self->fd, waiter.ctx, &iocb));
		ASSERT_TRUE(fall_asleep(&sleeper, wait_for_events, &waiter));
		ASSERT_EQ(1, write(ends[1], "x", 1));
		dawdle(i);
		ASSERT_EQ(0, kaio_destroy(self->fd, waiter.ctx));
		EXPECT_EQ(1, (c == 'x') + drain_fd(ends[0]))
		{
			TH_LOG("round %d", i);
		}
		ret = woken(&sleeper);
		ASSERT_TRUE(ret == 1 || ret == -EINVAL)
		{
			TH_LOG("round %d: %ld", i, ret);
		}
		close(ends[0]);
		close(ends[1]);
	}
	EXPECT_STAT(rounds, self->fd, "completed");
}

/*
 * A kworker reads a page from a slow device. The waiting thread then copies it
 * from the page cache, unless that would close the file, which can take long.
 */
FIXTURE(cold)
{
	struct null_blk dev;
	int fd;
	__u64 ctx;
	int file;
	char *buf;
};

FIXTURE_SETUP(cold)
{
	self->fd = open_kaio(_metadata);
	if (self->fd < 0)
		return;
	if (!null_blk_make(&self->dev, "kaio-help", 50 * NSEC_PER_MSEC, NULL))
		SKIP(return, "null_blk is missing");
	ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &self->ctx));
	self->file = open(self->dev.node, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, posix_fadvise(self->file, 0, 0, POSIX_FADV_RANDOM));
	self->buf = malloc(PAGE);
	ASSERT_NE(NULL, self->buf);
	fill_pattern(self->buf, PAGE, 3, 0);
	ASSERT_EQ((long)PAGE, pwrite(self->file, self->buf, PAGE, 0));
	memset(self->buf, 0, PAGE);
	ASSERT_TRUE(drop_cache(self->file));
}

FIXTURE_TEARDOWN(cold)
{
	kaio_destroy(self->fd, self->ctx);
	EXPECT_STAT(0, self->fd, "inflight");
	close(self->fd);
	close(self->file);
	free(self->buf);
	null_blk_end(&self->dev);
}

TEST_F_TIMEOUT(cold, read_of_page, 60)
{
	struct waiter waiter = { self->fd, self->ctx, 1, {} };
	struct sleeper sleeper;
	struct iocb iocb;

	prep_pread(&iocb, self->file, self->buf, PAGE, 0);
	ASSERT_TRUE(fall_asleep(&sleeper, wait_for_events, &waiter));
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, woken(&sleeper));
	EXPECT_EQ((long)PAGE, waiter.events[0].res);
	EXPECT_TRUE(is_pattern(self->buf, PAGE, 3, 0));
	EXPECT_EQ(1, helped(self->fd));
}

/*
 * A file that the program has closed is closed by the time of the event, as
 * after a read of the program itself. A lock of the file is released then.
 */
TEST_F_TIMEOUT(cold, closed_when_complete, 60)
{
	int i;

	for (i = 0; i < 8; i++) {
		const int file = open(self->dev.node, O_RDWR | O_CLOEXEC);
		struct waiter waiter = { self->fd, self->ctx, 1, {} };
		struct sleeper sleeper;
		struct iocb iocb;

		ASSERT_LE(0, file);
		ASSERT_EQ(0, flock(file, LOCK_EX | LOCK_NB));
		ASSERT_TRUE(drop_cache(file));
		prep_pread(&iocb, file, self->buf, PAGE, 0);
		ASSERT_TRUE(fall_asleep(&sleeper, wait_for_events, &waiter));
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
		ASSERT_EQ(0, close(file));
		ASSERT_EQ(1, woken(&sleeper));
		ASSERT_EQ((long)PAGE, waiter.events[0].res);
		ASSERT_EQ(0, flock(self->file, LOCK_EX | LOCK_NB))
		{
			TH_LOG("round %d", i);
		}
		ASSERT_EQ(0, flock(self->file, LOCK_UN));
	}
	EXPECT_EQ(0, helped(self->fd));
}

/*
 * Threads stop waiting at any moment, because of a timeout or a signal. Each
 * request has one event.
 */
#define NR_ROUNDS	3000
#define MAX_THREADS	3
#define DEPTH	16

FIXTURE(waiting_threads)
{
	int fd;
	__u64 ctx[MAX_THREADS];
	int ends[DEPTH][2];
	struct iocb iocbs[DEPTH];
	char bufs[DEPTH];
	pthread_t threads[MAX_THREADS];
	/* How often the event of each round came. */
	unsigned char *seen;
	int nr_seen;
	int wrong;
	int next_thread;
	bool stop;
	/* These are copies of the variant's fields. */
	int nr_ctx;
	unsigned int max_timeout_ns;
	bool peek;
};

FIXTURE_VARIANT(waiting_threads)
{
	int nr_ctx;
	int nr_threads;
	/* 0 stands for no timeout. */
	unsigned int max_timeout_ns;
	bool signals;
	bool peek;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(waiting_threads, timeouts) { 1, 1, 200000, false, false };
FIXTURE_VARIANT_ADD(waiting_threads, signals) { 1, 1, 0, true, false };
FIXTURE_VARIANT_ADD(waiting_threads, both) { 1, 1, 200000, true, false };
FIXTURE_VARIANT_ADD(waiting_threads, three_threads) { 1, 3, 200000, true, false };
FIXTURE_VARIANT_ADD(waiting_threads, three_threads_without_timeout) { 1, 3, 0, false, false };
FIXTURE_VARIANT_ADD(waiting_threads, contexts) { 3, 3, 200000, true, false };
FIXTURE_VARIANT_ADD(waiting_threads, peek) { 1, 1, 200000, true, true };
FIXTURE_VARIANT_ADD(waiting_threads, peek_contexts) { 3, 3, 200000, true, true };
/* clang-format on */

FIXTURE_SETUP(waiting_threads)
{
	int i;

	self->fd = open_kaio(_metadata);
	if (self->fd < 0)
		return;
	self->nr_ctx = variant->nr_ctx;
	self->max_timeout_ns = variant->max_timeout_ns;
	self->peek = variant->peek;
	for (i = 0; i < variant->nr_ctx; i++)
		ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &self->ctx[i]));
	for (i = 0; i < DEPTH; i++)
		ASSERT_EQ(0, pipe2(self->ends[i], O_CLOEXEC));
	self->seen = calloc(NR_ROUNDS, 1);
	ASSERT_NE(NULL, self->seen);
	ASSERT_TRUE(catch_signal(SIGUSR1, 0));
}

FIXTURE_TEARDOWN(waiting_threads)
{
	int i;

	for (i = 0; i < variant->nr_ctx; i++)
		kaio_destroy(self->fd, self->ctx[i]);
	EXPECT_STAT(0, self->fd, "inflight");
	close(self->fd);
}

static void take_until_stopped(FIXTURE_DATA(waiting_threads) *self)
{
	struct io_event events[4];
	unsigned int max;
	int number;
	__u32 seed;
	__u64 ctx;
	long got, i;

	number = __atomic_fetch_add(&self->next_thread, 1, __ATOMIC_RELAXED);
	ctx = self->ctx[number % self->nr_ctx];
	max = self->max_timeout_ns;
	seed = 4711 + number;
	while (!__atomic_load_n(&self->stop, __ATOMIC_ACQUIRE)) {
		const struct timespec timeout = {
			.tv_nsec = max ? next_random(&seed) % max : 0,
		};
		const struct timespec *wait = max ? &timeout : NULL;

		if (self->peek) {
			got = kaio_peek(self->fd, ctx, 1, 4, wait);
			if (got > 0)
				got = ring_reap(ctx, events, 4);
		} else {
			got = kaio_getevents(self->fd, ctx, 1, 4, events, wait);
		}
		if (got == -EINTR)
			continue;
		if (got < 0 || (!got && !max))
			__atomic_fetch_add(&self->wrong, 1, __ATOMIC_RELAXED);
		for (i = 0; i < got; i++) {
			const __u64 round = events[i].data;

			/*
			 * A read gives one byte; a POLL gives the events that
			 * its wake-up reported.
			 */
			if (round >= NR_ROUNDS ||
			    (events[i].res != 1 &&
			     events[i].res != (POLLIN | POLLRDNORM)))
				__atomic_fetch_add(&self->wrong, 1,
						   __ATOMIC_RELAXED);
			else
				__atomic_fetch_add(&self->seen[round], 1,
						   __ATOMIC_RELEASE);
			__atomic_fetch_add(&self->nr_seen, 1, __ATOMIC_RELEASE);
		}
	}
}

static void *run_thread(void *arg)
{
	take_until_stopped(arg);
	return NULL;
}

static bool round_is_over(FIXTURE_DATA(waiting_threads) *self, int round)
{
	return __atomic_load_n(&self->seen[round], __ATOMIC_ACQUIRE) ||
	       __atomic_load_n(&self->wrong, __ATOMIC_RELAXED);
}

TEST_F_TIMEOUT(waiting_threads, each_exactly_once, 120)
{
	int i, k;

	for (i = 0; i < variant->nr_threads; i++)
		ASSERT_EQ(0, pthread_create(&self->threads[i], NULL,
					    run_thread, self));
	for (i = 0; i < NR_ROUNDS; i++) {
		struct iocb *iocb = &self->iocbs[i % DEPTH];
		const int *ends = self->ends[i % DEPTH];

		if (i >= DEPTH) {
			ASSERT_TRUE(wait_until(round_is_over(self, i - DEPTH)))
			{
				TH_LOG("round %d", i - DEPTH);
			}
		}
		/* A POLL has left its byte in the pipe. */
		drain_fd(ends[0]);
		if (i / DEPTH & 1)
			prep_poll(iocb, ends[0], POLLIN);
		else
			prep_pread(iocb, ends[0], &self->bufs[i % DEPTH],
				   1, 0);
		iocb->aio_data = i;
		ASSERT_EQ(1, kaio_submit_one(self->fd,
					     self->ctx[i % variant->nr_ctx],
					     iocb));
		dawdle(i);
		if (variant->signals && i & 1)
			pthread_kill(self->threads[i % variant->nr_threads],
				     SIGUSR1);
		ASSERT_EQ(1, write(ends[1], "x", 1));
		if (variant->signals && !(i & 1))
			pthread_kill(self->threads[i % variant->nr_threads],
				     SIGUSR1);
	}
	ASSERT_TRUE(wait_until(__atomic_load_n(&self->nr_seen,
					       __ATOMIC_ACQUIRE) >= NR_ROUNDS));
	EXPECT_EQ(0, __atomic_load_n(&self->wrong, __ATOMIC_RELAXED));
	__atomic_store_n(&self->stop, true, __ATOMIC_RELEASE);
	for (i = 0; i < variant->nr_ctx; i++)
		ASSERT_TRUE(stays_quiet(self->fd, self->ctx[i]));
	for (i = 0; i < variant->nr_ctx; i++)
		ASSERT_EQ(0, kaio_destroy(self->fd, self->ctx[i]));
	for (k = 0; k < variant->nr_threads; k++)
		ASSERT_EQ(0, pthread_join(self->threads[k], NULL));
	for (i = 0; i < NR_ROUNDS; i++) {
		EXPECT_EQ(1, self->seen[i])
		{
			TH_LOG("round %d", i);
		}
	}
	EXPECT_EQ(NR_ROUNDS, self->nr_seen);
	EXPECT_LT(0, helped(self->fd));
	EXPECT_STAT(NR_ROUNDS, self->fd, "completed");
}

TEST_HARNESS_MAIN
