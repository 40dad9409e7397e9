// SPDX-License-Identifier: GPL-2.0
/*
 * Tests the wait queues that a file offers to poll, and queues that are freed
 * early.
 */
#include "retry_fixture.h"

static void wait_on_second_queue(struct __test_metadata *const _metadata,
				 struct mock *m, unsigned int queues)
{
	const struct kaio_mock_wake second = {
		.when = KAIO_MOCK_NOW, .ready = IN, .key = IN, .queues = 2,
	};
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, queues, 0,
				  COLD, SLEEPS(5, KAIO_MOCK_INTERRUPTIBLE)));
	mock_submit_read(_metadata, m, &iocb);
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_program(m->file, queues, 0, GIVES(5)));
	/* The request waits on the queues, or a worker waits in the file. */
	ASSERT_EQ(0, kaio_ioctl(m->file, KAIO_MOCK_WAKE, &second));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &iocb, 5);
}

TEST_F(mock, two_queues)
{
	wait_on_second_queue(_metadata, &self->m, 2);
	/* No attempt had to wait in the file. */
	EXPECT_EQ(mock_info(self->m.file).attempts,
		  mock_info(self->m.file).nowait);
}

TEST_F(mock, three_queues)
{
	wait_on_second_queue(_metadata, &self->m, 3);
}

/* Submits a read that waits on all of @queues wait queues. */
static void park_on_queues(struct __test_metadata *const _metadata,
			   struct mock *m, struct iocb *iocb,
			   unsigned int queues)
{
	ASSERT_EQ(0, mock_program(m->file, queues, 0, NOT_NOW));
	mock_submit_read(_metadata, m, iocb);
	ASSERT_EQ(queues, mock_waiters(m->file));
}

TEST_F(mock, two_queues_at_once)
{
	struct mock *m = &self->m;

	park_on_queues(_metadata, m, &m->iocb, 2);
	ASSERT_EQ(0, mock_program(m->file, 2, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &m->iocb, 5);
}

/* A request can wait on at most eight queues. */
TEST_F(mock, eight_queues)
{
	const struct kaio_mock_wake last = {
		.when = KAIO_MOCK_NOW, .ready = IN, .key = IN, .queues = 1 << 7,
	};
	struct mock *m = &self->m;

	park_on_queues(_metadata, m, &m->iocb, 8);
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_program(m->file, 8, 0, GIVES(5)));
	ASSERT_EQ(0, kaio_ioctl(m->file, KAIO_MOCK_WAKE, &last));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_EQ(0, mock_waiters(m->file));
	EXPECT_EQ(mock_info(m->file).attempts, mock_info(m->file).nowait);
}

/*
 * With nine queues a worker waits in the file, and no entry is left on the
 * queues.
 */
TEST_F(mock, nine_queues)
{
	struct mock *m = &self->m;

	ASSERT_EQ(0, mock_program(m->file, 9, 0,
				  COLD, SLEEPS(5, KAIO_MOCK_INTERRUPTIBLE)));
	mock_submit_read(_metadata, m, &m->iocb);
	EXPECT_EQ(0, mock_waiters(m->file));
	ASSERT_TRUE(mock_sleeps(m->file));
	EXPECT_EQ(1, mock_info(m->file).kthread);
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	EXPECT_EQ(0, mock_waiters(m->file));
}

/* Native AIO refuses even two queues with this error. */
TEST_F(mock, nine_queues_of_poll)
{
	struct mock *m = &self->m;

	ASSERT_EQ(0, mock_program(m->file, 9, 0, NOT_NOW));
	mock_submit_poll(_metadata, m, &m->iocb);
	expect_end(_metadata, m, &m->iocb, -EINVAL);
	EXPECT_EQ(0, mock_waiters(m->file));
	/* A POLL of a file that is ready need not wait. */
	ASSERT_EQ(0, mock_program(m->file, 9, IN, NOT_NOW));
	ASSERT_EQ(1, mock_submit(m, &m->iocb));
	expect_end(_metadata, m, &m->iocb, EPOLLIN);
}

/* The file has a poll method, but no wait queue. */
TEST_F(mock, no_queue)
{
	struct mock *m = &self->m;

	ASSERT_EQ(0, mock_program(m->file, 0, 0, COLD, GIVES(5)));
	mock_submit_read(_metadata, m, &m->iocb);
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_EQ(1, mock_info(m->file).kthread);
}

/*
 * The tests below free a wait queue early.
 */
TEST_F(mock, pollfree_with_new_queue)
{
	struct mock *m = &self->m;

	park(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_free(m->file, true));
	ASSERT_TRUE(parks_again(m->file, 1));
	EXPECT_TRUE(no_event(m));
	mock_finish_read(_metadata, m, &m->iocb, KAIO_MOCK_NOW);
}

TEST_F(mock, pollfree_without_new_queue)
{
	struct mock *m = &self->m;

	park(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0, COLD, GIVES(5)));
	ASSERT_EQ(0, mock_free(m->file, false));
	/* Nothing can kick the request any more, so a worker reads. */
	expect_end(_metadata, m, &m->iocb, 5);
}

TEST_F(mock, pollfree_of_one_of_two)
{
	struct mock *m = &self->m;

	park_on_queues(_metadata, m, &m->iocb, 2);
	ASSERT_EQ(0, mock_free(m->file, false));
	ASSERT_TRUE(wait_until(mock_info(m->file).waiters[1] == 1));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_program(m->file, 2, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &m->iocb, 5);
}

TEST_F(mock, pollfree_during_retry)
{
	struct mock *m = &self->m;

	park(_metadata, m, &m->iocb);
	kick_into_sleep(_metadata, m, (struct kaio_mock_step)NOT_NOW);
	ASSERT_EQ(0, mock_free(m->file, true));
	EXPECT_EQ(0, mock_waiters(m->file));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	ASSERT_TRUE(parks_again(m->file, 1));
	mock_finish_read(_metadata, m, &m->iocb, KAIO_MOCK_NOW);
}

TEST_F(mock, pollfree_then_cancel)
{
	struct mock *m = &self->m;

	park(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_free(m->file, true));
	EXPECT_EQ(-EINPROGRESS, mock_cancel(m, &m->iocb));
	expect_end(_metadata, m, &m->iocb, -ECANCELED);
}

/* A POLL completes when its queue is freed, or waits on another one. */
TEST_F(mock, pollfree_of_poll)
{
	struct mock *m = &self->m;
	struct io_event event;

	park_poll(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_free(m->file, true));
	ASSERT_TRUE(wait_until(kaio_stat(m->fd, "inflight") == 0 ||
			       mock_waiters(m->file) == 1));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(1, kaio_wait(m->fd, m->ctx, 1, &event));
	EXPECT_NE(0, event.res & (EPOLLIN | EPOLLHUP));
	EXPECT_EQ(0, kaio_getevents(m->fd, m->ctx, 0, 1, &event, &no_wait));
}

TEST_HARNESS_MAIN
