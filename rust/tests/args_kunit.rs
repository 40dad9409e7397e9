// SPDX-License-Identifier: GPL-2.0

//! Suite `kaio_args`: arguments and limits at the ends of their ranges.

use kernel::prelude::*;

#[kunit_tests(kaio_args)]
mod suite {
    use crate::pure::{
        args::{
            deadline,
            events_wanted,
            iocb_len_ok,
            rest,
            time_left,
            timeout_ns,
            FOREVER, //
        },
        limits::{
            charge,
            uncharge, //
        },
    };

    #[test]
    fn timeouts_saturate() {
        assert_eq!(timeout_ns(0, 0), 0);
        assert_eq!(timeout_ns(1, 5), 1_000_000_005);
        assert_eq!(timeout_ns(0, 1_000_000_000), 1_000_000_000);
        assert_eq!(timeout_ns(i64::MAX, 0), FOREVER);
        assert_eq!(timeout_ns(i64::MAX, i64::MAX), FOREVER);
        assert!(timeout_ns(-1, 0) < 0);
        assert!(timeout_ns(i64::MIN, i64::MIN) < 0);
    }

    #[test]
    fn deadlines_and_time_left_saturate() {
        assert_eq!(deadline(5, 10), 15);
        assert_eq!(deadline(5, -10), -5);
        assert_eq!(deadline(0, FOREVER), FOREVER);
        assert_eq!(deadline(5, FOREVER), FOREVER);
        assert_eq!(deadline(5, FOREVER - 1), FOREVER);
        assert_eq!(time_left(5, 15), 10);
        assert_eq!(time_left(15, 15), 0);
        assert!(time_left(16, 15) < 0);
        assert!(time_left(i64::MAX, i64::MIN) < 0);
        assert_eq!(time_left(0, FOREVER), FOREVER);
        assert_eq!(time_left(5, FOREVER), FOREVER);
        assert_eq!(time_left(5, FOREVER - 1), FOREVER - 6);
    }

    #[test]
    fn events_wanted_are_ordered_and_not_negative() {
        assert_eq!(events_wanted(0, 0), Some((0, 0)));
        assert_eq!(events_wanted(3, 3), Some((3, 3)));
        assert_eq!(events_wanted(0, i64::MAX), Some((0, i64::MAX as u64)));
        assert_eq!(events_wanted(2, 1), None);
        assert_eq!(events_wanted(-1, 1), None);
        assert_eq!(events_wanted(0, -1), None);
        assert_eq!(events_wanted(i64::MIN, i64::MIN), None);
    }

    #[test]
    fn lengths_fit_ssize() {
        assert!(iocb_len_ok(0));
        assert!(iocb_len_ok(i64::MAX as u64));
        assert!(!iocb_len_ok(i64::MAX as u64 + 1));
        assert!(!iocb_len_ok(u64::MAX));
        assert_eq!(rest(10, 4), 6);
        assert_eq!(rest(4, 10), 0);
    }

    #[test]
    fn the_limit_is_reached_exactly() {
        assert_eq!(charge(90, 10, 100), Some(100));
        assert_eq!(charge(91, 10, 100), None);
        assert_eq!(charge(u64::MAX, 1, u64::MAX), None);
        assert_eq!(charge(200, 1, 100), None);
        assert_eq!(uncharge(100, 10), 90);
        assert_eq!(uncharge(5, 10), 0);
    }
}
