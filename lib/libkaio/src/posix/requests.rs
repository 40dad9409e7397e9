// SPDX-License-Identifier: LGPL-2.1-or-later

//! The requests that are under way, and for each descriptor the order in which they came.
//!
//! A table that grows and does not shrink, in pieces that do not move: the kernel knows a request by
//! the address of its iocb. Once there is room nothing is allocated for a request.

use std::sync::Arc;

use kaio_sys::uapi::iocb;

use super::control::Control;
use super::lists::Group;
use super::notify::Notice;

/// The number of a request in the table.
pub(super) type Index = u32;

/// Where a request is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Kept back: others on this descriptor come first.
    Held,
    /// In this context, by its number.
    Kernel(usize),
}

pub(super) struct Request {
    pub(super) iocb: iocb,
    pub(super) control: Control,
    pub(super) file: i32,
    pub(super) notice: Notice,
    pub(super) group: Option<Arc<Group>>,
    pub(super) place: Place,
}

impl Request {
    pub(super) fn is(&self, command: u32) -> bool {
        u32::from(self.iocb.aio_lio_opcode) == command
    }

    /// fsync or fdatasync.
    pub(super) fn is_sync(&self) -> bool {
        use kaio_sys::uapi::{IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC};
        self.is(IOCB_CMD_FSYNC) || self.is(IOCB_CMD_FDSYNC)
    }
}

const PIECE: usize = 64;
/// Descriptors share a list if they are the same modulo this.
const LISTS: usize = 256;

struct Slot {
    request: Option<Request>,
    /// Neighbours in the list of the descriptor; of a free slot, `next` is the next free one.
    previous: Option<Index>,
    next: Option<Index>,
}

const EMPTY: Slot = Slot {
    request: None,
    previous: None,
    next: None,
};

#[derive(Clone, Copy)]
struct List {
    first: Option<Index>,
    last: Option<Index>,
}

pub(super) struct Requests {
    pieces: Vec<Box<[Slot; PIECE]>>,
    free: Option<Index>,
    lists: [List; LISTS],
    count: usize,
}

impl Requests {
    pub(super) const fn new() -> Self {
        let none = List {
            first: None,
            last: None,
        };
        Self {
            pieces: Vec::new(),
            free: None,
            lists: [none; LISTS],
            count: 0,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    fn slot(&mut self, index: Index) -> Option<&mut Slot> {
        let index = index as usize;
        self.pieces.get_mut(index / PIECE)?.get_mut(index % PIECE)
    }

    pub(super) fn get(&self, index: Index) -> Option<&Request> {
        let slot = self.pieces.get(index as usize / PIECE)?;
        slot.get(index as usize % PIECE)?.request.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: Index) -> Option<&mut Request> {
        self.slot(index)?.request.as_mut()
    }

    fn list(&mut self, file: i32) -> &mut List {
        // In bounds: it is a remainder.
        &mut self.lists[file as u32 as usize % LISTS]
    }

    fn grow(&mut self) {
        let first = (self.pieces.len() * PIECE) as Index;
        let mut piece = Box::new([EMPTY; PIECE]);
        for (slot, next) in piece.iter_mut().zip(first + 1..) {
            slot.next = Some(next);
        }
        // The last one of the piece ends the list: it is only used up when there is no other.
        if let Some(slot) = piece.last_mut() {
            slot.next = self.free;
        }
        self.pieces.push(piece);
        self.free = Some(first);
    }

    /// Puts a request last among those of its descriptor.
    pub(super) fn add(&mut self, request: Request) -> Index {
        let file = request.file;
        let index = loop {
            match self.free {
                Some(index) => break index,
                None => self.grow(),
            }
        };
        let last = self.list(file).last;
        let mut next_free = None;
        if let Some(slot) = self.slot(index) {
            next_free = slot.next;
            *slot = Slot {
                request: Some(request),
                previous: last,
                next: None,
            };
        }
        self.free = next_free;
        match last.and_then(|last| self.slot(last)) {
            Some(slot) => slot.next = Some(index),
            None => self.list(file).first = Some(index),
        }
        self.list(file).last = Some(index);
        self.count += 1;
        index
    }

    pub(super) fn remove(&mut self, index: Index) -> Option<Request> {
        let free = self.free;
        let slot = self.slot(index)?;
        let request = slot.request.take()?;
        let (previous, next) = (slot.previous, slot.next);
        slot.next = free;
        self.free = Some(index);
        match previous.and_then(|i| self.slot(i)) {
            Some(slot) => slot.next = next,
            None => self.list(request.file).first = next,
        }
        match next.and_then(|i| self.slot(i)) {
            Some(slot) => slot.previous = previous,
            None => self.list(request.file).last = previous,
        }
        self.count -= 1;
        Some(request)
    }

    /// The first request of a descriptor that comes after `after`, in the order they were made.
    fn next_of(&self, file: i32, after: Option<Index>) -> Option<Index> {
        let neighbour = |index: Index| {
            let slot = self.pieces.get(index as usize / PIECE)?;
            slot.get(index as usize % PIECE)?.next
        };
        let mut next = match after {
            Some(index) => neighbour(index),
            None => self.lists[file as u32 as usize % LISTS].first,
        };
        while let Some(index) = next {
            if self.get(index)?.file == file {
                return Some(index);
            }
            next = neighbour(index);
        }
        None
    }

    /// The request of the same descriptor that was made just before.
    pub(super) fn before(&self, index: Index) -> Option<Index> {
        let file = self.get(index)?.file;
        let mut at = index;
        loop {
            let slot = self.pieces.get(at as usize / PIECE)?;
            at = slot.get(at as usize % PIECE)?.previous?;
            if self.get(at)?.file == file {
                return Some(at);
            }
        }
    }

    /// The requests of a descriptor, in the order they were made.
    pub(super) fn of(&self, file: i32) -> impl Iterator<Item = (Index, &Request)> {
        let mut last = None;
        std::iter::from_fn(move || {
            last = self.next_of(file, last);
            let index = last?;
            Some((index, self.get(index)?))
        })
        .fuse()
    }

    /// All of them, in no order.
    pub(super) fn indices(&self) -> Vec<Index> {
        let all = 0..(self.pieces.len() * PIECE) as Index;
        all.filter(|&i| self.get(i).is_some()).collect()
    }
}
