/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kaio tests share: the fixture, counters, temporary files.
 */
#ifndef KAIO_COMMON_H
#define KAIO_COMMON_H

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "kaio_stat.h"
#include "wrappers.h"

/* A real file system on a disk, where O_DIRECT completes from an interrupt. */
#define DISK_DIR	"/mnt"
/* Memory: files without IOCB_NOWAIT. */
#define MEM_DIR		"/tmp"

/* Newer than the headers. */
#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND	0x20
#endif
#ifndef RWF_ATOMIC
#define RWF_ATOMIC	0x40
#endif
#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE	0x80
#endif
#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL	0x100
#endif
/* All of them, as of Linux 6.18. */
#define RWF_KNOWN	0x1ff

/* Where no user pointer can be. */
#define KERNEL_ADDR	0xffff800000000000ULL
#define PAGE		4096UL
#define NSEC_PER_MSEC	1000000L
#define NSEC_PER_SEC	1000000000LL
/* What most contexts are asked to hold. */
#define NR_EVENTS	64
/* Nothing that is right takes so long, even emulated and with KASAN. */
#define PATIENCE_SECONDS	20

static const struct timespec __maybe_unused no_wait;
static const struct timespec __maybe_unused patience = {
	.tv_sec = PATIENCE_SECONDS,
};

static inline bool write_file(const char *path, const char *text)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);
	const ssize_t len = strlen(text);
	bool ok = false;

	if (fd >= 0) {
		ok = write(fd, text, len) == len;
		close(fd);
	}
	return ok;
}

/* ~0: there is none. */
static inline __u64 read_number(const char *path)
{
	unsigned long long value = ~0ULL;
	FILE *file = fopen(path, "re");

	if (!file)
		return ~0ULL;
	if (fscanf(file, "%llu", &value) != 1)
		value = ~0ULL;
	fclose(file);
	return value;
}

static inline bool write_number(const char *path, __u64 value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return write_file(path, text);
}

static inline __s64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/* Whether @cond became true in time. */
#define wait_until(cond)						\
	({								\
		const __s64 _end = now_ns() + PATIENCE_SECONDS * NSEC_PER_SEC; \
		bool _ok;						\
									\
		while (!(_ok = (cond)) && now_ns() < _end)		\
			usleep(500);					\
		_ok;							\
	})

/* kaio_query.nr; -errno. */
static inline __s64 kaio_nr(int fd)
{
	struct kaio_query query;
	long ret = kaio_query(fd, &query);

	return ret < 0 ? ret : (__s64)query.nr;
}

/* Exactly @nr events, or what came until patience ended. */
static inline long kaio_wait(int fd, __u64 ctx, long nr,
			     struct io_event *events)
{
	return kaio_getevents(fd, ctx, nr, nr, events, &patience);
}

/* Submit one request and take its event: its res, or what submit said. */
static inline __s64 kaio_do(int fd, __u64 ctx, struct iocb *iocb)
{
	struct io_event event;
	long ret = kaio_submit_one(fd, ctx, iocb);

	if (ret != 1)
		return ret ? ret : -ENOMSG;
	ret = kaio_wait(fd, ctx, 1, &event);
	if (ret != 1)
		return ret ? ret : -ETIME;
	if (event.obj != (uintptr_t)iocb || event.data != iocb->aio_data ||
	    event.res2)
		return -EBADMSG;
	return event.res;
}

/* How submit answered, and the res of what it took. */
struct answer {
	long submit;
	__s64 res;
};

static inline struct answer ask_kaio(int fd, __u64 ctx, struct iocb *iocb)
{
	struct answer answer = { .submit = kaio_submit_one(fd, ctx, iocb) };
	struct io_event event;

	if (answer.submit == 1)
		answer.res = kaio_wait(fd, ctx, 1, &event) == 1 ? event.res :
								  -ETIME;
	return answer;
}

/* Of native AIO. */
static inline struct answer ask_native(aio_context_t ctx, struct iocb *iocb)
{
	struct answer answer = { .submit = native_submit(ctx, 1, &iocb) };
	struct io_event event;

	if (answer.submit == 1)
		answer.res =
			native_getevents(ctx, 1, 1, &event, &patience) == 1 ?
				event.res :
				-ETIME;
	return answer;
}

/*
 * How often this thread has slept. What only took its CPU away does not count,
 * so it tells what blocks even where no clock can be trusted.
 */
static inline long sleeps(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw;
}

/* No event comes for a while. */
static inline bool stays_quiet(int fd, __u64 ctx)
{
	const struct timespec moment = { .tv_nsec = 20 * NSEC_PER_MSEC };
	struct io_event event;

	return !kaio_getevents(fd, ctx, 1, 1, &event, &moment);
}

/* What poll(2) says. */
static inline int poll_now(int fd, short events)
{
	struct pollfd pollfd = { .fd = fd, .events = events };

	return poll(&pollfd, 1, 0) < 0 ? -errno : pollfd.revents;
}

/* Write to a pipe or socket until it would block; returns how many bytes. */
static inline size_t fill_fd(int fd)
{
	const int flags = fcntl(fd, F_GETFL);
	static const char junk[PAGE];
	size_t sum = 0;
	ssize_t n;

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	while ((n = write(fd, junk, sizeof(junk))) > 0)
		sum += n;
	fcntl(fd, F_SETFL, flags);
	return sum;
}

/* Read from a pipe or socket until it would block; returns how many bytes. */
static inline size_t drain_fd(int fd)
{
	const int flags = fcntl(fd, F_GETFL);
	static char junk[64 * PAGE];
	size_t sum = 0;
	ssize_t n;

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	while ((n = read(fd, junk, sizeof(junk))) > 0)
		sum += n;
	fcntl(fd, F_SETFL, flags);
	return sum;
}

/*
 * inotify: an event for each inotify_raise(), and a read of INOTIFY_SIZE takes
 * one of them.
 */
#define INOTIFY_DIR	MEM_DIR "/kaio-inotify"
/* With a name of at most 15 characters. */
#define INOTIFY_SIZE	(sizeof(struct inotify_event) + 16)

static inline int inotify_open(void)
{
	const int fd = inotify_init1(IN_CLOEXEC);

	mkdir(INOTIFY_DIR, 0700);
	return inotify_add_watch(fd, INOTIFY_DIR, IN_CREATE) < 0 ? -1 : fd;
}

static inline void inotify_raise(int number)
{
	char path[64];

	snprintf(path, sizeof(path), INOTIFY_DIR "/%d", number);
	close(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	unlink(path);
}

/* Which event was read. */
static inline int inotify_number(const void *buf)
{
	const struct inotify_event *event = buf;

	return event->mask == IN_CREATE ? atoi(event->name) : -1;
}

/* A file of @dir without a name. */
static inline int open_temp(const char *dir, int flags)
{
	return open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);
}

/* Another open file of the same inode. */
static inline int reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

/* @pages pages, then one that cannot be touched. NULL if there is no memory. */
static inline char *map_guarded(size_t pages)
{
	char *map = mmap(NULL, (pages + 1) * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED || mprotect(map + pages * PAGE, PAGE, PROT_NONE))
		return NULL;
	return map;
}

/* What byte is at @offset of file number @file: no two pages look alike. */
static inline unsigned char pattern(unsigned int file, __u64 offset)
{
	return file * 37 + offset * 7 + (offset >> 9) * 31 + (offset >> 17);
}

static inline void fill_pattern(void *buf, size_t len, unsigned int file,
				__u64 offset)
{
	unsigned char *p = buf;
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = pattern(file, offset + i);
}

static inline bool is_pattern(const void *buf, size_t len, unsigned int file,
			      __u64 offset)
{
	const unsigned char *p = buf;
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i] != pattern(file, offset + i))
			return false;
	return true;
}

/* A file of @dir with @len bytes of pattern, on disk. */
static inline int open_pattern(const char *dir, unsigned int file, size_t len)
{
	static char block[16 * PAGE];
	int fd = open_temp(dir, 0);
	size_t done, n;

	for (done = 0; fd >= 0 && done < len; done += n) {
		n = len - done < sizeof(block) ? len - done : sizeof(block);
		fill_pattern(block, n, file, done);
		if (pwrite(fd, block, n, done) != (ssize_t)n)
			return -1;
	}
	if (fd >= 0 && fsync(fd))
		return -1;
	return fd;
}

/* Fixed seeds: a failure can be repeated. */
static inline __u32 next_random(__u32 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static inline int open_kaio(struct __test_metadata *const _metadata)
{
	int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0 && (errno == ENOENT || errno == ENXIO))
		SKIP(return -1, "there is no " KAIO_DEVICE);
	ASSERT_LE(0, fd)
	{
		TH_LOG("open(" KAIO_DEVICE "): %s", strerror(errno));
	}
	return fd;
}

#endif /* KAIO_COMMON_H */
