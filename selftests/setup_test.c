// SPDX-License-Identifier: GPL-2.0
/*
 * Tests contexts: how they are made and ended, and how they are charged.
 */
#include "kaio_common.h"
#include "sleeps.h"

#define MAX_NR	"/sys/module/kaio/parameters/max_nr"
/* This many events are refused without any limit. */
#define TOO_MANY	0x08000000

static int count_mappings(void)
{
	static char maps[65536];
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC), count = 0;
	ssize_t n;

	while ((n = read(fd, maps, sizeof(maps))) > 0)
		while (n--)
			count += maps[n] == '\n';
	close(fd);
	return count;
}

static bool is_mapped(__u64 address)
{
	unsigned char in_core;

	return !mincore((void *)(uintptr_t)(address & ~(PAGE - 1)), PAGE,
			&in_core);
}

/* Every test starts with no context, and ends with nothing charged. */
FIXTURE(setup)
{
	int fd;
	__u64 ctx;
	__u64 max_nr;
	__u64 nr;
	int mappings;
};

FIXTURE_SETUP(setup)
{
	struct kaio_query query;

	self->fd = open_kaio(_metadata);
	if (self->fd < 0)
		return;
	ASSERT_EQ(0, kaio_query(self->fd, &query));
	self->max_nr = query.max_nr;
	self->nr = query.nr;
	/* Both functions map memory of their own when they are first called. */
	sleeps();
	count_mappings();
	self->mappings = count_mappings();
}

FIXTURE_TEARDOWN(setup)
{
	struct kaio_query query;

	EXPECT_TRUE(write_number(MAX_NR, self->max_nr));
	EXPECT_EQ(0, kaio_query(self->fd, &query));
	EXPECT_EQ(self->nr, query.nr);
	EXPECT_EQ(self->max_nr, query.max_nr);
	EXPECT_EQ(0, kaio_stat(self->fd, "contexts"));
	EXPECT_EQ(self->mappings, count_mappings());
	close(self->fd);
}

TEST_F(setup, made_and_destroyed)
{
	ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &self->ctx));
	EXPECT_NE(0, self->ctx);
	EXPECT_TRUE(is_mapped(self->ctx));
	EXPECT_EQ(self->nr + kaio_capacity(NR_EVENTS), kaio_nr(self->fd));
	EXPECT_EQ(1, kaio_stat(self->fd, "contexts"));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_FALSE(is_mapped(self->ctx));
}

TEST_F(setup, holds_as_many_as_asked)
{
	const __u32 sizes[] = { 1, 2, 125, 126, 127, 128, 253, 254, 255, 1000 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct kaio_ring *ring;

		ASSERT_EQ(0, kaio_setup(self->fd, sizes[i], &self->ctx));
		ring = ring_of(self->ctx);
		EXPECT_LE(sizes[i] + 1, ring->nr);
		EXPECT_EQ(self->nr + kaio_capacity(sizes[i]), kaio_nr(self->fd));
		EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	}
}

TEST_F(setup, zero_events)
{
	EXPECT_EQ(-EINVAL, kaio_setup(self->fd, 0, &self->ctx));
}

TEST_F(setup, all_ones_events)
{
	EXPECT_EQ(-EINVAL, kaio_setup(self->fd, ~0U, &self->ctx));
}

TEST_F(setup, too_many_events)
{
	EXPECT_EQ(-EINVAL, kaio_setup(self->fd, TOO_MANY, &self->ctx));
}

TEST_F(setup, too_many_events_without_limit)
{
	ASSERT_TRUE(write_number(MAX_NR, ~0ULL >> 1));
	EXPECT_EQ(-EINVAL, kaio_setup(self->fd, TOO_MANY, &self->ctx));
	EXPECT_EQ(-EINVAL, kaio_setup(self->fd, ~0U, &self->ctx));
}

TEST_F(setup, id_not_zero)
{
	struct kaio_setup arg = { .nr_events = 1, .ctx_id = 1 };

	EXPECT_EQ(-EINVAL, kaio_ioctl(self->fd, KAIO_SETUP, &arg));
	EXPECT_EQ(1, arg.ctx_id);
}

TEST_F(setup, read_only_argument)
{
	struct kaio_setup *arg = (void *)map_guarded(1);

	ASSERT_NE(NULL, arg);
	arg->nr_events = 1;
	ASSERT_EQ(0, mprotect(arg, PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, kaio_ioctl(self->fd, KAIO_SETUP, arg));
	munmap(arg, 2 * PAGE);
}

TEST_F(setup, fault_before_number)
{
	/*
	 * A pointer that cannot be read is an error before the number in the
	 * argument is.
	 */
	EXPECT_EQ(-EFAULT, kaio_ioctl(self->fd, KAIO_SETUP, NULL));
	/* A refused call leaves the argument unchanged. */
	struct kaio_setup arg = { .nr_events = 0 };

	EXPECT_EQ(-EINVAL, kaio_ioctl(self->fd, KAIO_SETUP, &arg));
	EXPECT_EQ(0, arg.ctx_id);
}

TEST_F(setup, above_limit)
{
	const __u64 rest = self->max_nr - self->nr;

	if (rest + 1 >= TOO_MANY)
		SKIP(return, "the limit is too high to be reached");
	EXPECT_EQ(-EAGAIN, kaio_setup(self->fd, rest + 1, &self->ctx));
}

TEST_F(setup, limit_is_exact)
{
	__u64 second;

	ASSERT_TRUE(write_number(MAX_NR, self->nr + 10));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->fd, 11, &self->ctx));
	EXPECT_EQ(self->nr, kaio_nr(self->fd));
	ASSERT_EQ(0, kaio_setup(self->fd, 10, &self->ctx));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->fd, 1, &second));
	EXPECT_EQ(self->nr + 10, kaio_nr(self->fd));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(0, kaio_setup(self->fd, 1, &second));
	EXPECT_EQ(0, kaio_destroy(self->fd, second));
}

TEST_F(setup, limit_lowered)
{
	struct iocb iocb;
	__u64 second;

	ASSERT_EQ(0, kaio_setup(self->fd, 10, &self->ctx));
	ASSERT_TRUE(write_number(MAX_NR, 0));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->fd, 1, &second));
	/* A context that exists is not affected by a lower limit. */
	prep_noop(&iocb, self->fd);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
}

TEST_F(setup, limit_not_a_number)
{
	struct kaio_query query;

	EXPECT_FALSE(write_file(MAX_NR, "many"));
	EXPECT_FALSE(write_file(MAX_NR, "-1"));
	ASSERT_EQ(0, kaio_query(self->fd, &query));
	EXPECT_EQ(self->max_nr, query.max_nr);
}

TEST_F(setup, no_address_space)
{
	struct rlimit old, none;

	ASSERT_EQ(0, getrlimit(RLIMIT_AS, &old));
	none = old;
	none.rlim_cur = PAGE;
	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &none));
	EXPECT_EQ(-ENOMEM, kaio_setup(self->fd, 1, &self->ctx));
	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &old));
	EXPECT_EQ(self->nr, kaio_nr(self->fd));
	EXPECT_EQ(0, kaio_setup(self->fd, 1, &self->ctx));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
}

TEST_F(setup, locked_memory_limit_is_ignored)
{
	const struct rlimit none = {};
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		if (setrlimit(RLIMIT_MEMLOCK, &none) ||
		    setresuid(65534, 65534, 65534))
			_exit(2);
		_exit(kaio_setup(self->fd, NR_EVENTS, &self->ctx) ? 1 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(wait_until(kaio_nr(self->fd) == (__s64)self->nr));
}

TEST_F(setup, many_contexts)
{
	__u64 ctx[100];
	size_t i, k;

	for (i = 0; i < ARRAY_SIZE(ctx); i++) {
		ASSERT_EQ(0, kaio_setup(self->fd, 3, &ctx[i]));
		for (k = 0; k < i; k++) {
			ASSERT_NE(ctx[k], ctx[i])
			{
				TH_LOG("k %ld", (long)k);
			}
		}
	}
	EXPECT_EQ(self->nr + kaio_capacity(3) * ARRAY_SIZE(ctx), kaio_nr(self->fd));
	EXPECT_EQ((long)ARRAY_SIZE(ctx), kaio_stat(self->fd, "contexts"));
	/* Begin in the middle, so that the order cannot matter. */
	for (i = 0; i < ARRAY_SIZE(ctx); i++) {
		EXPECT_EQ(0, kaio_destroy(self->fd,
					  ctx[(i + 50) % ARRAY_SIZE(ctx)]))
		{
			TH_LOG("i %ld", (long)i);
		}
	}
}

TEST_F(setup, close_releases_charge)
{
	int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC), i;
	__u64 ctx[3];

	ASSERT_LE(0, fd);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, kaio_setup(fd, 10, &ctx[i]))
		{
			TH_LOG("i %ld", (long)i);
		}
	}
	EXPECT_EQ(self->nr + 3 * kaio_capacity(10), kaio_nr(self->fd));
	close(fd);
	EXPECT_TRUE(wait_until(kaio_nr(self->fd) == (__s64)self->nr));
	/* The owner of a ring may have to unmap it. */
	for (i = 0; i < 3; i++)
		if (is_mapped(ctx[i]))
			munmap(ring_of(ctx[i]), PAGE);
}

TEST_F(setup, dup_keeps_context)
{
	int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC), copy = dup(fd);

	ASSERT_LE(0, copy);
	ASSERT_EQ(0, kaio_setup(fd, 10, &self->ctx));
	close(fd);
	EXPECT_EQ(self->nr + kaio_capacity(10), kaio_nr(copy));
	EXPECT_EQ(0, kaio_destroy(copy, self->ctx));
	close(copy);
}

TEST_F(setup, other_open_file)
{
	int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct io_event event;
	struct iocb iocb, *iocbs = &iocb;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, kaio_setup(self->fd, 1, &self->ctx));
	prep_noop(&iocb, self->fd);
	EXPECT_EQ(-EINVAL, kaio_submit(fd, self->ctx, 1, &iocbs));
	EXPECT_EQ(-EINVAL, kaio_getevents(fd, self->ctx, 0, 1, &event,
					  &no_wait));
	EXPECT_EQ(-EINVAL, kaio_destroy(fd, self->ctx));
	close(fd);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
}

static void *submit_noop(void *arg)
{
	FIXTURE_DATA(setup) *self = arg;
	struct iocb iocb;

	prep_noop(&iocb, self->fd);
	return (void *)kaio_do(self->fd, self->ctx, &iocb);
}

TEST_F(setup, other_thread)
{
	pthread_t thread;
	void *ret;

	/* The memory of a thread outlives it. */
	self->mappings = -1;
	ASSERT_EQ(0, kaio_setup(self->fd, 1, &self->ctx));
	ASSERT_EQ(0, pthread_create(&thread, NULL, submit_noop, self));
	ASSERT_EQ(0, pthread_join(thread, &ret));
	EXPECT_EQ(0, (long)ret);
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	self->mappings = count_mappings();
}

static int compare_times(const void *a, const void *b)
{
	const __s64 x = *(const __s64 *)a, y = *(const __s64 *)b;

	return x < y ? -1 : x > y;
}

static __s64 median(__s64 *times, size_t nr)
{
	qsort(times, nr, sizeof(times[0]), compare_times);
	return times[nr / 2];
}

/*
 * To end an idle context takes no wait, whereas io_destroy(2) waits for RCU. On
 * a debug kernel only the ratio is meaningful.
 */
TEST_F_TIMEOUT(setup, idle_destroy_is_quick, 60)
{
	__s64 took[50], native_took[50], quick, start;
	aio_context_t native;
	struct iocb iocb;
	long before;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(took); i++) {
		ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &self->ctx));
		/* The context has been used. */
		prep_noop(&iocb, self->fd);
		ASSERT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
		before = sleeps();
		start = now_ns();
		ASSERT_EQ(0, kaio_destroy(self->fd, self->ctx));
		took[i] = now_ns() - start;
		EXPECT_EQ(before, sleeps());
	}
	quick = median(took, ARRAY_SIZE(took));
	if (access("/sys/kernel/debug/kmemleak", F_OK))
		EXPECT_GT(NSEC_PER_MSEC, quick);
	for (i = 0; i < ARRAY_SIZE(native_took); i++) {
		if (native_setup(NR_EVENTS, &native))
			SKIP(return, "this kernel has no native AIO");
		start = now_ns();
		ASSERT_EQ(0, native_destroy(native));
		native_took[i] = now_ns() - start;
	}
	EXPECT_GE(median(native_took, ARRAY_SIZE(native_took)), 10 * quick);
}

/*
 * An id without a context is refused by every ioctl that takes an id.
 */
FIXTURE(bad_id)
{
	int fd;
	__u64 ctx;
	__u64 bad;
};

FIXTURE_VARIANT(bad_id)
{
	/* @offset is added to the id of a real context. @id replaces it. */
	__u64 offset;
	__u64 id;
	bool destroyed;
	bool ordinary;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(bad_id, zero) {};
FIXTURE_VARIANT_ADD(bad_id, one) { .id = 1 };
FIXTURE_VARIANT_ADD(bad_id, all_ones) { .id = ~0ULL };
FIXTURE_VARIANT_ADD(bad_id, kernel) { .id = KERNEL_ADDR };
FIXTURE_VARIANT_ADD(bad_id, unaligned_by_1) { .offset = 1 };
FIXTURE_VARIANT_ADD(bad_id, unaligned_by_32) { .offset = 32 };
FIXTURE_VARIANT_ADD(bad_id, next_page) { .offset = PAGE };
FIXTURE_VARIANT_ADD(bad_id, high_bit) { .offset = 1ULL << 63 };
FIXTURE_VARIANT_ADD(bad_id, upper_half) { .offset = 1ULL << 48 };
FIXTURE_VARIANT_ADD(bad_id, destroyed) { .destroyed = true };
FIXTURE_VARIANT_ADD(bad_id, ordinary_memory) { .ordinary = true };
/* clang-format on */

FIXTURE_SETUP(bad_id)
{
	if (!open_context(_metadata, &self->fd, 1, &self->ctx))
		return;
	self->bad = variant->id;
	if (variant->offset)
		self->bad = self->ctx + variant->offset;
	if (variant->destroyed) {
		self->bad = self->ctx;
		ASSERT_EQ(0, kaio_destroy(self->fd, self->ctx));
	}
	if (variant->ordinary) {
		/* The memory has all that a ring has. */
		char *page = map_guarded(1);

		ASSERT_NE(NULL, page);
		memcpy(page, ring_of(self->ctx), PAGE);
		self->bad = (uintptr_t)page;
	}
}

FIXTURE_TEARDOWN(bad_id)
{
	if (!variant->destroyed)
		EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	close(self->fd);
}

TEST_F(bad_id, destroy)
{
	EXPECT_EQ(-EINVAL, kaio_destroy(self->fd, self->bad));
}

TEST_F(bad_id, submit)
{
	struct iocb iocb;

	prep_noop(&iocb, self->fd);
	EXPECT_EQ(-EINVAL, kaio_submit_one(self->fd, self->bad, &iocb));
	EXPECT_EQ(-EINVAL, kaio_submit(self->fd, self->bad, 0, NULL));
	EXPECT_EQ(0, kaio_stat(self->fd, "submitted"));
}

TEST_F(bad_id, getevents)
{
	struct io_event event;

	EXPECT_EQ(-EINVAL, kaio_getevents(self->fd, self->bad, 0, 1, &event,
					  &no_wait));
	EXPECT_EQ(-EINVAL, kaio_getevents(self->fd, self->bad, 1, 1, &event,
					  NULL));
}

TEST_F(bad_id, peek)
{
	EXPECT_EQ(-EINVAL, kaio_peek(self->fd, self->bad, 0, 1, &no_wait));
	EXPECT_EQ(-EINVAL, kaio_peek(self->fd, self->bad, 1, 1, NULL));
}

TEST_F(bad_id, cancel)
{
	struct iocb iocb;

	prep_noop(&iocb, self->fd);
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->bad, &iocb));
}

TEST_F(bad_id, submit_wait)
{
	struct iocb iocb, *iocbs = &iocb;
	struct io_event event;
	__u64 submitted;

	prep_noop(&iocb, self->fd);
	EXPECT_EQ(-EINVAL, kaio_submit_wait(self->fd, self->bad, 1, &iocbs, 1,
					    1, &event, NULL, &submitted));
	EXPECT_EQ(-EINVAL, kaio_submit_wait(self->fd, self->bad, 0, NULL, 0, 0,
					    NULL, NULL, &submitted));
	EXPECT_EQ(0, kaio_stat(self->fd, "submitted"));
}

TEST_HARNESS_MAIN
