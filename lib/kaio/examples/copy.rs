// SPDX-License-Identifier: LGPL-2.1-or-later

//! Copies a file with several requests in flight: `copy FROM TO`.
//!
//! Each buffer is read into, written from, and then read into again. The program has one thread,
//! which sleeps only while no request is complete.

use std::collections::VecDeque;
use std::env;
use std::error::Error;
use std::fs::File;
use std::io;

use linux_kaio::{Context, Op, Pending};

const IN_FLIGHT: u64 = 16;
const BLOCK: usize = 64 << 10;

/// A request in flight; a read has its offset in the file.
enum Step {
    Read(u64, Pending<Vec<u8>>),
    Write(Pending<Vec<u8>>),
}

fn copy(from: &File, to: &File) -> io::Result<u64> {
    let context = Context::new(IN_FLIGHT as u32)?;
    let len = from.metadata()?.len();
    let mut steps = VecDeque::new();
    let mut next = 0;
    let mut batch = context.batch();
    while next < len && steps.len() < IN_FLIGHT as usize {
        steps.push_back(Step::Read(
            next,
            batch.push(Op::read(from, vec![0; BLOCK], next)),
        ));
        next += BLOCK as u64;
    }
    batch.submit();
    while let Some(step) = steps.pop_front() {
        match step {
            Step::Read(offset, pending) => {
                let (result, mut buf) = pending.wait();
                buf.truncate(result?);
                steps.push_back(Step::Write(context.submit(Op::write(to, buf, offset))));
            }
            Step::Write(pending) => {
                let (result, mut buf) = pending.wait();
                if result? != buf.len() {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                if next < len {
                    buf.resize(BLOCK, 0);
                    steps.push_back(Step::Read(next, context.submit(Op::read(from, buf, next))));
                    next += BLOCK as u64;
                }
            }
        }
    }
    context.submit(Op::fsync(to)).wait().0?;
    Ok(len)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = env::args_os().collect();
    let [_, from, to] = &args[..] else {
        return Err("usage: copy FROM TO".into());
    };
    let bytes = copy(&File::open(from)?, &File::create(to)?)?;
    println!("{bytes} bytes");
    Ok(())
}
