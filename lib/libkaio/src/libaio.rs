// SPDX-License-Identifier: LGPL-2.1-or-later

//! libaio's ABI. Each function returns what the system call does, or `-errno`; `errno` stays as it
//! is.
//!
//! What a program sees are the names at the end of this file, with libaio's version nodes; the map
//! files say what an object exports.

use core::arch::global_asm;
use core::ffi::{c_int, c_long, c_void};
use core::mem::transmute;

use kaio_sys::uapi::{__kernel_timespec, io_event, iocb};
use kaio_sys::{Errno, Result};

use crate::aio::{self, wait_for, Sigset, SIGSET_SIZE};

/// Counts and 0 fit: what was counted was asked for with an `int`, or is less than a ring holds.
#[inline]
fn answer(result: Result<usize>) -> c_int {
    match result {
        Ok(count) => count as c_int,
        Err(e) => e.negative(),
    }
}

/// `io_setup(3)`: makes a context for `maxevents` requests. `*ctxp` is 0 before, and its id after.
///
/// `EINVAL`, `EFAULT`, `EAGAIN`, `ENOMEM` as natively. `ENOSYS`: there is no device; `EACCES`,
/// `EPERM`: it may not be opened.
extern "C" fn kaio_io_setup(maxevents: c_int, ctxp: *mut u64) -> c_int {
    answer(aio::setup(maxevents as u32, ctxp))
}

/// `io_destroy(3)`: ends a context.
extern "C" fn kaio_io_destroy(ctx: u64) -> c_int {
    answer(aio::destroy(ctx))
}

/// `io_submit(3)`: starts requests.
extern "C" fn kaio_io_submit(ctx: u64, nr: c_long, ios: *const *mut iocb) -> c_int {
    answer(aio::submit(ctx, nr, ios))
}

/// `io_cancel(3)`: `-EINPROGRESS` is success.
extern "C" fn kaio_io_cancel(ctx: u64, iocb: *mut iocb, event: *mut io_event) -> c_int {
    answer(aio::cancel(ctx, iocb, event))
}

/// `io_cancel` of version 0.1, which has no third argument.
extern "C" fn kaio_io_cancel_0_1(ctx: u64, iocb: *mut iocb) -> c_int {
    let mut event = io_event::default();
    kaio_io_cancel(ctx, iocb, &mut event)
}

/// `io_getevents(3)`: takes events.
extern "C" fn kaio_io_getevents(
    ctx: u64,
    min_nr: c_long,
    nr: c_long,
    events: *mut io_event,
    timeout: *const __kernel_timespec,
) -> c_int {
    let wait = wait_for(min_nr, nr, events, timeout, None);
    answer(aio::getevents(libc::SYS_io_getevents, ctx, &wait))
}

/// `io_getevents` of version 0.1, which always waits for one.
extern "C" fn kaio_io_getevents_0_1(
    ctx: u64,
    nr: c_long,
    events: *mut io_event,
    timeout: *const __kernel_timespec,
) -> c_int {
    kaio_io_getevents(ctx, 1, nr, events, timeout)
}

/// `io_pgetevents(3)`: takes events; `sigmask` is the signal mask while it waits.
extern "C" fn kaio_io_pgetevents(
    ctx: u64,
    min_nr: c_long,
    nr: c_long,
    events: *mut io_event,
    timeout: *const __kernel_timespec,
    sigmask: *const u64,
) -> c_int {
    let sig = Sigset {
        mask: sigmask,
        size: SIGSET_SIZE,
    };
    let wait = wait_for(min_nr, nr, events, timeout, Some(sig));
    answer(aio::getevents(
        crate::interpose::SYS_IO_PGETEVENTS,
        ctx,
        &wait,
    ))
}

/// `io_queue_init(3)`: io_setup, whatever was in `*ctxp`.
extern "C" fn kaio_io_queue_init(maxevents: c_int, ctxp: *mut u64) -> c_int {
    if maxevents <= 0 {
        return -libc::EINVAL;
    }
    match crate::user::write_u64(ctxp, 0) {
        Ok(()) => kaio_io_setup(maxevents, ctxp),
        Err(e) => e.negative(),
    }
}

/// `io_queue_release(3)`.
extern "C" fn kaio_io_queue_release(ctx: u64) -> c_int {
    kaio_io_destroy(ctx)
}

/// `io_queue_wait(3)`, alike in both versions: as upstream's it asks for no event, and so does not
/// wait.
extern "C" fn kaio_io_queue_wait(ctx: u64, timeout: *const __kernel_timespec) -> c_int {
    kaio_io_getevents(ctx, 0, 0, core::ptr::null_mut(), timeout)
}

/// What io_set_callback(3) puts into an iocb.
type Callback = extern "C" fn(ctx: u64, iocb: *mut c_void, res: c_long, res2: c_long);

/// `io_queue_run(3)`: calls back for each event that is there.
extern "C" fn kaio_io_queue_run(ctx: u64) -> c_int {
    let no_time = __kernel_timespec::default();
    loop {
        let mut event = io_event::default();
        let got = kaio_io_getevents(ctx, 0, 1, &mut event, &no_time);
        if got != 1 {
            return got;
        }
        // SAFETY: the program that calls io_queue_run() promises that each of its iocbs has one.
        // Without, it would have called address 0 before us, too.
        let callback: Option<Callback> = unsafe { transmute(event.data as usize) };
        match callback {
            Some(callback) => callback(ctx, event.obj as *mut c_void, event.res, event.res2),
            None => return Errno::new(libc::EFAULT).negative(),
        }
    }
}

// A name and its version for each function. A jump, and not the function itself: .symver must stand
// where the symbol is defined.
macro_rules! export {
    ($($shim:literal = $symbol:literal => $function:ident;)*) => {
        $(global_asm!(
            concat!(".pushsection .text.kaio_shim_", $shim, ",\"ax\",@progbits"),
            concat!(".globl kaio_shim_", $shim),
            concat!(".type kaio_shim_", $shim, ", @function"),
            concat!("kaio_shim_", $shim, ":"),
            "endbr64",
            "jmp {function}",
            concat!(".size kaio_shim_", $shim, ", . - kaio_shim_", $shim),
            concat!(".symver kaio_shim_", $shim, ", ", $symbol, ", remove"),
            ".popsection",
            function = sym $function,
        );)*
    };
}

export! {
    "queue_init" = "io_queue_init@@LIBAIO_0.1" => kaio_io_queue_init;
    "queue_run" = "io_queue_run@@LIBAIO_0.1" => kaio_io_queue_run;
    "queue_wait_0_1" = "io_queue_wait@LIBAIO_0.1" => kaio_io_queue_wait;
    "queue_wait" = "io_queue_wait@@LIBAIO_0.4" => kaio_io_queue_wait;
    "queue_release" = "io_queue_release@@LIBAIO_0.1" => kaio_io_queue_release;
    "cancel_0_1" = "io_cancel@LIBAIO_0.1" => kaio_io_cancel_0_1;
    "cancel" = "io_cancel@@LIBAIO_0.4" => kaio_io_cancel;
    "submit" = "io_submit@@LIBAIO_0.1" => kaio_io_submit;
    "getevents_0_1" = "io_getevents@LIBAIO_0.1" => kaio_io_getevents_0_1;
    "getevents" = "io_getevents@@LIBAIO_0.4" => kaio_io_getevents;
    "setup" = "io_setup@@LIBAIO_0.4" => kaio_io_setup;
    "destroy" = "io_destroy@@LIBAIO_0.4" => kaio_io_destroy;
    "pgetevents" = "io_pgetevents@@LIBAIO_0.5" => kaio_io_pgetevents;
}
