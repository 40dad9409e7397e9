// SPDX-License-Identifier: LGPL-2.1-or-later

//! The lifetime of requests and contexts: handles that are dropped, forgotten or detached,
//! cancellation, and threads that wait at the same time.

mod tap;

use std::fs::{self, File};
use std::future::Future;
use std::io::Write;
use std::mem;
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::task::{self, Poll};
use std::thread;
use std::time::Duration;

use linux_kaio::{Context, Op};
use tap::{stat, wait_until, Scratch, TIMEOUT};

fn context() -> Context {
    Context::new(16).expect("a context")
}

/// Returns `fs.kaio-nr`.
fn reserved_requests() -> u64 {
    let text = fs::read_to_string("/proc/sys/fs/kaio-nr").expect("the sysctl");
    text.trim().parse().expect("a number")
}

/// Makes a full pipe, and a buffer that a write to it keeps.
fn full_pipe() -> (File, File, Arc<[u8]>) {
    let (reader, mut writer) = tap::pipe();
    // SAFETY: F_GETPIPE_SZ takes no pointer.
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

fn forgotten_request_only_leaks() {
    let context = context();
    let (reader, writer, buf) = full_pipe();
    mem::forget(context.submit(Op::write(&writer, buf.clone(), 0)));
    assert_eq!(context.reap(), 0);
    assert_eq!(context.in_flight(), 1);
    // The reads empty the pipe, so the write completes.
    let (result, _) = context.submit(Op::read(&reader, vec![0; 8192], 0)).wait();
    assert_eq!(result.unwrap(), 8192);
    assert!(wait_until(
        || context.wait(Some(TIMEOUT)) == 1 || context.in_flight() == 0
    ));
    assert_eq!(stat(&context, "inflight"), 0);
    // The other reference belongs to the handle, which was forgotten.
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

fn detached_request_frees_its_buffer_with_its_event() {
    let context = context();
    let (mut reader, writer, buf) = full_pipe();
    context.submit(Op::write(&writer, buf.clone(), 0)).detach();
    assert_eq!(Arc::strong_count(&buf), 2);
    std::io::Read::read_exact(&mut reader, &mut [0; 8192]).unwrap();
    assert!(tap::readable(&context, TIMEOUT));
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
    let before = reserved_requests();
    let context = Context::new(1000).unwrap();
    // The context is charged for all requests for which its ring has room.
    let with_context = reserved_requests();
    assert!(with_context >= before + 1000);
    let clone = context.clone();
    let (reader, _writer) = tap::pipe();
    let pending = context.submit(Op::read(&reader, vec![0; 2], 0));
    drop(context);
    drop(clone);
    assert_eq!(reserved_requests(), with_context);
    drop(pending);
    assert_eq!(reserved_requests(), before);
}

fn ending_context_frees_requests_in_flight() {
    let context = context();
    let (_reader, writer, buf) = full_pipe();
    context.submit(Op::write(&writer, buf.clone(), 0)).detach();
    assert_eq!(Arc::strong_count(&buf), 2);
    drop(context);
    assert_eq!(Arc::strong_count(&buf), 1);
}

fn forgotten_context_stays_alive() {
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

fn cancelled_poll_returns_0() {
    let context = context();
    let (reader, _writer) = tap::pipe();
    let pending = context.submit(Op::poll(&reader, libc::POLLIN as u16));
    assert!(pending.cancel());
    assert_eq!(pending.wait().0.unwrap(), 0);
}

fn cancel_of_a_complete_request_fails() {
    let context = context();
    let scratch = Scratch::new("late", b"x");
    let pending = context.submit(Op::read(&scratch.file, vec![0; 1], 0));
    assert_eq!(context.wait(Some(TIMEOUT)), 1);
    assert!(!pending.cancel());
    assert_eq!(pending.wait().0.unwrap(), 1);
}

fn try_take_returns_an_incomplete_request() {
    let context = context();
    let (reader, mut writer) = tap::pipe();
    let pending = context.submit(Op::read(&reader, vec![0; 1], 0));
    let pending = pending.try_take().expect_err("nobody wrote");
    writer.write_all(b"x").unwrap();
    assert!(tap::readable(&context, TIMEOUT));
    let (result, _) = pending.try_take().expect("its event is there");
    assert_eq!(result.unwrap(), 1);
}

fn wait_timeout_returns_an_incomplete_request() {
    let context = context();
    let (reader, mut writer) = tap::pipe();
    let pending = context.submit(Op::read(&reader, vec![0; 1], 0));
    let pending = pending
        .wait_timeout(Duration::from_millis(5))
        .expect_err("nobody wrote");
    writer.write_all(b"x").unwrap();
    let (result, _) = pending.wait_timeout(TIMEOUT).expect("data");
    assert_eq!(result.unwrap(), 1);
}

fn wait_for_an_unsubmitted_batch_panics() {
    let context = context();
    let scratch = Scratch::new("unsubmitted", b"");
    let mut batch = context.batch();
    let pending = batch.push(Op::noop(&scratch.file));
    let waited = thread::spawn(|| pending.wait()).join();
    assert!(waited.is_err());
}

/// Starts a thread that waits for a read of `reader`. Returns the thread, and a channel on which
/// the thread sends its pthread id.
fn waiter(
    context: &Context,
    reader: &impl AsFd,
) -> (thread::JoinHandle<Vec<u8>>, mpsc::Receiver<libc::pthread_t>) {
    let pending = context.submit(Op::read(reader, vec![0; 1], 0));
    let (send, receive) = mpsc::channel();
    let thread = thread::spawn(move || {
        // SAFETY: pthread_self() cannot fail.
        send.send(unsafe { libc::pthread_self() }).unwrap();
        pending.wait().1
    });
    (thread, receive)
}

/// While one thread sleeps until a pipe has data, other threads wait for requests that complete at
/// once. The sleeper takes the events of those requests and must wake the threads.
fn sleeper_wakes_other_waiters() {
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

/// One thread sleeps until two requests are complete, which takes long. Another thread waits for a
/// request that completes at once.
fn sleeper_for_many_wakes_other_waiters() {
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

/// A child of a fork drops an inherited context and request. The parent's request is not affected.
fn forked_child_may_drop_a_context() {
    let context = context();
    let (_reader, writer, buf) = full_pipe();
    let pending = context.submit(Op::write(&writer, buf.clone(), 0));
    // SAFETY: the child only drops two values, which takes no lock that a thread of the parent may
    // hold, and then ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(pending);
        drop(context);
        // The child cannot tell that the request has ended, so it must leak the buffer.
        let kept = Arc::strong_count(&buf) == 2;
        // SAFETY: _exit() ends the process and takes no pointer.
        unsafe { libc::_exit(if kept { 0 } else { 1 }) };
    }
    let mut status = -1;
    // SAFETY: `status` is an integer that waitpid() may write.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    assert!(!pending.is_complete());
    assert_eq!(stat(&context, "inflight"), 1);
    assert!(pending.cancel());
}

/// Forks, runs `body` in the child, and returns the child's wait status.
fn in_child(body: impl FnOnce() -> bool) -> i32 {
    // SAFETY: besides this thread the process has only the harness's thread, which holds no lock
    // that the child needs.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // A panic would end the only thread of the child, and so the child, with status 0.
        let right = panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or(false);
        // SAFETY: _exit() ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(if right { 0 } else { 1 }) };
    }
    let mut status = -1;
    // SAFETY: `status` is an integer that waitpid() may write.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

/// The child of a fork has no ring of the inherited context: a submission fails, and the other
/// functions find nothing in flight. A context of the child's own works.
fn forked_child_may_use_a_context() {
    let context = context();
    let (reader, mut writer) = tap::pipe();
    let pending = context.submit(Op::read(&reader, vec![0; 1], 0));
    let status = in_child(|| {
        let refused = context.submit(Op::read(&reader, vec![0; 1], 0)).wait().0;
        let own = Context::new(16).expect("a context");
        let (result, _) = own.submit(Op::write(&writer, "x", 0)).wait();
        refused.is_err_and(|e| e.raw_os_error() == Some(libc::EINVAL))
            && context.reap() == 0
            && context.wait(None) == 0
            && context.in_flight() == 0
            && !pending.cancel()
            && !pending.is_complete()
            && result.is_ok()
    });
    assert_eq!(status, 0);
    assert_eq!(pending.wait().1, b"x");
    writer.write_all(b"y").unwrap();
    let (read, buf) = context.submit(Op::read(&reader, vec![0; 1], 0)).wait();
    assert_eq!((read.unwrap(), buf), (1, b"y".to_vec()));
}

/// The child of a fork waits for requests of the parent, in each of the ways there are: the result is
/// an error, and the buffer is there.
fn forked_child_gets_an_error_from_a_wait() {
    let context = context();
    let (reader, mut writer) = tap::pipe();
    let read = || context.submit(Op::read(&reader, vec![7; 2], 0));
    let (waited, timed, tried, polled) = (read(), read(), read(), read());
    let mut batch = context.batch();
    let queued = batch.push(Op::read(&reader, vec![7; 2], 0));
    let scratch = Scratch::new("fork-complete", b"ok");
    let complete = context.submit(Op::read(&scratch.file, vec![0; 2], 0));
    assert!(wait_until(|| {
        context.reap();
        complete.is_complete()
    }));
    let (kept, left) = ([waited, timed, tried, polled], (complete, queued));
    // SAFETY: besides this thread the process has only the harness's thread, which holds no lock
    // that the child needs.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = |(result, buf): linux_kaio::Completion<Vec<u8>>| {
            result.is_err_and(|e| e.raw_os_error() == Some(libc::EINVAL)) && buf == [7, 7]
        };
        // A panic would end the only thread of the child, and so the child, with status 0.
        let right = panic::catch_unwind(AssertUnwindSafe(|| {
            let [waited, timed, tried, polled] = kept;
            let (complete, queued) = left;
            let mut task = task::Context::from_waker(task::Waker::noop());
            let polled = match pin!(polled).poll(&mut task) {
                Poll::Ready(done) => refused(done),
                Poll::Pending => false,
            };
            refused(waited.wait())
                && timed.wait_timeout(TIMEOUT).is_ok_and(refused)
                && tried.try_take().is_ok_and(refused)
                && polled
                && complete.wait().1 == b"ok"
                && batch.submit() == 0
                && refused(queued.wait())
                && context.wait_for_room(None)
                && refused(
                    context
                        .submit_when_room(Op::read(&reader, vec![7; 2], 0))
                        .wait(),
                )
        }));
        let right = right.unwrap_or(false);
        // SAFETY: _exit() ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(if right { 0 } else { 1 }) };
    }
    let mut status = -1;
    // SAFETY: `status` is an integer that waitpid() may write.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(stat(&context, "inflight"), 4);
    writer.write_all(b"abcdefgh").unwrap();
    let read = kept.map(|pending| pending.wait().1).concat();
    assert_eq!(read, b"abcdefgh");
}

/// The child of a fork reaps: the event and the count of the eventfd stay the parent's.
fn forked_child_leaves_the_eventfd() {
    let context = Context::with_eventfd(16).expect("a context");
    let (reader, mut writer) = tap::pipe();
    let pending = context.submit(Op::read(&reader, vec![0; 1], 0));
    writer.write_all(b"x").unwrap();
    assert!(tap::readable(&context, TIMEOUT));
    assert_eq!(in_child(|| context.reap() == 0), 0);
    assert!(tap::readable(&context, Duration::ZERO));
    assert_eq!(context.reap(), 1);
    assert_eq!(pending.wait().1, b"x");
}

/// A thread of the parent completes requests while another thread forks, so that some children find
/// locks that no thread releases.
fn forked_child_needs_no_lock_of_the_parent() {
    let context = context();
    let (reader, _writer) = tap::pipe();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (reader, mut writer) = tap::pipe();
            while !over.load(Ordering::SeqCst) {
                let pending = context.submit(Op::read(&reader, vec![0; 1], 0));
                writer.write_all(b"x").unwrap();
                pending.wait().0.unwrap();
            }
        });
        let pending = context.submit(Op::read(&reader, vec![0; 1], 0));
        for _ in 0..50 {
            // The child allocates nothing, since a thread may hold the lock of the allocator.
            let status = in_child(|| {
                context.reap() == 0
                    && context.in_flight() == 0
                    && context.wait(None) == 0
                    && !pending.is_complete()
                    && !pending.cancel()
            });
            assert_eq!(status, 0);
        }
        over.store(true, Ordering::SeqCst);
        assert!(!pending.is_complete());
    });
}

/// The child maps memory of its own at the address of the parent's ring.
fn forked_child_keeps_its_memory() {
    const SIZE: usize = 4 << 20;
    let context = context();
    let (reader, _writer) = tap::pipe();
    let _pending = context.submit(Op::read(&reader, vec![0; 1], 0));
    let rings: Vec<usize> = fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .filter(|line| line.contains("kaio"))
        .map(|line| usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap())
        .collect();
    assert!(!rings.is_empty());
    let status = in_child(|| {
        for &ring in &rings {
            // SAFETY: MAP_FIXED_NOREPLACE makes the call fail if the child has a mapping at that
            // address.
            let page = unsafe {
                libc::mmap(
                    ring as *mut libc::c_void,
                    SIZE.min(4096),
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                    -1,
                    0,
                )
            };
            if page as usize != ring {
                continue;
            }
            // SAFETY: the child has just mapped this page, and this is the only reference to it.
            // The words look like a ring that has an event and another tail.
            unsafe { std::slice::from_raw_parts_mut(page.cast::<u32>(), 1024).fill(1) };
            context.reap();
            // SAFETY: the child has mapped this page, and the reference that filled it is no longer
            // used.
            let words = unsafe { std::slice::from_raw_parts(page.cast::<u32>(), 1024) };
            return words.iter().all(|&word| word == 1);
        }
        false
    });
    assert_eq!(status, 0);
}

/// One thread waits for any request in flight while another thread submits requests that the kernel
/// refuses. No event of these requests wakes the waiting thread.
fn refused_requests_end_a_wait() {
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

/// One thread drops a handle while another thread is submitting its request: the request is
/// cancelled.
fn request_dropped_during_submission_is_cancelled() {
    let context = Context::new(64).unwrap();
    let (reader, _writer) = tap::pipe();
    for _ in 0..500 {
        let mut batch = context.batch();
        // These requests make the call longer.
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

/// Completed requests make room, even if the thread that is to take their events has not run yet.
fn events_of_a_sleeper_make_room() {
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
        // The first requests have completed, whether or not their events were taken.
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

/// When the sleeper's request is complete, another waiting thread sleeps in its place.
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
    // SAFETY: the handler only stores to an atomic; sigaction() gets a valid struct without
    // SA_RESTART.
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
    // Some of the signals arrive while the thread sleeps.
    for _ in 0..20 {
        INTERRUPTED.store(false, Ordering::SeqCst);
        // SAFETY: the thread was not joined, so its id is valid.
        assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGUSR1) }, 0);
        assert!(wait_until(|| INTERRUPTED.load(Ordering::SeqCst)));
    }
    assert!(!waiter.is_finished());
    writer.write_all(b"z").unwrap();
    assert_eq!(waiter.join().unwrap(), b"z");
}

tests! {
    dropped_request_is_cancelled_and_its_buffer_freed,
    forgotten_request_only_leaks,
    detached_write_is_done,
    detached_request_frees_its_buffer_with_its_event,
    request_keeps_its_context,
    last_handle_ends_the_context,
    ending_context_frees_requests_in_flight,
    forgotten_context_stays_alive,
    cancel_ends_a_read_of_an_empty_pipe,
    cancelled_poll_returns_0,
    cancel_of_a_complete_request_fails,
    try_take_returns_an_incomplete_request,
    wait_timeout_returns_an_incomplete_request,
    wait_for_an_unsubmitted_batch_panics,
    sleeper_wakes_other_waiters,
    sleeper_for_many_wakes_other_waiters,
    refused_requests_end_a_wait,
    request_dropped_during_submission_is_cancelled,
    events_of_a_sleeper_make_room,
    next_sleeper_takes_over,
    forked_child_may_drop_a_context,
    forked_child_may_use_a_context,
    forked_child_gets_an_error_from_a_wait,
    forked_child_leaves_the_eventfd,
    forked_child_needs_no_lock_of_the_parent,
    forked_child_keeps_its_memory,
    signal_does_not_end_a_wait,
}
