// SPDX-License-Identifier: GPL-2.0
/*
 * Tests contexts that end while their requests are in every state: a context
 * is destroyed, closed or unmapped.
 */
#include "ending_fixture.h"

TEST_F_TIMEOUT(end, destroy, 120)
{
	const pid_t pid = start_child(_metadata, self, variant->state, DESTROY);
	int status;

	if (!ends_at_once(variant->state)) {
		/* The buffer of the request is in use. */
		usleep(50 * 1000);
		EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
		release(self);
	}
	EXPECT_EQ(0, status_of(pid));
	EXPECT_TRUE(context_is_released(self));
}

/* A signal can kill a process whatever its destroy waits for. */
TEST_F_TIMEOUT(end, kill_in_destroy, 120)
{
	const pid_t pid = start_child(_metadata, self, variant->state, DESTROY);

	if (ends_at_once(variant->state)) {
		EXPECT_EQ(0, status_of(pid));
		return;
	}
	usleep(50 * 1000);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	/*
	 * The exit of the process also takes some time. One such wait is enough
	 * for this test.
	 */
	if (variant->state != IN_DRIVER)
		release(self);
	EXPECT_EQ(SIGKILL, status_of(pid));
	release(self);
	EXPECT_TRUE(context_is_released(self));
}

TEST_F_TIMEOUT(end, close, 120)
{
	const pid_t pid = start_child(_metadata, self, variant->state, CLOSE);
	struct pollfd closed = { .fd = self->ready[0], .events = POLLIN };

	if (!ends_at_once(variant->state)) {
		/* The buffer of the request is in use. */
		EXPECT_EQ(0, poll(&closed, 1, 50));
		release(self);
	}
	EXPECT_EQ(1, poll(&closed, 1, 60 * 1000));
	/* The process is alive, and its context is gone. */
	EXPECT_TRUE(context_is_released(self));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, status_of(pid));
}

static bool is_mapped(void *addr)
{
	unsigned char resident;

	return !mincore(addr, PAGE, &resident);
}

/*
 * Other threads can read the ring until the close is complete, and the ring
 * shows when it is.
 */
TEST_F_TIMEOUT(end, close_clears_ring_last, 120)
{
	int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct sleeper closer;
	struct iocb iocb;
	__u64 ctx;

	ASSERT_EQ(0, reach_state(self, variant->state, fd, &ctx, &iocb));
	ASSERT_TRUE(start_closing(&closer, &fd));
	if (!ends_at_once(variant->state)) {
		EXPECT_TRUE(close_waits(&closer));
		usleep(50 * 1000);
		EXPECT_TRUE(is_mapped(ring_of(ctx)));
		EXPECT_EQ(KAIO_RING_MAGIC, ring_of(ctx)->magic);
		release(self);
	}
	EXPECT_EQ(0, woken(&closer));
	ASSERT_TRUE(is_mapped(ring_of(ctx)));
	EXPECT_EQ(0, ring_of(ctx)->magic);
	EXPECT_EQ(0, ring_of(ctx)->nr);
	EXPECT_EQ(ring_of(ctx)->head, ring_of(ctx)->tail);
	/* The memory belongs to the process, and no part of kaio stays. */
	EXPECT_TRUE(context_is_released(self));
	ring_of(ctx)->head = 1;
	EXPECT_EQ(0, munmap(ring_of(ctx), PAGE));
	EXPECT_FALSE(is_mapped(ring_of(ctx)));
}

/*
 * A close does not touch other memory that was mapped in place of the ring,
 * even while it waits.
 */
TEST_F_TIMEOUT(end, close_unmaps_no_other_memory, 120)
{
	const bool waits = !ends_at_once(variant->state);
	int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct sleeper closer;
	struct iocb iocb;
	__u64 ctx;

	ASSERT_EQ(0, reach_state(self, variant->state, fd, &ctx, &iocb));
	if (waits) {
		ASSERT_TRUE(start_closing(&closer, &fd));
		EXPECT_TRUE(close_waits(&closer));
	}
	EXPECT_EQ(0, munmap(ring_of(ctx), PAGE));
	ASSERT_EQ(ring_of(ctx), mmap(ring_of(ctx), PAGE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS |
				     MAP_FIXED_NOREPLACE, -1, 0));
	ring_of(ctx)->nr = 42;
	if (!waits)
		ASSERT_TRUE(start_closing(&closer, &fd));
	if (waits)
		release(self);
	EXPECT_EQ(0, woken(&closer));
	ASSERT_TRUE(is_mapped(ring_of(ctx)));
	EXPECT_EQ(42, ring_of(ctx)->nr);
	EXPECT_TRUE(context_is_released(self));
}

TEST_F_TIMEOUT(end, unmap, 120)
{
	const pid_t pid = start_child(_metadata, self, variant->state, UNMAP);

	if (!ends_at_once(variant->state))
		release(self);
	EXPECT_TRUE(wait_until(mock_info(self->file).running == 0));
	EXPECT_EQ(0, mock_waiters(self->file));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, status_of(pid));
	EXPECT_TRUE(context_is_released(self));
}

/* A task that exits waits once, and not for each descriptor that it closes. */
#define NR_DESCRIPTORS	16

static int submit_through_many(FIXTURE_DATA(end) *self, enum state state)
{
	static struct iocb iocbs[NR_DESCRIPTORS];
	int i, fd;
	__u64 ctx;

	for (i = 0; i < NR_DESCRIPTORS; i++) {
		fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
		if (fd < 0 || kaio_setup(fd, 1, &ctx) ||
		    !submits(fd, ctx, &iocbs[i], self->file, state))
			return 1;
	}
	return 0;
}

TEST_F_TIMEOUT(end, many_descriptors, 120)
{
	__s64 since, waited;
	int i, status;
	pid_t pid;

	if (variant->state != IN_DRIVER)
		return;
	ASSERT_EQ(0, mock_program(self->file, 1, 0, setups[IN_DRIVER].step));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (submit_through_many(self, IN_DRIVER))
			_exit(1);
		pause();
	}
	ASSERT_TRUE(wait_until(mock_info(self->file).queued == NR_DESCRIPTORS));
	since = now_ns();
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	waited = now_ns() - since;
	TH_LOG("the exit waited %lld ms", waited / NSEC_PER_MSEC);
	EXPECT_EQ(SIGKILL, status);
	EXPECT_LT((SHORT_PATIENCE * NSEC_PER_SEC) / 2, waited);
	EXPECT_GT((SHORT_PATIENCE + 2) * NSEC_PER_SEC, waited);
	for (i = 0; i < NR_DESCRIPTORS; i++)
		EXPECT_EQ(0, mock_complete(self->file, 5));
	EXPECT_TRUE(context_is_released(self));
}

static long remove_module(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

/* The module stays while any part of a request is in use. */
TEST_F_TIMEOUT(end, module_stays_loaded, 120)
{
	/* The descriptor of this test must not keep the module. */
	const long refs = self->refs - 1;
	pid_t pid;

	if (self->refs < 0)
		SKIP(return, "kaio is built in");
	close(self->fd);
	pid = start_child(_metadata, self, variant->state, CLOSE);
	if (!ends_at_once(variant->state)) {
		/*
		 * kaio_mock holds one of these references, which alone would
		 * keep the module.
		 */
		EXPECT_LT(refs, module_refs("kaio"));
		EXPECT_EQ(-EAGAIN, remove_module("kaio"));
		EXPECT_EQ(-EAGAIN, remove_module("kaio_mock"));
		release(self);
	}
	/* The module can be removed once the request has ended. */
	EXPECT_TRUE(wait_until(module_refs("kaio") == refs));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, status_of(pid));
}

TEST_HARNESS_MAIN
