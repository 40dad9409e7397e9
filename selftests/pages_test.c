// SPDX-License-Identifier: GPL-2.0
/*
 * Tests reads that wait for a page without a thread (IOCB_WAITQ). The test
 * decides when and in which context the page is unlocked, which may be before
 * the attempt that waits for it has returned.
 */
#include "mock_fixture.h"

/* Only the kernel has these flags; see include/linux/fs.h. */
#define IOCB_NOWAIT	RWF_NOWAIT
#define IOCB_WAITQ	(1 << 19)
#define IOCB_NOIO	(1 << 20)
#define IOCB_EFFORT	(IOCB_NOWAIT | IOCB_WAITQ | IOCB_NOIO)

/* These values tell how far an attempt may go. */
#define CACHED		(IOCB_NOWAIT | IOCB_NOIO)
#define PAGES		IOCB_WAITQ
#define WAITS		0

/* Expects the given efforts in the first attempts, and no more attempts. */
#define expect_efforts(file, ...)					\
	({								\
		const __u32 _want[] = { __VA_ARGS__ };			\
		const struct kaio_mock_info _info = mock_info(file);	\
		unsigned int _i;					\
									\
		EXPECT_EQ(ARRAY_SIZE(_want), _info.attempts);		\
		for (_i = 0; _i < ARRAY_SIZE(_want); _i++)		\
			EXPECT_EQ(_want[_i], _info.flags[_i] & IOCB_EFFORT) \
			{						\
				TH_LOG("attempt %u", _i);		\
			}						\
	})

/*
 * Returns true once one request waits for the page and its attempt has
 * returned.
 */
static bool waits_for_page(int file)
{
	struct kaio_mock_info info;

	return wait_until((info = mock_info(file)).page_waiters == 1 &&
			  !info.running);
}

/*
 * Submits a read that waits until the test unlocks the page, and then gives 5
 * bytes.
 */
static void wait_for_page(struct __test_metadata *const _metadata,
			  struct mock *m, struct iocb *iocb)
{
	ASSERT_EQ(0, mock_program(m->file, 1, 0, COLD,
				  WAITS_FOR_PAGE(KAIO_MOCK_TOLD), GIVES(5)));
	mock_pread(m, iocb, 5);
	ASSERT_EQ(1, mock_submit(m, iocb));
	ASSERT_TRUE(waits_for_page(m->file));
}

/*
 * A task, a kworker or an interrupt unlocks the page.
 */
#define WHEN_NODE	KAIO_MOCK_PAGES
#include "when_fixture.h"

TEST_F(when, after_attempt)
{
	struct mock *m = &self->m;

	wait_for_page(_metadata, m, &m->iocb);
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_unlock(m->file, variant->when, KAIO_MOCK_THIS_PAGE));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	expect_efforts(m->file, CACHED, PAGES, CACHED);
	EXPECT_EQ(1, kaio_stat(m->fd, "kicked"));
	EXPECT_EQ(1, kaio_stat(m->fd, "queued"));
}

/*
 * A task unlocks the page before the attempt returns; a kworker or an interrupt
 * does so before or after that.
 */
TEST_F(when, within_attempt)
{
	struct mock *m = &self->m;
	int i;

	for (i = 1; i <= 100; i++) {
		memset(m->buf, 0, sizeof(m->buf));
		ASSERT_EQ(0, mock_program(m->file, 1, 0, COLD,
					  WAITS_FOR_PAGE(variant->when),
					  GIVES(26)));
		mock_pread(m, &m->iocb, 26);
		ASSERT_EQ(1, mock_submit(m, &m->iocb));
		expect_end(_metadata, m, &m->iocb, 26);
		ASSERT_STREQ("abcdefghijklmnopqrstuvwxyz", m->buf);
		ASSERT_EQ(3 * i, (int)mock_info(m->file).attempts);
	}
	EXPECT_EQ(1, mock_info(m->file).most_running);
	EXPECT_EQ(100, kaio_stat(m->fd, "kicked"));
}

/*
 * The page is dropped again before its reader runs, so the request waits once
 * more.
 */
TEST_F(when, page_dropped_again)
{
	struct mock *m = &self->m;

	mock_read(_metadata, m, &m->iocb, COLD, WAITS_FOR_PAGE(variant->when),
		  COLD, WAITS_FOR_PAGE(variant->when), GIVES(5));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	expect_efforts(m->file, CACHED, PAGES, CACHED, PAGES, CACHED);
	EXPECT_EQ(2, kaio_stat(m->fd, "kicked"));
	EXPECT_EQ(2, kaio_stat(m->fd, "queued"));
}

/* The request waits for two pages in turn, and keeps the data of the first. */
TEST_F(when, after_a_part)
{
	struct mock *m = &self->m;

	mock_read(_metadata, m, &m->iocb, COLD, WAITS_FOR_PAGE(variant->when),
		  GIVES_ONCE(3), COLD, WAITS_FOR_PAGE(variant->when), GIVES(2));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
}

/* Pages share wait queues, so most wake-ups are for other pages. */
static void wake_for_another(struct __test_metadata *const _metadata,
			     struct mock *m, enum kaio_mock_when when,
			     int other)
{
	struct iocb iocb;

	wait_for_page(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_unlock(m->file, when, other));
	EXPECT_TRUE(no_event(m));
	EXPECT_TRUE(waits_for_page(m->file));
	EXPECT_EQ(2, mock_info(m->file).attempts);
	EXPECT_EQ(0, kaio_stat(m->fd, "kicked"));
	ASSERT_EQ(0, mock_unlock(m->file, when, KAIO_MOCK_THIS_PAGE));
	expect_end(_metadata, m, &iocb, 5);
}

TEST_F(when, another_page)
{
	wake_for_another(_metadata, &self->m, variant->when, KAIO_MOCK_OTHER_PAGE);
}

TEST_F(when, another_bit)
{
	wake_for_another(_metadata, &self->m, variant->when, KAIO_MOCK_OTHER_BIT);
}

/* One unlock wakes all requests that wait for the page. */
TEST_F(when, many_readers)
{
	struct io_event events[NR_EVENTS];
	struct mock *m = &self->m;
	struct iocb iocbs[NR_EVENTS];
	bool seen[NR_EVENTS] = {};
	int i;

	for (i = 0; i < NR_EVENTS; i++) {
		prep_pread(&iocbs[i], m->file, &m->buf[i], 1, 0);
		iocbs[i].aio_data = i;
		ASSERT_EQ(0, mock_program(m->file, 1, 0, COLD,
					  WAITS_FOR_PAGE(KAIO_MOCK_TOLD),
					  GIVES(1)));
		ASSERT_EQ(1, mock_submit(m, &iocbs[i]));
		ASSERT_TRUE(wait_until((int)mock_info(m->file).page_waiters ==
				       i + 1));
	}
	ASSERT_EQ(0, mock_unlock(m->file, variant->when, KAIO_MOCK_THIS_PAGE));
	ASSERT_EQ(NR_EVENTS, kaio_wait(m->fd, m->ctx, NR_EVENTS, events));
	for (i = 0; i < NR_EVENTS; i++) {
		EXPECT_EQ(1, events[i].res);
		EXPECT_FALSE(seen[events[i].data]);
		seen[events[i].data] = true;
	}
}

/*
 * The tests below need only one way to unlock the page.
 */
FIXTURE(page)
{
	struct mock m;
};

MOCK_FIXTURE_SETUP(page, KAIO_MOCK_PAGES)

TEST_F(page, in_memory)
{
	struct mock *m = &self->m;

	mock_read(_metadata, m, &m->iocb, GIVES(5));
	expect_end(_metadata, m, &m->iocb, 5);
	expect_efforts(m->file, CACHED);
	EXPECT_EQ(0, mock_info(m->file).kthread);
	EXPECT_EQ(1, kaio_stat(m->fd, "inline"));
}

/*
 * No page of this file can be waited for, or not now, so a worker waits in the
 * call.
 */
TEST_F(page, no_page_to_wait_for)
{
	struct mock *m = &self->m;

	mock_read(_metadata, m, &m->iocb, COLD, NOT_NOW_ONCE,
		  SLEEPS(5, KAIO_MOCK_KILLABLE));
	ASSERT_TRUE(mock_sleeps(m->file));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	expect_efforts(m->file, CACHED, PAGES, WAITS);
	EXPECT_EQ(1, mock_info(m->file).kthread);
	EXPECT_EQ(0, kaio_stat(m->fd, "kicked"));
}

/* The second attempt finds no page to wait for. */
TEST_F(page, no_page_to_wait_for_next)
{
	struct mock *m = &self->m;

	mock_read(_metadata, m, &m->iocb, COLD, WAITS_FOR_PAGE(KAIO_MOCK_NOW),
		  COLD, NOT_NOW_ONCE, GIVES(5));
	expect_end(_metadata, m, &m->iocb, 5);
	expect_efforts(m->file, CACHED, PAGES, CACHED, PAGES, WAITS);
}

/* A worker that has read a part waits for a page for the rest. */
TEST_F(page, worker_reads_part_first)
{
	struct mock *m = &self->m;

	mock_read(_metadata, m, &m->iocb, COLD, GIVES_ONCE(3),
		  WAITS_FOR_PAGE(KAIO_MOCK_NOW), GIVES(2));
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	expect_efforts(m->file, CACHED, PAGES, PAGES, CACHED);
}

TEST_F(page, error_after_wait)
{
	struct mock *m = &self->m;

	mock_read(_metadata, m, &m->iocb, COLD, WAITS_FOR_PAGE(KAIO_MOCK_NOW),
		  GIVES(-EIO));
	expect_end(_metadata, m, &m->iocb, -EIO);
}

/* With RWF_NOWAIT the result of the first attempt is final. */
TEST_F(page, not_for_nowait)
{
	struct mock *m = &self->m;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, COLD,
				  WAITS_FOR_PAGE(KAIO_MOCK_TOLD), GIVES(5)));
	mock_pread(m, &m->iocb, 5);
	m->iocb.aio_rw_flags = RWF_NOWAIT;
	ASSERT_EQ(1, mock_submit(m, &m->iocb));
	expect_end(_metadata, m, &m->iocb, -EAGAIN);
	expect_efforts(m->file, IOCB_NOWAIT);
}

/* A write does not wait for a page. */
TEST_F(page, not_for_write)
{
	struct mock *m = &self->m;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, COLD,
				  { .result = 5, .page = KAIO_MOCK_TOLD }));
	prep_pwrite(&m->iocb, m->file, "hello", 5, 0);
	ASSERT_EQ(1, mock_submit(m, &m->iocb));
	expect_end(_metadata, m, &m->iocb, 5);
	expect_efforts(m->file, IOCB_NOWAIT, WAITS);
}

/*
 * A request that waits for a page delays no other request, because it has no
 * thread.
 */
TEST_F(page, other_requests_overtake)
{
	struct mock *m = &self->m;
	struct iocb iocb, other;

	wait_for_page(_metadata, m, &iocb);
	prep_pread(&other, m->file, m->buf, 5, 0);
	ASSERT_EQ(5, kaio_do(m->fd, m->ctx, &other));
	EXPECT_EQ(1, mock_info(m->file).page_waiters);
	ASSERT_EQ(0, mock_unlock(m->file, KAIO_MOCK_NOW, KAIO_MOCK_THIS_PAGE));
	expect_end(_metadata, m, &iocb, 5);
}

/*
 * A request that waits for a page cannot be cancelled.
 */
TEST_F(page, cancel)
{
	struct mock *m = &self->m;

	wait_for_page(_metadata, m, &m->iocb);
	EXPECT_EQ(-EINVAL, mock_cancel(m, &m->iocb));
	EXPECT_EQ(-EINVAL, mock_cancel(m, &m->iocb));
	EXPECT_TRUE(no_event(m));
	EXPECT_TRUE(waits_for_page(m->file));
	ASSERT_EQ(0, mock_unlock(m->file, KAIO_MOCK_NOW, KAIO_MOCK_THIS_PAGE));
	expect_end(_metadata, m, &m->iocb, 5);
	expect_no_cancel(_metadata, m, &m->iocb);
}

/*
 * The attempt after the wait cannot be cancelled either, because it may be in
 * the hardware.
 */
TEST_F(page, cancel_after_wait)
{
	struct mock *m = &self->m;

	wait_for_page(_metadata, m, &m->iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  SLEEPS(5, KAIO_MOCK_KILLABLE)));
	ASSERT_EQ(0, mock_unlock(m->file, KAIO_MOCK_NOW, KAIO_MOCK_THIS_PAGE));
	ASSERT_TRUE(mock_sleeps(m->file));
	EXPECT_EQ(-EINVAL, mock_cancel(m, &m->iocb));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &m->iocb, 5);
}

/* Submits a read of a file that has the data, and returns whether a worker did it. */
static bool worker_reads(struct __test_metadata *const _metadata,
			 struct mock *m)
{
	struct iocb iocb;

	mock_read(_metadata, m, &iocb, GIVES(5));
	expect_end(_metadata, m, &iocb, 5);
	return mock_info(m->file).kthread;
}

/*
 * Reads until the submit call does the read itself. Returns how many reads a worker
 * did before that, or 200 if a worker does all of them.
 */
static int reads_by_workers(struct __test_metadata *const _metadata,
			    struct mock *m)
{
	int i;

	for (i = 0; i < 200 && worker_reads(_metadata, m); i++)
		usleep(100 * 1000);
	return i;
}

/*
 * The file says that attempts with IOCB_NOWAIT do not wait, but one sleeps. So the
 * submit call does not try the file for a hundred times as long, and then tries
 * it again.
 */
TEST_F(page, attempt_that_sleeps)
{
	const struct kaio_mock_step sleeps = {
		.sleep = KAIO_MOCK_INTERRUPTIBLE,
		.sleep_ms = 20,
		.result = 5,
	};
	struct mock *m = &self->m;
	int nr;

	/*
	 * An attempt of an earlier test may have slept, on a file whose inode had the
	 * hash of this one.
	 */
	ASSERT_LT(reads_by_workers(_metadata, m), 200);
	mock_read(_metadata, m, &m->iocb, sleeps);
	expect_end(_metadata, m, &m->iocb, 5);
	EXPECT_EQ(0, mock_info(m->file).kthread);
	EXPECT_TRUE(worker_reads(_metadata, m));
	EXPECT_TRUE(worker_reads(_metadata, m));
	/* This also leaves no doubt for a file of the next test. */
	nr = reads_by_workers(_metadata, m);
	EXPECT_LT(0, nr);
	EXPECT_LT(nr, 200);
}

TEST_HARNESS_MAIN
