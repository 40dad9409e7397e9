/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * kaio: asynchronous I/O through /dev/kaio.
 */
#ifndef _UAPI_LINUX_KAIO_H
#define _UAPI_LINUX_KAIO_H

#include <linux/aio_abi.h>
#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * DOC: kaio ioctls
 *
 * Each ioctl on /dev/kaio is the counterpart of a system call of native AIO: its
 * arguments, its return value and its errno have the same meaning. The kernel's
 * own structs are used, too: &struct iocb and &struct io_event are those of
 * linux/aio_abi.h, and the ring has the layout of the ring that io_setup(2) maps,
 * so code that takes events from a native ring can take them from this one.
 *
 * A context belongs to the address space (mm) that set it up and to the open
 * file through which the process set it up. Its id is the address of its ring, as
 * with native AIO. Another process that holds the same open file (after fork, or
 * by SCM_RIGHTS) gets -EINVAL for the context. Closing the last descriptor of the
 * open file, unmapping the ring, exec and exit destroy the context.
 *
 * Every struct may grow at its end. The size is part of the ioctl number. If the
 * struct of the program is shorter, the module takes the missing fields as zero;
 * if it is longer, the module refuses a rest that is not zero. Flags and reserved
 * fields that are not described must be zero.
 *
 * These errors have the same meaning for every ioctl:
 *
 * - ENOTTY: there is no such ioctl in this version.
 * - EFAULT: the argument, or memory to which it points, cannot be accessed.
 * - EINVAL: a flag is unknown, a reserved field is not zero, the struct is
 *   shorter than its first version, or the context does not belong to the caller.
 * - E2BIG: the struct is longer than in this version, and its rest is not zero.
 * - ENOMEM: the kernel has no memory.
 */

#define KAIO_DEVICE		"/dev/kaio"
#define KAIO_ABI_VERSION	1

#define KAIO_IOC_MAGIC		0xBB

/**
 * DOC: requests
 *
 * io_submit(2) describes the fields of a &struct iocb. These opcodes are valid:
 *
 * - IOCB_CMD_PREAD, IOCB_CMD_PWRITE, IOCB_CMD_PREADV, IOCB_CMD_PWRITEV. A file
 *   whose driver has only the methods for read(2) or write(2) works if it supports
 *   poll(2) (inotify, writes to eventfds).
 * - IOCB_CMD_FSYNC, IOCB_CMD_FDSYNC: aio_buf, aio_nbytes, aio_offset and
 *   aio_rw_flags are 0 (EINVAL).
 * - IOCB_CMD_POLL: aio_buf contains the poll(2) events to wait for, in 16 bits;
 *   aio_nbytes, aio_offset and aio_rw_flags are 0 (EINVAL). The request waits
 *   once; its result is the events that have occurred. If the request had to
 *   wait, the result also contains, as with native AIO, all events that the
 *   wake-up of the file reported, whether or not the request asked for them.
 * - %KAIO_CMD_NOOP: completes with 0. linux/aio_abi.h defines it, but mainline
 *   refuses it. aio_fildes must be open; the other arguments are 0 (EINVAL).
 *
 * As with native AIO, unknown bits of aio_flags are ignored, and res2 of an event
 * is 0, unless a driver that provides the operation itself sets it.
 *
 * Requests are done in no particular order, except:
 *
 * - writes of one user to one regular file that append (O_APPEND, RWF_APPEND) or
 *   go through the page cache are done in the order of their submission, and an
 *   IOCB_CMD_FSYNC or IOCB_CMD_FDSYNC is done after them;
 * - the reads of one context that wait for one open file to become ready (pipes,
 *   sockets, terminals, eventfds) are done in the order of their submission, and
 *   so are the writes.
 *
 * This does not hold for requests that must not wait (RWF_NOWAIT, O_NONBLOCK). For
 * any other order, wait for the event of the first request before you submit the
 * second one.
 *
 * Files whose reads and writes may depend on the task that calls them (procfs, sysfs,
 * cgroupfs, signalfd, userfaultfd, netlink and other unusual sockets, devices whose
 * driver does not know kaio, terminals of a task whose input is recorded) are read and
 * written within the submit call, as with native AIO. A read of such a file that
 * supports poll(2) and is not ready, and a read or write of such a socket, has the
 * result -EAGAIN; an IOCB_CMD_POLL waits for the file. A write to such a stream socket
 * (AF_ALG, TIPC, SMC) can be short. A write to such a device can block the caller.
 */
#define KAIO_CMD_NOOP		IOCB_CMD_NOOP

/**
 * DOC: the quick way in
 *
 * For KAIO_SUBMIT, KAIO_GETEVENTS and KAIO_SUBMIT_WAIT there is a second way into the
 * kernel, which takes about 250 instructions less than ioctl(2):
 *
 *	fadvise64(fd, (__s64)(uintptr_t)arg, 0, (int)number)
 *
 * is the same call as ioctl(fd, number, arg). Security modules look at each ioctl(2),
 * and not at fadvise64(2), just as they do not look at each io_submit(2). They still
 * look at the open of the device and at KAIO_SETUP, and at the files of the requests.
 *
 * EINVAL: the number is another one, the length is not 0, or the caller is a 32-bit
 * program or no thread of a program (IORING_OP_FADVISE). A module that lacks
 * %KAIO_FEATURE_FADVISE, and a file that is not the device, give EINVAL or ESPIPE.
 * A kernel without CONFIG_ADVISE_SYSCALLS gives ENOSYS, and a seccomp filter mostly
 * ENOSYS or EPERM. The ioctl works in all these cases, if it is the device.
 */

/**
 * DOC: features
 *
 * The features of this version (bits of kaio_query.features).
 *
 * - %KAIO_FEATURE_RING_REAP: user space may take events from the ring itself: it
 *   reads tail (acquire), reads events, then stores head (release).
 * - %KAIO_FEATURE_RESFD: the module supports IOCB_FLAG_RESFD: an eventfd counts
 *   completions.
 * - %KAIO_FEATURE_IOPRIO: the module supports IOCB_FLAG_IOPRIO: aio_reqprio is an
 *   I/O priority.
 * - %KAIO_FEATURE_CANCEL: the module supports KAIO_CANCEL.
 * - %KAIO_FEATURE_SIGMASK: the module supports signal masks in KAIO_GETEVENTS.
 * - %KAIO_FEATURE_SUBMIT_WAIT: the module supports KAIO_SUBMIT_WAIT.
 * - %KAIO_FEATURE_PEEK: the module supports %KAIO_GETEVENTS_PEEK.
 * - %KAIO_FEATURE_POLL: the device's descriptor can be polled (poll(2), epoll(7),
 *   select(2), IOCB_CMD_POLL): it is readable while a context made through it
 *   has events.
 * - %KAIO_FEATURE_ABSTIME: the module supports %KAIO_GETEVENTS_ABSTIME.
 * - %KAIO_FEATURE_FADVISE: the module supports the quick way in.
 */
#define KAIO_FEATURE_RING_REAP	(1ULL << 0)
#define KAIO_FEATURE_RESFD	(1ULL << 1)
#define KAIO_FEATURE_IOPRIO	(1ULL << 2)
#define KAIO_FEATURE_CANCEL	(1ULL << 3)
#define KAIO_FEATURE_SIGMASK	(1ULL << 4)
#define KAIO_FEATURE_SUBMIT_WAIT (1ULL << 5)
#define KAIO_FEATURE_PEEK	(1ULL << 6)
#define KAIO_FEATURE_POLL	(1ULL << 7)
#define KAIO_FEATURE_ABSTIME	(1ULL << 8)
#define KAIO_FEATURE_FADVISE	(1ULL << 9)

/**
 * struct kaio_ring - the head of a context's ring; nr events follow it.
 * @id: an id for debugging. The kernel does not read it back.
 * @nr: the number of &struct io_event slots. The kernel does not read it back.
 * @head: the index of the next event to take, the only word that user space
 *	writes.
 * @tail: the index at which the next event will be put. The ring is empty if head
 *	== tail. The kernel does not read it back.
 * @magic: %KAIO_RING_MAGIC.
 * @compat_features: 1.
 * @incompat_features: 0; user space must not take events from a ring with bits
 *	that it does not know.
 * @header_length: sizeof(struct kaio_ring), the offset of the events.
 * @io_events: the events.
 *
 * This struct has the layout of struct aio_ring of the kernel (private to
 * fs/aio.c) and of libaio.
 */
struct kaio_ring {
	__u32	id;
	__u32	nr;
	__u32	head;
	__u32	tail;
	__u32	magic;
	__u32	compat_features;
	__u32	incompat_features;
	__u32	header_length;
	struct io_event io_events[];
};

#define KAIO_RING_MAGIC			0xa10a10a1
#define KAIO_RING_COMPAT_FEATURES	1
#define KAIO_RING_INCOMPAT_FEATURES	0

/**
 * struct kaio_query - the features and limits of the module. KAIO_QUERY fills it
 * in and returns 0.
 * @version: out: %KAIO_ABI_VERSION of the module.
 * @flags: in: 0.
 * @features: out: KAIO_FEATURE_* bits.
 * @opcodes: out: bit N is set if the module knows aio_lio_opcode N.
 * @rw_flags: out: the RWF_* flags that aio_rw_flags may have; a file may still
 *	refuse one (EOPNOTSUPP).
 * @max_nr: out: the number of requests that all contexts of the system together
 *	may hold (fs.kaio-max-nr; counterpart of fs.aio-max-nr).
 * @nr: out: the number of requests that all contexts can hold now (fs.kaio-nr).
 * @max_user_nr: out: the number of requests that the contexts of one user may hold
 *	(fs.kaio-max-user-nr). The limit does not apply to CAP_SYS_RESOURCE.
 * @user_nr: out: the number of requests that all contexts of the caller's user can
 *	hold. The user is the real user id of the task that opened the device.
 */
struct kaio_query {
	__u32	version;
	__u32	flags;
	__u64	features;
	__u64	opcodes;
	__u64	rw_flags;
	__u64	max_nr;
	__u64	nr;
	__u64	max_user_nr;
	__u64	user_nr;
};

/**
 * struct kaio_setup - io_setup(2): make a context. Returns 0.
 * @nr_events: in: the number of requests that the context must be able to hold. It
 *	holds at least as many (a context of native AIO may hold fewer). While no
 *	more than half of each limit is used, it holds as many as the whole pages of
 *	its ring have room for. The number that it can hold counts against the
 *	limits. So there can be at least half as many contexts of N requests each as
 *	the limit divided by N.
 * @flags: in: 0.
 * @ctx_id: in: 0. out: the id, which is the address of the ring.
 *
 * EINVAL: @nr_events is 0 or too large, or @ctx_id is not 0. EAGAIN: the limit of
 * the system or of the user does not allow so many requests. The module checks for
 * EFAULT before it makes the context.
 */
struct kaio_setup {
	__u32	nr_events;
	__u32	flags;
	__u64	ctx_id;
};

/**
 * struct kaio_destroy - io_destroy(2): end a context. Returns 0.
 * @ctx_id: in: the context.
 * @flags: in: 0.
 * @__reserved: in: 0.
 *
 * The call wakes callers that sleep in getevents (they return -EINVAL), cancels
 * requests that wait for readiness and reads that have not begun, and waits for the
 * remaining requests: when it returns, no buffer is in use. It unmaps the ring:
 * threads that take events in user space must have stopped. Events in the ring are
 * lost.
 *
 * Closing the file, exec and exit do the same. The last close, if a process closes
 * its own contexts, and an exit of a process that still has the file open, wait for
 * requests in flight for at most 10 seconds. Other processes do not wait. After the
 * wait of that close, zeroed memory replaces the ring: other threads find that its
 * magic is 0, which means that no request is in flight any more. The program owns
 * the zeroed memory and may unmap it.
 *
 * EINTR: a fatal signal came during the wait; the context has ended nevertheless.
 */
struct kaio_destroy {
	__u64	ctx_id;
	__u32	flags;
	__u32	__reserved;
};

/**
 * struct kaio_submit - io_submit(2): start requests. Returns how many.
 * @ctx_id: in: the context.
 * @nr: in: the length of the array; clamped to the size of the ring.
 * @iocbpp: in: the address of an array of pointers to &struct iocb, each as wide
 *	as a pointer of the caller (32-bit callers: 32 bits).
 * @flags: in: 0.
 * @error: in: 0. out: if fewer than @nr requests were started, the errno of the
 *	next one as a negative number.
 *
 * If request k > 0 has an error, the call returns k; if request 0 has one, the call
 * returns that error: EINVAL, EAGAIN (the context holds as many requests as it can),
 * EBADF, EFAULT, EPERM (priority), EOPNOTSUPP (aio_rw_flags), ENOMEM, or an error of
 * a security module.
 *
 * Events of requests that end within the call are in the ring when the call returns,
 * and not much earlier: the module puts several there together.
 */
struct kaio_submit {
	__u64	ctx_id;
	__s64	nr;
	__u64	iocbpp;
	__u32	flags;
	__s32	error;
};

/**
 * struct kaio_getevents - io_getevents(2), io_pgetevents(2): take events.
 * Returns how many.
 * @ctx_id: in: the context.
 * @min_nr: in: the number of events to wait for.
 * @nr: in: the maximum number of events.
 * @events: in: the address of @nr &struct io_event.
 * @timeout: in: 0 (wait without limit) or the address of a
 *	struct __kernel_timespec in nanosecond resolution; relative, or the end of
 *	the wait (%KAIO_GETEVENTS_ABSTIME).
 * @sigmask: in: 0, or the address of the signal mask (the kernel's sigset_t) of the
 *	caller during the wait, as with pselect(2).
 * @sigsetsize: in: the size of the signal mask, 8 (EINVAL); ignored if @sigmask is
 *	0. If either is not 0, the call is io_pgetevents(2): a signal without a
 *	handler does not end it.
 * @flags: in: %KAIO_GETEVENTS_PEEK and %KAIO_GETEVENTS_ABSTIME, or 0.
 * @__reserved: in: 0.
 *
 * %KAIO_GETEVENTS_PEEK leaves the events in the ring, from which the caller takes
 * them itself: the call waits until there are @min_nr events or the ring is full, and
 * returns how many there are, at most @nr. @events must be 0.
 *
 * With %KAIO_GETEVENTS_ABSTIME the wait ends at the time @timeout of CLOCK_MONOTONIC,
 * as the caller reads it (time_namespaces(7)). If that time has passed, or is
 * negative, the call does not wait. The flag has no effect if @timeout is 0.
 *
 * Only one thread at a time may take events: a thread that takes them from the ring
 * writes its head, and so does this call. Events that were taken make room for new
 * requests at once.
 *
 * EINVAL: a number is negative, @min_nr > @nr, or the context was destroyed while
 * the caller waited. EINTR: a signal came before any event was taken.
 *
 * Signals are not the only reason why a sleep in the kernel ends: the caller may have
 * to do work on its way to user space, such as the work that io_uring gives to a
 * thread when a ring is closed. A wait without a time limit, or with
 * %KAIO_GETEVENTS_ABSTIME, then goes on, unless events were taken: those are
 * returned. A wait with a relative @timeout ends with EINTR, as with native AIO,
 * although no signal came (io_pgetevents(2) begins anew).
 *
 * A waiting thread may itself retry requests of the context that have become ready,
 * reads and POLLs, in place of a kworker. If the buffer of such a request must be
 * fetched first (swap, userfaultfd(2)), the call may take longer than @timeout.
 */
#define KAIO_GETEVENTS_PEEK	(1U << 0)
#define KAIO_GETEVENTS_ABSTIME	(1U << 1)

struct kaio_getevents {
	__u64	ctx_id;
	__s64	min_nr;
	__s64	nr;
	__u64	events;
	__u64	timeout;
	__u64	sigmask;
	__u64	sigsetsize;
	__u32	flags;
	__u32	__reserved;
};

/**
 * struct kaio_cancel - io_cancel(2): cancel a request.
 * @ctx_id: in: the context.
 * @iocb: in: the address at which the &struct iocb was submitted; its aio_key must
 *	be 0, which the submission has stored (EINVAL).
 * @flags: in: 0.
 * @ended: in: 0. out: 1 if the request has ended.
 *
 * The ioctl never returns 0: as with native AIO, EINPROGRESS means success. A request
 * that waits for readiness or for its turn has ended then, and its event is in the
 * ring: res is the number of bytes that were transferred before, or -ECANCELED; for
 * an IOCB_CMD_POLL it is 0, as with native AIO. If the module is retrying the request
 * at this moment (@ended is 0), the event follows, and the request may have
 * completed.
 *
 * EINVAL: there is no such request, the request is complete (its event is in the
 * ring), or the request cannot be cancelled: it is in hardware, or in a call that may
 * wait, and completes as if this call had not been made. EFAULT: @iocb cannot be
 * read; or @ended cannot be written, and the request may have been cancelled
 * nevertheless. If one iocb was submitted several times, one of those requests is
 * cancelled.
 */
struct kaio_cancel {
	__u64	ctx_id;
	__u64	iocb;
	__u32	flags;
	__u32	ended;
};

/**
 * struct kaio_submit_wait - io_submit(2), then io_pgetevents(2), in one call.
 * Returns how many events were taken.
 * @ctx_id: in: the context.
 * @nr: in, @iocbpp: in: the fields of &struct kaio_submit.
 * @min_nr: in, @nr_events: in, @events: in, @timeout: in, @sigmask: in,
 *	@sigsetsize: in: the fields of &struct kaio_getevents.
 * @submitted: out: the number of requests that were started.
 * @flags: in: the flags of &struct kaio_getevents.
 * @error: in: 0. out: the error of &struct kaio_submit.
 *
 * The call checks the arguments first: if one is invalid, no request is submitted. If
 * the first request was not started, the call returns the error of that request. If
 * fewer than @nr were started, the call does not wait, but takes the events that are
 * there. It returns an error of the wait (EINTR, EFAULT, EINVAL) as KAIO_GETEVENTS
 * does; @submitted is valid nevertheless, unless it is the field that cannot be
 * written. The kernel never restarts the call, since that would submit again. So
 * EINTR may also mean other work of the caller, see &struct kaio_getevents; with
 * %KAIO_GETEVENTS_ABSTIME, the caller can continue the wait by KAIO_GETEVENTS with
 * the same @timeout.
 */
struct kaio_submit_wait {
	__u64	ctx_id;
	__s64	nr;
	__u64	iocbpp;
	__s64	min_nr;
	__s64	nr_events;
	__u64	events;
	__u64	timeout;
	__u64	sigmask;
	__u64	sigsetsize;
	__u64	submitted;
	__u32	flags;
	__s32	error;
};

/* The sizes of the first version, which are the minimum. */
#define KAIO_QUERY_SIZE_VER0		64
#define KAIO_SETUP_SIZE_VER0		16
#define KAIO_DESTROY_SIZE_VER0		16
#define KAIO_SUBMIT_SIZE_VER0		32
#define KAIO_GETEVENTS_SIZE_VER0	64
#define KAIO_CANCEL_SIZE_VER0		24
#define KAIO_SUBMIT_WAIT_SIZE_VER0	88

#define KAIO_QUERY	_IOWR(KAIO_IOC_MAGIC, 0x00, struct kaio_query)
#define KAIO_SETUP	_IOWR(KAIO_IOC_MAGIC, 0x01, struct kaio_setup)
#define KAIO_DESTROY	_IOWR(KAIO_IOC_MAGIC, 0x02, struct kaio_destroy)
#define KAIO_SUBMIT	_IOWR(KAIO_IOC_MAGIC, 0x03, struct kaio_submit)
#define KAIO_GETEVENTS	_IOWR(KAIO_IOC_MAGIC, 0x04, struct kaio_getevents)
#define KAIO_CANCEL	_IOWR(KAIO_IOC_MAGIC, 0x05, struct kaio_cancel)
#define KAIO_SUBMIT_WAIT _IOWR(KAIO_IOC_MAGIC, 0x06, struct kaio_submit_wait)

#endif /* _UAPI_LINUX_KAIO_H */
