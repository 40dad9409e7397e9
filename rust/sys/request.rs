// SPDX-License-Identifier: GPL-2.0

//! A request and the one right to finish it.
//!
//! [`Tracked`] is the allocation: the kernel's `struct kiocb` first (so that a driver's pointer
//! leads back to it), work item, poll entries, state, and the data of type `R` that only the token
//! holder touches. [`Active`] is the token: not `Clone`, consumed by [`Active::finish`], cancels the
//! request if it is dropped. Between two runs the token does not exist; the state
//! (`pure::state`) says who may make it again, and a reference is kept for them:
//!
//! * QUEUED: the workqueue has the reference; [`WorkItem::run`] claims.
//! * PARKED: nobody has it in hand; whoever wins [`State::kick`] queues it.
//! * with the driver: `ki_complete` gets both back (`sys::iocb`).
//!
//! Locks: [`WaitList`]'s is taken with none of ours held but for `Table`'s; a kick takes none of
//! ours, so it may come under any lock of the kernel's.

use core::{
    cell::UnsafeCell,
    mem::ManuallyDrop, //
};

use kernel::{
    bindings, impl_has_work,
    list::{
        impl_list_arc_safe,
        impl_list_item,
        AtomicTracker,
        List,
        ListArc,
        ListLinks,
        TryNewListArc, //
    },
    new_work,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
        Arc, //
    },
    types::Opaque,
    workqueue::{
        Queue,
        Work,
        WorkItem, //
    },
};

use super::{
    file::File,
    lock::{
        new_irq_lock,
        IrqLock, //
    },
    poll::{
        Found,
        PollEntries,
        Polled, //
    },
};
use crate::pure::state::{
    Kick,
    State,
    Word, //
};

/// What a request is made of, and what happens to it.
pub(crate) trait Request: Send + Sized + 'static {
    /// The token was dropped: ends the request as cancelled. Must call [`Active::finish`]. Any
    /// context.
    fn cancelled(active: Active<Self>);
    /// A driver has finished the attempt in hand with `ret`. Any context, hard interrupt included.
    fn driver_done(active: Active<Self>, ret: isize);
    /// The kick handler's turn: process context, a kworker.
    fn retry(active: Active<Self>);
    /// Where a request runs that was parked.
    fn kick_queue() -> &'static Queue;
    /// The file it is about.
    fn file(&self) -> &File;
    /// The list through which the request can be cancelled while it is parked.
    fn wait_list(&self) -> &WaitList<Self>;
}

/// The state word.
pub(crate) struct Cell(Atomic<u32>);

impl Word for Cell {
    fn load(&self) -> u32 {
        self.0.load(Acquire)
    }

    fn swap_if(&self, old: u32, new: u32) -> Result<(), u32> {
        self.0.cmpxchg(old, new, Full).map(|_| ())
    }
}

/// A request in memory.
///
/// # Invariants
///
/// - At most one [`Active`] exists for it, and only that touches `iocb` and `data`. While the state
///   is RUNNING, one exists or a driver has been left the right to make it (`Active::leave`).
/// - It is on a wait queue (`polls`) only while PARKED or QUEUED, or while the token holder arms or
///   disarms.
#[repr(C)]
#[pin_data]
pub(crate) struct Tracked<R: Request> {
    pub(super) iocb: Opaque<bindings::kiocb>,
    #[pin]
    work: Work<Tracked<R>>,
    #[pin]
    polls: PollEntries,
    #[pin]
    links: ListLinks,
    #[pin]
    tracker: AtomicTracker,
    state: State<Cell>,
    data: UnsafeCell<R>,
}

// SAFETY: `iocb` and `data` are touched by the one token holder only, the rest is made for sharing.
unsafe impl<R: Request> Send for Tracked<R> {}
// SAFETY: as above.
unsafe impl<R: Request> Sync for Tracked<R> {}

impl_has_work! {
    impl{R: Request} HasWork<Tracked<R>> for Tracked<R> { self.work }
}

impl_list_arc_safe! {
    impl{R: Request} ListArcSafe<0> for Tracked<R> { tracked_by tracker: AtomicTracker; }
}

impl_list_item! {
    impl{R: Request} ListItem<0> for Tracked<R> { using ListLinks { self.links }; }
}

impl<R: Request> WorkItem for Tracked<R> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // While QUEUED the request is the workqueue's, so ours: a wake-up that comes before the
        // entries are off is answered by this run, and one that comes later is for the next.
        this.polls.disarm();
        if !this.state.claim() {
            pr_warn!("a request ran that was not queued\n");
            return;
        }
        // INVARIANT: the claim made the state RUNNING, so no other token exists.
        let mut active = Active(ManuallyDrop::new(this));
        active.leave_wait_list();
        R::retry(active);
    }
}

impl<R: Request> Polled for Tracked<R> {
    fn kick(&self) {
        self.act_on(self.state.kick());
    }

    fn poll_events(&self) -> u32 {
        self.polls.events()
    }
}

impl<R: Request> Tracked<R> {
    /// As a kick; and the request is not retried but completed with `-ECANCELED`.
    fn cancel(&self) {
        self.act_on(self.state.cancel());
    }

    fn act_on(&self, kick: Kick) {
        if kick == Kick::Queue {
            // SAFETY: a parked request left one reference to whoever takes it out of PARKED, which
            // `Kick::Queue` says we did.
            Self::enqueue(unsafe { Arc::from_raw(self) }, R::kick_queue());
        }
    }

    /// Gives the request, which is QUEUED, to the kick handler.
    fn enqueue(this: Arc<Self>, queue: &Queue) {
        if queue.enqueue(this).is_err() {
            // The work item is idle whenever the state is not QUEUED.
            pr_warn!("a request was queued twice\n");
        }
    }
}

/// A request that is being filled in. Nobody else sees it; dropping it leaves no trace.
pub(crate) struct Prepared<R: Request>(Arc<Tracked<R>>);

impl<R: Request> Prepared<R> {
    /// Allocates a request.
    pub(crate) fn new(data: R) -> Result<Self> {
        let this = Arc::pin_init(
            pin_init!(Tracked {
                iocb: Opaque::zeroed(),
                work <- new_work!("kaio request"),
                polls <- PollEntries::new(),
                links <- ListLinks::new(),
                tracker <- AtomicTracker::new(),
                state: State::new(Cell(Atomic::new(0))),
                data: UnsafeCell::new(data),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        Ok(Self(this))
    }

    /// The request goes its way.
    pub(crate) fn start(self) -> Active<R> {
        // INVARIANT: the state is RUNNING from the beginning, and `self` was the only reference.
        Active(ManuallyDrop::new(self.0))
    }

    /// The data and the kernel's kiocb.
    pub(super) fn parts(&mut self) -> (&mut R, *mut bindings::kiocb) {
        // SAFETY: nobody else has a reference.
        (unsafe { &mut *self.0.data.get() }, self.0.iocb.get())
    }

    /// The data.
    pub(crate) fn data(&mut self) -> &mut R {
        self.parts().0
    }
}

/// The one right to run and to finish a request.
#[must_use = "a request that is dropped is cancelled"]
pub(crate) struct Active<R: Request>(ManuallyDrop<Arc<Tracked<R>>>);

impl<R: Request> Active<R> {
    /// The data.
    pub(crate) fn data(&mut self) -> &mut R {
        // SAFETY: by the invariant, we are the only one who touches it.
        unsafe { &mut *self.0.data.get() }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.state.is_cancelled()
    }

    /// A reference that keeps the request in memory, without any right to it.
    pub(super) fn keep(&self) -> Arc<Tracked<R>> {
        (*self.0).clone()
    }

    /// Leaves the token and its reference to somebody who makes it again.
    pub(super) fn leave(self) -> *const Tracked<R> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used or dropped any more.
        Arc::into_raw(unsafe { ManuallyDrop::take(&mut this.0) })
    }

    /// Makes the token again.
    ///
    /// # Safety
    ///
    /// `raw` comes from [`Self::leave`], and this is the one call for it.
    pub(super) unsafe fn take(raw: *const Tracked<R>) -> Self {
        // SAFETY: the caller promises that `leave` left the reference to us.
        Self(ManuallyDrop::new(unsafe { Arc::from_raw(raw) }))
    }

    /// Hands the request to the kick handler, on `queue`.
    pub(crate) fn defer(self, queue: &Queue) {
        // SAFETY: takes the reference that `leave` leaves; it goes to the workqueue.
        let this = unsafe { Arc::from_raw(self.leave()) };
        this.state.queue();
        Tracked::enqueue(this, queue);
    }

    /// Puts the request on the wait queues of its file, so that no wake-up is missed from now on.
    pub(crate) fn arm(&mut self, events: u32) -> Armed<R> {
        let request = self.keep();
        let found = request.polls.arm(&request, self.data().file(), events);
        Armed {
            request,
            found,
            parked: false,
        }
    }

    /// Takes the request off the list of those that wait.
    fn leave_wait_list(&mut self) {
        let this = self.keep();
        self.data().wait_list().remove(&this);
    }

    /// The end: no token can be made any more. The memory goes with the last reference.
    pub(crate) fn finish(self) {
        if !self.0.state.done() {
            pr_warn!("a request completed twice\n");
        }
        // SAFETY: the reference that `leave` leaves is ours to drop.
        drop(unsafe { Arc::from_raw(self.leave()) });
    }
}

impl<R: Request> Drop for Active<R> {
    fn drop(&mut self) {
        // SAFETY: `self` is not used any more.
        let this = unsafe { ManuallyDrop::take(&mut self.0) };
        R::cancelled(Active(ManuallyDrop::new(this)));
    }
}

/// A request is on wait queues while its token holder looks whether it must wait. Dropping this
/// takes it off.
pub(crate) struct Armed<R: Request> {
    request: Arc<Tracked<R>>,
    found: Found,
    parked: bool,
}

impl<R: Request> Armed<R> {
    /// The poll events that the file had; `None` if it cannot be waited for.
    pub(crate) fn mask(&self) -> Found {
        self.found
    }

    /// Leaves the request to the next kick. Gives it back, off the queues, if one has come since it
    /// was armed.
    pub(crate) fn park(mut self, mut active: Active<R>) -> Result<(), Active<R>> {
        if !active.data().wait_list().add(&self.request) {
            // Too late to wait: the park below will be refused.
            self.request.cancel();
        }
        if Arc::ptr_eq(&self.request, &active.0) && self.request.state.park() {
            // Whoever kicks next has the token's reference, and takes the entries off.
            let _ = active.leave();
            self.parked = true;
            return Ok(());
        }
        active.leave_wait_list();
        Err(active)
    }
}

impl<R: Request> Drop for Armed<R> {
    fn drop(&mut self) {
        if !self.parked {
            self.request.polls.disarm();
        }
    }
}

/// The parked requests of a context, so that they can be cancelled.
#[pin_data]
pub(crate) struct WaitList<R: Request> {
    #[pin]
    inner: IrqLock<Waiting<R>>,
}

struct Waiting<R: Request> {
    list: List<Tracked<R>>,
    closed: bool,
}

impl<R: Request> WaitList<R> {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- new_irq_lock!(
                Waiting {
                    list: List::new(),
                    closed: false,
                },
                "kaio_wait_list"
            ),
        })
    }

    /// `false`: closed.
    fn add(&self, request: &Arc<Tracked<R>>) -> bool {
        let entry = ListArc::try_from_arc(request.clone());
        let mut inner = self.inner.lock();
        if let (false, Ok(entry)) = (inner.closed, entry) {
            inner.list.push_back(entry);
            return true;
        }
        false
    }

    fn remove(&self, request: &Tracked<R>) {
        // SAFETY: a request goes to the list of its own context and to no other.
        let entry = unsafe { self.inner.lock().list.remove(request) };
        // Not under the lock: a request may go with its last reference.
        drop(entry);
    }

    fn pop(&self) -> Option<ListArc<Tracked<R>>> {
        self.inner.lock().list.pop_front()
    }

    /// Cancels all that wait, and all that will try to.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        // One at a time: there may be many, and interrupts are off under the lock.
        while let Some(request) = self.pop() {
            request.cancel();
        }
    }
}
