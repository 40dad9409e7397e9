// SPDX-License-Identifier: LGPL-2.1-or-later

//! The contexts whose rings this library may read. A context is found by its id, without a lock.
//!
//! A context that is not in the table works as well, since then the kernel does everything. That is
//! so if the table is full there, or if the program has moved the ring by mremap.
//!
//! Each context has a lock, whose holder is the only consumer of events. The lock also keeps the
//! ring mapped, since destroy waits for it. A consumer holds it while it copies events, and never
//! while it waits for them.

use core::cell::UnsafeCell;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use kaio_sys::ring::Ring;
use kaio_sys::uapi::{__kernel_timespec, io_event};
use kaio_sys::{Errno, Result};

use crate::lock::Lock;
use crate::user;

/// The number of slots, a power of two. A program has a context for each thread, or fewer.
const SLOTS: usize = 1024;
/// The number of consecutive slots in which a context may be, beginning with the slot of its hash.
const PROBES: usize = 8;

const PAGE_SIZE: usize = 4096;
const EVENT_SIZE: usize = size_of::<io_event>();

/// The table of contexts. Zeroes are a valid value.
#[repr(C)]
pub(crate) struct Contexts {
    slots: [Slot; SLOTS],
}

/// A slot for a context. Zeroes are a valid value.
#[repr(C, align(64))]
pub(crate) struct Slot {
    lock: Lock,
    /// The context's id, or 0 if the slot is free. It is written with the lock.
    id: AtomicU64,
    /// The number of requests that were ever started.
    submitted: AtomicU64,
    /// Accessed with the lock.
    cached: UnsafeCell<Cached>,
}

// SAFETY: `cached` is accessed only with the lock: by `try_insert`, and by a [`Consumer`], which
// holds the lock. The other fields are atomic.
unsafe impl Sync for Slot {}

/// Results of checks, each of which costs a system call. `events` and `timeout` are pages that the
/// program has used with this context and that were accessible then. If the program unmaps such a
/// page and still names it, it gets SIGSEGV, as from any function of libc.
#[repr(C)]
struct Cached {
    events: Range<usize>,
    timeout: Range<usize>,
    /// The number of slots of the ring, or 0 if this library does not know the ring's format.
    slots: u32,
}

/// Returns the pages that contain `bytes`, which is not empty.
fn page_range(bytes: &Range<usize>) -> Range<usize> {
    bytes.start & !(PAGE_SIZE - 1)..((bytes.end - 1) | (PAGE_SIZE - 1)).wrapping_add(1)
}

fn contains(pages: &Range<usize>, bytes: &Range<usize>) -> bool {
    pages.start <= bytes.start && bytes.end <= pages.end
}

impl Contexts {
    #[inline]
    fn probe(&self, id: u64) -> impl Iterator<Item = &Slot> {
        // Rings are page-aligned and close to each other, so the page number is hashed (Fibonacci
        // hashing).
        let hash = (id >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        (0..PROBES).filter_map(move |i| self.slots.get((hash as usize + i) % SLOTS))
    }

    /// Returns the slot of the context `id`, or `None` if it is not in the table.
    #[inline]
    pub(crate) fn find(&self, id: u64) -> Option<&Slot> {
        self.probe(id)
            .find(|slot| slot.id.load(Ordering::Acquire) == id && id != 0)
    }

    /// Adds a new context if there is room.
    pub(crate) fn insert(&self, id: u64) {
        // A slot may still have this id, from a context whose ring the program has unmapped or
        // moved.
        for free in [id, 0] {
            for slot in self.probe(id) {
                if slot.id.load(Ordering::Relaxed) == free && slot.try_insert(free, id) {
                    return;
                }
            }
        }
    }

    /// Removes a context that is about to be destroyed. When the function returns, no thread reads
    /// the ring.
    ///
    /// The error `EAGAIN` means that the caller is a signal handler that interrupted a consumer of
    /// this context.
    pub(crate) fn remove(&self, id: u64) -> Result<()> {
        if let Some(slot) = self.find(id) {
            if let Some(consumer) = slot.lock(id)? {
                consumer.slot.id.store(0, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Removes all contexts, which have ended.
    pub(crate) fn clear(&self) {
        for slot in &self.slots {
            // A signal handler that interrupted a consumer cannot wait for it and leaves its slot
            // as it is.
            if slot.id.load(Ordering::Relaxed) != 0 && slot.lock.lock() {
                slot.id.store(0, Ordering::Release);
                slot.lock.unlock();
            }
        }
    }
}

impl Slot {
    fn try_insert(&self, from: u64, id: u64) -> bool {
        if !self.lock.lock() {
            return false;
        }
        let is_free = self.id.load(Ordering::Relaxed) == from;
        if is_free {
            // SAFETY: KAIO_SETUP has just returned this id, and the context cannot be destroyed
            // before `remove` has taken the lock, which this thread has.
            let ring = unsafe { Ring::new(id) };
            // SAFETY: this thread has the lock.
            unsafe {
                *self.cached.get() = Cached {
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

    /// Adds to the number of requests that were started.
    #[inline]
    pub(crate) fn add_submitted(&self, count: usize) {
        self.submitted.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Makes the caller the only consumer of events of the context `id`. Returns `None` if the slot
    /// does not have that context any more.
    ///
    /// The error `EAGAIN` has the same meaning as for [`Contexts::remove`].
    #[inline]
    pub(crate) fn lock(&self, id: u64) -> Result<Option<Consumer<'_>>> {
        if !self.lock.lock() {
            return Err(Errno::new(libc::EAGAIN));
        }
        let consumer = Consumer { slot: self };
        Ok((self.id.load(Ordering::Relaxed) == id).then_some(consumer))
    }
}

/// The only consumer of events of a context that exists. It holds the lock of the slot.
pub(crate) struct Consumer<'a> {
    slot: &'a Slot,
}

impl Drop for Consumer<'_> {
    #[inline]
    fn drop(&mut self) {
        self.slot.lock.unlock();
    }
}

impl Consumer<'_> {
    #[inline]
    fn cached(&mut self) -> &mut Cached {
        // SAFETY: the consumer holds the lock, and `&mut self` excludes other references from it.
        unsafe { &mut *self.slot.cached.get() }
    }

    /// Returns the ring, or `None` if this library does not know the ring's format.
    #[inline]
    fn ring(&self) -> Option<Ring> {
        // SAFETY: the consumer holds the lock.
        let slots = unsafe { (*self.slot.cached.get()).slots };
        if slots == 0 {
            return None;
        }
        // SAFETY: KAIO_SETUP has returned the id. A thread that destroys the context first removes
        // it from the table, for which it needs the lock that the consumer holds.
        Some(unsafe { Ring::with_slots(self.slot.id.load(Ordering::Relaxed), slots) })
    }

    /// Returns whether requests are in flight. The result may be wrong while other threads submit.
    pub(crate) fn has_requests_in_flight(&self) -> bool {
        let submitted = self.slot.submitted.load(Ordering::Relaxed);
        self.ring().is_some_and(|ring| {
            // The context has fewer requests in flight than the ring has slots. `slots` is not 0.
            let slots = u64::from(ring.slots());
            submitted.checked_rem(slots) != Some(ring.completed().into())
        })
    }

    /// Moves up to `max` events to `events`, without a system call if its pages are cached.
    ///
    /// With the error `EFAULT` no event is taken. `ENOSYS` means that only the kernel can take
    /// events: this library does not know the ring's format, or the context has ended because the
    /// program has closed the device.
    #[inline]
    pub(crate) fn take(&mut self, events: *mut io_event, max: u64) -> Result<u32> {
        let ring = self.ring().ok_or(Errno::new(libc::ENOSYS))?;
        let count = max.min(ring.available().into()) as u32;
        if count == 0 && !ring.is_alive() {
            return Err(Errno::new(libc::ENOSYS));
        }
        if count > 0 {
            let start = events as usize;
            let end = start
                .checked_add(count as usize * EVENT_SIZE)
                .ok_or(user::EFAULT)?;
            self.check_writable(start..end)?;
        }
        // SAFETY: `check_writable` has seen that `events` has room, and the lock makes this thread
        // the only consumer.
        Ok(unsafe { ring.take(events, count) })
    }

    /// Returns `EFAULT` unless `bytes`, which has room for at least one event, can be overwritten.
    #[inline]
    fn check_writable(&mut self, bytes: Range<usize>) -> Result<()> {
        if contains(&self.cached().events, &bytes) {
            return Ok(());
        }
        let pages = page_range(&bytes);
        let mut at = bytes.start;
        while at < bytes.end {
            // The word lies within `bytes`, and at least one byte of it is on this page.
            if !user::is_writable(at.min(bytes.end - user::WORD)) {
                return Err(user::EFAULT);
            }
            at = (at | (PAGE_SIZE - 1)).saturating_add(1);
        }
        let cached = &mut self.cached().events;
        let apart = cached.end < pages.start || pages.end < cached.start;
        *cached = match apart {
            true => pages,
            false => cached.start.min(pages.start)..cached.end.max(pages.end),
        };
        Ok(())
    }

    /// Returns the time at `at`.
    #[inline]
    pub(crate) fn read_timeout(
        &mut self,
        at: *const __kernel_timespec,
    ) -> Result<__kernel_timespec> {
        let start = at as usize;
        let end = start
            .checked_add(size_of::<__kernel_timespec>())
            .ok_or(user::EFAULT)?;
        if contains(&self.cached().timeout, &(start..end)) {
            // SAFETY: the page was readable when it was put into the cache. The caller's pointer
            // may be unaligned.
            return Ok(unsafe { at.read_unaligned() });
        }
        let time = user::read_timespec(at)?;
        self.cached().timeout = page_range(&(start..end));
        Ok(time)
    }
}
