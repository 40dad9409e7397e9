// SPDX-License-Identifier: GPL-2.0

//! The pages of a ring, which are shared with user space (`aio_setup_ring()` of fs/aio.c).
//!
//! Programs may write to this memory at any moment. So no Rust reference to its bytes is made: it
//! is accessed by raw copies and by atomic operations only. There are no locks; `ctx::ring` has the
//! order of the accesses.

use kernel::{
    page::{
        Page,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
    uaccess::UserPtr,
};

use super::{
    ffi,
    uapi::IoEvent, //
};

/// Zeroed pages, charged to the cgroup of the task that made them.
///
/// # Invariants
///
/// There is at least one page. `base[i]` is the kernel's address of `pages[i]`, and `first` is that
/// of the first page.
pub(crate) struct SharedPages {
    pages: KVVec<Page>,
    base: KVVec<usize>,
    first: usize,
}

impl SharedPages {
    /// Allocates `count` pages. Returns `EINVAL` if `count` is 0, and `ENOMEM` if there is no
    /// memory.
    pub(crate) fn new(count: usize) -> Result<Self> {
        let mut pages = KVVec::with_capacity(count, GFP_KERNEL)?;
        let mut base = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            let page = Page::alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
            // SAFETY: the page is allocated. It is not in high memory, which `GFP_KERNEL_ACCOUNT`
            // excludes, so it has an address.
            let address = unsafe { ffi::kaio_page_address(page.as_ptr()) };
            base.push(address as usize, GFP_KERNEL)?;
            pages.push(page, GFP_KERNEL)?;
        }
        let first = *base.first().ok_or(EINVAL)?;
        // INVARIANT: `first` exists, and the addresses are those of the pages.
        Ok(Self { pages, base, first })
    }

    /// Returns the number of bytes in all pages.
    pub(crate) fn len(&self) -> usize {
        self.pages.len() * PAGE_SIZE
    }

    /// Returns the page of that index, if there is one.
    pub(crate) fn page(&self, index: usize) -> Option<&Page> {
        self.pages.get(index)
    }

    /// Returns the address of the `len` bytes at `offset`, if they are within one page.
    fn address(&self, offset: usize, len: usize) -> Option<usize> {
        let within = offset % PAGE_SIZE;
        if len > PAGE_SIZE - within {
            return None;
        }
        Some(self.base.get(offset / PAGE_SIZE)? | within)
    }

    /// Returns the aligned word at `OFFSET` in the first page.
    #[inline]
    fn word<const OFFSET: usize>(&self) -> &Atomic<u32> {
        const { assert!(OFFSET % 4 == 0 && OFFSET + 4 <= PAGE_SIZE) };
        // SAFETY: by the type's invariant `first` is the address of a page that lives as long as
        // `self`, and the assertion says that the word is aligned and within it. The kernel
        // accesses these words atomically only. What programs do to them by mappings of their own
        // is no access of this program, and any value is a valid `u32`.
        unsafe { Atomic::from_ptr((self.first + OFFSET) as *mut u32) }
    }

    /// Reads a word of the first page, to which programs store with release semantics.
    #[inline]
    pub(crate) fn load_acquire<const OFFSET: usize>(&self) -> u32 {
        self.word::<OFFSET>().load(Acquire)
    }

    /// Writes a word of the first page, and thereby publishes what was written before.
    #[inline]
    pub(crate) fn store_release<const OFFSET: usize>(&self, value: u32) {
        self.word::<OFFSET>().store(value, Release);
    }

    /// Writes a word of the first page, in no order with other accesses.
    pub(crate) fn store<const OFFSET: usize>(&self, value: u32) {
        self.word::<OFFSET>().store(value, Relaxed);
    }

    /// Writes `events` at `offset`, which is a multiple of the size of an event. Writes nothing if
    /// the events are not within one page. Any context.
    #[inline]
    pub(crate) fn write(&self, offset: usize, events: &[IoEvent]) {
        let Some(address) = self.address(offset, size_of_val(events)) else {
            return;
        };
        let mut to = (address as *mut IoEvent).cast::<u64>();
        if !to.is_aligned() {
            return;
        }
        for event in events {
            // SAFETY: `address` returned an address only if all events are within one page, which
            // lives as long as `self`. An event has four words of 8 bytes, and `to` is aligned to 8
            // bytes. The caller has reserved these slots of the ring, so no other thread of the
            // kernel writes them; programs may read them at any moment, so the writes are volatile.
            unsafe {
                to.write_volatile(event.data);
                to.add(1).write_volatile(event.obj);
                to.add(2).write_volatile(event.res as u64);
                to.add(3).write_volatile(event.res2 as u64);
                to = to.add(4);
            }
        }
    }

    /// Copies `len` bytes at `offset` to user memory. Returns `EFAULT` if they are not within one
    /// page, or user memory cannot be written.
    pub(crate) fn copy_to_user(&self, to: UserPtr, offset: usize, len: usize) -> Result {
        let address = self.address(offset, len).ok_or(EFAULT)?;
        // SAFETY: `address` returned an address only if the bytes are within one page, which lives
        // as long as `self`. The callee copies the bytes, whatever programs write to them
        // meanwhile, and checks the address `to`.
        match unsafe { ffi::kaio_copy_to_user(to.as_mut_ptr(), address as *const _, len) } {
            0 => Ok(()),
            _ => Err(EFAULT),
        }
    }
}
