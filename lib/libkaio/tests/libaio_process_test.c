// SPDX-License-Identifier: LGPL-2.1-or-later
/* fork, exec, closed descriptors, and a system without the device. */
#include <sched.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "libaio_fixture.h"

/* Sends a request through a context. Returns 0, or the step that failed. */
static int use(io_context_t ctx)
{
	struct io_event event;
	struct iocb iocb;
	int fds[2];

	if (pipe(fds))
		return 2;
	if (submit_ready(ctx, &iocb, 1, fds[1]) != 1)
		return 3;
	if (io_getevents(ctx, 1, 1, &event, &patience) != 1)
		return 4;
	return event.data == &iocb ? 0 : 5;
}

static int use_new_context(void)
{
	io_context_t ctx = NULL;
	int ret = io_setup(4, &ctx);

	if (ret)
		return 1;
	ret = use(ctx);
	return io_destroy(ctx) ? 6 : ret;
}

/*
 * Called by both processes after a fork, with its result: the child uses a context
 * of its own. Returns the status of the child.
 */
static int child_uses_new_context(pid_t pid)
{
	if (!pid)
		_exit(use_new_context());
	return join(pid);
}

TEST_F(aio, a_child_has_none_of_its_parents_contexts)
{
	pid_t pid = fork();

	if (!pid) {
		struct io_event event;
		int bad = 0;

		bad |= io_submit(self->ctx, 0, NULL) != -EINVAL;
		bad |= (io_getevents(self->ctx, 0, 1, &event, &no_time) != -EINVAL) << 1;
		bad |= (io_getevents(self->ctx, 1, 1, &event, NULL) != -EINVAL) << 2;
		bad |= (io_cancel(self->ctx, &self->iocb, &event) != -EINVAL) << 3;
		bad |= (io_destroy(self->ctx) != -EINVAL) << 4;
		_exit(bad);
	}
	EXPECT_EQ(join(pid), 0);
	EXPECT_EQ(use(self->ctx), 0);
}

TEST_F(aio, a_child_sets_up_its_own_context)
{
	EXPECT_EQ(child_uses_new_context(fork()), 0);
	EXPECT_EQ(use(self->ctx), 0);
}

/* The fork is not libc's, and no handler of pthread_atfork() runs. */
TEST_F(aio, a_child_of_a_raw_fork_sets_up_its_own_context)
{
	EXPECT_EQ(child_uses_new_context(RAW_FORK()), 0);
}

/*
 * A child has its context at the address of its parent's, which forked later.
 */
TEST_F(aio, a_grandchild_sets_up_its_own_context)
{
	pid_t pid = fork();

	if (!pid) {
		int ret = use_new_context();
		int status = child_uses_new_context(fork());

		_exit(ret ? ret : status != 0);
	}
	EXPECT_EQ(join(pid), 0);
}

static atomic_bool over;

static void *churn(void *arg)
{
	struct io_event event;

	while (!over)
		io_getevents(arg, 0, 1, &event, &no_time);
	return NULL;
}

/*
 * A lock that another thread of the parent holds must not be held in the child.
 */
TEST_F(aio, a_fork_while_threads_take_events)
{
	pthread_t thread;
	int i;

	ASSERT_EQ(pthread_create(&thread, NULL, churn, self->ctx), 0);
	for (i = 0; i < 50; i++) {
		pid_t pid = fork();

		if (!pid) {
			alarm(20);
			_exit(use_new_context());
		}
		ASSERT_EQ(join(pid), 0);
	}
	over = true;
	ASSERT_EQ(pthread_join(thread, NULL), 0);
}

TEST_F(aio, vfork_and_exec_leave_the_parent_alone)
{
	char program[] = "/bin/busybox", arg[] = "true";
	char *argv[] = { program, arg, NULL }, *envp[] = { NULL };
	pid_t pid;

	ASSERT_EQ(posix_spawn(&pid, program, NULL, NULL, argv, envp), 0);
	EXPECT_EQ(join(pid), 0);
	EXPECT_EQ(use(self->ctx), 0);
}

TEST_F(aio, the_descriptor_is_high_and_closed_by_exec)
{
	int fd = kaio_find_fd();

	ASSERT_GE(fd, 0);
	EXPECT_GE(fd, 512);
	EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

TEST_F(aio, there_is_one_descriptor)
{
	io_context_t ctx = NULL;

	ASSERT_EQ(io_setup(1, &ctx), 0);
	EXPECT_EQ(kaio_count(NULL), 1);
	EXPECT_EQ(kaio_count("contexts"), 2);
	EXPECT_EQ(io_destroy(ctx), 0);
}

/*
 * Each process has one descriptor of the device, however many forks came
 * before.
 */
TEST_F(aio, each_generation_of_forks_has_one_descriptor)
{
	int generation, status;
	pid_t pid;

	for (generation = 0; generation < 5; generation++) {
		pid = fork();
		if (pid) {
			status = join(pid);
			if (!generation)
				break;
			_exit(status ? 1 : 0);
		}
		if (use_new_context() || kaio_count(NULL) != 1)
			_exit(2);
	}
	if (generation == 5)
		_exit(0);
	EXPECT_EQ(status, 0);
	/* The parent's context still works. */
	EXPECT_EQ(use(self->ctx), 0);
}

/* A program that cannot find the device's node after chroot() uses AIO. */
static int in_chroot(void)
{
	char dir[] = "/tmp/emptyXXXXXX";
	pid_t pid;

	if (!mkdtemp(dir) || chroot(dir) || chdir("/"))
		return 10;
	if (use_new_context())
		return 11;
	pid = fork();
	if (!pid)
		_exit(use_new_context());
	return join(pid) ? 12 : 0;
}

static void __attribute__((constructor)) start_in_chroot(void)
{
	if (getenv("TEST_IN_CHROOT"))
		_exit(in_chroot());
}

TEST(early_open_works_in_a_chroot)
{
	EXPECT_EQ(join(kaio_exec_in_chroot("1")), 0);
}

TEST(late_open_fails_in_a_chroot)
{
	EXPECT_EQ(join(kaio_exec_in_chroot("0")), 11 << 8);
}

/*
 * The user can ask for native AIO's limit; otherwise only kaio's own limits
 * apply.
 */
TEST(native_limit)
{
	FILE *file = fopen("/proc/sys/fs/aio-max-nr", "r+");
	unsigned int before;
	io_context_t ctx = NULL;

	ASSERT_NE(file, NULL);
	ASSERT_EQ(fscanf(file, "%u", &before), 1);
	rewind(file);
	ASSERT_LT(0, fprintf(file, "100\n"));
	ASSERT_EQ(fflush(file), 0);
	EXPECT_EQ(io_setup(101, &ctx), 0);
	EXPECT_EQ(io_destroy(ctx), 0);
	ctx = NULL;
	ASSERT_EQ(setenv("KAIO_NATIVE_LIMIT", "1", 1), 0);
	EXPECT_EQ(io_setup(101, &ctx), -EAGAIN);
	EXPECT_EQ(ctx, NULL);
	EXPECT_EQ(io_setup(100, &ctx), 0);
	EXPECT_EQ(io_destroy(ctx), 0);
	rewind(file);
	ASSERT_LT(0, fprintf(file, "%u\n", before));
	fclose(file);
}

TEST(the_device_is_opened_at_first_use)
{
	EXPECT_EQ(kaio_count(NULL), 0);
}

/*
 * Daemons close all descriptors. The library notices that when it calls the
 * kernel.
 */
TEST_F(aio, closing_all_descriptors_ends_the_contexts)
{
	struct io_event event;
	io_context_t ctx = self->ctx;

	self->ctx = NULL;
	ASSERT_EQ(close_range(3, ~0U, 0), 0);
	EXPECT_EQ(io_submit(ctx, 0, NULL), -EINVAL);
	EXPECT_EQ(io_getevents(ctx, 1, 1, &event, &patience), -EINVAL);
	EXPECT_EQ(use_new_context(), 0);
}

/*
 * With a mask the library calls the kernel before it looks into the ring, which
 * is gone.
 */
TEST_F(aio, closing_all_descriptors_and_pgetevents)
{
	struct io_event event;
	io_context_t ctx = self->ctx;
	sigset_t open;

	sigemptyset(&open);
	self->ctx = NULL;
	ASSERT_EQ(close_range(3, ~0U, 0), 0);
	EXPECT_EQ(io_pgetevents(ctx, 1, 1, &event, &patience, &open), -EINVAL);
	EXPECT_EQ(use_new_context(), 0);
}

/* The first call after the close takes events, which needs no system call. */
TEST_F(aio, closing_all_descriptors_and_getevents_first)
{
	struct timespec no_time = {};
	struct io_event event;
	io_context_t ctx = self->ctx;

	self->ctx = NULL;
	ASSERT_EQ(close_range(3, ~0U, 0), 0);
	EXPECT_EQ(io_getevents(ctx, 0, 1, &event, &no_time), -EINVAL);
	EXPECT_EQ(use_new_context(), 0);
}

TEST_F(aio, closing_all_descriptors_and_waiting)
{
	struct io_event event;
	io_context_t ctx = self->ctx;

	self->ctx = NULL;
	ASSERT_EQ(close_range(3, ~0U, 0), 0);
	EXPECT_EQ(io_getevents(ctx, 1, 1, &event, NULL), -EINVAL);
	EXPECT_EQ(use_new_context(), 0);
}

/* An event that was in the ring is lost with the context. */
TEST_F(aio, closing_all_descriptors_loses_events)
{
	struct timespec no_time = {};
	struct io_event event;
	io_context_t ctx = self->ctx;
	int fds[2];
	struct iocb iocb, *iocbs[] = { &iocb };

	self->ctx = NULL;
	ASSERT_EQ(pipe(fds), 0);
	io_prep_poll(&iocb, fds[1], POLLOUT);
	ASSERT_EQ(io_submit(ctx, 1, iocbs), 1);
	ASSERT_EQ(close_range(3, ~0U, 0), 0);
	EXPECT_EQ(io_getevents(ctx, 1, 1, &event, &no_time), -EINVAL);
	EXPECT_EQ(io_cancel(ctx, &iocb, &event), -EINVAL);
	EXPECT_EQ(io_destroy(ctx), -EINVAL);
	EXPECT_EQ(use_new_context(), 0);
}

/*
 * Two threads notice that the context is gone. The second one must leave alone
 * what the first one has made since then.
 */
#define CLOSINGS 300

static pthread_barrier_t barrier;
static io_context_t lost;

static void *find_out_and_begin_anew(void *arg)
{
	long *where = arg;
	int i, ret;

	for (i = 0; i < CLOSINGS; i++) {
		io_context_t ctx = NULL;

		pthread_barrier_wait(&barrier);
		ret = io_submit(lost, 0, NULL);
		/*
		 * The call returns 0 if the other thread's new context has the
		 * same id.
		 */
		if (ret && ret != -EINVAL)
			*where = ret;
		ret = io_setup(4, &ctx);
		if (!ret)
			ret = use(ctx);
		if (!ret && io_destroy(ctx))
			ret = 6;
		if (ret)
			*where = ret;
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

TEST(threads_notice_a_closed_device_together)
{
	long where[2] = {};
	pthread_t thread[2];
	int i;

	ASSERT_EQ(pthread_barrier_init(&barrier, NULL, 3), 0);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(pthread_create(&thread[i], NULL, find_out_and_begin_anew, &where[i]), 0);
	for (i = 0; i < CLOSINGS; i++) {
		lost = NULL;
		ASSERT_EQ(io_setup(4, &lost), 0);
		ASSERT_EQ(close_range(3, ~0U, 0), 0);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
	}
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(pthread_join(thread[i], NULL), 0);
		EXPECT_EQ(where[i], 0);
	}
}

TEST_F(aio, another_file_at_the_descriptors_number)
{
	int fd = kaio_find_fd(), null = open("/dev/null", O_RDWR);
	struct io_event event;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(dup2(null, fd), fd);
	EXPECT_EQ(io_submit(self->ctx, 0, NULL), -EINVAL);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, &event, &patience), -EINVAL);
	self->ctx = NULL;
	EXPECT_EQ(use_new_context(), 0);
	EXPECT_EQ(fcntl(fd, F_GETFD), 0);
}

TEST_F(aio, a_bad_descriptor_of_a_request_keeps_the_device)
{
	struct iocb *iocb = &self->iocb;

	io_prep_pread(iocb, 4711, self->buf, 1, 0);
	EXPECT_EQ(io_submit(self->ctx, 1, &iocb), -EBADF);
	EXPECT_EQ(use(self->ctx), 0);
}

/*
 * Runs @body in a process of its own, and stores its output on stderr to
 * @output.
 */
#define RUN_IN_CHILD(output, body) ({					\
	int _fds[2];							\
	pid_t _pid;							\
	ssize_t _len;							\
	size_t _all = 0;						\
									\
	ASSERT_EQ(pipe(_fds), 0);					\
	_pid = fork();							\
	if (!_pid) {							\
		dup2(_fds[1], STDERR_FILENO);				\
		_exit(body);						\
	}								\
	close(_fds[1]);							\
	while ((_len = read(_fds[0], output + _all, sizeof(output) - 1 - _all)) > 0) \
		_all += _len;						\
	output[_all] = 0;						\
	join(_pid);							\
})

/* Hides /dev/kaio from this process and its children. */
static int hide_device(void)
{
	return unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	       mount("tmpfs", "/dev", "tmpfs", 0, NULL);
}

static int setup_twice(int want)
{
	io_context_t ctx = NULL;

	if (io_setup(1, &ctx) != want || io_setup(1, &ctx) != want)
		return 1;
	return ctx ? 2 : 0;
}

static int count(const char *text, const char *what)
{
	int n = 0;

	while ((text = strstr(text, what))) {
		text += strlen(what);
		n++;
	}
	return n;
}

TEST(without_the_device_setup_is_enosys_and_reports_once)
{
	char output[1024];

	EXPECT_EQ(RUN_IN_CHILD(output, hide_device() || setup_twice(-ENOSYS)), 0);
	EXPECT_EQ(count(output, "\n"), 1) TH_LOG("stderr: %s", output);
	EXPECT_EQ(count(output, "/dev/kaio is not there"), 1);
	EXPECT_EQ(count(output, "modprobe kaio"), 1);
	EXPECT_EQ(count(output, "KAIO_FALLBACK"), 1);
}

/*
 * A program that has closed its standard error may use descriptor 2 for its
 * data.
 */
TEST(no_report_into_a_file_of_the_program)
{
	FILE *data = tmpfile();
	pid_t pid;

	ASSERT_NE(data, NULL);
	pid = fork();
	if (!pid) {
		close(STDERR_FILENO);
		if (dup(fileno(data)) != STDERR_FILENO)
			_exit(9);
		_exit(hide_device() || setup_twice(-ENOSYS));
	}
	EXPECT_EQ(join(pid), 0);
	EXPECT_EQ(lseek(fileno(data), 0, SEEK_END), 0);
}

TEST(no_report_into_a_connection_of_the_program)
{
	int fds[2];
	char c;
	pid_t pid;

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	pid = fork();
	if (!pid) {
		close(STDERR_FILENO);
		if (dup(fds[1]) != STDERR_FILENO)
			_exit(9);
		_exit(hide_device() || setup_twice(-ENOSYS));
	}
	EXPECT_EQ(join(pid), 0);
	EXPECT_EQ(recv(fds[0], &c, 1, MSG_DONTWAIT), -1);
}

TEST(without_the_device_there_is_no_context)
{
	struct io_event event;
	char output[1024];

	EXPECT_EQ(RUN_IN_CHILD(output, hide_device() ||
			       io_submit((io_context_t)8, 0, NULL) != -EINVAL ||
			       io_getevents((io_context_t)8, 1, 1, &event, NULL) != -EINVAL), 0);
	EXPECT_STREQ(output, "");
}

TEST(a_device_that_may_not_be_opened_is_eacces)
{
	char output[1024];
	struct stat st;

	ASSERT_EQ(stat("/dev/kaio", &st), 0);
	ASSERT_EQ(chmod("/dev/kaio", 0600), 0);
	EXPECT_EQ(RUN_IN_CHILD(output, setuid(65534) || setup_twice(-EACCES)), 0);
	ASSERT_EQ(chmod("/dev/kaio", st.st_mode & 07777), 0);
	EXPECT_EQ(count(output, "may not be opened"), 1) TH_LOG("stderr: %s", output);
}

TEST(fallback_uses_native_aio_and_reports_once)
{
	char output[1024];

	ASSERT_EQ(setenv("KAIO_FALLBACK", "1", 1), 0);
	EXPECT_EQ(RUN_IN_CHILD(output, hide_device() || use_new_context() || use_new_context()), 0);
	EXPECT_EQ(count(output, "\n"), 1) TH_LOG("stderr: %s", output);
	EXPECT_EQ(count(output, "using the kernel's own AIO"), 1);
}

TEST(fallback_does_not_replace_a_device)
{
	char output[1024];

	ASSERT_EQ(setenv("KAIO_FALLBACK", "1", 1), 0);
	EXPECT_EQ(RUN_IN_CHILD(output, use_new_context() || kaio_count("submitted") != 1), 0);
	EXPECT_STREQ(output, "");
}

/*
 * The program gets an error if descriptors have run out: native AIO would hide
 * it.
 */
TEST(without_descriptors_there_is_no_fallback)
{
	struct rlimit none = { 3, 3 };
	char output[1024];

	ASSERT_EQ(setenv("KAIO_FALLBACK", "1", 1), 0);
	EXPECT_EQ(RUN_IN_CHILD(output, close_range(3, ~0U, 0) || setrlimit(RLIMIT_NOFILE, &none) ||
			       setup_twice(-EMFILE)), 0);
	EXPECT_STREQ(output, "");
}

TEST_HARNESS_MAIN
