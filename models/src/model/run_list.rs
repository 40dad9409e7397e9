// SPDX-License-Identifier: GPL-2.0

//! Replicas: which thread looks at the run list of a context (`ctx/kioctx/schedule.rs`,
//! `engine/worker.rs`).
//!
//! Invariants: a request on the run list is always going to be looked at, by a task that sleeps in
//! getevents, by the kick handler, or by a worker while the kick handler is stalled.
//!
//! These models hold with relaxed accesses of `inline_runners`, too: the task and the kick both take the
//! lock of the run list, which is enough.

use super::{check, check_three, wait_queue::WaitQueue, with};
use kernel::sync::{
    atomic::{Acquire, Atomic, AtomicFlag, Full, Relaxed, Release},
    Arc,
};
use loom::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// A work item. `queue_work()` and the beginning of its run are full barriers and exclude each other;
/// the lock stands for that.
#[derive(Default)]
struct Work(Mutex<bool>);

impl Work {
    fn queue(&self) {
        *self.0.lock().unwrap() = true;
    }

    /// Returns whether the work item was queued, and begins its run.
    fn begin(&self) -> bool {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

struct Context {
    wait: WaitQueue,
    inline_runners: Atomic<u32>,
    /// The number of requests on the list.
    run_list: Mutex<u32>,
    kick: Work,
    wake_workers: Work,
    stalled: AtomicFlag,
    /// The events in the ring.
    tail: Atomic<u32>,
    /// The number of requests that ran.
    ran: AtomicU32,
}

impl Context {
    fn new() -> Arc<Self> {
        let this = Self {
            wait: WaitQueue::new(),
            inline_runners: Atomic::new(0),
            run_list: Mutex::new(0),
            kick: Work::default(),
            wake_workers: Work::default(),
            stalled: Atomic::new(false),
            tail: Atomic::new(0),
            ran: AtomicU32::new(0),
        };
        this.inline_runners.load(Relaxed);
        this.stalled.load(Relaxed);
        this.tail.load(Relaxed);
        Arc::new(this)
    }

    /// `Kioctx::enqueue`, with `RunList::push`.
    fn enqueue(&self) {
        let mut list = self.run_list.lock().unwrap();
        let first = *list == 0;
        *list += 1;
        drop(list);
        if first {
            self.schedule();
        }
    }

    /// `Kioctx::schedule`, of a kicked request.
    fn schedule(&self) {
        if self.inline_runners.fetch_add(0, Full) > 0 {
            self.wait.wake();
        } else {
            self.schedule_worker();
        }
    }

    /// `Kioctx::schedule_worker`
    fn schedule_worker(&self) {
        match self.is_stalled() {
            true => self.wake_workers.queue(),
            false => self.kick.queue(),
        }
    }

    fn is_stalled(&self) -> bool {
        self.stalled.load(Acquire)
    }

    /// `Kioctx::clear_stalled`
    fn clear_stalled(&self) {
        if self.stalled.load(Relaxed) {
            self.stalled.store(false, Release);
        }
    }

    /// `Bounded::stalled`
    fn mark_stalled(&self) {
        self.stalled.store(true, Release);
        self.wake_workers.queue();
    }

    fn pop(&self) -> bool {
        let mut list = self.run_list.lock().unwrap();
        let some = *list > 0;
        *list -= u32::from(some);
        some
    }

    /// Runs a request, and posts its event: `engine::complete::post`.
    fn run_one(&self) {
        self.ran.fetch_add(1, Ordering::SeqCst);
        self.tail.add(1, Release);
        self.wait.wake();
    }

    /// `Kioctx::sleep`
    fn sleep(&self, wait: fn(&WaitQueue, &dyn Fn() -> bool), ready: impl Fn() -> bool) {
        self.inline_runners.add(1, Relaxed);
        let look = || ready() || *self.run_list.lock().unwrap() > 0;
        wait(&self.wait, &look);
        self.inline_runners.fetch_sub(1, Full);
    }

    /// `engine::worker::run_kicked_inline`
    fn run_kicked(&self) {
        while self.pop() {
            self.run_one();
        }
    }

    /// `engine::getevents`: sleeps until there are `min` events.
    fn getevents(&self, min: u32) {
        while self.tail.load(Acquire) < min {
            self.sleep(
                |queue, ready| queue.wait(ready),
                || self.tail.load(Acquire) >= min,
            );
            self.run_kicked();
        }
    }

    /// The kick handler, if it was scheduled: `engine::worker::run_kicked` and the end of its work item.
    fn handler(&self) {
        if !self.kick.begin() {
            return;
        }
        while self.pop() {
            self.run_one();
            self.clear_stalled();
        }
        if self.is_stalled() {
            self.clear_stalled();
            self.requeue_rest();
        }
    }

    /// `engine::worker::requeue_rest`
    fn requeue_rest(&self) {
        if self.pop() {
            *self.run_list.lock().unwrap() += 1;
            self.schedule_worker();
        }
    }

    /// The work item that wakes workers, if it was scheduled.
    fn waker(&self) {
        if !self.wake_workers.begin() {
            return;
        }
        while self.is_stalled() {
            if !self.pop() {
                break;
            }
            self.run_one();
        }
    }

    /// Lets the kworkers do what is scheduled, and checks that all requests have run then.
    fn check_end(&self, requests: u32) {
        self.waker();
        self.handler();
        assert_eq!(
            self.ran.load(Ordering::SeqCst),
            requests,
            "a request was left"
        );
    }
}

/// A kick comes while a task goes to sleep. The task runs the request, or a kworker does, whose event
/// wakes the task.
#[test]
fn a_sleeping_task_gets_its_event() {
    check_three(|| {
        let context = Context::new();
        let kicker = with(&context, |context| {
            context.enqueue();
            context.handler();
        });
        context.getevents(1);
        kicker.join().unwrap();
        context.check_end(1);
    });
}

#[test]
fn a_sleeping_task_gets_the_events_of_two_kicks() {
    check_three(|| {
        let context = Context::new();
        let kick = |context: &Context| {
            context.enqueue();
            context.handler();
        };
        let kickers = [kick; 2].map(|kick| with(&context, kick));
        context.getevents(2);
        kickers.map(|kicker| kicker.join().unwrap());
        context.check_end(2);
    });
}

/// A kick comes while the time of a sleeping task is over. The kick still counts on the task, which
/// looks once more, or a kworker is scheduled.
#[test]
fn a_task_that_stops_sleeping_looks_once_more() {
    check(|| {
        let context = Context::new();
        let kicker = with(&context, Context::enqueue);
        context.sleep(|queue, ready| queue.wait_briefly(ready), || false);
        context.run_kicked();
        kicker.join().unwrap();
        context.check_end(1);
    });
}

/// The kick handler is marked as stalled while it runs a request, or just after. A request that is
/// kicked meanwhile is not left on the list.
#[test]
fn a_request_is_not_left_when_the_kick_handler_was_stalled() {
    check_three(|| {
        let context = Context::new();
        context.enqueue();
        let look = with(&context, |context| {
            context.mark_stalled();
            context.waker();
        });
        let kicker = with(&context, Context::enqueue);
        context.handler();
        kicker.join().unwrap();
        look.join().unwrap();
        context.check_end(2);
    });
}
