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
/// `base[i]` is the kernel's address of `pages[i]`.
pub(crate) struct SharedPages {
    pages: KVVec<Page>,
    base: KVVec<usize>,
}

impl SharedPages {
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
        Ok(Self { pages, base })
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
        Some(self.base.get(offset / PAGE_SIZE)? + within)
    }

    /// The aligned word at `offset`.
    fn word(&self, offset: usize) -> Option<&Atomic<u32>> {
        let address = self.address(offset, 4).filter(|a| a % 4 == 0)?;
        // SAFETY: within one of our pages, aligned; all that the kernel does to words is atomic,
        // and what user space does is not the compiler's business.
        Some(unsafe { Atomic::from_ptr(address as *mut u32) })
    }

    /// Reads a word that user space releases. Out of range: 0.
    pub(crate) fn load_acquire(&self, offset: usize) -> u32 {
        self.word(offset).map_or(0, |word| word.load(Acquire))
    }

    /// Publishes what was written before.
    pub(crate) fn store_release(&self, offset: usize, value: u32) {
        if let Some(word) = self.word(offset) {
            word.store(value, Release);
        }
    }

    pub(crate) fn store(&self, offset: usize, value: u32) {
        if let Some(word) = self.word(offset) {
            word.store(value, Relaxed);
        }
    }

    /// Writes events at a multiple of 8; they must be within one page. Any context.
    pub(crate) fn write(&self, offset: usize, events: &[IoEvent]) {
        let len = size_of_val(events);
        let Some(address) = self.address(offset, len).filter(|a| a % 8 == 0) else {
            return;
        };
        let mut to = address as *mut IoEvent;
        for event in events {
            // SAFETY: within one of our pages, and aligned.
            unsafe {
                to.write_volatile(*event);
                to = to.add(1);
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
