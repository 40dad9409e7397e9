// SPDX-License-Identifier: LGPL-2.1-or-later

//! Functions that the tests share. The guest has no libtest: the tests print TAP themselves, and a
//! test that hangs ends its program.

// Each test program uses some of these functions.
#![allow(dead_code)]

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::panic;
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The longest time that a correct operation may take, even in an emulated guest with KASAN.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// The tests were built for the project's guest (`scripts/lib tests`): the device must be there, and
/// `/mnt` is a disk for the tests.
const GUEST: bool = option_env!("KAIO_TEST_GUEST").is_some();

/// Runs the tests and prints a line for each. Skips all of them if this machine lacks the device,
/// and says so.
pub fn run(tests: &[(&str, fn())]) -> ExitCode {
    if !GUEST {
        let device = File::options().read(true).write(true).open("/dev/kaio");
        if let Err(e) = device {
            println!("TAP version 13\n1..0 # SKIP these tests need the device: /dev/kaio: {e}");
            return ExitCode::SUCCESS;
        }
    }
    println!("TAP version 13\n1..{}", tests.len());
    let mut status = ExitCode::SUCCESS;
    for (number, (name, test)) in (1..).zip(tests) {
        let (send, over) = mpsc::channel();
        let test = *test;
        thread::spawn(move || {
            let result = panic::catch_unwind(test);
            let _ = send.send(result.is_ok());
        });
        match over.recv_timeout(2 * TIMEOUT) {
            Ok(true) => println!("ok {number} {name}"),
            Ok(false) => {
                println!("not ok {number} {name}");
                status = ExitCode::FAILURE;
            }
            Err(_) => {
                // The thread of the test cannot be ended, and may hold what the next test needs.
                println!("not ok {number} {name}\n# it hangs");
                process::exit(1);
            }
        }
    }
    status
}

/// Defines a `main` that runs these functions.
#[macro_export]
macro_rules! tests {
    ($($test:ident,)*) => {
        fn main() -> std::process::ExitCode {
            tap::run(&[$((stringify!($test), $test),)*])
        }
    };
}

/// Calls `ready` until it returns true. Returns `false` if the time is over first.
pub fn wait_until(mut ready: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + TIMEOUT;
    while !ready() {
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Returns a counter of an open file of the device, from its fdinfo.
pub fn stat(device: &impl AsFd, name: &str) -> u64 {
    let path = format!("/proc/self/fdinfo/{}", device.as_fd().as_raw_fd());
    let text = fs::read_to_string(path).expect("fdinfo");
    let key = format!("kaio-{name}:");
    let line = text.lines().find_map(|line| line.strip_prefix(&key));
    let value = line.unwrap_or_else(|| panic!("no {key} in {text}"));
    value.trim().parse().expect("a number")
}

/// A file that only this test uses. It is removed when the value is dropped.
pub struct Scratch {
    pub path: PathBuf,
    pub file: File,
}

impl Scratch {
    /// Makes a file that contains `content`, on the disk, where `O_DIRECT` works.
    pub fn new(name: &str, content: &[u8]) -> Self {
        let folder = match GUEST {
            true => "/mnt",
            false => env!("CARGO_TARGET_TMPDIR"),
        };
        let path = PathBuf::from(format!("{folder}/{name}.{}", process::id()));
        fs::write(&path, content).expect("a file on the disk");
        let file = File::options().read(true).write(true).open(&path);
        let file = file.expect("the file again");
        Self { path, file }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes a pipe. (`std::io::pipe` is newer than the oldest supported compiler.)
pub fn pipe() -> (File, File) {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for two descriptors.
    let failed = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: pipe2() has returned these descriptors, and no other code owns them.
    ends.map(|fd| unsafe { File::from_raw_fd(fd) }).into()
}

/// Returns whether the descriptor becomes readable within `timeout`.
pub fn readable(fd: &impl AsFd, timeout: Duration) -> bool {
    let mut poll = libc::pollfd {
        fd: fd.as_fd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: `poll` is one pollfd, which lives until the call returns.
    let count = unsafe { libc::poll(&mut poll, 1, timeout.as_millis() as i32) };
    assert!(count >= 0, "{}", std::io::Error::last_os_error());
    count == 1 && poll.revents & libc::POLLIN != 0
}
