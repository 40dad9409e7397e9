// SPDX-License-Identifier: GPL-2.0

//! The workqueues of a user.
//!
//! The counterpart of `aio_wq` of the classic fs/aio.c, but each user has its own. A request that
//! hangs keeps a kernel thread, and only requests that share the workqueue wait for that thread.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    workqueue::Queue, //
};

use crate::sys::{
    queue::Owned,
    task::Account, //
};

/// The number of requests of one user in one cgroup that wait for a disk at the same time, each in
/// a kernel thread.
const MAX_WORKERS: i32 = 512;
/// The number of contexts whose kicked requests run at the same time.
const MAX_KICKS: i32 = 64;

/// The number of users of one cgroup that have workers of their own; other users share them.
const MAX_OF_CGROUP: usize = 64;
/// The number of users in the system that have workers of their own; other users share them.
const MAX_QUEUES: u32 = 1024;

/// The number of [`Queues`] in the system.
static NR_QUEUES: Atomic<u32> = Atomic::new(0);

/// The workqueues of one user, or of several that share them.
pub(crate) struct Queues {
    /// The account for which the workqueues were made.
    pub(super) account: Account,
    /// For kick handlers, which run requests that were parked and are ready.
    pub(super) kick: Owned,
    /// For workers, which may wait.
    pub(super) work: Owned,
}

impl Queues {
    /// Makes the workqueues for an account. `ENOMEM`.
    pub(super) fn new(account: Account) -> Result<Arc<Self>> {
        let kick = Owned::new(c"kaio-kick", account.uid, MAX_KICKS)?;
        let work = Owned::new(c"kaio-work", account.uid, MAX_WORKERS)?;
        NR_QUEUES.add(1u32, Relaxed);
        // If there is no memory, the drop of `queues` decrements the count.
        let queues = Self {
            account,
            kick,
            work,
        };
        Ok(Arc::new(queues, GFP_KERNEL)?)
    }

    /// Returns the workqueues that `account` is to share with another account, if there are too many
    /// to make more; `made` are the accounts that have workqueues, and those.
    pub(super) fn to_share<'a>(
        account: Account,
        made: impl Iterator<Item = (Account, &'a Arc<Self>)> + Clone,
    ) -> Option<Arc<Self>> {
        let of_cgroup = || {
            made.clone()
                .filter(|(_, queues)| queues.account.cgroup == account.cgroup)
        };
        let owners = made
            .clone()
            .filter(|(owner, queues)| owner.cgroup == account.cgroup && queues.account == *owner);
        let full = NR_QUEUES.load(Relaxed) >= MAX_QUEUES;
        if owners.count() < MAX_OF_CGROUP && !full {
            return None;
        }
        let nth = |count: usize| account.uid as usize % count.max(1);
        let found = of_cgroup().nth(nth(of_cgroup().count()));
        found
            .or_else(|| made.clone().nth(nth(made.clone().count())))
            .map(|(_, queues)| queues.clone())
    }

    pub(crate) fn kick(&self) -> &Queue {
        self.kick.queue()
    }

    pub(crate) fn work(&self) -> &Queue {
        self.work.queue()
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        NR_QUEUES.fetch_sub(1u32, Relaxed);
    }
}
