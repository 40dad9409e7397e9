// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * lio_listio.
 */
#include "posix_common.h"

#define SIGNAL	(SIGRTMIN + 3)
#define NR	32

static char buf[NR][PAGE];

/* Reads of a file, one for each page. */
FIXTURE(list)
{
	int file;
	struct aiocb cb[NR];
	struct aiocb *list[NR];
	struct sigevent event;
};

FIXTURE_SETUP(list)
{
	int i;

	see_signals(_metadata, SIGNAL);
	self->file = open_pattern(DISK_DIR, 4, NR * PAGE);
	ASSERT_LE(0, self->file);
	for (i = 0; i < NR; i++) {
		self->cb[i] = block_of(self->file, buf[i], PAGE, i * PAGE);
		self->cb[i].aio_lio_opcode = LIO_READ;
		self->list[i] = &self->cb[i];
	}
	self->event = (struct sigevent){
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGNAL,
		.sigev_value.sival_int = 99,
	};
}

FIXTURE_TEARDOWN(list)
{
}

TEST_F(list, wait)
{
	int i;

	ASSERT_EQ(0, lio_listio(LIO_WAIT, self->list, NR, NULL));
	for (i = 0; i < NR; i++) {
		EXPECT_EQ(0, aio_error(&self->cb[i]));
		EXPECT_EQ((ssize_t)PAGE, aio_return(&self->cb[i]));
		EXPECT_TRUE(is_pattern(buf[i], PAGE, 4, i * PAGE));
	}
	EXPECT_EQ(NR, module_counter("submitted"));
}

TEST_F(list, name_of_64_bits)
{
	ASSERT_EQ(0, lio_listio64(LIO_WAIT, (struct aiocb64 **)self->list, NR,
				  NULL));
	EXPECT_EQ((ssize_t)PAGE, aio_return(&self->cb[NR - 1]));
	EXPECT_EQ(NR, module_counter("submitted"));
}

/* A list that is waited for ignores `sig`. */
TEST_F(list, wait_has_no_notification)
{
	ASSERT_EQ(0, lio_listio(LIO_WAIT, self->list, NR, &self->event));
	EXPECT_TRUE(no_more_signals(0));
}

TEST_F(list, nowait)
{
	int i;

	ASSERT_EQ(0, lio_listio(LIO_NOWAIT, self->list, NR, NULL));
	for (i = 0; i < NR; i++)
		EXPECT_EQ((ssize_t)PAGE, result_of(&self->cb[i]));
}

/* The notification comes when all requests are complete, and not before. */
TEST_F(list, nowait_notification)
{
	int fds[2], i;

	empty_pipe(_metadata, fds);
	self->cb[3].aio_fildes = fds[0];
	ASSERT_EQ(0, lio_listio(LIO_NOWAIT, self->list, NR, &self->event));
	for (i = 0; i < NR; i++) {
		if (i != 3)
			ASSERT_EQ((ssize_t)PAGE, result_of(&self->cb[i]));
	}
	EXPECT_TRUE(no_more_signals(0));
	ASSERT_EQ(5, write(fds[1], "hello", 5));
	ASSERT_TRUE(wait_until(times_seen() == 1));
	EXPECT_EQ(SI_ASYNCIO, seen.info.si_code);
	EXPECT_EQ(99, seen.info.si_value.sival_int);
	EXPECT_EQ(0, aio_error(&self->cb[3]));
	EXPECT_TRUE(no_more_signals(1));
}

static int calls;

static void called(union sigval value)
{
	if (value.sival_int == 99)
		__atomic_add_fetch(&calls, 1, __ATOMIC_RELEASE);
}

TEST_F(list, nowait_thread)
{
	self->event.sigev_notify = SIGEV_THREAD;
	self->event.sigev_notify_function = called;
	ASSERT_EQ(0, lio_listio(LIO_NOWAIT, self->list, NR, &self->event));
	EXPECT_TRUE(wait_until(__atomic_load_n(&calls, __ATOMIC_ACQUIRE) == 1));
}

/* In addition, each request has its own notification. */
TEST_F(list, each_notification)
{
	sigset_t set;
	siginfo_t info;
	int i, of_requests = 0, of_list = 0;

	set = block_signal(_metadata, SIGNAL);
	for (i = 0; i < NR; i++) {
		self->cb[i].aio_sigevent = self->event;
		self->cb[i].aio_sigevent.sigev_value.sival_int = i;
	}
	ASSERT_EQ(0, lio_listio(LIO_NOWAIT, self->list, NR, &self->event));
	for (i = 0; i <= NR; i++) {
		ASSERT_EQ(SIGNAL, sigtimedwait(&set, &info, &patience));
		if (info.si_value.sival_int == 99)
			of_list++;
		else
			of_requests++;
	}
	EXPECT_EQ(NR, of_requests);
	EXPECT_EQ(1, of_list);
}

TEST_F(list, empty_list)
{
	EXPECT_EQ(0, lio_listio(LIO_WAIT, self->list, 0, NULL));
	EXPECT_EQ(0, lio_listio(LIO_NOWAIT, self->list, 0, NULL));
}

/* A list without requests is complete at once. */
TEST_F(list, empty_list_notification)
{
	ASSERT_EQ(0, lio_listio(LIO_NOWAIT, self->list, 0, &self->event));
	ASSERT_TRUE(wait_until(times_seen() == 1));
	EXPECT_EQ(99, seen.info.si_value.sival_int);
}

TEST_F(list, skipped)
{
	self->list[0] = NULL;
	self->cb[1].aio_lio_opcode = LIO_NOP;
	self->cb[1].aio_fildes = -1;
	ASSERT_EQ(0, lio_listio(LIO_WAIT, self->list, 3, NULL));
	EXPECT_EQ((ssize_t)PAGE, aio_return(&self->cb[2]));
	EXPECT_EQ(0, aio_error(&self->cb[1]));
	EXPECT_EQ(1, module_counter("submitted"));
}

TEST_F(list, only_skipped_notification)
{
	self->list[0] = NULL;
	self->cb[1].aio_lio_opcode = LIO_NOP;
	ASSERT_EQ(0, lio_listio(LIO_NOWAIT, self->list, 2, &self->event));
	EXPECT_TRUE(wait_until(times_seen() == 1));
}

TEST_F(list, reads_and_writes)
{
	const int fd = open_temp(DISK_DIR, 0);

	self->cb[1] = block_of(fd, "hello", 5, 0);
	self->cb[1].aio_lio_opcode = LIO_WRITE;
	ASSERT_EQ(0, lio_listio(LIO_WAIT, self->list, 2, NULL));
	EXPECT_EQ((ssize_t)PAGE, aio_return(&self->cb[0]));
	EXPECT_EQ(5, aio_return(&self->cb[1]));
	EXPECT_EQ(5, pread(fd, buf, sizeof(buf), 0));
}

/* Errors. */
TEST_F(list, bad_mode)
{
	EXPECT_EQ(-1, lio_listio(2, self->list, NR, NULL));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, kaio_find_fd());
}

TEST_F(list, negative_number)
{
	EXPECT_EQ(-1, lio_listio(LIO_WAIT, self->list, -1, NULL));
	EXPECT_EQ(EINVAL, errno);
}

/* As with glibc, there is no notification. */
TEST_F(list, unknown_notification)
{
	self->event.sigev_notify = 77;
	ASSERT_EQ(0, lio_listio(LIO_NOWAIT, self->list, 1, &self->event));
	EXPECT_EQ((ssize_t)PAGE, result_of(&self->cb[0]));
	EXPECT_TRUE(no_more_signals(0));
}

/* As with glibc, the requests are not affected. */
TEST_F(list, invalid_signal)
{
	self->event.sigev_signo = SIGRTMAX + 1;
	ASSERT_EQ(0, lio_listio(LIO_NOWAIT, self->list, 1, &self->event));
	EXPECT_EQ((ssize_t)PAGE, result_of(&self->cb[0]));
}

TEST_F(list, invalid_signal_of_one)
{
	self->cb[1].aio_sigevent = self->event;
	self->cb[1].aio_sigevent.sigev_signo = SIGRTMAX + 1;
	EXPECT_EQ(-1, lio_listio(LIO_WAIT, self->list, 2, NULL));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ((ssize_t)PAGE, result_of(&self->cb[0]));
	EXPECT_EQ(EINVAL, aio_error(&self->cb[1]));
}

TEST_F(list, notification_without_function)
{
	self->event.sigev_notify = SIGEV_THREAD;
	self->event.sigev_notify_function = NULL;
	EXPECT_EQ(-1, lio_listio(LIO_NOWAIT, self->list, NR, &self->event));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, kaio_find_fd());
}

/* The other requests are done, and the call reports that one has failed. */
TEST_F(list, one_fails)
{
	self->cb[1].aio_fildes = -1;
	EXPECT_EQ(-1, lio_listio(LIO_WAIT, self->list, 3, NULL));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ((ssize_t)PAGE, aio_return(&self->cb[0]));
	EXPECT_EQ(EBADF, aio_error(&self->cb[1]));
	EXPECT_EQ((ssize_t)PAGE, aio_return(&self->cb[2]));
}

TEST_F(list, bad_opcode)
{
	self->cb[1].aio_lio_opcode = 17;
	EXPECT_EQ(-1, lio_listio(LIO_WAIT, self->list, 2, NULL));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(EINVAL, aio_error(&self->cb[1]));
	EXPECT_EQ(0, aio_error(&self->cb[0]));
}

/*
 * The other request is done, so the error cannot be EINVAL: see lio_listio(3).
 */
TEST_F(list, bad_priority)
{
	self->cb[1].aio_reqprio = 21;
	EXPECT_EQ(-1, lio_listio(LIO_NOWAIT, self->list, 2, NULL));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(EINVAL, aio_error(&self->cb[1]));
	EXPECT_EQ((ssize_t)PAGE, result_of(&self->cb[0]));
}

/* No request can be queued, and the control blocks contain that error too. */
TEST_F(list, no_descriptors)
{
	const struct rlimit none = { 3, 3 };
	int i;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	self->cb[1].aio_reqprio = 21;
	EXPECT_EQ(-1, lio_listio(LIO_NOWAIT, self->list, 3, NULL));
	EXPECT_EQ(EAGAIN, errno);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(i == 1 ? EINVAL : EAGAIN, aio_error(&self->cb[i]));
		EXPECT_EQ(-1, aio_return(&self->cb[i]));
	}
	EXPECT_EQ(-1, aio_read(&self->cb[4]));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(EAGAIN, aio_error(&self->cb[4]));
}

/* The call does not report a request that was queued and fails later. */
TEST_F(list, one_fails_later)
{
	self->cb[1].aio_fildes = -1;
	EXPECT_EQ(0, lio_listio(LIO_NOWAIT, self->list, 3, &self->event));
	EXPECT_TRUE(wait_until(times_seen() == 1));
	EXPECT_EQ(EBADF, aio_error(&self->cb[1]));
}

static long list_and_wait(void *arg)
{
	return lio_listio(LIO_WAIT, arg, 2, NULL) ? -errno : 0;
}

TEST_F(list, interrupted)
{
	struct sleeper sleeper;
	int fds[2];

	see_signals(_metadata, SIGUSR1);
	empty_pipe(_metadata, fds);
	self->cb[1].aio_fildes = fds[0];
	ASSERT_TRUE(fall_asleep(&sleeper, list_and_wait, self->list));
	EXPECT_EQ(-EINTR, interrupt(&sleeper, SIGUSR1));
	/* The requests go on. */
	EXPECT_EQ(EINPROGRESS, aio_error(&self->cb[1]));
	ASSERT_EQ(5, write(fds[1], "hello", 5));
	EXPECT_EQ(5, result_of(&self->cb[1]));
}

TEST_F(list, one_is_cancelled)
{
	struct sleeper sleeper;
	int fds[2];

	empty_pipe(_metadata, fds);
	self->cb[1].aio_fildes = fds[0];
	ASSERT_TRUE(fall_asleep(&sleeper, list_and_wait, self->list));
	ASSERT_EQ(AIO_CANCELED, aio_cancel(fds[0], NULL));
	EXPECT_EQ(-EIO, woken(&sleeper));
	EXPECT_EQ(ECANCELED, aio_error(&self->cb[1]));
}

/*
 * A list may have any length: there is no AIO_LISTIO_MAX, and a list may be
 * longer than a context.
 */
#define MANY 5000

TEST(many)
{
	static struct aiocb cb[MANY];
	static struct aiocb *list[MANY];
	static char byte[MANY], back[MANY];
	const int fd = open_temp(MEM_DIR, 0);
	int i;

	for (i = 0; i < MANY; i++) {
		byte[i] = i % 251;
		cb[i] = block_of(fd, &byte[i], 1, i);
		cb[i].aio_lio_opcode = LIO_WRITE;
		list[i] = &cb[i];
	}
	ASSERT_EQ(0, lio_listio(LIO_WAIT, list, MANY, NULL));
	EXPECT_EQ(MANY, module_counter("submitted"));
	ASSERT_EQ(MANY, pread(fd, back, MANY, 0));
	EXPECT_EQ(0, memcmp(byte, back, MANY));
}

/*
 * There is no memory for so many requests. The control blocks of those that
 * could not be queued contain that error, and the other requests are done.
 */
TEST(many_without_memory)
{
	static struct aiocb cb[MANY];
	static struct aiocb *list[MANY];
	static char byte[MANY];
	const int fd = open_temp(MEM_DIR, 0);
	const struct rlimit none = { 0, RLIM_INFINITY }, all = { RLIM_INFINITY, RLIM_INFINITY };
	int i, without = 0;

	for (i = 0; i < MANY; i++) {
		cb[i] = block_of(fd, &byte[i], 1, i);
		cb[i].aio_lio_opcode = LIO_WRITE;
		list[i] = &cb[i];
	}
	ASSERT_EQ(0, aio_write(&cb[0]));
	ASSERT_EQ(1, result_of(&cb[0]));
	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &none));
	EXPECT_EQ(-1, lio_listio(LIO_WAIT, list, MANY, NULL));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &all));
	for (i = 0; i < MANY; i++) {
		if (aio_error(&cb[i]) == EAGAIN)
			without++;
		else
			ASSERT_EQ(1, aio_return(&cb[i]));
	}
	EXPECT_LT(0, without);
}

/* More requests wait than one context holds. */
TEST(many_wait)
{
	static struct aiocb cb[MANY];
	static char byte[MANY];
	int fds[2], i;
	static char data[MANY];

	empty_pipe(_metadata, fds);
	ASSERT_LE(MANY, fcntl(fds[1], F_SETPIPE_SZ, 65536));
	for (i = 0; i < MANY; i++) {
		data[i] = i % 251;
		cb[i] = block_of(fds[0], &byte[i], 1, 0);
		ASSERT_EQ(0, aio_read(&cb[i]));
	}
	ASSERT_EQ(MANY, write(fds[1], data, MANY));
	for (i = 0; i < MANY; i++)
		ASSERT_EQ(1, result_of(&cb[i]));
	/* The requests are served in their order. */
	EXPECT_EQ(0, memcmp(byte, data, MANY));
}

TEST_HARNESS_MAIN
