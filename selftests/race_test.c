// SPDX-License-Identifier: GPL-2.0
/*
 * Tests races in the retry engine. Each race runs many times, with files
 * that a test controls. The last tests have many requests that hang.
 */
#include "worker_saturation.h"

#define ROUNDS	200

FIXTURE(race)
{
	struct mock m;
};

MOCK_FIXTURE_SETUP(race, KAIO_MOCK)

/* Spins for about @ns nanoseconds. A sleep would end too late for the race. */
static void spin(__s64 ns)
{
	const __s64 end = now_ns() + ns;

	while (now_ns() < end)
		;
}

/* Expects exactly one event, which becomes *@event. */
static void expect_one(struct __test_metadata *const _metadata, struct mock *m,
		       const struct iocb *iocb, struct io_event *event)
{
	struct io_event another;

	ASSERT_EQ(1, kaio_wait(m->fd, m->ctx, 1, event));
	ASSERT_EQ((uintptr_t)iocb, event->obj);
	ASSERT_EQ(0, kaio_getevents(m->fd, m->ctx, 0, 1, &another, &no_wait));
}

/*
 * The tests below race with kicks.
 */
TEST_F_TIMEOUT(race, one_retry_at_a_time, 60)
{
	const __u32 times = 4000;
	struct mock *m = &self->m;
	struct kaio_mock_info info;
	struct iocb iocb;

	/* Many kicks come during each attempt. */
	ASSERT_EQ(0, mock_program(m->file, 2, 0,
				  { .result = -EAGAIN, .sleep_ms = 1,
				    .sleep = KAIO_MOCK_KILLABLE }));
	mock_submit_read(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_storm(m->file, times, 50000));
	ASSERT_TRUE(wait_until(mock_info(m->file).wakes == times));
	EXPECT_TRUE(no_event(m));
	info = mock_info(m->file);
	EXPECT_EQ(1, info.most_running);
	/* Submission makes two attempts. */
	EXPECT_LT(4, info.attempts);
	ASSERT_EQ(0, mock_program(m->file, 2, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &iocb, 5);
}

/* Submits a read while an interrupt after @delay_ns makes the file ready. */
static void read_while_kicked(struct __test_metadata *const _metadata,
			      struct mock *m, __u64 delay_ns)
{
	const struct kaio_mock_wake wake = {
		.when = KAIO_MOCK_IRQ,
		.ready = IN,
		.key = IN,
		.delay_ns = delay_ns,
	};
	struct iocb iocb;

	mock_pread(m, &iocb, 5);
	ASSERT_EQ(0, kaio_ioctl(m->file, KAIO_MOCK_WAKE, &wake));
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
}

/*
 * The file becomes ready before, during or after a run, and that is never
 * missed.
 */
TEST_F_TIMEOUT(race, kick_at_any_time, 60)
{
	struct mock *m = &self->m;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, mock_program(m->file, 1, 0,
					  { .result = -EAGAIN,
					    .only = KAIO_MOCK_IF_UNREADY },
					  GIVES(5)));
		read_while_kicked(_metadata, m, i * 1000);
	}
}

/*
 * The file does not know IOCB_NOWAIT, so either poll or a kick shows that it is
 * ready.
 */
TEST_F_TIMEOUT(race, kick_of_slow_file_at_any_time, 60)
{
	struct mock *m = &self->m;
	int i;

	use_node(_metadata, m, KAIO_MOCK_SLOW);
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
		read_while_kicked(_metadata, m, i * 1000);
		ASSERT_EQ(i + 1, (int)mock_info(m->file).attempts);
	}
}

/* Two kicks come at once, from two queues and two CPUs. */
TEST_F_TIMEOUT(race, kicks_from_two_queues, 120)
{
	struct mock *m = &self->m;
	struct iocb iocb;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, mock_program(m->file, 2, 0, NOT_NOW));
		mock_submit_read(_metadata, m, &iocb);
		ASSERT_EQ(0, mock_program(m->file, 2, 0, GIVES(5)));
		ASSERT_EQ(0, mock_storm(m->file, 5, 5000 + i * 50));
		ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_WORK, IN, IN));
		spin(i * 100);
		ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
		expect_end(_metadata, m, &iocb, 5);
	}
}

/*
 * The tests below race with cancels.
 */

/*
 * A request that is kicked from an interrupt without being ready can be
 * cancelled at any time.
 */
TEST_F_TIMEOUT(race, cancel_against_kicks_without_data, 120)
{
	struct mock *m = &self->m;
	struct io_event event;
	struct iocb iocb;
	int i;

	ASSERT_EQ(0, mock_program(m->file, 2, 0, NOT_NOW));
	for (i = 0; i < ROUNDS; i++) {
		mock_submit_read(_metadata, m, &iocb);
		ASSERT_EQ(0, mock_storm(m->file, 10, 5000 + i * 50));
		spin(i * 300);
		ASSERT_EQ(-EINPROGRESS, mock_cancel(m, &iocb))
		{
			TH_LOG("round %d", i);
		}
		expect_one(_metadata, m, &iocb, &event);
		ASSERT_EQ(-ECANCELED, event.res);
	}
}

/*
 * Either the kick or the cancel ends the request, and the answer of the cancel
 * tells which.
 */
TEST_F_TIMEOUT(race, cancel_against_kick, 120)
{
	struct mock *m = &self->m;
	struct io_event event;
	int i, done = 0;
	struct iocb iocb;
	long ret;

	/* On a busy machine one side may need more time before it ever wins. */
	for (i = 0; i < 2 * ROUNDS || (i < 40 * ROUNDS && (!done || done == i)); i++) {
		mock_read(_metadata, m, &iocb, NOT_NOW);
		ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
		ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_IRQ, IN, IN));
		spin(i % (2 * ROUNDS) * 250 * (1 + i / (2 * ROUNDS)));
		ret = mock_cancel(m, &iocb);
		expect_one(_metadata, m, &iocb, &event);
		/*
		 * A cancel during the run succeeds, and the request ends with
		 * the result of the run.
		 */
		ASSERT_TRUE((ret == -EINPROGRESS && event.res == -ECANCELED) ||
			    (ret == -EINPROGRESS && event.res == 5) ||
			    (ret == -EINVAL && event.res == 5))
		{
			TH_LOG("round %d: cancel %ld, res %lld", i, ret,
			       event.res);
		}
		done += event.res == 5;
	}
	/* Each side has won in some rounds. */
	EXPECT_LT(0, done);
	EXPECT_GT(i, done);
}

/*
 * The result of a cancelled write is exactly the number of bytes that were
 * written.
 */
TEST_F_TIMEOUT(race, cancel_against_progress, 120)
{
	struct mock *m = &self->m;
	struct io_event event;
	struct iocb iocb;
	__u64 written;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		written = mock_info(m->file).written;
		ASSERT_EQ(0, mock_program(m->file, 1, 0,
					  GIVES_ONCE(10), NOT_NOW));
		prep_pwrite(&iocb, m->file, m->buf, 30, 0);
		ASSERT_EQ(1, mock_submit(m, &iocb));
		ASSERT_EQ(0, mock_program(m->file, 1, 0,
					  GIVES_ONCE(10), NOT_NOW));
		ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_IRQ, OUT, OUT));
		spin(i * 400);
		EXPECT_EQ(-EINPROGRESS, mock_cancel(m, &iocb));
		expect_one(_metadata, m, &iocb, &event);
		written = mock_info(m->file).written - written;
		ASSERT_EQ(written ? (__s64)written : -ECANCELED, event.res)
		{
			TH_LOG("round %d", i);
		}
	}
}

struct rival {
	struct mock *m;
	struct iocb *iocb;
	/* The last answer of a cancel that is not -EINVAL. */
	long last;
	bool stop;
	pthread_t thread;
};

static void start_rival(struct __test_metadata *const _metadata,
			struct rival *rival, void *(*run)(void *arg))
{
	ASSERT_EQ(0, pthread_create(&rival->thread, NULL, run, rival));
}

static void stop_rival(struct __test_metadata *const _metadata,
		       struct rival *rival)
{
	__atomic_store_n(&rival->stop, true, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(rival->thread, NULL));
}

static void *cancel_for_ever(void *arg)
{
	struct rival *c = arg;
	long ret;

	while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE)) {
		ret = mock_cancel(c->m, c->iocb);
		if (ret != -EINVAL)
			c->last = ret;
	}
	return NULL;
}

/* Prepares a read that a driver completes, and starts a thread that cancels. */
static void start_cancels_in_driver(struct __test_metadata *const _metadata,
				    struct mock *m, struct rival *rival)
{
	*rival = (struct rival){ .m = m, .iocb = &m->iocb, .last = -EINVAL };
	use_node(_metadata, m, KAIO_MOCK_DISK);
	mock_pread(m, &m->iocb, 5);
	start_rival(_metadata, rival, cancel_for_ever);
}

/* Submits the read while the thread cancels, and returns its result. */
static __s64 result_in_driver(struct __test_metadata *const _metadata,
			      struct mock *m)
{
	struct io_event event;

	ASSERT_EQ(1, mock_submit(m, &m->iocb));
	expect_one(_metadata, m, &m->iocb, &event);
	return event.res;
}

/* A request that a driver has ends once, whatever cancels come. */
TEST_F_TIMEOUT(race, cancel_in_driver, 120)
{
	struct mock *m = &self->m;
	struct rival rival;
	int i;

	start_cancels_in_driver(_metadata, m, &rival);
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, mock_program(m->file, 1, 0,
					  { .result = 5, .delay_ns = i * 1000,
					    .complete = KAIO_MOCK_IRQ }));
		ASSERT_EQ(5, result_in_driver(_metadata, m));
	}
	stop_rival(_metadata, &rival);
	/* A request in the hardware is not cancelled. */
	EXPECT_EQ(-EINVAL, rival.last);
	EXPECT_EQ(0, kaio_stat(m->fd, "cancelled"));
	EXPECT_EQ(ROUNDS, kaio_stat(m->fd, "irq"));
}

/*
 * A driver completes a request with -EAGAIN from an interrupt during cancels.
 */
TEST_F_TIMEOUT(race, cancel_against_deferral, 120)
{
	struct mock *m = &self->m;
	struct rival rival;
	__s64 res;
	int i;

	start_cancels_in_driver(_metadata, m, &rival);
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, mock_program(m->file, 1, 0,
					  { .attempts = 1, .result = -EAGAIN,
					    .complete = KAIO_MOCK_IRQ,
					    .delay_ns = i * 1000 },
					  GIVES(5)));
		res = result_in_driver(_metadata, m);
		ASSERT_TRUE(res == 5 || res == -ECANCELED)
		{
			TH_LOG("round %d: res %lld", i, res);
		}
	}
	stop_rival(_metadata, &rival);
}

/*
 * The tests below free wait queues.
 */
static void *free_for_ever(void *arg)
{
	struct rival *c = arg;

	while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE))
		if (mock_free(c->m->file, true))
			break;
	return NULL;
}

TEST_F_TIMEOUT(race, pollfree_against_cancel, 120)
{
	struct mock *m = &self->m;
	struct io_event event;
	struct iocb iocb;
	struct rival rival = { .m = m };
	int i;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	start_rival(_metadata, &rival, free_for_ever);
	for (i = 0; i < ROUNDS; i++) {
		mock_submit_read(_metadata, m, &iocb);
		spin(i * 100);
		ASSERT_EQ(-EINPROGRESS, mock_cancel(m, &iocb))
		{
			TH_LOG("round %d", i);
		}
		expect_one(_metadata, m, &iocb, &event);
		ASSERT_EQ(-ECANCELED, event.res);
	}
	stop_rival(_metadata, &rival);
}

TEST_F_TIMEOUT(race, pollfree_against_kicks, 120)
{
	struct mock *m = &self->m;
	struct iocb iocb;
	struct rival rival = { .m = m };
	int i;

	start_rival(_metadata, &rival, free_for_ever);
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, mock_program(m->file, 2, 0, NOT_NOW));
		mock_submit_read(_metadata, m, &iocb);
		ASSERT_EQ(0, mock_program(m->file, 2, 0, GIVES(5)));
		ASSERT_EQ(0, mock_storm(m->file, 5, 5000 + i * 50));
		expect_end(_metadata, m, &iocb, 5);
	}
	stop_rival(_metadata, &rival);
}

TEST_F_TIMEOUT(race, pollfree_against_destroy, 120)
{
	struct mock *m = &self->m;
	struct iocb iocbs[8], *pointers[8];
	struct rival rival = { .m = m };
	int i, k;

	for (k = 0; k < 8; k++) {
		mock_pread(m, &iocbs[k], 5);
		pointers[k] = &iocbs[k];
	}
	ASSERT_EQ(0, mock_program(m->file, 2, 0, NOT_NOW));
	start_rival(_metadata, &rival, free_for_ever);
	for (i = 0; i < ROUNDS / 4; i++) {
		ASSERT_EQ(8, kaio_submit(m->fd, m->ctx, 8, pointers));
		ASSERT_EQ(0, mock_storm(m->file, 10, 5000));
		spin(i * 1000);
		ASSERT_EQ(0, kaio_destroy(m->fd, m->ctx));
		ASSERT_STAT(0, m->fd, "inflight");
		ASSERT_EQ(0, kaio_setup(m->fd, NR_EVENTS, &m->ctx));
	}
	stop_rival(_metadata, &rival);
	EXPECT_STAT(ROUNDS / 4 * 8, m->fd, "completed");
}

/* The context is destroyed while interrupts complete its requests. */
TEST_F_TIMEOUT(race, destroy_against_driver, 120)
{
	struct iocb iocbs[8], *pointers[8];
	struct mock *m = &self->m;
	int i, k;

	use_node(_metadata, m, KAIO_MOCK_DISK);
	for (k = 0; k < 8; k++) {
		mock_pread(m, &iocbs[k], 5);
		pointers[k] = &iocbs[k];
	}
	for (i = 0; i < ROUNDS / 4; i++) {
		/* In every other round the driver returns -EAGAIN. */
		ASSERT_EQ(0, mock_program(m->file, 1, 0,
					  { .result = i & 1 ? -EAGAIN : 5,
					    .complete = KAIO_MOCK_IRQ,
					    .delay_ns = i * 5000 }));
		ASSERT_EQ(8, kaio_submit(m->fd, m->ctx, 8, pointers));
		ASSERT_EQ(0, kaio_destroy(m->fd, m->ctx));
		ASSERT_STAT(0, m->fd, "inflight");
		ASSERT_EQ(0, kaio_setup(m->fd, NR_EVENTS, &m->ctx));
	}
	EXPECT_STAT(ROUNDS / 4 * 8, m->fd, "completed");
}

/*
 * Many requests race with kicks, cancels and a queue that is freed. Each
 * request has one event.
 */
TEST_F_TIMEOUT(race, each_exactly_once, 120)
{
	struct iocb iocbs[NR_EVENTS], *pointers[NR_EVENTS];
	struct io_event events[NR_EVENTS];
	struct mock *m = &self->m;
	int i, k, round;
	__u64 seen;

	for (i = 0; i < NR_EVENTS; i++) {
		mock_pread(m, &iocbs[i], 1);
		iocbs[i].aio_data = i;
		pointers[i] = &iocbs[i];
	}
	for (round = 0; round < 10; round++) {
		ASSERT_EQ(0, mock_program(m->file, 2, 0, NOT_NOW));
		ASSERT_EQ(NR_EVENTS,
			  kaio_submit(m->fd, m->ctx, NR_EVENTS, pointers));
		/* Half of the attempts succeed. */
		ASSERT_EQ(0, mock_program(m->file, 2, 0,
					  { .attempts = NR_EVENTS / 2,
					    .result = 1 },
					  NOT_NOW));
		ASSERT_EQ(0, mock_storm(m->file, 20, 20000));
		for (i = 0; i < NR_EVENTS; i += 2)
			mock_cancel(m, &iocbs[i]);
		ASSERT_EQ(0, mock_free(m->file, true));
		for (i = 1; i < NR_EVENTS; i += 2)
			mock_cancel(m, &iocbs[i]);
		ASSERT_EQ(NR_EVENTS, kaio_wait(m->fd, m->ctx, NR_EVENTS, events))
		{
			TH_LOG("round %d", round);
		}
		seen = 0;
		for (k = 0; k < NR_EVENTS; k++) {
			ASSERT_TRUE(events[k].res == 1 ||
				    events[k].res == -ECANCELED);
			seen |= 1ULL << events[k].data;
		}
		EXPECT_EQ(~0ULL, seen);
	}
}

/*
 * The tests below saturate the workers.
 */

/*
 * All workers are busy. A request that waits for a worker is cancelled at once.
 */
TEST_F_TIMEOUT(race, cancel_in_queue, 120)
{
	static struct saturation saturation;
	struct io_event event;
	__u64 attempts;
	int last;

	start_saturation(_metadata, &saturation);
	attempts = mock_info(saturation.file).attempts;
	last = saturation.nr - 1;
	EXPECT_EQ(-EINPROGRESS,
		  kaio_cancel(saturation.fd, saturation.ctx, &saturation.iocbs[last]));
	ASSERT_EQ(1, kaio_getevents(saturation.fd, saturation.ctx, 0, 1, &event,
				    &no_wait));
	EXPECT_EQ(-ECANCELED, event.res);
	EXPECT_EQ(last, (int)event.data);
	EXPECT_EQ(attempts, mock_info(saturation.file).attempts);
	/* The cancel does not affect the other requests. */
	EXPECT_TRUE(release_workers(&saturation, last));
	EXPECT_EQ(0, kaio_destroy(saturation.fd, saturation.ctx));
	EXPECT_STAT(saturation.nr, saturation.fd, "completed");
	/* The teardown expects a submitted request. */
	mock_pread(&self->m, &saturation.iocbs[0], 5);
	EXPECT_EQ(0, kaio_do(self->m.fd, self->m.ctx, &saturation.iocbs[0]));
}

/*
 * However many requests of a user hang, its parked requests are still kicked.
 */
TEST_F_TIMEOUT(race, saturation_does_not_stop_kicks, 120)
{
	static struct saturation saturation;
	struct mock *m = &self->m;
	struct io_event event;
	struct iocb iocb;
	int ends[2];
	char c;

	start_saturation(_metadata, &saturation);
	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	/* The first request belongs to another context, ... */
	park(_metadata, m, &iocb);
	mock_finish_read(_metadata, m, &iocb, KAIO_MOCK_IRQ);
	/* ... and the second one to this context. */
	ASSERT_EQ(0, kaio_cancel(saturation.fd, saturation.ctx,
				 &saturation.iocbs[saturation.nr - 1]) + EINPROGRESS);
	ASSERT_EQ(1, kaio_wait(saturation.fd, saturation.ctx, 1, &event));
	prep_pread(&iocb, ends[0], &c, 1, 0);
	ASSERT_EQ(1, kaio_submit_one(saturation.fd, saturation.ctx, &iocb));
	ASSERT_EQ(1, write(ends[1], "x", 1));
	ASSERT_EQ(1, kaio_wait(saturation.fd, saturation.ctx, 1, &event));
	EXPECT_EQ((uintptr_t)&iocb, event.obj);
	EXPECT_EQ(1, event.res);
	EXPECT_TRUE(release_workers(&saturation, saturation.nr - 1));
}

/*
 * Runs in a child: reads as another user. Returns 0, or the number of the step
 * that failed.
 */
static int read_as_other_user(void)
{
	struct iocb iocb;
	char buf[8];
	int fd, file;
	__u64 ctx;

	file = open(KAIO_MOCK_SLOW_DISK, O_RDWR | O_CLOEXEC);
	if (file < 0 || mock_program(file, 1, 0, GIVES(5)))
		return 1;
	if (setresgid(65533, 65533, 65533) || setresuid(65534, 65534, 65534))
		return 2;
	fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return 3;
	if (kaio_setup(fd, 1, &ctx))
		return 4;
	prep_pread(&iocb, file, buf, 5, 0);
	return kaio_do(fd, ctx, &iocb) == 5 ? 0 : 5;
}

/* Requests of another user still get a worker. */
TEST_F_TIMEOUT(race, saturation_does_not_stop_other_users, 120)
{
	static struct saturation saturation;
	struct iocb iocb;
	int status;
	pid_t pid;

	start_saturation(_metadata, &saturation);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(read_as_other_user());
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status)
	{
		TH_LOG("step %d failed", WEXITSTATUS(status));
	}
	EXPECT_TRUE(release_workers(&saturation, 0));
	/* The teardown expects a submitted request. */
	mock_pread(&self->m, &iocb, 5);
	EXPECT_EQ(0, kaio_do(self->m.fd, self->m.ctx, &iocb));
}

TEST_HARNESS_MAIN
