// SPDX-License-Identifier: LGPL-2.1-or-later

//! futex(2) on words that only this process uses.

use kaio_sys::syscall::syscall;
use kaio_sys::Result;

fn operation(op: i32) -> usize {
    (op | libc::FUTEX_PRIVATE_FLAG) as usize
}

/// Sleeps while the word at `address` is `value`, for at most `timeout`.
///
/// # Errors
///
/// `EAGAIN`: the word has another value. `ETIMEDOUT`: the time is over. `EINTR`: a signal handler
/// has run. `EFAULT`: there is no memory at `address`.
pub(crate) fn wait(address: usize, value: u32, timeout: Option<&libc::timespec>) -> Result<()> {
    let timeout = timeout.map_or(0, |timeout| core::ptr::from_ref(timeout) as usize);
    let op = operation(libc::FUTEX_WAIT);
    // SAFETY: the kernel checks the address and only reads there; `timeout` is null or a timespec
    // that the caller lends until the call returns.
    unsafe {
        syscall(
            libc::SYS_futex,
            [address, op, value as usize, timeout, 0, 0],
        )
    }
    .map(|_| ())
}

/// Wakes up to `count` threads that sleep on the word at `address`.
pub(crate) fn wake(address: usize, count: i32) {
    let op = operation(libc::FUTEX_WAKE);
    // SAFETY: FUTEX_WAKE takes the address only as a key and does not access the memory, which the
    // program may have freed or reused by now. Each futex sleeper must expect a wake-up without a
    // reason.
    let _ = unsafe { syscall(libc::SYS_futex, [address, op, count as usize, 0, 0, 0]) };
}
