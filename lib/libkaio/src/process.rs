// SPDX-License-Identifier: LGPL-2.1-or-later

//! The state of this process: the descriptor of the device, or the decision to use native AIO, and
//! the contexts.
//!
//! All of it is in memory that the kernel clears in the child of a fork (`MADV_WIPEONFORK`), since
//! the child's descriptor refers to the parent's open file, and no process can use the contexts of
//! another one. The child finds zeroes, which mean that nothing is open, whichever system call made
//! the child. A child or thread that shares this process's memory (vfork) shares this state too.
//! When a child opens the device itself, it closes the descriptor that it has inherited, so that
//! each process has one, however many forks there were. If the child cannot find the device
//! (chroot), it uses the inherited descriptor and makes contexts of its own in it.
//!
//! A static destructor may still use a context, so this memory is never freed.

use core::ffi::c_int;
use core::mem::size_of;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use kaio_sys::syscall::syscall;
use kaio_sys::{device, Errno, Result};

use crate::contexts::Contexts;
use crate::descriptor;
use crate::lock::Lock;
use crate::policy;

/// The state of a process. Its initial value is all zeroes.
#[repr(C)]
pub(crate) struct Process {
    /// The value of a [`Device`].
    device: AtomicU64,
    /// Not 0 if native AIO is used.
    native: AtomicU32,
    /// Held by the thread that forgets the descriptor.
    forget_lock: Lock,
    contexts: Contexts,
}

static PROCESS: AtomicPtr<Process> = AtomicPtr::new(null_mut());

/// The descriptor that was opened last, by this process or by the process that forked it; or -1.
static OPENED: AtomicI32 = AtomicI32::new(-1);

/// Returns the descriptor that this process inherited by a fork, if it still is the device. (The
/// check can be wrong only if the program has closed it and opened the device itself, at the same
/// number and with close-on-exec.)
fn inherited_device() -> Option<c_int> {
    let fd = OPENED.load(Ordering::Acquire);
    let args = [fd as usize, libc::F_GETFD as usize, 0, 0, 0, 0];
    // SAFETY: F_GETFD takes no pointer and changes nothing, whatever file the descriptor refers
    // to.
    let flags = unsafe { syscall(libc::SYS_fcntl, args) };
    if fd < 0 || flags != Ok(libc::FD_CLOEXEC as usize) {
        return None;
    }
    let is_device = descriptor::is_device(fd);
    #[cfg(feature = "posix")]
    let is_device = is_device && !crate::posix::has_device(fd);
    is_device.then_some(fd)
}

/// The device as it was opened once. The lower half is the descriptor plus 1, or 0 if the device is
/// not open; the upper half counts how often the device was opened. When the program has closed the
/// descriptor, the next one may have the same number. The count keeps a thread that notices the
/// close late from taking the new descriptor for the old one.
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

    /// Returns whether the device was never opened in this process.
    fn was_never_opened(self) -> bool {
        self.0 == 0
    }

    /// Returns the value after the device was opened once more.
    fn opened(self, fd: c_int) -> Self {
        let times = (self.0 >> 32).wrapping_add(1);
        Self((times << 32) | u64::from(fd as u32 + 1))
    }
}

/// The implementation of AIO that this process uses.
#[derive(Clone, Copy)]
pub(crate) enum Backend {
    Kaio(Device),
    /// The kernel's own AIO.
    Native,
}

impl Process {
    /// Returns the state of this process. It is made at the first call, so that a program without
    /// AIO has no cost.
    ///
    /// The error is `ENOMEM`.
    #[inline]
    pub(crate) fn get() -> Result<&'static Self> {
        let process = PROCESS.load(Ordering::Acquire);
        if process.is_null() {
            return Self::create();
        }
        // SAFETY: `create` has mapped the state, which is never unmapped. Zeroes are a valid value,
        // so the state is valid after a fork too.
        Ok(unsafe { &*process })
    }

    #[cold]
    fn create() -> Result<&'static Self> {
        let size = size_of::<Self>();
        let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
        // SAFETY: the kernel chooses the address of the new mapping, so no other mapping is
        // touched.
        let new = unsafe { syscall(libc::SYS_mmap, [0, size, prot, flags, usize::MAX, 0]) }?;
        let args = [new, size, libc::MADV_WIPEONFORK as usize, 0, 0, 0];
        // SAFETY: this function has made the mapping, and no other thread knows its address.
        let wiped = unsafe { syscall(libc::SYS_madvise, args) };
        let process = new as *mut Self;
        let shared = wiped.and_then(|_| {
            PROCESS
                .compare_exchange(null_mut(), process, Ordering::AcqRel, Ordering::Acquire)
                .map_err(|_| Errno::new(libc::EEXIST))
        });
        if let Err(e) = shared {
            // SAFETY: no other thread knows the address, since another thread has stored its own
            // first, or madvise() has failed.
            let _ = unsafe { syscall(libc::SYS_munmap, [new, size, 0, 0, 0, 0]) };
            wiped.map_err(|_| e)?;
            return Self::get();
        }
        // SAFETY: the mapping is page-aligned and large enough, zeroes are a valid value of each
        // field, and the mapping is never removed.
        Ok(unsafe { &*process })
    }

    #[inline]
    pub(crate) fn contexts(&self) -> &Contexts {
        &self.contexts
    }

    /// Returns the backend if it was chosen already.
    #[inline]
    fn chosen_backend(&self) -> Option<Backend> {
        let device = Device(self.device.load(Ordering::Acquire));
        if device.is_open() {
            return Some(Backend::Kaio(device));
        }
        (self.native.load(Ordering::Relaxed) != 0).then_some(Backend::Native)
    }

    /// Chooses the backend for a caller that makes a context, unless it was chosen already, and
    /// reports why there is no device.
    ///
    /// The errors are those of [`policy::reported_error`], and `EMFILE`, `ENFILE` and `ENOMEM`.
    #[inline]
    pub(crate) fn choose_backend(&self) -> Result<Backend> {
        match self.chosen_backend() {
            Some(backend) => Ok(backend),
            None => self.open().or_else(|e| self.fall_back(e)),
        }
    }

    /// Returns the backend of a context that should exist. Without a backend there is no context:
    /// `EINVAL`.
    #[inline]
    pub(crate) fn backend(&self) -> Result<Backend> {
        match self.chosen_backend() {
            Some(backend) => Ok(backend),
            // Open the device, so that the kernel checks the arguments.
            None => self.open().map_err(|_| Errno::new(libc::EINVAL)),
        }
    }

    #[cold]
    fn open(&self) -> Result<Backend> {
        loop {
            let old = Device(self.device.load(Ordering::Acquire));
            if old.is_open() {
                // Another thread has opened the device first.
                return Ok(Backend::Kaio(old));
            }
            let inherited = old.was_never_opened().then(inherited_device).flatten();
            let opened = device::open();
            let fd = opened.or_else(|e| inherited.ok_or(e))?;
            let new = old.opened(fd);
            let first =
                self.device
                    .compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Relaxed);
            if first.is_ok() {
                OPENED.store(fd, Ordering::Release);
                if let Some(inherited) = inherited.filter(|&inherited| inherited != fd) {
                    // SAFETY: `inherited_device` has seen that this is the parent's descriptor, and
                    // this process has made no context in it.
                    unsafe { device::close(inherited) };
                }
                return Ok(Backend::Kaio(new));
            }
            if opened.is_ok() {
                // SAFETY: this thread has just opened the descriptor and did not publish it, so no
                // other thread uses it.
                unsafe { device::close(fd) };
            }
        }
    }

    /// Uses native AIO if the user wants that, since opening the device has failed with `e`.
    /// Returns the error that the program gets otherwise.
    #[cold]
    pub(crate) fn fall_back(&self, e: Errno) -> Result<Backend> {
        if !policy::means_no_device(e) {
            return Err(e);
        }
        if policy::wants_fallback() {
            policy::explain_once(e, Some(c"the kernel's own AIO"));
            self.native.store(1, Ordering::Relaxed);
            return Ok(Backend::Native);
        }
        policy::explain_once(e, None);
        Err(policy::reported_error(e))
    }

    /// Returns whether no thread has forgotten this device since it was opened.
    pub(crate) fn is_current(&self, device: Device) -> bool {
        self.device.load(Ordering::Acquire) == device.0
    }

    /// Forgets the descriptor of `device`, which the program has closed; the program may have
    /// another file there now. The contexts of this library ended with it. Zeroed memory is in the
    /// place of their rings, or comes there as soon as no request is in flight.
    ///
    /// A thread notices the close when it makes a system call. A thread that takes events from a
    /// ring makes none unless the ring is not alive any more.
    #[cold]
    pub(crate) fn forget_device(&self, device: Device) {
        // A signal handler has interrupted this function, which goes on afterwards.
        if !self.forget_lock.lock() {
            return;
        }
        // Another thread may have forgotten the device before, and made contexts in a new one.
        if self.is_current(device) {
            self.contexts.clear();
            self.device.store(device.closed().0, Ordering::Release);
        }
        self.forget_lock.unlock();
    }
}
