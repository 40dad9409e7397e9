// SPDX-License-Identifier: GPL-2.0

//! The part of `make bench` in the guest: measures what operations cost with each engine.
//!
//!     kaio-bench DIR CLOCK WHAT
//!
//! DIR is a folder on ext4 on the slow device. CLOCK is virtual (a tick is an instruction, or a
//! nanosecond of idle time) or real. WHAT is one of
//!
//!     all                             all but threads and profile
//!     short                           a part of ops, to see whether kaio became slower
//!     ops[,CASE[,ENGINE[,BATCH]]]     one operation, from filling in its request to its result
//!     submit[,CASE[,ENGINE[,BATCH]]]  submitting alone
//!     latency, parked, slow, threads  as the files of these names say
//!     profile,CASE,ENGINE,BATCH       128 operations, under QEMU's log of instructions
//!
//! The program prints figures as lines for scripts/bench-report. Their fields are separated by
//! tabs:
//!
//!     measured CASE ENGINE VARIANT UNIT MIN MEDIAN P90 MAX
//!
//! VARIANT of an operation is the size of the batch. UNIT is insn for ticks of the time stamp
//! counter, which counts instructions under QEMU's icount, or us, or bytes. If a case has several
//! devices, each number is the mean over them. A line "rate R" says how many ticks a nanosecond
//! has. After a wrong result the program ends.

use std::path::Path;
use std::time::Instant;

use crate::guest::{open_kaio, wait_until_idle, Result};
use crate::system::{self, ticks};
use crate::{latency, ops, parked, slow_cases, threads};

fn bench(dir: &Path, virtual_time: bool, what: &str) -> Result<()> {
    let device = open_kaio()?;
    let words: Vec<&str> = what.split(',').collect();
    let (start, clock) = (ticks(), Instant::now());
    wait_until_idle()?;
    let rate = (ticks() - start) as f64 / clock.elapsed().as_nanos() as f64;
    println!("rate\t{rate:.6}");
    system::go_first()?;
    let filter = &words[1..];
    match words[0] {
        "ops" => {
            ops::single_threaded(dir, &device, filter)?;
            ops::with_threads(dir, &device, virtual_time, filter)
        }
        "short" => ops::short(dir, &device, virtual_time),
        "submit" => ops::submit_only(dir, &device, filter),
        "latency" => latency::latency(&device),
        "parked" => parked::parked(&device),
        "slow" => slow_cases::slow(dir, &device),
        "threads" => threads::threads(&device),
        "profile" => ops::profile(dir, &device, filter),
        "all" => {
            ops::single_threaded(dir, &device, &[])?;
            ops::submit_only(dir, &device, &[])?;
            parked::parked(&device)?;
            latency::latency(&device)?;
            slow_cases::slow(dir, &device)?;
            ops::with_threads(dir, &device, virtual_time, &[])
        }
        other => Err(format!("'{other}' is nothing that is measured").into()),
    }
}

/// Runs the program.
pub fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, dir, clock, what] = &args[..] else {
        eprintln!(
            "usage: kaio-bench DIR CLOCK WHAT (a folder on ext4; virtual or real; all, ops, ...)"
        );
        std::process::exit(2);
    };
    if let Err(e) = bench(Path::new(dir), clock == "virtual", what) {
        eprintln!("kaio-bench: {e}");
        std::process::exit(1);
    }
}
