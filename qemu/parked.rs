// SPDX-License-Identifier: GPL-2.0

//! Ten thousand requests that wait: what one more costs when there are many, in time and in memory,
//! what it costs to cancel them all, and how long the call takes that destroys their context: native
//! AIO's sleeps, io_uring's leaves the work to a thread.
//!
//! They are POLLs of an eventfd that nobody writes to (native AIO can park nothing else) and reads of
//! an empty pipe.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::thread;
use std::time::Duration;

use crate::engines::{eventfd, pipe, ticks};
use crate::guest::Result;
use crate::kaio::{Buffer, Op, Request};
use crate::{report, ENGINES};

const MANY: usize = 10_000;
/// Of so many the cost is the median.
const SOME: usize = 32;
const ENTRIES: u32 = 16_384;
/// Where it is looked at.
const DEPTHS: [usize; 4] = [10, 100, 1000, MANY];
const ROUNDS: usize = 10;
/// Between rounds: rings that end and memory that waits for RCU are out of the way then.
const PAUSE: Duration = Duration::from_millis(100);

/// Of each cache of the kernel: objects in use, and bytes that one takes in a slab. Memory that is free
/// tells nothing here: slabs stay when what was in them has gone, and are used again.
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

/// Bytes for each of `count` requests: what it has in each cache, in whole objects. (A cache counts as
/// in use what it holds ready for a CPU, which is a few hundred objects more or less.)
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

pub fn parked(device: &File) -> Result<()> {
    let never = eventfd(0)?;
    let (empty, _writer) = pipe()?;
    let buffer = Buffer::new(1);
    for (op, file, title) in [
        (Op::Poll, &never, "parked POLL"),
        (Op::Read, &empty, "parked read"),
    ] {
        let requests: Vec<Request> = (0..MANY + SOME)
            .map(|i| Request {
                op,
                file,
                buffer: &buffer,
                len: 1,
                offset: 0,
                data: i as u64,
            })
            .collect();
        for (name, make) in ENGINES {
            let takes_it = match name {
                "kaio" | "io_uring" | "io_uring-defer" => true,
                "native" => op == Op::Poll,
                _ => false,
            };
            if !takes_it {
                continue;
            }
            let mut costs = vec![Vec::new(); DEPTHS.len()];
            let (mut slab, mut cancel, mut end) = (vec![], vec![], vec![]);
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
                // By turns, so that both ways out are measured.
                if round % 2 == 0 {
                    let start = ticks();
                    engine.cancel(&requests)?;
                    cancel.push((ticks() - start) as f64 / each);
                } else {
                    let start = ticks();
                    drop(engine);
                    end.push((ticks() - start) as f64 / 1000.0);
                }
            }
            for (depth, costs) in DEPTHS.iter().zip(costs) {
                report(title, name, &format!("at {depth}"), "insn", costs);
            }
            report(title, name, "cancel", "insn", cancel);
            report(&format!("end of a {title}"), name, "destroy", "us", end);
            report(&format!("memory of a {title}"), name, "slab", "bytes", slab);
        }
    }
    Ok(())
}
