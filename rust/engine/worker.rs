// SPDX-License-Identifier: GPL-2.0

//! Runs requests outside the submit call: the kick handler, the work item that wakes workers, and
//! tasks that wait for events.
//!
//! The counterpart of `aio_kick_handler()` of the classic fs/aio.c. Invariants: the
//! kick handler waits for nothing but the memory of the request that it runs, and workers run the
//! other kicked requests meanwhile. The work item that wakes workers does not wait.

use kernel::workqueue::WorkItem;

use super::{
    complete::complete_kept,
    run::run_for_submitter, //
};
use crate::{
    ctx::{
        kiocb::Kiocb,
        kioctx::{
            Kioctx,
            KICK,
            WAKE_WORKERS, //
        },
        op::IssueContext, //
    },
    request::{
        queued::QueuedRequest,
        run_list::Next,
        token::Active, //
    },
    sys::{
        mm,
        queue::{
            Deputy,
            Job, //
        },
        runners::{
            self,
            Runner, //
        },
    },
};

/// The number of requests that one kick handler runs before those of other contexts have their
/// turn.
const BATCH: u32 = 128;

impl WorkItem<KICK> for Kioctx {
    type Pointer = Job<Self>;

    /// Runs the requests on the run list, with the memory of the context. This is the kick handler.
    /// Also wakes tasks that poll the device, which a completion below the wake-up of a file must not
    /// do.
    fn run(job: Job<Self>) {
        let (this, kworker) = job.begin();
        let users = match this.is_dead() {
            true => None,
            false => this.mm().users(),
        };
        match users {
            Some(users) => {
                runners::run(&this, |runner| {
                    mm::with_users(kworker, users, |deputy| run_kicked(&this, deputy, runner));
                });
                // The look for stalled runs may have marked the context just after the last run
                // ended. From here on no look does, as this thread is not listed any more. Requests
                // that were kicked meanwhile may be on the run list, where no worker takes them once
                // the mark has gone.
                if this.is_stalled() {
                    this.clear_stalled();
                    requeue_rest(&this);
                }
            }
            // The context or its process has gone: the drop of each token ends its request.
            None => while next_kicked(&this).is_some() {},
        }
        if this.ring().available() > 0 {
            this.table().readers().wake();
        }
    }
}

impl WorkItem<WAKE_WORKERS> for Kioctx {
    type Pointer = Job<Self>;

    /// Wakes workers for punted requests, completes requests whose result was kept for a kworker,
    /// and wakes workers for kicked requests while the kick handler is stalled.
    fn run(job: Job<Self>) {
        let (this, _) = job.begin();
        while let Some(queued) = this.run_list().pop(Next::WakeWorkers) {
            if !queued.view().result_kept {
                queued.enqueue();
            } else if let Some(req) = queued.claim() {
                complete_kept(req);
            }
        }
        while this.is_stalled() {
            match this.run_list().pop(Next::Run) {
                Some(queued) => queued.enqueue(),
                None => break,
            }
        }
    }
}

/// Takes the first request off the run list, with its token.
fn next_kicked(ctx: &Kioctx) -> Option<Active<Kiocb>> {
    ctx.run_list().pop(Next::Run)?.claim()
}

/// Runs up to [`BATCH`] requests of the run list in the kick handler.
fn run_kicked(ctx: &Kioctx, deputy: &mut Deputy, runner: &Runner<'_>) {
    for _ in 0..BATCH {
        let Some(req) = next_kicked(ctx) else {
            return;
        };
        let submitter = req.view().submitter.clone();
        submitter.run(deputy, || run_after_kick(req, Some(runner)));
        ctx.clear_stalled();
    }
    requeue_rest(ctx);
}

/// Runs a request that was kicked, in the kick handler (`runner`) or in a task that waits for
/// events.
fn run_after_kick(mut req: Active<Kiocb>, runner: Option<&Runner<'_>>) {
    if let Some(transfer) = req.data().transfer.as_mut() {
        transfer.rounds = 0;
    }
    run_for_submitter(req, IssueContext::Kick, runner);
}

/// Queues the kick handler again for what is left on the run list, so that the kick handlers of
/// other contexts have their turn first.
fn requeue_rest(ctx: &Kioctx) {
    if let Some(queued) = ctx.run_list().pop(Next::Run) {
        requeue_kicked(ctx, queued);
    }
}

/// Puts a kicked request at the end of the run list and queues the kick handler, so that the kick
/// handlers of other contexts have their turn first.
fn requeue_kicked(ctx: &Kioctx, queued: QueuedRequest<Kiocb>) {
    let lease = queued.view().ring_slot.lease();
    ctx.run_list().push(queued, Next::Run);
    Kioctx::schedule_worker(&lease, Next::Run);
}

/// Runs kicked requests in a task that waits for its events. The task calls this after
/// [`Kioctx::sleep`], where a kick may have woken it instead of a kworker. It stops if `late`
/// returns `true`, and leaves a request that it may not run to the kick handler.
///
/// Returns `false` if a request was left to the kick handler. The caller must not look at the run
/// list again then: it would find the same request before the kick handler comes.
pub(crate) fn run_kicked_inline(ctx: &Kioctx, late: impl Fn() -> bool) -> bool {
    for _ in 0..BATCH {
        let Some(queued) = ctx.run_list().pop(Next::Run) else {
            return true;
        };
        if late() || ctx.is_dead() || !queued.view().may_run_inline(queued.shared()) {
            requeue_kicked(ctx, queued);
            return false;
        }
        let Some(req) = queued.claim() else {
            continue;
        };
        ctx.table().stats.helped(1);
        run_after_kick(req, None);
    }
    requeue_rest(ctx);
    true
}
