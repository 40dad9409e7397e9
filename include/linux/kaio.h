/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kaio for drivers: asynchronous operations on files of their own.
 *
 * Documentation/kaio-providers.rst tells the life of a request as a driver
 * sees it, and has each method's contract in a table.
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
 * "Not yet: I shall kick." Past MAX_ERRNO, so that no error can be taken for
 * it (530, which it was once, is ERECALLCONFLICT today).
 */
#define EIOCBRETRY	4096

/**
 * struct kaio_iocb - a request, as its provider sees it.
 * @ki_filp: the file, which is open as long as the request is there.
 * @ki_user_data: aio_data of the submitter; 0 in a synchronous call.
 * @ki_nbytes: bytes asked for.
 * @ki_opcode: IOCB_CMD_PREAD, PREADV, PWRITE or PWRITEV.
 * @ki_ioprio: the I/O priority.
 * @ki_flags: IOCB_* bits, as in &struct kiocb. kaio itself sees to IOCB_NOWAIT
 *	and O_NONBLOCK: a request with one of them is answered -EAGAIN instead
 *	of being retried.
 * @ki_pos: where to go on. kaio_copy_to() and kaio_copy_from() move it.
 * @ki_iter: what is left of the submitter's memory. Whoever copies moves it.
 *	To be used within retry only; or, if its pages were pinned there, they
 *	may be used until kaio_complete().
 * @private: the provider's. NULL at first.
 *
 * Made by kaio only. @private is the provider's all the time, the rest while retry
 * runs or a completion is owed. From when kaio_kick() is owed until retry runs
 * again the request may end, and its memory go: only the struct itself stays.
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

/* What a provider does itself; the rest goes to the file operations. */
#define KAIO_PROVIDES_READ	(1U << 0)
#define KAIO_PROVIDES_WRITE	(1U << 1)

/**
 * struct kaio_provider - a driver's operation.
 * @name: of the driver, for messages.
 * @owner: THIS_MODULE, of whoever registers it.
 * @fops: requests on files with these operations are given to the methods
 *	below. Their owner must be @owner too: it is the open file that keeps the
 *	module.
 * @flags: KAIO_PROVIDES_READ, KAIO_PROVIDES_WRITE or both.
 * @retry: do what can be done without waiting. Returns the result (bytes, or a
 *	negative errno; bytes that were moved, by any attempt, count more than
 *	that), or makes a promise:
 *	-EIOCBRETRY: kaio_kick() will be called, and then retry again;
 *	-EIOCBQUEUED: kaio_complete() will be called.
 * @cancel: may be NULL. The request is to end. 0: the promise is taken back, and
 *	neither kaio_kick() nor kaio_complete() will come (or it came during
 *	this call). Anything else: the promise stands. A provider that refuses
 *	to give up completions for long must not set FMODE_NOWAIT.
 * @dtor: may be NULL. Nobody will touch the request any more. Called once, if
 *	retry was called at all.
 *
 * - retry: process context, in the submitter's memory and with its credentials; no
 *   locks. One call at a time for each request.
 * - cancel: process context, of whoever it may be, none of kaio's locks, but perhaps
 *   the submitter's mmap lock: user memory must not be touched. May sleep, but
 *   others wait meanwhile. Never while retry runs.
 * - dtor: any context, hard interrupt included, under the locks of whoever calls
 *   kaio_kick() or kaio_complete(): must not sleep, nor take these locks.
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
/* By the module that the methods are in, as all that keeps that is its own files. */
#define kaio_register_provider(provider)	__kaio_register_provider(provider, THIS_MODULE)
void kaio_unregister_provider(struct kaio_provider *provider);

void kaio_kick(struct kaio_iocb *iocb);
void kaio_complete(struct kaio_iocb *iocb, long res, long res2);

/* read_iter and write_iter for @fops: the same methods, for read(2) and its kin. */
ssize_t kaio_read_iter(struct kiocb *kiocb, struct iov_iter *iter);
ssize_t kaio_write_iter(struct kiocb *kiocb, struct iov_iter *iter);

/**
 * kaio_left - how much is still to be moved (ki_left, once).
 * @iocb: the request.
 *
 * Return: bytes.
 */
static inline size_t kaio_left(const struct kaio_iocb *iocb)
{
	return iov_iter_count(&iocb->ki_iter);
}

/**
 * kaio_done - how much was moved so far, by all attempts.
 * @iocb: the request.
 *
 * Return: bytes.
 */
static inline ssize_t kaio_done(const struct kaio_iocb *iocb)
{
	return iocb->ki_nbytes - kaio_left(iocb);
}

/**
 * kaio_copy_to - give data to the submitter of a read.
 * @iocb: the request.
 * @from: the data.
 * @len: their length; more than kaio_left() is not taken.
 *
 * Context: retry.
 * Return: bytes copied; fewer if the submitter's memory faults.
 */
static inline size_t kaio_copy_to(struct kaio_iocb *iocb, const void *from, size_t len)
{
	const size_t done = copy_to_iter(from, min(len, kaio_left(iocb)), &iocb->ki_iter);

	iocb->ki_pos += done;
	return done;
}

/**
 * kaio_copy_from - take data from the submitter of a write.
 * @iocb: the request.
 * @to: where to.
 * @len: room there; more than kaio_left() is not used.
 *
 * Context: retry.
 * Return: bytes copied; fewer if the submitter's memory faults.
 */
static inline size_t kaio_copy_from(struct kaio_iocb *iocb, void *to, size_t len)
{
	const size_t done = copy_from_iter(to, min(len, kaio_left(iocb)), &iocb->ki_iter);

	iocb->ki_pos += done;
	return done;
}

#endif /* _LINUX_KAIO_H */
