// SPDX-License-Identifier: GPL-2.0
/*
 * Reads that wait for a page without a thread (IOCB_WAITQ), step by step: the page
 * of a file that does what it is told is unlocked at any moment and from anywhere,
 * also before the attempt that waits for it is back.
 */
#include "mock_fixture.h"

/* Kept for the kernel: see include/linux/fs.h. */
#define IOCB_NOWAIT	RWF_NOWAIT
#define IOCB_WAITQ	(1 << 19)
#define IOCB_NOIO	(1 << 20)
#define IOCB_EFFORT	(IOCB_NOWAIT | IOCB_WAITQ | IOCB_NOIO)

/* How far an attempt may go. */
#define CACHED		(IOCB_NOWAIT | IOCB_NOIO)
#define PAGES		IOCB_WAITQ
#define WAITS		0

/* The attempts from the first on went so far, and there were no more. */
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

/* One request waits for the page, and its attempt is back. */
static bool waits_for_page(int file)
{
	struct kaio_mock_info info;

	return wait_until((info = mock_info(file)).page_waiters == 1 &&
			  !info.running);
}

/* Submit a read that waits for the page until it is told, and then gives 5 bytes. */
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
 * Whoever unlocks the page.
 */
FIXTURE(unlocked)
{
	struct mock m;
};

FIXTURE_VARIANT(unlocked)
{
	enum kaio_mock_when when;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(unlocked, by_task) { .when = KAIO_MOCK_NOW };
FIXTURE_VARIANT_ADD(unlocked, by_kworker) { .when = KAIO_MOCK_WORK };
FIXTURE_VARIANT_ADD(unlocked, by_interrupt) { .when = KAIO_MOCK_IRQ };
/* clang-format on */

FIXTURE_SETUP(unlocked)
{
	mock_set_up(_metadata, &self->m, KAIO_MOCK_PAGES);
}

FIXTURE_TEARDOWN(unlocked)
{
	mock_tear_down(_metadata, &self->m);
}

TEST_F(unlocked, later)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	wait_for_page(_metadata, m, &iocb);
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_unlock(m->file, variant->when, KAIO_MOCK_THIS_PAGE));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	expect_efforts(m->file, CACHED, PAGES, CACHED);
	EXPECT_EQ(1, kaio_stat(m->fd, "kicked"));
	EXPECT_EQ(1, kaio_stat(m->fd, "queued"));
}

/* By task: always before the attempt is back. Else before or after. */
TEST_F(unlocked, within_attempt)
{
	struct mock *m = &self->m;
	struct iocb iocb;
	int i;

	for (i = 1; i <= 100; i++) {
		memset(m->buf, 0, sizeof(m->buf));
		ASSERT_EQ(0, mock_program(m->file, 1, 0, COLD,
					  WAITS_FOR_PAGE(variant->when),
					  GIVES(26)));
		mock_pread(m, &iocb, 26);
		ASSERT_EQ(1, mock_submit(m, &iocb));
		expect_end(_metadata, m, &iocb, 26);
		ASSERT_STREQ("abcdefghijklmnopqrstuvwxyz", m->buf);
		ASSERT_EQ(3 * i, (int)mock_info(m->file).attempts);
	}
	EXPECT_EQ(1, mock_info(m->file).most_running);
	EXPECT_EQ(100, kaio_stat(m->fd, "kicked"));
}

/* The page is taken away again before its reader comes: it waits once more. */
TEST_F(unlocked, and_cold_again)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, COLD,
				  WAITS_FOR_PAGE(variant->when), COLD,
				  WAITS_FOR_PAGE(variant->when), GIVES(5)));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	expect_efforts(m->file, CACHED, PAGES, CACHED, PAGES, CACHED);
	EXPECT_EQ(2, kaio_stat(m->fd, "kicked"));
	EXPECT_EQ(2, kaio_stat(m->fd, "queued"));
}

/* Two pages, one after the other: what the first had stays. */
TEST_F(unlocked, after_a_part)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, COLD,
				  WAITS_FOR_PAGE(variant->when),
				  { .attempts = 1, .result = 3 }, COLD,
				  WAITS_FOR_PAGE(variant->when), GIVES(2)));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
}

/* The wait queues of pages are shared: most wake-ups are for others. */
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

TEST_F(unlocked, another_page)
{
	wake_for_another(_metadata, &self->m, variant->when, KAIO_MOCK_OTHER_PAGE);
}

TEST_F(unlocked, another_bit)
{
	wake_for_another(_metadata, &self->m, variant->when, KAIO_MOCK_OTHER_BIT);
}

/* All who wait for it. */
TEST_F(unlocked, for_many)
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
 * One thing each.
 */
FIXTURE(page)
{
	struct mock m;
};

FIXTURE_SETUP(page)
{
	mock_set_up(_metadata, &self->m, KAIO_MOCK_PAGES);
}

FIXTURE_TEARDOWN(page)
{
	mock_tear_down(_metadata, &self->m);
}

TEST_F(page, in_memory)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
	expect_efforts(m->file, CACHED);
	EXPECT_EQ(0, mock_info(m->file).kthread);
	EXPECT_EQ(1, kaio_stat(m->fd, "inline"));
}

/* Nobody unlocks a page for this file, or not now: a worker waits in the call. */
TEST_F(page, nobody_to_wait_for)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, COLD,
				  { .attempts = 1, .result = -EAGAIN },
				  { .result = 5,
				    .sleep = KAIO_MOCK_KILLABLE }));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	ASSERT_TRUE(mock_sleeps(m->file));
	EXPECT_TRUE(no_event(m));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	expect_efforts(m->file, CACHED, PAGES, WAITS);
	EXPECT_EQ(1, mock_info(m->file).kthread);
	EXPECT_EQ(0, kaio_stat(m->fd, "kicked"));
}

/* The same in the second round. */
TEST_F(page, nobody_to_wait_for_again)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, COLD,
				  WAITS_FOR_PAGE(KAIO_MOCK_NOW), COLD,
				  { .attempts = 1, .result = -EAGAIN },
				  GIVES(5)));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
	expect_efforts(m->file, CACHED, PAGES, CACHED, PAGES, WAITS);
}

/* A worker that has some of it goes on where it may wait for a page. */
TEST_F(page, after_what_a_worker_read)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, COLD,
				  { .attempts = 1, .result = 3 },
				  WAITS_FOR_PAGE(KAIO_MOCK_NOW), GIVES(2)));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_STREQ("abcde", m->buf);
	expect_efforts(m->file, CACHED, PAGES, PAGES, CACHED);
}

TEST_F(page, error_after_it)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, COLD,
				  WAITS_FOR_PAGE(KAIO_MOCK_NOW), GIVES(-EIO)));
	mock_pread(m, &iocb, 5);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, -EIO);
}

/* RWF_NOWAIT asks for just that answer. */
TEST_F(page, not_for_nowait)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, COLD,
				  WAITS_FOR_PAGE(KAIO_MOCK_TOLD), GIVES(5)));
	mock_pread(m, &iocb, 5);
	iocb.aio_rw_flags = RWF_NOWAIT;
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, -EAGAIN);
	expect_efforts(m->file, IOCB_NOWAIT);
}

/* A write has no page to wait for. */
TEST_F(page, not_for_write)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, COLD,
				  { .result = 5, .page = KAIO_MOCK_TOLD }));
	prep_pwrite(&iocb, m->file, "hello", 5, 0);
	ASSERT_EQ(1, mock_submit(m, &iocb));
	expect_end(_metadata, m, &iocb, 5);
	expect_efforts(m->file, IOCB_NOWAIT, WAITS);
}

/* It waits for nobody else, and holds up nobody: it has no thread. */
TEST_F(page, others_overtake)
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
 * Cancel: the page has it, and it goes on.
 */
TEST_F(page, cancel)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	wait_for_page(_metadata, m, &iocb);
	EXPECT_EQ(-EINVAL, mock_cancel(m, &iocb));
	EXPECT_EQ(-EINVAL, mock_cancel(m, &iocb));
	EXPECT_TRUE(no_event(m));
	EXPECT_TRUE(waits_for_page(m->file));
	ASSERT_EQ(0, mock_unlock(m->file, KAIO_MOCK_NOW, KAIO_MOCK_THIS_PAGE));
	expect_end(_metadata, m, &iocb, 5);
	EXPECT_EQ(-EINVAL, mock_cancel(m, &iocb));
	EXPECT_EQ(0, kaio_stat(m->fd, "cancelled"));
}

/* Nor is it given up in the attempt that follows, which may be in hardware. */
TEST_F(page, cancel_after_it)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	wait_for_page(_metadata, m, &iocb);
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  { .result = 5,
				    .sleep = KAIO_MOCK_KILLABLE }));
	ASSERT_EQ(0, mock_unlock(m->file, KAIO_MOCK_NOW, KAIO_MOCK_THIS_PAGE));
	ASSERT_TRUE(mock_sleeps(m->file));
	EXPECT_EQ(-EINVAL, mock_cancel(m, &iocb));
	ASSERT_EQ(0, mock_let_go(m->file, 1));
	expect_end(_metadata, m, &iocb, 5);
}

TEST_HARNESS_MAIN
