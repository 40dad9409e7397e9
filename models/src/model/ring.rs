// SPDX-License-Identifier: GPL-2.0

//! The completion ring (`pure/ring.rs`): slots, the tail, and user space, which reads and may lie.
//!
//! Invariants: an event is written before the tail says so, and read before its slot is written again;
//! no event is lost or seen twice; no more slots are reserved than there are; a wrong head harms only
//! the events of its own ring.

use super::{check, check_three, with, Watched};
use crate::{
    pure::ring::{Free, Geometry, Slots, EVENT_SIZE},
    sys::word::AtomicWord,
};
use kernel::sync::{
    atomic::{Acquire, Atomic, Relaxed, Release},
    Arc,
};
use loom::sync::Mutex;

/// A page of four places: the header, and three events of which the ring holds two.
const PAGE: usize = 4 * EVENT_SIZE;

/// `ctx::ring::Ring`, with events that are numbers.
struct Ring {
    geometry: Geometry,
    free: Free<AtomicWord>,
    slots: Mutex<Slots>,
    head: Atomic<u32>,
    tail: Atomic<u32>,
    events: Vec<Watched<u32>>,
}

impl Ring {
    fn new() -> Arc<Self> {
        let geometry = Geometry::for_requests(2, PAGE).unwrap();
        assert_eq!(
            (geometry.nr(), geometry.capacity(), geometry.pages()),
            (3, 2, 1)
        );
        let this = Self {
            geometry,
            free: Free::new(AtomicWord::of(geometry.capacity())),
            slots: Mutex::new(Slots::new(geometry)),
            head: Atomic::new(0),
            tail: Atomic::new(0),
            events: (0..geometry.nr()).map(|_| Watched::new(0)).collect(),
        };
        this.head.load(Relaxed);
        this.tail.load(Relaxed);
        assert_eq!(this.free.take(0), 0);
        Arc::new(this)
    }

    /// `Ring::reserve`
    fn reserve(&self, want: u32) -> u32 {
        match self.free.take(want) {
            taken if taken < want => {
                let mut slots = self.slots.lock().unwrap();
                self.free.give(slots.collect(self.head.load(Acquire)));
                drop(slots);
                taken + self.free.take(want - taken)
            }
            taken => taken,
        }
    }

    /// `Ring::post`
    fn post(&self, events: &[u32]) {
        let mut slots = self.slots.lock().unwrap();
        let mut rest = events;
        while !rest.is_empty() {
            let (place, run) = match rest {
                [_] => (slots.post_one(), 1),
                _ => slots.post(rest.len() as u32, PAGE),
            };
            let (now, later) = rest.split_at(run as usize);
            for (event, cell) in now.iter().zip(&self.events[place as usize..]) {
                cell.write(|cell| *cell = *event);
            }
            rest = later;
        }
        self.tail.store(slots.tail(), Release);
    }

    /// `Ring::available`
    fn available(&self) -> u32 {
        let slots = self.slots.lock().unwrap();
        self.geometry.used(self.head.load(Acquire), slots.tail())
    }

    fn read(&self, head: u32) -> u32 {
        self.events[head as usize].read(|event| *event)
    }

    /// Takes all events, as a program does in user space. One thread at a time.
    fn take_by_user(&self) -> Vec<u32> {
        let tail = self.tail.load(Acquire);
        let mut head = self.head.load(Relaxed);
        let mut taken = Vec::new();
        while head != tail {
            taken.push(self.read(head));
            head = (head + 1) % self.geometry.nr();
        }
        if !taken.is_empty() {
            self.head.store(head, Release);
        }
        taken
    }

    /// `Ring::take`. One thread at a time, as the lock `reader` ensures.
    fn take(&self) -> Vec<u32> {
        let mut head = self.geometry.clamp(self.head.load(Acquire));
        let tail = self.slots.lock().unwrap().tail();
        let mut taken = Vec::new();
        loop {
            let run = self.geometry.run(head, tail, u32::MAX, PAGE);
            if run == 0 {
                break;
            }
            taken.extend((head..head + run).map(|head| self.read(head)));
            head = self.geometry.advance(head, run);
        }
        if !taken.is_empty() {
            self.head.store(head, Release);
        }
        taken
    }
}

#[test]
fn each_event_is_taken_once_and_in_order() {
    for take in [Ring::take_by_user, Ring::take] {
        check(move || {
            let ring = Ring::new();
            let producer = with(&ring, |ring| {
                let mut posted = Vec::new();
                for event in 1..=4 {
                    if ring.reserve(1) == 1 {
                        ring.post(&[event]);
                        posted.push(event);
                    }
                }
                posted
            });
            let mut taken = take(&ring);
            taken.extend(take(&ring));
            let posted = producer.join().unwrap();
            taken.extend(take(&ring));
            assert!(posted.len() >= 2);
            assert_eq!(taken, posted);
        });
    }
}

/// Events that a submit call posts together wrap around the end of the ring.
#[test]
fn events_that_are_posted_together_stay_together() {
    check(|| {
        let ring = Ring::new();
        assert_eq!(ring.reserve(2), 2);
        ring.post(&[1, 2]);
        let producer = with(&ring, |ring| {
            let room = ring.reserve(2);
            ring.post(&[3, 4][..room as usize]);
            room
        });
        let mut taken = ring.take_by_user();
        let room = producer.join().unwrap();
        taken.extend(ring.take_by_user());
        assert_eq!(taken, [1, 2, 3, 4][..2 + room as usize]);
    });
}

#[test]
fn two_submitters_do_not_reserve_one_slot_twice() {
    check_three(|| {
        let ring = Ring::new();
        let submit = |event: u32| {
            move |ring: &Ring| {
                let room = ring.reserve(1);
                if room == 1 {
                    ring.post(&[event]);
                }
                room
            }
        };
        assert_eq!(ring.reserve(1), 1);
        ring.post(&[1]);
        let submitters = [2, 3].map(|event| with(&ring, submit(event)));
        let mut taken = ring.take_by_user();
        let posted: u32 = submitters.map(|thread| thread.join().unwrap()).iter().sum();
        taken.extend(ring.take_by_user());
        assert!(posted >= 1);
        assert_eq!(taken.len() as u32, 1 + posted);
        assert_eq!(taken[0], 1);
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len() as u32, 1 + posted);
        // All slots come back.
        assert_eq!(ring.reserve(u32::MAX), ring.geometry.capacity());
    });
}

/// Slots whose requests have made no event are given back, and another submitter gets them.
#[test]
fn slots_are_given_back_once() {
    check(|| {
        let ring = Ring::new();
        let other = with(&ring, |ring| {
            let taken = ring.reserve(2);
            ring.free.give(taken);
            taken
        });
        let taken = ring.reserve(2);
        let others = other.join().unwrap();
        assert!(taken == 2 || others > 0, "{taken} {others}");
        ring.free.give(taken);
        assert_eq!(ring.reserve(u32::MAX), 2);
    });
}

/// A task that sleeps until there are events must not be told of more events than there are: the head
/// moves while it looks.
#[test]
fn a_moving_head_does_not_make_a_ring_seem_full() {
    check(|| {
        let ring = Ring::new();
        assert_eq!(ring.reserve(1), 1);
        ring.post(&[1]);
        let user = with(&ring, |ring| {
            ring.take();
            let room = ring.reserve(1);
            ring.post(&[2][..room as usize]);
            ring.take();
        });
        assert!(ring.available() <= 1);
        user.join().unwrap();
        assert_eq!(ring.available(), 0);
    });
}

/// A program that looks at both words finds the tail that the head belongs to, or a later one.
#[test]
fn the_head_is_not_ahead_of_the_tail() {
    check(|| {
        let ring = Ring::new();
        let kernel = with(&ring, |ring| {
            assert_eq!(ring.reserve(1), 1);
            ring.post(&[1]);
        });
        let reader = with(&ring, |ring| {
            ring.take();
        });
        let head = ring.head.load(Acquire);
        let tail = ring.tail.load(Acquire);
        assert!(ring.geometry.used(head, tail) <= 1, "{head} {tail}");
        kernel.join().unwrap();
        reader.join().unwrap();
    });
}

/// User space writes anything to the head while requests complete.
#[test]
fn a_wrong_head_harms_only_its_own_ring() {
    for junk in [1, 2, 3, 0x8000_0001, u32::MAX] {
        check(move || {
            let ring = Ring::new();
            assert_eq!(ring.reserve(1), 1);
            ring.post(&[1]);
            let liar = with(&ring, move |ring| {
                ring.head.store(junk, Relaxed);
                ring.head.store(0, Relaxed);
            });
            // `post` writes within the ring, or this panics.
            let mut reserved = 0;
            for _ in 0..2 {
                reserved += ring.reserve(2);
                let post = reserved.min(2);
                ring.post(&[2, 3][..post as usize]);
                reserved -= post;
            }
            assert!(ring.available() < ring.geometry.nr());
            liar.join().unwrap();
            // No more slots come back than there are.
            ring.free.give(reserved);
            let mut all = ring.reserve(u32::MAX);
            ring.head.store(ring.tail.load(Relaxed), Relaxed);
            all += ring.reserve(u32::MAX);
            assert!(all <= ring.geometry.capacity(), "{all} slots");
        });
    }
}
