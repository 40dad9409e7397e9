/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Provides files that follow a program, and a context for requests on them; see
 * mock/kaio_mock.h.
 */
#ifndef KAIO_MOCK_FIXTURE_H
#define KAIO_MOCK_FIXTURE_H

#include <sys/epoll.h>

#include "blocking_threads.h"
#include "mock/kaio_mock.h"

/* The poll events of a file that can be read, or written. */
#define IN	(EPOLLIN | EPOLLRDNORM)
#define OUT	(EPOLLOUT | EPOLLWRNORM)

/* The macros below are steps of a program. */
#define NOT_NOW		{ .result = -EAGAIN }
#define NOT_NOW_ONCE	{ .attempts = 1, .result = -EAGAIN }
#define GIVES(n)	{ .result = (n) }
#define GIVES_ONCE(n)	{ .attempts = 1, .result = (n) }
/* The attempt sleeps in the file, and then returns @n. */
#define SLEEPS(n, how)	{ .result = (n), .sleep = (how) }
#define SLEEPS_ONCE(n, how) { .attempts = 1, .result = (n), .sleep = (how) }
/* The driver takes the request, and completes it with @n. */
#define COMPLETES(n, when) { .result = (n), .complete = (when) }
/* The data is not in memory, so an attempt with IOCB_NOWAIT gets -EAGAIN. */
#define COLD		{ .result = -EAGAIN, .only = KAIO_MOCK_IF_NOWAIT }
/* The next attempt that may wait for a page waits for it. */
#define WAITS_FOR_PAGE(unlocked) { .attempts = 1, .page = (unlocked) }

/*
 * From now on attempts take the given steps in order, and repeat the last one
 * for ever.
 */
#define mock_program(file, queues, ready_now, ...)			\
	({								\
		const struct kaio_mock_step _steps[] = { __VA_ARGS__ };	\
		struct kaio_mock_program _program = {			\
			.nr_steps = ARRAY_SIZE(_steps),	\
			.nr_queues = (queues),				\
			.ready = (ready_now),				\
		};							\
									\
		memcpy(_program.steps, _steps, sizeof(_steps));		\
		kaio_ioctl(file, KAIO_MOCK_PROGRAM, &_program);		\
	})

static inline struct kaio_mock_info mock_info(int file)
{
	struct kaio_mock_info info = {};

	kaio_ioctl(file, KAIO_MOCK_INFO, &info);
	return info;
}

static inline unsigned int mock_waiters(int file)
{
	const struct kaio_mock_info info = mock_info(file);
	unsigned int i, sum = 0;

	for (i = 0; i < KAIO_MOCK_QUEUES; i++)
		sum += info.waiters[i];
	return sum;
}

/* Wakes the wait queues with @key. From now on poll reports @ready. */
static inline long mock_wake(int file, enum kaio_mock_when when, __u32 ready,
			     __u32 key)
{
	const struct kaio_mock_wake wake = {
		.when = when,
		.ready = ready,
		.key = key,
	};

	return kaio_ioctl(file, KAIO_MOCK_WAKE, &wake);
}

/* Wakes the wait queues @times times from a hard interrupt, @delay_ns apart. */
static inline long mock_storm(int file, __u32 times, __u64 delay_ns)
{
	const struct kaio_mock_wake wake = {
		.when = KAIO_MOCK_IRQ,
		.ready = IN | OUT,
		.key = IN | OUT,
		.times = times,
		.delay_ns = delay_ns,
	};

	return kaio_ioctl(file, KAIO_MOCK_WAKE, &wake);
}

/* Frees the first wait queue. */
static inline long mock_free(int file, bool renew)
{
	const struct kaio_mock_free arg = { .queues = 1, .renew = renew };

	return kaio_ioctl(file, KAIO_MOCK_FREE, &arg);
}

static inline long mock_let_go(int file, __u32 attempts)
{
	return kaio_ioctl(file, KAIO_MOCK_LET_GO, &attempts);
}

static inline long mock_complete(int file, __s64 result)
{
	return kaio_ioctl(file, KAIO_MOCK_COMPLETE, &result);
}

/* Wakes the requests that wait for the page with @key. */
static inline long mock_unlock(int file, enum kaio_mock_when when,
			       enum kaio_mock_key key)
{
	const struct kaio_mock_unlock unlock = { .when = when, .key = key };

	return kaio_ioctl(file, KAIO_MOCK_UNLOCK, &unlock);
}

/* One context, and one open file of the mock module. */
struct mock {
	int fd;
	__u64 ctx;
	int file;
	/* The request of the tests that have only one. */
	struct iocb iocb;
	char buf[KAIO_MOCK_BYTES];
};

/* Opens @node with additional flags, for example O_APPEND. */
static inline int open_mock_as(struct __test_metadata *const _metadata,
			       const char *node, __u32 flags)
{
	int file, maker;

	flags |= O_RDWR | O_CLOEXEC;
	file = open(node, flags);
	if (file >= 0 && !strcmp(node, KAIO_MOCK_PAGES)) {
		maker = file;
		file = ioctl(maker, KAIO_MOCK_OPEN, &flags);
		close(maker);
	}
	if (file < 0 && errno == ENOENT)
		SKIP(return -1, "there is no %s: CONFIG_KAIO_MOCK", node);
	ASSERT_LE(0, file)
	{
		TH_LOG("open(%s): %s", node, strerror(errno));
	}
	return file;
}

static inline int open_mock(struct __test_metadata *const _metadata,
			    const char *node)
{
	return open_mock_as(_metadata, node, 0);
}

/* Opens another kind of file in place of the current one. */
static inline void use_node(struct __test_metadata *const _metadata,
			    struct mock *m, const char *node)
{
	close(m->file);
	m->file = open_mock(_metadata, node);
}

static inline void mock_set_up(struct __test_metadata *const _metadata,
			       struct mock *m, const char *node)
{
	/*
	 * The fixture is on the stack, and its pages are shared with the process
	 * that forked this one until they are written. A waiting thread runs a
	 * request only if the buffer is there.
	 */
	*m = (struct mock){ .file = -1 };
	m->fd = open_kaio(_metadata);
	if (m->fd < 0)
		return;
	m->file = open_mock(_metadata, node);
	if (m->file < 0)
		return;
	ASSERT_EQ(0, kaio_setup(m->fd, NR_EVENTS, &m->ctx));
}

/*
 * Checks that every request had exactly one event. A test may have destroyed
 * the context.
 */
static inline void mock_tear_down(struct __test_metadata *const _metadata,
				  struct mock *m)
{
	/*
	 * A failed test may have left attempts, requests and page waits behind:
	 * release them.
	 */
	mock_let_go(m->file, 1000000);
	while (!mock_complete(m->file, -ECANCELED))
		;
	if (mock_info(m->file).page_waiters) {
		mock_program(m->file, 1, 0, GIVES(0));
		mock_unlock(m->file, KAIO_MOCK_NOW, KAIO_MOCK_THIS_PAGE);
	}
	kaio_destroy(m->fd, m->ctx);
	EXPECT_LT(0, kaio_stat(m->fd, "submitted"));
	expect_all_completed(_metadata, m->fd);
	EXPECT_EQ(0, mock_waiters(m->file));
	EXPECT_EQ(0, mock_info(m->file).page_waiters);
	close(m->file);
	close(m->fd);
}

/*
 * Sets up and tears down a fixture whose struct mock is named m. The file is
 * @node.
 */
#define MOCK_FIXTURE_SETUP(fixture, node)				\
	FIXTURE_SETUP(fixture)						\
	{								\
		mock_set_up(_metadata, &self->m, node);			\
	}								\
									\
	FIXTURE_TEARDOWN(fixture)					\
	{								\
		mock_tear_down(_metadata, &self->m);			\
	}

static inline void mock_pread(struct mock *m, struct iocb *iocb, size_t nbytes)
{
	prep_pread(iocb, m->file, m->buf, nbytes, 0);
}

static inline long mock_submit(struct mock *m, struct iocb *iocb)
{
	return kaio_submit_one(m->fd, m->ctx, iocb);
}

/* Submits a read of five bytes. */
static inline void mock_submit_read(struct __test_metadata *const _metadata,
				    struct mock *m, struct iocb *iocb)
{
	mock_pread(m, iocb, 5);
	ASSERT_EQ(1, mock_submit(m, iocb));
}

/* Submits a read of five bytes whose attempts take the given steps. */
#define mock_read(_metadata, m, iocb, ...)				\
	({								\
		ASSERT_EQ(0, mock_program((m)->file, 1, 0, __VA_ARGS__)); \
		mock_submit_read(_metadata, m, iocb);			\
	})

/* Submits a POLL that completes when the file can be read. */
static inline void mock_submit_poll(struct __test_metadata *const _metadata,
				    struct mock *m, struct iocb *iocb)
{
	prep_poll(iocb, m->file, EPOLLIN);
	ASSERT_EQ(1, mock_submit(m, iocb));
}

static inline long mock_cancel(struct mock *m, struct iocb *iocb)
{
	return kaio_cancel(m->fd, m->ctx, iocb);
}

/* The argument of mock_submit_call(), for fall_asleep(). */
struct mock_submission {
	struct mock *m;
	struct iocb *iocb;
};

static inline long mock_submit_call(void *arg)
{
	struct mock_submission *s = arg;

	return mock_submit(s->m, s->iocb);
}

/* Expects that @iocb has ended, and that no request of the file was cancelled. */
static inline void expect_no_cancel(struct __test_metadata *const _metadata,
				    struct mock *m, struct iocb *iocb)
{
	EXPECT_EQ(-EINVAL, mock_cancel(m, iocb));
	EXPECT_EQ(0, kaio_stat(m->fd, "cancelled"));
}

static inline bool no_event(struct mock *m)
{
	return stays_quiet(m->fd, m->ctx);
}

/* Returns true once one attempt sleeps in the file. */
static inline bool mock_sleeps(int file)
{
	return wait_until(mock_info(file).sleeping == 1);
}

/*
 * Expects that @iocb completes with @res, and that no other request completes.
 */
static inline void expect_end(struct __test_metadata *const _metadata,
			      struct mock *m, const struct iocb *iocb,
			      __s64 res)
{
	struct io_event event;

	ASSERT_EQ(1, kaio_wait(m->fd, m->ctx, 1, &event));
	EXPECT_EQ((uintptr_t)iocb, event.obj);
	EXPECT_EQ(iocb->aio_data, event.data);
	EXPECT_EQ(res, event.res);
	EXPECT_EQ(0, event.res2);
	EXPECT_EQ(0, kaio_getevents(m->fd, m->ctx, 0, 1, &event, &no_wait));
	EXPECT_TRUE(wait_until(kaio_stat(m->fd, "inflight") == 0));
}

/*
 * Makes the file ready for the parked read @iocb, which then gets five bytes.
 */
static inline void mock_finish_read(struct __test_metadata *const _metadata,
				    struct mock *m, const struct iocb *iocb,
				    enum kaio_mock_when when)
{
	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	ASSERT_EQ(0, mock_wake(m->file, when, IN, IN));
	expect_end(_metadata, m, iocb, 5);
}

/* Submits a read that waits until the file is ready. */
static inline void park(struct __test_metadata *const _metadata, struct mock *m,
			struct iocb *iocb)
{
	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	mock_submit_read(_metadata, m, iocb);
	ASSERT_EQ(1, mock_waiters(m->file));
	ASSERT_STAT(1, m->fd, "inflight");
}

/* Submits a POLL that waits until the file can be read. */
static inline void park_poll(struct __test_metadata *const _metadata,
			     struct mock *m, struct iocb *iocb)
{
	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	mock_submit_poll(_metadata, m, iocb);
}

/*
 * Expects that the submitter made one attempt with IOCB_NOWAIT, and a worker
 * another one without it.
 */
static inline void expect_end_in_worker(struct __test_metadata *const _metadata,
					int file)
{
	const struct kaio_mock_info info = mock_info(file);

	EXPECT_EQ(2, info.attempts);
	EXPECT_EQ(1, info.nowait);
	EXPECT_EQ(1, info.kthread);
}

#endif /* KAIO_MOCK_FIXTURE_H */
