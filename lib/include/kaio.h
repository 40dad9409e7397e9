/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /dev/kaio for C programs: a function for each ioctl, and the ring.
 *
 * Header only: nothing is linked. Functions return what the ioctl returns, or the
 * errno as a negative number; errno itself is overwritten. What the calls mean is
 * in <linux/kaio.h> and in the manual (kaio(4), kaio_submit(2) and so on).
 *
 * Do not include <libaio.h> beside it: that has a struct iocb of its own.
 */
#ifndef KAIO_H
#define KAIO_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kaio.h>
#include <linux/time_types.h>
#include <string.h>
#include <sys/ioctl.h>

/**
 * kaio_open() - open the device
 *
 * The descriptor is closed on exec.
 *
 * Return: a descriptor, or -ENOENT (the module is not loaded), -EACCES, -EPERM
 * (the node's mode, or the container) and so on.
 */
static inline int kaio_open(void)
{
	int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* The ioctl, with its errno as its result. */
static inline int kaio_ioctl(int fd, unsigned long cmd, void *arg)
{
	int ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

/**
 * kaio_query() - what the module can do, and its limits
 * @fd: the device
 * @query: is filled in
 *
 * Return: 0 or -errno.
 */
static inline int kaio_query(int fd, struct kaio_query *query)
{
	memset(query, 0, sizeof(*query));
	return kaio_ioctl(fd, KAIO_QUERY, query);
}

/**
 * kaio_setup() - make a context; io_setup(2)
 * @fd: the device
 * @nr_events: how many requests it must be able to hold
 * @ctx_id: is set to the id if the call succeeds
 *
 * Return: 0, -EAGAIN (a limit), -EINVAL, -ENOMEM.
 */
static inline int kaio_setup(int fd, unsigned int nr_events, __u64 *ctx_id)
{
	struct kaio_setup arg = { .nr_events = nr_events };
	int ret = kaio_ioctl(fd, KAIO_SETUP, &arg);

	if (!ret)
		*ctx_id = arg.ctx_id;
	return ret;
}

/**
 * kaio_destroy() - end a context, and wait until no buffer is in use; io_destroy(2)
 * @fd: the device
 * @ctx_id: the context
 *
 * Return: 0, -EINVAL (no such context), -EINTR (a fatal signal).
 */
static inline int kaio_destroy(int fd, __u64 ctx_id)
{
	struct kaio_destroy arg = { .ctx_id = ctx_id };

	return kaio_ioctl(fd, KAIO_DESTROY, &arg);
}

/**
 * kaio_prep() - fill in a request
 * @iocb: the request
 * @opcode: IOCB_CMD_*
 * @fd: the file
 * @buf: the buffer, or the array of struct iovec; NULL for those that have none
 * @len: its length in bytes, or in elements
 * @offset: in the file
 *
 * Set aio_data and flags afterwards. For IOCB_CMD_POLL, aio_buf has the events.
 */
static inline void kaio_prep(struct iocb *iocb, unsigned int opcode, int fd,
			     const void *buf, __u64 len, __s64 offset)
{
	memset(iocb, 0, sizeof(*iocb));
	iocb->aio_lio_opcode = opcode;
	iocb->aio_fildes = fd;
	iocb->aio_buf = (unsigned long)buf;
	iocb->aio_nbytes = len;
	iocb->aio_offset = offset;
}

/**
 * kaio_submit() - start requests, without waiting; io_submit(2)
 * @fd: the device
 * @ctx_id: the context
 * @nr: how many
 * @iocbpp: pointers to them
 *
 * Return: how many were started, or why not even the first one was: -EAGAIN (the
 * context is full), -EBADF, -EINVAL and so on.
 */
static inline int kaio_submit(int fd, __u64 ctx_id, long nr, struct iocb **iocbpp)
{
	struct kaio_submit arg = {
		.ctx_id = ctx_id,
		.nr = nr,
		.iocbpp = (unsigned long)iocbpp,
	};

	return kaio_ioctl(fd, KAIO_SUBMIT, &arg);
}

/**
 * kaio_getevents() - take events; io_getevents(2)
 * @fd: the device
 * @ctx_id: the context
 * @min_nr: return only when that many were taken,
 * @nr: and never more than that
 * @events: where to put them
 * @timeout: relative; NULL: for ever
 *
 * Not while another thread takes events of this context, here or in its ring.
 *
 * Return: how many, -EINTR (a signal came before any; with a timeout, also work of
 * io_uring's), -EINVAL.
 */
static inline int kaio_getevents(int fd, __u64 ctx_id, long min_nr, long nr,
				 struct io_event *events,
				 const struct __kernel_timespec *timeout)
{
	struct kaio_getevents arg = {
		.ctx_id = ctx_id,
		.min_nr = min_nr,
		.nr = nr,
		.events = (unsigned long)events,
		.timeout = (unsigned long)timeout,
	};

	return kaio_ioctl(fd, KAIO_GETEVENTS, &arg);
}

/**
 * kaio_wait() - wait for events, and leave them in the ring
 * @fd: the device
 * @ctx_id: the context
 * @min_nr: return when there are that many, or the ring is full
 * @timeout: relative; NULL: for ever
 *
 * Return: how many there are, at most @min_nr; -EINTR, -EINVAL.
 */
static inline int kaio_wait(int fd, __u64 ctx_id, long min_nr,
			    const struct __kernel_timespec *timeout)
{
	struct kaio_getevents arg = {
		.ctx_id = ctx_id,
		.min_nr = min_nr,
		.nr = min_nr,
		.timeout = (unsigned long)timeout,
		.flags = KAIO_GETEVENTS_PEEK,
	};

	return kaio_ioctl(fd, KAIO_GETEVENTS, &arg);
}

/**
 * kaio_submit_wait() - start requests, then take events, in one call
 * @fd: the device
 * @ctx_id: the context
 * @nr: how many requests; may be 0
 * @iocbpp: pointers to them
 * @min_nr: return only when that many events were taken,
 * @nr_events: and never more than that
 * @events: where to put them
 * @timeout: relative; NULL: for ever
 * @submitted: is set to the number of requests that were started; or NULL
 *
 * If fewer than @nr were started it does not wait. Not while another thread takes
 * events of this context.
 *
 * Return: how many events, or why not even the first request was started (see
 * kaio_submit()), or what was wrong with the wait (see kaio_getevents()): then
 * @submitted counts all the same.
 */
static inline int kaio_submit_wait(int fd, __u64 ctx_id, long nr, struct iocb **iocbpp,
				   long min_nr, long nr_events, struct io_event *events,
				   const struct __kernel_timespec *timeout, long *submitted)
{
	struct kaio_submit_wait arg = {
		.ctx_id = ctx_id,
		.nr = nr,
		.iocbpp = (unsigned long)iocbpp,
		.min_nr = min_nr,
		.nr_events = nr_events,
		.events = (unsigned long)events,
		.timeout = (unsigned long)timeout,
	};
	int ret = kaio_ioctl(fd, KAIO_SUBMIT_WAIT, &arg);

	if (submitted)
		*submitted = arg.submitted;
	return ret;
}

/**
 * kaio_cancel() - give a request up; io_cancel(2)
 * @fd: the device
 * @ctx_id: the context
 * @iocb: the request, where it was when it was submitted
 *
 * Return: 1: it has ended, and its event is in the ring; 0: its event follows;
 * -EINVAL: it is complete, or cannot be cancelled and completes.
 */
static inline int kaio_cancel(int fd, __u64 ctx_id, struct iocb *iocb)
{
	struct kaio_cancel arg = {
		.ctx_id = ctx_id,
		.iocb = (unsigned long)iocb,
	};
	int ret = kaio_ioctl(fd, KAIO_CANCEL, &arg);

	return ret == -EINPROGRESS ? (int)arg.ended : ret;
}

/**
 * kaio_ring() - the ring of a context, for taking events without a system call
 * @ctx_id: a context of this process, from kaio_setup()
 *
 * Return: the ring, until the context is destroyed; NULL if it is newer than this
 * header: use kaio_getevents().
 */
static inline struct kaio_ring *kaio_ring(__u64 ctx_id)
{
	struct kaio_ring *ring = (struct kaio_ring *)(unsigned long)ctx_id;

	if (ring->magic != KAIO_RING_MAGIC || ring->header_length != sizeof(*ring) ||
	    ring->incompat_features != KAIO_RING_INCOMPAT_FEATURES)
		return NULL;
	return ring;
}

/**
 * kaio_ring_peek() - the next event, which stays in the ring
 * @ring: the ring
 *
 * One thread at a time takes events of a context.
 *
 * Return: the event, until kaio_ring_seen(); NULL if there is none.
 */
static inline const struct io_event *kaio_ring_peek(const struct kaio_ring *ring)
{
	/* The event is read after tail: it pairs with the kernel's store of tail. */
	const __u32 tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
	const __u32 head = __atomic_load_n(&ring->head, __ATOMIC_RELAXED);

	return head == tail ? NULL : &ring->io_events[head];
}

/**
 * kaio_ring_seen() - take the event that kaio_ring_peek() returned
 * @ring: the ring
 *
 * Its slot is free for another one then.
 */
static inline void kaio_ring_seen(struct kaio_ring *ring)
{
	const __u32 next = __atomic_load_n(&ring->head, __ATOMIC_RELAXED) + 1;

	/* The event was read before: pairs with the kernel's load of head. */
	__atomic_store_n(&ring->head, next == ring->nr ? 0 : next, __ATOMIC_RELEASE);
}

#endif /* KAIO_H */
