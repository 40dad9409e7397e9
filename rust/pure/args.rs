// SPDX-License-Identifier: GPL-2.0

//! Arguments from user space: what is valid before anything is looked up.

/// A wait without end (`KTIME_MAX`).
pub(crate) const FOREVER: i64 = i64::MAX;

const NSEC_PER_SEC: i64 = 1_000_000_000;

/// A `struct timespec` in nanoseconds. Any value counts, as natively: programs pass absolute
/// times as timeouts. Negative: do not wait.
pub(crate) fn timeout_ns(sec: i64, nsec: i64) -> i64 {
    sec.saturating_mul(NSEC_PER_SEC).saturating_add(nsec)
}

/// When a wait of `timeout` that begins `now` ends; [`FOREVER`]: never. `now` is not negative.
pub(crate) fn deadline(now: i64, timeout: i64) -> i64 {
    now.saturating_add(timeout)
}

/// How long it is from `now` until `end`: [`FOREVER`], or not positive if that is over.
pub(crate) fn time_left(now: i64, end: i64) -> i64 {
    match end {
        FOREVER => FOREVER,
        end => end.saturating_sub(now),
    }
}

/// The events that io_getevents(2) was asked for, as `(min, nr)`.
pub(crate) fn events_wanted(min_nr: i64, nr: i64) -> Option<(u64, u64)> {
    match (u64::try_from(min_nr), u64::try_from(nr)) {
        (Ok(min), Ok(nr)) if min <= nr => Some((min, nr)),
        _ => None,
    }
}

/// Whether the lengths of an iocb fit (`EINVAL` otherwise): `nbytes` as `ssize_t`.
pub(crate) fn iocb_len_ok(nbytes: u64) -> bool {
    i64::try_from(nbytes).is_ok()
}

/// What is still to transfer after `done` bytes of `len`.
pub(crate) fn rest(len: usize, done: usize) -> usize {
    len.saturating_sub(done)
}
