// SPDX-License-Identifier: GPL-2.0

//! The poll events of a file, as the kernel numbers them and as user space does (`aio_poll()` of
//! fs/aio.c).

use core::ptr;

use super::{
    ffi,
    file::File, //
};

/// Returns the events for which a read or a write waits.
pub(crate) fn events_for(write: bool) -> u32 {
    match write {
        true => ffi::kaio_const_KAIO_POLL_TO_WRITE,
        false => ffi::kaio_const_KAIO_POLL_TO_READ,
    }
}

/// The events of a file that can be read.
pub(crate) const READABLE: u32 = ffi::kaio_const_KAIO_POLL_READABLE;

/// Returns the events that `file` has now. A regular file is always ready. Returns 0 for a closed
/// file.
pub(crate) fn poll_now(file: &File) -> u32 {
    match file.open() {
        // SAFETY: the borrow of the `File` keeps what `File::open` returned open during the call.
        // Without a poll table the file puts nothing on its wait queues.
        Some(file) => unsafe { ffi::kaio_poll(file, ptr::null_mut()) },
        None => 0,
    }
}

/// Returns the events of `aio_buf` as poll events of the kernel, with `EPOLLERR` and `EPOLLHUP`,
/// which are always reported.
pub(crate) fn events_asked(asked: u16) -> u32 {
    // SAFETY: the function computes a number, and has no requirement.
    unsafe { ffi::kaio_poll_demangle(asked) }
}

/// Returns poll events of the kernel as user space numbers them.
pub(crate) fn events_told(events: u32) -> u16 {
    // SAFETY: the function computes a number, and has no requirement.
    unsafe { ffi::kaio_poll_mangle(events) }
}

/// Returns whether a wake-up with these events came from a driver that frees its wait queue
/// (`POLLFREE`). The events say nothing about the file then.
pub(crate) fn is_queue_freed(woken: u32) -> bool {
    woken & ffi::kaio_const_KAIO_POLL_FREED != 0
}

/// Returns whether the events of `mask` mean that no more data will come.
pub(crate) fn is_hung_up(mask: u32) -> bool {
    mask & ffi::kaio_const_KAIO_POLL_HANG_UP != 0
}
