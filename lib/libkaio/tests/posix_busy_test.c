// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A thread stays in aio_read() for a long time, because its buffer is memory
 * that another thread of the program serves (userfaultfd). All other threads go
 * on meanwhile and may make requests, the serving thread too.
 */
#include "posix_common.h"

#define NR_LIST	3

static char buf[PAGE];

/* Memory whose pages are missing until a server provides them. */
static char *served;
static int faults;

/* A thread that reads into that memory from a pipe, which has all the bytes. */
static struct aiocb reading;
static struct sleeper reader;

static long read_served(void *arg)
{
	return aio_read(arg) ? -errno : 0;
}

FIXTURE(busy)
{
	int file, fds[2];
};

FIXTURE_SETUP(busy)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = {
		.range.len = 4 * PAGE,
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	served = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, served);
	area.range.start = (uintptr_t)served;
	faults = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	ASSERT_LE(0, faults);
	ASSERT_EQ(0, ioctl(faults, UFFDIO_API, &api));
	ASSERT_EQ(0, ioctl(faults, UFFDIO_REGISTER, &area));
	self->file = open_pattern(MEM_DIR, 7, 4 * PAGE);
	ASSERT_LE(0, self->file);
	empty_pipe(_metadata, self->fds);
	fill_pattern(buf, PAGE, 7, 0);
	ASSERT_EQ(PAGE, write(self->fds[1], buf, PAGE));
	reading = block_of(self->fds[0], served, PAGE, 0);
}

FIXTURE_TEARDOWN(busy)
{
	/* The kernel gives zeroes to threads that still wait for the memory. */
	close(faults);
}

/* When this returns true, a thread is in aio_read() and waits for its buffer. */
static bool reader_is_busy(void)
{
	struct pollfd fault = { .fd = faults, .events = POLLIN };

	reader = (struct sleeper){ .call = read_served, .arg = &reading,
				   .ret = -ENOMSG };
	return !pthread_create(&reader.thread, NULL, run_sleeper, &reader) &&
	       poll(&fault, 1, PATIENCE_SECONDS * 1000) == 1;
}

/*
 * Resolves the next fault with the page at @page. A thread that has a signal
 * pending leaves its fault and faults again at once, so that a fault which
 * poll() has seen may be gone for a moment: then read() fails with EAGAIN.
 */
static long serve(const void *page)
{
	struct uffd_msg msg;
	struct uffdio_copy copy = { .src = (uintptr_t)page, .len = PAGE };
	struct pollfd fault = { .fd = faults, .events = POLLIN };
	ssize_t len;

	do {
		if (poll(&fault, 1, PATIENCE_SECONDS * 1000) != 1)
			return -ETIMEDOUT;
		len = read(faults, &msg, sizeof(msg));
	} while (len < 0 && errno == EAGAIN);
	if (len != sizeof(msg))
		return -EIO;
	copy.dst = msg.arg.pagefault.address & ~(__u64)(PAGE - 1);
	return ioctl(faults, UFFDIO_COPY, &copy) ? -errno : 0;
}

static void reader_ends(struct __test_metadata *const _metadata)
{
	ASSERT_EQ(0, serve(buf));
	EXPECT_EQ(0, woken(&reader));
	EXPECT_EQ((ssize_t)PAGE, result_of(&reading));
	EXPECT_TRUE(is_pattern(served, PAGE, 7, 0));
}

TEST_F(busy, other_thread_reads)
{
	struct aiocb cb = block_of(self->file, buf, PAGE, PAGE);
	const struct aiocb *list[] = { &cb };

	ASSERT_TRUE(reader_is_busy());
	ASSERT_EQ(0, aio_read(&cb));
	ASSERT_EQ(0, aio_suspend(list, 1, &patience));
	EXPECT_EQ((ssize_t)PAGE, aio_return(&cb));
	EXPECT_TRUE(is_pattern(buf, PAGE, 7, PAGE));
	EXPECT_EQ(-ENOMSG, reader.ret);
	reader_ends(_metadata);
}

TEST_F(busy, other_thread_uses_a_list)
{
	static char into[NR_LIST][PAGE];
	struct aiocb cb[NR_LIST];
	struct aiocb *list[NR_LIST];
	int i;

	for (i = 0; i < NR_LIST; i++) {
		cb[i] = block_of(self->file, into[i], PAGE, PAGE);
		cb[i].aio_lio_opcode = LIO_READ;
		list[i] = &cb[i];
	}
	ASSERT_TRUE(reader_is_busy());
	EXPECT_EQ(0, lio_listio(LIO_WAIT, list, NR_LIST, NULL));
	EXPECT_EQ(-ENOMSG, reader.ret);
	reader_ends(_metadata);
}

/*
 * A request that another thread is submitting cannot be cancelled, and
 * aio_cancel() does not wait for it.
 */
TEST_F(busy, other_thread_cancels)
{
	struct aiocb cb;
	int fds[2];

	ASSERT_TRUE(reader_is_busy());
	EXPECT_EQ(AIO_NOTCANCELED, aio_cancel(self->fds[0], &reading));
	EXPECT_EQ(AIO_NOTCANCELED, aio_cancel(self->fds[0], NULL));
	empty_pipe(_metadata, fds);
	cb = block_of(fds[0], buf, 5, 0);
	read_waits(_metadata, &cb);
	EXPECT_EQ(AIO_CANCELED, aio_cancel(fds[0], NULL));
	EXPECT_EQ(ECANCELED, aio_error(&cb));
	EXPECT_EQ(-ENOMSG, reader.ret);
	reader_ends(_metadata);
}

static pthread_t server_thread;

/* Reads a page with AIO and resolves the fault with it. */
static long serve_by_aio(void *arg)
{
	static char page[PAGE];
	struct aiocb cb = block_of(*(int *)arg, page, PAGE, 2 * PAGE);
	const struct aiocb *list[] = { &cb };

	server_thread = pthread_self();
	if (aio_read(&cb) || aio_suspend(list, 1, &patience) ||
	    aio_return(&cb) != PAGE)
		return -EIO;
	return serve(page);
}

/*
 * A library that submitted under its lock would make the program wait for
 * itself for ever.
 */
TEST_F(busy, serving_thread_reads)
{
	struct sleeper server = { .call = serve_by_aio, .arg = &self->file,
				  .ret = -ENOMSG };

	ASSERT_TRUE(reader_is_busy());
	ASSERT_EQ(0, pthread_create(&server.thread, NULL, run_sleeper, &server));
	EXPECT_EQ(0, woken(&server));
	EXPECT_EQ(0, woken(&reader));
	EXPECT_EQ((ssize_t)PAGE, result_of(&reading));
}

/*
 * Returns the signals that a thread has blocked, from proc(5); ~0 if there is
 * no such thread.
 */
static unsigned long long blocked_signals(pid_t tid)
{
	unsigned long long set = ~0ULL;
	char path[64], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	file = fopen(path, "re");
	if (!file)
		return set;
	while (fgets(line, sizeof(line), file))
		sscanf(line, "SigBlk: %llx", &set);
	fclose(file);
	return set;
}

TEST_F(busy, signals_are_not_blocked)
{
	ASSERT_TRUE(reader_is_busy());
	EXPECT_EQ(0, blocked_signals(reader.tid));
	reader_ends(_metadata);
}

/* A handler runs in the busy thread once the memory is there. */
TEST_F(busy, signal_to_reader)
{
	see_signals(_metadata, SIGUSR1);
	ASSERT_TRUE(reader_is_busy());
	ASSERT_EQ(0, pthread_kill(reader.thread, SIGUSR1));
	reader_ends(_metadata);
	EXPECT_EQ(1, times_seen());
	EXPECT_EQ(reader.tid, seen.tid);
}

/* The child of another thread finds the library's lock free. */
TEST_F(busy, fork)
{
	struct aiocb cb;
	int status;
	pid_t child;

	ASSERT_TRUE(reader_is_busy());
	child = fork();
	if (!child) {
		alarm(PATIENCE_SECONDS);
		cb = block_of(open_temp(MEM_DIR, 0), buf, PAGE, 0);
		_exit(aio_write(&cb) || result_of(&cb) != (ssize_t)PAGE);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	reader_ends(_metadata);
}

/* The program closes the library's descriptor while the thread is busy. */
TEST_F(busy, all_closed)
{
	struct aiocb cb = block_of(open_temp(MEM_DIR, 0), buf, PAGE, 0);

	ASSERT_TRUE(reader_is_busy());
	ASSERT_EQ(0, close(kaio_find_fd()));
	ASSERT_EQ(0, aio_write(&cb));
	EXPECT_EQ((ssize_t)PAGE, result_of(&cb));
	ASSERT_EQ(0, serve(buf));
	EXPECT_EQ(0, woken(&reader));
	/* The request was done, or it has ended with its context. */
	if (error_of(&reading) != ECANCELED)
		EXPECT_EQ((ssize_t)PAGE, result_of(&reading));
}

TEST_HARNESS_MAIN
