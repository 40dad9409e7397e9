// SPDX-License-Identifier: LGPL-2.1-or-later

//! Submits requests that have their slot to the kernel, without the lock and with the signal mask
//! of the calling thread. The call may take long: the kernel copies data that are in its cache, and
//! waits for pages of the buffer that the program itself may have to provide (userfaultfd).
//!
//! A signal handler may run before the call returns. If the handler forks, the call returns in the
//! child too, where the request does not exist: see [`UnlockedUse::is_in_child`]. If the handler
//! leaves by siglongjmp(), the kernel never gets the requests that the call had yet to submit.
//! submit.

use core::ptr::null_mut;

use kaio_sys::ioctl;
use kaio_sys::uapi::iocb;
use kaio_sys::{Errno, Result};

use super::lock::{lock, UnlockedUse};
use super::tickets::Ticket;

const NO_ROOM: Errno = Errno::new(libc::EAGAIN);

/// Submits one request.
///
/// # Errors
///
/// `EAGAIN`: the request could not be queued.
pub(super) fn one(unlocked: &UnlockedUse, ticket: Ticket) -> Result<()> {
    submit(unlocked, &[ticket], &[ticket.submission().iocb()])
}

/// Submits several requests in this order. Neighbours that go to the same context share a system
/// call, as far as they fit into one.
///
/// # Errors
///
/// `EAGAIN`: at least one of the requests could not be queued.
pub(super) fn all(unlocked: &UnlockedUse, mut tickets: impl Iterator<Item = Ticket>) -> Result<()> {
    const MAX_RUN: usize = 64;
    let mut ret = Ok(());
    let mut next = tickets.next();
    while let Some(first) = next.take() {
        let mut run = [first; MAX_RUN];
        let mut pointers = [null_mut(); MAX_RUN];
        let mut count = 0;
        let mut at = Some(first);
        for (to, pointer) in run.iter_mut().zip(&mut pointers) {
            let Some(ticket) = at.take() else {
                break;
            };
            *to = ticket;
            *pointer = ticket.submission().iocb();
            count += 1;
            next = tickets.next();
            at = next.take_if(|next| count < MAX_RUN && next.goes_to() == first.goes_to());
        }
        let (run, pointers) = (run.get(..count), pointers.get(..count));
        let submitted = submit(unlocked, run.unwrap_or(&[]), pointers.unwrap_or(&[]));
        ret = ret.and(submitted);
    }
    ret
}

/// Submits requests that all go to one context.
fn submit(unlocked: &UnlockedUse, mut run: &[Ticket], mut pointers: &[*mut iocb]) -> Result<()> {
    let mut ret = Ok(());
    while let Some(first) = run.first() {
        // A handler has forked: this is the child, and the parent submits the remaining requests.
        if unlocked.is_in_child() {
            return Err(NO_ROOM);
        }
        let (fd, context) = first.goes_to();
        // SAFETY: POSIX obliges the program to keep the buffers until the requests are complete,
        // which it learns only from their events. The engine keeps the iocbs in place as long as
        // their submissions are in progress.
        let result =
            unsafe { ioctl::submit(fd, context, pointers.len() as i64, pointers.as_ptr()) };
        let (count, stopped) = match result {
            Ok(submitted) => (submitted.count, submitted.stopped),
            Err(e) => (0, Some(e)),
        };
        for ticket in run.iter().take(count) {
            if unlocked.is_in_child() {
                return Err(NO_ROOM);
            }
            if !ticket.submission().try_end() {
                let mut engine = lock();
                if !unlocked.is_in_child() {
                    engine.submission_ended(ticket);
                }
            }
        }
        run = run.get(count..).unwrap_or(&[]);
        pointers = pointers.get(count..).unwrap_or(&[]);
        if run.is_empty() {
            break;
        }
        let error = match stopped {
            Some(e) => e,
            None if count > 0 => continue,
            None => NO_ROOM,
        };
        let mut engine = lock();
        if unlocked.is_in_child() {
            return Err(NO_ROOM);
        }
        let (handled, queued) = engine.refused(run, error);
        drop(engine);
        ret = ret.and(queued);
        run = run.get(handled..).unwrap_or(&[]);
        pointers = pointers.get(handled..).unwrap_or(&[]);
    }
    ret
}
