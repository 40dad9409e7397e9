// SPDX-License-Identifier: GPL-2.0
/*
 * Tests the cancel method of a provider (include/linux/kaio.h). KAIO_CANCEL
 * calls it, and so does the end of a context.
 */
#include "provider_fixture.h"

/* Expects that the cancel ends the request before it returns. */
static void expect_cancelled(struct __test_metadata *const _metadata, FIXTURE_DATA(ticker) *self,
			     const struct iocb *iocb)
{
	bool ended;

	EXPECT_EQ(-EINPROGRESS, kaio_cancel_ended(self->fd, self->ctx, iocb, &ended));
	EXPECT_TRUE(ended);
	expect_end(_metadata, self, iocb, -ECANCELED, 0);
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).waiting);
	EXPECT_EQ(0, ticker_info(self->file).queued);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, waiting_read)
{
	struct iocb iocb;

	ASSERT_EQ(1, submit_read(self, &iocb, 10));
	expect_cancelled(_metadata, self, &iocb);
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb));
}

TEST_F(ticker, result_has_bytes_read)
{
	struct iocb iocb;

	ASSERT_EQ(1, submit_read(self, &iocb, 10));
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(waits_again(self->file, 2));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	expect_end(_metadata, self, &iocb, 4, 0);
	EXPECT_EQ(0, memcmp(self->buf, "abcd", 4));
}

TEST_F(ticker, queued_write)
{
	struct iocb iocb;

	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	/* The provider took the request, but did not do it. */
	expect_cancelled(_metadata, self, &iocb);
}

/*
 * The result has the bytes of the attempt before the one that the provider gave
 * back, and no others.
 */
TEST_F(ticker, result_has_bytes_of_earlier_attempt)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_SOME_FIRST));
	ASSERT_EQ(1, submit_write(self, &iocb, 8));
	ASSERT_TRUE(wait_for(self->file, waiting, 1));
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(wait_for(self->file, queued, 1));
	EXPECT_EQ(8 - KAIO_TICKER_SOME, ticker_info(self->file).left);
	/*
	 * The attempt may still be returning to kaio, so repeat the cancel
	 * until it succeeds.
	 */
	EXPECT_TRUE(wait_until(kaio_cancel(self->fd, self->ctx, &iocb) == -EINPROGRESS));
	expect_end(_metadata, self, &iocb, KAIO_TICKER_SOME, 0);
}

TEST_F(ticker, queued_write_is_kept)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KEEP));
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb));
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_TRUE(no_event(self));
	/* A second cancel asks the provider again. */
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb));
	EXPECT_EQ(2, ticker_info(self->file).cancels);
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 5, 1);
}

TEST_F(ticker, second_cancel_is_accepted)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KEEP));
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, ticker_set(self->file, 0));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	expect_end(_metadata, self, &iocb, -ECANCELED, 0);
}

/*
 * The request ends. The provider keeps its part of the request until it kicks.
 */
TEST_F(ticker, waiting_read_is_kept)
{
	cancel_kept_read(_metadata, self, 10);
	EXPECT_EQ(1, ticker_info(self->file).waiting);
	EXPECT_EQ(0, ticker_info(self->file).dtors);
	ASSERT_TRUE(tick(self->file));
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
	EXPECT_EQ(1, ticker_info(self->file).retries);
	EXPECT_TRUE(no_event(self));
}

TEST_F(ticker, during_retry)
{
	struct iocb iocb;
	bool ended;

	ASSERT_EQ(1, submit_read(self, &iocb, 10));
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_STALL));
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(wait_for(self->file, stalled, 1));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel_ended(self->fd, self->ctx, &iocb, &ended));
	EXPECT_FALSE(ended);
	EXPECT_TRUE(no_event(self));
	/* kaio does not call the cancel method while retry runs. */
	EXPECT_EQ(0, ticker_info(self->file).cancels);
	ASSERT_EQ(0, ticker_set(self->file, 0));
	/*
	 * The attempt returned the bytes that were available, and is not
	 * repeated.
	 */
	expect_end(_metadata, self, &iocb, 4, 0);
	EXPECT_EQ(2, ticker_info(self->file).retries);
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

/*
 * Submits a write that waits for a tick, and cancels it during its retry. The
 * provider refuses that.
 */
static bool cancel_refused_during_retry(FIXTURE_DATA(ticker) *self, struct iocb *iocb)
{
	return !ticker_set(self->file, KAIO_TICKER_WAIT_FIRST) &&
	       submit_write(self, iocb, 5) == 1 &&
	       wait_for(self->file, waiting, 1) &&
	       !ticker_set(self->file, KAIO_TICKER_STALL | KAIO_TICKER_KEEP) &&
	       tick(self->file) &&
	       wait_for(self->file, stalled, 1) &&
	       kaio_cancel(self->fd, self->ctx, iocb) == -EINPROGRESS &&
	       !ticker_set(self->file, KAIO_TICKER_KEEP) &&
	       wait_for(self->file, queued, 1) &&
	       wait_for(self->file, cancels, 1);
}

TEST_F(ticker, refused_during_retry_and_repeated)
{
	struct iocb iocb;

	ASSERT_TRUE(cancel_refused_during_retry(self, &iocb));
	ASSERT_EQ(0, ticker_set(self->file, 0));
	/*
	 * The refusal may still be returning to kaio, so repeat the cancel
	 * until it succeeds.
	 */
	EXPECT_TRUE(wait_until(kaio_cancel(self->fd, self->ctx, &iocb) == -EINPROGRESS));
	expect_end(_metadata, self, &iocb, -ECANCELED, 0);
	EXPECT_EQ(2, ticker_info(self->file).cancels);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, refused_during_retry_and_destroyed)
{
	struct iocb iocb;

	ASSERT_TRUE(cancel_refused_during_retry(self, &iocb));
	ASSERT_EQ(0, ticker_set(self->file, 0));
	/*
	 * No tick comes. The call returns because the provider gives the write
	 * back.
	 */
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(0, ticker_info(self->file).completions);
	EXPECT_EQ(0, ticker_info(self->file).queued);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

struct call {
	int fd;
	__u64 ctx;
	struct iocb *iocb;
};

static long call_submit(void *arg)
{
	struct call *call = arg;

	return kaio_submit_one(call->fd, call->ctx, call->iocb);
}

static long call_destroy(void *arg)
{
	struct call *call = arg;

	return kaio_destroy(call->fd, call->ctx);
}

static bool context_is_gone(FIXTURE_DATA(ticker) *self)
{
	struct io_event event;

	return wait_until(kaio_getevents(self->fd, self->ctx, 0, 1, &event, &no_wait) == -EINVAL);
}

/* A request, a thread that submits it, and one that destroys the context meanwhile. */
struct destruction {
	struct call call;
	struct sleeper submitter;
	struct sleeper destroyer;
};

/* Destroys the context while the first attempt of a request stalls. */
static void destroy_during_retry(struct __test_metadata *const _metadata,
				 FIXTURE_DATA(ticker) *self, struct destruction *d,
				 struct iocb *iocb)
{
	d->call = (struct call){ .fd = self->fd, .ctx = self->ctx, .iocb = iocb };
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_STALL));
	ASSERT_TRUE(start_call(&d->submitter, call_submit, &d->call));
	ASSERT_TRUE(wait_for(self->file, stalled, 1));
	ASSERT_TRUE(start_call(&d->destroyer, call_destroy, &d->call));
	ASSERT_TRUE(context_is_gone(self));
}

/* Lets the attempt go on, and waits for both threads. */
static void end_retry(struct __test_metadata *const _metadata,
		      FIXTURE_DATA(ticker) *self, struct destruction *d)
{
	ASSERT_EQ(0, ticker_set(self->file, 0));
	EXPECT_EQ(1, woken(&d->submitter));
	EXPECT_EQ(0, woken(&d->destroyer));
}

TEST_F(ticker, destroy_during_retry_that_queues)
{
	struct destruction d;
	struct iocb iocb;

	prep_pwrite(&iocb, self->file, self->buf, 5, 0);
	destroy_during_retry(_metadata, self, &d, &iocb);
	EXPECT_EQ(0, ticker_info(self->file).cancels);
	end_retry(_metadata, self, &d);
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).queued);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, destroy_during_retry_that_waits)
{
	struct destruction d;
	struct iocb iocb;

	prep_pread(&iocb, self->file, self->buf, 5, 0);
	destroy_during_retry(_metadata, self, &d, &iocb);
	end_retry(_metadata, self, &d);
	EXPECT_EQ(0, ticker_info(self->file).waiting);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
	EXPECT_EQ(1, ticker_info(self->file).retries);
}

TEST_F(ticker, destroy_cancels_all)
{
	struct iocb reads[3], writes[3];
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(1, submit_read(self, &reads[i], 10));
		ASSERT_EQ(1, submit_write(self, &writes[i], 5));
	}
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(6, ticker_info(self->file).cancels);
	EXPECT_TRUE(wait_for(self->file, dtors, 6));
	EXPECT_EQ(0, ticker_info(self->file).waiting);
	EXPECT_EQ(0, ticker_info(self->file).queued);
}

TEST_F(ticker, destroy_waits_for_kept_write)
{
	struct call call = { .fd = self->fd, .ctx = self->ctx };
	struct sleeper destroyer;
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KEEP));
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	ASSERT_TRUE(start_call(&destroyer, call_destroy, &call));
	ASSERT_TRUE(wait_for(self->file, cancels, 1));
	/* The call has not returned. */
	EXPECT_EQ(-ENOMSG, destroyer.ret);
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(0, woken(&destroyer));
	EXPECT_EQ(1, ticker_info(self->file).completions);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, exit_cancels_all)
{
	int status, i;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child) {
		static struct iocb iocbs[4];
		int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
		__u64 ctx;

		if (fd < 0 || kaio_setup(fd, NR_EVENTS, &ctx))
			_exit(1);
		for (i = 0; i < 4; i++) {
			if (i % 2)
				prep_pread(&iocbs[i], self->file, self->buf, 10, 0);
			else
				prep_pwrite(&iocbs[i], self->file, self->buf, 10, 0);
			if (kaio_submit_one(fd, ctx, &iocbs[i]) != 1)
				_exit(2);
		}
		raise(SIGKILL);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_TRUE(wait_for(self->file, dtors, 4));
	EXPECT_EQ(4, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).waiting);
	EXPECT_EQ(0, ticker_info(self->file).queued);
}

TEST_F(ticker, munmap_of_ring_cancels_all)
{
	struct iocb read, write;

	ASSERT_EQ(1, submit_read(self, &read, 10));
	ASSERT_EQ(1, submit_write(self, &write, 5));
	ASSERT_EQ(0, munmap(ring_of(self->ctx), PAGE));
	EXPECT_TRUE(wait_for(self->file, dtors, 2));
	EXPECT_EQ(2, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).waiting);
	EXPECT_EQ(0, ticker_info(self->file).queued);
}

TEST_F(ticker, exec_cancels_all)
{
	int status, ends[2];
	pid_t child;

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		/*
		 * The device stays open across the exec. The executed program
		 * runs until the pipe is closed.
		 */
		int fd = open(KAIO_DEVICE, O_RDWR);
		struct iocb read, write;
		__u64 ctx;

		if (fd < 0 || kaio_setup(fd, NR_EVENTS, &ctx) || dup2(ends[0], 0))
			_exit(1);
		prep_pread(&read, self->file, self->buf, 10, 0);
		prep_pwrite(&write, self->file, self->buf, 10, 0);
		if (kaio_submit_one(fd, ctx, &read) != 1 || kaio_submit_one(fd, ctx, &write) != 1)
			_exit(2);
		execl("/bin/cat", "cat", NULL);
		_exit(3);
	}
	close(ends[0]);
	EXPECT_TRUE(wait_for(self->file, dtors, 2));
	EXPECT_EQ(0, waitpid(child, &status, WNOHANG));
	EXPECT_EQ(2, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).waiting);
	EXPECT_EQ(0, ticker_info(self->file).queued);
	close(ends[1]);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
}

int main(int argc, char **argv)
{
	return run_with_modules(argc, argv);
}
