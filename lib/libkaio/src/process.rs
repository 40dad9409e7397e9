// SPDX-License-Identifier: LGPL-2.1-or-later

//! What this process has: the device's descriptor, or the decision to do without, and its contexts.
//!
//! All of it is in memory that the kernel wipes in the child of a fork (`MADV_WIPEONFORK`): there a
//! descriptor would be the parent's open file, and the parent's contexts are nobody's. So a child
//! finds zeroes, which mean that nothing is there yet, however it was forked; one that shares our
//! memory (vfork, threads) shares this too. The descriptor that a child inherits stays open in it
//! until it execs or ends, since it cannot be told from one of the program's own.
//!
//! A static destructor may still use a context: nothing is ever given back.

use core::ffi::c_int;
use core::mem::size_of;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use kaio_sys::syscall::syscall;
use kaio_sys::{device, Errno, Result};

use crate::contexts::Contexts;
use crate::lock::Lock;
use crate::policy;

/// All zeroes to begin with.
#[repr(C)]
pub(crate) struct Process {
    /// A [`Device`].
    device: AtomicU64,
    /// Not 0: native AIO is used.
    native: AtomicU32,
    /// Who forgets the descriptor.
    forgetting: Lock,
    contexts: Contexts,
}

static PROCESS: AtomicPtr<Process> = AtomicPtr::new(null_mut());

/// The device as it was opened once: below, the descriptor plus 1, or 0 if it is not open; above, how
/// often it was. After the program has closed it the next one may have the same number: who finds out
/// late that the old one is gone must not take the new one for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device(u64);

impl Device {
    #[inline]
    fn is_open(self) -> bool {
        self.0 as u32 != 0
    }

    #[inline]
    pub(crate) fn fd(self) -> c_int {
        (self.0 as u32).wrapping_sub(1) as c_int
    }

    fn closed(self) -> Self {
        Self(self.0 >> 32 << 32)
    }

    /// Opened once more.
    fn opened(self, fd: c_int) -> Self {
        let times = (self.0 >> 32).wrapping_add(1);
        Self((times << 32) | u64::from(fd as u32 + 1))
    }
}

/// Who does what is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Backend {
    Kaio(Device),
    /// The kernel's own AIO.
    Native,
}

impl Process {
    /// Ours. Made when it is first asked for: a program without AIO pays nothing.
    ///
    /// `ENOMEM`.
    #[inline]
    pub(crate) fn get() -> Result<&'static Self> {
        let process = PROCESS.load(Ordering::Acquire);
        if process.is_null() {
            return Self::make();
        }
        // SAFETY: it was mapped by `make()` and is never unmapped; zeroes are valid, and so all
        // that a fork leaves is.
        Ok(unsafe { &*process })
    }

    #[cold]
    fn make() -> Result<&'static Self> {
        let size = size_of::<Self>();
        let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
        // SAFETY: a new mapping, where nothing was.
        let new = unsafe { syscall(libc::SYS_mmap, [0, size, prot, flags, usize::MAX, 0]) }?;
        let args = [new, size, libc::MADV_WIPEONFORK as usize, 0, 0, 0];
        // SAFETY: our own mapping, of which nobody knows.
        let wiped = unsafe { syscall(libc::SYS_madvise, args) };
        let process = new as *mut Self;
        let shared = wiped.and_then(|_| {
            PROCESS
                .compare_exchange(null_mut(), process, Ordering::AcqRel, Ordering::Acquire)
                .map_err(|_| Errno::new(libc::EEXIST))
        });
        if let Err(e) = shared {
            // SAFETY: nobody knows of it: another thread was first, or it is of no use.
            let _ = unsafe { syscall(libc::SYS_munmap, [new, size, 0, 0, 0, 0]) };
            wiped.map_err(|_| e)?;
            return Self::get();
        }
        // SAFETY: page-aligned, large enough, and zeroes are a valid value of each field.
        Ok(unsafe { &*process })
    }

    #[inline]
    pub(crate) fn contexts(&self) -> &Contexts {
        &self.contexts
    }

    /// The backend that was decided on, if that was.
    #[inline]
    fn decided(&self) -> Option<Backend> {
        let device = Device(self.device.load(Ordering::Acquire));
        if device.is_open() {
            return Some(Backend::Kaio(device));
        }
        (self.native.load(Ordering::Relaxed) != 0).then_some(Backend::Native)
    }

    /// Decides, if it was not yet, and says why not. For who makes a context.
    ///
    /// What [`policy::error_of`] says; `EMFILE`, `ENFILE`, `ENOMEM`.
    #[inline]
    pub(crate) fn choose_backend(&self) -> Result<Backend> {
        match self.decided() {
            Some(backend) => Ok(backend),
            None => self.open().or_else(|e| self.do_without(e)),
        }
    }

    /// The backend of a context that should exist. `EINVAL`: without one, none does.
    #[inline]
    pub(crate) fn backend(&self) -> Result<Backend> {
        match self.decided() {
            Some(backend) => Ok(backend),
            // The kernel says what is wrong with the arguments.
            None => self.open().map_err(|_| Errno::new(libc::EINVAL)),
        }
    }

    #[cold]
    fn open(&self) -> Result<Backend> {
        loop {
            let old = Device(self.device.load(Ordering::Acquire));
            if old.is_open() {
                // Another thread was first.
                return Ok(Backend::Kaio(old));
            }
            let fd = device::open()?;
            let new = old.opened(fd);
            let first =
                self.device
                    .compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Relaxed);
            if first.is_ok() {
                return Ok(Backend::Kaio(new));
            }
            // SAFETY: nobody knows of ours.
            unsafe { device::close(fd) };
        }
    }

    /// There is no device, for the reason `e`.
    #[cold]
    pub(crate) fn do_without(&self, e: Errno) -> Result<Backend> {
        if !policy::is_refusal(e) {
            return Err(e);
        }
        if policy::wants_fallback() {
            policy::explain(e, Some(c"the kernel's own AIO"));
            self.native.store(1, Ordering::Relaxed);
            return Ok(Backend::Native);
        }
        policy::explain(e, None);
        Err(policy::error_of(e))
    }

    /// Whether nobody has forgotten it since it was opened.
    pub(crate) fn is_current(&self, device: Device) -> bool {
        self.device.load(Ordering::Acquire) == device.0
    }

    /// The program closed our descriptor of `device`, and perhaps has another file there now. Our contexts
    /// ended with it, and their rings are not mapped any more, or go as soon as nothing is in flight.
    ///
    /// This is noticed when a system call is made. Until then a context whose ring we read needs
    /// none: a program that closes what it did not open, and then takes events, reads unmapped memory.
    #[cold]
    pub(crate) fn forget(&self, device: Device) {
        // In a handler that interrupted this very thing, it is being done.
        if !self.forgetting.lock() {
            return;
        }
        // Another thread may have been here before, and have made contexts in a new one.
        if self.is_current(device) {
            self.contexts.clear();
            self.device.store(device.closed().0, Ordering::Release);
        }
        self.forgetting.unlock();
    }
}
