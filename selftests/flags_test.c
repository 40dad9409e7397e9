// SPDX-License-Identifier: GPL-2.0
/*
 * Tests aio_rw_flags, O_NONBLOCK and aio_reqprio. The answers are those of
 * native AIO, and the flags have their effects.
 */
#include <linux/capability.h>

#include "context_fixture.h"
#include "devices.h"
#include "sleeps.h"

#define RWF_UNKNOWN	(1 << 30)

#define FILE_SIZE	(4 * PAGE)

/*
 * Each flag and each pair of flags on files of every kind has the answer of
 * native AIO.
 */
FIXTURE(kind)
{
	int fd;
	__u64 ctx;
	aio_context_t native;
	struct null_blk dev;
	int file;
	/* The other end of a stream. */
	int peer;
	char *buf;
};

FIXTURE_VARIANT(kind)
{
	bool (*open)(FIXTURE_DATA(kind) *self, int flags);
	int flags;
};

static bool disk_file(FIXTURE_DATA(kind) *self, int flags)
{
	const int plain = open_pattern(DISK_DIR, 1, FILE_SIZE);

	self->file = reopen(plain, O_RDWR | flags);
	return self->file >= 0;
}

static bool memory_file(FIXTURE_DATA(kind) *self, int flags)
{
	const int plain = open_pattern(MEM_DIR, 1, FILE_SIZE);

	self->file = reopen(plain, O_RDWR | flags);
	return self->file >= 0;
}

static bool block_device(FIXTURE_DATA(kind) *self, int flags)
{
	if (!null_blk_make(&self->dev, "kaio-flags", 10000, NULL))
		return false;
	self->file = open(self->dev.node, O_RDWR | O_CLOEXEC | flags);
	return self->file >= 0;
}

static bool socket_pair(FIXTURE_DATA(kind) *self, int flags)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0, ends))
		return false;
	self->file = ends[0];
	self->peer = ends[1];
	return true;
}

/* Opens a FIFO, which is its own peer. */
static bool fifo_file(FIXTURE_DATA(kind) *self, int flags)
{
	self->file = fifo_open(MEM_DIR "/kaio-flags-fifo", flags);
	self->peer = dup(self->file);
	return self->file >= 0;
}

static bool null_device(FIXTURE_DATA(kind) *self, int flags)
{
	self->file = open("/dev/null", O_RDWR | O_CLOEXEC | flags);
	return self->file >= 0;
}

static bool zero_device(FIXTURE_DATA(kind) *self, int flags)
{
	self->file = open("/dev/zero", O_RDWR | O_CLOEXEC | flags);
	return self->file >= 0;
}

static bool full_device(FIXTURE_DATA(kind) *self, int flags)
{
	self->file = open("/dev/full", O_RDWR | O_CLOEXEC | flags);
	return self->file >= 0;
}

static bool proc_file(FIXTURE_DATA(kind) *self, int flags)
{
	self->file = open("/proc/sys/kernel/domainname",
			  O_RDWR | O_CLOEXEC | flags);
	return self->file >= 0;
}

/* clang-format off */
FIXTURE_VARIANT_ADD(kind, disk) { disk_file, 0 };
FIXTURE_VARIANT_ADD(kind, disk_direct) { disk_file, O_DIRECT };
FIXTURE_VARIANT_ADD(kind, disk_append) { disk_file, O_APPEND };
FIXTURE_VARIANT_ADD(kind, disk_nonblock) { disk_file, O_NONBLOCK };
FIXTURE_VARIANT_ADD(kind, memory) { memory_file, 0 };
FIXTURE_VARIANT_ADD(kind, memory_direct) { memory_file, O_DIRECT };
FIXTURE_VARIANT_ADD(kind, block) { block_device, 0 };
FIXTURE_VARIANT_ADD(kind, block_direct) { block_device, O_DIRECT };
FIXTURE_VARIANT_ADD(kind, socket) { socket_pair, 0 };
FIXTURE_VARIANT_ADD(kind, socket_nonblock) { socket_pair, SOCK_NONBLOCK };
FIXTURE_VARIANT_ADD(kind, fifo) { fifo_file, 0 };
FIXTURE_VARIANT_ADD(kind, fifo_nonblock) { fifo_file, O_NONBLOCK };
FIXTURE_VARIANT_ADD(kind, dev_null) { null_device, 0 };
FIXTURE_VARIANT_ADD(kind, dev_zero) { zero_device, 0 };
FIXTURE_VARIANT_ADD(kind, dev_full) { full_device, 0 };
FIXTURE_VARIANT_ADD(kind, proc) { proc_file, 0 };
/* clang-format on */

FIXTURE_SETUP(kind)
{
	self->peer = -1;
	if (!open_both_contexts(_metadata, &self->fd, NR_EVENTS, &self->ctx,
				&self->native))
		return;
	if (!variant->open(self, variant->flags)) {
		ASSERT_EQ((void *)block_device, (void *)variant->open);
		SKIP(return, "there is no null_blk");
	}
	self->buf = map_guarded(1);
	ASSERT_NE(NULL, self->buf);
}

FIXTURE_TEARDOWN(kind)
{
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(0, native_destroy(self->native));
	close(self->fd);
	close(self->file);
	null_blk_end(&self->dev);
}

/*
 * Makes the file ready, so that native AIO need not wait: a stream has a page
 * of data, or room for a page.
 */
static bool make_ready(FIXTURE_DATA(kind) *self, bool write_next)
{
	static const char junk[PAGE];

	if (self->peer < 0)
		return true;
	drain_fd(self->peer);
	drain_fd(self->file);
	return write_next || write(self->peer, junk, PAGE) == (ssize_t)PAGE;
}

static void compare(struct __test_metadata *const _metadata,
		    FIXTURE_DATA(kind) *self, int opcode, unsigned int flags)
{
	const bool write = opcode == IOCB_CMD_PWRITE ||
			   opcode == IOCB_CMD_PWRITEV;
	/* The vector has two parts with sizes that O_DIRECT accepts. */
	const struct iovec parts[] = {
		{ self->buf, 512 }, { self->buf + 512, PAGE - 512 },
	};
	struct answer native, kaio;
	struct iocb iocb;

	if (opcode == IOCB_CMD_PREADV || opcode == IOCB_CMD_PWRITEV)
		prep_rw(&iocb, opcode, self->file, parts, 2, 0);
	else
		prep_rw(&iocb, opcode, self->file, self->buf, PAGE, 0);
	iocb.aio_rw_flags = flags;
	/*
	 * A write that must not wait cannot update the modification time, so
	 * its result depends on whether that time is current.
	 */
	if (write && flags & RWF_NOWAIT)
		usleep(20000);
	ASSERT_TRUE(make_ready(self, write));
	native = ask_native(self->native, &iocb);
	if (write && flags & RWF_NOWAIT)
		usleep(20000);
	ASSERT_TRUE(make_ready(self, write));
	kaio = ask_kaio(self->fd, self->ctx, &iocb);
	EXPECT_EQ(native.submit, kaio.submit)
	{
		TH_LOG("opcode %d, flags %#x", opcode, flags);
	}
	EXPECT_EQ(native.res, kaio.res)
	{
		TH_LOG("opcode %d, flags %#x", opcode, flags);
	}
}

static void compare_each(struct __test_metadata *const _metadata,
			 FIXTURE_DATA(kind) *self, int opcode)
{
	int bit;

	compare(_metadata, self, opcode, 0);
	for (bit = 0; bit < 32; bit++)
		compare(_metadata, self, opcode, 1U << bit);
}

static void compare_flags(struct __test_metadata *const _metadata,
			  FIXTURE_DATA(kind) *self, int opcode)
{
	int bit, other;

	compare_each(_metadata, self, opcode);
	/*
	 * These pairs show which of two errors is reported. The tenth flag is
	 * unknown.
	 */
	for (bit = 0; bit < 10; bit++)
		for (other = 0; other < bit; other++)
			compare(_metadata, self, opcode,
				1U << bit | 1U << other);
	compare(_metadata, self, opcode, RWF_APPEND | RWF_NOAPPEND | RWF_NOWAIT);
	compare(_metadata, self, opcode,
		RWF_APPEND | RWF_NOAPPEND | RWF_UNKNOWN);
}

TEST_F_TIMEOUT(kind, reads_as_native, 120)
{
	compare_flags(_metadata, self, IOCB_CMD_PREAD);
}

TEST_F_TIMEOUT(kind, writes_as_native, 120)
{
	compare_flags(_metadata, self, IOCB_CMD_PWRITE);
}

/* With vectors, pairs of flags would show nothing new. */
TEST_F_TIMEOUT(kind, vector_reads_as_native, 120)
{
	compare_each(_metadata, self, IOCB_CMD_PREADV);
}

TEST_F_TIMEOUT(kind, vector_writes_as_native, 120)
{
	compare_each(_metadata, self, IOCB_CMD_PWRITEV);
}

/* Exactly the flags that KAIO_QUERY reports are known. */
TEST_F(context, query)
{
	const int file = open_pattern(MEM_DIR, 1, PAGE);
	struct kaio_query query;
	aio_context_t native;
	struct iocb iocb;
	int bit;
	char c;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, kaio_query(self->fd, &query));
	EXPECT_EQ(0x1ff, query.rw_flags);
	if (native_setup(1, &native))
		SKIP(return, "this kernel has no native AIO");
	for (bit = 0; bit < 32; bit++) {
		prep_pread(&iocb, file, &c, 1, 0);
		iocb.aio_rw_flags = 1U << bit;
		if (ask_native(native, &iocb).submit == 1)
			EXPECT_NE(0, query.rw_flags >> bit & 1);
		if (!(query.rw_flags >> bit & 1))
			EXPECT_EQ(-EOPNOTSUPP, kaio_submit_one(self->fd,
							       self->ctx,
							       &iocb));
	}
}

/*
 * The tests below check the effects of the flags.
 */
static loff_t size_of(int fd)
{
	struct stat stat;

	return fstat(fd, &stat) ? -1 : stat.st_size;
}

FIXTURE(place)
{
	int fd;
	__u64 ctx;
	int plain;
	char *buf;
};

FIXTURE_VARIANT(place)
{
	const char *dir;
	int flags;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(place, disk) { DISK_DIR, 0 };
FIXTURE_VARIANT_ADD(place, disk_direct) { DISK_DIR, O_DIRECT };
FIXTURE_VARIANT_ADD(place, memory) { MEM_DIR, 0 };
/* clang-format on */

FIXTURE_SETUP(place)
{
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->plain = open_pattern(variant->dir, 1, FILE_SIZE);
	ASSERT_LE(0, self->plain);
	self->buf = map_guarded(4);
	ASSERT_NE(NULL, self->buf);
	fill_pattern(self->buf, PAGE, 2, 0);
}

FIXTURE_TEARDOWN(place)
{
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	close(self->fd);
}

/*
 * Writes one page at offset 0 with @rw_flags. Returns true if it became page
 * @page of the file.
 */
static bool becomes_page(FIXTURE_DATA(place) *self, int file, int rw_flags,
			 int page)
{
	struct iocb iocb;
	int i;

	prep_pwrite(&iocb, file, self->buf, PAGE, 0);
	iocb.aio_rw_flags = rw_flags;
	if (kaio_do(self->fd, self->ctx, &iocb) != (__s64)PAGE)
		return false;
	for (i = 0; i < size_of(self->plain) / (loff_t)PAGE; i++) {
		char *got = self->buf + 2 * PAGE;

		if (pread(self->plain, got, PAGE, i * PAGE) != (ssize_t)PAGE)
			return false;
		if (i == page ? !is_pattern(got, PAGE, 2, 0) :
				!is_pattern(got, PAGE, 1, i * PAGE))
			return false;
	}
	return true;
}

TEST_F(place, append)
{
	const int file = reopen(self->plain, O_RDWR | variant->flags);

	EXPECT_TRUE(becomes_page(self, file, RWF_APPEND, FILE_SIZE / PAGE));
	EXPECT_EQ((loff_t)(FILE_SIZE + PAGE), size_of(self->plain));
}

TEST_F(place, append_of_file)
{
	const int file = reopen(self->plain,
				O_RDWR | O_APPEND | variant->flags);

	EXPECT_TRUE(becomes_page(self, file, 0, FILE_SIZE / PAGE));
	EXPECT_EQ((loff_t)(FILE_SIZE + PAGE), size_of(self->plain));
}

TEST_F(place, noappend)
{
	const int file = reopen(self->plain,
				O_RDWR | O_APPEND | variant->flags);

	EXPECT_TRUE(becomes_page(self, file, RWF_NOAPPEND, 0));
	EXPECT_EQ((loff_t)FILE_SIZE, size_of(self->plain));
}

TEST_F(place, no_flags)
{
	const int file = reopen(self->plain, O_RDWR | variant->flags);

	EXPECT_TRUE(becomes_page(self, file, 0, 0));
	EXPECT_EQ((loff_t)FILE_SIZE, size_of(self->plain));
}

/* No flag overrides an append-only inode. */
TEST_F(context, noappend_of_append_only)
{
	const char *path = DISK_DIR "/kaio-append-only";
	const int none = 0, append_only = FS_APPEND_FL;
	aio_context_t native;
	struct iocb iocb;
	int owner, file;

	owner = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	ASSERT_LE(0, owner);
	ASSERT_EQ(0, ioctl(owner, FS_IOC_SETFLAGS, &append_only));
	file = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	prep_pwrite(&iocb, file, "x", 1, 0);
	iocb.aio_rw_flags = RWF_NOAPPEND;
	EXPECT_EQ(-EPERM, kaio_submit_one(self->fd, self->ctx, &iocb));
	if (!native_setup(1, &native))
		EXPECT_EQ(-EPERM, ask_native(native, &iocb).submit);
	iocb.aio_rw_flags = 0;
	EXPECT_EQ(1, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, ioctl(owner, FS_IOC_SETFLAGS, &none));
	EXPECT_EQ(0, unlink(path));
}

/* Returns how many pages of @fd are in memory. */
static int resident(int fd, size_t pages)
{
	unsigned char there[64] = {};
	void *map = mmap(NULL, pages * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	unsigned int i;
	int sum = 0;

	if (map == MAP_FAILED || mincore(map, pages * PAGE, there))
		return -1;
	munmap(map, pages * PAGE);
	for (i = 0; i < pages; i++)
		sum += there[i] & 1;
	return sum;
}

/* Submits the request to one of the two engines that are compared. */
static struct answer ask(FIXTURE_DATA(context) *self, aio_context_t native,
			 bool ask_kernel, struct iocb *iocb)
{
	return ask_kernel ? ask_native(native, iocb) :
			    ask_kaio(self->fd, self->ctx, iocb);
}

TEST_F(context, dontcache_read)
{
	const int file = open_pattern(DISK_DIR, 1, FILE_SIZE);
	char *buf = map_guarded(FILE_SIZE / PAGE);
	aio_context_t native;
	struct iocb iocb;
	int engine;

	ASSERT_LE(0, file);
	if (native_setup(1, &native))
		SKIP(return, "this kernel has no native AIO");
	for (engine = 0; engine < 2; engine++) {
		ASSERT_EQ(0, posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED));
		ASSERT_EQ(0, resident(file, FILE_SIZE / PAGE));
		memset(buf, 0, FILE_SIZE);
		prep_pread(&iocb, file, buf, FILE_SIZE, 0);
		iocb.aio_rw_flags = RWF_DONTCACHE;
		EXPECT_EQ((__s64)FILE_SIZE,
			  ask(self, native, engine, &iocb).res);
		EXPECT_TRUE(is_pattern(buf, FILE_SIZE, 1, 0));
		EXPECT_EQ(0, resident(file, FILE_SIZE / PAGE))
		{
			TH_LOG("%s", engine ? "native" : "kaio");
		}
		/* Without the flag the pages stay in memory. */
		iocb.aio_rw_flags = 0;
		EXPECT_EQ((__s64)FILE_SIZE,
			  ask(self, native, engine, &iocb).res);
		EXPECT_EQ((int)(FILE_SIZE / PAGE),
			  resident(file, FILE_SIZE / PAGE));
	}
}

/*
 * The blocks are new, because the kernel drops pages after the write only for
 * new blocks. It cannot do so in an interrupt.
 */
TEST_F(context, dontcache_write)
{
	char *buf = map_guarded(FILE_SIZE / PAGE);
	aio_context_t native;
	struct iocb iocb;
	int engine;

	if (native_setup(1, &native))
		SKIP(return, "this kernel has no native AIO");
	for (engine = 1; engine >= 0; engine--) {
		const int file = open_temp(DISK_DIR, 0);

		ASSERT_LE(0, file);
		fill_pattern(buf, FILE_SIZE, 3 + engine, 0);
		prep_pwrite(&iocb, file, buf, FILE_SIZE, 0);
		iocb.aio_rw_flags = RWF_DONTCACHE;
		EXPECT_EQ((__s64)FILE_SIZE,
			  ask(self, native, engine, &iocb).res);
		ASSERT_EQ(0, fsync(file));
		EXPECT_TRUE(wait_until(!resident(file, FILE_SIZE / PAGE)))
		{
			TH_LOG("%s", engine ? "native" : "kaio");
		}
		ASSERT_EQ((ssize_t)FILE_SIZE, pread(file, buf, FILE_SIZE, 0));
		EXPECT_TRUE(is_pattern(buf, FILE_SIZE, 3 + engine, 0));
	}
}

/*
 * The tests below use a slow device.
 */
FIXTURE(slow)
{
	int fd;
	__u64 ctx;
	struct null_blk dev;
	int file;
	char *buf;
	struct iocb iocb;
	struct io_event event;
};

FIXTURE_SETUP(slow)
{
	self->file = -1;
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->file = null_blk_open(_metadata, &self->dev, "kaio-flags",
				   100 * NSEC_PER_MSEC, NULL);
	if (self->file < 0)
		return;
	self->buf = map_guarded(4);
	ASSERT_NE(NULL, self->buf);
	fill_pattern(self->buf, PAGE, 4, 0);
	ASSERT_EQ((ssize_t)PAGE, pwrite(self->file, self->buf, PAGE, 0));
	ASSERT_TRUE(drop_cache(self->file));
	memset(self->buf, 0, PAGE);
}

FIXTURE_TEARDOWN(slow)
{
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	close(self->fd);
	close(self->file);
	null_blk_end(&self->dev);
}

/*
 * The data is not in memory, so the result is EAGAIN, and kaio does not try
 * again. The read that was started still fills the page cache.
 */
TEST_F(slow, nowait)
{
	prep_pread(&self->iocb, self->file, self->buf, PAGE, 0);
	self->iocb.aio_rw_flags = RWF_NOWAIT;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	ASSERT_EQ(1, kaio_getevents(self->fd, self->ctx, 0, 1, &self->event,
				    &no_wait));
	EXPECT_EQ(-EAGAIN, self->event.res);
	EXPECT_EQ(1, kaio_stat(self->fd, "inline"));
	EXPECT_STAT(0, self->fd, "inflight");
	EXPECT_EQ(0, kaio_stat(self->fd, "parked"));
	EXPECT_EQ(0, kaio_stat(self->fd, "queued"));
	EXPECT_TRUE(wait_until(kaio_do(self->fd, self->ctx, &self->iocb) ==
			       (__s64)PAGE));
	EXPECT_TRUE(is_pattern(self->buf, PAGE, 4, 0));
}

/* Without the flag kaio tries again, and no thread sleeps in the meantime. */
TEST_F(slow, no_nowait)
{
	const long before = sleeps();

	prep_pread(&self->iocb, self->file, self->buf, PAGE, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	EXPECT_EQ(before, sleeps());
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 1, &self->event,
				    &no_wait));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ((__s64)PAGE, self->event.res);
	EXPECT_TRUE(is_pattern(self->buf, PAGE, 4, 0));
	EXPECT_EQ(0, kaio_stat(self->fd, "inline"));
}

/*
 * The submitter does not sleep. When a synchronous write completes, the device
 * has the data.
 */
static void synchronous(struct __test_metadata *const _metadata,
			FIXTURE_DATA(slow) *self, int rw_flags, bool there)
{
	const long sectors = sectors_written(self->file);
	const long before = sleeps();

	ASSERT_LE(0, sectors);
	prep_pwrite(&self->iocb, self->file, self->buf, PAGE, PAGE);
	self->iocb.aio_rw_flags = rw_flags;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	EXPECT_EQ(before, sleeps());
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ((__s64)PAGE, self->event.res);
	EXPECT_EQ(there ? (long)PAGE / 512 : 0,
		  sectors_written(self->file) - sectors);
}

TEST_F(slow, dsync)
{
	synchronous(_metadata, self, RWF_DSYNC, true);
}

TEST_F(slow, sync)
{
	synchronous(_metadata, self, RWF_SYNC, true);
}

TEST_F(slow, no_sync)
{
	synchronous(_metadata, self, 0, false);
}

/*
 * kaio does not poll for completions. On a device with queues for polling, a
 * request with RWF_HIPRI must not use those queues.
 */
TEST_F(context, hipri)
{
	static const struct setting polled[] = { { "poll_queues", 1 }, {} };
	struct null_blk dev;
	struct iocb iocb;
	char *buf;
	int file;

	if (!null_blk_make(&dev, "kaio-flags", NSEC_PER_MSEC, polled))
		SKIP(return, "there is no null_blk");
	file = open(dev.node, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, file);
	buf = map_guarded(1);
	fill_pattern(buf, PAGE, 5, 0);
	prep_pwrite(&iocb, file, buf, PAGE, 0);
	iocb.aio_rw_flags = RWF_HIPRI;
	EXPECT_EQ((__s64)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	memset(buf, 0, PAGE);
	prep_pread(&iocb, file, buf, PAGE, 0);
	iocb.aio_rw_flags = RWF_HIPRI;
	EXPECT_EQ((__s64)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(is_pattern(buf, PAGE, 5, 0));
	close(file);
	null_blk_end(&dev);
}

/*
 * With O_NONBLOCK the result is what can be done at once, or EAGAIN.
 */
TEST_F(context, nonblock_write)
{
	static char junk[1 << 20];
	aio_context_t native;
	struct iocb iocb;
	int engine;

	if (native_setup(1, &native))
		SKIP(return, "this kernel has no native AIO");
	for (engine = 0; engine < 2; engine++) {
		int ends[2];

		ASSERT_EQ(0, pipe2(ends, O_CLOEXEC | O_NONBLOCK));
		prep_pwrite(&iocb, ends[1], junk, sizeof(junk), 0);
		EXPECT_EQ(fcntl(ends[1], F_GETPIPE_SZ),
			  ask(self, native, engine, &iocb).res);
		EXPECT_EQ(-EAGAIN, ask(self, native, engine, &iocb).res);
		ASSERT_EQ((ssize_t)PAGE, read(ends[0], junk, PAGE));
		EXPECT_EQ((__s64)PAGE, ask(self, native, engine, &iocb).res);
	}
	EXPECT_EQ(0, kaio_stat(self->fd, "parked"));
	EXPECT_EQ(0, kaio_stat(self->fd, "queued"));
}

/*
 * The tests below use aio_reqprio.
 */
static void drop_capabilities(__u32 but)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

	data[0].effective = data[0].permitted = but;
	if (syscall(SYS_capset, &header, data))
		abort();
}

/* Compares all classes and levels with some hints. */
static void compare_priorities(struct __test_metadata *const _metadata,
			       FIXTURE_DATA(context) *self)
{
	const int file = open_pattern(MEM_DIR, 1, 1);
	const int hints[] = { 0, 1, 0x3ff };
	struct answer native_answer, answer;
	aio_context_t native;
	struct iocb iocb;
	unsigned int i;
	int prio;
	char c;

	ASSERT_LE(0, file);
	if (native_setup(1, &native))
		SKIP(return, "this kernel has no native AIO");
	for (i = 0; i < ARRAY_SIZE(hints); i++) {
		for (prio = 0; prio < 64; prio++) {
			prep_pread(&iocb, file, &c, 1, 0);
			iocb.aio_flags = IOCB_FLAG_IOPRIO;
			iocb.aio_reqprio = prio >> 3 << 13 | hints[i] << 3 |
					   (prio & 7);
			native_answer = ask_native(native, &iocb);
			answer = ask_kaio(self->fd, self->ctx, &iocb);
			EXPECT_EQ(native_answer.submit, answer.submit)
			{
				TH_LOG("priority %#x",
				       (__u16)iocb.aio_reqprio);
			}
			EXPECT_EQ(native_answer.res, answer.res);
		}
	}
}

TEST_F(context, ioprio_of_root)
{
	compare_priorities(_metadata, self);
}

TEST_F(context, ioprio_without_privilege)
{
	drop_capabilities(0);
	compare_priorities(_metadata, self);
}

TEST_F(context, ioprio_with_sys_nice)
{
	drop_capabilities(1U << CAP_SYS_NICE);
	compare_priorities(_metadata, self);
}

/* These are the answers to each class, for kernels without native AIO. */
FIXTURE(ioprio)
{
	int fd;
	__u64 ctx;
};

FIXTURE_VARIANT(ioprio)
{
	int prio;
	bool privileged;
	long want;
};

/* clang-format off */
#define PRIO(_name, _class, _level, _privileged, _want) \
	FIXTURE_VARIANT_ADD(ioprio, _name) { \
		_class << 13 | _level, _privileged, _want \
	}

PRIO(none, 0, 0, false, 1);
PRIO(none_with_level, 0, 1, false, -EINVAL);
PRIO(realtime, 1, 0, true, 1);
PRIO(realtime_unprivileged, 1, 0, false, -EPERM);
PRIO(best_effort, 2, 7, false, 1);
PRIO(idle, 3, 0, false, 1);
PRIO(class_4, 4, 0, true, -EINVAL);
PRIO(class_7, 7, 0, true, -EINVAL);
/* clang-format on */

FIXTURE_SETUP(ioprio)
{
	open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx);
}

FIXTURE_TEARDOWN(ioprio)
{
	close_context(_metadata, self->fd, self->ctx);
}

TEST_F(ioprio, answer)
{
	const int file = open_pattern(DISK_DIR, 1, PAGE);
	struct answer answer;
	struct iocb iocb;
	char c = 0;

	ASSERT_LE(0, file);
	if (!variant->privileged)
		drop_capabilities(0);
	prep_pread(&iocb, file, &c, 1, 0);
	iocb.aio_flags = IOCB_FLAG_IOPRIO;
	iocb.aio_reqprio = variant->prio;
	answer = ask_kaio(self->fd, self->ctx, &iocb);
	EXPECT_EQ(variant->want, answer.submit);
	if (variant->want == 1)
		EXPECT_EQ(1, answer.res);
}

/* Without IOCB_FLAG_IOPRIO the field is ignored. */
TEST_F(ioprio, ignored)
{
	const int file = open_pattern(MEM_DIR, 1, 1);
	struct iocb iocb;
	char c;

	ASSERT_LE(0, file);
	drop_capabilities(0);
	prep_pread(&iocb, file, &c, 1, 0);
	iocb.aio_reqprio = variant->prio;
	EXPECT_EQ(1, kaio_do(self->fd, self->ctx, &iocb));
}

TEST_HARNESS_MAIN
