// SPDX-License-Identifier: LGPL-2.1-or-later

//! Takes events from the ring. No system call is needed if there are enough events or the caller
//! does not wait.
//!
//! The events of a context in the table are taken only here, with the context's lock. A thread that
//! must wait asks the kernel to wait without taking events (`KAIO_GETEVENTS_PEEK`), then looks into
//! the ring again. The kernel itself takes events without this lock, so both could take the same
//! event.
//!
//! The kernel gets the time at which the wait ends, instead of its length. So the wait can be
//! continued after the kernel had other work for this thread (such as for an io_uring that was
//! closed), or if another thread has taken the events.
//!
//! If the caller gives a minimum of 0 and a time, and requests are in flight, it gets the next
//! event that comes within that time. Native AIO returns only the events that are there; but a
//! buffered read or write is complete there when it was submitted, and programs that rely on that
//! (libaio's own tests) make just this call.
//!
//! A program that moves `head` itself must not do so while another thread is in this module, just
//! as it must not while a thread is in io_getevents(2).

use core::ptr::{from_ref, null};

use kaio_sys::ioctl::{self, Wait};
use kaio_sys::uapi::{__kernel_timespec, KAIO_GETEVENTS_ABSTIME, KAIO_GETEVENTS_PEEK};
use kaio_sys::{Errno, Result};

use crate::contexts::{Consumer, Slot};
use crate::process::{Device, Process};
use crate::user;

const NSEC_PER_SEC: i64 = 1_000_000_000;

const EINVAL: Errno = Errno::new(libc::EINVAL);

/// Implements io_getevents(2), and io_pgetevents(2) if there is a mask. `wait` has the program's
/// arguments, so pointers may be bad.
#[inline]
pub(crate) fn get_events(
    process: &Process,
    device: Device,
    ctx_id: u64,
    wait: &Wait,
) -> Result<usize> {
    match process.contexts().find(ctx_id) {
        // The kernel checks numbers that are wrong.
        Some(slot) if 0 <= wait.min_nr && wait.min_nr <= wait.nr => {
            match take_or_wait(process, device, ctx_id, wait, slot) {
                Err(e) if e.get() == libc::ENOSYS => {
                    get_events_by_kernel(process, device, ctx_id, wait)
                }
                result => result,
            }
        }
        _ => get_events_by_kernel(process, device, ctx_id, wait),
    }
}

fn get_events_by_kernel(
    process: &Process,
    device: Device,
    ctx_id: u64,
    wait: &Wait,
) -> Result<usize> {
    let end = match wait.timeout.is_null() {
        true => None,
        false => deadline(user::read_timespec(wait.timeout)?),
    };
    let until = Wait {
        timeout: end.as_ref().map_or(null(), from_ref),
        flags: KAIO_GETEVENTS_ABSTIME,
        ..*wait
    };
    // SAFETY: the program lets the kernel write to `events`. This library takes no events of this
    // ring, since it is not in the table or its format is unknown.
    let events = unsafe { ioctl::get_events(device.fd(), ctx_id, &until) };
    closed_device_is_einval(process, device, events)
}

/// Returns `EINVAL` if the program has closed the descriptor, which has ended its contexts.
pub(crate) fn closed_device_is_einval<T>(
    process: &Process,
    device: Device,
    result: Result<T>,
) -> Result<T> {
    match result {
        Err(e) if e.get() == libc::EBADF || e.get() == libc::ENOTTY => {
            process.forget_device(device);
            Err(EINVAL)
        }
        result => result,
    }
}

fn take_or_wait(
    process: &Process,
    device: Device,
    ctx_id: u64,
    wait: &Wait,
    slot: &Slot,
) -> Result<usize> {
    let (mut min, nr) = (wait.min_nr as u64, wait.nr as u64);
    let mut taken = 0;
    let mut consumer = slot.lock(ctx_id)?.ok_or(EINVAL)?;
    // Check whether the time can be read before anything else, as native AIO does.
    let time = match wait.timeout.is_null() {
        true => None,
        false => Some(consumer.read_timeout(wait.timeout)?),
    };
    if min == 0
        && nr > 0
        && time.is_some_and(|time| nanoseconds(time) > 0)
        && consumer.has_requests_in_flight()
    {
        min = 1;
    }
    // With a mask the kernel must look at pending signals first.
    let has_mask = !wait.sigmask.is_null();
    if !has_mask {
        taken = take(&mut consumer, wait, taken, nr)?;
        if taken >= min || time.is_some_and(|time| nanoseconds(time) <= 0) {
            return Ok(taken as usize);
        }
    }
    drop(consumer);

    let end = time.and_then(deadline);
    loop {
        let missing = min.saturating_sub(taken) as i64;
        let peek = Wait {
            min_nr: missing,
            nr: missing,
            timeout: end.as_ref().map_or(null(), from_ref),
            flags: KAIO_GETEVENTS_PEEK | KAIO_GETEVENTS_ABSTIME,
            sigmask: wait.sigmask,
            sigsetsize: wait.sigsetsize,
            ..Wait::default()
        };
        // SAFETY: with KAIO_GETEVENTS_PEEK the kernel takes no event and writes none.
        let woken = unsafe { ioctl::get_events(device.fd(), ctx_id, &peek) };
        match woken {
            // The arguments are wrong, or the context has ended.
            Err(e) if e.get() != libc::EINTR && taken == 0 => {
                return closed_device_is_einval(process, device, Err(e));
            }
            Err(e) if e.get() != libc::EINTR => return Ok(taken as usize),
            _ => {}
        }
        // Take the events that are there, after a signal too, if the context still exists.
        let now = match slot.lock(ctx_id) {
            Ok(Some(mut consumer)) => take(&mut consumer, wait, taken, nr),
            Ok(None) => Err(EINVAL),
            Err(e) => Err(e),
        };
        let error = match (now, woken) {
            (Err(e), _) => Some(e),
            (Ok(now), woken) => {
                taken = now;
                woken.err()
            }
        };
        match error {
            Some(e) if taken == 0 => return Err(e),
            Some(_) => return Ok(taken as usize),
            None => (),
        }
        // Another thread may have taken events, and the ring may hold fewer events than the caller
        // waits for.
        if taken >= min || end.is_some_and(|end| nanoseconds(end) <= monotonic_now()) {
            return Ok(taken as usize);
        }
    }
}

/// Takes further events after the first `taken` ones. Returns the new number of events.
#[inline]
fn take(consumer: &mut Consumer<'_>, wait: &Wait, taken: u64, nr: u64) -> Result<u64> {
    let to = wait.events.wrapping_add(taken as usize);
    let more = consumer.take(to, nr.saturating_sub(taken))?;
    Ok(taken + u64::from(more))
}

/// Converts a time to nanoseconds with saturation, as the kernel does. Programs pass absolute times
/// and other large values here.
fn nanoseconds(time: __kernel_timespec) -> i64 {
    time.tv_sec
        .saturating_mul(NSEC_PER_SEC)
        .saturating_add(time.tv_nsec)
}

/// Returns `CLOCK_MONOTONIC` in nanoseconds, which is never negative.
fn monotonic_now() -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a timespec that the call may write. This clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    nanoseconds(__kernel_timespec {
        tv_sec: time.tv_sec,
        tv_nsec: time.tv_nsec,
    })
}

/// Returns when a wait of this length that begins now ends, by [`monotonic_now`], or `None` if it
/// never ends.
fn deadline(time: __kernel_timespec) -> Option<__kernel_timespec> {
    match monotonic_now().saturating_add(nanoseconds(time)) {
        i64::MAX => None,
        end => Some(__kernel_timespec {
            tv_sec: end / NSEC_PER_SEC,
            tv_nsec: end % NSEC_PER_SEC,
        }),
    }
}
