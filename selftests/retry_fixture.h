/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Defines the fixture of the tests of the retry engine. Their files return
 * -EAGAIN, queue, sleep and wake when a test tells them to, so that each step
 * is determined. Races that need many rounds are in race_test.c.
 */
#ifndef KAIO_RETRY_FIXTURE_H
#define KAIO_RETRY_FIXTURE_H

#include "mock_fixture.h"

/*
 * Waits until the request is parked again, after at least @attempts attempts.
 */
static inline bool parks_again(int file, __u64 attempts)
{
	struct kaio_mock_info info;

	return wait_until((info = mock_info(file)).attempts >= attempts &&
			  !info.running && info.waiters[0] == 1);
}

/*
 * Waits for an event with poll(2) on the device, so that a kworker runs the
 * request. A thread that waits in getevents may run the request itself.
 */
static inline void wait_without_helping(struct __test_metadata *_metadata, struct mock *m)
{
	struct pollfd device = { .fd = m->fd, .events = POLLIN };

	ASSERT_EQ(1, poll(&device, 1, 10000));
}

/*
 * Kicks the parked request, and waits until its attempt sleeps in the file. The
 * attempt will return -EAGAIN, and attempts after that one take the step @then.
 */
static inline void kick_into_sleep(struct __test_metadata *_metadata, struct mock *m,
				   struct kaio_mock_step then)
{
	ASSERT_EQ(0, mock_program(m->file, 1, 0,
				  NOT_NOW_ONCE,
				  SLEEPS_ONCE(-EAGAIN, KAIO_MOCK_KILLABLE),
				  then));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, 0, IN));
	ASSERT_TRUE(mock_sleeps(m->file));
	ASSERT_EQ(1, mock_waiters(m->file));
}

FIXTURE(mock)
{
	struct mock m;
};

MOCK_FIXTURE_SETUP(mock, KAIO_MOCK)

#endif /* KAIO_RETRY_FIXTURE_H */
