// SPDX-License-Identifier: GPL-2.0

//! Errnos, as the results of requests and as errors.
//!
//! An event carries a number and not an `Error`, and `kernel::error::code` of Linux 7.2 lacks some
//! errnos.

use kernel::{
    bindings,
    prelude::*, //
};

/// The operation was cancelled.
pub(crate) const ECANCELED: i64 = -(bindings::ECANCELED as i64);
/// The request would have to wait.
pub(crate) const EAGAIN: i64 = -(bindings::EAGAIN as i64);
/// The file does not support the operation, or not without waiting.
pub(crate) const EOPNOTSUPP: i64 = -(bindings::EOPNOTSUPP as i64);
/// An argument is wrong.
pub(crate) const EINVAL: i64 = -(bindings::EINVAL as i64);
/// A signal interrupted the operation.
pub(crate) const EINTR: i64 = -(bindings::EINTR as i64);
/// The pipe or socket has no reader.
pub(crate) const EPIPE: i64 = -(bindings::EPIPE as i64);

/// Returns `res` as an event reports it: `ERESTARTSYS` and the other errnos that restart a system
/// call become `EINTR`, as in `aio_rw_done()` of fs/aio.c, since an event cannot restart the call.
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

/// Returns `EINPROGRESS`, with which io_cancel(2) says that it has cancelled the request.
pub(crate) fn in_progress() -> Error {
    Error::from_errno(-(bindings::EINPROGRESS as i32))
}

/// Returns `EOPNOTSUPP`: the file does not support the operation.
pub(crate) fn not_supported() -> Error {
    Error::from_errno(-(bindings::EOPNOTSUPP as i32))
}
