// SPDX-License-Identifier: LGPL-2.1-or-later

//! Checked access to memory that a caller names: a bad pointer is `EFAULT` instead of a crash.
//!
//! The check is a call of rt_sigprocmask(2), which copies eight bytes from or to an address and has
//! no other effect with these arguments; no sandbox forbids it. The result is valid until another
//! thread unmaps the memory, which user space cannot exclude.

use core::mem::{offset_of, size_of};
use core::ptr;

use kaio_sys::syscall::syscall;
use kaio_sys::uapi::__kernel_timespec;
use kaio_sys::{Errno, Result};

/// The number of bytes that one check covers, the size of the kernel's sigset_t.
pub(crate) const WORD: usize = 8;

pub(crate) const EFAULT: Errno = Errno::new(libc::EFAULT);

/// Returns whether the eight bytes at `addr` can be read.
pub(crate) fn is_readable(addr: usize) -> bool {
    // With this operation, which does not exist, the kernel reads the new mask and then returns
    // EINVAL.
    const INVALID_HOW: usize = usize::MAX;
    let args = [INVALID_HOW, addr, 0, WORD, 0, 0];
    // SAFETY: the kernel checks the address, only reads, and changes nothing.
    let answer = unsafe { syscall(libc::SYS_rt_sigprocmask, args) };
    // With a null pointer there is no mask to read, and the call succeeds.
    answer == Err(Errno::new(libc::EINVAL))
}

/// Returns whether the eight bytes at `addr` can be written. The check overwrites them.
pub(crate) fn is_writable(addr: usize) -> bool {
    let args = [libc::SIG_BLOCK as usize, 0, addr, WORD, 0, 0];
    // SAFETY: there is no new mask. The kernel checks the address to which it writes the old one,
    // and the caller is about to write there.
    addr != 0 && unsafe { syscall(libc::SYS_rt_sigprocmask, args) }.is_ok()
}

/// Reads the `u64` at `at`, which may be unaligned.
pub(crate) fn read_u64(at: *const u64) -> Result<u64> {
    if !is_readable(at as usize) {
        return Err(EFAULT);
    }
    // SAFETY: `is_readable` has just seen that these bytes can be read.
    Ok(unsafe { ptr::read_unaligned(at) })
}

/// Stores `value` at `at`, which may be unaligned.
pub(crate) fn write_u64(at: *mut u64, value: u64) -> Result<()> {
    if !is_writable(at as usize) {
        return Err(EFAULT);
    }
    // SAFETY: `is_writable` has just seen that these bytes can be written, and the caller wants
    // them to be overwritten.
    unsafe { ptr::write_unaligned(at, value) };
    Ok(())
}

/// Reads the time at `at`.
pub(crate) fn read_timespec(at: *const __kernel_timespec) -> Result<__kernel_timespec> {
    const { assert!(size_of::<__kernel_timespec>() == 2 * WORD) }
    let field = |offset| read_u64((at as usize).wrapping_add(offset) as *const u64);
    Ok(__kernel_timespec {
        tv_sec: field(offset_of!(__kernel_timespec, tv_sec))? as i64,
        tv_nsec: field(offset_of!(__kernel_timespec, tv_nsec))? as i64,
    })
}
