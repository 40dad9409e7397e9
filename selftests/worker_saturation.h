/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Makes more requests block than their user may have workers.
 */
#ifndef KAIO_WORKER_SATURATION_H
#define KAIO_WORKER_SATURATION_H

#include "mock_fixture.h"

#define MAX_BLOCKED_READS	1024

struct saturation {
	int fd;
	__u64 ctx;
	int file;
	int nr;
	struct iocb iocbs[MAX_BLOCKED_READS];
	char buf[KAIO_MOCK_BYTES];
};

/*
 * Submits @nr reads, each of which blocks a worker. Returns false if one is
 * refused or the array is full.
 */
static inline bool add_blocked_reads(struct saturation *saturation, int nr)
{
	for (; nr && saturation->nr < MAX_BLOCKED_READS; nr--) {
		struct iocb *iocb = &saturation->iocbs[saturation->nr];

		prep_pread(iocb, saturation->file, saturation->buf, 5, 0);
		iocb->aio_data = saturation->nr++;
		if (kaio_submit_one(saturation->fd, saturation->ctx, iocb) != 1)
			return false;
	}
	return !nr;
}

static inline bool open_saturation(struct __test_metadata *const _metadata,
		       struct saturation *saturation)
{
	saturation->nr = 0;
	saturation->fd = open_kaio(_metadata);
	saturation->file = open_mock(_metadata, KAIO_MOCK_SLOW_DISK);
	return saturation->file >= 0 &&
	       !kaio_setup(saturation->fd, MAX_BLOCKED_READS, &saturation->ctx) &&
	       !mock_program(saturation->file, 1, 0,
			     SLEEPS(5, KAIO_MOCK_KILLABLE));
}

/*
 * Submits reads until the user has no worker left, so that the last reads stay
 * queued. Returns false if the user never runs out of workers.
 */
static inline bool saturate_workers(struct saturation *saturation)
{
	__u32 sleeping = 0, before;
	__s64 since;

	while (add_blocked_reads(saturation, 64)) {
		/*
		 * Wait until all reads sleep, or until the number that sleep
		 * has not changed for two seconds.
		 */
		since = now_ns();
		do {
			usleep(1000);
			before = sleeping;
			sleeping = mock_info(saturation->file).sleeping;
			if (sleeping != before)
				since = now_ns();
			if (now_ns() - since > 2 * NSEC_PER_SEC)
				return true;
		} while ((int)sleeping < saturation->nr);
	}
	return false;
}

/* Opens the files, and saturates the workers. */
static inline void start_saturation(struct __test_metadata *const _metadata,
				    struct saturation *saturation)
{
	ASSERT_TRUE(open_saturation(_metadata, saturation));
	ASSERT_TRUE(saturate_workers(saturation))
	{
		TH_LOG("%d workers and no end", saturation->nr);
	}
}

/*
 * Releases all reads and takes their events. Returns true if each read but
 * @cancelled has read its bytes.
 */
static inline bool release_workers(struct saturation *saturation, int cancelled)
{
	struct io_event events[64];
	bool seen[MAX_BLOCKED_READS] = {};
	long got, sum, i;

	mock_let_go(saturation->file, MAX_BLOCKED_READS);
	for (sum = 0; sum < saturation->nr - !!cancelled; sum += got) {
		got = kaio_getevents(saturation->fd, saturation->ctx, 1, 64, events,
				     &patience);
		if (got <= 0)
			return false;
		for (i = 0; i < got; i++) {
			if (events[i].res != 5 || seen[events[i].data])
				return false;
			seen[events[i].data] = true;
		}
	}
	return !cancelled || !seen[cancelled];
}

#endif /* KAIO_WORKER_SATURATION_H */
