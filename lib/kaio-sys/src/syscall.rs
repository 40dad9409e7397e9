// SPDX-License-Identifier: LGPL-2.1-or-later

//! Enters the kernel.
//!
//! Not by libc's `syscall()`: libkaio replaces that, and it writes `errno`, which callers of libaio
//! find as it was.

use core::arch::asm;
use core::ffi::c_long;

use crate::errno::{Errno, Result};

/// Makes system call `nr` with six arguments; those that it does not have are ignored.
///
/// # Safety
///
/// The arguments are what the call `nr` asks for, and what it does to this process breaks no
/// promise of the caller's.
#[inline]
pub unsafe fn syscall(nr: c_long, args: [usize; 6]) -> Result<usize> {
    let [a, b, c, d, e, f] = args;
    let ret: isize;
    // SAFETY: the kernel keeps all registers but these; what the call does is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") nr as isize => ret,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    Errno::check(ret)
}
