// SPDX-License-Identifier: GPL-2.0

//! The ring's mapping: a private file that owns the context, mapped once into its maker.
//!
//! The mapping is not inherited by fork, does not grow, cannot be split, and says so when it moves
//! or ends. Pages are mapped on the first touch, so `MADV_DONTNEED` loses nothing.
//!
//! `mmap`, `mremap` and `close` run under the mmap lock: a [`Mapped`] may take its own sleeping
//! locks there, and must not hold those while it touches user memory.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    sync::Arc, //
};

use super::{
    ffi,
    lease::Leased,
    mm::Mm,
    module,
    pages::SharedPages, //
};

/// An object whose pages are mapped.
pub(crate) trait Mapped: Leased {
    fn pages(&self) -> &SharedPages;
    fn mm(&self) -> &Mm;
    /// Asked once for each mmap of the file: whether this is the one that [`map`] makes.
    fn take_mapping(&self) -> bool;
    /// The mapping is now at `start`.
    fn moved(&self, start: usize) -> Result;
    /// A mapping at `start` is gone. It may be an old one, after a move.
    fn unmapped(&self, start: usize);
}

struct Ops<T>(PhantomData<T>);

/// Makes the file for `object`, and opens its leases.
pub(crate) fn create<T: Mapped>(object: &Arc<T>) -> Result {
    let private = Arc::into_raw(object.clone()).cast_mut();
    // SAFETY: names and operations that live on; `private` is an `Arc` for `release` to take.
    let file = from_err_ptr(unsafe {
        ffi::kaio_anon_file(c"[kaio]".as_char_ptr(), &Ops::<T>::FILE, private.cast())
    });
    match file.map(NonNull::new) {
        Ok(Some(file)) => {
            // SAFETY: the reference from `kaio_anon_file()` is given up; the file owns the `Arc`
            // that is its private data until `release`.
            unsafe { object.leases().open(file) };
            Ok(())
        }
        _ => {
            // SAFETY: no file took it.
            drop(unsafe { Arc::from_raw(private) });
            // io_setup(2) knows one reason only.
            Err(ENOMEM)
        }
    }
}

/// Maps the pages of `object` into the current task; returns the address.
pub(crate) fn map<T: Mapped>(object: &T) -> Result<usize> {
    let len = object.pages().len();
    // SAFETY: the leases are open, so the file is.
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
        // io_setup(2) knows one reason only.
        return Err(ENOMEM);
    }
    Ok(address)
}

impl<T: Mapped> Ops<T> {
    const FILE: bindings::file_operations = bindings::file_operations {
        owner: module::owner(),
        mmap: Some(Self::mmap),
        release: Some(Self::release),
        llseek: Some(bindings::noop_llseek),
        ..pin_init::zeroed()
    };

    const VMA: bindings::vm_operations_struct = bindings::vm_operations_struct {
        close: Some(Self::close),
        may_split: Some(Self::may_split),
        mremap: Some(Self::mremap),
        fault: Some(Self::fault),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// For the kernel: `file` is ours, and `vma` is being made, under the mmap lock.
    unsafe extern "C" fn mmap(
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> kernel::ffi::c_int {
        // SAFETY: `create` made the file with an `Arc<T>` that lives until `release`.
        let (private, object) =
            unsafe { ((*file).private_data, &*(*file).private_data.cast::<T>()) };
        // SAFETY: the kernel is making `vma` and has it locked.
        let (start, end, pgoff) = unsafe {
            let range = &(*vma).__bindgen_anon_1.__bindgen_anon_1;
            (range.vm_start, range.vm_end, (*vma).vm_pgoff)
        };
        if !object.mm().is_current() || pgoff != 0 || end - start != object.pages().len() {
            return EINVAL.to_errno();
        }
        if !object.take_mapping() || object.moved(start).is_err() {
            return EINVAL.to_errno();
        }
        // SAFETY: `vma` is ours to fill in; it holds the file, which holds the object.
        unsafe { ffi::kaio_ring_vma_init(vma, &Self::VMA, private) };
        0
    }

    /// # Safety
    ///
    /// For the kernel: the last user of `file` is gone.
    unsafe extern "C" fn release(
        _inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> kernel::ffi::c_int {
        // SAFETY: takes back what `create` gave; the last user of the file is gone, so leases
        // (they hold it) and mappings are.
        drop(unsafe { Arc::from_raw((*file).private_data.cast::<T>()) });
        0
    }

    /// # Safety
    ///
    /// `vma` is one that `mmap` filled in.
    unsafe fn object<'a>(vma: *mut bindings::vm_area_struct) -> &'a T {
        // SAFETY: `mmap` set it to the object of the file, which `vma` holds.
        unsafe { &*(*vma).vm_private_data.cast() }
    }

    /// # Safety
    ///
    /// For the kernel: `vmf` is for a vma of ours, which is locked.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: called for a vma of ours, with the vma locked.
        let (object, index) = unsafe {
            (
                Self::object((*vmf).__bindgen_anon_1.vma),
                (*vmf).__bindgen_anon_1.pgoff,
            )
        };
        match object.pages().page(index) {
            Some(page) => {
                // SAFETY: the callee takes a reference to the page for the page table.
                unsafe { ffi::kaio_ring_fault_page(vmf, page.as_ptr()) };
                0
            }
            None => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
        }
    }

    /// # Safety
    ///
    /// For the kernel: `_vma` is ours.
    unsafe extern "C" fn may_split(
        _vma: *mut bindings::vm_area_struct,
        _addr: kernel::ffi::c_ulong,
    ) -> kernel::ffi::c_int {
        EINVAL.to_errno()
    }

    /// # Safety
    ///
    /// For the kernel: `vma` is a copy of ours, under the mmap lock.
    unsafe extern "C" fn mremap(vma: *mut bindings::vm_area_struct) -> kernel::ffi::c_int {
        // SAFETY: called for the new vma, a copy of ours, with the mmap lock held.
        let (object, start, mm) = unsafe {
            (
                Self::object(vma),
                (*vma).__bindgen_anon_1.__bindgen_anon_1.vm_start,
                (*vma).vm_mm,
            )
        };
        if !object.mm().is(mm) {
            return EINVAL.to_errno();
        }
        object.moved(start).map_or_else(|e| e.to_errno(), |()| 0)
    }

    /// # Safety
    ///
    /// For the kernel: `vma` is ours and goes.
    unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
        // SAFETY: called for a vma of ours that goes.
        let (object, start, mm) = unsafe {
            (
                Self::object(vma),
                (*vma).__bindgen_anon_1.__bindgen_anon_1.vm_start,
                (*vma).vm_mm,
            )
        };
        // A child has no copy (and MADV_DOFORK is refused); if it had, it would be no business of
        // the context.
        if object.mm().is(mm) {
            object.unmapped(start);
        }
    }
}
