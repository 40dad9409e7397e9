// SPDX-License-Identifier: LGPL-2.1-or-later

//! The part of a request that a thread uses to submit it to the kernel. The thread does so without
//! the lock, since the call may wait for pages of the buffer and for the cache of the file.
//!
//! A submission is in progress from [`Submission::begin`], which is called with the lock, until the
//! thread has submitted the request. During that time the engine gives the slot of the request to
//! no other one, even if the request has ended. A holder of the lock can request attention: then
//! the submitting thread takes the lock after the submission and does what the holder wants.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

use kaio_sys::uapi::iocb;

const IN_PROGRESS: u32 = 1;
const ATTENTION: u32 = 2;

pub(super) struct Submission {
    state: AtomicU32,
    iocb: UnsafeCell<iocb>,
}

// SAFETY: `write` changes the iocb only with the lock and while no submission is in progress (its
// caller promises that); at all other times threads and the kernel only read it. The state is
// atomic.
unsafe impl Sync for Submission {}
// SAFETY: the iocb contains pointers of the program, which any thread may pass to the kernel.
unsafe impl Send for Submission {}

impl Submission {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU32::new(0),
            iocb: UnsafeCell::new(iocb::default()),
        }
    }

    /// Returns the address by which the kernel knows the request.
    pub(super) fn iocb(&self) -> *mut iocb {
        self.iocb.get()
    }

    /// Writes the iocb. The caller has the lock, and no submission is in progress.
    pub(super) fn write(&self, iocb: iocb) {
        // SAFETY: no other thread reads the iocb, since the caller has the lock and no submission
        // is in progress. The kernel has copied an earlier iocb before the end of that submission.
        unsafe { *self.iocb.get() = iocb };
    }

    /// Begins the submission: a thread is about to submit the request. The caller has the lock.
    pub(super) fn begin(&self) {
        self.state.store(IN_PROGRESS, Ordering::Relaxed);
    }

    /// Ends the submission without the lock, after the call to the kernel. Returns `false` if
    /// attention was requested: then the caller must take the lock and call
    /// [`super::engine::Engine::submission_ended`]. After `true` the request may be gone.
    pub(super) fn try_end(&self) -> bool {
        // Release: this thread's use of the slot comes before the next use of the slot.
        self.state
            .compare_exchange(IN_PROGRESS, 0, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    /// Ends the submission. The caller has the lock.
    pub(super) fn end(&self) {
        self.state.store(0, Ordering::Relaxed);
    }

    /// Returns whether a thread is about to submit the request or is submitting it. The caller has
    /// the lock.
    pub(super) fn in_progress(&self) -> bool {
        // Acquire: see `try_end`.
        self.state.load(Ordering::Acquire) & IN_PROGRESS != 0
    }

    /// Requests attention if a submission is in progress, and returns whether one is. The
    /// submitting thread then takes the lock afterwards. The caller has the lock.
    pub(super) fn request_attention(&self) -> bool {
        // Acquire: see `try_end`.
        self.state
            .compare_exchange(
                IN_PROGRESS,
                IN_PROGRESS | ATTENTION,
                Ordering::Acquire,
                Ordering::Acquire,
            )
            .map_or_else(|state| state & IN_PROGRESS != 0, |_| true)
    }
}
