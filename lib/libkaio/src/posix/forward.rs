// SPDX-License-Identifier: LGPL-2.1-or-later

//! libc's own functions, for `KAIO_FALLBACK=1` where there is no device.
//!
//! It is decided once, when the first request finds no device: a program whose requests are partly
//! here and partly there could not wait for them together. `aio_error()` and `aio_return()` are not
//! among them: they read the same fields in either case.

use core::ffi::{c_int, c_void, CStr};
use std::sync::OnceLock;

use kaio_sys::Errno;

use super::c::{aiocb, aioinit, dlvsym, sigevent};
use crate::policy;

type List = unsafe extern "C" fn(c_int, *const *mut aiocb, c_int, *mut sigevent) -> c_int;

/// The next definitions of our functions.
#[derive(Clone, Copy)]
pub(super) struct Next {
    pub(super) read: unsafe extern "C" fn(*mut aiocb) -> c_int,
    pub(super) write: unsafe extern "C" fn(*mut aiocb) -> c_int,
    pub(super) fsync: unsafe extern "C" fn(c_int, *mut aiocb) -> c_int,
    pub(super) suspend:
        unsafe extern "C" fn(*const *const aiocb, c_int, *const libc::timespec) -> c_int,
    pub(super) cancel: unsafe extern "C" fn(c_int, *mut aiocb) -> c_int,
    pub(super) init: unsafe extern "C" fn(*const aioinit),
    pub(super) list: List,
    pub(super) old_list: List,
}

/// What was decided; not set is "kaio, or nothing".
static NEXT: OnceLock<Next> = OnceLock::new();

/// libc's own, if that was decided. Async-signal-safe.
pub(super) fn next() -> Option<&'static Next> {
    NEXT.get()
}

/// There is no device, as `error` says. libc's own functions, if the user wants them.
pub(super) fn fall_back(error: Errno) -> Option<&'static Next> {
    let found = policy::wants_fallback().then(find).flatten();
    policy::explain(error, found.map(|_| c"glibc's POSIX AIO"));
    found.map(|found| NEXT.get_or_init(|| found))
}

fn find() -> Option<Next> {
    let new = c"GLIBC_2.34";
    // SAFETY: libc's functions of these names and versions have the types of the fields.
    unsafe {
        Some(Next {
            read: symbol(c"aio_read", new)?,
            write: symbol(c"aio_write", new)?,
            fsync: symbol(c"aio_fsync", new)?,
            suspend: symbol(c"aio_suspend", new)?,
            cancel: symbol(c"aio_cancel", new)?,
            init: symbol(c"aio_init", new)?,
            list: symbol(c"lio_listio", new)?,
            old_list: symbol(c"lio_listio", c"GLIBC_2.2.5")?,
        })
    }
}

/// The next function of this name and version.
///
/// # Safety
///
/// `F` is its type.
unsafe fn symbol<F: Copy>(name: &CStr, version: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: both are strings.
    let at = unsafe { dlvsym(libc::RTLD_NEXT, name.as_ptr(), version.as_ptr()) };
    // SAFETY: not null, and the caller's promise.
    (!at.is_null()).then(|| unsafe { core::mem::transmute_copy(&at) })
}
