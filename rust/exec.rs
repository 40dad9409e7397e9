// SPDX-License-Identifier: GPL-2.0

//! Runs requests: the only reader of a [`Verdict`].
//!
//! `aio_run_iocb()` and `aio_kick_handler()` of the classic fs/aio.c. A request is run in the
//! submit call first; then, each time it was deferred or kicked, by a kworker that has taken on the
//! submitter's mm, credentials and cgroups. Only one run of a request goes on at a time, and it
//! ends with the request complete, with a driver, queued, or parked.

use kernel::workqueue::Queue;

use crate::{
    complete::complete,
    obj::{
        kiocb::Kiocb,
        op::{
            How,
            Verdict, //
        },
    },
    sys::{
        file::File,
        poll, queue,
        request::{
            Active,
            Park,
            Request,
            WaitList, //
        },
    },
};

/// Runs a request until it is out of our hands.
pub(crate) fn run(mut req: Active<Kiocb>, how: How) {
    loop {
        if req.is_cancelled() {
            // Its drop ends it.
            return;
        }
        let verdict = (req.data().ki_op.retry)(req, how);
        match carry_out(verdict, how) {
            Some(again) => req = again,
            None => return,
        }
    }
}

/// Does what a verdict says; gives the request back if it is to be run again at once.
fn carry_out(verdict: Verdict, how: How) -> Option<Active<Kiocb>> {
    match verdict {
        Verdict::Done(mut req, res) => {
            if how == How::Submit {
                req.data().slot.ctx().table().stats.inline();
            }
            complete(req, res);
            None
        }
        Verdict::Driver => None,
        Verdict::Defer(req) => {
            defer(req);
            None
        }
        Verdict::Park(req) => park(req),
    }
}

/// Leaves a request to the next kick; gives it back if it need not or cannot wait for one.
fn park(mut req: Active<Kiocb>) -> Option<Active<Kiocb>> {
    req.data().slot.ctx().table().stats.parked();
    let transfer = req.data().transfer.as_ref();
    let (write, rounds) = transfer.map_or((false, 0), |t| (t.write, t.rounds));
    let events = poll::events_for(write);
    // Once "ready" has been said in vain, only what promises a transfer counts.
    let ready = match rounds {
        0 => events,
        _ => poll::transfer_events_for(write),
    };
    let (mut req, ready, pollable) = match req.park(events, ready) {
        Park::Parked => return None,
        Park::Again(req, ready) => (req, ready, true),
        Park::Unpollable(req) => (req, false, false),
    };
    if let Some(transfer) = req.data().transfer.as_mut() {
        transfer.ready = ready;
        transfer.pollable = pollable;
        transfer.rounds += u32::from(ready);
    }
    Some(req)
}

/// Queues a request for a run that may wait. It holds the submitter's memory until then.
fn defer(mut req: Active<Kiocb>) {
    let kiocb = req.data();
    let ctx = kiocb.slot.ctx();
    ctx.table().stats.queued();
    kiocb.users = ctx.mm().users();
    req.defer(queue::work());
}

impl Request for Kiocb {
    fn cancelled(mut active: Active<Self>) {
        let res = active.data().cancelled_res();
        complete(active, res);
    }

    fn driver_done(mut active: Active<Self>, ret: isize) {
        match (active.data().ki_op.driver_done)(active, ret) {
            Verdict::Done(mut req, res) => {
                req.data().slot.ctx().table().stats.irq();
                complete(req, res);
            }
            Verdict::Defer(req) | Verdict::Park(req) => defer(req),
            Verdict::Driver => {}
        }
    }

    /// The kick handler.
    fn retry(mut active: Active<Self>) {
        let kiocb = active.data();
        let (how, users) = match kiocb.users.take() {
            Some(users) => (How::Work, Some(users)),
            None => (How::Kick, kiocb.slot.ctx().mm().users()),
        };
        if let Some(transfer) = kiocb.transfer.as_mut() {
            transfer.rounds = 0;
        }
        let submitter = kiocb.submitter.clone();
        let _file = kiocb.ki_filp.hold();
        // A parked request whose process has gone needs no answer: its drop ends it.
        if let Some(users) = users {
            submitter.run(users, || run(active, how));
        }
    }

    fn kick_queue() -> &'static Queue {
        queue::kick()
    }

    fn file(&self) -> &File {
        &self.ki_filp
    }

    fn wait_list(&self) -> &WaitList<Self> {
        self.slot.ctx().parked()
    }
}
