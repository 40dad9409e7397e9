// SPDX-License-Identifier: LGPL-2.1-or-later

//! Waiting for requests: `aio_suspend()` and `lio_listio(LIO_WAIT)`.
//!
//! One word counts what has been completed; who waits looks at what it waits for, and sleeps in a
//! futex until the word changes. Nothing here takes a lock or allocates, so it may be called from a
//! signal handler; and a handler may leave by siglongjmp().

use core::ffi::c_int;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering};

use kaio_sys::syscall::syscall;
use kaio_sys::{Errno, Result};

use super::c::{pthread_setcanceltype, PTHREAD_CANCEL_ASYNCHRONOUS};

/// Goes up when requests have been completed.
static COMPLETED: AtomicU32 = AtomicU32::new(0);

/// Sleepers, or more: one that a signal handler or pthread_cancel() took out of its sleep is never
/// taken off, which costs a needless system call now and then.
static SLEEPERS: AtomicU32 = AtomicU32::new(0);

/// Requests have been completed, and their control blocks say so.
pub(super) fn publish() {
    // SeqCst, here and in `sleep`: either we see the sleeper, or it sees the new number.
    COMPLETED.fetch_add(1, Ordering::SeqCst);
    if SLEEPERS.load(Ordering::SeqCst) != 0 {
        let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        let args = [
            COMPLETED.as_ptr() as usize,
            op as usize,
            i32::MAX as usize,
            0,
            0,
            0,
        ];
        // SAFETY: it wakes who waits on our word.
        let _ = unsafe { syscall(libc::SYS_futex, args) };
    }
}

/// The point in time (CLOCK_MONOTONIC) that is `timeout` from now.
///
/// # Errors
///
/// `EINVAL`: that is no time.
pub(super) fn deadline(timeout: &libc::timespec) -> Result<libc::timespec> {
    const SECOND: i64 = 1_000_000_000;
    if timeout.tv_sec < 0 || !(0..SECOND).contains(&timeout.tv_nsec) {
        return Err(Errno::new(libc::EINVAL));
    }
    let mut end = *timeout;
    // SAFETY: `end` is written.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut end) };
    let nsec = end.tv_nsec + timeout.tv_nsec;
    end.tv_sec = end
        .tv_sec
        .saturating_add(timeout.tv_sec)
        .saturating_add(nsec / SECOND);
    end.tv_nsec = nsec % SECOND;
    Ok(end)
}

/// Waits until `done`, which is asked whenever requests have been completed. A point where
/// pthread_cancel() acts if `cancelable`.
///
/// # Errors
///
/// `EAGAIN`: `end` has come. `EINTR`: a signal handler has run.
pub(super) fn wait(
    end: Option<&libc::timespec>,
    cancelable: bool,
    mut done: impl FnMut() -> bool,
) -> Result<()> {
    loop {
        let seen = COMPLETED.load(Ordering::SeqCst);
        if done() {
            return Ok(());
        }
        match sleep(seen, end, cancelable) {
            // It has changed already.
            Err(e) if e.get() == libc::EAGAIN => {}
            Ok(()) => {}
            // What the signal tells may be just what is waited for.
            Err(_) if done() => return Ok(()),
            Err(e) if e.get() == libc::ETIMEDOUT => return Err(Errno::new(libc::EAGAIN)),
            Err(e) => return Err(e),
        }
    }
}

/// Sleeps while the number is `seen`.
fn sleep(seen: u32, end: Option<&libc::timespec>, cancelable: bool) -> Result<()> {
    let op = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
    let args = [
        COMPLETED.as_ptr() as usize,
        op as usize,
        seen as usize,
        end.map_or(0, |end| &raw const *end as usize),
        0,
        libc::FUTEX_BITSET_MATCH_ANY as u32 as usize,
    ];
    let mut kind = 0;
    SLEEPERS.fetch_add(1, Ordering::SeqCst);
    if cancelable {
        // SAFETY: the thread may end anywhere from here on. It holds nothing, and the frames that are
        // unwound then have nothing to drop, which is what Rust asks of frames that a thread's end
        // passes (RFC 2945).
        unsafe { pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS as c_int, &mut kind) };
    }
    // SAFETY: the kernel only reads our word and the time.
    let ret = unsafe { syscall(libc::SYS_futex, args) };
    if cancelable {
        // SAFETY: gives back what was there.
        unsafe { pthread_setcanceltype(kind, null_mut()) };
    }
    SLEEPERS.fetch_sub(1, Ordering::SeqCst);
    ret.map(|_| ())
}
