// SPDX-License-Identifier: GPL-2.0

//! The memory of requests: allocates it, and keeps that of requests that have ended for new ones.
//!
//! The counterpart is `kiocb_cachep` of fs/aio.c. To make a request in memory that has held one
//! before is cheaper, since the allocator need not clear the memory and charge it to the cgroup.
//!
//! The lock of a [`Pool`] disables interrupts, as a driver may complete a request in an interrupt.
//! No request is dropped under that lock.

use core::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    pin::Pin, //
};

use kernel::{
    list::{
        AtomicTracker,
        ListLinks, //
    },
    new_work,
    prelude::*,
    sync::{
        atomic::AtomicFlag,
        Arc,
        UniqueArc, //
    },
    types::Opaque, //
};

use super::{
    array_vec::ArrayVec,
    poll::PollEntries,
    Marks,
    Request,
    RequestInner, //
};
use crate::{
    pure::state::State,
    sys::{
        lock::{
            new_irq_lock,
            IrqLock, //
        },
        word::AtomicWord, //
    },
};

/// Memory for a request, in which everything is initialised except the kiocb, the data and the
/// shared part.
///
/// # Invariants
///
/// This is the only reference. The request is in no list and on no wait queue, and is not filled
/// in.
pub(crate) struct FreeRequest<R: Request>(pub(super) Arc<RequestInner<R>>);

impl<R: Request> FreeRequest<R> {
    /// Allocates memory for a request. Returns `ENOMEM` if there is none.
    pub(crate) fn new() -> Result<Self> {
        let this = Arc::pin_init(
            pin_init!(RequestInner {
                // `Prepared::new` or `Light::issue` fills this in.
                iocb: Opaque::uninit(),
                work <- new_work!("kaio request"),
                polls <- PollEntries::new(),
                run_links <- ListLinks::new(),
                cancel_links <- ListLinks::new(),
                run_tracker <- AtomicTracker::new(),
                cancel_tracker <- AtomicTracker::new(),
                state: State::new(AtomicWord::new()),
                wakes_workers: AtomicFlag::new(false),
                marks: UnsafeCell::new(Marks::default()),
                // `OrderQueues::join` fills this in.
                order_links: Opaque::uninit(),
                key: UnsafeCell::new(0),
                data: UnsafeCell::new(MaybeUninit::uninit()),
                shared: UnsafeCell::new(MaybeUninit::uninit()),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        // INVARIANT: the request was made just now, and no field says otherwise.
        Ok(Self(this))
    }

    /// Returns the memory itself, for a light request.
    pub(super) fn into_arc(self) -> Arc<RequestInner<R>> {
        self.0
    }

    /// Gives up a reference to the memory of a light request that has ended, or has become a full
    /// one. Returns the memory if the reference was the last one and the request was light to its
    /// end.
    #[inline]
    pub(super) fn reclaim(this: Arc<RequestInner<R>>) -> Option<Self> {
        let this = Arc::into_unique_or_drop(this)?;
        // SAFETY: a `UniqueArc` is the only reference, so no other thread touches the marks.
        if unsafe { (*this.marks.get()).filled } {
            Pool::keep(this);
            return None;
        }
        // INVARIANT: the `UniqueArc` was the only reference. A light request is in no list and on
        // no wait queue, and is not filled in.
        Some(Self(this.into()))
    }

    /// Returns the memory of a request that has ended, and its shared part.
    ///
    /// # Safety
    ///
    /// The caller ensures that the request is filled in, and is in no list and on no wait queue.
    pub(super) unsafe fn of(ended: Pin<UniqueArc<RequestInner<R>>>) -> (Self, R::Shared) {
        // SAFETY: the caller ensures that the request is filled in.
        let (this, shared) = unsafe { RequestInner::empty(ended) };
        // INVARIANT: the `UniqueArc` was the only reference, and `empty` has emptied the request.
        // The caller ensures the rest.
        (Self(this), shared)
    }
}

/// The memory of requests that have ended, for the next requests of a context.
#[pin_data]
pub(crate) struct Pool<R: Request> {
    #[pin]
    free: IrqLock<KVec<FreeRequest<R>>>,
}

/// The number of requests for which memory is taken from a [`Pool`] under one hold of the lock.
const BATCH: usize = 16;
/// The number of requests whose memory a [`RequestCache`] keeps. With KASAN this is 1, so that
/// KASAN sees the use of a request that has ended.
const CACHED: usize = if cfg!(CONFIG_KASAN) { 1 } else { 32 };

/// The memory of requests that a submit call has at hand.
pub(crate) type RequestCache<R> = ArrayVec<FreeRequest<R>, CACHED>;

impl<R: Request> Pool<R> {
    /// Makes a pool that keeps the memory of at most `len` requests. Returns `ENOMEM` if there is
    /// no memory.
    pub(crate) fn new(len: usize) -> Result<impl PinInit<Self>> {
        let free = KVec::with_capacity(len, GFP_KERNEL_ACCOUNT)?;
        Ok(pin_init!(Self {
            free <- new_irq_lock!(free, "kaio_pool"),
        }))
    }

    /// Gives up a reference to a full request. If that is the last reference, the request has
    /// ended, and the pool keeps its memory. Any context.
    pub(super) fn give(this: Arc<RequestInner<R>>) {
        if let Some(this) = Arc::into_unique_or_drop(this) {
            Self::keep(this);
        }
    }

    /// Keeps the memory of a full request that has ended, and to which this is the last reference.
    fn keep(this: Pin<UniqueArc<RequestInner<R>>>) {
        // SAFETY: `give` gets references to full requests only, and `reclaim` has looked at
        // `filled`, so the request is filled in. A list or a wait queue that the request is in has
        // a reference to it, or is left by the token holder before that drops the last reference.
        let (free, shared) = unsafe { FreeRequest::of(this) };
        // `shared` keeps the pool.
        R::pool(&shared).put(free);
    }

    /// Keeps the memory of a request, if there is room. Any context.
    pub(crate) fn put(&self, free: FreeRequest<R>) {
        let full = self.free.lock().push_within_capacity(free);
        // The lock is not held any more while memory is freed.
        drop(full);
    }

    /// Returns memory from `cache`. If that is empty, this first fills `cache` up from the pool,
    /// for `want` requests that are still to come. Returns `None` if the pool is empty, too.
    #[inline]
    pub(crate) fn take(&self, cache: &mut RequestCache<R>, want: usize) -> Option<FreeRequest<R>> {
        if cache.is_empty() {
            self.fill(cache, want);
        }
        cache.pop()
    }

    /// Moves memory for up to `want` requests from the pool to `cache`.
    fn fill(&self, cache: &mut RequestCache<R>, want: usize) {
        let mut free = self.free.lock();
        for _ in 0..want.clamp(1, BATCH) {
            let Some(request) = free.pop() else {
                return;
            };
            if let Err(full) = cache.push(request) {
                // The pool has room for what it had a moment ago.
                let _ = free.push_within_capacity(full);
                return;
            }
        }
    }

    /// Moves the memory in `cache` back to the pool, as far as the pool has room.
    pub(crate) fn clear(&self, cache: &mut RequestCache<R>) {
        let mut full = None;
        let mut free = self.free.lock();
        while full.is_none() && !cache.is_empty() {
            full = cache
                .pop()
                .and_then(|request| free.push_within_capacity(request).err());
        }
        drop(free);
        // The lock is not held any more while memory is freed. What is left in `cache` stays there.
        drop(full);
    }
}
