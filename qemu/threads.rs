// SPDX-License-Identifier: GPL-2.0

//! Threads, in real time on several CPUs: 1, 2 and 4 of them, on one context and each on its own.
//! Each submits POLLs of a ready eventfd, eight at a time, and takes eight events.
//!
//! io_uring has no such case on one ring: programs must lock it.

use std::fs::File;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use crate::engines::{eventfd, Engine, Kaio, Native, Uring, Way, URING_DEFER};
use crate::guest::Result;
use crate::kaio::{Buffer, Op, Request, EVENTS};
use crate::report;

const THREADS: [usize; 3] = [1, 2, 4];
const BATCH: usize = 8;
const ROUNDS: usize = 400;
const TIMES: usize = 25;

/// Of one thread: makes its engine there, since some belong to a thread.
type Make<'a> = &'a (dyn Fn() -> std::io::Result<Box<dyn Engine + 'a>> + Sync);

/// Nanoseconds for one operation of all threads together.
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
    // Each ran until the last was there.
    Ok((0..TIMES)
        .map(|i| all.iter().map(|f| f[i]).fold(0.0, f64::max))
        .collect())
}

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
