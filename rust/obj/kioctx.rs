// SPDX-License-Identifier: GPL-2.0

//! The context: `struct kioctx` of fs/aio.c.
//!
//! Who holds it: the table of its open file while it is alive, its ring's file (and so the mapping
//! and every request, `sys::lease`), and calls that found it. It ends once, in [`Kioctx::kill`]:
//! io_destroy(2), close of the device, munmap of the ring, exec or exit, whichever comes first.

use core::mem::size_of;

use kernel::{
    impl_has_work, new_work,
    page::PAGE_SIZE,
    prelude::*,
    static_assert,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            AtomicFlag,
            Full,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    workqueue::Work,
};

use crate::{
    obj::{
        kiocb::Kiocb,
        table::Table,
        tray::Tray,
        user::UserCharge, //
    },
    pure::ring::Geometry,
    ring::Ring,
    sys::{
        lease::{
            self,
            Lease,
            Leased,
            Leases, //
        },
        lists::{
            Index,
            Next,
            Order,
            RunList, //
        },
        lock::{
            new_irq_lock,
            IrqLock, //
        },
        mm::{
            self,
            Mm, //
        },
        pages::SharedPages,
        request::{
            Pool,
            Queued, //
        },
        ring_file::{
            self,
            Mapped, //
        },
        submitter::Submitter,
        task::Program,
        task_cell::TaskCell,
        wait::{
            WaitQueue,
            Woken, //
        },
    },
};

/// The work items of a context.
pub(crate) const KICK: u64 = 0;
pub(crate) const HAND_ON: u64 = 1;

/// Requests of which a context keeps the memory. With KASAN it gives most of it back, so that its use
/// after that is seen.
const POOL: u32 = if cfg!(CONFIG_KASAN) { 1 } else { 512 };

#[pin_data]
pub(crate) struct Kioctx {
    /// Given back when it was killed and no request is left. Before the table, which keeps its user.
    #[pin]
    charge: IrqLock<Option<UserCharge>>,
    /// The mm that made it and alone may use it.
    mm: Mm,
    /// Whose exit waits for it.
    owner: Program,
    /// The open file through which it was made.
    table: Arc<Table>,
    /// The id: where the ring is mapped; 0 if it is not, or not any more.
    user_id: Atomic<usize>,
    dead: AtomicFlag,
    /// The mapping that `new` makes has been made.
    mapped: AtomicFlag,
    #[pin]
    ring: Ring,
    /// Callers of getevents and destroy.
    #[pin]
    wait: WaitQueue,
    /// Requests that can be cancelled.
    #[pin]
    index: Index<Kiocb>,
    /// Requests that wait for the same file to be ready.
    #[pin]
    order: Order<Kiocb>,
    /// Memory for requests.
    #[pin]
    pool: Pool<Kiocb>,
    /// Of who submits, if that is one at a time.
    tray: TaskCell<Tray>,
    /// Who submitted last: most often it is the same one.
    #[pin]
    submitter: IrqLock<Option<Submitter>>,
    /// Kicked and deferred requests, and the work items of those who look at it: the kick handler,
    /// and who wakes workers, which must not wait for a kick handler that waits for a page fault.
    #[pin]
    run_list: RunList<Kiocb>,
    /// Who sleeps in getevents, and looks at the run list when woken.
    helpers: Atomic<u32>,
    #[pin]
    kick_work: Work<Kioctx, KICK>,
    #[pin]
    hand_on_work: Work<Kioctx, HAND_ON>,
    /// One out for each request and some for each submit call, and one until [`Self::kill`].
    leases: Leases,
}

impl_has_work! {
    impl HasWork<Kioctx, 0> for Kioctx { self.kick_work }
    impl HasWork<Kioctx, 1> for Kioctx { self.hand_on_work }
}

impl Kioctx {
    /// Makes a context for the current task and maps its ring. The caller puts it into the table.
    ///
    /// `EINVAL`: an absurd number; `EAGAIN`: over the limit; `ENOMEM`.
    pub(crate) fn new(table: Arc<Table>, nr_events: u32) -> Result<Arc<Self>> {
        let geometry = Geometry::for_requests(nr_events, PAGE_SIZE).ok_or(EINVAL)?;
        let charge = table.user().charge(nr_events)?;
        let ring = Ring::new(geometry)?;
        let index = Index::new(geometry.capacity())?;
        let order = Order::new(geometry.capacity())?;
        let pool = Pool::new(geometry.capacity().min(POOL) as usize)?;
        let mm = Mm::current()?;
        let ctx = Arc::pin_init(
            try_pin_init!(Self {
                charge <- new_irq_lock!(Some(charge), "kaio_charge"),
                mm,
                owner: Program::current(),
                table,
                user_id: Atomic::new(0),
                dead: AtomicFlag::new(false),
                mapped: AtomicFlag::new(false),
                ring <- ring,
                wait <- WaitQueue::new(),
                index <- index,
                order <- order,
                pool <- pool,
                tray: TaskCell::new(Tray::new()),
                submitter <- new_irq_lock!(None, "kaio_submitter"),
                run_list <- RunList::new(),
                helpers: Atomic::new(0),
                kick_work <- new_work!("kaio kick handler"),
                hand_on_work <- new_work!("kaio hand on"),
                leases: Leases::new(),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?;
        ring_file::create(&ctx)?;
        if let Err(e) = ring_file::map(&*ctx) {
            ctx.kill();
            return Err(e);
        }
        Ok(ctx)
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(crate) fn wait(&self) -> &WaitQueue {
        &self.wait
    }

    pub(crate) fn index(&self) -> &Index<Kiocb> {
        &self.index
    }

    pub(crate) fn run_list(&self) -> &RunList<Kiocb> {
        &self.run_list
    }

    pub(crate) fn order(&self) -> &Order<Kiocb> {
        &self.order
    }

    pub(crate) fn pool(&self) -> &Pool<Kiocb> {
        &self.pool
    }

    pub(crate) fn tray(&self) -> &TaskCell<Tray> {
        &self.tray
    }

    /// The current task, as the submitter of requests.
    pub(crate) fn submitter(&self) -> Result<Submitter> {
        let last = self.submitter.lock().clone();
        let now = Submitter::current(last.as_ref())?;
        if !last.is_some_and(|last| last.is(&now)) {
            let old = self.submitter.lock().replace(now.clone());
            // Not under the lock.
            drop(old);
        }
        Ok(now)
    }

    /// Puts a request on the run list, and has it looked at. Any context.
    pub(crate) fn enqueue(lease: &Lease<Self>, queued: Queued<Kiocb>, next: Next) {
        if lease.run_list.push(queued, next) {
            Self::schedule(lease, next);
        }
    }

    /// Has the run list looked at: what was kicked by who waits for it, if somebody does, in its own
    /// memory and without the way to a kworker; `exec::help`.
    fn schedule(lease: &Lease<Self>, next: Next) {
        // Fully ordered, as the end of `Self::sleep` is: who is still seen here looks after us.
        if next == Next::Run && lease.helpers.fetch_add(0u32, Full) > 0 {
            lease.wait.wake();
        } else {
            Self::schedule_worker(lease, next);
        }
    }

    /// Waits for `ready()`, or if it `helps` for something on the run list, at which the caller then
    /// looks.
    pub(crate) fn sleep(&self, helps: bool, timeout_ns: i64, ready: impl Fn() -> bool) -> Woken {
        if !helps {
            return self.wait.wait(timeout_ns, ready);
        }
        self.helpers.add(1u32, Relaxed);
        let woken = self
            .wait
            .wait(timeout_ns, || ready() || !self.run_list.is_empty(Next::Run));
        self.helpers.fetch_sub(1u32, Full);
        woken
    }

    /// Has a kworker look at the run list, until there is nothing on it.
    pub(crate) fn schedule_worker(lease: &Lease<Self>, next: Next) {
        let user = lease.table.user();
        // If it was scheduled already it will look. The lease sees to it that the reference which
        // then comes back is not the last.
        let _ = match next {
            Next::Run => user.kick_queue().enqueue::<_, KICK>(lease.object()),
            // Not there: kick handlers may wait for page faults.
            Next::HandOn => user.work_queue().enqueue::<_, HAND_ON>(lease.object()),
        };
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) fn mm(&self) -> &Mm {
        &self.mm
    }

    pub(crate) fn user_id(&self) -> usize {
        self.user_id.load(Acquire)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Acquire)
    }

    /// Whether this is the context that the current task means by `id`.
    pub(crate) fn is(&self, id: usize) -> bool {
        id != 0 && self.user_id() == id && !self.is_dead() && self.mm.is_current()
    }

    /// Ends the context: nobody finds it any more, sleepers wake, what is parked is cancelled,
    /// what is in flight goes on. `false`: it had ended. Does not wait; may be called under the
    /// mmap lock.
    pub(crate) fn kill(&self) -> bool {
        if self.dead.xchg(true, Full) {
            return false;
        }
        self.table.remove(self);
        self.wait.wake();
        self.index.close();
        // Nobody will be asked for again: what it holds need not be kept.
        let submitter = self.submitter.lock().take();
        drop(submitter);
        lease::retire(self);
        true
    }

    /// Unmaps the ring of a killed context, if the current task can.
    pub(crate) fn unmap(&self) {
        let id = self.user_id();
        if id != 0 && self.mm.is_current() {
            mm::unmap(id, self.ring.pages().len());
        }
    }

    /// No request of a killed context is left.
    pub(crate) fn is_drained(&self) -> bool {
        self.leases.are_gone()
    }

    pub(crate) fn owner(&self) -> Program {
        self.owner
    }

    /// Waits until no request of a killed context is left. `EINTR`: a fatal signal came.
    pub(crate) fn drain(&self) -> Result {
        if !self.wait.wait_killable(|| self.is_drained()) {
            return Err(EINTR);
        }
        Ok(())
    }

    /// As before, but for so many seconds at most, whatever signal comes.
    pub(crate) fn drain_patiently(&self, seconds: u32) {
        self.wait.wait_patiently(seconds, || self.is_drained());
    }
}

impl Leased for Kioctx {
    fn leases(&self) -> &Leases {
        &self.leases
    }

    fn drained(&self) {
        let charge = self.charge.lock().take();
        // The table keeps the user: this is not the last reference to it.
        drop(charge);
        self.wait.wake();
    }
}

impl Mapped for Kioctx {
    fn pages(&self) -> &SharedPages {
        self.ring.pages()
    }

    fn mm(&self) -> &Mm {
        &self.mm
    }

    fn take_mapping(&self) -> bool {
        !self.mapped.xchg(true, Full)
    }

    fn moved(&self, start: usize) -> Result {
        // The mmap lock keeps moves apart.
        self.user_id.store(start, Release);
        Ok(())
    }

    fn unmapped(&self, start: usize) {
        if self.user_id.load(Relaxed) == start {
            // Who ends the context may wait before it unmaps: by then other memory may be there.
            self.user_id.store(0, Release);
            self.kill();
        }
    }
}

// With its reference count it fits into what the allocator has for a kilobyte.
static_assert!(cfg!(CONFIG_LOCKDEP) || size_of::<Kioctx>() <= 1024 - 8);
