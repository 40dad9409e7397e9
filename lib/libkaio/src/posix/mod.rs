// SPDX-License-Identifier: LGPL-2.1-or-later

//! POSIX AIO: `aio_read()` and its kin, as requests of the kernel.
//!
//! glibc has a thread for each descriptor, and each thread does one request after another. Here a
//! request goes to the module when it is made, and those of one descriptor run side by side.
//!
//! - **Contexts.** One open `/dev/kaio` for the process, made when the first request comes, and a
//!   context in it; if that is full another, twice as large. There is no limit but the kernel's
//!   (`EAGAIN`). Requests for one pipe, socket or terminal stay in one context, where the module
//!   serves them in order.
//! - **The helper.** One thread, made with the first request and gone after a second without any
//!   (`aio_init()`: `aio_idle_time`). It sleeps until a context has events, writes results to the
//!   control blocks, and then tells the program: it sends the signals, makes the threads of
//!   SIGEV_THREAD, and wakes who sleeps in `aio_suspend()` or `lio_listio()`. Nothing is lost: if too
//!   many signals are queued, or there can be no thread now, it tries again every 10 ms.
//! - **Signal safety.** `aio_error()` and `aio_return()` read a word of the control block.
//!   `aio_suspend()` does that and sleeps in a futex. None takes a lock: as POSIX has it, a handler
//!   may call these three, and no others. The others take ours with all signals blocked, and never
//!   wait for one that they interrupted; but they allocate and make threads, for which libc has
//!   locks of its own.
//! - **Order.** Writes that append are done in order, and so are requests that wait for one pipe or
//!   socket: the module sees to that. `aio_fsync()` is for all that was asked for on the descriptor
//!   before it: it is held here until that is complete. Nothing else has an order.
//! - **Errors.** As with glibc, a request that the kernel refuses was queued and has failed:
//!   `aio_error()` says `EBADF` of a descriptor that is not open or open for something else, `EINVAL`
//!   of an offset, or if `sigev_signo` is no signal. The call itself returns -1 with `EINVAL` if
//!   `aio_reqprio` is wrong or SIGEV_THREAD has no function, `EAGAIN` if there is no room in the
//!   kernel, and `ENOSYS` if there is no device. An unknown `sigev_notify` is SIGEV_NONE. With
//!   `KAIO_FALLBACK=1` libc's own functions are used where there is no device.
//! - **A list** of which one cannot be queued is `EIO`, LIO_NOWAIT or not, since the others are: with any
//!   other error but `EAGAIN` and `EINTR` POSIX and lio_listio(3) have none of them begun. (glibc
//!   leaves the `EINVAL` of a wrong `aio_reqprio`, unless it waited for the others.) What a call could
//!   not queue says so in its control block: `EAGAIN`.
//! - **Cancellation** reaches whatever waits: a read of an empty pipe, and what has not begun. What is
//!   in hardware goes on (AIO_NOTCANCELED).
//! - **fork.** The child has none of the parent's requests, and a device of its own once it makes one.
//! - **close.** A program that closes descriptors which are not its own takes ours too. Its requests
//!   end with `ECANCELED`, done or not, once the kernel does nothing for them any more. The kernel
//!   waits for that, for up to 10 seconds, and then unmaps the rings: the helper waits for them to go.
//!   The next request opens the device again.
//!
//! `aio_reqprio` is checked and has no effect.
//!
//! From the ground up: [`control`] (the program's control blocks), [`notify`], [`wait`], [`lists`],
//! [`requests`], [`engine`] (all that is under the lock), [`lock`] (and forks), [`helper`],
//! [`forward`] (libc), and here the functions; [`versions`] gives them their names.

mod control;
mod engine;
mod forward;
mod helper;
mod lists;
mod lock;
mod notify;
mod requests;
mod versions;
mod wait;

/// `<aio.h>` and `<signal.h>`, by bindgen.
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
use engine::{Cancelled, Engine, New};
use lists::Group;
use lock::lock;
use notify::Notice;

use crate::policy;

/// AIO_PRIO_DELTA_MAX of `<limits.h>`.
const PRIORITY_MAX: c_int = 20;
/// An opcode that no kernel knows.
const NO_COMMAND: u32 = 0xffff;

const INVALID: Errno = Errno::new(libc::EINVAL);
const NO_ROOM: Errno = Errno::new(libc::EAGAIN);

/// What a function of libc returns.
fn answer(ret: Result<c_int>) -> c_int {
    ret.unwrap_or_else(|e| {
        // SAFETY: this thread's errno.
        unsafe { *libc::__errno_location() = e.get() };
        -1
    })
}

/// Why nothing can be started.
enum Trouble {
    /// There is no device.
    Absent(Errno),
    /// What the function returns.
    Error(Errno),
}

impl Trouble {
    /// What the control block of a request says that could not be made.
    fn error(&self) -> Errno {
        match self {
            Self::Absent(_) => Errno::new(libc::ENOSYS),
            Self::Error(e) => *e,
        }
    }
}

impl From<Errno> for Trouble {
    fn from(e: Errno) -> Self {
        Self::Error(e)
    }
}

fn ready(engine: &mut Engine) -> core::result::Result<(), Trouble> {
    engine.ready().map_err(|e| match policy::is_refusal(e) {
        true => Trouble::Absent(e),
        // Descriptors, memory or contexts have run out.
        false => Trouble::Error(NO_ROOM),
    })
}

/// Does it here, or if there is no device as libc does it.
fn here_or_next(
    here: impl FnOnce() -> core::result::Result<(), Trouble>,
    next: impl FnOnce(&forward::Next) -> c_int,
) -> c_int {
    if let Some(libc) = forward::next() {
        return next(libc);
    }
    match here() {
        Ok(()) => 0,
        Err(Trouble::Error(e)) => answer(Err(e)),
        Err(Trouble::Absent(e)) => match forward::fall_back(e) {
            Some(libc) => {
                let init = lock().init;
                if let Some(init) = init {
                    // SAFETY: what the program gave to us.
                    unsafe { (libc.init)(&init) };
                }
                next(libc)
            }
            None => answer(Err(Errno::new(libc::ENOSYS))),
        },
    }
}

/// What a request asks to be told; and that its priority is one.
fn check(control: Control) -> Result<Notice> {
    let notice = match control.priority() {
        0..=PRIORITY_MAX => control.notice(),
        _ => Err(INVALID),
    };
    notice.inspect_err(|e| control.end(-i64::from(e.get())))
}

fn start(control: Control, command: u32, notice: Notice) -> core::result::Result<(), Trouble> {
    let mut engine = lock();
    ready(&mut engine).inspect_err(|e| control.end(-i64::from(e.error().get())))?;
    engine.start(New {
        control,
        command,
        notice,
        group: None,
    })?;
    Ok(())
}

/// # Safety
///
/// `block` is as for [`aio_read`].
unsafe fn transfer(block: *mut aiocb, command: u32) -> core::result::Result<(), Trouble> {
    // SAFETY: the caller's promise.
    let control = unsafe { Control::new(block) }.ok_or(INVALID)?;
    start(control, command, check(control)?)
}

/// `aio_read(3)`, `aio_read64`.
///
/// # Safety
///
/// `block` is a control block, and it and its buffer are left alone until `aio_error()` says that the
/// request is complete.
pub unsafe extern "C" fn aio_read(block: *mut aiocb) -> c_int {
    here_or_next(
        // SAFETY: the caller's promise.
        || unsafe { transfer(block, IOCB_CMD_PREAD) },
        // SAFETY: likewise.
        |libc| unsafe { (libc.read)(block) },
    )
}

/// `aio_write(3)`, `aio_write64`.
///
/// # Safety
///
/// As [`aio_read`].
pub unsafe extern "C" fn aio_write(block: *mut aiocb) -> c_int {
    here_or_next(
        // SAFETY: the caller's promise.
        || unsafe { transfer(block, IOCB_CMD_PWRITE) },
        // SAFETY: likewise.
        |libc| unsafe { (libc.write)(block) },
    )
}

/// `aio_fsync(3)`, `aio_fsync64`.
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
        // SAFETY: the caller's promise.
        let control = unsafe { Control::new(block) }.ok_or(INVALID)?;
        is_open(control.file())?;
        // Its priority is not looked at.
        start(control, command, control.notice()?)
    };
    // SAFETY: the caller's promise.
    here_or_next(here, |libc| unsafe { (libc.fsync)(op, block) })
}

fn is_open(file: c_int) -> Result<()> {
    // SAFETY: asks only.
    match unsafe { libc::fcntl(file, libc::F_GETFL) } {
        -1 => Err(Errno::new(libc::EBADF)),
        _ => Ok(()),
    }
}

/// `aio_error(3)`, `aio_error64`: `EINPROGRESS`, 0, or what went wrong. Async-signal-safe.
///
/// # Safety
///
/// `block` is a control block.
pub unsafe extern "C" fn aio_error(block: *const aiocb) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { Control::new(block) } {
        Some(control) => control.error(),
        None => answer(Err(INVALID)),
    }
}

/// `aio_return(3)`, `aio_return64`: what read(2), write(2) or fsync(2) would have returned. As with
/// glibc it may be asked again. Async-signal-safe.
///
/// # Safety
///
/// As [`aio_error`].
pub unsafe extern "C" fn aio_return(block: *mut aiocb) -> isize {
    // SAFETY: the caller's promise.
    match unsafe { Control::new(block) } {
        Some(control) => control.value(),
        None => answer(Err(INVALID)) as isize,
    }
}

/// `aio_suspend(3)`, `aio_suspend64`: waits until one of the requests is complete. Async-signal-safe;
/// a cancellation point.
///
/// # Safety
///
/// `list` has `nent` pointers, each null or to a control block; `timeout` is null or a time.
pub unsafe extern "C" fn aio_suspend(
    list: *const *const aiocb,
    nent: c_int,
    timeout: *const libc::timespec,
) -> c_int {
    if let Some(libc) = forward::next() {
        // SAFETY: the caller's promise.
        return unsafe { (libc.suspend)(list, nent, timeout) };
    }
    let Ok(nent) = usize::try_from(nent) else {
        return answer(Err(INVALID));
    };
    // SAFETY: the caller's promise.
    let end = match unsafe { timeout.as_ref() }.map(wait::deadline).transpose() {
        Ok(end) => end,
        Err(e) => return answer(Err(e)),
    };
    // SAFETY: the caller's promise.
    let list = unsafe { entries(list, nent) };
    let blocks = || {
        let control = |&block: &*const aiocb| {
            // SAFETY: the caller's promise.
            unsafe { Control::new(block) }
        };
        list.iter().filter_map(control)
    };
    if blocks().next().is_none() {
        return 0;
    }
    let done = || blocks().any(|control| !control.in_progress());
    answer(wait::wait(end.as_ref(), true, done).map(|()| 0))
}

/// The array `list`, which may be null if it is empty.
///
/// # Safety
///
/// There are `nent` entries, and they stay.
unsafe fn entries<'a, T>(list: *const T, nent: usize) -> &'a [T] {
    if nent == 0 || list.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(list, nent) }
}

/// `aio_cancel(3)`, `aio_cancel64`.
///
/// # Safety
///
/// `block` is null (all requests of the descriptor) or a control block.
pub unsafe extern "C" fn aio_cancel(file: c_int, block: *mut aiocb) -> c_int {
    if let Some(libc) = forward::next() {
        // SAFETY: the caller's promise.
        return unsafe { (libc.cancel)(file, block) };
    }
    // SAFETY: the caller's promise.
    let only = unsafe { Control::new(block) };
    let cancel = || {
        is_open(file)?;
        match only {
            Some(control) if control.file() != file => return Err(INVALID),
            Some(control) if !control.in_progress() => return Ok(c::AIO_ALLDONE),
            _ => {}
        }
        match lock().cancel(file, only) {
            Cancelled::Yes => Ok(c::AIO_CANCELED),
            Cancelled::No => Ok(c::AIO_NOTCANCELED),
            Cancelled::AllDone => Ok(c::AIO_ALLDONE),
            Cancelled::Unknown => Err(INVALID),
        }
    };
    answer(cancel().map(|result| result as c_int))
}

/// # Safety
///
/// As [`lio_listio`].
unsafe fn list_io(
    mode: c_int,
    list: *const *mut aiocb,
    nent: c_int,
    event: *const sigevent,
    silently: bool,
) -> core::result::Result<(), Trouble> {
    let wait = match mode as u32 {
        c::LIO_WAIT => true,
        c::LIO_NOWAIT => false,
        _ => return Err(INVALID.into()),
    };
    let nent = usize::try_from(nent).map_err(|_| INVALID)?;
    let notice = match wait {
        true => Notice::None,
        // SAFETY: the caller's promise.
        false => unsafe { Notice::new(event) }?,
    };
    // SAFETY: the caller's promise.
    let list = unsafe { entries(list, nent) };
    let requests = || {
        list.iter().filter_map(|&block| {
            // SAFETY: the caller's promise.
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
    if silently {
        requests().for_each(|(control, _)| control.silence());
    }
    // None of them is queued, and each block says so.
    let refuse = |trouble: &Trouble| {
        for (control, _) in requests() {
            if check(control).is_ok() {
                control.end(-i64::from(trouble.error().get()));
            }
        }
    };
    let group = Group::new(notice)
        .map_err(Trouble::Error)
        .inspect_err(refuse)?;
    let mut failed = false;
    let mut new = Vec::new();
    new.try_reserve_exact(nent)
        .map_err(|_| Trouble::Error(NO_ROOM))
        .inspect_err(refuse)?;
    for (control, command) in requests() {
        match check(control) {
            Ok(notice) => new.push(New {
                control,
                command,
                notice,
                group: Some(group.clone()),
            }),
            Err(_) => failed = true,
        }
    }
    let mut queued = Ok(());
    if !new.is_empty() || !notice.is_none() {
        let mut engine = lock();
        let place = ready(&mut engine)
            .and_then(|()| engine.reserve_notice().map_err(Trouble::Error))
            .inspect_err(refuse)?;
        queued = engine.start_all(new);
        engine.tell(place, group.end(failed));
    } else {
        group.end(failed); // nobody is to be told
    }
    if wait {
        wait::wait(None, false, || group.is_complete())?;
    }
    queued?;
    if failed || wait && group.has_failed() {
        return Err(Errno::new(libc::EIO).into());
    }
    Ok(())
}

/// `lio_listio(3)`, `lio_listio64`.
///
/// # Safety
///
/// `list` has `nent` pointers, each null or to a control block as for [`aio_read`]; `event` is null
/// or valid.
pub unsafe extern "C" fn lio_listio(
    mode: c_int,
    list: *const *mut aiocb,
    nent: c_int,
    event: *mut sigevent,
) -> c_int {
    here_or_next(
        // SAFETY: the caller's promise.
        || unsafe { list_io(mode, list, nent, event, false) },
        // SAFETY: likewise.
        |libc| unsafe { (libc.list)(mode, list, nent, event) },
    )
}

/// The `lio_listio()` of glibc before 2.4: only the end of the whole list is told.
///
/// # Safety
///
/// As [`lio_listio`].
unsafe extern "C" fn old_lio_listio(
    mode: c_int,
    list: *const *mut aiocb,
    nent: c_int,
    event: *mut sigevent,
) -> c_int {
    here_or_next(
        // SAFETY: the caller's promise.
        || unsafe { list_io(mode, list, nent, event, true) },
        // SAFETY: likewise.
        |libc| unsafe { (libc.old_list)(mode, list, nent, event) },
    )
}

/// `aio_init(3)`: `aio_num` is how many requests the first context is made for, `aio_idle_time` when
/// an idle helper ends. There are no threads to be limited. If it turns out that there is no device,
/// libc gets to know all of it.
///
/// # Safety
///
/// `init` is valid.
pub unsafe extern "C" fn aio_init(init: *const aioinit) {
    if let Some(libc) = forward::next() {
        // SAFETY: the caller's promise.
        return unsafe { (libc.init)(init) };
    }
    // SAFETY: the caller's promise.
    let Some(init) = (unsafe { init.as_ref() }) else {
        return;
    };
    let mut engine = lock();
    engine.init = Some(*init);
}
