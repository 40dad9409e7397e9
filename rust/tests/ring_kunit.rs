// SPDX-License-Identifier: GPL-2.0

//! Suite `kaio_ring`: arithmetic at every page boundary, and with hostile heads.

use kernel::prelude::*;

#[kunit_tests(kaio_ring)]
mod suite {
    use crate::{
        pure::ring::{
            self,
            Free,
            Geometry,
            EVENT_SIZE,
            HEADER_SIZE, //
        },
        sys::word::AtomicWord, //
    };
    use kernel::{
        page::PAGE_SIZE,
        prelude::*, //
    };

    /// The counter of free slots and the slots of a ring, used as `ctx::ring` uses them.
    struct Slots {
        free: Free<AtomicWord>,
        slots: ring::Slots,
    }

    impl Slots {
        fn new(geometry: Geometry) -> Self {
            Self {
                free: Free::new(AtomicWord::of(geometry.capacity())),
                slots: ring::Slots::new(geometry),
            }
        }

        fn reserve(&mut self, want: u32, head: impl FnOnce() -> u32) -> u32 {
            let taken = self.free.take(want);
            if taken < want {
                self.free.give(self.slots.collect(head()));
            }
            taken + self.free.take(want - taken)
        }

        fn unreserve(&mut self, count: u32) {
            self.free.give(count);
        }

        fn post(&mut self, want: u32, page_size: usize) -> (u32, u32) {
            self.slots.post(want, page_size)
        }

        fn tail(&self) -> u32 {
            self.slots.tail()
        }
    }

    /// Heads and tails that a hostile program may write.
    const HOSTILE: [u32; 6] = [
        0x7fff_ffff,
        0x8000_0000,
        u32::MAX - 1,
        u32::MAX,
        0x1_0000,
        12_345,
    ];

    const PER_PAGE: u32 = (PAGE_SIZE / EVENT_SIZE) as u32;

    /// Returns the geometry of a ring for so many requests, and its free slots.
    fn new_ring(requests: u32) -> Result<(Geometry, Slots)> {
        let geometry = geometry(requests).ok_or(EINVAL)?;
        Ok((geometry, Slots::new(geometry)))
    }

    fn geometry(requests: u32) -> Option<Geometry> {
        Geometry::for_requests(requests, PAGE_SIZE)
    }

    #[test]
    fn size_at_page_boundaries() {
        // A page has a header and one empty slot, so it holds two requests less than events.
        for pages in 1..=64u32 {
            let last = pages * PER_PAGE - 2;
            let (fits, next) = (geometry(last), geometry(last + 1));
            assert!(fits.is_some_and(|g| g.pages() == pages as usize && g.capacity() == last));
            assert!(next.is_some_and(|g| g.pages() == pages as usize + 1 && g.capacity() > last));
        }
    }

    #[test]
    fn capacity_is_never_less_than_asked() {
        for requests in 1..=1000u32 {
            assert!(geometry(requests).is_some_and(|g| {
                g.capacity() >= requests
                    && g.nr() as usize * EVENT_SIZE + HEADER_SIZE == g.pages() * PAGE_SIZE
            }));
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(geometry(0).is_none());
        assert!(geometry(u32::MAX).is_none());
        assert!(geometry(0x1000_0000 / EVENT_SIZE as u32).is_none());
        assert!(geometry(0x1000_0000 / EVENT_SIZE as u32 - 2).is_some());
    }

    #[test]
    fn events_never_straddle_pages() {
        for requests in [1, 126, 127, 300, 1000] {
            let ok = geometry(requests).is_some_and(|g| {
                (0..g.nr()).all(|place| {
                    let offset = g.offset(place);
                    offset / PAGE_SIZE == (offset + EVENT_SIZE - 1) / PAGE_SIZE
                        && offset + EVENT_SIZE <= g.pages() * PAGE_SIZE
                        && offset >= HEADER_SIZE
                })
            });
            assert!(ok);
        }
    }

    #[test]
    fn places_wrap_around() {
        for requests in [1, 126, 127, 300] {
            let ok = geometry(requests).is_some_and(|g| {
                let next = |p| g.advance(p, 1);
                next(g.nr() - 1) == 0
                    && (0..g.nr()).all(|p| g.advance(p, g.nr()) == p && g.used(p, next(p)) == 1)
                    && (0..g.nr()).all(|p| g.used(p, p) == 0 && g.used(next(p), p) == g.capacity())
            });
            assert!(ok);
        }
    }

    #[test]
    fn runs_stop_at_page_ring_and_tail() {
        for requests in [126, 127, 300] {
            let ok = geometry(requests).is_some_and(|g| {
                (0..g.nr()).all(|head| {
                    let tail = g.advance(head, g.capacity());
                    // Take events as getevents does: runs cover all used slots, each run within a
                    // page.
                    let (mut at, mut left) = (head, g.capacity());
                    while left > 0 {
                        let run = g.run(at, tail, left, PAGE_SIZE);
                        let offset = g.offset(at);
                        let end = offset + run as usize * EVENT_SIZE;
                        if run == 0 || run > left || offset / PAGE_SIZE != (end - 1) / PAGE_SIZE {
                            return false;
                        }
                        at = g.advance(at, run);
                        left -= run;
                    }
                    at == tail && g.run(at, tail, 1, PAGE_SIZE) == 0
                })
            });
            assert!(ok);
        }
    }

    #[test]
    fn hostile_places_stay_in_the_ring() {
        for requests in [1, 127, 4000] {
            let ok = geometry(requests).is_some_and(|g| {
                HOSTILE.iter().all(|&head| {
                    let end = g.offset(head) + EVENT_SIZE;
                    end <= g.pages() * PAGE_SIZE
                        && g.clamp(head) < g.nr()
                        && g.advance(head, u32::MAX) < g.nr()
                        && g.used(head, 0) < g.nr()
                        && g.used(0, head) < g.nr()
                        && g.run(head, 1, u32::MAX, PAGE_SIZE) <= PER_PAGE
                })
            });
            assert!(ok);
        }
    }

    #[test]
    fn slots_run_out_and_come_back() -> Result {
        let (g, mut slots) = new_ring(5)?;
        for _ in 0..g.capacity() {
            assert_eq!(slots.reserve(1, || 0), 1);
        }
        assert_eq!(slots.reserve(1, || 0), 0);
        slots.unreserve(1);
        assert_eq!(slots.reserve(1, || 0), 1);
        // Events in the ring keep their slots until user space says that it took them.
        for place in 0..g.capacity() {
            assert_eq!(slots.post(1, PAGE_SIZE), (place, 1));
        }
        assert_eq!(slots.reserve(1, || 0), 0);
        assert_eq!(slots.reserve(1, || 1), 1);
        assert_eq!(slots.reserve(1, || 1), 0);
        assert_eq!(slots.reserve(1, || slots_tail(g)), 1);
        Ok(())
    }

    #[test]
    fn reserve_returns_as_many_slots_as_there_are() -> Result {
        let (g, mut slots) = new_ring(5)?;
        assert_eq!(slots.reserve(3, || 0), 3);
        assert_eq!(slots.reserve(u32::MAX, || 0), g.capacity() - 3);
        assert_eq!(slots.reserve(2, || 0), 0);
        slots.unreserve(g.capacity());
        assert_eq!(slots.reserve(g.capacity(), || 0), g.capacity());
        post_in_pieces(&mut slots, g.capacity());
        // User space took two events.
        assert_eq!(slots.reserve(5, || 2), 2);
        Ok(())
    }

    fn slots_tail(g: Geometry) -> u32 {
        g.capacity()
    }

    /// Posts events in pieces, as `ctx::ring` does.
    fn post_in_pieces(slots: &mut Slots, mut count: u32) {
        while count > 0 {
            count -= slots.post(count, PAGE_SIZE).1;
        }
    }

    #[test]
    fn events_that_are_posted_together_get_pieces_of_the_ring() -> Result {
        let (g, _) = new_ring(300)?;
        for together in [1, 2, 7, 100, g.capacity()] {
            let (mut slots, mut next) = (Slots::new(g), 0);
            for _ in 0..3 * g.nr() {
                // User space takes the events at once.
                assert_eq!(slots.reserve(together, || next), together);
                let mut left = together;
                while left > 0 {
                    let (place, run) = slots.post(left, PAGE_SIZE);
                    let (offset, len) = (g.offset(place), run as usize * EVENT_SIZE);
                    assert_eq!(place, next);
                    assert!(run > 0 && run <= left && place + run <= g.nr());
                    assert_eq!(offset / PAGE_SIZE, (offset + len - 1) / PAGE_SIZE);
                    next = g.advance(place, run);
                    left -= run;
                    assert_eq!(slots.tail(), next);
                }
            }
        }
        assert_eq!(Slots::new(g).post(0, PAGE_SIZE), (0, 0));
        Ok(())
    }

    #[test]
    fn hostile_heads_free_at_most_what_was_posted() -> Result {
        let (g, _) = new_ring(100)?;
        for head in HOSTILE {
            let mut slots = Slots::new(g);
            let half = g.capacity() / 2;
            for _ in 0..g.capacity() {
                assert_eq!(slots.reserve(1, || head), 1);
            }
            post_in_pieces(&mut slots, half);
            // Requests in flight keep their slots, whatever the head says.
            let mut more = 0;
            while slots.reserve(1, || head) == 1 {
                more += 1;
            }
            assert!(more <= half);
            // Each of those requests still finds a place.
            for _ in 0..g.capacity() - half + more {
                assert!(slots.post(1, PAGE_SIZE).0 < g.nr());
            }
        }
        Ok(())
    }

    #[test]
    fn a_task_is_woken_when_its_events_are_there() {
        assert!(geometry(10).is_some_and(|g| {
            let mut slots = ring::Slots::new(g);
            slots.post_one();
            assert!(!slots.are_enough(|| 0));
            assert!(slots.wait_for(1, 0));
            // The task that waits for three events is woken before the one that waits for five.
            assert!(!slots.wait_for(5, 0));
            assert!(!slots.wait_for(3, 0));
            slots.post_one();
            assert!(!slots.are_enough(|| 0));
            // User space takes an event meanwhile.
            slots.post_one();
            assert!(!slots.are_enough(|| 1));
            slots.post_one();
            assert!(slots.are_enough(|| 1));
            // No task waits until it calls again.
            slots.post_one();
            assert!(!slots.are_enough(|| 1));
            assert!(!slots.wait_for(5, 1));
            slots.post_one();
            slots.are_enough(|| 1)
        }));
    }

    #[test]
    fn no_head_makes_more_events_than_the_ring_holds() {
        assert!(
            geometry(10).is_some_and(|g| HOSTILE.into_iter().all(|head| {
                let mut slots = ring::Slots::new(g);
                let waits = !slots.wait_for(g.capacity() + 1, head);
                waits
                    && (0..g.capacity()).all(|_| {
                        slots.post_one();
                        !slots.are_enough(|| head)
                    })
            }))
        );
    }
}
