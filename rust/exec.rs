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
            let kiocb = req.data();
            match how {
                How::Submit => kiocb.slot.ctx().table().stats.inline(),
                // Programs expect a file that they closed to be closed once they have the event
                // (exec, umount). Not for a kick: closing a socket may linger.
                How::Work => kiocb.ki_filp.close_now(),
                How::Kick => {}
            }
            complete(req, res);
            None
        }
        Verdict::Driver => None,
        Verdict::Defer(req) => {
            defer(req);
            None
        }
        Verdict::Park(req) => park(req, how),
    }
}

/// Leaves a request to the next kick; gives it back if it need not or cannot wait for one.
///
/// First it is put on the file's wait queues, then tried once more: what happens after the attempt
/// kicks, what happened before it was seen by it. A file that cannot be tried without waiting is
/// asked whether it is ready instead.
fn park(mut req: Active<Kiocb>, how: How) -> Option<Active<Kiocb>> {
    let kiocb = req.data();
    kiocb.slot.ctx().table().stats.parked();
    let write = kiocb.transfer.as_ref().is_some_and(|t| t.write);
    let may_try = kiocb.may_try(how);
    let events = poll::events_for(write);
    let armed = req.arm(events);

    let Some(mask) = armed.mask() else {
        if let Some(transfer) = req.data().transfer.as_mut() {
            transfer.pollable = false;
        }
        return Some(req);
    };
    if may_try {
        match (req.data().ki_op.retry)(req, how) {
            Verdict::Park(back) => req = back,
            verdict => {
                drop(armed);
                return carry_out(verdict, how);
            }
        }
        if !write && poll::is_hung_up(mask) {
            // Some sockets that were shut down say "not now" for ever, where a read that waits is
            // told the end.
            drop(armed);
            let done = req.data().transfer.as_ref().map_or(0, |t| t.done);
            return carry_out(Verdict::Done(req, done as i64), how);
        }
    } else if mask & events != 0 {
        return again(req, true);
    }
    match armed.park(req) {
        Ok(()) => None,
        Err(req) => again(req, false),
    }
}

/// To be run again at once: the file is `ready`, or a kick came.
fn again(mut req: Active<Kiocb>, ready: bool) -> Option<Active<Kiocb>> {
    if let Some(transfer) = req.data().transfer.as_mut() {
        transfer.ready = ready;
        transfer.rounds += 1;
    }
    Some(req)
}

/// Queues a request for a run that may wait.
fn defer(mut req: Active<Kiocb>) {
    let kiocb = req.data();
    let ctx = kiocb.slot.ctx();
    ctx.table().stats.queued();
    kiocb.may_wait = true;
    // A write is done even if its submitter exits before its turn: its memory is held until then.
    // A read that nobody waits for is not worth that.
    if kiocb.transfer.as_ref().is_some_and(|t| t.write) {
        kiocb.users = ctx.mm().users();
    }
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
        let how = match core::mem::take(&mut kiocb.may_wait) {
            true => How::Work,
            false => How::Kick,
        };
        let may_try = kiocb.may_try(how);
        if let Some(transfer) = kiocb.transfer.as_mut() {
            if may_try || how == How::Kick {
                transfer.rounds = 0;
            }
        }
        let submitter = kiocb.submitter.clone();
        let ctx = kiocb.slot.ctx();
        let users = match kiocb.users.take() {
            Some(users) => Some(users),
            None if ctx.is_dead() => None,
            None => ctx.mm().users(),
        };
        match users {
            Some(users) => submitter.run(users, || run(active, how)),
            // Its context has gone, or its process: its drop ends it.
            None => drop(active),
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
