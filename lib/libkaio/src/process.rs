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
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

use kaio_sys::syscall::syscall;
use kaio_sys::{device, Errno, Result};

use crate::contexts::Contexts;
use crate::lock::Lock;
use crate::policy;

/// All zeroes to begin with.
#[repr(C)]
pub(crate) struct Process {
    /// The descriptor plus 1; 0: not open.
    fd: AtomicI32,
    /// Not 0: native AIO is used.
    native: AtomicU32,
    /// Who forgets the descriptor.
    forgetting: Lock,
    contexts: Contexts,
}

static PROCESS: AtomicPtr<Process> = AtomicPtr::new(null_mut());

/// Who does what is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Backend {
    /// The device has this descriptor.
    Kaio(c_int),
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
        match self.fd.load(Ordering::Acquire) {
            0 if self.native.load(Ordering::Relaxed) != 0 => Some(Backend::Native),
            0 => None,
            fd => Some(Backend::Kaio(fd - 1)),
        }
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
        let fd = device::open()?;
        let first = self
            .fd
            .compare_exchange(0, fd + 1, Ordering::AcqRel, Ordering::Acquire);
        Ok(Backend::Kaio(match first {
            Ok(_) => fd,
            Err(theirs) => {
                // SAFETY: another thread was first; nobody knows of ours.
                unsafe { device::close(fd) };
                theirs - 1
            }
        }))
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

    /// The program closed our descriptor `fd`, and perhaps has another file there now. Our contexts
    /// ended with it, and their rings are not mapped any more.
    ///
    /// This is noticed when a system call is made. Until then a context whose ring we read needs
    /// none: a program that closes what it did not open, and then takes events, reads unmapped memory.
    #[cold]
    pub(crate) fn forget(&self, fd: c_int) {
        // In a handler that interrupted this very thing, it is being done.
        if !self.forgetting.lock() {
            return;
        }
        if self.fd.load(Ordering::Acquire) == fd + 1 {
            self.contexts.clear();
            self.fd.store(0, Ordering::Release);
        }
        self.forgetting.unlock();
    }
}
