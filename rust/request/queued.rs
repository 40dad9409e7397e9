// SPDX-License-Identifier: GPL-2.0

//! The ownership of a request that waits for its next run.
//!
//! A kick, a canceller or the token holder makes a [`QueuedRequest`], and puts it into the run list
//! or the workqueue; the thread that takes the request out claims the token. The counterpart is
//! `queue_kicked_iocb()` of the retry-based AIO of fs/aio.c. There are no locks of its own: the
//! queues have theirs, and `pure::state` says in which state the request is.

use core::mem::ManuallyDrop;

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    token::Active,
    Request,
    RequestInner, //
};
use crate::{
    pure::state::{
        Cancel,
        CancelScope, //
    },
    sys::queue, //
};

/// The ownership of a request that is QUEUED: its holder puts the request into a queue, or claims
/// the token. If the ownership is dropped, a worker ends the request as cancelled.
///
/// # Invariants
///
/// The request is QUEUED, this is its one owner, and it is in no queue.
#[must_use = "a request that is dropped is cancelled"]
pub(crate) struct QueuedRequest<R: Request>(ManuallyDrop<Arc<RequestInner<R>>>);

impl<R: Request> Drop for QueuedRequest<R> {
    fn drop(&mut self) {
        // SAFETY: `self` is being dropped and is not used after this, so the reference is taken
        // once.
        let this = unsafe { ManuallyDrop::take(&mut self.0) };
        // If another canceller has marked the request before, that one leaves the end to this
        // owner.
        let _ = this.cancel(CancelScope::User);
        // The caller may hold the lock of a wait queue that the request is on. So a worker takes
        // the request off the queue, finds the mark, and drops the token.
        if let Err(back) = Self::to_worker(this) {
            // The work item is still marked as pending while a canceller calls cancel_work(). That
            // finds no work that it could cancel, and the canceller leaves the end to this owner.
            drop(Self::new(back).claim());
        }
    }
}

impl<R: Request> QueuedRequest<R> {
    /// Makes the ownership of a request. The caller owns the request, which is QUEUED and in no
    /// queue.
    pub(super) fn new(this: Arc<RequestInner<R>>) -> Self {
        // INVARIANT: the caller ensures this.
        Self(ManuallyDrop::new(this))
    }

    /// Queues the request to the workers. Returns the request as an error if its work item is
    /// pending.
    fn to_worker(this: Arc<RequestInner<R>>) -> Result<(), Arc<RequestInner<R>>> {
        let keep = this.clone();
        queue::enqueue::<_, 0>(R::workers(keep.shared()), this)
    }

    /// Returns the data.
    pub(crate) fn view(&self) -> &R {
        // SAFETY: a QUEUED request is a full one, so the data are initialised. By the invariant of
        // `RequestInner` only the owner touches them, which is `self`, and `self` is borrowed.
        unsafe { &*self.0.data() }
    }

    /// Returns the shared part.
    pub(crate) fn shared(&self) -> &R::Shared {
        self.0.shared()
    }

    /// Returns whether the request is in a queue of its order.
    pub(crate) fn in_order(&self) -> bool {
        // SAFETY: by the invariant of `RequestInner` only the owner touches the marks, which is
        // `self`.
        unsafe { (*self.0.marks.get()).in_order }
    }

    /// Returns whether the request was parked on one wait queue. A wake-up that has taken the request
    /// off that queue has left it on none.
    pub(crate) fn was_on_one_queue(&self) -> bool {
        self.0.polls.are_on_one_queue()
    }

    /// Gives up the ownership, for a queue that will give it back by [`Self::from_arc`].
    pub(super) fn into_arc(self) -> Arc<RequestInner<R>> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is a `ManuallyDrop`, which is not used after this, so the reference is
        // taken once.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }

    /// Makes the ownership again. `this` has just come out of a queue into which [`Self::into_arc`]
    /// put the request.
    pub(super) fn from_arc(this: Arc<RequestInner<R>>) -> Self {
        Self::new(this)
    }

    /// Queues the request to a worker, which will call [`Request::retry`]. Any context.
    pub(crate) fn enqueue(self) {
        let this = Arc::clone(&self.0);
        if let Err(back) = queue::enqueue::<_, 0>(R::workers(this.shared()), self.into_arc()) {
            // The work item of a request that is in no queue is idle, except while a canceller
            // calls cancel_work(). That finds no work that it could cancel, and the canceller
            // leaves the end to this owner.
            drop(Self::new(back).claim());
            return;
        }
        // A canceller that marked the request a moment ago did not find it in the queue. The queue
        // may be long, so the request is taken out here.
        if this.state.is_cancelled() {
            let _ = RequestInner::finish_cancel(this.as_arc_borrow(), Cancel::Dequeue);
        }
    }

    /// Makes the token. Returns `None` if the request was not QUEUED, which would be a bug.
    pub(crate) fn claim(self) -> Option<Active<R>> {
        // A wake-up that comes before the entries are off the queues is answered by the run that
        // follows. A later wake-up is for the run after that.
        self.0.polls.disarm();
        let this = self.into_arc();
        if !this.state.claim() {
            pr_warn!("a request ran that was not queued\n");
            return None;
        }
        // INVARIANT: `State::claim` made the state RUNNING, so no other token exists.
        Some(Active(ManuallyDrop::new(this)))
    }
}
