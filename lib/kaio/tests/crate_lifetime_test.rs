// SPDX-License-Identifier: LGPL-2.1-or-later

//! Who keeps what, and for how long: handles that are dropped, forgotten or detached; cancel; threads
//! that wait side by side.

mod tap;

use std::fs::{self, File};
use std::io::Write;
use std::mem;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

use kaio::{Context, Op};
use tap::{stat, wait_until, Scratch, PATIENCE};

fn context() -> Context {
    Context::new(16).expect("a context")
}

/// `fs.kaio-nr`.
fn asked_for() -> u64 {
    let text = fs::read_to_string("/proc/sys/fs/kaio-nr").expect("the sysctl");
    text.trim().parse().expect("a number")
}

/// A pipe that takes no more, and a buffer that a write to it keeps.
fn full_pipe() -> (File, File, Arc<[u8]>) {
    let (reader, mut writer) = tap::pipe();
    // SAFETY: asks for the size of a pipe.
    let size = unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&writer), libc::F_GETPIPE_SZ) };
    writer.write_all(&vec![0; size as usize]).expect("room");
    (reader, writer, vec![1; 64].into())
}

fn dropped_request_is_cancelled_and_its_buffer_freed() {
    let context = context();
    let (_reader, writer, buf) = full_pipe();
    let pending = context.submit(Op::write(&writer, buf.clone(), 0));
    assert_eq!(Arc::strong_count(&buf), 2);
    drop(pending);
    assert_eq!(Arc::strong_count(&buf), 1);
    assert_eq!(context.in_flight(), 0);
    assert_eq!(stat(&context, "cancelled"), 1);
}

fn forgotten_request_leaks_and_no_more() {
    let context = context();
    let (reader, writer, buf) = full_pipe();
    mem::forget(context.submit(Op::write(&writer, buf.clone(), 0)));
    assert_eq!(context.reap(), 0);
    assert_eq!(context.in_flight(), 1);
    // Someone reads, and it completes.
    let (result, _) = context.submit(Op::read(&reader, vec![0; 8192], 0)).wait();
    assert_eq!(result.unwrap(), 8192);
    assert!(wait_until(
        || context.wait(Some(PATIENCE)) == 1 || context.in_flight() == 0
    ));
    assert_eq!(stat(&context, "inflight"), 0);
    // The handle, which has gone for good, has the other one.
    assert_eq!(Arc::strong_count(&buf), 2);
}

fn detached_write_is_done() {
    let context = context();
    let scratch = Scratch::new("detached", b"");
    context.submit(Op::write(&scratch.file, "done", 0)).detach();
    assert!(wait_until(|| {
        context.reap();
        context.in_flight() == 0
    }));
    assert_eq!(stat(&context, "cancelled"), 0);
    assert_eq!(fs::read(&scratch.path).unwrap(), b"done");
}

fn detached_request_gives_its_buffer_up_with_its_event() {
    let context = context();
    let (mut reader, writer, buf) = full_pipe();
    context.submit(Op::write(&writer, buf.clone(), 0)).detach();
    assert_eq!(Arc::strong_count(&buf), 2);
    std::io::Read::read_exact(&mut reader, &mut [0; 8192]).unwrap();
    assert!(tap::readable(&context, PATIENCE));
    assert_eq!(Arc::strong_count(&buf), 2);
    assert_eq!(context.reap(), 1);
    assert_eq!(Arc::strong_count(&buf), 1);
}

fn request_keeps_its_context() {
    let context = context();
    let (reader, mut writer) = tap::pipe();
    let pending = context.submit(Op::read(&reader, vec![0; 2], 0));
    drop(context);
    writer.write_all(b"ok").unwrap();
    let (result, buf) = pending.wait();
    assert_eq!(result.unwrap(), 2);
    assert_eq!(buf, b"ok");
}

fn last_handle_ends_the_context() {
    let before = asked_for();
    let context = Context::new(1000).unwrap();
    let clone = context.clone();
    let (reader, _writer) = tap::pipe();
    let pending = context.submit(Op::read(&reader, vec![0; 2], 0));
    drop(context);
    drop(clone);
    assert_eq!(asked_for(), before + 1000);
    drop(pending);
    assert_eq!(asked_for(), before);
}

fn context_that_ends_frees_what_was_in_flight() {
    let context = context();
    let (_reader, writer, buf) = full_pipe();
    context.submit(Op::write(&writer, buf.clone(), 0)).detach();
    assert_eq!(Arc::strong_count(&buf), 2);
    drop(context);
    assert_eq!(Arc::strong_count(&buf), 1);
}

fn forgotten_context_goes_on() {
    let context = context();
    let (reader, mut writer) = tap::pipe();
    let pending = context.submit(Op::read(&reader, vec![0; 2], 0));
    mem::forget(context);
    writer.write_all(b"ok").unwrap();
    assert_eq!(pending.wait().1, b"ok");
}

fn cancel_ends_a_read_of_an_empty_pipe() {
    let context = context();
    let (reader, _writer) = tap::pipe();
    let pending = context.submit(Op::read(&reader, vec![5; 2], 0));
    assert!(pending.cancel());
    let (result, buf) = pending.wait();
    assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
    assert_eq!(buf, [5, 5]);
}

fn cancel_of_a_poll_gives_no_events() {
    let context = context();
    let (reader, _writer) = tap::pipe();
    let pending = context.submit(Op::poll(&reader, libc::POLLIN as u16));
    assert!(pending.cancel());
    assert_eq!(pending.wait().0.unwrap(), 0);
}

fn cancel_of_a_complete_request_is_too_late() {
    let context = context();
    let scratch = Scratch::new("late", b"x");
    let pending = context.submit(Op::read(&scratch.file, vec![0; 1], 0));
    assert_eq!(context.wait(Some(PATIENCE)), 1);
    assert!(!pending.cancel());
    assert_eq!(pending.wait().0.unwrap(), 1);
}

fn try_take_gives_the_request_back() {
    let context = context();
    let (reader, mut writer) = tap::pipe();
    let pending = context.submit(Op::read(&reader, vec![0; 1], 0));
    let pending = pending.try_take().expect_err("nobody wrote");
    writer.write_all(b"x").unwrap();
    assert!(tap::readable(&context, PATIENCE));
    let (result, _) = pending.try_take().expect("its event is there");
    assert_eq!(result.unwrap(), 1);
}

fn wait_timeout_gives_the_request_back() {
    let context = context();
    let (reader, mut writer) = tap::pipe();
    let pending = context.submit(Op::read(&reader, vec![0; 1], 0));
    let pending = pending
        .wait_timeout(Duration::from_millis(5))
        .expect_err("nobody wrote");
    writer.write_all(b"x").unwrap();
    let (result, _) = pending.wait_timeout(PATIENCE).expect("data");
    assert_eq!(result.unwrap(), 1);
}

fn to_wait_for_a_batch_that_is_not_submitted_panics() {
    let context = context();
    let scratch = Scratch::new("unsubmitted", b"");
    let mut batch = context.batch();
    let pending = batch.push(Op::noop(&scratch.file));
    let waited = thread::spawn(|| pending.wait()).join();
    assert!(waited.is_err());
}

/// A thread that waits for `pending`, and sleeps.
fn waiter(
    context: &Context,
    reader: &impl AsFd,
) -> (thread::JoinHandle<Vec<u8>>, mpsc::Receiver<libc::pthread_t>) {
    let pending = context.submit(Op::read(reader, vec![0; 1], 0));
    let (send, receive) = mpsc::channel();
    let thread = thread::spawn(move || {
        // SAFETY: it cannot fail.
        send.send(unsafe { libc::pthread_self() }).unwrap();
        pending.wait().1
    });
    (thread, receive)
}

/// While one thread sleeps for a pipe, others wait for what completes at once: the sleeper takes
/// their events, and must tell them.
fn sleeper_does_not_keep_others_waiting() {
    let context = context();
    let (reader, mut writer) = tap::pipe();
    let (sleeper, started) = waiter(&context, &reader);
    started.recv().unwrap();
    let others: Vec<_> = (0..3)
        .map(|_| {
            let context = context.clone();
            thread::spawn(move || {
                let (reader, mut writer) = tap::pipe();
                for _ in 0..200 {
                    let pending = context.submit(Op::read(&reader, vec![0; 1], 0));
                    writer.write_all(b"x").unwrap();
                    assert_eq!(pending.wait().0.unwrap(), 1);
                }
            })
        })
        .collect();
    for other in others {
        other.join().unwrap();
    }
    assert!(!sleeper.is_finished());
    writer.write_all(b"x").unwrap();
    assert_eq!(sleeper.join().unwrap(), b"x");
}

/// A thread sleeps until two requests are complete, which are not for a long time; another waits for
/// one that is complete at once.
fn sleeper_for_many_does_not_keep_others_waiting() {
    let context = context();
    let (reader, mut writer) = tap::pipe();
    let mut batch = context.batch();
    let blocked = [(); 2].map(|()| batch.push(Op::read(&reader, vec![0; 1], 0)));
    assert_eq!(batch.submit(), 2);
    let (third_reader, _third_writer) = tap::pipe();
    let sleeper = {
        let context = context.clone();
        thread::spawn(move || {
            let mut batch = context.batch();
            let third = batch.push(Op::read(&third_reader, vec![0; 1], 0));
            batch.submit_and_wait(3);
            drop(third);
        })
    };
    assert!(wait_until(|| context.in_flight() == 3));
    assert_eq!(context.submit(Op::noop(&reader)).wait().0.unwrap(), 0);
    assert!(!sleeper.is_finished());
    writer.write_all(b"xy").unwrap();
    for pending in blocked {
        assert_eq!(pending.wait().0.unwrap(), 1);
    }
    sleeper.join().unwrap();
}

/// A child of a fork drops what it has inherited, and nothing happens to the parent's.
fn forked_child_may_drop_a_context() {
    let context = context();
    let (_reader, writer, buf) = full_pipe();
    let pending = context.submit(Op::write(&writer, buf.clone(), 0));
    // SAFETY: the child drops two values, which takes no lock that a thread of the parent could
    // have, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(pending);
        drop(context);
        // Still in flight, as far as the child can tell: leaked, not freed.
        let kept = Arc::strong_count(&buf) == 2;
        // SAFETY: ends the process.
        unsafe { libc::_exit(if kept { 0 } else { 1 }) };
    }
    let mut status = -1;
    // SAFETY: there is room for the status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    assert!(!pending.is_complete());
    assert_eq!(stat(&context, "inflight"), 1);
    assert!(pending.cancel());
}

/// One thread waits for whatever is in flight while another submits what the kernel refuses: there
/// is no event that would wake it.
fn refused_request_leaves_no_sleeper() {
    let context = context();
    let (reader, _writer) = tap::pipe();
    let over = Arc::new(AtomicBool::new(false));
    let waiter = {
        let (context, over) = (context.clone(), over.clone());
        thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                context.wait(None);
            }
        })
    };
    for _ in 0..3000 {
        let mut batch = context.batch();
        let refused = [(); 8].map(|()| batch.push(Op::fsync(&reader)));
        assert_eq!(batch.submit(), 0);
        assert!(refused.iter().all(|pending| pending.is_complete()));
    }
    over.store(true, Ordering::SeqCst);
    assert!(wait_until(|| waiter.is_finished()), "it sleeps for nothing");
    waiter.join().unwrap();
}

/// One thread drops a handle while another is submitting it: the request is cancelled all the same.
fn request_dropped_while_it_is_submitted_is_cancelled() {
    let context = Context::new(64).unwrap();
    let (reader, _writer) = tap::pipe();
    for _ in 0..500 {
        let mut batch = context.batch();
        // They make the call longer.
        for _ in 0..31 {
            batch.push(Op::noop(&reader)).detach();
        }
        let pending = batch.push(Op::read(&reader, vec![0; 1], 0));
        let dropper = {
            let context = context.clone();
            thread::spawn(move || {
                while context.in_flight() == 0 {
                    std::hint::spin_loop();
                }
                drop(pending);
            })
        };
        assert_eq!(batch.submit(), 32);
        dropper.join().unwrap();
        assert!(wait_until(|| {
            context.reap();
            context.in_flight() == 0
        }));
    }
}

/// What has completed is room, also if the thread that is to take it has not run yet.
fn events_of_a_sleeper_are_room() {
    let context = Context::new(1).unwrap();
    let (reader, mut writer) = tap::pipe();
    let (other_reader, mut other_writer) = tap::pipe();
    let (sleeper, started) = waiter(&context, &reader);
    started.recv().unwrap();
    for _ in 0..100 {
        let fill: Vec<_> = (context.in_flight()..context.capacity())
            .map(|_| context.submit(Op::read(&other_reader, vec![0; 1], 0)))
            .collect();
        other_writer.write_all(&vec![1; fill.len()]).unwrap();
        // The first of them have completed, whether or not they were taken.
        let full = || context.in_flight() == context.capacity();
        while full() && !tap::readable(&context, Duration::ZERO) {
            std::hint::spin_loop();
        }
        let (result, ()) = context.submit(Op::noop(&reader)).wait();
        assert_eq!(result.unwrap(), 0);
        for pending in fill {
            assert_eq!(pending.wait().0.unwrap(), 1);
        }
    }
    assert!(!sleeper.is_finished());
    writer.write_all(b"x").unwrap();
    assert_eq!(sleeper.join().unwrap(), b"x");
}

/// When the thread that slept for all has what it wants, another sleeps.
fn next_sleeper_takes_over() {
    let context = context();
    let pipes: Vec<_> = (0..4).map(|_| tap::pipe()).collect();
    let waiters: Vec<_> = pipes
        .iter()
        .map(|(reader, _)| waiter(&context, reader))
        .collect();
    for (_, started) in &waiters {
        started.recv().unwrap();
    }
    for ((_, writer), (waiter, _)) in pipes.iter().zip(waiters) {
        (&mut &*writer).write_all(b"y").unwrap();
        assert_eq!(waiter.join().unwrap(), b"y");
    }
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupted(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

fn signal_does_not_end_a_wait() {
    // SAFETY: a handler that only stores; no SA_RESTART.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = interrupted as *const () as usize;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
    }
    let context = context();
    let (reader, mut writer) = tap::pipe();
    let (waiter, started) = waiter(&context, &reader);
    let thread = started.recv().unwrap();
    // Some of them come while it sleeps.
    for _ in 0..20 {
        INTERRUPTED.store(false, Ordering::SeqCst);
        // SAFETY: the thread was not joined.
        assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGUSR1) }, 0);
        assert!(wait_until(|| INTERRUPTED.load(Ordering::SeqCst)));
    }
    assert!(!waiter.is_finished());
    writer.write_all(b"z").unwrap();
    assert_eq!(waiter.join().unwrap(), b"z");
}

tests! {
    dropped_request_is_cancelled_and_its_buffer_freed,
    forgotten_request_leaks_and_no_more,
    detached_write_is_done,
    detached_request_gives_its_buffer_up_with_its_event,
    request_keeps_its_context,
    last_handle_ends_the_context,
    context_that_ends_frees_what_was_in_flight,
    forgotten_context_goes_on,
    cancel_ends_a_read_of_an_empty_pipe,
    cancel_of_a_poll_gives_no_events,
    cancel_of_a_complete_request_is_too_late,
    try_take_gives_the_request_back,
    wait_timeout_gives_the_request_back,
    to_wait_for_a_batch_that_is_not_submitted_panics,
    sleeper_does_not_keep_others_waiting,
    sleeper_for_many_does_not_keep_others_waiting,
    refused_request_leaves_no_sleeper,
    request_dropped_while_it_is_submitted_is_cancelled,
    events_of_a_sleeper_are_room,
    next_sleeper_takes_over,
    forked_child_may_drop_a_context,
    signal_does_not_end_a_wait,
}
