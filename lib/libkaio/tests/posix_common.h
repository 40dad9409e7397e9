/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Functions that the tests of POSIX AIO share. The programs use kaio only in
 * order to prove that it did the work: they read the counters of the library's
 * descriptor, and files of the mock driver that do what a test tells them.
 */
#ifndef POSIX_COMMON_H
#define POSIX_COMMON_H

#include <aio.h>
#include <dirent.h>
#include <linux/userfaultfd.h>

#include "drop.h"
#include "mock_fixture.h"

/* Returns a control block without notification. */
static inline struct aiocb block_of(int fd, void *buf, size_t nbytes, off_t offset)
{
	struct aiocb cb = {
		.aio_fildes = fd,
		.aio_buf = buf,
		.aio_nbytes = nbytes,
		.aio_offset = offset,
	};

	cb.aio_sigevent.sigev_notify = SIGEV_NONE;
	return cb;
}

/*
 * Returns a counter of the library's descriptor: what went through the module.
 */
static inline long module_counter(const char *name)
{
	return kaio_stat(kaio_find_fd(), name);
}

/* Returns whether the request is complete within the time limit. */
static inline bool completes(const struct aiocb *cb)
{
	return wait_until(aio_error(cb) != EINPROGRESS);
}

/*
 * Returns the errno of a request, 0, or EINPROGRESS if the time limit is over.
 */
static inline int error_of(const struct aiocb *cb)
{
	completes(cb);
	return aio_error(cb);
}

/* Returns the value that read(2) or write(2) would have returned, or -errno. */
static inline ssize_t result_of(struct aiocb *cb)
{
	const int error = error_of(cb);

	return error ? -error : aio_return(cb);
}

/* Returns the number of threads of this process. */
static inline int threads(void)
{
	struct dirent *entry;
	int count = 0;
	DIR *dir = opendir("/proc/self/task");

	if (!dir)
		return -1;
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

/*
 * Returns another thread of this process: the library's, if there are two
 * threads.
 */
static inline pid_t helper(void)
{
	struct dirent *entry;
	pid_t tid = -1;
	DIR *dir = opendir("/proc/self/task");

	if (!dir)
		return -1;
	while ((entry = readdir(dir)))
		if (atoi(entry->d_name) > 0 && atoi(entry->d_name) != getpid())
			tid = atoi(entry->d_name);
	closedir(dir);
	return tid;
}

/* Returns whether the request stays in progress for a while. */
static inline bool stays_in_progress(const struct aiocb *cb)
{
	const __s64 end = now_ns() + 200 * NSEC_PER_MSEC;

	while (now_ns() < end)
		if (aio_error(cb) != EINPROGRESS)
			return false;
	return true;
}

/* Makes an empty pipe. */
static inline void empty_pipe(struct __test_metadata *const _metadata, int fds[2])
{
	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
}

/* Makes a read of an empty pipe, which waits in the module. */
static inline void read_waits(struct __test_metadata *const _metadata,
			      struct aiocb *cb)
{
	ASSERT_EQ(0, aio_read(cb));
	ASSERT_EQ(EINPROGRESS, aio_error(cb));
	ASSERT_LT(0, module_counter("inflight"));
}

/*
 * Makes writes to the page at @page wait. Returns a descriptor that becomes
 * readable when a write waits.
 */
static inline int trap_writes(struct __test_metadata *const _metadata, void *page)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	struct uffdio_writeprotect protect = {
		.range = { .start = (uintptr_t)page, .len = PAGE },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	struct uffdio_register area = {
		.range = protect.range,
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	const int traps = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	ASSERT_LE(0, traps);
	ASSERT_EQ(0, ioctl(traps, UFFDIO_API, &api));
	ASSERT_EQ(0, ioctl(traps, UFFDIO_REGISTER, &area));
	ASSERT_EQ(0, ioctl(traps, UFFDIO_WRITEPROTECT, &protect));
	return traps;
}

/* The number of requests that the library's first context holds. */
#define ROOM	127

/* The signals that a handler has received. */
struct seen {
	int count;
	siginfo_t info;
	pid_t tid;
};

static struct seen __maybe_unused seen;

static inline void see(int signo, siginfo_t *info, void *ucontext)
{
	(void)signo;
	(void)ucontext;
	seen.info = *info;
	seen.tid = syscall(SYS_gettid);
	__atomic_add_fetch(&seen.count, 1, __ATOMIC_RELEASE);
}

static inline void see_signals(struct __test_metadata *const _metadata, int signo)
{
	const struct sigaction action = {
		.sa_sigaction = see,
		.sa_flags = SA_SIGINFO,
	};

	ASSERT_EQ(0, sigaction(signo, &action, NULL));
}

/* Blocks a signal in this thread, and returns the set of this signal. */
static inline sigset_t block_signal(struct __test_metadata *const _metadata, int signo)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, NULL));
	return set;
}

static inline int times_seen(void)
{
	return __atomic_load_n(&seen.count, __ATOMIC_ACQUIRE);
}

/* Returns whether no further signal comes for a while. */
static inline bool no_more_signals(int than)
{
	const __s64 end = now_ns() + 20 * NSEC_PER_MSEC;

	while (now_ns() < end)
		if (times_seen() > than)
			return false;
	return true;
}

/*
 * Interrupts a call and returns its result. The function sends more than one
 * signal, since the first may come while the thread sleeps for a lock, with its
 * signals blocked.
 */
static inline long interrupt(struct sleeper *sleeper, int signo)
{
	wait_until(pthread_kill(sleeper->thread, signo) ||
		   __atomic_load_n(&sleeper->ret, __ATOMIC_ACQUIRE) != -ENOMSG);
	return woken(sleeper);
}

#endif /* POSIX_COMMON_H */
