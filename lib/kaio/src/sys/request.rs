// SPDX-License-Identifier: LGPL-2.1-or-later

//! A request: what it is to do, its buffer, its result.

use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use kaio_sys::uapi::{self, iocb};

use super::buffer::{IoBuf, IoBufMut};

/// What a request brings back: bytes transferred (of a poll: events), or why not, and its buffer.
pub type Completion<B> = (io::Result<usize>, B);

/// A buffer as the kernel is told of it.
#[repr(transparent)]
struct IoVec(#[allow(dead_code, reason = "the kernel reads it")] libc::iovec);

// SAFETY: an address and a length, of memory that its request owns.
unsafe impl Send for IoVec {}
// SAFETY: as above.
unsafe impl Sync for IoVec {}

impl IoVec {
    fn new(base: *mut u8, len: usize) -> Self {
        Self(libc::iovec {
            iov_base: base.cast(),
            iov_len: len,
        })
    }
}

/// Where the memory of a request is.
enum Place {
    None,
    One(*mut u8, usize),
    Many(Box<[IoVec]>),
}

/// An operation that was not submitted: on which file, with which buffer.
///
/// It borrows the file until it is submitted; from then on the kernel keeps the file open. The
/// buffer it owns, and gives back with the result.
///
/// ```compile_fail,E0382
/// # let file = std::fs::File::open("/dev/null").unwrap();
/// let buf = vec![0; 4096];
/// let op = kaio::Op::read(&file, buf, 0);
/// println!("{}", buf[0]); // the request has it
/// ```
///
/// What is borrowed cannot be lent to the kernel:
///
/// ```compile_fail,E0277
/// # let file = std::fs::File::open("/dev/null").unwrap();
/// let mut buf = [0; 4096];
/// let op = kaio::Op::read(&file, &mut buf[..], 0);
/// ```
///
/// ```compile_fail,E0597
/// # let file = std::fs::File::open("/dev/null").unwrap();
/// let buf = [0; 4096];
/// let op = kaio::Op::write(&file, &buf[..], 0); // lives for this function only
/// ```
#[must_use = "an operation does nothing until it is submitted"]
pub struct Op<'fd, B> {
    iocb: iocb,
    buffer: B,
    /// Says where the memory of this buffer is, for this opcode.
    locate: fn(&mut B) -> Place,
    file: PhantomData<BorrowedFd<'fd>>,
}

impl<'fd, B> Op<'fd, B> {
    fn new(
        opcode: u32,
        file: &'fd (impl AsFd + ?Sized),
        buffer: B,
        offset: u64,
        locate: fn(&mut B) -> Place,
    ) -> Self {
        let iocb = iocb {
            aio_lio_opcode: opcode as u16,
            aio_fildes: file.as_fd().as_raw_fd() as u32,
            // More than an i64 is negative there, and refused.
            aio_offset: offset as i64,
            ..iocb::default()
        };
        Self {
            iocb,
            buffer,
            locate,
            file: PhantomData,
        }
    }

    /// Sets `RWF_*` flags of [`crate::flags`], as `preadv2(2)` has them. Replaces earlier ones.
    ///
    /// `EOPNOTSUPP`, as the result: the kernel or the file does not know one.
    pub fn flags(mut self, rwf: i32) -> Self {
        self.iocb.aio_rw_flags = rwf;
        self
    }

    /// Sets the I/O priority, as `ioprio_set(2)` has it.
    ///
    /// `EPERM`, as the result: the caller may not use it. `EINVAL`: there is no such priority.
    pub fn priority(mut self, ioprio: u16) -> Self {
        self.iocb.aio_flags |= uapi::IOCB_FLAG_IOPRIO;
        self.iocb.aio_reqprio = ioprio as i16;
        self
    }
}

impl<'fd, B: IoBufMut> Op<'fd, B> {
    /// `pread(2)`: reads into all of `buf`. The offset counts in files that have one; with a
    /// socket it must be 0.
    pub fn read(file: &'fd (impl AsFd + ?Sized), buf: B, offset: u64) -> Self {
        Self::new(uapi::IOCB_CMD_PREAD, file, buf, offset, |buf| {
            Place::One(buf.as_mut_ptr(), buf.len())
        })
    }
}

impl<'fd, B: IoBuf> Op<'fd, B> {
    /// `pwrite(2)`: writes all of `buf`.
    pub fn write(file: &'fd (impl AsFd + ?Sized), buf: B, offset: u64) -> Self {
        Self::new(uapi::IOCB_CMD_PWRITE, file, buf, offset, |buf| {
            Place::One(buf.as_ptr().cast_mut(), buf.len())
        })
    }
}

impl<'fd, B: IoBufMut> Op<'fd, Vec<B>> {
    /// `preadv(2)`: fills one buffer after the other.
    pub fn read_vectored(file: &'fd (impl AsFd + ?Sized), bufs: Vec<B>, offset: u64) -> Self {
        Self::new(uapi::IOCB_CMD_PREADV, file, bufs, offset, |bufs| {
            let place = bufs.iter_mut().map(|buf| {
                let len = buf.len();
                IoVec::new(buf.as_mut_ptr(), len)
            });
            Place::Many(place.collect())
        })
    }
}

impl<'fd, B: IoBuf> Op<'fd, Vec<B>> {
    /// `pwritev(2)`: writes one buffer after the other.
    pub fn write_vectored(file: &'fd (impl AsFd + ?Sized), bufs: Vec<B>, offset: u64) -> Self {
        Self::new(uapi::IOCB_CMD_PWRITEV, file, bufs, offset, |bufs| {
            let place = bufs
                .iter()
                .map(|buf| IoVec::new(buf.as_ptr().cast_mut(), buf.len()));
            Place::Many(place.collect())
        })
    }
}

impl<'fd> Op<'fd, ()> {
    /// `fsync(2)`: what was written through the page cache before it is covered; a write that goes
    /// past it must be complete.
    pub fn fsync(file: &'fd (impl AsFd + ?Sized)) -> Self {
        Self::new(uapi::IOCB_CMD_FSYNC, file, (), 0, |()| Place::None)
    }

    /// `fdatasync(2)`.
    pub fn fdatasync(file: &'fd (impl AsFd + ?Sized)) -> Self {
        Self::new(uapi::IOCB_CMD_FDSYNC, file, (), 0, |()| Place::None)
    }

    /// Waits for `events` of `poll(2)` (`libc::POLLIN` and so on), once. The result is the events
    /// that there are; a cancelled one has 0.
    pub fn poll(file: &'fd (impl AsFd + ?Sized), events: u16) -> Self {
        let mut op = Self::new(uapi::IOCB_CMD_POLL, file, (), 0, |()| Place::None);
        op.iocb.aio_buf = events.into();
        op
    }

    /// Completes with 0. It shows what the machinery costs.
    pub fn noop(file: &'fd (impl AsFd + ?Sized)) -> Self {
        Self::new(uapi::IOCB_CMD_NOOP, file, (), 0, |()| Place::None)
    }
}

impl<B> fmt::Debug for Op<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Op")
            .field("opcode", &self.iocb.aio_lio_opcode)
            .field("fd", &self.iocb.aio_fildes)
            .field("offset", &self.iocb.aio_offset)
            .finish_non_exhaustive()
    }
}

/// Where a request is.
#[derive(Debug)]
enum State {
    /// Not submitted yet.
    Queued,
    /// It is being submitted: the kernel may have it. `left`: nobody wants it any more.
    Launching { left: bool },
    /// The kernel has it.
    InFlight,
    /// Its event was taken: `res`.
    Complete(i64),
}

#[derive(Debug)]
struct Progress {
    state: State,
    /// Who wants to know when it is complete.
    waker: Option<Waker>,
}

/// A request, and what it owns.
pub(crate) struct Request<B> {
    /// At this address the kernel knows it. The kernel writes `aio_key` while it is submitted; we
    /// write before that.
    iocb: UnsafeCell<iocb>,
    iovecs: OnceLock<Box<[IoVec]>>,
    /// Nobody looks at it but `new`, before submission, and `take`, when it is complete.
    buffer: Mutex<Option<B>>,
    progress: Mutex<Progress>,
}

// SAFETY: of its parts only `iocb` is not `Sync` by itself. That is written by `new` and by `launch`,
// whose caller has it alone, and by the kernel within the submit call; its address is all that is
// used later.
unsafe impl<B: Send> Sync for Request<B> {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Send + 'static> Request<B> {
    /// The request, at the place where it stays: only now it is known where its memory is.
    pub(crate) fn new(op: Op<'_, B>) -> (Arc<Self>, Queued) {
        let mut request = Arc::new(Self {
            iocb: UnsafeCell::new(op.iocb),
            iovecs: OnceLock::new(),
            buffer: Mutex::new(Some(op.buffer)),
            progress: Mutex::new(Progress {
                state: State::Queued,
                waker: None,
            }),
        });
        let place = match lock(&request.buffer).as_mut() {
            Some(buffer) => (op.locate)(buffer),
            None => Place::None,
        };
        let (address, len) = match place {
            Place::None => (op.iocb.aio_buf, 0),
            Place::One(address, len) => (address as u64, len),
            Place::Many(iovecs) => {
                let iovecs = request.iovecs.get_or_init(|| iovecs);
                (iovecs.as_ptr() as u64, iovecs.len())
            }
        };
        if let Some(request) = Arc::get_mut(&mut request) {
            let iocb = request.iocb.get_mut();
            iocb.aio_buf = address;
            iocb.aio_nbytes = len as u64;
        }
        let queued = Queued(Some(request.clone()));
        (request, queued)
    }

    /// The result and the buffer, once, if it is complete.
    pub(crate) fn take(&self) -> Option<Completion<B>> {
        let State::Complete(res) = lock(&self.progress).state else {
            return None;
        };
        let result = match usize::try_from(res) {
            Ok(count) => Ok(count),
            Err(_) => Err(io::Error::from_raw_os_error(res.unsigned_abs() as i32)),
        };
        Some((result, lock(&self.buffer).take()?))
    }

    /// Has `waker` woken when it is complete.
    pub(crate) fn wake_by(&self, waker: &Waker) {
        // Code of the waker's, and so not under the lock.
        let waker = waker.clone();
        let old = lock(&self.progress).waker.replace(waker);
        drop(old);
    }
}

/// A request, whatever its buffer is.
pub(crate) trait InFlight: Send + Sync {
    /// Its address in the kernel's eyes.
    fn iocb(&self) -> *mut iocb;

    /// It is about to be submitted: what its event is to carry, and the eventfd that counts it.
    ///
    /// # Safety
    ///
    /// It was not submitted, and nobody else does so.
    unsafe fn launch(&self, data: u64, eventfd: Option<BorrowedFd<'_>>);

    /// Its event was taken, or there will be none. Returns who is to be woken.
    ///
    /// # Safety
    ///
    /// The kernel does not use its memory any more.
    unsafe fn complete(&self, res: i64) -> Option<Waker>;

    /// The kernel has it now, or has refused it. Whether somebody left it meanwhile.
    fn launched(&self) -> bool;

    /// Whether it is being submitted just now.
    fn is_launching(&self) -> bool;

    /// Has who submits it just now cancel it. `false`: that is over.
    fn leave(&self) -> bool;

    /// Whether it was not submitted yet.
    fn is_queued(&self) -> bool;

    /// Whether it is complete.
    fn is_complete(&self) -> bool;
}

impl<B: Send + 'static> InFlight for Request<B> {
    fn iocb(&self) -> *mut iocb {
        self.iocb.get()
    }

    unsafe fn launch(&self, data: u64, eventfd: Option<BorrowedFd<'_>>) {
        // SAFETY: the caller has it alone.
        let iocb = unsafe { &mut *self.iocb.get() };
        iocb.aio_data = data;
        if let Some(eventfd) = eventfd {
            iocb.aio_flags |= uapi::IOCB_FLAG_RESFD;
            iocb.aio_resfd = eventfd.as_raw_fd() as u32;
        }
        lock(&self.progress).state = State::Launching { left: false };
    }

    unsafe fn complete(&self, res: i64) -> Option<Waker> {
        let mut progress = lock(&self.progress);
        progress.state = State::Complete(res);
        mem::take(&mut progress.waker)
    }

    fn launched(&self) -> bool {
        let mut progress = lock(&self.progress);
        let State::Launching { left } = progress.state else {
            return false;
        };
        progress.state = State::InFlight;
        left
    }

    fn is_launching(&self) -> bool {
        matches!(lock(&self.progress).state, State::Launching { .. })
    }

    fn leave(&self) -> bool {
        match &mut lock(&self.progress).state {
            State::Launching { left } => {
                *left = true;
                true
            }
            _ => false,
        }
    }

    fn is_queued(&self) -> bool {
        matches!(lock(&self.progress).state, State::Queued)
    }

    fn is_complete(&self) -> bool {
        matches!(lock(&self.progress).state, State::Complete(_))
    }
}

/// The right to submit a request. Dropping it completes the request with `ECANCELED`.
pub(crate) struct Queued(Option<Arc<dyn InFlight>>);

impl Queued {
    /// Uses it: the caller puts the request into its table and then submits it.
    pub(super) fn launch(
        mut self,
        data: u64,
        eventfd: Option<BorrowedFd<'_>>,
    ) -> Arc<dyn InFlight> {
        let Some(request) = self.0.take() else {
            unreachable!("only this function and the destructor take it");
        };
        // SAFETY: there is one `Queued` for each request, and it is gone with this.
        unsafe { request.launch(data, eventfd) };
        request
    }

    /// Completes the request with this errno instead.
    pub(crate) fn refuse(mut self, errno: i32) {
        self.end(errno);
    }

    fn end(&mut self, errno: i32) {
        let Some(request) = self.0.take() else {
            return;
        };
        // SAFETY: it never was submitted.
        let waker = unsafe { request.complete(-i64::from(errno)) };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.end(libc::ECANCELED);
    }
}
