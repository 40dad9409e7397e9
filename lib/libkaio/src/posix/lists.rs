// SPDX-License-Identifier: LGPL-2.1-or-later

//! The requests of one `lio_listio()`, as far as they belong together.

use core::ptr::NonNull;
use core::sync::atomic::{fence, AtomicBool, AtomicUsize, Ordering};
use std::alloc::{alloc, dealloc, Layout};

use kaio_sys::{Errno, Result};

use super::notify::Notice;

struct Shared {
    references: AtomicUsize,
    /// Requests that are not complete, and one more while the call is adding to them.
    left: AtomicUsize,
    failed: AtomicBool,
    /// What LIO_NOWAIT's `sig` asks for.
    notice: Notice,
}

/// Who waits for a list, and how much of it is left. Shared, as by `Arc`; but that there is no memory
/// for it is an error, and not the end of the program.
pub(super) struct Group(NonNull<Shared>);

// SAFETY: what is shared is atomic, or does not change.
unsafe impl Send for Group {}

impl Group {
    /// # Errors
    ///
    /// `EAGAIN`: there is no memory.
    pub(super) fn new(notice: Notice) -> Result<Self> {
        let shared = Shared {
            references: AtomicUsize::new(1),
            left: AtomicUsize::new(1),
            failed: AtomicBool::new(false),
            notice,
        };
        // SAFETY: it has a size.
        let at = unsafe { alloc(Layout::new::<Shared>()) }.cast::<Shared>();
        let at = NonNull::new(at).ok_or(Errno::new(libc::EAGAIN))?;
        // SAFETY: new, and of this layout.
        unsafe { at.write(shared) };
        Ok(Self(at))
    }

    fn shared(&self) -> &Shared {
        // SAFETY: it lives as long as there are references.
        unsafe { self.0.as_ref() }
    }

    /// One more request.
    pub(super) fn add(&self) {
        self.shared().left.fetch_add(1, Ordering::Relaxed);
    }

    /// One of them is complete, or the call has added all. Returns what the program is to be told:
    /// of the last one.
    pub(super) fn end(&self, failed: bool) -> Notice {
        if failed {
            self.shared().failed.store(true, Ordering::Relaxed);
        }
        // Release: whoever sees that nothing is left sees `failed`.
        match self.shared().left.fetch_sub(1, Ordering::AcqRel) {
            1 => self.shared().notice,
            _ => Notice::None,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.shared().left.load(Ordering::Acquire) == 0
    }

    /// Whether any request has failed so far.
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
        // What others did with it comes before.
        fence(Ordering::Acquire);
        // SAFETY: this was the last reference; `new` allocated it. It has nothing to drop.
        unsafe { dealloc(self.0.as_ptr().cast(), Layout::new::<Shared>()) };
    }
}
