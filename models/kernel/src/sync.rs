// SPDX-License-Identifier: GPL-2.0

//! Atomics and references.

pub mod atomic;

use std::marker::PhantomData;

/// The count of references is not under test, so this is std's.
pub use std::sync::Arc;

/// A borrowed [`Arc`].
pub struct ArcBorrow<'a, T>(*const T, PhantomData<&'a T>);

impl<T> ArcBorrow<'_, T> {
    /// Borrows the `Arc` of a pointer.
    ///
    /// # Safety
    ///
    /// The caller ensures that `ptr` is that of an [`Arc`], which exists as long as the value.
    pub unsafe fn from_raw(ptr: *const T) -> Self {
        Self(ptr, PhantomData)
    }
}

impl<T> From<ArcBorrow<'_, T>> for Arc<T> {
    fn from(borrow: ArcBorrow<'_, T>) -> Self {
        // SAFETY: the caller of `from_raw` ensures that the pointer is that of an `Arc` that exists.
        // This counts the reference that `Arc::from_raw` takes.
        unsafe {
            Arc::increment_strong_count(borrow.0);
            Arc::from_raw(borrow.0)
        }
    }
}
