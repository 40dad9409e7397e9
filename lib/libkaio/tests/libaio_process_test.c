// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * fork, exec, closed descriptors; and a system without the device.
 */
#include <sched.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "libaio_fixture.h"

/* A context works: a request goes through it. Says where it failed. */
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

static int use_a_new_one(void)
{
	io_context_t ctx = NULL;
	int ret = io_setup(4, &ctx);

	if (ret)
		return 1;
	ret = use(ctx);
	return io_destroy(ctx) ? 6 : ret;
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

TEST_F(aio, a_child_sets_up_its_own)
{
	pid_t pid = fork();

	if (!pid)
		_exit(use_a_new_one());
	EXPECT_EQ(join(pid), 0);
	EXPECT_EQ(use(self->ctx), 0);
}

/* Not by libc's fork(), and no handler of pthread_atfork() runs. */
TEST_F(aio, a_child_of_a_raw_fork_sets_up_its_own)
{
	pid_t pid = syscall(SYS_fork);

	if (!pid)
		_exit(use_a_new_one());
	EXPECT_EQ(join(pid), 0);
}

/* A child that has its context at the address of its parent's, which forked later. */
TEST_F(aio, a_grandchild_sets_up_its_own)
{
	pid_t pid = fork();

	if (!pid) {
		int ret = use_a_new_one();

		pid = fork();
		if (!pid)
			_exit(use_a_new_one());
		_exit(ret ? ret : join(pid) != 0);
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

/* What another thread had locked must not be locked in the child. */
TEST_F(aio, a_fork_while_others_take_events)
{
	pthread_t thread;
	int i;

	ASSERT_EQ(pthread_create(&thread, NULL, churn, self->ctx), 0);
	for (i = 0; i < 50; i++) {
		pid_t pid = fork();

		if (!pid) {
			alarm(20);
			_exit(use_a_new_one());
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

TEST_F(aio, the_descriptor_is_out_of_the_way_and_closed_by_exec)
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

TEST(nothing_is_opened_before_it_is_needed)
{
	EXPECT_EQ(kaio_count(NULL), 0);
}

/* Daemons do. That it happened shows when the kernel is asked for something. */
TEST_F(aio, a_program_that_closes_everything_begins_anew)
{
	struct io_event event;
	io_context_t ctx = self->ctx;

	self->ctx = NULL;
	ASSERT_EQ(close_range(3, ~0U, 0), 0);
	EXPECT_EQ(io_submit(ctx, 0, NULL), -EINVAL);
	EXPECT_EQ(io_getevents(ctx, 1, 1, &event, &patience), -EINVAL);
	EXPECT_EQ(use_a_new_one(), 0);
}

/* Who has a mask asks the kernel before it looks at the ring, which is gone. */
TEST_F(aio, a_program_that_closed_everything_has_no_events)
{
	struct io_event event;
	io_context_t ctx = self->ctx;
	sigset_t open;

	sigemptyset(&open);
	self->ctx = NULL;
	ASSERT_EQ(close_range(3, ~0U, 0), 0);
	EXPECT_EQ(io_pgetevents(ctx, 1, 1, &event, &patience, &open), -EINVAL);
	EXPECT_EQ(use_a_new_one(), 0);
}

/*
 * Two threads find out that the context is gone; what the first one has made
 * since then the second one leaves alone.
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
		/* 0: the other thread's new one has the same id already. */
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

TEST(threads_that_find_out_together)
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

TEST_F(aio, another_file_with_the_descriptors_number)
{
	int fd = kaio_find_fd(), null = open("/dev/null", O_RDWR);
	struct io_event event;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(dup2(null, fd), fd);
	EXPECT_EQ(io_submit(self->ctx, 0, NULL), -EINVAL);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, &event, &patience), -EINVAL);
	self->ctx = NULL;
	EXPECT_EQ(use_a_new_one(), 0);
	EXPECT_EQ(fcntl(fd, F_GETFD), 0);
}

TEST_F(aio, the_submitters_bad_descriptor_is_his)
{
	struct iocb *iocb = &self->iocb;

	io_prep_pread(iocb, 4711, self->buf, 1, 0);
	EXPECT_EQ(io_submit(self->ctx, 1, &iocb), -EBADF);
	EXPECT_EQ(use(self->ctx), 0);
}

/* Runs @body in a process of its own; what it says on stderr comes to @said. */
#define APART(said, body) ({						\
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
	while ((_len = read(_fds[0], said + _all, sizeof(said) - 1 - _all)) > 0) \
		_all += _len;						\
	said[_all] = 0;							\
	join(_pid);							\
})

/* For this process and its children there is no /dev/kaio. */
static int hide(void)
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

TEST(without_the_device_setup_is_enosys_and_says_why_once)
{
	char said[1024];

	EXPECT_EQ(APART(said, hide() || setup_twice(-ENOSYS)), 0);
	EXPECT_EQ(count(said, "\n"), 1) TH_LOG("it said: %s", said);
	EXPECT_EQ(count(said, "/dev/kaio is not there"), 1);
	EXPECT_EQ(count(said, "modprobe kaio"), 1);
	EXPECT_EQ(count(said, "KAIO_FALLBACK"), 1);
}

TEST(without_the_device_there_is_no_context)
{
	struct io_event event;
	char said[1024];

	EXPECT_EQ(APART(said, hide() || io_submit((io_context_t)8, 0, NULL) != -EINVAL ||
			io_getevents((io_context_t)8, 1, 1, &event, NULL) != -EINVAL), 0);
	EXPECT_STREQ(said, "");
}

TEST(a_device_that_may_not_be_opened_is_eacces)
{
	char said[1024];
	struct stat st;

	ASSERT_EQ(stat("/dev/kaio", &st), 0);
	ASSERT_EQ(chmod("/dev/kaio", 0600), 0);
	EXPECT_EQ(APART(said, setuid(65534) || setup_twice(-EACCES)), 0);
	ASSERT_EQ(chmod("/dev/kaio", st.st_mode & 07777), 0);
	EXPECT_EQ(count(said, "may not be opened"), 1) TH_LOG("it said: %s", said);
}

TEST(with_fallback_native_aio_is_used_and_said_once)
{
	char said[1024];

	ASSERT_EQ(setenv("KAIO_FALLBACK", "1", 1), 0);
	EXPECT_EQ(APART(said, hide() || use_a_new_one() || use_a_new_one()), 0);
	EXPECT_EQ(count(said, "\n"), 1) TH_LOG("it said: %s", said);
	EXPECT_EQ(count(said, "using the kernel's own AIO"), 1);
}

TEST(fallback_is_only_for_those_without_a_device)
{
	char said[1024];

	ASSERT_EQ(setenv("KAIO_FALLBACK", "1", 1), 0);
	EXPECT_EQ(APART(said, use_a_new_one() || kaio_count("submitted") != 1), 0);
	EXPECT_STREQ(said, "");
}

/* What has run out comes back: native AIO would hide it. */
TEST(without_descriptors_there_is_no_fallback)
{
	struct rlimit none = { 3, 3 };
	char said[1024];

	ASSERT_EQ(setenv("KAIO_FALLBACK", "1", 1), 0);
	EXPECT_EQ(APART(said, close_range(3, ~0U, 0) || setrlimit(RLIMIT_NOFILE, &none) ||
			setup_twice(-EMFILE)), 0);
	EXPECT_STREQ(said, "");
}

TEST_HARNESS_MAIN
