// SPDX-License-Identifier: GPL-2.0
/*
 * Tests read(2), write(2) and native AIO on the files of a provider
 * (include/linux/kaio.h).
 */
#include "provider_fixture.h"

/*
 * The tests below call read(2) and write(2).
 */

struct transfer {
	int file;
	void *buf;
	size_t len;
};

static long call_read(void *arg)
{
	struct transfer *t = arg;
	const ssize_t ret = read(t->file, t->buf, t->len);

	return ret < 0 ? -errno : ret;
}

static long call_write(void *arg)
{
	struct transfer *t = arg;
	const ssize_t ret = write(t->file, t->buf, t->len);

	return ret < 0 ? -errno : ret;
}

/*
 * The provider has queued the write, and gives it back so that the caller need
 * not wait.
 */
TEST_F(ticker, pwritev2_with_RWF_NOWAIT)
{
	const struct iovec iov = { .iov_base = self->buf, .iov_len = 10 };

	EXPECT_EQ(-1, pwritev2(self->file, &iov, 1, -1, RWF_NOWAIT));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).queued);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, write_with_O_NONBLOCK)
{
	ASSERT_EQ(0, fcntl(self->file, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-1, write(self->file, self->buf, 10));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).queued);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
	/* A write that completes in the attempt is not cancelled. */
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_COMPLETE_EARLY));
	EXPECT_EQ(10, write(self->file, self->buf, 10));
	EXPECT_EQ(1, ticker_info(self->file).cancels);
}

TEST_F(ticker, preadv2_with_RWF_NOWAIT)
{
	const struct iovec iov = { .iov_base = self->buf, .iov_len = 10 };

	EXPECT_EQ(-1, preadv2(self->file, &iov, 1, -1, RWF_NOWAIT));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(4, preadv2(self->file, &iov, 1, -1, RWF_NOWAIT));
	EXPECT_EQ(0, ticker_info(self->file).waiting);
}

TEST_F(ticker, read_waits_for_all_bytes)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 8 };
	struct sleeper reader;

	ASSERT_TRUE(fall_asleep(&reader, call_read, &t));
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(waits_again(self->file, 2));
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(8, woken(&reader));
	EXPECT_EQ(0, memcmp(self->buf, "abcdefgh", 8));
	EXPECT_EQ(3, ticker_info(self->file).retries);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, read_of_available_bytes)
{
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(4, read(self->file, self->buf, 4));
	EXPECT_EQ(1, ticker_info(self->file).retries);
	EXPECT_EQ(0, ticker_info(self->file).kicks);
	EXPECT_EQ(1, ticker_info(self->file).dtors);
}

/* read(2) has no submitter that could set user data. */
TEST_F(ticker, read_has_no_user_data)
{
	struct iocb iocb;

	ASSERT_EQ(1, submit_read(self, &iocb, 4));
	EXPECT_EQ(7, ticker_info(self->file).user_data);
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 4, 0);
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(4, read(self->file, self->buf, 4));
	EXPECT_EQ(0, ticker_info(self->file).user_data);
	EXPECT_EQ(IOCB_CMD_PREAD, ticker_info(self->file).opcode);
}

TEST_F(ticker, read_with_O_NONBLOCK)
{
	ASSERT_EQ(0, fcntl(self->file, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-1, read(self->file, self->buf, 10));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, ticker_info(self->file).waiting);
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(4, read(self->file, self->buf, 10));
	EXPECT_TRUE(wait_for(self->file, dtors, 2));
}

/* Expects that a signal interrupts @call while it sleeps. */
static void expect_EINTR(struct __test_metadata *const _metadata, long (*call)(void *arg),
			 struct transfer *t)
{
	struct sleeper sleeper;

	ASSERT_TRUE(catch_signal(SIGUSR1, 0));
	ASSERT_TRUE(fall_asleep(&sleeper, call, t));
	pthread_kill(sleeper.thread, SIGUSR1);
	EXPECT_EQ(-EINTR, woken(&sleeper));
}

TEST_F(ticker, signal_interrupts_read)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 8 };

	expect_EINTR(_metadata, call_read, &t);
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).waiting);
	EXPECT_EQ(1, ticker_info(self->file).dtors);
}

TEST_F(ticker, signal_with_SA_RESTART_restarts_read)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 4 };
	struct sleeper reader;

	ASSERT_TRUE(catch_signal(SIGUSR1, SA_RESTART));
	ASSERT_TRUE(fall_asleep(&reader, call_read, &t));
	pthread_kill(reader.thread, SIGUSR1);
	EXPECT_TRUE(wait_until(signals_seen()));
	/* The restarted call makes another request. */
	EXPECT_TRUE(waits_again(self->file, 2));
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(4, woken(&reader));
}

TEST_F(ticker, interrupted_read_returns_bytes_read)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 8 };
	struct sleeper reader;

	ASSERT_TRUE(catch_signal(SIGUSR1, 0));
	ASSERT_TRUE(fall_asleep(&reader, call_read, &t));
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(waits_again(self->file, 2));
	pthread_kill(reader.thread, SIGUSR1);
	EXPECT_EQ(4, woken(&reader));
}

TEST_F(ticker, signal_interrupts_kept_read)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 8 };

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KEEP));
	expect_EINTR(_metadata, call_read, &t);
	EXPECT_EQ(1, ticker_info(self->file).waiting);
	EXPECT_EQ(0, ticker_info(self->file).dtors);
	ASSERT_TRUE(tick(self->file));
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, write_waits_for_completion)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 5 };
	struct sleeper writer;

	ASSERT_TRUE(fall_asleep(&writer, call_write, &t));
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(5, woken(&writer));
	EXPECT_EQ(1, ticker_info(self->file).completions);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, signal_interrupts_write)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 5 };

	expect_EINTR(_metadata, call_write, &t);
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).queued);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

/*
 * Interrupts a write(2) of 8 bytes in its second attempt, after the first one
 * has taken some bytes. Returns the result of the call.
 */
static long interrupt_second_attempt(int file, void *buf)
{
	struct transfer t = { .file = file, .buf = buf, .len = 8 };
	struct sleeper writer;

	if (!catch_signal(SIGUSR1, 0) || ticker_set(file, KAIO_TICKER_SOME_FIRST) ||
	    !fall_asleep(&writer, call_write, &t) || !wait_for(file, waiting, 1) ||
	    !tick(file) || !wait_for(file, queued, 1))
		return -EPROTO;
	pthread_kill(writer.thread, SIGUSR1);
	return woken(&writer);
}

TEST_F(ticker, interrupted_write_returns_bytes_of_earlier_attempt)
{
	EXPECT_EQ(KAIO_TICKER_SOME, interrupt_second_attempt(self->file, self->buf));
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

/* A kept write uses the memory of the caller, so the call has to wait. */
TEST_F(ticker, signal_does_not_interrupt_kept_write)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 5 };
	struct sleeper writer;

	ASSERT_TRUE(catch_signal(SIGUSR1, 0));
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KEEP));
	ASSERT_TRUE(fall_asleep(&writer, call_write, &t));
	pthread_kill(writer.thread, SIGUSR1);
	EXPECT_TRUE(wait_for(self->file, cancels, 1));
	EXPECT_EQ(1, ticker_info(self->file).queued);
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(5, woken(&writer));
}

TEST_F(ticker, early_completion_and_early_kick)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 4 };
	struct sleeper reader;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_COMPLETE_EARLY));
	EXPECT_EQ(5, write(self->file, self->buf, 5));
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KICK_EARLY));
	ASSERT_TRUE(fall_asleep(&reader, call_read, &t));
	EXPECT_TRUE(wait_for(self->file, retries, 3));
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(4, woken(&reader));
	EXPECT_TRUE(wait_for(self->file, dtors, 2));
}

/*
 * Native AIO knows nothing of providers, so its submitters sleep.
 */

struct native_call {
	aio_context_t ctx;
	struct iocb iocb;
};

static long call_native_submit(void *arg)
{
	struct native_call *call = arg;
	struct iocb *iocb = &call->iocb;

	return native_submit(call->ctx, 1, &iocb);
}

/*
 * Expects that the submit call sleeps until the file ticks: a read waits, and a
 * write is queued. Returns the result of the request.
 */
static __s64 result_after_tick(struct __test_metadata *const _metadata, int file,
			       struct native_call *call)
{
	const bool writes = call->iocb.aio_lio_opcode == IOCB_CMD_PWRITE;
	struct sleeper submitter;
	struct io_event event;

	ASSERT_TRUE(fall_asleep(&submitter, call_native_submit, call));
	ASSERT_TRUE(writes ? wait_for(file, queued, 1) : wait_for(file, waiting, 1));
	ASSERT_TRUE(tick(file));
	EXPECT_EQ(1, woken(&submitter));
	EXPECT_EQ(1, native_getevents(call->ctx, 1, 1, &event, &patience));
	return event.res;
}

TEST_F(ticker, native_aio_sleeps_in_submit)
{
	struct native_call call = {};

	ASSERT_EQ(0, native_setup(8, &call.ctx));
	prep_pread(&call.iocb, self->file, self->buf, 4, 0);
	EXPECT_EQ(4, result_after_tick(_metadata, self->file, &call));
	EXPECT_EQ(0, memcmp(self->buf, "abcd", 4));
	prep_pwrite(&call.iocb, self->file, self->buf, 5, 0);
	EXPECT_EQ(5, result_after_tick(_metadata, self->file, &call));
	EXPECT_EQ(0, native_destroy(call.ctx));
}

/*
 * The tests below use files with a position.
 */

FIXTURE(seekable)
{
	int file;
	char buf[64];
};

FIXTURE_SETUP(seekable)
{
	ASSERT_TRUE(wait_until(!access(KAIO_TICKER_C_SEEK, R_OK | W_OK)));
	self->file = open(KAIO_TICKER_C_SEEK, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, ticker_set(self->file, 0));
}

FIXTURE_TEARDOWN(seekable)
{
	close(self->file);
}

static off_t position(int file)
{
	return lseek(file, 0, SEEK_CUR);
}

TEST_F(seekable, read_moves_position)
{
	ASSERT_EQ(100, lseek(self->file, 100, SEEK_SET));
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(3, read(self->file, self->buf, 3));
	EXPECT_EQ(100, ticker_info(self->file).pos);
	EXPECT_EQ(103, position(self->file));
	EXPECT_EQ(1, pread(self->file, self->buf, 1, 200));
	EXPECT_EQ(103, position(self->file));
}

TEST_F(seekable, write_moves_position)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 5 };
	struct sleeper writer;

	ASSERT_TRUE(fall_asleep(&writer, call_write, &t));
	EXPECT_EQ(0, position(self->file));
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(5, woken(&writer));
	EXPECT_EQ(5, position(self->file));
}

/*
 * The bytes that the provider took and gave back do not count: the caller
 * writes them again.
 */
TEST_F(seekable, interrupted_write_moves_position_by_result)
{
	ASSERT_EQ(KAIO_TICKER_SOME, interrupt_second_attempt(self->file, self->buf));
	EXPECT_EQ(KAIO_TICKER_SOME, position(self->file));
}

TEST_F(seekable, interrupted_write_of_nothing_keeps_position)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 5 };

	expect_EINTR(_metadata, call_write, &t);
	EXPECT_EQ(0, position(self->file));
}

/*
 * This provider has only reads. Writes go to the file operations, which take
 * them at once.
 */
TEST(writes_without_provider_use_file_operations)
{
	int fd = open_kaio(_metadata), file;
	struct io_event event;
	struct iocb iocb;
	char buf[64] = {};
	__u64 ctx;

	if (fd < 0)
		return;
	ASSERT_TRUE(wait_until(!access(KAIO_TICKER_C_READS, R_OK | W_OK)));
	file = open(KAIO_TICKER_C_READS, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ticker_set(file, 0));
	ASSERT_EQ(0, kaio_setup(fd, NR_EVENTS, &ctx));
	prep_pwrite(&iocb, file, buf, 5, 0);
	EXPECT_EQ(5, kaio_do(fd, ctx, &iocb));
	EXPECT_EQ(5, write(file, buf, 5));
	EXPECT_EQ(0, ticker_info(file).retries);
	prep_pread(&iocb, file, buf, 4, 0);
	ASSERT_EQ(1, kaio_submit_one(fd, ctx, &iocb));
	EXPECT_EQ(1, ticker_info(file).retries);
	ASSERT_TRUE(tick(file));
	ASSERT_EQ(1, kaio_wait(fd, ctx, 1, &event));
	EXPECT_EQ(4, event.res);
	EXPECT_EQ(0, kaio_destroy(fd, ctx));
	close(file);
	close(fd);
}

int main(int argc, char **argv)
{
	return run_with_modules(argc, argv);
}
