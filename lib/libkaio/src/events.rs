// SPDX-License-Identifier: LGPL-2.1-or-later

//! Takes events: from the ring, without a system call, if there are enough or nobody is to wait.
//!
//! Of a context that we know, events are only ever taken here, with its lock. Who must wait asks the
//! kernel to wait without taking (`KAIO_GETEVENTS_PEEK`), then looks again: the kernel's own taking
//! knows nothing of our lock, and both would take the same events.
//!
//! The kernel is told when a wait ends, not how long it is. So it goes on after work for this thread
//! that is no signal (io_uring's, of a ring that was closed), and so do we if another thread was
//! faster.
//!
//! Who asks for no event at least but gives a time gets the next event that comes in that time, if
//! there are requests in flight. Natively it gets what is there; but there a buffered read or write is
//! complete when it was submitted, and programs that count on it (libaio's own tests) ask just so.
//!
//! A program that moves `head` itself must not do so while another thread is in here, as it must
//! not while one is in io_getevents(2).

use core::ptr::{from_ref, null};

use kaio_sys::ioctl::{self, Wait};
use kaio_sys::uapi::{__kernel_timespec, KAIO_GETEVENTS_ABSTIME, KAIO_GETEVENTS_PEEK};
use kaio_sys::{Errno, Result};

use crate::contexts::{Slot, Taker};
use crate::process::{Device, Process};
use crate::user;

const NSEC_PER_SEC: i64 = 1_000_000_000;

const EINVAL: Errno = Errno::new(libc::EINVAL);

/// io_getevents(2), and io_pgetevents(2) if there is a mask. `wait` is as the caller has it: bad
/// pointers are allowed.
#[inline]
pub(crate) fn get_events(
    process: &Process,
    device: Device,
    ctx_id: u64,
    wait: &Wait,
) -> Result<usize> {
    match process.contexts().find(ctx_id) {
        // Of what is wrong with the numbers the kernel knows most.
        Some(slot) if 0 <= wait.min_nr && wait.min_nr <= wait.nr => {
            match take_or_wait(process, device, ctx_id, wait, slot) {
                Err(e) if e.get() == libc::ENOSYS => ask_kernel(process, device, ctx_id, wait),
                result => result,
            }
        }
        _ => ask_kernel(process, device, ctx_id, wait),
    }
}

fn ask_kernel(process: &Process, device: Device, ctx_id: u64, wait: &Wait) -> Result<usize> {
    let end = match wait.timeout.is_null() {
        true => None,
        false => deadline(user::read_timespec(wait.timeout)?),
    };
    let until = Wait {
        timeout: end.as_ref().map_or(null(), from_ref),
        flags: KAIO_GETEVENTS_ABSTIME,
        ..*wait
    };
    // SAFETY: `events` are the caller's to write to. Nobody takes events of this ring in user space:
    // it is not one that we know.
    let events = unsafe { ioctl::get_events(device.fd(), ctx_id, &until) };
    lost_is_einval(process, device, events)
}

/// If the program closed our descriptor, its contexts have ended.
pub(crate) fn lost_is_einval<T>(process: &Process, device: Device, result: Result<T>) -> Result<T> {
    match result {
        Err(e) if e.get() == libc::EBADF || e.get() == libc::ENOTTY => {
            process.forget(device);
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
    let mut taker = slot.lock(ctx_id)?.ok_or(EINVAL)?;
    // As natively, a time that cannot be read comes before everything.
    let time = match wait.timeout.is_null() {
        true => None,
        false => Some(taker.timeout(wait.timeout)?),
    };
    if min == 0 && nr > 0 && time.is_some_and(|time| nanoseconds(time) > 0) && taker.is_busy() {
        min = 1;
    }
    // With a mask the kernel has to look at signals first.
    let has_mask = !wait.sigmask.is_null();
    if !has_mask {
        taken = take(&mut taker, wait, taken, nr)?;
        if taken >= min || time.is_some_and(|time| nanoseconds(time) <= 0) {
            return Ok(taken as usize);
        }
    }
    drop(taker);

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
        // SAFETY: takes nothing and writes nothing.
        let woken = unsafe { ioctl::get_events(device.fd(), ctx_id, &peek) };
        match woken {
            // Wrong arguments, or the context is gone, and its ring with it.
            Err(e) if e.get() != libc::EINTR && taken == 0 => {
                return lost_is_einval(process, device, Err(e));
            }
            Err(e) if e.get() != libc::EINTR => return Ok(taken as usize),
            _ => {}
        }
        // Whether a signal woke us or events, take what is there, if the context is.
        let now = match slot.lock(ctx_id) {
            Ok(Some(mut taker)) => take(&mut taker, wait, taken, nr),
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
        // Another thread may have been faster; and the ring may hold less than we want.
        if taken >= min || end.is_some_and(|end| nanoseconds(end) <= clock()) {
            return Ok(taken as usize);
        }
    }
}

/// Takes events after the `taken` that were; returns how many there are then.
#[inline]
fn take(taker: &mut Taker<'_>, wait: &Wait, taken: u64, nr: u64) -> Result<u64> {
    let to = wait.events.wrapping_add(taken as usize);
    let more = taker.take(to, nr.saturating_sub(taken))?;
    Ok(taken + u64::from(more))
}

/// Saturating, as the kernel's are. Programs pass absolute times, and worse.
fn nanoseconds(time: __kernel_timespec) -> i64 {
    time.tv_sec
        .saturating_mul(NSEC_PER_SEC)
        .saturating_add(time.tv_nsec)
}

/// `CLOCK_MONOTONIC` in nanoseconds; not negative.
fn clock() -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes there. It is always there, and needs no system call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    nanoseconds(__kernel_timespec {
        tv_sec: time.tv_sec,
        tv_nsec: time.tv_nsec,
    })
}

/// When a wait of that length that begins now ends, by [`clock`]; `None`: never.
fn deadline(time: __kernel_timespec) -> Option<__kernel_timespec> {
    match clock().saturating_add(nanoseconds(time)) {
        i64::MAX => None,
        end => Some(__kernel_timespec {
            tv_sec: end / NSEC_PER_SEC,
            tv_nsec: end % NSEC_PER_SEC,
        }),
    }
}
