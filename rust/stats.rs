// SPDX-License-Identifier: GPL-2.0

//! What happened through one open file: shown in its fdinfo, read by tests. And through all of them
//! since the module was loaded: `fs.kaio-stat`.
//!
//! A request counts in its file's numbers only. They are added to [`CLOSED`] when the file is closed, and
//! what comes later when the last request is gone.

use kernel::{
    seq_file::SeqFile,
    seq_print,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

use crate::sys::sysctl::{
    Source,
    Sum, //
};

/// Of all files that are closed.
static CLOSED: Stats = Stats::new();

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters, from the opening of the file.
        pub(crate) struct Stats {
            $($(#[$doc])* $name: Atomic<u64>,)*
        }

        impl Stats {
            pub(crate) const fn new() -> Self {
                Self { $($name: Atomic::new(0),)* }
            }

            $($(#[$doc])* pub(crate) fn $name(&self, count: u64) {
                self.$name.add(count, Relaxed);
            })*

            /// One line for each counter.
            pub(crate) fn show(&self, m: &SeqFile) {
                $(seq_print!(m, "kaio-{}:\t{}\n", stringify!($name), self.$name.load(Relaxed));)*
            }

            fn move_to(&self, other: &Self) {
                $(other.$name.add(self.$name.xchg(0, Relaxed), Relaxed);)*
            }
        }
    };
}

counters! {
    /// Requests accepted.
    submitted,
    /// Events posted.
    completed,
    /// Requests that were complete when the submit call returned.
    inline,
    /// Times a request was handed to a worker that may wait.
    queued,
    /// Times a request was left to wait for readiness.
    parked,
    /// Times a request was kicked, for the kick handler to run it ...
    kicked,
    /// ... or who waited for its event, who then did.
    helped,
    /// Requests that ended before they were done.
    cancelled,
    /// Requests that a driver completed.
    irq,
}

impl Stats {
    /// Times a request was handed to a worker.
    pub(crate) fn deferred(&self) -> u64 {
        self.queued.load(Relaxed)
    }

    /// Requests that a driver completed.
    pub(crate) fn done_by_drivers(&self) -> u64 {
        self.irq.load(Relaxed)
    }

    /// Requests in flight.
    pub(crate) fn inflight(&self) -> u64 {
        // Completed first: a request that completes in between counts as in flight.
        let completed = self.completed.load(Relaxed);
        self.submitted.load(Relaxed).saturating_sub(completed)
    }

    /// The file is closed.
    pub(crate) fn close(&self) {
        self.move_to(&CLOSED);
    }
}

impl Drop for Stats {
    fn drop(&mut self) {
        self.close();
    }
}

impl Source for Stats {
    fn add_to(&self, sum: &mut Sum) {
        // Completed first, as above.
        sum.completed += self.completed.load(Relaxed);
        sum.cancelled += self.cancelled.load(Relaxed);
        sum.submitted += self.submitted.load(Relaxed);
    }
}

/// What all closed files did.
pub(crate) fn closed() -> &'static Stats {
    &CLOSED
}
