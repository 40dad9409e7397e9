// SPDX-License-Identifier: GPL-2.0

//! Makes requests of iocbs and starts them.
//!
//! The counterpart of io_submit(2), `io_submit_one()` of fs/aio.c. Invariants: the checks have the
//! order of `io_submit_one()`, so that each mistake gives the same errno; a slot is reserved in the
//! ring before a request starts.

use core::mem::MaybeUninit;

use kernel::{
    prelude::*,
    uaccess::UserPtr, //
};

use super::{
    light::NotLight,
    submission::Submission, //
};
use crate::{
    ctx::{
        kiocb::{
            Kiocb,
            LightKiocb, //
        },
        kioctx::Kioctx,
        op::FastPath,
        slot::Slots,
        submit_state::SubmitState, //
    },
    ops,
    pure::args,
    request::token::Prepared,
    sys::{
        eventfd::EventFd,
        file::Files,
        lease::LeaseBatch,
        plug::plugged,
        task_local::{
            Entered,
            TaskLocal, //
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

/// The block layer is plugged for more requests than this, as in fs/aio.c.
const PLUG_THRESHOLD: u64 = 2;

/// Starts up to `nr` requests of the iocbs whose addresses are at `iocbpp`. Returns the number of
/// requests that were started, and the error of the next one.
///
/// # Errors
///
/// `EINVAL` and `EBADF` for a bad iocb, `EFAULT` for bad memory, `EAGAIN` if the context holds as
/// many requests as it can, `ENOMEM`, and what the checks of the operation say.
pub(crate) fn submit(
    ctx: &LeaseBatch<Kioctx>,
    iocbpp: UserPtr,
    nr: i64,
    compat: bool,
) -> (u64, Result) {
    let nr = u64::try_from(nr).unwrap_or(0);
    let nr = nr.min(u64::from(ctx.ring().geometry().nr()));
    let start = |state: &Entered<'_, SubmitState>| {
        // These are dropped in reverse order. The files go before the submission, which puts the
        // last events into the ring, because a program that has an event expects a file that it
        // closed to be closed.
        let mut slots = Slots::new(ctx);
        let mut submission = Submission::new(ctx, state, nr as usize);
        let mut files = Files::new();
        // The plug ends before the submission does, so that completions which it releases still
        // belong to the call.
        plugged(nr > PLUG_THRESHOLD, nr, || {
            let pointers = Pointers::new(iocbpp, nr, compat);
            start_all(&mut submission, &mut slots, &mut files, pointers, nr)
        })
    };
    match ctx.submit_state().enter(start) {
        Ok(result) => result,
        Err(start) => submit_beside_another(start),
    }
}

/// Submits with a state on the stack, because another task uses the state of the context.
#[cold]
fn submit_beside_another(
    start: impl FnOnce(&Entered<'_, SubmitState>) -> (u64, Result),
) -> (u64, Result) {
    let own = TaskLocal::new(SubmitState::new());
    own.enter(start).unwrap_or((0, Err(EAGAIN)))
}

/// Starts `nr` requests. Returns how many were started, and the error of the next one.
fn start_all(
    submission: &mut Submission<'_>,
    slots: &mut Slots<'_>,
    files: &mut Files,
    mut pointers: Pointers,
    nr: u64,
) -> (u64, Result) {
    let mut memory = MaybeUninit::uninit();
    for k in 0..nr {
        let want = (nr - k) as u32;
        let started = pointers.get(k).and_then(|uiocb| {
            let iocb = user::read_iocb(uiocb, &mut memory)?;
            start_one(submission, slots, files, iocb, uiocb, want)
        });
        if let Err(e) = started {
            return (k, Err(e));
        }
    }
    (nr, Ok(()))
}

/// Starts the request of an iocb, which user space has at `uiocb`. The request is the first of
/// `want` that are still to come.
#[inline]
fn start_one(
    submission: &mut Submission<'_>,
    slots: &mut Slots<'_>,
    files: &mut Files,
    iocb: &Iocb,
    uiocb: usize,
    want: u32,
) -> Result {
    if iocb.aio_reserved2 != 0 || !args::iocb_len_ok(iocb.aio_nbytes) {
        return Err(EINVAL);
    }
    let ring_slot = slots.ring_slot(want)?;
    let file = files.get(iocb.aio_fildes)?;
    let eventfd = if iocb.aio_flags & uapi::IOCB_FLAG_RESFD != 0 {
        Some(EventFd::get(iocb.aio_resfd)?)
    } else {
        None
    };
    let key = uiocb.wrapping_add(core::mem::offset_of!(Iocb, aio_key));
    user::write_u32(key, uapi::KIOCB_KEY)?;

    let op = ops::find_for(iocb.aio_lio_opcode, file).ok_or(EINVAL)?;
    let file = match op.needs_file_traits {
        true => files.look()?,
        false => file,
    };
    let fast = match submission.may_copy_more() {
        true => (op.try_inline)(iocb, file, submission.ctx),
        false => FastPath::Unsupported,
    };
    if let FastPath::Copied(bytes) = fast {
        submission.copied(bytes);
    }
    if let FastPath::Done(res) | FastPath::Copied(res) = fast {
        ring_slot.disarm();
        let event = IoEvent {
            data: iocb.aio_data,
            obj: uiocb as u64,
            res,
            res2: 0,
        };
        match &eventfd {
            None => submission.complete_without_request(event, want == 1),
            Some(eventfd) => submission.complete_and_signal(event, eventfd),
        }
        return Ok(());
    }
    let submitter = submission.submitter()?;
    let call = submission.call;
    let mut no_room = false;
    if let Some(transfer) = (op.light)(iocb, file) {
        let ioprio = submitter.ioprio();
        let with_eventfd = eventfd.is_some();
        let prepared = submission.prepare_light(file, &transfer, ioprio, with_eventfd);
        no_room = matches!(prepared, Err(NotLight::NoRoom));
        if let Ok((free, attempt)) = prepared {
            let light = init!(LightKiocb {
                ki_op: op,
                ki_filp: file.clone(),
                ki_eventfd: eventfd,
                submitter,
                transfer,
                call,
                key: uiocb as u64,
                ki_user_data: iocb.aio_data,
                ring_slot: ring_slot.keep_light(want),
            });
            submission.start_light(free, light, attempt, file);
            return Ok(());
        }
    }
    let (ring_slot, shared) = ring_slot.keep(want);
    let file = file.clone();
    let kiocb = init!(Kiocb {
        ki_op: op,
        ki_filp: file,
        ki_eventfd: eventfd,
        submitter,
        users: None,
        transfer: None,
        events: 0,
        would_block: matches!(fast, FastPath::WouldBlock),
        result_kept: false,
        call,
        ki_user_data: iocb.aio_data,
        ring_slot,
    });
    let mut req = Prepared::new(uiocb as u64, submission.free_request()?, shared, kiocb);
    (op.prep)(iocb, &mut req)?;

    submission.ctx.table().stats.submitted(1);
    submission.start(req.start(), no_room);
    Ok(())
}
