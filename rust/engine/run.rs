// SPDX-License-Identifier: GPL-2.0

//! Runs requests: the only reader of a [`Verdict`].
//!
//! The counterpart of `aio_run_iocb()` of the classic fs/aio.c. The operation makes attempts; this
//! file does what its verdict says.

use super::{
    complete::{
        complete,
        complete_by_driver, //
    },
    order::{
        enqueue_in_order,
        must_wait_for_turn,
        wait_for_turn, //
    },
    park::{
        park,
        wait,
        Parked, //
    },
    punt::punt, //
};
use crate::{
    ctx::{
        kiocb::Kiocb,
        op::{
            IssueContext,
            Verdict, //
        },
    },
    request::{
        park::Armed,
        token::Active, //
    },
    sys::runners::Runner, //
};

/// What follows an attempt.
enum Step {
    /// Another attempt, at once.
    Again(Active<Kiocb>),
    /// The completion of the request, with bytes or a negative errno.
    Done(Active<Kiocb>, i64),
    /// Nothing: the token is elsewhere.
    Queued,
}

/// Runs a request until its token is elsewhere, or until it has a result. Returns the request and
/// the result in the latter case; the caller completes it.
pub(super) fn run(mut req: Active<Kiocb>, context: IssueContext) -> Option<(Active<Kiocb>, i64)> {
    // The drop of the token ends the request. In the submit call no canceller can find it yet.
    if context != IssueContext::Submit && (req.is_cancelled() || give_up_expired(&req)) {
        return None;
    }
    loop {
        if must_wait_for_turn(&req, context) {
            enqueue_in_order(req, context);
            return None;
        }
        let verdict = (req.data().ki_op.issue)(req, context);
        match apply_verdict(verdict, context) {
            Step::Again(again) => req = again,
            Step::Done(req, res) => return Some((req, res)),
            Step::Queued => return None,
        }
        if req.is_cancelled() {
            return None;
        }
    }
}

/// Returns whether the process of the request ended so long ago that the request is given up, even
/// if it is must-run. Counts the request if so.
fn give_up_expired(req: &Active<Kiocb>) -> bool {
    let process = req.view().ring_slot.ctx().process();
    let expired = process.is_expired();
    if expired {
        process.count_given_up();
    }
    expired
}

/// Runs a request for its submitter, and completes it if it has a result. The caller is a kworker,
/// which is the `runner` and has taken on the submitter's rights and memory, or a task that waits for
/// the event.
pub(super) fn run_for_submitter(
    req: Active<Kiocb>,
    context: IssueContext,
    runner: Option<&Runner<'_>>,
) {
    if let Some(runner) = runner {
        runner.begin();
    }
    // The run may end the request, and with it the context that leads to the process.
    let process = req.view().ring_slot.ctx().process().clone();
    let result = run(req, context);
    // The run ends before the completion, so that a SIGKILL for the run does not reach the
    // completion.
    if runner.is_some_and(Runner::end) {
        process.count_given_up();
    }
    let Some((mut req, res)) = result else {
        return;
    };
    let file = &req.view().ki_filp;
    // Programs expect a file that they closed to be closed once they have the event (exec, umount).
    // The close of a socket may linger, so only a worker, for which no other request waits, closes
    // one here.
    if context == IssueContext::Work || file.on_disk() {
        req.close_file();
    }
    complete(req, res);
}

/// Does what a verdict says.
fn apply_verdict(verdict: Verdict, context: IssueContext) -> Step {
    match verdict {
        Verdict::Done(req, res) => Step::Done(req, res),
        Verdict::Queued => Step::Queued,
        Verdict::Cancelled(req) => {
            drop(req);
            Step::Queued
        }
        Verdict::Punt(req) => {
            // A request that waits for readiness is in its order queue from its first attempt on.
            let req = match req
                .view()
                .transfer
                .as_ref()
                .is_some_and(|t| t.is_pollable())
            {
                true => wait_for_turn(req),
                false => Some(req),
            };
            if let Some(req) = req {
                punt(req, context);
            }
            Step::Queued
        }
        Verdict::Park(req) => match park(req, context) {
            Parked::Again(req) => Step::Again(req),
            Parked::Done(req, res) => Step::Done(req, res),
            Parked::Queued => Step::Queued,
            Parked::Armed(armed, req) => try_armed(armed, req, context),
        },
    }
}

/// Tries a request that is on the wait queues of its file once more, and leaves it to the next kick
/// if it still has to wait.
fn try_armed(armed: Armed<Kiocb>, mut req: Active<Kiocb>, context: IssueContext) -> Step {
    match (req.data().ki_op.issue)(req, context) {
        Verdict::Park(req) => match wait(armed, req) {
            Some((req, res)) => Step::Done(req, res),
            None => Step::Queued,
        },
        Verdict::Queued => {
            armed.leave();
            Step::Queued
        }
        verdict => {
            drop(armed);
            apply_verdict(verdict, context)
        }
    }
}

/// Punts a request that the submit call has not tried, and keeps its order.
pub(super) fn punt_untried(req: Active<Kiocb>) {
    let _ = apply_verdict(Verdict::Punt(req), IssueContext::Submit);
}

/// Does what the verdict about a driver's completion says. Any context, hard interrupt included.
pub(super) fn after_driver(verdict: Verdict) {
    match verdict {
        Verdict::Done(req, res) => complete_by_driver(req, res),
        // As in the submit call, a work item wakes the worker: an interrupt has no time for it.
        Verdict::Punt(req) | Verdict::Park(req) => punt(req, IssueContext::Submit),
        Verdict::Queued => {}
        Verdict::Cancelled(req) => drop(req),
    }
}
