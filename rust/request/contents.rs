// SPDX-License-Identifier: GPL-2.0

//! What a request consists of: fills the data, the shared part and the key of a request in, hands
//! them out, and takes them out again.
//!
//! The invariants are those of [`RequestInner`]: the data belong to the owner of the request, and
//! no code changes the shared part and the key once the request has started. There are no locks.

use core::{
    mem::ManuallyDrop,
    pin::Pin,
    ptr, //
};

use kernel::{
    prelude::*,
    sync::{
        Arc,
        UniqueArc, //
    },
};

use super::{
    issue,
    token::Active,
    Marks,
    Request,
    RequestInner, //
};

#[pinned_drop]
impl<R: Request> PinnedDrop for RequestInner<R> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: `drop` has the only reference. By the invariant of `RequestInner`, both places
        // are initialised if `filled` is set, and after this no code reads them.
        unsafe {
            if (*self.marks.get()).filled {
                ptr::drop_in_place(self.data());
                ptr::drop_in_place(self.raw_shared());
            }
        }
    }
}

impl<R: Request> RequestInner<R> {
    /// Returns the place of the data, which may be uninitialised. A light request has its
    /// [`Request::Light`] there.
    pub(super) fn data(&self) -> *mut R {
        self.data.get().cast()
    }

    /// Returns the place of the shared part, which may be uninitialised.
    pub(super) fn raw_shared(&self) -> *mut R::Shared {
        self.shared.get().cast()
    }

    /// Returns the shared part of a request that is filled in. Any thread may look at it.
    pub(super) fn shared(&self) -> &R::Shared {
        // SAFETY: this is called for an `Active`, for a `QueuedRequest` and for what the cancel
        // table has, which are full requests: `fill` initialised the shared part. By the invariant
        // of `RequestInner`, it stays as it is until the last reference is dropped, and `self` is
        // one.
        unsafe { &*self.raw_shared() }
    }

    /// Returns the number by which a canceller finds the request.
    pub(super) fn key(&self) -> u64 {
        // SAFETY: by the invariant of `RequestInner`, no code changes the key once the request has
        // started, and before that only the submitter has a reference.
        unsafe { *self.key.get() }
    }

    /// Fills in all of a request except the kernel's kiocb. A canceller finds the request by `key`.
    ///
    /// # Safety
    ///
    /// The caller ensures that no other thread touches the data, the shared part, the key and the
    /// marks of the request, that nothing is in the places of the data and of the shared part, and
    /// that the kiocb is filled in before the request starts.
    #[inline]
    pub(super) unsafe fn fill(&self, key: u64, shared: R::Shared, data: impl Init<R>) {
        // SAFETY: the caller ensures that this thread alone touches these places, and that no value
        // is lost by writing over them. The `Result` of `__init` cannot be an error.
        unsafe {
            let Ok(()) = data.__init(self.data());
            self.raw_shared().write(shared);
            *self.key.get() = key;
            *self.marks.get() = Marks {
                filled: true,
                ..Marks::default()
            };
        }
        self.state.renew();
        self.polls.renew();
    }

    /// Makes a full request of a light one, and returns its token.
    ///
    /// # Safety
    ///
    /// The caller held the token of the light request, has moved the `R::Light` out of the place of
    /// the data, and moves the file of its attempt into `data`. The kernel's kiocb is filled in.
    pub(super) unsafe fn become_full(
        self: Arc<Self>,
        key: u64,
        shared: R::Shared,
        data: impl Init<R>,
    ) -> Active<R> {
        // SAFETY: the caller held the token of the light request, so no other thread touches the
        // places of the data and of the shared part. Nothing is in them: the caller has moved the
        // `R::Light` out. No driver has the kiocb, which begins this `RequestInner<R>`.
        unsafe {
            self.fill(key, shared, data);
            issue::become_full::<R>(self.iocb.get());
        }
        // INVARIANT: `fill` made the state RUNNING, and the caller's token was the only one.
        Active(ManuallyDrop::new(self))
    }

    /// Drops the data of a request that has ended, and returns the memory and the shared part.
    ///
    /// # Safety
    ///
    /// The caller ensures that the request is filled in.
    pub(super) unsafe fn empty(this: Pin<UniqueArc<Self>>) -> (Arc<Self>, R::Shared) {
        let this: Arc<Self> = this.into();
        // SAFETY: a `UniqueArc` is the only reference. The caller ensures that both places are
        // initialised. Once `filled` is cleared, no code drops or reads what was in them.
        let shared = unsafe {
            (*this.marks.get()).filled = false;
            ptr::drop_in_place(this.data());
            this.raw_shared().read()
        };
        (this, shared)
    }
}
