// SPDX-License-Identifier: GPL-2.0

//! Memory that is shared with user space, which may write to it at any moment.
//!
//! No reference to its bytes is ever made: raw copies and atomics only.

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

/// Pages, zeroed, charged to the cgroup of the task that made them.
///
/// # Invariants
///
/// `base[i]` is the kernel's address of `pages[i]`, `first` is that of the first one.
pub(crate) struct SharedPages {
    pages: KVVec<Page>,
    base: KVVec<usize>,
    first: usize,
}

impl SharedPages {
    /// `EINVAL`: no pages.
    pub(crate) fn new(count: usize) -> Result<Self> {
        let mut pages = KVVec::with_capacity(count, GFP_KERNEL)?;
        let mut base = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            let page = Page::alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
            // SAFETY: a page of normal memory has an address.
            let address = unsafe { ffi::kaio_page_address(page.as_ptr()) };
            base.push(address as usize, GFP_KERNEL)?;
            pages.push(page, GFP_KERNEL)?;
        }
        let first = *base.first().ok_or(EINVAL)?;
        Ok(Self { pages, base, first })
    }

    pub(crate) fn len(&self) -> usize {
        self.pages.len() * PAGE_SIZE
    }

    pub(super) fn page(&self, index: usize) -> Option<&Page> {
        self.pages.get(index)
    }

    /// The address of `len` bytes at `offset`, if they are within one page.
    fn address(&self, offset: usize, len: usize) -> Option<usize> {
        let within = offset % PAGE_SIZE;
        if len > PAGE_SIZE - within {
            return None;
        }
        Some(self.base.get(offset / PAGE_SIZE)? | within)
    }

    /// The aligned word at `OFFSET` of the first page.
    #[inline]
    fn word<const OFFSET: usize>(&self) -> &Atomic<u32> {
        const { assert!(OFFSET % 4 == 0 && OFFSET + 4 <= PAGE_SIZE) };
        // SAFETY: within one of our pages, aligned; all that the kernel does to words is atomic,
        // and what user space does is not the compiler's business.
        unsafe { Atomic::from_ptr((self.first + OFFSET) as *mut u32) }
    }

    /// Reads a word of the first page, which user space releases.
    #[inline]
    pub(crate) fn load_acquire<const OFFSET: usize>(&self) -> u32 {
        self.word::<OFFSET>().load(Acquire)
    }

    /// Publishes what was written before, in the first page.
    #[inline]
    pub(crate) fn store_release<const OFFSET: usize>(&self, value: u32) {
        self.word::<OFFSET>().store(value, Release);
    }

    /// Writes a word of the first page.
    pub(crate) fn store<const OFFSET: usize>(&self, value: u32) {
        self.word::<OFFSET>().store(value, Relaxed);
    }

    /// Writes events at a multiple of their size; they must be within one page. Any context.
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
            // SAFETY: within one of our pages, and aligned.
            unsafe {
                to.write_volatile(event.data);
                to.add(1).write_volatile(event.obj);
                to.add(2).write_volatile(event.res as u64);
                to.add(3).write_volatile(event.res2 as u64);
                to = to.add(4);
            }
        }
    }

    /// Copies to user memory, within one page. `EFAULT`.
    pub(crate) fn copy_to_user(&self, to: UserPtr, offset: usize, len: usize) -> Result {
        let address = self.address(offset, len).ok_or(EFAULT)?;
        // SAFETY: `len` bytes of one of our pages; the callee copies what it finds there.
        match unsafe { ffi::kaio_copy_to_user(to.as_mut_ptr(), address as *const _, len) } {
            0 => Ok(()),
            _ => Err(EFAULT),
        }
    }
}
