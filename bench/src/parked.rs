// SPDX-License-Identifier: GPL-2.0

//! Measures ten thousand requests that wait: the time and the memory that one more takes when there
//! are many, the time to cancel all of them, and the time of the call that destroys their context.
//! Native AIO's call sleeps; io_uring's leaves the work to a thread.
//!
//! The requests are POLLs of an eventfd that stays 0 (native AIO can park nothing else) and reads
//! of an empty pipe.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::thread;
use std::time::Duration;

use crate::engines::{Maker, ENGINES};
use crate::guest::Result;
use crate::report::report;
use crate::request::{Buffer, Op, Request};
use crate::system::{eventfd, pipe, ticks};

const MANY: usize = 10_000;
/// The cost at a depth is the median over so many requests.
const SOME: usize = 32;
const ENTRIES: u32 = 16_384;
/// How many requests wait when the cost of one more is measured.
const DEPTHS: [usize; 4] = [10, 100, 1000, MANY];
const ROUNDS: usize = 10;
/// The pause between rounds, in which the kernel ends rings and frees memory that waits for RCU.
const PAUSE: Duration = Duration::from_millis(100);

/// Returns, for each slab cache of the kernel, the objects in use and the bytes that one takes in a
/// slab. Free memory would tell nothing: the kernel keeps empty slabs, and uses them again.
fn slabs() -> Result<BTreeMap<String, (f64, f64)>> {
    let mut caches = BTreeMap::new();
    for line in fs::read_to_string("/proc/slabinfo")?.lines().skip(2) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let field = |at: usize| -> Result<f64> {
            let word = words.get(at).ok_or("a short line in /proc/slabinfo")?;
            Ok(word.parse()?)
        };
        let bytes = field(5)? * 4096.0 / field(4)?;
        caches.insert(words[0].to_owned(), (field(1)?, bytes));
    }
    Ok(caches)
}

/// Returns the bytes that each of `count` requests takes: whole objects of each cache. (A cache
/// counts objects that it keeps ready for a CPU as in use, a few hundred more or less.)
fn growth(
    before: &BTreeMap<String, (f64, f64)>,
    after: &BTreeMap<String, (f64, f64)>,
    count: f64,
) -> f64 {
    let grown = |(name, (used, bytes)): (&String, &(f64, f64))| {
        let objects = used - before.get(name).map_or(0.0, |b| b.0);
        (objects / count).round().max(0.0) * bytes
    };
    after.iter().map(grown).sum()
}

/// Returns `count` requests that wait for the file.
fn waiting<'a>(op: Op, file: &'a File, buffer: &'a Buffer, count: usize) -> Vec<Request<'a>> {
    let request = |i| Request {
        op,
        file,
        buffer,
        len: 1,
        offset: 0,
        data: i as u64,
    };
    (0..count).map(request).collect()
}

/// Measures both kinds of requests with each engine that can park them.
pub fn parked(device: &File) -> Result<()> {
    let never = eventfd(0)?;
    let (empty, _writer) = pipe()?;
    let buffer = Buffer::new(1);
    for (op, file, title) in [
        (Op::Poll, &never, "parked POLL"),
        (Op::Read, &empty, "parked read"),
    ] {
        let requests = waiting(op, file, &buffer, MANY + SOME);
        for (name, make) in ENGINES {
            let can_park = match name {
                "kaio" | "io_uring" | "io_uring-defer" => true,
                "native" => op == Op::Poll,
                _ => false,
            };
            if !can_park {
                continue;
            }
            let mut costs = vec![Vec::new(); DEPTHS.len()];
            let (mut slab, mut cancel, mut destroy) = (vec![], vec![], vec![]);
            for round in 0..ROUNDS {
                thread::sleep(PAUSE);
                let mut engine = make(device, ENTRIES)?;
                engine.prepare(&requests);
                let before = slabs()?;
                for i in 0..MANY + SOME {
                    let start = ticks();
                    engine.submit_part(i..i + 1)?;
                    let took = (ticks() - start) as f64;
                    for (depth, costs) in DEPTHS.iter().zip(&mut costs) {
                        if (*depth..depth + SOME).contains(&i) {
                            costs.push(took);
                        }
                    }
                }
                let after = slabs()?;
                let each = (MANY + SOME) as f64;
                slab.push(growth(&before, &after, each));
                // Rounds take turns, so that both cancelling and destroying are measured.
                if round % 2 == 0 {
                    let start = ticks();
                    engine.cancel(&requests)?;
                    cancel.push((ticks() - start) as f64 / each);
                } else {
                    let start = ticks();
                    drop(engine);
                    destroy.push((ticks() - start) as f64 / 1000.0);
                }
            }
            for (depth, costs) in DEPTHS.iter().zip(costs) {
                report(title, name, &format!("at {depth}"), "insn", costs);
            }
            report(title, name, "cancel", "insn", cancel);
            report(&format!("end of a {title}"), name, "destroy", "us", destroy);
            report(&format!("memory of a {title}"), name, "slab", "bytes", slab);
        }
    }
    Ok(())
}

/// Returns a function that parks `count` POLLs, `batch` in a call, and returns the ticks. As many are
/// parked before.
pub fn one_more(
    device: &File,
    make: Maker,
    batch: usize,
    count: usize,
) -> Result<impl FnOnce() -> Result<u64> + '_> {
    // The requests borrow the file and the buffer, and the engine keeps them to the end.
    let never: &'static File = Box::leak(Box::new(eventfd(0)?));
    let buffer: &'static Buffer = Box::leak(Box::new(Buffer::new(1)));
    let requests = waiting(Op::Poll, never, buffer, 2 * count);
    let mut engine = make(device, ENTRIES)?;
    engine.prepare(&requests);
    let mut park = move |from: usize| -> Result<()> {
        for i in (from..from + count).step_by(batch) {
            engine.submit_part(i..i + batch)?;
        }
        Ok(())
    };
    park(0)?;
    Ok(move || {
        let start = ticks();
        park(count)?;
        Ok(ticks() - start)
    })
}
