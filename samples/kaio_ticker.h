/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The sample providers of kaio: /dev/kaio-ticker-c and /dev/kaio-ticker-rust, which do the same.
 *
 * Each open file has a timer. Each tick brings some bytes, and completes one write. A read waits
 * until it has all the bytes that it asked for. A write takes its data at once, and completes at a
 * tick, whose number is in io_event.res2.
 *
 * The bytes are "abcdefghijklmnopqrstuvwxyzab...", continued over all reads of the file.
 */
#ifndef KAIO_TICKER_H
#define KAIO_TICKER_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define KAIO_TICKER_C		"/dev/kaio-ticker-c"
#define KAIO_TICKER_RUST	"/dev/kaio-ticker-rust"
/* For tests: the device in C, but with files that have a position. */
#define KAIO_TICKER_C_SEEK	"/dev/kaio-ticker-c-seek"
/* For tests: the provider handles only reads; a write takes all data at once. */
#define KAIO_TICKER_C_READS	"/dev/kaio-ticker-c-reads"

/* Flags for the tests of kaio. "Once" means that the flag is cleared by its use. */
#define KAIO_TICKER_KICK_EARLY	(1U << 0) /* once: kick before retry returns */
#define KAIO_TICKER_COMPLETE_EARLY (1U << 1) /* once: complete before retry returns */
#define KAIO_TICKER_TWICE_EARLY	(1U << 2) /* with either of these two: do it twice */
#define KAIO_TICKER_TWICE_LATE	(1U << 3) /* once: a tick kicks or completes twice */
#define KAIO_TICKER_KEEP	(1U << 4) /* cancel refuses */
#define KAIO_TICKER_STALL	(1U << 5) /* retry does not return until this is cleared */
#define KAIO_TICKER_WAIT_FIRST	(1U << 6) /* once: a write waits for a tick before it is taken */
#define KAIO_TICKER_RESTART	(1U << 7) /* once: the result is ERESTARTSYS */
#define KAIO_TICKER_NOBODY	(1U << 8) /* once: the error is EIOCBQUEUED */
#define KAIO_TICKER_SOME_FIRST	(1U << 9) /* once: a write takes some bytes, then waits for a tick */
#define KAIO_TICKER_FLAGS	((1U << 10) - 1)

#define KAIO_TICKER_SOME	3 /* the number of bytes that SOME_FIRST takes first */

#define KAIO_TICKER_MIN_PERIOD_NS	10000
#define KAIO_TICKER_MAX_PERIOD_NS	10000000000ULL

/**
 * struct kaio_ticker_config - when and how the device ticks.
 * @period_ns: the time between ticks; 0: it ticks only by KAIO_TICKER_TICK.
 * @tick_bytes: the number of bytes that a tick brings.
 * @flags: KAIO_TICKER_* bits. EOPNOTSUPP: the interface does not allow this flag
 *	(in Rust no promise can be kept twice), or the flag would cause a crash
 *	(%KAIO_TICKER_TWICE_LATE without debug assertions) or a read that never ends
 *	(%KAIO_TICKER_NOBODY in C, where retry makes a promise by that error).
 */
struct kaio_ticker_config {
	__u64	period_ns;
	__u32	tick_bytes;
	__u32	flags;
};

/**
 * struct kaio_ticker_info - counters since the file was opened.
 * @retries: calls of retry.
 * @kicks: calls of kaio_kick().
 * @completions: calls of kaio_complete().
 * @cancels: calls of cancel.
 * @dtors: calls of dtor.
 * @ticks: calls of the timer.
 * @pos: ki_pos in the last call of retry.
 * @user_data: ki_user_data of that request.
 * @waiting: reads that wait for a tick now, and writes that wait for one before they
 *	are taken.
 * @queued: writes that wait for a tick now.
 * @stalled: calls of retry that do not return now.
 * @available: bytes that no read has taken yet.
 * @left: kaio_left() in the last call of retry.
 * @attempts: calls of retry for that request, counted in the data that the provider
 *	keeps for it.
 * @iocb_flags: ki_flags of that request.
 * @opcode: ki_opcode of that request.
 * @ioprio: ki_ioprio of that request.
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
/* Makes the file tick once at once, if the period is 0. */
#define KAIO_TICKER_TICK	_IO(KAIO_TICKER_IOC_MAGIC, 2)

#endif /* KAIO_TICKER_H */
