// SPDX-License-Identifier: LGPL-2.1-or-later

//! The six system calls of AIO on `/dev/kaio`, for libaio's functions and for raw calls.
//!
//! The arguments are those of the system calls, as the program gave them, so pointers may be bad.
//! The results are those of the system calls, too.

use core::ffi::c_long;

use kaio_sys::ioctl::{self, Wait};
use kaio_sys::syscall::syscall;
use kaio_sys::uapi::{__kernel_timespec, io_event, iocb, KAIO_GETEVENTS_PEEK};
use kaio_sys::{Errno, Result};

use crate::events::{closed_device_is_einval, get_events};
use crate::policy;
use crate::process::{Backend, Device, Process};
use crate::user;

const EINVAL: Errno = Errno::new(libc::EINVAL);

/// Makes the system call `nr` of native AIO.
///
/// # Safety
///
/// The arguments are those of the program's own call: the kernel checks the pointers, and the
/// program lets it write to the memory that they name.
unsafe fn native_call(nr: c_long, args: [usize; 6]) -> Result<usize> {
    // SAFETY: the program has made this very call.
    unsafe { syscall(nr, args) }
}

/// Implements io_setup(2). The errors are those of native AIO and of [`Process::choose_backend`].
pub(crate) fn setup(nr_events: u32, ctxp: *mut u64) -> Result<usize> {
    let process = Process::get()?;
    if let Backend::Native = process.choose_backend()? {
        return native_setup(nr_events, ctxp);
    }
    // Check the place for the id first, as native AIO does. The place must contain 0.
    if user::read_u64(ctxp)? != 0 {
        return Err(EINVAL);
    }
    user::write_u64(ctxp, 0)?;
    if policy::is_over_native_limit(nr_events) {
        return Err(Errno::new(libc::EAGAIN));
    }
    let Some(id) = create_context(process, nr_events)? else {
        return native_setup(nr_events, ctxp);
    };
    process.contexts().insert(id);
    if let Err(e) = user::write_u64(ctxp, id) {
        // Another thread has unmapped the place meanwhile.
        let _ = destroy(id);
        return Err(e);
    }
    Ok(0)
}

fn native_setup(nr_events: u32, ctxp: *mut u64) -> Result<usize> {
    let args = [nr_events as usize, ctxp as usize, 0, 0, 0, 0];
    // SAFETY: the program has called io_setup(2) with these arguments.
    unsafe { native_call(libc::SYS_io_setup, args) }
}

/// Makes a context, or returns `None` if native AIO is to be used instead.
fn create_context(process: &Process, nr_events: u32) -> Result<Option<u64>> {
    let mut may_retry = true;
    loop {
        let Backend::Kaio(device) = process.choose_backend()? else {
            return Ok(None);
        };
        // SAFETY: `device` is this library's; if the program has put another file there, that file
        // refuses the ioctl.
        match unsafe { ioctl::setup(device.fd(), nr_events) } {
            Ok(id) => return Ok(Some(id)),
            // The program has closed all descriptors, including this library's.
            Err(e) if may_retry && (e.get() == libc::EBADF || e.get() == libc::ENOTTY) => {
                process.forget_device(device);
                may_retry = false;
            }
            Err(e) if e.get() == libc::ENOTTY => {
                process.forget_device(device);
                return process.fall_back(e).map(|_| None);
            }
            Err(e) => return Err(e),
        }
    }
}

/// Implements io_destroy(2).
pub(crate) fn destroy(ctx_id: u64) -> Result<usize> {
    let process = Process::get()?;
    match process.backend()? {
        Backend::Kaio(device) => {
            process.contexts().remove(ctx_id)?;
            // SAFETY: this library reads the rings of contexts in its table only, and `remove` has
            // waited for all readers of this one.
            let destroyed = unsafe { ioctl::destroy(device.fd(), ctx_id) };
            closed_device_is_einval(process, device, destroyed).map(|()| 0)
        }
        // SAFETY: the program has called io_destroy(2) with this argument.
        Backend::Native => unsafe {
            native_call(libc::SYS_io_destroy, [ctx_id as usize, 0, 0, 0, 0, 0])
        },
    }
}

/// Implements io_submit(2).
#[inline]
pub(crate) fn submit(ctx_id: u64, nr: c_long, iocbpp: *const *mut iocb) -> Result<usize> {
    let process = Process::get()?;
    match process.backend()? {
        Backend::Kaio(device) => {
            // SAFETY: the program has called io_submit(2), whose contract obliges it to keep the
            // buffers.
            match unsafe { ioctl::submit(device.fd(), ctx_id, nr, iocbpp) } {
                Ok(submitted) => {
                    if let Some(slot) = process.contexts().find(ctx_id) {
                        slot.add_submitted(submitted.count);
                    }
                    Ok(submitted.count)
                }
                Err(e) => Err(submit_error(process, device, ctx_id, e)),
            }
        }
        // SAFETY: the program has called io_submit(2) with these arguments.
        Backend::Native => unsafe {
            native_call(
                libc::SYS_io_submit,
                [ctx_id as usize, nr as usize, iocbpp as usize, 0, 0, 0],
            )
        },
    }
}

/// Returns the error of a submission. `EBADF` may mean the descriptor of this library or that of a
/// request; in the first case the contexts have ended.
#[cold]
fn submit_error(process: &Process, device: Device, ctx_id: u64, e: Errno) -> Errno {
    forget_dead_context(process, device, ctx_id, e);
    let is_lost = match e.get() {
        libc::ENOTTY => true,
        libc::EBADF => {
            // SAFETY: F_GETFD takes no pointer and changes nothing.
            let is_open = unsafe {
                native_call(
                    libc::SYS_fcntl,
                    [device.fd() as usize, libc::F_GETFD as usize, 0, 0, 0, 0],
                )
                .is_ok()
            };
            // Another thread may have noticed this before, and opened the device anew under the
            // same number.
            !is_open || !process.is_current(device)
        }
        _ => false,
    };
    if is_lost {
        process.forget_device(device);
        return EINVAL;
    }
    e
}

/// Removes a context from the table after `EINVAL`, if the kernel does not know it: the program has
/// unmapped or moved its ring, so this library must not read it.
#[cold]
fn forget_dead_context(process: &Process, device: Device, ctx_id: u64, e: Errno) {
    let peek = Wait {
        flags: KAIO_GETEVENTS_PEEK,
        ..Wait::default()
    };
    if e == EINVAL && process.contexts().find(ctx_id).is_some() {
        // SAFETY: with KAIO_GETEVENTS_PEEK the kernel takes no event and writes none.
        if unsafe { ioctl::get_events(device.fd(), ctx_id, &peek) } == Err(EINVAL) {
            // In a signal handler that interrupted a consumer the context stays in the table.
            let _ = process.contexts().remove(ctx_id);
        }
    }
}

/// Implements io_getevents(2) and io_pgetevents(2); `nr` is the number of the call.
#[inline]
pub(crate) fn getevents(nr: c_long, ctx_id: u64, wait: &Wait) -> Result<usize> {
    let process = Process::get()?;
    match process.backend()? {
        Backend::Kaio(device) => get_events(process, device, ctx_id, wait),
        Backend::Native => {
            let sig = Sigset {
                mask: wait.sigmask,
                size: wait.sigsetsize,
            };
            let args = [
                ctx_id as usize,
                wait.min_nr as usize,
                wait.nr as usize,
                wait.events as usize,
                wait.timeout as usize,
                &raw const sig as usize,
            ];
            // SAFETY: the program has made this call with these arguments, except for the last one.
            // Only io_pgetevents(2) reads that one, and its format is what that call expects.
            unsafe { native_call(nr, args) }
        }
    }
}

/// The last argument of io_pgetevents(2).
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Sigset {
    pub(crate) mask: *const u64,
    pub(crate) size: usize,
}

/// The size of the kernel's sigset_t.
pub(crate) const SIGSET_SIZE: usize = 8;

/// Converts the arguments of io_getevents(2), or of io_pgetevents(2) if there is `sig`.
#[inline]
pub(crate) fn wait_from_args(
    min_nr: c_long,
    nr: c_long,
    events: *mut io_event,
    timeout: *const __kernel_timespec,
    sig: Option<Sigset>,
) -> Wait {
    let wait = Wait {
        min_nr,
        nr,
        events,
        timeout,
        ..Wait::default()
    };
    match sig {
        None => wait,
        Some(sig) => Wait {
            sigmask: sig.mask,
            // The size is set without a mask too: it selects io_pgetevents(2), which the kernel
            // continues after a signal that has no handler.
            sigsetsize: if sig.mask.is_null() {
                SIGSET_SIZE
            } else {
                sig.size
            },
            ..wait
        },
    }
}

/// Implements io_cancel(2), which always returns an error; `EINPROGRESS` means success. As with
/// native AIO, nothing is written to `event`: the event comes in the ring.
pub(crate) fn cancel(ctx_id: u64, iocb: *mut iocb, event: *mut io_event) -> Result<usize> {
    let process = Process::get()?;
    match process.backend()? {
        Backend::Kaio(device) => {
            // SAFETY: `device` is this library's; if the program has put another file there, that
            // file refuses the ioctl.
            let cancelled = unsafe { ioctl::cancel(device.fd(), ctx_id, iocb) }
                .inspect_err(|&e| forget_dead_context(process, device, ctx_id, e));
            closed_device_is_einval(process, device, cancelled)?;
            Err(Errno::new(libc::EINPROGRESS))
        }
        // SAFETY: the program has called io_cancel(2) with these arguments.
        Backend::Native => unsafe {
            native_call(
                libc::SYS_io_cancel,
                [ctx_id as usize, iocb as usize, event as usize, 0, 0, 0],
            )
        },
    }
}
