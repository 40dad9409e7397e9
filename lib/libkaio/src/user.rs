// SPDX-License-Identifier: LGPL-2.1-or-later

//! Memory that a caller names, looked at so that a bad pointer is `EFAULT` and no crash.
//!
//! The kernel is asked with rt_sigprocmask(2), which copies eight bytes from or to an address and
//! has no other effect as it is called here; no sandbox forbids it. The answer holds until another
//! thread unmaps the memory, which nothing in user space can exclude.

use core::mem::{offset_of, size_of};
use core::ptr;

use kaio_sys::syscall::syscall;
use kaio_sys::uapi::__kernel_timespec;
use kaio_sys::{Errno, Result};

/// What one question covers: the kernel's sigset_t.
pub(crate) const WORD: usize = 8;

pub(crate) const EFAULT: Errno = Errno::new(libc::EFAULT);

/// Whether the eight bytes at `addr` can be read.
pub(crate) fn is_readable(addr: usize) -> bool {
    // No such way to change the mask: the kernel reads the new one, then says EINVAL.
    const NO_WAY: usize = usize::MAX;
    let args = [NO_WAY, addr, 0, WORD, 0, 0];
    // SAFETY: reads where it can, and changes nothing.
    let answer = unsafe { syscall(libc::SYS_rt_sigprocmask, args) };
    // The null pointer is no mask: then there is nothing to refuse.
    answer == Err(Errno::new(libc::EINVAL))
}

/// Whether the eight bytes at `addr` can be written. They are, with something.
pub(crate) fn is_writable(addr: usize) -> bool {
    let args = [libc::SIG_BLOCK as usize, 0, addr, WORD, 0, 0];
    // SAFETY: no new mask; the old one is written where it can be, and the caller means to write
    // there.
    addr != 0 && unsafe { syscall(libc::SYS_rt_sigprocmask, args) }.is_ok()
}

/// The `u64` at `at`, however aligned.
pub(crate) fn read_u64(at: *const u64) -> Result<u64> {
    if !is_readable(at as usize) {
        return Err(EFAULT);
    }
    // SAFETY: it can be read, as was just seen.
    Ok(unsafe { ptr::read_unaligned(at) })
}

/// Stores `value` at `at`, however aligned.
pub(crate) fn write_u64(at: *mut u64, value: u64) -> Result<()> {
    if !is_writable(at as usize) {
        return Err(EFAULT);
    }
    // SAFETY: it can be written, as was just seen, and the caller of ours wants it to be.
    unsafe { ptr::write_unaligned(at, value) };
    Ok(())
}

/// The time at `at`.
pub(crate) fn read_timespec(at: *const __kernel_timespec) -> Result<__kernel_timespec> {
    const { assert!(size_of::<__kernel_timespec>() == 2 * WORD) }
    let field = |offset| read_u64((at as usize).wrapping_add(offset) as *const u64);
    Ok(__kernel_timespec {
        tv_sec: field(offset_of!(__kernel_timespec, tv_sec))? as i64,
        tv_nsec: field(offset_of!(__kernel_timespec, tv_nsec))? as i64,
    })
}
