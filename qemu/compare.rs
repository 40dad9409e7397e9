// SPDX-License-Identifier: GPL-2.0

//! How `make run` ends: native AIO, kaio and io_uring do the same on a slow device.
//!
//!     kaio-compare DIR CLOCK     DIR is on that device; CLOCK is what time means here: icount
//!                                (virtual time, in which numbers repeat) or real
//!
//! Of each engine we see how long the submitter was blocked, and when all results were there. Each
//! result is checked, and so is that the device was really asked: a wrong one ends the program.
//! Whether kaio keeps its promises is computed from the numbers and said. In virtual time any answer
//! but "yes" is a failure; real time depends on the host, and is only looked at.
//!
//! The guest has one CPU, on which the workers of an engine would get in the submitter's way, or
//! not, as the scheduler likes. So the submitter goes first: it is as if it had a CPU of its own.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

mod engines;
mod guest;
mod kaio;
mod slow;

use engines::{Engine, Kaio, Native, Uring, Way};
use guest::{wait_until_idle, Result};
use kaio::EVENTS;
use slow::{Case, Slow, Times, WRITER_COMES};

/// Rounds that count. Before them there is one that does not: workers are started in it.
const ROUNDS: usize = 5;
const ENGINES: [&str; 3] = ["native AIO", "kaio", "io_uring"];
const KAIO: usize = 1;
const URING: usize = 2;

/// In the order of the table: the row's title, and whether kaio is to keep up with io_uring there.
const CASES: [(Case, &str, bool); 5] = [
    (Case::ColdReads, "32 cold 4 KiB buffered reads", true),
    (Case::DirectReads, "256 O_DIRECT reads, 64 tags", true),
    (Case::HoleWrites, "32 O_DIRECT writes into holes", true),
    (Case::Fsync, "64 buffered writes, then fsync", false),
    (Case::EmptyPipe, "read of an empty pipe (*)", false),
];

/// Of both times; nothing of nothing.
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

/// What time means in the guest, and whether numbers repeat.
const CLOCKS: [(&str, &str, bool); 2] = [
    ("icount", "virtual time of QEMU TCG, icount", true),
    ("real", "real time", false),
];

/// What kaio promises, and whether it was so. `None`: one of the engines is not here.
struct Verdict {
    promise: String,
    kept: Option<bool>,
}

/// The medians, and one line for each thing that kaio promises.
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
        "(*) somebody writes to it {} ms after the submission began",
        WRITER_COMES.as_millis()
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

/// Does kaio keep up with io_uring? It promises two things.
fn judge(
    title: &str,
    kaio: Option<Times>,
    best_blocked: Option<Duration>,
    uring: Option<Times>,
) -> [Verdict; 2] {
    let verdict = |promise, kaio: Option<Duration>, limit: Option<Duration>| Verdict {
        promise: format!("{title}: {promise}"),
        kept: kaio.zip(limit).map(|(kaio, limit)| kaio <= limit),
    };
    [
        verdict(
            "submitter blocked: kaio <= io_uring's best",
            kaio.map(|t| t.blocked),
            best_blocked,
        ),
        verdict(
            "total within 10 % of io_uring",
            kaio.map(|t| t.total),
            uring.map(|t| t.total + t.total / 10),
        ),
    ]
}

fn compare(dir: &Path, clock: &str) -> Result<Vec<Verdict>> {
    println!("native AIO, kaio and io_uring on a device that takes 2 ms for each request:");
    let device = File::options().read(true).write(true).open("/dev/kaio")?;
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
    engines::go_first()?;
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

fn main() {
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
