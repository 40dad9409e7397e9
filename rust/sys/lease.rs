// SPDX-License-Identifier: GPL-2.0

//! Leases, by which requests keep their context, and the module, without owning them.
//!
//! The counterpart is `ctx->reqs`, the percpu reference of fs/aio.c.
//!
//! A context belongs to the file of its ring (`sys::ring_file`). The kernel releases that file in
//! process context, in whatever context the last `fput()` comes, and the file pins the module. The
//! leases of a context hold one reference to that file together. So a completion in interrupt drops
//! a lease, and never runs the destructor of a context. Leases take no locks.

use core::{
    cell::Cell,
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc,
        ArcBorrow, //
    },
};

/// The leases of one object.
///
/// # Invariants
///
/// `count` is the number of leases that exist or are kept in a [`LeaseBatch`]. While it is not 0,
/// `file` is a reference to a file that owns an [`Arc`] to the object, and these leases own the
/// reference.
pub(crate) struct Leases {
    count: Atomic<u32>,
    file: Atomic<usize>,
}

/// An object that can be leased.
///
/// # Safety
///
/// The implementer guarantees that [`Self::leases`] returns the same `Leases` in each call for an
/// object, as long as the object exists, and returns it for no other object. A field of the object
/// fulfils this.
pub(crate) unsafe trait Leased: Send + Sync + 'static {
    /// Returns the leases of the object.
    fn leases(&self) -> &Leases;
    /// Takes note that the last lease has gone. Any context.
    fn drained(&self);
}

impl Leases {
    /// Makes leases of which none can be taken until [`Self::open`].
    pub(crate) const fn new() -> Self {
        Self {
            count: Atomic::new(0),
            file: Atomic::new(0),
        }
    }

    /// Lets leases be taken from now on. The caller has the first one.
    ///
    /// # Safety
    ///
    /// The caller gives up a reference to `file`. It ensures that `file` owns an [`Arc`] to the
    /// object of these leases until `file` is released, that there is no lease, and that no other
    /// file for which this was called is still open.
    pub(crate) unsafe fn open(&self, file: NonNull<bindings::file>) {
        // INVARIANT: the caller gives up the reference, and ensures that the file owns the object.
        self.file.store(file.as_ptr() as usize, Relaxed);
        self.count.store(1, Release);
    }

    /// Returns the file. The pointer is valid while the caller has a lease.
    pub(crate) fn file(&self) -> *mut bindings::file {
        self.file.load(Relaxed) as *mut bindings::file
    }
}

/// Gives up `count` leases of `object`.
#[inline]
fn put<T: Leased>(object: &T, count: u32) {
    if object.leases().count.fetch_sub(count, Full) == count {
        were_last(object);
    }
}

/// Gives up the file, since the last lease of `object` has gone.
#[cold]
fn were_last<T: Leased>(object: &T) {
    // The file, and with it the object, stays until the `fput()`.
    let file = object.leases().file();
    object.drained();
    // SAFETY: by the invariant of `Leases` the leases owned a reference to `file` while the count
    // was not 0. Only one thread counts it down to 0, and that thread calls this, so the reference
    // is given up once. `LeaseBatch::new` does not count up from 0.
    unsafe { bindings::fput(file) };
}

/// A lease, which keeps a `T` in memory. May be dropped in any context.
///
/// # Invariants
///
/// The [`Leases`] of the object count this lease, so the object is in memory. The pointer is that
/// of an [`Arc`].
pub(crate) struct Lease<T: Leased>(NonNull<T>);

// SAFETY: a lease shares a `T`, which is `Send` and `Sync`, and any thread may drop a lease.
unsafe impl<T: Leased> Send for Lease<T> {}
// SAFETY: a shared lease gives access to a shared `T`, which is `Sync`, and to new leases.
unsafe impl<T: Leased> Sync for Lease<T> {}

/// The number of leases that are taken together. It is small, because a submit call that sleeps
/// keeps its leases, and there may be many such calls.
const BATCH: u32 = 32;

/// Leases that were taken together, for a submit call that gives them to its requests one by one.
///
/// # Invariants
///
/// The [`Leases`] of the object count `spare` leases and one more for this batch, so the object is
/// in memory.
pub(crate) struct LeaseBatch<T: Leased> {
    object: NonNull<T>,
    spare: Cell<u32>,
}

impl<T: Leased> LeaseBatch<T> {
    /// Makes a batch with its one lease. Returns `None` if all leases have gone, so that the
    /// context has ended.
    pub(crate) fn new(object: &Arc<T>) -> Option<Self> {
        let count = &object.leases().count;
        let mut old = count.load(Relaxed);
        loop {
            if old == 0 {
                return None;
            }
            let new = old.checked_add(1)?;
            match count.cmpxchg(old, new, Full) {
                // INVARIANT: the exchange counted the one lease, and `spare` is 0.
                Ok(_) => {
                    return Some(Self {
                        object: NonNull::from(&**object),
                        spare: Cell::new(0),
                    })
                }
                Err(found) => old = found,
            }
        }
    }

    /// Returns a lease. It is one of `want` leases that the caller is going to take, itself
    /// included.
    pub(crate) fn take(&self, want: u32) -> Lease<T> {
        let mut spare = self.spare.get();
        if spare == 0 {
            spare = want.clamp(1, BATCH);
            self.leases().count.add(spare, Relaxed);
        }
        self.spare.set(spare.saturating_sub(1));
        // INVARIANT: the lease was one of the spare ones, which the `Leases` count, and is not
        // spare any more. `LeaseBatch::new` took the pointer from an `Arc`.
        Lease(self.object)
    }
}

impl<T: Leased> Deref for LeaseBatch<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by the type's invariant the count is not 0, so by that of `Leases` the file is
        // open and owns the object.
        unsafe { self.object.as_ref() }
    }
}

impl<T: Leased> Drop for LeaseBatch<T> {
    fn drop(&mut self) {
        put(&**self, self.spare.get().saturating_add(1));
    }
}

impl<T: Leased> Lease<T> {
    /// Makes the first lease of `object`. Once this lease and all others have gone, no more can be
    /// taken.
    ///
    /// # Safety
    ///
    /// The caller ensures what [`Leases::open`] asks for, of `file` and the leases of `object`.
    pub(crate) unsafe fn open(object: &Arc<T>, file: NonNull<bindings::file>) -> Self {
        // SAFETY: the caller ensures what `Leases::open` asks for.
        unsafe { object.leases().open(file) };
        // INVARIANT: `Leases::open` set the count to 1, for this lease.
        Self(NonNull::from(&**object))
    }

    /// Returns a counted reference to the object. The caller drops it in process context, since it
    /// may be the last reference once the leases have gone.
    pub(crate) fn object(&self) -> Arc<T> {
        // SAFETY: by the type's invariant the pointer is that of an `Arc`. The file owns one, and
        // is open as long as the count, which counts `self`, is not 0.
        unsafe { ArcBorrow::from_raw(self.0.as_ptr()) }.into()
    }
}

impl<T: Leased> Clone for Lease<T> {
    fn clone(&self) -> Self {
        let leases = self.leases();
        // INVARIANT: this counts the new lease. The count was not 0, as it counts `self`.
        leases.count.add(1u32, Relaxed);
        Self(self.0)
    }
}

impl<T: Leased> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by the type's invariant the count is not 0, so by that of `Leases` the file is
        // open and owns the object.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Leased> Drop for Lease<T> {
    fn drop(&mut self) {
        put(&**self, 1);
    }
}
