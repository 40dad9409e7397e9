// SPDX-License-Identifier: LGPL-2.1-or-later

//! The state of this library, guarded by its one lock: the device, its contexts and the requests.
//!
//! The engine gives each request a slot, and a [`Ticket`] names that slot. The thread that has the
//! ticket then submits the request to the kernel without the lock ([`super::submit`]). The engine
//! holds a request that must wait for others, and its stream is in a queue; the helper or the
//! releaser ([`super::releaser`]) submits the request when its turn has come.

mod cancel;
mod held;
mod lost;

use core::ffi::c_int;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use kaio_sys::ioctl;
use kaio_sys::uapi::{self, io_event, iocb};
use kaio_sys::{device, Errno, Result};

use super::c::aioinit;
use super::contexts::{Context, Contexts, MAX_ROOM};
use super::control::Control;
use super::device::{may_mean_lost_device, take_events};
use super::file::File;
use super::group::Group;
use super::list::{Index, List};
use super::notification::{Kind, Notification, Outbox};
use super::requests::{Location, Operation, Request, Requests};
use super::streams::{StreamId, Streams};
use super::thread::{self, Mains};
use super::tickets::Ticket;
use super::wait::WakeList;
use crate::descriptor::is_device;
use crate::{futex, policy};

const NO_ROOM: Errno = Errno::new(libc::EAGAIN);

/// The lowest number of this half's descriptor, far from that of libaio's half. If a program closes
/// both descriptors, neither half must take the other's new descriptor for its own.
const LOWEST_FD: usize = 768;

/// A copy of [`Engine::device`], or -1. The child of a fork reads it without the lock, in whatever
/// state a thread of the parent has left the engine.
static DEVICE: AtomicI32 = AtomicI32::new(-1);

/// The descriptor that this process inherited by a fork, or -1: see
/// [`Engine::close_parents_device`].
static INHERITED: AtomicI32 = AtomicI32::new(-1);

/// The word on which the releaser sleeps. It changes when there are requests to release.
pub(super) static RELEASER_KICKS: AtomicU32 = AtomicU32::new(0);

/// A request that has no slot yet.
pub(super) struct NewRequest {
    pub(super) control: Control,
    /// `IOCB_CMD_*`, or 0xffff, which is the number of no command.
    pub(super) command: u32,
    pub(super) file: File,
    pub(super) notification: Notification,
    pub(super) group: Option<Group>,
}

/// The state of one call of `aio_cancel()`.
struct CancelSession {
    number: u64,
    /// The stream that the call looks at next; the call goes from the request `next` towards older
    /// ones.
    stream: Option<StreamId>,
    next: Option<Index>,
    found: bool,
    /// The number of requests that were found and have not ended.
    remaining: usize,
    /// The number of the remaining requests that are expected to end soon.
    pending: usize,
    /// The number of requests that were found and have ended with -ECANCELED.
    cancelled: usize,
}

/// The result of a cancellation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// All requests were cancelled, or at least one was and the others are complete.
    Yes,
    /// At least one request goes on.
    No,
    /// There was no request, or all completed by themselves.
    AllDone,
    /// The engine does not know the request that the program named.
    Unknown,
}

pub(super) struct Engine {
    device: Option<c_int>,
    contexts: Contexts,
    requests: Requests,
    streams: Streams,
    /// Streams whose first request is a held fsync that can be released.
    sync_queue: List,
    /// Streams of which other held requests can be released.
    ready_queue: List,
    /// The futex words whose sleepers are woken when the lock is given back.
    pub(super) wakes: WakeList,
    /// Set while a no-op that wakes the helper is submitted and not complete.
    waking: bool,
    /// The number of the current helper, if there is one. A helper with another number ends.
    pub(super) helper: Option<usize>,
    helpers: usize,
    /// Set while the releaser is running.
    pub(super) releaser: bool,
    /// The functions of the threads, which are known since the first request.
    mains: Option<Mains>,
    /// The last argument of `aio_init()`.
    pub(super) init: Option<aioinit>,
    sessions: Vec<CancelSession>,
    last_session: u64,
}

// SAFETY: the engine's pointers lead to its own tables, to control blocks that the program keeps
// until their requests are complete, and to data that any thread may use. The lock gives the engine
// to one thread at a time.
unsafe impl Send for Engine {}

impl Engine {
    pub(super) const fn new() -> Self {
        Self {
            device: None,
            contexts: Contexts::new(),
            requests: Requests::new(),
            streams: Streams::new(),
            sync_queue: List::new(),
            ready_queue: List::new(),
            wakes: WakeList::new(),
            waking: false,
            helper: None,
            helpers: 0,
            releaser: false,
            mains: None,
            init: None,
            sessions: Vec::new(),
            last_session: 0,
        }
    }

    /// Closes the descriptor that the child of a fork has inherited; runs in the child. If the user
    /// has the device opened early, the child may not be able to open it again (chroot); then the
    /// child keeps the inherited descriptor until it opens the device itself.
    pub(super) fn close_parents_device() {
        let fd = DEVICE.swap(-1, Ordering::Relaxed);
        if fd < 0 {
            return;
        }
        if policy::wants_early_open() {
            INHERITED.store(fd, Ordering::Relaxed);
        } else if is_device(fd) {
            // SAFETY: this descriptor is the library's, and `is_device` has just seen that the
            // program did not replace it. Closing it here does not affect the parent's descriptor
            // and contexts.
            unsafe { device::close(fd) };
        }
    }

    pub(super) fn device(&self) -> Option<c_int> {
        self.device
    }

    pub(super) fn is_idle(&self) -> bool {
        self.requests.count() == 0 && !self.requests.has_notifications()
    }

    /// Makes sure that there are a device, a context and a helper.
    ///
    /// # Errors
    ///
    /// Those of opening the device, if that fails; else `EAGAIN`.
    pub(super) fn prepare(&mut self, mains: Mains) -> Result<()> {
        self.mains = Some(mains);
        self.recover()
    }

    /// Opens the device and starts the helper anew if they are gone.
    ///
    /// # Errors
    ///
    /// As [`Self::prepare`].
    fn recover(&mut self) -> Result<()> {
        self.open()?;
        if self.helper.is_none() {
            let mains = self.mains.ok_or(NO_ROOM)?;
            self.helpers = self.helpers.wrapping_add(1);
            thread::start(mains.helper, self.helpers)?;
            self.helper = Some(self.helpers);
        }
        Ok(())
    }

    /// Wakes the releaser, and starts it if it is not running. If no thread can be made, the helper
    /// submits the requests.
    fn kick_releaser(&mut self) {
        let start = |mains: Mains| thread::start(mains.releaser, 0).is_ok();
        self.releaser = self.releaser || self.mains.is_some_and(start);
        if self.releaser {
            RELEASER_KICKS.fetch_add(1, Ordering::Release);
            futex::wake(RELEASER_KICKS.as_ptr() as usize, 1);
        }
    }

    /// Opens the device if it is not open. If the device cannot be opened, the engine uses the
    /// inherited descriptor and makes contexts of its own in it.
    ///
    /// # Errors
    ///
    /// Those of opening the device, or of making the first context.
    pub(super) fn open(&mut self) -> Result<()> {
        if self.device.is_some() {
            return Ok(());
        }
        let inherited =
            Some(INHERITED.load(Ordering::Relaxed)).filter(|&fd| fd >= 0 && is_device(fd));
        let opened = device::open_from(LOWEST_FD);
        let fd = opened.or_else(|e| inherited.ok_or(e))?;
        self.device = Some(fd);
        if let Err(e) = self.add_context(1) {
            self.device = None;
            if opened.is_ok() {
                // SAFETY: `open_from` has just returned this descriptor, and no request was
                // submitted to it.
                unsafe { device::close(fd) };
            }
            return Err(e);
        }
        DEVICE.store(fd, Ordering::Relaxed);
        INHERITED.store(-1, Ordering::Relaxed);
        if let Some(inherited) = inherited.filter(|_| opened.is_ok()) {
            // SAFETY: this descriptor was inherited from the parent, `is_device` has seen that it
            // is the device, and the library has made no context in it.
            unsafe { device::close(inherited) };
        }
        Ok(())
    }

    /// Returns whether `fd` is a descriptor of this half of the library.
    pub(super) fn has_device(fd: c_int) -> bool {
        [&DEVICE, &INHERITED]
            .into_iter()
            .any(|ours| ours.load(Ordering::Relaxed) == fd)
    }

    /// Returns how many requests the program expects to have at the same time, as it told
    /// `aio_init()`.
    fn expected(&self) -> u32 {
        self.init.map_or(0, |init| init.aio_num.max(0) as u32)
    }

    /// Returns how long an idle helper waits before it ends, in seconds.
    pub(super) fn idle(&self) -> c_int {
        match self.init {
            Some(init) if init.aio_idle_time != 0 => init.aio_idle_time,
            _ => 1,
        }
    }

    fn add_context(&mut self, wanted: u32) -> Result<usize> {
        let fd = self.device.ok_or(NO_ROOM)?;
        self.contexts.reserve()?;
        // Try the preferred size first; if the kernel refuses it, try the size that is needed.
        let hoped = self.contexts.next_room(self.expected()).max(wanted);
        let (room, id) = match self.set_up(fd, hoped) {
            Ok(id) => (hoped, id),
            Err(_) => (wanted, self.set_up(fd, wanted)?),
        };
        Ok(self.contexts.add(Context::new(id, room)))
    }

    /// Makes a context for `room` requests. Its ring must not have the address of a lost ring,
    /// which is the id of a context: a thread may still be about to submit a request to the lost
    /// context, and if the new device has the old descriptor's number too, the kernel would accept
    /// that request.
    fn set_up(&self, fd: c_int, room: u32) -> Result<u64> {
        // SAFETY: `fd` is the library's descriptor of the device. If the program has put another
        // file there, that file refuses the ioctl.
        let id = unsafe { ioctl::setup(fd, room + 1) }?;
        if !self.is_lost_ring(id) {
            return Ok(id);
        }
        // The next ring gets another address as long as this one is mapped.
        let other = self.set_up(fd, room);
        // SAFETY: the context was made above, no request was submitted to it, and the library
        // never reads a ring.
        let _ = unsafe { ioctl::destroy(fd, id) };
        other
    }

    /// Ends a request that has begun but could not be made: writes the error to its control block
    /// and wakes the threads that sleep on it.
    pub(super) fn fail_new(&mut self, control: Control, error: Errno) {
        control.end(-i64::from(error.get()));
        self.wakes.add_ended(control);
    }

    /// Makes a request that has begun and chooses its context, as one of `wanted` requests that
    /// come together. The caller has called `prepare` with success. Returns the ticket with which
    /// the caller submits the request to the kernel, or `None` if the request is held.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: the request could not be queued; its control block contains that error too.
    pub(super) fn start(&mut self, new: NewRequest, wanted: usize) -> Result<Option<Ticket>> {
        let control = new.control;
        let index = self.add(new).inspect_err(|&e| self.fail_new(control, e))?;
        match self.choose_for_new(index, wanted) {
            Ok(Some(number)) => Ok(self.assign(index, number)),
            Ok(None) => {
                self.hold(index);
                Ok(None)
            }
            Err(e) => {
                self.refuse(index);
                Err(e)
            }
        }
    }

    /// Starts a request of a list as [`Self::start`] does. On a pipe or socket, held requests then
    /// wait until the caller reports by [`Self::list_submitted`] that it has submitted the requests
    /// with a ticket.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub(super) fn start_listed(
        &mut self,
        new: NewRequest,
        wanted: usize,
    ) -> Result<Option<Ticket>> {
        let is_ordered = new.file.ordered;
        let Some(mut ticket) = self.start(new, wanted)? else {
            return Ok(None);
        };
        let request = self.requests.get(ticket.index).filter(|_| is_ordered);
        let id = request.map(|request| request.stream);
        if let Some(stream) = id.and_then(|id| self.streams.get_mut(id)) {
            stream.listed += 1;
            ticket.listed = id;
        }
        Ok(Some(ticket))
    }

    /// Records that the caller has submitted the requests of these tickets of a list: held requests
    /// of their streams can be released.
    pub(super) fn list_submitted(&mut self, tickets: &[Ticket]) {
        for id in tickets.iter().filter_map(|ticket| ticket.listed) {
            if let Some(stream) = self.streams.get_mut(id) {
                stream.listed = stream.listed.saturating_sub(1);
            }
            self.update_queues(id);
        }
    }

    /// Reserves all that the request will need until it has ended.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: there is no memory.
    fn add(&mut self, new: NewRequest) -> Result<Index> {
        let index = self.requests.reserve()?;
        let stream = self
            .streams
            .find_or_make(new.file)
            .inspect_err(|_| self.requests.release_slot(index, [Notification::None; 2]))?;
        if let Some(group) = &new.group {
            group.add_request();
        }
        let request = Request {
            control: new.control,
            stream,
            operation: Operation::of(new.command),
            notification: new.notification,
            group: new.group,
            location: Location::Held,
            was_held: false,
            number: 0,
            cancellation: None,
        };
        self.requests.insert(&mut self.streams, index, request);
        let mut iocb = new.control.iocb(new.command);
        if new.file.socket {
            // As with glibc, a socket is read and written without the offset, since pread(2) and
            // pwrite(2) refuse a socket.
            iocb.aio_offset = 0;
        }
        iocb.aio_data = self.requests.data(index);
        if let Some(submission) = self.requests.submission_ref(index) {
            submission.write(iocb);
        }
        Ok(index)
    }

    /// Returns the context for a new request, one of `wanted` that come together, or `None` if the
    /// request must be held.
    fn choose_for_new(&mut self, index: Index, wanted: usize) -> Result<Option<usize>> {
        let Some(request) = self.requests.get(index) else {
            return Ok(None);
        };
        let Some(stream) = self.streams.get(request.stream) else {
            return Ok(None);
        };
        // An fsync covers all requests that the program made on this descriptor before it. The
        // module makes it wait only for writes that the module has deferred; the library makes it
        // wait for requests that are in hardware.
        let waits = match request.is_sync() {
            true => stream.requests.first() != Some(index),
            false => stream.held.is_some() || stream.releasing,
        };
        match waits {
            true => Ok(None),
            false => self.choose(index, wanted),
        }
    }

    /// Returns the context for a request whose turn it is, or `None` if the request must still
    /// wait.
    fn choose(&mut self, index: Index, wanted: usize) -> Result<Option<usize>> {
        // The device was lost a moment ago: hold the request, and `before_unlock` opens another
        // device.
        let Some(request) = self.requests.get(index).filter(|_| self.device.is_some()) else {
            return Ok(None);
        };
        let Some(stream) = self.streams.get(request.stream) else {
            return Ok(None);
        };
        if !request.is_sync() && stream.submitted > 0 {
            let context = stream.context.filter(|_| stream.lost == 0);
            match context {
                Some(number) if self.contexts.room_left(number) > 0 => return Ok(Some(number)),
                // Requests that wait for one pipe or socket are served in order only within one
                // context.
                _ if stream.file.ordered => return Ok(None),
                _ => {}
            }
        }
        match self.with_room(wanted) {
            Ok(number) => Ok(Some(number)),
            Err(e) if may_mean_lost_device(e) && self.device_is_lost() => {
                self.handle_lost_device();
                Ok(None)
            }
            Err(_) => Err(NO_ROOM),
        }
    }

    /// Returns a context with room for `wanted` requests, or at least for one.
    fn with_room(&mut self, wanted: usize) -> Result<usize> {
        let wanted = wanted.clamp(1, MAX_ROOM as usize) as u32;
        if let Some(number) = self.contexts.with_room(wanted) {
            return Ok(number);
        }
        let any = self.contexts.with_room(1);
        self.add_context(wanted).or_else(|e| any.ok_or(e))
    }

    /// Records that the request is in the context `number`, and returns its ticket.
    fn assign(&mut self, index: Index, number: usize) -> Option<Ticket> {
        let device = self.device?;
        let submission = self.requests.submission(index)?;
        let context = self.contexts.get_mut(number)?;
        context.requests += 1;
        context.used = true;
        let context = context.id;
        let request = self.requests.get_mut(index)?;
        request.location = Location::Kernel(number);
        let (id, is_sync) = (request.stream, request.is_sync());
        let held = self.streams.get(id).and_then(|stream| stream.held);
        // Search only if this request was the first held one: the search may look at all requests
        // after an fsync.
        let next = match held == Some(index) {
            true => self.requests.next_held(index),
            false => held,
        };
        if let Some(stream) = self.streams.get_mut(id) {
            stream.held = next;
            if !is_sync {
                stream.submitted += 1;
                stream.context = Some(number);
            }
        }
        self.requests.submission_ref(index)?.begin();
        Some(Ticket {
            index,
            submission,
            device,
            context,
            listed: None,
        })
    }

    /// Holds the request in the library until it can be released.
    fn hold(&mut self, index: Index) {
        let Some(request) = self.requests.get_mut(index) else {
            return;
        };
        request.location = Location::Held;
        request.was_held = true;
        let (id, number, is_sync) = (request.stream, request.number, request.is_sync());
        let held = self.streams.get(id).and_then(|stream| stream.held);
        let is_first = held
            .and_then(|held| self.requests.get(held))
            .is_none_or(|held| number < held.number);
        if let Some(stream) = self.streams.get_mut(id).filter(|_| !is_sync && is_first) {
            stream.held = Some(index);
        }
        self.update_queues(id);
    }

    /// Ends a submission that has received a request for attention, for the thread that has
    /// submitted the request.
    pub(super) fn submission_ended(&mut self, ticket: &Ticket) {
        if !self.requests.submission_ended(ticket.index) {
            return;
        }
        let Some(request) = self.requests.get_mut(ticket.index) else {
            return;
        };
        let Some(cancellation) = &mut request.cancellation else {
            return;
        };
        let (wanted, number) = (cancellation.wanted, cancellation.session);
        cancellation.wanted = false;
        // The `aio_cancel()` that asked for this may have given up waiting; then the request is
        // left alone.
        if wanted && self.session(number).is_some() && self.cancel_one(ticket.index).is_err() {
            self.stop_waiting_for(ticket.index);
        }
    }

    /// Handles that the kernel has refused the first of these tickets with `error`. Returns the
    /// number of tickets that were handled.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: the request could not be queued; its control block contains that error too.
    pub(super) fn refused(&mut self, tickets: &[Ticket], error: Errno) -> (usize, Result<()>) {
        let Some(first) = tickets.first() else {
            return (0, Ok(()));
        };
        let is_lost = |engine: &Self| {
            let location = engine.requests.get(first.index).map(|r| r.location);
            matches!(location, Some(Location::Lost { .. }))
        };
        if may_mean_lost_device(error) && !is_lost(self) && self.device_is_lost() {
            self.handle_lost_device();
        }
        if is_lost(self) {
            // The descriptor is gone, and the request itself is not at fault: hold the requests,
            // which then go to a new device.
            for ticket in tickets {
                if self.requests.submission_ended(ticket.index) {
                    self.take_back(ticket.index);
                    self.hold(ticket.index);
                }
            }
            return (tickets.len(), Ok(()));
        }
        if !self.requests.submission_ended(first.index) {
            // The request has ended together with its context; its result is not known here.
            return (1, Ok(()));
        }
        match error.get() {
            libc::EAGAIN | libc::ENOMEM => {
                if self.requests.get(first.index).is_some_and(|r| r.was_held) {
                    self.fail(first.index, NO_ROOM);
                    return (1, Ok(()));
                }
                self.refuse(first.index);
                (1, Err(NO_ROOM))
            }
            _ => {
                self.fail(first.index, error);
                (1, Ok(()))
            }
        }
    }

    /// Takes the request out of its context and holds it.
    fn take_back(&mut self, index: Index) {
        let Some(request) = self.requests.get_mut(index) else {
            return;
        };
        let (location, id, is_sync) = (request.location, request.stream, request.is_sync());
        request.location = Location::Held;
        self.leave_location(location, id, is_sync);
        // An `aio_cancel()` has asked for the request meanwhile: now it can be cancelled.
        let cancellation = self.requests.get(index).and_then(|r| r.cancellation);
        if let Some(wanted) = cancellation.filter(|c| c.wanted) {
            if self.session(wanted.session).is_some() {
                self.end(index, -i64::from(libc::ECANCELED));
            }
        }
    }

    /// Corrects the counters of a stream and a context when a request leaves that location.
    fn leave_location(&mut self, location: Location, id: StreamId, is_sync: bool) {
        if location == Location::Held {
            return;
        }
        if let Some(stream) = self.streams.get_mut(id).filter(|_| !is_sync) {
            stream.submitted = stream.submitted.saturating_sub(1);
            if matches!(location, Location::Lost { .. }) {
                stream.lost = stream.lost.saturating_sub(1);
            }
        }
        if let Location::Kernel(number) = location {
            if let Some(context) = self.contexts.get_mut(number) {
                context.requests = context.requests.saturating_sub(1);
            }
            self.requeue_stalled(number);
        }
    }

    /// Ends a request, which was queued, with the error of the kernel.
    fn fail(&mut self, index: Index, error: Errno) {
        let mut error = error.get();
        if let Some(request) = self.requests.get(index) {
            let stream = self.streams.get(request.stream);
            // read(2) of a directory fails with `EISDIR`.
            if error == libc::EINVAL
                && request.operation == Operation::Read
                && stream.is_some_and(|stream| stream.file.directory)
            {
                error = libc::EISDIR;
            }
        }
        self.end(index, -i64::from(error));
    }

    /// Ends a request that could not be queued. The caller gets an error, so the program gets no
    /// notification.
    fn refuse(&mut self, index: Index) {
        if let Some(request) = self.requests.get_mut(index) {
            request.notification = Notification::None;
        }
        self.end(index, -i64::from(libc::EAGAIN));
    }

    /// Ends a request: writes its result, after which the control block belongs to the program
    /// again.
    fn end(&mut self, index: Index, res: i64) {
        let previous = self.requests.previous(index);
        let Some(request) = self.requests.remove(&mut self.streams, index) else {
            return;
        };
        for session in &mut self.sessions {
            if session.next == Some(index) && session.stream == Some(request.stream) {
                session.next = previous;
            }
            let cancellation = request.cancellation;
            if let Some(counted) = cancellation.filter(|c| c.session == session.number) {
                session.remaining -= 1;
                session.pending -= usize::from(counted.waits);
                session.cancelled += usize::from(res == -i64::from(libc::ECANCELED));
            }
        }
        let res = match request.notification.has_invalid_signal() {
            true => -i64::from(libc::EINVAL),
            false => res,
        };
        request.control.end(res);
        self.wakes.add_ended(request.control);
        let of_list = match &request.group {
            Some(group) => group.request_ended(res < 0),
            None => Notification::None,
        };
        if let Some(word) = request.group.as_ref().and_then(Group::word_to_wake) {
            self.wakes.add(word);
        }
        self.requests
            .release_slot(index, [request.notification, of_list]);
        self.leave_location(request.location, request.stream, request.is_sync());
        self.update_queues(request.stream);
    }

    /// Reserves a slot for a notification.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: there is no memory.
    pub(super) fn reserve_notification(&mut self) -> Result<Index> {
        self.requests.reserve()
    }

    /// Queues a notification, which the helper delivers to the program.
    pub(super) fn queue_notification(&mut self, slot: Index, notification: Notification) {
        self.requests
            .release_slot(slot, [notification, Notification::None]);
    }

    pub(super) fn has_notifications_of(&self, kind: Kind) -> bool {
        self.requests.has_notifications_of(kind)
    }

    /// Moves notifications to the outbox of the helper. The helper knows of those that do not fit.
    pub(super) fn take_notifications(&mut self, outbox: &mut Outbox) {
        self.requests.take_notifications(outbox);
    }

    /// Takes events for a limited time. Returns whether there may be more.
    pub(super) fn reap(&mut self) -> bool {
        /// The number of calls that return events before the function returns.
        const CALLS: usize = 8;
        let mut calls = 0;
        let mut number = 0;
        while let (Some(fd), true) = (self.device, number < self.contexts.count()) {
            let Some(id) = self.contexts.get(number).map(|context| context.id) else {
                number += 1;
                continue;
            };
            let mut events = [io_event::default(); 32];
            let all = events.len();
            match take_events(fd, id, &mut events) {
                Ok(count) => {
                    for event in events.iter().take(count) {
                        self.complete(event);
                    }
                    number += usize::from(count < all);
                    calls += usize::from(count > 0);
                    if calls == CALLS {
                        return true;
                    }
                }
                Err(e) if may_mean_lost_device(e) => self.handle_lost_device(),
                // The call failed for another reason; its events stay in the ring.
                Err(_) => number += 1,
            }
        }
        false
    }

    fn complete(&mut self, event: &io_event) {
        if event.data == 0 {
            self.waking = false;
        } else if let Some(index) = self.requests.of_data(event.data) {
            self.end(index, event.res);
        }
    }

    /// Lets requests go on that waited for others, before the lock is given back. Returns whether
    /// the caller must take the lock once more to do the rest.
    pub(super) fn before_unlock(&mut self, by_helper: bool) -> bool {
        let mut more = false;
        let has_new_notifications = !by_helper && self.requests.has_new_notifications();
        if self.has_syncs() || self.has_ready() || has_new_notifications {
            // The program may have closed the device. The former helper then only finishes old
            // requests, so make a new one.
            if let Err(e) = self.recover() {
                more = self.fail_held(e);
            }
        }
        if self.has_ready() {
            self.kick_releaser();
        }
        let for_helper = self.has_syncs() || self.has_ready() && !self.releaser;
        if !by_helper && (for_helper || self.requests.has_new_notifications()) {
            self.wake_helper();
        }
        more
    }

    /// Wakes the helper by a no-op, for which each context has room.
    fn wake_helper(&mut self) {
        let (Some(fd), Some(context)) = (self.device, self.contexts.first_id()) else {
            return;
        };
        if self.waking {
            return;
        }
        let mut iocb = iocb {
            aio_fildes: fd as u32,
            aio_lio_opcode: uapi::IOCB_CMD_NOOP as u16,
            ..Default::default()
        };
        let pointer = &raw mut iocb;
        // SAFETY: the iocb lives until the call returns, the kernel copies it, and a no-op has no
        // buffer that the caller would have to keep.
        self.waking = unsafe { ioctl::submit(fd, context, 1, &pointer) }.is_ok();
    }

    /// Gives back contexts that a burst of requests has left: see [`Contexts::trim`].
    pub(super) fn trim(&mut self, all: bool) {
        if let Some(fd) = self.device {
            self.contexts.trim(fd, all);
        }
    }

    /// Frees the memory of requests. The caller has checked that there are no requests, and that no
    /// thread uses a ticket without the lock.
    pub(super) fn shrink(&mut self) {
        self.requests = Requests::new();
        self.streams = Streams::new();
    }
}
