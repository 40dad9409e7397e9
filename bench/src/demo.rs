// SPDX-License-Identifier: GPL-2.0

//! The first part of `make run`: reads and writes the files of a disk through `/dev/kaio`.
//!
//!     kaio-demo DIR     DIR has files and SHA256SUMS
//!
//! The program copies each file twice, with many requests in flight: it submits a read for each
//! chunk, and after the event of the read a write of what was read. The first time it takes events
//! by ioctl, the second time from the ring, without a system call. Then sha256sum checks the
//! copies.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::guest::open_kaio;
use crate::request::{Buffer, Op, Request};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The most requests in flight.
const DEPTH: usize = 64;
const CHUNK: usize = 128 << 10;
const O_DIRECT: i32 = libc::O_DIRECT;

/// A row of the table.
struct Phase {
    name: &'static str,
    requests: u64,
    bytes: u64,
    time: Duration,
    in_flight: usize,
    checksum: bool,
}

/// A part of a file, and the operation that is in flight for it.
struct Chunk {
    file: usize,
    offset: u64,
    len: usize,
    op: Op,
}

/// How the program takes events.
#[derive(Clone, Copy)]
enum Reap {
    Ioctl,
    Ring,
}

/// A context whose requests are counted.
struct Counted<'a> {
    context: Context<'a>,
    requests: u64,
    in_flight: usize,
    most_in_flight: usize,
}

impl<'a> Counted<'a> {
    fn new(device: &'a File, requests: u32) -> Result<Self> {
        Ok(Self {
            context: Context::new(device, requests)?,
            requests: 0,
            in_flight: 0,
            most_in_flight: 0,
        })
    }

    /// Submits one request. The caller leaves its buffer alone until its event comes.
    fn submit(&mut self, request: &Request) -> Result<()> {
        self.context.submit(request)?;
        self.requests += 1;
        self.in_flight += 1;
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        Ok(())
    }

    /// Takes events, and waits for one if an ioctl takes them; returns data and result of each.
    fn events(&mut self, reap: Reap) -> Result<Vec<(u64, i64)>> {
        let events = match reap {
            Reap::Ioctl => self.context.wait(1, None)?,
            Reap::Ring => self.context.reap()?,
        };
        self.in_flight -= events.len();
        Ok(events)
    }
}

fn open(path: &Path, flags: i32) -> Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    file.map_err(|e| format!("{}: {e}", path.display()).into())
}

/// Copies the files that SHA256SUMS names to the folder `to` of `dir`, and has sha256sum check
/// them.
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
    let mut context = Counted::new(device, 2 * DEPTH as u32)?;
    let mut bytes = 0;
    let mut done = 0;
    let mut printed = start;
    let mut slots: Vec<(Buffer, Option<Chunk>)> =
        (0..DEPTH).map(|_| (Buffer::new(CHUNK), None)).collect();
    while done < chunks {
        for (data, (buffer, chunk)) in slots.iter_mut().enumerate() {
            if chunk.is_none() {
                if let Some(next) = todo.pop() {
                    // Reads are for whole chunks, as O_DIRECT asks; a read ends with the file.
                    let file = &sources[next.file];
                    context.submit(&Request {
                        op: Op::Read,
                        file,
                        buffer,
                        len: CHUNK,
                        offset: next.offset,
                        data: data as u64,
                    })?;
                    *chunk = Some(next);
                }
            }
        }
        let events = context.events(reap)?;
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
                    context.submit(&Request {
                        op: Op::Write,
                        file,
                        buffer,
                        len: state.len,
                        offset: state.offset,
                        data,
                    })?;
                }
                _ => {
                    *chunk = None;
                    done += 1;
                }
            }
        }
        if printed.elapsed() > Duration::from_secs(2) {
            printed = Instant::now();
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

/// Submits reads of an empty socket, then writes to its other end. Native io_submit(2) would sleep
/// in the first read.
fn read_empty_socket(device: &File) -> Result<()> {
    const READS: usize = 100;
    let (reader, mut writer) = UnixStream::pair()?;
    let reader = File::from(OwnedFd::from(reader));
    let buffers: Vec<Buffer> = (0..READS).map(|_| Buffer::new(1)).collect();
    let mut context = Counted::new(device, READS as u32)?;
    let start = Instant::now();
    for (data, buffer) in buffers.iter().enumerate() {
        context.submit(&Request {
            op: Op::Read,
            file: &reader,
            buffer,
            len: 1,
            offset: 0,
            data: data as u64,
        })?;
    }
    let each = start.elapsed().as_micros() / READS as u128;
    println!("  {READS} submitted, {each} us each; all wait");
    writer.write_all(&[0; READS])?;
    let mut done = [false; READS];
    while context.in_flight > 0 {
        for (data, res) in context.events(Reap::Ioctl)? {
            if res != 1 || std::mem::replace(&mut done[data as usize], true) {
                return Err(format!("read {data} of the socket: {res}").into());
            }
        }
    }
    println!("  {READS} bytes were written to the other end; each read has one");
    Ok(())
}

fn demo(dir: &Path) -> Result<()> {
    let device = open_kaio()?;
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

/// Runs the program.
pub fn main() {
    let Some(dir) = std::env::args_os().nth(1) else {
        eprintln!("usage: kaio-demo DIR (a folder with files and SHA256SUMS)");
        std::process::exit(2);
    };
    if let Err(e) = demo(Path::new(&dir)) {
        eprintln!("kaio-demo: {e}");
        std::process::exit(1);
    }
}
