// SPDX-License-Identifier: GPL-2.0

//! Waiting for readiness without a thread: entries of ours on the wait queues of a file.
//!
//! The callback runs under the lock of a foreign queue, perhaps in interrupt: it kicks, which
//! queues work, takes the entry off, and does no more. An owner that frees its queue early says
//! POLLFREE, which is a wake-up like any other: the entry is off the queue and forgotten before the
//! callback returns.

use core::{
    cell::UnsafeCell,
    ptr, //
};

use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    types::Opaque, //
};

use super::{
    ffi,
    file::File, //
};

/// What waits, and so holds [`PollEntries`].
pub(super) trait Polled {
    /// Something happened. Any context, under any lock of the kernel's.
    fn kick(&self);
    /// The entries.
    fn polls(&self) -> &PollEntries;
}

/// Queues that most files have at most: a FIFO that is open for both has two.
const QUEUES: usize = 2;
/// More, for files with many.
const MORE_QUEUES: usize = 6;

/// Events that a read or a write waits for.
pub(crate) fn events_for(write: bool) -> u32 {
    match write {
        true => ffi::kaio_const_KAIO_POLL_TO_WRITE,
        false => ffi::kaio_const_KAIO_POLL_TO_READ,
    }
}

/// There is something to read.
pub(crate) const READABLE: u32 = ffi::kaio_const_KAIO_POLL_READABLE;

/// The events that `file` has now. A regular file is always ready.
pub(crate) fn poll_now(file: &File) -> u32 {
    // SAFETY: the file is open; without a table nothing is left behind.
    unsafe { ffi::kaio_poll(file.as_ptr(), ptr::null_mut()) }
}

/// The events of `aio_buf` as poll events, with those that nobody can do without.
pub(crate) fn events_asked(asked: u16) -> u32 {
    // SAFETY: computes.
    unsafe { ffi::kaio_poll_demangle(asked) }
}

/// Poll events as user space knows them.
pub(crate) fn events_told(events: u32) -> u16 {
    // SAFETY: computes.
    unsafe { ffi::kaio_poll_mangle(events) }
}

/// Whether `mask` says that nothing more will come to read.
pub(crate) fn is_hung_up(mask: u32) -> bool {
    mask & ffi::kaio_const_KAIO_POLL_HANG_UP != 0
}

/// # Invariants
///
/// Of an entry that was armed: `head` is null, or the queue on which `entry` is; a wake-up makes it
/// null. Others are not initialised, and are all `Opaque`, so that their memory may be anything.
struct PollEntry {
    entry: Opaque<bindings::wait_queue_entry>,
    head: Opaque<*mut bindings::wait_queue_head>,
}

impl PollEntry {
    const fn new() -> Self {
        Self {
            entry: Opaque::uninit(),
            head: Opaque::uninit(),
        }
    }
}

/// The entries of one request. They are armed and disarmed by its owner, who alone touches `more`.
#[pin_data]
pub(super) struct PollEntries {
    entries: [PollEntry; QUEUES],
    more: UnsafeCell<Option<KBox<[PollEntry; MORE_QUEUES]>>>,
    /// How many are armed. The owner's.
    used: UnsafeCell<usize>,
    /// What it waits for.
    events: Atomic<u32>,
    /// What the last wake-up said.
    woken: Atomic<u32>,
    #[pin]
    _pin: core::marker::PhantomPinned,
}

/// What arming found: the file's poll events; `EINVAL` if it has no wait queues, or more than we can
/// have entries; `ENOMEM`.
pub(super) type Found = Result<u32>;

/// The poll table that `vfs_poll()` hands to [`enqueue`].
///
/// # Invariants
///
/// `table` is first, so that a pointer to it is one to this.
#[repr(C)]
struct Table<T> {
    table: bindings::poll_table_struct,
    tracked: *const T,
    entries: *const PollEntries,
    used: usize,
    /// Not all of its queues have an entry.
    lacks: Result,
}

impl PollEntries {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            entries: [const { PollEntry::new() }; QUEUES],
            more: UnsafeCell::new(None),
            used: UnsafeCell::new(0),
            events: Atomic::new(0),
            woken: Atomic::new(0),
            _pin: core::marker::PhantomPinned,
        })
    }

    /// Puts the entries of `this`, which hold it, on the queues of `file`.
    ///
    /// Only the token holder calls this, and [`Self::disarm`] before the token ends.
    pub(super) fn arm<T: Polled>(&self, this: &Arc<T>, file: &File, events: u32) -> Found {
        self.events.store(events, Relaxed);
        let mut table = Table::<T> {
            table: bindings::poll_table_struct {
                _qproc: Some(enqueue::<T>),
                _key: events,
            },
            tracked: Arc::as_ptr(this),
            entries: self,
            used: 0,
            lacks: Ok(()),
        };
        // SAFETY: `file` is open; the table lives across the call, which is all that `enqueue`
        // needs. What `enqueue` links is unlinked by `disarm` before `this` goes.
        let mask = unsafe { ffi::kaio_poll(file.as_ptr(), (&raw mut table).cast()) };
        // SAFETY: only the owner calls this, and nobody else looks at it.
        unsafe { *self.used.get() = table.used };
        table.lacks?;
        match table.used {
            0 => Err(EINVAL),
            _ => Ok(mask),
        }
    }

    /// An entry; for the owner. `EINVAL`: there are not so many; `ENOMEM`.
    fn entry(&self, index: usize) -> Result<&PollEntry> {
        let Some(index) = index.checked_sub(QUEUES) else {
            return self.entries.get(index).ok_or(EINVAL);
        };
        // SAFETY: only the owner calls this, and does not hold on to what it makes.
        let more = unsafe { &mut *self.more.get() };
        let more = match more {
            Some(more) => more,
            None => more.insert(KBox::new(
                [const { PollEntry::new() }; MORE_QUEUES],
                GFP_KERNEL_ACCOUNT,
            )?),
        };
        more.get(index).ok_or(EINVAL)
    }

    /// Takes the entries off their queues; afterwards no callback runs. Any context, but not under
    /// the lock of such a queue.
    pub(super) fn disarm(&self) {
        if !self.are_armed() {
            return;
        }
        // SAFETY: as in `arm`.
        let used = unsafe { core::mem::take(&mut *self.used.get()) };
        for entry in (0..used).map_while(|index| self.entry(index).ok()) {
            // SAFETY: only the owner calls this, and the first `used` were linked. The callee leaves
            // an entry alone whose `head` is null: a wake-up took it off.
            unsafe { ffi::kaio_poll_entry_remove(entry.entry.get(), entry.head.get()) };
        }
    }

    /// The memory of the entries, for the owner, as long as they are not armed: `None` if they are.
    pub(super) fn spare<T>(&self) -> Option<*mut T> {
        const {
            assert!(size_of::<T>() <= size_of::<[PollEntry; QUEUES]>());
            assert!(align_of::<T>() <= align_of::<PollEntry>());
        };
        (!self.are_armed()).then(|| (&raw const self.entries).cast_mut().cast())
    }

    /// For another request.
    #[inline]
    pub(super) fn renew(&self) {
        self.woken.store(0, Relaxed);
    }

    /// Whether some are on queues, or were until they fired. For the owner.
    pub(super) fn are_armed(&self) -> bool {
        // SAFETY: as in `arm`.
        unsafe { *self.used.get() != 0 }
    }
}

/// `_qproc`: the file offers a wait queue.
///
/// # Safety
///
/// For files, from within the `vfs_poll()` of [`PollEntries::arm`].
unsafe extern "C" fn enqueue<T: Polled>(
    _file: *mut bindings::file,
    head: *mut bindings::wait_queue_head,
    table: *mut bindings::poll_table_struct,
) {
    let table = table.cast::<Table<T>>();
    // SAFETY: the pointer that `arm` gave to `vfs_poll()`; nobody else uses the table meanwhile,
    // and the entries live as long as the request, which `arm`'s caller holds.
    let (table, entries) = unsafe { (&mut *table, &*(*table).entries) };
    let entry = match entries.entry(table.used) {
        Ok(entry) => entry,
        Err(e) => {
            table.lacks = Err(e);
            return;
        }
    };
    table.used += 1;
    // SAFETY: the token holder arms, so the entry is on no queue. `head` is valid: the file says
    // so, and says POLLFREE to `wake` before it no longer is.
    unsafe {
        ffi::kaio_poll_entry_init(entry.entry.get(), Some(wake::<T>));
        (*entry.entry.get()).private = table.tracked.cast_mut().cast();
        *entry.head.get() = head;
        bindings::add_wait_queue(head, entry.entry.get());
    }
}

/// The callback: something happened on the file. Under the queue's lock, in any context.
///
/// # Safety
///
/// For wait queues: `raw` is an entry that [`enqueue`] linked, and it is on its queue.
unsafe extern "C" fn wake<T: Polled>(
    raw: *mut bindings::wait_queue_entry,
    _mode: kernel::ffi::c_uint,
    _flags: kernel::ffi::c_int,
    key: *mut kernel::ffi::c_void,
) -> kernel::ffi::c_int {
    // SAFETY: `raw` is on the queue whose lock is held, so the request, which unlinks it first,
    // has not gone; `private` was set by `enqueue`.
    let entry: &PollEntry =
        unsafe { &*kernel::container_of!(Opaque::cast_from(raw), PollEntry, entry) };
    // SAFETY: as above.
    let tracked: &T = unsafe { &*(*raw).private.cast() };
    // SAFETY: `key` is what the waker passed, made for this.
    let (mask, pollfree) = unsafe { (ffi::kaio_key_to_poll(key), ffi::kaio_key_pollfree(key)) };
    let polls = tracked.polls();
    if mask != 0 && !pollfree && mask & polls.events.load(Relaxed) == 0 {
        return 0;
    }
    polls.woken.store(mask, Relaxed);
    tracked.kick();
    // The next run arms again, if it must. Entries that have fired would be walked over in vain by
    // everybody who wakes this queue.
    // SAFETY: the queue's lock is held. This is the last use of the request: once `head` is null,
    // `disarm` does not wait for the lock.
    unsafe { ffi::kaio_poll_entry_free(raw, entry.head.get()) };
    1
}

impl PollEntries {
    /// What the last wake-up said; 0: nothing in particular.
    pub(super) fn woken(&self) -> u32 {
        self.woken.load(Relaxed)
    }
}
