// SPDX-License-Identifier: GPL-2.0

//! Leases: how requests keep their context, and the module, without owning them.
//!
//! A context belongs to its ring's file (`sys::ring_file`), whose release runs in process context
//! whatever context the last `fput()` comes from, and which pins the module. One reference to that
//! file is held here as long as a lease is out. So a completion in interrupt drops a lease and
//! never runs a destructor of a context.

use core::{
    cell::Cell,
    ops::Deref,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    sync::{
        atomic::{
            Acquire,
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
/// `count` is 0, or `file` is a reference of ours to a file that owns an [`Arc`] to the object.
pub(crate) struct Leases {
    count: Atomic<u32>,
    file: Atomic<usize>,
}

/// What leases can be taken of.
pub(crate) trait Leased: Send + Sync + 'static {
    fn leases(&self) -> &Leases;
    /// The last lease is gone. Any context.
    fn drained(&self);
}

impl Leases {
    /// None can be taken until [`Self::open`].
    pub(crate) const fn new() -> Self {
        Self {
            count: Atomic::new(0),
            file: Atomic::new(0),
        }
    }

    /// Leases can be taken from now on; one is out until [`retire`].
    ///
    /// # Safety
    ///
    /// The caller gives up a reference to `file`, which owns an [`Arc`] to the object that these
    /// leases are of, until it is released. Called once.
    pub(super) unsafe fn open(&self, file: NonNull<bindings::file>) {
        // INVARIANT: as the caller promises.
        self.file.store(file.as_ptr() as usize, Relaxed);
        self.count.store(1, Release);
    }

    /// Whether all leases are gone.
    pub(crate) fn are_gone(&self) -> bool {
        self.count.load(Acquire) == 0
    }

    pub(super) fn file(&self) -> *mut bindings::file {
        self.file.load(Relaxed) as *mut bindings::file
    }
}

/// Takes back the lease of [`Leases::open`]. To be called once, by whoever ends the object.
pub(crate) fn retire<T: Leased>(object: &T) {
    put(object, 1);
}

#[inline]
fn put<T: Leased>(object: &T, count: u32) {
    if object.leases().count.fetch_sub(count, Full) == count {
        were_last(object);
    }
}

#[cold]
fn were_last<T: Leased>(object: &T) {
    // The file, and with it the object, stays until the `fput()`.
    let file = object.leases().file();
    object.drained();
    // SAFETY: by the invariant the reference was ours while the count was not 0, and only one caller
    // sees it become 0.
    unsafe { bindings::fput(file) };
}

/// Keeps `T` alive. May be dropped in any context.
///
/// # Invariants
///
/// Counted in the object's [`Leases`], so the object lives.
pub(crate) struct Lease<T: Leased>(NonNull<T>);

// SAFETY: shares a `T`, which is `Send + Sync`.
unsafe impl<T: Leased> Send for Lease<T> {}
// SAFETY: as above.
unsafe impl<T: Leased> Sync for Lease<T> {}

/// Leases that are taken at once. Few: a call that sleeps keeps them, and there may be many calls.
const AT_ONCE: u32 = 32;

/// Leases that were taken together, for somebody who gives them out one by one.
///
/// # Invariants
///
/// `spare` and one more are counted in the object's [`Leases`], so the object lives.
pub(crate) struct Bundle<T: Leased> {
    object: NonNull<T>,
    spare: Cell<u32>,
}

impl<T: Leased> Bundle<T> {
    /// `None` if the object was retired and all leases are gone.
    pub(crate) fn new(object: &Arc<T>) -> Option<Self> {
        let count = &object.leases().count;
        let mut old = count.load(Relaxed);
        loop {
            if old == 0 {
                return None;
            }
            let new = old.checked_add(1)?;
            match count.cmpxchg(old, new, Full) {
                // INVARIANT: just counted.
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

    /// One of `want` that will be needed, which is not 0.
    pub(crate) fn take(&self, want: u32) -> Lease<T> {
        let mut spare = self.spare.get();
        if spare == 0 {
            spare = want.clamp(1, AT_ONCE);
            self.leases().count.add(spare, Relaxed);
        }
        self.spare.set(spare.saturating_sub(1));
        // INVARIANT: it was counted, as a spare one or just now.
        Lease(self.object)
    }
}

impl<T: Leased> Deref for Bundle<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by the invariant the count is not 0, so the file is open and owns the object.
        unsafe { self.object.as_ref() }
    }
}

impl<T: Leased> Drop for Bundle<T> {
    fn drop(&mut self) {
        put(&**self, self.spare.get().saturating_add(1));
    }
}

impl<T: Leased> Lease<T> {
    /// Another one.
    pub(crate) fn again(&self) -> Self {
        let leases = self.leases();
        // INVARIANT: counted, and it was not 0.
        leases.count.add(1u32, Relaxed);
        Self(self.0)
    }

    /// A counted reference, for somebody who drops it in process context: it can be the last once
    /// the leases have gone.
    pub(crate) fn object(&self) -> Arc<T> {
        // SAFETY: the pointer is that of an `Arc` which the file owns, and by the invariant the
        // file is open.
        unsafe { ArcBorrow::from_raw(self.0.as_ptr()) }.into()
    }
}

impl<T: Leased> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by the invariant the count is not 0, so the file is open and owns the object.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Leased> Drop for Lease<T> {
    fn drop(&mut self) {
        put(&**self, 1);
    }
}
