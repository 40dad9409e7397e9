// SPDX-License-Identifier: GPL-2.0

//! The counters of the module for the whole machine, `fs.kaio-stat`.

use crate::read;

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
        Self::parse(&read("/proc/sys/fs/kaio-stat")?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
        Some(Self {
            submitted: numbers.next()??,
            completed: numbers.next()??,
            cancelled: numbers.next()??,
        })
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
