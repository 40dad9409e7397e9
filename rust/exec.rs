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
        queue::kick_queue,
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
            // Its drop completes it with -ECANCELED.
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
        Verdict::Park(mut req, events) => {
            req.data().slot.ctx().table().stats.parked();
            match req.park(events) {
                Park::Parked => None,
                Park::Ready(mut req) => {
                    if let Some(transfer) = req.data().transfer.as_mut() {
                        transfer.ready = true;
                        transfer.rounds += 1;
                    }
                    Some(req)
                }
                Park::Unpollable(mut req) => {
                    if let Some(transfer) = req.data().transfer.as_mut() {
                        transfer.pollable = false;
                    }
                    Some(req)
                }
            }
        }
    }
}

fn defer(mut req: Active<Kiocb>) {
    req.data().slot.ctx().table().stats.queued();
    req.defer();
}

impl Request for Kiocb {
    fn complete(active: Active<Self>, res: i64) {
        complete(active, res);
    }

    fn driver_done(mut active: Active<Self>, ret: isize) {
        match (active.data().ki_op.driver_done)(active, ret) {
            Verdict::Done(mut req, res) => {
                req.data().slot.ctx().table().stats.irq();
                complete(req, res);
            }
            Verdict::Defer(req) | Verdict::Park(req, _) => defer(req),
            Verdict::Driver => {}
        }
    }

    /// The kick handler.
    fn retry(mut active: Active<Self>) {
        let kiocb = active.data();
        if let Some(transfer) = kiocb.transfer.as_mut() {
            transfer.rounds = 0;
        }
        let submitter = kiocb.submitter.clone();
        // A process that has gone needs no answer: dropping the request completes it. Parked
        // requests do not hold its memory; only a run does, and runs end in bounded time.
        if let Some(users) = kiocb.slot.ctx().mm().users() {
            submitter.run(users, || run(active, How::Kick));
        }
    }

    fn queue() -> &'static Queue {
        kick_queue()
    }

    fn file(&self) -> &File {
        &self.ki_filp
    }

    fn wait_list(&self) -> &WaitList<Self> {
        self.slot.ctx().parked()
    }
}
