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
    values: MaybeUninit<[T; N]>,
    len: usize,
}

impl<T, const N: usize> Few<T, N> {
    // Not a constant: the compiler would copy one, holes and all.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            values: MaybeUninit::uninit(),
            len: 0,
        }
    }

    /// Where number `index` is.
    fn place(&mut self, index: usize) -> Option<*mut T> {
        if index >= N {
            return None;
        }
        // SAFETY: within the array.
        Some(unsafe { self.values.as_mut_ptr().cast::<T>().add(index) })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len >= N
    }

    /// Gives it back if there is no room.
    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        let Some(place) = self.place(self.len) else {
            return Err(value);
        };
        // SAFETY: within the array, and what is there is not initialised.
        unsafe { place.write(value) };
        // INVARIANT: one more is initialised, and there was a place for it.
        self.len += 1;
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        while self.pop().is_some() {}
    }

    /// The last one.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let len = self.len.checked_sub(1)?;
        let place = self.place(len)?;
        // SAFETY: by the invariant, it is initialised.
        let value = unsafe { place.read() };
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
