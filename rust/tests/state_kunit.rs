// SPDX-License-Identifier: GPL-2.0

//! Suite `kaio_state`: every transition of a request.

use kernel::prelude::*;

#[kunit_tests(kaio_state)]
mod suite {
    use crate::pure::state::{
        Cancel,
        Kick,
        Spare,
        State,
        Word, //
    };
    use core::cell::Cell;

    /// A word for one thread, whose next exchange can be made to lose to somebody else's.
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

    /// The word after a kick during the first run.
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
        assert_eq!(s.cancel(Spare::Away), Cancel::Nothing);
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
        assert_eq!(s.cancel(Spare::Away), Cancel::Remembered);
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
        assert_eq!(s.cancel(Spare::Away), Cancel::Take);
        assert_eq!(s.kick(), Kick::Nothing);
        assert_eq!(s.cancel(Spare::Away), Cancel::Nothing);
        assert!(s.claim());
        assert!(s.is_cancelled());
    }

    #[test]
    fn cancel_marks_what_a_kick_has_queued() {
        let s = state();
        assert!(s.park());
        assert_eq!(s.kick(), Kick::Queue);
        assert_eq!(s.cancel(Spare::Away), Cancel::Dequeue);
        assert!(s.claim());
        assert!(s.is_cancelled());
    }

    #[test]
    fn cancel_leaves_alone_what_a_driver_has() {
        let s = state();
        s.lend();
        s.left();
        assert_eq!(s.cancel(Spare::Away), Cancel::Nothing);
        s.give_back();
        // Back before the call was over.
        s.lend();
        s.give_back();
        s.left();
        assert_eq!(s.cancel(Spare::Away), Cancel::Remembered);
    }

    #[test]
    fn the_end_of_a_context_reaches_what_a_driver_has() {
        let s = state();
        s.lend();
        s.left();
        assert_eq!(s.cancel(Spare::Pledged), Cancel::Remembered);
        s.give_back();
        assert!(s.is_cancelled());
    }

    #[test]
    fn a_pledge_holds_until_it_is_taken_back() {
        let s = state();
        s.pledge();
        s.queue();
        assert_eq!(s.cancel(Spare::Pledged), Cancel::Nothing);
        assert!(!s.is_cancelled());
        assert!(s.claim());
        assert_eq!(s.cancel(Spare::Pledged), Cancel::Nothing);
        s.unpledge();
        assert_eq!(s.cancel(Spare::Pledged), Cancel::Remembered);
        assert!(s.is_cancelled());
    }

    #[test]
    fn a_pledge_holds_while_it_waits_for_its_turn() {
        let s = state();
        s.pledge();
        assert!(s.park());
        assert_eq!(s.cancel(Spare::Pledged), Cancel::Nothing);
        assert_eq!(s.cancel(Spare::Away), Cancel::Take);
        assert!(s.claim());
        assert!(s.is_cancelled());
    }

    #[test]
    fn a_kick_between_look_and_park_is_not_lost() {
        let s = state_with_rival(Some(kicked()));
        assert!(!s.park());
        assert!(s.park());
    }
}
