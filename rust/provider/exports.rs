// SPDX-License-Identifier: GPL-2.0

//! What a provider calls: the Rust sides of `kaio_kick()` and `kaio_complete()`.
//!
//! The counterparts are `kick_iocb()` and `aio_complete()` of fs/aio.c. Providers call these in any
//! context in which a spinlock may be taken, and may hold locks of their own. The functions here
//! take no locks; the request that they kick or complete takes those of its lists.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    prelude::*,
    sync::atomic::{
        Full,
        Relaxed, //
    },
    types::NotThreadSafe, //
};

use super::iocb::{
    ProviderIocb,
    ProviderRef,
    QUEUED,
    RETRY, //
};
use crate::{
    pure::promise::NotifyResult,
    sys::ffi, //
};

impl ProviderRef<()> {
    /// Returns a reference to the request that a provider names, or `None` if the request has gone.
    ///
    /// # Safety
    ///
    /// The caller ensures that `iocb` is the first field of a [`ProviderIocb`], whose memory has
    /// not been freed: the provider owes a kick or a completion for it. (In debug builds the memory
    /// stays for a while after that, so that a provider which breaks its contract is reported.)
    unsafe fn from_provider(iocb: *mut ffi::kaio_iocb) -> Option<Self> {
        let this = NonNull::new(iocb.cast::<ProviderIocb>())?;
        // SAFETY: the caller ensures that the memory is that of a `ProviderIocb`, whose first field
        // is `iocb` (`repr(C)`). By its invariants `refs` may be read even if the request has gone.
        let refs = unsafe { &(*this.as_ptr()).refs };
        let mut old = refs.load(Relaxed);
        while old != 0 {
            match refs.cmpxchg(old, old.wrapping_add(1), Full) {
                // INVARIANT: the exchange counted the new value, and the old count was not 0.
                Ok(_) => return Some(Self(this, PhantomData)),
                Err(found) => old = found,
            }
        }
        None
    }
}

/// Kicks a request, for `kaio_kick()`. Returns false if no kick was owed.
///
/// # Safety
///
/// The caller ensures what [`ProviderRef::from_provider`] asks for.
#[no_mangle]
pub(crate) unsafe extern "C" fn kaio_held_kick(iocb: *mut ffi::kaio_iocb) -> bool {
    // SAFETY: the provider passes an iocb for which it owes a kick, as this function's contract
    // says.
    let Some(this) = (unsafe { ProviderRef::from_provider(iocb) }) else {
        return false;
    };
    let inner = this.inner();
    match inner.promise.kick() {
        // SAFETY: `Promise::kick` returned `Act`, so this thread took the promise of a kick, and no
        // other thread takes the `owner` that was stored with it.
        NotifyResult::Act => unsafe { (inner.owner_ops.kick)(inner, inner.owner.xchg(0, Full)) },
        NotifyResult::Remembered => {}
        NotifyResult::LetGo => this.release(),
        NotifyResult::Wrong => return false,
    }
    true
}

/// Completes a request with `res` and `res2`, for `kaio_complete()`. Returns false if no completion
/// was owed.
///
/// # Safety
///
/// The caller ensures what [`ProviderRef::from_provider`] asks for.
#[no_mangle]
pub(crate) unsafe extern "C" fn kaio_held_complete(
    iocb: *mut ffi::kaio_iocb,
    res: kernel::ffi::c_long,
    res2: kernel::ffi::c_long,
) -> bool {
    // SAFETY: the provider passes an iocb for which it owes a completion, as this function's
    // contract says.
    let Some(this) = (unsafe { ProviderRef::from_provider(iocb) }) else {
        return false;
    };
    let inner = this.inner();
    let (checked, wrong) = match res {
        // A promise is no result: the owner of the request would take it for one and wait for ever.
        RETRY | QUEUED => (
            EIO.to_errno() as isize,
            c"completes with -EIOCBRETRY or -EIOCBQUEUED, which is no result",
        ),
        res => (
            this.clamp_result(res),
            c"completes with more bytes than were asked for",
        ),
    };
    let result = {
        // An attempt with another answer spins until this block ends. If such an attempt preempted
        // this thread on its CPU, as one of a submitter with higher priority could, it would spin
        // for ever.
        let _no_preemption = NoPreemption::new();
        if !inner.promise.take() {
            return false;
        }
        // SAFETY: `take` returned true to this thread. By the invariant of `ProviderIocb` only this
        // thread writes the result, and no thread reads it before `completed`.
        unsafe { *inner.result.get() = (checked as i64, res2 as i64) };
        inner.promise.completed()
    };
    if checked != res {
        this.report(wrong);
    }
    if result == NotifyResult::Act {
        // SAFETY: `Promise::completed` returned `Act`, so this thread took the promise of a
        // completion, and no other thread takes the `owner` that was stored with it.
        unsafe { (inner.owner_ops.complete)(inner, inner.owner.xchg(0, Full)) };
        this.release();
    }
    true
}

/// While a value of this type exists, no other task runs on this CPU.
struct NoPreemption(NotThreadSafe);

impl NoPreemption {
    /// Disables preemption.
    fn new() -> Self {
        // SAFETY: `drop` enables preemption again, on the same CPU and in the same task, because
        // the type is not `Send`.
        unsafe { ffi::kaio_preempt_disable() };
        Self(NotThreadSafe)
    }
}

impl Drop for NoPreemption {
    fn drop(&mut self) {
        // SAFETY: `new` disabled preemption in this task, and each value is dropped only once.
        unsafe { ffi::kaio_preempt_enable() };
    }
}
