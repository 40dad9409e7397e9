// SPDX-License-Identifier: GPL-2.0

//! Punts a request: leaves it to a worker.
//!
//! fs/aio.c leaves only fsync to workers (`aio_fsync_work()`). Invariants: requests with the same
//! order key reach workers one after another, and a must-run request is done even if its context
//! ends.

use crate::{
    ctx::{
        kiocb::Kiocb,
        kioctx::Kioctx,
        op::IssueContext, //
    },
    request::{
        run_list::Next,
        token::Active,
        Request, //
    },
};

/// Queues a request for a worker, where its run may wait.
///
/// Waking a worker takes longer than all other steps. So the submit call leaves that to the work
/// item of the context that wakes workers, which is itself woken once for many requests.
pub(super) fn punt(mut req: Active<Kiocb>, context: IssueContext) {
    let kiocb = req.data();
    let ctx = kiocb.ring_slot.ctx();
    ctx.table().stats.queued(1);
    // A write is done even if its submitter exits before its turn, so it keeps the memory of the
    // submitter. A read does not, because no task would look at the data.
    if kiocb.is_write() && kiocb.users.is_none() {
        kiocb.users = ctx.mm().users();
    }
    let must_run = kiocb.ki_op.kind.must_run();
    // A request that waits for readiness keeps the place that it has in its order queue. An fsync
    // only has to come after the writes that are in the queue now.
    let order_key = kiocb
        .order_key()
        .filter(|_| kiocb.ki_filp.on_disk())
        .filter(|key| !kiocb.is_sync() || kiocb.order().is_busy(*key));
    if must_run {
        req.set_must_run();
    }
    if let Some(key) = order_key {
        // The request before this one kicks it when that one leaves the queue. `park` refuses if that
        // kick has come already (so look again whether it is the turn of this request), or if a
        // canceller has marked the request (so the drop of the token ends it).
        while !req.join(key) {
            match req.park() {
                Ok(()) => return,
                Err(back) => req = back,
            }
            if req.is_cancelled() {
                return;
            }
        }
    }
    // If the context has ended, a request that is not must-run ends here with its token.
    if req.list() || must_run {
        match context {
            IssueContext::Submit => {
                // Once it is on the run list the request may end: the lease keeps the context.
                let lease = req.view().ring_slot.lease();
                Kioctx::enqueue(&lease, req.queue(), Next::WakeWorkers);
            }
            IssueContext::Kick | IssueContext::Work => req.punt(),
        }
    }
}
