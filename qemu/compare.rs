// SPDX-License-Identifier: GPL-2.0

//! How `make run` ends: native AIO, kaio and io_uring do the same on a slow device.
//!
//!     kaio-compare DIR CLOCK     DIR is on that device; CLOCK says what time means here
//!
//! Of each engine we see how long the submitter was blocked, and when all results were there. Each
//! result is checked, and so is that the device was really asked: a wrong one ends the program.
//! Whether kaio keeps its promises is computed from the numbers and said; a "no" ends nothing.
//!
//! The guest has one CPU, on which the workers of an engine would get in the submitter's way, or
//! not, as the scheduler likes. So the submitter goes first: it is as if it had a CPU of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

mod engines;
mod guest;
mod kaio;

use engines::{Engine, Event, Kaio, Native, Uring, Way};
use guest::{open, wait_until_idle, Result, O_DIRECT};
use kaio::{Buffer, Op, Request};

/// Rounds that count. Before them there is one that does not: workers are started in it.
const ROUNDS: usize = 5;
const ENGINES: [&str; 3] = ["native AIO", "kaio", "io_uring"];
const KAIO: usize = 1;
const URING: usize = 2;

const PAGE: usize = 4096;
/// What the device counts in.
const SECTOR: usize = 512;
/// Of the file that is read.
const PAGES: usize = 2048;
/// Reads that are in flight at most: four times what the device has tags for.
const DEPTH: usize = 256;
/// When somebody writes to the pipe.
const WRITER_COMES: Duration = Duration::from_millis(20);
/// Nothing that is right takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an engine can be asked to do.
#[derive(Clone, Copy)]
enum Case {
    ColdReads,
    DirectReads,
    HoleWrites,
    Fsync,
    EmptyPipe,
}

/// In the order of the table: the row's title, and whether kaio is to keep up with io_uring there.
const CASES: [(Case, &str, bool); 5] = [
    (Case::ColdReads, "32 cold 4 KiB buffered reads", true),
    (Case::DirectReads, "256 O_DIRECT reads, 64 tags", true),
    (Case::HoleWrites, "32 O_DIRECT writes into holes", true),
    (Case::Fsync, "64 buffered writes, then fsync", false),
    (Case::EmptyPipe, "read of an empty pipe (*)", false),
];

/// What is measured.
#[derive(Clone, Copy, Default)]
struct Times {
    blocked: Duration,
    total: Duration,
}

/// What `page` of a file has if it was written as number `version`.
fn fill(page: &mut [u8], number: usize, version: u64) {
    for (i, word) in page.chunks_exact_mut(8).enumerate() {
        let n = (number * PAGE / 8 + i) as u64 ^ version << 32;
        word.copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
}

fn is_filled(page: &[u8], number: usize, version: u64) -> bool {
    let mut want = vec![0; page.len()];
    fill(&mut want, number, version);
    page == want
}

/// `count` pages that are `stride` apart, in no order: no readahead, and nothing to merge. Not the
/// first page of the file, with which readahead begins.
fn scattered(count: usize, stride: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |i| i * 11 % count * stride + 1)
}

/// Submits the requests, waits for all results, and checks them: each once, and nothing else.
fn measure(engine: &mut dyn Engine, requests: &[Request]) -> Result<Times> {
    engine.prepare(requests);
    let start = Instant::now();
    engine.submit()?;
    let blocked = start.elapsed();
    let mut events = Vec::with_capacity(requests.len());
    while events.len() < requests.len() {
        let left = requests.len() - events.len();
        match engine.wait(left, PATIENCE) {
            Ok(some) if some.is_empty() => {
                return Err(format!("{left} of {} results are missing", requests.len()).into());
            }
            Ok(some) => events.extend(some),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            Err(e) => return Err(e.into()),
        }
    }
    let total = start.elapsed();
    events.extend(engine.wait(0, Duration::ZERO)?);
    check_events(requests, &events)?;
    Ok(Times { blocked, total })
}

fn check_events(requests: &[Request], events: &[Event]) -> Result<()> {
    let mut seen = vec![false; requests.len()];
    for &(data, res) in events {
        let at = data as usize;
        let (Some(request), Some(seen)) = (requests.get(at), seen.get_mut(at)) else {
            return Err(format!("a result of request {data}, which was not submitted").into());
        };
        if std::mem::replace(seen, true) {
            return Err(format!("a second result of request {data}").into());
        }
        let want = request.result();
        if res != want {
            return Err(format!("request {data}: result {res}, not {want}").into());
        }
    }
    Ok(())
}

/// Where it is done.
struct Bench {
    dir: PathBuf,
    buffers: Vec<Buffer>,
    cold: File,
    direct: File,
    /// The device's counters.
    stat: PathBuf,
    /// Of what was written last: no two writes are of the same bytes.
    version: u64,
}

impl Bench {
    fn new(dir: &Path) -> Result<Self> {
        let path = dir.join("data");
        let mut page = [0; PAGE];
        let mut file = io::BufWriter::new(File::create(&path)?);
        for number in 0..PAGES {
            fill(&mut page, number, 0);
            file.write_all(&page)?;
        }
        file.into_inner()?.sync_all()?;
        let cold = File::open(&path)?;
        // How glibc's makedev() packs it.
        let device = cold.metadata()?.dev();
        let (major, minor) = (device >> 8 & 0xfff, device & 0xff);
        Ok(Self {
            dir: dir.into(),
            buffers: (0..DEPTH).map(|_| Buffer::new(PAGE)).collect(),
            cold,
            direct: open(&path, OpenOptions::new().read(true).custom_flags(O_DIRECT))?,
            stat: format!("/sys/dev/block/{major}:{minor}/stat").into(),
            version: 0,
        })
    }

    /// Bytes that the device has read and written.
    fn device_bytes(&self) -> Result<(usize, usize)> {
        let stat = fs::read_to_string(&self.stat)?;
        let sectors = |field| -> Result<usize> {
            let word = stat.split_whitespace().nth(field);
            Ok(word.ok_or("a short line")?.parse::<usize>()?)
        };
        Ok((sectors(2)? * SECTOR, sectors(6)? * SECTOR))
    }

    /// Nothing dirty, nothing cached, nobody else at work.
    fn settle(&self) -> Result<()> {
        engines::sync();
        fs::write("/proc/sys/vm/drop_caches", "3")?;
        thread::sleep(Duration::from_millis(20));
        Ok(())
    }

    fn run(&mut self, case: Case, engine: &mut dyn Engine) -> Result<Times> {
        self.version += 1;
        match case {
            Case::ColdReads => self.reads(engine, false, 32),
            Case::DirectReads => self.reads(engine, true, DEPTH),
            Case::HoleWrites => self.hole_writes(engine),
            Case::Fsync => self.write_and_fsync(engine),
            Case::EmptyPipe => self.empty_pipe(engine),
        }
    }

    /// Requests for these pages of `file`, each with a buffer of its own.
    fn requests<'a>(
        &'a self,
        op: Op,
        file: &'a File,
        pages: impl Iterator<Item = usize>,
    ) -> Vec<Request<'a>> {
        let request = |(i, page)| Request {
            op,
            file,
            buffer: &self.buffers[i],
            len: PAGE,
            offset: (page * PAGE) as u64,
            data: i as u64,
        };
        pages.enumerate().map(request).collect()
    }

    fn reads(&mut self, engine: &mut dyn Engine, direct: bool, count: usize) -> Result<Times> {
        for buffer in &mut self.buffers {
            buffer.bytes().fill(0);
        }
        let pages = || scattered(count, PAGES / count);
        self.settle()?;
        let before = self.device_bytes()?;
        let file = if direct { &self.direct } else { &self.cold };
        let times = measure(engine, &self.requests(Op::Read, file, pages()))?;
        let bytes = self.device_bytes()?.0 - before.0;
        if bytes < count * PAGE {
            return Err(format!("the file was not cold: {bytes} bytes were read").into());
        }
        for (buffer, page) in self.buffers.iter_mut().zip(pages()) {
            if !is_filled(buffer.bytes(), page, 0) {
                return Err(format!("page {page} was read wrongly").into());
            }
        }
        Ok(times)
    }

    /// A new file that is to be written, and the buffers filled for it.
    fn target(&mut self, flags: i32, pages: impl Iterator<Item = usize>) -> Result<File> {
        for (buffer, page) in self.buffers.iter_mut().zip(pages) {
            fill(buffer.bytes(), page, self.version);
        }
        let path = self.dir.join("target");
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            _ => (),
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).custom_flags(flags);
        open(&path, &options)
    }

    /// Whether the device has what was written to the target, and nothing but zeroes elsewhere.
    fn check_target(&self, pages: impl Iterator<Item = usize>) -> Result<()> {
        self.settle()?;
        let file = File::open(self.dir.join("target"))?;
        let mut written = vec![false; file.metadata()?.len() as usize / PAGE];
        for page in pages {
            *written.get_mut(page).ok_or("the file is too short")? = true;
        }
        let mut bytes = [0; PAGE];
        for (number, written) in written.into_iter().enumerate() {
            file.read_exact_at(&mut bytes, (number * PAGE) as u64)?;
            let right = if written {
                is_filled(&bytes, number, self.version)
            } else {
                bytes == [0; PAGE]
            };
            if !right {
                return Err(format!("page {number} was written wrongly").into());
            }
        }
        Ok(())
    }

    fn check_written(&self, before: (usize, usize), want: usize) -> Result<()> {
        let bytes = self.device_bytes()?.1 - before.1;
        if bytes < want {
            return Err(format!("of {want} bytes the device has {bytes}").into());
        }
        Ok(())
    }

    fn hole_writes(&mut self, engine: &mut dyn Engine) -> Result<Times> {
        const COUNT: usize = 32;
        const STRIDE: usize = 4;
        let pages = || scattered(COUNT, STRIDE);
        let file = self.target(O_DIRECT, pages())?;
        file.set_len((COUNT * STRIDE * PAGE) as u64)?;
        self.settle()?;
        let before = self.device_bytes()?;
        let times = measure(engine, &self.requests(Op::Write, &file, pages()))?;
        self.check_written(before, COUNT * PAGE)?;
        self.check_target(pages())?;
        Ok(times)
    }

    fn write_and_fsync(&mut self, engine: &mut dyn Engine) -> Result<Times> {
        const COUNT: usize = 64;
        let file = self.target(0, 0..COUNT)?;
        self.settle()?;
        let before = self.device_bytes()?;
        let write = measure(engine, &self.requests(Op::Write, &file, 0..COUNT))?;
        let fsync = measure(engine, &self.requests(Op::Fsync, &file, 0..1))?;
        self.check_written(before, COUNT * PAGE)?;
        self.check_target(0..COUNT)?;
        Ok(Times {
            blocked: write.blocked + fsync.blocked,
            total: write.total + fsync.total,
        })
    }

    /// The writer sleeps until its time has come, so that it takes none of the submitter's.
    fn empty_pipe(&mut self, engine: &mut dyn Engine) -> Result<Times> {
        let (reader, mut writer) = engines::pipe()?;
        let mut page = vec![0; PAGE];
        fill(&mut page, 0, self.version);
        let start = Instant::now() + Duration::from_millis(5);
        let helper = thread::spawn(move || {
            sleep_until(start + WRITER_COMES);
            writer.write_all(&page)
        });
        sleep_until(start);
        let times = measure(engine, &self.requests(Op::Read, &reader, 0..1));
        helper.join().map_err(|_| "the writer panicked")??;
        if !is_filled(self.buffers[0].bytes(), 0, self.version) {
            return Err("the pipe was read wrongly".into());
        }
        times
    }
}

fn sleep_until(then: Instant) {
    thread::sleep(then.saturating_duration_since(Instant::now()));
}

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
    })
}

/// The medians, and one line for each thing that kaio promises.
fn report(times: &[Vec<Vec<Times>>], clock: &str) -> Result<()> {
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
            verdicts.extend(judge(medians[KAIO], medians[URING]).map(|v| format!("{title}: {v}")));
        }
    }
    println!(
        "(*) somebody writes to it {} ms after the submission began",
        WRITER_COMES.as_millis()
    );
    println!();
    verdicts.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// Does kaio keep up with io_uring? It promises two things.
fn judge(kaio: Option<Times>, uring: Option<Times>) -> [String; 2] {
    let verdict = |promise, time: fn(Times) -> Duration, limit: fn(Duration) -> Duration| {
        let answer = match (kaio.map(time), uring.map(time)) {
            (Some(kaio), Some(uring)) if kaio <= limit(uring) => "yes",
            (Some(_), Some(_)) => "no",
            _ => "not measured",
        };
        format!("{promise}: {answer}")
    };
    [
        verdict(
            "submitter blocked: kaio <= io_uring",
            |t| t.blocked,
            |limit| limit,
        ),
        verdict(
            "total within 10 % of io_uring",
            |t| t.total,
            |limit| limit + limit / 10,
        ),
    ]
}

fn compare(dir: &Path, clock: &str) -> Result<()> {
    println!("native AIO, kaio and io_uring on a device that takes 2 ms for each request:");
    let device = File::options().read(true).write(true).open("/dev/kaio")?;
    let mut bench = Bench::new(dir)?;
    let mut engines: [Option<Box<dyn Engine + '_>>; 3] = [None, None, None];
    for (name, engine) in ENGINES.iter().zip(&mut engines) {
        let made = match *name {
            "kaio" => Ok(Box::new(Kaio::new(&device, Way::Call)?) as Box<dyn Engine>),
            "io_uring" => Uring::new(0).map(|e| Box::new(e) as Box<dyn Engine>),
            _ => Native::new(Way::Call).map(|e| Box::new(e) as Box<dyn Engine>),
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
    let [_, dir, clock] = &args[..] else {
        eprintln!(
            "usage: kaio-compare DIR CLOCK (a folder on a slow device; what time means here)"
        );
        std::process::exit(2);
    };
    if let Err(e) = compare(Path::new(dir), clock) {
        eprintln!("kaio-compare: {e}");
        std::process::exit(1);
    }
}
