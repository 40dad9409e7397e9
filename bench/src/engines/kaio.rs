// SPDX-License-Identifier: GPL-2.0

//! `/dev/kaio`.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::time::Duration;

use super::batch::Batch;
use super::{uninterrupted, Engine, Event, Way};
use crate::context::Context;
use crate::request::Request;

/// A context of `/dev/kaio`.
pub struct Kaio<'a> {
    context: Context<'a>,
    batch: Batch,
    way: Way,
}

impl<'a> Kaio<'a> {
    /// Makes a context for so many requests.
    pub fn new(device: &'a File, entries: u32, way: Way) -> io::Result<Self> {
        Ok(Self {
            context: Context::new(device, entries)?,
            batch: Batch::default(),
            way,
        })
    }

    /// Returns a function that makes engines on the same context for other threads. They take
    /// events by the call.
    pub fn share(&self) -> impl Fn() -> Self + Sync + use<'a> {
        let context = self.context.share();
        move || Self {
            context: context(),
            batch: Batch::default(),
            way: Way::Call,
        }
    }
}

impl Engine for Kaio<'_> {
    fn prepare(&mut self, requests: &[Request]) {
        self.batch.prepare(requests);
    }

    fn submit(&mut self) -> io::Result<()> {
        self.submit_part(0..self.batch.pointers.len())
    }

    fn submit_part(&mut self, part: Range<usize>) -> io::Result<()> {
        self.batch
            .submit(part, |some| self.context.submit_iocbs(some))
    }

    fn cancel(&mut self, requests: &[Request]) -> io::Result<()> {
        for iocb in &self.batch.pointers[..requests.len()] {
            self.context.cancel(*iocb)?;
        }
        self.take(requests.len()).map(|_| ())
    }

    fn wait(&mut self, min: usize, timeout: Duration) -> io::Result<Vec<Event>> {
        self.context.wait(min, Some(timeout))
    }

    fn take(&mut self, count: usize) -> io::Result<i64> {
        let (mut got, mut sum) = (0, 0);
        while got < count {
            if self.way == Way::Call {
                got += uninterrupted(|| self.context.take(count - got, |_, res| sum += res))?;
                continue;
            }
            let some = self.context.reap_each(|_, res| sum += res);
            got += some;
            if some == 0 {
                uninterrupted(|| self.context.peek(count - got))?;
            }
        }
        Ok(sum)
    }

    fn round(&mut self) -> io::Result<i64> {
        if self.way == Way::OneCall {
            self.context.submit_and_peek(&self.batch.pointers)?;
        } else {
            self.submit()?;
        }
        self.take(self.batch.pointers.len())
    }
}
