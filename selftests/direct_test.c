// SPDX-License-Identifier: GPL-2.0
/*
 * Tests O_DIRECT transfers of a device. They end in the submit call, in the
 * driver's interrupt, or in a worker when the device has no tag left.
 */
#include <sys/eventfd.h>

#include "devices.h"
#include "kaio_stat.h"
#include "sleeps.h"

#define NR	32

FIXTURE(direct)
{
	int fd;
	__u64 ctx;
	struct null_blk dev;
	int file;
	char *buf;
	struct iocb iocb[NR];
	struct iocb *list[NR];
	struct io_event events[NR];
};

FIXTURE_VARIANT(direct)
{
	/*
	 * A request ends within the call if this is 0, and in the interrupt of
	 * a timer if it is 2.
	 */
	unsigned long irqmode;
	/* The number of requests that the device takes at a time. */
	unsigned long tags;
	/*
	 * The request has a vector of one segment in place of a single buffer.
	 */
	bool vector;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(direct, in_call) { .tags = 64 };
FIXTURE_VARIANT_ADD(direct, in_call_vector) { .tags = 64, .vector = true };
FIXTURE_VARIANT_ADD(direct, interrupt) { .irqmode = 2, .tags = 64 };
FIXTURE_VARIANT_ADD(direct, interrupt_vector) { .irqmode = 2, .tags = 64, .vector = true };
FIXTURE_VARIANT_ADD(direct, few_tags) { .irqmode = 2, .tags = 4 };
FIXTURE_VARIANT_ADD(direct, few_tags_vector) { .irqmode = 2, .tags = 4, .vector = true };
/* clang-format on */

static struct iovec iov[NR];

/*
 * Prepares request @i: it transfers page @i of the device to or from page @i of
 * the buffer.
 */
static void prep(FIXTURE_DATA(direct) *self, bool vector, int i, bool write)
{
	char *page = self->buf + i * PAGE;

	iov[i] = (struct iovec){ .iov_base = page, .iov_len = PAGE };
	if (vector && write)
		prep_pwritev(&self->iocb[i], self->file, &iov[i], 1, i * PAGE);
	else if (vector)
		prep_preadv(&self->iocb[i], self->file, &iov[i], 1, i * PAGE);
	else if (write)
		prep_pwrite(&self->iocb[i], self->file, page, PAGE, i * PAGE);
	else
		prep_pread(&self->iocb[i], self->file, page, PAGE, i * PAGE);
	self->iocb[i].aio_data = i;
	self->list[i] = &self->iocb[i];
}

FIXTURE_SETUP(direct)
{
	const struct setting more[] = {
		{ "irqmode", variant->irqmode },
		{ "hw_queue_depth", variant->tags },
		{},
	};
	int i;

	self->file = -1;
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	if (!null_blk_make(&self->dev, "kaio-direct", 5 * NSEC_PER_MSEC, more))
		SKIP(return, "there is no null_blk");
	self->file = open(self->dev.node, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, self->file);
	self->buf = mmap(NULL, NR * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->buf);
	fill_pattern(self->buf, NR * PAGE, 5, 0);
	for (i = 0; i < NR; i++)
		ASSERT_EQ((ssize_t)PAGE, pwrite(self->file, self->buf + i * PAGE,
						PAGE, i * PAGE));
	memset(self->buf, 0, NR * PAGE);
	for (i = 0; i < NR; i++)
		prep(self, variant->vector, i, false);
}

FIXTURE_TEARDOWN(direct)
{
	kaio_destroy(self->fd, self->ctx);
	close(self->fd);
	close(self->file);
	null_blk_end(&self->dev);
}

/*
 * Returns true if each of @nr requests has one event and has transferred a
 * page.
 */
static bool all_complete(FIXTURE_DATA(direct) *self, int nr)
{
	bool seen[NR] = {};
	int i;

	if (kaio_wait(self->fd, self->ctx, nr, self->events) != nr)
		return false;
	for (i = 0; i < nr; i++) {
		const struct io_event *event = &self->events[i];

		if (event->data >= (__u64)nr || seen[event->data] ||
		    event->obj != (uintptr_t)&self->iocb[event->data] ||
		    event->res != (__s64)PAGE || event->res2)
			return false;
		seen[event->data] = true;
	}
	return stays_quiet(self->fd, self->ctx);
}

TEST_F(direct, reads)
{
	ASSERT_EQ(NR, kaio_submit(self->fd, self->ctx, NR, self->list));
	ASSERT_TRUE(all_complete(self, NR));
	EXPECT_TRUE(is_pattern(self->buf, NR * PAGE, 5, 0));
	EXPECT_EQ(NR, kaio_stat(self->fd, "submitted"));
	EXPECT_STAT(NR, self->fd, "completed");
}

TEST_F(direct, writes)
{
	int i;

	fill_pattern(self->buf, NR * PAGE, 6, 0);
	for (i = 0; i < NR; i++)
		prep(self, variant->vector, i, true);
	ASSERT_EQ(NR, kaio_submit(self->fd, self->ctx, NR, self->list));
	ASSERT_TRUE(all_complete(self, NR));
	memset(self->buf, 0, NR * PAGE);
	for (i = 0; i < NR; i++)
		ASSERT_EQ((ssize_t)PAGE, pread(self->file, self->buf + i * PAGE,
					       PAGE, i * PAGE));
	EXPECT_TRUE(is_pattern(self->buf, NR * PAGE, 6, 0));
}

/* The submit call does not wait for a tag. */
TEST_F(direct, submit_does_not_sleep)
{
	const long before = sleeps();

	ASSERT_EQ(NR, kaio_submit(self->fd, self->ctx, NR, self->list));
	EXPECT_EQ(before, sleeps());
	ASSERT_TRUE(all_complete(self, NR));
	EXPECT_TRUE(is_pattern(self->buf, NR * PAGE, 5, 0));
}

/* An eventfd counts each request once its event is in the ring. */
TEST_F(direct, eventfd)
{
	const int counter = eventfd(0, EFD_CLOEXEC);
	__u64 sum = 0, count;
	int i;

	ASSERT_LE(0, counter);
	for (i = 0; i < NR; i += 2) {
		self->iocb[i].aio_flags = IOCB_FLAG_RESFD;
		self->iocb[i].aio_resfd = counter;
	}
	ASSERT_EQ(NR, kaio_submit(self->fd, self->ctx, NR, self->list));
	while (sum < NR / 2) {
		ASSERT_EQ((ssize_t)sizeof(count),
			  read(counter, &count, sizeof(count)));
		sum += count;
		EXPECT_LE((long)sum, kaio_peek(self->fd, self->ctx, 0, NR, &no_wait));
	}
	EXPECT_EQ(NR / 2, sum);
	ASSERT_TRUE(all_complete(self, NR));
	close(counter);
}

/* The program closes its descriptor while the device works. */
TEST_F(direct, file_closed_meanwhile)
{
	ASSERT_EQ(NR, kaio_submit(self->fd, self->ctx, NR, self->list));
	ASSERT_EQ(0, close(self->file));
	self->file = -1;
	ASSERT_TRUE(all_complete(self, NR));
	EXPECT_TRUE(is_pattern(self->buf, NR * PAGE, 5, 0));
}

/*
 * The end of a context waits for the requests that the device has, and releases
 * them.
 */
TEST_F(direct, context_destroyed_meanwhile)
{
	const __s64 nr = kaio_nr(self->fd);

	ASSERT_EQ(NR, kaio_submit(self->fd, self->ctx, NR, self->list));
	ASSERT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_GT(nr, kaio_nr(self->fd));
	/* The device no longer writes to this memory. */
	EXPECT_EQ(0, munmap(self->buf, NR * PAGE));
}

/* The exit of a process leaves nothing behind. */
TEST_F(direct, submitter_dies_meanwhile)
{
	const __s64 nr = kaio_nr(self->fd);
	int status;
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child) {
		const int fd = open("/dev/kaio", O_RDWR | O_CLOEXEC);
		__u64 ctx = 0;

		if (fd < 0 || kaio_setup(fd, NR_EVENTS, &ctx) ||
		    kaio_submit(fd, ctx, NR, self->list) != NR)
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(nr, kaio_nr(self->fd));
}

/*
 * The driver has the request, so it cannot be cancelled. Native AIO answers in
 * the same way.
 */
TEST_F(direct, cancel_in_driver)
{
	ASSERT_EQ(1, kaio_submit(self->fd, self->ctx, 1, self->list));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &self->iocb[0]));
	ASSERT_TRUE(all_complete(self, 1));
}

/*
 * Expects that a batch stops at the wrong request @i, and that the requests
 * before it are done.
 */
static void expect_stop_at(struct __test_metadata *const _metadata,
			   FIXTURE_DATA(direct) *self, int i, long errnum)
{
	ASSERT_EQ(i, kaio_submit(self->fd, self->ctx, NR, self->list));
	EXPECT_EQ(-errnum, kaio_submit(self->fd, self->ctx, NR - i,
				       self->list + i));
	ASSERT_TRUE(all_complete(self, i));
}

TEST_F(direct, buffer_of_the_kernel)
{
	if (variant->vector)
		iov[3].iov_base = (void *)KERNEL_ADDR;
	else
		self->iocb[3].aio_buf = KERNEL_ADDR;
	expect_stop_at(_metadata, self, 3, EFAULT);
}

TEST_F(direct, length_negative)
{
	if (variant->vector)
		iov[3].iov_len = -1UL;
	else
		self->iocb[3].aio_nbytes = -1ULL;
	expect_stop_at(_metadata, self, 3, EINVAL);
}

TEST_F(direct, position_negative)
{
	self->iocb[3].aio_offset = -1;
	expect_stop_at(_metadata, self, 3, EINVAL);
}

TEST_F(direct, vector_unreadable)
{
	if (!variant->vector)
		return;
	self->iocb[3].aio_buf = KERNEL_ADDR;
	expect_stop_at(_metadata, self, 3, EFAULT);
}

/* Expects the answer of native AIO to the same request. */
static void expect_as_native(struct __test_metadata *const _metadata,
			     FIXTURE_DATA(direct) *self)
{
	struct answer kaio, native;
	aio_context_t ctx = 0;

	ASSERT_EQ(0, native_setup(1, &ctx));
	native = ask_native(ctx, &self->iocb[0]);
	native_destroy(ctx);
	self->iocb[0].aio_key = 0;
	kaio = ask_kaio(self->fd, self->ctx, &self->iocb[0]);
	EXPECT_EQ(native.submit, kaio.submit);
	EXPECT_EQ(native.res, kaio.res);
}

TEST_F(direct, position_unaligned)
{
	self->iocb[0].aio_offset = 1;
	expect_as_native(_metadata, self);
}

TEST_F(direct, length_unaligned)
{
	iov[0].iov_len = 100;
	if (!variant->vector)
		self->iocb[0].aio_nbytes = 100;
	expect_as_native(_metadata, self);
}

TEST_F(direct, no_bytes)
{
	iov[0].iov_len = 0;
	if (!variant->vector)
		self->iocb[0].aio_nbytes = 0;
	expect_as_native(_metadata, self);
}

TEST_F(direct, past_the_end)
{
	self->iocb[0].aio_offset = 16 << 20;
	expect_as_native(_metadata, self);
}

TEST_F(direct, over_the_end)
{
	self->iocb[0].aio_offset = (16 << 20) - 512;
	expect_as_native(_metadata, self);
}

TEST_F(direct, buffer_read_only)
{
	ASSERT_EQ(0, mprotect(self->buf, PAGE, PROT_READ));
	expect_as_native(_metadata, self);
}

TEST_F(direct, file_open_for_writing_only)
{
	const int file = open(self->dev.node, O_WRONLY | O_DIRECT | O_CLOEXEC);

	ASSERT_LE(0, file);
	self->iocb[0].aio_fildes = file;
	expect_as_native(_metadata, self);
	close(file);
}

/* fcntl(2) clears O_DIRECT between two calls. */
TEST_F(direct, flag_changed)
{
	ASSERT_EQ(2, kaio_submit(self->fd, self->ctx, 2, self->list));
	ASSERT_TRUE(all_complete(self, 2));
	ASSERT_EQ(0, fcntl(self->file, F_SETFL, 0));
	ASSERT_EQ(NR, kaio_submit(self->fd, self->ctx, NR, self->list));
	ASSERT_TRUE(all_complete(self, NR));
	EXPECT_TRUE(is_pattern(self->buf, NR * PAGE, 5, 0));
}

TEST_HARNESS_MAIN
