// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libaio's functions behave as they do on native AIO, and the module does the
 * work.
 */
#include <sys/socket.h>
#include <sys/uio.h>

#include "libaio_fixture.h"

/* The old versions, which a program uses that was linked 20 years ago. */
int io_cancel_0_1(io_context_t ctx, struct iocb *iocb);
int io_getevents_0_1(io_context_t ctx, long nr, struct io_event *events,
		     const struct timespec *timeout);
int io_queue_wait_0_1(io_context_t ctx, struct timespec *timeout);
int io_queue_wait_0_4(io_context_t ctx, struct timespec *timeout);
__asm__(".symver io_cancel_0_1, io_cancel@LIBAIO_0.1");
__asm__(".symver io_getevents_0_1, io_getevents@LIBAIO_0.1");
__asm__(".symver io_queue_wait_0_1, io_queue_wait@LIBAIO_0.1");
__asm__(".symver io_queue_wait_0_4, io_queue_wait@LIBAIO_0.4");

TEST(setup_of_no_requests_is_einval)
{
	io_context_t ctx = NULL;

	EXPECT_EQ(io_setup(0, &ctx), -EINVAL);
	EXPECT_EQ(io_setup(-1, &ctx), -EINVAL);
	EXPECT_EQ(ctx, NULL);
}

TEST(setup_needs_a_zero_id)
{
	io_context_t ctx = (io_context_t)1;

	EXPECT_EQ(io_setup(1, &ctx), -EINVAL);
	EXPECT_EQ(ctx, (io_context_t)1);
}

TEST(setup_of_a_bad_pointer_is_efault)
{
	void *page = inaccessible_page();

	ASSERT_NE(page, NULL);
	EXPECT_EQ(io_setup(1, NULL), -EFAULT);
	EXPECT_EQ(io_setup(1, page), -EFAULT);
	EXPECT_EQ(io_setup(1, KERNEL_POINTER), -EFAULT);
	EXPECT_EQ(io_setup(0, KERNEL_POINTER), -EFAULT);
}

TEST(setup_of_read_only_memory_is_efault)
{
	void *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(page, MAP_FAILED);
	EXPECT_EQ(io_setup(1, page), -EFAULT);
	EXPECT_EQ(kaio_count("contexts"), 0);
}

TEST(a_context_of_too_many_requests_is_eagain)
{
	io_context_t ctx = NULL;

	EXPECT_EQ(io_setup(5000000, &ctx), -EAGAIN);
	EXPECT_EQ(ctx, NULL);
}

TEST_F(aio, requests_reach_the_module)
{
	struct iocb *iocb = &self->iocb;

	ASSERT_EQ(write(self->pipe[1], "hello", 5), 5);
	io_prep_pread(iocb, self->pipe[0], self->buf, sizeof(self->buf), 0);
	ASSERT_EQ(io_submit(self->ctx, 1, &iocb), 1);
	ASSERT_EQ(io_getevents(self->ctx, 1, 1, self->events, &patience), 1);
	EXPECT_EQ(self->events[0].obj, iocb);
	EXPECT_EQ(self->events[0].res, 5);
	EXPECT_EQ(memcmp(self->buf, "hello", 5), 0);
	EXPECT_EQ(kaio_count("submitted"), 1);
	EXPECT_EQ(kaio_count("completed"), 1);
}

TEST_F(aio, a_read_of_an_empty_pipe_does_not_block_submit)
{
	struct iocb *iocb = &self->iocb;

	io_prep_pread(iocb, self->pipe[0], self->buf, sizeof(self->buf), 0);
	ASSERT_EQ(io_submit(self->ctx, 1, &iocb), 1);
	EXPECT_EQ(io_getevents(self->ctx, 0, 1, self->events, &no_time), 0);
	ASSERT_EQ(write(self->pipe[1], "x", 1), 1);
	ASSERT_EQ(io_getevents(self->ctx, 1, 1, self->events, &patience), 1);
	EXPECT_EQ(self->events[0].res, 1);
}

TEST_F(aio, submit_returns_the_error_of_the_first_request)
{
	struct iocb *bad = KERNEL_POINTER, *iocb = &self->iocb;

	EXPECT_EQ(io_submit(self->ctx, 1, &bad), -EFAULT);
	EXPECT_EQ(io_submit(self->ctx, 1, NULL), -EFAULT);
	EXPECT_EQ(io_submit(self->ctx, 1, (void *)-1), -EFAULT);
	EXPECT_EQ(io_submit(self->ctx, -1, &iocb), -EINVAL);
	EXPECT_EQ(io_submit(self->ctx, 0, &iocb), 0);
	io_prep_pread(iocb, -1, self->buf, 1, 0);
	EXPECT_EQ(io_submit(self->ctx, 1, &iocb), -EBADF);
}

TEST_F(aio, submit_counts_requests_before_a_bad_one)
{
	struct iocb bad, *list[] = { &self->iocb, &bad };

	io_prep_poll(&self->iocb, self->pipe[1], POLLOUT);
	io_prep_poll(&bad, -1, POLLOUT);
	EXPECT_EQ(io_submit(self->ctx, 2, list), 1);
}

TEST_F(aio, errors_do_not_change_errno)
{
	errno = 4711;
	EXPECT_EQ(io_setup(0, &self->ctx), -EINVAL);
	EXPECT_EQ(io_submit(self->ctx, 1, NULL), -EFAULT);
	EXPECT_EQ(io_getevents(self->ctx, 2, 1, self->events, NULL), -EINVAL);
	EXPECT_EQ(io_cancel(self->ctx, NULL, NULL), -EFAULT);
	EXPECT_EQ(io_destroy((io_context_t)8), -EINVAL);
	EXPECT_EQ(errno, 4711);
}

TEST_F(aio, cancel_returns_einprogress_and_posts_an_event)
{
	struct io_event event;

	ASSERT_EQ(submit_poll(self->ctx, &self->iocb, self->pipe[0]), 1);
	EXPECT_EQ(io_cancel(self->ctx, &self->iocb, &event), -EINPROGRESS);
	ASSERT_EQ(io_getevents(self->ctx, 1, 1, self->events, &patience), 1);
	EXPECT_EQ(self->events[0].obj, &self->iocb);
	EXPECT_EQ(self->events[0].res, 0);
	EXPECT_EQ(io_cancel(self->ctx, &self->iocb, &event), -EINVAL);
}

TEST_F(aio, cancel_of_version_0_1)
{
	ASSERT_EQ(submit_poll(self->ctx, &self->iocb, self->pipe[0]), 1);
	EXPECT_EQ(io_cancel_0_1(self->ctx, &self->iocb), -EINPROGRESS);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, self->events, &patience), 1);
}

TEST_F(aio, cancel_of_a_bad_iocb_is_efault)
{
	EXPECT_EQ(io_cancel(self->ctx, NULL, self->events), -EFAULT);
	EXPECT_EQ(io_cancel(self->ctx, KERNEL_POINTER, self->events), -EFAULT);
}

/* This version has no min_nr: it waits for one event. */
TEST_F(aio, getevents_of_version_0_1_waits_for_one)
{
	struct iocb iocbs[3];

	ASSERT_EQ(submit_ready(self->ctx, iocbs, 3, self->pipe[1]), 3);
	EXPECT_EQ(io_getevents_0_1(self->ctx, 2, self->events, &patience), 2);
	EXPECT_EQ(io_getevents_0_1(self->ctx, 2, self->events, &patience), 1);
	EXPECT_EQ(io_getevents_0_1(self->ctx, 2, self->events, &no_time), 0);
}

TEST_F(aio, queue_wait_takes_no_event)
{
	ASSERT_EQ(submit_ready(self->ctx, &self->iocb, 1, self->pipe[1]), 1);
	EXPECT_EQ(io_queue_wait_0_1(self->ctx, &no_time), 0);
	EXPECT_EQ(io_queue_wait_0_4(self->ctx, NULL), 0);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, self->events, &patience), 1);
}

TEST(queue_init_takes_any_id)
{
	io_context_t ctx = (io_context_t)4711;

	EXPECT_EQ(io_queue_init(0, &ctx), -EINVAL);
	EXPECT_EQ(io_queue_init(-1, &ctx), -EINVAL);
	EXPECT_EQ(io_queue_init(1, KERNEL_POINTER), -EFAULT);
	EXPECT_EQ(io_queue_init(1, NULL), -EFAULT);
	ASSERT_EQ(io_queue_init(1, &ctx), 0);
	EXPECT_EQ(io_queue_release(ctx), 0);
	EXPECT_EQ(io_queue_release(ctx), -EINVAL);
}

static struct {
	int calls;
	io_context_t ctx;
	struct iocb *iocb;
	long res, res2;
} seen;

static void callback(io_context_t ctx, struct iocb *iocb, long res, long res2)
{
	seen.calls++;
	seen.ctx = ctx;
	seen.iocb = iocb;
	seen.res = res;
	seen.res2 = res2;
}

TEST_F(aio, queue_run_calls_back)
{
	struct iocb iocbs[3], *list[] = { &iocbs[0], &iocbs[1], &iocbs[2] };
	int i;

	for (i = 0; i < 3; i++) {
		io_prep_poll(&iocbs[i], self->pipe[1], POLLOUT);
		io_set_callback(&iocbs[i], callback);
	}
	seen.calls = 0;
	EXPECT_EQ(io_queue_run(self->ctx), 0);
	EXPECT_EQ(seen.calls, 0);
	ASSERT_EQ(io_submit(self->ctx, 3, list), 3);
	EXPECT_EQ(io_queue_run(self->ctx), 0);
	EXPECT_EQ(seen.calls, 3);
	EXPECT_EQ(seen.ctx, self->ctx);
	EXPECT_EQ(seen.iocb, &iocbs[2]);
	EXPECT_EQ(seen.res, POLLOUT);
	EXPECT_EQ(seen.res2, 0);
	EXPECT_EQ(io_queue_run((io_context_t)8), -EINVAL);
}

TEST_F(aio, a_program_that_moves_the_ring_keeps_its_context)
{
	io_context_t old = self->ctx;

	self->ctx = move_ring(old);
	ASSERT_NE(self->ctx, NULL);
	ASSERT_EQ(submit_ready(self->ctx, &self->iocb, 1, self->pipe[1]), 1);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, self->events, &patience), 1);
	EXPECT_EQ(io_submit(old, 0, NULL), -EINVAL);
}

/*
 * Bytes that were written cannot be taken back: the event reports their number.
 */
TEST_F(aio, cancel_of_a_partial_write)
{
	const size_t size = 4 << 20;
	struct iovec vec[2] = { { malloc(size / 2), size / 2 }, { malloc(size / 2), size / 2 } };
	struct iocb *iocb = &self->iocb;
	char *back = malloc(size);
	size_t got = 0;
	ssize_t n;
	int fds[2];

	memset(vec[0].iov_base, 'x', size / 2);
	memset(vec[1].iov_base, 'y', size / 2);
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	io_prep_pwritev(iocb, fds[0], vec, 2, 0);
	ASSERT_EQ(io_submit(self->ctx, 1, &iocb), 1);
	while (got < size / 8) {
		n = read(fds[1], back + got, size / 8 - got);
		ASSERT_GT(n, 0);
		got += n;
	}
	EXPECT_EQ(io_cancel(self->ctx, iocb, self->events), -EINPROGRESS);
	ASSERT_EQ(io_getevents(self->ctx, 1, 1, self->events, &patience), 1);
	while ((n = recv(fds[1], back + got, size - got, MSG_DONTWAIT)) > 0)
		got += n;
	EXPECT_EQ((long)self->events[0].res, (long)got);
	EXPECT_LT(got, size);
}

TEST_HARNESS_MAIN
