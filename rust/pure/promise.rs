// SPDX-License-Identifier: GPL-2.0

//! What a provider owes for a request that it was given, and which thread may act in each state.
//!
//! The counterpart of the `-EIOCBRETRY` and `-EIOCBQUEUED` promises of the classic fs/aio.c.
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
//! Invariants: a kick or a completion that comes before the answer is remembered. Each is taken
//! once; a second one is [`NotifyResult::Wrong`], and changes nothing.

use super::state::Word;

const IDLE: u32 = 0;
const RUNNING: u32 = 1;
const KICK: u32 = 2;
const COMPLETION: u32 = 3;
const OVER: u32 = 4;
const PHASE: u32 = 7;
/// A kick came while RUNNING.
const KICKED: u32 = 8;
/// The provider is about to complete, and writes the result.
const TAKEN: u32 = 16;
/// The result has been written while RUNNING.
const COMPLETED: u32 = 32;
/// KICK, and the request has ended: a kick only gives the promise up.
const ENDED: u32 = 64;
/// The provider is being asked to give the request back.
const ASKED: u32 = 128;

/// The result of a kick or a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotifyResult {
    /// The caller must carry the kick or completion out.
    Act,
    /// The attempt goes on, and its end will see it.
    Remembered,
    /// The request had ended: the provider owes nothing any more.
    LetGo,
    /// The provider owed no kick or completion.
    Wrong,
}

/// What is owed after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptResult {
    /// The provider owes what it has promised.
    Owed,
    /// Nothing: the kick has come.
    Kicked,
    /// Nothing: the completion has come.
    Completed,
    /// Nothing: the answer was the result.
    Nothing,
    /// A completion is coming just now, against the contract: the caller must give the answer again
    /// in a moment.
    Busy,
}

/// What is owed after the end of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The provider still owes a kick.
    Owed,
    /// Nothing.
    Over,
    /// Nothing, and so before this call.
    Before,
}

/// What a canceller finds when it wants to ask the provider to give the request back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The caller may ask.
    Ask,
    /// The request is being retried, asked for or completed, and ends by that.
    Busy,
}

/// The promise for one request. It starts IDLE.
pub(crate) struct Promise<W: Word>(W);

impl<W: Word> Promise<W> {
    /// Makes the promise. `word` must be 0.
    pub(crate) const fn new(word: W) -> Self {
        Self(word)
    }

    /// Begins an attempt. Returns `false` if none may begin now, which would be a bug.
    pub(crate) fn begin(&self) -> bool {
        self.0.change(|s| match s & PHASE {
            IDLE => (Some(RUNNING), true),
            _ => (None, false),
        })
    }

    /// Notes that the provider kicks. Any context.
    pub(crate) fn kick(&self) -> NotifyResult {
        self.0.change(|s| match s & PHASE {
            RUNNING if s & (KICKED | TAKEN) == 0 => (Some(s | KICKED), NotifyResult::Remembered),
            KICK if s & ENDED == 0 => (Some(IDLE), NotifyResult::Act),
            KICK => (Some(OVER), NotifyResult::LetGo),
            _ => (None, NotifyResult::Wrong),
        })
    }

    /// Notes that the provider is about to complete. If this returns `true`, the provider may do
    /// so, and writes the result next. Any context.
    pub(crate) fn take(&self) -> bool {
        self.0.change(|s| match s & PHASE {
            RUNNING | COMPLETION if s & TAKEN == 0 => (Some(s | TAKEN), true),
            _ => (None, false),
        })
    }

    /// Notes that the result has been written. Any context; once after each [`Self::take`].
    pub(crate) fn completed(&self) -> NotifyResult {
        self.0.change(|s| match s & PHASE {
            RUNNING => (Some(s | COMPLETED), NotifyResult::Remembered),
            COMPLETION => (Some(OVER | TAKEN), NotifyResult::Act),
            _ => (None, NotifyResult::Wrong),
        })
    }

    /// Notes that the attempt was answered with "retry". The second value says whether that broke
    /// the contract.
    pub(crate) fn answer_retry(&self) -> (AttemptResult, bool) {
        self.0.change(|s| match s {
            _ if s & COMPLETED != 0 => (Some(OVER | TAKEN), (AttemptResult::Completed, true)),
            _ if s & TAKEN != 0 => (None, (AttemptResult::Busy, false)),
            _ if s & KICKED != 0 => (Some(IDLE), (AttemptResult::Kicked, false)),
            _ => (Some(KICK), (AttemptResult::Owed, false)),
        })
    }

    /// Notes that the attempt was answered with "queued". The second value says whether that broke
    /// the contract.
    pub(crate) fn answer_queued(&self) -> (AttemptResult, bool) {
        let wrong = |s: u32| s & KICKED != 0;
        self.0.change(|s| match s {
            _ if s & COMPLETED != 0 => (Some(OVER | TAKEN), (AttemptResult::Completed, wrong(s))),
            _ => (
                Some(COMPLETION | s & TAKEN),
                (AttemptResult::Owed, wrong(s)),
            ),
        })
    }

    /// Notes that the attempt was answered with a result. The second value says whether the
    /// contract was broken: the provider owed no kick, but one came.
    pub(crate) fn answer_result(&self) -> (AttemptResult, bool) {
        self.0.change(|s| match s {
            _ if s & COMPLETED != 0 => (Some(OVER | TAKEN), (AttemptResult::Completed, true)),
            _ if s & TAKEN != 0 => (None, (AttemptResult::Busy, false)),
            _ => (Some(OVER), (AttemptResult::Nothing, s & KICKED != 0)),
        })
    }

    /// Notes that the request ends.
    pub(crate) fn end(&self) -> End {
        self.0.change(|s| match s & PHASE {
            KICK => (Some(s | ENDED), End::Owed),
            IDLE => (Some(OVER), End::Over),
            _ => (None, End::Before),
        })
    }

    /// Notes that the provider took its promise to kick back after the end of the request. Returns
    /// whether the provider owed the kick until this call.
    pub(crate) fn given_up(&self) -> bool {
        self.0.change(|s| match s {
            _ if s & PHASE == KICK && s & ENDED != 0 => (Some(OVER), true),
            _ => (None, false),
        })
    }

    /// Notes that a provider which owes a completion is asked to give the request back.
    pub(crate) fn ask(&self) -> Ask {
        self.0.change(|s| match s & PHASE {
            COMPLETION if s & (ASKED | TAKEN) == 0 => (Some(s | ASKED), Ask::Ask),
            _ => (None, Ask::Busy),
        })
    }

    /// Notes whether the provider `gave` the request back. `Act`: the caller must end the request.
    /// `Remembered`: the provider has completed the request, or is doing so. `Wrong`: the request
    /// goes on.
    pub(crate) fn asked(&self, gave: bool) -> NotifyResult {
        self.0.change(|s| match s & PHASE {
            COMPLETION if s & TAKEN != 0 => (Some(s & !ASKED), NotifyResult::Remembered),
            COMPLETION if gave => (Some(OVER), NotifyResult::Act),
            COMPLETION => (Some(s & !ASKED), NotifyResult::Wrong),
            _ => (None, NotifyResult::Remembered),
        })
    }

    /// Returns whether the provider owes no kick: the kick has come, or there was none to come.
    pub(crate) fn is_kicked(&self) -> bool {
        self.0.load() & PHASE != KICK
    }

    /// Returns whether the provider is completing the request, or has completed it.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.load() & TAKEN != 0
    }

    /// Returns whether the provider owes nothing any more.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load() & PHASE == OVER
    }
}
