// SPDX-License-Identifier: LGPL-2.1-or-later
/* aio_sigevent: the notification of a program that a request is complete. */
#include "posix_common.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define SIGNAL	(SIGRTMIN + 3)

static char buf[PAGE];

/* A write of one page. */
FIXTURE(notify)
{
	struct aiocb cb;
};

FIXTURE_SETUP(notify)
{
	self->cb = block_of(open_temp(MEM_DIR, 0), buf, PAGE, 0);
	self->cb.aio_sigevent.sigev_signo = SIGNAL;
	see_signals(_metadata, SIGNAL);
}

FIXTURE_TEARDOWN(notify)
{
	EXPECT_LT(0, module_counter("submitted"));
}

TEST_F(notify, none)
{
	self->cb.aio_sigevent.sigev_notify = SIGEV_NONE;
	ASSERT_EQ(0, aio_write(&self->cb));
	ASSERT_EQ((ssize_t)PAGE, result_of(&self->cb));
	EXPECT_TRUE(no_more_signals(0));
}

TEST_F(notify, signal)
{
	self->cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	self->cb.aio_sigevent.sigev_value.sival_ptr = &self->cb;
	ASSERT_EQ(0, aio_write(&self->cb));
	ASSERT_TRUE(wait_until(times_seen() == 1));
	EXPECT_EQ(SIGNAL, seen.info.si_signo);
	EXPECT_EQ(SI_ASYNCIO, seen.info.si_code);
	EXPECT_EQ(&self->cb, seen.info.si_value.sival_ptr);
	EXPECT_EQ(getpid(), seen.info.si_pid);
	EXPECT_EQ(getuid(), seen.info.si_uid);
	/* The library's helper receives no signals. */
	EXPECT_EQ(getpid(), seen.tid);
	EXPECT_TRUE(no_more_signals(1));
}

/*
 * Invalid notifications have the same effect as with glibc: the request is
 * done.
 */

/* A control block that is all zero asks for signal 0, which does not exist. */
TEST_F(notify, signal_0)
{
	memset(&self->cb.aio_sigevent, 0, sizeof(self->cb.aio_sigevent));
	ASSERT_EQ(0, aio_write(&self->cb));
	EXPECT_EQ((ssize_t)PAGE, result_of(&self->cb));
}

/* Programs that want no notification may not have filled the struct in. */
TEST_F(notify, unknown_kind)
{
	const int kinds[] = { 3, 5, 77, -1 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		self->cb.aio_sigevent.sigev_notify = kinds[i];
		ASSERT_EQ(0, aio_write(&self->cb));
		EXPECT_EQ((ssize_t)PAGE, result_of(&self->cb));
	}
	EXPECT_TRUE(no_more_signals(0));
}

/* The error of the signal is reported when the request has ended. */
static void expect_invalid_signal(struct __test_metadata *const _metadata,
				  struct aiocb *cb, int signo)
{
	char back[PAGE] = { 0 };

	memset(buf, 'a' + (signo & 7), PAGE);
	cb->aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	cb->aio_sigevent.sigev_signo = signo;
	ASSERT_EQ(0, aio_write(cb));
	EXPECT_EQ(EINVAL, error_of(cb));
	EXPECT_EQ(-1, aio_return(cb));
	ASSERT_EQ((ssize_t)PAGE, pread(cb->aio_fildes, back, PAGE, 0));
	EXPECT_EQ(0, memcmp(buf, back, PAGE));
}

TEST_F(notify, signal_above)
{
	expect_invalid_signal(_metadata, &self->cb, SIGRTMAX + 1);
}

TEST_F(notify, signal_below)
{
	expect_invalid_signal(_metadata, &self->cb, -1);
}

TEST_F(notify, last_signal)
{
	see_signals(_metadata, SIGRTMAX);
	self->cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	self->cb.aio_sigevent.sigev_signo = SIGRTMAX;
	ASSERT_EQ(0, aio_write(&self->cb));
	EXPECT_EQ((ssize_t)PAGE, result_of(&self->cb));
	EXPECT_TRUE(wait_until(times_seen() == 1));
}

TEST_F(notify, invalid_signal_of_cancelled_request)
{
	int fds[2];

	empty_pipe(_metadata, fds);
	self->cb.aio_fildes = fds[0];
	self->cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	self->cb.aio_sigevent.sigev_signo = SIGRTMAX + 1;
	read_waits(_metadata, &self->cb);
	EXPECT_EQ(AIO_CANCELED, aio_cancel(fds[0], &self->cb));
	EXPECT_EQ(EINVAL, error_of(&self->cb));
}

/* The result is there when the signal comes. */
static struct aiocb *finished;
static int error_seen = -1;
static ssize_t value_seen;

static void look(int signo)
{
	(void)signo;
	error_seen = aio_error(finished);
	value_seen = aio_return(finished);
	__atomic_add_fetch(&seen.count, 1, __ATOMIC_RELEASE);
}

TEST_F(notify, result_before_signal)
{
	signal(SIGNAL, look);
	finished = &self->cb;
	self->cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	ASSERT_EQ(0, aio_write(&self->cb));
	ASSERT_TRUE(wait_until(times_seen() == 1));
	EXPECT_EQ(0, error_seen);
	EXPECT_EQ((ssize_t)PAGE, value_seen);
}

TEST_F(notify, signal_of_failure)
{
	self->cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	self->cb.aio_offset = -1;
	ASSERT_EQ(0, aio_write(&self->cb));
	ASSERT_TRUE(wait_until(times_seen() == 1));
	EXPECT_EQ(EINVAL, aio_error(&self->cb));
	/*
	 * The request fails within the call; one must go through the module for
	 * the fixture.
	 */
	self->cb.aio_offset = 0;
	ASSERT_EQ(0, aio_write(&self->cb));
	ASSERT_TRUE(wait_until(times_seen() == 2));
}

TEST_F(notify, signal_of_fsync)
{
	self->cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	ASSERT_EQ(0, aio_fsync(O_SYNC, &self->cb));
	ASSERT_TRUE(wait_until(times_seen() == 1));
	EXPECT_EQ(0, aio_error(&self->cb));
}

/* Real-time signals queue, so there is one for each request. */
TEST_F(notify, signal_for_each)
{
	struct aiocb cbs[50];
	sigset_t set;
	siginfo_t info;
	bool told[50] = {};
	int i;

	set = block_signal(_metadata, SIGNAL);
	self->cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	for (i = 0; i < 50; i++) {
		cbs[i] = self->cb;
		cbs[i].aio_sigevent.sigev_value.sival_int = i;
		ASSERT_EQ(0, aio_write(&cbs[i]));
	}
	for (i = 0; i < 50; i++) {
		ASSERT_EQ(SIGNAL, sigtimedwait(&set, &info, &patience));
		ASSERT_FALSE(told[info.si_value.sival_int]);
		told[info.si_value.sival_int] = true;
	}
}

/* More signals than may be queued come later, with their values. */
TEST_F(notify, no_signal_is_lost)
{
	const struct rlimit limit = { 3, 3 };
	struct aiocb cbs[20];
	sigset_t set;
	siginfo_t info;
	__u32 told = 0;
	int i;

	set = block_signal(_metadata, SIGNAL);
	ASSERT_EQ(0, setrlimit(RLIMIT_SIGPENDING, &limit));
	self->cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	for (i = 0; i < 20; i++) {
		cbs[i] = self->cb;
		cbs[i].aio_sigevent.sigev_value.sival_int = i;
		ASSERT_EQ(0, aio_write(&cbs[i]));
	}
	for (i = 0; i < 20; i++)
		ASSERT_EQ((ssize_t)PAGE, result_of(&cbs[i]));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(SIGNAL, sigtimedwait(&set, &info, &patience));
		told |= 1U << info.si_value.sival_int;
	}
	EXPECT_EQ((1U << 20) - 1, told);
}

/*
 * SIGEV_THREAD_ID
 */
static long wait_for_signal(void *info)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGNAL);
	return sigtimedwait(&set, info, &patience);
}

TEST_F(notify, signal_to_thread)
{
	struct sleeper listeners[2];
	siginfo_t infos[2] = {};
	int i;

	block_signal(_metadata, SIGNAL);
	for (i = 0; i < 2; i++)
		ASSERT_TRUE(fall_asleep(&listeners[i], wait_for_signal, &infos[i]));
	self->cb.aio_sigevent.sigev_notify = SIGEV_THREAD_ID;
	self->cb.aio_sigevent.sigev_notify_thread_id = listeners[1].tid;
	self->cb.aio_sigevent.sigev_value.sival_int = 17;
	ASSERT_EQ(0, aio_write(&self->cb));
	EXPECT_EQ(SIGNAL, result_of_call(&listeners[1]));
	EXPECT_EQ(SI_ASYNCIO, infos[1].si_code);
	EXPECT_EQ(17, infos[1].si_value.sival_int);
	/* The other thread still waits. Send it its signal. */
	EXPECT_TRUE(is_asleep(&listeners[0]));
	ASSERT_EQ(0, pthread_kill(listeners[0].thread, SIGNAL));
	ASSERT_EQ(SIGNAL, result_of_call(&listeners[0]));
	EXPECT_NE(SI_ASYNCIO, infos[0].si_code);
}

/*
 * There is no notification for a thread that has ended, and none for any other
 * thread.
 */
TEST_F(notify, signal_to_ended_thread)
{
	self->cb.aio_sigevent.sigev_notify = SIGEV_THREAD_ID;
	self->cb.aio_sigevent.sigev_notify_thread_id = 0x3fffffff;
	ASSERT_EQ(0, aio_write(&self->cb));
	ASSERT_EQ((ssize_t)PAGE, result_of(&self->cb));
	EXPECT_TRUE(no_more_signals(0));
	ASSERT_EQ(0, aio_write(&self->cb));
	EXPECT_EQ((ssize_t)PAGE, result_of(&self->cb));
}

/* glibc does not support this kind, so there is no error for the signal. */
TEST_F(notify, invalid_signal_to_thread)
{
	self->cb.aio_sigevent.sigev_notify = SIGEV_THREAD_ID;
	self->cb.aio_sigevent.sigev_notify_thread_id = syscall(SYS_gettid);
	self->cb.aio_sigevent.sigev_signo = SIGRTMAX + 1;
	ASSERT_EQ(0, aio_write(&self->cb));
	EXPECT_EQ((ssize_t)PAGE, result_of(&self->cb));
}

/*
 * SIGEV_THREAD
 */
struct call {
	int count;
	union sigval value;
	pid_t tid;
	int error;
	size_t stack;
	bool detached;
	bool signals;
	struct aiocb *cb;
};

static struct call call;

static void called(union sigval value)
{
	pthread_attr_t attr;
	sigset_t set;
	int state;

	call.value = value;
	call.tid = syscall(SYS_gettid);
	call.error = call.cb ? aio_error(call.cb) : 0;
	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstacksize(&attr, &call.stack);
	pthread_attr_getdetachstate(&attr, &state);
	call.detached = state == PTHREAD_CREATE_DETACHED;
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_BLOCK, NULL, &set);
	call.signals = !sigismember(&set, SIGUSR1) && !sigismember(&set, SIGNAL);
	__atomic_add_fetch(&call.count, 1, __ATOMIC_RELEASE);
}

#define calls() __atomic_load_n(&call.count, __ATOMIC_ACQUIRE)

static void ask_for_call(struct aiocb *cb, pthread_attr_t *attr)
{
	call.cb = cb;
	cb->aio_sigevent.sigev_notify = SIGEV_THREAD;
	cb->aio_sigevent.sigev_notify_function = called;
	cb->aio_sigevent.sigev_notify_attributes = attr;
	cb->aio_sigevent.sigev_value.sival_ptr = cb;
}

TEST_F(notify, thread)
{
	ask_for_call(&self->cb, NULL);
	ASSERT_EQ(0, aio_write(&self->cb));
	ASSERT_TRUE(wait_until(calls() == 1));
	EXPECT_EQ(&self->cb, call.value.sival_ptr);
	EXPECT_EQ(0, call.error);
	EXPECT_NE(getpid(), call.tid);
	EXPECT_TRUE(call.detached);
	EXPECT_TRUE(call.signals);
	/* The thread of the call ends; at most the helper is left. */
	EXPECT_TRUE(wait_until(threads() <= 2));
}

/* Each call has a thread of its own: one that sleeps delays no other. */
static int pipe_to_sleep_on;

static void sleep_on(union sigval value)
{
	char c;

	if (read(pipe_to_sleep_on, &c, 1) == 1)
		called(value);
}

TEST_F(notify, sleeping_thread)
{
	struct aiocb cb = self->cb;
	int fds[2];

	empty_pipe(_metadata, fds);
	pipe_to_sleep_on = fds[0];
	ask_for_call(&self->cb, NULL);
	self->cb.aio_sigevent.sigev_notify_function = sleep_on;
	ASSERT_EQ(0, aio_write(&self->cb));
	ASSERT_EQ((ssize_t)PAGE, result_of(&self->cb));
	cb.aio_sigevent.sigev_notify = SIGEV_NONE;
	ASSERT_EQ(0, aio_write(&cb));
	ASSERT_EQ((ssize_t)PAGE, result_of(&cb));
	EXPECT_EQ(0, calls());
	ASSERT_EQ(1, write(fds[1], "x", 1));
	EXPECT_TRUE(wait_until(calls() == 1));
}

TEST_F(notify, thread_with_attributes)
{
	pthread_attr_t attr;

	ASSERT_EQ(0, pthread_attr_init(&attr));
	ASSERT_EQ(0, pthread_attr_setstacksize(&attr, 3 << 20));
	ask_for_call(&self->cb, &attr);
	ASSERT_EQ(0, aio_write(&self->cb));
	ASSERT_TRUE(wait_until(calls() == 1));
	EXPECT_EQ(3U << 20, call.stack);
	/* No thread could join this one. */
	EXPECT_TRUE(call.detached);
}

TEST_F(notify, thread_without_function)
{
	ask_for_call(&self->cb, NULL);
	self->cb.aio_sigevent.sigev_notify_function = NULL;
	EXPECT_EQ(-1, aio_write(&self->cb));
	EXPECT_EQ(EINVAL, errno);
	self->cb.aio_sigevent.sigev_notify = SIGEV_NONE;
	ASSERT_EQ(0, aio_write(&self->cb));
	ASSERT_EQ((ssize_t)PAGE, result_of(&self->cb));
}

/* No thread can be made for a while. The call comes when one can be made. */
TEST_F(notify, no_call_is_lost)
{
	struct rlimit limit;

	ask_for_call(&self->cb, NULL);
	self->cb.aio_sigevent.sigev_notify = SIGEV_NONE;
	ASSERT_EQ(0, aio_write(&self->cb)); /* the helper is there */
	ASSERT_EQ((ssize_t)PAGE, result_of(&self->cb));
	/* There is no address space for another stack. */
	ASSERT_EQ(0, getrlimit(RLIMIT_AS, &limit));
	limit.rlim_cur = PAGE;
	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &limit));
	self->cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
	ASSERT_EQ(0, aio_write(&self->cb));
	ASSERT_EQ((ssize_t)PAGE, result_of(&self->cb));
	usleep(50000);
	EXPECT_EQ(0, calls());
	limit.rlim_cur = limit.rlim_max;
	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &limit));
	EXPECT_TRUE(wait_until(calls() == 1));
}

/*
 * Signals that cannot be queued, however many, delay neither calls nor standard
 * signals.
 */
TEST_F(notify, full_signal_queue)
{
	struct aiocb cb = self->cb;
	struct rlimit limit, none;
	sigset_t set;
	int i;

	see_signals(_metadata, SIGUSR2);
	sigemptyset(&set);
	sigaddset(&set, SIGNAL);
	ASSERT_EQ(0, getrlimit(RLIMIT_SIGPENDING, &limit));
	none = limit;
	none.rlim_cur = 0;
	ASSERT_EQ(0, setrlimit(RLIMIT_SIGPENDING, &none));
	/* The kernel lets root queue more signals than the limit. */
	ASSERT_EQ(0, setresuid(1000, 1000, 1000));
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	self->cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, aio_write(&self->cb));
		ASSERT_EQ((ssize_t)PAGE, result_of(&self->cb));
	}
	ask_for_call(&cb, NULL);
	ASSERT_EQ(0, aio_write(&cb));
	EXPECT_TRUE(wait_until(calls() == 1));
	ASSERT_EQ((ssize_t)PAGE, result_of(&cb));
	cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	cb.aio_sigevent.sigev_signo = SIGUSR2;
	ASSERT_EQ(0, aio_write(&cb));
	EXPECT_TRUE(wait_until(times_seen() == 1));
	/* When the limit is gone, all of the signals come. */
	ASSERT_EQ(0, setrlimit(RLIMIT_SIGPENDING, &limit));
	ASSERT_EQ(0, sigprocmask(SIG_UNBLOCK, &set, NULL));
	EXPECT_TRUE(wait_until(times_seen() == 101));
}

TEST_HARNESS_MAIN
