// SPDX-License-Identifier: GPL-2.0

//! The completion ring: pages shared with user space, and what the kernel knows of them.
//!
//! The counterpart of `aio_setup_ring()`, `aio_complete()` and `aio_read_events_ring()` of
//! [`srctree/fs/aio.c`].
//!
//! Invariant: the kernel trusts no word in the pages. Geometry, tail and slots are kernel memory.
//! The kernel reads `head`, clamps it, and believes it only as far as a wrong value harms the
//! program that wrote it.
//!
//! Barriers: the kernel writes an event, then stores `tail` (release); user space loads `tail`
//! (acquire) and reads the event. User space reads events, then stores `head` (release); the kernel
//! loads `head` (acquire) before it writes an event in a slot that became free.
//!
//! Locks: `reader` (a mutex, one taker of events at a time), then `slots` (any context).

use core::mem::{
    offset_of,
    size_of, //
};

use kernel::{
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    static_assert,
    sync::Mutex,
    uaccess::UserPtr, //
};

use crate::{
    pure::ring::{
        Free,
        Geometry,
        Slots,
        EVENT_SIZE,
        HEADER_SIZE, //
    },
    sys::{
        lock::{
            new_irq_lock,
            IrqLock, //
        },
        pages::SharedPages,
        uapi::{
            self,
            IoEvent,
            RingHeader, //
        },
        word::AtomicWord, //
    },
};

static_assert!(size_of::<IoEvent>() == EVENT_SIZE);
static_assert!(size_of::<RingHeader>() == HEADER_SIZE);

const HEAD: usize = offset_of!(RingHeader, head);
const TAIL: usize = offset_of!(RingHeader, tail);

/// The completion ring of a context.
#[pin_data]
pub(crate) struct Ring {
    geometry: Geometry,
    /// The number of requests, and so of events, that the ring has room for. It is at most the
    /// number of usable slots.
    capacity: u32,
    pages: SharedPages,
    free: Free<AtomicWord>,
    #[pin]
    slots: IrqLock<Slots>,
    #[pin]
    reader: Mutex<()>,
}

impl Ring {
    /// Makes a ring of this size, charged to the caller's cgroup, for at most `capacity` requests.
    /// `ENOMEM`.
    pub(crate) fn new(geometry: Geometry, capacity: u32) -> Result<impl PinInit<Self, Error>> {
        let most = capacity.min(geometry.capacity());
        let pages = SharedPages::new(geometry.pages())?;
        // The other words are 0.
        pages.store::<{ offset_of!(RingHeader, nr) }>(geometry.nr());
        pages.store::<{ offset_of!(RingHeader, magic) }>(uapi::RING_MAGIC);
        pages.store::<{ offset_of!(RingHeader, compat_features) }>(uapi::RING_COMPAT);
        pages.store::<{ offset_of!(RingHeader, incompat_features) }>(uapi::RING_INCOMPAT);
        pages.store::<{ offset_of!(RingHeader, header_length) }>(HEADER_SIZE as u32);
        let slots = Slots::new(geometry);
        Ok(try_pin_init!(Self {
            geometry,
            capacity: most,
            pages,
            free: Free::new(AtomicWord::of(most)),
            slots <- new_irq_lock!(slots, "kaio_ring_slots"),
            reader <- new_mutex!((), "kaio_ring_reader"),
        }))
    }

    pub(crate) fn pages(&self) -> &SharedPages {
        &self.pages
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Reserves slots for up to `want` requests, so that their events have a place. Returns how
    /// many were reserved; 0 means that the context is full.
    #[inline]
    pub(crate) fn reserve(&self, want: u32) -> u32 {
        match self.free.take(want) {
            taken if taken < want => taken + self.reserve_taken(want - taken),
            taken => taken,
        }
    }

    /// Collects slots whose events user space has taken since the last look, and reserves up to
    /// `want` slots.
    #[cold]
    fn reserve_taken(&self, want: u32) -> u32 {
        let mut slots = self.slots.lock();
        // Return slots under the lock so that a concurrent reserver sees them.
        self.free
            .give(slots.collect(self.pages.load_acquire::<HEAD>()));
        drop(slots);
        self.free.take(want)
    }

    /// Gives back `count` slots for which no event will come.
    pub(crate) fn unreserve(&self, count: u32) {
        self.free.give(count);
    }

    /// Puts events into slots that their requests have reserved. Returns whether a task waits for
    /// as many events as there are now ([`Self::wait_for`]), so that the caller is to wake the tasks
    /// that wait. Any context.
    #[must_use]
    pub(crate) fn post(&self, events: &[IoEvent]) -> bool {
        let mut slots = self.slots.lock();
        if let [_] = events {
            self.pages.write(Geometry::at(slots.post_one()), events);
        } else {
            self.post_several(&mut slots, events);
        }
        self.pages.store_release::<TAIL>(slots.tail());
        slots.are_enough(|| self.pages.load_acquire::<HEAD>())
    }

    fn post_several(&self, slots: &mut Slots, events: &[IoEvent]) {
        let mut rest = events;
        while !rest.is_empty() {
            let (ring_slot, run) = slots.post(rest.len() as u32, PAGE_SIZE);
            let (now, later) = rest.split_at(run as usize);
            self.pages.write(Geometry::at(ring_slot), now);
            rest = later;
        }
    }

    /// Returns the number of events that wait to be taken. Any context.
    pub(crate) fn available(&self) -> u32 {
        // The lock keeps the tail unchanged while the head is read. A tail that was read before
        // another thread moved the head could be behind that head, and a nearly empty ring would
        // seem to be nearly full.
        let slots = self.slots.lock();
        self.geometry
            .used(self.pages.load_acquire::<HEAD>(), slots.tail())
    }

    /// Returns whether at least `count` events wait to be taken, at most [`Self::capacity`]. If not,
    /// the call of [`Self::post`] that makes it so returns true. Any context.
    pub(crate) fn wait_for(&self, count: u32) -> bool {
        let mut slots = self.slots.lock();
        let head = self.pages.load_acquire::<HEAD>();
        slots.wait_for(count, head)
    }

    /// Takes up to `want` events, copies them to `events`, and returns how many. `EFAULT` takes
    /// none.
    pub(crate) fn take(&self, events: UserPtr, want: u64) -> Result<u64> {
        let _reader = self.reader.lock();
        let want = want.min(u64::from(self.geometry.capacity())) as u32;
        let mut head = self.geometry.clamp(self.pages.load_acquire::<HEAD>());
        // Read the tail under the lock, so that user space sees that tail too. Otherwise the new
        // head could be ahead of the tail in the shared pages.
        let tail = self.slots.lock().tail();
        let mut taken = 0;
        while taken < want {
            let run = self.geometry.run(head, tail, want - taken, PAGE_SIZE);
            if run == 0 {
                break;
            }
            self.pages.copy_to_user(
                events.wrapping_byte_add(taken as usize * EVENT_SIZE),
                self.geometry.offset(head),
                run as usize * EVENT_SIZE,
            )?;
            taken += run;
            head = self.geometry.advance(head, run);
        }
        if taken > 0 {
            self.pages.store_release::<HEAD>(head);
        }
        Ok(u64::from(taken))
    }
}
