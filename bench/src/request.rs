// SPDX-License-Identifier: GPL-2.0

//! Requests, as all engines take them.

use std::alloc::{alloc_zeroed, Layout};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::slice;

use kaio_sys::uapi::{
    iocb, IOCB_CMD_FSYNC, IOCB_CMD_NOOP, IOCB_CMD_POLL, IOCB_CMD_PREAD, IOCB_CMD_PWRITE,
};

/// Memory for one request, aligned as O_DIRECT asks. It is never freed, so that a request can use
/// it as long as the process lives.
pub struct Buffer {
    memory: *mut u8,
    len: usize,
}

impl Buffer {
    /// Allocates `len` bytes of zeroes.
    pub fn new(len: usize) -> Self {
        assert!(len > 0);
        let layout = Layout::from_size_align(len, 4096).expect("a length that can be rounded up");
        // SAFETY: `len` is not 0, so the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) };
        assert!(!memory.is_null());
        Self { memory, len }
    }

    /// Returns the address of the first byte.
    pub fn address(&self) -> u64 {
        self.memory as u64
    }

    /// Returns the bytes. No request may use the buffer meanwhile.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `new` allocated and zeroed `len` bytes, and only this value has their address.
        unsafe { slice::from_raw_parts_mut(self.memory, self.len) }
    }
}

/// The operation of a request.
#[derive(Clone, Copy, PartialEq)]
pub enum Op {
    Read,
    Write,
    Fsync,
    /// Waits until the file can be read.
    Poll,
    Noop,
}

/// The event of poll(2) that `Op::Poll` waits for.
pub const POLLIN: u32 = libc::POLLIN as u32;

/// A request for `len` bytes of its buffer. Its event carries `data`.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub op: Op,
    pub file: &'a File,
    pub buffer: &'a Buffer,
    pub len: usize,
    pub offset: u64,
    pub data: u64,
}

impl Request<'_> {
    /// Returns the request as io_submit(2) and KAIO_SUBMIT take it.
    pub fn iocb(&self) -> iocb {
        let mut iocb = iocb {
            aio_lio_opcode: match self.op {
                Op::Read => IOCB_CMD_PREAD as u16,
                Op::Write => IOCB_CMD_PWRITE as u16,
                Op::Fsync => IOCB_CMD_FSYNC as u16,
                Op::Poll => IOCB_CMD_POLL as u16,
                Op::Noop => IOCB_CMD_NOOP as u16,
            },
            aio_fildes: self.file.as_raw_fd() as u32,
            aio_data: self.data,
            ..Default::default()
        };
        match self.op {
            Op::Read | Op::Write => {
                iocb.aio_buf = self.buffer.address();
                iocb.aio_nbytes = self.len as u64;
                iocb.aio_offset = self.offset as i64;
            }
            Op::Poll => iocb.aio_buf = POLLIN.into(),
            Op::Fsync | Op::Noop => (),
        }
        iocb
    }

    /// Returns the result that the request has if the operation succeeds.
    pub fn result(&self) -> i64 {
        match self.op {
            Op::Read | Op::Write => self.len as i64,
            Op::Poll => POLLIN.into(),
            Op::Fsync | Op::Noop => 0,
        }
    }
}
