// SPDX-License-Identifier: GPL-2.0

//! Measures requests that wait for readiness, and how long it takes to make and to destroy a
//! context.
//!
//! - pipe, socket: from filling in a read of an empty file, through parking it and writing to the
//!   file, until the program has the result. Native AIO is not measured, since its submit call
//!   sleeps until the file has data.
//! - wake-up: from the moment before another thread writes to a pipe until the program, which
//!   sleeps for the event of a POLL, has the event.
//! - set-up, destroy: of a context for 128 requests, none of which is used.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::engines::{Engine, ENGINES};
use crate::guest::Result;
use crate::report::report;
use crate::request::{Buffer, Op, Request};
use crate::system::{pipe, ticks};

const WARM_UP: usize = 20;
const TIMES: usize = 101;
const ENTRIES: u32 = 128;

fn request<'a>(op: Op, file: &'a File, buffer: &'a Buffer) -> Request<'a> {
    Request {
        op,
        file,
        buffer,
        len: 1,
        offset: 0,
        data: 0,
    }
}

/// Returns the ticks from filling in a read until it was parked, and completed by a write.
fn ping_pong(engine: &mut dyn Engine, reader: &File, writer: &mut File) -> Result<u64> {
    let buffer = Buffer::new(1);
    let request = request(Op::Read, reader, &buffer);
    let start = ticks();
    engine.prepare(&[request]);
    engine.submit()?;
    writer.write_all(b"x")?;
    let got = engine.take(1)?;
    let took = ticks() - start;
    if got != 1 {
        return Err(format!("a parked read returned {got}").into());
    }
    Ok(took)
}

/// Returns the ticks from before the write to the event. The writer begins when this thread sleeps.
fn wake_up(engine: &mut dyn Engine) -> Result<u64> {
    let (reader, mut writer) = pipe()?;
    let buffer = Buffer::new(1);
    let written = Arc::new(AtomicU64::new(0));
    let helper = {
        let written = written.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(1));
            written.store(ticks(), Ordering::Relaxed);
            writer.write_all(b"x")
        })
    };
    engine.prepare(&[request(Op::Poll, &reader, &buffer)]);
    engine.submit()?;
    let got = engine.take(1)?;
    let now = ticks();
    helper.join().map_err(|_| "the writer panicked")??;
    if got & 1 != 1 {
        return Err(format!("a POLL returned {got}").into());
    }
    Ok(now - written.load(Ordering::Relaxed))
}

/// Returns what `once` returns in each of [`TIMES`] calls, after calls that warm up.
fn times(mut once: impl FnMut() -> Result<u64>) -> Result<Vec<f64>> {
    for _ in 0..WARM_UP {
        once()?;
    }
    (0..TIMES).map(|_| once().map(|took| took as f64)).collect()
}

pub fn latency(device: &File) -> Result<()> {
    for (name, make) in ENGINES {
        if matches!(name, "preadv2" | "posix") {
            continue;
        }
        let mut ended = Vec::new();
        let made = times(|| {
            let start = ticks();
            let engine = make(device, ENTRIES)?;
            let made = ticks();
            drop(engine);
            ended.push((ticks() - made) as f64 / 1000.0);
            Ok(made - start)
        })?;
        let made = made.into_iter().map(|t| t / 1000.0).collect();
        report("context", name, "set-up", "us", made);
        report("context", name, "destroy", "us", ended.split_off(WARM_UP));
    }
    // From here on the process has several threads, and pays more for each descriptor.
    for (name, make) in ENGINES {
        if name.starts_with("preadv2") {
            continue;
        }
        let mut engine = make(device, ENTRIES)?;
        if !name.starts_with("native") {
            let (reader, mut writer) = pipe()?;
            let figures = times(|| ping_pong(engine.as_mut(), &reader, &mut writer))?;
            report("ping-pong", name, "pipe", "insn", figures);
            let (reader, writer) = UnixStream::pair()?;
            let (reader, mut writer) = (as_file(reader), as_file(writer));
            let figures = times(|| ping_pong(engine.as_mut(), &reader, &mut writer))?;
            report("ping-pong", name, "socket", "insn", figures);
        }
        if name != "posix" {
            let figures = times(|| wake_up(engine.as_mut()))?;
            report("wake-up", name, "POLL", "insn", figures);
        }
    }
    Ok(())
}

fn as_file(stream: UnixStream) -> File {
    File::from(OwnedFd::from(stream))
}
