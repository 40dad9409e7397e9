// SPDX-License-Identifier: GPL-2.0

//! Counts what happened through one open file, for its fdinfo, and through all files since the
//! module was loaded, for `fs.kaio-stat`.
//!
//! Invariant: each event is counted once in the sum of all files. While a file is open, its own
//! counters have its numbers. `close` adds the numbers to [`CLOSED`]; a number that is counted
//! after that is added at once.

use kernel::{
    seq_file::SeqFile,
    seq_print,
    sync::atomic::{
        Acquire,
        Atomic,
        AtomicFlag,
        Full,
        Relaxed, //
    },
};

use crate::sys::sysctl::{
    Source,
    Sum, //
};

/// The numbers of all files that are closed.
static CLOSED: Stats = Stats::new();

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters, from the opening of the file.
        pub(crate) struct Stats {
            $($(#[$doc])* $name: Atomic<u64>,)*
            /// The file is closed.
            closed: AtomicFlag,
        }

        impl Stats {
            pub(crate) const fn new() -> Self {
                Self { $($name: Atomic::new(0),)* closed: AtomicFlag::new(false) }
            }

            $($(#[$doc])* pub(crate) fn $name(&self, count: u64) {
                // Fully ordered: a reader that sees this number also sees those that were counted
                // before it. And either `close` finds the number added here, or this thread finds
                // that the file is closed.
                self.$name.fetch_add(count, Full);
                if self.closed.load(Relaxed) {
                    self.move_to(&CLOSED);
                }
            })*

            /// Prints one line for each counter.
            pub(crate) fn show(&self, m: &SeqFile) {
                let counters = [$((stringify!($name), &self.$name),)*];
                let mut numbers = counters.map(|_| 0);
                // Read the last counter first, so that a request that completes meanwhile does not
                // appear completed without being submitted.
                for (number, (_, counter)) in numbers.iter_mut().zip(&counters).rev() {
                    *number = counter.load(Acquire);
                }
                for ((name, _), number) in counters.iter().zip(numbers) {
                    seq_print!(m, "kaio-{}:\t{}\n", name, number);
                }
            }

            fn move_to(&self, other: &Self) {
                $(other.$name.add(self.$name.xchg(0, Relaxed), Relaxed);)*
            }
        }
    };
}

counters! {
    /// Counts requests that were accepted.
    submitted,
    /// Counts events that were posted.
    completed,
    /// Counts requests that were complete when the submit call returned.
    inline,
    /// Counts how often a request was left to a worker, which may wait.
    queued,
    /// Counts how often a request was parked.
    parked,
    /// Counts how often a request was kicked.
    kicked,
    /// Counts how often a task that waited for events ran a kicked request.
    helped,
    /// Counts requests that were cancelled.
    cancelled,
    /// Counts requests that a driver completed.
    irq,
}

impl Stats {
    /// Returns how often a request was left to a worker.
    pub(crate) fn punted(&self) -> u64 {
        self.queued.load(Relaxed)
    }

    /// Returns the number of requests that a driver completed.
    pub(crate) fn done_by_drivers(&self) -> u64 {
        self.irq.load(Relaxed)
    }

    /// Returns the number of requests in flight.
    pub(crate) fn inflight(&self) -> u64 {
        // Read the completed requests first: a request that completes meanwhile counts as in
        // flight.
        let completed = self.completed.load(Acquire);
        self.submitted.load(Relaxed).saturating_sub(completed)
    }

    /// Marks the file as closed. The file's own numbers are not shown any more.
    pub(crate) fn close(&self) {
        // This call moves the numbers that a reader may have seen, before any other thread moves a
        // later one.
        self.move_to(&CLOSED);
        self.closed.xchg(true, Full);
        self.move_to(&CLOSED);
    }
}

impl Drop for Stats {
    fn drop(&mut self) {
        // This moves the numbers of a file whose opening failed.
        self.move_to(&CLOSED);
    }
}

impl Source for Stats {
    fn add_to(&self, sum: &mut Sum) {
        // Read the completed requests first: a request that completes meanwhile counts as in
        // flight.
        sum.completed += self.completed.load(Acquire);
        sum.cancelled += self.cancelled.load(Acquire);
        sum.submitted += self.submitted.load(Relaxed);
    }
}

/// Returns the numbers of all files that are closed.
pub(crate) fn closed() -> &'static Stats {
    &CLOSED
}
