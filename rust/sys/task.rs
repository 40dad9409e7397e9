// SPDX-License-Identifier: GPL-2.0

//! The current task: whose limits and queues its requests count for.

use kernel::current;

use super::ffi;

/// Who shares queues and limits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    /// The real user id, in the kernel's own numbers.
    pub(crate) uid: u32,
    /// The cgroup (v2), so that one container does not wait for another's hung file system.
    pub(crate) cgroup: u64,
}

/// Of the current task.
pub(crate) fn account() -> Account {
    // SAFETY: reads the current task.
    unsafe {
        Account {
            uid: ffi::kaio_current_uid(),
            cgroup: ffi::kaio_current_cgroup(),
        }
    }
}

/// A program, as `flush` of a file sees who closes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Program {
    /// The address of its table of descriptors, which another may have once it is gone ...
    files: usize,
    /// ... but not in this process.
    tgid: i32,
}

impl Program {
    /// Of the current task.
    pub(crate) fn current() -> Self {
        // SAFETY: reads the current task.
        Self::with_files(unsafe { ffi::kaio_current_files() })
    }

    /// The current process, when it closes a file of this table of descriptors.
    pub(super) fn with_files(files: usize) -> Self {
        // SAFETY: as above.
        let tgid = unsafe { ffi::kaio_current_tgid() };
        Self { files, tgid }
    }
}

/// Whether the current task exits.
pub(crate) fn exits() -> bool {
    // SAFETY: as above.
    unsafe { ffi::kaio_current_exits() }
}

/// Whether the current task is the kernel's own: whatever memory it has, that is on loan.
pub(crate) fn is_kernels() -> bool {
    // SAFETY: as above.
    unsafe { ffi::kaio_current_is_kthread() }
}

/// Whether limits for each user do not hold for the current task (`CAP_SYS_RESOURCE`).
pub(crate) fn is_unlimited() -> bool {
    // SAFETY: asks about the current task.
    unsafe { ffi::kaio_capable_resource() }
}

/// The current task is to leave the kernel: a signal waits for it, or work that it does on its way
/// out (`TIF_NOTIFY_SIGNAL`).
pub(crate) fn signal_pending() -> bool {
    current!().signal_pending()
}

/// A signal waits for the current task.
pub(crate) fn has_signal() -> bool {
    // SAFETY: reads the current task.
    unsafe { ffi::kaio_current_has_signal() }
}

/// `CLOCK_MONOTONIC` in nanoseconds, as the current task reads it: its time namespace may have
/// set it ahead. Not negative.
pub(crate) fn monotonic() -> i64 {
    // SAFETY: reads a clock, and the namespace of the current task, which is alive.
    unsafe { ffi::kaio_current_monotonic() }
}

/// Sends `SIGPIPE` to the process whose memory the current task has taken on.
pub(crate) fn signal_pipe() {
    // SAFETY: looks at the current task's memory, if it has any.
    unsafe { ffi::kaio_signal_pipe() };
}
