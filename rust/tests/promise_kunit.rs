// SPDX-License-Identifier: GPL-2.0

//! Suite `kaio_promise`: every transition of what a provider owes.

use kernel::prelude::*;

#[kunit_tests(kaio_promise)]
mod suite {
    use crate::{
        pure::promise::{
            Ask,
            End,
            Left,
            Promise,
            Told, //
        },
        sys::request::Cell,
    };

    fn promise() -> Promise<Cell> {
        Promise::new(Cell::new())
    }

    /// During an attempt.
    fn running() -> Promise<Cell> {
        let p = promise();
        p.begin();
        p
    }

    /// A kick is owed.
    fn kick_owed() -> Promise<Cell> {
        let p = running();
        p.answer_retry();
        p
    }

    /// A completion is owed.
    fn completion_owed() -> Promise<Cell> {
        let p = running();
        p.answer_queued();
        p
    }

    #[test]
    fn nothing_is_owed_before_an_attempt() {
        let p = promise();
        assert_eq!(p.kick(), Told::Wrong);
        assert!(!p.take());
        assert_eq!(p.ask(), Ask::Busy);
        assert!(p.begin());
        assert!(!p.begin());
    }

    #[test]
    fn a_result_is_the_end() {
        let p = running();
        assert_eq!(p.answer_result(), (Left::Nothing, false));
        assert!(p.is_over());
        assert!(!p.begin());
        assert_eq!(p.kick(), Told::Wrong);
        assert!(!p.take());
        assert_eq!(p.end(), End::Before);
    }

    #[test]
    fn one_kick_for_each_answer() {
        let p = kick_owed();
        assert!(!p.is_kicked());
        assert_eq!(p.kick(), Told::Act);
        assert!(p.is_kicked());
        assert_eq!(p.kick(), Told::Wrong);
        assert!(p.begin());
        assert_eq!(p.answer_retry(), (Left::Owed, false));
        assert_eq!(p.kick(), Told::Act);
    }

    #[test]
    fn a_kick_before_the_answer_is_remembered_once() {
        let p = running();
        assert_eq!(p.kick(), Told::Remembered);
        assert_eq!(p.kick(), Told::Wrong);
        assert_eq!(p.answer_retry(), (Left::Kicked, false));
        assert!(p.begin());
        // It was for the first attempt.
        assert_eq!(p.answer_retry(), (Left::Owed, false));
    }

    #[test]
    fn a_kick_before_a_result_was_not_owed() {
        let p = running();
        assert_eq!(p.kick(), Told::Remembered);
        assert_eq!(p.answer_result(), (Left::Nothing, true));
    }

    #[test]
    fn one_completion() {
        let p = completion_owed();
        assert!(p.take());
        assert!(!p.take());
        assert_eq!(p.completed(), Told::Act);
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
        assert_eq!(p.kick(), Told::Wrong);
        assert_eq!(p.completed(), Told::Remembered);
        assert_eq!(p.answer_queued(), (Left::Completed, false));
        assert!(p.is_over());
        // Whose result it is.
        assert!(p.is_taken());
    }

    #[test]
    fn a_completion_across_the_answer_acts() {
        let p = running();
        assert!(p.take());
        assert_eq!(p.answer_queued(), (Left::Owed, false));
        // Its end is the completion's.
        assert_eq!(p.ask(), Ask::Busy);
        assert_eq!(p.completed(), Told::Act);
    }

    #[test]
    fn the_wrong_promise_is_seen() {
        // Kicked, and to be completed.
        let p = running();
        assert_eq!(p.kick(), Told::Remembered);
        assert_eq!(p.answer_queued(), (Left::Owed, true));
        assert!(p.take());
        assert_eq!(p.completed(), Told::Act);
        // Completed, and to be kicked.
        let p = running();
        assert!(p.take());
        assert_eq!(p.answer_retry(), (Left::Busy, false));
        assert_eq!(p.completed(), Told::Remembered);
        assert_eq!(p.answer_retry(), (Left::Completed, true));
        assert!(p.is_taken());
        // Completed, and a result.
        let p = running();
        assert!(p.take());
        assert_eq!(p.answer_result(), (Left::Busy, false));
        assert_eq!(p.completed(), Told::Remembered);
        assert_eq!(p.answer_result(), (Left::Completed, true));
        assert!(p.is_taken());
        // Not what was promised.
        let p = kick_owed();
        assert!(!p.take());
        assert_eq!(p.kick(), Told::Act);
        let p = completion_owed();
        assert_eq!(p.kick(), Told::Wrong);
        assert!(p.take());
    }

    #[test]
    fn a_kick_after_the_end_lets_go_once() {
        let p = kick_owed();
        assert_eq!(p.end(), End::Owed);
        assert!(!p.is_over());
        assert_eq!(p.kick(), Told::LetGo);
        assert!(p.is_over());
        assert_eq!(p.kick(), Told::Wrong);
        assert!(!p.given_up());
    }

    #[test]
    fn a_promise_that_is_taken_back_after_the_end() {
        let p = kick_owed();
        assert!(!p.given_up());
        assert_eq!(p.end(), End::Owed);
        assert!(p.given_up());
        assert!(!p.given_up());
        assert_eq!(p.kick(), Told::Wrong);
    }

    #[test]
    fn a_request_that_ends_between_attempts_owes_nothing() {
        let p = kick_owed();
        assert_eq!(p.kick(), Told::Act);
        assert_eq!(p.end(), End::Over);
        assert!(p.is_over());
        assert_eq!(promise().end(), End::Over);
    }

    #[test]
    fn who_gives_a_completion_back_must_not_complete() {
        let p = completion_owed();
        assert_eq!(p.ask(), Ask::Ask);
        // One at a time.
        assert_eq!(p.ask(), Ask::Busy);
        assert_eq!(p.asked(true), Told::Act);
        assert!(p.is_over());
        assert!(!p.is_taken());
        assert!(!p.take());
    }

    #[test]
    fn who_keeps_a_completion_is_asked_again() {
        let p = completion_owed();
        assert_eq!(p.ask(), Ask::Ask);
        assert_eq!(p.asked(false), Told::Wrong);
        assert_eq!(p.ask(), Ask::Ask);
        assert_eq!(p.asked(true), Told::Act);
    }

    #[test]
    fn a_completion_while_the_provider_is_asked_is_the_end() {
        for gave in [false, true] {
            let p = completion_owed();
            assert_eq!(p.ask(), Ask::Ask);
            assert!(p.take());
            assert_eq!(p.completed(), Told::Act);
            assert_eq!(p.asked(gave), Told::Remembered);
            assert!(p.is_over());
        }
        // It is about to.
        let p = completion_owed();
        assert_eq!(p.ask(), Ask::Ask);
        assert!(p.take());
        assert_eq!(p.asked(true), Told::Remembered);
        assert!(!p.is_over());
        assert_eq!(p.completed(), Told::Act);
    }

    #[test]
    fn only_a_completion_that_is_owed_is_asked_for() {
        assert_eq!(running().ask(), Ask::Busy);
        assert_eq!(kick_owed().ask(), Ask::Busy);
    }
}
