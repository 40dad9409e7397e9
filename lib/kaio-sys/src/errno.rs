// SPDX-License-Identifier: LGPL-2.1-or-later

//! The result of a system call.

use core::ffi::c_int;
use core::fmt;

/// An error number of the kernel, 1 to 4095, as in `<errno.h>`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(u16);

/// The value that a system call returned, or its error.
pub type Result<T> = core::result::Result<T, Errno>;

/// The kernel reports an error by a value from here to -1.
const LOWEST_ERROR: isize = -4095;

impl Errno {
    /// Makes an error from a constant of `<errno.h>` (of the `libc` crate).
    #[inline]
    pub const fn new(errno: c_int) -> Self {
        Self(errno as u16)
    }

    /// Returns the positive number, which `errno` has.
    #[inline]
    pub const fn get(self) -> c_int {
        self.0 as c_int
    }

    /// Returns the negative number, which the kernel and libaio return.
    #[inline]
    pub const fn negative(self) -> c_int {
        -self.get()
    }

    /// Converts the value `ret` that the kernel returned.
    #[inline]
    pub const fn check(ret: isize) -> Result<usize> {
        match ret {
            LOWEST_ERROR..=-1 => Err(Self(-ret as u16)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_the_last_4095_numbers() {
        assert_eq!(Errno::check(-1), Err(Errno::new(1)));
        assert_eq!(Errno::check(-4095), Err(Errno::new(4095)));
        assert_eq!(Errno::check(0), Ok(0));
        assert_eq!(Errno::check(isize::MAX), Ok(isize::MAX as usize));
        // An address in the upper half is no error.
        assert_eq!(Errno::check(-4096), Ok(-4096isize as usize));
        assert_eq!(Errno::new(22).negative(), -22);
    }
}
