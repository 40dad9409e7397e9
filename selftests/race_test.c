// SPDX-License-Identifier: GPL-2.0
/*
 * Races of the retry engine, each run many times, with files that do what they are
 * told; and crowds of requests that hang.
 */
#include "crowd.h"

#define ROUNDS	200

FIXTURE(race)
{
	struct mock m;
};

FIXTURE_SETUP(race)
{
	mock_set_up(_metadata, &self->m, KAIO_MOCK);
}

FIXTURE_TEARDOWN(race)
{
	mock_tear_down(_metadata, &self->m);
}

/* Wastes about @ns: what sleeps comes too late for the race. */
static void linger(__s64 ns)
{
	const __s64 end = now_ns() + ns;

	while (now_ns() < end)
		;
}

/* The one event that there is; *@event is it. */
static void expect_one(struct __test_metadata *const _metadata, struct mock *m,
		       const struct iocb *iocb, struct io_event *event)
{
	struct io_event another;

	ASSERT_EQ(1, kaio_wait(m->fd, m->ctx, 1, event));
	ASSERT_EQ((uintptr_t)iocb, event->obj);
	ASSERT_EQ(0, kaio_getevents(m->fd, m->ctx, 0, 1, &another, &no_wait));
}

/*
 * Kicks.
 */
TEST_F_TIMEOUT(race, one_retry_at_a_time, 60)
{
	const __u32 times = 4000;
	struct mock *m = &self->m;
	struct kaio_mock_info info;
	struct iocb iocb;

	/* Each attempt takes some time, in which many kicks come. */
	ASSERT_EQ(0, mock_program(m->file, 2, 0,
				  { .result = -EAGAIN, .sleep_ms = 1,
				    .sleep = KAIO_MOCK_KILLABLE }));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_EQ(0, mock_storm(m->file, times, 50000));
	ASSERT_TRUE(wait_until(mock_info(m->file).wakes == times));
	EXPECT_TRUE(no_event(m));
	info = mock_info(m->file);
	EXPECT_EQ(1, info.most_running);
	/* Submission takes two. */
	EXPECT_LT(4, info.attempts);
	ASSERT_EQ(0, mock_program(m->file, 2, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &iocb, 5);
}

/* Whenever it becomes ready, before, during or after a run, that is not missed. */
TEST_F_TIMEOUT(race, kick_at_any_time, 60)
{
	struct mock *m = &self->m;
	struct kaio_mock_wake wake = {
		.when = KAIO_MOCK_IRQ, .ready = IN, .key = IN,
	};
	struct iocb iocb;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, mock_program(m->file, 1, 0,
					  { .result = -EAGAIN,
					    .only = KAIO_MOCK_IF_UNREADY },
					  GIVES(5)));
		mock_pread(m, &iocb, 5);
		wake.delay_ns = i * 1000;
		ASSERT_EQ(0, kaio_ioctl(m->file, KAIO_MOCK_WAKE, &wake));
		ASSERT_EQ(1, mock_submit(m, &iocb));
		expect_end(_metadata, m, &iocb, 5);
	}
}

/* The same for one that does not know IOCB_NOWAIT: poll says so, or a kick does. */
TEST_F_TIMEOUT(race, kick_of_slow_file_at_any_time, 60)
{
	struct mock *m = &self->m;
	struct kaio_mock_wake wake = {
		.when = KAIO_MOCK_IRQ, .ready = IN, .key = IN,
	};
	struct iocb iocb;
	int i;

	close(m->file);
	m->file = open_mock(_metadata, KAIO_MOCK_SLOW);
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
		mock_pread(m, &iocb, 5);
		wake.delay_ns = i * 1000;
		ASSERT_EQ(0, kaio_ioctl(m->file, KAIO_MOCK_WAKE, &wake));
		ASSERT_EQ(1, mock_submit(m, &iocb));
		expect_end(_metadata, m, &iocb, 5);
		ASSERT_EQ(i + 1, (int)mock_info(m->file).attempts);
	}
}

/* Two kicks at once, from two queues and two CPUs. */
TEST_F_TIMEOUT(race, kicks_from_everywhere, 120)
{
	struct mock *m = &self->m;
	struct iocb iocb;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, mock_program(m->file, 2, 0, NOT_NOW));
		mock_pread(m, &iocb, 5);
		ASSERT_EQ(1, mock_submit(m, &iocb));
		ASSERT_EQ(0, mock_program(m->file, 2, 0, GIVES(5)));
		ASSERT_EQ(0, mock_storm(m->file, 5, 5000 + i * 50));
		ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_WORK, IN, IN));
		linger(i * 100);
		ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
		expect_end(_metadata, m, &iocb, 5);
	}
}

/*
 * Cancel against everything else.
 */
/* Kicked in vain from an interrupt, it can be cancelled at any time. */
TEST_F_TIMEOUT(race, cancel_against_vain_kicks, 120)
{
	struct mock *m = &self->m;
	struct io_event event;
	struct iocb iocb;
	int i;

	ASSERT_EQ(0, mock_program(m->file, 2, 0, NOT_NOW));
	for (i = 0; i < ROUNDS; i++) {
		mock_pread(m, &iocb, 5);
		ASSERT_EQ(1, mock_submit(m, &iocb));
		ASSERT_EQ(0, mock_storm(m->file, 10, 5000 + i * 50));
		linger(i * 300);
		ASSERT_EQ(-EINPROGRESS, mock_cancel(m, &iocb))
		{
			TH_LOG("round %d", i);
		}
		expect_one(_metadata, m, &iocb, &event);
		ASSERT_EQ(-ECANCELED, event.res);
	}
}

/* One of them ends it: cancel says which. */
TEST_F_TIMEOUT(race, cancel_against_kick, 120)
{
	struct mock *m = &self->m;
	struct io_event event;
	int i, done = 0;
	struct iocb iocb;
	long ret;

	/* On a busy machine one side may need more time before it ever wins. */
	for (i = 0; i < 2 * ROUNDS || (i < 40 * ROUNDS && (!done || done == i)); i++) {
		ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
		mock_pread(m, &iocb, 5);
		ASSERT_EQ(1, mock_submit(m, &iocb));
		ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
		ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_IRQ, IN, IN));
		linger(i % (2 * ROUNDS) * 250 * (1 + i / (2 * ROUNDS)));
		ret = mock_cancel(m, &iocb);
		expect_one(_metadata, m, &iocb, &event);
		/* During the run: it ends as the run does. */
		ASSERT_TRUE((ret == -EINPROGRESS && event.res == -ECANCELED) ||
			    (ret == -EINPROGRESS && event.res == 5) ||
			    (ret == -EINVAL && event.res == 5))
		{
			TH_LOG("round %d: cancel %ld, res %lld", i, ret,
			       event.res);
		}
		done += event.res == 5;
	}
	/* It was a race. */
	EXPECT_LT(0, done);
	EXPECT_GT(i, done);
}

/* A write that is cancelled says how much of it was written: no more, no less. */
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
					  { .attempts = 1, .result = 10 },
					  NOT_NOW));
		prep_pwrite(&iocb, m->file, m->buf, 30, 0);
		ASSERT_EQ(1, mock_submit(m, &iocb));
		ASSERT_EQ(0, mock_program(m->file, 1, 0,
					  { .attempts = 1, .result = 10 },
					  NOT_NOW));
		ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_IRQ, OUT, OUT));
		linger(i * 400);
		EXPECT_EQ(-EINPROGRESS, mock_cancel(m, &iocb));
		expect_one(_metadata, m, &iocb, &event);
		written = mock_info(m->file).written - written;
		ASSERT_EQ(written ? (__s64)written : -ECANCELED, event.res)
		{
			TH_LOG("round %d", i);
		}
	}
}

struct canceller {
	struct mock *m;
	struct iocb *iocb;
	long last;
	bool stop;
};

static void *cancel_for_ever(void *arg)
{
	struct canceller *c = arg;
	long ret;

	while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE)) {
		ret = mock_cancel(c->m, c->iocb);
		if (ret != -EINVAL)
			c->last = ret;
	}
	return NULL;
}

/* Neither comes to an agreement with the other twice. */
TEST_F_TIMEOUT(race, cancel_in_driver, 120)
{
	struct mock *m = &self->m;
	struct io_event event;
	struct iocb iocb;
	struct canceller c = { m, &iocb, -EINVAL, false };
	pthread_t thread;
	int i;

	close(m->file);
	m->file = open_mock(_metadata, KAIO_MOCK_DISK);
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(0, pthread_create(&thread, NULL, cancel_for_ever, &c));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, mock_program(m->file, 1, 0,
					  { .result = 5, .delay_ns = i * 1000,
					    .complete = KAIO_MOCK_IRQ }));
		ASSERT_EQ(1, mock_submit(m, &iocb));
		expect_one(_metadata, m, &iocb, &event);
		ASSERT_EQ(5, event.res);
	}
	__atomic_store_n(&c.stop, true, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	/* What is in hardware is not cancelled. */
	EXPECT_EQ(-EINVAL, c.last);
	EXPECT_EQ(0, kaio_stat(m->fd, "cancelled"));
	EXPECT_EQ(ROUNDS, kaio_stat(m->fd, "irq"));
}

/* A driver says "not now" in an interrupt while others cancel. */
TEST_F_TIMEOUT(race, cancel_against_deferral, 120)
{
	struct mock *m = &self->m;
	struct io_event event;
	struct iocb iocb;
	struct canceller c = { m, &iocb, -EINVAL, false };
	pthread_t thread;
	int i;

	close(m->file);
	m->file = open_mock(_metadata, KAIO_MOCK_DISK);
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(0, pthread_create(&thread, NULL, cancel_for_ever, &c));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, mock_program(m->file, 1, 0,
					  { .attempts = 1, .result = -EAGAIN,
					    .complete = KAIO_MOCK_IRQ,
					    .delay_ns = i * 1000 },
					  GIVES(5)));
		ASSERT_EQ(1, mock_submit(m, &iocb));
		expect_one(_metadata, m, &iocb, &event);
		ASSERT_TRUE(event.res == 5 || event.res == -ECANCELED)
		{
			TH_LOG("round %d: res %lld", i, event.res);
		}
	}
	__atomic_store_n(&c.stop, true, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

/*
 * Wait queues that go.
 */
static void *free_for_ever(void *arg)
{
	struct canceller *c = arg;

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
	struct canceller c = { .m = m };
	pthread_t thread;
	int i;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	ASSERT_EQ(0, pthread_create(&thread, NULL, free_for_ever, &c));
	for (i = 0; i < ROUNDS; i++) {
		mock_pread(m, &iocb, 5);
		ASSERT_EQ(1, mock_submit(m, &iocb));
		linger(i * 100);
		ASSERT_EQ(-EINPROGRESS, mock_cancel(m, &iocb))
		{
			TH_LOG("round %d", i);
		}
		expect_one(_metadata, m, &iocb, &event);
		ASSERT_EQ(-ECANCELED, event.res);
	}
	__atomic_store_n(&c.stop, true, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

TEST_F_TIMEOUT(race, pollfree_against_kicks, 120)
{
	struct mock *m = &self->m;
	struct iocb iocb;
	struct canceller c = { .m = m };
	pthread_t thread;
	int i;

	ASSERT_EQ(0, pthread_create(&thread, NULL, free_for_ever, &c));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, mock_program(m->file, 2, 0, NOT_NOW));
		mock_pread(m, &iocb, 5);
		ASSERT_EQ(1, mock_submit(m, &iocb));
		ASSERT_EQ(0, mock_program(m->file, 2, 0, GIVES(5)));
		ASSERT_EQ(0, mock_storm(m->file, 5, 5000 + i * 50));
		expect_end(_metadata, m, &iocb, 5);
	}
	__atomic_store_n(&c.stop, true, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

TEST_F_TIMEOUT(race, pollfree_against_destroy, 120)
{
	struct mock *m = &self->m;
	struct iocb iocbs[8], *pointers[8];
	struct canceller c = { .m = m };
	pthread_t thread;
	int i, k;

	for (k = 0; k < 8; k++) {
		mock_pread(m, &iocbs[k], 5);
		pointers[k] = &iocbs[k];
	}
	ASSERT_EQ(0, mock_program(m->file, 2, 0, NOT_NOW));
	ASSERT_EQ(0, pthread_create(&thread, NULL, free_for_ever, &c));
	for (i = 0; i < ROUNDS / 4; i++) {
		ASSERT_EQ(8, kaio_submit(m->fd, m->ctx, 8, pointers));
		ASSERT_EQ(0, mock_storm(m->file, 10, 5000));
		linger(i * 1000);
		ASSERT_EQ(0, kaio_destroy(m->fd, m->ctx));
		ASSERT_EQ(0, kaio_stat(m->fd, "inflight"));
		ASSERT_EQ(0, kaio_setup(m->fd, NR_EVENTS, &m->ctx));
	}
	__atomic_store_n(&c.stop, true, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(ROUNDS / 4 * 8, kaio_stat(m->fd, "completed"));
}

/* Destroy while interrupts complete. */
TEST_F_TIMEOUT(race, destroy_against_driver, 120)
{
	struct iocb iocbs[8], *pointers[8];
	struct mock *m = &self->m;
	int i, k;

	close(m->file);
	m->file = open_mock(_metadata, KAIO_MOCK_DISK);
	for (k = 0; k < 8; k++) {
		mock_pread(m, &iocbs[k], 5);
		pointers[k] = &iocbs[k];
	}
	for (i = 0; i < ROUNDS / 4; i++) {
		/* Every other time it wants another try. */
		ASSERT_EQ(0, mock_program(m->file, 1, 0,
					  { .result = i & 1 ? -EAGAIN : 5,
					    .complete = KAIO_MOCK_IRQ,
					    .delay_ns = i * 5000 }));
		ASSERT_EQ(8, kaio_submit(m->fd, m->ctx, 8, pointers));
		ASSERT_EQ(0, kaio_destroy(m->fd, m->ctx));
		ASSERT_EQ(0, kaio_stat(m->fd, "inflight"));
		ASSERT_EQ(0, kaio_setup(m->fd, NR_EVENTS, &m->ctx));
	}
	EXPECT_EQ(ROUNDS / 4 * 8, kaio_stat(m->fd, "completed"));
}

/*
 * Many at once, with kicks, cancels and a queue that goes: each has one event.
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
		/* Half of the attempts give something. */
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
 * Workers.
 */
/* All workers are busy: what waits for one is cancelled at once. */
TEST_F_TIMEOUT(race, cancel_in_queue, 120)
{
	static struct crowd crowd;
	struct io_event event;
	__u64 attempts;
	int last;

	ASSERT_TRUE(open_crowd(_metadata, &crowd));
	ASSERT_TRUE(crowd_out(&crowd))
	{
		TH_LOG("%d workers and no end", crowd.nr);
	}
	attempts = mock_info(crowd.file).attempts;
	last = crowd.nr - 1;
	EXPECT_EQ(-EINPROGRESS,
		  kaio_cancel(crowd.fd, crowd.ctx, &crowd.iocbs[last]));
	ASSERT_EQ(1, kaio_getevents(crowd.fd, crowd.ctx, 0, 1, &event,
				    &no_wait));
	EXPECT_EQ(-ECANCELED, event.res);
	EXPECT_EQ(last, (int)event.data);
	EXPECT_EQ(attempts, mock_info(crowd.file).attempts);
	/* The others are as they were. */
	EXPECT_TRUE(crowd_leaves(&crowd, last));
	EXPECT_EQ(0, kaio_destroy(crowd.fd, crowd.ctx));
	EXPECT_EQ(crowd.nr, kaio_stat(crowd.fd, "completed"));
	/* For the fixture. */
	mock_pread(&self->m, &crowd.iocbs[0], 5);
	EXPECT_EQ(0, kaio_do(self->m.fd, self->m.ctx, &crowd.iocbs[0]));
}

/* However many of a user's requests hang, its parked ones do not. */
TEST_F_TIMEOUT(race, crowd_does_not_stop_kicks, 120)
{
	static struct crowd crowd;
	struct mock *m = &self->m;
	struct io_event event;
	struct iocb iocb;
	int ends[2];
	char c;

	ASSERT_TRUE(open_crowd(_metadata, &crowd));
	ASSERT_TRUE(crowd_out(&crowd));
	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	/* Of another context, ... */
	park(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_IRQ, IN, IN));
	expect_end(_metadata, m, &iocb, 5);
	/* ... and of this one. */
	ASSERT_EQ(0, kaio_cancel(crowd.fd, crowd.ctx,
				 &crowd.iocbs[crowd.nr - 1]) + EINPROGRESS);
	ASSERT_EQ(1, kaio_wait(crowd.fd, crowd.ctx, 1, &event));
	prep_pread(&iocb, ends[0], &c, 1, 0);
	ASSERT_EQ(1, kaio_submit_one(crowd.fd, crowd.ctx, &iocb));
	ASSERT_EQ(1, write(ends[1], "x", 1));
	ASSERT_EQ(1, kaio_wait(crowd.fd, crowd.ctx, 1, &event));
	EXPECT_EQ((uintptr_t)&iocb, event.obj);
	EXPECT_EQ(1, event.res);
	EXPECT_TRUE(crowd_leaves(&crowd, crowd.nr - 1));
}

/* A child's steps, as another user. */
static int read_as_nobody(void)
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

/* Nor do another user's that need a worker. */
TEST_F_TIMEOUT(race, crowd_does_not_stop_others, 120)
{
	static struct crowd crowd;
	struct iocb iocb;
	int status;
	pid_t pid;

	ASSERT_TRUE(open_crowd(_metadata, &crowd));
	ASSERT_TRUE(crowd_out(&crowd));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(read_as_nobody());
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status)
	{
		TH_LOG("step %d failed", WEXITSTATUS(status));
	}
	EXPECT_TRUE(crowd_leaves(&crowd, 0));
	/* For the fixture. */
	mock_pread(&self->m, &iocb, 5);
	EXPECT_EQ(0, kaio_do(self->m.fd, self->m.ctx, &iocb));
}

TEST_HARNESS_MAIN
