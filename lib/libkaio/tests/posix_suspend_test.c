// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * aio_suspend.
 */
#include <setjmp.h>

#include "posix_common.h"

static char buf[2][PAGE];

/* Two reads that wait, each of a pipe of its own. */
FIXTURE(suspend)
{
	int pipes[2][2];
	struct aiocb cb[2];
	const struct aiocb *list[2];
};

FIXTURE_SETUP(suspend)
{
	int i;

	for (i = 0; i < 2; i++) {
		empty_pipe(_metadata, self->pipes[i]);
		self->cb[i] = block_of(self->pipes[i][0], buf[i], 5, 0);
		read_waits(_metadata, &self->cb[i]);
		self->list[i] = &self->cb[i];
	}
}

FIXTURE_TEARDOWN(suspend)
{
}

static long suspend(void *arg)
{
	return aio_suspend(arg, 2, &patience) ? -errno : 0;
}

TEST_F(suspend, woken)
{
	struct sleeper sleeper;

	ASSERT_TRUE(fall_asleep(&sleeper, suspend, self->list));
	ASSERT_EQ(5, write(self->pipes[1][1], "hello", 5));
	EXPECT_EQ(0, woken(&sleeper));
	EXPECT_EQ(0, aio_error(&self->cb[1]));
	EXPECT_EQ(EINPROGRESS, aio_error(&self->cb[0]));
}

TEST_F(suspend, all_waiting_threads)
{
	struct sleeper sleepers[3];
	int i;

	for (i = 0; i < 3; i++)
		ASSERT_TRUE(fall_asleep(&sleepers[i], suspend, self->list));
	ASSERT_EQ(5, write(self->pipes[0][1], "hello", 5));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, woken(&sleepers[i]));
}

/* The end of a request that is not on the list does not end the wait. */
TEST_F(suspend, not_by_others)
{
	const struct aiocb *list[2] = { &self->cb[0], NULL };
	struct sleeper sleeper;

	ASSERT_TRUE(fall_asleep(&sleeper, suspend, list));
	ASSERT_EQ(5, write(self->pipes[1][1], "hello", 5));
	ASSERT_EQ(5, result_of(&self->cb[1]));
	EXPECT_TRUE(wait_until(is_asleep(&sleeper)));
	ASSERT_EQ(5, write(self->pipes[0][1], "hello", 5));
	EXPECT_EQ(0, woken(&sleeper));
}

TEST_F(suspend, already_complete)
{
	ASSERT_EQ(5, write(self->pipes[0][1], "hello", 5));
	ASSERT_EQ(5, result_of(&self->cb[0]));
	EXPECT_EQ(0, aio_suspend(self->list, 2, &no_wait));
}

TEST_F(suspend, timeout)
{
	const struct timespec time = ms(20);
	const __s64 start = now_ns();

	EXPECT_EQ(-1, aio_suspend(self->list, 2, &time));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_LE(20 * NSEC_PER_MSEC, now_ns() - start);
}

TEST_F(suspend, no_time)
{
	EXPECT_EQ(-1, aio_suspend(self->list, 2, &no_wait));
	EXPECT_EQ(EAGAIN, errno);
}

TEST_F(suspend, bad_timeout)
{
	const struct timespec time = { .tv_nsec = NSEC_PER_SEC };

	EXPECT_EQ(-1, aio_suspend(self->list, 2, &time));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(suspend, negative_number)
{
	EXPECT_EQ(-1, aio_suspend(self->list, -1, NULL));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(suspend, nothing_to_wait_for)
{
	const struct aiocb *list[2] = { NULL, NULL };

	EXPECT_EQ(0, aio_suspend(list, 2, NULL));
	EXPECT_EQ(0, aio_suspend(list, 0, NULL));
}

TEST_F(suspend, interrupted)
{
	struct sleeper sleeper;

	see_signals(_metadata, SIGUSR1);
	ASSERT_TRUE(fall_asleep(&sleeper, suspend, self->list));
	EXPECT_EQ(-EINTR, interrupt(&sleeper, SIGUSR1));
	EXPECT_EQ(EINPROGRESS, aio_error(&self->cb[0]));
}

/*
 * A signal ends aio_suspend() with a time limit, even if its handler has
 * SA_RESTART.
 */
#define NR_MOST	200

static struct {
	const struct aiocb *list[NR_MOST];
	int nr;
} timed;

static long suspend_for_a_time(void *arg)
{
	(void)arg;
	return aio_suspend(timed.list, timed.nr, &patience) ? -errno : 0;
}

TEST_F(suspend, interrupted_by_a_handler_that_restarts)
{
	const struct sigaction action = {
		.sa_sigaction = see,
		.sa_flags = SA_SIGINFO | SA_RESTART,
	};
	const int nrs[] = { 1, 2, 17, NR_MOST };
	struct sleeper sleeper;
	unsigned int i;

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	for (i = 0; i < NR_MOST; i++)
		timed.list[i] = &self->cb[i % 2];
	for (i = 0; i < ARRAY_SIZE(nrs); i++) {
		timed.nr = nrs[i];
		ASSERT_TRUE(fall_asleep(&sleeper, suspend_for_a_time, NULL));
		ASSERT_EQ(0, pthread_kill(sleeper.thread, SIGUSR1));
		EXPECT_EQ(-EINTR, woken(&sleeper));
	}
}

/* aio_suspend() is a cancellation point, at which the thread holds no lock. */
TEST_F(suspend, cancelled)
{
	struct sleeper sleeper;
	void *ret = NULL;

	ASSERT_TRUE(fall_asleep(&sleeper, suspend, self->list));
	ASSERT_EQ(0, pthread_cancel(sleeper.thread));
	ASSERT_EQ(0, pthread_join(sleeper.thread, &ret));
	EXPECT_EQ(PTHREAD_CANCELED, ret);
	ASSERT_EQ(5, write(self->pipes[0][1], "hello", 5));
	EXPECT_EQ(0, aio_suspend(self->list, 2, &patience));
}

/*
 * aio_suspend() in a signal handler, whatever the signal interrupts: here
 * mostly calls of aio_read and aio_write, which take a lock.
 */
static struct aiocb *handled;
static int handler_errors;

static void use_in_handler(int signo)
{
	const struct aiocb *list[] = { handled };
	const int old = errno;

	(void)signo;
	if (aio_suspend(list, 1, &no_wait) != -1 || errno != EAGAIN ||
	    aio_error(handled) != EINPROGRESS)
		handler_errors++;
	seen.count++;
	errno = old;
}

TEST_F(suspend, in_handler)
{
	const int fd = open_temp(MEM_DIR, 0);
	const struct itimerval often = { { 0, 1000 }, { 0, 1000 } };
	struct aiocb cb = block_of(fd, buf, PAGE, 0);
	const struct aiocb *list[] = { &cb };
	int i;

	handled = &self->cb[0];
	signal(SIGALRM, use_in_handler);
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));
	for (i = 0; i < 100 || (i < 100000 && seen.count < 100); i++) {
		ASSERT_EQ(0, aio_write(&cb));
		while (aio_suspend(list, 1, NULL))
			ASSERT_EQ(EINTR, errno);
		ASSERT_EQ((ssize_t)PAGE, aio_return(&cb));
	}
	signal(SIGALRM, SIG_IGN);
	EXPECT_LE(100, seen.count);
	EXPECT_EQ(0, handler_errors);
}

/* A handler may leave aio_suspend() by siglongjmp(). */
static sigjmp_buf out;

static void leave(int signo)
{
	(void)signo;
	siglongjmp(out, 1);
}

TEST_F(suspend, left_by_handler)
{
	signal(SIGALRM, leave);
	if (!sigsetjmp(out, 1)) {
		const struct itimerval once = { { 0, 0 }, { 0, 20000 } };

		ASSERT_EQ(0, setitimer(ITIMER_REAL, &once, NULL));
		aio_suspend(self->list, 2, NULL);
		ASSERT_TRUE(false);
	}
	ASSERT_EQ(5, write(self->pipes[0][1], "hello", 5));
	EXPECT_EQ(0, aio_suspend(self->list, 2, &patience));
}

/* A handler makes a request while the signal has interrupted another call. */
static struct aiocb from_handler;

static void read_in_handler(int signo)
{
	(void)signo;
	if (aio_error(&from_handler) == EINPROGRESS)
		return;
	seen.count++;
	if (aio_read(&from_handler))
		handler_errors++;
}

TEST_F(suspend, request_in_handler)
{
	const int fd = open_pattern(MEM_DIR, 1, PAGE);
	const struct itimerval often = { { 0, 1000 }, { 0, 1000 } };
	struct aiocb cb = block_of(fd, buf[0], PAGE, 0);
	int i;

	from_handler = block_of(fd, buf[1], PAGE, 0);
	signal(SIGALRM, read_in_handler);
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));
	for (i = 0; i < 100 || (i < 100000 && seen.count < 100); i++) {
		ASSERT_EQ(0, aio_read(&cb));
		ASSERT_EQ((ssize_t)PAGE, result_of(&cb));
	}
	signal(SIGALRM, SIG_IGN);
	EXPECT_LE(100, seen.count);
	EXPECT_EQ(0, handler_errors);
	EXPECT_EQ((ssize_t)PAGE, result_of(&from_handler));
}

TEST_HARNESS_MAIN
