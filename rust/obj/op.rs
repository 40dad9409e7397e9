// SPDX-License-Identifier: GPL-2.0

//! The vocabulary between operations and the engine that runs them.
//!
//! An operation says what it needs next (a [`Verdict`]) and never touches ring, workqueue or wait
//! queues: `exec` alone does. The request travels through the verdict, so it cannot be lost.

use kernel::prelude::*;

use crate::{
    obj::kiocb::Kiocb,
    sys::{
        errno,
        file::File,
        request::{
            Active,
            Prepared, //
        },
        uapi::Iocb,
    },
};

/// Where an operation runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// In the submit call: must not wait for anything.
    Submit,
    /// In the kick handler, after a kick: must not wait either, as others of its context do.
    Kick,
    /// In a worker: may wait for what comes in bounded time, such as a disk.
    Work,
}

/// What an operation needs next.
#[must_use]
pub(crate) enum Verdict {
    /// Nothing: it is over, with bytes or a negative errno.
    Done(Active<Kiocb>, i64),
    /// A driver has it and will say, or a page.
    Driver,
    /// It was cancelled while it ran.
    Cancelled(Active<Kiocb>),
    /// To be run by a worker, where it may wait.
    Defer(Active<Kiocb>),
    /// To be run again when the file is ready.
    Park(Active<Kiocb>),
}

/// What an attempt came to that was made without a request.
pub(crate) enum Now {
    /// It is over, with bytes or a negative errno.
    Done(i64),
    /// It has to wait, and the request need not try that again (`Kiocb::missed`).
    Missed,
    /// A request is needed to tell.
    Unfit,
}

/// An operation: one file in `ops/` and one line in `ops.rs`.
pub(crate) trait Op {
    /// `aio_lio_opcode`.
    const OPCODE: u16;
    /// The result of a request that was cancelled before it did anything.
    const CANCELLED: i64 = errno::ECANCELED;
    /// It depends on what the file can do.
    const LOOKS_AT_FILE: bool = true;
    /// Once deferred it is done, even if the context ends before its turn.
    const PLEDGED: bool = false;

    /// Does it in the submit call, if it is as plain as most are, and can be done on the spot: for what
    /// is over at once no request is made. Nobody can cancel it, or sees it before its event. All that
    /// is wrong with the arguments is left to [`Self::prep`].
    ///
    /// Only for what keeps no order with others (`Kiocb::stream`), and not of files with a provider.
    fn now(_iocb: &Iocb, _file: &File) -> Now {
        Now::Unfit
    }

    /// Checks the arguments and fills in the request. No side effects; an error means that the
    /// request never was (the caller of io_submit(2) gets it).
    fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>) -> Result;

    /// Runs an attempt (`ki_retry` of the classic design).
    fn retry(req: Active<Kiocb>, how: How) -> Verdict;

    /// A driver that had the request ([`Verdict::Driver`]) is done with it. Any context, hard
    /// interrupt included.
    fn driver_done(req: Active<Kiocb>, ret: isize) -> Verdict {
        Verdict::Done(req, ret as i64)
    }
}

/// An [`Op`] as a value.
pub(crate) struct OpDef {
    pub(crate) opcode: u16,
    pub(crate) cancelled: i64,
    pub(crate) looks_at_file: bool,
    pub(crate) pledged: bool,
    pub(crate) now: fn(&Iocb, &File) -> Now,
    pub(crate) prep: fn(&Iocb, &mut Prepared<Kiocb>) -> Result,
    pub(crate) retry: fn(Active<Kiocb>, How) -> Verdict,
    pub(crate) driver_done: fn(Active<Kiocb>, isize) -> Verdict,
}

impl OpDef {
    pub(crate) const fn of<T: Op>() -> Self {
        Self {
            opcode: T::OPCODE,
            cancelled: T::CANCELLED,
            looks_at_file: T::LOOKS_AT_FILE,
            pledged: T::PLEDGED,
            now: T::now,
            prep: T::prep,
            retry: T::retry,
            driver_done: T::driver_done,
        }
    }
}
