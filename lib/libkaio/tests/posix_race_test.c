// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Many threads at the same time, and requests that are made where others end.
 */
#include "posix_common.h"

#define SIGNAL		(SIGRTMIN + 3)
#define NR_READERS	3
#define NR_BYTES	3000

/*
 * Readers of one pipe, a writer, and a thread that cancels the reads all the
 * time. A byte that was written is read once, whichever read is cancelled.
 */
static int pipe_fds[2];
static int bytes_read, cancellations, failures;
static bool stop;

static void *read_bytes(void *arg)
{
	char byte;
	struct aiocb cb = block_of(pipe_fds[0], &byte, 1, 0);
	const struct aiocb *list[] = { &cb };

	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		if (aio_read(&cb) || aio_suspend(list, 1, &patience)) {
			failures++;
			break;
		}
		switch (aio_error(&cb)) {
		case 0:
			__atomic_add_fetch(&bytes_read, aio_return(&cb),
					   __ATOMIC_RELAXED);
			break;
		case ECANCELED:
			__atomic_add_fetch(&cancellations, 1, __ATOMIC_RELAXED);
			break;
		default:
			failures++;
		}
	}
	return NULL;
}

static void *cancel_reads(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; !__atomic_load_n(&stop, __ATOMIC_ACQUIRE); i++) {
		if (aio_cancel(pipe_fds[0], NULL) < 0)
			failures++;
		dawdle(i);
	}
	return NULL;
}

TEST(readers_and_cancellations)
{
	pthread_t readers[NR_READERS], canceller;
	int i;

	empty_pipe(_metadata, pipe_fds);
	for (i = 0; i < NR_READERS; i++)
		ASSERT_EQ(0, pthread_create(&readers[i], NULL, read_bytes, NULL));
	ASSERT_EQ(0, pthread_create(&canceller, NULL, cancel_reads, NULL));
	ASSERT_TRUE(wait_until(__atomic_load_n(&cancellations, __ATOMIC_RELAXED)));
	for (i = 0; i < NR_BYTES; i++) {
		ASSERT_EQ(1, write(pipe_fds[1], "x", 1));
		dawdle(i);
	}
	EXPECT_TRUE(wait_until(__atomic_load_n(&bytes_read, __ATOMIC_RELAXED) >=
			       NR_BYTES));
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(canceller, NULL));
	close(pipe_fds[1]); /* reads end */
	for (i = 0; i < NR_READERS; i++)
		ASSERT_EQ(0, pthread_join(readers[i], NULL));
	EXPECT_EQ(NR_BYTES, bytes_read);
	EXPECT_EQ(0, failures);
	EXPECT_EQ(0, module_counter("inflight"));
}

/* The next request is made where the program is notified of the last one. */
#define NR_ROUNDS 200

static struct aiocb chain;
static int rounds;

static void next_round(void)
{
	const int round = __atomic_add_fetch(&rounds, 1, __ATOMIC_RELEASE);

	if (aio_error(&chain) || aio_return(&chain) != 5)
		failures++;
	else if (round < NR_ROUNDS && aio_write(&chain))
		failures++;
}

static void by_signal(int signo)
{
	(void)signo;
	next_round();
}

static void by_thread(union sigval value)
{
	(void)value;
	next_round();
}

FIXTURE(chain)
{
};

FIXTURE_SETUP(chain)
{
	chain = block_of(open_temp(MEM_DIR, 0), "hello", 5, 0);
	chain.aio_sigevent.sigev_signo = SIGNAL;
	chain.aio_sigevent.sigev_notify_function = by_thread;
	signal(SIGNAL, by_signal);
}

FIXTURE_TEARDOWN(chain)
{
	EXPECT_TRUE(wait_until(__atomic_load_n(&rounds, __ATOMIC_ACQUIRE) ==
			       NR_ROUNDS));
	EXPECT_EQ(0, failures);
	EXPECT_EQ(NR_ROUNDS, module_counter("submitted"));
}

TEST_F(chain, of_threads)
{
	chain.aio_sigevent.sigev_notify = SIGEV_THREAD;
	ASSERT_EQ(0, aio_write(&chain));
}

TEST_F(chain, of_signals)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGNAL,
	};

	chain.aio_sigevent = event;
	ASSERT_EQ(0, aio_write(&chain));
}

/* Each thread waits in another way for the same requests. */
static struct aiocb shared[8];
static char bytes[8];

static void *wait_for_all(void *arg)
{
	const struct aiocb *list[8];
	int i;

	(void)arg;
	for (i = 0; i < 8; i++)
		list[i] = &shared[i];
	for (i = 0; i < 8; i++) {
		while (aio_error(&shared[i]) == EINPROGRESS)
			if (aio_suspend(&list[i], 1, &patience))
				return shared;
	}
	return NULL;
}

TEST(many_wait_for_the_same_requests)
{
	pthread_t threads[4];
	int round, fds[2], i;
	void *ret;

	empty_pipe(_metadata, fds);
	for (round = 0; round < 50; round++) {
		for (i = 0; i < 8; i++) {
			shared[i] = block_of(fds[0], &bytes[i], 1, 0);
			ASSERT_EQ(0, aio_read(&shared[i]));
		}
		for (i = 0; i < 4; i++)
			ASSERT_EQ(0, pthread_create(&threads[i], NULL, wait_for_all,
						    NULL));
		for (i = 0; i < 8; i++) {
			dawdle(round * i);
			ASSERT_EQ(1, write(fds[1], "x", 1));
		}
		for (i = 0; i < 4; i++) {
			ASSERT_EQ(0, pthread_join(threads[i], &ret));
			ASSERT_EQ(NULL, ret);
		}
	}
}

TEST_HARNESS_MAIN
