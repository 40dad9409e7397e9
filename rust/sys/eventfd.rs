// SPDX-License-Identifier: GPL-2.0

//! The eventfd that counts the completion of a request (`IOCB_FLAG_RESFD`).
//!
//! The counterpart is `ki_eventfd` of `struct aio_kiocb` in fs/aio.c. The lock of the eventfd's
//! wait queue is taken by [`EventFd::signal`].

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*, //
};

use super::ffi;

/// A reference to an eventfd. May be signalled and dropped in any context.
///
/// # Invariants
///
/// The pointer owns a reference to the `struct eventfd_ctx`.
pub(crate) struct EventFd(NonNull<bindings::eventfd_ctx>);

// SAFETY: the reference belongs to no task, and any thread may give it up.
unsafe impl Send for EventFd {}
// SAFETY: the only operation on a shared eventfd is a signal, for which the kernel takes its own
// lock.
unsafe impl Sync for EventFd {}

impl EventFd {
    /// Returns the eventfd of the descriptor `fd`. Returns `EBADF` if there is no such descriptor,
    /// and `EINVAL` if it is not an eventfd.
    pub(crate) fn get(fd: u32) -> Result<Self> {
        // SAFETY: the function takes any number, and looks it up in the table of the current task.
        // INVARIANT: it returns an owned reference.
        let ctx = from_err_ptr(unsafe { bindings::eventfd_ctx_fdget(fd as i32) })?;
        Ok(Self(NonNull::new(ctx).ok_or(EBADF)?))
    }

    /// Adds one to the counter. A counter at its maximum stays there.
    ///
    /// The caller has made sure that [`may_signal`], and is not the callback of a wait queue, since
    /// epoll could lead the signal back to the same queue.
    pub(crate) fn signal(&self) {
        // SAFETY: by the type's invariant `self` owns a reference.
        unsafe { ffi::kaio_eventfd_signal(self.0.as_ptr()) };
    }
}

/// Returns whether an eventfd may be signalled now. That is not so while another eventfd wakes its
/// waiters in the current task, and one of these has led here.
pub(crate) fn may_signal() -> bool {
    // SAFETY: the function only reads the current task, and has no requirement.
    unsafe { ffi::kaio_eventfd_may_signal() }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: by the type's invariant `self` owns a reference, which is given up here once.
        unsafe { bindings::eventfd_ctx_put(self.0.as_ptr()) };
    }
}
