// SPDX-License-Identifier: GPL-2.0

//! A transfer: what a read or write has done, what is left, and how it waits.

use crate::{
    request::issue::IssueMode,
    sys::iov::Buffers, //
};

/// How a transfer waits, if it must.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// It does not wait: it gets one attempt, in the submit call, and `EAGAIN` is its result
    /// (`RWF_NOWAIT`, `O_NONBLOCK`, files that no worker may touch).
    Once,
    /// It waits by poll until the file is ready.
    Poll(Readiness),
    /// It is a read that waits for a page: the task that unlocks the page kicks it.
    Pages,
    /// A worker does it and may wait.
    Worker {
        /// An attempt without waiting comes first.
        try_first: bool,
    },
}

/// What is known of a file that a transfer waits for by poll.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// The transfer is tried before it waits, because some character devices can be written but
    /// never report that.
    Untried,
    /// The transfer waits until the file reports that it is ready.
    NotReady,
    /// The file has just reported that it is ready.
    Ready,
}

/// What a transfer has done and has to do.
pub(crate) struct Transfer {
    pub(crate) buffers: Buffers,
    pub(crate) write: bool,
    pub(crate) pos: i64,
    /// `IOCB_*` flags with which each attempt begins.
    pub(crate) flags: i32,
    /// Bytes that the attempts so far have moved.
    pub(crate) done: usize,
    pub(crate) strategy: Strategy,
    /// The file takes `IOCB_NOWAIT` for this transfer.
    pub(crate) nowait: bool,
    /// How far the attempt in hand may go.
    pub(crate) mode: IssueMode,
    /// How often in a row the transfer was about to wait and did not.
    pub(crate) rounds: u32,
}

impl Transfer {
    pub(crate) fn is_nowait(&self) -> bool {
        self.strategy == Strategy::Once
    }

    /// Returns whether the transfer waits by poll.
    pub(crate) fn is_pollable(&self) -> bool {
        matches!(self.strategy, Strategy::Poll(_))
    }
}
