// SPDX-License-Identifier: GPL-2.0

//! preadv2(2): what is not asynchronous costs least.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use kaio_sys::syscall::syscall;
use libc::{iovec, SYS_preadv2};

use super::{Engine, Event};
use crate::request::{Op, Request};
use crate::system::checked;

/// Calls preadv2(2) for each read.
#[derive(Default)]
pub struct Preadv2 {
    calls: Vec<(c_int, iovec, u64)>,
}

impl Engine for Preadv2 {
    fn prepare(&mut self, requests: &[Request]) {
        let call = |request: &Request| {
            assert!(request.op == Op::Read);
            let iov = iovec {
                iov_base: request.buffer.address() as *mut c_void,
                iov_len: request.len,
            };
            (request.file.as_raw_fd(), iov, request.offset)
        };
        self.calls.clear();
        self.calls.extend(requests.iter().map(call));
    }

    fn submit(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn wait(&mut self, _min: usize, _timeout: Duration) -> io::Result<Vec<Event>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn take(&mut self, _count: usize) -> io::Result<i64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn round(&mut self) -> io::Result<i64> {
        let mut sum = 0;
        for (fd, iov, offset) in &self.calls {
            let iov = &raw const *iov as usize;
            let args = [*fd as usize, iov, 1, *offset as usize, 0, 0];
            // SAFETY: the buffer lives as long as the process, and only this call uses it.
            sum += checked(unsafe { syscall(SYS_preadv2, args) })? as i64;
        }
        Ok(sum)
    }
}
