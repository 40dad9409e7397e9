/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of POSIX AIO share. The programs know nothing of kaio but what
 * proves that it did the work: the counters of the descriptor that the library
 * keeps, and files that do what a test tells them.
 */
#ifndef POSIX_COMMON_H
#define POSIX_COMMON_H

#include <aio.h>
#include <dirent.h>

#include "mock_fixture.h"

/* A request of SIGEV_NONE. */
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

/* The library's descriptor; -1 if it has none. */
static inline int kaio_fd(void)
{
	char path[300], link[64];
	struct dirent *entry;
	int found = -1;
	ssize_t n;
	DIR *dir = opendir("/proc/self/fd");

	if (!dir)
		return -1;
	while (found < 0 && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		n = readlink(path, link, sizeof(link) - 1);
		if (n > 0) {
			link[n] = 0;
			if (!strcmp(link, KAIO_DEVICE))
				found = atoi(entry->d_name);
		}
	}
	closedir(dir);
	return found;
}

/* What went through the module so far: a counter of the library's descriptor. */
static inline long through_kaio(const char *name)
{
	return kaio_stat(kaio_fd(), name);
}

/* Whether the request was completed in time. */
static inline bool completes(const struct aiocb *cb)
{
	return wait_until(aio_error(cb) != EINPROGRESS);
}

/* The errno of a request, 0, or EINPROGRESS if patience ended. */
static inline int error_of(const struct aiocb *cb)
{
	completes(cb);
	return aio_error(cb);
}

/* What read(2) or write(2) would have returned, or -errno. */
static inline ssize_t result_of(struct aiocb *cb)
{
	const int error = error_of(cb);

	return error ? -error : aio_return(cb);
}

/* Threads of this process. */
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

/* Another thread of this process: the library's, if there are two. */
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

/* The request is not complete, for a while. */
static inline bool goes_on(const struct aiocb *cb)
{
	const __s64 end = now_ns() + 200 * NSEC_PER_MSEC;

	while (now_ns() < end)
		if (aio_error(cb) != EINPROGRESS)
			return false;
	return true;
}

/* A pipe with nothing in it. */
static inline void empty_pipe(struct __test_metadata *const _metadata, int fds[2])
{
	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
}

/* A request that waits in the module: the read of an empty pipe. */
static inline void read_waits(struct __test_metadata *const _metadata,
			      struct aiocb *cb)
{
	ASSERT_EQ(0, aio_read(cb));
	ASSERT_EQ(EINPROGRESS, aio_error(cb));
	ASSERT_LT(0, through_kaio("inflight"));
}

/*
 * Signals that a handler has seen.
 */
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

static inline int times_seen(void)
{
	return __atomic_load_n(&seen.count, __ATOMIC_ACQUIRE);
}

/* None comes for a while. */
static inline bool no_more_signals(int than)
{
	const __s64 end = now_ns() + 20 * NSEC_PER_MSEC;

	while (now_ns() < end)
		if (times_seen() > than)
			return false;
	return true;
}

/*
 * What a call says that is interrupted. More than one signal: the first may come
 * while it sleeps for a lock, where no signal is let in.
 */
static inline long interrupt(struct sleeper *sleeper, int signo)
{
	wait_until(pthread_kill(sleeper->thread, signo) ||
		   __atomic_load_n(&sleeper->ret, __ATOMIC_ACQUIRE) != -ENOMSG);
	return woken(sleeper);
}

#endif /* POSIX_COMMON_H */
