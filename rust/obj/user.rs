// SPDX-License-Identifier: GPL-2.0

//! Whose requests they are: what the open files of one user in one cgroup share. Requests that hang
//! keep workers; so each has workqueues of its own, and nobody waits for another's.
//!
//! Lock: `Users::entries`, under nothing.

use core::ops::Deref;

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow,
        Mutex, //
    },
    workqueue::Queue, //
};

use crate::{
    obj::kiocb::Kiocb,
    pure::limits,
    quota::{
        Charge,
        Counter, //
    },
    sys::{
        lists::Order,
        queue::Owned,
        sysctl,
        task::{
            self,
            Account, //
        },
    },
};

/// Requests of one user in one cgroup that wait for a disk at the same time, each in a kernel thread.
const MAX_WORKERS: i32 = 512;
/// Contexts of which kicked requests run at the same time.
const MAX_KICKS: i32 = 64;
/// Cgroups of one user that have workers of their own; more share them.
const MAX_CGROUPS: usize = 16;

/// Files that deferred writes of one user are about at the same time, for the size of a hash table.
const NR_FILES: u32 = 512;

#[pin_data]
pub(crate) struct User {
    account: Account,
    /// Of runs that do not wait: what was parked and is ready.
    kick: Owned,
    /// Of runs that may wait.
    work: Owned,
    /// Deferred writes.
    #[pin]
    writes: Order<Kiocb>,
    nr: Counter,
}

impl User {
    fn new(account: Account) -> Result<Arc<Self>> {
        let kick = Owned::new(c"kaio-kick", account.uid, MAX_KICKS)?;
        let work = Owned::new(c"kaio-work", account.uid, MAX_WORKERS)?;
        let writes = Order::new(NR_FILES)?;
        Arc::pin_init(
            pin_init!(Self {
                account,
                kick,
                work,
                writes <- writes,
                nr: Counter::new(),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn kick_queue(&self) -> &Queue {
        self.kick.queue()
    }

    pub(crate) fn work_queue(&self) -> &Queue {
        self.work.queue()
    }

    pub(crate) fn writes(&self) -> &Order<Kiocb> {
        &self.writes
    }
}

struct Entry {
    user: Arc<User>,
    /// How many [`UserRef`] there are.
    refs: usize,
}

/// All users that have the device open, and perhaps some that had.
#[pin_data]
pub(crate) struct Users {
    #[pin]
    entries: Mutex<KVVec<Entry>>,
}

impl Users {
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                entries <- new_mutex!(KVVec::new(), "kaio_users"),
            }),
            GFP_KERNEL,
        )
    }

    /// The user that the current task is.
    pub(crate) fn current(this: ArcBorrow<'_, Self>) -> Result<UserRef> {
        let account = task::account();
        // Made outside the lock: kept if nobody is faster.
        let mut new = match this.find(account) {
            Some(user) => return Ok(UserRef::new(this.into(), user)),
            None => Some(User::new(account)?),
        };
        let mut idle = KVVec::new();
        let mut entries = this.entries.lock();
        // Who left last could not do this: a worker may have done it, and would wait for itself.
        while let Some(index) = entries.iter().position(|entry| entry.refs == 0) {
            if idle.reserve(1, GFP_KERNEL).is_err() {
                // Next time. Nothing must go under the lock.
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
                    },
                    GFP_KERNEL,
                )?;
                user
            }
        };
        drop(entries);
        // Waits for workers: not under the lock.
        drop(idle);
        Ok(UserRef::new(this.into(), user))
    }

    fn find(&self, account: Account) -> Option<Arc<User>> {
        let mut entries = self.entries.lock();
        let entry = find(&mut entries, account)?;
        entry.refs += 1;
        Some(entry.user.clone())
    }

    /// Waits for all workers, who may be on their way out. Nobody has the device open.
    pub(crate) fn shut_down(&self) {
        let entries = core::mem::take(&mut *self.entries.lock());
        for entry in entries.iter() {
            entry.user.kick.flush();
            entry.user.work.flush();
            // What was handed on in the meantime.
            entry.user.work.flush();
        }
    }
}

/// A user, while somebody has the device open.
pub(crate) struct UserRef {
    // First: while the membership lasts, this is not the last reference, which must not go where a
    // worker of the user drops it.
    user: Arc<User>,
    member: Member,
}

struct Member {
    users: Arc<Users>,
    account: Account,
}

impl UserRef {
    fn new(users: Arc<Users>, user: Arc<User>) -> Self {
        let account = user.account;
        Self {
            user,
            member: Member { users, account },
        }
    }

    /// Requests that the user's contexts may hold now, in all cgroups.
    pub(crate) fn nr(&self) -> u64 {
        sum(&self.member.users.entries.lock(), self.member.account.uid)
    }

    /// Charges for a context of `nr` requests. `EAGAIN`: over the system's limit, or the user's.
    pub(crate) fn charge(&self, nr: u32) -> Result<UserCharge> {
        let charge = Charge::new(nr)?;
        let entries = self.member.users.entries.lock();
        let now = sum(&entries, self.member.account.uid);
        if limits::charge(now, nr, sysctl::max_user_nr()).is_none() && !task::is_unlimited() {
            return Err(EAGAIN);
        }
        self.user.nr.charge(nr, u64::MAX)?;
        drop(entries);
        Ok(UserCharge {
            user: self.user.clone(),
            nr,
            _system: charge,
        })
    }
}

/// A part of the limits of the system and of a user. Dropping it gives it back.
pub(crate) struct UserCharge {
    /// Not the last reference: the context that has this has the table, and that has the user.
    user: Arc<User>,
    nr: u32,
    _system: Charge,
}

impl Drop for UserCharge {
    fn drop(&mut self) {
        self.user.nr.uncharge(self.nr);
    }
}

impl Deref for UserRef {
    type Target = User;

    fn deref(&self) -> &User {
        &self.user
    }
}

/// The entry for an account: its own, or of the same user once that has many.
fn find(entries: &mut [Entry], account: Account) -> Option<&mut Entry> {
    let of_user = |entry: &&Entry| entry.user.account.uid == account.uid;
    let many = entries.iter().filter(of_user).count() >= MAX_CGROUPS;
    let own = entries.iter().position(|e| e.user.account == account);
    let other = || entries.iter().position(|e| of_user(&e)).filter(|_| many);
    let index = own.or_else(other)?;
    entries.get_mut(index)
}

/// Requests that the contexts of `uid` may hold now.
fn sum(entries: &[Entry], uid: u32) -> u64 {
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
