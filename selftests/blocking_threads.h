/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Provides threads in calls that sleep: a test can observe their sleep and
 * interrupt it by signals.
 */
#ifndef KAIO_BLOCKING_THREADS_H
#define KAIO_BLOCKING_THREADS_H

#include "kaio_common.h"

static inline struct timespec ms(long n)
{
	return (struct timespec){
		.tv_sec = n / 1000,
		.tv_nsec = n % 1000 * NSEC_PER_MSEC,
	};
}

/*
 * Returns the state letter of a thread from proc(5), or 0 if there is no such
 * thread.
 */
static inline char task_state(pid_t pid, pid_t tid)
{
	char path[64], state = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	fclose(file);
	return state;
}

/* Returns true if the thread sleeps in the kernel, interruptibly. */
static inline bool task_sleeps(pid_t pid, pid_t tid)
{
	return task_state(pid, tid) == 'S';
}

/*
 * A sleeper is a thread in a call that sleeps.
 */
struct sleeper {
	/* The creator sets these before the thread starts. */
	long (*call)(void *arg);
	void *arg;
	/* The thread sets these. */
	pid_t tid;
	long ret;
	pthread_t thread;
};

static inline void *run_sleeper(void *arg)
{
	struct sleeper *sleeper = arg;

	__atomic_store_n(&sleeper->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	sleeper->ret = sleeper->call(sleeper->arg);
	return NULL;
}

static inline bool is_asleep(const struct sleeper *sleeper)
{
	const pid_t tid = __atomic_load_n(&sleeper->tid, __ATOMIC_ACQUIRE);

	return tid && task_sleeps(getpid(), tid);
}

/* Starts a thread that calls @call(@arg), and does not wait for its sleep. */
static inline bool start_call(struct sleeper *sleeper, long (*call)(void *arg),
			      void *arg)
{
	*sleeper = (struct sleeper){ .call = call, .arg = arg, .ret = -ENOMSG };
	return !pthread_create(&sleeper->thread, NULL, run_sleeper, sleeper);
}

/*
 * Starts a thread that calls @call(@arg), and waits until the thread sleeps in
 * it.
 */
static inline bool fall_asleep(struct sleeper *sleeper, long (*call)(void *arg),
			       void *arg)
{
	return start_call(sleeper, call, arg) && wait_until(is_asleep(sleeper));
}

/*
 * Returns the result of the sleeper's call, or -ETIME if the call does not
 * return in time.
 */
static inline long woken(struct sleeper *sleeper)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_SECONDS;
	if (pthread_timedjoin_np(sleeper->thread, NULL, &end))
		return -ETIME;
	return sleeper->ret;
}

/*
 * Returns the result of the sleeper's call, however long the call takes. Returns
 * -ESRCH if there is no such thread.
 */
static inline long result_of_call(struct sleeper *sleeper)
{
	return pthread_join(sleeper->thread, NULL) ? -ESRCH : sleeper->ret;
}

/* The call of start_closing(). */
static inline long close_call(void *arg)
{
	return close(*(int *)arg) ? -errno : 0;
}

/* Starts a thread that closes *@fd. */
static inline bool start_closing(struct sleeper *sleeper, int *fd)
{
	return start_call(sleeper, close_call, fd);
}

/*
 * Waits until the close sleeps uninterruptibly: it waits for the requests in
 * flight, and no signal ends that.
 */
static inline bool close_waits(const struct sleeper *sleeper)
{
	return wait_until(task_state(getpid(), __atomic_load_n(&sleeper->tid,
						__ATOMIC_ACQUIRE)) == 'D');
}

/*
 * The argument of wait_for_events(), for fall_asleep(): getevents waits for @nr
 * events.
 */
struct waiter {
	int fd;
	__u64 ctx;
	long nr;
	struct io_event events[NR_EVENTS];
};

static inline long wait_for_events(void *arg)
{
	struct waiter *waiter = arg;

	return kaio_getevents(waiter->fd, waiter->ctx, waiter->nr, waiter->nr,
			      waiter->events, NULL);
}

/*
 * Spins for a time that depends on @round, so that in a race one side is first
 * in some rounds and the other side in others.
 */
static inline void dawdle(int round)
{
	int i;

	for (i = 0; i < round % 50 * 40; i++)
		asm volatile("");
}

/*
 * The functions below count signals.
 */
static int signals __maybe_unused;

static inline void count_signal(int sig)
{
	(void)sig;
	__atomic_fetch_add(&signals, 1, __ATOMIC_RELAXED);
}

/* Returns the number of signals since the last call. */
static inline int signals_seen(void)
{
	return __atomic_exchange_n(&signals, 0, __ATOMIC_RELAXED);
}

static inline bool catch_signal(int sig, int flags)
{
	const struct sigaction action = {
		.sa_handler = count_signal,
		.sa_flags = flags,
	};

	return !sigaction(sig, &action, NULL);
}

/*
 * Raises SIGALRM every @msec milliseconds, so that one comes during a wait. 0
 * stops the signals.
 */
static inline bool alarm_every(long msec)
{
	const struct itimerval timer = {
		.it_value.tv_usec = msec * 1000,
		.it_interval.tv_usec = msec * 1000,
	};

	return !setitimer(ITIMER_REAL, &timer, NULL);
}

#endif /* KAIO_BLOCKING_THREADS_H */
