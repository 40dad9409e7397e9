// SPDX-License-Identifier: LGPL-2.1-or-later

//! One context of the kernel: its ioctls and its ring.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use kaio_sys::ioctl::{self, Wait};
use kaio_sys::ring::Ring;
use kaio_sys::uapi::{__kernel_timespec, io_event, iocb, kaio_query, KAIO_GETEVENTS_PEEK};
use kaio_sys::{device, Errno};

/// What the kernel said, as `std` says it.
pub(super) fn io_error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.get())
}

/// A context on an open file of its own, so that to poll the file is to poll the context.
pub(super) struct Kernel {
    device: OwnedFd,
    ctx: u64,
    ring: Ring,
}

impl Kernel {
    pub(super) fn new(entries: u32) -> io::Result<Self> {
        let fd = device::open().map_err(io_error)?;
        // SAFETY: it was opened for us.
        let device = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: ours, and open.
        let ctx = unsafe { ioctl::setup(fd, entries) }.map_err(io_error)?;
        // SAFETY: set up above. It is destroyed only by `destroy`, or by the close below.
        let Some(ring) = (unsafe { Ring::new(ctx) }) else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the ring of /dev/kaio is newer than this crate",
            ));
        };
        Ok(Self { device, ctx, ring })
    }

    pub(super) fn device(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    fn fd(&self) -> i32 {
        self.device.as_raw_fd()
    }

    /// Requests that it can hold. The ring keeps one slot empty.
    pub(super) fn capacity(&self) -> usize {
        self.ring.slots() as usize - 1
    }

    pub(super) fn query(&self) -> io::Result<kaio_query> {
        // SAFETY: ours, and open.
        unsafe { ioctl::query(self.fd()) }.map_err(io_error)
    }

    /// Starts requests, then waits until the ring has `min` events. Returns how many were started,
    /// and if that is none, why. That the wait was interrupted is not told.
    ///
    /// # Safety
    ///
    /// The iocbs, and all memory that they name, stay and are left alone until their events were
    /// taken or [`Self::destroy`] has returned `Ok`.
    pub(super) unsafe fn submit(&self, iocbs: &[*mut iocb], min: usize) -> (usize, Option<Errno>) {
        let nr = iocbs.len() as i64;
        if min == 0 {
            // SAFETY: the caller's promise.
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
        // SAFETY: the caller's promise; to peek takes nothing.
        let (submitted, waited) =
            unsafe { ioctl::submit_wait(self.fd(), self.ctx, nr, iocbs.as_ptr(), &wait) };
        match submitted.count {
            0 => (0, submitted.stopped.or(waited.err())),
            count => (count, None),
        }
    }

    /// Waits until there is an event, for so long at most.
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
        // SAFETY: to peek takes nothing; the timeout lives until the end of this function.
        unsafe { ioctl::get_events(self.fd(), self.ctx, &wait) }.map(|_| ())
    }

    /// Whether events wait to be taken.
    pub(super) fn has_events(&self) -> bool {
        self.ring.available() > 0
    }

    /// Takes events; returns how many.
    ///
    /// # Safety
    ///
    /// One caller at a time.
    pub(super) unsafe fn take(&self, events: &mut [io_event]) -> usize {
        let max = u32::try_from(events.len()).unwrap_or(u32::MAX);
        // SAFETY: there is room for so many. We never take by KAIO_GETEVENTS, and the caller
        // promises that there is no other.
        unsafe { self.ring.take(events.as_mut_ptr(), max) as usize }
    }

    /// Whether the request is given up.
    pub(super) fn cancel(&self, iocb: *const iocb) -> bool {
        // SAFETY: ours, and open.
        unsafe { ioctl::cancel(self.fd(), self.ctx, iocb) }.is_ok()
    }

    /// Ends the context, and waits until no request is in flight.
    ///
    /// # Safety
    ///
    /// Nothing is called afterwards but this value's destructor: the ring is unmapped.
    pub(super) unsafe fn destroy(&self) -> Result<(), Errno> {
        // SAFETY: nobody reads the ring any more.
        unsafe { ioctl::destroy(self.fd(), self.ctx) }
    }
}
