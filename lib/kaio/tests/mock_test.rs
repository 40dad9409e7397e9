// SPDX-License-Identifier: LGPL-2.1-or-later

//! The crate against the mock kernel of kaio-sys, which needs no device: in a build with
//! `RUSTFLAGS="--cfg kaio_mock"`, and under Miri, which checks that no code accesses a buffer that
//! the kernel has. Without one of the two this file is empty.

#![cfg(any(miri, kaio_mock))]

mod counter;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use counter::{poll, Counter};
use kaio_sys::mock;
use linux_kaio::{features, AlignedBuf, Context, IoBuf, IoBufMut, Op};

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

/// A slice is memory of a larger buffer, of which the kernel gets no more.
#[test]
fn slices_are_filled_and_written_alone() {
    let scratch = Scratch::new("slices", "0123456789");
    let context = Context::new(8).unwrap();
    mock::hold(scratch.fd());
    let part = vec![b'-'; 8].slice(2..=4);
    let pending = context.submit(Op::read(&scratch.file, part, 4));
    let nested = vec![b'-'; 8].slice(1..).slice(..3);
    let nested = context.submit(Op::read(&scratch.file, nested, 0));
    let parts = vec![vec![0; 4].slice(..1), vec![0; 4].slice(3..)];
    let vectored = context.submit(Op::read_vectored(&scratch.file, parts, 0));
    mock::release(scratch.fd());
    let (result, part) = pending.wait();
    assert_eq!((result.unwrap(), &part[..]), (3, &b"456"[..]));
    assert_eq!((part.range(), part.get_ref().len()), (2..5, 8));
    assert_eq!(part.into_inner(), b"--456---");
    assert_eq!(nested.wait().1.into_inner().into_inner(), b"-012----");
    let parts = vectored.wait().1;
    let whole: Vec<_> = parts.into_iter().map(|part| part.into_inner()).collect();
    assert_eq!(whole, [&b"0\0\0\0"[..], b"\0\0\x001"]);

    let written = context.submit(Op::write(&scratch.file, "abcdef".slice(2..4), 0));
    assert_eq!(written.wait().0.unwrap(), 2);
    assert_eq!(scratch.content(), "cd23456789");
}

#[test]
fn slices_are_bytes() {
    let mut part = vec![1, 2, 3, 4].slice(1..3);
    part[0] = 9;
    assert_eq!(part[..], [9, 3]);
    assert_eq!(IoBuf::len(&part), 2);
    assert_eq!(part.as_mut_ptr().cast_const(), IoBuf::as_ptr(&part));
    assert_eq!(part.into_inner(), [1, 9, 3, 4]);
    assert!(vec![1, 2].slice(2..).is_empty());
}

#[test]
fn slices_beyond_the_buffer_panic() {
    use std::ops::Bound::{Excluded, Included};
    let ranges = [
        (Included(0), Excluded(5)),
        (Included(5), Excluded(5)),
        (Included(3), Excluded(2)),
        (Excluded(4), Included(4)),
        (Included(0), Included(usize::MAX)),
        (Excluded(usize::MAX), Excluded(0)),
    ];
    for range in ranges {
        let made = std::panic::catch_unwind(|| vec![0; 4].slice(range));
        assert!(made.is_err(), "{range:?}");
    }
}

#[test]
fn spare_capacity_is_filled_and_added() {
    let scratch = Scratch::new("spare", "hello, world");
    let context = Context::new(8).unwrap();
    mock::hold(scratch.fd());
    let mut buf = Vec::with_capacity(64);
    buf.extend_from_slice(b"> ");
    let pending = context.submit(Op::read_spare(&scratch.file, buf, 7));
    let cancelled = context.submit(Op::read_spare(&scratch.file, Vec::with_capacity(8), 0));
    assert!(cancelled.cancel());
    mock::release(scratch.fd());
    let (result, buf) = pending.wait();
    assert_eq!((result.unwrap(), &buf[..]), (5, &b"> world"[..]));
    let (result, buf) = cancelled.wait();
    assert_eq!((errno(result), buf.len()), (libc::ECANCELED, 0));
    let full = vec![1, 2].into_boxed_slice().into_vec();
    let (result, full) = context
        .submit(Op::read_spare(&scratch.file, full, 0))
        .wait();
    assert_eq!((result.unwrap(), full), (0, vec![1, 2]));
}

#[test]
fn open_error_names_the_path() {
    let _one = one();
    let errors = [
        (libc::ENOENT, ErrorKind::NotFound),
        (libc::EACCES, ErrorKind::PermissionDenied),
    ];
    for (number, kind) in errors {
        mock::fail_open(number);
        let error = Context::new(8).expect_err("no device");
        mock::fail_open(0);
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().starts_with("/dev/kaio: "), "{error}");
        let source = error.get_ref().and_then(|e| e.source());
        let source = source.and_then(|e| e.downcast_ref::<io::Error>());
        assert_eq!(source.and_then(|e| e.raw_os_error()), Some(number));
    }
}

#[test]
fn query_tells_features_and_descriptors_are_the_same() {
    let _one = one();
    let context = Context::new(8).unwrap();
    let query = context.query().unwrap();
    assert!(query.has(features::RING_REAP | features::FADVISE));
    assert!(!query.has(1 << 40) && !query.has(features::PEEK | (1 << 40)));
    assert_eq!(context.as_raw_fd(), context.as_fd().as_raw_fd());
}

#[test]
fn threads_wait_for_room() {
    let scratch = Scratch::new("room", "x");
    let context = Context::new(2).unwrap();
    mock::hold(scratch.fd());
    let held = [0, 0].map(|offset| context.submit(Op::read(&scratch.file, vec![0], offset)));
    assert!(!context.wait_for_room(Some(Duration::from_millis(1))));
    let other = File::open(&scratch.path).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| context.wait_for_room(None));
        let submitter = scope.spawn(|| {
            let pending = context.submit_when_room(Op::read(&other, vec![0], 0));
            pending.wait().1
        });
        let batch = scope.spawn(|| {
            let mut batch = context.batch();
            let pending = [(); 5].map(|()| batch.push(Op::read(&other, vec![0], 0)));
            assert_eq!(batch.submit_all(), 5);
            pending.map(|pending| pending.wait().1).concat()
        });
        mock::release(scratch.fd());
        assert!(waiter.join().unwrap());
        assert_eq!(submitter.join().unwrap(), b"x");
        assert_eq!(batch.join().unwrap(), b"xxxxx");
    });
    drop(held);
    assert!(context.wait_for_room(None));
}

#[test]
fn tasks_wait_for_room() {
    fn assert_send<T: Send>(value: T) -> T {
        value
    }
    let scratch = Scratch::new("room-async", "x");
    let other = File::open(&scratch.path).unwrap();
    let context = Context::new(1).unwrap();
    mock::hold(scratch.fd());
    let held = context.submit(Op::read(&scratch.file, vec![0], 0));
    let (room_counter, counter) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    let mut room = pin!(assert_send(context.room()));
    let mut submit = pin!(assert_send(context.submit_async(Op::read(
        &other,
        vec![0],
        0
    ))));
    {
        let dropped = pin!(context.submit_async(Op::write(&scratch.file, "never", 0)));
        assert!(poll(dropped, &counter).is_pending());
    }
    assert!(poll(room.as_mut(), &room_counter).is_pending());
    assert!(poll(submit.as_mut(), &counter).is_pending());
    mock::release(scratch.fd());
    assert_eq!(context.reap(), 1);
    assert_eq!((room_counter.count(), counter.count()), (1, 1));
    assert!(poll(room, &room_counter).is_ready());
    let Poll::Ready(pending) = poll(submit, &counter) else {
        panic!("there is room");
    };
    assert_eq!(pending.wait().1, b"x");
    assert_eq!(held.wait().1, b"x");
    assert_eq!(scratch.content(), "x");
}

#[test]
fn batch_waits_for_room_as_a_future() {
    let scratch = Scratch::new("batch-async", "0123456789");
    let context = Context::new(2).unwrap();
    let counter = Arc::new(Counter::default());
    let mut batch = context.batch();
    let reads: Vec<_> = (0..7)
        .map(|i| batch.push(Op::read(&scratch.file, vec![0], i)))
        .collect();
    {
        let mut all = pin!(batch.submit_all_async());
        // The requests complete within the submit call, so each look at the ring makes room.
        assert_eq!(poll(all.as_mut(), &counter), Poll::Ready(7));
    }
    for (i, read) in (b'0'..).zip(reads) {
        assert_eq!(read.wait().1, [i]);
    }
}

#[cfg(feature = "bytes")]
#[test]
fn bytes_are_buffers() {
    use bytes::{Bytes, BytesMut};

    let scratch = Scratch::new("bytes", "0123456789");
    let context = Context::new(8).unwrap();
    mock::hold(scratch.fd());
    let shared = Bytes::from(b"abcdef".to_vec());
    let part = Bytes::slice(&shared, 2..4);
    let write = context.submit(Op::write(&scratch.file, part, 0));
    let stable = context.submit(Op::write(&scratch.file, Bytes::from_static(b"z"), 9));
    // Both halves of a buffer are in flight.
    let mut first = BytesMut::zeroed(8);
    let second = first.split_off(4);
    let read = context.submit(Op::read(&scratch.file, first, 4));
    let mut small = BytesMut::with_capacity(16);
    small.extend_from_slice(b"> ");
    let room = small.capacity() - 2;
    let spare = context.submit(Op::read_spare(&scratch.file, small, 2));
    let part = context.submit(Op::read(&scratch.file, second.slice(1..3), 0));
    mock::release(scratch.fd());
    assert_eq!(write.wait().0.unwrap(), 2);
    assert_eq!(stable.wait().1, "z");
    assert_eq!(shared, "abcdef");
    assert_eq!(read.wait().1, "4567");
    let (result, spare) = spare.wait();
    assert_eq!(result.unwrap(), room.min(8));
    assert_eq!(spare, "> 2345678z"[..2 + room.min(8)]);
    assert_eq!(part.wait().1.into_inner(), "\0cd\0");
    assert_eq!(scratch.content(), "cd2345678z");
}
