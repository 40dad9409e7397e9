// SPDX-License-Identifier: GPL-2.0

//! What a submit call has at hand: memory for requests, and events that it puts into the ring
//! together.
//!
//! fs/aio.c has no counterpart. Invariant: events stay here at most until the submit call returns.

use super::kiocb::Kiocb;
use crate::{
    request::{
        array_vec::ArrayVec,
        pool::RequestCache, //
    },
    sys::uapi::IoEvent, //
};

/// The number of events that are put into the ring together.
const TOGETHER: usize = 8;

/// How the collected events are to be counted.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Requests that were done before memory for them was taken, and that are not counted as
    /// submitted yet.
    pub(crate) without_request: u32,
    /// Requests that a driver completed.
    pub(crate) by_drivers: u32,
}

/// The number of no call: requests with this number belong to no call that has a state.
pub(crate) const NO_CALL: u32 = 0;

/// Submission state. Too large to move: embedded in the context; concurrent submitters use their
/// stack.
pub(crate) struct SubmitState {
    /// The number of the call that uses the state. Requests of other calls in the same context may
    /// end meanwhile.
    call: u32,
    pub(crate) memory: RequestCache<Kiocb>,
    /// Events of requests that have ended.
    pub(crate) events: ArrayVec<IoEvent, TOGETHER>,
    /// How the requests of these events are to be counted.
    pub(crate) counts: Counts,
}

impl SubmitState {
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            call: NO_CALL,
            memory: ArrayVec::new(),
            events: ArrayVec::new(),
            counts: Counts::default(),
        }
    }

    /// Gives the state to another call, and returns the number of that call.
    pub(crate) fn begin(&mut self) -> u32 {
        self.call = self.call.wrapping_add(1).max(NO_CALL + 1);
        self.call
    }

    /// Returns whether the call with this number uses the state.
    pub(crate) fn is_of(&self, call: u32) -> bool {
        self.call == call
    }
}
