// SPDX-License-Identifier: GPL-2.0

//! How many requests all contexts together may hold: `aio_nr` and `aio_max_nr` of fs/aio.c. Here as
//! `fs.kaio-nr` and `fs.kaio-max-nr`, and the same for each user.

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

/// Of the whole system.
static SYSTEM: Counter = Counter::new();

/// What was charged.
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

    /// `EAGAIN` if that were more than `max`.
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

/// A part of the system's limit. Dropping it gives it back.
pub(crate) struct Charge(u32);

impl Charge {
    /// `EAGAIN` if there is no room.
    pub(crate) fn new(nr: u32) -> Result<Self> {
        SYSTEM.charge(nr, max())?;
        Ok(Self(nr))
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        SYSTEM.uncharge(self.0);
    }
}

/// What is charged now.
pub(crate) fn nr() -> u64 {
    SYSTEM.nr()
}

/// The same, for `fs.kaio-nr`.
pub(crate) fn nr_word() -> &'static Atomic<u64> {
    &SYSTEM.0
}

/// The limit.
pub(crate) fn max() -> u64 {
    sysctl::max_nr()
}
