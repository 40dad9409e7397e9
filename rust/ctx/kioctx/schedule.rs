// SPDX-License-Identifier: GPL-2.0

//! Which thread looks at the run list of a context: the kick handler, a worker, or a task that sleeps in
//! getevents.

use kernel::sync::{
    atomic::{
        Acquire,
        Full,
        Relaxed,
        Release, //
    },
    Arc, //
};

use super::{
    Kioctx,
    KICK,
    WAKE_WORKERS, //
};
use crate::{
    ctx::kiocb::Kiocb,
    request::{
        queued::QueuedRequest,
        run_list::Next, //
    },
    sys::{
        lease::Lease,
        queue,
        runners::Bounded,
        wait::Woken, //
    },
};

/// The number of POLLs that end in wake-ups between two submit calls that start requests. A wake-up
/// runs with interrupts disabled, and may end all requests that wait for its file.
const WAKE_UPS: u32 = 64;

impl Kioctx {
    /// Puts a request on the run list and schedules a look at the list. Any context.
    pub(crate) fn enqueue(lease: &Lease<Self>, queued: QueuedRequest<Kiocb>, next: Next) {
        if lease.run_list.push(queued, next) {
            Self::schedule(lease, next);
        }
    }

    /// Schedules a look at the run list. Kicked requests are left to a task that waits for events,
    /// if there is one: the task runs them in its own memory, and no kworker is woken
    /// (`engine::worker::run_kicked_inline`).
    fn schedule(lease: &Lease<Self>, next: Next) {
        // This access and the end of `Self::sleep` are fully ordered: a task that is still counted
        // here looks at the run list after the request was put on it.
        if next == Next::Run && lease.inline_runners.fetch_add(0u32, Full) > 0 {
            lease.wait.wake();
        } else {
            Self::schedule_worker(lease, next);
        }
    }

    /// Waits for `ready()`; if the caller `runs_kicked`, also for a request on the run list, at
    /// which the caller then looks. A wait without end has `timeout_ns` of `i64::MAX`.
    pub(crate) fn sleep(
        &self,
        runs_kicked: bool,
        timeout_ns: i64,
        ready: impl Fn() -> bool,
    ) -> Woken {
        if !runs_kicked {
            return self.wait.wait(timeout_ns, ready);
        }
        self.inline_runners.add(1u32, Relaxed);
        // A kick wakes the task without regard to the number of events.
        let woken = self
            .wait
            .wait(timeout_ns, || ready() || !self.run_list.is_empty(Next::Run));
        self.inline_runners.fetch_sub(1u32, Full);
        woken
    }

    /// Queues a kworker that looks at the run list until the list is empty. Any context.
    pub(crate) fn schedule_worker(lease: &Lease<Self>, next: Next) {
        let queues = lease.queues();
        // A work item that is queued already looks at the list too, and the new reference comes
        // back. The lease keeps the context, so that reference is not the last.
        let _ = match next {
            Next::Run if lease.is_stalled() => {
                queue::enqueue::<_, WAKE_WORKERS>(queues.work(), lease.object())
            }
            Next::Run => queue::enqueue::<_, KICK>(queues.kick(), lease.object()),
            // This does not go to the workqueue of kick handlers, which may wait for page faults.
            Next::WakeWorkers => queue::enqueue::<_, WAKE_WORKERS>(queues.work(), lease.object()),
        };
    }

    /// Queues the kick handler, which wakes the tasks that poll the device. Any context.
    #[cold]
    pub(crate) fn schedule_wake_of_readers(lease: &Lease<Self>) {
        // A work item that is queued already has yet to wake them. The lease keeps the context, so
        // the reference that comes back is not the last.
        let _ = queue::enqueue::<_, KICK>(lease.queues().kick(), lease.object());
    }

    /// Returns whether one more POLL may end in a wake-up: at most [`WAKE_UPS`] do so between two
    /// submit calls that start requests. Any context.
    pub(crate) fn may_end_in_wake_up(&self) -> bool {
        self.ended_in_wake_ups.fetch_add(1u32, Relaxed) < WAKE_UPS
    }

    /// Lets [`WAKE_UPS`] more POLLs end in wake-ups. For a submit call that starts a request.
    #[inline]
    pub(crate) fn renew_wake_ups(&self) {
        self.ended_in_wake_ups.store(0, Relaxed);
    }

    /// Returns whether workers are to run kicked requests, because the kick handler is stalled.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Acquire)
    }

    /// Notes that the kick handler is not stalled: the request that held it up has ended or waits
    /// elsewhere. The kick handler looks at the run list after this call, so it sees the requests
    /// that were left to workers before.
    pub(crate) fn clear_stalled(&self) {
        if self.stalled.load(Relaxed) {
            self.stalled.store(false, Release);
        }
    }
}

/// For the kick handler of the context, which holds the reference.
impl Bounded for Arc<Kioctx> {
    fn must_end(&self) -> bool {
        self.process.is_expired()
    }

    const IS_AWAITED: bool = true;

    fn stalled(&self) {
        self.stalled.store(true, Release);
        // A work item that is queued already looks at the list too, and the new reference comes
        // back. The kick handler has another one, so that reference is not the last.
        let _ = queue::enqueue::<_, WAKE_WORKERS>(self.queues.work(), self.clone());
    }
}
