// SPDX-License-Identifier: LGPL-2.1-or-later

//! The requests that are under way, for each descriptor in the order in which they came, and what the
//! program is to be told of those that have ended.
//!
//! A table that grows and does not shrink, in pieces that do not move: the kernel knows a request by
//! the address of its iocb. A place in it is all that a request ever needs: what has been started can
//! end, and be told, without memory.

use core::array;

use kaio_sys::uapi::{iocb, IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC};
use kaio_sys::{Errno, Result};

use super::control::Control;
use super::lists::Group;
use super::notify::{Notice, Outbox};

/// The number of a place in the table.
pub(super) type Index = u32;

/// Where a request is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Kept back: others on this descriptor come first.
    Held,
    /// In this context, by its number.
    Kernel(usize),
    /// In a context that was lost, whose ring was there. The helper of this number finds out when
    /// nothing is in flight any more.
    Lost { helper: usize, ring: u64 },
}

/// Device and inode: the file that a descriptor was when a request was made.
pub(super) type Identity = (u32, u32, u64);

pub(super) struct Request {
    pub(super) iocb: iocb,
    pub(super) control: Control,
    pub(super) file: i32,
    pub(super) identity: Identity,
    pub(super) notice: Notice,
    pub(super) group: Option<Group>,
    pub(super) place: Place,
    /// It is cancelled, and its event is not there yet.
    pub(super) cancelling: bool,
}

impl Request {
    pub(super) fn is(&self, command: u32) -> bool {
        u32::from(self.iocb.aio_lio_opcode) == command
    }

    /// fsync or fdatasync.
    pub(super) fn is_sync(&self) -> bool {
        self.is(IOCB_CMD_FSYNC) || self.is(IOCB_CMD_FDSYNC)
    }
}

/// What can be told of one request: its own end, and that of its list.
pub(super) type Notices = [Notice; 2];

const NONE: Notices = [Notice::None; 2];

struct Slot {
    request: Option<Request>,
    /// Of a request that has ended.
    notices: Notices,
    /// Neighbours in the list of the descriptor; `next` also in the list of the free places, and of
    /// those whose end is to be told.
    previous: Option<Index>,
    next: Option<Index>,
}

#[derive(Clone, Copy)]
struct List {
    first: Option<Index>,
    last: Option<Index>,
}

const EMPTY: List = List {
    first: None,
    last: None,
};

const PIECE: usize = 64;
/// Descriptors share a list if they are the same modulo this.
const LISTS: usize = 256;

pub(super) struct Requests {
    pieces: Vec<Box<[Slot; PIECE]>>,
    free: Option<Index>,
    lists: [List; LISTS],
    to_tell: List,
    count: usize,
}

impl Requests {
    pub(super) const fn new() -> Self {
        Self {
            pieces: Vec::new(),
            free: None,
            lists: [EMPTY; LISTS],
            to_tell: EMPTY,
            count: 0,
        }
    }

    /// How many are under way.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Places in the table: indices are below that.
    pub(super) fn places(&self) -> Index {
        (self.pieces.len() * PIECE) as Index
    }

    fn slot(&self, index: Index) -> Option<&Slot> {
        let index = index as usize;
        self.pieces.get(index / PIECE)?.get(index % PIECE)
    }

    fn slot_mut(&mut self, index: Index) -> Option<&mut Slot> {
        let index = index as usize;
        self.pieces.get_mut(index / PIECE)?.get_mut(index % PIECE)
    }

    pub(super) fn get(&self, index: Index) -> Option<&Request> {
        self.slot(index)?.request.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: Index) -> Option<&mut Request> {
        self.slot_mut(index)?.request.as_mut()
    }

    fn list(&mut self, file: i32) -> &mut List {
        &mut self.lists[file as u32 as usize % LISTS]
    }

    /// Another piece. `EAGAIN`: there is no memory.
    fn grow(&mut self) -> Result<()> {
        const NO_MEMORY: Errno = Errno::new(libc::EAGAIN);
        let first = self.places();
        let mut piece = Vec::new();
        piece.try_reserve_exact(PIECE).map_err(|_| NO_MEMORY)?;
        self.pieces.try_reserve(1).map_err(|_| NO_MEMORY)?;
        let slots: [Slot; PIECE] = array::from_fn(|at| Slot {
            request: None,
            notices: NONE,
            previous: None,
            next: (at + 1 < PIECE).then_some(first + at as Index + 1),
        });
        piece.extend(slots);
        // It has just the capacity, so nothing is allocated, and just the length.
        if let Ok(piece) = piece.into_boxed_slice().try_into() {
            self.pieces.push(piece);
            self.free = Some(first);
        }
        Ok(())
    }

    /// A place for a request, or for something to tell.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: there is no memory.
    pub(super) fn reserve(&mut self) -> Result<Index> {
        if self.free.is_none() {
            self.grow()?;
        }
        let index = self.free.ok_or(Errno::new(libc::EAGAIN))?;
        self.free = self.slot(index).and_then(|slot| slot.next);
        Ok(index)
    }

    /// Puts a request last among those of its descriptor.
    pub(super) fn put(&mut self, index: Index, request: Request) {
        let file = request.file;
        let last = self.list(file).last;
        if let Some(slot) = self.slot_mut(index) {
            slot.request = Some(request);
            slot.previous = last;
            slot.next = None;
        }
        match last.and_then(|last| self.slot_mut(last)) {
            Some(slot) => slot.next = Some(index),
            None => self.list(file).first = Some(index),
        }
        self.list(file).last = Some(index);
        self.count += 1;
    }

    /// Takes a request that has ended out of its list. Its place is kept: see [`Self::give_back`].
    pub(super) fn take(&mut self, index: Index) -> Option<Request> {
        let slot = self.slot_mut(index)?;
        let request = slot.request.take()?;
        let (previous, next) = (slot.previous, slot.next);
        match previous.and_then(|i| self.slot_mut(i)) {
            Some(slot) => slot.next = next,
            None => self.list(request.file).first = next,
        }
        match next.and_then(|i| self.slot_mut(i)) {
            Some(slot) => slot.previous = previous,
            None => self.list(request.file).last = previous,
        }
        self.count -= 1;
        Some(request)
    }

    /// A place is free, once this has been told.
    pub(super) fn give_back(&mut self, index: Index, notices: Notices) {
        let silent = notices.iter().all(Notice::is_none);
        let free = self.free;
        let Some(slot) = self.slot_mut(index) else {
            return;
        };
        slot.notices = notices;
        slot.next = if silent { free } else { None };
        if silent {
            self.free = Some(index);
            return;
        }
        match self.to_tell.last.and_then(|last| self.slot_mut(last)) {
            Some(slot) => slot.next = Some(index),
            None => self.to_tell.first = Some(index),
        }
        self.to_tell.last = Some(index);
    }

    /// Whether there is something to tell.
    pub(super) fn has_notices(&self) -> bool {
        self.to_tell.first.is_some()
    }

    /// Fills `outbox` with what is to be told.
    pub(super) fn take_notices(&mut self, outbox: &mut Outbox) {
        while outbox.room() >= NONE.len() {
            let Some(index) = self.to_tell.first else {
                break;
            };
            let Some(slot) = self.slot(index) else {
                break;
            };
            slot.notices.iter().for_each(|&notice| outbox.put(notice));
            self.to_tell.first = slot.next;
            if self.to_tell.first.is_none() {
                self.to_tell.last = None;
            }
            self.give_back(index, NONE);
        }
    }

    /// The request of the same descriptor that was made just before.
    pub(super) fn before(&self, index: Index) -> Option<Index> {
        self.last_from(self.slot(index)?.previous, self.get(index)?.file)
    }

    /// The request of the same file and descriptor that was made just before. The number may have
    /// been another file's, whose requests go on: they are nothing to this one.
    pub(super) fn before_of_file(&self, index: Index) -> Option<Index> {
        let identity = self.get(index)?.identity;
        let mut at = self.before(index);
        while let Some(other) = at {
            if self.get(other)?.identity == identity {
                break;
            }
            at = self.before(other);
        }
        at
    }

    /// The last request of a descriptor.
    pub(super) fn last_of(&self, file: i32) -> Option<Index> {
        self.last_from(self.lists[file as u32 as usize % LISTS].last, file)
    }

    fn last_from(&self, mut at: Option<Index>, file: i32) -> Option<Index> {
        while let Some(index) = at {
            if self.get(index)?.file == file {
                return Some(index);
            }
            at = self.slot(index)?.previous;
        }
        None
    }
}
