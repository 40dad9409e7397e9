// SPDX-License-Identifier: GPL-2.0
/*
 * Tests 32-bit callers. This 64-bit program enters the kernel by the gate
 * for 32-bit programs, with all its arguments below 4 GiB.
 */
#include "kaio_common.h"

#define I386_GETPID	20
#define I386_IOCTL	54

static long i386_syscall(long nr, long a, long b, long c)
{
#ifdef __x86_64__
	long ret;

	asm volatile("int $0x80"
		     : "=a"(ret)
		     : "a"(nr), "b"(a), "c"(b), "d"(c)
		     : "memory", "r8", "r9", "r10", "r11");
	return (int)ret;
#else
	return -1;
#endif
}

/* Returns false if the kernel has no IA32 emulation, and so the call faults. */
static bool is_possible(void)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(i386_syscall(I386_GETPID, 0, 0, 0) != getpid());
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

struct low {
	struct kaio_setup setup;
	struct kaio_submit submit;
	struct kaio_getevents getevents;
	struct kaio_destroy destroy;
	struct kaio_cancel cancel;
	struct kaio_submit_wait submit_wait;
	struct iocb iocbs[4];
	struct io_event events[8];
	/* These are struct iovec and pointers of a 32-bit program. */
	struct {
		__u32 base;
		__u32 len;
	} iov[2];
	__u32 pointers[4];
	char buf[64];
	struct timespec timeout;
};

FIXTURE(compat)
{
	int fd;
	int file;
	struct low *low;
};

static long call(FIXTURE_DATA(compat) *self, unsigned long cmd, void *arg)
{
	return i386_syscall(I386_IOCTL, self->fd, cmd, (uintptr_t)arg);
}

static long submit(FIXTURE_DATA(compat) *self, __u32 *pointers, long nr)
{
	self->low->submit = (struct kaio_submit){
		.ctx_id = self->low->setup.ctx_id,
		.nr = nr,
		.iocbpp = (uintptr_t)pointers,
	};
	return call(self, KAIO_SUBMIT, &self->low->submit);
}

static long take(FIXTURE_DATA(compat) *self, long nr)
{
	self->low->timeout = patience;
	self->low->getevents = (struct kaio_getevents){
		.ctx_id = self->low->setup.ctx_id,
		.min_nr = nr,
		.nr = 8,
		.events = (uintptr_t)self->low->events,
		.timeout = (uintptr_t)&self->low->timeout,
	};
	return call(self, KAIO_GETEVENTS, &self->low->getevents);
}

FIXTURE_SETUP(compat)
{
	int i;

	self->fd = open_kaio(_metadata);
	if (self->fd < 0)
		return;
	if (!is_possible())
		SKIP(return, "this kernel has no 32-bit system calls");
	self->file = open_pattern(MEM_DIR, 1, PAGE);
	ASSERT_LE(0, self->file);
	self->low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	ASSERT_NE(MAP_FAILED, self->low);
	self->low->setup.nr_events = 8;
	ASSERT_EQ(0, call(self, KAIO_SETUP, &self->low->setup));
	for (i = 0; i < 4; i++) {
		prep_pread(&self->low->iocbs[i], self->file,
			   self->low->buf + 16 * i, 16, 16 * i);
		self->low->pointers[i] = (uintptr_t)&self->low->iocbs[i];
	}
}

FIXTURE_TEARDOWN(compat)
{
	self->low->destroy.ctx_id = self->low->setup.ctx_id;
	EXPECT_EQ(0, call(self, KAIO_DESTROY, &self->low->destroy));
	close(self->fd);
}

TEST_F(compat, ring_below_4_gib)
{
	EXPECT_NE(0, self->low->setup.ctx_id);
	EXPECT_GT(1ULL << 32, self->low->setup.ctx_id);
	EXPECT_EQ(KAIO_RING_MAGIC, ring_of(self->low->setup.ctx_id)->magic);
}

TEST_F(compat, query)
{
	struct kaio_query *query = (void *)self->low->buf;

	EXPECT_EQ(0, call(self, KAIO_QUERY, query));
	EXPECT_EQ(KAIO_ABI_VERSION, query->version);
	EXPECT_LE(8, query->nr);
}

TEST_F(compat, reads)
{
	int i;

	ASSERT_EQ(4, submit(self, self->low->pointers, 4));
	ASSERT_EQ(4, take(self, 4));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(16, self->low->events[i].res);
		EXPECT_EQ(0, self->low->events[i].obj >> 32);
	}
	EXPECT_TRUE(is_pattern(self->low->buf, 64, 1, 0));
	EXPECT_STAT(4, self->fd, "completed");
}

/* An array of 32-bit pointers is at the very end of a mapping. */
TEST_F(compat, array_at_end_of_mapping)
{
	char *page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	__u32 *pointers = (__u32 *)(page + PAGE) - 3;

	ASSERT_NE(MAP_FAILED, page);
	ASSERT_EQ(0, mprotect(page + PAGE, PAGE, PROT_NONE));
	memcpy(pointers, self->low->pointers, 3 * sizeof(*pointers));
	EXPECT_EQ(3, submit(self, pointers, 3));
	EXPECT_EQ(3, take(self, 3));
	EXPECT_EQ(-EFAULT, submit(self, pointers + 3, 1));
	EXPECT_EQ(3, submit(self, pointers, 4));
	EXPECT_EQ(3, take(self, 3));
}

/* Each segment has 8 bytes, as in a 32-bit program. */
TEST_F(compat, vector)
{
	struct low *low = self->low;

	low->iov[0].base = (uintptr_t)low->buf + 32;
	low->iov[0].len = 10;
	low->iov[1].base = (uintptr_t)low->buf;
	low->iov[1].len = 20;
	prep_rw(&low->iocbs[0], IOCB_CMD_PREADV, self->file, low->iov, 2, 100);
	ASSERT_EQ(1, submit(self, low->pointers, 1));
	ASSERT_EQ(1, take(self, 1));
	EXPECT_EQ(30, low->events[0].res);
	EXPECT_TRUE(is_pattern(low->buf + 32, 10, 1, 100));
	EXPECT_TRUE(is_pattern(low->buf, 20, 1, 110));
	prep_rw(&low->iocbs[0], IOCB_CMD_PWRITEV, self->file, low->iov, 2, 0);
	ASSERT_EQ(1, submit(self, low->pointers, 1));
	ASSERT_EQ(1, take(self, 1));
	EXPECT_EQ(30, low->events[0].res);
}

/* The upper half of a register does not belong to the caller. */
TEST_F(compat, wide_numbers)
{
	struct low *low = self->low;

	/* The fields of the structs have 64 bits, and all of them count. */
	EXPECT_EQ(-EINVAL, submit(self, low->pointers, 1LL << 63));
	low->submit.nr = 1;
	low->submit.iocbpp |= 1ULL << 40;
	EXPECT_EQ(-EFAULT, call(self, KAIO_SUBMIT, &low->submit));
	low->submit.iocbpp = (uintptr_t)low->pointers;
	low->submit.ctx_id |= 1ULL << 40;
	EXPECT_EQ(-EINVAL, call(self, KAIO_SUBMIT, &low->submit));
	EXPECT_EQ(0, kaio_stat(self->fd, "submitted"));
}

static long cancel(FIXTURE_DATA(compat) *self, __u64 iocb)
{
	self->low->cancel = (struct kaio_cancel){
		.ctx_id = self->low->setup.ctx_id,
		.iocb = iocb,
	};
	return call(self, KAIO_CANCEL, &self->low->cancel);
}

TEST_F(compat, cancel)
{
	const int idle = eventfd(0, EFD_CLOEXEC);
	const __u64 iocb = (uintptr_t)&self->low->iocbs[0];

	prep_poll(&self->low->iocbs[0], idle, POLLIN);
	ASSERT_EQ(1, submit(self, self->low->pointers, 1));
	/* The address has 64 bits in the struct, and all of them count. */
	EXPECT_EQ(-EFAULT, cancel(self, iocb | 1ULL << 40));
	EXPECT_EQ(-EINPROGRESS, cancel(self, iocb));
	EXPECT_EQ(-EINVAL, cancel(self, iocb));
	ASSERT_EQ(1, take(self, 1));
	EXPECT_EQ(0, self->low->events[0].res);
}

TEST_F(compat, submit_wait)
{
	struct low *low = self->low;

	low->timeout = patience;
	low->submit_wait = (struct kaio_submit_wait){
		.ctx_id = low->setup.ctx_id,
		.nr = 4,
		.iocbpp = (uintptr_t)low->pointers,
		.min_nr = 4,
		.nr_events = 8,
		.events = (uintptr_t)low->events,
		.timeout = (uintptr_t)&low->timeout,
	};
	EXPECT_EQ(4, call(self, KAIO_SUBMIT_WAIT, &low->submit_wait));
	EXPECT_EQ(4, low->submit_wait.submitted);
	EXPECT_TRUE(is_pattern(low->buf, 64, 1, 0));
}

/* Each request is submitted by one gate and cancelled by the other. */
TEST_F(compat, cancel_by_both_widths)
{
	const int idle = eventfd(0, EFD_CLOEXEC);
	struct iocb *iocbs = self->low->iocbs;
	int i;

	for (i = 0; i < 2; i++)
		prep_poll(&iocbs[i], idle, POLLIN);
	ASSERT_EQ(1, submit(self, self->low->pointers, 1));
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->low->setup.ctx_id,
				     &iocbs[1]));
	EXPECT_EQ(-EINPROGRESS,
		  kaio_cancel(self->fd, self->low->setup.ctx_id, &iocbs[0]));
	EXPECT_EQ(-EINPROGRESS, cancel(self, (uintptr_t)&iocbs[1]));
}

/*
 * One program may use both gates, because the context belongs to the address
 * space.
 */
TEST_F(compat, both_widths)
{
	struct iocb *iocb = &self->low->iocbs[0];

	EXPECT_EQ(16, kaio_do(self->fd, self->low->setup.ctx_id, iocb));
	ASSERT_EQ(1, submit(self, self->low->pointers, 1));
	ASSERT_EQ(1, ring_reap(self->low->setup.ctx_id, self->low->events, 1) ||
			     take(self, 1));
	EXPECT_EQ(16, self->low->events[0].res);
}

TEST_HARNESS_MAIN
