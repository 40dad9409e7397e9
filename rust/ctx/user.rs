// SPDX-License-Identifier: GPL-2.0

//! Users: what the open files of one user in one cgroup share.
//!
//! fs/aio.c has no counterpart. Requests that hang keep workers, so each user has workqueues of its
//! own, and does not wait for the requests of another user. Workqueues cost some kilobytes of
//! memory that no cgroup is charged for. So they are made with the first context, and their number
//! is limited; then users share the workqueues of another user, in the same cgroup if possible.
//!
//! Invariant: a [`UserRef`] is counted in its entry, so the entry, the user and its workqueues stay
//! until all files of the user are closed.
//!
//! Lock: `UserTable::entries`, under no other lock.

use core::ops::Deref;

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow,
        Mutex, //
    },
    time::{
        Instant,
        Monotonic, //
    },
};

use super::{
    kiocb::Kiocb,
    queues::Queues,
    quota::{
        Charge,
        Counter, //
    },
};
use crate::{
    pure::limits,
    request::order::OrderQueues,
    sys::{
        module, sysctl,
        task::{
            self,
            Account,
            Incarnation, //
        },
    },
};

/// The number of cgroups of one user that have workers of their own; other cgroups share them.
const MAX_CGROUPS: usize = 16;

/// What the open files of one user in one cgroup share.
#[pin_data]
pub(crate) struct User {
    account: Account,
    /// The order queues of writes and fsyncs that are left to workers.
    #[pin]
    writes: OrderQueues<Kiocb>,
    nr: Counter,
    /// The tasks that wait for requests while they exit, or did so not long ago, and the time when
    /// each began to wait.
    #[pin]
    exits: Mutex<KVVec<Exit>>,
}

struct Exit {
    task: Incarnation,
    began: Instant<Monotonic>,
}

/// An exit that began so long ago is forgotten. It has used up its waiting time, unless the task
/// was held up elsewhere between two descriptors.
const FORGET_AFTER_MS: i64 = 60_000;

impl User {
    fn new(account: Account) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                account,
                writes <- OrderQueues::new(),
                nr: Counter::new(),
                exits <- new_mutex!(KVVec::new(), "kaio_exits"),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn writes(&self) -> &OrderQueues<Kiocb> {
        &self.writes
    }

    /// Returns when the current task, which exits, first called this. The task waits for its
    /// requests until `end_seconds` after that time, however many descriptors it closes.
    pub(crate) fn exit_began(&self) -> Instant<Monotonic> {
        let task = Incarnation::current();
        let now = Instant::now();
        let forget = i64::from(module::end_seconds())
            .saturating_mul(1000)
            .saturating_add(FORGET_AFTER_MS);
        let mut exits = self.exits.lock();
        exits.retain(|exit| exit.began.elapsed().as_millis() < forget);
        if let Some(exit) = exits.iter().find(|exit| exit.task == task) {
            return exit.began;
        }
        // If there is no memory, the task gets the full waiting time again for its next descriptor.
        let _ = exits.push(Exit { task, began: now }, GFP_KERNEL);
        now
    }
}

struct Entry {
    user: Arc<User>,
    /// The number of [`UserRef`]s of the user.
    refs: usize,
    /// The user's own workqueues, or those of another user that it shares. Made with the first
    /// context.
    queues: Option<Arc<Queues>>,
}

/// All users that have the device open, and some that had it open.
#[pin_data]
pub(crate) struct UserTable {
    #[pin]
    entries: Mutex<KVVec<Entry>>,
}

impl UserTable {
    /// Makes an empty table. `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                entries <- new_mutex!(KVVec::new(), "kaio_users"),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the user of the current task. `ENOMEM`.
    pub(crate) fn current(this: ArcBorrow<'_, Self>) -> Result<UserRef> {
        let account = task::account();
        // Make the user outside the lock. It is dropped if another task adds the same user first.
        let mut new = match this.find(account) {
            Some(user) => return Ok(UserRef::new(this.into(), user)),
            None => Some(User::new(account)?),
        };
        let mut idle = KVVec::new();
        let mut entries = this.entries.lock();
        // Remove users that have no open file. The close of their last file could not do this: a
        // worker may have closed it, and would have waited for itself.
        while let Some(index) = entries.iter().position(|entry| entry.refs == 0) {
            if idle.reserve(1, GFP_KERNEL).is_err() {
                // Leave the user for the next call, because it must not be dropped under the lock.
                break;
            }
            match entries.remove(index) {
                Ok(entry) => idle.push(entry, GFP_KERNEL)?,
                Err(_) => break,
            }
        }
        let user = match find(&mut entries, account) {
            Some(entry) => {
                entry.refs += 1;
                entry.user.clone()
            }
            None => {
                let user = new.take().ok_or(ENOMEM)?;
                entries.push(
                    Entry {
                        user: user.clone(),
                        refs: 1,
                        queues: None,
                    },
                    GFP_KERNEL,
                )?;
                user
            }
        };
        drop(entries);
        // Dropping workqueues waits for their workers, so this happens outside the lock.
        drop(idle);
        Ok(UserRef::new(this.into(), user))
    }

    fn find(&self, account: Account) -> Option<Arc<User>> {
        let mut entries = self.entries.lock();
        let entry = find(&mut entries, account)?;
        entry.refs += 1;
        Some(entry.user.clone())
    }

    /// Waits for all workers, which may be about to finish. No file of the device is open.
    pub(crate) fn shut_down(&self) {
        let entries = core::mem::take(&mut *self.entries.lock());
        for queues in entries.iter().filter_map(|entry| entry.queues.as_ref()) {
            queues.kick.flush();
            queues.work.flush();
            // Wait for the work that the flushed work items have queued meanwhile.
            queues.work.flush();
        }
    }
}

/// A user, while a file of the device is open.
pub(crate) struct UserRef {
    // First, so that it is dropped before `member`. While the membership lasts, the table has
    // another reference. The last reference must not be dropped by a worker of the user.
    user: Arc<User>,
    member: Member,
}

struct Member {
    users: Arc<UserTable>,
    account: Account,
}

impl UserRef {
    fn new(users: Arc<UserTable>, user: Arc<User>) -> Self {
        let account = user.account;
        Self {
            user,
            member: Member { users, account },
        }
    }

    /// Returns the number of requests that the contexts of the user may hold now, in all cgroups.
    pub(crate) fn nr(&self) -> u64 {
        charged_to(&self.member.users.entries.lock(), self.member.account.uid)
    }

    /// Charges for a context of at least `nr` requests and at most `wanted`. The caller must drop
    /// the workqueues before it drops `self`.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if that is over the limit of the system or of the user; `ENOMEM`.
    pub(crate) fn charge(&self, nr: u32, wanted: u32) -> Result<(UserCharge, Arc<Queues>)> {
        let mut entries = self.member.users.entries.lock();
        let now = charged_to(&entries, self.member.account.uid);
        let max = sysctl::max_user_nr();
        let wanted = match limits::charge(now, wanted, limits::plenty(max)) {
            Some(_) => wanted,
            None if limits::charge(now, nr, max).is_some() || task::is_unlimited() => nr,
            None => return Err(EAGAIN),
        };
        let system = Charge::new(nr, wanted)?;
        let queues = queues_of(&mut entries, self.member.account)?;
        self.user.nr.charge(system.nr(), u64::MAX)?;
        drop(entries);
        let charge = UserCharge {
            user: self.user.clone(),
            system,
        };
        Ok((charge, queues))
    }
}

/// A part of the limits of the system and of a user. Its drop returns the part.
pub(crate) struct UserCharge {
    /// Not the last reference: the context that has this charge has the table, and the table has
    /// the user.
    user: Arc<User>,
    system: Charge,
}

impl UserCharge {
    /// Returns the number of requests that were charged.
    pub(crate) fn nr(&self) -> u32 {
        self.system.nr()
    }
}

impl Drop for UserCharge {
    fn drop(&mut self) {
        self.user.nr.uncharge(self.nr());
    }
}

impl Deref for UserRef {
    type Target = User;

    fn deref(&self) -> &User {
        &self.user
    }
}

/// Returns the entry of an account, or another entry of the same user if that user has as many as
/// it can have.
fn find(entries: &mut [Entry], account: Account) -> Option<&mut Entry> {
    let of_user = |entry: &&Entry| entry.user.account.uid == account.uid;
    let has_many = entries.iter().filter(of_user).count() >= MAX_CGROUPS;
    let own = entries.iter().position(|e| e.user.account == account);
    let other = || {
        entries
            .iter()
            .position(|e| of_user(&e))
            .filter(|_| has_many)
    };
    let index = own.or_else(other)?;
    entries.get_mut(index)
}

/// Returns the workqueues for an account that has an entry, and makes them if there are none yet.
/// `ENOMEM`.
fn queues_of(entries: &mut [Entry], account: Account) -> Result<Arc<Queues>> {
    let index = entries.iter().position(|e| e.user.account == account);
    let index = index.ok_or(EINVAL)?;
    if let Some(queues) = entries.get(index).and_then(|e| e.queues.as_ref()) {
        return Ok(queues.clone());
    }
    let made = entries
        .iter()
        .filter_map(|e| Some((e.user.account, e.queues.as_ref()?)));
    let queues = match Queues::to_share(account, made) {
        Some(queues) => queues,
        None => Queues::new(account)?,
    };
    let entry = entries.get_mut(index).ok_or(EINVAL)?;
    Ok(entry.queues.insert(queues).clone())
}

/// Returns the number of requests that the contexts of `uid` may hold now.
fn charged_to(entries: &[Entry], uid: u32) -> u64 {
    let of_user = entries.iter().filter(|e| e.user.account.uid == uid);
    of_user.fold(0, |sum, e| sum.saturating_add(e.user.nr.nr()))
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut entries = self.users.entries.lock();
        if let Some(entry) = entries.iter_mut().find(|e| e.user.account == self.account) {
            entry.refs = entry.refs.saturating_sub(1);
        }
    }
}
