// SPDX-License-Identifier: GPL-2.0

//! The current task, and the process, user and cgroup for which its requests count. What the
//! functions read is the current task's own, so there are no locks.

use core::ptr::NonNull;

use kernel::{
    bindings,
    current,
    prelude::*, //
};

use super::{
    ffi,
    mm::Mm, //
};

/// The user and the cgroup whose contexts share workers and limits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    /// The real user id, as the kernel numbers users.
    pub(crate) uid: u32,
    /// The cgroup (v2), so that one container does not wait for the hung file system of another.
    pub(crate) cgroup: u64,
}

/// Returns the account of the current task.
pub(crate) fn account() -> Account {
    // SAFETY: both functions only read the current task, which exists while it runs.
    unsafe {
        Account {
            uid: ffi::kaio_current_uid(),
            cgroup: ffi::kaio_current_cgroup(),
        }
    }
}

/// A program, as `flush` of a file sees the program that closes a descriptor.
///
/// A later descriptor table may have the same address, but not in the same process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilesOwner {
    /// The address of the descriptor table.
    files: usize,
    /// The process.
    tgid: i32,
}

impl FilesOwner {
    /// Returns the program of the current task.
    pub(crate) fn current() -> Self {
        // SAFETY: the function only reads the current task, which exists while it runs.
        Self::with_files(unsafe { ffi::kaio_current_files() })
    }

    /// Returns the program of the current process that has the descriptor table at the address
    /// `files`.
    pub(crate) fn with_files(files: usize) -> Self {
        // SAFETY: the function only reads the current task, which exists while it runs.
        let tgid = unsafe { ffi::kaio_current_tgid() };
        Self { files, tgid }
    }
}

/// The name of a task, for messages.
///
/// # Invariants
///
/// The name ends with a zero.
pub(crate) struct Comm([u8; 16]);

impl Comm {
    /// Returns the name that the current task has now.
    pub(crate) fn current() -> Self {
        let mut name = [0; 16];
        // INVARIANT: the function writes a zero after the name.
        // SAFETY: the function writes to no more bytes than `name` has.
        unsafe { ffi::kaio_current_comm(name.as_mut_ptr(), name.len()) };
        Self(name)
    }
}

/// Warns in the kernel's log that `nr` requests of a program that has ended were given up.
pub(crate) fn warn_given_up(comm: &Comm, owner: FilesOwner, nr: u32) {
    // SAFETY: by the invariant of `Comm` the name ends with a zero.
    unsafe { ffi::kaio_warn_given_up(comm.0.as_ptr(), owner.tgid, nr) };
}

/// A reference to the number of a process, so that the process is not mistaken for a later one.
///
/// # Invariants
///
/// The pointer owns a reference to the `struct pid`.
pub(crate) struct Pid(NonNull<bindings::pid>);

// SAFETY: the reference belongs to no task, and any thread may give it up.
unsafe impl Send for Pid {}
// SAFETY: a shared `Pid` is only looked up under RCU, which any number of threads may do.
unsafe impl Sync for Pid {}

impl Pid {
    /// Returns the process of the current task. Returns `ESRCH` if it has none.
    pub(crate) fn current() -> Result<Self> {
        // SAFETY: the function reads the current task, which exists while it runs.
        // INVARIANT: the function returns a reference of its own.
        let pid = unsafe { ffi::kaio_current_process() };
        Ok(Self(NonNull::new(pid).ok_or(ESRCH)?))
    }

    /// Returns whether all threads of the process have exited, and no other process uses `mm`,
    /// which is its memory. Once that is so it remains so, though the memory may stay for kernel
    /// threads that work in it. Any context.
    pub(crate) fn is_gone(&self, mm: &Mm) -> bool {
        // SAFETY: `self` and `mm` have references to the `struct pid` and the mm that the function
        // reads.
        unsafe { ffi::kaio_process_is_gone(self.0.as_ptr(), mm.as_raw()) }
    }
}

impl Drop for Pid {
    fn drop(&mut self) {
        // SAFETY: by the type's invariant `self` owns a reference, which is given up here once.
        unsafe { bindings::put_pid(self.0.as_ptr()) };
    }
}

/// Identifies a task for as long as the system runs: no two tasks have equal values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incarnation {
    pid: i32,
    start: u64,
}

impl Incarnation {
    /// Returns the identity of the current task.
    pub(crate) fn current() -> Self {
        // SAFETY: both functions only read the current task, which exists while it runs.
        unsafe {
            Self {
                pid: ffi::kaio_current_pid(),
                start: ffi::kaio_current_start(),
            }
        }
    }
}

/// Returns whether the current task exits.
pub(crate) fn exits() -> bool {
    // SAFETY: the function only reads the current task, which exists while it runs.
    unsafe { ffi::kaio_current_exits() }
}

/// Returns whether the current task is a kernel thread, which has no memory except what it has
/// taken on.
pub(crate) fn is_kernels() -> bool {
    // SAFETY: the function only reads the current task, which exists while it runs.
    unsafe { ffi::kaio_current_is_kthread() }
}

/// Returns whether the current task runs a system call that a 64-bit program made itself, and not
/// one that a worker of io_uring makes for the program.
pub(crate) fn is_in_own_call() -> bool {
    // SAFETY: the function only reads the current task, which exists while it runs.
    unsafe { ffi::kaio_current_called() }
}

/// Returns whether the limits for each user do not apply to the current task (`CAP_SYS_RESOURCE`).
pub(crate) fn is_unlimited() -> bool {
    // SAFETY: the function asks for a capability of the current task, and has no requirement.
    unsafe { ffi::kaio_capable_resource() }
}

/// Returns whether the current task is to leave the kernel: a signal is pending, or work that the
/// task does on its way to user space (`TIF_NOTIFY_SIGNAL`).
pub(crate) fn signal_pending() -> bool {
    current!().signal_pending()
}

/// Returns whether a signal is pending for the current task.
pub(crate) fn has_signal() -> bool {
    // SAFETY: the function only reads the current task, which exists while it runs.
    unsafe { ffi::kaio_current_has_signal() }
}

/// Returns whether the current task was killed. The task must then leave the kernel, whatever it
/// waits for.
pub(crate) fn is_killed() -> bool {
    // SAFETY: the function only reads the current task, which exists while it runs.
    unsafe { ffi::kaio_current_is_killed() }
}

/// Returns the time of `CLOCK_MONOTONIC` in nanoseconds, as the current task reads it: its time
/// namespace may have an offset. The time is not negative.
pub(crate) fn monotonic() -> i64 {
    // SAFETY: the function reads a clock, and the namespace of the current task, which exists while
    // it runs.
    unsafe { ffi::kaio_current_monotonic() }
}

/// Sends `SIGPIPE` to the process whose memory the current task has or has taken on.
pub(crate) fn signal_pipe() {
    // SAFETY: the function reads the mm of the current task, if it has one, and takes RCU's lock
    // for the owner of the mm.
    unsafe { ffi::kaio_signal_pipe() };
}
