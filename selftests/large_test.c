// SPDX-License-Identifier: GPL-2.0
/*
 * Tests the length of a submit call. It does not depend on the lengths that
 * the caller chose, because workers copy long transfers. The counters of the
 * module tell where a request was done.
 */
#include "kaio_common.h"
#include "sleeps.h"

#define SMALL		(16 * PAGE)
#define LARGE		(64UL << 20)
/*
 * A submit call copies at most EACH bytes for one request and ALL bytes for all
 * requests.
 */
#define EACH		(256UL << 10)
#define ALL		(4UL << 20)
/* A length between these limits and the size of the file. */
#define SOME		(8UL << 20)

FIXTURE(large)
{
	int fd;
	__u64 ctx;
	int file;
	char *buf;
	struct iocb iocbs[NR_EVENTS];
	struct iocb *pointers[NR_EVENTS];
	struct io_event events[NR_EVENTS];
};

/* The file is zero except for one byte at the start of each STEP bytes. */
#define STEP		(1UL << 20)

static char mark(size_t pos)
{
	return 'a' + pos / STEP % 23;
}

/* All pages of the file are in memory. Most of the file is a hole. */
FIXTURE_SETUP(large)
{
	size_t pos;
	char c;

	self->file = -1;
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->file = open_temp(DISK_DIR, 0);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, ftruncate(self->file, LARGE));
	for (pos = 0; pos < LARGE; pos += STEP) {
		c = mark(pos);
		ASSERT_EQ(1, pwrite(self->file, &c, 1, pos));
	}
	self->buf = mmap(NULL, LARGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->buf);
	ASSERT_EQ((ssize_t)LARGE, pread(self->file, self->buf, LARGE, 0));
	memset(self->buf, 'z', LARGE);
}

FIXTURE_TEARDOWN(large)
{
	kaio_destroy(self->fd, self->ctx);
	EXPECT_STAT(kaio_stat(self->fd, "submitted"),
		  self->fd, "completed");
	close(self->fd);
	close(self->file);
}

/* Returns true if @buf has the bytes of the file from @pos on. */
static bool is_file(const char *buf, size_t len, size_t pos)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (buf[i] != ((pos + i) % STEP ? 0 : mark(pos + i)))
			return false;
	return true;
}

/* Submits a read. Returns how long the submit call took. */
static __s64 submit_read(struct __test_metadata *const _metadata,
			 FIXTURE_DATA(large) *self, size_t len)
{
	const long before = sleeps();
	__s64 took = now_ns();

	prep_pread(&self->iocbs[0], self->file, self->buf, len, 0);
	EXPECT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocbs[0]));
	took = now_ns() - took;
	EXPECT_EQ(before, sleeps());
	return took;
}

static __s64 take(FIXTURE_DATA(large) *self)
{
	if (kaio_wait(self->fd, self->ctx, 1, self->events) != 1)
		return -ETIME;
	return self->events[0].res;
}

TEST_F_TIMEOUT(large, small_read_is_inline, 120)
{
	submit_read(_metadata, self, SMALL);
	EXPECT_EQ(1, kaio_stat(self->fd, "inline"));
	EXPECT_EQ((__s64)SMALL, take(self));
	EXPECT_TRUE(is_file(self->buf, SMALL, 0));
	submit_read(_metadata, self, EACH);
	EXPECT_EQ(2, kaio_stat(self->fd, "inline"));
	EXPECT_EQ((__s64)EACH, take(self));
	EXPECT_TRUE(is_file(self->buf, EACH, 0));
}

/*
 * A worker copies what is too long for a submit call. To copy a 32nd of the file
 * takes longer than the submit call. If the host stops the CPU of the submitter
 * for a while, as a busy one does, another call shows it.
 */
TEST_F_TIMEOUT(large, large_read_is_queued, 120)
{
	__s64 start, call, whole;
	int i;

	submit_read(_metadata, self, PAGE);
	ASSERT_EQ((__s64)PAGE, take(self));
	ASSERT_EQ(0, kaio_stat(self->fd, "queued"));
	submit_read(_metadata, self, EACH + PAGE);
	ASSERT_EQ((__s64)(EACH + PAGE), take(self));
	ASSERT_EQ(1, kaio_stat(self->fd, "queued"));
	for (i = 0; i < 25; i++) {
		start = now_ns();
		call = submit_read(_metadata, self, LARGE);
		EXPECT_EQ(i + 2, kaio_stat(self->fd, "queued"));
		ASSERT_EQ((__s64)LARGE, take(self));
		whole = now_ns() - start;
		if (call < whole / 32)
			break;
	}
	EXPECT_GT(25, i)
	{
		TH_LOG("call: %lld us, until the event: %lld us", call / 1000,
		       whole / 1000);
	}
	EXPECT_TRUE(is_file(self->buf, LARGE, 0));
}

TEST_F_TIMEOUT(large, vector, 120)
{
	const struct iovec iov[] = {
		{ self->buf, SOME / 2 },
		{ self->buf + SOME / 2, SOME / 2 },
	};

	prep_preadv(&self->iocbs[0], self->file, iov, 2, 0);
	EXPECT_EQ((__s64)SOME, kaio_do(self->fd, self->ctx, &self->iocbs[0]));
	EXPECT_EQ(1, kaio_stat(self->fd, "queued"));
	EXPECT_TRUE(is_file(self->buf, SOME, 0));
}

TEST_F_TIMEOUT(large, ends_with_the_file, 120)
{
	prep_pread(&self->iocbs[0], self->file, self->buf, SOME,
		   LARGE - EACH - 5);
	EXPECT_EQ((__s64)EACH + 5, kaio_do(self->fd, self->ctx, &self->iocbs[0]));
	EXPECT_TRUE(is_file(self->buf, EACH + 5, LARGE - EACH - 5));
	EXPECT_EQ('z', self->buf[EACH + 5]);
	prep_pread(&self->iocbs[0], self->file, self->buf, SOME, LARGE);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &self->iocbs[0]));
}

/* The result is that of pread(2): the bytes before the fault, or EFAULT. */
TEST_F_TIMEOUT(large, ends_with_the_memory, 120)
{
	ASSERT_EQ(0, munmap(self->buf + SOME / 2, LARGE - SOME / 2));
	prep_pread(&self->iocbs[0], self->file, self->buf, SOME, 0);
	EXPECT_EQ((__s64)SOME / 2, kaio_do(self->fd, self->ctx, &self->iocbs[0]));
	EXPECT_TRUE(is_file(self->buf, SOME / 2, 0));
	prep_pread(&self->iocbs[0], self->file, self->buf + SOME / 2, SOME, 0);
	EXPECT_EQ(-EFAULT, kaio_do(self->fd, self->ctx, &self->iocbs[0]));
}

TEST_F_TIMEOUT(large, nowait, 120)
{
	prep_pread(&self->iocbs[0], self->file, self->buf, SOME, 0);
	self->iocbs[0].aio_rw_flags = RWF_NOWAIT;
	EXPECT_EQ((__s64)SOME, kaio_do(self->fd, self->ctx, &self->iocbs[0]));
	EXPECT_EQ(1, kaio_stat(self->fd, "queued"));
	EXPECT_TRUE(is_file(self->buf, SOME, 0));
}

/*
 * Many reads of EACH bytes complete, but only some of them in the submit call.
 */
TEST_F_TIMEOUT(large, one_call_of_many, 120)
{
	long inline_before, i;
	bool seen[NR_EVENTS] = {};

	for (i = 0; i < NR_EVENTS; i++) {
		prep_pread(&self->iocbs[i], self->file, self->buf + i * EACH,
			   EACH, i * EACH);
		self->iocbs[i].aio_data = i;
		self->pointers[i] = &self->iocbs[i];
	}
	inline_before = kaio_stat(self->fd, "inline");
	ASSERT_EQ(NR_EVENTS, kaio_submit(self->fd, self->ctx, NR_EVENTS,
					 self->pointers));
	EXPECT_EQ((long)(ALL / EACH), kaio_stat(self->fd, "inline") - inline_before);
	EXPECT_EQ((long)(NR_EVENTS - ALL / EACH), kaio_stat(self->fd, "queued"));
	ASSERT_EQ(NR_EVENTS, kaio_wait(self->fd, self->ctx, NR_EVENTS, self->events));
	for (i = 0; i < NR_EVENTS; i++) {
		EXPECT_EQ((__s64)EACH, self->events[i].res);
		ASSERT_GT(NR_EVENTS, self->events[i].data);
		EXPECT_FALSE(seen[self->events[i].data]);
		seen[self->events[i].data] = true;
	}
	EXPECT_TRUE(is_file(self->buf, NR_EVENTS * EACH, 0));
}

/*
 * Expects that a long read from a device of memory returns all bytes.
 */
static void read_device(struct __test_metadata *const _metadata,
			FIXTURE_DATA(large) *self, const char *path)
{
	const int file = open(path, O_RDONLY | O_CLOEXEC);
	const long before = kaio_stat(self->fd, "queued");

	ASSERT_LE(0, file);
	prep_pread(&self->iocbs[0], file, self->buf, SOME, 0);
	EXPECT_EQ((__s64)SOME, kaio_do(self->fd, self->ctx, &self->iocbs[0]));
	EXPECT_EQ(before + 1, kaio_stat(self->fd, "queued"));
	close(file);
}

TEST_F_TIMEOUT(large, dev_zero, 120)
{
	size_t i;

	read_device(_metadata, self, "/dev/zero");
	for (i = 0; i < SOME; i++)
		ASSERT_EQ(0, self->buf[i]);
}

TEST_F_TIMEOUT(large, dev_urandom, 120)
{
	read_device(_metadata, self, "/dev/urandom");
}

TEST_F_TIMEOUT(large, dev_random, 120)
{
	read_device(_metadata, self, "/dev/random");
}

TEST_HARNESS_MAIN
