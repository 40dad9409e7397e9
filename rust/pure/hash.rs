// SPDX-License-Identifier: GPL-2.0

//! Finds the bucket of a hash table that a key belongs to.

/// 2^64 divided by the golden ratio (`GOLDEN_RATIO_64` of linux/hash.h).
const GOLDEN: u64 = 0x61c8_8646_80b5_83eb;

/// Returns the size of a table for `entries`: a power of two, between 8 and 64 Ki.
pub(crate) fn buckets_for(entries: u32) -> usize {
    (entries / 2).clamp(8, 1 << 16).next_power_of_two() as usize
}

/// Returns the bucket of `key` in a table of `buckets`, which must not be 0.
pub(crate) fn bucket(key: u64, buckets: usize) -> usize {
    (key.wrapping_mul(GOLDEN) >> 32) as usize % buckets
}
