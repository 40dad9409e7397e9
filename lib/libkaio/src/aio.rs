// SPDX-License-Identifier: LGPL-2.1-or-later

//! The six system calls of AIO, done by `/dev/kaio`: what libaio's functions and raw calls share.
//!
//! Arguments are those of the system calls, as a program gave them: pointers may be bad. Results are
//! the system calls' too.

use core::ffi::c_long;

use kaio_sys::ioctl::{self, Wait};
use kaio_sys::syscall::syscall;
use kaio_sys::uapi::{__kernel_timespec, io_event, iocb, KAIO_GETEVENTS_PEEK};
use kaio_sys::{Errno, Result};

use crate::events::{get_events, lost_is_einval};
use crate::process::{Backend, Device, Process};
use crate::user;

const EINVAL: Errno = Errno::new(libc::EINVAL);

/// # Safety
///
/// As the system call `nr`: the kernel checks the pointers, and what it writes to is the caller's.
unsafe fn native(nr: c_long, args: [usize; 6]) -> Result<usize> {
    // SAFETY: the caller's promise.
    unsafe { syscall(nr, args) }
}

/// io_setup(2). The errors of native AIO, and what [`Process::choose_backend`] says.
pub(crate) fn setup(nr_events: u32, ctxp: *mut u64) -> Result<usize> {
    let process = Process::get()?;
    if let Backend::Native = process.choose_backend()? {
        return native_setup(nr_events, ctxp);
    }
    // As natively: a place for the answer comes before everything. It must have 0 in it.
    if user::read_u64(ctxp)? != 0 {
        return Err(EINVAL);
    }
    user::write_u64(ctxp, 0)?;
    let Some(id) = make(process, nr_events)? else {
        return native_setup(nr_events, ctxp);
    };
    process.contexts().insert(id);
    if let Err(e) = user::write_u64(ctxp, id) {
        // Another thread unmapped it meanwhile.
        let _ = destroy(id);
        return Err(e);
    }
    Ok(0)
}

fn native_setup(nr_events: u32, ctxp: *mut u64) -> Result<usize> {
    let args = [nr_events as usize, ctxp as usize, 0, 0, 0, 0];
    // SAFETY: `ctxp` is for the call to write to.
    unsafe { native(libc::SYS_io_setup, args) }
}

/// A new context; `None`: native AIO is to be used after all.
fn make(process: &Process, nr_events: u32) -> Result<Option<u64>> {
    let mut again = true;
    loop {
        let Backend::Kaio(device) = process.choose_backend()? else {
            return Ok(None);
        };
        // SAFETY: our device; any other file says that it does not know the ioctl.
        match unsafe { ioctl::setup(device.fd(), nr_events) } {
            Ok(id) => return Ok(Some(id)),
            // The program closed all descriptors, ours too.
            Err(e) if again && (e.get() == libc::EBADF || e.get() == libc::ENOTTY) => {
                process.forget(device);
                again = false;
            }
            Err(e) if e.get() == libc::ENOTTY => {
                process.forget(device);
                return process.do_without(e).map(|_| None);
            }
            Err(e) => return Err(e),
        }
    }
}

/// io_destroy(2).
pub(crate) fn destroy(ctx_id: u64) -> Result<usize> {
    let process = Process::get()?;
    match process.backend()? {
        Backend::Kaio(device) => {
            process.contexts().remove(ctx_id)?;
            // SAFETY: of those that we know, nobody reads the ring any more.
            let destroyed = unsafe { ioctl::destroy(device.fd(), ctx_id) };
            lost_is_einval(process, device, destroyed).map(|()| 0)
        }
        // SAFETY: ends what the caller wants to end.
        Backend::Native => unsafe {
            native(libc::SYS_io_destroy, [ctx_id as usize, 0, 0, 0, 0, 0])
        },
    }
}

/// io_submit(2).
#[inline]
pub(crate) fn submit(ctx_id: u64, nr: c_long, iocbpp: *const *mut iocb) -> Result<usize> {
    let process = Process::get()?;
    match process.backend()? {
        Backend::Kaio(device) => {
            // SAFETY: the buffers are the caller's, who knows the contract of io_submit(2).
            match unsafe { ioctl::submit(device.fd(), ctx_id, nr, iocbpp) } {
                Ok(submitted) => {
                    if let Some(slot) = process.contexts().find(ctx_id) {
                        slot.count(submitted.count);
                    }
                    Ok(submitted.count)
                }
                Err(e) => Err(error_of_submit(process, device, ctx_id, e)),
            }
        }
        // SAFETY: as above.
        Backend::Native => unsafe {
            native(
                libc::SYS_io_submit,
                [ctx_id as usize, nr as usize, iocbpp as usize, 0, 0, 0],
            )
        },
    }
}

/// `EBADF` may be about our descriptor, or about that of a request.
#[cold]
fn error_of_submit(process: &Process, device: Device, ctx_id: u64, e: Errno) -> Errno {
    drop_if_gone(process, device, ctx_id, e);
    let is_lost = match e.get() {
        libc::ENOTTY => true,
        libc::EBADF => {
            // SAFETY: looks at the descriptor.
            let is_open = unsafe {
                native(
                    libc::SYS_fcntl,
                    [device.fd() as usize, libc::F_GETFD as usize, 0, 0, 0, 0],
                )
                .is_ok()
            };
            // Another thread may have found out before, and opened anew what has the same number.
            !is_open || !process.is_current(device)
        }
        _ => false,
    };
    if is_lost {
        process.forget(device);
        return EINVAL;
    }
    e
}

/// After `EINVAL`: a context whose ring the program has unmapped or moved is not ours to read.
#[cold]
fn drop_if_gone(process: &Process, device: Device, ctx_id: u64, e: Errno) {
    let nothing = Wait {
        flags: KAIO_GETEVENTS_PEEK,
        ..Wait::default()
    };
    if e == EINVAL && process.contexts().find(ctx_id).is_some() {
        // SAFETY: takes nothing.
        if unsafe { ioctl::get_events(device.fd(), ctx_id, &nothing) } == Err(EINVAL) {
            // In a handler that interrupted a taker it stays.
            let _ = process.contexts().remove(ctx_id);
        }
    }
}

/// io_getevents(2) and io_pgetevents(2); that is `nr`.
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
            // SAFETY: `events` are the caller's to write to; the last one is only looked at by
            // io_pgetevents(2), and is what that wants.
            unsafe { native(nr, args) }
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

/// The kernel's sigset_t.
pub(crate) const SIGSET_SIZE: usize = 8;

/// What the arguments of io_getevents(2) ask for, or of io_pgetevents(2) if there is `sig`.
#[inline]
pub(crate) fn wait_for(
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
            // Without a mask too: a call that knows masks goes on after a signal without a handler.
            sigsetsize: if sig.mask.is_null() {
                SIGSET_SIZE
            } else {
                sig.size
            },
            ..wait
        },
    }
}

/// io_cancel(2): always an error; `EINPROGRESS` means success. Nothing is written to `event`, as
/// natively: the event comes in the ring.
pub(crate) fn cancel(ctx_id: u64, iocb: *mut iocb, event: *mut io_event) -> Result<usize> {
    let process = Process::get()?;
    match process.backend()? {
        Backend::Kaio(device) => {
            // SAFETY: our device; any other file says that it does not know the ioctl.
            let cancelled = unsafe { ioctl::cancel(device.fd(), ctx_id, iocb) }
                .inspect_err(|&e| drop_if_gone(process, device, ctx_id, e));
            lost_is_einval(process, device, cancelled)?;
            Err(Errno::new(libc::EINPROGRESS))
        }
        // SAFETY: as the caller's own call.
        Backend::Native => unsafe {
            native(
                libc::SYS_io_cancel,
                [ctx_id as usize, iocb as usize, event as usize, 0, 0, 0],
            )
        },
    }
}
