// SPDX-License-Identifier: GPL-2.0
/*
 * The retry engine, step by step: with files that say "not now", queue, sleep and
 * wake when they are told to. Races that need many tries are in race_test.c.
 */
#include <sys/syscall.h>

#include "mock_fixture.h"

/* See ioprio_set(2). */
#define IOPRIO(class, level)	((class) << 13 | (level))
#define IOPRIO_BE		2
#define IOPRIO_WHO_PROCESS	1

/* Parked again, after at least @attempts attempts. */
static bool parks(int file, __u64 attempts)
{
	struct kaio_mock_info info;

	return wait_until((info = mock_info(file)).attempts >= attempts &&
			  !info.running && info.waiters[0] == 1);
}

/*
 * Kicks, wherever they come from.
 */
FIXTURE(kick)
{
	struct mock m;
};

FIXTURE_VARIANT(kick)
{
	enum kaio_mock_when when;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(kick, by_task) { .when = KAIO_MOCK_NOW };
FIXTURE_VARIANT_ADD(kick, by_kworker) { .when = KAIO_MOCK_WORK };
FIXTURE_VARIANT_ADD(kick, by_interrupt) { .when = KAIO_MOCK_IRQ };
/* clang-format on */

FIXTURE_SETUP(kick)
{
	mock_set_up(_metadata, &self->m, KAIO_MOCK);
}

FIXTURE_TEARDOWN(kick)
{
	mock_tear_down(_metadata, &self->m);
}

/* Who waits for an event in getevents may run the request; who polls the device does not. */
static void let_kworker(struct __test_metadata *_metadata, struct mock *m)
{
	struct pollfd device = { .fd = m->fd, .events = POLLIN };

	ASSERT_EQ(1, poll(&device, 1, 10000));
}

TEST_F(kick, after_parking)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	park(_metadata, m, &iocb);
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, IN, IN));
	let_kworker(_metadata, m);
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	EXPECT_EQ(1, mock_info(m->file).kthread);
	EXPECT_EQ(1, kaio_stat(m->fd, "kicked"));
	EXPECT_EQ(0, kaio_stat(m->fd, "helped"));
}

/* A wake-up that does not say what happened may be any. */
TEST_F(kick, without_key)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	park(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, IN, 0));
	expect_end(_metadata, m, &iocb, 5);
}

/* Nobody asks for errors and hang-ups, everybody is told. */
TEST_F(kick, of_hang_up)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	park(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(0)));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, EPOLLHUP, EPOLLHUP));
	expect_end(_metadata, m, &iocb, 0);
}

TEST_F(kick, of_error)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	park(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(-EIO)));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, EPOLLERR, EPOLLERR));
	expect_end(_metadata, m, &iocb, -EIO);
}

/* Not ready after all: it goes on waiting. */
TEST_F(kick, in_vain)
{
	struct mock *m = &self->m;
	struct iocb iocb;
	__u64 attempts;
	int i;

	park(_metadata, m, &iocb);
	for (i = 0; i < 10; i++) {
		attempts = mock_info(m->file).attempts;
		ASSERT_EQ(0, mock_wake(m->file, variant->when, 0, IN));
		ASSERT_TRUE(parks(m->file, attempts + 1))
		{
			TH_LOG("round %d", i);
		}
	}
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, IN, IN));
	expect_end(_metadata, m, &iocb, 5);
}

/* Poll says that it is ready, and it is not: no reason to try for ever. */
TEST_F(kick, of_a_liar)
{
	struct mock *m = &self->m;
	struct iocb iocb;
	__u64 attempts;

	ASSERT_EQ(0, mock_program(m->file, 1, IN,
				  { .result = -EAGAIN, .ready = IN }));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, IN, IN));
	EXPECT_TRUE(no_event(m));
	attempts = mock_info(m->file).attempts;
	EXPECT_TRUE(no_event(m));
	EXPECT_GT(attempts + 10, mock_info(m->file).attempts);
	ASSERT_EQ(0, mock_program(m->file, 1, IN, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, IN, IN));
	expect_end(_metadata, m, &iocb, 5);
}

/* From within the attempt that then says "not now". */
TEST_F(kick, within_attempt)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .attempts = 1, .result = -EAGAIN },
				  { .attempts = 1, .result = -EAGAIN,
				    .wake = { .when = variant->when,
					      .ready = IN, .key = IN } },
				  GIVES(5)));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
}

TEST_F(kick, of_write)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	prep_pwrite(&iocb, m->file, "hello", 5, 0);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_EQ(1, mock_waiters(m->file));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, OUT, OUT));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_EQ(5, mock_info(m->file).written);
	EXPECT_EQ(0, memcmp("hello", mock_info(m->file).data, 5));
}

TEST_F(kick, of_poll)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	prep_poll(&iocb, m->file, EPOLLIN);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, IN, IN));
	expect_end(_metadata, m, &iocb, EPOLLIN);
	EXPECT_EQ(0, mock_info(m->file).attempts);
}

/* One without a key says nothing: poll does. */
TEST_F(kick, of_poll_without_key)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	prep_poll(&iocb, m->file, EPOLLIN);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, OUT, 0));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, IN, 0));
	expect_end(_metadata, m, &iocb, EPOLLIN);
}

/*
 * What a driver completes, however it does that.
 */
FIXTURE(driver)
{
	struct mock m;
};

FIXTURE_VARIANT(driver)
{
	enum kaio_mock_when when;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(driver, before_return) { .when = KAIO_MOCK_NOW };
FIXTURE_VARIANT_ADD(driver, in_kworker) { .when = KAIO_MOCK_WORK };
FIXTURE_VARIANT_ADD(driver, in_interrupt) { .when = KAIO_MOCK_IRQ };
/* clang-format on */

FIXTURE_SETUP(driver)
{
	mock_set_up(_metadata, &self->m, KAIO_MOCK_DISK);
}

FIXTURE_TEARDOWN(driver)
{
	mock_tear_down(_metadata, &self->m);
}

TEST_F(driver, read)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = 5, .complete = variant->when }));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	EXPECT_EQ(1, kaio_stat(m->fd, "irq"));
	EXPECT_EQ(1, mock_info(m->file).attempts);
}

TEST_F(driver, write)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = 5, .complete = variant->when }));
	prep_pwrite(&iocb, m->file, "hello", 5, 0);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_EQ(5, mock_info(m->file).written);
}

TEST_F(driver, error)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = -EIO, .complete = variant->when }));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, -EIO);
}

TEST_F(driver, counted_by_eventfd)
{
	const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct mock *m = &self->m;
	struct iocb iocb;
	__u64 count;

	ASSERT_LE(0, event);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = 5, .complete = variant->when }));
	mock_pread(m, &iocb, 5);
	iocb.aio_flags = IOCB_FLAG_RESFD;
	iocb.aio_resfd = event;
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_TRUE(wait_until(read(event, &count, sizeof(count)) == 8));
	EXPECT_EQ(1, count);
	close(event);
}

/* A device without a free tag: the attempt that may wait gets one. */
TEST_F(driver, not_now)
{
	struct mock *m = &self->m;
	struct kaio_mock_info info;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = -EAGAIN, .only = KAIO_MOCK_IF_NOWAIT,
				    .complete = variant->when },
				  { .result = 5, .complete = variant->when }));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
	info = mock_info(m->file);
	EXPECT_EQ(2, info.attempts);
	EXPECT_EQ(1, info.nowait);
	EXPECT_EQ(1, info.kthread);
	EXPECT_EQ(1, kaio_stat(m->fd, "queued"));
}

/* If that one says so too, it is the answer. */
TEST_F(driver, never)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = -EAGAIN,
				    .complete = variant->when }));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, -EAGAIN);
	EXPECT_EQ(2, mock_info(m->file).attempts);
}

/* RWF_NOWAIT asks for just that answer. */
TEST_F(driver, not_now_for_nowait)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = -EAGAIN,
				    .complete = variant->when }));
	mock_pread(m, &iocb, 5);
	iocb.aio_rw_flags = RWF_NOWAIT;
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, -EAGAIN);
	EXPECT_EQ(1, mock_info(m->file).attempts);
}

/* A retry that was kicked may be queued too. */
TEST_F(driver, after_a_kick)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	close(m->file);
	m->file = open_mock(_metadata, KAIO_MOCK);
	park(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = 5, .complete = variant->when }));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_EQ(1, kaio_stat(m->fd, "irq"));
}

/*
 * One thing each.
 */
FIXTURE(mock)
{
	struct mock m;
};

FIXTURE_SETUP(mock)
{
	mock_set_up(_metadata, &self->m, KAIO_MOCK);
}

FIXTURE_TEARDOWN(mock)
{
	mock_tear_down(_metadata, &self->m);
}

/* Another kind of file instead. */
static void use(struct __test_metadata *const _metadata, struct mock *m,
		const char *node)
{
	close(m->file);
	m->file = open_mock(_metadata, node);
}

TEST_F(mock, ready_at_once)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, IN, GIVES(5)));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_EQ(1, mock_info(m->file).attempts);
	EXPECT_EQ(1, mock_info(m->file).nowait);
	EXPECT_EQ(0, mock_info(m->file).kthread);
	EXPECT_EQ(1, kaio_stat(m->fd, "inline"));
}

/* It becomes ready when the attempt has failed and nobody listens yet. */
TEST_F(mock, ready_before_it_is_on_the_queue)
{
	struct mock *m = &self->m;
	struct iocb iocb;
	struct mock_submission s = { m, &iocb };
	struct sleeper sleeper;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .attempts = 1, .result = -EAGAIN,
				    .sleep = KAIO_MOCK_INTERRUPTIBLE },
				  GIVES(5)));
	mock_pread(m, &iocb, 5);
	ASSERT_TRUE(fall_asleep(&sleeper, mock_submit_call, &s));
	ASSERT_TRUE(mock_sleeps(m->file));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	ASSERT_EQ(1, woken(&sleeper));
	expect_end(_metadata, m, &iocb, 5);
}

/* A kick during a run is remembered: it may not park after that. */
TEST_F(mock, kick_during_a_run)
{
	struct mock *m = &self->m;
	struct iocb iocb;
	struct mock_submission s = { m, &iocb };
	struct sleeper sleeper;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .attempts = 1, .result = -EAGAIN },
				  { .attempts = 1, .result = -EAGAIN,
				    .sleep = KAIO_MOCK_INTERRUPTIBLE },
				  GIVES(5)));
	mock_pread(m, &iocb, 5);
	ASSERT_TRUE(fall_asleep(&sleeper, mock_submit_call, &s));
	ASSERT_TRUE(mock_sleeps(m->file));
	/* It is on the queue, and runs. */
	ASSERT_EQ(1, mock_waiters(m->file));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	ASSERT_EQ(1, woken(&sleeper));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_EQ(1, mock_info(m->file).most_running);
}

/* The same in the kick handler. */
TEST_F(mock, kick_during_a_retry)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	park(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .attempts = 1, .result = -EAGAIN },
				  { .attempts = 1, .result = -EAGAIN,
				    .sleep = KAIO_MOCK_KILLABLE },
				  GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, 0, IN));
	ASSERT_TRUE(mock_sleeps(m->file));
	ASSERT_EQ(1, mock_waiters(m->file));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_EQ(1, mock_info(m->file).most_running);
}

TEST_F(mock, key_of_no_interest)
{
	struct mock *m = &self->m;
	struct iocb iocb;
	__u64 attempts;

	park(_metadata, m, &iocb);
	attempts = mock_info(m->file).attempts;
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, OUT, OUT));
	EXPECT_TRUE(no_event(m));
	EXPECT_EQ(attempts, mock_info(m->file).attempts);
	EXPECT_EQ(0, kaio_stat(m->fd, "kicked"));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &iocb, 5);
}

TEST_F(mock, key_of_no_interest_for_poll)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	prep_poll(&iocb, m->file, EPOLLIN);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, OUT, OUT));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN | OUT, IN | OUT));
	expect_end(_metadata, m, &iocb, EPOLLIN);
}

static void wait_on_second_queue(struct __test_metadata *const _metadata,
				 struct mock *m, unsigned int queues)
{
	const struct kaio_mock_wake second = {
		.when = KAIO_MOCK_NOW, .ready = IN, .key = IN, .queues = 2,
	};
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, queues, 0,
				  { .result = -EAGAIN, .only = KAIO_MOCK_IF_NOWAIT },
				  { .sleep = KAIO_MOCK_INTERRUPTIBLE,
				    .result = 5 }));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_program(m->file, queues, 0, GIVES(5)));
	/* It waits in the queues; or a worker waits in the file. */
	ASSERT_EQ(0, kaio_ioctl(m->file, KAIO_MOCK_WAKE, &second));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &iocb, 5);
}

TEST_F(mock, two_queues)
{
	wait_on_second_queue(_metadata, &self->m, 2);
	/* Nobody had to wait in the file. */
	EXPECT_EQ(mock_info(self->m.file).attempts,
		  mock_info(self->m.file).nowait);
}

TEST_F(mock, three_queues)
{
	wait_on_second_queue(_metadata, &self->m, 3);
}

TEST_F(mock, two_queues_at_once)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 2, 0, NOT_NOW));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_EQ(2, mock_waiters(m->file));
	ASSERT_EQ(0, mock_program(m->file, 2, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &iocb, 5);
}

/* As many as can be waited on. */
TEST_F(mock, eight_queues)
{
	const struct kaio_mock_wake last = {
		.when = KAIO_MOCK_NOW, .ready = IN, .key = IN, .queues = 1 << 7,
	};
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 8, 0, NOT_NOW));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_EQ(8, mock_waiters(m->file));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_program(m->file, 8, 0, GIVES(5)));
	ASSERT_EQ(0, kaio_ioctl(m->file, KAIO_MOCK_WAKE, &last));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_EQ(0, mock_waiters(m->file));
	EXPECT_EQ(mock_info(m->file).attempts, mock_info(m->file).nowait);
}

/* One more than that: a worker tries, and nothing is left on those that there are. */
TEST_F(mock, nine_queues)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 9, 0, COLD,
				  { .sleep = KAIO_MOCK_INTERRUPTIBLE,
				    .result = 5 }));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	EXPECT_EQ(0, mock_waiters(m->file));
	ASSERT_TRUE(mock_sleeps(m->file));
	EXPECT_EQ(1, mock_info(m->file).kthread);
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	EXPECT_EQ(0, mock_waiters(m->file));
}

/* As natively if there are two. */
TEST_F(mock, nine_queues_under_poll)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 9, 0, NOT_NOW));
	prep_poll(&iocb, m->file, EPOLLIN);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, -EINVAL);
	EXPECT_EQ(0, mock_waiters(m->file));
	/* It need not wait. */
	ASSERT_EQ(0, mock_program(m->file, 9, IN, NOT_NOW));
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, EPOLLIN);
}

/* It can be polled, but nobody can wait for it. */
TEST_F(mock, no_queue)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 0, 0,
				  { .result = -EAGAIN, .only = KAIO_MOCK_IF_NOWAIT },
				  GIVES(5)));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_EQ(1, mock_info(m->file).kthread);
}

/*
 * Progress is kept.
 */
TEST_F(mock, write_goes_on)
{
	struct mock *m = &self->m;
	char text[31] = "What is this, if full of care?";
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .attempts = 1, .result = 10 },
				  NOT_NOW));
	prep_pwrite(&iocb, m->file, text, 30, 0);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_EQ(1, mock_waiters(m->file));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .attempts = 1, .result = 7 },
				  NOT_NOW));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, OUT, OUT));
	ASSERT_TRUE(wait_until(mock_info(m->file).written == 17));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(30)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, OUT, OUT));
	expect_end(_metadata, m, &iocb, 30);
	EXPECT_EQ(30, mock_info(m->file).written);
	EXPECT_EQ(0, memcmp(text, mock_info(m->file).data, 30));
}

TEST_F(mock, write_is_cancelled)
{
	struct mock *m = &self->m;
	char text[30] = {};
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .attempts = 1, .result = 10 },
				  NOT_NOW));
	prep_pwrite(&iocb, m->file, text, 30, 0);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_EQ(1, mock_waiters(m->file));
	EXPECT_EQ(-EINPROGRESS, mock_cancel(m, &iocb));
	expect_end(_metadata, m, &iocb, 10);
	EXPECT_EQ(10, mock_info(m->file).written);
}

TEST_F(mock, write_fails)
{
	struct mock *m = &self->m;
	char text[30] = {};
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .attempts = 1, .result = 10 },
				  NOT_NOW));
	prep_pwrite(&iocb, m->file, text, 30, 0);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(-EIO)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, OUT, OUT));
	expect_end(_metadata, m, &iocb, 10);
}

/* A read is content with what there is. */
TEST_F(mock, short_read)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	park(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .attempts = 1, .result = 3 }, NOT_NOW));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &iocb, 3);
	EXPECT_STREQ("abc", m->buf);
}

/*
 * Cancel, in each state.
 */
TEST_F(mock, cancel_parked)
{
	struct mock *m = &self->m;
	struct io_event event;
	struct iocb iocb;
	__u64 attempts;

	park(_metadata, m, &iocb);
	attempts = mock_info(m->file).attempts;
	EXPECT_EQ(-EINPROGRESS, mock_cancel(m, &iocb));
	/* At once. */
	ASSERT_EQ(1, kaio_getevents(m->fd, m->ctx, 0, 1, &event, &no_wait));
	EXPECT_EQ(-ECANCELED, event.res);
	EXPECT_EQ((uintptr_t)&iocb, event.obj);
	EXPECT_EQ(0, mock_waiters(m->file));
	EXPECT_EQ(attempts, mock_info(m->file).attempts);
	EXPECT_EQ(1, kaio_stat(m->fd, "cancelled"));
	EXPECT_EQ(-EINVAL, mock_cancel(m, &iocb));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	EXPECT_TRUE(no_event(m));
	EXPECT_EQ(attempts, mock_info(m->file).attempts);
}

TEST_F(mock, cancel_poll)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	prep_poll(&iocb, m->file, EPOLLIN);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_EQ(1, mock_waiters(m->file));
	EXPECT_EQ(-EINPROGRESS, mock_cancel(m, &iocb));
	EXPECT_EQ(0, mock_waiters(m->file));
	expect_end(_metadata, m, &iocb, 0);
}

/* What runs is not retried. */
TEST_F(mock, cancel_during_a_retry)
{
	struct mock *m = &self->m;
	struct iocb iocb;
	__u64 attempts;

	park(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .attempts = 1, .result = -EAGAIN,
				    .sleep = KAIO_MOCK_KILLABLE },
				  GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, 0, IN));
	ASSERT_TRUE(mock_sleeps(m->file));
	attempts = mock_info(m->file).attempts;
	EXPECT_EQ(-EINPROGRESS, mock_cancel(m, &iocb));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &iocb, -ECANCELED);
	EXPECT_EQ(attempts, mock_info(m->file).attempts);
}

/* What such a run has done counts all the same. */
TEST_F(mock, cancel_during_the_last_retry)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	park(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = 5,
				    .sleep = KAIO_MOCK_KILLABLE }));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_TRUE(mock_sleeps(m->file));
	EXPECT_EQ(-EINPROGRESS, mock_cancel(m, &iocb));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
}

TEST_F(mock, cancel_in_driver)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = 5,
				    .complete = KAIO_MOCK_TOLD }));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	EXPECT_EQ(1, mock_info(m->file).queued);
	EXPECT_EQ(-EINVAL, mock_cancel(m, &iocb));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_complete(m->file, 3));
	expect_end(_metadata, m, &iocb, 3);
	EXPECT_EQ(-EINVAL, mock_cancel(m, &iocb));
	EXPECT_EQ(0, kaio_stat(m->fd, "cancelled"));
}

/* Parked before, or not. */
TEST_F(mock, cancel_in_driver_after_a_kick)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	park(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = 5,
				    .complete = KAIO_MOCK_TOLD }));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_TRUE(wait_until(mock_info(m->file).queued == 1));
	/* The driver has it a moment before the engine knows that. */
	ASSERT_TRUE(no_event(m));
	EXPECT_EQ(-EINVAL, mock_cancel(m, &iocb));
	ASSERT_EQ(0, mock_complete(m->file, 3));
	expect_end(_metadata, m, &iocb, 3);
}

TEST_F(mock, cancel_in_blocked_worker)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	use(_metadata, m, KAIO_MOCK_SLOW_DISK);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = 5,
				    .sleep = KAIO_MOCK_KILLABLE }));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_TRUE(mock_sleeps(m->file));
	EXPECT_EQ(-EINVAL, mock_cancel(m, &iocb));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_EQ(0, kaio_stat(m->fd, "cancelled"));
}

/*
 * The wait queue is freed early.
 */
TEST_F(mock, pollfree_and_another_queue)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	park(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_free(m->file, true));
	ASSERT_TRUE(parks(m->file, 1));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &iocb, 5);
}

TEST_F(mock, pollfree_and_no_queue)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	park(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = -EAGAIN, .only = KAIO_MOCK_IF_NOWAIT },
				  GIVES(5)));
	ASSERT_EQ(0, mock_free(m->file, false));
	/* Nobody can kick it any more: a worker reads. */
	expect_end(_metadata, m, &iocb, 5);
}

TEST_F(mock, pollfree_of_one_of_two)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 2, 0, NOT_NOW));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_EQ(2, mock_waiters(m->file));
	ASSERT_EQ(0, mock_free(m->file, false));
	ASSERT_TRUE(wait_until(mock_info(m->file).waiters[1] == 1));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_program(m->file, 2, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &iocb, 5);
}

TEST_F(mock, pollfree_during_a_retry)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	park(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .attempts = 1, .result = -EAGAIN },
				  { .attempts = 1, .result = -EAGAIN,
				    .sleep = KAIO_MOCK_KILLABLE },
				  NOT_NOW));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, 0, IN));
	ASSERT_TRUE(mock_sleeps(m->file));
	ASSERT_EQ(1, mock_waiters(m->file));
	ASSERT_EQ(0, mock_free(m->file, true));
	EXPECT_EQ(0, mock_waiters(m->file));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	ASSERT_TRUE(parks(m->file, 1));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &iocb, 5);
}

TEST_F(mock, pollfree_then_cancel)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	park(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_free(m->file, true));
	EXPECT_EQ(-EINPROGRESS, mock_cancel(m, &iocb));
	expect_end(_metadata, m, &iocb, -ECANCELED);
}

/* Who asked for events is told of the end, or goes on waiting elsewhere. */
TEST_F(mock, pollfree_under_poll)
{
	struct mock *m = &self->m;
	struct io_event event;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	prep_poll(&iocb, m->file, EPOLLIN);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_EQ(0, mock_free(m->file, true));
	ASSERT_TRUE(wait_until(kaio_stat(m->fd, "inflight") == 0 ||
			       mock_waiters(m->file) == 1));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(1, kaio_wait(m->fd, m->ctx, 1, &event));
	EXPECT_NE(0, event.res & (EPOLLIN | EPOLLHUP));
	EXPECT_EQ(0, kaio_getevents(m->fd, m->ctx, 0, 1, &event, &no_wait));
}

/*
 * Files that do not know IOCB_NOWAIT, and those that do not even know kiocbs.
 */
TEST_F(mock, slow_file_is_touched_when_ready)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	use(_metadata, m, KAIO_MOCK_SLOW);
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	EXPECT_TRUE(no_event(m));
	EXPECT_EQ(0, mock_info(m->file).attempts);
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_EQ(1, mock_info(m->file).attempts);
	EXPECT_EQ(1, mock_info(m->file).kthread);
	EXPECT_EQ(0, mock_info(m->file).ki_flags & RWF_NOWAIT);
}

/* A tty whose line another reader has taken: the worker does not wait there. */
TEST_F(mock, slow_file_breaks_its_promise)
{
	struct mock *m = &self->m;
	struct kaio_mock_info info;
	struct iocb iocb;

	use(_metadata, m, KAIO_MOCK_SLOW);
	ASSERT_EQ(0, mock_program(m->file, 1, IN,
				  { .attempts = 1, .result = -EIO,
				    .sleep = KAIO_MOCK_INTERRUPTIBLE },
				  GIVES(5)));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_TRUE(wait_until((info = mock_info(m->file)).interrupted == 1 &&
			       info.waiters[0] == 1));
	EXPECT_TRUE(no_event(m));
	EXPECT_EQ(1, mock_info(m->file).attempts);
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_EQ(2, mock_info(m->file).attempts);
}

/* One that is read without delay is not disturbed. */
TEST_F(mock, slow_file_takes_a_moment)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	use(_metadata, m, KAIO_MOCK_SLOW);
	ASSERT_EQ(0, mock_program(m->file, 1, IN,
				  { .result = 5, .sleep_ms = 1,
				    .sleep = KAIO_MOCK_INTERRUPTIBLE }));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_EQ(0, mock_info(m->file).interrupted);
}

/* A device whose driver has only read and write: they ask who calls them. */
TEST_F(mock, plain_device_is_refused)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	use(_metadata, m, KAIO_MOCK_PLAIN);
	ASSERT_EQ(0, mock_program(m->file, 1, IN | OUT, GIVES(5)));
	mock_pread(m, &iocb, 5);
	EXPECT_EQ(-EINVAL, mock_submit(m, &iocb));
	prep_pwrite(&iocb, m->file, "hello", 5, 0);
	EXPECT_EQ(-EINVAL, mock_submit(m, &iocb));
	EXPECT_EQ(0, mock_info(m->file).attempts);
	/* It can be waited for. */
	prep_poll(&iocb, m->file, EPOLLIN);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, EPOLLIN);
}

/* Nobody can say when it will be ready: a worker tries, but not for ever at once. */
TEST_F(mock, device_without_poll)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	use(_metadata, m, KAIO_MOCK_SLOW_DISK);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = 5,
				    .sleep = KAIO_MOCK_INTERRUPTIBLE }));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_TRUE(wait_until(mock_info(m->file).interrupted >= 2));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	EXPECT_EQ(1, mock_info(m->file).most_running);
}

TEST_F(mock, disk_that_would_block)
{
	struct mock *m = &self->m;
	struct kaio_mock_info info;
	struct iocb iocb;

	use(_metadata, m, KAIO_MOCK_DISK);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = -EAGAIN, .only = KAIO_MOCK_IF_NOWAIT },
				  GIVES(5)));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
	info = mock_info(m->file);
	EXPECT_EQ(2, info.attempts);
	EXPECT_EQ(1, info.nowait);
	EXPECT_EQ(1, info.kthread);
}

TEST_F(mock, fsync)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	use(_metadata, m, KAIO_MOCK_DISK);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = -EDQUOT,
				    .sleep = KAIO_MOCK_KILLABLE }));
	prep_fsync(&iocb, m->file);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_TRUE(mock_sleeps(m->file));
	EXPECT_EQ(1, mock_info(m->file).kthread);
	EXPECT_EQ(-EINVAL, mock_cancel(m, &iocb));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &iocb, -EDQUOT);
}

/*
 * As whom a retry runs.
 */
/* A child's steps: submit as one user, go on as another. Its exit status. */
static int submit_and_change(int fd, int file, int ready)
{
	struct io_event event;
	struct iocb iocb;
	char buf[8];
	__u64 ctx;

	if (kaio_setup(fd, 1, &ctx) || setresuid(65533, 65534, 0))
		return 1;
	prep_pread(&iocb, file, buf, 5, 0);
	if (kaio_submit_one(fd, ctx, &iocb) != 1)
		return 2;
	if (seteuid(0) || setresuid(1, 1, 1))
		return 3;
	if (write(ready, "r", 1) != 1)
		return 4;
	if (kaio_wait(fd, ctx, 1, &event) != 1)
		return 5;
	return event.res == 5 ? 0 : 6;
}

static void expect_uid_of_submission(struct __test_metadata *const _metadata,
				     struct mock *m)
{
	struct kaio_mock_info info;
	int ready[2], status;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe2(ready, O_CLOEXEC));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(submit_and_change(m->fd, m->file, ready[1]));
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &c, 1));
	/* Whichever it waits for. */
	if (mock_complete(m->file, -EAGAIN)) {
		ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
		ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status)
	{
		TH_LOG("step %d failed", WEXITSTATUS(status));
	}
	info = mock_info(m->file);
	EXPECT_EQ(1, info.kthread);
	EXPECT_EQ(65533, info.uid);
	EXPECT_EQ(65534, info.fsuid);
}

TEST_F(mock, credentials_after_a_kick)
{
	struct mock *m = &self->m;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	expect_uid_of_submission(_metadata, m);
}

TEST_F(mock, credentials_in_a_worker)
{
	struct mock *m = &self->m;

	use(_metadata, m, KAIO_MOCK_DISK);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .only = KAIO_MOCK_IF_NOWAIT, .result = -EAGAIN,
				    .complete = KAIO_MOCK_TOLD },
				  GIVES(5)));
	expect_uid_of_submission(_metadata, m);
}

TEST_F(mock, priority_of_request)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	mock_pread(m, &iocb, 5);
	iocb.aio_flags = IOCB_FLAG_IOPRIO;
	iocb.aio_reqprio = IOPRIO(IOPRIO_BE, 3);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	EXPECT_EQ(IOPRIO(IOPRIO_BE, 3), mock_info(m->file).ki_ioprio);
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_EQ(1, mock_info(m->file).kthread);
	EXPECT_EQ(IOPRIO(IOPRIO_BE, 3), mock_info(m->file).ki_ioprio);
}

/* Without one it has the submitter's, as it was. */
TEST_F(mock, priority_of_submitter)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
			     IOPRIO(IOPRIO_BE, 6)));
	park(_metadata, m, &iocb);
	ASSERT_EQ(0, syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
			     IOPRIO(IOPRIO_BE, 1)));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_EQ(1, mock_info(m->file).kthread);
	EXPECT_EQ(IOPRIO(IOPRIO_BE, 6), mock_info(m->file).ki_ioprio);
}

/*
 * Each attempt has the flags that were asked for, by aio_rw_flags or by open(2), also
 * if the one before it took them away.
 */
FIXTURE(flags)
{
	struct mock m;
};

FIXTURE_VARIANT(flags)
{
	const char *node;
	bool write;
	long (*program)(int file);
};

static long goes_on_after_a_kick(int file)
{
	return mock_program(file, 1, 0, { .attempts = 1, .result = -EAGAIN },
			    { .attempts = 1, .result = -EAGAIN,
			      .wake = { .when = KAIO_MOCK_NOW,
					.ready = IN | OUT, .key = IN | OUT } },
			    GIVES(5));
}

static long goes_on_in_a_worker(int file)
{
	return mock_program(file, 1, 0, COLD, GIVES(5));
}

static long goes_on_after_a_page(int file)
{
	return mock_program(file, 1, 0, COLD, WAITS_FOR_PAGE(KAIO_MOCK_NOW),
			    COLD, { .attempts = 1, .result = -EAGAIN },
			    GIVES(5));
}

/* clang-format off */
FIXTURE_VARIANT_ADD(flags, read_after_a_kick)
{ KAIO_MOCK, false, goes_on_after_a_kick };
FIXTURE_VARIANT_ADD(flags, write_after_a_kick)
{ KAIO_MOCK, true, goes_on_after_a_kick };
FIXTURE_VARIANT_ADD(flags, read_in_a_worker)
{ KAIO_MOCK_DISK, false, goes_on_in_a_worker };
FIXTURE_VARIANT_ADD(flags, write_in_a_worker)
{ KAIO_MOCK_DISK, true, goes_on_in_a_worker };
FIXTURE_VARIANT_ADD(flags, read_after_a_page)
{ KAIO_MOCK_PAGES, false, goes_on_after_a_page };
FIXTURE_VARIANT_ADD(flags, write_of_regular_file)
{ KAIO_MOCK_PAGES, true, goes_on_in_a_worker };
/* clang-format on */

FIXTURE_SETUP(flags)
{
	mock_set_up(_metadata, &self->m, variant->node);
}

FIXTURE_TEARDOWN(flags)
{
	mock_tear_down(_metadata, &self->m);
}

/* All that a kiocb has too, there of the same value. */
static const __u32 rwf_flags[] = {
	RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_APPEND, RWF_NOAPPEND, RWF_ATOMIC,
	RWF_DONTCACHE, RWF_NOSIGNAL,
};

/* Of an attempt, those above; -1: there is no such request. */
static __s64 flags_wanted(__u32 asked, bool append, bool write)
{
	if (((asked & RWF_APPEND) && (asked & RWF_NOAPPEND)) ||
	    ((asked & RWF_ATOMIC) && !write))
		return -1;
	if (append && !(asked & RWF_NOAPPEND))
		asked |= RWF_APPEND;
	if (asked & RWF_SYNC)
		asked |= RWF_DSYNC;
	/* Nobody polls for the end of a request of ours. */
	return asked & ~RWF_HIPRI;
}

static void expect_flags(struct __test_metadata *const _metadata,
			 FIXTURE_DATA(flags) *self,
			 const FIXTURE_VARIANT(flags) *variant, __u32 asked,
			 bool append)
{
	const __s64 want = flags_wanted(asked, append, variant->write);
	struct mock *m = &self->m;
	struct kaio_mock_info info;
	struct iocb iocb;
	__u32 i;

	if (want < 0)
		return;
	close(m->file);
	m->file = open_mock_as(_metadata, variant->node, append ? O_APPEND : 0);
	ASSERT_EQ(0, variant->program(m->file));
	mock_pread(m, &iocb, 5);
	if (variant->write)
		prep_pwrite(&iocb, m->file, "hello", 5, 0);
	iocb.aio_rw_flags = asked;
	ASSERT_EQ(1, mock_submit(m, &iocb));
	let_kworker(_metadata, m);
	expect_end(_metadata, m, &iocb, 5);
	info = mock_info(m->file);
	EXPECT_EQ(1, info.kthread);
	for (i = 0; i < info.attempts; i++)
		EXPECT_EQ(want, info.flags[i] & (RWF_KNOWN & ~RWF_NOWAIT))
		{
			TH_LOG("flags %#x, O_APPEND %d, attempt %u of %u",
			       asked, append, i, (__u32)info.attempts);
		}
}

/* Every flag and every two. */
TEST_F_TIMEOUT(flags, in_each_attempt, 120)
{
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(rwf_flags); i++) {
		for (j = 0; j <= i; j++) {
			expect_flags(_metadata, self, variant,
				     rwf_flags[i] | rwf_flags[j], false);
			expect_flags(_metadata, self, variant,
				     rwf_flags[i] | rwf_flags[j], true);
		}
	}
}

/* What was not asked for is not there. */
TEST_F(flags, if_there_are_none)
{
	expect_flags(_metadata, self, variant, 0, false);
	expect_flags(_metadata, self, variant, 0, true);
}

TEST_HARNESS_MAIN
