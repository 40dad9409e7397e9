// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Several threads use one context: each event is taken once, and every waiting
 * thread is woken.
 */
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "libaio_fixture.h"
#include "task_work.h"

#define TAKERS		4
#define REQUESTS	20000

static struct {
	io_context_t ctx;
	atomic_uint taken[REQUESTS];
	atomic_int total;
	atomic_int errors;
} shared;

/*
 * Some threads wait for several events, some for one, and some only look now
 * and then.
 */
static void *event_taker(void *arg)
{
	long min = (long)arg;
	struct timespec a_moment = { .tv_nsec = 5000000 };
	struct io_event events[16];
	int i, got;

	while (atomic_load(&shared.total) < REQUESTS) {
		got = io_getevents(shared.ctx, min, 16, events, min ? &a_moment : &no_time);
		if (got < 0) {
			atomic_fetch_add(&shared.errors, 1);
			break;
		}
		for (i = 0; i < got; i++)
			atomic_fetch_add(&shared.taken[(uintptr_t)events[i].data], 1);
		atomic_fetch_add(&shared.total, got);
		if (!got && !min)
			sched_yield();
	}
	return NULL;
}

TEST_F(aio, each_event_is_taken_once)
{
	static struct iocb iocbs[REQUESTS];
	pthread_t threads[TAKERS];
	uintptr_t i;
	int ret;

	shared.ctx = self->ctx;
	for (i = 0; i < TAKERS; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, event_taker, (void *)(i % 3)), 0);
	for (i = 0; i < REQUESTS; i++) {
		struct iocb *iocb = &iocbs[i];

		io_prep_poll(iocb, self->pipe[1], POLLOUT);
		iocb->data = (void *)i;
		do
			ret = io_submit(self->ctx, 1, &iocb);
		while (ret == -EAGAIN && !sched_yield());
		ASSERT_EQ(ret, 1);
	}
	for (i = 0; i < TAKERS; i++)
		ASSERT_EQ(pthread_join(threads[i], NULL), 0);
	EXPECT_EQ(atomic_load(&shared.errors), 0);
	for (i = 0; i < REQUESTS; i++)
		ASSERT_EQ(atomic_load(&shared.taken[i]), 1) TH_LOG("request %lu", i);
}

static void *wait_for_ever(void *arg)
{
	struct io_event event;

	(void)arg;
	return (void *)(long)io_getevents(shared.ctx, 1, 1, &event, NULL);
}

/* Returns whether the thread @tid sleeps. */
static bool sleeps(pid_t tid)
{
	char path[64], state = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	fclose(file);
	return state == 'S';
}

static void until_sleeping(void)
{
	struct timespec a_moment = { .tv_nsec = 1000000 };
	struct dirent *entry;
	bool all;
	DIR *dir;
	int i;

	for (i = 0; i < 5000; i++) {
		all = true;
		dir = opendir("/proc/self/task");
		while (dir && (entry = readdir(dir)))
			if (atoi(entry->d_name) && atoi(entry->d_name) != getpid())
				all = all && sleeps(atoi(entry->d_name));
		closedir(dir);
		if (all)
			return;
		nanosleep(&a_moment, NULL);
	}
}

#define NR_WAITING	3

/* Starts threads that wait for an event, and returns when all of them sleep. */
static void start_waiting(struct __test_metadata *const _metadata, io_context_t ctx,
			  pthread_t threads[NR_WAITING])
{
	int i;

	shared.ctx = ctx;
	for (i = 0; i < NR_WAITING; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, wait_for_ever, NULL), 0);
	until_sleeping();
}

TEST_F(aio, destroy_wakes_waiting_threads)
{
	pthread_t threads[NR_WAITING];
	void *ret;
	int i;

	start_waiting(_metadata, self->ctx, threads);
	ASSERT_EQ(io_destroy(self->ctx), 0);
	self->ctx = NULL;
	for (i = 0; i < NR_WAITING; i++) {
		ASSERT_EQ(pthread_join(threads[i], &ret), 0);
		EXPECT_EQ((long)ret, -EINVAL);
	}
}

/* Gives the thread @tid work that is no signal while it waits. */
#define URINGS	8

struct disturber {
	pid_t tid;
	int urings[URINGS];
};

static void *disturb(void *arg)
{
	struct disturber *disturber = arg;
	struct timespec a_moment = { .tv_nsec = 1000000 };
	int i, tries;

	for (i = 0; i < URINGS; i++) {
		long before;

		/*
		 * Wait until the thread sleeps, and then until it has slept
		 * again.
		 */
		for (tries = 0; tries < 5000 && !sleeps(disturber->tid); tries++)
			nanosleep(&a_moment, NULL);
		before = sleeps_of(disturber->tid);
		close(disturber->urings[i]);
		for (; tries < 5000 && sleeps_of(disturber->tid) == before; tries++)
			nanosleep(&a_moment, NULL);
	}
	return NULL;
}

static long sleeps_of_this_thread(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw;
}

/* Waits in a program that has closed its io_uring, as PyPI's caio does. */
static void wait_with_work(struct __test_metadata *const _metadata, FIXTURE_DATA(aio) *self)
{
	struct timespec time = { .tv_sec = 1 }, before, after;
	struct disturber disturber = { .tid = getpid() };
	pthread_t thread;
	long long took;
	long slept;
	int i;

	for (i = 0; i < URINGS; i++)
		disturber.urings[i] = open_uring();
	if (disturber.urings[0] < 0)
		SKIP(return, "this kernel has no io_uring, or does not allow it");
	ASSERT_EQ(pthread_create(&thread, NULL, disturb, &disturber), 0);
	slept = sleeps_of_this_thread();
	clock_gettime(CLOCK_MONOTONIC, &before);
	EXPECT_EQ(io_getevents(self->ctx, 1, 1, self->events, &time), 0);
	clock_gettime(CLOCK_MONOTONIC, &after);
	took = (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec;
	EXPECT_GE(took, 1000000000);
	EXPECT_LT(took, 1500000000);
	/* The work has interrupted the wait. */
	EXPECT_GT(sleeps_of_this_thread() - slept, 1);
	ASSERT_EQ(pthread_join(thread, NULL), 0);
}

TEST_F(aio, other_kernel_work_does_not_change_a_wait)
{
	wait_with_work(_metadata, self);
}

/*
 * The library does not know a context whose ring was moved, so the kernel takes
 * its events.
 */
TEST_F(aio, other_kernel_work_does_not_change_a_wait_in_the_kernel)
{
	self->ctx = move_ring(self->ctx);
	ASSERT_NE(self->ctx, NULL);
	wait_with_work(_metadata, self);
}

/*
 * Each waiting thread gets one event; no thread takes two and lets another
 * sleep.
 */
TEST_F(aio, one_event_for_each_waiting_thread)
{
	struct iocb iocbs[NR_WAITING];
	pthread_t threads[NR_WAITING];
	void *ret;
	int i;

	start_waiting(_metadata, self->ctx, threads);
	ASSERT_EQ(submit_ready(self->ctx, iocbs, NR_WAITING, self->pipe[1]), NR_WAITING);
	for (i = 0; i < NR_WAITING; i++) {
		ASSERT_EQ(pthread_join(threads[i], &ret), 0);
		EXPECT_EQ((long)ret, 1);
	}
}

static atomic_bool ended;

static void *take_until_the_end(void *arg)
{
	struct io_event events[4];
	int got = 0;

	(void)arg;
	while (!atomic_load(&ended) && got >= 0)
		got = io_getevents(shared.ctx, 0, 4, events, &no_time);
	return (void *)(long)got;
}

/* A thread that reads the ring after it was unmapped crashes. */
TEST_F(aio, destroy_while_threads_take_events)
{
	pthread_t threads[2];
	void *ret;
	int round, i;

	for (round = 0; round < 50; round++) {
		io_context_t ctx = NULL;

		ASSERT_EQ(io_setup(8, &ctx), 0);
		ASSERT_EQ(submit_ready(ctx, &self->iocb, 1, self->pipe[1]), 1);
		shared.ctx = ctx;
		for (i = 0; i < 2; i++)
			ASSERT_EQ(pthread_create(&threads[i], NULL, take_until_the_end, NULL), 0);
		sched_yield();
		ASSERT_EQ(io_destroy(ctx), 0);
		for (i = 0; i < 2; i++) {
			ASSERT_EQ(pthread_join(threads[i], &ret), 0);
			ASSERT_EQ((long)ret, -EINVAL);
		}
	}
}

static atomic_int handled, wrong;

static void take_in_handler(int sig)
{
	struct io_event event;
	int ret = io_getevents(shared.ctx, 0, 1, &event, &no_time);

	(void)sig;
	/* EAGAIN means that the interrupted code is taking events itself. */
	if (ret < 0 && ret != -EAGAIN)
		atomic_fetch_add(&wrong, 1);
	if (ret > 0)
		atomic_fetch_add(&shared.total, ret);
	atomic_fetch_add(&handled, 1);
}

/*
 * A handler that takes events does not wait for the code that it has
 * interrupted.
 */
TEST_F(aio, a_signal_handler_may_take_events)
{
	struct itimerspec often = { .it_value.tv_nsec = 200000, .it_interval.tv_nsec = 200000 };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	struct sigaction action = { .sa_handler = take_in_handler };
	int i, got, submitted = 0;
	timer_t timer;

	shared.ctx = self->ctx;
	atomic_store(&shared.total, 0);
	ASSERT_EQ(sigaction(SIGALRM, &action, NULL), 0);
	ASSERT_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	ASSERT_EQ(timer_settime(timer, 0, &often, NULL), 0);
	for (i = 0; i < 100000 && atomic_load(&handled) < 500; i++) {
		if (submit_ready(self->ctx, &self->iocb, 1, self->pipe[1]) == 1)
			submitted++;
		got = io_getevents(self->ctx, 0, 4, self->events, &no_time);
		ASSERT_GE(got, 0);
		atomic_fetch_add(&shared.total, got);
	}
	timer_delete(timer);
	while ((got = io_getevents(self->ctx, 0, 4, self->events, &no_time)) > 0)
		atomic_fetch_add(&shared.total, got);
	EXPECT_GE(atomic_load(&handled), 500);
	EXPECT_EQ(atomic_load(&wrong), 0);
	EXPECT_EQ(atomic_load(&shared.total), submitted);
}

TEST_HARNESS_MAIN
