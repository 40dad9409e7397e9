// SPDX-License-Identifier: GPL-2.0

//! The counted reference to what a provider has of a request.
//!
//! The counterpart is `ki_users` of `struct kiocb` in the retry-based AIO of fs/aio.c:
//! `aio_put_req()` called `ki_dtor` with the last reference, as the drop of a [`ProviderRef`] calls
//! the destructor. References are made and dropped in any context, and take no locks.

use core::marker::PhantomData;

use kernel::{
    bindings,
    sync::atomic::{
        Acquire,
        Full,
        Relaxed, //
    },
};

use super::iocb::{
    ProviderIocb,
    ProviderRef, //
};
use crate::{
    request::issue,
    sys::ffi, //
};

impl<K> Clone for ProviderRef<K> {
    fn clone(&self) -> Self {
        self.inner().refs.add(1u32, Relaxed);
        // INVARIANT: `refs` was counted up for the new value, and was not 0, as it counts `self`.
        Self(self.0, PhantomData)
    }
}

impl<K> ProviderRef<K> {
    /// Returns whether the submitter asked for `RWF_NOWAIT`.
    pub(crate) fn nowait(&self) -> bool {
        // SAFETY: by the invariant of `ProviderIocb`, no code changes the flags.
        let flags = unsafe { (*self.iocb()).ki_flags };
        flags & issue::NOWAIT != 0
    }

    /// Returns what the reference is to.
    pub(super) fn inner(&self) -> &ProviderIocb {
        // SAFETY: by the type's invariant `refs` counts `self`, so the memory is not freed while
        // `self` is borrowed. The fields that change without a lock are atomic or in an
        // `UnsafeCell`.
        unsafe { self.0.as_ref() }
    }

    /// Returns the provider's view of the request.
    pub(crate) fn iocb(&self) -> *mut ffi::kaio_iocb {
        self.inner().iocb.get()
    }

    /// Returns the provider, with its methods.
    pub(super) fn provider(&self) -> &ffi::kaio_provider {
        // SAFETY: by the invariant of `ProviderIocb`, the provider is registered and counts this
        // request. `kaio_unregister_provider()` waits until the last reference is dropped, and the
        // provider's module leaves the struct as it is until then.
        unsafe { self.inner().provider.as_ref() }
    }

    /// Gives up the provider's reference, as the provider owes nothing any more. The thread that
    /// ends the promise calls this once.
    pub(super) fn release(&self) {
        if self.inner().started.load(Relaxed) {
            // INVARIANT: `refs` has counted this value since the first attempt began.
            drop(Self(self.0, PhantomData));
        }
    }

    /// Returns the number of bytes moved so far, which count even if the request goes no further.
    /// The owner of the request calls this, and not while the provider uses the iocb.
    pub(crate) fn done(&self) -> i64 {
        // SAFETY: the caller owns the request, no attempt runs, and no completion is owed. By the
        // invariant of `ProviderIocb` no other thread uses the iocb.
        let iocb = unsafe { &*self.iocb() };
        iocb.ki_nbytes.saturating_sub(count(&iocb.ki_iter)) as i64
    }

    /// Returns the two results that the provider has completed the request with: `io_event.res` and
    /// `io_event.res2`. The caller knows that the promise was kept.
    pub(super) fn result(&self) -> (i64, i64) {
        // SAFETY: by the invariant of `ProviderIocb`, the results do not change once the thread
        // that took the promise has called `Promise::completed`, and the caller has seen that.
        unsafe { *self.inner().result.get() }
    }

    /// Returns `io_event.res2` of a request that has ended.
    pub(crate) fn res2(&self) -> i64 {
        match self.inner().promise.is_taken() {
            true => self.result().1,
            false => 0,
        }
    }
}

impl<K> Drop for ProviderRef<K> {
    fn drop(&mut self) {
        if self.inner().refs.fetch_sub(1u32, Full) != 1 {
            return;
        }
        let started = self.inner().started.load(Acquire);
        if let Some(dtor) = self.provider().dtor.filter(|_| started) {
            // SAFETY: this was the last reference, so the promise is over, and no other thread uses
            // the iocb. The method is called once, after a call of retry, as its contract says.
            unsafe { dtor(self.iocb()) };
        }
        let provider = self.inner().provider;
        // SAFETY: this was the last reference, so no other thread touches what is dropped here. A
        // provider that breaks its contract reads `promise` and `refs` only, which stay as they
        // are. The memory is from `kaio_held_alloc()`, and is not used after this. `with_provider`
        // took over a user that `provider` counts, and this gives it up once.
        unsafe {
            drop((*self.inner().kept.get()).take());
            ffi::kaio_held_free(self.0.as_ptr().cast());
            ffi::kaio_provider_put(provider.as_ptr());
        }
    }
}

/// Returns the number of bytes that an iterator has left.
pub(super) fn count(iter: &bindings::iov_iter) -> usize {
    // SAFETY: `struct iov_iter` has `count` at this place of its union, whatever the type of the
    // iterator is, and a valid iterator has initialised it.
    unsafe { iter.__bindgen_anon_1.__bindgen_anon_1.as_ref().count }
}
