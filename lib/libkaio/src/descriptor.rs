// SPDX-License-Identifier: LGPL-2.1-or-later

//! Questions about the file to which a descriptor refers.

use core::ffi::c_int;
use core::mem;
use core::ptr::from_mut;

use kaio_sys::ioctl;
use kaio_sys::syscall::syscall;

/// Returns the type and identity of a file; zeroes if the descriptor is not open.
pub(crate) fn status(fd: c_int) -> libc::statx {
    // SAFETY: the struct consists of integers, for which all zeroes are a valid value.
    let mut stat: libc::statx = unsafe { mem::zeroed() };
    let args = [
        fd as usize,
        c"".as_ptr() as usize,
        (libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC) as usize,
        (libc::STATX_TYPE | libc::STATX_INO) as usize,
        from_mut(&mut stat) as usize,
        0,
    ];
    // SAFETY: the path ends with a zero, and `stat` is a statx struct that the kernel may write
    // until the call returns.
    let _ = unsafe { syscall(libc::SYS_statx, args) };
    stat
}

/// Returns whether `fd`, which was a descriptor of this library, still is the device. The program
/// may have put a file of its own there.
pub(crate) fn is_device(fd: c_int) -> bool {
    // SAFETY: the ioctl writes only to the struct that `query` gives it; a file that is not the
    // device refuses the ioctl.
    unsafe { ioctl::query(fd) }.is_ok()
}
