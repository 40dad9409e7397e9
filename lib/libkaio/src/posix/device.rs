// SPDX-License-Identifier: LGPL-2.1-or-later

//! System calls on the descriptor of the device.

use core::ffi::c_int;
use core::ptr;

use kaio_sys::ioctl::{self, Wait};
use kaio_sys::syscall::syscall;
use kaio_sys::uapi::{__kernel_timespec, io_event};
use kaio_sys::{Errno, Result};

/// Returns whether the error may mean that the library's descriptor is gone.
pub(super) fn may_mean_lost_device(error: Errno) -> bool {
    matches!(error.get(), libc::EBADF | libc::ENOTTY | libc::EINVAL)
}

/// Takes the events that are there now, as many as fit into `events`.
pub(super) fn take_events(fd: c_int, id: u64, events: &mut [io_event]) -> Result<usize> {
    const NOW: __kernel_timespec = __kernel_timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let wait = Wait {
        nr: events.len() as i64,
        events: events.as_mut_ptr(),
        timeout: &NOW,
        ..Default::default()
    };
    loop {
        // SAFETY: `wait` describes `events`, which the caller lends until the call returns. Only
        // the kernel moves the head of these rings: the library never takes their events in user
        // space.
        let answer = unsafe { ioctl::get_events(fd, id, &wait) };
        // All signals are blocked, but the kernel interrupts the call for other work too: when the
        // program is stopped, traced or changes its user. The kernel does that work before the
        // call returns.
        if !answer.is_err_and(|e| e.get() == libc::EINTR) {
            return answer;
        }
    }
}

/// Waits for at most `timeout` milliseconds until a context has events; -1 means without limit.
/// Returns the events that poll(2) reports for the device, or 0 if the time is over. Returns
/// `None` if the call was interrupted because the kernel had other work for this thread.
pub(super) fn poll(fd: c_int, timeout: c_int) -> Option<i16> {
    let mut pollfd = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // The kernel writes the remaining time back to this struct.
    let mut timeout = (timeout >= 0).then(|| libc::timespec {
        tv_sec: (timeout / 1000).into(),
        tv_nsec: (timeout % 1000 * 1_000_000).into(),
    });
    let args = [
        ptr::from_mut(&mut pollfd) as usize,
        1,
        timeout.as_mut().map_or(0, |t| ptr::from_mut(t) as usize),
        0,
        0,
        0,
    ];
    // This does not go through libc, whose poll() is a cancellation point: pthread_cancel() would
    // end the calling thread in the middle of this library's work.
    // SAFETY: `pollfd` is one pollfd, and `timeout` is null or a timespec; both live until the
    // call returns.
    let answer = unsafe { syscall(libc::SYS_ppoll, args) };
    answer.ok().map(|_| pollfd.revents)
}
