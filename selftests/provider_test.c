// SPDX-License-Identifier: GPL-2.0
/*
 * Operations of other modules (include/linux/kaio.h), with the sample providers:
 * one in C, one in Rust, which must behave alike. Their modules are loaded for this
 * program only: kaio cannot be removed while they are there.
 */
#include "sleepers.h"
#include "../samples/kaio_ticker.h"

#define MODULE_DIR	"/"

static const char * const modules[] = { "kaio_ticker_c", "kaio_ticker_rust" };

static int load_module(const char *name)
{
	char path[64];
	long ret;
	int fd;

	snprintf(path, sizeof(path), MODULE_DIR "%s.ko", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return ret == -EEXIST ? 0 : ret;
}

static long remove_module(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

/* Once nothing of it is in use any more. */
static bool is_removed(const char *name)
{
	const bool done = wait_until(remove_module(name) != -EWOULDBLOCK);

	return done && remove_module(name) == -ENOENT;
}

FIXTURE(ticker)
{
	int fd;
	__u64 ctx;
	int file;
	int log;
	char buf[64];
};

FIXTURE_VARIANT(ticker)
{
	const char *module;
	const char *node;
	/* It can break the contract. */
	bool sloppy;
};

FIXTURE_VARIANT_ADD(ticker, c)
{
	.module = "kaio_ticker_c",
	.node = KAIO_TICKER_C,
	.sloppy = true,
};

FIXTURE_VARIANT_ADD(ticker, rust)
{
	.module = "kaio_ticker_rust",
	.node = KAIO_TICKER_RUST,
};

static long ticker_set(int file, __u32 flags)
{
	const struct kaio_ticker_config config = {
		.tick_bytes = 4,
		.flags = flags,
	};

	return kaio_ioctl(file, KAIO_TICKER_SET, &config);
}

static long ticker_run(int file, __u64 period_ns, __u32 flags)
{
	const struct kaio_ticker_config config = {
		.period_ns = period_ns,
		.tick_bytes = 4,
		.flags = flags,
	};

	return kaio_ioctl(file, KAIO_TICKER_SET, &config);
}

static struct kaio_ticker_info ticker_info(int file)
{
	struct kaio_ticker_info info = {};

	kaio_ioctl(file, KAIO_TICKER_INFO, &info);
	return info;
}

/* One tick, which is over when this returns. */
static bool tick(int file)
{
	const __u64 ticks = ticker_info(file).ticks;

	return !kaio_ioctl(file, KAIO_TICKER_TICK, NULL) &&
	       wait_until(ticker_info(file).ticks == ticks + 1);
}

#define wait_for(file, what, value)	wait_until(ticker_info(file).what == (value))

FIXTURE_SETUP(ticker)
{
	self->file = -1;
	self->fd = open_kaio(_metadata);
	if (self->fd < 0)
		return;
	ASSERT_TRUE(wait_until(!access(variant->node, R_OK | W_OK)));
	self->file = open(variant->node, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, ticker_set(self->file, 0));
	ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &self->ctx));
	self->log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ASSERT_LE(0, self->log);
	ASSERT_EQ(0, lseek(self->log, 0, SEEK_END));
}

/* Whatever a test did: all has ended once. */
FIXTURE_TEARDOWN(ticker)
{
	if (self->file >= 0) {
		ticker_set(self->file, 0);
		kaio_destroy(self->fd, self->ctx);
		while (ticker_info(self->file).waiting || ticker_info(self->file).queued)
			if (!tick(self->file))
				break;
		EXPECT_EQ(0, kaio_stat(self->fd, "inflight"));
		EXPECT_EQ(kaio_stat(self->fd, "submitted"), kaio_stat(self->fd, "completed"));
		close(self->file);
	}
	close(self->fd);
	close(self->log);
}

/* The kernel log has said @what since the test began, or does so soon. */
static bool log_says(int log, const char *what)
{
	char line[1024];
	ssize_t n;

	while ((n = read(log, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		line[n > 0 ? n : 0] = 0;
		if (strstr(line, what))
			return true;
	}
	return false;
}

#define NO_KICK		"kicks a request that is owed no kick"
#define NO_COMPLETION	"completes a request that is owed no completion"

static long submit_read(FIXTURE_DATA(ticker) *self, struct iocb *iocb, size_t n)
{
	prep_pread(iocb, self->file, self->buf, n, 0);
	iocb->aio_data = 7;
	return kaio_submit_one(self->fd, self->ctx, iocb);
}

static long submit_write(FIXTURE_DATA(ticker) *self, struct iocb *iocb, size_t n)
{
	prep_pwrite(iocb, self->file, self->buf, n, 0);
	iocb->aio_data = 7;
	return kaio_submit_one(self->fd, self->ctx, iocb);
}

/* @iocb ends with @res and @res2, and that is all that ends. */
static void expect_end(struct __test_metadata *const _metadata, FIXTURE_DATA(ticker) *self,
		       const struct iocb *iocb, __s64 res, __s64 res2)
{
	struct io_event event;

	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ((uintptr_t)iocb, event.obj);
	EXPECT_EQ(7, event.data);
	EXPECT_EQ(res, event.res);
	EXPECT_EQ(res2, event.res2);
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 1, &event, &no_wait));
}

static bool no_event(FIXTURE_DATA(ticker) *self)
{
	return stays_quiet(self->fd, self->ctx);
}

/*
 * Retry.
 */

TEST_F(ticker, a_read_waits_for_all_its_bytes)
{
	struct iocb iocb;

	ASSERT_EQ(1, submit_read(self, &iocb, 10));
	EXPECT_TRUE(no_event(self));
	EXPECT_EQ(1, ticker_info(self->file).retries);
	EXPECT_EQ(10, ticker_info(self->file).left);
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(wait_for(self->file, retries, 2));
	ASSERT_TRUE(wait_for(self->file, waiting, 1));
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

TEST_F(ticker, what_is_there_is_read_in_the_submit_call)
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

TEST_F(ticker, a_vector_is_filled_over_several_attempts)
{
	char first[3], second[5];
	const struct iovec iov[] = {
		{ .iov_base = first, .iov_len = sizeof(first) },
		{ .iov_base = second, .iov_len = sizeof(second) },
	};
	struct iocb iocb;

	prep_preadv(&iocb, self->file, iov, 2, 0);
	iocb.aio_data = 7;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(wait_for(self->file, retries, 2));
	ASSERT_TRUE(wait_for(self->file, waiting, 1));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 8, 0);
	EXPECT_EQ(0, memcmp(first, "abc", 3));
	EXPECT_EQ(0, memcmp(second, "defgh", 5));
}

/* What the methods see of a request, and go on seeing. */
TEST_F(ticker, retry_knows_the_request)
{
	struct iocb iocb;

	prep_pread(&iocb, self->file, self->buf, 10, 100);
	iocb.aio_data = 7;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(100, ticker_info(self->file).pos);
	EXPECT_EQ(7, ticker_info(self->file).user_data);
	EXPECT_EQ(IOCB_CMD_PREAD, ticker_info(self->file).opcode);
	EXPECT_EQ(1, ticker_info(self->file).attempts);
	EXPECT_EQ(0, ticker_info(self->file).iocb_flags & RWF_NOWAIT);
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(wait_for(self->file, retries, 2));
	ASSERT_TRUE(wait_for(self->file, waiting, 1));
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

TEST_F(ticker, retry_knows_a_write)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_SOME_FIRST));
	prep_pwrite(&iocb, self->file, self->buf, 8, 1000);
	iocb.aio_data = 7;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(1000, ticker_info(self->file).pos);
	EXPECT_EQ(IOCB_CMD_PWRITE, ticker_info(self->file).opcode);
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(wait_for(self->file, retries, 2));
	EXPECT_EQ(1000 + KAIO_TICKER_SOME, ticker_info(self->file).pos);
	ASSERT_TRUE(wait_for(self->file, queued, 1));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 8, 2);
}

/* And each has what the provider keeps for it to itself. */
TEST_F(ticker, retry_knows_a_vector)
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

TEST_F(ticker, retry_knows_flags_and_priority)
{
	/* IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 3) */
	const __u16 priority = 2 << 13 | 3;
	struct iocb iocb;

	prep_pread(&iocb, self->file, self->buf, 5, 0);
	iocb.aio_data = 7;
	iocb.aio_rw_flags = RWF_NOWAIT;
	iocb.aio_flags = IOCB_FLAG_IOPRIO;
	iocb.aio_reqprio = priority;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	expect_end(_metadata, self, &iocb, -EAGAIN, 0);
	/* In the kernel it is the same bit. */
	EXPECT_EQ(RWF_NOWAIT, ticker_info(self->file).iocb_flags & RWF_NOWAIT);
	EXPECT_EQ(priority, ticker_info(self->file).ioprio);
}

TEST_F(ticker, nothing_is_read_at_once)
{
	struct iocb iocb;

	ASSERT_EQ(1, submit_read(self, &iocb, 0));
	expect_end(_metadata, self, &iocb, 0, 0);
	ASSERT_EQ(1, submit_write(self, &iocb, 0));
	expect_end(_metadata, self, &iocb, 0, 0);
}

TEST_F(ticker, a_bad_buffer_is_EFAULT)
{
	struct iocb iocb;

	prep_pread(&iocb, self->file, NULL, 4, 0);
	iocb.aio_data = 7;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, -EFAULT, 0);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, what_was_read_counts_more_than_EFAULT)
{
	char *guarded = map_guarded(1);
	struct iocb iocb;

	ASSERT_NE(NULL, guarded);
	prep_pread(&iocb, self->file, guarded + PAGE - 4, 8, 0);
	iocb.aio_data = 7;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(wait_for(self->file, retries, 2));
	ASSERT_TRUE(wait_for(self->file, waiting, 1));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 4, 0);
}

TEST_F(ticker, the_arguments_are_checked_as_ever)
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

TEST_F(ticker, O_NONBLOCK_is_answered_at_once)
{
	struct iocb iocb;

	ASSERT_EQ(0, fcntl(self->file, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(1, submit_read(self, &iocb, 10));
	expect_end(_metadata, self, &iocb, -EAGAIN, 0);
	/* The provider was to kick, and need not. */
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
	EXPECT_EQ(0, ticker_info(self->file).waiting);
}

TEST_F(ticker, RWF_NOWAIT_gets_what_there_is)
{
	struct iocb iocb;

	ASSERT_TRUE(tick(self->file));
	prep_pread(&iocb, self->file, self->buf, 10, 0);
	iocb.aio_data = 7;
	iocb.aio_rw_flags = RWF_NOWAIT;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	expect_end(_metadata, self, &iocb, 4, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	expect_end(_metadata, self, &iocb, -EAGAIN, 0);
	EXPECT_EQ(2, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).waiting);
}

/* Nobody waits who submits. */
TEST_F(ticker, a_queued_write_goes_on_with_O_NONBLOCK)
{
	struct iocb iocb;

	ASSERT_EQ(0, fcntl(self->file, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	EXPECT_TRUE(no_event(self));
	EXPECT_EQ(0, ticker_info(self->file).cancels);
	EXPECT_EQ(1, ticker_info(self->file).queued);
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 5, 1);
}

TEST_F(ticker, a_queued_write_goes_on_with_RWF_NOWAIT)
{
	struct iocb iocb;

	prep_pwrite(&iocb, self->file, self->buf, 5, 0);
	iocb.aio_data = 7;
	iocb.aio_rw_flags = RWF_NOWAIT;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(no_event(self));
	EXPECT_EQ(0, ticker_info(self->file).cancels);
	EXPECT_EQ(1, ticker_info(self->file).queued);
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 5, 1);
}

/* The provider has it, and gives it back rather than have the caller wait. */
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
	/* What is done at once needs not be given back. */
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

/*
 * Kick.
 */

TEST_F(ticker, a_kick_before_retry_returns_is_remembered)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KICK_EARLY));
	ASSERT_EQ(1, submit_read(self, &iocb, 4));
	EXPECT_TRUE(wait_for(self->file, retries, 2));
	EXPECT_TRUE(wait_for(self->file, waiting, 1));
	EXPECT_EQ(1, ticker_info(self->file).kicks);
	EXPECT_TRUE(no_event(self));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 4, 0);
	EXPECT_EQ(3, ticker_info(self->file).retries);
}

TEST_F(ticker, a_second_kick_is_refused)
{
	struct iocb iocb;

	if (!variant->sloppy) {
		EXPECT_EQ(-EOPNOTSUPP, ticker_set(self->file, KAIO_TICKER_TWICE_EARLY));
		return;
	}
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KICK_EARLY | KAIO_TICKER_TWICE_EARLY));
	ASSERT_EQ(1, submit_read(self, &iocb, 4));
	EXPECT_TRUE(wait_for(self->file, retries, 2));
	EXPECT_TRUE(wait_for(self->file, waiting, 1));
	EXPECT_TRUE(no_event(self));
	EXPECT_EQ(2, ticker_info(self->file).retries);
	EXPECT_EQ(2, ticker_info(self->file).kicks);
	EXPECT_TRUE(log_says(self->log, NO_KICK));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 4, 0);
}

/* Debug builds see it, and others say that they do not. */
TEST_F(ticker, a_kick_after_the_end_is_reported)
{
	const __u32 flags = KAIO_TICKER_KEEP | KAIO_TICKER_TWICE_LATE;
	struct iocb iocb;
	long ret;

	ret = ticker_set(self->file, flags);
	if (ret == -EOPNOTSUPP && variant->sloppy)
		SKIP(return, "no debug assertions");
	if (!variant->sloppy) {
		EXPECT_EQ(-EOPNOTSUPP, ret);
		return;
	}
	ASSERT_EQ(0, ret);
	ASSERT_EQ(1, submit_read(self, &iocb, 4));
	ASSERT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	expect_end(_metadata, self, &iocb, -ECANCELED, 0);
	ASSERT_TRUE(tick(self->file));
	EXPECT_TRUE(wait_until(ticker_info(self->file).kicks == 2));
	EXPECT_TRUE(wait_until(log_says(self->log, NO_KICK)));
	EXPECT_EQ(1, ticker_info(self->file).dtors);
}

/*
 * Complete.
 */

TEST_F(ticker, a_write_completes_from_the_timer)
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

TEST_F(ticker, a_completion_before_retry_returns_counts)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_COMPLETE_EARLY));
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	expect_end(_metadata, self, &iocb, 5, 0);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
	EXPECT_EQ(0, ticker_info(self->file).ticks);
}

TEST_F(ticker, a_completion_before_retry_returns_has_both_results)
{
	struct iocb iocb;

	/* The number of the last tick is what the ticker gives as res2. */
	ASSERT_TRUE(tick(self->file));
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_COMPLETE_EARLY));
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	expect_end(_metadata, self, &iocb, 5, 1);
}

/* There is no call that could be restarted. */
TEST_F(ticker, an_event_says_EINTR_for_ERESTARTSYS)
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

/* As an error it is no promise of a completion. */
TEST_F(ticker, nobody_owes_a_completion_by_an_error)
{
	struct iocb iocb;

	if (variant->sloppy) {
		EXPECT_EQ(-EOPNOTSUPP, ticker_set(self->file, KAIO_TICKER_NOBODY));
		return;
	}
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_NOBODY));
	ASSERT_EQ(1, submit_read(self, &iocb, 4));
	expect_end(_metadata, self, &iocb, -EIO, 0);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
	/* Nor of another completion, which would be reported. */
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_NOBODY));
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, -EIO, 1);
	EXPECT_FALSE(log_says(self->log, "no result"));
}

TEST_F(ticker, a_second_completion_is_refused)
{
	struct iocb iocb;

	if (!variant->sloppy) {
		EXPECT_EQ(-EOPNOTSUPP, ticker_set(self->file, KAIO_TICKER_TWICE_EARLY));
		return;
	}
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_COMPLETE_EARLY | KAIO_TICKER_TWICE_EARLY));
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	expect_end(_metadata, self, &iocb, 5, 0);
	EXPECT_EQ(2, ticker_info(self->file).completions);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
	EXPECT_TRUE(log_says(self->log, NO_COMPLETION));
}

TEST_F(ticker, a_completion_after_the_end_is_reported)
{
	struct iocb iocb;
	long ret;

	ret = ticker_set(self->file, KAIO_TICKER_TWICE_LATE);
	if (ret == -EOPNOTSUPP && variant->sloppy)
		SKIP(return, "no debug assertions");
	if (!variant->sloppy) {
		EXPECT_EQ(-EOPNOTSUPP, ret);
		return;
	}
	ASSERT_EQ(0, ret);
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

/*
 * Cancel.
 */

TEST_F(ticker, cancel_of_a_read_that_waits)
{
	struct iocb iocb;
	bool ended;

	ASSERT_EQ(1, submit_read(self, &iocb, 10));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel_ended(self->fd, self->ctx, &iocb, &ended));
	EXPECT_TRUE(ended);
	expect_end(_metadata, self, &iocb, -ECANCELED, 0);
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).waiting);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb));
}

TEST_F(ticker, cancel_tells_what_was_read)
{
	struct iocb iocb;

	ASSERT_EQ(1, submit_read(self, &iocb, 10));
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(wait_for(self->file, retries, 2));
	ASSERT_TRUE(wait_for(self->file, waiting, 1));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	expect_end(_metadata, self, &iocb, 4, 0);
	EXPECT_EQ(0, memcmp(self->buf, "abcd", 4));
}

TEST_F(ticker, cancel_of_a_queued_write)
{
	struct iocb iocb;
	bool ended;

	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel_ended(self->fd, self->ctx, &iocb, &ended));
	EXPECT_TRUE(ended);
	/* It was taken, but not done. */
	expect_end(_metadata, self, &iocb, -ECANCELED, 0);
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).queued);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

/* What was taken before the attempt that was given back counts, and no more. */
TEST_F(ticker, cancel_tells_what_a_queued_write_had_moved_before)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_SOME_FIRST));
	ASSERT_EQ(1, submit_write(self, &iocb, 8));
	ASSERT_TRUE(wait_for(self->file, waiting, 1));
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(wait_for(self->file, queued, 1));
	EXPECT_EQ(8 - KAIO_TICKER_SOME, ticker_info(self->file).left);
	/* The answer may still be on its way back. */
	EXPECT_TRUE(wait_until(kaio_cancel(self->fd, self->ctx, &iocb) == -EINPROGRESS));
	expect_end(_metadata, self, &iocb, KAIO_TICKER_SOME, 0);
}

TEST_F(ticker, a_provider_may_keep_what_it_is_to_complete)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KEEP));
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb));
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_TRUE(no_event(self));
	/* It can be asked again. */
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb));
	EXPECT_EQ(2, ticker_info(self->file).cancels);
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 5, 1);
}

TEST_F(ticker, a_provider_that_changes_its_mind_lets_go)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KEEP));
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, ticker_set(self->file, 0));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	expect_end(_metadata, self, &iocb, -ECANCELED, 0);
}

/* The request ends, what the provider has of it stays until it kicks. */
TEST_F(ticker, a_read_ends_even_if_the_provider_keeps_it)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KEEP));
	ASSERT_EQ(1, submit_read(self, &iocb, 10));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	expect_end(_metadata, self, &iocb, -ECANCELED, 0);
	EXPECT_EQ(1, ticker_info(self->file).waiting);
	EXPECT_EQ(0, ticker_info(self->file).dtors);
	ASSERT_TRUE(tick(self->file));
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
	EXPECT_EQ(1, ticker_info(self->file).retries);
	EXPECT_TRUE(no_event(self));
}

TEST_F(ticker, cancel_during_a_retry_is_remembered)
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
	/* Not while retry runs. */
	EXPECT_EQ(0, ticker_info(self->file).cancels);
	ASSERT_EQ(0, ticker_set(self->file, 0));
	/* It went on with what there was, and is not retried. */
	expect_end(_metadata, self, &iocb, 4, 0);
	EXPECT_EQ(2, ticker_info(self->file).retries);
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

/* A write that waits for a tick, is retried, and is cancelled meanwhile: in vain. */
static bool cancel_in_vain_during_retry(FIXTURE_DATA(ticker) *self, struct iocb *iocb)
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

TEST_F(ticker, a_cancel_during_a_retry_that_was_refused_can_be_repeated)
{
	struct iocb iocb;

	ASSERT_TRUE(cancel_in_vain_during_retry(self, &iocb));
	ASSERT_EQ(0, ticker_set(self->file, 0));
	/* The refusal may still be on its way back. */
	EXPECT_TRUE(wait_until(kaio_cancel(self->fd, self->ctx, &iocb) == -EINPROGRESS));
	expect_end(_metadata, self, &iocb, -ECANCELED, 0);
	EXPECT_EQ(2, ticker_info(self->file).cancels);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, destroy_asks_for_what_was_refused_during_a_retry)
{
	struct iocb iocb;

	ASSERT_TRUE(cancel_in_vain_during_retry(self, &iocb));
	ASSERT_EQ(0, ticker_set(self->file, 0));
	/* Without a tick: it returns because the write is given back. */
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

/* fall_asleep(), where the sleep is not an interruptible one; the caller must see to the rest. */
static bool begin(struct sleeper *sleeper, long (*call)(void *arg), void *arg)
{
	*sleeper = (struct sleeper){ .call = call, .arg = arg, .ret = -ENOMSG };
	return !pthread_create(&sleeper->thread, NULL, run_sleeper, sleeper);
}

static bool is_gone(FIXTURE_DATA(ticker) *self)
{
	struct io_event event;

	return wait_until(kaio_getevents(self->fd, self->ctx, 0, 1, &event, &no_wait) == -EINVAL);
}

TEST_F(ticker, the_context_ends_during_a_retry_that_queues)
{
	struct iocb iocb;
	struct call call = { .fd = self->fd, .ctx = self->ctx, .iocb = &iocb };
	struct sleeper submitter, destroyer;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_STALL));
	prep_pwrite(&iocb, self->file, self->buf, 5, 0);
	ASSERT_TRUE(begin(&submitter, call_submit, &call));
	ASSERT_TRUE(wait_for(self->file, stalled, 1));
	ASSERT_TRUE(begin(&destroyer, call_destroy, &call));
	ASSERT_TRUE(is_gone(self));
	EXPECT_EQ(0, ticker_info(self->file).cancels);
	ASSERT_EQ(0, ticker_set(self->file, 0));
	EXPECT_EQ(1, woken(&submitter));
	EXPECT_EQ(0, woken(&destroyer));
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).queued);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, the_context_ends_during_a_retry_that_waits)
{
	struct iocb iocb;
	struct call call = { .fd = self->fd, .ctx = self->ctx, .iocb = &iocb };
	struct sleeper submitter, destroyer;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_STALL));
	prep_pread(&iocb, self->file, self->buf, 5, 0);
	ASSERT_TRUE(begin(&submitter, call_submit, &call));
	ASSERT_TRUE(wait_for(self->file, stalled, 1));
	ASSERT_TRUE(begin(&destroyer, call_destroy, &call));
	ASSERT_TRUE(is_gone(self));
	ASSERT_EQ(0, ticker_set(self->file, 0));
	EXPECT_EQ(1, woken(&submitter));
	EXPECT_EQ(0, woken(&destroyer));
	EXPECT_EQ(0, ticker_info(self->file).waiting);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
	EXPECT_EQ(1, ticker_info(self->file).retries);
}

TEST_F(ticker, destroy_ends_all_that_can_be_given_back)
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

TEST_F(ticker, destroy_waits_for_what_is_kept)
{
	struct call call = { .fd = self->fd, .ctx = self->ctx };
	struct sleeper destroyer;
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KEEP));
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	ASSERT_TRUE(begin(&destroyer, call_destroy, &call));
	ASSERT_TRUE(wait_for(self->file, cancels, 1));
	/* It has not returned. */
	EXPECT_EQ(-ENOMSG, destroyer.ret);
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(0, woken(&destroyer));
	EXPECT_EQ(1, ticker_info(self->file).completions);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, exit_ends_all_that_can_be_given_back)
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

TEST_F(ticker, munmap_of_the_ring_ends_all_that_can_be_given_back)
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

TEST_F(ticker, exec_ends_all_that_can_be_given_back)
{
	int status, ends[2];
	pid_t child;

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		/* The device stays open, and what is executed stays until the pipe is closed. */
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

/*
 * read(2) and write(2).
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

TEST_F(ticker, read_waits_for_all_its_bytes)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 8 };
	struct sleeper reader;

	ASSERT_TRUE(fall_asleep(&reader, call_read, &t));
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(wait_for(self->file, retries, 2));
	ASSERT_TRUE(wait_for(self->file, waiting, 1));
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(8, woken(&reader));
	EXPECT_EQ(0, memcmp(self->buf, "abcdefgh", 8));
	EXPECT_EQ(3, ticker_info(self->file).retries);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, read_takes_what_is_there)
{
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(4, read(self->file, self->buf, 4));
	EXPECT_EQ(1, ticker_info(self->file).retries);
	EXPECT_EQ(0, ticker_info(self->file).kicks);
	EXPECT_EQ(1, ticker_info(self->file).dtors);
}

/* No submitter gave it any. */
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

TEST_F(ticker, a_signal_interrupts_read)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 8 };
	struct sleeper reader;

	ASSERT_TRUE(catch_signal(SIGUSR1, 0));
	ASSERT_TRUE(fall_asleep(&reader, call_read, &t));
	pthread_kill(reader.thread, SIGUSR1);
	EXPECT_EQ(-EINTR, woken(&reader));
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).waiting);
	EXPECT_EQ(1, ticker_info(self->file).dtors);
}

TEST_F(ticker, a_signal_with_SA_RESTART_does_not)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 4 };
	struct sleeper reader;

	ASSERT_TRUE(catch_signal(SIGUSR1, SA_RESTART));
	ASSERT_TRUE(fall_asleep(&reader, call_read, &t));
	pthread_kill(reader.thread, SIGUSR1);
	EXPECT_TRUE(wait_until(signals_seen()));
	/* Another request. */
	EXPECT_TRUE(wait_for(self->file, retries, 2));
	EXPECT_TRUE(wait_for(self->file, waiting, 1));
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(4, woken(&reader));
}

TEST_F(ticker, an_interrupted_read_tells_what_was_read)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 8 };
	struct sleeper reader;

	ASSERT_TRUE(catch_signal(SIGUSR1, 0));
	ASSERT_TRUE(fall_asleep(&reader, call_read, &t));
	ASSERT_TRUE(tick(self->file));
	ASSERT_TRUE(wait_for(self->file, retries, 2));
	ASSERT_TRUE(wait_for(self->file, waiting, 1));
	pthread_kill(reader.thread, SIGUSR1);
	EXPECT_EQ(4, woken(&reader));
}

TEST_F(ticker, a_signal_interrupts_read_even_if_it_is_kept)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 8 };
	struct sleeper reader;

	ASSERT_TRUE(catch_signal(SIGUSR1, 0));
	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KEEP));
	ASSERT_TRUE(fall_asleep(&reader, call_read, &t));
	pthread_kill(reader.thread, SIGUSR1);
	EXPECT_EQ(-EINTR, woken(&reader));
	EXPECT_EQ(1, ticker_info(self->file).waiting);
	EXPECT_EQ(0, ticker_info(self->file).dtors);
	ASSERT_TRUE(tick(self->file));
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, write_waits_for_its_completion)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 5 };
	struct sleeper writer;

	ASSERT_TRUE(fall_asleep(&writer, call_write, &t));
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(5, woken(&writer));
	EXPECT_EQ(1, ticker_info(self->file).completions);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

TEST_F(ticker, a_signal_interrupts_write)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 5 };
	struct sleeper writer;

	ASSERT_TRUE(catch_signal(SIGUSR1, 0));
	ASSERT_TRUE(fall_asleep(&writer, call_write, &t));
	pthread_kill(writer.thread, SIGUSR1);
	EXPECT_EQ(-EINTR, woken(&writer));
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_EQ(0, ticker_info(self->file).queued);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

/* write(2) of 8 bytes that is interrupted when a first attempt has taken some, a second the rest. */
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

TEST_F(ticker, an_interrupted_write_tells_what_was_moved_before)
{
	EXPECT_EQ(KAIO_TICKER_SOME, interrupt_second_attempt(self->file, self->buf));
	EXPECT_EQ(1, ticker_info(self->file).cancels);
	EXPECT_TRUE(wait_for(self->file, dtors, 1));
}

/* Its memory is in use. */
TEST_F(ticker, a_signal_does_not_interrupt_write_that_is_kept)
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

TEST_F(ticker, read_and_write_know_what_comes_early)
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
 * Native AIO knows nothing of providers: its submitters sleep.
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

TEST_F(ticker, native_aio_sleeps_in_its_submit_call)
{
	struct native_call call = {};
	struct sleeper submitter;
	struct io_event event;

	ASSERT_EQ(0, native_setup(8, &call.ctx));
	prep_pread(&call.iocb, self->file, self->buf, 4, 0);
	ASSERT_TRUE(fall_asleep(&submitter, call_native_submit, &call));
	ASSERT_TRUE(wait_for(self->file, waiting, 1));
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(1, woken(&submitter));
	EXPECT_EQ(1, native_getevents(call.ctx, 1, 1, &event, &patience));
	EXPECT_EQ(4, event.res);
	EXPECT_EQ(0, memcmp(self->buf, "abcd", 4));
	prep_pwrite(&call.iocb, self->file, self->buf, 5, 0);
	ASSERT_TRUE(fall_asleep(&submitter, call_native_submit, &call));
	ASSERT_TRUE(wait_for(self->file, queued, 1));
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(1, woken(&submitter));
	EXPECT_EQ(1, native_getevents(call.ctx, 1, 1, &event, &patience));
	EXPECT_EQ(5, event.res);
	EXPECT_EQ(0, native_destroy(call.ctx));
}

/*
 * Files with a position.
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

TEST_F(seekable, read_moves_the_position)
{
	ASSERT_EQ(100, lseek(self->file, 100, SEEK_SET));
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(3, read(self->file, self->buf, 3));
	EXPECT_EQ(100, ticker_info(self->file).pos);
	EXPECT_EQ(103, position(self->file));
	EXPECT_EQ(1, pread(self->file, self->buf, 1, 200));
	EXPECT_EQ(103, position(self->file));
}

TEST_F(seekable, write_moves_the_position)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 5 };
	struct sleeper writer;

	ASSERT_TRUE(fall_asleep(&writer, call_write, &t));
	EXPECT_EQ(0, position(self->file));
	ASSERT_TRUE(tick(self->file));
	EXPECT_EQ(5, woken(&writer));
	EXPECT_EQ(5, position(self->file));
}

/* Not by what was taken and given back: the caller writes that again. */
TEST_F(seekable, an_interrupted_write_moves_the_position_by_what_it_tells)
{
	ASSERT_EQ(KAIO_TICKER_SOME, interrupt_second_attempt(self->file, self->buf));
	EXPECT_EQ(KAIO_TICKER_SOME, position(self->file));
}

TEST_F(seekable, an_interrupted_write_that_moved_nothing_leaves_the_position)
{
	struct transfer t = { .file = self->file, .buf = self->buf, .len = 5 };
	struct sleeper writer;

	ASSERT_TRUE(catch_signal(SIGUSR1, 0));
	ASSERT_TRUE(fall_asleep(&writer, call_write, &t));
	pthread_kill(writer.thread, SIGUSR1);
	EXPECT_EQ(-EINTR, woken(&writer));
	EXPECT_EQ(0, position(self->file));
}

/*
 * A provider of reads only: writes are for the file operations, which take them at once.
 */
TEST(writes_that_nobody_provides_go_to_the_file_operations)
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

/*
 * Modules and files.
 */

TEST_F(ticker, an_open_file_keeps_the_module)
{
	EXPECT_EQ(-EWOULDBLOCK, remove_module(variant->module));
	close(self->file);
	self->file = -1;
	EXPECT_TRUE(is_removed(variant->module));
	EXPECT_EQ(0, load_module(variant->module));
}

TEST_F(ticker, a_request_keeps_the_file_and_the_module)
{
	struct iocb iocb;

	ASSERT_EQ(1, submit_read(self, &iocb, 4));
	ASSERT_EQ(0, ticker_run(self->file, 100 * NSEC_PER_MSEC, 0));
	close(self->file);
	self->file = -1;
	EXPECT_EQ(-EWOULDBLOCK, remove_module(variant->module));
	expect_end(_metadata, self, &iocb, 4, 0);
	EXPECT_TRUE(is_removed(variant->module));
	EXPECT_EQ(0, load_module(variant->module));
}

TEST_F(ticker, a_kick_that_is_owed_keeps_the_module)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KEEP));
	ASSERT_EQ(1, submit_read(self, &iocb, 4));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	expect_end(_metadata, self, &iocb, -ECANCELED, 0);
	ASSERT_EQ(0, ticker_run(self->file, 200 * NSEC_PER_MSEC, KAIO_TICKER_KEEP));
	close(self->file);
	self->file = -1;
	/* Nothing but the promise is left of the request. */
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(-EWOULDBLOCK, remove_module(variant->module));
	EXPECT_TRUE(is_removed(variant->module));
	EXPECT_EQ(0, load_module(variant->module));
}

TEST_F(ticker, a_provider_keeps_kaio)
{
	close(self->file);
	self->file = -1;
	close(self->fd);
	EXPECT_EQ(-EWOULDBLOCK, remove_module("kaio"));
	self->fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	EXPECT_LE(0, self->fd);
}

TEST_F(ticker, other_operations_are_not_the_providers)
{
	struct iocb iocb;

	prep_noop(&iocb, self->file);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	prep_fsync(&iocb, self->file);
	EXPECT_EQ(-EINVAL, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, ticker_info(self->file).retries);
}

/*
 * Ticks, submissions and cancels at the same time: each request ends once. Where all
 * ended before the first cancel, because the machine is slow, the ticks become slower.
 */
TEST_F(ticker, a_race_of_all_of_them)
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

struct steering {
	int file;
	__s64 end;
};

static long tell_to_tick(void *arg)
{
	const struct steering *s = arg;

	while (now_ns() < s->end)
		kaio_ioctl(s->file, KAIO_TICKER_TICK, NULL);
	return 0;
}

/* The kernel warns if the timer is started while it is restarted. */
TEST_F(ticker, it_is_steered_by_two_at_once)
{
	struct steering s = { .file = self->file, .end = now_ns() + NSEC_PER_SEC / 2 };
	struct sleeper other;
	struct iocb iocb;
	int round;

	ASSERT_TRUE(begin(&other, tell_to_tick, &s));
	for (round = 0; now_ns() < s.end; round++)
		ASSERT_EQ(0, ticker_run(self->file, round % 2 ? KAIO_TICKER_MIN_PERIOD_NS : 0, 0));
	EXPECT_EQ(0, woken(&other));
	ASSERT_EQ(0, ticker_set(self->file, 0));
	EXPECT_FALSE(log_says(self->log, "WARNING"));
	/* It ticks on. */
	ASSERT_EQ(1, submit_write(self, &iocb, 5));
	ASSERT_TRUE(tick(self->file));
	expect_end(_metadata, self, &iocb, 5, ticker_info(self->file).ticks);
}

TEST_F(ticker, contexts_end_while_it_ticks)
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

TEST_F(ticker, signals_interrupt_reads_while_it_ticks)
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

/* The harness ends its process: it has one of its own. What waitpid(2) says of that. */
static int run_tests(int argc, char **argv)
{
	pid_t child = fork();
	int status;

	if (!child)
		exit(test_harness_run(argc, argv));
	if (child < 0 || waitpid(child, &status, 0) != child)
		ksft_exit_fail_msg("the tests cannot be started: %s\n", strerror(errno));
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	ksft_print_msg("the tests were killed by signal %d\n", WTERMSIG(status));
	return KSFT_FAIL;
}

int main(int argc, char **argv)
{
	int ret, i;

	for (i = 0; i < 2; i++) {
		ret = load_module(modules[i]);
		if (ret == -ENOENT || ret == -EPERM)
			ksft_exit_skip("%s.ko cannot be loaded: CONFIG_KAIO_SAMPLES, root\n",
				       modules[i]);
		if (ret)
			ksft_exit_fail_msg("%s.ko: %s\n", modules[i], strerror(-ret));
	}
	ret = run_tests(argc, argv);
	for (i = 0; i < 2; i++) {
		if (!is_removed(modules[i])) {
			ksft_print_msg("%s cannot be removed\n", modules[i]);
			ret = KSFT_FAIL;
		}
	}
	return ret;
}
