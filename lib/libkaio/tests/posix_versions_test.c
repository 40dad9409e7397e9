// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A program that was linked to an old librt: it uses aio_* of the first glibc
 * for this machine, and each of the three lio_listio. (On arm64 there are two.)
 */
#include "posix_common.h"

#define SIGNAL	(SIGRTMIN + 3)

#ifdef __x86_64__
#define OLD	"GLIBC_2.2.5"
#define MIDDLE	"GLIBC_2.4"
#else
#define OLD	"GLIBC_2.17"
#define MIDDLE	OLD
#endif

/* Makes the linker take @name for this versioned symbol. */
#define BIND(name, symbol) __asm__(".symver " #name "," symbol)

extern typeof(aio_read) old_aio_read;
extern typeof(aio_read64) old_aio_read64;
extern typeof(aio_write) old_aio_write;
extern typeof(aio_write64) old_aio_write64;
extern typeof(aio_fsync) old_aio_fsync;
extern typeof(aio_fsync64) old_aio_fsync64;
extern typeof(aio_error) old_aio_error;
extern typeof(aio_error64) old_aio_error64;
extern typeof(aio_return) old_aio_return;
extern typeof(aio_return64) old_aio_return64;
extern typeof(aio_suspend) old_aio_suspend;
extern typeof(aio_suspend64) old_aio_suspend64;
extern typeof(aio_cancel) old_aio_cancel;
extern typeof(aio_cancel64) old_aio_cancel64;
extern typeof(aio_init) old_aio_init;
#ifdef __x86_64__
extern typeof(lio_listio) old_lio_listio;
extern typeof(lio_listio64) old_lio_listio64;
#endif
extern typeof(lio_listio) middle_lio_listio;
extern typeof(lio_listio64) middle_lio_listio64;

BIND(old_aio_read, "aio_read@" OLD);
BIND(old_aio_read64, "aio_read64@" OLD);
BIND(old_aio_write, "aio_write@" OLD);
BIND(old_aio_write64, "aio_write64@" OLD);
BIND(old_aio_fsync, "aio_fsync@" OLD);
BIND(old_aio_fsync64, "aio_fsync64@" OLD);
BIND(old_aio_error, "aio_error@" OLD);
BIND(old_aio_error64, "aio_error64@" OLD);
BIND(old_aio_return, "aio_return@" OLD);
BIND(old_aio_return64, "aio_return64@" OLD);
BIND(old_aio_suspend, "aio_suspend@" OLD);
BIND(old_aio_suspend64, "aio_suspend64@" OLD);
BIND(old_aio_cancel, "aio_cancel@" OLD);
BIND(old_aio_cancel64, "aio_cancel64@" OLD);
BIND(old_aio_init, "aio_init@" OLD);
#ifdef __x86_64__
BIND(old_lio_listio, "lio_listio@" OLD);
BIND(old_lio_listio64, "lio_listio64@" OLD);
#endif
BIND(middle_lio_listio, "lio_listio@" MIDDLE);
BIND(middle_lio_listio64, "lio_listio64@" MIDDLE);

static char buf[PAGE];

TEST(requests)
{
	const struct aioinit init = { .aio_num = 1 };
	struct aiocb cb = block_of(open_temp(DISK_DIR, 0), buf, PAGE, 0);
	const struct aiocb *list[] = { &cb };

	old_aio_init(&init);
	ASSERT_EQ(0, old_aio_write(&cb));
	ASSERT_EQ(0, old_aio_suspend(list, 1, &patience));
	EXPECT_EQ(0, old_aio_error(&cb));
	EXPECT_EQ((ssize_t)PAGE, old_aio_return(&cb));
	ASSERT_EQ(0, old_aio_read(&cb));
	ASSERT_EQ(0, old_aio_suspend(list, 1, &patience));
	ASSERT_EQ(0, old_aio_fsync(O_SYNC, &cb));
	ASSERT_EQ(0, old_aio_suspend(list, 1, &patience));
	EXPECT_EQ(AIO_ALLDONE, old_aio_cancel(cb.aio_fildes, &cb));
	EXPECT_EQ(3, module_counter("submitted"));
}

TEST(requests_of_64_bits)
{
	struct aiocb64 cb = {
		.aio_fildes = open_temp(DISK_DIR, 0),
		.aio_buf = buf,
		.aio_nbytes = PAGE,
		.aio_sigevent.sigev_notify = SIGEV_NONE,
	};
	const struct aiocb64 *list[] = { &cb };

	ASSERT_EQ(0, old_aio_write64(&cb));
	ASSERT_EQ(0, old_aio_suspend64(list, 1, &patience));
	EXPECT_EQ(0, old_aio_error64(&cb));
	EXPECT_EQ((ssize_t)PAGE, old_aio_return64(&cb));
	ASSERT_EQ(0, old_aio_read64(&cb));
	ASSERT_EQ(0, old_aio_suspend64(list, 1, &patience));
	ASSERT_EQ(0, old_aio_fsync64(O_SYNC, &cb));
	ASSERT_EQ(0, old_aio_suspend64(list, 1, &patience));
	EXPECT_EQ(AIO_ALLDONE, old_aio_cancel64(cb.aio_fildes, &cb));
	EXPECT_EQ(3, module_counter("submitted"));
}

/* A list of one write with a notification of its own. */
FIXTURE(lists)
{
	struct aiocb cb;
	struct aiocb *list[1];
	struct sigevent event;
};

FIXTURE_SETUP(lists)
{
	see_signals(_metadata, SIGNAL);
	self->cb = block_of(open_temp(DISK_DIR, 0), buf, PAGE, 0);
	self->cb.aio_lio_opcode = LIO_WRITE;
	self->cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	self->cb.aio_sigevent.sigev_signo = SIGNAL;
	self->event = self->cb.aio_sigevent;
	self->list[0] = &self->cb;
}

FIXTURE_TEARDOWN(lists)
{
	EXPECT_EQ(1, module_counter("submitted"));
}

#ifdef __x86_64__
/* Until glibc 2.4 only the end of the whole list was notified. */
TEST_F(lists, oldest)
{
	ASSERT_EQ(0, old_lio_listio(LIO_NOWAIT, self->list, 1, &self->event));
	ASSERT_EQ((ssize_t)PAGE, result_of(&self->cb));
	EXPECT_TRUE(wait_until(times_seen() == 1));
	EXPECT_TRUE(no_more_signals(1));
}

TEST_F(lists, oldest_of_64_bits)
{
	ASSERT_EQ(0, old_lio_listio64(LIO_NOWAIT, (struct aiocb64 **)self->list, 1,
				      &self->event));
	ASSERT_EQ((ssize_t)PAGE, result_of(&self->cb));
	EXPECT_TRUE(wait_until(times_seen() == 1));
	EXPECT_TRUE(no_more_signals(1));
}
#endif

TEST_F(lists, middle)
{
	ASSERT_EQ(0, middle_lio_listio(LIO_NOWAIT, self->list, 1, &self->event));
	EXPECT_TRUE(wait_until(times_seen() == 2));
}

TEST_F(lists, middle_of_64_bits)
{
	ASSERT_EQ(0, middle_lio_listio64(LIO_NOWAIT, (struct aiocb64 **)self->list,
					 1, &self->event));
	EXPECT_TRUE(wait_until(times_seen() == 2));
}

TEST_F(lists, newest)
{
	ASSERT_EQ(0, lio_listio(LIO_NOWAIT, self->list, 1, &self->event));
	EXPECT_TRUE(wait_until(times_seen() == 2));
}

TEST_HARNESS_MAIN
