// SPDX-License-Identifier: GPL-2.0

//! What a provider owes for a request that it was given, and who may act then.
//!
//! ```text
//!          begin            answer: retry            complete, or given back
//!   IDLE ---------> RUNNING ------------> KICK    +------------------------+
//!    ^                |  |  answer: queued |      |                        v
//!    |                |  +------------------------+--> COMPLETION ------> OVER
//!    |                |  answer: a result  |                               ^
//!    |                +--------------------|-------------------------------+
//!    +------------- kick ------------------+-- the request ended, and -----+
//!                                              kick, or given back
//! ```
//!
//! A kick or a completion that comes before the answer is remembered. Each is taken once; a second
//! is [`Told::Wrong`], and changes nothing.

use super::state::Word;

const IDLE: u32 = 0;
const RUNNING: u32 = 1;
const KICK: u32 = 2;
const COMPLETION: u32 = 3;
const OVER: u32 = 4;
const PHASE: u32 = 7;
/// A kick came while RUNNING.
const KICKED: u32 = 8;
/// Somebody is about to complete: the result is theirs to write.
const TAKEN: u32 = 16;
/// The result has been written while RUNNING.
const COMPLETED: u32 = 32;
/// KICK, and the request has ended: a kick only gives the promise up.
const ENDED: u32 = 64;
/// The provider is being asked to give the request back.
const ASKED: u32 = 128;

/// What came of a kick or a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is the caller's to carry out.
    Act,
    /// The attempt goes on; its end will see it.
    Remembered,
    /// The request has ended before: nothing is owed any more.
    LetGo,
    /// None was owed.
    Wrong,
}

/// What an attempt leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The promise stands.
    Owed,
    /// A kick has come.
    Kicked,
    /// A completion has come.
    Completed,
    /// Nothing: the answer was the result.
    Nothing,
    /// A completion is just coming, against the contract: to be answered again in a moment.
    Busy,
}

/// What the end of the request leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A kick is still owed.
    Owed,
    /// Nothing.
    Over,
    /// It was over.
    Before,
}

/// What asking the provider to give the request back may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The caller asks.
    Ask,
    /// It is being retried, asked or completed: an end follows.
    Busy,
}

/// The promise for one request. It starts IDLE.
pub(crate) struct Promise<W: Word>(W);

impl<W: Word> Promise<W> {
    /// `word` must be 0.
    pub(crate) const fn new(word: W) -> Self {
        Self(word)
    }

    /// An attempt begins. `false`: none may now, which would be a bug.
    pub(crate) fn begin(&self) -> bool {
        self.0.change(|s| match s & PHASE {
            IDLE => (Some(RUNNING), true),
            _ => (None, false),
        })
    }

    /// The provider kicks. Any context.
    pub(crate) fn kick(&self) -> Told {
        self.0.change(|s| match s & PHASE {
            RUNNING if s & (KICKED | TAKEN) == 0 => (Some(s | KICKED), Told::Remembered),
            KICK if s & ENDED == 0 => (Some(IDLE), Told::Act),
            KICK => (Some(OVER), Told::LetGo),
            _ => (None, Told::Wrong),
        })
    }

    /// The provider is about to complete: `true` if it may, and the result is its to write. Any
    /// context.
    pub(crate) fn take(&self) -> bool {
        self.0.change(|s| match s & PHASE {
            RUNNING | COMPLETION if s & TAKEN == 0 => (Some(s | TAKEN), true),
            _ => (None, false),
        })
    }

    /// The result has been written. Any context; once after each [`Self::take`].
    pub(crate) fn completed(&self) -> Told {
        self.0.change(|s| match s & PHASE {
            RUNNING => (Some(s | COMPLETED), Told::Remembered),
            COMPLETION => (Some(OVER | TAKEN), Told::Act),
            _ => (None, Told::Wrong),
        })
    }

    /// The attempt was answered "retry". The second value: that broke the contract.
    pub(crate) fn answer_retry(&self) -> (Left, bool) {
        self.0.change(|s| match s {
            _ if s & COMPLETED != 0 => (Some(OVER | TAKEN), (Left::Completed, true)),
            _ if s & TAKEN != 0 => (None, (Left::Busy, false)),
            _ if s & KICKED != 0 => (Some(IDLE), (Left::Kicked, false)),
            _ => (Some(KICK), (Left::Owed, false)),
        })
    }

    /// The attempt was answered "queued".
    pub(crate) fn answer_queued(&self) -> (Left, bool) {
        let wrong = |s: u32| s & KICKED != 0;
        self.0.change(|s| match s {
            _ if s & COMPLETED != 0 => (Some(OVER | TAKEN), (Left::Completed, wrong(s))),
            _ => (Some(COMPLETION | s & TAKEN), (Left::Owed, wrong(s))),
        })
    }

    /// The attempt was answered with a result. No kick was owed, if one came before it.
    pub(crate) fn answer_result(&self) -> (Left, bool) {
        self.0.change(|s| match s {
            _ if s & COMPLETED != 0 => (Some(OVER | TAKEN), (Left::Completed, true)),
            _ if s & TAKEN != 0 => (None, (Left::Busy, false)),
            _ => (Some(OVER), (Left::Nothing, s & KICKED != 0)),
        })
    }

    /// The request ends.
    pub(crate) fn end(&self) -> End {
        self.0.change(|s| match s & PHASE {
            KICK => (Some(s | ENDED), End::Owed),
            IDLE => (Some(OVER), End::Over),
            _ => (None, End::Before),
        })
    }

    /// The request has ended, and the provider took its promise to kick back. `true`: nothing is
    /// owed any more, and that was due to this call.
    pub(crate) fn given_up(&self) -> bool {
        self.0.change(|s| match s {
            _ if s & PHASE == KICK && s & ENDED != 0 => (Some(OVER), true),
            _ => (None, false),
        })
    }

    /// The provider, which owes a completion, is to be asked to give the request back.
    pub(crate) fn ask(&self) -> Ask {
        self.0.change(|s| match s & PHASE {
            COMPLETION if s & (ASKED | TAKEN) == 0 => (Some(s | ASKED), Ask::Ask),
            _ => (None, Ask::Busy),
        })
    }

    /// It said whether it `gave` the request back. `Act`: it is the caller's to end; `Remembered`:
    /// the provider has completed it, or does just now; `Wrong`: it goes on.
    pub(crate) fn asked(&self, gave: bool) -> Told {
        self.0.change(|s| match s & PHASE {
            COMPLETION if s & TAKEN != 0 => (Some(s & !ASKED), Told::Remembered),
            COMPLETION if gave => (Some(OVER), Told::Act),
            COMPLETION => (Some(s & !ASKED), Told::Wrong),
            _ => (None, Told::Remembered),
        })
    }

    /// Nobody owes a kick: one has come, or there was none to come.
    pub(crate) fn is_kicked(&self) -> bool {
        self.0.load() & PHASE != KICK
    }

    /// Somebody completes, or has.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.load() & TAKEN != 0
    }

    /// All is done.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load() & PHASE == OVER
    }
}
