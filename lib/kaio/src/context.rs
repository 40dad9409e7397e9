// SPDX-License-Identifier: LGPL-2.1-or-later

//! The context, as a program has it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::pending::Pending;
use crate::sys::flight::Flight;
use crate::sys::request::{Op, Request};

/// When a wait for `timeout` is over; never, if that is further than time goes.
pub(crate) fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// A context of `/dev/kaio`: where requests are submitted. `kaio_setup(2)`.
///
/// A clone is the same context. All threads may use it at once.
///
/// ```no_run
/// use std::os::unix::net::UnixStream;
/// use std::time::Duration;
/// use kaio::{Context, Op};
///
/// # fn main() -> std::io::Result<()> {
/// let context = Context::new(16)?;
/// let (a, b) = UnixStream::pair()?;
/// // Nobody has written yet: this waits, and no thread waits with it.
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
    flight: Arc<Flight>,
}

impl Context {
    /// A context that holds at least `entries` requests: in flight, or complete and not reaped.
    ///
    /// # Errors
    ///
    /// `NotFound`: there is no `/dev/kaio` (the module is not loaded, or the device was not let into
    /// this container). `PermissionDenied`: its mode. `EINVAL`: `entries` is 0 or absurd.
    /// `WouldBlock` (`EAGAIN`): more than `fs.kaio-max-nr` or `fs.kaio-max-user-nr` allow.
    /// `OutOfMemory`.
    pub fn new(entries: u32) -> io::Result<Self> {
        Self::build(entries, false)
    }

    /// The same, with an eventfd as its descriptor, for reactors that want one. Each completion
    /// costs a little more.
    ///
    /// # Errors
    ///
    /// As [`Context::new`], and those of `eventfd(2)`.
    pub fn with_eventfd(entries: u32) -> io::Result<Self> {
        Self::build(entries, true)
    }

    fn build(entries: u32, eventfd: bool) -> io::Result<Self> {
        let flight = Arc::new(Flight::new(entries, eventfd)?);
        Ok(Self { flight })
    }

    /// How many requests it holds: at least what was asked for.
    pub fn capacity(&self) -> usize {
        self.flight.capacity()
    }

    /// Requests that are in flight, or complete and not reaped.
    pub fn in_flight(&self) -> usize {
        self.flight.in_flight()
    }

    /// What the module can do. `kaio_query(2)`.
    ///
    /// # Errors
    ///
    /// None that a program could cause.
    pub fn query(&self) -> io::Result<Query> {
        let query = self.flight.query()?;
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

    /// Starts a request. `kaio_submit(2)` of one. If the kernel refuses it, it is complete at once
    /// with that error; `WouldBlock`: the context is full.
    pub fn submit<B: Send + 'static>(&self, op: Op<'_, B>) -> Pending<B> {
        let (request, queued) = Request::new(op);
        let mut queue = VecDeque::from([queued]);
        self.flight.submit(&mut queue, 0);
        // There was no room.
        for queued in queue {
            queued.refuse(libc::EAGAIN);
        }
        Pending::new(request, self.flight.clone())
    }

    /// Requests that are to be submitted together.
    pub fn batch<'fd>(&self) -> Batch<'fd> {
        Batch::new(self.flight.clone())
    }

    /// Takes what has completed, without waiting and mostly without a system call; wakes the tasks
    /// that wait for it. Returns how many requests that were.
    ///
    /// 0 if another thread sleeps in [`Context::wait`] or [`Pending::wait`]: that thread takes them.
    pub fn reap(&self) -> usize {
        self.flight.reap()
    }

    /// Waits until requests complete, for `timeout` at most. Returns how many were; 0 if the time is
    /// over or none is in flight. Signals do not end it; nor does a request that the kernel refuses to
    /// another thread while this one sleeps.
    pub fn wait(&self, timeout: Option<Duration>) -> usize {
        self.flight.wait_any(timeout.and_then(deadline))
    }
}

/// The descriptor that a reactor watches: readable while there is something to [reap]. It is the
/// eventfd, if there is one; else that of the device.
///
/// [reap]: Context::reap
impl AsFd for Context {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.flight.notifier()
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

/// What the module can do, and its limits: `struct kaio_query`, `kaio_query(2)`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Query {
    /// `KAIO_ABI_VERSION`.
    pub version: u32,
    /// `KAIO_FEATURE_*` bits.
    pub features: u64,
    /// Bit N: `aio_lio_opcode` N is known.
    pub opcodes: u64,
    /// The `RWF_*` flags that [`Op::flags`] may have.
    pub rw_flags: u64,
    /// `fs.kaio-max-nr`: requests that all contexts of the system may hold.
    pub max_nr: u64,
    /// `fs.kaio-nr`: requests that all contexts asked room for.
    pub nr: u64,
    /// `fs.kaio-max-user-nr`: requests that the contexts of one user may hold.
    pub max_user_nr: u64,
    /// Requests that the contexts of this user asked room for.
    pub user_nr: u64,
}
