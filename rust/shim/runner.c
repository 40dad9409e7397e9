// SPDX-License-Identifier: GPL-2.0
/* Starts and watches kernel threads that run requests. */
#include <linux/hash.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "kaio_shim.h"

struct workqueue_struct *kaio_workqueue_alloc(const char *name, u32 number, int max_active)
{
	return alloc_workqueue("%s/%u", WQ_UNBOUND, max_active, name, number);
}

/*
 * A thread is listed from kaio_runner_enter() to kaio_runner_leave(), and takes SIGKILL from
 * the kernel meanwhile. (User space cannot send SIGKILL to it: see SIG_KTHREAD_KERNEL.) If the
 * run of a thread must end, kaio_runner_look_for_end() changes the state of the thread from
 * RUNNER_RUNS to RUNNER_TOLD, and sends the signal, under the lock of the list. So a thread
 * that ends its run, and finds RUNNER_TOLD, takes the lock: the signal has come then, and
 * the thread drops it before it runs another request, completes this one, or leaves for
 * other work.
 */
enum kaio_runner_state {
	RUNNER_IDLE,
	RUNNER_RUNS,
	RUNNER_TOLD,
};

/* Threads are spread over several lists, so that they do not wait for one lock. */
#define RUNNER_LISTS	16

static struct kaio_runners {
	spinlock_t lock;
	struct list_head list;
} ____cacheline_aligned_in_smp kaio_runners[RUNNER_LISTS] = {
	[0 ... RUNNER_LISTS - 1] = { .lock = __SPIN_LOCK_UNLOCKED(kaio_runners.lock) },
};

static void kaio_ends_tick(struct work_struct *work);
static DECLARE_DELAYED_WORK(kaio_ends_work, kaio_ends_tick);
static void kaio_stalls_tick(struct work_struct *work);
static DECLARE_DELAYED_WORK(kaio_stalls_work, kaio_stalls_tick);

/* The periods of the looks for runs that must end, and for runs that hold up others. */
#define ENDS_TICK	HZ
#define STALLS_TICK	(HZ / 10)

static struct kaio_runners *kaio_runners_of(const struct task_struct *task)
{
	return &kaio_runners[hash_ptr(task, ilog2(RUNNER_LISTS))];
}

/* Queues the next look, unless it is queued already. */
static void kaio_tick(struct delayed_work *work, unsigned long delay)
{
	/*
	 * The work of a look that goes on is not pending any more. So a thread that enters
	 * meanwhile queues another look, which sees that thread.
	 */
	if (!delayed_work_pending(work))
		queue_delayed_work(system_dfl_wq, work, delay);
}

void kaio_runner_enter(struct kaio_runner *runner, const void *of,
		       bool (*must_end)(const void *of), void (*stalled)(const void *of))
{
	struct kaio_runners *runners = kaio_runners_of(current);

	runner->task = current;
	runner->of = of;
	runner->must_end = must_end;
	runner->stalled = stalled;
	runner->state = RUNNER_IDLE;
	runner->runs = 0;
	runner->seen = 0;
	allow_kernel_signal(SIGKILL);
	spin_lock(&runners->lock);
	/* The first thread initializes the list. */
	if (!runners->list.next)
		INIT_LIST_HEAD(&runners->list);
	list_add(&runner->entry, &runners->list);
	spin_unlock(&runners->lock);
	kaio_tick(&kaio_ends_work, ENDS_TICK);
	if (stalled)
		kaio_tick(&kaio_stalls_work, STALLS_TICK);
}

void kaio_runner_leave(struct kaio_runner *runner)
{
	struct kaio_runners *runners = kaio_runners_of(current);

	spin_lock(&runners->lock);
	list_del(&runner->entry);
	spin_unlock(&runners->lock);
	disallow_signal(SIGKILL);
}

void kaio_runner_begin(struct kaio_runner *runner)
{
	WRITE_ONCE(runner->runs, runner->runs + 1);
	WRITE_ONCE(runner->state, RUNNER_RUNS);
}

bool kaio_runner_end(struct kaio_runner *runner)
{
	struct kaio_runners *runners = kaio_runners_of(current);

	if (likely(xchg(&runner->state, RUNNER_IDLE) != RUNNER_TOLD))
		return false;
	/* The task that sends the signal holds the lock until it has done so. */
	spin_lock(&runners->lock);
	spin_unlock(&runners->lock);
	flush_signals(current);
	return true;
}

/* Tells the thread to end its run if the run must end. Returns true: the thread is listed. */
static bool kaio_runner_look_for_end(struct kaio_runner *runner)
{
	if (READ_ONCE(runner->state) == RUNNER_RUNS && runner->must_end(runner->of) &&
	    cmpxchg(&runner->state, RUNNER_RUNS, RUNNER_TOLD) == RUNNER_RUNS)
		send_sig(SIGKILL, runner->task, 1);
	return true;
}

/*
 * Reports a thread that still runs what it ran at the last look, if other threads would wait
 * for it. Returns whether they would.
 */
static bool kaio_runner_look_for_stall(struct kaio_runner *runner)
{
	const unsigned int runs = READ_ONCE(runner->runs);

	if (!runner->stalled)
		return false;
	if (READ_ONCE(runner->state) != RUNNER_IDLE && runs == runner->seen)
		runner->stalled(runner->of);
	runner->seen = runs;
	return true;
}

/* Calls @look for each listed thread. Returns whether any call returned true. */
static bool kaio_runners_look(bool (*look)(struct kaio_runner *runner))
{
	struct kaio_runners *runners;
	struct kaio_runner *runner;
	bool any = false;

	for (runners = kaio_runners; runners < kaio_runners + RUNNER_LISTS; runners++) {
		cond_resched();
		guard(spinlock)(&runners->lock);
		if (!runners->list.next)
			continue;
		list_for_each_entry(runner, &runners->list, entry)
			any |= look(runner);
	}
	return any;
}

static void kaio_ends_tick(struct work_struct *work)
{
	if (kaio_runners_look(kaio_runner_look_for_end))
		kaio_tick(&kaio_ends_work, ENDS_TICK);
}

static void kaio_stalls_tick(struct work_struct *work)
{
	if (kaio_runners_look(kaio_runner_look_for_stall))
		kaio_tick(&kaio_stalls_work, STALLS_TICK);
}

void kaio_runners_end(void)
{
	kaio_runners_look(kaio_runner_look_for_end);
}

/*
 * Waits, before the module's text is freed, for interrupts and RCU callbacks that run in the
 * text, and for tasks that were preempted in it (a completion in a kworker, or with
 * PREEMPT_RT in the thread of an interrupt). RCU does not count a task that sleeps while it
 * waits for a spinlock, as a task may with PREEMPT_RT. So a completion takes no spinlock
 * after it has put the last file.
 */
void kaio_grace(void)
{
	cancel_delayed_work_sync(&kaio_ends_work);
	cancel_delayed_work_sync(&kaio_stalls_work);
	synchronize_rcu();
	synchronize_rcu_tasks();
	rcu_barrier();
}
