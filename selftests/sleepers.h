/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What tests of calls that sleep share: threads that are seen to sleep, and
 * signals that end their sleep.
 */
#ifndef KAIO_SLEEPERS_H
#define KAIO_SLEEPERS_H

#include "kaio_common.h"

static inline struct timespec ms(long n)
{
	return (struct timespec){
		.tv_sec = n / 1000,
		.tv_nsec = n % 1000 * NSEC_PER_MSEC,
	};
}

/* What a thread does, as proc(5) has it; 0 if there is none. */
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

/* Whether a thread sleeps in the kernel. */
static inline bool task_sleeps(pid_t pid, pid_t tid)
{
	return task_state(pid, tid) == 'S';
}

/*
 * A thread in a call that sleeps.
 */
struct sleeper {
	/* Set before it starts. */
	long (*call)(void *arg);
	void *arg;
	/* Set by it. */
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

/* When this returns, @call(@arg) sleeps. */
static inline bool fall_asleep(struct sleeper *sleeper, long (*call)(void *arg),
			       void *arg)
{
	*sleeper = (struct sleeper){ .call = call, .arg = arg, .ret = -ENOMSG };
	return !pthread_create(&sleeper->thread, NULL, run_sleeper, sleeper) &&
	       wait_until(is_asleep(sleeper));
}

/* What @call returned; -ETIME if it sleeps on. */
static inline long woken(struct sleeper *sleeper)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_SECONDS;
	if (pthread_timedjoin_np(sleeper->thread, NULL, &end))
		return -ETIME;
	return sleeper->ret;
}

/* For start_closing(). */
static inline long close_call(void *arg)
{
	return close(*(int *)arg) ? -errno : 0;
}

/* A thread that closes *@fd. */
static inline bool start_closing(struct sleeper *sleeper, int *fd)
{
	*sleeper = (struct sleeper){ .call = close_call, .arg = fd, .ret = -ENOMSG };
	return !pthread_create(&sleeper->thread, NULL, run_sleeper, sleeper);
}

/* The close waits for what is in flight: no signal ends that. */
static inline bool close_waits(const struct sleeper *sleeper)
{
	return wait_until(task_state(getpid(), __atomic_load_n(&sleeper->tid,
						__ATOMIC_ACQUIRE)) == 'D');
}

/* For fall_asleep(): getevents that waits for so many. */
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

/* For races: some rounds one side is first, in others the other. */
static inline void dawdle(int round)
{
	int i;

	for (i = 0; i < round % 50 * 40; i++)
		asm volatile("");
}

/*
 * Signals.
 */
static int signals __maybe_unused;

static inline void count_signal(int sig)
{
	(void)sig;
	__atomic_fetch_add(&signals, 1, __ATOMIC_RELAXED);
}

/* Since the last time this was asked. */
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

/* SIGALRM every so many ms, so that one comes during a wait; 0 stops it. */
static inline bool alarm_every(long msec)
{
	const struct itimerval timer = {
		.it_value.tv_usec = msec * 1000,
		.it_interval.tv_usec = msec * 1000,
	};

	return !setitimer(ITIMER_REAL, &timer, NULL);
}

#endif /* KAIO_SLEEPERS_H */
