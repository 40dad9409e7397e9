// SPDX-License-Identifier: LGPL-2.1-or-later

//! A hash map for keys that are numbers or addresses, which need no secret.

use core::hash::{BuildHasherDefault, Hasher};
use std::collections::HashMap;

/// Hashes by multiplication.
#[derive(Default)]
pub(super) struct MultiplyHasher(u64);

impl Hasher for MultiplyHasher {
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_i32(&mut self, number: i32) {
        self.write_u64(u64::from(number as u32));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

pub(super) type Map<K, V> = HashMap<K, V, BuildHasherDefault<MultiplyHasher>>;

pub(super) const fn new_map<K, V>() -> Map<K, V> {
    HashMap::with_hasher(BuildHasherDefault::new())
}
