/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The devices /dev/kaio-mock* have files that follow a program. Tests use them to
 * see what kaio does with a file that returns -EAGAIN, queues a request, sleeps,
 * completes from an interrupt or frees its wait queue.
 *
 * Each open file has a program of its own, set by ioctls on its descriptor.
 */
#ifndef KAIO_MOCK_H
#define KAIO_MOCK_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The file has read_iter, write_iter, fsync and poll, and supports IOCB_NOWAIT. */
#define KAIO_MOCK		"/dev/kaio-mock"
/* The file is like KAIO_MOCK, but does not support IOCB_NOWAIT. */
#define KAIO_MOCK_SLOW		"/dev/kaio-mock-slow"
/* The file is like KAIO_MOCK, but has no poll. */
#define KAIO_MOCK_DISK		"/dev/kaio-mock-disk"
/* The file is like KAIO_MOCK, but has no poll and does not support IOCB_NOWAIT. */
#define KAIO_MOCK_SLOW_DISK	"/dev/kaio-mock-slow-disk"
/* The file has read, write and poll, but no method that takes a kiocb. */
#define KAIO_MOCK_PLAIN		"/dev/kaio-mock-plain"
/*
 * KAIO_MOCK_OPEN on this device returns a regular file whose reads can wait for a
 * page (FOP_BUFFER_RASYNC), as reads through the page cache do.
 */
#define KAIO_MOCK_PAGES		"/dev/kaio-mock-pages"
/* A device like KAIO_MOCK_SLOW whose driver has not registered with kaio. */
#define KAIO_MOCK_STRANGER	"/dev/kaio-mock-stranger"
/* A terminal, to which the rest of this header does not apply. */
#define KAIO_MOCK_TERMINAL	"/dev/kaio-mock-terminal"

/* The limits for steps of a program, wait queues of a file and bytes of a transfer. */
#define KAIO_MOCK_STEPS		6
#define KAIO_MOCK_QUEUES	9
#define KAIO_MOCK_BYTES		64

/* The size of the regular file, whatever is written to it. */
#define KAIO_MOCK_SIZE		(1 << 20)
/* The number of attempts whose flags are kept. */
#define KAIO_MOCK_FIRST		8

/* A wait for an ioctl ends after this time, with -ETIMEDOUT. */
#define KAIO_MOCK_LIMIT_MS	30000
#define KAIO_MOCK_MAX_DELAY_NS	1000000000ULL
/* The limits of repeated wake-ups, which must leave CPU time for other tasks. */
#define KAIO_MOCK_MIN_DELAY_NS	5000
#define KAIO_MOCK_MAX_TIMES	100000

/**
 * enum kaio_mock_when - selects the context that performs an action.
 * @KAIO_MOCK_NEVER: Nothing performs the action.
 * @KAIO_MOCK_NOW: The caller performs it before it goes on.
 * @KAIO_MOCK_WORK: A kworker performs it soon.
 * @KAIO_MOCK_IRQ: A timer performs it in hard interrupt after a delay.
 * @KAIO_MOCK_TOLD: KAIO_MOCK_COMPLETE or KAIO_MOCK_UNLOCK performs it. Wake-ups do
 *	not support this value.
 */
enum kaio_mock_when {
	KAIO_MOCK_NEVER,
	KAIO_MOCK_NOW,
	KAIO_MOCK_WORK,
	KAIO_MOCK_IRQ,
	KAIO_MOCK_TOLD,
};

/**
 * struct kaio_mock_wake - wakes the wait queues.
 * @when: A value of enum kaio_mock_when.
 * @ready: The EPOLL* bits that poll reports from then on.
 * @key: The EPOLL* bits of the wake-up, or 0 for a wake-up without a key.
 * @times: The number of wake-ups for %KAIO_MOCK_IRQ, @delay_ns apart. 0 means one.
 * @queues: A bit for each queue to wake, or 0 for all queues.
 * @__reserved: Must be 0.
 * @delay_ns: The delay for %KAIO_MOCK_IRQ.
 */
struct kaio_mock_wake {
	__u32	when;
	__u32	ready;
	__u32	key;
	__u32	times;
	__u32	queues;
	__u32	__reserved;
	__u64	delay_ns;
};

/**
 * enum kaio_mock_key - the key of a wake-up of requests that wait for a page.
 * @KAIO_MOCK_THIS_PAGE: The page was unlocked.
 * @KAIO_MOCK_OTHER_PAGE: Another page with the same wait queue was unlocked.
 * @KAIO_MOCK_OTHER_BIT: The page is not under writeback any more.
 */
enum kaio_mock_key {
	KAIO_MOCK_THIS_PAGE,
	KAIO_MOCK_OTHER_PAGE,
	KAIO_MOCK_OTHER_BIT,
};

/**
 * struct kaio_mock_unlock - wakes the requests that wait for the page.
 * @when: A value of enum kaio_mock_when.
 * @key: A value of enum kaio_mock_key.
 * @delay_ns: The delay for %KAIO_MOCK_IRQ.
 */
struct kaio_mock_unlock {
	__u32	when;
	__u32	key;
	__u64	delay_ns;
};

/* These bits restrict a step to some attempts. Other attempts take the next step. */
#define KAIO_MOCK_IF_NOWAIT	(1U << 0)	/* The attempt has IOCB_NOWAIT. */
#define KAIO_MOCK_IF_UNREADY	(1U << 1)	/* Poll reports neither IN nor OUT now. */

enum kaio_mock_sleep {
	KAIO_MOCK_AWAKE,
	KAIO_MOCK_INTERRUPTIBLE,
	KAIO_MOCK_KILLABLE,
};

/**
 * struct kaio_mock_step - describes an attempt (a call of read_iter, write_iter,
 *	read, write or fsync). The fields take effect in this order.
 * @attempts: The number of attempts that take this step, or 0 for all that follow.
 * @only: KAIO_MOCK_IF_* bits. The step is over once an attempt has skipped it.
 * @ready: The EPOLL* bits that poll reports from now on.
 * @sleep: A value of enum kaio_mock_sleep. The attempt sleeps until
 *	KAIO_MOCK_LET_GO or a signal ends that, ...
 * @sleep_ms: ... or for this time if it is not 0.
 * @complete: A value of enum kaio_mock_when. With %KAIO_MOCK_NEVER the attempt
 *	returns @result. Otherwise it returns -EIOCBQUEUED and completes with @result
 *	later. An attempt without a kiocb, or with a synchronous one, always returns
 *	@result.
 * @result: The number of bytes, of which at most %KAIO_MOCK_BYTES are transferred,
 *	or -errno.
 * @page: A value of enum kaio_mock_when. Unless it is %KAIO_MOCK_NEVER, an attempt
 *	with IOCB_WAITQ returns -EIOCBQUEUED and waits for the page, which is unlocked
 *	at that time. Other attempts ignore this field.
 * @__reserved: Must be 0.
 * @delay_ns: The delay of @complete or @page for %KAIO_MOCK_IRQ.
 * @wake: A wake-up after @ready and before @sleep.
 *
 * All reads of the file together return "abcdefghijklmnopqrstuvwxyzab...".
 */
struct kaio_mock_step {
	__u32	attempts;
	__u32	only;
	__u32	ready;
	__u32	sleep;
	__u32	sleep_ms;
	__u32	complete;
	__u32	page;
	__u32	__reserved;
	__s64	result;
	__u64	delay_ns;
	struct kaio_mock_wake wake;
};

/**
 * struct kaio_mock_program - sets the steps of all attempts from now on.
 * @nr_steps: The number of steps. All remaining attempts take the last step.
 * @nr_queues: The number of wait queues that poll offers.
 * @ready: The EPOLL* bits that poll reports until a step or a wake-up changes them.
 * @__reserved: Must be 0.
 * @steps: The steps.
 */
struct kaio_mock_program {
	__u32	nr_steps;
	__u32	nr_queues;
	__u32	ready;
	__u32	__reserved;
	struct kaio_mock_step steps[KAIO_MOCK_STEPS];
};

/**
 * struct kaio_mock_free - frees wait queues that have waiters (POLLFREE).
 * @queues: A bit for each queue to free.
 * @renew: Nonzero replaces the queues by new ones. Otherwise poll offers fewer.
 *
 * Only kaio and epoll support POLLFREE. No task may be in poll(2) on the file.
 */
struct kaio_mock_free {
	__u32	queues;
	__u32	renew;
};

/**
 * struct kaio_mock_info - counters since the file was opened, and its state.
 * @attempts: The number of attempts.
 * @nowait: The number of attempts with IOCB_NOWAIT.
 * @polls: The number of calls of poll.
 * @wakes: The number of wake-ups.
 * @interrupted: The number of sleeps that a signal ended.
 * @written: The number of bytes written.
 * @running: The number of attempts that run now. A queued attempt does not run.
 * @most_running: The largest number of attempts that ran at the same time.
 * @sleeping: The number of attempts that sleep now.
 * @queued: The number of attempts that wait for KAIO_MOCK_COMPLETE now.
 * @waiters: The number of entries on each wait queue now.
 * @page_waiters: The number of attempts that wait for the page now.
 * @ki_flags: The IOCB_* flags of the last attempt.
 * @ki_ioprio: The priority of the last attempt.
 * @kthread: 1 if a kernel thread made the last attempt.
 * @uid: The uid of the last attempt's credentials.
 * @fsuid: The fsuid of the last attempt's credentials.
 * @flags: The IOCB_* flags of the first attempts.
 * @data: The first bytes written.
 */
struct kaio_mock_info {
	__u64	attempts;
	__u64	nowait;
	__u64	polls;
	__u64	wakes;
	__u64	interrupted;
	__u64	written;
	__u32	running;
	__u32	most_running;
	__u32	sleeping;
	__u32	queued;
	__u32	waiters[KAIO_MOCK_QUEUES];
	__u32	page_waiters;
	__u32	ki_flags;
	__u32	ki_ioprio;
	__u32	kthread;
	__u32	uid;
	__u32	fsuid;
	__u32	flags[KAIO_MOCK_FIRST];
	__u8	data[KAIO_MOCK_BYTES];
};

#define KAIO_MOCK_IOC_MAGIC	0xBC
#define KAIO_MOCK_PROGRAM	_IOW(KAIO_MOCK_IOC_MAGIC, 0, struct kaio_mock_program)
#define KAIO_MOCK_INFO		_IOR(KAIO_MOCK_IOC_MAGIC, 1, struct kaio_mock_info)
#define KAIO_MOCK_WAKE		_IOW(KAIO_MOCK_IOC_MAGIC, 2, struct kaio_mock_wake)
#define KAIO_MOCK_FREE		_IOW(KAIO_MOCK_IOC_MAGIC, 3, struct kaio_mock_free)
/* Lets this many attempts go on: sleeping ones first, and then the next ones. */
#define KAIO_MOCK_LET_GO	_IOW(KAIO_MOCK_IOC_MAGIC, 4, __u32)
/* Completes the oldest attempt that waits for this; ENOENT if there is none. */
#define KAIO_MOCK_COMPLETE	_IOW(KAIO_MOCK_IOC_MAGIC, 5, __s64)
/* Opens a file of KAIO_MOCK_PAGES with these O_* flags and returns its descriptor. */
#define KAIO_MOCK_OPEN		_IOW(KAIO_MOCK_IOC_MAGIC, 6, __u32)
/* Applies to a file that KAIO_MOCK_OPEN has returned. */
#define KAIO_MOCK_UNLOCK	_IOW(KAIO_MOCK_IOC_MAGIC, 7, struct kaio_mock_unlock)
/*
 * From now on each wake-up of the file with this descriptor completes the oldest
 * attempt that waits for KAIO_MOCK_COMPLETE, with 5. A second call returns EBUSY.
 */
#define KAIO_MOCK_COMPLETE_ON	_IOW(KAIO_MOCK_IOC_MAGIC, 8, __u32)

#endif /* KAIO_MOCK_H */
