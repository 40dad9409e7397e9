// SPDX-License-Identifier: GPL-2.0

//! Measures 1, 2 and 4 threads in real time on several CPUs. The threads have one context, or a
//! context each. Each thread submits POLLs of a ready eventfd, eight at a time, and takes eight
//! events.
//!
//! One ring of io_uring for several threads is not measured: programs must lock it.

use std::fs::File;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use crate::context::EVENTS;
use crate::engines::{Engine, Kaio, Native, Uring, Way, URING_DEFER};
use crate::guest::Result;
use crate::report::report;
use crate::request::{Buffer, Op, Request};
use crate::system::eventfd;

const THREADS: [usize; 3] = [1, 2, 4];
const BATCH: usize = 8;
const ROUNDS: usize = 400;
const TIMES: usize = 25;

/// Makes the engine of a thread. The thread itself calls this, since some engines belong to a
/// thread.
type Make<'a> = &'a (dyn Fn() -> std::io::Result<Box<dyn Engine + 'a>> + Sync);

/// Returns the nanoseconds of one operation when all threads work: figures of several times.
fn run(count: usize, make: Make) -> Result<Vec<f64>> {
    let ready = eventfd(1)?;
    let barrier = Barrier::new(count);
    let work = || -> std::result::Result<Vec<f64>, String> {
        let buffer = Buffer::new(1);
        let requests: Vec<Request> = (0..BATCH)
            .map(|i| Request {
                op: Op::Poll,
                file: &ready,
                buffer: &buffer,
                len: 1,
                offset: 0,
                data: i as u64,
            })
            .collect();
        let made = make();
        let mut figures = Vec::new();
        barrier.wait();
        let mut engine = made.map_err(|e| e.to_string())?;
        for _ in 0..TIMES {
            barrier.wait();
            let start = Instant::now();
            let sum = engine.rounds(&requests, ROUNDS);
            barrier.wait();
            let took = start.elapsed().as_nanos() as f64;
            figures.push(took / (ROUNDS * BATCH * count) as f64);
            match sum {
                Ok(sum) if sum == (ROUNDS * BATCH) as i64 => (),
                other => return Err(format!("{other:?}")),
            }
        }
        Ok(figures)
    };
    let all = thread::scope(|scope| -> Result<Vec<Vec<f64>>> {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|t| Ok(t.join().map_err(|_| "a thread panicked")??))
            .collect()
    })?;
    // The time of every thread ends when the slowest is done. The largest is that of the first to
    // begin.
    Ok((0..TIMES)
        .map(|i| all.iter().map(|f| f[i]).fold(0.0, f64::max))
        .collect())
}

/// Measures contexts of their own, then one context.
pub fn threads(device: &File) -> Result<()> {
    let entries = EVENTS as u32;
    let kaio = Kaio::new(device, entries, Way::Call)?;
    let native = Native::new(entries, Way::Call)?;
    let (shared_kaio, shared_native) = (kaio.share(), native.share());
    let own: [(&str, Make); 5] = [
        ("native", &|| Ok(Box::new(Native::new(entries, Way::Call)?))),
        ("kaio", &|| {
            Ok(Box::new(Kaio::new(device, entries, Way::Call)?))
        }),
        ("kaio-one-call", &|| {
            Ok(Box::new(Kaio::new(device, entries, Way::OneCall)?))
        }),
        ("io_uring", &|| Ok(Box::new(Uring::new(entries, 0)?))),
        ("io_uring-defer", &|| {
            Ok(Box::new(Uring::new(entries, URING_DEFER)?))
        }),
    ];
    let one: [(&str, Make); 2] = [
        ("native", &|| Ok(Box::new(shared_native()))),
        ("kaio", &|| Ok(Box::new(shared_kaio()))),
    ];
    for count in THREADS {
        for (name, make) in own {
            report(
                "threads, own contexts",
                name,
                &count.to_string(),
                "ns",
                run(count, make)?,
            );
        }
        for (name, make) in one {
            report(
                "threads, one context",
                name,
                &count.to_string(),
                "ns",
                run(count, make)?,
            );
        }
    }
    Ok(())
}
