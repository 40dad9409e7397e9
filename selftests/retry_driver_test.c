// SPDX-License-Identifier: GPL-2.0
/*
 * Tests requests that a driver completes: within the attempt, in a kworker
 * or in an interrupt.
 */
/*
 * The driver completes a request by the task, which is before the attempt
 * returns, by a kworker or by an interrupt.
 */
#define WHEN_NODE	KAIO_MOCK_DISK
#include "when_fixture.h"

TEST_F(when, read)
{
	struct mock *m = &self->m;

	mock_read(_metadata, m, &m->iocb, COMPLETES(5, variant->when));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	EXPECT_EQ(1, kaio_stat(m->fd, "irq"));
	EXPECT_EQ(1, mock_info(m->file).attempts);
}

TEST_F(when, write)
{
	struct mock *m = &self->m;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, COMPLETES(5, variant->when)));
	prep_pwrite(&m->iocb, m->file, "hello", 5, 0);
	ASSERT_EQ(1, mock_submit(m, &m->iocb));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_EQ(5, mock_info(m->file).written);
}

TEST_F(when, error)
{
	struct mock *m = &self->m;

	mock_read(_metadata, m, &m->iocb, COMPLETES(-EIO, variant->when));
	expect_end(_metadata, m, &m->iocb, -EIO);
}

/*
 * An eventfd may wake a driver, which then completes a request. During that
 * wake-up no eventfd can be signalled, so the signal comes a moment later,
 * after the event.
 */
TEST_F(when, driver_woken_by_eventfd)
{
	const int waker = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct mock *m = &self->m;
	struct iocb iocbs[3];
	const __u32 fd = waker;
	const __u64 one = 1;
	__u64 count = 0;
	int i;

	ASSERT_LE(0, waker);
	ASSERT_LE(0, event);
	ASSERT_EQ(0, kaio_ioctl(m->file, KAIO_MOCK_COMPLETE_ON, &fd));
	ASSERT_EQ(0, mock_program(m->file, 1, 0, COMPLETES(5, KAIO_MOCK_TOLD)));
	/*
	 * The eventfd signal for the second request wakes the driver of the
	 * third.
	 */
	for (i = 0; i < 3; i++) {
		mock_pread(m, &iocbs[i], 5);
		iocbs[i].aio_flags = IOCB_FLAG_RESFD;
		iocbs[i].aio_resfd = i == 1 ? waker : event;
		ASSERT_EQ(1, mock_submit(m, &iocbs[i]));
	}
	for (i = 0; i < 2; i++) {
		ASSERT_EQ((ssize_t)sizeof(one), write(waker, &one, sizeof(one)));
		ASSERT_TRUE(wait_until(mock_info(m->file).queued <= (i ? 0U : 2U)));
	}
	EXPECT_TRUE(wait_until(kaio_stat(m->fd, "completed") == 3));
	EXPECT_TRUE(wait_until(kaio_stat(m->fd, "inflight") == 0));
	ASSERT_EQ((ssize_t)sizeof(count), read(event, &count, sizeof(count)));
	EXPECT_EQ(2, count);
	ASSERT_EQ((ssize_t)sizeof(count), read(waker, &count, sizeof(count)));
	EXPECT_EQ(3, count);
	close(waker);
	close(event);
}

TEST_F(when, counted_by_eventfd)
{
	const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct mock *m = &self->m;
	__u64 count;

	ASSERT_LE(0, event);
	ASSERT_EQ(0, mock_program(m->file, 1, 0, COMPLETES(5, variant->when)));
	mock_pread(m, &m->iocb, 5);
	m->iocb.aio_flags = IOCB_FLAG_RESFD;
	m->iocb.aio_resfd = event;
	ASSERT_EQ(1, mock_submit(m, &m->iocb));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_TRUE(wait_until(read(event, &count, sizeof(count)) == 8));
	EXPECT_EQ(1, count);
	close(event);
}

/*
 * The device has no free tag. The attempt of the worker, which may wait, gets
 * one.
 */
TEST_F(when, no_free_tag)
{
	struct mock *m = &self->m;

	mock_read(_metadata, m, &m->iocb,
		  { .result = -EAGAIN, .only = KAIO_MOCK_IF_NOWAIT,
		    .complete = variant->when },
		  COMPLETES(5, variant->when));
	expect_end(_metadata, m, &m->iocb, 5);
	expect_end_in_worker(_metadata, m->file);
	EXPECT_EQ(1, kaio_stat(m->fd, "queued"));
}

/* If the attempt of the worker gets -EAGAIN too, that is the result. */
TEST_F(when, no_free_tag_for_worker)
{
	struct mock *m = &self->m;

	mock_read(_metadata, m, &m->iocb, COMPLETES(-EAGAIN, variant->when));
	expect_end(_metadata, m, &m->iocb, -EAGAIN);
	EXPECT_EQ(2, mock_info(m->file).attempts);
}

/* With RWF_NOWAIT the result of the first attempt is final. */
TEST_F(when, no_free_tag_with_nowait)
{
	struct mock *m = &self->m;

	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  COMPLETES(-EAGAIN, variant->when)));
	mock_pread(m, &m->iocb, 5);
	m->iocb.aio_rw_flags = RWF_NOWAIT;
	ASSERT_EQ(1, mock_submit(m, &m->iocb));
	expect_end(_metadata, m, &m->iocb, -EAGAIN);
	EXPECT_EQ(1, mock_info(m->file).attempts);
}

/* A driver may also complete a retry that was kicked. */
TEST_F(when, after_kick)
{
	struct mock *m = &self->m;

	use_node(_metadata, m, KAIO_MOCK);
	park(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0, COMPLETES(5, variant->when)));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_EQ(1, kaio_stat(m->fd, "irq"));
}

TEST_HARNESS_MAIN
