/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Provides an opponent: a thread that does one thing in each round of a race,
 * while the test does another.
 */
#ifndef KAIO_OPPONENT_H
#define KAIO_OPPONENT_H

#include "blocking_threads.h"

struct opponent {
	/* The thread calls this in each round. */
	void (*act)(void *arg);
	void *arg;
	int rounds;
	pthread_barrier_t barrier;
	struct sleeper thread;
};

static inline long act_in_rounds(void *arg)
{
	struct opponent *opponent = arg;
	int round;

	for (round = 0; round < opponent->rounds; round++) {
		pthread_barrier_wait(&opponent->barrier);
		opponent->act(opponent->arg);
		pthread_barrier_wait(&opponent->barrier);
	}
	return 0;
}

/* The test must then run as many rounds as @opponent->rounds. */
static inline void start_opponent(struct __test_metadata *const _metadata,
				  struct opponent *opponent)
{
	ASSERT_EQ(0, pthread_barrier_init(&opponent->barrier, NULL, 2));
	ASSERT_TRUE(start_call(&opponent->thread, act_in_rounds, opponent));
}

/* From now on the opponent acts. */
static inline void begin_round(struct opponent *opponent)
{
	pthread_barrier_wait(&opponent->barrier);
}

/* Waits until the opponent has acted. */
static inline void end_round(struct opponent *opponent)
{
	pthread_barrier_wait(&opponent->barrier);
}

#endif /* KAIO_OPPONENT_H */
