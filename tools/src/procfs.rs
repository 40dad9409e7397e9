// SPDX-License-Identifier: GPL-2.0

//! Finds the open files of the device by the descriptors of all processes.
//!
//! Only the links in `/proc/PID/fd` are read: that asks no file system, so a file on a server that
//! does not answer holds up nothing.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::counters::Info;

/// The folder in which procfs is mounted.
pub const PROC: &str = "/proc";

/// A descriptor that may be one of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Descriptor {
    /// The process.
    pub pid: u32,
    /// When the process began. Another process may get the same number later.
    pub start: u64,
    /// A thread of the process that has the descriptor: the first one, if that has not ended.
    pub tid: u32,
    /// The number of the descriptor.
    pub fd: u32,
}

/// What a walk has found.
#[derive(Debug, Default)]
pub struct Found {
    /// The descriptors, sorted by process and number.
    pub descriptors: Vec<Descriptor>,
    /// The names of their processes.
    pub names: BTreeMap<u32, String>,
    /// The processes whose descriptors this process may not see.
    pub denied: Vec<u32>,
    /// The processes that were asked for and do not exist.
    pub missing: Vec<u32>,
}

/// A mounted procfs.
pub struct Procfs {
    root: PathBuf,
}

impl Procfs {
    /// Takes the procfs in the folder `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns the text of a file, without the end of the line.
    pub fn read(&self, path: &str) -> Option<String> {
        let text = fs::read(self.root.join(path)).ok()?;
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// Looks at the descriptors of the processes `pids`, or of all processes if that is empty.
    pub fn walk(&self, pids: &[u32]) -> Found {
        let mut found = Found::default();
        let mut all = pids.to_vec();
        if pids.is_empty() {
            all = numbers(&self.root).unwrap_or_default();
        }
        all.sort_unstable();
        all.dedup();
        for pid in all {
            match self.descriptors(pid) {
                Ok(descriptors) if descriptors.is_empty() => {}
                Ok(descriptors) => {
                    let (Some(stat), Some(name)) =
                        (self.stat(pid), self.read(&format!("{pid}/comm")))
                    else {
                        continue; // The process has ended meanwhile.
                    };
                    found.names.insert(pid, name);
                    found
                        .descriptors
                        .extend(descriptors.into_iter().map(|(tid, fd)| Descriptor {
                            pid,
                            start: stat.start,
                            tid,
                            fd,
                        }));
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    // A kernel thread has no descriptors.
                    if self.stat(pid).is_some_and(|stat| !stat.is_kernel_thread()) {
                        found.denied.push(pid);
                    }
                }
                Err(_) => {}
            }
        }
        if !pids.is_empty() {
            found.missing = pids
                .iter()
                .copied()
                .filter(|pid| self.stat(*pid).is_none_or(|stat| stat.has_ended()))
                .collect();
        }
        found
    }

    /// Returns what fdinfo says of a descriptor, if it still is one of the device.
    pub fn info(&self, descriptor: &Descriptor) -> Option<Info> {
        let path = self
            .thread(descriptor.pid, descriptor.tid)
            .join("fdinfo")
            .join(descriptor.fd.to_string());
        Info::parse(&fs::read_to_string(path).ok()?)
    }

    /// Returns the descriptors of a process that may be those of the device, each with a thread that
    /// has it.
    fn descriptors(&self, pid: u32) -> io::Result<Vec<(u32, u32)>> {
        let (found, any) = self.descriptors_of(pid, pid)?;
        if any {
            return Ok(found);
        }
        // A thread that has ended has no descriptors, although the process lives on.
        for tid in numbers(&self.root.join(pid.to_string()).join("task"))? {
            if tid != pid {
                match self.descriptors_of(pid, tid) {
                    Ok((found, true)) => return Ok(found),
                    _ => continue,
                }
            }
        }
        Ok(vec![])
    }

    /// Returns the descriptors of a thread, and whether it has any at all.
    fn descriptors_of(&self, pid: u32, tid: u32) -> io::Result<(Vec<(u32, u32)>, bool)> {
        let folder = self.thread(pid, tid).join("fd");
        let fds = numbers(&folder)?;
        let mut found = vec![];
        for &fd in &fds {
            match fs::read_link(folder.join(fd.to_string())) {
                Ok(link) if may_be_device(&link) => found.push((tid, fd)),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
                _ => {} // This includes a descriptor that was closed meanwhile.
            }
        }
        found.sort_unstable();
        Ok((found, !fds.is_empty()))
    }

    fn thread(&self, pid: u32, tid: u32) -> PathBuf {
        let process = self.root.join(pid.to_string());
        if tid == pid {
            process
        } else {
            process.join("task").join(tid.to_string())
        }
    }

    fn stat(&self, pid: u32) -> Option<Stat> {
        Stat::parse(&self.read(&format!("{pid}/stat"))?)
    }
}

/// Returns the entries of a folder whose names are numbers.
fn numbers(folder: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = vec![];
    for entry in fs::read_dir(folder)? {
        // A process that ends while its folder is read gives an error for the rest.
        let Ok(entry) = entry else { break };
        numbers.extend(
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok()),
        );
    }
    Ok(numbers)
}

/// Returns whether the target of a descriptor's link has the name of the device. The folder differs
/// in a container. Only fdinfo says for certain.
fn may_be_device(link: &Path) -> bool {
    let path = link.as_os_str().as_bytes();
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    path.starts_with(b"/")
        && Path::new(OsStr::from_bytes(path)).file_name() == Some(OsStr::new("kaio"))
}

/// What is of use here in `/proc/PID/stat`.
struct Stat {
    state: char,
    flags: u64,
    threads: u64,
    start: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name of the process is in parentheses, and may have any characters in it.
        let (_, text) = text.rsplit_once(')')?;
        let fields: Vec<_> = text.split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            flags: fields.get(6)?.parse().ok()?,
            threads: fields.get(17)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
        })
    }

    fn is_kernel_thread(&self) -> bool {
        const PF_KTHREAD: u64 = 0x20_0000;
        self.flags & PF_KTHREAD != 0
    }

    /// Returns whether the process is over, although its parent has not waited for it. A process
    /// whose first thread alone has ended has other threads.
    fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X') && self.threads <= 1
    }
}

#[cfg(test)]
pub mod fixture {
    //! A procfs for tests.

    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Procfs;

    /// A folder that looks like procfs, and is removed at the end.
    pub struct Fixture(PathBuf);

    impl Fixture {
        /// Makes an empty one, in a folder of its own.
        pub fn make() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("kaio-stat-test.{}.{number}", std::process::id());
            let fixture = Self(std::env::temp_dir().join(name));
            fs::create_dir_all(&fixture.0).unwrap();
            fixture
        }

        /// Returns the view of it.
        pub fn procfs(&self) -> Procfs {
            Procfs::new(&self.0)
        }

        /// Writes a file.
        pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// Removes a file or a folder.
        pub fn remove(&self, path: &str) {
            let path = self.0.join(path);
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }

        /// Makes a process, which began at `start`, without descriptors.
        pub fn process(&self, pid: u32, name: &str, start: u64) {
            self.stat(pid, name, 'S', 0x40_0000, 1, start);
            self.write(&format!("{pid}/comm"), format!("{name}\n"));
            fs::create_dir_all(self.0.join(format!("{pid}/fd"))).unwrap();
            fs::create_dir_all(self.0.join(format!("{pid}/task/{pid}"))).unwrap();
        }

        /// Writes the `stat` of a process.
        pub fn stat(
            &self,
            pid: u32,
            name: &str,
            state: char,
            flags: u32,
            threads: u32,
            start: u64,
        ) {
            self.write(
                &format!("{pid}/stat"),
                format!(
                    "{pid} ({name}) {state} 1 1 1 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 {threads} 0 {start} 0 0\n"
                ),
            );
        }

        /// Makes a descriptor of a process, or of a thread (`PID/task/TID`).
        pub fn descriptor(&self, thread: &str, fd: u32, link: &str, fdinfo: &str) {
            self.write(&format!("{thread}/fdinfo/{fd}"), fdinfo);
            let folder = self.0.join(format!("{thread}/fd"));
            fs::create_dir_all(&folder).unwrap();
            symlink(link, folder.join(fd.to_string())).unwrap();
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::Fixture;
    use super::*;

    const INFO: &str = "kaio-submitted:\t5\n";

    fn found(procfs: &Procfs) -> Vec<(u32, u32, u32)> {
        let descriptors = procfs.walk(&[]).descriptors;
        descriptors.iter().map(|d| (d.pid, d.tid, d.fd)).collect()
    }

    #[test]
    fn descriptors_of_the_device() {
        let fixture = Fixture::make();
        fixture.process(20, "b", 7);
        fixture.process(3, "a", 6);
        fixture.process(4, "none", 6);
        fixture.descriptor("20", 12, "/dev/kaio", INFO);
        fixture.descriptor("20", 3, "/dev/kaio", INFO);
        fixture.descriptor("20", 4, "/dev/null", "");
        fixture.descriptor("3", 5, "/kaio (deleted)", INFO);
        fixture.descriptor("3", 6, "socket:[17]", "");
        fixture.descriptor("4", 1, "/dev/kaio.old", "");
        fixture.write("uptime", "1 2");
        let procfs = fixture.procfs();
        assert_eq!(found(&procfs), [(3, 3, 5), (20, 20, 3), (20, 20, 12)]);
        let walk = procfs.walk(&[20, 20]);
        assert_eq!(walk.descriptors.len(), 2);
        assert_eq!(walk.descriptors[0].start, 7);
        assert_eq!(walk.names, BTreeMap::from([(20, "b".to_owned())]));
        assert!(walk.missing.is_empty() && walk.denied.is_empty());
        let info = procfs.info(&walk.descriptors[0]).unwrap();
        assert_eq!(info.counters[0], Some(5));
    }

    #[test]
    fn first_thread_has_ended() {
        let fixture = Fixture::make();
        fixture.process(20, "b", 7);
        fixture.stat(20, "b", 'Z', 0, 3, 7);
        fixture.write("20/task/21/comm", "ended too");
        fixture.descriptor("20/task/22", 3, "/dev/kaio", INFO);
        let procfs = fixture.procfs();
        assert_eq!(found(&procfs), [(20, 22, 3)]);
        let walk = procfs.walk(&[20]);
        assert!(walk.missing.is_empty());
        assert!(procfs.info(&walk.descriptors[0]).is_some());
    }

    #[test]
    fn ended_meanwhile() {
        let fixture = Fixture::make();
        fixture.process(20, "b", 7);
        fixture.descriptor("20", 3, "/dev/kaio", INFO);
        let procfs = fixture.procfs();
        let walk = procfs.walk(&[]);
        fixture.remove("20/fdinfo/3");
        assert_eq!(procfs.info(&walk.descriptors[0]), None);
        // The name is gone while the folder of descriptors is still there.
        fixture.remove("20/comm");
        assert!(procfs.walk(&[]).descriptors.is_empty());
        fixture.stat(20, "b", 'Z', 0, 0, 7);
        fixture.process(30, "c", 7);
        assert_eq!(procfs.walk(&[20, 30, 40]).missing, [20, 40]);
        fixture.remove("20");
        assert_eq!(procfs.walk(&[20]).missing, [20]);
        assert!(procfs.walk(&[]).descriptors.is_empty());
    }

    #[test]
    fn stat_of_a_process() {
        let fixture = Fixture::make();
        fixture.process(1, "a) Z 1 (", 17);
        fixture.stat(2, "kthreadd", 'S', 0x0020_8040, 1, 18);
        let stat = |pid| fixture.procfs().stat(pid).unwrap();
        assert_eq!((stat(1).state, stat(1).start), ('S', 17));
        assert!(!stat(1).is_kernel_thread() && !stat(1).has_ended());
        assert!(stat(2).is_kernel_thread());
        assert!(Stat::parse("1 (a) S 1").is_none());
        assert!(Stat::parse("").is_none());
    }

    #[test]
    fn names() {
        let fixture = Fixture::make();
        fixture.process(1, "two\nlines\n", 1);
        fixture.process(2, "x", 1);
        fixture.write("2/comm", b"\xff\xfe\n");
        let procfs = fixture.procfs();
        assert_eq!(procfs.read("1/comm").unwrap(), "two\nlines\n");
        assert_eq!(procfs.read("2/comm").unwrap(), "\u{fffd}\u{fffd}");
        assert_eq!(procfs.read("3/comm"), None);
    }

    #[test]
    fn targets_of_links() {
        let is = |path: &str| may_be_device(Path::new(path));
        assert!(is("/dev/kaio") && is("/kaio") && is("/dev/kaio (deleted)"));
        assert!(is("/var/lib/machines/a/dev/kaio"));
        assert!(!is("/dev/kaio2") && !is("/dev/kaio/x") && !is("kaio") && !is("anon_inode:kaio"));
    }

    #[test]
    fn this_machine() {
        let procfs = Procfs::new(PROC);
        let own = std::process::id();
        let walk = procfs.walk(&[own]);
        assert!(walk.descriptors.is_empty() && walk.missing.is_empty() && walk.denied.is_empty());
        assert!(procfs
            .stat(own)
            .is_some_and(|stat| !stat.is_kernel_thread() && !stat.has_ended()));
    }
}
