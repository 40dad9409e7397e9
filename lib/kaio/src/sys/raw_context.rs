// SPDX-License-Identifier: LGPL-2.1-or-later

//! One context of the kernel: its ioctls and its ring.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use kaio_sys::ioctl::{self, Wait};
use kaio_sys::ring::Ring;
use kaio_sys::uapi::{__kernel_timespec, io_event, iocb, kaio_query, KAIO_GETEVENTS_PEEK};
use kaio_sys::{device, Errno};

use super::process::Process;
use crate::error::with_path;

/// Converts an error of the kernel into one of `std`.
pub(super) fn io_error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.get())
}

fn device_path() -> &'static Path {
    Path::new(OsStr::from_bytes(device::PATH.to_bytes()))
}

/// A context that has an open file of its own, so that polling the file polls the context.
pub(super) struct RawContext {
    device: OwnedFd,
    ctx: u64,
    ring: Ring,
    /// The process that made the context. The ring is not mapped in any other process.
    process: Process,
}

impl RawContext {
    pub(super) fn new(entries: u32) -> io::Result<Self> {
        let process = Process::current()?;
        let fd = device::open().map_err(|e| with_path(device_path(), io_error(e)))?;
        // SAFETY: `device::open` has just returned this descriptor, and no other code owns it.
        let device = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: `device` owns the descriptor, which is open.
        let ctx = unsafe { ioctl::setup(fd, entries) }.map_err(io_error)?;
        // SAFETY: KAIO_SETUP has just returned `ctx`. The context ends only in `destroy` or when
        // `device` is dropped, after which the ring is not used.
        let Some(ring) = (unsafe { Ring::new(ctx) }) else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the ring of /dev/kaio is newer than this crate",
            ));
        };
        Ok(Self {
            device,
            ctx,
            ring,
            process,
        })
    }

    /// Returns whether this process made the context. The child of a fork did not.
    pub(super) fn is_owner(&self) -> bool {
        self.process.is_current()
    }

    pub(super) fn device(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    fn fd(&self) -> i32 {
        self.device.as_raw_fd()
    }

    /// Returns how many requests the context can hold. The ring keeps one slot empty.
    pub(super) fn capacity(&self) -> usize {
        self.ring.slots() as usize - 1
    }

    pub(super) fn query(&self) -> io::Result<kaio_query> {
        // SAFETY: `self.device` owns the descriptor, which is open.
        unsafe { ioctl::query(self.fd()) }.map_err(io_error)
    }

    /// Starts requests, then waits until the ring has `min` events. Returns the number of requests
    /// that were started and, if that is 0, the error. The function does not report that a signal
    /// has ended the wait.
    ///
    /// # Safety
    ///
    /// The iocbs and all memory that they name stay valid, and no code accesses them, until their
    /// events were taken or [`Self::destroy`] has returned `Ok`.
    pub(super) unsafe fn submit(&self, iocbs: &[*mut iocb], min: usize) -> (usize, Option<Errno>) {
        let nr = iocbs.len() as i64;
        if min == 0 {
            // SAFETY: the caller promises to keep the iocbs and their memory.
            return match unsafe { ioctl::submit(self.fd(), self.ctx, nr, iocbs.as_ptr()) } {
                Ok(submitted) => (submitted.count, None),
                Err(e) => (0, Some(e)),
            };
        }
        let wait = Wait {
            min_nr: min as i64,
            nr: min as i64,
            flags: KAIO_GETEVENTS_PEEK,
            ..Wait::default()
        };
        // SAFETY: the caller promises to keep the iocbs and their memory; with KAIO_GETEVENTS_PEEK
        // the kernel takes no event and writes none.
        let (submitted, waited) =
            unsafe { ioctl::submit_wait(self.fd(), self.ctx, nr, iocbs.as_ptr(), &wait) };
        match submitted.count {
            0 => (0, submitted.stopped.or(waited.err())),
            count => (count, None),
        }
    }

    /// Waits until the ring has an event, for at most `timeout`.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> Result<(), Errno> {
        let timeout = timeout.map(|time| __kernel_timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let wait = Wait {
            min_nr: 1,
            nr: 1,
            timeout: timeout.as_ref().map_or(ptr::null(), ptr::from_ref),
            flags: KAIO_GETEVENTS_PEEK,
            ..Wait::default()
        };
        // SAFETY: with KAIO_GETEVENTS_PEEK the kernel takes no event and writes none; `timeout`
        // lives until the call returns.
        unsafe { ioctl::get_events(self.fd(), self.ctx, &wait) }.map(|_| ())
    }

    /// Returns whether the ring has events.
    pub(super) fn has_events(&self) -> bool {
        self.is_owner() && self.ring.available() > 0
    }

    /// Takes events and returns their number.
    ///
    /// # Safety
    ///
    /// No other thread is taking events of this context.
    pub(super) unsafe fn take_events(&self, events: &mut [io_event]) -> usize {
        if !self.is_owner() {
            return 0;
        }
        let max = u32::try_from(events.len()).unwrap_or(u32::MAX);
        // SAFETY: `events` has room for `max` events. This crate never takes events by
        // KAIO_GETEVENTS, and the caller promises that no other thread is taking events.
        unsafe { self.ring.take(events.as_mut_ptr(), max) as usize }
    }

    /// Cancels a request. Returns whether the kernel has cancelled it.
    pub(super) fn cancel(&self, iocb: *const iocb) -> bool {
        // SAFETY: `self.device` owns the descriptor, which is open. The kernel checks the address.
        unsafe { ioctl::cancel(self.fd(), self.ctx, iocb) }.is_ok()
    }

    /// Ends the context and waits until no request is in flight.
    ///
    /// # Safety
    ///
    /// The caller only drops this value afterwards, since the ring is unmapped.
    pub(super) unsafe fn destroy(&self) -> Result<(), Errno> {
        // SAFETY: the caller promises that this value, and so the ring, is not used any more.
        unsafe { ioctl::destroy(self.fd(), self.ctx) }
    }
}
