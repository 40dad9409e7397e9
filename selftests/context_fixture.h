/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Defines the fixture of most tests.
 */
#ifndef KAIO_CONTEXT_FIXTURE_H
#define KAIO_CONTEXT_FIXTURE_H

#include "blocking_threads.h"

/*
 * The fixture has one context of NR_EVENTS requests, and the number of requests
 * of all contexts from before its setup.
 */
FIXTURE(context)
{
	int fd;
	__u64 ctx;
	__s64 nr_before;
};

FIXTURE_SETUP(context)
{
	self->fd = open_kaio_and_count(_metadata, &self->nr_before);
	if (self->fd < 0)
		return;
	ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &self->ctx));
}

/*
 * A test may have destroyed the context or closed the file, so the results of
 * these calls are not checked.
 */
FIXTURE_TEARDOWN(context)
{
	kaio_destroy(self->fd, self->ctx);
	close(self->fd);
}

/* Puts @nr events into the ring. Their data are 0, 1, 2 and so on. */
static inline void produce(struct __test_metadata *const _metadata,
			   FIXTURE_DATA(context) *self, int nr)
{
	static struct iocb iocb;
	int i;

	prep_noop(&iocb, self->fd);
	for (i = 0; i < nr; i++) {
		iocb.aio_data = i;
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	}
}

/* Submits a request that completes after @delay milliseconds. */
static inline void produce_later(struct __test_metadata *const _metadata,
				 FIXTURE_DATA(context) *self, struct iocb *iocb,
				 long delay)
{
	const struct itimerspec spec = { .it_value = ms(delay) };
	static __u64 count;
	const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	ASSERT_LE(0, timer);
	ASSERT_EQ(0, timerfd_settime(timer, 0, &spec, NULL));
	prep_pread(iocb, timer, &count, sizeof(count), 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, iocb));
}

/*
 * Submits @nr reads of one byte from an empty pipe. Their data are 0, 1, 2 and
 * so on.
 */
static inline void park_reads(struct __test_metadata *const _metadata,
			      FIXTURE_DATA(context) *self,
			      struct iocb *iocbs, int nr, int *ends)
{
	static char c[NR_EVENTS];
	int i;

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	for (i = 0; i < nr; i++) {
		prep_pread(&iocbs[i], ends[0], &c[i], 1, 0);
		iocbs[i].aio_data = i;
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocbs[i]))
		{
			TH_LOG("request %d", i);
		}
	}
}

#endif /* KAIO_CONTEXT_FIXTURE_H */
