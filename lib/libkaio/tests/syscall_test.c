// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * syscall(): AIO's numbers go to the module, all others unchanged to the
 * kernel.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "drop.h"
#include "kselftest_harness.h"

#define PAGE	4096

static struct timespec patience = { .tv_sec = 20 };

/* The last argument of io_pgetevents(2). */
struct sig {
	const sigset_t *mask;
	size_t size;
};

FIXTURE(raw)
{
	aio_context_t ctx;
	int pipe[2];
	struct iocb iocb;
	struct iocb *list[1];
	struct io_event event;
};

FIXTURE_SETUP(raw)
{
	self->ctx = 0;
	self->list[0] = &self->iocb;
	ASSERT_EQ(pipe(self->pipe), 0);
	ASSERT_EQ(syscall(SYS_io_setup, 4, &self->ctx), 0);
}

FIXTURE_TEARDOWN(raw)
{
	if (self->ctx)
		EXPECT_EQ(syscall(SYS_io_destroy, self->ctx), 0);
}

static struct iocb poll_of(int fd, int events)
{
	return (struct iocb) {
		.aio_lio_opcode = IOCB_CMD_POLL,
		.aio_fildes = fd,
		.aio_buf = events,
		.aio_data = 4711,
	};
}

/* Submits a POLL that completes at once. */
static void submit_ready(struct __test_metadata *const _metadata, FIXTURE_DATA(raw) *self)
{
	self->iocb = poll_of(self->pipe[1], POLLOUT);
	ASSERT_EQ(syscall(SYS_io_submit, self->ctx, 1L, self->list), 1);
}

TEST_F(raw, requests_reach_the_module)
{
	submit_ready(_metadata, self);
	ASSERT_EQ(syscall(SYS_io_getevents, self->ctx, 1L, 1L, &self->event, &patience), 1);
	EXPECT_EQ(self->event.data, 4711);
	EXPECT_EQ(kaio_count("submitted"), 1);
}

TEST_F(raw, pgetevents_reads_the_mask_pointer)
{
	sigset_t open;
	struct sig sig = { &open, 8 };

	sigemptyset(&open);
	submit_ready(_metadata, self);
	ASSERT_EQ(syscall(SYS_io_pgetevents, self->ctx, 1L, 1L, &self->event, &patience, &sig), 1);
	ASSERT_EQ(syscall(SYS_io_submit, self->ctx, 1L, self->list), 1);
	ASSERT_EQ(syscall(SYS_io_pgetevents, self->ctx, 1L, 1L, &self->event, &patience, NULL), 1);
	EXPECT_EQ(self->event.data, 4711);
}

TEST_F(raw, pgetevents_of_a_bad_mask)
{
	sigset_t open;
	struct sig short_one = { &open, 4 };

	sigemptyset(&open);
	EXPECT_EQ(syscall(SYS_io_pgetevents, self->ctx, 0L, 1L, &self->event, &patience, (void *)8),
		  -1);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(syscall(SYS_io_pgetevents, self->ctx, 0L, 1L, &self->event, &patience, &short_one),
		  -1);
	EXPECT_EQ(errno, EINVAL);
}

/* As with native AIO, the call returns the error and takes no event. */
TEST_F(raw, pgetevents_of_a_bad_mask_takes_nothing)
{
	struct sig bad = { (void *)8, 8 };

	submit_ready(_metadata, self);
	EXPECT_EQ(syscall(SYS_io_pgetevents, self->ctx, 1L, 1L, &self->event, &patience, &bad), -1);
	EXPECT_EQ(errno, EFAULT);
	ASSERT_EQ(syscall(SYS_io_getevents, self->ctx, 1L, 1L, &self->event, &patience), 1);
	EXPECT_EQ(self->event.data, 4711);
}

TEST_F(raw, pgetevents_of_a_mask_of_bad_size_takes_nothing)
{
	sigset_t open;
	struct sig short_one = { &open, 4 };

	sigemptyset(&open);
	submit_ready(_metadata, self);
	EXPECT_EQ(syscall(SYS_io_pgetevents, self->ctx, 1L, 1L, &self->event, &patience, &short_one),
		  -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(syscall(SYS_io_getevents, self->ctx, 1L, 1L, &self->event, &patience), 1);
}

TEST_F(raw, cancel_returns_einprogress)
{
	self->iocb = poll_of(self->pipe[0], POLLIN);
	ASSERT_EQ(syscall(SYS_io_submit, self->ctx, 1L, self->list), 1);
	EXPECT_EQ(syscall(SYS_io_cancel, self->ctx, &self->iocb, &self->event), -1);
	EXPECT_EQ(errno, EINPROGRESS);
	EXPECT_EQ(syscall(SYS_io_getevents, self->ctx, 1L, 1L, &self->event, &patience), 1);
}

TEST_F(raw, errors_are_in_errno)
{
	EXPECT_EQ(syscall(SYS_io_setup, 0, &self->ctx), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(syscall(SYS_io_setup, 1, NULL), -1);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(syscall(SYS_io_submit, 8L, 1L, self->list), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(syscall(SYS_io_destroy, 8L), -1);
	EXPECT_EQ(errno, EINVAL);
}

TEST(other_calls_go_to_the_kernel)
{
	char buf[4] = "abc", path[] = "/proc/self/no-such-file";
	struct iovec iov = { buf, 3 };
	int fds[2];

	EXPECT_EQ(syscall(SYS_getpid), getpid());
	EXPECT_EQ(syscall(SYS_getppid), getppid());
	EXPECT_EQ(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY), -1);
	EXPECT_EQ(errno, ENOENT);
	EXPECT_EQ(syscall(100000), -1);
	EXPECT_EQ(errno, ENOSYS);
	ASSERT_EQ(pipe(fds), 0);
	EXPECT_EQ(syscall(SYS_writev, fds[1], &iov, 1), 3);
	EXPECT_EQ(syscall(SYS_read, fds[0], buf, 4), 3);
}

TEST(success_does_not_change_errno)
{
	errno = 4711;
	EXPECT_EQ(syscall(SYS_getpid), getpid());
	EXPECT_EQ(errno, 4711);
}

/* The sixth argument selects the third page of a file with four pages. */
TEST(all_six_arguments_are_passed)
{
	char path[] = "six.XXXXXX", *page;
	int fd = mkstemp(path), i;

	ASSERT_GE(fd, 0);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(pwrite(fd, &(char){ '0' + i }, 1, i * PAGE), 1);
	page = (char *)syscall(SYS_mmap, NULL, (size_t)PAGE, PROT_READ, MAP_PRIVATE, fd, 2L * PAGE);
	ASSERT_NE(page, MAP_FAILED);
	EXPECT_EQ(*page, '2');
	unlink(path);
}

/*
 * An address with all bits set in its upper half is no error: only -4095 to -1
 * are.
 */
TEST(large_results_are_no_errors)
{
	int fd = memfd_create("large", 0);
	off_t far = INT64_MAX;

	ASSERT_GE(fd, 0);
	EXPECT_EQ(syscall(SYS_lseek, fd, far, SEEK_SET), far);
}

static int join(pid_t pid)
{
	int status = -1;

	return waitpid(pid, &status, 0) == pid ? status : -1;
}

TEST(fork_returns_twice)
{
	pid_t pid = RAW_FORK();

	if (!pid)
		_exit(0);
	ASSERT_GT(pid, 0);
	EXPECT_EQ(join(pid), 0);
}

/* Overwrites the stack below its caller's frame, and ends the process. */
static void __attribute__((noinline)) overwrite_stack_and_exit(int status)
{
	volatile char waste[2048];
	size_t i;

	for (i = 0; i < sizeof(waste); i++)
		waste[i] = 0x55;
	syscall(SYS_exit, status);
}

/* The child returns first, on its parent's stack, and calls other functions. */
TEST(vfork_returns_twice_on_one_stack)
{
	pid_t pid = RAW_VFORK();

	if (!pid)
		overwrite_stack_and_exit(3);
	ASSERT_GT(pid, 0);
	EXPECT_EQ(join(pid), 3 << 8);
}

TEST(clone_that_shares_the_stack_returns_twice)
{
	pid_t pid = syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, 0L);

	if (!pid)
		overwrite_stack_and_exit(4);
	ASSERT_GT(pid, 0);
	EXPECT_EQ(join(pid), 4 << 8);
}

TEST(a_clone_that_fails_sets_errno)
{
	pid_t pid = syscall(SYS_clone, CLONE_THREAD | SIGCHLD, NULL, NULL, NULL, 0L);

	EXPECT_EQ(pid, -1);
	EXPECT_EQ(errno, EINVAL);
}

/*
 * Uses syscall() in a program in which another library's syscall() is preloaded
 * after libkaio's.
 */
static int use_next_syscall(void)
{
	aio_context_t ctx = 0;
	long *calls = dlsym(RTLD_DEFAULT, "next_calls");

	if (!calls)
		return 10;
	if (syscall(SYS_getpid) != getpid() || *calls != 1)
		return 11;
	if (syscall(SYS_close, -1) != -1 || errno != EBADF || *calls != 2)
		return 12;
	/* AIO's numbers do not reach the other syscall(). */
	if (syscall(SYS_io_setup, 1, &ctx) || kaio_count("contexts") != 1)
		return 13;
	return *calls != 2;
}

static void __attribute__((constructor)) start_with_next_syscall(void)
{
	if (getenv("TEST_WITH_NEXT_SYSCALL"))
		_exit(use_next_syscall());
}

TEST(the_next_syscall_gets_other_numbers)
{
	const char *ours = getenv("LD_PRELOAD");
	char both[256], folder[200];
	pid_t pid;

	ASSERT_NE(ours, NULL);
	snprintf(folder, sizeof(folder), "%s", ours);
	*strrchr(folder, '/') = 0;
	snprintf(both, sizeof(both), "%s:%s/next_syscall.so", ours, folder);
	pid = fork();
	if (!pid) {
		setenv("LD_PRELOAD", both, 1);
		setenv("TEST_WITH_NEXT_SYSCALL", "1", 1);
		execl("/proc/self/exe", "self", NULL);
		_exit(1);
	}
	EXPECT_EQ(join(pid), 0);
}

TEST_F(raw, a_child_of_vfork_shares_the_contexts)
{
	pid_t pid = RAW_VFORK();

	if (!pid)
		syscall(SYS_exit, syscall(SYS_io_submit, self->ctx, 0L, self->list) != 0);
	EXPECT_EQ(join(pid), 0);
}

TEST_HARNESS_MAIN
