// SPDX-License-Identifier: GPL-2.0

//! What a submit call has at hand: memory for requests, and events to be put into the ring together.

use crate::{
    obj::kiocb::Kiocb,
    sys::{
        few::Few,
        request::Shelf,
        uapi::IoEvent, //
    },
};

/// Events that are put into the ring together.
const TOGETHER: usize = 8;

#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Requests that were over before there was one, and so are not counted yet.
    pub(crate) over: u32,
    /// Requests that a driver completed.
    pub(crate) landed: u32,
}

/// The number of a call whose requests are never taken for another's.
pub(crate) const NO_CALL: u32 = 0;

/// Large, and so not moved: a context has one for the first who submits, others have it on their stack.
pub(crate) struct Tray {
    /// Which call has it: requests of others in the context may end while it does.
    call: u32,
    pub(crate) memory: Shelf<Kiocb>,
    /// Of requests that have ended.
    pub(crate) events: Few<IoEvent, TOGETHER>,
    /// What of those is to be counted how.
    pub(crate) counts: Counts,
}

impl Tray {
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            call: NO_CALL,
            memory: Few::new(),
            events: Few::new(),
            counts: Counts::default(),
        }
    }

    /// Another call has it; returns its number.
    pub(crate) fn begin(&mut self) -> u32 {
        self.call = self.call.wrapping_add(1).max(NO_CALL + 1);
        self.call
    }

    /// Whether a request that was made by that call is of the one that has it now.
    pub(crate) fn is_of(&self, call: u32) -> bool {
        self.call == call
    }
}
