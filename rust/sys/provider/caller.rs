// SPDX-License-Identifier: GPL-2.0

//! `kaio_read_iter()` and `kaio_write_iter()`: a caller of read(2) or write(2) has no request, and
//! waits for the promise itself. `wait_on_sync_kiocb()` of the classic fs/aio.c.

use core::ptr;

use kernel::bindings;

use super::{
    count,
    Held,
    Owner,
    Provided,
    QUEUED,
    RETRY, //
};
use crate::{
    pure::promise::{
        Ask,
        Left,
        Promise,
        Told, //
    },
    sys::{
        errno,
        ffi,
        task, //
    },
};

const RESTART: isize = -(bindings::ERESTARTSYS as isize);

/// Of callers of read(2), who wait for the promise to change.
pub(super) static CALLER: Owner = Owner {
    kick: wake_caller,
    complete: wake_caller,
    forget: |_| {},
};

/// # Safety
///
/// None: see [`Owner`].
unsafe fn wake_caller(held: &Held, _owner: usize) {
    // SAFETY: the address stands for itself.
    unsafe { ffi::kaio_wake_var((&raw const *held).cast_mut().cast()) };
}

/// What a caller of read(2) may be told instead of being made to wait.
enum Patience {
    /// It sleeps; a signal wakes it.
    Signal,
    /// It sleeps: its memory is in use.
    None,
}

/// # Safety
///
/// For `kaio_wait_var()`: `arg` is a `Held` that the caller keeps.
unsafe extern "C" fn is_kicked(arg: *mut kernel::ffi::c_void) -> bool {
    // SAFETY: as the caller promises.
    unsafe { (*arg.cast::<Held>()).promise.is_kicked() }
}

/// # Safety
///
/// As [`is_kicked`].
unsafe extern "C" fn is_over(arg: *mut kernel::ffi::c_void) -> bool {
    // SAFETY: as the caller promises.
    unsafe { (*arg.cast::<Held>()).promise.is_over() }
}

impl Provided {
    /// Sleeps until `ready`; `false`: a signal came.
    fn wait(
        &self,
        ready: unsafe extern "C" fn(*mut kernel::ffi::c_void) -> bool,
        patience: Patience,
    ) -> bool {
        let var = self.0.as_ptr().cast();
        let interruptible = matches!(patience, Patience::Signal);
        // SAFETY: we keep the `Held`.
        unsafe { ffi::kaio_wait_var(var, Some(ready), var, interruptible) == 0 }
    }

    /// Runs the request to its end in the current task: bytes, or a negative errno.
    pub(super) fn run_to_end(&self, nowait: bool) -> isize {
        let ret = self.run(nowait);
        let done = match self.held().promise.is_taken() {
            // What it was completed with is all there is to say.
            true => 0,
            // The provider is done with the iocb, or has promised no more than to kick.
            false => self.done(),
        };
        self.end();
        match ret {
            ret if ret < 0 && done > 0 => done as isize,
            ret => ret,
        }
    }

    fn run(&self, nowait: bool) -> isize {
        loop {
            let Some(ret) = self.call() else {
                return errno::EINVAL as isize;
            };
            let left = match ret {
                RETRY => self.answered(Promise::answer_retry),
                QUEUED => self.answered(Promise::answer_queued),
                _ => self.answered(Promise::answer_result),
            };
            match left {
                Left::Nothing => {
                    self.release();
                    return ret;
                }
                Left::Completed => {
                    self.release();
                    return self.result().0 as isize;
                }
                Left::Owed if ret == QUEUED => return self.wait_for_completion(nowait),
                // Its promise ends with the request.
                _ if nowait => return errno::EAGAIN as isize,
                Left::Owed if !self.wait(is_kicked, Patience::Signal) => return RESTART,
                // A provider that kicks itself for ever must not keep the caller for ever.
                _ if task::signal_pending() => return RESTART,
                _ => {}
            }
        }
    }

    fn wait_for_completion(&self, nowait: bool) -> isize {
        if nowait || !self.wait(is_over, Patience::Signal) {
            // No time, or a signal: cancel it, or else it needs the caller's memory until it completes.
            let promise = &self.held().promise;
            if promise.ask() == Ask::Ask {
                let gave = self.ask();
                if promise.asked(gave) == Told::Act {
                    self.take_back();
                    self.release();
                    return match nowait {
                        true => errno::EAGAIN as isize,
                        false => RESTART,
                    };
                }
            }
            self.wait(is_over, Patience::None);
        }
        self.result().0 as isize
    }
}

/// `kaio_read_iter()` and `kaio_write_iter()`.
///
/// # Safety
///
/// For file operations: `kiocb` and `iter` are valid, and the caller may sleep.
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
    // SAFETY: both are valid, and the iterator's memory outlives the call, which the iterator's
    // copy does not: nobody uses it once the promise was kept, or the request has ended.
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
        (Provided::make(iocb, write, None, &CALLER), nowait)
    };
    let this = match made {
        Ok(this) => this,
        Err(e) => return e.to_errno() as isize,
    };
    let ret = this.run_to_end(nowait);
    // What failed has not moved anything, whatever it took.
    if ret >= 0 {
        // SAFETY: the provider is done with the iocb, or has promised no more than to kick.
        unsafe {
            (*kiocb).ki_pos = (*this.iocb()).ki_pos;
            ptr::copy_nonoverlapping(&raw const (*this.iocb()).ki_iter, iter, 1);
        }
    }
    ret
}
