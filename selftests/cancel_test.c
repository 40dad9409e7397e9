// SPDX-License-Identifier: GPL-2.0
/*
 * Tests KAIO_CANCEL: a request that waits ends at once, and the iocb's
 * address and key tell which request is meant.
 */
#include <pty.h>

#include "context_fixture.h"
#include "streams.h"

/*
 * Each variant is a request that waits for another kind of file.
 */
FIXTURE(waiting)
{
	int fd;
	__u64 ctx;
	struct iocb iocb;
	int file;
	/* The other end of the file, or -1 if there is none. */
	int other;
	__u64 buf[2];
	struct iovec iov;
	struct io_event event;
};

FIXTURE_VARIANT(waiting)
{
	void (*make)(FIXTURE_DATA(waiting) *self);
	/* Makes the file ready. */
	void (*make_ready)(FIXTURE_DATA(waiting) *self);
	int opcode;
	/* The events of an IOCB_CMD_POLL. */
	unsigned int events;
	__s64 res;
	/*
	 * Only an attempt of a worker shows that the request has to wait, and
	 * that takes time.
	 */
	bool tried_by_worker;
};

static void make_ends(FIXTURE_DATA(waiting) *self, int domain, bool full)
{
	int *const in = full ? &self->other : &self->file;
	int *const out = full ? &self->file : &self->other;

	if (!open_ends(domain, SOCK_STREAM, in, out))
		abort();
	if (full)
		fill_fd(self->file);
}

static void make_pipe(FIXTURE_DATA(waiting) *self)
{
	make_ends(self, 0, false);
}

static void make_full_pipe(FIXTURE_DATA(waiting) *self)
{
	make_ends(self, 0, true);
}

/* A FIFO that is open for reading and writing has two wait queues. */
static void make_fifo(FIXTURE_DATA(waiting) *self)
{
	self->file = self->other = fifo_open(MEM_DIR "/kaio-cancel-fifo", 0);
}

static void make_socket(FIXTURE_DATA(waiting) *self)
{
	make_ends(self, AF_UNIX, false);
}

static void make_full_socket(FIXTURE_DATA(waiting) *self)
{
	make_ends(self, AF_UNIX, true);
}

static void make_eventfd(FIXTURE_DATA(waiting) *self)
{
	self->file = self->other = eventfd(0, EFD_CLOEXEC);
}

static void make_full_eventfd(FIXTURE_DATA(waiting) *self)
{
	make_eventfd(self);
	if (eventfd_write(self->file, 0xfffffffffffffffeULL))
		abort();
}

static void make_timerfd(FIXTURE_DATA(waiting) *self)
{
	self->file = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	self->other = -1;
}

static void make_inotify(FIXTURE_DATA(waiting) *self)
{
	self->file = inotify_open();
	self->other = -1;
}

static void make_terminal(FIXTURE_DATA(waiting) *self)
{
	if (openpty(&self->other, &self->file, NULL, NULL, NULL))
		abort();
}

static void write_line(FIXTURE_DATA(waiting) *self)
{
	if (write(self->other, "1234567\n", 8) != 8)
		abort();
}

static void drain_other(FIXTURE_DATA(waiting) *self)
{
	fcntl(self->other, F_SETFL, O_NONBLOCK);
	drain_fd(self->other);
}

static void expire_timer(FIXTURE_DATA(waiting) *self)
{
	const struct itimerspec at_once = { .it_value.tv_nsec = 1 };

	if (timerfd_settime(self->file, 0, &at_once, NULL))
		abort();
}

static void raise_inotify(FIXTURE_DATA(waiting) *self)
{
	(void)self;
	inotify_raise(1);
}

static void hang_up(FIXTURE_DATA(waiting) *self)
{
	close(self->other);
}

/* clang-format off */
#define WAITING(_name, _make, _make_ready, _opcode, _events, _res) \
	FIXTURE_VARIANT_ADD(waiting, _name) { \
		.make = _make, \
		.make_ready = _make_ready, \
		.opcode = _opcode, \
		.events = _events, \
		.res = _res, \
	}

WAITING(pipe_read, make_pipe, write_line, IOCB_CMD_PREAD, 0, -ECANCELED);
WAITING(pipe_readv, make_pipe, write_line, IOCB_CMD_PREADV, 0, -ECANCELED);
WAITING(pipe_write, make_full_pipe, drain_other, IOCB_CMD_PWRITE, 0, -ECANCELED);
WAITING(pipe_writev, make_full_pipe, drain_other, IOCB_CMD_PWRITEV, 0, -ECANCELED);
WAITING(fifo_read, make_fifo, write_line, IOCB_CMD_PREAD, 0, -ECANCELED);
WAITING(socket_read, make_socket, write_line, IOCB_CMD_PREAD, 0, -ECANCELED);
WAITING(socket_write, make_full_socket, drain_other, IOCB_CMD_PWRITE, 0, -ECANCELED);
WAITING(eventfd_read, make_eventfd, write_line, IOCB_CMD_PREAD, 0, -ECANCELED);
FIXTURE_VARIANT_ADD(waiting, eventfd_write) {
	.make = make_full_eventfd,
	.make_ready = drain_other,
	.opcode = IOCB_CMD_PWRITE,
	.res = -ECANCELED,
	.tried_by_worker = true,
};

WAITING(timerfd_read, make_timerfd, expire_timer, IOCB_CMD_PREAD, 0, -ECANCELED);
WAITING(inotify_read, make_inotify, raise_inotify, IOCB_CMD_PREAD, 0, -ECANCELED);
WAITING(terminal_read, make_terminal, write_line, IOCB_CMD_PREAD, 0, -ECANCELED);
WAITING(poll_in, make_pipe, write_line, IOCB_CMD_POLL, POLLIN, 0);
WAITING(poll_out, make_full_pipe, drain_other, IOCB_CMD_POLL, POLLOUT, 0);
WAITING(poll_for_nothing, make_pipe, hang_up, IOCB_CMD_POLL, 0, 0);
WAITING(poll_eventfd, make_eventfd, write_line, IOCB_CMD_POLL, POLLIN, 0);
WAITING(poll_socket, make_socket, write_line, IOCB_CMD_POLL, POLLIN | POLLRDHUP, 0);
/* clang-format on */

FIXTURE_SETUP(waiting)
{
	if (!open_context(_metadata, &self->fd, 1, &self->ctx))
		return;
	variant->make(self);
	ASSERT_LE(0, self->file);
	self->buf[0] = 1;
	switch (variant->opcode) {
	case IOCB_CMD_POLL:
		prep_poll(&self->iocb, self->file, variant->events);
		break;
	case IOCB_CMD_PREADV:
	case IOCB_CMD_PWRITEV:
		self->iov = (struct iovec){ self->buf, 8 };
		prep_rw(&self->iocb, variant->opcode, self->file, &self->iov, 1,
			0);
		break;
	case IOCB_CMD_PREAD:
	case IOCB_CMD_PWRITE:
		prep_rw(&self->iocb, variant->opcode, self->file, self->buf, 8,
			0);
		break;
	}
	self->iocb.aio_data = 42;
}

FIXTURE_TEARDOWN(waiting)
{
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	expect_all_completed(_metadata, self->fd);
	close(self->fd);
}

static void submit_waiting(struct __test_metadata *const _metadata,
			   FIXTURE_DATA(waiting) *self,
			   const FIXTURE_VARIANT(waiting) *variant)
{
	const long parked = kaio_stat(self->fd, "parked");

	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	if (variant->tried_by_worker) {
		ASSERT_TRUE(wait_until(kaio_stat(self->fd, "parked") > parked));
		ASSERT_TRUE(stays_quiet(self->fd, self->ctx));
	}
	ASSERT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 1, &self->event,
				    &no_wait));
	ASSERT_EQ(parked + 1, kaio_stat(self->fd, "parked"));
	ASSERT_STAT(1, self->fd, "inflight");
}

TEST_F(waiting, ends_at_once)
{
	bool ended = false;

	submit_waiting(_metadata, self, variant);
	EXPECT_EQ(-EINPROGRESS, kaio_cancel_ended(self->fd, self->ctx,
						  &self->iocb, &ended));
	EXPECT_TRUE(ended);
	/* No system call is needed before the event is in the ring. */
	ASSERT_EQ(1, ring_reap(self->ctx, &self->event, 1));
	EXPECT_EQ(variant->res, self->event.res);
	EXPECT_EQ(0, self->event.res2);
	EXPECT_EQ(42, self->event.data);
	EXPECT_EQ((uintptr_t)&self->iocb, self->event.obj);
	EXPECT_EQ(1, kaio_stat(self->fd, "cancelled"));
	EXPECT_STAT(0, self->fd, "inflight");
}

TEST_F(waiting, cancelled_twice)
{
	submit_waiting(_metadata, self, variant);
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &self->iocb));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &self->iocb));
	ASSERT_EQ(1, kaio_getevents(self->fd, self->ctx, 1, 1, &self->event,
				    &no_wait));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &self->iocb));
	/* No second event follows. */
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	EXPECT_EQ(1, kaio_stat(self->fd, "cancelled"));
}

/*
 * The context holds one request, so it would be full if a cancel lost a slot.
 */
TEST_F(waiting, many_times)
{
	const int rounds = variant->tried_by_worker ? 20 : 300;
	int i;

	for (i = 0; i < rounds; i++) {
		submit_waiting(_metadata, self, variant);
		ASSERT_EQ(-EINPROGRESS,
			  kaio_cancel(self->fd, self->ctx, &self->iocb))
		{
			TH_LOG("round %d", i);
		}
		ASSERT_EQ(1, kaio_getevents(self->fd, self->ctx, 1, 1,
					    &self->event, &no_wait));
	}
	EXPECT_EQ(rounds, kaio_stat(self->fd, "cancelled"));
}

TEST_F(waiting, counted_by_eventfd)
{
	const int counter = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	__u64 count = 0;

	self->iocb.aio_flags = IOCB_FLAG_RESFD;
	self->iocb.aio_resfd = counter;
	submit_waiting(_metadata, self, variant);
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &self->iocb));
	EXPECT_TRUE(wait_until(read(counter, &count, sizeof(count)) == 8));
	EXPECT_EQ(1, count);
	EXPECT_EQ(-1, read(counter, &count, sizeof(count)));
}

TEST_F(waiting, wakes_sleeper)
{
	struct waiter waiter = { self->fd, self->ctx, 1, {} };
	struct sleeper sleeper;

	submit_waiting(_metadata, self, variant);
	ASSERT_TRUE(fall_asleep(&sleeper, wait_for_events, &waiter));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &self->iocb));
	ASSERT_EQ(1, woken(&sleeper));
	EXPECT_EQ(variant->res, waiter.events[0].res);
}

/* Returns true if the other end reports that its peer is closed. */
static bool peer_is_closed(int end)
{
	struct pollfd pollfd = { .fd = end };

	return poll(&pollfd, 1, 0) == 1 &&
	       (pollfd.revents & (POLLHUP | POLLERR));
}

/*
 * A cancelled request does not keep its file open and has no entry on its wait
 * queue.
 */
TEST_F(waiting, releases_file)
{
	submit_waiting(_metadata, self, variant);
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &self->iocb));
	ASSERT_EQ(0, close(self->file));
	if (self->other >= 0 && self->other != self->file)
		EXPECT_TRUE(wait_until(peer_is_closed(self->other)));
}

/* When the file becomes ready after the cancel, the data goes to others. */
TEST_F(waiting, leaves_data_to_others)
{
	const bool is_write = variant->make_ready == drain_other;
	struct pollfd pollfd = {
		.fd = self->file,
		.events = is_write ? POLLOUT : POLLIN,
	};
	__u64 junk;

	submit_waiting(_metadata, self, variant);
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &self->iocb));
	ASSERT_EQ(1, kaio_getevents(self->fd, self->ctx, 1, 1, &self->event,
				    &no_wait));
	variant->make_ready(self);
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	EXPECT_EQ(1, poll(&pollfd, 1, PATIENCE_SECONDS * 1000));
	EXPECT_EQ(1, self->buf[0]);
	if (is_write)
		EXPECT_EQ(-1, read(self->other, &junk, sizeof(junk)));
	EXPECT_STAT(1, self->fd, "completed");
}

/* Without the cancel, the request completes when the file becomes ready. */
TEST_F(waiting, completes_without_cancel)
{
	submit_waiting(_metadata, self, variant);
	variant->make_ready(self);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_NE(-ECANCELED, self->event.res);
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &self->iocb));
	EXPECT_EQ(0, kaio_stat(self->fd, "cancelled"));
}

/* A POLL is the only operation that native AIO can cancel. */
TEST_F(context, poll_as_native)
{
	struct iocb iocb, *iocbs = &iocb;
	struct io_event event;
	aio_context_t native;
	int ends[2];

	if (native_setup(1, &native))
		SKIP(return, "this kernel has no native AIO");
	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	prep_poll(&iocb, ends[0], POLLIN);
	ASSERT_EQ(1, native_submit(native, 1, &iocbs));
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(-EINPROGRESS, native_cancel(native, &iocb));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	EXPECT_EQ(-EINVAL, native_cancel(native, &iocb));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, native_getevents(native, 1, 1, &event, &patience));
	EXPECT_EQ(0, event.res);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(0, event.res);
	/* Native AIO answers bad arguments with the following errors. */
	EXPECT_EQ(-EFAULT, native_cancel(native, NULL));
	EXPECT_EQ(-EFAULT, native_cancel(0, NULL));
	EXPECT_EQ(-EINVAL, native_cancel(0, &iocb));
}

/*
 * Cancels a write after a part of it was written.
 */
static void expect_partial(struct __test_metadata *const _metadata,
			   FIXTURE_DATA(context) *self, const int *ends)
{
	static char out[4 << 20], in[4 << 20];
	struct io_event event;
	struct iocb iocb;
	ssize_t sum = 0, n;

	fill_pattern(out, sizeof(out), 1, 0);
	prep_pwrite(&iocb, ends[1], out, sizeof(out), 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	ASSERT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	/* The result is exactly the number of bytes that can be read. */
	ASSERT_EQ(0, fcntl(ends[0], F_SETFL, O_NONBLOCK));
	while ((n = read(ends[0], in + sum, sizeof(in) - sum)) > 0)
		sum += n;
	EXPECT_LT(0, sum);
	EXPECT_GT((ssize_t)sizeof(out), sum);
	EXPECT_EQ(sum, event.res);
	EXPECT_TRUE(is_pattern(in, sum, 1, 0));
}

TEST_F(context, partial_pipe_write)
{
	int ends[2];

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	expect_partial(_metadata, self, ends);
}

TEST_F(context, partial_socket_write)
{
	int ends[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	expect_partial(_metadata, self, ends);
}

/*
 * The tests below check which request a cancel means.
 */
TEST_F(context, unknown_request)
{
	struct iocb waiting, other;
	struct io_event event;
	int ends[2];

	park_reads(_metadata, self, &waiting, 1, ends);
	prep_noop(&other, self->fd);
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &other));
	/*
	 * An iocb with the same contents at another address does not name the
	 * request.
	 */
	other = waiting;
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &other));
	EXPECT_EQ(0, kaio_stat(self->fd, "cancelled"));
	ASSERT_EQ(1, write(ends[1], "x", 1));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(1, event.res);
}

TEST_F(context, empty_context)
{
	struct iocb iocb;

	prep_noop(&iocb, self->fd);
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb));
}

TEST_F(context, complete_request)
{
	struct io_event event;
	struct iocb iocb;

	prep_noop(&iocb, self->fd);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(0, event.res);
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb));
}

/* The request waited before it completed. */
TEST_F(context, complete_after_waiting)
{
	struct io_event event;
	struct iocb iocb;
	int ends[2];

	park_reads(_metadata, self, &iocb, 1, ends);
	ASSERT_EQ(1, write(ends[1], "x", 1));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb));
	EXPECT_EQ(1, event.res);
}

TEST_F(context, refused_at_submit)
{
	struct iocb iocb;

	prep_noop(&iocb, -1);
	ASSERT_EQ(-EBADF, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb));
}

/*
 * A pointer that cannot be read is an error even if the context does not exist.
 */
TEST_F(context, bad_pointer)
{
	char *page = map_guarded(1);
	const struct {
		const char *name;
		const void *iocb;
	} cases[] = {
		{ "NULL", NULL },
		{ "kernel", (void *)KERNEL_ADDR },
		{ "not canonical", (void *)(1ULL << 62) },
		{ "last", (void *)~0UL },
		{ "not mapped", page + PAGE },
		{ "key not mapped",
		  page + PAGE - offsetof(struct iocb, aio_key) },
	};
	size_t i;

	ASSERT_NE(NULL, page);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		EXPECT_EQ(-EFAULT,
			  kaio_cancel(self->fd, self->ctx, cases[i].iocb))
		{
			TH_LOG("%s", cases[i].name);
		}
		EXPECT_EQ(-EFAULT, kaio_cancel(self->fd, 0, cases[i].iocb))
		{
			TH_LOG("%s, no context", cases[i].name);
		}
	}
}

TEST_F(context, bad_context)
{
	struct iocb iocb;
	int ends[2];

	park_reads(_metadata, self, &iocb, 1, ends);
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, 0, &iocb));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx + PAGE, &iocb));
	EXPECT_EQ(0, kaio_stat(self->fd, "cancelled"));
}

/* Parks a read whose iocb has a page of its own. */
static struct iocb *park_page(struct __test_metadata *const _metadata,
			      FIXTURE_DATA(context) *self, int *ends)
{
	struct iocb *iocb = (void *)map_guarded(1);

	ASSERT_NE(NULL, iocb);
	park_reads(_metadata, self, iocb, 1, ends);
	return iocb;
}

/* The cancel reads the iocb and does not write it. */
TEST_F(context, read_only_memory)
{
	int ends[2];
	struct iocb *iocb = park_page(_metadata, self, ends);
	struct io_event event;

	ASSERT_EQ(0, mprotect(iocb, PAGE, PROT_READ));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, iocb));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(-ECANCELED, event.res);
}

/* The answer cannot be written, so nothing is cancelled. */
TEST_F(context, read_only_argument)
{
	struct kaio_cancel *arg = (void *)map_guarded(1);
	struct iocb iocb;
	int ends[2];

	ASSERT_NE(NULL, arg);
	park_reads(_metadata, self, &iocb, 1, ends);
	arg->ctx_id = self->ctx;
	arg->iocb = (uintptr_t)&iocb;
	ASSERT_EQ(0, mprotect(arg, PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, kaio_ioctl(self->fd, KAIO_CANCEL, arg));
	EXPECT_STAT(1, self->fd, "inflight");
	ASSERT_EQ(0, mprotect(arg, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(-EINPROGRESS, kaio_ioctl(self->fd, KAIO_CANCEL, arg));
	EXPECT_EQ(1, arg->ended);
}

/* A cancel that fails does not report that the request has ended. */
TEST_F(context, not_ended)
{
	struct iocb iocb;
	bool ended;

	prep_noop(&iocb, self->fd);
	EXPECT_EQ(-EINVAL, kaio_cancel_ended(self->fd, self->ctx, &iocb,
					     &ended));
	EXPECT_FALSE(ended);
}

/*
 * An iocb that is unmapped can no longer be cancelled. The request still
 * completes.
 */
TEST_F(context, iocb_unmapped)
{
	int ends[2];
	struct iocb *iocb = park_page(_metadata, self, ends);
	struct io_event event;

	ASSERT_EQ(0, munmap(iocb, PAGE));
	EXPECT_EQ(-EFAULT, kaio_cancel(self->fd, self->ctx, iocb));
	ASSERT_EQ(1, write(ends[1], "x", 1));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(1, event.res);
}

TEST_F(context, iocb_unaligned)
{
	char memory[sizeof(struct iocb) + 1];
	struct iocb *iocb = (void *)(memory + 1), aligned;
	static char c;
	int ends[2];

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	prep_pread(&aligned, ends[0], &c, 1, 0);
	memcpy(memory + 1, &aligned, sizeof(aligned));
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, iocb));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, iocb));
}

TEST_F(context, key)
{
	struct iocb iocb;
	int ends[2], bit;

	park_reads(_metadata, self, &iocb, 1, ends);
	EXPECT_EQ(0, iocb.aio_key);
	for (bit = 0; bit < 32; bit++) {
		iocb.aio_key = 1U << bit;
		EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb))
		{
			TH_LOG("bit %d", bit);
		}
	}
	iocb.aio_key = 0;
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
}

/* Only the address and the key of the submitted iocb count. */
TEST_F(context, contents_changed)
{
	struct iocb iocb;
	int ends[2];

	park_reads(_metadata, self, &iocb, 1, ends);
	memset(&iocb, 0xff, sizeof(iocb));
	iocb.aio_key = 0;
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
}

TEST_F(context, request_of_other_context)
{
	const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	__u64 same_file, other_file;
	struct iocb iocb;
	int ends[2];

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, kaio_setup(self->fd, 1, &same_file));
	ASSERT_EQ(0, kaio_setup(fd, 1, &other_file));
	park_reads(_metadata, self, &iocb, 1, ends);
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, same_file, &iocb));
	EXPECT_EQ(-EINVAL, kaio_cancel(fd, other_file, &iocb));
	EXPECT_EQ(-EINVAL, kaio_cancel(fd, self->ctx, &iocb));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
}

/* One iocb in two contexts makes two requests. */
TEST_F(context, two_contexts)
{
	struct io_event event;
	struct iocb iocb;
	__u64 second;
	int ends[2];

	ASSERT_EQ(0, kaio_setup(self->fd, 1, &second));
	park_reads(_metadata, self, &iocb, 1, ends);
	ASSERT_EQ(1, kaio_submit_one(self->fd, second, &iocb));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, second, &iocb));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, second, &iocb));
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 1, &event,
				    &no_wait));
	EXPECT_EQ(1, kaio_getevents(self->fd, second, 0, 1, &event, &no_wait));
	ASSERT_EQ(1, write(ends[1], "x", 1));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(1, event.res);
}

TEST_F(context, by_child)
{
	struct io_event event;
	struct iocb iocb;
	int ends[2], status;
	pid_t pid;

	park_reads(_metadata, self, &iocb, 1, ends);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(kaio_cancel(self->fd, self->ctx, &iocb) == -EINVAL ? 0 : 1);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, kaio_stat(self->fd, "cancelled"));
	ASSERT_EQ(1, write(ends[1], "x", 1));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(1, event.res);
}

/*
 * An iocb that was submitted twice makes two requests. Each can be cancelled
 * once.
 */
TEST_F(context, submitted_twice)
{
	struct io_event events[3];
	struct iocb iocb;
	int ends[2];

	park_reads(_metadata, self, &iocb, 1, ends);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	EXPECT_STAT(1, self->fd, "inflight");
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocb));
	/*
	 * The second request may have been taking its turn when it was
	 * cancelled.
	 */
	ASSERT_EQ(2, kaio_getevents(self->fd, self->ctx, 2, 3, events,
				    &patience));
	EXPECT_EQ(-ECANCELED, events[0].res);
	EXPECT_EQ(-ECANCELED, events[1].res);
}

/*
 * The first request of this iocb is complete, so the cancel means the second.
 */
TEST_F(context, iocb_reused)
{
	struct io_event events[2];
	struct iocb iocb;
	int ends[2];
	char c;

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	ASSERT_EQ(1, write(ends[1], "x", 1));
	prep_pread(&iocb, ends[0], &c, 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	ASSERT_EQ(2, kaio_wait(self->fd, self->ctx, 2, events));
	EXPECT_EQ(1, events[0].res);
	EXPECT_EQ(-ECANCELED, events[1].res);
}

/* The requests before and behind a cancelled one are served in order. */
TEST_F(context, middle_of_queue)
{
	static const __u64 left[] = { 0, 1, 2, 4, 6, 7 };
	struct io_event events[8];
	struct iocb iocbs[8];
	int ends[2], i;

	park_reads(_metadata, self, iocbs, 8, ends);
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocbs[3]));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocbs[5]));
	ASSERT_EQ(2, kaio_wait(self->fd, self->ctx, 2, events));
	EXPECT_EQ(3, events[0].data);
	EXPECT_EQ(5, events[1].data);
	ASSERT_EQ(6, write(ends[1], "abcdef", 6));
	ASSERT_EQ(6, kaio_wait(self->fd, self->ctx, 6, events));
	for (i = 0; i < 6; i++) {
		EXPECT_EQ(1, events[i].res)
		{
			TH_LOG("request %lld", events[i].data);
		}
		EXPECT_EQ(left[i], events[i].data);
	}
}

TEST_F(context, then_destroy)
{
	struct iocb iocbs[8];
	int ends[2];

	park_reads(_metadata, self, iocbs, 8, ends);
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocbs[0]));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocbs[1]));
	EXPECT_STAT(0, self->fd, "inflight");
	EXPECT_STAT(8, self->fd, "completed");
	EXPECT_EQ(8, kaio_stat(self->fd, "cancelled"));
}

TEST_HARNESS_MAIN
