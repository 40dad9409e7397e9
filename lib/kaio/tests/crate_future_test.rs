// SPDX-License-Identifier: LGPL-2.1-or-later

//! Requests as futures: which wakers are woken, and what a reactor sees.

mod counter;
mod tap;

use std::io::Write;
use std::pin::{pin, Pin};
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use counter::{poll, Counter};
use linux_kaio::{Context, Op, Pending};
use tap::{readable, wait_until, TIMEOUT};

const AT_ONCE: Duration = Duration::ZERO;

fn ready<T>(poll: Poll<T>) -> T {
    match poll {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it is not ready"),
    }
}

fn complete_request_is_ready_at_once() {
    let context = Context::new(8).unwrap();
    let (reader, _writer) = tap::pipe();
    let future = pin!(context.submit(Op::noop(&reader)));
    let (result, ()) = ready(poll(future, &Arc::default()));
    assert_eq!(result.unwrap(), 0);
}

/// Follows a future from a read of an empty pipe to its result, with a reactor that watches the
/// descriptor.
fn check_reactor(context: Context) {
    let counter = Arc::new(Counter::default());
    let (reader, mut writer) = tap::pipe();
    let mut future = pin!(context.submit(Op::read(&reader, vec![0; 3], 0)));
    assert!(poll(future.as_mut(), &counter).is_pending());
    assert!(!readable(&context, AT_ONCE));

    writer.write_all(b"abc").unwrap();
    assert!(readable(&context, TIMEOUT));
    assert_eq!(counter.count(), 0);
    assert_eq!(context.reap(), 1);
    assert_eq!(counter.count(), 1);
    assert!(!readable(&context, AT_ONCE));

    let (result, buf) = ready(poll(future, &counter));
    assert_eq!(result.unwrap(), 3);
    assert_eq!(buf, b"abc");
}

fn device_wakes_a_reactor() {
    check_reactor(Context::new(8).unwrap());
}

fn eventfd_wakes_a_reactor() {
    check_reactor(Context::with_eventfd(8).unwrap());
}

fn only_the_last_waker_is_woken() {
    let context = Context::new(8).unwrap();
    let (first, last) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    let (reader, mut writer) = tap::pipe();
    let mut future = pin!(context.submit(Op::read(&reader, vec![0; 1], 0)));
    assert!(poll(future.as_mut(), &first).is_pending());
    assert!(poll(future.as_mut(), &last).is_pending());
    writer.write_all(b"x").unwrap();
    assert_eq!(context.wait(Some(TIMEOUT)), 1);
    assert_eq!((first.count(), last.count()), (0, 1));
}

fn waiting_thread_wakes_futures() {
    let context = Context::new(8).unwrap();
    let counter = Arc::new(Counter::default());
    let (reader, mut writer) = tap::pipe();
    let (other_reader, mut other_writer) = tap::pipe();
    let mut future = pin!(context.submit(Op::read(&reader, vec![0; 1], 0)));
    let blocking = context.submit(Op::read(&other_reader, vec![0; 1], 0));
    assert!(poll(future.as_mut(), &counter).is_pending());
    let thread = thread::spawn(move || blocking.wait().0.unwrap());
    writer.write_all(b"x").unwrap();
    // The thread either sleeps and takes the event, or finds the event when it begins to wait.
    assert!(wait_until(|| counter.count() == 1));
    assert_eq!(ready(poll(future, &counter)).0.unwrap(), 1);
    other_writer.write_all(b"x").unwrap();
    assert_eq!(thread.join().unwrap(), 1);
}

/// Fills a context with reads of the pipe.
fn fill(context: &Context, reader: &std::fs::File) -> Vec<Pending<Vec<u8>>> {
    (0..context.capacity())
        .map(|_| context.submit(Op::read(reader, vec![0; 1], 0)))
        .collect()
}

fn room_wakes_a_task() {
    let context = Context::new(1).unwrap();
    let (reader, mut writer) = tap::pipe();
    let _pending = fill(&context, &reader);
    let counter = Arc::new(Counter::default());
    let mut room = pin!(context.room());
    assert!(poll(room.as_mut(), &counter).is_pending());
    writer.write_all(b"x").unwrap();
    assert!(readable(&context, TIMEOUT));
    assert_eq!((context.reap(), counter.count()), (1, 1));
    ready(poll(room, &counter));
}

fn submit_async_waits_for_room() {
    let context = Context::new(1).unwrap();
    let (reader, mut writer) = tap::pipe();
    let _pending = fill(&context, &reader);
    let counter = Arc::new(Counter::default());
    let mut submit = pin!(context.submit_async(Op::noop(&reader)));
    assert!(poll(submit.as_mut(), &counter).is_pending());
    assert_eq!(context.in_flight(), context.capacity());
    writer.write_all(b"x").unwrap();
    assert!(readable(&context, TIMEOUT));
    assert_eq!((context.reap(), counter.count()), (1, 1));
    let pending = ready(poll(submit, &counter));
    assert_eq!(pending.wait().0.unwrap(), 0);
}

fn dropped_submit_async_starts_nothing() {
    let context = Context::new(1).unwrap();
    let (reader, mut writer) = tap::pipe();
    let pending = fill(&context, &reader);
    {
        let submit = pin!(context.submit_async(Op::read(&reader, vec![0; 1], 0)));
        assert!(poll(submit, &Arc::default()).is_pending());
    }
    writer.write_all(&vec![b'x'; pending.len()]).unwrap();
    for pending in pending {
        assert_eq!(pending.wait().1, b"x");
    }
    assert_eq!(context.in_flight(), 0);
}

fn dropped_future_is_cancelled() {
    let context = Context::new(8).unwrap();
    let (reader, mut writer) = tap::pipe();
    {
        let future = pin!(context.submit(Op::read(&reader, vec![0; 1], 0)));
        assert!(poll(future, &Arc::default()).is_pending());
    }
    assert_eq!(context.in_flight(), 0);
    // The cancelled read takes no data from later reads.
    writer.write_all(b"x").unwrap();
    let (result, buf) = context.submit(Op::read(&reader, vec![0; 1], 0)).wait();
    assert_eq!((result.unwrap(), &buf[..]), (1, &b"x"[..]));
}

fn future_that_was_ready_is_complete_and_cannot_be_cancelled() {
    let context = Context::new(8).unwrap();
    let (reader, _writer) = tap::pipe();
    let mut future = context.submit(Op::noop(&reader));
    ready(poll(Pin::new(&mut future), &Arc::default()))
        .0
        .unwrap();
    assert!(future.is_complete());
    assert!(!future.cancel());
}

fn future_of_a_batch_is_ready_after_submission() {
    let context = Context::new(8).unwrap();
    let counter = Arc::new(Counter::default());
    let (reader, _writer) = tap::pipe();
    let mut batch = context.batch();
    let mut future = pin!(batch.push(Op::noop(&reader)));
    assert!(poll(future.as_mut(), &counter).is_pending());
    assert_eq!(batch.submit(), 1);
    assert_eq!(ready(poll(future, &counter)).0.unwrap(), 0);
}

fn future_of_a_dropped_batch_is_woken() {
    let context = Context::new(8).unwrap();
    let counter = Arc::new(Counter::default());
    let (reader, _writer) = tap::pipe();
    let mut batch = context.batch();
    let mut future = pin!(batch.push(Op::noop(&reader)));
    assert!(poll(future.as_mut(), &counter).is_pending());
    drop(batch);
    assert_eq!(counter.count(), 1);
    let error = ready(poll(future, &counter)).0.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
}

tests! {
    complete_request_is_ready_at_once,
    device_wakes_a_reactor,
    eventfd_wakes_a_reactor,
    only_the_last_waker_is_woken,
    waiting_thread_wakes_futures,
    room_wakes_a_task,
    submit_async_waits_for_room,
    dropped_submit_async_starts_nothing,
    dropped_future_is_cancelled,
    future_that_was_ready_is_complete_and_cannot_be_cancelled,
    future_of_a_batch_is_ready_after_submission,
    future_of_a_dropped_batch_is_woken,
}
