// SPDX-License-Identifier: LGPL-2.1-or-later

//! What tests do with a file of tokio. They need no more of tokio than its traits.

use std::future::{poll_fn, Future};
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::task::{Context as Task, Poll, Waker};

use linux_kaio::tokio::File;
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

pub async fn read(file: &mut File, len: usize) -> io::Result<Vec<u8>> {
    let mut memory = vec![0; len];
    let mut buf = ReadBuf::new(&mut memory);
    poll_fn(|cx| Pin::new(&mut *file).poll_read(cx, &mut buf)).await?;
    Ok(buf.filled().to_vec())
}

pub async fn write(file: &mut File, data: &[u8]) -> io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut *file).poll_write(cx, data)).await
}

pub async fn flush(file: &mut File) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut *file).poll_flush(cx)).await
}

pub async fn seek(file: &mut File, to: SeekFrom) -> io::Result<u64> {
    Pin::new(&mut *file).start_seek(to)?;
    poll_fn(|cx| Pin::new(&mut *file).poll_complete(cx)).await
}

/// Polls a future once.
pub fn once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Task::from_waker(Waker::noop()))
}
