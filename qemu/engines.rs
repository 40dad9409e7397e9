// SPDX-License-Identifier: GPL-2.0

//! The three engines that `kaio-compare` compares, behind one interface; all that is unsafe in it.

use std::ffi::{c_int, c_long, c_void};
use std::fs::File;
use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::kaio::uapi::*;
use crate::kaio::{timespec, Context, Op, Request, EVENTS};

extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn mmap(
        addr: *mut c_void,
        len: usize,
        prot: c_int,
        flags: c_int,
        fd: c_int,
        offset: i64,
    ) -> *mut c_void;
    fn sched_setscheduler(pid: c_int, policy: c_int, param: *const c_int) -> c_int;
    fn pipe2(ends: *mut c_int, flags: c_int) -> c_int;
    #[link_name = "sync"]
    fn sync_all();
}
const O_CLOEXEC: c_int = 0o2000000;
const SCHED_FIFO: c_int = 1;
const SCHED_RESET_ON_FORK: c_int = 0x4000_0000;
const PROT_READ_WRITE: c_int = 3;
const MAP_SHARED: c_int = 1;

fn outcome(ret: c_long) -> io::Result<usize> {
    usize::try_from(ret).map_err(|_| io::Error::last_os_error())
}

/// What is dirty goes to its device.
pub fn sync() {
    // SAFETY: it takes nothing.
    unsafe { sync_all() }
}

/// From now on this thread goes before all others, also those that it makes (io_uring's workers).
pub fn go_first() -> io::Result<()> {
    let priority: c_int = 1;
    // SAFETY: struct sched_param is one int.
    let ret = unsafe { sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority) };
    outcome(ret.into()).map(|_| ())
}

/// The ends to read and to write. (std has pipes since Rust 1.87.)
pub fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: two numbers are written. The descriptors are new, and nobody else's.
    unsafe {
        outcome(pipe2(ends.as_mut_ptr(), O_CLOEXEC).into())?;
        Ok((File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])))
    }
}

/// Data and result of a request.
pub type Event = (u64, i64);

/// A way to have requests done.
pub trait Engine {
    /// Writes requests down for `submit`.
    fn prepare(&mut self, requests: &[Request]);

    /// Submits what was prepared. This is the call that ought not to block.
    fn submit(&mut self) -> io::Result<()>;

    /// Waits for `min` results, or until the time is over; takes all that there are.
    fn wait(&mut self, min: usize, timeout: Duration) -> io::Result<Vec<Event>>;
}

/// A batch of iocbs, as both kinds of AIO want it.
#[derive(Default)]
struct Batch {
    iocbs: Vec<iocb>,
    pointers: Vec<*mut iocb>,
}

impl Batch {
    fn prepare(&mut self, requests: &[Request]) {
        self.iocbs = requests.iter().map(Request::iocb).collect();
        self.pointers = self.iocbs.iter_mut().map(ptr::from_mut).collect();
    }

    /// Has `some` take from what is left, until nothing is.
    fn submit(&self, mut some: impl FnMut(&[*mut iocb]) -> io::Result<usize>) -> io::Result<()> {
        let mut left = &self.pointers[..];
        while !left.is_empty() {
            left = &left[some(left)?..];
        }
        Ok(())
    }
}

/// `/dev/kaio`.
pub struct Kaio<'a> {
    context: Context<'a>,
    batch: Batch,
}

impl<'a> Kaio<'a> {
    pub fn new(device: &'a File) -> io::Result<Self> {
        Ok(Self {
            context: Context::new(device, EVENTS as u32)?,
            batch: Batch::default(),
        })
    }
}

impl Engine for Kaio<'_> {
    fn prepare(&mut self, requests: &[Request]) {
        self.batch.prepare(requests);
    }

    fn submit(&mut self) -> io::Result<()> {
        self.batch.submit(|some| self.context.submit_iocbs(some))
    }

    fn wait(&mut self, min: usize, timeout: Duration) -> io::Result<Vec<Event>> {
        self.context.wait(min, Some(timeout))
    }
}

/// `io_submit(2)`.
pub struct Native {
    context: u64,
    batch: Batch,
    events: Vec<io_event>,
}

impl Native {
    pub fn new() -> io::Result<Self> {
        let mut context = 0u64;
        // SAFETY: `context` is where the id is written.
        outcome(unsafe { syscall(__NR_io_setup.into(), EVENTS, &raw mut context) })?;
        Ok(Self {
            context,
            batch: Batch::default(),
            // SAFETY: integers.
            events: vec![unsafe { zeroed() }; EVENTS],
        })
    }
}

impl Engine for Native {
    fn prepare(&mut self, requests: &[Request]) {
        self.batch.prepare(requests);
    }

    fn submit(&mut self) -> io::Result<()> {
        self.batch.submit(|some| {
            // SAFETY: they point at iocbs, and those at buffers that live as long as the process.
            outcome(unsafe {
                syscall(
                    __NR_io_submit.into(),
                    self.context,
                    some.len(),
                    some.as_ptr(),
                )
            })
        })
    }

    fn wait(&mut self, min: usize, timeout: Duration) -> io::Result<Vec<Event>> {
        let timeout = timespec(timeout);
        // SAFETY: there is room for as many events as are asked for.
        let got = outcome(unsafe {
            syscall(
                __NR_io_getevents.into(),
                self.context,
                min,
                self.events.len(),
                self.events.as_mut_ptr(),
                &raw const timeout,
            )
        })?;
        Ok(self.events[..got].iter().map(|e| (e.data, e.res)).collect())
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: a number. It waits until no buffer is in use.
        unsafe { syscall(__NR_io_destroy.into(), self.context) };
    }
}

/// io_uring, set up as liburing's `io_uring_queue_init(entries, &ring, 0)` does.
pub struct Uring {
    ring: File,
    sqes: *mut io_uring_sqe,
    sq_tail: *mut u32,
    sq_mask: u32,
    cqes: *const io_uring_cqe,
    cq_head: *mut u32,
    cq_tail: *mut u32,
    cq_mask: u32,
    prepared: u32,
}

impl Uring {
    pub fn new() -> io::Result<Self> {
        // SAFETY: integers.
        let mut params: io_uring_params = unsafe { zeroed() };
        // SAFETY: the parameters are read and written.
        let fd = outcome(unsafe { syscall(__NR_io_uring_setup.into(), EVENTS, &raw mut params) })?;
        // SAFETY: the descriptor is new, and nobody else's.
        let ring = unsafe { File::from_raw_fd(fd as c_int) };
        let entries = params.sq_entries as usize;
        let (sq, cq) = (&params.sq_off, &params.cq_off);
        let sq_end = sq.array as usize + entries * size_of::<u32>();
        let cq_end = cq.cqes as usize + params.cq_entries as usize * size_of::<io_uring_cqe>();
        // Both queues are in one mapping (IORING_FEAT_SINGLE_MMAP, since 5.4).
        let queues = Self::map(&ring, IORING_OFF_SQ_RING, sq_end.max(cq_end))?;
        let sqes = Self::map(&ring, IORING_OFF_SQES, entries * size_of::<io_uring_sqe>())?;
        // SAFETY: the kernel says where in the mapping they are. Nothing is in flight, so nothing
        // is written meanwhile.
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
                ring,
            })
        }
    }

    fn map(ring: &File, offset: u32, len: usize) -> io::Result<*mut u8> {
        let fd = ring.as_raw_fd();
        // SAFETY: a new mapping; it stays until the process ends.
        let at = unsafe {
            mmap(
                ptr::null_mut(),
                len,
                PROT_READ_WRITE,
                MAP_SHARED,
                fd,
                offset.into(),
            )
        };
        if at as isize == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(at.cast())
    }
}

impl Engine for Uring {
    fn prepare(&mut self, requests: &[Request]) {
        // SAFETY: both words are in the mapping; the entries after the tail are ours, and there are
        // more of them than anybody prepares at once.
        unsafe {
            let tail = *self.sq_tail;
            for (i, request) in requests.iter().enumerate() {
                let index = tail.wrapping_add(i as u32) & self.sq_mask;
                let sqe = &mut *self.sqes.add(index as usize);
                *sqe = zeroed();
                sqe.opcode = match request.op {
                    Op::Read => io_uring_op_IORING_OP_READ,
                    Op::Write => io_uring_op_IORING_OP_WRITE,
                    Op::Fsync => io_uring_op_IORING_OP_FSYNC,
                } as u8;
                sqe.fd = request.file.as_raw_fd();
                sqe.user_data = request.data;
                if request.op != Op::Fsync {
                    sqe.__bindgen_anon_1.off = request.offset;
                    sqe.__bindgen_anon_2.addr = request.buffer.address();
                    sqe.len = request.len as u32;
                }
            }
        }
        self.prepared = requests.len() as u32;
    }

    fn submit(&mut self) -> io::Result<()> {
        // SAFETY: the word is in the mapping, and only we write it.
        unsafe {
            let tail = AtomicU32::from_ptr(self.sq_tail);
            let end = tail.load(Ordering::Relaxed).wrapping_add(self.prepared);
            tail.store(end, Ordering::Release);
        }
        while self.prepared > 0 {
            // SAFETY: numbers; what the entries point at lives as long as the process.
            let taken = outcome(unsafe {
                syscall(
                    __NR_io_uring_enter.into(),
                    self.ring.as_raw_fd(),
                    self.prepared,
                    0,
                    0,
                    ptr::null::<c_void>(),
                    0usize,
                )
            })?;
            self.prepared -= taken as u32;
        }
        Ok(())
    }

    fn wait(&mut self, min: usize, timeout: Duration) -> io::Result<Vec<Event>> {
        let timeout = timespec(timeout);
        // SAFETY: integers.
        let mut arg: io_uring_getevents_arg = unsafe { zeroed() };
        arg.ts = ptr::from_ref(&timeout) as u64;
        // SAFETY: the argument and the time in it are read.
        let ret = outcome(unsafe {
            syscall(
                __NR_io_uring_enter.into(),
                self.ring.as_raw_fd(),
                0,
                min as u32,
                IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
                &raw const arg,
                size_of_val(&arg),
            )
        });
        match ret {
            Err(e) if e.raw_os_error() != Some(ETIME) => return Err(e),
            _ => (),
        }
        let mut events = Vec::new();
        // SAFETY: the words and entries are in the mapping. The kernel writes the tail and the
        // entries before it, we write the head.
        unsafe {
            let head = AtomicU32::from_ptr(self.cq_head);
            let end = AtomicU32::from_ptr(self.cq_tail).load(Ordering::Acquire);
            let mut at = head.load(Ordering::Relaxed);
            while at != end {
                let cqe = self.cqes.add((at & self.cq_mask) as usize);
                events.push(((*cqe).user_data, (*cqe).res.into()));
                at = at.wrapping_add(1);
            }
            head.store(end, Ordering::Release);
        }
        Ok(events)
    }
}

/// The time is over: how io_uring says it.
const ETIME: i32 = 62;
