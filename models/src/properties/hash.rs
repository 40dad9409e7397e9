// SPDX-License-Identifier: GPL-2.0

//! `pure/hash.rs`: every key has a bucket, and the addresses of iocbs spread.

use crate::pure::hash::{bucket, buckets_for};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_table_has_a_power_of_two_of_buckets(entries in prop_oneof![any::<u32>(), 0..300_000u32]) {
        let buckets = buckets_for(entries);
        prop_assert!(buckets.is_power_of_two());
        prop_assert!((8..=1 << 16).contains(&buckets));
        // A list has two entries on average, unless the table has its largest or smallest size.
        let half = (entries / 2) as usize;
        prop_assert!(buckets == 1 << 16 || buckets >= half);
        prop_assert!(buckets == 8 || half >= buckets || buckets / 2 < half);
    }

    #[test]
    fn each_key_has_a_bucket(key in any::<u64>(), buckets in 1..70_000usize) {
        prop_assert!(bucket(key, buckets) < buckets);
    }

    /// An array of structs of up to 512 bytes, each with its iocb, uses a good part of the buckets.
    #[test]
    fn neighbours_spread(base in any::<u64>(), stride in 1..=8u64, shift in 3..12u32) {
        let buckets = 1usize << shift;
        let mut used = vec![false; buckets];
        for i in 0..buckets as u64 * 4 {
            used[bucket(base.wrapping_add(i * stride * 64), buckets)] = true;
        }
        let used = used.iter().filter(|used| **used).count();
        prop_assert!(used * 3 > buckets, "{used} of {buckets}");
    }
}

/// The bucket is in the upper half of the product, on which all bits of the lower half of a key act.
#[test]
fn the_multiplier_is_the_kernels() {
    assert_eq!(bucket(1, 1 << 16), 0x8646);
    assert_eq!(bucket(1 << 32, 1 << 16), 0x83eb);
}
