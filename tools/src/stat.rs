// SPDX-License-Identifier: GPL-2.0

//! The numbers of the module for the whole machine, which its sysctls show.

use crate::procfs::{Procfs, PROC};

/// The numbers of `fs.kaio-stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Requests that were submitted.
    pub submitted: u64,
    /// Requests that have completed.
    pub completed: u64,
    /// Those of the completed ones that were cancelled.
    pub cancelled: u64,
}

impl Stat {
    /// Reads the counters; returns `None` if the module is not loaded.
    pub fn now() -> Option<Self> {
        Self::read(&Procfs::new(PROC))
    }

    fn read(procfs: &Procfs) -> Option<Self> {
        Self::parse(&procfs.read("sys/fs/kaio-stat")?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
        Some(Self {
            submitted: numbers.next()??,
            completed: numbers.next()??,
            cancelled: numbers.next()??,
        })
    }

    /// Returns the number of requests that are in flight.
    pub fn inflight(self) -> u64 {
        self.submitted.saturating_sub(self.completed)
    }

    /// Returns what was counted since `before`. A module that was loaded anew counts from zero.
    pub fn since(self, before: Self) -> Self {
        if self.submitted < before.submitted {
            return self;
        }
        Self {
            submitted: self.submitted - before.submitted,
            completed: self.completed.saturating_sub(before.completed),
            cancelled: self.cancelled.saturating_sub(before.cancelled),
        }
    }
}

/// What all sysctls of the module show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct System {
    /// `fs.kaio-stat`.
    pub stat: Stat,
    /// `fs.kaio-nr`: the requests that all contexts can hold.
    pub nr: Option<u64>,
    /// `fs.kaio-max-nr`: the limit of `nr`.
    pub max_nr: Option<u64>,
    /// `fs.kaio-max-user-nr`: the limit of `nr` for one user.
    pub max_user_nr: Option<u64>,
}

impl System {
    /// Reads the sysctls; returns `None` if the module is not loaded.
    pub fn read(procfs: &Procfs) -> Option<Self> {
        let number = |name| procfs.read(&format!("sys/fs/{name}"))?.trim().parse().ok();
        Some(Self {
            stat: Stat::read(procfs)?,
            nr: number("kaio-nr"),
            max_nr: number("kaio-max-nr"),
            max_user_nr: number("kaio-max-user-nr"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::fixture::Fixture;

    fn stat(text: &str) -> Stat {
        Stat::parse(text).unwrap()
    }

    #[test]
    fn difference() {
        assert_eq!(stat("7\t6\t1").since(stat("2\t2\t0")), stat("5 4 1"));
        assert_eq!(stat("3 3 0").since(stat("9 9 9")), stat("3 3 0"));
        assert_eq!(Stat::parse("1 2"), None);
        assert_eq!(Stat::parse("a b c"), None);
    }

    #[test]
    fn sysctls() {
        let fixture = Fixture::make();
        let procfs = fixture.procfs();
        assert_eq!(System::read(&procfs), None);
        fixture.write("sys/fs/kaio-stat", "7\t4\t1\n");
        fixture.write("sys/fs/kaio-nr", "126\n");
        fixture.write("sys/fs/kaio-max-nr", "4194304\n");
        let system = System::read(&procfs).unwrap();
        assert_eq!((system.stat, system.stat.inflight()), (stat("7 4 1"), 3));
        assert_eq!(
            (system.nr, system.max_nr, system.max_user_nr),
            (Some(126), Some(4_194_304), None)
        );
        assert_eq!(stat("4 7 0").inflight(), 0);
    }
}
