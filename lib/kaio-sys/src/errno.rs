// SPDX-License-Identifier: LGPL-2.1-or-later

//! What a system call answers.

use core::ffi::c_int;
use core::fmt;

/// An error number of the kernel: 1 to 4095, as in `<errno.h>`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(u16);

/// What a system call returned, or why it failed.
pub type Result<T> = core::result::Result<T, Errno>;

/// From here to -1 the kernel's answer is an error.
const LOWEST: isize = -4095;

impl Errno {
    /// From a constant of `<errno.h>` (of the `libc` crate).
    #[inline]
    pub const fn new(errno: c_int) -> Self {
        Self(errno as u16)
    }

    /// The number, as `errno` has it: positive.
    #[inline]
    pub const fn get(self) -> c_int {
        self.0 as c_int
    }

    /// The number, as the kernel and libaio return it: negative.
    #[inline]
    pub const fn negative(self) -> c_int {
        -self.get()
    }

    /// What the kernel's answer `ret` means.
    #[inline]
    pub const fn check(ret: isize) -> Result<usize> {
        match ret {
            LOWEST..=-1 => Err(Self(-ret as u16)),
            ret => Ok(ret as usize),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "errno {}", self.0)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
