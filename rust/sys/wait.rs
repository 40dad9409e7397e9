// SPDX-License-Identifier: GPL-2.0

//! A wait queue with a condition and a deadline of nanosecond resolution (`ctx->wait` of fs/aio.c).
//!
//! `kernel::sync::CondVar` counts in jiffies (4 ms) and is bound to a lock guard. The lock of the
//! wait queue is the kernel's. A condition is tested without that lock.

use kernel::{
    bindings,
    prelude::*,
    types::Opaque, //
};

use super::ffi;

/// The reason for which a wait ended.
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

// SAFETY: a wait queue belongs to no task.
unsafe impl Send for WaitQueue {}
// SAFETY: any number of tasks may use a wait queue at a time, as it has a lock of its own.
unsafe impl Sync for WaitQueue {}

/// Calls the closure `arg`.
///
/// # Safety
///
/// The caller ensures that `arg` is a closure of the type `F` that is borrowed during the call.
unsafe extern "C" fn condition<F: Fn() -> bool>(arg: *mut kernel::ffi::c_void) -> bool {
    // SAFETY: the caller ensures that `arg` is an `F` that is borrowed.
    unsafe { (*arg.cast::<F>())() }
}

impl WaitQueue {
    /// Makes a wait queue.
    pub(crate) fn new() -> impl PinInit<Self> {
        Self::init(false)
    }

    /// Makes the wait queue of the tasks that poll a device, which has a lock class of its own.
    pub(crate) fn of_device() -> impl PinInit<Self> {
        Self::init(true)
    }

    fn init(of_device: bool) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is memory for a wait queue, which is pinned and not used by any other
            // code yet.
            head <- Opaque::ffi_init(move |slot| unsafe {
                ffi::kaio_waitqueue_init(slot, of_device)
            }),
        })
    }

    /// Wakes all waiting tasks. The caller has written before what made their condition true. Any
    /// context.
    pub(crate) fn wake(&self) {
        // SAFETY: `init` has initialised the wait queue, which is pinned, and `self` is borrowed.
        unsafe { ffi::kaio_wake(self.head.get()) };
    }

    /// Returns whether a task waits. The caller has written before what made the task's condition
    /// true, so a task that this does not see yet finds its condition true. Any context.
    pub(crate) fn has_sleeper(&self) -> bool {
        // SAFETY: `init` has initialised the wait queue, which is pinned, and `self` is borrowed.
        unsafe { ffi::kaio_has_sleeper(self.head.get()) }
    }

    /// Sleeps until `ready()` returns true or [`Self::wake`] is called, or for `timeout_ns`
    /// (`i64::MAX`: without a limit), or until a signal or work for the task is pending. After
    /// [`Woken::Ready`] the caller looks itself whether what it waits for is there.
    ///
    /// `ready` is called in this task and must not sleep.
    pub(crate) fn wait<F: Fn() -> bool>(&self, timeout_ns: i64, ready: F) -> Woken {
        let arg = (&raw const ready).cast_mut().cast();
        // SAFETY: `init` has initialised the wait queue, and `self` is borrowed. `arg` is `ready`,
        // of the type `F`, which is borrowed until the call returns, as `condition` asks for.
        let ret =
            unsafe { ffi::kaio_wait_event(self.head.get(), Some(condition::<F>), arg, timeout_ns) };
        match ret {
            0 => Woken::Ready,
            ret if ret == -(bindings::ETIME as isize) => Woken::Timeout,
            _ => Woken::Signal,
        }
    }

    /// Sleeps until `ready()` returns true. Returns false if the task was killed before that.
    pub(crate) fn wait_killable<F: Fn() -> bool>(&self, ready: F) -> bool {
        let arg = (&raw const ready).cast_mut().cast();
        // SAFETY: `init` has initialised the wait queue, and `self` is borrowed. `arg` is `ready`,
        // of the type `F`, which is borrowed until the call returns, as `condition` asks for.
        unsafe { ffi::kaio_wait_event_killable(self.head.get(), Some(condition::<F>), arg) == 0 }
    }

    /// Sleeps until `ready()` returns true, but for at most `ms` milliseconds. Signals do not end
    /// the sleep.
    pub(crate) fn wait_patiently<F: Fn() -> bool>(&self, ms: u32, ready: F) {
        let arg = (&raw const ready).cast_mut().cast();
        // SAFETY: `init` has initialised the wait queue, and `self` is borrowed. `arg` is `ready`,
        // of the type `F`, which is borrowed until the call returns, as `condition` asks for.
        unsafe { ffi::kaio_wait_event_timeout(self.head.get(), Some(condition::<F>), arg, ms) };
    }

    /// Returns the wait queue, which is valid as long as `self` is borrowed.
    pub(crate) fn as_raw(&self) -> *mut bindings::wait_queue_head {
        self.head.get()
    }
}
