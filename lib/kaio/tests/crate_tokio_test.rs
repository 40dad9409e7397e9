// SPDX-License-Identifier: LGPL-2.1-or-later

//! Files for tokio, on the device.

mod steps;
mod tap;

use std::fs;
use std::future::Future;
use std::io::{self, SeekFrom, Write};
use std::pin::pin;
use std::sync::Arc;

use linux_kaio::tokio::{File, Reactor};
use linux_kaio::{Context, IoBuf, Op};
use steps::{flush, once, read, seek, write};
use tap::{stat, Scratch};
use tokio::runtime::Builder;

/// Runs the test in a runtime. The harness ends it if it hangs.
fn run<F: Future<Output = io::Result<()>>>(test: impl Fn() -> F) {
    let runtime = Builder::new_current_thread().enable_io().build();
    runtime
        .expect("a runtime")
        .block_on(test())
        .expect("no error");
}

fn file_reads_and_writes_at_offsets() {
    run(|| async {
        let scratch = Scratch::new("tokio", b"0123456789");
        let reactor = Reactor::new(8)?;
        let file = File::from_std(&reactor, scratch.file.try_clone()?);
        let (result, _) = file.write_at("ab", 4).await;
        assert_eq!(result?, 2);
        let (result, buf) = file.read_at(vec![0; 4].slice(1..), 3).await;
        assert_eq!((result?, buf.into_inner()), (3, b"\x003ab".to_vec()));
        let (result, buf) = file.read_spare_at(Vec::with_capacity(64), 6).await;
        assert_eq!((result?, &buf[..]), (4, &b"6789"[..]));
        file.sync_all().await?;
        file.sync_data().await?;
        assert_eq!(stat(reactor.context(), "submitted"), 5);
        assert_eq!(fs::read(&scratch.path)?, b"0123ab6789");
        Ok(())
    });
}

fn open_reads_and_names_the_path_of_an_error() {
    run(|| async {
        let scratch = Scratch::new("tokio-open", b"text");
        let reactor = Reactor::new(8)?;
        let mut file = File::open(&reactor, &scratch.path).await?;
        assert_eq!(read(&mut file, 100).await?, b"text");
        assert_eq!(read(&mut file, 100).await?, b"");
        let error = File::open(&reactor, "/no/such/file").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().starts_with("/no/such/file: "), "{error}");
        Ok(())
    });
}

fn stream_keeps_a_position() {
    run(|| async {
        let scratch = Scratch::new("tokio-stream", b"");
        let reactor = Reactor::new(8)?;
        let mut options = fs::File::options();
        let options = options.read(true).write(true);
        let mut file = File::open_with(&reactor, &scratch.path, options).await?;
        assert_eq!(write(&mut file, b"hello, ").await?, 7);
        assert_eq!(write(&mut file, b"world").await?, 5);
        flush(&mut file).await?;
        assert_eq!(fs::read(&scratch.path)?, b"hello, world");
        assert_eq!(read(&mut file, 10).await?, b"");
        assert_eq!(seek(&mut file, SeekFrom::Start(1)).await?, 1);
        assert_eq!(read(&mut file, 4).await?, b"ello");
        assert_eq!(seek(&mut file, SeekFrom::Current(2)).await?, 7);
        assert_eq!(write(&mut file, b"W").await?, 1);
        assert_eq!(seek(&mut file, SeekFrom::End(-5)).await?, 7);
        assert_eq!(read(&mut file, 100).await?, b"World");
        assert!(seek(&mut file, SeekFrom::Current(-100)).await.is_err());
        Ok(())
    });
}

/// A pipe that has no data does not hold up other tasks of the thread.
fn read_of_an_empty_pipe_lets_other_tasks_run() {
    run(|| async {
        let (reader, mut writer) = tap::pipe();
        let reactor = Reactor::new(8)?;
        let mut file = File::from_std(&reactor, reader);
        let waiting = tokio::spawn(async move { read(&mut file, 10).await });
        let scratch = Scratch::new("tokio-other", b"x");
        let other = File::from_std(&reactor, scratch.file.try_clone()?);
        for _ in 0..100 {
            assert_eq!(other.read_at(vec![0; 1], 0).await.1, b"x");
        }
        assert!(!waiting.is_finished());
        writer.write_all(b"late")?;
        assert_eq!(waiting.await.unwrap()?, b"late");
        Ok(())
    });
}

/// A read is dropped while it waits. The next read gets the data.
fn dropped_read_loses_nothing() {
    run(|| async {
        let (reader, mut writer) = tap::pipe();
        let reactor = Reactor::new(8)?;
        let mut file = File::from_std(&reactor, reader);
        assert!(once(pin!(read(&mut file, 10))).is_pending());
        writer.write_all(b"abcdef")?;
        assert!(tap::wait_until(|| stat(reactor.context(), "completed") == 1));
        assert_eq!(read(&mut file, 2).await?, b"ab");
        assert_eq!(read(&mut file, 2).await?, b"cd");
        assert_eq!(read(&mut file, 2).await?, b"ef");
        Ok(())
    });
}

/// A read with an offset is dropped while it waits. It is cancelled.
fn dropped_read_at_is_cancelled() {
    run(|| async {
        let (reader, mut writer) = tap::pipe();
        let reactor = Reactor::new(8)?;
        let file = File::from_std(&reactor, reader);
        assert!(once(pin!(file.read_at(vec![0; 4], 0))).is_pending());
        assert_eq!(stat(reactor.context(), "cancelled"), 1);
        writer.write_all(b"data")?;
        assert_eq!(file.read_at(vec![0; 4], 0).await.1, b"data");
        Ok(())
    });
}

/// A write that was taken is done although the file is dropped at once.
fn dropped_file_writes_what_it_has_taken() {
    run(|| async {
        let (reader, mut writer) = tap::pipe();
        // SAFETY: F_GETPIPE_SZ takes no pointer.
        let size =
            unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&writer), libc::F_GETPIPE_SZ) };
        writer.write_all(&vec![0; size as usize])?;
        let reactor = Reactor::new(8)?;
        let mut sink = File::from_std(&reactor, writer);
        assert_eq!(write(&mut sink, b"last").await?, 4);
        drop(sink);
        let mut source = File::from_std(&reactor, reader);
        let (mut all, mut read_all) = (Vec::new(), true);
        while read_all {
            let data = read(&mut source, 8192).await?;
            read_all = !data.is_empty();
            all.extend(data);
        }
        assert_eq!(all.len(), size as usize + 4);
        assert_eq!(all[size as usize..], *b"last");
        Ok(())
    });
}

fn error_of_a_write_comes_with_the_flush() {
    run(|| async {
        let (reader, writer) = tap::pipe();
        drop(reader);
        let reactor = Reactor::new(8)?;
        let mut file = File::from_std(&reactor, writer);
        let error = match write(&mut file, b"x").await {
            Ok(_) => flush(&mut file).await.unwrap_err(),
            Err(e) => e,
        };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        flush(&mut file).await
    });
}

/// More tasks than the context has room for: all of them end.
fn tasks_wait_for_room() {
    run(|| async {
        let scratch = Scratch::new("tokio-room", b"0123456789");
        let reactor = Reactor::new(1)?;
        let file = Arc::new(File::from_std(&reactor, scratch.file.try_clone()?));
        let tasks = 4 * reactor.context().capacity();
        let tasks: Vec<_> = (0..tasks)
            .map(|i| {
                let file = file.clone();
                tokio::spawn(async move {
                    let offset = i as u64 % 10;
                    let (result, buf) = file.read_at(vec![0; 1], offset).await;
                    (result.unwrap(), buf[0]) == (1, b'0' + offset as u8)
                })
            })
            .collect();
        for task in tasks {
            assert!(task.await.unwrap());
        }
        Ok(())
    });
}

/// The requests of a program's own can be awaited in the runtime of a reactor.
fn context_of_a_reactor_takes_other_requests() {
    run(|| async {
        let reactor = Reactor::with_context(Context::with_eventfd(8)?)?;
        let (reader, mut writer) = tap::pipe();
        let context = reactor.context().clone();
        let polled = tokio::spawn(async move {
            let op = Op::poll(&reader, libc::POLLIN as u16);
            context.submit_async(op).await.await.0
        });
        while reactor.context().in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        writer.write_all(b"x")?;
        let events = polled.await.unwrap()?;
        assert_ne!(events & libc::POLLIN as usize, 0);
        Ok(())
    });
}

/// The task of a reactor ends with it, and the context with both.
fn dropped_reactor_ends_its_context() {
    run(|| async {
        let reserved = || {
            let text = fs::read_to_string("/proc/sys/fs/kaio-nr").expect("the sysctl");
            text.trim().parse::<u64>().expect("a number")
        };
        let before = reserved();
        let reactor = Reactor::new(1000)?;
        assert!(reserved() >= before + 1000);
        drop(reactor);
        while reserved() != before {
            tokio::task::yield_now().await;
        }
        Ok(())
    });
}

fn reactor_needs_a_runtime() {
    assert!(Reactor::new(8).is_err());
}

tests! {
    file_reads_and_writes_at_offsets,
    open_reads_and_names_the_path_of_an_error,
    stream_keeps_a_position,
    read_of_an_empty_pipe_lets_other_tasks_run,
    dropped_read_loses_nothing,
    dropped_read_at_is_cancelled,
    dropped_file_writes_what_it_has_taken,
    error_of_a_write_comes_with_the_flush,
    tasks_wait_for_room,
    context_of_a_reactor_takes_other_requests,
    dropped_reactor_ends_its_context,
    reactor_needs_a_runtime,
}
