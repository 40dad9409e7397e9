// SPDX-License-Identifier: LGPL-2.1-or-later

//! The state that the requests of one `lio_listio()` share.

use core::ptr::NonNull;
use core::sync::atomic::{fence, AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::alloc::{alloc, dealloc, Layout};

use kaio_sys::{Errno, Result};

use super::notification::Notification;

struct Shared {
    references: AtomicUsize,
    /// The number of requests that are not complete, plus one while the call adds requests.
    remaining: AtomicU32,
    /// Set if the caller waits for all requests of the list. It sleeps on `remaining`.
    caller_waits: bool,
    failed: AtomicBool,
    /// The notification that `sig` of LIO_NOWAIT asks for.
    notification: Notification,
}

/// A reference to the state of a list. It is counted as by `Arc`, but a lack of memory is an error
/// and does not end the program.
pub(super) struct Group(NonNull<Shared>);

// SAFETY: the shared fields are atomic or do not change.
unsafe impl Send for Group {}

impl Group {
    /// Makes the state of a list. When the caller has added all requests, it calls
    /// [`Group::request_ended`] once more.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: there is no memory.
    pub(super) fn new(notification: Notification, caller_waits: bool) -> Result<Self> {
        let shared = Shared {
            references: AtomicUsize::new(1),
            remaining: AtomicU32::new(1),
            caller_waits,
            failed: AtomicBool::new(false),
            notification,
        };
        // SAFETY: the size of the layout is not 0.
        let at = unsafe { alloc(Layout::new::<Shared>()) }.cast::<Shared>();
        let at = NonNull::new(at).ok_or(Errno::new(libc::EAGAIN))?;
        // SAFETY: alloc() has just returned this memory, which has the layout of `Shared`.
        unsafe { at.write(shared) };
        Ok(Self(at))
    }

    fn shared(&self) -> &Shared {
        // SAFETY: the state exists as long as there are references, and `self` is one.
        unsafe { self.0.as_ref() }
    }

    /// Counts one more request.
    pub(super) fn add_request(&self) {
        self.shared().remaining.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that a request is complete or that the call has added all requests. Returns the
    /// notification of the list if this was the last one.
    pub(super) fn request_ended(&self, failed: bool) -> Notification {
        if failed {
            self.shared().failed.store(true, Ordering::Relaxed);
        }
        // Release: a thread that sees that nothing remains also sees `failed`.
        match self.shared().remaining.fetch_sub(1, Ordering::AcqRel) {
            1 => self.shared().notification,
            _ => Notification::None,
        }
    }

    /// Returns the number of requests that are not complete, the word on which the caller sleeps.
    pub(super) fn remaining(&self) -> &AtomicU32 {
        &self.shared().remaining
    }

    /// Returns the address of the word on which the caller sleeps, if the last request has ended.
    pub(super) fn word_to_wake(&self) -> Option<usize> {
        let is_complete = self.remaining().load(Ordering::Relaxed) == 0;
        (is_complete && self.shared().caller_waits).then(|| self.remaining().as_ptr() as usize)
    }

    /// Returns whether any request has failed so far.
    pub(super) fn has_failed(&self) -> bool {
        self.shared().failed.load(Ordering::Relaxed)
    }
}

impl Clone for Group {
    fn clone(&self) -> Self {
        self.shared().references.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.shared().references.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // The other threads' uses of the state come before its end.
        fence(Ordering::Acquire);
        // SAFETY: this was the last reference; `new` has allocated the state, which has nothing to
        // drop.
        unsafe { dealloc(self.0.as_ptr().cast(), Layout::new::<Shared>()) };
    }
}
