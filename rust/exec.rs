// SPDX-License-Identifier: GPL-2.0

//! Runs requests: the only reader of a [`Verdict`].
//!
//! `aio_run_iocb()` and `aio_kick_handler()` of the classic fs/aio.c. A request is run in the
//! submit call first. If it was parked, who kicks it puts it on its context's run list, and the
//! kick handler runs all that are there. If it was deferred, a worker runs it, of which there are
//! many, as it may wait. Both have taken on the submitter's mm, credentials and cgroups. Only one
//! run of a request goes on at a time, and it ends with the request complete, with a driver, queued,
//! or parked.
//!
//! The classic kick handler was delayed unless somebody waited in getevents; this one never is.

use kernel::{
    prelude::*,
    sync::Arc,
    workqueue::{
        Queue,
        WorkItem, //
    },
};

use crate::{
    complete::{
        complete,
        event_of,
        post, //
    },
    obj::{
        kiocb::Kiocb,
        kioctx::{
            Kioctx,
            HAND_ON,
            KICK, //
        },
        op::{
            How,
            Verdict, //
        },
        tray::{
            Tray,
            NO_CALL, //
        },
    },
    sys::{
        file::File,
        lease::Lease,
        lists::{
            Index,
            Next,
            Order,
            RunList, //
        },
        mm, poll,
        request::{
            Active,
            Blank,
            Pool,
            Queued,
            Request, //
        },
        submitter::Submitter,
        task_cell::{
            Entered,
            TaskCell, //
        },
        uapi::IoEvent,
    },
};

/// Requests that the kick handler runs before other contexts' handlers get their turn.
const BATCH: u32 = 128;

/// What the requests of one submit call share, and what the first of them have taught.
pub(crate) struct Batch<'a> {
    ctx: &'a Kioctx,
    tray: &'a Entered<'a, Tray>,
    /// The number of the call, for its requests.
    pub(crate) call: u32,
    /// Requests that are still to come, as far as is known.
    want: usize,
    /// Asked for when the first of them needs it.
    submitter: Option<Submitter>,
    /// The file on a disk that the last transfer was about, and whether to write to it.
    target: (usize, bool),
    /// How many more transfers to try there ...
    room: u32,
    /// ... and as many as drivers have done since they had done so many, unless one was refused.
    done: u64,
    refused: bool,
}

impl<'a> Batch<'a> {
    /// For `want` requests.
    pub(crate) fn new(ctx: &'a Kioctx, tray: &'a Entered<'a, Tray>, want: usize) -> Self {
        // A tray of another's is not found by drivers.
        let call = match tray.is_of(ctx.tray()) {
            true => tray.with((), |tray, ()| tray.begin()),
            false => Err(()),
        };
        Self {
            ctx,
            tray,
            call: call.unwrap_or(NO_CALL),
            want,
            submitter: None,
            target: (0, false),
            room: 0,
            done: 0,
            refused: false,
        }
    }

    /// Who submits.
    pub(crate) fn submitter(&mut self) -> Result<Submitter> {
        if let Some(submitter) = &self.submitter {
            return Ok(submitter.clone());
        }
        let submitter = self.ctx.submitter()?;
        Ok(self.submitter.insert(submitter).clone())
    }

    /// Memory for a request.
    pub(crate) fn blank(&mut self) -> Result<Blank<Kiocb>> {
        let (pool, want) = (self.ctx.pool(), self.want);
        self.want = want.saturating_sub(1);
        let spare = self
            .tray
            .with((), |tray, ()| pool.take(&mut tray.memory, want));
        match spare.ok().flatten() {
            Some(blank) => Ok(blank),
            None => Blank::new(),
        }
    }

    /// The event of what was over before there was a request.
    #[inline]
    pub(crate) fn ended(&self, event: IoEvent, is_last: bool) {
        let ctx = self.ctx;
        let alone = self.tray.with(event, |tray, event| {
            if is_last && tray.events.is_empty() {
                return Some(event);
            }
            add(ctx, tray, event);
            tray.counts.over += 1;
            None
        });
        if let Ok(Some(event)) | Err(event) = alone {
            ctx.table().stats.submitted(1);
            ctx.table().stats.inline(1);
            post(ctx, &[event]);
        }
    }

    fn has_events(&self) -> bool {
        self.tray
            .with((), |tray, ()| !tray.events.is_empty())
            .unwrap_or(false)
    }

    /// Runs a request for the first time.
    ///
    /// What a disk would not start now is left to a worker, untried: what comes while the device has as
    /// many transfers in hand as it can, or after one that could not be done without waiting (no tags,
    /// no blocks allocated yet).
    pub(crate) fn start(&mut self, req: Active<Kiocb>) {
        if req.view().missed && req.view().transfer.is_some() {
            // A read of what is not in memory.
            defer(req, How::Submit);
            return;
        }
        let kiocb = req.view();
        let first =
            || kiocb.ki_eventfd.is_some() || kiocb.stream().is_some() || kiocb.may_hold_call();
        if self.has_events() && first() {
            // Its event, or the eventfd's wake-up, must not come before theirs; nor are they to wait
            // for it.
            self.post();
        }
        let Some(target) = req.view().disk_target() else {
            let _ = self.run(req);
            return;
        };
        let stats = &self.ctx.table().stats;
        if target != self.target {
            self.target = target;
            self.refused = false;
            self.room = req.view().room();
            self.done = stats.done_by_drivers();
        }
        if self.room == 0 && !self.refused {
            // Who is done has given its tag back.
            let done = stats.done_by_drivers();
            self.room = u32::try_from(done.saturating_sub(self.done)).unwrap_or(u32::MAX);
            self.done = done;
        }
        let Some(room) = self.room.checked_sub(1) else {
            defer(req, How::Submit);
            return;
        };
        let deferred = stats.deferred();
        if self.run(req) {
            return;
        }
        // Block devices say so from within the call, as if they were drivers (`driver_done`). What
        // others deferred just now counts too: it costs a try.
        self.refused = stats.deferred() != deferred;
        self.room = match self.refused {
            true => 0,
            false => room,
        };
    }

    /// Whether it is over.
    fn run(&mut self, req: Active<Kiocb>) -> bool {
        let Some((req, res)) = run(req, How::Submit) else {
            return false;
        };
        let unfit = match may_share(&req) {
            true => self.tray.with(req, |tray, req| lay(tray, req, res)).err(),
            false => Some(req),
        };
        if let Some(req) = unfit {
            self.post();
            self.ctx.table().stats.inline(1);
            complete(req, res);
        }
        true
    }

    fn post(&self) {
        let _ = self.tray.with((), |tray, ()| post_all(self.ctx, tray));
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let _ = self.tray.with((), |tray, ()| {
            post_all(self.ctx, tray);
            if !self.tray.is_of(self.ctx.tray()) {
                self.ctx.pool().clear(&mut tray.memory);
            }
        });
    }
}

/// Whether its event may be posted together with others', a little later: nobody else has to do with it.
fn may_share(req: &Active<Kiocb>) -> bool {
    let kiocb = req.view();
    req.is_fresh() && kiocb.ki_eventfd.is_none() && kiocb.provider.is_none()
}

/// Puts an event on the tray.
fn add(ctx: &Kioctx, tray: &mut Tray, event: IoEvent) {
    if tray.events.is_full() {
        post_all(ctx, tray);
    }
    // There is room.
    let _ = tray.events.push(event);
}

/// Puts the event of a request that [`may_share`] on the tray, and its memory.
fn lay(tray: &mut Tray, mut req: Active<Kiocb>, res: i64) {
    add(req.view().place.ctx(), tray, event_of(&req, res));
    req.data().place.owe();
    if tray.memory.is_full() {
        req.finish();
    } else if let Some(blank) = req.recycle() {
        let _ = tray.memory.push(blank);
    }
}

/// Puts the events into the ring.
fn post_all(ctx: &Kioctx, tray: &mut Tray) {
    let events = tray.events.as_slice();
    if !events.is_empty() {
        let counts = core::mem::take(&mut tray.counts);
        let stats = &ctx.table().stats;
        stats.submitted(counts.over.into());
        stats.inline((events.len() as u64).saturating_sub(counts.landed.into()));
        post(ctx, events);
        tray.events.clear();
    }
}

/// What is to be done with a request after an attempt.
enum Step {
    /// The next, at once.
    Again(Active<Kiocb>),
    /// It is over.
    Over(Active<Kiocb>, i64),
    /// It is out of our hands.
    Gone,
}

/// Runs a request until it is over, and gives it back, or until it is out of our hands.
fn run(mut req: Active<Kiocb>, how: How) -> Option<(Active<Kiocb>, i64)> {
    // Its drop ends it. In the submit call nobody finds it yet.
    if how != How::Submit && req.is_cancelled() {
        return None;
    }
    loop {
        if must_wait_in_line(&req, how) {
            line_up(req, how);
            return None;
        }
        let step = match (req.data().ki_op.retry)(req, how) {
            Verdict::Driver => return None,
            Verdict::Done(req, res) => return Some((req, res)),
            verdict => carry_out(verdict, how),
        };
        match step {
            Step::Again(again) => req = again,
            Step::Over(req, res) => return Some((req, res)),
            Step::Gone => return None,
        }
        if req.is_cancelled() {
            return None;
        }
    }
}

/// Runs a request in a kworker.
fn run_for_submitter(req: Active<Kiocb>, how: How) {
    let Some((mut req, res)) = run(req, how) else {
        return;
    };
    let file = &mut req.data().ki_filp;
    // Programs expect a file that they closed to be closed once they have the event (exec, umount).
    // Not sockets, which may linger when others wait for their turn.
    if how == How::Work || file.on_disk() {
        file.close_now();
    }
    complete(req, res);
}

/// Whether others are to be done before it: in the submit call, any that keep an order with it.
fn must_wait_in_line(req: &Active<Kiocb>, how: How) -> bool {
    if how != How::Submit || req.is_in_line() {
        return req.waits_in_line();
    }
    let kiocb = req.view();
    kiocb
        .stream()
        .is_some_and(|stream| kiocb.order().is_busy(stream))
}

fn line_up(req: Active<Kiocb>, how: How) {
    if req.view().ki_filp.on_disk() {
        defer(req, how);
        return;
    }
    req.view().place.ctx().table().stats.parked(1);
    if let Some(mut req) = wait_in_line(req) {
        // Its turn has come meanwhile. From here on it can be cancelled; if its context has ended, its
        // drop ends it.
        if req.list() {
            req.kick();
        }
    }
}

/// Leaves a request to the kick of who is before it in its line; gives it back if it is its turn.
fn wait_in_line(mut req: Active<Kiocb>) -> Option<Active<Kiocb>> {
    let Some(stream) = req.view().stream() else {
        return Some(req);
    };
    if req.join(stream) {
        return Some(req);
    }
    if let Err(req) = req.park() {
        // A kick came meanwhile: as if it had come now.
        req.kick();
    }
    None
}

/// Does what a verdict says.
fn carry_out(verdict: Verdict, how: How) -> Step {
    match verdict {
        Verdict::Done(req, res) => Step::Over(req, res),
        Verdict::Driver => Step::Gone,
        Verdict::Cancelled(req) => {
            drop(req);
            Step::Gone
        }
        Verdict::Defer(req) => {
            // What must become ready keeps its order from its first attempt on.
            let req = match req.view().transfer.as_ref().is_some_and(|t| t.pollable) {
                true => wait_in_line(req),
                false => Some(req),
            };
            if let Some(req) = req {
                defer(req, how);
            }
            Step::Gone
        }
        Verdict::Park(req) => park(req, how),
    }
}

/// Leaves a request to the next kick, unless it need not or cannot wait for one.
///
/// First it is put on the file's wait queues, then tried once more: what happens after the attempt
/// kicks, what happened before it was seen by it. A file that cannot be tried without waiting is
/// asked whether it is ready instead.
fn park(mut req: Active<Kiocb>, how: How) -> Step {
    if req.is_cancelled() {
        // Its drop ends it.
        return Step::Gone;
    }
    // It may have to wait for ever.
    req.unpledge();
    req.view().place.ctx().table().stats.parked(1);
    if req.view().events == 0 {
        // Who kicks it knows it, and not by a wait queue.
        if let Err(req) = req.park() {
            req.kick();
        }
        return Step::Gone;
    }
    // One of a line waits for the file, the others for it.
    if req.view().transfer.is_some() {
        req = match wait_in_line(req) {
            Some(req) => req,
            None => return Step::Gone,
        };
    }
    let kiocb = req.data();
    let events = kiocb.events;
    let may_try = kiocb.may_try(how);
    let armed = req.arm(events);

    let mask = match armed.mask() {
        Ok(mask) => mask,
        Err(e) => {
            drop(armed);
            let kiocb = req.data();
            let Some(transfer) = kiocb.transfer.as_mut() else {
                // As natively: it has no wait queues, or more than can be waited on.
                return Step::Over(req, e.to_errno().into());
            };
            transfer.pollable = false;
            return Step::Again(req);
        }
    };
    if may_try {
        match (req.data().ki_op.retry)(req, how) {
            Verdict::Park(back) => req = back,
            Verdict::Driver => {
                armed.leave();
                return Step::Gone;
            }
            verdict => {
                drop(armed);
                return carry_out(verdict, how);
            }
        }
        let reads = req.view().transfer.as_ref().filter(|t| !t.write);
        if let Some(done) = reads.map(|t| t.done as i64) {
            if poll::is_hung_up(mask) {
                // Some sockets that were shut down say "not now" for ever, where a read that waits
                // is told the end.
                drop(armed);
                return Step::Over(req, done);
            }
        }
    } else if mask & events != 0 {
        drop(armed);
        if let Some(transfer) = req.data().transfer.as_mut() {
            transfer.ready = true;
            transfer.rounds += 1;
        }
        return Step::Again(req);
    }
    if let Err(req) = armed.park(req) {
        // A kick came meanwhile: as if it had come now.
        req.kick();
    }
    Step::Gone
}

/// Queues a request for a run that may wait.
///
/// To wake a worker takes longer than everything else here. In the submit call somebody else is asked
/// to do it, who is woken once for many.
fn defer(mut req: Active<Kiocb>, how: How) {
    let kiocb = req.data();
    let ctx = kiocb.place.ctx();
    ctx.table().stats.queued(1);
    // A write is done even if its submitter exits before its turn: its memory is held until then.
    // A read that nobody waits for is not worth that.
    if kiocb.is_write() && kiocb.users.is_none() {
        kiocb.users = ctx.mm().users();
    }
    let pledged = kiocb.ki_op.pledged;
    // A file that must become ready keeps its line. An fsync is only to come after what is there.
    let stream = kiocb
        .stream()
        .filter(|_| kiocb.ki_filp.on_disk())
        .filter(|stream| !kiocb.is_sync() || kiocb.order().is_busy(*stream));
    if pledged {
        req.pledge();
    }
    if let Some(stream) = stream {
        // Who leaves the line before us kicks.
        while !req.join(stream) {
            match req.park() {
                Ok(()) => return,
                Err(back) => req = back,
            }
            if req.is_cancelled() {
                return;
            }
        }
    }
    // If the context has ended, what was not pledged has too.
    if req.list() || pledged {
        match how {
            How::Submit => {
                let lease = req.view().place.lease();
                Kioctx::enqueue(&lease, req.queue(), Next::HandOn);
            }
            How::Kick | How::Work => req.defer(),
        }
    }
}

/// Leaves a request to the submit call that made it, if that is where, however deep, the driver says that
/// it is done, as those do that need no interrupt. Gives it back if that is not where we are.
fn land(req: Active<Kiocb>, res: i64) -> Result<(), Active<Kiocb>> {
    if !may_share(&req) {
        return Err(req);
    }
    fn tray(req: &Active<Kiocb>) -> &TaskCell<Tray> {
        req.view().place.ctx().tray()
    }
    let landed = TaskCell::reach(req, tray, |tray, req| {
        if !tray.is_of(req.view().call) {
            // Who waits for it is not to wait for this call.
            return Err(req);
        }
        lay(tray, req, res);
        tray.counts.landed += 1;
        Ok(())
    });
    landed.unwrap_or_else(Err)
}

impl Request for Kiocb {
    fn cancelled(mut active: Active<Self>) {
        let kiocb = active.data();
        kiocb.place.ctx().table().stats.cancelled(1);
        let res = kiocb.cancelled_res();
        complete(active, res);
    }

    fn driver_done(mut active: Active<Self>, ret: isize) {
        match (active.data().ki_op.driver_done)(active, ret) {
            Verdict::Done(req, res) => {
                req.view().place.ctx().table().stats.irq(1);
                if let Err(req) = land(req, res) {
                    complete(req, res);
                }
            }
            Verdict::Defer(req) | Verdict::Park(req) => defer(req, How::Submit),
            Verdict::Driver => {}
            Verdict::Cancelled(req) => drop(req),
        }
    }

    fn kicked(queued: Queued<Self>) {
        let kiocb = queued.view();
        if queued.in_order() && kiocb.ki_filp.on_disk() {
            // What it waited for is its turn.
            queued.enqueue();
            return;
        }
        let lease = kiocb.place.lease();
        lease.table().stats.kicked(1);
        Kioctx::enqueue(&lease, queued, Next::Run);
    }

    fn retry(mut active: Active<Self>) {
        let kiocb = active.data();
        let may_try = kiocb.may_try(How::Work);
        if let Some(transfer) = kiocb.transfer.as_mut().filter(|_| may_try) {
            transfer.rounds = 0;
        }
        let needs_memory = kiocb.transfer.is_some();
        let submitter = kiocb.submitter.clone();
        let ctx = kiocb.place.ctx();
        let users = match kiocb.users.take() {
            Some(users) => Some(users),
            None if ctx.is_dead() || !needs_memory => None,
            None => ctx.mm().users(),
        };
        match users {
            Some(users) => mm::with_users(users, || {
                submitter.run(|| run_for_submitter(active, How::Work))
            }),
            // Its context has gone, or its process: its drop ends it.
            None if needs_memory => drop(active),
            None => submitter.run(|| run_for_submitter(active, How::Work)),
        }
    }

    fn cancel_elsewhere(&self) -> Option<bool> {
        match &self.provider {
            Some(provider) => provider.cancel(),
            // The run, or the driver's end, will see it.
            None => Some(false),
        }
    }

    fn file(&self) -> &File {
        &self.ki_filp
    }

    fn index(&self) -> &Index<Self> {
        self.place.ctx().index()
    }

    fn order(&self) -> &Order<Self> {
        match self.ki_filp.on_disk() {
            true => self.place.ctx().table().user().writes(),
            false => self.place.ctx().order(),
        }
    }

    fn run_list(&self) -> &RunList<Self> {
        self.place.ctx().run_list()
    }

    type Home = Lease<Kioctx>;

    fn home(&self) -> Lease<Kioctx> {
        self.place.lease()
    }

    fn pool(home: &Lease<Kioctx>) -> &Pool<Self> {
        home.pool()
    }

    fn workers(&self) -> &Queue {
        self.place.ctx().table().user().work_queue()
    }
}

impl WorkItem<KICK> for Kioctx {
    type Pointer = Arc<Self>;

    /// The kick handler: runs what is on the run list, with the memory of the context.
    fn run(this: Arc<Self>) {
        let users = match this.is_dead() {
            true => None,
            false => this.mm().users(),
        };
        match users {
            Some(users) => mm::with_users(users, || run_kicked(&this)),
            // The context has gone, or its process: a token's drop ends its request.
            None => while next_kicked(&this).is_some() {},
        }
    }
}

impl WorkItem<HAND_ON> for Kioctx {
    type Pointer = Arc<Self>;

    /// Wakes workers for what was deferred.
    fn run(this: Arc<Self>) {
        while let Some(queued) = this.run_list().pop(Next::HandOn) {
            queued.enqueue();
        }
    }
}

fn next_kicked(ctx: &Kioctx) -> Option<Active<Kiocb>> {
    ctx.run_list().pop(Next::Run)?.claim()
}

fn run_kicked(ctx: &Kioctx) {
    for _ in 0..BATCH {
        let Some(req) = next_kicked(ctx) else {
            return;
        };
        let submitter = req.view().submitter.clone();
        submitter.run(|| run_after_kick(req));
    }
    leave_rest(ctx);
}

fn run_after_kick(mut req: Active<Kiocb>) {
    if let Some(transfer) = req.data().transfer.as_mut() {
        transfer.rounds = 0;
    }
    run_for_submitter(req, How::Kick);
}

/// Others have their turn before more of this context.
fn leave_rest(ctx: &Kioctx) {
    if let Some(queued) = ctx.run_list().pop(Next::Run) {
        leave_to_worker(ctx, queued);
    }
}

/// A kicked request goes to the end of the run list, and other contexts have their turn before.
fn leave_to_worker(ctx: &Kioctx, queued: Queued<Kiocb>) {
    let lease = queued.view().place.lease();
    ctx.run_list().push(queued, Next::Run);
    Kioctx::schedule_worker(&lease, Next::Run);
}

/// Runs what was kicked, in a task that waits for its events: after [`Kioctx::sleep`], where it may
/// have been woken instead of a kworker, and until it is `late`. What is not the current task's to do is
/// left to the kick handler. `false`: there was something, and who looks again before the kick handler
/// has come would find it again.
pub(crate) fn help(ctx: &Kioctx, late: impl Fn() -> bool) -> bool {
    for _ in 0..BATCH {
        let Some(queued) = ctx.run_list().pop(Next::Run) else {
            return true;
        };
        if late() || ctx.is_dead() || !queued.view().may_be_helped() {
            leave_to_worker(ctx, queued);
            return false;
        }
        let Some(req) = queued.claim() else {
            continue;
        };
        ctx.table().stats.helped(1);
        run_after_kick(req);
    }
    leave_rest(ctx);
    true
}
