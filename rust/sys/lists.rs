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
        ListArc,
        ListItem, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
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

/// What is to happen to a request on a [`RunList`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It was kicked: the kick handler runs it.
    Run,
    /// It was deferred: it is handed to a worker.
    HandOn,
}

/// The requests of a context that were kicked, and those that wait for a worker to be woken.
#[pin_data]
pub(crate) struct RunList<R: Request> {
    #[pin]
    lists: IrqLock<Lists<R>>,
}

struct Lists<R: Request> {
    run: List<Tracked<R>, RUN>,
    hand_on: List<Tracked<R>, RUN>,
}

impl<R: Request> Lists<R> {
    fn of(&mut self, next: Next) -> &mut List<Tracked<R>, RUN> {
        match next {
            Next::Run => &mut self.run,
            Next::HandOn => &mut self.hand_on,
        }
    }
}

impl<R: Request> RunList<R> {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            lists <- new_irq_lock!(
                Lists {
                    run: List::new(),
                    hand_on: List::new(),
                },
                "kaio_run_list"
            ),
        })
    }

    /// Whether it is the first: others have had somebody told to look.
    pub(crate) fn push(&self, queued: Queued<R>, next: Next) -> bool {
        let Ok(entry) = ListArc::try_from_arc(queued.into_arc()) else {
            // It is in one queue at a time, and its links belong to this one.
            pr_warn!("a request was kicked twice\n");
            return false;
        };
        let mut lists = self.lists.lock();
        entry.set_next(next);
        let list = lists.of(next);
        let first = list.is_empty();
        list.push_back(entry);
        first
    }

    pub(crate) fn pop(&self, next: Next) -> Option<Queued<R>> {
        let entry = self.lists.lock().of(next).pop_front()?;
        Some(Queued::from_arc(entry.into_arc()))
    }

    pub(crate) fn is_empty(&self, next: Next) -> bool {
        self.lists.lock().of(next).is_empty()
    }

    pub(super) fn remove(&self, request: &Tracked<R>) -> Option<Queued<R>> {
        let mut lists = self.lists.lock();
        let list = lists.of(request.next());
        // SAFETY: a request goes to the run list of its own context and to no other, and there to
        // the list that `push` noted under the lock, which we hold.
        let entry = unsafe { list.remove(request) }?;
        drop(lists);
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
        let buckets = Buckets {
            lists: empty_lists(entries)?,
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

    pub(super) fn is_open(&self) -> bool {
        !self.inner.lock().closed
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

    /// Cancels a request; whether it has ended. `None`: there is none with this key that can be.
    pub(crate) fn cancel(&self, key: u64) -> Option<bool> {
        let mut inner = self.inner.lock();
        let found = inner.list(key).and_then(|list| {
            list.iter().filter(|request| request.key() == key).find_map(
                // Under the lock: who is found here has not announced its end.
                |request| match request.cancel(Spare::Away) {
                    Cancel::Nothing => None,
                    cancel => Some((Arc::from(request), cancel)),
                },
            )
        });
        drop(inner);
        let (request, cancel) = found?;
        let request = request.as_arc_borrow();
        Tracked::carry_out(request, cancel).or_else(|| Tracked::was_refused(request))
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
                let _ = Tracked::carry_out(request, request.cancel(Spare::Pledged));
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

/// Requests that are done one after another: those about the same thing (`Tracked::stream`), in the
/// order in which they came. The first of each has its turn until it leaves.
#[pin_data]
pub(crate) struct Order<R: Request> {
    #[pin]
    lines: IrqLock<KVVec<List<Tracked<R>, ORDER>>>,
    /// How many are in all lines. Changes under the lock.
    len: Atomic<u32>,
}

impl<R: Request> Order<R> {
    /// For about so many `entries`.
    pub(crate) fn new(entries: u32) -> Result<impl PinInit<Self>> {
        let lines = empty_lists(entries)?;
        Ok(pin_init!(Self {
            lines <- new_irq_lock!(lines, "kaio_order"),
            len: Atomic::new(0),
        }))
    }

    /// Whether anybody is there for `stream`.
    pub(crate) fn is_busy(&self, stream: usize) -> bool {
        self.len.load(Relaxed) != 0 && first(&self.lines.lock(), stream).is_some()
    }

    /// Adds `request` if it is `new`; whether it is its turn. If not, it is kicked when it is.
    pub(super) fn join(&self, request: &Arc<Tracked<R>>, new: bool) -> bool {
        let entry = new.then(|| ListArc::try_from_arc(request.clone()));
        let mut lines = self.lines.lock();
        if let (Some(Ok(entry)), Some(line)) = (entry, line(&mut lines, request.stream())) {
            line.push_back(entry);
            self.len.add(1u32, Relaxed);
        }
        first(&lines, request.stream()).is_some_and(|first| core::ptr::eq(&*first, &**request))
    }

    /// Takes `request` out, and kicks who is next.
    pub(super) fn leave(&self, request: &Tracked<R>) {
        let stream = request.stream();
        let mut lines = self.lines.lock();
        let entry = line(&mut lines, stream).and_then(|line| {
            // SAFETY: the order is one for all requests that it can meet, and there the line is that
            // of its stream, which changes only while it is in none.
            unsafe { line.remove(request) }
        });
        if entry.is_some() {
            self.len.fetch_sub(1u32, Relaxed);
        }
        let next: Option<Arc<Tracked<R>>> = first(&lines, stream).map(Arc::from);
        drop(lines);
        drop(entry);
        if let Some(next) = next {
            next.kick();
        }
    }
}

fn line<R: Request>(
    lines: &mut KVVec<List<Tracked<R>, ORDER>>,
    stream: usize,
) -> Option<&mut List<Tracked<R>, ORDER>> {
    let index = hash::bucket(stream as u64, lines.len().max(1));
    lines.get_mut(index)
}

fn first<R: Request>(
    lines: &KVVec<List<Tracked<R>, ORDER>>,
    stream: usize,
) -> Option<ArcBorrow<'_, Tracked<R>>> {
    let line = lines.get(hash::bucket(stream as u64, lines.len().max(1)))?;
    line.iter().find(|request| request.stream() == stream)
}

/// Lists for a hash table of about so many `entries`.
fn empty_lists<R: Request, const ID: u64>(entries: u32) -> Result<KVVec<List<Tracked<R>, ID>>>
where
    Tracked<R>: ListItem<ID>,
{
    let len = hash::buckets_for(entries);
    let mut lists = KVVec::with_capacity(len, GFP_KERNEL_ACCOUNT)?;
    for _ in 0..len {
        // There is room, so nothing is looked at twice.
        lists
            .push_within_capacity(List::new())
            .map_err(|_| ENOMEM)?;
    }
    Ok(lists)
}
