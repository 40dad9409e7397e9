// SPDX-License-Identifier: GPL-2.0

//! What one operation costs from the first to the last instruction: it is written down, submitted,
//! done, and its result taken.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::engines::{self, ticks, Engine, Leftover};
use crate::guest::{open, Result, O_DIRECT};
use crate::kaio::{Buffer, Op, Request, EVENTS};
use crate::{report_mean, Maker, ENGINES};

const BATCHES: [usize; 4] = [1, 8, 32, 128];
/// Operations in one slice: short beside the timer's tick, so that few slices see one.
const SLICE: usize = 128;
const WARM_UP: usize = 20;
const SLICES: usize = 51;
/// On each of several devices.
const WARM_UP_EACH: usize = 1;
const SLICES_EACH: usize = 3;
const BLOCK: usize = 4096;

/// An operation that is measured.
struct Case {
    name: &'static str,
    /// The CPU is idle meanwhile.
    sleeps: bool,
    op: Op,
    len: usize,
    /// One, or several that differ in when they interrupt. How requests, interrupts and wake-ups fall
    /// into step depends on that to the nanosecond and, with one device, differs by 20 % from boot to
    /// boot; the mean over devices does not.
    files: Vec<File>,
}

/// Devices of the case direct-irq: those that /init made.
const WITH_TIMER: std::ops::Range<usize> = 2..66;

fn cases(dir: &Path) -> Result<Vec<Case>> {
    let ready = engines::eventfd(1)?;
    let case = |name, op, len, files| Case {
        name,
        sleeps: name == "direct-irq",
        op,
        len,
        files,
    };
    let path = dir.join("cached");
    let mut file = File::create(&path)?;
    file.write_all(&vec![7; 2 * BLOCK * SLICE])?;
    file.sync_all()?;
    let direct = |number: usize| {
        open(
            Path::new(&format!("/dev/nullb{number}")),
            OpenOptions::new().read(true).custom_flags(O_DIRECT),
        )
    };
    Ok(vec![
        case("noop", Op::Noop, 0, vec![ready.try_clone()?]),
        case("poll", Op::Poll, 0, vec![ready]),
        case(
            "cached",
            Op::Read,
            512,
            vec![open(&path, OpenOptions::new().read(true))?],
        ),
        case("direct", Op::Read, BLOCK, vec![direct(1)?]),
        case(
            "direct-irq",
            Op::Read,
            BLOCK,
            WITH_TIMER.map(direct).collect::<Result<_>>()?,
        ),
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

/// Ticks for submitting alone.
fn submit_slice(engine: &mut dyn Engine, requests: &[Request], rounds: usize) -> Result<u64> {
    let mut took = 0;
    for _ in 0..rounds {
        engine.prepare(requests);
        let start = ticks();
        engine.submit()?;
        took += ticks() - start;
        engine.take(requests.len())?;
    }
    Ok(took)
}

/// A batch of requests for each file of the case.
fn requests<'a>(case: &'a Case, batch: usize, buffers: &'a [Buffer]) -> Vec<Vec<Request<'a>>> {
    let request = |file, i| Request {
        op: case.op,
        file,
        buffer: &buffers[i],
        len: case.len,
        // Nothing that the block layer could merge.
        offset: (i * 11 % batch * 2 * BLOCK) as u64,
        data: i as u64,
    };
    let batch_for = |file| (0..batch).map(|i| request(file, i)).collect();
    case.files.iter().map(batch_for).collect()
}

/// Ticks of an operation, in many slices for each file.
fn measure(
    files: &[Vec<Request>],
    mut slice: impl FnMut(&[Request]) -> Result<u64>,
) -> Result<Vec<Vec<f64>>> {
    let (warm_up, slices) = match files.len() {
        1 => (0, SLICES),
        _ => (WARM_UP_EACH, SLICES_EACH),
    };
    for _ in 0..WARM_UP {
        slice(&files[0])?;
    }
    let each = |requests: &Vec<Request>| {
        for _ in 0..warm_up {
            slice(requests)?;
        }
        (0..slices)
            .map(|_| slice(requests).map(|took| took as f64 / SLICE as f64))
            .collect()
    };
    files.iter().map(each).collect()
}

/// What is wanted of CASE,ENGINE,BATCH; a word that is empty or missing is any.
fn wanted(filter: &[&str], at: usize, name: &str) -> bool {
    filter.get(at).is_none_or(|f| f.is_empty() || *f == name)
}

struct Ops<'a> {
    device: &'a File,
    cases: Vec<Case>,
    buffers: Vec<Buffer>,
    filter: &'a [&'a str],
    batches: &'a [usize],
}

impl Ops<'_> {
    fn new<'a>(dir: &Path, device: &'a File, filter: &'a [&'a str]) -> Result<Ops<'a>> {
        Ok(Ops {
            device,
            cases: cases(dir)?,
            buffers: (0..SLICE).map(|_| Buffer::new(BLOCK)).collect(),
            filter,
            batches: &BATCHES,
        })
    }

    /// Measures every batch of every such case and engine.
    fn each(
        &self,
        which: impl Fn(&Case, &str) -> bool,
        title: impl Fn(&Case) -> String,
        mut slice: impl FnMut(&mut dyn Engine, &[Request], usize) -> Result<u64>,
    ) -> Result<()> {
        for case in self.cases.iter().filter(|c| wanted(self.filter, 0, c.name)) {
            for (name, make) in ENGINES {
                if !wanted(self.filter, 1, name) || !can(name, case.op) || !which(case, name) {
                    continue;
                }
                let mut engine = make(self.device, EVENTS as u32)?;
                for &batch in self.batches {
                    if wanted(self.filter, 2, &batch.to_string()) {
                        let files = requests(case, batch, &self.buffers);
                        let run =
                            |requests: &[Request]| slice(engine.as_mut(), requests, SLICE / batch);
                        let figures = measure(&files, run)
                            .map_err(|e| format!("{}, {name}, {batch}: {e}", case.name))?;
                        let batch = batch.to_string();
                        report_mean(&title(case), name, &batch, "insn", figures);
                    }
                }
            }
        }
        Ok(())
    }

    fn whole(&self, idle: Option<&Leftover>, which: impl Fn(&Case, &str) -> bool) -> Result<()> {
        self.each(
            which,
            |case| case.name.to_string(),
            |engine, requests, rounds| slice(engine, requests, rounds, idle),
        )
    }
}

/// A process with several threads pays more for each descriptor. So whatever starts one is last.
pub fn single_threaded(dir: &Path, device: &File, filter: &[&str]) -> Result<()> {
    let ops = Ops::new(dir, device, filter)?;
    ops.whole(None, |case, name| !case.sleeps && name != "posix")
}

/// Submitting alone, without a thread that would run meanwhile.
pub fn submit_only(dir: &Path, device: &File, filter: &[&str]) -> Result<()> {
    let one_way = ["native", "kaio", "io_uring"];
    let ops = Ops::new(dir, device, filter)?;
    ops.each(
        |_, name| one_way.contains(&name),
        |case| format!("submit {}", case.name),
        submit_slice,
    )
}

/// A part of the above, quickly: the ends of what can be batched.
pub fn short(dir: &Path, device: &File) -> Result<()> {
    let mut ops = Ops::new(dir, device, &[])?;
    ops.batches = &[1, 128];
    ops.whole(None, |case, name| {
        !case.sleeps && name != "posix" && name != "preadv2"
    })
}

/// What is idle is left out of virtual time only: it is counted in instructions.
pub fn with_threads(dir: &Path, device: &File, virtual_time: bool, filter: &[&str]) -> Result<()> {
    let ops = Ops::new(dir, device, filter)?;
    ops.whole(None, |case, name| !case.sleeps && name == "posix")?;
    if !wanted(filter, 0, "direct-irq") {
        return Ok(());
    }
    let idle = virtual_time.then(Leftover::new).transpose()?;
    ops.whole(idle.as_ref(), |case, _| case.sleeps)
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
pub fn profile(dir: &Path, device: &File, words: &[&str]) -> Result<()> {
    let [case, name, batch] = words else {
        return Err("a profile is of one CASE,ENGINE,BATCH".into());
    };
    let batch: usize = batch.parse()?;
    if !(1..=SLICE).contains(&batch) || SLICE % batch != 0 {
        return Err(format!("the batch has to divide {SLICE}").into());
    }
    let ops = Ops::new(dir, device, words)?;
    let case = ops.cases.iter().find(|c| c.name == *case);
    let case = case.ok_or("there is no such case")?;
    let make: Maker = *ENGINES
        .iter()
        .find_map(|(known, make)| (known == name).then_some(make))
        .ok_or("there is no such engine")?;
    if !can(name, case.op) {
        return Err(format!("{name} cannot do that").into());
    }
    let mut engine = make(device, EVENTS as u32)?;
    let files = requests(case, batch, &ops.buffers);
    let mut run = |requests: &[Request]| slice(engine.as_mut(), requests, SLICE / batch, None);
    report_mean(
        &format!("profile {}", case.name),
        name,
        words[2],
        "insn",
        measure(&files, &mut run)?,
    );
    let mut monitor = File::options().read(true).write(true).open(MONITOR)?;
    tell(&mut monitor, &["one-insn-per-tb on", "log exec,nochain"])?;
    kaio_bench_mark();
    let took = run(&files[0]);
    kaio_bench_mark();
    tell(&mut monitor, &["log none"])?;
    println!(
        "the slice under the log took {} ticks for {SLICE} operations",
        took?
    );
    Ok(())
}
