// SPDX-License-Identifier: GPL-2.0

//! The system-wide number of requests (`aio_nr`, `aio_max_nr` of fs/aio.c).

/// `nr + more`, if that is within `max`.
pub(crate) fn charge(nr: u64, more: u32, max: u64) -> Option<u64> {
    nr.checked_add(u64::from(more)).filter(|sum| *sum <= max)
}

/// `nr - less`; what was never charged is not given back.
pub(crate) fn uncharge(nr: u64, less: u32) -> u64 {
    nr.saturating_sub(u64::from(less))
}
