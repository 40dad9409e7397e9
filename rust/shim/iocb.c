// SPDX-License-Identifier: GPL-2.0
/* Runs attempts: calls the method of a file that reads or writes with a struct kiocb. */
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "shim.h"

/*
 * Returns whether the wake-up with this key is for the page that the entry waits for, and
 * takes the entry off its queue if so. The caller holds the lock of the queue.
 */
bool kaio_page_unlocked(struct wait_queue_entry *entry, void *key)
{
	struct wait_page_queue *wait = container_of(entry, struct wait_page_queue, wait);

	if (!wake_page_match(wait, key))
		return false;
	list_del_init(&entry->entry);
	return true;
}

/*
 * Calls read or write segment by segment, as loop_rw_iter() of io_uring does, for a file
 * without read_iter or write_iter.
 */
static ssize_t kaio_call_plain(struct kiocb *iocb, struct iov_iter *iter, bool write)
{
	struct file *file = iocb->ki_filp;
	ssize_t ret, sum = 0;

	if (write ? !file->f_op->write : !file->f_op->read)
		return -EINVAL;
	while (iov_iter_count(iter)) {
		const bool ubuf = iter_is_ubuf(iter);
		void __user *addr = ubuf ? iter->ubuf + iter->iov_offset : iter_iov_addr(iter);
		size_t len = ubuf ? iov_iter_count(iter) : iter_iov_len(iter);

		ret = write ? file->f_op->write(file, addr, len, &iocb->ki_pos) :
			      file->f_op->read(file, addr, len, &iocb->ki_pos);
		if (ret < 0)
			return sum ?: ret;
		sum += ret;
		iov_iter_advance(iter, ret);
		if (ret != len)
			break;
	}
	return sum;
}

static ssize_t kaio_call_method(struct kiocb *iocb, struct iov_iter *iter, bool write)
{
	const struct file_operations *fop = iocb->ki_filp->f_op;

	if (write)
		return fop->write_iter ? fop->write_iter(iocb, iter) :
					 kaio_call_plain(iocb, iter, write);
	return fop->read_iter ? fop->read_iter(iocb, iter) : kaio_call_plain(iocb, iter, write);
}

/* The time after which kaio_call_for_a_moment() interrupts a method that waits. */
#define KAIO_MOMENT_NS	(50 * NSEC_PER_MSEC)

struct kaio_moment {
	struct hrtimer timer;
	struct task_struct *task;
};

static enum hrtimer_restart kaio_moment_over(struct hrtimer *timer)
{
	struct task_struct *task = container_of(timer, struct kaio_moment, timer)->task;

	/* This is __set_notify_signal(), whose wake_up_state() the kernel does not export. */
	set_tsk_thread_flag(task, TIF_NOTIFY_SIGNAL);
	/* Pairs with set_current_state(): if the task goes to sleep after this, it sees the flag. */
	smp_mb__after_atomic();
	if (READ_ONCE(task->__state) & TASK_INTERRUPTIBLE)
		wake_up_process(task);
	return HRTIMER_NORESTART;
}

/*
 * Calls the method, and interrupts it if it waits for long. A kworker has no signals, but a
 * method that waits interruptibly looks at TIF_NOTIFY_SIGNAL, too. The method then returns
 * -ERESTARTSYS, or what it has transferred so far.
 */
static ssize_t kaio_call_for_a_moment(struct kiocb *iocb, struct iov_iter *iter, bool write)
{
	struct kaio_moment moment = { .task = current };
	ssize_t ret;

	hrtimer_setup_on_stack(&moment.timer, kaio_moment_over, CLOCK_MONOTONIC,
			       HRTIMER_MODE_REL);
	hrtimer_start(&moment.timer, ns_to_ktime(KAIO_MOMENT_NS), HRTIMER_MODE_REL);
	ret = kaio_call_method(iocb, iter, write);
	hrtimer_cancel(&moment.timer);
	destroy_hrtimer_on_stack(&moment.timer);
	clear_notify_signal();
	return ret;
}

static bool kaio_freezable(const struct kiocb *iocb)
{
	return S_ISREG(file_inode(iocb->ki_filp)->i_mode);
}

/*
 * Gets write access to the file system. Returns false if @nowait is true and the access
 * would have to wait for a thaw.
 */
static bool kaio_start_write(struct kiocb *iocb, bool nowait)
{
	struct super_block *sb = file_inode(iocb->ki_filp)->i_sb;

	if (!nowait) {
		kiocb_start_write(iocb);
		return true;
	}
	if (!sb_start_write_trylock(sb))
		return false;
	/* As in kiocb_start_write(): the task that completes the request gives the access back. */
	__sb_writers_release(sb, SB_FREEZE_WRITE);
	return true;
}

/*
 * Shortens a write to the submitter's RLIMIT_FSIZE, as a kworker has no such limit. The rule
 * is that of generic_write_check_limits(). Returns 0, or -EFBIG if the write begins at the
 * limit or past it.
 */
static int kaio_limit_fsize(struct kiocb *iocb, struct iov_iter *iter,
			    const struct kaio_attempt *a)
{
	const unsigned long limit = a->fsize_limit;
	loff_t pos = iocb->ki_pos;

	if (limit == RLIM_INFINITY || !kaio_freezable(iocb) || !iov_iter_count(iter))
		return 0;
	if (iocb->ki_flags & IOCB_APPEND)
		pos = i_size_read(file_inode(iocb->ki_filp));
	if (pos >= (loff_t)limit) {
		if (!a->resumed)
			kaio_signal_owner(SIGXFSZ);
		return -EFBIG;
	}
	iov_iter_truncate(iter, limit - pos);
	return 0;
}

/* Returns the result of a method that was interrupted as io_getevents(2) is to report it. */
ssize_t kaio_no_restart(ssize_t ret)
{
	switch (ret) {
	case -ERESTARTSYS:
	case -ERESTARTNOINTR:
	case -ERESTARTNOHAND:
	case -ERESTART_RESTARTBLOCK:
		/* The submit call is not restarted, as other requests of it may be running. */
		return -EINTR;
	default:
		return ret;
	}
}

typedef ssize_t kaio_method(struct kiocb *iocb, struct iov_iter *iter, bool write);

/*
 * Calls @call to write, with write access to the file system. Returns -EAGAIN if @nowait is
 * true and the access would have to wait for a thaw.
 */
static ssize_t kaio_call_write(struct kiocb *iocb, struct iov_iter *iter, kaio_method *call,
			       bool nowait)
{
	ssize_t ret;

	if (kaio_freezable(iocb) && !kaio_start_write(iocb, nowait))
		return -EAGAIN;
	ret = call(iocb, iter, true);
	if (ret != -EIOCBQUEUED)
		kaio_iocb_end(iocb);
	return ret;
}

/*
 * Runs one attempt. Returns -EIOCBQUEUED if ki_complete, or with @a->page_wait the wake-up
 * of the page, was called or will be; the caller must not touch @iocb then. After any other
 * result neither was or will be called.
 */
ssize_t kaio_iocb_call(struct kiocb *iocb, struct iov_iter *iter, const struct kaio_attempt *a)
{
	kaio_method *call = a->moment ? kaio_call_for_a_moment : kaio_call_method;
	struct file *file = iocb->ki_filp;
	const struct kaio_watch watch = kaio_watch_sleeps();
	ssize_t ret;

	/* The request has closed its file. */
	if (!file)
		return -EBADF;

	/* The file system may have changed these fields in an earlier attempt. */
	iocb->ki_flags = a->flags;
	iocb->ki_pos = a->pos;
	iocb->private = NULL;
	iocb->ki_waitq = a->page_wait;
	if (a->page_wait) {
		a->page_wait->wait.flags = 0;
		INIT_LIST_HEAD(&a->page_wait->wait.entry);
	}

	/* A driver may complete the request, which puts its file, while the method uses the file. */
	get_file(file);
	if (!a->write) {
		ret = call(iocb, iter, false);
	} else {
		iocb->ki_flags |= IOCB_WRITE;
		ret = kaio_limit_fsize(iocb, iter, a) ?:
		      kaio_call_write(iocb, iter, call, a->flags & IOCB_NOWAIT);
	}
	if (a->flags & IOCB_NOWAIT)
		kaio_note_if_slept(&watch, file);
	fput(file);
	return kaio_no_restart(ret);
}

/*
 * Checks a light request. Returns false if a full request must repeat the checks, and report
 * what is wrong. A permission event must be asked for once, so the full request does that.
 *
 * If @permitted is true, this call has checked another transfer of the same file in the same
 * direction, and so has asked the security modules. They see the file and the direction, and
 * not the area. So they are asked once, as they are for all segments of preadv2(2).
 */
bool kaio_light_check(struct file *file, const struct kaio_light *light, bool permitted)
{
	loff_t pos = light->pos;

	if (FMODE_FSNOTIFY_HSM(file->f_mode) ||
	    !access_ok((void __user *)light->addr, light->len))
		return false;
	if (permitted)
		return pos >= 0 && pos <= LLONG_MAX - (loff_t)light->len;
	return !rw_verify_area(light->write ? WRITE : READ, file, &pos, light->len);
}

/*
 * Runs the one attempt of a light request that kaio_light_check() has accepted. The attempt
 * waits for nothing. The caller holds the file. Returns -EIOCBQUEUED if ki_complete was
 * called or will be; the caller keeps the memory of @iocb until this function returns. After
 * any other result ki_complete was not and will not be called.
 */
ssize_t kaio_light_call(struct kiocb *iocb, struct file *file, const struct kaio_light *light)
{
	const struct kaio_watch watch = kaio_watch_sleeps();
	struct iov_iter iter;
	ssize_t ret;

	*iocb = (struct kiocb) {
		.ki_filp	= file,
		.ki_pos		= light->pos,
		.ki_complete	= light->done,
		.ki_flags	= light->flags | IOCB_NOWAIT,
		.ki_ioprio	= light->ioprio,
	};
	iov_iter_ubuf(&iter, light->write ? ITER_SOURCE : ITER_DEST, (void __user *)light->addr,
		      light->len);
	if (!light->write) {
		/* Some file systems read through the page cache what cannot be read directly. */
		iocb->ki_flags |= IOCB_NOIO;
		ret = kaio_call_method(iocb, &iter, false);
	} else {
		iocb->ki_flags |= IOCB_WRITE;
		ret = kaio_call_write(iocb, &iter, kaio_call_method, true);
	}
	kaio_note_if_slept(&watch, file);
	return kaio_no_restart(ret);
}

/*
 * Reads what is in memory, without a request: the read is over when this function returns.
 * Returns -EAGAIN if the data are not in memory, and -EOPNOTSUPP if a request must do the
 * read, because the file is O_DIRECT by now or the read is refused.
 */
ssize_t kaio_read_cached(struct file *file, unsigned long addr, size_t len, loff_t pos)
{
	struct kiocb iocb = {
		.ki_filp	= file,
		.ki_pos		= pos,
		.ki_flags	= file->f_iocb_flags | IOCB_NOWAIT | IOCB_NOIO,
	};
	const struct kaio_watch watch = kaio_watch_sleeps();
	struct iov_iter iter;
	ssize_t ret;

	if (iocb.ki_flags & IOCB_DIRECT)
		return -EOPNOTSUPP;
	ret = import_ubuf(ITER_DEST, (void __user *)addr, len, &iter);
	if (ret)
		return ret;
	/* The request repeats the check, and reports what is wrong. */
	if (rw_verify_area(READ, file, &pos, iov_iter_count(&iter)))
		return -EOPNOTSUPP;
	ret = file->f_op->read_iter(&iocb, &iter);
	kaio_note_if_slept(&watch, file);
	return ret;
}

/*
 * Gives back the write access that an attempt got. If a driver completes the request, it
 * calls this function, in any context.
 */
void kaio_iocb_end(struct kiocb *iocb)
{
	if ((iocb->ki_flags & IOCB_WRITE) && kaio_freezable(iocb))
		kiocb_end_write(iocb);
}
