// SPDX-License-Identifier: GPL-2.0

//! Light requests: transfers that a driver ends, or that end within the submit call.
//!
//! Nearly every O_DIRECT transfer ends that way. No task waits for such a transfer, cancels it or
//! runs it again, so it needs no list node, no work item and no poll entry. fs/aio.c has no
//! counterpart: its `struct aio_kiocb` is the same for all requests.
//!
//! A light request has the memory of a full one ([`RequestInner`]), but only the kernel's `struct
//! kiocb` and [`Request::Light`] are filled in. If the attempt cannot be made without waiting,
//! [`Light::upgrade`] makes the full request in the same memory. That allocates nothing and takes
//! no lock, so it can be done in a driver's interrupt, too.

use core::{
    marker::PhantomData,
    mem::{
        align_of,
        size_of,
        ManuallyDrop, //
    },
    ptr,
};

use kernel::{
    bindings,
    prelude::*,
    sync::Arc, //
};

use super::{
    pool::FreeRequest,
    token::Active,
    Request,
    RequestInner, //
};
use crate::sys::{
    errno,
    ffi,
    file::File, //
};

/// The one right to run and to finish a light request. Dropping it ends the request as cancelled.
///
/// # Invariants
///
/// - The request is in no list and on no wait queue, and its `marks.filled` is not set.
/// - The place of its data holds an `R::Light`.
/// - The kernel's kiocb is filled in. Its `ki_filp` is a file that the `R::Light` holds.
/// - Only the holder of the token touches the kernel's kiocb, the marks and the data. The file
///   system that [`Light::issue`] called may still look at the kiocb after the token has gone to a
///   driver.
#[must_use = "a light request that is dropped is cancelled"]
pub(crate) struct Light<R: Request>(ManuallyDrop<Arc<RequestInner<R>>>);

/// The one attempt of a light request, which `rw_verify_area()` and `access_ok()` have allowed.
///
/// # Invariants
///
/// `file` is open as long as the attempt lives: the attempt borrows the submitter's reference. That
/// is not the reference of the request, as a driver may complete the request while the file system
/// still looks at the file.
pub(crate) struct LightAttempt<'a> {
    raw: ffi::kaio_light,
    file: *mut bindings::file,
    _file: PhantomData<&'a File>,
}

/// What a light request transfers.
pub(crate) struct LightTransfer {
    /// The address in the submitter's memory.
    pub(crate) addr: usize,
    /// The number of bytes, at most [`crate::sys::iov::MAX_LEN`].
    pub(crate) len: usize,
    /// The position in the file.
    pub(crate) pos: i64,
    /// `IOCB_*`, as [`File::iocb_flags`] returned them.
    pub(crate) flags: i32,
    /// The transfer is a write, and not a read.
    pub(crate) write: bool,
}

impl<'a> LightAttempt<'a> {
    /// Checks the transfer, in the submit call. Returns `None` if a check fails; the submitter then
    /// makes a full request, whose checks find the errno. `permitted` says that the call has checked
    /// another transfer of this file in this direction.
    #[inline]
    pub(crate) fn new(
        file: &'a File,
        transfer: &LightTransfer,
        ioprio: u16,
        permitted: bool,
    ) -> Option<Self> {
        let file = file.open()?;
        let raw = ffi::kaio_light {
            addr: transfer.addr,
            len: transfer.len,
            pos: transfer.pos,
            flags: transfer.flags,
            ioprio,
            write: transfer.write,
            done: None,
        };
        // SAFETY: the borrow of the `File` keeps what `File::open` returned open. The callee checks
        // the address and keeps no pointer.
        let allowed = unsafe { ffi::kaio_light_check(file, &raw, permitted) };
        // INVARIANT: the `File` is borrowed for `'a`, and to close it takes a mutable borrow.
        allowed.then_some(Self {
            raw,
            file,
            _file: PhantomData,
        })
    }
}

/// The outcome of the attempt of a light request.
pub(crate) enum LightCalled<R: Request> {
    /// The attempt is over: a number of bytes, or a negative errno.
    Done(Light<R>, isize),
    /// A driver has the token, or has given the token back already ([`Request::light_done`]). If
    /// the request has ended, this is its memory.
    Queued(Option<FreeRequest<R>>),
}

impl<R: Request> Light<R> {
    /// Returns the place of the `R::Light`.
    fn place(this: &RequestInner<R>) -> *mut R::Light {
        this.data().cast()
    }

    /// Returns what the request consists of.
    #[inline]
    pub(crate) fn view(&self) -> &R::Light {
        // SAFETY: by the type's invariants, the place holds an `R::Light`, and only the holder of
        // this token, which is borrowed, touches it.
        unsafe { &*Self::place(&self.0) }
    }

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
    /// The caller ensures that `raw` is a pointer that `Arc::into_raw` returned for the reference
    /// of a light request's token, that it makes one token of that pointer only, and that the other
    /// invariants of [`Light`] hold for the request.
    unsafe fn take(raw: *const RequestInner<R>) -> Self {
        // INVARIANT: the caller ensures them.
        // SAFETY: the caller ensures that `Arc::into_raw` returned `raw`, and takes it once.
        Self(ManuallyDrop::new(unsafe { Arc::from_raw(raw) }))
    }

    /// Makes a light request and runs `read_iter` or `write_iter` once, without waiting
    /// (`IOCB_NOWAIT`).
    ///
    /// The file of `attempt` is that of `light`, as the implementer of [`Request`] guarantees.
    #[inline]
    pub(crate) fn issue(
        free: FreeRequest<R>,
        light: impl Init<R::Light>,
        mut attempt: LightAttempt<'_>,
    ) -> LightCalled<R> {
        const {
            assert!(size_of::<R::Light>() <= size_of::<R>());
            assert!(align_of::<R::Light>() <= align_of::<R>());
        }
        // The file system may still look at the kiocb when the request has ended.
        let keep = free.into_arc();
        // SAFETY: by the invariant of `FreeRequest`, no other thread has the memory, and the place
        // of the data is uninitialised. The assertions say that an `R::Light` fits there.
        let Ok(()) = unsafe { light.__init(Self::place(&keep)) };
        attempt.raw.done = Some(light_done::<R>);
        let raw = Arc::into_raw(keep.clone());
        // SAFETY: by the invariant of `FreeRequest`, only this thread has the kiocb until the
        // callee has filled it in and passes it to a driver. `keep` keeps its memory during the
        // call. By the invariant of `LightAttempt` the file is open during the call; after it the
        // `R::Light` of the request keeps the file open for the driver, as the implementer of
        // `Request` guarantees.
        let ret = unsafe { ffi::kaio_light_call(keep.iocb.get(), attempt.file, &attempt.raw) };
        if ret == -(bindings::EIOCBQUEUED as isize) {
            return LightCalled::Queued(FreeRequest::reclaim(keep));
        }
        // SAFETY: any answer but `-EIOCBQUEUED` means, by the contract of `read_iter` and
        // `write_iter`, that `ki_complete` was not called and will not be. So `raw`, which
        // `Arc::into_raw` returned, is taken here and nowhere else. A `FreeRequest` is in no list,
        // on no wait queue and not filled in; the kiocb and the `R::Light` were filled in here.
        LightCalled::Done(unsafe { Self::take(raw) }, ret)
    }

    /// Ends the request. Returns what it consisted of, and its memory, unless [`Self::issue`] still
    /// keeps the memory and will return it.
    #[inline]
    pub(crate) fn finish(self) -> (R::Light, Option<FreeRequest<R>>) {
        let this = self.into_arc();
        // SAFETY: by the type's invariants the place holds an `R::Light`. No code reads or drops it
        // again, as the token is gone and `marks.filled` is not set.
        let light = unsafe { ptr::read(Self::place(&this)) };
        (light, FreeRequest::reclaim(this))
    }

    /// Makes a full request of the light one, and returns the token to run it. A canceller finds
    /// the full request by `key`. Any context.
    #[cold]
    pub(crate) fn upgrade<I: Init<R>>(
        self,
        key: u64,
        make: impl FnOnce(R::Light) -> (R::Shared, I),
    ) -> Active<R> {
        let this = self.into_arc();
        // SAFETY: by the type's invariants the place holds an `R::Light`. It is moved out once: the
        // token is gone, and `become_full` writes the new data over it.
        let (shared, data) = make(unsafe { ptr::read(Self::place(&this)) });
        // SAFETY: this thread held the token, so by the type's invariants no other thread touches
        // the request except a file system that still looks at the kiocb, and the kiocb is filled
        // in. The `R::Light` was moved out just now, and the implementer of `Request` guarantees
        // that `make` moves its file into `data`.
        unsafe { this.become_full(key, shared, data) }
    }
}

#[cfg(CONFIG_KAIO_KUNIT_TEST)]
impl<R: Request> Light<R> {
    /// Makes a light request of which an attempt has ended.
    pub(crate) fn tried(free: FreeRequest<R>, file: &File, light: R::Light) -> Self {
        let this = free.into_arc();
        // SAFETY: by the invariant of `FreeRequest`, no other thread has the memory, and neither
        // the kiocb nor the data are initialised.
        unsafe {
            this.iocb.get().write(super::issue::begin::<R>(file));
            Self::place(&this).write(light);
        }
        // INVARIANT: a `FreeRequest` is in no list, on no wait queue and not filled in; the kiocb
        // and the `R::Light` were filled in just now.
        Self(ManuallyDrop::new(this))
    }
}

impl<R: Request> Drop for Light<R> {
    fn drop(&mut self) {
        // SAFETY: `self` is being dropped and is not used after this, so the reference is taken
        // once.
        let this = unsafe { ManuallyDrop::take(&mut self.0) };
        // INVARIANT: this is the token that is being dropped.
        R::light_done(Self(ManuallyDrop::new(this)), errno::ECANCELED as isize);
    }
}

/// Takes over a light request that a driver has completed: this is its `ki_complete`.
///
/// # Safety
///
/// The caller is a file system or driver to which [`Light::issue`] passed `iocb`. It calls this
/// once, and only if it answered the call with `-EIOCBQUEUED`, and does not use `iocb` afterwards,
/// except that the call of [`Light::issue`] may still look at it.
unsafe extern "C" fn light_done<R: Request>(iocb: *mut bindings::kiocb, ret: kernel::ffi::c_long) {
    // SAFETY: the driver passes the kiocb that `issue` passed to it, whose file the `R::Light`
    // keeps open. The kiocb is the first field of a `RequestInner<R>` (`repr(C)`), so the cast
    // pointer is the one that `Arc::into_raw` returned to `issue`. The driver calls this once, and
    // `issue` does not take the token after `-EIOCBQUEUED`.
    let light = unsafe {
        ffi::kaio_iocb_end(iocb);
        Light::<R>::take(iocb.cast::<RequestInner<R>>())
    };
    R::light_done(light, ret);
}
