// SPDX-License-Identifier: GPL-2.0

//! The completion ring: pages shared with user space, and what the kernel knows of them.
//!
//! The counterpart of `aio_setup_ring()`, `aio_complete()` and `aio_read_events_ring()` of
//! [`srctree/fs/aio.c`]. Trusts nothing in the pages: geometry, tail and slots are kernel memory;
//! `head` is read, clamped, and believed only as far as it harms nobody but its writer.
//!
//! Barriers: the kernel writes an event, then stores `tail` (release); user space loads `tail`
//! (acquire) and reads the event. User space reads events, then stores `head` (release); the
//! kernel loads `head` (acquire) before it writes an event in a slot that became free.
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
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Mutex, //
    },
    uaccess::UserPtr,
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
        request::Cell,
        uapi::{
            self,
            IoEvent,
            RingHeader, //
        },
    },
};

static_assert!(size_of::<IoEvent>() == EVENT_SIZE);
static_assert!(size_of::<RingHeader>() == HEADER_SIZE);

const HEAD: usize = offset_of!(RingHeader, head);
const TAIL: usize = offset_of!(RingHeader, tail);

#[pin_data]
pub(crate) struct Ring {
    geometry: Geometry,
    pages: SharedPages,
    free: Free<Cell>,
    #[pin]
    slots: IrqLock<Slots>,
    /// `slots.tail()`, to be read without the lock.
    tail: Atomic<u32>,
    #[pin]
    reader: Mutex<()>,
}

impl Ring {
    /// A ring of this size, charged to the caller's cgroup.
    pub(crate) fn new(geometry: Geometry) -> Result<impl PinInit<Self, Error>> {
        let pages = SharedPages::new(geometry.pages())?;
        // The rest is 0.
        pages.store::<{ offset_of!(RingHeader, nr) }>(geometry.nr());
        pages.store::<{ offset_of!(RingHeader, magic) }>(uapi::RING_MAGIC);
        pages.store::<{ offset_of!(RingHeader, compat_features) }>(uapi::RING_COMPAT);
        pages.store::<{ offset_of!(RingHeader, incompat_features) }>(uapi::RING_INCOMPAT);
        pages.store::<{ offset_of!(RingHeader, header_length) }>(HEADER_SIZE as u32);
        let slots = Slots::new(geometry);
        Ok(try_pin_init!(Self {
            geometry,
            pages,
            free: Free::new(Cell::of(geometry.capacity())),
            slots <- new_irq_lock!(slots, "kaio_ring_slots"),
            tail: Atomic::new(0),
            reader <- new_mutex!((), "kaio_ring_reader"),
        }))
    }

    pub(crate) fn pages(&self) -> &SharedPages {
        &self.pages
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Takes slots for up to `want` requests: then their events have a place. Returns how many; 0: the
    /// context is full.
    #[inline]
    pub(crate) fn reserve(&self, want: u32) -> u32 {
        match self.free.take(want) {
            taken if taken < want => taken + self.reserve_taken(want - taken),
            taken => taken,
        }
    }

    /// Those whose events user space has taken since somebody looked.
    #[cold]
    fn reserve_taken(&self, want: u32) -> u32 {
        let mut slots = self.slots.lock();
        // Under the lock: who then finds that nothing was taken finds what we gave.
        self.free
            .give(slots.collect(self.pages.load_acquire::<HEAD>()));
        drop(slots);
        self.free.take(want)
    }

    /// Gives back `count` slots for which no event will come.
    pub(crate) fn unreserve(&self, count: u32) {
        self.free.give(count);
    }

    /// Puts events in the places that their requests reserved. Any context.
    pub(crate) fn post(&self, events: &[IoEvent]) {
        let mut slots = self.slots.lock();
        if let [_] = events {
            self.pages.write(Geometry::at(slots.post_one()), events);
        } else {
            self.post_several(&mut slots, events);
        }
        // Ours first: a head that user space has moved is never ahead of it.
        self.tail.store(slots.tail(), Release);
        self.pages.store_release::<TAIL>(slots.tail());
    }

    fn post_several(&self, slots: &mut Slots, events: &[IoEvent]) {
        let mut rest = events;
        while !rest.is_empty() {
            let (place, run) = slots.post(rest.len() as u32, PAGE_SIZE);
            let (now, later) = rest.split_at(run as usize);
            self.pages.write(Geometry::at(place), now);
            rest = later;
        }
    }

    /// Events that wait to be taken.
    pub(crate) fn available(&self) -> u32 {
        let tail = self.tail.load(Acquire);
        self.geometry.used(self.pages.load_acquire::<HEAD>(), tail)
    }

    /// Takes up to `want` events to `events`. `EFAULT` takes none.
    pub(crate) fn take(&self, events: UserPtr, want: u64) -> Result<u64> {
        let _reader = self.reader.lock();
        let want = want.min(u64::from(self.geometry.capacity())) as u32;
        let mut head = self.geometry.clamp(self.pages.load_acquire::<HEAD>());
        // Under the lock: what is taken here is there for user space too, or our head would be ahead.
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
