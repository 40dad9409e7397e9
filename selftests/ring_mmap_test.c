// SPDX-License-Identifier: GPL-2.0
/*
 * Tests the ring as memory: its contents, taking events without a system
 * call, and operations on its mapping.
 */
#include "context_fixture.h"

/* The number of events of a ring of several pages. */
#define MANY_EVENTS	1000

static size_t ring_bytes(__u64 ctx)
{
	const struct kaio_ring *ring = ring_of(ctx);
	const size_t len = sizeof(*ring) + ring->nr * sizeof(struct io_event);

	return (len + PAGE - 1) & ~(PAGE - 1);
}

/* Submits a request and takes its event. */
static long do_noop(int fd, __u64 ctx)
{
	struct iocb iocb;

	prep_noop(&iocb, fd);
	return kaio_do(fd, ctx, &iocb);
}

static bool is_mapped(__u64 address)
{
	unsigned char in_core;

	return !mincore((void *)(uintptr_t)address, PAGE, &in_core);
}

TEST_F(context, header)
{
	const struct kaio_ring *ring = ring_of(self->ctx);

	EXPECT_EQ(0, self->ctx % PAGE);
	EXPECT_LE(NR_EVENTS + 1, ring->nr);
	EXPECT_EQ(0, ring->head);
	EXPECT_EQ(0, ring->tail);
	EXPECT_EQ(KAIO_RING_MAGIC, ring->magic);
	EXPECT_EQ(KAIO_RING_COMPAT_FEATURES, ring->compat_features);
	EXPECT_EQ(KAIO_RING_INCOMPAT_FEATURES, ring->incompat_features);
	EXPECT_EQ(32, ring->header_length);
	EXPECT_EQ(32, sizeof(struct kaio_ring));
	EXPECT_EQ(32, offsetof(struct kaio_ring, io_events));
}

/* Apart from the id and the size, each word has the value of native AIO. */
TEST_F(context, header_as_native)
{
	const struct kaio_ring *ring = ring_of(self->ctx), *native;
	aio_context_t ctx;

	if (native_setup(NR_EVENTS, &ctx))
		SKIP(return, "this kernel has no native AIO");
	native = ring_of(ctx);
	EXPECT_EQ(native->head, ring->head);
	EXPECT_EQ(native->tail, ring->tail);
	EXPECT_EQ(native->magic, ring->magic);
	EXPECT_EQ(native->compat_features, ring->compat_features);
	EXPECT_EQ(native->incompat_features, ring->incompat_features);
	EXPECT_EQ(native->header_length, ring->header_length);
	EXPECT_EQ(0, native_destroy(ctx));
}

TEST_F(context, event_in_ring)
{
	const struct kaio_ring *ring = ring_of(self->ctx);
	struct io_event event;
	struct iocb iocb;

	prep_noop(&iocb, self->fd);
	iocb.aio_data = 42;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, ring->head);
	EXPECT_EQ(1, ring->tail);
	EXPECT_EQ(42, ring->io_events[0].data);
	EXPECT_EQ((uintptr_t)&iocb, ring->io_events[0].obj);
	EXPECT_EQ(0, ring->io_events[0].res);
	EXPECT_EQ(0, ring->io_events[0].res2);
	EXPECT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(0, memcmp(&event, &ring->io_events[0], sizeof(event)));
	EXPECT_EQ(1, ring->head);
	EXPECT_EQ(1, ring->tail);
}

/*
 * Batches of all sizes go around the ring several times. User space, the ioctl
 * or both in turn take the events, in order and each once.
 */
FIXTURE(reap)
{
	int fd;
	__u64 ctx;
};

FIXTURE_VARIANT(reap)
{
	__u32 nr_events;
	bool user;
	bool ioctl;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(reap, by_user) { 1, .user = true };
FIXTURE_VARIANT_ADD(reap, by_ioctl) { 1, .ioctl = true };
FIXTURE_VARIANT_ADD(reap, by_both) { 1, .user = true, .ioctl = true };
FIXTURE_VARIANT_ADD(reap, by_user_over_pages) { 300, .user = true };
FIXTURE_VARIANT_ADD(reap, by_ioctl_over_pages) { 300, .ioctl = true };
FIXTURE_VARIANT_ADD(reap, by_both_over_pages) {
	300, .user = true, .ioctl = true,
};
/* clang-format on */

FIXTURE_SETUP(reap)
{
	open_context(_metadata, &self->fd, variant->nr_events, &self->ctx);
}

FIXTURE_TEARDOWN(reap)
{
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	close(self->fd);
}

TEST_F_TIMEOUT(reap, around_the_ring, 60)
{
	const __u32 nr = ring_of(self->ctx)->nr;
	struct iocb *iocbs = calloc(nr, sizeof(*iocbs));
	struct iocb **pointers = calloc(nr, sizeof(*pointers));
	struct io_event *events = calloc(nr, sizeof(*events));
	const __u64 total = nr * 5 + 3;
	__u64 submitted = 0, taken = 0;
	__u32 seed = 4711, i, n;
	long ret;

	ASSERT_TRUE(iocbs && pointers && events);
	for (i = 0; i < nr; i++)
		prep_noop(&iocbs[i], self->fd);
	while (taken < total) {
		n = next_random(&seed) % nr;
		if (n > nr - 1 - (submitted - taken))
			n = nr - 1 - (submitted - taken);
		for (i = 0; i < n; i++) {
			iocbs[i].aio_data = submitted + i;
			pointers[i] = &iocbs[i];
		}
		ASSERT_EQ(n, kaio_submit(self->fd, self->ctx, n, pointers));
		submitted += n;

		n = next_random(&seed) % (nr + 1);
		if (variant->user && (!variant->ioctl || next_random(&seed) & 1))
			ret = ring_reap(self->ctx, events, n);
		else
			ret = kaio_getevents(self->fd, self->ctx, 0, n, events,
					     &no_wait);
		/*
		 * The call returns all events that are there, so waiting would
		 * be pointless.
		 */
		ASSERT_EQ((long)(n < submitted - taken ? n :
							 submitted - taken),
			  ret);
		for (i = 0; i < ret; i++) {
			ASSERT_EQ(taken + i, events[i].data)
			{
				TH_LOG("i %ld", (long)i);
			}
		}
		taken += ret;
	}
	EXPECT_STAT((long)submitted, self->fd, "completed");
}

/*
 * The ioctl does not return an event that user space has taken, and the
 * reverse.
 */
TEST_F(context, taken_once)
{
	struct io_event event;
	struct iocb iocb;

	prep_noop(&iocb, self->fd);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(1, ring_reap(self->ctx, &event, 1));
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 1, 1, &event,
				    &no_wait));
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(1, kaio_getevents(self->fd, self->ctx, 1, 1, &event,
				    &no_wait));
	EXPECT_EQ(0, ring_reap(self->ctx, &event, 1));
}

static void *submit_many(void *arg)
{
	FIXTURE_DATA(context) *self = arg;
	const __s64 end = now_ns() + PATIENCE_SECONDS * NSEC_PER_SEC;
	struct iocb iocb;
	long i;

	prep_noop(&iocb, self->fd);
	for (i = 0; i < 2000 && now_ns() < end;) {
		iocb.aio_data = i;
		if (kaio_submit_one(self->fd, self->ctx, &iocb) == 1)
			i++;
	}
	return (void *)i;
}

/*
 * One CPU takes events while another one adds them. Events are complete and in
 * order.
 */
TEST_F_TIMEOUT(context, reaped_while_filled, 60)
{
	const __s64 end = now_ns() + PATIENCE_SECONDS * NSEC_PER_SEC;
	struct io_event events[16];
	pthread_t thread;
	__u64 next = 0;
	void *count;
	unsigned int n, i;

	ASSERT_EQ(0, pthread_create(&thread, NULL, submit_many, self));
	while (next < 2000 && now_ns() < end) {
		n = ring_reap(self->ctx, events, 16);
		for (i = 0; i < n; i++) {
			ASSERT_EQ(next, events[i].data);
			ASSERT_EQ(0, events[i].res);
			next++;
		}
	}
	ASSERT_EQ(0, pthread_join(thread, &count));
	EXPECT_EQ(2000, (long)count);
	EXPECT_EQ(2000, next);
}

struct peeker {
	int fd;
	__u64 ctx;
	bool over;
};

/* Returns the greatest number of events that a call saw, or LONG_MAX if one failed. */
static long peek_on(void *arg)
{
	struct peeker *peeker = arg;
	long most = 0;

	while (!__atomic_load_n(&peeker->over, __ATOMIC_RELAXED)) {
		long ret = kaio_peek(peeker->fd, peeker->ctx, 0, NR_EVENTS,
				     &no_wait);

		if (ret < 0 || ret > most)
			most = ret < 0 ? LONG_MAX : ret;
	}
	return most;
}

/*
 * There is never more than one event in the ring. A thread that counts the
 * events must not see a full ring when another thread moves the head at the
 * same time.
 */
TEST_F_TIMEOUT(context, peek_while_the_head_moves, 60)
{
	struct peeker peeker = { .fd = self->fd, .ctx = self->ctx };
	const __s64 end = now_ns() + 5 * NSEC_PER_SEC;
	struct io_event event;
	struct sleeper thread;
	struct iocb iocb;
	long most;

	prep_noop(&iocb, self->fd);
	ASSERT_TRUE(start_call(&thread, peek_on, &peeker));
	while (now_ns() < end) {
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
		ASSERT_EQ(1, ring_reap(self->ctx, &event, 1));
	}
	__atomic_store_n(&peeker.over, true, __ATOMIC_RELAXED);
	most = result_of_call(&thread);
	EXPECT_LE(0, most);
	EXPECT_GE(1, most);
}

/*
 * The tests below change the mapping.
 */
TEST_F(context, whole_unmap_destroys)
{
	struct io_event event;
	struct iocb iocb;

	prep_noop(&iocb, self->fd);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, munmap(ring_of(self->ctx), ring_bytes(self->ctx)));
	EXPECT_EQ(-EINVAL, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(-EINVAL, kaio_getevents(self->fd, self->ctx, 0, 1, &event,
					  &no_wait));
	EXPECT_EQ(-EINVAL, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(0, kaio_stat(self->fd, "contexts"));
	EXPECT_EQ(self->nr_before, kaio_nr(self->fd));
}

TEST_F(context, unmap_with_more_around)
{
	/* One call unmaps the ring and its neighbours. */
	char *area = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *ring = mremap(ring_of(self->ctx), PAGE, PAGE,
			    MREMAP_MAYMOVE | MREMAP_FIXED, area + PAGE);

	ASSERT_EQ(area + PAGE, ring);
	EXPECT_EQ(0, do_noop(self->fd, (uintptr_t)ring));
	ASSERT_EQ(0, munmap(area, 4 * PAGE));
	EXPECT_EQ(-EINVAL, do_noop(self->fd, (uintptr_t)ring));
	EXPECT_EQ(self->nr_before, kaio_nr(self->fd));
}

TEST_F(context, mapped_over)
{
	/* MAP_FIXED on top of the ring unmaps it. */
	ASSERT_EQ(ring_of(self->ctx),
		  mmap(ring_of(self->ctx), PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_EQ(-EINVAL, do_noop(self->fd, self->ctx));
	EXPECT_EQ(self->nr_before, kaio_nr(self->fd));
	EXPECT_EQ(0, ring_of(self->ctx)->magic);
}

TEST_F(context, unmap_with_requests_in_flight)
{
	struct iocb iocb;
	int pipes[2];
	char c = 'y', d = 'z';

	ASSERT_EQ(0, pipe2(pipes, O_NONBLOCK));
	fcntl(pipes[0], F_SETFL, 0);
	prep_pread(&iocb, pipes[0], &c, 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, munmap(ring_of(self->ctx), PAGE));
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
	EXPECT_EQ(self->nr_before, kaio_nr(self->fd));
	/* No request reads from the pipe any more. */
	ASSERT_EQ(1, write(pipes[1], "x", 1));
	EXPECT_EQ(1, read(pipes[0], &d, 1));
	EXPECT_EQ('x', d);
	EXPECT_EQ('y', c);
}

TEST_F(context, move)
{
	const __u64 old = self->ctx;
	struct io_event event;
	struct iocb iocb;
	char *to;

	prep_noop(&iocb, self->fd);
	ASSERT_EQ(1, kaio_submit_one(self->fd, old, &iocb));
	to = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(to, mremap(ring_of(old), PAGE, PAGE,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	self->ctx = (uintptr_t)to;
	EXPECT_EQ(-EINVAL, kaio_submit_one(self->fd, old, &iocb));
	EXPECT_EQ(-EINVAL, kaio_getevents(self->fd, old, 0, 1, &event,
					  &no_wait));
	EXPECT_EQ(-EINVAL, kaio_destroy(self->fd, old));
	/* The ring has moved with its event, and the context still works. */
	EXPECT_EQ(1, ring_reap(self->ctx, &event, 1));
	EXPECT_EQ((uintptr_t)&iocb, event.obj);
	EXPECT_EQ(0, do_noop(self->fd, self->ctx));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_FALSE(is_mapped(self->ctx));
	EXPECT_EQ(self->nr_before, kaio_nr(self->fd));
}

TEST_F(context, move_with_request_in_flight)
{
	struct io_event event;
	struct iocb iocb;
	int pipes[2];
	void *to;
	char c;

	ASSERT_EQ(0, pipe(pipes));
	prep_pread(&iocb, pipes[0], &c, 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	to = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(to, mremap(ring_of(self->ctx), PAGE, PAGE,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	self->ctx = (uintptr_t)to;
	ASSERT_EQ(1, write(pipes[1], "x", 1));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(1, event.res);
}

TEST_F(context, move_and_move_back)
{
	void *const home = ring_of(self->ctx);
	void *to = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			0);
	int i;

	for (i = 0; i < 10; i++) {
		ASSERT_EQ(to, mremap(home, PAGE, PAGE,
				     MREMAP_MAYMOVE | MREMAP_FIXED, to));
		ASSERT_EQ(0, do_noop(self->fd, (uintptr_t)to));
		ASSERT_EQ(home, mremap(to, PAGE, PAGE,
				       MREMAP_MAYMOVE | MREMAP_FIXED, home));
		ASSERT_EQ(0, do_noop(self->fd, self->ctx));
	}
}

/*
 * The old place stays mapped, and is empty. The one ring is at the new place.
 */
TEST_F(context, move_dontunmap)
{
	const __u64 old = self->ctx;
	void *to = mremap(ring_of(old), PAGE, PAGE,
			  MREMAP_MAYMOVE | MREMAP_DONTUNMAP);

	if (to == MAP_FAILED) {
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(0, do_noop(self->fd, old));
		return;
	}
	self->ctx = (uintptr_t)to;
	EXPECT_EQ(-EINVAL, do_noop(self->fd, old));
	EXPECT_EQ(0, do_noop(self->fd, self->ctx));
	munmap(ring_of(old), PAGE);
	EXPECT_EQ(0, do_noop(self->fd, self->ctx));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(self->nr_before, kaio_nr(self->fd));
}

/* mremap(2) with length 0 copies a shared mapping, but not a ring. */
TEST_F(context, no_copy)
{
	EXPECT_EQ(MAP_FAILED,
		  mremap(ring_of(self->ctx), 0, PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(0, do_noop(self->fd, self->ctx));
}

TEST_F(context, no_growth)
{
	EXPECT_EQ(MAP_FAILED, mremap(ring_of(self->ctx), PAGE, 2 * PAGE,
				     MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, do_noop(self->fd, self->ctx));
}

TEST_F(context, no_execution)
{
	EXPECT_EQ(-1, mprotect(ring_of(self->ctx), PAGE,
			       PROT_READ | PROT_WRITE | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, do_noop(self->fd, self->ctx));
}

/* The kernel does not use this mapping. */
TEST_F(context, inaccessible)
{
	ASSERT_EQ(0, mprotect(ring_of(self->ctx), PAGE, PROT_NONE));
	EXPECT_EQ(0, do_noop(self->fd, self->ctx));
	ASSERT_EQ(0, mprotect(ring_of(self->ctx), PAGE, PROT_READ));
	EXPECT_EQ(0, do_noop(self->fd, self->ctx));
	EXPECT_EQ(2, ring_of(self->ctx)->tail);
	EXPECT_EQ(2, ring_of(self->ctx)->head);
	ASSERT_EQ(0, mprotect(ring_of(self->ctx), PAGE,
			      PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, do_noop(self->fd, self->ctx));
}

/* Pages that are dropped come back when they are accessed. */
static void advise(struct __test_metadata *const _metadata,
		   FIXTURE_DATA(context) *self, int advice, bool must_work)
{
	struct io_event events[4];
	struct iocb iocb;
	int i, ret;

	prep_noop(&iocb, self->fd);
	for (i = 0; i < 3; i++) {
		iocb.aio_data = i;
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	}
	ret = madvise(ring_of(self->ctx), PAGE, advice);
	if (must_work)
		EXPECT_EQ(0, ret);
	EXPECT_EQ(KAIO_RING_MAGIC, ring_of(self->ctx)->magic);
	EXPECT_EQ(3, ring_of(self->ctx)->tail);
	EXPECT_EQ(1, ring_reap(self->ctx, events, 1));
	EXPECT_EQ(2, kaio_getevents(self->fd, self->ctx, 2, 2, events + 1,
				    &no_wait));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ((__u64)i, events[i].data)
		{
			TH_LOG("i %ld", (long)i);
		}
	}
}

TEST_F(context, madvise_dontneed)
{
	advise(_metadata, self, MADV_DONTNEED, true);
}

TEST_F(context, madvise_pageout)
{
	advise(_metadata, self, MADV_PAGEOUT, false);
}

TEST_F(context, madvise_remove)
{
	advise(_metadata, self, MADV_REMOVE, false);
}

TEST_F(context, madvise_free)
{
	advise(_metadata, self, MADV_FREE, false);
}

TEST_F(context, locked_in_memory)
{
	EXPECT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE));
	EXPECT_EQ(0, do_noop(self->fd, self->ctx));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &self->ctx));
	EXPECT_EQ(0, do_noop(self->fd, self->ctx));
}

/*
 * A ring of several pages can only be changed as a whole.
 */
FIXTURE(pages)
{
	int fd;
	__u64 ctx;
	size_t len;
};

FIXTURE_SETUP(pages)
{
	if (!open_context(_metadata, &self->fd, MANY_EVENTS, &self->ctx))
		return;
	self->len = ring_bytes(self->ctx);
	ASSERT_LE(4 * PAGE, self->len);
}

FIXTURE_TEARDOWN(pages)
{
	EXPECT_EQ(0, do_noop(self->fd, self->ctx));
	EXPECT_EQ(self->len, ring_bytes(self->ctx));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	close(self->fd);
}

TEST_F(pages, mapped_exactly)
{
	size_t at;

	for (at = 0; at < self->len; at += PAGE) {
		EXPECT_TRUE(is_mapped(self->ctx + at))
		{
			TH_LOG("at %ld", (long)at);
		}
	}
}

TEST_F(pages, no_unmap_of_first)
{
	EXPECT_EQ(-1, munmap(ring_of(self->ctx), PAGE));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(pages, no_unmap_of_last)
{
	EXPECT_EQ(-1, munmap((char *)ring_of(self->ctx) + self->len - PAGE,
			     PAGE));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(pages, no_unmap_of_middle)
{
	EXPECT_EQ(-1, munmap((char *)ring_of(self->ctx) + PAGE, PAGE));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(pages, no_protection_of_first)
{
	EXPECT_EQ(-1, mprotect(ring_of(self->ctx), PAGE, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(pages, no_mapping_over_middle)
{
	EXPECT_EQ(MAP_FAILED, mmap((char *)ring_of(self->ctx) + PAGE, PAGE,
				   PROT_READ,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				   0));
}

TEST_F(pages, no_move_of_part)
{
	EXPECT_EQ(MAP_FAILED, mremap((char *)ring_of(self->ctx) + PAGE, PAGE,
				     PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				     (char *)0x10000000));
}

TEST_F(pages, no_shrinking)
{
	EXPECT_EQ(MAP_FAILED, mremap(ring_of(self->ctx), self->len, PAGE, 0));
}

TEST_F(pages, part_dropped)
{
	char *ring = (char *)ring_of(self->ctx);

	EXPECT_EQ(0, madvise(ring + PAGE, PAGE, MADV_DONTNEED));
	EXPECT_EQ(0, do_noop(self->fd, self->ctx));
}

/*
 * The tests below fork.
 */

/* Returns 0, or the number of the step that failed in the child. */
static int child_of(FIXTURE_DATA(context) *self, bool inherited)
{
	struct io_event event;
	struct iocb iocb;
	__u64 own;

	prep_noop(&iocb, self->fd);
	if (!inherited && is_mapped(self->ctx))
		return 1;
	if (kaio_submit_one(self->fd, self->ctx, &iocb) != -EINVAL)
		return 2;
	if (kaio_getevents(self->fd, self->ctx, 0, 1, &event, &no_wait) !=
	    -EINVAL)
		return 3;
	if (kaio_destroy(self->fd, self->ctx) != -EINVAL)
		return 4;
	if (kaio_setup(self->fd, 1, &own))
		return 5;
	if (do_noop(self->fd, own))
		return 6;
	if (kaio_destroy(self->fd, own))
		return 7;
	if (inherited && munmap(ring_of(self->ctx), PAGE))
		return 8;
	return 0;
}

TEST_F(context, fork)
{
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid)
		_exit(child_of(self, false));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, do_noop(self->fd, self->ctx));
	EXPECT_EQ(self->nr_before + kaio_capacity(NR_EVENTS), kaio_nr(self->fd));
}

TEST_F(context, fork_keeps_requests)
{
	struct io_event event;
	struct iocb iocb;
	int pipes[2], status;
	char c = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe(pipes));
	prep_pread(&iocb, pipes[0], &c, 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(write(pipes[1], "x", 1) != 1);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(1, event.res);
	EXPECT_EQ('x', c);
}

/* A ring that the child inherits does not affect the context of the parent. */
TEST_F(context, fork_after_dofork)
{
	const int ret = madvise(ring_of(self->ctx), PAGE, MADV_DOFORK);
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid)
		_exit(child_of(self, !ret));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status)
	{
		TH_LOG("step %d", WEXITSTATUS(status));
	}
	EXPECT_EQ(0, do_noop(self->fd, self->ctx));
	EXPECT_EQ(1, kaio_stat(self->fd, "contexts"));
	EXPECT_EQ(self->nr_before + kaio_capacity(NR_EVENTS), kaio_nr(self->fd));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(self->nr_before, kaio_nr(self->fd));
}

TEST_HARNESS_MAIN
