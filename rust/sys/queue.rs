// SPDX-License-Identifier: GPL-2.0

//! The kick handler's workqueue.

use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    },
    workqueue::Queue,
};

use super::ffi;

/// The queue while the module is loaded, else 0.
static CURRENT: Atomic<usize> = Atomic::new(0);

/// The one workqueue of the module: unbound (many requests side by side), with a rescuer (it takes
/// part in writing memory out).
pub(crate) struct KickQueue(*mut bindings::workqueue_struct);

// SAFETY: workqueues may be used from anywhere.
unsafe impl Send for KickQueue {}
// SAFETY: as above.
unsafe impl Sync for KickQueue {}

impl KickQueue {
    /// Makes the queue that [`kick_queue`] gives out.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: a name that lives on.
        let wq = unsafe { ffi::kaio_workqueue_alloc(c"kaio".as_char_ptr()) };
        if wq.is_null() {
            return Err(ENOMEM);
        }
        CURRENT.store(wq as usize, Release);
        Ok(Self(wq))
    }
}

impl Drop for KickQueue {
    fn drop(&mut self) {
        // SAFETY: the module goes: no file of ours is open, so no request is left that could be
        // queued. A completion in interrupt that let the last file go may still be on its way out
        // of our text: the grace periods wait for it, and for RCU callbacks.
        unsafe {
            bindings::destroy_workqueue(self.0);
            bindings::synchronize_rcu();
            bindings::rcu_barrier();
        }
    }
}

/// Where kicks go.
pub(crate) fn kick_queue() -> &'static Queue {
    // SAFETY: whoever asks holds a request, hence a file of ours, hence the module, whose
    // `KickQueue` outlives all of them.
    unsafe { Queue::from_raw(CURRENT.load(Acquire) as *const _) }
}
