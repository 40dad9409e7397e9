// SPDX-License-Identifier: GPL-2.0
/*
 * Tests the credentials, the I/O priority and the flags of each attempt.
 */
#include <sys/syscall.h>

#include "retry_fixture.h"

/* These values are those of ioprio_set(2). */
#define IOPRIO(class, level)	((class) << 13 | (level))
#define IOPRIO_BE		2
#define IOPRIO_WHO_PROCESS	1

/*
 * The tests below check the credentials and the priority of a retry.
 */

/*
 * Submits a request as one user and changes to another one. Returns the exit
 * status of the child: 0, or the number of the step that failed.
 */
static int submit_and_change(int fd, int file, int ready)
{
	struct io_event event;
	struct iocb iocb;
	char buf[8];
	__u64 ctx;

	if (kaio_setup(fd, 1, &ctx) || setresuid(65533, 65534, 0))
		return 1;
	prep_pread(&iocb, file, buf, 5, 0);
	if (kaio_submit_one(fd, ctx, &iocb) != 1)
		return 2;
	if (seteuid(0) || setresuid(1, 1, 1))
		return 3;
	if (write(ready, "r", 1) != 1)
		return 4;
	if (kaio_wait(fd, ctx, 1, &event) != 1)
		return 5;
	return event.res == 5 ? 0 : 6;
}

static void expect_uid_of_submission(struct __test_metadata *const _metadata,
				     struct mock *m)
{
	struct kaio_mock_info info;
	int ready[2], status;
	pid_t pid;

	pid = fork_child(_metadata, ready);
	if (!pid)
		_exit(submit_and_change(m->fd, m->file, ready[1]));
	await_child(_metadata, ready);
	/* The request waits either for the driver or for a wake-up. */
	if (mock_complete(m->file, -EAGAIN)) {
		ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
		ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status)
	{
		TH_LOG("step %d failed", WEXITSTATUS(status));
	}
	info = mock_info(m->file);
	EXPECT_EQ(1, info.kthread);
	EXPECT_EQ(65533, info.uid);
	EXPECT_EQ(65534, info.fsuid);
}

TEST_F(mock, credentials_after_kick)
{
	struct mock *m = &self->m;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	expect_uid_of_submission(_metadata, m);
}

TEST_F(mock, credentials_in_worker)
{
	struct mock *m = &self->m;

	use_node(_metadata, m, KAIO_MOCK_DISK);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .only = KAIO_MOCK_IF_NOWAIT, .result = -EAGAIN,
				    .complete = KAIO_MOCK_TOLD },
				  GIVES(5)));
	expect_uid_of_submission(_metadata, m);
}

TEST_F(mock, priority_of_request)
{
	struct mock *m = &self->m;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	mock_pread(m, &m->iocb, 5);
	m->iocb.aio_flags = IOCB_FLAG_IOPRIO;
	m->iocb.aio_reqprio = IOPRIO(IOPRIO_BE, 3);
	ASSERT_EQ(1, mock_submit(m, &m->iocb));
	EXPECT_EQ(IOPRIO(IOPRIO_BE, 3), mock_info(m->file).ki_ioprio);
	mock_finish_read(_metadata, m, &m->iocb, KAIO_MOCK_NOW);
	EXPECT_EQ(1, mock_info(m->file).kthread);
	EXPECT_EQ(IOPRIO(IOPRIO_BE, 3), mock_info(m->file).ki_ioprio);
}

/*
 * A request without a priority has the one that the submitter had at
 * submission.
 */
TEST_F(mock, priority_of_submitter)
{
	struct mock *m = &self->m;

	ASSERT_EQ(0, syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
			     IOPRIO(IOPRIO_BE, 6)));
	park(_metadata, m, &m->iocb);
	ASSERT_EQ(0, syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
			     IOPRIO(IOPRIO_BE, 1)));
	mock_finish_read(_metadata, m, &m->iocb, KAIO_MOCK_NOW);
	EXPECT_EQ(1, mock_info(m->file).kthread);
	EXPECT_EQ(IOPRIO(IOPRIO_BE, 6), mock_info(m->file).ki_ioprio);
}

/*
 * Each attempt has the flags that aio_rw_flags or open(2) asked for, also if an
 * earlier attempt has cleared them.
 */
FIXTURE(flags)
{
	struct mock m;
};

FIXTURE_VARIANT(flags)
{
	const char *node;
	bool write;
	long (*program)(int file);
};

static long continues_after_kick(int file)
{
	return mock_program(file, 1, 0, NOT_NOW_ONCE,
			    { .attempts = 1, .result = -EAGAIN,
			      .wake = { .when = KAIO_MOCK_NOW,
					.ready = IN | OUT, .key = IN | OUT } },
			    GIVES(5));
}

static long continues_in_worker(int file)
{
	return mock_program(file, 1, 0, COLD, GIVES(5));
}

static long continues_after_page(int file)
{
	return mock_program(file, 1, 0, COLD, WAITS_FOR_PAGE(KAIO_MOCK_NOW),
			    COLD, NOT_NOW_ONCE, GIVES(5));
}

/* clang-format off */
FIXTURE_VARIANT_ADD(flags, read_after_a_kick)
{ KAIO_MOCK, false, continues_after_kick };
FIXTURE_VARIANT_ADD(flags, write_after_a_kick)
{ KAIO_MOCK, true, continues_after_kick };
FIXTURE_VARIANT_ADD(flags, read_in_a_worker)
{ KAIO_MOCK_DISK, false, continues_in_worker };
FIXTURE_VARIANT_ADD(flags, write_in_a_worker)
{ KAIO_MOCK_DISK, true, continues_in_worker };
FIXTURE_VARIANT_ADD(flags, read_after_a_page)
{ KAIO_MOCK_PAGES, false, continues_after_page };
FIXTURE_VARIANT_ADD(flags, write_of_regular_file)
{ KAIO_MOCK_PAGES, true, continues_in_worker };
/* clang-format on */

MOCK_FIXTURE_SETUP(flags, variant->node)

/* A kiocb has all these flags, with the same values. */
static const __u32 rwf_flags[] = {
	RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_APPEND, RWF_NOAPPEND, RWF_ATOMIC,
	RWF_DONTCACHE, RWF_NOSIGNAL,
};

/*
 * Returns the subset of these flags that an attempt must have, or -1 if submit
 * refuses the request.
 */
static __s64 flags_wanted(__u32 asked, bool append, bool write)
{
	if (((asked & RWF_APPEND) && (asked & RWF_NOAPPEND)) ||
	    ((asked & RWF_ATOMIC) && !write))
		return -1;
	if (append && !(asked & RWF_NOAPPEND))
		asked |= RWF_APPEND;
	if (asked & RWF_SYNC)
		asked |= RWF_DSYNC;
	/* kaio does not poll for completions. */
	return asked & ~RWF_HIPRI;
}

static void expect_flags(struct __test_metadata *const _metadata,
			 FIXTURE_DATA(flags) *self,
			 const FIXTURE_VARIANT(flags) *variant, __u32 asked,
			 bool append)
{
	const __s64 want = flags_wanted(asked, append, variant->write);
	struct mock *m = &self->m;
	struct kaio_mock_info info;
	struct iocb iocb;
	__u32 i;

	if (want < 0)
		return;
	close(m->file);
	m->file = open_mock_as(_metadata, variant->node, append ? O_APPEND : 0);
	ASSERT_EQ(0, variant->program(m->file));
	mock_pread(m, &iocb, 5);
	if (variant->write)
		prep_pwrite(&iocb, m->file, "hello", 5, 0);
	iocb.aio_rw_flags = asked;
	ASSERT_EQ(1, mock_submit(m, &iocb));
	wait_without_helping(_metadata, m);
	expect_end(_metadata, m, &iocb, 5);
	info = mock_info(m->file);
	EXPECT_EQ(1, info.kthread);
	for (i = 0; i < info.attempts; i++)
		EXPECT_EQ(want, info.flags[i] & (RWF_KNOWN & ~RWF_NOWAIT))
		{
			TH_LOG("flags %#x, O_APPEND %d, attempt %u of %u",
			       asked, append, i, (__u32)info.attempts);
		}
}

/* Each flag alone, and each pair of flags. */
TEST_F_TIMEOUT(flags, in_each_attempt, 120)
{
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(rwf_flags); i++) {
		for (j = 0; j <= i; j++) {
			expect_flags(_metadata, self, variant,
				     rwf_flags[i] | rwf_flags[j], false);
			expect_flags(_metadata, self, variant,
				     rwf_flags[i] | rwf_flags[j], true);
		}
	}
}

/* An attempt has no flags that nothing asked for. */
TEST_F(flags, none_requested)
{
	expect_flags(_metadata, self, variant, 0, false);
	expect_flags(_metadata, self, variant, 0, true);
}

TEST_HARNESS_MAIN
