// SPDX-License-Identifier: GPL-2.0
/*
 * Tests the four transfers on files that do not block. Pipes and sockets are
 * in park_test.c.
 */
#include "context_fixture.h"

#define FILE_SIZE	(64 * PAGE)
#define IOV_LIMIT	1024

/* A file with a pattern, opened with the flags of the variant. */
FIXTURE(file)
{
	int fd;
	__u64 ctx;
	int file;
	/* Another descriptor of the file, for ordinary system calls, to compare. */
	int plain;
	char *buf;
	struct io_event events[NR_EVENTS];
};

FIXTURE_VARIANT(file)
{
	const char *dir;
	int flags;
	/* The counters of the reads, and of the writes to existing data. */
	const char *reads;
	const char *writes;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(file, disk) {
	.dir = DISK_DIR,
	/* The data is in the page cache. */
	.reads = "inline",
	/*
	 * The submit call makes a write that needs nothing but memory. A worker
	 * makes the others, such as the first write of each tick of the clock.
	 */
	.writes = "inline or queued",
};

FIXTURE_VARIANT_ADD(file, disk_direct) {
	.dir = DISK_DIR,
	.flags = O_DIRECT,
	.reads = "irq",
	.writes = "irq",
};

FIXTURE_VARIANT_ADD(file, memory) {
	.dir = MEM_DIR,
	.reads = "inline",
	.writes = "inline",
};
/* clang-format on */

FIXTURE_SETUP(file)
{
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->plain = open_pattern(variant->dir, 1, FILE_SIZE);
	ASSERT_LE(0, self->plain);
	self->file = reopen(self->plain, O_RDWR | variant->flags);
	ASSERT_LE(0, self->file);
	self->buf = map_guarded(FILE_SIZE / PAGE);
	ASSERT_NE(NULL, self->buf);
}

/*
 * Expects that the counter @way has counted @nr requests. A fast disk may
 * complete a request before the file system returns. The kick handler repeats a
 * direct write if its data is in the page cache.
 */
static void expect_counter(struct __test_metadata *const _metadata,
			   FIXTURE_DATA(file) *self, const char *counter, long nr)
{
	const long inline_nr = kaio_stat(self->fd, "inline");
	const long queued = kaio_stat(self->fd, "queued");
	const long irq = kaio_stat(self->fd, "irq");
	const bool disk = !strcmp(counter, "irq");
	const long counted = !strcmp(counter, "inline or queued") ?
				     inline_nr + queued :
				     kaio_stat(self->fd, counter);

	EXPECT_EQ(nr, kaio_stat(self->fd, "submitted"));
	EXPECT_EQ(0, kaio_stat(self->fd, "parked"));
	EXPECT_TRUE(disk ? inline_nr + queued + irq >= nr :
			   counted == nr)
	{
		TH_LOG("not all of %ld %s: inline %ld queued %ld irq %ld", nr,
		       counter, inline_nr, queued, irq);
	}
	/*
	 * A fast disk does not complete all of so many requests in the submit
	 * call.
	 */
	if (disk && nr > NR_EVENTS)
		EXPECT_LT(0, irq);
}

/* Every request of the test has gone through the module once. */
FIXTURE_TEARDOWN(file)
{
	const long submitted = kaio_stat(self->fd, "submitted");

	EXPECT_LT(0, submitted);
	EXPECT_STAT(submitted, self->fd, "completed");
	EXPECT_STAT(0, self->fd, "inflight");
	EXPECT_LE(submitted, kaio_stat(self->fd, "inline") +
				     kaio_stat(self->fd, "queued") +
				     kaio_stat(self->fd, "parked") +
				     kaio_stat(self->fd, "irq"));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	/* A transfer does not move the position of the file. */
	EXPECT_EQ(0, lseek(self->file, 0, SEEK_CUR));
	close(self->fd);
}

TEST_F(file, read)
{
	struct iocb iocb;
	__u64 offset;

	for (offset = 0; offset < FILE_SIZE; offset += FILE_SIZE / 4) {
		prep_pread(&iocb, self->file, self->buf, 2 * PAGE, offset);
		EXPECT_EQ(2 * (long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
		EXPECT_TRUE(is_pattern(self->buf, 2 * PAGE, 1, offset));
	}
	expect_counter(_metadata, self, variant->reads, 4);
}

TEST_F(file, write)
{
	struct iocb iocb;
	__u64 offset;

	for (offset = 0; offset < FILE_SIZE; offset += FILE_SIZE / 4) {
		fill_pattern(self->buf, PAGE, 2, offset);
		prep_pwrite(&iocb, self->file, self->buf, PAGE, offset);
		EXPECT_EQ((long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	}
	expect_counter(_metadata, self, variant->writes, 4);
	for (offset = 0; offset < FILE_SIZE; offset += FILE_SIZE / 4) {
		ASSERT_EQ(2 * (long)PAGE, pread(self->plain, self->buf,
						2 * PAGE, offset));
		EXPECT_TRUE(is_pattern(self->buf, PAGE, 2, offset));
		EXPECT_TRUE(is_pattern(self->buf + PAGE, PAGE, 1,
				       offset + PAGE));
	}
}

/* Fills in parts of the buffer that are apart, or empty. */
static void scatter(FIXTURE_DATA(file) *self, struct iovec iov[3])
{
	iov[0] = (struct iovec){ self->buf + 8 * PAGE, PAGE };
	iov[1] = (struct iovec){ self->buf, 0 };
	iov[2] = (struct iovec){ self->buf + 2 * PAGE, 3 * PAGE };
}

TEST_F(file, readv)
{
	struct iovec iov[3];
	struct iocb iocb;

	scatter(self, iov);
	prep_preadv(&iocb, self->file, iov, 3, PAGE);
	EXPECT_EQ(4 * (long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(is_pattern(self->buf + 8 * PAGE, PAGE, 1, PAGE));
	EXPECT_TRUE(is_pattern(self->buf + 2 * PAGE, 3 * PAGE, 1, 2 * PAGE));
	EXPECT_EQ(0, self->buf[0]);
}

TEST_F(file, writev)
{
	struct iovec iov[3];
	struct iocb iocb;

	scatter(self, iov);
	fill_pattern(self->buf + 8 * PAGE, PAGE, 2, PAGE);
	fill_pattern(self->buf + 2 * PAGE, 3 * PAGE, 2, 2 * PAGE);
	prep_pwritev(&iocb, self->file, iov, 3, PAGE);
	EXPECT_EQ(4 * (long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	memset(self->buf, 0, FILE_SIZE);
	ASSERT_EQ(6 * (long)PAGE, pread(self->plain, self->buf, 6 * PAGE, 0));
	EXPECT_TRUE(is_pattern(self->buf, PAGE, 1, 0));
	EXPECT_TRUE(is_pattern(self->buf + PAGE, 4 * PAGE, 2, PAGE));
	EXPECT_TRUE(is_pattern(self->buf + 5 * PAGE, PAGE, 1, 5 * PAGE));
}

/* This vector does not fit into a request without an allocation. */
TEST_F(file, many_segments)
{
	static struct iovec iov[IOV_LIMIT];
	const size_t len = variant->flags & O_DIRECT ? 512 : 64;
	const int nr = variant->flags & O_DIRECT ? 512 : IOV_LIMIT;
	struct iocb iocb;
	int i;

	/* The segments are in reverse order, so that none can be merged. */
	for (i = 0; i < nr; i++) {
		iov[i].iov_base = self->buf + (nr - 1 - i) * len;
		iov[i].iov_len = len;
	}
	if (nr * len > FILE_SIZE)
		SKIP(return, "the file is too small");
	prep_preadv(&iocb, self->file, iov, nr, 0);
	EXPECT_EQ((long)(nr * len), kaio_do(self->fd, self->ctx, &iocb));
	for (i = 0; i < nr; i++) {
		ASSERT_TRUE(is_pattern(iov[i].iov_base, len, 1, i * len))
		{
			TH_LOG("i %ld", (long)i);
		}
	}
}

/* The kernel has a separate path for a single segment. */
TEST_F(file, one_segment)
{
	struct iovec iov = { self->buf, PAGE };
	struct iocb iocb;

	prep_preadv(&iocb, self->file, &iov, 1, PAGE);
	EXPECT_EQ((long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(is_pattern(self->buf, PAGE, 1, PAGE));
	iov.iov_base = NULL;
	EXPECT_EQ(-EFAULT, kaio_do(self->fd, self->ctx, &iocb));
	prep_preadv(&iocb, self->file, NULL, 1, 0);
	EXPECT_EQ(-EFAULT, kaio_do(self->fd, self->ctx, &iocb));
}

TEST_F(file, no_segments)
{
	struct iovec iov = { self->buf, PAGE };
	struct iocb iocb;

	prep_preadv(&iocb, self->file, &iov, 0, 0);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	prep_pwritev(&iocb, self->file, &iov, 0, 0);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
}

TEST_F(file, no_bytes)
{
	struct iocb iocb;

	prep_pread(&iocb, self->file, self->buf, 0, 0);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	prep_pwrite(&iocb, self->file, self->buf, 0, 0);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
}

TEST_F(file, read_at_end)
{
	struct iocb iocb;

	prep_pread(&iocb, self->file, self->buf, 4 * PAGE, FILE_SIZE - PAGE);
	EXPECT_EQ((long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(is_pattern(self->buf, PAGE, 1, FILE_SIZE - PAGE));
	prep_pread(&iocb, self->file, self->buf, PAGE, FILE_SIZE);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	prep_pread(&iocb, self->file, self->buf, PAGE, FILE_SIZE + 1024 * PAGE);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
}

TEST_F(file, extend)
{
	struct stat stat;
	struct iocb iocb;

	fill_pattern(self->buf, PAGE, 3, FILE_SIZE + PAGE);
	prep_pwrite(&iocb, self->file, self->buf, PAGE, FILE_SIZE + PAGE);
	EXPECT_EQ((long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, fstat(self->plain, &stat));
	EXPECT_EQ(FILE_SIZE + 2 * PAGE, stat.st_size);
	/* The file has a hole, and then the data that was written. */
	prep_pread(&iocb, self->file, self->buf, 2 * PAGE, FILE_SIZE);
	EXPECT_EQ(2 * (long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, self->buf[0]);
	EXPECT_EQ(0, memcmp(self->buf, self->buf + 1, PAGE - 1));
	EXPECT_TRUE(is_pattern(self->buf + PAGE, PAGE, 3, FILE_SIZE + PAGE));
}

TEST_F(file, append_flag)
{
	struct stat stat;
	struct iocb iocb;
	int i;

	for (i = 0; i < 3; i++) {
		fill_pattern(self->buf, PAGE, 4 + i, 0);
		prep_pwrite(&iocb, self->file, self->buf, PAGE, 0);
		iocb.aio_rw_flags = RWF_APPEND;
		EXPECT_EQ((long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	}
	ASSERT_EQ(0, fstat(self->plain, &stat));
	EXPECT_EQ(FILE_SIZE + 3 * PAGE, stat.st_size);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ((long)PAGE, pread(self->plain, self->buf, PAGE,
					    FILE_SIZE + i * PAGE));
		EXPECT_TRUE(is_pattern(self->buf, PAGE, 4 + i, 0));
	}
}

TEST_F(file, append_file)
{
	const int file = reopen(self->plain,
				O_RDWR | O_APPEND | variant->flags);
	struct stat stat;
	struct iocb iocb;

	ASSERT_LE(0, file);
	fill_pattern(self->buf, PAGE, 5, 0);
	prep_pwrite(&iocb, file, self->buf, PAGE, 0);
	EXPECT_EQ((long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, fstat(self->plain, &stat));
	EXPECT_EQ(FILE_SIZE + PAGE, stat.st_size);
	ASSERT_EQ((long)PAGE, pread(self->plain, self->buf, PAGE, 0));
	EXPECT_TRUE(is_pattern(self->buf, PAGE, 1, 0));
}

TEST_F(file, sync_flags)
{
	struct iocb iocb;

	fill_pattern(self->buf, PAGE, 6, 0);
	prep_pwrite(&iocb, self->file, self->buf, PAGE, 0);
	iocb.aio_rw_flags = RWF_DSYNC;
	EXPECT_EQ((long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	iocb.aio_rw_flags = RWF_SYNC;
	EXPECT_EQ((long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	ASSERT_EQ((long)PAGE, pread(self->plain, self->buf, PAGE, 0));
	EXPECT_TRUE(is_pattern(self->buf, PAGE, 6, 0));
}

/* RWF_NOWAIT is refused, fails or works as in preadv2(2). */
TEST_F(file, nowait_flag)
{
	struct iovec iov = { self->buf, PAGE };
	const ssize_t want = preadv2(self->file, &iov, 1, 0, RWF_NOWAIT);
	const __s64 expected = want < 0 ? -errno : want;
	struct iocb iocb;

	prep_pread(&iocb, self->file, self->buf, PAGE, 0);
	iocb.aio_rw_flags = RWF_NOWAIT;
	EXPECT_EQ(expected, kaio_do(self->fd, self->ctx, &iocb));
	/* The teardown expects a submitted request. */
	iocb.aio_rw_flags = 0;
	EXPECT_EQ((long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
}

TEST_F(file, null_buffer)
{
	struct iocb iocb;

	prep_pread(&iocb, self->file, NULL, PAGE, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_EQ(-EFAULT, self->events[0].res);
	prep_pwrite(&iocb, self->file, NULL, PAGE, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_EQ(-EFAULT, self->events[0].res);
}

TEST_F(file, read_only_buffer)
{
	struct iocb iocb;

	ASSERT_EQ(0, mprotect(self->buf, PAGE, PROT_READ));
	prep_pread(&iocb, self->file, self->buf, PAGE, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_EQ(-EFAULT, self->events[0].res);
	/* A write only reads its buffer. */
	prep_pwrite(&iocb, self->file, self->buf, PAGE, 0);
	EXPECT_EQ((long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
}

/*
 * The second half of the buffer is not mapped. The result is that of pread(2)
 * and pwrite(2).
 */
TEST_F(file, half_mapped_buffer)
{
	char *half = self->buf + FILE_SIZE - PAGE;
	ssize_t ret;
	struct iocb iocb;

	ret = pread(self->file, half, 2 * PAGE, 0);
	prep_pread(&iocb, self->file, half, 2 * PAGE, 0);
	EXPECT_EQ(ret < 0 ? -errno : ret,
		  kaio_do(self->fd, self->ctx, &iocb));
	ret = pwrite(self->file, half, 2 * PAGE, 0);
	prep_pwrite(&iocb, self->file, half, 2 * PAGE, 0);
	EXPECT_EQ(ret < 0 ? -errno : ret,
		  kaio_do(self->fd, self->ctx, &iocb));
}

/*
 * Expects that a read with unaligned arguments has the result of pread(2): it
 * fails in its event with O_DIRECT, and works otherwise.
 */
static void unaligned(struct __test_metadata *const _metadata,
		      FIXTURE_DATA(file) *self, char *buf, size_t len,
		      __u64 offset)
{
	const ssize_t want = pread(self->file, buf, len, offset);
	const __s64 expected = want < 0 ? -errno : want;
	struct iocb iocb;

	memset(buf, 0, len);
	prep_pread(&iocb, self->file, buf, len, offset);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_EQ(expected, self->events[0].res);
	if (expected > 0)
		EXPECT_TRUE(is_pattern(buf, expected, 1, offset));
}

TEST_F(file, unaligned_buffer)
{
	unaligned(_metadata, self, self->buf + 1, PAGE, 0);
}

TEST_F(file, unaligned_length)
{
	unaligned(_metadata, self, self->buf, PAGE + 7, 0);
	if (variant->flags & O_DIRECT)
		EXPECT_EQ(-EINVAL, self->events[0].res);
}

TEST_F(file, unaligned_offset)
{
	unaligned(_metadata, self, self->buf, PAGE, 3);
	if (variant->flags & O_DIRECT)
		EXPECT_EQ(-EINVAL, self->events[0].res);
}

/* RLIMIT_FSIZE of the submitter applies, whatever task does the write. */
TEST_F(file, size_limit)
{
	const struct rlimit limit = { FILE_SIZE + PAGE, RLIM_INFINITY };
	struct stat stat;
	struct iocb iocb;

	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	prep_pwrite(&iocb, self->file, self->buf, 2 * PAGE, FILE_SIZE);
	EXPECT_EQ((long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	prep_pwrite(&iocb, self->file, self->buf, PAGE, FILE_SIZE + PAGE);
	EXPECT_EQ(-EFBIG, kaio_do(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, fstat(self->plain, &stat));
	EXPECT_EQ(FILE_SIZE + PAGE, stat.st_size);
	/* A write below the limit works. */
	prep_pwrite(&iocb, self->file, self->buf, PAGE, 0);
	EXPECT_EQ((long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
}

/*
 * All pages of the file are read in one call, each to another place in memory.
 */
TEST_F_TIMEOUT(file, many_reads, 60)
{
	const int nr = FILE_SIZE / PAGE;
	struct iocb iocbs[NR_EVENTS], *pointers[NR_EVENTS];
	bool seen[NR_EVENTS] = {};
	__u32 seed = 12345;
	int i, round;

	ASSERT_EQ(NR_EVENTS, nr);
	for (round = 0; round < 4; round++) {
		const __u32 step = next_random(&seed) | 1;

		memset(self->buf, 0, FILE_SIZE);
		memset(seen, 0, sizeof(seen));
		for (i = 0; i < nr; i++) {
			const __u32 page = i * step % nr;

			prep_pread(&iocbs[i], self->file, self->buf + i * PAGE,
				   PAGE, page * PAGE);
			iocbs[i].aio_data = i << 16 | page;
			pointers[i] = &iocbs[i];
		}
		ASSERT_EQ(nr, kaio_submit(self->fd, self->ctx, nr, pointers));
		ASSERT_EQ(nr, kaio_wait(self->fd, self->ctx, nr, self->events));
		for (i = 0; i < nr; i++) {
			const __u32 k = self->events[i].data >> 16;
			const __u32 page = self->events[i].data & 0xffff;

			ASSERT_LT(k, (__u32)nr);
			EXPECT_FALSE(seen[k]);
			seen[k] = true;
			EXPECT_EQ((long)PAGE, self->events[i].res);
			EXPECT_EQ((uintptr_t)&iocbs[k], self->events[i].obj);
			EXPECT_TRUE(is_pattern(self->buf + k * PAGE, PAGE, 1,
					       page * PAGE));
		}
	}
	expect_counter(_metadata, self, variant->reads, 4 * nr);
}

/*
 * The file is closed and the iocbs are overwritten as soon as submit has
 * returned.
 */
TEST_F(file, closed_while_in_flight)
{
	struct iocb iocbs[NR_EVENTS], *pointers[NR_EVENTS];
	const int file = reopen(self->plain, O_RDWR | variant->flags);
	int i;

	ASSERT_LE(0, file);
	for (i = 0; i < NR_EVENTS; i++) {
		fill_pattern(self->buf + i * PAGE, PAGE, 7, i * PAGE);
		prep_pwrite(&iocbs[i], file, self->buf + i * PAGE, PAGE,
			    i * PAGE);
		pointers[i] = &iocbs[i];
	}
	ASSERT_EQ(NR_EVENTS,
		  kaio_submit(self->fd, self->ctx, NR_EVENTS, pointers));
	close(file);
	memset(iocbs, 0xff, sizeof(iocbs));
	ASSERT_EQ(NR_EVENTS,
		  kaio_wait(self->fd, self->ctx, NR_EVENTS, self->events));
	for (i = 0; i < NR_EVENTS; i++) {
		EXPECT_EQ((long)PAGE, self->events[i].res)
		{
			TH_LOG("i %ld", (long)i);
		}
	}
	memset(self->buf, 0, FILE_SIZE);
	ASSERT_EQ((long)FILE_SIZE,
		  pread(self->plain, self->buf, FILE_SIZE, 0));
	EXPECT_TRUE(is_pattern(self->buf, FILE_SIZE, 7, 0));
}

TEST_F(file, counted_by_eventfd)
{
	struct iocb iocbs[8], *pointers[8];
	const int event = eventfd(0, EFD_CLOEXEC);
	__u64 count, sum = 0;
	int i;

	ASSERT_LE(0, event);
	for (i = 0; i < 8; i++) {
		prep_pread(&iocbs[i], self->file, self->buf + i * PAGE, PAGE,
			   i * PAGE);
		iocbs[i].aio_flags = IOCB_FLAG_RESFD;
		iocbs[i].aio_resfd = event;
		pointers[i] = &iocbs[i];
	}
	ASSERT_EQ(8, kaio_submit(self->fd, self->ctx, 8, pointers));
	while (sum < 8) {
		ASSERT_EQ(8, read(event, &count, sizeof(count)));
		sum += count;
	}
	EXPECT_EQ(8, sum);
	/* A request that the eventfd has counted has its event in the ring. */
	EXPECT_EQ(8, kaio_getevents(self->fd, self->ctx, 0, 8, self->events,
				    &no_wait));
	ASSERT_EQ(0, fcntl(event, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-1, read(event, &count, sizeof(count)));
}

/*
 * The file is not in the page cache. Submit does not wait for the disk, and all
 * data is read.
 */
TEST_F(file, cold)
{
	struct iocb iocbs[16], *pointers[16];
	int i;

	ASSERT_EQ(0, fsync(self->plain));
	ASSERT_EQ(0, posix_fadvise(self->plain, 0, 0, POSIX_FADV_DONTNEED));
	for (i = 0; i < 16; i++) {
		prep_pread(&iocbs[i], self->file, self->buf + i * 4 * PAGE,
			   4 * PAGE, i * 4 * PAGE);
		pointers[i] = &iocbs[i];
	}
	ASSERT_EQ(16, kaio_submit(self->fd, self->ctx, 16, pointers));
	ASSERT_EQ(16, kaio_wait(self->fd, self->ctx, 16, self->events));
	for (i = 0; i < 16; i++) {
		EXPECT_EQ(4 * (long)PAGE, self->events[i].res)
		{
			TH_LOG("i %ld", (long)i);
		}
	}
	EXPECT_TRUE(is_pattern(self->buf, FILE_SIZE, 1, 0));
}

/*
 * The tests below use devices and files of /proc.
 */
TEST_F(context, dev_zero)
{
	static char buf[8 * PAGE];
	const int file = open("/dev/zero", O_RDWR | O_CLOEXEC);
	struct iocb iocb;
	size_t i;

	ASSERT_LE(0, file);
	memset(buf, 0x55, sizeof(buf));
	prep_pread(&iocb, file, buf, sizeof(buf), 0);
	EXPECT_EQ((long)sizeof(buf), kaio_do(self->fd, self->ctx, &iocb));
	for (i = 0; i < sizeof(buf); i++) {
		ASSERT_EQ(0, buf[i])
		{
			TH_LOG("i %ld", (long)i);
		}
	}
	prep_pwrite(&iocb, file, buf, sizeof(buf), 0);
	EXPECT_EQ((long)sizeof(buf), kaio_do(self->fd, self->ctx, &iocb));
}

TEST_F(context, dev_null)
{
	const int file = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct iocb iocb;
	char c = 0x55;

	ASSERT_LE(0, file);
	prep_pread(&iocb, file, &c, 1, 0);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0x55, c);
	prep_pwrite(&iocb, file, &c, 1, 0);
	EXPECT_EQ(1, kaio_do(self->fd, self->ctx, &iocb));
}

TEST_F(context, more_than_2_gib)
{
	const int file = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct iocb iocb;

	ASSERT_LE(0, file);
	/* The result is MAX_RW_COUNT. /dev/null does not read the buffer. */
	prep_pwrite(&iocb, file, (void *)PAGE, 3UL << 30, 0);
	EXPECT_EQ(0x7ffff000, kaio_do(self->fd, self->ctx, &iocb));
}

TEST_F(context, dev_urandom)
{
	const int file = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	const char zero[64] = {};
	struct iocb iocb;
	char buf[64] = {};

	ASSERT_LE(0, file);
	prep_pread(&iocb, file, buf, sizeof(buf), 0);
	EXPECT_EQ((long)sizeof(buf), kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_NE(0, memcmp(buf, zero, sizeof(buf)));
}

TEST_F(context, proc_file)
{
	const int file = open("/proc/version", O_RDONLY | O_CLOEXEC);
	struct iocb iocb;
	char buf[256] = {}, want[256] = {};
	ssize_t n;

	ASSERT_LE(0, file);
	n = pread(file, want, sizeof(want), 0);
	ASSERT_LT(0, n);
	prep_pread(&iocb, file, buf, sizeof(buf), 0);
	EXPECT_EQ(n, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_STREQ(want, buf);
}

TEST_F(context, write_of_ring_memory)
{
	/* The ring's own memory can be the data of a write. */
	const int file = open_pattern(MEM_DIR, 1, PAGE);
	struct iocb iocb;
	char buf[32];
	__s64 res;

	ASSERT_LE(0, file);
	prep_pwrite(&iocb, file, ring_of(self->ctx), sizeof(buf), 0);
	res = kaio_do(self->fd, self->ctx, &iocb);
	ASSERT_EQ((long)sizeof(buf), res);
	ASSERT_EQ((long)sizeof(buf), pread(file, buf, sizeof(buf), 0));
	EXPECT_EQ(KAIO_RING_MAGIC, ((struct kaio_ring *)buf)->magic);
}

TEST_HARNESS_MAIN
