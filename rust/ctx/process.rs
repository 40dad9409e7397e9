// SPDX-License-Identifier: GPL-2.0

//! The process that made a context, and for how long its requests go on after its end.
//!
//! The counterpart of exit_aio() of fs/aio.c, which waits without a limit. A must-run request is
//! done even if its process ends, but not for ever: no user could end it then, and it would keep
//! memory, the file and the module. When `end_seconds` have passed since the end of the process,
//! requests that have not begun are cancelled, and kernel threads that run others are told to end
//! (`sys::runners`).

use kernel::{
    prelude::*,
    sync::{
        Arc,
        SetOnce, //
    },
    time::{
        Instant,
        Monotonic, //
    },
};

use crate::sys::{
    count::Count,
    mm::Mm,
    module,
    runners::Bounded,
    task::{
        self,
        Comm,
        FilesOwner, //
        Pid,
    },
};

/// A process, shared by the contexts that one program made through one open file.
pub(crate) struct Process {
    owner: FilesOwner,
    pid: Pid,
    mm: Mm,
    comm: Comm,
    /// The time when this struct was made.
    created: Instant<Monotonic>,
    /// The number of milliseconds between `created` and the end of the process. Not set if the
    /// process lives, as far as is known.
    ended_after: SetOnce<u64>,
    /// The number of requests that were given up.
    given_up: Count,
}

impl Process {
    /// Makes the struct for the current process. `ENOMEM`; `EINVAL` for a kernel thread; `ESRCH` if
    /// the process has no number any more.
    pub(crate) fn current() -> Result<Arc<Self>> {
        let new = Self {
            owner: FilesOwner::current(),
            pid: Pid::current()?,
            mm: Mm::current()?,
            comm: Comm::current(),
            created: Instant::now(),
            ended_after: SetOnce::new(),
            given_up: Count::new(),
        };
        Ok(Arc::new(new, GFP_KERNEL_ACCOUNT)?)
    }

    pub(crate) fn owner(&self) -> FilesOwner {
        self.owner
    }

    /// Returns whether this is the process of the current task, with the memory that it has now.
    pub(crate) fn is_current(&self) -> bool {
        self.mm.is_current() && self.owner == FilesOwner::current()
    }

    /// Notes that the process has ended at `when`, if it has ended and that was not known before.
    pub(crate) fn note_end(&self, when: Instant<Monotonic>) {
        if !self.pid.is_gone(&self.mm) {
            return;
        }
        let after = (when - self.created).as_millis();
        let after = u64::try_from(after).unwrap_or(0);
        // The first caller that sees the end sets its time.
        self.ended_after.populate(after);
    }

    /// Returns whether the process has ended so long ago that its requests are given up. Any
    /// context.
    pub(crate) fn is_expired(&self) -> bool {
        let ended_after = self.ended_after.copy().or_else(|| {
            // The process did not note its own end if it had closed the descriptor before, or if it
            // executes another program.
            self.note_end(Instant::now());
            self.ended_after.copy()
        });
        let Some(ended_after) = ended_after else {
            return false;
        };
        let now = u64::try_from(self.created.elapsed().as_millis()).unwrap_or(0);
        let since = now.saturating_sub(ended_after);
        since >= u64::from(module::end_seconds()) * 1000
    }

    /// Counts a request that is given up.
    pub(crate) fn count_given_up(&self) {
        self.given_up.increment();
    }
}

impl Bounded for Process {
    fn must_end(&self) -> bool {
        self.is_expired()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // All contexts have gone, so all requests of the process have ended.
        match self.given_up.get() {
            0 => {}
            nr => task::warn_given_up(&self.comm, self.owner, nr),
        }
    }
}
