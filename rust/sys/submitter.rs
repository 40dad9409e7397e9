// SPDX-License-Identifier: GPL-2.0

//! On whose behalf deferred work runs: what a kworker lacks and a submitter has, but for its memory
//! (`sys::mm`).

use super::ffi;

/// Credentials, cgroups, priority and limits as they were at submission. May be dropped in any
/// context.
pub(crate) struct Submitter(ffi::kaio_submitter);

// SAFETY: references to counted objects that may be used from anywhere.
unsafe impl Send for Submitter {}
// SAFETY: as above; nothing is changed through a shared one.
unsafe impl Sync for Submitter {}

impl Submitter {
    /// Those of the current task, which must be the submitter.
    pub(crate) fn current() -> Self {
        let mut raw = core::mem::MaybeUninit::uninit();
        // SAFETY: fills in all of `raw`.
        unsafe {
            ffi::kaio_submitter_capture(raw.as_mut_ptr());
            Self(raw.assume_init())
        }
    }

    /// I/O goes with this priority, not with the submitter's own.
    pub(crate) fn set_ioprio(&mut self, ioprio: u16) {
        self.0.ioprio = ioprio;
    }

    /// `RLIMIT_FSIZE`, in bytes.
    pub(crate) fn fsize_limit(&self) -> usize {
        self.0.fsize_limit
    }

    /// Runs `f` in a kworker as the submitter: with its rights, on its account.
    ///
    /// Takes references of its own (`self`): `f` may end the request they came from.
    pub(crate) fn run<T>(mut self, f: impl FnOnce() -> T) -> T {
        let mut saved = ffi::kaio_submitter_saved {
            cred: core::ptr::null(),
            memcg: core::ptr::null_mut(),
        };
        // SAFETY: we are in a kworker (the caller is a work item).
        unsafe { ffi::kaio_submitter_enter(&mut self.0, &mut saved) };
        let result = f();
        // SAFETY: undoes the above, in the same task.
        unsafe { ffi::kaio_submitter_leave(&mut self.0, &mut saved) };
        result
    }
}

impl Clone for Submitter {
    fn clone(&self) -> Self {
        let mut raw = self.0;
        // SAFETY: `self` holds all that `raw` copies; the callee counts it again.
        unsafe { ffi::kaio_submitter_get(&mut raw) };
        Self(raw)
    }
}

impl Drop for Submitter {
    fn drop(&mut self) {
        // SAFETY: `capture` took the references.
        unsafe { ffi::kaio_submitter_put(&mut self.0) };
    }
}
