// SPDX-License-Identifier: GPL-2.0
/*
 * Tests requests that a provider (include/linux/kaio.h) completes.
 */
#include "provider_fixture.h"

TEST_F(ticker, write_completes_in_timer)
{
	struct iocb iocb;

	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	EXPECT_TRUE(no_event(self));
	EXPECT_EQ(1, ticker_info(self->file).queued);
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 5, 1);
	EXPECT_EQ(1, kaio_stat(self->fd, "irq"));
	EXPECT_EQ(1, ticker_info(self->file).retries);
	EXPECT_EQ(1, ticker_info(self->file).completions);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, before_retry_returns)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_COMPLETE_EARLY));
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	expect_end(_metadata, self, &iocb, 5, 0);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
	EXPECT_EQ(0, ticker_info(self->file).ticks);
}

TEST_F(ticker, before_retry_returns_with_res2)
{
	struct iocb iocb;

	/* The ticker returns the number of the last tick as res2. */
	ASSERT_TRUE(tick(self->file));
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_COMPLETE_EARLY));
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	expect_end(_metadata, self, &iocb, 5, 1);
}

/* An event has no system call that the kernel could restart. */
TEST_F(ticker, ERESTARTSYS_becomes_EINTR)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_RESTART));
	ASSERT_EQ(1, submit_read(self, &iocb, 4));
	expect_end(_metadata, self, &iocb, -EINTR, 0);
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_RESTART));
	ASSERT_EQ(1, submit_write(self, &iocb, 4));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, -EINTR, 1);
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_RESTART | KAIO_TICKER_COMPLETE_EARLY));
	ASSERT_EQ(1, submit_write(self, &iocb, 4));
	expect_end(_metadata, self, &iocb, -EINTR, 1);
}

/*
 * EIOCBQUEUED as an error of the Rust interface does not promise a completion.
 */
TEST_F(ticker, error_EIOCBQUEUED)
{
	struct iocb iocb;

	if (variant->can_break_contract) {
		EXPECT_EQ(-EOPNOTSUPP, ticker_set(self->file, KAIO_TICKER_NOBODY));
		return;
	}
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_NOBODY));
	ASSERT_EQ(1, submit_read(self, &iocb, 4));
	expect_end(_metadata, self, &iocb, -EIO, 0);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
	/*
	 * A completion with that error does not promise a second completion,
	 * which kaio would report.
	 */
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_NOBODY));
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, -EIO, 1);
	EXPECT_FALSE(log_says(self->log, "no result"));
}

TEST_F(ticker, second_completion_is_refused)
{
	struct iocb iocb;

	if (!set_early_violation(_metadata, self->file, variant, KAIO_TICKER_COMPLETE_EARLY))
		return;
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	expect_end(_metadata, self, &iocb, 5, 0);
	EXPECT_EQ(2, ticker_info(self->file).completions);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
	EXPECT_TRUE(log_says(self->log, NO_COMPLETION));
}

TEST_F(ticker, completion_after_end_is_reported)
{
	struct iocb iocb;

	if (!set_late_violation(_metadata, self->file, variant, KAIO_TICKER_TWICE_LATE))
		return;
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 5, 1);
	EXPECT_TRUE(wait_until(log_says(self->log, NO_COMPLETION)));
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, one_tick_completes_one_write)
{
	struct iocb iocbs[3];
	int i;

	for (i = 0; i < 3; i++)
		ASSERT_EQ(1, submit_write(self, &iocbs[i], 5));
	for (i = 0; i < 3; i++) {
		ASSERT_TRUE(tick(self->file));
		expect_end(_metadata, self, &iocbs[i], 5, i + 1);
	}
}

int main(int argc, char **argv)
{
	return run_with_modules(argc, argv);
}
