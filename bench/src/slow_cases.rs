// SPDX-License-Identifier: GPL-2.0

//! Measures the cases on a device that takes 2 ms for each request: how long the submitter is
//! blocked, when all results are there, and the CPU time, with that of kernel threads and
//! interrupts.

use std::fs::File;
use std::path::Path;

use crate::context::EVENTS;
use crate::engines::ENGINES;
use crate::guest::Result;
use crate::report::report;
use crate::slow::{Case, Slow, Times};
use crate::system::IdleCounter;

/// Rounds that measure time, and rounds that measure CPU time.
const ROUNDS: [usize; 2] = [5, 3];
const CASES: [(Case, &str); 6] = [
    (Case::ColdReads, "32 cold buffered reads"),
    (Case::DirectReads, "256 O_DIRECT reads, 64 tags"),
    (Case::HoleWrites, "32 O_DIRECT writes into holes"),
    (Case::Throttled, "64 buffered writes, throttled"),
    (Case::Fsync, "64 buffered writes, then fsync"),
    (Case::EmptyPipe, "read of an empty pipe"),
];

/// Measures all cases with the engines that have a submit call.
pub fn slow(dir: &Path, device: &File) -> Result<()> {
    let mut place = Slow::new(dir)?;
    // CPU time has rounds of its own, since the thread that counts idle time keeps the CPU busy.
    for counted in [false, true] {
        if counted {
            place.idle = Some(IdleCounter::new()?);
        }
        for (case, title) in CASES {
            for (name, make) in ENGINES {
                if !matches!(
                    name,
                    "native" | "kaio" | "io_uring" | "io_uring-defer" | "posix"
                ) {
                    continue;
                }
                let mut engine = make(device, EVENTS as u32)?;
                let mut all = Vec::new();
                for round in 0..=ROUNDS[usize::from(counted)] {
                    let times = place
                        .run(case, engine.as_mut())
                        .map_err(|e| format!("{title}, {name}: {e}"))?;
                    // Engines start their workers in the first round.
                    if round > 0 {
                        all.push(times);
                    }
                }
                let figures = |part: fn(&Times) -> std::time::Duration| {
                    all.iter()
                        .map(|t| part(t).as_nanos() as f64 / 1000.0)
                        .collect()
                };
                if counted {
                    report(title, name, "CPU", "us", figures(|t| t.cpu));
                } else {
                    report(title, name, "blocked", "us", figures(|t| t.blocked));
                    report(title, name, "total", "us", figures(|t| t.total));
                }
            }
        }
    }
    Ok(())
}
