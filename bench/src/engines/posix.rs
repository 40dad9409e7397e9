// SPDX-License-Identifier: GPL-2.0

//! POSIX AIO of glibc: threads of the process read and write.

use std::ffi::c_void;
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Duration;

use libc::{aio_error, aio_fsync, aio_read, aio_return, aio_suspend, aio_write, aiocb, timespec};

use super::{Engine, Event};
use crate::request::{Op, Request};
use crate::system::outcome;

/// The blocks of a batch, with operation and data of each.
#[derive(Default)]
pub struct Posix {
    blocks: Vec<(Op, u64, aiocb)>,
    /// The first block whose result was not taken.
    next: usize,
}

impl Posix {
    /// Starts a request.
    fn start(op: Op, block: &mut aiocb) -> io::Result<()> {
        // SAFETY: the block is in a vector that does not change until the result is taken, and its
        // buffer lives as long as the process.
        outcome(unsafe {
            match op {
                Op::Read => aio_read(block),
                Op::Write => aio_write(block),
                Op::Fsync => aio_fsync(libc::O_SYNC, block),
                Op::Poll | Op::Noop => return Err(io::ErrorKind::Unsupported.into()),
            }
        })
        .map(|_| ())
    }

    /// Waits until the request has ended; returns its result, or `None` if the time is over.
    fn end(block: &mut aiocb, timeout: *const timespec) -> io::Result<Option<i64>> {
        let list = [ptr::from_ref(block)];
        // SAFETY: `start` has started the request. The caller asks for its result once.
        unsafe {
            while aio_error(block) == libc::EINPROGRESS {
                if aio_suspend(list.as_ptr(), 1, timeout) == -1 {
                    match io::Error::last_os_error() {
                        e if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                        e if e.kind() == io::ErrorKind::Interrupted => (),
                        e => return Err(e),
                    }
                }
            }
            match aio_error(block) {
                0 => Ok(Some(aio_return(block) as i64)),
                e => Err(io::Error::from_raw_os_error(e)),
            }
        }
    }
}

impl Engine for Posix {
    fn prepare(&mut self, requests: &[Request]) {
        let block = |request: &Request| {
            // SAFETY: the struct has integers, and pointers that may be null.
            let mut block: aiocb = unsafe { zeroed() };
            block.aio_fildes = request.file.as_raw_fd();
            block.aio_buf = request.buffer.address() as *mut c_void;
            block.aio_nbytes = request.len;
            block.aio_offset = request.offset as i64;
            block.aio_sigevent.sigev_notify = libc::SIGEV_NONE;
            (request.op, request.data, block)
        };
        self.blocks.clear();
        self.blocks.extend(requests.iter().map(block));
    }

    fn submit(&mut self) -> io::Result<()> {
        self.next = 0;
        for (op, _, block) in &mut self.blocks {
            Self::start(*op, block)?;
        }
        Ok(())
    }

    fn wait(&mut self, min: usize, timeout: Duration) -> io::Result<Vec<Event>> {
        let timeout = timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut events = Vec::new();
        while events.len() < min {
            let (_, data, block) = &mut self.blocks[self.next];
            let Some(res) = Self::end(block, &timeout)? else {
                break;
            };
            events.push((*data, res));
            self.next += 1;
        }
        Ok(events)
    }

    fn take(&mut self, count: usize) -> io::Result<i64> {
        let mut sum = 0;
        for (_, _, block) in &mut self.blocks[self.next..][..count] {
            sum += Self::end(block, ptr::null())?.ok_or(io::ErrorKind::TimedOut)?;
        }
        self.next += count;
        Ok(sum)
    }

    fn round(&mut self) -> io::Result<i64> {
        self.submit()?;
        self.take(self.blocks.len())
    }
}
