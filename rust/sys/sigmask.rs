// SPDX-License-Identifier: GPL-2.0

//! A signal mask for the length of a wait, as pselect(2) has it.

use kernel::{
    error::to_result,
    prelude::*,
    uaccess::UserPtr, //
};

use super::ffi;

/// The current task has another signal mask, until this is dropped. If a signal is pending then, its
/// handler runs first, with this mask.
pub(crate) struct Mask(());

impl Mask {
    /// `EINVAL`: not the size of a mask. `EFAULT`.
    pub(crate) fn set(mask: UserPtr, size: u64) -> Result<Self> {
        // SAFETY: changes the current task, as `Drop` undoes.
        to_result(unsafe { ffi::kaio_sigmask_set(mask.as_const_ptr(), size) })?;
        Ok(Self(()))
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        // SAFETY: `set` set it, in the same task: the value does not leave the ioctl.
        unsafe { ffi::kaio_sigmask_restore() };
    }
}
