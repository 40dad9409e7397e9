// SPDX-License-Identifier: GPL-2.0

//! The contexts of one open file of the device.
//!
//! Lock: `contexts` is taken under the mmap lock (a ring is unmapped), so user memory must not be
//! touched while it is held.

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

use crate::{
    obj::{
        kioctx::Kioctx,
        user::UserRef, //
    },
    stats::Stats,
    sys::{
        lease::Bundle,
        module,
        task::{
            self,
            Program, //
        },
        wait::WaitQueue, //
    },
};

#[pin_data]
pub(crate) struct Table {
    #[pin]
    contexts: Mutex<Contexts>,
    /// Who polls the device.
    #[pin]
    readers: WaitQueue,
    /// Who opened it.
    user: UserRef,
    pub(crate) stats: Stats,
}

struct Contexts {
    alive: KVVec<Arc<Kioctx>>,
    /// Killed, and perhaps with requests that are still in flight: for who must wait for those.
    ending: KVVec<Arc<Kioctx>>,
    /// The last descriptor was closed.
    closed: bool,
}

impl Table {
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

    /// Whether events wait to be taken, in any context.
    pub(crate) fn is_readable(&self) -> bool {
        let contexts = self.contexts.lock();
        contexts.alive.iter().any(|ctx| ctx.ring().available() > 0)
    }

    /// `EINVAL`: the context was killed, or the file closed, before it got here.
    pub(crate) fn add(&self, ctx: &Arc<Kioctx>) -> Result {
        let mut contexts = self.contexts.lock();
        if contexts.closed || ctx.is_dead() {
            return Err(EINVAL);
        }
        // Where it goes when it ends: then nobody could be told that there is no memory.
        let room = contexts.alive.len() + 1;
        contexts.ending.reserve(room, GFP_KERNEL)?;
        contexts.alive.push(ctx.clone(), GFP_KERNEL)?;
        Ok(())
    }

    pub(crate) fn remove(&self, ctx: &Kioctx) {
        let mut contexts = self.contexts.lock();
        let found = contexts
            .alive
            .iter()
            .position(|entry| core::ptr::eq(&**entry, ctx));
        let entry = found.and_then(|index| contexts.alive.remove(index).ok());
        if let (Some(entry), false) = (entry, contexts.closed) {
            // Not the last reference: our caller has one. There is room.
            let _ = contexts.ending.push_within_capacity(entry);
        }
    }

    /// Lets go of killed contexts of which no request is left.
    pub(crate) fn prune(&self) {
        loop {
            let mut contexts = self.contexts.lock();
            let found = contexts.ending.iter().position(|ctx| ctx.is_drained());
            let entry = found.and_then(|index| contexts.ending.remove(index).ok());
            drop(contexts);
            // Perhaps the last reference: not under the lock.
            if entry.is_none() {
                return;
            }
        }
    }

    /// `program` closes this file. If it exits, its contexts end, and it waits for what is in flight,
    /// as exit_aio(): nobody is to find a process gone and its writes still going on. Not for ever.
    pub(crate) fn wait_for(&self, program: Program) {
        self.prune();
        if !task::exits() {
            return;
        }
        while let Some(ctx) = self.find_alive(program) {
            ctx.kill();
        }
        let patience = Patience::new();
        let mut index = 0;
        while let Some(ctx) = self.find_ending(program, &mut index) {
            patience.drain(&ctx);
        }
        self.prune();
    }

    fn find_alive(&self, program: Program) -> Option<Arc<Kioctx>> {
        let contexts = self.contexts.lock();
        contexts
            .alive
            .iter()
            .find(|ctx| ctx.owner() == program && !ctx.is_dead())
            .cloned()
    }

    fn find_ending(&self, program: Program, index: &mut usize) -> Option<Arc<Kioctx>> {
        let contexts = self.contexts.lock();
        while let Some(ctx) = contexts.ending.get(*index) {
            *index += 1;
            if ctx.owner() == program && !ctx.is_drained() {
                return Some(ctx.clone());
            }
        }
        None
    }

    /// The context that the current task means by `id`. `EINVAL`.
    pub(crate) fn look_up(&self, id: u64) -> Result<Arc<Kioctx>> {
        self.find(id, |ctx| Some(ctx.clone()))
    }

    /// The same, for a call that starts requests.
    pub(crate) fn look_up_leased(&self, id: u64) -> Result<Bundle<Kioctx>> {
        self.find(id, Bundle::new)
    }

    #[inline]
    fn find<T>(&self, id: u64, get: impl FnOnce(&Arc<Kioctx>) -> Option<T>) -> Result<T> {
        let id = usize::try_from(id)?;
        let contexts = self.contexts.lock();
        let ctx = contexts.alive.iter().find(|ctx| ctx.is(id));
        ctx.and_then(get).ok_or(EINVAL)
    }

    pub(crate) fn len(&self) -> usize {
        self.contexts.lock().alive.len()
    }

    /// Kills all contexts, of whichever mm. In flight they may be: requests keep what they need. But a
    /// program that closes them itself is not to find its memory still in use, if that can be helped.
    ///
    /// A ring is unmapped when nothing of its context is in flight, or patience has ended. Who shares
    /// the descriptor with another thread has no other way to see when that one's close is through.
    pub(crate) fn close(&self) {
        let mut contexts = self.contexts.lock();
        contexts.closed = true;
        let alive = core::mem::take(&mut contexts.alive);
        let ending = core::mem::take(&mut contexts.ending);
        drop(contexts);
        for ctx in alive.iter() {
            ctx.kill();
        }
        // A worker may close the file of the very request that it runs. (It has no memory that a ring
        // could be in, either.)
        if !task::is_kernels() {
            let patience = Patience::new();
            let ours = |ctx: &&Arc<Kioctx>| ctx.mm().is_current();
            for ctx in alive.iter().filter(ours) {
                patience.drain(ctx);
                // Nothing, if the program has unmapped it: that may be why it had ended.
                ctx.unmap();
            }
            for ctx in ending.iter().filter(ours) {
                patience.drain(ctx);
            }
        }
        // What they hold of us goes with them.
    }
}

/// Waits for several contexts, for so many seconds in all as an administrator allows: requests may hang
/// where the kernel cannot help, in a FUSE daemon that exits just now.
struct Patience {
    since: Instant<Monotonic>,
    seconds: i64,
}

impl Patience {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            seconds: module::end_seconds().into(),
        }
    }

    fn drain(&self, ctx: &Kioctx) {
        let gone = self.since.elapsed().as_nanos() / 1_000_000_000;
        if let Ok(left @ 1..) = u32::try_from(self.seconds - gone) {
            ctx.drain_patiently(left);
        }
    }
}
