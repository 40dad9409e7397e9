// SPDX-License-Identifier: LGPL-2.1-or-later

//! Takes events from a context's ring without a system call.
//!
//! The kernel writes an event, then stores `tail` (release); we load `tail` (acquire) and read the
//! event. We store `head` (release) when events were read; the kernel loads it (acquire) before it
//! fills a slot again. There is one taker at a time, and a taking `KAIO_GETEVENTS` is one too: who
//! shares a context keeps a lock, and waits with `KAIO_GETEVENTS_PEEK`.

use core::mem::size_of;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::uapi::{io_event, kaio_ring, KAIO_RING_INCOMPAT_FEATURES, KAIO_RING_MAGIC};

/// The ring of a context.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    ring: *mut kaio_ring,
    /// Its size as it was found: the program can write what is in the ring.
    slots: u32,
}

// SAFETY: it is an address of memory that all threads have; who takes events promises to be alone.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    /// The ring of the context `ctx_id`; `None` if it is one that we cannot read.
    ///
    /// # Safety
    ///
    /// `ctx_id` is what `KAIO_SETUP` returned in this address space, and the context is not
    /// destroyed while this value or a copy of it is used.
    #[inline]
    pub unsafe fn new(ctx_id: u64) -> Option<Self> {
        let ring = ctx_id as *mut kaio_ring;
        // SAFETY: a context's id is the address of its ring, which is mapped as long as the context
        // lives. These words do not change.
        let (magic, incompat, header, nr) = unsafe {
            (
                (*ring).magic,
                (*ring).incompat_features,
                (*ring).header_length,
                (*ring).nr,
            )
        };
        let known = magic == KAIO_RING_MAGIC
            && incompat == KAIO_RING_INCOMPAT_FEATURES
            && header as usize == size_of::<kaio_ring>()
            && nr > 1;
        known.then_some(Self { ring, slots: nr })
    }

    /// The ring of the context `ctx_id`, of which [`Ring::new`] said that it has so many slots.
    ///
    /// # Safety
    ///
    /// As for [`Ring::new`].
    #[inline]
    pub unsafe fn with_slots(ctx_id: u64, slots: u32) -> Self {
        let ring = ctx_id as *mut kaio_ring;
        Self { ring, slots }
    }

    #[inline]
    fn head(&self) -> &AtomicU32 {
        // SAFETY: mapped and aligned; only takers write it, atomically.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.ring).head) }
    }

    #[inline]
    fn tail(&self) -> &AtomicU32 {
        // SAFETY: mapped and aligned; only the kernel writes it, atomically.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.ring).tail) }
    }

    /// Slots of the ring; it holds one event less.
    #[inline]
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Head and tail as numbers below `slots`, whatever a program wrote there.
    #[inline]
    fn bounds(&self) -> (u32, u32, u32) {
        let nr = self.slots();
        let clamp = |n: u32| n.checked_rem(nr).unwrap_or(0);
        // Acquire: events before `tail` are read after it.
        let tail = clamp(self.tail().load(Ordering::Acquire));
        (clamp(self.head().load(Ordering::Relaxed)), tail, nr)
    }

    /// How many events the kernel ever put here, modulo [`Self::slots`].
    #[inline]
    pub fn completed(&self) -> u32 {
        self.bounds().1
    }

    /// Events that wait to be taken.
    #[inline]
    pub fn available(&self) -> u32 {
        let (head, tail, nr) = self.bounds();
        distance(head, tail, nr)
    }

    /// Takes up to `max` events to `events`; returns how many.
    ///
    /// # Safety
    ///
    /// `events` has room for `max` events, and nobody else takes events of this ring.
    #[inline]
    pub unsafe fn take(&self, events: *mut io_event, max: u32) -> u32 {
        let (head, tail, nr) = self.bounds();
        let take = distance(head, tail, nr).min(max);
        if take == 0 {
            return 0;
        }
        // Up to the end of the ring, then from its beginning.
        let first = take.min(nr - head);
        // SAFETY: `io_events` are `nr` events after the header, as the kernel made them; those from
        // head to tail are not written while head stays. `events` has room: `take` is at most `max`.
        unsafe {
            let slots = (&raw const (*self.ring).io_events).cast::<io_event>();
            ptr::copy_nonoverlapping(slots.add(head as usize), events, first as usize);
            ptr::copy_nonoverlapping(slots, events.add(first as usize), (take - first) as usize);
        }
        let next = head + take;
        let next = if next >= nr { next - nr } else { next };
        // Release: the events were read before their slots are free.
        self.head().store(next, Ordering::Release);
        take
    }
}

#[inline]
fn distance(head: u32, tail: u32, nr: u32) -> u32 {
    if tail >= head {
        tail - head
    } else {
        tail.wrapping_sub(head).wrapping_add(nr)
    }
}
