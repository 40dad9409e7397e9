// SPDX-License-Identifier: GPL-2.0
/*
 * Tests signal masks in KAIO_GETEVENTS, and KAIO_GETEVENTS_PEEK. The tests ask
 * native AIO for its answers to the same arguments.
 */
#include "context_fixture.h"

/* Tests block SIGALRM and SIGRTMAX, and have a handler for both. */
#define SECOND_SIGNAL	SIGRTMAX

static sigset_t set_of(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	if (sig)
		sigaddset(&set, sig);
	return set;
}

static bool block(int sig)
{
	const sigset_t set = set_of(sig);

	return !sigprocmask(SIG_BLOCK, &set, NULL) && catch_signal(sig, 0);
}

/* Returns the mask of this thread as the kernel has it. */
static __u64 mask_now(void)
{
	__u64 mask = 0;

	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, SIGSET_SIZE);
	return mask;
}

static bool is_pending(int sig)
{
	sigset_t set;

	return !sigpending(&set) && sigismember(&set, sig) == 1;
}

static long take(FIXTURE_DATA(context) *self, long min_nr, long nr,
		 const struct timespec *timeout, const sigset_t *mask)
{
	static struct io_event events[NR_EVENTS];

	return kaio_pgetevents(self->fd, self->ctx, min_nr, nr, events, timeout,
			       mask);
}

/*
 * The tests below change the mask during the wait.
 */
TEST_F(context, mask_unblocks)
{
	const sigset_t none = set_of(0);

	ASSERT_TRUE(block(SIGALRM));
	ASSERT_TRUE(alarm_every(10));
	EXPECT_EQ(-EINTR, take(self, 1, 1, &patience, &none));
	/* The handler ran before the call returned. */
	EXPECT_LT(0, signals_seen());
	alarm_every(0);
}

TEST_F(context, mask_unblocks_without_timeout)
{
	const sigset_t none = set_of(0);

	ASSERT_TRUE(block(SIGALRM));
	ASSERT_TRUE(alarm_every(10));
	EXPECT_EQ(-EINTR, take(self, 1, 1, NULL, &none));
	alarm_every(0);
}

TEST_F(context, mask_unblocks_with_restart)
{
	const sigset_t none = set_of(0);

	ASSERT_TRUE(block(SIGALRM));
	ASSERT_TRUE(catch_signal(SIGALRM, SA_RESTART));
	ASSERT_TRUE(alarm_every(10));
	EXPECT_EQ(-EINTR, take(self, 1, 1, &patience, &none));
	alarm_every(0);
}

TEST_F(context, mask_blocks)
{
	const struct timespec timeout = ms(50);
	const sigset_t mask = set_of(SIGALRM);

	ASSERT_TRUE(catch_signal(SIGALRM, 0));
	/* A signal comes in the middle of the wait. */
	ASSERT_TRUE(alarm_every(10));
	EXPECT_EQ(0, take(self, 1, 1, &timeout, &mask));
	/* The signal was not lost. */
	EXPECT_LT(0, signals_seen());
	alarm_every(0);
}

/* All 64 signals are tested. */
TEST_F(context, mask_of_every_signal)
{
	int sig;

	for (sig = 1; sig <= SIGRTMAX; sig++) {
		const sigset_t none = set_of(0), mask = set_of(sig);

		/*
		 * Skip the signals that libc reserves and those that cannot be
		 * blocked.
		 */
		if ((sig > 31 && sig < SIGRTMIN) || sig == SIGKILL ||
		    sig == SIGSTOP)
			continue;
		ASSERT_TRUE(block(sig));
		ASSERT_EQ(0, raise(sig));
		ASSERT_TRUE(is_pending(sig));
		EXPECT_EQ(0, take(self, 1, 1, &no_wait, &mask))
		{
			TH_LOG("signal %d", sig);
		}
		EXPECT_EQ(0, signals_seen());
		EXPECT_EQ(-EINTR, take(self, 1, 1, &patience, &none))
		{
			TH_LOG("signal %d", sig);
		}
		EXPECT_EQ(1, signals_seen())
		{
			TH_LOG("signal %d", sig);
		}
	}
}

/* The memory behind the kernel's 8 bytes is not read. */
TEST_F(context, mask_at_end_of_mapping)
{
	char *page = map_guarded(1);
	sigset_t *mask = (void *)(page + PAGE - SIGSET_SIZE);

	ASSERT_NE(NULL, page);
	EXPECT_EQ(0, take(self, 1, 1, &no_wait, mask));
	EXPECT_EQ(-EFAULT,
		  take(self, 1, 1, &no_wait, (void *)((char *)mask + 1)));
}

static __u64 mask_in_handler;

static void note_mask(int sig)
{
	(void)sig;
	mask_in_handler = mask_now();
}

/* As with pselect(2), the handler runs with the requested mask. */
TEST_F(context, mask_in_handler)
{
	const struct sigaction action = { .sa_handler = note_mask };
	const sigset_t mask = set_of(SECOND_SIGNAL);
	const __u64 alarm_bit = 1ULL << (SIGALRM - 1);
	const __u64 second_bit = 1ULL << (SECOND_SIGNAL - 1);

	ASSERT_TRUE(block(SIGALRM));
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, raise(SIGALRM));
	EXPECT_EQ(-EINTR, take(self, 1, 1, &patience, &mask));
	EXPECT_EQ(alarm_bit | second_bit, mask_in_handler);
	EXPECT_EQ(alarm_bit, mask_now());
}

/* SIGKILL and SIGSTOP cannot be blocked. */
static void wait_with_all_blocked(int fd, int ready)
{
	struct io_event event;
	sigset_t all;
	__u64 ctx;

	sigfillset(&all);
	if (kaio_setup(fd, 1, &ctx) || write(ready, "r", 1) != 1)
		_exit(1);
	kaio_pgetevents(fd, ctx, 1, 1, &event, NULL, &all);
	_exit(2);
}

TEST_F(context, kill_and_stop_are_not_blocked)
{
	int status, ready[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		wait_with_all_blocked(self->fd, ready[1]);
	ASSERT_EQ(1, read(ready[0], &c, 1));
	ASSERT_TRUE(wait_until(task_sleeps(pid, pid)));
	/* A blocked signal does not wake the child. */
	ASSERT_EQ(0, kill(pid, SIGTERM));
	ASSERT_EQ(0, kill(pid, SIGSTOP));
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	EXPECT_TRUE(WIFSTOPPED(status));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
}

/*
 * A stop and a continuation have no handler.
 */
FIXTURE(stopped)
{
	int fd;
};

FIXTURE_VARIANT(stopped)
{
	bool mask;
	__u64 sigsetsize;
	/*
	 * The call returns as io_getevents(2) does, and not as
	 * io_pgetevents(2).
	 */
	bool ends;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(stopped, without_mask) { .ends = true };
FIXTURE_VARIANT_ADD(stopped, with_mask) {
	.mask = true,
	.sigsetsize = SIGSET_SIZE,
};

FIXTURE_VARIANT_ADD(stopped, with_size_only) { .sigsetsize = SIGSET_SIZE };
FIXTURE_VARIANT_ADD(stopped, with_odd_size_only) { .sigsetsize = 1 };
/* clang-format on */

FIXTURE_SETUP(stopped)
{
	self->fd = open_kaio(_metadata);
}

FIXTURE_TEARDOWN(stopped)
{
	close(self->fd);
}

/*
 * Waits in a child for an event that does not come, and writes the result of
 * the call to @out.
 */
static void wait_in_child(FIXTURE_DATA(stopped) *self,
			  const FIXTURE_VARIANT(stopped) *variant, bool native,
			  int out)
{
	static const sigset_t none;
	struct io_event event;
	struct kaio_getevents arg = {
		.min_nr = 1,
		.nr = 1,
		.events = (uintptr_t)&event,
		.sigmask = variant->mask ? (uintptr_t)&none : 0,
		.sigsetsize = variant->sigsetsize,
	};
	const struct {
		const sigset_t *sigmask;
		size_t sigsetsize;
	} usig = { variant->mask ? &none : NULL, variant->sigsetsize };
	aio_context_t ctx;
	__u64 id;
	long ret;

	if (!native) {
		if (kaio_setup(self->fd, 1, &id))
			_exit(1);
		arg.ctx_id = id;
		ret = kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg);
	} else {
		if (native_setup(1, &ctx))
			_exit(1);
		ret = variant->ends ?
			      native_getevents(ctx, 1, 1, &event, NULL) :
			      syscall(SYS_io_pgetevents, ctx, 1L, 1L, &event,
				      NULL, &usig);
	}
	_exit(write(out, &ret, sizeof(ret)) != sizeof(ret));
}

static void expect_stopped(struct __test_metadata *const _metadata,
			   FIXTURE_DATA(stopped) *self,
			   const FIXTURE_VARIANT(stopped) *variant, bool native)
{
	int ends[2], status;
	struct pollfd pollfd = { .events = POLLIN };
	long ret = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		wait_in_child(self, variant, native, ends[1]);
	ASSERT_TRUE(wait_until(task_sleeps(pid, pid)));
	ASSERT_EQ(0, kill(pid, SIGSTOP));
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	ASSERT_EQ(0, kill(pid, SIGCONT));
	pollfd.fd = ends[0];
	if (variant->ends) {
		ASSERT_EQ(1, poll(&pollfd, 1, PATIENCE_SECONDS * 1000));
		ASSERT_EQ((ssize_t)sizeof(ret), read(ends[0], &ret, sizeof(ret)));
		EXPECT_EQ(-EINTR, ret);
	} else {
		/* The child still sleeps. */
		EXPECT_EQ(0, poll(&pollfd, 1, 200));
		EXPECT_TRUE(wait_until(task_sleeps(pid, pid)));
	}
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
}

TEST_F(stopped, and_continued)
{
	expect_stopped(_metadata, self, variant, false);
}

TEST_F(stopped, as_native)
{
	expect_stopped(_metadata, self, variant, true);
}

/* The mask of one thread does not affect another thread. */
static long take_with_none_blocked(void *arg)
{
	static const sigset_t none;

	return take(arg, 1, 1, NULL, &none);
}

TEST_F(context, mask_is_of_one_thread)
{
	struct sleeper sleeper;

	ASSERT_TRUE(block(SIGALRM));
	ASSERT_TRUE(fall_asleep(&sleeper, take_with_none_blocked, self));
	/*
	 * The signal is sent to the process, so the thread that has it
	 * unblocked gets it.
	 */
	ASSERT_EQ(0, kill(getpid(), SIGALRM));
	EXPECT_EQ(-EINTR, woken(&sleeper));
	EXPECT_EQ(1, signals_seen());
	EXPECT_FALSE(is_pending(SIGALRM));
}

/*
 * The signal comes at any moment before or during the wait, and is unblocked
 * only during the wait. No signal is missed.
 */
#define SIGNAL_ROUNDS	1000

struct signaller {
	pid_t target;
	/* The number of signals that have ended a wait. */
	int seen;
};

static long signal_in_rounds(void *arg)
{
	struct signaller *signaller = arg;
	int round;

	for (round = 0; round < SIGNAL_ROUNDS; round++) {
		dawdle(round);
		syscall(SYS_tgkill, getpid(), signaller->target, SIGALRM);
		while (__atomic_load_n(&signaller->seen, __ATOMIC_ACQUIRE) <=
		       round)
			sched_yield();
	}
	return 0;
}

TEST_F_TIMEOUT(context, no_signal_is_missed, 120)
{
	struct signaller signaller = { .target = syscall(SYS_gettid) };
	const sigset_t none = set_of(0);
	struct sleeper thread;
	int round;

	ASSERT_TRUE(block(SIGALRM));
	ASSERT_TRUE(start_call(&thread, signal_in_rounds, &signaller));
	for (round = 1; round <= SIGNAL_ROUNDS; round++) {
		ASSERT_EQ(-EINTR, take(self, 1, 1, &patience, &none))
		{
			TH_LOG("round %d", round);
		}
		ASSERT_EQ(1, signals_seen());
		__atomic_store_n(&signaller.seen, round, __ATOMIC_RELEASE);
	}
	ASSERT_EQ(0, result_of_call(&thread));
}

/*
 * After the call the mask is restored, whatever the call returned.
 */
FIXTURE(outcome)
{
	int fd;
	__u64 ctx;
	aio_context_t native;
	struct io_event events[4];
};

FIXTURE_VARIANT(outcome)
{
	int available;
	long min_nr;
	long nr;
	long timeout_ms;
	bool no_buffer;
	bool no_context;
	bool signal;
	long expected;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(outcome, event) {
	.available = 1, .min_nr = 1, .nr = 1, .expected = 1,
};

FIXTURE_VARIANT_ADD(outcome, fewer_events) {
	.available = 1, .min_nr = 2, .nr = 2, .timeout_ms = 10, .expected = 1,
};

FIXTURE_VARIANT_ADD(outcome, timeout) {
	.min_nr = 1, .nr = 1, .timeout_ms = 10, .expected = 0,
};

FIXTURE_VARIANT_ADD(outcome, no_time) {
	.min_nr = 1, .nr = 1, .expected = 0,
};

FIXTURE_VARIANT_ADD(outcome, fault) {
	.available = 1, .min_nr = 1, .nr = 1, .no_buffer = true,
	.expected = -EFAULT,
};

FIXTURE_VARIANT_ADD(outcome, bad_number) {
	.min_nr = 2, .nr = 1, .expected = -EINVAL,
};

FIXTURE_VARIANT_ADD(outcome, bad_context) {
	.no_context = true, .min_nr = 1, .nr = 1, .expected = -EINVAL,
};

FIXTURE_VARIANT_ADD(outcome, signal) {
	.signal = true, .min_nr = 1, .nr = 1, .timeout_ms = 50,
	.expected = -EINTR,
};

FIXTURE_VARIANT_ADD(outcome, signal_and_no_time) {
	.signal = true, .min_nr = 1, .nr = 1, .expected = -EINTR,
};

FIXTURE_VARIANT_ADD(outcome, signal_and_nothing_wanted) {
	.signal = true, .nr = 1, .expected = -EINTR,
};

FIXTURE_VARIANT_ADD(outcome, signal_and_event) {
	.signal = true, .available = 1, .min_nr = 1, .nr = 1, .expected = 1,
};

FIXTURE_VARIANT_ADD(outcome, signal_and_more_events) {
	.signal = true, .available = 3, .min_nr = 1, .nr = 2, .expected = 2,
};

FIXTURE_VARIANT_ADD(outcome, signal_and_fewer_events) {
	.signal = true, .available = 1, .min_nr = 2, .nr = 2,
	.timeout_ms = 50, .expected = 1,
};

FIXTURE_VARIANT_ADD(outcome, signal_and_fault) {
	.signal = true, .available = 1, .min_nr = 1, .nr = 1,
	.no_buffer = true, .expected = -EFAULT,
};

FIXTURE_VARIANT_ADD(outcome, signal_and_bad_number) {
	.signal = true, .min_nr = 2, .nr = 1, .expected = -EINVAL,
};

FIXTURE_VARIANT_ADD(outcome, signal_and_bad_context) {
	.signal = true, .no_context = true, .min_nr = 1, .nr = 1,
	.expected = -EINVAL,
};
/* clang-format on */

FIXTURE_SETUP(outcome)
{
	const int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	struct iocb iocb, *iocbs = &iocb;
	char c;
	int i;

	self->fd = open_kaio(_metadata);
	if (self->fd < 0)
		return;
	if (native_setup(4, &self->native))
		SKIP(return, "this kernel has no native AIO");
	ASSERT_EQ(0, kaio_setup(self->fd, 4, &self->ctx));
	prep_pread(&iocb, zero, &c, 1, 0);
	for (i = 0; i < variant->available; i++) {
		ASSERT_EQ(1, native_submit(self->native, 1, &iocbs));
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	}
	ASSERT_TRUE(block(SIGALRM));
	ASSERT_TRUE(block(SECOND_SIGNAL));
	if (variant->signal)
		ASSERT_EQ(0, raise(SIGALRM));
}

FIXTURE_TEARDOWN(outcome)
{
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	close(self->fd);
}

/* The result of the call, and the state after it. */
struct call_result {
	long ret;
	int handled;
	bool pending;
	__u64 mask;
};

static struct call_result call(FIXTURE_DATA(outcome) *self,
			       const FIXTURE_VARIANT(outcome) *variant,
			       bool native)
{
	const struct timespec timeout = ms(variant->timeout_ms);
	struct io_event *const events = variant->no_buffer ? NULL :
							     self->events;
	/* SIGALRM is unblocked, and SECOND_SIGNAL stays blocked. */
	const sigset_t mask = set_of(SECOND_SIGNAL);
	struct call_result result;

	if (native)
		result.ret = native_pgetevents(variant->no_context ?
						       0 :
						       self->native,
					       variant->min_nr, variant->nr,
					       events, &timeout, &mask);
	else
		result.ret = kaio_pgetevents(self->fd,
					     variant->no_context ? 0 :
								   self->ctx,
					     variant->min_nr, variant->nr,
					     events, &timeout, &mask);
	result.handled = signals_seen();
	result.pending = is_pending(SIGALRM);
	result.mask = mask_now();
	return result;
}

TEST_F(outcome, mask_is_restored)
{
	const __u64 before = mask_now();
	const struct call_result result = call(self, variant, false);

	EXPECT_EQ(variant->expected, result.ret);
	EXPECT_EQ(before, result.mask);
	/* The handler of the next signal restores the same mask. */
	ASSERT_TRUE(catch_signal(SIGUSR1, 0));
	ASSERT_EQ(0, raise(SIGUSR1));
	EXPECT_EQ(1, signals_seen());
	EXPECT_EQ(before, mask_now());
	/* A later call works too. */
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 0, NULL, &no_wait));
	EXPECT_EQ(before, mask_now());
}

TEST_F(outcome, as_native)
{
	const struct call_result native = call(self, variant, true);
	struct call_result kaio;

	if (variant->signal && native.handled)
		ASSERT_EQ(0, raise(SIGALRM));
	kaio = call(self, variant, false);
	EXPECT_EQ(variant->expected, native.ret);
	EXPECT_EQ(native.ret, kaio.ret);
	EXPECT_EQ(native.handled, kaio.handled);
	EXPECT_EQ(native.pending, kaio.pending);
	EXPECT_EQ(native.mask, kaio.mask);
}

/* Without a mask the call is like io_getevents(2). */
TEST_F(outcome, without_mask)
{
	const sigset_t alarm = set_of(SIGALRM);
	const struct timespec timeout = ms(variant->timeout_ms);
	struct io_event *const events = variant->no_buffer ? NULL :
							     self->events;
	long native, kaio;
	int handled;

	native = native_getevents(variant->no_context ? 0 : self->native,
				  variant->min_nr, variant->nr, events,
				  &timeout);
	kaio = kaio_getevents(self->fd, variant->no_context ? 0 : self->ctx,
			      variant->min_nr, variant->nr, events, &timeout);
	EXPECT_EQ(native, kaio);
	/* SIGALRM is blocked all the time. */
	EXPECT_EQ(0, signals_seen());
	ASSERT_EQ(0, sigprocmask(SIG_UNBLOCK, &alarm, NULL));
	handled = signals_seen();
	EXPECT_EQ(variant->signal, handled);
}

struct restored {
	FIXTURE_DATA(context) *self;
	__u64 before;
	__u64 after;
};

static long take_and_look(void *arg)
{
	struct restored *const restored = arg;
	long ret;

	restored->before = mask_now();
	ret = take_with_none_blocked(restored->self);
	restored->after = mask_now();
	return ret;
}

TEST_F(context, mask_is_restored_after_destroy)
{
	struct restored restored = { .self = self };
	struct sleeper sleeper;

	ASSERT_TRUE(block(SIGALRM));
	ASSERT_TRUE(fall_asleep(&sleeper, take_and_look, &restored));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(-EINVAL, woken(&sleeper));
	EXPECT_EQ(1ULL << (SIGALRM - 1), restored.before);
	EXPECT_EQ(restored.before, restored.after);
}

/*
 * The errors for all combinations of bad arguments show which argument is
 * checked first.
 */
TEST_F(context, errors_as_native)
{
	static const sigset_t mask;
	struct io_event event;
	aio_context_t native;
	unsigned int bad;

	if (native_setup(1, &native))
		SKIP(return, "this kernel has no native AIO");
	for (bad = 0; bad < 32; bad++) {
		const struct {
			__u64 sigmask;
			__u64 sigsetsize;
		} usig = {
			bad & 1 ? KERNEL_ADDR : (uintptr_t)&mask,
			bad & 2 ? 7 : SIGSET_SIZE,
		};
		const void *timeout = bad & 4 ? (void *)KERNEL_ADDR :
						(const void *)&no_wait;
		const long nr = bad & 8 ? -1 : 1;
		struct kaio_getevents arg = {
			.ctx_id = bad & 16 ? 0 : self->ctx,
			.nr = nr,
			.events = (uintptr_t)&event,
			.timeout = (uintptr_t)timeout,
			.sigmask = usig.sigmask,
			.sigsetsize = usig.sigsetsize,
		};
		long ret = syscall(SYS_io_pgetevents, bad & 16 ? 0 : native, 0L,
				   nr, &event, timeout, &usig);

		EXPECT_EQ(ret < 0 ? -errno : ret,
			  kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg))
		{
			TH_LOG("combination %#x", bad);
		}
	}
}

TEST_F(context, sigsetsize)
{
	const __u64 sizes[] = { 0,   1,	  4,	     7,
				9,   16,  128,	     1ULL << 32,
				1ULL << 32 | 8, ~0ULL };
	static const sigset_t mask;
	struct kaio_getevents arg = {
		.ctx_id = self->ctx,
		.sigmask = (uintptr_t)&mask,
		.sigsetsize = SIGSET_SIZE,
	};
	size_t i;

	EXPECT_EQ(0, kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		arg.sigsetsize = sizes[i];
		arg.sigmask = (uintptr_t)&mask;
		EXPECT_EQ(-EINVAL, kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg))
		{
			TH_LOG("size %llu", sizes[i]);
		}
		/* Without a mask its size is ignored. */
		arg.sigmask = 0;
		EXPECT_EQ(0, kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg))
		{
			TH_LOG("size %llu", sizes[i]);
		}
	}
}

TEST_F(context, bad_mask_pointer)
{
	const __u64 pointers[] = { 1, 8, KERNEL_ADDR, 1ULL << 62, ~0ULL };
	size_t i;

	ASSERT_TRUE(block(SIGALRM));
	for (i = 0; i < ARRAY_SIZE(pointers); i++) {
		const __u64 before = mask_now();

		EXPECT_EQ(-EFAULT, take(self, 0, 1, &no_wait,
					(void *)(uintptr_t)pointers[i]))
		{
			TH_LOG("pointer %#llx", pointers[i]);
		}
		EXPECT_EQ(before, mask_now());
	}
}

/*
 * The tests below peek: events stay in the ring.
 */
TEST_F(context, peek_leaves_events)
{
	struct io_event events[4];
	struct iocb iocb;
	int i;

	prep_noop(&iocb, self->fd);
	for (i = 0; i < 3; i++) {
		iocb.aio_data = i;
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	}
	EXPECT_EQ(3, kaio_peek(self->fd, self->ctx, 1, 4, NULL));
	EXPECT_EQ(3, kaio_peek(self->fd, self->ctx, 3, 4, NULL));
	EXPECT_EQ(2, kaio_peek(self->fd, self->ctx, 1, 2, NULL));
	EXPECT_EQ(0, ring_of(self->ctx)->head);
	ASSERT_EQ(1, ring_reap(self->ctx, events, 1));
	EXPECT_EQ(2, kaio_peek(self->fd, self->ctx, 1, 4, NULL));
	ASSERT_EQ(2, ring_reap(self->ctx, events + 1, 4));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ((__u64)i, events[i].data)
		{
			TH_LOG("event %d", i);
		}
	}
	EXPECT_EQ(0, kaio_peek(self->fd, self->ctx, 0, 4, NULL));
}

/* Events are also counted where the ring wraps around. */
TEST_F(context, peek_around_the_ring)
{
	const __u32 nr = ring_of(self->ctx)->nr;
	struct io_event events[NR_EVENTS];
	__u32 i;

	for (i = 0; i < nr + 5; i++) {
		produce(_metadata, self, 3);
		ASSERT_EQ(3, kaio_peek(self->fd, self->ctx, 3, NR_EVENTS,
				       &no_wait))
		{
			TH_LOG("round %u", i);
		}
		ASSERT_EQ(3, ring_reap(self->ctx, events, NR_EVENTS));
	}
}

TEST_F(context, peek_numbers)
{
	produce(_metadata, self, 2);
	EXPECT_EQ(0, kaio_peek(self->fd, self->ctx, 0, 0, NULL));
	EXPECT_EQ(1, kaio_peek(self->fd, self->ctx, 0, 1, NULL));
	EXPECT_EQ(2, kaio_peek(self->fd, self->ctx, 0, LONG_MAX, NULL));
	EXPECT_EQ(2, kaio_peek(self->fd, self->ctx, 2, LONG_MAX, NULL));
	EXPECT_EQ(-EINVAL, kaio_peek(self->fd, self->ctx, 2, 1, NULL));
	EXPECT_EQ(-EINVAL, kaio_peek(self->fd, self->ctx, 0, -1, NULL));
	EXPECT_EQ(-EINVAL, kaio_peek(self->fd, self->ctx, -1, 1, NULL));
	EXPECT_EQ(-EINVAL, kaio_peek(self->fd, 0, 0, 1, NULL));
}

/* The call does not wait for more events than the ring can hold. */
TEST_F(context, peek_at_full_ring)
{
	const int room = ring_of(self->ctx)->nr - 1;

	produce(_metadata, self, room);
	EXPECT_EQ(room, kaio_peek(self->fd, self->ctx, room + 1, LONG_MAX,
				  NULL));
	EXPECT_EQ(room, kaio_peek(self->fd, self->ctx, LONG_MAX, LONG_MAX,
				  NULL));
}

TEST_F(context, peek_timeout)
{
	const struct timespec timeout = ms(20);
	__s64 start = now_ns();

	EXPECT_EQ(0, kaio_peek(self->fd, self->ctx, 1, 1, &timeout));
	EXPECT_LE(20 * NSEC_PER_MSEC, now_ns() - start);
	/* After the timeout the call returns the events that are there. */
	produce(_metadata, self, 1);
	start = now_ns();
	EXPECT_EQ(1, kaio_peek(self->fd, self->ctx, 2, 2, &timeout));
	EXPECT_LE(20 * NSEC_PER_MSEC, now_ns() - start);
	EXPECT_EQ(1, take(self, 1, 1, &no_wait, NULL));
}

/* A peek with a buffer for events is refused. */
TEST_F(context, peek_with_buffer)
{
	struct io_event event;
	struct kaio_getevents arg = {
		.ctx_id = self->ctx,
		.nr = 1,
		.events = (uintptr_t)&event,
		.flags = KAIO_GETEVENTS_PEEK,
	};

	produce(_metadata, self, 1);
	EXPECT_EQ(-EINVAL, kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg));
	arg.events = 1ULL << 63;
	EXPECT_EQ(-EINVAL, kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg));
	EXPECT_EQ(1, take(self, 1, 1, &no_wait, NULL));
}

static long peek_at_two(void *arg)
{
	FIXTURE_DATA(context) *const self = arg;

	return kaio_peek(self->fd, self->ctx, 2, 8, NULL);
}

TEST_F(context, peek_waits)
{
	struct sleeper sleepers[2];
	int i;

	for (i = 0; i < 2; i++)
		ASSERT_TRUE(fall_asleep(&sleepers[i], peek_at_two, self));
	produce(_metadata, self, 1);
	EXPECT_TRUE(wait_until(is_asleep(&sleepers[0])));
	EXPECT_TRUE(wait_until(is_asleep(&sleepers[1])));
	produce(_metadata, self, 1);
	/* A peek takes no event from the other thread. */
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(2, woken(&sleepers[i]))
		{
			TH_LOG("thread %d", i);
		}
	}
	EXPECT_EQ(2, take(self, 2, 2, &no_wait, NULL));
}

TEST_F(context, peek_and_destroy)
{
	struct sleeper sleeper;

	ASSERT_TRUE(fall_asleep(&sleeper, peek_at_two, self));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(-EINVAL, woken(&sleeper));
}

TEST_F(context, peek_and_signal)
{
	static const sigset_t none;
	struct kaio_getevents arg = getevents_arg(self->ctx, 1, 2, NULL, NULL);

	arg.sigmask = (uintptr_t)&none;
	arg.sigsetsize = SIGSET_SIZE;
	arg.flags = KAIO_GETEVENTS_PEEK;
	ASSERT_TRUE(block(SIGALRM));
	ASSERT_EQ(0, raise(SIGALRM));
	EXPECT_EQ(-EINTR, kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg));
	EXPECT_EQ(1, signals_seen());
	EXPECT_EQ(1ULL << (SIGALRM - 1), mask_now());
	/* Events come before the signal, as when they are taken ... */
	produce(_metadata, self, 1);
	ASSERT_EQ(0, raise(SIGALRM));
	EXPECT_EQ(1, kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg));
	EXPECT_EQ(1, signals_seen());
	/* ... even if there are fewer events than wanted. */
	arg.min_nr = 2;
	ASSERT_EQ(0, raise(SIGALRM));
	EXPECT_EQ(1, kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg));
	EXPECT_EQ(1, signals_seen());
	EXPECT_EQ(1ULL << (SIGALRM - 1), mask_now());
	EXPECT_EQ(1, take(self, 1, 1, &no_wait, NULL));
}

/* A program peeks and reaps while a device completes requests. */
TEST_F_TIMEOUT(context, peek_and_reap, 60)
{
	const int file = open_pattern(DISK_DIR, 1, 16 * PAGE);
	const int direct = reopen(file, O_RDONLY | O_DIRECT);
	struct iocb iocbs[16], *pointers[16];
	struct io_event events[NR_EVENTS];
	char *buf = map_guarded(16);
	int i, round;

	ASSERT_LE(0, direct);
	ASSERT_NE(NULL, buf);
	prep_page_reads(iocbs, pointers, 16, direct, buf);
	for (round = 0; round < 50; round++) {
		int left = 16;

		ASSERT_EQ(16, kaio_submit(self->fd, self->ctx, 16, pointers));
		while (left) {
			const long there = kaio_peek(self->fd, self->ctx, 1,
						     left, &patience);

			ASSERT_LT(0, there);
			/* The events that the peek counted are in the ring. */
			ASSERT_EQ(there, ring_reap(self->ctx, events, there));
			for (i = 0; i < there; i++)
				ASSERT_EQ((long)PAGE, events[i].res);
			left -= there;
		}
	}
	EXPECT_TRUE(is_pattern(buf, 16 * PAGE, 1, 0));
}

TEST_HARNESS_MAIN
