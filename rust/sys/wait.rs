// SPDX-License-Identifier: GPL-2.0

//! A wait queue with a condition and a deadline of nanosecond resolution.
//!
//! `kernel::sync::CondVar` counts in jiffies (4 ms) and is bound to a lock guard.

use kernel::{
    bindings,
    prelude::*,
    types::Opaque, //
};

use super::ffi;

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The condition holds.
    Ready,
    /// The time is over.
    Timeout,
    /// A signal is pending, or work for the task (see `task::signal_pending`).
    Signal,
}

/// `wait_queue_head_t`.
#[pin_data]
pub(crate) struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
}

// SAFETY: made for use from anywhere.
unsafe impl Send for WaitQueue {}
// SAFETY: as above.
unsafe impl Sync for WaitQueue {}

/// # Safety
///
/// For [`WaitQueue::wait`]: `arg` is the closure, of type `F`.
unsafe extern "C" fn condition<F: Fn() -> bool>(arg: *mut kernel::ffi::c_void) -> bool {
    // SAFETY: `arg` is the closure that the waiter borrows during the wait.
    unsafe { (*arg.cast::<F>())() }
}

impl WaitQueue {
    pub(crate) fn new() -> impl PinInit<Self> {
        Self::init(false)
    }

    /// For those who poll a device.
    pub(crate) fn of_device() -> impl PinInit<Self> {
        Self::init(true)
    }

    fn init(of_device: bool) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid for the call.
            head <- Opaque::ffi_init(move |slot| unsafe {
                ffi::kaio_waitqueue_init(slot, of_device)
            }),
        })
    }

    /// Wakes all waiters. What made the condition true must have been written before. Any context.
    pub(crate) fn wake(&self) {
        // SAFETY: initialised.
        unsafe { ffi::kaio_wake(self.head.get()) };
    }

    /// Sleeps until `ready()`, for at most `timeout_ns` (`i64::MAX`: for ever), or a signal
    /// or work for the task.
    ///
    /// `ready` runs in this task and must not sleep.
    pub(crate) fn wait<F: Fn() -> bool>(&self, timeout_ns: i64, ready: F) -> Woken {
        let arg = (&raw const ready).cast_mut().cast();
        // SAFETY: initialised; `ready` outlives the call, which is the only user of `arg`.
        let ret =
            unsafe { ffi::kaio_wait_event(self.head.get(), Some(condition::<F>), arg, timeout_ns) };
        match ret {
            0 => Woken::Ready,
            ret if ret == -(bindings::ETIME as isize) => Woken::Timeout,
            _ => Woken::Signal,
        }
    }

    /// Sleeps until `ready()`; `false`: until a fatal signal.
    pub(crate) fn wait_killable<F: Fn() -> bool>(&self, ready: F) -> bool {
        let arg = (&raw const ready).cast_mut().cast();
        // SAFETY: as above.
        unsafe { ffi::kaio_wait_event_killable(self.head.get(), Some(condition::<F>), arg) == 0 }
    }

    /// Sleeps until `ready()`, but not for longer than that, whatever comes.
    pub(crate) fn wait_patiently<F: Fn() -> bool>(&self, seconds: u32, ready: F) {
        let arg = (&raw const ready).cast_mut().cast();
        // SAFETY: as above.
        unsafe {
            ffi::kaio_wait_event_timeout(self.head.get(), Some(condition::<F>), arg, seconds)
        };
    }

    pub(super) fn as_raw(&self) -> *mut bindings::wait_queue_head {
        self.head.get()
    }
}
