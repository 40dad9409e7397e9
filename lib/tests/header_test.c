// SPDX-License-Identifier: LGPL-2.1-or-later
/* <kaio.h>: the results of its functions, and events taken from the ring. */
#include <kaio.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "kselftest_harness.h"

static const struct __kernel_timespec patience = { .tv_sec = 20 };
static const struct __kernel_timespec no_wait;

FIXTURE(header) {
	int fd;
	__u64 ctx;
	struct kaio_ring *ring;
	int pipe[2];
	struct iocb iocb;
	struct iocb *list[1];
	char buf[16];
};

FIXTURE_SETUP(header)
{
	self->fd = kaio_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, kaio_setup(self->fd, 4, &self->ctx));
	self->ring = kaio_ring(self->ctx);
	ASSERT_NE(NULL, self->ring);
	ASSERT_EQ(0, pipe(self->pipe));
	self->list[0] = &self->iocb;
	kaio_prep(&self->iocb, IOCB_CMD_PREAD, self->pipe[0], self->buf, sizeof(self->buf), 0);
	self->iocb.aio_data = 42;
}

FIXTURE_TEARDOWN(header)
{
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	close(self->fd);
	close(self->pipe[0]);
	close(self->pipe[1]);
}

TEST_F(header, query_fills_in)
{
	struct kaio_query query;

	ASSERT_EQ(0, kaio_query(self->fd, &query));
	EXPECT_EQ(KAIO_ABI_VERSION, query.version);
	EXPECT_LE(4, query.nr);
}

TEST_F(header, errors_are_negative)
{
	__u64 ctx = 7;

	EXPECT_EQ(-EINVAL, kaio_setup(self->fd, 0, &ctx));
	EXPECT_EQ(7, ctx);
	EXPECT_EQ(-EINVAL, kaio_destroy(self->fd, 1));
	EXPECT_EQ(-EBADF, kaio_setup(-1, 4, &ctx));
	kaio_prep(&self->iocb, IOCB_CMD_PREAD, -1, self->buf, 1, 0);
	EXPECT_EQ(-EBADF, kaio_submit(self->fd, self->ctx, 1, self->list));
}

TEST_F(header, getevents_takes)
{
	struct io_event event = {};

	ASSERT_EQ(1, kaio_submit(self->fd, self->ctx, 1, self->list));
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 1, 1, &event, &no_wait));
	ASSERT_EQ(2, write(self->pipe[1], "hi", 2));
	ASSERT_EQ(1, kaio_getevents(self->fd, self->ctx, 1, 1, &event, &patience));
	EXPECT_EQ(42, event.data);
	EXPECT_EQ(2, event.res);
	EXPECT_EQ(0, memcmp(self->buf, "hi", 2));
	EXPECT_EQ(NULL, kaio_ring_peek(self->ring));
}

TEST_F(header, submit_wait_does_both)
{
	struct io_event event = {};
	long submitted = 7;

	ASSERT_EQ(2, write(self->pipe[1], "hi", 2));
	ASSERT_EQ(1, kaio_submit_wait(self->fd, self->ctx, 1, self->list, 1, 1, &event, &patience,
				      &submitted));
	EXPECT_EQ(1, submitted);
	EXPECT_EQ(42, event.data);
	EXPECT_EQ(2, event.res);
	EXPECT_EQ(0, memcmp(self->buf, "hi", 2));
}

TEST_F(header, submit_wait_counts_submitted_requests)
{
	struct io_event event;
	long submitted = 7;

	/*
	 * The wait ends without an event. A program may pass NULL for the
	 * number of started requests.
	 */
	EXPECT_EQ(0, kaio_submit_wait(self->fd, self->ctx, 1, self->list, 1, 1, &event, &no_wait,
				      &submitted));
	EXPECT_EQ(1, submitted);
	EXPECT_EQ(0, kaio_submit_wait(self->fd, self->ctx, 0, NULL, 1, 1, &event, &no_wait, NULL));
	kaio_prep(&self->iocb, IOCB_CMD_PREAD, -1, self->buf, 1, 0);
	EXPECT_EQ(-EBADF, kaio_submit_wait(self->fd, self->ctx, 1, self->list, 1, 1, &event, &patience,
					   &submitted));
	EXPECT_EQ(0, submitted);
}

TEST_F(header, wait_leaves_the_event_in_the_ring)
{
	const struct io_event *event;

	ASSERT_EQ(1, kaio_submit(self->fd, self->ctx, 1, self->list));
	EXPECT_EQ(NULL, kaio_ring_peek(self->ring));
	ASSERT_EQ(2, write(self->pipe[1], "hi", 2));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &patience));
	event = kaio_ring_peek(self->ring);
	ASSERT_NE(NULL, event);
	EXPECT_EQ(42, event->data);
	EXPECT_EQ((unsigned long)&self->iocb, event->obj);
	EXPECT_EQ(2, event->res);
	kaio_ring_seen(self->ring);
	EXPECT_EQ(NULL, kaio_ring_peek(self->ring));
	EXPECT_EQ(0, kaio_wait(self->fd, self->ctx, 1, &no_wait));
}

/*
 * The loop takes more events than the ring has slots, so that head passes its
 * end and slots become free again.
 */
TEST_F(header, ring_wraps)
{
	const struct io_event *event;
	__u32 i;

	kaio_prep(&self->iocb, IOCB_CMD_NOOP, self->pipe[0], NULL, 0, 0);
	for (i = 0; i < 3 * self->ring->nr; i++) {
		self->iocb.aio_data = i;
		ASSERT_EQ(1, kaio_submit(self->fd, self->ctx, 1, self->list));
		event = kaio_ring_peek(self->ring);
		ASSERT_NE(NULL, event);
		ASSERT_EQ(i, event->data);
		kaio_ring_seen(self->ring);
	}
	EXPECT_EQ(NULL, kaio_ring_peek(self->ring));
}

TEST_F(header, cancel_reports_an_ended_request)
{
	const struct io_event *event;

	ASSERT_EQ(1, kaio_submit(self->fd, self->ctx, 1, self->list));
	ASSERT_EQ(1, kaio_cancel(self->fd, self->ctx, &self->iocb));
	event = kaio_ring_peek(self->ring);
	ASSERT_NE(NULL, event);
	EXPECT_EQ(-ECANCELED, event->res);
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &self->iocb));
}

TEST_HARNESS_MAIN
