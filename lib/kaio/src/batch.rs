// SPDX-License-Identifier: LGPL-2.1-or-later

//! Submission of many requests by one system call.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::Poll;

use crate::pending::Pending;
use crate::sys::request::{Op, QueuedRequest, Request};
use crate::sys::shared_context::SharedContext;

/// Requests that are submitted together. [`Context::batch`](crate::Context::batch) makes a batch.
///
/// A batch borrows the files of its requests until it submits them. When a batch is dropped, the
/// requests that it has not submitted complete with `ECANCELED`.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// use linux_kaio::{Context, Op};
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
/// # let context = linux_kaio::Context::new(8).unwrap();
/// let file = std::fs::File::open("/dev/null").unwrap();
/// let mut batch = context.batch();
/// let pending = batch.push(linux_kaio::Op::fsync(&file));
/// drop(file); // the batch is not submitted yet
/// batch.submit();
/// ```
#[must_use = "requests do nothing until they are submitted"]
pub struct Batch<'fd> {
    shared: Arc<SharedContext>,
    queue: VecDeque<QueuedRequest>,
    files: PhantomData<BorrowedFd<'fd>>,
}

impl<'fd> Batch<'fd> {
    pub(crate) fn new(shared: Arc<SharedContext>) -> Self {
        Self {
            shared,
            queue: VecDeque::new(),
            files: PhantomData,
        }
    }

    /// Adds a request, which [`Batch::submit`] submits later.
    pub fn push<B: Send + 'static>(&mut self, op: Op<'fd, B>) -> Pending<B> {
        let (request, queued) = Request::new(op);
        self.queue.push_back(queued);
        Pending::new(request, self.shared.clone())
    }

    /// Returns the number of requests that have not been submitted.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns whether the batch has no request that has not been submitted.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Starts the requests in the order in which they were added and returns how many were started.
    /// A request that the kernel refuses is complete at once with the kernel's error. If the
    /// context is full, the remaining requests stay in the batch, and the program can call this
    /// again when requests have completed.
    pub fn submit(&mut self) -> usize {
        self.shared.submit(&mut self.queue, 0)
    }

    /// Starts all requests as [`Batch::submit`] does, and waits for room as often as the context is
    /// full. Returns how many were started. This function does not wait for the last requests to
    /// complete.
    pub fn submit_all(&mut self) -> usize {
        let mut started = self.submit();
        while !self.is_empty() {
            self.shared.wait_for_room(None);
            started += self.submit();
        }
        started
    }

    /// Starts all requests as [`Batch::submit_all`] does; the future waits for room. The program must
    /// call [reap](crate::Context::reap) when the descriptor of the context is readable. If the
    /// future is dropped, the requests that were not started stay in the batch.
    pub async fn submit_all_async(&mut self) -> usize {
        let mut started = 0;
        poll_fn(|cx| {
            // The task is to be woken for room that comes after the last attempt.
            while !self.is_empty() {
                started += self.submit();
                if !self.is_empty() && !self.shared.poll_room(cx.waker()) {
                    return Poll::Pending;
                }
            }
            Poll::Ready(started)
        })
        .await
    }

    /// Starts the requests as [`Batch::submit`] does, then waits until `min` requests of the
    /// context have completed, or all of them if fewer are in flight. This takes one system call,
    /// `kaio_submit_wait(2)`, if the requests are complete when that call returns.
    ///
    /// If another thread drops a [`Pending`] while this function is starting its request, the
    /// request is cancelled when the system call returns.
    pub fn submit_and_wait(&mut self, min: usize) -> usize {
        self.shared.submit(&mut self.queue, min)
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("len", &self.len()).finish()
    }
}
