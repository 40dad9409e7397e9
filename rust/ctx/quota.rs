// SPDX-License-Identifier: GPL-2.0

//! Limits the number of requests that contexts may hold.
//!
//! The counterpart of `aio_nr` and `aio_max_nr` of fs/aio.c, here `fs.kaio-nr` and
//! `fs.kaio-max-nr`. There is a counter for the system and one for each user. Invariant: a counter
//! is the sum of what the living contexts were charged.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
};

use crate::{
    pure::limits,
    sys::sysctl, //
};

/// The counter of the system.
static SYSTEM: Counter = Counter::new();

/// Counts the requests that were charged. A context is charged for all requests that it can hold,
/// since it can hold them at any time.
pub(crate) struct Counter(Atomic<u64>);

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    fn change(&self, step: impl Fn(u64) -> Option<u64>) -> Option<()> {
        let mut old = self.0.load(Relaxed);
        loop {
            match self.0.cmpxchg(old, step(old)?, Full) {
                Ok(_) => return Some(()),
                Err(found) => old = found,
            }
        }
    }

    /// Adds `nr` to the counter. `EAGAIN` if that were more than `max`.
    pub(crate) fn charge(&self, nr: u32, max: u64) -> Result {
        self.change(|now| limits::charge(now, nr, max))
            .ok_or(EAGAIN)
    }

    pub(crate) fn uncharge(&self, nr: u32) {
        let _ = self.change(|now| Some(limits::uncharge(now, nr)));
    }

    pub(crate) fn nr(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A part of the limit of the system. Its drop returns the part.
pub(crate) struct Charge(u32);

impl Charge {
    /// Charges up to `wanted` requests while there is plenty ([`limits::plenty`]), and else exactly
    /// `nr`. `EAGAIN` if there is no room for `nr`.
    pub(crate) fn new(nr: u32, wanted: u32) -> Result<Self> {
        let max = max();
        if SYSTEM.charge(wanted, limits::plenty(max)).is_ok() {
            return Ok(Self(wanted));
        }
        SYSTEM.charge(nr, max)?;
        Ok(Self(nr))
    }

    pub(crate) fn nr(&self) -> u32 {
        self.0
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        SYSTEM.uncharge(self.0);
    }
}

/// Returns the number of requests that are charged now.
pub(crate) fn nr() -> u64 {
    SYSTEM.nr()
}

/// Returns the counter of the system, for `fs.kaio-nr`.
pub(crate) fn nr_word() -> &'static Atomic<u64> {
    &SYSTEM.0
}

/// Returns the limit of the system.
pub(crate) fn max() -> u64 {
    sysctl::max_nr()
}
