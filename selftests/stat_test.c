// SPDX-License-Identifier: GPL-2.0
/*
 * Tests fs.kaio-stat, the sum over all open and closed files since the
 * module was loaded. No other program uses kaio while this one runs.
 */
#include "context_fixture.h"
#include "mock_fixture.h"

#define STAT_SYSCTL	"/proc/sys/fs/kaio-stat"
#define NR_FILES	20
#define NR_THREADS	4
#define NR_ROUNDS	200

struct stat_numbers {
	unsigned long long submitted;
	unsigned long long completed;
	unsigned long long cancelled;
};

/* Returns all ones if the sysctl does not exist. */
static struct stat_numbers read_stat(void)
{
	struct stat_numbers now = { ~0ULL, ~0ULL, ~0ULL };
	FILE *file = fopen(STAT_SYSCTL, "re");
	char rest[2];

	if (!file)
		return now;
	if (fscanf(file, "%llu\t%llu\t%llu%1[\n]", &now.submitted,
		   &now.completed, &now.cancelled, rest) != 4 ||
	    fgetc(file) != EOF)
		now.submitted = ~0ULL;
	fclose(file);
	return now;
}

/* Returns the growth since @before. */
static struct stat_numbers grown(const struct stat_numbers *before)
{
	struct stat_numbers now = read_stat();

	now.submitted -= before->submitted;
	now.completed -= before->completed;
	now.cancelled -= before->cancelled;
	return now;
}

#define EXPECT_GROWN(_before, _submitted, _completed, _cancelled)	\
	do {								\
		const struct stat_numbers _now = grown(_before);	\
									\
		EXPECT_EQ(_submitted, _now.submitted);			\
		EXPECT_EQ(_completed, _now.completed);			\
		EXPECT_EQ(_cancelled, _now.cancelled);			\
	} while (0)

/* Submits two reads from an empty pipe. */
static void park_two_reads(struct __test_metadata *const _metadata,
			   FIXTURE_DATA(context) *self, int *ends)
{
	static struct iocb iocbs[2];

	park_reads(_metadata, self, iocbs, 2, ends);
}

TEST(is_read_only)
{
	struct stat st;

	ASSERT_EQ(0, stat(STAT_SYSCTL, &st));
	EXPECT_EQ(0444, st.st_mode & 07777);
	EXPECT_NE(~0ULL, read_stat().submitted);
}

TEST_F(context, open_files_count)
{
	const struct stat_numbers before = read_stat();

	produce(_metadata, self, 3);
	EXPECT_GROWN(&before, 3, 3, 0);
}

TEST_F(context, requests_in_flight_are_submitted_only)
{
	const struct stat_numbers before = read_stat();
	int ends[2];

	park_two_reads(_metadata, self, ends);
	EXPECT_GROWN(&before, 2, 0, 0);
	EXPECT_EQ(1, write(ends[1], "x", 1));
	EXPECT_TRUE(wait_until(grown(&before).completed == 1));
	EXPECT_GROWN(&before, 2, 1, 0);
	close(ends[0]);
	close(ends[1]);
}

TEST_F(context, closed_files_count)
{
	const struct stat_numbers before = read_stat();

	produce(_metadata, self, 3);
	ASSERT_EQ(0, close(self->fd));
	EXPECT_GROWN(&before, 3, 3, 0);
	self->fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	EXPECT_GROWN(&before, 3, 3, 0);
}

TEST_F(context, requests_cancelled_by_close_count)
{
	const struct stat_numbers before = read_stat();
	int ends[2];

	park_two_reads(_metadata, self, ends);
	ASSERT_EQ(0, close(self->fd));
	EXPECT_TRUE(wait_until(grown(&before).completed == 2));
	EXPECT_GROWN(&before, 2, 2, 2);
	close(ends[0]);
	close(ends[1]);
	self->fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
}

/*
 * After the close, the counters show each completion when it happens, and not
 * only when all requests are complete.
 */
TEST_F_TIMEOUT(context, requests_ending_after_close_count, 60)
{
	const char *const patience_path = "/sys/module/kaio/parameters/end_seconds";
	const struct kaio_mock_step queues = {
		.complete = KAIO_MOCK_TOLD,
	};
	const __u64 end_seconds = read_number(patience_path);
	const int file = open_mock(_metadata, KAIO_MOCK_DISK);
	struct stat_numbers before;
	struct iocb iocb;
	char buf[5];
	int i;

	if (file < 0)
		return;
	before = read_stat();
	ASSERT_EQ(0, mock_program(file, 1, 0, queues));
	prep_pread(&iocb, file, buf, sizeof(buf), 0);
	for (i = 0; i < 3; i++)
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(3, (int)mock_info(file).queued);
	/* The close waits for none of these requests. */
	ASSERT_TRUE(write_number(patience_path, 0));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_TRUE(write_number(patience_path, end_seconds));
	EXPECT_GROWN(&before, 3, 0, 0);
	for (i = 1; i <= 3; i++) {
		ASSERT_EQ(0, mock_complete(file, sizeof(buf)));
		EXPECT_TRUE(wait_until(grown(&before).completed ==
				       (unsigned long long)i));
		EXPECT_GROWN(&before, 3, i, 0);
	}
	close(file);
	self->fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
}

TEST_F(context, files_are_added_up)
{
	const struct stat_numbers before = read_stat();
	struct iocb iocb;
	__u64 ctx[NR_FILES];
	int fd[NR_FILES];
	int i;

	for (i = 0; i < NR_FILES; i++) {
		fd[i] = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, fd[i]);
		ASSERT_EQ(0, kaio_setup(fd[i], 1, &ctx[i]));
		prep_noop(&iocb, fd[i]);
		ASSERT_EQ(1, kaio_submit_one(fd[i], ctx[i], &iocb));
	}
	EXPECT_GROWN(&before, NR_FILES, NR_FILES, 0);
	/* Close some files in one order and others in another order. */
	for (i = 0; i < NR_FILES; i += 3)
		close(fd[i]);
	EXPECT_GROWN(&before, NR_FILES, NR_FILES, 0);
	for (i = NR_FILES - 1; i >= 0; i--)
		if (i % 3)
			close(fd[i]);
	EXPECT_GROWN(&before, NR_FILES, NR_FILES, 0);
}

/* Opens a file, submits a request and closes the file, many times. */
static void *open_and_close(void *arg)
{
	struct iocb iocb;
	__u64 ctx = 0;
	int fd, i;

	(void)arg;
	for (i = 0; i < NR_ROUNDS; i++) {
		fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
		prep_noop(&iocb, fd);
		if (kaio_setup(fd, 1, &ctx) ||
		    kaio_submit_one(fd, ctx, &iocb) != 1)
			return "a request failed";
		close(fd);
	}
	return NULL;
}

/*
 * A file that is being closed is counted exactly once, so the sum never
 * decreases and never grows too far.
 */
TEST_F(context, never_decreases)
{
	const struct stat_numbers before = read_stat();
	unsigned long long last = before.submitted;
	pthread_t threads[NR_THREADS];
	unsigned long long now;
	int i;

	for (i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, open_and_close,
					    NULL));
	do {
		now = read_stat().submitted;
		ASSERT_LE(last, now);
		last = now;
	} while (now - before.submitted < NR_THREADS * NR_ROUNDS);
	for (i = 0; i < NR_THREADS; i++) {
		void *complaint;

		ASSERT_EQ(0, pthread_join(threads[i], &complaint));
		EXPECT_EQ(NULL, complaint);
	}
	EXPECT_EQ(NR_THREADS * NR_ROUNDS, grown(&before).submitted);
}

TEST_HARNESS_MAIN
