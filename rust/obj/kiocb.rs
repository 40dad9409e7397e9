// SPDX-License-Identifier: GPL-2.0

//! The request: what `struct aio_kiocb` of fs/aio.c holds, and of the classic `struct kiocb` what
//! a retry needs (`ki_retry`, `ki_pos`, `ki_left`, `private`).

use core::mem::size_of;

use kernel::{
    prelude::*,
    static_assert, //
};

use crate::{
    obj::{
        kioctx::Kioctx,
        op::{
            How,
            OpDef, //
        },
    },
    pure::args,
    sys::{
        eventfd::EventFd,
        file::File,
        iocb::{
            self,
            Effort, //
        },
        iov::Buffers,
        lease::{
            Bundle,
            Lease, //
        },
        mm::Users,
        provider::Provided,
        request::Tracked,
        submitter::Submitter,
        uapi::IoEvent, //
    },
};

/// A place reserved in the ring of a context, and the lease that keeps the context. Dropping it
/// gives the place back; [`Slot::post`] turns it into an event, or [`Slot::owe`] leaves that to the
/// submit call. So a request has an event's place as long as it lives, and posts once.
pub(crate) struct Slot {
    ctx: Lease<Kioctx>,
    posted: bool,
}

/// Places that are reserved at once: a call that sleeps keeps them from others.
const AT_ONCE: u32 = 32;

/// Places that a submit call has reserved and not given to requests yet. They go back when it ends.
pub(crate) struct Slots<'a> {
    ctx: &'a Bundle<Kioctx>,
    left: u32,
}

/// One of them, for the request in hand.
pub(crate) struct Place<'a, 'b>(&'a mut Slots<'b>);

impl<'b> Slots<'b> {
    pub(crate) fn new(ctx: &'b Bundle<Kioctx>) -> Self {
        Self { ctx, left: 0 }
    }

    /// For one request, of `want` that are still to come. `EAGAIN`: the context holds as many as it
    /// can. `EINVAL`: it was killed meanwhile, and is as if it had never been there.
    #[inline]
    pub(crate) fn place(&mut self, want: u32) -> Result<Place<'_, 'b>> {
        if self.ctx.is_dead() {
            return Err(EINVAL);
        }
        if self.left == 0 {
            self.left = self.ctx.ring().reserve(want.min(AT_ONCE));
        }
        match self.left {
            0 => Err(EAGAIN),
            _ => Ok(Place(self)),
        }
    }
}

impl Place<'_, '_> {
    /// For a request that lives until its event comes; so many are still to come.
    pub(crate) fn keep(self, want: u32) -> Slot {
        self.0.left -= 1;
        Slot {
            ctx: self.0.ctx.take(want),
            posted: false,
        }
    }

    /// The caller has the event, and puts it into the ring.
    pub(crate) fn owe(self) {
        self.0.left -= 1;
    }
}

impl Drop for Slots<'_> {
    fn drop(&mut self) {
        if self.left > 0 {
            self.ctx.ring().unreserve(self.left);
        }
    }
}

impl Slot {
    pub(crate) fn ctx(&self) -> &Kioctx {
        &self.ctx
    }

    /// A lease of its own, which may outlast this one.
    pub(crate) fn lease(&self) -> Lease<Kioctx> {
        self.ctx.again()
    }

    /// Puts the event into the ring. Any context.
    pub(crate) fn post(&mut self, event: &IoEvent) {
        if !core::mem::replace(&mut self.posted, true) {
            self.ctx.ring().post(core::slice::from_ref(event));
        }
    }

    /// Leaves it to the caller to put the event into the ring.
    pub(crate) fn owe(&mut self) {
        self.posted = true;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.posted {
            self.ctx.ring().unreserve(1);
        }
    }
}

/// Bytes of the page cache that are copied in no time.
const SMALL: usize = 128 << 10;

/// What a transfer has done and has to do.
pub(crate) struct Transfer {
    pub(crate) buffers: Buffers,
    pub(crate) write: bool,
    pub(crate) pos: i64,
    /// `IOCB_*`, as an attempt begins with.
    pub(crate) flags: i32,
    /// Bytes moved by the attempts so far.
    pub(crate) done: usize,
    /// One attempt, in the submit call, and `EAGAIN` is an answer (`RWF_NOWAIT`, `O_NONBLOCK`, files
    /// that no worker may touch).
    pub(crate) impatient: bool,
    /// An attempt without waiting makes sense.
    pub(crate) try_first: bool,
    /// A read that can be left to whoever unlocks the page.
    pub(crate) pages: bool,
    /// The file takes `IOCB_NOWAIT` for it.
    pub(crate) nowait: bool,
    /// It need not be tried before it is waited for. There are character devices that never say that
    /// they can be written, and can.
    pub(crate) tried: bool,
    /// How far the attempt in hand may go.
    pub(crate) effort: Effort,
    /// The file can be waited for by poll.
    pub(crate) pollable: bool,
    /// Poll has just said that it is ready.
    pub(crate) ready: bool,
    /// Times in a row that it was to wait and did not.
    pub(crate) rounds: u32,
}

/// A request. Its owner (`sys::request`) is who may touch it.
pub(crate) struct Kiocb {
    pub(crate) ki_op: &'static OpDef,
    pub(crate) ki_filp: File,
    pub(crate) ki_eventfd: Option<EventFd>,
    /// Whom the kick handler stands for.
    pub(crate) submitter: Submitter,
    /// The submitter's memory, while a write is deferred: it is done even if the submitter exits.
    /// Parked requests do not hold it.
    pub(crate) users: Option<Users>,
    pub(crate) transfer: Option<Transfer>,
    /// If another module drives it. Set before it starts, and not changed: those who cancel look.
    pub(crate) provider: Option<Provided>,
    /// The poll events that it waits for; 0: for none, somebody will kick.
    pub(crate) events: u32,
    /// It was tried before it was made, and would have had to wait (`Op::now`).
    pub(crate) missed: bool,
    /// The submit call that made it, if that had its context's tray.
    pub(crate) call: u32,
    /// `aio_data`.
    pub(crate) ki_user_data: u64,
    // Last: the rest has gone before the context, and the module, may.
    pub(crate) place: Slot,
}

impl Kiocb {
    /// Whether an attempt that waits for nothing can be made. A FIFO knows how, but may hold its
    /// lock for long: not in the submit call.
    pub(crate) fn may_try(&self, how: How) -> bool {
        let knows = |t: &Transfer| t.nowait || (self.ki_filp.fifo() && how != How::Submit);
        self.transfer.as_ref().is_none_or(knows)
    }

    /// What it must not overtake others about, and is done one after another with:
    ///
    /// - writes to a regular file that append or go to the page cache. The latter would only wait for
    ///   each other's lock, each in a worker. An fsync comes after them.
    /// - reads, and writes, of one open file that must become ready.
    ///
    /// Not for those that ask to be answered at once.
    pub(crate) fn stream(&self) -> Option<usize> {
        let file = &self.ki_filp;
        let Some(transfer) = self.transfer.as_ref() else {
            return (self.is_sync() && file.regular()).then(|| file.identity());
        };
        let flags = transfer.flags;
        let in_turn = flags & iocb::APPEND != 0 || flags & iocb::DIRECT == 0;
        match transfer {
            t if t.impatient => None,
            t if t.pollable => Some(file.address() | usize::from(t.write)),
            t if t.write && file.regular() && in_turn => Some(file.identity()),
            _ => None,
        }
    }

    /// The file and the direction of a transfer that a disk may be able to do without waiting.
    pub(crate) fn disk_target(&self) -> Option<(usize, bool)> {
        let transfer = self.transfer.as_ref()?;
        let tried = transfer.try_first && !transfer.pages && !transfer.impatient;
        (tried && self.ki_filp.on_disk() && self.ki_filp.nowait())
            .then(|| (self.ki_filp.identity(), transfer.write))
    }

    /// How many like this one it makes sense to start at once.
    pub(crate) fn room(&self) -> u32 {
        match &self.transfer {
            Some(transfer) if transfer.flags & iocb::DIRECT != 0 => self.ki_filp.tags(),
            _ => u32::MAX,
        }
    }

    /// It is an fsync.
    pub(crate) fn is_sync(&self) -> bool {
        self.transfer.is_none() && self.ki_op.pledged
    }

    pub(crate) fn is_write(&self) -> bool {
        self.transfer.as_ref().is_some_and(|t| t.write)
    }

    /// Its attempt in the submit call may wait: `O_NONBLOCK` means nothing to such a file, or it is the
    /// caller's own.
    pub(crate) fn may_hold_call(&self) -> bool {
        let may_hold = |t: &Transfer| t.impatient && !t.nowait;
        self.transfer.as_ref().is_some_and(may_hold)
    }

    /// Whether it may be run by whoever waits for its event. By who would have submitted it the same
    /// way, and if that takes no time: a write may raise a signal, a provider counts on a kworker, and
    /// a file that nobody else has would be closed.
    pub(crate) fn may_be_helped(&self) -> bool {
        let file = &self.ki_filp;
        let is_small = |t: &Transfer| args::rest(t.buffers.len(), t.done) <= SMALL;
        let quick = match &self.transfer {
            Some(t) if file.on_disk() => !t.write && t.nowait && t.pages && is_small(t),
            Some(t) => !t.write && t.nowait,
            None => !self.is_sync() && self.provider.is_none(),
        };
        quick && !file.is_last() && self.submitter.is_current()
    }

    /// What a request that is given up has to say: what it did so far, or that it was cancelled.
    pub(crate) fn cancelled_res(&self) -> i64 {
        let done = match (&self.transfer, &self.provider) {
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

// With its reference count it fits into what the allocator has for half a kilobyte.
static_assert!(cfg!(CONFIG_LOCKDEP) || size_of::<Tracked<Kiocb>>() <= 512 - 8);
