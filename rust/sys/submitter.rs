// SPDX-License-Identifier: GPL-2.0

//! On whose behalf deferred work runs: what a kworker lacks and a submitter has, but for its memory
//! (`sys::mm`).

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::ffi;

/// Credentials, cgroups, priority and limits as they were at submission. May be dropped in any
/// context.
#[derive(Clone)]
pub(crate) struct Submitter {
    who: Arc<Captured>,
    ioprio: u16,
}

struct Captured(ffi::kaio_submitter);

// SAFETY: references to counted objects that may be used from anywhere.
unsafe impl Send for Captured {}
// SAFETY: as above; nothing is changed through a shared one.
unsafe impl Sync for Captured {}

impl Submitter {
    /// Those of the current task, which must be the submitter. Shares what is the same in `last`.
    pub(crate) fn current(last: Option<&Self>) -> Result<Self> {
        // SAFETY: looks at the current task, and its mm, which a submitter has.
        let same = |who: &Captured| unsafe { ffi::kaio_submitter_is_current(&who.0) };
        let who = match last.filter(|last| same(&last.who)) {
            Some(last) => last.who.clone(),
            None => Arc::new(Captured::current(), GFP_KERNEL_ACCOUNT)?,
        };
        // SAFETY: as above.
        let ioprio = unsafe { ffi::kaio_current_ioprio() };
        Ok(Self { who, ioprio })
    }

    /// Whether the current task, of the same mm, would submit the same way.
    pub(crate) fn is_current(&self) -> bool {
        // SAFETY: looks at the current task, which has an mm: it is in a call of its own.
        unsafe {
            ffi::kaio_current_ioprio() == self.ioprio && ffi::kaio_submitter_is_current(&self.who.0)
        }
    }

    /// Whether nothing but the priority is another.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.who, &other.who)
    }

    pub(crate) fn ioprio(&self) -> u16 {
        self.ioprio
    }

    /// I/O goes with this priority, not with the submitter's own.
    pub(crate) fn set_ioprio(&mut self, ioprio: u16) {
        self.ioprio = ioprio;
    }

    /// `RLIMIT_FSIZE`, in bytes.
    pub(crate) fn fsize_limit(&self) -> usize {
        self.who.0.fsize_limit
    }

    /// Runs `f` in a kworker as the submitter: with its rights, on its account.
    ///
    /// Takes references of its own (`self`): `f` may end the request they came from.
    pub(crate) fn run<T>(self, f: impl FnOnce() -> T) -> T {
        let mut saved = ffi::kaio_submitter_saved {
            cred: core::ptr::null(),
            memcg: core::ptr::null_mut(),
        };
        // SAFETY: we are in a kworker (the caller is a work item).
        unsafe { ffi::kaio_submitter_enter(&self.who.0, self.ioprio, &mut saved) };
        let result = f();
        // SAFETY: undoes the above, in the same task.
        unsafe { ffi::kaio_submitter_leave(&mut saved) };
        result
    }
}

impl Captured {
    fn current() -> Self {
        let mut raw = core::mem::MaybeUninit::uninit();
        // SAFETY: fills in all of `raw`.
        unsafe {
            ffi::kaio_submitter_capture(raw.as_mut_ptr());
            Self(raw.assume_init())
        }
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        // SAFETY: `capture` took the references.
        unsafe { ffi::kaio_submitter_put(&mut self.0) };
    }
}
