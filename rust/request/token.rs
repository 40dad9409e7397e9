// SPDX-License-Identifier: GPL-2.0

//! The token: the one right to run and to finish a request.
//!
//! [`Prepared`] is a request that its submitter fills in, and [`Active`] is the token of a request
//! that has started. fs/aio.c counts references (`ki_refcnt`) where kaio passes the token on.
//!
//! The token is never cloned, and dropping it completes the request once. Its holder takes the
//! locks of the lists one at a time.

use core::{
    mem::ManuallyDrop,
    ptr, //
};

use kernel::{
    bindings,
    prelude::*,
    sync::Arc, //
};

use super::{
    issue,
    pool::{
        FreeRequest,
        Pool, //
    },
    queued::QueuedRequest,
    Request,
    RequestInner, //
};

/// A request that its submitter fills in. Dropping this frees the request without an event.
///
/// # Invariants
///
/// This is the only reference to the request, which is filled in.
pub(crate) struct Prepared<R: Request>(Arc<RequestInner<R>>);

impl<R: Request> Prepared<R> {
    /// Fills a request in. A canceller will find the request by `key`.
    #[inline]
    pub(crate) fn new(
        key: u64,
        free: FreeRequest<R>,
        shared: R::Shared,
        data: impl Init<R>,
    ) -> Self {
        let this = free.0;
        // SAFETY: by the invariant of `FreeRequest` this is the only reference, and the request is
        // not filled in. `fill` initialises the data, of which the kiocb then takes its file.
        // INVARIANT: the kiocb is initialised with the file of the request, and by the invariant of
        // `FreeRequest` this is the only reference.
        unsafe {
            this.fill(key, shared, data);
            this.iocb
                .get()
                .write(issue::begin::<R>((*this.data()).file()));
        }
        Self(this)
    }

    /// Starts the request, and returns its token.
    pub(crate) fn start(self) -> Active<R> {
        // INVARIANT: `fill` made the state RUNNING, and `self` was the only reference, so there is
        // no other owner.
        Active(ManuallyDrop::new(self.0))
    }

    /// Returns the data and the kernel's kiocb.
    pub(super) fn parts(&mut self) -> (&mut R, *mut bindings::kiocb) {
        // SAFETY: by the type's invariant the data are initialised, and `self`, which is mutably
        // borrowed, is the only reference.
        (unsafe { &mut *self.0.data() }, self.0.iocb.get())
    }

    /// Returns the data.
    pub(crate) fn data(&mut self) -> &mut R {
        self.parts().0
    }

    /// Returns the shared part, which does not change any more once the request has started.
    pub(crate) fn shared_mut(&mut self) -> &mut R::Shared {
        // SAFETY: by the type's invariant the shared part is initialised, and `self`, which is
        // mutably borrowed, is the only reference.
        unsafe { &mut *self.0.raw_shared() }
    }
}

/// The one right to run and to finish a request. Dropping it cancels the request.
///
/// # Invariants
///
/// The request is RUNNING, and this is its one owner. The request is filled in, and no driver and
/// no page has it.
#[must_use = "a request that is dropped is cancelled"]
pub(crate) struct Active<R: Request>(pub(super) ManuallyDrop<Arc<RequestInner<R>>>);

impl<R: Request> Active<R> {
    /// Returns the data, to change.
    pub(crate) fn data(&mut self) -> &mut R {
        // SAFETY: the request is filled in, and by the invariant of `RequestInner` only the owner
        // touches the data: that is `self`, which is mutably borrowed.
        unsafe { &mut *self.0.data() }
    }

    /// Returns the data, to look at.
    pub(crate) fn view(&self) -> &R {
        // SAFETY: the request is filled in, and by the invariant of `RequestInner` only the owner
        // touches the data: that is `self`, whose borrow keeps `data` from being called meanwhile.
        unsafe { &*self.0.data() }
    }

    /// Returns the shared part.
    pub(crate) fn shared(&self) -> &R::Shared {
        self.0.shared()
    }

    /// Returns the number by which a canceller finds the request.
    pub(crate) fn key(&self) -> u64 {
        self.0.key()
    }

    /// Returns whether the request is marked as cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.state.is_cancelled()
    }

    /// Returns the poll events of the last wake-up, or 0 if the wake-up reported none.
    pub(crate) fn woken(&self) -> u32 {
        self.0.polls.woken()
    }

    /// Makes the request run to its end even if its context ends.
    pub(crate) fn set_must_run(&mut self) {
        self.0.state.set_must_run();
    }

    /// Lets the end of the context cancel the request again.
    pub(crate) fn clear_must_run(&mut self) {
        self.0.state.clear_must_run();
    }

    /// Returns the kernel's kiocb, which only the token holder uses.
    pub(super) fn raw_iocb(&mut self) -> *mut bindings::kiocb {
        self.0.iocb.get()
    }

    /// Returns a reference that keeps the request in memory, without any right to run or finish it.
    pub(crate) fn keep(&self) -> Arc<RequestInner<R>> {
        (*self.0).clone()
    }

    /// Gives up the token and its reference, for the caller of [`Self::take`] that makes the token
    /// again.
    pub(crate) fn leave(self) -> *const RequestInner<R> {
        Arc::into_raw(self.into_arc())
    }

    /// Gives up the token, and returns its reference.
    fn into_arc(self) -> Arc<RequestInner<R>> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is a `ManuallyDrop`, which is not used after this, so the reference is
        // taken once.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }

    /// Makes the token again.
    ///
    /// # Safety
    ///
    /// The caller ensures that [`Self::leave`] returned `raw`, and that no other call takes the
    /// token that was given up then.
    pub(crate) unsafe fn take(raw: *const RequestInner<R>) -> Self {
        // SAFETY: the caller ensures that `raw` comes from `leave`, and so from `Arc::into_raw`,
        // and that only this call takes the reference.
        let this = unsafe { Arc::from_raw(raw) };
        this.state.give_back();
        // INVARIANT: `leave` consumed the token of a request that was RUNNING and filled in, and
        // this is the one call that makes the token again.
        Self(ManuallyDrop::new(this))
    }

    /// Makes the request QUEUED, and returns the ownership for a queue.
    pub(crate) fn queue(self) -> QueuedRequest<R> {
        self.0.state.queue();
        QueuedRequest::new(self.into_arc())
    }

    /// Punts the request to a worker.
    pub(crate) fn punt(self) {
        self.queue().enqueue();
    }

    /// Queues the request as if it had been parked and then kicked.
    pub(crate) fn kick(self) {
        R::kicked(self.queue());
    }

    /// Closes the file of the request. A program that has closed its descriptor expects the file to
    /// be closed once it has the event. Process context, no locks held.
    pub(crate) fn close_file(&mut self) {
        // The entries must not be on the wait queues of a file that has gone.
        self.0.polls.disarm();
        // SAFETY: by the invariant of `RequestInner` only the owner touches the kiocb, and `self`
        // is the token. The kiocb is initialised, as the data are.
        unsafe { (*self.0.iocb.get()).ki_filp = ptr::null_mut() };
        self.data().file_mut().close_now();
    }

    /// Ends the request. No token can be made of it any more. The pool gets its memory with the
    /// last reference.
    pub(crate) fn finish(mut self) {
        self.withdraw();
        if !self.0.state.done() {
            pr_warn!("a request completed twice\n");
        }
        Pool::give(self.into_arc());
    }

    /// Ends a request that is fresh. Returns its memory if this was the last reference.
    pub(crate) fn recycle(mut self) -> Option<FreeRequest<R>> {
        self.withdraw();
        Arc::into_unique_or_drop(self.into_arc()).map(|ended| {
            // SAFETY: `self` was a token, so the request is filled in, and `withdraw` has taken it
            // out of all lists and off all wait queues.
            unsafe { FreeRequest::of(ended) }.0
        })
    }
}

impl<R: Request> Drop for Active<R> {
    fn drop(&mut self) {
        // SAFETY: `self` is being dropped and is not used after this, so the reference is taken
        // once.
        let this = unsafe { ManuallyDrop::take(&mut self.0) };
        // INVARIANT: this is the token that is being dropped.
        R::cancelled(Active(ManuallyDrop::new(this)));
    }
}

/// A driver for tests, which kicks a request or completes it.
#[cfg(CONFIG_KAIO_KUNIT_TEST)]
pub(crate) struct TestDriver<R: Request>(Arc<RequestInner<R>>);

#[cfg(CONFIG_KAIO_KUNIT_TEST)]
impl<R: Request> TestDriver<R> {
    /// Makes the driver of a request.
    pub(crate) fn of(active: &Active<R>) -> Self {
        Self(active.keep())
    }

    /// Kicks the request.
    pub(crate) fn kick(&self) {
        super::poll::Polled::kick(&*self.0);
    }

    /// Takes the token, as a driver does. The driver completes the request by [`Self::complete`].
    pub(crate) fn give(&self, active: Active<R>) {
        let _ = active.leave();
    }

    /// Completes the request with `ret`. The test calls this once for each [`Self::give`].
    pub(crate) fn complete(&self, ret: isize) {
        // SAFETY: `give` called `leave` for this request, and the test calls this once for that, as
        // a driver does, so no other call takes the token.
        R::driver_done(unsafe { Active::take(&raw const *self.0) }, ret);
    }
}
