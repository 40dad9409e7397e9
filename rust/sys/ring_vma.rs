// SPDX-License-Identifier: GPL-2.0

//! The operations of a ring's file and of its mapping (`aio_ring_fops` and `aio_ring_vm_ops` of
//! fs/aio.c).
//!
//! The private data of the file is an `Arc` of the object from `ring_file::create` to `release`.
//! The mapping holds the file, and has a pointer to the object. A page is mapped on the first
//! access, so that `MADV_DONTNEED` loses nothing.
//!
//! The kernel calls `mmap`, `mremap` and `close` under the mmap lock. The methods of [`Mapped`] may
//! take sleeping locks of their own there, and must not hold these while they access user memory.

use core::marker::PhantomData;

use kernel::{
    bindings,
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

/// An object whose pages are mapped. (This trait is safe: whatever its methods return, the page
/// table owns a reference to each page in it, and the mapping owns the object.)
pub(crate) trait Mapped: Leased {
    /// Returns the pages to map.
    fn pages(&self) -> &SharedPages;
    /// Returns the mm into which the pages may be mapped.
    fn mm(&self) -> &Mm;
    /// Returns whether this mmap of the file is the one that `ring_file::map` makes. Called once
    /// for each mmap.
    fn take_mapping(&self) -> bool;
    /// Takes note that the mapping is now at `start`. Any error makes mmap(2) or mremap(2) fail.
    fn moved(&self, start: usize) -> Result;
    /// Takes note that a mapping at `start` is gone. That may be an old mapping, after a move.
    fn unmapped(&self, start: usize);
}

/// The operations of the file and the mapping of a `T`.
pub(super) struct Ops<T>(PhantomData<T>);

impl<T: Mapped> Ops<T> {
    /// The operations of the file.
    pub(super) const FILE: bindings::file_operations = bindings::file_operations {
        owner: module::owner(),
        mmap: Some(Self::mmap),
        release: Some(Self::release),
        llseek: Some(bindings::noop_llseek),
        ..pin_init::zeroed()
    };

    /// The operations of the mapping.
    const VMA: bindings::vm_operations_struct = bindings::vm_operations_struct {
        close: Some(Self::close),
        may_split: Some(Self::may_split),
        mremap: Some(Self::mremap),
        fault: Some(Self::fault),
        ..pin_init::zeroed()
    };

    /// Maps the file.
    ///
    /// # Safety
    ///
    /// The caller is the kernel, which holds `file`, a file that `ring_file::create` made, and
    /// which is making `vma` under the mmap lock.
    unsafe extern "C" fn mmap(
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> kernel::ffi::c_int {
        // SAFETY: `ring_file::create` made the private data of the file an `Arc<T>`, which
        // `release` takes once the kernel does not hold the file any more.
        let (private, object) =
            unsafe { ((*file).private_data, &*(*file).private_data.cast::<T>()) };
        // SAFETY: the kernel is making `vma`, and no other task has it yet.
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
        // SAFETY: the kernel lets this method fill `vma` in. The operations are static. `vma` holds
        // the file as long as it exists, and the file owns the object that `private` points to.
        unsafe { ffi::kaio_ring_vma_init(vma, &Self::VMA, private) };
        0
    }

    /// Gives up the object of the file.
    ///
    /// # Safety
    ///
    /// The caller is the kernel, which calls this once, when the last reference to `file`, a file
    /// that `ring_file::create` made, has gone.
    unsafe extern "C" fn release(
        _inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> kernel::ffi::c_int {
        // SAFETY: `ring_file::create` made the private data what `Arc::into_raw` returned, and this
        // takes it once. Leases and mappings, which use the object by the file's reference, hold
        // the file, so there are none any more.
        drop(unsafe { Arc::from_raw((*file).private_data.cast::<T>()) });
        0
    }

    /// Returns the object of a mapping.
    ///
    /// # Safety
    ///
    /// The caller ensures that `mmap` filled `vma` in, or that `vma` is a copy of such a mapping,
    /// and that `vma` exists for `'a`.
    unsafe fn object<'a>(vma: *mut bindings::vm_area_struct) -> &'a T {
        // SAFETY: `mmap` set the private data to the object of the file, and a copy has the same.
        // The caller ensures that `vma` exists. It holds the file, and the file owns the object.
        unsafe { &*(*vma).vm_private_data.cast() }
    }

    /// Handles the first access to a page.
    ///
    /// # Safety
    ///
    /// The caller is the kernel, with a fault in a mapping that `mmap` filled in, which it has
    /// locked.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: the kernel handles a fault in a mapping that `mmap` filled in, and the lock keeps
        // the mapping until this returns.
        let (object, index) = unsafe {
            (
                Self::object((*vmf).__bindgen_anon_1.vma),
                (*vmf).__bindgen_anon_1.pgoff,
            )
        };
        match object.pages().page(index) {
            Some(page) => {
                // SAFETY: `object` keeps the page during the call. The callee takes a reference to
                // it, which the kernel gives to the page table.
                unsafe { ffi::kaio_ring_fault_page(vmf, page.as_ptr()) };
                0
            }
            None => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
        }
    }

    /// Refuses to split the mapping.
    ///
    /// # Safety
    ///
    /// The caller is the kernel, which asks about a mapping. This function relies on nothing.
    unsafe extern "C" fn may_split(
        _vma: *mut bindings::vm_area_struct,
        _addr: kernel::ffi::c_ulong,
    ) -> kernel::ffi::c_int {
        EINVAL.to_errno()
    }

    /// Takes note that the mapping moves.
    ///
    /// # Safety
    ///
    /// The caller is the kernel, with the mmap lock held. `vma` is a copy of a mapping that `mmap`
    /// filled in.
    unsafe extern "C" fn mremap(vma: *mut bindings::vm_area_struct) -> kernel::ffi::c_int {
        // SAFETY: `vma` is the new mapping, a copy of one that `mmap` filled in, and the mmap lock
        // keeps it until this returns.
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

    /// Takes note that a mapping is gone.
    ///
    /// # Safety
    ///
    /// The caller is the kernel, which is removing `vma`, a mapping that `mmap` filled in or a copy
    /// of one.
    unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
        // SAFETY: `mmap` filled in `vma`, or the mapping of which it is a copy. The kernel frees
        // `vma`, and gives up its file, after this has returned.
        let (object, start, mm) = unsafe {
            (
                Self::object(vma),
                (*vma).__bindgen_anon_1.__bindgen_anon_1.vm_start,
                (*vma).vm_mm,
            )
        };
        // A child has no copy of the mapping, and MADV_DOFORK is refused. A mapping in another mm
        // would not concern the context.
        if object.mm().is(mm) {
            object.unmapped(start);
        }
    }
}
