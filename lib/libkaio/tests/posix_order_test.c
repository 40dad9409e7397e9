// SPDX-License-Identifier: LGPL-2.1-or-later
/* Requests that run at the same time, and requests that run in order. */
#include "posix_common.h"

#define NR	32

static char buf[NR][PAGE];
static struct aiocb cb[NR];

/*
 * At the same time: none of these reads completes before all of them are in the
 * device.
 */
TEST(reads_of_one_descriptor)
{
	const int file = open_mock(_metadata, KAIO_MOCK_DISK);
	int i;

	if (file < 0)
		return;
	ASSERT_EQ(0, mock_program(file, 1, IN | OUT,
				  { .complete = KAIO_MOCK_TOLD, .result = 5 }));
	for (i = 0; i < NR; i++) {
		cb[i] = block_of(file, buf[i], 5, 0);
		ASSERT_EQ(0, aio_read(&cb[i]));
	}
	EXPECT_TRUE(wait_until(mock_info(file).queued == NR));
	EXPECT_EQ(NR, module_counter("inflight"));
	for (i = 0; i < NR; i++)
		ASSERT_EQ(0, mock_complete(file, 5));
	for (i = 0; i < NR; i++)
		EXPECT_EQ(5, result_of(&cb[i]));
}

/*
 * A request that never completes does not delay other requests of its
 * descriptor.
 */
TEST(others_overtake)
{
	const int file = open_mock(_metadata, KAIO_MOCK_DISK);

	if (file < 0)
		return;
	ASSERT_EQ(0, mock_program(file, 1, IN | OUT,
				  { .attempts = 1, .complete = KAIO_MOCK_TOLD,
				    .result = 5 },
				  GIVES(7)));
	cb[0] = block_of(file, buf[0], 5, 0);
	cb[1] = block_of(file, buf[1], 7, 0);
	ASSERT_EQ(0, aio_read(&cb[0]));
	ASSERT_TRUE(wait_until(mock_info(file).queued == 1));
	ASSERT_EQ(0, aio_read(&cb[1]));
	EXPECT_EQ(7, result_of(&cb[1]));
	EXPECT_EQ(EINPROGRESS, aio_error(&cb[0]));
	ASSERT_EQ(0, mock_complete(file, 5));
	EXPECT_EQ(5, result_of(&cb[0]));
}

/*
 * There is one thread, instead of one for each descriptor or for each request.
 */
TEST(one_thread)
{
	int fds[NR][2];
	int i;

	for (i = 0; i < NR; i++) {
		empty_pipe(_metadata, fds[i]);
		cb[i] = block_of(fds[i][0], buf[i], 5, 0);
		ASSERT_EQ(0, aio_read(&cb[i]));
	}
	EXPECT_EQ(2, threads());
	for (i = 0; i < NR; i++)
		ASSERT_EQ(5, write(fds[i][1], "hello", 5));
	for (i = 0; i < NR; i++)
		EXPECT_EQ(5, result_of(&cb[i]));
	EXPECT_EQ(2, threads());
}

/* In order: appends. */
FIXTURE(append)
{
	int file;
};

FIXTURE_VARIANT(append)
{
	const char *dir;
	int flags;
	bool list;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(append, disk) { DISK_DIR, 0, false };
FIXTURE_VARIANT_ADD(append, memory) { MEM_DIR, 0, false };
FIXTURE_VARIANT_ADD(append, direct) { DISK_DIR, O_DIRECT, false };
FIXTURE_VARIANT_ADD(append, list) { DISK_DIR, 0, true };
/* clang-format on */

FIXTURE_SETUP(append)
{
	self->file = open_temp(variant->dir, O_APPEND | variant->flags);
	ASSERT_LE(0, self->file);
}

FIXTURE_TEARDOWN(append)
{
}

#define APPENDS 128

TEST_F(append, in_order)
{
	static struct aiocb cbs[APPENDS];
	static struct aiocb *list[APPENDS];
	char *pages = aligned_alloc(PAGE, APPENDS * PAGE);
	char *back = aligned_alloc(PAGE, APPENDS * PAGE);
	int i;

	ASSERT_NE(NULL, pages);
	ASSERT_NE(NULL, back);
	for (i = 0; i < APPENDS; i++) {
		fill_pattern(pages + i * PAGE, PAGE, i, 0);
		cbs[i] = block_of(self->file, pages + i * PAGE, PAGE, 0);
		cbs[i].aio_lio_opcode = LIO_WRITE;
		list[i] = &cbs[i];
	}
	if (variant->list) {
		ASSERT_EQ(0, lio_listio(LIO_NOWAIT, list, APPENDS, NULL));
	} else {
		for (i = 0; i < APPENDS; i++)
			ASSERT_EQ(0, aio_write(&cbs[i]));
	}
	for (i = 0; i < APPENDS; i++)
		ASSERT_EQ((ssize_t)PAGE, result_of(&cbs[i]));
	ASSERT_EQ(APPENDS * (ssize_t)PAGE, pread(self->file, back, APPENDS * PAGE, 0));
	EXPECT_EQ(0, memcmp(pages, back, APPENDS * PAGE));
	EXPECT_EQ(APPENDS, module_counter("submitted"));
}

/* In order: requests that wait for one pipe or one socket. */
FIXTURE(stream)
{
	int fds[2];
};

FIXTURE_VARIANT(stream)
{
	bool socket;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(stream, pipe) { false };
FIXTURE_VARIANT_ADD(stream, socket) { true };
/* clang-format on */

FIXTURE_SETUP(stream)
{
	ASSERT_EQ(0, variant->socket ?
			     socketpair(AF_UNIX, SOCK_STREAM, 0, self->fds) :
			     pipe2(self->fds, O_CLOEXEC));
}

FIXTURE_TEARDOWN(stream)
{
}

/* Receives @len bytes, or fewer at the end. */
static ssize_t recv_all(int fd, char *to, size_t len)
{
	size_t done;
	ssize_t n;

	for (done = 0; done < len; done += n) {
		n = read(fd, to + done, len - done);
		if (n <= 0)
			break;
	}
	return done;
}

TEST_F(stream, reads)
{
	char data[NR];
	int i;

	for (i = 0; i < NR; i++) {
		data[i] = i;
		cb[i] = block_of(self->fds[0], buf[i], 1, 0);
		ASSERT_EQ(0, aio_read(&cb[i]));
	}
	ASSERT_EQ(NR, write(self->fds[1], data, NR));
	for (i = 0; i < NR; i++) {
		ASSERT_EQ(1, result_of(&cb[i]));
		EXPECT_EQ(i, buf[i][0]);
	}
}

TEST_F(stream, writes)
{
	size_t junk = fill_fd(self->fds[1]);
	char got[NR];
	size_t n;
	int i;

	for (i = 0; i < NR; i++) {
		buf[i][0] = i;
		cb[i] = block_of(self->fds[1], buf[i], 1, 0);
		ASSERT_EQ(0, aio_write(&cb[i]));
	}
	for (; junk; junk -= n) {
		n = read(self->fds[0], buf[0], junk < PAGE ? junk : PAGE);
		ASSERT_LT(0, (ssize_t)n);
	}
	for (i = 0; i < NR; i++)
		ASSERT_EQ(1, result_of(&cb[i]));
	ASSERT_EQ(NR, recv_all(self->fds[0], got, NR));
	for (i = 0; i < NR; i++)
		EXPECT_EQ(i, got[i]);
}

/*
 * A socket ignores an offset; its reads are served in order with and without
 * one.
 */
TEST_F(stream, reads_with_offset)
{
	struct aiocb *list[] = { &cb[0], &cb[1] };
	int i;

	for (i = 0; i < 2; i++) {
		cb[i] = block_of(self->fds[0], buf[i], 1, i ? 0 : 4711);
		cb[i].aio_lio_opcode = LIO_READ;
	}
	ASSERT_EQ(0, lio_listio(LIO_NOWAIT, list, 2, NULL));
	ASSERT_EQ(2, write(self->fds[1], "ab", 2));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(1, result_of(&cb[i]));
		EXPECT_EQ('a' + i, buf[i][0]);
	}
}

/* fsync covers all requests that were made before it. */
FIXTURE(syncing)
{
	int file;
	struct aiocb write;
	struct aiocb sync;
};

FIXTURE_SETUP(syncing)
{
	self->file = open_mock(_metadata, KAIO_MOCK_DISK);
	if (self->file < 0)
		return;
	self->write = block_of(self->file, buf[0], 5, 0);
	self->sync = block_of(self->file, NULL, 0, 0);
	/*
	 * The test decides when the first attempt completes; the next ones
	 * return a number.
	 */
	ASSERT_EQ(0, mock_program(self->file, 1, IN | OUT,
				  { .attempts = 1, .complete = KAIO_MOCK_TOLD,
				    .result = 5 },
				  GIVES(0)));
}

FIXTURE_TEARDOWN(syncing)
{
}

/*
 * The module does not wait for a write in hardware. Later requests overtake the
 * write and the fsync.
 */
TEST_F(syncing, after_write_in_hardware)
{
	struct aiocb later = self->write;

	ASSERT_EQ(0, aio_write(&self->write));
	ASSERT_TRUE(wait_until(mock_info(self->file).queued == 1));
	ASSERT_EQ(0, aio_fsync(O_SYNC, &self->sync));
	ASSERT_EQ(0, aio_write(&later));
	EXPECT_EQ(0, result_of(&later));
	EXPECT_EQ(2, mock_info(self->file).attempts);
	EXPECT_EQ(EINPROGRESS, aio_error(&self->sync));
	ASSERT_EQ(0, mock_complete(self->file, 5));
	EXPECT_EQ(0, result_of(&self->sync));
	EXPECT_EQ(5, aio_return(&self->write));
	EXPECT_EQ(3, mock_info(self->file).attempts);
}

TEST_F(syncing, not_of_other_descriptors)
{
	struct aiocb other = block_of(open_temp(DISK_DIR, 0), NULL, 0, 0);

	ASSERT_EQ(0, aio_write(&self->write));
	ASSERT_TRUE(wait_until(mock_info(self->file).queued == 1));
	ASSERT_EQ(0, aio_fsync(O_SYNC, &other));
	EXPECT_EQ(0, result_of(&other));
	ASSERT_EQ(0, mock_complete(self->file, 5));
	EXPECT_EQ(5, result_of(&self->write));
}

/*
 * The descriptor's number belonged to another file before, whose requests go
 * on.
 */
TEST_F(syncing, not_of_file_before)
{
	const int file = open_temp(DISK_DIR, 0);
	struct aiocb other;
	int fds[2];

	empty_pipe(_metadata, fds);
	cb[0] = block_of(fds[0], buf[0], 5, 0);
	read_waits(_metadata, &cb[0]);
	ASSERT_EQ(fds[0], dup2(file, fds[0]));
	other = block_of(fds[0], NULL, 0, 0);
	ASSERT_EQ(0, aio_fsync(O_SYNC, &other));
	EXPECT_EQ(0, result_of(&other));
	EXPECT_EQ(EINPROGRESS, aio_error(&cb[0]));
	ASSERT_EQ(5, write(fds[1], "hello", 5));
	EXPECT_EQ(5, result_of(&cb[0]));
}

TEST_F(syncing, after_sync)
{
	struct aiocb second = self->sync;

	ASSERT_EQ(0, aio_write(&self->write));
	ASSERT_TRUE(wait_until(mock_info(self->file).queued == 1));
	ASSERT_EQ(0, aio_fsync(O_SYNC, &self->sync));
	ASSERT_EQ(0, aio_fsync(O_DSYNC, &second));
	ASSERT_EQ(0, mock_complete(self->file, 5));
	EXPECT_EQ(0, result_of(&second));
	EXPECT_EQ(0, aio_error(&self->sync));
}

/* The write fails within the call, so the fsync waits for nothing. */
TEST_F(syncing, after_write_that_fails)
{
	self->write.aio_offset = -1;
	ASSERT_EQ(0, mock_program(self->file, 1, IN | OUT, GIVES(0)));
	ASSERT_EQ(0, aio_write(&self->write));
	ASSERT_EQ(0, aio_fsync(O_SYNC, &self->sync));
	EXPECT_EQ(0, result_of(&self->sync));
}

TEST_HARNESS_MAIN
