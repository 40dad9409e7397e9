// SPDX-License-Identifier: GPL-2.0

//! `make bench`, within the guest: what operations cost, by kaio and beside it.
//!
//!     kaio-bench DIR WHAT     DIR is on ext4; WHAT is one of
//!       ops[,CASE[,ENGINE[,BATCH]]]     instructions for one operation
//!       profile,CASE,ENGINE,BATCH       one slice of these, seen by QEMU's log of instructions
//!
//! What is measured is printed as lines for scripts/bench, fields separated by tabs:
//!
//!     measured CASE ENGINE VARIANT UNIT MIN MEDIAN P90 MAX
//!
//! VARIANT of ops is the batch. UNIT: insn for ticks of the time stamp counter, which counts
//! instructions under QEMU's icount; us, bytes. A line "rate R" says how many ticks a nanosecond has. A wrong result ends the program.
//!
//! An operation is: the request is written down, submitted, done, and its result taken.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

mod engines;
mod guest;
mod kaio;

use engines::{ticks, Engine, Kaio, Leftover, Native, Posix, Sync, Uring, Way, URING_DEFER};
use guest::{open, wait_until_idle, Result, O_DIRECT};
use kaio::{Buffer, Op, Request};

const BATCHES: [usize; 4] = [1, 8, 32, 128];
/// Operations in one slice: short beside the timer's tick, so that few slices see one.
const SLICE: usize = 128;
const WARM_UP: usize = 40;
const SLICES: usize = 101;
const BLOCK: usize = 4096;

/// Name, and what makes it.
type Maker = for<'a> fn(&'a File) -> std::io::Result<Box<dyn Engine + 'a>>;
const ENGINES: [(&str, Maker); 9] = [
    ("preadv2", |_| Ok(Box::new(Sync::default()))),
    ("native", |_| Ok(Box::new(Native::new(Way::Call)?))),
    ("native-ring", |_| Ok(Box::new(Native::new(Way::Ring)?))),
    ("kaio", |device| Ok(Box::new(Kaio::new(device, Way::Call)?))),
    ("kaio-ring", |device| {
        Ok(Box::new(Kaio::new(device, Way::Ring)?))
    }),
    ("kaio-one-call", |device| {
        Ok(Box::new(Kaio::new(device, Way::OneCall)?))
    }),
    ("io_uring", |_| Ok(Box::new(Uring::new(0)?))),
    ("io_uring-defer", |_| Ok(Box::new(Uring::new(URING_DEFER)?))),
    ("posix", |_| Ok(Box::new(Posix::default()))),
];

/// An operation that is measured.
struct Case {
    name: &'static str,
    op: Op,
    len: usize,
    file: File,
}

fn cases(dir: &Path) -> Result<Vec<Case>> {
    let ready = engines::eventfd(1)?;
    let case = |name, op, len, file| Case {
        name,
        op,
        len,
        file,
    };
    let path = dir.join("cached");
    let mut file = File::create(&path)?;
    file.write_all(&vec![7; 2 * BLOCK * SLICE])?;
    file.sync_all()?;
    let direct = |device: &str| {
        open(
            Path::new(device),
            OpenOptions::new().read(true).custom_flags(O_DIRECT),
        )
    };
    Ok(vec![
        case("noop", Op::Noop, 0, ready.try_clone()?),
        case("poll", Op::Poll, 0, ready),
        case(
            "cached",
            Op::Read,
            512,
            open(&path, OpenOptions::new().read(true))?,
        ),
        case("direct", Op::Read, BLOCK, direct("/dev/nullb1")?),
        case("direct-irq", Op::Read, BLOCK, direct("/dev/nullb2")?),
    ])
}

/// Native AIO has no no-op; threads and preadv2 can only read.
fn can(engine: &str, op: Op) -> bool {
    match op {
        Op::Noop => engine.starts_with("kaio") || engine.starts_with("io_uring"),
        Op::Poll => engine != "preadv2" && engine != "posix",
        _ => true,
    }
}

/// Ticks for one slice of that many rounds, without what nobody used.
fn slice(
    engine: &mut dyn Engine,
    requests: &[Request],
    rounds: usize,
    idle: Option<&Leftover>,
) -> Result<u64> {
    let want = requests.iter().map(Request::result).sum::<i64>() * rounds as i64;
    let left_over = || idle.map_or(0, Leftover::ticks);
    let idle_before = left_over();
    let start = ticks();
    let sum = engine.rounds(requests, rounds);
    let took = ticks() - start - (left_over() - idle_before);
    match sum? {
        sum if sum == want => Ok(took),
        sum => Err(format!("the sum of the results is {sum}, not {want}").into()),
    }
}

fn requests<'a>(case: &'a Case, batch: usize, buffers: &'a [Buffer]) -> Vec<Request<'a>> {
    (0..batch)
        .map(|i| Request {
            op: case.op,
            file: &case.file,
            buffer: &buffers[i],
            len: case.len,
            // Nothing that the block layer could merge.
            offset: (i * 11 % batch * 2 * BLOCK) as u64,
            data: i as u64,
        })
        .collect()
}

fn measure(
    engine: &mut dyn Engine,
    case: &Case,
    batch: usize,
    buffers: &[Buffer],
    idle: Option<&Leftover>,
) -> Result<Vec<u64>> {
    let requests = requests(case, batch, buffers);
    let rounds = SLICE / batch;
    for _ in 0..WARM_UP {
        slice(engine, &requests, rounds, idle)?;
    }
    (0..SLICES)
        .map(|_| slice(engine, &requests, rounds, idle))
        .collect()
}

fn report(case: &str, engine: &str, batch: usize, mut slices: Vec<u64>) {
    slices.sort_unstable();
    let at = |percent: usize| slices[(slices.len() - 1) * percent / 100] as f64 / SLICE as f64;
    println!(
        "measured\t{case}\t{engine}\t{batch}\tinsn\t{:.2}\t{:.2}\t{:.2}\t{:.2}",
        at(0),
        at(50),
        at(90),
        at(100)
    );
}

fn ops(dir: &Path, device: &File, filter: &[&str]) -> Result<()> {
    let wanted = |at: usize, name: &str| filter.get(at).is_none_or(|f| f.is_empty() || *f == name);
    let buffers: Vec<Buffer> = (0..SLICE).map(|_| Buffer::new(BLOCK)).collect();
    let mut idle = None;
    for case in cases(dir)? {
        if !wanted(0, case.name) {
            continue;
        }
        if case.name == "direct-irq" {
            idle = Some(Leftover::new()?);
        }
        for (name, make) in ENGINES {
            if !wanted(1, name) || !can(name, case.op) {
                continue;
            }
            let mut engine = make(device)?;
            for batch in BATCHES {
                if wanted(2, &batch.to_string()) {
                    let slices = measure(engine.as_mut(), &case, batch, &buffers, idle.as_ref())
                        .map_err(|e| format!("{}, {name}, {batch}: {e}", case.name))?;
                    report(case.name, name, batch, slices);
                }
            }
        }
    }
    Ok(())
}

/// QEMU's monitor is at the other end of this port (scripts/vm).
const MONITOR: &str = "/dev/ttyS2";

/// Has the monitor do something, and waits until it did: until it answers a sum.
fn tell(monitor: &mut File, commands: &[&str]) -> Result<()> {
    const ANSWER: u32 = 20003;
    for command in commands {
        write!(monitor, "{command}\r")?;
    }
    write!(monitor, "print /d {}+1\r", ANSWER - 1)?;
    let mut answer = Vec::new();
    while !answer.ends_with(ANSWER.to_string().as_bytes()) {
        let mut byte = [0];
        monitor.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    Ok(())
}

/// Where in the log the slice begins, and where it ends: scripts/bench-profile looks for this.
#[no_mangle]
#[inline(never)]
extern "C" fn kaio_bench_mark() {
    std::hint::black_box(());
}

/// Runs one warm slice under QEMU's log.
fn profile(dir: &Path, device: &File, words: &[&str]) -> Result<()> {
    let [case, name, batch] = words else {
        return Err("a profile is of one CASE,ENGINE,BATCH".into());
    };
    let batch: usize = batch.parse()?;
    if !(1..=SLICE).contains(&batch) || SLICE % batch != 0 {
        return Err(format!("the batch has to divide {SLICE}").into());
    }
    let all = cases(dir)?;
    let case = all.iter().find(|c| c.name == *case).ok_or("no such case")?;
    let make = ENGINES
        .iter()
        .find(|e| e.0 == *name)
        .ok_or("no such engine")?
        .1;
    if !can(name, case.op) {
        return Err(format!("{name} cannot do that").into());
    }
    let buffers: Vec<Buffer> = (0..SLICE).map(|_| Buffer::new(BLOCK)).collect();
    let mut engine = make(device)?;
    let slices = measure(engine.as_mut(), case, batch, &buffers, None)?;
    report(case.name, name, batch, slices);
    let requests = requests(case, batch, &buffers);
    let mut monitor = File::options().read(true).write(true).open(MONITOR)?;
    tell(&mut monitor, &["one-insn-per-tb on", "log exec,nochain"])?;
    kaio_bench_mark();
    let took = slice(engine.as_mut(), &requests, SLICE / batch, None);
    kaio_bench_mark();
    tell(&mut monitor, &["log none"])?;
    println!(
        "the slice under the log took {} ticks for {SLICE} operations",
        took?
    );
    Ok(())
}

fn bench(dir: &Path, what: &str) -> Result<()> {
    let device = File::options().read(true).write(true).open("/dev/kaio")?;
    let words: Vec<&str> = what.split(',').collect();
    let (start, clock) = (ticks(), Instant::now());
    wait_until_idle()?;
    let rate = (ticks() - start) as f64 / clock.elapsed().as_nanos() as f64;
    println!("rate\t{rate:.6}");
    engines::go_first()?;
    match words[0] {
        "ops" => ops(dir, &device, &words[1..]),
        "profile" => profile(dir, &device, &words[1..]),
        other => Err(format!("'{other}' is nothing that is measured").into()),
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, dir, what] = &args[..] else {
        eprintln!("usage: kaio-bench DIR WHAT (a folder on ext4; ops or profile)");
        std::process::exit(2);
    };
    if let Err(e) = bench(Path::new(dir), what) {
        eprintln!("kaio-bench: {e}");
        std::process::exit(1);
    }
}
