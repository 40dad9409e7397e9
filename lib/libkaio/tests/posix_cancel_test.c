// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * aio_cancel.
 */
#include <sched.h>
#include <sys/socket.h>

#include "posix_common.h"

#define SIGNAL	(SIGRTMIN + 3)
#define NR	8

static char buf[NR][PAGE];

/* Reads of an empty pipe, which wait. */
FIXTURE(cancel)
{
	int fds[2];
	struct aiocb cb[NR];
};

FIXTURE_SETUP(cancel)
{
	int i;

	see_signals(_metadata, SIGNAL);
	empty_pipe(_metadata, self->fds);
	for (i = 0; i < NR; i++) {
		self->cb[i] = block_of(self->fds[0], buf[i], 5, 0);
		self->cb[i].aio_sigevent.sigev_value.sival_int = i;
		self->cb[i].aio_sigevent.sigev_signo = SIGNAL;
	}
}

FIXTURE_TEARDOWN(cancel)
{
}

TEST_F(cancel, one)
{
	read_waits(_metadata, &self->cb[0]);
	EXPECT_EQ(AIO_CANCELED, aio_cancel(self->fds[0], &self->cb[0]));
	EXPECT_EQ(ECANCELED, aio_error(&self->cb[0]));
	EXPECT_EQ(-1, aio_return(&self->cb[0]));
	EXPECT_EQ(0, module_counter("inflight"));
}

/* Other requests of the descriptor go on, whichever request is cancelled. */
TEST_F(cancel, one_of_many)
{
	int i;

	for (i = 0; i < 3; i++)
		read_waits(_metadata, &self->cb[i]);
	EXPECT_EQ(AIO_CANCELED, aio_cancel(self->fds[0], &self->cb[1]));
	EXPECT_EQ(EINPROGRESS, aio_error(&self->cb[0]));
	EXPECT_EQ(ECANCELED, aio_error(&self->cb[1]));
	EXPECT_EQ(EINPROGRESS, aio_error(&self->cb[2]));
	ASSERT_EQ(10, write(self->fds[1], "helloworld", 10));
	EXPECT_EQ(5, result_of(&self->cb[0]));
	EXPECT_EQ(5, result_of(&self->cb[2]));
	EXPECT_EQ(0, memcmp(buf[0], "hello", 5));
	EXPECT_EQ(0, memcmp(buf[2], "world", 5));
}

TEST_F(cancel, all_of_descriptor)
{
	int i, other[2];

	empty_pipe(_metadata, other);
	self->cb[NR - 1].aio_fildes = other[0];
	for (i = 0; i < NR; i++)
		read_waits(_metadata, &self->cb[i]);
	EXPECT_EQ(AIO_CANCELED, aio_cancel(self->fds[0], NULL));
	for (i = 0; i < NR - 1; i++)
		EXPECT_EQ(ECANCELED, aio_error(&self->cb[i]));
	EXPECT_EQ(EINPROGRESS, aio_error(&self->cb[NR - 1]));
	EXPECT_EQ(1, module_counter("inflight"));
}

/* The descriptors are 256 apart: the library might look them up modulo 256. */
TEST_F(cancel, not_of_other_descriptor)
{
	const int like = fcntl(self->fds[0], F_DUPFD_CLOEXEC, self->fds[0] + 256);

	ASSERT_EQ(self->fds[0] + 256, like);
	self->cb[1].aio_fildes = like;
	read_waits(_metadata, &self->cb[0]);
	read_waits(_metadata, &self->cb[1]);
	EXPECT_EQ(AIO_CANCELED, aio_cancel(like, NULL));
	EXPECT_EQ(EINPROGRESS, aio_error(&self->cb[0]));
	EXPECT_EQ(ECANCELED, aio_error(&self->cb[1]));
}

TEST_F(cancel, write_of_full_pipe)
{
	fill_fd(self->fds[1]);
	self->cb[0].aio_fildes = self->fds[1];
	ASSERT_EQ(0, aio_write(&self->cb[0]));
	EXPECT_EQ(AIO_CANCELED, aio_cancel(self->fds[1], &self->cb[0]));
	EXPECT_EQ(ECANCELED, aio_error(&self->cb[0]));
}

/* The library holds this fsync. */
TEST_F(cancel, fsync_that_waits)
{
	read_waits(_metadata, &self->cb[0]);
	ASSERT_EQ(0, aio_fsync(O_SYNC, &self->cb[1]));
	ASSERT_EQ(EINPROGRESS, aio_error(&self->cb[1]));
	EXPECT_EQ(AIO_CANCELED, aio_cancel(self->fds[0], &self->cb[1]));
	EXPECT_EQ(ECANCELED, aio_error(&self->cb[1]));
	EXPECT_EQ(EINPROGRESS, aio_error(&self->cb[0]));
}

TEST_F(cancel, signal)
{
	self->cb[0].aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	read_waits(_metadata, &self->cb[0]);
	ASSERT_EQ(AIO_CANCELED, aio_cancel(self->fds[0], &self->cb[0]));
	ASSERT_TRUE(wait_until(times_seen() == 1));
	EXPECT_EQ(SI_ASYNCIO, seen.info.si_code);
	EXPECT_EQ(0, seen.info.si_value.sival_int);
	EXPECT_TRUE(no_more_signals(1));
}

TEST_F(cancel, signal_for_each)
{
	sigset_t set;
	siginfo_t info;
	__u32 told = 0;
	int i;

	set = block_signal(_metadata, SIGNAL);
	for (i = 0; i < NR; i++) {
		self->cb[i].aio_sigevent.sigev_notify = SIGEV_SIGNAL;
		read_waits(_metadata, &self->cb[i]);
	}
	ASSERT_EQ(AIO_CANCELED, aio_cancel(self->fds[0], NULL));
	for (i = 0; i < NR; i++) {
		ASSERT_EQ(SIGNAL, sigtimedwait(&set, &info, &patience));
		told |= 1U << info.si_value.sival_int;
	}
	EXPECT_EQ((1U << NR) - 1, told);
}

static long suspend(void *arg)
{
	return aio_suspend(arg, 1, &patience) ? -errno : 0;
}

TEST_F(cancel, wakes_suspend)
{
	const struct aiocb *list[] = { &self->cb[0] };
	struct sleeper sleeper;

	read_waits(_metadata, &self->cb[0]);
	ASSERT_TRUE(fall_asleep(&sleeper, suspend, list));
	ASSERT_EQ(AIO_CANCELED, aio_cancel(self->fds[0], NULL));
	EXPECT_EQ(0, woken(&sleeper));
}

/* The control block can be used again at once. */
TEST_F(cancel, reuse_of_block)
{
	int i;

	for (i = 0; i < 200; i++) {
		ASSERT_EQ(0, aio_read(&self->cb[0]));
		ASSERT_EQ(AIO_CANCELED, aio_cancel(self->fds[0], &self->cb[0]));
		ASSERT_EQ(ECANCELED, aio_error(&self->cb[0]));
	}
	ASSERT_EQ(0, aio_read(&self->cb[0]));
	ASSERT_EQ(5, write(self->fds[1], "hello", 5));
	EXPECT_EQ(5, result_of(&self->cb[0]));
}

/* Requests that are not cancelled. */
TEST_F(cancel, complete)
{
	read_waits(_metadata, &self->cb[0]);
	ASSERT_EQ(5, write(self->fds[1], "hello", 5));
	ASSERT_EQ(5, result_of(&self->cb[0]));
	EXPECT_EQ(AIO_ALLDONE, aio_cancel(self->fds[0], &self->cb[0]));
	EXPECT_EQ(AIO_ALLDONE, aio_cancel(self->fds[0], NULL));
	EXPECT_EQ(0, aio_error(&self->cb[0]));
	EXPECT_EQ(5, aio_return(&self->cb[0]));
}

TEST_F(cancel, no_request)
{
	EXPECT_EQ(AIO_ALLDONE, aio_cancel(self->fds[0], NULL));
}

TEST_F(cancel, in_hardware)
{
	const int file = open_mock(_metadata, KAIO_MOCK_DISK);
	struct aiocb cb = block_of(file, buf[0], 5, 0);

	if (file < 0)
		return;
	ASSERT_EQ(0, mock_program(file, 1, IN | OUT,
				  { .complete = KAIO_MOCK_TOLD, .result = 5 }));
	ASSERT_EQ(0, aio_read(&cb));
	ASSERT_TRUE(wait_until(mock_info(file).queued == 1));
	EXPECT_EQ(AIO_NOTCANCELED, aio_cancel(file, &cb));
	EXPECT_EQ(AIO_NOTCANCELED, aio_cancel(file, NULL));
	EXPECT_EQ(EINPROGRESS, aio_error(&cb));
	ASSERT_EQ(0, mock_complete(file, 5));
	EXPECT_EQ(5, result_of(&cb));
}

/*
 * aio_cancel() of one request also takes the event of another one that has ended
 * as cancelled, which must not count for the first request. The helper must not
 * see the events first, so it gets no CPU.
 */
TEST_F(cancel, complete_beside_cancelled)
{
	const struct sched_param first = { .sched_priority = 50 }, last = {};
	const int file = open_mock(_metadata, KAIO_MOCK_DISK);
	struct aiocb mine = block_of(file, buf[0], 5, 0), other;
	cpu_set_t cpu;
	int like;

	if (file < 0)
		return;
	like = open_mock(_metadata, KAIO_MOCK_DISK);
	other = block_of(like, buf[1], 5, 0);
	ASSERT_EQ(0, mock_program(file, 1, IN | OUT,
				  { .complete = KAIO_MOCK_TOLD, .result = 5 }));
	ASSERT_EQ(0, mock_program(like, 1, IN | OUT,
				  { .complete = KAIO_MOCK_TOLD, .result = 5 }));
	ASSERT_EQ(0, aio_read(&mine));
	ASSERT_EQ(0, aio_read(&other));
	ASSERT_TRUE(wait_until(mock_info(file).queued && mock_info(like).queued));
	ASSERT_TRUE(wait_until(task_sleeps(getpid(), helper())));
	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	ASSERT_EQ(0, sched_setaffinity(helper(), sizeof(cpu), &cpu));
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpu), &cpu));
	ASSERT_EQ(0, sched_setscheduler(0, SCHED_FIFO, &first));
	mock_complete(like, -ECANCELED);
	mock_complete(file, 5);
	EXPECT_EQ(AIO_ALLDONE, aio_cancel(file, &mine));
	ASSERT_EQ(0, sched_setscheduler(0, SCHED_OTHER, &last));
	EXPECT_EQ(5, result_of(&mine));
	EXPECT_EQ(ECANCELED, error_of(&other));
}

/*
 * A thread that is cancelled ends, but not while it holds the library's lock.
 */
static int came_back;

static void *cancel_and_end(void *arg)
{
	struct aiocb *cb = arg;

	pthread_cancel(pthread_self());
	aio_cancel(cb->aio_fildes, cb);
	__atomic_store_n(&came_back, 1, __ATOMIC_RELEASE);
	pthread_testcancel();
	return arg;
}

TEST_F(cancel, by_cancelled_thread)
{
	const int file = open_mock(_metadata, KAIO_MOCK);
	struct aiocb cb = block_of(file, buf[0], 5, 0);
	pthread_t thread;
	void *ret;

	if (file < 0)
		return;
	ASSERT_EQ(0, mock_program(file, 1, 0, NOT_NOW));
	ASSERT_EQ(0, aio_read(&cb));
	ASSERT_EQ(1, mock_waiters(file));
	/*
	 * The kernel is trying the request, for so long that aio_cancel() waits
	 * for its end.
	 */
	ASSERT_EQ(0, mock_program(file, 1, 0,
				  { .attempts = 1, .result = -EAGAIN,
				    .sleep = KAIO_MOCK_KILLABLE },
				  GIVES(5)));
	ASSERT_EQ(0, mock_wake(file, KAIO_MOCK_NOW, 0, IN));
	ASSERT_TRUE(mock_sleeps(file));
	ASSERT_EQ(0, pthread_create(&thread, NULL, cancel_and_end, &cb));
	ASSERT_EQ(0, pthread_join(thread, &ret));
	EXPECT_EQ(PTHREAD_CANCELED, ret);
	EXPECT_EQ(1, __atomic_load_n(&came_back, __ATOMIC_ACQUIRE));
	ASSERT_EQ(0, mock_let_go(file, 1));
	EXPECT_EQ(ECANCELED, error_of(&cb));
}

/*
 * Bytes that were written cannot be taken back: a cancelled request ends with
 * their number, as write(2) does when a signal comes, and the program can look
 * at the result.
 */
TEST_F(cancel, partial_write)
{
	const size_t size = 4 << 20;
	char *data = malloc(size), *back = malloc(size);
	size_t got = 0;
	ssize_t n;
	int fds[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
	fill_pattern(data, size, 3, 0);
	self->cb[0] = block_of(fds[0], data, size, 0);
	ASSERT_EQ(0, aio_write(&self->cb[0]));
	while (got < size / 8) {
		n = read(fds[1], back + got, size / 8 - got);
		ASSERT_LT(0, n);
		got += n;
	}
	ASSERT_EQ(EINPROGRESS, aio_error(&self->cb[0]));
	EXPECT_EQ(AIO_ALLDONE, aio_cancel(fds[0], &self->cb[0]));
	EXPECT_EQ(0, aio_error(&self->cb[0]));
	EXPECT_LT((ssize_t)got, aio_return(&self->cb[0]));
	EXPECT_GT((ssize_t)size, aio_return(&self->cb[0]));
	while ((n = recv(fds[1], back + got, size - got, MSG_DONTWAIT)) > 0)
		got += n;
	EXPECT_EQ((ssize_t)got, aio_return(&self->cb[0]));
	EXPECT_TRUE(is_pattern(back, got, 3, 0));
}

TEST_F(cancel, bad_descriptor)
{
	EXPECT_EQ(-1, aio_cancel(-1, NULL));
	EXPECT_EQ(EBADF, errno);
}

TEST_F(cancel, block_of_other_descriptor)
{
	read_waits(_metadata, &self->cb[0]);
	EXPECT_EQ(-1, aio_cancel(self->fds[1], &self->cb[0]));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(EINPROGRESS, aio_error(&self->cb[0]));
}

/*
 * Cancellations and completions race many times: each request ends once, in one
 * of the two ways.
 */
static int cancelled;

static int times_cancelled(void)
{
	return __atomic_load_n(&cancelled, __ATOMIC_RELAXED);
}

static void *write_all(void *arg)
{
	const int *fds = arg;
	int i, left, before;

	for (i = 0; i < 300; i++) {
		/*
		 * However slow the other thread is, some of its cancellations
		 * succeed.
		 */
		before = times_cancelled();
		if (i % 50 == 0 && !wait_until(times_cancelled() > before))
			return arg;
		if (write(fds[1], "hello", 5) != 5)
			return arg;
		/* The next read finds the pipe empty, and waits. */
		while (!ioctl(fds[0], FIONREAD, &left) && left)
			;
		dawdle(i);
	}
	return NULL;
}

TEST_F(cancel, races_with_completion)
{
	int i, done = 0;
	pthread_t thread;
	void *ret;

	ASSERT_EQ(0, pthread_create(&thread, NULL, write_all, self->fds));
	for (i = 0; done < 300; i++) {
		ASSERT_LT(i, 1000000);
		ASSERT_EQ(0, aio_read(&self->cb[0]));
		aio_cancel(self->fds[0], &self->cb[0]);
		switch (error_of(&self->cb[0])) {
		case 0:
			ASSERT_EQ(5, aio_return(&self->cb[0]));
			done++;
			break;
		case ECANCELED:
			__atomic_add_fetch(&cancelled, 1, __ATOMIC_RELAXED);
			break;
		default:
			ASSERT_EQ(0, aio_error(&self->cb[0]));
		}
	}
	ASSERT_EQ(0, pthread_join(thread, &ret));
	EXPECT_EQ(NULL, ret);
	EXPECT_LT(0, times_cancelled());
	EXPECT_EQ(0, module_counter("inflight"));
}

TEST_HARNESS_MAIN
