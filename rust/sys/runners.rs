// SPDX-License-Identifier: GPL-2.0

//! Lists the kworkers that run requests, so that a run can be ended, and a run that holds up others
//! is noticed.
//!
//! fs/aio.c needs neither, since a signal to the submitter ends a request there.
//!
//! A kworker has no signals, so a run would go on for as long as the file takes, even when the
//! process of the request has long been gone. So each kworker is listed while it runs requests. A
//! work item looks at the list once a second, and sends `SIGKILL` to the kworkers whose runs are to
//! end. A run that waits killably in the kernel, or writes many pages, then ends as it does in a
//! process that was killed.
//!
//! A kick handler runs the requests of its context one after another, and none of them is to wait.
//! But a page of the submitter's memory can be missing, and the daemon that provides it
//! (userfaultfd(2), FUSE) may take its time. So another work item looks ten times a second whether
//! a kick handler still runs the request that it ran before.
//!
//! The methods of [`Bounded`] are called under the lock of the list, which is in the shim.

use core::marker::PhantomData;

use kernel::types::Opaque;

use super::ffi;

/// An object whose requests a kworker runs.
pub(crate) trait Bounded {
    /// Returns whether runs of the object's requests are to end now. Must not sleep.
    fn must_end(&self) -> bool;
    /// Other requests wait for the kworker, so that [`Self::stalled`] is to be called.
    const IS_AWAITED: bool = false;
    /// Takes note that the kworker has run one request for a while. Must not sleep.
    fn stalled(&self) {}
}

/// The current task, while it is a kworker that runs requests.
///
/// # Invariants
///
/// `kaio_runner_enter()` has filled `raw` in, in the current task, and `kaio_runner_leave()` has
/// not been called.
pub(crate) struct Runner<'a> {
    raw: &'a Opaque<ffi::kaio_runner>,
    // Only the current task begins and ends its runs.
    _not_send: PhantomData<*mut ()>,
}

impl Runner<'_> {
    /// Begins a run of a request, which may be ended from now on.
    pub(crate) fn begin(&self) {
        // SAFETY: by the type's invariant `raw` is that of the current task, and is listed.
        unsafe { ffi::kaio_runner_begin(self.raw.get()) };
    }

    /// Ends the run. Returns whether the run was told to end, and removes the signal that told it
    /// so.
    pub(crate) fn end(&self) -> bool {
        // SAFETY: by the type's invariant `raw` is that of the current task, and is listed.
        unsafe { ffi::kaio_runner_end(self.raw.get()) }
    }
}

/// Calls [`Bounded::must_end`] of the object `of`.
///
/// # Safety
///
/// The caller ensures that `of` is the `T` that [`run`] passed together with this function, and
/// that the kworker is still listed.
unsafe extern "C" fn must_end<T: Bounded>(of: *const kernel::ffi::c_void) -> bool {
    // SAFETY: the caller ensures that `of` is a `T` of a kworker that is listed, and `run` borrows
    // it as long as that is so. `T` is `Sync`, as `run` asks for.
    unsafe { (*of.cast::<T>()).must_end() }
}

/// Calls [`Bounded::stalled`] of the object `of`.
///
/// # Safety
///
/// The caller ensures that `of` is the `T` that [`run`] passed together with this function, and
/// that the kworker is still listed.
unsafe extern "C" fn stalled<T: Bounded>(of: *const kernel::ffi::c_void) {
    // SAFETY: the caller ensures that `of` is a `T` of a kworker that is listed, and `run` borrows
    // it as long as that is so. `T` is `Sync`, as `run` asks for.
    unsafe { (*of.cast::<T>()).stalled() }
}

/// Calls `f` in a kworker that runs requests of `of`, and lists the kworker meanwhile.
pub(crate) fn run<T: Bounded + Sync, R>(of: &T, f: impl FnOnce(&Runner<'_>) -> R) -> R {
    let raw = Opaque::uninit();
    let must_end = Some(must_end::<T> as unsafe extern "C" fn(_) -> _);
    let stalled = T::IS_AWAITED.then_some(stalled::<T> as unsafe extern "C" fn(_));
    // SAFETY: `raw` and `of` stay where they are until `kaio_runner_leave()` below, which takes the
    // lock of the list. The same task calls it in any case, as panics of the kernel do not unwind.
    // Both functions are called with `of` while the kworker is listed, as they ask for.
    unsafe {
        ffi::kaio_runner_enter(raw.get(), (&raw const *of).cast(), must_end, stalled);
    }
    // INVARIANT: `kaio_runner_enter()` has filled `raw` in, and `kaio_runner_leave()` comes after
    // `f`.
    let result = f(&Runner {
        raw: &raw,
        _not_send: PhantomData,
    });
    // SAFETY: `kaio_runner_enter()` filled `raw` in above, in this task, and this is called once
    // for that.
    unsafe { ffi::kaio_runner_leave(raw.get()) };
    result
}

/// Ends all runs that must end, without waiting for them.
pub(crate) fn end_all() {
    // SAFETY: the function takes the locks of the lists. Only functions of the shim hold these, and
    // the methods that they call under a lock do not call this function.
    unsafe { ffi::kaio_runners_end() };
}
