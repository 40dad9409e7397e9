// SPDX-License-Identifier: GPL-2.0

//! What kaio asks the kernel about an open file, and fsync.
//!
//! Each function has an answer for a file that the request has closed. No locks of kaio are
//! involved.

use kernel::{
    bindings,
    prelude::*, //
};

use super::{
    ffi,
    file::File, //
};

impl File {
    /// Writes what was written to the file to the disk (`vfs_fsync()`), and waits for that. Returns
    /// 0 or a negative errno, `-EBADF` for a closed file.
    pub(crate) fn fsync(&self, data_only: bool) -> i64 {
        let Some(file) = self.open() else {
            return EBADF.to_errno().into();
        };
        // SAFETY: the borrow of `self` keeps what `open` returned open during the call.
        i64::from(unsafe { bindings::vfs_fsync(file, i32::from(data_only)) })
    }

    /// Returns a number that no other file has which is open meanwhile: the address of the inode,
    /// which stays as long as the file. Returns 0 for a closed file only.
    pub(crate) fn identity(&self) -> usize {
        match self.open() {
            // SAFETY: the borrow of `self` keeps what `open` returned open during the call.
            Some(file) => unsafe { ffi::kaio_file_identity(file) },
            None => 0,
        }
    }

    /// Returns how many block requests the device of the file can have in flight, or `u32::MAX` if
    /// that is not known. A request beyond that waits until another one ends. Returns 1 for a
    /// closed file, whose requests have nothing to wait for.
    pub(crate) fn tags(&self) -> u32 {
        match self.open() {
            // SAFETY: the borrow of `self` keeps what `open` returned open during the call.
            Some(file) => unsafe { ffi::kaio_file_tags(file) },
            None => 1,
        }
    }

    /// Returns the `IOCB_*` flags that follow from the flags of the open file (`f_iocb_flags`).
    /// fcntl(2) may change them at any time. Returns 0 for a closed file.
    #[inline]
    pub(crate) fn iocb_flags(&self) -> i32 {
        match self.open() {
            // SAFETY: the borrow of `self` keeps what `open` returned open during the call.
            // fcntl(2) may store the word meanwhile, so it is read like READ_ONCE().
            Some(file) => unsafe { (&raw const (*file).f_iocb_flags).read_volatile() as i32 },
            None => 0,
        }
    }

    /// Returns a number that no other open file (`struct file`) has meanwhile. The number is even,
    /// and 0 for a closed file only.
    pub(crate) fn address(&self) -> usize {
        self.open().map_or(0, |file| file as usize)
    }

    /// Returns whether `pos` is at or past the end of the file. Returns true for a closed file.
    pub(crate) fn at_eof(&self, pos: i64) -> bool {
        match self.open() {
            // SAFETY: the borrow of `self` keeps what `open` returned open during the call.
            Some(file) => unsafe { ffi::kaio_at_eof(file, pos) },
            None => true,
        }
    }

    /// Checks that the current task may transfer `len` bytes at `pos` (`rw_verify_area()`: the
    /// position and security modules). Returns `EINVAL` or `EOVERFLOW` if the position is wrong,
    /// the errno of the security module such as `EACCES` or `EPERM`, and `EBADF` for a closed file.
    pub(crate) fn verify_area(&self, write: bool, pos: i64, len: usize) -> Result {
        let file = self.open().ok_or(EBADF)?;
        let dir = if write {
            bindings::WRITE
        } else {
            bindings::READ
        };
        // SAFETY: the borrow of `self` keeps what `open` returned open during the call. `pos` is a
        // local variable, which the callee only reads.
        let ret = unsafe { bindings::rw_verify_area(dir as i32, file, &pos, len) };
        kernel::error::to_result(ret)
    }
}
