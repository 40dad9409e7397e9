// SPDX-License-Identifier: GPL-2.0

//! A spinlock that disables interrupts, for what a driver's completion touches.
//!
//! Linux 7.2 has no such abstraction (7.3 has `SpinLockIrq`): this is a backend for
//! [`kernel::sync::lock::Lock`] with `spin_lock_irqsave()`.

use kernel::{
    bindings,
    sync::lock::{
        Backend,
        Lock, //
    }, //
};

use super::ffi;

/// A lock that may be taken in any context.
pub(crate) type IrqLock<T> = Lock<T, IrqSave>;

/// Makes an [`IrqLock`] with a lock class of its own.
macro_rules! new_irq_lock {
    ($inner:expr, $name:literal) => {
        $crate::sys::lock::IrqLock::new(
            $inner,
            ::kernel::c_str!($name),
            ::kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_irq_lock;

/// The backend: `spinlock_t` with the flags kept in the guard.
pub(crate) struct IrqSave;

// SAFETY: `spin_lock_irqsave()` and its unlock give mutual exclusion; `relock` is the default.
unsafe impl Backend for IrqSave {
    type State = bindings::spinlock_t;
    type GuardState = usize;

    unsafe fn init(
        ptr: *mut Self::State,
        name: *const kernel::ffi::c_char,
        key: *mut bindings::lock_class_key,
    ) {
        // SAFETY: the caller promises that `ptr` can be written and that the others live on.
        unsafe { bindings::__spin_lock_init(ptr, name, key) }
    }

    unsafe fn lock(ptr: *mut Self::State) -> usize {
        // SAFETY: the caller promises that `ptr` was initialised.
        unsafe { ffi::kaio_spin_lock_irqsave(ptr) }
    }

    unsafe fn try_lock(ptr: *mut Self::State) -> Option<usize> {
        let mut flags = 0;
        // SAFETY: the caller promises that `ptr` was initialised; `flags` is ours.
        unsafe { ffi::kaio_spin_trylock_irqsave(ptr, &mut flags) }.then_some(flags)
    }

    unsafe fn unlock(ptr: *mut Self::State, flags: &usize) {
        // SAFETY: the caller owns the lock, and `flags` are those of its `lock`.
        unsafe { ffi::kaio_spin_unlock_irqrestore(ptr, *flags) }
    }

    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: the caller promises that `ptr` was initialised.
        unsafe { ffi::kaio_spin_assert_held(ptr) }
    }
}
