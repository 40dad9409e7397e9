// SPDX-License-Identifier: LGPL-2.1-or-later

//! A request that was submitted, as a program has it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use crate::context::deadline;
use crate::sys::flight::Flight;
use crate::sys::request::{Completion, InFlight, Request};

/// A request: wait for it, or await it. It gives the result, and the buffer back.
///
/// Dropping it gives the request up: what waits for readiness or for its turn is cancelled, what a
/// disk has in hand is done; its buffer is freed when it is complete and its event was reaped. A
/// read that is cancelled may have taken data, which is lost then. [`Pending::detach`] lets a request
/// go on. Of a [`Batch`](crate::Batch) that was not submitted, the request stays in the batch.
///
/// ```compile_fail,E0382
/// # let context = kaio::Context::new(8).unwrap();
/// # let file = std::fs::File::open("/dev/null").unwrap();
/// let pending = context.submit(kaio::Op::fsync(&file));
/// let result = pending.wait();
/// let again = pending.wait(); // there is one result
/// ```
///
/// A buffer that belongs to one thread cannot be in flight, since any thread may free it:
///
/// ```compile_fail,E0277
/// # let context = kaio::Context::new(8).unwrap();
/// # let file = std::fs::File::open("/dev/null").unwrap();
/// let buf: std::rc::Rc<[u8]> = vec![0; 512].into();
/// let pending = context.submit(kaio::Op::write(&file, buf, 0));
/// ```
#[must_use = "a request whose handle is dropped is cancelled; see Pending::detach"]
pub struct Pending<B: Send + 'static> {
    /// `None`: the result was taken, or the request was detached.
    request: Option<Arc<Request<B>>>,
    flight: Arc<Flight>,
}

impl<B: Send + 'static> Pending<B> {
    pub(crate) fn new(request: Arc<Request<B>>, flight: Arc<Flight>) -> Self {
        Self {
            request: Some(request),
            flight,
        }
    }

    fn request(&self) -> &Arc<Request<B>> {
        self.request
            .as_ref()
            .expect("a future that is not polled after it was ready")
    }

    fn take(&mut self) -> Option<Completion<B>> {
        let done = self.request().take()?;
        self.request = None;
        Some(done)
    }

    /// Whether it is complete, as far as events were reaped. A future that was ready is.
    pub fn is_complete(&self) -> bool {
        let request = self.request.as_ref();
        request.is_none_or(|request| request.is_complete())
    }

    /// The result and the buffer, if it is complete; else the request again. Reaps.
    ///
    /// # Errors
    ///
    /// It is not complete.
    ///
    /// # Panics
    ///
    /// If it is a future that was ready: there is one result.
    pub fn try_take(mut self) -> Result<Completion<B>, Self> {
        if !self.is_complete() {
            self.flight.look();
        }
        self.take().ok_or(self)
    }

    /// Waits until it is complete. Signals do not end that.
    ///
    /// # Panics
    ///
    /// If it is in a batch that was not submitted: nobody knows whether it ever will be. If it is a
    /// future that was ready: there is one result.
    pub fn wait(mut self) -> Completion<B> {
        self.wait_until(None);
        self.take().expect("it is complete")
    }

    /// Waits until it is complete, for `timeout` at most.
    ///
    /// # Errors
    ///
    /// The time is over. The request goes on.
    ///
    /// # Panics
    ///
    /// As [`Pending::wait`].
    pub fn wait_timeout(mut self, timeout: Duration) -> Result<Completion<B>, Self> {
        self.wait_until(deadline(timeout));
        self.take().ok_or(self)
    }

    fn wait_until(&self, deadline: Option<Instant>) {
        let request = self.request();
        assert!(!request.is_queued(), "submit the batch before you wait");
        self.flight.wait_for(&**request, deadline);
    }

    /// Gives the request up. `kaio_cancel(2)`. The result then is `ECANCELED`, or what was transferred
    /// before, or 0 if it is a poll; get it as ever.
    ///
    /// `false`: it is too late, or too early (its batch was not submitted, or another thread is just
    /// doing that). It is complete, or will be as if nothing had happened.
    pub fn cancel(&self) -> bool {
        let Some(request) = &self.request else {
            return false;
        };
        !request.is_complete() && self.flight.cancel(&**request)
    }

    /// Lets the request go on, without a handle. Its buffer is freed when it is complete and its event
    /// was reaped, or with the context.
    pub fn detach(mut self) {
        self.request = None;
    }
}

impl<B: Send + 'static> Drop for Pending<B> {
    fn drop(&mut self) {
        let Some(request) = &self.request else {
            return;
        };
        if !request.is_complete() && !request.is_queued() && self.flight.abandon(&**request) {
            // Its event is there: its buffer need not wait for others.
            self.flight.look();
        }
    }
}

/// Ready when it is complete. Somebody must [reap](crate::Context::reap): see the head of the crate.
///
/// # Panics
///
/// If it is polled again after it was ready.
impl<B: Send + 'static> Future for Pending<B> {
    type Output = Completion<B>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Completion<B>> {
        if let Some(done) = self.take() {
            return Poll::Ready(done);
        }
        self.request().wake_by(cx.waker());
        // Completed at once, or meanwhile: no need to go through the reactor.
        self.flight.look();
        match self.take() {
            Some(done) => Poll::Ready(done),
            None => Poll::Pending,
        }
    }
}

impl<B: Send + 'static> fmt::Debug for Pending<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let complete = self.request.as_ref().map(|request| request.is_complete());
        f.debug_struct("Pending")
            .field("complete", &complete)
            .finish()
    }
}
