// SPDX-License-Identifier: GPL-2.0

//! The states of a request (`pure/state.rs`): its owner, kicks, cancellers, drivers.
//!
//! Invariants: the token is never doubled, and what one owner wrote the next one sees; a request ends
//! exactly once; no kick is lost; one compare-and-swap decides between a kick and a cancel.

use super::{check, check_three, with, Watched};
use crate::{
    pure::state::{Cancel, CancelScope, Kick, State},
    sys::word::AtomicWord,
};
use kernel::sync::{
    atomic::{with_barriers, Atomic, Full, Relaxed},
    Arc,
};
use loom::{sync::Mutex, thread};
use std::sync::atomic::{AtomicU32, Ordering};

/// How a request has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Done = 1,
    Cancelled = 2,
}

/// The file for which a request waits. Its lock is that of the wait queue.
#[derive(Default)]
struct File {
    ready: bool,
    /// The request is on the wait queue.
    armed: bool,
}

/// A request. The counters are std's, since they are not under test: they make no interleavings.
pub(super) struct Request {
    pub(super) state: State<AtomicWord>,
    /// What only the owner touches: how often an owner did.
    data: Watched<u32>,
    /// The request has an owner: a token, or the ownership of a queued request.
    owned: AtomicU32,
    ends: AtomicU32,
    ended: AtomicU32,
    file: Mutex<File>,
    /// The request is on the run list.
    run_list: Mutex<bool>,
    /// What a request of a provider waits for. There is no lock.
    pub(super) kicked: Atomic<bool>,
    /// The request waits for `kicked` and not for the file.
    direct: bool,
}

impl Request {
    /// Makes a request that has been started: the caller has the token.
    pub(super) fn started(direct: bool) -> Arc<Self> {
        let this = Self {
            state: State::new(AtomicWord::new()),
            data: Watched::new(0),
            owned: AtomicU32::new(1),
            ends: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            file: Mutex::new(File::default()),
            run_list: Mutex::new(false),
            kicked: Atomic::new(false),
            direct,
        };
        this.state.renew();
        this.kicked.load(Relaxed);
        Arc::new(this)
    }

    /// Does what an owner may: it changes the data. loom reports a race, or an owner that does not see
    /// what the owner before wrote.
    pub(super) fn touch(&self) {
        self.data.write(|data| *data += 1);
    }

    /// Becomes the owner.
    pub(super) fn own(&self) {
        assert_eq!(self.owned.swap(1, Ordering::SeqCst), 0, "two tokens");
        self.touch();
    }

    /// Is about to give the ownership up.
    pub(super) fn disown(&self) {
        self.touch();
        assert_eq!(self.owned.swap(0, Ordering::SeqCst), 1, "no token");
    }

    /// Ends the request (`Active::finish`).
    pub(super) fn end(&self, how: Ended) {
        self.disarm();
        self.disown();
        assert!(self.state.done(), "a request completed twice");
        self.ends.fetch_add(1, Ordering::SeqCst);
        self.ended.store(how as u32, Ordering::SeqCst);
    }

    /// Returns how the request has ended, which it has once.
    pub(super) fn outcome(&self) -> Ended {
        assert_eq!(self.ends.load(Ordering::SeqCst), 1, "not one end");
        match self.ended.load(Ordering::SeqCst) {
            1 => Ended::Done,
            _ => Ended::Cancelled,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ends.load(Ordering::SeqCst) != 0
    }

    fn arm(&self) {
        if !self.direct {
            self.file.lock().unwrap().armed = true;
        }
    }

    fn disarm(&self) {
        if !self.direct {
            self.file.lock().unwrap().armed = false;
        }
    }

    fn is_ready(&self) -> bool {
        match self.direct {
            true => self.kicked.load(Relaxed),
            false => self.file.lock().unwrap().ready,
        }
    }

    /// Runs the request, for the owner that has the token: `engine::run::run`, `engine::park::park`
    /// and `engine::park::leave_to_kick`.
    pub(super) fn run(&self) {
        self.touch();
        if self.state.is_cancelled() {
            return self.end(Ended::Cancelled);
        }
        self.arm();
        if self.is_ready() {
            return self.end(Ended::Done);
        }
        self.disown();
        if self.state.park() {
            return;
        }
        self.own();
        self.kick_own();
    }

    /// Puts the request on the run list, for the token holder (`Active::kick`), and lets it be run.
    pub(super) fn kick_own(&self) {
        self.state.queue();
        self.push();
        self.handle_kicks();
    }

    /// Puts the request, of which the caller is the owner, on the run list (`RunList::push`).
    pub(super) fn push(&self) {
        let mut list = self.run_list.lock().unwrap();
        self.disown();
        assert!(
            !std::mem::replace(&mut *list, true),
            "a request was kicked twice"
        );
    }

    /// Takes the request off the run list (`RunList::pop`, `RunList::remove`).
    fn pop(&self) -> bool {
        let mut list = self.run_list.lock().unwrap();
        let taken = std::mem::take(&mut *list);
        if taken {
            self.own();
        }
        taken
    }

    /// Makes the token (`QueuedRequest::claim`).
    pub(super) fn claim(&self) {
        self.disarm();
        assert!(self.state.claim(), "a request ran that was not queued");
        self.touch();
    }

    /// Is the kick handler. In the module this is a kworker that the thread which pushes schedules; here
    /// that thread runs it, as it has nothing else to do.
    pub(super) fn handle_kicks(&self) {
        self.handle_kicks_by(&Self::run);
    }

    /// Is the kick handler of requests that `run` runs.
    pub(super) fn handle_kicks_by(&self, run: &dyn Fn(&Self)) {
        while self.pop() {
            self.claim();
            run(self);
        }
    }

    /// `Active::park`, and what the engine does if it refuses: the request is on the run list then. The
    /// caller has the token. Returns whether the request was parked.
    pub(super) fn park(&self) -> bool {
        self.disown();
        let parked = self.state.park();
        if !parked {
            self.own();
            self.state.queue();
            self.push();
        }
        parked
    }

    /// Kicks a request (`Polled::kick`). Returns whether the request is on the run list now.
    pub(super) fn kick(&self) -> bool {
        let queue = self.state.kick() == Kick::Queue;
        if queue {
            self.own();
            self.push();
        }
        queue
    }

    /// Makes the file ready, and wakes its queue: the callback runs under the lock of the queue, and
    /// takes the entry off the queue (`request::poll::wake`).
    pub(super) fn wake_up(&self) {
        let mut file = self.file.lock().unwrap();
        file.ready = true;
        if std::mem::take(&mut file.armed) {
            self.kick();
        }
        drop(file);
        self.handle_kicks();
    }

    /// Takes a request that was marked as cancelled, if it was parked or is on the run list
    /// (`RequestInner::finish_cancel`). Returns whether the caller has the token now.
    pub(super) fn take_cancelled(&self, cancel: Cancel) -> bool {
        match cancel {
            Cancel::Take => self.own(),
            Cancel::Dequeue if self.pop() => {}
            _ => return false,
        }
        self.claim();
        true
    }

    /// Ends a request that was marked as cancelled, if it can be taken.
    pub(super) fn finish_cancel(&self, cancel: Cancel) -> bool {
        let taken = self.take_cancelled(cancel);
        if taken {
            self.end(Ended::Cancelled);
        }
        taken
    }

    pub(super) fn cancel(&self, scope: CancelScope) -> bool {
        self.finish_cancel(self.state.cancel(scope))
    }
}

#[test]
fn a_wake_up_is_not_lost() {
    check(|| {
        let request = Request::started(false);
        let waker = with(&request, Request::wake_up);
        request.run();
        waker.join().unwrap();
        assert_eq!(request.outcome(), Ended::Done);
    });
}

#[test]
fn two_wake_ups_end_a_request_once() {
    check_three(|| {
        let request = Request::started(false);
        let wakers = [Request::wake_up; 2].map(|f| with(&request, f));
        request.run();
        wakers.map(|waker| waker.join().unwrap());
        assert_eq!(request.outcome(), Ended::Done);
    });
}

/// A provider's kick comes under no lock. It comes after a successful exchange of the promise, which
/// is a full barrier in the kernel; see `an_event_before_a_kick_needs_a_barrier`.
#[test]
fn a_kick_without_a_lock_is_not_lost() {
    with_barriers(|| {
        check(|| {
            let request = Request::started(true);
            let kicker = with(&request, |request| {
                request.kicked.xchg(true, Full);
                if request.kick() {
                    request.handle_kicks();
                }
            });
            request.run();
            kicker.join().unwrap();
            assert_eq!(request.outcome(), Ended::Done);
        });
    });
}

#[test]
fn two_kicks_without_a_lock_end_a_request_once() {
    with_barriers(|| {
        check_three(|| {
            let request = Request::started(true);
            let kick = |request: &Request| {
                request.kicked.xchg(true, Full);
                if request.kick() {
                    request.handle_kicks();
                }
            };
            let kickers = [kick; 2].map(|f| with(&request, f));
            request.run();
            kickers.map(|kicker| kicker.join().unwrap());
            assert_eq!(request.outcome(), Ended::Done);
        });
    });
}

/// A kick that finds the request queued orders nothing. So what the kick tells must be ordered before
/// the kick, by a barrier or by a lock that the next run takes, too. Here it is not, and the run that
/// was queued does not see it: this test shows that the model would notice.
#[test]
#[should_panic(expected = "not one end")]
fn an_event_before_a_kick_needs_a_barrier() {
    check(|| {
        let request = Request::started(true);
        let kicker = with(&request, |request| {
            request.kicked.store(true, Relaxed);
            if request.kick() {
                request.handle_kicks();
            }
        });
        // The request is queued, for example because an attempt was punted.
        request.kick_own();
        kicker.join().unwrap();
        assert_eq!(request.outcome(), Ended::Done);
    });
}

#[test]
fn a_queued_request_sees_the_event_of_a_kick() {
    with_barriers(|| {
        check(|| {
            let request = Request::started(true);
            let kicker = with(&request, |request| {
                request.kicked.xchg(true, Full);
                if request.kick() {
                    request.handle_kicks();
                }
            });
            request.kick_own();
            kicker.join().unwrap();
            assert_eq!(request.outcome(), Ended::Done);
        });
    });
}

#[test]
fn a_cancel_is_not_lost() {
    for scope in [CancelScope::User, CancelScope::Exit] {
        check(move || {
            let request = Request::started(false);
            let canceller = with(&request, move |request| {
                request.cancel(scope);
            });
            request.run();
            canceller.join().unwrap();
            assert_eq!(request.outcome(), Ended::Cancelled);
        });
    }
}

#[test]
fn one_of_two_cancellers_ends_a_request() {
    check_three(|| {
        let request = Request::started(false);
        let cancels = [CancelScope::User, CancelScope::Exit].map(|scope| {
            let request = request.clone();
            thread::spawn(move || request.cancel(scope))
        });
        request.run();
        let ended = cancels.map(|canceller| canceller.join().unwrap());
        assert!(ended != [true, true], "two cancellers ended the request");
        assert_eq!(request.outcome(), Ended::Cancelled);
    });
}

/// One exchange decides. A canceller that ended the request ended it as cancelled, and a request that
/// was not ended as cancelled was run after the kick.
#[test]
fn a_kick_or_a_cancel_ends_a_parked_request() {
    check(|| {
        let request = Request::started(false);
        request.run();
        let waker = with(&request, Request::wake_up);
        let cancelled = request.cancel(CancelScope::User);
        waker.join().unwrap();
        let ended = request.outcome();
        assert!(!cancelled || ended == Ended::Cancelled);
    });
}

#[test]
fn owner_kicker_and_canceller() {
    check_three(|| {
        let request = Request::started(false);
        let waker = with(&request, Request::wake_up);
        let canceller = {
            let request = request.clone();
            thread::spawn(move || request.cancel(CancelScope::User))
        };
        request.run();
        waker.join().unwrap();
        let cancelled = canceller.join().unwrap();
        let ended = request.outcome();
        assert!(!cancelled || ended == Ended::Cancelled);
    });
}

/// The end of a context spares a request that must run, unless the owner lets go of that first.
#[test]
fn a_request_that_must_run_is_not_cancelled_at_exit() {
    check(|| {
        let request = Request::started(false);
        request.state.set_must_run();
        let canceller = {
            let request = request.clone();
            thread::spawn(move || {
                let cancel = request.state.cancel(CancelScope::Exit);
                assert_eq!(cancel, Cancel::Nothing);
            })
        };
        assert!(request.state.must_run());
        request.touch();
        // The owner runs the request to its end in a worker.
        request.state.queue();
        request.push();
        request.file.lock().unwrap().ready = true;
        request.handle_kicks();
        canceller.join().unwrap();
        assert_eq!(request.outcome(), Ended::Done);
    });
}

#[test]
fn an_owner_that_lets_the_exit_cancel_again_sees_it_or_is_found() {
    check(|| {
        let request = Request::started(false);
        request.state.set_must_run();
        let canceller = {
            let request = request.clone();
            thread::spawn(move || request.state.cancel(CancelScope::Exit))
        };
        // As `engine::park::park` does before a wait that may never end.
        request.state.clear_must_run();
        let parked = {
            request.disown();
            let parked = request.state.park();
            if !parked {
                request.own();
            }
            parked
        };
        let cancel = canceller.join().unwrap();
        match (parked, cancel) {
            // The exit came while the request had to run. `Active::list` tells the owner.
            (true, Cancel::Nothing) => {}
            (true, Cancel::Take) | (false, Cancel::Remembered) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(cancel != Cancel::Nothing, request.state.is_cancelled());
    });
}

/// A driver completes a request that was given to it, perhaps before the call returns: `Active::call`,
/// `Active::take`.
fn driver(request: &Request) {
    request.state.give_back();
    request.own();
    request.end(Ended::Done);
}

#[test]
fn a_driver_may_complete_before_the_call_returns() {
    check_three(|| {
        let request = Request::started(false);
        request.state.begin_issue();
        request.disown();
        let by_driver = with(&request, driver);
        let canceller = {
            let request = request.clone();
            thread::spawn(move || request.cancel(CancelScope::User))
        };
        request.state.left();
        by_driver.join().unwrap();
        assert!(!canceller.join().unwrap(), "a driver's request was taken");
        assert_eq!(request.outcome(), Ended::Done);
    });
}

/// A page gives the token back, and the request goes on: it is not taken for one that a driver has.
#[test]
fn a_request_that_came_back_can_be_cancelled() {
    check(|| {
        let request = Request::started(false);
        request.state.begin_issue();
        request.disown();
        let page = with(&request, |request| {
            request.state.give_back();
            request.own();
            request.kick_own();
        });
        request.state.left();
        page.join().unwrap();
        assert!(request.cancel(CancelScope::User));
        assert_eq!(request.outcome(), Ended::Cancelled);
    });
}

/// A canceller that marks a request which a provider has takes the mark back if the provider refuses.
/// The request goes on, and is kicked or cancelled later.
#[test]
fn a_refused_cancel_leaves_the_request_as_it_was() {
    check_three(|| {
        let request = Request::started(false);
        // The provider has the token.
        request.disown();
        let refused = |request: &Request| {
            if request.state.cancel(CancelScope::User) == Cancel::Remembered {
                request.state.uncancel();
            }
        };
        let canceller = with(&request, refused);
        let other = with(&request, refused);
        canceller.join().unwrap();
        other.join().unwrap();
        assert!(!request.state.is_cancelled());
        request.own();
        request.run();
        // The kick that a cancel leaves makes the run try once more.
        assert!(request.cancel(CancelScope::User));
        assert_eq!(request.outcome(), Ended::Cancelled);
    });
}

/// The mark of a canceller that comes after the request was queued by its provider stays.
#[test]
fn a_cancel_is_taken_back_only_from_a_request_that_runs() {
    check(|| {
        let request = Request::started(true);
        request.run();
        assert_eq!(request.state.cancel(CancelScope::User), Cancel::Take);
        let late = with(&request, |request| request.state.uncancel());
        request.own();
        late.join().unwrap();
        assert!(request.state.is_cancelled());
        request.claim();
        request.end(Ended::Cancelled);
        assert_eq!(request.outcome(), Ended::Cancelled);
    });
}
