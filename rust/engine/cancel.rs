// SPDX-License-Identifier: GPL-2.0

//! Cancels a request on behalf of a task.
//!
//! The counterpart of io_cancel(2) of fs/aio.c. `request::cancel` does the work; the end of a
//! context cancels all requests through the same cancel table.
//!
//! Invariants: a request can be cancelled while the cancel table of its context lists it. The
//! canceller that marks a parked or queued request first also ends it. A running request, or one
//! that a provider has, sees the mark and ends where it is.

use kernel::prelude::*;

use crate::ctx::kioctx::Kioctx;

/// Cancels a request of the iocb at address `key`, and returns whether the request has ended. If it
/// has not ended, its event says whether the cancellation came in time.
///
/// # Errors
///
/// `EINVAL` if no request of that iocb can be cancelled, and `EINTR` if a fatal signal came before
/// all requests of the iocb were looked at.
pub(crate) fn cancel(ctx: &Kioctx, key: u64) -> Result<bool> {
    ctx.cancel_table().cancel(key)
}
