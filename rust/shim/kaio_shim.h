/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What Rust cannot reach: inline functions, macros, constants that bindgen does
 * not see, writable module parameters. Each function is called by one file of
 * rust/sys, which holds its contract.
 *
 * bindgen reads this header: types of the kernel come from kernel::bindings.
 */
#ifndef KAIO_SHIM_H
#define KAIO_SHIM_H

#include <linux/blkdev.h>
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/kaio.h> /* and, through it, uapi/linux/kaio.h */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/poll.h>
#include <linux/sysctl.h>
#include <linux/types.h>
#include <linux/uio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

/* The ioctl numbers of linux/kaio.h, which are macros in C. */
enum kaio_ioctl {
	KAIO_IOCTL_QUERY	= KAIO_QUERY,
	KAIO_IOCTL_SETUP	= KAIO_SETUP,
	KAIO_IOCTL_DESTROY	= KAIO_DESTROY,
	KAIO_IOCTL_SUBMIT	= KAIO_SUBMIT,
	KAIO_IOCTL_GETEVENTS	= KAIO_GETEVENTS,
	KAIO_IOCTL_CANCEL	= KAIO_CANCEL,
	KAIO_IOCTL_SUBMIT_WAIT	= KAIO_SUBMIT_WAIT,
};

/* Constants that are macros in C. */
enum kaio_const {
	KAIO_PROT_RW	= 0x3,	/* PROT_READ | PROT_WRITE */
	KAIO_MAP_SHARED	= 0x1,
	KAIO_RWF_KNOWN	= RWF_SUPPORTED,
	KAIO_POLL_HANG_UP = (__force u32)(EPOLLHUP | EPOLLRDHUP),
	KAIO_POLL_READABLE = (__force u32)(EPOLLIN | EPOLLRDNORM),
	KAIO_POLL_TO_READ = (__force u32)(EPOLLIN | EPOLLRDNORM | EPOLLRDHUP | EPOLLERR | EPOLLHUP),
	KAIO_POLL_TO_WRITE = (__force u32)(EPOLLOUT | EPOLLWRNORM | EPOLLERR | EPOLLHUP),
	KAIO_IOCB_APPEND = (__force u32)IOCB_APPEND,
	KAIO_IOCB_DIRECT = IOCB_DIRECT,
	KAIO_IOCB_NOWAIT = (__force u32)IOCB_NOWAIT,
	KAIO_IOCB_NOIO	= IOCB_NOIO,
	KAIO_IOCB_WAITQ	= IOCB_WAITQ,
	KAIO_FMODE_NOWAIT = (__force u32)FMODE_NOWAIT,
	KAIO_IOCB_NOSIGNAL = (__force u32)IOCB_NOSIGNAL,
};

/* rust/sys/file.rs: what a file can do. */
enum kaio_file_traits {
	KAIO_FILE_READ		= 1 << 0, /* open for reading */
	KAIO_FILE_WRITE		= 1 << 1, /* open for writing */
	KAIO_FILE_HAS_READ	= 1 << 2, /* has read_iter, or a read that will do */
	KAIO_FILE_HAS_WRITE	= 1 << 3, /* likewise */
	KAIO_FILE_NOWAIT	= 1 << 4, /* takes IOCB_NOWAIT */
	KAIO_FILE_POLL		= 1 << 5, /* has poll */
	KAIO_FILE_DISK		= 1 << 6, /* regular file or block device */
	KAIO_FILE_NONBLOCK	= 1 << 7, /* O_NONBLOCK */
	KAIO_FILE_FIFO		= 1 << 8, /* pipe or FIFO */
	KAIO_FILE_OF_TASK	= 1 << 9, /* what it does depends on who calls it */
	KAIO_FILE_HAS_FSYNC	= 1 << 10, /* has fsync */
	KAIO_FILE_SIGPIPE	= 1 << 11, /* raises SIGPIPE */
	KAIO_FILE_REGULAR	= 1 << 12, /* a regular file */
	KAIO_FILE_ASKS		= 1 << 13, /* poll asks somebody else */
	KAIO_FILE_PLAIN_READ	= 1 << 14, /* read, not read_iter */
	KAIO_FILE_PLAIN_WRITE	= 1 << 15, /* write, not write_iter */
	KAIO_FILE_CHAR		= 1 << 16, /* a character device */
	KAIO_FILE_PAGES		= 1 << 17, /* a read of the page cache need not wait */
};
u32 kaio_file_traits(struct file *file);
struct file *kaio_fdget(unsigned int fd, unsigned long *word);
void kaio_fdput(unsigned long word);
bool kaio_at_eof(struct file *file, loff_t pos);
unsigned long kaio_file_identity(struct file *file);
u32 kaio_file_tags(struct file *file);
bool kaio_file_is_last(struct file *file);
void kaio_fput_now(struct file *file);

/* rust/sys/iocb.rs: a struct kiocb, filled in and run. */
enum kaio_asked {
	KAIO_ASKED_NOWAIT	= 1 << 0, /* RWF_NOWAIT */
	KAIO_ASKED_TRY_FIRST	= 1 << 1, /* an attempt without waiting makes sense */
	KAIO_ASKED_PAGES	= 1 << 2, /* a cold read can be left to who unlocks the page */
};
int kaio_iocb_prep(struct kiocb *iocb, struct file *file, const struct iocb *asked, bool write,
		   u16 ioprio);
bool kaio_iocb_impatient(const struct kiocb *iocb);
struct kaio_attempt {
	loff_t		pos;
	unsigned long	fsize_limit;	/* of the submitter, or RLIM_INFINITY */
	struct wait_page_queue *page_wait; /* for IOCB_WAITQ */
	int		flags;		/* ki_flags as prepared, and what is to be added */
	bool		write;
	bool		resumed;	/* some of it is done: a limit is no error */
	bool		moment;		/* interrupt it if it waits */
};
ssize_t kaio_iocb_call(struct kiocb *iocb, struct iov_iter *iter,
		       const struct kaio_attempt *attempt);
void kaio_iocb_end(struct kiocb *iocb);
ssize_t kaio_read_cached(struct file *file, unsigned long addr, size_t len, loff_t pos);
bool kaio_page_unlocked(struct wait_queue_entry *entry, void *key);

/* rust/sys/submitter.rs: on whose behalf deferred work runs. */
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

/* rust/sys/task.rs */
u32 kaio_current_uid(void);
u64 kaio_current_cgroup(void);
bool kaio_capable_resource(void);
bool kaio_current_exits(void);
bool kaio_current_is_kthread(void);
int kaio_current_tgid(void);
unsigned long kaio_current_files(void);
void kaio_signal_pipe(void);
bool kaio_current_has_signal(void);
s64 kaio_current_monotonic(void);

/* rust/sys/task_cell.rs */
unsigned long kaio_current_if_task(void);

/* rust/sys/sigmask.rs */
int kaio_sigmask_set(const void __user *mask, u64 size);
void kaio_sigmask_restore(void);

/* rust/sys/pages.rs */
void *kaio_page_address(struct page *page);
unsigned long kaio_copy_to_user(void __user *to, const void *from, unsigned long n);

/* rust/sys/ring_file.rs */
struct file *kaio_anon_file(const char *name, const struct file_operations *fops,
			    void *priv);
void kaio_ring_vma_init(struct vm_area_struct *vma,
			const struct vm_operations_struct *ops, void *priv);
void kaio_ring_fault_page(struct vm_fault *vmf, struct page *page);

/* rust/sys/wait.rs */
void kaio_waitqueue_init(struct wait_queue_head *wq, bool of_device);
void kaio_wait_event_timeout(struct wait_queue_head *wq, bool (*ready)(void *), void *arg,
			     unsigned int seconds);
void kaio_wake(struct wait_queue_head *wq);
long kaio_wait_event(struct wait_queue_head *wq, bool (*ready)(void *), void *arg,
		     s64 timeout_ns);
int kaio_wait_event_killable(struct wait_queue_head *wq, bool (*ready)(void *), void *arg);

/* rust/sys/poll.rs */
u32 kaio_poll(struct file *file, struct poll_table_struct *pt);
u32 kaio_poll_demangle(u16 events);
u16 kaio_poll_mangle(u32 events);
void kaio_poll_wait(struct file *file, struct wait_queue_head *wq,
		    struct poll_table_struct *pt);
u32 kaio_key_to_poll(void *key);
bool kaio_key_pollfree(void *key);
void kaio_poll_entry_init(struct wait_queue_entry *entry, wait_queue_func_t func);
void kaio_poll_entry_free(struct wait_queue_entry *entry, struct wait_queue_head **head);
void kaio_poll_entry_remove(struct wait_queue_entry *entry, struct wait_queue_head **head);

/* rust/sys/lock.rs */
unsigned long kaio_spin_lock_irqsave(spinlock_t *lock);
bool kaio_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags);
void kaio_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
void kaio_spin_assert_held(spinlock_t *lock);

/* rust/sys/queue.rs */
void kaio_grace(void);
struct workqueue_struct *kaio_workqueue_alloc(const char *name, u32 number, int max_active);

/* rust/sys/provider.rs; in kaio_provider.c. */
bool kaio_providers_any(void);
bool kaio_provider_serves(const struct file *file, bool write);
struct kaio_provider *kaio_provider_get(const struct file *file, bool write);
void kaio_provider_put(struct kaio_provider *provider);
void *kaio_held_alloc(size_t size);
void kaio_held_free(void *held);
void kaio_held_exit(void);
void kaio_wake_var(void *var);
int kaio_wait_var(void *var, bool (*ready)(void *), void *arg, bool interruptible);
void kaio_provider_report(const char *what, unsigned long caller);
/* The other way round. */
bool kaio_held_kick(struct kaio_iocb *iocb);
bool kaio_held_complete(struct kaio_iocb *iocb, long res, long res2);
ssize_t kaio_held_call(struct kiocb *kiocb, struct iov_iter *iter, bool write);

/* rust/sys/eventfd.rs */
void kaio_eventfd_signal(struct eventfd_ctx *ctx);

/* rust/sys/module.rs and rust/sys/sysctl.rs: module parameters and sysctls. */
unsigned int kaio_param_mode(void);
unsigned int kaio_param_end_seconds(void);
u64 kaio_param_max_nr(void);
u64 kaio_param_max_user_nr(void);
struct kaio_stat { /* fs.kaio-stat, in this order */
	u64	submitted;
	u64	completed;
	u64	cancelled;
};
struct ctl_table_header *kaio_sysctl_register(const u64 *nr,
					      void (*read_stat)(struct kaio_stat *sum));

/* rust/sys/user.rs: of sizes that the compiler knows. */
bool kaio_read_words(u64 *to, unsigned long from, unsigned long nr);
bool kaio_read_u32(u32 *to, unsigned long from);
bool kaio_write_u32(unsigned long to, u32 value);

#endif /* KAIO_SHIM_H */
