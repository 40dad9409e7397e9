// SPDX-License-Identifier: GPL-2.0

//! Suite `kaio_state`: every transition of a request's state.

use kernel::prelude::*;

#[kunit_tests(kaio_state)]
mod suite {
    use crate::pure::state::{
        Cancel,
        CancelScope,
        Kick,
        State,
        Word, //
    };
    use core::cell::Cell;

    /// A word for one thread. Its next exchange can be made to fail, as if another thread had
    /// stored the value of `rival` before.
    struct Plain {
        value: Cell<u32>,
        rival: Cell<Option<u32>>,
    }

    impl Word for Plain {
        fn load(&self) -> u32 {
            self.value.get()
        }

        fn swap_if(&self, old: u32, new: u32) -> Result<(), u32> {
            if let Some(theirs) = self.rival.take() {
                self.value.set(theirs);
            }
            if self.value.get() != old {
                return Err(self.value.get());
            }
            self.value.set(new);
            Ok(())
        }

        fn set(&self, value: u32) {
            self.value.set(value);
        }
    }

    fn state_with_rival(rival: Option<u32>) -> State<Plain> {
        State::new(Plain {
            value: Cell::new(0),
            rival: Cell::new(rival),
        })
    }

    fn state() -> State<Plain> {
        state_with_rival(None)
    }

    /// Returns the word after a kick during the first run.
    fn kicked() -> u32 {
        let word = Plain {
            value: Cell::new(0),
            rival: Cell::new(None),
        };
        let s = State::new(word);
        s.kick();
        s.into_word().value.get()
    }

    #[test]
    fn a_run_ends_once() {
        let s = state();
        assert!(!s.claim());
        assert!(s.done());
        assert!(!s.done());
        assert!(!s.claim());
        assert!(!s.park());
        assert_eq!(s.kick(), Kick::Nothing);
        assert_eq!(s.cancel(CancelScope::User), Cancel::Nothing);
    }

    #[test]
    fn a_queued_request_is_claimed_once() {
        let s = state();
        s.queue();
        assert!(!s.done());
        assert_eq!(s.kick(), Kick::Nothing);
        assert!(s.claim());
        assert!(!s.claim());
        assert!(s.done());
    }

    #[test]
    fn one_kick_takes_a_parked_request() {
        let s = state();
        assert!(s.park());
        assert!(!s.claim());
        assert!(!s.done());
        assert_eq!(s.kick(), Kick::Queue);
        assert_eq!(s.kick(), Kick::Nothing);
        assert!(s.claim());
        assert!(s.done());
    }

    #[test]
    fn a_kick_during_a_run_is_remembered_once() {
        let s = state();
        assert_eq!(s.kick(), Kick::Remembered);
        assert_eq!(s.kick(), Kick::Remembered);
        assert!(!s.park());
        assert!(s.park());
        assert_eq!(s.kick(), Kick::Queue);
    }

    #[test]
    fn a_claim_forgets_older_kicks() {
        let s = state();
        assert_eq!(s.kick(), Kick::Remembered);
        s.queue();
        assert!(s.claim());
        assert!(s.park());
    }

    #[test]
    fn a_cancelled_request_never_parks() {
        let s = state();
        assert!(!s.is_cancelled());
        assert_eq!(s.cancel(CancelScope::User), Cancel::Remembered);
        assert!(s.is_cancelled());
        assert!(!s.park());
        assert!(!s.park());
        s.queue();
        assert!(s.claim());
        assert!(s.is_cancelled());
        assert!(s.done());
    }

    #[test]
    fn cancel_takes_a_parked_request_from_a_later_kick() {
        let s = state();
        assert!(s.park());
        assert_eq!(s.cancel(CancelScope::User), Cancel::Take);
        assert_eq!(s.kick(), Kick::Nothing);
        assert_eq!(s.cancel(CancelScope::User), Cancel::Nothing);
        assert!(s.claim());
        assert!(s.is_cancelled());
    }

    #[test]
    fn cancel_marks_a_request_that_a_kick_queued() {
        let s = state();
        assert!(s.park());
        assert_eq!(s.kick(), Kick::Queue);
        assert_eq!(s.cancel(CancelScope::User), Cancel::Dequeue);
        assert!(s.claim());
        assert!(s.is_cancelled());
    }

    #[test]
    fn cancel_by_a_task_spares_a_request_in_flight() {
        let s = state();
        s.begin_issue();
        s.left();
        assert_eq!(s.cancel(CancelScope::User), Cancel::Nothing);
        s.give_back();
        // The token comes back before the call is over.
        s.begin_issue();
        s.give_back();
        s.left();
        assert_eq!(s.cancel(CancelScope::User), Cancel::Remembered);
    }

    #[test]
    fn the_end_of_a_context_marks_a_request_in_flight() {
        let s = state();
        s.begin_issue();
        s.left();
        assert_eq!(s.cancel(CancelScope::Exit), Cancel::Remembered);
        s.give_back();
        assert!(s.is_cancelled());
    }

    #[test]
    fn must_run_holds_until_it_is_cleared() {
        let s = state();
        s.set_must_run();
        s.queue();
        assert_eq!(s.cancel(CancelScope::Exit), Cancel::Nothing);
        assert!(!s.is_cancelled());
        assert!(s.claim());
        assert_eq!(s.cancel(CancelScope::Exit), Cancel::Nothing);
        s.clear_must_run();
        assert_eq!(s.cancel(CancelScope::Exit), Cancel::Remembered);
        assert!(s.is_cancelled());
    }

    #[test]
    fn must_run_holds_while_the_request_waits_for_its_turn() {
        let s = state();
        s.set_must_run();
        assert!(s.park());
        assert_eq!(s.cancel(CancelScope::Exit), Cancel::Nothing);
        assert_eq!(s.cancel(CancelScope::User), Cancel::Take);
        assert!(s.claim());
        assert!(s.is_cancelled());
    }

    #[test]
    fn a_kick_that_races_with_park_is_not_lost() {
        let s = state_with_rival(Some(kicked()));
        assert!(!s.park());
        assert!(s.park());
    }
}
