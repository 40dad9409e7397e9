// SPDX-License-Identifier: LGPL-2.1-or-later

//! The arithmetic of the ring, on memory that a test lays out as the kernel does.

use std::thread;
use std::vec;
use std::vec::Vec;

use super::*;

/// The number of words of 64 bits in the head of the ring.
const HEAD: usize = size_of::<kaio_ring>() / 8;
/// The number of words of 64 bits in an event.
const EVENT: usize = size_of::<io_event>() / 8;

/// A ring and the kernel's side of it.
struct Fake {
    memory: *mut u64,
    words: usize,
    slots: u32,
}

impl Fake {
    fn new(slots: u32) -> Self {
        let words = HEAD + slots as usize * EVENT;
        let memory = vec![0u64; words].into_boxed_slice();
        let fake = Self {
            memory: Vec::leak(memory.into_vec()).as_mut_ptr(),
            words,
            slots,
        };
        // SAFETY: the memory is large enough for the head, aligned, and no other code has it.
        unsafe {
            let ring = fake.ring();
            (*ring).nr = slots;
            (*ring).magic = KAIO_RING_MAGIC;
            (*ring).incompat_features = KAIO_RING_INCOMPAT_FEATURES;
            (*ring).header_length = size_of::<kaio_ring>() as u32;
        }
        fake
    }

    /// Returns the ring in which head and tail are as the arguments say, and the event of each slot
    /// carries the number of the slot.
    fn with(slots: u32, head: u32, tail: u32) -> Self {
        let fake = Self::new(slots);
        fake.set(head, tail);
        for slot in 0..slots {
            fake.write(slot, slot.into());
        }
        fake
    }

    fn ring(&self) -> *mut kaio_ring {
        self.memory.cast()
    }

    fn user(&self) -> Option<Ring> {
        // SAFETY: the memory is that of a ring, and lives as long as `self`.
        unsafe { Ring::new(self.memory as u64) }
    }

    fn head(&self) -> &AtomicU32 {
        // SAFETY: the memory of the ring lives as long as `self`, and this word is only accessed
        // atomically.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.ring()).head) }
    }

    fn tail(&self) -> &AtomicU32 {
        // SAFETY: the memory of the ring lives as long as `self`, and this word is only accessed
        // atomically.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.ring()).tail) }
    }

    fn set(&self, head: u32, tail: u32) {
        self.head().store(head, Ordering::Relaxed);
        self.tail().store(tail, Ordering::Relaxed);
    }

    fn write(&self, slot: u32, data: u64) {
        let event = io_event {
            data,
            ..Default::default()
        };
        // SAFETY: `slot` is less than the number of slots, for which `new` has made room.
        unsafe {
            let events = self.memory.add(HEAD).cast::<io_event>();
            events.add(slot as usize).write(event);
        }
    }

    /// Puts an event into the ring as the kernel does. Returns `false` if the ring is full.
    fn put(&self, data: u64) -> bool {
        let tail = self.tail().load(Ordering::Relaxed);
        let next = (tail + 1) % self.slots;
        if next == self.head().load(Ordering::Acquire) {
            return false;
        }
        self.write(tail, data);
        self.tail().store(next, Ordering::Release);
        true
    }

    /// Ends the context: zeroed memory takes the place of the ring.
    fn close(&self) {
        // SAFETY: the memory of the ring lives as long as `self`, and the ring reads this word
        // atomically.
        let magic = unsafe { AtomicU32::from_ptr(&raw mut (*self.ring()).magic) };
        magic.store(0, Ordering::Release);
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let slice = ptr::slice_from_raw_parts_mut(self.memory, self.words);
        // SAFETY: `new` has leaked this memory with this length, and only this drop frees it.
        drop(unsafe { std::boxed::Box::from_raw(slice) });
    }
}

// SAFETY: the value is an address. The tests have one thread that puts events, and one that takes
// them.
unsafe impl Sync for Fake {}

/// Takes events and returns the numbers that they carry.
fn take(ring: Ring, max: u32) -> Vec<u64> {
    let mut events = vec![io_event::default(); max as usize];
    // SAFETY: there is room for `max` events, and no other thread takes events.
    let count = unsafe { ring.take(events.as_mut_ptr(), max) };
    let taken = events.iter().take(count as usize);
    taken.map(|event| event.data).collect()
}

#[test]
fn take_returns_the_events_between_head_and_tail_in_order() {
    // Miri is slow.
    for slots in 2..if cfg!(miri) { 4 } else { 8 } {
        for (head, tail) in (0..slots).flat_map(|head| (0..slots).map(move |tail| (head, tail))) {
            for max in 0..=slots {
                let fake = Fake::with(slots, head, tail);
                let ring = fake.user().expect("a ring");
                let count = (tail + slots - head) % slots;
                assert_eq!(ring.available(), count);
                assert_eq!(ring.completed(), tail);
                let expected: Vec<u64> = (head..head + count.min(max))
                    .map(|n| (n % slots).into())
                    .collect();
                assert_eq!(take(ring, max), expected, "{slots} {head} {tail} {max}");
                let moved = (head + count.min(max)) % slots;
                assert_eq!(fake.head().load(Ordering::Relaxed), moved);
                assert_eq!(ring.available(), count - count.min(max));
            }
        }
    }
}

/// The program can write any number into the ring. The library then takes the wrong events, but
/// reads no memory beyond the slots.
#[test]
fn words_out_of_range_stay_within_the_ring() {
    let words = [0, 1, 4, 5, 6, 1 << 31, u32::MAX - 1, u32::MAX];
    for (head, tail) in words
        .iter()
        .flat_map(|&head| words.map(move |tail| (head, tail)))
    {
        let fake = Fake::with(5, head, tail);
        let ring = fake.user().expect("a ring");
        let taken = take(ring, 100);
        assert!(taken.len() < 5 && taken.iter().all(|&slot| slot < 5));
        let left = fake.head().load(Ordering::Relaxed);
        assert!(left < 5 || taken.is_empty(), "{left}");
    }
}

/// The number of slots in the ring is read once.
#[test]
fn later_number_of_slots_has_no_effect() {
    let fake = Fake::with(4, 1, 3);
    let ring = fake.user().expect("a ring");
    // SAFETY: the ring reads this word no more.
    unsafe { (*fake.ring()).nr = 1 << 30 };
    assert_eq!(ring.slots(), 4);
    assert_eq!(take(ring, 100), [1, 2]);
}

#[test]
fn closed_context_has_no_events() {
    let fake = Fake::with(4, 1, 3);
    let ring = fake.user().expect("a ring");
    assert!(ring.is_alive());
    fake.close();
    assert!(!ring.is_alive());
    assert_eq!(ring.available(), 0);
    assert_eq!(take(ring, 4), []);
    assert_eq!(fake.head().load(Ordering::Relaxed), 1);
}

#[test]
fn unknown_formats_are_refused() {
    let changes: [fn(&mut kaio_ring); 5] = [
        |ring| ring.magic ^= 1,
        |ring| ring.incompat_features = 1,
        |ring| ring.header_length += 8,
        |ring| ring.nr = 1,
        |ring| ring.nr = 0,
    ];
    for change in changes {
        let fake = Fake::new(4);
        assert!(fake.user().is_some());
        // SAFETY: no other code has the memory, which is as large as the head.
        change(unsafe { &mut *fake.ring() });
        assert!(fake.user().is_none());
    }
}

#[test]
fn compatible_features_are_ignored() {
    let fake = Fake::new(4);
    // SAFETY: no other code has the memory, which is as large as the head.
    unsafe { (*fake.ring()).compat_features = u32::MAX };
    assert!(fake.user().is_some());
}

/// One thread puts events while another takes them: none is lost, and they keep their order.
#[test]
fn events_keep_their_order_between_threads() {
    let count = if cfg!(miri) { 100 } else { 100_000 };
    let fake = Fake::new(7);
    let ring = fake.user().expect("a ring");
    thread::scope(|scope| {
        scope.spawn(|| {
            for data in 0..count {
                while !fake.put(data) {
                    thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < count {
            for data in take(ring, 3) {
                assert_eq!(data, next);
                next += 1;
            }
            thread::yield_now();
        }
        assert_eq!(ring.available(), 0);
    });
}
