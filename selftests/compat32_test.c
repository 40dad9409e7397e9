// SPDX-License-Identifier: GPL-2.0
/*
 * Tests kaio from a real 32-bit program (see the Makefile), with pointers,
 * sizes and times as its compiler makes them. It differs from a 64-bit program
 * in arrays of pointers, in segments, in the padding of a timespec and in the
 * width of registers.
 */
#include "context_fixture.h"

#define LOW_4_GIB	(1ULL << 32)

/* In another program the tests below would show nothing. */
_Static_assert(sizeof(void *) == 4, "not a 32-bit program");
_Static_assert(sizeof(time_t) == 8, "a time_t of 32 bits");

/* The C library still uses these calls, for example in threads. */
static bool has_old_time_calls(void)
{
	int word = 0;

	return syscall(SYS_futex, &word, 1 /* FUTEX_WAKE */, 0, NULL, NULL, 0) >= 0;
}

TEST_F(context, structs)
{
	/* The sizes are the same in every program. */
	EXPECT_EQ(KAIO_SETUP_SIZE_VER0, sizeof(struct kaio_setup));
	EXPECT_EQ(KAIO_DESTROY_SIZE_VER0, sizeof(struct kaio_destroy));
	EXPECT_EQ(KAIO_SUBMIT_SIZE_VER0, sizeof(struct kaio_submit));
	EXPECT_EQ(KAIO_GETEVENTS_SIZE_VER0, sizeof(struct kaio_getevents));
	EXPECT_EQ(KAIO_CANCEL_SIZE_VER0, sizeof(struct kaio_cancel));
	EXPECT_EQ(KAIO_SUBMIT_WAIT_SIZE_VER0, sizeof(struct kaio_submit_wait));
	EXPECT_EQ(64, sizeof(struct kaio_query));
	EXPECT_EQ(64, sizeof(struct iocb));
	EXPECT_EQ(32, sizeof(struct io_event));
	EXPECT_EQ(32, sizeof(struct kaio_ring));
}

TEST_F(context, query)
{
	struct kaio_query query;

	ASSERT_EQ(0, kaio_query(self->fd, &query));
	EXPECT_EQ(KAIO_ABI_VERSION, query.version);
	EXPECT_EQ(self->nr_before + kaio_capacity(NR_EVENTS), query.nr);
	EXPECT_NE(0, query.features & KAIO_FEATURE_SUBMIT_WAIT);
}

/* The ring is at an address that a pointer of this program can hold. */
TEST_F(context, ring)
{
	EXPECT_GT(LOW_4_GIB, self->ctx);
	EXPECT_EQ(KAIO_RING_MAGIC, ring_of(self->ctx)->magic);
	EXPECT_EQ(sizeof(struct kaio_ring), ring_of(self->ctx)->header_length);
	EXPECT_LT(NR_EVENTS, ring_of(self->ctx)->nr);
}

TEST_F(context, large_ring)
{
	struct io_event event;
	struct iocb iocb;
	__u64 ctx;
	int i;

	ASSERT_EQ(0, kaio_setup(self->fd, 5000, &ctx));
	EXPECT_GT(LOW_4_GIB, ctx);
	prep_noop(&iocb, self->fd);
	for (i = 0; i < 6000; i++) {
		iocb.aio_data = i;
		ASSERT_EQ(1, kaio_submit_one(self->fd, ctx, &iocb));
		ASSERT_EQ(1, ring_reap(ctx, &event, 1));
		ASSERT_EQ((__u64)i, event.data);
	}
	EXPECT_EQ(0, kaio_destroy(self->fd, ctx));
}

/* The upper half of a 64-bit field is not ignored. */
TEST_F(context, upper_halves)
{
	struct iocb iocb, *pointer = &iocb;
	struct kaio_submit submit = {
		.ctx_id = self->ctx,
		.nr = 1,
		.iocbpp = (uintptr_t)&pointer | LOW_4_GIB,
	};
	struct io_event event;
	struct kaio_getevents getevents = {
		.ctx_id = self->ctx,
		.nr = 1,
		.events = (uintptr_t)&event | LOW_4_GIB,
	};
	struct kaio_cancel cancel = {
		.ctx_id = self->ctx,
		.iocb = (uintptr_t)&iocb | LOW_4_GIB,
	};

	prep_noop(&iocb, self->fd);
	EXPECT_EQ(-EFAULT, kaio_ioctl(self->fd, KAIO_SUBMIT, &submit));
	EXPECT_EQ(-EFAULT, kaio_ioctl(self->fd, KAIO_CANCEL, &cancel));
	EXPECT_EQ(-EINVAL, kaio_destroy(self->fd, self->ctx | LOW_4_GIB));
	EXPECT_EQ(-EFAULT, submit.error);
	submit.error = 0;
	submit.iocbpp = (uintptr_t)&pointer;
	submit.ctx_id |= LOW_4_GIB;
	EXPECT_EQ(-EINVAL, kaio_ioctl(self->fd, KAIO_SUBMIT, &submit));
	/* A number has all its 64 bits. */
	submit.ctx_id = self->ctx;
	submit.nr = LLONG_MIN;
	EXPECT_EQ(-EINVAL, kaio_ioctl(self->fd, KAIO_SUBMIT, &submit));
	EXPECT_EQ(0, kaio_stat(self->fd, "submitted"));
	submit.nr = 1;
	ASSERT_EQ(1, kaio_ioctl(self->fd, KAIO_SUBMIT, &submit));
	EXPECT_EQ(-EFAULT, kaio_ioctl(self->fd, KAIO_GETEVENTS, &getevents));
	getevents.events = (uintptr_t)&event;
	getevents.nr = LLONG_MAX;
	EXPECT_EQ(1, kaio_ioctl(self->fd, KAIO_GETEVENTS, &getevents));
	EXPECT_EQ((uintptr_t)&iocb, event.obj);
}

/*
 * The tests below transfer data.
 */
TEST_F(context, read_and_write)
{
	const int file = open_temp(MEM_DIR, 0);
	char buf[16] = {};

	ASSERT_LE(0, file);
	EXPECT_EQ(5, do_pwrite(self->fd, self->ctx, file, "hello", 5, 3));
	EXPECT_EQ(5, do_pread(self->fd, self->ctx, file, buf, sizeof(buf), 3));
	EXPECT_STREQ("hello", buf);
}

/* An offset has 64 bits. */
TEST_F(context, far_offset)
{
	const int file = open_temp(DISK_DIR, 0);
	const __s64 far = 3LL << 32 | 12345;
	struct iocb iocb;
	char buf[16] = {};

	ASSERT_LE(0, file);
	prep_pwrite(&iocb, file, "hello", 5, far);
	EXPECT_EQ(5, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(far + 5, lseek(file, 0, SEEK_END));
	prep_pread(&iocb, file, buf, sizeof(buf), far);
	EXPECT_EQ(5, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_STREQ("hello", buf);
}

TEST_F(context, direct)
{
	const int file = open_pattern(DISK_DIR, 1, 16 * PAGE);
	const int direct = reopen(file, O_RDWR | O_DIRECT);
	struct iocb iocbs[16], *pointers[16];
	struct io_event events[16];
	char *buf = map_guarded(16);
	int i;

	ASSERT_LE(0, direct);
	ASSERT_NE(NULL, buf);
	prep_page_reads(iocbs, pointers, 16, direct, buf);
	ASSERT_EQ(16, kaio_submit(self->fd, self->ctx, 16, pointers));
	ASSERT_EQ(16, kaio_wait(self->fd, self->ctx, 16, events));
	for (i = 0; i < 16; i++)
		EXPECT_EQ((long)PAGE, events[i].res);
	EXPECT_TRUE(is_pattern(buf, 16 * PAGE, 1, 0));
}

/* A segment has 8 bytes. A kernel that reads 16 bytes finds another vector. */
TEST_F(context, vectors)
{
	const int file = open_pattern(MEM_DIR, 1, PAGE);
	char first[10] = {}, second[20] = {}, third[5] = {};
	struct iovec iov[] = {
		{ first, sizeof(first) },
		{ second, sizeof(second) },
		{ third, sizeof(third) },
	};
	struct iocb iocb;

	ASSERT_LE(0, file);
	prep_preadv(&iocb, file, iov, 3, 100);
	EXPECT_EQ(35, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(is_pattern(first, 10, 1, 100));
	EXPECT_TRUE(is_pattern(second, 20, 1, 110));
	EXPECT_TRUE(is_pattern(third, 5, 1, 130));
	prep_pwritev(&iocb, file, iov, 2, 0);
	EXPECT_EQ(30, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(10, pread(file, third, 5, 0) + pread(file, second, 5, 10));
	EXPECT_TRUE(is_pattern(third, 5, 1, 100));
	EXPECT_TRUE(is_pattern(second, 5, 1, 110));
}

TEST_F(context, vector_at_end_of_mapping)
{
	const int file = open_pattern(MEM_DIR, 1, PAGE);
	char *page = map_guarded(1), buf[20] = {};
	struct iovec *iov = (struct iovec *)(page + PAGE) - 2;
	struct iocb iocb;

	ASSERT_NE(NULL, page);
	iov[0] = (struct iovec){ buf, 5 };
	iov[1] = (struct iovec){ buf + 10, 5 };
	prep_preadv(&iocb, file, iov, 2, 0);
	EXPECT_EQ(10, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(is_pattern(buf + 10, 5, 1, 5));
	prep_preadv(&iocb, file, iov, 3, 0);
	EXPECT_EQ(-EFAULT, kaio_submit_one(self->fd, self->ctx, &iocb));
	/* This length has the sign bit of 32 bits set. */
	iov[1].iov_len = 1U << 31;
	prep_preadv(&iocb, file, iov, 2, 0);
	EXPECT_EQ(-EINVAL, kaio_submit_one(self->fd, self->ctx, &iocb));
}

/*
 * The vector is read once, at submission, even if a worker does the request,
 * which is not a 32-bit program.
 */
TEST_F(context, parked_vectors)
{
	char first[3] = {}, second[16] = {}, never[4] = {};
	struct iovec iov[] = { { first, 2 }, { second, 16 } };
	struct io_event event;
	struct iocb iocb;
	int ends[2];

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	prep_preadv(&iocb, ends[0], iov, 2, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	iov[0].iov_base = iov[1].iov_base = never;
	ASSERT_EQ(5, write(ends[1], "hello", 5));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(5, event.res);
	EXPECT_STREQ("he", first);
	EXPECT_STREQ("llo", second);
}

TEST_F(context, array_at_end_of_mapping)
{
	char *page = map_guarded(1);
	struct iocb **iocbs = (struct iocb **)(page + PAGE) - 3;
	struct io_event events[4];
	struct iocb iocb;
	int i;

	ASSERT_NE(NULL, page);
	prep_noop(&iocb, self->fd);
	for (i = 0; i < 3; i++)
		iocbs[i] = &iocb;
	EXPECT_EQ(3, kaio_submit(self->fd, self->ctx, 3, iocbs));
	EXPECT_EQ(3, kaio_submit(self->fd, self->ctx, 4, iocbs));
	EXPECT_EQ(-EFAULT, kaio_submit(self->fd, self->ctx, 1, iocbs + 3));
	EXPECT_EQ(4, kaio_wait(self->fd, self->ctx, 4, events));
}

TEST_F(context, fsync_and_poll)
{
	const int file = open_pattern(DISK_DIR, 1, PAGE);
	struct iocb iocb;
	int ends[2];

	ASSERT_LE(0, file);
	prep_fsync(&iocb, file);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	prep_fdsync(&iocb, file);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	prep_poll(&iocb, ends[1], POLLIN | POLLOUT);
	EXPECT_EQ(POLLOUT, kaio_do(self->fd, self->ctx, &iocb));
}

TEST_F(context, counted_by_eventfd)
{
	const int counter = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct iocb iocb;
	__u64 count = 0;

	prep_noop(&iocb, self->fd);
	iocb.aio_flags = IOCB_FLAG_RESFD;
	iocb.aio_resfd = counter;
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(8, read(counter, &count, sizeof(count)));
	EXPECT_EQ(1, count);
}

/* The event has all 64 bits of aio_data. */
TEST_F(context, wide_data)
{
	struct io_event event;
	struct iocb iocb;

	prep_noop(&iocb, self->fd);
	iocb.aio_data = 0x123456789abcdef0ULL;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(0x123456789abcdef0ULL, event.data);
	/* A negative result is negative in 64 bits too. */
	prep_poll(&iocb, eventfd(0, EFD_CLOEXEC), POLLIN);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	park_reads(_metadata, self, &iocb, 1, (int[2]){});
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(0, event.res);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(-ECANCELED, event.res);
}

/*
 * The tests below use time. A timespec of this program has 32 bits of padding
 * after tv_nsec, with any contents.
 */
struct padded {
	__s64 tv_sec;
	__s32 tv_nsec;
	__u32 padding;
};

_Static_assert(sizeof(struct padded) == sizeof(struct timespec), "timespec");

TEST_F(context, timeout)
{
	const struct timespec timeout = ms(30);
	struct io_event event;
	const __s64 start = now_ns();

	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 1, 1, &event,
				    &timeout));
	EXPECT_LE(30 * NSEC_PER_MSEC, now_ns() - start);
}

TEST_F(context, timeout_with_garbage)
{
	const struct padded timeout = { 0, 30 * NSEC_PER_MSEC, 0xffffffff };
	struct kaio_submit_wait submit_wait = {
		.ctx_id = self->ctx,
		.min_nr = 1,
		.nr_events = 1,
		.timeout = (uintptr_t)&timeout,
		.flags = KAIO_GETEVENTS_PEEK,
	};
	__s64 start = now_ns();

	EXPECT_EQ(0, kaio_peek(self->fd, self->ctx, 1, 1, (void *)&timeout));
	EXPECT_LE(30 * NSEC_PER_MSEC, now_ns() - start);
	EXPECT_GT(NSEC_PER_SEC, now_ns() - start);
	start = now_ns();
	EXPECT_EQ(0, kaio_ioctl(self->fd, KAIO_SUBMIT_WAIT, &submit_wait));
	EXPECT_LE(30 * NSEC_PER_MSEC, now_ns() - start);
	EXPECT_GT(NSEC_PER_SEC, now_ns() - start);
}

TEST_F(context, abstime_with_garbage)
{
	const __s64 end = now_ns() + 30 * NSEC_PER_MSEC;
	const struct padded at_end = { end / NSEC_PER_SEC, end % NSEC_PER_SEC,
				       0xffffffff };
	struct kaio_getevents arg = {
		.ctx_id = self->ctx,
		.min_nr = 1,
		.nr = 1,
		.timeout = (uintptr_t)&at_end,
		.flags = KAIO_GETEVENTS_PEEK | KAIO_GETEVENTS_ABSTIME,
	};

	EXPECT_EQ(0, kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg));
	EXPECT_LE(end, now_ns());
	EXPECT_GT(end + NSEC_PER_SEC, now_ns());
}

TEST_F(context, longest_timeout)
{
	const struct padded timeout = { LLONG_MAX, 999999999, 0 };
	struct io_event event;
	struct iocb iocb;

	if (!has_old_time_calls())
		SKIP(return, "no CONFIG_COMPAT_32BIT_TIME");
	produce_later(_metadata, self, &iocb, 20);
	EXPECT_EQ(1, kaio_getevents(self->fd, self->ctx, 1, 1, &event,
				    (void *)&timeout));
}

TEST_F(context, unreadable_timeout)
{
	char *page = map_guarded(1);
	struct io_event event;

	ASSERT_NE(NULL, page);
	EXPECT_EQ(-EFAULT, kaio_getevents(self->fd, self->ctx, 0, 1, &event,
					  (void *)(page + PAGE - 8)));
	EXPECT_EQ(-EFAULT, kaio_getevents(self->fd, self->ctx, 0, 1, &event,
					  (void *)0xfffff000));
}

/*
 * The tests below use signals. The kernel's mask is two words of 32 bits here,
 * the lower one first.
 */
TEST_F(context, signal)
{
	struct io_event event;

	ASSERT_TRUE(catch_signal(SIGALRM, 0));
	ASSERT_TRUE(alarm_every(10));
	EXPECT_EQ(-EINTR, kaio_getevents(self->fd, self->ctx, 1, 1, &event,
					 NULL));
	alarm_every(0);
	EXPECT_LT(0, signals_seen());
}

static void expect_masked(struct __test_metadata *const _metadata,
			  FIXTURE_DATA(context) *self, int sig)
{
	struct io_event event;
	sigset_t none, mask, now;

	sigemptyset(&none);
	sigemptyset(&mask);
	sigaddset(&mask, sig);
	ASSERT_TRUE(catch_signal(sig, 0));
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &mask, NULL));
	ASSERT_EQ(0, raise(sig));
	EXPECT_EQ(0, kaio_pgetevents(self->fd, self->ctx, 1, 1, &event,
				     &no_wait, &mask));
	EXPECT_EQ(0, signals_seen());
	EXPECT_EQ(-EINTR, kaio_pgetevents(self->fd, self->ctx, 1, 1, &event,
					  &patience, &none));
	EXPECT_EQ(1, signals_seen());
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, NULL, &now));
	EXPECT_EQ(1, sigismember(&now, sig));
}

TEST_F(context, mask)
{
	expect_masked(_metadata, self, SIGALRM);
}

TEST_F(context, mask_of_upper_half)
{
	expect_masked(_metadata, self, SIGRTMIN + 5);
}

TEST_F(context, mask_size)
{
	static const sigset_t none;
	struct kaio_getevents arg = {
		.ctx_id = self->ctx,
		.sigmask = (uintptr_t)&none,
		.sigsetsize = sizeof(long),
	};

	EXPECT_EQ(-EINVAL, kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg));
	arg.sigsetsize = SIGSET_SIZE;
	EXPECT_EQ(0, kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg));
	arg.sigmask |= LOW_4_GIB;
	EXPECT_EQ(-EFAULT, kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg));
}

/*
 * The tests below use the other calls.
 */
TEST_F(context, cancel)
{
	struct io_event events[2];
	struct iocb iocbs[2];
	int ends[2];

	park_reads(_metadata, self, iocbs, 2, ends);
	EXPECT_EQ(-EFAULT, kaio_cancel(self->fd, self->ctx, NULL));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocbs[1]));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocbs[1]));
	ASSERT_EQ(1, write(ends[1], "x", 1));
	ASSERT_EQ(2, kaio_wait(self->fd, self->ctx, 2, events));
	EXPECT_EQ(-ECANCELED, events[0].res);
	EXPECT_EQ((uintptr_t)&iocbs[1], events[0].obj);
	EXPECT_EQ(1, events[1].res);
}

TEST_F(context, submit_wait)
{
	struct iocb iocbs[3], *pointers[3];
	struct io_event events[4];
	__u64 submitted = 0;
	int i;

	for (i = 0; i < 3; i++) {
		prep_noop(&iocbs[i], self->fd);
		iocbs[i].aio_data = i;
		pointers[i] = &iocbs[i];
	}
	EXPECT_EQ(3, kaio_submit_wait(self->fd, self->ctx, 3, pointers, 3, 4,
				      events, &patience, &submitted));
	EXPECT_EQ(3, submitted);
	for (i = 0; i < 3; i++)
		EXPECT_EQ((__u64)i, events[i].data);
	pointers[1] = NULL;
	EXPECT_EQ(1, kaio_submit_wait(self->fd, self->ctx, 3, pointers, 3, 4,
				      events, &patience, &submitted));
	EXPECT_EQ(1, submitted);
}

TEST_F(context, peek_and_reap)
{
	struct io_event events[4];

	produce(_metadata, self, 3);
	EXPECT_EQ(3, kaio_peek(self->fd, self->ctx, 3, 4, &patience));
	EXPECT_EQ(3, ring_reap(self->ctx, events, 4));
	EXPECT_EQ(2, events[2].data);
	EXPECT_EQ(0, kaio_peek(self->fd, self->ctx, 0, 4, &no_wait));
}

TEST_F(context, poll)
{
	EXPECT_EQ(0, poll_now(self->fd, POLLIN));
	produce(_metadata, self, 1);
	EXPECT_EQ(POLLIN, poll_now(self->fd, POLLIN));
}

TEST_F(context, destroy)
{
	struct waiter waiter = { self->fd, self->ctx, 1, {} };
	struct sleeper sleeper;

	if (!has_old_time_calls())
		SKIP(return, "no CONFIG_COMPAT_32BIT_TIME");
	ASSERT_TRUE(fall_asleep(&sleeper, wait_for_events, &waiter));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(-EINVAL, woken(&sleeper));
	EXPECT_EQ(-EINVAL, kaio_destroy(self->fd, self->ctx));
}

/* The sizes of structs are checked as in other programs. */
TEST_F(context, sizes)
{
	static char page[PAGE];
	struct kaio_getevents arg = { .ctx_id = self->ctx };

	EXPECT_EQ(-EINVAL, kaio_ioctl(self->fd,
				      ioc_resize(KAIO_GETEVENTS,
						 KAIO_GETEVENTS_SIZE_VER0 - 1),
				      &arg));
	memcpy(page, &arg, sizeof(arg));
	EXPECT_EQ(0, kaio_ioctl(self->fd, ioc_resize(KAIO_GETEVENTS, 500),
				page));
	page[499] = 1;
	EXPECT_EQ(-E2BIG, kaio_ioctl(self->fd, ioc_resize(KAIO_GETEVENTS, 500),
				     page));
	EXPECT_EQ(-EFAULT, kaio_ioctl(self->fd, KAIO_GETEVENTS, NULL));
}

/* fadvise64_64(2) of a 32-bit program. Arm has the advice before the numbers. */
static long fadvise_at(int fd, const void *offset, int advice)
{
	const unsigned long at = (uintptr_t)offset;

#ifdef __arm__
	return syscall(SYS_arm_fadvise64_64, fd, advice, at, 0, 0, 0);
#else
	return syscall(SYS_fadvise64_64, fd, at, 0, 0, 0, advice);
#endif
}

/* The quick way in is for 64-bit programs, whose offsets are pointers. */
TEST_F(context, quick_way)
{
	struct kaio_getevents arg = { .ctx_id = self->ctx };
	long ret = fadvise_at(self->fd, &arg, (int)KAIO_GETEVENTS);

	EXPECT_EQ(-1, ret);
	EXPECT_EQ(EINVAL, errno);
}

TEST_HARNESS_MAIN
