// SPDX-License-Identifier: GPL-2.0

//! A signal mask for the length of a wait, as that of io_pgetevents(2) in fs/aio.c. The mask
//! belongs to the current task, and needs no lock.

use kernel::{
    error::to_result,
    prelude::*,
    types::NotThreadSafe,
    uaccess::UserPtr, //
};

use super::ffi;

/// The signal mask that the current task has until this is dropped. If a signal is pending then,
/// the task keeps the mask until the handler of the signal has run.
pub(crate) struct Mask(NotThreadSafe);

impl Mask {
    /// Gives the current task the mask at the address `mask`. Returns `EINVAL` if `size` is not the
    /// size of a mask, and `EFAULT` if the mask cannot be read.
    pub(crate) fn set(mask: UserPtr, size: u64) -> Result<Self> {
        // SAFETY: the function checks the address, and changes the mask of the current task. The
        // caller is an ioctl of that task, and `Drop` restores the mask before the ioctl returns.
        to_result(unsafe { ffi::kaio_sigmask_set(mask.as_const_ptr(), size) })?;
        Ok(Self(NotThreadSafe))
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        // SAFETY: `set` has saved the old mask in the same task, since a `Mask` is not `Send`.
        unsafe { ffi::kaio_sigmask_restore() };
    }
}
