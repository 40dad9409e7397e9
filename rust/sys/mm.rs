// SPDX-License-Identifier: GPL-2.0

//! The address space to which a context belongs.
//!
//! The counterpart is `mm` of `struct kioctx` in the retry-based AIO of fs/aio.c, and `use_mm()`,
//! by which its kick handler took on the memory of the submitter. The kernel counts references to
//! an mm (`mm_count`) and users of its memory (`mm_users`); there are no locks here.

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

use super::queue::{
    Deputy,
    Kworker, //
};

/// A reference to an mm (`mm_count`), so that no later mm has the same address.
///
/// It must not be dropped in an interrupt, where the last `mmdrop()` is not allowed.
pub(crate) struct Mm(ARef<KernelMm>);

impl Mm {
    /// Returns the mm of the current task. Returns `EINVAL` for a kernel thread.
    pub(crate) fn current() -> Result<Self> {
        let task = current!();
        let mm: &KernelMm = task.mm().ok_or(EINVAL)?;
        Ok(Self(mm.into()))
    }

    /// Returns whether the current task runs in this mm.
    pub(crate) fn is_current(&self) -> bool {
        let task = current!();
        task.mm().is_some_and(|mm| self.is(mm.as_raw()))
    }

    /// Returns whether `raw` is this mm.
    pub(crate) fn is(&self, raw: *const bindings::mm_struct) -> bool {
        core::ptr::eq(self.0.as_raw(), raw)
    }

    /// Returns the mm, which is valid as long as `self` is borrowed.
    pub(crate) fn as_raw(&self) -> *mut bindings::mm_struct {
        self.0.as_raw()
    }

    /// Returns a user of the memory, or `None` if the memory has gone. If the last user is dropped,
    /// a kworker frees the memory later (`mmput_async()`).
    pub(crate) fn users(&self) -> Option<MmUsers> {
        self.0
            .mmget_not_zero()
            .map(|mm| MmUsers(MmWithUser::into_mmput_async(mm)))
    }
}

/// A user of an mm, which keeps the memory (`mm_users`).
pub(crate) struct MmUsers(ARef<MmWithUserAsync>);

impl MmUsers {
    /// Returns the mm, whose memory stays as long as `self` is borrowed.
    pub(crate) fn as_raw(&self) -> *mut bindings::mm_struct {
        self.0.as_raw()
    }
}

/// Runs `f` in a kworker that has taken on the memory of `users`.
pub(crate) fn with_users<T>(
    mut kworker: Kworker,
    users: MmUsers,
    f: impl FnOnce(&mut Deputy) -> T,
) -> T {
    let mm = users.as_raw();
    // SAFETY: `kworker` proves that the current task is a kworker that has taken on no memory; it
    // is consumed, so that cannot be done twice. `users` keeps the memory until
    // `kthread_unuse_mm()` has returned.
    unsafe { bindings::kthread_use_mm(mm) };
    let result = f(kworker.deputy());
    // SAFETY: this task has called `kthread_use_mm()` with this mm above, and `f` has not changed
    // that: to do so takes a `Kworker`.
    unsafe { bindings::kthread_unuse_mm(mm) };
    result
}

/// Unmaps `len` bytes at `start` of the current mm.
pub(crate) fn unmap(start: usize, len: usize) {
    // SAFETY: the function changes the mappings of the current task as munmap(2) does, which any
    // program may do at any time. No Rust reference points to user memory. An error means that
    // nothing was unmapped, and leaves nothing to do.
    unsafe { bindings::vm_munmap(start, len) };
}
