// SPDX-License-Identifier: GPL-2.0

//! The engine's part of [`Request`]: what `request` calls when something happens to a request.
//!
//! These functions name the parts of the context that a request uses, and pass each call on to the
//! file of the engine that handles it.

use kernel::workqueue::Queue;

use super::{
    complete::{
        complete,
        complete_in_wake_up,
        ends_in_wake_up, //
    },
    light::driver_done,
    run::{
        after_driver,
        run_for_submitter, //
    },
};
use crate::{
    ctx::{
        kiocb::{
            Kiocb,
            LightKiocb,
            Shared, //
        },
        kioctx::Kioctx,
        op::IssueContext, //
    },
    request::{
        cancel_table::CancelTable,
        light::Light,
        order::OrderQueues,
        pool::Pool,
        queued::QueuedRequest,
        run_list::{
            Next,
            RunList, //
        },
        token::Active,
        Request, //
    },
    sys::{
        file::File,
        mm,
        poll,
        queue::Kworker,
        runners, //
    },
};

// SAFETY: `cancel_table` and `run_list` return fields of the context, to which the lease in
// `Shared` leads as long as the request lives. `order` returns a field of the context or of its
// user, both of which `ring_slot` leads to; the traits of `ki_filp` choose one and do not change.
// `engine::submit` fills in `ki_filp` and `ring_slot`, and no code replaces them.
unsafe impl Request for Kiocb {
    type Shared = Shared;

    fn cancelled(active: Active<Self>) {
        let kiocb = active.view();
        kiocb.ring_slot.ctx().table().stats.cancelled(1);
        let res = kiocb.cancelled_res(active.shared());
        complete(active, res);
    }

    fn driver_done(mut active: Active<Self>, ret: isize) {
        after_driver((active.data().ki_op.driver_done)(active, ret));
    }

    type Light = LightKiocb;

    fn light_done(light: Light<Self>, ret: isize) {
        driver_done(light, ret);
    }

    fn kicked(queued: QueuedRequest<Self>) {
        let kiocb = queued.view();
        if queued.in_order() && kiocb.ki_filp.on_disk() {
            // The request waited for its turn to write to a file on a disk, and the turn has come.
            queued.enqueue();
            return;
        }
        // Once it is on the run list the request may end: the lease keeps the context.
        let lease = kiocb.ring_slot.lease();
        lease.table().stats.kicked(1);
        Kioctx::enqueue(&lease, queued, Next::Run);
    }

    fn woken(queued: QueuedRequest<Self>, events: u32) {
        if !ends_in_wake_up(&queued, events) {
            Self::kicked(queued);
        } else if let Some(req) = queued.claim() {
            req.view().ring_slot.ctx().table().stats.kicked(1);
            complete_in_wake_up(req, poll::events_told(events).into());
        }
    }

    fn retry(mut active: Active<Self>, mut kworker: Kworker) {
        let kiocb = active.data();
        let may_try = kiocb.may_try(IssueContext::Work);
        // A file that must be asked by poll keeps its count, so that it ends with `EAGAIN` if it
        // reports again and again that it is ready and is not.
        if let Some(transfer) = kiocb.transfer.as_mut().filter(|_| may_try) {
            transfer.rounds = 0;
        }
        let needs_memory = kiocb.transfer.is_some();
        let submitter = kiocb.submitter.clone();
        let ctx = kiocb.ring_slot.ctx();
        let process = ctx.process().clone();
        let users = match kiocb.users.take() {
            Some(users) => Some(users),
            None if ctx.is_dead() || !needs_memory => None,
            None => ctx.mm().users(),
        };
        if users.is_none() && needs_memory {
            // The context or its process has gone: the drop of the token ends the request.
            drop(active);
            return;
        }
        runners::run(&*process, |runner| {
            let run = || run_for_submitter(active, IssueContext::Work, Some(runner));
            match users {
                Some(users) => {
                    mm::with_users(kworker, users, |deputy| submitter.run(deputy, run));
                }
                None => submitter.run(kworker.deputy(), run),
            }
        });
    }

    fn cancel_elsewhere(shared: &Shared) -> Option<bool> {
        match &shared.provider {
            Some(provider) => provider.cancel(),
            // The run of the request, or the completion by its driver, sees the mark.
            None => Some(false),
        }
    }

    fn file(&self) -> &File {
        &self.ki_filp
    }

    fn file_mut(&mut self) -> &mut File {
        &mut self.ki_filp
    }

    fn cancel_table(shared: &Shared) -> &CancelTable<Self> {
        shared.ctx.cancel_table()
    }

    fn order(&self) -> &OrderQueues<Self> {
        match self.ki_filp.on_disk() {
            true => self.ring_slot.ctx().table().user().writes(),
            false => self.ring_slot.ctx().order(),
        }
    }

    fn run_list(shared: &Shared) -> &RunList<Self> {
        shared.ctx.run_list()
    }

    fn pool(shared: &Shared) -> &Pool<Self> {
        shared.ctx.pool()
    }

    fn workers(shared: &Shared) -> &Queue {
        shared.ctx.queues().work()
    }
}
