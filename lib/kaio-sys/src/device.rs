// SPDX-License-Identifier: LGPL-2.1-or-later

//! Descriptors of `/dev/kaio`.
//!
//! A context belongs to the open file and to the address space. The child of a fork must open the
//! device anew; the parent's contexts are `EINVAL` there. A library that keeps a descriptor must
//! therefore detect the fork. (libkaio does so by memory that the kernel clears in the child.)

use core::ffi::{c_int, CStr};

use crate::errno::Result;
use crate::ioctl;
use crate::syscall::syscall;
use crate::uapi;

/// The path of the device, `KAIO_DEVICE` of the header.
pub const PATH: &CStr = uapi::KAIO_DEVICE;

/// The lowest number of a descriptor that [`open`] returns, if the process may have so many
/// descriptors. Programs expect to get the lowest free numbers, and close 0, 1 and 2 in order to
/// reuse them.
const LOWEST_FD: usize = 512;

/// Opens the device. The descriptor is closed on exec and has a high number. This makes up to five
/// system calls, the last of which finds out whether there is a quick way into the module
/// ([`ioctl::find_quick_way`]).
///
/// # Errors
///
/// Those of open(2). `ENOENT`: the module is not loaded, or this container has no device node.
/// `EACCES`, `EPERM`: the mode of the node or the container does not allow the process to open it.
pub fn open() -> Result<c_int> {
    open_from(LOWEST_FD)
}

/// Opens the device as [`open`] does, with a number of at least `lowest` if the process may have so
/// many descriptors. Two libraries in one process use different values of `lowest`: if the program
/// has closed the descriptors of both, neither library takes the other's new descriptor for its
/// own.
///
/// # Errors
///
/// As [`open`].
pub fn open_from(lowest: usize) -> Result<c_int> {
    let fd = open_at_least(lowest)?;
    // SAFETY: `fd` is an open descriptor of the device.
    unsafe { ioctl::find_quick_way(fd) };
    Ok(fd)
}

fn open_at_least(lowest: usize) -> Result<c_int> {
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
        // SAFETY: F_DUPFD_CLOEXEC takes no pointer; it only makes a descriptor.
        if let Ok(high) = unsafe { syscall(libc::SYS_fcntl, args) } {
            // SAFETY: this function has opened the descriptor and returns another one, so no code
            // uses it.
            unsafe { close(fd) };
            return Ok(high as c_int);
        }
    }
    Ok(fd)
}

/// Closes a descriptor. The last close of an open file ends its contexts; it waits for the requests
/// of this process that are in flight, but for at most 10 seconds.
///
/// # Safety
///
/// The caller owns `fd` and does not use it any more. The memory of requests in flight stays valid
/// until they are complete.
pub unsafe fn close(fd: c_int) {
    // SAFETY: the caller owns `fd` and does not use it any more. An error leaves nothing to do.
    let _ = unsafe { syscall(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}
