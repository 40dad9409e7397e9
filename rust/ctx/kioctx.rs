// SPDX-License-Identifier: GPL-2.0

//! The context.
//!
//! The counterpart of `struct kioctx` of fs/aio.c. References to a context have the table of its
//! open file while the context is alive, the file of its ring (and so the mapping and every
//! request, `sys::lease`), and the calls that have found it.
//!
//! Invariants: a context ends once, in [`Kioctx::kill`], which io_destroy(2), the close of the
//! device, munmap of the ring, exec or exit calls, whichever comes first. The last lease closes the
//! ring's file, so the context is destroyed in process context. A context fits into 1024 bytes.

mod end;
mod schedule;

use core::mem::size_of;

use kernel::{
    impl_has_work,
    new_work,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            AtomicFlag, //
        },
        Arc,
        UniqueArc, //
    },
    workqueue::Work, //
};

use super::{
    kiocb::Kiocb,
    process::Process,
    queues::Queues,
    ring::Ring,
    submit_state::SubmitState,
    table::Table,
    user::UserCharge, //
};
use crate::{
    pure::ring::Geometry,
    request::{
        cancel_table::CancelTable,
        order::OrderQueues,
        pool::Pool,
        run_list::RunList, //
    },
    sys::{
        lease::{
            Lease,
            Leases, //
        },
        lock::{
            new_irq_lock,
            IrqLock, //
        },
        mm::Mm,
        ring_file,
        submitter::Submitter,
        task::FilesOwner,
        task_local::TaskLocal,
        wait::WaitQueue, //
    },
};

/// The numbers of the work items of a context.
pub(crate) const KICK: u64 = 0;
pub(crate) const WAKE_WORKERS: u64 = 1;

/// The number of requests whose memory a context keeps. With KASAN it keeps one, so that KASAN sees
/// a use after free.
const POOL: u32 = if cfg!(CONFIG_KASAN) { 1 } else { 512 };

/// What a context gives up when it is killed.
#[derive(Default)]
struct UntilKilled {
    /// The task that submitted last, because the same task most often submits next.
    submitter: Option<Submitter>,
    /// Keeps the ring's file, and so the context, until the context is killed.
    lease: Option<Lease<Kioctx>>,
}

/// A context.
#[pin_data]
pub(crate) struct Kioctx {
    /// The charge of the user, given back when the context was killed and no request is left.
    /// Before `table`, which keeps the user.
    #[pin]
    charge: IrqLock<Option<UserCharge>>,
    /// The workqueues of the user. Before `table`, which keeps the user: this is not the last
    /// reference to them.
    queues: Arc<Queues>,
    /// The mm that made the context, and the only one that may use it.
    mm: Mm,
    /// The process that made the context, whose exit waits for its requests.
    process: Arc<Process>,
    /// The open file through which the context was made.
    table: Arc<Table>,
    /// The address at which the ring is mapped, which is the id of the context; 0 if the ring is
    /// not mapped.
    ring_address: Atomic<usize>,
    dead: AtomicFlag,
    /// No request is left, and the charge was given back.
    drained: AtomicFlag,
    /// The kick handler waits for the memory of the request that it runs.
    stalled: AtomicFlag,
    /// The mapping that `new` makes has been made.
    mapped: AtomicFlag,
    #[pin]
    ring: Ring,
    /// Tasks in getevents and destroy sleep here.
    #[pin]
    wait: WaitQueue,
    /// Requests that can be cancelled.
    #[pin]
    cancel_table: CancelTable<Kiocb>,
    /// Requests that wait for the same file to be ready.
    #[pin]
    order: OrderQueues<Kiocb>,
    /// Memory for requests.
    #[pin]
    pool: Pool<Kiocb>,
    /// Submission state, owned by the first concurrent submitter.
    state: TaskLocal<SubmitState>,
    #[pin]
    until_killed: IrqLock<UntilKilled>,
    /// Kicked and punted requests. Two work items look at the list: the kick handler, and one that
    /// wakes workers. The latter must not wait for a kick handler that waits for a page fault.
    #[pin]
    run_list: RunList<Kiocb>,
    /// The number of tasks that sleep in getevents and look at the run list when woken.
    inline_runners: Atomic<u32>,
    /// The number of POLLs that have ended in wake-ups since the last submit call.
    ended_in_wake_ups: Atomic<u32>,
    #[pin]
    kick_work: Work<Kioctx, KICK>,
    #[pin]
    wake_workers_work: Work<Kioctx, WAKE_WORKERS>,
    /// Each request has a lease or two, each submit call has some, and `until_killed` has one.
    leases: Leases,
}

impl_has_work! {
    impl HasWork<Kioctx, 0> for Kioctx { self.kick_work }
    impl HasWork<Kioctx, 1> for Kioctx { self.wake_workers_work }
}

impl Kioctx {
    /// Makes a context for the current task and maps its ring. The caller puts the context into the
    /// table.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `nr_events` is 0 or absurdly large; `EAGAIN` if the limit of the system or of
    /// the user is reached; `ENOMEM`.
    pub(crate) fn new(table: Arc<Table>, nr_events: u32) -> Result<Arc<Self>> {
        let geometry = Geometry::for_requests(nr_events, PAGE_SIZE).ok_or(EINVAL)?;
        let (charge, queues) = table.user().charge(nr_events, geometry.capacity())?;
        // The context holds no more requests than the user was charged for.
        let capacity = charge.nr();
        let ring = Ring::new(geometry, capacity)?;
        let cancel_table = CancelTable::new(capacity)?;
        let pool = Pool::new(capacity.min(POOL) as usize)?;
        let mm = Mm::current()?;
        let process = table.process()?;
        let ctx = UniqueArc::pin_init(
            try_pin_init!(Self {
                charge <- new_irq_lock!(Some(charge), "kaio_charge"),
                queues,
                mm,
                process,
                table,
                ring_address: Atomic::new(0),
                dead: AtomicFlag::new(false),
                drained: AtomicFlag::new(false),
                stalled: AtomicFlag::new(false),
                mapped: AtomicFlag::new(false),
                ring <- ring,
                wait <- WaitQueue::new(),
                cancel_table <- cancel_table,
                order <- OrderQueues::new(),
                pool <- pool,
                state: TaskLocal::new(SubmitState::new()),
                until_killed <- new_irq_lock!(UntilKilled::default(), "kaio_until_killed"),
                run_list <- RunList::new(),
                inline_runners: Atomic::new(0),
                ended_in_wake_ups: Atomic::new(0),
                kick_work <- new_work!("kaio kick handler"),
                wake_workers_work <- new_work!("kaio wake workers"),
                leases: Leases::new(),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?;
        let (ctx, lease) = ring_file::create(ctx)?;
        // Keep the lease before there is a mapping, because the end of the mapping kills the
        // context.
        ctx.until_killed.lock().lease = Some(lease.clone());
        if let Err(e) = ring_file::map(&lease) {
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

    pub(crate) fn cancel_table(&self) -> &CancelTable<Kiocb> {
        &self.cancel_table
    }

    pub(crate) fn run_list(&self) -> &RunList<Kiocb> {
        &self.run_list
    }

    pub(crate) fn order(&self) -> &OrderQueues<Kiocb> {
        &self.order
    }

    pub(crate) fn pool(&self) -> &Pool<Kiocb> {
        &self.pool
    }

    pub(crate) fn submit_state(&self) -> &TaskLocal<SubmitState> {
        &self.state
    }

    /// Returns whether writes to the file of `identity` are left to workers, so that a later write
    /// must come after them.
    pub(crate) fn has_writes_in_line(&self, identity: usize) -> bool {
        self.table.user().writes().is_busy(identity)
    }

    /// Returns the current task as the submitter of requests. `ENOMEM` if there is no memory for
    /// it.
    pub(crate) fn submitter(&self) -> Result<Submitter> {
        let last = self.until_killed.lock().submitter.clone();
        let now = Submitter::current(last.as_ref())?;
        if !last.is_some_and(|last| last.is(&now)) {
            let old = self.until_killed.lock().submitter.replace(now.clone());
            // Drop the old one outside the lock.
            drop(old);
        }
        Ok(now)
    }

    pub(crate) fn queues(&self) -> &Queues {
        &self.queues
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) fn mm(&self) -> &Mm {
        &self.mm
    }

    pub(crate) fn ring_address(&self) -> usize {
        self.ring_address.load(Acquire)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Acquire)
    }

    /// Returns whether `id` names this context for the current task.
    pub(crate) fn has_id(&self, id: usize) -> bool {
        id != 0 && self.ring_address() == id && !self.is_dead() && self.mm.is_current()
    }

    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.process
    }

    pub(crate) fn owner(&self) -> FilesOwner {
        self.process.owner()
    }

    /// Returns whether no task waits for the requests of the context any more: the context has
    /// ended, or its process ended so long ago that they are given up.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.is_dead() || self.process.is_expired()
    }
}

// With its reference count, a context fits into the allocator's class of 1024 bytes. With
// PREEMPT_RT a spinlock is an rt_mutex of 32 bytes, and not a word. The locks then make a context
// so large that the allocator takes it from the class of two kilobytes: each context costs one
// kilobyte more, besides the pages of its ring.
const _: () = {
    /// Includes the locks of the parts of a context and of its wait queue.
    const NR_LOCKS: usize = 8;
    const LOCK_GROWTH: usize = size_of::<IrqLock<()>>() - size_of::<u32>();
    assert!(cfg!(CONFIG_LOCKDEP) || size_of::<Kioctx>() <= 1024 - 8 + NR_LOCKS * LOCK_GROWTH);
};
