// SPDX-License-Identifier: GPL-2.0
/*
 * Runs programs that lie, race, and write where they must not. They may harm
 * themselves, but the kernel, its counts and other contexts stay sound. The
 * test runner searches the kernel log afterwards.
 */
#include "context_fixture.h"

static const __u32 hostile_values[] = {
	0, 1, 2, 126, 127, 128, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
};

static bool one_of(long ret, const int *errs, int nr)
{
	while (nr--)
		if (ret == -errs[nr])
			return true;
	return false;
}

/*
 * Each word of the ring's header is overwritten with each value.
 */
FIXTURE(word)
{
	int fd;
	__u64 ctx;
};

FIXTURE_VARIANT(word)
{
	size_t offset;
};

/* clang-format off */
#define WORD(_name) \
	FIXTURE_VARIANT_ADD(word, _name) { \
		.offset = offsetof(struct kaio_ring, _name), \
	}
WORD(id);
WORD(nr);
WORD(head);
WORD(tail);
WORD(magic);
WORD(compat_features);
WORD(incompat_features);
WORD(header_length);
/* clang-format on */

FIXTURE_SETUP(word)
{
	open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx);
}

FIXTURE_TEARDOWN(word)
{
	close_context(_metadata, self->fd, self->ctx);
}

TEST_F(word, overwritten)
{
	__u32 *const word = (void *)((char *)ring_of(self->ctx) +
				     variant->offset);
	const bool is_head = variant->offset ==
			     offsetof(struct kaio_ring, head);
	struct io_event events[256];
	struct iocb iocb;
	size_t i;
	int k;

	for (i = 0; i < ARRAY_SIZE(hostile_values); i++) {
		prep_noop(&iocb, self->fd);
		for (k = 0; k < 3; k++) {
			const long ret = kaio_submit_one(self->fd, self->ctx,
							 &iocb);

			/* A wrong head can make a ring look full. */
			EXPECT_TRUE(ret == 1 || (is_head && ret == -EAGAIN));
			*word = hostile_values[i];
		}
		k = kaio_getevents(self->fd, self->ctx, 1, 200, events,
				   &no_wait);
		if (is_head) {
			EXPECT_LE(0, k);
			EXPECT_GE(200, k);
		} else {
			EXPECT_EQ(3, k)
			{
				TH_LOG("value %#x", hostile_values[i]);
			}
		}
		/* The ring works again as soon as the head is right. */
		if (is_head)
			*word = ring_of(self->ctx)->tail;
		EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	}
}

/* Requests complete in other contexts of execution at any time. */
TEST_F(word, overwritten_while_completing)
{
	__u32 *const word = (void *)((char *)ring_of(self->ctx) +
				     variant->offset);
	const int file = open_pattern(DISK_DIR, 1, 16 * PAGE);
	const int direct = reopen(file, O_RDONLY | O_DIRECT);
	char *buf = map_guarded(16);
	struct iocb iocbs[16], *pointers[16];
	struct io_event events[256];
	__u32 seed = 99;
	int i, round;

	ASSERT_LE(0, direct);
	ASSERT_NE(NULL, buf);
	for (i = 0; i < 16; i++) {
		prep_pread(&iocbs[i], i & 1 ? direct : file, buf + i * PAGE,
			   PAGE, i * PAGE);
		pointers[i] = &iocbs[i];
	}
	for (round = 0; round < 20; round++) {
		const long ret = kaio_submit(self->fd, self->ctx, 16, pointers);

		ASSERT_TRUE(ret == -EAGAIN || (ret > 0 && ret <= 16));
		for (i = 0; i < 200; i++)
			__atomic_store_n(word, next_random(&seed),
					 __ATOMIC_RELAXED);
		ASSERT_LE(0, kaio_getevents(self->fd, self->ctx, 0, 200, events,
					    &no_wait));
	}
	ASSERT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
}

TEST_F(word, overwritten_while_asleep)
{
	__u32 *const word = (void *)((char *)ring_of(self->ctx) +
				     variant->offset);
	const struct itimerspec soon = {
		.it_value.tv_nsec = 10 * NSEC_PER_MSEC,
	};
	/*
	 * If the head is overwritten, the ring may seem to be empty for ever.
	 */
	const bool may_miss = variant->offset == offsetof(struct kaio_ring, head);
	const struct timespec a_moment = { .tv_nsec = 100 * NSEC_PER_MSEC };
	const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	struct io_event events[256];
	struct iocb iocb;
	__u64 count;
	long ret;

	*word = 0xdeadbeef;
	ASSERT_EQ(0, timerfd_settime(timer, 0, &soon, NULL));
	prep_pread(&iocb, timer, &count, sizeof(count), 0);
	ret = kaio_submit_one(self->fd, self->ctx, &iocb);
	ASSERT_EQ(1, ret);
	ret = kaio_getevents(self->fd, self->ctx, 1, 256, events,
			     may_miss ? &a_moment : &patience);
	if (!may_miss)
		EXPECT_EQ(1, ret);
	EXPECT_LE(0, ret);
	EXPECT_GE(256, ret);
}

/*
 * A wrong head cannot make a context hold more requests than it has room for.
 */
TEST_F(context, wrong_head_makes_no_room)
{
	const __u32 nr = ring_of(self->ctx)->nr;
	struct iocb iocb;
	int pipes[2], taken = 0, i;
	char c;

	ASSERT_EQ(0, pipe(pipes));
	prep_pread(&iocb, pipes[0], &c, 1, 0);
	for (i = 0; i < 1000; i++) {
		ring_of(self->ctx)->head = i;
		taken += kaio_submit_one(self->fd, self->ctx, &iocb) == 1;
	}
	EXPECT_EQ(nr - 1, taken);
	EXPECT_STAT(taken, self->fd, "inflight");
	/* As many events follow as the ring has room for. */
	EXPECT_EQ(0, close(pipes[1]));
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
}

TEST_F(context, whole_ring_overwritten)
{
	struct kaio_ring *ring = ring_of(self->ctx);
	struct io_event events[256];
	struct iocb iocb;
	__u32 seed = 7, i, round;
	long ret;

	prep_noop(&iocb, self->fd);
	for (round = 0; round < 50; round++) {
		for (i = 0; i < PAGE / 4; i++)
			((__u32 *)ring)[i] = next_random(&seed);
		ret = kaio_submit_one(self->fd, self->ctx, &iocb);
		EXPECT_TRUE(ret == 1 || ret == -EAGAIN);
		ret = kaio_getevents(self->fd, self->ctx, 1, 200, events,
				     &no_wait);
		EXPECT_TRUE(ret >= 0 && ret <= 200);
	}
	ring->head = 0;
	EXPECT_LE(0, kaio_getevents(self->fd, self->ctx, 0, 200, events,
				    &no_wait));
}

/* The ring is the buffer of requests of its own context. */
TEST_F(context, reads_into_the_ring)
{
	const int file = open_pattern(DISK_DIR, 3, PAGE);
	const int direct = reopen(file, O_RDONLY | O_DIRECT);
	const int fds[] = { file, direct };
	struct io_event events[256];
	struct iocb iocb;
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_LE(0, fds[i]);
		prep_pread(&iocb, fds[i], ring_of(self->ctx), PAGE, 0);
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
		ASSERT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
		EXPECT_LE(0, kaio_getevents(self->fd, self->ctx, 0, 200, events,
					    &no_wait));
		ring_of(self->ctx)->head = 0;
	}
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
}

/*
 * The arguments, the array, the request and the events of the calls are in the
 * ring.
 */
TEST_F(context, arguments_in_the_ring)
{
	const size_t far = PAGE - 512;
	char *at = (char *)ring_of(self->ctx) + far;
	struct iocb *iocb = (void *)at;
	struct iocb **iocbs = (void *)(at + 128);

	prep_noop(iocb, self->fd);
	*iocbs = iocb;
	EXPECT_EQ(1, kaio_submit(self->fd, self->ctx, 1, iocbs));
	EXPECT_EQ(1, kaio_getevents(self->fd, self->ctx, 1, 1,
				    (void *)(at + 256), &no_wait));
	EXPECT_EQ((uintptr_t)iocb, ((struct io_event *)(at + 256))->obj);
	/* The event is copied onto itself. */
	EXPECT_EQ(1, kaio_submit(self->fd, self->ctx, 1, iocbs));
	EXPECT_EQ(1, kaio_getevents(self->fd, self->ctx, 1, 1,
				    &ring_of(self->ctx)->io_events[1],
				    &no_wait));
}

/* Several threads use these words at the same time. */
#define get(at)		__atomic_load_n(at, __ATOMIC_ACQUIRE)
#define set(at, value)	__atomic_store_n(at, value, __ATOMIC_RELEASE)

/*
 * The threads of an arena disturb the main thread until it stops them. The main
 * thread counts rounds, so that the time is bounded.
 */
struct arena {
	int fd;
	bool stop;
	__u64 ctx;
	struct iocb *iocb;
	int file;
	char *buf;
};

static void *change_iocb(void *arg)
{
	struct arena *arena = arg;
	struct iocb *iocb = arena->iocb;
	__u32 seed = 3;

	while (!get(&arena->stop)) {
		const __u32 r = next_random(&seed);

		switch (r % 7) {
		case 0:
			set(&iocb->aio_fildes, r & 64 ? arena->file : -1);
			break;
		case 1:
			set(&iocb->aio_lio_opcode, (r >> 8) % 10);
			break;
		case 2:
			set(&iocb->aio_nbytes, r & 64 ? 512 : -1ULL >> (r >> 26));
			break;
		case 3:
			set(&iocb->aio_buf, r & 64 ? (uintptr_t)arena->buf : KERNEL_ADDR + r);
			break;
		case 4:
			set(&iocb->aio_offset, r & 64 ? 0 : -(__s64)r);
			break;
		case 5:
			set(&iocb->aio_rw_flags, r & 64 ? 0 : r >> 8);
			break;
		case 6:
			set(&iocb->aio_reserved2, r & 64 ? 1 : 0);
			set(&iocb->aio_flags, r >> 30);
			set(&iocb->aio_resfd, arena->file);
			break;
		}
	}
	return NULL;
}

TEST_F_TIMEOUT(context, request_changes_during_submit, 60)
{
	static const int errs[] = { EINVAL, EBADF, EFAULT, EOPNOTSUPP, EAGAIN,
				    EPERM };
	struct arena arena = { .fd = self->fd };
	struct io_event events[NR_EVENTS];
	bool taken = false;
	pthread_t thread;
	int i;

	arena.file = open_pattern(MEM_DIR, 1, PAGE);
	arena.buf = map_guarded(1);
	arena.iocb = (void *)map_guarded(1);
	ASSERT_NE(NULL, arena.iocb);
	prep_pread(arena.iocb, arena.file, arena.buf, 512, 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, change_iocb, &arena));
	/*
	 * The thread may pause while a field makes the request invalid, but not
	 * for ever.
	 */
	for (i = 0; i < 3000 || !taken; i++) {
		const long ret = kaio_submit_one(self->fd, self->ctx,
						 arena.iocb);

		ASSERT_TRUE(ret == 1 || one_of(ret, errs, ARRAY_SIZE(errs)))
		{
			TH_LOG("submit returned %ld", ret);
		}
		taken |= ret == 1;
		ASSERT_LE(0, kaio_getevents(self->fd, self->ctx, 0, NR_EVENTS,
					    events, &no_wait));
	}
	set(&arena.stop, true);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_LT(0, kaio_stat(self->fd, "submitted"));
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
}

static void *unmap_iocb(void *arg)
{
	struct arena *arena = arg;

	while (!get(&arena->stop)) {
		mprotect(arena->iocb, PAGE, PROT_NONE);
		mprotect(arena->iocb, PAGE, PROT_READ);
		mprotect(arena->iocb, PAGE, PROT_READ | PROT_WRITE);
	}
	return NULL;
}

TEST_F_TIMEOUT(context, request_unmapped_during_submit, 60)
{
	struct arena arena = { .fd = self->fd };
	struct io_event events[NR_EVENTS];
	long submitted = 0;
	pthread_t thread;
	int i;

	arena.iocb = (void *)map_guarded(1);
	ASSERT_NE(NULL, arena.iocb);
	prep_noop(arena.iocb, self->fd);
	ASSERT_EQ(0, pthread_create(&thread, NULL, unmap_iocb, &arena));
	for (i = 0; i < 2000; i++) {
		const long ret = kaio_submit_one(self->fd, self->ctx,
						 arena.iocb);

		ASSERT_TRUE(ret == 1 || ret == -EFAULT);
		if (ret != 1)
			continue;
		submitted++;
		ASSERT_EQ(1, kaio_getevents(self->fd, self->ctx, 1, 2, events,
					    &no_wait));
	}
	set(&arena.stop, true);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(submitted, kaio_stat(self->fd, "submitted"));
	EXPECT_STAT(submitted, self->fd, "completed");
}

/*
 * One thread makes and ends contexts in several ways, and others use the
 * contexts that they see.
 */
static void *use_context(void *arg)
{
	struct arena *arena = arg;
	const struct timespec timeout = { .tv_nsec = NSEC_PER_MSEC };
	struct io_event events[8];
	struct iocb noop, timer, *iocbs[] = { &noop, &timer };
	static const struct itimerspec often = {
		.it_value.tv_nsec = NSEC_PER_MSEC,
		.it_interval.tv_nsec = NSEC_PER_MSEC,
	};
	const int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	static const int errs[] = { EINVAL, EAGAIN };
	__u64 count;
	long bad = 0, ret;

	timerfd_settime(fd, 0, &often, NULL);
	prep_noop(&noop, arena->fd);
	prep_pread(&timer, fd, &count, sizeof(count), 0);
	while (!get(&arena->stop)) {
		ret = kaio_submit(arena->fd, get(&arena->ctx), 2, iocbs);
		bad += ret < 0 && !one_of(ret, errs, 2);
		ret = kaio_getevents(arena->fd, get(&arena->ctx), 2, 8, events,
				     &timeout);
		bad += ret < 0 && ret != -EINVAL;
	}
	/* The remaining requests read into this stack. */
	while (kaio_stat(arena->fd, "inflight"))
		usleep(1000);
	close(fd);
	return (void *)bad;
}

TEST_F_TIMEOUT(context, ended_while_in_use, 60)
{
	struct arena arena = { .fd = self->fd, .ctx = self->ctx };
	pthread_t threads[3];
	__u64 old = self->ctx, next;
	void *bad;
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, use_context,
					    &arena))
		{
			TH_LOG("i %ld", (long)i);
		}
	}
	for (i = 0; i < 120; i++) {
		void *to;

		usleep(500);
		ASSERT_EQ(0, kaio_setup(self->fd, 8, &next));
		set(&arena.ctx, next);
		switch (i % 3) {
		case 0:
			EXPECT_EQ(0, kaio_destroy(self->fd, old));
			break;
		case 1:
			EXPECT_EQ(0, munmap(ring_of(old), PAGE));
			break;
		case 2:
			to = mremap(ring_of(old), PAGE, PAGE,
				    MREMAP_MAYMOVE | MREMAP_FIXED,
				    (void *)0x20000000);
			EXPECT_EQ((void *)0x20000000, to);
			EXPECT_EQ(0, kaio_destroy(self->fd, (uintptr_t)to));
			break;
		}
		old = next;
	}
	set(&arena.stop, true);
	EXPECT_EQ(0, kaio_destroy(self->fd, old));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &bad));
		EXPECT_EQ(0, (long)bad);
	}
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
	EXPECT_EQ(0, kaio_stat(self->fd, "contexts"));
	EXPECT_EQ(self->nr_before, kaio_nr(self->fd));
	EXPECT_STAT(kaio_stat(self->fd, "submitted"),
		  self->fd, "completed");
}

static void *destroy_it(void *arg)
{
	struct arena *arena = arg;

	while (!get(&arena->stop))
		;
	return (void *)kaio_destroy(arena->fd, arena->ctx);
}

/* Exactly one of several threads destroys the context. */
TEST_F_TIMEOUT(context, destroyed_by_threads, 60)
{
	int round, i;

	for (round = 0; round < 20; round++) {
		struct arena arena = { .fd = self->fd };
		pthread_t threads[3];
		int destroyed = 0;
		__u64 ctx;
		void *ret;

		ASSERT_EQ(0, kaio_setup(self->fd, 1, &ctx));
		arena.ctx = ctx;
		for (i = 0; i < 3; i++) {
			ASSERT_EQ(0, pthread_create(&threads[i], NULL,
						    destroy_it, &arena))
			{
				TH_LOG("i %ld", (long)i);
			}
		}
		set(&arena.stop, true);
		for (i = 0; i < 3; i++) {
			ASSERT_EQ(0, pthread_join(threads[i], &ret));
			EXPECT_TRUE(!ret || (long)ret == -EINVAL);
			destroyed += !ret;
		}
		EXPECT_EQ(1, destroyed);
	}
	EXPECT_EQ(self->nr_before + kaio_capacity(NR_EVENTS), kaio_nr(self->fd));
}

static void *close_it(void *arg)
{
	struct arena *arena = arg;

	while (!get(&arena->stop))
		;
	close(arena->fd);
	return NULL;
}

/* The descriptor is closed during calls that use it. */
TEST_F_TIMEOUT(context, closed_while_in_use, 60)
{
	static const int errs[] = { EBADF, EINVAL, EAGAIN };
	int round, i;

	for (round = 0; round < 20; round++) {
		struct arena arena = {};
		struct io_event event;
		struct iocb iocb;
		pthread_t thread;
		__u64 ctx;
		long ret = 0;

		arena.fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, arena.fd);
		ASSERT_EQ(0, kaio_setup(arena.fd, 1, &ctx));
		prep_noop(&iocb, self->fd);
		ASSERT_EQ(0, pthread_create(&thread, NULL, close_it, &arena));
		for (i = 0; i < 30; i++) {
			set(&arena.stop, i > 2);
			ret = kaio_submit_one(arena.fd, ctx, &iocb);
			ASSERT_TRUE(ret >= 0 || one_of(ret, errs, 3));
			ret = kaio_getevents(arena.fd, ctx, 0, 1, &event,
					     &no_wait);
			ASSERT_TRUE(ret >= 0 || one_of(ret, errs, 3));
		}
		ASSERT_EQ(0, pthread_join(thread, NULL));
		ASSERT_EQ(-EBADF, kaio_submit_one(arena.fd, ctx, &iocb));
		munmap(ring_of(ctx), PAGE);
	}
	EXPECT_TRUE(wait_until(kaio_nr(self->fd) ==
			       self->nr_before + kaio_capacity(NR_EVENTS)));
}

/*
 * The test below passes random arguments.
 */
static __u64 random_value(__u32 *seed, const struct arena *arena)
{
	const __u32 r = next_random(seed);

	switch (r % 16) {
	case 0:
	case 1:
	case 2:
		return 0;
	case 3:
		return 1;
	case 4:
		return arena->ctx;
	case 5:
		return arena->ctx + PAGE - 32;
	case 6:
		return (uintptr_t)arena->buf;
	case 7:
		return (uintptr_t)arena->iocb;
	case 8:
		return (uintptr_t)arena->buf + PAGE - (r >> 26);
	case 9:
		return KERNEL_ADDR;
	case 10:
		return ~0ULL;
	case 11:
		return 1ULL << (r >> 26);
	case 12:
		return -(__u64)(r >> 26);
	case 13:
		return r >> 28;
	case 14:
		return LLONG_MAX;
	default:
		return (__u64)next_random(seed) << 32 | next_random(seed);
	}
}

TEST_F_TIMEOUT(context, fuzz, 60)
{
	static const unsigned long cmds[] = { KAIO_QUERY, KAIO_SETUP,
					      KAIO_DESTROY, KAIO_SUBMIT,
					      KAIO_GETEVENTS, KAIO_CANCEL,
					      KAIO_SUBMIT_WAIT };
	static const int errs[] = { EINVAL, EFAULT, E2BIG, EAGAIN, ENOMEM,
				    ENOTTY, EBADF, EOPNOTSUPP, EPERM,
				    EINPROGRESS };
	struct arena arena = { .fd = self->fd, .ctx = self->ctx };
	const struct timespec *zero;
	long cancelled = 0, waited = 0;
	__u32 seed = 20260101, i, k;
	struct iocb parked;
	int ends[2];
	char c;

	arena.buf = map_guarded(1);
	arena.iocb = (void *)map_guarded(1);
	arena.file = open_pattern(MEM_DIR, 1, PAGE);
	/* The buffers contain valid and invalid requests. */
	zero = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, zero);
	/* This request can be cancelled. */
	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	prep_pread(&parked, ends[0], &c, 1, 0);

	for (i = 0; i < 6000; i++) {
		union {
			__u64 words[12];
			struct kaio_setup setup;
			struct kaio_getevents getevents;
			struct kaio_cancel cancel;
			struct kaio_submit_wait submit_wait;
		} arg;
		unsigned long cmd = cmds[next_random(&seed) % ARRAY_SIZE(cmds)];
		struct iocb *iocb = arena.iocb;
		long ret;

		for (k = 0; k < ARRAY_SIZE(arg.words); k++)
			arg.words[k] = random_value(&seed, &arena);
		switch (cmd) {
		case KAIO_SETUP:
			/*
			 * Limit the size, so that the test does not only
			 * exhaust memory.
			 */
			if (arg.setup.nr_events < 0x08000000)
				arg.setup.nr_events %= 4096;
			arg.setup.flags = next_random(&seed) % 8 == 0;
			arg.setup.ctx_id = next_random(&seed) % 8 == 0;
			break;
		case KAIO_GETEVENTS:
			/* The call must not wait for ever. */
			arg.getevents.timeout = (uintptr_t)zero;
			arg.getevents.sigmask &= -(i & 1);
			arg.getevents.sigsetsize &= -(i & 1);
			arg.words[8] &= -(i & 1);
			break;
		case KAIO_SUBMIT:
			if (next_random(&seed) % 4)
				arg.words[1] = 1;
			if (next_random(&seed) % 4)
				arg.words[2] = (uintptr_t)arena.buf;
			if (next_random(&seed) % 8)
				arg.words[3] = 0;
			break;
		case KAIO_CANCEL:
			if (next_random(&seed) % 2)
				arg.cancel.iocb = (uintptr_t)&parked;
			arg.words[2] &= -(next_random(&seed) % 4 == 0);
			break;
		case KAIO_SUBMIT_WAIT:
			if (next_random(&seed) % 4)
				arg.submit_wait.nr = 1;
			if (next_random(&seed) % 4)
				arg.submit_wait.iocbpp = (uintptr_t)arena.buf;
			if (next_random(&seed) % 4) {
				arg.submit_wait.min_nr = 0;
				arg.submit_wait.nr_events = 1;
			}
			arg.submit_wait.timeout = (uintptr_t)zero;
			arg.submit_wait.sigmask &= -(i & 1);
			arg.submit_wait.sigsetsize &= -(i & 1);
			/* Mostly clear the output fields and the flags. */
			for (k = 9; k < ARRAY_SIZE(arg.words); k++)
				arg.words[k] &= -(next_random(&seed) % 4 == 0);
			break;
		}
		if (cmd != KAIO_SETUP && next_random(&seed) % 8)
			arg.words[0] = arena.ctx;
		for (k = 0; k < sizeof(*iocb) / 8; k++)
			((__u64 *)iocb)[k] = random_value(&seed, &arena);
		if (next_random(&seed) % 2) {
			prep_pread(iocb, arena.file, arena.buf, 64, 0);
			if (next_random(&seed) % 3 == 0)
				iocb->aio_lio_opcode = next_random(&seed) % 10;
		}
		*(__u64 *)arena.buf = (uintptr_t)iocb;
		if (next_random(&seed) % 4 == 0)
			*(__u64 *)arena.buf = (uintptr_t)&parked;
		if (next_random(&seed) % 16 == 0)
			cmd = ioc_resize(cmd, next_random(&seed) % sizeof(arg));
		if (next_random(&seed) % 32 == 0)
			cmd ^= 1UL << next_random(&seed) % 16;

		ret = kaio_ioctl(self->fd, cmd, &arg);
		ASSERT_TRUE(ret >= 0 || one_of(ret, errs, ARRAY_SIZE(errs)))
		{
			TH_LOG("round %u: ioctl %#lx returned %ld", i, cmd,
			       ret);
		}
		if (_IOC_NR(cmd) == _IOC_NR(KAIO_CANCEL))
			cancelled += ret == -EINPROGRESS;
		else
			ASSERT_NE(-EINPROGRESS, ret);
		if (_IOC_NR(cmd) == _IOC_NR(KAIO_SUBMIT_WAIT))
			waited += ret > 0;
		if (_IOC_NR(cmd) == _IOC_NR(KAIO_SETUP) && !ret &&
		    arg.setup.ctx_id) {
			kaio_destroy(self->fd, arena.ctx);
			arena.ctx = arg.setup.ctx_id;
		}
		if (kaio_stat(self->fd, "contexts") == 0) {
			__u64 ctx;

			ASSERT_EQ(0, kaio_setup(self->fd, 8, &ctx));
			arena.ctx = ctx;
		}
	}
	/* Enough calls have succeeded for the test to be meaningful. */
	EXPECT_LT(50, kaio_stat(self->fd, "submitted"));
	EXPECT_LT(10, cancelled);
	EXPECT_LT(10, waited);
	EXPECT_LE(cancelled, kaio_stat(self->fd, "cancelled"));
	kaio_destroy(self->fd, arena.ctx);
	close(self->fd);
	self->fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	EXPECT_TRUE(wait_until(kaio_nr(self->fd) == self->nr_before));
}

TEST_HARNESS_MAIN
