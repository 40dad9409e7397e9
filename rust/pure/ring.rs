// SPDX-License-Identifier: GPL-2.0

//! Ring arithmetic: where an event goes, and how many there is room for.
//!
//! The ring of [`srctree/fs/aio.c`]: a 32-byte header, then `nr` events of 32 bytes; `head == tail`
//! is empty, so it holds `nr - 1`. Events never straddle a page. User space writes `head` at any
//! time, so every function that takes a head takes any `u32`.

use super::state::Word;

/// Bytes of the header, and of one event.
pub(crate) const EVENT_SIZE: usize = 32;
/// The header takes the place of one event.
pub(crate) const HEADER_SIZE: usize = EVENT_SIZE;

/// The size of a ring, fixed at setup.
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
    /// The smallest ring of whole pages that holds `requests` events at once.
    ///
    /// `None` if that is absurd (io_setup(2) says `EINVAL`): more than 256 MiB.
    pub(crate) fn for_requests(requests: u32, page_size: usize) -> Option<Self> {
        // One slot stays empty: head == tail means an empty ring.
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

    /// Event slots, one of which is always empty.
    pub(crate) fn nr(self) -> u32 {
        self.nr
    }

    /// How many events (and so requests) the ring holds.
    pub(crate) fn capacity(self) -> u32 {
        self.nr - 1
    }

    /// Pages of memory.
    pub(crate) fn pages(self) -> usize {
        self.pages as usize
    }

    /// Any `u32` as a place in the ring.
    pub(crate) fn clamp(self, place: u32) -> u32 {
        place.checked_rem(self.nr).unwrap_or(0)
    }

    /// Offset of an event from the start of the ring, in bytes.
    pub(crate) fn offset(self, place: u32) -> usize {
        Self::at(self.clamp(place))
    }

    /// As before, of a place that is known to be in the ring.
    #[inline]
    pub(crate) fn at(place: u32) -> usize {
        HEADER_SIZE + place as usize * EVENT_SIZE
    }

    /// The place `n` after `place`.
    pub(crate) fn advance(self, place: u32, n: u32) -> u32 {
        let sum = u64::from(self.clamp(place)) + u64::from(n);
        sum.checked_rem(u64::from(self.nr)).unwrap_or(0) as u32
    }

    /// Events from `head` to `tail`.
    pub(crate) fn used(self, head: u32, tail: u32) -> u32 {
        let (head, tail) = (self.clamp(head), self.clamp(tail));
        if head <= tail {
            tail - head
        } else {
            self.nr - (head - tail)
        }
    }

    /// Events from `head` that can be copied in one piece: up to `tail`, to the end of the ring,
    /// to the end of the page and at most `want`.
    pub(crate) fn run(self, head: u32, tail: u32, want: u32, page_size: usize) -> u32 {
        self.used(head, tail)
            .min(self.piece(self.clamp(head), page_size))
            .min(want)
    }

    /// Slots from `place`, which is in the ring, to its end or that of the page.
    fn piece(self, place: u32, page_size: usize) -> u32 {
        let within = Self::at(place) % page_size;
        let in_page = page_size.saturating_sub(within) / EVENT_SIZE;
        self.nr.saturating_sub(place).min(in_page as u32)
    }
}

/// How many slots nobody has. Whoever starts a request takes one, without a lock.
///
/// # Invariants
///
/// These, those of requests that are not complete, and [`Slots::posted`] are the ring's capacity: an
/// event that is posted always finds room.
pub(crate) struct Free<W: Word>(W);

impl<W: Word> Free<W> {
    /// `word` is the capacity of the ring.
    pub(crate) fn new(word: W) -> Self {
        Self(word)
    }

    /// Takes slots for `want` new requests, or as many as there are; returns how many.
    #[inline]
    pub(crate) fn take(&self, want: u32) -> u32 {
        self.0.change(|free| {
            let taken = want.min(free);
            ((taken > 0).then(|| free.saturating_sub(taken)), taken)
        })
    }

    /// Gives back `count` slots in which no event will come, or was taken.
    pub(crate) fn give(&self, count: u32) {
        self.0.change(|free| (Some(free.saturating_add(count)), ()));
    }
}

/// Where the next event goes. Kernel memory; user space only ever gives its `head`.
pub(crate) struct Slots {
    geometry: Geometry,
    tail: u32,
    /// Events that are in the ring, as far as is known: user space may have taken some.
    posted: u32,
}

impl Slots {
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            tail: 0,
            posted: 0,
        }
    }

    /// User space says where its `head` is: how many slots have become free, for [`Free::give`].
    pub(crate) fn collect(&mut self, head: u32) -> u32 {
        // A head that lies can only say that its own events were taken.
        let posted = self.posted.min(self.geometry.used(head, self.tail));
        let taken = self.posted.saturating_sub(posted);
        self.posted = posted;
        taken
    }

    /// Turns up to `want` reserved slots into events, as many as are in one piece. Returns the place
    /// of the first and how many they are, which is 0 only if `want` is. The tail is then
    /// [`Self::tail`].
    #[inline]
    pub(crate) fn post(&mut self, want: u32, page_size: usize) -> (u32, u32) {
        let run = self.geometry.piece(self.tail, page_size).min(want);
        (self.post_run(run), run)
    }

    /// As before, of one: returns its place.
    #[inline]
    pub(crate) fn post_one(&mut self) -> u32 {
        self.post_run(1)
    }

    /// `run` slots that are in one piece.
    #[inline]
    fn post_run(&mut self, run: u32) -> u32 {
        let place = self.tail;
        self.tail = match place.saturating_add(run) {
            end if end < self.geometry.nr => end,
            _ => 0,
        };
        // INVARIANT: the sum stays, as so many requests are complete.
        self.posted = self.posted.saturating_add(run);
        place
    }

    pub(crate) fn tail(&self) -> u32 {
        self.tail
    }
}
