// SPDX-License-Identifier: LGPL-2.1-or-later

//! What happens without a device: an error that says why, or, if `KAIO_FALLBACK=1` asks for it, what
//! the program would have had without us. Either is said once, on stderr.

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, Ordering};

use kaio_sys::syscall::syscall;
use kaio_sys::Errno;

/// Set to `1`, a program without `/dev/kaio` gets native AIO, or glibc's.
const FALLBACK: &CStr = c"KAIO_FALLBACK";

static SAID: AtomicBool = AtomicBool::new(false);

/// Whether the user wants the program to run on without us.
pub(crate) fn wants_fallback() -> bool {
    // SAFETY: the name ends with a zero. A program that changes its environment in another thread
    // breaks getenv() everywhere.
    let value = unsafe { libc::getenv(FALLBACK.as_ptr()) };
    // SAFETY: not null, and then it ends with a zero.
    !value.is_null() && unsafe { CStr::from_ptr(value) } == c"1"
}

/// Whether the error of opening the device means that it is not there for us, and not that
/// something has run out.
pub(crate) fn is_refusal(e: Errno) -> bool {
    matches!(
        e.get(),
        libc::ENOENT
            | libc::ENOTDIR
            | libc::ENXIO
            | libc::ENODEV
            | libc::ENOTTY
            | libc::EACCES
            | libc::EPERM
    )
}

/// What a program is told that finds no device: `ENOSYS` if there is none, as a kernel without AIO
/// says; else what open(2) said.
pub(crate) fn error_of(e: Errno) -> Errno {
    match e.get() {
        libc::ENOENT | libc::ENOTDIR | libc::ENXIO | libc::ENODEV | libc::ENOTTY => {
            Errno::new(libc::ENOSYS)
        }
        _ => e,
    }
}

/// Says on stderr, once in the life of the process, that there is no device, why, and what to do;
/// or, if it is used, that `instead` is.
pub(crate) fn explain(e: Errno, instead: Option<&CStr>) {
    if SAID.swap(true, Ordering::Relaxed) {
        return;
    }
    let why = match e.get() {
        libc::EACCES | libc::EPERM => c"may not be opened",
        libc::ENOTTY => c"is not kaio's",
        _ => c"is not there",
    };
    let remedy = match e.get() {
        libc::EACCES => c"look at its mode and owner (module parameter mode=)",
        libc::EPERM => c"let the device into this container",
        _ => c"load the module (modprobe kaio), or let the device into this container",
    };
    match instead {
        Some(instead) => say(&[c"libkaio: ", PATH, c" ", why, c"; using ", instead, c"\n"]),
        None => say(&[
            c"libkaio: ",
            PATH,
            c" ",
            why,
            c": ",
            remedy,
            c"; or set ",
            FALLBACK,
            c"=1 to do without kaio\n",
        ]),
    }
}

const PATH: &CStr = kaio_sys::device::PATH;

/// In one piece, so that threads do not mix, and without allocating.
fn say<const N: usize>(parts: &[&CStr; N]) {
    let parts = parts.map(|part| libc::iovec {
        iov_base: part.as_ptr().cast_mut().cast(),
        iov_len: part.count_bytes(),
    });
    let args = [
        libc::STDERR_FILENO as usize,
        parts.as_ptr() as usize,
        N,
        0,
        0,
        0,
    ];
    // SAFETY: as many parts as the array has. If nobody hears, there is nobody to tell.
    let _ = unsafe { syscall(libc::SYS_writev, args) };
}
