/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /dev/kaio for C programs: a function for each ioctl, and the ring.
 *
 * This is a header only; no library is linked. A function returns the result of
 * the ioctl, or the errno as a negative number; it overwrites errno itself.
 * <linux/kaio.h> and the manual (kaio(4), kaio_submit(2) and so on) describe
 * the calls.
 *
 * Do not include <libaio.h> in the same file, since it defines struct iocb too.
 */
#ifndef KAIO_H
#define KAIO_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kaio.h>
#include <linux/time_types.h>
#include <string.h>
#include <sys/ioctl.h>

/*
 * <fcntl.h> does not define O_CLOEXEC if the program asks for ISO C alone
 * (-std=c11).
 */
#ifdef O_CLOEXEC
#define KAIO_O_CLOEXEC O_CLOEXEC
#else
#define KAIO_O_CLOEXEC 02000000
#endif

/**
 * kaio_open() - open the device
 *
 * The descriptor is closed on exec.
 *
 * Return: a descriptor; -ENOENT if the module is not loaded; -EACCES or -EPERM
 * if the node's mode or the container forbids it; or another error of open(2).
 */
static inline int kaio_open(void)
{
	int fd = open(KAIO_DEVICE, O_RDWR | KAIO_O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Makes the ioctl and returns its result or its errno as a negative number. */
static inline int kaio_ioctl(int fd, unsigned long cmd, void *arg)
{
	int ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

/**
 * kaio_query() - get the features and limits of the module
 * @fd: the device
 * @query: receives the answer
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
 * @nr_events: the number of requests that the context must be able to hold
 * @ctx_id: receives the id if the call succeeds
 *
 * Return: 0; -EAGAIN if a limit does not allow so many requests; -EINVAL or
 * -ENOMEM.
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
 * Return: 0; -EINVAL if there is no such context; -EINTR if a fatal signal has
 * come.
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
 * @buf: the buffer, or the array of struct iovec; NULL for requests without one
 * @len: the length of the buffer in bytes, or of the array in elements
 * @offset: the offset in the file
 *
 * Set aio_data and flags after this call. For IOCB_CMD_POLL, set aio_buf to the
 * events.
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
 * @nr: the number of requests
 * @iocbpp: pointers to the requests
 *
 * Return: the number of requests that were started; if it would be 0, the error
 * of the first request: -EAGAIN (the context is full), -EBADF, -EINVAL and so on.
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
 * @min_nr: the number of events to wait for
 * @nr: the maximum number of events
 * @events: receives the events
 * @timeout: a relative time; NULL to wait without limit
 *
 * Do not call this while another thread takes events of this context, by this
 * function or from the ring.
 *
 * Return: the number of events; -EINTR if a signal has come before any event (or,
 * with a timeout, if the kernel had work of io_uring for the thread); -EINVAL.
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
 * @min_nr: the number of events to wait for; a full ring ends the wait, too
 * @timeout: a relative time; NULL to wait without limit
 *
 * Return: the number of events in the ring, at most @min_nr; -EINTR, -EINVAL.
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
 * @nr: the number of requests; may be 0
 * @iocbpp: pointers to the requests
 * @min_nr: the number of events to wait for
 * @nr_events: the maximum number of events
 * @events: receives the events
 * @timeout: a relative time; NULL to wait without limit
 * @submitted: receives the number of requests that were started; or NULL
 *
 * If fewer than @nr requests were started, the call does not wait. Do not call
 * this while another thread takes events of this context.
 *
 * Return: the number of events; if no request was started, the error of the first
 * one (see kaio_submit()); or the error of the wait (see kaio_getevents()), with
 * which @submitted is valid too.
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
 * kaio_cancel() - cancel a request; io_cancel(2)
 * @fd: the device
 * @ctx_id: the context
 * @iocb: the request, at the address at which it was submitted
 *
 * Return: 1 if the request has ended and its event is in the ring; 0 if its event
 * will follow; -EINVAL if the request is complete, or cannot be cancelled and will
 * complete.
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
 * kaio_ring() - get the ring of a context, to take events without a system call
 * @ctx_id: a context of this process, from kaio_setup()
 *
 * Return: the ring, which is valid until the context is destroyed; NULL if this
 * header does not know the format of the ring: then use kaio_getevents().
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
 * kaio_ring_peek() - get the next event, and leave it in the ring
 * @ring: the ring
 *
 * Only one thread at a time may take events of a context.
 *
 * Return: the event, which is valid until kaio_ring_seen(); NULL if there is none.
 */
static inline const struct io_event *kaio_ring_peek(const struct kaio_ring *ring)
{
	/*
	 * Read the event after tail. This pairs with the kernel's store of
	 * tail.
	 */
	const __u32 tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
	const __u32 head = __atomic_load_n(&ring->head, __ATOMIC_RELAXED);

	return head == tail ? NULL : &ring->io_events[head];
}

/**
 * kaio_ring_seen() - take the event that kaio_ring_peek() returned
 * @ring: the ring
 *
 * The kernel may then reuse the slot of the event.
 */
static inline void kaio_ring_seen(struct kaio_ring *ring)
{
	const __u32 next = __atomic_load_n(&ring->head, __ATOMIC_RELAXED) + 1;

	/*
	 * The event was read before. This pairs with the kernel's load of head.
	 */
	__atomic_store_n(&ring->head, next == ring->nr ? 0 : next, __ATOMIC_RELEASE);
}

#endif /* KAIO_H */
