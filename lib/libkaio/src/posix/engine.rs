// SPDX-License-Identifier: LGPL-2.1-or-later

//! What this library knows, under its one lock: the device, its contexts, the requests.

use core::ffi::c_int;
use core::ptr;
use std::sync::Arc;

use kaio_sys::ioctl::{self, Wait};
use kaio_sys::ring::Ring;
use kaio_sys::uapi::{self, io_event, iocb};
use kaio_sys::{device, Errno, Result};

use super::control::Control;
use super::helper;
use super::lists::Group;
use super::notify::Notice;
use super::requests::{Index, Place, Request, Requests};
use super::wait;

/// What the first context holds, unless `aio_init()` says more; each later one holds twice as many.
const FIRST_ROOM: u32 = 127;
/// No context is larger, whatever a program says.
const MOST_ROOM: u32 = 1 << 16;

struct Context {
    id: u64,
    ring: Ring,
    /// How many requests it may hold; in truth one more, for [`Engine::wake`].
    room: u32,
    inside: u32,
}

impl Context {
    fn left(&self) -> u32 {
        self.room.saturating_sub(self.inside)
    }
}

/// A request, before it has a place.
pub(super) struct New {
    pub(super) control: Control,
    /// `IOCB_CMD_*`; 0xffff is one that there is not.
    pub(super) command: u32,
    pub(super) notice: Notice,
    pub(super) group: Option<Arc<Group>>,
}

/// Ways in which a cancellation ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// All that there was is cancelled, or at least one and the others are complete.
    Yes,
    /// Something goes on.
    No,
    /// There was nothing, or it completed by itself.
    AllDone,
    /// The one that was asked for is not known.
    Unknown,
}

pub(super) struct Engine {
    device: Option<c_int>,
    contexts: Vec<Context>,
    requests: Requests,
    /// Those of them that are held, in the order they were made.
    held: Vec<Index>,
    /// What the program is to be told; the helper does it.
    notices: Vec<Notice>,
    /// Requests have been completed, and those who wait do not know yet.
    completed: bool,
    /// A no-op is on its way to wake the helper.
    waking: bool,
    /// There is a helper, and it is the one of this number: others end.
    pub(super) helper: Option<usize>,
    helpers: usize,
    /// Of `aio_init()`: requests at once, and how long an idle helper waits, in seconds.
    pub(super) expected: u32,
    pub(super) idle: c_int,
    /// How many requests with -ECANCELED have ended, ever.
    cancelled: usize,
    pointers: Vec<*mut iocb>,
}

// SAFETY: the pointers are addresses in `requests`, used while the kernel is told of them.
unsafe impl Send for Engine {}

impl Engine {
    pub(super) const fn new() -> Self {
        Self {
            device: None,
            contexts: Vec::new(),
            requests: Requests::new(),
            held: Vec::new(),
            notices: Vec::new(),
            completed: false,
            waking: false,
            helper: None,
            helpers: 0,
            expected: 0,
            idle: 1,
            cancelled: 0,
            pointers: Vec::new(),
        }
    }

    /// In the child of a fork: the parent's requests, contexts and helper are not here.
    pub(super) fn forget(&mut self) {
        if let Some(fd) = self.device {
            // SAFETY: ours; the parent has its own. The contexts are its, and stay.
            unsafe { device::close(fd) };
        }
        *self = Self {
            expected: self.expected,
            idle: self.idle,
            ..Self::new()
        };
    }

    pub(super) fn device(&self) -> Option<c_int> {
        self.device
    }

    pub(super) fn is_idle(&self) -> bool {
        self.requests.count() == 0 && self.notices.is_empty()
    }

    /// Sees to it that there are a device, a context and a helper.
    ///
    /// # Errors
    ///
    /// Those of opening the device, if there is none; else `EAGAIN`.
    pub(super) fn ready(&mut self) -> Result<()> {
        if self.device.is_none() {
            self.device = Some(device::open()?);
        }
        if self.contexts.is_empty() {
            self.add_context(1)?;
        }
        if self.helper.is_none() {
            self.helpers = self.helpers.wrapping_add(1);
            helper::start(self.helpers)?;
            self.helper = Some(self.helpers);
        }
        Ok(())
    }

    fn add_context(&mut self, wanted: u32) -> Result<usize> {
        let fd = self.device.ok_or(Errno::new(libc::EAGAIN))?;
        let room = match self.contexts.last() {
            None => self.expected.clamp(FIRST_ROOM, MOST_ROOM),
            Some(last) => last.room.saturating_mul(2).min(MOST_ROOM),
        };
        // What was hoped for, or else what is needed.
        let (room, id) = match ioctl::setup(fd, room.max(wanted) + 1) {
            Ok(id) => (room.max(wanted), id),
            Err(_) => (wanted, ioctl::setup(fd, wanted + 1)?),
        };
        // SAFETY: it is new, and is destroyed by nobody but `lost`, which drops this.
        let ring = unsafe { Ring::new(id) }.ok_or(Errno::new(libc::EAGAIN))?;
        self.contexts.push(Context {
            id,
            ring,
            room,
            inside: 0,
        });
        Ok(self.contexts.len() - 1)
    }

    /// Starts a request. `ready` has said yes.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: it could not be queued; its control block says so too.
    pub(super) fn start(&mut self, new: New) -> Result<()> {
        let index = self.add(new);
        self.launch(&[index])
    }

    /// Starts requests, in this order and in one call if a context has room for all of them.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: not all could be queued.
    pub(super) fn start_all(&mut self, new: Vec<New>) -> Result<()> {
        let batch: Vec<Index> = new.into_iter().map(|new| self.add(new)).collect();
        self.launch(&batch)
    }

    fn add(&mut self, new: New) -> Index {
        new.control.begin();
        if let Some(group) = &new.group {
            group.add();
        }
        let index = self.requests.add(Request {
            iocb: new.control.iocb(new.command),
            control: new.control,
            file: new.control.file(),
            notice: new.notice,
            group: new.group,
            place: Place::Held,
        });
        if let Some(request) = self.requests.get_mut(index) {
            // 0 is the no-op that wakes the helper.
            request.iocb.aio_data = u64::from(index) + 1;
        }
        index
    }

    /// Finds a place for each, and tells the kernel of those that go on together in one call.
    fn launch(&mut self, batch: &[Index]) -> Result<()> {
        let mut ret = Ok(());
        let mut run = 0..0;
        let mut context = 0;
        for (at, &index) in batch.iter().enumerate() {
            let place = self.place(index, batch.len() - at);
            let joins = place == Ok(Place::Kernel(context));
            if !joins {
                ret = ret.and(self.submit(context, batch.get(run.clone()).unwrap_or(&[])));
                run = at..at;
            }
            match place {
                Ok(Place::Kernel(number)) => {
                    context = number;
                    self.put(index, number);
                    run.end = at + 1;
                }
                Ok(Place::Held) => {
                    self.held.push(index);
                    run = at + 1..at + 1;
                }
                Err(e) => {
                    self.refuse(index);
                    ret = Err(e);
                    run = at + 1..at + 1;
                }
            }
        }
        ret.and(self.submit(context, batch.get(run).unwrap_or(&[])))
    }

    fn put(&mut self, index: Index, number: usize) {
        if let Some(request) = self.requests.get_mut(index) {
            request.place = Place::Kernel(number);
        }
        if let Some(context) = self.contexts.get_mut(number) {
            context.inside += 1;
        }
    }

    /// Where a request goes, one of `wanted` that come together.
    fn place(&mut self, index: Index, wanted: usize) -> Result<Place> {
        let Some(request) = self.requests.get(index) else {
            return Ok(Place::Held);
        };
        let file = request.file;
        let sync = request.is_sync();
        // An fsync is for all that was asked for on this descriptor before it. The module lets it
        // wait for writes that it has deferred; what is in hardware is for us to wait for.
        let mut before = self.requests.before(index);
        if sync && before.is_some() {
            return Ok(Place::Held);
        }
        while let Some(other) = before.and_then(|i| self.requests.get(i)) {
            if !other.is_sync() {
                break;
            }
            before = before.and_then(|i| self.requests.before(i));
        }
        // Those that wait for one pipe or socket are served in order in one context.
        match before.and_then(|i| self.requests.get(i)).map(|r| r.place) {
            Some(Place::Kernel(number)) if self.left(number) > 0 => Ok(Place::Kernel(number)),
            Some(_) if !seekable(file) => Ok(Place::Held),
            _ => self.choose(wanted),
        }
    }

    fn left(&self, number: usize) -> u32 {
        self.contexts.get(number).map_or(0, Context::left)
    }

    fn choose(&mut self, wanted: usize) -> Result<Place> {
        let wanted = wanted.min(MOST_ROOM as usize) as u32;
        let with = |n: u32| self.contexts.iter().position(|c| c.left() >= n);
        if let Some(number) = with(wanted) {
            return Ok(Place::Kernel(number));
        }
        let any = with(1);
        match self.add_context(wanted) {
            Ok(number) => Ok(Place::Kernel(number)),
            Err(e) => any.map(Place::Kernel).ok_or(e),
        }
    }

    /// Hands requests that have their place in this context to the kernel.
    fn submit(&mut self, number: usize, mut run: &[Index]) -> Result<()> {
        let mut ret = Ok(());
        while !run.is_empty() {
            let (Some(fd), Some(id)) = (self.device, self.contexts.get(number).map(|c| c.id))
            else {
                break;
            };
            self.pointers.clear();
            for &index in run {
                if let Some(request) = self.requests.get_mut(index) {
                    self.pointers.push(&raw mut request.iocb);
                }
            }
            // SAFETY: POSIX has the program keep the buffers until the requests are complete, and it
            // is told so when their events come. The iocbs do not move.
            let answer = unsafe {
                ioctl::submit(fd, id, self.pointers.len() as i64, self.pointers.as_ptr())
            };
            let (count, stopped) = match answer {
                Ok(answer) => (answer.count, answer.stopped),
                Err(e) => (0, Some(e)),
            };
            run = run.get(count..).unwrap_or(&[]);
            let Some((&index, rest)) = run.split_first() else {
                break;
            };
            let error = match stopped {
                Some(e) => e,
                None if count > 0 => continue,
                None => Errno::new(libc::EAGAIN),
            };
            if may_be_lost(error) && self.is_lost() {
                // Not the request is wrong, but our descriptor is gone. They go on in a new one.
                for &index in run {
                    if let Some(request) = self.requests.get_mut(index) {
                        request.place = Place::Held;
                    }
                    self.held.push(index);
                }
                self.lost();
                break;
            }
            match error.get() {
                libc::EAGAIN | libc::ENOMEM => {
                    self.refuse(index);
                    ret = Err(Errno::new(libc::EAGAIN));
                }
                _ => self.fail(index, error),
            }
            run = rest;
        }
        ret
    }

    /// The kernel refuses a request: it was queued, and fails.
    fn fail(&mut self, index: Index, error: Errno) {
        let mut error = error.get();
        if let Some(request) = self.requests.get(index) {
            // read(2) has a word of its own for it.
            if error == libc::EINVAL && request.is(uapi::IOCB_CMD_PREAD) && is_dir(request.file) {
                error = libc::EISDIR;
            }
        }
        self.end(index, -i64::from(error));
    }

    /// A request could not be queued: nobody is told but the caller.
    fn refuse(&mut self, index: Index) {
        if let Some(request) = self.requests.get_mut(index) {
            request.notice = Notice::None;
        }
        self.end(index, -i64::from(libc::EAGAIN));
    }

    /// A request has ended. Its control block is the program's again.
    fn end(&mut self, index: Index, res: i64) {
        let Some(request) = self.requests.remove(index) else {
            return;
        };
        match request.place {
            Place::Kernel(number) => {
                if let Some(context) = self.contexts.get_mut(number) {
                    context.inside = context.inside.saturating_sub(1);
                }
            }
            Place::Held => self.held.retain(|&i| i != index),
        }
        if res == -i64::from(libc::ECANCELED) {
            self.cancelled = self.cancelled.wrapping_add(1);
        }
        request.control.end(res);
        self.completed = true;
        let of_list = request.group.map_or(Notice::None, |g| g.end(res < 0));
        for notice in [request.notice, of_list] {
            if !notice.is_none() {
                self.notices.push(notice);
            }
        }
    }

    /// Tells the program, once the helper is awake.
    pub(super) fn tell(&mut self, notice: Notice) {
        if !notice.is_none() {
            self.notices.push(notice);
        }
    }

    /// The helper takes what the program is to be told.
    pub(super) fn take_notices(&mut self, notices: &mut Vec<Notice>) {
        notices.append(&mut self.notices);
    }

    /// Takes all events that there are; returns whether there were any.
    pub(super) fn reap(&mut self) -> bool {
        let mut any = false;
        for number in 0..self.contexts.len() {
            loop {
                let mut events = [io_event::default(); 32];
                let Some(ring) = self.contexts.get(number).map(|c| c.ring) else {
                    break;
                };
                // SAFETY: there is room for them, and who takes events has the lock.
                let count = unsafe { ring.take(events.as_mut_ptr(), events.len() as u32) };
                for event in events.iter().take(count as usize) {
                    self.complete(number, event);
                }
                any |= count > 0;
                if (count as usize) < events.len() {
                    break;
                }
            }
        }
        any
    }

    fn complete(&mut self, number: usize, event: &io_event) {
        let Some(index) = event.data.checked_sub(1) else {
            self.waking = false;
            return;
        };
        let index = index as Index;
        if event.res == -i64::from(libc::ESPIPE) {
            // pread(2) of a socket: as glibc, once more without the offset.
            if let Some(request) = self.requests.get_mut(index) {
                if request.iocb.aio_offset != 0 {
                    request.iocb.aio_offset = 0;
                    let _ = self.submit(number, &[index]);
                    return;
                }
            }
        }
        self.end(index, event.res);
    }

    /// Before the lock is given back: what was waiting for others goes on, and those who wait for
    /// requests look again.
    pub(super) fn settle(&mut self) {
        while !self.held.is_empty() && self.release() {}
        if core::mem::take(&mut self.completed) {
            wait::publish();
        }
        if !self.notices.is_empty() {
            self.wake();
        }
    }

    /// Starts what need not be held any more; returns whether that is any.
    fn release(&mut self) -> bool {
        if self.device.is_none() {
            // It was lost; these were to be started.
            if let Err(e) = self.ready() {
                let held = core::mem::take(&mut self.held);
                held.into_iter().for_each(|index| self.fail(index, e));
                return false;
            }
        }
        let held = core::mem::take(&mut self.held);
        let mut any = false;
        for index in held {
            match self.place(index, 1) {
                Ok(Place::Kernel(number)) => {
                    any = true;
                    self.put(index, number);
                    let _ = self.submit(number, &[index]);
                }
                Ok(Place::Held) => self.held.push(index),
                Err(e) => self.fail(index, e),
            }
        }
        any
    }

    /// Wakes the helper, by a no-op. There is always room for it.
    fn wake(&mut self) {
        let (Some(fd), Some(context)) = (self.device, self.contexts.first()) else {
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
        // SAFETY: a no-op has no buffer.
        self.waking = unsafe { ioctl::submit(fd, context.id, 1, &pointer) }.is_ok();
    }

    /// `aio_cancel()`: of one descriptor all requests, or one.
    pub(super) fn cancel(&mut self, file: c_int, only: Option<Control>) -> Cancelled {
        /// For those that are being tried just now. Each is over in a moment.
        const TRIES: u32 = 50;
        self.reap();
        let wanted = |r: &Request| only.is_none_or(|only| only == r.control);
        let found: Vec<Index> = self
            .requests
            .of(file)
            .filter_map(|(index, request)| wanted(request).then_some(index))
            .collect();
        if found.is_empty() {
            return match only {
                Some(control) if control.in_progress() => Cancelled::Unknown,
                _ => Cancelled::AllDone,
            };
        }
        let before = self.cancelled;
        let mut pending = Vec::new();
        let mut goes_on = false;
        // The last one first: what waits for those before it must not begin meanwhile.
        for &index in found.iter().rev() {
            match self.cancel_one(index) {
                Ok(true) => {}
                Ok(false) => pending.push(index),
                Err(_) => goes_on = true,
            }
        }
        self.reap();
        for _ in 0..TRIES {
            pending.retain(|&index| self.requests.get(index).is_some());
            let Some(fd) = self.device.filter(|_| !pending.is_empty()) else {
                break;
            };
            poll(fd, 1);
            self.reap();
        }
        // What could not be cancelled may have been complete.
        goes_on &= found.iter().any(|&i| self.requests.get(i).is_some());
        if goes_on || !pending.is_empty() {
            Cancelled::No
        } else if self.cancelled != before {
            Cancelled::Yes
        } else {
            Cancelled::AllDone
        }
    }

    /// `Ok(true)`: its event is there; `Ok(false)`: it follows.
    fn cancel_one(&mut self, index: Index) -> Result<bool> {
        let Some(request) = self.requests.get(index) else {
            return Ok(true);
        };
        let Place::Kernel(number) = request.place else {
            self.end(index, -i64::from(libc::ECANCELED));
            return Ok(true);
        };
        let (Some(fd), Some(context)) = (self.device, self.contexts.get(number)) else {
            return Err(Errno::new(libc::EINVAL));
        };
        ioctl::cancel(fd, context.id, &raw const request.iocb)
    }

    /// Whether the program has closed our descriptor, or has put another file there.
    pub(super) fn is_lost(&self) -> bool {
        let (Some(fd), Some(context)) = (self.device, self.contexts.first()) else {
            return false;
        };
        // SAFETY: no events are taken.
        unsafe { ioctl::get_events(fd, context.id, &Wait::default()) }.is_err()
    }

    /// Our descriptor is gone, and with it what we know of the requests in the kernel.
    pub(super) fn lost(&mut self) {
        self.reap();
        for context in self.contexts.drain(..) {
            let size = (context.ring.slots() as usize + 1) * size_of::<io_event>();
            // SAFETY: the ring is mapped there, and nobody reads it any more. It ends the context, if
            // that lives: no request that waits will touch its buffer after this.
            unsafe { libc::munmap(context.id as *mut _, size) };
        }
        self.device = None;
        self.waking = false;
        self.helper = None;
        for index in self.requests.indices() {
            if let Some(Place::Kernel(_)) = self.requests.get(index).map(|r| r.place) {
                self.end(index, -i64::from(libc::ECANCELED));
            }
        }
        // There is nobody to tell the program what it was promised: somebody must be found.
        if !self.notices.is_empty() {
            let _ = self.ready();
        }
    }
}

/// Errors of a submission that may mean our own descriptor.
fn may_be_lost(error: Errno) -> bool {
    matches!(error.get(), libc::EBADF | libc::ENOTTY | libc::EINVAL)
}

/// Not a pipe, a socket or a terminal.
fn seekable(file: c_int) -> bool {
    // SAFETY: asks only.
    unsafe { libc::lseek(file, 0, libc::SEEK_CUR) >= 0 }
}

fn is_dir(file: c_int) -> bool {
    // SAFETY: numbers, which are all zero until they are filled in.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: `stat` is written.
    unsafe { libc::fstat(file, &mut stat) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFDIR }
}

/// Waits until a context has events, for so many milliseconds; -1 is for ever. Returns what
/// poll(2) says of the device.
pub(super) fn poll(fd: c_int, timeout: c_int) -> i16 {
    let mut pollfd = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd.
    unsafe { libc::poll(ptr::from_mut(&mut pollfd), 1, timeout) };
    pollfd.revents
}
