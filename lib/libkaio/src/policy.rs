// SPDX-License-Identifier: LGPL-2.1-or-later

//! The behaviour without a device: an error whose reason is reported, or, if `KAIO_FALLBACK=1` asks
//! for it, the AIO that the program would have without this library. Either is reported once, on
//! stderr.

use core::ffi::CStr;
use core::mem;
use core::ptr::from_mut;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kaio_sys::syscall::syscall;
use kaio_sys::Errno;

use crate::descriptor;

/// If this variable is `1`, a program without `/dev/kaio` gets native AIO, or glibc's POSIX AIO.
const FALLBACK: &CStr = c"KAIO_FALLBACK";

/// If this variable is `1`, the library opens the device when it is loaded. This is for programs
/// that chroot(2) away from the device's node, or give up the right to open it, before they use
/// AIO.
const EARLY: &CStr = c"KAIO_EARLY";

/// If this variable is `1`, `io_setup()` refuses what native AIO would refuse because of
/// `fs.aio-max-nr`.
const NATIVE_LIMIT: &CStr = c"KAIO_NATIVE_LIMIT";

/// If this variable is `1`, the library makes all calls by ioctl(2), and none by fadvise64(2). This
/// is for programs whose seccomp filter kills them for the latter.
const IOCTL_ONLY: &CStr = c"KAIO_IOCTL_ONLY";

static EXPLAINED: AtomicBool = AtomicBool::new(false);

/// Device and inode of descriptor 2 when the library was loaded; zeroes if it was not open.
static STDERR: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Returns whether a variable of the environment is `1`.
fn is_set(name: &CStr) -> bool {
    // SAFETY: the name ends with a zero. A program that changes its environment in another thread
    // breaks getenv() everywhere.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: `value` is not null here, so getenv() has returned a string that ends with a zero.
    !value.is_null() && unsafe { CStr::from_ptr(value) } == c"1"
}

/// Returns whether the user wants the program to run on without the device.
pub(crate) fn wants_fallback() -> bool {
    is_set(FALLBACK)
}

/// Returns whether the user wants the device to be opened when the library is loaded.
pub(crate) fn wants_early_open() -> bool {
    is_set(EARLY)
}

/// Returns whether the user wants no call to be made by fadvise64(2).
pub(crate) fn wants_ioctl_only() -> bool {
    is_set(IOCTL_ONLY)
}

/// Returns whether the user wants native limits, and native AIO would refuse a context for
/// `nr_events` requests.
pub(crate) fn is_over_native_limit(nr_events: u32) -> bool {
    is_set(NATIVE_LIMIT) && native_limit().is_some_and(|limit| u64::from(nr_events) > limit)
}

/// Returns `fs.aio-max-nr`, if it can be read.
fn native_limit() -> Option<u64> {
    let path = c"/proc/sys/fs/aio-max-nr".as_ptr() as usize;
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    let at = libc::AT_FDCWD as usize;
    let mut digits = [0_u8; 24];
    // SAFETY: the path ends with a zero; the kernel writes at most the given size into `digits`;
    // the descriptor was opened here, so closing it harms no other code.
    let count = unsafe {
        let fd = syscall(libc::SYS_openat, [at, path, flags, 0, 0, 0]).ok()?;
        let args = [fd, digits.as_mut_ptr() as usize, digits.len(), 0, 0, 0];
        let count = syscall(libc::SYS_read, args);
        let _ = syscall(libc::SYS_close, [fd, 0, 0, 0, 0, 0]);
        count.ok()?
    };
    let digits = digits.iter().take(count);
    let digits = digits.take_while(|digit| digit.is_ascii_digit());
    Some(digits.fold(0_u64, |sum, digit| {
        sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))
    }))
}

/// Returns device and inode of descriptor 2, and its mode; zeroes if it is not open.
fn stderr_status() -> ([u64; 2], libc::mode_t) {
    let stat = descriptor::status(libc::STDERR_FILENO);
    let device = (u64::from(stat.stx_dev_major) << 32) | u64::from(stat.stx_dev_minor);
    ([device, stat.stx_ino], stat.stx_mode.into())
}

/// Remembers descriptor 2 as the standard error output. The program has not begun yet, so it
/// cannot have put another file there.
pub(crate) fn remember_stderr() {
    let (identity, _) = stderr_status();
    for (to, number) in STDERR.iter().zip(identity) {
        to.store(number, Ordering::Relaxed);
    }
}

/// Returns whether descriptor 2 is the standard error output: the file that it was at first, or
/// any pipe or terminal. A program that has closed its standard error output may have its data
/// there, in a file or a connection.
fn is_original_stderr() -> bool {
    let (now, mode) = stderr_status();
    let is_same = |(before, now): (&AtomicU64, u64)| before.load(Ordering::Relaxed) == now;
    match mode & libc::S_IFMT {
        0 => false,
        libc::S_IFIFO => true,
        libc::S_IFCHR if is_terminal() => true,
        _ => STDERR.iter().zip(now).all(is_same),
    }
}

fn is_terminal() -> bool {
    // SAFETY: the struct consists of integers, for which all zeroes are a valid value.
    let mut settings: libc::termios2 = unsafe { mem::zeroed() };
    let args = [
        libc::STDERR_FILENO as usize,
        libc::TCGETS2 as usize,
        from_mut(&mut settings) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: `settings` is a termios2 struct that the kernel may write until the call returns.
    unsafe { syscall(libc::SYS_ioctl, args) }.is_ok()
}

/// Returns whether this error of opening the device means that the process has no device. Other
/// errors mean that a resource has run out.
pub(crate) fn means_no_device(e: Errno) -> bool {
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

/// Returns the error that a program without a device gets: `ENOSYS` if there is none, as on a
/// kernel without AIO, and otherwise the error of open(2).
pub(crate) fn reported_error(e: Errno) -> Errno {
    match e.get() {
        libc::ENOENT | libc::ENOTDIR | libc::ENXIO | libc::ENODEV | libc::ENOTTY => {
            Errno::new(libc::ENOSYS)
        }
        _ => e,
    }
}

/// Reports on stderr, once in the life of the process, that there is no device, why, and what to
/// do, or that `instead` is used.
pub(crate) fn explain_once(e: Errno, instead: Option<&CStr>) {
    if !is_original_stderr() || EXPLAINED.swap(true, Ordering::Relaxed) {
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
        Some(instead) => {
            write_stderr(&[c"libkaio: ", PATH, c" ", why, c"; using ", instead, c"\n"])
        }
        None => write_stderr(&[
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

/// Writes the parts by one system call, so that messages of threads do not mix. Does not allocate.
fn write_stderr<const N: usize>(parts: &[&CStr; N]) {
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
    // SAFETY: `parts` has `N` parts, each of which is a string of that length. If the write fails,
    // there is no other way to report the problem.
    let _ = unsafe { syscall(libc::SYS_writev, args) };
}
