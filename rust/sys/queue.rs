// SPDX-License-Identifier: GPL-2.0

//! Workqueues: they run requests outside the submit call.

use kernel::{
    bindings,
    prelude::*,
    workqueue::Queue, //
};

use super::ffi;

/// An own workqueue: unbound (many requests side by side). Not for memory reclaim, which does not
/// depend on it and whose queues may not wait for others; not frozen, as a run that waits for a
/// user would keep the machine from suspending.
///
/// Not to be dropped by its own workers.
pub(crate) struct Owned(*mut bindings::workqueue_struct);

// SAFETY: workqueues may be used and destroyed from anywhere.
unsafe impl Send for Owned {}
// SAFETY: as above.
unsafe impl Sync for Owned {}

impl Owned {
    /// `max_active` works run side by side (0: the kernel's default). `number` is part of the name.
    pub(crate) fn new(name: &'static CStr, number: u32, max_active: i32) -> Result<Self> {
        // SAFETY: `name` is copied.
        let wq = unsafe { ffi::kaio_workqueue_alloc(name.as_char_ptr(), number, max_active) };
        if wq.is_null() {
            return Err(ENOMEM);
        }
        Ok(Self(wq))
    }

    /// To enqueue to.
    pub(crate) fn queue(&self) -> &Queue {
        // SAFETY: the workqueue lives as long as `self`.
        unsafe { Queue::from_raw(self.0) }
    }

    /// Waits until all that is queued now has run.
    pub(crate) fn flush(&self) {
        // SAFETY: the workqueue lives as long as `self`.
        unsafe { bindings::__flush_workqueue(self.0) };
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: nobody can enqueue any more; what still runs is waited for.
        unsafe { bindings::destroy_workqueue(self.0) };
    }
}

/// Dropping it waits until nobody is in the module's text any more, who was to leave it: a
/// completion that let the last file go may still be on its way out. The last thing that the
/// module drops.
pub(crate) struct Grace;

impl Drop for Grace {
    fn drop(&mut self) {
        // SAFETY: process context, no locks.
        unsafe { ffi::kaio_grace() };
    }
}
