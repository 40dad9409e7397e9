// SPDX-License-Identifier: GPL-2.0

//! A replica of the kernel's wait queues, for the models that sleep.
//!
//! `wq_has_sleeper()`, which `kaio_wake()` calls, has a full barrier before it looks whether a task
//! sleeps. `prepare_to_wait_event()` puts the task on the queue, and has a full barrier before the
//! condition is tested. loom reports a task that sleeps for ever.

use loom::sync::{
    atomic::{fence, AtomicBool, Ordering},
    Condvar, Mutex,
};

/// A wait queue, for one task.
pub(super) struct WaitQueue {
    /// The task is on the queue.
    queued: Mutex<bool>,
    woken: Condvar,
    /// The task is on the queue. This is read without the lock.
    has_sleeper: AtomicBool,
}

impl WaitQueue {
    pub(super) fn new() -> Self {
        Self {
            queued: Mutex::new(false),
            woken: Condvar::new(),
            has_sleeper: AtomicBool::new(false),
        }
    }

    /// `kaio_wake()`
    pub(super) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.has_sleeper.load(Ordering::Relaxed) {
            self.set_queued(false);
            self.woken.notify_all();
        }
    }

    fn set_queued(&self, is_queued: bool) {
        let mut queued = self.queued.lock().unwrap();
        *queued = is_queued;
        self.has_sleeper.store(is_queued, Ordering::Relaxed);
    }

    /// `kaio_wait_event()`
    pub(super) fn wait(&self, ready: impl Fn() -> bool) {
        loop {
            self.set_queued(true);
            fence(Ordering::SeqCst);
            if ready() {
                return self.set_queued(false);
            }
            let mut queued = self.queued.lock().unwrap();
            while *queued {
                queued = self.woken.wait(queued).unwrap();
            }
        }
    }

    /// `kaio_wait_event()` of a task whose time is over as soon as it sleeps.
    pub(super) fn wait_briefly(&self, ready: impl Fn() -> bool) {
        self.set_queued(true);
        fence(Ordering::SeqCst);
        let _ = ready();
        self.set_queued(false);
    }
}
