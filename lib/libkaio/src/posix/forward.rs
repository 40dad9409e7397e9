// SPDX-License-Identifier: LGPL-2.1-or-later

//! libc's own functions, for `KAIO_FALLBACK=1` without a device, and for a libc that is not glibc.
//!
//! Another libc (musl) has another struct aiocb, so this library leaves POSIX AIO to that libc. It
//! detects that when it is loaded. It makes the other decision once, when the first request finds
//! no device: a program whose requests are partly here and partly in libc could not wait for them
//! together. That decision does not concern `aio_error()` and `aio_return()`, which read the same
//! fields in either case.

use core::ffi::{c_int, c_void, CStr};
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;

use kaio_sys::Errno;

use super::c::{aiocb, aioinit, sigevent};
use crate::policy;

pub(super) type List =
    unsafe extern "C" fn(c_int, *const *mut aiocb, c_int, *mut sigevent) -> c_int;

/// The next definitions of the functions of this library.
#[derive(Clone, Copy)]
pub(super) struct LibcAio {
    pub(super) read: unsafe extern "C" fn(*mut aiocb) -> c_int,
    pub(super) write: unsafe extern "C" fn(*mut aiocb) -> c_int,
    pub(super) fsync: unsafe extern "C" fn(c_int, *mut aiocb) -> c_int,
    pub(super) suspend:
        unsafe extern "C" fn(*const *const aiocb, c_int, *const libc::timespec) -> c_int,
    pub(super) cancel: unsafe extern "C" fn(c_int, *mut aiocb) -> c_int,
    /// Only glibc has this function.
    pub(super) init: Option<unsafe extern "C" fn(*const aioinit)>,
    pub(super) error: unsafe extern "C" fn(*const aiocb) -> c_int,
    pub(super) value: unsafe extern "C" fn(*mut aiocb) -> isize,
    pub(super) list: List,
    #[cfg(target_arch = "x86_64")]
    pub(super) old_list: List,
}

/// libc's functions if calls go to them. It is set at most once.
static LIBC_AIO: OnceLock<LibcAio> = OnceLock::new();

/// Set if libc is not glibc.
static IS_OTHER_LIBC: AtomicBool = AtomicBool::new(false);

/// Gives all calls of POSIX AIO to libc if libc is not glibc. The loader calls this.
pub(crate) fn detect_libc() {
    // SAFETY: the name ends with a zero.
    let glibc = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"gnu_get_libc_version".as_ptr()) };
    if glibc.is_null() {
        if let Some(found) = find() {
            let _ = LIBC_AIO.set(found);
        }
        IS_OTHER_LIBC.store(true, Ordering::Relaxed);
    }
}

/// Returns libc's own functions if libc is not glibc, so that a control block has another layout.
/// Async-signal-safe.
pub(super) fn other_libc() -> Option<&'static LibcAio> {
    LIBC_AIO
        .get()
        .filter(|_| IS_OTHER_LIBC.load(Ordering::Relaxed))
}

/// Returns libc's own functions if calls go to them. Async-signal-safe.
pub(super) fn libc_aio() -> Option<&'static LibcAio> {
    LIBC_AIO.get()
}

/// Reports that there is no device, with this error. Returns libc's own functions if the user wants
/// them.
pub(super) fn fall_back(error: Errno) -> Option<&'static LibcAio> {
    let found = policy::wants_fallback().then(find).flatten();
    policy::explain_once(error, found.map(|_| c"glibc's POSIX AIO"));
    found.map(|found| LIBC_AIO.get_or_init(|| found))
}

fn find() -> Option<LibcAio> {
    let new = c"GLIBC_2.34";
    // SAFETY: libc's functions of these names and versions have the types of the fields.
    unsafe {
        Some(LibcAio {
            read: next_symbol(c"aio_read", new)?,
            write: next_symbol(c"aio_write", new)?,
            fsync: next_symbol(c"aio_fsync", new)?,
            suspend: next_symbol(c"aio_suspend", new)?,
            cancel: next_symbol(c"aio_cancel", new)?,
            init: next_symbol(c"aio_init", new),
            error: next_symbol(c"aio_error", new)?,
            value: next_symbol(c"aio_return", new)?,
            list: next_symbol(c"lio_listio", new)?,
            #[cfg(target_arch = "x86_64")]
            old_list: next_symbol(c"lio_listio", c"GLIBC_2.2.5")?,
        })
    }
}

/// Returns the next function of this name and version.
///
/// # Safety
///
/// `F` is the type of that function.
unsafe fn next_symbol<F: Copy>(name: &CStr, version: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    type Lookup =
        unsafe extern "C" fn(*mut c_void, *const libc::c_char, *const libc::c_char) -> *mut c_void;
    // A libc without symbol versions (musl) lacks dlvsym(), and must be able to load this library.
    // SAFETY: the name ends with a zero.
    let lookup = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"dlvsym".as_ptr()) };
    // SAFETY: both strings end with a zero. If dlvsym() was found, it has the type that POSIX
    // systems with symbol versions give it.
    let at = unsafe {
        match lookup.is_null() {
            true => libc::dlsym(libc::RTLD_NEXT, name.as_ptr()),
            false => core::mem::transmute::<*mut c_void, Lookup>(lookup)(
                libc::RTLD_NEXT,
                name.as_ptr(),
                version.as_ptr(),
            ),
        }
    };
    // SAFETY: `at` is not null, and the caller promises that `F` is the function's type.
    (!at.is_null()).then(|| unsafe { core::mem::transmute_copy(&at) })
}
