// SPDX-License-Identifier: GPL-2.0

//! Ends every request: the only code that puts events into a ring.
//!
//! The counterpart of `aio_complete()` of fs/aio.c. All functions may be called in any context,
//! hard interrupt included.
//!
//! Invariants: a completion takes the request out of the cancel table first. It then posts the
//! event, leaves the order queue, signals the eventfd and wakes waiting tasks, in that order.

use kernel::prelude::*;

use crate::{
    ctx::{
        kiocb::Kiocb,
        kioctx::Kioctx,
        slot::Slot,
        submit_state::SubmitState, //
    },
    provider::iocb::ProviderRef,
    request::{
        light::Light,
        pool::FreeRequest,
        queued::QueuedRequest,
        run_list::Next,
        token::Active, //
    },
    sys::{
        eventfd,
        task_local::TaskLocal,
        uapi::IoEvent, //
    },
};

/// Returns the event of a request that ends with bytes or a negative errno.
pub(crate) fn event_of(req: &Active<Kiocb>, res: i64) -> IoEvent {
    IoEvent {
        data: req.view().ki_user_data,
        obj: req.key(),
        res,
        res2: req.shared().provider.as_ref().map_or(0, ProviderRef::res2),
    }
}

/// Completes a request with bytes or a negative errno.
pub(crate) fn complete(mut req: Active<Kiocb>, res: i64) {
    // A canceller that has found the request before this call is answered by the event that
    // follows.
    req.unlist();
    if req.view().ki_eventfd.is_some() && !eventfd::may_signal() {
        complete_later(req, res);
        return;
    }
    if let Some(provider) = &req.shared().provider {
        provider.end();
    }
    let event = event_of(&req, res);
    let awaited = req.data().ring_slot.post(&event);
    // Leave the order queue after the event was posted, so that events keep the order of
    // submission, and before tasks are woken, so that a task that has this event finds the queue
    // free.
    req.leave_order();
    let kiocb = req.data();
    if let Some(eventfd) = &kiocb.ki_eventfd {
        eventfd.signal();
    }
    wake_waiters(kiocb.ring_slot.ctx(), 1, awaited);
    req.finish();
}

/// Returns whether a wake-up with these poll events, in which the caller runs, ends the request: a
/// POLL that asked for some of them. The caller holds the lock of the file's wait queue, so the
/// request must be on no other queue, and no task may watch the device or an eventfd, whose wake-up
/// may lead back to the queue that is locked. A user chooses how many requests wait on one queue, so
/// only some of them end in its wake-up, and the kick handler ends the rest with interrupts enabled.
pub(super) fn ends_in_wake_up(queued: &QueuedRequest<Kiocb>, events: u32) -> bool {
    let kiocb = queued.view();
    kiocb.transfer.is_none()
        && kiocb.events & events != 0
        && kiocb.ki_eventfd.is_none()
        && queued.was_on_one_queue()
        && !kiocb.ring_slot.ctx().table().readers().has_sleeper()
        && kiocb.ring_slot.ctx().may_end_in_wake_up()
}

/// Completes a POLL for which [`ends_in_wake_up`] returned `true`. Any context, under any lock of the
/// kernel.
///
/// The counterpart is the end of `aio_poll_wake()` of fs/aio.c.
pub(super) fn complete_in_wake_up(mut req: Active<Kiocb>, res: i64) {
    req.unlist();
    let event = event_of(&req, res);
    let awaited = req.data().ring_slot.post(&event);
    let ctx = req.view().ring_slot.ctx();
    let table = ctx.table();
    table.stats.completed(1);
    if awaited {
        ctx.wait().wake();
    }
    if table.readers().has_sleeper() {
        // A task has begun to poll the device meanwhile.
        Kioctx::schedule_wake_of_readers(&req.view().ring_slot.lease());
    }
    req.finish();
}

/// Completes a light request with bytes or a negative errno.
pub(crate) fn complete_light(light: Light<Kiocb>, res: i64) {
    if light.view().ki_eventfd.is_some() && !eventfd::may_signal() {
        let key = light.view().key;
        complete_later(light.upgrade(key, |light| light.into_full(0)), res);
        return;
    }
    let event = light.view().event(res);
    let (mut light, memory) = light.finish();
    let awaited = light.ring_slot.post(&event);
    if let Some(eventfd) = &light.ki_eventfd {
        eventfd.signal();
    }
    let ctx = light.ring_slot.ctx();
    wake_waiters(ctx, 1, awaited);
    if let Some(free) = memory {
        ctx.pool().put(free);
    }
}

/// Leaves the completion of a request to a kworker, because the current code runs below the wake-up
/// of an eventfd and must not signal another one. The event is left to the kworker together with
/// the signal, since the signal must come after the event.
#[cold]
fn complete_later(mut req: Active<Kiocb>, res: i64) {
    req.keep_result(res);
    req.data().result_kept = true;
    let lease = req.view().ring_slot.lease();
    Kioctx::enqueue(&lease, req.queue(), Next::WakeWorkers);
}

/// Completes a request whose completion [`complete_later`] left to a kworker, which is the caller.
pub(crate) fn complete_kept(mut req: Active<Kiocb>) {
    let res = req.kept_result();
    complete(req, res);
}

/// Puts events into the ring and wakes waiting tasks. The requests of the events have ended.
pub(crate) fn post(ctx: &Kioctx, events: &[IoEvent]) {
    let awaited = ctx.ring().post(events);
    wake_waiters(ctx, events.len(), awaited);
}

/// Wakes the tasks that poll the device and, if the events are `awaited`, those that wait for events.
fn wake_waiters(ctx: &Kioctx, events: usize, awaited: bool) {
    let table = ctx.table();
    table.stats.completed(events as u64);
    if awaited {
        ctx.wait().wake();
    }
    table.readers().wake();
}

/// A request that has ended, full or light, and whose event is not in the ring yet.
pub(super) trait Completion: Sized {
    fn ring_slot(&self) -> &Slot;
    /// Returns the number of the submit call that made the request.
    fn call(&self) -> u32;
    /// Returns whether the event may be posted a little later, together with the events of other
    /// requests: no eventfd reports it, and no list or wait queue leads to the request.
    fn may_share(&self) -> bool;
    fn event(&self, res: i64) -> IoEvent;
    /// Ends the request and leaves the event to the caller. Returns the memory of the request, if
    /// no other thread refers to it any more; with `to_pool`, that memory goes to the context's
    /// pool instead.
    fn disarm(self, to_pool: bool) -> Option<FreeRequest<Kiocb>>;
    /// Posts the event and ends the request.
    fn complete(self, res: i64);
}

impl Completion for Active<Kiocb> {
    fn ring_slot(&self) -> &Slot {
        &self.view().ring_slot
    }

    fn call(&self) -> u32 {
        self.view().call
    }

    fn may_share(&self) -> bool {
        let unshared = self.is_fresh() && self.shared().provider.is_none();
        unshared && self.view().ki_eventfd.is_none()
    }

    fn event(&self, res: i64) -> IoEvent {
        event_of(self, res)
    }

    fn disarm(mut self, to_pool: bool) -> Option<FreeRequest<Kiocb>> {
        self.data().ring_slot.disarm();
        if to_pool {
            self.finish();
            return None;
        }
        self.recycle()
    }

    fn complete(self, res: i64) {
        complete(self, res);
    }
}

/// Adds an event to those that the submit call posts together.
pub(super) fn push_event(ctx: &Kioctx, state: &mut SubmitState, event: IoEvent) {
    if state.events.is_full() {
        flush_completions(ctx, state);
    }
    // There is room, since a full array was emptied.
    let _ = state.events.push(event);
}

/// Adds the event of a request for which [`Completion::may_share`] returned `true`, and keeps the
/// memory of the request for the next ones.
#[inline]
pub(super) fn push_completion<T: Completion>(state: &mut SubmitState, completion: T, res: i64) {
    push_event(completion.ring_slot().ctx(), state, completion.event(res));
    if let Some(free) = completion.disarm(state.memory.is_full()) {
        let _ = state.memory.push(free);
    }
}

/// Puts the events of the submit call into the ring together.
pub(super) fn flush_completions(ctx: &Kioctx, state: &mut SubmitState) {
    let events = state.events.as_slice();
    if !events.is_empty() {
        let counts = core::mem::take(&mut state.counts);
        let stats = &ctx.table().stats;
        stats.submitted(counts.without_request.into());
        stats.inline((events.len() as u64).saturating_sub(counts.by_drivers.into()));
        post(ctx, events);
        state.events.clear();
    }
}

/// Ends a request that a driver has completed. Any context, hard interrupt included.
pub(super) fn complete_by_driver<T: Completion>(completion: T, res: i64) {
    completion.ring_slot().ctx().table().stats.irq(1);
    if let Err(completion) = complete_in_call(completion, res) {
        completion.complete(res);
    }
}

/// Leaves the event to the submit call that made the request, if the driver completes the request
/// within that call; drivers that need no interrupt do so. Returns the request if not.
#[inline]
fn complete_in_call<T: Completion>(completion: T, res: i64) -> Result<(), T> {
    if !completion.may_share() {
        return Err(completion);
    }
    fn state<T: Completion>(completion: &T) -> &TaskLocal<SubmitState> {
        completion.ring_slot().ctx().submit_state()
    }
    let taken = TaskLocal::reach(completion, state, |state, completion| {
        if !state.is_of(completion.call()) {
            // Do not delay a completion that belongs to another submit call.
            return Err(completion);
        }
        push_completion(state, completion, res);
        state.counts.by_drivers += 1;
        Ok(())
    });
    taken.unwrap_or_else(Err)
}
