// SPDX-License-Identifier: LGPL-2.1-or-later

//! The ioctls, one function each. What they do is in `include/uapi/linux/kaio.h`.
//!
//! Errors that all of them have: `EBADF` if `fd` is not open (but [`submit`] also says that of a
//! request's file), `ENOTTY` if it is no device of kaio or the module is too old for the call.
//!
//! All of them are unsafe because they take a number for a descriptor, and any number will do for
//! an ioctl on somebody else's file (I/O safety). No `BorrowedFd`: that promises an open file, and
//! a library below a program that closes all descriptors (libkaio) cannot know. What the caller
//! promises of `fd`, besides what a function says: it is a descriptor that the caller got from
//! [`crate::device::open`]. If the program has closed it and put another file there, that file is
//! asked for an ioctl of kaio's number, which a file that is no device of kaio answers with an
//! error, and the caller answers for that.

use core::ffi::c_int;
use core::ptr::{from_mut, null, null_mut};

use crate::errno::{Errno, Result};
use crate::syscall::syscall;
use crate::uapi::{
    __kernel_timespec, io_event, iocb, kaio_cancel, kaio_destroy, kaio_getevents, kaio_query,
    kaio_setup, kaio_submit, kaio_submit_wait, KAIO_IOC_CANCEL, KAIO_IOC_DESTROY,
    KAIO_IOC_GETEVENTS, KAIO_IOC_QUERY, KAIO_IOC_SETUP, KAIO_IOC_SUBMIT, KAIO_IOC_SUBMIT_WAIT,
};

/// # Safety
///
/// `arg` is the struct that `number` is for, and the caller keeps what the ioctl asks for the
/// memory that the struct names.
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
    // SAFETY: the kernel reads and writes `arg`, whose size is in the number; the rest is the
    // caller's promise.
    unsafe { syscall(libc::SYS_ioctl, args) }
}

/// `KAIO_QUERY`: what this module can do, and its limits.
///
/// # Safety
///
/// What the head of this module says of `fd`.
pub unsafe fn query(fd: c_int) -> Result<kaio_query> {
    let mut arg = kaio_query::default();
    // SAFETY: the struct has no pointers.
    unsafe { call(fd, KAIO_IOC_QUERY, &mut arg) }?;
    Ok(arg)
}

/// `KAIO_SETUP`, io_setup(2): makes a context for `nr_events` requests; returns its id, which is the
/// address of its ring.
///
/// # Safety
///
/// What the head of this module says of `fd`.
///
/// # Errors
///
/// `EINVAL`: `nr_events` is 0 or absurd. `EAGAIN`: more than a limit allows. `ENOMEM`.
pub unsafe fn setup(fd: c_int, nr_events: u32) -> Result<u64> {
    let mut arg = kaio_setup {
        nr_events,
        ..Default::default()
    };
    // SAFETY: the struct has no pointers; the ring is mapped where nothing was.
    unsafe { call(fd, KAIO_IOC_SETUP, &mut arg) }?;
    Ok(arg.ctx_id)
}

/// `KAIO_DESTROY`, io_destroy(2): ends a context; when it returns, no buffer is in use.
///
/// # Safety
///
/// Nobody reads the ring any more: it is unmapped.
///
/// # Errors
///
/// `EINVAL`: no such context. `EINTR`: a fatal signal came; the context is gone all the same.
pub unsafe fn destroy(fd: c_int, ctx_id: u64) -> Result<()> {
    let mut arg = kaio_destroy {
        ctx_id,
        ..Default::default()
    };
    // SAFETY: the caller's promise about the ring.
    unsafe { call(fd, KAIO_IOC_DESTROY, &mut arg) }.map(|_| ())
}

/// What [`submit`] did: some requests, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Requests that were started; not 0 unless none were given.
    pub count: usize,
    /// Why the next one was not.
    pub stopped: Option<Errno>,
}

/// `KAIO_SUBMIT`, io_submit(2): starts requests. `nr` is as the caller of io_submit(2) gives it.
///
/// # Safety
///
/// The buffers that the iocbs name stay theirs until their events come. Bad pointers are allowed:
/// the kernel looks.
///
/// # Errors
///
/// Why not even the first one was started; `EINVAL` if there is no such context or `nr` is negative.
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
    // SAFETY: the caller's promise about the buffers.
    let count = unsafe { call(fd, KAIO_IOC_SUBMIT, &mut arg) }?;
    Ok(Submitted {
        count,
        stopped: stopped(arg.error),
    })
}

fn stopped(error: i32) -> Option<Errno> {
    (error != 0).then(|| Errno::new(error.wrapping_neg()))
}

/// What [`get_events`] and [`submit_wait`] wait for.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// Return only when there were that many ...
    pub min_nr: i64,
    /// ... and never more than that.
    pub nr: i64,
    /// Where to put them: `nr` events. Null with `KAIO_GETEVENTS_PEEK`.
    pub events: *mut io_event,
    /// Relative, or with `KAIO_GETEVENTS_ABSTIME` a time of `CLOCK_MONOTONIC`; null: for ever.
    pub timeout: *const __kernel_timespec,
    /// The kernel's sigset_t (8 bytes) to have while waiting, or null.
    pub sigmask: *const u64,
    /// Its size, 8. Not 0 even if `sigmask` is null: io_pgetevents(2) is meant.
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
/// says how many there are.
///
/// # Safety
///
/// If events are taken, `events` may be written to, and nobody else takes events of this ring in
/// user space meanwhile. Bad pointers are allowed: the kernel looks.
///
/// # Errors
///
/// `EINVAL`: no such context, or it was destroyed meanwhile, or numbers that make no sense. `EINTR`:
/// a signal came before any event, or if the time is relative, other work for this thread. `EFAULT`.
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
    // SAFETY: the caller's promise about `events`; the rest is only read.
    unsafe { call(fd, KAIO_IOC_GETEVENTS, &mut arg) }
}

/// `KAIO_CANCEL`, io_cancel(2): gives a request up. `Ok(true)`: it has ended, and its event is in the
/// ring. `Ok(false)`: the event follows.
///
/// # Safety
///
/// What the head of this module says of `fd`. A bad `iocb` is allowed: the kernel looks.
///
/// # Errors
///
/// `EINVAL`: there is no such request, or it cannot be cancelled and completes. `EFAULT`: `iocb`
/// cannot be read. (The ioctl's `EINPROGRESS` means success; here that is `Ok`.)
pub unsafe fn cancel(fd: c_int, ctx_id: u64, iocb: *const iocb) -> Result<bool> {
    let mut arg = kaio_cancel {
        ctx_id,
        iocb: iocb as u64,
        ..Default::default()
    };
    // SAFETY: the kernel only reads at `iocb`, and looks whether it can.
    match unsafe { call(fd, KAIO_IOC_CANCEL, &mut arg) } {
        Err(e) if e.get() == libc::EINPROGRESS => Ok(arg.ended != 0),
        Err(e) => Err(e),
        Ok(_) => Ok(arg.ended != 0),
    }
}

/// `KAIO_SUBMIT_WAIT`: submits, then waits for events, in one call. Also returns what was submitted,
/// if the wait failed too.
///
/// # Safety
///
/// As [`submit`] and [`get_events`].
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
    // SAFETY: the caller's promises about buffers and `events`.
    let ret = unsafe { call(fd, KAIO_IOC_SUBMIT_WAIT, &mut arg) };
    let submitted = Submitted {
        count: arg.submitted as usize,
        stopped: stopped(arg.error),
    };
    (submitted, ret)
}
