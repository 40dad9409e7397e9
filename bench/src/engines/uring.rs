// SPDX-License-Identifier: GPL-2.0

//! io_uring.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::mem::{size_of, size_of_val};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kaio_sys::syscall::syscall;
use libc::{SYS_io_uring_enter, SYS_io_uring_setup};

use super::{uninterrupted, Engine, Event};
use crate::request::{Op, Request, POLLIN};
use crate::system::{checked, timespec};
use uapi::*;

/// The structs and constants of `linux/io_uring.h`, by bindgen.
#[allow(
    dead_code,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod uapi {
    include!(concat!(env!("OUT_DIR"), "/io_uring.rs"));
}

/// A ring, set up as liburing's `io_uring_queue_init(entries, &ring, flags)` does.
pub struct Uring {
    ring: File,
    /// The mapping of both queues: its address and its length.
    queues: (*mut u8, usize),
    entries: u32,
    sqes: *mut io_uring_sqe,
    sq_tail: *mut u32,
    sq_mask: u32,
    cqes: *const io_uring_cqe,
    cq_head: *mut u32,
    cq_tail: *mut u32,
    cq_mask: u32,
    prepared: u32,
}

/// With these flags the thread that submits asks for its results, and is not interrupted by them.
pub const URING_DEFER: u32 = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;

impl Uring {
    /// Makes a ring for so many requests.
    pub fn new(entries: u32, flags: u32) -> io::Result<Self> {
        let mut params = io_uring_params {
            flags,
            ..Default::default()
        };
        let args = [entries as usize, &raw mut params as usize, 0, 0, 0, 0];
        // SAFETY: the kernel reads and writes `params`.
        let fd = checked(unsafe { syscall(SYS_io_uring_setup, args) })?;
        // SAFETY: io_uring_setup(2) has just made the descriptor, and no other code knows it.
        let ring = unsafe { File::from_raw_fd(fd as c_int) };
        let entries = params.sq_entries as usize;
        let (sq, cq) = (&params.sq_off, &params.cq_off);
        let sq_end = sq.array as usize + entries * size_of::<u32>();
        let cq_end = cq.cqes as usize + params.cq_entries as usize * size_of::<io_uring_cqe>();
        // Both queues are in one mapping (IORING_FEAT_SINGLE_MMAP, since 5.4).
        let len = sq_end.max(cq_end);
        let queues = Self::map(&ring, IORING_OFF_SQ_RING, len)?;
        let sqes = Self::map(&ring, IORING_OFF_SQES, entries * size_of::<io_uring_sqe>())?;
        // SAFETY: the offsets are the kernel's, and lie within the mapping. No request is in
        // flight, so the kernel writes nothing meanwhile.
        unsafe {
            let word = |offset: u32| queues.add(offset as usize).cast::<u32>();
            for entry in 0..params.sq_entries {
                *word(sq.array).add(entry as usize) = entry;
            }
            Ok(Self {
                sqes: sqes.cast(),
                sq_tail: word(sq.tail),
                sq_mask: *word(sq.ring_mask),
                cqes: queues.add(cq.cqes as usize).cast(),
                cq_head: word(cq.head),
                cq_tail: word(cq.tail),
                cq_mask: *word(cq.ring_mask),
                prepared: 0,
                queues: (queues, len),
                entries: params.sq_entries,
                ring,
            })
        }
    }

    /// Calls io_uring_enter(2). With IORING_ENTER_EXT_ARG `arg` is the address of an argument of
    /// `size` bytes, which the kernel reads.
    fn enter(
        &self,
        submit: u32,
        wait: u32,
        flags: u32,
        arg: usize,
        size: usize,
    ) -> io::Result<u32> {
        let fd = self.ring.as_raw_fd() as usize;
        let args = [
            fd,
            submit as usize,
            wait as usize,
            flags as usize,
            arg,
            size,
        ];
        // SAFETY: the buffers that the entries name live as long as the process. The kernel checks
        // that it can read the argument.
        let taken = checked(unsafe { syscall(SYS_io_uring_enter, args) })?;
        Ok(taken as u32)
    }

    /// Shows the kernel `count` more of the prepared entries.
    fn publish(&mut self, count: u32) {
        // SAFETY: the word is in the mapping, and only this thread writes it.
        unsafe {
            let tail = AtomicU32::from_ptr(self.sq_tail);
            let end = tail.load(Ordering::Relaxed).wrapping_add(count);
            tail.store(end, Ordering::Release);
        }
    }

    /// Takes all results of the queue; returns how many there were.
    fn reap(&mut self, mut each: impl FnMut(u64, i64)) -> usize {
        // SAFETY: the words and entries are in the mapping. The kernel writes the tail, and the
        // entries before it; only this thread writes the head.
        unsafe {
            let head = AtomicU32::from_ptr(self.cq_head);
            let end = AtomicU32::from_ptr(self.cq_tail).load(Ordering::Acquire);
            let start = head.load(Ordering::Relaxed);
            let mut at = start;
            while at != end {
                let cqe = self.cqes.add((at & self.cq_mask) as usize);
                each((*cqe).user_data, (*cqe).res.into());
                at = at.wrapping_add(1);
            }
            head.store(end, Ordering::Release);
            end.wrapping_sub(start) as usize
        }
    }

    fn map(ring: &File, offset: u32, len: usize) -> io::Result<*mut u8> {
        let (prot, fd) = (libc::PROT_READ | libc::PROT_WRITE, ring.as_raw_fd());
        // SAFETY: the kernel chooses where the new mapping is. It stays until the engine is
        // dropped.
        let at = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                prot,
                libc::MAP_SHARED,
                fd,
                offset.into(),
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(at.cast())
    }

    /// Fills in an entry behind the tail for each request.
    fn fill(&mut self, requests: &[Request], fill: impl Fn(&Request, &mut io_uring_sqe)) {
        // SAFETY: the word and the entries are in the mapping. The kernel does not read entries
        // behind the tail, and no batch is larger than the queue.
        unsafe {
            let tail = *self.sq_tail;
            for (i, request) in (0..).zip(requests) {
                let at = (tail.wrapping_add(i) & self.sq_mask) as usize;
                let sqe = &mut *self.sqes.add(at);
                *sqe = Default::default();
                fill(request, sqe);
            }
        }
    }
}

impl Engine for Uring {
    fn prepare(&mut self, requests: &[Request]) {
        self.fill(requests, |request, sqe| {
            sqe.opcode = match request.op {
                Op::Read => IORING_OP_READ,
                Op::Write => IORING_OP_WRITE,
                Op::Fsync => IORING_OP_FSYNC,
                Op::Poll => IORING_OP_POLL_ADD,
                Op::Noop => IORING_OP_NOP,
            } as u8;
            sqe.fd = request.file.as_raw_fd();
            sqe.user_data = request.data;
            match request.op {
                Op::Read | Op::Write => {
                    sqe.__bindgen_anon_1.off = request.offset;
                    sqe.__bindgen_anon_2.addr = request.buffer.address();
                    sqe.len = request.len as u32;
                }
                Op::Poll => sqe.__bindgen_anon_3.poll32_events = POLLIN,
                Op::Fsync | Op::Noop => (),
            }
        });
        self.prepared = requests.len() as u32;
    }

    fn submit(&mut self) -> io::Result<()> {
        self.submit_part(0..self.prepared as usize)
    }

    fn submit_part(&mut self, part: Range<usize>) -> io::Result<()> {
        let mut left = part.len() as u32;
        self.publish(left);
        while left > 0 {
            left -= self.enter(left, 0, 0, 0, 0)?;
        }
        Ok(())
    }

    fn cancel(&mut self, requests: &[Request]) -> io::Result<()> {
        self.fill(requests, |request, sqe| {
            sqe.opcode = IORING_OP_ASYNC_CANCEL as u8;
            sqe.fd = -1;
            sqe.__bindgen_anon_2.addr = request.data;
        });
        self.submit_part(0..requests.len())?;
        // Each request has a result, and each cancel has one: 0.
        self.take(2 * requests.len()).map(|_| ())
    }

    fn wait(&mut self, min: usize, timeout: Duration) -> io::Result<Vec<Event>> {
        let timeout = timespec(timeout);
        let arg = io_uring_getevents_arg {
            ts: ptr::from_ref(&timeout) as u64,
            ..Default::default()
        };
        let flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
        let (at, size) = (ptr::from_ref(&arg) as usize, size_of_val(&arg));
        match self.enter(0, min as u32, flags, at, size) {
            // The time is over.
            Err(e) if e.raw_os_error() != Some(libc::ETIME) => return Err(e),
            _ => (),
        }
        let mut events = Vec::new();
        self.reap(|data, res| events.push((data, res)));
        Ok(events)
    }

    fn take(&mut self, count: usize) -> io::Result<i64> {
        let mut sum = 0;
        let mut got = self.reap(|_, res| sum += res);
        while got < count {
            let left = (count - got) as u32;
            uninterrupted(|| self.enter(0, left, IORING_ENTER_GETEVENTS, 0, 0))?;
            got += self.reap(|_, res| sum += res);
        }
        Ok(sum)
    }

    fn round(&mut self) -> io::Result<i64> {
        let count = self.prepared;
        self.publish(count);
        let taken = self.enter(count, count, IORING_ENTER_GETEVENTS, 0, 0)?;
        if taken != count {
            return Err(io::Error::other("io_uring took a part of the batch"));
        }
        self.take(count as usize)
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // SAFETY: `map` has made both mappings, and no code uses them any more.
        unsafe {
            libc::munmap(self.queues.0.cast(), self.queues.1);
            libc::munmap(
                self.sqes.cast(),
                self.entries as usize * size_of::<io_uring_sqe>(),
            );
        }
    }
}
