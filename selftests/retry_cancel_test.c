// SPDX-License-Identifier: GPL-2.0
/*
 * Tests KAIO_CANCEL on requests in each state of the retry engine.
 */
#include "retry_fixture.h"

TEST_F(mock, cancel_parked)
{
	struct mock *m = &self->m;
	struct io_event event;
	__u64 attempts;

	park(_metadata, m, &m->iocb);
	attempts = mock_info(m->file).attempts;
	EXPECT_EQ(-EINPROGRESS, mock_cancel(m, &m->iocb));
	/* The event is there as soon as the cancel returns. */
	ASSERT_EQ(1, kaio_getevents(m->fd, m->ctx, 0, 1, &event, &no_wait));
	EXPECT_EQ(-ECANCELED, event.res);
	EXPECT_EQ((uintptr_t)&m->iocb, event.obj);
	EXPECT_EQ(0, mock_waiters(m->file));
	EXPECT_EQ(attempts, mock_info(m->file).attempts);
	EXPECT_EQ(1, kaio_stat(m->fd, "cancelled"));
	EXPECT_EQ(-EINVAL, mock_cancel(m, &m->iocb));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	EXPECT_TRUE(no_event(m));
	EXPECT_EQ(attempts, mock_info(m->file).attempts);
}

TEST_F(mock, cancel_poll)
{
	struct mock *m = &self->m;

	park_poll(_metadata, m, &m->iocb);
	ASSERT_EQ(1, mock_waiters(m->file));
	EXPECT_EQ(-EINPROGRESS, mock_cancel(m, &m->iocb));
	EXPECT_EQ(0, mock_waiters(m->file));
	expect_end(_metadata, m, &m->iocb, 0);
}

/* An attempt that runs during the cancel is not followed by another one. */
TEST_F(mock, cancel_during_retry)
{
	struct mock *m = &self->m;
	__u64 attempts;

	park(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  SLEEPS_ONCE(-EAGAIN, KAIO_MOCK_KILLABLE),
				  GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, 0, IN));
	ASSERT_TRUE(mock_sleeps(m->file));
	attempts = mock_info(m->file).attempts;
	EXPECT_EQ(-EINPROGRESS, mock_cancel(m, &m->iocb));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &m->iocb, -ECANCELED);
	EXPECT_EQ(attempts, mock_info(m->file).attempts);
}

/* The result of an attempt that runs during the cancel counts. */
TEST_F(mock, cancel_during_successful_retry)
{
	struct mock *m = &self->m;

	park(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  SLEEPS(5, KAIO_MOCK_KILLABLE)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_TRUE(mock_sleeps(m->file));
	EXPECT_EQ(-EINPROGRESS, mock_cancel(m, &m->iocb));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
}

TEST_F(mock, cancel_in_driver)
{
	struct mock *m = &self->m;

	mock_read(_metadata, m, &m->iocb, COMPLETES(5, KAIO_MOCK_TOLD));
	EXPECT_EQ(1, mock_info(m->file).queued);
	EXPECT_EQ(-EINVAL, mock_cancel(m, &m->iocb));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_complete(m->file, 3));
	expect_end(_metadata, m, &m->iocb, 3);
	expect_no_cancel(_metadata, m, &m->iocb);
}

/*
 * The driver has the request after a kick here, and without one in
 * cancel_in_driver.
 */
TEST_F(mock, cancel_in_driver_after_kick)
{
	struct mock *m = &self->m;

	park(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0, COMPLETES(5, KAIO_MOCK_TOLD)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_TRUE(wait_until(mock_info(m->file).queued == 1));
	/* The driver has the request a moment before the engine knows it. */
	ASSERT_TRUE(no_event(m));
	EXPECT_EQ(-EINVAL, mock_cancel(m, &m->iocb));
	ASSERT_EQ(0, mock_complete(m->file, 3));
	expect_end(_metadata, m, &m->iocb, 3);
}

TEST_F(mock, cancel_in_blocked_worker)
{
	struct mock *m = &self->m;

	use_node(_metadata, m, KAIO_MOCK_SLOW_DISK);
	mock_read(_metadata, m, &m->iocb, SLEEPS(5, KAIO_MOCK_KILLABLE));
	ASSERT_TRUE(mock_sleeps(m->file));
	EXPECT_EQ(-EINVAL, mock_cancel(m, &m->iocb));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_EQ(0, kaio_stat(m->fd, "cancelled"));
}

TEST_HARNESS_MAIN
