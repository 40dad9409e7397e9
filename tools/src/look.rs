// SPDX-License-Identifier: GPL-2.0

//! Looks at the counters of the machine, and compares two looks.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime};

use crate::counters::{sum, Info, COUNT};
use crate::procfs::{Descriptor, Procfs};
use crate::sharing::{self, Unknown};
use crate::stat::{Stat, System};

/// What one look at the machine has found.
pub struct Look {
    /// When the counters were read.
    at: Instant,
    time: SystemTime,
    system: Option<System>,
    files: Vec<File>,
    names: BTreeMap<u32, String>,
    /// The processes whose descriptors this process may not see.
    pub denied: Vec<u32>,
    /// The processes that were asked for and do not exist.
    pub missing: Vec<u32>,
    /// The kernel told which descriptors share an open file.
    pub sharing_known: bool,
}

/// An open file of the device.
struct File {
    /// The descriptors that share it. It is counted for the process of the first.
    descriptors: Vec<Descriptor>,
    info: Info,
}

impl Look {
    /// Looks at the processes `pids`, or at all if that is empty.
    pub fn take(procfs: &Procfs, pids: &[u32]) -> Self {
        Self::take_with(procfs, pids, sharing::compare)
    }

    fn take_with(
        procfs: &Procfs,
        pids: &[u32],
        compare: impl FnMut(&Descriptor, &Descriptor) -> Result<Ordering, Unknown>,
    ) -> Self {
        // The walk takes longest. The counters are read after it, at nearly the same time.
        let found = procfs.walk(pids);
        let (groups, sharing_known) = sharing::group(found.descriptors, compare);
        let (at, time) = (Instant::now(), SystemTime::now());
        let files = groups.into_iter().filter_map(|mut descriptors| {
            // A process may have ended since the walk. The next one that shares the file has it.
            let mut all = descriptors.iter().enumerate();
            let (first, info) = all.find_map(|(index, one)| Some((index, procfs.info(one)?)))?;
            descriptors.drain(..first);
            Some(File { descriptors, info })
        });
        Self {
            at,
            time,
            files: files.collect(),
            // The totals are read last, so that they are not behind those of the processes.
            system: System::read(procfs),
            names: found.names,
            denied: found.denied,
            missing: found.missing,
            sharing_known,
        }
    }

    /// Returns whether the module is loaded.
    pub fn has_module(&self) -> bool {
        self.system.is_some()
    }
}

/// What is to be printed at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The time of the look.
    pub time: SystemTime,
    /// The time since the look before, or `None` if this is the first.
    pub interval: Option<Duration>,
    /// The sysctls, if the module is loaded.
    pub system: Option<System>,
    /// What `fs.kaio-stat` has counted since the look before.
    pub system_change: Option<Stat>,
    /// The processes, sorted by number.
    pub processes: Vec<Process>,
    /// The number of processes that could not be seen.
    pub unseen: usize,
    /// The kernel told which descriptors share an open file: each file is counted once.
    pub sharing_known: bool,
}

/// What the open files of one process have counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// The number of the process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// The number of open files that are counted for it.
    pub files: u64,
    /// The other processes that have one of these files, too.
    pub shared_with: Vec<u32>,
    /// The sums over its files, from the opening of each.
    pub info: Info,
    /// What these files have counted since the look before.
    pub change: Option<[Option<u64>; COUNT]>,
}

impl Report {
    /// Reports on the look `now`, and on what has changed since the look `before`.
    pub fn new(before: Option<&Look>, now: &Look) -> Self {
        // Any of the descriptors that shared a file finds its numbers again, so that the file may
        // pass to another of its processes.
        let mut known = HashMap::new();
        for file in before.iter().flat_map(|look| &look.files) {
            known.extend(file.descriptors.iter().map(|one| (*one, &file.info)));
        }
        let mut processes = BTreeMap::<u32, Process>::new();
        for file in &now.files {
            let pid = file.descriptors[0].pid;
            let process = processes.entry(pid).or_insert_with(|| Process {
                pid,
                comm: now.names.get(&pid).cloned().unwrap_or_default(),
                ..Process::default()
            });
            process.files += 1;
            let others = file.descriptors.iter().map(|one| one.pid);
            process
                .shared_with
                .extend(others.filter(|other| *other != pid));
            process.info.add(&file.info);
            if before.is_some() {
                let before = file.descriptors.iter().find_map(|one| known.get(one));
                let counts = match before {
                    Some(before) => file.info.since(before),
                    None => file.info.counters,
                };
                let change = process.change.get_or_insert([None; COUNT]);
                for (own, count) in change.iter_mut().zip(counts) {
                    *own = sum(*own, count);
                }
            }
        }
        let mut processes: Vec<_> = processes.into_values().collect();
        for process in &mut processes {
            process.shared_with.sort_unstable();
            process.shared_with.dedup();
        }
        Self {
            time: now.time,
            interval: before.map(|before| now.at.duration_since(before.at)),
            system: now.system,
            system_change: before.and_then(|before| {
                let stat = now.system?.stat;
                Some(before.system.map_or(stat, |before| stat.since(before.stat)))
            }),
            processes,
            unseen: now.denied.len(),
            sharing_known: now.sharing_known,
        }
    }

    /// Returns how many there were in each second of the interval.
    pub fn per_second(&self, count: u64) -> f64 {
        let seconds = self.interval.unwrap_or_default().as_secs_f64();
        count as f64 / seconds.max(1e-6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::fixture::Fixture;

    fn info(submitted: u64, completed: u64) -> String {
        format!(
            "pos:\t0\nkaio-contexts:\t1\nkaio-inflight:\t{}\nkaio-submitted:\t{submitted}\nkaio-completed:\t{completed}\n",
            submitted - completed
        )
    }

    /// Looks at a fixture. `shared` has the descriptors (process, number) that share an open file, and
    /// a number for that.
    fn look(fixture: &Fixture, shared: &[(u32, u32, u32)]) -> Look {
        let file = |one: &Descriptor| {
            let shared = shared
                .iter()
                .find(|(pid, fd, _)| (*pid, *fd) == (one.pid, one.fd));
            shared.map_or((one.pid, one.fd), |(_, _, file)| (0, *file))
        };
        Look::take_with(&fixture.procfs(), &[], |a, b| Ok(file(a).cmp(&file(b))))
    }

    /// Reports on two looks that are two seconds apart.
    fn report(mut before: Look, now: &Look) -> Report {
        before.at = now.at - Duration::from_secs(2);
        Report::new(Some(&before), now)
    }

    fn submitted(report: &Report) -> Vec<(u32, u64)> {
        let processes = report.processes.iter();
        processes
            .map(|process| (process.pid, process.change.unwrap()[0].unwrap()))
            .collect()
    }

    /// Returns a system in which one process has one descriptor of the device.
    fn with_one_process() -> Fixture {
        let fixture = Fixture::make();
        fixture.write("sys/fs/kaio-stat", "100 90 1");
        fixture.process(5, "a", 1);
        fixture.descriptor("5", 3, "/dev/kaio", &info(10, 8));
        fixture
    }

    #[test]
    fn first_report() {
        let fixture = with_one_process();
        fixture.descriptor("5", 4, "/dev/kaio", &info(5, 5));
        fixture.descriptor("5", 5, "/home/user/kaio", "pos:\t0\n");
        fixture.process(6, "b", 1);
        fixture.descriptor("6", 5, "/home/user/kaio", "pos:\t0\n");
        let report = Report::new(None, &look(&fixture, &[]));
        assert_eq!((report.interval, report.system_change), (None, None));
        assert_eq!(report.processes.len(), 1);
        let process = &report.processes[0];
        assert_eq!((process.pid, process.files), (5, 2));
        assert_eq!(process.info.contexts, Some(2));
        assert_eq!(process.info.inflight, Some(2));
        assert_eq!(process.info.counters[..3], [Some(15), Some(13), None]);
        assert_eq!(process.change, None);
    }

    #[test]
    fn rates() {
        let fixture = with_one_process();
        let before = look(&fixture, &[]);
        fixture.write("sys/fs/kaio-stat", "150 150 2");
        fixture.write("5/fdinfo/3", info(40, 40));
        // This file was opened between the looks.
        fixture.descriptor("5", 4, "/dev/kaio", &info(7, 5));
        let report = report(before, &look(&fixture, &[]));
        assert_eq!(report.interval, Some(Duration::from_secs(2)));
        assert_eq!(
            report.processes[0].change.unwrap()[..2],
            [Some(37), Some(37)]
        );
        assert_eq!(report.per_second(37), 18.5);
        assert_eq!(report.system_change.unwrap().submitted, 50);
    }

    #[test]
    fn processes_that_end() {
        let fixture = Fixture::make();
        for pid in [5, 6, 7] {
            fixture.process(pid, "a", 1);
            fixture.descriptor(&pid.to_string(), 3, "/dev/kaio", &info(10, 10));
        }
        let before = look(&fixture, &[]);
        fixture.remove("5");
        // Another process has the number 6 now, and process 7 has opened the device anew.
        fixture.process(6, "b", 2);
        fixture.write("6/fdinfo/3", info(30, 30));
        fixture.write("7/fdinfo/3", info(4, 4));
        let report = report(before, &look(&fixture, &[]));
        assert_eq!(submitted(&report), [(6, 30), (7, 4)]);
        assert_eq!(report.processes[0].comm, "b");
    }

    #[test]
    fn module_that_goes_away() {
        let fixture = Fixture::make();
        fixture.write("sys/fs/kaio-stat", "100 90 1");
        let loaded = look(&fixture, &[]);
        fixture.remove("sys/fs/kaio-stat");
        let unloaded = look(&fixture, &[]);
        assert!(loaded.has_module() && !unloaded.has_module());
        let report = Report::new(Some(&loaded), &unloaded);
        assert_eq!((report.system, report.system_change), (None, None));
        fixture.write("sys/fs/kaio-stat", "3 2 1");
        let again = Report::new(Some(&unloaded), &look(&fixture, &[]));
        assert_eq!(again.system_change.unwrap().submitted, 3);
        let again = Report::new(Some(&loaded), &look(&fixture, &[]));
        assert_eq!(again.system_change.unwrap().submitted, 3);
    }

    #[test]
    fn shared_file() {
        let fixture = Fixture::make();
        for (pid, fd) in [(5, 3), (5, 4), (9, 3), (7, 3)] {
            fixture.process(pid, "a", 1);
            fixture.descriptor(&pid.to_string(), fd, "/dev/kaio", &info(10, 10));
        }
        fixture.descriptor("7", 8, "/dev/kaio", &info(1, 1));
        let shared = [(5, 3, 1), (5, 4, 1), (9, 3, 1), (7, 3, 1)];
        let before = look(&fixture, &shared);
        let first = Report::new(None, &before);
        assert_eq!(first.processes.len(), 2);
        assert_eq!(first.processes[0].shared_with, [7, 9]);
        assert_eq!((first.processes[0].files, first.processes[1].files), (1, 1));
        assert_eq!(first.processes[0].info.counters[0], Some(10));
        assert_eq!(first.processes[1].info.counters[0], Some(1));
        // The process for which the file was counted ends, and the file passes to the next one.
        fixture.remove("5");
        fixture.write("7/fdinfo/3", info(25, 25));
        fixture.write("9/fdinfo/3", info(25, 25));
        let report = report(before, &look(&fixture, &shared));
        assert_eq!(submitted(&report), [(7, 15)]);
        assert_eq!(report.processes[0].shared_with, [9]);
        assert_eq!(report.processes[0].files, 2);
    }

    #[test]
    fn sharer_that_ends_during_a_look() {
        let fixture = Fixture::make();
        for pid in [5, 7] {
            fixture.process(pid, "a", 1);
            fixture.descriptor(&pid.to_string(), 3, "/dev/kaio", &info(10, 10));
        }
        fixture.remove("5/fdinfo/3");
        let look = look(&fixture, &[(5, 3, 1), (7, 3, 1)]);
        assert_eq!(look.files.len(), 1);
        assert_eq!(look.files[0].info.counters[0], Some(10));
        let report = Report::new(None, &look);
        assert_eq!((report.processes.len(), report.processes[0].pid), (1, 7));
        assert!(report.processes[0].shared_with.is_empty());
    }
}
