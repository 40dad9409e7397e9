/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Files that do what they are told: /dev/kaio-mock*. For tests of what kaio does
 * with a file that says "not now", queues, sleeps, completes from an interrupt
 * or frees its wait queue.
 *
 * Each open is an object of its own, programmed by ioctls on its descriptor.
 */
#ifndef KAIO_MOCK_H
#define KAIO_MOCK_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Has read_iter, write_iter, fsync and poll, and knows IOCB_NOWAIT. */
#define KAIO_MOCK		"/dev/kaio-mock"
/* Does not know IOCB_NOWAIT. */
#define KAIO_MOCK_SLOW		"/dev/kaio-mock-slow"
/* Has no poll. */
#define KAIO_MOCK_DISK		"/dev/kaio-mock-disk"
/* Neither knows IOCB_NOWAIT nor has poll. */
#define KAIO_MOCK_SLOW_DISK	"/dev/kaio-mock-slow-disk"
/* Has read, write and poll: none that take a kiocb. */
#define KAIO_MOCK_PLAIN		"/dev/kaio-mock-plain"
/*
 * Gives a regular file, by KAIO_MOCK_OPEN: one whose reads can wait for a page
 * (FOP_BUFFER_RASYNC), as those of a file in the page cache do.
 */
#define KAIO_MOCK_PAGES		"/dev/kaio-mock-pages"

/* Steps of a program, wait queues of a file, bytes that are kept or given. */
#define KAIO_MOCK_STEPS		6
#define KAIO_MOCK_QUEUES	9
#define KAIO_MOCK_BYTES		64

/* Where the regular file ends, whatever is written to it. */
#define KAIO_MOCK_SIZE		(1 << 20)
/* Attempts whose flags are kept. */
#define KAIO_MOCK_FIRST		8

/* Whatever waits to be told stops waiting then, with -ETIMEDOUT. */
#define KAIO_MOCK_LIMIT_MS	30000
#define KAIO_MOCK_MAX_DELAY_NS	1000000000ULL
/* Of wake-ups that are repeated: interrupts must leave time for others. */
#define KAIO_MOCK_MIN_DELAY_NS	5000
#define KAIO_MOCK_MAX_TIMES	100000

/**
 * enum kaio_mock_when - by whom something is done.
 * @KAIO_MOCK_NEVER: it is not done.
 * @KAIO_MOCK_NOW: by the caller, before it goes on.
 * @KAIO_MOCK_WORK: by a kworker, soon.
 * @KAIO_MOCK_IRQ: by a timer, in hard interrupt, after a delay.
 * @KAIO_MOCK_TOLD: by KAIO_MOCK_COMPLETE, or KAIO_MOCK_UNLOCK. Not wake-ups.
 */
enum kaio_mock_when {
	KAIO_MOCK_NEVER,
	KAIO_MOCK_NOW,
	KAIO_MOCK_WORK,
	KAIO_MOCK_IRQ,
	KAIO_MOCK_TOLD,
};

/**
 * struct kaio_mock_wake - wake the wait queues.
 * @when: enum kaio_mock_when.
 * @ready: what poll says from then on: EPOLL* bits.
 * @key: what the wake-up says: EPOLL* bits; 0: it has no key.
 * @times: %KAIO_MOCK_IRQ: how often, @delay_ns apart; 0 is once.
 * @queues: which ones, a bit for each; 0: all.
 * @__reserved: 0.
 * @delay_ns: of %KAIO_MOCK_IRQ.
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
 * enum kaio_mock_key - what the wake-up of those who wait for a page says.
 * @KAIO_MOCK_THIS_PAGE: the page was unlocked.
 * @KAIO_MOCK_OTHER_PAGE: one that happens to have the same wait queue was.
 * @KAIO_MOCK_OTHER_BIT: the page is not under writeback any more.
 */
enum kaio_mock_key {
	KAIO_MOCK_THIS_PAGE,
	KAIO_MOCK_OTHER_PAGE,
	KAIO_MOCK_OTHER_BIT,
};

/**
 * struct kaio_mock_unlock - wake those who wait for the page.
 * @when: enum kaio_mock_when.
 * @key: enum kaio_mock_key.
 * @delay_ns: of %KAIO_MOCK_IRQ.
 */
struct kaio_mock_unlock {
	__u32	when;
	__u32	key;
	__u64	delay_ns;
};

/* Which attempts a step is for. Others take the next one. */
#define KAIO_MOCK_IF_NOWAIT	(1U << 0)	/* have IOCB_NOWAIT */
#define KAIO_MOCK_IF_UNREADY	(1U << 1)	/* poll says neither IN nor OUT now */

enum kaio_mock_sleep {
	KAIO_MOCK_AWAKE,
	KAIO_MOCK_INTERRUPTIBLE,
	KAIO_MOCK_KILLABLE,
};

/**
 * struct kaio_mock_step - what an attempt (a call of read_iter, write_iter, read,
 *	write or fsync) does, in this order.
 * @attempts: how many attempts this step is for; 0: for all that follow.
 * @only: KAIO_MOCK_IF_* bits. Once an attempt has skipped the step it is over.
 * @ready: what poll says from now on.
 * @sleep: enum kaio_mock_sleep: sleep, until KAIO_MOCK_LET_GO or a signal, ...
 * @sleep_ms: ... or for this time if it is not 0.
 * @complete: enum kaio_mock_when. %KAIO_MOCK_NEVER: the attempt returns @result.
 *	Else it is queued (-EIOCBQUEUED) and completes with @result then. Without a
 *	kiocb, or with one that does not wait for completions, it returns in any case.
 * @result: bytes (at most %KAIO_MOCK_BYTES are transferred) or -errno.
 * @page: enum kaio_mock_when. Not %KAIO_MOCK_NEVER: an attempt with IOCB_WAITQ
 *	waits for the page (-EIOCBQUEUED), which is unlocked then. Others take no
 *	notice of this.
 * @__reserved: 0.
 * @delay_ns: of @complete or @page, if that is %KAIO_MOCK_IRQ.
 * @wake: done after @ready, before @sleep.
 *
 * What is read is "abcdefghijklmnopqrstuvwxyzab...", over all reads of the file.
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
 * struct kaio_mock_program - from now on attempts take these steps.
 * @nr_steps: how many there are; the last is for all attempts that are left.
 * @nr_queues: how many wait queues poll offers.
 * @ready: what poll says until a step or a wake-up changes it.
 * @__reserved: 0.
 * @steps: the steps.
 */
struct kaio_mock_program {
	__u32	nr_steps;
	__u32	nr_queues;
	__u32	ready;
	__u32	__reserved;
	struct kaio_mock_step steps[KAIO_MOCK_STEPS];
};

/**
 * struct kaio_mock_free - free wait queues under those who wait (POLLFREE).
 * @queues: which ones, a bit for each.
 * @renew: poll has new ones from then on; else it offers fewer.
 *
 * For those who know POLLFREE (kaio, epoll); not while somebody is in poll(2).
 */
struct kaio_mock_free {
	__u32	queues;
	__u32	renew;
};

/**
 * struct kaio_mock_info - what happened since the file was opened.
 * @attempts: how many there were.
 * @nowait: of these with IOCB_NOWAIT.
 * @polls: calls of poll.
 * @wakes: wake-ups.
 * @interrupted: sleeps that a signal ended.
 * @written: bytes written.
 * @running: attempts now; one that was queued has ended.
 * @most_running: attempts at the same time, at most.
 * @sleeping: attempts that sleep now.
 * @queued: attempts that wait for KAIO_MOCK_COMPLETE now.
 * @waiters: entries on each wait queue now.
 * @page_waiters: attempts that wait for the page now.
 * @ki_flags: IOCB_* of the last attempt,
 * @ki_ioprio: its priority,
 * @kthread: whether it was made by a kernel thread,
 * @uid: with whose credentials,
 * @fsuid: likewise.
 * @flags: IOCB_* of the first attempts.
 * @data: the first bytes written.
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
/* That many attempts may go on: those that sleep, or else the next ones. */
#define KAIO_MOCK_LET_GO	_IOW(KAIO_MOCK_IOC_MAGIC, 4, __u32)
/* Complete the oldest attempt that waits for it with this result; ENOENT. */
#define KAIO_MOCK_COMPLETE	_IOW(KAIO_MOCK_IOC_MAGIC, 5, __s64)
/* Of KAIO_MOCK_PAGES: a new file, opened with these O_* flags; its descriptor. */
#define KAIO_MOCK_OPEN		_IOW(KAIO_MOCK_IOC_MAGIC, 6, __u32)
/* Of that file. */
#define KAIO_MOCK_UNLOCK	_IOW(KAIO_MOCK_IOC_MAGIC, 7, struct kaio_mock_unlock)

#endif /* KAIO_MOCK_H */
