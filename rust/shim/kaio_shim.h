/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Declares what Rust cannot reach by itself: inline functions, macros, constants that
 * bindgen does not see, and writable module parameters. Most functions make one inline
 * function or macro of the kernel callable, or are a sequence of them that only makes sense
 * together. What kaio knows of the kernel's files is in task_bound.c, trust.c and memory.c.
 * The Rust file that calls a function states its contract.
 *
 * There is a section for each file of this folder. bindgen reads this header; types of the
 * kernel come from kernel::bindings.
 */
#ifndef KAIO_SHIM_H
#define KAIO_SHIM_H

#include <linux/blkdev.h>
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/kaio.h> /* and, through it, uapi/linux/kaio.h */
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/pagemap.h>
#include <linux/poll.h>
#include <linux/rbtree.h>
#include <linux/sysctl.h>
#include <linux/types.h>
#include <linux/uio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

/* The ioctl numbers of linux/kaio.h are macros there, which bindgen does not see. */
enum kaio_ioctl {
	KAIO_IOCTL_QUERY	= KAIO_QUERY,
	KAIO_IOCTL_SETUP	= KAIO_SETUP,
	KAIO_IOCTL_DESTROY	= KAIO_DESTROY,
	KAIO_IOCTL_SUBMIT	= KAIO_SUBMIT,
	KAIO_IOCTL_GETEVENTS	= KAIO_GETEVENTS,
	KAIO_IOCTL_CANCEL	= KAIO_CANCEL,
	KAIO_IOCTL_SUBMIT_WAIT	= KAIO_SUBMIT_WAIT,
};

/* These constants are macros in C. */
enum kaio_const {
	KAIO_PROT_RW	= PROT_READ | PROT_WRITE,
	KAIO_MAP_SHARED	= MAP_SHARED,
	KAIO_RWF_KNOWN	= RWF_SUPPORTED,
	KAIO_POLL_HANG_UP = (__force u32)(EPOLLHUP | EPOLLRDHUP),
	KAIO_POLL_FREED = (__force u32)POLLFREE,
	KAIO_POLL_READABLE = (__force u32)(EPOLLIN | EPOLLRDNORM),
	KAIO_POLL_TO_READ = KAIO_POLL_READABLE | KAIO_POLL_HANG_UP | (__force u32)EPOLLERR,
	KAIO_POLL_TO_WRITE = (__force u32)(EPOLLOUT | EPOLLWRNORM | EPOLLERR | EPOLLHUP),
	KAIO_IOCB_APPEND = (__force u32)IOCB_APPEND,
	KAIO_IOCB_DIRECT = IOCB_DIRECT,
	KAIO_IOCB_NOWAIT = (__force u32)IOCB_NOWAIT,
	KAIO_IOCB_NOIO	= IOCB_NOIO,
	KAIO_IOCB_WAITQ	= IOCB_WAITQ,
	KAIO_FMODE_NOWAIT = (__force u32)FMODE_NOWAIT,
	KAIO_IOCB_NOSIGNAL = (__force u32)IOCB_NOSIGNAL,
};

/* file.c: tells what a file can do. */
enum kaio_file_traits {
	KAIO_FILE_READ		= 1 << 0, /* open for reading */
	KAIO_FILE_WRITE		= 1 << 1, /* open for writing */
	KAIO_FILE_HAS_READ	= 1 << 2, /* has read_iter, or a read for any task */
	KAIO_FILE_HAS_WRITE	= 1 << 3, /* has write_iter, or a write for any task */
	KAIO_FILE_NOWAIT	= 1 << 4, /* takes IOCB_NOWAIT */
	KAIO_FILE_POLL		= 1 << 5, /* has poll */
	KAIO_FILE_DISK		= 1 << 6, /* regular file or block device */
	KAIO_FILE_NONBLOCK	= 1 << 7, /* O_NONBLOCK */
	KAIO_FILE_FIFO		= 1 << 8, /* pipe or FIFO */
	KAIO_FILE_OF_TASK	= 1 << 9, /* its methods may look at their caller */
	KAIO_FILE_HAS_FSYNC	= 1 << 10, /* has fsync */
	KAIO_FILE_SIGPIPE	= 1 << 11, /* raises SIGPIPE */
	KAIO_FILE_REGULAR	= 1 << 12, /* a regular file */
	KAIO_FILE_ASKS		= 1 << 13, /* its poll asks a daemon (FUSE) */
	KAIO_FILE_PLAIN_READ	= 1 << 14, /* has no read_iter */
	KAIO_FILE_PLAIN_WRITE	= 1 << 15, /* has no write_iter */
	KAIO_FILE_CHAR		= 1 << 16, /* a character device */
	KAIO_FILE_PAGES		= 1 << 17, /* a read of the page cache need not wait */
	KAIO_FILE_SIGNALS	= 1 << 18, /* signalfd */
	KAIO_FILE_AUDITED	= 1 << 19, /* the kernel records the caller's reads */
	KAIO_FILE_TRY_READ	= 1 << 20, /* a disk's: IOCB_NOWAIT keeps reads from waiting */
	KAIO_FILE_TRY_WRITE	= 1 << 21, /* a disk's: IOCB_NOWAIT keeps writes from waiting */
	KAIO_FILE_MEMORY_READ	= 1 << 22, /* kaio_transfer_in_memory() may be asked to read */
	KAIO_FILE_MEMORY_WRITE	= 1 << 23, /* kaio_transfer_in_memory() may be asked to write */
};
u32 kaio_file_traits(struct file *file);
struct file *kaio_fdget(unsigned int fd, unsigned long *word);
void kaio_fdput(unsigned long word);
bool kaio_at_eof(struct file *file, loff_t pos);
unsigned long kaio_file_identity(struct file *file);
u32 kaio_file_tags(struct file *file);
bool kaio_file_is_last(struct file *file);
void kaio_fput_now(struct file *file);

/* prep.c: fills in a struct kiocb. */
enum kaio_asked {
	KAIO_ASKED_NOWAIT	= 1 << 0, /* RWF_NOWAIT */
	KAIO_ASKED_TRY_FIRST	= 1 << 1, /* an attempt without waiting makes sense */
	KAIO_ASKED_PAGES	= 1 << 2, /* a cold read continues when its page is unlocked */
};
int kaio_iocb_prep(struct kiocb *iocb, struct file *file, const struct iocb *asked, bool write,
		   u16 ioprio);
bool kaio_iocb_impatient(const struct kiocb *iocb);

/* iocb.c: runs attempts with a struct kiocb. */
struct kaio_attempt {
	loff_t		pos;
	unsigned long	fsize_limit;	/* the submitter's, or RLIM_INFINITY */
	struct wait_page_queue *page_wait; /* with IOCB_WAITQ: the entry; or NULL */
	int		flags;		/* ki_flags as prepared, and those of this attempt */
	bool		write;
	bool		resumed;	/* an earlier attempt moved bytes: no SIGXFSZ */
	bool		moment;		/* interrupt the method if it waits for long */
};
ssize_t kaio_iocb_call(struct kiocb *iocb, struct iov_iter *iter,
		       const struct kaio_attempt *attempt);
/* Describes the one attempt of a light request. */
struct kaio_light {
	void		(*done)(struct kiocb *iocb, long ret);
	unsigned long	addr;
	size_t		len;
	loff_t		pos;
	int		flags;		/* ki_flags */
	u16		ioprio;
	bool		write;
};
bool kaio_light_check(struct file *file, const struct kaio_light *light, bool permitted);
ssize_t kaio_light_call(struct kiocb *iocb, struct file *file, const struct kaio_light *light);
ssize_t kaio_read_cached(struct file *file, unsigned long addr, size_t len, loff_t pos);
void kaio_iocb_end(struct kiocb *iocb);
bool kaio_page_unlocked(struct wait_queue_entry *entry, void *key);

/* memory.c: makes transfers that need nothing but memory. */
ssize_t kaio_transfer_in_memory(struct file *file, unsigned long addr, size_t len, loff_t pos,
				bool write);

/* user.c: accesses user memory of the current task. */
bool kaio_read_iovec(struct iovec *iov, unsigned long addr);
void kaio_iter_ubuf(struct iov_iter *iter, int direction, unsigned long addr, size_t len);
bool kaio_iter_is_present(const struct iov_iter *iter);
bool kaio_read_words(u64 *to, unsigned long from, unsigned long nr);
bool kaio_read_eight_words(u64 *to, unsigned long from);
bool kaio_read_u32(u32 *to, unsigned long from);
bool kaio_write_u32(unsigned long to, u32 value);

/* task.c: lets a kworker act for a submitter. */
struct kaio_submitter {
	const struct cred		*cred;
	struct cgroup_subsys_state	*blkcg;
	struct mem_cgroup		*memcg;
	unsigned long			fsize_limit;
};
void kaio_submitter_capture(struct kaio_submitter *s);
bool kaio_submitter_is_current(const struct kaio_submitter *s);
void kaio_submitter_put(struct kaio_submitter *s);
u16 kaio_current_ioprio(void);
struct kaio_submitter_saved {
	const struct cred		*cred;
	struct mem_cgroup		*memcg;
};
void kaio_submitter_enter(const struct kaio_submitter *s, u16 ioprio,
			  struct kaio_submitter_saved *saved);
void kaio_submitter_leave(struct kaio_submitter_saved *saved);

/* task.c: reads the current task, and sends and masks signals. */
void kaio_current_comm(u8 *name, size_t size);
struct pid *kaio_current_process(void);
bool kaio_process_is_gone(struct pid *tgid, const struct mm_struct *mm);
void kaio_warn_given_up(const u8 *name, int tgid, unsigned int nr);
unsigned long kaio_current_if_task(void);
u32 kaio_current_uid(void);
u64 kaio_current_cgroup(void);
bool kaio_capable_resource(void);
bool kaio_current_exits(void);
bool kaio_current_is_kthread(void);
bool kaio_current_called(void);
int kaio_current_tgid(void);
int kaio_current_pid(void);
u64 kaio_current_start(void);
unsigned long kaio_current_files(void);
s64 kaio_current_monotonic(void);
bool kaio_current_has_signal(void);
bool kaio_current_is_killed(void);
void kaio_signal_pipe(void);
int kaio_sigmask_set(const void __user *mask, u64 size);
void kaio_sigmask_restore(void);

/* ring.c: makes the memory, the file and the mapping of a ring. */
void *kaio_page_address(struct page *page);
unsigned long kaio_copy_to_user(void __user *to, const void *from, unsigned long n);
struct file *kaio_anon_file(const char *name, const struct file_operations *fops,
			    void *priv);
void kaio_ring_vma_init(struct vm_area_struct *vma,
			const struct vm_operations_struct *ops, void *priv);
int kaio_ring_replace(unsigned long addr, unsigned long len, const void *object);
void kaio_ring_fault_page(struct vm_fault *vmf, struct page *page);

/* wait.c: waits for conditions, and wakes the tasks that wait. */
void kaio_waitqueue_init(struct wait_queue_head *wq, bool of_device);
void kaio_wait_event_timeout(struct wait_queue_head *wq, bool (*ready)(void *), void *arg,
			     unsigned int ms);
void kaio_wake(struct wait_queue_head *wq);
bool kaio_has_sleeper(struct wait_queue_head *wq);
long kaio_wait_event(struct wait_queue_head *wq, bool (*ready)(void *), void *arg,
		     s64 timeout_ns);
int kaio_wait_event_killable(struct wait_queue_head *wq, bool (*ready)(void *), void *arg);
void kaio_wake_var(void *var);
int kaio_wait_var(void *var, bool (*ready)(void *), void *arg, bool interruptible);
void kaio_eventfd_signal(struct eventfd_ctx *ctx);
bool kaio_eventfd_may_signal(void);

/* poll.c: polls files, and puts entries on their wait queues. */
u32 kaio_poll(struct file *file, struct poll_table_struct *pt);
u32 kaio_poll_demangle(u16 events);
u16 kaio_poll_mangle(u32 events);
void kaio_poll_wait(struct file *file, struct wait_queue_head *wq,
		    struct poll_table_struct *pt);
u32 kaio_key_to_poll(void *key);
void kaio_poll_entry_init(struct wait_queue_entry *entry, wait_queue_func_t func);
void kaio_poll_entry_free(struct wait_queue_entry *entry, struct wait_queue_head **head);
void kaio_poll_entry_remove(struct wait_queue_entry *entry, struct wait_queue_head **head);

/* lock.c: takes spinlocks, and disables preemption. */
unsigned long kaio_spin_lock_irqsave(spinlock_t *lock);
bool kaio_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags);
void kaio_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
void kaio_spin_assert_held(spinlock_t *lock);
void kaio_preempt_disable(void);
void kaio_preempt_enable(void);

/*
 * order.c: keeps requests in lines. Each line has a number, and its requests stand in the
 * order in which they joined. Each operation takes at most as many steps as the tree of
 * lines is high.
 */
struct kaio_in_line {
	union {
		struct rb_node		node;	/* of the first entry of a line */
		struct list_head	others;	/* of any other entry; the list has no head */
	};
	struct kaio_in_line	*second;	/* of the first entry, or NULL; of others: themselves */
	unsigned long		number;
};
bool kaio_line_exists(const struct rb_root *lines, unsigned long number);
bool kaio_line_join(struct rb_root *lines, struct kaio_in_line *entry, unsigned long number);
bool kaio_line_is_first(const struct kaio_in_line *entry);
struct kaio_in_line *kaio_line_leave(struct rb_root *lines, struct kaio_in_line *entry);

/* runner.c: starts and watches kernel threads that run requests. */
struct kaio_runner {
	struct list_head	entry;
	struct task_struct	*task;
	const void		*of;
	bool			(*must_end)(const void *of);
	void			(*stalled)(const void *of); /* NULL if no thread waits for this one */
	unsigned int		state;
	unsigned int		runs;	/* the number of runs that have begun */
	unsigned int		seen;	/* runs, at the last look */
};
void kaio_runner_enter(struct kaio_runner *runner, const void *of,
		       bool (*must_end)(const void *of), void (*stalled)(const void *of));
void kaio_runner_leave(struct kaio_runner *runner);
void kaio_runner_begin(struct kaio_runner *runner);
bool kaio_runner_end(struct kaio_runner *runner);
void kaio_runners_end(void);
void kaio_grace(void);
struct workqueue_struct *kaio_workqueue_alloc(const char *name, u32 number, int max_active);

/* kaio_provider.c: keeps the table of providers. */
bool kaio_providers_any(void);
bool kaio_provider_serves(const struct file *file, bool write);
struct kaio_provider *kaio_provider_get(const struct file *file, bool write);
void kaio_provider_put(struct kaio_provider *provider);
void *kaio_held_alloc(size_t size);
void kaio_held_free(void *held);
void kaio_held_exit(void);
void kaio_provider_report(const char *what, unsigned long caller);
/* Rust defines these functions, and kaio_provider.c calls them. */
bool kaio_held_kick(struct kaio_iocb *iocb);
bool kaio_held_complete(struct kaio_iocb *iocb, long res, long res2);
ssize_t kaio_held_call(struct kiocb *kiocb, struct iov_iter *iter, bool write);

/* sysctl.c: holds the module parameters, and serves the sysctls. */
unsigned int kaio_param_mode(void);
unsigned int kaio_param_end_seconds(void);
u64 kaio_param_max_nr(void);
u64 kaio_param_max_user_nr(void);
struct kaio_stat { /* the numbers of fs.kaio-stat, in their order */
	u64	submitted;
	u64	completed;
	u64	cancelled;
};
struct ctl_table_header *kaio_sysctl_register(const u64 *nr,
					      void (*read_stat)(struct kaio_stat *sum));

#endif /* KAIO_SHIM_H */
