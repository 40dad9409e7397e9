// SPDX-License-Identifier: GPL-2.0

//! What the result of an attempt means for the transfer.
//!
//! The counterpart of `aio_rw_done()` of fs/aio.c, and of `aio_advance_iovec()` of the classic one.
//! Invariant: bytes that were moved are never lost; a later error ends the transfer with the bytes.

use crate::{
    ctx::{
        kiocb::Kiocb,
        op::IssueContext,
        transfer::{
            Strategy,
            Transfer, //
        },
    },
    pure::args,
    request::issue::{
        self,
        IssueMode, //
    },
    sys::{
        errno,
        file::File,
        task, //
    },
};

/// What the result of an attempt means.
pub(super) enum Outcome {
    Done(i64),
    /// The transfer must wait.
    WouldBlock,
    /// A part is done, and the rest is to be tried again.
    Partial,
    /// The transfer is to be tried again in another way.
    Retry,
}

/// Returns whether the attempt could not be made without waiting, and is to be made again.
pub(super) fn must_wait(transfer: &Transfer, ret: isize) -> bool {
    let nowait = matches!(transfer.mode, IssueMode::Cached | IssueMode::NoWait);
    !transfer.is_nowait()
        && match ret as i64 {
            errno::EAGAIN => nowait || transfer.is_pollable(),
            // A disk says so if it cannot do the transfer without waiting. From a socket it is a
            // result.
            errno::EOPNOTSUPP => nowait && !transfer.is_pollable(),
            errno::EINTR => transfer.mode == IssueMode::BoundedWait,
            _ => false,
        }
}

/// Adds the result of an attempt to the transfer, and returns what follows from it.
pub(super) fn outcome_of(kiocb: &mut Kiocb, ret: isize, context: IssueContext) -> Outcome {
    let file = &kiocb.ki_filp;
    let Some(transfer) = kiocb.transfer.as_mut() else {
        return Outcome::Done(ret as i64);
    };
    let mode = transfer.mode;
    let rest = args::rest(transfer.buffers.len(), transfer.done);
    let at = |done: usize| transfer.pos.saturating_add(done as i64);
    if mode == IssueMode::Page && ret as i64 == errno::EAGAIN {
        // No task will unlock a page for this request, since the file cannot do that, or not now.
        transfer.strategy = Strategy::Worker { try_first: true };
        return Outcome::Retry;
    }
    if must_wait(transfer, ret) {
        return Outcome::WouldBlock;
    }
    if mode == IssueMode::Cached && ret == 0 && rest > 0 && !file.at_eof(at(transfer.done)) {
        return Outcome::WouldBlock;
    }
    if ret <= 0 {
        if ret as i64 == errno::EPIPE && context != IssueContext::Submit {
            signal_broken_pipe(file, transfer);
        }
        return Outcome::Done(if transfer.done > 0 {
            transfer.done as i64
        } else {
            ret as i64
        });
    }
    transfer.rounds = 0;
    transfer.done = transfer.done.saturating_add(ret as usize);
    let done = Outcome::Done(transfer.done as i64);
    let waited = mode == IssueMode::Wait;
    if waited || transfer.is_nowait() || args::rest(transfer.buffers.len(), transfer.done) == 0 {
        return done;
    }
    match (file.on_disk(), transfer.write) {
        // A disk has the rest, unless the file ends here.
        (true, false) if file.at_eof(transfer.pos.saturating_add(transfer.done as i64)) => done,
        (true, _) => Outcome::Partial,
        // A blocking write to a pipe or socket goes on until all is written.
        (false, true) if transfer.is_pollable() => Outcome::Partial,
        // /dev/zero stops when other tasks want the CPU, but has the rest.
        (false, false) if transfer.nowait && !transfer.is_pollable() => Outcome::Partial,
        // Any other read ends with the bytes that there are.
        (false, _) => done,
    }
}

/// Sends `SIGPIPE` to the submitter's process, as a write without readers does. The write has
/// raised the signal in the kworker that made it.
pub(super) fn signal_broken_pipe(file: &File, transfer: &Transfer) {
    // A socket that has written some bytes reports those instead.
    let raises = file.sigpipe() && (file.fifo() || transfer.done == 0);
    if transfer.write && raises && transfer.flags & issue::NOSIGNAL == 0 {
        task::signal_pipe();
    }
}
