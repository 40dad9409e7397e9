// SPDX-License-Identifier: GPL-2.0

//! The counters of one open file of the device, which its fdinfo shows.

/// A counter of an open file.
pub struct Counter {
    /// The name, which follows `kaio-` in fdinfo.
    pub name: &'static str,
    /// What it counts, in one line.
    pub help: &'static str,
}

/// The number of counters.
pub const COUNT: usize = 9;

/// The counters, in the order of fdinfo.
pub const COUNTERS: [Counter; COUNT] = [
    Counter {
        name: "submitted",
        help: "Requests that were accepted.",
    },
    Counter {
        name: "completed",
        help: "Events that were posted.",
    },
    Counter {
        name: "inline",
        help: "Requests that were complete when the submit call returned.",
    },
    Counter {
        name: "queued",
        help: "How often a request was left to a worker, which may wait.",
    },
    Counter {
        name: "parked",
        help: "How often a request was parked until its file becomes ready.",
    },
    Counter {
        name: "kicked",
        help: "How often a request that had waited was kicked, to be tried again.",
    },
    Counter {
        name: "helped",
        help: "How often a task that waited for events ran a kicked request itself.",
    },
    Counter {
        name: "cancelled",
        help: "Requests that ended before they were done.",
    },
    Counter {
        name: "irq",
        help: "Requests that a driver completed.",
    },
];

/// What fdinfo says of an open file. A module of another version may lack a line, whose number is
/// then `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Contexts that are alive.
    pub contexts: Option<u64>,
    /// Requests in flight.
    pub inflight: Option<u64>,
    /// The numbers of [`COUNTERS`].
    pub counters: [Option<u64>; COUNT],
}

impl Info {
    /// Reads the text of fdinfo; returns `None` if the file is not one of the device.
    pub fn parse(text: &str) -> Option<Self> {
        let mut info = Self::default();
        let mut found = false;
        for line in text.lines() {
            let Some((name, number)) = line
                .strip_prefix("kaio-")
                .and_then(|line| line.split_once(':'))
            else {
                continue;
            };
            let place = match name {
                "contexts" => &mut info.contexts,
                "inflight" => &mut info.inflight,
                _ => match COUNTERS.iter().position(|counter| counter.name == name) {
                    Some(index) => &mut info.counters[index],
                    None => continue, // A later version counts more.
                },
            };
            *place = number.trim().parse().ok();
            found |= place.is_some();
        }
        found.then_some(info)
    }

    /// Adds the numbers of another open file.
    pub fn add(&mut self, other: &Self) {
        self.contexts = sum(self.contexts, other.contexts);
        self.inflight = sum(self.inflight, other.inflight);
        for (own, other) in self.counters.iter_mut().zip(other.counters) {
            *own = sum(*own, other);
        }
    }

    /// Returns what was counted since `before`. If a number is smaller than before, the descriptor
    /// is that of another open file now, which has counted from zero.
    pub fn since(&self, before: &Self) -> [Option<u64>; COUNT] {
        let pairs = || self.counters.iter().zip(before.counters);
        if pairs().any(|(now, before)| now.is_some_and(|now| before.is_some_and(|b| now < b))) {
            return self.counters;
        }
        let mut counts = [None; COUNT];
        for (count, (now, before)) in counts.iter_mut().zip(pairs()) {
            *count = now.map(|now| now - before.unwrap_or(0));
        }
        counts
    }
}

/// Returns the sum of the numbers that are known.
pub fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (known, None) | (None, known) => known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What version 0.1.0 of the module prints.
    const FULL: &str = "pos:\t0\nflags:\t02100002\nmnt_id:\t26\nino:\t301\n\
        kaio-contexts:\t2\nkaio-inflight:\t3\nkaio-submitted:\t100\nkaio-completed:\t97\n\
        kaio-inline:\t40\nkaio-queued:\t50\nkaio-parked:\t6\nkaio-kicked:\t5\nkaio-helped:\t1\n\
        kaio-cancelled:\t2\nkaio-irq:\t9\n";

    fn full() -> Info {
        Info {
            contexts: Some(2),
            inflight: Some(3),
            counters: [100, 97, 40, 50, 6, 5, 1, 2, 9].map(Some),
        }
    }

    #[test]
    fn all_lines() {
        assert_eq!(Info::parse(FULL), Some(full()));
    }

    #[test]
    fn other_order_and_unknown_lines() {
        let mut lines: Vec<_> = FULL.lines().collect();
        lines.reverse();
        let text = lines.join("\n");
        assert_eq!(
            Info::parse(&format!("kaio-later:\t7\n{text}\nkaio-\n")),
            Some(full())
        );
    }

    #[test]
    fn missing_and_broken_lines() {
        let text = FULL.replace("kaio-helped:\t1\n", "").replace("\t9", "\tx");
        let info = Info::parse(&text).unwrap();
        assert_eq!(info.counters[6], None);
        assert_eq!(info.counters[8], None);
        assert_eq!(info.counters[7], Some(2));
    }

    #[test]
    fn other_files() {
        assert_eq!(Info::parse("pos:\t0\nflags:\t02\n"), None);
        assert_eq!(Info::parse(""), None);
        assert_eq!(Info::parse("kaio-submitted\n kaio-inline: 4\n"), None);
        assert_eq!(Info::parse("kaio-submitted:\tmany\n"), None);
        assert_eq!(Info::parse("kaio-later:\t1\n"), None);
    }

    #[test]
    fn sum_of_files() {
        let mut info = full();
        let mut other = Info::parse("kaio-contexts:\t1\nkaio-submitted:\t10\n").unwrap();
        info.add(&other);
        assert_eq!((info.contexts, info.inflight), (Some(3), Some(3)));
        assert_eq!(info.counters[..3], [Some(110), Some(97), Some(40)]);
        other.add(&full());
        assert_eq!(info, other);
    }

    #[test]
    fn since_the_last_look() {
        let mut now = full();
        now.counters[0] = Some(150);
        now.counters[8] = None;
        assert_eq!(
            now.since(&full()),
            [
                Some(50),
                Some(0),
                Some(0),
                Some(0),
                Some(0),
                Some(0),
                Some(0),
                Some(0),
                None
            ]
        );
        assert_eq!(now.since(&Info::default()), now.counters);
        // The descriptor was closed, and the device was opened again.
        now.counters[3] = Some(49);
        assert_eq!(now.since(&full()), now.counters);
    }
}
