// SPDX-License-Identifier: GPL-2.0

//! Buffers in the submitter's memory.

use core::{
    mem::MaybeUninit,
    ptr, //
};

use kernel::{
    bindings,
    prelude::*, //
};

/// The buffers of a request, checked at submission, owned by it. May be dropped in any context.
pub(crate) struct Buffers {
    /// As imported: each attempt works on a copy.
    iter: bindings::iov_iter,
    /// What `iter` points into, if it has more than one segment. Its memory, that is: the vector does
    /// not know that it was filled in.
    vec: Option<KVec<bindings::iovec>>,
}

// SAFETY: addresses of user memory and an allocation of our own.
unsafe impl Send for Buffers {}
// SAFETY: nothing is changed through a shared one.
unsafe impl Sync for Buffers {}

/// What one attempt consumes.
///
/// The `Buffers` it was made from must outlive it: they are in the request, and whoever runs an
/// attempt keeps that.
pub(crate) struct Iter(bindings::iov_iter);

fn direction(write: bool) -> kernel::ffi::c_int {
    let direction = if write {
        bindings::ITER_SOURCE
    } else {
        bindings::ITER_DEST
    };
    direction as kernel::ffi::c_int
}

impl Buffers {
    /// No bytes, until something is imported.
    pub(crate) fn none() -> Self {
        Self {
            // SAFETY: plain data of C; all zero, it has no bytes.
            iter: unsafe { MaybeUninit::zeroed().assume_init() },
            vec: None,
        }
    }

    /// One buffer. `EFAULT` if it is not in user memory.
    pub(crate) fn import_single(&mut self, write: bool, addr: usize, len: usize) -> Result {
        let iter = &mut self.iter;
        // SAFETY: `iter` is ours; the address is only checked.
        let ret = unsafe { bindings::import_ubuf(direction(write), addr as *mut _, len, iter) };
        kernel::error::to_result(ret)
    }

    /// An array of `nr` `struct iovec`. `EFAULT`, `EINVAL`, `ENOMEM` as readv(2).
    pub(crate) fn import_vector(&mut self, write: bool, addr: usize, nr: usize) -> Result {
        if nr == 0 {
            return self.import_single(write, 0, 0);
        }
        if nr > bindings::UIO_MAXIOV as usize {
            return Err(EINVAL);
        }
        // It stays as long as the request, so it is charged to the caller's cgroup.
        let mut vec = KVec::<bindings::iovec>::with_capacity(nr, GFP_KERNEL_ACCOUNT)?;
        let mut raw = vec.as_mut_ptr();
        // SAFETY: `raw` has room for `nr`, and the callee is told so: it fills it in and allocates
        // nothing. `iter` is ours; it points into `vec`, which is kept with it.
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
        self.vec = Some(vec);
        Ok(())
    }

    /// Bytes in all.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: `iter` was initialised by an import; a user iterator has a count.
        unsafe { self.iter.__bindgen_anon_1.__bindgen_anon_1.as_ref().count }
    }

    /// What is left after `done` bytes.
    pub(crate) fn rest(&self, done: usize) -> Iter {
        // SAFETY: plain data, of which the original is not changed as long as copies exist.
        let mut iter = Iter(unsafe { ptr::read(&self.iter) });
        if done > 0 {
            // SAFETY: `iter` is a valid copy; the callee does not go past its end.
            unsafe { bindings::iov_iter_advance(&mut iter.0, done) };
        }
        iter
    }
}

impl Iter {
    pub(super) fn as_raw(&mut self) -> *mut bindings::iov_iter {
        &mut self.0
    }
}
