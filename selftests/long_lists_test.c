// SPDX-License-Identifier: GPL-2.0
/*
 * A program chooses how many requests wait, and for what. Other operations must
 * not take longer because of that number, since kaio holds locks meanwhile that
 * disable interrupts and that other tasks wait for. Each time is the minimum of
 * several rounds, so that a delay by the emulator or by another task in one
 * round does not count.
 */
#include "devices.h"

#define FEW	10
#define SOME	1000
#define MANY	100000
/*
 * A lookup in a hash table or tree takes a little longer with more entries; a
 * walk takes longer in proportion.
 */
#define FACTOR	10
/* The time that the clock, or a worker that wants the same CPU, may add. */
#define SLACK	(20 * 1000)

/*
 * The tests below have writes that wait in the order queue of one file, whose
 * file system is frozen, and the files of another file system.
 */
#define NR_FILES	2048
#define NR_ROUNDS	5
/*
 * The kernel must not report the worker that waits for the frozen file system
 * as hung. So a kernel in which one look at all files takes longer than SLOW_NS
 * (the one with KASAN and lockdep) gets a tenth of the writes and fewer rounds:
 * a walk would still take a hundred times as long.
 */
#define SLOW_NS		(1500LL * 1000 * 1000)
/* This many files may be slow for other reasons. */
#define OUTLIERS	3

FIXTURE(order_queue)
{
	int fd;
	__u64 ctx;
	int stuck;
	struct guard freezer;
	struct iocb *iocbs;
	int nr;
	int rounds;
	int *files;
};

FIXTURE_SETUP(order_queue)
{
	const struct rlimit files = { 2 * NR_FILES, 2 * NR_FILES };
	int i;

	self->fd = open_kaio_as_root(_metadata);
	if (self->fd < 0)
		return;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	ASSERT_EQ(0, kaio_setup(self->fd, MANY + NR_EVENTS, &self->ctx));
	self->stuck = open_temp(DISK_DIR, 0);
	ASSERT_LE(0, self->stuck);
	self->iocbs = calloc(MANY, sizeof(*self->iocbs));
	self->files = calloc(NR_FILES, sizeof(*self->files));
	ASSERT_TRUE(self->iocbs && self->files);
	for (i = 0; i < NR_FILES; i++) {
		self->files[i] = open_temp(MEM_DIR, 0);
		ASSERT_LE(0, self->files[i]);
	}
	ASSERT_TRUE(freeze(&self->freezer, DISK_DIR));
}

FIXTURE_TEARDOWN(order_queue)
{
	guard_end(&self->freezer);
	close_context(_metadata, self->fd, self->ctx);
}

/* Adds writes to the order queue until it has @nr. */
static void queue_writes(struct __test_metadata *const _metadata,
			 FIXTURE_DATA(order_queue) *self, int nr)
{
	for (; self->nr < nr; self->nr++) {
		struct iocb *iocb = &self->iocbs[self->nr];

		prep_pwrite(iocb, self->stuck, "x", 1, self->nr);
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, iocb));
	}
}

static int compare(const void *a, const void *b)
{
	const __s64 x = *(const __s64 *)a, y = *(const __s64 *)b;

	return (x > y) - (x < y);
}

/*
 * Returns how long the submission of a write to the slowest file takes, apart
 * from the outliers.
 */
static __s64 longest_submit(struct __test_metadata *const _metadata,
			    FIXTURE_DATA(order_queue) *self)
{
	static __s64 best[NR_FILES];
	struct io_event event;
	struct iocb iocb;
	int i, round;

	/*
	 * Go round by round, so that a disturbance of some duration hits each
	 * file once.
	 */
	for (round = 0; round < self->rounds; round++) {
		for (i = 0; i < NR_FILES; i++) {
			__s64 start, took;
			long ret;

			prep_pwrite(&iocb, self->files[i], "x", 1, 0);
			start = now_ns();
			ret = kaio_submit_one(self->fd, self->ctx, &iocb);
			took = now_ns() - start;

			ASSERT_EQ(1, ret);
			ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
			ASSERT_EQ(1, event.res);
			if (!round || took < best[i])
				best[i] = took;
		}
	}
	qsort(best, NR_FILES, sizeof(*best), compare);
	return best[NR_FILES - 1 - OUTLIERS];
}

TEST_F_TIMEOUT(order_queue, submit_beside, 280)
{
	__s64 few, some, many, start;
	int nr = MANY;

	queue_writes(_metadata, self, FEW);
	/* The first look warms up the caches. */
	self->rounds = 1;
	start = now_ns();
	longest_submit(_metadata, self);
	self->rounds = NR_ROUNDS;
	if (now_ns() - start > SLOW_NS) {
		nr = MANY / 10;
		self->rounds = 2;
	}
	few = longest_submit(_metadata, self);
	queue_writes(_metadata, self, SOME);
	some = longest_submit(_metadata, self);
	queue_writes(_metadata, self, nr);
	many = longest_submit(_metadata, self);
	TH_LOG("submit beside %d, %d, %d writes: %lld, %lld, %lld ns", FEW,
	       SOME, nr, few, some, many);
	EXPECT_GT(FACTOR * few + SLACK, some);
	EXPECT_GT(FACTOR * few + SLACK, many);
	/*
	 * The waiting writes can be cancelled, and a cancellation in a long
	 * order queue takes no longer than in a short one.
	 */
	few = now_ns();
	while (self->nr > nr - SOME)
		ASSERT_EQ(-EINPROGRESS,
			  kaio_cancel(self->fd, self->ctx,
				      &self->iocbs[--self->nr]));
	few = now_ns() - few;
	many = now_ns();
	while (self->nr > 1)
		ASSERT_EQ(-EINPROGRESS,
			  kaio_cancel(self->fd, self->ctx,
				      &self->iocbs[--self->nr]));
	many = now_ns() - many;
	TH_LOG("cancel: %lld, then %lld ns each", few / SOME,
	       many / (nr - SOME));
	EXPECT_GT(FACTOR * (few / SOME) + SLACK, many / (nr - SOME));
}

/*
 * The tests below have reads that wait for an empty pipe.
 */
FIXTURE(pipe)
{
	int fd;
	int ends[2];
};

FIXTURE_SETUP(pipe)
{
	self->fd = open_kaio_as_root(_metadata);
	if (self->fd < 0)
		return;
	ASSERT_EQ(0, pipe2(self->ends, O_CLOEXEC));
}

FIXTURE_TEARDOWN(pipe)
{
	EXPECT_STAT(0, self->fd, "inflight");
	close(self->fd);
}

/* Returns the time to destroy a context with @nr reads, divided by @nr. */
static __s64 destroy_with(struct __test_metadata *const _metadata,
			  FIXTURE_DATA(pipe) *self, int nr)
{
	static struct iocb iocbs[MANY];
	static char c;
	__s64 start;
	__u64 ctx;
	int i;

	ASSERT_EQ(0, kaio_setup(self->fd, nr, &ctx));
	for (i = 0; i < nr; i++) {
		prep_pread(&iocbs[i], self->ends[0], &c, 1, 0);
		ASSERT_EQ(1, kaio_submit_one(self->fd, ctx, &iocbs[i]));
	}
	start = now_ns();
	ASSERT_EQ(0, kaio_destroy(self->fd, ctx));
	return (now_ns() - start) / nr;
}

TEST_F_TIMEOUT(pipe, destroy, 280)
{
	__s64 some = destroy_with(_metadata, self, SOME), many;
	int i;

	for (i = 0; i < NR_ROUNDS; i++) {
		const __s64 took = destroy_with(_metadata, self, SOME);

		some = took < some ? took : some;
	}
	many = destroy_with(_metadata, self, MANY);
	TH_LOG("%lld ns each of %d, %lld of %d", some, SOME, many, MANY);
	EXPECT_GT(FACTOR * some + SLACK, many);
}

/*
 * Requests whose addresses are in one bucket of the hash table, if the table is
 * still that of rust/pure/hash.rs. A cancellation finds each of them in the
 * bucket's list, however long the list is.
 */
#define NR_ALIKE	300
#define BUCKETS		256
#define GOLDEN		0x61c8864680b583ebULL

static bool is_alike(const void *address)
{
	return ((uintptr_t)address * GOLDEN >> 32) % BUCKETS == 7;
}

TEST_F_TIMEOUT(pipe, cancel_among_many, 60)
{
	const size_t len = 2 * (NR_ALIKE + 1) * BUCKETS * sizeof(struct iocb);
	struct iocb *all = mmap(NULL, len, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				-1, 0);
	struct iocb *iocbs[NR_ALIKE + 1];
	struct io_event event;
	int i, k, nr = 0;
	__u64 ctx;
	char c;

	ASSERT_NE(MAP_FAILED, all);
	for (i = 0; nr <= NR_ALIKE; i++) {
		ASSERT_GT(len / sizeof(*all), (size_t)i);
		if (is_alike(&all[i]))
			iocbs[nr++] = &all[i];
	}
	ASSERT_EQ(0, kaio_setup(self->fd, NR_ALIKE, &ctx));
	for (i = 0; i <= NR_ALIKE; i++)
		prep_pread(iocbs[i], self->ends[0], &c, 1, 0);
	for (i = 0; i < NR_ALIKE; i++)
		ASSERT_EQ(1, kaio_submit_one(self->fd, ctx, iocbs[i]));
	/* The last request was not submitted. */
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, ctx, iocbs[NR_ALIKE]));
	/* Cancel requests from both ends and from the middle of the list. */
	for (i = 0; i < NR_ALIKE; i++) {
		k = i * 149 % NR_ALIKE;
		ASSERT_EQ(-EINPROGRESS,
			  kaio_cancel(self->fd, ctx, iocbs[k]))
		{
			TH_LOG("request %d", k);
		}
		ASSERT_EQ(1, kaio_wait(self->fd, ctx, 1, &event));
		EXPECT_EQ((uintptr_t)iocbs[k], event.obj);
		EXPECT_EQ(-ECANCELED, event.res);
		EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, ctx, iocbs[k]));
	}
	EXPECT_EQ(0, kaio_destroy(self->fd, ctx));
}

/*
 * A task that is killed stops looking through a list, and stops waiting for
 * other tasks that look.
 */
#define NR_CANCELLERS	64
#define CANCELLER_STACK	16384

struct canceller {
	int fd;
	__u64 ctx;
	struct iocb *iocb;
	int calls;
};

static int cancel_for_ever(void *arg)
{
	struct canceller *c = arg;

	for (;;) {
		__atomic_add_fetch(&c->calls, 1, __ATOMIC_RELAXED);
		kaio_cancel(c->fd, c->ctx, c->iocb);
	}
	return 0;
}

static bool all_have_called(const struct canceller *cancellers)
{
	int i, nr = 0;

	for (i = 0; i < NR_CANCELLERS; i++)
		nr += !!__atomic_load_n(&cancellers[i].calls, __ATOMIC_RELAXED);
	return nr == NR_CANCELLERS;
}

/*
 * Returns an address that is in the same bucket as @iocb in the table of a
 * context for @nr requests.
 */
static struct iocb *find_alike(const struct iocb *iocb, struct iocb *from,
			       size_t len, unsigned int nr)
{
	unsigned int buckets = 1;
	struct iocb *other;

	while (buckets < nr / 2)
		buckets *= 2;
	for (other = from; other < from + len; other++)
		if (other != iocb &&
		    ((uintptr_t)other * GOLDEN >> 32) % buckets ==
			    ((uintptr_t)iocb * GOLDEN >> 32) % buckets)
			return other;
	return NULL;
}

TEST_F_TIMEOUT(pipe, cancellers_are_killed, 280)
{
	static struct iocb *pointers[SOME];
	static struct canceller cancellers[NR_CANCELLERS];
	static pid_t pids[NR_CANCELLERS];
	const size_t nr_iocbs = 1 << 20;
	struct iocb *iocbs = mmap(NULL, nr_iocbs * sizeof(*iocbs),
				  PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				  -1, 0);
	char *stacks = malloc(NR_CANCELLERS * CANCELLER_STACK);
	struct iocb *other;
	__s64 walk, took;
	__u64 ctx;
	int i;
	char c;

	ASSERT_NE(MAP_FAILED, iocbs);
	ASSERT_TRUE(stacks);
	ASSERT_EQ(0, kaio_setup(self->fd, MANY, &ctx));
	other = find_alike(iocbs, iocbs, nr_iocbs, MANY);
	ASSERT_TRUE(other);
	/*
	 * All requests have the address of iocbs[0]. The address @other is in
	 * the same bucket, but no request has it.
	 */
	prep_pread(iocbs, self->ends[0], &c, 1, 0);
	for (i = 0; i < SOME; i++)
		pointers[i] = iocbs;
	for (i = 0; i < MANY / SOME; i++)
		ASSERT_EQ(SOME, kaio_submit(self->fd, ctx, SOME, pointers));
	walk = now_ns();
	ASSERT_EQ(-EINVAL, kaio_cancel(self->fd, ctx, other));
	walk = now_ns() - walk;
	/*
	 * These are processes, because to kill one thread kills all threads of
	 * its process. They share the memory and the descriptors, and so the
	 * context.
	 */
	for (i = 0; i < NR_CANCELLERS; i++) {
		cancellers[i] = (struct canceller){ self->fd, ctx, other, 0 };
		pids[i] = clone(cancel_for_ever,
				stacks + (i + 1) * CANCELLER_STACK,
				CLONE_VM | CLONE_FILES | SIGCHLD,
				&cancellers[i]);
		ASSERT_LE(0, pids[i]);
	}
	EXPECT_TRUE(wait_until(all_have_called(cancellers)));
	took = now_ns();
	for (i = 0; i < NR_CANCELLERS; i++)
		kill(pids[i], SIGKILL);
	for (i = 0; i < NR_CANCELLERS; i++)
		EXPECT_EQ(pids[i], waitpid(pids[i], NULL, 0));
	took = now_ns() - took;
	TH_LOG("one looks for %lld us; %d were gone after %lld us", walk / 1000,
	       NR_CANCELLERS, took / 1000);
	EXPECT_GT(NR_CANCELLERS / 4 * walk + SLACK, took);
	/* Another task can still look through the list. */
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, ctx, other));
	EXPECT_EQ(0, kaio_destroy(self->fd, ctx));
}

TEST_HARNESS_MAIN
