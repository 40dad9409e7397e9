// SPDX-License-Identifier: LGPL-2.1-or-later

//! Files for tokio, against the mock kernel of kaio-sys.

#![cfg(all(kaio_mock, not(miri), feature = "tokio"))]

mod steps;

use std::fs;
use std::future::Future;
use std::io::{self, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use kaio_sys::mock;
use linux_kaio::tokio::{File, Reactor};
use steps::{flush, once, read, seek, write};
use tokio::runtime::Builder;

/// What the mock kernel is told holds for all threads, so one test runs at a time.
static ONE: Mutex<()> = Mutex::new(());

/// Runs the test in a runtime, with a file that contains `content` and a reactor with room for two
/// requests. Returns what the file contains then.
fn run<F: Future<Output = io::Result<()>>>(
    content: &str,
    test: impl FnOnce(File, Reactor) -> F,
) -> String {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let path: PathBuf = std::env::temp_dir().join(format!("kaio-tokio.{}", std::process::id()));
    fs::write(&path, content).expect("a file");
    let runtime = Builder::new_current_thread().enable_io().build();
    let result = runtime.expect("a runtime").block_on(async {
        let reactor = Reactor::new(2)?;
        let mut options = fs::File::options();
        let file = File::open_with(&reactor, &path, options.read(true).write(true)).await?;
        let fd = file.as_raw_fd();
        test(file, reactor).await?;
        mock::release(fd);
        // The tasks of the runtime end what was dropped.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        Ok::<_, io::Error>(())
    });
    let content = fs::read_to_string(&path).expect("the file");
    let _ = fs::remove_file(&path);
    result.expect("no error");
    content
}

/// Releases the file in another thread, a little later.
fn release_later(file: &File) -> thread::JoinHandle<()> {
    let fd = file.as_raw_fd();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(5));
        mock::release(fd);
    })
}

#[test]
fn held_requests_wake_their_tasks() {
    let content = run("0123456789", |file, reactor| async move {
        mock::hold(file.as_raw_fd());
        let file = Arc::new(file);
        let tasks: Vec<_> = (0..10u64)
            .map(|i| {
                let file = file.clone();
                tokio::spawn(async move { file.read_at(vec![0], i).await.1 })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(reactor.context().in_flight(), 2);
        release_later(&file);
        for (i, task) in (b'0'..).zip(tasks) {
            assert_eq!(task.await.unwrap(), [i]);
        }
        let (result, buf) = file.read_spare_at(Vec::with_capacity(32), 8).await;
        assert_eq!((result?, buf), (2, b"89".to_vec()));
        assert_eq!(file.write_at("ab", 1).await.0?, 2);
        file.sync_data().await
    });
    assert_eq!(content, "0ab3456789");
}

#[test]
fn stream_keeps_its_position() {
    let content = run("0123456789", |mut file, _| async move {
        assert_eq!(read(&mut file, 3).await?, b"012");
        assert_eq!(write(&mut file, b"ab").await?, 2);
        assert_eq!(read(&mut file, 2).await?, b"56");
        assert_eq!(seek(&mut file, SeekFrom::End(-1)).await?, 9);
        assert_eq!(write(&mut file, b"xyz").await?, 3);
        assert_eq!(seek(&mut file, SeekFrom::Current(-4)).await?, 8);
        assert_eq!(read(&mut file, 100).await?, b"8xyz");
        assert_eq!(read(&mut file, 100).await?, b"");
        assert!(seek(&mut file, SeekFrom::Current(-100)).await.is_err());
        assert_eq!(seek(&mut file, SeekFrom::Current(0)).await?, 12);
        Ok(())
    });
    assert_eq!(content, "012ab5678xyz");
}

#[test]
fn dropped_read_loses_nothing() {
    run("abcdef", |mut file, _| async move {
        mock::hold(file.as_raw_fd());
        assert!(once(pin!(read(&mut file, 4))).is_pending());
        mock::release(file.as_raw_fd());
        assert_eq!(read(&mut file, 1).await?, b"a");
        // A dropped read ahead of a write does not move the position.
        mock::hold(file.as_raw_fd());
        assert_eq!(read(&mut file, 3).await?, b"bcd");
        assert!(once(pin!(read(&mut file, 2))).is_pending());
        release_later(&file);
        assert_eq!(write(&mut file, b"E").await?, 1);
        assert_eq!(read(&mut file, 2).await?, b"f");
        Ok(())
    });
}

#[test]
fn dropped_read_at_is_cancelled() {
    run("abcdef", |file, reactor| async move {
        mock::hold(file.as_raw_fd());
        assert!(once(pin!(file.read_at(vec![0], 0))).is_pending());
        assert_eq!((mock::waiting(), reactor.context().in_flight()), (0, 0));
        Ok(())
    });
}

#[test]
fn write_is_taken_once() {
    let content = run("", |mut file, _| async move {
        mock::hold(file.as_raw_fd());
        assert_eq!(write(&mut file, b"one,").await?, 4);
        // This write has taken nothing.
        assert!(once(pin!(write(&mut file, b"lost"))).is_pending());
        release_later(&file);
        assert_eq!(write(&mut file, b"two").await?, 3);
        flush(&mut file).await
    });
    assert_eq!(content, "one,two");
}

#[test]
fn dropped_file_writes_what_it_has_taken() {
    let content = run("", |mut file, _| async move {
        mock::hold(file.as_raw_fd());
        assert_eq!(write(&mut file, b"kept").await?, 4);
        drop(file);
        Ok(())
    });
    assert_eq!(content, "kept");
}

/// Several tasks sync a file with a write in flight, and one of them is dropped.
#[test]
fn all_tasks_that_sync_are_woken() {
    let content = run("", |mut file, _| async move {
        mock::hold(file.as_raw_fd());
        assert_eq!(write(&mut file, b"data").await?, 4);
        let file = Arc::new(file);
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let file = file.clone();
                tokio::spawn(async move { file.sync_all().await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(once(pin!(file.sync_all())).is_pending());
        tasks[2].abort();
        release_later(&file);
        for task in tasks.into_iter().take(2) {
            task.await.unwrap()?;
        }
        Ok(())
    });
    assert_eq!(content, "data");
}

#[test]
fn errors_name_the_path() {
    run("", |_, reactor| async move {
        let error = File::create(&reactor, "/no/such/folder/file").await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let text = error.to_string();
        assert!(text.starts_with("/no/such/folder/file: "), "{text}");
        Ok(())
    });
}

/// The error of a write that was taken comes with the next call, once.
#[test]
fn error_of_a_write_comes_with_the_flush() {
    run("", |file, reactor| async move {
        let readonly = fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let mut file = File::from_std(&reactor, readonly);
        let error = write(&mut file, b"x").await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        mock::hold(file.as_raw_fd());
        assert_eq!(write(&mut file, b"x").await?, 1);
        release_later(&file);
        let error = file.sync_all().await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        flush(&mut file).await
    });
}

#[test]
fn reactor_needs_a_runtime() {
    assert!(Reactor::new(8).is_err());
}
