// SPDX-License-Identifier: GPL-2.0

//! The list of requests that were kicked, and of requests that are to go to a worker.
//!
//! The counterpart is `run_list` of `struct kioctx` in the retry-based AIO of fs/aio.c; the kick
//! handler, or a task that waits for events, takes the requests out, as `aio_run_iocbs()` did.
//!
//! The lock disables interrupts, and is taken by kicks, which may come under any lock of the
//! kernel. No function walks over the list. All may be called in any context.

use kernel::{
    list::{
        List,
        ListArc, //
    },
    prelude::*, //
};

use super::{
    queued::QueuedRequest,
    Request,
    RequestInner,
    RUN, //
};
use crate::sys::lock::{
    new_irq_lock,
    IrqLock, //
};

/// What is done with a request that is taken out of a [`RunList`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The request was kicked: the kick handler, or a task that waits for events, runs it.
    Run,
    /// A work item of the context hands the request to a worker, or completes it.
    WakeWorkers,
}

/// The requests of a context that were kicked, and those that are to go to a worker.
#[pin_data]
pub(crate) struct RunList<R: Request> {
    #[pin]
    lists: IrqLock<Lists<R>>,
}

struct Lists<R: Request> {
    run: List<RequestInner<R>, RUN>,
    wake_workers: List<RequestInner<R>, RUN>,
}

impl<R: Request> Lists<R> {
    /// Returns the list of the requests with which `next` is to be done.
    fn of(&mut self, next: Next) -> &mut List<RequestInner<R>, RUN> {
        match next {
            Next::Run => &mut self.run,
            Next::WakeWorkers => &mut self.wake_workers,
        }
    }
}

impl<R: Request> RunList<R> {
    /// Makes an empty list.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            lists <- new_irq_lock!(
                Lists {
                    run: List::new(),
                    wake_workers: List::new(),
                },
                "kaio_run_list"
            ),
        })
    }

    /// Adds a request. Returns whether the list was empty, so that the caller must have it looked
    /// at; otherwise the caller that added the first request has done so.
    pub(crate) fn push(&self, queued: QueuedRequest<R>, next: Next) -> bool {
        let entry = match ListArc::try_from_arc(queued.into_arc()) {
            Ok(entry) => entry,
            Err(back) => {
                // This would be a bug: the owner of a request puts it into one queue at a time.
                pr_warn!("a request was kicked twice\n");
                drop(QueuedRequest::from_arc(back));
                return false;
            }
        };
        let mut lists = self.lists.lock();
        entry.set_next(next);
        let list = lists.of(next);
        let first = list.is_empty();
        list.push_back(entry);
        first
    }

    /// Removes the first request with which `next` is to be done, and returns its ownership.
    pub(crate) fn pop(&self, next: Next) -> Option<QueuedRequest<R>> {
        let entry = self.lists.lock().of(next).pop_front()?;
        Some(QueuedRequest::from_arc(entry.into_arc()))
    }

    /// Returns whether there is no request with which `next` is to be done.
    pub(crate) fn is_empty(&self, next: Next) -> bool {
        self.lists.lock().of(next).is_empty()
    }

    /// Removes a request, and returns its ownership if it was in the list.
    pub(super) fn remove(&self, request: &RequestInner<R>) -> Option<QueuedRequest<R>> {
        let mut lists = self.lists.lock();
        let list = lists.of(request.next());
        // SAFETY: the implementer of `Request` guarantees that a request is only ever in this run
        // list. `push` noted in which of its two lists the request is, under the lock that this
        // function holds.
        let entry = unsafe { list.remove(request) }?;
        drop(lists);
        Some(QueuedRequest::from_arc(entry.into_arc()))
    }
}
