// SPDX-License-Identifier: GPL-2.0

//! Waits for the readiness of a file without a thread: puts entries on the wait queues of the file.
//!
//! The counterpart is `struct poll_iocb`, `aio_poll()` and `aio_poll_wake()` of fs/aio.c.
//!
//! Invariants and locks: the token holder arms and disarms. A wake-up runs [`wake`] under the lock
//! of the file's queue, perhaps in interrupt: that kicks the request, takes the entry off the queue,
//! and hands the request over, which queues work or ends a POLL. A driver that frees its queue early
//! wakes the queue with POLLFREE; this is a wake-up like any other, as the entry is off the queue
//! before the callback returns.

use core::cell::UnsafeCell;

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

use crate::sys::{
    ffi,
    file::File,
    poll, //
};

/// An object that waits, and so holds [`PollEntries`].
pub(crate) trait Polled {
    /// The ownership of an object that waited.
    type Owner;
    /// Notes a kick. Returns the ownership of the object if the object waited for the kick; the
    /// caller then calls [`Self::hand_over`]. Any context, under any lock of the kernel.
    fn take_kicked(&self) -> Option<Self::Owner>;
    /// Lets the object look again at what it waited for. `events` are the poll events that woke it;
    /// 0 stands for unknown ones. Any context, under any lock of the kernel.
    fn hand_over(owner: Self::Owner, events: u32);
    /// Lets the object look again at what it waits for. Any context, under any lock of the kernel.
    fn kick(&self) {
        if let Some(owner) = self.take_kicked() {
            Self::hand_over(owner, 0);
        }
    }
    /// Returns the entries of the object.
    fn polls(&self) -> &PollEntries;
}

/// The number of queues that most files have at most: a FIFO that is open for reading and writing
/// has two.
const QUEUES: usize = 2;
/// The number of entries that are allocated for a file with more queues.
const MORE_QUEUES: usize = 6;

/// An entry, and the queue on which it is.
///
/// # Invariants
///
/// In an entry that was armed, `head` is null or points to the queue on which `entry` is; a wake-up
/// makes it null. An entry that was not armed is uninitialised. All fields are `Opaque`, so that
/// the memory may hold anything.
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

/// The entries of one request.
///
/// # Invariants
///
/// - Only the owner of the request arms and disarms, and touches `more` and `used`.
/// - The first `used` entries were armed.
#[pin_data]
pub(crate) struct PollEntries {
    entries: [PollEntry; QUEUES],
    more: UnsafeCell<Option<KBox<[PollEntry; MORE_QUEUES]>>>,
    /// The number of entries that were armed.
    used: UnsafeCell<usize>,
    /// The poll events that the request waits for.
    events: Atomic<u32>,
    /// The poll events that the last wake-up reported, since the entries were armed.
    woken: Atomic<u32>,
    #[pin]
    _pin: core::marker::PhantomPinned,
}

/// The poll events that the file had when the entries were armed.
///
/// The error is `EINVAL` if the file has no wait queues, or more than a request has entries;
/// `ENOMEM` if there is no memory for more entries; and `EBADF` if the file was closed.
pub(crate) type Found = Result<u32>;

/// The poll table that `vfs_poll()` hands to [`enqueue`].
///
/// # Invariants
///
/// `table` is the first field, so that a pointer to it is a pointer to the `Table`.
#[repr(C)]
struct Table<T> {
    table: bindings::poll_table_struct,
    tracked: *const T,
    entries: *const PollEntries,
    used: usize,
    /// The reason for which not all queues of the file have an entry.
    lacks: Result,
}

impl PollEntries {
    /// Makes entries that are not armed.
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

    /// Puts the entries of `this`, which are `self`, on the queues of `file`. Returns an error as
    /// [`Found`] says.
    ///
    /// Only the token holder calls this, and it calls [`Self::disarm`] before the request ends.
    pub(super) fn arm<T: Polled>(&self, this: &Arc<T>, file: &File, events: u32) -> Found {
        let file = file.open().ok_or(EBADF)?;
        self.events.store(events, Relaxed);
        self.woken.store(0, Relaxed);
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
        // SAFETY: the borrow of the `File` keeps what `File::open` returned open, and `table` lives
        // until the call returns, after which the file does not use it. The token holder disarms
        // the entries before it drops its reference to `this`, so each entry that `enqueue` links
        // is unlinked while `this` is in memory.
        let mask = unsafe { ffi::kaio_poll(file, (&raw mut table).cast()) };
        // SAFETY: by the type's invariant only the owner touches `used`, and only the owner arms.
        unsafe { *self.used.get() = table.used };
        table.lacks?;
        match table.used {
            0 => Err(EINVAL),
            _ => Ok(mask),
        }
    }

    /// Returns the entry of that index, to the owner. Returns `EINVAL` if a request has fewer
    /// entries, and `ENOMEM` if there is no memory for more.
    fn entry(&self, index: usize) -> Result<&PollEntry> {
        let Some(index) = index.checked_sub(QUEUES) else {
            return self.entries.get(index).ok_or(EINVAL);
        };
        // SAFETY: by the type's invariant only the owner touches `more`, and only the owner calls
        // this. The mutable reference ends with this function. A wake-up reaches its entry by a
        // pointer of its own, and not through `more`.
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

    /// Takes the entries off their queues. Afterwards no callback runs. For the owner, in any
    /// context, but not under the lock of such a queue.
    pub(super) fn disarm(&self) {
        if !self.are_armed() {
            return;
        }
        // SAFETY: by the type's invariant only the owner touches `used`, and only the owner
        // disarms.
        let used = unsafe { core::mem::take(&mut *self.used.get()) };
        for entry in (0..used).map_while(|index| self.entry(index).ok()) {
            // SAFETY: by the type's invariant the first `used` entries were armed, so `enqueue` has
            // initialised this one. The callee does not touch the queue if `head` is null, since a
            // wake-up has taken the entry off. Otherwise the queue is in memory: its owner wakes it
            // with POLLFREE, which clears `head`, before it frees the queue after an RCU grace
            // period.
            unsafe { ffi::kaio_poll_entry_remove(entry.entry.get(), entry.head.get()) };
        }
    }

    /// Returns the memory of the entries, which the owner may use until it arms them. Returns
    /// `None` if they are armed.
    pub(super) fn spare<T>(&self) -> Option<*mut T> {
        const {
            assert!(size_of::<T>() <= size_of::<[PollEntry; QUEUES]>());
            assert!(align_of::<T>() <= align_of::<PollEntry>());
        };
        (!self.are_armed()).then(|| (&raw const self.entries).cast_mut().cast())
    }

    /// Makes the entries those of a new request.
    #[inline]
    pub(super) fn renew(&self) {
        self.woken.store(0, Relaxed);
    }

    /// Returns whether the entries were armed on one queue, and no more. For the owner.
    pub(super) fn are_on_one_queue(&self) -> bool {
        // SAFETY: by the type's invariant only the owner touches `used`, and only the owner calls
        // this.
        unsafe { *self.used.get() == 1 }
    }

    /// Returns whether some entries are on queues, or were until a wake-up took them off. For the
    /// owner.
    pub(super) fn are_armed(&self) -> bool {
        // SAFETY: by the type's invariant only the owner touches `used`, and only the owner calls
        // this.
        unsafe { *self.used.get() != 0 }
    }
}

/// Puts an entry on a wait queue that the file offers: this is the `_qproc` of the poll table.
///
/// # Safety
///
/// The caller is the `poll` method of a file, within the `vfs_poll()` of [`PollEntries::arm`], and
/// passes the `table` of that call. `head` is a wait queue that stays in memory until its owner has
/// woken it with POLLFREE and an RCU grace period has passed, or until the file is closed.
unsafe extern "C" fn enqueue<T: Polled>(
    _file: *mut bindings::file,
    head: *mut bindings::wait_queue_head,
    table: *mut bindings::poll_table_struct,
) {
    let table = table.cast::<Table<T>>();
    // SAFETY: the file passes the pointer that `arm` gave to `vfs_poll()`, which is the first field
    // of a `Table<T>`. `arm` does not use the table during the call. The entries are in the object
    // whose reference `arm` borrows.
    let (table, entries) = unsafe { (&mut *table, &*(*table).entries) };
    let entry = match entries.entry(table.used) {
        Ok(entry) => entry,
        Err(e) => {
            table.lacks = Err(e);
            return;
        }
    };
    table.used += 1;
    // SAFETY: the entry is on no queue, since its owner arms only what it has disarmed, and `used`
    // is counted up for each entry. `head` is in memory, as this function's contract says; `disarm`
    // or a wake-up takes the entry off before that ends. `tracked` is kept by its owner until
    // `disarm`.
    unsafe {
        ffi::kaio_poll_entry_init(entry.entry.get(), Some(wake::<T>));
        (*entry.entry.get()).private = table.tracked.cast_mut().cast();
        *entry.head.get() = head;
        bindings::add_wait_queue(head, entry.entry.get());
    }
}

/// Kicks the request if the wake-up is about its events: this is the callback of an entry. It runs
/// under the lock of the queue, in any context.
///
/// # Safety
///
/// The caller is a wake-up that holds the lock of the queue on which `raw` is. [`enqueue`] linked
/// `raw`, and `key` is null or made of poll events.
unsafe extern "C" fn wake<T: Polled>(
    raw: *mut bindings::wait_queue_entry,
    _mode: kernel::ffi::c_uint,
    _flags: kernel::ffi::c_int,
    key: *mut kernel::ffi::c_void,
) -> kernel::ffi::c_int {
    // SAFETY: `raw` is the field `entry` of a `PollEntry`, as `enqueue` linked it. It is on the
    // queue whose lock the wake-up holds. The owner of the request takes the entry off under that
    // lock before it drops its reference, so the request is in memory.
    let entry: &PollEntry =
        unsafe { &*kernel::container_of!(Opaque::cast_from(raw), PollEntry, entry) };
    // SAFETY: `enqueue` set `private` to the `T` that holds the entry, and that is in memory as
    // long as the entry is on the queue.
    let tracked: &T = unsafe { &*(*raw).private.cast() };
    // SAFETY: the function computes a number of `key`, and does not follow it.
    let mask = unsafe { ffi::kaio_key_to_poll(key) };
    let pollfree = poll::is_queue_freed(mask);
    let polls = tracked.polls();
    // A wake-up without events stands for any of them.
    if mask != 0 && !pollfree && mask & polls.events.load(Relaxed) == 0 {
        return 0;
    }
    polls.woken.store(mask, Relaxed);
    let owner = tracked.take_kicked();
    // The next run arms again, if it must. An entry that has fired would only cost each later
    // wake-up of this queue time.
    // SAFETY: the wake-up holds the lock of the queue on which the entry is. If `owner` is `None`,
    // this is the last use of the request: once `head` is null, `disarm` does not take the lock, and
    // the request may end.
    unsafe { ffi::kaio_poll_entry_free(raw, entry.head.get()) };
    if let Some(owner) = owner {
        // A driver that frees its queue (POLLFREE) has no events to report.
        T::hand_over(owner, if pollfree { 0 } else { mask });
    }
    1
}

impl PollEntries {
    /// Returns the poll events that the last wake-up reported, or 0 if it reported none.
    pub(super) fn woken(&self) -> u32 {
        self.woken.load(Relaxed)
    }
}
