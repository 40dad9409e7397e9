// SPDX-License-Identifier: GPL-2.0

//! Parks a request: puts the request on wait queues, and leaves it to the next kick.
//!
//! The counterpart is `aio_poll()` of fs/aio.c, and for other requests `aio_kick_handler()` of the
//! retry-based AIO that preceded it. One compare-and-exchange of `pure::state` decides whether a
//! kick or a cancellation came first, so no lock is needed here.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    poll::Found,
    token::Active,
    Request,
    RequestInner, //
};
use crate::pure::state::CancelScope;

impl<R: Request> Active<R> {
    /// Puts the request on the wait queues of its file, so that a wake-up for `events` kicks the
    /// request from now on.
    pub(crate) fn arm(&mut self, events: u32) -> Armed<R> {
        let request = self.keep();
        let found = request.polls.arm(&request, self.data().file(), events);
        Armed {
            request,
            found,
            parked: false,
        }
    }

    /// Leaves the request to the next kick. Returns the token as an error if a kick or a
    /// cancellation has come during this run, or if the context of the request has ended.
    pub(crate) fn park(mut self) -> Result<(), Self> {
        if !self.list() && !self.0.state.must_run() {
            // The context has ended, so no canceller will find this request. Mark it, and
            // `State::park` refuses.
            self.0.cancel(CancelScope::User);
        }
        if self.0.state.park() {
            // The kick or the canceller that takes the request out of PARKED takes this reference.
            let _ = self.leave();
            return Ok(());
        }
        Err(self)
    }
}

/// A request that is on wait queues while its token holder looks whether the request must wait.
/// Dropping this takes the request off the queues.
pub(crate) struct Armed<R: Request> {
    request: Arc<RequestInner<R>>,
    found: Found,
    /// The request is parked or has another token holder, which takes the request off the queues.
    parked: bool,
}

impl<R: Request> Armed<R> {
    /// Returns the poll events that the file had, or an error of [`Found`] if the file has no wait
    /// queues that a request can wait on.
    pub(crate) fn mask(&self) -> Found {
        self.found
    }

    /// Leaves the request to the next kick, as [`Active::park`] does. The kick or the canceller
    /// that takes the request out of PARKED sees to it that the request is taken off the queues.
    pub(crate) fn park(mut self, active: Active<R>) -> Result<(), Active<R>> {
        // Only the request that is on the wait queues may rely on their wake-ups.
        if !Arc::ptr_eq(&self.request, &active.0) {
            return Err(active);
        }
        active.park()?;
        self.parked = true;
        Ok(())
    }
}

impl<R: Request> Armed<R> {
    /// Leaves the request on the queues, since the token went to another holder, which takes the
    /// request off the queues.
    pub(crate) fn leave(mut self) {
        self.parked = true;
    }
}

impl<R: Request> Drop for Armed<R> {
    fn drop(&mut self) {
        if !self.parked {
            self.request.polls.disarm();
        }
    }
}
