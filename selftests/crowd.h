/* SPDX-License-Identifier: GPL-2.0 */
/*
 * More requests that hang than their user may have workers.
 */
#ifndef KAIO_CROWD_H
#define KAIO_CROWD_H

#include "mock_fixture.h"

#define CROWD	1024

struct crowd {
	int fd;
	__u64 ctx;
	int file;
	int nr;
	struct iocb iocbs[CROWD];
	char buf[KAIO_MOCK_BYTES];
};

/* Reads that each keep a worker. */
static inline bool crowd_grows(struct crowd *crowd, int nr)
{
	for (; nr && crowd->nr < CROWD; nr--) {
		struct iocb *iocb = &crowd->iocbs[crowd->nr];

		prep_pread(iocb, crowd->file, crowd->buf, 5, 0);
		iocb->aio_data = crowd->nr++;
		if (kaio_submit_one(crowd->fd, crowd->ctx, iocb) != 1)
			return false;
	}
	return !nr;
}

static inline bool open_crowd(struct __test_metadata *const _metadata,
		       struct crowd *crowd)
{
	crowd->nr = 0;
	crowd->fd = open_kaio(_metadata);
	crowd->file = open_mock(_metadata, KAIO_MOCK_SLOW_DISK);
	return crowd->file >= 0 && !kaio_setup(crowd->fd, CROWD, &crowd->ctx) &&
	       !mock_program(crowd->file, 1, 0,
			     { .result = 5, .sleep = KAIO_MOCK_KILLABLE });
}

/* More than the user has workers: some of the crowd are left in the queue. */
static inline bool crowd_out(struct crowd *crowd)
{
	__u32 sleeping = 0, before;
	__s64 since;

	while (crowd_grows(crowd, 64)) {
		/* Until all sleep, or no more do for a while. */
		since = now_ns();
		do {
			usleep(1000);
			before = sleeping;
			sleeping = mock_info(crowd->file).sleeping;
			if (sleeping != before)
				since = now_ns();
			if (now_ns() - since > 2 * NSEC_PER_SEC)
				return true;
		} while ((int)sleeping < crowd->nr);
	}
	return false;
}

/* Lets all go that are left, and takes their events; each but @cancelled reads. */
static inline bool crowd_leaves(struct crowd *crowd, int cancelled)
{
	struct io_event events[64];
	bool seen[CROWD] = {};
	long got, sum, i;

	mock_let_go(crowd->file, CROWD);
	for (sum = 0; sum < crowd->nr - !!cancelled; sum += got) {
		got = kaio_getevents(crowd->fd, crowd->ctx, 1, 64, events,
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

#endif /* KAIO_CROWD_H */
