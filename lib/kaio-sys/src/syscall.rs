// SPDX-License-Identifier: LGPL-2.1-or-later

//! Enters the kernel.
//!
//! This module does not use libc's `syscall()`, because libkaio replaces that function, and because
//! it writes `errno`, which libaio's functions must leave unchanged.

use core::arch::asm;
use core::ffi::c_long;

use crate::errno::{Errno, Result};

/// Makes the system call `nr`. The kernel ignores those of the six arguments that the call does not
/// have.
///
/// # Safety
///
/// The arguments are valid for the call `nr`, and the caller answers for what the call does to this
/// process.
#[inline]
pub unsafe fn syscall(nr: c_long, args: [usize; 6]) -> Result<usize> {
    let [a, b, c, d, e, f] = args;
    let ret: isize;
    // SAFETY: the kernel keeps all registers but `rax`, `rcx` and `r11`, which are named as
    // outputs; the caller answers for what the call does.
    #[cfg(target_arch = "x86_64")]
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
    // SAFETY: the kernel keeps all registers but `x0`, which is named as an output; the caller
    // answers for what the call does.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc #0",
            in("x8") nr,
            inlateout("x0") a as isize => ret,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x5") f,
            options(nostack),
        );
    }
    Errno::check(ret)
}
