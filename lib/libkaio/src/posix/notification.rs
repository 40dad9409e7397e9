// SPDX-License-Identifier: LGPL-2.1-or-later

//! The notification of a program that a request, or a list of requests, is complete: `struct
//! sigevent`.
//!
//! Invalid contents have the same effect as with glibc, since there are programs that never fill
//! the struct in: an unknown kind asks for no notification, and an invalid signal number is noticed
//! when the signal must be sent. See [`Notification::has_invalid_signal`].

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use std::alloc::{alloc, dealloc, Layout};

use kaio_sys::syscall::syscall;
use kaio_sys::{Errno, Result};

use super::c;

/// The function of SIGEV_THREAD.
type Function = unsafe extern "C" fn(c::sigval);

/// A copy of the notification that a `struct sigevent` asks for.
#[derive(Clone, Copy)]
pub(super) enum Notification {
    /// No notification: SIGEV_NONE, an unknown kind, or signal 0 (a control block that is all
    /// zero).
    None,
    /// SIGEV_SIGNAL: a signal to the process.
    Signal { signo: c_int, value: c::sigval },
    /// SIGEV_THREAD_ID: a signal to one thread of the process.
    ThreadSignal {
        thread: libc::pid_t,
        signo: c_int,
        value: c::sigval,
    },
    /// SIGEV_THREAD: a call in a thread that is made for it.
    Call {
        function: Function,
        value: c::sigval,
        attributes: *const libc::pthread_attr_t,
    },
}

/// Ways to notify the program. Each keeps its own order, and a notification that has to wait in
/// one way delays none in another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A standard signal. The kernel always accepts one more.
    Signal,
    /// A real-time signal. The kernel queues as many as RLIMIT_SIGPENDING allows.
    QueuedSignal,
    /// A call in a thread that is made for it.
    Call,
}

/// The number of kinds.
pub(super) const KINDS: usize = 3;

impl Kind {
    pub(super) const ALL: [Self; KINDS] = [Self::Signal, Self::QueuedSignal, Self::Call];

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

// SAFETY: the pointers are the program's, which has asked for their use in another thread.
unsafe impl Send for Notification {}
// SAFETY: the pointers are only passed on; no code reads through a shared `Notification`.
unsafe impl Sync for Notification {}

impl Notification {
    /// Returns the notification that `event` asks for.
    ///
    /// # Errors
    ///
    /// `EINVAL`: SIGEV_THREAD without a function. (glibc calls it, and the program crashes.)
    ///
    /// # Safety
    ///
    /// `event` is null (which asks for nothing) or valid.
    pub(super) unsafe fn new(event: *const c::sigevent) -> Result<Self> {
        // SAFETY: the caller promises that `event` is null or valid.
        let Some(event) = (unsafe { event.as_ref() }) else {
            return Ok(Self::None);
        };
        let (signo, value) = (event.sigev_signo, event.sigev_value);
        match event.sigev_notify as u32 {
            c::SIGEV_SIGNAL | c::SIGEV_THREAD_ID if signo == 0 => Ok(Self::None),
            c::SIGEV_SIGNAL => Ok(Self::Signal { signo, value }),
            c::SIGEV_THREAD_ID => Ok(Self::ThreadSignal {
                // SAFETY: SIGEV_THREAD_ID says that the program has set this member of the union,
                // which is a number.
                thread: unsafe { event._sigev_un._tid },
                signo,
                value,
            }),
            c::SIGEV_THREAD => {
                // SAFETY: SIGEV_THREAD says that the program has set this member of the union; a
                // null function is `None`.
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

    /// Returns whether a request with this notification ends with `EINVAL` because there is no such
    /// signal, whatever its own result is. glibc does the same: it stores the error of sigqueue(3)
    /// in the request. It stores nothing for a list, and does not support SIGEV_THREAD_ID, so these
    /// do not fail here.
    pub(super) fn has_invalid_signal(&self) -> bool {
        matches!(self, Self::Signal { signo, .. } if !(1..=libc::SIGRTMAX()).contains(signo))
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Returns the way in which this is delivered, or `None` if there is nothing to deliver.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::None => None,
            Self::Call { .. } => Some(Kind::Call),
            Self::Signal { signo, .. } | Self::ThreadSignal { signo, .. } => {
                Some(match *signo >= libc::SIGRTMIN() {
                    true => Kind::QueuedSignal,
                    false => Kind::Signal,
                })
            }
        }
    }

    /// Notifies the program.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: the notification cannot be delivered now, since too many signals are queued
    /// (RLIMIT_SIGPENDING) or there is no room for a thread. Any other error is permanent: `ESRCH`,
    /// the thread has ended; `EINVAL`, there is no such signal.
    pub(super) fn deliver(&self) -> Result<()> {
        match *self {
            Self::None => Ok(()),
            Self::Signal { signo, value } => queue_signal(None, signo, value),
            Self::ThreadSignal {
                thread,
                signo,
                value,
            } => queue_signal(Some(thread), signo, value),
            Self::Call {
                function,
                value,
                attributes,
            } => call_in_thread(function, value, attributes),
        }
    }
}

fn queue_signal(thread: Option<libc::pid_t>, signo: c_int, value: c::sigval) -> Result<()> {
    let mut info = c::siginfo_t {
        si_signo: signo,
        si_code: c::SI_ASYNCIO,
        ..Default::default()
    };
    // SAFETY: getpid() and getuid() cannot fail and take no pointer.
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

/// The argument of a thread that is made for a call.
struct ThreadStart {
    function: Function,
    value: c::sigval,
    /// Set if the thread was made joinable. It detaches itself, since the program does not get its
    /// id.
    detach: bool,
}

extern "C" fn thread_main(task: *mut c_void) -> *mut c_void {
    let given = task.cast::<ThreadStart>();
    // SAFETY: `call_in_thread` has allocated this value, which now belongs to this thread alone.
    let task = unsafe {
        let task = given.read();
        dealloc(given.cast(), Layout::new::<ThreadStart>());
        task
    };
    let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is filled before it is used, and the thread detaches itself. As with glibc,
    // the call has no signal blocked, whereas the helper, which made this thread, has all signals
    // blocked.
    unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, signals.as_ptr(), null_mut());
        if task.detach {
            libc::pthread_detach(libc::pthread_self());
        }
    }
    // SAFETY: the program has asked for this call by SIGEV_THREAD.
    unsafe { (task.function)(task.value) };
    null_mut()
}

fn call_in_thread(
    function: Function,
    value: c::sigval,
    attributes: *const libc::pthread_attr_t,
) -> Result<()> {
    let mut state = libc::PTHREAD_CREATE_JOINABLE;
    if !attributes.is_null() {
        // SAFETY: POSIX obliges the program to keep the attributes until the call was made.
        unsafe { c::pthread_attr_getdetachstate(attributes.cast(), &mut state) };
    }
    // SAFETY: the size of the layout is not 0.
    let task = unsafe { alloc(Layout::new::<ThreadStart>()) }.cast::<ThreadStart>();
    if task.is_null() {
        return Err(Errno::new(libc::EAGAIN));
    }
    // SAFETY: alloc() has just returned this memory, which has the layout of `ThreadStart`.
    unsafe {
        task.write(ThreadStart {
            function,
            value,
            detach: state == libc::PTHREAD_CREATE_JOINABLE,
        });
    }
    let mut thread = 0;
    // SAFETY: the thread becomes the owner of `task`, and the program keeps the attributes.
    let error = unsafe { libc::pthread_create(&mut thread, attributes, thread_main, task.cast()) };
    if error == 0 {
        return Ok(());
    }
    // SAFETY: no thread was made, so `task` still belongs to this function.
    unsafe { dealloc(task.cast(), Layout::new::<ThreadStart>()) };
    Err(Errno::new(error))
}

/// Notifications of one kind that the helper has taken and delivers without the lock.
pub(super) struct Outbox {
    kind: Kind,
    notifications: [Notification; Self::SIZE],
    count: usize,
}

impl Outbox {
    const SIZE: usize = 32;

    pub(super) const fn new(kind: Kind) -> Self {
        Self {
            kind,
            notifications: [Notification::None; Self::SIZE],
            count: 0,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn free_space(&self) -> usize {
        Self::SIZE - self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a notification. The caller has checked that there is room.
    pub(super) fn push(&mut self, notification: Notification) {
        if let Some(at) = self.notifications.get_mut(self.count) {
            *at = notification;
            self.count += 1;
        }
    }

    /// Delivers the notifications that can be delivered now. The others stay.
    pub(super) fn deliver(&mut self) {
        let all = core::mem::replace(self, Self::new(self.kind));
        let mut full = false;
        for notification in all.notifications.into_iter().take(all.count) {
            let later = full
                || notification
                    .deliver()
                    .is_err_and(|e| matches!(e.get(), libc::EAGAIN | libc::ENOMEM));
            if later {
                self.push(notification);
                // One limit covers all queued signals, so the next one would fail too. A thread
                // may have been refused because of its own attributes, so the next one may
                // succeed.
                full = self.kind == Kind::QueuedSignal;
            }
        }
    }
}
