// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Very many requests, and very many threads that wait. The cost of one must not
 * depend on the number of others. If it does, these tests take minutes; the
 * harness has a time limit of 30 seconds.
 */
#include <sys/timerfd.h>

#include "posix_common.h"

#define MANY		100000
#define SEVERAL		10000

static struct aiocb cb[MANY];
static char bytes[MANY];

/* Makes @nr reads that wait for one pipe. */
static void many_read(struct __test_metadata *const _metadata, int fds[2], int nr)
{
	int i;

	empty_pipe(_metadata, fds);
	for (i = 0; i < nr; i++) {
		cb[i] = block_of(fds[0], &bytes[i], 1, 0);
		ASSERT_EQ(0, aio_read(&cb[i]));
	}
}

static int nr_with_error(int nr, int error)
{
	int i, count = 0;

	for (i = 0; i < nr; i++)
		count += aio_error(&cb[i]) == error;
	return count;
}

TEST(cancel_descriptor)
{
	int fds[2];

	many_read(_metadata, fds, MANY);
	EXPECT_EQ(AIO_CANCELED, aio_cancel(fds[0], NULL));
	EXPECT_EQ(MANY, nr_with_error(MANY, ECANCELED));
	EXPECT_EQ(0, module_counter("inflight"));
}

TEST(cancel_each)
{
	int fds[2], i;

	many_read(_metadata, fds, SEVERAL);
	for (i = 0; i < SEVERAL; i++)
		ASSERT_EQ(AIO_CANCELED, aio_cancel(fds[0], &cb[i]));
	EXPECT_EQ(SEVERAL, nr_with_error(SEVERAL, ECANCELED));
}

TEST(cancel_each_from_the_last)
{
	int fds[2], i;

	many_read(_metadata, fds, SEVERAL);
	for (i = SEVERAL; i-- > 0;)
		ASSERT_EQ(AIO_CANCELED, aio_cancel(fds[0], &cb[i]));
	EXPECT_EQ(SEVERAL, nr_with_error(SEVERAL, ECANCELED));
}

/* Requests that the library holds go to the kernel in their order. */
TEST(read_in_order)
{
	int fds[2], i;

	many_read(_metadata, fds, SEVERAL);
	for (i = 0; i < SEVERAL; i++) {
		const char byte = i % 251;

		ASSERT_EQ(1, write(fds[1], &byte, 1));
	}
	for (i = 0; i < SEVERAL; i++) {
		ASSERT_EQ(1, result_of(&cb[i]));
		ASSERT_EQ((char)(i % 251), bytes[i]);
	}
}

/*
 * The cost of a cancellation does not depend on requests that wait for other
 * pipes.
 */
TEST(cancel_beside_others)
{
	int fds[2], others[200][2], i;

	for (i = 0; i < 200; i++) {
		empty_pipe(_metadata, others[i]);
		cb[SEVERAL + i] = block_of(others[i][0], &bytes[SEVERAL + i], 1, 0);
		ASSERT_EQ(0, aio_read(&cb[SEVERAL + i]));
	}
	many_read(_metadata, fds, SEVERAL);
	EXPECT_EQ(AIO_CANCELED, aio_cancel(fds[0], NULL));
	EXPECT_EQ(SEVERAL, nr_with_error(SEVERAL, ECANCELED));
	for (i = 0; i < 200; i++) {
		ASSERT_EQ(EINPROGRESS, aio_error(&cb[SEVERAL + i]));
		ASSERT_EQ(1, write(others[i][1], "x", 1));
		ASSERT_EQ(1, result_of(&cb[SEVERAL + i]));
	}
}

/* Starts a read of an empty pipe, and fsyncs behind it: @nr requests. */
static void start_fsyncs(struct __test_metadata *const _metadata, int *fds, int nr)
{
	int i;

	many_read(_metadata, fds, 1);
	for (i = 1; i < nr; i++) {
		cb[i] = block_of(fds[0], NULL, 0, 0);
		ASSERT_EQ(0, aio_fsync(O_SYNC, &cb[i]));
	}
}

/* The library holds fsyncs until the requests before them are complete. */
TEST(fsyncs_wait)
{
	int fds[2], i;

	start_fsyncs(_metadata, fds, MANY);
	ASSERT_EQ(EINPROGRESS, aio_error(&cb[1]));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	/* fsync fails on a pipe. */
	for (i = 1; i < MANY; i++)
		ASSERT_EQ(EINVAL, error_of(&cb[i]));
	EXPECT_EQ(1, result_of(&cb[0]));
}

TEST(fsyncs_are_cancelled)
{
	int fds[2];

	start_fsyncs(_metadata, fds, SEVERAL);
	EXPECT_EQ(AIO_CANCELED, aio_cancel(fds[0], NULL));
	EXPECT_EQ(SEVERAL, nr_with_error(SEVERAL, ECANCELED));
}

/*
 * The descriptor's number stays, but each time it refers to another file, which
 * a request keeps open.
 */
TEST(one_number_of_many_files)
{
	const int fd = open_temp(MEM_DIR, 0);
	int next, i;

	ASSERT_LE(0, fd);
	for (i = 0; i < SEVERAL / 4; i++) {
		/* A read of a timer that is not armed waits. */
		next = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
		ASSERT_LE(0, next);
		ASSERT_EQ(fd, dup2(next, fd));
		close(next);
		cb[i] = block_of(fd, bytes + 8 * i, 8, 0);
		ASSERT_EQ(0, aio_read(&cb[i]));
	}
	EXPECT_EQ(AIO_CANCELED, aio_cancel(fd, NULL));
	EXPECT_EQ(SEVERAL / 4, nr_with_error(SEVERAL / 4, ECANCELED));
}

/*
 * Threads that wait for other requests than those that the test completes.
 */
#define NR_IDLE		64
#define NR_OPS		200

static struct aiocb waited_for[NR_IDLE];
static char waited_bytes[NR_IDLE];
static int wait_fds[NR_IDLE][2];

FIXTURE(idle)
{
	struct sleeper sleepers[NR_IDLE];
};

FIXTURE_VARIANT(idle)
{
	/* The number of requests that each thread waits for. */
	int nr;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(idle, of_one) { 1 };
FIXTURE_VARIANT_ADD(idle, of_two) { 2 };
FIXTURE_VARIANT_ADD(idle, of_forty) { 40 };
/* clang-format on */

static int nr_waited_for;

static long idle_suspend(void *arg)
{
	const struct aiocb *list[NR_IDLE];
	int i;

	for (i = 0; i < nr_waited_for; i++)
		list[i] = &waited_for[((struct aiocb *)arg - waited_for + i) % NR_IDLE];
	return aio_suspend(list, nr_waited_for, NULL) ? -errno : 0;
}

FIXTURE_SETUP(idle)
{
	int i;

	nr_waited_for = variant->nr;
	for (i = 0; i < NR_IDLE; i++) {
		empty_pipe(_metadata, wait_fds[i]);
		waited_for[i] = block_of(wait_fds[i][0], &waited_bytes[i], 1, 0);
		ASSERT_EQ(0, aio_read(&waited_for[i]));
	}
	for (i = 0; i < NR_IDLE; i++)
		ASSERT_TRUE(fall_asleep(&self->sleepers[i], idle_suspend,
					&waited_for[i]));
}

FIXTURE_TEARDOWN(idle)
{
	int i;

	for (i = 0; i < NR_IDLE; i++)
		ASSERT_EQ(1, write(wait_fds[i][1], "x", 1));
	for (i = 0; i < NR_IDLE; i++)
		EXPECT_EQ(0, woken(&self->sleepers[i]));
}

/* Returns how often a thread went to sleep. */
static long switches(pid_t tid)
{
	char path[64], line[128];
	long count = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	file = fopen(path, "re");
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		sscanf(line, "voluntary_ctxt_switches: %ld", &count);
	fclose(file);
	return count;
}

static long all_switches(const struct sleeper *sleepers)
{
	long sum = 0;
	int i;

	for (i = 0; i < NR_IDLE; i++)
		sum += switches(sleepers[i].tid);
	return sum;
}

/* The threads sleep on while other requests are made and completed. */
TEST_F(idle, stays_asleep)
{
	const int fd = open_temp(MEM_DIR, 0);
	struct aiocb mine = block_of(fd, bytes, PAGE, 0);
	const struct aiocb *list[] = { &mine };
	const long before = all_switches(self->sleepers);
	int i;

	for (i = 0; i < NR_OPS; i++) {
		ASSERT_EQ(0, aio_write(&mine));
		ASSERT_EQ(0, aio_suspend(list, 1, &patience));
		ASSERT_EQ((ssize_t)PAGE, aio_return(&mine));
	}
	EXPECT_GE(NR_IDLE / 8, all_switches(self->sleepers) - before);
}

TEST_HARNESS_MAIN
