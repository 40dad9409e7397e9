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
 * Each ioctl on /dev/kaio is the counterpart of a system call of native AIO:
 * same meaning of the arguments, same return value, same errno. What is in
 * memory between the two is the kernel's own too: &struct iocb and
 * &struct io_event are those of linux/aio_abi.h, and the ring is laid out as
 * the one that io_setup(2) maps, so code that reaps a native ring reaps ours.
 *
 * A context belongs to the address space (mm) that set it up and to the open
 * file through which it did. Its id is the address of its ring, as natively.
 * Another process that holds the same open file (after fork, or by SCM_RIGHTS)
 * gets -EINVAL for it. Closing the last descriptor of the open file, unmapping
 * the ring, exec and exit destroy the context.
 *
 * Every struct may grow at its end. The size is part of the ioctl number: a
 * kernel that knows more takes the missing rest as zero, and one that knows
 * less refuses a rest that is not zero. Flags and reserved fields that are not
 * described must be zero.
 *
 * What an errno means for every ioctl:
 *
 * - ENOTTY: no such ioctl in this version.
 * - EFAULT: the argument, or something it points to, cannot be accessed.
 * - EINVAL: a flag is unknown, a reserved field is not zero, the struct is
 *   shorter than its first version, or the context is not one of the caller's.
 * - E2BIG: the struct is longer than this version knows, and what is past the
 *   end is not zero.
 * - ENOMEM: out of memory.
 */

#define KAIO_DEVICE		"/dev/kaio"
#define KAIO_ABI_VERSION	1

#define KAIO_IOC_MAGIC		0xBB

/**
 * DOC: requests
 *
 * A &struct iocb means what io_submit(2) says, with these opcodes:
 *
 * - IOCB_CMD_PREAD, IOCB_CMD_PWRITE, IOCB_CMD_PREADV, IOCB_CMD_PWRITEV. Files
 *   that have only read(2) or write(2) will do, if they can be waited for (inotify,
 *   writes to eventfds).
 * - IOCB_CMD_FSYNC, IOCB_CMD_FDSYNC: aio_buf, aio_nbytes, aio_offset and
 *   aio_rw_flags are 0 (EINVAL).
 * - IOCB_CMD_POLL: aio_buf has the poll(2) events to wait for, in 16 bits;
 *   aio_nbytes, aio_offset and aio_rw_flags are 0 (EINVAL). The result is the
 *   events that there are. Once.
 * - %KAIO_CMD_NOOP: completes with 0. linux/aio_abi.h knows it, but mainline
 *   refuses it. aio_fildes must be open; the other arguments are 0 (EINVAL).
 *
 * As natively, unknown bits of aio_flags are ignored, and res2 of an event is 0 (but
 * what a driver says that does its requests itself).
 *
 * Requests are done in no particular order, except:
 *
 * - writes of one user to one regular file that append (O_APPEND, RWF_APPEND) or
 *   go through the page cache are done in the order of their submission, and an
 *   IOCB_CMD_FSYNC or IOCB_CMD_FDSYNC after them;
 * - so are the reads, and the writes, of one context that wait for one open file
 *   to become ready (pipes, sockets, terminals, eventfds).
 *
 * This does not hold for requests that are to be answered at once (RWF_NOWAIT,
 * O_NONBLOCK). For anything else, wait for the event of the first before you submit
 * the second.
 *
 * Files that depend on the task that calls them (procfs, sysfs, cgroupfs, signalfd,
 * userfaultfd) are read and written within the submit call, as natively.
 */
#define KAIO_CMD_NOOP		IOCB_CMD_NOOP

/**
 * DOC: features
 *
 * What this version can do (bits of kaio_query.features).
 *
 * - %KAIO_FEATURE_RING_REAP: user space may take events from the ring itself: it
 *   reads tail (acquire), reads events, then stores head (release).
 * - %KAIO_FEATURE_RESFD: IOCB_FLAG_RESFD: an eventfd counts completions.
 * - %KAIO_FEATURE_IOPRIO: IOCB_FLAG_IOPRIO: aio_reqprio is an I/O priority.
 * - %KAIO_FEATURE_CANCEL: KAIO_CANCEL.
 * - %KAIO_FEATURE_SIGMASK: signal masks in KAIO_GETEVENTS.
 * - %KAIO_FEATURE_SUBMIT_WAIT: KAIO_SUBMIT_WAIT.
 * - %KAIO_FEATURE_PEEK: %KAIO_GETEVENTS_PEEK.
 * - %KAIO_FEATURE_POLL: the device's descriptor can be polled (poll(2), epoll(7),
 *   select(2), IOCB_CMD_POLL): it is readable while a context made through it
 *   has events.
 * - %KAIO_FEATURE_ABSTIME: %KAIO_GETEVENTS_ABSTIME.
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

/**
 * struct kaio_ring - the head of a context's ring; nr events follow it.
 * @id: for people who debug; not read back.
 * @nr: number of &struct io_event slots. Not read back.
 * @head: the next event to take. The one word that user space writes.
 * @tail: where the next event will be put. head == tail: empty. Not read back.
 * @magic: %KAIO_RING_MAGIC.
 * @compat_features: 1.
 * @incompat_features: 0; user space must not reap a ring with bits it does
 *	not know here.
 * @header_length: sizeof(struct kaio_ring); events begin there.
 * @io_events: the events.
 *
 * The same as struct aio_ring of the kernel (private to fs/aio.c) and libaio.
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
 * struct kaio_query - what is here. KAIO_QUERY fills it in and returns 0.
 * @version: out: %KAIO_ABI_VERSION of the module.
 * @flags: in: 0.
 * @features: out: KAIO_FEATURE_* bits.
 * @opcodes: out: bit N is set if aio_lio_opcode N is known.
 * @rw_flags: out: the RWF_* flags that aio_rw_flags may have; a file may still
 *	refuse one (EOPNOTSUPP).
 * @max_nr: out: requests that all contexts of the system together may hold
 *	(fs.kaio-max-nr; counterpart of fs.aio-max-nr).
 * @nr: out: requests asked for by all contexts now (fs.kaio-nr).
 * @max_user_nr: out: requests that the contexts of one user may hold
 *	(fs.kaio-max-user-nr). Not for CAP_SYS_RESOURCE.
 * @user_nr: out: requests asked for by all contexts of the caller's user: of the
 *	real user id that opened the device.
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
 * @nr_events: in: how many requests it must be able to hold. It holds at least
 *	as many (native AIO may hold fewer).
 * @flags: in: 0.
 * @ctx_id: in: 0. out: the id, which is the address of the ring.
 *
 * EINVAL: @nr_events is 0 or absurd, or @ctx_id is not 0. EAGAIN: more than the
 * system-wide limit, or the user's. EFAULT is found out before anything is made.
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
 * Wakes callers that sleep in getevents (they return -EINVAL), cancels what
 * waits for readiness and reads that have not begun, and waits for what is left:
 * when it returns, no buffer is in use. The ring is unmapped: who reaps it in user
 * space must have stopped. Events in it are lost.
 *
 * Closing the file, exec and exit do the same. The last close, if a process closes
 * its own contexts, and an exit that still has the file open, wait for what is in
 * flight for at most 10 seconds. Others do not wait. That close unmaps the ring when
 * it has waited: other threads see by it that nothing is in flight any more.
 *
 * EINTR: a fatal signal came while it waited; the context is gone all the same.
 */
struct kaio_destroy {
	__u64	ctx_id;
	__u32	flags;
	__u32	__reserved;
};

/**
 * struct kaio_submit - io_submit(2): start requests. Returns how many.
 * @ctx_id: in: the context.
 * @nr: in: length of the array; clamped to the size of the ring.
 * @iocbpp: in: address of an array of pointers to &struct iocb, each as wide
 *	as a pointer of the caller (32-bit callers: 32 bits).
 * @flags: in: 0.
 * @error: in: 0. out: if fewer than @nr were started, the errno of the next one,
 *	negative.
 *
 * An error at item k > 0 returns k; at item 0 its errno: EINVAL, EAGAIN (the
 * context holds as many requests as it can), EBADF, EFAULT, EPERM (priority),
 * EOPNOTSUPP (aio_rw_flags), ENOMEM, or what a security module says.
 *
 * Events of requests that end within the call are in the ring when it returns, and
 * not much earlier: several are put there together.
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
 * @min_nr: in: return only when that many were taken, ...
 * @nr: in: ... and never more than that.
 * @events: in: address of @nr &struct io_event.
 * @timeout: in: 0 (wait for ever) or the address of a
 *	struct __kernel_timespec in nanosecond resolution; relative, or the end of
 *	the wait (%KAIO_GETEVENTS_ABSTIME).
 * @sigmask: in: 0, or the address of the signal mask (the kernel's sigset_t) to
 *	have while the caller waits, as with pselect(2).
 * @sigsetsize: in: its size, 8 (EINVAL), or not looked at while @sigmask is 0; if
 *	either is not 0, the call is io_pgetevents(2): a signal without a handler
 *	does not end it.
 * @flags: in: %KAIO_GETEVENTS_PEEK and %KAIO_GETEVENTS_ABSTIME, or 0.
 * @__reserved: in: 0.
 *
 * %KAIO_GETEVENTS_PEEK leaves the events in the ring, for the caller to reap
 * there: returns how many there are, at most @nr, once there are @min_nr or the
 * ring is full. @events must be 0.
 *
 * With %KAIO_GETEVENTS_ABSTIME the wait ends at the time @timeout of CLOCK_MONOTONIC,
 * as the caller reads it (time_namespaces(7)). A time that is over, or negative:
 * does not wait. No effect if @timeout is 0.
 *
 * One taker at a time: who reaps in the ring writes its head, and so does this
 * call. What was taken makes room for new requests at once.
 *
 * EINVAL: a negative number, @min_nr > @nr, or the context was destroyed while
 * the caller waited. EINTR: a signal came before any event was taken.
 *
 * Not only signals end a sleep in the kernel: so does work that the caller has to do
 * on its way to user space, as io_uring gives it to a thread when a ring is closed.
 * A wait without end, or with %KAIO_GETEVENTS_ABSTIME, then goes on, unless events
 * were taken: those are returned. One with a relative @timeout ends with EINTR, as
 * natively, though no signal came (if it is io_pgetevents(2), it begins anew).
 *
 * Who waits here may do what is left of requests of the context that have become
 * ready, reads and POLLs, in place of a kworker. If the buffer of one then has to be
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
 * struct kaio_cancel - io_cancel(2): give a request up.
 * @ctx_id: in: the context.
 * @iocb: in: address of the &struct iocb, as it was submitted; its aio_key must
 *	be 0, as submission left it (EINVAL).
 * @flags: in: 0.
 * @ended: in: 0. out: 1 if the request has ended.
 *
 * Never returns 0: as natively, EINPROGRESS means success. A request that waits
 * for readiness or for its turn has ended then, and its event is in the ring: res
 * is what was transferred before, or -ECANCELED; of an IOCB_CMD_POLL it is 0, as
 * natively. Of one that is being retried just now (@ended is 0) the event follows,
 * and it may have completed.
 *
 * EINVAL: there is no such request, it is complete (its event is in the ring), or
 * it cannot be cancelled: it is in hardware, or in a call that may wait, and
 * completes as if nothing had happened. EFAULT: @iocb cannot be read; or @ended
 * cannot be written, and the request may have been cancelled all the same. If one
 * iocb was submitted several times, one of those requests is cancelled.
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
 * @nr: in, @iocbpp: in: as in &struct kaio_submit.
 * @min_nr: in, @nr_events: in, @events: in, @timeout: in, @sigmask: in,
 *	@sigsetsize: in: as in &struct kaio_getevents.
 * @submitted: out: how many requests were started.
 * @flags: in: as in &struct kaio_getevents.
 * @error: in: 0. out: as in &struct kaio_submit.
 *
 * Arguments are checked first: if one is wrong, nothing was submitted. If not even
 * the first request could be started, returns its error. If fewer than @nr were
 * started, does not wait, but takes what events there are. An error of the second
 * half (EINTR, EFAULT, EINVAL) is returned as KAIO_GETEVENTS does; @submitted
 * counts all the same, unless it is what cannot be written. Never restarted: it would submit again. So EINTR may also
 * mean work of the caller's, see &struct kaio_getevents; with
 * %KAIO_GETEVENTS_ABSTIME, KAIO_GETEVENTS with the same @timeout waits on.
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

/* Sizes of the first version: no caller may have less. */
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
