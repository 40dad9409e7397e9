// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * aio_read, aio_write, aio_fsync, aio_error and aio_return, with one request at
 * a time.
 */
#include "posix_common.h"

static char buf[8 * PAGE];

/* Starts a read, and returns the error with which it ends, or -1 if it is refused. */
static int error_of_read(struct aiocb *cb)
{
	return aio_read(cb) ? -1 : error_of(cb);
}

/* Starts a write, and returns the error with which it ends, or -1 if it is refused. */
static int error_of_write(struct aiocb *cb)
{
	return aio_write(cb) ? -1 : error_of(cb);
}

TEST(read_pages)
{
	const int fd = open_pattern(DISK_DIR, 1, 8 * PAGE);
	struct aiocb cb = block_of(fd, buf, 2 * PAGE, 3 * PAGE);

	ASSERT_EQ(0, aio_read(&cb));
	EXPECT_EQ(2 * (ssize_t)PAGE, result_of(&cb));
	EXPECT_TRUE(is_pattern(buf, 2 * PAGE, 1, 3 * PAGE));
}

TEST(read_at_end)
{
	const int fd = open_pattern(DISK_DIR, 1, 2 * PAGE);
	struct aiocb cb = block_of(fd, buf, PAGE, 2 * PAGE);

	ASSERT_EQ(0, aio_read(&cb));
	EXPECT_EQ(0, result_of(&cb));
}

TEST(read_across_end)
{
	const int fd = open_pattern(DISK_DIR, 1, 2 * PAGE);
	struct aiocb cb = block_of(fd, buf, 2 * PAGE, PAGE);

	ASSERT_EQ(0, aio_read(&cb));
	EXPECT_EQ((ssize_t)PAGE, result_of(&cb));
}

TEST(write_pages)
{
	const int fd = open_temp(DISK_DIR, 0);
	struct aiocb cb = block_of(fd, buf, 2 * PAGE, PAGE);

	fill_pattern(buf, 2 * PAGE, 2, 0);
	ASSERT_EQ(0, aio_write(&cb));
	EXPECT_EQ(2 * (ssize_t)PAGE, result_of(&cb));
	memset(buf, 0, sizeof(buf));
	EXPECT_EQ(2 * (ssize_t)PAGE, pread(fd, buf, 2 * PAGE, PAGE));
	EXPECT_TRUE(is_pattern(buf, 2 * PAGE, 2, 0));
}

TEST(names_of_64_bits)
{
	const int fd = open_temp(DISK_DIR, 0);
	struct aiocb64 cb = {
		.aio_fildes = fd,
		.aio_buf = buf,
		.aio_nbytes = 5,
		.aio_sigevent.sigev_notify = SIGEV_NONE,
	};
	const struct aiocb64 *list[] = { &cb };

	ASSERT_EQ(0, aio_write64(&cb));
	ASSERT_EQ(0, aio_suspend64(list, 1, &patience));
	EXPECT_EQ(0, aio_error64(&cb));
	EXPECT_EQ(5, aio_return64(&cb));
	EXPECT_EQ(AIO_ALLDONE, aio_cancel64(fd, &cb));
	ASSERT_EQ(0, aio_fsync64(O_SYNC, &cb));
	ASSERT_EQ(0, aio_suspend64(list, 1, &patience));
	EXPECT_EQ(0, aio_return64(&cb));
	EXPECT_EQ(2, module_counter("submitted"));
}

/* Each request goes through the module. */
TEST(through_the_module)
{
	const int fd = open_temp(DISK_DIR, 0);
	struct aiocb cb = block_of(fd, buf, PAGE, 0);

	EXPECT_EQ(-1, kaio_find_fd());
	ASSERT_EQ(0, aio_write(&cb));
	ASSERT_EQ((ssize_t)PAGE, result_of(&cb));
	EXPECT_EQ(1, module_counter("submitted"));
	ASSERT_EQ(0, aio_read(&cb));
	ASSERT_EQ((ssize_t)PAGE, result_of(&cb));
	EXPECT_EQ(2, module_counter("submitted"));
	ASSERT_EQ(0, aio_fsync(O_SYNC, &cb));
	ASSERT_EQ(0, result_of(&cb));
	EXPECT_EQ(3, module_counter("submitted"));
	EXPECT_EQ(3, module_counter("completed"));
}

/* Programs close 0 to 2, expect the lowest numbers, and exec others. */
TEST(own_descriptor)
{
	const int fd = open_temp(DISK_DIR, 0);
	struct aiocb cb = block_of(fd, buf, PAGE, 0);

	ASSERT_EQ(0, aio_write(&cb));
	ASSERT_EQ((ssize_t)PAGE, result_of(&cb));
	EXPECT_LT(100, kaio_find_fd());
	EXPECT_EQ(FD_CLOEXEC, fcntl(kaio_find_fd(), F_GETFD));
	EXPECT_EQ(fd + 1, open_temp(DISK_DIR, 0));
}

TEST(in_progress)
{
	struct aiocb cb;
	int fds[2];

	empty_pipe(_metadata, fds);
	cb = block_of(fds[0], buf, 5, 0);
	ASSERT_EQ(0, aio_read(&cb));
	EXPECT_EQ(EINPROGRESS, aio_error(&cb));
	ASSERT_EQ(5, write(fds[1], "hello", 5));
	EXPECT_EQ(5, result_of(&cb));
	EXPECT_EQ(0, memcmp(buf, "hello", 5));
}

/* The buffer has its final contents when aio_error() returns the result. */
TEST(buffer_before_error)
{
	const int fd = open_pattern(DISK_DIR, 3, PAGE);
	struct aiocb cb = block_of(fd, buf, PAGE, 0);
	int i;

	for (i = 0; i < 200; i++) {
		memset(buf, 0, PAGE);
		ASSERT_EQ(0, aio_read(&cb));
		while (aio_error(&cb) == EINPROGRESS)
			;
		ASSERT_EQ((ssize_t)PAGE, aio_return(&cb));
		ASSERT_TRUE(is_pattern(buf, PAGE, 3, 0));
	}
}

TEST(return_twice)
{
	const int fd = open_temp(DISK_DIR, 0);
	struct aiocb cb = block_of(fd, buf, 7, 0);

	ASSERT_EQ(0, aio_write(&cb));
	ASSERT_EQ(7, result_of(&cb));
	EXPECT_EQ(7, aio_return(&cb));
	EXPECT_EQ(0, aio_error(&cb));
}

TEST(return_of_failure)
{
	struct aiocb cb = block_of(open_temp(DISK_DIR, 0), buf, 7, -1);

	EXPECT_EQ(EINVAL, error_of_read(&cb));
	EXPECT_EQ(-1, aio_return(&cb));
}

/* Invalid requests: the call fails. */
TEST(priority_below)
{
	struct aiocb cb = block_of(open_temp(DISK_DIR, 0), buf, PAGE, 0);

	cb.aio_reqprio = -1;
	EXPECT_EQ(-1, aio_read(&cb));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(EINVAL, aio_error(&cb));
	EXPECT_EQ(-1, aio_return(&cb));
}

TEST(priority_above)
{
	struct aiocb cb = block_of(open_temp(DISK_DIR, 0), buf, PAGE, 0);

	cb.aio_reqprio = 21;
	EXPECT_EQ(-1, aio_write(&cb));
	EXPECT_EQ(EINVAL, errno);
}

TEST(priority_within)
{
	struct aiocb cb = block_of(open_temp(DISK_DIR, 0), buf, PAGE, 0);

	cb.aio_reqprio = 20;
	ASSERT_EQ(0, aio_write(&cb));
	EXPECT_EQ((ssize_t)PAGE, result_of(&cb));
}

/* Requests that the kernel refuses: the request was queued, and fails. */
TEST(bad_descriptor)
{
	struct aiocb cb = block_of(-1, buf, PAGE, 0);

	EXPECT_EQ(EBADF, error_of_read(&cb));
}

TEST(closed_descriptor)
{
	const int fd = open_temp(DISK_DIR, 0);
	struct aiocb cb = block_of(fd, buf, PAGE, 0);

	close(fd);
	EXPECT_EQ(EBADF, error_of_write(&cb));
}

TEST(read_of_write_only_file)
{
	const int fd = reopen(open_temp(DISK_DIR, 0), O_WRONLY);
	struct aiocb cb = block_of(fd, buf, PAGE, 0);

	EXPECT_EQ(EBADF, error_of_read(&cb));
}

TEST(write_of_read_only_file)
{
	const int fd = reopen(open_temp(DISK_DIR, 0), O_RDONLY);
	struct aiocb cb = block_of(fd, buf, PAGE, 0);

	EXPECT_EQ(EBADF, error_of_write(&cb));
}

TEST(too_many_bytes)
{
	const int fd = open_temp(DISK_DIR, 0);
	struct aiocb cb = block_of(fd, buf, (size_t)SSIZE_MAX + 1, 0);

	EXPECT_EQ(EINVAL, error_of_read(&cb));
}

TEST(directory)
{
	const int fd = open(DISK_DIR, O_RDONLY | O_CLOEXEC);
	struct aiocb cb = block_of(fd, buf, PAGE, 0);

	EXPECT_EQ(EISDIR, error_of_read(&cb));
}

TEST(bad_buffer)
{
	struct aiocb cb = block_of(open_temp(DISK_DIR, 0), NULL, PAGE, 0);

	EXPECT_EQ(EFAULT, error_of_write(&cb));
}

TEST(too_large)
{
	const int fd = open_temp(DISK_DIR, 0);
	struct aiocb cb = block_of(fd, buf, PAGE, PAGE);
	const struct rlimit limit = { PAGE, PAGE };

	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(EFBIG, error_of_write(&cb));
}

TEST(broken_pipe)
{
	struct aiocb cb;
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	empty_pipe(_metadata, fds);
	close(fds[0]);
	cb = block_of(fds[1], buf, 5, 0);
	EXPECT_EQ(EPIPE, error_of_write(&cb));
}

TEST(nonblocking)
{
	struct aiocb cb;
	int fds[2];

	empty_pipe(_metadata, fds);
	ASSERT_EQ(0, fcntl(fds[0], F_SETFL, O_NONBLOCK));
	cb = block_of(fds[0], buf, 5, 0);
	EXPECT_EQ(EAGAIN, error_of_read(&cb));
}

/* Files without offsets ignore the offset. */
static void read_with_offset(struct __test_metadata *const _metadata, const int fds[2])
{
	struct aiocb cb = block_of(fds[0], buf, 5, 12345);

	ASSERT_EQ(0, aio_read(&cb));
	ASSERT_EQ(5, write(fds[1], "hello", 5));
	EXPECT_EQ(5, result_of(&cb));
}

TEST(offset_of_pipe)
{
	int fds[2];

	empty_pipe(_metadata, fds);
	read_with_offset(_metadata, fds);
}

TEST(offset_of_socket)
{
	int fds[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	read_with_offset(_metadata, fds);
}

TEST(offset_of_socket_written)
{
	struct aiocb cb;
	int fds[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	cb = block_of(fds[0], buf, 5, 12345);
	ASSERT_EQ(0, aio_write(&cb));
	EXPECT_EQ(5, result_of(&cb));
	EXPECT_EQ(5, read(fds[1], buf, sizeof(buf)));
}

/*
 * aio_fsync
 */
FIXTURE(syncing)
{
	int file;
	struct aiocb cb;
};

FIXTURE_SETUP(syncing)
{
	self->file = open_temp(DISK_DIR, 0);
	ASSERT_LE(0, self->file);
	self->cb = block_of(self->file, NULL, 0, 0);
}

FIXTURE_TEARDOWN(syncing)
{
}

TEST_F(syncing, all)
{
	ASSERT_EQ(0, aio_fsync(O_SYNC, &self->cb));
	EXPECT_EQ(0, result_of(&self->cb));
	EXPECT_EQ(1, module_counter("submitted"));
}

TEST_F(syncing, data_only)
{
	ASSERT_EQ(0, aio_fsync(O_DSYNC, &self->cb));
	EXPECT_EQ(0, result_of(&self->cb));
	EXPECT_EQ(1, module_counter("submitted"));
}

/* The fields for a read or write are ignored. */
TEST_F(syncing, of_used_block)
{
	self->cb.aio_buf = buf;
	self->cb.aio_nbytes = PAGE;
	self->cb.aio_offset = PAGE;
	self->cb.aio_reqprio = -1;
	ASSERT_EQ(0, aio_fsync(O_SYNC, &self->cb));
	EXPECT_EQ(0, result_of(&self->cb));
}

TEST_F(syncing, invalid_operation)
{
	EXPECT_EQ(-1, aio_fsync(O_RDWR, &self->cb));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(syncing, bad_descriptor)
{
	close(self->file);
	EXPECT_EQ(-1, aio_fsync(O_SYNC, &self->cb));
	EXPECT_EQ(EBADF, errno);
}

TEST_F(syncing, file_that_cannot_be_synced)
{
	int fds[2];

	empty_pipe(_metadata, fds);
	self->cb.aio_fildes = fds[0];
	ASSERT_EQ(0, aio_fsync(O_SYNC, &self->cb));
	EXPECT_EQ(EINVAL, error_of(&self->cb));
}

/* The kernel decides when there is EAGAIN. */
TEST(no_room_in_the_kernel)
{
	struct aiocb cb = block_of(open_temp(DISK_DIR, 0), buf, PAGE, 0);
	FILE *limit = fopen("/proc/sys/fs/kaio-max-nr", "r+");
	long old = 0;

	ASSERT_NE(NULL, limit);
	ASSERT_EQ(1, fscanf(limit, "%ld", &old));
	rewind(limit);
	ASSERT_LT(0, fprintf(limit, "0\n"));
	ASSERT_EQ(0, fflush(limit));
	errno = 0;
	EXPECT_EQ(-1, aio_write(&cb));
	EXPECT_EQ(EAGAIN, errno);
	rewind(limit);
	ASSERT_LT(0, fprintf(limit, "%ld\n", old));
	ASSERT_EQ(0, fclose(limit));
	ASSERT_EQ(0, aio_write(&cb));
	EXPECT_EQ((ssize_t)PAGE, result_of(&cb));
}

TEST(no_descriptor_left)
{
	struct aiocb cb = block_of(open_temp(DISK_DIR, 0), buf, PAGE, 0);
	const struct rlimit limit = { cb.aio_fildes + 1, 1024 };

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(-1, aio_write(&cb));
	EXPECT_EQ(EAGAIN, errno);
}

TEST_HARNESS_MAIN
