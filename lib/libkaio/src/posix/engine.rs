// SPDX-License-Identifier: LGPL-2.1-or-later

//! What this library knows, under its one lock: the device, its contexts, the requests.

use core::ffi::c_int;
use core::ptr;
use core::sync::atomic::{AtomicI32, Ordering};

use kaio_sys::ioctl::{self, Wait};
use kaio_sys::syscall::syscall;
use kaio_sys::uapi::{self, __kernel_timespec, io_event, iocb};
use kaio_sys::{device, Errno, Result};

use super::c::aioinit;
use super::control::Control;
use super::helper;
use super::lists::Group;
use super::notify::{Notice, Outbox};
use super::requests::{Index, Place, Request, Requests};
use super::wait;

/// What the first context holds, unless `aio_init()` says more; each later one holds twice as many.
const FIRST_ROOM: u32 = 127;
/// No context is larger, whatever a program says.
const MOST_ROOM: u32 = 1 << 16;

/// Where our descriptor is: apart from that of libaio's half. When a program has closed both, neither
/// half is to take the other's new one for its own.
const LOWEST: usize = 768;

/// [`Engine::device`] once more, or -1: what a child can read of it whatever a thread was doing.
static DEVICE: AtomicI32 = AtomicI32::new(-1);

/// Its ring is not looked at: if the program closes our descriptor it is unmapped under us.
struct Context {
    id: u64,
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
    pub(super) group: Option<Group>,
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
    /// Requests have been completed, and those who wait do not know yet.
    completed: bool,
    /// A no-op is on its way to wake the helper.
    waking: bool,
    /// There is a helper, and it is the one of this number: others end.
    pub(super) helper: Option<usize>,
    helpers: usize,
    /// What `aio_init()` was told last.
    pub(super) init: Option<aioinit>,
    /// During a cancellation: what is meant, and how many of those have ended with -ECANCELED.
    cancelling: Option<(c_int, Option<Control>)>,
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
            completed: false,
            waking: false,
            helper: None,
            helpers: 0,
            init: None,
            cancelling: None,
            cancelled: 0,
            pointers: Vec::new(),
        }
    }

    /// In the child of a fork: the device is the parent's.
    pub(super) fn close_of_parent() {
        let fd = DEVICE.swap(-1, Ordering::Relaxed);
        // The program may have put a file of its own there.
        // SAFETY: it was ours, or an ioctl that no other file knows tells.
        if fd >= 0 && unsafe { ioctl::query(fd) }.is_ok() {
            // SAFETY: ours; the parent has its own. The contexts are its, and stay.
            unsafe { device::close(fd) };
        }
    }

    pub(super) fn device(&self) -> Option<c_int> {
        self.device
    }

    pub(super) fn is_idle(&self) -> bool {
        self.requests.count() == 0 && !self.requests.has_notices()
    }

    /// Sees to it that there are a device, a context and a helper.
    ///
    /// # Errors
    ///
    /// Those of opening the device, if there is none; else `EAGAIN`.
    pub(super) fn ready(&mut self) -> Result<()> {
        if self.device.is_none() {
            let fd = device::open_from(LOWEST)?;
            self.device = Some(fd);
            if let Err(e) = self.add_context(1) {
                self.device = None;
                // SAFETY: ours, and new: nothing is in flight.
                unsafe { device::close(fd) };
                return Err(e);
            }
            DEVICE.store(fd, Ordering::Relaxed);
        }
        if self.helper.is_none() {
            self.helpers = self.helpers.wrapping_add(1);
            helper::start(self.helpers)?;
            self.helper = Some(self.helpers);
        }
        Ok(())
    }

    /// Requests at once, as far as the program knows.
    fn expected(&self) -> u32 {
        self.init.map_or(0, |init| init.aio_num.max(0) as u32)
    }

    /// How long an idle helper waits, in seconds.
    pub(super) fn idle(&self) -> c_int {
        match self.init {
            Some(init) if init.aio_idle_time != 0 => init.aio_idle_time,
            _ => 1,
        }
    }

    fn add_context(&mut self, wanted: u32) -> Result<usize> {
        let fd = self.device.ok_or(Errno::new(libc::EAGAIN))?;
        reserve(&mut self.contexts, 1)?;
        let room = match self.contexts.last() {
            None => self.expected().clamp(FIRST_ROOM, MOST_ROOM),
            Some(last) => last.room.saturating_mul(2).min(MOST_ROOM),
        };
        // What was hoped for, or else what is needed.
        // SAFETY: our device; any other file says that it does not know the ioctl.
        let setup = |room| unsafe { ioctl::setup(fd, room + 1) };
        let (room, id) = match setup(room.max(wanted)) {
            Ok(id) => (room.max(wanted), id),
            Err(_) => (wanted, setup(wanted)?),
        };
        self.contexts.push(Context {
            id,
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
        let control = new.control;
        let index = self
            .add(new)
            .inspect_err(|e| control.end(-i64::from(e.get())))?;
        self.launch(&[index])
    }

    /// Starts requests, in this order and in one call if a context has room for all of them.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: not all could be queued.
    pub(super) fn start_all(&mut self, new: Vec<New>) -> Result<()> {
        let mut batch = Vec::new();
        let mut ret = reserve(&mut batch, new.len());
        for new in new {
            let control = new.control;
            match ret.and_then(|()| self.add(new)) {
                Ok(index) => batch.push(index),
                Err(e) => {
                    control.end(-i64::from(e.get()));
                    ret = Err(e);
                }
            }
        }
        let launched = self.launch(&batch);
        ret.and(launched)
    }

    /// Makes room for all that the request will need until it has ended.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: there is no memory. Nothing is said in the control block.
    fn add(&mut self, new: New) -> Result<Index> {
        let room = self.requests.count() + 1;
        let index = reserve(&mut self.held, room)
            .and_then(|()| reserve(&mut self.pointers, room))
            .and_then(|()| self.requests.reserve())?;
        new.control.begin();
        if let Some(group) = &new.group {
            group.add();
        }
        let file = new.control.file();
        let stat = status(file);
        let mut iocb = new.control.iocb(new.command);
        if is_a(&stat, libc::S_IFSOCK) {
            // What pread(2) of a socket refuses is, as with glibc, a read without the offset.
            iocb.aio_offset = 0;
        }
        // 0 is the no-op that wakes the helper.
        iocb.aio_data = u64::from(index) + 1;
        let request = Request {
            iocb,
            control: new.control,
            file,
            identity: (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino),
            notice: new.notice,
            group: new.group,
            place: Place::Held,
            cancelling: false,
        };
        self.requests.put(index, request);
        Ok(index)
    }

    /// Finds a place for each, and tells the kernel of those that go on together in one call.
    fn launch(&mut self, batch: &[Index]) -> Result<()> {
        let mut ret = Ok(());
        let mut run = 0..0;
        let mut context = 0;
        for (at, &index) in batch.iter().enumerate() {
            let place = self.place(index, batch.len() - at);
            let joins = place == Ok(Some(context));
            if !joins {
                ret = ret.and(self.submit(context, batch.get(run.clone()).unwrap_or(&[])));
                run = at..at;
            }
            match place {
                Ok(Some(number)) => {
                    context = number;
                    self.put(index, number);
                    run.end = at + 1;
                }
                Ok(None) => {
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

    /// The context for a request, one of `wanted` that come together; or it is held.
    fn place(&mut self, index: Index, wanted: usize) -> Result<Option<usize>> {
        // Without a device it was lost a moment ago: `release` opens another.
        let Some(request) = self.requests.get(index).filter(|_| self.device.is_some()) else {
            return Ok(None);
        };
        let file = request.file;
        let sync = request.is_sync();
        // An fsync is for all that was asked for on this descriptor before it. The module lets it
        // wait for writes that it has deferred; what is in hardware is for us to wait for.
        let mut before = self.requests.before_of_file(index);
        if sync && before.is_some() {
            return Ok(None);
        }
        while let Some(other) = before.and_then(|i| self.requests.get(i)) {
            if !other.is_sync() {
                break;
            }
            before = before.and_then(|i| self.requests.before_of_file(i));
        }
        // Those that wait for one pipe or socket are served in order in one context.
        match before.and_then(|i| self.requests.get(i)).map(|r| r.place) {
            Some(Place::Kernel(number)) if self.left(number) > 0 => Ok(Some(number)),
            Some(Place::Held) => Ok(None),
            Some(_) if !seekable(file) => Ok(None),
            _ => match self.choose(wanted) {
                Ok(number) => Ok(Some(number)),
                Err(e) if may_be_lost(e) && self.is_lost() => {
                    self.lost();
                    Ok(None)
                }
                Err(_) => Err(Errno::new(libc::EAGAIN)),
            },
        }
    }

    fn left(&self, number: usize) -> u32 {
        self.contexts.get(number).map_or(0, Context::left)
    }

    /// A context with room for `wanted`, or at least for one.
    fn choose(&mut self, wanted: usize) -> Result<usize> {
        let wanted = wanted.min(MOST_ROOM as usize) as u32;
        let with = |n: u32| self.contexts.iter().position(|c| c.left() >= n);
        if let Some(number) = with(wanted) {
            return Ok(number);
        }
        let any = with(1);
        self.add_context(wanted).or_else(|e| any.ok_or(e))
    }

    /// Hands requests that have their place in this context to the kernel.
    fn submit(&mut self, number: usize, mut run: &[Index]) -> Result<()> {
        let mut ret = Ok(());
        while !run.is_empty() {
            let (Some(fd), Some(id)) = (self.device, self.contexts.get(number).map(|c| c.id))
            else {
                // What came before these found that our descriptor is gone.
                self.hold(run);
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
                self.hold(run);
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

    /// Requests that the kernel has not been told of wait until there is a device again.
    fn hold(&mut self, run: &[Index]) {
        for &index in run {
            if let Some(request) = self.requests.get_mut(index) {
                request.place = Place::Held;
            }
            self.held.push(index);
        }
    }

    /// The kernel refuses a request: it was queued, and fails.
    fn fail(&mut self, index: Index, error: Errno) {
        let mut error = error.get();
        if let Some(request) = self.requests.get(index) {
            // read(2) has a word of its own for it.
            if error == libc::EINVAL
                && request.is(uapi::IOCB_CMD_PREAD)
                && is_a(&status(request.file), libc::S_IFDIR)
            {
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
        let Some(request) = self.requests.take(index) else {
            return;
        };
        match request.place {
            Place::Kernel(number) => {
                if let Some(context) = self.contexts.get_mut(number) {
                    context.inside = context.inside.saturating_sub(1);
                }
            }
            Place::Held => self.held.retain(|&i| i != index),
            Place::Lost { .. } => {}
        }
        let meant = self.cancelling.is_some_and(|(file, only)| {
            request.file == file && only.is_none_or(|only| only == request.control)
        });
        if meant && res == -i64::from(libc::ECANCELED) {
            self.cancelled += 1;
        }
        let res = match request.notice.fails() {
            true => -i64::from(libc::EINVAL),
            false => res,
        };
        request.control.end(res);
        self.completed = true;
        let of_list = request.group.map_or(Notice::None, |g| g.end(res < 0));
        self.requests.give_back(index, [request.notice, of_list]);
    }

    /// A place for something that the program is to be told.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: there is no memory.
    pub(super) fn reserve_notice(&mut self) -> Result<Index> {
        self.requests.reserve()
    }

    /// Has the helper tell the program.
    pub(super) fn tell(&mut self, place: Index, notice: Notice) {
        self.requests.give_back(place, [notice, Notice::None]);
    }

    pub(super) fn has_notices(&self) -> bool {
        self.requests.has_notices()
    }

    /// The helper takes what the program is to be told.
    pub(super) fn take_notices(&mut self, outbox: &mut Outbox) {
        self.requests.take_notices(outbox);
    }

    /// Takes all events that there are.
    pub(super) fn reap(&mut self) {
        let mut number = 0;
        while let (Some(fd), Some(id)) = (self.device, self.contexts.get(number).map(|c| c.id)) {
            let mut events = [io_event::default(); 32];
            let all = events.len();
            match take_events(fd, id, &mut events) {
                Ok(count) => {
                    for event in events.iter().take(count) {
                        self.complete(event);
                    }
                    number += usize::from(count < all);
                }
                Err(_) => self.lost(),
            }
        }
    }

    fn complete(&mut self, event: &io_event) {
        let Some(index) = event.data.checked_sub(1) else {
            self.waking = false;
            return;
        };
        self.end(index as Index, event.res);
    }

    /// Before the lock is given back: what was waiting for others goes on, and those who wait for
    /// requests look again.
    pub(super) fn settle(&mut self) {
        // If it was lost meanwhile, there are more to be started.
        while !self.held.is_empty() && (self.release() || self.device.is_none()) {}
        if core::mem::take(&mut self.completed) {
            wait::publish();
        }
        if self.requests.has_notices() {
            self.wake();
        }
    }

    /// Starts what need not be held any more; returns whether that is any.
    fn release(&mut self) -> bool {
        // Without a device it was lost, and these were to be started.
        let ready = match self.device {
            Some(_) => Ok(()),
            None => self.ready(),
        };
        let mut any = false;
        let mut at = 0;
        while let Some(&index) = self.held.get(at) {
            match ready.and_then(|()| self.place(index, 1)) {
                Ok(Some(number)) => {
                    any = true;
                    self.held.remove(at);
                    self.put(index, number);
                    let _ = self.submit(number, &[index]);
                }
                Ok(None) => at += 1,
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
        self.cancelling = Some((file, only));
        self.cancelled = 0;
        let mut found = false;
        // The last one first: what waits for those before it must not begin meanwhile.
        let mut next = self.wanted(self.requests.last_of(file), only);
        while let Some(index) = next {
            found = true;
            next = self.wanted(self.requests.before(index), only);
            let cancelling = self.cancel_one(index) == Ok(false);
            if let Some(request) = self.requests.get_mut(index) {
                request.cancelling = cancelling;
            }
        }
        self.reap();
        for _ in 0..TRIES {
            let Some(fd) = self.device.filter(|_| self.is_cancelling(file, only)) else {
                break;
            };
            poll(fd, 1);
            self.reap();
        }
        self.cancelling = None;
        let left = self.wanted(self.requests.last_of(file), only);
        match (found, left, only) {
            (true, Some(_), _) => Cancelled::No,
            (true, None, _) if self.cancelled > 0 => Cancelled::Yes,
            (false, _, Some(control)) if control.in_progress() => Cancelled::Unknown,
            _ => Cancelled::AllDone,
        }
    }

    /// The first one that is meant, from this request of a descriptor to those before it.
    fn wanted(&self, mut at: Option<Index>, only: Option<Control>) -> Option<Index> {
        while let Some(index) = at {
            let control = self.requests.get(index)?.control;
            if only.is_none_or(|only| only == control) {
                break;
            }
            at = self.requests.before(index);
        }
        at
    }

    fn is_cancelling(&self, file: c_int, only: Option<Control>) -> bool {
        let mut at = self.wanted(self.requests.last_of(file), only);
        while let Some(index) = at {
            if self.requests.get(index).is_some_and(|r| r.cancelling) {
                return true;
            }
            at = self.wanted(self.requests.before(index), only);
        }
        false
    }

    /// `Ok(true)`: its event is there; `Ok(false)`: it follows.
    fn cancel_one(&mut self, index: Index) -> Result<bool> {
        let Some(request) = self.requests.get(index) else {
            return Ok(true);
        };
        let number = match request.place {
            Place::Kernel(number) => number,
            Place::Held => {
                self.end(index, -i64::from(libc::ECANCELED));
                return Ok(true);
            }
            // Its buffer may be in use.
            Place::Lost { .. } => return Err(Errno::new(libc::EINVAL)),
        };
        let (Some(fd), Some(context)) = (self.device, self.contexts.get(number)) else {
            return Err(Errno::new(libc::EINVAL));
        };
        // SAFETY: our device; any other file says that it does not know the ioctl.
        unsafe { ioctl::cancel(fd, context.id, &raw const request.iocb) }
    }

    /// Whether the program has closed our descriptor, or has put another file there.
    fn is_lost(&self) -> bool {
        match (self.device, self.contexts.first()) {
            (Some(fd), Some(context)) => take_events(fd, context.id, &mut []).is_err(),
            _ => false,
        }
    }

    /// Our descriptor is gone. The contexts end with the open file: the last to let go of it waits
    /// for what is in flight, then unmaps the rings. That is whoever closed it, or the helper, which
    /// holds it while it polls. The helper waits for it: see [`Self::lost_ring`].
    fn lost(&mut self) {
        let helper = self.helper.take().unwrap_or(self.helpers);
        for index in 0..self.requests.places() {
            if let Some(request) = self.requests.get_mut(index) {
                if let Place::Kernel(number) = request.place {
                    let ring = self.contexts.get(number).map_or(0, |context| context.id);
                    request.place = Place::Lost { helper, ring };
                }
            }
        }
        self.contexts.clear();
        self.device = None;
        DEVICE.store(-1, Ordering::Relaxed);
        self.waking = false;
    }

    /// A ring of the lost contexts that are left to the helper `number`.
    pub(super) fn lost_ring(&self, number: usize) -> Option<u64> {
        (0..self.requests.places()).find_map(|index| match self.requests.get(index)?.place {
            Place::Lost { helper, ring } if helper == number => Some(ring),
            _ => None,
        })
    }

    /// Whether a context of now has its ring there: then one that was lost has none any more.
    pub(super) fn has_ring(&self, ring: u64) -> bool {
        self.contexts.iter().any(|context| context.id == ring)
    }

    /// Nothing of that lost context is in flight any more: its requests end.
    pub(super) fn end_lost(&mut self, helper: usize, ring: u64) {
        for index in 0..self.requests.places() {
            let place = self.requests.get(index).map(|request| request.place);
            if place == Some(Place::Lost { helper, ring }) {
                self.end(index, -i64::from(libc::ECANCELED));
            }
        }
    }
}

/// Takes what events there are now, if `events` has room.
fn take_events(fd: c_int, id: u64, events: &mut [io_event]) -> Result<usize> {
    const NOW: __kernel_timespec = __kernel_timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let wait = Wait {
        nr: events.len() as i64,
        events: events.as_mut_ptr(),
        timeout: &NOW,
        ..Default::default()
    };
    // SAFETY: there is room for them, and nobody takes events in user space.
    unsafe { ioctl::get_events(fd, id, &wait) }
}

/// Room for so many in all, or one more than there are.
///
/// # Errors
///
/// `EAGAIN`: there is no memory.
fn reserve<T>(vec: &mut Vec<T>, count: usize) -> Result<()> {
    vec.try_reserve(count.saturating_sub(vec.len()).max(1))
        .map_err(|_| Errno::new(libc::EAGAIN))
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

/// What kind of file it is, and which; zeroes if it is not open. As it is known here: a file system
/// whose server or daemon does not answer must not hold up the call.
fn status(file: c_int) -> libc::statx {
    // SAFETY: numbers, which are all zero until they are filled in.
    let mut stat: libc::statx = unsafe { core::mem::zeroed() };
    let args = [
        file as usize,
        c"".as_ptr() as usize,
        (libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC) as usize,
        (libc::STATX_TYPE | libc::STATX_INO) as usize,
        ptr::from_mut(&mut stat) as usize,
        0,
    ];
    // SAFETY: `stat` is written.
    let _ = unsafe { syscall(libc::SYS_statx, args) };
    stat
}

fn is_a(stat: &libc::statx, kind: libc::mode_t) -> bool {
    libc::mode_t::from(stat.stx_mode) & libc::S_IFMT == kind
}

/// Waits until a context has events, for so many milliseconds; -1 is for ever. Returns what
/// poll(2) says of the device.
pub(super) fn poll(fd: c_int, timeout: c_int) -> i16 {
    let mut pollfd = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let args = [
        ptr::from_mut(&mut pollfd) as usize,
        1,
        timeout as usize,
        0,
        0,
        0,
    ];
    // Not by libc, where pthread_cancel() would end a thread that has the lock.
    // SAFETY: one pollfd.
    let _ = unsafe { syscall(libc::SYS_poll, args) };
    pollfd.revents
}
