// SPDX-License-Identifier: GPL-2.0

//! Measures what one operation costs: all instructions from filling in its request, through
//! submitting and doing it, to taking its result.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::context::EVENTS;
use crate::engines::{Engine, Maker, ENGINES};
use crate::guest::{open, Result, O_DIRECT};
use crate::parked;
use crate::report::report_mean;
use crate::request::{Buffer, Op, Request};
use crate::system::{self, ticks, IdleCounter};

const BATCHES: [usize; 4] = [1, 8, 32, 128];
/// Operations in one slice. A slice is short beside the timer's period, so that few slices include
/// an interrupt of the timer.
const SLICE: usize = 128;
const WARM_UP: usize = 20;
const SLICES: usize = 51;
/// The numbers of an operation for each device of a case with several devices.
const WARM_UP_EACH: usize = 1;
const SLICES_EACH: usize = 3;
const BLOCK: usize = 4096;

/// A kind of operation that is measured.
struct Case {
    name: &'static str,
    /// While the device works, the CPU is idle.
    sleeps: bool,
    op: Op,
    len: usize,
    /// One file, or several whose devices interrupt at different times. A nanosecond of that time
    /// can change the order of requests, interrupts and wake-ups, so that figures of one device
    /// differ by 20 % from boot to boot; the mean over the devices does not differ so.
    files: Vec<File>,
}

/// A file on a tmpfs.
const IN_MEMORY: &str = "/tmp/kaio-bench";

/// The numbers of the null_blk devices that qemu/init makes for the case direct-irq.
const WITH_TIMER: std::ops::Range<usize> = 2..66;

fn cases(dir: &Path) -> Result<Vec<Case>> {
    let ready = system::eventfd(1)?;
    let case = |name, op, len, files| Case {
        name,
        sleeps: name == "direct-irq",
        op,
        len,
        files,
    };
    let fill = |path: &Path| {
        let mut file = File::create(path)?;
        file.write_all(&vec![7; 2 * BLOCK * SLICE])?;
        file.sync_all()
    };
    let path = dir.join("cached");
    fill(&path)?;
    let in_memory = Path::new(IN_MEMORY);
    fill(in_memory)?;
    let read_write = |path| open(path, OpenOptions::new().read(true).write(true));
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
        case("cached-write", Op::Write, BLOCK, vec![read_write(&path)?]),
        case("tmpfs-read", Op::Read, BLOCK, vec![read_write(in_memory)?]),
        case(
            "tmpfs-write",
            Op::Write,
            BLOCK,
            vec![read_write(in_memory)?],
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

/// Returns whether the engine has the operation. Native AIO has no no-op; POSIX AIO and preadv2 are
/// measured with reads only.
fn can(engine: &str, op: Op) -> bool {
    match op {
        Op::Noop => engine.starts_with("kaio") || engine.starts_with("io_uring"),
        Op::Read => true,
        _ => engine != "preadv2" && engine != "posix",
    }
}

/// Returns the ticks of one slice of `rounds` rounds, without the idle time that `idle` counts.
fn slice(
    engine: &mut dyn Engine,
    requests: &[Request],
    rounds: usize,
    idle: Option<&IdleCounter>,
) -> Result<u64> {
    let want = requests.iter().map(Request::result).sum::<i64>() * rounds as i64;
    let left_over = || idle.map_or(0, IdleCounter::ticks);
    let idle_before = left_over();
    let start = ticks();
    let sum = engine.rounds(requests, rounds);
    let took = ticks() - start - (left_over() - idle_before);
    match sum? {
        sum if sum == want => Ok(took),
        sum => Err(format!("the sum of the results is {sum}, not {want}").into()),
    }
}

/// Returns the ticks that the submit calls of a slice take.
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

/// Returns a batch of requests for each file of the case.
fn requests<'a>(case: &'a Case, batch: usize, buffers: &'a [Buffer]) -> Vec<Vec<Request<'a>>> {
    let request = |file, i| Request {
        op: case.op,
        file,
        buffer: &buffers[i],
        len: case.len,
        // The offsets are so that the block layer cannot merge requests.
        offset: (i * 11 % batch * 2 * BLOCK) as u64,
        data: i as u64,
    };
    let batch_for = |file| (0..batch).map(|i| request(file, i)).collect();
    case.files.iter().map(batch_for).collect()
}

/// Returns the ticks of one operation, measured in many slices for each file.
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

/// Returns whether word `at` of the filter CASE,ENGINE,BATCH allows `name`. A word that is empty or
/// missing allows every name.
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

    fn whole(&self, idle: Option<&IdleCounter>, which: impl Fn(&Case, &str) -> bool) -> Result<()> {
        self.each(
            which,
            |case| case.name.to_string(),
            |engine, requests, rounds| slice(engine, requests, rounds, idle),
        )
    }
}

/// Measures what starts no thread. A process with several threads pays more for each descriptor, so
/// this comes before [`with_threads`].
pub fn single_threaded(dir: &Path, device: &File, filter: &[&str]) -> Result<()> {
    let ops = Ops::new(dir, device, filter)?;
    ops.whole(None, |case, name| !case.sleeps && name != "posix")
}

/// Measures submitting alone, of engines that start no thread which would run meanwhile.
pub fn submit_only(dir: &Path, device: &File, filter: &[&str]) -> Result<()> {
    let one_way = ["native", "kaio", "io_uring"];
    let ops = Ops::new(dir, device, filter)?;
    ops.each(
        |_, name| one_way.contains(&name),
        |case| format!("submit {}", case.name),
        submit_slice,
    )
}

/// Measures a part of [`single_threaded`], the smallest and the largest batch, and in virtual time
/// direct reads that an interrupt ends, one at a time and 32 at once.
pub fn short(dir: &Path, device: &File, virtual_time: bool) -> Result<()> {
    let is_compared = |name: &str| name != "posix" && name != "preadv2";
    let mut ops = Ops::new(dir, device, &[])?;
    ops.batches = &[1, 128];
    ops.whole(None, |case, name| !case.sleeps && is_compared(name))?;
    if virtual_time {
        ops.batches = &[1, 32];
        let idle = IdleCounter::new()?;
        let is_best = |name: &str| ["kaio-ring", "native-ring", "io_uring-defer"].contains(&name);
        ops.whole(Some(&idle), |case, name| case.sleeps && is_best(name))?;
    }
    Ok(())
}

/// Measures what starts threads. Idle time is subtracted in virtual time only, where instructions
/// can count it.
pub fn with_threads(dir: &Path, device: &File, virtual_time: bool, filter: &[&str]) -> Result<()> {
    let ops = Ops::new(dir, device, filter)?;
    ops.whole(None, |case, name| !case.sleeps && name == "posix")?;
    if !wanted(filter, 0, "direct-irq") {
        return Ok(());
    }
    let idle = virtual_time.then(IdleCounter::new).transpose()?;
    ops.whole(idle.as_ref(), |case, _| case.sleeps)
}

/// The port that scripts/vm connects to QEMU's monitor.
const MONITOR: &str = "/dev/ttyS2";

/// Gives the monitor commands, and waits until it has done them: until it has printed a sum.
fn run_in_monitor(monitor: &mut File, commands: &[&str]) -> Result<()> {
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

/// Marks in the log where the slice begins and ends: scripts/bench-profile looks for this function.
#[no_mangle]
#[inline(never)]
extern "C" fn kaio_bench_mark() {
    std::hint::black_box(());
}

/// Runs one slice under QEMU's log, after slices that warm up. The case `parked` is a POLL that waits.
pub fn profile(dir: &Path, device: &File, words: &[&str]) -> Result<()> {
    let [case, name, batch] = words else {
        return Err("a profile is of one CASE,ENGINE,BATCH".into());
    };
    let batch: usize = batch.parse()?;
    if !(1..=SLICE).contains(&batch) || SLICE % batch != 0 {
        return Err(format!("the batch has to divide {SLICE}").into());
    }
    let make: Maker = *ENGINES
        .iter()
        .find_map(|(known, make)| (known == name).then_some(make))
        .ok_or("there is no such engine")?;
    if *case == "parked" {
        return under_log(parked::one_more(device, make, batch, SLICE)?);
    }
    let ops = Ops::new(dir, device, words)?;
    let case = ops.cases.iter().find(|c| c.name == *case);
    let case = case.ok_or("there is no such case")?;
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
    under_log(|| run(&files[0]))
}

/// Runs `slice`, which returns its ticks, under QEMU's log.
fn under_log(slice: impl FnOnce() -> Result<u64>) -> Result<()> {
    let mut monitor = File::options().read(true).write(true).open(MONITOR)?;
    run_in_monitor(&mut monitor, &["one-insn-per-tb on", "log exec,nochain"])?;
    kaio_bench_mark();
    let took = slice();
    kaio_bench_mark();
    run_in_monitor(&mut monitor, &["log none"])?;
    println!(
        "the slice under the log took {} ticks for {SLICE} operations",
        took?
    );
    Ok(())
}
