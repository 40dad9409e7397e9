// SPDX-License-Identifier: GPL-2.0

//! A request and the one right to finish it.
//!
//! [`RequestInner`] is the allocation: the kernel's `struct kiocb` first (so that a driver's
//! pointer leads back to the request), the work item, the poll entries, the state, and the data of
//! type `R`, which only the owner touches. It stands for `struct aio_kiocb` of fs/aio.c. A request
//! has one owner at a time, and the owner is a value that cannot be cloned:
//!
//! * [`Active`], the token, while the request runs. [`Active::finish`] consumes the token; dropping
//!   the token cancels the request.
//! * [`QueuedRequest`], while the request is in a queue or on the way there.
//!   [`QueuedRequest::claim`] turns it into a token.
//! * No value while the request is PARKED. The caller for which [`State::kick`] returns
//!   [`Kick::Queue`] or [`State::cancel`] returns `Cancel::Take` becomes the owner.
//! * No value while a driver or a page has the request. `ki_complete`, or the wake-up of the page,
//!   makes the token again (`request::issue`).
//!
//! Locks: a thread takes the locks of `request::run_list`, `request::cancel_table`,
//! `request::order` and `request::pool` one at a time, and holds no other lock of kaio meanwhile
//! except the mutex of the table. A kick, and the end of a POLL in a wake-up, may come under any
//! lock of the kernel. A kick takes the lock of the run list, and then that of the workqueue or of
//! the waiters of the context; these nest inside all other locks. Documentation/locking.rst has the
//! whole order.

pub(crate) mod array_vec;
mod cancel;
pub(crate) mod cancel_table;
mod contents;
pub(crate) mod issue;
pub(crate) mod light;
mod membership;
pub(crate) mod order;
pub(crate) mod park;
pub(crate) mod poll;
pub(crate) mod pool;
pub(crate) mod queued;
pub(crate) mod run_list;
pub(crate) mod token;

use core::{
    cell::UnsafeCell,
    mem::MaybeUninit, //
};

use kernel::{
    bindings, impl_has_work,
    list::{
        impl_list_arc_safe,
        impl_list_item,
        AtomicTracker,
        ListLinks,
        TryNewListArc, //
    },
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
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

use self::{
    cancel_table::CancelTable,
    light::Light,
    order::{
        OrderLinks,
        OrderQueues, //
    },
    poll::{
        PollEntries,
        Polled, //
    },
    pool::Pool,
    queued::QueuedRequest,
    run_list::{
        Next,
        RunList, //
    },
    token::Active, //
};
use crate::{
    pure::state::{
        Kick,
        State, //
    },
    sys::{
        file::File,
        queue::{
            Job,
            Kworker, //
        },
        word::AtomicWord, //
    },
};

/// The kinds of links: those of the run list, and those of the cancel table.
pub(super) const RUN: u64 = 0;
pub(super) const CANCEL: u64 = 1;

/// Says what a request is made of, and what happens to it.
///
/// # Safety
///
/// The implementer guarantees that:
///
/// - as long as a request lives, each of [`Self::cancel_table`], [`Self::run_list`] and
///   [`Self::order`] returns the same object in each call, so that a request is only ever in the
///   lists that they name;
/// - [`Self::file`] and [`Self::file_mut`] return one and the same file, which no code replaces;
/// - the file with which [`Light::issue`] runs an attempt is a file that the [`Self::Light`] of
///   that request holds until it is dropped, and [`Light::upgrade`] moves that file into the `Self`
///   that it makes.
pub(crate) unsafe trait Request: Send + Sync + Sized + 'static {
    /// What the owner of a request shares: tasks that cancel the request, and wake-ups that kick
    /// it, read this at any time. No code changes it once the request has started.
    type Shared: Send + Sync;
    /// Ends a request whose token was dropped, as cancelled. Must call [`Active::finish`]. Any
    /// context.
    fn cancelled(active: Active<Self>);
    /// Takes over a request whose driver has finished the current attempt with `ret`. Any context,
    /// hard interrupt included.
    fn driver_done(active: Active<Self>, ret: isize);
    /// What a light request consists of (`request::light`).
    type Light: Send + Sync;
    /// Takes over a light request that a driver has finished with `ret`, or whose token was
    /// dropped. Any context, hard interrupt included.
    fn light_done(light: Light<Self>, ret: isize);
    /// Queues a request that was parked and has been kicked. Any context, under any lock of the
    /// kernel.
    fn kicked(queued: QueuedRequest<Self>);
    /// Takes over a request that was parked, and that a wake-up of its file with these poll events
    /// has kicked: queues it, or ends it. The caller holds the lock of the wait queue, on which the
    /// request is not any more. Any context, under any lock of the kernel.
    fn woken(queued: QueuedRequest<Self>, events: u32);
    /// Runs a request in the worker to which [`Active::punt`] handed it. If the request has been
    /// cancelled, the implementer drops `active` and does not run the request. Process context.
    fn retry(active: Active<Self>, kworker: Kworker);
    /// Returns the file of the request.
    fn file(&self) -> &File;
    /// Returns the file of the request, so that it can be closed.
    fn file_mut(&mut self) -> &mut File;
    /// Returns the queues in which the request waits for its turn, if it does.
    fn order(&self) -> &OrderQueues<Self>;
    /// Returns the table in which a canceller finds the request.
    fn cancel_table(shared: &Self::Shared) -> &CancelTable<Self>;
    /// Returns the list of kicked requests in which the request may be.
    fn run_list(shared: &Self::Shared) -> &RunList<Self>;
    /// Returns the workqueue to which the request is punted.
    fn workers(shared: &Self::Shared) -> &Queue;
    /// Cancels a request that was marked as cancelled while it ran, or while a provider had it.
    /// Returns whether the request has ended, or `None` if the provider does not give it back, so
    /// that the request goes on. Process context; the current task may be any task.
    fn cancel_elsewhere(shared: &Self::Shared) -> Option<bool>;
    /// Returns the pool that takes the memory of the request once the request has ended.
    fn pool(shared: &Self::Shared) -> &Pool<Self>;
}

/// A request in memory.
///
/// # Invariants
///
/// - Only the owner of the request (the module's documentation says which value that is) touches
///   `iocb`, `marks` and `data`. No code changes `shared` and `key` once the request has started;
///   from then on any thread that has a reference may read them.
/// - `iocb` is initialised while `data` is. Its `ki_filp` is the file of `R::file`, or null once
///   [`Active::close_file`] has closed that. Its `ki_complete` is that of `request::issue` for `R`.
/// - `data` and `shared` are initialised if and only if `marks.filled` is set. It is set in each
///   request except a [`pool::FreeRequest`] and a light request.
/// - The request is on a wait queue (`polls`) only while it is PARKED or QUEUED, or while the token
///   holder arms or disarms.
/// - Of each kind of list, the request is only ever in the one that its `R` returns. It is in a
///   queue of its order if and only if `marks.in_order` is set.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub(crate) struct RequestInner<R: Request> {
    iocb: Opaque<bindings::kiocb>,
    #[pin]
    work: Work<RequestInner<R>>,
    #[pin]
    polls: PollEntries,
    #[pin]
    run_links: ListLinks<RUN>,
    #[pin]
    cancel_links: ListLinks<CANCEL>,
    #[pin]
    run_tracker: AtomicTracker<RUN>,
    #[pin]
    cancel_tracker: AtomicTracker<CANCEL>,
    state: State<AtomicWord>,
    /// In which part of the run list the request is. Changes only under the lock of the run list.
    wakes_workers: AtomicFlag,
    marks: UnsafeCell<Marks>,
    /// The links in a queue of the order, while `marks.in_order` is set. The lock of the order
    /// guards them.
    order_links: OrderLinks,
    /// The number by which a canceller finds the request in the cancel table.
    key: UnsafeCell<u64>,
    data: UnsafeCell<MaybeUninit<R>>,
    shared: UnsafeCell<MaybeUninit<R::Shared>>,
}

/// What the owner knows about a request.
#[derive(Clone, Copy, Default)]
struct Marks {
    /// `data` and `shared` are initialised.
    filled: bool,
    /// The request may be in the cancel table.
    listed: bool,
    /// The request is in a queue of its order.
    in_order: bool,
}

// SAFETY: only the one owner of the request touches `iocb`, `marks` and `data`. `R`, which is
// `Send`, and `R::Light`, which is `Send`, may go from thread to thread with the owner. `R::Shared`
// is `Send` and `Sync`. `key` is an integer. The other fields are made to be used from any thread.
unsafe impl<R: Request> Send for RequestInner<R> {}
// SAFETY: the type's invariants let threads that share a request read `shared`, which is `Sync`,
// and `key`, which no code changes any more. The lock of the order guards `order_links`. The other
// fields are for the one owner, or are made to be shared. The owner may share `data`, since `R` and
// `R::Light` are `Sync`.
unsafe impl<R: Request> Sync for RequestInner<R> {}

impl_has_work! {
    impl{R: Request} HasWork<RequestInner<R>> for RequestInner<R> { self.work }
}

impl_list_arc_safe! {
    impl{R: Request} ListArcSafe<0> for RequestInner<R> { tracked_by run_tracker: AtomicTracker<0>; }
    impl{R: Request} ListArcSafe<1> for RequestInner<R> { tracked_by cancel_tracker: AtomicTracker<1>; }
}

impl_list_item! {
    impl{R: Request} ListItem<0> for RequestInner<R> { using ListLinks { self.run_links }; }
    impl{R: Request} ListItem<1> for RequestInner<R> { using ListLinks { self.cancel_links }; }
}

impl<R: Request> WorkItem for RequestInner<R> {
    type Pointer = Job<Self>;

    fn run(job: Job<Self>) {
        let (this, kworker) = job.begin();
        if let Some(active) = QueuedRequest::new(this).claim() {
            R::retry(active, kworker);
        }
    }
}

impl<R: Request> Polled for RequestInner<R> {
    type Owner = QueuedRequest<R>;

    fn take_kicked(&self) -> Option<QueuedRequest<R>> {
        (self.state.kick() == Kick::Queue).then(|| self.take_parked())
    }

    fn hand_over(owner: QueuedRequest<R>, events: u32) {
        match events {
            0 => R::kicked(owner),
            events => R::woken(owner, events),
        }
    }

    fn polls(&self) -> &PollEntries {
        &self.polls
    }
}

impl<R: Request> RequestInner<R> {
    /// Returns the ownership of a request that the caller has just taken out of PARKED.
    ///
    /// The caller calls this once after [`State::kick`] returned [`Kick::Queue`], or
    /// [`State::cancel`] returned `Cancel::Take`.
    fn take_parked(&self) -> QueuedRequest<R> {
        // SAFETY: `Active::park` left one reference, which `Arc::into_raw` made, to the caller that
        // takes the request out of PARKED. The compare-and-exchange of `State` lets one caller do
        // so.
        QueuedRequest::new(unsafe { Arc::from_raw(self) })
    }

    /// Notes that the token holder runs a call that may not give the token back.
    fn begin_issue(&self) {
        self.state.begin_issue();
    }

    /// Notes that the call did not give the token back.
    fn set_in_flight(&self) {
        self.state.left();
    }

    /// Returns whether the request is marked as cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.state.is_cancelled()
    }

    /// Returns memory in which the token holder may keep what else it waits for, or `None` if the
    /// request is on wait queues of its file.
    fn spare<T>(&self) -> Option<*mut T> {
        self.polls.spare()
    }

    /// Returns the part of the run list in which the request is.
    fn next(&self) -> Next {
        match self.wakes_workers.load(Relaxed) {
            true => Next::WakeWorkers,
            false => Next::Run,
        }
    }

    /// Notes in which part of the run list the request is. The caller holds the lock of the list.
    fn set_next(&self, next: Next) {
        self.wakes_workers.store(next == Next::WakeWorkers, Relaxed);
    }
}
