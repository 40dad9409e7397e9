// SPDX-License-Identifier: GPL-2.0

//! A request and the one right to finish it.
//!
//! [`Tracked`] is the allocation: the kernel's `struct kiocb` first (so that a driver's pointer
//! leads back to it), work item, poll entries, state, and the data of type `R` that only the owner
//! touches. There is one owner at a time, and it is a value that cannot be cloned:
//!
//! * [`Active`], the token, while it runs: consumed by [`Active::finish`], cancels the request if it
//!   is dropped.
//! * [`Queued`], while it is in a queue or on the way there; [`Queued::claim`] makes it a token.
//! * nobody, while it is PARKED: whoever wins [`State::kick`] or [`State::cancel`] becomes owner.
//! * nobody, while a driver or a page has it: `ki_complete`, or the page's wake-up, makes the token
//!   again (`sys::iocb`).
//!
//! Locks: those of `sys::lists` are taken with none of ours held but the table's mutex, and only
//! one at a time. A kick may come under any lock of the kernel's; it takes the run list's lock and
//! the workqueue's, which nest inside everything.

use core::{
    cell::UnsafeCell,
    mem::{
        ManuallyDrop,
        MaybeUninit, //
    },
    pin::Pin,
    ptr, //
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
    new_work,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            AtomicFlag,
            Full,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        UniqueArc, //
    },
    types::Opaque,
    workqueue::{
        HasWork,
        Queue,
        Work,
        WorkItem, //
    },
};

use super::{
    few::Few,
    file::File,
    lists::{
        Index,
        Next,
        Order,
        RunList,
        INDEX,
        ORDER,
        RUN, //
    },
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
    Cancel,
    Kick,
    Spare,
    State,
    Word, //
};

/// What a request is made of, and what happens to it.
pub(crate) trait Request: Send + Sync + Sized + 'static {
    /// The token was dropped: ends the request as cancelled. Must call [`Active::finish`]. Any
    /// context.
    fn cancelled(active: Active<Self>);
    /// A driver has finished the attempt in hand with `ret`. Any context, hard interrupt included.
    fn driver_done(active: Active<Self>, ret: isize);
    /// It was parked and is kicked: must be queued. Any context, under any lock of the kernel's.
    fn kicked(queued: Queued<Self>);
    /// A worker's turn, to which [`Active::defer`] gave it: process context.
    fn retry(active: Active<Self>);
    /// The file it is about.
    fn file(&self) -> &File;
    /// Through which it is found to be cancelled.
    fn index(&self) -> &Index<Self>;
    /// Where it waits for its turn, if it does.
    fn order(&self) -> &Order<Self>;
    /// The queue of kicked requests that it may be in.
    fn run_list(&self) -> &RunList<Self>;
    /// Whose workers it is deferred to.
    fn workers(&self) -> &Queue;
    /// It was marked as cancelled while it ran, or somebody outside had it who can be asked for it:
    /// whether it has ended, `None` if it goes on. Process context; the caller may be anybody.
    fn cancel_elsewhere(&self) -> Option<bool>;
    /// What keeps [`Self::pool`].
    type Home;
    fn home(&self) -> Self::Home;
    /// Where its memory goes when it has ended.
    fn pool(home: &Self::Home) -> &Pool<Self>;
}

/// A word of the kernel's, for a state or a count.
pub(crate) struct Cell(Atomic<u32>);

impl Cell {
    /// 0.
    pub(crate) const fn new() -> Self {
        Self::of(0)
    }

    pub(crate) const fn of(value: u32) -> Self {
        Self(Atomic::new(value))
    }
}

impl Word for Cell {
    fn load(&self) -> u32 {
        self.0.load(Acquire)
    }

    fn swap_if(&self, old: u32, new: u32) -> Result<(), u32> {
        self.0.cmpxchg(old, new, Full).map(|_| ())
    }

    fn set(&self, value: u32) {
        self.0.store(value, Relaxed);
    }
}

/// A request in memory.
///
/// # Invariants
///
/// - Only its owner (see above) touches `iocb`, `marks` and `data`; but what `R::index`,
///   `order`, `run_list`, `workers` and `cancel_elsewhere` look at never changes, and is for everybody,
///   as is `key`.
/// - `data` is there if `marks` say that it is filled: always, but in a [`Blank`].
/// - It is on a wait queue (`polls`) only while PARKED or QUEUED, or while the token holder arms or
///   disarms.
/// - Of each kind of list it is in no other than the one its `R` gives out.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub(crate) struct Tracked<R: Request> {
    pub(super) iocb: Opaque<bindings::kiocb>,
    #[pin]
    work: Work<Tracked<R>>,
    #[pin]
    polls: PollEntries,
    #[pin]
    run_links: ListLinks<RUN>,
    #[pin]
    index_links: ListLinks<INDEX>,
    #[pin]
    order_links: ListLinks<ORDER>,
    #[pin]
    run_tracker: AtomicTracker<RUN>,
    #[pin]
    index_tracker: AtomicTracker<INDEX>,
    #[pin]
    order_tracker: AtomicTracker<ORDER>,
    state: State<Cell>,
    /// Which part of the run list it is in. Under the run list's lock.
    to_hand_on: AtomicFlag,
    /// What it keeps an order with, while it is in a line. Written by the owner.
    stream: Atomic<usize>,
    marks: UnsafeCell<Marks>,
    /// By which it is found in the index.
    key: UnsafeCell<u64>,
    data: UnsafeCell<MaybeUninit<R>>,
}

#[pinned_drop]
impl<R: Request> PinnedDrop for Tracked<R> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: nobody else is left; what is filled in is initialised, and goes here.
        unsafe {
            if (*self.marks.get()).filled {
                ptr::drop_in_place(self.data());
            }
        }
    }
}

/// Where the owner has put it.
#[derive(Clone, Copy, Default)]
struct Marks {
    /// It is about something.
    filled: bool,
    /// It may be in the index.
    listed: bool,
    /// It is in a line of its order.
    in_line: bool,
}

// SAFETY: `iocb`, `marks` and `data` are touched by the one owner only (what `R` shares is
// `Sync`), the rest is made for sharing.
unsafe impl<R: Request> Send for Tracked<R> {}
// SAFETY: as above.
unsafe impl<R: Request> Sync for Tracked<R> {}

impl_has_work! {
    impl{R: Request} HasWork<Tracked<R>> for Tracked<R> { self.work }
}

impl_list_arc_safe! {
    impl{R: Request} ListArcSafe<0> for Tracked<R> { tracked_by run_tracker: AtomicTracker<0>; }
    impl{R: Request} ListArcSafe<1> for Tracked<R> { tracked_by index_tracker: AtomicTracker<1>; }
    impl{R: Request} ListArcSafe<2> for Tracked<R> { tracked_by order_tracker: AtomicTracker<2>; }
}

impl_list_item! {
    impl{R: Request} ListItem<0> for Tracked<R> { using ListLinks { self.run_links }; }
    impl{R: Request} ListItem<1> for Tracked<R> { using ListLinks { self.index_links }; }
    impl{R: Request} ListItem<2> for Tracked<R> { using ListLinks { self.order_links }; }
}

impl<R: Request> WorkItem for Tracked<R> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if let Some(active) = Queued(this).claim() {
            R::retry(active);
        }
    }
}

impl<R: Request> Polled for Tracked<R> {
    fn kick(&self) {
        if self.state.kick() == Kick::Queue {
            R::kicked(self.left());
        }
    }

    fn polls(&self) -> &PollEntries {
        &self.polls
    }
}

impl<R: Request> Tracked<R> {
    /// What parking left: to be called once, by whoever took the request out of PARKED.
    fn left(&self) -> Queued<R> {
        // SAFETY: a parked request left one reference, which was made by `Arc::into_raw`, to whoever
        // takes it out of PARKED.
        Queued(unsafe { Arc::from_raw(self) })
    }

    fn data(&self) -> *mut R {
        self.data.get().cast()
    }

    /// For what `R` gives out to those who are not owners.
    fn shared(&self) -> &R {
        // SAFETY: by the invariant, these parts do not change as long as the request lives.
        unsafe { &*self.data() }
    }

    /// Before the token goes to a call that may not give it back, and after it did not.
    pub(super) fn lend(&self) {
        self.state.lend();
    }

    pub(super) fn left_away(&self) {
        self.state.left();
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.state.is_cancelled()
    }

    /// Memory for what else its owner waits for; `None` if it is on wait queues of its file.
    pub(super) fn spare<T>(&self) -> Option<*mut T> {
        self.polls.spare()
    }

    /// Who has the request outside does not give it up: it goes on, and may be cancelled again.
    pub(super) fn uncancel(&self) {
        self.state.uncancel();
    }

    pub(super) fn key(&self) -> u64 {
        // SAFETY: by the invariant, it does not change as long as the request lives.
        unsafe { *self.key.get() }
    }

    pub(super) fn next(&self) -> Next {
        match self.to_hand_on.load(Relaxed) {
            true => Next::HandOn,
            false => Next::Run,
        }
    }

    pub(super) fn set_next(&self, next: Next) {
        self.to_hand_on.store(next == Next::HandOn, Relaxed);
    }

    pub(super) fn stream(&self) -> usize {
        self.stream.load(Relaxed)
    }

    /// Marks it as cancelled; [`Self::carry_out`] does the rest.
    pub(super) fn cancel(&self, spare: Spare) -> Cancel {
        self.state.cancel(spare)
    }

    /// Ends a request that was marked as cancelled, if that can be done at once: if it was parked,
    /// or can be taken out of its queue, or who has it gives it back. Whether it has; `None`: it goes
    /// on as if nothing had happened. None of our spinlocks held.
    pub(super) fn carry_out(this: ArcBorrow<'_, Self>, cancel: Cancel) -> Option<bool> {
        let queued = match cancel {
            Cancel::Take => Some(this.left()),
            Cancel::Dequeue => Self::dequeue(this),
            Cancel::Remembered => {
                let ended = this.shared().cancel_elsewhere();
                if ended.is_none() {
                    this.uncancel();
                }
                return ended;
            }
            Cancel::Nothing => None,
        };
        // The token's drop ends it.
        Some(queued.and_then(Queued::claim).is_some())
    }

    /// Who asked for the request outside was refused. If its context ended meanwhile, that end found
    /// it marked, and left it to whoever had marked it: asks once more, for the end.
    pub(super) fn was_refused(this: ArcBorrow<'_, Self>) -> Option<bool> {
        if this.shared().index().is_open() {
            return None;
        }
        Self::carry_out(this, this.cancel(Spare::Pledged))
    }

    /// Takes a queued request out of whatever queue it is in. `None`: somebody has just done so, or
    /// is about to put it there.
    fn dequeue(this: ArcBorrow<'_, Self>) -> Option<Queued<R>> {
        if let Some(queued) = this.shared().run_list().remove(&this) {
            return Some(queued);
        }
        let raw: *const Self = &*this;
        // SAFETY: `raw` is valid, and its work item is initialised.
        let work = unsafe { Work::raw_get(Self::raw_get_work(raw.cast_mut())) };
        // SAFETY: as above. If the work was pending it is not any more, and what `enqueue` made of
        // the `Arc` with `Arc::into_raw` is ours.
        unsafe { bindings::cancel_work(work) }.then(|| Queued(unsafe { Arc::from_raw(raw) }))
    }
}

/// The ownership of a request that is QUEUED: whoever has it puts it into a queue, or claims it.
#[must_use = "a request that is dropped here never ends"]
pub(crate) struct Queued<R: Request>(Arc<Tracked<R>>);

impl<R: Request> Queued<R> {
    /// The data.
    pub(crate) fn view(&self) -> &R {
        // SAFETY: by the invariant, only we touch it.
        unsafe { &*self.0.data() }
    }

    /// Whether it waits for its turn in an order.
    pub(crate) fn in_order(&self) -> bool {
        // SAFETY: by the invariant, only we touch it.
        unsafe { (*self.0.marks.get()).in_line }
    }

    pub(super) fn into_arc(self) -> Arc<Tracked<R>> {
        self.0
    }

    /// `this` must have come out of a queue into which a `Queued` went.
    pub(super) fn from_arc(this: Arc<Tracked<R>>) -> Self {
        Self(this)
    }

    /// To a worker, who will call [`Request::retry`]. Any context.
    pub(crate) fn enqueue(self) {
        let this = self.0.clone();
        if let Err(back) = this.shared().workers().enqueue(self.0) {
            // The work item is idle whenever the request is in no queue, but for a moment if
            // somebody cancels it just now: cancel_work() finds nothing, and leaves the end to us.
            drop(Queued(back).claim());
            return;
        }
        // Who cancelled it a moment ago did not find it in the queue, and it may be a long one.
        if this.state.is_cancelled() {
            let _ = Tracked::carry_out(this.as_arc_borrow(), Cancel::Dequeue);
        }
    }

    /// The token; `None` would be a bug.
    pub(crate) fn claim(self) -> Option<Active<R>> {
        // A wake-up that comes before the entries are off is answered by the run that follows, and
        // one that comes later is for the next.
        self.0.polls.disarm();
        if !self.0.state.claim() {
            pr_warn!("a request ran that was not queued\n");
            return None;
        }
        // INVARIANT: the claim made the state RUNNING, so no other token exists.
        Some(Active(ManuallyDrop::new(self.0)))
    }
}

/// Memory for a request, with all made in it but what the request is about: to make it again each time
/// would take longer, and the allocator would clear and charge it.
///
/// # Invariants
///
/// Ours is the only reference; the request is in no list, on no wait queue, and not filled in.
pub(crate) struct Blank<R: Request>(Arc<Tracked<R>>);

impl<R: Request> Blank<R> {
    pub(crate) fn new() -> Result<Self> {
        let this = Arc::pin_init(
            pin_init!(Tracked {
                // `prep_iocb` fills it in, for those who need one.
                iocb: Opaque::uninit(),
                work <- new_work!("kaio request"),
                polls <- PollEntries::new(),
                run_links <- ListLinks::new(),
                index_links <- ListLinks::new(),
                order_links <- ListLinks::new(),
                run_tracker <- AtomicTracker::new(),
                index_tracker <- AtomicTracker::new(),
                order_tracker <- AtomicTracker::new(),
                state: State::new(Cell::new()),
                to_hand_on: AtomicFlag::new(false),
                marks: UnsafeCell::new(Marks::default()),
                stream: Atomic::new(0),
                key: UnsafeCell::new(0),
                data: UnsafeCell::new(MaybeUninit::uninit()),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        // INVARIANT: just made.
        Ok(Self(this))
    }

    /// What is left of a request that has ended, and is in no list and on no wait queue.
    fn of(ended: Pin<UniqueArc<Tracked<R>>>) -> Self {
        let this: Arc<Tracked<R>> = ended.into();
        // SAFETY: ours is the only reference; it is filled in, and goes here.
        unsafe {
            (*this.marks.get()).filled = false;
            ptr::drop_in_place(this.data());
        }
        // INVARIANT: as the caller says, and just emptied.
        Self(this)
    }
}

/// A request that is being filled in. Nobody else sees it; dropping it leaves no trace.
pub(crate) struct Prepared<R: Request>(Arc<Tracked<R>>);

impl<R: Request> Prepared<R> {
    /// Fills a request in; `key` is what it is cancelled by.
    #[inline]
    pub(crate) fn new(key: u64, blank: Blank<R>, data: impl Init<R>) -> Self {
        let this = blank.0;
        // SAFETY: ours is the only reference. The memory is for this, and nothing is in it.
        let Ok(()) = unsafe { data.__init(this.data()) };
        // SAFETY: as above.
        unsafe {
            *this.key.get() = key;
            *this.marks.get() = Marks {
                filled: true,
                ..Marks::default()
            };
        }
        this.state.renew();
        this.polls.renew();
        Self(this)
    }

    /// The request goes its way.
    pub(crate) fn start(self) -> Active<R> {
        // INVARIANT: the state is RUNNING from the beginning, and `self` was the only reference.
        Active(ManuallyDrop::new(self.0))
    }

    /// The data and the kernel's kiocb.
    pub(super) fn parts(&mut self) -> (&mut R, *mut bindings::kiocb) {
        // SAFETY: nobody else has a reference.
        (unsafe { &mut *self.0.data() }, self.0.iocb.get())
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
        unsafe { &mut *self.0.data() }
    }

    /// The data, to look at.
    pub(crate) fn view(&self) -> &R {
        // SAFETY: as above.
        unsafe { &*self.0.data() }
    }

    /// What it is cancelled by.
    pub(crate) fn key(&self) -> u64 {
        self.0.key()
    }

    /// Where we have put it.
    fn marks(&mut self) -> &mut Marks {
        // SAFETY: by the invariant, we are the only one who touches it.
        unsafe { &mut *self.0.marks.get() }
    }

    fn are_marked(&self) -> Marks {
        // SAFETY: as above.
        unsafe { *self.0.marks.get() }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.state.is_cancelled()
    }

    /// The poll events that woke it last; 0: nothing in particular.
    pub(crate) fn woken(&self) -> u32 {
        self.0.polls.woken()
    }

    /// It will be done even if its context ends.
    pub(crate) fn pledge(&mut self) {
        self.0.state.pledge();
    }

    /// Its context may end it.
    pub(crate) fn unpledge(&mut self) {
        self.0.state.unpledge();
    }

    /// A reference that keeps the request in memory, without any right to it.
    pub(super) fn keep(&self) -> Arc<Tracked<R>> {
        (*self.0).clone()
    }

    /// Leaves the token and its reference to somebody who makes it again.
    pub(super) fn leave(self) -> *const Tracked<R> {
        Arc::into_raw(self.into_arc())
    }

    fn into_arc(self) -> Arc<Tracked<R>> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used or dropped any more.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }

    /// Makes the token again.
    ///
    /// # Safety
    ///
    /// `raw` is what [`Self::leave`] gave, and this is the one call for it.
    pub(super) unsafe fn take(raw: *const Tracked<R>) -> Self {
        // SAFETY: the caller promises that `leave` left the reference to us.
        let this = unsafe { Arc::from_raw(raw) };
        this.state.give_back();
        Self(ManuallyDrop::new(this))
    }

    /// Somebody may find it, and is to know where the token is.
    pub(super) fn is_listed(&self) -> bool {
        self.are_marked().listed
    }

    /// To be put into a queue.
    pub(crate) fn queue(self) -> Queued<R> {
        self.0.state.queue();
        Queued(self.into_arc())
    }

    /// Hands the request to a worker.
    pub(crate) fn defer(self) {
        self.queue().enqueue();
    }

    /// As if it had been parked and kicked.
    pub(crate) fn kick(self) {
        R::kicked(self.queue());
    }

    /// Makes it known to those who cancel. `false`: its context has ended.
    pub(crate) fn list(&mut self) -> bool {
        if self.is_listed() {
            // Who closed it may have spared it then, and does not look again.
            return self.view().index().is_open();
        }
        let listed = self.view().index().add(&self.0);
        self.marks().listed = listed;
        listed
    }

    /// It can be cancelled no more.
    #[inline]
    pub(crate) fn unlist(&mut self) {
        if self.is_listed() {
            self.view().index().remove(&self.0);
            self.marks().listed = false;
        }
    }

    /// Gets in line for `stream`, which is not 0, if it has not yet. Whether it is its turn; if not
    /// a kick will say when it is.
    pub(crate) fn join(&mut self, stream: usize) -> bool {
        let new = !core::mem::replace(&mut self.marks().in_line, true);
        self.0.stream.store(stream, Relaxed);
        self.view().order().join(&self.0, new)
    }

    pub(crate) fn is_in_line(&self) -> bool {
        self.are_marked().in_line
    }

    /// Whether it is in a line and not at its head.
    pub(crate) fn waits_in_line(&self) -> bool {
        self.is_in_line() && !self.view().order().join(&self.0, false)
    }

    /// Those behind it in the line need not wait for it any more.
    #[inline]
    pub(crate) fn leave_line(&mut self) {
        if self.is_in_line() {
            self.view().order().leave(&self.0);
            self.0.stream.store(0, Relaxed);
            self.marks().in_line = false;
        }
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

    /// Leaves the request to the next kick. Gives it back if one has come during this run, or if
    /// it is too late to wait.
    pub(crate) fn park(mut self) -> Result<(), Self> {
        if !self.list() && !self.0.state.is_pledged() {
            self.0.cancel(Spare::Away);
        }
        if self.0.state.park() {
            // Whoever takes it out of PARKED has the token's reference.
            let _ = self.leave();
            return Ok(());
        }
        Err(self)
    }

    /// Nobody finds it any more, and nobody waits for it.
    pub(crate) fn withdraw(&mut self) {
        if self.is_fresh() {
            return;
        }
        self.0.polls.disarm();
        self.unlist();
        self.leave_line();
    }

    /// The end: no token can be made any more, and who is next in its line has its turn. The memory
    /// goes with the last reference.
    pub(crate) fn finish(mut self) {
        self.withdraw();
        if !self.0.state.done() {
            pr_warn!("a request completed twice\n");
        }
        Pool::give(self.into_arc());
    }

    /// Whether nobody else has to do with it any more: it is in no list, and on no wait queue.
    #[inline]
    pub(crate) fn is_fresh(&self) -> bool {
        let marks = self.are_marked();
        !marks.listed && !marks.in_line && !self.0.polls.are_armed()
    }

    /// The end of a request that is fresh; gives its memory, if nobody else looks at it.
    pub(crate) fn recycle(mut self) -> Option<Blank<R>> {
        self.withdraw();
        Arc::into_unique_or_drop(self.into_arc()).map(Blank::of)
    }
}

/// Memory of requests that have ended, for the next ones.
#[pin_data]
pub(crate) struct Pool<R: Request> {
    #[pin]
    free: IrqLock<KVec<Blank<R>>>,
}

/// How much of a [`Pool`] is taken at once.
const AT_ONCE: usize = 16;
/// How much a [`Shelf`] keeps. With KASAN little, so that its use after that is seen.
const SHELF: usize = if cfg!(CONFIG_KASAN) { 1 } else { 32 };

/// Memory of requests at hand.
pub(crate) type Shelf<R> = Few<Blank<R>, SHELF>;

impl<R: Request> Pool<R> {
    /// Keeps the memory of `len` requests at most.
    pub(crate) fn new(len: usize) -> Result<impl PinInit<Self>> {
        let free = KVec::with_capacity(len, GFP_KERNEL_ACCOUNT)?;
        Ok(pin_init!(Self {
            free <- new_irq_lock!(free, "kaio_pool"),
        }))
    }

    /// Gives up a reference to a request; if it was the last one, the request has ended, and its memory
    /// stays. Any context.
    pub(super) fn give(this: Arc<Tracked<R>>) {
        let Some(this) = Arc::into_unique_or_drop(this) else {
            return;
        };
        // What it holds goes, and that may be what keeps the pool.
        let home = this.shared().home();
        let blank = Blank::of(this);
        let full = R::pool(&home).free.lock().push_within_capacity(blank);
        // Not under the lock.
        drop(full);
    }

    /// Memory from `shelf`, which is filled up from here for `want` requests that are still to come.
    #[inline]
    pub(crate) fn take(&self, shelf: &mut Shelf<R>, want: usize) -> Option<Blank<R>> {
        if shelf.is_empty() {
            self.fill(shelf, want);
        }
        shelf.pop()
    }

    fn fill(&self, shelf: &mut Shelf<R>, want: usize) {
        let mut free = self.free.lock();
        for _ in 0..want.clamp(1, AT_ONCE) {
            let Some(blank) = free.pop() else {
                return;
            };
            if let Err(full) = shelf.push(blank) {
                // There was room for it.
                let _ = free.push_within_capacity(full);
                return;
            }
        }
    }

    /// Takes back what is on `shelf`.
    pub(crate) fn clear(&self, shelf: &mut Shelf<R>) {
        let mut full = None;
        let mut free = self.free.lock();
        while full.is_none() && !shelf.is_empty() {
            full = shelf
                .pop()
                .and_then(|blank| free.push_within_capacity(blank).err());
        }
        drop(free);
        // Not under the lock; nor is what is left on the shelf.
        drop(full);
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
    /// The poll events that the file had; an error if it cannot be waited for.
    pub(crate) fn mask(&self) -> Found {
        self.found
    }

    /// As [`Active::park`]; whoever takes the request out of PARKED takes the entries off.
    pub(crate) fn park(mut self, active: Active<R>) -> Result<(), Active<R>> {
        if !Arc::ptr_eq(&self.request, &active.0) {
            return Err(active);
        }
        active.park()?;
        self.parked = true;
        Ok(())
    }
}

impl<R: Request> Armed<R> {
    /// The token went to somebody else, whose it is now to take the entries off.
    pub(crate) fn leave(mut self) {
        self.parked = true;
    }
}

impl<R: Request> Drop for Armed<R> {
    fn drop(&mut self) {
        if !self.parked {
            self.request.polls.disarm();
        }
    }
}

/// For tests: somebody who kicks a request, or completes it as a driver does.
#[cfg(CONFIG_KAIO_KUNIT_TEST)]
pub(crate) struct Stranger<R: Request>(Arc<Tracked<R>>);

#[cfg(CONFIG_KAIO_KUNIT_TEST)]
impl<R: Request> Stranger<R> {
    pub(crate) fn of(active: &Active<R>) -> Self {
        Self(active.keep())
    }

    pub(crate) fn kick(&self) {
        Polled::kick(&*self.0);
    }

    /// Leaves the token with a driver; the driver's call is [`Self::complete`].
    pub(crate) fn give(&self, active: Active<R>) {
        let _ = active.leave();
    }

    /// Once for each [`Self::give`].
    pub(crate) fn complete(&self, ret: isize) {
        // SAFETY: the test has given the token to the driver, which we are.
        R::driver_done(unsafe { Active::take(&raw const *self.0) }, ret);
    }
}
