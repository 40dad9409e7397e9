// SPDX-License-Identifier: LGPL-2.1-or-later

//! Doubly linked lists of elements of a table. An element has a [`Link`], which names its
//! neighbours by their indices, so that each operation takes constant time and no memory.

/// The number of an element in its table.
pub(super) type Index = u32;

/// The neighbours of an element in a list.
#[derive(Clone, Copy, Default)]
pub(super) struct Link {
    previous: Option<Index>,
    next: Option<Index>,
}

impl Link {
    /// Returns the element before this one.
    pub(super) fn previous(self) -> Option<Index> {
        self.previous
    }

    /// Returns the element after this one.
    pub(super) fn next(self) -> Option<Index> {
        self.next
    }
}

/// A table whose elements have links.
pub(super) trait Links {
    /// Returns the link of an element, or `None` if the table has no such element.
    fn link_mut(&mut self, index: Index) -> Option<&mut Link>;
}

/// The ends of a list. The caller passes the table of its elements to each method.
#[derive(Clone, Copy, Default)]
pub(super) struct List {
    first: Option<Index>,
    last: Option<Index>,
}

impl List {
    /// Returns an empty list.
    pub(super) const fn new() -> Self {
        Self {
            first: None,
            last: None,
        }
    }

    /// Returns whether the list has no element.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Returns the first element.
    pub(super) fn first(&self) -> Option<Index> {
        self.first
    }

    /// Returns the last element.
    pub(super) fn last(&self) -> Option<Index> {
        self.last
    }

    /// Appends an element that is in no list by this link.
    pub(super) fn push_back(&mut self, table: &mut impl Links, index: Index) {
        let previous = self.last;
        if let Some(link) = table.link_mut(index) {
            *link = Link {
                previous,
                next: None,
            };
        }
        match previous.and_then(|previous| table.link_mut(previous)) {
            Some(previous) => previous.next = Some(index),
            None => self.first = Some(index),
        }
        self.last = Some(index);
    }

    /// Inserts an element that is in no list by this link before all others.
    pub(super) fn push_front(&mut self, table: &mut impl Links, index: Index) {
        let next = self.first;
        if let Some(link) = table.link_mut(index) {
            *link = Link {
                previous: None,
                next,
            };
        }
        match next.and_then(|next| table.link_mut(next)) {
            Some(next) => next.previous = Some(index),
            None => self.last = Some(index),
        }
        self.first = Some(index);
    }

    /// Removes an element, which is in this list.
    pub(super) fn remove(&mut self, table: &mut impl Links, index: Index) {
        let Some(link) = table.link_mut(index).map(core::mem::take) else {
            return;
        };
        match link.previous.and_then(|previous| table.link_mut(previous)) {
            Some(previous) => previous.next = link.next,
            None => self.first = link.next,
        }
        match link.next.and_then(|next| table.link_mut(next)) {
            Some(next) => next.previous = link.previous,
            None => self.last = link.previous,
        }
    }

    /// Removes the first element and returns it.
    pub(super) fn pop_front(&mut self, table: &mut impl Links) -> Option<Index> {
        let first = self.first?;
        self.remove(table, first);
        Some(first)
    }
}
