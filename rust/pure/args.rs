// SPDX-License-Identifier: GPL-2.0

//! Checks arguments from user space that need no object of the kernel.

/// A wait without end (`KTIME_MAX`).
pub(crate) const FOREVER: i64 = i64::MAX;

const NSEC_PER_SEC: i64 = 1_000_000_000;

/// Returns a `struct timespec` in nanoseconds. Any value counts, as natively, because programs pass
/// absolute times as timeouts. A negative result means not to wait.
pub(crate) fn timeout_ns(sec: i64, nsec: i64) -> i64 {
    sec.saturating_mul(NSEC_PER_SEC).saturating_add(nsec)
}

/// Returns the end of a wait of `timeout` that begins `now`; [`FOREVER`] means never. `now` is not
/// negative.
pub(crate) fn deadline(now: i64, timeout: i64) -> i64 {
    now.saturating_add(timeout)
}

/// Returns the time from `now` until `end`: [`FOREVER`] if there is no end, and not positive if the
/// end has passed.
pub(crate) fn time_left(now: i64, end: i64) -> i64 {
    match end {
        FOREVER => FOREVER,
        end => end.saturating_sub(now),
    }
}

/// Returns the numbers of events that io_getevents(2) was asked for, as `(min, nr)`; `None` if they
/// are invalid.
pub(crate) fn events_wanted(min_nr: i64, nr: i64) -> Option<(u64, u64)> {
    match (u64::try_from(min_nr), u64::try_from(nr)) {
        (Ok(min), Ok(nr)) if min <= nr => Some((min, nr)),
        _ => None,
    }
}

/// Returns whether the length in an iocb fits into an `ssize_t` (`EINVAL` otherwise).
pub(crate) fn iocb_len_ok(nbytes: u64) -> bool {
    i64::try_from(nbytes).is_ok()
}

/// Returns how much of `len` is still to be transferred after `done` bytes.
pub(crate) fn rest(len: usize, done: usize) -> usize {
    len.saturating_sub(done)
}
