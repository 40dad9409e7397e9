// SPDX-License-Identifier: GPL-2.0

//! The engines that are compared, behind one interface.
//!
//! All of them but POSIX AIO enter the kernel by kaio-sys, so that entering costs each the same.

mod batch;
mod kaio;
mod native;
mod posix;
mod preadv2;
mod uring;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::time::Duration;

use crate::request::Request;

pub use kaio::Kaio;
pub use native::Native;
use posix::Posix;
use preadv2::Preadv2;
pub use uring::{Uring, URING_DEFER};

/// Makes an engine for so many requests. The file is `/dev/kaio`.
pub type Maker = for<'a> fn(&'a File, u32) -> io::Result<Box<dyn Engine + 'a>>;

/// The names of all engines, with the ways to take results from them.
pub const ENGINES: [(&str, Maker); 9] = [
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

/// The data and the result of a request.
pub type Event = (u64, i64);

/// Starts requests, and takes their results.
pub trait Engine {
    /// Fills in what `submit` needs of the requests.
    fn prepare(&mut self, requests: &[Request]);

    /// Submits all prepared requests. This is the call that ought not to block.
    fn submit(&mut self) -> io::Result<()>;

    /// Submits a part of the prepared requests. Parts are submitted one after another.
    fn submit_part(&mut self, _part: Range<usize>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Cancels all of these requests, none of which ends by itself, and takes their results.
    fn cancel(&mut self, _requests: &[Request]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Waits for `min` results or until the time is over; takes all that there are then.
    fn wait(&mut self, min: usize, timeout: Duration) -> io::Result<Vec<Event>>;

    /// Sleeps until there are `count` results and takes them; returns their sum.
    fn take(&mut self, count: usize) -> io::Result<i64>;

    /// Submits all prepared requests and takes all results in as few steps as the engine can;
    /// returns the sum of the results.
    fn round(&mut self) -> io::Result<i64>;

    /// Does `count` rounds and prepares the requests anew for each, as programs do; returns the sum
    /// of all results. The loop is here so that only entering it is a call through a table.
    fn rounds(&mut self, requests: &[Request], count: usize) -> io::Result<i64> {
        let mut sum = 0;
        for _ in 0..count {
            self.prepare(requests);
            sum += self.round()?;
        }
        Ok(sum)
    }
}

/// Repeats the call if a signal, or task work of a ring that was closed, ended it.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            other => return other,
        }
    }
}

/// How a program takes its results.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    /// A system call copies the results.
    Call,
    /// The program reads them in the ring.
    Ring,
    /// The program reads them in the ring; the call that submits waits for them.
    OneCall,
}
