// SPDX-License-Identifier: GPL-2.0
/*
 * Tests kicks: the wake-up of a file makes a parked request run again.
 */
#include "retry_fixture.h"

/*
 * A kick comes from a task, a kworker or an interrupt.
 */
#define WHEN_NODE	KAIO_MOCK
#include "when_fixture.h"

TEST_F(when, after_parking)
{
	struct mock *m = &self->m;

	park(_metadata, m, &m->iocb);
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, IN, IN));
	wait_without_helping(_metadata, m);
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	EXPECT_EQ(1, mock_info(m->file).kthread);
	EXPECT_EQ(1, kaio_stat(m->fd, "kicked"));
	EXPECT_EQ(0, kaio_stat(m->fd, "helped"));
}

/* A wake-up without a key may mean any event. */
TEST_F(when, without_key)
{
	struct mock *m = &self->m;

	park(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, IN, 0));
	expect_end(_metadata, m, &m->iocb, 5);
}

/*
 * The kernel reports errors and hang-ups to every waiter, whatever events it
 * asked for.
 */
TEST_F(when, of_hang_up)
{
	struct mock *m = &self->m;

	park(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(0)));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, EPOLLHUP, EPOLLHUP));
	expect_end(_metadata, m, &m->iocb, 0);
}

TEST_F(when, of_error)
{
	struct mock *m = &self->m;

	park(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(-EIO)));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, EPOLLERR, EPOLLERR));
	expect_end(_metadata, m, &m->iocb, -EIO);
}

/* The file is not ready after the kick, so the request waits again. */
TEST_F(when, file_not_ready)
{
	struct mock *m = &self->m;
	__u64 attempts;
	int i;

	park(_metadata, m, &m->iocb);
	for (i = 0; i < 10; i++) {
		attempts = mock_info(m->file).attempts;
		ASSERT_EQ(0, mock_wake(m->file, variant->when, 0, IN));
		ASSERT_TRUE(parks_again(m->file, attempts + 1))
		{
			TH_LOG("round %d", i);
		}
	}
	EXPECT_TRUE(no_event(m));
	mock_finish_read(_metadata, m, &m->iocb, variant->when);
}

/*
 * Poll reports that the file is ready although it is not. The request must not
 * be retried without end.
 */
TEST_F(when, poll_reports_ready_wrongly)
{
	struct mock *m = &self->m;
	__u64 attempts;

	ASSERT_EQ(0, mock_program(m->file, 1, IN,
				  { .result = -EAGAIN, .ready = IN }));
	mock_submit_read(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_wake(m->file, variant->when, IN, IN));
	EXPECT_TRUE(no_event(m));
	attempts = mock_info(m->file).attempts;
	EXPECT_TRUE(no_event(m));
	EXPECT_GT(attempts + 10, mock_info(m->file).attempts);
	ASSERT_EQ(0, mock_program(m->file, 1, IN, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, IN, IN));
	expect_end(_metadata, m, &m->iocb, 5);
}

/* The kick comes from within the attempt that then returns -EAGAIN. */
TEST_F(when, during_attempt)
{
	struct mock *m = &self->m;

	mock_read(_metadata, m, &m->iocb, NOT_NOW_ONCE,
		  { .attempts = 1, .result = -EAGAIN,
		    .wake = { .when = variant->when, .ready = IN, .key = IN } },
		  GIVES(5));
	expect_end(_metadata, m, &m->iocb, 5);
}

TEST_F(when, of_write)
{
	struct mock *m = &self->m;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	prep_pwrite(&m->iocb, m->file, "hello", 5, 0);
	ASSERT_EQ(1, mock_submit(m, &m->iocb));
	ASSERT_EQ(1, mock_waiters(m->file));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, OUT, OUT));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_EQ(5, mock_info(m->file).written);
	EXPECT_EQ(0, memcmp("hello", mock_info(m->file).data, 5));
}

TEST_F(when, of_poll)
{
	struct mock *m = &self->m;

	park_poll(_metadata, m, &m->iocb);
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, IN, IN));
	expect_end(_metadata, m, &m->iocb, IN);
	EXPECT_EQ(0, mock_info(m->file).attempts);
}

/* A wake-up without a key reports no events, so kaio calls poll. */
TEST_F(when, of_poll_without_key)
{
	struct mock *m = &self->m;

	park_poll(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_wake(m->file, variant->when, OUT, 0));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_wake(m->file, variant->when, IN, 0));
	expect_end(_metadata, m, &m->iocb, EPOLLIN);
}

/*
 * A worker takes over a write that makes a little progress in each attempt, as
 * to a pipe that another process empties. So even such a write does not delay
 * its submitter.
 */
TEST_F(when, write_in_small_steps)
{
	enum { LEN = 2000 };
	struct mock *m = &self->m;
	static char buf[LEN];

	ASSERT_EQ(0, mock_program(m->file, 1, OUT, GIVES(5)));
	prep_pwrite(&m->iocb, m->file, buf, LEN, 0);
	ASSERT_EQ(1, mock_submit(m, &m->iocb));
	EXPECT_EQ(1, kaio_stat(m->fd, "queued"));
	EXPECT_EQ(0, kaio_stat(m->fd, "inline"));
	expect_end(_metadata, m, &m->iocb, LEN);
	EXPECT_EQ(LEN / 5, mock_info(m->file).attempts);
	EXPECT_EQ(LEN, mock_info(m->file).written);
	EXPECT_EQ(1, mock_info(m->file).kthread);
}

TEST_F(mock, ready_in_submit)
{
	struct mock *m = &self->m;

	ASSERT_EQ(0, mock_program(m->file, 1, IN, GIVES(5)));
	mock_submit_read(_metadata, m, &m->iocb);
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_EQ(1, mock_info(m->file).attempts);
	EXPECT_EQ(1, mock_info(m->file).nowait);
	EXPECT_EQ(0, mock_info(m->file).kthread);
	EXPECT_EQ(1, kaio_stat(m->fd, "inline"));
}

/* Submits a read in a thread. The attempt sleeps in the file. */
static void submit_in_thread(struct __test_metadata *const _metadata,
			     struct mock_submission *s, struct sleeper *sleeper)
{
	mock_pread(s->m, s->iocb, 5);
	ASSERT_TRUE(fall_asleep(sleeper, mock_submit_call, s));
	ASSERT_TRUE(mock_sleeps(s->m->file));
}

/*
 * The file becomes ready after the attempt has failed, and before the request
 * has an entry on the wait queue.
 */
TEST_F(mock, ready_before_queue_entry)
{
	struct mock *m = &self->m;
	struct mock_submission s = { m, &m->iocb };
	struct sleeper sleeper;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  SLEEPS_ONCE(-EAGAIN, KAIO_MOCK_INTERRUPTIBLE),
				  GIVES(5)));
	submit_in_thread(_metadata, &s, &sleeper);
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	ASSERT_EQ(1, woken(&sleeper));
	expect_end(_metadata, m, &m->iocb, 5);
}

/*
 * A kick during a run is remembered, so the request does not park after that
 * run.
 */
TEST_F(mock, kick_during_run)
{
	struct mock *m = &self->m;
	struct mock_submission s = { m, &m->iocb };
	struct sleeper sleeper;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  NOT_NOW_ONCE,
				  SLEEPS_ONCE(-EAGAIN, KAIO_MOCK_INTERRUPTIBLE),
				  GIVES(5)));
	submit_in_thread(_metadata, &s, &sleeper);
	/* The request runs, and has an entry on the wait queue. */
	ASSERT_EQ(1, mock_waiters(m->file));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	ASSERT_EQ(1, woken(&sleeper));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_EQ(1, mock_info(m->file).most_running);
}

/* A kick during a run of the kick handler is remembered too. */
TEST_F(mock, kick_during_retry)
{
	struct mock *m = &self->m;

	park(_metadata, m, &m->iocb);
	kick_into_sleep(_metadata, m, (struct kaio_mock_step)GIVES(5));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_EQ(1, mock_info(m->file).most_running);
}

TEST_F(mock, other_key)
{
	struct mock *m = &self->m;
	__u64 attempts;

	park(_metadata, m, &m->iocb);
	attempts = mock_info(m->file).attempts;
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, OUT, OUT));
	EXPECT_TRUE(no_event(m));
	EXPECT_EQ(attempts, mock_info(m->file).attempts);
	EXPECT_EQ(0, kaio_stat(m->fd, "kicked"));
	mock_finish_read(_metadata, m, &m->iocb, KAIO_MOCK_NOW);
}

TEST_F(mock, other_key_for_poll)
{
	struct mock *m = &self->m;

	park_poll(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, OUT, OUT));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN | OUT, IN | OUT));
	/* The result has all the events that the wake-up reported. */
	expect_end(_metadata, m, &m->iocb, IN | OUT);
}

/* Submits a write of 30 bytes that waits after the first ten bytes. */
static void submit_partial_write(struct __test_metadata *const _metadata,
				 struct mock *m, struct iocb *iocb,
				 const char *text)
{
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES_ONCE(10), NOT_NOW));
	prep_pwrite(iocb, m->file, text, 30, 0);
	ASSERT_EQ(1, mock_submit(m, iocb));
}

/*
 * The tests below check that the bytes of earlier attempts count.
 */
TEST_F(mock, write_continues)
{
	struct mock *m = &self->m;
	char text[31] = "What is this, if full of care?";

	submit_partial_write(_metadata, m, &m->iocb, text);
	ASSERT_EQ(1, mock_waiters(m->file));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES_ONCE(7), NOT_NOW));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, OUT, OUT));
	ASSERT_TRUE(wait_until(mock_info(m->file).written == 17));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(30)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, OUT, OUT));
	expect_end(_metadata, m, &m->iocb, 30);
	EXPECT_EQ(30, mock_info(m->file).written);
	EXPECT_EQ(0, memcmp(text, mock_info(m->file).data, 30));
}

TEST_F(mock, cancelled_write_returns_bytes_written)
{
	struct mock *m = &self->m;
	char text[30] = {};

	submit_partial_write(_metadata, m, &m->iocb, text);
	ASSERT_EQ(1, mock_waiters(m->file));
	EXPECT_EQ(-EINPROGRESS, mock_cancel(m, &m->iocb));
	expect_end(_metadata, m, &m->iocb, 10);
	EXPECT_EQ(10, mock_info(m->file).written);
}

TEST_F(mock, failed_write_returns_bytes_written)
{
	struct mock *m = &self->m;
	char text[30] = {};

	submit_partial_write(_metadata, m, &m->iocb, text);
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(-EIO)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, OUT, OUT));
	expect_end(_metadata, m, &m->iocb, 10);
}

/* A read completes with the bytes that are available. */
TEST_F(mock, short_read)
{
	struct mock *m = &self->m;

	park(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES_ONCE(3), NOT_NOW));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &m->iocb, 3);
	EXPECT_STREQ("abc", m->buf);
}

TEST_HARNESS_MAIN
