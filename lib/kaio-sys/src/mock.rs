// SPDX-License-Identifier: LGPL-2.1-or-later

//! A kernel for tests that has `/dev/kaio`, in the process itself.
//!
//! It takes the place of [`crate::syscall::syscall`] under Miri, which cannot enter a kernel, and in
//! a build with `RUSTFLAGS="--cfg kaio_mock"`. So it checks what uses this crate by the same rules as
//! the kernel: it reads an iocb within the submit call, it reads and writes a buffer until the event
//! of the request is in the ring, and it frees a ring when its context ends.
//!
//! It does reads, writes and syncs by libc's functions within the submit call. A request on a file
//! that a test holds ([`hold`]) waits until the test releases the file ([`release`]). A read of an
//! empty pipe that is not held would block the whole mock.
//!
//! It differs from the module: a context holds exactly as many requests as it was made for, each
//! request that waits can be cancelled, and there are no priorities, no `RWF_*` flags and no signal
//! masks. The device is an eventfd, which counts completions, so its readability is an edge only.

use core::ffi::c_int;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicU32, Ordering};
use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::vec::Vec;

use crate::errno::{Errno, Result};
use crate::uapi::{self, io_event, iocb, kaio_ring};

/// Makes requests on the file `fd` wait from now on.
pub fn hold(fd: c_int) {
    lock().held.insert(fd);
}

/// Does the requests that wait on the file `fd`, in the calling thread. Later ones do not wait.
pub fn release(fd: c_int) {
    let mut kernel = lock();
    kernel.held.remove(&fd);
    for context in kernel.contexts.values_mut() {
        let waiting = core::mem::take(&mut context.waiting);
        for request in waiting {
            match request.iocb.aio_fildes as c_int == fd {
                true => context.complete(&request, request.perform()),
                false => context.waiting.push(request),
            }
        }
    }
    CHANGED.notify_all();
}

/// Makes the next opens of the device fail with this errno, or succeed if it is 0.
pub fn fail_open(errno: c_int) {
    lock().open_errno = errno;
}

/// Returns the number of requests that wait in all contexts.
pub fn waiting() -> usize {
    let kernel = lock();
    kernel.contexts.values().map(|c| c.waiting.len()).sum()
}

struct Kernel {
    /// The descriptors of the device.
    devices: BTreeSet<c_int>,
    held: BTreeSet<c_int>,
    open_errno: c_int,
    contexts: BTreeMap<u64, Context>,
}

static KERNEL: Mutex<Kernel> = Mutex::new(Kernel {
    devices: BTreeSet::new(),
    held: BTreeSet::new(),
    open_errno: 0,
    contexts: BTreeMap::new(),
});
/// Signalled when an event comes or a context ends.
static CHANGED: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Kernel> {
    KERNEL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request that the kernel has.
struct Request {
    /// The address at which it was submitted.
    address: u64,
    iocb: iocb,
}

struct Context {
    device: c_int,
    /// The address of the ring.
    id: u64,
    slots: u32,
    layout: Layout,
    waiting: Vec<Request>,
    /// The process that made the context.
    process: c_int,
}

fn process() -> c_int {
    if cfg!(miri) {
        return 1;
    }
    // SAFETY: getpid() takes no pointer and cannot fail.
    unsafe { libc::getpid() }
}

fn last_error() -> Errno {
    let error = io::Error::last_os_error().raw_os_error();
    Errno::new(error.unwrap_or(libc::EIO))
}

fn checked(ret: isize) -> Result<usize> {
    match ret {
        ..0 => Err(last_error()),
        ret => Ok(ret as usize),
    }
}

impl Request {
    /// Does the request and returns its result.
    fn perform(&self) -> i64 {
        let result = match self.iocb.aio_lio_opcode.into() {
            uapi::IOCB_CMD_NOOP => Ok(0),
            uapi::IOCB_CMD_POLL => Ok(self.iocb.aio_buf as usize),
            // SAFETY: fsync() takes no pointer.
            uapi::IOCB_CMD_FSYNC => checked(unsafe { libc::fsync(self.fd()) } as isize),
            // SAFETY: fdatasync() takes no pointer.
            uapi::IOCB_CMD_FDSYNC => checked(unsafe { libc::fdatasync(self.fd()) } as isize),
            uapi::IOCB_CMD_PREAD | uapi::IOCB_CMD_PWRITE => {
                self.transfer(self.iocb.aio_buf, self.iocb.aio_nbytes as usize, 0)
            }
            _ => self.transfer_all(),
        };
        match result {
            Ok(count) => count as i64,
            Err(errno) => errno.negative().into(),
        }
    }

    fn fd(&self) -> c_int {
        self.iocb.aio_fildes as c_int
    }

    fn is_read(&self) -> bool {
        let opcode = u32::from(self.iocb.aio_lio_opcode);
        opcode == uapi::IOCB_CMD_PREAD || opcode == uapi::IOCB_CMD_PREADV
    }

    /// Transfers one piece of memory, which belongs `done` bytes after the offset of the request. A
    /// regular file gives and takes all that there is, but Miri makes some calls short.
    fn transfer(&self, address: u64, len: usize, done: usize) -> Result<usize> {
        let fd = self.fd();
        let memory = with_exposed_provenance_mut::<libc::c_void>(address as usize);
        let mut count = 0;
        loop {
            let offset = self.iocb.aio_offset + (done + count) as i64;
            // SAFETY: the submitter promises that the buffer is the kernel's until the event comes,
            // and `count` is at most its length.
            let ret = unsafe {
                let left = memory.byte_add(count);
                match self.is_read() {
                    true => checked(libc::pread(fd, left, len - count, offset)),
                    false => checked(libc::pwrite(fd, left, len - count, offset)),
                }
            };
            match ret {
                Err(e) if e.get() == libc::ESPIPE => return self.stream(memory, len),
                Err(e) if count == 0 => return Err(e),
                Ok(0) | Err(_) => return Ok(count),
                Ok(more) => count += more,
            }
            if count == len {
                return Ok(count);
            }
        }
    }

    /// Transfers one piece of memory from or to a file without an offset.
    fn stream(&self, memory: *mut libc::c_void, len: usize) -> Result<usize> {
        // SAFETY: the submitter promises that the buffer is the kernel's until the event comes.
        checked(unsafe {
            match self.is_read() {
                true => libc::read(self.fd(), memory, len),
                false => libc::write(self.fd(), memory, len),
            }
        })
    }

    /// Transfers one piece of memory after the other, until one is not full.
    fn transfer_all(&self) -> Result<usize> {
        let iovecs = with_exposed_provenance::<libc::iovec>(self.iocb.aio_buf as usize);
        let mut done = 0;
        for i in 0..self.iocb.aio_nbytes as usize {
            // SAFETY: the submitter promises that the array is there until the event comes.
            let piece = unsafe { iovecs.add(i).read() };
            match self.transfer(
                piece.iov_base.expose_provenance() as u64,
                piece.iov_len,
                done,
            ) {
                Ok(count) => {
                    done += count;
                    if count < piece.iov_len {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// Returns the error for which the kernel refuses the request.
    fn refusal(&self) -> Option<c_int> {
        let iocb = &self.iocb;
        // SAFETY: F_GETFD takes no pointer.
        if unsafe { libc::fcntl(self.fd(), libc::F_GETFD) } < 0 {
            return Some(libc::EBADF);
        }
        match iocb.aio_lio_opcode.into() {
            uapi::IOCB_CMD_PREAD
            | uapi::IOCB_CMD_PWRITE
            | uapi::IOCB_CMD_PREADV
            | uapi::IOCB_CMD_PWRITEV => {
                if iocb.aio_offset < 0 {
                    return Some(libc::EINVAL);
                }
                (iocb.aio_rw_flags != 0).then_some(libc::EOPNOTSUPP)
            }
            uapi::IOCB_CMD_FSYNC
            | uapi::IOCB_CMD_FDSYNC
            | uapi::IOCB_CMD_POLL
            | uapi::IOCB_CMD_NOOP => {
                let unused = iocb.aio_nbytes == 0 && iocb.aio_offset == 0 && iocb.aio_rw_flags == 0;
                (!unused).then_some(libc::EINVAL)
            }
            _ => Some(libc::EINVAL),
        }
    }
}

impl Context {
    fn new(device: c_int, nr_events: u32) -> Result<Self> {
        if nr_events == 0 || nr_events > 1 << 20 {
            return Err(Errno::new(libc::EINVAL));
        }
        let slots = nr_events + 1;
        let size = size_of::<kaio_ring>() + slots as usize * size_of::<io_event>();
        let layout = Layout::from_size_align(size, 4096).map_err(|_| Errno::new(libc::ENOMEM))?;
        // SAFETY: the size is not 0.
        let ring = unsafe { alloc_zeroed(layout) }.cast::<kaio_ring>();
        if ring.is_null() {
            return Err(Errno::new(libc::ENOMEM));
        }
        // SAFETY: the memory was allocated above, and no other code has it.
        unsafe {
            (*ring).nr = slots;
            (*ring).magic = uapi::KAIO_RING_MAGIC;
            (*ring).compat_features = uapi::KAIO_RING_COMPAT_FEATURES;
            (*ring).incompat_features = uapi::KAIO_RING_INCOMPAT_FEATURES;
            (*ring).header_length = size_of::<kaio_ring>() as u32;
        }
        Ok(Self {
            device,
            id: ring.expose_provenance() as u64,
            slots,
            layout,
            waiting: Vec::new(),
            process: process(),
        })
    }

    fn ring(&self) -> *mut kaio_ring {
        with_exposed_provenance_mut(self.id as usize)
    }

    fn head(&self) -> u32 {
        // SAFETY: the ring is allocated as long as `self` is in the table.
        let head = unsafe { AtomicU32::from_ptr(&raw mut (*self.ring()).head) };
        head.load(Ordering::Acquire) % self.slots
    }

    fn tail(&self) -> &AtomicU32 {
        // SAFETY: the ring is allocated as long as `self` is in the table.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.ring()).tail) }
    }

    /// Returns how many events are in the ring.
    fn available(&self) -> u32 {
        (self.tail().load(Ordering::Relaxed) + self.slots - self.head()) % self.slots
    }

    fn is_full(&self) -> bool {
        self.waiting.len() + self.available() as usize >= self.slots as usize - 1
    }

    fn complete(&mut self, request: &Request, res: i64) {
        let tail = self.tail().load(Ordering::Relaxed);
        let event = io_event {
            data: request.iocb.aio_data,
            obj: request.address,
            res,
            res2: 0,
        };
        // SAFETY: the ring has a slot for each request, and no other code accesses this one before
        // the tail moves.
        unsafe {
            let events = (&raw mut (*self.ring()).io_events).cast::<io_event>();
            events.add(tail as usize).write(event);
        }
        let next = (tail + 1) % self.slots;
        self.tail().store(next, Ordering::Release);
        count(self.device);
        if request.iocb.aio_flags & uapi::IOCB_FLAG_RESFD != 0 {
            count(request.iocb.aio_resfd as c_int);
        }
    }

    fn free(self) {
        // SAFETY: `new` has allocated the ring with this layout. The program promises that it does
        // not use the ring of a context that has ended.
        unsafe { dealloc(self.ring().cast(), self.layout) };
    }
}

/// Adds 1 to an eventfd.
fn count(eventfd: c_int) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the buffer has 8 bytes. An error leaves nothing to do.
    let _ = unsafe { libc::write(eventfd, one.as_ptr().cast(), one.len()) };
}

fn invalid<T>() -> Result<T> {
    Err(Errno::new(libc::EINVAL))
}

impl Kernel {
    fn context(&mut self, device: c_int, id: u64) -> Result<&mut Context> {
        match self.contexts.get_mut(&id) {
            Some(context) if context.device == device && context.process == process() => {
                Ok(context)
            }
            _ => invalid(),
        }
    }

    fn open(&mut self) -> Result<usize> {
        if self.open_errno != 0 {
            return Err(Errno::new(self.open_errno));
        }
        // SAFETY: eventfd() takes no pointer.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        let fd = checked(fd as isize)?;
        self.devices.insert(fd as c_int);
        Ok(fd)
    }

    fn duplicate(&mut self, fd: c_int, lowest: c_int) -> Result<usize> {
        // SAFETY: F_DUPFD_CLOEXEC takes no pointer.
        let new = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, lowest) };
        let new = checked(new as isize)?;
        if self.devices.contains(&fd) {
            self.devices.insert(new as c_int);
        }
        Ok(new)
    }

    /// Closes a descriptor. Only that by which a context was made ends it.
    fn close(&mut self, fd: c_int) -> Result<usize> {
        if self.devices.remove(&fd) {
            let contexts = core::mem::take(&mut self.contexts);
            for (id, context) in contexts {
                match context.device == fd {
                    true => context.free(),
                    false => drop(self.contexts.insert(id, context)),
                }
            }
            CHANGED.notify_all();
        }
        // SAFETY: the caller owns the descriptor.
        checked(unsafe { libc::close(fd) } as isize)
    }

    /// Starts requests. Returns their number and the error of the first one that was not started.
    ///
    /// # Safety
    ///
    /// `iocbs` has `nr` pointers to iocbs. Their buffers are the kernel's until their events come.
    unsafe fn submit(
        &mut self,
        device: c_int,
        id: u64,
        nr: i64,
        iocbs: u64,
    ) -> Result<(usize, Option<Errno>)> {
        let held = self.held.clone();
        let context = self.context(device, id)?;
        if nr < 0 {
            return invalid();
        }
        let iocbs = with_exposed_provenance::<*mut iocb>(iocbs as usize);
        let mut started = 0;
        let mut stopped = None;
        while started < nr as usize {
            // SAFETY: the caller promises that there is such an iocb.
            let (address, iocb) = unsafe {
                let address = iocbs.add(started).read();
                (&raw mut (*address).aio_key).write(0);
                (address.expose_provenance() as u64, address.read())
            };
            let request = Request { address, iocb };
            stopped = match context.is_full() {
                true => Some(libc::EAGAIN),
                false => request.refusal(),
            };
            if stopped.is_some() {
                break;
            }
            match held.contains(&request.fd()) {
                true => context.waiting.push(request),
                false => {
                    let res = request.perform();
                    context.complete(&request, res);
                }
            }
            started += 1;
        }
        CHANGED.notify_all();
        match (started, stopped.map(Errno::new)) {
            (0, Some(errno)) => Err(errno),
            result => Ok(result),
        }
    }

    /// Cancels a request that waits.
    ///
    /// # Safety
    ///
    /// There is an iocb at the address, if a request was submitted there.
    unsafe fn cancel(&mut self, device: c_int, id: u64, address: u64) -> Result<()> {
        let context = self.context(device, id)?;
        let found = context.waiting.iter().position(|r| r.address == address);
        let Some(found) = found else {
            return invalid();
        };
        let iocb = with_exposed_provenance::<iocb>(address as usize);
        // SAFETY: the caller promises that the iocb is there.
        if unsafe { (&raw const (*iocb).aio_key).read() } != 0 {
            return invalid();
        }
        let request = context.waiting.remove(found);
        let polls = u32::from(request.iocb.aio_lio_opcode) == uapi::IOCB_CMD_POLL;
        let res = if polls { 0 } else { -libc::ECANCELED };
        context.complete(&request, res.into());
        CHANGED.notify_all();
        Ok(())
    }
}

/// The arguments of a wait, as in the structs of the ioctls.
struct Wait {
    min_nr: i64,
    nr: i64,
    events: u64,
    timeout: u64,
    sigmask: u64,
    flags: u32,
}

/// Waits for events.
///
/// # Safety
///
/// `events` has room for `nr` events, or the flags have `KAIO_GETEVENTS_PEEK`. `timeout` is the
/// address of a time, or 0.
unsafe fn get_events(device: c_int, id: u64, wait: &Wait) -> Result<usize> {
    let peek = wait.flags == uapi::KAIO_GETEVENTS_PEEK;
    if wait.min_nr < 0 || wait.nr < wait.min_nr || wait.sigmask != 0 || !(peek || wait.flags == 0) {
        return invalid();
    }
    let timeout = with_exposed_provenance::<uapi::__kernel_timespec>(wait.timeout as usize);
    // SAFETY: the caller promises that it is null or the address of a time.
    let timeout = unsafe { timeout.as_ref() }.map(|time| {
        Duration::from_secs(time.tv_sec.unsigned_abs())
            + Duration::from_nanos(time.tv_nsec.unsigned_abs())
    });
    let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut kernel = lock();
    loop {
        let context = kernel.context(device, id)?;
        let count = context.available();
        let enough = wait.min_nr.min(i64::from(context.slots) - 1);
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if i64::from(count) >= enough || left == Some(Duration::ZERO) {
            let count = i64::from(count).min(wait.nr);
            if peek {
                return Ok(count as usize);
            }
            let events = with_exposed_provenance_mut::<io_event>(wait.events as usize);
            // SAFETY: the context is in the table, so its ring is there; `events` has room.
            let taken = unsafe {
                let ring = crate::ring::Ring::with_slots(id, context.slots);
                ring.take(events, count as u32)
            };
            return Ok(taken as usize);
        }
        kernel = match left {
            None => CHANGED.wait(kernel).unwrap_or_else(PoisonError::into_inner),
            Some(left) => {
                let woken = CHANGED.wait_timeout(kernel, left);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

/// Makes the ioctl `number` with the struct at `arg`.
///
/// # Safety
///
/// `arg` is the address of the struct that `number` belongs to, and the caller keeps the promises of
/// that ioctl.
unsafe fn ioctl(device: c_int, number: u64, arg: usize) -> Result<usize> {
    if !lock().devices.contains(&device) {
        return Err(Errno::new(libc::ENOTTY));
    }
    // SAFETY: the caller promises that the struct of this ioctl is there, and that no other code
    // accesses it meanwhile. It keeps the promises of the ioctl for what the struct names.
    unsafe {
        match number {
            uapi::KAIO_IOC_QUERY => {
                let arg = &mut *with_exposed_provenance_mut::<uapi::kaio_query>(arg);
                let room = |c: &Context| u64::from(c.slots - 1);
                arg.version = uapi::KAIO_ABI_VERSION;
                arg.features = (uapi::KAIO_FEATURE_FADVISE * 2 - 1).into();
                arg.opcodes = 0b1_1110_1111;
                arg.max_nr = 1 << 20;
                arg.nr = lock().contexts.values().map(room).sum();
                (arg.max_user_nr, arg.user_nr) = (arg.max_nr, arg.nr);
                Ok(0)
            }
            uapi::KAIO_IOC_SETUP => {
                let arg = &mut *with_exposed_provenance_mut::<uapi::kaio_setup>(arg);
                let context = Context::new(device, arg.nr_events)?;
                arg.ctx_id = context.id;
                lock().contexts.insert(context.id, context);
                Ok(0)
            }
            uapi::KAIO_IOC_DESTROY => {
                let arg = &*with_exposed_provenance::<uapi::kaio_destroy>(arg);
                let mut kernel = lock();
                kernel.context(device, arg.ctx_id)?;
                if let Some(context) = kernel.contexts.remove(&arg.ctx_id) {
                    context.free();
                }
                CHANGED.notify_all();
                Ok(0)
            }
            uapi::KAIO_IOC_SUBMIT => {
                let arg = &mut *with_exposed_provenance_mut::<uapi::kaio_submit>(arg);
                let (count, stopped) = lock().submit(device, arg.ctx_id, arg.nr, arg.iocbpp)?;
                arg.error = stopped.map_or(0, Errno::negative);
                Ok(count)
            }
            uapi::KAIO_IOC_GETEVENTS => {
                let arg = &*with_exposed_provenance::<uapi::kaio_getevents>(arg);
                let wait = Wait {
                    min_nr: arg.min_nr,
                    nr: arg.nr,
                    events: arg.events,
                    timeout: arg.timeout,
                    sigmask: arg.sigmask,
                    flags: arg.flags,
                };
                get_events(device, arg.ctx_id, &wait)
            }
            uapi::KAIO_IOC_SUBMIT_WAIT => {
                let arg = &mut *with_exposed_provenance_mut::<uapi::kaio_submit_wait>(arg);
                let submitted = lock().submit(device, arg.ctx_id, arg.nr, arg.iocbpp);
                let (count, stopped) = submitted.unwrap_or_else(|e| (0, Some(e)));
                arg.submitted = count as u64;
                arg.error = stopped.map_or(0, Errno::negative);
                let wait = Wait {
                    min_nr: arg.min_nr,
                    nr: arg.nr_events,
                    events: arg.events,
                    timeout: arg.timeout,
                    sigmask: arg.sigmask,
                    flags: arg.flags,
                };
                match (count, stopped) {
                    (0, Some(errno)) => Err(errno),
                    _ => get_events(device, arg.ctx_id, &wait),
                }
            }
            uapi::KAIO_IOC_CANCEL => {
                let arg = &mut *with_exposed_provenance_mut::<uapi::kaio_cancel>(arg);
                lock().cancel(device, arg.ctx_id, arg.iocb)?;
                arg.ended = 1;
                Err(Errno::new(libc::EINPROGRESS))
            }
            _ => Err(Errno::new(libc::ENOTTY)),
        }
    }
}

/// Makes the system call `nr`: those that this crate makes, and no other.
///
/// # Safety
///
/// The arguments are valid for the call `nr`, and the caller answers for what the call does to this
/// process.
pub unsafe fn syscall(nr: core::ffi::c_long, args: [usize; 6]) -> Result<usize> {
    let [a, b, c, d, ..] = args;
    match nr {
        libc::SYS_openat => lock().open(),
        libc::SYS_fcntl => lock().duplicate(a as c_int, c as c_int),
        libc::SYS_close => lock().close(a as c_int),
        // SAFETY: the caller keeps the promises of the ioctl.
        libc::SYS_ioctl => unsafe { ioctl(a as c_int, b as u64, c) },
        // The address is one that no struct has: the caller asks for the quick way.
        libc::SYS_fadvise64 if b == usize::MAX => Err(Errno::new(libc::EFAULT)),
        // SAFETY: the caller keeps the promises of the ioctl.
        libc::SYS_fadvise64 => unsafe { ioctl(a as c_int, u64::from(d as u32), b) },
        _ => Err(Errno::new(libc::ENOSYS)),
    }
}
