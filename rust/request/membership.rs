// SPDX-License-Identifier: GPL-2.0

//! The lists and queues that a request with a token is in.
//!
//! The token holder adds its request to the cancel table and to a queue of its order, notes that in
//! `marks`, and takes the request out again before the request ends. fs/aio.c does so with
//! `active_reqs`.
//!
//! Only the token holder touches the marks. Each function takes at most the lock of one list.

use super::{
    token::Active,
    Marks,
    Request, //
};

impl<R: Request> Active<R> {
    /// Returns the marks, to change.
    fn marks_mut(&mut self) -> &mut Marks {
        // SAFETY: by the invariant of `RequestInner` only the owner touches the marks: that is
        // `self`, which is mutably borrowed.
        unsafe { &mut *self.0.marks.get() }
    }

    /// Returns a copy of the marks.
    fn marks(&self) -> Marks {
        // SAFETY: by the invariant of `RequestInner` only the owner touches the marks: that is
        // `self`, whose borrow keeps `marks_mut` from being called meanwhile.
        unsafe { *self.0.marks.get() }
    }

    /// Returns whether a canceller can find the request, and must know whether a driver has the
    /// token.
    pub(super) fn is_listed(&self) -> bool {
        self.marks().listed
    }

    /// Adds the request to the cancel table. Returns false if its context has ended.
    pub(crate) fn list(&mut self) -> bool {
        if self.is_listed() {
            // The end of the context may have passed over this request, which had to run, and does
            // not look again.
            return R::cancel_table(self.shared()).is_open();
        }
        let listed = R::cancel_table(self.shared()).add(&self.0);
        self.marks_mut().listed = listed;
        listed
    }

    /// Removes the request from the cancel table: it can be cancelled no more.
    #[inline]
    pub(crate) fn unlist(&mut self) {
        if self.is_listed() {
            R::cancel_table(self.shared()).remove(&self.0);
            self.marks_mut().listed = false;
        }
    }

    /// Joins the queue of `key`, if the request is in no queue of its order yet. Returns whether
    /// the request has its turn. If not, a kick comes when it has.
    pub(crate) fn join(&mut self, key: usize) -> bool {
        if self.is_in_order() {
            return !self.waits_for_turn();
        }
        self.marks_mut().in_order = true;
        // SAFETY: `is_in_order` said that the request was in no queue, and only the token holder
        // changes the mark. `withdraw`, which each end of a request calls, leaves the queue if the
        // mark is set.
        unsafe { self.view().order().join(&self.0, key) }
    }

    /// Returns whether the request is in a queue of its order.
    pub(crate) fn is_in_order(&self) -> bool {
        self.marks().in_order
    }

    /// Returns whether the request is in a queue of its order and has not its turn.
    pub(crate) fn waits_for_turn(&self) -> bool {
        // SAFETY: the mark says that the request has joined a queue and not left it. The
        // implementer of `Request` guarantees that `order` returns the same object in each call.
        self.is_in_order() && !unsafe { self.view().order().is_first(&self.0) }
    }

    /// Leaves the queue of the order, if the request is in one. The next request then has its turn.
    #[inline]
    pub(crate) fn leave_order(&mut self) {
        if self.is_in_order() {
            // SAFETY: the mark says that the request has joined a queue and not left it. The
            // implementer of `Request` guarantees that `order` returns the same object in each
            // call. `self` holds a reference.
            unsafe { self.view().order().leave(&self.0) };
            self.marks_mut().in_order = false;
        }
    }

    /// Takes the request off wait queues and out of the cancel table and its order, so that no
    /// canceller and no wake-up finds it, and the next request of the order has its turn.
    pub(crate) fn withdraw(&mut self) {
        if self.is_fresh() {
            return;
        }
        self.0.polls.disarm();
        self.unlist();
        self.leave_order();
    }

    /// Returns whether the request is in no list and on no wait queue.
    #[inline]
    pub(crate) fn is_fresh(&self) -> bool {
        let marks = self.marks();
        !marks.listed && !marks.in_order && !self.0.polls.are_armed()
    }
}
