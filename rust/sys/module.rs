// SPDX-License-Identifier: GPL-2.0

//! The module as the kernel knows it (`THIS_MODULE`), and its parameters.

use kernel::bindings;
#[cfg(MODULE)]
use kernel::types::Opaque;

use super::ffi;

/// Returns the owner of the module's file operations.
///
/// The crate-level `THIS_MODULE` of Linux 7.2 is gone in 7.3, but the symbol behind it is in both.
#[cfg(MODULE)]
pub(crate) const fn owner() -> *mut bindings::module {
    extern "C" {
        #[allow(improper_ctypes)]
        static __this_module: Opaque<bindings::module>;
    }
    (&raw const __this_module).cast_mut().cast()
}

/// Returns the owner of the file operations, which is null when kaio is built into the kernel.
#[cfg(not(MODULE))]
pub(crate) const fn owner() -> *mut bindings::module {
    core::ptr::null_mut()
}

/// Returns the module parameter `mode`: the access mode of the device node.
pub(crate) fn param_mode() -> u16 {
    // SAFETY: the function reads a variable that does not change, and has no requirement.
    unsafe { ffi::kaio_param_mode() as u16 }
}

/// Returns the module parameter `end_seconds`: for how many seconds an exit, or the last close,
/// waits for the requests of one open file.
pub(crate) fn end_seconds() -> u32 {
    // SAFETY: the function reads a variable by READ_ONCE(), and has no requirement.
    unsafe { ffi::kaio_param_end_seconds() }
}
