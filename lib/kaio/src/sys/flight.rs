// SPDX-License-Identifier: LGPL-2.1-or-later

//! A context with the requests that are in flight in it.
//!
//! Events are taken from the ring under the lock of the table. One thread at a time sleeps in the
//! kernel for the others; those wait for it on a condition variable. While it sleeps nobody else
//! takes events: it would not notice that what it waits for was taken.
//!
//! A request is in the table before the kernel has it, and the kernel may refuse it: no event comes
//! then. So nobody goes to sleep in the kernel while a submit call is under way.

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

use super::kernel::Kernel;
use super::request::{InFlight, Queued};

/// Events that are taken at once.
const EVENTS: usize = 32;

type AnyRequest = Arc<dyn InFlight>;

/// The requests in flight. The number of a slot is what an event carries.
struct Table {
    slots: Vec<Option<AnyRequest>>,
    free: Vec<usize>,
    /// Slots that are taken: requests in flight, and events that nobody has taken.
    in_flight: usize,
    /// Requests that were complete since the beginning.
    taken: u64,
    /// A thread sleeps in the kernel, or is about to.
    sleeper: bool,
    /// Calls of `submit` whose requests are here, and of which the kernel has not said yet that it
    /// has them.
    launching: usize,
    /// Threads on the condition variable.
    waiters: usize,
}

impl Table {
    /// A slot for one more request, which `put` takes.
    fn free_slot(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        })
    }

    fn put(&mut self, slot: usize, request: AnyRequest) {
        self.slots[slot] = Some(request);
        self.in_flight += 1;
    }

    fn remove(&mut self, slot: usize) -> Option<AnyRequest> {
        let request = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        self.in_flight -= 1;
        Some(request)
    }
}

/// What completed: to be done with when no lock is held, since it runs the code of others.
#[derive(Default)]
#[must_use]
struct Landed {
    wakers: Vec<Waker>,
    requests: Vec<AnyRequest>,
}

impl Landed {
    /// # Safety
    ///
    /// The kernel does not use the memory of the request any more.
    unsafe fn add(&mut self, request: AnyRequest, res: i64) {
        // SAFETY: the caller's promise.
        self.wakers.extend(unsafe { request.complete(res) });
        self.requests.push(request);
    }

    /// Wakes who waits; drops buffers that nobody wants. Returns how many requests they were.
    fn finish(self) -> usize {
        for waker in self.wakers {
            waker.wake();
        }
        self.requests.len()
    }
}

/// A context, and what is in flight in it.
pub(crate) struct Flight {
    kernel: Kernel,
    /// Counts completions; does not block.
    eventfd: Option<File>,
    table: Mutex<Table>,
    /// The sleeper has woken, or a submit call is over.
    awake: Condvar,
}

fn new_eventfd() -> io::Result<File> {
    // SAFETY: makes a descriptor, and touches no memory.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}

impl Flight {
    pub(crate) fn new(entries: u32, with_eventfd: bool) -> io::Result<Self> {
        let eventfd = match with_eventfd {
            true => Some(new_eventfd()?),
            false => None,
        };
        Ok(Self {
            kernel: Kernel::new(entries)?,
            eventfd,
            table: Mutex::new(Table {
                slots: Vec::new(),
                free: Vec::new(),
                in_flight: 0,
                taken: 0,
                sleeper: false,
                launching: 0,
                waiters: 0,
            }),
            awake: Condvar::new(),
        })
    }

    pub(crate) fn capacity(&self) -> usize {
        self.kernel.capacity()
    }

    pub(crate) fn query(&self) -> io::Result<kaio_query> {
        self.kernel.query()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    /// What becomes readable when there are events.
    pub(crate) fn notifier(&self) -> BorrowedFd<'_> {
        match &self.eventfd {
            Some(eventfd) => eventfd.as_fd(),
            None => self.kernel.device(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until another thread has woken the waiters, or for so long at most.
    fn stand_by<'a>(
        &'a self,
        mut table: MutexGuard<'a, Table>,
        left: Option<Duration>,
    ) -> MutexGuard<'a, Table> {
        table.waiters += 1;
        let woken = match left {
            None => self.awake.wait(table),
            Some(left) => self
                .awake
                .wait_timeout(table, left)
                .map(|(table, _)| table)
                .map_err(|e| PoisonError::new(e.into_inner().0)),
        };
        let mut table = woken.unwrap_or_else(PoisonError::into_inner);
        table.waiters -= 1;
        table
    }

    /// Wakes the waiters, which costs a system call, if there are any.
    fn wake_waiters(&self, table: MutexGuard<'_, Table>) {
        let waiters = table.waiters;
        drop(table);
        if waiters > 0 {
            self.awake.notify_all();
        }
    }

    /// Takes all events that are in the ring.
    fn land(&self, table: &mut Table) -> Landed {
        let mut landed = Landed::default();
        let mut events = [io_event::default(); EVENTS];
        loop {
            // SAFETY: `table` is ours, and nobody takes without it.
            let count = unsafe { self.kernel.take(&mut events) };
            for event in &events[..count] {
                let Some(request) = table.remove(event.data as usize) else {
                    continue;
                };
                table.taken += 1;
                // SAFETY: its event was posted, which the kernel does when it is done with it.
                unsafe { landed.add(request, event.res) };
            }
            if count < EVENTS {
                return landed;
            }
        }
    }

    /// The same, unless a thread sleeps: then that does it.
    fn try_land(&self, table: &mut Table) -> Landed {
        match table.sleeper {
            true => Landed::default(),
            false => self.land(table),
        }
    }

    /// The sleeper has come back.
    fn wake_up(&self) -> usize {
        let mut table = self.lock();
        table.sleeper = false;
        let landed = self.land(&mut table);
        self.wake_waiters(table);
        landed.finish()
    }

    /// Takes what events there are, without waiting. Returns how many.
    pub(crate) fn reap(&self) -> usize {
        // First: what is counted from here on makes it readable again.
        if let Some(mut eventfd) = self.eventfd.as_ref() {
            // `WouldBlock`: nothing was counted.
            let _ = eventfd.read(&mut [0; 8]);
        }
        self.look()
    }

    /// The same without a system call: the eventfd stays as it is.
    pub(crate) fn look(&self) -> usize {
        let mut table = self.lock();
        let landed = self.try_land(&mut table);
        drop(table);
        landed.finish()
    }

    /// Starts the requests of `queue`, front to back, as many as there is room for. What the kernel
    /// refuses is complete with its error. Then waits until `min` more were complete, or all that
    /// are in flight. Returns how many were started.
    pub(crate) fn submit(&self, queue: &mut VecDeque<Queued>, min: usize) -> usize {
        self.look(); // makes room
        let mut table = self.lock();
        // The sleeper is about to take events: they are room too.
        let taken = table.taken;
        while table.sleeper
            && table.taken == taken
            && table.in_flight + queue.len() > self.capacity()
            && self.kernel.has_events()
        {
            table = self.stand_by(table, None);
        }
        let before = table.taken;
        let room = self.capacity().saturating_sub(table.in_flight);
        let eventfd = self.eventfd.as_ref().map(AsFd::as_fd);
        let launched: Vec<_> = queue
            .drain(..queue.len().min(room))
            .map(|queued| {
                let slot = table.free_slot();
                let request = queued.launch(slot as u64, eventfd);
                table.put(slot, request.clone());
                (slot, request)
            })
            .collect();
        let min = min.min(table.in_flight);
        let sleeps = min > 0 && !launched.is_empty() && !table.sleeper;
        table.sleeper |= sleeps;
        table.launching += 1;
        drop(table);

        let started = self.start(&launched, if sleeps { min } else { 0 });
        let mut table = self.lock();
        table.launching -= 1;
        self.wake_waiters(table);
        let mut cancelled = false;
        for (_, request) in launched {
            cancelled |= request.launched() && self.kernel.cancel(request.iocb());
        }
        if sleeps {
            self.wake_up();
        } else if cancelled {
            self.look();
        }
        if min > 0 {
            self.wait(None, |table| table.taken - before >= min as u64);
        }
        started
    }

    /// Has the kernel start what is in the table.
    fn start(&self, launched: &[(usize, AnyRequest)], min: usize) -> usize {
        let iocbs: Vec<_> = launched.iter().map(|(_, request)| request.iocb()).collect();
        let mut next = 0;
        let mut refused: usize = 0;
        while next < iocbs.len() {
            // No more than one: others wait for the sleeper, and what it sleeps for may not come.
            let min = min.saturating_sub(refused).min(1);
            // SAFETY: the table has the requests, which own their memory, until their events are
            // taken; `drop` leaves them there if it cannot tell that they are over.
            let (count, stopped) = unsafe { self.kernel.submit(&iocbs[next..], min) };
            next += count;
            if count == 0 {
                let errno = stopped.map_or(libc::EAGAIN, Errno::get);
                self.refuse(launched[next].0, errno);
                refused += 1;
                next += 1;
            }
        }
        next - refused
    }

    /// The kernel has not started this one.
    fn refuse(&self, slot: usize, errno: i32) {
        let mut landed = Landed::default();
        let mut table = self.lock();
        if let Some(request) = table.remove(slot) {
            table.taken += 1;
            // SAFETY: the kernel said that it does not have it.
            unsafe { landed.add(request, -i64::from(errno)) };
        }
        self.wake_waiters(table);
        landed.finish();
    }

    /// Gives a request up, if that is still possible.
    pub(crate) fn cancel(&self, request: &dyn InFlight) -> bool {
        self.kernel.cancel(request.iocb())
    }

    /// The same, for who will not ask again: if the request is just being submitted, the thread that
    /// does so cancels it. `true`: its event is on its way.
    pub(crate) fn abandon(&self, request: &dyn InFlight) -> bool {
        let launching = request.is_launching();
        // What failed while it was being submitted may do now that it is.
        self.cancel(request) || (launching && !request.leave() && self.cancel(request))
    }

    /// Waits until the request is complete. `false`: the time is over.
    pub(crate) fn wait_for(&self, request: &dyn InFlight, deadline: Option<Instant>) -> bool {
        self.wait(deadline, |_| request.is_complete())
    }

    /// Waits until some request is complete, or none is in flight. Returns how many were.
    pub(crate) fn wait_any(&self, deadline: Option<Instant>) -> usize {
        let before = self.lock().taken;
        let mut taken = 0;
        self.wait(deadline, |table| {
            taken = table.taken - before;
            taken > 0 || table.in_flight == 0
        });
        taken as usize
    }

    /// Takes events until `done`, sleeping for them. `false`: the time is over.
    fn wait(&self, deadline: Option<Instant>, mut done: impl FnMut(&Table) -> bool) -> bool {
        let mut table = self.lock();
        loop {
            let landed = self.try_land(&mut table);
            if landed.requests.is_empty() {
                if done(&table) {
                    return true;
                }
            } else {
                drop(table);
                landed.finish();
                table = self.lock();
                continue;
            }
            let left = match deadline.map(|end| end.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return false,
                left => left,
            };
            if table.sleeper || table.launching > 0 {
                table = self.stand_by(table, left);
                continue;
            }
            table.sleeper = true;
            drop(table);
            let slept = self.kernel.wait(left);
            self.wake_up();
            match slept {
                Err(e) if e.get() != libc::EINTR => {
                    // Somebody has closed our descriptor, and holds another one of the same open
                    // file: else the ring would have gone too, as it has in the child of a fork,
                    // and nobody comes here without it.
                    panic!("a context of kaio that is not this process's: {e}");
                }
                _ => table = self.lock(),
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // SAFETY: nobody else has this value, and only destructors follow.
        if unsafe { self.kernel.destroy() }.is_err() {
            // Its requests may still be in flight (a fatal signal), or they are another process's.
            let table = self.table.get_mut();
            let table = table.unwrap_or_else(PoisonError::into_inner);
            mem::forget(mem::take(&mut table.slots));
        }
    }
}
