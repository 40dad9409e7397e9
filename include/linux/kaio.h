/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kaio for drivers: asynchronous operations on their own files.
 *
 * Documentation/kaio-providers.rst describes the life of a request as a driver
 * sees it, and has the contract of each method in a table.
 */
#ifndef _LINUX_KAIO_H
#define _LINUX_KAIO_H

#include <linux/atomic.h>
#include <linux/errno.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/types.h>
#include <linux/uio.h>
#include <uapi/linux/kaio.h>

struct module;

/*
 * The result of retry that means "not yet; kaio_kick() will be called". It is
 * greater than MAX_ERRNO, so that no error can have this number (530, which it
 * was formerly, is ERECALLCONFLICT today).
 */
#define EIOCBRETRY	4096

/**
 * struct kaio_iocb - a request, as its provider sees it.
 * @ki_filp: the file, which is open as long as the request exists.
 * @ki_user_data: aio_data of the submitter; 0 in a synchronous call.
 * @ki_nbytes: the number of bytes that the submitter asked for.
 * @ki_opcode: IOCB_CMD_PREAD, PREADV, PWRITE or PWRITEV.
 * @ki_ioprio: the I/O priority.
 * @ki_flags: IOCB_* bits, as in &struct kiocb. kaio itself handles IOCB_NOWAIT
 *	and O_NONBLOCK: it ends a request with one of them with -EAGAIN instead of
 *	retrying it.
 * @ki_pos: the position at which the transfer goes on. kaio_copy_to() and
 *	kaio_copy_from() advance it.
 * @ki_iter: the rest of the submitter's memory. Each copy advances it. The provider
 *	may use it within retry only; if the provider has pinned the pages there, it
 *	may use the pages until kaio_complete().
 * @private: belongs to the provider. NULL at first.
 *
 * Only kaio makes this struct. @private belongs to the provider all the time, the
 * other fields while retry runs or a completion is owed. From the moment when
 * kaio_kick() is owed until retry runs again, the request may end, and the submitter's
 * memory may go: only the struct itself stays.
 */
struct kaio_iocb {
	struct file		*ki_filp;
	u64			ki_user_data;
	size_t			ki_nbytes;
	u16			ki_opcode;
	u16			ki_ioprio;
	int			ki_flags;
	loff_t			ki_pos;
	struct iov_iter		ki_iter;
	void			*private;
};

/* The operations that a provider does itself; the file operations do the others. */
#define KAIO_PROVIDES_READ	(1U << 0)
#define KAIO_PROVIDES_WRITE	(1U << 1)
/*
 * The provider does no operation itself. Not together with the other flags. A driver
 * without methods for kaio declares by this flag what other drivers declare by
 * registering: that its file operations do not depend on the task that calls them
 * (its namespaces, pid or signals), so that kaio may call read_iter and write_iter
 * from kworkers.
 */
#define KAIO_ANY_TASK		(1U << 2)

/**
 * struct kaio_provider - a driver's operation.
 * @name: the name of the driver, for messages.
 * @owner: THIS_MODULE of the driver that registers it.
 * @fops: kaio passes requests on files with these operations to the methods below.
 *	The owner of the operations must be @owner too: the open file keeps that
 *	module loaded.
 * @flags: KAIO_PROVIDES_READ, KAIO_PROVIDES_WRITE or both; or KAIO_ANY_TASK alone.
 *	Registration refuses anything else.
 * @retry: does what is possible without waiting. May be NULL with KAIO_ANY_TASK, and
 *	is not called then. Returns the result (bytes, or a negative errno, which
 *	bytes that any attempt has moved override), or makes a promise:
 *	-EIOCBRETRY: kaio_kick() will be called, and then retry again;
 *	-EIOCBQUEUED: kaio_complete() will be called.
 * @cancel: asks the provider to give up a request that must end. May be NULL. Returns 0
 *	if the provider takes the promise back, so that neither kaio_kick() nor
 *	kaio_complete() will be called (or it was called during this call). With any
 *	other value the promise stands. A provider that refuses to give up
 *	completions for long must not set FMODE_NOWAIT.
 * @dtor: is called when no code uses the request any more: once, if retry was called
 *	at all. May be NULL.
 *
 * - retry: process context, in the submitter's memory and with its credentials; no
 *   locks. One call at a time for each request.
 * - cancel: process context, of any task, with none of kaio's locks, but perhaps with
 *   the submitter's mmap lock: it must not touch user memory. It may sleep, but other
 *   requests wait meanwhile. It never runs while retry runs.
 * - dtor: any context in which a spinlock may be taken, including hard interrupt, with
 *   the locks that the caller of kaio_kick() or kaio_complete() holds: it must not
 *   sleep or take these locks.
 */
struct kaio_provider {
	const char			*name;
	struct module			*owner;
	const struct file_operations	*fops;
	unsigned int			flags;
	ssize_t	(*retry)(struct kaio_iocb *iocb);
	int	(*cancel)(struct kaio_iocb *iocb);
	void	(*dtor)(struct kaio_iocb *iocb);
	/* private: */
	struct list_head		list;
	atomic_t			users;
};

int __kaio_register_provider(struct kaio_provider *provider, struct module *caller);
/* For the module that contains the methods, since only its own files keep it loaded. */
#define kaio_register_provider(provider)	__kaio_register_provider(provider, THIS_MODULE)
void kaio_unregister_provider(struct kaio_provider *provider);

void kaio_kick(struct kaio_iocb *iocb);
void kaio_complete(struct kaio_iocb *iocb, long res, long res2);

/* The read_iter and write_iter for @fops: read(2) and similar calls use the methods. */
ssize_t kaio_read_iter(struct kiocb *kiocb, struct iov_iter *iter);
ssize_t kaio_write_iter(struct kiocb *kiocb, struct iov_iter *iter);

/**
 * kaio_left - get the number of bytes that are still to be moved (formerly ki_left).
 * @iocb: the request.
 *
 * Return: the number of bytes.
 */
static inline size_t kaio_left(const struct kaio_iocb *iocb)
{
	return iov_iter_count(&iocb->ki_iter);
}

/**
 * kaio_done - get the number of bytes that all attempts have moved so far.
 * @iocb: the request.
 *
 * Return: the number of bytes.
 */
static inline ssize_t kaio_done(const struct kaio_iocb *iocb)
{
	return iocb->ki_nbytes - kaio_left(iocb);
}

/**
 * kaio_copy_to - copy data to the submitter of a read.
 * @iocb: the request.
 * @from: the data.
 * @len: the length of the data; at most kaio_left() bytes are copied.
 *
 * Context: retry.
 * Return: the number of bytes copied; fewer if the submitter's memory faults.
 */
static inline size_t kaio_copy_to(struct kaio_iocb *iocb, const void *from, size_t len)
{
	const size_t done = copy_to_iter(from, min(len, kaio_left(iocb)), &iocb->ki_iter);

	iocb->ki_pos += done;
	return done;
}

/**
 * kaio_copy_from - copy data from the submitter of a write.
 * @iocb: the request.
 * @to: the memory to copy to.
 * @len: the length of that memory; at most kaio_left() bytes are copied.
 *
 * Context: retry.
 * Return: the number of bytes copied; fewer if the submitter's memory faults.
 */
static inline size_t kaio_copy_from(struct kaio_iocb *iocb, void *to, size_t len)
{
	const size_t done = copy_from_iter(to, min(len, kaio_left(iocb)), &iocb->ki_iter);

	iocb->ki_pos += done;
	return done;
}

#endif /* _LINUX_KAIO_H */
