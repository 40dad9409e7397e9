// SPDX-License-Identifier: GPL-2.0

//! A few values in place: on the stack of a call that must be cheap. Making one clears no memory.

use core::{
    mem::MaybeUninit,
    slice, //
};

/// Up to `N` values.
///
/// # Invariants
///
/// The first `len` are initialised; `len <= N`.
pub(crate) struct Few<T, const N: usize> {
    values: [MaybeUninit<T>; N],
    len: usize,
}

impl<T, const N: usize> Few<T, N> {
    pub(crate) const fn new() -> Self {
        Self {
            values: [const { MaybeUninit::uninit() }; N],
            len: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives it back if there is no room.
    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        match self.values.get_mut(self.len) {
            Some(place) => {
                place.write(value);
                // INVARIANT: one more is initialised, and there was a place for it.
                self.len += 1;
                Ok(())
            }
            None => Err(value),
        }
    }

    pub(crate) fn clear(&mut self) {
        while self.pop().is_some() {}
    }

    /// The last one.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let len = self.len.checked_sub(1)?;
        let place = self.values.get(len)?;
        // SAFETY: by the invariant, it is initialised.
        let value = unsafe { place.assume_init_read() };
        // INVARIANT: it is not looked at any more.
        self.len = len;
        Some(value)
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: by the invariant, so many are initialised.
        unsafe { slice::from_raw_parts(self.values.as_ptr().cast(), self.len) }
    }
}

impl<T, const N: usize> Drop for Few<T, N> {
    fn drop(&mut self) {
        self.clear();
    }
}
