// SPDX-License-Identifier: LGPL-2.1-or-later

//! Files for tokio (the feature `tokio`).
//!
//! A [`Reactor`] has a context and a task that takes its events. A [`File`] submits its reads,
//! writes and syncs to the context, so that no thread of tokio waits for a disk, and none is needed
//! for each request as in `tokio::fs`.
//!
//! ```no_run
//! use linux_kaio::tokio::{File, Reactor};
//!
//! # async fn example() -> std::io::Result<()> {
//! let reactor = Reactor::new(256)?;
//! let file = File::open(&reactor, "/etc/os-release").await?;
//! let (result, buf) = file.read_spare_at(Vec::with_capacity(4096), 0).await;
//! result?;
//! print!("{}", String::from_utf8_lossy(&buf));
//! # Ok(())
//! # }
//! ```
//!
//! # Cancel safety
//!
//! A future of this module can be dropped at any time.
//!
//! - [`File::read_at`] and its relatives: the request is cancelled if it has not begun, and the
//!   buffer is freed when the kernel does not use it any more. A read that was dropped may have taken
//!   data from a pipe or socket, which is then lost. A write that was dropped may be done or not.
//! - `AsyncRead`: if a read is dropped, its data stays in the file for the next read. None is lost.
//! - `AsyncWrite`: the file copies the data and writes it on its own, so a write either has taken
//!   data and says so, or has taken none. An error is reported by the next write, flush or sync. If
//!   the file is dropped, a task ends the write.

use std::fmt;
use std::fs;
use std::future::{poll_fn, Future};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{ready, Context as Task, Poll, Wake, Waker};

use ::tokio::io::unix::AsyncFd;
use ::tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, Interest, ReadBuf};
use ::tokio::runtime::Handle;
use ::tokio::task::{spawn_blocking, JoinHandle};

use crate::error::with_path;
use crate::{Completion, Context, IoBuf, IoBufMut, IoBufSpare, Op};

/// The most bytes that `AsyncRead` and `AsyncWrite` transfer by one request.
const MOST: usize = 2 << 20;

/// A context for the files of a tokio runtime, and the task that takes its events. A clone refers to
/// the same context.
///
/// The last drop of a reactor and its files ends the task, which drops the context. That drop waits
/// for requests that a disk has begun.
#[derive(Clone, Debug)]
pub struct Reactor {
    driver: Arc<Driver>,
}

#[derive(Debug)]
struct Driver {
    context: Context,
    runtime: Handle,
    task: JoinHandle<()>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes the events of a context whenever there are any.
async fn take_events(context: AsyncFd<Context>) {
    while let Ok(mut ready) = context.readable().await {
        context.get_ref().reap();
        // A completion after the reap has made the descriptor ready anew, which this call does not
        // undo.
        ready.clear_ready();
    }
}

impl Reactor {
    /// Makes a context for `entries` requests, and its task in the current runtime. If a file
    /// submits more requests, they wait for room.
    ///
    /// # Errors
    ///
    /// Those of [`Context::new`]. It is also an error if the caller is not in a runtime of tokio.
    ///
    /// # Panics
    ///
    /// Panics if the I/O of the runtime is not enabled (`Builder::enable_io`).
    pub fn new(entries: u32) -> io::Result<Self> {
        Self::with_context(Context::new(entries)?)
    }

    /// Uses this context, which other code may use as well.
    ///
    /// # Errors
    ///
    /// As for [`Reactor::new`].
    ///
    /// # Panics
    ///
    /// As for [`Reactor::new`].
    pub fn with_context(context: Context) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        #[allow(
            deprecated,
            reason = "its successor is newer than the tokio of Debian 13"
        )]
        let watched = AsyncFd::with_interest(context.clone(), Interest::READABLE)?;
        let task = runtime.spawn(take_events(watched));
        let driver = Driver {
            context,
            runtime,
            task,
        };
        Ok(Self {
            driver: Arc::new(driver),
        })
    }

    /// Returns the context, whose futures ([`Context::submit_async`]) can be awaited as well.
    pub fn context(&self) -> &Context {
        &self.driver.context
    }

    /// Submits a request, and waits for room and for the result.
    async fn run<B: Send + 'static>(&self, op: Op<'_, B>) -> Completion<B> {
        self.context().submit_async(op).await.await
    }
}

type Reading = Pin<Box<dyn Future<Output = Completion<Vec<u8>>> + Send>>;
type Writing = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// The tasks that wait for a write. Several may: the one that writes, and those that sync.
#[derive(Default)]
struct Waiters(Mutex<Vec<Waker>>);

impl Waiters {
    fn add(&self, waker: &Waker) {
        let mut wakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !wakers.iter().any(|other| other.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }
}

impl Wake for Waiters {
    fn wake(self: Arc<Self>) {
        let wakers = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// What `AsyncRead`, `AsyncWrite` and `AsyncSeek` need.
#[derive(Default)]
struct Stream {
    /// The offset of the next byte that the program reads or writes. It is 0 for a file without
    /// offsets.
    position: u64,
    reading: Option<Reading>,
    /// Bytes that were read, of which the program has taken the first `taken`.
    data: Vec<u8>,
    taken: usize,
    writing: Option<Writing>,
    waiters: Arc<Waiters>,
    /// Where `AsyncSeek` is to go.
    target: Option<SeekFrom>,
}

impl Stream {
    /// Waits until the write in flight is done.
    fn poll_written(&mut self, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        let Some(writing) = &mut self.writing else {
            return Poll::Ready(Ok(()));
        };
        self.waiters.add(cx.waker());
        let all = Waker::from(self.waiters.clone());
        let result = ready!(writing.as_mut().poll(&mut Task::from_waker(&all)));
        self.writing = None;
        all.wake();
        Poll::Ready(result)
    }

    /// Waits until the read in flight is done.
    fn poll_read_done(&mut self, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(Ok(()));
        };
        let (result, data) = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        self.data = data;
        self.taken = 0;
        Poll::Ready(result.map(|_| ()))
    }

    /// Drops what was read and the program has not taken, which the file still has.
    fn poll_unread(&mut self, cx: &mut Task<'_>) -> Poll<()> {
        // An error belongs to a read that the program has dropped.
        let _ = ready!(self.poll_read_done(cx));
        self.data.clear();
        self.taken = 0;
        Poll::Ready(())
    }
}

/// A file, whose requests a [`Reactor`] submits.
///
/// The functions with an offset take `&self` and can be used by several tasks at the same time. They
/// have nothing to do with the position of `AsyncRead`, `AsyncWrite` and `AsyncSeek`.
///
/// A pipe, socket or terminal works as well; its `AsyncRead` and `AsyncWrite` do not wait for each
/// other. It should be in blocking mode: kaio waits for it, and in non-blocking mode a read without
/// data is the error `WouldBlock`.
pub struct File {
    file: Arc<fs::File>,
    reactor: Reactor,
    /// The file has offsets.
    seekable: bool,
    stream: Mutex<Stream>,
}

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// Those of `open(2)`. The error names the path.
    pub async fn open(reactor: &Reactor, path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open_with(reactor, path, fs::File::options().read(true)).await
    }

    /// Opens a file for writing, and makes it empty or makes a new one.
    ///
    /// # Errors
    ///
    /// Those of `open(2)`. The error names the path.
    pub async fn create(reactor: &Reactor, path: impl AsRef<Path>) -> io::Result<Self> {
        let mut options = fs::File::options();
        Self::open_with(
            reactor,
            path,
            options.write(true).create(true).truncate(true),
        )
        .await
    }

    /// Opens a file with these options, in a thread for blocking calls.
    ///
    /// # Errors
    ///
    /// Those of `open(2)`. The error names the path.
    pub async fn open_with(
        reactor: &Reactor,
        path: impl AsRef<Path>,
        options: &fs::OpenOptions,
    ) -> io::Result<Self> {
        let (path, options) = (path.as_ref().to_owned(), options.clone());
        let opened = spawn_blocking(move || options.open(&path).map_err(|e| with_path(&path, e)));
        let file = opened.await.map_err(io::Error::other)??;
        Ok(Self::from_std(reactor, file))
    }

    /// Uses an open file. Its position is where `AsyncRead` and `AsyncWrite` begin.
    pub fn from_std(reactor: &Reactor, file: fs::File) -> Self {
        let position = (&file).stream_position();
        let stream = Stream {
            position: *position.as_ref().unwrap_or(&0),
            ..Stream::default()
        };
        Self {
            file: Arc::new(file),
            reactor: reactor.clone(),
            seekable: position.is_ok(),
            stream: Mutex::new(stream),
        }
    }

    /// Returns the reactor of the file.
    pub fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    /// Reads into `buf`, as [`Op::read`] does.
    pub async fn read_at<B: IoBufMut>(&self, buf: B, offset: u64) -> Completion<B> {
        self.reactor.run(Op::read(&*self.file, buf, offset)).await
    }

    /// Reads into the spare capacity of `buf`, as [`Op::read_spare`] does.
    pub async fn read_spare_at<B: IoBufSpare>(&self, buf: B, offset: u64) -> Completion<B> {
        let op = Op::read_spare(&*self.file, buf, offset);
        self.reactor.run(op).await
    }

    /// Writes `buf`, as [`Op::write`] does.
    pub async fn write_at<B: IoBuf>(&self, buf: B, offset: u64) -> Completion<B> {
        self.reactor.run(Op::write(&*self.file, buf, offset)).await
    }

    /// Waits until all data and metadata is on the disk: `fsync(2)`. Data that `AsyncWrite` has taken
    /// is written first.
    ///
    /// # Errors
    ///
    /// Those of `fsync(2)`, and of that write.
    pub async fn sync_all(&self) -> io::Result<()> {
        self.written().await?;
        let (result, ()) = self.reactor.run(Op::fsync(&*self.file)).await;
        result.map(|_| ())
    }

    /// Waits until all data is on the disk: `fdatasync(2)`. Data that `AsyncWrite` has taken is
    /// written first.
    ///
    /// # Errors
    ///
    /// Those of `fdatasync(2)`, and of that write.
    pub async fn sync_data(&self) -> io::Result<()> {
        self.written().await?;
        let (result, ()) = self.reactor.run(Op::fdatasync(&*self.file)).await;
        result.map(|_| ())
    }

    /// Waits until the data that `AsyncWrite` has taken is written.
    async fn written(&self) -> io::Result<()> {
        poll_fn(|cx| {
            let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
            stream.poll_written(cx)
        })
        .await
    }

    fn stream(&mut self) -> &mut Stream {
        let stream = self.stream.get_mut();
        stream.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all of `data`.
async fn write_all(
    reactor: Reactor,
    file: Arc<fs::File>,
    mut data: Vec<u8>,
    mut offset: Option<u64>,
) -> io::Result<()> {
    let mut done = 0;
    while done < data.len() {
        let rest = data.slice(done..);
        let op = Op::write(&*file, rest, offset.unwrap_or(0));
        let (result, rest) = reactor.run(op).await;
        data = rest.into_inner();
        match result? {
            0 => return Err(ErrorKind::WriteZero.into()),
            count => {
                done += count;
                offset = offset.map(|offset| offset + count as u64);
            }
        }
    }
    Ok(())
}

impl AsyncRead for File {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Task<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (file, reactor, seekable) = (self.file.clone(), self.reactor.clone(), self.seekable);
        let stream = self.stream();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if seekable {
            ready!(stream.poll_written(cx))?;
        }
        if stream.reading.is_none() && stream.taken == stream.data.len() {
            let mut data = mem::take(&mut stream.data);
            data.clear();
            // The request reads as much as there is room for.
            data.shrink_to(buf.remaining().min(MOST));
            data.reserve_exact(buf.remaining().min(MOST));
            stream.taken = 0;
            let offset = stream.position;
            stream.reading = Some(Box::pin(async move {
                reactor.run(Op::read_spare(&*file, data, offset)).await
            }));
        }
        ready!(stream.poll_read_done(cx))?;
        let rest = &stream.data[stream.taken..];
        let count = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..count]);
        stream.taken += count;
        if seekable {
            stream.position += count as u64;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for File {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Task<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let (file, reactor, seekable) = (self.file.clone(), self.reactor.clone(), self.seekable);
        let stream = self.stream();
        if seekable {
            ready!(stream.poll_unread(cx));
        }
        ready!(stream.poll_written(cx))?;
        let data = buf[..buf.len().min(MOST)].to_vec();
        let count = data.len();
        let offset = seekable.then_some(stream.position);
        stream.writing = Some(Box::pin(write_all(reactor, file, data, offset)));
        if seekable {
            stream.position += count as u64;
        }
        // The first poll submits the request. The write is taken even if it is not done.
        match stream.poll_written(cx) {
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            _ => Poll::Ready(Ok(count)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_written(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl AsyncSeek for File {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        if !self.seekable {
            return Err(io::Error::from_raw_os_error(libc::ESPIPE));
        }
        self.stream().target = Some(position);
        Ok(())
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<u64>> {
        let file = self.file.clone();
        let stream = self.stream();
        if let Some(target) = stream.target {
            ready!(stream.poll_written(cx))?;
            ready!(stream.poll_unread(cx));
            stream.target = None;
            let (base, distance) = match target {
                SeekFrom::Start(position) => (position, 0),
                SeekFrom::Current(distance) => (stream.position, distance),
                SeekFrom::End(distance) => ((&*file).seek(SeekFrom::End(0))?, distance),
            };
            let position = base.checked_add_signed(distance);
            stream.position = position.ok_or(ErrorKind::InvalidInput)?;
        }
        Poll::Ready(Ok(stream.position))
    }
}

/// A write that `AsyncWrite` has taken is done by a task.
impl Drop for File {
    fn drop(&mut self) {
        if let Some(writing) = self.stream().writing.take() {
            self.reactor.driver.runtime.spawn(writing);
        }
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}
