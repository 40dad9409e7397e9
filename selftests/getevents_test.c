// SPDX-License-Identifier: GPL-2.0
/*
 * Tests taking events: how many are taken, how long a call waits, and that
 * no event is lost or taken twice.
 */
#include <sched.h>

#include "context_fixture.h"
#include "sleeps.h"
#include "task_work.h"

/* A timeout may end this much later than requested, but never earlier. */
#define LATE	(500 * NSEC_PER_MSEC)

static long take(FIXTURE_DATA(context) *self, long min_nr, long nr,
		 const struct timespec *timeout)
{
	static struct io_event events[NR_EVENTS];

	return kaio_getevents(self->fd, self->ctx, min_nr, nr, events,
			      timeout);
}

/*
 * Each variant is a combination of min_nr, nr and the number of available
 * events, without a wait.
 */
FIXTURE(matrix)
{
	int fd;
	__u64 ctx;
};

FIXTURE_VARIANT(matrix)
{
	int available;
	long min_nr;
	long nr;
	long expected;
};

/* clang-format off */
#define MATRIX(_name, _available, _min_nr, _nr, _expected) \
	FIXTURE_VARIANT_ADD(matrix, _name) { \
		.available = _available, \
		.min_nr = _min_nr, \
		.nr = _nr, \
		.expected = _expected, \
	}

MATRIX(none_of_none, 0, 0, 0, 0);
MATRIX(none_of_3, 3, 0, 0, 0);
MATRIX(up_to_1_of_none, 0, 0, 1, 0);
MATRIX(needs_1_of_none, 0, 1, 1, 0);
MATRIX(up_to_2_of_3, 3, 0, 2, 2);
MATRIX(up_to_3_of_3, 3, 0, 3, 3);
MATRIX(up_to_4_of_3, 3, 0, 4, 3);
MATRIX(needs_1_of_3, 3, 1, 1, 1);
MATRIX(needs_1_up_to_2_of_3, 3, 1, 2, 2);
MATRIX(needs_3_of_3, 3, 3, 3, 3);
MATRIX(needs_4_of_3, 3, 4, 4, 3);
MATRIX(needs_1_up_to_all_of_3, 3, 1, LONG_MAX, 3);
MATRIX(needs_all_of_3, 3, LONG_MAX, LONG_MAX, 3);
MATRIX(negative_nr, 3, 0, -1, -EINVAL);
MATRIX(negative_min, 3, -1, 1, -EINVAL);
MATRIX(negative_both, 3, -1, -1, -EINVAL);
MATRIX(smallest_min, 3, LONG_MIN, 1, -EINVAL);
MATRIX(smallest_nr, 3, 0, LONG_MIN, -EINVAL);
MATRIX(min_above_nr, 3, 2, 1, -EINVAL);
MATRIX(min_above_zero, 3, 1, 0, -EINVAL);
/* clang-format on */

FIXTURE_SETUP(matrix)
{
	open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx);
}

FIXTURE_TEARDOWN(matrix)
{
	close_context(_metadata, self->fd, self->ctx);
}

TEST_F(matrix, no_wait)
{
	struct io_event events[8];
	struct iocb iocb;
	long rest;
	int i;

	prep_noop(&iocb, self->fd);
	for (i = 0; i < variant->available; i++) {
		iocb.aio_data = i;
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	}
	EXPECT_EQ(variant->expected,
		  kaio_getevents(self->fd, self->ctx, variant->min_nr,
				 variant->nr, events, &no_wait));
	/* Events come in the order of completion. */
	for (i = 0; i < variant->expected; i++) {
		EXPECT_EQ((__u64)i, events[i].data)
		{
			TH_LOG("i %ld", (long)i);
		}
	}
	/* The other events are still in the ring. */
	rest = variant->available - (variant->expected > 0 ?
					     variant->expected : 0);
	EXPECT_EQ(rest, kaio_getevents(self->fd, self->ctx, 0, 8, events,
				       &no_wait));
	EXPECT_EQ(variant->available, kaio_stat(self->fd, "inline"));
}

/* Native AIO has the same results. */
TEST_F(matrix, as_native)
{
	aio_context_t native;
	struct iocb iocb, *iocbs = &iocb;
	struct io_event events[8];
	char c;
	int i;
	const int file = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	if (native_setup(NR_EVENTS, &native))
		SKIP(return, "this kernel has no native AIO");
	prep_pread(&iocb, file, &c, 1, 0);
	for (i = 0; i < variant->available; i++) {
		ASSERT_EQ(1, native_submit(native, 1, &iocbs))
		{
			TH_LOG("i %ld", (long)i);
		}
	}
	EXPECT_EQ(variant->expected,
		  native_getevents(native, variant->min_nr, variant->nr,
				   events, &no_wait));
}

/*
 * The tests below use timeouts.
 */
static void expect_timeout(struct __test_metadata *const _metadata,
			   FIXTURE_DATA(context) *self, __s64 ns)
{
	const struct timespec timeout = {
		.tv_sec = ns / NSEC_PER_SEC,
		.tv_nsec = ns % NSEC_PER_SEC,
	};
	const __s64 start = now_ns();
	__s64 took;

	EXPECT_EQ(0, take(self, 1, 1, &timeout));
	took = now_ns() - start;
	EXPECT_LE(ns, took);
	EXPECT_GT(ns + LATE, took);
}

TEST_F(context, timeout_1_ns)
{
	expect_timeout(_metadata, self, 1);
}

TEST_F(context, timeout_100_us)
{
	expect_timeout(_metadata, self, NSEC_PER_MSEC / 10);
}

TEST_F(context, timeout_1_ms)
{
	expect_timeout(_metadata, self, NSEC_PER_MSEC);
}

TEST_F(context, timeout_1100_ms)
{
	expect_timeout(_metadata, self, 1100 * NSEC_PER_MSEC);
}

/*
 * The shortest of several waits is close to the requested time, so timeouts are
 * not rounded to jiffies.
 */
TEST_F(context, timeout_is_precise)
{
	const struct timespec timeout = { .tv_nsec = NSEC_PER_MSEC };
	__s64 best = LLONG_MAX;
	int i;

	for (i = 0; i < 50; i++) {
		const __s64 start = now_ns();
		__s64 took;

		ASSERT_EQ(0, take(self, 1, 1, &timeout));
		took = now_ns() - start;
		EXPECT_LE(NSEC_PER_MSEC, took);
		if (took < best)
			best = took;
	}
	EXPECT_GT(3 * NSEC_PER_MSEC, best);
}

TEST_F(context, timeout_zero)
{
	const __s64 start = now_ns();

	EXPECT_EQ(0, take(self, 1, 1, &no_wait));
	EXPECT_GT(LATE, now_ns() - start);
}

/* At the end of a wait the call takes the events that are there. */
TEST_F(context, timeout_takes_some)
{
	const struct timespec timeout = ms(30);
	const __s64 start = now_ns();
	struct iocb iocb;

	produce_later(_metadata, self, &iocb, 5);
	EXPECT_EQ(1, take(self, 2, 2, &timeout));
	EXPECT_LE(30 * NSEC_PER_MSEC, now_ns() - start);
}

TEST_F(context, no_timeout)
{
	const __s64 start = now_ns();
	struct iocb iocbs[2];

	produce_later(_metadata, self, &iocbs[0], 10);
	produce_later(_metadata, self, &iocbs[1], 30);
	EXPECT_EQ(2, take(self, 2, 8, NULL));
	EXPECT_LE(30 * NSEC_PER_MSEC, now_ns() - start);
	EXPECT_EQ(2, kaio_stat(self->fd, "parked"));
}

/* A call with min_nr 0 does not wait, whatever its timeout is. */
TEST_F(context, needs_none)
{
	const __s64 start = now_ns();

	EXPECT_EQ(0, take(self, 0, 1, &patience));
	EXPECT_EQ(0, take(self, 0, 1, NULL));
	EXPECT_GT(LATE, now_ns() - start);
}

/*
 * Expects that a time which no clock shows is accepted, as natively, because
 * programs pass such times.
 */
static void odd_timeout(struct __test_metadata *const _metadata,
			FIXTURE_DATA(context) *self, time_t sec, long nsec)
{
	const struct timespec odd = { .tv_sec = sec, .tv_nsec = nsec };

	EXPECT_EQ(0, take(self, 0, 1, &odd));
	produce(_metadata, self, 1);
	EXPECT_EQ(1, take(self, 1, 1, &odd));
}

TEST_F(context, timeout_of_10_to_the_9_nsec)
{
	odd_timeout(_metadata, self, 0, 1000000000);
}

TEST_F(context, timeout_negative_nsec)
{
	odd_timeout(_metadata, self, 0, -1);
	EXPECT_EQ(0, take(self, 1, 1, &(struct timespec){ 0, -1 }));
}

TEST_F(context, timeout_negative_sec)
{
	odd_timeout(_metadata, self, -1, 0);
	EXPECT_EQ(0, take(self, 1, 1, &(struct timespec){ -1, 0 }));
}

TEST_F(context, timeout_longest)
{
	struct iocb iocb;

	odd_timeout(_metadata, self, LLONG_MAX, 999999999);
	/* The call waits with such a timeout. */
	produce_later(_metadata, self, &iocb, 20);
	EXPECT_EQ(1, take(self, 1, 1, &(struct timespec){ LLONG_MAX, 0 }));
}

TEST_F(context, timeout_most_negative)
{
	odd_timeout(_metadata, self, LLONG_MIN, LONG_MIN);
}

TEST_F(context, timeout_absolute)
{
	struct timespec now;
	struct iocb iocb;

	/* Passing an absolute time is a mistake that native AIO accepts. */
	clock_gettime(CLOCK_REALTIME, &now);
	produce_later(_metadata, self, &iocb, 10);
	EXPECT_EQ(1, take(self, 1, 1, &now));
}

TEST_F(context, timeout_bad_pointer)
{
	const struct timespec *kernel = (void *)KERNEL_ADDR;

	EXPECT_EQ(-EFAULT, take(self, 0, 1, (void *)1));
	EXPECT_EQ(-EFAULT, take(self, 0, 1, kernel));
	/* The timeout is read before any other argument is checked. */
	EXPECT_EQ(-EFAULT, take(self, -1, 1, kernel));
	EXPECT_EQ(-EFAULT, take(self, 2, 1, kernel));
	EXPECT_EQ(-EFAULT,
		  kaio_getevents(self->fd, 1, 0, 1, NULL, kernel));
	produce(_metadata, self, 1);
	EXPECT_EQ(-EFAULT, take(self, 1, 1, kernel));
	EXPECT_EQ(1, take(self, 1, 1, &no_wait));
}

/*
 * With KAIO_GETEVENTS_ABSTIME the argument is the end of the wait.
 */
static long take_with(FIXTURE_DATA(context) *self, long min_nr, __u32 flags,
		      const struct timespec *timeout)
{
	static struct io_event events[NR_EVENTS];
	const bool peek = flags & KAIO_GETEVENTS_PEEK;
	const struct kaio_getevents arg = {
		.ctx_id = self->ctx,
		.min_nr = min_nr,
		.nr = min_nr,
		.events = peek ? 0 : (uintptr_t)events,
		.timeout = (uintptr_t)timeout,
		.flags = flags,
	};

	return kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg);
}

static long take_until(FIXTURE_DATA(context) *self, long min_nr, __u32 flags,
		       const struct timespec *end)
{
	return take_with(self, min_nr, KAIO_GETEVENTS_ABSTIME | flags, end);
}

static struct timespec clock_at(__s64 ns)
{
	return (struct timespec){ ns / NSEC_PER_SEC, ns % NSEC_PER_SEC };
}

/* Expects that the call waits until @end without an event. */
static void expect_end(struct __test_metadata *const _metadata,
		       FIXTURE_DATA(context) *self, __u32 flags, __s64 end)
{
	const struct timespec at_end = clock_at(end);
	__s64 now;

	EXPECT_EQ(0, take_until(self, 1, flags, &at_end));
	now = now_ns();
	EXPECT_LE(end, now);
	EXPECT_GT(end + LATE, now);
}

TEST_F(context, abstime_100_us)
{
	expect_end(_metadata, self, 0, now_ns() + NSEC_PER_MSEC / 10);
}

TEST_F(context, abstime_1100_ms)
{
	expect_end(_metadata, self, 0, now_ns() + 1100 * NSEC_PER_MSEC);
}

TEST_F(context, abstime_with_peek)
{
	expect_end(_metadata, self, KAIO_GETEVENTS_PEEK,
		   now_ns() + 30 * NSEC_PER_MSEC);
}

/*
 * Expects that a call with a time in the past does not wait, and takes the
 * events that are there.
 */
static void expect_over(struct __test_metadata *const _metadata,
			FIXTURE_DATA(context) *self, struct timespec end)
{
	const __s64 start = now_ns();
	const long before = sleeps();

	EXPECT_EQ(0, take_until(self, 1, 0, &end));
	EXPECT_EQ(0, take_until(self, 1, KAIO_GETEVENTS_PEEK, &end));
	EXPECT_EQ(before, sleeps());
	produce(_metadata, self, 2);
	EXPECT_EQ(2, take_until(self, 3, KAIO_GETEVENTS_PEEK, &end));
	EXPECT_EQ(2, take_until(self, 3, 0, &end));
	EXPECT_GT(LATE, now_ns() - start);
}

TEST_F(context, abstime_just_over)
{
	expect_over(_metadata, self, clock_at(now_ns()));
}

TEST_F(context, abstime_zero)
{
	expect_over(_metadata, self, no_wait);
}

TEST_F(context, abstime_negative)
{
	expect_over(_metadata, self, (struct timespec){ -1, 0 });
	expect_over(_metadata, self, (struct timespec){ 0, -1 });
	expect_over(_metadata, self, (struct timespec){ LLONG_MIN, LONG_MIN });
}

TEST_F(context, abstime_longest)
{
	struct iocb iocb;

	produce_later(_metadata, self, &iocb, 20);
	EXPECT_EQ(1, take_until(self, 1, 0,
				&(struct timespec){ LLONG_MAX, 999999999 }));
}

TEST_F(context, abstime_without_a_time)
{
	struct iocb iocb;

	produce_later(_metadata, self, &iocb, 20);
	EXPECT_EQ(1, take_until(self, 1, 0, NULL));
}

TEST_F(context, abstime_takes_what_came)
{
	const struct timespec end = clock_at(now_ns() + 100 * NSEC_PER_MSEC);
	struct iocb iocb;

	produce_later(_metadata, self, &iocb, 5);
	EXPECT_EQ(1, take_until(self, 2, 0, &end));
	EXPECT_LE(end.tv_sec * NSEC_PER_SEC + end.tv_nsec, now_ns());
}

TEST_F(context, abstime_bad_pointer)
{
	EXPECT_EQ(-EFAULT, take_until(self, 1, 0, (void *)KERNEL_ADDR));
}

TEST_F(context, abstime_and_signal)
{
	const struct timespec end = clock_at(now_ns() + PATIENCE_SECONDS * NSEC_PER_SEC);

	ASSERT_TRUE(catch_signal(SIGALRM, SA_RESTART));
	ASSERT_TRUE(alarm_every(10));
	EXPECT_EQ(-EINTR, take_until(self, 1, 0, &end));
	alarm_every(0);
	EXPECT_LT(0, signals_seen());
}

/*
 * The clock is that of the caller, which in a container may show another time.
 */
static bool set_clocks_ahead(void)
{
	const int fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	const char *const offset = "monotonic 1000000 0\n";

	return fd >= 0 && write(fd, offset, strlen(offset)) > 0;
}

/* Exits with status 0 on success. SIGALRM ends a wait of a million seconds. */
static void wait_in_time_namespace(int fd)
{
	FIXTURE_DATA(context) inner = { .fd = fd };
	const __s64 end = now_ns() + 50 * NSEC_PER_MSEC;
	const struct timespec at_end = clock_at(end);
	__s64 now;

	alarm(PATIENCE_SECONDS);
	if (end < 1000000 * NSEC_PER_SEC || kaio_setup(fd, 1, &inner.ctx))
		_exit(1);
	if (take_until(&inner, 1, 0, &at_end))
		_exit(2);
	now = now_ns();
	_exit(now < end || now > end + LATE ? 3 : 0);
}

TEST_F(context, abstime_in_time_namespace)
{
	int status;
	pid_t pid;

	/* The namespace is for children of this process. */
	if (unshare(CLONE_NEWTIME) || !set_clocks_ahead())
		SKIP(return, "no time namespaces, or not root");
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		wait_in_time_namespace(self->fd);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/*
 * Task work wakes the waiting thread without being a signal. The thread does
 * the work and waits on.
 */
#define URINGS	5

struct worker {
	FIXTURE_DATA(context) *self;
	/* The arguments of take_with(). */
	long min_nr;
	__u32 flags;
	const struct timespec *timeout;
	/* Closing one of these rings gives the thread work. */
	int urings[URINGS];
	bool ready;
	struct sleeper sleeper;
};

static long open_urings_and_wait(void *arg)
{
	struct worker *const worker = arg;
	int i;

	for (i = 0; i < URINGS; i++) {
		worker->urings[i] = open_uring();
		if (worker->urings[i] < 0)
			return worker->urings[i];
	}
	__atomic_store_n(&worker->ready, true, __ATOMIC_RELEASE);
	return take_with(worker->self, worker->min_nr, worker->flags,
			 worker->timeout);
}

static bool start_worker(struct worker *worker)
{
	struct sleeper *const sleeper = &worker->sleeper;

	return fall_asleep(sleeper, open_urings_and_wait, worker) &&
	       wait_until(__atomic_load_n(&worker->ready, __ATOMIC_ACQUIRE)) &&
	       wait_until(is_asleep(sleeper));
}

/*
 * Returns true if the thread woke up and sleeps again. Only the work can have
 * woken it.
 */
static bool wake_by_task_work(struct worker *worker, int uring)
{
	const pid_t tid = worker->sleeper.tid;
	const long before = sleeps_of(tid);

	close(worker->urings[uring]);
	return wait_until(sleeps_of(tid) > before) &&
	       wait_until(is_asleep(&worker->sleeper) ||
			  sleeps_of(tid) == LONG_MAX) &&
	       is_asleep(&worker->sleeper);
}

FIXTURE(task_work)
{
	FIXTURE_DATA(context) context;
	struct worker worker;
	struct timespec timeout;
};

FIXTURE_VARIANT(task_work)
{
	__u32 flags;
	/* The number of events that are in the ring all the time, 0 or 1. */
	int there;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(task_work, for_ever) {};
FIXTURE_VARIANT_ADD(task_work, peek_for_ever) { .flags = KAIO_GETEVENTS_PEEK };
FIXTURE_VARIANT_ADD(task_work, peek_at_one_of_two) {
	.flags = KAIO_GETEVENTS_PEEK,
	.there = 1,
};

FIXTURE_VARIANT_ADD(task_work, until) { .flags = KAIO_GETEVENTS_ABSTIME };
FIXTURE_VARIANT_ADD(task_work, peek_until) {
	.flags = KAIO_GETEVENTS_PEEK | KAIO_GETEVENTS_ABSTIME,
};
/* clang-format on */

FIXTURE_SETUP(task_work)
{
	const int uring = open_uring();

	self->context.fd = open_kaio(_metadata);
	if (self->context.fd < 0)
		return;
	if (uring < 0)
		SKIP(return, "this kernel has no io_uring, or does not allow it");
	close(uring);
	ASSERT_EQ(0, kaio_setup(self->context.fd, NR_EVENTS,
				&self->context.ctx));
	produce(_metadata, &self->context, variant->there);
	self->worker.self = &self->context;
	self->worker.min_nr = 1 + variant->there;
	self->worker.flags = variant->flags;
	if (variant->flags & KAIO_GETEVENTS_ABSTIME) {
		self->timeout = clock_at(now_ns() +
					 PATIENCE_SECONDS * NSEC_PER_SEC);
		self->worker.timeout = &self->timeout;
	}
}

FIXTURE_TEARDOWN(task_work)
{
	kaio_destroy(self->context.fd, self->context.ctx);
	close(self->context.fd);
}

TEST_F(task_work, does_not_end_a_wait)
{
	int i;

	ASSERT_TRUE(start_worker(&self->worker));
	for (i = 0; i < URINGS; i++) {
		ASSERT_TRUE(wake_by_task_work(&self->worker, i))
		{
			TH_LOG("ring %d: it waits no more: %ld", i,
			       woken(&self->worker.sleeper));
		}
	}
	produce(_metadata, &self->context, 1);
	EXPECT_EQ(1 + variant->there, woken(&self->worker.sleeper));
}

/* A signal interrupts the thread after such a wake-up. */
TEST_F(task_work, does_not_hide_a_signal)
{
	ASSERT_TRUE(catch_signal(SIGUSR1, SA_RESTART));
	ASSERT_TRUE(start_worker(&self->worker));
	ASSERT_TRUE(wake_by_task_work(&self->worker, 0));
	ASSERT_EQ(0, pthread_kill(self->worker.sleeper.thread, SIGUSR1));
	/* If there are events, they are returned in place of EINTR. */
	EXPECT_EQ(variant->there ? variant->there : -EINTR,
		  woken(&self->worker.sleeper));
	EXPECT_EQ(1, signals_seen());
}

/* Returns true if the thread has ended, and sends it a signal otherwise. */
static bool ends_by_signal(struct worker *worker)
{
	const pid_t tid = worker->sleeper.tid;

	return syscall(SYS_tgkill, getpid(), tid, SIGUSR1) < 0 ||
	       sleeps_of(tid) == LONG_MAX;
}

/*
 * Work and a signal come at the same time. A signal may also come before the
 * call sleeps again, so it is repeated.
 */
TEST_F_TIMEOUT(task_work, and_signals, 60)
{
	int i;

	ASSERT_TRUE(catch_signal(SIGUSR1, 0));
	ASSERT_TRUE(start_worker(&self->worker));
	for (i = 0; i < URINGS; i++)
		close(self->worker.urings[i]);
	ASSERT_TRUE(wait_until(ends_by_signal(&self->worker)));
	EXPECT_EQ(variant->there ? variant->there : -EINTR,
		  woken(&self->worker.sleeper));
	EXPECT_LT(0, signals_seen());
}

TEST_F(task_work, and_destroy)
{
	ASSERT_TRUE(start_worker(&self->worker));
	ASSERT_TRUE(wake_by_task_work(&self->worker, 0));
	EXPECT_EQ(0, kaio_destroy(self->context.fd, self->context.ctx));
	EXPECT_EQ(-EINVAL, woken(&self->worker.sleeper));
}

/* Task work does not extend a wait. */
TEST_F(context, task_work_does_not_extend_wait)
{
	const __s64 end = now_ns() + 3 * NSEC_PER_SEC;
	const struct timespec at_end = clock_at(end);
	struct worker worker = {
		.self = self,
		.min_nr = 1,
		.flags = KAIO_GETEVENTS_ABSTIME,
		.timeout = &at_end,
	};
	const int uring = open_uring();
	__s64 now;
	int i;

	if (uring < 0)
		SKIP(return, "this kernel has no io_uring, or does not allow it");
	close(uring);
	ASSERT_TRUE(start_worker(&worker));
	for (i = 0; i < 2; i++)
		ASSERT_TRUE(wake_by_task_work(&worker, i));
	EXPECT_EQ(0, woken(&worker.sleeper));
	now = now_ns();
	EXPECT_LE(end, now);
	EXPECT_GT(end + LATE, now);
}

/*
 * The tests below use signals.
 */
TEST_F(context, signal)
{
	ASSERT_TRUE(catch_signal(SIGALRM, 0));
	ASSERT_TRUE(alarm_every(10));
	EXPECT_EQ(-EINTR, take(self, 1, 1, NULL));
	alarm_every(0);
	EXPECT_LT(0, signals_seen());
}

TEST_F(context, signal_during_timeout)
{
	ASSERT_TRUE(catch_signal(SIGALRM, 0));
	ASSERT_TRUE(alarm_every(10));
	EXPECT_EQ(-EINTR, take(self, 1, 1, &patience));
	alarm_every(0);
}

TEST_F(context, signal_with_restart)
{
	ASSERT_TRUE(catch_signal(SIGALRM, SA_RESTART));
	ASSERT_TRUE(alarm_every(10));
	EXPECT_EQ(-EINTR, take(self, 1, 1, NULL));
	alarm_every(0);
	EXPECT_LT(0, signals_seen());
}

TEST_F(context, signal_with_1_of_2)
{
	produce(_metadata, self, 1);
	ASSERT_TRUE(catch_signal(SIGALRM, 0));
	ASSERT_TRUE(alarm_every(10));
	EXPECT_EQ(1, take(self, 2, 2, NULL));
	alarm_every(0);
	EXPECT_LT(0, signals_seen());
	EXPECT_EQ(0, take(self, 0, 1, &no_wait));
}

TEST_F(context, signal_blocked)
{
	const struct timespec timeout = ms(50);
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	ASSERT_TRUE(catch_signal(SIGALRM, 0));
	ASSERT_TRUE(alarm_every(10));
	EXPECT_EQ(0, take(self, 1, 1, &timeout));
	alarm_every(0);
	EXPECT_EQ(0, signals_seen());
}

TEST_F(context, signal_ignored)
{
	const struct timespec timeout = ms(50);

	ASSERT_TRUE(catch_signal(SIGALRM, 0));
	ASSERT_TRUE(alarm_every(10));
	signal(SIGALRM, SIG_IGN);
	EXPECT_EQ(0, take(self, 1, 1, &timeout));
	alarm_every(0);
}

/*
 * The tests below check the memory to which events are copied.
 */

/*
 * Expects that copying 3 events to @to fails, and that the events are still in
 * the ring.
 */
static void expect_fault(struct __test_metadata *const _metadata,
			 FIXTURE_DATA(context) *self, void *to)
{
	struct io_event events[4];
	int i;

	produce(_metadata, self, 3);
	EXPECT_EQ(-EFAULT,
		  kaio_getevents(self->fd, self->ctx, 3, 3, to, &no_wait));
	ASSERT_EQ(3, kaio_getevents(self->fd, self->ctx, 3, 4, events,
				    &no_wait));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ((__u64)i, events[i].data)
		{
			TH_LOG("i %ld", (long)i);
		}
	}
}

TEST_F(context, events_null)
{
	expect_fault(_metadata, self, NULL);
}

TEST_F(context, events_in_kernel)
{
	expect_fault(_metadata, self, (void *)KERNEL_ADDR);
}

TEST_F(context, events_wrap_around)
{
	expect_fault(_metadata, self, (void *)-32L);
}

TEST_F(context, events_read_only)
{
	char *page = map_guarded(1);

	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ));
	expect_fault(_metadata, self, page);
}

TEST_F(context, events_null_needs_none)
{
	/* No event is copied, so the pointer is not used. */
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 4, NULL,
				    &no_wait));
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 0, NULL,
				    &no_wait));
}

/*
 * The buffer has room for 2 of 3 events. The call returns at most those 2, and
 * no event is lost.
 */
TEST_F(context, events_end_early)
{
	char *page = map_guarded(1);
	struct io_event *to = (struct io_event *)(page + PAGE) - 2;
	struct io_event events[4];
	long first, rest, i;

	ASSERT_NE(NULL, page);
	produce(_metadata, self, 3);
	first = kaio_getevents(self->fd, self->ctx, 3, 3, to, &no_wait);
	ASSERT_TRUE(first == -EFAULT || (first > 0 && first <= 2));
	if (first < 0)
		first = 0;
	for (i = 0; i < first; i++) {
		EXPECT_EQ((__u64)i, to[i].data)
		{
			TH_LOG("i %ld", (long)i);
		}
	}
	rest = kaio_getevents(self->fd, self->ctx, 0, 4, events, &no_wait);
	ASSERT_EQ(3, first + rest);
	for (i = 0; i < rest; i++) {
		EXPECT_EQ((__u64)(first + i), events[i].data)
		{
			TH_LOG("i %ld", (long)i);
		}
	}
}

TEST_F(context, events_unaligned)
{
	char buf[sizeof(struct io_event) + 1];
	struct io_event event;

	produce(_metadata, self, 2);
	ASSERT_EQ(1, take(self, 1, 1, &no_wait));
	ASSERT_EQ(1, kaio_getevents(self->fd, self->ctx, 1, 1,
				    (void *)(buf + 1), &no_wait));
	memcpy(&event, buf + 1, sizeof(event));
	EXPECT_EQ(1, event.data);
}

/* The call writes only the events that it returns. */
TEST_F(context, events_beyond_untouched)
{
	struct io_event events[4];

	memset(events, 0x55, sizeof(events));
	produce(_metadata, self, 3);
	ASSERT_EQ(2, kaio_getevents(self->fd, self->ctx, 1, 2, events,
				    &no_wait));
	EXPECT_EQ(0x5555555555555555ULL, events[2].data);
}

/*
 * The tests below use several threads.
 */
#define SHARED_EVENTS	600

struct shared {
	int fd;
	__u64 ctx;
	int taken;
	int bad;
	unsigned char seen[SHARED_EVENTS];
};

static void *take_shared(void *arg)
{
	struct shared *shared = arg;
	const struct timespec timeout = ms(20);
	const __s64 end = now_ns() + PATIENCE_SECONDS * NSEC_PER_SEC;
	struct io_event events[7];
	long n, i;

	while (__atomic_load_n(&shared->taken, __ATOMIC_ACQUIRE) <
		       SHARED_EVENTS &&
	       now_ns() < end) {
		n = kaio_getevents(shared->fd, shared->ctx, 1, 7, events,
				   &timeout);
		if (n < 0) {
			__atomic_fetch_add(&shared->bad, 1, __ATOMIC_RELAXED);
			break;
		}
		for (i = 0; i < n; i++)
			if (events[i].data < SHARED_EVENTS)
				__atomic_fetch_add(
					&shared->seen[events[i].data], 1,
					__ATOMIC_RELAXED);
		__atomic_fetch_add(&shared->taken, n, __ATOMIC_RELEASE);
	}
	return NULL;
}

TEST_F_TIMEOUT(context, shared_by_threads, 60)
{
	static struct shared shared;
	pthread_t threads[3];
	struct iocb iocb;
	int i;

	shared.fd = self->fd;
	shared.ctx = self->ctx;
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, take_shared,
					    &shared))
		{
			TH_LOG("i %ld", (long)i);
		}
	}
	prep_noop(&iocb, self->fd);
	for (i = 0; i < SHARED_EVENTS; i++) {
		iocb.aio_data = i;
		ASSERT_TRUE(wait_until(kaio_submit_one(self->fd, self->ctx,
						       &iocb) == 1));
	}
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], NULL))
		{
			TH_LOG("i %ld", (long)i);
		}
	}
	EXPECT_EQ(0, shared.bad);
	EXPECT_EQ(SHARED_EVENTS, shared.taken);
	for (i = 0; i < SHARED_EVENTS; i++) {
		ASSERT_EQ(1, shared.seen[i])
		{
			TH_LOG("event %d", i);
		}
	}
	EXPECT_STAT(SHARED_EVENTS, self->fd, "completed");
}

TEST_F(context, destroy_wakes)
{
	struct waiter waiters[] = {
		{ self->fd, self->ctx, 1, {} },
		{ self->fd, self->ctx, 1, {} },
	};
	struct sleeper sleepers[2];
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(fall_asleep(&sleepers[i], wait_for_events,
					&waiters[i]))
		{
			TH_LOG("i %d", i);
		}
	}
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-EINVAL, woken(&sleepers[i]))
		{
			TH_LOG("i %d", i);
		}
	}
}

TEST_F(context, unmap_wakes)
{
	struct waiter waiter = { self->fd, self->ctx, 1, {} };
	struct sleeper sleeper;

	ASSERT_TRUE(fall_asleep(&sleeper, wait_for_events, &waiter));
	EXPECT_EQ(0, munmap(ring_of(self->ctx), PAGE));
	EXPECT_EQ(-EINVAL, woken(&sleeper));
}

TEST_F(context, event_wakes)
{
	struct waiter waiter = { self->fd, self->ctx, 1, {} };
	struct sleeper sleeper;

	ASSERT_TRUE(fall_asleep(&sleeper, wait_for_events, &waiter));
	produce(_metadata, self, 1);
	EXPECT_EQ(1, woken(&sleeper));
}

/* Each of two sleepers gets the events that it waits for. */
TEST_F(context, events_wake_both)
{
	struct waiter waiters[] = {
		{ self->fd, self->ctx, 3, {} },
		{ self->fd, self->ctx, 1, {} },
	};
	struct sleeper sleepers[2];

	ASSERT_TRUE(fall_asleep(&sleepers[0], wait_for_events, &waiters[0]));
	ASSERT_TRUE(fall_asleep(&sleepers[1], wait_for_events, &waiters[1]));
	produce(_metadata, self, 4);
	EXPECT_EQ(3, woken(&sleepers[0]));
	EXPECT_EQ(1, woken(&sleepers[1]));
}

static long wait_with_timeout(void *arg)
{
	const struct timespec timeout = { .tv_sec = PATIENCE_SECONDS };
	struct waiter *waiter = arg;

	return kaio_getevents(waiter->fd, waiter->ctx, waiter->nr, waiter->nr,
			      waiter->events, &timeout);
}

/* A task that waits for eight events sleeps on when fewer have come. */
static void expect_one_wake_up(struct __test_metadata *const _metadata,
			       FIXTURE_DATA(context) *self,
			       long (*call)(void *arg))
{
	struct waiter waiter = { self->fd, self->ctx, 8, {} };
	struct sleeper sleeper;
	long before;

	ASSERT_TRUE(fall_asleep(&sleeper, call, &waiter));
	before = sleeps_of(sleeper.tid);
	ASSERT_GT(LONG_MAX, before);
	produce(_metadata, self, 7);
	/* A thread that was woken would be asleep again by then. */
	usleep(20 * 1000);
	EXPECT_TRUE(is_asleep(&sleeper));
	EXPECT_EQ(before, sleeps_of(sleeper.tid));
	produce(_metadata, self, 1);
	EXPECT_EQ(8, woken(&sleeper));
}

TEST_F(context, last_event_wakes)
{
	expect_one_wake_up(_metadata, self, wait_for_events);
}

TEST_F(context, last_event_wakes_before_timeout)
{
	expect_one_wake_up(_metadata, self, wait_with_timeout);
}

TEST_HARNESS_MAIN
