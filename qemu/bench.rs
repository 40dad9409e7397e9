// SPDX-License-Identifier: GPL-2.0

//! `make bench`, within the guest: what kaio costs, and the others beside it.
//!
//!     kaio-bench DIR CLOCK WHAT     DIR is on ext4 on the slow device; CLOCK is virtual (a tick is an
//!                                   instruction, or a nanosecond of idle time) or real; WHAT is one of
//!       all                             all but threads and profile
//!       short                           a part of ops, to see whether kaio became slower
//!       ops[,CASE[,ENGINE[,BATCH]]]     one operation, from writing it down to its result
//!       submit[,CASE[,ENGINE[,BATCH]]]  submitting alone
//!       latency, parked, slow, threads  as their files say
//!       profile,CASE,ENGINE,BATCH       128 operations, under QEMU's log of instructions
//!
//! What is measured is printed as lines for scripts/bench-report, fields separated by tabs:
//!
//!     measured CASE ENGINE VARIANT UNIT MIN MEDIAN P90 MAX
//!
//! VARIANT of an operation is the batch. UNIT: insn for ticks of the time stamp counter, which counts
//! instructions under QEMU's icount; us; bytes. Of a case on several devices, each number is the mean
//! over them. A line "rate R" says how many ticks a nanosecond has. A wrong result ends the program.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

mod engines;
mod guest;
mod kaio;
mod latency;
mod ops;
mod parked;
mod slow;
mod slow_cases;
mod threads;

use engines::{ticks, Engine, Kaio, Native, Posix, Preadv2, Uring, Way, URING_DEFER};
use guest::{wait_until_idle, Result};

/// Makes an engine that can hold so many requests.
type Maker = for<'a> fn(&'a File, u32) -> std::io::Result<Box<dyn Engine + 'a>>;

/// All engines, and the ways to take results from them.
const ENGINES: [(&str, Maker); 9] = [
    ("preadv2", |_, _| Ok(Box::new(Preadv2::default()))),
    ("native", |_, n| Ok(Box::new(Native::new(n, Way::Call)?))),
    ("native-ring", |_, n| {
        Ok(Box::new(Native::new(n, Way::Ring)?))
    }),
    ("kaio", |device, n| {
        Ok(Box::new(Kaio::new(device, n, Way::Call)?))
    }),
    ("kaio-ring", |device, n| {
        Ok(Box::new(Kaio::new(device, n, Way::Ring)?))
    }),
    ("kaio-one-call", |device, n| {
        Ok(Box::new(Kaio::new(device, n, Way::OneCall)?))
    }),
    ("io_uring", |_, n| Ok(Box::new(Uring::new(n, 0)?))),
    ("io_uring-defer", |_, n| {
        Ok(Box::new(Uring::new(n, URING_DEFER)?))
    }),
    ("posix", |_, _| Ok(Box::new(Posix::default()))),
];

/// Prints figures of one thing.
fn report(case: &str, engine: &str, variant: &str, unit: &str, figures: Vec<f64>) {
    report_mean(case, engine, variant, unit, vec![figures]);
}

/// Prints figures of one thing on several devices: least, median and so on of each, and of those the
/// means.
fn report_mean(case: &str, engine: &str, variant: &str, unit: &str, mut devices: Vec<Vec<f64>>) {
    for figures in &mut devices {
        figures.sort_by(f64::total_cmp);
    }
    let at = |percent: usize| {
        let of = |figures: &Vec<f64>| figures[(figures.len() - 1) * percent / 100];
        devices.iter().map(of).sum::<f64>() / devices.len() as f64
    };
    println!(
        "measured\t{case}\t{engine}\t{variant}\t{unit}\t{:.2}\t{:.2}\t{:.2}\t{:.2}",
        at(0),
        at(50),
        at(90),
        at(100)
    );
}

fn bench(dir: &Path, virtual_time: bool, what: &str) -> Result<()> {
    let device = File::options().read(true).write(true).open("/dev/kaio")?;
    let words: Vec<&str> = what.split(',').collect();
    let (start, clock) = (ticks(), Instant::now());
    wait_until_idle()?;
    let rate = (ticks() - start) as f64 / clock.elapsed().as_nanos() as f64;
    println!("rate\t{rate:.6}");
    engines::go_first()?;
    let filter = &words[1..];
    match words[0] {
        "ops" => {
            ops::single_threaded(dir, &device, filter)?;
            ops::with_threads(dir, &device, virtual_time, filter)
        }
        "short" => ops::short(dir, &device),
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

fn main() {
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
