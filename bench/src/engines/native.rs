// SPDX-License-Identifier: GPL-2.0

//! Native AIO: io_submit(2).

use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;
use std::time::Duration;

use kaio_sys::syscall::syscall;
use kaio_sys::uapi::io_event;
use libc::{SYS_io_cancel, SYS_io_destroy, SYS_io_getevents, SYS_io_setup, SYS_io_submit};

use super::batch::Batch;
use super::{uninterrupted, Engine, Event, Way};
use crate::context::{reap_ring, EVENTS};
use crate::request::Request;
use crate::system::{checked, timespec};

/// A context of native AIO.
pub struct Native {
    context: u64,
    /// Dropping this value destroys the context.
    owned: bool,
    batch: Batch,
    events: Vec<io_event>,
    way: Way,
}

impl Native {
    /// Makes a context for so many requests.
    pub fn new(entries: u32, way: Way) -> io::Result<Self> {
        let mut context = 0u64;
        let args = [entries as usize, &raw mut context as usize, 0, 0, 0, 0];
        // SAFETY: the kernel writes the id of the new context to `context`.
        checked(unsafe { syscall(SYS_io_setup, args) })?;
        Ok(Self::with_id(context, true, way))
    }

    fn with_id(context: u64, owned: bool, way: Way) -> Self {
        Self {
            context,
            owned,
            batch: Batch::default(),
            events: Vec::with_capacity(EVENTS),
            way,
        }
    }

    /// Returns a function that makes engines on the same context for other threads. They take
    /// events by the call.
    pub fn share(&self) -> impl Fn() -> Self + Sync + use<> {
        let context = self.context;
        move || Self::with_id(context, false, Way::Call)
    }

    /// Waits for `min` events until the time is over, and takes at most `max`; returns how many.
    fn get_events(&mut self, min: usize, max: usize, time: Option<Duration>) -> io::Result<usize> {
        assert!(max <= self.events.capacity());
        let timeout = time.map(timespec);
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        let events = self.events.as_mut_ptr() as usize;
        let args = [self.context as usize, min, max, events, timeout as usize, 0];
        // SAFETY: there is room for `max` events. The kernel only reads the time, which is null or
        // lives during the call.
        let got = checked(unsafe { syscall(SYS_io_getevents, args) })?;
        // SAFETY: the kernel has written `got` events.
        unsafe { self.events.set_len(got) };
        Ok(got)
    }
}

impl Engine for Native {
    fn prepare(&mut self, requests: &[Request]) {
        self.batch.prepare(requests);
    }

    fn submit(&mut self) -> io::Result<()> {
        self.submit_part(0..self.batch.pointers.len())
    }

    fn submit_part(&mut self, part: Range<usize>) -> io::Result<()> {
        self.batch.submit(part, |some| {
            let args = [
                self.context as usize,
                some.len(),
                some.as_ptr() as usize,
                0,
                0,
                0,
            ];
            // SAFETY: the pointers are those of the batch's iocbs, and the buffers of requests live
            // as long as the process.
            checked(unsafe { syscall(SYS_io_submit, args) })
        })
    }

    fn wait(&mut self, min: usize, timeout: Duration) -> io::Result<Vec<Event>> {
        self.get_events(min, EVENTS, Some(timeout))?;
        Ok(self.events.iter().map(|e| (e.data, e.res)).collect())
    }

    fn cancel(&mut self, requests: &[Request]) -> io::Result<()> {
        let mut event = MaybeUninit::<io_event>::uninit();
        for iocb in &self.batch.pointers[..requests.len()] {
            let event = event.as_mut_ptr() as usize;
            let args = [self.context as usize, *iocb as usize, event, 0, 0, 0];
            // SAFETY: the kernel reads the iocb, which lives as long as the batch. Linux does not
            // write the event any more, and there is room for it.
            match checked(unsafe { syscall(SYS_io_cancel, args) }) {
                Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => return Err(e),
                _ => (),
            }
        }
        self.take(requests.len()).map(|_| ())
    }

    fn take(&mut self, count: usize) -> io::Result<i64> {
        let (mut got, mut sum) = (0, 0);
        if self.way != Way::Call {
            // SAFETY: the id is the address of the ring, which stays mapped as long as the context
            // lives. No other thread takes events of this context.
            got = unsafe { reap_ring(self.context, |_, res| sum += res) };
        }
        while got < count {
            let left = (count - got).min(EVENTS);
            got += uninterrupted(|| self.get_events(left, left, None))?;
            sum += self.events.iter().map(|e| e.res).sum::<i64>();
        }
        Ok(sum)
    }

    fn round(&mut self) -> io::Result<i64> {
        self.submit()?;
        self.take(self.batch.pointers.len())
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        if self.owned {
            // SAFETY: the call waits until no request uses a buffer, and no code uses the ring any
            // more.
            let _ = unsafe { syscall(SYS_io_destroy, [self.context as usize, 0, 0, 0, 0, 0]) };
        }
    }
}
