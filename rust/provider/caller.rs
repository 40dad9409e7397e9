// SPDX-License-Identifier: GPL-2.0

//! `kaio_read_iter()` and `kaio_write_iter()`: read(2) and write(2) on a file with a provider.
//!
//! The calling task has no request, and waits for the promise itself, as `wait_on_sync_kiocb()` of
//! the retry-based AIO of fs/aio.c did. The task may hold locks of its own call, such as that of
//! the file's position. No lock of kaio is taken.

use core::ptr;

use kernel::bindings;

use super::{
    iocb::{
        Kind,
        OwnerOps,
        ProviderIocb,
        ProviderRef,
        QUEUED,
        RETRY, //
    },
    reference::count,
};
use crate::{
    pure::promise::{
        Ask,
        AttemptResult,
        NotifyResult,
        Promise, //
    },
    sys::{
        errno,
        ffi,
        task, //
    },
};

/// The result of a call that a signal has interrupted, and that the kernel may restart.
const RESTART: isize = -(bindings::ERESTARTSYS as isize);

/// The kind of the requests of tasks in read(2) or write(2), which wait for the promise to change.
/// They store no `owner`.
pub(crate) struct Caller;

impl Kind for Caller {
    const OWNER_OPS: OwnerOps = OwnerOps {
        kick: wake_caller,
        complete: wake_caller,
        forget: |_| {},
    };
}

/// Wakes the task that waits for the promise.
///
/// # Safety
///
/// The caller ensures what [`OwnerOps`] asks for; this function does not rely on that.
unsafe fn wake_caller(inner: &ProviderIocb, _owner: usize) {
    // SAFETY: `wake_up_var()` uses the address as a key only, and does not follow it.
    unsafe { ffi::kaio_wake_var((&raw const *inner).cast_mut().cast()) };
}

/// How a task waits for the promise.
enum Sleep {
    /// A signal wakes the task.
    Interruptible,
    /// No signal wakes the task, since the provider uses its memory.
    Uninterruptible,
}

/// Returns whether the provider owes no kick.
///
/// # Safety
///
/// The caller ensures that `arg` is a [`ProviderIocb`] that is in memory.
unsafe extern "C" fn is_kicked(arg: *mut kernel::ffi::c_void) -> bool {
    // SAFETY: the caller ensures that `arg` is a `ProviderIocb`, whose promise any thread may read.
    unsafe { (*arg.cast::<ProviderIocb>()).promise.is_kicked() }
}

/// Returns whether the promise is over.
///
/// # Safety
///
/// The caller ensures that `arg` is a [`ProviderIocb`] that is in memory.
unsafe extern "C" fn is_over(arg: *mut kernel::ffi::c_void) -> bool {
    // SAFETY: the caller ensures that `arg` is a `ProviderIocb`, whose promise any thread may read.
    unsafe { (*arg.cast::<ProviderIocb>()).promise.is_over() }
}

impl ProviderRef<Caller> {
    /// Sleeps until `ready` returns true. Returns false if a signal came before that.
    ///
    /// `ready` is [`is_kicked`] or [`is_over`].
    fn wait(
        &self,
        ready: unsafe extern "C" fn(*mut kernel::ffi::c_void) -> bool,
        sleep: Sleep,
    ) -> bool {
        let var = self.0.as_ptr().cast();
        let interruptible = matches!(sleep, Sleep::Interruptible);
        // SAFETY: `self` keeps the `ProviderIocb`, which is `var` and the argument of `ready`, in
        // memory during the call, as `ready` asks for.
        unsafe { ffi::kaio_wait_var(var, Some(ready), var, interruptible) == 0 }
    }

    /// Runs the request to its end in the current task. Returns a number of bytes, or a negative
    /// errno.
    pub(crate) fn run_to_end(&self, nowait: bool) -> isize {
        let ret = self.run(nowait);
        let done = match self.inner().promise.is_taken() {
            // The provider has completed the request: its result counts alone.
            true => 0,
            // The provider does not use the iocb any more, as it has at most promised to kick.
            false => self.done(),
        };
        self.end();
        match ret {
            ret if ret < 0 && done > 0 => done as isize,
            ret => ret,
        }
    }

    /// Runs attempts until the request is over, or the task is not to wait any more.
    fn run(&self, nowait: bool) -> isize {
        loop {
            let Some(ret) = self.call_retry() else {
                return errno::EINVAL as isize;
            };
            let result = match ret {
                RETRY => self.record_answer(Promise::answer_retry),
                QUEUED => self.record_answer(Promise::answer_queued),
                _ => self.record_answer(Promise::answer_result),
            };
            match result {
                AttemptResult::Nothing => {
                    self.release();
                    return ret;
                }
                AttemptResult::Completed => {
                    self.release();
                    return self.result().0 as isize;
                }
                AttemptResult::Owed if ret == QUEUED => return self.wait_for_completion(nowait),
                // The promise to kick ends with the request.
                _ if nowait => return errno::EAGAIN as isize,
                AttemptResult::Owed if !self.wait(is_kicked, Sleep::Interruptible) => {
                    return RESTART
                }
                // A provider that kicks in each attempt must not keep the task for ever.
                _ if task::signal_pending() => return RESTART,
                _ => {}
            }
        }
    }

    /// Waits until the provider has completed the request, or gives it back because the task is not
    /// to wait or a signal came.
    fn wait_for_completion(&self, nowait: bool) -> isize {
        if nowait || !self.wait(is_over, Sleep::Interruptible) {
            // The provider is asked to give the request back. If it refuses, it uses the memory of
            // the task until it completes the request, so the task must wait.
            let promise = &self.inner().promise;
            if promise.ask() == Ask::Ask {
                let given_back = self.call_cancel();
                if promise.asked(given_back) == NotifyResult::Act {
                    self.restore_iter();
                    self.release();
                    return match nowait {
                        true => errno::EAGAIN as isize,
                        false => RESTART,
                    };
                }
            }
            self.wait(is_over, Sleep::Uninterruptible);
        }
        self.result().0 as isize
    }
}

/// Reads, or writes if `write` is true, for `kaio_read_iter()` and `kaio_write_iter()`. Returns a
/// number of bytes, or a negative errno.
///
/// # Safety
///
/// The caller is the `read_iter` or `write_iter` of a file: `kiocb` and `iter` are valid and used
/// by no other thread during the call, `ki_filp` is open, and the caller may sleep.
#[no_mangle]
unsafe extern "C" fn kaio_held_call(
    kiocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
    write: bool,
) -> isize {
    let opcode = match write {
        true => bindings::IOCB_CMD_PWRITE,
        false => bindings::IOCB_CMD_PREAD,
    };
    // SAFETY: the caller ensures that `kiocb` and `iter` are valid and that the file is open. The
    // memory that `iter` points into stays during this call, and `run_to_end` ends the request in
    // it: after that no code uses the copy of the iterator.
    let (made, nowait) = unsafe {
        let iocb = ffi::kaio_iocb {
            ki_filp: (*kiocb).ki_filp,
            ki_user_data: 0,
            ki_nbytes: count(&*iter),
            ki_opcode: opcode as u16,
            ki_ioprio: (*kiocb).ki_ioprio,
            ki_flags: (*kiocb).ki_flags,
            ki_pos: (*kiocb).ki_pos,
            ki_iter: ptr::read(iter),
            private: ptr::null_mut(),
        };
        let nowait = ffi::kaio_iocb_impatient(kiocb);
        (ProviderRef::<Caller>::make(iocb, write, None), nowait)
    };
    let this = match made {
        Ok(this) => this,
        Err(e) => return e.to_errno() as isize,
    };
    let ret = this.run_to_end(nowait);
    // A request that failed counts as one that moved nothing.
    if ret >= 0 {
        // SAFETY: `run_to_end` ended the request, so the provider does not use the iocb any more:
        // it has at most promised to kick. The caller ensures that no other thread uses `kiocb` and
        // `iter`.
        unsafe {
            (*kiocb).ki_pos = (*this.iocb()).ki_pos;
            ptr::copy_nonoverlapping(&raw const (*this.iocb()).ki_iter, iter, 1);
        }
    }
    ret
}
