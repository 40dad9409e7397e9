// SPDX-License-Identifier: GPL-2.0

//! How many requests all contexts together may hold: `aio_nr` and `aio_max_nr` of fs/aio.c, as the
//! module parameter `max_nr`.

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
    sys::module, //
};

static NR: Atomic<u64> = Atomic::new(0);

/// A part of the limit. Dropping it gives it back.
pub(crate) struct Charge(u32);

fn change(step: impl Fn(u64) -> Option<u64>) -> Option<()> {
    let mut old = NR.load(Relaxed);
    loop {
        match NR.cmpxchg(old, step(old)?, Full) {
            Ok(_) => return Some(()),
            Err(found) => old = found,
        }
    }
}

impl Charge {
    /// `EAGAIN` if there is no room.
    pub(crate) fn new(nr: u32) -> Result<Self> {
        change(|now| limits::charge(now, nr, max())).ok_or(EAGAIN)?;
        Ok(Self(nr))
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let _ = change(|now| Some(limits::uncharge(now, self.0)));
    }
}

/// What is charged now.
pub(crate) fn nr() -> u64 {
    NR.load(Relaxed)
}

/// The limit.
pub(crate) fn max() -> u64 {
    module::param_max_nr()
}
