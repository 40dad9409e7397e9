// SPDX-License-Identifier: GPL-2.0

//! Ten thousand requests that wait: what one more costs when there are many, in time and in memory,
//! and what it costs to cancel them all.
//!
//! They are POLLs of an eventfd that nobody writes to (native AIO can park nothing else) and reads of
//! an empty pipe.

use std::fs::{self, File};

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
const ROUNDS: usize = 3;

/// Bytes: in slabs, and in no use at all.
fn memory() -> Result<(f64, f64)> {
    // Counters of each CPU go to the global ones.
    fs::write("/proc/sys/vm/stat_refresh", "1")?;
    let all = fs::read_to_string("/proc/meminfo")?;
    let kilobytes = |name: &str| -> Result<f64> {
        let line = all.lines().find(|l| l.starts_with(name));
        let word = line.and_then(|l| l.split_whitespace().nth(1));
        Ok(word.ok_or("a line of /proc/meminfo is missing")?.parse()?)
    };
    Ok((
        kilobytes("Slab:")? * 1024.0,
        kilobytes("MemFree:")? * 1024.0,
    ))
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
            let (mut slab, mut all, mut cancel, mut end) = (vec![], vec![], vec![], vec![]);
            for round in 0..ROUNDS {
                let mut engine = make(device, ENTRIES)?;
                engine.prepare(&requests);
                let before = memory()?;
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
                let after = memory()?;
                let each = (MANY + SOME) as f64;
                slab.push((after.0 - before.0) / each);
                all.push((before.1 - after.1) / each);
                // By turns, so that both ways out are measured.
                if round % 2 == 0 {
                    let start = ticks();
                    engine.cancel(&requests)?;
                    cancel.push((ticks() - start) as f64 / each);
                } else {
                    let start = ticks();
                    drop(engine);
                    end.push((ticks() - start) as f64 / each);
                }
            }
            for (depth, costs) in DEPTHS.iter().zip(costs) {
                report(title, name, &format!("at {depth}"), "insn", costs);
            }
            report(title, name, "cancel", "insn", cancel);
            report(title, name, "destroy", "insn", end);
            report(&format!("memory of a {title}"), name, "slab", "bytes", slab);
            report(&format!("memory of a {title}"), name, "all", "bytes", all);
        }
    }
    Ok(())
}
