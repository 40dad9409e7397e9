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
};

use crate::{
    obj::{
        kioctx::Kioctx,
        user::UserRef, //
    },
    stats::Stats,
    sys::wait::WaitQueue,
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
                        closed: false,
                    },
                    "kaio_table"
                ),
                readers <- WaitQueue::new(),
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
        drop(contexts);
        // Perhaps the last reference: not under the lock.
        drop(entry);
    }

    /// The context that the current task means by `id`. `EINVAL`.
    pub(crate) fn look_up(&self, id: u64) -> Result<Arc<Kioctx>> {
        let id = usize::try_from(id)?;
        self.contexts
            .lock()
            .alive
            .iter()
            .find(|ctx| ctx.is(id))
            .cloned()
            .ok_or(EINVAL)
    }

    pub(crate) fn len(&self) -> usize {
        self.contexts.lock().alive.len()
    }

    /// Kills all contexts, of whichever mm. In flight they may be: requests keep what they need.
    pub(crate) fn close(&self) {
        let mut contexts = self.contexts.lock();
        contexts.closed = true;
        let alive = core::mem::take(&mut contexts.alive);
        drop(contexts);
        for ctx in alive.iter() {
            if ctx.kill() {
                ctx.unmap();
            }
        }
    }
}
