// SPDX-License-Identifier: GPL-2.0

//! io_submit(2): iocbs become requests and start.
//!
//! The order of the checks is that of `io_submit_one()` of fs/aio.c, errno by errno.

use core::mem::MaybeUninit;

use kernel::{
    prelude::*,
    uaccess::UserPtr, //
};

use crate::{
    exec::Batch,
    obj::{
        kiocb::{
            Kiocb,
            Slots, //
        },
        kioctx::Kioctx,
        op::Now,
        tray::Tray, //
    },
    ops,
    pure::args,
    sys::{
        eventfd::EventFd,
        file::Files,
        lease::Bundle,
        plug::plugged,
        request::Prepared,
        task_cell::{
            Entered,
            TaskCell, //
        },
        uapi::{
            self,
            IoEvent,
            Iocb, //
        },
        user::{
            self,
            Pointers, //
        },
    },
};

/// Fewer requests are not worth a plug, as in fs/aio.c.
const PLUG_THRESHOLD: u64 = 2;

/// Starts up to `nr` requests; returns how many, and why not the next one.
pub(crate) fn submit(
    ctx: &Bundle<Kioctx>,
    iocbpp: UserPtr,
    nr: i64,
    compat: bool,
) -> (u64, Result) {
    let nr = u64::try_from(nr).unwrap_or(0);
    let nr = nr.min(u64::from(ctx.ring().geometry().nr()));
    let start = |tray: &Entered<'_, Tray>| {
        let mut call = Call::new(ctx, tray, nr);
        // What drivers complete when the plug goes is the call's too.
        plugged(nr > PLUG_THRESHOLD, || {
            call.start(Pointers::new(iocbpp, nr, compat), nr)
        })
    };
    match ctx.tray().enter(start) {
        Ok(result) => result,
        Err(start) => beside_another(start),
    }
}

/// Somebody else submits to the context.
#[cold]
fn beside_another(start: impl FnOnce(&Entered<'_, Tray>) -> (u64, Result)) -> (u64, Result) {
    let own = TaskCell::new(Tray::new());
    own.enter(start).unwrap_or((0, Err(EAGAIN)))
}

/// What is done once for all requests of a call.
struct Call<'a> {
    ctx: &'a Kioctx,
    iocb: MaybeUninit<Iocb>,
    // Who has an event finds the file closed, if it has closed it.
    files: Files,
    batch: Batch<'a>,
    slots: Slots<'a>,
}

impl<'a> Call<'a> {
    fn new(ctx: &'a Bundle<Kioctx>, tray: &'a Entered<'a, Tray>, nr: u64) -> Self {
        Self {
            ctx,
            iocb: MaybeUninit::uninit(),
            files: Files::new(),
            slots: Slots::new(ctx),
            batch: Batch::new(ctx, tray, nr as usize),
        }
    }

    fn start(&mut self, mut pointers: Pointers, nr: u64) -> (u64, Result) {
        for k in 0..nr {
            let iocb = pointers.get(k);
            if let Err(e) = iocb.and_then(|iocb| self.submit_one(iocb, (nr - k) as u32)) {
                return (k, Err(e));
            }
        }
        (nr, Ok(()))
    }

    /// Starts the request at `uiocb`, one of `want` that are still to come.
    fn submit_one(&mut self, uiocb: usize, want: u32) -> Result {
        let iocb = user::read_iocb(uiocb, &mut self.iocb)?;
        if iocb.aio_reserved2 != 0 || !args::iocb_len_ok(iocb.aio_nbytes) {
            return Err(EINVAL);
        }
        let place = self.slots.place(want)?;
        let file = self.files.get(iocb.aio_fildes)?;
        let eventfd = if iocb.aio_flags & uapi::IOCB_FLAG_RESFD != 0 {
            Some(EventFd::get(iocb.aio_resfd)?)
        } else {
            None
        };
        let key = uiocb.wrapping_add(core::mem::offset_of!(Iocb, aio_key));
        user::write_u32(key, uapi::KIOCB_KEY)?;

        let op = ops::find_for(iocb.aio_lio_opcode, file).ok_or(EINVAL)?;
        let file = match op.looks_at_file {
            true => self.files.look()?,
            false => file,
        };
        let now = match eventfd {
            None => (op.now)(iocb, file),
            // It is signalled once the event is there.
            Some(_) => Now::Unfit,
        };
        if let Now::Done(res) = now {
            place.owe();
            let event = IoEvent {
                data: iocb.aio_data,
                obj: uiocb as u64,
                res,
                res2: 0,
            };
            self.batch.ended(event, want == 1);
            return Ok(());
        }
        let submitter = self.batch.submitter()?;
        let place = place.keep(want);
        let file = file.again();
        let call = self.batch.call;
        let kiocb = init!(Kiocb {
            ki_op: op,
            ki_filp: file,
            ki_eventfd: eventfd,
            submitter,
            users: None,
            transfer: None,
            provider: None,
            events: 0,
            missed: matches!(now, Now::Missed),
            call,
            ki_user_data: iocb.aio_data,
            place,
        });
        let mut req = Prepared::new(uiocb as u64, self.batch.blank()?, kiocb);
        (op.prep)(iocb, &mut req)?;

        self.ctx.table().stats.submitted(1);
        self.batch.start(req.start());
        Ok(())
    }
}
