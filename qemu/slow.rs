// SPDX-License-Identifier: GPL-2.0

//! What engines are asked to do on a slow device. Each result is checked, and each byte, and that
//! the device was really asked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::engines::{self, Engine, Event, Leftover};
use crate::guest::{open, Result, O_DIRECT};
use crate::kaio::{Buffer, Op, Request};

const PAGE: usize = 4096;
/// What the device counts in.
const SECTOR: usize = 512;
/// Of the file that is read.
const PAGES: usize = 2048;
/// Reads that are in flight at most: four times what the device has tags for.
const DEPTH: usize = 256;
/// When somebody writes to the pipe.
pub const WRITER_COMES: Duration = Duration::from_millis(20);
/// Nothing that is right takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an engine can be asked to do.
#[derive(Clone, Copy)]
pub enum Case {
    ColdReads,
    DirectReads,
    HoleWrites,
    #[allow(dead_code)] // each program uses a part
    Throttled,
    Fsync,
    EmptyPipe,
}

/// What is measured.
#[derive(Clone, Copy, Default)]
pub struct Times {
    pub blocked: Duration,
    pub total: Duration,
    /// CPU time of everybody, the kernel's threads and interrupts too, if what is left over was
    /// counted.
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
fn measure(
    engine: &mut dyn Engine,
    requests: &[Request],
    idle: Option<&Leftover>,
) -> Result<Times> {
    let left_over = || Duration::from_nanos(idle.map_or(0, Leftover::ticks));
    engine.prepare(requests);
    let idle_before = left_over();
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
    /// The device's counters.
    stat: PathBuf,
    /// Of what was written last: no two writes are of the same bytes.
    version: u64,
    /// Who counts what CPU time is left over.
    pub idle: Option<Leftover>,
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
            idle: None,
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

    /// There are so many dirty pages that whoever dirties more has to wait.
    fn throttled(&mut self, engine: &mut dyn Engine) -> Result<Times> {
        const COUNT: usize = 64;
        const LIMIT: &str = "/proc/sys/vm/dirty_bytes";
        let file = self.target(0, 0..COUNT)?;
        let other = File::create(self.dir.join("other"))?;
        self.settle()?;
        let before = self.device_bytes()?;
        fs::write(LIMIT, "1048576")?;
        other.write_all_at(&vec![1; 512 * PAGE], 0)?;
        let times = measure(
            engine,
            &self.requests(Op::Write, &file, 0..COUNT),
            self.idle.as_ref(),
        );
        fs::write(LIMIT, "0")?;
        fs::write("/proc/sys/vm/dirty_ratio", "20")?;
        self.check_target(0..COUNT)?;
        self.check_written(before, COUNT * PAGE)?;
        times
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
