// SPDX-License-Identifier: GPL-2.0

//! A word of the kernel's atomic operations, for the state machines of `pure`.

use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Full,
    Relaxed, //
};

use crate::pure::state::Word;

/// An atomic word, for a state or a count.
pub(crate) struct AtomicWord(Atomic<u32>);

impl AtomicWord {
    /// Makes a word that is 0.
    pub(crate) const fn new() -> Self {
        Self::of(0)
    }

    /// Makes a word of that value.
    pub(crate) const fn of(value: u32) -> Self {
        Self(Atomic::new(value))
    }
}

impl Word for AtomicWord {
    fn load(&self) -> u32 {
        self.0.load(Acquire)
    }

    fn swap_if(&self, old: u32, new: u32) -> Result<(), u32> {
        // A compare-and-exchange that fails orders nothing. The caller may act on the value that
        // was found, so that is loaded with acquire semantics.
        self.0
            .cmpxchg(old, new, Full)
            .map_or_else(|_| Err(self.load()), |_| Ok(()))
    }

    fn set(&self, value: u32) {
        self.0.store(value, Relaxed);
    }
}
