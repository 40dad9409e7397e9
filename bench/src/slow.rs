// SPDX-License-Identifier: GPL-2.0

//! The cases on a slow device. Each case checks all results and all bytes, and that the device did
//! the work.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::engines::{Engine, Event};
use crate::guest::{open, Result, O_DIRECT};
use crate::request::{Buffer, Op, Request};
use crate::system::{self, IdleCounter};

const PAGE: usize = 4096;
/// The unit of the device's counters.
const SECTOR: usize = 512;
/// The size of the file that is read.
const PAGES: usize = 2048;
/// The most reads in flight: four times the tags of the device.
const DEPTH: usize = 256;
/// How long after the submission began another thread writes to the pipe.
pub const WRITE_DELAY: Duration = Duration::from_millis(20);
/// Results that take longer than this are missing.
const RESULT_TIMEOUT: Duration = Duration::from_secs(10);

/// A case.
#[derive(Clone, Copy)]
pub enum Case {
    ColdReads,
    DirectReads,
    HoleWrites,
    Throttled,
    Fsync,
    EmptyPipe,
}

/// The times of a case.
#[derive(Clone, Copy, Default)]
pub struct Times {
    /// How long the submit call took.
    pub blocked: Duration,
    /// The time from before the submit call until all results were there.
    pub total: Duration,
    /// The CPU time of all threads, the kernel's among them, and of interrupts. It means something
    /// only if the idle time was counted.
    pub cpu: Duration,
}

impl std::ops::Add for Times {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            blocked: self.blocked + other.blocked,
            total: self.total + other.total,
            cpu: self.cpu + other.cpu,
        }
    }
}

/// Fills a page of a file with what is expected there after write number `version`.
fn fill(page: &mut [u8], number: usize, version: u64) {
    for (i, word) in page.chunks_exact_mut(8).enumerate() {
        let n = (number * PAGE / 8 + i) as u64 ^ (version << 32);
        word.copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
}

/// Returns whether [`fill`] has filled the page.
fn is_filled(page: &[u8], number: usize, version: u64) -> bool {
    let mut want = vec![0; page.len()];
    fill(&mut want, number, version);
    page == want
}

/// Returns the numbers of `count` pages, `stride` apart and in mixed order, so that the kernel
/// neither reads ahead nor merges. The first page of a file, at which reading ahead begins, is not
/// among them.
fn scattered(count: usize, stride: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |i| i * 11 % count * stride + 1)
}

/// Submits the requests, waits for all results, and checks that each request has one, and no other
/// result comes.
fn measure(
    engine: &mut dyn Engine,
    requests: &[Request],
    idle: Option<&IdleCounter>,
) -> Result<Times> {
    let left_over = || Duration::from_nanos(idle.map_or(0, IdleCounter::ticks));
    engine.prepare(requests);
    let idle_before = left_over();
    let start = Instant::now();
    engine.submit()?;
    let blocked = start.elapsed();
    let mut events = Vec::with_capacity(requests.len());
    while events.len() < requests.len() {
        let left = requests.len() - events.len();
        match engine.wait(left, RESULT_TIMEOUT) {
            Ok(some) if some.is_empty() => {
                return Err(format!("{left} of {} results are missing", requests.len()).into());
            }
            Ok(some) => events.extend(some),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            Err(e) => return Err(e.into()),
        }
    }
    let total = start.elapsed();
    let cpu = total.saturating_sub(left_over() - idle_before);
    events.extend(engine.wait(0, Duration::ZERO)?);
    check_events(requests, &events)?;
    Ok(Times {
        blocked,
        total,
        cpu,
    })
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

/// A folder on a slow device.
pub struct Slow {
    dir: PathBuf,
    buffers: Vec<Buffer>,
    cold: File,
    direct: File,
    /// The file with the device's counters.
    stat: PathBuf,
    /// The number of the last case: no two cases write the same bytes.
    version: u64,
    /// Counts idle time, if it is to be counted.
    pub idle: Option<IdleCounter>,
}

impl Slow {
    pub fn new(dir: &Path) -> Result<Self> {
        let path = dir.join("data");
        let mut page = [0; PAGE];
        let mut file = io::BufWriter::new(File::create(&path)?);
        for number in 0..PAGES {
            fill(&mut page, number, 0);
            file.write_all(&page)?;
        }
        file.into_inner()?.sync_all()?;
        let cold = File::open(&path)?;
        // glibc's makedev() packs small numbers so.
        let device = cold.metadata()?.dev();
        let (major, minor) = ((device >> 8) & 0xfff, device & 0xff);
        Ok(Self {
            dir: dir.into(),
            buffers: (0..DEPTH).map(|_| Buffer::new(PAGE)).collect(),
            cold,
            direct: open(&path, OpenOptions::new().read(true).custom_flags(O_DIRECT))?,
            stat: format!("/sys/dev/block/{major}:{minor}/stat").into(),
            version: 0,
            idle: None,
        })
    }

    /// Returns the bytes that the device has read and written.
    fn device_bytes(&self) -> Result<(usize, usize)> {
        let stat = fs::read_to_string(&self.stat)?;
        let sectors = |field| -> Result<usize> {
            let word = stat.split_whitespace().nth(field);
            Ok(word.ok_or("a short line")?.parse::<usize>()?)
        };
        Ok((sectors(2)? * SECTOR, sectors(6)? * SECTOR))
    }

    /// Writes dirty pages, drops the caches, and gives the kernel's threads time to end their work.
    fn settle(&self) -> Result<()> {
        system::sync();
        fs::write("/proc/sys/vm/drop_caches", "3")?;
        thread::sleep(Duration::from_millis(20));
        Ok(())
    }

    pub fn run(&mut self, case: Case, engine: &mut dyn Engine) -> Result<Times> {
        self.version += 1;
        match case {
            Case::ColdReads => self.reads(engine, false, 32),
            Case::DirectReads => self.reads(engine, true, DEPTH),
            Case::HoleWrites => self.hole_writes(engine),
            Case::Throttled => self.throttled(engine),
            Case::Fsync => self.write_and_fsync(engine),
            Case::EmptyPipe => self.empty_pipe(engine),
        }
    }

    /// Returns requests for these pages of `file`, each with a buffer of its own.
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
        let times = measure(
            engine,
            &self.requests(Op::Read, file, pages()),
            self.idle.as_ref(),
        )?;
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

    /// Makes a new file that is to be written, and fills the buffers for it.
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

    /// Checks that the device has these pages of the target as they were written, and zeroes
    /// elsewhere.
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
        let times = measure(
            engine,
            &self.requests(Op::Write, &file, pages()),
            self.idle.as_ref(),
        )?;
        self.check_written(before, COUNT * PAGE)?;
        self.check_target(pages())?;
        Ok(times)
    }

    fn write_and_fsync(&mut self, engine: &mut dyn Engine) -> Result<Times> {
        const COUNT: usize = 64;
        let file = self.target(0, 0..COUNT)?;
        self.settle()?;
        let before = self.device_bytes()?;
        let write = measure(
            engine,
            &self.requests(Op::Write, &file, 0..COUNT),
            self.idle.as_ref(),
        )?;
        let fsync = measure(
            engine,
            &self.requests(Op::Fsync, &file, 0..1),
            self.idle.as_ref(),
        )?;
        self.check_written(before, COUNT * PAGE)?;
        self.check_target(0..COUNT)?;
        Ok(write + fsync)
    }

    /// Writes while there are so many dirty pages that the kernel throttles tasks which dirty more.
    fn throttled(&mut self, engine: &mut dyn Engine) -> Result<Times> {
        const COUNT: usize = 64;
        const LIMIT: &str = "/proc/sys/vm/dirty_bytes";
        const RATIO: &str = "/proc/sys/vm/dirty_ratio"; // setting the one unsets the other
        let file = self.target(0, 0..COUNT)?;
        let other = File::create(self.dir.join("other"))?;
        self.settle()?;
        let before = self.device_bytes()?;
        let ratio = fs::read(RATIO)?;
        fs::write(LIMIT, "1048576")?;
        other.write_all_at(&vec![1; 512 * PAGE], 0)?;
        let times = measure(
            engine,
            &self.requests(Op::Write, &file, 0..COUNT),
            self.idle.as_ref(),
        );
        fs::write(RATIO, ratio)?;
        self.check_target(0..COUNT)?;
        self.check_written(before, COUNT * PAGE)?;
        times
    }

    /// Reads an empty pipe. The writer sleeps before it writes, so that it takes no CPU time from
    /// the submitter.
    fn empty_pipe(&mut self, engine: &mut dyn Engine) -> Result<Times> {
        let (reader, mut writer) = system::pipe()?;
        let mut page = vec![0; PAGE];
        fill(&mut page, 0, self.version);
        let start = Instant::now() + Duration::from_millis(5);
        let helper = thread::spawn(move || {
            sleep_until(start + WRITE_DELAY);
            writer.write_all(&page)
        });
        sleep_until(start);
        let times = measure(
            engine,
            &self.requests(Op::Read, &reader, 0..1),
            self.idle.as_ref(),
        );
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
