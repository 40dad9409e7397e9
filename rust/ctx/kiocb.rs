// SPDX-License-Identifier: GPL-2.0

//! The request.
//!
//! The counterpart of `struct aio_kiocb` of fs/aio.c, with what a retry needs of the classic
//! `struct kiocb` (`ki_retry`, `ki_pos`, `ki_left`, `private`).
//!
//! Invariants: only the owner of a request touches its [`Kiocb`] (`request`). Everything in
//! [`Shared`] stays unchanged once the request has started. With its reference count a request fits
//! into 512 bytes.

use core::mem::size_of;

use kernel::{
    prelude::*,
    static_assert, //
};

use super::{
    kioctx::Kioctx,
    op::{
        IssueContext,
        Kind,
        OpDef, //
    },
    slot::Slot,
    transfer::{
        Strategy,
        Transfer, //
    },
};
use crate::{
    provider::iocb::ProviderRef,
    pure::args,
    request::{
        issue::{
            self,
            IssueMode, //
        },
        light::LightTransfer,
        RequestInner, //
    },
    sys::{
        eventfd::EventFd,
        file::File,
        iov::Buffers,
        lease::Lease,
        mm::MmUsers,
        poll,
        submitter::Submitter,
        uapi::IoEvent, //
    },
};

/// Bytes that the submit call copies for one request; a worker copies a longer one. A processor
/// copies some 10 GB in a second, so this many take 25 us, several times as long as waking a
/// worker.
pub(crate) const COPY_EACH: usize = 256 << 10;

/// Bytes of the page cache that a task which waits for events may copy for a kicked request.
const SMALL: usize = 128 << 10;

/// The part of a request that not only its owner reads: cancellers and kicks read it too.
pub(crate) struct Shared {
    /// What a provider has of the request, if a provider drives it.
    pub(crate) provider: Option<ProviderRef<Kiocb>>,
    // Last, because it keeps the context and the module, which the other fields need until they are
    // dropped.
    pub(crate) ctx: Lease<Kioctx>,
}

/// A request. Only its owner touches it (`request`).
pub(crate) struct Kiocb {
    pub(crate) ki_op: &'static OpDef,
    pub(crate) ki_filp: File,
    pub(crate) ki_eventfd: Option<EventFd>,
    /// The submitter, whose rights the kick handler and workers take on.
    pub(crate) submitter: Submitter,
    /// The submitter's memory, while a write is left to a worker: the write is done even if the
    /// submitter exits. Parked requests do not hold the memory.
    pub(crate) users: Option<MmUsers>,
    pub(crate) transfer: Option<Transfer>,
    /// The poll events that the request waits for. 0 means none: a provider kicks the request.
    pub(crate) events: u32,
    /// An attempt before the request was made has found that the request has to wait
    /// (`Op::try_inline`).
    pub(crate) would_block: bool,
    /// The request has ended, and its result is kept until a kworker completes it, because the
    /// eventfd must not be signalled where it ended (`engine::complete`).
    pub(crate) result_kept: bool,
    /// The number of the submit call that made the request, or `NO_CALL` if that call did not use
    /// the state of the context.
    pub(crate) call: u32,
    /// `aio_data`.
    pub(crate) ki_user_data: u64,
    // Last, because it keeps the context and the module, which the other fields need until they are
    // dropped.
    pub(crate) ring_slot: Slot,
}

/// Returns the number of bytes that could be copied in the time in which a direct transfer of `len`
/// bytes takes hold of its pages.
#[inline]
pub(crate) fn direct_bytes_in_call(len: usize) -> usize {
    const DIRECT_IS_QUICKER: usize = 8;

    len / DIRECT_IS_QUICKER
}

/// What a light request is about: one O_DIRECT transfer with one buffer, to or from a disk.
pub(crate) struct LightKiocb {
    pub(crate) ki_op: &'static OpDef,
    pub(crate) ki_filp: File,
    pub(crate) ki_eventfd: Option<EventFd>,
    /// The submitter, whose rights a worker takes on if the request has to wait.
    pub(crate) submitter: Submitter,
    pub(crate) transfer: LightTransfer,
    /// The number of the submit call that made the request, or `NO_CALL` if that call did not use
    /// the state of the context.
    pub(crate) call: u32,
    /// The address of the iocb, by which a full request is cancelled.
    pub(crate) key: u64,
    /// `aio_data`.
    pub(crate) ki_user_data: u64,
    // Last, because it keeps the context and the module, which the other fields need until they are
    // dropped.
    pub(crate) ring_slot: Slot,
}

impl LightKiocb {
    /// Makes the parts of a full request, of which `done` bytes are done, and which may be left to
    /// a worker.
    pub(crate) fn into_full(self, done: usize) -> (Shared, impl Init<Kiocb>) {
        let LightTransfer {
            addr,
            len,
            pos,
            flags,
            write,
        } = self.transfer;
        let shared = Shared {
            provider: None,
            ctx: self.ring_slot.lease(),
        };
        let data = init!(Kiocb {
            ki_op: self.ki_op,
            ki_filp: self.ki_filp,
            ki_eventfd: self.ki_eventfd,
            submitter: self.submitter,
            users: None,
            transfer: Some(Transfer {
                buffers: Buffers::checked(write, addr, len),
                write,
                pos,
                flags,
                done,
                strategy: Strategy::Worker { try_first: true },
                nowait: true,
                mode: IssueMode::NoWait,
                rounds: 0,
            }),
            events: poll::events_for(write),
            would_block: false,
            result_kept: false,
            call: self.call,
            ki_user_data: self.ki_user_data,
            ring_slot: self.ring_slot,
        });
        (shared, data)
    }

    /// Returns the event of a request that ends with bytes or a negative errno.
    #[inline]
    pub(crate) fn event(&self, res: i64) -> IoEvent {
        IoEvent {
            data: self.ki_user_data,
            obj: self.key,
            res,
            res2: 0,
        }
    }
}

impl Kiocb {
    /// Returns whether an attempt that waits for nothing can be made. A FIFO knows `IOCB_NOWAIT`
    /// whatever its file says, but may hold its lock for long, so the submit call does not try it.
    pub(crate) fn may_try(&self, context: IssueContext) -> bool {
        let can_try =
            |t: &Transfer| t.nowait || (self.ki_filp.fifo() && context != IssueContext::Submit);
        self.transfer.as_ref().is_none_or(can_try)
    }

    /// Returns the order key: requests with the same key are done one after another, in the order
    /// of their submission. `None` if the request keeps no order. The following keep an order:
    ///
    /// - Writes to a regular file that append or go to the page cache. The latter would only wait
    ///   for each other's lock, each in a worker. An fsync comes after them.
    /// - Reads of one open file that must become ready.
    /// - Writes to such a file, apart from its reads.
    ///
    /// A transfer that gets only one attempt, in the submit call, keeps no order.
    pub(crate) fn order_key(&self) -> Option<usize> {
        let file = &self.ki_filp;
        let Some(transfer) = self.transfer.as_ref() else {
            return (self.is_sync() && file.regular()).then(|| file.identity());
        };
        let flags = transfer.flags;
        let in_turn = flags & issue::APPEND != 0 || flags & issue::DIRECT == 0;
        match transfer {
            t if t.is_nowait() => None,
            // The address is even, so its lowest bit keeps writes apart from reads.
            t if t.is_pollable() => Some(file.address() | usize::from(t.write)),
            t if t.write && file.regular() && in_turn => Some(file.identity()),
            _ => None,
        }
    }

    /// Returns the file and the direction of a transfer that a disk may be able to do without
    /// waiting.
    pub(crate) fn disk_target(&self) -> Option<(usize, bool)> {
        let transfer = self.transfer.as_ref()?;
        let try_first = transfer.strategy == Strategy::Worker { try_first: true };
        (try_first && self.ki_filp.on_disk() && self.ki_filp.nowait())
            .then(|| (self.ki_filp.identity(), transfer.write))
    }

    /// Returns the number of transfers like this one that the device can have in hand.
    pub(crate) fn device_tags(&self) -> u32 {
        match &self.transfer {
            Some(transfer) if transfer.flags & issue::DIRECT != 0 => self.ki_filp.tags(),
            _ => u32::MAX,
        }
    }

    /// Returns the number of bytes that an attempt in the submit call may copy, for files where the
    /// caller chooses how many. Pipes and sockets have no more than their buffers, so they count as
    /// 0. A direct transfer takes hold of its pages, or fills them with zeros, which is quicker
    /// than copying.
    pub(crate) fn bytes_in_call(&self) -> usize {
        let file = &self.ki_filp;
        match &self.transfer {
            Some(t) if file.on_disk() && t.flags & issue::DIRECT != 0 => {
                direct_bytes_in_call(t.buffers.len())
            }
            Some(t) if file.on_disk() => t.buffers.len(),
            // A file that no worker may touch counts as 0, because only the submit call can make
            // the attempt.
            Some(t) if file.character() && !file.is_the_submitters(t.write) => t.buffers.len(),
            _ => 0,
        }
    }

    /// Returns whether the operation is an fsync.
    pub(crate) fn is_sync(&self) -> bool {
        self.ki_op.kind == Kind::Sync
    }

    pub(crate) fn is_write(&self) -> bool {
        self.transfer.as_ref().is_some_and(|t| t.write)
    }

    /// Returns whether the attempt in the submit call may wait: it is the only attempt, and the
    /// file does not know `IOCB_NOWAIT`.
    pub(crate) fn may_delay_call(&self) -> bool {
        let may_hold = |t: &Transfer| t.is_nowait() && !t.nowait;
        self.transfer.as_ref().is_some_and(may_hold)
    }

    /// Returns whether a task that waits for the event may run the request. The task must be one
    /// that would have submitted the request the same way, and the run must be short. So these are
    /// left to the kick handler: a write, which may raise a signal; a request of a provider, which
    /// counts on a kworker; a request that has the last reference to its file, which the task would
    /// close; and a transfer whose memory is not present, for which the task would wait.
    pub(crate) fn may_run_inline(&self, shared: &Shared) -> bool {
        let file = &self.ki_filp;
        let is_small = |t: &Transfer| args::rest(t.buffers.len(), t.done) <= SMALL;
        let quick = match &self.transfer {
            Some(t) if file.on_disk() => {
                !t.write && t.nowait && t.strategy == Strategy::Pages && is_small(t)
            }
            Some(t) => !t.write && t.nowait,
            None => !self.is_sync() && shared.provider.is_none(),
        };
        quick && !file.is_last() && self.submitter.is_current() && self.memory_is_present()
    }

    /// Returns whether the memory of the transfer was present a moment ago, in the current task's
    /// mm.
    fn memory_is_present(&self) -> bool {
        let is_there = |t: &Transfer| t.buffers.rest(t.done).is_present();
        self.transfer.as_ref().is_none_or(is_there)
    }

    /// Returns the result of a request that is cancelled: the bytes that it has moved so far, or
    /// the result that the operation has for a cancelled request.
    pub(crate) fn cancelled_res(&self, shared: &Shared) -> i64 {
        let done = match (&self.transfer, &shared.provider) {
            (Some(transfer), _) => transfer.done as i64,
            (None, Some(provider)) => provider.done(),
            (None, None) => 0,
        };
        match done {
            0 => self.ki_op.cancelled,
            done => done,
        }
    }
}

// With its reference count, a request fits into the allocator's class of 512 bytes.
static_assert!(cfg!(CONFIG_LOCKDEP) || size_of::<RequestInner<Kiocb>>() <= 512 - 8);
