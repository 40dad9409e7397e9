// SPDX-License-Identifier: GPL-2.0
/*
 * Tests KAIO_SUBMIT_WAIT, which is KAIO_SUBMIT and KAIO_GETEVENTS in one
 * call. Other programs test each half. The tests here check that both are done,
 * and what is returned if one of them fails.
 */
#include "context_fixture.h"
#include "task_work.h"

/* This value must be overwritten in some tests and left alone in others. */
#define UNTOUCHED	4711

/* Returns @nr requests that complete when they are submitted. */
static struct iocb **noops(FIXTURE_DATA(context) *self, int nr)
{
	static struct iocb iocbs[NR_EVENTS], *pointers[NR_EVENTS];
	int i;

	for (i = 0; i < nr; i++) {
		prep_noop(&iocbs[i], self->fd);
		iocbs[i].aio_data = i;
		pointers[i] = &iocbs[i];
	}
	return pointers;
}

/* Returns a read of an empty pipe. */
static struct iocb *waiting_read(struct __test_metadata *const _metadata,
				 int *out)
{
	static struct iocb iocb;
	static char c;
	int ends[2];

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	*out = ends[1];
	prep_pread(&iocb, ends[0], &c, 1, 0);
	return &iocb;
}

TEST_F(context, submit_and_take)
{
	struct io_event events[4];
	__u64 submitted = UNTOUCHED;
	int i;

	EXPECT_EQ(4, kaio_submit_wait(self->fd, self->ctx, 4, noops(self, 4), 4,
				      4, events, NULL, &submitted));
	EXPECT_EQ(4, submitted);
	for (i = 0; i < 4; i++) {
		EXPECT_EQ((__u64)i, events[i].data);
		EXPECT_EQ(0, events[i].res);
	}
	EXPECT_EQ(4, kaio_stat(self->fd, "submitted"));
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 4, events,
				    &no_wait));
}

/* The call waits for a request that completes later. */
TEST_F(context, waits)
{
	const struct itimerspec soon = { .it_value = ms(20) };
	const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	struct iocb iocb, *iocbs = &iocb;
	struct io_event event;
	__u64 count = 0, submitted;

	prep_pread(&iocb, timer, &count, sizeof(count), 0);
	ASSERT_EQ(0, timerfd_settime(timer, 0, &soon, NULL));
	EXPECT_EQ(1, kaio_submit_wait(self->fd, self->ctx, 1, &iocbs, 1, 1,
				      &event, NULL, &submitted));
	EXPECT_EQ(1, submitted);
	EXPECT_EQ(8, event.res);
	EXPECT_EQ(1, count);
}

struct call {
	FIXTURE_DATA(context) *self;
	struct iocb *iocb;
	__u64 submitted;
};

static long submit_and_wait(void *arg)
{
	struct call *const call = arg;
	struct io_event event;

	return kaio_submit_wait(call->self->fd, call->self->ctx, 1, &call->iocb,
				1, 1, &event, NULL, &call->submitted);
}

/*
 * Starts a thread that submits a read and waits for its event. Returns the file
 * that the read gets its data from.
 */
static int start_waiting(struct __test_metadata *const _metadata,
			 struct call *call, struct sleeper *sleeper)
{
	int out;

	call->iocb = waiting_read(_metadata, &out);
	ASSERT_TRUE(fall_asleep(sleeper, submit_and_wait, call));
	return out;
}

TEST_F(context, event_wakes)
{
	struct call call = { .self = self };
	struct sleeper sleeper;
	const int out = start_waiting(_metadata, &call, &sleeper);

	EXPECT_EQ(1, kaio_stat(self->fd, "submitted"));
	ASSERT_EQ(1, write(out, "x", 1));
	EXPECT_EQ(1, woken(&sleeper));
	EXPECT_EQ(1, call.submitted);
}

TEST_F(context, destroy_wakes)
{
	struct call call = { .self = self };
	struct sleeper sleeper;

	start_waiting(_metadata, &call, &sleeper);
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(-EINVAL, woken(&sleeper));
	EXPECT_EQ(1, call.submitted);
}

/* The events of earlier requests count too. */
TEST_F(context, older_events)
{
	struct io_event events[4];
	struct iocb *iocb;
	__u64 submitted;
	int out;

	produce(_metadata, self, 3);
	iocb = waiting_read(_metadata, &out);
	EXPECT_EQ(3, kaio_submit_wait(self->fd, self->ctx, 1, &iocb, 3, 4,
				      events, NULL, &submitted));
	EXPECT_EQ(1, submitted);
	ASSERT_EQ(1, write(out, "x", 1));
	EXPECT_EQ(1, kaio_wait(self->fd, self->ctx, 1, events));
}

TEST_F(context, no_more_than_nr_events)
{
	struct io_event events[4];
	__u64 submitted;

	events[2].data = UNTOUCHED;
	EXPECT_EQ(2, kaio_submit_wait(self->fd, self->ctx, 4, noops(self, 4), 1,
				      2, events, NULL, &submitted));
	EXPECT_EQ(4, submitted);
	EXPECT_EQ(UNTOUCHED, events[2].data);
	EXPECT_EQ(2, kaio_wait(self->fd, self->ctx, 2, events));
	EXPECT_EQ(2, events[0].data);
}

/* With min_nr 0 the call takes the events that are there. */
TEST_F(context, no_minimum)
{
	struct io_event events[4];
	struct iocb *iocb;
	__u64 submitted;
	int out;

	iocb = waiting_read(_metadata, &out);
	EXPECT_EQ(0, kaio_submit_wait(self->fd, self->ctx, 1, &iocb, 0, 4,
				      events, NULL, &submitted));
	EXPECT_EQ(1, submitted);
	EXPECT_EQ(3, kaio_submit_wait(self->fd, self->ctx, 3, noops(self, 3), 0,
				      4, events, NULL, &submitted));
	EXPECT_EQ(3, submitted);
}

/* With nr_events 0 the call only submits. */
TEST_F(context, no_events_wanted)
{
	struct io_event events[4];
	__u64 submitted;

	EXPECT_EQ(0, kaio_submit_wait(self->fd, self->ctx, 4, noops(self, 4), 0,
				      0, NULL, NULL, &submitted));
	EXPECT_EQ(4, submitted);
	EXPECT_EQ(4, kaio_wait(self->fd, self->ctx, 4, events));
}

/* With nr 0 the call only takes events. */
TEST_F(context, nothing_to_submit)
{
	const struct timespec timeout = ms(20);
	struct io_event events[4];
	__u64 submitted = UNTOUCHED;
	__s64 start;

	produce(_metadata, self, 3);
	/* The pointer to the array is not used. */
	EXPECT_EQ(3, kaio_submit_wait(self->fd, self->ctx, 0,
				      (void *)(uintptr_t)KERNEL_ADDR, 1, 4,
				      events, NULL, &submitted));
	EXPECT_EQ(0, submitted);
	/* The call waits too. */
	start = now_ns();
	EXPECT_EQ(0, kaio_submit_wait(self->fd, self->ctx, 0, NULL, 1, 4,
				      events, &timeout, &submitted));
	EXPECT_LE(20 * NSEC_PER_MSEC, now_ns() - start);
	EXPECT_EQ(0, submitted);
	EXPECT_EQ(0, kaio_submit_wait(self->fd, self->ctx, 0, NULL, 0, 0, NULL,
				      NULL, &submitted));
}

TEST_F(context, timeout)
{
	const struct timespec timeout = ms(20);
	struct io_event events[4];
	const __s64 start = now_ns();
	struct iocb *iocb;
	__u64 submitted;
	int out;

	iocb = waiting_read(_metadata, &out);
	EXPECT_EQ(0, kaio_submit_wait(self->fd, self->ctx, 1, &iocb, 1, 4,
				      events, &timeout, &submitted));
	EXPECT_LE(20 * NSEC_PER_MSEC, now_ns() - start);
	EXPECT_EQ(1, submitted);
	/* The request still waits. */
	ASSERT_EQ(1, write(out, "x", 1));
	EXPECT_EQ(1, kaio_wait(self->fd, self->ctx, 1, events));
	EXPECT_EQ(1, events[0].res);
}

TEST_F(context, timeout_takes_some)
{
	const struct timespec timeout = ms(20);
	struct io_event events[4];
	__u64 submitted;

	EXPECT_EQ(2, kaio_submit_wait(self->fd, self->ctx, 2, noops(self, 2), 4,
				      4, events, &timeout, &submitted));
	EXPECT_EQ(2, submitted);
}

TEST_F(context, signal)
{
	struct io_event events[4];
	struct iocb *iocb;
	__u64 submitted;
	int out;

	ASSERT_TRUE(catch_signal(SIGALRM, SA_RESTART));
	ASSERT_TRUE(alarm_every(10));
	iocb = waiting_read(_metadata, &out);
	EXPECT_EQ(-EINTR, kaio_submit_wait(self->fd, self->ctx, 1, &iocb, 1, 4,
					   events, NULL, &submitted));
	alarm_every(0);
	/* The request was not submitted a second time. */
	EXPECT_EQ(1, submitted);
	EXPECT_EQ(1, kaio_stat(self->fd, "submitted"));
	ASSERT_EQ(1, write(out, "x", 1));
	EXPECT_EQ(1, kaio_wait(self->fd, self->ctx, 1, events));
}

TEST_F(context, signal_mask)
{
	static const sigset_t none;
	struct io_event events[4];
	struct kaio_submit_wait arg = {
		.ctx_id = self->ctx,
		.min_nr = 1,
		.nr_events = 4,
		.events = (uintptr_t)events,
		.sigmask = (uintptr_t)&none,
		.sigsetsize = SIGSET_SIZE,
	};
	sigset_t alarm, now;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &alarm, NULL));
	ASSERT_TRUE(catch_signal(SIGALRM, 0));
	ASSERT_EQ(0, raise(SIGALRM));
	EXPECT_EQ(-EINTR, kaio_ioctl(self->fd, KAIO_SUBMIT_WAIT, &arg));
	EXPECT_EQ(1, signals_seen());
	/* The mask is restored after the wait. */
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, NULL, &now));
	EXPECT_EQ(1, sigismember(&now, SIGALRM));
	/* Events come before the signal. */
	ASSERT_EQ(0, raise(SIGALRM));
	arg.nr = 2;
	arg.iocbpp = (uintptr_t)noops(self, 2);
	EXPECT_EQ(2, kaio_ioctl(self->fd, KAIO_SUBMIT_WAIT, &arg));
	EXPECT_EQ(1, signals_seen());
	EXPECT_EQ(2, arg.submitted);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, NULL, &now));
	EXPECT_EQ(1, sigismember(&now, SIGALRM));
}

/*
 * Task work wakes the waiting thread without being a signal. The call does not
 * submit again, even where KAIO_GETEVENTS would restart.
 */
struct worker {
	struct kaio_submit_wait arg;
	int fd;
	int uring;
};

static long submit_with_uring(void *arg)
{
	struct worker *const worker = arg;
	const int uring = open_uring();

	__atomic_store_n(&worker->uring, uring, __ATOMIC_RELEASE);
	return kaio_ioctl(worker->fd, KAIO_SUBMIT_WAIT, &worker->arg);
}

static void expect_not_restarted(struct __test_metadata *const _metadata,
				 FIXTURE_DATA(context) *self, __u32 flags,
				 const struct timespec *timeout)
{
	int out;
	struct iocb *iocb = waiting_read(_metadata, &out);
	struct worker worker = {
		.arg = {
			.ctx_id = self->ctx,
			.nr = 1,
			.iocbpp = (uintptr_t)&iocb,
			.min_nr = 1,
			.nr_events = 1,
			.timeout = (uintptr_t)timeout,
			.flags = KAIO_GETEVENTS_PEEK | flags,
		},
		.fd = self->fd,
	};
	struct sleeper sleeper;
	int uring = open_uring();

	if (uring < 0)
		SKIP(return, "this kernel has no io_uring, or does not allow it");
	close(uring);
	ASSERT_TRUE(fall_asleep(&sleeper, submit_with_uring, &worker));
	ASSERT_TRUE(wait_until(kaio_stat(self->fd, "submitted") == 1));
	ASSERT_TRUE(wait_until(is_asleep(&sleeper)));
	uring = __atomic_load_n(&worker.uring, __ATOMIC_ACQUIRE);
	ASSERT_EQ(0, close(uring));
	EXPECT_EQ(-EINTR, woken(&sleeper));
	EXPECT_EQ(1, worker.arg.submitted);
	EXPECT_EQ(1, kaio_stat(self->fd, "submitted"));
}

TEST_F(context, task_work)
{
	expect_not_restarted(_metadata, self, 0, NULL);
}

TEST_F(context, task_work_and_abstime)
{
	const struct timespec never = { .tv_sec = LLONG_MAX };

	expect_not_restarted(_metadata, self, KAIO_GETEVENTS_ABSTIME, &never);
}

/*
 * A peek is for programs that reap the ring themselves.
 */
TEST_F(context, peek)
{
	struct kaio_submit_wait arg = {
		.ctx_id = self->ctx,
		.nr = 4,
		.iocbpp = (uintptr_t)noops(self, 4),
		.min_nr = 4,
		.nr_events = 8,
		.flags = KAIO_GETEVENTS_PEEK,
	};
	struct io_event events[8];
	int i;

	EXPECT_EQ(4, kaio_ioctl(self->fd, KAIO_SUBMIT_WAIT, &arg));
	EXPECT_EQ(4, arg.submitted);
	ASSERT_EQ(4, ring_reap(self->ctx, events, 8));
	for (i = 0; i < 4; i++)
		EXPECT_EQ((__u64)i, events[i].data);
	/* A peek with a buffer is refused, and nothing is submitted. */
	arg.submitted = 0;
	arg.events = (uintptr_t)events;
	EXPECT_EQ(-EINVAL, kaio_ioctl(self->fd, KAIO_SUBMIT_WAIT, &arg));
	EXPECT_EQ(4, kaio_stat(self->fd, "submitted"));
}

/* KAIO_GETEVENTS_ABSTIME works in this call too. */
TEST_F(context, abstime)
{
	const __s64 end = now_ns() + 50 * NSEC_PER_MSEC;
	const struct timespec at_end = { end / NSEC_PER_SEC,
					 end % NSEC_PER_SEC };
	struct io_event events[8];
	struct kaio_submit_wait arg = {
		.ctx_id = self->ctx,
		.nr = 4,
		.iocbpp = (uintptr_t)noops(self, 4),
		.min_nr = 5,
		.nr_events = 8,
		.events = (uintptr_t)events,
		.timeout = (uintptr_t)&at_end,
		.flags = KAIO_GETEVENTS_ABSTIME,
	};

	EXPECT_EQ(4, kaio_ioctl(self->fd, KAIO_SUBMIT_WAIT, &arg));
	EXPECT_LE(end, now_ns());
	EXPECT_GT(end + NSEC_PER_SEC, now_ns());
	EXPECT_EQ(4, arg.submitted);
}

/* This is the loop of a program that peeks, with a device. */
TEST_F_TIMEOUT(context, peek_loop, 60)
{
	const int file = open_pattern(DISK_DIR, 1, 16 * PAGE);
	const int direct = reopen(file, O_RDONLY | O_DIRECT);
	char *buf = map_guarded(16);
	struct iocb iocbs[16], *pointers[16];
	struct kaio_submit_wait arg = {
		.ctx_id = self->ctx,
		.nr = 16,
		.iocbpp = (uintptr_t)pointers,
		.min_nr = 1,
		.nr_events = 16,
		.flags = KAIO_GETEVENTS_PEEK,
	};
	long sum = 0;
	int i;

	ASSERT_LE(0, direct);
	ASSERT_NE(NULL, buf);
	prep_page_reads(iocbs, pointers, 16, direct, buf);
	while (sum < 500) {
		struct io_event events[16];
		long there;

		arg.submitted = 0;
		there = kaio_ioctl(self->fd, KAIO_SUBMIT_WAIT, &arg);
		ASSERT_LE(1, there);
		ASSERT_EQ((__u64)arg.nr, arg.submitted);
		ASSERT_EQ(there, ring_reap(self->ctx, events, there));
		/* Submit again as many requests as have completed. */
		for (i = 0; i < there; i++) {
			ASSERT_EQ((long)PAGE, events[i].res);
			pointers[i] = (void *)(uintptr_t)events[i].obj;
		}
		arg.nr = there;
		sum += there;
	}
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
	EXPECT_TRUE(is_pattern(buf, 16 * PAGE, 1, 0));
}

/*
 * In the tests below the first half fails or submits fewer requests.
 */
TEST_F(context, first_is_bad)
{
	struct iocb **iocbs = noops(self, 3);
	struct io_event events[4];
	__u64 submitted = UNTOUCHED;

	produce(_metadata, self, 2);
	iocbs[0]->aio_fildes = -1;
	EXPECT_EQ(-EBADF, kaio_submit_wait(self->fd, self->ctx, 3, iocbs, 1, 4,
					   events, &patience, &submitted));
	EXPECT_EQ(0, submitted);
	/* No event was taken. */
	EXPECT_EQ(2, kaio_getevents(self->fd, self->ctx, 0, 4, events,
				    &no_wait));
}

TEST_F(context, first_cannot_be_read)
{
	struct iocb *iocb = NULL;
	struct io_event event;
	__u64 submitted = UNTOUCHED;

	EXPECT_EQ(-EFAULT, kaio_submit_wait(self->fd, self->ctx, 1, &iocb, 1, 1,
					    &event, &patience, &submitted));
	EXPECT_EQ(0, submitted);
	EXPECT_EQ(-EFAULT, kaio_submit_wait(self->fd, self->ctx, 1, NULL, 1, 1,
					    &event, &patience, &submitted));
	EXPECT_EQ(0, submitted);
}

/* The call does not wait for requests that were not submitted. */
TEST_F(context, second_is_bad)
{
	struct iocb **iocbs = noops(self, 3);
	struct io_event events[4];
	__u64 submitted;

	iocbs[1]->aio_fildes = -1;
	EXPECT_EQ(1, kaio_submit_wait(self->fd, self->ctx, 3, iocbs, 3, 4,
				      events, NULL, &submitted));
	EXPECT_EQ(1, submitted);
	EXPECT_EQ(0, events[0].data);
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 4, events,
				    &no_wait));
}

TEST_F(context, second_is_bad_first_waits)
{
	struct iocb bad, *iocbs[2] = { NULL, &bad };
	struct io_event events[4];
	__u64 submitted;
	int out;

	prep_noop(&bad, -1);
	iocbs[0] = waiting_read(_metadata, &out);
	EXPECT_EQ(0, kaio_submit_wait(self->fd, self->ctx, 2, iocbs, 2, 4,
				      events, NULL, &submitted));
	EXPECT_EQ(1, submitted);
	EXPECT_STAT(1, self->fd, "inflight");
}

TEST_F(context, array_ends_early)
{
	char *page = map_guarded(1);
	struct iocb **iocbs = (struct iocb **)(page + PAGE) - 2;
	struct io_event events[4];
	__u64 submitted;

	ASSERT_NE(NULL, page);
	memcpy(iocbs, noops(self, 2), 2 * sizeof(*iocbs));
	EXPECT_EQ(2, kaio_submit_wait(self->fd, self->ctx, 3, iocbs, 3, 4,
				      events, NULL, &submitted));
	EXPECT_EQ(2, submitted);
}

/* @error tells why not all requests were submitted. */
TEST_F(context, error)
{
	struct iocb **iocbs = noops(self, 3);
	struct io_event events[4];
	struct kaio_submit_wait arg = {
		.ctx_id = self->ctx,
		.nr = 3,
		.iocbpp = (uintptr_t)iocbs,
		.nr_events = 4,
		.events = (uintptr_t)events,
	};

	EXPECT_EQ(3, kaio_ioctl(self->fd, KAIO_SUBMIT_WAIT, &arg));
	EXPECT_EQ(0, arg.error);
	iocbs[2]->aio_fildes = -1;
	EXPECT_EQ(2, kaio_ioctl(self->fd, KAIO_SUBMIT_WAIT, &arg));
	EXPECT_EQ(2, arg.submitted);
	EXPECT_EQ(-EBADF, arg.error);
	iocbs[0]->aio_reserved2 = 1;
	arg.error = 0;
	EXPECT_EQ(-EINVAL, kaio_ioctl(self->fd, KAIO_SUBMIT_WAIT, &arg));
	EXPECT_EQ(0, arg.submitted);
	EXPECT_EQ(-EINVAL, arg.error);
}

/* The call has more requests than the ring has room for. */
TEST_F(context, full)
{
	const __u32 room = ring_of(self->ctx)->nr - 1;
	struct iocb **iocbs = calloc(room + 1, sizeof(*iocbs));
	struct io_event events[NR_EVENTS];
	struct iocb *iocb;
	__u64 submitted;
	__u32 i;
	int out;

	ASSERT_NE(NULL, iocbs);
	iocb = waiting_read(_metadata, &out);
	for (i = 0; i <= room; i++)
		iocbs[i] = iocb;
	EXPECT_EQ(0, kaio_submit_wait(self->fd, self->ctx, room + 1, iocbs, 1,
				      NR_EVENTS, events, NULL, &submitted));
	EXPECT_EQ(room, submitted);
	/* In a full context not even the first request is submitted. */
	EXPECT_EQ(-EAGAIN, kaio_submit_wait(self->fd, self->ctx, 1, iocbs, 0,
					    NR_EVENTS, events, NULL,
					    &submitted));
	EXPECT_EQ(0, submitted);
}

/*
 * The second half fails, and the submitted requests still count.
 */
TEST_F(context, events_cannot_be_written)
{
	struct io_event events[4];
	__u64 submitted;

	EXPECT_EQ(-EFAULT, kaio_submit_wait(self->fd, self->ctx, 2,
					    noops(self, 2), 2, 4, NULL, NULL,
					    &submitted));
	EXPECT_EQ(2, submitted);
	/* No event is lost. */
	EXPECT_EQ(2, kaio_getevents(self->fd, self->ctx, 0, 4, events,
				    &no_wait));
}

/*
 * The arguments are checked before any request is submitted.
 */
FIXTURE(wrong)
{
	int fd;
	__u64 ctx;
	struct iocb iocb;
	struct iocb *pointer;
	struct io_event event;
	sigset_t mask;
	struct kaio_submit_wait *arg;
};

FIXTURE_VARIANT(wrong)
{
	void (*make_invalid)(FIXTURE_DATA(wrong) *self);
	long err;
};

static void no_context(FIXTURE_DATA(wrong) *self)
{
	self->arg->ctx_id = 0;
}

static void negative_nr(FIXTURE_DATA(wrong) *self)
{
	self->arg->nr = -1;
}

static void smallest_nr(FIXTURE_DATA(wrong) *self)
{
	self->arg->nr = LLONG_MIN;
}

static void negative_min_nr(FIXTURE_DATA(wrong) *self)
{
	self->arg->min_nr = -1;
}

static void negative_nr_events(FIXTURE_DATA(wrong) *self)
{
	self->arg->nr_events = -1;
}

static void min_nr_above(FIXTURE_DATA(wrong) *self)
{
	self->arg->min_nr = 2;
}

static void bad_timeout(FIXTURE_DATA(wrong) *self)
{
	self->arg->timeout = KERNEL_ADDR;
}

static void bad_mask(FIXTURE_DATA(wrong) *self)
{
	self->arg->sigmask = KERNEL_ADDR;
}

static void bad_sigsetsize(FIXTURE_DATA(wrong) *self)
{
	self->arg->sigsetsize = 16;
}

static void unknown_flag(FIXTURE_DATA(wrong) *self)
{
	self->arg->flags = 1U << 31;
}

static void error_not_zero(FIXTURE_DATA(wrong) *self)
{
	self->arg->error = -1;
}

static void peek_with_buffer(FIXTURE_DATA(wrong) *self)
{
	self->arg->flags = KAIO_GETEVENTS_PEEK;
}

/* The number of submitted requests could not be written. */
static void read_only(FIXTURE_DATA(wrong) *self)
{
	mprotect(self->arg, PAGE, PROT_READ);
}

/* clang-format off */
#define WRONG(_name, _err) \
	FIXTURE_VARIANT_ADD(wrong, _name) { .make_invalid = _name, .err = _err }
WRONG(no_context, -EINVAL);
WRONG(negative_nr, -EINVAL);
WRONG(smallest_nr, -EINVAL);
WRONG(negative_min_nr, -EINVAL);
WRONG(negative_nr_events, -EINVAL);
WRONG(min_nr_above, -EINVAL);
WRONG(bad_timeout, -EFAULT);
WRONG(bad_mask, -EFAULT);
WRONG(bad_sigsetsize, -EINVAL);
WRONG(unknown_flag, -EINVAL);
WRONG(error_not_zero, -EINVAL);
WRONG(peek_with_buffer, -EINVAL);
WRONG(read_only, -EFAULT);
/* clang-format on */

FIXTURE_SETUP(wrong)
{
	if (!open_context(_metadata, &self->fd, 1, &self->ctx))
		return;
	prep_noop(&self->iocb, self->fd);
	self->pointer = &self->iocb;
	self->arg = (void *)map_guarded(1);
	ASSERT_NE(NULL, self->arg);
	*self->arg = (struct kaio_submit_wait){
		.ctx_id = self->ctx,
		.nr = 1,
		.iocbpp = (uintptr_t)&self->pointer,
		.min_nr = 1,
		.nr_events = 1,
		.events = (uintptr_t)&self->event,
		.timeout = (uintptr_t)&patience,
		.sigmask = (uintptr_t)&self->mask,
		.sigsetsize = SIGSET_SIZE,
	};
}

FIXTURE_TEARDOWN(wrong)
{
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	close(self->fd);
}

/*
 * Without a wrong argument the call succeeds. The memory of an output field
 * need not be zero.
 */
TEST_F(wrong, valid)
{
	self->arg->submitted = UNTOUCHED;
	EXPECT_EQ(1, kaio_ioctl(self->fd, KAIO_SUBMIT_WAIT, self->arg));
	EXPECT_EQ(1, self->arg->submitted);
}

TEST_F(wrong, nothing_is_submitted)
{
	variant->make_invalid(self);
	EXPECT_EQ(variant->err,
		  kaio_ioctl(self->fd, KAIO_SUBMIT_WAIT, self->arg));
	EXPECT_EQ(0, kaio_stat(self->fd, "submitted"));
	EXPECT_EQ(0, self->arg->submitted);
}

/* The arguments are checked even if there is nothing to submit. */
TEST_F(wrong, nothing_to_submit)
{
	self->arg->nr = 0;
	variant->make_invalid(self);
	EXPECT_EQ(variant->err,
		  kaio_ioctl(self->fd, KAIO_SUBMIT_WAIT, self->arg));
}

/*
 * Many threads call at the same time. Each call submits one request and takes
 * one event of any thread.
 */
struct shared {
	FIXTURE_DATA(context) *self;
	int bad;
	unsigned int taken;
};

#define EACH	1000

static void *submit_and_take(void *arg)
{
	struct shared *shared = arg;
	struct iocb iocb, *iocbs = &iocb;
	int i;

	prep_noop(&iocb, shared->self->fd);
	for (i = 0; i < EACH; i++) {
		struct io_event event;
		__u64 submitted;

		if (kaio_submit_wait(shared->self->fd, shared->self->ctx, 1,
				     &iocbs, 1, 1, &event, &patience,
				     &submitted) != 1 ||
		    submitted != 1)
			__atomic_fetch_add(&shared->bad, 1, __ATOMIC_RELAXED);
		else
			__atomic_fetch_add(&shared->taken, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

TEST_F_TIMEOUT(context, many_threads, 60)
{
	struct shared shared = { .self = self };
	pthread_t threads[4];
	int i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, submit_and_take,
					    &shared));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	EXPECT_EQ(0, shared.bad);
	EXPECT_EQ(4 * EACH, shared.taken);
	EXPECT_EQ(4 * EACH, kaio_stat(self->fd, "submitted"));
	EXPECT_STAT(4 * EACH, self->fd, "completed");
}

TEST_HARNESS_MAIN
