// SPDX-License-Identifier: LGPL-2.1-or-later

//! Takes events from a context's ring without a system call.
//!
//! The kernel writes an event, then stores `tail` (release); this module loads `tail` (acquire) and
//! then reads the event. When it has read events, it stores `head` (release); the kernel loads
//! `head` (acquire) before it fills a slot again. Only one thread at a time may take events, and a
//! `KAIO_GETEVENTS` that takes events counts as one. Threads that share a context therefore use a
//! lock, and wait with `KAIO_GETEVENTS_PEEK`.

use core::mem::size_of;
use core::ptr;
use core::sync::atomic::{fence, AtomicU32, Ordering};

use crate::uapi::{io_event, kaio_ring, KAIO_RING_INCOMPAT_FEATURES, KAIO_RING_MAGIC};

/// The ring of a context.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    ring: *mut kaio_ring,
    /// The number of slots when the ring was checked. The program can overwrite the number in the
    /// ring.
    slots: u32,
}

// SAFETY: the struct contains an address that is valid in all threads. `take` is unsafe; its
// callers promise that only one of them takes events at a time.
unsafe impl Send for Ring {}
// SAFETY: the only method that changes more than one word of the ring is `take`, whose callers
// promise that only one of them takes events at a time. The other methods access the ring
// atomically.
unsafe impl Sync for Ring {}

impl Ring {
    /// Returns the ring of the context `ctx_id`, or `None` if this module does not know the ring's
    /// format.
    ///
    /// # Safety
    ///
    /// `KAIO_SETUP` has returned `ctx_id` in this address space, and the context is not destroyed
    /// while this value or a copy of it is used. (The last close of the device may end the context:
    /// see [`Ring::is_alive`].)
    #[inline]
    pub unsafe fn new(ctx_id: u64) -> Option<Self> {
        let ring = ctx_id as *mut kaio_ring;
        // SAFETY: a context's id is the address of its ring, which the caller promises to be
        // mapped. These words do not change.
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

    /// Returns the ring of the context `ctx_id`, for which [`Ring::new`] has returned a ring of so
    /// many slots.
    ///
    /// # Safety
    ///
    /// As [`Ring::new`].
    #[inline]
    pub unsafe fn with_slots(ctx_id: u64, slots: u32) -> Self {
        let ring = ctx_id as *mut kaio_ring;
        Self { ring, slots }
    }

    #[inline]
    fn head(&self) -> &AtomicU32 {
        // SAFETY: `new` and `with_slots` promise that the ring is mapped and aligned; this word is
        // only accessed atomically.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.ring).head) }
    }

    #[inline]
    fn tail(&self) -> &AtomicU32 {
        // SAFETY: `new` and `with_slots` promise that the ring is mapped and aligned; this word is
        // only accessed atomically.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.ring).tail) }
    }

    /// Returns whether the context still exists. The last close of the device by any code of the
    /// process ends the context and maps zeroed memory in the place of the ring.
    #[inline]
    pub fn is_alive(&self) -> bool {
        // SAFETY: `new` and `with_slots` promise that this address is mapped and aligned, by the
        // ring or by the zeroed memory that the last close leaves.
        let magic = unsafe { AtomicU32::from_ptr(&raw mut (*self.ring).magic) };
        magic.load(Ordering::Relaxed) == KAIO_RING_MAGIC
    }

    /// Returns the number of slots. The ring holds at most one event less.
    #[inline]
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Returns head and tail, both made less than `slots`, whatever the program has written there,
    /// and `slots`.
    #[inline]
    fn bounds(&self) -> (u32, u32, u32) {
        let nr = self.slots();
        let clamp = |n: u32| n.checked_rem(nr).unwrap_or(0);
        // Acquire: `tail` is read after `head`, so that it is never behind `head`, whichever thread
        // moves `head`.
        let head = clamp(self.head().load(Ordering::Acquire));
        // Acquire: the events before `tail` and the magic number are read after `tail`. If the
        // magic number is correct, neither word was one of the zeroes that a close leaves.
        let tail = clamp(self.tail().load(Ordering::Acquire));
        match self.is_alive() {
            true => (head, tail, nr),
            false => (0, 0, nr),
        }
    }

    /// Returns how many events the kernel has put into the ring since its setup, modulo
    /// [`Self::slots`].
    #[inline]
    pub fn completed(&self) -> u32 {
        self.bounds().1
    }

    /// Returns how many events are in the ring, or 0 if the context is not alive.
    #[inline]
    pub fn available(&self) -> u32 {
        let (head, tail, nr) = self.bounds();
        distance(head, tail, nr)
    }

    /// Moves up to `max` events to `events` and returns their number.
    ///
    /// # Safety
    ///
    /// `events` has room for `max` events, and no other thread takes events of this ring meanwhile.
    #[inline]
    pub unsafe fn take(&self, events: *mut io_event, max: u32) -> u32 {
        let (head, tail, nr) = self.bounds();
        let take = distance(head, tail, nr).min(max);
        if take == 0 {
            return 0;
        }
        // Copy up to the end of the ring, then from its beginning.
        let first = take.min(nr - head);
        // SAFETY: the kernel has made `io_events` of `nr` events after the header. It does not
        // write the events from head to tail as long as `head` stays. `events` has room, since
        // `take` is at most `max`.
        unsafe {
            let slots = (&raw const (*self.ring).io_events).cast::<io_event>();
            ptr::copy_nonoverlapping(slots.add(head as usize), events, first as usize);
            ptr::copy_nonoverlapping(slots, events.add(first as usize), (take - first) as usize);
        }
        // The copies come before the check of the magic number: another thread may have closed the
        // device meanwhile.
        fence(Ordering::Acquire);
        if !self.is_alive() {
            return 0;
        }
        let next = head + take;
        let next = if next >= nr { next - nr } else { next };
        // Release: the events are read before their slots become free.
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

#[cfg(test)]
mod tests;
