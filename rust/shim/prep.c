// SPDX-License-Identifier: GPL-2.0
/* Fills in a struct kiocb as the program asks. */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/ioprio.h>

#include "shim.h"

/*
 * Checks an I/O priority. This is ioprio_check_cap() of block/ioprio.c, which the kernel
 * does not export.
 */
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
 * Returns whether an attempt without waiting makes sense. For a buffered write the answer
 * is that of io_uring: the file system must support such writes (others answer EINVAL), and
 * the data need not be written out within the request.
 */
static bool kaio_may_try(const struct kiocb *iocb, bool write)
{
	const umode_t type = file_inode(iocb->ki_filp)->i_mode;

	if (!write || !kaio_is_disk(type) || (iocb->ki_flags & IOCB_DIRECT))
		return true;
	return (iocb->ki_filp->f_op->fop_flags & FOP_BUFFER_WASYNC) &&
	       !(iocb->ki_flags & IOCB_DSYNC);
}

/* Returns whether the caller does not want to wait, or cannot. */
bool kaio_iocb_impatient(const struct kiocb *iocb)
{
	return (iocb->ki_flags & IOCB_NOWAIT) || (iocb->ki_filp->f_flags & O_NONBLOCK);
}

/*
 * Fills in a kiocb as aio_prep_rw() of fs/aio.c does, but without IOCB_AIO_RW, which is for
 * the requests of fs/aio.c. @ioprio is the I/O priority of a request that names none.
 * Returns bits of KAIO_ASKED_*, or a negative errno.
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
	/* kaio does not poll for completions, which IOCB_HIPRI asks the caller to do. */
	iocb->ki_flags &= ~IOCB_HIPRI;
	if (iocb->ki_flags & IOCB_NOWAIT)
		ret |= KAIO_ASKED_NOWAIT;
	else if (!write && kaio_reads_pages(file, iocb->ki_flags))
		ret |= KAIO_ASKED_PAGES;
	if (kaio_may_try(iocb, write))
		ret |= KAIO_ASKED_TRY_FIRST;
	return ret;
}
