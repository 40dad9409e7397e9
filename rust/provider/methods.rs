// SPDX-License-Identifier: GPL-2.0

//! Calls the methods of a provider, and records what they answer in the promise.
//!
//! The counterparts are `aio_run_iocb()`, which called `ki_retry`, and `kiocb_cancel()`, which
//! called `ki_cancel`, of the retry-based AIO of fs/aio.c.
//!
//! All functions here are for process context. retry runs once at a time, as `Promise::begin` says.
//! cancel is called with no lock of kaio held, and never while retry runs.

use core::ptr;

use kernel::{
    prelude::*,
    sync::atomic::{
        Full,
        Relaxed, //
    },
};

use super::iocb::ProviderRef;
use crate::{
    pure::promise::{
        Ask,
        AttemptResult,
        End,
        NotifyResult,
        Promise, //
    },
    sys::{
        ffi,
        word::AtomicWord, //
    },
};

impl<K> ProviderRef<K> {
    /// Notes where the attempt that begins finds the request, for [`Self::restore_iter`].
    fn save_iter(&self) {
        let iocb = self.iocb();
        // SAFETY: the caller runs an attempt that has begun, and has not called retry yet, so by
        // the invariant of `ProviderIocb` only this thread uses `iocb` and `before`. The copy of
        // the iterator is used only if the original is not used any more.
        unsafe { *self.inner().before.get() = (ptr::read(&(*iocb).ki_iter), (*iocb).ki_pos) };
    }

    /// Puts the request back to where the last attempt found it, since the provider took back the
    /// completion that it owed: it has not moved what that attempt took. The caller ends the
    /// request.
    pub(super) fn restore_iter(&self) {
        let iocb = self.iocb();
        // SAFETY: `Promise::asked` made the promise over, so the provider does not use the iocb any
        // more. The caller is the thread that ends the request, so by the invariant of
        // `ProviderIocb` only this thread uses `iocb` and `before`.
        unsafe {
            let (iter, pos) = &*self.inner().before.get();
            (*iocb).ki_iter = ptr::read(iter);
            (*iocb).ki_pos = *pos;
        }
    }

    /// Calls the retry method, and returns its answer. Returns `None` if an attempt runs already,
    /// which would be a bug.
    pub(super) fn call_retry(&self) -> Option<isize> {
        let inner = self.inner();
        if !inner.promise.begin() {
            pr_warn!("a provider was to run a request twice at once\n");
            return None;
        }
        if !inner.started.load(Relaxed) {
            inner.started.store(true, Relaxed);
            // INVARIANT: this counts the reference of the provider, which has started.
            inner.refs.add(1u32, Relaxed);
        }
        self.save_iter();
        // Registration refuses a provider that serves reads or writes without this method.
        let retry = self.provider().retry?;
        // SAFETY: `Promise::begin` returned true, so no other attempt runs, and the iocb is the
        // provider's until it answers. The caller is in process context with the memory and the
        // credentials of the submitter, as the method's contract says.
        let ret = unsafe { retry(self.iocb()) };
        let checked = self.clamp_result(ret);
        if checked != ret {
            self.report(c"answers with more bytes than were asked for");
        }
        Some(checked)
    }

    /// Returns `res`, or the number of bytes that were asked for if `res` is more than that.
    pub(super) fn clamp_result(&self, res: isize) -> isize {
        // SAFETY: `self` keeps the iocb in memory. By the invariant of `ProviderIocb`, no code
        // changes this field.
        let asked = unsafe { (*self.iocb()).ki_nbytes };
        match usize::try_from(res) {
            Ok(bytes) if bytes > asked => asked as isize,
            _ => res,
        }
    }

    /// Records the answer of retry in the promise, by the method `answer`, and returns what is left
    /// to do. Reports a provider that has broken its promise.
    pub(super) fn record_answer(
        &self,
        answer: impl Fn(&Promise<AtomicWord>) -> (AttemptResult, bool),
    ) -> AttemptResult {
        loop {
            let (result, wrong) = answer(&self.inner().promise);
            if wrong {
                self.report(
                    c"retry broke its promise: kick for -EIOCBRETRY, complete for -EIOCBQUEUED",
                );
            }
            match result {
                // The completion is between `take` and `completed`, where `NoPreemption` keeps
                // other tasks from preempting it, so this spin is short.
                AttemptResult::Busy => core::hint::spin_loop(),
                result => return result,
            }
        }
    }

    /// Reports a mistake of the provider in the kernel's log.
    pub(super) fn report(&self, what: &CStr) {
        let caller = self.provider().retry.map_or(0, |retry| retry as usize);
        // SAFETY: the function prints `what`, which ends with a zero, and the name of the function
        // whose address `caller` is. It keeps no pointer.
        unsafe { ffi::kaio_provider_report(what.as_char_ptr(), caller) };
    }

    /// Gives up the way from the promise back to the request, if no other thread has taken it.
    pub(super) fn drop_owner(&self) {
        let owner = self.inner().owner.xchg(0, Full);
        if owner != 0 {
            // SAFETY: the exchange took `owner`, which is not 0, out of this `ProviderIocb`, so no
            // other thread uses the number. The callers know that it was stored for a kick: the
            // provider has answered with a promise to kick.
            unsafe { (self.inner().owner_ops.forget)(owner) };
        }
    }

    /// Asks the provider, which owes a completion, to give the request back. If the provider does,
    /// ends the request as cancelled.
    ///
    /// Returns whether the request has ended, or `None` if the provider refuses, so that the
    /// request goes on. Process context, with no lock of kaio held.
    pub(crate) fn cancel(&self) -> Option<bool> {
        let inner = self.inner();
        if inner.promise.ask() == Ask::Busy {
            return Some(false);
        }
        let given_back = self.call_cancel();
        match inner.promise.asked(given_back) {
            NotifyResult::Act => {
                self.restore_iter();
                // SAFETY: `Promise::asked` returned `Act`, so this thread took the promise of a
                // completion, and no other thread takes the `owner` that was stored with it.
                unsafe { (inner.owner_ops.complete)(inner, inner.owner.xchg(0, Full)) };
                self.release();
                Some(true)
            }
            NotifyResult::Wrong => None,
            _ => Some(inner.promise.is_over()),
        }
    }

    /// Calls the cancel method. Returns whether the provider takes its promise back.
    pub(super) fn call_cancel(&self) -> bool {
        self.provider().cancel.is_some_and(|cancel| {
            // SAFETY: `self` keeps the iocb in memory. No attempt runs, as the provider owes a kick
            // or a completion. The caller is in process context and holds no lock of kaio, as the
            // method's contract says.
            unsafe { cancel(self.iocb()) == 0 }
        })
    }

    /// Ends the promise, since the request ends. The owner of the request calls this once, before
    /// it posts the event, and in process context if a kick is owed.
    pub(crate) fn end(&self) {
        match self.inner().promise.end() {
            End::Owed => {
                self.drop_owner();
                // From now on the provider uses the struct only, and not what it points to.
                let given_back = self.call_cancel();
                // The provider may take its time until it kicks, and needs no more than the struct
                // and the file, so the buffers are given up now.
                // SAFETY: `Drop`, which also uses `kept`, needs the reference that `self` holds,
                // and the owner of the request calls this function once.
                if let Some(kept) = unsafe { &mut *self.inner().kept.get() } {
                    kept._buffers = None;
                }
                if given_back && self.inner().promise.given_up() {
                    self.release();
                }
            }
            End::Over => self.release(),
            End::Before => {}
        }
    }
}
