// SPDX-License-Identifier: LGPL-2.1-or-later

//! Descriptors of `/dev/kaio`.
//!
//! A context belongs to the open file and to the address space: after a fork the child opens the
//! device anew, and the parent's contexts are `EINVAL` there. Who keeps a descriptor must notice
//! the fork (libkaio: memory that the kernel wipes in the child).

use core::ffi::{c_int, CStr};

use crate::errno::Result;
use crate::syscall::syscall;
use crate::uapi;

/// The path of the device, as the header has it.
pub const PATH: &CStr = uapi::KAIO_DEVICE;

/// Where our descriptors begin, if the process may have so many. Programs count on getting the
/// lowest numbers, and close 0, 1 and 2 to fill them again.
const LOWEST: usize = 512;

/// Opens the device. The descriptor is closed on exec, and has a high number. Up to four system
/// calls.
///
/// # Errors
///
/// Those of open(2). `ENOENT`: the module is not loaded, or the node is not in this container.
/// `EACCES`, `EPERM`: the node's mode, or the container, forbids it.
pub fn open() -> Result<c_int> {
    open_from(LOWEST)
}

/// The same, with a number of at least `lowest` if the process may have so many. For who must not
/// take another's descriptor for its own, if the program has closed both.
///
/// # Errors
///
/// As [`open`].
pub fn open_from(lowest: usize) -> Result<c_int> {
    let flags = (libc::O_RDWR | libc::O_CLOEXEC) as usize;
    let at = libc::AT_FDCWD as usize;
    // SAFETY: PATH ends with a zero.
    let fd = unsafe {
        syscall(
            libc::SYS_openat,
            [at, PATH.as_ptr() as usize, flags, 0, 0, 0],
        )
    }?;
    let fd = fd as c_int;
    for lowest in [lowest, 3] {
        if fd as usize >= lowest {
            break;
        }
        let args = [fd as usize, libc::F_DUPFD_CLOEXEC as usize, lowest, 0, 0, 0];
        // SAFETY: makes a descriptor, and touches nothing else.
        if let Ok(high) = unsafe { syscall(libc::SYS_fcntl, args) } {
            // SAFETY: it was opened above and nobody else knows it.
            unsafe { close(fd) };
            return Ok(high as c_int);
        }
    }
    Ok(fd)
}

/// Closes a descriptor: with the last one of an open file its contexts end. For what is in flight in
/// those of this process it waits, but not for more than 10 seconds.
///
/// # Safety
///
/// `fd` is the caller's own, is not used any more, and no memory of requests in flight is given
/// back before those are complete.
pub unsafe fn close(fd: c_int) {
    // SAFETY: the caller's promise. There is nothing to do about an error.
    let _ = unsafe { syscall(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}
