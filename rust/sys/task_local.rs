// SPDX-License-Identifier: GPL-2.0

//! A value that a task has to itself during a call.
//!
//! The functions that the call calls, however deep, find the value again; interrupts and other
//! tasks do not. A driver that completes a request within io_submit(2) so finds the state of the
//! submit call. fs/aio.c has no counterpart. The owner is one word, and there is no lock.

use core::cell::UnsafeCell;

use kernel::{
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
    types::NotThreadSafe,
};

use super::ffi;

/// A value for one task at a time.
///
/// # Invariants
///
/// `owner` is 0, or the address of the task that is in [`TaskLocal::enter`]. Only that task touches
/// `value`, and in no interrupt. Only the call of [`TaskLocal::take_up`] that has set `in_use`
/// touches `inner`, until it clears `in_use`.
pub(crate) struct TaskLocal<T> {
    owner: Atomic<usize>,
    value: UnsafeCell<Value<T>>,
}

struct Value<T> {
    in_use: bool,
    inner: T,
}

// SAFETY: by the type's invariant one task at a time touches `value`. The exchange of `owner`
// orders these tasks, and `T` may go from one to the next, as it is `Send`.
unsafe impl<T: Send> Sync for TaskLocal<T> {}

/// Returns the address of the current task, or 0 in an interrupt.
fn current() -> usize {
    // SAFETY: the function reads which task is current, and has no requirement.
    unsafe { ffi::kaio_current_if_task() }
}

impl<T> TaskLocal<T> {
    /// Makes a cell that no task has entered.
    #[inline]
    pub(crate) fn new(inner: T) -> Self {
        Self {
            owner: Atomic::new(0),
            value: UnsafeCell::new(Value {
                in_use: false,
                inner,
            }),
        }
    }

    /// Runs `f` while the current task is in the cell. Returns `f` as an error if a task is in the
    /// cell, or this is an interrupt.
    pub(crate) fn enter<R, F: FnOnce(&Entered<'_, T>) -> R>(&self, f: F) -> Result<R, F> {
        let task = current();
        if task == 0 || self.owner.cmpxchg(0, task, Acquire).is_err() {
            return Err(f);
        }
        // INVARIANT: the exchange made the current task the owner, until the store below.
        let result = f(&Entered {
            cell: self,
            _not_send: NotThreadSafe,
        });
        self.owner.store(0, Release);
        Ok(result)
    }

    /// Runs `f` with the value of the cell to which `find` leads, if the current task is in that
    /// cell and does not use the value. Otherwise returns `with` as an error.
    ///
    /// `f` may drop `with` even if `with` keeps the cell in memory, since the call of
    /// [`Self::enter`] keeps the cell, too.
    #[inline]
    pub(crate) fn reach<A, R>(
        with: A,
        find: impl FnOnce(&A) -> &Self,
        f: impl FnOnce(&mut T, A) -> R,
    ) -> Result<R, A> {
        let cell: *const Self = find(&with);
        // SAFETY: `find` returned a reference that `with`, which has not been moved, keeps valid.
        let owner = unsafe { &(*cell).owner }.load(Relaxed);
        if owner == 0 || owner != current() {
            return Err(with);
        }
        // SAFETY: `owner` is the current task, and this is no interrupt, as `current` then returns
        // 0. By the type's invariant this task is in `enter`, further up on this stack, and that
        // call borrows the cell until this one has returned.
        unsafe { (*cell).take_up(with, f) }
    }

    /// Runs `f` with the value. Returns `with` as an error if a caller of this function uses the
    /// value.
    ///
    /// # Safety
    ///
    /// The caller ensures that the current task is the owner, that this is no interrupt, and that
    /// the cell stays in memory until `f` has returned.
    #[inline]
    unsafe fn take_up<A, R>(&self, with: A, f: impl FnOnce(&mut T, A) -> R) -> Result<R, A> {
        let value = self.value.get();
        // SAFETY: the caller ensures that the current task is the owner, so by the type's invariant
        // no other task touches `value`, and no call on this stack has a reference to `inner` if
        // `in_use` is not set. The reference that `f` gets ends before `in_use` is cleared.
        unsafe {
            if (*value).in_use {
                return Err(with);
            }
            (*value).in_use = true;
            let result = f(&mut (*value).inner, with);
            (*value).in_use = false;
            Ok(result)
        }
    }
}

/// The proof that the current task is in the cell.
///
/// # Invariants
///
/// The value exists only in the task that is in [`TaskLocal::enter`] of `cell`, and in no
/// interrupt.
pub(crate) struct Entered<'a, T> {
    cell: &'a TaskLocal<T>,
    _not_send: NotThreadSafe,
}

impl<T> Entered<'_, T> {
    /// Returns whether the current task is in that `cell`.
    pub(crate) fn is_of(&self, cell: &TaskLocal<T>) -> bool {
        core::ptr::eq(self.cell, cell)
    }

    /// Runs `f` with the value of the cell. Returns `with` as an error if a caller of this function
    /// uses the value.
    #[inline]
    pub(crate) fn with<A, R>(&self, with: A, f: impl FnOnce(&mut T, A) -> R) -> Result<R, A> {
        // SAFETY: by the type's invariant the current task is the owner, since an `Entered` is
        // neither `Send` nor `Sync`, and no interrupt has a reference to one. `self.cell` is
        // borrowed.
        unsafe { self.cell.take_up(with, f) }
    }
}
