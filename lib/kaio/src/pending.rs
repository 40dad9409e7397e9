// SPDX-License-Identifier: LGPL-2.1-or-later

//! The handle of a request, as a program uses it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use crate::sys::request::{AnyRequest, Completion, Request};
use crate::sys::shared_context::SharedContext;

/// The handle of a request. The program waits for the request by [`Pending::wait`] or `.await`, and
/// gets the result and the buffer.
///
/// Dropping the handle cancels the request if it waits for readiness or for its turn. A request
/// that a disk has begun goes on. The buffer is freed when the request is complete and its event
/// has been reaped. A read that is cancelled may have taken data, which is then lost.
/// [`Pending::detach`] drops the handle without cancelling the request. If the request is in a
/// [`Batch`](crate::Batch) that was not submitted, dropping the handle leaves the request in the
/// batch.
///
/// ```compile_fail,E0382
/// # let context = linux_kaio::Context::new(8).unwrap();
/// # let file = std::fs::File::open("/dev/null").unwrap();
/// let pending = context.submit(linux_kaio::Op::fsync(&file));
/// let result = pending.wait();
/// let again = pending.wait(); // there is one result
/// ```
///
/// A buffer that belongs to one thread cannot be in flight, since any thread may free it:
///
/// ```compile_fail,E0277
/// # let context = linux_kaio::Context::new(8).unwrap();
/// # let file = std::fs::File::open("/dev/null").unwrap();
/// let buf: std::rc::Rc<[u8]> = vec![0; 512].into();
/// let pending = context.submit(linux_kaio::Op::write(&file, buf, 0));
/// ```
#[must_use = "a request whose handle is dropped is cancelled; see Pending::detach"]
pub struct Pending<B: Send + 'static> {
    /// `None` if the result was taken or the request was detached.
    request: Option<Arc<Request<B>>>,
    shared: Arc<SharedContext>,
}

impl<B: Send + 'static> Pending<B> {
    pub(crate) fn new(request: Arc<Request<B>>, shared: Arc<SharedContext>) -> Self {
        Self {
            request: Some(request),
            shared,
        }
    }

    fn request(&self) -> &Arc<Request<B>> {
        self.request
            .as_ref()
            .expect("a future that is not polled after it was ready")
    }

    fn take(&mut self) -> Option<Completion<B>> {
        let request = self.request();
        let done = match self.shared.is_owner() {
            true => request.take(),
            false => request.take_in_child(),
        }?;
        self.request = None;
        Some(done)
    }

    /// Returns whether the request is complete as far as events have been reaped. A future that was
    /// ready is complete.
    pub fn is_complete(&self) -> bool {
        match &self.request {
            None => true,
            Some(request) if self.shared.is_owner() => request.is_complete(),
            Some(request) => request.is_complete_in_child(),
        }
    }

    /// Returns the result and the buffer if the request is complete, and otherwise the handle.
    /// Reaps events.
    ///
    /// # Errors
    ///
    /// The request is not complete.
    ///
    /// # Panics
    ///
    /// Panics if the handle is a future that was ready, since a request has one result.
    pub fn try_take(mut self) -> Result<Completion<B>, Self> {
        if !self.is_complete() {
            self.shared.reap_ring();
        }
        self.take().ok_or(self)
    }

    /// Waits until the request is complete. A signal does not end the wait. In the child of a fork
    /// this function does not wait, and the result is the error `EINVAL` if the request was not
    /// complete before the fork.
    ///
    /// # Panics
    ///
    /// Panics if the request is in a batch that was not submitted, since the request might never
    /// begin. Panics if the handle is a future that was ready, since a request has one result.
    pub fn wait(mut self) -> Completion<B> {
        self.wait_for(None);
        self.take().expect("it is complete")
    }

    /// Waits until the request is complete, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// The time is over. The request goes on.
    ///
    /// # Panics
    ///
    /// Panics under the conditions of [`Pending::wait`].
    pub fn wait_timeout(mut self, timeout: Duration) -> Result<Completion<B>, Self> {
        self.wait_for(Some(timeout));
        self.take().ok_or(self)
    }

    fn wait_for(&self, timeout: Option<Duration>) {
        let request = self.request();
        if !self.shared.is_owner() {
            return;
        }
        assert!(!request.is_queued(), "submit the batch before you wait");
        self.shared.wait_for(&**request, timeout);
    }

    /// Cancels the request by `kaio_cancel(2)`. Its result is then `ECANCELED`, or the number of
    /// bytes that were transferred before, or 0 for a poll. The program gets that result and the
    /// buffer from this handle as usual.
    ///
    /// Returns `false` if the request cannot be cancelled: it is complete or about to complete, its
    /// batch was not submitted, or another thread is submitting it. Then the request ends as if
    /// this function had not been called.
    pub fn cancel(&self) -> bool {
        match &self.request {
            Some(request) if self.shared.is_owner() => {
                !request.is_complete() && self.shared.cancel(&**request)
            }
            _ => false,
        }
    }

    /// Drops the handle and lets the request go on. The buffer is freed when the request is
    /// complete and its event has been reaped, or together with the context.
    pub fn detach(mut self) {
        self.request = None;
    }
}

impl<B: Send + 'static> Drop for Pending<B> {
    fn drop(&mut self) {
        let Some(request) = &self.request else {
            return;
        };
        // The request of the parent goes on if its child drops the handle.
        if !self.shared.is_owner() {
            return;
        }
        if !request.is_complete() && !request.is_queued() && self.shared.abandon(&**request) {
            // The event is in the ring. Reap it now, so that the buffer is freed.
            self.shared.reap_ring();
        }
    }
}

/// The future is ready when the request is complete. The program must call
/// [reap](crate::Context::reap) for that: see the crate's documentation.
///
/// # Panics
///
/// Panics if the future is polled again after it was ready.
impl<B: Send + 'static> Future for Pending<B> {
    type Output = Completion<B>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Completion<B>> {
        if let Some(done) = self.take() {
            return Poll::Ready(done);
        }
        // The request is not complete, so this process made the context.
        self.request().set_waker(cx.waker());
        // The request may have completed meanwhile: then the task need not wait for the reactor.
        self.shared.reap_ring();
        match self.take() {
            Some(done) => Poll::Ready(done),
            None => Poll::Pending,
        }
    }
}

impl<B: Send + 'static> fmt::Debug for Pending<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("complete", &self.is_complete())
            .finish()
    }
}
