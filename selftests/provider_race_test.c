// SPDX-License-Identifier: GPL-2.0
/*
 * Runs ticks of a provider (include/linux/kaio.h) during submissions, cancels,
 * signals and the ends of contexts.
 */
#include "provider_fixture.h"

/*
 * Each request ends once while ticks, submissions and cancels run at the same
 * time. On a slow machine all requests may end before the first cancel; then
 * the ticks become slower.
 */
TEST_F(ticker, ticks_submissions_and_cancels)
{
	const __s64 end = now_ns() + NSEC_PER_SEC;
	const __s64 limit = now_ns() + PATIENCE_SECONDS * NSEC_PER_SEC;
	struct io_event events[NR_EVENTS];
	static struct iocb iocbs[NR_EVENTS];
	long submitted = 0, ended = 0, cancelled = 0, n, i;
	bool slower = false;
	__u32 seed = 1;

	ASSERT_EQ(0, ticker_run(self->file, 200000, 0));
	while (now_ns() < end || (!cancelled && now_ns() < limit)) {
		if (!slower && now_ns() >= end) {
			slower = true;
			ASSERT_EQ(0, ticker_run(self->file, 20 * NSEC_PER_MSEC, 0));
		}
		for (i = 0; i < 16; i++) {
			iocbs[i].aio_data = 7;
			n = next_random(&seed) % 2 ? submit_read(self, &iocbs[i], 1 + i) :
						     submit_write(self, &iocbs[i], 1 + i);
			ASSERT_EQ(1, n);
			submitted++;
		}
		for (i = 0; i < 16; i++)
			if (next_random(&seed) % 2 &&
			    kaio_cancel(self->fd, self->ctx, &iocbs[i]) == -EINPROGRESS)
				cancelled++;
		n = kaio_getevents(self->fd, self->ctx, 16, 16, events, &patience);
		ASSERT_EQ(16, n);
		ended += n;
	}
	EXPECT_EQ(submitted, ended);
	EXPECT_LT(0, cancelled);
	EXPECT_TRUE(wait_until(ticker_info(self->file).dtors == (__u64)submitted));
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 1, events, &no_wait));
}

struct ticking {
	int file;
	__s64 end;
};

static long tick_until_end(void *arg)
{
	const struct ticking *s = arg;

	while (now_ns() < s->end)
		kaio_ioctl(s->file, KAIO_TICKER_TICK, NULL);
	return 0;
}

/* The kernel warns if the timer is started while it is restarted. */
TEST_F(ticker, two_threads_set_timer)
{
	struct ticking s = { .file = self->file, .end = now_ns() + NSEC_PER_SEC / 2 };
	struct sleeper other;
	struct iocb iocb;
	int round;

	ASSERT_TRUE(start_call(&other, tick_until_end, &s));
	for (round = 0; now_ns() < s.end; round++)
		ASSERT_EQ(0, ticker_run(self->file, round % 2 ? KAIO_TICKER_MIN_PERIOD_NS : 0, 0));
	EXPECT_EQ(0, woken(&other));
	ASSERT_EQ(0, ticker_set(self->file, 0));
	EXPECT_FALSE(log_says(self->log, "WARNING"));
	/* The timer still ticks. */
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 5, ticker_info(self->file).ticks);
}

TEST_F(ticker, contexts_end_during_ticks)
{
	static struct iocb iocbs[8];
	const int rounds = 100;
	int round, i;
	__u64 ctx;

	ASSERT_EQ(0, ticker_run(self->file, 50000, 0));
	for (round = 0; round < rounds; round++) {
		ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &ctx));
		for (i = 0; i < 8; i++) {
			if (i % 2)
				prep_pread(&iocbs[i], self->file, self->buf, 10, 0);
			else
				prep_pwrite(&iocbs[i], self->file, self->buf, 10, 0);
			ASSERT_EQ(1, kaio_submit_one(self->fd, ctx, &iocbs[i]));
		}
		dawdle(round);
		ASSERT_EQ(0, kaio_destroy(self->fd, ctx));
	}
	EXPECT_TRUE(wait_until(ticker_info(self->file).dtors == 8ULL * rounds));
}

TEST_F(ticker, signals_interrupt_transfers)
{
	const __s64 end = now_ns() + NSEC_PER_SEC / 2;
	long calls = 0, interrupted = 0;
	ssize_t ret;

	ASSERT_TRUE(catch_signal(SIGALRM, 0));
	ASSERT_EQ(0, ticker_run(self->file, 300000, 0));
	ASSERT_TRUE(alarm_every(1));
	while (now_ns() < end || !interrupted) {
		ret = calls % 2 ? read(self->file, self->buf, 10) :
				  write(self->file, self->buf, 10);
		ASSERT_TRUE(ret > 0 || errno == EINTR);
		interrupted += ret < 0;
		calls++;
	}
	ASSERT_TRUE(alarm_every(0));
	EXPECT_TRUE(wait_until(ticker_info(self->file).dtors == (__u64)calls));
	EXPECT_EQ(0, ticker_info(self->file).waiting);
	EXPECT_EQ(0, ticker_info(self->file).queued);
}

int main(int argc, char **argv)
{
	return run_with_modules(argc, argv);
}
