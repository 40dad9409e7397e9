// SPDX-License-Identifier: GPL-2.0

//! What `make run` shows: the files of a disk are read and written through `/dev/kaio`.
//!
//!     kaio-demo DIR     DIR has files and SHA256SUMS
//!
//! Each file is copied twice, with many requests in flight: chunk by chunk a read is submitted, and
//! when its event comes, a write of what it read. The first time events are taken by ioctl, the
//! second time straight from the ring, without a system call. Then sha256sum judges the copies.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kaio::{Buffer, Context, Op, CHUNK};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Requests in flight.
const DEPTH: usize = 64;
const O_DIRECT: i32 = 0o40000;

/// The four ioctls and the ring; all that is unsafe.
mod kaio {
    use super::{AsRawFd, File, Result};
    use std::alloc::{alloc_zeroed, Layout};
    use std::ffi::{c_int, c_ulong, c_void};
    use std::io;
    use std::mem::{size_of, zeroed};
    use std::ptr;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// The structs of include/uapi/linux/kaio.h, by bindgen.
    #[allow(
        dead_code,
        non_camel_case_types,
        non_snake_case,
        non_upper_case_globals
    )]
    mod uapi {
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
    const DESTROY: c_ulong = number::<kaio_destroy>(1, 2);
    const SUBMIT: c_ulong = number::<kaio_submit>(1, 3);
    const GETEVENTS: c_ulong = number::<kaio_getevents>(1, 4);

    pub const CHUNK: usize = 128 << 10;

    /// Memory for one chunk, aligned as O_DIRECT asks. It lives as long as the process.
    pub struct Buffer(*mut u8);

    impl Buffer {
        pub fn new() -> Self {
            // SAFETY: the layout is not empty.
            Self(unsafe { alloc_zeroed(Layout::from_size_align(CHUNK, 4096).unwrap()) })
        }
    }

    /// What a request is to do with the first `len` bytes of its buffer.
    #[derive(Clone, Copy)]
    pub enum Op {
        Read,
        Write,
    }

    /// A context. Events carry the number that their request was given.
    pub struct Context<'a> {
        device: &'a File,
        id: u64,
        pub in_flight: usize,
        pub most_in_flight: usize,
        pub requests: u64,
    }

    impl<'a> Context<'a> {
        fn call<T>(device: &File, request: c_ulong, arg: &mut T) -> io::Result<usize> {
            // SAFETY: `arg` is the struct that `request` names; the pointers in it are valid.
            let ret = unsafe { ioctl(device.as_raw_fd(), request, arg as *mut T as *mut c_void) };
            usize::try_from(ret).map_err(|_| io::Error::last_os_error())
        }

        /// What the module says it can do, in words.
        pub fn describe(device: &File) -> Result<String> {
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

        pub fn new(device: &'a File, requests: u32) -> Result<Self> {
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
                in_flight: 0,
                most_in_flight: 0,
                requests: 0,
            })
        }

        /// Submits one request. The buffer must be left alone until its event comes.
        pub fn submit(
            &mut self,
            op: Op,
            file: &File,
            buffer: &Buffer,
            len: usize,
            offset: u64,
            data: u64,
        ) -> Result<()> {
            // SAFETY: integers.
            let mut iocb: iocb = unsafe { zeroed() };
            iocb.aio_lio_opcode = match op {
                Op::Read => IOCB_CMD_PREAD as u16,
                Op::Write => IOCB_CMD_PWRITE as u16,
            };
            iocb.aio_fildes = file.as_raw_fd() as u32;
            iocb.aio_buf = buffer.0 as u64;
            iocb.aio_nbytes = len as u64;
            iocb.aio_offset = offset as i64;
            iocb.aio_data = data;
            let pointers = [&raw mut iocb];
            let mut submit = kaio_submit {
                ctx_id: self.id,
                nr: 1,
                iocbpp: pointers.as_ptr() as u64,
                flags: 0,
                __reserved: 0,
            };
            Self::call(self.device, SUBMIT, &mut submit)?;
            self.requests += 1;
            self.in_flight += 1;
            self.most_in_flight = self.most_in_flight.max(self.in_flight);
            Ok(())
        }

        /// Takes at least one event by ioctl: (data, result) of each.
        pub fn wait(&mut self) -> Result<Vec<(u64, i64)>> {
            // SAFETY: integers.
            let mut events: [io_event; 64] = unsafe { zeroed() };
            let mut get: kaio_getevents = unsafe { zeroed() };
            get.ctx_id = self.id;
            get.min_nr = 1;
            get.nr = events.len() as i64;
            get.events = events.as_mut_ptr() as u64;
            let got = Self::call(self.device, GETEVENTS, &mut get)?;
            self.in_flight -= got;
            Ok(events[..got].iter().map(|e| (e.data, e.res)).collect())
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
}

/// A row of the table.
struct Phase {
    name: &'static str,
    requests: u64,
    bytes: u64,
    time: Duration,
    in_flight: usize,
    checksum: bool,
}

/// A part of a file, and how far it is.
struct Chunk {
    file: usize,
    offset: u64,
    len: usize,
    op: Op,
}

/// How events are taken.
#[derive(Clone, Copy)]
enum Reap {
    Ioctl,
    Ring,
}

fn open(path: &Path, flags: i32) -> Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    file.map_err(|e| format!("{}: {e}", path.display()).into())
}

/// Copies the files named in SHA256SUMS to DIR/NAME, and has the copies checked.
fn copy(
    device: &File,
    dir: &Path,
    to: &str,
    name: &'static str,
    flags: i32,
    reap: Reap,
) -> Result<Phase> {
    let sums = fs::read_to_string(dir.join("SHA256SUMS"))?;
    let names: Vec<&str> = sums
        .lines()
        .filter_map(|l| l.split_whitespace().nth(1))
        .collect();
    let target = dir.join(to);
    fs::create_dir_all(&target)?;
    fs::copy(dir.join("SHA256SUMS"), target.join("SHA256SUMS"))?;

    let mut sources = Vec::new();
    let mut copies = Vec::new();
    let mut todo = Vec::new();
    for (file, name) in names.iter().enumerate() {
        let source = open(&dir.join(name), flags)?;
        let size = source.metadata()?.len();
        for offset in (0..size).step_by(CHUNK) {
            let len = (size - offset).min(CHUNK as u64) as usize;
            todo.push(Chunk {
                file,
                offset,
                len,
                op: Op::Read,
            });
        }
        sources.push(source);
        copies.push(File::create(target.join(name))?);
    }
    todo.reverse();
    let chunks = todo.len();

    let start = Instant::now();
    let mut context = Context::new(device, 2 * DEPTH as u32)?;
    let mut bytes = 0;
    let mut done = 0;
    let mut said = start;
    let mut slots: Vec<(Buffer, Option<Chunk>)> =
        (0..DEPTH).map(|_| (Buffer::new(), None)).collect();
    while done < chunks {
        for (data, (buffer, chunk)) in slots.iter_mut().enumerate() {
            if chunk.is_none() {
                if let Some(next) = todo.pop() {
                    // Whole chunks: a read stops at the end of the file, and O_DIRECT likes it.
                    let file = &sources[next.file];
                    context.submit(Op::Read, file, buffer, CHUNK, next.offset, data as u64)?;
                    *chunk = Some(next);
                }
            }
        }
        let events = match reap {
            Reap::Ioctl => context.wait()?,
            Reap::Ring => context.reap(),
        };
        if events.is_empty() {
            std::thread::yield_now();
        }
        for (data, res) in events {
            let (buffer, chunk) = &mut slots[data as usize];
            let state = chunk.as_mut().ok_or("an event for no request")?;
            if res != state.len as i64 {
                let (name, offset) = (names[state.file], state.offset);
                return Err(format!("{name}, offset {offset}: {res}, not {}", state.len).into());
            }
            bytes += state.len as u64;
            match state.op {
                Op::Read => {
                    state.op = Op::Write;
                    let file = &copies[state.file];
                    context.submit(Op::Write, file, buffer, state.len, state.offset, data)?;
                }
                Op::Write => {
                    *chunk = None;
                    done += 1;
                }
            }
        }
        if said.elapsed() > Duration::from_secs(2) {
            said = Instant::now();
            println!("  {} of {chunks} chunks", done);
        }
    }
    let time = start.elapsed();
    for file in &copies {
        file.sync_all()?;
    }
    let check = Command::new("sha256sum")
        .args(["-c", "-s", "SHA256SUMS"])
        .current_dir(&target)
        .status()?;
    if !check.success() {
        return Err(format!(
            "{}: sha256sum says that the copies differ",
            target.display()
        )
        .into());
    }
    println!("  {} files copied; sha256sum -c: all the same", names.len());
    fs::remove_dir_all(&target)?;
    let phase = Phase {
        name,
        requests: context.requests,
        bytes,
        time,
        in_flight: context.most_in_flight,
        checksum: true,
    };
    Ok(phase)
}

/// Reads of an empty socket: in the first, native io_submit(2) would sleep until somebody writes.
fn read_empty_socket(device: &File) -> Result<()> {
    const READS: usize = 100;
    let (reader, mut writer) = UnixStream::pair()?;
    let reader = File::from(OwnedFd::from(reader));
    let buffers: Vec<Buffer> = (0..READS).map(|_| Buffer::new()).collect();
    let mut context = Context::new(device, READS as u32)?;
    let start = Instant::now();
    for (data, buffer) in buffers.iter().enumerate() {
        context.submit(Op::Read, &reader, buffer, 1, 0, data as u64)?;
    }
    let each = start.elapsed().as_micros() / READS as u128;
    println!("  {READS} submitted, {each} us each; all wait");
    writer.write_all(&[0; READS])?;
    let mut done = [false; READS];
    while context.in_flight > 0 {
        for (data, res) in context.wait()? {
            if res != 1 || std::mem::replace(&mut done[data as usize], true) {
                return Err(format!("read {data} of the socket: {res}").into());
            }
        }
    }
    println!("  {READS} bytes were written to the other end; each read has one");
    Ok(())
}

fn demo(dir: &Path) -> Result<()> {
    let device = File::options().read(true).write(true).open("/dev/kaio")?;
    println!("/dev/kaio: {}", Context::describe(&device)?);

    println!("O_DIRECT reads, buffered writes; events are taken by ioctl:");
    let direct = copy(
        &device,
        dir,
        "copy-1",
        "O_DIRECT, events by ioctl",
        O_DIRECT,
        Reap::Ioctl,
    )?;
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    println!("cold buffered reads, buffered writes; events are taken from the ring:");
    let buffered = copy(
        &device,
        dir,
        "copy-2",
        "buffered, events from the ring",
        0,
        Reap::Ring,
    )?;
    println!("reads of an empty socket:");
    read_empty_socket(&device)?;

    println!();
    println!(
        "{:<32}{:>10}{:>12}{:>13}{:>20}{:>10}",
        "", "requests", "bytes", "bytes/s", "in flight at most", "checksum"
    );
    for p in [direct, buffered] {
        println!(
            "{:<32}{:>10}{:>12}{:>13.0}{:>20}{:>10}",
            p.name,
            p.requests,
            p.bytes,
            p.bytes as f64 / p.time.as_secs_f64(),
            p.in_flight,
            if p.checksum { "ok" } else { "WRONG" }
        );
    }
    Ok(())
}

fn main() {
    let Some(dir) = std::env::args_os().nth(1) else {
        eprintln!("usage: kaio-demo DIR (a folder with files and SHA256SUMS)");
        std::process::exit(2);
    };
    if let Err(e) = demo(Path::new(&dir)) {
        eprintln!("kaio-demo: {e}");
        std::process::exit(1);
    }
}
