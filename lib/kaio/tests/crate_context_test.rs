// SPDX-License-Identifier: LGPL-2.1-or-later

//! Operations with their results and buffers, batches, and a full context.

mod tap;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use linux_kaio::{features, flags, AlignedBuf, Context, IoBuf, Op};
use tap::{stat, Scratch, TIMEOUT};

fn errno(result: io::Result<usize>) -> i32 {
    result.expect_err("an error").raw_os_error().expect("errno")
}

fn context() -> Context {
    Context::new(16).expect("a context")
}

fn read_fills_its_buffer() {
    let context = context();
    let scratch = Scratch::new("read", b"hello, world");
    let buf = vec![b'-'; 16];
    let address = buf.as_ptr();
    let (result, buf) = context.submit(Op::read(&scratch.file, buf, 7)).wait();
    assert_eq!(result.unwrap(), 5);
    assert_eq!(buf, b"world-----------");
    assert_eq!(buf.as_ptr(), address);
    assert_eq!(stat(&context, "submitted"), 1);
    assert_eq!(stat(&context, "completed"), 1);
}

fn write_writes_the_whole_buffer() {
    let context = context();
    let scratch = Scratch::new("write", b"");
    let (result, buf) = context.submit(Op::write(&scratch.file, "hello", 3)).wait();
    assert_eq!(result.unwrap(), 5);
    assert_eq!(buf, "hello");
    assert_eq!(fs::read(&scratch.path).unwrap(), b"\0\0\0hello");
    assert_eq!(stat(&context, "submitted"), 1);
}

fn read_vectored_fills_buffers_in_order() {
    let context = context();
    let scratch = Scratch::new("readv", b"0123456789");
    let bufs = vec![vec![0; 3], vec![0; 1], vec![0; 6]];
    let (result, bufs) = context
        .submit(Op::read_vectored(&scratch.file, bufs, 0))
        .wait();
    assert_eq!(result.unwrap(), 10);
    assert_eq!(bufs, [&b"012"[..], b"3", b"456789"]);
}

fn write_vectored_writes_buffers_in_order() {
    let context = context();
    let scratch = Scratch::new("writev", b"");
    let bufs = vec!["ab", "", "cde"];
    let (result, _) = context
        .submit(Op::write_vectored(&scratch.file, bufs, 0))
        .wait();
    assert_eq!(result.unwrap(), 5);
    assert_eq!(fs::read(&scratch.path).unwrap(), b"abcde");
}

fn read_fills_a_slice_alone() {
    let context = context();
    let scratch = Scratch::new("slice", b"0123456789");
    let part = vec![b'-'; 8].slice(2..5);
    let (result, part) = context.submit(Op::read(&scratch.file, part, 4)).wait();
    assert_eq!(result.unwrap(), 3);
    assert_eq!(part[..], *b"456");
    assert_eq!(part.into_inner(), b"--456---");
}

fn write_writes_a_slice_alone() {
    let context = context();
    let scratch = Scratch::new("slice-write", b"");
    let (result, _) = context
        .submit(Op::write(&scratch.file, "0123456789".slice(7..), 0))
        .wait();
    assert_eq!(result.unwrap(), 3);
    assert_eq!(fs::read(&scratch.path).unwrap(), b"789");
}

fn slice_of_an_aligned_buffer_works_with_direct_io() {
    let context = context();
    let scratch = Scratch::new("slice-direct", &[7; 8192]);
    let direct = File::options()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(&scratch.path)
        .unwrap();
    let part = AlignedBuf::new(8192, 4096).slice(4096..);
    let (result, part) = context.submit(Op::read(&direct, part, 0)).wait();
    assert_eq!(result.unwrap(), 4096);
    let buf = part.into_inner();
    assert!(buf[..4096].iter().all(|&byte| byte == 0));
    assert!(buf[4096..].iter().all(|&byte| byte == 7));
}

fn read_spare_adds_to_the_contents() {
    let context = context();
    let scratch = Scratch::new("spare", b"hello, world");
    let mut buf = Vec::with_capacity(64);
    buf.extend_from_slice(b"> ");
    let (result, buf) = context.submit(Op::read_spare(&scratch.file, buf, 7)).wait();
    assert_eq!(result.unwrap(), 5);
    assert_eq!(buf, b"> world");
}

fn read_spare_stops_at_the_capacity() {
    let context = context();
    let scratch = Scratch::new("spare-full", &[7; 4096]);
    let buf = Vec::with_capacity(10);
    let room = buf.capacity();
    let (result, buf) = context.submit(Op::read_spare(&scratch.file, buf, 0)).wait();
    assert_eq!(result.unwrap(), room);
    assert_eq!(buf, vec![7; room]);
    let (result, buf) = context.submit(Op::read_spare(&scratch.file, buf, 0)).wait();
    assert_eq!((result.unwrap(), buf.len()), (0, room));
}

fn refused_read_spare_leaves_the_contents() {
    let scratch = Scratch::new("spare-refused", b"x");
    let op = Op::read_spare(&scratch.file, vec![1, 2], u64::MAX);
    let (result, buf) = context().submit(op).wait();
    assert_eq!((errno(result), buf), (libc::EINVAL, vec![1, 2]));
}

fn cancelled_read_spare_leaves_the_contents() {
    let context = context();
    let (reader, _writer) = tap::pipe();
    let mut buf = Vec::with_capacity(16);
    buf.push(1);
    let pending = context.submit(Op::read_spare(&reader, buf, 0));
    assert!(pending.cancel());
    let (result, buf) = pending.wait();
    assert_eq!((errno(result), buf), (libc::ECANCELED, vec![1]));
}

fn aligned_buffer_works_with_direct_io() {
    let context = context();
    let scratch = Scratch::new("direct", &[7; 8192]);
    let direct = File::options()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(&scratch.path)
        .unwrap();
    let buf = AlignedBuf::new(8192, 4096);
    let (result, buf) = context.submit(Op::read(&direct, buf, 0)).wait();
    assert_eq!(result.unwrap(), 8192);
    assert!(buf.iter().all(|byte| *byte == 7));
    // An unaligned buffer fails, so the file really is open for direct I/O.
    let (result, _) = context.submit(Op::read(&direct, vec![0; 511], 0)).wait();
    assert_eq!(errno(result), libc::EINVAL);
}

fn fsync_of_a_file() {
    let context = context();
    let scratch = Scratch::new("fsync", b"x");
    let (result, ()) = context.submit(Op::fsync(&scratch.file)).wait();
    assert_eq!(result.unwrap(), 0);
}

fn fdatasync_of_a_file() {
    let context = context();
    let scratch = Scratch::new("fdatasync", b"x");
    let (result, ()) = context.submit(Op::fdatasync(&scratch.file)).wait();
    assert_eq!(result.unwrap(), 0);
}

fn fsync_of_a_pipe_is_refused() {
    let (reader, _writer) = tap::pipe();
    let (result, ()) = context().submit(Op::fsync(&reader)).wait();
    assert_eq!(errno(result), libc::EINVAL);
}

fn noop_completes_with_0() {
    let context = context();
    let scratch = Scratch::new("noop", b"");
    assert_eq!(context.submit(Op::noop(&scratch.file)).wait().0.unwrap(), 0);
    assert_eq!(stat(&context, "completed"), 1);
}

fn poll_returns_events() {
    let context = context();
    let (a, mut b) = UnixStream::pair().unwrap();
    let events = (libc::POLLIN | libc::POLLPRI) as u16;
    let pending = context.submit(Op::poll(&a, events));
    assert!(!pending.is_complete());
    b.write_all(b"x").unwrap();
    // The result contains all events that the wake-up reported.
    let expected = libc::POLLIN | libc::POLLPRI | libc::POLLRDNORM | libc::POLLRDBAND;
    assert_eq!(pending.wait().0.unwrap(), expected as usize);
}

fn refused_request_gives_its_buffer_back() {
    let scratch = Scratch::new("refused", b"x");
    let writeonly = File::options().write(true).open(&scratch.path).unwrap();
    let pending = context().submit(Op::read(&writeonly, vec![1, 2, 3], 0));
    assert!(pending.is_complete());
    let (result, buf) = pending.wait();
    assert_eq!(errno(result), libc::EBADF);
    assert_eq!(buf, [1, 2, 3]);
}

fn unknown_flag_is_refused() {
    let scratch = Scratch::new("flag", b"x");
    let op = Op::read(&scratch.file, vec![0; 1], 0).flags(1 << 30);
    assert_eq!(errno(context().submit(op).wait().0), libc::EOPNOTSUPP);
}

fn append_flag_appends() {
    let context = context();
    let scratch = Scratch::new("append", b"ab");
    let op = Op::write(&scratch.file, "c", 0).flags(flags::RWF_APPEND);
    assert_eq!(context.submit(op).wait().0.unwrap(), 1);
    assert_eq!(fs::read(&scratch.path).unwrap(), b"abc");
}

fn nowait_flag_does_not_wait() {
    let (reader, _writer) = tap::pipe();
    let op = Op::read(&reader, vec![0; 1], 0).flags(flags::RWF_NOWAIT);
    let error = context().submit(op).wait().0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

fn unknown_priority_is_refused() {
    let scratch = Scratch::new("priority", b"x");
    let op = Op::read(&scratch.file, vec![0; 1], 0).priority(6 << 13);
    assert_eq!(errno(context().submit(op).wait().0), libc::EINVAL);
}

fn valid_priority_is_accepted() {
    let scratch = Scratch::new("priority", b"x");
    let op = Op::read(&scratch.file, vec![0; 1], 0).priority((2 << 13) | 7);
    assert_eq!(context().submit(op).wait().0.unwrap(), 1);
}

fn offset_past_i64_is_refused() {
    let scratch = Scratch::new("offset", b"x");
    let op = Op::read(&scratch.file, vec![0; 1], u64::MAX);
    assert_eq!(errno(context().submit(op).wait().0), libc::EINVAL);
}

fn file_may_be_closed_after_submission() {
    let context = context();
    let (a, mut b) = UnixStream::pair().unwrap();
    let pending = context.submit(Op::read(&a, vec![0; 2], 0));
    drop(a);
    b.write_all(b"hi").unwrap();
    let (result, buf) = pending.wait();
    assert_eq!(result.unwrap(), 2);
    assert_eq!(buf, b"hi");
}

fn full_context_refuses_and_gives_the_buffer_back() {
    let context = Context::new(1).unwrap();
    let (reader, mut writer) = tap::pipe();
    let pending: Vec<_> = (0..context.capacity())
        .map(|_| context.submit(Op::read(&reader, vec![0; 1], 0)))
        .collect();
    assert_eq!(context.in_flight(), context.capacity());
    let (result, buf) = context.submit(Op::read(&reader, vec![9], 0)).wait();
    assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(buf, [9]);
    // A completed request makes room although the program has not reaped its event.
    writer.write_all(b"x").unwrap();
    assert!(tap::readable(&context, TIMEOUT));
    let one_more = context.submit(Op::noop(&reader));
    assert_eq!(one_more.wait().0.unwrap(), 0);
    drop(pending);
}

/// Fills a context with reads of an empty pipe. Returns the requests and the pipe.
fn full_context(context: &Context) -> (Vec<linux_kaio::Pending<Vec<u8>>>, File, File) {
    let (reader, writer) = tap::pipe();
    let pending = (0..context.capacity())
        .map(|_| context.submit(Op::read(&reader, vec![0; 1], 0)))
        .collect();
    (pending, reader, writer)
}

fn wait_for_room_ends_when_a_request_completes() {
    let context = Context::new(1).unwrap();
    assert!(context.wait_for_room(None));
    let (_pending, _reader, mut writer) = full_context(&context);
    assert!(!context.wait_for_room(Some(Duration::ZERO)));
    assert!(!context.wait_for_room(Some(Duration::from_millis(5))));
    let waiter = {
        let context = context.clone();
        thread::spawn(move || context.wait_for_room(Some(TIMEOUT)))
    };
    writer.write_all(b"x").unwrap();
    assert!(waiter.join().unwrap());
    assert!(context.in_flight() < context.capacity());
}

fn submit_when_room_waits_and_submits() {
    let context = Context::new(1).unwrap();
    let (_pending, reader, mut writer) = full_context(&context);
    let submitters: Vec<_> = (0..3)
        .map(|_| {
            let (context, reader) = (context.clone(), reader.try_clone().unwrap());
            thread::spawn(move || {
                let pending = context.submit_when_room(Op::noop(&reader));
                pending.wait().0.unwrap()
            })
        })
        .collect();
    writer.write_all(b"x").unwrap();
    for submitter in submitters {
        assert_eq!(submitter.join().unwrap(), 0);
    }
}

fn submit_all_waits_for_room() {
    let context = Context::new(1).unwrap();
    let scratch = Scratch::new("batch-all", b"x");
    let count = 3 * context.capacity() + 1;
    let mut batch = context.batch();
    let pending: Vec<_> = (0..count)
        .map(|_| batch.push(Op::read(&scratch.file, vec![0; 1], 0)))
        .collect();
    assert_eq!(batch.submit_all(), count);
    assert!(batch.is_empty());
    for pending in pending {
        assert_eq!(pending.wait().1, b"x");
    }
}

fn descriptors_are_the_same() {
    for context in [Context::new(1).unwrap(), Context::with_eventfd(1).unwrap()] {
        assert_eq!(context.as_raw_fd(), context.as_fd().as_raw_fd());
    }
}

fn batch_submits_all() {
    let context = context();
    let scratch = Scratch::new("batch", b"");
    let mut batch = context.batch();
    let first = batch.push(Op::write(&scratch.file, "ab", 0));
    let second = batch.push(Op::write(&scratch.file, String::from("cd"), 2));
    let sync = batch.push(Op::fsync(&scratch.file));
    assert_eq!(stat(&context, "submitted"), 0);
    assert_eq!(batch.len(), 3);
    assert_eq!(batch.submit(), 3);
    assert!(batch.is_empty());
    assert_eq!(first.wait().0.unwrap(), 2);
    assert_eq!(second.wait().0.unwrap(), 2);
    assert_eq!(sync.wait().0.unwrap(), 0);
    assert_eq!(fs::read(&scratch.path).unwrap(), b"abcd");
}

fn batch_continues_after_refused_request() {
    let context = context();
    let scratch = Scratch::new("batch-refused", b"x");
    let (reader, _writer) = tap::pipe();
    let mut batch = context.batch();
    let first = batch.push(Op::noop(&scratch.file));
    let bad = batch.push(Op::fsync(&reader));
    let last = batch.push(Op::read(&scratch.file, vec![0], 0));
    assert_eq!(batch.submit(), 2);
    assert_eq!(first.wait().0.unwrap(), 0);
    assert_eq!(errno(bad.wait().0), libc::EINVAL);
    let (result, buf) = last.wait();
    assert_eq!((result.unwrap(), &buf[..]), (1, &b"x"[..]));
}

fn batch_keeps_requests_without_room() {
    let context = Context::new(1).unwrap();
    let scratch = Scratch::new("batch-full", b"");
    let count = context.capacity() + 2;
    let mut batch = context.batch();
    let pending: Vec<_> = (0..count)
        .map(|_| batch.push(Op::noop(&scratch.file)))
        .collect();
    assert_eq!(batch.submit(), count - 2);
    assert_eq!(batch.len(), 2);
    assert_eq!(batch.submit(), 2);
    for pending in pending {
        assert_eq!(pending.wait().0.unwrap(), 0);
    }
}

fn dropped_batch_cancels_its_requests() {
    let context = context();
    let scratch = Scratch::new("batch-dropped", b"");
    let mut batch = context.batch();
    let pending = batch.push(Op::write(&scratch.file, "x", 0));
    drop(batch);
    assert_eq!(errno(pending.wait().0), libc::ECANCELED);
    assert_eq!(stat(&context, "submitted"), 0);
}

fn submit_and_wait_waits_for_the_minimum() {
    let context = context();
    let scratch = Scratch::new("wait", &[1; 4096]);
    let (reader, _writer) = tap::pipe();
    let mut batch = context.batch();
    let blocked = batch.push(Op::read(&reader, vec![0; 1], 0));
    let reads: Vec<_> = (0..3)
        .map(|_| batch.push(Op::read(&scratch.file, vec![0; 4096], 0)))
        .collect();
    assert_eq!(batch.submit_and_wait(3), 4);
    assert!(reads.iter().all(|pending| pending.is_complete()));
    assert!(!blocked.is_complete());
}

fn submit_and_wait_does_not_wait_for_refused_requests() {
    let context = context();
    let (reader, _writer) = tap::pipe();
    let mut batch = context.batch();
    let bad = batch.push(Op::fsync(&reader));
    let good = batch.push(Op::noop(&reader));
    assert_eq!(batch.submit_and_wait(2), 1);
    assert!(bad.is_complete() && good.is_complete());
}

fn submit_and_wait_counts_refused_requests() {
    let context = context();
    let (reader, _writer) = tap::pipe();
    let mut batch = context.batch();
    let bad = batch.push(Op::fsync(&reader));
    let blocked = batch.push(Op::read(&reader, vec![0; 1], 0));
    assert_eq!(batch.submit_and_wait(1), 1);
    assert!(bad.is_complete() && !blocked.is_complete());
}

fn submit_and_wait_for_more_than_in_flight() {
    let context = context();
    let scratch = Scratch::new("wait-more", b"");
    let mut batch = context.batch();
    let pending = batch.push(Op::noop(&scratch.file));
    assert_eq!(batch.submit_and_wait(100), 1);
    assert!(pending.is_complete());
}

fn wait_of_an_idle_context_returns() {
    assert_eq!(context().wait(None), 0);
}

fn wait_returns_when_the_time_is_over() {
    let context = context();
    let (reader, _writer) = tap::pipe();
    let _pending = context.submit(Op::read(&reader, vec![0; 1], 0));
    assert_eq!(context.wait(Some(Duration::from_millis(5))), 0);
    assert_eq!(context.in_flight(), 1);
}

fn wait_reaps() {
    let context = context();
    let (reader, mut writer) = tap::pipe();
    let pending = context.submit(Op::read(&reader, vec![0; 1], 0));
    writer.write_all(b"x").unwrap();
    assert_eq!(context.wait(Some(TIMEOUT)), 1);
    assert!(pending.is_complete());
    assert_eq!(context.in_flight(), 0);
}

fn capacity_is_at_least_entries() {
    for entries in [1, 126, 127, 128, 1000] {
        let context = Context::new(entries).unwrap();
        assert!(context.capacity() >= entries as usize);
    }
}

fn context_of_0_entries_is_refused() {
    let error = Context::new(0).expect_err("no room at all");
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
}

fn query_counts_this_context() {
    let context = Context::new(77).unwrap();
    let query = context.query().unwrap();
    assert_eq!(query.version, 1);
    assert!(query.nr >= 77 && query.user_nr >= 77 && query.max_nr >= query.nr);
    assert_ne!(query.rw_flags & flags::RWF_NOWAIT as u64, 0);
    assert_ne!(query.opcodes & 1, 0);
}

fn query_knows_the_features() {
    let query = Context::new(1).unwrap().query().unwrap();
    for feature in [
        features::RING_REAP,
        features::RESFD,
        features::IOPRIO,
        features::CANCEL,
        features::SIGMASK,
        features::SUBMIT_WAIT,
        features::PEEK,
        features::POLL,
        features::ABSTIME,
        features::FADVISE,
    ] {
        assert_eq!(feature.count_ones(), 1);
        assert!(query.has(feature), "{feature:#x}");
    }
    assert!(query.has(features::PEEK | features::POLL));
    assert!(!query.has(features::PEEK | (1 << 63)));
}

tests! {
    read_fills_its_buffer,
    write_writes_the_whole_buffer,
    read_vectored_fills_buffers_in_order,
    write_vectored_writes_buffers_in_order,
    read_fills_a_slice_alone,
    write_writes_a_slice_alone,
    slice_of_an_aligned_buffer_works_with_direct_io,
    read_spare_adds_to_the_contents,
    read_spare_stops_at_the_capacity,
    refused_read_spare_leaves_the_contents,
    cancelled_read_spare_leaves_the_contents,
    aligned_buffer_works_with_direct_io,
    fsync_of_a_file,
    fdatasync_of_a_file,
    fsync_of_a_pipe_is_refused,
    noop_completes_with_0,
    poll_returns_events,
    refused_request_gives_its_buffer_back,
    unknown_flag_is_refused,
    append_flag_appends,
    nowait_flag_does_not_wait,
    unknown_priority_is_refused,
    valid_priority_is_accepted,
    offset_past_i64_is_refused,
    file_may_be_closed_after_submission,
    full_context_refuses_and_gives_the_buffer_back,
    wait_for_room_ends_when_a_request_completes,
    submit_when_room_waits_and_submits,
    submit_all_waits_for_room,
    descriptors_are_the_same,
    batch_submits_all,
    batch_continues_after_refused_request,
    batch_keeps_requests_without_room,
    dropped_batch_cancels_its_requests,
    submit_and_wait_waits_for_the_minimum,
    submit_and_wait_does_not_wait_for_refused_requests,
    submit_and_wait_counts_refused_requests,
    submit_and_wait_for_more_than_in_flight,
    wait_of_an_idle_context_returns,
    wait_returns_when_the_time_is_over,
    wait_reaps,
    capacity_is_at_least_entries,
    context_of_0_entries_is_refused,
    query_counts_this_context,
    query_knows_the_features,
}
