// SPDX-License-Identifier: GPL-2.0

//! The interface between operations and the engine that runs them.
//!
//! The counterpart of `ki_retry` of the classic fs/aio.c. Invariants: an operation returns what it
//! needs next (a [`Verdict`]), and only `engine` uses ring, workqueues and wait queues. The request
//! moves through the verdict, so it cannot be lost.

use kernel::prelude::*;

use super::{
    kiocb::Kiocb,
    kioctx::Kioctx, //
};
use crate::{
    request::{
        light::LightTransfer,
        token::{
            Active,
            Prepared, //
        },
    },
    sys::{
        errno,
        file::File,
        uapi::Iocb, //
    },
};

/// The names that an operation needs.
pub(crate) mod prelude {
    pub(crate) use super::{
        FastPath,
        IssueContext,
        Kind,
        Op,
        Verdict, //
    };
    pub(crate) use crate::{
        ctx::kiocb::Kiocb,
        request::token::{
            Active,
            Prepared, //
        },
        sys::{
            file::File,
            uapi::{
                self,
                Iocb, //
            },
        },
    };
}

/// Where an operation runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IssueContext {
    /// In the submit call, where it must not wait.
    Submit,
    /// In the kick handler, after a kick. It must not wait there either, because other requests of
    /// the context would wait too.
    Kick,
    /// In a worker, where it may wait for an event that comes in bounded time, such as the end of a
    /// disk transfer.
    Work,
}

/// What a request needs next.
#[must_use]
pub(crate) enum Verdict {
    /// A completion, with bytes or a negative errno.
    Done(Active<Kiocb>, i64),
    /// Nothing: a driver or a page has the request and ends or kicks it later.
    Queued,
    /// The drop of its token: the request was cancelled while it ran.
    Cancelled(Active<Kiocb>),
    /// A run by a worker, where it may wait.
    Punt(Active<Kiocb>),
    /// Another run when the file is ready.
    Park(Active<Kiocb>),
}

/// The result of an attempt that was made without a request.
pub(crate) enum FastPath {
    /// The operation is done, with bytes or a negative errno.
    Done(i64),
    /// The operation is done, and so many bytes were copied.
    Copied(i64),
    /// The operation has to wait, and the request need not try it again (`Kiocb::would_block`).
    WouldBlock,
    /// The operation needs a request.
    Unsupported,
}

/// The kind of an operation, which says how it is ordered and what the end of its context does to
/// it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The end of its context ends it, too.
    Plain,
    /// It is must-run: once a worker is to do it, it is done even if its context ends before its
    /// turn.
    Write,
    /// It is must-run, and it comes after the writes of its file that are queued before it.
    Sync,
}

impl Kind {
    /// Returns whether an operation of this kind is must-run: once a worker is to do it, it is done
    /// even if its context ends before its turn.
    pub(crate) fn must_run(self) -> bool {
        match self {
            Self::Plain => false,
            Self::Write | Self::Sync => true,
        }
    }
}

/// An operation: one file in `ops/` and one line in `ops/mod.rs`.
pub(crate) trait Op {
    /// The `aio_lio_opcode`.
    const OPCODE: u16;
    /// The result of a request that was cancelled before it did anything.
    const CANCELLED: i64 = errno::ECANCELED;
    /// The operation looks at the traits of the file.
    const NEEDS_FILE_TRAITS: bool = true;
    const KIND: Kind = Kind::Plain;

    /// Does the operation in the submit call, without a request, if its arguments are simple and it
    /// need not wait. No canceller can find it, and no task sees it before its event. Wrong
    /// arguments are left to [`Self::prep`].
    ///
    /// Only for files without a provider. An operation that keeps an order (`Kiocb::order_key`) asks
    /// first whether `ctx` has requests that come before it.
    fn try_inline(_iocb: &Iocb, _file: &File, _ctx: &Kioctx) -> FastPath {
        FastPath::Unsupported
    }

    /// Returns the transfer if it may begin as a light request: an O_DIRECT transfer with one
    /// buffer that keeps no order, of a file that the file system may be asked to read or write
    /// without waiting.
    fn light(_iocb: &Iocb, _file: &File) -> Option<LightTransfer> {
        None
    }

    /// Checks the arguments and fills in the request, without side effects. If it returns an error,
    /// io_submit(2) returns that, and there is no request.
    fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>) -> Result;

    /// Makes an attempt (`ki_retry` of the classic fs/aio.c).
    fn issue(req: Active<Kiocb>, context: IssueContext) -> Verdict;

    /// Handles the end of an attempt that a driver had ([`Verdict::Queued`]). Any context, hard
    /// interrupt included.
    fn driver_done(req: Active<Kiocb>, ret: isize) -> Verdict {
        Verdict::Done(req, ret as i64)
    }
}

/// An [`Op`] as a value.
pub(crate) struct OpDef {
    pub(crate) opcode: u16,
    pub(crate) cancelled: i64,
    pub(crate) needs_file_traits: bool,
    pub(crate) kind: Kind,
    pub(crate) try_inline: fn(&Iocb, &File, &Kioctx) -> FastPath,
    pub(crate) light: fn(&Iocb, &File) -> Option<LightTransfer>,
    pub(crate) prep: fn(&Iocb, &mut Prepared<Kiocb>) -> Result,
    pub(crate) issue: fn(Active<Kiocb>, IssueContext) -> Verdict,
    pub(crate) driver_done: fn(Active<Kiocb>, isize) -> Verdict,
}

impl OpDef {
    pub(crate) const fn of<T: Op>() -> Self {
        Self {
            opcode: T::OPCODE,
            cancelled: T::CANCELLED,
            needs_file_traits: T::NEEDS_FILE_TRAITS,
            kind: T::KIND,
            try_inline: T::try_inline,
            light: T::light,
            prep: T::prep,
            issue: T::issue,
            driver_done: T::driver_done,
        }
    }
}
