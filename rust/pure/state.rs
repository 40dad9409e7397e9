// SPDX-License-Identifier: GPL-2.0

//! The states of a request, and who may act in each.
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
//! RUNNING is the token (`sys::request::Active`), wherever it is: in the submitter, in the kick
//! handler, or with the driver. QUEUED is a request in one queue, or on the way there
//! (`sys::request::Queued`): whoever takes it out claims it. PARKED belongs to whoever kicks or
//! cancels first. Only one run goes on at a time; a kick during a run is remembered (`ki_retry` and
//! `kick_iocb()` of the classic fs/aio.c).

/// A word that changes atomically. The kernel's atomics fit, and a plain cell where one thread tests.
pub(crate) trait Word {
    /// The value, with acquire semantics.
    fn load(&self) -> u32;
    /// Full ordering on success; the value found on failure.
    fn swap_if(&self, old: u32, new: u32) -> Result<(), u32>;
    /// Sets it, where nobody else looks.
    fn set(&self, value: u32);

    /// Applies `step` until it sticks; `None` leaves the word alone.
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
/// No retry any more.
const CANCELLED: u32 = 8;
/// It is done even if its context ends.
const PLEDGED: u32 = 16;
/// The token is lent to a call that may leave it with a driver, or with a page ...
const LENT: u32 = 32;
/// ... and did.
const AWAY: u32 = 64;

/// What a kick did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kick {
    /// The request was parked and is the caller's to queue.
    Queue,
    /// It runs; the run will see it.
    Remembered,
    /// It is queued or done.
    Nothing,
}

/// What a cancel did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// The request was parked and is the caller's: QUEUED, in no queue.
    Take,
    /// It is QUEUED: the caller may take it out of its queue, else who does will see it.
    Dequeue,
    /// It runs; the run will see it.
    Remembered,
    /// It is done, or cancelled already, or to be spared.
    Nothing,
}

/// Whom a cancel spares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spare {
    /// Those that a driver or a page has: the submitter asks for it.
    Away,
    /// Those that were pledged: the context ends.
    Pledged,
}

/// The state of one request. It starts RUNNING.
pub(crate) struct State<W: Word>(W);

impl<W: Word> State<W> {
    /// `word` must be 0.
    pub(crate) const fn new(word: W) -> Self {
        Self(word)
    }

    /// RUNNING, as in the beginning. Nobody else may look.
    #[inline]
    pub(crate) fn renew(&self) {
        self.0.set(RUNNING);
    }

    #[cfg(CONFIG_KAIO_KUNIT_TEST)]
    pub(crate) fn into_word(self) -> W {
        self.0
    }

    /// Something happened that the request waits for. Anybody, at any time, from any context.
    pub(crate) fn kick(&self) -> Kick {
        self.0.change(|s| match s & PHASE {
            PARKED => (Some((s & !PHASE) | QUEUED), Kick::Queue),
            RUNNING => (Some(s | KICKED), Kick::Remembered),
            _ => (None, Kick::Nothing),
        })
    }

    /// The request is not to be retried. Anybody, at any time, from any context.
    pub(crate) fn cancel(&self, spare: Spare) -> Cancel {
        self.0.change(|s| {
            let spared = match spare {
                Spare::Pledged => s & PLEDGED != 0,
                Spare::Away => s & AWAY != 0,
            };
            // Whoever cancelled it first sees to its end.
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

    /// Who has the request outside does not give it up: it goes on, and may be cancelled again.
    pub(crate) fn uncancel(&self) {
        self.0
            .change(|s| ((s & PHASE == RUNNING).then_some(s & !CANCELLED), ()))
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load() & CANCELLED != 0
    }

    /// The token holder promises that it will be done, whatever happens to its context.
    pub(crate) fn pledge(&self) {
        self.0.change(|s| (Some(s | PLEDGED), ()))
    }

    /// No more.
    pub(crate) fn unpledge(&self) {
        self.0
            .change(|s| ((s & PLEDGED != 0).then_some(s & !PLEDGED), ()))
    }

    pub(crate) fn is_pledged(&self) -> bool {
        self.0.load() & PLEDGED != 0
    }

    /// The token holder runs a call that may not give the token back.
    pub(crate) fn lend(&self) {
        self.0.change(|s| (Some(s | LENT), ()))
    }

    /// The call is over and did not give it back. It may be back from elsewhere by now.
    pub(crate) fn left(&self) {
        self.0.change(|s| ((s & LENT != 0).then_some(s | AWAY), ()))
    }

    /// Whoever had it gives it back.
    pub(crate) fn give_back(&self) {
        self.0.change(|s| {
            let lent = s & (LENT | AWAY) != 0;
            (lent.then_some(s & !(LENT | AWAY)), ())
        })
    }

    /// The token holder parks. `false`: a kick or cancel came during the run; it keeps running.
    pub(crate) fn park(&self) -> bool {
        self.0
            .change(|s| match (s & PHASE, s & (KICKED | CANCELLED)) {
                (RUNNING, 0) => (Some(s | PARKED), true),
                _ => (Some(s & !KICKED), false),
            })
    }

    /// The token holder puts the request into a queue.
    pub(crate) fn queue(&self) {
        self.0
            .change(|s| (Some((s & !(PHASE | KICKED)) | QUEUED), ()))
    }

    /// Who took it out of its queue takes the token. `false`: it was not queued, which would be a
    /// bug.
    pub(crate) fn claim(&self) -> bool {
        self.0.change(|s| match s & PHASE {
            QUEUED => (Some((s & !(PHASE | KICKED)) | RUNNING), true),
            _ => (None, false),
        })
    }

    /// The token holder completes. `false`: it was complete already, which would be a bug.
    pub(crate) fn done(&self) -> bool {
        self.0.change(|s| match s & PHASE {
            RUNNING => (Some((s & !PHASE) | DONE), true),
            _ => (None, false),
        })
    }
}
