// SPDX-License-Identifier: GPL-2.0

//! Parks a request until its next kick.
//!
//! The counterpart of the wait-queue retry of the classic fs/aio.c (`aio_wake_function()`).
//! Invariant: no kick is lost. The request is put on the wait queues first and tried once more
//! then, so an event before the attempt is seen by the attempt, and an event after it kicks.

use super::order::wait_for_turn;
use crate::{
    ctx::{
        kiocb::Kiocb,
        op::IssueContext,
        transfer::{
            Readiness,
            Strategy, //
        },
    },
    request::{
        park::Armed,
        token::Active, //
    },
    sys::poll, //
};

/// The result of parking a request.
pub(super) enum Parked {
    /// The request is to be run once more, at once.
    Again(Active<Kiocb>),
    /// The request cannot wait and has a result, a negative errno.
    Done(Active<Kiocb>, i64),
    /// The request waits for a kick, or has ended.
    Queued,
    /// The request is on the wait queues of its file, and is to be tried once more; after that
    /// [`wait`] leaves it to the next kick.
    Armed(Armed<Kiocb>, Active<Kiocb>),
}

/// Parks a request until its next kick, unless it must not or cannot wait for one.
///
/// First puts the request on the wait queues of the file, then has it tried once more: what happens
/// after that attempt kicks, and what happened before is seen by it. For a POLL, and for a file that
/// cannot be tried without waiting, the poll events decide that the file returned when the request
/// was put on the queues. If the file has no wait queues, a worker does the request.
pub(super) fn park(mut req: Active<Kiocb>, context: IssueContext) -> Parked {
    if req.is_cancelled() {
        // The drop of the token ends the request.
        return Parked::Queued;
    }
    // The wait may never end, so the end of the context must be able to cancel it.
    req.clear_must_run();
    req.view().ring_slot.ctx().table().stats.parked(1);
    if req.view().events == 0 {
        // The provider kicks this request directly; no wait-queue entry is needed.
        if let Err(req) = req.park() {
            req.kick();
        }
        return Parked::Queued;
    }
    // Only the first request of an order queue waits for the file; the others wait for that one.
    if req.view().transfer.is_some() {
        req = match wait_for_turn(req) {
            Some(req) => req,
            None => return Parked::Queued,
        };
    }
    let kiocb = req.data();
    let events = kiocb.events;
    // Only the task that owns the signals gets an answer of a signalfd.
    let events_decide = kiocb.transfer.is_none() && !kiocb.ki_filp.signals();
    let may_try = kiocb.may_try(context) && !events_decide;
    let armed = req.arm(events);

    let mask = match armed.mask() {
        Ok(mask) => mask,
        Err(e) => {
            drop(armed);
            let kiocb = req.data();
            let Some(transfer) = kiocb.transfer.as_mut() else {
                // As natively: the file has no wait queues, or more than there are entries for.
                return Parked::Done(req, e.to_errno().into());
            };
            transfer.strategy = Strategy::Worker { try_first: true };
            return Parked::Again(req);
        }
    };
    if may_try {
        return Parked::Armed(armed, req);
    }
    if mask & events != 0 {
        drop(armed);
        let Some(transfer) = req.data().transfer.as_mut() else {
            // Some files report an event once (perf, PSI, mounts), so they are not asked again.
            return Parked::Done(req, poll::events_told(mask & events).into());
        };
        transfer.strategy = Strategy::Poll(Readiness::Ready);
        transfer.rounds += 1;
        return Parked::Again(req);
    }
    leave_to_kick(armed, req);
    Parked::Queued
}

/// Leaves a request, which was tried once more after it was armed, to the next kick. Returns the
/// request and a result if no kick will come.
pub(super) fn wait(armed: Armed<Kiocb>, req: Active<Kiocb>) -> Option<(Active<Kiocb>, i64)> {
    let reads = req.view().transfer.as_ref().filter(|t| !t.write);
    if let Some(done) = reads.map(|t| t.done as i64) {
        if armed.mask().is_ok_and(poll::is_hung_up) {
            // Some sockets that were shut down answer EAGAIN for ever, where a read that waits
            // returns the end of the file.
            drop(armed);
            return Some((req, done));
        }
    }
    leave_to_kick(armed, req);
    None
}

fn leave_to_kick(armed: Armed<Kiocb>, req: Active<Kiocb>) {
    if let Err(req) = armed.park(req) {
        // A kick or a cancellation came during the run, or the context has ended. The next run
        // sees which.
        req.kick();
    }
}
