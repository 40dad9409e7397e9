// SPDX-License-Identifier: LGPL-2.1-or-later

//! The crate against the mock kernel of kaio-sys, which needs no device: in a build with
//! `RUSTFLAGS="--cfg kaio_mock"`, and under Miri, which checks that no code accesses a buffer that
//! the kernel has. Without one of the two this file is empty.

#![cfg(any(miri, kaio_mock))]

use std::fs::{self, File};
use std::future::Future;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::pin::{pin, Pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use kaio_sys::mock;
use linux_kaio::{AlignedBuf, Context, Op};

/// What the mock kernel is told holds for all threads, so one test runs at a time.
static ONE: Mutex<()> = Mutex::new(());

fn one() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that only this test uses. It is removed when the value is dropped. Other tests wait
/// meanwhile.
struct Scratch {
    path: PathBuf,
    file: File,
    _one: MutexGuard<'static, ()>,
}

impl Scratch {
    fn new(name: &str, content: &str) -> Self {
        let one = one();
        let name = format!("kaio-mock-{name}.{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).expect("a file");
        let file = File::options().read(true).write(true).open(&path);
        Self {
            file: file.expect("the file again"),
            path,
            _one: one,
        }
    }

    fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    fn content(&self) -> String {
        fs::read_to_string(&self.path).expect("the file")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        mock::release(self.fd());
        let _ = fs::remove_file(&self.path);
    }
}

fn errno(result: io::Result<usize>) -> i32 {
    result.expect_err("an error").raw_os_error().expect("errno")
}

/// Counts how often it was woken.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Counter {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn poll<F: Future>(future: Pin<&mut F>, counter: &Arc<Counter>) -> Poll<F::Output> {
    let waker = Waker::from(counter.clone());
    future.poll(&mut task::Context::from_waker(&waker))
}

#[test]
fn buffers_of_all_types_are_filled_and_written() {
    let mut scratch = Scratch::new("types", "0123456789");
    let context = Context::new(8).unwrap();
    let (read, buf) = context
        .submit(Op::read(&scratch.file, vec![0; 4], 2))
        .wait();
    assert_eq!((read.unwrap(), &buf[..]), (4, &b"2345"[..]));
    let boxed: Box<[u8]> = vec![0; 16].into();
    let (read, boxed) = context.submit(Op::read(&scratch.file, boxed, 7)).wait();
    assert_eq!((read.unwrap(), &boxed[..4]), (3, &b"789\0"[..]));
    let aligned = AlignedBuf::new(10, 512);
    let (read, aligned) = context.submit(Op::read(&scratch.file, aligned, 0)).wait();
    assert_eq!((read.unwrap(), &aligned[..]), (10, &b"0123456789"[..]));

    let shared: Arc<[u8]> = b"ab".to_vec().into();
    let writes = [
        context.submit(Op::write(&scratch.file, shared.clone(), 0)),
        context.submit(Op::write(&scratch.file, shared, 2)),
    ];
    for write in writes {
        assert_eq!(write.wait().0.unwrap(), 2);
    }
    let (written, _) = context.submit(Op::write(&scratch.file, "cd", 4)).wait();
    assert_eq!(written.unwrap(), 2);
    let string = String::from("ef");
    let (written, _) = context.submit(Op::write(&scratch.file, string, 6)).wait();
    assert_eq!(written.unwrap(), 2);
    assert_eq!(scratch.content(), "ababcdef89");
    scratch.file.seek(SeekFrom::Start(0)).unwrap();
    scratch.file.write_all(b"x").unwrap();
}

#[test]
fn vectors_of_buffers_are_transferred_in_order() {
    let scratch = Scratch::new("vectors", "");
    let context = Context::new(8).unwrap();
    let op = Op::write_vectored(&scratch.file, vec!["ab", "", "cde"], 1);
    assert_eq!(context.submit(op).wait().0.unwrap(), 5);
    let bufs = vec![vec![0; 2], vec![0; 3], vec![9; 4]];
    let op = Op::read_vectored(&scratch.file, bufs, 0);
    let (read, bufs) = context.submit(op).wait();
    assert_eq!(read.unwrap(), 6);
    assert_eq!(bufs, [&b"\0a"[..], b"bcd", b"e\x09\x09\x09"]);
}

#[test]
fn refused_request_gives_its_buffer_back() {
    let scratch = Scratch::new("refused", "x");
    let context = Context::new(8).unwrap();
    let pending = context.submit(Op::read(&scratch.file, vec![7], u64::MAX));
    assert!(pending.is_complete());
    let (result, buf) = pending.wait();
    assert_eq!((errno(result), buf), (libc::EINVAL, vec![7]));
    let op = Op::read(&scratch.file, vec![7], 0).flags(1);
    assert_eq!(errno(context.submit(op).wait().0), libc::EOPNOTSUPP);
}

#[test]
fn handle_may_move_while_the_kernel_has_the_buffer() {
    let scratch = Scratch::new("moves", "moved");
    let context = Context::new(8).unwrap();
    mock::hold(scratch.fd());
    let boxed: Box<[u8]> = vec![0; 5].into();
    let pending = Box::new(context.submit(Op::read(&scratch.file, boxed, 0)));
    let vectored = vec![vec![0; 2], vec![0; 3]];
    let vectored = context.submit(Op::read_vectored(&scratch.file, vectored, 0));
    let mut all = vec![Some(vectored)];
    all.reserve(100);
    let releaser = thread::spawn({
        let fd = scratch.fd();
        move || mock::release(fd)
    });
    let (result, buf) = (*pending).wait();
    assert_eq!((result.unwrap(), &buf[..]), (5, &b"moved"[..]));
    let (result, bufs) = all[0].take().unwrap().wait();
    assert_eq!(result.unwrap(), 5);
    assert_eq!(bufs.concat(), b"moved");
    releaser.join().unwrap();
}

#[test]
fn threads_wait_for_requests_of_one_context() {
    let scratch = Scratch::new("threads", "x");
    let context = Context::new(16).unwrap();
    mock::hold(scratch.fd());
    let rounds = if cfg!(miri) { 3 } else { 100 };
    let held: Vec<_> = (0..3)
        .map(|_| context.submit(Op::read(&scratch.file, vec![0; 1], 0)))
        .collect();
    let waiters: Vec<_> = held
        .into_iter()
        .map(|pending| thread::spawn(move || pending.wait().1))
        .collect();
    let other = File::open(&scratch.path).unwrap();
    for _ in 0..rounds {
        let (read, _) = context.submit(Op::read(&other, vec![0; 1], 0)).wait();
        assert_eq!(read.unwrap(), 1);
    }
    mock::release(scratch.fd());
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), b"x");
    }
    assert_eq!(context.in_flight(), 0);
}

#[test]
fn cancelled_request_gives_its_buffer_back() {
    let scratch = Scratch::new("cancel", "x");
    let context = Context::new(8).unwrap();
    mock::hold(scratch.fd());
    let pending = context.submit(Op::read(&scratch.file, vec![5], 0));
    assert!(pending.cancel());
    let (result, buf) = pending.wait();
    assert_eq!((errno(result), buf), (libc::ECANCELED, vec![5]));
    let poll = context.submit(Op::poll(&scratch.file, 1));
    assert!(poll.cancel());
    assert!(!poll.cancel());
    assert_eq!(poll.wait().0.unwrap(), 0);
}

#[test]
fn dropped_request_is_cancelled_and_its_buffer_freed() {
    let scratch = Scratch::new("dropped", "x");
    let context = Context::new(8).unwrap();
    mock::hold(scratch.fd());
    let buf: Arc<[u8]> = vec![1; 8].into();
    drop(context.submit(Op::write(&scratch.file, buf.clone(), 0)));
    assert_eq!(Arc::strong_count(&buf), 1);
    assert_eq!((mock::waiting(), context.in_flight()), (0, 0));
    assert_eq!(scratch.content(), "x");
}

#[test]
fn detached_request_keeps_its_buffer_until_its_event() {
    let scratch = Scratch::new("detached", "x");
    let context = Context::new(8).unwrap();
    mock::hold(scratch.fd());
    let buf: Arc<[u8]> = b"done".to_vec().into();
    context
        .submit(Op::write(&scratch.file, buf.clone(), 0))
        .detach();
    mock::release(scratch.fd());
    assert_eq!(Arc::strong_count(&buf), 2);
    assert_eq!(context.reap(), 1);
    assert_eq!(Arc::strong_count(&buf), 1);
    assert_eq!(scratch.content(), "done");
}

#[test]
fn ending_context_frees_requests_in_flight() {
    let scratch = Scratch::new("ending", "x");
    let context = Context::new(8).unwrap();
    mock::hold(scratch.fd());
    let buf: Arc<[u8]> = vec![1; 8].into();
    context
        .submit(Op::write(&scratch.file, buf.clone(), 0))
        .detach();
    drop(context);
    assert_eq!(Arc::strong_count(&buf), 1);
}

#[test]
fn full_context_refuses() {
    let scratch = Scratch::new("full", "x");
    let context = Context::new(2).unwrap();
    mock::hold(scratch.fd());
    let held = [0, 0].map(|offset| context.submit(Op::read(&scratch.file, vec![0], offset)));
    let (result, buf) = context.submit(Op::read(&scratch.file, vec![9], 0)).wait();
    assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(buf, [9]);
    drop(held);
    assert_eq!(context.in_flight(), 0);
}

#[test]
fn batch_submits_what_has_room() {
    let scratch = Scratch::new("batch", "0123456789");
    let context = Context::new(4).unwrap();
    let mut batch = context.batch();
    let reads: Vec<_> = (0..10)
        .map(|i| batch.push(Op::read(&scratch.file, vec![0], i)))
        .collect();
    assert_eq!(batch.submit_and_wait(4), 4);
    assert_eq!(batch.submit(), 4);
    assert_eq!(batch.submit_and_wait(100), 2);
    for (i, read) in (b'0'..).zip(reads) {
        assert_eq!(read.wait().1, [i]);
    }
    let late = context.batch().push(Op::read(&scratch.file, vec![0], 0));
    assert_eq!(errno(late.wait().0), libc::ECANCELED);
}

#[test]
fn reaped_event_wakes_the_future() {
    for with_eventfd in [false, true] {
        let scratch = Scratch::new("future", "abc");
        let context = match with_eventfd {
            false => Context::new(8).unwrap(),
            true => Context::with_eventfd(8).unwrap(),
        };
        let counter = Arc::new(Counter::default());
        mock::hold(scratch.fd());
        let mut future = pin!(context.submit(Op::read(&scratch.file, vec![0; 3], 0)));
        assert!(poll(future.as_mut(), &counter).is_pending());
        mock::release(scratch.fd());
        assert_eq!((context.reap(), counter.count()), (1, 1));
        let Poll::Ready((result, buf)) = poll(future, &counter) else {
            panic!("it is not ready");
        };
        assert_eq!((result.unwrap(), &buf[..]), (3, &b"abc"[..]));
    }
}

#[test]
fn wait_ends_with_its_time() {
    let scratch = Scratch::new("time", "x");
    let context = Context::new(8).unwrap();
    mock::hold(scratch.fd());
    let pending = context.submit(Op::read(&scratch.file, vec![0], 0));
    let time = Duration::from_millis(1);
    assert_eq!(context.wait(Some(time)), 0);
    let pending = pending.wait_timeout(time).expect_err("it is held");
    mock::release(scratch.fd());
    assert_eq!(pending.wait().0.unwrap(), 1);
    assert_eq!(context.wait(None), 0);
}
