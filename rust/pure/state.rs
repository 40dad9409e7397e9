// SPDX-License-Identifier: GPL-2.0

//! The states of a request, and which thread may act in each.
//!
//! The counterpart of `ki_retry` and `kick_iocb()` of the classic fs/aio.c.
//!
//! ```text
//!              claim                       done
//!   QUEUED ------------> RUNNING ------------------> DONE
//!     ^  ^    queue       |   ^
//!     |  +----------------+   | park refused: a kick came during the run
//!     |  kick, cancel         |
//!     +-------------- PARKED <+ park
//! ```
//!
//! Invariants: in RUNNING there is one token (`request::token::Active`), in the submitter, in the
//! kick handler, in a worker or with a driver. In QUEUED the request is in one queue, or on the way
//! there (`request::queued::QueuedRequest`), and the thread that takes it out claims it. In PARKED
//! one compare-and-swap decides between a kick and a cancel. Only one run goes on at a time, and a
//! kick during a run is remembered.

/// A word that changes atomically. The kernel's atomics implement this, and so does a plain cell
/// for tests in one thread.
pub(crate) trait Word {
    /// Returns the value, with acquire semantics.
    fn load(&self) -> u32;
    /// Replaces `old` by `new` with full ordering. On failure returns the value that was found,
    /// loaded with acquire semantics.
    fn swap_if(&self, old: u32, new: u32) -> Result<(), u32>;
    /// Sets the value, while no other thread looks at it.
    fn set(&self, value: u32);

    /// Applies `step` until its new value is stored; `None` leaves the word unchanged.
    fn change<T>(&self, step: impl Fn(u32) -> (Option<u32>, T)) -> T {
        let mut old = self.load();
        loop {
            let (new, result) = step(old);
            match new.map(|new| self.swap_if(old, new)) {
                Some(Err(found)) => old = found,
                Some(Ok(())) | None => return result,
            }
        }
    }
}

const RUNNING: u32 = 0;
const QUEUED: u32 = 1;
const PARKED: u32 = 2;
const DONE: u32 = 3;
const PHASE: u32 = 3;
/// A kick came while RUNNING.
const KICKED: u32 = 4;
/// The request must not be retried.
const CANCELLED: u32 = 8;
/// The request is must-run: it is done even if its context ends.
const MUST_RUN: u32 = 16;
/// The token holder has given the token to a call that may leave it with a driver or a page ...
const ISSUED: u32 = 32;
/// ... and the call has left it there.
const IN_FLIGHT: u32 = 64;

/// The result of a kick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kick {
    /// The request was parked, and the caller must queue it.
    Queue,
    /// The request runs, and the run will see the kick.
    Remembered,
    /// The request is queued or done.
    Nothing,
}

/// The result of a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// The request was parked, and the caller owns it: it is QUEUED, in no queue.
    Take,
    /// The request is QUEUED. The caller may take it out of its queue; otherwise the thread that
    /// takes it out will see the cancel.
    Dequeue,
    /// The request runs, and the run will see the cancel.
    Remembered,
    /// The request is done, was cancelled before, or is spared.
    Nothing,
}

/// The cause of a cancel, which says which requests are spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelScope {
    /// A task cancels one request: requests that a driver or a page has are spared.
    User,
    /// The context ends: must-run requests are spared.
    Exit,
}

/// The state of one request. It starts RUNNING.
pub(crate) struct State<W: Word>(W);

impl<W: Word> State<W> {
    /// Makes the state. `word` must be 0.
    pub(crate) const fn new(word: W) -> Self {
        Self(word)
    }

    /// Makes the state RUNNING, as in the beginning, while no other thread looks at it.
    #[inline]
    pub(crate) fn renew(&self) {
        self.0.set(RUNNING);
    }

    #[cfg(CONFIG_KAIO_KUNIT_TEST)]
    pub(crate) fn into_word(self) -> W {
        self.0
    }

    /// Notes that an event came for which the request waits. Any thread, at any time, in any
    /// context.
    pub(crate) fn kick(&self) -> Kick {
        self.0.change(|s| match s & PHASE {
            PARKED => (Some((s & !PHASE) | QUEUED), Kick::Queue),
            RUNNING => (Some(s | KICKED), Kick::Remembered),
            _ => (None, Kick::Nothing),
        })
    }

    /// Notes that the request must not be retried. Any thread, at any time, in any context.
    pub(crate) fn cancel(&self, scope: CancelScope) -> Cancel {
        self.0.change(|s| {
            let spared = match scope {
                CancelScope::Exit => s & MUST_RUN != 0,
                CancelScope::User => s & IN_FLIGHT != 0,
            };
            // The canceller that marked the request first ends it.
            if spared || s & CANCELLED != 0 {
                return (None, Cancel::Nothing);
            }
            match s & PHASE {
                PARKED => (Some((s & !PHASE) | QUEUED | CANCELLED), Cancel::Take),
                QUEUED => (Some(s | CANCELLED), Cancel::Dequeue),
                RUNNING => (Some(s | KICKED | CANCELLED), Cancel::Remembered),
                _ => (None, Cancel::Nothing),
            }
        })
    }

    /// Takes a cancel back, because the driver or provider that has the request does not give it
    /// up. The request goes on, and may be cancelled again.
    pub(crate) fn uncancel(&self) {
        self.0
            .change(|s| ((s & PHASE == RUNNING).then_some(s & !CANCELLED), ()))
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load() & CANCELLED != 0
    }

    /// Makes the request must-run: it will be done even if its context ends. For the token holder.
    pub(crate) fn set_must_run(&self) {
        self.0.change(|s| (Some(s | MUST_RUN), ()))
    }

    /// Makes the request not must-run. For the token holder.
    pub(crate) fn clear_must_run(&self) {
        self.0
            .change(|s| ((s & MUST_RUN != 0).then_some(s & !MUST_RUN), ()))
    }

    pub(crate) fn must_run(&self) -> bool {
        self.0.load() & MUST_RUN != 0
    }

    /// Notes that the token goes to a call that may leave it with a driver or a page. For the token
    /// holder.
    pub(crate) fn begin_issue(&self) {
        self.0.change(|s| (Some(s | ISSUED), ()))
    }

    /// Notes that the call has left the token there. The token may have come back by now.
    pub(crate) fn left(&self) {
        self.0
            .change(|s| ((s & ISSUED != 0).then_some(s | IN_FLIGHT), ()))
    }

    /// Notes that the driver or page has given the token back.
    pub(crate) fn give_back(&self) {
        self.0.change(|s| {
            let issued = s & (ISSUED | IN_FLIGHT) != 0;
            (issued.then_some(s & !(ISSUED | IN_FLIGHT)), ())
        })
    }

    /// Parks the request, for the token holder. Returns `false` if a kick or cancel came during the
    /// run: the request keeps running.
    pub(crate) fn park(&self) -> bool {
        self.0
            .change(|s| match (s & PHASE, s & (KICKED | CANCELLED)) {
                (RUNNING, 0) => (Some(s | PARKED), true),
                _ => (Some(s & !KICKED), false),
            })
    }

    /// Makes the request QUEUED, for the token holder that puts it into a queue.
    pub(crate) fn queue(&self) {
        self.0
            .change(|s| (Some((s & !(PHASE | KICKED)) | QUEUED), ()))
    }

    /// Makes the request RUNNING, for the thread that took it out of its queue and now has the
    /// token. Returns `false` if the request was not queued, which would be a bug.
    pub(crate) fn claim(&self) -> bool {
        self.0.change(|s| match s & PHASE {
            QUEUED => (Some((s & !(PHASE | KICKED)) | RUNNING), true),
            _ => (None, false),
        })
    }

    /// Makes the request DONE, for the token holder. Returns `false` if it was done before, which
    /// would be a bug.
    pub(crate) fn done(&self) -> bool {
        self.0.change(|s| match s & PHASE {
            RUNNING => (Some((s & !PHASE) | DONE), true),
            _ => (None, false),
        })
    }
}
