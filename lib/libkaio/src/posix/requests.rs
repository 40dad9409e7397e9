// SPDX-License-Identifier: LGPL-2.1-or-later

//! The requests that are in progress, for each stream in the order in which they came, and the
//! notifications of those that have ended.
//!
//! The table grows in chunks that do not move, since the kernel knows a request by the address of
//! its iocb. A request needs nothing but its slot in the table: a request that was started can end,
//! and the program can be notified, without more memory. When no request is in progress the table
//! can be freed.

use core::array;
use core::ptr::NonNull;

use kaio_sys::{uapi, Errno, Result};

use super::control::Control;
use super::group::Group;
use super::list::{Index, Link, Links, List};
use super::map::{new_map, Map};
use super::notification::{Kind, Notification, Outbox, KINDS};
use super::streams::{StreamId, Streams};
use super::submission::Submission;

/// The location of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Location {
    /// The library holds the request, since other requests on this descriptor come first.
    Held,
    /// The request is in the context of this number.
    Kernel(usize),
    /// The request was in a context that was lost and whose ring was at this address. The helper of
    /// this number finds out when the kernel has nothing of that context in flight any more, and
    /// then sets `over`. A request that is over ends, or, if a thread is still submitting it, ends
    /// after that.
    Lost {
        helper: usize,
        ring: u64,
        over: bool,
    },
}

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    /// A write, or a command that the kernel refuses.
    Write,
    /// An fsync or fdatasync.
    Sync,
}

impl Operation {
    /// Returns the operation of an `IOCB_CMD_*`.
    pub(super) fn of(command: u32) -> Self {
        match command {
            uapi::IOCB_CMD_PREAD => Self::Read,
            uapi::IOCB_CMD_FSYNC | uapi::IOCB_CMD_FDSYNC => Self::Sync,
            _ => Self::Write,
        }
    }
}

/// The cancellation that looked at a request last.
#[derive(Clone, Copy)]
pub(super) struct Cancellation {
    /// The number of its session.
    pub(super) session: u64,
    /// Set while the session waits for the end of the request.
    pub(super) waits: bool,
    /// Set if the thread that is submitting the request must cancel it afterwards.
    pub(super) wanted: bool,
}

pub(super) struct Request {
    pub(super) control: Control,
    pub(super) stream: StreamId,
    pub(super) operation: Operation,
    pub(super) notification: Notification,
    pub(super) group: Option<Group>,
    pub(super) location: Location,
    /// Set if the request was held once: its call has returned and has reported that the request
    /// was queued.
    pub(super) was_held: bool,
    /// The position in time: later requests have greater numbers.
    pub(super) number: u64,
    pub(super) cancellation: Option<Cancellation>,
}

impl Request {
    pub(super) fn is_sync(&self) -> bool {
        self.operation == Operation::Sync
    }

    pub(super) fn is_held(&self) -> bool {
        self.location == Location::Held
    }
}

/// The notifications of one request: for its own end, and for the end of its list.
pub(super) type Notifications = [Notification; 2];

const NONE: Notifications = [Notification::None; 2];

struct Slot {
    request: Option<Request>,
    /// The number of requests that were in this slot. An event with an older number belongs to an
    /// earlier request.
    generation: u32,
    /// Set if the slot becomes free when the submission has ended.
    waits_for_submission: bool,
    /// The notifications of a request that has ended.
    notifications: Notifications,
    /// The neighbours in the list of the stream, of the free slots, or of the slots that have
    /// notifications.
    link: Link,
}

const CHUNK_SIZE: usize = 64;

struct Chunk {
    slots: Box<[Slot; CHUNK_SIZE]>,
    /// Threads without the lock use the submissions too, so no code makes a reference to the whole
    /// array.
    submissions: NonNull<[Submission; CHUNK_SIZE]>,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: `grow` leaked this array from a box, and only this drop frees it.
        // `Engine::shrink` and `child` drop the table only when no thread uses it without the lock
        // (`UNLOCKED_USES`), so none uses a submission.
        drop(unsafe { Box::from_raw(self.submissions.as_ptr()) });
    }
}

/// The slots of the table.
struct Chunks(Vec<Chunk>);

impl Chunks {
    fn slot(&self, index: Index) -> Option<&Slot> {
        let index = index as usize;
        self.0
            .get(index / CHUNK_SIZE)?
            .slots
            .get(index % CHUNK_SIZE)
    }

    fn slot_mut(&mut self, index: Index) -> Option<&mut Slot> {
        let index = index as usize;
        self.0
            .get_mut(index / CHUNK_SIZE)?
            .slots
            .get_mut(index % CHUNK_SIZE)
    }
}

impl Links for Chunks {
    fn link_mut(&mut self, index: Index) -> Option<&mut Link> {
        Some(&mut self.slot_mut(index)?.link)
    }
}

pub(super) struct Requests {
    chunks: Chunks,
    free: List,
    notifications: [List; KINDS],
    /// Set if a notification was added since the helper last took notifications.
    has_new: bool,
    by_control: Map<Control, Index>,
    count: usize,
    number: u64,
}

const NO_MEMORY: Errno = Errno::new(libc::EAGAIN);

/// Makes an array in a box, or fails if there is no memory.
fn boxed_array<T>(make: impl FnMut(usize) -> T) -> Result<Box<[T; CHUNK_SIZE]>> {
    let mut all = Vec::new();
    all.try_reserve_exact(CHUNK_SIZE).map_err(|_| NO_MEMORY)?;
    all.extend(array::from_fn::<T, CHUNK_SIZE, _>(make));
    // Capacity and length are exactly `CHUNK_SIZE`, so the conversion neither allocates nor fails.
    all.into_boxed_slice().try_into().map_err(|_| NO_MEMORY)
}

impl Requests {
    pub(super) const fn new() -> Self {
        Self {
            chunks: Chunks(Vec::new()),
            free: List::new(),
            notifications: [List::new(); KINDS],
            has_new: false,
            by_control: new_map(),
            count: 0,
            number: 0,
        }
    }

    /// Returns how many requests are in progress.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Returns the number of slots in the table; each index is less than that.
    pub(super) fn slot_count(&self) -> Index {
        (self.chunks.0.len() * CHUNK_SIZE) as Index
    }

    /// Returns the part of a slot that a thread uses without the lock to submit the request. It
    /// does not move.
    pub(super) fn submission(&self, index: Index) -> Option<NonNull<Submission>> {
        let chunk = self.chunks.0.get(index as usize / CHUNK_SIZE)?;
        // SAFETY: the index is less than `CHUNK_SIZE`, so the pointer stays within the array.
        Some(unsafe {
            chunk
                .submissions
                .cast::<Submission>()
                .add(index as usize % CHUNK_SIZE)
        })
    }

    /// Returns the same part as [`Self::submission`], by reference, for a caller that has the lock.
    pub(super) fn submission_ref(&self, index: Index) -> Option<&Submission> {
        let submission = self.submission(index)?;
        // SAFETY: the submission lives as long as its chunk, which `self` owns. Its only field that
        // changes while the submission is in progress is atomic.
        Some(unsafe { submission.as_ref() })
    }

    pub(super) fn get(&self, index: Index) -> Option<&Request> {
        self.chunks.slot(index)?.request.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: Index) -> Option<&mut Request> {
        self.chunks.slot_mut(index)?.request.as_mut()
    }

    /// Returns the `data` of the event of the request in this slot.
    pub(super) fn data(&self, index: Index) -> u64 {
        let generation = self.chunks.slot(index).map_or(0, |slot| slot.generation);
        // The data 0 belongs to the no-op that wakes the helper.
        (u64::from(generation) << 32) | (u64::from(index) + 1)
    }

    /// Returns the request that an event with this data belongs to, if it is in progress.
    pub(super) fn of_data(&self, data: u64) -> Option<Index> {
        let index = (data as u32).checked_sub(1)?;
        (self.get(index).is_some() && self.data(index) == data).then_some(index)
    }

    /// Returns the last request that was made with this control block.
    pub(super) fn of_control(&self, control: Control) -> Option<Index> {
        self.by_control.get(&control).copied()
    }

    /// Adds a chunk. The error `EAGAIN` means that there is no memory.
    fn grow(&mut self) -> Result<()> {
        let first = self.slot_count();
        self.chunks.0.try_reserve(1).map_err(|_| NO_MEMORY)?;
        let slots = boxed_array(|_| Slot {
            request: None,
            generation: 0,
            waits_for_submission: false,
            notifications: NONE,
            link: Link::default(),
        })?;
        let submissions = NonNull::from(Box::leak(boxed_array(|_| Submission::new())?));
        self.chunks.0.push(Chunk { slots, submissions });
        for index in first..self.slot_count() {
            self.free.push_back(&mut self.chunks, index);
        }
        Ok(())
    }

    /// Reserves a slot for a request or for a notification.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: there is no memory.
    pub(super) fn reserve(&mut self) -> Result<Index> {
        self.by_control.try_reserve(1).map_err(|_| NO_MEMORY)?;
        if self.free.is_empty() {
            self.grow()?;
        }
        self.free.pop_front(&mut self.chunks).ok_or(NO_MEMORY)
    }

    /// Appends a request to its stream.
    pub(super) fn insert(&mut self, streams: &mut Streams, index: Index, mut request: Request) {
        self.number += 1;
        request.number = self.number;
        self.by_control.insert(request.control, index);
        let Some(stream) = streams.get_mut(request.stream) else {
            return;
        };
        if let Some(slot) = self.chunks.slot_mut(index) {
            slot.generation = slot.generation.wrapping_add(1);
            slot.request = Some(request);
        }
        stream.requests.push_back(&mut self.chunks, index);
        self.count += 1;
    }

    /// Removes a request that has ended from its stream. Its slot stays reserved until
    /// [`Self::release_slot`].
    pub(super) fn remove(&mut self, streams: &mut Streams, index: Index) -> Option<Request> {
        let slot = self.chunks.slot_mut(index)?;
        let request = slot.request.take()?;
        let next = slot.link.next();
        let stream = streams.get_mut(request.stream)?;
        if stream.held == Some(index) {
            stream.held = self.held_from(next);
        }
        stream.requests.remove(&mut self.chunks, index);
        if self.by_control.get(&request.control) == Some(&index) {
            self.by_control.remove(&request.control);
        }
        self.count -= 1;
        Some(request)
    }

    /// Returns the first request from `at` on that is held and not an fsync.
    fn held_from(&self, mut at: Option<Index>) -> Option<Index> {
        while let Some(index) = at {
            if self.get(index).is_some_and(|r| r.is_held() && !r.is_sync()) {
                break;
            }
            at = self.chunks.slot(index).and_then(|slot| slot.link.next());
        }
        at
    }

    /// Returns the next request after this one that is held and not an fsync.
    pub(super) fn next_held(&self, index: Index) -> Option<Index> {
        self.held_from(self.chunks.slot(index)?.link.next())
    }

    /// Returns the request of the stream that came just before this one.
    pub(super) fn previous(&self, index: Index) -> Option<Index> {
        self.chunks.slot(index)?.link.previous()
    }

    /// Frees a slot after the helper has taken these notifications.
    pub(super) fn release_slot(&mut self, index: Index, notifications: Notifications) {
        let Some(kind) = notifications.iter().find_map(Notification::kind) else {
            self.set_free(index);
            return;
        };
        if let Some(slot) = self.chunks.slot_mut(index) {
            slot.notifications = notifications;
        }
        self.has_new = true;
        self.notifications[kind.index()].push_back(&mut self.chunks, index);
    }

    fn set_free(&mut self, index: Index) {
        let is_in_progress = self
            .submission_ref(index)
            .is_some_and(Submission::request_attention);
        let Some(slot) = self.chunks.slot_mut(index) else {
            return;
        };
        slot.waits_for_submission = is_in_progress;
        if !is_in_progress {
            self.free.push_front(&mut self.chunks, index);
        }
    }

    /// Records that the thread that submitted the request has finished. Returns whether the request
    /// is still there; if it has ended, its slot may become free now.
    pub(super) fn submission_ended(&mut self, index: Index) -> bool {
        if let Some(submission) = self.submission_ref(index) {
            submission.end();
        }
        if self
            .chunks
            .slot(index)
            .is_some_and(|slot| slot.request.is_none() && slot.waits_for_submission)
        {
            self.set_free(index);
        }
        self.get(index).is_some()
    }

    /// Returns whether there are notifications.
    pub(super) fn has_notifications(&self) -> bool {
        self.notifications.iter().any(|list| !list.is_empty())
    }

    /// Returns whether there are notifications that the helper does not know of.
    pub(super) fn has_new_notifications(&self) -> bool {
        self.has_new
    }

    /// Returns whether there are notifications of that kind.
    pub(super) fn has_notifications_of(&self, kind: Kind) -> bool {
        !self.notifications[kind.index()].is_empty()
    }

    /// Moves notifications of the outbox's kind into `outbox`, until it is full.
    pub(super) fn take_notifications(&mut self, outbox: &mut Outbox) {
        let kind = outbox.kind();
        while outbox.free_space() > 0 {
            let Some(index) = self.notifications[kind.index()].pop_front(&mut self.chunks) else {
                break;
            };
            let Some(slot) = self.chunks.slot_mut(index) else {
                break;
            };
            let mut notifications = slot.notifications;
            let first = notifications
                .iter_mut()
                .find(|notification| !notification.is_none());
            if let Some(first) = first {
                outbox.push(core::mem::replace(first, Notification::None));
            }
            self.release_slot(index, notifications);
        }
        self.has_new = false;
    }
}
