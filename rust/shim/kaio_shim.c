// SPDX-License-Identifier: GPL-2.0
/*
 * The C side of rust/sys; see kaio_shim.h. No policy here: each function makes
 * one inline function or macro of the kernel callable, or is a sequence of them
 * that only makes sense together.
 */
#include <linux/anon_inodes.h>
#include <linux/backing-dev.h>
#include <linux/blk-cgroup.h>
#include <linux/blk-mq.h>
#include <linux/capability.h>
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/eventfd.h>
#include <linux/hrtimer.h>
#include <linux/ioprio.h>
#include <linux/kthread.h>
#include <linux/magic.h>
#include <linux/memcontrol.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/sysctl.h>
#include <linux/time_namespace.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <net/inet_connection_sock.h>
#include <net/sock.h>

#include "kaio_shim.h"

static ushort mode = 0666;
module_param(mode, ushort, 0444);
MODULE_PARM_DESC(mode, "Access mode of /dev/kaio (default 0666)");

static unsigned long max_nr = 4UL << 20;
module_param(max_nr, ulong, 0644);
MODULE_PARM_DESC(max_nr, "Requests that all contexts together may hold (default 4194304)");

static unsigned long max_user_nr = 1UL << 18;
module_param(max_user_nr, ulong, 0644);
MODULE_PARM_DESC(max_user_nr, "Requests that the contexts of one user may hold (default 262144)");

static unsigned int end_seconds = 10;
module_param(end_seconds, uint, 0644);
MODULE_PARM_DESC(end_seconds, "Seconds for which an exit waits for requests in flight (default 10)");

unsigned int kaio_param_mode(void)
{
	return mode & 0777;
}

unsigned int kaio_param_end_seconds(void)
{
	return READ_ONCE(end_seconds);
}

u64 kaio_param_max_nr(void)
{
	return READ_ONCE(max_nr);
}

u64 kaio_param_max_user_nr(void)
{
	return READ_ONCE(max_user_nr);
}

static const u64 *kaio_nr;

static int kaio_nr_handler(const struct ctl_table *table, int write, void *buffer,
			   size_t *lenp, loff_t *ppos)
{
	unsigned long nr = READ_ONCE(*kaio_nr);
	const struct ctl_table now = {
		.data	= &nr,
		.maxlen	= sizeof(nr),
		.mode	= table->mode,
	};

	return proc_doulongvec_minmax(&now, write, buffer, lenp, ppos);
}

static void (*kaio_read_stat)(struct kaio_stat *sum);

static int kaio_stat_handler(const struct ctl_table *table, int write, void *buffer,
			     size_t *lenp, loff_t *ppos)
{
	struct kaio_stat sum = {};
	unsigned long numbers[3];
	const struct ctl_table now = {
		.data	= numbers,
		.maxlen	= sizeof(numbers),
		.mode	= table->mode,
	};

	kaio_read_stat(&sum);
	numbers[0] = sum.submitted;
	numbers[1] = sum.completed;
	numbers[2] = sum.cancelled;
	return proc_doulongvec_minmax(&now, write, buffer, lenp, ppos);
}

static const struct ctl_table kaio_sysctls[] = {
	{
		.procname	= "kaio-nr",
		.mode		= 0444,
		.proc_handler	= kaio_nr_handler,
	},
	{
		.procname	= "kaio-stat",
		.mode		= 0444,
		.proc_handler	= kaio_stat_handler,
	},
	{
		.procname	= "kaio-max-nr",
		.data		= &max_nr,
		.maxlen		= sizeof(max_nr),
		.mode		= 0644,
		.proc_handler	= proc_doulongvec_minmax,
	},
	{
		.procname	= "kaio-max-user-nr",
		.data		= &max_user_nr,
		.maxlen		= sizeof(max_user_nr),
		.mode		= 0644,
		.proc_handler	= proc_doulongvec_minmax,
	},
};

struct ctl_table_header *kaio_sysctl_register(const u64 *nr,
					      void (*read_stat)(struct kaio_stat *sum))
{
	kaio_nr = nr;
	kaio_read_stat = read_stat;
	return register_sysctl("fs", kaio_sysctls);
}

/* Files. */

static bool kaio_file_is_anon_named(struct file *file, const char *name, size_t len)
{
	const struct qstr *its = &file->f_path.dentry->d_name;

	return file_inode(file)->i_sb->s_magic == ANON_INODE_FS_MAGIC && its->len == len &&
	       !memcmp(its->name, name, len);
}

/* NAME is a literal. */
#define kaio_file_is_anon(file, name) kaio_file_is_anon_named(file, name, sizeof(name) - 1)

/*
 * A kworker that acts for a task has its memory, credentials and cgroups, but
 * not its namespaces, its signals or its pid. Files that look at those must be
 * read and written by the task itself: pseudo files (procfs, cgroupfs: nothing
 * backs them), signalfd, userfaultfd (which installs descriptors). They do no
 * I/O, so nothing is lost.
 */
static bool kaio_file_is_of_task(struct file *file)
{
	const struct super_block *sb = file_inode(file)->i_sb;

	switch (sb->s_magic) {
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
	case OVERLAYFS_SUPER_MAGIC:
	case 0xa647361:	/* FunctionFS, which names it in a C file only */
	case 0xaee71ee7: /* gadgetfs, likewise */
		return false;
	case ANON_INODE_FS_MAGIC:
		return kaio_file_is_anon(file, "[signalfd]") ||
		       kaio_file_is_anon(file, "[userfaultfd]");
	default:
		return S_ISREG(file_inode(file)->i_mode) && !(file->f_mode & FMODE_NOWAIT) &&
		       sb->s_bdi == &noop_backing_dev_info;
	}
}

/*
 * Files without read_iter and write_iter natively cannot be read at all. These
 * can, by a kworker that acts for the task: they do not care who calls them.
 * (fanotify installs descriptors, input devices ask who is a 32-bit task.)
 */
static bool kaio_file_is_plain(struct file *file)
{
	return kaio_file_is_anon(file, "inotify") || kaio_file_is_anon(file, "[eventfd]");
}

static const struct sock *kaio_sock(struct file *file)
{
	const struct socket *sock = sock_from_file(file);

	return sock ? sock->sk : NULL;
}

/* Kernel TLS and KCM hold a mutex over waits, and take it before they look at MSG_DONTWAIT. */
static bool kaio_socket_has_mutex(struct file *file)
{
	const struct sock *sk = kaio_sock(file);

	if (!sk)
		return false;
#ifdef CONFIG_INET
	if (sk_is_inet(sk) && inet_csk_has_ulp(sk))
		return true;
#endif
	return sk->sk_family == AF_KCM;
}

/* sk_stream_error() and unix_stream_sendmsg(). */
static bool kaio_socket_raises_sigpipe(struct file *file)
{
	const struct sock *sk = kaio_sock(file);

	return sk && sk->sk_type == SOCK_STREAM &&
	       (sk->sk_family == AF_UNIX || sk->sk_family == AF_INET || sk->sk_family == AF_INET6);
}

/* What only some kinds of files are asked; most requests are about regular files. */
static u32 kaio_special_traits(struct file *file, umode_t type)
{
	u32 traits = 0;

	if (S_ISCHR(type))
		traits |= KAIO_FILE_CHAR;
	if (S_ISFIFO(type))
		traits |= KAIO_FILE_FIFO;
	if (S_ISFIFO(type) || kaio_socket_raises_sigpipe(file))
		traits |= KAIO_FILE_SIGPIPE;
	if ((file->f_mode & FMODE_NOWAIT) && !kaio_socket_has_mutex(file))
		traits |= KAIO_FILE_NOWAIT;
	if (file->f_op->read && kaio_file_is_plain(file))
		traits |= KAIO_FILE_HAS_READ;
	if (file->f_op->write && kaio_file_is_plain(file))
		traits |= KAIO_FILE_HAS_WRITE;
	return traits;
}

/*
 * Whether a cold read can be left to whoever unlocks the page. The file system
 * then also knows what is in memory without touching a disk (IOCB_NOIO).
 */
static bool kaio_has_pages(const struct file *file)
{
	return (file->f_mode & FMODE_NOWAIT) && (file->f_op->fop_flags & FOP_BUFFER_RASYNC);
}

u32 kaio_file_traits(struct file *file)
{
	const struct file_operations *fop = file->f_op;
	const umode_t type = file_inode(file)->i_mode;
	u32 traits = 0;

	if (file->f_mode & FMODE_READ)
		traits |= KAIO_FILE_READ;
	if (file->f_mode & FMODE_WRITE)
		traits |= KAIO_FILE_WRITE;
	traits |= fop->read_iter ? KAIO_FILE_HAS_READ : KAIO_FILE_PLAIN_READ;
	traits |= fop->write_iter ? KAIO_FILE_HAS_WRITE : KAIO_FILE_PLAIN_WRITE;
	if (fop->fsync)
		traits |= KAIO_FILE_HAS_FSYNC;
	if (fop->poll)
		traits |= KAIO_FILE_POLL;
	if (file_inode(file)->i_sb->s_magic == FUSE_SUPER_MAGIC)
		traits |= KAIO_FILE_ASKS;
	if (file->f_flags & O_NONBLOCK)
		traits |= KAIO_FILE_NONBLOCK;
	if (S_ISREG(type) || S_ISBLK(type)) {
		traits |= KAIO_FILE_DISK;
		if (S_ISREG(type))
			traits |= KAIO_FILE_REGULAR;
		/* Who is asked for permission is asked once: by the request. */
		if (kaio_has_pages(file) && !(file->f_iocb_flags & IOCB_DIRECT) &&
		    !FMODE_FSNOTIFY_HSM(file->f_mode))
			traits |= KAIO_FILE_PAGES;
		if (file->f_mode & FMODE_NOWAIT)
			return traits | KAIO_FILE_NOWAIT;
	} else {
		traits |= kaio_special_traits(file, type);
	}
	if (kaio_file_is_of_task(file))
		traits |= KAIO_FILE_OF_TASK;
	return traits;
}

/* NULL: no such descriptor. */
struct file *kaio_fdget(unsigned int fd, unsigned long *word)
{
	struct fd f = fdget(fd);

	*word = f.word;
	return fd_file(f);
}

void kaio_fdput(unsigned long word)
{
	fdput((struct fd) { .word = word });
}

unsigned long kaio_file_identity(struct file *file)
{
	return (unsigned long)file_inode(file);
}

bool kaio_at_eof(struct file *file, loff_t pos)
{
	return pos >= i_size_read(file->f_mapping->host);
}

/*
 * How many requests the device below can have in hand, of those that come from
 * one CPU, which has one of its queues; U32_MAX if nobody knows.
 */
u32 kaio_file_tags(struct file *file)
{
	struct inode *inode = file->f_mapping->host;
	struct block_device *bdev = S_ISBLK(inode->i_mode) ? I_BDEV(inode) : inode->i_sb->s_bdev;
	struct request_queue *q = bdev ? bdev_get_queue(bdev) : NULL;
	u32 tags = U32_MAX;

	/* The set is the driver's, which frees it once the disk is dead and its queue has drained. */
	if (!q || !percpu_ref_tryget_live(&q->q_usage_counter))
		return tags;
	if (queue_is_mq(q) && !test_bit(GD_DEAD, &bdev->bd_disk->state))
		tags = READ_ONCE(q->tag_set->queue_depth);
	percpu_ref_put(&q->q_usage_counter);
	return tags;
}

bool kaio_file_is_last(struct file *file)
{
	return file_count(file) == 1;
}

/*
 * A kworker's fput() would close the file a jiffy later; programs expect it to
 * be closed once they have the event (exec, umount).
 */
void kaio_fput_now(struct file *file)
{
	__fput_sync(file);
}

/* Requests. */

/* ioprio_check_cap() of block/ioprio.c, which is not exported. */
static int kaio_check_ioprio(u16 ioprio)
{
	switch (IOPRIO_PRIO_CLASS(ioprio)) {
	case IOPRIO_CLASS_RT:
		if (!capable(CAP_SYS_ADMIN) && !capable(CAP_SYS_NICE))
			return -EPERM;
		break;
	case IOPRIO_CLASS_BE:
	case IOPRIO_CLASS_IDLE:
		break;
	case IOPRIO_CLASS_NONE:
		if (IOPRIO_PRIO_LEVEL(ioprio))
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}
	return 0;
}

/*
 * Whether to try without waiting first. As io_uring: a buffered write to a file
 * only if its file system says so (others answer EINVAL), and not if it then has
 * to be written out.
 */
static bool kaio_may_try(const struct kiocb *iocb, bool write)
{
	const umode_t type = file_inode(iocb->ki_filp)->i_mode;

	if (!write || !(S_ISREG(type) || S_ISBLK(type)) || (iocb->ki_flags & IOCB_DIRECT))
		return true;
	return (iocb->ki_filp->f_op->fop_flags & FOP_BUFFER_WASYNC) &&
	       !(iocb->ki_flags & IOCB_DSYNC);
}

static bool kaio_reads_pages(const struct kiocb *iocb)
{
	return kaio_has_pages(iocb->ki_filp) && !(iocb->ki_flags & IOCB_DIRECT);
}

/* The caller does not want to wait, or cannot. */
bool kaio_iocb_impatient(const struct kiocb *iocb)
{
	return (iocb->ki_flags & IOCB_NOWAIT) || (iocb->ki_filp->f_flags & O_NONBLOCK);
}

/*
 * As aio_prep_rw() of fs/aio.c, but for IOCB_AIO_RW, which is for its own requests;
 * with @ioprio, unless the request has one of its own. Returns an errno, or KAIO_ASKED_*.
 */
int kaio_iocb_prep(struct kiocb *iocb, struct file *file, const struct iocb *asked, bool write,
		   u16 ioprio)
{
	int ret = 0;

	*iocb = (struct kiocb) {
		.ki_filp	= file,
		.ki_pos		= asked->aio_offset,
		.ki_flags	= file->f_iocb_flags,
		.ki_ioprio	= ioprio,
	};
	if (asked->aio_flags & IOCB_FLAG_RESFD)
		iocb->ki_flags |= IOCB_EVENTFD;
	if (asked->aio_flags & IOCB_FLAG_IOPRIO) {
		iocb->ki_ioprio = asked->aio_reqprio;
		ret = kaio_check_ioprio(iocb->ki_ioprio);
		if (ret)
			return ret;
	}
	ret = kiocb_set_rw_flags(iocb, asked->aio_rw_flags, write ? WRITE : READ);
	if (ret)
		return ret;
	/* Nobody is going to poll for this I/O. */
	iocb->ki_flags &= ~IOCB_HIPRI;
	if (iocb->ki_flags & IOCB_NOWAIT)
		ret |= KAIO_ASKED_NOWAIT;
	else if (!write && kaio_reads_pages(iocb))
		ret |= KAIO_ASKED_PAGES;
	if (kaio_may_try(iocb, write))
		ret |= KAIO_ASKED_TRY_FIRST;
	return ret;
}

bool kaio_page_unlocked(struct wait_queue_entry *entry, void *key)
{
	struct wait_page_queue *wait = container_of(entry, struct wait_page_queue, wait);

	if (!wake_page_match(wait, key))
		return false;
	list_del_init(&entry->entry);
	return true;
}

/* What a synchronous write would send to the current task goes to the process whose memory it has. */
static void kaio_signal_owner(int sig)
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

/* Interrupts a call that waits for longer than that. */
#define KAIO_MOMENT_NS	(50 * NSEC_PER_MSEC)

struct kaio_moment {
	struct hrtimer timer;
	struct task_struct *task;
};

static enum hrtimer_restart kaio_moment_over(struct hrtimer *timer)
{
	struct task_struct *task = container_of(timer, struct kaio_moment, timer)->task;

	/* As __set_notify_signal(), whose wake_up_state() is not exported. */
	set_tsk_thread_flag(task, TIF_NOTIFY_SIGNAL);
	/* Who goes to sleep after this sees the flag: pairs with set_current_state(). */
	smp_mb__after_atomic();
	if (READ_ONCE(task->__state) & TASK_INTERRUPTIBLE)
		wake_up_process(task);
	return HRTIMER_NORESTART;
}

static ssize_t kaio_call_method(struct kiocb *iocb, struct iov_iter *iter, bool write);

/*
 * A kworker has no signals, but what waits interruptibly looks for this one: it
 * then says -ERESTARTSYS, or what it has done so far.
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

/* A file that has only read and write: segment by segment, as loop_rw_iter() of io_uring. */
static ssize_t kaio_call_plain(struct kiocb *iocb, struct iov_iter *iter, bool write)
{
	struct file *file = iocb->ki_filp;
	ssize_t ret, sum = 0;

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

static bool kaio_freezable(const struct kiocb *iocb)
{
	return S_ISREG(file_inode(iocb->ki_filp)->i_mode);
}

/* Write access to the file system without waiting for a thaw. */
static bool kaio_start_write(struct kiocb *iocb, bool nowait)
{
	struct super_block *sb = file_inode(iocb->ki_filp)->i_sb;

	if (!nowait) {
		kiocb_start_write(iocb);
		return true;
	}
	if (!sb_start_write_trylock(sb))
		return false;
	/* As kiocb_start_write(): whoever completes the request ends it. */
	__sb_writers_release(sb, SB_FREEZE_WRITE);
	return true;
}

/*
 * A kworker has no RLIMIT_FSIZE: hold the submitter's. The rule is that of
 * generic_write_check_limits().
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

/*
 * Run one attempt. -EIOCBQUEUED: ki_complete has been called or will be, and
 * iocb must not be touched. Anything else: it will not be.
 */
ssize_t kaio_iocb_call(struct kiocb *iocb, struct iov_iter *iter, const struct kaio_attempt *a)
{
	ssize_t (*call)(struct kiocb *iocb, struct iov_iter *iter, bool write) =
		a->moment ? kaio_call_for_a_moment : kaio_call_method;
	struct file *file = iocb->ki_filp;
	ssize_t ret;

	/* File systems change these as they go. */
	iocb->ki_flags = a->flags;
	iocb->ki_pos = a->pos;
	iocb->private = NULL;
	iocb->ki_waitq = a->page_wait;
	if (a->page_wait) {
		a->page_wait->wait.flags = 0;
		INIT_LIST_HEAD(&a->page_wait->wait.entry);
	}

	/* Whoever completes the request may give its file up while the call still looks at it. */
	get_file(file);
	if (!a->write) {
		ret = call(iocb, iter, false);
	} else {
		iocb->ki_flags |= IOCB_WRITE;
		ret = kaio_limit_fsize(iocb, iter, a);
		if (!ret && kaio_freezable(iocb) &&
		    !kaio_start_write(iocb, a->flags & IOCB_NOWAIT))
			ret = -EAGAIN;
		else if (!ret) {
			ret = call(iocb, iter, true);
			if (ret != -EIOCBQUEUED)
				kaio_iocb_end(iocb);
		}
	}
	fput(file);

	switch (ret) {
	case -ERESTARTSYS:
	case -ERESTARTNOINTR:
	case -ERESTARTNOHAND:
	case -ERESTART_RESTARTBLOCK:
		/* Other requests of the call may be running: no restart. */
		return -EINTR;
	default:
		return ret;
	}
}

/*
 * A read of what is in memory, for which there is no request: it is over when
 * this returns. -EAGAIN: it is not there. -EOPNOTSUPP: this file does not do it
 * so, now that it is O_DIRECT.
 */
ssize_t kaio_read_cached(struct file *file, unsigned long addr, size_t len, loff_t pos)
{
	struct kiocb iocb = {
		.ki_filp	= file,
		.ki_pos		= pos,
		.ki_flags	= file->f_iocb_flags | IOCB_NOWAIT | IOCB_NOIO,
	};
	struct iov_iter iter;
	ssize_t ret;

	if (iocb.ki_flags & IOCB_DIRECT)
		return -EOPNOTSUPP;
	ret = import_ubuf(ITER_DEST, (void __user *)addr, len, &iter);
	if (ret)
		return ret;
	/* A refusal must not look like a miss: the request asks again, and says so. */
	if (rw_verify_area(READ, file, &pos, iov_iter_count(&iter)))
		return -EOPNOTSUPP;
	return file->f_op->read_iter(&iocb, &iter);
}

/* What a driver that completes a request (in any context) still owes. */
void kaio_iocb_end(struct kiocb *iocb)
{
	if ((iocb->ki_flags & IOCB_WRITE) && kaio_freezable(iocb))
		kiocb_end_write(iocb);
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

/* Whether a capture of the current task would find just this. */
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
	/* With the kworker's own rights: it may have any priority. */
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

/* The current task. */

/* The current task; 0 in an interrupt, where it is anybody. */
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

bool kaio_current_exits(void)
{
	return current->flags & PF_EXITING;
}

unsigned long kaio_current_files(void)
{
	return (unsigned long)current->files;
}

int kaio_current_tgid(void)
{
	return task_tgid_nr(current);
}

bool kaio_capable_resource(void)
{
	return capable(CAP_SYS_RESOURCE);
}

/* TIF_NOTIFY_SIGNAL, which signal_pending() looks at too, is none. */
bool kaio_current_has_signal(void)
{
	return task_sigpending(current);
}

/* posix_get_monotonic_timespec() of kernel/time/posix-timers.c. */
s64 kaio_current_monotonic(void)
{
	struct timespec64 now;

	ktime_get_ts64(&now);
	timens_add_monotonic(&now);
	return timespec64_to_ns(&now);
}

/* set_user_sigmask() of kernel/signal.c, which is not exported. */
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

/* restore_saved_sigmask_unless(): a signal that is pending is handled with the mask first. */
void kaio_sigmask_restore(void)
{
	if (!signal_pending(current) && test_and_clear_restore_sigmask())
		sigprocmask(SIG_SETMASK, &current->saved_sigmask, NULL);
}

/* Ring memory. */

void *kaio_page_address(struct page *page)
{
	return page_address(page);
}

unsigned long kaio_copy_to_user(void __user *to, const void *from, unsigned long n)
{
	return copy_to_user(to, from, n);
}

struct file *kaio_anon_file(const char *name, const struct file_operations *fops,
			    void *priv)
{
	return anon_inode_getfile(name, fops, priv, O_RDWR | O_CLOEXEC);
}

void kaio_ring_vma_init(struct vm_area_struct *vma,
			const struct vm_operations_struct *ops, void *priv)
{
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTCOPY | VM_DONTDUMP);
	vm_flags_clear(vma, VM_MAYEXEC);
	vma->vm_ops = ops;
	vma->vm_private_data = priv;
}

void kaio_ring_fault_page(struct vm_fault *vmf, struct page *page)
{
	get_page(page);
	vmf->page = page;
}

/* Waiting. */

void kaio_waitqueue_init(struct wait_queue_head *wq, bool of_device)
{
	/* Two lock classes: who waits for a context may be woken under the device's lock. */
	if (of_device)
		init_waitqueue_head(wq);
	else
		init_waitqueue_head(wq);
}

void kaio_wake(struct wait_queue_head *wq)
{
	/* Has the barrier that a wait loop's test needs. */
	if (wq_has_sleeper(wq))
		wake_up_all(wq);
}

long kaio_wait_event(struct wait_queue_head *wq, bool (*ready)(void *), void *arg,
		     s64 timeout_ns)
{
	/* The macro looks for signals only if it has to sleep. */
	if (signal_pending(current))
		return -ERESTARTSYS;
	return wait_event_interruptible_hrtimeout(*wq, ready(arg), timeout_ns);
}

void kaio_wait_event_timeout(struct wait_queue_head *wq, bool (*ready)(void *), void *arg,
			     unsigned int seconds)
{
	wait_event_timeout(*wq, ready(arg), seconds * HZ);
}

int kaio_wait_event_killable(struct wait_queue_head *wq, bool (*ready)(void *), void *arg)
{
	return wait_event_killable(*wq, ready(arg));
}

/* Readiness. */

u32 kaio_poll(struct file *file, struct poll_table_struct *pt)
{
	return (__force u32)vfs_poll(file, pt);
}

u32 kaio_poll_demangle(u16 events)
{
	return (__force u32)(demangle_poll(events) | EPOLLERR | EPOLLHUP);
}

u16 kaio_poll_mangle(u32 events)
{
	return mangle_poll((__force __poll_t)events);
}

void kaio_poll_wait(struct file *file, struct wait_queue_head *wq,
		    struct poll_table_struct *pt)
{
	poll_wait(file, wq, pt);
}

u32 kaio_key_to_poll(void *key)
{
	return (__force u32)key_to_poll(key);
}

bool kaio_key_pollfree(void *key)
{
	return (__force u32)key_to_poll(key) & (__force u32)POLLFREE;
}

void kaio_poll_entry_init(struct wait_queue_entry *entry, wait_queue_func_t func)
{
	init_waitqueue_func_entry(entry, func);
	INIT_LIST_HEAD(&entry->entry);
}

/* The entry has done its duty: called with the lock of the wait queue held. */
void kaio_poll_entry_free(struct wait_queue_entry *entry, struct wait_queue_head **head)
{
	list_del_init(&entry->entry);
	/*
	 * Must be last: once head is NULL, kaio_poll_entry_remove() no longer
	 * takes the lock, and the entry can go.
	 */
	smp_store_release(head, NULL);
}

/*
 * Take the entry off its queue, which its owner may free at any moment (with
 * wake_up_pollfree(), and RCU-delayed): see poll_iocb_lock_wq() of fs/aio.c.
 */
void kaio_poll_entry_remove(struct wait_queue_entry *entry, struct wait_queue_head **head)
{
	struct wait_queue_head *wq;
	unsigned long flags;

	rcu_read_lock();
	/* Pairs with kaio_poll_entry_free(): NULL means that the entry is off. */
	wq = smp_load_acquire(head);
	if (wq) {
		spin_lock_irqsave(&wq->lock, flags);
		list_del_init(&entry->entry);
		spin_unlock_irqrestore(&wq->lock, flags);
	}
	rcu_read_unlock();
	*head = NULL;
}

/* Locks. */

unsigned long kaio_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

bool kaio_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags)
{
	return spin_trylock_irqsave(lock, *flags);
}

void kaio_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

void kaio_spin_assert_held(spinlock_t *lock)
{
	lockdep_assert_held(lock);
}

struct workqueue_struct *kaio_workqueue_alloc(const char *name, u32 number, int max_active)
{
	return alloc_workqueue("%s/%u", WQ_UNBOUND, max_active, name, number);
}

/*
 * Before the module's text goes: interrupts and RCU callbacks that run in it end,
 * and tasks that were preempted in it (a completion in somebody's kworker).
 */
void kaio_grace(void)
{
	synchronize_rcu();
	synchronize_rcu_tasks();
	rcu_barrier();
}

void kaio_eventfd_signal(struct eventfd_ctx *ctx)
{
	eventfd_signal(ctx);
}

/* Memory of the caller's. */

/* Few words, for which copy_from_user() would be slow. */
bool kaio_read_words(u64 *to, unsigned long from, unsigned long nr)
{
	const u64 __user *words = (const u64 __user *)from;

	if (!user_read_access_begin(words, nr * sizeof(u64)))
		return false;
	for (; nr >= 4; nr -= 4, to += 4, words += 4) {
		unsafe_get_user(to[0], &words[0], fault);
		unsafe_get_user(to[1], &words[1], fault);
		unsafe_get_user(to[2], &words[2], fault);
		unsafe_get_user(to[3], &words[3], fault);
	}
	for (; nr; nr--, to++, words++)
		unsafe_get_user(*to, words, fault);
	user_read_access_end();
	return true;
fault:
	user_read_access_end();
	return false;
}

bool kaio_read_u32(u32 *to, unsigned long from)
{
	return !get_user(*to, (const u32 __user *)from);
}

bool kaio_write_u32(unsigned long to, u32 value)
{
	return !put_user(value, (u32 __user *)to);
}
