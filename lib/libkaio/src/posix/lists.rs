// SPDX-License-Identifier: LGPL-2.1-or-later

//! The requests of one `lio_listio()`, as far as they belong together.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::notify::Notice;

/// Who waits for a list, and how much of it is left.
pub(super) struct Group {
    /// Requests that are not complete, and one more while the call is adding to them.
    left: AtomicUsize,
    failed: AtomicBool,
    /// What LIO_NOWAIT's `sig` asks for.
    notice: Notice,
}

impl Group {
    pub(super) fn new(notice: Notice) -> Self {
        Self {
            left: AtomicUsize::new(1),
            failed: AtomicBool::new(false),
            notice,
        }
    }

    /// One more request.
    pub(super) fn add(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// One of them is complete, or the call has added all. Returns what the program is to be told:
    /// of the last one.
    pub(super) fn end(&self, failed: bool) -> Notice {
        if failed {
            self.failed.store(true, Ordering::Relaxed);
        }
        // Release: whoever sees that nothing is left sees `failed`.
        match self.left.fetch_sub(1, Ordering::AcqRel) {
            1 => self.notice,
            _ => Notice::None,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0
    }

    /// Whether any request has failed so far.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}
