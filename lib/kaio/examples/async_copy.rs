// SPDX-License-Identifier: LGPL-2.1-or-later

//! Copies a file with futures: `async_copy FROM TO`.
//!
//! The example contains a minimal executor, which shows what an executor must do for kaio: call
//! `reap` when the descriptor of the context is readable. Under tokio that descriptor would be in
//! an `AsyncFd`.

use std::env;
use std::error::Error;
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::{pin, Pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::{self, Poll, Wake, Waker};

use linux_kaio::{Context, Op};

const TASKS: u64 = 16;
const BLOCK: usize = 64 << 10;

/// Set when the future must be polled again.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Waits until the descriptor is readable.
fn wait_readable(fd: &impl AsFd) -> io::Result<()> {
    let mut poll = libc::pollfd {
        fd: fd.as_fd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: `poll` is one pollfd, which lives until the call returns.
    match unsafe { libc::poll(&mut poll, 1, -1) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Runs a future to its end. The thread sleeps while the future waits for requests of `context`.
fn block_on<F: Future>(context: &Context, future: F) -> io::Result<F::Output> {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(woken.clone());
    let mut future = pin!(future);
    loop {
        while woken.0.swap(false, Ordering::Acquire) {
            let mut cx = task::Context::from_waker(&waker);
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return Ok(output);
            }
        }
        wait_readable(context)?;
        context.reap();
    }
}

/// Polls all of these futures. The first error ends the others: dropping them cancels their
/// requests.
struct All<F>(Vec<Pin<Box<F>>>);

impl<F: Future<Output = io::Result<()>>> Future for All<F> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        let mut failed = Ok(());
        self.0.retain_mut(|future| match future.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(result) => {
                if result.is_err() {
                    failed = result;
                }
                false
            }
        });
        match (failed, self.0.is_empty()) {
            (Err(e), _) => Poll::Ready(Err(e)),
            (Ok(()), true) => Poll::Ready(Ok(())),
            (Ok(()), false) => Poll::Pending,
        }
    }
}

/// Copies every `TASKS`th block, beginning with block `first`.
async fn copy_some(context: &Context, from: &File, to: &File, first: u64) -> io::Result<()> {
    let mut buf = vec![0; BLOCK];
    let mut offset = first * BLOCK as u64;
    loop {
        let (result, read) = context.submit(Op::read(from, buf, offset)).await;
        let count = result?;
        if count == 0 {
            return Ok(());
        }
        buf = read;
        buf.truncate(count);
        let (result, written) = context.submit(Op::write(to, buf, offset)).await;
        if result? != count {
            return Err(io::ErrorKind::WriteZero.into());
        }
        buf = written;
        buf.resize(BLOCK, 0);
        offset += TASKS * BLOCK as u64;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = env::args_os().collect();
    let [_, from, to] = &args[..] else {
        return Err("usage: async_copy FROM TO".into());
    };
    let (from, to) = (File::open(from)?, File::create(to)?);
    let context = Context::with_eventfd(TASKS as u32)?;
    block_on(&context, async {
        let tasks = (0..TASKS).map(|first| Box::pin(copy_some(&context, &from, &to, first)));
        All(tasks.collect()).await?;
        context.submit(Op::fsync(&to)).await.0
    })??;
    Ok(())
}
