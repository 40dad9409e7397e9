// SPDX-License-Identifier: GPL-2.0
/*
 * Tests the retry method of a provider (include/linux/kaio.h) and the kicks
 * that make kaio call it again.
 */
#include "provider_fixture.h"

/*
 * The tests below check what retry sees and returns.
 */

TEST_F(ticker, read_waits_for_all_bytes)
{
	struct iocb iocb;

	ASSERT_EQ(1, submit_read(self, &iocb, 10));
	EXPECT_TRUE(no_event(self));
	EXPECT_EQ(1, ticker_info(self->file).retries);
	EXPECT_EQ(10, ticker_info(self->file).left);
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(waits_again(self->file, 2));
	EXPECT_TRUE(no_event(self));
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(wait_for(self->file, retries, 3));
	/* The second attempt had four bytes. */
	EXPECT_EQ(6, ticker_info(self->file).left);
	ASSERT_TRUE(wait_for(self->file, waiting, 1));
	EXPECT_TRUE(no_event(self));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 10, 0);
	EXPECT_EQ(0, memcmp(self->buf, "abcdefghij", 10));
	EXPECT_EQ(4, ticker_info(self->file).retries);
	EXPECT_EQ(3, ticker_info(self->file).kicks);
	EXPECT_EQ(2, ticker_info(self->file).available);
	EXPECT_EQ(3, kaio_stat(self->fd, "kicked"));
}

TEST_F(ticker, available_bytes_are_read_in_submit)
{
	struct io_event event;
	struct iocb iocb;

	ASSERT_TRUE(tick(self->file));
	ASSERT_EQ(1, submit_read(self, &iocb, 4));
	ASSERT_EQ(1, kaio_getevents(self->fd, self->ctx, 0, 1, &event, &no_wait));
	EXPECT_EQ(4, event.res);
	EXPECT_EQ(1, kaio_stat(self->fd, "inline"));
	EXPECT_EQ(0, ticker_info(self->file).kicks);
}

TEST_F(ticker, vector_is_filled_over_several_attempts)
{
	char first[3], second[5];
	const struct iovec iov[] = {
		{ .iov_base = first, .iov_len = sizeof(first) },
		{ .iov_base = second, .iov_len = sizeof(second) },
	};
	struct iocb iocb;

	prep_preadv(&iocb, self->file, iov, 2, 0);
	ASSERT_EQ(1, submit(self, &iocb));
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(waits_again(self->file, 2));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 8, 0);
	EXPECT_EQ(0, memcmp(first, "abc", 3));
	EXPECT_EQ(0, memcmp(second, "defgh", 5));
}

/* Every attempt sees the same request. */
TEST_F(ticker, retry_sees_request)
{
	struct iocb iocb;

	prep_pread(&iocb, self->file, self->buf, 10, 100);
	ASSERT_EQ(1, submit(self, &iocb));
	EXPECT_EQ(100, ticker_info(self->file).pos);
	EXPECT_EQ(7, ticker_info(self->file).user_data);
	EXPECT_EQ(IOCB_CMD_PREAD, ticker_info(self->file).opcode);
	EXPECT_EQ(1, ticker_info(self->file).attempts);
	EXPECT_EQ(0, ticker_info(self->file).iocb_flags & RWF_NOWAIT);
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(waits_again(self->file, 2));
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(wait_for(self->file, retries, 3));
	/* The second attempt had four bytes. */
	EXPECT_EQ(104, ticker_info(self->file).pos);
	EXPECT_EQ(7, ticker_info(self->file).user_data);
	EXPECT_EQ(IOCB_CMD_PREAD, ticker_info(self->file).opcode);
	EXPECT_EQ(3, ticker_info(self->file).attempts);
	ASSERT_TRUE(wait_for(self->file, waiting, 1));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 10, 0);
}

TEST_F(ticker, retry_sees_write)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_SOME_FIRST));
	prep_pwrite(&iocb, self->file, self->buf, 8, 1000);
	ASSERT_EQ(1, submit(self, &iocb));
	EXPECT_EQ(1000, ticker_info(self->file).pos);
	EXPECT_EQ(IOCB_CMD_PWRITE, ticker_info(self->file).opcode);
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(wait_for(self->file, retries, 2));
	EXPECT_EQ(1000 + KAIO_TICKER_SOME, ticker_info(self->file).pos);
	ASSERT_TRUE(wait_for(self->file, queued, 1));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 8, 2);
}

/* Each request has its own private memory of the provider. */
TEST_F(ticker, retry_sees_vectors)
{
	const struct iovec iov = { .iov_base = self->buf, .iov_len = 5 };
	struct iocb read, write;

	prep_preadv(&read, self->file, &iov, 1, 0);
	read.aio_data = 8;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &read));
	EXPECT_EQ(IOCB_CMD_PREADV, ticker_info(self->file).opcode);
	EXPECT_EQ(8, ticker_info(self->file).user_data);
	prep_pwritev(&write, self->file, &iov, 1, 0);
	write.aio_data = 9;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &write));
	EXPECT_EQ(IOCB_CMD_PWRITEV, ticker_info(self->file).opcode);
	EXPECT_EQ(9, ticker_info(self->file).user_data);
	EXPECT_EQ(1, ticker_info(self->file).attempts);
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &read));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &write));
}

TEST_F(ticker, retry_sees_flags_and_priority)
{
	/* This is IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 3). */
	const __u16 priority = 2 << 13 | 3;
	struct iocb iocb;

	prep_pread(&iocb, self->file, self->buf, 5, 0);
	iocb.aio_data = 7;
	iocb.aio_rw_flags = RWF_NOWAIT;
	iocb.aio_flags = IOCB_FLAG_IOPRIO;
	iocb.aio_reqprio = priority;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	expect_end(_metadata, self, &iocb, -EAGAIN, 0);
	/* RWF_NOWAIT and IOCB_NOWAIT are the same bit. */
	EXPECT_EQ(RWF_NOWAIT, ticker_info(self->file).iocb_flags & RWF_NOWAIT);
	EXPECT_EQ(priority, ticker_info(self->file).ioprio);
}

TEST_F(ticker, no_bytes)
{
	struct iocb iocb;

	ASSERT_EQ(1, submit_read(self, &iocb, 0));
	expect_end(_metadata, self, &iocb, 0, 0);
	ASSERT_EQ(1, submit_write(self, &iocb, 0));
	expect_end(_metadata, self, &iocb, 0, 0);
}

TEST_F(ticker, bad_buffer_is_EFAULT)
{
	struct iocb iocb;

	prep_pread(&iocb, self->file, NULL, 4, 0);
	ASSERT_EQ(1, submit(self, &iocb));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, -EFAULT, 0);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, bytes_read_precede_EFAULT)
{
	char *guarded = map_guarded(1);
	struct iocb iocb;

	ASSERT_NE(NULL, guarded);
	prep_pread(&iocb, self->file, guarded + PAGE - 4, 8, 0);
	ASSERT_EQ(1, submit(self, &iocb));
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(waits_again(self->file, 2));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 4, 0);
}

TEST_F(ticker, arguments_are_checked)
{
	const int readonly = open(variant->node, O_RDONLY | O_CLOEXEC);
	struct iocb iocb;

	ASSERT_LE(0, readonly);
	prep_pwrite(&iocb, readonly, self->buf, 4, 0);
	EXPECT_EQ(-EBADF, kaio_submit_one(self->fd, self->ctx, &iocb));
	prep_pread(&iocb, readonly, self->buf, 4, -1);
	EXPECT_EQ(-EINVAL, kaio_submit_one(self->fd, self->ctx, &iocb));
	prep_pread(&iocb, readonly, (void *)KERNEL_ADDR, 4, 0);
	EXPECT_EQ(-EFAULT, kaio_submit_one(self->fd, self->ctx, &iocb));
	close(readonly);
	EXPECT_EQ(0, ticker_info(self->file).retries);
}

TEST_F(ticker, O_NONBLOCK_read)
{
	struct iocb iocb;

	ASSERT_EQ(0, fcntl(self->file, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(1, submit_read(self, &iocb, 10));
	expect_end(_metadata, self, &iocb, -EAGAIN, 0);
	/*
	 * The read has ended, so kaio cancelled the kick that the provider
	 * owed.
	 */
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
	EXPECT_EQ(0, ticker_info(self->file).waiting);
}

TEST_F(ticker, RWF_NOWAIT_read)
{
	struct iocb iocb;

	ASSERT_TRUE(tick(self->file));
	prep_pread(&iocb, self->file, self->buf, 10, 0);
	iocb.aio_rw_flags = RWF_NOWAIT;
	ASSERT_EQ(1, submit(self, &iocb));
	expect_end(_metadata, self, &iocb, 4, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	expect_end(_metadata, self, &iocb, -EAGAIN, 0);
	EXPECT_EQ(2, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).waiting);
}

/* Expects that @iocb, a write of five bytes, waits for a tick. */
static void expect_queued_write(struct __test_metadata *const _metadata,
				FIXTURE_DATA(ticker) *self, const struct iocb *iocb)
{
	EXPECT_TRUE(no_event(self));
	EXPECT_EQ(0, ticker_info(self->file).cancels);
	EXPECT_EQ(1, ticker_info(self->file).queued);
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, iocb, 5, 1);
}

/*
 * A queued write does not make its submitter wait, so O_NONBLOCK does not end
 * it.
 */
TEST_F(ticker, O_NONBLOCK_write_is_queued)
{
	struct iocb iocb;

	ASSERT_EQ(0, fcntl(self->file, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	expect_queued_write(_metadata, self, &iocb);
}

TEST_F(ticker, RWF_NOWAIT_write_is_queued)
{
	struct iocb iocb;

	prep_pwrite(&iocb, self->file, self->buf, 5, 0);
	iocb.aio_rw_flags = RWF_NOWAIT;
	ASSERT_EQ(1, submit(self, &iocb));
	expect_queued_write(_metadata, self, &iocb);
}

/*
 * The tests below check kicks.
 */

TEST_F(ticker, kick_before_retry_returns)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KICK_EARLY));
	ASSERT_EQ(1, submit_read(self, &iocb, 4));
	EXPECT_TRUE(waits_again(self->file, 2));
	EXPECT_EQ(1, ticker_info(self->file).kicks);
	EXPECT_TRUE(no_event(self));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 4, 0);
	EXPECT_EQ(3, ticker_info(self->file).retries);
}

TEST_F(ticker, second_kick_is_refused)
{
	struct iocb iocb;

	if (!set_early_violation(_metadata, self->file, variant, KAIO_TICKER_KICK_EARLY))
		return;
	ASSERT_EQ(1, submit_read(self, &iocb, 4));
	EXPECT_TRUE(waits_again(self->file, 2));
	EXPECT_TRUE(no_event(self));
	EXPECT_EQ(2, ticker_info(self->file).retries);
	EXPECT_EQ(2, ticker_info(self->file).kicks);
	EXPECT_TRUE(log_says(self->log, NO_KICK));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 4, 0);
}

/*
 * A build with debug assertions reports the kick, and other builds refuse the
 * flag.
 */
TEST_F(ticker, kick_after_end_is_reported)
{
	struct iocb iocb;

	if (!set_late_violation(_metadata, self->file, variant,
				KAIO_TICKER_KEEP | KAIO_TICKER_TWICE_LATE))
		return;
	ASSERT_EQ(1, submit_read(self, &iocb, 4));
	ASSERT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	expect_end(_metadata, self, &iocb, -ECANCELED, 0);
	ASSERT_TRUE(tick(self->file));
	EXPECT_TRUE(wait_until(ticker_info(self->file).kicks == 2));
	EXPECT_TRUE(wait_until(log_says(self->log, NO_KICK)));
	EXPECT_EQ(1, ticker_info(self->file).dtors);
}

int main(int argc, char **argv)
{
	return run_with_modules(argc, argv);
}
