// SPDX-License-Identifier: GPL-2.0

//! The contexts of one open file of the device.
//!
//! The counterpart of `struct kioctx_table` of fs/aio.c, which belongs to an mm. Invariant: a
//! context is in `alive` until it is killed, and then in `ending` until no request of it is left.
//!
//! Lock: `contexts` is taken under the mmap lock when a ring is unmapped, so user memory must not
//! be touched while `contexts` is held.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        Instant,
        Monotonic, //
    },
};

use super::{
    kioctx::Kioctx,
    process::Process,
    stats::Stats,
    user::UserRef, //
};
use crate::sys::{
    lease::LeaseBatch,
    module,
    runners,
    task::{
        self,
        FilesOwner, //
    },
    wait::WaitQueue, //
};

/// The contexts of one open file, and what is known of the file.
#[pin_data]
pub(crate) struct Table {
    #[pin]
    contexts: Mutex<Contexts>,
    /// Tasks that poll the device.
    #[pin]
    readers: WaitQueue,
    /// The user that opened the device.
    user: UserRef,
    pub(crate) stats: Stats,
}

struct Contexts {
    alive: KVVec<Arc<Kioctx>>,
    /// Contexts that were killed and may have requests in flight, for tasks that must wait for
    /// those.
    ending: KVVec<Arc<Kioctx>>,
    /// The last descriptor was closed.
    closed: bool,
}

impl Table {
    /// Makes the table of a file that `user` opens. `ENOMEM`.
    pub(crate) fn new(user: UserRef) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                contexts <- new_mutex!(
                    Contexts {
                        alive: KVVec::new(),
                        ending: KVVec::new(),
                        closed: false,
                    },
                    "kaio_table"
                ),
                readers <- WaitQueue::of_device(),
                user,
                stats: Stats::new(),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    pub(crate) fn user(&self) -> &UserRef {
        &self.user
    }

    pub(crate) fn readers(&self) -> &WaitQueue {
        &self.readers
    }

    /// Returns what the contexts that the current process makes through this file share. `ENOMEM`,
    /// or what [`Process::current`] returns.
    pub(crate) fn process(&self) -> Result<Arc<Process>> {
        let contexts = self.contexts.lock();
        let mut known = contexts.alive.iter().map(|ctx| ctx.process());
        if let Some(process) = known.find(|process| process.is_current()) {
            return Ok(process.clone());
        }
        drop(contexts);
        Process::current()
    }

    /// Returns whether a context of the file has events that wait to be taken.
    pub(crate) fn is_readable(&self) -> bool {
        let contexts = self.contexts.lock();
        contexts.alive.iter().any(|ctx| ctx.ring().available() > 0)
    }

    /// Adds a context. `EINVAL` if the context was killed or the file closed before; `ENOMEM`.
    pub(crate) fn add(&self, ctx: &Arc<Kioctx>) -> Result {
        let mut contexts = self.contexts.lock();
        if contexts.closed || ctx.is_dead() {
            return Err(EINVAL);
        }
        // Reserve the room that the context needs when it ends, because its end cannot report an
        // error.
        let room = contexts.alive.len() + 1;
        contexts.ending.reserve(room, GFP_KERNEL)?;
        contexts.alive.push(ctx.clone(), GFP_KERNEL)?;
        Ok(())
    }

    /// Moves a killed context from `alive` to `ending`, or drops it if the file is closed.
    pub(crate) fn remove(&self, ctx: &Kioctx) {
        let mut contexts = self.contexts.lock();
        let found = contexts
            .alive
            .iter()
            .position(|entry| core::ptr::eq(&**entry, ctx));
        let entry = found.and_then(|index| contexts.alive.remove(index).ok());
        if let (Some(entry), false) = (entry, contexts.closed) {
            // There is room. The caller has a reference, so this is not the last one.
            let _ = contexts.ending.push_within_capacity(entry);
        }
    }

    /// Drops killed contexts of which no request is left.
    pub(crate) fn prune(&self) {
        loop {
            let mut contexts = self.contexts.lock();
            let found = contexts.ending.iter().position(|ctx| ctx.is_drained());
            let entry = found.and_then(|index| contexts.ending.remove(index).ok());
            drop(contexts);
            // The reference may be the last one, so it is dropped outside the lock.
            if entry.is_none() {
                return;
            }
        }
    }

    /// Handles the close of a descriptor by a task of `owner`. If the task exits, this kills the
    /// contexts of `owner` and waits for requests in flight, as exit_aio() does, so that a program
    /// that sees the end of the process finds its writes done. When `end_seconds` are over, the
    /// requests that are left are given up.
    pub(crate) fn drain_on_exit(&self, owner: FilesOwner) {
        self.prune();
        if !task::exits() {
            return;
        }
        while let Some(ctx) = self.find_alive(owner) {
            ctx.kill();
        }
        while let Some(ctx) = self.find_ending(owner) {
            // A program that exits closes all its descriptors in one task, so its waits share one
            // limit.
            let began = self.user.exit_began();
            self.note_end(owner, began);
            DrainDeadline::since(began).drain(&ctx);
            if !ctx.is_drained() {
                // The time is over, for the other contexts, too.
                runners::end_all();
                break;
            }
        }
        self.prune();
    }

    fn find_alive(&self, owner: FilesOwner) -> Option<Arc<Kioctx>> {
        let contexts = self.contexts.lock();
        contexts
            .alive
            .iter()
            .find(|ctx| ctx.owner() == owner && !ctx.is_dead())
            .cloned()
    }

    /// Notes that the processes of the killed contexts of `owner` have ended at `when`.
    fn note_end(&self, owner: FilesOwner, when: Instant<Monotonic>) {
        let contexts = self.contexts.lock();
        for ctx in contexts.ending.iter().filter(|ctx| ctx.owner() == owner) {
            ctx.process().note_end(when);
        }
    }

    /// Returns a killed context of `owner` that has requests left.
    fn find_ending(&self, owner: FilesOwner) -> Option<Arc<Kioctx>> {
        let contexts = self.contexts.lock();
        contexts
            .ending
            .iter()
            .find(|ctx| ctx.owner() == owner && !ctx.is_drained())
            .cloned()
    }

    /// Returns the context that `id` names for the current task. `EINVAL` if there is none.
    pub(crate) fn look_up(&self, id: u64) -> Result<Arc<Kioctx>> {
        self.find(id, |ctx| Some(ctx.clone()))
    }

    /// Returns leases of the context that `id` names for the current task, for a call that starts
    /// requests. `EINVAL` if there is none.
    pub(crate) fn look_up_leased(&self, id: u64) -> Result<LeaseBatch<Kioctx>> {
        self.find(id, LeaseBatch::new)
    }

    #[inline]
    fn find<T>(&self, id: u64, get: impl FnOnce(&Arc<Kioctx>) -> Option<T>) -> Result<T> {
        let id = usize::try_from(id)?;
        let contexts = self.contexts.lock();
        let ctx = contexts.alive.iter().find(|ctx| ctx.has_id(id));
        ctx.and_then(get).ok_or(EINVAL)
    }

    pub(crate) fn len(&self) -> usize {
        self.contexts.lock().alive.len()
    }

    /// Kills all contexts, whichever mm made them. Requests in flight keep what they need. But a
    /// program that closes its own contexts must not find its memory in use afterwards, so this
    /// waits for the requests of the current mm, for at most `end_seconds`.
    ///
    /// A ring is wiped when no request of its context is in flight, or when the time is over. Only
    /// by that can a thread that shares the descriptor with the closing one see that the close is
    /// complete.
    pub(crate) fn close(&self) {
        let mut contexts = self.contexts.lock();
        contexts.closed = true;
        let alive = core::mem::take(&mut contexts.alive);
        let ending = core::mem::take(&mut contexts.ending);
        drop(contexts);
        for ctx in alive.iter() {
            ctx.kill();
        }
        // A worker may close the file of the request that it runs, and would wait for itself. A
        // ring cannot be in the memory of a worker.
        if !task::is_kernels() {
            let deadline = DrainDeadline::new();
            let ours = |ctx: &&Arc<Kioctx>| ctx.mm().is_current();
            for ctx in alive.iter().filter(ours) {
                deadline.drain(ctx);
                // This does nothing if the program has unmapped the ring, which may be why the
                // context had ended.
                ctx.wipe();
            }
            for ctx in ending.iter().filter(ours) {
                deadline.drain(ctx);
            }
        }
        // The references of the contexts to this table are dropped with them.
    }
}

/// Waits for several contexts, for at most `end_seconds` in all. Requests may hang where the kernel
/// cannot help, such as in a FUSE daemon that is exiting.
struct DrainDeadline {
    since: Instant<Monotonic>,
    ms: i64,
}

impl DrainDeadline {
    fn new() -> Self {
        Self::since(Instant::now())
    }

    fn since(since: Instant<Monotonic>) -> Self {
        Self {
            since,
            ms: i64::from(module::end_seconds()) * 1000,
        }
    }

    fn drain(&self, ctx: &Kioctx) {
        let left = self.ms.saturating_sub(self.since.elapsed().as_millis());
        if left > 0 {
            ctx.drain_for(u32::try_from(left).unwrap_or(u32::MAX));
        }
    }
}
