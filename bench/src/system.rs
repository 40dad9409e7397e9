// SPDX-License-Identifier: GPL-2.0

//! What the programs ask of the system besides I/O: files of other kinds, priorities, clocks.

use std::ffi::{c_int, c_uint};
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kaio_sys::uapi::__kernel_timespec;
use kaio_sys::Errno;

/// Converts an error number of kaio-sys.
pub fn io_error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.get())
}

/// Converts the result of a system call by kaio-sys.
pub fn checked<T>(result: kaio_sys::Result<T>) -> io::Result<T> {
    result.map_err(io_error)
}

/// Converts the result of a function of libc that returns -1 and sets `errno` when it fails.
pub fn outcome(ret: c_int) -> io::Result<c_int> {
    match ret {
        -1 => Err(io::Error::last_os_error()),
        ret => Ok(ret),
    }
}

/// Converts a duration to a relative time, as system calls take it.
pub fn timespec(time: Duration) -> __kernel_timespec {
    __kernel_timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// Writes all dirty pages to their devices, as sync(2) does.
pub fn sync() {
    // SAFETY: sync(2) has no arguments.
    unsafe { libc::sync() }
}

fn set_scheduler(policy: c_int, priority: c_int) -> io::Result<()> {
    let param = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: the kernel reads `param`, which lives until the call returns. Thread 0 is the caller.
    outcome(unsafe { libc::sched_setscheduler(0, policy, &param) }).map(|_| ())
}

/// Makes the scheduler prefer this thread to all others. The threads that this thread starts, and
/// the workers that io_uring starts for it, have the normal policy.
pub fn go_first() -> io::Result<()> {
    set_scheduler(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, 1)
}

/// Makes a pipe; returns its ends, for reading and for writing. (std has pipes since Rust 1.87.)
pub fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: pipe2(2) writes two descriptors to `ends`.
    outcome(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: pipe2(2) has just opened both descriptors, and no other code knows them.
    unsafe { Ok((File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]))) }
}

/// Makes an eventfd. It is ready for reading if `value` is not 0.
pub fn eventfd(value: c_uint) -> io::Result<File> {
    // SAFETY: eventfd(2) takes numbers only.
    let fd = outcome(unsafe { libc::eventfd(value, libc::EFD_CLOEXEC) })?;
    // SAFETY: eventfd(2) has just opened the descriptor, and no other code knows it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Returns the time stamp counter. Under QEMU's icount it counts instructions, and nanoseconds of
/// idle time.
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 CPU has the instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Counts the CPU time that other threads leave over on a guest with one CPU: a thread with the
/// lowest priority runs whenever no other thread does. Two such threads would share the time, so
/// the thread ends when this value is dropped.
pub struct IdleCounter {
    /// Counts down; the thread ends when it is 0.
    turns: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl IdleCounter {
    /// Starts the thread.
    pub fn new() -> io::Result<Self> {
        let turns = Arc::new(AtomicU64::new(u64::MAX));
        let (send, receive) = mpsc::channel();
        let count = turns.clone();
        let thread = thread::spawn(move || {
            let scheduled = set_scheduler(libc::SCHED_IDLE, 0);
            let count_down = scheduled.is_ok();
            let _ = send.send(scheduled);
            if count_down {
                // SAFETY: `count` keeps the word alive until the loop has ended. All access to the
                // word is atomic: one CPU runs both threads, and no interrupt divides an
                // instruction.
                unsafe {
                    std::arch::asm!("2: dec qword ptr [{0}]", "jnz 2b", in(reg) count.as_ptr());
                }
            }
        });
        receive.recv().map_err(io::Error::other)??;
        Ok(Self {
            turns,
            thread: Some(thread),
        })
    }

    /// Returns the ticks that the thread has counted under icount: each turn has two instructions.
    /// Instructions of interrupts are not among them.
    pub fn ticks(&self) -> u64 {
        (u64::MAX - self.turns.load(Ordering::Relaxed)) * 2
    }
}

impl Drop for IdleCounter {
    fn drop(&mut self) {
        self.turns.store(1, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
