// SPDX-License-Identifier: GPL-2.0

//! The address space that a context belongs to.

use kernel::{
    bindings,
    current,
    mm::{
        Mm as KernelMm,
        MmWithUser,
        MmWithUserAsync, //
    },
    prelude::*,
    sync::aref::ARef, //
};

/// A reference to an mm (`mm_count`), which keeps it from being mistaken for another.
///
/// Not to be dropped in interrupt: the last `mmdrop()` may not be done there.
pub(crate) struct Mm(ARef<KernelMm>);

impl Mm {
    /// The caller's; `EINVAL` for a kernel thread.
    pub(crate) fn current() -> Result<Self> {
        let task = current!();
        let mm: &KernelMm = task.mm().ok_or(EINVAL)?;
        Ok(Self(mm.into()))
    }

    /// Whether the current task runs in it.
    pub(crate) fn is_current(&self) -> bool {
        let task = current!();
        task.mm().is_some_and(|mm| self.is(mm.as_raw()))
    }

    pub(super) fn is(&self, raw: *const bindings::mm_struct) -> bool {
        core::ptr::eq(self.0.as_raw(), raw)
    }

    /// Its memory, if that is still there; given up without tearing it down on the spot.
    pub(crate) fn users(&self) -> Option<Users> {
        self.0
            .mmget_not_zero()
            .map(|mm| Users(MmWithUser::into_mmput_async(mm)))
    }
}

/// An mm whose memory is there (`mm_users`).
pub(crate) struct Users(ARef<MmWithUserAsync>);

impl Users {
    pub(super) fn as_raw(&self) -> *mut bindings::mm_struct {
        self.0.as_raw()
    }
}

/// Runs `f` in a kworker with this memory.
pub(crate) fn with_users<T>(users: Users, f: impl FnOnce() -> T) -> T {
    let mm = users.as_raw();
    // SAFETY: we are in a kworker (the caller is a work item), which has no mm; `users` holds this
    // one until after `kthread_unuse_mm()`, and goes with `mmput_async()`.
    unsafe { bindings::kthread_use_mm(mm) };
    let result = f();
    // SAFETY: undoes the above, in the same task.
    unsafe { bindings::kthread_unuse_mm(mm) };
    result
}

/// Unmaps `len` bytes at `start` of the current mm.
pub(crate) fn unmap(start: usize, len: usize) {
    // SAFETY: changes the mappings of the current task, as munmap(2) would. There is nothing to do
    // about an error.
    unsafe { bindings::vm_munmap(start, len) };
}
