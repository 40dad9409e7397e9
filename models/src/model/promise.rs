// SPDX-License-Identifier: GPL-2.0

//! The promise of a provider (`pure/promise.rs`), together with the request that it is for.
//!
//! Invariants: the thread that takes the promise takes the way back to the request, `owner`, too, and no
//! other thread does; the result is written before it is read; a kick or a completion that comes before
//! the answer is not lost; the provider's reference is released exactly once.

use super::{
    check, check_three,
    request::{Ended, Request},
    with, Watched,
};
use crate::{
    pure::{
        promise::{Ask, AttemptResult, End, NotifyResult, Promise},
        state::{Cancel, CancelScope},
    },
    sys::word::AtomicWord,
};
use kernel::sync::{
    atomic::{with_barriers, Atomic, Full, Relaxed},
    Arc,
};
use loom::{sync::Mutex, thread};
use std::sync::atomic::{AtomicU32, Ordering};

/// What [`Held::owner`] is for: a kick needs a reference, and a completion the token.
const REFERENCE: usize = 1;
const TOKEN: usize = 2;
/// The result of a completion.
const RESULT: u32 = 7;

/// How the provider answers when it is asked to give a request back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Gives {
    /// It refuses.
    Never,
    /// It does, unless it is completing the request.
    Honestly,
    /// It says so, and completes the request all the same.
    Falsely,
    /// It refuses the first time.
    SecondTime,
}

/// A request, and what a provider has of it.
pub(super) struct Held {
    pub(super) request: Arc<Request>,
    promise: Promise<AtomicWord>,
    owner: Atomic<usize>,
    result: Watched<u32>,
    /// What the provider waits for is there, so that it answers with a result.
    ready: Atomic<bool>,
    /// The provider's own lock, and whether it has given the request back or is completing it.
    decided: Mutex<bool>,
    gives: Gives,
    asked: AtomicU32,
    released: AtomicU32,
}

impl Held {
    /// Makes a request whose token the caller has.
    pub(super) fn new(gives: Gives) -> Arc<Self> {
        let this = Self {
            request: Request::started(true),
            promise: Promise::new(AtomicWord::new()),
            owner: Atomic::new(0),
            result: Watched::new(0),
            ready: Atomic::new(false),
            decided: Mutex::new(false),
            gives,
            asked: AtomicU32::new(0),
            released: AtomicU32::new(0),
        };
        this.owner.load(Relaxed);
        this.ready.load(Relaxed);
        assert!(this.promise.is_kicked());
        Arc::new(this)
    }

    fn release(&self) {
        let before = self.released.fetch_add(1, Ordering::SeqCst);
        assert_eq!(before, 0, "the provider's reference was released twice");
    }

    /// Takes the way back to the request, which must be of that kind.
    fn take_owner(&self, kind: usize) {
        assert_eq!(self.owner.xchg(0, Full), kind, "the owner was taken");
    }

    fn read_result(&self) {
        self.result.read(|result| assert_eq!(*result, RESULT));
    }

    /// `ProviderRef::drop_owner`
    fn drop_owner(&self) {
        let owner = self.owner.xchg(0, Full);
        assert!(owner == 0 || owner == REFERENCE, "a token was forgotten");
    }

    /// `ProviderRef::record_answer`. The completion that this waits for runs meanwhile.
    fn record(
        &self,
        answer: impl Fn(&Promise<AtomicWord>) -> (AttemptResult, bool),
    ) -> AttemptResult {
        loop {
            match answer(&self.promise).0 {
                AttemptResult::Busy => thread::yield_now(),
                result => return result,
            }
        }
    }

    /// Completes the request (`engine::complete::complete`), and ends the promise with it
    /// (`ProviderRef::end`).
    fn complete(&self, how: Ended) {
        match self.promise.end() {
            End::Owed => {
                self.drop_owner();
                if self.call_cancel() && self.promise.given_up() {
                    self.release();
                }
            }
            End::Over => self.release(),
            End::Before => {}
        }
        self.request.end(how);
    }

    /// `ProviderRef::attempt`, of a provider that answers "retry" until it is ready. The caller has the
    /// token.
    pub(super) fn attempt_retry(&self) {
        if self.request.state.is_cancelled() {
            return self.complete(Ended::Cancelled);
        }
        assert!(self.promise.begin(), "a request was to run twice at once");
        if self.ready.load(Relaxed) {
            match self.record(Promise::answer_result) {
                AttemptResult::Completed => self.completed_early(),
                _ => {
                    self.release();
                    self.complete(Ended::Done);
                }
            }
            return;
        }
        self.owner.store(REFERENCE, Relaxed);
        match self.record(Promise::answer_retry) {
            AttemptResult::Completed => {
                self.drop_owner();
                return self.completed_early();
            }
            AttemptResult::Kicked => {
                self.drop_owner();
                assert!(!self.request.kick(), "a request that runs was queued");
            }
            _ => {}
        }
        // The engine parks the request, or runs it again if a kick has come.
        if !self.request.park() {
            self.handle_kicks();
        }
    }

    fn completed_early(&self) {
        self.release();
        self.read_result();
        self.complete(Ended::Done);
    }

    fn handle_kicks(&self) {
        self.request.handle_kicks_by(&|_| self.attempt_retry());
    }

    /// `ProviderRef::attempt`, of a provider that answers "queued". The caller has the token.
    pub(super) fn attempt_queued(&self) {
        assert!(self.promise.begin());
        self.answer_queued();
    }

    fn answer_queued(&self) {
        self.owner.store(TOKEN, Relaxed);
        self.request.disown();
        if self.record(Promise::answer_queued) == AttemptResult::Completed {
            self.take_owner(TOKEN);
            self.request.own();
            return self.completed_early();
        }
        if self.request.state.is_cancelled() && self.cancel().is_none() {
            self.request.state.uncancel();
        }
    }

    /// `kaio_held_kick`
    fn kick(&self) -> bool {
        match self.promise.kick() {
            NotifyResult::Act => {
                self.take_owner(REFERENCE);
                if self.request.kick() {
                    self.handle_kicks();
                }
            }
            NotifyResult::Remembered => {}
            NotifyResult::LetGo => self.release(),
            NotifyResult::Wrong => return false,
        }
        true
    }

    /// The provider is ready, and kicks.
    fn get_ready(&self) {
        self.ready.store(true, Relaxed);
        self.kick();
    }

    /// `kaio_held_complete`
    fn held_complete(&self) -> bool {
        if !self.promise.take() {
            return false;
        }
        self.result.write(|result| *result = RESULT);
        if self.promise.completed() == NotifyResult::Act {
            self.take_owner(TOKEN);
            self.return_token();
            self.release();
        }
        true
    }

    /// `Requests::complete`
    fn return_token(&self) {
        self.request.own();
        if self.promise.is_taken() {
            self.read_result();
            return self.complete(Ended::Done);
        }
        self.complete(Ended::Cancelled);
    }

    /// The provider completes a request that it has not given back.
    fn complete_if_held(&self) {
        let was_decided = std::mem::replace(&mut *self.decided.lock().unwrap(), true);
        if !was_decided {
            assert!(self.held_complete(), "a completion was not owed");
        }
    }

    /// The provider's method `cancel`. Returns whether it gives the request back.
    fn call_cancel(&self) -> bool {
        let times = self.asked.fetch_add(1, Ordering::SeqCst);
        match self.gives {
            Gives::Never => false,
            Gives::Honestly => !std::mem::replace(&mut *self.decided.lock().unwrap(), true),
            Gives::Falsely => true,
            Gives::SecondTime => times > 0,
        }
    }

    /// `ProviderRef::cancel`
    fn cancel(&self) -> Option<bool> {
        if self.promise.ask() == Ask::Busy {
            return Some(false);
        }
        let given_back = self.call_cancel();
        match self.promise.asked(given_back) {
            NotifyResult::Act => {
                self.take_owner(TOKEN);
                self.return_token();
                self.release();
                Some(true)
            }
            NotifyResult::Wrong => None,
            _ => Some(self.promise.is_over()),
        }
    }

    /// `RequestInner::finish_cancel`. Returns whether the request has ended, or `None` if it goes on.
    pub(super) fn finish_cancel(&self, cancel: Cancel) -> Option<bool> {
        if cancel == Cancel::Remembered {
            let ended = self.cancel();
            if ended.is_none() {
                self.request.state.uncancel();
            }
            return ended;
        }
        let taken = self.request.take_cancelled(cancel);
        if taken {
            self.complete(Ended::Cancelled);
        }
        Some(taken)
    }

    /// A task cancels the request.
    fn cancel_by_user(&self) -> Option<bool> {
        self.finish_cancel(self.request.state.cancel(CancelScope::User))
    }

    /// Returns how the request has ended. It has, and the provider owes nothing more.
    fn outcome(&self) -> Ended {
        assert_eq!(self.released.load(Ordering::SeqCst), 1, "not one release");
        assert!(self.promise.is_over());
        self.request.outcome()
    }
}

#[test]
fn a_kick_during_or_after_the_attempt_runs_the_request_again() {
    check(|| {
        let held = Held::new(Gives::Never);
        // The kick may come as soon as the method has been called.
        assert!(held.promise.begin());
        let provider = with(&held, Held::get_ready);
        held.owner.store(REFERENCE, Relaxed);
        if held.record(Promise::answer_retry) == AttemptResult::Kicked {
            held.drop_owner();
            held.request.kick();
        }
        if !held.request.park() {
            held.handle_kicks();
        }
        provider.join().unwrap();
        assert_eq!(held.outcome(), Ended::Done);
    });
}

/// The second kick is one too many, and changes nothing.
#[test]
fn of_two_kicks_one_counts() {
    check_three(|| {
        let held = Held::new(Gives::Never);
        held.attempt_retry();
        let kicks = [0, 1].map(|_| {
            with(&held, |held| {
                held.ready.store(true, Relaxed);
                held.kick()
            })
        });
        let counted = kicks.map(|kick| kick.join().unwrap());
        assert!(counted[0] || counted[1]);
        assert_eq!(held.outcome(), Ended::Done);
    });
}

#[test]
fn attempt_kick_and_cancel() {
    check_three(|| {
        let held = Held::new(Gives::Never);
        assert!(held.promise.begin());
        let provider = with(&held, |held| {
            held.ready.store(true, Relaxed);
            assert!(held.kick(), "a kick that was owed was refused");
        });
        let canceller = with(&held, Held::cancel_by_user);
        held.owner.store(REFERENCE, Relaxed);
        if held.record(Promise::answer_retry) == AttemptResult::Kicked {
            held.drop_owner();
            held.request.kick();
        }
        if !held.request.park() {
            held.handle_kicks();
        }
        provider.join().unwrap();
        let cancelled = canceller.join().unwrap();
        let ended = held.outcome();
        assert!(cancelled != Some(true) || ended == Ended::Cancelled);
    });
}

/// The request ends while a kick is owed. Either the kick gives the promise up, or the provider takes it
/// back; in either case the reference is released once.
#[test]
fn a_kick_that_is_owed_after_the_end_gives_the_promise_up() {
    for gives in [Gives::Never, Gives::Falsely] {
        check(move || {
            let held = Held::new(gives);
            held.attempt_retry();
            let provider = with(&held, Held::get_ready);
            let cancelled = held.cancel_by_user();
            provider.join().unwrap();
            assert!(cancelled != Some(true) || held.request.outcome() == Ended::Cancelled);
            held.outcome();
        });
    }
}

#[test]
fn a_completion_during_or_after_the_attempt_ends_the_request() {
    check(|| {
        let held = Held::new(Gives::Never);
        assert!(held.promise.begin());
        let provider = with(&held, |held| assert!(held.held_complete()));
        held.answer_queued();
        provider.join().unwrap();
        assert_eq!(held.outcome(), Ended::Done);
    });
}

/// A caller of read(2) waits until its request is over, and has no token to pass on: it reads the result
/// as soon as the promise says so (`provider::caller`).
#[test]
fn a_caller_reads_the_result_of_a_promise_that_is_over() {
    check(|| {
        let held = Held::new(Gives::Never);
        assert!(held.promise.begin());
        let provider = with(&held, |held| {
            assert!(held.promise.take());
            held.result.write(|result| *result = RESULT);
            held.promise.completed();
        });
        if held.record(Promise::answer_queued) == AttemptResult::Owed {
            while !held.promise.is_over() {
                thread::yield_now();
            }
        }
        held.read_result();
        provider.join().unwrap();
    });
}

/// A driver that breaks its contract completes twice, from two threads: the second completion is
/// refused, whenever it comes.
#[test]
fn of_two_completions_one_counts() {
    check_three(|| {
        let held = Held::new(Gives::Never);
        assert!(held.promise.begin());
        let completions = [0, 1].map(|_| with(&held, Held::held_complete));
        held.answer_queued();
        let counted = completions.map(|completion| completion.join().unwrap());
        assert!(counted[0] != counted[1], "{counted:?}");
        assert_eq!(held.outcome(), Ended::Done);
    });
}

/// A driver that breaks its contract completes a request and answers the attempt with something else.
#[test]
fn a_completion_against_the_contract_counts_once() {
    for answer in [Promise::answer_retry, Promise::answer_result] {
        check(move || {
            let held = Held::new(Gives::Falsely);
            assert!(held.promise.begin());
            let provider = with(&held, Held::held_complete);
            match held.record(answer) {
                AttemptResult::Completed => held.completed_early(),
                result => {
                    if result == AttemptResult::Nothing {
                        held.release();
                    }
                    held.complete(Ended::Cancelled);
                }
            }
            let counted = provider.join().unwrap();
            assert_eq!(counted, held.outcome() == Ended::Done);
        });
    }
}

#[test]
fn attempt_completion_and_cancel() {
    for gives in [Gives::Never, Gives::Honestly] {
        check_three(move || {
            let held = Held::new(gives);
            assert!(held.promise.begin());
            let provider = with(&held, Held::complete_if_held);
            let canceller = with(&held, Held::cancel_by_user);
            held.answer_queued();
            provider.join().unwrap();
            let cancelled = canceller.join().unwrap();
            let ended = held.outcome();
            assert!(gives != Gives::Never || ended == Ended::Done);
            assert!(cancelled.is_some() || ended == Ended::Done);
        });
    }
}

#[test]
fn a_completion_or_a_cancel_ends_a_request_that_a_provider_has() {
    for gives in [Gives::Never, Gives::Honestly] {
        check(move || {
            let held = Held::new(gives);
            held.attempt_queued();
            let provider = with(&held, Held::complete_if_held);
            held.cancel_by_user();
            provider.join().unwrap();
            assert!(gives != Gives::Never || held.outcome() == Ended::Done);
            held.outcome();
        });
    }
}

/// A driver that breaks its contract gives a request back and completes it, too: one of the two counts.
#[test]
fn a_request_that_is_given_back_and_completed_ends_once() {
    check(|| {
        let held = Held::new(Gives::Falsely);
        held.attempt_queued();
        let provider = with(&held, Held::held_complete);
        held.cancel_by_user();
        let counted = provider.join().unwrap();
        assert_eq!(counted, held.outcome() == Ended::Done);
    });
}

/// Two cancellers: the second one neither asks at the same time nor ends the request once more.
#[test]
fn two_cancellers_and_a_completion() {
    check_three(|| {
        let held = Held::new(Gives::Honestly);
        held.attempt_queued();
        let provider = with(&held, Held::complete_if_held);
        let other = with(&held, |held| held.finish_cancel(Cancel::Remembered));
        held.finish_cancel(Cancel::Remembered);
        provider.join().unwrap();
        other.join().unwrap();
        held.outcome();
    });
}

/// The kick that a provider owes comes after a full barrier: its exchange of the promise.
#[test]
fn a_kick_finds_a_request_that_is_queued() {
    with_barriers(|| {
        check(|| {
            let held = Held::new(Gives::Never);
            assert!(held.promise.begin());
            held.owner.store(REFERENCE, Relaxed);
            assert_eq!(held.promise.answer_retry().0, AttemptResult::Owed);
            let provider = with(&held, Held::get_ready);
            // The request waits in the run list until the kick has come.
            held.request.state.queue();
            held.request.push();
            provider.join().unwrap();
            held.handle_kicks();
            assert_eq!(held.outcome(), Ended::Done);
        });
    });
}
