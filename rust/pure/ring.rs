// SPDX-License-Identifier: GPL-2.0

//! Ring arithmetic: the place of an event, and the number of events for which there is room.
//!
//! The counterpart of the ring of [`srctree/fs/aio.c`]: a 32-byte header, then `nr` events of 32
//! bytes.
//!
//! Invariants: `head == tail` means an empty ring, so the ring holds `nr - 1` events. Events never
//! straddle a page. User space writes `head` at any time, so every function that takes a head takes
//! any `u32`.

use super::state::Word;

/// The size of one event, in bytes.
pub(crate) const EVENT_SIZE: usize = 32;
/// The size of the header, in bytes: the header takes the place of one event.
pub(crate) const HEADER_SIZE: usize = EVENT_SIZE;

/// The size of a ring, fixed when the ring is made.
///
/// # Invariants
///
/// `2 <= nr`, and `pages * page_size` bytes hold the header and `nr` events exactly.
#[derive(Clone, Copy)]
pub(crate) struct Geometry {
    nr: u32,
    pages: u32,
}

impl Geometry {
    /// Returns the smallest ring of whole pages that holds `requests` events at once. Returns
    /// `None` for 0 requests or more than 256 MiB, for which io_setup(2) returns `EINVAL`.
    pub(crate) fn for_requests(requests: u32, page_size: usize) -> Option<Self> {
        // One slot stays empty, since head == tail means an empty ring.
        let slots = u64::from(requests).checked_add(1)?;
        let bytes = slots * EVENT_SIZE as u64 + HEADER_SIZE as u64;
        if requests == 0 || bytes > 0x1000_0000 {
            return None;
        }
        let pages = bytes.div_ceil(page_size as u64);
        let nr = (pages * page_size as u64 - HEADER_SIZE as u64) / EVENT_SIZE as u64;
        // INVARIANT: `requests >= 1`, so there are at least two slots.
        Some(Self {
            nr: nr as u32,
            pages: pages as u32,
        })
    }

    /// Returns the number of event slots, one of which is always empty.
    pub(crate) fn nr(self) -> u32 {
        self.nr
    }

    /// Returns the number of events, and so of requests, that the ring holds.
    pub(crate) fn capacity(self) -> u32 {
        self.nr - 1
    }

    /// Returns the number of pages.
    pub(crate) fn pages(self) -> usize {
        self.pages as usize
    }

    /// Returns `place` if it is in the ring, and else a place that is.
    pub(crate) fn clamp(self, place: u32) -> u32 {
        place.checked_rem(self.nr).unwrap_or(0)
    }

    /// Returns the offset of an event from the start of the ring, in bytes.
    pub(crate) fn offset(self, place: u32) -> usize {
        Self::at(self.clamp(place))
    }

    /// Returns the offset of an event whose place is known to be in the ring.
    #[inline]
    pub(crate) fn at(place: u32) -> usize {
        HEADER_SIZE + place as usize * EVENT_SIZE
    }

    /// Returns the place `n` after `place`.
    pub(crate) fn advance(self, place: u32, n: u32) -> u32 {
        let sum = u64::from(self.clamp(place)) + u64::from(n);
        sum.checked_rem(u64::from(self.nr)).unwrap_or(0) as u32
    }

    /// Returns the number of events from `head` to `tail`.
    pub(crate) fn used(self, head: u32, tail: u32) -> u32 {
        let (head, tail) = (self.clamp(head), self.clamp(tail));
        if head <= tail {
            tail - head
        } else {
            self.nr - (head - tail)
        }
    }

    /// Returns the number of events from `head` that can be copied in one piece: up to `tail`, to
    /// the end of the ring, to the end of the page and at most `want`.
    pub(crate) fn run(self, head: u32, tail: u32, want: u32, page_size: usize) -> u32 {
        self.used(head, tail)
            .min(self.piece(self.clamp(head), page_size))
            .min(want)
    }

    /// Returns the number of slots from `place`, which is in the ring, to the end of the ring or of
    /// the page.
    fn piece(self, place: u32, page_size: usize) -> u32 {
        let within = Self::at(place) % page_size;
        let in_page = page_size.saturating_sub(within) / EVENT_SIZE;
        self.nr.saturating_sub(place).min(in_page as u32)
    }
}

/// The number of slots that are not reserved. A submitter reserves one for each request, without a
/// lock.
///
/// # Invariants
///
/// The free slots, the slots of requests that are not complete and [`Slots::posted`] add up to at
/// most the ring's capacity, so a posted event always finds room.
pub(crate) struct Free<W: Word>(W);

impl<W: Word> Free<W> {
    /// Makes the counter. `word` is at most the capacity of the ring.
    pub(crate) fn new(word: W) -> Self {
        Self(word)
    }

    /// Reserves slots for `want` new requests, or as many as there are, and returns how many.
    #[inline]
    pub(crate) fn take(&self, want: u32) -> u32 {
        self.0.change(|free| {
            let taken = want.min(free);
            ((taken > 0).then(|| free.saturating_sub(taken)), taken)
        })
    }

    /// Gives back `count` slots, in which no event will come or whose event was taken.
    pub(crate) fn give(&self, count: u32) {
        self.0.change(|free| (Some(free.saturating_add(count)), ()));
    }
}

/// The place of the next event. In kernel memory: user space only provides its `head`.
pub(crate) struct Slots {
    geometry: Geometry,
    tail: u32,
    /// The number of events in the ring, as far as is known; user space may have taken some.
    posted: u32,
    /// The smallest number of events for which a task waits, or [`NO_TASK`].
    awaited: u32,
}

/// No task waits for events.
const NO_TASK: u32 = u32::MAX;

impl Slots {
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            tail: 0,
            posted: 0,
            awaited: NO_TASK,
        }
    }

    /// Takes note of the `head` of user space. Returns the number of slots that have become free,
    /// for [`Free::give`].
    pub(crate) fn collect(&mut self, head: u32) -> u32 {
        // A wrong head can only claim that events of its own ring were taken.
        let posted = self.posted.min(self.geometry.used(head, self.tail));
        let taken = self.posted.saturating_sub(posted);
        self.posted = posted;
        taken
    }

    /// Turns up to `want` reserved slots into events, as many as are in one piece. Returns the
    /// place of the first and their number, which is 0 only if `want` is 0. [`Self::tail`] then
    /// returns the new tail.
    #[inline]
    pub(crate) fn post(&mut self, want: u32, page_size: usize) -> (u32, u32) {
        let run = self.geometry.piece(self.tail, page_size).min(want);
        (self.post_run(run), run)
    }

    /// Turns one reserved slot into an event, and returns its place.
    #[inline]
    pub(crate) fn post_one(&mut self) -> u32 {
        self.post_run(1)
    }

    /// Turns `run` reserved slots, which are in one piece, into events.
    #[inline]
    fn post_run(&mut self, run: u32) -> u32 {
        let place = self.tail;
        self.tail = match place.saturating_add(run) {
            end if end < self.geometry.nr => end,
            _ => 0,
        };
        // INVARIANT: the sum stays the same, since `run` requests are complete.
        self.posted = self.posted.saturating_add(run);
        place
    }

    pub(crate) fn tail(&self) -> u32 {
        self.tail
    }

    /// Returns whether at least `count` events wait to be taken, when user space has set `head`. If
    /// not, [`Self::are_enough`] will tell when they do.
    pub(crate) fn wait_for(&mut self, count: u32, head: u32) -> bool {
        let enough = self.geometry.used(head, self.tail) >= count;
        if !enough {
            self.awaited = self.awaited.min(count);
        }
        enough
    }

    /// Returns whether a task is to be woken, since the events for which it waits have come. A task
    /// that then finds too few, as another task has taken some, calls [`Self::wait_for`] again.
    #[inline]
    pub(crate) fn are_enough(&mut self, head: impl FnOnce() -> u32) -> bool {
        // There are at most `posted` events, so `head` is looked at only if these may be enough.
        if self.posted < self.awaited || self.geometry.used(head(), self.tail) < self.awaited {
            return false;
        }
        self.awaited = NO_TASK;
        true
    }
}
