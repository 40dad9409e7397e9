// SPDX-License-Identifier: GPL-2.0
/*
 * Tests a request whose buffer has a missing page: it waits, and no other
 * request does. With userfaultfd the test decides when the page comes.
 */
#include <linux/userfaultfd.h>
#include <sys/syscall.h>

#include "blocking_threads.h"

#define NR_PIPES 3

FIXTURE(fault)
{
	int fd;
	__u64 ctx;
	int uffd;
	/* The buffer of the first read, whose page is missing. */
	char *page;
	char bytes[NR_PIPES];
	int ends[NR_PIPES][2];
	struct iocb iocbs[NR_PIPES];
};

static int open_userfaultfd(void *addr)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register missing = {
		.range = { .start = (uintptr_t)addr, .len = PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	const int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (uffd < 0)
		return -1;
	return ioctl(uffd, UFFDIO_API, &api) ||
	       ioctl(uffd, UFFDIO_REGISTER, &missing) ? -1 : uffd;
}

static bool serve_fault(FIXTURE_DATA(fault) *self)
{
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)self->page, .len = PAGE },
	};

	return !ioctl(self->uffd, UFFDIO_ZEROPAGE, &zero);
}

/* Returns true once a task waits for the page. */
static bool is_awaited(FIXTURE_DATA(fault) *self)
{
	return wait_until(poll_now(self->uffd, POLLIN) == POLLIN);
}

FIXTURE_SETUP(fault)
{
	int i;

	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)self->page);
	if (access("/proc/sys/vm/unprivileged_userfaultfd", F_OK))
		SKIP(return, "no userfaultfd");
	self->uffd = open_userfaultfd(self->page);
	ASSERT_LE(0, self->uffd);
	for (i = 0; i < NR_PIPES; i++) {
		ASSERT_EQ(0, pipe2(self->ends[i], O_CLOEXEC));
		prep_pread(&self->iocbs[i], self->ends[i][0],
			   i ? &self->bytes[i] : self->page, 1, 0);
		self->iocbs[i].aio_data = i;
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocbs[i]));
	}
	ASSERT_EQ(NR_PIPES, (int)kaio_stat(self->fd, "parked"));
}

FIXTURE_TEARDOWN(fault)
{
	close(self->uffd);
	close(self->fd);
}

static bool make_ready(FIXTURE_DATA(fault) *self, int i)
{
	return write(self->ends[i][1], "abc" + i, 1) == 1;
}

/* The first request of the run list has the buffer that is missing. */
TEST_F_TIMEOUT(fault, of_one_kicked, 120)
{
	struct io_event events[NR_PIPES];

	ASSERT_TRUE(make_ready(self, 0));
	ASSERT_TRUE(is_awaited(self));
	ASSERT_TRUE(make_ready(self, 1));
	ASSERT_TRUE(make_ready(self, 2));
	EXPECT_TRUE(wait_until(poll_now(self->fd, POLLIN) == POLLIN));
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "completed") == 2));
	ASSERT_EQ(2, kaio_getevents(self->fd, self->ctx, 0, 2, events, &no_wait));
	EXPECT_EQ(3, (int)(events[0].data + events[1].data));
	EXPECT_EQ('b', self->bytes[1]);
	EXPECT_EQ('c', self->bytes[2]);
	/* A request that becomes ready later completes too. */
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocbs[1]));
	ASSERT_TRUE(make_ready(self, 1));
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "completed") == 3));
	ASSERT_TRUE(serve_fault(self));
	ASSERT_EQ(2, kaio_wait(self->fd, self->ctx, 2, events));
	EXPECT_EQ(1, events[0].data);
	EXPECT_EQ(0, events[1].data);
	EXPECT_EQ(1, events[1].res);
	EXPECT_EQ('a', self->page[0]);
	/* The kick handler works again. */
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocbs[0]));
	ASSERT_TRUE(make_ready(self, 0));
	EXPECT_EQ(1, kaio_wait(self->fd, self->ctx, 1, events));
}

/* All requests are kicked before any of them runs, as if by one interrupt. */
TEST_F_TIMEOUT(fault, of_one_of_several, 120)
{
	struct io_event events[NR_PIPES];
	int i;

	for (i = 0; i < NR_PIPES; i++)
		ASSERT_TRUE(make_ready(self, i));
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "completed") == 2));
	EXPECT_EQ(POLLIN, poll_now(self->fd, POLLIN));
	ASSERT_TRUE(is_awaited(self));
	ASSERT_TRUE(serve_fault(self));
	EXPECT_EQ(NR_PIPES, kaio_wait(self->fd, self->ctx, NR_PIPES, events));
}

static long wait_for_three(void *arg)
{
	FIXTURE_DATA(fault) *self = arg;
	struct io_event events[NR_PIPES];

	return kaio_getevents(self->fd, self->ctx, NR_PIPES, NR_PIPES, events, NULL);
}

/*
 * A task that waits for events runs kicked requests, but none that would make
 * it wait for a page.
 */
TEST_F_TIMEOUT(fault, of_one_while_a_task_waits, 120)
{
	struct sleeper sleeper;

	ASSERT_TRUE(fall_asleep(&sleeper, wait_for_three, self));
	ASSERT_TRUE(make_ready(self, 0));
	ASSERT_TRUE(is_awaited(self));
	ASSERT_TRUE(make_ready(self, 1));
	ASSERT_TRUE(make_ready(self, 2));
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "completed") == 2));
	ASSERT_TRUE(serve_fault(self));
	EXPECT_EQ(NR_PIPES, woken(&sleeper));
}

TEST_HARNESS_MAIN
