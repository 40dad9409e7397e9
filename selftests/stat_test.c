// SPDX-License-Identifier: GPL-2.0
/*
 * fs.kaio-stat: what all open files did since the module was loaded, those too
 * that are closed. Nobody else uses kaio while this runs.
 */
#include "context_fixture.h"

#define STAT_SYSCTL	"/proc/sys/fs/kaio-stat"
#define NR_FILES	20
#define NR_THREADS	4
#define NR_ROUNDS	200

struct stat_numbers {
	unsigned long long submitted;
	unsigned long long completed;
	unsigned long long cancelled;
};

/* All ones if there is no such thing. */
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

/* What it grew by since @before. */
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
	struct iocb iocbs[2];
	int ends[2];

	park_reads(_metadata, self, iocbs, 2, ends);
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

TEST_F(context, what_close_cancels_counts)
{
	const struct stat_numbers before = read_stat();
	struct iocb iocbs[2];
	int ends[2];

	park_reads(_metadata, self, iocbs, 2, ends);
	ASSERT_EQ(0, close(self->fd));
	EXPECT_TRUE(wait_until(grown(&before).completed == 2));
	EXPECT_GROWN(&before, 2, 2, 2);
	close(ends[0]);
	close(ends[1]);
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
	/* Some closed, some open, in whichever order. */
	for (i = 0; i < NR_FILES; i += 3)
		close(fd[i]);
	EXPECT_GROWN(&before, NR_FILES, NR_FILES, 0);
	for (i = NR_FILES - 1; i >= 0; i--)
		if (i % 3)
			close(fd[i]);
	EXPECT_GROWN(&before, NR_FILES, NR_FILES, 0);
}

/* Of files that come and go. */
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

/* A file that is being closed is in the sum once: it does not go down, or too far up. */
TEST_F(context, never_goes_back)
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
