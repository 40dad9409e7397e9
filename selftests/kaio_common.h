/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Provides what all kaio tests share: time, counters, single requests and
 * temporary files.
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

/*
 * The harness ends a test that does not name a time limit after so many seconds.
 * The limit is there to find a test that hangs. On a busy host the kernel with
 * KASAN and lockdep takes up to 50 times as long as the stock kernel, so the 30
 * seconds of the harness would end tests that go on.
 */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	100

#include "kaio_stat.h"
#include "wrappers.h"

/* A real file system on a disk, where O_DIRECT completes from an interrupt. */
#define DISK_DIR	"/mnt"
/* A file system in memory, whose files do not support IOCB_NOWAIT. */
#define MEM_DIR		"/tmp"

/* These flags are newer than the headers. */
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
/* All RWF flags, as of Linux 6.18. */
#define RWF_KNOWN	0x1ff

/* No user pointer can have this address. */
#define KERNEL_ADDR	0xffff800000000000ULL
#define PAGE		4096UL
#define NSEC_PER_MSEC	1000000L
#define NSEC_PER_SEC	1000000000LL
/* The number of requests for which most tests set up a context. */
#define NR_EVENTS	64
/* Nothing that works takes this long, even emulated and with KASAN. */
#define PATIENCE_SECONDS	20

/*
 * This parameter says how long an exit waits for requests, and for how long the
 * requests of a process that has exited go on.
 */
#define END_SECONDS	"/sys/module/kaio/parameters/end_seconds"
/*
 * The value of END_SECONDS, in seconds, for tests that wait until it expires.
 */
#define SHORT_PATIENCE	2

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

/* Returns ~0 if there is no such file or no number in it. */
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

/*
 * Returns true as soon as @cond is true, or false if it stays false for
 * PATIENCE_SECONDS.
 */
#define wait_until(cond)						\
	({								\
		const __s64 _end = now_ns() + PATIENCE_SECONDS * NSEC_PER_SEC; \
		bool _ok;						\
									\
		while (!(_ok = (cond)) && now_ns() < _end)		\
			usleep(500);					\
		_ok;							\
	})

/*
 * These expect a counter of the open file @fd to get the value @want. The thread
 * that posts an event counts it a moment later, so a program that has the event
 * may be ahead of the counter.
 */
#define KAIO_STAT_IS(check, want, fd, name)				\
	check(wait_until(kaio_stat(fd, name) == (long)(want)))		\
	{								\
		TH_LOG("%s is %ld", name, kaio_stat(fd, name));		\
	}
#define EXPECT_STAT(want, fd, name) KAIO_STAT_IS(EXPECT_TRUE, want, fd, name)
#define ASSERT_STAT(want, fd, name) KAIO_STAT_IS(ASSERT_TRUE, want, fd, name)

/*
 * Returns how many requests a context holds, and is charged for, if it was set
 * up for @nr while far less than the limit is in use: as many as the pages of
 * its ring have room for.
 */
static inline __s64 kaio_capacity(__u32 nr)
{
	const __u64 size = sizeof(struct io_event);
	/* The header takes the place of one event, and one slot stays empty. */
	const __u64 pages = ((nr + 2) * size + PAGE - 1) / PAGE;

	return pages * PAGE / size - 2;
}

/* Returns kaio_query.nr, or -errno. */
static inline __s64 kaio_nr(int fd)
{
	struct kaio_query query;
	long ret = kaio_query(fd, &query);

	return ret < 0 ? ret : (__s64)query.nr;
}

/* Waits for exactly @nr events. Returns how many came until the timeout. */
static inline long kaio_wait(int fd, __u64 ctx, long nr,
			     struct io_event *events)
{
	return kaio_getevents(fd, ctx, nr, nr, events, &patience);
}

/*
 * Submits one request and takes its event. Returns the event's res, or the
 * error of the submit call.
 */
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

/* Writes with one request. Returns what kaio_do() returns. */
static inline __s64 do_pwrite(int fd, __u64 ctx, int file, const void *buf,
			      size_t nbytes, __s64 offset)
{
	struct iocb iocb;

	prep_pwrite(&iocb, file, buf, nbytes, offset);
	return kaio_do(fd, ctx, &iocb);
}

/* Reads with one request. Returns what kaio_do() returns. */
static inline __s64 do_pread(int fd, __u64 ctx, int file, void *buf,
			     size_t nbytes, __s64 offset)
{
	struct iocb iocb;

	prep_pread(&iocb, file, buf, nbytes, offset);
	return kaio_do(fd, ctx, &iocb);
}

/*
 * The result of a submit call, and the res of the request if it was submitted.
 */
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

/* Does the same as ask_kaio() with native AIO. */
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

/* Returns true if no event comes within 20 ms. */
static inline bool stays_quiet(int fd, __u64 ctx)
{
	const struct timespec moment = { .tv_nsec = 20 * NSEC_PER_MSEC };
	struct io_event event;

	return !kaio_getevents(fd, ctx, 1, 1, &event, &moment);
}

/* Returns the events that poll(2) reports. */
static inline int poll_now(int fd, short events)
{
	struct pollfd pollfd = { .fd = fd, .events = events };

	return poll(&pollfd, 1, 0) < 0 ? -errno : pollfd.revents;
}

/*
 * Writes to a pipe or socket, or reads from one, until that would block.
 * Returns the number of bytes.
 */
static inline size_t move_until_blocked(int fd, bool writes)
{
	const int flags = fcntl(fd, F_GETFL);
	static const char junk[PAGE];
	static char taken[64 * PAGE];
	size_t sum = 0;
	ssize_t n;

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	while ((n = writes ? write(fd, junk, sizeof(junk)) :
			     read(fd, taken, sizeof(taken))) > 0)
		sum += n;
	fcntl(fd, F_SETFL, flags);
	return sum;
}

static inline size_t fill_fd(int fd)
{
	return move_until_blocked(fd, true);
}

static inline size_t drain_fd(int fd)
{
	return move_until_blocked(fd, false);
}

/*
 * Opens a FIFO for reading and writing. The FIFO has no name any more when this
 * returns. Returns -1 on failure.
 */
static inline int fifo_open(const char *path, int flags)
{
	int fd;

	unlink(path);
	if (mkfifo(path, 0600))
		return -1;
	fd = open(path, O_RDWR | O_CLOEXEC | flags);
	return unlink(path) ? -1 : fd;
}

/*
 * An inotify file gets one event for each call of inotify_raise(). A read of
 * INOTIFY_SIZE bytes takes one event.
 */
#define INOTIFY_DIR	MEM_DIR "/kaio-inotify"
/* The size of an event whose file name has at most 15 characters. */
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

/* Returns the number with which the event in @buf was raised. */
static inline int inotify_number(const void *buf)
{
	const struct inotify_event *event = buf;

	return event->mask == IN_CREATE ? atoi(event->name) : -1;
}

/* Opens a file in @dir that has no name. */
static inline int open_temp(const char *dir, int flags)
{
	return open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);
}

/* Opens the inode of @fd once more. */
static inline int reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

/*
 * Maps @pages pages followed by one that cannot be accessed. Returns NULL if
 * there is no memory.
 */
static inline char *map_guarded(size_t pages)
{
	char *map = mmap(NULL, (pages + 1) * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED || mprotect(map + pages * PAGE, PAGE, PROT_NONE))
		return NULL;
	return map;
}

/*
 * Returns the byte at @offset of file number @file. No two pages have the same
 * bytes.
 */
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

/* Opens a file in @dir with @len bytes of pattern, written to the disk. */
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

/* Opens a file in @dir with one page of pattern, and maps a page beside it. */
static inline void open_page(struct __test_metadata *const _metadata,
			     const char *dir, int *file, char **buf)
{
	*file = open_pattern(dir, 1, PAGE);
	ASSERT_LE(0, *file);
	*buf = map_guarded(1);
	ASSERT_NE(NULL, *buf);
}

/* Prepares reads of the first @nr pages of the file, and lists them. */
static inline void prep_page_reads(struct iocb *iocbs, struct iocb **pointers,
				   int nr, int file, char *buf)
{
	int i;

	for (i = 0; i < nr; i++) {
		prep_pread(&iocbs[i], file, buf + i * PAGE, PAGE, i * PAGE);
		pointers[i] = &iocbs[i];
	}
}

/*
 * Returns the next pseudo-random number. Seeds are fixed, so that a failure can
 * be repeated.
 */
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

/*
 * Opens /dev/kaio and stores the number of requests that all contexts of the
 * system hold. Returns -1 if the test is skipped.
 */
static inline int open_kaio_and_count(struct __test_metadata *const _metadata,
				      __s64 *nr)
{
	const int fd = open_kaio(_metadata);

	if (fd < 0)
		return -1;
	*nr = kaio_nr(fd);
	ASSERT_LE(0, *nr);
	return fd;
}

/* Expects that all contexts of the system hold @nr requests again. */
static inline void expect_charged(struct __test_metadata *const _metadata,
				  int fd, __s64 nr)
{
	EXPECT_TRUE(wait_until(kaio_nr(fd) == nr))
	{
		TH_LOG("%lld are charged, not %lld", kaio_nr(fd), nr);
	}
}

/* Returns -1 if the test is skipped because the user is not root. */
static inline int open_kaio_as_root(struct __test_metadata *const _metadata)
{
	const int fd = open_kaio(_metadata);

	if (fd >= 0 && geteuid())
		SKIP(return -1, "needs root");
	return fd;
}

/*
 * Opens /dev/kaio and sets up a context for @nr requests. Returns false if the
 * test is skipped.
 */
static inline bool open_context(struct __test_metadata *const _metadata,
				int *fd, __u32 nr, __u64 *ctx)
{
	*fd = open_kaio(_metadata);
	if (*fd < 0)
		return false;
	ASSERT_EQ(0, kaio_setup(*fd, nr, ctx));
	return true;
}

/*
 * Does the same as open_context(), and sets up a native context for comparison.
 */
static inline bool open_both_contexts(struct __test_metadata *const _metadata,
				      int *fd, __u32 nr, __u64 *ctx,
				      aio_context_t *native)
{
	if (!open_context(_metadata, fd, nr, ctx))
		return false;
	if (native_setup(nr, native))
		SKIP(return false, "this kernel has no native AIO");
	return true;
}

/* Expects that all requests of @fd have completed. */
static inline void expect_all_completed(struct __test_metadata *const _metadata,
					int fd)
{
	EXPECT_STAT(0, fd, "inflight");
	EXPECT_STAT(kaio_stat(fd, "submitted"), fd, "completed");
}

/* Forks. The child writes a byte to ready[1] when its parent may go on. */
static inline pid_t fork_child(struct __test_metadata *const _metadata,
			       int *ready)
{
	pid_t pid;

	ASSERT_EQ(0, pipe2(ready, O_CLOEXEC));
	pid = fork();
	ASSERT_LE(0, pid);
	return pid;
}

/* Waits for the byte of the child that fork_child() made. */
static inline void await_child(struct __test_metadata *const _metadata,
			       int *ready)
{
	char c;

	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &c, 1))
	{
		TH_LOG("the child gave up");
	}
	close(ready[0]);
}

/* Returns a new context for @nr requests. Exits if there is none. */
static inline __u64 setup_in_child(int fd, __u32 nr)
{
	__u64 ctx;

	if (kaio_setup(fd, nr, &ctx))
		_exit(1);
	return ctx;
}

/* Destroys the context, which must leave no request in flight. */
static inline void close_context(struct __test_metadata *const _metadata,
				 int fd, __u64 ctx)
{
	EXPECT_EQ(0, kaio_destroy(fd, ctx));
	EXPECT_STAT(0, fd, "inflight");
	close(fd);
}

#endif /* KAIO_COMMON_H */
