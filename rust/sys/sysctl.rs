// SPDX-License-Identifier: GPL-2.0

//! `/proc/sys/fs/kaio-*`, and the module parameters that are the same numbers.

use kernel::{
    bindings,
    prelude::*,
    sync::atomic::Atomic, //
};

use super::ffi;

/// The sysctls, while they exist.
pub(crate) struct Sysctls(*mut bindings::ctl_table_header);

// SAFETY: may be unregistered by any task.
unsafe impl Send for Sysctls {}
// SAFETY: nothing can be done with a shared one.
unsafe impl Sync for Sysctls {}

impl Sysctls {
    /// `nr` is what `fs.kaio-nr` shows.
    pub(crate) fn new(nr: &'static Atomic<u64>) -> Result<Self> {
        // SAFETY: `nr` lives on, and is only read.
        let header = unsafe { ffi::kaio_sysctl_register(nr.as_ptr()) };
        if header.is_null() {
            return Err(ENOMEM);
        }
        Ok(Self(header))
    }
}

impl Drop for Sysctls {
    fn drop(&mut self) {
        // SAFETY: `new` registered them.
        unsafe { bindings::unregister_sysctl_table(self.0) };
    }
}

/// `fs.kaio-max-nr`, module parameter `max_nr`: requests that all contexts may hold.
pub(crate) fn max_nr() -> u64 {
    // SAFETY: reads a variable.
    unsafe { ffi::kaio_param_max_nr() }
}

/// `fs.kaio-max-user-nr`, module parameter `max_user_nr`: those of one user.
pub(crate) fn max_user_nr() -> u64 {
    // SAFETY: reads a variable.
    unsafe { ffi::kaio_param_max_user_nr() }
}
