// SPDX-License-Identifier: GPL-2.0

//! A context of `/dev/kaio`, and the ring of a context.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kaio_sys::ioctl::{self, Wait};
use kaio_sys::ring::Ring;
use kaio_sys::uapi::{io_event, iocb, kaio_ring, KAIO_GETEVENTS_PEEK};

use crate::request::Request;
use crate::system::{checked, io_error, timespec};

/// The most events that one call takes.
pub const EVENTS: usize = 512;

/// Takes all events of a ring without a system call; returns how many there were.
///
/// The ring is one of kaio or of native AIO, whose layouts agree, so that both engines run the same
/// instructions. Like io_uring's, the results are read in place; [`Ring::take`] copies them.
///
/// # Safety
///
/// `ring` is the address of such a ring, and the ring stays mapped meanwhile. No other thread takes
/// its events.
pub unsafe fn reap_ring(ring: u64, mut each: impl FnMut(u64, i64)) -> usize {
    let ring = ring as *mut kaio_ring;
    let mut count = 0;
    // SAFETY: the caller promises that the ring is mapped. The kernel writes `tail`, and the events
    // before it; user space writes `head`, and by the caller's promise only this function does.
    unsafe {
        let tail = AtomicU32::from_ptr(&raw mut (*ring).tail);
        let head = AtomicU32::from_ptr(&raw mut (*ring).head);
        let events = (&raw const (*ring).io_events).cast::<io_event>();
        let nr = (*ring).nr;
        let mut at = head.load(Ordering::Relaxed);
        let end = tail.load(Ordering::Acquire);
        while at != end {
            let event = events.add(at as usize);
            each((*event).data, (*event).res);
            count += 1;
            at += 1;
            if at == nr {
                at = 0;
            }
        }
        head.store(at, Ordering::Release);
    }
    count
}

/// A context.
pub struct Context<'a> {
    device: &'a File,
    id: u64,
    /// Dropping this value destroys the context.
    owned: bool,
    events: Vec<io_event>,
}

impl<'a> Context<'a> {
    /// Describes the module by what KAIO_QUERY says.
    pub fn describe(device: &File) -> io::Result<String> {
        // SAFETY: the descriptor is that of the open device.
        let query = checked(unsafe { ioctl::query(device.as_raw_fd()) })?;
        Ok(format!(
            "ABI version {}, {} operations, room for {} requests",
            query.version,
            query.opcodes.count_ones(),
            query.max_nr
        ))
    }

    /// Makes a context for so many requests.
    pub fn new(device: &'a File, requests: u32) -> io::Result<Self> {
        // SAFETY: the descriptor is that of the open device.
        let id = checked(unsafe { ioctl::setup(device.as_raw_fd(), requests) })?;
        Ok(Self::with_id(device, id, true))
    }

    /// The memory for events is not touched here, so that the time of a set-up does not include
    /// page faults of it.
    fn with_id(device: &'a File, id: u64, owned: bool) -> Self {
        Self {
            device,
            id,
            owned,
            events: Vec::with_capacity(EVENTS),
        }
    }

    /// Returns a function that makes values for the same context, one for each thread. The caller
    /// drops this value last, since only its drop destroys the context.
    pub fn share(&self) -> impl Fn() -> Self + Sync + use<'a> {
        let (device, id) = (self.device, self.id);
        move || Self::with_id(device, id, false)
    }

    fn fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }

    /// Submits one request. The caller leaves its buffer alone until its event comes.
    pub fn submit(&mut self, request: &Request) -> io::Result<()> {
        let mut iocb = request.iocb();
        self.submit_iocbs(&[&raw mut iocb]).map(|_| ())
    }

    /// Submits the iocbs that the pointers name; returns how many the module took.
    pub fn submit_iocbs(&mut self, pointers: &[*mut iocb]) -> io::Result<usize> {
        let (nr, iocbs) = (pointers.len() as i64, pointers.as_ptr());
        // SAFETY: the descriptor is that of the open device. The buffers of requests live as long
        // as the process.
        Ok(checked(unsafe { ioctl::submit(self.fd(), self.id, nr, iocbs) })?.count)
    }

    fn get_events(&mut self, min: usize, max: usize, time: Option<Duration>) -> io::Result<usize> {
        assert!(max <= self.events.capacity());
        let timeout = time.map(timespec);
        let wait = Wait {
            min_nr: min as i64,
            nr: max as i64,
            events: self.events.as_mut_ptr(),
            timeout: timeout.as_ref().map_or(ptr::null(), ptr::from_ref),
            ..Default::default()
        };
        // SAFETY: there is room for `max` events. A thread that takes events of a shared context
        // does so by this call only.
        let got = checked(unsafe { ioctl::get_events(self.fd(), self.id, &wait) })?;
        // SAFETY: the kernel has written `got` events.
        unsafe { self.events.set_len(got) };
        Ok(got)
    }

    /// Takes events by ioctl: at least `min`, unless the time is over. Returns data and result of
    /// each.
    pub fn wait(&mut self, min: usize, timeout: Option<Duration>) -> io::Result<Vec<(u64, i64)>> {
        self.get_events(min, EVENTS, timeout)?;
        Ok(self.pairs())
    }

    fn pairs(&self) -> Vec<(u64, i64)> {
        self.events.iter().map(|e| (e.data, e.res)).collect()
    }

    /// Takes `count` events by ioctl, or as many as one call takes; sleeps until there are so many.
    pub fn take(&mut self, count: usize, mut each: impl FnMut(u64, i64)) -> io::Result<usize> {
        let count = count.min(EVENTS);
        let got = self.get_events(count, count, None)?;
        self.events.iter().for_each(|e| each(e.data, e.res));
        Ok(got)
    }

    /// Returns what the calls wait for that leave `count` events in the ring.
    fn peek_at(count: usize) -> Wait {
        Wait {
            min_nr: count as i64,
            nr: count as i64,
            flags: KAIO_GETEVENTS_PEEK,
            ..Default::default()
        }
    }

    /// Waits until there are `count` events in the ring, and leaves them there.
    pub fn peek(&mut self, count: usize) -> io::Result<usize> {
        // SAFETY: the descriptor is that of the open device, and the call takes no events.
        checked(unsafe { ioctl::get_events(self.fd(), self.id, &Self::peek_at(count)) })
    }

    /// Submits a batch and waits until there are as many events in the ring, by one call.
    pub fn submit_and_peek(&mut self, pointers: &[*mut iocb]) -> io::Result<()> {
        let count = pointers.len();
        let (nr, iocbs, wait) = (count as i64, pointers.as_ptr(), Self::peek_at(count));
        // SAFETY: the descriptor is that of the open device. The buffers of requests live as long
        // as the process, and the call takes no events.
        let (submitted, waited) =
            unsafe { ioctl::submit_wait(self.fd(), self.id, nr, iocbs, &wait) };
        checked(waited)?;
        if submitted.count != count {
            let part = || io::Error::other("kaio took a part of the batch");
            return Err(submitted.stopped.map_or_else(part, io_error));
        }
        Ok(())
    }

    /// Cancels a request. Its event is in the ring when this returns, or follows.
    pub fn cancel(&mut self, iocb: *mut iocb) -> io::Result<()> {
        // SAFETY: the descriptor is that of the open device.
        checked(unsafe { ioctl::cancel(self.fd(), self.id, iocb) }).map(|_| ())
    }

    /// Takes all events of the ring without a system call; returns data and result of each.
    pub fn reap(&mut self) -> io::Result<Vec<(u64, i64)>> {
        // SAFETY: KAIO_SETUP returned the id, and the context lives as long as `self`.
        let ring = unsafe { Ring::new(self.id) }.ok_or(io::ErrorKind::Unsupported)?;
        // SAFETY: there is room for `EVENTS` events. No other thread takes events of this context.
        let got = unsafe { ring.take(self.events.as_mut_ptr(), EVENTS as u32) } as usize;
        // SAFETY: `take` has written `got` events.
        unsafe { self.events.set_len(got) };
        Ok(self.pairs())
    }

    /// Takes all events of the ring without a system call; returns how many there were.
    pub fn reap_each(&mut self, each: impl FnMut(u64, i64)) -> usize {
        // SAFETY: the id is the address of the ring, which stays mapped as long as the context
        // lives. No other thread takes events of this context.
        unsafe { reap_ring(self.id, each) }
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        if self.owned {
            // SAFETY: the descriptor is that of the open device, and no code uses the ring any
            // more.
            let _ = unsafe { ioctl::destroy(self.fd(), self.id) };
        }
    }
}
