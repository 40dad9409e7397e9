// SPDX-License-Identifier: GPL-2.0

//! The engines that `kaio-compare` and `kaio-bench` compare, behind one interface; all that is unsafe
//! in it.

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io;
use std::mem::{size_of, size_of_val, zeroed, MaybeUninit};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::kaio::uapi::*;
use crate::kaio::{
    outcome, reap_ring, syscall, timespec, Context, Op, Request, EINPROGRESS, EVENTS, POLLIN,
};

extern "C" {
    fn mmap(
        addr: *mut c_void,
        len: usize,
        prot: c_int,
        flags: c_int,
        fd: c_int,
        offset: i64,
    ) -> *mut c_void;
    fn munmap(addr: *mut c_void, len: usize) -> c_int;
    fn sched_setscheduler(pid: c_int, policy: c_int, param: *const c_int) -> c_int;
    fn pipe2(ends: *mut c_int, flags: c_int) -> c_int;
    #[link_name = "sync"]
    fn sync_all();
}
const O_CLOEXEC: c_int = 0o2000000;
const O_SYNC: c_int = 0o4010000;
const SCHED_FIFO: c_int = 1;
const SCHED_IDLE: c_int = 5;
const SCHED_RESET_ON_FORK: c_int = 0x4000_0000;
const PROT_READ_WRITE: c_int = 3;
const MAP_SHARED: c_int = 1;

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

/// An eventfd; one that is not 0 can be read.
#[allow(dead_code)] // each program uses a part
pub fn eventfd(value: u32) -> io::Result<File> {
    // SAFETY: numbers. The descriptor is new, and nobody else's.
    unsafe {
        let fd = outcome(syscall(__NR_eventfd2.into(), value, O_CLOEXEC))?;
        Ok(File::from_raw_fd(fd as c_int))
    }
}

/// The time stamp counter: under QEMU's icount, instructions and idle nanoseconds.
#[allow(dead_code)] // each program uses a part
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 CPU has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// What CPU time is left over on a guest with one CPU: a thread of the lowest priority counts it. Of
/// two at once each would have a part, so it ends when this is dropped.
#[allow(dead_code)] // each program uses a part
pub struct Leftover {
    /// Counts down; the thread ends at 0.
    turns: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

#[allow(dead_code)]
impl Leftover {
    pub fn new() -> io::Result<Self> {
        let turns = Arc::new(AtomicU64::new(u64::MAX));
        let (ready, told) = std::sync::mpsc::channel();
        let count = turns.clone();
        let thread = std::thread::spawn(move || {
            let priority: c_int = 0;
            // SAFETY: struct sched_param is one int.
            let ret = unsafe { sched_setscheduler(0, SCHED_IDLE, &priority) };
            let made = outcome(ret.into());
            let all_well = made.is_ok();
            let _ = ready.send(made);
            if all_well {
                // SAFETY: the word is `count`'s, which lives longer, and atomic: on one CPU an
                // instruction is not interrupted.
                unsafe {
                    std::arch::asm!("2: dec qword ptr [{0}]", "jnz 2b", in(reg) count.as_ptr());
                }
            }
        });
        told.recv().map_err(io::Error::other)??;
        Ok(Self {
            turns,
            thread: Some(thread),
        })
    }

    /// Ticks under icount: the two instructions of each turn, and none of an interrupt's.
    pub fn ticks(&self) -> u64 {
        (u64::MAX - self.turns.load(Ordering::Relaxed)) * 2
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        self.turns.store(1, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Data and result of a request.
pub type Event = (u64, i64);

/// A way to have requests done.
#[allow(dead_code)] // each program uses a part
pub trait Engine {
    /// Writes requests down for `submit`.
    fn prepare(&mut self, requests: &[Request]);

    /// Submits what was prepared. This is the call that ought not to block.
    fn submit(&mut self) -> io::Result<()>;

    /// Submits some of what was prepared; one part after another.
    fn submit_part(&mut self, _part: Range<usize>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Cancels all of these, which wait for ever, and takes their results.
    fn cancel(&mut self, _requests: &[Request]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Waits for `min` results, or until the time is over; takes all that there are.
    fn wait(&mut self, min: usize, timeout: Duration) -> io::Result<Vec<Event>>;

    /// Takes `count` results, and sleeps until there are so many. Returns their sum.
    fn take(&mut self, count: usize) -> io::Result<i64>;

    /// Submits what was prepared and takes all results, in as few steps as the engine can.
    fn round(&mut self) -> io::Result<i64>;

    /// That many rounds, for which the requests are written down anew, as programs do. Without a
    /// call through a table for each of them.
    fn rounds(&mut self, requests: &[Request], count: usize) -> io::Result<i64> {
        let mut sum = 0;
        for _ in 0..count {
            self.prepare(requests);
            sum += self.round()?;
        }
        Ok(sum)
    }
}

/// A batch of iocbs, as both kinds of AIO want it.
#[derive(Default)]
struct Batch {
    iocbs: Vec<iocb>,
    pointers: Vec<*mut iocb>,
}

impl Batch {
    fn prepare(&mut self, requests: &[Request]) {
        self.iocbs.clear();
        self.iocbs.extend(requests.iter().map(Request::iocb));
        if self.pointers.len() != self.iocbs.len() {
            self.pointers = self.iocbs.iter_mut().map(ptr::from_mut).collect();
        }
    }

    /// Has `some` take from what is left of that part, until nothing is.
    fn submit(
        &self,
        part: Range<usize>,
        mut some: impl FnMut(&[*mut iocb]) -> io::Result<usize>,
    ) -> io::Result<()> {
        let mut left = &self.pointers[part];
        while !left.is_empty() {
            left = &left[some(left)?..];
        }
        Ok(())
    }
}

/// Once more if a signal, or task work of a ring that was closed, ended the call.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            other => return other,
        }
    }
}

/// How a program gets its results.
#[allow(dead_code)] // each program uses a part
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    /// A system call copies them.
    Call,
    /// It takes them from the ring.
    Ring,
    /// It takes them from the ring; the call that submits waits for them.
    OneCall,
}

/// `/dev/kaio`.
pub struct Kaio<'a> {
    context: Context<'a>,
    batch: Batch,
    way: Way,
}

impl<'a> Kaio<'a> {
    pub fn new(device: &'a File, entries: u32, way: Way) -> io::Result<Self> {
        Ok(Self {
            context: Context::new(device, entries)?,
            batch: Batch::default(),
            way,
        })
    }

    /// Makes the same context for other threads, which take events by the call.
    #[allow(dead_code)] // each program uses a part
    pub fn share(&self) -> impl Fn() -> Self + Sync + use<'a> {
        let context = self.context.share();
        move || Self {
            context: context(),
            batch: Batch::default(),
            way: Way::Call,
        }
    }
}

impl Engine for Kaio<'_> {
    fn prepare(&mut self, requests: &[Request]) {
        self.batch.prepare(requests);
    }

    fn submit(&mut self) -> io::Result<()> {
        self.submit_part(0..self.batch.pointers.len())
    }

    fn submit_part(&mut self, part: Range<usize>) -> io::Result<()> {
        self.batch
            .submit(part, |some| self.context.submit_iocbs(some))
    }

    fn cancel(&mut self, requests: &[Request]) -> io::Result<()> {
        for iocb in &self.batch.pointers[..requests.len()] {
            self.context.cancel(*iocb)?;
        }
        self.take(requests.len()).map(|_| ())
    }

    fn wait(&mut self, min: usize, timeout: Duration) -> io::Result<Vec<Event>> {
        self.context.wait(min, Some(timeout))
    }

    fn take(&mut self, count: usize) -> io::Result<i64> {
        let (mut got, mut sum) = (0, 0);
        while got < count {
            if self.way == Way::Call {
                got += uninterrupted(|| self.context.take(count - got, |_, res| sum += res))?;
                continue;
            }
            let some = self.context.reap_each(|_, res| sum += res);
            got += some;
            if some == 0 {
                uninterrupted(|| self.context.peek(count - got))?;
            }
        }
        Ok(sum)
    }

    fn round(&mut self) -> io::Result<i64> {
        if self.way == Way::OneCall {
            self.context.submit_and_peek(&self.batch.pointers)?;
        } else {
            self.submit()?;
        }
        self.take(self.batch.pointers.len())
    }
}

/// `io_submit(2)`.
pub struct Native {
    context: u64,
    owned: bool,
    batch: Batch,
    events: Vec<io_event>,
    way: Way,
}

impl Native {
    pub fn new(entries: u32, way: Way) -> io::Result<Self> {
        let mut context = 0u64;
        // SAFETY: `context` is where the id is written.
        outcome(unsafe { syscall(__NR_io_setup.into(), entries, &raw mut context) })?;
        Ok(Self {
            context,
            owned: true,
            batch: Batch::default(),
            events: Vec::with_capacity(EVENTS),
            way,
        })
    }

    /// Makes the same context for other threads, which take events by the call.
    #[allow(dead_code)] // each program uses a part
    pub fn share(&self) -> impl Fn() -> Self + Sync + use<> {
        let context = self.context;
        move || Self {
            context,
            owned: false,
            batch: Batch::default(),
            events: Vec::with_capacity(EVENTS),
            way: Way::Call,
        }
    }

    /// Waits for `min` events, at most so long; says how many were taken, not more than `max`.
    fn getevents(
        &mut self,
        min: usize,
        max: usize,
        timeout: *const __kernel_timespec,
    ) -> io::Result<usize> {
        assert!(max <= self.events.capacity());
        // SAFETY: there is room for as many events as are asked for; the time is null or readable.
        // So many were written as it says.
        unsafe {
            let got = outcome(syscall(
                __NR_io_getevents.into(),
                self.context,
                min,
                max,
                self.events.as_mut_ptr(),
                timeout,
            ))?;
            self.events.set_len(got);
            Ok(got)
        }
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
        self.getevents(min, EVENTS, &timespec(timeout))?;
        Ok(self.events.iter().map(|e| (e.data, e.res)).collect())
    }

    fn cancel(&mut self, requests: &[Request]) -> io::Result<()> {
        let mut event = MaybeUninit::<io_event>::uninit();
        for iocb in &self.batch.pointers[..requests.len()] {
            // SAFETY: the iocb was submitted; nothing is written to the event for many years now.
            let ret = unsafe {
                syscall(
                    __NR_io_cancel.into(),
                    self.context,
                    *iocb,
                    event.as_mut_ptr(),
                )
            };
            match outcome(ret) {
                Err(e) if e.raw_os_error() != Some(EINPROGRESS) => return Err(e),
                _ => (),
            }
        }
        self.take(requests.len()).map(|_| ())
    }

    fn take(&mut self, count: usize) -> io::Result<i64> {
        let (mut got, mut sum) = (0, 0);
        if self.way != Way::Call {
            // SAFETY: the id is the address of the ring, which stays mapped as long as the context.
            got = unsafe { reap_ring(self.context, |_, res| sum += res) };
        }
        while got < count {
            let left = (count - got).min(EVENTS);
            got += uninterrupted(|| self.getevents(left, left, ptr::null()))?;
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
            // SAFETY: a number. It waits until no buffer is in use.
            unsafe { syscall(__NR_io_destroy.into(), self.context) };
        }
    }
}

/// io_uring, set up as liburing's `io_uring_queue_init(entries, &ring, flags)` does.
pub struct Uring {
    ring: File,
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

/// Of io_uring: the thread that submits asks for its results, and is not interrupted by them.
#[allow(dead_code)] // each program uses a part
pub const URING_DEFER: u32 = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;

impl Uring {
    pub fn new(entries: u32, flags: u32) -> io::Result<Self> {
        // SAFETY: integers.
        let mut params: io_uring_params = unsafe { zeroed() };
        params.flags = flags;
        // SAFETY: the parameters are read and written.
        let fd = outcome(unsafe { syscall(__NR_io_uring_setup.into(), entries, &raw mut params) })?;
        // SAFETY: the descriptor is new, and nobody else's.
        let ring = unsafe { File::from_raw_fd(fd as c_int) };
        let entries = params.sq_entries as usize;
        let (sq, cq) = (&params.sq_off, &params.cq_off);
        let sq_end = sq.array as usize + entries * size_of::<u32>();
        let cq_end = cq.cqes as usize + params.cq_entries as usize * size_of::<io_uring_cqe>();
        // Both queues are in one mapping (IORING_FEAT_SINGLE_MMAP, since 5.4).
        let len = sq_end.max(cq_end);
        let queues = Self::map(&ring, IORING_OFF_SQ_RING, len)?;
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
                queues: (queues, len),
                entries: params.sq_entries,
                ring,
            })
        }
    }

    fn enter(&self, submit: u32, wait: u32, flags: u32) -> io::Result<u32> {
        // SAFETY: numbers; what the entries point at lives as long as the process.
        let taken = outcome(unsafe {
            syscall(
                __NR_io_uring_enter.into(),
                self.ring.as_raw_fd(),
                submit,
                wait,
                flags,
                ptr::null::<c_void>(),
                0usize,
            )
        })?;
        Ok(taken as u32)
    }

    /// Shows the kernel so much of what was prepared.
    fn publish(&mut self, count: u32) {
        // SAFETY: the word is in the mapping, and only we write it.
        unsafe {
            let tail = AtomicU32::from_ptr(self.sq_tail);
            let end = tail.load(Ordering::Relaxed).wrapping_add(count);
            tail.store(end, Ordering::Release);
        }
    }

    /// Takes what is in the queue; says how many.
    fn reap(&mut self, mut each: impl FnMut(u64, i64)) -> usize {
        // SAFETY: the words and entries are in the mapping. The kernel writes the tail and the
        // entries before it, we write the head.
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
        let fd = ring.as_raw_fd();
        // SAFETY: a new mapping; it stays until the engine is dropped.
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
            for (i, request) in (0..).zip(requests) {
                let sqe = &mut *self
                    .sqes
                    .add((tail.wrapping_add(i) & self.sq_mask) as usize);
                *sqe = zeroed();
                sqe.opcode = match request.op {
                    Op::Read => io_uring_op_IORING_OP_READ,
                    Op::Write => io_uring_op_IORING_OP_WRITE,
                    Op::Fsync => io_uring_op_IORING_OP_FSYNC,
                    Op::Poll => io_uring_op_IORING_OP_POLL_ADD,
                    Op::Noop => io_uring_op_IORING_OP_NOP,
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
            }
        }
        self.prepared = requests.len() as u32;
    }

    fn submit(&mut self) -> io::Result<()> {
        self.submit_part(0..self.prepared as usize)
    }

    fn submit_part(&mut self, part: Range<usize>) -> io::Result<()> {
        let mut left = part.len() as u32;
        self.publish(left);
        while left > 0 {
            left -= self.enter(left, 0, 0)?;
        }
        Ok(())
    }

    fn cancel(&mut self, requests: &[Request]) -> io::Result<()> {
        // SAFETY: as in prepare().
        unsafe {
            let tail = *self.sq_tail;
            for (i, request) in (0..).zip(requests) {
                let sqe = &mut *self
                    .sqes
                    .add((tail.wrapping_add(i) & self.sq_mask) as usize);
                *sqe = zeroed();
                sqe.opcode = io_uring_op_IORING_OP_ASYNC_CANCEL as u8;
                sqe.fd = -1;
                sqe.__bindgen_anon_2.addr = request.data;
            }
        }
        self.submit_part(0..requests.len())?;
        // Each has a result, and so has its cancel: 0.
        self.take(2 * requests.len()).map(|_| ())
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
        self.reap(|data, res| events.push((data, res)));
        Ok(events)
    }

    fn take(&mut self, count: usize) -> io::Result<i64> {
        let mut sum = 0;
        let mut got = self.reap(|_, res| sum += res);
        while got < count {
            uninterrupted(|| self.enter(0, (count - got) as u32, IORING_ENTER_GETEVENTS))?;
            got += self.reap(|_, res| sum += res);
        }
        Ok(sum)
    }

    fn round(&mut self) -> io::Result<i64> {
        let count = self.prepared;
        self.publish(count);
        let taken = self.enter(count, count, IORING_ENTER_GETEVENTS)?;
        if taken != count {
            return Err(io::Error::other("io_uring took a part of the batch"));
        }
        self.take(count as usize)
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // SAFETY: both mappings are ours, and nobody uses them any more.
        unsafe {
            munmap(self.queues.0.cast(), self.queues.1);
            munmap(
                self.sqes.cast(),
                self.entries as usize * size_of::<io_uring_sqe>(),
            );
        }
    }
}

/// The time is over: how io_uring says it.
const ETIME: i32 = 62;

/// The floor: preadv2(2), one call for each read.
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
            // SAFETY: a buffer that lives as long as the process.
            let got =
                unsafe { syscall(__NR_preadv2.into(), *fd, &raw const *iov, 1, *offset, 0, 0) };
            sum += outcome(got)? as i64;
        }
        Ok(sum)
    }
}

/// POSIX AIO, as glibc does it: threads of the process read and write.
#[derive(Default)]
pub struct Posix {
    blocks: Vec<(Op, u64, aiocb)>,
    /// The first one whose result was not taken.
    next: usize,
}

impl Posix {
    /// Starts one; takes the result of one that has ended.
    fn start(op: Op, block: &mut aiocb) -> io::Result<()> {
        // SAFETY: the block and its buffer stay where they are until the result is taken.
        let ret = unsafe {
            match op {
                Op::Read => aio_read(block),
                Op::Write => aio_write(block),
                Op::Fsync => aio_fsync(O_SYNC, block),
                Op::Poll | Op::Noop => return Err(io::ErrorKind::Unsupported.into()),
            }
        };
        outcome(ret.into()).map(|_| ())
    }

    /// Waits until the request has ended; its result.
    fn end(block: &mut aiocb, timeout: *const timespec) -> io::Result<Option<i64>> {
        let list = [ptr::from_ref(block)];
        // SAFETY: the block was started; its result is asked for once.
        unsafe {
            while aio_error(block) == EINPROGRESS {
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
            // SAFETY: integers, and pointers that may be null.
            let mut block: aiocb = unsafe { zeroed() };
            block.aio_fildes = request.file.as_raw_fd();
            block.aio_buf = request.buffer.address() as *mut c_void;
            block.aio_nbytes = request.len;
            block.aio_offset = request.offset as i64;
            block.aio_sigevent.sigev_notify = SIGEV_NONE as c_int;
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
