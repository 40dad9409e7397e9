// SPDX-License-Identifier: LGPL-2.1-or-later

//! A request: its operation, its buffer and its result.

use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use kaio_sys::uapi::{self, iocb};

use super::buffer::{IoBuf, IoBufMut, IoBufSpare};

/// The result of a request and its buffer. The result is the number of bytes that were transferred,
/// or the events of a poll, or the error.
pub type Completion<B> = (io::Result<usize>, B);

/// The address and length of a buffer, in the form that the kernel reads.
#[repr(transparent)]
struct IoVec(#[allow(dead_code, reason = "the kernel reads it")] libc::iovec);

// SAFETY: an address and a length are numbers. The memory belongs to the request, whose owner may
// change from thread to thread (`B: Send`).
unsafe impl Send for IoVec {}
// SAFETY: a shared reference gives no access to the memory that the address names.
unsafe impl Sync for IoVec {}

impl IoVec {
    fn new(base: *mut u8, len: usize) -> Self {
        Self(libc::iovec {
            iov_base: base.cast(),
            iov_len: len,
        })
    }
}

/// The memory of a request.
enum Memory {
    None,
    Single(*mut u8, usize),
    Vectored(Box<[IoVec]>),
}

/// An operation that has not been submitted: what to do, the file and the buffer.
///
/// The operation borrows the file until it is submitted; from then on the kernel keeps the file
/// open. It owns the buffer and returns it with the result.
///
/// ```compile_fail,E0382
/// # let file = std::fs::File::open("/dev/null").unwrap();
/// let buf = vec![0; 4096];
/// let op = linux_kaio::Op::read(&file, buf, 0);
/// println!("{}", buf[0]); // the request has it
/// ```
///
/// A buffer that is only borrowed cannot be lent to the kernel:
///
/// ```compile_fail,E0277
/// # let file = std::fs::File::open("/dev/null").unwrap();
/// let mut buf = [0; 4096];
/// let op = linux_kaio::Op::read(&file, &mut buf[..], 0);
/// ```
///
/// ```compile_fail,E0597
/// # let file = std::fs::File::open("/dev/null").unwrap();
/// let buf = [0; 4096];
/// let op = linux_kaio::Op::write(&file, &buf[..], 0); // lives for this function only
/// ```
#[must_use = "an operation does nothing until it is submitted"]
pub struct Op<'fd, B> {
    iocb: iocb,
    buffer: B,
    /// Returns the memory of this buffer for this opcode.
    memory_of: fn(&mut B) -> Memory,
    /// Tells the buffer how many bytes a read has brought.
    fill: Option<fn(&mut B, usize)>,
    file: PhantomData<BorrowedFd<'fd>>,
}

impl<'fd, B> Op<'fd, B> {
    fn new(
        opcode: u32,
        file: &'fd (impl AsFd + ?Sized),
        buffer: B,
        offset: u64,
        memory_of: fn(&mut B) -> Memory,
    ) -> Self {
        let iocb = iocb {
            aio_lio_opcode: opcode as u16,
            aio_fildes: file.as_fd().as_raw_fd() as u32,
            // An offset that does not fit into an i64 becomes negative, and the kernel refuses it.
            aio_offset: offset as i64,
            ..iocb::default()
        };
        Self {
            iocb,
            buffer,
            memory_of,
            fill: None,
            file: PhantomData,
        }
    }

    /// Sets the `RWF_*` flags of [`crate::flags`], which `preadv2(2)` describes. They replace
    /// earlier ones.
    ///
    /// The request's result is `EOPNOTSUPP` if the kernel or the file does not support one of the
    /// flags.
    pub fn flags(mut self, rwf: i32) -> Self {
        self.iocb.aio_rw_flags = rwf;
        self
    }

    /// Sets the I/O priority, which `ioprio_set(2)` describes.
    ///
    /// The request's result is `EPERM` if the caller may not use this priority, and `EINVAL` if
    /// there is no such priority.
    pub fn priority(mut self, ioprio: u16) -> Self {
        self.iocb.aio_flags |= uapi::IOCB_FLAG_IOPRIO;
        self.iocb.aio_reqprio = ioprio as i16;
        self
    }
}

impl<'fd, B: IoBufMut> Op<'fd, B> {
    /// Makes a `pread(2)` into all of `buf`. A file without an offset ignores `offset`; with a
    /// socket it must be 0.
    pub fn read(file: &'fd (impl AsFd + ?Sized), buf: B, offset: u64) -> Self {
        Self::new(uapi::IOCB_CMD_PREAD, file, buf, offset, |buf| {
            Memory::Single(buf.as_mut_ptr(), buf.len())
        })
    }
}

impl<'fd, B: IoBufSpare> Op<'fd, B> {
    /// Makes a `pread(2)` into the spare capacity of `buf`, which need not be initialised. The bytes
    /// that were read are added to the contents of `buf`.
    ///
    /// The request reads as much as there is room for, so the program reserves room first. Without
    /// room the result is 0, as at the end of the file.
    ///
    /// ```no_run
    /// # fn main() -> std::io::Result<()> {
    /// # let context = linux_kaio::Context::new(8)?;
    /// # let file = std::fs::File::open("/dev/null")?;
    /// let op = linux_kaio::Op::read_spare(&file, Vec::with_capacity(4096), 0);
    /// let (result, buf) = context.submit(op).wait();
    /// assert_eq!(buf.len(), result?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_spare(file: &'fd (impl AsFd + ?Sized), buf: B, offset: u64) -> Self {
        let mut op = Self::new(uapi::IOCB_CMD_PREAD, file, buf, offset, |buf| {
            let room = buf.spare();
            Memory::Single(room.as_mut_ptr().cast(), room.len())
        });
        op.fill = Some(|buf, count| {
            let count = count.min(buf.spare().len());
            // SAFETY: the kernel has written so many bytes to the room, whose length and address no
            // code has changed since `memory_of`.
            unsafe { buf.fill(count) };
        });
        op
    }
}

impl<'fd, B: IoBuf> Op<'fd, B> {
    /// Makes a `pwrite(2)` of all of `buf`.
    pub fn write(file: &'fd (impl AsFd + ?Sized), buf: B, offset: u64) -> Self {
        Self::new(uapi::IOCB_CMD_PWRITE, file, buf, offset, |buf| {
            Memory::Single(buf.as_ptr().cast_mut(), buf.len())
        })
    }
}

impl<'fd, B: IoBufMut> Op<'fd, Vec<B>> {
    /// Makes a `preadv(2)`, which fills one buffer after the other.
    pub fn read_vectored(file: &'fd (impl AsFd + ?Sized), bufs: Vec<B>, offset: u64) -> Self {
        Self::new(uapi::IOCB_CMD_PREADV, file, bufs, offset, |bufs| {
            let place = bufs.iter_mut().map(|buf| {
                let len = buf.len();
                IoVec::new(buf.as_mut_ptr(), len)
            });
            Memory::Vectored(place.collect())
        })
    }
}

impl<'fd, B: IoBuf> Op<'fd, Vec<B>> {
    /// Makes a `pwritev(2)`, which writes one buffer after the other.
    pub fn write_vectored(file: &'fd (impl AsFd + ?Sized), bufs: Vec<B>, offset: u64) -> Self {
        Self::new(uapi::IOCB_CMD_PWRITEV, file, bufs, offset, |bufs| {
            let place = bufs
                .iter()
                .map(|buf| IoVec::new(buf.as_ptr().cast_mut(), buf.len()));
            Memory::Vectored(place.collect())
        })
    }
}

impl<'fd> Op<'fd, ()> {
    /// Makes an `fsync(2)`. It covers writes through the page cache that were submitted before it.
    /// It covers a write that bypasses the page cache only if that write is complete.
    pub fn fsync(file: &'fd (impl AsFd + ?Sized)) -> Self {
        Self::new(uapi::IOCB_CMD_FSYNC, file, (), 0, |()| Memory::None)
    }

    /// Makes an `fdatasync(2)`, which covers the same writes as [`Op::fsync`].
    pub fn fdatasync(file: &'fd (impl AsFd + ?Sized)) -> Self {
        Self::new(uapi::IOCB_CMD_FDSYNC, file, (), 0, |()| Memory::None)
    }

    /// Makes a request that waits once for `events` of `poll(2)` (`libc::POLLIN` and so on). Its
    /// result is the events that have occurred, or 0 if the request was cancelled.
    pub fn poll(file: &'fd (impl AsFd + ?Sized), events: u16) -> Self {
        let mut op = Self::new(uapi::IOCB_CMD_POLL, file, (), 0, |()| Memory::None);
        op.iocb.aio_buf = events.into();
        op
    }

    /// Makes a request that does nothing and completes with 0. It shows the cost of a request
    /// itself.
    pub fn noop(file: &'fd (impl AsFd + ?Sized)) -> Self {
        Self::new(uapi::IOCB_CMD_NOOP, file, (), 0, |()| Memory::None)
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

/// The progress of a request.
#[derive(Debug)]
enum State {
    /// The request has not been submitted.
    Queued,
    /// A thread is submitting the request, so the kernel may have it already. If `cancel` is set,
    /// its handle was dropped, and the submitting thread cancels the request afterwards.
    Submitting { cancel: bool },
    /// The kernel has the request.
    InFlight,
    /// The request is complete with this result.
    Complete(i64),
}

#[derive(Debug)]
struct Progress {
    state: State,
    /// The task that is woken when the request is complete.
    waker: Option<Waker>,
}

/// A request and the memory that it owns.
pub(crate) struct Request<B> {
    /// The kernel knows the request by the address of this struct. The kernel writes `aio_key`
    /// within the submit call; this crate writes only before that call.
    iocb: UnsafeCell<iocb>,
    iovecs: OnceLock<Box<[IoVec]>>,
    /// Only `new`, before the submission, and `take`, after the completion, access the buffer.
    buffer: Mutex<Option<B>>,
    /// Tells the buffer how many bytes a read has brought.
    fill: Option<fn(&mut B, usize)>,
    progress: Mutex<Progress>,
}

// SAFETY: only `iocb` is not `Sync` by itself. `new` and `begin_submit` write it while no other
// thread has the request (the caller of `begin_submit` promises that), and the kernel writes it
// within the submit call. After that, threads use only its address.
unsafe impl<B: Send> Sync for Request<B> {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Send + 'static> Request<B> {
    /// Puts the operation at its final address and returns the request with the right to submit it.
    /// The addresses in the iocb are computed only there.
    pub(crate) fn new(op: Op<'_, B>) -> (Arc<Self>, QueuedRequest) {
        let mut request = Arc::new(Self {
            iocb: UnsafeCell::new(op.iocb),
            iovecs: OnceLock::new(),
            buffer: Mutex::new(Some(op.buffer)),
            fill: op.fill,
            progress: Mutex::new(Progress {
                state: State::Queued,
                waker: None,
            }),
        });
        let memory = match lock(&request.buffer).as_mut() {
            Some(buffer) => (op.memory_of)(buffer),
            None => Memory::None,
        };
        let (address, len) = match memory {
            Memory::None => (op.iocb.aio_buf, 0),
            Memory::Single(address, len) => (address as u64, len),
            Memory::Vectored(iovecs) => {
                let iovecs = request.iovecs.get_or_init(|| iovecs);
                (iovecs.as_ptr() as u64, iovecs.len())
            }
        };
        if let Some(request) = Arc::get_mut(&mut request) {
            let iocb = request.iocb.get_mut();
            iocb.aio_buf = address;
            iocb.aio_nbytes = len as u64;
        }
        let queued = QueuedRequest(Some(request.clone()));
        (request, queued)
    }

    /// Returns the result and the buffer if the request is complete and they were not taken before.
    pub(crate) fn take(&self) -> Option<Completion<B>> {
        let State::Complete(res) = lock(&self.progress).state else {
            return None;
        };
        let result = match usize::try_from(res) {
            Ok(count) => Ok(count),
            Err(_) => Err(io::Error::from_raw_os_error(res.unsigned_abs() as i32)),
        };
        let mut buffer = lock(&self.buffer).take()?;
        if let (Some(fill), Ok(count)) = (self.fill, &result) {
            fill(&mut buffer, *count);
        }
        Some((result, buffer))
    }

    /// Returns the buffer, and the result, in the child of a fork. The result is the error `EINVAL`
    /// if the request was not complete before the fork, since the request is the parent's, and the
    /// kernel uses the parent's memory alone.
    ///
    /// Another thread of the parent may have held the lock of the progress when the child was made,
    /// and does not exist in the child. Only the owner of the handle locks the buffer.
    pub(crate) fn take_in_child(&self) -> Option<Completion<B>> {
        if self.is_complete_in_child() {
            return self.take();
        }
        let error = io::Error::from_raw_os_error(libc::EINVAL);
        Some((Err(error), lock(&self.buffer).take()?))
    }

    /// Returns, in the child of a fork, whether the request was complete before the fork.
    pub(crate) fn is_complete_in_child(&self) -> bool {
        let progress = self.progress.try_lock();
        progress.is_ok_and(|progress| matches!(progress.state, State::Complete(_)))
    }

    /// Sets the waker that is woken when the request is complete.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        // Clone and drop wakers without the lock, since both run code of the executor.
        let waker = waker.clone();
        let old = lock(&self.progress).waker.replace(waker);
        drop(old);
    }
}

/// A request of any buffer type.
pub(crate) trait AnyRequest: Send + Sync {
    /// Returns the address by which the kernel knows the request.
    fn iocb(&self) -> *mut iocb;

    /// Prepares the request for its submission: its event will carry `data`, and `eventfd` counts
    /// that event.
    ///
    /// # Safety
    ///
    /// The request was not submitted, and no other thread is submitting it.
    unsafe fn begin_submit(&self, data: u64, eventfd: Option<BorrowedFd<'_>>);

    /// Records the result and returns the waker that the caller must wake.
    ///
    /// # Safety
    ///
    /// The kernel does not use the memory of the request any more.
    unsafe fn complete(&self, res: i64) -> Option<Waker>;

    /// Records that the kernel has the request or has refused it. Returns whether the caller must
    /// cancel the request, because [`AnyRequest::cancel_when_submitted`] was called meanwhile.
    fn end_submit(&self) -> bool;

    /// Returns whether a thread is submitting the request.
    fn is_submitting(&self) -> bool;

    /// Makes the thread that is submitting the request cancel it afterwards. Returns `false` if no
    /// thread is submitting it any more.
    fn cancel_when_submitted(&self) -> bool;

    /// Returns whether the request has not been submitted.
    fn is_queued(&self) -> bool;

    /// Returns whether the request is complete.
    fn is_complete(&self) -> bool;
}

impl<B: Send + 'static> AnyRequest for Request<B> {
    fn iocb(&self) -> *mut iocb {
        self.iocb.get()
    }

    unsafe fn begin_submit(&self, data: u64, eventfd: Option<BorrowedFd<'_>>) {
        // SAFETY: the caller promises that no other thread has the request yet.
        let iocb = unsafe { &mut *self.iocb.get() };
        iocb.aio_data = data;
        if let Some(eventfd) = eventfd {
            iocb.aio_flags |= uapi::IOCB_FLAG_RESFD;
            iocb.aio_resfd = eventfd.as_raw_fd() as u32;
        }
        lock(&self.progress).state = State::Submitting { cancel: false };
    }

    unsafe fn complete(&self, res: i64) -> Option<Waker> {
        let mut progress = lock(&self.progress);
        progress.state = State::Complete(res);
        mem::take(&mut progress.waker)
    }

    fn end_submit(&self) -> bool {
        let mut progress = lock(&self.progress);
        let State::Submitting { cancel } = progress.state else {
            return false;
        };
        progress.state = State::InFlight;
        cancel
    }

    fn is_submitting(&self) -> bool {
        matches!(lock(&self.progress).state, State::Submitting { .. })
    }

    fn cancel_when_submitted(&self) -> bool {
        match &mut lock(&self.progress).state {
            State::Submitting { cancel } => {
                *cancel = true;
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
pub(crate) struct QueuedRequest(Option<Arc<dyn AnyRequest>>);

impl QueuedRequest {
    /// Uses the right up. The caller puts the request into its table and then submits it.
    pub(super) fn begin_submit(
        mut self,
        data: u64,
        eventfd: Option<BorrowedFd<'_>>,
    ) -> Arc<dyn AnyRequest> {
        let Some(request) = self.0.take() else {
            unreachable!("only this function and the destructor take it");
        };
        // SAFETY: each request has one `QueuedRequest`, which this call consumes, so the request
        // was not submitted before.
        unsafe { request.begin_submit(data, eventfd) };
        request
    }

    /// Completes the request with this errno instead of submitting it.
    pub(crate) fn refuse(mut self, errno: i32) {
        self.end(errno);
    }

    fn end(&mut self, errno: i32) {
        let Some(request) = self.0.take() else {
            return;
        };
        // SAFETY: the request was never submitted, since `begin_submit` has not consumed this
        // right.
        let waker = unsafe { request.complete(-i64::from(errno)) };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for QueuedRequest {
    fn drop(&mut self) {
        self.end(libc::ECANCELED);
    }
}
