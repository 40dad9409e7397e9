// SPDX-License-Identifier: LGPL-2.1-or-later

//! The contexts of the kernel that POSIX AIO uses.
//!
//! The library never reads the ring of such a context: if the program closes the library's
//! descriptor, the kernel unmaps the ring while a thread may still use the context.

use core::ffi::c_int;

use kaio_sys::{ioctl, Errno, Result};

use super::list::List;

/// The number of requests that the first context holds, unless `aio_init()` asks for more; each
/// later context holds twice as many as the largest one.
const FIRST_ROOM: u32 = 127;
/// The size of the largest context, whatever a program asks for.
pub(super) const MAX_ROOM: u32 = 1 << 16;

pub(super) struct Context {
    pub(super) id: u64,
    /// The number of requests that it may hold. The kernel has room for one more, the no-op that
    /// wakes the helper.
    room: u32,
    pub(super) requests: u32,
    /// Streams that wait for room in this context: their requests must be served in order, and so
    /// in one context.
    pub(super) stalled: List,
    /// Set if a request was put here since the last call of [`Contexts::trim`].
    pub(super) used: bool,
}

impl Context {
    pub(super) fn new(id: u64, room: u32) -> Self {
        Self {
            id,
            room,
            requests: 0,
            stalled: List::new(),
            used: true,
        }
    }

    fn left(&self) -> u32 {
        self.room.saturating_sub(self.requests)
    }
}

/// The contexts by their number. `None` means that the context of that number was destroyed.
pub(super) struct Contexts(Vec<Option<Context>>);

impl Contexts {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn get(&self, number: usize) -> Option<&Context> {
        self.0.get(number)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut Context> {
        self.0.get_mut(number)?.as_mut()
    }

    /// Returns one more than the greatest number of a context.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the id of the first context, which exists as long as the device is open.
    pub(super) fn first_id(&self) -> Option<u64> {
        self.get(0).map(|context| context.id)
    }

    /// Returns how many more requests the context may hold.
    pub(super) fn room_left(&self, number: usize) -> u32 {
        self.get(number).map_or(0, Context::left)
    }

    /// Returns a context with room for `count` requests.
    pub(super) fn with_room(&self, count: u32) -> Option<usize> {
        (0..self.0.len()).find(|&number| self.room_left(number) >= count)
    }

    /// Returns the size of the next context. `expects` is the number of requests that the program
    /// expects to have at the same time.
    pub(super) fn next_room(&self, expects: u32) -> u32 {
        match self.0.iter().flatten().map(|context| context.room).max() {
            None => expects.clamp(FIRST_ROOM, MAX_ROOM),
            Some(largest) => largest.saturating_mul(2).min(MAX_ROOM),
        }
    }

    /// Reserves memory for one more context.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: there is no memory.
    pub(super) fn reserve(&mut self) -> Result<()> {
        let reserved = self.0.try_reserve(1);
        reserved.map_err(|_| Errno::new(libc::EAGAIN))
    }

    /// Adds a context, for which there is memory, and returns its number.
    pub(super) fn add(&mut self, context: Context) -> usize {
        match self.0.iter_mut().enumerate().find(|c| c.1.is_none()) {
            Some((number, free)) => {
                *free = Some(context);
                number
            }
            None => {
                self.0.push(Some(context));
                self.0.len() - 1
            }
        }
    }

    /// Forgets all contexts, which have ended.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Destroys contexts that a burst of requests has left: those that are empty and that no
    /// request used since the last call, or with `all` every empty one. The first context stays.
    pub(super) fn trim(&mut self, fd: c_int, all: bool) {
        for context in self.0.iter_mut().skip(1) {
            let Some(some) = context else {
                continue;
            };
            if some.requests > 0 || !some.stalled.is_empty() || some.used && !all {
                some.used = false;
                continue;
            }
            // SAFETY: the library has made the context, which is empty (`requests` is 0), and never
            // reads a ring.
            let _ = unsafe { ioctl::destroy(fd, some.id) };
            *context = None;
        }
        while self.0.last().is_some_and(Option::is_none) {
            self.0.pop();
        }
    }
}
