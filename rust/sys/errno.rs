// SPDX-License-Identifier: GPL-2.0

//! Results of requests: `kernel::error::code` lacks some errnos in Linux 7.2, and an event carries
//! a number, not an `Error`.

use kernel::{
    bindings,
    prelude::*, //
};

/// The operation was cancelled.
pub(crate) const ECANCELED: i64 = -(bindings::ECANCELED as i64);
/// Not now.
pub(crate) const EAGAIN: i64 = -(bindings::EAGAIN as i64);
/// The file cannot do that (without waiting).
pub(crate) const EOPNOTSUPP: i64 = -(bindings::EOPNOTSUPP as i64);
/// Invalid argument.
pub(crate) const EINVAL: i64 = -(bindings::EINVAL as i64);
/// Interrupted.
pub(crate) const EINTR: i64 = -(bindings::EINTR as i64);
/// Nobody reads.
pub(crate) const EPIPE: i64 = -(bindings::EPIPE as i64);

/// An event cannot have the call restarted: `ERESTARTSYS` and its like are `EINTR`, as
/// `aio_rw_done()` of fs/aio.c has it.
pub(crate) fn of_event(res: i64) -> i64 {
    const RESTARTS: [u32; 4] = [
        bindings::ERESTARTSYS,
        bindings::ERESTARTNOINTR,
        bindings::ERESTARTNOHAND,
        bindings::ERESTART_RESTARTBLOCK,
    ];
    match RESTARTS.iter().any(|&errno| res == -i64::from(errno)) {
        true => EINTR,
        false => res,
    }
}

/// What io_cancel(2) says when all is well.
pub(crate) fn in_progress() -> Error {
    Error::from_errno(-(bindings::EINPROGRESS as i32))
}

/// The file cannot do that.
pub(crate) fn not_supported() -> Error {
    Error::from_errno(-(bindings::EOPNOTSUPP as i32))
}
