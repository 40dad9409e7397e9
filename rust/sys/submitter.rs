// SPDX-License-Identifier: GPL-2.0

//! The submitter on whose behalf a kworker runs a request: what a kworker lacks and the submitter
//! has, except for the memory (`sys::mm`).
//!
//! fs/aio.c has no counterpart: it runs requests in io_submit(2), and the kick handler of the
//! retry-based AIO took on the memory only. The captured values do not change, so there are no
//! locks.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::{
    ffi,
    queue::Deputy, //
};

/// The credentials, cgroups, priority and limits of a submitter, as they were at submission. May be
/// dropped in any context.
#[derive(Clone)]
pub(crate) struct Submitter {
    captured: Arc<Captured>,
    ioprio: u16,
}

/// What successive requests of a task share.
///
/// # Invariants
///
/// The pointers own references, or are null.
struct Captured(ffi::kaio_submitter);

// SAFETY: the references are to counted objects (credentials and cgroups), which belong to no task,
// and any thread may give them up.
unsafe impl Send for Captured {}
// SAFETY: no code changes a `Captured` after it was made, and the objects may be used by any number
// of threads.
unsafe impl Sync for Captured {}

impl Submitter {
    /// Captures the current task, which is the submitter: a task with an mm, in an ioctl. Shares
    /// what is equal with `last`. Returns `ENOMEM` if there is no memory.
    pub(crate) fn current(last: Option<&Self>) -> Result<Self> {
        // SAFETY: the function looks at the current task and its mm, which the submitter has. By
        // the invariant of `Captured` its pointers are valid.
        let same = |last: &Captured| unsafe { ffi::kaio_submitter_is_current(&last.0) };
        let captured = match last.filter(|last| same(&last.captured)) {
            Some(last) => last.captured.clone(),
            None => Arc::new(Captured::current(), GFP_KERNEL_ACCOUNT)?,
        };
        // SAFETY: the function only reads the current task, and has no requirement.
        let ioprio = unsafe { ffi::kaio_current_ioprio() };
        Ok(Self { captured, ioprio })
    }

    /// Returns whether a capture of the current task would be equal to this one. The current task
    /// is in an ioctl, so it has an mm.
    pub(crate) fn is_current(&self) -> bool {
        // SAFETY: the functions look at the current task and its mm, which a task in an ioctl has.
        // By the invariant of `Captured` its pointers are valid.
        unsafe {
            ffi::kaio_current_ioprio() == self.ioprio
                && ffi::kaio_submitter_is_current(&self.captured.0)
        }
    }

    /// Returns whether this and `other` share their capture, and differ at most in the priority.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.captured, &other.captured)
    }

    /// Returns the I/O priority.
    pub(crate) fn ioprio(&self) -> u16 {
        self.ioprio
    }

    /// Makes the request use this I/O priority and not that of the submitter.
    pub(crate) fn set_ioprio(&mut self, ioprio: u16) {
        self.ioprio = ioprio;
    }

    /// Returns the limit on the size of files (`RLIMIT_FSIZE`), in bytes.
    pub(crate) fn fsize_limit(&self) -> usize {
        self.captured.0.fsize_limit
    }

    /// Runs `f` in a kworker with the credentials, the cgroups and the I/O priority of the
    /// submitter.
    ///
    /// This consumes `self`, and so has references of its own, since `f` may end the request from
    /// which `self` was cloned.
    pub(crate) fn run<T>(self, _deputy: &mut Deputy, f: impl FnOnce() -> T) -> T {
        let mut saved = ffi::kaio_submitter_saved {
            cred: core::ptr::null(),
            memcg: core::ptr::null_mut(),
        };
        // SAFETY: `_deputy` proves that the current task is a kworker. It is mutably borrowed until
        // `f` has returned, so the kworker acts for no other submitter meanwhile. `self` keeps the
        // references until `kaio_submitter_leave()`.
        unsafe { ffi::kaio_submitter_enter(&self.captured.0, self.ioprio, &mut saved) };
        let result = f();
        // SAFETY: `kaio_submitter_enter()` has filled `saved` in, in this task, and this is called
        // once for that.
        unsafe { ffi::kaio_submitter_leave(&mut saved) };
        result
    }
}

impl Captured {
    /// Captures the current task, which has an mm.
    fn current() -> Self {
        let mut raw = core::mem::MaybeUninit::uninit();
        // SAFETY: the function takes references to what the current task has, and fills in all
        // fields of `raw`.
        // INVARIANT: the function has taken the references.
        unsafe {
            ffi::kaio_submitter_capture(raw.as_mut_ptr());
            Self(raw.assume_init())
        }
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        // SAFETY: by the type's invariant `self` owns the references, which are given up here once.
        unsafe { ffi::kaio_submitter_put(&mut self.0) };
    }
}
