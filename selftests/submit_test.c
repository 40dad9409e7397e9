// SPDX-License-Identifier: GPL-2.0
/*
 * Tests submission: which requests are refused, with which errno and in
 * which order, and that a refused request leaves nothing behind.
 */
#include <linux/capability.h>
#include <sys/epoll.h>

#include "context_fixture.h"

#define IOPRIO_RT	(1 << 13)
#define IOPRIO_INVALID	(7 << 13)
#define RWF_UNKNOWN	(1 << 30)
#define IOV_LIMIT	1024

/*
 * A valid request, and the means to make one thing of it wrong.
 */
FIXTURE(reject)
{
	int fd;
	__u64 ctx;
	int file;
	char *buf;
	struct iovec *iov;
	struct iocb *iocb;
	/*
	 * The pointer that is submitted, which is &iocb unless the pointer
	 * itself is wrong.
	 */
	struct iocb *pointer;
	/* The final protection of the request's memory. */
	int prot;
	struct iocb good;
};

FIXTURE_VARIANT(reject)
{
	int opcode;
	int err;
	/* These functions make a valid request invalid. */
	void (*make_invalid[2])(FIXTURE_DATA(reject) *self);
};

static void reserved2(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_reserved2 = 1;
}

static void negative_nbytes(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_nbytes = 1ULL << 63;
}

static void all_ones_nbytes(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_nbytes = ~0ULL;
}

static void negative_fd(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_fildes = -1;
}

static void closed_fd(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_fildes = dup(self->file);
	close(self->iocb->aio_fildes);
}

static void path_fd(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_fildes = open("/", O_PATH | O_CLOEXEC);
}

static void read_only_fd(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_fildes = reopen(self->file, O_RDONLY);
}

static void write_only_fd(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_fildes = reopen(self->file, O_WRONLY);
}

static void directory(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_fildes = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void epoll_fd(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_fildes = epoll_create1(EPOLL_CLOEXEC);
}

static void closed_resfd(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_flags |= IOCB_FLAG_RESFD;
	self->iocb->aio_resfd = dup(self->file);
	close(self->iocb->aio_resfd);
}

static void file_as_resfd(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_flags |= IOCB_FLAG_RESFD;
	self->iocb->aio_resfd = self->file;
}

static void unknown_rw_flag(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_rw_flags = RWF_UNKNOWN;
}

static void negative_rw_flags(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_rw_flags = 1U << 31;
}

static void any_rw_flag(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_rw_flags = RWF_HIPRI;
}

static void contradictory_rw_flags(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_rw_flags = RWF_APPEND | RWF_NOAPPEND;
}

static void invalid_ioprio(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_flags |= IOCB_FLAG_IOPRIO;
	self->iocb->aio_reqprio = IOPRIO_INVALID;
}

/*
 * The harness runs each test in a process of its own, so the capabilities need
 * not be restored.
 */
static void realtime_ioprio(FIXTURE_DATA(reject) *self)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};

	self->iocb->aio_flags |= IOCB_FLAG_IOPRIO;
	self->iocb->aio_reqprio = IOPRIO_RT;
	if (syscall(SYS_capset, &header, none))
		abort();
}

static void negative_offset(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_offset = -1;
}

static void overflowing_offset(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_offset = LLONG_MAX;
}

static void some_offset(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_offset = 1;
}

static void some_nbytes(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_nbytes = 1;
}

static void some_buffer(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_buf = (uintptr_t)self->buf;
}

static void kernel_buffer(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_buf = KERNEL_ADDR;
}

static void kernel_segment(FIXTURE_DATA(reject) *self)
{
	self->iov[1].iov_base = (void *)KERNEL_ADDR;
}

static void negative_segment(FIXTURE_DATA(reject) *self)
{
	self->iov[1].iov_len = 1ULL << 63;
}

static void null_vector(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_buf = 0;
}

static void unmapped_vector(FIXTURE_DATA(reject) *self)
{
	/* The last segment is beyond the end of the mapping. */
	self->iocb->aio_buf = (uintptr_t)self->buf + PAGE -
			      sizeof(struct iovec);
	memcpy(self->buf + PAGE - sizeof(struct iovec), self->iov,
	       sizeof(struct iovec));
}

static void too_many_segments(FIXTURE_DATA(reject) *self)
{
	self->iocb->aio_nbytes = IOV_LIMIT + 1;
}

static void null_iocb(FIXTURE_DATA(reject) *self)
{
	self->pointer = NULL;
}

static void kernel_iocb(FIXTURE_DATA(reject) *self)
{
	self->pointer = (struct iocb *)KERNEL_ADDR;
}

static void unmapped_iocb(FIXTURE_DATA(reject) *self)
{
	self->prot = PROT_NONE;
}

static void half_mapped_iocb(FIXTURE_DATA(reject) *self)
{
	self->pointer = (void *)((char *)self->iocb + PAGE - 32);
	memcpy(self->pointer, self->iocb, 32);
}

static void read_only_iocb(FIXTURE_DATA(reject) *self)
{
	self->prot = PROT_READ;
}

/* clang-format off */
#define REJECT(_opcode, _name, _err) \
	FIXTURE_VARIANT_ADD(reject, _name) { \
		.opcode = IOCB_CMD_##_opcode, \
		.err = _err, \
		.make_invalid = { _name }, \
	}
/* Of two errors, the first one is reported. */
#define ORDER(_opcode, _first, _second, _err) \
	FIXTURE_VARIANT_ADD(reject, _first##_before_##_second) { \
		.opcode = IOCB_CMD_##_opcode, \
		.err = _err, \
		.make_invalid = { _first, _second }, \
	}
#define UNKNOWN(_name, _opcode) \
	FIXTURE_VARIANT_ADD(reject, _name) { \
		.opcode = _opcode, \
		.err = EINVAL, \
	}
#define NOOP(_spoil, _err) \
	FIXTURE_VARIANT_ADD(reject, noop_##_spoil) { \
		.opcode = KAIO_CMD_NOOP, \
		.err = _err, \
		.make_invalid = { _spoil }, \
	}

REJECT(PREAD, reserved2, EINVAL);
REJECT(PREAD, negative_nbytes, EINVAL);
REJECT(PREAD, all_ones_nbytes, EINVAL);
REJECT(PREAD, negative_fd, EBADF);
REJECT(PREAD, closed_fd, EBADF);
REJECT(PREAD, path_fd, EBADF);
REJECT(PREAD, write_only_fd, EBADF);
REJECT(PWRITE, read_only_fd, EBADF);
REJECT(PREAD, directory, EINVAL);
REJECT(PREAD, epoll_fd, EINVAL);
REJECT(PREAD, closed_resfd, EBADF);
REJECT(PREAD, file_as_resfd, EINVAL);
REJECT(PREAD, unknown_rw_flag, EOPNOTSUPP);
REJECT(PREAD, negative_rw_flags, EOPNOTSUPP);
REJECT(PWRITE, contradictory_rw_flags, EINVAL);
REJECT(PREAD, invalid_ioprio, EINVAL);
REJECT(PREAD, realtime_ioprio, EPERM);
REJECT(PREAD, negative_offset, EINVAL);
REJECT(PREAD, overflowing_offset, EINVAL);
REJECT(PREAD, kernel_buffer, EFAULT);
REJECT(PREADV, kernel_segment, EFAULT);
REJECT(PREADV, negative_segment, EINVAL);
REJECT(PREADV, null_vector, EFAULT);
REJECT(PWRITEV, unmapped_vector, EFAULT);
REJECT(PWRITEV, too_many_segments, EINVAL);
REJECT(PREAD, null_iocb, EFAULT);
REJECT(PREAD, kernel_iocb, EFAULT);
REJECT(PREAD, unmapped_iocb, EFAULT);
REJECT(PREAD, half_mapped_iocb, EFAULT);
REJECT(PREAD, read_only_iocb, EFAULT);

UNKNOWN(opcode_4, 4);
UNKNOWN(opcode_9, 9);
UNKNOWN(opcode_64, 64);
UNKNOWN(opcode_256, 256);
UNKNOWN(opcode_65535, 65535);

NOOP(some_buffer, EINVAL);
NOOP(some_nbytes, EINVAL);
NOOP(some_offset, EINVAL);
NOOP(any_rw_flag, EINVAL);
NOOP(negative_fd, EBADF);
NOOP(reserved2, EINVAL);

ORDER(PREAD, unmapped_iocb, reserved2, EFAULT);
ORDER(PREAD, reserved2, closed_fd, EINVAL);
ORDER(PREAD, negative_nbytes, closed_fd, EINVAL);
ORDER(PREAD, closed_fd, file_as_resfd, EBADF);
ORDER(PREAD, file_as_resfd, read_only_iocb, EINVAL);
ORDER(PREAD, closed_resfd, unknown_rw_flag, EBADF);
ORDER(PREAD, read_only_iocb, unknown_rw_flag, EFAULT);
ORDER(PREAD, unknown_rw_flag, write_only_fd, EOPNOTSUPP);
ORDER(PREAD, realtime_ioprio, unknown_rw_flag, EPERM);
ORDER(PWRITE, directory, kernel_buffer, EBADF);
ORDER(PREAD, epoll_fd, kernel_buffer, EINVAL);
ORDER(PREAD, write_only_fd, negative_offset, EBADF);
ORDER(PREAD, kernel_buffer, negative_offset, EFAULT);

FIXTURE_VARIANT_ADD(reject, closed_fd_before_unknown_opcode) {
	.opcode = 4,
	.err = EBADF,
	.make_invalid = { closed_fd },
};

FIXTURE_VARIANT_ADD(reject, read_only_iocb_before_unknown_opcode) {
	.opcode = 4,
	.err = EFAULT,
	.make_invalid = { read_only_iocb },
};
/* clang-format on */

FIXTURE_SETUP(reject)
{
	int i;

	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	open_page(_metadata, MEM_DIR, &self->file, &self->buf);
	self->iocb = (void *)map_guarded(1);
	ASSERT_NE(NULL, self->iocb);
	self->iov = calloc(IOV_LIMIT + 1, sizeof(*self->iov));
	ASSERT_NE(NULL, self->iov);
	for (i = 0; i <= IOV_LIMIT; i++) {
		self->iov[i].iov_base = self->buf + i;
		self->iov[i].iov_len = 1;
	}
	prep_pread(&self->good, self->file, self->buf, 1, 0);

	self->pointer = self->iocb;
	prep_rw(self->iocb, variant->opcode, self->file, self->buf, 512, 0);
	if (variant->opcode == IOCB_CMD_PREADV ||
	    variant->opcode == IOCB_CMD_PWRITEV)
		prep_rw(self->iocb, variant->opcode, self->file, self->iov, 2,
			0);
	if (variant->opcode == KAIO_CMD_NOOP)
		prep_noop(self->iocb, self->file);
	/* The request is valid before it is made invalid. */
	if (variant->make_invalid[0] && variant->opcode != 4)
		ASSERT_LE(0, kaio_do(self->fd, self->ctx, self->iocb));
	self->prot = PROT_READ | PROT_WRITE;
	for (i = 0; i < 2; i++)
		if (variant->make_invalid[i])
			variant->make_invalid[i](self);
	ASSERT_EQ(0, mprotect(self->iocb, PAGE, self->prot));
}

FIXTURE_TEARDOWN(reject)
{
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	close(self->fd);
}

TEST_F(reject, alone)
{
	const long submitted = kaio_stat(self->fd, "submitted");
	struct io_event event;
	int i;

	/*
	 * Submit so often that the context would be full if each refusal lost a
	 * slot.
	 */
	for (i = 0; i < 2 * NR_EVENTS; i++) {
		ASSERT_EQ(-variant->err,
			  kaio_submit(self->fd, self->ctx, 1, &self->pointer))
		{
			TH_LOG("i %ld", (long)i);
		}
	}
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 1, &event,
				    &no_wait));
	EXPECT_EQ(submitted, kaio_stat(self->fd, "submitted"));
	EXPECT_STAT(0, self->fd, "inflight");

	for (i = 0; i < NR_EVENTS; i++) {
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->good))
		{
			TH_LOG("i %ld", (long)i);
		}
	}
	EXPECT_EQ(submitted + NR_EVENTS, kaio_stat(self->fd, "submitted"));
}

TEST_F(reject, second_of_three)
{
	struct iocb *iocbs[] = { &self->good, self->pointer, &self->good };
	const long submitted = kaio_stat(self->fd, "submitted");
	struct io_event events[3];

	EXPECT_EQ(1, kaio_submit(self->fd, self->ctx, 3, iocbs));
	EXPECT_EQ(1, kaio_wait(self->fd, self->ctx, 1, events));
	EXPECT_EQ((uintptr_t)&self->good, events[0].obj);
	EXPECT_EQ(1, events[0].res);
	EXPECT_EQ(submitted + 1, kaio_stat(self->fd, "submitted"));
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 3, events,
				    &no_wait));
}

/* Native AIO returns the same error. */
TEST_F(reject, as_native)
{
	aio_context_t native;

	if (native_setup(1, &native))
		SKIP(return, "this kernel has no native AIO");
	EXPECT_EQ(-variant->err, native_submit(native, 1, &self->pointer));
}

/*
 * The tests below check valid requests and their number.
 */
TEST_F(context, no_requests)
{
	EXPECT_EQ(0, kaio_submit(self->fd, self->ctx, 0, NULL));
	EXPECT_EQ(0, kaio_submit(self->fd, self->ctx, 0, (void *)KERNEL_ADDR));
}

TEST_F(context, negative_nr)
{
	struct iocb iocb, *iocbs = &iocb;

	prep_noop(&iocb, self->fd);
	EXPECT_EQ(-EINVAL, kaio_submit(self->fd, self->ctx, -1, &iocbs));
	EXPECT_EQ(-EINVAL, kaio_submit(self->fd, self->ctx, LONG_MIN, &iocbs));
	EXPECT_EQ(0, kaio_stat(self->fd, "submitted"));
}

TEST_F(context, array_null)
{
	EXPECT_EQ(-EFAULT, kaio_submit(self->fd, self->ctx, 1, NULL));
}

TEST_F(context, array_in_kernel)
{
	EXPECT_EQ(-EFAULT,
		  kaio_submit(self->fd, self->ctx, 1, (void *)KERNEL_ADDR));
}

TEST_F(context, array_ends_early)
{
	char *page = map_guarded(1);
	struct iocb iocb, **iocbs;
	struct io_event events[2];

	ASSERT_NE(NULL, page);
	iocbs = (struct iocb **)(page + PAGE) - 2;
	prep_noop(&iocb, self->fd);
	iocbs[0] = &iocb;
	iocbs[1] = &iocb;
	EXPECT_EQ(2, kaio_submit(self->fd, self->ctx, 3, iocbs));
	EXPECT_EQ(2, kaio_wait(self->fd, self->ctx, 2, events));
	EXPECT_EQ(-EFAULT, kaio_submit(self->fd, self->ctx, 1, iocbs + 2));
}

TEST_F(context, unaligned)
{
	char *memory = map_guarded(1);
	struct iocb *iocb = (void *)(memory + 1);
	struct iocb **iocbs = (void *)(memory + 1003);
	struct iocb aligned;
	struct io_event event;

	ASSERT_NE(NULL, memory);
	prep_noop(&aligned, self->fd);
	memcpy(iocb, &aligned, sizeof(aligned));
	memcpy(iocbs, &iocb, sizeof(iocb));
	ASSERT_EQ(1, kaio_submit(self->fd, self->ctx, 1, iocbs));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ((uintptr_t)iocb, event.obj);
}

TEST_F(context, event_names_request)
{
	struct io_event event;
	struct iocb iocb;

	prep_noop(&iocb, self->fd);
	iocb.aio_data = 0xfedcba9876543210ULL;
	iocb.aio_key = 123;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	/* This is KIOCB_KEY, for io_cancel(2). */
	EXPECT_EQ(0, iocb.aio_key);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(0xfedcba9876543210ULL, event.data);
	EXPECT_EQ((uintptr_t)&iocb, event.obj);
	EXPECT_EQ(0, event.res);
	EXPECT_EQ(0, event.res2);
}

TEST_F(context, same_request_twice)
{
	struct iocb iocb, *iocbs[] = { &iocb, &iocb, &iocb };
	struct io_event events[4];

	prep_noop(&iocb, self->fd);
	EXPECT_EQ(3, kaio_submit(self->fd, self->ctx, 3, iocbs));
	EXPECT_EQ(3, kaio_getevents(self->fd, self->ctx, 3, 4, events,
				    &patience));
}

TEST_F(context, unknown_flags_ignored)
{
	struct iocb iocb;
	int bit;

	for (bit = 2; bit < 32; bit++) {
		prep_noop(&iocb, self->fd);
		iocb.aio_flags = 1U << bit;
		EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb))
		{
			TH_LOG("bit %d", bit);
		}
	}
}

TEST_F(context, ioprio_taken)
{
	struct iocb iocb;
	char c;
	int file = open_pattern(MEM_DIR, 1, 1);

	ASSERT_LE(0, file);
	prep_pread(&iocb, file, &c, 1, 0);
	iocb.aio_flags = IOCB_FLAG_IOPRIO;
	/* Every user may use the best-effort class. */
	iocb.aio_reqprio = 2 << 13 | 3;
	EXPECT_EQ(1, kaio_do(self->fd, self->ctx, &iocb));
}

TEST_F(context, refused_is_silent_on_resfd)
{
	int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct iocb iocb;
	__u64 count;

	prep_rw(&iocb, 4, self->fd, NULL, 0, 0);
	iocb.aio_flags = IOCB_FLAG_RESFD;
	iocb.aio_resfd = event;
	EXPECT_EQ(-EINVAL, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(-1, read(event, &count, sizeof(count)));
	EXPECT_EQ(EAGAIN, errno);
	/* An accepted request does signal the eventfd. */
	iocb.aio_lio_opcode = KAIO_CMD_NOOP;
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(8, read(event, &count, sizeof(count)));
	EXPECT_EQ(1, count);
}

/*
 * Submits until the context is full. Returns how many requests were submitted.
 */
static long fill(int fd, __u64 ctx, struct iocb *iocb)
{
	long taken = 0, ret;

	while ((ret = kaio_submit_one(fd, ctx, iocb)) == 1)
		taken++;
	return ret == -EAGAIN ? taken : ret;
}

TEST_F(context, full)
{
	struct iocb iocb;
	struct io_event events[2];
	long taken;

	prep_noop(&iocb, self->fd);
	taken = fill(self->fd, self->ctx, &iocb);
	EXPECT_LE(NR_EVENTS, taken);
	EXPECT_EQ(ring_of(self->ctx)->nr - 1, taken);
	/*
	 * A refused request has no event. Taking an event makes room for a
	 * request.
	 */
	EXPECT_EQ(1, kaio_getevents(self->fd, self->ctx, 1, 1, events,
				    &no_wait));
	EXPECT_EQ(1, fill(self->fd, self->ctx, &iocb));
	EXPECT_EQ(2, ring_reap(self->ctx, events, 2));
	EXPECT_EQ(2, fill(self->fd, self->ctx, &iocb));
	EXPECT_EQ(taken + 3, kaio_stat(self->fd, "submitted"));
	EXPECT_STAT(taken + 3, self->fd, "completed");
	EXPECT_EQ(taken + 3, kaio_stat(self->fd, "inline"));
}

TEST_F(context, full_of_parked)
{
	struct iocb iocb;
	int pipes[2];
	long taken;
	char c;

	ASSERT_EQ(0, pipe(pipes));
	prep_pread(&iocb, pipes[0], &c, 1, 0);
	taken = fill(self->fd, self->ctx, &iocb);
	EXPECT_EQ(ring_of(self->ctx)->nr - 1, taken);
	EXPECT_STAT(taken, self->fd, "inflight");
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_STAT(0, self->fd, "inflight");
}

TEST_F(context, full_then_order)
{
	struct iocb iocb, bad;

	prep_noop(&iocb, self->fd);
	ASSERT_LT(0, fill(self->fd, self->ctx, &iocb));
	/* A full context is found before a bad fd ... */
	prep_noop(&bad, -1);
	EXPECT_EQ(-EAGAIN, kaio_submit_one(self->fd, self->ctx, &bad));
	/* ... and after a reserved field. */
	bad.aio_reserved2 = 1;
	EXPECT_EQ(-EINVAL, kaio_submit_one(self->fd, self->ctx, &bad));
	EXPECT_EQ(-EFAULT, kaio_submit_one(self->fd, self->ctx, NULL));
}

TEST_F(context, exactly_as_many_as_asked)
{
	/* The ring has the size that the smallest request gets. */
	struct iocb iocb, *iocbs[NR_EVENTS];
	struct io_event events[NR_EVENTS];
	int i;

	prep_noop(&iocb, self->fd);
	for (i = 0; i < NR_EVENTS; i++)
		iocbs[i] = &iocb;
	EXPECT_EQ(NR_EVENTS,
		  kaio_submit(self->fd, self->ctx, NR_EVENTS, iocbs));
	EXPECT_EQ(NR_EVENTS,
		  kaio_wait(self->fd, self->ctx, NR_EVENTS, events));
}

TEST_F(context, clamped)
{
	/* The number is larger than the ring, and larger than the array. */
	const long nr = ring_of(self->ctx)->nr;
	struct iocb iocb, **iocbs = calloc(nr, sizeof(*iocbs));
	long i;

	ASSERT_NE(NULL, iocbs);
	prep_noop(&iocb, self->fd);
	for (i = 0; i < nr; i++)
		iocbs[i] = &iocb;
	EXPECT_EQ(nr - 1, kaio_submit(self->fd, self->ctx, LONG_MAX, iocbs));
	EXPECT_EQ(-EAGAIN, kaio_submit(self->fd, self->ctx, LONG_MAX, iocbs));
}

/*
 * @error tells why the call stopped.
 */
TEST_F(context, error)
{
	struct iocb good, bad, *iocbs[] = { &good, &good, &bad };
	struct kaio_submit arg = {
		.ctx_id = self->ctx,
		.nr = 2,
		.iocbpp = (uintptr_t)iocbs,
	};

	prep_noop(&good, self->fd);
	prep_noop(&bad, -1);
	EXPECT_EQ(2, kaio_ioctl(self->fd, KAIO_SUBMIT, &arg));
	EXPECT_EQ(0, arg.error);
	arg.nr = 3;
	EXPECT_EQ(2, kaio_ioctl(self->fd, KAIO_SUBMIT, &arg));
	EXPECT_EQ(-EBADF, arg.error);
	/* The field must be zero in the next call. */
	EXPECT_EQ(-EINVAL, kaio_ioctl(self->fd, KAIO_SUBMIT, &arg));
	arg.error = 0;
	iocbs[0] = NULL;
	EXPECT_EQ(-EFAULT, kaio_ioctl(self->fd, KAIO_SUBMIT, &arg));
	EXPECT_EQ(-EFAULT, arg.error);
}

TEST_F(context, error_of_full_context)
{
	const __u32 nr = ring_of(self->ctx)->nr;
	struct iocb iocb, **iocbs = calloc(nr, sizeof(*iocbs));
	struct kaio_submit arg = {
		.ctx_id = self->ctx,
		.nr = nr,
		.iocbpp = (uintptr_t)iocbs,
	};
	__u32 i;

	ASSERT_NE(NULL, iocbs);
	prep_noop(&iocb, self->fd);
	for (i = 0; i < nr; i++)
		iocbs[i] = &iocb;
	EXPECT_EQ(nr - 1, kaio_ioctl(self->fd, KAIO_SUBMIT, &arg));
	EXPECT_EQ(-EAGAIN, arg.error);
}

/*
 * The error cannot be written, so only the number of submitted requests counts.
 */
TEST_F(context, read_only_argument)
{
	struct iocb good, bad, *iocbs[] = { &good, &bad };
	struct kaio_submit *arg = (void *)map_guarded(1);

	ASSERT_NE(NULL, arg);
	prep_noop(&good, self->fd);
	prep_noop(&bad, -1);
	*arg = (struct kaio_submit){
		.ctx_id = self->ctx,
		.nr = 2,
		.iocbpp = (uintptr_t)iocbs,
	};
	ASSERT_EQ(0, mprotect(arg, PAGE, PROT_READ));
	EXPECT_EQ(1, kaio_ioctl(self->fd, KAIO_SUBMIT, arg));
	EXPECT_EQ(1, kaio_stat(self->fd, "submitted"));
}

TEST_HARNESS_MAIN
