// SPDX-License-Identifier: GPL-2.0

//! Requests that the methods of another module drive, the provider of a file. The provider sees
//! such a request as the `struct kaio_iocb` of `include/linux/kaio.h`.
//!
//! The counterpart is the retry-based AIO of fs/aio.c: `ki_retry`, `kick_iocb()` and
//! `aio_complete()`.
//!
//! A provider holds a bare pointer, and may use it once, in any context, for each promise that it
//! made (`pure::promise`). So the pointer is to an allocation of its own, `iocb::ProviderIocb`,
//! which is apart from the request and counted: the request has a reference, and the provider has
//! one from its first attempt until it owes nothing. The destructor is called when the last
//! reference is dropped. While a kick or a completion is owed, `owner` leads back to the request,
//! and the thread that takes the promise takes `owner`, too.
//!
//! A request that waits for a kick can end at any time. The provider then holds a `ProviderIocb`
//! that leads nowhere, until it kicks or its cancel method gives the promise back.
//!
//! A task in read(2) has no request, and waits for the promise itself (`caller`).
//!
//! There are no locks: the promise is one word that changes atomically.

pub(crate) mod attempt;
pub(crate) mod caller;
pub(crate) mod exports;
pub(crate) mod iocb;
mod methods;
mod reference;

use crate::sys::{
    ffi,
    file::File, //
};

/// Returns whether any provider is registered.
pub(crate) fn any() -> bool {
    // SAFETY: the function reads a static key, and has no requirement.
    unsafe { ffi::kaio_providers_any() }
}

/// Returns whether a provider serves the writes of `file` if `write` is true, or else its reads.
pub(crate) fn serves(file: &File, write: bool) -> bool {
    match file.open() {
        // SAFETY: the borrow of the `File` keeps what `File::open` returned open during the call.
        Some(file) => unsafe { ffi::kaio_provider_serves(file, write) },
        None => false,
    }
}

/// The memory of requests that providers had. Dropping this frees what debug builds have kept of
/// it.
///
/// The module drops this last. No provider is left then, since the modules of providers link
/// against this module.
pub(crate) struct Memory;

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the module is being unloaded, so no provider module is loaded and no request is
        // left: no thread uses a `ProviderIocb`.
        unsafe { ffi::kaio_held_exit() };
    }
}
