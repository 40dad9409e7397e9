// SPDX-License-Identifier: GPL-2.0

//! A spinlock that disables interrupts, for what a driver's completion touches (`ctx_lock` and
//! `completion_lock` of fs/aio.c).
//!
//! With `PREEMPT_RT` the lock does not disable interrupts, and may sleep. There a driver's
//! interrupt handler is a thread, which waits for the holder as any other thread does. The users
//! of the lock only rely on mutual exclusion.
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

/// A lock for any context in which a `spinlock_t` may be taken: with `PREEMPT_RT` not in a hard
/// interrupt that is not threaded, and in no kernel under a `raw_spinlock_t`.
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

// SAFETY: between the return of `lock`, or of a `try_lock` that returned flags, and `unlock`, no
// other thread holds the `spinlock_t`, as `spin_lock_irqsave()` and its kin see to. `relock` is the
// default, which calls `lock`.
unsafe impl Backend for IrqSave {
    type State = bindings::spinlock_t;
    type GuardState = usize;

    unsafe fn init(
        ptr: *mut Self::State,
        name: *const kernel::ffi::c_char,
        key: *mut bindings::lock_class_key,
    ) {
        // SAFETY: the contract of `Backend::init` says that `ptr` is valid for writes, and that
        // `name` and `key` are static.
        unsafe { bindings::__spin_lock_init(ptr, name, key) }
    }

    unsafe fn lock(ptr: *mut Self::State) -> usize {
        // SAFETY: the contract of `Backend::lock` says that `Backend::init` has initialised `ptr`.
        unsafe { ffi::kaio_spin_lock_irqsave(ptr) }
    }

    unsafe fn try_lock(ptr: *mut Self::State) -> Option<usize> {
        let mut flags = 0;
        // SAFETY: the contract of `Backend::try_lock` says that `Backend::init` has initialised
        // `ptr`. `flags` is a local variable.
        unsafe { ffi::kaio_spin_trylock_irqsave(ptr, &mut flags) }.then_some(flags)
    }

    unsafe fn unlock(ptr: *mut Self::State, flags: &usize) {
        // SAFETY: the contract of `Backend::unlock` says that the caller owns the lock, and `Lock`
        // passes the flags that taking the lock returned.
        unsafe { ffi::kaio_spin_unlock_irqrestore(ptr, *flags) }
    }

    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: the contract of `Backend::assert_is_held` says that `Backend::init` has
        // initialised `ptr`.
        unsafe { ffi::kaio_spin_assert_held(ptr) }
    }
}
