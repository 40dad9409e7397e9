// SPDX-License-Identifier: LGPL-2.1-or-later

//! libaio's ABI. Each function returns the result of the system call or `-errno`, and leaves
//! `errno` unchanged.
//!
//! A program sees the names at the end of this file, with libaio's version nodes; the map files
//! list what an object exports.

use core::arch::global_asm;
use core::ffi::{c_int, c_long, c_void};
use core::mem::transmute;

use kaio_sys::uapi::{__kernel_timespec, io_event, iocb};
use kaio_sys::{Errno, Result};

use crate::aio::{self, wait_from_args, Sigset, SIGSET_SIZE};

/// Converts a result. A count fits into an `int`: the caller asked for at most an `int` of them, or
/// they are fewer than the slots of a ring.
#[inline]
fn return_value(result: Result<usize>) -> c_int {
    match result {
        Ok(count) => count as c_int,
        Err(e) => e.negative(),
    }
}

/// Implements `io_setup(3)`: makes a context for `maxevents` requests. `*ctxp` must contain 0 and
/// gets the id.
///
/// The errors are `EINVAL`, `EFAULT`, `EAGAIN` and `ENOMEM` as with native AIO, `ENOSYS` if there
/// is no device, and `EACCES` or `EPERM` if it may not be opened.
extern "C" fn kaio_io_setup(maxevents: c_int, ctxp: *mut u64) -> c_int {
    return_value(aio::setup(maxevents as u32, ctxp))
}

/// Implements `io_destroy(3)`: ends a context.
extern "C" fn kaio_io_destroy(ctx: u64) -> c_int {
    return_value(aio::destroy(ctx))
}

/// Implements `io_submit(3)`: starts requests.
extern "C" fn kaio_io_submit(ctx: u64, nr: c_long, ios: *const *mut iocb) -> c_int {
    return_value(aio::submit(ctx, nr, ios))
}

/// Implements `io_cancel(3)`. `-EINPROGRESS` means success.
extern "C" fn kaio_io_cancel(ctx: u64, iocb: *mut iocb, event: *mut io_event) -> c_int {
    return_value(aio::cancel(ctx, iocb, event))
}

/// Implements `io_cancel` of version 0.1, which has no third argument.
extern "C" fn kaio_io_cancel_0_1(ctx: u64, iocb: *mut iocb) -> c_int {
    let mut event = io_event::default();
    kaio_io_cancel(ctx, iocb, &mut event)
}

/// Implements `io_getevents(3)`: takes events.
extern "C" fn kaio_io_getevents(
    ctx: u64,
    min_nr: c_long,
    nr: c_long,
    events: *mut io_event,
    timeout: *const __kernel_timespec,
) -> c_int {
    let wait = wait_from_args(min_nr, nr, events, timeout, None);
    return_value(aio::getevents(libc::SYS_io_getevents, ctx, &wait))
}

/// Implements `io_getevents` of version 0.1, which always waits for one event.
extern "C" fn kaio_io_getevents_0_1(
    ctx: u64,
    nr: c_long,
    events: *mut io_event,
    timeout: *const __kernel_timespec,
) -> c_int {
    kaio_io_getevents(ctx, 1, nr, events, timeout)
}

/// Implements `io_pgetevents(3)`: takes events, with the signal mask `sigmask` during the wait.
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
    let wait = wait_from_args(min_nr, nr, events, timeout, Some(sig));
    return_value(aio::getevents(
        crate::interpose::SYS_IO_PGETEVENTS,
        ctx,
        &wait,
    ))
}

/// Implements `io_queue_init(3)`: calls io_setup, whatever `*ctxp` contains.
extern "C" fn kaio_io_queue_init(maxevents: c_int, ctxp: *mut u64) -> c_int {
    if maxevents <= 0 {
        return -libc::EINVAL;
    }
    match crate::user::write_u64(ctxp, 0) {
        Ok(()) => kaio_io_setup(maxevents, ctxp),
        Err(e) => e.negative(),
    }
}

/// Implements `io_queue_release(3)`.
extern "C" fn kaio_io_queue_release(ctx: u64) -> c_int {
    kaio_io_destroy(ctx)
}

/// Implements `io_queue_wait(3)` of both versions. Like upstream's function it asks for no event
/// and therefore does not wait.
extern "C" fn kaio_io_queue_wait(ctx: u64, timeout: *const __kernel_timespec) -> c_int {
    kaio_io_getevents(ctx, 0, 0, core::ptr::null_mut(), timeout)
}

/// The function that io_set_callback(3) puts into an iocb.
type Callback = extern "C" fn(ctx: u64, iocb: *mut c_void, res: c_long, res2: c_long);

/// Implements `io_queue_run(3)`: calls the callback of each event that is there.
extern "C" fn kaio_io_queue_run(ctx: u64) -> c_int {
    let no_time = __kernel_timespec::default();
    loop {
        let mut event = io_event::default();
        let got = kaio_io_getevents(ctx, 0, 1, &mut event, &no_time);
        if got != 1 {
            return got;
        }
        // SAFETY: the program that calls io_queue_run() promises that each of its iocbs has a
        // callback. libaio itself relies on that, too.
        let callback: Option<Callback> = unsafe { transmute(event.data as usize) };
        match callback {
            Some(callback) => callback(ctx, event.obj as *mut c_void, event.res, event.res2),
            None => return Errno::new(libc::EFAULT).negative(),
        }
    }
}

// Defines a versioned name for each function. The name is a jump to the function, since `.symver`
// must stand where the symbol is defined.
macro_rules! export {
    ($($shim:literal = $symbol:literal => $function:ident;)*) => {
        $(global_asm!(
            concat!(".pushsection .text.kaio_shim_", $shim, ",\"ax\",@progbits"),
            concat!(".globl kaio_shim_", $shim),
            concat!(".type kaio_shim_", $shim, ", @function"),
            concat!("kaio_shim_", $shim, ":"),
            jump!(),
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
