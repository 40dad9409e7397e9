// SPDX-License-Identifier: LGPL-2.1-or-later

//! Many requests, one call.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::pending::Pending;
use crate::sys::flight::Flight;
use crate::sys::request::{Op, Queued, Request};

/// Requests that are submitted together: [`Context::batch`](crate::Context::batch).
///
/// It borrows the files of its requests until they are submitted. What was not submitted when it
/// is dropped is complete with `ECANCELED`.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// use kaio::{Context, Op};
///
/// let context = Context::new(8)?;
/// let file = std::fs::File::create("/tmp/greeting")?;
/// let mut batch = context.batch();
/// let hello = batch.push(Op::write(&file, "hello, ", 0));
/// let world = batch.push(Op::write(&file, "world\n", 7));
/// let sync = batch.push(Op::fsync(&file));
/// assert_eq!(batch.submit_and_wait(3), 3);
/// assert_eq!(hello.wait().0?, 7);
/// assert_eq!(world.wait().0?, 6);
/// assert_eq!(sync.wait().0?, 0);
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0505
/// # let context = kaio::Context::new(8).unwrap();
/// let file = std::fs::File::open("/dev/null").unwrap();
/// let mut batch = context.batch();
/// let pending = batch.push(kaio::Op::fsync(&file));
/// drop(file); // the batch is not submitted yet
/// batch.submit();
/// ```
#[must_use = "requests do nothing until they are submitted"]
pub struct Batch<'fd> {
    flight: Arc<Flight>,
    queue: VecDeque<Queued>,
    files: PhantomData<BorrowedFd<'fd>>,
}

impl<'fd> Batch<'fd> {
    pub(crate) fn new(flight: Arc<Flight>) -> Self {
        Self {
            flight,
            queue: VecDeque::new(),
            files: PhantomData,
        }
    }

    /// Adds a request, to be submitted later.
    pub fn push<B: Send + 'static>(&mut self, op: Op<'fd, B>) -> Pending<B> {
        let (request, queued) = Request::new(op);
        self.queue.push_back(queued);
        Pending::new(request, self.flight.clone())
    }

    /// Requests that were not submitted yet.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Starts the requests, first come, first served; returns how many were started. What the kernel
    /// refuses is complete at once with its error. If the context is full, the rest stays here: try
    /// again when requests were complete.
    pub fn submit(&mut self) -> usize {
        self.flight.submit(&mut self.queue, 0)
    }

    /// The same, then waits until `min` requests of the context were complete (or all, if fewer are
    /// in flight). One system call, `kaio_submit_wait(2)`, if they are complete when it returns.
    ///
    /// A [`Pending`] that another thread drops in the very moment in which this starts its request is
    /// cancelled when the system call returns.
    pub fn submit_and_wait(&mut self, min: usize) -> usize {
        self.flight.submit(&mut self.queue, min)
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("len", &self.len()).finish()
    }
}
