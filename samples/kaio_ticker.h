/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The sample providers of kaio: /dev/kaio-ticker-c and /dev/kaio-ticker-rust, which
 * do the same.
 *
 * Each open file has a timer. Each tick of it brings some bytes, and takes one
 * write. A read waits until it has all the bytes that it asked for. A write takes
 * its data at once, and is complete at a tick; io_event.res2 says which.
 *
 * Bytes are "abcdefghijklmnopqrstuvwxyzab...", over all reads of the file.
 */
#ifndef KAIO_TICKER_H
#define KAIO_TICKER_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define KAIO_TICKER_C		"/dev/kaio-ticker-c"
#define KAIO_TICKER_RUST	"/dev/kaio-ticker-rust"
/* For tests: the one in C, but files have a position. */
#define KAIO_TICKER_C_SEEK	"/dev/kaio-ticker-c-seek"
/* Only reads are the provider's; a write takes all at once. */
#define KAIO_TICKER_C_READS	"/dev/kaio-ticker-c-reads"

/* What the tests of kaio do with it. */
#define KAIO_TICKER_KICK_EARLY	(1U << 0) /* once: kick before retry returns */
#define KAIO_TICKER_COMPLETE_EARLY (1U << 1) /* once: complete before retry returns */
#define KAIO_TICKER_TWICE_EARLY	(1U << 2) /* with one of the above: twice */
#define KAIO_TICKER_TWICE_LATE	(1U << 3) /* once: a tick does what it does twice */
#define KAIO_TICKER_KEEP	(1U << 4) /* cancel refuses */
#define KAIO_TICKER_STALL	(1U << 5) /* retry does not return, until this is cleared */
#define KAIO_TICKER_WAIT_FIRST	(1U << 6) /* once: a write waits for a tick before it is taken */
#define KAIO_TICKER_RESTART	(1U << 7) /* once: the result is ERESTARTSYS */
#define KAIO_TICKER_NOBODY	(1U << 8) /* once: the error is EIOCBQUEUED */
#define KAIO_TICKER_SOME_FIRST	(1U << 9) /* once: as WAIT_FIRST, but some bytes are taken before */
#define KAIO_TICKER_FLAGS	((1U << 10) - 1)

#define KAIO_TICKER_SOME	3 /* bytes */

#define KAIO_TICKER_MIN_PERIOD_NS	10000
#define KAIO_TICKER_MAX_PERIOD_NS	10000000000ULL

/**
 * struct kaio_ticker_config - how it ticks.
 * @period_ns: the time between ticks; 0: it ticks only when it is told to.
 * @tick_bytes: what a tick brings.
 * @flags: KAIO_TICKER_* bits. EOPNOTSUPP: the interface does not let it do that
 *	(in Rust nothing can be done twice), or it would be a crash
 *	(%KAIO_TICKER_TWICE_LATE without debug assertions), or the read would never
 *	end (%KAIO_TICKER_NOBODY in C, where retry promises by this).
 */
struct kaio_ticker_config {
	__u64	period_ns;
	__u32	tick_bytes;
	__u32	flags;
};

/**
 * struct kaio_ticker_info - what happened since the file was opened.
 * @retries: calls of retry.
 * @kicks: calls of kaio_kick().
 * @completions: calls of kaio_complete().
 * @cancels: calls of cancel.
 * @dtors: calls of dtor.
 * @ticks: calls of the timer.
 * @pos: ki_pos when retry was called last.
 * @user_data: ki_user_data of that request.
 * @waiting: reads that wait for a tick now, and writes that do before they are taken.
 * @queued: writes that wait for a tick now.
 * @stalled: retries that do not return now.
 * @available: bytes that nobody has read yet.
 * @left: kaio_left() when retry was called last.
 * @attempts: calls of retry for that request, as counted in what the provider keeps for it.
 * @iocb_flags: its ki_flags.
 * @opcode: its ki_opcode.
 * @ioprio: its ki_ioprio.
 */
struct kaio_ticker_info {
	__u64	retries;
	__u64	kicks;
	__u64	completions;
	__u64	cancels;
	__u64	dtors;
	__u64	ticks;
	__s64	pos;
	__u64	user_data;
	__u32	waiting;
	__u32	queued;
	__u32	stalled;
	__u32	available;
	__u32	left;
	__u32	attempts;
	__u32	iocb_flags;
	__u16	opcode;
	__u16	ioprio;
};

#define KAIO_TICKER_IOC_MAGIC	0xBD
#define KAIO_TICKER_SET		_IOW(KAIO_TICKER_IOC_MAGIC, 0, struct kaio_ticker_config)
#define KAIO_TICKER_INFO	_IOR(KAIO_TICKER_IOC_MAGIC, 1, struct kaio_ticker_info)
/* Tick once, now, if the period is 0. */
#define KAIO_TICKER_TICK	_IO(KAIO_TICKER_IOC_MAGIC, 2)

#endif /* KAIO_TICKER_H */
