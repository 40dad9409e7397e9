/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Wraps the ioctls of /dev/kaio, and fills in their arguments. Each wrapper
 * returns the result of the ioctl, or -errno.
 */
#ifndef KAIO_WRAPPERS_H
#define KAIO_WRAPPERS_H

#include <errno.h>
#include <linux/kaio.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/*
 * The size of the kernel's sigset_t. The sigset_t of libc is longer, and begins
 * with it.
 */
#define SIGSET_SIZE	8

static inline long kaio_ioctl(int fd, unsigned long cmd, const void *arg)
{
	long ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

/* Returns the ioctl number @cmd with another size in it. */
static inline unsigned long ioc_resize(unsigned long cmd, size_t size)
{
	return _IOC(_IOC_DIR(cmd), _IOC_TYPE(cmd), _IOC_NR(cmd), 0) |
	       (size << _IOC_SIZESHIFT);
}

static inline long kaio_query(int fd, struct kaio_query *query)
{
	memset(query, 0, sizeof(*query));
	return kaio_ioctl(fd, KAIO_QUERY, query);
}

static inline long kaio_setup(int fd, __u32 nr_events, __u64 *ctx)
{
	struct kaio_setup arg = { .nr_events = nr_events };
	long ret = kaio_ioctl(fd, KAIO_SETUP, &arg);

	*ctx = arg.ctx_id;
	return ret;
}

static inline long kaio_destroy(int fd, __u64 ctx)
{
	struct kaio_destroy arg = { .ctx_id = ctx };

	return kaio_ioctl(fd, KAIO_DESTROY, &arg);
}

static inline long kaio_submit(int fd, __u64 ctx, long nr, struct iocb **iocbs)
{
	struct kaio_submit arg = {
		.ctx_id = ctx,
		.nr = nr,
		.iocbpp = (uintptr_t)iocbs,
	};

	return kaio_ioctl(fd, KAIO_SUBMIT, &arg);
}

static inline long kaio_submit_one(int fd, __u64 ctx, struct iocb *iocb)
{
	return kaio_submit(fd, ctx, 1, &iocb);
}

static inline struct kaio_getevents
getevents_arg(__u64 ctx, long min_nr, long nr, struct io_event *events,
	      const struct timespec *timeout)
{
	return (struct kaio_getevents){
		.ctx_id = ctx,
		.min_nr = min_nr,
		.nr = nr,
		.events = (uintptr_t)events,
		.timeout = (uintptr_t)timeout,
	};
}

static inline long kaio_getevents(int fd, __u64 ctx, long min_nr, long nr,
				  struct io_event *events,
				  const struct timespec *timeout)
{
	struct kaio_getevents arg = getevents_arg(ctx, min_nr, nr, events,
						  timeout);

	return kaio_ioctl(fd, KAIO_GETEVENTS, &arg);
}

/* Calls getevents with the signal mask @sigmask during the wait. */
static inline long kaio_pgetevents(int fd, __u64 ctx, long min_nr, long nr,
				   struct io_event *events,
				   const struct timespec *timeout,
				   const sigset_t *sigmask)
{
	struct kaio_getevents arg = getevents_arg(ctx, min_nr, nr, events,
						  timeout);

	arg.sigmask = (uintptr_t)sigmask;
	arg.sigsetsize = SIGSET_SIZE;
	return kaio_ioctl(fd, KAIO_GETEVENTS, &arg);
}

/* Waits for events, but leaves them in the ring. */
static inline long kaio_peek(int fd, __u64 ctx, long min_nr, long nr,
			     const struct timespec *timeout)
{
	struct kaio_getevents arg = getevents_arg(ctx, min_nr, nr, NULL,
						  timeout);

	arg.flags = KAIO_GETEVENTS_PEEK;
	return kaio_ioctl(fd, KAIO_GETEVENTS, &arg);
}

/*
 * Returns -EINPROGRESS on success, and sets @ended to true if the request has
 * ended by then.
 */
static inline long kaio_cancel_ended(int fd, __u64 ctx,
				     const struct iocb *iocb, bool *ended)
{
	struct kaio_cancel arg = {
		.ctx_id = ctx,
		.iocb = (uintptr_t)iocb,
	};
	const long ret = kaio_ioctl(fd, KAIO_CANCEL, &arg);

	*ended = arg.ended;
	return ret;
}

static inline long kaio_cancel(int fd, __u64 ctx, const struct iocb *iocb)
{
	bool ended;

	return kaio_cancel_ended(fd, ctx, iocb, &ended);
}

/* Stores the number of submitted requests in @submitted, which may be NULL. */
static inline long kaio_submit_wait(int fd, __u64 ctx, long nr,
				    struct iocb **iocbs, long min_nr,
				    long nr_events, struct io_event *events,
				    const struct timespec *timeout,
				    __u64 *submitted)
{
	struct kaio_submit_wait arg = {
		.ctx_id = ctx,
		.nr = nr,
		.iocbpp = (uintptr_t)iocbs,
		.min_nr = min_nr,
		.nr_events = nr_events,
		.events = (uintptr_t)events,
		.timeout = (uintptr_t)timeout,
	};
	const long ret = kaio_ioctl(fd, KAIO_SUBMIT_WAIT, &arg);

	if (submitted)
		*submitted = arg.submitted;
	return ret;
}

static inline void prep_rw(struct iocb *iocb, int opcode, int fd,
			   const void *buf, size_t nbytes, __s64 offset)
{
	memset(iocb, 0, sizeof(*iocb));
	iocb->aio_lio_opcode = opcode;
	iocb->aio_fildes = fd;
	iocb->aio_buf = (uintptr_t)buf;
	iocb->aio_nbytes = nbytes;
	iocb->aio_offset = offset;
	iocb->aio_data = (uintptr_t)iocb;
}

static inline void prep_pread(struct iocb *iocb, int fd, void *buf,
			      size_t nbytes, __s64 offset)
{
	prep_rw(iocb, IOCB_CMD_PREAD, fd, buf, nbytes, offset);
}

static inline void prep_pwrite(struct iocb *iocb, int fd, const void *buf,
			       size_t nbytes, __s64 offset)
{
	prep_rw(iocb, IOCB_CMD_PWRITE, fd, buf, nbytes, offset);
}

static inline void prep_preadv(struct iocb *iocb, int fd,
			       const struct iovec *iov, int nr, __s64 offset)
{
	prep_rw(iocb, IOCB_CMD_PREADV, fd, iov, nr, offset);
}

static inline void prep_pwritev(struct iocb *iocb, int fd,
				const struct iovec *iov, int nr, __s64 offset)
{
	prep_rw(iocb, IOCB_CMD_PWRITEV, fd, iov, nr, offset);
}

static inline void prep_fsync(struct iocb *iocb, int fd)
{
	prep_rw(iocb, IOCB_CMD_FSYNC, fd, NULL, 0, 0);
}

static inline void prep_fdsync(struct iocb *iocb, int fd)
{
	prep_rw(iocb, IOCB_CMD_FDSYNC, fd, NULL, 0, 0);
}

/* @events are those of poll(2). */
static inline void prep_poll(struct iocb *iocb, int fd, unsigned int events)
{
	prep_rw(iocb, IOCB_CMD_POLL, fd, (void *)(uintptr_t)events, 0, 0);
}

/* @fd has to be valid; any open file will do. */
static inline void prep_noop(struct iocb *iocb, int fd)
{
	prep_rw(iocb, KAIO_CMD_NOOP, fd, NULL, 0, 0);
}

static inline struct kaio_ring *ring_of(__u64 ctx)
{
	return (struct kaio_ring *)(uintptr_t)ctx;
}

/* Takes at most @max events from the ring, without a system call. */
static inline unsigned int ring_reap(__u64 ctx, struct io_event *events,
				     unsigned int max)
{
	struct kaio_ring *ring = ring_of(ctx);
	__u32 head = __atomic_load_n(&ring->head, __ATOMIC_RELAXED);
	unsigned int n;

	for (n = 0; n < max; n++) {
		if (head == __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE))
			break;
		events[n] = ring->io_events[head];
		head = (head + 1) % ring->nr;
		__atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
	}
	return n;
}

/* The functions below call native AIO, for comparison. */
static inline long native_setup(unsigned int nr, aio_context_t *ctx)
{
	*ctx = 0;
	return syscall(SYS_io_setup, nr, ctx) < 0 ? -errno : 0;
}

static inline long native_destroy(aio_context_t ctx)
{
	return syscall(SYS_io_destroy, ctx) < 0 ? -errno : 0;
}

static inline long native_submit(aio_context_t ctx, long nr,
				 struct iocb **iocbs)
{
	long ret = syscall(SYS_io_submit, ctx, nr, iocbs);

	return ret < 0 ? -errno : ret;
}

static inline long native_getevents(aio_context_t ctx, long min_nr, long nr,
				    struct io_event *events,
				    const struct timespec *timeout)
{
	long ret = syscall(SYS_io_getevents, ctx, min_nr, nr, events, timeout);

	return ret < 0 ? -errno : ret;
}

static inline long native_pgetevents(aio_context_t ctx, long min_nr, long nr,
				     struct io_event *events,
				     const struct timespec *timeout,
				     const sigset_t *sigmask)
{
	const struct {
		const sigset_t *sigmask;
		size_t sigsetsize;
	} mask = { sigmask, SIGSET_SIZE };
	long ret = syscall(SYS_io_pgetevents, ctx, min_nr, nr, events, timeout,
			   &mask);

	return ret < 0 ? -errno : ret;
}

static inline long native_cancel(aio_context_t ctx, const struct iocb *iocb)
{
	struct io_event unused;

	return syscall(SYS_io_cancel, ctx, iocb, &unused) < 0 ? -errno : 0;
}

#endif /* KAIO_WRAPPERS_H */
