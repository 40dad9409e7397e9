// SPDX-License-Identifier: GPL-2.0

//! Cancels requests, wherever they are: PARKED, in a queue, running, or with a provider.
//!
//! A canceller first marks the request, under the lock of the cancel table
//! (`request::cancel_table`), and then ends it here, without a lock. This stands for `ki_cancel` of
//! fs/aio.c. Of several cancellers the one whose call of `State::cancel` sets the mark sees to the
//! end.

use kernel::{
    bindings,
    sync::{
        Arc,
        ArcBorrow, //
    },
    workqueue::{
        HasWork,
        Work, //
    },
};

use super::{
    queued::QueuedRequest,
    Request,
    RequestInner, //
};
use crate::pure::state::{
    Cancel,
    CancelScope, //
};

impl<R: Request> RequestInner<R> {
    /// Marks the request as cancelled. The caller passes the result to [`Self::finish_cancel`],
    /// which does the rest.
    pub(super) fn cancel(&self, scope: CancelScope) -> Cancel {
        self.state.cancel(scope)
    }

    /// Ends a request that the caller has marked as cancelled, if that can be done at once: if the
    /// request was parked, or can be taken out of its queue, or its provider gives it back.
    ///
    /// Returns whether the request has ended, or `None` if it goes on as if it had not been
    /// cancelled. The caller holds no spinlock of kaio.
    pub(super) fn finish_cancel(this: ArcBorrow<'_, Self>, cancel: Cancel) -> Option<bool> {
        let queued = match cancel {
            Cancel::Take => Some(this.take_parked()),
            Cancel::Dequeue => Self::dequeue(this),
            Cancel::Remembered => {
                let ended = R::cancel_elsewhere(this.shared());
                if ended.is_none() {
                    this.uncancel();
                }
                return ended;
            }
            Cancel::Nothing => None,
        };
        // `claim` returns the token, whose drop ends the request.
        Some(queued.and_then(QueuedRequest::claim).is_some())
    }

    /// Cancels once more if the context of the request has ended, after a provider has refused to
    /// give the request back.
    ///
    /// While the request was marked, the end of the context left it to the canceller that had
    /// marked it. So that canceller calls this. Returns what [`Self::finish_cancel`] returns, and
    /// `None` if the context has not ended.
    pub(crate) fn was_refused(this: ArcBorrow<'_, Self>) -> Option<bool> {
        if R::cancel_table(this.shared()).is_open() {
            return None;
        }
        Self::finish_cancel(this, this.cancel(CancelScope::Exit))
    }

    /// Takes a queued request out of the run list or the workqueue. Returns `None` if another
    /// thread has just taken it out, or is about to put it in. That thread then sees the mark.
    fn dequeue(this: ArcBorrow<'_, Self>) -> Option<QueuedRequest<R>> {
        if let Some(queued) = R::run_list(this.shared()).remove(&this) {
            return Some(queued);
        }
        let raw: *const Self = &*this;
        // SAFETY: `this` borrows a reference to the request, so `raw` and the work item in it are
        // valid.
        let work = unsafe { Work::raw_get(Self::raw_get_work(raw.cast_mut())) };
        // SAFETY: `FreeRequest::new` initialised the work item, and the reference that `this`
        // borrows keeps the item in memory during the call.
        if !unsafe { bindings::cancel_work(work) } {
            return None;
        }
        // SAFETY: `cancel_work()` returned true, so the work item was pending, and no kworker will
        // run it now. `queue::enqueue` had left the pending item a reference that `Arc::into_raw`
        // made, and this call alone takes that reference.
        Some(QueuedRequest::new(unsafe { Arc::from_raw(raw) }))
    }

    /// Removes the mark, since the provider does not give the request back: the request goes on,
    /// and may be cancelled again.
    pub(crate) fn uncancel(&self) {
        self.state.uncancel();
    }
}
