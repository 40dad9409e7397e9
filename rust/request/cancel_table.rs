// SPDX-License-Identifier: GPL-2.0

//! The table in which a canceller finds the requests of a context.
//!
//! This stands for `active_reqs` of `struct kioctx` in fs/aio.c. It is a hash table, so that
//! KAIO_CANCEL need not walk over all requests of the context.
//!
//! The lock disables interrupts, and programs choose how many requests there are. So no function
//! walks over more than [`BATCH`] requests while it holds the lock. Requests are added and removed
//! in any context; [`CancelTable::cancel`] and [`CancelTable::close`] are for process context.

use kernel::{
    list::{
        List,
        ListArc,
        ListItem, //
    },
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    },
};

use super::{
    Request,
    RequestInner,
    CANCEL, //
};
use crate::{
    pure::{
        hash,
        state::{
            Cancel,
            CancelScope, //
        },
    },
    sys::{
        lock::{
            new_irq_lock,
            IrqLock, //
        },
        task, //
    },
};

/// The number of requests that a function looks at with interrupts disabled.
const BATCH: usize = 64;

/// The requests of a context that can be cancelled, by key.
#[pin_data]
pub(crate) struct CancelTable<R: Request> {
    #[pin]
    inner: IrqLock<Buckets<R>>,
}

struct Buckets<R: Request> {
    lists: KVVec<List<RequestInner<R>, CANCEL>>,
    /// The number of requests in all lists.
    len: u32,
    /// The context has ended: no request can be added any more.
    closed: bool,
    /// A task is in [`CancelTable::search_long_list`].
    rotating: bool,
}

/// The result of a search at the beginning of a list.
enum Search<R: Request> {
    /// A request with the key, which has just been marked as cancelled.
    Found(Arc<RequestInner<R>>, Cancel),
    /// There is no such request among the first [`BATCH`] entries, and the list goes on.
    More,
    /// There is no such request in the whole list.
    End,
}

impl<R: Request> CancelTable<R> {
    /// Makes a table for about that many `entries`. Returns `ENOMEM` if there is no memory.
    pub(crate) fn new(entries: u32) -> Result<impl PinInit<Self>> {
        let buckets = Buckets {
            lists: empty_lists(entries)?,
            len: 0,
            closed: false,
            rotating: false,
        };
        Ok(pin_init!(Self {
            inner <- new_irq_lock!(buckets, "kaio_index"),
        }))
    }

    /// Adds a request. Returns false if the table is closed.
    pub(super) fn add(&self, request: &Arc<RequestInner<R>>) -> bool {
        let entry = ListArc::try_from_arc(request.clone());
        let mut inner = self.inner.lock();
        if let (false, Ok(entry), Some(list)) = (inner.closed, entry, inner.list(request.key())) {
            list.push_back(entry);
            inner.len += 1;
            return true;
        }
        false
    }

    /// Returns whether the context has not ended.
    pub(super) fn is_open(&self) -> bool {
        !self.inner.lock().closed
    }

    /// Removes a request, if it is in the table.
    pub(super) fn remove(&self, request: &RequestInner<R>) {
        let mut inner = self.inner.lock();
        let entry = inner.list(request.key()).and_then(|list| {
            // SAFETY: `add` is the only function that puts requests into lists of this kind. The
            // implementer of `Request` guarantees that a request is added to this table only, and
            // `add` chose the list by the key, which does not change: the request is in this list
            // or in none.
            unsafe { list.remove(request) }
        });
        inner.len = inner.len.saturating_sub(u32::from(entry.is_some()));
        drop(inner);
        // This is not done under the lock, since the last reference may drop the request.
        drop(entry);
    }

    /// Cancels a request with this key and returns whether it has ended.
    ///
    /// Returns `EINVAL` if no request with this key can be cancelled, and `EINTR` if the current
    /// task was killed before it had looked at all of them. Process context.
    pub(crate) fn cancel(&self, key: u64) -> Result<bool> {
        let search = self.inner.lock().search(key);
        let (request, cancel) = match search {
            Search::Found(request, cancel) => (request, cancel),
            Search::More => self.search_long_list(key)?,
            Search::End => return Err(EINVAL),
        };
        let request = request.as_arc_borrow();
        RequestInner::finish_cancel(request, cancel)
            .or_else(|| RequestInner::was_refused(request))
            .ok_or(EINVAL)
    }

    /// Searches a long list, which a program can make by its choice of addresses. Returns `EINVAL`
    /// if the list has no such request, and `EINTR` if the current task was killed.
    #[cold]
    fn search_long_list(&self, key: u64) -> Result<(Arc<RequestInner<R>>, Cancel)> {
        // Only one task rotates a list at a time: each of two tasks would miss the requests that
        // the other has moved to the end.
        while core::mem::replace(&mut self.inner.lock().rotating, true) {
            // Other tasks may make this wait long, so a killed task gives up.
            if task::is_killed() {
                return Err(EINTR);
            }
            fsleep(Delta::from_millis(1));
        }
        let found = self.search_rotating(key);
        self.inner.lock().rotating = false;
        found
    }

    /// Searches the list of `key` in batches, and moves each batch to the end of the list before it
    /// gives up the lock for a moment. Returns `EINVAL` if the list has no such request, and
    /// `EINTR` if the current task was killed.
    fn search_rotating(&self, key: u64) -> Result<(Arc<RequestInner<R>>, Cancel)> {
        // Other tasks may add requests all the time, so this looks at no more requests than there
        // are now.
        let mut left = self.inner.lock().len;
        let mut begin = None;
        while left > 0 {
            if task::is_killed() {
                return Err(EINTR);
            }
            let mut inner = self.inner.lock();
            match inner.search(key) {
                Search::Found(request, cancel) => return Ok((request, cancel)),
                Search::End => return Err(EINVAL),
                Search::More => {}
            }
            let list = inner.list(key).ok_or(EINVAL)?;
            for _ in 0..BATCH {
                let entry = list.pop_front().ok_or(EINVAL)?;
                let at = &raw const *entry;
                if begin == Some(at) {
                    list.push_front(entry);
                    return Err(EINVAL);
                }
                begin = begin.or(Some(at));
                list.push_back(entry);
            }
            left = left.saturating_sub(BATCH as u32);
        }
        Err(EINVAL)
    }

    /// Cancels all requests except those that must run (`State::set_must_run`), and refuses new
    /// ones, since the context has ended. Process context.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        let len = inner.lists.len();
        drop(inner);
        for bucket in 0..len {
            // Requests are taken out one by one, as there may be many, and interrupts are disabled
            // under the lock.
            while let Some(request) = self.pop(bucket) {
                let request = request.as_arc_borrow();
                let _ = RequestInner::finish_cancel(request, request.cancel(CancelScope::Exit));
            }
        }
    }

    /// Removes the first request of that list.
    fn pop(&self, bucket: usize) -> Option<ListArc<RequestInner<R>, CANCEL>> {
        let mut inner = self.inner.lock();
        let entry = inner.lists.get_mut(bucket)?.pop_front()?;
        inner.len = inner.len.saturating_sub(1);
        Some(entry)
    }
}

impl<R: Request> Buckets<R> {
    /// Returns the list of that key.
    fn list(&mut self, key: u64) -> Option<&mut List<RequestInner<R>, CANCEL>> {
        let bucket = hash::bucket(key, self.lists.len().max(1));
        self.lists.get_mut(bucket)
    }

    /// Marks the first request with this key that can be cancelled, among the first [`BATCH`]
    /// entries.
    fn search(&mut self, key: u64) -> Search<R> {
        let Some(list) = self.list(key) else {
            return Search::End;
        };
        let mut rest = list.iter();
        for request in rest.by_ref().take(BATCH) {
            if request.key() != key {
                continue;
            }
            // The lock is held, so no other canceller has ended a request that is found in the
            // list.
            match request.cancel(CancelScope::User) {
                Cancel::Nothing => {}
                cancel => return Search::Found(Arc::from(request), cancel),
            }
        }
        match rest.next() {
            Some(_) => Search::More,
            None => Search::End,
        }
    }
}

/// Makes the lists of a hash table for about that many `entries`. Returns `ENOMEM` if there is no
/// memory.
fn empty_lists<R: Request, const ID: u64>(entries: u32) -> Result<KVVec<List<RequestInner<R>, ID>>>
where
    RequestInner<R>: ListItem<ID>,
{
    let len = hash::buckets_for(entries);
    let mut lists = KVVec::with_capacity(len, GFP_KERNEL_ACCOUNT)?;
    for _ in 0..len {
        // The vector has room for all lists, so this neither allocates nor fails.
        lists
            .push_within_capacity(List::new())
            .map_err(|_| ENOMEM)?;
    }
    Ok(lists)
}
