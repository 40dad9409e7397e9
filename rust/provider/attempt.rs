// SPDX-License-Identifier: GPL-2.0

//! Runs attempts of requests of the device by the methods of a provider.
//!
//! The counterpart is `aio_run_iocb()` of the retry-based AIO of fs/aio.c. The token goes to the
//! provider with a promise to complete, and stays with the caller with a promise to kick: then a
//! reference to the request goes with the promise. There are no locks.

use core::marker::PhantomData;

use kernel::sync::{
    atomic::{
        Full,
        Relaxed, //
    },
    Arc, //
};

use super::iocb::{
    Kind,
    OwnerOps,
    ProviderIocb,
    ProviderRef,
    QUEUED,
    RETRY, //
};
use crate::{
    pure::promise::{
        AttemptResult,
        Promise, //
    },
    request::{
        poll::Polled,
        token::Active,
        Request,
        RequestInner, //
    },
    sys::errno, //
};

/// The outcome of an attempt.
pub(crate) enum Attempted<R: Request> {
    /// The request is over, with this result.
    Done(Active<R>, i64),
    /// The request is to be parked: the provider owes a kick, or has kicked just now.
    Wait(Active<R>),
    /// The provider has the token, and [`Request::driver_done`] follows, or has come already.
    Queued,
}

impl<R: Request> ProviderRef<R> {
    /// Runs an attempt. Process context, with the memory and the credentials of the submitter.
    pub(crate) fn attempt(&self, mut req: Active<R>) -> Attempted<R> {
        let inner = self.inner();
        match self.call_retry() {
            Some(RETRY) => {
                // Once the answer is recorded, a kick needs the way back to the request.
                let keep = req.keep();
                inner.owner.store(Arc::into_raw(keep) as usize, Relaxed);
                match self.record_answer(Promise::answer_retry) {
                    AttemptResult::Completed => {
                        self.drop_owner();
                        self.completed_early(req)
                    }
                    AttemptResult::Kicked => {
                        self.drop_owner();
                        req.keep().kick();
                        Attempted::Wait(req)
                    }
                    _ => Attempted::Wait(req),
                }
            }
            Some(QUEUED) => {
                // A canceller must find the request while the provider has it.
                let listed = req.list();
                let keep = req.keep();
                inner.owner.store(req.leave() as usize, Relaxed);
                if self.record_answer(Promise::answer_queued) == AttemptResult::Completed {
                    let raw = inner.owner.xchg(0, Full) as *const RequestInner<R>;
                    // SAFETY: `leave` returned `raw`, which was stored above. The provider
                    // completed the request before the answer, so the completion left the token to
                    // this thread, and no promise is owed with which another thread would take
                    // `owner`.
                    return self.completed_early(unsafe { Active::take(raw) });
                }
                // A canceller that marked the request during the attempt left the rest to this
                // thread.
                if (!listed || keep.is_cancelled()) && self.cancel().is_none() {
                    keep.uncancel();
                    // A request that is not listed was cancelled because its context has ended, so
                    // it need not be cancelled for that once more.
                    if listed {
                        let _ = RequestInner::was_refused(keep.as_arc_borrow());
                    }
                }
                Attempted::Queued
            }
            Some(ret) => match self.record_answer(Promise::answer_result) {
                AttemptResult::Completed => self.completed_early(req),
                _ => {
                    self.release();
                    Attempted::Done(req, ret as i64)
                }
            },
            None => Attempted::Done(req, errno::EINVAL),
        }
    }

    /// Ends a request that the provider completed before it answered.
    fn completed_early(&self, req: Active<R>) -> Attempted<R> {
        self.release();
        R::driver_done(req, self.result().0 as isize);
        Attempted::Queued
    }
}

/// What kaio does for requests of the device when a provider keeps its promise.
struct Requests<R>(PhantomData<R>);

impl<R: Request> Kind for R {
    const OWNER_OPS: OwnerOps = OwnerOps {
        kick: Requests::<R>::kick,
        complete: Requests::<R>::complete,
        forget: Requests::<R>::forget,
    };
}

impl<R: Request> Requests<R> {
    /// Kicks the request.
    ///
    /// # Safety
    ///
    /// The caller ensures what [`OwnerOps::kick`] asks for.
    unsafe fn kick(_inner: &ProviderIocb, owner: usize) {
        // SAFETY: the caller took the promise of a kick, and `owner` with it. For such a promise
        // `attempt` has stored what `Arc::into_raw` returned, and only the caller uses the number.
        let request = unsafe { Arc::from_raw(owner as *const RequestInner<R>) };
        request.kick();
    }

    /// Ends the request with the result of the provider, or as cancelled.
    ///
    /// # Safety
    ///
    /// The caller ensures what [`OwnerOps::complete`] asks for.
    unsafe fn complete(inner: &ProviderIocb, owner: usize) {
        // SAFETY: the caller took the promise of a completion, and `owner` with it. For such a
        // promise `attempt` has stored what `Active::leave` returned, and only the caller uses the
        // number.
        let active = unsafe { Active::<R>::take(owner as *const RequestInner<R>) };
        if inner.promise.is_taken() {
            // SAFETY: the promise was taken and is over, so by the invariant of `ProviderIocb` the
            // result has been written and does not change.
            let (res, _) = unsafe { *inner.result.get() };
            R::driver_done(active, res as isize);
        }
        // Otherwise the provider gave the request back, and the drop of the token ends the request.
    }

    /// Drops the reference to the request.
    ///
    /// # Safety
    ///
    /// The caller ensures what [`OwnerOps::forget`] asks for.
    unsafe fn forget(owner: usize) {
        // SAFETY: `owner` was stored for a kick, so it is what `Arc::into_raw` returned to
        // `attempt`, and only the caller uses the number.
        drop(unsafe { Arc::from_raw(owner as *const RequestInner<R>) });
    }
}
