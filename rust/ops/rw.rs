// SPDX-License-Identifier: GPL-2.0

//! PREAD, PWRITE, PREADV, PWRITEV.
//!
//! The counterpart of `aio_read()` and `aio_write()` of fs/aio.c, made to retry.
//!
//! Invariant: an attempt in the submit call never waits (`IOCB_NOWAIT`), except for files that only
//! the submitter may use. What happens to a transfer that such an attempt leaves undone depends on
//! the file:
//!
//! - A file in the page cache: a worker starts to read and does not wait, and the task that unlocks
//!   the page kicks the request (`IOCB_WAITQ`). The submit call does not read ahead, because that
//!   waits for tags and memory.
//! - Another file on a disk: a worker does the transfer, and may wait for the disk.
//! - A file that can be polled (pipe, socket, tty): the request waits by poll until the file is
//!   ready.
//! - Any other file: a worker does the transfer.
//!
//! A file that workers must not read or write gets one attempt, by the submitter in the submit
//! call, as natively. If the file does not know `IOCB_NOWAIT`, the submitter first asks the file
//! whether it is ready to be read.

mod fast_path;
mod outcome;
mod plan;
pub(super) mod prep;

use kernel::prelude::*;

use self::{
    fast_path::{
        light,
        read_inline,
        write_inline, //
    },
    outcome::{
        must_wait,
        outcome_of,
        Outcome, //
    },
    plan::{
        next_step,
        Step, //
    },
    prep::prep, //
};
use crate::{
    ctx::{
        kioctx::Kioctx,
        op::prelude::*,
        transfer::Transfer, //
    },
    request::{
        issue::Called,
        light::LightTransfer, //
    },
    sys::errno, //
};

/// How often in a row a request may be about to wait and not do so, before other requests get their
/// turn.
const MAX_ROUNDS: u32 = 64;

/// How many attempts a submit call or the kick handler makes for one request that makes progress
/// each time, such as a write to a pipe that another task empties meanwhile. A worker does the
/// rest.
const MAX_ATTEMPTS: u32 = 64;

macro_rules! rw_ops {
    ($($name:ident: $opcode:expr, write: $write:expr, vector: $vector:expr;)*) => {$(
        pub(super) struct $name;

        impl Op for $name {
            const OPCODE: u16 = $opcode;
            const KIND: Kind = match $write {
                true => Kind::Write,
                false => Kind::Plain,
            };

            fn try_inline(iocb: &Iocb, file: &File, ctx: &Kioctx) -> FastPath {
                match $write {
                    true => write_inline(iocb, file, $vector, ctx),
                    false => read_inline(iocb, file, $vector),
                }
            }

            fn light(iocb: &Iocb, file: &File) -> Option<LightTransfer> {
                light(iocb, file, $write, $vector)
            }

            fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>) -> Result {
                prep(iocb, req, $write, $vector)
            }

            fn issue(req: Active<Kiocb>, context: IssueContext) -> Verdict {
                issue(req, context)
            }

            fn driver_done(req: Active<Kiocb>, ret: isize) -> Verdict {
                driver_done(req, ret)
            }
        }
    )*};
}

rw_ops! {
    Pread: uapi::PREAD, write: false, vector: false;
    Pwrite: uapi::PWRITE, write: true, vector: false;
    Preadv: uapi::PREADV, write: false, vector: true;
    Pwritev: uapi::PWRITEV, write: true, vector: true;
}

fn issue(mut req: Active<Kiocb>, context: IssueContext) -> Verdict {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let attempt = match next_step(req.data(), context) {
            Step::Call(attempt) => attempt,
            Step::Done(res) => return Verdict::Done(req, res),
            Step::Park => return park(req, context),
            Step::Punt => return Verdict::Punt(req),
        };
        let kiocb = req.data();
        let Some(transfer) = kiocb.transfer.as_ref() else {
            return Verdict::Done(req, errno::EINVAL);
        };
        let mut iter = transfer.buffers.rest(transfer.done);
        if context != IssueContext::Submit && (kiocb.ki_filp.on_disk() || !is_pollable(kiocb)) {
            // From here on the transfer may be in hardware, or wait for it, so it cannot be
            // cancelled.
            req.unlist();
            if req.is_cancelled() {
                return Verdict::Cancelled(req);
            }
        }
        let ret = match req.call(&attempt, &mut iter) {
            Called::Queued => return Verdict::Queued,
            Called::Done(back, ret) => {
                req = back;
                ret
            }
        };
        let pollable = is_pollable(req.data());
        match outcome_of(req.data(), ret, context) {
            Outcome::Done(res) => return Verdict::Done(req, res),
            Outcome::WouldBlock if pollable => return park(req, context),
            // The attempt was interrupted after a moment, and no task waits for the result any
            // more.
            Outcome::WouldBlock
                if context == IssueContext::Work && req.view().ring_slot.ctx().is_abandoned() =>
            {
                return Verdict::Cancelled(req);
            }
            Outcome::WouldBlock => return Verdict::Punt(req),
            Outcome::Partial if context != IssueContext::Work && attempts >= MAX_ATTEMPTS => {
                return Verdict::Punt(req);
            }
            Outcome::Partial if pollable => {}
            // A worker may wait for the rest. The submit call and the kick handler leave it to a
            // worker.
            Outcome::Partial if context == IssueContext::Work => {}
            Outcome::Partial => return Verdict::Punt(req),
            Outcome::Retry => {}
        }
        let is_expired =
            || context == IssueContext::Work && req.view().ring_slot.ctx().process().is_expired();
        if req.is_cancelled() || is_expired() {
            return Verdict::Cancelled(req);
        }
    }
}

fn is_pollable(kiocb: &mut Kiocb) -> bool {
    kiocb.transfer.as_ref().is_some_and(Transfer::is_pollable)
}

/// Parks a request until its file is ready. If the file was ready too often in a row, other
/// requests get their turn first. In a worker, a file that always reports that it is ready and
/// never is ends the transfer with `EAGAIN`.
fn park(mut req: Active<Kiocb>, context: IssueContext) -> Verdict {
    let kiocb = req.data();
    let may_try = kiocb.may_try(context);
    match kiocb.transfer.as_ref() {
        Some(transfer) if transfer.rounds <= MAX_ROUNDS => Verdict::Park(req),
        _ if may_try || context != IssueContext::Work => Verdict::Punt(req),
        _ => Verdict::Done(req, errno::EAGAIN),
    }
}

fn driver_done(mut req: Active<Kiocb>, ret: isize) -> Verdict {
    let kiocb = req.data();
    let Some(transfer) = kiocb.transfer.as_mut() else {
        return Verdict::Done(req, ret as i64);
    };
    // A device without a free tag, or one that cannot do the transfer without waiting, refuses
    // here.
    if must_wait(transfer, ret) {
        return Verdict::Punt(req);
    }
    let done = transfer.done as i64;
    let res = match i64::try_from(ret) {
        Ok(ret) if ret >= 0 => done.saturating_add(ret),
        _ if done > 0 => done,
        _ => ret as i64,
    };
    Verdict::Done(req, res)
}
