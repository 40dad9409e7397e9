// SPDX-License-Identifier: LGPL-2.1-or-later

//! The contexts whose rings we may read: found by their ids, without a lock.
//!
//! A context that is not here (the table is full there, or the program moved the ring by mremap)
//! works as well: then the kernel does all of it.
//!
//! Each has a lock, which makes its holder the one taker of events and keeps the ring mapped:
//! destroy waits for it. It is held while events are copied, never while somebody waits for them.

use core::cell::UnsafeCell;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use kaio_sys::ring::Ring;
use kaio_sys::uapi::{__kernel_timespec, io_event};
use kaio_sys::{Errno, Result};

use crate::lock::Lock;
use crate::user;

/// A power of two. Programs have a context for each thread, or fewer.
const SLOTS: usize = 1024;
/// A context is in one of so many places that follow its hash, or it is not here.
const WINDOW: usize = 8;

const PAGE: usize = 4096;
const EVENT: usize = size_of::<io_event>();

/// The table. Valid as zeroes.
#[repr(C)]
pub(crate) struct Contexts {
    slots: [Slot; SLOTS],
}

/// A place for a context. Valid as zeroes.
#[repr(C, align(64))]
pub(crate) struct Slot {
    lock: Lock,
    /// 0: free. Written with the lock.
    id: AtomicU64,
    /// Requests that were started, ever.
    submitted: AtomicU64,
    /// With the lock.
    known: UnsafeCell<Known>,
}

// SAFETY: `known` is touched only by the holder of the lock.
unsafe impl Sync for Slot {}

/// What need not be asked again, which would cost a system call each time: pages of the program's that
/// this context was used with, and that could be accessed then. If the program unmaps one and still
/// names it, it gets the SIGSEGV that it would get from any function of libc.
#[repr(C)]
struct Known {
    events: Range<usize>,
    timeout: Range<usize>,
    /// Of the ring; 0 if it is of a kind that only the kernel understands.
    slots: u32,
}

/// The pages that have the bytes of `bytes`, which is not empty.
fn pages(bytes: &Range<usize>) -> Range<usize> {
    bytes.start & !(PAGE - 1)..((bytes.end - 1) | (PAGE - 1)).wrapping_add(1)
}

fn contains(pages: &Range<usize>, bytes: &Range<usize>) -> bool {
    pages.start <= bytes.start && bytes.end <= pages.end
}

impl Contexts {
    #[inline]
    fn window(&self, id: u64) -> impl Iterator<Item = &Slot> {
        // Rings are page-aligned and near to each other: Fibonacci hashing of the page number.
        let hash = (id >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        (0..WINDOW).filter_map(move |i| self.slots.get((hash as usize + i) % SLOTS))
    }

    /// The context `id`, if it is here.
    #[inline]
    pub(crate) fn find(&self, id: u64) -> Option<&Slot> {
        self.window(id)
            .find(|slot| slot.id.load(Ordering::Acquire) == id && id != 0)
    }

    /// Puts a new context here, if there is room.
    pub(crate) fn insert(&self, id: u64) {
        // An entry of that id is left from one whose ring the program unmapped or moved.
        for free in [id, 0] {
            for slot in self.window(id) {
                if slot.id.load(Ordering::Relaxed) == free && slot.claim(free, id) {
                    return;
                }
            }
        }
    }

    /// Takes a context out, which is to be destroyed: when this returns, nobody reads its ring.
    ///
    /// `EAGAIN`: this is a signal handler, and what it interrupted is just taking events.
    pub(crate) fn remove(&self, id: u64) -> Result<()> {
        if let Some(slot) = self.find(id) {
            if let Some(taker) = slot.lock(id)? {
                taker.slot.id.store(0, Ordering::Release);
            }
        }
        Ok(())
    }

    /// All of them have ended.
    pub(crate) fn clear(&self) {
        for slot in &self.slots {
            // A handler that interrupted a taker cannot wait; but then the taker had a ring.
            if slot.id.load(Ordering::Relaxed) != 0 && slot.lock.lock() {
                slot.id.store(0, Ordering::Release);
                slot.lock.unlock();
            }
        }
    }
}

impl Slot {
    fn claim(&self, from: u64, id: u64) -> bool {
        if !self.lock.lock() {
            return false;
        }
        let is_free = self.id.load(Ordering::Relaxed) == from;
        if is_free {
            // SAFETY: the id came from KAIO_SETUP just now.
            let ring = unsafe { Ring::new(id) };
            // SAFETY: we have the lock.
            unsafe {
                *self.known.get() = Known {
                    events: 0..0,
                    timeout: 0..0,
                    slots: ring.map_or(0, |ring| ring.slots()),
                }
            };
            self.submitted.store(0, Ordering::Relaxed);
            self.id.store(id, Ordering::Release);
        }
        self.lock.unlock();
        is_free
    }

    /// So many more requests were started.
    #[inline]
    pub(crate) fn count(&self, submitted: usize) {
        self.submitted
            .fetch_add(submitted as u64, Ordering::Relaxed);
    }

    /// Makes us the one taker of events of context `id`. `None`: it has left.
    ///
    /// `EAGAIN`: as [`Contexts::remove`].
    #[inline]
    pub(crate) fn lock(&self, id: u64) -> Result<Option<Taker<'_>>> {
        if !self.lock.lock() {
            return Err(Errno::new(libc::EAGAIN));
        }
        let taker = Taker { slot: self };
        Ok((self.id.load(Ordering::Relaxed) == id).then_some(taker))
    }
}

/// The one who takes events of a context that is alive.
pub(crate) struct Taker<'a> {
    slot: &'a Slot,
}

impl Drop for Taker<'_> {
    #[inline]
    fn drop(&mut self) {
        self.slot.lock.unlock();
    }
}

impl Taker<'_> {
    #[inline]
    fn known(&mut self) -> &mut Known {
        // SAFETY: we have the lock, and this is the only way to it.
        unsafe { &mut *self.slot.known.get() }
    }

    /// The ring; `None` if it is of a kind that only the kernel understands.
    #[inline]
    fn ring(&self) -> Option<Ring> {
        // SAFETY: we have the lock.
        let slots = unsafe { (*self.slot.known.get()).slots };
        if slots == 0 {
            return None;
        }
        // SAFETY: the id came from KAIO_SETUP; who destroys the context removes it from here
        // first, for which it needs the lock that we have.
        Some(unsafe { Ring::with_slots(self.slot.id.load(Ordering::Relaxed), slots) })
    }

    /// Whether there are requests that have not completed. May be wrong while others submit.
    pub(crate) fn is_busy(&self) -> bool {
        let submitted = self.slot.submitted.load(Ordering::Relaxed);
        self.ring().is_some_and(|ring| {
            // There are fewer in flight than the ring has slots. `slots` is not 0.
            let slots = u64::from(ring.slots());
            submitted.checked_rem(slots) != Some(ring.completed().into())
        })
    }

    /// Takes up to `max` events to `events`, without a system call if its pages are known.
    ///
    /// `EFAULT` takes none. `ENOSYS`: see [`Self::ring`].
    #[inline]
    pub(crate) fn take(&mut self, events: *mut io_event, max: u64) -> Result<u32> {
        let ring = self.ring().ok_or(Errno::new(libc::ENOSYS))?;
        let count = max.min(ring.available().into()) as u32;
        if count > 0 {
            let start = events as usize;
            let end = start
                .checked_add(count as usize * EVENT)
                .ok_or(user::EFAULT)?;
            self.admit(start..end)?;
        }
        // SAFETY: `events` has room, as was just seen; we are the one taker.
        Ok(unsafe { ring.take(events, count) })
    }

    /// `EFAULT` unless `bytes`, which are about to be overwritten, can be. At least an event.
    #[inline]
    fn admit(&mut self, bytes: Range<usize>) -> Result<()> {
        if contains(&self.known().events, &bytes) {
            return Ok(());
        }
        let pages = pages(&bytes);
        let mut at = bytes.start;
        while at < bytes.end {
            // Within the bytes, and at least one of them on this page.
            if !user::is_writable(at.min(bytes.end - user::WORD)) {
                return Err(user::EFAULT);
            }
            at = (at | (PAGE - 1)).saturating_add(1);
        }
        let known = &mut self.known().events;
        let apart = known.end < pages.start || pages.end < known.start;
        *known = match apart {
            true => pages,
            false => known.start.min(pages.start)..known.end.max(pages.end),
        };
        Ok(())
    }

    /// The time at `at`.
    #[inline]
    pub(crate) fn timeout(&mut self, at: *const __kernel_timespec) -> Result<__kernel_timespec> {
        let start = at as usize;
        let end = start
            .checked_add(size_of::<__kernel_timespec>())
            .ok_or(user::EFAULT)?;
        if contains(&self.known().timeout, &(start..end)) {
            // SAFETY: it could be read when it became known. Alignment is up to the caller.
            return Ok(unsafe { at.read_unaligned() });
        }
        let time = user::read_timespec(at)?;
        self.known().timeout = pages(&(start..end));
        Ok(time)
    }
}
