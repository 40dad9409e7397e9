// SPDX-License-Identifier: LGPL-2.1-or-later

//! The helper: a thread that sleeps until a context has events, completes the requests and notifies
//! the program. The first request starts it, and it ends when there were no requests for some time.

use core::ffi::{c_int, c_void};
use core::mem::offset_of;
use core::ptr::null_mut;

use kaio_sys::uapi::{kaio_ring, KAIO_RING_MAGIC};

use super::device::poll;
use super::lock::{lock, lock_as_helper, Guard};
use super::notification::{Kind, Outbox, KINDS};
use super::submit;
use super::tickets::Batch;
use crate::futex;

/// The interval of further attempts to deliver a notification, in milliseconds.
const RETRY_INTERVAL_MS: c_int = 10;

/// The longest time of one poll while there are requests, in milliseconds. As long as the helper
/// polls the device it holds a reference to the open file, even if the program has closed the
/// descriptor. Then the helper drops the last reference, and the kernel makes it wait for requests
/// in flight.
const CHECK_INTERVAL_MS: c_int = 1000;

/// The number of checks, one every [`RETRY_INTERVAL_MS`], whether the ring of a lost context is
/// still there. The total time is longer than the kernel waits for one open file (10 seconds,
/// rounded up), so the kernel has unmapped the ring before. The helper stops checking only if the
/// ring stays, for example because a child has the open file too.
const MAX_RING_CHECKS: u32 = 1200;

/// The notifications that the helper has taken and not yet delivered, one outbox for each kind.
struct Outboxes([Outbox; KINDS]);

impl Outboxes {
    fn new() -> Self {
        Self(Kind::ALL.map(Outbox::new))
    }

    fn take(&mut self, engine: &mut Guard) {
        self.0.iter_mut().for_each(|o| engine.take_notifications(o));
    }

    fn deliver(&mut self) {
        self.0.iter_mut().for_each(Outbox::deliver);
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(Outbox::is_empty)
    }

    /// Returns for each kind whether the engine has more notifications than were taken.
    fn left(&self, engine: &Guard) -> [bool; KINDS] {
        Kind::ALL.map(|kind| engine.has_notifications_of(kind))
    }

    /// Returns whether the helper could take any of those notifications now.
    fn can_take(&self, left: [bool; KINDS]) -> bool {
        let all = self.0.iter().zip(left);
        all.into_iter()
            .any(|(outbox, left)| left && outbox.is_empty())
    }
}

/// Takes held requests whose turn has come and that the helper must submit. It submits reads and
/// writes only if there is no releaser.
fn next_batch(engine: &mut Guard) -> Option<Batch> {
    let syncs = engine.next_syncs();
    match syncs {
        None if !engine.releaser => engine.next_release(),
        syncs => syncs,
    }
}

pub(super) extern "C" fn run(number: *mut c_void) -> *mut c_void {
    // SAFETY: the name ends with a zero, and the kernel copies it.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"kaio-aio".as_ptr()) };
    let number = number as usize;
    let mut outboxes = Outboxes::new();
    // The last result of `poll`: 0 if the time was over, `None` if the call was interrupted.
    let mut polled = None;
    let mut trimmed = seconds();
    loop {
        let mut engine = lock_as_helper();
        let mut more = engine.helper == Some(number) && engine.reap();
        if engine.helper != Some(number) {
            // The program has closed the device.
            drop(engine);
            finish(outboxes, number);
            break;
        }
        outboxes.take(&mut engine);
        let idle = engine.is_idle();
        if idle && outboxes.is_empty() && polled == Some(0) {
            engine.trim(true);
            if !engine.has_unlocked_uses() {
                engine.shrink();
            }
            engine.helper = None;
            break;
        }
        if seconds() != trimmed {
            trimmed = seconds();
            engine.trim(false);
        }
        if let Some(batch) = next_batch(&mut engine) {
            let unlocked = engine.begin_unlocked_use();
            drop(engine);
            // A request that fails has its error in its control block.
            let _ = submit::all(&unlocked, batch.tickets());
            engine = lock_as_helper();
            engine.released(&batch);
            more = true;
        }
        let left = outboxes.left(&engine);
        let device = engine.device();
        let idle_timeout = engine.idle().saturating_mul(1000).max(0);
        drop(engine);
        outboxes.deliver();
        more = more || outboxes.can_take(left);
        let timeout = match (more, outboxes.is_empty(), idle) {
            (true, _, _) => 0,
            (false, true, true) => idle_timeout,
            (false, true, false) => CHECK_INTERVAL_MS,
            (false, false, _) => RETRY_INTERVAL_MS,
        };
        polled = device.and_then(|device| poll(device, timeout));
        if more {
            // The time of that poll was not the idle time.
            polled = None;
        }
    }
    null_mut()
}

/// Returns the seconds of a clock that is cheap to read.
fn seconds() -> libc::time_t {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a timespec that the call may write.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    time.tv_sec
}

/// Ends the requests of lost contexts, and delivers the remaining notifications that no other
/// helper delivers.
fn finish(mut outboxes: Outboxes, number: usize) {
    let mut checks_left = MAX_RING_CHECKS;
    // The ring that the last check did not find.
    let mut gone = None;
    loop {
        let mut engine = lock();
        let mut lost = engine.lost_ring(number);
        while let Some(ring) = lost {
            if gone != Some(ring) && checks_left != 0 {
                break;
            }
            engine.mark_lost_as_over(number, ring);
            lost = engine.lost_ring(number);
        }
        let more = engine.end_lost_requests(number);
        outboxes.take(&mut engine);
        drop(engine);
        let nothing = outboxes.is_empty();
        outboxes.deliver();
        match lost {
            Some(ring) if is_mapped(ring) => checks_left = checks_left.saturating_sub(1),
            Some(ring) => gone = Some(ring),
            None if nothing && !more => break,
            None if outboxes.is_empty() && !more => {}
            None => {
                // SAFETY: poll() without descriptors only sleeps.
                unsafe { libc::poll(null_mut(), 0, RETRY_INTERVAL_MS) };
            }
        }
    }
}

/// Returns whether there is a ring at this address. If there is one, the function returns after
/// [`RETRY_INTERVAL_MS`].
fn is_mapped(ring: u64) -> bool {
    // FUTEX_WAIT makes the kernel compare a word, the magic number of a ring, since the ring may be
    // unmapped at any time. Other memory of the program at this address has another word there.
    let word = (ring as usize).wrapping_add(offset_of!(kaio_ring, magic));
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: libc::c_long::from(RETRY_INTERVAL_MS) * 1_000_000,
    };
    let answer = futex::wait(word, KAIO_RING_MAGIC, Some(&time));
    !answer.is_err_and(|e| matches!(e.get(), libc::EFAULT | libc::EAGAIN))
}
