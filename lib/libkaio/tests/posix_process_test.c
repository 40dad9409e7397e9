// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * POSIX AIO and the rest of the process: fork, exec, threads, descriptors.
 */
#include <sys/prctl.h>

#include "posix_common.h"

static char buf[PAGE];

static bool can_write(void)
{
	struct aiocb cb = block_of(open_temp(DISK_DIR, 0), buf, PAGE, 0);

	return !aio_write(&cb) && result_of(&cb) == (ssize_t)PAGE;
}

/* Returns the exit status of the child: 0 if it found no error. */
static int child_status(pid_t child)
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
		_exit(can_write() && module_counter("submitted") == 1 ? 0 : 1);
	EXPECT_EQ(0, child_status(child));
	EXPECT_TRUE(can_write());
	EXPECT_EQ(2, module_counter("submitted"));
}

/* The child does not get the parent's requests, including those in progress. */
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
	EXPECT_EQ(0, child_status(child));
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
		_exit(child_status(child) || !can_write() ? 4 : 0);
	}
	EXPECT_EQ(0, child_status(child));
}

/* The child does not keep the parent's contexts. */
TEST(child_has_no_descriptor)
{
	pid_t child;

	ASSERT_TRUE(can_write());
	child = fork();
	if (!child)
		_exit(kaio_find_fd() == -1 ? 0 : 1);
	EXPECT_EQ(0, child_status(child));
}

/*
 * Other threads start requests meanwhile: a lock that they hold is free in the
 * child.
 */
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
		ASSERT_EQ(0, child_status(child));
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], &ret));
		EXPECT_EQ(NULL, ret);
	}
}

/*
 * A program that cannot find the device's node after chroot() uses AIO, and so
 * do its children, which daemons have.
 */
static int in_chroot(void)
{
	struct aiocb cb = block_of(open_temp(MEM_DIR, 0), buf, PAGE, 0);
	char dir[] = MEM_DIR "/emptyXXXXXX";
	int generation;
	pid_t child;

	if (!mkdtemp(dir) || chroot(dir) || chdir("/"))
		return 10;
	for (generation = 0; generation < 3; generation++) {
		if (aio_write(&cb))
			return errno == ENOSYS ? 11 : 12;
		if (result_of(&cb) != (ssize_t)PAGE)
			return 13;
		child = fork();
		if (child)
			return child_status(child);
	}
	return 0;
}

static void __attribute__((constructor)) start_in_chroot(void)
{
	if (getenv("TEST_IN_CHROOT"))
		_exit(in_chroot());
}

TEST(early_open_works_in_a_chroot)
{
	EXPECT_EQ(0, child_status(kaio_exec_in_chroot("1")));
}

TEST(late_open_fails_in_a_chroot)
{
	EXPECT_EQ(11, child_status(kaio_exec_in_chroot("0")));
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
	EXPECT_EQ(2 * NR_THREADS * NR_EACH, module_counter("submitted"));
	EXPECT_EQ(0, module_counter("inflight"));
}

/* The thread that made a request may end. */
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

/* libc signals every thread, the helper too, and waits. */
TEST(change_of_user)
{
	struct aiocb cb = block_of(open_temp(DISK_DIR, 0), buf, PAGE, 0);

	ASSERT_TRUE(can_write());
	ASSERT_EQ(2, threads());
	ASSERT_EQ(0, setresuid(1000, 1000, 1000));
	ASSERT_EQ(0, aio_write(&cb));
	EXPECT_EQ((ssize_t)PAGE, result_of(&cb));
}

/* A program that uses no AIO has no thread and no descriptor of the library. */
TEST(nothing_at_load)
{
	EXPECT_EQ(1, threads());
	EXPECT_EQ(-1, kaio_find_fd());
}

/* When there are no requests for a while, there is no thread either. */
TEST(idle)
{
	const struct aioinit init = { .aio_threads = 1, .aio_num = 1,
				      .aio_idle_time = 1 };

	aio_init(&init);
	ASSERT_TRUE(can_write());
	EXPECT_EQ(2, threads());
	EXPECT_TRUE(wait_until(threads() == 1));
	EXPECT_TRUE(can_write());
	EXPECT_EQ(2, module_counter("submitted"));
}

/* A request in progress keeps the helper. */
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

/* The number of requests in aio_init() is only a hint. */
TEST(init_with_unusual_values)
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
 * The program is stopped and continued: none of its requests ends because of
 * that.
 */
TEST(stopped_and_continued)
{
	const int fd = open_temp(MEM_DIR, 0);
	struct aiocb cb = block_of(fd, buf, PAGE, 0);
	const pid_t program = getpid();
	int status, device, i;
	pid_t child;

	ASSERT_TRUE(can_write());
	device = kaio_find_fd();
	child = fork();
	if (!child) {
		for (i = 0; i < 3000; i++) {
			kill(program, SIGSTOP);
			kill(program, SIGCONT);
			usleep(100);
		}
		_exit(0);
	}
	while (!waitpid(child, &status, WNOHANG)) {
		ASSERT_EQ(0, aio_write(&cb));
		/* aio_cancel() takes events. */
		ASSERT_EQ(AIO_ALLDONE, aio_cancel(STDIN_FILENO, NULL));
		ASSERT_EQ((ssize_t)PAGE, result_of(&cb));
	}
	EXPECT_EQ(0, status);
	EXPECT_EQ(device, kaio_find_fd());
	close(device);
	EXPECT_EQ(-1, kaio_find_fd());
}

/* A program closes descriptors that it did not open. */
TEST(all_closed)
{
	ASSERT_TRUE(can_write());
	ASSERT_EQ(0, close_range(3, ~0U, 0));
	ASSERT_EQ(-1, kaio_find_fd());
	EXPECT_TRUE(can_write());
	EXPECT_EQ(1, module_counter("submitted"));
}

TEST(all_closed_and_used)
{
	int fd;

	ASSERT_TRUE(can_write());
	fd = kaio_find_fd();
	ASSERT_EQ(fd, dup2(open_temp(MEM_DIR, 0), fd));
	EXPECT_TRUE(can_write());
	EXPECT_NE(fd, kaio_find_fd());
	EXPECT_EQ(1, module_counter("submitted"));
}

/* Requests in progress end, so that no thread waits for ever. */
TEST(all_closed_while_requests_wait)
{
	struct aiocb cb;
	int fds[2];

	empty_pipe(_metadata, fds);
	cb = block_of(fds[0], buf, 5, 0);
	read_waits(_metadata, &cb);
	close(kaio_find_fd());
	EXPECT_TRUE(can_write());
	EXPECT_EQ(ECANCELED, error_of(&cb));
}

/*
 * Reads that a device has begun when the program closes the library's
 * descriptor.
 */
FIXTURE(in_hardware)
{
	int file;
	int fd;
	/* The control blocks are on a page of their own. */
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
	self->fd = kaio_find_fd();
	ASSERT_LE(0, self->fd);
	/* The helper holds a reference to the device. */
	ASSERT_TRUE(wait_until(task_sleeps(getpid(), helper())));
}

FIXTURE_TEARDOWN(in_hardware)
{
	while (!mock_complete(self->file, 5))
		;
}

/*
 * The end of the first request makes the library notice; the second one still
 * uses its buffer.
 */
TEST_F(in_hardware, all_closed)
{
	ASSERT_EQ(0, close(self->fd));
	ASSERT_EQ(0, mock_complete(self->file, 5));
	EXPECT_TRUE(stays_in_progress(&self->cb[1]));
	ASSERT_EQ(0, mock_complete(self->file, 5));
	EXPECT_EQ(ECANCELED, error_of(&self->cb[0]));
	EXPECT_EQ(ECANCELED, error_of(&self->cb[1]));
	EXPECT_TRUE(can_write());
}

TEST_F(in_hardware, all_closed_and_cancelled)
{
	ASSERT_EQ(0, close(self->fd));
	/* The library has noticed that the descriptor is closed. */
	ASSERT_TRUE(can_write());
	EXPECT_EQ(AIO_NOTCANCELED, aio_cancel(self->file, &self->cb[0]));
	EXPECT_EQ(AIO_NOTCANCELED, aio_cancel(self->file, NULL));
	EXPECT_EQ(EINPROGRESS, aio_error(&self->cb[0]));
	ASSERT_EQ(0, mock_complete(self->file, 5));
	ASSERT_EQ(0, mock_complete(self->file, 5));
	EXPECT_EQ(ECANCELED, error_of(&self->cb[0]));
}

/*
 * The helper is busy and holds no reference to the device: close(2) waits, and
 * the helper finds the descriptor gone before close(2) returns.
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
	/* The helper writes its result, and goes on. */
	close(traps);
	EXPECT_EQ(5, result_of(&self->cb[0]));
	EXPECT_TRUE(stays_in_progress(&self->cb[1]));
	ASSERT_EQ(0, mock_complete(self->file, 5));
	EXPECT_EQ(ECANCELED, error_of(&self->cb[1]));
	EXPECT_EQ(0, mock_info(self->file).queued);
	EXPECT_EQ(0, woken(&closer));
	EXPECT_TRUE(can_write());
}

/* Makes @nr reads that wait, each of a pipe of its own. */
static void many_wait(struct __test_metadata *const _metadata, struct aiocb *cb,
		      int (*fds)[2], int nr)
{
	static char into[4 * ROOM][8];
	int i;

	for (i = 0; i < nr; i++) {
		empty_pipe(_metadata, fds[i]);
		cb[i] = block_of(fds[i][0], into[i], 5, 0);
		ASSERT_EQ(0, aio_read(&cb[i]));
	}
}

/*
 * The library does not submit a request that it held behind a lost one if no
 * thread can be made that would see its end.
 */
TEST(all_closed_and_no_thread)
{
	static char into[2][PAGE];
	struct aiocb first[2], sync[2];
	struct rlimit limit, none;
	int file[2], i;

	for (i = 0; i < 2; i++) {
		file[i] = open_mock(_metadata, KAIO_MOCK_DISK);
		if (file[i] < 0)
			return;
		ASSERT_EQ(0, mock_program(file[i], 1, IN | OUT,
					  { .complete = KAIO_MOCK_TOLD, .result = 5 }));
	}
	/* The kernel lets root have more threads than the limit. */
	ASSERT_EQ(0, setresuid(1000, 1000, 1000));
	ASSERT_EQ(0, prctl(PR_SET_DUMPABLE, 1));
	/*
	 * The second request goes to the device that the library opens after
	 * the first one's was closed.
	 */
	for (i = 0; i < 2; i++) {
		first[i] = block_of(file[i], into[i], 5, 0);
		sync[i] = block_of(file[i], NULL, 0, 0);
		ASSERT_EQ(0, aio_read(&first[i]));
		ASSERT_TRUE(wait_until(mock_info(file[i]).queued == 1));
		ASSERT_EQ(0, aio_fsync(O_SYNC, &sync[i]));
		/*
		 * The helper of this device, the last thread, holds a reference
		 * to the device.
		 */
		ASSERT_TRUE(wait_until(task_sleeps(getpid(), helper())));
		ASSERT_EQ(0, close(kaio_find_fd()));
	}
	ASSERT_EQ(0, getrlimit(RLIMIT_NPROC, &limit));
	none = limit;
	none.rlim_cur = 0;
	ASSERT_EQ(0, setrlimit(RLIMIT_NPROC, &none));
	for (i = 1; i >= 0; i--) {
		ASSERT_EQ(0, mock_complete(file[i], 5));
		EXPECT_EQ(ECANCELED, error_of(&first[i]));
		EXPECT_EQ(EAGAIN, error_of(&sync[i]));
	}
	ASSERT_EQ(0, setrlimit(RLIMIT_NPROC, &limit));
	first[0] = block_of(open_temp(MEM_DIR, 0), buf, PAGE, 0);
	ASSERT_EQ(0, aio_write(&first[0]));
	EXPECT_EQ((ssize_t)PAGE, result_of(&first[0]));
}

/* After chroot() the library cannot open the device again. */
TEST_F(in_hardware, all_closed_in_a_chroot)
{
	struct aiocb sync = block_of(self->file, NULL, 0, 0);

	ASSERT_EQ(0, aio_fsync(O_SYNC, &sync));
	ASSERT_EQ(0, close(self->fd));
	ASSERT_EQ(0, chroot(MEM_DIR));
	ASSERT_EQ(0, mock_complete(self->file, 5));
	ASSERT_EQ(0, mock_complete(self->file, 5));
	EXPECT_EQ(ECANCELED, error_of(&self->cb[1]));
	EXPECT_EQ(ENOSYS, error_of(&sync));
}

/* The library destroys contexts that it needed only for a burst. */
TEST(burst)
{
	static struct aiocb cb[4 * ROOM], last;
	static int fds[4 * ROOM][2];
	struct rlimit limit;
	int i;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	many_wait(_metadata, cb, fds, 4 * ROOM);
	ASSERT_LT(2, kaio_stat(kaio_find_fd(), "contexts"));
	for (i = 1; i < 4 * ROOM; i++)
		ASSERT_EQ(5, write(fds[i][1], "hello", 5));
	for (i = 1; i < 4 * ROOM; i++)
		ASSERT_EQ(5, result_of(&cb[i]));
	/* The contexts are destroyed while one request is still waiting. */
	EXPECT_TRUE(wait_until(kaio_stat(kaio_find_fd(), "contexts") == 1));
	EXPECT_EQ(EINPROGRESS, aio_error(&cb[0]));
	last = block_of(fds[1][0], buf, 5, 0);
	ASSERT_EQ(0, aio_read(&last));
	ASSERT_EQ(5, write(fds[1][1], "hello", 5));
	EXPECT_EQ(5, result_of(&last));
	/* They are also destroyed after the last request has ended. */
	for (i = 1; i < 4 * ROOM; i++)
		ASSERT_EQ(0, aio_read(&cb[i]));
	ASSERT_LT(2, kaio_stat(kaio_find_fd(), "contexts"));
	EXPECT_EQ(AIO_CANCELED, aio_cancel(fds[0][0], NULL));
	for (i = 1; i < 4 * ROOM; i++)
		ASSERT_EQ(5, write(fds[i][1], "hello", 5));
	for (i = 1; i < 4 * ROOM; i++)
		ASSERT_EQ(5, result_of(&cb[i]));
	EXPECT_TRUE(wait_until(kaio_stat(kaio_find_fd(), "contexts") == 1));
	EXPECT_TRUE(wait_until(threads() == 1));
	EXPECT_TRUE(can_write());
}

/* The next request needs another context. */
TEST(all_closed_and_full)
{
	static struct aiocb cb[ROOM];
	static int fds[ROOM][2];

	many_wait(_metadata, cb, fds, ROOM);
	ASSERT_EQ(1, kaio_stat(kaio_find_fd(), "contexts"));
	close(kaio_find_fd());
	EXPECT_TRUE(can_write());
}

/*
 * One request of a list goes into a context and the next one into another. The
 * library notices with the first one that the device is gone.
 */
TEST(all_closed_between_two_contexts)
{
	static struct aiocb cb[ROOM + 1];
	static int fds[ROOM + 1][2];
	static char into[PAGE];
	struct aiocb first, second;
	struct aiocb *list[] = { &first, &second };

	many_wait(_metadata, cb, fds, ROOM + 1);
	ASSERT_EQ(2, kaio_stat(kaio_find_fd(), "contexts"));
	/*
	 * Make room for one request in the first context, for a request that
	 * waits for the same pipe as another one there.
	 */
	ASSERT_EQ(5, write(fds[1][1], "hello", 5));
	ASSERT_EQ(5, result_of(&cb[1]));
	first = block_of(fds[0][0], buf, 5, 0);
	second = block_of(open_pattern(DISK_DIR, 4, PAGE), into, PAGE, 0);
	first.aio_lio_opcode = LIO_READ;
	second.aio_lio_opcode = LIO_READ;
	close(kaio_find_fd());
	ASSERT_EQ(0, lio_listio(LIO_NOWAIT, list, 2, NULL));
	EXPECT_EQ((ssize_t)PAGE, result_of(&second));
	EXPECT_TRUE(is_pattern(into, PAGE, 4, 0));
	/* The request before it ends with its context. */
	EXPECT_EQ(ECANCELED, error_of(&cb[0]));
	ASSERT_EQ(5, write(fds[0][1], "hello", 5));
	EXPECT_EQ(5, result_of(&first));
}

/*
 * The half that replaces system calls must not take the other half's new
 * descriptor for its own.
 */
TEST(all_closed_of_both_halves)
{
	aio_context_t ctx = 0;
	int fd;

	ASSERT_EQ(0, syscall(SYS_io_setup, 1, &ctx));
	fd = kaio_find_fd();
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, close_range(3, ~0U, 0));
	ASSERT_TRUE(can_write());
	EXPECT_NE(fd, kaio_find_fd());
	EXPECT_EQ(-1, syscall(SYS_io_submit, ctx, 0L, NULL));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_TRUE(can_write());
}

TEST_HARNESS_MAIN
