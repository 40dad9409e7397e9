// SPDX-License-Identifier: GPL-2.0

//! The eventfd that counts a request's completion (`IOCB_FLAG_RESFD`).

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*, //
};

use super::ffi;

/// An eventfd, held. May be signalled and dropped in any context.
pub(crate) struct EventFd(NonNull<bindings::eventfd_ctx>);

// SAFETY: a counted object that may be used from anywhere.
unsafe impl Send for EventFd {}
// SAFETY: as above.
unsafe impl Sync for EventFd {}

impl EventFd {
    /// `EBADF`, or `EINVAL` if `fd` is no eventfd.
    pub(crate) fn get(fd: u32) -> Result<Self> {
        // SAFETY: any number will do.
        let ctx = from_err_ptr(unsafe { bindings::eventfd_ctx_fdget(fd as i32) })?;
        Ok(Self(NonNull::new(ctx).ok_or(EBADF)?))
    }

    /// Adds one. A counter at its maximum stays there.
    ///
    /// Not from a wait-queue callback: it could come back to the same queue through epoll.
    pub(crate) fn signal(&self) {
        // SAFETY: held.
        unsafe { ffi::kaio_eventfd_signal(self.0.as_ptr()) };
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: `get` took the reference.
        unsafe { bindings::eventfd_ctx_put(self.0.as_ptr()) };
    }
}
