// SPDX-License-Identifier: GPL-2.0

//! Suite `kaio_promise`: every transition of a provider's promise.

use kernel::prelude::*;

#[kunit_tests(kaio_promise)]
mod suite {
    use crate::{
        pure::promise::{
            Ask,
            AttemptResult,
            End,
            NotifyResult, //
            Promise,
        },
        sys::word::AtomicWord, //
    };

    fn promise() -> Promise<AtomicWord> {
        Promise::new(AtomicWord::new())
    }

    /// Returns a promise during an attempt.
    fn running() -> Promise<AtomicWord> {
        let p = promise();
        p.begin();
        p
    }

    /// Returns a promise of which a kick is owed.
    fn kick_owed() -> Promise<AtomicWord> {
        let p = running();
        p.answer_retry();
        p
    }

    /// Returns a promise of which a completion is owed.
    fn completion_owed() -> Promise<AtomicWord> {
        let p = running();
        p.answer_queued();
        p
    }

    #[test]
    fn nothing_is_owed_before_an_attempt() {
        let p = promise();
        assert_eq!(p.kick(), NotifyResult::Wrong);
        assert!(!p.take());
        assert_eq!(p.ask(), Ask::Busy);
        assert!(p.begin());
        assert!(!p.begin());
    }

    #[test]
    fn a_result_ends_the_promise() {
        let p = running();
        assert_eq!(p.answer_result(), (AttemptResult::Nothing, false));
        assert!(p.is_over());
        assert!(!p.begin());
        assert_eq!(p.kick(), NotifyResult::Wrong);
        assert!(!p.take());
        assert_eq!(p.end(), End::Before);
    }

    #[test]
    fn one_kick_is_taken_for_each_answer() {
        let p = kick_owed();
        assert!(!p.is_kicked());
        assert_eq!(p.kick(), NotifyResult::Act);
        assert!(p.is_kicked());
        assert_eq!(p.kick(), NotifyResult::Wrong);
        assert!(p.begin());
        assert_eq!(p.answer_retry(), (AttemptResult::Owed, false));
        assert_eq!(p.kick(), NotifyResult::Act);
    }

    #[test]
    fn a_kick_before_the_answer_is_remembered_once() {
        let p = running();
        assert_eq!(p.kick(), NotifyResult::Remembered);
        assert_eq!(p.kick(), NotifyResult::Wrong);
        assert_eq!(p.answer_retry(), (AttemptResult::Kicked, false));
        assert!(p.begin());
        // The kick was for the first attempt.
        assert_eq!(p.answer_retry(), (AttemptResult::Owed, false));
    }

    #[test]
    fn a_kick_before_a_result_was_not_owed() {
        let p = running();
        assert_eq!(p.kick(), NotifyResult::Remembered);
        assert_eq!(p.answer_result(), (AttemptResult::Nothing, true));
    }

    #[test]
    fn one_completion_is_taken() {
        let p = completion_owed();
        assert!(p.take());
        assert!(!p.take());
        assert_eq!(p.completed(), NotifyResult::Act);
        assert!(p.is_over());
        assert!(p.is_taken());
        assert!(!p.take());
        assert_eq!(p.end(), End::Before);
    }

    #[test]
    fn a_completion_before_the_answer_is_remembered() {
        let p = running();
        assert!(p.take());
        assert!(!p.take());
        assert_eq!(p.kick(), NotifyResult::Wrong);
        assert_eq!(p.completed(), NotifyResult::Remembered);
        assert_eq!(p.answer_queued(), (AttemptResult::Completed, false));
        assert!(p.is_over());
        // The completion has the result.
        assert!(p.is_taken());
    }

    #[test]
    fn a_completion_that_spans_the_answer_is_taken() {
        let p = running();
        assert!(p.take());
        assert_eq!(p.answer_queued(), (AttemptResult::Owed, false));
        // The completion is under way, so it ends the request.
        assert_eq!(p.ask(), Ask::Busy);
        assert_eq!(p.completed(), NotifyResult::Act);
    }

    #[test]
    fn broken_promises_are_reported() {
        // The provider kicks, and answers "queued".
        let p = running();
        assert_eq!(p.kick(), NotifyResult::Remembered);
        assert_eq!(p.answer_queued(), (AttemptResult::Owed, true));
        assert!(p.take());
        assert_eq!(p.completed(), NotifyResult::Act);
        // The provider completes, and answers "retry".
        let p = running();
        assert!(p.take());
        assert_eq!(p.answer_retry(), (AttemptResult::Busy, false));
        assert_eq!(p.completed(), NotifyResult::Remembered);
        assert_eq!(p.answer_retry(), (AttemptResult::Completed, true));
        assert!(p.is_taken());
        // The provider completes, and answers with a result.
        let p = running();
        assert!(p.take());
        assert_eq!(p.answer_result(), (AttemptResult::Busy, false));
        assert_eq!(p.completed(), NotifyResult::Remembered);
        assert_eq!(p.answer_result(), (AttemptResult::Completed, true));
        assert!(p.is_taken());
        // The provider does the other thing than it has promised.
        let p = kick_owed();
        assert!(!p.take());
        assert_eq!(p.kick(), NotifyResult::Act);
        let p = completion_owed();
        assert_eq!(p.kick(), NotifyResult::Wrong);
        assert!(p.take());
    }

    #[test]
    fn a_kick_after_the_end_gives_the_promise_up_once() {
        let p = kick_owed();
        assert_eq!(p.end(), End::Owed);
        assert!(!p.is_over());
        assert_eq!(p.kick(), NotifyResult::LetGo);
        assert!(p.is_over());
        assert_eq!(p.kick(), NotifyResult::Wrong);
        assert!(!p.given_up());
    }

    #[test]
    fn a_promise_taken_back_after_the_end_is_given_up_once() {
        let p = kick_owed();
        assert!(!p.given_up());
        assert_eq!(p.end(), End::Owed);
        assert!(p.given_up());
        assert!(!p.given_up());
        assert_eq!(p.kick(), NotifyResult::Wrong);
    }

    #[test]
    fn a_request_that_ends_between_attempts_owes_nothing() {
        let p = kick_owed();
        assert_eq!(p.kick(), NotifyResult::Act);
        assert_eq!(p.end(), End::Over);
        assert!(p.is_over());
        assert_eq!(promise().end(), End::Over);
    }

    #[test]
    fn a_provider_that_gave_back_must_not_complete() {
        let p = completion_owed();
        assert_eq!(p.ask(), Ask::Ask);
        // Only one caller asks at a time.
        assert_eq!(p.ask(), Ask::Busy);
        assert_eq!(p.asked(true), NotifyResult::Act);
        assert!(p.is_over());
        assert!(!p.is_taken());
        assert!(!p.take());
    }

    #[test]
    fn a_provider_that_refused_is_asked_again() {
        let p = completion_owed();
        assert_eq!(p.ask(), Ask::Ask);
        assert_eq!(p.asked(false), NotifyResult::Wrong);
        assert_eq!(p.ask(), Ask::Ask);
        assert_eq!(p.asked(true), NotifyResult::Act);
    }

    #[test]
    fn a_completion_while_the_provider_is_asked_is_the_end() {
        for gave in [false, true] {
            let p = completion_owed();
            assert_eq!(p.ask(), Ask::Ask);
            assert!(p.take());
            assert_eq!(p.completed(), NotifyResult::Act);
            assert_eq!(p.asked(gave), NotifyResult::Remembered);
            assert!(p.is_over());
        }
        // The provider is about to complete.
        let p = completion_owed();
        assert_eq!(p.ask(), Ask::Ask);
        assert!(p.take());
        assert_eq!(p.asked(true), NotifyResult::Remembered);
        assert!(!p.is_over());
        assert_eq!(p.completed(), NotifyResult::Act);
    }

    #[test]
    fn only_a_completion_that_is_owed_is_asked_for() {
        assert_eq!(running().ask(), Ask::Busy);
        assert_eq!(kick_owed().ask(), Ask::Busy);
    }
}
