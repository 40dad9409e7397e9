// SPDX-License-Identifier: GPL-2.0

//! Lets a request wait until earlier requests with the same order key have left the queue.
//!
//! fs/aio.c has no counterpart: its appends to one file wait for each other's inode lock.
//! `request::order` has the queues; this file decides which requests use them.

use super::punt::punt;
use crate::{
    ctx::{
        kiocb::Kiocb,
        op::IssueContext, //
    },
    request::{
        token::Active,
        Request, //
    },
};

/// Returns whether earlier requests are to be done before this one. In the submit call these are
/// all requests with the same order key, in other calls those before it in its queue.
pub(super) fn must_wait_for_turn(req: &Active<Kiocb>, context: IssueContext) -> bool {
    if context != IssueContext::Submit || req.is_in_order() {
        return req.waits_for_turn();
    }
    let kiocb = req.view();
    kiocb
        .order_key()
        .is_some_and(|key| kiocb.order().is_busy(key))
}

/// Puts a request into its order queue before its first attempt. A request for a file on a disk
/// waits for its turn in [`punt`], since a worker does it; any other one is kicked when its turn
/// comes.
pub(super) fn enqueue_in_order(req: Active<Kiocb>, context: IssueContext) {
    if req.view().ki_filp.on_disk() {
        punt(req, context);
        return;
    }
    req.view().ring_slot.ctx().table().stats.parked(1);
    if let Some(mut req) = wait_for_turn(req) {
        // The turn has come meanwhile. From here on the request can be cancelled; if its context
        // has ended, the drop of the token ends the request.
        if req.list() {
            req.kick();
        }
    }
}

/// Returns the request if it has no order key or if its turn has come. Otherwise parks the request,
/// and the request before it in the queue kicks it when that one leaves.
pub(super) fn wait_for_turn(mut req: Active<Kiocb>) -> Option<Active<Kiocb>> {
    let Some(key) = req.view().order_key() else {
        return Some(req);
    };
    if req.join(key) {
        return Some(req);
    }
    if let Err(req) = req.park() {
        // A kick or a cancellation came during the run, or the context has ended. The next run
        // sees which.
        req.kick();
    }
    None
}
