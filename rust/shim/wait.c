// SPDX-License-Identifier: GPL-2.0
/* Waits for conditions, and wakes the tasks that wait. */
#include <linux/eventfd.h>
#include <linux/hrtimer.h>
#include <linux/sched/signal.h>
#include <linux/wait.h>
#include <linux/wait_bit.h>

#include "kaio_shim.h"

void kaio_waitqueue_init(struct wait_queue_head *wq, bool of_device)
{
	/*
	 * Each of the two calls makes a lock class: a task that waits for a context may be
	 * woken under the lock of the device's queue.
	 */
	if (of_device)
		init_waitqueue_head(wq);
	else
		init_waitqueue_head(wq);
}

void kaio_wake(struct wait_queue_head *wq)
{
	/* wq_has_sleeper() has the barrier that the test in a wait loop needs. */
	if (wq_has_sleeper(wq))
		wake_up_all(wq);
}

bool kaio_has_sleeper(struct wait_queue_head *wq)
{
	return wq_has_sleeper(wq);
}

/*
 * Waits as wait_event_interruptible_hrtimeout() does, but a task that was woken does not
 * look at @ready again. Returns 0, -ETIME or -ERESTARTSYS.
 */
long kaio_wait_event(struct wait_queue_head *wq, bool (*ready)(void *), void *arg,
		     s64 timeout_ns)
{
	const bool timed = timeout_ns != KTIME_MAX;
	struct hrtimer_sleeper timer;
	struct wait_queue_entry entry;
	long ret;

	might_sleep();
	/* A task that does not have to sleep is to see a signal, too. */
	if (signal_pending(current))
		return -ERESTARTSYS;
	if (ready(arg))
		return 0;
	init_wait_entry(&entry, 0);
	if (timed) {
		hrtimer_setup_sleeper_on_stack(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
		hrtimer_set_expires_range_ns(&timer.timer, timeout_ns, current->timer_slack_ns);
		hrtimer_sleeper_start_expires(&timer, HRTIMER_MODE_REL);
	}
	for (;;) {
		ret = prepare_to_wait_event(wq, &entry, TASK_INTERRUPTIBLE);
		if (ready(arg)) {
			ret = 0;
			break;
		}
		if (!ret && timed && !timer.task)
			ret = -ETIME;
		if (ret)
			break;
		schedule();
		/* kaio_wake() took the entry off the queue. */
		if (list_empty_careful(&entry.entry))
			break;
	}
	finish_wait(wq, &entry);
	if (timed) {
		hrtimer_cancel(&timer.timer);
		destroy_hrtimer_on_stack(&timer.timer);
	}
	return ret;
}

void kaio_wait_event_timeout(struct wait_queue_head *wq, bool (*ready)(void *), void *arg,
			     unsigned int ms)
{
	wait_event_timeout(*wq, ready(arg), msecs_to_jiffies(ms));
}

int kaio_wait_event_killable(struct wait_queue_head *wq, bool (*ready)(void *), void *arg)
{
	return wait_event_killable(*wq, ready(arg));
}

void kaio_wake_var(void *var)
{
	wake_up_var(var);
}

int kaio_wait_var(void *var, bool (*ready)(void *), void *arg, bool interruptible)
{
	if (interruptible)
		return wait_var_event_interruptible(var, ready(arg));
	wait_var_event(var, ready(arg));
	return 0;
}

/*
 * Returns whether the current task may signal an eventfd. It may not while an eventfd wakes
 * its waiters, as eventfds that signal each other might never come to an end.
 */
bool kaio_eventfd_may_signal(void)
{
	return eventfd_signal_allowed();
}

void kaio_eventfd_signal(struct eventfd_ctx *ctx)
{
	eventfd_signal(ctx);
}
