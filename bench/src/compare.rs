// SPDX-License-Identifier: GPL-2.0

//! The end of `make run`: native AIO, kaio and io_uring do the same work on a slow device.
//!
//!     kaio-compare DIR CLOCK     DIR is on that device; CLOCK says what time is here: icount
//!                                (virtual time, in which numbers repeat) or real
//!
//! The program prints how long each engine blocked the submitter, and when all results were there.
//! It checks each result, and that the device did the work; after a wrong result it ends. From the
//! numbers it computes whether kaio keeps its promises, and prints the answers. In virtual time the
//! program fails unless every answer is "yes". Real time depends on the host, so there the answers
//! decide nothing.
//!
//! The guest has one CPU, on which the workers of an engine would delay the submitter or not, as
//! the scheduler decides. Therefore the scheduler prefers the submitter, as if it had a CPU of its
//! own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::context::EVENTS;
use crate::engines::{Engine, Kaio, Native, Uring, Way};
use crate::guest::{open_kaio, wait_until_idle, Result};
use crate::slow::{Case, Slow, Times, WRITE_DELAY};
use crate::system;

/// Rounds that are measured. The round before them, in which engines start their workers, is not.
const ROUNDS: usize = 5;
const ENGINES: [&str; 3] = ["native AIO", "kaio", "io_uring"];
const KAIO: usize = 1;
const URING: usize = 2;

/// The rows of the table: the case, its title, and whether kaio promises to keep up with io_uring.
const CASES: [(Case, &str, bool); 5] = [
    (Case::ColdReads, "32 cold 4 KiB buffered reads", true),
    (Case::DirectReads, "256 O_DIRECT reads, 64 tags", true),
    (Case::HoleWrites, "32 O_DIRECT writes into holes", true),
    (Case::Fsync, "64 buffered writes, then fsync", false),
    (Case::EmptyPipe, "read of an empty pipe (*)", false),
];

/// Returns the median of each time, or `None` if there are no rounds.
fn median(rounds: &[Times]) -> Option<Times> {
    let middle = |time: fn(&Times) -> Duration| {
        let mut times: Vec<Duration> = rounds.iter().map(time).collect();
        times.sort();
        times.get(times.len() / 2).copied()
    };
    Some(Times {
        blocked: middle(|t| t.blocked)?,
        total: middle(|t| t.total)?,
        cpu: middle(|t| t.cpu)?,
    })
}

/// The argument CLOCK, what it means, and whether numbers repeat.
const CLOCKS: [(&str, &str, bool); 2] = [
    ("icount", "virtual time of QEMU TCG, icount", true),
    ("real", "real time", false),
];

/// A promise of kaio's, and whether it is kept: `None` if one of the engines is not available.
struct Verdict {
    promise: String,
    kept: Option<bool>,
}

/// Prints the medians, and a line for each promise; returns the promises.
fn report(times: &[Vec<Vec<Times>>], clock: &str) -> Result<Vec<Verdict>> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    println!();
    println!(
        "submitter blocked / total, us; medians of {ROUNDS}; Linux {}, {clock}",
        release.trim()
    );
    print!("{:<34}", "");
    ENGINES.iter().for_each(|name| print!("{name:>18}"));
    println!();
    let mut verdicts = Vec::new();
    for ((_, title, promised), engines) in CASES.iter().zip(times) {
        let medians: Vec<Option<Times>> = engines.iter().map(|rounds| median(rounds)).collect();
        print!("{title:<34}");
        for times in &medians {
            let cell = times.map_or("-".into(), |t| {
                format!("{} / {}", t.blocked.as_micros(), t.total.as_micros())
            });
            print!("{cell:>18}");
        }
        println!();
        if *promised {
            let best = engines[URING].iter().map(|t| t.blocked).min();
            verdicts.extend(judge(title, medians[KAIO], best, medians[URING]));
        }
    }
    println!(
        "(*) another thread writes to it {} ms after the submission began",
        WRITE_DELAY.as_millis()
    );
    println!();
    for Verdict { promise, kept } in &verdicts {
        let answer = match kept {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not measured",
        };
        println!("{promise}: {answer}");
    }
    Ok(verdicts)
}

/// Returns the two promises of a case: the time for which kaio blocks the submitter, and the total
/// time. What is compared is what is printed, whole microseconds: less than that is no difference
/// that a reader of the table could see.
fn judge(
    title: &str,
    kaio: Option<Times>,
    best_blocked: Option<Duration>,
    uring: Option<Times>,
) -> [Verdict; 2] {
    let verdict = |promise, kaio: Option<u128>, limit: Option<u128>| Verdict {
        promise: format!("{title}: {promise}"),
        kept: kaio.zip(limit).map(|(kaio, limit)| kaio <= limit),
    };
    let total = |times: Times| times.total.as_micros();
    [
        verdict(
            "submitter blocked: kaio <= io_uring's best",
            kaio.map(|t| t.blocked.as_micros()),
            best_blocked.map(|t| t.as_micros()),
        ),
        verdict(
            "total within 10 % of io_uring",
            kaio.map(total),
            uring.map(|t| total(t) + total(t) / 10),
        ),
    ]
}

fn compare(dir: &Path, clock: &str) -> Result<Vec<Verdict>> {
    println!("native AIO, kaio and io_uring on a device that takes 2 ms for each request:");
    let device = open_kaio()?;
    let mut bench = Slow::new(dir)?;
    let mut engines: [Option<Box<dyn Engine + '_>>; 3] = [None, None, None];
    for (name, engine) in ENGINES.iter().zip(&mut engines) {
        let made = match *name {
            "kaio" => {
                Ok(Box::new(Kaio::new(&device, EVENTS as u32, Way::Call)?) as Box<dyn Engine>)
            }
            "io_uring" => Uring::new(EVENTS as u32, 0).map(|e| Box::new(e) as Box<dyn Engine>),
            _ => Native::new(EVENTS as u32, Way::Call).map(|e| Box::new(e) as Box<dyn Engine>),
        };
        match made {
            Ok(made) => *engine = Some(made),
            Err(e) => println!("  {name} is not here: {e}"),
        }
    }
    wait_until_idle()?;
    system::go_first()?;
    let mut times = vec![vec![Vec::new(); ENGINES.len()]; CASES.len()];
    for round in 0..=ROUNDS {
        println!(
            "  round {round} of {ROUNDS}{}",
            if round == 0 { ", a rehearsal" } else { "" }
        );
        for (&(case, title, _), times) in CASES.iter().zip(&mut times) {
            for turn in 0..ENGINES.len() {
                let at = (round + turn) % ENGINES.len();
                let Some(engine) = &mut engines[at] else {
                    continue;
                };
                let took = bench
                    .run(case, engine.as_mut())
                    .map_err(|e| format!("{title}, {}: {e}", ENGINES[at]))?;
                if round > 0 {
                    times[at].push(took);
                }
            }
        }
    }
    println!("  all results and all bytes were right");
    report(&times, clock)
}

/// Runs the program.
pub fn main() {
    let args: Vec<String> = std::env::args().collect();
    let clock = |name: &String| CLOCKS.iter().find(|(known, ..)| known == name);
    let (Some(dir), Some(&(_, clock, repeats)), 3) =
        (args.get(1), args.get(2).and_then(clock), args.len())
    else {
        eprintln!(
            "usage: kaio-compare DIR icount|real (a folder on a slow device; what time means here)"
        );
        std::process::exit(2);
    };
    match compare(Path::new(dir), clock) {
        Ok(verdicts) if repeats => {
            let broken = verdicts.iter().filter(|v| v.kept != Some(true)).count();
            if broken > 0 {
                eprintln!(
                    "kaio-compare: of {} promises {broken} are not kept: see above",
                    verdicts.len()
                );
                std::process::exit(1);
            }
        }
        Ok(_) => (),
        Err(e) => {
            eprintln!("kaio-compare: {e}");
            std::process::exit(1);
        }
    }
}
