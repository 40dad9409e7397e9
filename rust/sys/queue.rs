// SPDX-License-Identifier: GPL-2.0

//! The workqueues that run requests outside the submit call.
//!
//! Two of them, so that requests that wait for a disk do not stall those that were kicked.

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

/// A workqueue while the module is loaded, else 0.
static KICK: Atomic<usize> = Atomic::new(0);
static WORK: Atomic<usize> = Atomic::new(0);

/// An own workqueue: unbound (many requests side by side). Not for memory reclaim, which does not
/// depend on it and whose queues may not wait for others; not frozen, as a run that waits for a
/// user would keep the machine from suspending.
struct Owned(*mut bindings::workqueue_struct);

impl Owned {
    fn new(name: &CStr, max_active: i32, published: &Atomic<usize>) -> Result<Self> {
        // SAFETY: `name` is copied.
        let wq = unsafe { ffi::kaio_workqueue_alloc(name.as_char_ptr(), max_active) };
        if wq.is_null() {
            return Err(ENOMEM);
        }
        published.store(wq as usize, Release);
        Ok(Self(wq))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: the module goes: no file of ours is open, so no request is left that could be
        // queued; what still runs is waited for.
        unsafe { bindings::destroy_workqueue(self.0) };
    }
}

/// The workqueues of the module.
pub(crate) struct Queues {
    _kick: Owned,
    _work: Owned,
    _grace: Grace,
}

// SAFETY: workqueues may be used and destroyed from anywhere.
unsafe impl Send for Queues {}
// SAFETY: as above.
unsafe impl Sync for Queues {}

/// Dropped last.
struct Grace;

impl Drop for Grace {
    fn drop(&mut self) {
        // A completion that let the last file go may still be on its way out of our text.
        // SAFETY: process context, no locks.
        unsafe { ffi::kaio_grace() };
    }
}

impl Queues {
    /// Makes the queues that [`kick`] and [`work`] give out.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            _kick: Owned::new(c"kaio-kick", 0, &KICK)?,
            _work: Owned::new(
                c"kaio-work",
                ffi::kaio_const_KAIO_WQ_MAX_ACTIVE as i32,
                &WORK,
            )?,
            _grace: Grace,
        })
    }
}

fn published(queue: &Atomic<usize>) -> &'static Queue {
    // SAFETY: whoever asks holds a request, hence a file of ours, hence the module, whose `Queues`
    // outlive all of them.
    unsafe { Queue::from_raw(queue.load(Acquire) as *const _) }
}

/// For runs that do not wait: what was parked and is ready.
pub(crate) fn kick() -> &'static Queue {
    published(&KICK)
}

/// For runs that may wait, in bounded time.
pub(crate) fn work() -> &'static Queue {
    published(&WORK)
}
