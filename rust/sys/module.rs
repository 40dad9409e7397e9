// SPDX-License-Identifier: GPL-2.0

//! This module, as the kernel knows it, and its parameters.

use kernel::bindings;
#[cfg(MODULE)]
use kernel::types::Opaque;

use super::ffi;

/// The owner of our file operations. The crate-level `THIS_MODULE` of Linux 7.2 is gone in 7.3;
/// the symbol behind it is in both. Null when built in.
#[cfg(MODULE)]
pub(super) const fn owner() -> *mut bindings::module {
    extern "C" {
        #[allow(improper_ctypes)]
        static __this_module: Opaque<bindings::module>;
    }
    (&raw const __this_module).cast_mut().cast()
}

#[cfg(not(MODULE))]
pub(super) const fn owner() -> *mut bindings::module {
    core::ptr::null_mut()
}

/// Module parameter `mode`: access mode of the device node.
pub(crate) fn param_mode() -> u16 {
    // SAFETY: reads a variable.
    unsafe { ffi::kaio_param_mode() as u16 }
}

/// Module parameter `end_seconds`: how long an exit, or the last close, waits for one open file.
pub(crate) fn end_seconds() -> u32 {
    // SAFETY: as above.
    unsafe { ffi::kaio_param_end_seconds() }
}
