// SPDX-License-Identifier: LGPL-2.1-or-later

//! Streams: the requests of one descriptor, as long as it refers to the same file.
//!
//! The library finds a stream by descriptor and file, or by descriptor alone, in constant time. A
//! stream lives as long as it has requests. A stream whose requests are held in the library is in a
//! queue until they can be released, so that the library does not have to search all streams.

use kaio_sys::{Errno, Result};

use super::file::File;
use super::list::{Index, Link, Links, List};
use super::map::{new_map, Map};

/// The number of a stream.
pub(super) type StreamId = Index;

type Key = (i32, (u32, u32, u64));

/// The reasons why a stream is in a queue. There is a queue for each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitsFor {
    /// The first request of the stream, a held fsync, can be released.
    Sync,
    /// Other held requests can be released: now, or when the context of that number has room.
    Release(Option<usize>),
}

impl WaitsFor {
    fn index(self) -> usize {
        match self {
            Self::Sync => 0,
            Self::Release(_) => 1,
        }
    }
}

/// The index of the link that connects the streams of one descriptor, or the free slots.
const SAME_FD: usize = 2;

pub(super) struct Stream {
    pub(super) file: File,
    /// All its requests, in the order in which they came.
    pub(super) requests: List,
    /// The first held request that is not an fsync. All later ones that are not fsyncs are held
    /// too.
    pub(super) held: Option<Index>,
    /// The number of requests that are neither held nor fsyncs.
    pub(super) submitted: u32,
    /// The number of those requests that were in contexts that are lost.
    pub(super) lost: u32,
    /// The context that the last of those requests went to.
    pub(super) context: Option<usize>,
    /// Set while a thread is submitting requests of this stream that were held.
    pub(super) releasing: bool,
    /// The number of requests of lists that have their slot but that the calls of `lio_listio()`
    /// have yet to submit. Until then no held request is released, since it came later.
    pub(super) listed: u32,
    waits: [Option<WaitsFor>; 2],
    /// One link for each queue that the stream may be in, and [`SAME_FD`].
    links: [Link; 3],
    used: bool,
}

/// The links of all streams for one of the lists that each stream may be in.
struct LinksOf<'a> {
    table: &'a mut [Stream],
    list: usize,
}

fn links(table: &mut [Stream], list: usize) -> LinksOf<'_> {
    LinksOf { table, list }
}

impl Links for LinksOf<'_> {
    fn link_mut(&mut self, id: StreamId) -> Option<&mut Link> {
        let stream = self.table.get_mut(id as usize)?;
        stream.links.get_mut(self.list)
    }
}

pub(super) struct Streams {
    table: Vec<Stream>,
    free: List,
    by_file: Map<Key, StreamId>,
    /// The streams of each descriptor, the newest one first.
    by_fd: Map<i32, List>,
}

const NO_MEMORY: Errno = Errno::new(libc::EAGAIN);

impl Streams {
    pub(super) const fn new() -> Self {
        Self {
            table: Vec::new(),
            free: List::new(),
            by_file: new_map(),
            by_fd: new_map(),
        }
    }

    pub(super) fn get(&self, id: StreamId) -> Option<&Stream> {
        self.table.get(id as usize).filter(|stream| stream.used)
    }

    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.table.get_mut(id as usize).filter(|stream| stream.used)
    }

    /// Returns the range of all numbers that a stream may have.
    pub(super) fn ids(&self) -> core::ops::Range<StreamId> {
        0..self.table.len() as StreamId
    }

    /// Returns the stream of a file; makes it if there is none.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: there is no memory.
    pub(super) fn find_or_make(&mut self, file: File) -> Result<StreamId> {
        let key = (file.fd, file.identity);
        if let Some(&id) = self.by_file.get(&key) {
            return Ok(id);
        }
        self.by_file.try_reserve(1).map_err(|_| NO_MEMORY)?;
        self.by_fd.try_reserve(1).map_err(|_| NO_MEMORY)?;
        let stream = Stream {
            file,
            requests: List::new(),
            held: None,
            submitted: 0,
            lost: 0,
            context: None,
            releasing: false,
            listed: 0,
            waits: [None; 2],
            links: [Link::default(); 3],
            used: true,
        };
        let free = self.free.pop_front(&mut links(&mut self.table, SAME_FD));
        let id = match free {
            Some(id) => {
                let Some(slot) = self.table.get_mut(id as usize) else {
                    return Err(NO_MEMORY);
                };
                *slot = stream;
                id
            }
            None => {
                self.table.try_reserve(1).map_err(|_| NO_MEMORY)?;
                self.table.push(stream);
                (self.table.len() - 1) as StreamId
            }
        };
        let mut of_fd = self.by_fd.get(&file.fd).copied().unwrap_or_default();
        of_fd.push_front(&mut links(&mut self.table, SAME_FD), id);
        self.by_file.insert(key, id);
        self.by_fd.insert(file.fd, of_fd);
        Ok(id)
    }

    /// Returns the newest stream of a descriptor.
    pub(super) fn of_fd(&self, fd: i32) -> Option<StreamId> {
        self.by_fd.get(&fd)?.first()
    }

    /// Returns the next older stream of the same descriptor.
    pub(super) fn next_of_fd(&self, id: StreamId) -> Option<StreamId> {
        self.get(id)?.links[SAME_FD].next()
    }

    /// Returns whether the stream has no requests and is in no queue.
    pub(super) fn is_unused(&self, id: StreamId) -> bool {
        self.get(id).is_some_and(|stream| {
            let is_used = stream.releasing || stream.listed > 0;
            stream.requests.is_empty() && !is_used && stream.waits == [None; 2]
        })
    }

    /// Removes a stream for which [`Self::is_unused`] is true.
    pub(super) fn remove(&mut self, id: StreamId) {
        let Some(stream) = self.get_mut(id) else {
            return;
        };
        let file = stream.file;
        stream.used = false;
        self.by_file.remove(&(file.fd, file.identity));
        if let Some(of_fd) = self.by_fd.get_mut(&file.fd) {
            of_fd.remove(&mut links(&mut self.table, SAME_FD), id);
            if of_fd.is_empty() {
                self.by_fd.remove(&file.fd);
            }
        }
        self.free
            .push_front(&mut links(&mut self.table, SAME_FD), id);
    }

    /// Returns what the stream waits for in that kind of queue.
    pub(super) fn waits(&self, id: StreamId, kind: WaitsFor) -> Option<WaitsFor> {
        self.get(id)?.waits[kind.index()]
    }

    /// Appends the stream to the queue for `what`. The stream is in no queue of that kind.
    pub(super) fn enqueue(&mut self, queue: &mut List, id: StreamId, what: WaitsFor) {
        if let Some(stream) = self.get_mut(id) {
            stream.waits[what.index()] = Some(what);
            queue.push_back(&mut links(&mut self.table, what.index()), id);
        }
    }

    /// Removes the stream from the queue for `what`.
    pub(super) fn dequeue(&mut self, queue: &mut List, id: StreamId, what: WaitsFor) {
        if let Some(stream) = self.get_mut(id) {
            stream.waits[what.index()] = None;
            queue.remove(&mut links(&mut self.table, what.index()), id);
        }
    }

    /// Removes the first stream from the queue for `what` and returns it.
    pub(super) fn pop(&mut self, queue: &mut List, what: WaitsFor) -> Option<StreamId> {
        let id = queue.first()?;
        self.dequeue(queue, id, what);
        Some(id)
    }

    /// Records that the stream is in no queue of that kind any more, because the queue itself is
    /// gone.
    pub(super) fn forget_queue(&mut self, id: StreamId, kind: WaitsFor) {
        if let Some(stream) = self.get_mut(id) {
            stream.waits[kind.index()] = None;
        }
    }
}
