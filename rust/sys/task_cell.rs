// SPDX-License-Identifier: GPL-2.0

//! What a task has to itself while it is in a call: what is called from there, however deep, finds it
//! again. Interrupts and other tasks do not.

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

/// # Invariants
///
/// `owner` is 0, or the task that is in [`TaskCell::enter`]. Only that task touches `value`, in no
/// interrupt; and `inner` only who has set `in_use`.
pub(crate) struct TaskCell<T> {
    owner: Atomic<usize>,
    value: UnsafeCell<Value<T>>,
}

struct Value<T> {
    in_use: bool,
    inner: T,
}

// SAFETY: `value` goes from task to task, and is used by one at a time.
unsafe impl<T: Send> Sync for TaskCell<T> {}

/// The current task; 0 in an interrupt.
fn current() -> usize {
    // SAFETY: reads the current task.
    unsafe { ffi::kaio_current_if_task() }
}

impl<T> TaskCell<T> {
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

    /// Runs `f` with the current task in the cell, or gives it back: somebody is there.
    pub(crate) fn enter<R, F: FnOnce(&Entered<'_, T>) -> R>(&self, f: F) -> Result<R, F> {
        let task = current();
        if task == 0 || self.owner.cmpxchg(0, task, Acquire).is_err() {
            return Err(f);
        }
        let result = f(&Entered {
            cell: self,
            _not_send: NotThreadSafe,
        });
        self.owner.store(0, Release);
        Ok(result)
    }

    /// Runs `f` with what is in the cell to which `find` leads, if the current task has entered it: or
    /// gives `with` back. `f` may drop `with` even if that keeps the cell: who entered it has it too.
    #[inline]
    pub(crate) fn reach<A, R>(
        with: A,
        find: impl FnOnce(&A) -> &Self,
        f: impl FnOnce(&mut T, A) -> R,
    ) -> Result<R, A> {
        let cell: *const Self = find(&with);
        // SAFETY: `with` is still there.
        let owner = unsafe { &(*cell).owner }.load(Relaxed);
        if owner == 0 || owner != current() {
            return Err(with);
        }
        // SAFETY: by the invariant this task is in `enter`, further up this very stack, which borrows the
        // cell until we are back there.
        unsafe { (*cell).take_up(with, f) }
    }

    /// `Err`: it is in use, by who called us.
    ///
    /// # Safety
    ///
    /// The current task is the owner, and this is no interrupt.
    #[inline]
    unsafe fn take_up<A, R>(&self, with: A, f: impl FnOnce(&mut T, A) -> R) -> Result<R, A> {
        let value = self.value.get();
        // SAFETY: by the invariant, nobody else looks at it, and `inner` is nobody's as long as `in_use`
        // was not set.
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

/// That the current task is in the cell.
pub(crate) struct Entered<'a, T> {
    cell: &'a TaskCell<T>,
    _not_send: NotThreadSafe,
}

impl<T> Entered<'_, T> {
    pub(crate) fn is_of(&self, cell: &TaskCell<T>) -> bool {
        core::ptr::eq(self.cell, cell)
    }

    /// Runs `f` with what is in the cell; gives `with` back if it is in use, by who called us.
    #[inline]
    pub(crate) fn with<A, R>(&self, with: A, f: impl FnOnce(&mut T, A) -> R) -> Result<R, A> {
        // SAFETY: this is neither `Send` nor `Sync`, so the task is the one that entered, and this is no
        // interrupt.
        unsafe { self.cell.take_up(with, f) }
    }
}
