// SPDX-License-Identifier: GPL-2.0

//! What a provider has of a request.
//!
//! [`ProviderIocb`] begins with the `struct kaio_iocb` of `include/linux/kaio.h`, to which the
//! provider has a pointer. The counterpart is `struct kiocb` of the retry-based AIO of fs/aio.c,
//! with its `ki_users`. The invariants are those of [`ProviderIocb`]. There are no locks: the
//! promise (`pure::promise`) says which thread may touch what.

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    bindings, fs,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            AtomicFlag, //
        },
    },
};

use crate::{
    pure::promise::Promise,
    sys::{
        ffi,
        file::File,
        iov::Buffers,
        uapi::Iocb,
        word::AtomicWord, //
    },
};

/// The answer of a provider that will call `kaio_kick()`.
pub(crate) const RETRY: isize = -(ffi::EIOCBRETRY as isize);
/// The answer of a provider that will call `kaio_complete()`.
pub(crate) const QUEUED: isize = -(bindings::EIOCBQUEUED as isize);

/// What kaio does when a provider keeps its promise.
///
/// Each function takes over `owner`, which is the number that was stored in [`ProviderIocb::owner`]
/// together with the promise.
pub(crate) struct OwnerOps {
    /// Runs the request once more.
    ///
    /// # Safety
    ///
    /// The caller has taken `owner` out of a [`ProviderIocb`] whose `owner_ops` are these, after it
    /// took the promise of a kick (`Promise::kick` returned `Act`).
    pub(super) kick: unsafe fn(inner: &ProviderIocb, owner: usize),
    /// Ends the request with its result, or as cancelled if the provider gave it back.
    ///
    /// # Safety
    ///
    /// The caller has taken `owner` out of a [`ProviderIocb`] whose `owner_ops` are these, after it
    /// took the promise of a completion (`Promise::completed` or `Promise::asked` returned `Act`).
    pub(super) complete: unsafe fn(inner: &ProviderIocb, owner: usize),
    /// Gives up `owner`, and does nothing else.
    ///
    /// # Safety
    ///
    /// The caller has taken `owner`, which is not 0, out of a [`ProviderIocb`] whose `owner_ops`
    /// are these, where it had been stored for a kick.
    pub(super) forget: unsafe fn(owner: usize),
}

/// What a provider has of a request.
///
/// # Invariants
///
/// - `refs` counts the values of type [`ProviderRef`], and one reference more for the provider
///   while `started` is set and the promise is not over. Once `refs` is 0, only `promise` and
///   `refs` may be read, by a provider that breaks its contract.
/// - `owner` is a number that the kind of the request has stored for a promise, or 0. Only the
///   thread that exchanges it for 0 uses the number. While a promise of a request of the device is
///   owed, it is not 0, except while the thread that took the promise is about to act. A caller of
///   read(2) stores nothing.
/// - The provider uses `iocb` while an attempt runs or a completion is owed. Otherwise the owner of
///   the request uses it: the thread that runs the next attempt or ends the request. No code
///   changes the fields `ki_nbytes` and `ki_flags`.
/// - Only the thread that runs an attempt or ends the request uses `before`.
/// - Only the thread for which [`Promise::take`] returned true writes `result`, before it calls
///   [`Promise::completed`]. After that the result does not change, and any thread may read it.
/// - `provider` is registered, and its count of users includes this request.
#[repr(C)]
pub(crate) struct ProviderIocb {
    pub(super) iocb: UnsafeCell<ffi::kaio_iocb>,
    pub(super) promise: Promise<AtomicWord>,
    pub(super) refs: Atomic<u32>,
    pub(super) owner: Atomic<usize>,
    pub(super) owner_ops: &'static OwnerOps,
    /// The provider's retry method has been called.
    pub(super) started: AtomicFlag,
    /// `ki_iter` and `ki_pos` as the current attempt, or else the last one, found them.
    pub(super) before: UnsafeCell<(bindings::iov_iter, i64)>,
    /// The two results of `io_event`, `res` and `res2`.
    pub(super) result: UnsafeCell<(i64, i64)>,
    pub(super) provider: NonNull<ffi::kaio_provider>,
    pub(super) kept: UnsafeCell<Option<Kept>>,
}

/// What the provider may use as long as it has the request.
pub(crate) struct Kept {
    /// The file of `ki_filp`, which is only held here. A test has none.
    pub(crate) _file: Option<ARef<fs::LocalFile>>,
    /// The memory that `ki_iter` points into.
    pub(crate) _buffers: Option<Buffers>,
}

/// A counted reference to what a provider has of a request. May be dropped in any context.
///
/// # Invariants
///
/// `refs` counts this value. The request is of the kind `K`: its `owner_ops` are `K::OWNER_OPS`.
/// (With `()` the kind is not known.)
pub(crate) struct ProviderRef<K>(
    pub(super) NonNull<ProviderIocb>,
    pub(super) PhantomData<fn(K)>,
);

// SAFETY: the fields of `ProviderIocb` are atomic, or the type's invariants let one thread at a
// time use them, whichever that is. Any thread may give up the provider, the buffers and the file.
// A `LocalFile` is not `Send` because of the position of the file, which no code uses through
// `kept`.
unsafe impl<K> Send for ProviderRef<K> {}
// SAFETY: a shared reference to a `ProviderRef` gives access to no more of the `ProviderIocb` than
// a `ProviderRef` of one's own does, and any thread may use one.
unsafe impl<K> Sync for ProviderRef<K> {}

/// A kind of requests that a provider is given: those of the device, or those of read(2) and
/// write(2).
pub(crate) trait Kind {
    /// What kaio does when the provider keeps its promise.
    const OWNER_OPS: OwnerOps;
}

/// What a request of the device brings with it.
pub(crate) struct ProviderArgs<'a> {
    /// The iocb as the submitter wrote it.
    pub(crate) iocb: &'a Iocb,
    pub(crate) buffers: Buffers,
    pub(crate) write: bool,
    /// `IOCB_*`.
    pub(crate) flags: i32,
    pub(crate) ioprio: u16,
}

#[allow(private_bounds)]
impl<K: Kind> ProviderRef<K> {
    /// Makes a request for the provider of `file`.
    ///
    /// Returns `EINVAL` if the file has no provider any more, `EBADF` if the file was closed, and
    /// `ENOMEM` if there is no memory.
    pub(crate) fn new(file: &File, args: ProviderArgs<'_>) -> Result<Self> {
        let mut iter = args.buffers.rest(0);
        // SAFETY: `iter` is a valid iterator, of which this is a copy. The buffers into which it
        // points go into the same `ProviderIocb`.
        let iter = unsafe { ptr::read(iter.as_raw()) };
        let iocb = ffi::kaio_iocb {
            ki_filp: file.open().ok_or(EBADF)?,
            ki_user_data: args.iocb.aio_data,
            ki_nbytes: args.buffers.len(),
            ki_opcode: args.iocb.aio_lio_opcode,
            ki_ioprio: args.ioprio,
            ki_flags: args.flags,
            ki_pos: args.iocb.aio_offset,
            ki_iter: iter,
            private: ptr::null_mut(),
        };
        // SAFETY: the borrow of the `File` keeps what `File::open` returned open. `ki_iter` points
        // into the buffers.
        unsafe { Self::make(iocb, args.write, Some(args.buffers)) }
    }

    /// Makes a request for the provider of `iocb.ki_filp`.
    ///
    /// Returns `EINVAL` if the file has no provider, and `ENOMEM` if there is no memory.
    ///
    /// # Safety
    ///
    /// The caller ensures that `iocb.ki_filp` is open during the call, and that `iocb.ki_iter`
    /// points into `buffers`, or into memory that stays until the request has ended.
    pub(super) unsafe fn make(
        iocb: ffi::kaio_iocb,
        write: bool,
        buffers: Option<Buffers>,
    ) -> Result<Self> {
        // SAFETY: the caller ensures that the file is open.
        let provider = NonNull::new(unsafe { ffi::kaio_provider_get(iocb.ki_filp, write) });
        let provider = provider.ok_or(EINVAL)?;
        // SAFETY: the caller ensures that the file is open. A call of `fdget_pos()` that did not
        // take the lock of the position is one of the current task, in whose read(2) or write(2)
        // this may be.
        let file = unsafe { fs::LocalFile::from_raw_file(iocb.ki_filp) };
        let file: ARef<fs::LocalFile> = file.into();
        let kept = Kept {
            _file: Some(file),
            _buffers: buffers,
        };
        // SAFETY: `kept` holds the file and the buffers, or else the caller ensures that the memory
        // stays. `kaio_provider_get()` returned a registered provider, and counted its user.
        unsafe { Self::with_provider(iocb, provider, kept) }
    }

    /// Makes a request for `provider`. Returns `ENOMEM` if there is no memory.
    ///
    /// # Safety
    ///
    /// The caller ensures that `provider` is registered, and gives up a user that `provider`
    /// counts. It ensures that `kept` holds the file of `iocb.ki_filp` and the memory that
    /// `iocb.ki_iter` points into, or that these stay until the request has ended.
    pub(crate) unsafe fn with_provider(
        iocb: ffi::kaio_iocb,
        provider: NonNull<ffi::kaio_provider>,
        kept: Kept,
    ) -> Result<Self> {
        let size = size_of::<ProviderIocb>();
        // SAFETY: the function only allocates memory; it has no requirement.
        let memory = unsafe { ffi::kaio_held_alloc(size) }.cast::<ProviderIocb>();
        let Some(this) = NonNull::new(memory) else {
            // SAFETY: the caller gave up a user that the provider counts, and no request was made.
            unsafe { ffi::kaio_provider_put(provider.as_ptr()) };
            return Err(ENOMEM);
        };
        // INVARIANT: `refs` counts the one reference, no attempt has begun, and the operations of
        // the owner are those of `K`. The caller ensures that the provider is registered and
        // counted.
        // SAFETY: `kaio_held_alloc()` returned memory for a `ProviderIocb`, aligned to a word,
        // which only this thread uses. `ki_iter` is copied; at a time one of the two copies is
        // used, and neither owns what it points into.
        unsafe {
            let before = (ptr::read(&iocb.ki_iter), iocb.ki_pos);
            this.write(ProviderIocb {
                iocb: UnsafeCell::new(iocb),
                promise: Promise::new(AtomicWord::new()),
                refs: Atomic::new(1),
                owner: Atomic::new(0),
                owner_ops: &K::OWNER_OPS,
                started: AtomicFlag::new(false),
                before: UnsafeCell::new(before),
                result: UnsafeCell::new((0, 0)),
                provider,
                kept: UnsafeCell::new(Some(kept)),
            });
        }
        Ok(Self(this, PhantomData))
    }
}
