// SPDX-License-Identifier: LGPL-2.1-or-later

//! The context, as a program uses it.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::batch::Batch;
use crate::pending::Pending;
use crate::sys::request::{Op, Request};
use crate::sys::shared_context::SharedContext;

/// A context of `/dev/kaio`, to which requests are submitted. See `kaio_setup(2)`.
///
/// A clone refers to the same context. All threads may use a context at the same time.
///
/// ```no_run
/// use std::os::unix::net::UnixStream;
/// use std::time::Duration;
/// use linux_kaio::{Context, Op};
///
/// # fn main() -> std::io::Result<()> {
/// let context = Context::new(16)?;
/// let (a, b) = UnixStream::pair()?;
/// // The pipe end has no data yet, so the request waits; no thread waits with it.
/// let hello = context.submit(Op::read(&a, vec![0; 5], 0));
/// assert!(!hello.is_complete());
/// let (written, _) = context.submit(Op::write(&b, "hello", 0)).wait();
/// assert_eq!(written?, 5);
/// let (read, buf) = hello.wait();
/// assert_eq!(buf[..read?], *b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Context {
    shared: Arc<SharedContext>,
}

impl Context {
    /// Makes a context that holds at least `entries` requests, counting those that are in flight
    /// and those that are complete and have not been reaped.
    ///
    /// # Errors
    ///
    /// - `NotFound`: there is no `/dev/kaio`. The module is not loaded, or this container has no
    ///   such device.
    /// - `PermissionDenied`: the mode of the device does not allow the process to open it.
    /// - `EINVAL`: `entries` is 0 or too large.
    /// - `WouldBlock` (`EAGAIN`): `fs.kaio-max-nr` or `fs.kaio-max-user-nr` does not allow so many
    ///   requests.
    /// - `OutOfMemory`: the kernel has no memory for the context.
    ///
    /// If the device cannot be opened, the error names its path.
    pub fn new(entries: u32) -> io::Result<Self> {
        Self::build(entries, false)
    }

    /// Makes a context as [`Context::new`] does, with an eventfd as its descriptor. This is for
    /// reactors that need an eventfd; each completion costs a little more.
    ///
    /// # Errors
    ///
    /// Those of [`Context::new`] and of `eventfd(2)`.
    pub fn with_eventfd(entries: u32) -> io::Result<Self> {
        Self::build(entries, true)
    }

    fn build(entries: u32, eventfd: bool) -> io::Result<Self> {
        let shared = Arc::new(SharedContext::new(entries, eventfd)?);
        Ok(Self { shared })
    }

    /// Returns how many requests the context holds, which is at least the number that was asked
    /// for.
    pub fn capacity(&self) -> usize {
        self.shared.capacity()
    }

    /// Returns how many requests are in flight, or complete and not reaped.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight()
    }

    /// Returns what the module can do. See `kaio_query(2)`.
    ///
    /// # Errors
    ///
    /// A program cannot cause an error here.
    pub fn query(&self) -> io::Result<Query> {
        let query = self.shared.query()?;
        Ok(Query {
            version: query.version,
            features: query.features,
            opcodes: query.opcodes,
            rw_flags: query.rw_flags,
            max_nr: query.max_nr,
            nr: query.nr,
            max_user_nr: query.max_user_nr,
            user_nr: query.user_nr,
        })
    }

    /// Starts one request by `kaio_submit(2)`. If the kernel refuses the request, it is complete at
    /// once with the kernel's error. The error `WouldBlock` means that the context is full.
    pub fn submit<B: Send + 'static>(&self, op: Op<'_, B>) -> Pending<B> {
        let (request, queued) = Request::new(op);
        let mut queue = VecDeque::from([queued]);
        self.shared.submit(&mut queue, 0);
        // The context is full.
        for queued in queue {
            queued.refuse(libc::EAGAIN);
        }
        Pending::new(request, self.shared.clone())
    }

    /// Starts one request as [`Context::submit`] does. If the context is full, this function first
    /// waits for room.
    pub fn submit_when_room<B: Send + 'static>(&self, op: Op<'_, B>) -> Pending<B> {
        let mut batch = self.batch();
        let pending = batch.push(op);
        batch.submit_all();
        pending
    }

    /// Starts one request as [`Context::submit`] does. If the context is full, the future first
    /// waits for room. Its result is the handle of the request. If the future is dropped before it
    /// is ready, the request was not started.
    pub async fn submit_async<B: Send + 'static>(&self, op: Op<'_, B>) -> Pending<B> {
        let mut batch = self.batch();
        let pending = batch.push(op);
        batch.submit_all_async().await;
        pending
    }

    /// Waits until the context has room for a request, for at most `timeout`. Returns `false` if the
    /// time is over. Another thread may use the room first; [`Context::submit_when_room`] waits and
    /// submits.
    pub fn wait_for_room(&self, timeout: Option<Duration>) -> bool {
        self.shared.wait_for_room(timeout)
    }

    /// Waits, as a future, until the context has room for a request. Another task may use the room
    /// first; [`Context::submit_async`] waits and submits.
    pub async fn room(&self) {
        poll_fn(|cx| match self.shared.poll_room(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    /// Returns an empty batch, whose requests are submitted together.
    pub fn batch<'fd>(&self) -> Batch<'fd> {
        Batch::new(self.shared.clone())
    }

    /// Takes events of completed requests and wakes the tasks that wait for these requests. Returns
    /// the number of requests. This function does not wait, and mostly makes no system call.
    ///
    /// It returns 0 if another thread sleeps in [`Context::wait`] or [`Pending::wait`], since that
    /// thread takes the events.
    pub fn reap(&self) -> usize {
        self.shared.reap()
    }

    /// Waits until requests complete, for at most `timeout`. Returns how many requests have
    /// completed, or 0 if the time is over or no request is in flight. Neither a signal ends the
    /// wait, nor a request of another thread that the kernel refuses while this thread sleeps.
    pub fn wait(&self, timeout: Option<Duration>) -> usize {
        self.shared.wait_any(timeout)
    }
}

/// Returns the descriptor that a reactor watches. It is readable while [reap] has events to take.
/// It is the eventfd of the context, or the descriptor of the device if the context has no eventfd.
///
/// [reap]: Context::reap
impl AsFd for Context {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.notifier()
    }
}

/// Returns the descriptor that a reactor watches, as [`AsFd`] does.
impl AsRawFd for Context {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("capacity", &self.capacity())
            .field("in_flight", &self.in_flight())
            .finish()
    }
}

/// The features and limits of the module: `struct kaio_query` of `kaio_query(2)`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Query {
    /// `KAIO_ABI_VERSION`.
    pub version: u32,
    /// The bits of [`crate::features`].
    pub features: u64,
    /// Bit N is set if the module knows `aio_lio_opcode` N.
    pub opcodes: u64,
    /// The `RWF_*` flags that [`Op::flags`] accepts.
    pub rw_flags: u64,
    /// `fs.kaio-max-nr`: the number of requests that all contexts of the system may hold.
    pub max_nr: u64,
    /// `fs.kaio-nr`: the number of requests for which all contexts have reserved room.
    pub nr: u64,
    /// `fs.kaio-max-user-nr`: the number of requests that the contexts of one user may hold.
    pub max_user_nr: u64,
    /// The number of requests for which the contexts of this user have reserved room.
    pub user_nr: u64,
}

impl Query {
    /// Returns whether the module has all of these [`features`](crate::features).
    pub fn has(&self, features: u64) -> bool {
        self.features & features == features
    }
}
