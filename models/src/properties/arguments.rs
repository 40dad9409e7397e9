// SPDX-License-Identifier: GPL-2.0

//! `pure/args.rs` and `pure/limits.rs`, compared with numbers that are wide enough.

use crate::pure::{
    args::{deadline, events_wanted, iocb_len_ok, rest, time_left, timeout_ns, FOREVER},
    limits::{charge, plenty, uncharge},
};
use proptest::prelude::*;

/// Returns the nearest number that fits.
fn saturate(wide: i128) -> i64 {
    wide.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// A number of any size, most often near the ends of the range or near 0.
fn edgy() -> impl Strategy<Value = i64> {
    prop_oneof![
        any::<i64>(),
        -3i64..=3,
        Just(i64::MAX),
        Just(i64::MAX - 1),
        Just(i64::MIN),
        -2_000_000_000i64..2_000_000_000,
    ]
}

proptest! {
    #[test]
    fn timeouts_saturate(sec in edgy(), nsec in edgy()) {
        let seconds = saturate(i128::from(sec) * 1_000_000_000);
        prop_assert_eq!(timeout_ns(sec, nsec), saturate(i128::from(seconds) + i128::from(nsec)));
    }

    #[test]
    fn a_deadline_passes_when_its_timeout_is_over(
        now in 0..i64::MAX / 2,
        timeout in edgy(),
        later in 0..i64::MAX / 2,
    ) {
        let end = deadline(now, timeout);
        prop_assert_eq!(end, saturate(i128::from(now) + i128::from(timeout)));
        let left = time_left(now.saturating_add(later), end);
        if end == FOREVER {
            prop_assert_eq!(left, FOREVER);
        } else {
            prop_assert_eq!(left <= 0, i128::from(now) + i128::from(later) >= end.into());
            prop_assert!(i128::from(left) <= i128::from(timeout));
        }
    }

    #[test]
    fn numbers_of_events_are_checked(min in edgy(), nr in edgy()) {
        let valid = 0 <= min && min <= nr;
        prop_assert_eq!(events_wanted(min, nr), valid.then_some((min as u64, nr as u64)));
    }

    #[test]
    fn lengths_fit_into_ssize_t(len in prop_oneof![any::<u64>(), (1u64 << 63) - 2..(1 << 63) + 2]) {
        prop_assert_eq!(iocb_len_ok(len), len <= i64::MAX as u64);
    }

    #[test]
    fn the_rest_is_what_is_left(len in any::<usize>(), done in any::<usize>()) {
        prop_assert_eq!(rest(len, done) as i128, (len as i128 - done as i128).max(0));
    }

    #[test]
    fn a_charge_stays_within_its_limit(
        nr in prop_oneof![any::<u64>(), 0..20u64],
        more in prop_oneof![any::<u32>(), 0..20u32],
        max in prop_oneof![any::<u64>(), 0..40u64],
    ) {
        let sum = u128::from(nr) + u128::from(more);
        prop_assert_eq!(charge(nr, more, max).map(u128::from), (sum <= max.into()).then_some(sum));
        if let Some(charged) = charge(nr, more, max) {
            prop_assert_eq!(uncharge(charged, more), nr);
        }
        prop_assert_eq!(uncharge(nr, more), nr - nr.min(more.into()));
    }

    /// Contexts that ask for what they get may use both halves of the limit.
    #[test]
    fn plenty_is_half_of_the_limit(max in any::<u64>()) {
        prop_assert!(plenty(max) <= max - plenty(max));
        prop_assert!(max - plenty(max) - plenty(max) <= 1);
    }
}
