// SPDX-License-Identifier: GPL-2.0

//! The buffers of a request, in the memory of the submitter.
//!
//! The counterpart is `aio_setup_rw()` of fs/aio.c, and the `struct iov_iter` that it fills in. The
//! submitter imports the buffers; each attempt works on a copy of the iterator. No code changes the
//! segments after the import, so there are no locks.

use core::{
    mem::MaybeUninit,
    ptr, //
};

use kernel::{
    bindings,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};

use super::ffi;

/// The number of bytes that one transfer moves at most (`MAX_RW_COUNT`).
pub(crate) const MAX_LEN: usize = i32::MAX as usize & !(PAGE_SIZE - 1);

/// The buffers of a request, which the submit call has checked. May be dropped in any context.
///
/// # Invariants
///
/// `iter` is zero, or a valid iterator of user memory that points into `vec` if it has more than
/// one segment.
pub(crate) struct Buffers {
    /// The iterator as it was imported.
    iter: bindings::iov_iter,
    /// The segments, if `iter` points into memory.
    vec: Option<Segments>,
}

/// The memory of segments. The length of the vector is 0, although `import_iovec()` has filled its
/// memory in; no code changes that memory afterwards. [`Buffers`] and each [`Iter`] made from them
/// have a reference.
type Segments = Arc<KVec<bindings::iovec>>;

// SAFETY: the iterator has addresses of user memory, which belong to no thread, and points into
// memory to which `vec` has a reference. An `Arc` of plain data may go to any thread.
unsafe impl Send for Buffers {}
// SAFETY: a shared `Buffers` is only copied from, and no code changes the segments.
unsafe impl Sync for Buffers {}

/// The iterator that one attempt consumes.
///
/// # Invariants
///
/// `raw` is a valid iterator of user memory, or zero, and points into `_vec` if it has more than
/// one segment.
pub(crate) struct Iter {
    raw: bindings::iov_iter,
    /// The segments, if `raw` points into memory.
    _vec: Option<Segments>,
}

/// Reads an array of one `struct iovec` at `addr`. Returns the address and the length of its
/// buffer.
///
/// Returns `None` if the array cannot be read, or its length is wrong, or the current task is a
/// 32-bit program; [`Buffers::import_vector`] then finds the errno.
pub(crate) fn only_segment(addr: usize) -> Option<(usize, usize)> {
    let mut iov = bindings::iovec::default();
    // SAFETY: `iov` is a local variable. The callee checks the address.
    let read = unsafe { ffi::kaio_read_iovec(&mut iov, addr) };
    read.then_some((iov.iov_base as usize, iov.iov_len))
}

/// Returns the direction of an iterator for a write or a read.
fn direction(write: bool) -> kernel::ffi::c_int {
    let direction = if write {
        bindings::ITER_SOURCE
    } else {
        bindings::ITER_DEST
    };
    direction as kernel::ffi::c_int
}

impl Buffers {
    /// Makes buffers of no bytes, into which something can be imported.
    pub(crate) fn none() -> Self {
        // INVARIANT: the iterator is zero.
        Self {
            // SAFETY: `struct iov_iter` consists of integers, pointers and unions of them, for
            // which zero is a valid value.
            iter: unsafe { MaybeUninit::zeroed().assume_init() },
            vec: None,
        }
    }

    /// Imports one buffer. Returns `EFAULT` if the addresses are not those of user memory.
    pub(crate) fn import_single(&mut self, write: bool, addr: usize, len: usize) -> Result {
        let iter = &mut self.iter;
        // SAFETY: `iter` is mutably borrowed. The callee fills it in, and only checks the address.
        let ret = unsafe { bindings::import_ubuf(direction(write), addr as *mut _, len, iter) };
        kernel::error::to_result(ret)
    }

    /// Makes one buffer of at most [`MAX_LEN`] bytes, whose addresses the submit call has found to
    /// be those of user memory.
    pub(crate) fn checked(write: bool, addr: usize, len: usize) -> Self {
        let mut buffers = Self::none();
        // SAFETY: `iter` is a field of a local variable. The callee fills it in. The addresses are
        // used only by copies from and to user memory, which handle faults.
        unsafe { ffi::kaio_iter_ubuf(&mut buffers.iter, direction(write), addr, len) };
        buffers
    }

    /// Imports an array of `nr` `struct iovec`.
    ///
    /// Returns the errnos of readv(2): `EFAULT` if the array or a buffer is not in user memory,
    /// `EINVAL` if `nr` or a length is wrong, and `ENOMEM` if there is no memory.
    pub(crate) fn import_vector(&mut self, write: bool, addr: usize, nr: usize) -> Result {
        if nr == 0 {
            return self.import_single(write, 0, 0);
        }
        if nr > bindings::UIO_MAXIOV as usize {
            return Err(EINVAL);
        }
        // The segments stay as long as the request, so they are charged to the cgroup of the
        // submitter.
        let mut vec = KVec::<bindings::iovec>::with_capacity(nr, GFP_KERNEL_ACCOUNT)?;
        let mut raw = vec.as_mut_ptr();
        // SAFETY: `raw` is memory for `nr` segments, which `fast_segs` says, so the callee fills it
        // in and allocates nothing. `iter` is mutably borrowed. It then points into the memory of
        // `vec`, which is kept with it below, or is made zero if that fails.
        let ret = unsafe {
            bindings::import_iovec(
                direction(write),
                addr as *const _,
                nr as u32,
                nr as u32,
                &mut raw,
                &mut self.iter,
            )
        };
        if ret < 0 {
            self.iter = bindings::iov_iter::default();
            return Err(Error::from_errno(ret as i32));
        }
        // The allocation of the segments stays where it is when the vector is moved.
        match Arc::new(vec, GFP_KERNEL_ACCOUNT) {
            Ok(vec) => self.vec = Some(vec),
            Err(e) => {
                self.iter = bindings::iov_iter::default();
                return Err(e.into());
            }
        }
        Ok(())
    }

    /// Returns the number of bytes of all segments.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: by the type's invariant `iter` is zero or an iterator of user memory, and in both
        // the count is initialised at this place of the union.
        unsafe { self.iter.__bindgen_anon_1.__bindgen_anon_1.as_ref().count }
    }

    /// Returns an iterator of what is left after `done` bytes.
    pub(crate) fn rest(&self, done: usize) -> Iter {
        // INVARIANT: `raw` is a copy of `self.iter`, and `_vec` has a reference to the segments.
        let mut iter = Iter {
            // SAFETY: `struct iov_iter` is plain data, which owns nothing, so a copy may be made.
            raw: unsafe { ptr::read(&self.iter) },
            _vec: self.vec.clone(),
        };
        if done > 0 {
            // SAFETY: `raw` is a valid iterator, whose segments `_vec` keeps. The callee stops at
            // the end.
            unsafe { bindings::iov_iter_advance(&mut iter.raw, done) };
        }
        iter
    }
}

impl Iter {
    /// Returns whether the current task can copy to or from all of the memory without waiting for a
    /// page: a moment ago, all pages were present. Returns false for very many pages.
    pub(crate) fn is_present(&self) -> bool {
        // SAFETY: by the type's invariant the iterator is valid, and `_vec` keeps its segments. The
        // import checked the addresses, and the callee handles faults.
        unsafe { ffi::kaio_iter_is_present(&self.raw) }
    }

    /// Returns the iterator, which is valid as long as `self` is borrowed.
    pub(crate) fn as_raw(&mut self) -> *mut bindings::iov_iter {
        &mut self.raw
    }
}
