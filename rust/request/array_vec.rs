// SPDX-License-Identifier: GPL-2.0

//! An array that a few values are pushed to and popped from, without an allocation.
//!
//! It is for the stack of a submit call, which must be cheap: making an [`ArrayVec`] clears no
//! memory. There are no locks: an [`ArrayVec`] belongs to one task at a time.

use core::{
    mem::MaybeUninit,
    slice, //
};

/// Holds up to `N` values.
///
/// # Invariants
///
/// The first `len` values are initialised, and `len <= N`.
pub(crate) struct ArrayVec<T, const N: usize> {
    values: MaybeUninit<[T; N]>,
    len: usize,
}

impl<T, const N: usize> ArrayVec<T, N> {
    /// Makes an empty one.
    // This is no constant, as the compiler would copy all bytes of a constant, uninitialised ones
    // too.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            values: MaybeUninit::uninit(),
            len: 0,
        }
    }

    /// Returns the place of the value with that index, or `None` if the array has none.
    fn place(&mut self, index: usize) -> Option<*mut T> {
        if index >= N {
            return None;
        }
        // SAFETY: `index` is less than `N`, as was just tested, so the place is within the array.
        Some(unsafe { self.values.as_mut_ptr().cast::<T>().add(index) })
    }

    /// Returns whether there are no values.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns whether there is no room for another value.
    pub(crate) fn is_full(&self) -> bool {
        self.len >= N
    }

    /// Adds a value at the end. Returns the value as an error if there is no room.
    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        let Some(place) = self.place(self.len) else {
            return Err(value);
        };
        // SAFETY: `place` returns places within the array only, and by the type's invariant this
        // one is not initialised, so no value is lost.
        unsafe { place.write(value) };
        // INVARIANT: one more value is initialised, and `place` found room for it, so `len < N`
        // before.
        self.len += 1;
        Ok(())
    }

    /// Drops all values.
    pub(crate) fn clear(&mut self) {
        while self.pop().is_some() {}
    }

    /// Removes the last value and returns it.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let len = self.len.checked_sub(1)?;
        let place = self.place(len)?;
        // SAFETY: by the type's invariant the value before `self.len` is initialised. The new `len`
        // below excludes it, so no code reads or drops it twice.
        let value = unsafe { place.read() };
        // INVARIANT: the values before the last one are initialised.
        self.len = len;
        Some(value)
    }

    /// Returns the values.
    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: by the type's invariant the first `len` values are initialised and within the
        // array, and the borrow of `self` keeps them so.
        unsafe { slice::from_raw_parts(self.values.as_ptr().cast(), self.len) }
    }
}

impl<T, const N: usize> Drop for ArrayVec<T, N> {
    fn drop(&mut self) {
        self.clear();
    }
}
