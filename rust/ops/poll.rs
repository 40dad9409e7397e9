// SPDX-License-Identifier: GPL-2.0

//! POLL: waits once for events of a file, and completes with the events that there are.
//!
//! The counterpart of `aio_poll()` of fs/aio.c. Invariant: the request is on the wait queues of the
//! file before the file is asked for the last time, so no event is lost.

use kernel::prelude::*;

use crate::{
    ctx::{
        kiocb::Kiocb,
        kioctx::Kioctx,
        op::{
            FastPath,
            IssueContext,
            Op,
            Verdict, //
        },
    },
    request::token::{
        Active,
        Prepared, //
    },
    sys::{
        file::File,
        poll,
        uapi::{
            self,
            Iocb, //
        },
    },
};

pub(super) struct Poll;

/// Returns the events that an iocb asks for, or `None` if its arguments are invalid.
fn events(iocb: &Iocb) -> Option<u32> {
    let asked = u16::try_from(iocb.aio_buf).ok()?;
    let unused = iocb.aio_nbytes | iocb.aio_offset as u64;
    (unused == 0 && iocb.aio_rw_flags == 0).then(|| poll::events_asked(asked))
}

impl Op for Poll {
    const OPCODE: u16 = uapi::POLL;
    /// As natively, where a cancelled poll reports no events.
    const CANCELLED: i64 = 0;

    fn try_inline(iocb: &Iocb, file: &File, _ctx: &Kioctx) -> FastPath {
        let Some(events) = events(iocb).filter(|_| file.pollable() && !file.slow_poll()) else {
            return FastPath::Unsupported;
        };
        match events & poll::poll_now(file) {
            0 => FastPath::WouldBlock,
            events => FastPath::Done(poll::events_told(events).into()),
        }
    }

    fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>) -> Result {
        let kiocb = req.data();
        kiocb.events = events(iocb).ok_or(EINVAL)?;
        // A file without `poll` never wakes the request, so its events must be there now.
        if !kiocb.ki_filp.pollable() && poll::poll_now(&kiocb.ki_filp) & kiocb.events == 0 {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn issue(mut req: Active<Kiocb>, context: IssueContext) -> Verdict {
        let woken = req.woken();
        let kiocb = req.data();
        if core::mem::take(&mut kiocb.would_block) {
            // The fast path has asked the file. It is asked again when the request is on its wait
            // queues.
            return Verdict::Park(req);
        }
        if context != IssueContext::Submit
            && kiocb.events & woken != 0
            && !poll::is_queue_freed(woken)
        {
            // As natively: the wake-up is the answer, even if another task has taken what there was.
            return Verdict::Done(req, poll::events_told(woken).into());
        }
        let file = &kiocb.ki_filp;
        if file.slow_poll() && file.pollable() && context != IssueContext::Work {
            return Verdict::Punt(req);
        }
        // Only the task that owns the signals can ask a signalfd whether it is ready. In another
        // task the wake-up is the answer.
        let found = match file.signals() && context != IssueContext::Submit {
            true if woken == 0 => poll::READABLE,
            true => woken,
            false => poll::poll_now(file),
        };
        match kiocb.events & found {
            0 => Verdict::Park(req),
            // As natively, the result has all events that the wake-up reported, requested or not.
            events => Verdict::Done(req, poll::events_told(events | woken).into()),
        }
    }
}
