// SPDX-License-Identifier: GPL-2.0

//! One submit call: what its requests share, and how each of them starts.
//!
//! The counterpart of the loop of io_submit(2) in fs/aio.c. Invariants: a request gets one attempt
//! in the submit call, and the attempt waits for nothing. Events of requests that end in the call
//! are collected and put into the ring together, at the latest before the call returns.

use kernel::prelude::*;

use super::{
    complete::{
        flush_completions,
        post,
        push_completion,
        push_event,
        Completion, //
    },
    punt::punt,
    run::{
        punt_untried,
        run, //
    },
};
use crate::{
    ctx::{
        kiocb::{
            Kiocb,
            COPY_EACH, //
        },
        kioctx::Kioctx,
        op::IssueContext,
        submit_state::{
            SubmitState,
            NO_CALL, //
        },
    },
    pure::throttle::Throttle,
    request::{
        pool::FreeRequest,
        token::Active, //
    },
    sys::{
        eventfd::EventFd,
        submitter::Submitter,
        task_local::Entered,
        uapi::IoEvent, //
    },
};

/// Bytes that a submit call copies for all of its requests; workers copy the rest. Copying them
/// takes 400 us, as long as a thousand reads of one page in one call.
const COPY_ALL: usize = 16 * COPY_EACH;

/// What the requests of one submit call share.
pub(super) struct Submission<'a> {
    pub(super) ctx: &'a Kioctx,
    state: &'a Entered<'a, SubmitState>,
    /// The number of the call, by which the completion of a driver finds its call again.
    pub(super) call: u32,
    /// The number of requests that are still to come, as far as is known.
    want: usize,
    /// Bytes that may still be copied within the call.
    bytes: usize,
    /// The submitter, once a request has needed it.
    submitter: Option<Submitter>,
    throttle: Throttle,
    /// The file and direction of the last light request, whose transfer the security modules have
    /// permitted: the number of the file's look-up, 0 for none, and whether the request is a write.
    pub(super) permitted: (u32, bool),
    /// The number of requests for which that answer still holds.
    pub(super) permitted_uses: u32,
}

impl<'a> Submission<'a> {
    /// Begins a call that is to start `want` requests.
    pub(super) fn new(ctx: &'a Kioctx, state: &'a Entered<'a, SubmitState>, want: usize) -> Self {
        // Drivers look for the call in the context's own state. A task that submits beside another
        // one has its state on the stack, so drivers complete its requests one by one.
        let call = match state.is_of(ctx.submit_state()) {
            true => state.with((), |state, ()| state.begin()),
            false => Err(()),
        };
        Self {
            ctx,
            state,
            call: call.unwrap_or(NO_CALL),
            want,
            bytes: COPY_ALL,
            submitter: None,
            throttle: Throttle::new(),
            permitted: (0, false),
            permitted_uses: 0,
        }
    }

    /// Returns the current task as the submitter of requests. `ENOMEM` if there is no memory for
    /// it.
    pub(super) fn submitter(&mut self) -> Result<Submitter> {
        if let Some(submitter) = &self.submitter {
            return Ok(submitter.clone());
        }
        let submitter = self.ctx.submitter()?;
        Ok(self.submitter.insert(submitter).clone())
    }

    /// Takes `bytes` of what the call may copy. Returns `false`, and takes nothing, if that is too
    /// much for one request or for the call: a worker is to copy them.
    #[inline]
    pub(super) fn take_bytes(&mut self, bytes: usize) -> bool {
        let may_copy = self.may_copy(bytes);
        if may_copy {
            self.bytes -= bytes;
        }
        may_copy
    }

    /// Returns whether the call may copy `bytes` for one more request.
    #[inline]
    pub(super) fn may_copy(&self, bytes: usize) -> bool {
        bytes <= COPY_EACH.min(self.bytes)
    }

    /// Notes that `bytes` were copied for a request that has ended; a negative number is an error.
    #[inline]
    pub(super) fn copied(&mut self, bytes: i64) {
        let bytes = usize::try_from(bytes).unwrap_or(0);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Returns whether the call may still copy bytes.
    #[inline]
    pub(super) fn may_copy_more(&self) -> bool {
        self.bytes > 0
    }

    /// Returns memory for the next request. `ENOMEM` if there is none.
    pub(super) fn free_request(&mut self) -> Result<FreeRequest<Kiocb>> {
        let (pool, want) = (self.ctx.pool(), self.want);
        self.want = want.saturating_sub(1);
        let free = self
            .state
            .with((), |state, ()| pool.take(&mut state.memory, want));
        match free.ok().flatten() {
            Some(free) => Ok(free),
            None => FreeRequest::new(),
        }
    }

    /// Keeps memory for the next request of the call.
    #[inline]
    pub(super) fn keep(&self, free: FreeRequest<Kiocb>) {
        let kept = self
            .state
            .with(free, |state, free| state.memory.push(free).err());
        if let Ok(Some(free)) | Err(free) = kept {
            self.ctx.pool().put(free);
        }
    }

    /// Takes the event of an operation that was done without a request. If the operation is the
    /// last one of the call and no other event is collected, the event goes into the ring at once.
    #[inline]
    pub(super) fn complete_without_request(&self, event: IoEvent, is_last: bool) {
        let ctx = self.ctx;
        let single = self.state.with(event, |state, event| {
            if is_last && state.events.is_empty() {
                return Some(event);
            }
            push_event(ctx, state, event);
            state.counts.without_request += 1;
            None
        });
        if let Ok(Some(event)) | Err(event) = single {
            self.post_alone(event);
        }
    }

    /// Puts the event of an operation that was done without a request into the ring.
    #[inline]
    fn post_alone(&self, event: IoEvent) {
        let stats = &self.ctx.table().stats;
        stats.submitted(1);
        stats.inline(1);
        post(self.ctx, &[event]);
    }

    /// Takes the event of an operation that was done without a request, and signals its eventfd. The
    /// event goes into the ring at once, since a task that the eventfd wakes looks for it there.
    pub(super) fn complete_and_signal(&self, event: IoEvent, eventfd: &EventFd) {
        self.flush();
        self.post_alone(event);
        eventfd.signal();
    }

    /// Returns whether events of the call are not in the ring yet.
    pub(super) fn has_events(&self) -> bool {
        self.state
            .with((), |state, ()| !state.events.is_empty())
            .unwrap_or(false)
    }

    /// Starts a request.
    ///
    /// A transfer that a disk would not start now goes to a worker untried: its device has as many
    /// transfers in hand as it has tags, or it has refused a transfer of this call. `no_room` says
    /// that [`Self::has_room`] has just said so.
    pub(super) fn start(&mut self, req: Active<Kiocb>, no_room: bool) {
        let kiocb = req.view();
        let comes_after =
            || kiocb.ki_eventfd.is_some() || kiocb.order_key().is_some() || kiocb.may_delay_call();
        if self.has_events() && comes_after() {
            // Flush, because the event of this request, or the wake-up of its eventfd, must not
            // come before the events of earlier requests, and because those events must not wait
            // for an attempt that may take long.
            self.flush();
        }
        let kiocb = req.view();
        if no_room || (kiocb.would_block && kiocb.transfer.is_some()) {
            // The fast path has found that the transfer has to wait. (A POLL whose file was not
            // ready is parked by its attempt.)
            punt(req, IssueContext::Submit);
            return;
        }
        if !self.take_bytes(req.view().bytes_in_call()) {
            punt_untried(req);
            return;
        }
        self.ctx.renew_wake_ups();
        let Some(target) = req.view().disk_target() else {
            let _ = self.run(req);
            return;
        };
        if !self.has_room(target, || req.view().device_tags()) {
            punt(req, IssueContext::Submit);
            return;
        }
        let punted = self.ctx.table().stats.punted();
        if !self.run(req) {
            self.note_started(punted);
        }
    }

    /// Returns whether one more transfer to this file, in this direction, is to be tried. `tags`
    /// returns the number of transfers that the device can have in hand.
    #[inline]
    pub(super) fn has_room(&mut self, target: (usize, bool), tags: impl FnOnce() -> u32) -> bool {
        let stats = &self.ctx.table().stats;
        self.throttle
            .may_start(target, tags, || stats.done_by_drivers())
    }

    /// Notes that a transfer to a disk was tried and has not ended. `punted` is the count of punted
    /// requests before the attempt.
    #[inline]
    pub(super) fn note_started(&mut self, punted: u64) {
        // A block device refuses within the call, in its completion (`driver_done`), which punts
        // the request. A request that another call has just punted counts too, which costs one try.
        self.throttle
            .started(self.ctx.table().stats.punted() != punted);
    }

    /// Runs a request for the first time. Returns whether it has ended.
    fn run(&mut self, req: Active<Kiocb>) -> bool {
        let Some((req, res)) = run(req, IssueContext::Submit) else {
            return false;
        };
        self.end(req, res);
        true
    }

    /// Ends a request with the result of its attempt.
    #[inline]
    pub(super) fn end<T: Completion>(&self, completion: T, res: i64) {
        let single = match completion.may_share() {
            true => self
                .state
                .with(completion, |state, completion| {
                    push_completion(state, completion, res)
                })
                .err(),
            false => Some(completion),
        };
        if let Some(completion) = single {
            self.flush();
            self.ctx.table().stats.inline(1);
            completion.complete(res);
        }
    }

    /// Puts the collected events into the ring.
    pub(super) fn flush(&self) {
        let _ = self
            .state
            .with((), |state, ()| flush_completions(self.ctx, state));
    }
}

impl Drop for Submission<'_> {
    fn drop(&mut self) {
        let _ = self.state.with((), |state, ()| {
            flush_completions(self.ctx, state);
            if !self.state.is_of(self.ctx.submit_state()) {
                // The state is on the stack of this call, and goes with it.
                self.ctx.pool().clear(&mut state.memory);
            }
        });
    }
}
