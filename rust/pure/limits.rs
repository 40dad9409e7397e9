// SPDX-License-Identifier: GPL-2.0

//! Computes the number of charged requests, for the system or for a user.
//!
//! The counterpart of the arithmetic with `aio_nr` and `aio_max_nr` in fs/aio.c. Invariant: a sum
//! that would overflow counts as over the limit.

/// Returns `nr + more`, if that is within `max`.
pub(crate) fn charge(nr: u64, more: u32, max: u64) -> Option<u64> {
    nr.checked_add(u64::from(more)).filter(|sum| *sum <= max)
}

/// Returns the part of `max` up to which a context gets as many requests as fit into the pages of
/// its ring. The other half of `max` only goes to contexts that ask for it. So at least `max / 2 /
/// nr` contexts that ask for `nr` requests each can be made, compared with `max / nr` if a context
/// got only what it asks for: with a user's default limit of 262144 there are 1540 contexts of 128
/// requests (516 of them can hold 254), and not 2048.
pub(crate) fn plenty(max: u64) -> u64 {
    max / 2
}

/// Returns `nr - less`, but not less than 0.
pub(crate) fn uncharge(nr: u64, less: u32) -> u64 {
    nr.saturating_sub(u64::from(less))
}
