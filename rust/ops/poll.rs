// SPDX-License-Identifier: GPL-2.0

//! POLL: `aio_poll()` of fs/aio.c. Once: completes with the events that there are.

use kernel::prelude::*;

use crate::{
    obj::{
        kiocb::Kiocb,
        op::{
            How,
            Now,
            Op,
            Verdict, //
        },
    },
    sys::{
        file::File,
        poll,
        request::{
            Active,
            Prepared, //
        },
        uapi::{
            self,
            Iocb, //
        },
    },
};

pub(super) struct Poll;

/// What is asked for, if the arguments make sense.
fn events(iocb: &Iocb) -> Option<u32> {
    let asked = u16::try_from(iocb.aio_buf).ok()?;
    let unused = iocb.aio_nbytes | iocb.aio_offset as u64;
    (unused == 0 && iocb.aio_rw_flags == 0).then(|| poll::events_asked(asked))
}

impl Op for Poll {
    const OPCODE: u16 = uapi::POLL;
    /// As natively, where no events is what a cancelled poll has seen.
    const CANCELLED: i64 = 0;

    fn now(iocb: &Iocb, file: &File) -> Now {
        let Some(events) = events(iocb).filter(|_| file.pollable() && !file.asks()) else {
            return Now::Unfit;
        };
        match events & poll::poll_now(file) {
            0 => Now::Missed,
            events => Now::Done(poll::events_told(events).into()),
        }
    }

    fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>) -> Result {
        let kiocb = req.data();
        kiocb.events = events(iocb).ok_or(EINVAL)?;
        // Nobody will ever wake us.
        if !kiocb.ki_filp.pollable() && poll::poll_now(&kiocb.ki_filp) & kiocb.events == 0 {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn retry(mut req: Active<Kiocb>, how: How) -> Verdict {
        let woken = req.woken();
        let kiocb = req.data();
        if core::mem::take(&mut kiocb.missed) {
            // It is asked again once it is on the file's wait queues.
            return Verdict::Park(req);
        }
        let file = &kiocb.ki_filp;
        if file.asks() && file.pollable() && how != How::Work {
            return Verdict::Defer(req);
        }
        // Whether signals are pending only their task can say; but something woke us.
        let of_signals = file.of_task() && !file.on_disk();
        let found = match of_signals && how != How::Submit {
            true if woken == 0 => poll::READABLE,
            true => woken,
            false => poll::poll_now(file),
        };
        let events = kiocb.events & found;
        match events {
            0 => Verdict::Park(req),
            _ => Verdict::Done(req, poll::events_told(events).into()),
        }
    }
}
