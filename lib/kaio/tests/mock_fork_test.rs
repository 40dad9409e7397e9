// SPDX-License-Identifier: LGPL-2.1-or-later

//! The child of a fork, against the mock kernel of kaio-sys, which knows the process that has made a
//! context. The program has one test, so that no other thread holds a lock that the child needs.
//! Miri has no fork.

#![cfg(all(kaio_mock, not(miri)))]

use std::fs::File;
use std::future::Future;
use std::os::fd::AsRawFd;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::task::{self, Poll, Waker};
use std::time::Duration;

use kaio_sys::mock;
use linux_kaio::{Completion, Context, Op};

fn refused((result, buf): Completion<Vec<u8>>) -> bool {
    result.is_err_and(|e| e.raw_os_error() == Some(libc::EINVAL)) && buf == [7]
}

#[test]
fn child_gets_errors() {
    let file = File::open("/proc/self/exe").expect("this program");
    let context = Context::with_eventfd(8).expect("a context");
    let complete = context.submit(Op::read(&file, vec![0], 0));
    assert_eq!(context.reap(), 1);
    mock::hold(file.as_raw_fd());
    let read = || context.submit(Op::read(&file, vec![7], 1));
    let kept = [(); 6].map(|()| read());
    // SAFETY: the harness has no other thread that runs code of this test.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // A panic would end the only thread of the child, and so the child, with status 0.
        let wrong = panic::catch_unwind(AssertUnwindSafe(|| {
            let [waited, timed, tried, polled, shown, dropped] = kept;
            let mut task = task::Context::from_waker(Waker::noop());
            let polled = match pin!(polled).poll(&mut task) {
                Poll::Ready(done) => refused(done),
                Poll::Pending => false,
            };
            let right = [
                refused(waited.wait()),
                timed.wait_timeout(Duration::ZERO).is_ok_and(refused),
                tried.try_take().is_ok_and(refused),
                polled,
                !shown.is_complete() && !shown.cancel(),
                complete.wait().1 == [0x7f],
                context.reap() == 0 && context.wait(None) == 0 && context.in_flight() == 0,
                context.wait_for_room(None),
                refused(context.submit(Op::read(&file, vec![7], 0)).wait()),
                refused(context.submit_when_room(Op::read(&file, vec![7], 0)).wait()),
                Context::new(8).is_ok_and(|own| own.submit(Op::noop(&context)).wait().0.is_ok()),
            ];
            drop((shown, dropped, context));
            right.iter().position(|right| !right)
        }));
        let status = wrong.map_or(100, |wrong| wrong.map_or(0, |index| index as i32 + 1));
        // SAFETY: _exit() ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(status) };
    }
    let mut status = -1;
    // SAFETY: `status` is an integer that waitpid() may write.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the wrong one: {}", libc::WEXITSTATUS(status));
    // The parent's requests go on.
    mock::release(file.as_raw_fd());
    for pending in kept {
        assert_eq!(pending.wait().1, *b"E");
    }
}
