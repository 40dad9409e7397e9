// SPDX-License-Identifier: GPL-2.0
/*
 * Tests reads and writes that need nothing but memory: the submit call makes them
 * although the file system does not support IOCB_NOWAIT for them, and leaves them
 * to a worker if they may have to wait.
 */
#include "kaio_common.h"

#define NR_PAGES	16
#define FILE_SIZE	(NR_PAGES * PAGE)

FIXTURE(memory)
{
	int fd;
	__u64 ctx;
	int file;
	char *buf;
};

FIXTURE_VARIANT(memory)
{
	const char *dir;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(memory, tmpfs) { .dir = MEM_DIR };
FIXTURE_VARIANT_ADD(memory, ext4) { .dir = DISK_DIR };
/* clang-format on */

FIXTURE_SETUP(memory)
{
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->file = open_pattern(variant->dir, 1, FILE_SIZE);
	ASSERT_LE(0, self->file);
	self->buf = map_guarded(NR_PAGES);
	ASSERT_NE(NULL, self->buf);
	memset(self->buf, 'b', FILE_SIZE);
}

FIXTURE_TEARDOWN(memory)
{
	EXPECT_STAT(0, self->fd, "inflight");
	close(self->file);
	close(self->fd);
}

static __s64 do_write(FIXTURE_DATA(memory) *self, size_t len, __s64 offset)
{
	struct iocb iocb;

	prep_pwrite(&iocb, self->file, self->buf, len, offset);
	return kaio_do(self->fd, self->ctx, &iocb);
}

/* Expects @len bytes of @byte at @offset of the file. */
static void expect_bytes(struct __test_metadata *const _metadata,
			 FIXTURE_DATA(memory) *self, char byte, size_t len, off_t offset)
{
	static char found[FILE_SIZE];
	size_t i;

	ASSERT_EQ((ssize_t)len, pread(self->file, found, len, offset));
	for (i = 0; i < len; i++) {
		ASSERT_EQ(byte, found[i])
		{
			TH_LOG("at %zu of %ld", i, (long)offset);
		}
	}
}

static bool is_tmpfs(const FIXTURE_VARIANT(memory) *variant)
{
	return !strcmp(variant->dir, MEM_DIR);
}

/*
 * The first write of each tick of the clock must write down the time of the
 * file, for which ext4 needs its journal; a worker makes it. So of writes that
 * follow one another, some are made in the call.
 */
TEST_F(memory, overwrite)
{
	const __s64 end = now_ns() + PATIENCE_SECONDS * NSEC_PER_SEC;
	long nr = 0;

	do {
		ASSERT_EQ((__s64)PAGE, do_write(self, PAGE, nr % NR_PAGES * PAGE));
		nr++;
	} while (nr < 10 * NR_PAGES ||
		 (kaio_stat(self->fd, "inline") < 10 && now_ns() < end));
	EXPECT_LE(10, kaio_stat(self->fd, "inline"));
	if (is_tmpfs(variant))
		EXPECT_EQ(nr, kaio_stat(self->fd, "inline"));
	expect_bytes(_metadata, self, 'b', FILE_SIZE, 0);
	EXPECT_EQ((off_t)FILE_SIZE, lseek(self->file, 0, SEEK_END));
}

/* The requests of one call follow one another in one tick of the clock. */
TEST_F(memory, many_in_one_call)
{
	struct iocb iocbs[NR_PAGES], *pointers[NR_PAGES];
	struct io_event events[NR_PAGES];
	int i, round;

	for (round = 0; round < 50; round++) {
		for (i = 0; i < NR_PAGES; i++) {
			prep_pwrite(&iocbs[i], self->file, self->buf + i * PAGE, PAGE, i * PAGE);
			pointers[i] = &iocbs[i];
		}
		ASSERT_EQ(NR_PAGES, kaio_submit(self->fd, self->ctx, NR_PAGES, pointers));
		ASSERT_EQ(NR_PAGES, kaio_wait(self->fd, self->ctx, NR_PAGES, events));
		for (i = 0; i < NR_PAGES; i++)
			ASSERT_EQ((__s64)PAGE, events[i].res);
	}
	expect_bytes(_metadata, self, 'b', FILE_SIZE, 0);
}

/*
 * Writes to one file are made in the order of their submission, whether the call
 * or a worker makes them: the last one wins.
 */
TEST_F(memory, last_write_wins)
{
	struct iocb iocbs[NR_PAGES], *pointers[NR_PAGES];
	struct io_event events[NR_PAGES];
	int i, round;

	for (i = 0; i < NR_PAGES; i++)
		memset(self->buf + i * PAGE, 'a' + i, PAGE);
	for (round = 0; round < 100; round++) {
		for (i = 0; i < NR_PAGES; i++) {
			prep_pwrite(&iocbs[i], self->file, self->buf + i * PAGE, PAGE, 0);
			pointers[i] = &iocbs[i];
		}
		ASSERT_EQ(NR_PAGES, kaio_submit(self->fd, self->ctx, NR_PAGES, pointers));
		ASSERT_EQ(NR_PAGES, kaio_wait(self->fd, self->ctx, NR_PAGES, events));
		expect_bytes(_metadata, self, 'a' + NR_PAGES - 1, PAGE, 0);
	}
}

/*
 * Events of writes to one file come in the order of the writes, also if the call
 * makes the first ones and leaves the next ones to a worker: those have a buffer
 * that is not in memory.
 */
TEST_F(memory, order_of_events)
{
	struct iocb iocbs[NR_PAGES], *pointers[NR_PAGES];
	struct io_event events[NR_PAGES];
	int i, round, nr_writes;

	for (round = 0; round < 50; round++) {
		char *fresh = map_guarded(1);

		ASSERT_NE(NULL, fresh);
		for (i = 0; i < NR_PAGES; i++) {
			prep_pwrite(&iocbs[i], self->file, i == 4 ? fresh : self->buf, PAGE, 0);
			iocbs[i].aio_data = i;
			pointers[i] = &iocbs[i];
			/* Reads keep the call busy meanwhile. */
			if (i > 5) {
				prep_pread(&iocbs[i], self->file, self->buf + PAGE, PAGE, PAGE);
				iocbs[i].aio_data = 1000;
			}
		}
		ASSERT_EQ(NR_PAGES, kaio_submit(self->fd, self->ctx, NR_PAGES, pointers));
		ASSERT_EQ(NR_PAGES, kaio_wait(self->fd, self->ctx, NR_PAGES, events));
		for (nr_writes = 0, i = 0; i < NR_PAGES; i++) {
			if (events[i].data == 1000)
				continue;
			ASSERT_EQ(nr_writes, (int)events[i].data);
			nr_writes++;
		}
		ASSERT_EQ(6, nr_writes);
		munmap(fresh, 2 * PAGE);
	}
}

/* Appends of one call follow one another in the file. */
TEST_F(memory, append)
{
	struct iocb iocbs[NR_PAGES], *pointers[NR_PAGES];
	struct io_event events[NR_PAGES];
	const int file = reopen(self->file, O_WRONLY | O_APPEND);
	int i, round;

	for (i = 0; i < NR_PAGES; i++)
		memset(self->buf + i * PAGE, 'a' + i, PAGE);
	for (round = 0; round < 20; round++) {
		for (i = 0; i < NR_PAGES; i++) {
			prep_pwrite(&iocbs[i], file, self->buf + i * PAGE, 100 + i, 0);
			pointers[i] = &iocbs[i];
		}
		ASSERT_EQ(NR_PAGES, kaio_submit(self->fd, self->ctx, NR_PAGES, pointers));
		ASSERT_EQ(NR_PAGES, kaio_wait(self->fd, self->ctx, NR_PAGES, events));
	}
	for (round = 0; round < 20; round++) {
		off_t offset = FILE_SIZE + round * (NR_PAGES * 100 + NR_PAGES * (NR_PAGES - 1) / 2);

		for (i = 0; i < NR_PAGES; i++) {
			expect_bytes(_metadata, self, 'a' + i, 100 + i, offset);
			offset += 100 + i;
		}
	}
	close(file);
}

/* A write behind the end leaves zeros before it, and extends the file. */
TEST_F(memory, behind_the_end)
{
	const off_t offset = FILE_SIZE + 3 * PAGE + 5;

	ASSERT_EQ(100, do_write(self, 100, offset));
	expect_bytes(_metadata, self, 'b', 100, offset);
	expect_bytes(_metadata, self, 0, 3 * PAGE + 5, FILE_SIZE);
	EXPECT_EQ(offset + 100, lseek(self->file, 0, SEEK_END));
}

/* A part of a page that is not in memory keeps the bytes around it. */
TEST_F(memory, part_of_an_absent_page)
{
	char *found = malloc(PAGE);

	ASSERT_EQ(0, posix_fadvise(self->file, 0, 0, POSIX_FADV_DONTNEED));
	ASSERT_EQ(100, do_write(self, 100, 5 * PAGE + 50));
	if (!is_tmpfs(variant))
		EXPECT_EQ(0, kaio_stat(self->fd, "inline"));
	ASSERT_EQ((ssize_t)PAGE, pread(self->file, found, PAGE, 5 * PAGE));
	EXPECT_TRUE(is_pattern(found, 50, 1, 5 * PAGE));
	EXPECT_TRUE(is_pattern(found + 150, PAGE - 150, 1, 5 * PAGE + 150));
	expect_bytes(_metadata, self, 'b', 100, 5 * PAGE + 50);
	free(found);
}

/* The last positions that an offset can name give what native AIO gives. */
TEST_F(memory, last_position)
{
	static const __s64 offsets[] = {
		LLONG_MAX - PAGE, LLONG_MAX - PAGE + 1, LLONG_MAX - 10, LLONG_MAX, -1, LLONG_MIN,
	};
	aio_context_t native = 0;
	struct answer kaio, aio;
	struct iocb iocb;
	unsigned int i;

	ASSERT_EQ(0, native_setup(1, &native));
	for (i = 0; i < 2 * ARRAY_SIZE(offsets); i++) {
		prep_pwrite(&iocb, self->file, self->buf, PAGE, offsets[i / 2]);
		if (i % 2)
			iocb.aio_lio_opcode = IOCB_CMD_PREAD;
		aio = ask_native(native, &iocb);
		kaio = ask_kaio(self->fd, self->ctx, &iocb);
		EXPECT_EQ(aio.submit, kaio.submit);
		EXPECT_EQ(aio.res, kaio.res)
		{
			TH_LOG("offset %lld", (long long)offsets[i / 2]);
		}
	}
	native_destroy(native);
}

/* A buffer that is not there is for a worker to wait for. */
TEST_F(memory, fresh_buffer)
{
	char *fresh = map_guarded(1);
	struct iocb iocb;

	prep_pwrite(&iocb, self->file, fresh, PAGE, 0);
	ASSERT_EQ((__s64)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, kaio_stat(self->fd, "inline"));
	expect_bytes(_metadata, self, 0, PAGE, 0);
}

/* As natively, a write ends where its buffer does. */
TEST_F(memory, end_of_the_buffer)
{
	aio_context_t native = 0;
	struct answer kaio, aio;
	struct iocb iocb;

	ASSERT_EQ(0, native_setup(1, &native));
	prep_pwrite(&iocb, self->file, self->buf + FILE_SIZE - PAGE, 2 * PAGE, 0);
	aio = ask_native(native, &iocb);
	kaio = ask_kaio(self->fd, self->ctx, &iocb);
	EXPECT_EQ(aio.submit, kaio.submit);
	EXPECT_EQ(aio.res, kaio.res);
	prep_pwrite(&iocb, self->file, self->buf + FILE_SIZE, PAGE, 0);
	aio = ask_native(native, &iocb);
	kaio = ask_kaio(self->fd, self->ctx, &iocb);
	EXPECT_EQ(aio.submit, kaio.submit);
	EXPECT_EQ(aio.res, kaio.res);
	native_destroy(native);
}

static int nr_signals;

static void count_signal(int sig)
{
	(void)sig;
	nr_signals++;
}

/*
 * The limit of file sizes shortens a write, or ends it with one signal. If a
 * worker makes the write, the signal can interrupt the wait for the event.
 */
TEST_F(memory, file_size_limit)
{
	const struct rlimit limit = { FILE_SIZE + 10, RLIM_INFINITY };
	struct io_event event;
	struct iocb iocb;
	int round;
	long nr;

	signal(SIGXFSZ, count_signal);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	for (round = 0; round < 20; round++) {
		ASSERT_EQ(10, do_write(self, PAGE, FILE_SIZE));
		prep_pwrite(&iocb, self->file, self->buf, PAGE, FILE_SIZE + 10);
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
		do {
			nr = kaio_wait(self->fd, self->ctx, 1, &event);
		} while (nr == -EINTR);
		ASSERT_EQ(1, nr);
		ASSERT_EQ(-EFBIG, event.res);
		ASSERT_EQ(round + 1, nr_signals);
	}
}

/* An eventfd counts each event, which is in the ring by then. */
TEST_F(memory, eventfd)
{
	const int counter = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct io_event event;
	struct iocb iocb;
	eventfd_t value;
	int round;

	for (round = 0; round < 50; round++) {
		if (round % 2)
			prep_pwrite(&iocb, self->file, self->buf, PAGE, 0);
		else
			prep_pread(&iocb, self->file, self->buf, PAGE, 0);
		iocb.aio_flags = IOCB_FLAG_RESFD;
		iocb.aio_resfd = counter;
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
		ASSERT_TRUE(wait_until(poll_now(counter, POLLIN)));
		ASSERT_EQ(0, eventfd_read(counter, &value));
		ASSERT_EQ(1, value);
		ASSERT_EQ(1, kaio_getevents(self->fd, self->ctx, 0, 1, &event, &no_wait));
		ASSERT_EQ((__s64)PAGE, event.res);
	}
	EXPECT_LE(25, kaio_stat(self->fd, "inline"));
	close(counter);
}

/* A vector with one segment is as good as a buffer. */
TEST_F(memory, one_segment)
{
	struct iovec iov = { self->buf, PAGE };
	struct iocb iocb;

	prep_pread(&iocb, self->file, &iov, 1, PAGE);
	iocb.aio_lio_opcode = IOCB_CMD_PREADV;
	ASSERT_EQ((__s64)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(is_pattern(self->buf, PAGE, 1, PAGE));
	EXPECT_EQ(1, kaio_stat(self->fd, "inline"));
	iocb.aio_lio_opcode = IOCB_CMD_PWRITEV;
	iocb.aio_offset = 0;
	ASSERT_EQ((__s64)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	iov.iov_len = 0;
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
}

/* What opens a file for one direction does not let the other one in. */
TEST_F(memory, wrong_direction)
{
	const int readable = reopen(self->file, O_RDONLY);
	const int writable = reopen(self->file, O_WRONLY);
	struct iocb iocb;

	prep_pwrite(&iocb, readable, self->buf, PAGE, 0);
	EXPECT_EQ(-EBADF, kaio_do(self->fd, self->ctx, &iocb));
	prep_pread(&iocb, writable, self->buf, PAGE, 0);
	EXPECT_EQ(-EBADF, kaio_do(self->fd, self->ctx, &iocb));
	close(readable);
	close(writable);
}

/* The end of the file ends a read, and a hole is full of zeros. */
TEST_F(memory, read_to_the_end)
{
	struct iocb iocb;

	ASSERT_EQ(0, ftruncate(self->file, FILE_SIZE + 2 * PAGE + 7));
	prep_pread(&iocb, self->file, self->buf, 3 * PAGE, FILE_SIZE);
	ASSERT_EQ((__s64)(2 * PAGE + 7), kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, self->buf[0]);
	EXPECT_EQ(0, self->buf[2 * PAGE + 6]);
	EXPECT_EQ('b', self->buf[2 * PAGE + 7]);
	prep_pread(&iocb, self->file, self->buf, PAGE, FILE_SIZE + 2 * PAGE + 7);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
}

/* A sealed file refuses, in the event as natively. */
TEST(sealed)
{
	const int file = memfd_create("kaio", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	char *buf = map_guarded(1);
	struct iocb iocb;
	__u64 ctx;
	int fd;

	if (!open_context(_metadata, &fd, NR_EVENTS, &ctx))
		return;
	memset(buf, 'b', PAGE);
	ASSERT_EQ(0, ftruncate(file, PAGE));
	prep_pwrite(&iocb, file, buf, PAGE, 0);
	ASSERT_EQ((__s64)PAGE, kaio_do(fd, ctx, &iocb));
	ASSERT_EQ(0, fcntl(file, F_ADD_SEALS, F_SEAL_GROW));
	iocb.aio_offset = PAGE;
	EXPECT_EQ(-EPERM, kaio_do(fd, ctx, &iocb));
	ASSERT_EQ(0, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	iocb.aio_offset = 0;
	EXPECT_EQ(-EPERM, kaio_do(fd, ctx, &iocb));
	prep_pread(&iocb, file, buf, PAGE, 0);
	EXPECT_EQ((__s64)PAGE, kaio_do(fd, ctx, &iocb));
	EXPECT_EQ('b', buf[0]);
	close(file);
	close(fd);
}

TEST_HARNESS_MAIN
