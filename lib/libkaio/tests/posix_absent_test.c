// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Without /dev/kaio: ENOSYS, or libc's own functions if KAIO_FALLBACK=1 asks
 * for them; and the report on stderr.
 */
#include <sched.h>
#include <sys/mount.h>

#include "posix_common.h"

static char buf[PAGE];

FIXTURE(absent)
{
	int fd;
	int stderr_pipe[2];
	int stderr_fd;
	struct aiocb cb;
};

FIXTURE_VARIANT(absent)
{
	bool fallback;
	/* The node is there, but it belongs to another device. */
	bool other;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(absent, fails) { false, false };
FIXTURE_VARIANT_ADD(absent, fails_other_device) { false, true };
FIXTURE_VARIANT_ADD(absent, falls_back) { true, false };
FIXTURE_VARIANT_ADD(absent, falls_back_other_device) { true, true };
/* clang-format on */

FIXTURE_SETUP(absent)
{
	self->fd = open_temp(DISK_DIR, 0);
	ASSERT_LE(0, self->fd);
	self->cb = block_of(self->fd, buf, PAGE, 0);
	self->cb.aio_lio_opcode = LIO_WRITE;
	ASSERT_EQ(0, unshare(CLONE_NEWNS));
	ASSERT_EQ(0, variant->other ?
			     mount("/dev/null", KAIO_DEVICE, NULL, MS_BIND, NULL) :
			     mount("none", "/dev", "tmpfs", 0, NULL));
	ASSERT_EQ(0, variant->fallback ? setenv("KAIO_FALLBACK", "1", 1) :
					 unsetenv("KAIO_FALLBACK"));
	ASSERT_EQ(0, pipe2(self->stderr_pipe, O_CLOEXEC | O_NONBLOCK));
	self->stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	ASSERT_EQ(STDERR_FILENO, dup2(self->stderr_pipe[1], STDERR_FILENO));
}

FIXTURE_TEARDOWN(absent)
{
	dup2(self->stderr_fd, STDERR_FILENO);
	if (variant->other)
		umount(KAIO_DEVICE);
	else
		umount("/dev");
}

#define expect_answer(call)						\
	do {								\
		errno = 0;						\
		if (variant->fallback) {				\
			ASSERT_EQ(0, call);				\
			EXPECT_EQ(0, error_of(&self->cb));		\
		} else {						\
			EXPECT_EQ(-1, call);				\
			EXPECT_EQ(ENOSYS, errno);			\
		}							\
	} while (0)

TEST_F(absent, write)
{
	expect_answer(aio_write(&self->cb));
	EXPECT_EQ(variant->fallback ? 0 : ENOSYS, aio_error(&self->cb));
	EXPECT_EQ(variant->fallback ? (ssize_t)PAGE : -1, aio_return(&self->cb));
}

TEST_F(absent, read)
{
	expect_answer(aio_read(&self->cb));
}

TEST_F(absent, fsync)
{
	expect_answer(aio_fsync(O_SYNC, &self->cb));
}

TEST_F(absent, list)
{
	struct aiocb *list[] = { &self->cb };

	expect_answer(lio_listio(LIO_WAIT, list, 1, NULL));
}

/* libc gets the arguments of an aio_init() that came before the decision. */
TEST_F(absent, init)
{
	const struct aioinit init = { .aio_threads = 1, .aio_num = 1, .aio_idle_time = 20 };
	struct aiocb other;
	int fds[2][2];

	aio_init(&init);
	if (!variant->fallback) {
		expect_answer(aio_write(&self->cb));
		return;
	}
	empty_pipe(_metadata, fds[0]);
	empty_pipe(_metadata, fds[1]);
	self->cb = block_of(fds[0][0], buf, 5, 0);
	other = block_of(fds[1][0], buf + 5, 5, 0);
	ASSERT_EQ(0, aio_read(&self->cb));
	ASSERT_EQ(0, aio_read(&other));
	/* Without aio_init(), libc would have made a thread for each. */
	EXPECT_EQ(2, threads());
	ASSERT_EQ(5, write(fds[0][1], "hello", 5));
	ASSERT_EQ(5, write(fds[1][1], "world", 5));
	EXPECT_EQ(5, result_of(&self->cb));
	EXPECT_EQ(5, result_of(&other));
}

/* The other functions follow the decision as well. */
TEST_F(absent, suspend_and_cancel)
{
	const struct aiocb *list[] = { &self->cb };
	int fds[2];

	empty_pipe(_metadata, fds);
	self->cb.aio_fildes = fds[0];
	if (!variant->fallback) {
		EXPECT_EQ(AIO_ALLDONE, aio_cancel(fds[0], NULL));
		return;
	}
	ASSERT_EQ(0, aio_read(&self->cb));
	ASSERT_EQ(5, write(fds[1], "hello", 5));
	ASSERT_EQ(0, aio_suspend(list, 1, &patience));
	EXPECT_EQ(5, aio_return(&self->cb));
	EXPECT_EQ(AIO_ALLDONE, aio_cancel(fds[0], &self->cb));
}

/* The report comes once and names the remedy. */
TEST_F(absent, reported_once)
{
	char text[2 * PAGE];
	ssize_t n;
	int i, lines = 0;

	for (i = 0; i < 3; i++)
		expect_answer(aio_write(&self->cb));
	n = read(self->stderr_pipe[0], text, sizeof(text) - 1);
	ASSERT_LT(0, n);
	text[n] = 0;
	for (i = 0; i < n; i++)
		lines += text[i] == '\n';
	EXPECT_EQ(1, lines);
	EXPECT_NE(NULL, strstr(text, KAIO_DEVICE));
	EXPECT_EQ(!variant->fallback, !!strstr(text, "KAIO_FALLBACK=1"));
}

TEST_HARNESS_MAIN
