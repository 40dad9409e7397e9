// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Taking events from the ring without a system call, and bad pointers, numbers
 * and contexts.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "libaio_fixture.h"

/*
 * Makes each system call but read, write and exit kill the process from now on.
 * A child that calls this ends with stop().
 */
static void no_more_system_calls(void)
{
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
}

static void __attribute__((noreturn)) stop(int status)
{
	for (;;)
		syscall(SYS_exit, status);
}

/* Destroys the context and forks, so that only the child has a context. */
static pid_t fork_without_context(struct __test_metadata *const _metadata, FIXTURE_DATA(aio) *self)
{
	ASSERT_EQ(io_destroy(self->ctx), 0);
	self->ctx = NULL;
	return fork();
}

TEST_F(aio, present_events_need_no_system_call)
{
	/*
	 * The buffer has a page of its own, which the library caches as a
	 * whole.
	 */
	static struct io_event events[8] __attribute__((aligned(PAGE)));
	struct iocb iocbs[8];
	const pid_t pid = fork_without_context(_metadata, self);

	if (!pid) {
		int ret;

		if (io_setup(64, &self->ctx) || submit_ready(self->ctx, iocbs, 8, self->pipe[1]) != 8)
			_exit(10);
		/* This call puts the buffer into the library's cache. */
		if (io_getevents(self->ctx, 1, 1, events, &patience) != 1)
			_exit(11);
		no_more_system_calls();
		ret = io_getevents(self->ctx, 1, 3, events, NULL);
		if (ret == 3)
			ret += io_getevents(self->ctx, 4, 8, events, &patience);
		stop(ret == 7 ? 0 : 20 + ret);
	}
	EXPECT_EQ(join(pid), 0);
}

TEST_F(aio, an_empty_ring_needs_no_system_call_with_zero_timeout)
{
	const pid_t pid = fork_without_context(_metadata, self);

	if (!pid) {
		if (io_setup(64, &self->ctx) ||
		    io_getevents(self->ctx, 0, 1, self->events, &no_time))
			_exit(10);
		no_more_system_calls();
		stop(io_getevents(self->ctx, 1, 1, self->events, &no_time));
	}
	EXPECT_EQ(join(pid), 0);
}

/* From now on system call @nr has the outcome @action, as of seccomp(2). */
static int forbid(long nr, unsigned int action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { sizeof(code) / sizeof(*code), code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

/*
 * Submits a request that is over at once and one that is not, and waits for both.
 * Returns 0, or a number that says what went wrong.
 */
static int submit_and_wait(io_context_t ctx, const int *pipes)
{
	struct timespec moment = { .tv_nsec = 20000000 };
	struct iocb iocbs[2], bad = {}, *list = &bad;
	struct io_event events[2];

	if (submit_ready(ctx, &iocbs[0], 1, pipes[1]) != 1 ||
	    submit_poll(ctx, &iocbs[1], pipes[0]) != 1)
		return 1;
	/* The kernel waits, since there are not so many events. */
	if (io_getevents(ctx, 2, 2, events, &moment) != 1)
		return 2;
	if (write(pipes[1], "x", 1) != 1 || io_getevents(ctx, 1, 1, events, &patience) != 1)
		return 3;
	bad.aio_lio_opcode = 99;
	bad.aio_fildes = pipes[0];
	return io_submit(ctx, 1, &list) == -EINVAL ? 0 : 4;
}

/* Submits and waits in a child in which system call @nr has that outcome. */
static int child_without(FIXTURE_DATA(aio) *self, long nr, unsigned int action)
{
	pid_t pid;

	if (io_destroy(self->ctx))
		return -1;
	self->ctx = NULL;
	pid = fork();
	if (!pid) {
		io_context_t ctx = NULL;
		int ret;

		if (io_setup(64, &ctx) || forbid(nr, action))
			_exit(10);
		ret = submit_and_wait(ctx, self->pipe);
		/* Now the pipe can be read at once. */
		if (!ret && (submit_poll(ctx, &self->iocb, self->pipe[0]) != 1 ||
			     io_getevents(ctx, 1, 1, self->events, &patience) != 1))
			ret = 5;
		_exit(ret);
	}
	return join(pid);
}

/* The library makes frequent calls by fadvise64(2): these work without ioctl(2). */
TEST_F(aio, frequent_calls_need_no_ioctl)
{
	int errors = 0;
	const pid_t pid = fork_without_context(_metadata, self);

	if (!pid) {
		struct iocb iocb;

		if (io_setup(64, &self->ctx) || forbid(SYS_ioctl, SECCOMP_RET_KILL_PROCESS))
			_exit(10);
		errors += submit_ready(self->ctx, &iocb, 1, self->pipe[1]) != 1;
		errors += submit_poll(self->ctx, &self->iocb, self->pipe[0]) != 1;
		errors += io_getevents(self->ctx, 1, 1, self->events, &patience) != 1;
		errors += write(self->pipe[1], "x", 1) != 1;
		errors += io_getevents(self->ctx, 1, 1, self->events, &patience) != 1;
		_exit(errors);
	}
	EXPECT_EQ(join(pid), 0);
}

/* The library tells the error of the first request as the kernel does. */
TEST_F(aio, errors_of_the_first_request)
{
	const pid_t pid = fork_without_context(_metadata, self);

	if (!pid) {
		struct iocb *iocb = &self->iocb;

		/* This user may not ask for the real-time priority. */
		if (io_setup(64, &self->ctx) || setuid(65534))
			_exit(10);
		io_prep_pread(iocb, self->pipe[0], self->buf, 1, 0);
		iocb->u.c.flags = 2; /* IOCB_FLAG_IOPRIO */
		iocb->aio_reqprio = 1 << 13;
		if (io_submit(self->ctx, 1, &iocb) != -EPERM)
			_exit(11);
		iocb->u.c.flags = 0;
		iocb->aio_fildes = -1;
		_exit(io_submit(self->ctx, 1, &iocb) == -EBADF ? 0 : 12);
	}
	EXPECT_EQ(join(pid), 0);
}

/* A filter of seccomp may not know the quick way. */
TEST_F(aio, a_filter_refuses_the_quick_way)
{
	EXPECT_EQ(child_without(self, SYS_fadvise64, SECCOMP_RET_ERRNO | EPERM), 0);
	/* The child has left a byte in the pipe. */
	ASSERT_EQ(read(self->pipe[0], self->buf, 1), 1);
	ASSERT_EQ(io_setup(64, &self->ctx), 0);
	EXPECT_EQ(child_without(self, SYS_fadvise64, SECCOMP_RET_ERRNO | ENOSYS), 0);
}

/* Submits 50 requests that are over at once, and takes their events in order. */
static void submit_and_take_fifty(struct __test_metadata *const _metadata, FIXTURE_DATA(aio) *self)
{
	struct iocb iocbs[50];
	int i;

	ASSERT_EQ(submit_ready(self->ctx, iocbs, 50, self->pipe[1]), 50);
	ASSERT_EQ(io_getevents(self->ctx, 50, 64, self->events, &patience), 50);
	for (i = 0; i < 50; i++)
		ASSERT_EQ(self->events[i].data, &iocbs[i]);
}

TEST_F(aio, events_wrap_around_the_ring)
{
	int round;

	for (round = 0; round < 40; round++)
		submit_and_take_fifty(_metadata, self);
}

TEST_F(aio, no_more_events_than_asked_for)
{
	struct iocb iocbs[5];

	ASSERT_EQ(submit_ready(self->ctx, iocbs, 5, self->pipe[1]), 5);
	memset(self->events, 0x55, sizeof(self->events));
	EXPECT_EQ(io_getevents(self->ctx, 0, 2, self->events, &no_time), 2);
	EXPECT_EQ(*(unsigned char *)&self->events[2], 0x55);
	EXPECT_EQ(io_getevents(self->ctx, 1, 64, self->events, &patience), 3);
}

TEST_F(aio, an_expired_timeout_returns_present_events)
{
	struct timespec time = { .tv_nsec = 20000000 }, before, after;
	struct iocb other;

	ASSERT_EQ(submit_ready(self->ctx, &self->iocb, 1, self->pipe[1]), 1);
	ASSERT_EQ(submit_poll(self->ctx, &other, self->pipe[0]), 1);
	clock_gettime(CLOCK_MONOTONIC, &before);
	EXPECT_EQ(io_getevents(self->ctx, 2, 2, self->events, &time), 1);
	clock_gettime(CLOCK_MONOTONIC, &after);
	EXPECT_GE((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec,
		  20000000);
}

TEST_F(aio, unusual_timeouts_are_accepted)
{
	struct timespec past = { .tv_sec = -1 }, end = { .tv_sec = INT64_MAX };
	struct timespec carry = { .tv_nsec = 1000000000 };

	EXPECT_EQ(io_getevents(self->ctx, 1, 1, self->events, &past), 0);
	EXPECT_EQ(io_getevents(self->ctx, 0, 1, self->events, &carry), 0);
	EXPECT_EQ(io_getevents(self->ctx, 0, 1, self->events, &end), 0);
	ASSERT_EQ(submit_ready(self->ctx, &self->iocb, 1, self->pipe[1]), 1);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, self->events, &end), 1);
}

/*
 * A program may rely on its buffered write being complete when it was
 * submitted, which is so with native AIO.
 */
TEST_F(aio, zero_minimum_waits_for_the_next_event)
{
	struct iocb *iocb = &self->iocb;
	pid_t pid;

	io_prep_pread(iocb, self->pipe[0], self->buf, 1, 0);
	ASSERT_EQ(io_submit(self->ctx, 1, &iocb), 1);
	pid = fork();
	if (!pid) {
		usleep(50000);
		_exit(write(self->pipe[1], "x", 1) != 1);
	}
	EXPECT_EQ(io_getevents(self->ctx, 0, 1, self->events, &patience), 1);
	EXPECT_EQ(join(pid), 0);
}

TEST_F(aio, zero_minimum_without_requests_does_not_wait)
{
	struct timespec before, after;

	ASSERT_EQ(submit_ready(self->ctx, &self->iocb, 1, self->pipe[1]), 1);
	ASSERT_EQ(io_getevents(self->ctx, 1, 1, self->events, &patience), 1);
	clock_gettime(CLOCK_MONOTONIC, &before);
	EXPECT_EQ(io_getevents(self->ctx, 0, 1, self->events, &patience), 0);
	clock_gettime(CLOCK_MONOTONIC, &after);
	EXPECT_LT(after.tv_sec - before.tv_sec, patience.tv_sec / 2);
}

TEST_F(aio, zero_minimum_without_timeout_does_not_wait)
{
	ASSERT_EQ(submit_poll(self->ctx, &self->iocb, self->pipe[0]), 1);
	EXPECT_EQ(io_getevents(self->ctx, 0, 1, self->events, NULL), 0);
}

TEST_F(aio, invalid_numbers_are_einval)
{
	EXPECT_EQ(io_getevents(self->ctx, -1, 1, self->events, &no_time), -EINVAL);
	EXPECT_EQ(io_getevents(self->ctx, 0, -1, self->events, &no_time), -EINVAL);
	EXPECT_EQ(io_getevents(self->ctx, 2, 1, self->events, &no_time), -EINVAL);
}

TEST_F(aio, a_bad_timeout_is_checked_first)
{
	void *page = inaccessible_page();

	ASSERT_NE(page, NULL);
	ASSERT_EQ(submit_ready(self->ctx, &self->iocb, 1, self->pipe[1]), 1);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, self->events, page), -EFAULT);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, self->events, KERNEL_POINTER), -EFAULT);
	EXPECT_EQ(io_getevents((io_context_t)8, 1, 1, self->events, page), -EFAULT);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, self->events, &patience), 1);
}

TEST_F(aio, a_bad_buffer_loses_no_event)
{
	char *page = inaccessible_page();

	ASSERT_NE(page, NULL);
	ASSERT_EQ(submit_ready(self->ctx, &self->iocb, 1, self->pipe[1]), 1);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, NULL, NULL), -EFAULT);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, (void *)page, NULL), -EFAULT);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, KERNEL_POINTER, NULL), -EFAULT);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, (void *)-8, NULL), -EFAULT);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, (void *)(page + PAGE - 8), NULL), -EFAULT);
	ASSERT_EQ(io_getevents(self->ctx, 1, 1, self->events, NULL), 1);
	EXPECT_EQ(self->events[0].data, &self->iocb);
}

TEST_F(aio, a_buffer_that_ends_too_early_is_efault)
{
	struct iocb iocbs[4];
	struct io_event *events;
	char *pages;

	pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(pages, MAP_FAILED);
	ASSERT_EQ(mprotect(pages + PAGE, PAGE, PROT_NONE), 0);
	events = (struct io_event *)(pages + PAGE) - 2;
	ASSERT_EQ(submit_ready(self->ctx, iocbs, 4, self->pipe[1]), 4);
	EXPECT_EQ(io_getevents(self->ctx, 4, 4, events, NULL), -EFAULT);
	EXPECT_EQ(io_getevents(self->ctx, 2, 2, events, NULL), 2);
	EXPECT_EQ(io_getevents(self->ctx, 2, 2, self->events, NULL), 2);
	EXPECT_EQ(self->events[0].data, &iocbs[2]);
}

TEST_F(aio, an_event_across_two_pages)
{
	struct iocb iocbs[4];
	struct io_event *events;
	char *pages;

	pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(pages, MAP_FAILED);
	events = (struct io_event *)(pages + PAGE - 40);
	ASSERT_EQ(submit_ready(self->ctx, iocbs, 4, self->pipe[1]), 4);
	ASSERT_EQ(io_getevents(self->ctx, 4, 4, events, NULL), 4);
	EXPECT_EQ(events[0].data, &iocbs[0]);
	EXPECT_EQ(events[1].data, &iocbs[1]);
	EXPECT_EQ(events[3].data, &iocbs[3]);
}

/* libaio itself reads at such an address. */
TEST_F(aio, an_invalid_context_is_einval)
{
	static char zeroes[2 * PAGE];
	io_context_t garbage[] = {
		NULL, (io_context_t)8, (io_context_t)-1, KERNEL_POINTER, inaccessible_page(),
		(io_context_t)zeroes, (io_context_t)((char *)self->ctx + 32),
		(io_context_t)((char *)self->ctx + PAGE),
	};
	size_t i;

	for (i = 0; i < sizeof(garbage) / sizeof(*garbage); i++) {
		EXPECT_EQ(io_getevents(garbage[i], 0, 1, self->events, &no_time), -EINVAL);
		EXPECT_EQ(io_getevents(garbage[i], 1, 1, self->events, NULL), -EINVAL);
		EXPECT_EQ(io_pgetevents(garbage[i], 1, 1, self->events, NULL, NULL), -EINVAL);
		EXPECT_EQ(io_submit(garbage[i], 0, NULL), -EINVAL);
		EXPECT_EQ(io_destroy(garbage[i]), -EINVAL);
	}
}

TEST_F(aio, a_destroyed_context_is_einval)
{
	io_context_t ctx = self->ctx;

	ASSERT_EQ(submit_ready(ctx, &self->iocb, 1, self->pipe[1]), 1);
	ASSERT_EQ(io_destroy(ctx), 0);
	self->ctx = NULL;
	EXPECT_EQ(io_getevents(ctx, 0, 1, self->events, &no_time), -EINVAL);
	EXPECT_EQ(io_getevents(ctx, 1, 1, self->events, NULL), -EINVAL);
	EXPECT_EQ(io_destroy(ctx), -EINVAL);
}

TEST_F(aio, contexts_at_one_address_are_distinct)
{
	int i;

	for (i = 0; i < 100; i++) {
		io_context_t ctx = NULL;

		ASSERT_EQ(io_setup(1, &ctx), 0);
		ASSERT_EQ(submit_ready(ctx, &self->iocb, 1, self->pipe[1]), 1);
		if (i % 2)
			ASSERT_EQ(io_getevents(ctx, 1, 1, self->events, NULL), 1);
		ASSERT_EQ(io_destroy(ctx), 0);
	}
}

/*
 * There are more contexts than the library's table has room for. The others
 * work too.
 */
TEST(many_contexts)
{
	enum { MANY = 1500 };
	static io_context_t ctx[MANY];
	struct io_event event;
	struct iocb iocb;
	int fds[2], i;

	ASSERT_EQ(pipe(fds), 0);
	for (i = 0; i < MANY; i++)
		ASSERT_EQ(io_setup(1, &ctx[i]), 0);
	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(submit_ready(ctx[i], &iocb, 1, fds[1]), 1);
		ASSERT_EQ(io_getevents(ctx[i], 1, 1, &event, &patience), 1);
		ASSERT_EQ(event.data, &iocb);
	}
	for (i = 0; i < MANY; i++)
		ASSERT_EQ(io_destroy(ctx[i]), 0);
}

static void nothing(int sig)
{
	(void)sig;
}

static void catch(int sig)
{
	struct sigaction action = { .sa_handler = nothing };

	sigaction(sig, &action, NULL);
}

/* Returns the length of the mapping at @start. */
static size_t mapped(void *start)
{
	unsigned long from, to, length = 0;
	char line[512];
	FILE *file = fopen("/proc/self/maps", "r");

	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%lx-%lx", &from, &to) == 2 && from == (unsigned long)start)
			length = to - from;
	fclose(file);
	return length;
}

/*
 * Unmapping the ring ends the context. The library notices that when it calls
 * the kernel.
 */
TEST_F(aio, a_context_with_an_unmapped_ring_is_einval)
{
	const size_t length = mapped(self->ctx);
	io_context_t ctx = self->ctx;

	ASSERT_GT(length, 0);
	self->ctx = NULL;
	ASSERT_EQ(munmap(ctx, length), 0);
	EXPECT_EQ(io_submit(ctx, 0, NULL), -EINVAL);
	EXPECT_EQ(io_getevents(ctx, 0, 1, self->events, &no_time), -EINVAL);
}

TEST_F(aio, cancel_notices_an_unmapped_ring)
{
	const size_t length = mapped(self->ctx);
	io_context_t ctx = self->ctx;

	ASSERT_GT(length, 0);
	self->ctx = NULL;
	ASSERT_EQ(munmap(ctx, length), 0);
	EXPECT_EQ(io_cancel(ctx, &self->iocb, self->events), -EINVAL);
	EXPECT_EQ(io_getevents(ctx, 0, 1, self->events, &no_time), -EINVAL);
}

/* An invalid request does not make the context slower. */
TEST_F(aio, a_bad_request_does_not_cause_later_system_calls)
{
	struct iocb *iocb = &self->iocb;
	const pid_t pid = fork_without_context(_metadata, self);

	if (!pid) {
		memset(iocb, 0, sizeof(*iocb));
		iocb->aio_lio_opcode = 4711;
		if (io_setup(64, &self->ctx) ||
		    io_getevents(self->ctx, 0, 1, self->events, &no_time) ||
		    io_submit(self->ctx, 1, &iocb) != -EINVAL)
			_exit(10);
		no_more_system_calls();
		stop(io_getevents(self->ctx, 1, 1, self->events, &no_time));
	}
	EXPECT_EQ(join(pid), 0);
}

/*
 * The ring is memory of the program. A number that the program writes there
 * must not make the library access memory outside of the ring.
 */
TEST_F(aio, a_ring_size_from_the_program_is_ignored)
{
	int round;

	((unsigned int *)self->ctx)[1] = 1 << 30;
	for (round = 0; round < 10; round++)
		submit_and_take_fifty(_metadata, self);
}

TEST_F(aio, a_signal_ends_a_wait)
{
	struct itimerspec soon = { .it_value.tv_nsec = 20000000, .it_interval.tv_nsec = 20000000 };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	timer_t timer;

	catch(SIGALRM);
	ASSERT_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	ASSERT_EQ(timer_settime(timer, 0, &soon, NULL), 0);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, self->events, &patience), -EINTR);
	ASSERT_EQ(submit_ready(self->ctx, &self->iocb, 1, self->pipe[1]), 1);
	EXPECT_EQ(io_getevents(self->ctx, 2, 2, self->events, &patience), 1);
	timer_delete(timer);
}

TEST_F(aio, pgetevents_sets_the_mask_during_the_wait)
{
	sigset_t blocked, open, now;

	catch(SIGUSR1);
	sigemptyset(&open);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	ASSERT_EQ(sigprocmask(SIG_BLOCK, &blocked, NULL), 0);
	ASSERT_EQ(raise(SIGUSR1), 0);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, self->events, &no_time), 0);
	EXPECT_EQ(io_pgetevents(self->ctx, 1, 1, self->events, &patience, &open), -EINTR);
	ASSERT_EQ(sigprocmask(SIG_BLOCK, NULL, &now), 0);
	EXPECT_EQ(sigismember(&now, SIGUSR1), 1);
}

TEST_F(aio, pgetevents_takes_events)
{
	struct iocb iocbs[3];
	sigset_t open;

	sigemptyset(&open);
	ASSERT_EQ(submit_ready(self->ctx, iocbs, 3, self->pipe[1]), 3);
	EXPECT_EQ(io_pgetevents(self->ctx, 1, 1, self->events, &patience, &open), 1);
	EXPECT_EQ(io_pgetevents(self->ctx, 1, 2, self->events, NULL, NULL), 2);
	EXPECT_EQ(self->events[1].data, &iocbs[2]);
	EXPECT_EQ(io_pgetevents(self->ctx, 1, 1, self->events, NULL, KERNEL_POINTER), -EFAULT);
}

TEST_HARNESS_MAIN
