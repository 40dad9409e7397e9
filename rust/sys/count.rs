// SPDX-License-Identifier: GPL-2.0

//! A number that many threads change, and that orders no other memory access.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// Counts something. All operations are relaxed.
pub(crate) struct Count(Atomic<u32>);

impl Count {
    /// Makes a count of 0.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    #[inline]
    pub(crate) fn increment(&self) {
        self.0.add(1u32, Relaxed);
    }

    #[inline]
    pub(crate) fn decrement(&self) {
        self.0.fetch_sub(1u32, Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }
}
