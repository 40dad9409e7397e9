// SPDX-License-Identifier: GPL-2.0

//! A provider of kaio in Rust: a device whose reads and writes wait for a timer.
//!
//! It does what `kaio_ticker_c.c` does; `kaio_ticker.h` describes it. A read exchanges its promise
//! for a [`Kick`], a write for a [`Completion`]; the tick uses them, in hard interrupt (with
//! `PREEMPT_RT` in a softirq, in which timers expire then).
//!
//! Locking: `Ticker::inner` is an ordinary spinlock, which an interrupt may only try to take. A
//! tick that finds it taken comes again a moment later.

use kernel::{
    bindings, impl_has_hr_timer, ioctl, new_mutex, new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        ArcBorrow,
        Mutex,
        SpinLock, //
    },
    time::{
        delay::fsleep,
        hrtimer::{
            ArcHrTimerHandle,
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart,
            RelativeMode, //
        },
        Delta,
        Monotonic, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

#[path = "../include/rust/kaio.rs"]
#[allow(dead_code)]
mod kaio;

use kaio::{
    Answer,
    Attempt,
    Completion,
    Id,
    Kick,
    Owed,
    Promise,
    Provider,
    Registration, //
};

module! {
    type: Sample,
    name: "kaio_ticker_rust",
    authors: ["The kaio developers"],
    description: "A provider of kaio: a device whose reads and writes wait for a timer",
    license: "GPL",
}

struct Sample {
    _device: Registration<OpenFile>,
}

impl kernel::Module for Sample {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            _device: Registration::new()?,
        })
    }
}

const MAGIC: u32 = 0xBD;
const SET: u32 = ioctl::_IOW::<[u64; 2]>(MAGIC, 0);
const INFO: u32 = ioctl::_IOR::<[u64; 12]>(MAGIC, 1);
const TICK: u32 = ioctl::_IO(MAGIC, 2);

const KICK_EARLY: u32 = 1 << 0;
const COMPLETE_EARLY: u32 = 1 << 1;
const TWICE: u32 = (1 << 2) | (1 << 3);
const KEEP: u32 = 1 << 4;
const STALL: u32 = 1 << 5;
const WAIT_FIRST: u32 = 1 << 6;
const RESTART: u32 = 1 << 7;
const NOBODY: u32 = 1 << 8;
const SOME_FIRST: u32 = 1 << 9;
const KNOWN: u32 = (1 << 10) - 1;

/// The number of bytes that a write with [`SOME_FIRST`] takes first.
const SOME: usize = 3;

const MIN_PERIOD_NS: u64 = 10_000;
const MAX_PERIOD_NS: u64 = 10_000_000_000;

/// The time until the next look at a lock that was taken.
const RETRY_DELAY: Delta = Delta::from_micros(20);

/// An open file.
#[pin_data]
struct OpenFile {
    ticker: Arc<Ticker>,
    /// Dropping the handle stops the timer.
    #[pin]
    timer: Mutex<Option<ArcHrTimerHandle<Ticker>>>,
}

/// The data that the timer uses.
#[pin_data]
struct Ticker {
    #[pin]
    timer: HrTimer<Self>,
    #[pin]
    inner: SpinLock<Inner>,
    flags: Atomic<u32>,
    period_ns: Atomic<u64>,
    tick_bytes: Atomic<u32>,
    retries: Atomic<u64>,
    kicks: Atomic<u64>,
    completions: Atomic<u64>,
    cancels: Atomic<u64>,
    dtors: Atomic<u64>,
    ticks: Atomic<u64>,
    pos: Atomic<u64>,
    user_data: Atomic<u64>,
    stalled: Atomic<u32>,
    left: Atomic<u32>,
    attempts: Atomic<u32>,
    iocb_flags: Atomic<u32>,
    /// The opcode, and the priority in the upper half.
    opcode: Atomic<u32>,
}

struct Inner {
    available: u32,
    /// The number of bytes that were read, modulo 26.
    given: u8,
    readers: KVec<Kick>,
    /// The writes with their sizes.
    writers: KVec<(Completion, usize)>,
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Ticker {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}

/// The data of a request. Dropping it counts the end of the request.
struct RequestState {
    ticker: Arc<Ticker>,
    attempts: u32,
}

impl Drop for RequestState {
    fn drop(&mut self) {
        self.ticker.dtors.add(1u64, Relaxed);
    }
}

impl Ticker {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                timer <- HrTimer::new(),
                inner <- new_spinlock!(Inner {
                    available: 0,
                    given: 0,
                    readers: KVec::new(),
                    writers: KVec::new(),
                }),
                flags: Atomic::new(0),
                period_ns: Atomic::new(100_000_000),
                tick_bytes: Atomic::new(4),
                retries: Atomic::new(0),
                kicks: Atomic::new(0),
                completions: Atomic::new(0),
                cancels: Atomic::new(0),
                dtors: Atomic::new(0),
                ticks: Atomic::new(0),
                pos: Atomic::new(0),
                user_data: Atomic::new(0),
                stalled: Atomic::new(0),
                left: Atomic::new(0),
                attempts: Atomic::new(0),
                iocb_flags: Atomic::new(0),
                opcode: Atomic::new(0),
            }),
            GFP_KERNEL,
        )
    }

    fn period(&self) -> Option<Delta> {
        match self.period_ns.load(Relaxed) {
            0 => None,
            ns => Some(Delta::from_nanos(ns as i64)),
        }
    }

    /// Returns whether the test has set the flag, and clears it.
    fn test_flag(&self, flag: u32) -> bool {
        let mut old = self.flags.load(Relaxed);
        while old & flag != 0 {
            match self.flags.cmpxchg(old, old & !flag, Relaxed) {
                Ok(_) => return true,
                Err(found) => old = found,
            }
        }
        false
    }

    fn test_begin(&self, req: &mut Attempt<'_, OpenFile>) {
        req.state().attempts += 1;
        self.left.store(req.left() as u32, Relaxed);
        self.pos.store(req.pos() as u64, Relaxed);
        self.user_data.store(req.user_data(), Relaxed);
        self.attempts.store(req.state().attempts, Relaxed);
        self.iocb_flags.store(req.flags() as u32, Relaxed);
        let ioprio = u32::from(req.ioprio()) << 16;
        self.opcode.store(u32::from(req.opcode()) | ioprio, Relaxed);
        // Release: this store is the last one, so a test that sees the count sees the other values.
        self.retries.fetch_add(1u64, Release);
        self.stalled.add(1u32, Relaxed);
        // A real method must not sleep like this, since other requests of its context wait. The
        // loop takes at most 30 s.
        for _ in 0..30_000 {
            if self.flags.load(Relaxed) & STALL == 0 {
                break;
            }
            fsleep(Delta::from_millis(1));
        }
        self.stalled.fetch_sub(1u32, Relaxed);
    }

    fn kick(&self, kick: Kick) {
        self.kicks.add(1u64, Relaxed);
        kick.kick();
    }

    fn complete(&self, completion: Completion, bytes: usize) {
        self.completions.add(1u64, Relaxed);
        let result = match (self.test_flag(RESTART), self.test_flag(NOBODY)) {
            (true, _) => Err(ERESTARTSYS),
            (_, true) => Err(EIOCBQUEUED),
            _ => Ok(bytes),
        };
        completion.complete(result, self.ticks.load(Relaxed) as i64);
    }

    fn read<'a>(&self, req: &mut Attempt<'a, OpenFile>, promise: Promise<'a>) -> Answer<'a> {
        let mut buf = [0; 64];
        if self.test_flag(RESTART) {
            return promise.result(Err(ERESTARTSYS));
        }
        if self.test_flag(NOBODY) {
            return promise.result(Err(EIOCBQUEUED));
        }
        while req.left() > 0 {
            if self.test_flag(KICK_EARLY) {
                let (kick, answer) = promise.kick_later();
                self.kick(kick);
                return answer;
            }
            let mut inner = self.inner.lock();
            let n = buf.len().min(req.left()).min(inner.available as usize);
            if n == 0 {
                // The tick may come before this function returns, and need not wait for that.
                let (kick, answer) = promise.kick_later();
                // Without memory the `Kick` is dropped, which kicks: kaio soon retries the request.
                let _ = inner.readers.push(kick, GFP_ATOMIC);
                return answer;
            }
            let bytes = buf.get_mut(..n).unwrap_or_default();
            for byte in bytes.iter_mut() {
                *byte = b'a' + inner.given;
                inner.given = (inner.given + 1) % 26;
            }
            inner.available -= n as u32;
            // Release the lock, since copying may sleep.
            drop(inner);
            if req.copy_to(bytes) < n {
                return promise.result(Err(EFAULT));
            }
        }
        promise.result(Ok(req.done()))
    }

    /// Takes `len` bytes of the submitter's data. Returns `false` if its memory faults.
    fn consume(req: &mut Attempt<'_, OpenFile>, mut len: usize) -> bool {
        let mut buf = [0; 64];
        while len > 0 {
            let n = buf.len().min(len);
            if req.copy_from(buf.get_mut(..n).unwrap_or_default()) < n {
                return false;
            }
            len -= n;
        }
        true
    }

    /// Takes `some` bytes of a write, which then waits for a tick before the rest is taken.
    fn test_first<'a>(
        &self,
        req: &mut Attempt<'a, OpenFile>,
        promise: Promise<'a>,
        some: usize,
    ) -> Answer<'a> {
        let some = some.min(req.left());
        if !Self::consume(req, some) {
            return promise.result(Err(EFAULT));
        }
        let (kick, answer) = promise.kick_later();
        let _ = self.inner.lock().readers.push(kick, GFP_ATOMIC);
        answer
    }

    fn write<'a>(&self, req: &mut Attempt<'a, OpenFile>, promise: Promise<'a>) -> Answer<'a> {
        let len = req.len();
        if len == 0 {
            return promise.result(Ok(0));
        }
        if self.test_flag(WAIT_FIRST) {
            return self.test_first(req, promise, 0);
        }
        if self.test_flag(SOME_FIRST) {
            return self.test_first(req, promise, SOME);
        }
        let left = req.left();
        if !Self::consume(req, left) {
            return promise.result(Err(EFAULT));
        }
        if self.test_flag(COMPLETE_EARLY) {
            let (completion, answer) = promise.complete_later();
            self.complete(completion, len);
            return answer;
        }
        let (completion, answer) = promise.complete_later();
        let mut inner = self.inner.lock();
        // Without memory the `Completion` is dropped, which completes the request with an error. As
        // a result of retry that error would not count, since the bytes were taken.
        let _ = inner.writers.push((completion, len), GFP_ATOMIC);
        answer
    }
}

impl HrTimerCallback for Ticker {
    type Pointer<'a> = Arc<Self>;

    /// Does one tick, in hard interrupt, or in a softirq with `PREEMPT_RT`.
    fn run(this: ArcBorrow<'_, Self>, mut ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        let Some(mut inner) = this.inner.try_lock() else {
            ctx.forward_now(RETRY_DELAY);
            return HrTimerRestart::Restart;
        };
        this.ticks.add(1u64, Relaxed);
        let more = this.tick_bytes.load(Relaxed);
        inner.available = inner.available.saturating_add(more);
        let readers = core::mem::take(&mut inner.readers);
        let writer = match inner.writers.is_empty() {
            true => None,
            false => inner.writers.remove(0).ok(),
        };
        drop(inner);
        for kick in readers {
            this.kick(kick);
        }
        if let Some((completion, bytes)) = writer {
            this.complete(completion, bytes);
        }
        match this.period() {
            Some(period) => {
                ctx.forward_now(period);
                HrTimerRestart::Restart
            }
            None => HrTimerRestart::NoRestart,
        }
    }
}

impl OpenFile {
    /// Stops the timer, and starts it again for the next tick after `delay`.
    fn restart(&self, delay: Option<Delta>) {
        let mut timer = self.timer.lock();
        drop(timer.take());
        *timer = delay.map(|delay| self.ticker.clone().start(delay));
    }

    fn set(&self, arg: UserPtr) -> Result {
        let mut reader = UserSlice::new(arg, size_of::<[u64; 2]>()).reader();
        let period_ns: u64 = reader.read()?;
        let tick_bytes: u32 = reader.read()?;
        let flags: u32 = reader.read()?;
        let periods = MIN_PERIOD_NS..=MAX_PERIOD_NS;
        if flags & !KNOWN != 0 || (period_ns != 0 && !periods.contains(&period_ns)) {
            return Err(EINVAL);
        }
        if flags & TWICE != 0 {
            // A `Kick` or `Completion` can be used only once.
            return Err(Error::from_errno(-(bindings::EOPNOTSUPP as i32)));
        }
        self.restart(None);
        let ticker = &self.ticker;
        ticker.period_ns.store(period_ns, Relaxed);
        ticker.tick_bytes.store(tick_bytes, Relaxed);
        ticker.flags.store(flags, Relaxed);
        self.restart(ticker.period());
        Ok(())
    }

    fn info(&self, arg: UserPtr) -> Result {
        let mut writer = UserSlice::new(arg, size_of::<[u64; 12]>()).writer();
        let t = &self.ticker;
        for counter in [
            &t.retries,
            &t.kicks,
            &t.completions,
            &t.cancels,
            &t.dtors,
            &t.ticks,
            &t.pos,
            &t.user_data,
        ] {
            writer.write(&counter.load(Acquire))?;
        }
        let inner = t.inner.lock();
        let now = [
            inner.readers.len() as u32,
            inner.writers.len() as u32,
            t.stalled.load(Relaxed),
            inner.available,
            t.left.load(Relaxed),
            t.attempts.load(Relaxed),
            t.iocb_flags.load(Relaxed),
            t.opcode.load(Relaxed),
        ];
        drop(inner);
        for value in now {
            writer.write(&value)?;
        }
        Ok(())
    }
}

impl Provider for OpenFile {
    const NAME: &'static CStr = c"kaio-ticker-rust";

    type State = RequestState;

    fn open() -> Result<Arc<Self>> {
        let ticker = Ticker::new()?;
        let this = Arc::pin_init(
            pin_init!(Self {
                ticker,
                timer <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )?;
        this.restart(this.ticker.period());
        Ok(this)
    }

    fn begin(this: ArcBorrow<'_, Self>) -> Result<RequestState> {
        Ok(RequestState {
            ticker: this.ticker.clone(),
            attempts: 0,
        })
    }

    fn retry<'a>(
        this: ArcBorrow<'_, Self>,
        req: &mut Attempt<'a, Self>,
        promise: Promise<'a>,
    ) -> Answer<'a> {
        this.ticker.test_begin(req);
        match req.is_write() {
            true => this.ticker.write(req, promise),
            false => this.ticker.read(req, promise),
        }
    }

    fn cancel(this: ArcBorrow<'_, Self>, id: &Id) -> Option<Owed> {
        let ticker = &this.ticker;
        ticker.cancels.add(1u64, Relaxed);
        if ticker.flags.load(Relaxed) & KEEP != 0 {
            return None;
        }
        let mut inner = ticker.inner.lock();
        if let Some(at) = inner.readers.iter().position(|kick| kick.is(id)) {
            return inner.readers.remove(at).ok().map(Owed::Kick);
        }
        let at = inner.writers.iter().position(|(owed, _)| owed.is(id))?;
        let (completion, _) = inner.writers.remove(at).ok()?;
        Some(Owed::Completion(completion))
    }

    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize> {
        let arg = UserPtr::from_addr(arg);
        match cmd {
            SET => this.set(arg)?,
            INFO => this.info(arg)?,
            TICK if this.ticker.period().is_some() => return Err(EBUSY),
            TICK => this.restart(Some(Delta::from_nanos(0))),
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}
