// SPDX-License-Identifier: LGPL-2.1-or-later

//! Detection of a fork. A context belongs to the process that made it: in a child of that process,
//! the address of the ring is unmapped, or the child has mapped something of its own there.
//!
//! This module keeps a word in memory that the kernel clears in the child (`MADV_WIPEONFORK`),
//! whichever system call made the child. A child that shares the parent's memory (vfork) shares the
//! word and the rings.

use std::io;
#[cfg(not(miri))]
use std::ptr::{null_mut, NonNull};
#[cfg(not(miri))]
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::{AtomicU32, Ordering};

/// The address of the word; null until the first context is made.
#[cfg(not(miri))]
static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(null_mut());
/// The number of processes, this one and its ancestors, that used the crate before they forked.
static GENERATIONS: AtomicU32 = AtomicU32::new(0);

/// Identifies a process among those that have inherited `GENERATIONS`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Process(u32);

/// Returns the word. Miri knows neither madvise() nor fork(), so there it is an ordinary word.
#[cfg(miri)]
fn word() -> io::Result<&'static AtomicU32> {
    static WORD: AtomicU32 = AtomicU32::new(0);
    Ok(&WORD)
}

#[cfg(not(miri))]
fn word() -> io::Result<&'static AtomicU32> {
    let word = match NonNull::new(WORD.load(Ordering::Acquire)) {
        Some(word) => word,
        None => map()?,
    };
    // SAFETY: `map` made this word, zeroed and aligned, and this module never unmaps it.
    Ok(unsafe { word.as_ref() })
}

#[cfg(not(miri))]
fn map() -> io::Result<NonNull<AtomicU32>> {
    const SIZE: usize = 4096;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: the kernel chooses the address of the new mapping, so no other mapping is touched.
    let page = unsafe { libc::mmap(null_mut(), SIZE, prot, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the page was mapped above, and no other thread knows its address yet.
    if unsafe { libc::madvise(page, SIZE, libc::MADV_WIPEONFORK) } != 0 {
        let e = io::Error::last_os_error();
        // SAFETY: the page was mapped above, and no other thread knows its address.
        unsafe { libc::munmap(page, SIZE) };
        return Err(e);
    }
    let word = page.cast::<AtomicU32>();
    match WORD.compare_exchange(null_mut(), word, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: mmap() has not failed, and it does not return a null pointer.
        Ok(_) => Ok(unsafe { NonNull::new_unchecked(word) }),
        Err(first) => {
            // SAFETY: another thread has stored its page first, so no thread has seen the address
            // of this one.
            unsafe { libc::munmap(page, SIZE) };
            NonNull::new(first).ok_or(io::ErrorKind::OutOfMemory.into())
        }
    }
}

impl Process {
    /// Returns the identity of this process, and gives it one if it has none.
    pub(super) fn current() -> io::Result<Self> {
        let word = word()?;
        if word.load(Ordering::Acquire) == 0 {
            let new = GENERATIONS.fetch_add(1, Ordering::Relaxed) + 1;
            // Another thread may store a number first; then that number is used.
            let _ = word.compare_exchange(0, new, Ordering::AcqRel, Ordering::Acquire);
        }
        Ok(Self(word.load(Ordering::Acquire)))
    }

    /// Returns whether this process is `self` or shares the memory of `self`.
    pub(super) fn is_current(self) -> bool {
        word().is_ok_and(|word| word.load(Ordering::Relaxed) == self.0)
    }
}
