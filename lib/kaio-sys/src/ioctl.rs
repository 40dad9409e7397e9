// SPDX-License-Identifier: LGPL-2.1-or-later

//! The ioctls, one function for each. `include/uapi/linux/kaio.h` documents what they do.
//!
//! All of them can fail with `EBADF` if `fd` is not open (for [`submit`] this error can also mean
//! the file of a request), and with `ENOTTY` if `fd` is not a device of kaio or the module is too
//! old for the call.
//!
//! The functions are unsafe because they take a descriptor as a number, by which a caller could
//! make an ioctl on a file that it does not own (I/O safety). They do not take a `BorrowedFd`,
//! which promises that the file is open: a library such as libkaio cannot promise that, since its
//! program may close all descriptors. The caller promises, besides what a function asks for, that
//! it got `fd` from [`crate::device::open`]. If the program has closed that descriptor and opened
//! another file under its number, that file gets an ioctl with a number of kaio, or an fadvise64(2)
//! with it. A file that is not a device of kaio refuses it, and the caller is responsible for that
//! case.

use core::ffi::c_int;
use core::ptr::{from_mut, null, null_mut};
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::errno::{Errno, Result};
use crate::syscall::syscall;
use crate::uapi::{
    __kernel_timespec, io_event, iocb, kaio_cancel, kaio_destroy, kaio_getevents, kaio_query,
    kaio_setup, kaio_submit, kaio_submit_wait, KAIO_IOC_CANCEL, KAIO_IOC_DESTROY,
    KAIO_IOC_GETEVENTS, KAIO_IOC_QUERY, KAIO_IOC_SETUP, KAIO_IOC_SUBMIT, KAIO_IOC_SUBMIT_WAIT,
};

/// Makes the ioctl `number`.
///
/// # Safety
///
/// `arg` is the struct that `number` belongs to, and the caller keeps the promises of that ioctl
/// for the memory that the struct names.
#[inline]
unsafe fn call<T>(fd: c_int, number: u64, arg: &mut T) -> Result<usize> {
    let args = [
        fd as usize,
        number as usize,
        from_mut(arg) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the kernel reads and writes only `arg`, whose size is part of `number`, and the
    // memory that `arg` names, for which the caller answers.
    unsafe { syscall(libc::SYS_ioctl, args) }
}

/// What is known of fadvise64(2) as a way into the module.
static QUICK_WAY: AtomicU8 = AtomicU8::new(UNKNOWN);

/// It is not known, or it does not work: the module is too old for it, the kernel lacks the system
/// call, or a seccomp filter refuses it.
const UNKNOWN: u8 = 0;
const WORKS: u8 = 1;
/// The program does not want it.
const FORBIDDEN: u8 = 2;

/// Makes all calls by ioctl(2) from now on. A program needs this if a seccomp filter kills it for
/// fadvise64(2).
pub fn forbid_quick_way() {
    QUICK_WAY.store(FORBIDDEN, Relaxed);
}

/// Makes the most frequent calls by fadvise64(2) from now on if that works for `fd`, because it takes
/// fewer instructions than ioctl(2). [`crate::device::open`] does this.
///
/// # Safety
///
/// `fd` is a descriptor as this module's documentation describes.
pub unsafe fn find_quick_way(fd: c_int) {
    if QUICK_WAY.load(Relaxed) != FORBIDDEN {
        // SAFETY: the caller keeps the promise.
        let works = unsafe { knows_quick_way(fd, KAIO_IOC_SUBMIT) };
        QUICK_WAY.store(if works { WORKS } else { UNKNOWN }, Relaxed);
    }
}

/// Makes the call `number` by fadvise64(2).
///
/// # Safety
///
/// As for [`call`]. `arg` is the address of the struct.
#[inline]
unsafe fn advise(fd: c_int, number: u64, arg: usize) -> Result<usize> {
    let args = [fd as usize, arg, 0, number as usize, 0, 0];
    // SAFETY: on a file of kaio the call does what the ioctl does, for which the caller answers. On
    // any other file it is a piece of advice that no file knows.
    unsafe { syscall(libc::SYS_fadvise64, args) }
}

/// Returns whether the file knows the call `number` by fadvise64(2): it then tries to read the
/// struct, which no program can have at this address. Other files, and filters, answer otherwise.
///
/// # Safety
///
/// `fd` is a descriptor as this module's documentation describes.
#[cold]
unsafe fn knows_quick_way(fd: c_int, number: u64) -> bool {
    // SAFETY: the kernel cannot read the struct, so it does nothing.
    unsafe { advise(fd, number, usize::MAX) }.is_err_and(|e| e.get() == libc::EFAULT)
}

/// Makes the ioctl `number` by fadvise64(2) if that works, and otherwise by ioctl(2).
///
/// # Safety
///
/// As for [`call`].
#[inline]
unsafe fn call_quickly<T>(fd: c_int, number: u64, arg: &mut T) -> Result<usize> {
    if QUICK_WAY.load(Relaxed) != WORKS {
        // SAFETY: the caller keeps the promises.
        return unsafe { call(fd, number, arg) };
    }
    // SAFETY: the caller keeps the promises.
    match unsafe { advise(fd, number, from_mut(arg) as usize) } {
        // The program may have put another file in the place of the device, or set a filter of
        // seccomp meanwhile. These are their answers, and can be answers of the module, too.
        Err(e) if [libc::EINVAL, libc::ESPIPE, libc::ENOSYS, libc::EPERM].contains(&e.get()) => {
            // SAFETY: the caller keeps the promises. If the file does not know the call, nothing has
            // been done yet.
            unsafe {
                if knows_quick_way(fd, number) {
                    return Err(e);
                }
                let ret = call(fd, number, arg);
                if ret.is_ok() {
                    let _ = QUICK_WAY.compare_exchange(WORKS, UNKNOWN, Relaxed, Relaxed);
                }
                ret
            }
        }
        ret => ret,
    }
}

/// `KAIO_QUERY`: returns the features and limits of the module.
///
/// # Safety
///
/// `fd` is a descriptor as this module's documentation describes.
pub unsafe fn query(fd: c_int) -> Result<kaio_query> {
    let mut arg = kaio_query::default();
    // SAFETY: the struct has no pointers.
    unsafe { call(fd, KAIO_IOC_QUERY, &mut arg) }?;
    Ok(arg)
}

/// `KAIO_SETUP`, io_setup(2): makes a context for `nr_events` requests and returns its id, which is
/// the address of its ring.
///
/// # Safety
///
/// `fd` is a descriptor as this module's documentation describes.
///
/// # Errors
///
/// `EINVAL`: `nr_events` is 0 or too large. `EAGAIN`: a limit does not allow so many requests.
/// `ENOMEM`.
pub unsafe fn setup(fd: c_int, nr_events: u32) -> Result<u64> {
    let mut arg = kaio_setup {
        nr_events,
        ..Default::default()
    };
    // SAFETY: the struct has no pointers, and the kernel maps the ring at an unused address.
    unsafe { call(fd, KAIO_IOC_SETUP, &mut arg) }?;
    Ok(arg.ctx_id)
}

/// `KAIO_DESTROY`, io_destroy(2): ends a context. When the function returns, the kernel uses no
/// buffer of the context.
///
/// # Safety
///
/// `fd` is a descriptor as this module's documentation describes. No code reads the ring any more,
/// since the kernel unmaps it.
///
/// # Errors
///
/// `EINVAL`: there is no such context. `EINTR`: a fatal signal has come; the context has ended
/// nevertheless.
pub unsafe fn destroy(fd: c_int, ctx_id: u64) -> Result<()> {
    let mut arg = kaio_destroy {
        ctx_id,
        ..Default::default()
    };
    // SAFETY: the caller promises that no code reads the ring any more.
    unsafe { call(fd, KAIO_IOC_DESTROY, &mut arg) }.map(|_| ())
}

/// The result of [`submit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The number of requests that were started. It is 0 only if the caller has given none.
    pub count: usize,
    /// The error of the first request that was not started.
    pub stopped: Option<Errno>,
}

/// `KAIO_SUBMIT`, io_submit(2): starts requests. `nr` is the argument of io_submit(2).
///
/// # Safety
///
/// `fd` is a descriptor as this module's documentation describes. The buffers that the iocbs name
/// stay reserved for the requests until their events come. Bad pointers are allowed, since the
/// kernel checks them.
///
/// # Errors
///
/// The error of the first request if it was not started. `EINVAL`: there is no such context, or
/// `nr` is negative.
#[inline]
pub unsafe fn submit(
    fd: c_int,
    ctx_id: u64,
    nr: i64,
    iocbpp: *const *mut iocb,
) -> Result<Submitted> {
    let mut arg = kaio_submit {
        ctx_id,
        nr,
        iocbpp: iocbpp as u64,
        ..Default::default()
    };
    // SAFETY: the caller promises to keep the buffers.
    let count = unsafe { call_quickly(fd, KAIO_IOC_SUBMIT, &mut arg) }?;
    Ok(Submitted {
        count,
        stopped: stop_reason(arg.error),
    })
}

fn stop_reason(error: i32) -> Option<Errno> {
    (error != 0).then(|| Errno::new(error.wrapping_neg()))
}

/// The arguments of a wait by [`get_events`] or [`submit_wait`].
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// The number of events to wait for.
    pub min_nr: i64,
    /// The maximum number of events to take.
    pub nr: i64,
    /// Memory for `nr` events. Null with `KAIO_GETEVENTS_PEEK`.
    pub events: *mut io_event,
    /// A relative time, or with `KAIO_GETEVENTS_ABSTIME` a time of `CLOCK_MONOTONIC`. Null means no
    /// limit.
    pub timeout: *const __kernel_timespec,
    /// The signal mask during the wait, in the kernel's format of 8 bytes, or null.
    pub sigmask: *const u64,
    /// The size of the signal mask, 8. A size that is not 0 selects io_pgetevents(2), even if
    /// `sigmask` is null.
    pub sigsetsize: usize,
    /// `KAIO_GETEVENTS_PEEK` and `KAIO_GETEVENTS_ABSTIME`, or 0.
    pub flags: u32,
}

impl Default for Wait {
    #[inline]
    fn default() -> Self {
        Self {
            min_nr: 0,
            nr: 0,
            events: null_mut(),
            timeout: null(),
            sigmask: null(),
            sigsetsize: 0,
            flags: 0,
        }
    }
}

/// `KAIO_GETEVENTS`, io_getevents(2), io_pgetevents(2): takes events, or with `KAIO_GETEVENTS_PEEK`
/// only returns how many there are.
///
/// # Safety
///
/// `fd` is a descriptor as this module's documentation describes. If the call takes events, the
/// kernel may write to `events`, and no other code takes events of this ring in user space
/// meanwhile. Bad pointers are allowed, since the kernel checks them.
///
/// # Errors
///
/// `EINVAL`: there is no such context, it was destroyed meanwhile, or the numbers are invalid.
/// `EINTR`: a signal came before any event, or, if the time is relative, the kernel had other work
/// for this thread. `EFAULT`: a pointer is bad.
#[inline]
pub unsafe fn get_events(fd: c_int, ctx_id: u64, wait: &Wait) -> Result<usize> {
    let mut arg = kaio_getevents {
        ctx_id,
        min_nr: wait.min_nr,
        nr: wait.nr,
        events: wait.events as u64,
        timeout: wait.timeout as u64,
        sigmask: wait.sigmask as u64,
        sigsetsize: wait.sigsetsize as u64,
        flags: wait.flags,
        ..Default::default()
    };
    // SAFETY: the caller promises that the kernel may write to `events`; it only reads the rest.
    unsafe { call_quickly(fd, KAIO_IOC_GETEVENTS, &mut arg) }
}

/// `KAIO_CANCEL`, io_cancel(2): cancels a request. Returns `true` if the request has ended and its
/// event is in the ring, and `false` if the event will follow.
///
/// # Safety
///
/// `fd` is a descriptor as this module's documentation describes. A bad `iocb` is allowed, since
/// the kernel checks it.
///
/// # Errors
///
/// `EINVAL`: there is no such request, or it cannot be cancelled and will complete. `EFAULT`: the
/// kernel cannot read `iocb`. (`EINPROGRESS` of the ioctl means success; this function returns `Ok`
/// for it.)
pub unsafe fn cancel(fd: c_int, ctx_id: u64, iocb: *const iocb) -> Result<bool> {
    let mut arg = kaio_cancel {
        ctx_id,
        iocb: iocb as u64,
        ..Default::default()
    };
    // SAFETY: the kernel only reads `iocb`, whose address it checks.
    match unsafe { call(fd, KAIO_IOC_CANCEL, &mut arg) } {
        Err(e) if e.get() == libc::EINPROGRESS => Ok(arg.ended != 0),
        Err(e) => Err(e),
        Ok(_) => Ok(arg.ended != 0),
    }
}

/// `KAIO_SUBMIT_WAIT`: submits requests and then waits for events, in one call. Returns what was
/// submitted, even if the wait has failed.
///
/// # Safety
///
/// The caller keeps the promises of [`submit`] and of [`get_events`].
#[inline]
pub unsafe fn submit_wait(
    fd: c_int,
    ctx_id: u64,
    nr: i64,
    iocbpp: *const *mut iocb,
    wait: &Wait,
) -> (Submitted, Result<usize>) {
    let mut arg = kaio_submit_wait {
        ctx_id,
        nr,
        iocbpp: iocbpp as u64,
        min_nr: wait.min_nr,
        nr_events: wait.nr,
        events: wait.events as u64,
        timeout: wait.timeout as u64,
        sigmask: wait.sigmask as u64,
        sigsetsize: wait.sigsetsize as u64,
        flags: wait.flags,
        ..Default::default()
    };
    // SAFETY: the caller promises to keep the buffers and that the kernel may write to `events`.
    let ret = unsafe { call_quickly(fd, KAIO_IOC_SUBMIT_WAIT, &mut arg) };
    let submitted = Submitted {
        count: arg.submitted as usize,
        stopped: stop_reason(arg.error),
    };
    (submitted, ret)
}
