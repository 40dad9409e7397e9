// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * POSIX AIO and the rest of the process: fork, exec, threads, descriptors.
 */
#include <linux/userfaultfd.h>

#include "posix_common.h"

static char buf[PAGE];

static bool can_write(void)
{
	struct aiocb cb = block_of(open_temp(DISK_DIR, 0), buf, PAGE, 0);

	return !aio_write(&cb) && result_of(&cb) == (ssize_t)PAGE;
}

/* What the child says of itself: 0 if all is well. */
static int child_says(pid_t child)
{
	int status = -1;

	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/*
 * fork
 */
TEST(child_of_user)
{
	pid_t child;

	ASSERT_TRUE(can_write());
	child = fork();
	if (!child)
		_exit(can_write() && through_kaio("submitted") == 1 ? 0 : 1);
	EXPECT_EQ(0, child_says(child));
	EXPECT_TRUE(can_write());
	EXPECT_EQ(2, through_kaio("submitted"));
}

/* The parent's requests are its own, also those that are under way. */
TEST(child_while_requests_wait)
{
	struct aiocb cb;
	int fds[2];
	pid_t child;

	empty_pipe(_metadata, fds);
	cb = block_of(fds[0], buf, 5, 0);
	read_waits(_metadata, &cb);
	child = fork();
	if (!child)
		_exit(aio_cancel(fds[0], NULL) == AIO_ALLDONE && can_write() ? 0 : 1);
	EXPECT_EQ(0, child_says(child));
	EXPECT_EQ(EINPROGRESS, aio_error(&cb));
	ASSERT_EQ(5, write(fds[1], "hello", 5));
	EXPECT_EQ(5, result_of(&cb));
}

TEST(grandchild)
{
	pid_t child;

	ASSERT_TRUE(can_write());
	child = fork();
	if (!child) {
		if (!can_write())
			_exit(2);
		child = fork();
		if (!child)
			_exit(can_write() ? 0 : 3);
		_exit(child_says(child) || !can_write() ? 4 : 0);
	}
	EXPECT_EQ(0, child_says(child));
}

/* The child does not keep the parent's contexts. */
TEST(child_has_no_descriptor)
{
	pid_t child;

	ASSERT_TRUE(can_write());
	child = fork();
	if (!child)
		_exit(kaio_fd() == -1 ? 0 : 1);
	EXPECT_EQ(0, child_says(child));
}

/* While other threads start requests: what they hold is not held in the child. */
static bool stop;

static void *write_often(void *arg)
{
	struct aiocb cb = block_of(open_temp(MEM_DIR, 0), buf, PAGE, 0);

	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		if (aio_write(&cb) || result_of(&cb) != (ssize_t)PAGE)
			return &stop;
	return NULL;
}

TEST(fork_while_threads_work)
{
	pthread_t thread[2];
	pid_t child;
	void *ret;
	int i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, write_often, NULL));
	for (i = 0; i < 20; i++) {
		child = fork();
		if (!child) {
			alarm(PATIENCE_SECONDS);
			_exit(can_write() ? 0 : 1);
		}
		ASSERT_EQ(0, child_says(child));
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], &ret));
		EXPECT_EQ(NULL, ret);
	}
}

/*
 * Threads
 */
#define NR_THREADS	4
#define NR_EACH		200

static void *read_and_write(void *arg)
{
	const int fd = *(int *)arg;
	char mine[64], back[64];
	struct aiocb cb;
	int i;

	for (i = 0; i < NR_EACH; i++) {
		fill_pattern(mine, sizeof(mine), fd, i);
		cb = block_of(fd, mine, sizeof(mine), i * sizeof(mine));
		if (aio_write(&cb) || result_of(&cb) != sizeof(mine))
			return arg;
		cb = block_of(fd, back, sizeof(back), i * sizeof(mine));
		if (aio_read(&cb) || result_of(&cb) != sizeof(mine) ||
		    memcmp(mine, back, sizeof(mine)))
			return arg;
	}
	return NULL;
}

TEST(many_threads)
{
	pthread_t thread[NR_THREADS];
	int fds[NR_THREADS];
	void *ret;
	int i;

	for (i = 0; i < NR_THREADS; i++) {
		fds[i] = open_temp(DISK_DIR, 0);
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, read_and_write,
					    &fds[i]));
	}
	for (i = 0; i < NR_THREADS; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], &ret));
		EXPECT_EQ(NULL, ret);
	}
	EXPECT_EQ(2 * NR_THREADS * NR_EACH, through_kaio("submitted"));
	EXPECT_EQ(0, through_kaio("inflight"));
}

/* The thread that asked for it may end. */
static void *ask(void *arg)
{
	return aio_read(arg) ? arg : NULL;
}

TEST(thread_ends)
{
	struct aiocb cb;
	pthread_t thread;
	int fds[2];
	void *ret;

	empty_pipe(_metadata, fds);
	cb = block_of(fds[0], buf, 5, 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, ask, &cb));
	ASSERT_EQ(0, pthread_join(thread, &ret));
	ASSERT_EQ(NULL, ret);
	ASSERT_EQ(EINPROGRESS, aio_error(&cb));
	ASSERT_EQ(5, write(fds[1], "hello", 5));
	EXPECT_EQ(5, result_of(&cb));
}

/* libc tells every thread of it, the helper too, and waits. */
TEST(change_of_user)
{
	struct aiocb cb = block_of(open_temp(DISK_DIR, 0), buf, PAGE, 0);

	ASSERT_TRUE(can_write());
	ASSERT_EQ(2, threads());
	ASSERT_EQ(0, setresuid(1000, 1000, 1000));
	ASSERT_EQ(0, aio_write(&cb));
	EXPECT_EQ((ssize_t)PAGE, result_of(&cb));
}

/* A program that uses no AIO has nothing of ours. */
TEST(nothing_at_load)
{
	EXPECT_EQ(1, threads());
	EXPECT_EQ(-1, kaio_fd());
}

/* When there is nothing to do for a while, there is no thread either. */
TEST(idle)
{
	const struct aioinit init = { .aio_threads = 1, .aio_num = 1,
				      .aio_idle_time = 1 };

	aio_init(&init);
	ASSERT_TRUE(can_write());
	EXPECT_EQ(2, threads());
	EXPECT_TRUE(wait_until(threads() == 1));
	EXPECT_TRUE(can_write());
	EXPECT_EQ(2, through_kaio("submitted"));
}

/* A request under way keeps it. */
TEST(not_idle)
{
	const struct aioinit init = { .aio_idle_time = 1 };
	struct aiocb cb;
	int fds[2];

	aio_init(&init);
	empty_pipe(_metadata, fds);
	cb = block_of(fds[0], buf, 5, 0);
	read_waits(_metadata, &cb);
	sleep(2);
	EXPECT_EQ(2, threads());
	ASSERT_EQ(5, write(fds[1], "hello", 5));
	EXPECT_EQ(5, result_of(&cb));
}

/* How much is asked for at once is only a hint. */
TEST(init_of_anything)
{
	struct aioinit init;

	memset(&init, 0xff, sizeof(init));
	aio_init(&init);
	EXPECT_TRUE(can_write());
	memset(&init, 0x7f, sizeof(init));
	aio_init(&init);
	EXPECT_TRUE(can_write());
}

/*
 * A program closes descriptors that are not its own.
 */
TEST(all_closed)
{
	ASSERT_TRUE(can_write());
	ASSERT_EQ(0, close_range(3, ~0U, 0));
	ASSERT_EQ(-1, kaio_fd());
	EXPECT_TRUE(can_write());
	EXPECT_EQ(1, through_kaio("submitted"));
}

TEST(all_closed_and_used)
{
	int fd;

	ASSERT_TRUE(can_write());
	fd = kaio_fd();
	ASSERT_EQ(fd, dup2(open_temp(MEM_DIR, 0), fd));
	EXPECT_TRUE(can_write());
	EXPECT_NE(fd, kaio_fd());
	EXPECT_EQ(1, through_kaio("submitted"));
}

/* What was under way ends: nobody waits for ever. */
TEST(all_closed_while_requests_wait)
{
	struct aiocb cb;
	int fds[2];

	empty_pipe(_metadata, fds);
	cb = block_of(fds[0], buf, 5, 0);
	read_waits(_metadata, &cb);
	close(kaio_fd());
	EXPECT_TRUE(can_write());
	EXPECT_EQ(ECANCELED, error_of(&cb));
}

/* Reads that a device has in hand when the program closes the library's descriptor. */
FIXTURE(in_hardware)
{
	int file;
	int fd;
	/* On a page of their own. */
	struct aiocb *cb;
};

FIXTURE_SETUP(in_hardware)
{
	static char into[2][PAGE];
	int i;

	self->file = open_mock(_metadata, KAIO_MOCK_DISK);
	if (self->file < 0)
		return;
	ASSERT_EQ(0, mock_program(self->file, 1, IN | OUT,
				  { .complete = KAIO_MOCK_TOLD, .result = 5 }));
	self->cb = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->cb);
	for (i = 0; i < 2; i++) {
		self->cb[i] = block_of(self->file, into[i], 5, 0);
		ASSERT_EQ(0, aio_read(&self->cb[i]));
	}
	ASSERT_TRUE(wait_until(mock_info(self->file).queued == 2));
	self->fd = kaio_fd();
	ASSERT_LE(0, self->fd);
	/* It holds the device. */
	ASSERT_TRUE(wait_until(task_sleeps(getpid(), helper())));
}

FIXTURE_TEARDOWN(in_hardware)
{
	while (!mock_complete(self->file, 5))
		;
}

/* The end of the first one tells the library; the second one still has its buffer. */
TEST_F(in_hardware, all_closed)
{
	ASSERT_EQ(0, close(self->fd));
	ASSERT_EQ(0, mock_complete(self->file, 5));
	EXPECT_TRUE(goes_on(&self->cb[1]));
	ASSERT_EQ(0, mock_complete(self->file, 5));
	EXPECT_EQ(ECANCELED, error_of(&self->cb[0]));
	EXPECT_EQ(ECANCELED, error_of(&self->cb[1]));
	EXPECT_TRUE(can_write());
}

TEST_F(in_hardware, all_closed_and_cancelled)
{
	ASSERT_EQ(0, close(self->fd));
	/* The library knows. */
	ASSERT_TRUE(can_write());
	EXPECT_EQ(AIO_NOTCANCELED, aio_cancel(self->file, &self->cb[0]));
	EXPECT_EQ(AIO_NOTCANCELED, aio_cancel(self->file, NULL));
	EXPECT_EQ(EINPROGRESS, aio_error(&self->cb[0]));
	ASSERT_EQ(0, mock_complete(self->file, 5));
	ASSERT_EQ(0, mock_complete(self->file, 5));
	EXPECT_EQ(ECANCELED, error_of(&self->cb[0]));
}

/* Writes to the page at @page wait; returns a descriptor that can be read when one does. */
static int trap_writes(struct __test_metadata *const _metadata, void *page)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	struct uffdio_writeprotect protect = {
		.range = { .start = (uintptr_t)page, .len = PAGE },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	struct uffdio_register area = {
		.range = protect.range,
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	const int traps = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	ASSERT_LE(0, traps);
	ASSERT_EQ(0, ioctl(traps, UFFDIO_API, &api));
	ASSERT_EQ(0, ioctl(traps, UFFDIO_REGISTER, &area));
	ASSERT_EQ(0, ioctl(traps, UFFDIO_WRITEPROTECT, &protect));
	return traps;
}

/*
 * The helper is busy, and does not hold the device: close(2) is what waits, and the
 * helper finds the descriptor gone before that is through.
 */
TEST_F(in_hardware, all_closed_while_helper_is_busy)
{
	const int traps = trap_writes(_metadata, self->cb);
	struct pollfd trapped = { .fd = traps, .events = POLLIN };
	struct sleeper closer;

	ASSERT_EQ(0, mock_complete(self->file, 5));
	ASSERT_EQ(1, poll(&trapped, 1, PATIENCE_SECONDS * 1000));
	ASSERT_TRUE(start_closing(&closer, &self->fd));
	EXPECT_TRUE(close_waits(&closer));
	/* It writes its result, and goes on. */
	close(traps);
	EXPECT_EQ(5, result_of(&self->cb[0]));
	EXPECT_TRUE(goes_on(&self->cb[1]));
	ASSERT_EQ(0, mock_complete(self->file, 5));
	EXPECT_EQ(ECANCELED, error_of(&self->cb[1]));
	EXPECT_EQ(0, mock_info(self->file).queued);
	EXPECT_EQ(0, woken(&closer));
	EXPECT_TRUE(can_write());
}

/* As many as the first context holds. */
#define ROOM	127

/* So many reads that wait, each of a pipe of its own. */
static void many_wait(struct __test_metadata *const _metadata, struct aiocb *cb,
		      int (*fds)[2], int nr)
{
	static char into[ROOM + 1][8];
	int i;

	for (i = 0; i < nr; i++) {
		empty_pipe(_metadata, fds[i]);
		cb[i] = block_of(fds[i][0], into[i], 5, 0);
		ASSERT_EQ(0, aio_read(&cb[i]));
	}
}

/* Another context would be needed. */
TEST(all_closed_and_full)
{
	static struct aiocb cb[ROOM];
	static int fds[ROOM][2];

	many_wait(_metadata, cb, fds, ROOM);
	ASSERT_EQ(1, kaio_stat(kaio_fd(), "contexts"));
	close(kaio_fd());
	EXPECT_TRUE(can_write());
}

/*
 * A list of which one goes into a context and the next into another: that the
 * device is gone is found out with the first.
 */
TEST(all_closed_between_two_contexts)
{
	static struct aiocb cb[ROOM + 1];
	static int fds[ROOM + 1][2];
	static char into[PAGE];
	struct aiocb first, second;
	struct aiocb *list[] = { &first, &second };

	many_wait(_metadata, cb, fds, ROOM + 1);
	ASSERT_EQ(2, kaio_stat(kaio_fd(), "contexts"));
	/* One place in the first context, for who waits for the same pipe as another there. */
	ASSERT_EQ(5, write(fds[1][1], "hello", 5));
	ASSERT_EQ(5, result_of(&cb[1]));
	first = block_of(fds[0][0], buf, 5, 0);
	second = block_of(open_pattern(DISK_DIR, 4, PAGE), into, PAGE, 0);
	first.aio_lio_opcode = LIO_READ;
	second.aio_lio_opcode = LIO_READ;
	close(kaio_fd());
	ASSERT_EQ(0, lio_listio(LIO_NOWAIT, list, 2, NULL));
	EXPECT_EQ((ssize_t)PAGE, result_of(&second));
	EXPECT_TRUE(is_pattern(into, PAGE, 4, 0));
	/* The one before it ends with its context. */
	EXPECT_EQ(ECANCELED, error_of(&cb[0]));
	ASSERT_EQ(5, write(fds[0][1], "hello", 5));
	EXPECT_EQ(5, result_of(&first));
}

/* What replaces system calls must not take the other half's new descriptor for its own. */
TEST(all_closed_of_both_halves)
{
	aio_context_t ctx = 0;
	int fd;

	ASSERT_EQ(0, syscall(SYS_io_setup, 1, &ctx));
	fd = kaio_fd();
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, close_range(3, ~0U, 0));
	ASSERT_TRUE(can_write());
	EXPECT_NE(fd, kaio_fd());
	EXPECT_EQ(-1, syscall(SYS_io_submit, ctx, 0L, NULL));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_TRUE(can_write());
}

TEST_HARNESS_MAIN
