/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tests with files that do what they are told; see mock/kaio_mock.h.
 */
#ifndef KAIO_MOCK_FIXTURE_H
#define KAIO_MOCK_FIXTURE_H

#include <sys/epoll.h>

#include "sleepers.h"
#include "mock/kaio_mock.h"

/* Poll events of a file that can be read, or written. */
#define IN	(EPOLLIN | EPOLLRDNORM)
#define OUT	(EPOLLOUT | EPOLLWRNORM)

/* Steps of a program. */
#define NOT_NOW		{ .result = -EAGAIN }
#define GIVES(n)	{ .result = (n) }
/* Nothing of it is in memory. */
#define COLD		{ .result = -EAGAIN, .only = KAIO_MOCK_IF_NOWAIT }
/* The next attempt that may wait for a page does. */
#define WAITS_FOR_PAGE(unlocked) { .attempts = 1, .page = (unlocked) }

/* Attempts from now on take the steps ..., then the last of them for ever. */
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

/* From now on poll says @ready; the wake-up says @key. */
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

/* Wake-ups from hard interrupt, the first in @delay_ns. */
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

/* Free the first wait queue. */
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

/* What wakes those who wait for the page says @key. */
static inline long mock_unlock(int file, enum kaio_mock_when when,
			       enum kaio_mock_key key)
{
	const struct kaio_mock_unlock unlock = { .when = when, .key = key };

	return kaio_ioctl(file, KAIO_MOCK_UNLOCK, &unlock);
}

/* One context, and one open file of a kind. */
struct mock {
	int fd;
	__u64 ctx;
	int file;
	char buf[KAIO_MOCK_BYTES];
};

/* With these flags, O_APPEND and the like. */
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

static inline void mock_set_up(struct __test_metadata *const _metadata,
			       struct mock *m, const char *node)
{
	m->file = -1;
	m->fd = open_kaio(_metadata);
	if (m->fd < 0)
		return;
	m->file = open_mock(_metadata, node);
	if (m->file < 0)
		return;
	ASSERT_EQ(0, kaio_setup(m->fd, NR_EVENTS, &m->ctx));
}

/* Tests may have destroyed the context; every request has had its one event. */
static inline void mock_tear_down(struct __test_metadata *const _metadata,
				  struct mock *m)
{
	/* What a test that failed left behind. */
	mock_let_go(m->file, 1000000);
	while (!mock_complete(m->file, -ECANCELED))
		;
	if (mock_info(m->file).page_waiters) {
		mock_program(m->file, 1, 0, GIVES(0));
		mock_unlock(m->file, KAIO_MOCK_NOW, KAIO_MOCK_THIS_PAGE);
	}
	kaio_destroy(m->fd, m->ctx);
	EXPECT_LT(0, kaio_stat(m->fd, "submitted"));
	EXPECT_EQ(0, kaio_stat(m->fd, "inflight"));
	EXPECT_EQ(kaio_stat(m->fd, "submitted"), kaio_stat(m->fd, "completed"));
	EXPECT_EQ(0, mock_waiters(m->file));
	EXPECT_EQ(0, mock_info(m->file).page_waiters);
	close(m->file);
	close(m->fd);
}

static inline void mock_pread(struct mock *m, struct iocb *iocb, size_t nbytes)
{
	prep_pread(iocb, m->file, m->buf, nbytes, 0);
}

static inline long mock_submit(struct mock *m, struct iocb *iocb)
{
	return kaio_submit_one(m->fd, m->ctx, iocb);
}

static inline long mock_cancel(struct mock *m, struct iocb *iocb)
{
	return kaio_cancel(m->fd, m->ctx, iocb);
}

/* For fall_asleep(). */
struct mock_submission {
	struct mock *m;
	struct iocb *iocb;
};

static inline long mock_submit_call(void *arg)
{
	struct mock_submission *s = arg;

	return mock_submit(s->m, s->iocb);
}

static inline bool no_event(struct mock *m)
{
	return stays_quiet(m->fd, m->ctx);
}

/* One attempt sleeps in the file. */
static inline bool mock_sleeps(int file)
{
	return wait_until(mock_info(file).sleeping == 1);
}

/* @iocb ends with @res, and that is all that ends. */
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

/* Submit a read that waits for the file to be ready. */
static inline void park(struct __test_metadata *const _metadata, struct mock *m,
			struct iocb *iocb)
{
	ASSERT_EQ(0, mock_program(m->file, 1, 0, NOT_NOW));
	mock_pread(m, iocb, 5);
	ASSERT_EQ(1, mock_submit(m, iocb));
	ASSERT_EQ(1, mock_waiters(m->file));
	ASSERT_EQ(1, kaio_stat(m->fd, "inflight"));
}

#endif /* KAIO_MOCK_FIXTURE_H */
