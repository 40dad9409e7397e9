// SPDX-License-Identifier: GPL-2.0

//! How a context ends: once, in [`Kioctx::kill`], and what goes when its last request has ended.

use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Full,
        Relaxed,
        Release, //
    },
};

use super::Kioctx;
use crate::sys::{
    lease::{
        Leased,
        Leases, //
    },
    mm::{
        self,
        Mm, //
    },
    pages::SharedPages,
    ring_file::{
        self,
        Mapped, //
    },
};

impl Kioctx {
    /// Ends the context: no call finds it any more, sleeping tasks wake, parked requests are
    /// cancelled, and requests in flight go on. Returns `false` if the context had ended. Does not
    /// wait; may be called under the mmap lock.
    pub(crate) fn kill(&self) -> bool {
        if self.dead.xchg(true, Full) {
            return false;
        }
        self.table.remove(self);
        self.wait.wake();
        self.cancel_table.close();
        let until_killed = core::mem::take(&mut *self.until_killed.lock());
        // Drop these outside the lock.
        drop(until_killed);
        true
    }

    /// Unmaps the ring of a killed context, if the current task can.
    pub(crate) fn unmap(&self) {
        let id = self.ring_address();
        if id != 0 && self.mm.is_current() {
            mm::unmap(id, self.ring.pages().len());
        }
    }

    /// Replaces the ring of a killed context with memory of zeroes, if the current task can. A
    /// program that does not know that the context has ended may still look at the ring; there it
    /// finds that the magic number is gone.
    pub(crate) fn wipe(&self) {
        let id = self.ring_address();
        if id == 0 || !self.mm.is_current() {
            return;
        }
        match ring_file::replace(self, id) {
            // The ring was replaced, or another thread of the program has just moved or unmapped
            // it.
            Ok(()) | Err(ENXIO) => {}
            // There is no memory for that, or a fatal signal came. A ring that stays would keep the
            // module.
            Err(_) => self.unmap(),
        }
    }

    /// Returns whether no request of a killed context is left, and what the context was charged for
    /// was given back. The number of leases does not tell the latter: it is 0 before the thread that
    /// dropped the last lease gives the charge back.
    pub(crate) fn is_drained(&self) -> bool {
        self.drained.load(Acquire)
    }

    /// Waits until no request of a killed context is left. `EINTR` if a fatal signal came.
    pub(crate) fn drain(&self) -> Result {
        if !self.wait.wait_killable(|| self.is_drained()) {
            return Err(EINTR);
        }
        Ok(())
    }

    /// Waits until no request of a killed context is left, but for at most `ms` milliseconds.
    /// Signals do not end the wait.
    pub(crate) fn drain_for(&self, ms: u32) {
        self.wait.wait_patiently(ms, || self.is_drained());
    }
}

// SAFETY: `leases` returns a field of the context, so it is the same in each call and belongs to no
// other context.
unsafe impl Leased for Kioctx {
    fn leases(&self) -> &Leases {
        &self.leases
    }

    fn drained(&self) {
        let charge = self.charge.lock().take();
        // The table keeps the user, so this is not the last reference to the user.
        drop(charge);
        // A task that sees the flag also sees that the charge was given back.
        self.drained.store(true, Release);
        self.wait.wake();
    }
}

impl Mapped for Kioctx {
    fn pages(&self) -> &SharedPages {
        self.ring.pages()
    }

    fn mm(&self) -> &Mm {
        &self.mm
    }

    fn take_mapping(&self) -> bool {
        !self.mapped.xchg(true, Full)
    }

    fn moved(&self, start: usize) -> Result {
        // The mmap lock serializes moves.
        self.ring_address.store(start, Release);
        Ok(())
    }

    fn unmapped(&self, start: usize) {
        if self.ring_address.load(Relaxed) == start {
            // Clear the address before the end: the task that ends the context may wait before it
            // unmaps the ring, and other memory may be at this address by then.
            self.ring_address.store(0, Release);
            self.kill();
        }
    }
}
