// SPDX-License-Identifier: GPL-2.0
/*
 * Tests files that do not know IOCB_NOWAIT, that have no poll method, or
 * that do not even take kiocbs.
 */
#include "retry_fixture.h"

TEST_F(mock, slow_file_is_read_when_ready)
{
	struct mock *m = &self->m;

	use_node(_metadata, m, KAIO_MOCK_SLOW);
	mock_read(_metadata, m, &m->iocb, GIVES(5));
	EXPECT_TRUE(no_event(m));
	EXPECT_EQ(0, mock_info(m->file).attempts);
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_EQ(1, mock_info(m->file).attempts);
	EXPECT_EQ(1, mock_info(m->file).kthread);
	EXPECT_EQ(0, mock_info(m->file).ki_flags & RWF_NOWAIT);
}

/*
 * The file sleeps although it is ready, as a tty does when another reader has
 * taken its line. The worker does not wait there.
 */
TEST_F(mock, slow_file_sleeps_although_ready)
{
	struct mock *m = &self->m;
	struct kaio_mock_info info;

	use_node(_metadata, m, KAIO_MOCK_SLOW);
	ASSERT_EQ(0, mock_program(m->file, 1, IN,
				  SLEEPS_ONCE(-EIO, KAIO_MOCK_INTERRUPTIBLE),
				  GIVES(5)));
	mock_submit_read(_metadata, m, &m->iocb);
	ASSERT_TRUE(wait_until((info = mock_info(m->file)).interrupted == 1 &&
			       info.waiters[0] == 1));
	EXPECT_TRUE(no_event(m));
	EXPECT_EQ(1, mock_info(m->file).attempts);
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_EQ(2, mock_info(m->file).attempts);
}

/* A read that sleeps for a moment is not interrupted. */
TEST_F(mock, slow_file_sleeps_briefly)
{
	struct mock *m = &self->m;

	use_node(_metadata, m, KAIO_MOCK_SLOW);
	ASSERT_EQ(0, mock_program(m->file, 1, IN,
				  { .result = 5, .sleep_ms = 1,
				    .sleep = KAIO_MOCK_INTERRUPTIBLE }));
	mock_submit_read(_metadata, m, &m->iocb);
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_EQ(0, mock_info(m->file).interrupted);
}

/*
 * The driver of this device has only read and write, which may depend on the
 * calling task.
 */
TEST_F(mock, plain_device_is_refused)
{
	struct mock *m = &self->m;

	use_node(_metadata, m, KAIO_MOCK_PLAIN);
	ASSERT_EQ(0, mock_program(m->file, 1, IN | OUT, GIVES(5)));
	mock_pread(m, &m->iocb, 5);
	EXPECT_EQ(-EINVAL, mock_submit(m, &m->iocb));
	prep_pwrite(&m->iocb, m->file, "hello", 5, 0);
	EXPECT_EQ(-EINVAL, mock_submit(m, &m->iocb));
	EXPECT_EQ(0, mock_info(m->file).attempts);
	/* The device can be polled. */
	mock_submit_poll(_metadata, m, &m->iocb);
	expect_end(_metadata, m, &m->iocb, EPOLLIN);
}

/*
 * Nothing tells when the file is ready. A worker tries, and pauses between its
 * attempts.
 */
TEST_F(mock, device_without_poll)
{
	struct mock *m = &self->m;

	use_node(_metadata, m, KAIO_MOCK_SLOW_DISK);
	mock_read(_metadata, m, &m->iocb, SLEEPS(5, KAIO_MOCK_INTERRUPTIBLE));
	ASSERT_TRUE(wait_until(mock_info(m->file).interrupted >= 2));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	EXPECT_EQ(1, mock_info(m->file).most_running);
}

TEST_F(mock, disk_that_would_block)
{
	struct mock *m = &self->m;

	use_node(_metadata, m, KAIO_MOCK_DISK);
	mock_read(_metadata, m, &m->iocb, COLD, GIVES(5));
	expect_end(_metadata, m, &m->iocb, 5);
	expect_end_in_worker(_metadata, m->file);
}

TEST_F(mock, fsync)
{
	struct mock *m = &self->m;

	use_node(_metadata, m, KAIO_MOCK_DISK);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  SLEEPS(-EDQUOT, KAIO_MOCK_KILLABLE)));
	prep_fsync(&m->iocb, m->file);
	ASSERT_EQ(1, mock_submit(m, &m->iocb));
	ASSERT_TRUE(mock_sleeps(m->file));
	EXPECT_EQ(1, mock_info(m->file).kthread);
	EXPECT_EQ(-EINVAL, mock_cancel(m, &m->iocb));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &m->iocb, -EDQUOT);
}

TEST_HARNESS_MAIN
