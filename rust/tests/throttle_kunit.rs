// SPDX-License-Identifier: GPL-2.0

//! Suite `kaio_throttle`: how many transfers a submit call tries.

use kernel::prelude::*;

#[kunit_tests(kaio_throttle)]
mod suite {
    use crate::pure::throttle::Throttle;

    const READ: (usize, bool) = (1, false);
    const WRITE: (usize, bool) = (1, true);

    /// Returns how many of `want` transfers are tried. A driver keeps each of them.
    fn tried(throttle: &mut Throttle, want: u32, tags: u32, done: u64) -> u32 {
        let mut tried = 0;
        for _ in 0..want {
            if throttle.may_start(READ, || tags, || done) {
                throttle.started(false);
                tried += 1;
            }
        }
        tried
    }

    #[test]
    fn as_many_are_tried_as_there_are_tags() {
        let mut throttle = Throttle::new();
        assert_eq!(tried(&mut throttle, 10, 4, 0), 4);
        assert_eq!(tried(&mut Throttle::new(), 3, u32::MAX, 0), 3);
        assert_eq!(tried(&mut Throttle::new(), 3, 1, 0), 1);
    }

    #[test]
    fn the_device_is_asked_when_a_second_transfer_comes() {
        let asked = core::cell::Cell::new(0);
        let tags = || {
            asked.set(asked.get() + 1);
            4
        };
        let mut throttle = Throttle::new();
        assert!(throttle.may_start(READ, tags, || 0));
        // The first transfer has ended in the call, and the device has none in hand.
        assert!(throttle.may_start(READ, tags, || 0));
        assert_eq!(asked.get(), 0);
        throttle.started(false);
        assert!(throttle.may_start(READ, tags, || 0));
        assert_eq!(asked.get(), 1);
        throttle.started(false);
        assert!(throttle.may_start(READ, tags, || 0));
        assert_eq!(asked.get(), 1);
    }

    #[test]
    fn a_completed_transfer_makes_room_for_another() {
        let mut throttle = Throttle::new();
        assert_eq!(tried(&mut throttle, 10, 4, 100), 4);
        assert_eq!(tried(&mut throttle, 10, 4, 102), 2);
        assert_eq!(tried(&mut throttle, 10, 4, 102), 0);
        // The count of completed transfers never decreases. If it did, no transfer would be tried.
        assert_eq!(tried(&mut throttle, 10, 4, 1), 0);
    }

    #[test]
    fn after_a_refusal_none_is_tried() {
        let mut throttle = Throttle::new();
        assert!(throttle.may_start(READ, || 4, || 0));
        throttle.started(true);
        assert!(!throttle.may_start(READ, || 4, || 50));
        // A transfer in the other direction asks the device again, and so does the first one after
        // that.
        assert!(throttle.may_start(WRITE, || 4, || 50));
        assert!(throttle.may_start(READ, || 4, || 50));
    }

    #[test]
    fn a_transfer_that_ended_in_the_call_takes_no_room() {
        let mut throttle = Throttle::new();
        for _ in 0..10 {
            assert!(throttle.may_start(READ, || 1, || 0));
        }
    }
}
