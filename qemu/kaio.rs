// SPDX-License-Identifier: GPL-2.0

//! What the programs of this folder need of `/dev/kaio`: requests, the ioctls, the ring.

use std::alloc::{alloc_zeroed, Layout};
use std::ffi::{c_int, c_ulong, c_void};
use std::fs::File;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The structs of include/uapi/linux/kaio.h and of linux/io_uring.h, by bindgen.
#[allow(
    dead_code,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals
)]
pub mod uapi {
    include!(env!("KAIO_UAPI_RS"));
}
use uapi::*;

extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
}

/// The macros `_IOR` and so on, which bindgen does not translate.
const fn number<T>(dir: c_ulong, nr: c_ulong) -> c_ulong {
    dir << 30 | (size_of::<T>() as c_ulong) << 16 | (KAIO_IOC_MAGIC as c_ulong) << 8 | nr
}
const QUERY: c_ulong = number::<kaio_query>(3, 0);
const SETUP: c_ulong = number::<kaio_setup>(3, 1);
const DESTROY: c_ulong = number::<kaio_destroy>(3, 2);
const SUBMIT: c_ulong = number::<kaio_submit>(3, 3);
const GETEVENTS: c_ulong = number::<kaio_getevents>(3, 4);

/// Memory for one request, aligned as O_DIRECT asks. It lives as long as the process.
pub struct Buffer {
    memory: *mut u8,
    len: usize,
}

impl Buffer {
    pub fn new(len: usize) -> Self {
        assert!(len > 0);
        let layout = Layout::from_size_align(len, 4096).expect("a length that can be rounded up");
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) };
        assert!(!memory.is_null());
        Self { memory, len }
    }

    pub fn address(&self) -> u64 {
        self.memory as u64
    }

    /// What is in it. Not while a request uses it.
    #[allow(dead_code)]
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `len` bytes, allocated and zeroed, and nobody else's.
        unsafe { std::slice::from_raw_parts_mut(self.memory, self.len) }
    }
}

/// What a request is to do.
#[derive(Clone, Copy, PartialEq)]
pub enum Op {
    Read,
    Write,
    #[allow(dead_code)]
    Fsync,
}

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
    /// As io_submit(2) and KAIO_SUBMIT want it.
    pub fn iocb(&self) -> iocb {
        // SAFETY: integers.
        let mut iocb: iocb = unsafe { zeroed() };
        iocb.aio_lio_opcode = match self.op {
            Op::Read => IOCB_CMD_PREAD as u16,
            Op::Write => IOCB_CMD_PWRITE as u16,
            Op::Fsync => IOCB_CMD_FSYNC as u16,
        };
        iocb.aio_fildes = self.file.as_raw_fd() as u32;
        iocb.aio_data = self.data;
        if self.op != Op::Fsync {
            iocb.aio_buf = self.buffer.address();
            iocb.aio_nbytes = self.len as u64;
            iocb.aio_offset = self.offset as i64;
        }
        iocb
    }
}

/// What system calls take as a relative time.
pub fn timespec(time: Duration) -> __kernel_timespec {
    __kernel_timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// How many events one call takes at most.
pub const EVENTS: usize = 512;

/// A context.
pub struct Context<'a> {
    device: &'a File,
    id: u64,
    events: Vec<io_event>,
    pub in_flight: usize,
    pub most_in_flight: usize,
    pub requests: u64,
}

#[allow(dead_code)] // each program uses a part
impl<'a> Context<'a> {
    fn call<T>(device: &File, request: c_ulong, arg: &mut T) -> io::Result<usize> {
        // SAFETY: `arg` is the struct that `request` names; the pointers in it are valid.
        let ret = unsafe { ioctl(device.as_raw_fd(), request, arg as *mut T as *mut c_void) };
        usize::try_from(ret).map_err(|_| io::Error::last_os_error())
    }

    /// What the module says it can do, in words.
    pub fn describe(device: &File) -> io::Result<String> {
        // SAFETY: integers.
        let mut query: kaio_query = unsafe { zeroed() };
        Self::call(device, QUERY, &mut query)?;
        Ok(format!(
            "ABI version {}, {} operations, room for {} requests",
            query.version,
            query.opcodes.count_ones(),
            query.max_nr
        ))
    }

    pub fn new(device: &'a File, requests: u32) -> io::Result<Self> {
        let mut setup = kaio_setup {
            nr_events: requests,
            flags: 0,
            ctx_id: 0,
        };
        Self::call(device, SETUP, &mut setup)?;
        let id = setup.ctx_id;
        Ok(Self {
            device,
            id,
            // SAFETY: integers.
            events: vec![unsafe { zeroed() }; EVENTS],
            in_flight: 0,
            most_in_flight: 0,
            requests: 0,
        })
    }

    /// Submits one request. The buffer must be left alone until its event comes.
    pub fn submit(&mut self, request: &Request) -> io::Result<()> {
        let mut iocb = request.iocb();
        self.submit_iocbs(&[&raw mut iocb]).map(|_| ())
    }

    /// Submits a batch; says how many were taken. They point at iocbs.
    pub fn submit_iocbs(&mut self, pointers: &[*mut iocb]) -> io::Result<usize> {
        let mut submit = kaio_submit {
            ctx_id: self.id,
            nr: pointers.len() as i64,
            iocbpp: pointers.as_ptr() as u64,
            flags: 0,
            error: 0,
        };
        let taken = Self::call(self.device, SUBMIT, &mut submit)?;
        self.requests += taken as u64;
        self.in_flight += taken;
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        Ok(taken)
    }

    /// Takes events by ioctl, at least `min` unless the time is over: (data, result) of each.
    pub fn wait(&mut self, min: usize, timeout: Option<Duration>) -> io::Result<Vec<(u64, i64)>> {
        let timeout = timeout.map(timespec);
        // SAFETY: integers.
        let mut get: kaio_getevents = unsafe { zeroed() };
        get.ctx_id = self.id;
        get.min_nr = min as i64;
        get.nr = self.events.len() as i64;
        get.events = self.events.as_mut_ptr() as u64;
        get.timeout = timeout.as_ref().map_or(0, |t| ptr::from_ref(t) as u64);
        let got = Self::call(self.device, GETEVENTS, &mut get)?;
        self.in_flight -= got;
        Ok(self.events[..got].iter().map(|e| (e.data, e.res)).collect())
    }

    /// Takes what is in the ring, without a system call.
    pub fn reap(&mut self) -> Vec<(u64, i64)> {
        let ring = self.id as *mut kaio_ring;
        let mut events = Vec::new();
        // SAFETY: the id is the address of the ring, which stays mapped as long as the context.
        // The kernel writes `tail` and the events before it, we write `head`.
        unsafe {
            let tail = AtomicU32::from_ptr(&raw mut (*ring).tail);
            let head = AtomicU32::from_ptr(&raw mut (*ring).head);
            let mut at = head.load(Ordering::Relaxed);
            let end = tail.load(Ordering::Acquire);
            while at != end {
                let first = (ring as *const u8).add((*ring).header_length as usize);
                let event = ptr::read((first as *const io_event).add(at as usize));
                events.push((event.data, event.res));
                at = (at + 1) % (*ring).nr;
            }
            head.store(at, Ordering::Release);
        }
        self.in_flight -= events.len();
        events
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        let mut destroy = kaio_destroy {
            ctx_id: self.id,
            flags: 0,
            __reserved: 0,
        };
        let _ = Self::call(self.device, DESTROY, &mut destroy);
    }
}
