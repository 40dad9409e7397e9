// SPDX-License-Identifier: GPL-2.0

//! Slots in the completion ring.
//!
//! The counterpart of `reqs_available` of `struct kioctx` of fs/aio.c. Invariants: a slot is
//! reserved before a request starts, and filled when the request ends, so a completion always finds
//! room.

use kernel::prelude::*;

use super::{
    kiocb::Shared,
    kioctx::Kioctx, //
};
use crate::sys::{
    lease::{
        Lease,
        LeaseBatch, //
    },
    uapi::IoEvent, //
};

/// A slot that is reserved in the ring of a context, and a lease that keeps the context. Its drop
/// gives the slot back, unless [`Slot::post`] has filled it or [`Slot::disarm`] has left that to
/// the submit call. So a request has room for its event as long as it lives, and posts once.
pub(crate) struct Slot {
    ctx: Lease<Kioctx>,
    posted: bool,
}

/// The number of slots that are reserved at once. It is small, because a call that sleeps keeps its
/// slots from other calls.
const AT_ONCE: u32 = 32;

/// Slots that a submit call has reserved and not given to requests yet. The end of the call gives
/// them back.
pub(crate) struct Slots<'a> {
    ctx: &'a LeaseBatch<Kioctx>,
    left: u32,
}

/// A reserved slot for the request in hand.
pub(crate) struct ReservedSlot<'a, 'b>(&'a mut Slots<'b>);

impl<'b> Slots<'b> {
    pub(crate) fn new(ctx: &'b LeaseBatch<Kioctx>) -> Self {
        Self { ctx, left: 0 }
    }

    /// Reserves a slot for one request, of `want` that are still to come. `EAGAIN` if the context
    /// holds as many requests as it can; `EINVAL` if the context was killed meanwhile, as if it had
    /// never existed.
    #[inline]
    pub(crate) fn ring_slot(&mut self, want: u32) -> Result<ReservedSlot<'_, 'b>> {
        if self.ctx.is_dead() {
            return Err(EINVAL);
        }
        if self.left == 0 {
            self.left = self.ctx.ring().reserve(want.min(AT_ONCE));
        }
        match self.left {
            0 => Err(EAGAIN),
            _ => Ok(ReservedSlot(self)),
        }
    }
}

impl ReservedSlot<'_, '_> {
    /// Gives the slot to a request that lives until its event comes. Returns the slot and the
    /// shared part of the request; `want` requests are still to come.
    pub(crate) fn keep(self, want: u32) -> (Slot, Shared) {
        self.0.left -= 1;
        // Owner and cancellers drop their parts of a request at different times, so each part has a
        // lease.
        let want = want.saturating_mul(2);
        let ring_slot = Slot {
            ctx: self.0.ctx.take(want),
            posted: false,
        };
        let shared = Shared {
            ctx: self.0.ctx.take(want),
            provider: None,
        };
        (ring_slot, shared)
    }

    /// Gives the slot to a light request; `want` requests are still to come.
    #[inline]
    pub(crate) fn keep_light(self, want: u32) -> Slot {
        self.0.left -= 1;
        Slot {
            ctx: self.0.ctx.take(want),
            posted: false,
        }
    }

    /// Gives the slot to an event that the caller puts into the ring.
    pub(crate) fn disarm(self) {
        self.0.left -= 1;
    }
}

impl Drop for Slots<'_> {
    fn drop(&mut self) {
        if self.left > 0 {
            self.ctx.ring().unreserve(self.left);
        }
    }
}

impl Slot {
    pub(crate) fn ctx(&self) -> &Kioctx {
        &self.ctx
    }

    /// Returns another lease, which may outlast this slot.
    pub(crate) fn lease(&self) -> Lease<Kioctx> {
        self.ctx.clone()
    }

    /// Puts the event into the ring. Returns whether a task waits for it, as [`Ring::post`] does.
    /// Any context.
    ///
    /// [`Ring::post`]: super::ring::Ring::post
    #[must_use]
    pub(crate) fn post(&mut self, event: &IoEvent) -> bool {
        !core::mem::replace(&mut self.posted, true)
            && self.ctx.ring().post(core::slice::from_ref(event))
    }

    /// Leaves it to the caller to put the event into the ring.
    pub(crate) fn disarm(&mut self) {
        self.posted = true;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.posted {
            self.ctx.ring().unreserve(1);
        }
    }
}
