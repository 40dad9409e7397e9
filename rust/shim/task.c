// SPDX-License-Identifier: GPL-2.0
/* Reads the current task, and lets a kworker act for the submitter of a request. */
#include <linux/blk-cgroup.h>
#include <linux/capability.h>
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/ioprio.h>
#include <linux/kthread.h>
#include <linux/memcontrol.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/time_namespace.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>

#include "shim.h"

/*
 * Sends a signal, which a synchronous write would send to its task, to the process whose
 * memory the current task has.
 */
void kaio_signal_owner(int sig)
{
#ifdef CONFIG_MEMCG
	struct task_struct *owner;
	struct pid *pid = NULL;

	rcu_read_lock();
	owner = current->mm ? rcu_dereference(current->mm->owner) : NULL;
	if (owner)
		pid = get_pid(task_tgid(owner));
	rcu_read_unlock();
	if (pid)
		kill_pid(pid, sig, 1);
	put_pid(pid);
#endif
}

void kaio_signal_pipe(void)
{
	kaio_signal_owner(SIGPIPE);
}

/* The submitter. */

void kaio_submitter_capture(struct kaio_submitter *s)
{
	s->cred = get_current_cred();
	s->fsize_limit = rlimit(RLIMIT_FSIZE);
#ifdef CONFIG_BLK_CGROUP
	s->blkcg = task_get_css(current, io_cgrp_id);
#else
	s->blkcg = NULL;
#endif
	s->memcg = get_mem_cgroup_from_mm(current->mm);
}

/* Returns whether kaio_submitter_capture() would find the same in the current task. */
bool kaio_submitter_is_current(const struct kaio_submitter *s)
{
	bool same = s->cred == current_cred() && s->fsize_limit == rlimit(RLIMIT_FSIZE);

	rcu_read_lock();
#ifdef CONFIG_BLK_CGROUP
	same = same && s->blkcg == task_css(current, io_cgrp_id);
#endif
#ifdef CONFIG_MEMCG
	same = same && (mem_cgroup_disabled() ||
			s->memcg == mem_cgroup_from_task(rcu_dereference(current->mm->owner)));
#endif
	rcu_read_unlock();
	return same;
}

void kaio_submitter_put(struct kaio_submitter *s)
{
	put_cred(s->cred);
	if (s->blkcg)
		css_put(s->blkcg);
	mem_cgroup_put(s->memcg);
}

u16 kaio_current_ioprio(void)
{
	return get_current_ioprio();
}

void kaio_submitter_enter(const struct kaio_submitter *s, u16 ioprio,
			  struct kaio_submitter_saved *saved)
{
	/* The kworker still has its own rights here, and may have any priority. */
	if (ioprio != get_current_ioprio())
		set_task_ioprio(current, ioprio);
	saved->cred = override_creds(s->cred);
	saved->memcg = set_active_memcg(s->memcg);
	kthread_associate_blkcg(s->blkcg);
}

void kaio_submitter_leave(struct kaio_submitter_saved *saved)
{
	kthread_associate_blkcg(NULL);
	set_active_memcg(saved->memcg);
	revert_creds(saved->cred);
	if (current->io_context && current->io_context->ioprio)
		set_task_ioprio(current, 0);
}

/*
 * Returns whether all threads of the process have exited, and no other process uses its
 * memory. Kernel threads that act for the process do not count. Once the answer is yes, it
 * remains yes. (Without memory cgroups the kernel does not know which processes use the
 * memory, and the answer is no.)
 */
bool kaio_process_is_gone(struct pid *tgid, const struct mm_struct *mm)
{
	bool gone = false;
#ifdef CONFIG_MEMCG
	const struct task_struct *task;

	/* mm_update_next_owner() clears the owner when it finds no other task. */
	if (rcu_access_pointer(mm->owner))
		return false;
	rcu_read_lock();
	task = pid_task(tgid, PIDTYPE_TGID);
	gone = !task || !atomic_read(&task->signal->live);
	rcu_read_unlock();
#endif
	return gone;
}

struct pid *kaio_current_process(void)
{
	return get_task_pid(current, PIDTYPE_TGID);
}

void kaio_current_comm(u8 *name, size_t size)
{
	strscpy_pad((char *)name, current->comm, size);
}

void kaio_warn_given_up(const u8 *name, int tgid, unsigned int nr)
{
	pr_warn_ratelimited("kaio: %s[%d] has ended; %u of its requests took longer and were given up\n",
			    (const char *)name, tgid, nr);
}

/* Returns the current task, or 0 in an interrupt, which may have interrupted any task. */
unsigned long kaio_current_if_task(void)
{
	return in_task() ? (unsigned long)current : 0;
}

u32 kaio_current_uid(void)
{
	return __kuid_val(current_uid());
}

u64 kaio_current_cgroup(void)
{
	u64 id = 0;

#ifdef CONFIG_CGROUPS
	rcu_read_lock();
	id = cgroup_id(task_dfl_cgroup(current));
	rcu_read_unlock();
#endif
	return id;
}

bool kaio_current_is_kthread(void)
{
	return current->flags & PF_KTHREAD;
}

/* Returns whether the current task runs a system call that a 64-bit program made itself. */
bool kaio_current_called(void)
{
	return !in_compat_syscall() && !(current->flags & (PF_KTHREAD | PF_USER_WORKER));
}

bool kaio_current_exits(void)
{
	return current->flags & PF_EXITING;
}

unsigned long kaio_current_files(void)
{
	return (unsigned long)current->files;
}

int kaio_current_pid(void)
{
	return task_pid_nr(current);
}

/*
 * Returns when the current task was made, in nanoseconds since boot. No other task with the
 * same pid has the same time.
 */
u64 kaio_current_start(void)
{
	return current->start_boottime;
}

int kaio_current_tgid(void)
{
	return task_tgid_nr(current);
}

bool kaio_capable_resource(void)
{
	return capable(CAP_SYS_RESOURCE);
}

/*
 * Returns whether a signal is pending for the current task. signal_pending() also looks at
 * TIF_NOTIFY_SIGNAL, which is not a signal.
 */
bool kaio_current_has_signal(void)
{
	return task_sigpending(current);
}

bool kaio_current_is_killed(void)
{
	return fatal_signal_pending(current);
}

/*
 * Returns CLOCK_MONOTONIC in nanoseconds, as the current task reads it in its time
 * namespace. This is posix_get_monotonic_timespec() of kernel/time/posix-timers.c.
 */
s64 kaio_current_monotonic(void)
{
	struct timespec64 now;

	ktime_get_ts64(&now);
	timens_add_monotonic(&now);
	return timespec64_to_ns(&now);
}

/*
 * Sets the signal mask of the current task until kaio_sigmask_restore() is called. This is
 * set_user_sigmask() of kernel/signal.c, which the kernel does not export.
 */
int kaio_sigmask_set(const void __user *umask, u64 size)
{
	sigset_t mask;

	if (size != sizeof(mask))
		return -EINVAL;
	if (copy_from_user(&mask, umask, sizeof(mask)))
		return -EFAULT;
	sigdelsetmask(&mask, sigmask(SIGKILL) | sigmask(SIGSTOP));
	set_restore_sigmask();
	current->saved_sigmask = current->blocked;
	return sigprocmask(SIG_SETMASK, &mask, NULL);
}

/*
 * Restores the signal mask of the current task, as restore_saved_sigmask_unless() does: if a
 * signal is pending, its handler runs with the other mask first.
 */
void kaio_sigmask_restore(void)
{
	if (!signal_pending(current) && test_and_clear_restore_sigmask())
		sigprocmask(SIG_SETMASK, &current->saved_sigmask, NULL);
}
