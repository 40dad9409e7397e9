// SPDX-License-Identifier: GPL-2.0
/*
 * A provider of kaio in C: a device whose reads and writes wait for a timer. kaio_ticker.h
 * describes what it does, Documentation/kaio-providers.rst how to write a provider. Functions
 * called ticker_test_*() are for tests only.
 *
 * The three methods are ticker_retry(), ticker_cancel() and ticker_dtor(). A read promises to be
 * kicked, a write to be completed; ticker_tick() keeps both promises, in hard interrupt (with
 * PREEMPT_RT in a softirq, in which timers expire then).
 */
#include <linux/cleanup.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/kaio.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "kaio_ticker.h"

/* An open file. */
struct ticker {
	struct mutex		mutex;	/* for starting and stopping the timer */
	struct hrtimer		timer;
	struct wait_queue_head	stalled;

	spinlock_t		lock;	/* for the fields below; taken in interrupts */
	struct kaio_ticker_config config;
	struct kaio_ticker_info	info;
	struct list_head	readers;
	struct list_head	writers;
	unsigned int		given;	/* the number of bytes read */
};

/*
 * iocb->private, by which a tick finds the request. It is in a list while a promise is owed: the
 * function that takes it out, ticker_tick() or ticker_cancel(), settles the promise.
 */
struct ticker_wait {
	struct list_head	list;
	u32			*count;	/* the number of requests in the list */
	struct kaio_iocb	*iocb;
	u32			attempts;
};

static struct ticker *ticker_of(struct kaio_iocb *iocb)
{
	return iocb->ki_filp->private_data;
}

/* Returns whether the test has set the flag, and clears it. */
static bool ticker_test_flag(struct ticker *t, u32 flag)
{
	guard(spinlock_irqsave)(&t->lock);
	if (!(t->config.flags & flag))
		return false;
	t->config.flags &= ~flag;
	return true;
}

static bool ticker_is_stalled(struct ticker *t)
{
	guard(spinlock_irqsave)(&t->lock);
	return t->config.flags & KAIO_TICKER_STALL;
}

static void ticker_test_begin(struct ticker *t, struct kaio_iocb *iocb)
{
	struct ticker_wait *wait = iocb->private;

	scoped_guard(spinlock_irqsave, &t->lock) {
		t->info.retries++;
		t->info.left = kaio_left(iocb);
		t->info.pos = iocb->ki_pos;
		t->info.user_data = iocb->ki_user_data;
		t->info.attempts = ++wait->attempts;
		t->info.iocb_flags = iocb->ki_flags;
		t->info.opcode = iocb->ki_opcode;
		t->info.ioprio = iocb->ki_ioprio;
		t->info.stalled++;
	}
	/* A real method must not sleep like this: other requests of its context wait. */
	wait_event_timeout(t->stalled, !ticker_is_stalled(t), 30 * HZ);
	guard(spinlock_irqsave)(&t->lock);
	t->info.stalled--;
}

static void ticker_kick(struct ticker *t, struct kaio_iocb *iocb)
{
	scoped_guard(spinlock_irqsave, &t->lock)
		t->info.kicks++;
	kaio_kick(iocb);
}

static void ticker_complete(struct ticker *t, struct kaio_iocb *iocb)
{
	const bool restart = ticker_test_flag(t, KAIO_TICKER_RESTART);
	u64 tick;

	scoped_guard(spinlock_irqsave, &t->lock) {
		t->info.completions++;
		tick = t->info.ticks;
	}
	kaio_complete(iocb, restart ? -ERESTARTSYS : (long)iocb->ki_nbytes, tick);
}

/* Kicks or completes the request, as a tick will do, before retry has returned. */
static bool ticker_test_early(struct ticker *t, struct kaio_iocb *iocb, bool write)
{
	void (*keep)(struct ticker *t, struct kaio_iocb *iocb) =
		write ? ticker_complete : ticker_kick;

	if (!ticker_test_flag(t, write ? KAIO_TICKER_COMPLETE_EARLY : KAIO_TICKER_KICK_EARLY))
		return false;
	keep(t, iocb);
	if (ticker_test_flag(t, KAIO_TICKER_TWICE_EARLY))
		keep(t, iocb);
	return true;
}

/*
 * Puts the request into a list, in which a tick finds it. From then on the tick may use the iocb.
 */
static void ticker_enqueue(struct ticker_wait *wait, struct list_head *queue, u32 *count)
{
	list_add_tail(&wait->list, queue);
	wait->count = count;
	(*count)++;
}

/* Takes some bytes; if there are none, puts the request into the list of readers. */
static size_t ticker_take(struct ticker *t, struct ticker_wait *wait, char *buf, size_t len)
{
	size_t n, i;

	guard(spinlock_irqsave)(&t->lock);
	n = min_t(size_t, len, t->info.available);
	for (i = 0; i < n; i++)
		buf[i] = 'a' + t->given++ % 26;
	t->info.available -= n;
	if (!n)
		ticker_enqueue(wait, &t->readers, &t->info.waiting);
	return n;
}

static ssize_t ticker_read(struct ticker *t, struct kaio_iocb *iocb)
{
	struct ticker_wait *wait = iocb->private;
	char buf[64];
	size_t n;

	if (ticker_test_flag(t, KAIO_TICKER_RESTART))
		return -ERESTARTSYS;
	while (kaio_left(iocb)) {
		if (ticker_test_early(t, iocb, false))
			return -EIOCBRETRY;
		n = ticker_take(t, wait, buf, min(kaio_left(iocb), sizeof(buf)));
		/* The tick may come before this function returns, and need not wait for that. */
		if (!n)
			return -EIOCBRETRY;
		if (kaio_copy_to(iocb, buf, n) < n)
			return -EFAULT;
	}
	return kaio_done(iocb);
}

/* Takes @len bytes of the submitter's data. Returns false if its memory faults. */
static bool ticker_consume(struct kaio_iocb *iocb, size_t len)
{
	char buf[64];
	size_t n;

	for (; len; len -= n) {
		n = min(len, sizeof(buf));
		if (kaio_copy_from(iocb, buf, n) < n)
			return false;
	}
	return true;
}

/* Takes @some bytes of a write, which then waits for a tick before the rest is taken. */
static ssize_t ticker_test_first(struct ticker *t, struct kaio_iocb *iocb, size_t some)
{
	struct ticker_wait *wait = iocb->private;

	if (!ticker_consume(iocb, min(some, kaio_left(iocb))))
		return -EFAULT;
	guard(spinlock_irqsave)(&t->lock);
	ticker_enqueue(wait, &t->readers, &t->info.waiting);
	return -EIOCBRETRY;
}

static ssize_t ticker_write(struct ticker *t, struct kaio_iocb *iocb)
{
	struct ticker_wait *wait = iocb->private;

	if (!iocb->ki_nbytes)
		return 0;
	if (ticker_test_flag(t, KAIO_TICKER_WAIT_FIRST))
		return ticker_test_first(t, iocb, 0);
	if (ticker_test_flag(t, KAIO_TICKER_SOME_FIRST))
		return ticker_test_first(t, iocb, KAIO_TICKER_SOME);
	if (!ticker_consume(iocb, kaio_left(iocb)))
		return -EFAULT;
	if (ticker_test_early(t, iocb, true))
		return -EIOCBQUEUED;
	guard(spinlock_irqsave)(&t->lock);
	ticker_enqueue(wait, &t->writers, &t->info.queued);
	return -EIOCBQUEUED;
}

static ssize_t ticker_retry(struct kaio_iocb *iocb)
{
	struct ticker *t = ticker_of(iocb);
	struct ticker_wait *wait = iocb->private;

	if (!wait) {
		wait = kzalloc_obj(*wait, GFP_KERNEL_ACCOUNT);
		if (!wait)
			return -ENOMEM;
		INIT_LIST_HEAD(&wait->list);
		wait->iocb = iocb;
		iocb->private = wait;
	}
	ticker_test_begin(t, iocb);
	return iov_iter_rw(&iocb->ki_iter) == ITER_DEST ? ticker_read(t, iocb) :
							  ticker_write(t, iocb);
}

static int ticker_cancel(struct kaio_iocb *iocb)
{
	struct ticker_wait *wait = iocb->private;
	struct ticker *t = ticker_of(iocb);

	guard(spinlock_irqsave)(&t->lock);
	t->info.cancels++;
	if (t->config.flags & KAIO_TICKER_KEEP)
		return -EBUSY;
	/* A tick has taken the request out, and is about to keep the promise. */
	if (list_empty(&wait->list))
		return -EAGAIN;
	list_del_init(&wait->list);
	(*wait->count)--;
	return 0;
}

static void ticker_dtor(struct kaio_iocb *iocb)
{
	struct ticker *t = ticker_of(iocb);

	kfree(iocb->private);
	guard(spinlock_irqsave)(&t->lock);
	t->info.dtors++;
}

/* Takes the first request out of a list. The caller must settle its promise. */
static struct kaio_iocb *ticker_dequeue(struct ticker *t, struct list_head *queue)
{
	struct ticker_wait *wait;

	guard(spinlock_irqsave)(&t->lock);
	wait = list_first_entry_or_null(queue, struct ticker_wait, list);
	if (!wait)
		return NULL;
	list_del_init(&wait->list);
	(*wait->count)--;
	return wait->iocb;
}

static enum hrtimer_restart ticker_tick(struct hrtimer *timer)
{
	struct ticker *t = container_of(timer, struct ticker, timer);
	const bool twice = ticker_test_flag(t, KAIO_TICKER_TWICE_LATE);
	struct kaio_iocb *iocb;
	unsigned int readers, writers;
	u64 period;

	/* The sample shows which functions may be called in hard interrupt. */
	WARN_ON_ONCE(!in_hardirq() && !IS_ENABLED(CONFIG_PREEMPT_RT));
	scoped_guard(spinlock_irqsave, &t->lock) {
		t->info.ticks++;
		t->info.available += t->config.tick_bytes;
		period = t->config.period_ns;
		/* Do not count requests that come back in the meantime. */
		readers = t->info.waiting;
		writers = t->info.queued;
	}
	/* Do not hold the lock: ticker_dtor() takes it. */
	while (readers--) {
		iocb = ticker_dequeue(t, &t->readers);
		if (!iocb)
			break;
		ticker_kick(t, iocb);
		if (twice)
			ticker_kick(t, iocb);
	}
	iocb = writers ? ticker_dequeue(t, &t->writers) : NULL;
	if (iocb) {
		ticker_complete(t, iocb);
		/* Do not call ticker_complete(), which would read the iocb: it may be gone. */
		if (twice)
			kaio_complete(iocb, 0, 0);
	}
	if (!period)
		return HRTIMER_NORESTART;
	hrtimer_forward_now(timer, ns_to_ktime(period));
	return HRTIMER_RESTART;
}

static int ticker_set(struct ticker *t, const struct kaio_ticker_config *config)
{
	const u64 period = config->period_ns;

	if (config->flags & ~KAIO_TICKER_FLAGS || period > KAIO_TICKER_MAX_PERIOD_NS ||
	    (period && period < KAIO_TICKER_MIN_PERIOD_NS))
		return -EINVAL;
	if ((config->flags & KAIO_TICKER_TWICE_LATE) &&
	    !IS_ENABLED(CONFIG_RUST_DEBUG_ASSERTIONS))
		return -EOPNOTSUPP;
	if (config->flags & KAIO_TICKER_NOBODY)
		return -EOPNOTSUPP;
	/* Do not start the timer while its callback runs, which starts it itself. */
	guard(mutex)(&t->mutex);
	hrtimer_cancel(&t->timer);
	scoped_guard(spinlock_irqsave, &t->lock)
		t->config = *config;
	wake_up_all(&t->stalled);
	if (period)
		hrtimer_start(&t->timer, ns_to_ktime(period), HRTIMER_MODE_REL);
	return 0;
}

static int ticker_tick_now(struct ticker *t)
{
	guard(mutex)(&t->mutex);
	scoped_guard(spinlock_irqsave, &t->lock)
		if (t->config.period_ns)
			return -EBUSY;
	/* Wait until the last tick is over. */
	hrtimer_cancel(&t->timer);
	hrtimer_start(&t->timer, 0, HRTIMER_MODE_REL);
	return 0;
}

static long ticker_ioctl(struct file *file, unsigned int cmd, unsigned long raw)
{
	struct ticker *t = file->private_data;
	void __user *arg = (void __user *)raw;
	struct kaio_ticker_config config;
	struct kaio_ticker_info info;

	switch (cmd) {
	case KAIO_TICKER_SET:
		if (copy_from_user(&config, arg, sizeof(config)))
			return -EFAULT;
		return ticker_set(t, &config);
	case KAIO_TICKER_INFO:
		scoped_guard(spinlock_irqsave, &t->lock)
			info = t->info;
		return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
	case KAIO_TICKER_TICK:
		return ticker_tick_now(t);
	default:
		return -ENOTTY;
	}
}

static bool ticker_test_seeks(const struct inode *inode);

static int ticker_open(struct inode *inode, struct file *file)
{
	struct ticker *t = kzalloc_obj(*t);

	if (!t)
		return -ENOMEM;
	hrtimer_setup(&t->timer, ticker_tick, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	mutex_init(&t->mutex);
	init_waitqueue_head(&t->stalled);
	spin_lock_init(&t->lock);
	INIT_LIST_HEAD(&t->readers);
	INIT_LIST_HEAD(&t->writers);
	t->config.period_ns = 100 * NSEC_PER_MSEC;
	t->config.tick_bytes = 4;
	file->private_data = t;
	/* The driver supports RWF_NOWAIT, since kaio handles it. */
	file->f_mode |= FMODE_NOWAIT;
	hrtimer_start(&t->timer, ns_to_ktime(t->config.period_ns), HRTIMER_MODE_REL);
	return ticker_test_seeks(inode) ? 0 : stream_open(inode, file);
}

/* No request exists any more, since each request holds its file. */
static int ticker_release(struct inode *inode, struct file *file)
{
	struct ticker *t = file->private_data;

	hrtimer_cancel(&t->timer);
	WARN_ON(!list_empty(&t->readers) || !list_empty(&t->writers));
	kfree(t);
	return 0;
}

static const struct file_operations ticker_fops = {
	.owner		= THIS_MODULE,
	.open		= ticker_open,
	.release	= ticker_release,
	.llseek		= default_llseek,
	.read_iter	= kaio_read_iter,
	.write_iter	= kaio_write_iter,
	.unlocked_ioctl	= ticker_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};

static struct kaio_provider ticker_provider = {
	.name	= "kaio_ticker_c",
	.owner	= THIS_MODULE,
	.fops	= &ticker_fops,
	.flags	= KAIO_PROVIDES_READ | KAIO_PROVIDES_WRITE,
	.retry	= ticker_retry,
	.cancel	= ticker_cancel,
	.dtor	= ticker_dtor,
};

static struct miscdevice ticker_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "kaio-ticker-c",
	.fops	= &ticker_fops,
};

/* The files of this device have a position, unlike streams. */
static struct miscdevice ticker_test_seek = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "kaio-ticker-c-seek",
	.fops	= &ticker_fops,
};

static bool ticker_test_seeks(const struct inode *inode)
{
	return iminor(inode) == ticker_test_seek.minor;
}

static ssize_t ticker_test_write_iter(struct kiocb *kiocb, struct iov_iter *iter)
{
	const size_t n = iov_iter_count(iter);

	iov_iter_advance(iter, n);
	return n;
}

/* The provider handles only reads. */
static const struct file_operations ticker_test_reads_fops = {
	.owner		= THIS_MODULE,
	.open		= ticker_open,
	.release	= ticker_release,
	.read_iter	= kaio_read_iter,
	.write_iter	= ticker_test_write_iter,
	.unlocked_ioctl	= ticker_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};

static struct kaio_provider ticker_test_reads_provider = {
	.name	= "kaio_ticker_c_reads",
	.owner	= THIS_MODULE,
	.fops	= &ticker_test_reads_fops,
	.flags	= KAIO_PROVIDES_READ,
	.retry	= ticker_retry,
	.cancel	= ticker_cancel,
	.dtor	= ticker_dtor,
};

static struct miscdevice ticker_test_reads = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "kaio-ticker-c-reads",
	.fops	= &ticker_test_reads_fops,
};

static int ticker_test_init(void)
{
	int ret = kaio_register_provider(&ticker_test_reads_provider);

	if (ret)
		return ret;
	ret = misc_register(&ticker_test_reads);
	if (ret)
		goto unregister;
	ret = misc_register(&ticker_test_seek);
	if (ret)
		goto deregister;
	return 0;

deregister:
	misc_deregister(&ticker_test_reads);
unregister:
	kaio_unregister_provider(&ticker_test_reads_provider);
	return ret;
}

static void ticker_test_exit(void)
{
	misc_deregister(&ticker_test_seek);
	misc_deregister(&ticker_test_reads);
	kaio_unregister_provider(&ticker_test_reads_provider);
}

static int __init ticker_init(void)
{
	int ret = kaio_register_provider(&ticker_provider);

	if (ret)
		return ret;
	ret = misc_register(&ticker_misc);
	if (ret)
		goto unregister;
	ret = ticker_test_init();
	if (ret)
		goto deregister;
	return 0;

deregister:
	misc_deregister(&ticker_misc);
unregister:
	kaio_unregister_provider(&ticker_provider);
	return ret;
}

static void __exit ticker_exit(void)
{
	ticker_test_exit();
	misc_deregister(&ticker_misc);
	kaio_unregister_provider(&ticker_provider);
}

module_init(ticker_init);
module_exit(ticker_exit);

MODULE_DESCRIPTION("A provider of kaio: a device whose reads and writes wait for a timer");
MODULE_LICENSE("GPL");
