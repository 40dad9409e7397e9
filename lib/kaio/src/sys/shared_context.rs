// SPDX-License-Identifier: LGPL-2.1-or-later

//! A context and the requests that are in flight in it.
//!
//! Threads take events from the ring with the lock of the table. One thread at a time, the sleeper,
//! sleeps in the kernel until an event comes; other waiting threads sleep on a condition variable.
//! While there is a sleeper, no other thread takes events, since the sleeper would not notice that
//! its event was taken.
//!
//! A request is in the table before the kernel has it. If the kernel refuses the request, no event
//! comes. Therefore no thread begins to sleep in the kernel while a submit call is running.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use kaio_sys::uapi::{io_event, kaio_query};
use kaio_sys::Errno;

use super::raw_context::RawContext;
use super::request::{AnyRequest, QueuedRequest};

/// The number of events that are taken at once.
const EVENTS: usize = 32;

type RequestRef = Arc<dyn AnyRequest>;

/// The requests in flight. An event carries the number of the slot of its request.
struct Table {
    slots: Vec<Option<RequestRef>>,
    free: Vec<usize>,
    /// The number of slots in use: requests in flight, and events that were not taken.
    in_flight: usize,
    /// The number of requests that have completed since the context was made.
    completed: u64,
    /// Set while a thread sleeps in the kernel or is about to.
    sleeper: bool,
    /// The number of calls of `submit` that have put their requests into the table and have not
    /// returned from the kernel.
    submitting: usize,
    /// The number of threads that sleep on the condition variable.
    waiters: usize,
    /// The tasks that wait for room. All of them are woken when a request is complete.
    room_wakers: Vec<Waker>,
}

impl Table {
    /// Returns a free slot, which the caller fills by `insert`.
    fn free_slot(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        })
    }

    fn insert(&mut self, slot: usize, request: RequestRef) {
        self.slots[slot] = Some(request);
        self.in_flight += 1;
    }

    fn remove(&mut self, slot: usize) -> Option<RequestRef> {
        let request = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        self.in_flight -= 1;
        Some(request)
    }
}

/// Completed requests. The caller drops the lock before it finishes them, since that runs code of
/// the program.
#[derive(Default)]
#[must_use]
struct Completions {
    wakers: Vec<Waker>,
    requests: Vec<RequestRef>,
}

impl Completions {
    /// Records the result of a request that was removed from the table.
    ///
    /// # Safety
    ///
    /// The kernel does not use the memory of the request any more.
    unsafe fn add(&mut self, table: &mut Table, request: RequestRef, res: i64) {
        table.completed += 1;
        self.wakers.append(&mut table.room_wakers);
        // SAFETY: the caller promises that the kernel does not use the memory of the request.
        self.wakers.extend(unsafe { request.complete(res) });
        self.requests.push(request);
    }

    /// Wakes the tasks that wait for these requests and drops the requests. Returns how many there
    /// are.
    fn finish(self) -> usize {
        for waker in self.wakers {
            waker.wake();
        }
        self.requests.len()
    }
}

/// A context and the requests that are in flight in it.
pub(crate) struct SharedContext {
    raw: RawContext,
    /// Counts completions, in non-blocking mode.
    eventfd: Option<File>,
    table: Mutex<Table>,
    /// Signalled when the sleeper has woken or a submit call has returned.
    changed: Condvar,
}

fn new_eventfd() -> io::Result<File> {
    // SAFETY: eventfd() takes no pointer.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: eventfd() has returned this descriptor, and no other code owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}

impl SharedContext {
    pub(crate) fn new(entries: u32, with_eventfd: bool) -> io::Result<Self> {
        let eventfd = match with_eventfd {
            true => Some(new_eventfd()?),
            false => None,
        };
        Ok(Self {
            raw: RawContext::new(entries)?,
            eventfd,
            table: Mutex::new(Table {
                slots: Vec::new(),
                free: Vec::new(),
                in_flight: 0,
                completed: 0,
                sleeper: false,
                submitting: 0,
                waiters: 0,
                room_wakers: Vec::new(),
            }),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn capacity(&self) -> usize {
        self.raw.capacity()
    }

    pub(crate) fn query(&self) -> io::Result<kaio_query> {
        self.raw.query()
    }

    /// Returns whether this process made the context. The child of a fork did not, and must not
    /// take the lock of the table, which a thread of the parent may have held.
    pub(crate) fn is_owner(&self) -> bool {
        self.raw.is_owner()
    }

    pub(crate) fn in_flight(&self) -> usize {
        match self.raw.is_owner() {
            true => self.lock().in_flight,
            false => 0,
        }
    }

    /// Returns the descriptor that becomes readable when there are events.
    pub(crate) fn notifier(&self) -> BorrowedFd<'_> {
        match &self.eventfd {
            Some(eventfd) => eventfd.as_fd(),
            None => self.raw.device(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until another thread calls `wake_waiters`, or for at most `left`.
    fn wait_for_change<'a>(
        &'a self,
        mut table: MutexGuard<'a, Table>,
        left: Option<Duration>,
    ) -> MutexGuard<'a, Table> {
        table.waiters += 1;
        let woken = match left {
            None => self.changed.wait(table),
            Some(left) => self
                .changed
                .wait_timeout(table, left)
                .map(|(table, _)| table)
                .map_err(|e| PoisonError::new(e.into_inner().0)),
        };
        let mut table = woken.unwrap_or_else(PoisonError::into_inner);
        table.waiters -= 1;
        table
    }

    /// Gives the lock back and wakes the waiting threads. This makes a system call only if there
    /// are any.
    fn wake_waiters(&self, table: MutexGuard<'_, Table>) {
        let waiters = table.waiters;
        drop(table);
        if waiters > 0 {
            self.changed.notify_all();
        }
    }

    /// Takes all events that are in the ring.
    fn take_events(&self, table: &mut Table) -> Completions {
        let mut completions = Completions::default();
        let mut events = [io_event::default(); EVENTS];
        loop {
            // SAFETY: all threads take events with the lock of the table, which the caller has.
            let count = unsafe { self.raw.take_events(&mut events) };
            for event in &events[..count] {
                let Some(request) = table.remove(event.data as usize) else {
                    continue;
                };
                // SAFETY: the kernel posts the event of a request after its last use of the
                // request's memory.
                unsafe { completions.add(table, request, event.res) };
            }
            if count < EVENTS {
                return completions;
            }
        }
    }

    /// Takes all events that are in the ring, unless there is a sleeper, which takes them itself.
    fn take_events_if_awake(&self, table: &mut Table) -> Completions {
        match table.sleeper {
            true => Completions::default(),
            false => self.take_events(table),
        }
    }

    /// Ends the sleep of the calling thread, takes the events and wakes the waiting threads.
    /// Returns the number of events.
    fn end_sleep(&self) -> usize {
        let mut table = self.lock();
        table.sleeper = false;
        let completions = self.take_events(&mut table);
        self.wake_waiters(table);
        completions.finish()
    }

    /// Takes the events that are there, without waiting, and resets the eventfd. Returns their
    /// number.
    pub(crate) fn reap(&self) -> usize {
        // The child of a fork shares the eventfd with the parent, whose reactor waits for it.
        if !self.raw.is_owner() {
            return 0;
        }
        // Read the eventfd before the ring: a completion that the ring does not show yet makes the
        // eventfd readable again.
        if let Some(mut eventfd) = self.eventfd.as_ref() {
            // The error `WouldBlock` means that the counter is 0.
            let _ = eventfd.read(&mut [0; 8]);
        }
        self.reap_ring()
    }

    /// Takes the events that are there without a system call, and so leaves the eventfd as it is.
    /// Returns their number.
    pub(crate) fn reap_ring(&self) -> usize {
        // In the child of a fork the lock may be held for ever, by a thread that exists only in the
        // parent.
        if !self.raw.is_owner() {
            return 0;
        }
        let mut table = self.lock();
        let completions = self.take_events_if_awake(&mut table);
        drop(table);
        completions.finish()
    }

    /// Starts the requests of `queue` from front to back as long as there is room. A request that
    /// the kernel refuses is complete with the kernel's error. Then waits until `min` more requests
    /// have completed, or all that are in flight. Returns the number of requests that were started.
    pub(crate) fn submit(&self, queue: &mut VecDeque<QueuedRequest>, min: usize) -> usize {
        if !self.raw.is_owner() {
            // Refuse the request with the kernel's error: the context does not exist in this
            // process.
            for queued in queue.drain(..) {
                queued.refuse(libc::EINVAL);
            }
            return 0;
        }
        // Events that are taken make room.
        self.reap_ring();
        let mut table = self.lock();
        // The sleeper is about to take events, which makes room too.
        let taken = table.completed;
        while table.sleeper
            && table.completed == taken
            && table.in_flight + queue.len() > self.capacity()
            && self.raw.has_events()
        {
            table = self.wait_for_change(table, None);
        }
        let before = table.completed;
        let room = self.capacity().saturating_sub(table.in_flight);
        let eventfd = self.eventfd.as_ref().map(AsFd::as_fd);
        let submitted: Vec<_> = queue
            .drain(..queue.len().min(room))
            .map(|queued| {
                let slot = table.free_slot();
                let request = queued.begin_submit(slot as u64, eventfd);
                table.insert(slot, request.clone());
                (slot, request)
            })
            .collect();
        let min = min.min(table.in_flight);
        let sleeps = min > 0 && !submitted.is_empty() && !table.sleeper;
        table.sleeper |= sleeps;
        table.submitting += 1;
        drop(table);

        let started = self.submit_all(&submitted, if sleeps { min } else { 0 });
        let mut table = self.lock();
        table.submitting -= 1;
        self.wake_waiters(table);
        let mut cancelled = false;
        for (_, request) in submitted {
            cancelled |= request.end_submit() && self.raw.cancel(request.iocb());
        }
        if sleeps {
            self.end_sleep();
        } else if cancelled {
            self.reap_ring();
        }
        if min > 0 {
            self.wait(None, |table| table.completed - before >= min as u64);
        }
        started
    }

    /// Submits requests that are in the table. Returns how many the kernel has started.
    fn submit_all(&self, submitted: &[(usize, RequestRef)], min: usize) -> usize {
        let iocbs: Vec<_> = submitted
            .iter()
            .map(|(_, request)| request.iocb())
            .collect();
        let mut next = 0;
        let mut refused: usize = 0;
        while next < iocbs.len() {
            // Wait for one event at most: other threads wait for the sleeper, and a second event
            // may never come.
            let min = min.saturating_sub(refused).min(1);
            // SAFETY: a request owns the memory that its iocb names, and the table keeps the
            // request until its event was taken. `drop` leaks the requests if it cannot tell that
            // they have ended.
            let (count, stopped) = unsafe { self.raw.submit(&iocbs[next..], min) };
            next += count;
            if count == 0 {
                let errno = stopped.map_or(libc::EAGAIN, Errno::get);
                self.refuse(submitted[next].0, errno);
                refused += 1;
                next += 1;
            }
        }
        next - refused
    }

    /// Completes a request that the kernel has refused.
    fn refuse(&self, slot: usize, errno: i32) {
        let mut completions = Completions::default();
        let mut table = self.lock();
        if let Some(request) = table.remove(slot) {
            // SAFETY: the kernel has refused the request, and so never uses its memory.
            unsafe { completions.add(&mut table, request, -i64::from(errno)) };
        }
        self.wake_waiters(table);
        completions.finish();
    }

    /// Cancels a request. Returns `false` if the kernel does not know the request or cannot cancel
    /// it.
    pub(crate) fn cancel(&self, request: &dyn AnyRequest) -> bool {
        self.raw.cancel(request.iocb())
    }

    /// Cancels a request whose handle is being dropped. If another thread is submitting the
    /// request, that thread cancels it afterwards. Returns whether the event of the cancelled
    /// request is on its way.
    pub(crate) fn abandon(&self, request: &dyn AnyRequest) -> bool {
        let submitting = request.is_submitting();
        // A cancellation that failed during the submission may succeed after it.
        self.cancel(request)
            || (submitting && !request.cancel_when_submitted() && self.cancel(request))
    }

    /// Waits until the request is complete, for at most `timeout`. Returns `false` if the time is
    /// over.
    pub(crate) fn wait_for(&self, request: &dyn AnyRequest, timeout: Option<Duration>) -> bool {
        request.is_complete() || self.wait(timeout, |_| request.is_complete())
    }

    /// Waits until a request has completed or none is in flight, for at most `timeout`. Returns the
    /// number of requests that have completed.
    pub(crate) fn wait_any(&self, timeout: Option<Duration>) -> usize {
        if !self.raw.is_owner() {
            return 0;
        }
        let before = self.lock().completed;
        let mut taken = 0;
        self.wait(timeout, |table| {
            taken = table.completed - before;
            taken > 0 || table.in_flight == 0
        });
        taken as usize
    }

    /// Waits until the context has room for a request, for at most `timeout`. Returns `false` if the
    /// time is over. In the child of a fork it does not wait.
    pub(crate) fn wait_for_room(&self, timeout: Option<Duration>) -> bool {
        !self.raw.is_owner() || self.wait(timeout, |table| table.in_flight < self.capacity())
    }

    /// Returns whether the context has room for a request. If it has none, the task is woken when a
    /// request is complete.
    pub(crate) fn poll_room(&self, waker: &Waker) -> bool {
        if !self.raw.is_owner() {
            return true;
        }
        // Clone the waker without the lock, since that runs code of the executor.
        let waker = waker.clone();
        self.reap_ring();
        let mut table = self.lock();
        let room = table.in_flight < self.capacity();
        if !room
            && !table
                .room_wakers
                .iter()
                .any(|other| other.will_wake(&waker))
        {
            table.room_wakers.push(waker);
        }
        room
    }

    /// Takes events and sleeps until `done` returns true, for at most `timeout`. Returns `false` if
    /// the time is over. The caller has checked that this process made the context.
    fn wait(&self, timeout: Option<Duration>, mut done: impl FnMut(&Table) -> bool) -> bool {
        // A deadline that an `Instant` cannot express never comes.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut table = self.lock();
        loop {
            let completions = self.take_events_if_awake(&mut table);
            if completions.requests.is_empty() {
                if done(&table) {
                    return true;
                }
            } else {
                drop(table);
                completions.finish();
                table = self.lock();
                continue;
            }
            let left = match deadline.map(|end| end.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return false,
                left => left,
            };
            if table.sleeper || table.submitting > 0 {
                table = self.wait_for_change(table, left);
                continue;
            }
            table.sleeper = true;
            drop(table);
            let slept = self.raw.wait(left);
            self.end_sleep();
            match slept {
                Err(e) if e.get() != libc::EINTR => {
                    // The program has closed the descriptor of this crate, which has ended the
                    // context. No event comes any more, so this thread would wait for ever.
                    panic!("this context of kaio has ended, or belongs to another process: {e}");
                }
                _ => table = self.lock(),
            }
        }
    }
}

impl Drop for SharedContext {
    fn drop(&mut self) {
        // SAFETY: `&mut self` excludes other users, and only destructors run after this.
        if !self.raw.is_owner() || unsafe { self.raw.destroy() }.is_err() {
            // The requests belong to the parent process, or a fatal signal has interrupted the
            // call: the kernel may still use their memory.
            let table = self.table.get_mut();
            let table = table.unwrap_or_else(PoisonError::into_inner);
            mem::forget(mem::take(&mut table.slots));
        }
    }
}
