// SPDX-License-Identifier: LGPL-2.1-or-later

//! How a program is told that a request, or a list of them, is complete: `struct sigevent`.
//!
//! What is wrong with one is as glibc has it, since there are programs that never fill it in: a kind
//! that there is not asks for nothing, and a signal that there is not is found out when it is to be
//! sent. See [`Notice::fails`].

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use std::alloc::{alloc, dealloc, Layout};

use kaio_sys::syscall::syscall;
use kaio_sys::{Errno, Result};

use super::c;

/// The function of SIGEV_THREAD.
type Function = unsafe extern "C" fn(c::sigval);

/// A copy of what a `struct sigevent` asks for.
#[derive(Clone, Copy)]
pub(super) enum Notice {
    /// Nothing: SIGEV_NONE, an unknown kind, or signal 0 (a control block that is all zero).
    None,
    /// SIGEV_SIGNAL: to the process.
    Signal { signo: c_int, value: c::sigval },
    /// SIGEV_THREAD_ID: to one thread of it.
    ThreadSignal {
        thread: libc::pid_t,
        signo: c_int,
        value: c::sigval,
    },
    /// SIGEV_THREAD: a call, in a thread that is made for it.
    Call {
        function: Function,
        value: c::sigval,
        attributes: *const libc::pthread_attr_t,
    },
}

// SAFETY: the pointers in it are the program's, which knows that another thread gets them.
unsafe impl Send for Notice {}
// SAFETY: they are only passed on.
unsafe impl Sync for Notice {}

impl Notice {
    /// # Errors
    ///
    /// `EINVAL`: SIGEV_THREAD without a function. (glibc calls it, and the program crashes.)
    ///
    /// # Safety
    ///
    /// `event` is null (which asks for nothing) or valid.
    pub(super) unsafe fn new(event: *const c::sigevent) -> Result<Self> {
        // SAFETY: the caller's promise.
        let Some(event) = (unsafe { event.as_ref() }) else {
            return Ok(Self::None);
        };
        let (signo, value) = (event.sigev_signo, event.sigev_value);
        match event.sigev_notify as u32 {
            c::SIGEV_SIGNAL | c::SIGEV_THREAD_ID if signo == 0 => Ok(Self::None),
            c::SIGEV_SIGNAL => Ok(Self::Signal { signo, value }),
            c::SIGEV_THREAD_ID => Ok(Self::ThreadSignal {
                // SAFETY: the kind says which member of the union it is; all of them are numbers.
                thread: unsafe { event._sigev_un._tid },
                signo,
                value,
            }),
            c::SIGEV_THREAD => {
                // SAFETY: as above; a null function is None.
                let thread = unsafe { event._sigev_un._sigev_thread };
                Ok(Self::Call {
                    function: thread._function.ok_or(Errno::new(libc::EINVAL))?,
                    value,
                    attributes: thread._attribute.cast(),
                })
            }
            _ => Ok(Self::None),
        }
    }

    /// Whether a request that asks for this ends with `EINVAL`, whatever became of it: there is no
    /// such signal. So it is with glibc, which stores in the request what sigqueue(3) says. Of a
    /// list nothing is stored; and SIGEV_THREAD_ID glibc does not know, so there nothing fails.
    pub(super) fn fails(&self) -> bool {
        matches!(self, Self::Signal { signo, .. } if !(1..=libc::SIGRTMAX()).contains(signo))
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Tells the program.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: not now: too many signals are queued (RLIMIT_SIGPENDING), or there is no room for a
    /// thread. Any other error will not go away: `ESRCH`, that thread has ended; `EINVAL`, there is
    /// no such signal.
    pub(super) fn deliver(&self) -> Result<()> {
        match *self {
            Self::None => Ok(()),
            Self::Signal { signo, value } => send(None, signo, value),
            Self::ThreadSignal {
                thread,
                signo,
                value,
            } => send(Some(thread), signo, value),
            Self::Call {
                function,
                value,
                attributes,
            } => call(function, value, attributes),
        }
    }
}

fn send(thread: Option<libc::pid_t>, signo: c_int, value: c::sigval) -> Result<()> {
    let mut info = c::siginfo_t {
        si_signo: signo,
        si_code: c::SI_ASYNCIO,
        ..Default::default()
    };
    // SAFETY: these cannot fail.
    let (pid, uid) = unsafe { (libc::getpid(), libc::getuid()) };
    info._sifields._rt.si_pid = pid;
    info._sifields._rt.si_uid = uid;
    info._sifields._rt.si_sigval = value;
    let (pid, signo, info) = (pid as usize, signo as usize, &raw const info as usize);
    // SAFETY: `info` is a whole siginfo_t, which the kernel copies.
    unsafe {
        match thread {
            None => syscall(libc::SYS_rt_sigqueueinfo, [pid, signo, info, 0, 0, 0]),
            Some(thread) => syscall(
                libc::SYS_rt_tgsigqueueinfo,
                [pid, thread as usize, signo, info, 0, 0],
            ),
        }
    }
    .map(|_| ())
}

/// What a thread is made for.
struct Task {
    function: Function,
    value: c::sigval,
    /// It was made so that it could be joined, but nobody is told its name.
    detach: bool,
}

extern "C" fn run_task(task: *mut c_void) -> *mut c_void {
    let given = task.cast::<Task>();
    // SAFETY: from `call`, which gave it away.
    let task = unsafe {
        let task = given.read();
        dealloc(given.cast(), Layout::new::<Task>());
        task
    };
    let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is filled before it is used; the thread is this one. As glibc does: the
    // thread that made this one has all signals blocked.
    unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, signals.as_ptr(), null_mut());
        if task.detach {
            libc::pthread_detach(libc::pthread_self());
        }
    }
    // SAFETY: the program asked for this call.
    unsafe { (task.function)(task.value) };
    null_mut()
}

fn call(
    function: Function,
    value: c::sigval,
    attributes: *const libc::pthread_attr_t,
) -> Result<()> {
    let mut state = libc::PTHREAD_CREATE_JOINABLE;
    if !attributes.is_null() {
        // SAFETY: POSIX has the program keep the attributes until it was called.
        unsafe { c::pthread_attr_getdetachstate(attributes.cast(), &mut state) };
    }
    // SAFETY: it has a size.
    let task = unsafe { alloc(Layout::new::<Task>()) }.cast::<Task>();
    if task.is_null() {
        return Err(Errno::new(libc::EAGAIN));
    }
    // SAFETY: new, and of this layout.
    unsafe {
        task.write(Task {
            function,
            value,
            detach: state == libc::PTHREAD_CREATE_JOINABLE,
        });
    }
    let mut thread = 0;
    // SAFETY: `task` is given to the thread, and the attributes are the program's.
    let error = unsafe { libc::pthread_create(&mut thread, attributes, run_task, task.cast()) };
    if error == 0 {
        return Ok(());
    }
    // SAFETY: there is no thread that has it.
    unsafe { dealloc(task.cast(), Layout::new::<Task>()) };
    Err(Errno::new(error))
}

/// What the helper has taken, to tell it without the lock.
pub(super) struct Outbox {
    notices: [Notice; Self::SIZE],
    count: usize,
}

impl Outbox {
    const SIZE: usize = 32;

    pub(super) const fn new() -> Self {
        Self {
            notices: [Notice::None; Self::SIZE],
            count: 0,
        }
    }

    pub(super) fn room(&self) -> usize {
        Self::SIZE - self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// There is room.
    pub(super) fn put(&mut self, notice: Notice) {
        if let Some(at) = self.notices.get_mut(self.count) {
            *at = notice;
            self.count += 1;
        }
    }

    /// Tells what can be told now. The rest stays.
    pub(super) fn deliver(&mut self) {
        let all = core::mem::replace(self, Self::new());
        for notice in all.notices.into_iter().take(all.count) {
            if notice
                .deliver()
                .is_err_and(|e| matches!(e.get(), libc::EAGAIN | libc::ENOMEM))
            {
                self.put(notice);
            }
        }
    }
}
