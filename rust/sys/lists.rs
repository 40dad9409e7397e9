// SPDX-License-Identifier: GPL-2.0

//! The lists that a request can be in, one of each kind at a time:
//!
//! * [`RunList`]: kicked, waiting for the kick handler (`run_list` of the classic `struct kioctx`).
//! * [`Index`]: can be cancelled (`active_reqs`, as a hash table: nobody walks over all requests).
//! * [`Order`]: waits for its turn after others that are about the same thing.
//!
//! All may be used in any context, but for what cancels: process context.

use kernel::{
    list::{
        List,
        ListArc, //
    },
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
};

use super::{
    lock::{
        new_irq_lock,
        IrqLock, //
    },
    poll::Polled,
    request::{
        Queued,
        Request,
        Tracked, //
    },
};
use crate::pure::{
    hash,
    state::{
        Cancel,
        Spare, //
    },
};

/// The kinds of links.
pub(super) const RUN: u64 = 0;
pub(super) const INDEX: u64 = 1;
pub(super) const ORDER: u64 = 2;

/// The requests of a context that were kicked.
#[pin_data]
pub(crate) struct RunList<R: Request> {
    #[pin]
    list: IrqLock<List<Tracked<R>, RUN>>,
}

impl<R: Request> RunList<R> {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_irq_lock!(List::new(), "kaio_run_list"),
        })
    }

    pub(crate) fn push(&self, queued: Queued<R>) {
        match ListArc::try_from_arc(queued.into_arc()) {
            Ok(entry) => self.list.lock().push_back(entry),
            // It is in one queue at a time, and its links belong to this one.
            Err(_) => pr_warn!("a request was kicked twice\n"),
        }
    }

    pub(crate) fn pop(&self) -> Option<Queued<R>> {
        let entry = self.list.lock().pop_front()?;
        Some(Queued::from_arc(entry.into_arc()))
    }

    pub(super) fn remove(&self, request: &Tracked<R>) -> Option<Queued<R>> {
        // SAFETY: a request goes to the run list of its own context and to no other.
        let entry = unsafe { self.list.lock().remove(request) }?;
        Some(Queued::from_arc(entry.into_arc()))
    }
}

/// The requests of a context that can be cancelled, by key.
#[pin_data]
pub(crate) struct Index<R: Request> {
    #[pin]
    inner: IrqLock<Buckets<R>>,
}

struct Buckets<R: Request> {
    lists: KVVec<List<Tracked<R>, INDEX>>,
    closed: bool,
}

impl<R: Request> Index<R> {
    /// For about so many `entries`.
    pub(crate) fn new(entries: u32) -> Result<impl PinInit<Self>> {
        let len = hash::buckets_for(entries);
        let mut lists = KVVec::with_capacity(len, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..len {
            lists.push(List::new(), GFP_KERNEL_ACCOUNT)?;
        }
        let buckets = Buckets {
            lists,
            closed: false,
        };
        Ok(pin_init!(Self {
            inner <- new_irq_lock!(buckets, "kaio_index"),
        }))
    }

    /// `false`: closed.
    pub(super) fn add(&self, request: &Arc<Tracked<R>>) -> bool {
        let entry = ListArc::try_from_arc(request.clone());
        let mut inner = self.inner.lock();
        if let (false, Ok(entry), Some(list)) = (inner.closed, entry, inner.list(request.key())) {
            list.push_back(entry);
            return true;
        }
        false
    }

    pub(super) fn remove(&self, request: &Tracked<R>) {
        let mut inner = self.inner.lock();
        let entry = inner.list(request.key()).and_then(|list| {
            // SAFETY: a request goes to the index of its own context and to no other, and there to
            // the list of its key.
            unsafe { list.remove(request) }
        });
        drop(inner);
        // Not under the lock: a request may go with its last reference.
        drop(entry);
    }

    /// Cancels a request; `false`: there is none with this key that can be.
    pub(crate) fn cancel(&self, key: u64) -> bool {
        let mut inner = self.inner.lock();
        let found = inner.list(key).and_then(|list| {
            list.iter().filter(|request| request.key() == key).find_map(
                // Under the lock: who is found here has not announced its end.
                |request| match request.cancel(Spare::Nobody) {
                    Cancel::Nothing => None,
                    cancel => Some((Arc::from(request), cancel)),
                },
            )
        });
        drop(inner);
        let Some((request, cancel)) = found else {
            return false;
        };
        Tracked::carry_out(request.as_arc_borrow(), cancel);
        true
    }

    /// Cancels all but those that were pledged, and refuses new ones.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        let len = inner.lists.len();
        drop(inner);
        for bucket in 0..len {
            // One at a time: there may be many, and interrupts are off under the lock.
            while let Some(request) = self.pop(bucket) {
                let request = request.as_arc_borrow();
                Tracked::carry_out(request, request.cancel(Spare::Pledged));
            }
        }
    }

    fn pop(&self, bucket: usize) -> Option<ListArc<Tracked<R>, INDEX>> {
        self.inner.lock().lists.get_mut(bucket)?.pop_front()
    }
}

impl<R: Request> Buckets<R> {
    fn list(&mut self, key: u64) -> Option<&mut List<Tracked<R>, INDEX>> {
        let bucket = hash::bucket(key, self.lists.len().max(1));
        self.lists.get_mut(bucket)
    }
}

/// How many lists an [`Order`] has; a power of two.
const LINES: usize = 16;

/// Requests that are done one after another: those about the same thing (`Tracked::stream`), in the
/// order in which they came. The first of each has its turn until it leaves.
#[pin_data]
pub(crate) struct Order<R: Request> {
    #[pin]
    lines: IrqLock<[List<Tracked<R>, ORDER>; LINES]>,
}

impl<R: Request> Order<R> {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            lines <- new_irq_lock!([const { List::new() }; LINES], "kaio_order"),
        })
    }

    /// Whether anybody is there for `stream`.
    pub(crate) fn is_busy(&self, stream: usize) -> bool {
        let lines = self.lines.lock();
        first(&lines, stream).is_some()
    }

    /// Adds `request` if it is `new`; whether it is its turn. If not, it is kicked when it is.
    pub(super) fn join(&self, request: &Arc<Tracked<R>>, new: bool) -> bool {
        let entry = new.then(|| ListArc::try_from_arc(request.clone()));
        let mut lines = self.lines.lock();
        let line = hash::bucket(request.stream() as u64, LINES);
        if let (Some(Ok(entry)), Some(line)) = (entry, lines.get_mut(line)) {
            line.push_back(entry);
        }
        first(&lines, request.stream()).is_some_and(|first| core::ptr::eq(&*first, &**request))
    }

    /// Takes `request` out, and kicks who is next.
    pub(super) fn leave(&self, request: &Tracked<R>) {
        let stream = request.stream();
        let mut lines = self.lines.lock();
        let entry = lines
            .get_mut(hash::bucket(stream as u64, LINES))
            .and_then(|line| {
                // SAFETY: the order is one for all requests that it can meet, and there the line is that
                // of its stream, which changes only while it is in none.
                unsafe { line.remove(request) }
            });
        let next: Option<Arc<Tracked<R>>> = first(&lines, stream).map(Arc::from);
        drop(lines);
        drop(entry);
        if let Some(next) = next {
            next.kick();
        }
    }
}

fn first<R: Request>(
    lines: &[List<Tracked<R>, ORDER>; LINES],
    stream: usize,
) -> Option<ArcBorrow<'_, Tracked<R>>> {
    let line = lines.get(hash::bucket(stream as u64, LINES))?;
    line.iter().find(|request| request.stream() == stream)
}
