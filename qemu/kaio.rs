// SPDX-License-Identifier: GPL-2.0

//! What the programs of this folder need of `/dev/kaio`: requests, the ioctls, the ring.

use std::alloc::{alloc_zeroed, Layout};
use std::ffi::{c_long, c_ulong};
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
    /// For ioctl(2) too: it costs all engines the same then.
    pub fn syscall(number: c_long, ...) -> c_long;
}

/// What a system call returned.
pub fn outcome(ret: c_long) -> io::Result<usize> {
    usize::try_from(ret).map_err(|_| io::Error::last_os_error())
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
const CANCEL: c_ulong = number::<kaio_cancel>(3, 5);
const SUBMIT_WAIT: c_ulong = number::<kaio_submit_wait>(3, 6);

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
#[allow(dead_code)] // each program uses a part
pub enum Op {
    Read,
    Write,
    Fsync,
    /// Until the file can be read.
    Poll,
    Noop,
}

/// For poll(2).
pub const POLLIN: u32 = 1;

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
            Op::Poll => IOCB_CMD_POLL as u16,
            Op::Noop => IOCB_CMD_NOOP as u16,
        };
        iocb.aio_fildes = self.file.as_raw_fd() as u32;
        iocb.aio_data = self.data;
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

    /// Its result, if all is well.
    #[allow(dead_code)]
    pub fn result(&self) -> i64 {
        match self.op {
            Op::Read | Op::Write => self.len as i64,
            Op::Poll => POLLIN.into(),
            Op::Fsync | Op::Noop => 0,
        }
    }
}

/// What system calls take as a relative time.
pub fn timespec(time: Duration) -> __kernel_timespec {
    __kernel_timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// It is under way: what a cancel says that worked.
pub const EINPROGRESS: i32 = 115;

/// How many events one call takes at most.
pub const EVENTS: usize = 512;

/// Takes what is in the ring of a context, kaio's or native, without a system call. Says how many.
///
/// # Safety
///
/// `ring` is the address of such a ring, which stays mapped meanwhile; nobody else takes events.
pub unsafe fn reap_ring(ring: u64, mut each: impl FnMut(u64, i64)) -> usize {
    let ring = ring as *mut kaio_ring;
    let mut count = 0;
    // SAFETY: the kernel writes `tail` and the events before it, we write `head`.
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
    events: Vec<io_event>,
    pub in_flight: usize,
    pub most_in_flight: usize,
    pub requests: u64,
}

#[allow(dead_code)] // each program uses a part
impl<'a> Context<'a> {
    fn call<T>(device: &File, request: c_ulong, arg: &mut T) -> io::Result<usize> {
        // SAFETY: `arg` is the struct that `request` names; the pointers in it are valid.
        outcome(unsafe {
            syscall(
                __NR_ioctl.into(),
                device.as_raw_fd(),
                request,
                arg as *mut T,
            )
        })
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

    fn getevents(&mut self, min: usize, max: usize, timeout: u64) -> io::Result<usize> {
        assert!(max <= self.events.len());
        // SAFETY: integers.
        let mut get: kaio_getevents = unsafe { zeroed() };
        get.ctx_id = self.id;
        get.min_nr = min as i64;
        get.nr = max as i64;
        get.events = self.events.as_mut_ptr() as u64;
        get.timeout = timeout;
        let got = Self::call(self.device, GETEVENTS, &mut get)?;
        self.in_flight -= got;
        Ok(got)
    }

    /// Takes events by ioctl, at least `min` unless the time is over: (data, result) of each.
    pub fn wait(&mut self, min: usize, timeout: Option<Duration>) -> io::Result<Vec<(u64, i64)>> {
        let timeout = timeout.map(timespec);
        let timeout = timeout.as_ref().map_or(0, |t| ptr::from_ref(t) as u64);
        let got = self.getevents(min, self.events.len(), timeout)?;
        Ok(self.events[..got].iter().map(|e| (e.data, e.res)).collect())
    }

    /// Takes `count` events by ioctl, and sleeps until there are so many.
    pub fn take(&mut self, count: usize, mut each: impl FnMut(u64, i64)) -> io::Result<usize> {
        let got = self.getevents(count, count, 0)?;
        self.events[..got].iter().for_each(|e| each(e.data, e.res));
        Ok(got)
    }

    /// Waits until there are `count` events in the ring, and leaves them there.
    pub fn peek(&mut self, count: usize) -> io::Result<usize> {
        // SAFETY: integers.
        let mut get: kaio_getevents = unsafe { zeroed() };
        get.ctx_id = self.id;
        get.min_nr = count as i64;
        get.nr = count as i64;
        get.flags = KAIO_GETEVENTS_PEEK;
        Self::call(self.device, GETEVENTS, &mut get)
    }

    /// Submits a batch and waits until there are as many events in the ring: one call.
    pub fn submit_and_peek(&mut self, pointers: &[*mut iocb]) -> io::Result<()> {
        let count = pointers.len();
        let mut arg = kaio_submit_wait {
            ctx_id: self.id,
            nr: count as i64,
            iocbpp: pointers.as_ptr() as u64,
            min_nr: count as i64,
            nr_events: count as i64,
            events: 0,
            timeout: 0,
            sigmask: 0,
            sigsetsize: 0,
            submitted: 0,
            flags: KAIO_GETEVENTS_PEEK,
            error: 0,
        };
        Self::call(self.device, SUBMIT_WAIT, &mut arg)?;
        if arg.submitted != count as u64 {
            return Err(io::Error::from_raw_os_error(-arg.error));
        }
        self.requests += count as u64;
        self.in_flight += count;
        Ok(())
    }

    /// Gives a request up.
    pub fn cancel(&mut self, iocb: *mut iocb) -> io::Result<()> {
        let mut cancel = kaio_cancel {
            ctx_id: self.id,
            iocb: iocb as u64,
            flags: 0,
            ended: 0,
        };
        match Self::call(self.device, CANCEL, &mut cancel) {
            Err(e) if e.raw_os_error() == Some(EINPROGRESS) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Takes what is in the ring, without a system call.
    pub fn reap(&mut self) -> Vec<(u64, i64)> {
        let mut events = Vec::new();
        self.reap_each(|data, res| events.push((data, res)));
        events
    }

    pub fn reap_each(&mut self, each: impl FnMut(u64, i64)) -> usize {
        // SAFETY: the id is the address of the ring, which stays mapped as long as the context.
        let count = unsafe { reap_ring(self.id, each) };
        self.in_flight -= count;
        count
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
