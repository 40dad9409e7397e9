// SPDX-License-Identifier: GPL-2.0
/*
 * Implements files that follow a program, for the tests of kaio; see kaio_mock.h.
 *
 * An attempt (a call of read_iter, for example) takes the next step of the
 * program that user space gave. A wake-up or completion that the attempt leaves
 * for later is a struct mock_later.
 */
#include <linux/atomic.h>
#include <linux/cleanup.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/hrtimer.h>
#include <linux/kaio.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>
#include <linux/poll.h>
#include <linux/pseudo_fs.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/tty.h>
#include <linux/tty_driver.h>
#include <linux/tty_flip.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "kaio_mock.h"

/* A wait queue that may be freed while its file is open. */
struct mock_queue {
	struct wait_queue_head	head;
	struct rcu_head		rcu;
};

/*
 * @queue_mutex keeps the queues alive for poll, and RCU keeps them alive for
 * wake-ups. Interrupts take @lock. Neither lock is held during a wake-up or a
 * completion, except that @queue_mutex is held for POLLFREE.
 */
struct mock_file {
	struct mutex		queue_mutex;
	struct mock_queue __rcu	*queues[KAIO_MOCK_QUEUES];

	spinlock_t		lock;
	struct kaio_mock_program program;
	unsigned int		step;		/* The next attempt takes this step. */
	unsigned int		taken;		/* This many attempts took it. */
	unsigned int		given;		/* This many bytes were read. */
	struct kaio_mock_info	info;
	struct list_head	queued;		/* These wait for KAIO_MOCK_COMPLETE. */

	struct wait_queue_head	sleepers;
	atomic_t		passes;		/* KAIO_MOCK_LET_GO adds to these. */

	/*
	 * The file of KAIO_MOCK_COMPLETE_ON, and the entry on its wait queue.
	 */
	struct file		*completer;
	struct wait_queue_head	*completer_head;
	struct wait_queue_entry	completer_entry;

	/*
	 * The page of a regular file, the requests that wait for it, and the
	 * timer that limits their wait.
	 */
	struct page		*page;
	struct wait_queue_head	page_waiters;
	struct hrtimer		page_limit;
};

/* Work that a kworker, a timer or an ioctl does later. */
struct mock_later {
	struct file		*file;
	struct kiocb		*iocb;		/* Complete this request, or wake waiters if NULL. */
	ssize_t			result;
	bool			unlocks;	/* Do what @unlock says, and not @wake. */
	struct kaio_mock_unlock	unlock;
	struct kaio_mock_wake	wake;
	struct work_struct	work;
	struct hrtimer		timer;
	struct list_head	queued;
};

static struct workqueue_struct *mock_workqueue;

static void mock_wake(struct mock_file *mf, const struct kaio_mock_wake *wake)
{
	struct mock_queue *queue;
	int i;

	scoped_guard(spinlock_irqsave, &mf->lock) {
		mf->program.ready = wake->ready;
		mf->info.wakes++;
	}
	guard(rcu)();
	for (i = 0; i < KAIO_MOCK_QUEUES; i++) {
		queue = rcu_dereference(mf->queues[i]);
		if (queue && (!wake->queues || wake->queues & BIT(i)))
			__wake_up(&queue->head, TASK_NORMAL, 0,
				  poll_to_key((__force __poll_t)wake->key));
	}
}

/* Wakes the waiters of the page as folio_wake_bit() does. */
static void mock_unlock(struct mock_file *mf, u32 what)
{
	const bool other = what == KAIO_MOCK_OTHER_PAGE;
	struct wait_page_key key = {
		.folio	= page_folio(other ? ZERO_PAGE(0) : mf->page),
		.bit_nr	= what == KAIO_MOCK_OTHER_BIT ? PG_writeback : PG_locked,
	};

	guard(spinlock_irqsave)(&mf->page_waiters.lock);
	__wake_up_locked_key(&mf->page_waiters, TASK_NORMAL, &key);
}

/* Ends the wait if KAIO_MOCK_UNLOCK does not come. */
static enum hrtimer_restart mock_page_limit(struct hrtimer *timer)
{
	mock_unlock(container_of(timer, struct mock_file, page_limit), KAIO_MOCK_THIS_PAGE);
	return HRTIMER_NORESTART;
}

/* Does the work once and frees @later. May run in any context. */
static void mock_finish(struct mock_later *later)
{
	if (later->iocb) {
		/* The request held the file, which may be gone from here on. */
		later->iocb->ki_complete(later->iocb, later->result);
	} else {
		if (later->unlocks)
			mock_unlock(later->file->private_data, later->unlock.key);
		else
			mock_wake(later->file->private_data, &later->wake);
		fput(later->file);
	}
	kfree(later);
}

static void mock_work(struct work_struct *work)
{
	mock_finish(container_of(work, struct mock_later, work));
}

static enum hrtimer_restart mock_timer(struct hrtimer *timer)
{
	struct mock_later *later = container_of(timer, struct mock_later, timer);

	if (later->wake.times > 1) {
		later->wake.times--;
		mock_wake(later->file->private_data, &later->wake);
		hrtimer_forward_now(timer, ns_to_ktime(later->wake.delay_ns));
		return HRTIMER_RESTART;
	}
	mock_finish(later);
	return HRTIMER_NORESTART;
}

/* Fails the request if KAIO_MOCK_COMPLETE does not come. */
static enum hrtimer_restart mock_limit(struct hrtimer *timer)
{
	struct mock_later *later = container_of(timer, struct mock_later, timer);
	struct mock_file *mf = later->file->private_data;

	scoped_guard(spinlock_irqsave, &mf->lock) {
		if (list_empty(&later->queued))
			return HRTIMER_NORESTART;
		list_del_init(&later->queued);
		mf->info.queued--;
	}
	later->result = -ETIMEDOUT;
	mock_finish(later);
	return HRTIMER_NORESTART;
}

static int mock_complete(struct mock_file *mf, ssize_t result)
{
	struct mock_later *later;

	scoped_guard(spinlock_irqsave, &mf->lock) {
		later = list_first_entry_or_null(&mf->queued, struct mock_later, queued);
		if (!later)
			return -ENOENT;
		list_del_init(&later->queued);
		mf->info.queued--;
	}
	hrtimer_cancel(&later->timer);
	later->result = result;
	mock_finish(later);
	return 0;
}

static int mock_completer_woken(struct wait_queue_entry *entry, unsigned int mode, int flags,
				void *key)
{
	mock_complete(container_of(entry, struct mock_file, completer_entry), 5);
	return 0;
}

struct mock_completer_table {
	struct poll_table_struct table;
	struct mock_file	*mf;
};

static void mock_join_completer(struct file *file, struct wait_queue_head *head,
				struct poll_table_struct *table)
{
	struct mock_file *mf = container_of(table, struct mock_completer_table, table)->mf;

	if (mf->completer_head)
		return;
	mf->completer_head = head;
	init_waitqueue_func_entry(&mf->completer_entry, mock_completer_woken);
	add_wait_queue(head, &mf->completer_entry);
}

static int mock_complete_on(struct mock_file *mf, unsigned int fd)
{
	struct mock_completer_table completer = { .mf = mf };

	guard(mutex)(&mf->queue_mutex);
	if (mf->completer)
		return -EBUSY;
	mf->completer = fget(fd);
	if (!mf->completer)
		return -EBADF;
	init_poll_funcptr(&completer.table, mock_join_completer);
	vfs_poll(mf->completer, &completer.table);
	return 0;
}

static int mock_start(const struct mock_later *what, u32 when, u64 delay_ns)
{
	struct mock_file *mf = what->file->private_data;
	struct mock_later *later = kmemdup(what, sizeof(*what), GFP_KERNEL);

	if (!later)
		return -ENOMEM;
	/* The request of a completion holds the file. */
	if (!later->iocb)
		get_file(later->file);
	switch (when) {
	case KAIO_MOCK_WORK:
		INIT_WORK(&later->work, mock_work);
		queue_work(mock_workqueue, &later->work);
		break;
	case KAIO_MOCK_IRQ:
		hrtimer_setup(&later->timer, mock_timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
		hrtimer_start(&later->timer, ns_to_ktime(delay_ns), HRTIMER_MODE_REL);
		break;
	case KAIO_MOCK_TOLD:
		hrtimer_setup(&later->timer, mock_limit, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
		/*
		 * Another task may complete the request as soon as the lock is
		 * dropped.
		 */
		scoped_guard(spinlock_irqsave, &mf->lock) {
			list_add_tail(&later->queued, &mf->queued);
			mf->info.queued++;
			hrtimer_start(&later->timer, ms_to_ktime(KAIO_MOCK_LIMIT_MS),
				      HRTIMER_MODE_REL);
		}
		break;
	}
	return 0;
}

static int mock_start_wake(struct file *file, const struct kaio_mock_wake *wake)
{
	const struct mock_later what = { .file = file, .wake = *wake };

	switch (wake->when) {
	case KAIO_MOCK_NEVER:
		return 0;
	case KAIO_MOCK_NOW:
		mock_wake(file->private_data, wake);
		return 0;
	default:
		return mock_start(&what, wake->when, wake->delay_ns);
	}
}

static int mock_start_unlock(struct file *file, const struct kaio_mock_unlock *unlock)
{
	const struct mock_later what = { .file = file, .unlocks = true, .unlock = *unlock };

	switch (unlock->when) {
	case KAIO_MOCK_NEVER:
		return 0;
	case KAIO_MOCK_NOW:
		mock_unlock(file->private_data, unlock->key);
		return 0;
	default:
		return mock_start(&what, unlock->when, unlock->delay_ns);
	}
}

/* Waits as __folio_lock_async() does for a locked page. */
static ssize_t mock_wait_for_page(struct kiocb *iocb, const struct kaio_mock_step *step)
{
	const struct kaio_mock_unlock unlock = {
		.when = step->page, .key = KAIO_MOCK_THIS_PAGE, .delay_ns = step->delay_ns,
	};
	struct wait_page_queue *wait = iocb->ki_waitq;
	struct file *file = iocb->ki_filp;
	struct mock_file *mf = file->private_data;

	wait->folio = page_folio(mf->page);
	wait->bit_nr = PG_locked;
	scoped_guard(spinlock_irq, &mf->page_waiters.lock) {
		__add_wait_queue_entry_tail(&mf->page_waiters, &wait->wait);
		hrtimer_start(&mf->page_limit, ms_to_ktime(KAIO_MOCK_LIMIT_MS),
			      HRTIMER_MODE_REL);
	}
	/* The request may go on from here; the caller holds the file. */
	if (step->page != KAIO_MOCK_TOLD && mock_start_unlock(file, &unlock))
		mock_unlock(mf, KAIO_MOCK_THIS_PAGE);
	return -EIOCBQUEUED;
}

static ssize_t mock_queue_iocb(struct kiocb *iocb, const struct kaio_mock_step *step,
			       ssize_t result)
{
	const struct mock_later what = {
		.file = iocb->ki_filp, .iocb = iocb, .result = result,
	};
	int ret;

	if (step->complete == KAIO_MOCK_NOW) {
		iocb->ki_complete(iocb, result);
		return -EIOCBQUEUED;
	}
	ret = mock_start(&what, step->complete, step->delay_ns);
	return ret ?: -EIOCBQUEUED;
}

static bool mock_is_over(const struct mock_file *mf, bool nowait)
{
	const struct kaio_mock_step *step = &mf->program.steps[mf->step];
	const u32 ready = mf->program.ready & (__force u32)(EPOLLIN | EPOLLOUT);

	return ((step->only & KAIO_MOCK_IF_NOWAIT) && !nowait) ||
	       ((step->only & KAIO_MOCK_IF_UNREADY) && ready) ||
	       (step->attempts && mf->taken == step->attempts);
}

/* Chooses the step of an attempt, and counts the attempt. */
static void mock_begin(struct mock_file *mf, const struct kiocb *iocb,
		       struct kaio_mock_step *step)
{
	const bool nowait = iocb && iocb->ki_flags & IOCB_NOWAIT;
	struct kaio_mock_info *info = &mf->info;

	guard(spinlock_irqsave)(&mf->lock);
	while (mf->step + 1 < mf->program.nr_steps && mock_is_over(mf, nowait)) {
		mf->step++;
		mf->taken = 0;
	}
	*step = mf->program.steps[mf->step];
	mf->taken++;
	mf->program.ready = step->ready;

	info->attempts++;
	info->nowait += nowait;
	info->running++;
	info->most_running = max(info->most_running, info->running);
	info->ki_flags = iocb ? iocb->ki_flags : 0;
	if (info->attempts <= KAIO_MOCK_FIRST)
		info->flags[info->attempts - 1] = info->ki_flags;
	info->ki_ioprio = iocb ? iocb->ki_ioprio : 0;
	info->kthread = !!(current->flags & PF_KTHREAD);
	info->uid = from_kuid(&init_user_ns, current_uid());
	info->fsuid = from_kuid(&init_user_ns, current_fsuid());
}

static int mock_sleep(struct mock_file *mf, const struct kaio_mock_step *step)
{
	long left = msecs_to_jiffies(step->sleep_ms ?: KAIO_MOCK_LIMIT_MS);

	scoped_guard(spinlock_irqsave, &mf->lock)
		mf->info.sleeping++;
	if (step->sleep == KAIO_MOCK_KILLABLE)
		left = wait_event_killable_timeout(mf->sleepers,
				atomic_dec_if_positive(&mf->passes) >= 0, left);
	else
		left = wait_event_interruptible_timeout(mf->sleepers,
				atomic_dec_if_positive(&mf->passes) >= 0, left);
	guard(spinlock_irqsave)(&mf->lock);
	mf->info.sleeping--;
	mf->info.interrupted += left < 0;
	if (left < 0)
		return left;
	return left || step->sleep_ms ? 0 : -ETIMEDOUT;
}

static ssize_t mock_transfer(struct mock_file *mf, struct iov_iter *iter, ssize_t result)
{
	char buf[KAIO_MOCK_BYTES];
	size_t len, i;

	if (result <= 0 || !iter)
		return result;
	len = min3((size_t)result, iov_iter_count(iter), sizeof(buf));
	if (iov_iter_rw(iter) == ITER_DEST) {
		scoped_guard(spinlock_irqsave, &mf->lock)
			for (i = 0; i < len; i++)
				buf[i] = 'a' + mf->given++ % 26;
		len = copy_to_iter(buf, len, iter);
	} else {
		len = copy_from_iter(buf, len, iter);
		guard(spinlock_irqsave)(&mf->lock);
		for (i = 0; i < len; i++, mf->info.written++)
			if (mf->info.written < KAIO_MOCK_BYTES)
				mf->info.data[mf->info.written] = buf[i];
	}
	return len ?: -EFAULT;
}

/* @iocb is NULL for methods without one, and @iter is NULL for fsync. */
static ssize_t mock_attempt(struct file *file, struct kiocb *iocb, struct iov_iter *iter)
{
	struct mock_file *mf = file->private_data;
	struct kaio_mock_step step;
	bool awake, waits;
	ssize_t ret;

	mock_begin(mf, iocb, &step);
	ret = mock_start_wake(file, &step.wake);
	if (!ret && step.sleep)
		ret = mock_sleep(mf, &step);
	awake = !ret;
	waits = awake && step.page && iocb && (iocb->ki_flags & IOCB_WAITQ) && mf->page;
	if (awake && !waits)
		ret = mock_transfer(mf, iter, step.result);
	scoped_guard(spinlock_irqsave, &mf->lock)
		mf->info.running--;
	if (waits)
		return mock_wait_for_page(iocb, &step);
	if (awake && step.complete && iocb && !is_sync_kiocb(iocb))
		return mock_queue_iocb(iocb, &step, ret);
	/* Clear the flags, as file systems do. A retry must not rely on them. */
	if (iocb)
		iocb->ki_flags &= ~(__force int)RWF_SUPPORTED;
	return ret;
}

static ssize_t mock_rw_iter(struct kiocb *iocb, struct iov_iter *iter)
{
	return mock_attempt(iocb->ki_filp, iocb, iter);
}

static ssize_t mock_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	struct iov_iter iter;

	iov_iter_ubuf(&iter, ITER_DEST, buf, len);
	return mock_attempt(file, NULL, &iter);
}

static ssize_t mock_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct iov_iter iter;

	iov_iter_ubuf(&iter, ITER_SOURCE, (char __user *)buf, len);
	return mock_attempt(file, NULL, &iter);
}

static int mock_fsync(struct file *file, loff_t start, loff_t end, int datasync)
{
	return mock_attempt(file, NULL, NULL);
}

static __poll_t mock_poll(struct file *file, struct poll_table_struct *table)
{
	struct mock_file *mf = file->private_data;
	struct mock_queue *queue;
	int i;

	guard(mutex)(&mf->queue_mutex);
	for (i = 0; i < mf->program.nr_queues; i++) {
		queue = rcu_dereference_protected(mf->queues[i],
						  lockdep_is_held(&mf->queue_mutex));
		if (queue)
			poll_wait(file, &queue->head, table);
	}
	guard(spinlock_irqsave)(&mf->lock);
	mf->info.polls++;
	return (__force __poll_t)mf->program.ready;
}

static struct mock_queue *mock_new_queue(void)
{
	struct mock_queue *queue = kzalloc_obj(*queue);

	if (queue)
		init_waitqueue_head(&queue->head);
	return queue;
}

static int mock_free(struct mock_file *mf, const struct kaio_mock_free *arg)
{
	struct mock_queue *old, *new;
	int i;

	guard(mutex)(&mf->queue_mutex);
	for (i = 0; i < KAIO_MOCK_QUEUES; i++) {
		if (!(arg->queues & BIT(i)))
			continue;
		new = arg->renew ? mock_new_queue() : NULL;
		if (arg->renew && !new)
			return -ENOMEM;
		old = rcu_replace_pointer(mf->queues[i], new,
					  lockdep_is_held(&mf->queue_mutex));
		if (!old)
			continue;
		wake_up_pollfree(&old->head);
		kfree_rcu(old, rcu);
	}
	return 0;
}

static void mock_info(struct mock_file *mf, struct kaio_mock_info *info)
{
	struct mock_queue *queue;
	int i;

	scoped_guard(spinlock_irqsave, &mf->lock)
		*info = mf->info;
	scoped_guard(spinlock_irq, &mf->page_waiters.lock)
		info->page_waiters = list_count_nodes(&mf->page_waiters.head);
	guard(mutex)(&mf->queue_mutex);
	for (i = 0; i < KAIO_MOCK_QUEUES; i++) {
		queue = rcu_dereference_protected(mf->queues[i],
						  lockdep_is_held(&mf->queue_mutex));
		if (!queue)
			continue;
		guard(spinlock_irq)(&queue->head.lock);
		info->waiters[i] = list_count_nodes(&queue->head.head);
	}
}

static bool mock_wake_is_valid(const struct kaio_mock_wake *wake)
{
	if (wake->times > 1 && (wake->when != KAIO_MOCK_IRQ ||
				wake->times > KAIO_MOCK_MAX_TIMES ||
				wake->delay_ns < KAIO_MOCK_MIN_DELAY_NS))
		return false;
	return wake->when <= KAIO_MOCK_IRQ && wake->delay_ns <= KAIO_MOCK_MAX_DELAY_NS &&
	       !wake->__reserved;
}

static bool mock_unlock_is_valid(const struct kaio_mock_unlock *unlock)
{
	return unlock->when <= KAIO_MOCK_IRQ && unlock->key <= KAIO_MOCK_OTHER_BIT &&
	       unlock->delay_ns <= KAIO_MOCK_MAX_DELAY_NS;
}

static int mock_program(struct mock_file *mf, const struct kaio_mock_program *program)
{
	int i;

	if (!program->nr_steps || program->nr_steps > KAIO_MOCK_STEPS ||
	    program->nr_queues > KAIO_MOCK_QUEUES || program->__reserved)
		return -EINVAL;
	for (i = 0; i < program->nr_steps; i++)
		if (program->steps[i].sleep > KAIO_MOCK_KILLABLE ||
		    program->steps[i].sleep_ms > KAIO_MOCK_LIMIT_MS ||
		    program->steps[i].complete > KAIO_MOCK_TOLD ||
		    program->steps[i].page > KAIO_MOCK_TOLD ||
		    program->steps[i].__reserved ||
		    program->steps[i].delay_ns > KAIO_MOCK_MAX_DELAY_NS ||
		    program->steps[i].result == -EIOCBQUEUED ||
		    !mock_wake_is_valid(&program->steps[i].wake))
			return -EINVAL;
	guard(mutex)(&mf->queue_mutex);
	guard(spinlock_irqsave)(&mf->lock);
	mf->program = *program;
	mf->step = 0;
	mf->taken = 0;
	return 0;
}

static long mock_ioctl(struct file *file, unsigned int cmd, unsigned long raw)
{
	struct mock_file *mf = file->private_data;
	void __user *arg = (void __user *)raw;
	union {
		struct kaio_mock_program program;
		struct kaio_mock_info info;
		struct kaio_mock_wake wake;
		struct kaio_mock_free free;
		struct kaio_mock_unlock unlock;
		__u32 passes;
		__s64 result;
	} u;

	if (_IOC_TYPE(cmd) != KAIO_MOCK_IOC_MAGIC || _IOC_SIZE(cmd) > sizeof(u))
		return -ENOTTY;
	if ((_IOC_DIR(cmd) & _IOC_WRITE) && copy_from_user(&u, arg, _IOC_SIZE(cmd)))
		return -EFAULT;
	switch (cmd) {
	case KAIO_MOCK_PROGRAM:
		return mock_program(mf, &u.program);
	case KAIO_MOCK_INFO:
		mock_info(mf, &u.info);
		return copy_to_user(arg, &u.info, sizeof(u.info)) ? -EFAULT : 0;
	case KAIO_MOCK_WAKE:
		return mock_wake_is_valid(&u.wake) ? mock_start_wake(file, &u.wake) : -EINVAL;
	case KAIO_MOCK_FREE:
		return mock_free(mf, &u.free);
	case KAIO_MOCK_LET_GO:
		atomic_add(u.passes, &mf->passes);
		wake_up_all(&mf->sleepers);
		return 0;
	case KAIO_MOCK_COMPLETE:
		return u.result == -EIOCBQUEUED ? -EINVAL : mock_complete(mf, u.result);
	case KAIO_MOCK_COMPLETE_ON:
		return mock_complete_on(mf, u.passes);
	case KAIO_MOCK_UNLOCK:
		return mock_unlock_is_valid(&u.unlock) && mf->page ?
			       mock_start_unlock(file, &u.unlock) : -EINVAL;
	default:
		return -ENOTTY;
	}
}

static void mock_put(struct mock_file *mf)
{
	struct mock_queue *queue;
	int i;

	if (mf->completer_head)
		remove_wait_queue(mf->completer_head, &mf->completer_entry);
	if (mf->completer)
		fput(mf->completer);
	for (i = 0; i < KAIO_MOCK_QUEUES; i++) {
		queue = rcu_access_pointer(mf->queues[i]);
		/* A waiter holds the file, so there is none now. */
		WARN_ON(queue && waitqueue_active(&queue->head));
		kfree(queue);
	}
	if (mf->page) {
		hrtimer_cancel(&mf->page_limit);
		/*
		 * A request that waits for the page holds the file, so there is
		 * none now.
		 */
		WARN_ON(waitqueue_active(&mf->page_waiters));
		put_page(mf->page);
	}
	kfree(mf);
}

struct mock_node {
	struct miscdevice	misc;
	bool			nowait;		/* Open files get FMODE_NOWAIT. */
};

#define MOCK_NODE(_name, _fops, _nowait)				\
	{								\
		.misc = {						\
			.minor	= MISC_DYNAMIC_MINOR,			\
			.name	= _name,				\
			.fops	= &_fops,				\
		},							\
		.nowait = _nowait,					\
	}

static struct mock_file *mock_new(bool has_page)
{
	struct mock_file *mf = kzalloc_obj(*mf);
	int i;

	if (!mf)
		return NULL;
	init_waitqueue_head(&mf->page_waiters);
	hrtimer_setup(&mf->page_limit, mock_page_limit, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	mf->page = has_page ? alloc_page(GFP_KERNEL) : NULL;
	if (has_page && !mf->page)
		goto undo;
	for (i = 0; i < KAIO_MOCK_QUEUES; i++) {
		RCU_INIT_POINTER(mf->queues[i], mock_new_queue());
		if (!rcu_access_pointer(mf->queues[i]))
			goto undo;
	}
	mutex_init(&mf->queue_mutex);
	spin_lock_init(&mf->lock);
	INIT_LIST_HEAD(&mf->queued);
	init_waitqueue_head(&mf->sleepers);
	/* Without a program, each attempt finds the end of the file. */
	mf->program.nr_steps = 1;
	mf->program.nr_queues = 1;
	return mf;
undo:
	mock_put(mf);
	return NULL;
}

static int mock_open(struct inode *inode, struct file *file)
{
	struct mock_node *node = container_of(file->private_data, struct mock_node, misc);
	struct mock_file *mf = mock_new(false);

	if (!mf)
		return -ENOMEM;
	if (node->nowait)
		file->f_mode |= FMODE_NOWAIT;
	file->f_mode |= FMODE_CAN_ATOMIC_WRITE;
	file->private_data = mf;
	return 0;
}

static int mock_release(struct inode *inode, struct file *file)
{
	mock_put(file->private_data);
	return 0;
}

/* The methods of all files that follow a program. */
#define MOCK_CONTROL						\
	.owner		= THIS_MODULE,				\
	.release	= mock_release,				\
	.unlocked_ioctl	= mock_ioctl,				\
	.compat_ioctl	= compat_ptr_ioctl

/* The methods of all files in /dev that follow a program. */
#define MOCK_DEVICE						\
	MOCK_CONTROL,						\
	.open		= mock_open

#define MOCK_TRANSFER						\
	.read_iter	= mock_rw_iter,				\
	.write_iter	= mock_rw_iter

static const struct file_operations mock_fops = {
	MOCK_DEVICE,
	.fop_flags	= FOP_DONTCACHE,
	MOCK_TRANSFER,
	.fsync		= mock_fsync,
	.poll		= mock_poll,
};

static const struct file_operations mock_disk_fops = {
	MOCK_DEVICE,
	.fop_flags	= FOP_DONTCACHE,
	MOCK_TRANSFER,
	.fsync		= mock_fsync,
};

static const struct file_operations mock_plain_fops = {
	MOCK_DEVICE,
	.read		= mock_read,
	.write		= mock_write,
	.poll		= mock_poll,
};

/*
 * The regular files are in no directory. Their file system exists as long as
 * one of the files does.
 */
static const struct file_operations mock_pages_fops = {
	MOCK_CONTROL,
	.fop_flags	= FOP_BUFFER_RASYNC | FOP_BUFFER_WASYNC | FOP_DONTCACHE,
	MOCK_TRANSFER,
	.fsync		= mock_fsync,
};

/*
 * The methods of KAIO_MOCK_SLOW in file_operations that are not registered with
 * kaio.
 */
static const struct file_operations mock_stranger_fops = {
	MOCK_DEVICE,
	MOCK_TRANSFER,
	.poll		= mock_poll,
};

#define MOCK_PROVIDER(_fops)				\
	{						\
		.name	= "kaio-mock",			\
		.owner	= THIS_MODULE,			\
		.fops	= &_fops,			\
		.flags	= KAIO_ANY_TASK,		\
	}

static struct kaio_provider mock_providers[] = {
	MOCK_PROVIDER(mock_fops),
	MOCK_PROVIDER(mock_disk_fops),
};

static int mock_init_fs_context(struct fs_context *fc)
{
	return init_pseudo(fc, KAIO_MOCK_IOC_MAGIC) ? 0 : -ENOMEM;
}

static struct file_system_type mock_fs = {
	.name			= "kaio-mock",
	.owner			= THIS_MODULE,
	.init_fs_context	= mock_init_fs_context,
	.kill_sb		= kill_anon_super,
};

static struct vfsmount *mock_mount;
static int mock_mounted;

static struct file *mock_new_regular(struct mock_file *mf, unsigned int flags)
{
	struct inode *inode = alloc_anon_inode(mock_mount->mnt_sb);
	struct file *file;

	if (IS_ERR(inode))
		return ERR_CAST(inode);
	inode->i_mode |= S_IFREG;
	i_size_write(inode, KAIO_MOCK_SIZE);
	/* The end of the file drops this reference. */
	__module_get(THIS_MODULE);
	file = alloc_file_pseudo(inode, mock_mount, "kaio-mock", flags, &mock_pages_fops);
	if (IS_ERR(file)) {
		module_put(THIS_MODULE);
		iput(inode);
		return file;
	}
	file->f_mode |= FMODE_NOWAIT | FMODE_CAN_ATOMIC_WRITE;
	file->private_data = mf;
	return file;
}

static struct file *mock_open_regular(unsigned int flags)
{
	struct mock_file *mf;
	struct file *file;
	int ret;

	ret = simple_pin_fs(&mock_fs, &mock_mount, &mock_mounted);
	if (ret)
		return ERR_PTR(ret);
	mf = mock_new(true);
	file = mf ? mock_new_regular(mf, flags) : ERR_PTR(-ENOMEM);
	if (mf && IS_ERR(file))
		mock_put(mf);
	/* The file has a reference to the mount too. */
	simple_release_fs(&mock_mount, &mock_mounted);
	return file;
}

static long mock_pages_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	const u32 known = O_ACCMODE | O_APPEND | O_NONBLOCK | O_DSYNC | O_DIRECT | O_CLOEXEC |
			  O_LARGEFILE;
	u32 flags;

	if (cmd != KAIO_MOCK_OPEN)
		return -ENOTTY;
	if (get_user(flags, (u32 __user *)arg))
		return -EFAULT;
	if (flags & ~known)
		return -EINVAL;
	return FD_ADD(flags & O_CLOEXEC, mock_open_regular(flags & ~O_CLOEXEC));
}

static const struct file_operations mock_maker_fops = {
	.owner		= THIS_MODULE,
	.unlocked_ioctl	= mock_pages_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};

static struct mock_node mock_nodes[] = {
	MOCK_NODE("kaio-mock", mock_fops, true),
	MOCK_NODE("kaio-mock-slow", mock_fops, false),
	MOCK_NODE("kaio-mock-disk", mock_disk_fops, true),
	MOCK_NODE("kaio-mock-slow-disk", mock_disk_fops, false),
	MOCK_NODE("kaio-mock-plain", mock_plain_fops, false),
	MOCK_NODE("kaio-mock-pages", mock_maker_fops, false),
	MOCK_NODE("kaio-mock-stranger", mock_stranger_fops, false),
};

/*
 * A terminal whose major number the kernel chooses. A program can read back
 * what it has written to the terminal, unless the output is stopped.
 */
static struct tty_driver *mock_terminals;
static struct tty_port mock_terminal_port;
static const struct tty_port_operations mock_terminal_port_ops;

static int mock_terminal_open(struct tty_struct *tty, struct file *file)
{
	return tty_port_open(&mock_terminal_port, tty, file);
}

static void mock_terminal_close(struct tty_struct *tty, struct file *file)
{
	tty_port_close(&mock_terminal_port, tty, file);
}

static void mock_terminal_hangup(struct tty_struct *tty)
{
	tty_port_hangup(&mock_terminal_port);
}

static ssize_t mock_terminal_write(struct tty_struct *tty, const u8 *buf, size_t count)
{
	size_t taken;

	if (tty->flow.stopped)
		return 0;
	taken = tty_insert_flip_string(tty->port, buf, count);
	tty_flip_buffer_push(tty->port);
	return taken;
}

static unsigned int mock_terminal_write_room(struct tty_struct *tty)
{
	return tty->flow.stopped ? 0 : tty_buffer_space_avail(tty->port);
}

static void mock_terminal_start(struct tty_struct *tty)
{
	tty_wakeup(tty);
}

static const struct tty_operations mock_terminal_ops = {
	.open		= mock_terminal_open,
	.close		= mock_terminal_close,
	.hangup		= mock_terminal_hangup,
	.write		= mock_terminal_write,
	.write_room	= mock_terminal_write_room,
	.start		= mock_terminal_start,
};

static int mock_add_terminal(void)
{
	struct tty_driver *driver =
		tty_alloc_driver(1, TTY_DRIVER_RESET_TERMIOS | TTY_DRIVER_REAL_RAW |
					    TTY_DRIVER_UNNUMBERED_NODE);
	int ret;

	if (IS_ERR(driver))
		return PTR_ERR(driver);
	tty_port_init(&mock_terminal_port);
	mock_terminal_port.ops = &mock_terminal_port_ops;
	driver->driver_name = "kaio_mock";
	driver->name = "kaio-mock-terminal";
	driver->type = TTY_DRIVER_TYPE_SERIAL;
	driver->subtype = SERIAL_TYPE_NORMAL;
	driver->init_termios = tty_std_termios;
	driver->init_termios.c_iflag = 0;
	driver->init_termios.c_oflag = 0;
	driver->init_termios.c_cflag |= CLOCAL;
	driver->init_termios.c_lflag = 0;
	tty_set_operations(driver, &mock_terminal_ops);
	tty_port_link_device(&mock_terminal_port, driver, 0);
	ret = tty_register_driver(driver);
	if (ret) {
		tty_driver_kref_put(driver);
		tty_port_destroy(&mock_terminal_port);
		return ret;
	}
	mock_terminals = driver;
	return 0;
}

static void mock_remove_terminal(void)
{
	if (!mock_terminals)
		return;
	tty_unregister_driver(mock_terminals);
	tty_driver_kref_put(mock_terminals);
	tty_port_destroy(&mock_terminal_port);
}

static void mock_unregister(int nodes, int providers)
{
	mock_remove_terminal();
	while (nodes--)
		misc_deregister(&mock_nodes[nodes].misc);
	while (providers--)
		kaio_unregister_provider(&mock_providers[providers]);
	destroy_workqueue(mock_workqueue);
}

static int __init mock_init(void)
{
	int nodes = 0, providers, ret = 0;

	mock_workqueue = alloc_workqueue("kaio-mock", WQ_UNBOUND, 0);
	if (!mock_workqueue)
		return -ENOMEM;
	for (providers = 0; providers < ARRAY_SIZE(mock_providers); providers++) {
		ret = kaio_register_provider(&mock_providers[providers]);
		if (ret)
			goto undo;
	}
	for (; nodes < ARRAY_SIZE(mock_nodes); nodes++) {
		ret = misc_register(&mock_nodes[nodes].misc);
		if (ret)
			goto undo;
	}
	ret = mock_add_terminal();
	if (ret)
		goto undo;
	return 0;
undo:
	mock_unregister(nodes, providers);
	return ret;
}

static void __exit mock_exit(void)
{
	/*
	 * This destroys the workqueue, which waits for the last work items and
	 * timers.
	 */
	mock_unregister(ARRAY_SIZE(mock_nodes), ARRAY_SIZE(mock_providers));
	/* Wait for the last kfree_rcu() too. */
	synchronize_rcu();
}

module_init(mock_init);
module_exit(mock_exit);

MODULE_DESCRIPTION("Files that follow a program, for the tests of kaio");
MODULE_LICENSE("GPL");
