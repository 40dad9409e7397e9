// SPDX-License-Identifier: GPL-2.0

//! The file of a ring, which owns the context, and its mapping (`aio_private_file()` and
//! `aio_setup_ring()` of fs/aio.c).
//!
//! The file is mapped once, into the process that made it. A child does not inherit the mapping.
//! The mapping does not grow and cannot be split, and the context is told when it moves or ends.
//! The operations, with the invariants and the locks, are in `sys::ring_vma`.

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    sync::{
        Arc,
        UniqueArc, //
    },
};

use super::{
    ffi,
    lease::Lease,
    ring_vma::Ops, //
};

pub(crate) use super::ring_vma::Mapped;

/// Makes the file for `object`, and its first lease. As this has the only reference to `object`,
/// the object has no other file. Returns `ENOMEM` if the file cannot be made.
pub(crate) fn create<T: Mapped>(object: Pin<UniqueArc<T>>) -> Result<(Arc<T>, Lease<T>)> {
    let object: Arc<T> = object.into();
    let private = Arc::into_raw(object.clone()).cast_mut();
    // SAFETY: the name and the file operations are static. `private` is what `Arc::into_raw`
    // returned, for `release` to take once the last reference to the file has gone.
    let file = from_err_ptr(unsafe {
        ffi::kaio_anon_file(c"[kaio]".as_char_ptr(), &Ops::<T>::FILE, private.cast())
    });
    match file.map(NonNull::new) {
        Ok(Some(file)) => {
            // SAFETY: this gives up the reference that `kaio_anon_file()` returned. The file owns
            // the `Arc` that is its private data until `release`. There is no lease and no other
            // file, as each would own another reference to the object, which was a `UniqueArc`.
            let lease = unsafe { Lease::open(&object, file) };
            Ok((object, lease))
        }
        _ => {
            // SAFETY: `Arc::into_raw` returned `private`, and no file was made that would take it.
            drop(unsafe { Arc::from_raw(private) });
            // io_setup(2) has no other errno for this.
            Err(ENOMEM)
        }
    }
}

/// Maps the pages of `object` into the current task, and returns the address. Returns `ENOMEM` if
/// that fails.
pub(crate) fn map<T: Mapped>(object: &Lease<T>) -> Result<usize> {
    let len = object.pages().len();
    // SAFETY: by the invariant of `Leases` the file is open as long as there is a lease, which
    // `object` is. The function maps it as mmap(2) does, at an address that is free.
    let address = unsafe {
        bindings::vm_mmap(
            object.leases().file(),
            0,
            len,
            ffi::kaio_const_KAIO_PROT_RW as usize,
            ffi::kaio_const_KAIO_MAP_SHARED as usize,
            0,
        )
    };
    if address >= -(bindings::MAX_ERRNO as isize) as usize {
        // io_setup(2) has no other errno for this.
        return Err(ENOMEM);
    }
    Ok(address)
}

/// Replaces the pages of `object`, which were mapped at `start` in the current mm, by private
/// memory of zeroes, in one step. Returns `ENXIO` if the program has moved or unmapped the pages,
/// so that nothing was replaced, and the errno of mmap(2) if that failed, such as `ENOMEM`.
pub(crate) fn replace<T: Mapped>(object: &T, start: usize) -> Result {
    let len = object.pages().len();
    // SAFETY: the function changes the mappings of the current task as mmap(2) does, which any
    // program may do at any time. It compares the address of `object` with the private data of the
    // file, which `create` set, and of the mapping, which `mmap` set, and does not follow it.
    to_result(unsafe { ffi::kaio_ring_replace(start, len, (&raw const *object).cast()) })
}
