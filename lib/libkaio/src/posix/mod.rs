// SPDX-License-Identifier: LGPL-2.1-or-later

//! POSIX AIO: `aio_read()` and the other functions, by requests of the kernel.
//!
//! glibc has a thread for each descriptor, and each thread does one request after another. This
//! library submits a request to the module when the program makes it, and the requests of one
//! descriptor run at the same time.
//!
//! - **Contexts.** The first request makes the process open `/dev/kaio` and make a context; when
//!   that is full, the library makes another one, twice as large. The only limit is the kernel's
//!   (`EAGAIN`). Requests for one pipe, socket or terminal stay in one context, where the module
//!   serves them in order.
//! - **The helper** is a thread that the first request starts and that ends after a second without
//!   requests (`aio_init()`: `aio_idle_time`). It sleeps until a context has events, writes results
//!   to the control blocks, and then notifies the program: it sends the signals, makes the threads
//!   of SIGEV_THREAD, and wakes the threads that sleep in `aio_suspend()` or `lio_listio()`. No
//!   notification is lost: if too many signals are queued, or no thread can be made, the helper
//!   tries again every 10 ms.
//! - **The lock** of the library's state is held for a moment only. A thread submits a request to
//!   the kernel without the lock and with its own signal mask, because that may take long: the
//!   kernel may copy much from its cache, or wait for pages of the buffer, which the program itself
//!   may have to provide (userfaultfd). Meanwhile all other threads can use the library.
//! - **Signal safety.** `aio_error()` and `aio_return()` read a word of the control block.
//!   `aio_suspend()` reads that word and sleeps on it. None of the three takes a lock: a handler
//!   may call them, and by POSIX no other functions of AIO. The other functions take the library's
//!   lock with all signals blocked, and so never wait for a thread that they interrupted; but they
//!   allocate and make threads, for which libc has locks of its own.
//! - **Order.** The module does appending writes in order, and also requests that wait for one pipe
//!   or socket. `aio_fsync()` covers all requests that were made on the descriptor before it: the
//!   library holds the fsync until they are complete. The library also holds requests for a pipe or
//!   socket when more of them wait than its context holds; held requests of a list are released
//!   when the kernel has the other requests of that list. A stream ([`streams`]: the requests of
//!   one file) with held requests is in a queue until they can be released, so that the library
//!   does not have to search all streams. Other requests have no order.
//! - **Errors.** As with glibc, a request that the kernel refuses was queued and has failed:
//!   `aio_error()` returns `EBADF` for a descriptor that is not open or not open for this
//!   operation, and `EINVAL` for a bad offset or if `sigev_signo` is no signal. The call itself
//!   returns -1 with `EINVAL` if `aio_reqprio` is wrong or SIGEV_THREAD has no function, with
//!   `EAGAIN` if there is no room in the kernel, and with `ENOSYS` if there is no device. An
//!   unknown `sigev_notify` is treated as SIGEV_NONE. With `KAIO_FALLBACK=1` a program without the
//!   device gets libc's own functions.
//! - **Lists.** If one request of a list cannot be queued, `lio_listio()` fails with `EIO`, with
//!   LIO_NOWAIT too, because the other requests are queued: POSIX and lio_listio(3) allow any error
//!   but `EIO`, `EAGAIN` and `EINTR` only if no request has begun. (glibc returns the `EINVAL` of a
//!   wrong `aio_reqprio`, unless it waited for the others.) The control block of a request that the
//!   call could not queue contains `EAGAIN`.
//! - **Cancellation** reaches all requests that wait: a read of an empty pipe, and a request that
//!   has not begun. A request in hardware goes on (AIO_NOTCANCELED).
//! - **fork.** The child has none of the parent's requests; it opens the device for itself when it
//!   makes its first request.
//! - **close.** A program that closes descriptors which it did not open also closes the library's.
//!   Its requests end with `ECANCELED`, whether or not they were done, once the kernel has none of
//!   them in flight any more. The kernel waits for that for up to 10 seconds and then unmaps the
//!   rings; the helper waits until the rings are unmapped. The next request opens the device again.
//!
//! `aio_reqprio` is checked and has no effect.
//!
//! The modules from the bottom up: [`control`] (the program's control blocks), [`notification`],
//! [`wait`], [`group`], [`submission`], [`list`] and [`map`], [`mod@file`], [`streams`], [`requests`],
//! [`tickets`], [`device`], [`contexts`], [`thread`], [`engine`] (the state under the lock),
//! [`mod@lock`] (and forks), [`submit`] (the work of threads without the lock), [`helper`],
//! [`releaser`], [`forward`] (libc), and this file with the functions; [`versions`] gives them
//! their names.
//!
//! The engine starts the helper and the releaser, which use the engine. To keep their modules free
//! of a circle, this file passes the functions of both threads to the engine (`MAINS`).

mod contexts;
mod control;
mod device;
mod engine;
mod file;
mod forward;
mod group;
mod helper;
mod list;
mod lock;
mod map;
mod notification;
mod releaser;
mod requests;
mod streams;
mod submission;
mod submit;
mod thread;
mod tickets;
mod versions;
mod wait;

/// The definitions of `<aio.h>` and `<signal.h>`, generated by bindgen.
#[allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::missing_safety_doc
)]
mod c {
    include!(concat!(env!("OUT_DIR"), "/aio.rs"));
}

use core::ffi::c_int;
use core::slice;

use c::{aiocb, aioinit, sigevent};
use kaio_sys::uapi::{IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC, IOCB_CMD_PREAD, IOCB_CMD_PWRITE};
use kaio_sys::{Errno, Result};

use control::Control;
use engine::{Cancelled, Engine, NewRequest};
use file::File;
use group::Group;
use lock::lock;
use notification::Notification;
use thread::Mains;
use tickets::Ticket;

use crate::policy;

/// AIO_PRIO_DELTA_MAX of `<limits.h>`.
const PRIORITY_MAX: c_int = 20;
/// An opcode that no kernel has.
const NO_COMMAND: u32 = 0xffff;

const INVALID: Errno = Errno::new(libc::EINVAL);
const NO_ROOM: Errno = Errno::new(libc::EAGAIN);

/// The functions of the library's threads.
const MAINS: Mains = Mains {
    helper: helper::run,
    releaser: releaser::run,
};

/// Returns the value of a function of libc, or sets errno and returns -1.
fn return_or_set_errno(ret: Result<c_int>) -> c_int {
    ret.unwrap_or_else(|e| {
        // SAFETY: __errno_location() returns the address of this thread's errno.
        unsafe { *libc::__errno_location() = e.get() };
        -1
    })
}

/// The reason why no request can be started.
enum StartError {
    /// There is no device: the error of opening it.
    NoDevice(Errno),
    /// The error that the function returns.
    Errno(Errno),
}

impl StartError {
    /// Returns the error for the control block of a request that could not be made.
    fn error(&self) -> Errno {
        match self {
            Self::NoDevice(_) => Errno::new(libc::ENOSYS),
            Self::Errno(e) => *e,
        }
    }
}

impl From<Errno> for StartError {
    fn from(e: Errno) -> Self {
        Self::Errno(e)
    }
}

fn prepare(engine: &mut Engine) -> core::result::Result<(), StartError> {
    engine
        .prepare(MAINS)
        .map_err(|e| match policy::means_no_device(e) {
            true => StartError::NoDevice(e),
            // Descriptors, memory or contexts have run out.
            false => StartError::Errno(NO_ROOM),
        })
}

pub(crate) use forward::detect_libc;

/// Opens the device before the program needs it. If that fails, the first request tries again.
pub(crate) fn open_early() {
    if forward::libc_aio().is_none() {
        let _ = lock().open();
    }
}

/// Returns whether that descriptor belongs to this half of the library.
pub(crate) fn has_device(fd: c_int) -> bool {
    Engine::has_device(fd)
}

/// Calls `here`, or libc's function if there is no device or the calls go to libc already.
fn run_or_forward(
    here: impl FnOnce() -> core::result::Result<(), StartError>,
    next: impl FnOnce(&forward::LibcAio) -> c_int,
) -> c_int {
    if let Some(libc) = forward::libc_aio() {
        return next(libc);
    }
    match here() {
        Ok(()) => 0,
        Err(StartError::Errno(e)) => return_or_set_errno(Err(e)),
        Err(StartError::NoDevice(e)) => match forward::fall_back(e) {
            Some(libc) => {
                let init = lock().init;
                if let (Some(init), Some(tell)) = (init, libc.init) {
                    // SAFETY: `init` is a copy of the struct that the program has passed to
                    // `aio_init()`.
                    unsafe { tell(&init) };
                }
                next(libc)
            }
            None => return_or_set_errno(Err(Errno::new(libc::ENOSYS))),
        },
    }
}

/// Returns the notification that a request asks for, after a check of its priority.
fn checked_notification(control: Control) -> Result<Notification> {
    let notification = match control.priority() {
        0..=PRIORITY_MAX => control.notification(),
        _ => Err(INVALID),
    };
    notification.inspect_err(|e| control.end(-i64::from(e.get())))
}

fn start(
    control: Control,
    command: u32,
    notification: Notification,
) -> core::result::Result<(), StartError> {
    let file = File::of(control.file());
    let mut engine = lock();
    control.begin();
    prepare(&mut engine).inspect_err(|e| engine.fail_new(control, e.error()))?;
    let new = NewRequest {
        control,
        command,
        file,
        notification,
        group: None,
    };
    let Some(ticket) = engine.start(new, 1)? else {
        return Ok(());
    };
    let unlocked = engine.begin_unlocked_use();
    drop(engine);
    let submitted = submit::one(&unlocked, ticket);
    if unlocked.is_in_child() {
        // A signal handler has forked, and this is the child: the request was the parent's.
        lock().fail_new(control, NO_ROOM);
        return Err(NO_ROOM.into());
    }
    Ok(submitted?)
}

/// Starts a read or write.
///
/// # Safety
///
/// The caller keeps the promises of [`aio_read`] for `block`.
unsafe fn start_transfer(block: *mut aiocb, command: u32) -> core::result::Result<(), StartError> {
    // SAFETY: the caller promises that `block` is null or a valid control block.
    let control = unsafe { Control::new(block) }.ok_or(INVALID)?;
    start(control, command, checked_notification(control)?)
}

/// Implements `aio_read(3)` and `aio_read64`.
///
/// # Safety
///
/// `block` is a control block. The program leaves the block and its buffer alone until
/// `aio_error()` returns that the request is complete.
pub unsafe extern "C" fn aio_read(block: *mut aiocb) -> c_int {
    run_or_forward(
        // SAFETY: the caller keeps the promises of this function.
        || unsafe { start_transfer(block, IOCB_CMD_PREAD) },
        // SAFETY: the caller promises the same to libc's function.
        |libc| unsafe { (libc.read)(block) },
    )
}

/// Implements `aio_write(3)` and `aio_write64`.
///
/// # Safety
///
/// As [`aio_read`].
pub unsafe extern "C" fn aio_write(block: *mut aiocb) -> c_int {
    run_or_forward(
        // SAFETY: the caller keeps the promises of this function.
        || unsafe { start_transfer(block, IOCB_CMD_PWRITE) },
        // SAFETY: the caller promises the same to libc's function.
        |libc| unsafe { (libc.write)(block) },
    )
}

/// Implements `aio_fsync(3)` and `aio_fsync64`.
///
/// # Safety
///
/// As [`aio_read`].
pub unsafe extern "C" fn aio_fsync(op: c_int, block: *mut aiocb) -> c_int {
    let here = || {
        let command = match op {
            libc::O_SYNC => IOCB_CMD_FSYNC,
            libc::O_DSYNC => IOCB_CMD_FDSYNC,
            _ => return Err(INVALID.into()),
        };
        // SAFETY: the caller promises that `block` is null or a valid control block.
        let control = unsafe { Control::new(block) }.ok_or(INVALID)?;
        is_open(control.file())?;
        // The priority of an fsync is not checked.
        start(control, command, control.notification()?)
    };
    // SAFETY: the caller promises the same to libc's function.
    run_or_forward(here, |libc| unsafe { (libc.fsync)(op, block) })
}

fn is_open(file: c_int) -> Result<()> {
    // SAFETY: F_GETFL takes no pointer and changes nothing.
    match unsafe { libc::fcntl(file, libc::F_GETFL) } {
        -1 => Err(Errno::new(libc::EBADF)),
        _ => Ok(()),
    }
}

/// Implements `aio_error(3)` and `aio_error64`: returns `EINPROGRESS`, 0, or the error of the
/// request. Async-signal-safe.
///
/// # Safety
///
/// `block` is a control block.
pub unsafe extern "C" fn aio_error(block: *const aiocb) -> c_int {
    if let Some(libc) = forward::other_libc() {
        // SAFETY: the caller promises that `block` is a control block, and libc's function asks
        // for nothing else.
        return unsafe { (libc.error)(block) };
    }
    // SAFETY: the caller promises that `block` is null or a valid control block.
    match unsafe { Control::new(block) } {
        Some(control) => control.error(),
        None => return_or_set_errno(Err(INVALID)),
    }
}

/// Implements `aio_return(3)` and `aio_return64`: returns the value that read(2), write(2) or
/// fsync(2) would have returned. As with glibc, a program may call it more than once.
/// Async-signal-safe.
///
/// # Safety
///
/// As [`aio_error`].
pub unsafe extern "C" fn aio_return(block: *mut aiocb) -> isize {
    if let Some(libc) = forward::other_libc() {
        // SAFETY: the caller promises that `block` is a control block, and libc's function asks
        // for nothing else.
        return unsafe { (libc.value)(block) };
    }
    // SAFETY: the caller promises that `block` is null or a valid control block.
    match unsafe { Control::new(block) } {
        Some(control) => control.value(),
        None => return_or_set_errno(Err(INVALID)) as isize,
    }
}

/// Implements `aio_suspend(3)` and `aio_suspend64`: waits until one of the requests is complete.
/// Async-signal-safe; a cancellation point.
///
/// # Safety
///
/// `list` has `nent` pointers, each of which is null or points to a control block; `timeout` is
/// null or a time.
pub unsafe extern "C" fn aio_suspend(
    list: *const *const aiocb,
    nent: c_int,
    timeout: *const libc::timespec,
) -> c_int {
    if let Some(libc) = forward::libc_aio() {
        // SAFETY: the caller promises the same to libc's function.
        return unsafe { (libc.suspend)(list, nent, timeout) };
    }
    let Ok(nent) = usize::try_from(nent) else {
        return return_or_set_errno(Err(INVALID));
    };
    // SAFETY: the caller promises that `timeout` is null or a time.
    let end = match unsafe { timeout.as_ref() }.map(wait::deadline).transpose() {
        Ok(end) => end,
        Err(e) => return return_or_set_errno(Err(e)),
    };
    // SAFETY: the caller promises that `list` has `nent` entries.
    let list = unsafe { entries(list, nent) };
    let blocks = || {
        let control = |&block: &*const aiocb| {
            // SAFETY: the caller promises that each pointer of the list is null or points to a
            // valid control block.
            unsafe { Control::new(block) }
        };
        list.iter().filter_map(control)
    };
    if blocks().next().is_none() {
        return 0;
    }
    return_or_set_errno(wait::until_any_ended(blocks(), end.as_ref()).map(|()| 0))
}

/// Returns the array `list`, which may be null if it is empty.
///
/// # Safety
///
/// The array has `nent` entries, which stay unchanged for `'a`.
unsafe fn entries<'a, T>(list: *const T, nent: usize) -> &'a [T] {
    if nent == 0 || list.is_null() {
        return &[];
    }
    // SAFETY: the caller promises that there are `nent` entries, and `list` is not null here.
    unsafe { slice::from_raw_parts(list, nent) }
}

/// Implements `aio_cancel(3)` and `aio_cancel64`.
///
/// # Safety
///
/// `block` is null (which means all requests of the descriptor) or a control block.
pub unsafe extern "C" fn aio_cancel(file: c_int, block: *mut aiocb) -> c_int {
    if let Some(libc) = forward::libc_aio() {
        // SAFETY: the caller promises the same to libc's function.
        return unsafe { (libc.cancel)(file, block) };
    }
    // SAFETY: the caller promises that `block` is null or a valid control block.
    let only = unsafe { Control::new(block) };
    let result = || {
        is_open(file)?;
        match only {
            Some(control) if control.file() != file => return Err(INVALID),
            Some(control) if !control.in_progress() => return Ok(c::AIO_ALLDONE),
            _ => {}
        }
        match cancel(file, only) {
            Cancelled::Yes => Ok(c::AIO_CANCELED),
            Cancelled::No => Ok(c::AIO_NOTCANCELED),
            Cancelled::AllDone => Ok(c::AIO_ALLDONE),
            Cancelled::Unknown => Err(INVALID),
        }
    };
    return_or_set_errno(result().map(|result| result as c_int))
}

/// Cancels requests. The thread gives the lock back after some requests, and does not hold it while
/// it waits.
fn cancel(file: c_int, only: Option<Control>) -> Cancelled {
    /// The number of times that the thread waits a millisecond for requests that the kernel is
    /// trying at this moment. Each of them ends soon.
    const TRIES: u32 = 50;
    let mut engine = lock();
    let Ok(number) = engine.cancel_begin(file, only) else {
        return Cancelled::No;
    };
    while engine.cancel_step(number) {
        drop(engine);
        engine = lock();
    }
    let mut tries = 0;
    loop {
        // A request that has ended counts as ended, whether or not it was cancelled.
        while engine.reap() {
            drop(engine);
            engine = lock();
        }
        let fd = engine
            .device()
            .filter(|_| engine.cancel_is_pending(number) && tries < TRIES);
        let Some(fd) = fd else {
            return engine.cancel_end(number, only);
        };
        drop(engine);
        device::poll(fd, 1);
        tries += 1;
        engine = lock();
    }
}

/// Implements `lio_listio()`. With `only_list`, the requests themselves have no notification.
///
/// # Safety
///
/// As [`lio_listio`].
unsafe fn list_io(
    mode: c_int,
    list: *const *mut aiocb,
    nent: c_int,
    event: *const sigevent,
    only_list: bool,
) -> core::result::Result<(), StartError> {
    let wait = match mode as u32 {
        c::LIO_WAIT => true,
        c::LIO_NOWAIT => false,
        _ => return Err(INVALID.into()),
    };
    let nent = usize::try_from(nent).map_err(|_| INVALID)?;
    let notification = match wait {
        true => Notification::None,
        // SAFETY: the caller promises that `event` is null or valid.
        false => unsafe { Notification::new(event) }?,
    };
    // SAFETY: the caller promises that `list` has `nent` entries.
    let list = unsafe { entries(list, nent) };
    let requests = || {
        list.iter().filter_map(|&block| {
            // SAFETY: the caller promises that each pointer of the list is null or points to a
            // valid control block.
            let control = unsafe { Control::new(block) }?;
            let command = match control.opcode() {
                c::LIO_NOP => return None,
                c::LIO_READ => IOCB_CMD_PREAD,
                c::LIO_WRITE => IOCB_CMD_PWRITE,
                _ => NO_COMMAND,
            };
            Some((control, command))
        })
    };
    if only_list {
        requests().for_each(|(control, _)| control.disable_notification());
    }
    // Fails all requests of the list: none of them is queued, and each control block gets this
    // error.
    let refuse = |engine: &mut Engine, error: &StartError| {
        for (control, _) in requests() {
            if checked_notification(control).is_ok() {
                engine.fail_new(control, error.error());
            }
        }
    };
    let group = Group::new(notification, wait)
        .map_err(StartError::Errno)
        .inspect_err(|error| refuse(&mut lock(), error))?;
    let mut failed = false;
    let (mut new, mut tickets) = (Vec::new(), Vec::new());
    new.try_reserve_exact(nent)
        .and_then(|()| tickets.try_reserve_exact(nent))
        .map_err(|_| StartError::Errno(NO_ROOM))
        .inspect_err(|error| refuse(&mut lock(), error))?;
    for (control, command) in requests() {
        match checked_notification(control) {
            Ok(notification) => new.push(NewRequest {
                control,
                command,
                file: File::of(control.file()),
                notification,
                group: Some(group.clone()),
            }),
            Err(_) => failed = true,
        }
    }
    let mut queued = Ok(());
    if !new.is_empty() || !notification.is_none() {
        let mut engine = lock();
        new.iter().for_each(|new| new.control.begin());
        let slot = prepare(&mut engine)
            .and_then(|()| engine.reserve_notification().map_err(StartError::Errno))
            .inspect_err(|error| refuse(&mut engine, error))?;
        let unlocked = engine.begin_unlocked_use();
        let count = new.len();
        for (at, new) in new.into_iter().enumerate() {
            if at % 32 == 31 {
                // Give the lock back for a moment, so that other threads can take it.
                drop(engine);
                engine = lock();
            }
            match queued {
                Ok(()) => match engine.start_listed(new, count - at) {
                    Ok(ticket) => tickets.extend(ticket),
                    Err(e) => queued = Err(e),
                },
                Err(e) => engine.fail_new(new.control, e),
            }
        }
        // The request that ends last triggers the notification, perhaps before this call returns.
        engine.queue_notification(slot, group.request_ended(failed));
        drop(engine);
        queued = queued.and(submit::all(&unlocked, tickets.iter().copied()));
        if unlocked.is_in_child() {
            // A signal handler has forked, and this is the child: the requests were the parent's.
            let error = StartError::Errno(NO_ROOM);
            refuse(&mut lock(), &error);
            return Err(error);
        }
        if tickets.iter().any(Ticket::is_listed) {
            let mut engine = lock();
            // If a signal handler has forked meanwhile and this is the child, the tickets belong to
            // the parent's engine.
            if !unlocked.is_in_child() {
                engine.list_submitted(&tickets);
            }
        }
    } else {
        // A list without requests and notification has nothing to report.
        group.request_ended(failed);
    }
    if wait {
        wait::until_zero(group.remaining())?;
    }
    queued?;
    if failed || wait && group.has_failed() {
        return Err(Errno::new(libc::EIO).into());
    }
    Ok(())
}

/// Runs [`list_io`], or the function of libc that `forward` selects.
///
/// # Safety
///
/// As [`lio_listio`].
unsafe fn list_io_or_forward(
    mode: c_int,
    list: *const *mut aiocb,
    nent: c_int,
    event: *mut sigevent,
    only_list: bool,
    forward: fn(&forward::LibcAio) -> forward::List,
) -> c_int {
    run_or_forward(
        // SAFETY: the caller keeps the promises of `lio_listio`.
        || unsafe { list_io(mode, list, nent, event, only_list) },
        // SAFETY: the caller promises the same to libc's function.
        |libc| unsafe { forward(libc)(mode, list, nent, event) },
    )
}

/// Implements `lio_listio(3)` and `lio_listio64`.
///
/// # Safety
///
/// `list` has `nent` pointers, each of which is null or points to a control block as for
/// [`aio_read`]; `event` is null or valid.
pub unsafe extern "C" fn lio_listio(
    mode: c_int,
    list: *const *mut aiocb,
    nent: c_int,
    event: *mut sigevent,
) -> c_int {
    // SAFETY: the caller keeps the promises of this function.
    unsafe { list_io_or_forward(mode, list, nent, event, false, |libc| libc.list) }
}

/// Implements the `lio_listio()` of glibc before 2.4: only the end of the whole list is notified.
///
/// # Safety
///
/// As [`lio_listio`].
#[cfg(target_arch = "x86_64")]
unsafe extern "C" fn old_lio_listio(
    mode: c_int,
    list: *const *mut aiocb,
    nent: c_int,
    event: *mut sigevent,
) -> c_int {
    // SAFETY: the caller keeps the promises of this function.
    unsafe { list_io_or_forward(mode, list, nent, event, true, |libc| libc.old_list) }
}

/// Implements `aio_init(3)`. The first context is made for `aio_num` requests, and an idle helper
/// ends after `aio_idle_time` seconds. There are no threads to be limited. If the first request
/// finds no device and the program gets libc's functions, libc gets the whole struct.
///
/// # Safety
///
/// `init` is valid.
pub unsafe extern "C" fn aio_init(init: *const aioinit) {
    if let Some(libc) = forward::libc_aio() {
        if let Some(tell) = libc.init {
            // SAFETY: the caller promises that `init` is valid, and libc's function asks for
            // nothing else.
            unsafe { tell(init) };
        }
        return;
    }
    // SAFETY: the caller promises that `init` is valid.
    let Some(init) = (unsafe { init.as_ref() }) else {
        return;
    };
    let mut engine = lock();
    engine.init = Some(*init);
}
