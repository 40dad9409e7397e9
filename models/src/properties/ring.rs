// SPDX-License-Identifier: GPL-2.0

//! `pure/ring.rs`: the places of events, for any head and any size of pages.

use crate::{
    pure::ring::{Free, Geometry, Slots, EVENT_SIZE, HEADER_SIZE},
    sys::word::AtomicWord,
};
use proptest::prelude::*;
use std::collections::VecDeque;

/// The size of a page: those of x86-64 and of arm64, and one in which pages end often.
fn page_size() -> impl Strategy<Value = usize> {
    prop_oneof![Just(4096usize), Just(16384), Just(65536), Just(128)]
}

/// A number of requests, and a size of pages.
fn size() -> impl Strategy<Value = (u32, usize)> {
    (prop_oneof![1..40u32, 1..5000u32], page_size())
}

fn ring_of((requests, page): (u32, usize)) -> Geometry {
    Geometry::for_requests(requests, page).expect("a size for which there is a ring")
}

proptest! {
    #[test]
    fn a_ring_is_as_small_as_it_can_be(
        requests in prop_oneof![
            any::<u32>(),
            0..1000u32,
            // The largest ring, of 256 MiB, has a header, one empty slot and the events.
            (1u32 << 23) - 4..(1 << 23) + 4,
        ],
        page in page_size(),
    ) {
        let needs = u64::from(requests) * 32 + 64;
        let Some(ring) = Geometry::for_requests(requests, page) else {
            prop_assert!(requests == 0 || needs > 256 << 20);
            return Ok(());
        };
        prop_assert!(requests > 0 && needs <= 256 << 20);
        prop_assert!(ring.capacity() >= requests);
        prop_assert_eq!(ring.nr(), ring.capacity() + 1);
        prop_assert_eq!(HEADER_SIZE + ring.nr() as usize * EVENT_SIZE, ring.pages() * page);
        prop_assert!((ring.pages() as u64 - 1) * (page as u64) < needs);
    }

    #[test]
    fn places_are_in_the_ring(size in size(), place in any::<u32>(), n in any::<u32>()) {
        let (ring, page) = (ring_of(size), size.1);
        let nr = ring.nr();
        let clamped = ring.clamp(place);
        prop_assert_eq!(clamped, place % nr);
        prop_assert_eq!(ring.offset(place), HEADER_SIZE + clamped as usize * EVENT_SIZE);
        prop_assert_eq!(ring.offset(place), Geometry::at(clamped));
        prop_assert!(ring.offset(place) + EVENT_SIZE <= ring.pages() * page);
        // No event straddles a page.
        prop_assert!(ring.offset(place) % page + EVENT_SIZE <= page);
        prop_assert_eq!(
            u64::from(ring.advance(place, n)),
            (u64::from(clamped) + u64::from(n)) % u64::from(nr)
        );
    }

    #[test]
    fn the_events_from_head_to_tail_are_counted(
        size in size(),
        head in any::<u32>(),
        n in any::<u32>(),
    ) {
        let ring = ring_of(size);
        let n = n % ring.nr();
        prop_assert_eq!(ring.used(head, ring.advance(head, n)), n);
        let back = ring.used(ring.advance(head, n), head);
        prop_assert_eq!(n + back, if n == 0 { 0 } else { ring.nr() });
    }

    #[test]
    fn a_run_is_one_piece(
        size in size(),
        head in any::<u32>(),
        tail in any::<u32>(),
        want in prop_oneof![any::<u32>(), 0..200u32],
    ) {
        let (ring, page) = (ring_of(size), size.1);
        let used = ring.used(head, tail);
        let run = ring.run(head, tail, want, page);
        prop_assert!(run <= used.min(want));
        prop_assert_eq!(run == 0, used == 0 || want == 0);
        if run > 0 {
            let (first, place) = (ring.offset(head), ring.clamp(head));
            prop_assert!(place + run <= ring.nr());
            let last = Geometry::at(place + run - 1);
            prop_assert_eq!(first / page, last / page);
            // The run ends only where it must.
            let end = last + EVENT_SIZE;
            prop_assert!(run == used.min(want) || end % page == 0 || place + run == ring.nr());
        }
    }
}

/// What submitters, drivers and the program do with a ring.
#[derive(Clone, Copy, Debug)]
enum Step {
    Reserve(u32),
    /// Slots for which no event comes are given back.
    Unreserve(u32),
    /// Requests complete together.
    Post(u32),
    PostOne,
    /// The program takes events.
    Take(u32),
    /// The program writes anything to the head.
    Lie(u32),
}

fn step(lies: u32) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6u32).prop_map(Step::Reserve),
        1 => (0..3u32).prop_map(Step::Unreserve),
        3 => (0..6u32).prop_map(Step::Post),
        2 => Just(Step::PostOne),
        4 => (0..6u32).prop_map(Step::Take),
        lies => prop_oneof![any::<u32>(), 0..9u32].prop_map(Step::Lie),
    ]
}

/// A ring as `ctx/ring.rs` uses it, and the events in it by number.
struct Used {
    ring: Geometry,
    page: usize,
    free: Free<AtomicWord>,
    slots: Slots,
    head: u32,
    reserved: u32,
    places: Vec<u32>,
    next: u32,
}

impl Used {
    fn new(page: usize) -> Self {
        let ring = Geometry::for_requests(2, page).unwrap();
        Self {
            ring,
            page,
            free: Free::new(AtomicWord::of(ring.capacity())),
            slots: Slots::new(ring),
            head: 0,
            reserved: 0,
            places: vec![0; ring.nr() as usize],
            next: 1,
        }
    }

    fn reserve(&mut self, want: u32) -> u32 {
        let mut taken = self.free.take(want);
        if taken < want {
            self.free.give(self.slots.collect(self.head));
            taken += self.free.take(want - taken);
        }
        self.reserved += taken;
        taken
    }

    /// Puts events into the places of a run, which is in the ring and in one page.
    fn write(&mut self, place: u32, run: u32) {
        let (first, last) = (Geometry::at(place), Geometry::at(place + run - 1));
        assert_eq!(first / self.page, last / self.page, "a run of two pages");
        for place in place..place + run {
            self.places[place as usize] = self.next;
            self.next += 1;
        }
        self.reserved -= run;
    }

    /// Gives back up to `count` reserved slots.
    fn unreserve(&mut self, count: u32) {
        let count = count.min(self.reserved);
        self.reserved -= count;
        self.free.give(count);
    }

    /// Posts one event if a slot is reserved.
    fn post_one(&mut self) {
        if self.reserved > 0 {
            let place = self.slots.post_one();
            self.write(place, 1);
        }
    }

    fn post(&mut self, count: u32) {
        let mut left = count.min(self.reserved);
        while left > 0 {
            let (place, run) = self.slots.post(left, self.page);
            assert!(0 < run && run <= left);
            // A piece ends only at the end of the page or of the ring.
            let end = Geometry::at(place + run);
            assert!(run == left || end % self.page == 0 || place + run == self.ring.nr());
            self.write(place, run);
            left -= run;
        }
    }
}

proptest! {
    /// A ring of three or of 127 places against a queue: no event is lost, none comes twice, and there is
    /// room as long as fewer events and requests are there than the ring holds.
    #[test]
    fn a_ring_is_a_queue(
        page in prop_oneof![3 => Just(128usize), 1 => Just(4096)],
        steps in prop::collection::vec(step(0), 0..200),
    ) {
        let mut used = Used::new(page);
        let mut queue = VecDeque::new();
        let capacity = used.ring.capacity();
        for step in steps {
            let before = used.next;
            match step {
                Step::Reserve(want) => {
                    let room = capacity - used.reserved - queue.len() as u32;
                    prop_assert_eq!(used.reserve(want), want.min(room));
                }
                Step::Unreserve(count) => used.unreserve(count),
                Step::Post(count) => used.post(count),
                Step::PostOne => used.post_one(),
                Step::Take(want) => {
                    let tail = used.slots.tail();
                    prop_assert_eq!(used.ring.used(used.head, tail), queue.len() as u32);
                    let run = used.ring.run(used.head, tail, want, page);
                    for _ in 0..run {
                        prop_assert_eq!(queue.pop_front(), Some(used.places[used.head as usize]));
                        used.head = used.ring.advance(used.head, 1);
                    }
                }
                Step::Lie(_) => {}
            }
            queue.extend(before..used.next);
            prop_assert!(used.slots.tail() < used.ring.nr());
        }
    }

    /// A program that lies gets no more slots than its ring has, and no event leaves the ring.
    #[test]
    fn a_wrong_head_makes_no_more_room(
        page in prop_oneof![3 => Just(128usize), 1 => Just(4096)],
        steps in prop::collection::vec(step(4), 0..200),
    ) {
        let mut used = Used::new(page);
        for step in steps {
            match step {
                Step::Reserve(want) => {
                    used.reserve(want);
                }
                Step::Unreserve(count) => used.unreserve(count),
                Step::Post(count) => used.post(count),
                Step::PostOne => used.post_one(),
                Step::Take(n) => used.head = used.ring.advance(used.head, n),
                Step::Lie(head) => used.head = head,
            }
            prop_assert!(used.reserved <= used.ring.capacity());
            prop_assert!(used.slots.tail() < used.ring.nr());
            prop_assert!(used.ring.used(used.head, used.slots.tail()) < used.ring.nr());
        }
        // All slots come back, and no more.
        used.reserved = 0;
        used.head = used.slots.tail();
        used.free.give(used.slots.collect(used.head));
        prop_assert!(used.free.take(u32::MAX) <= used.ring.capacity());
    }
}
