// SPDX-License-Identifier: GPL-2.0

//! Decides how far the next attempt of a transfer may go.
//!
//! The counterpart of the flags that `aio_prep_rw()` of fs/aio.c sets once; here they depend on
//! where the attempt is made. Invariant: an attempt that may wait for ever is never made.

use kernel::prelude::*;

use crate::{
    ctx::{
        kiocb::Kiocb,
        op::IssueContext,
        transfer::{
            Readiness,
            Strategy, //
        },
    },
    request::issue::{
        Attempt,
        IssueMode,
        NO_LIMIT, //
    },
    sys::{
        errno,
        poll, //
    },
};

/// The next step of a transfer.
pub(super) enum Step {
    Call(Attempt),
    /// The file has reported, without an attempt, that it is not ready.
    Done(i64),
    Park,
    Punt,
}

/// Returns how far the next attempt may go, or the step to take if no attempt is to be made.
pub(super) fn next_mode(kiocb: &mut Kiocb, context: IssueContext) -> Result<IssueMode, Step> {
    let may_try = kiocb.may_try(context);
    let file = &kiocb.ki_filp;
    let Some(transfer) = kiocb.transfer.as_mut() else {
        return Err(Step::Park);
    };
    match transfer.strategy {
        Strategy::Once => {
            if context == IssueContext::Submit
                && transfer.nowait
                && !file.keeps_nowait(transfer.write)
            {
                // The file system may sleep in spite of IOCB_NOWAIT, so a worker makes the one
                // attempt.
                return Err(Step::Punt);
            }
            // A write does not ask, since some character devices can be written but never report
            // that.
            let must_ask = !transfer.write && !transfer.nowait && file.is_the_submitters(false);
            let can_ask = file.pollable() && !file.on_disk();
            if must_ask && can_ask && poll::poll_now(file) & kiocb.events == 0 {
                return Err(Step::Done(errno::EAGAIN));
            }
            // A file that does not know IOCB_NOWAIT obeys O_NONBLOCK.
            Ok(match transfer.nowait {
                true => IssueMode::NoWait,
                false => IssueMode::Wait,
            })
        }
        // An attempt that may wait for ever must not be made. A file that cannot be tried without
        // waiting is touched only when it reports that it is ready, and only for a moment.
        Strategy::Poll(readiness) => {
            if readiness == Readiness::Ready {
                // The report counts for one attempt, since the file may not be ready any more after
                // that.
                transfer.strategy = Strategy::Poll(Readiness::NotReady);
            }
            match (may_try, context, readiness) {
                (true, _, _) => Ok(IssueMode::NoWait),
                (false, _, Readiness::NotReady) => Err(Step::Park),
                (false, IssueContext::Work, _) => {
                    transfer.strategy = Strategy::Poll(Readiness::NotReady);
                    Ok(IssueMode::BoundedWait)
                }
                (false, _, _) => Err(Step::Punt),
            }
        }
        Strategy::Pages => match context {
            IssueContext::Work => Ok(IssueMode::Page),
            IssueContext::Submit if !file.keeps_nowait(transfer.write) => Err(Step::Punt),
            IssueContext::Submit | IssueContext::Kick => Ok(IssueMode::Cached),
        },
        Strategy::Worker { try_first } => match context {
            IssueContext::Work if file.on_disk() => Ok(IssueMode::Wait),
            // A file in memory takes only the time of the copy.
            IssueContext::Work if transfer.nowait => Ok(IssueMode::Wait),
            IssueContext::Work => Ok(IssueMode::BoundedWait),
            // Some file systems read through the page cache what they cannot read directly, and
            // would start to read ahead.
            IssueContext::Submit | IssueContext::Kick
                if transfer.nowait && try_first && !transfer.write && file.on_disk() =>
            {
                Ok(IssueMode::Cached)
            }
            IssueContext::Submit | IssueContext::Kick if transfer.nowait && try_first => {
                Ok(IssueMode::NoWait)
            }
            IssueContext::Submit | IssueContext::Kick => Err(Step::Punt),
        },
    }
}

/// Returns the next step of a transfer; an attempt begins where the last one ended.
pub(super) fn next_step(kiocb: &mut Kiocb, context: IssueContext) -> Step {
    let mode = match next_mode(kiocb, context) {
        Ok(mode) => mode,
        Err(step) => return step,
    };
    let on_disk = kiocb.ki_filp.on_disk();
    let Some(transfer) = kiocb.transfer.as_mut() else {
        return Step::Park;
    };
    transfer.mode = mode;
    Step::Call(Attempt {
        pos: match on_disk {
            true => transfer.pos.saturating_add(transfer.done as i64),
            false => transfer.pos,
        },
        flags: transfer.flags,
        write: transfer.write,
        effort: mode,
        fsize_limit: match context {
            // The file system looks at the limit of the current task itself.
            IssueContext::Submit => NO_LIMIT,
            IssueContext::Kick | IssueContext::Work => kiocb.submitter.fsize_limit(),
        },
        resumed: transfer.done > 0,
    })
}
