// SPDX-License-Identifier: GPL-2.0

//! Takes events from the ring for a task, and waits for them if there are too few.
//!
//! The counterpart of io_getevents(2), `aio_read_events()` of fs/aio.c. A task that waits here also
//! runs kicked requests of the context (`engine::worker::run_kicked_inline`).

use kernel::{
    error::code::ERESTARTNOHAND,
    prelude::*,
    uaccess::UserPtr, //
};

use super::worker::run_kicked_inline;
use crate::{
    ctx::kioctx::Kioctx,
    pure::{
        args,
        ring::EVENT_SIZE, //
    },
    sys::{
        task,
        wait::Woken, //
    },
};

/// The arguments of a call that takes events.
pub(crate) struct Wanted {
    /// The call waits until there were at least this many events ...
    pub(crate) min: u64,
    /// ... and returns at most this many.
    pub(crate) nr: u64,
    /// The address for the events; `None` leaves them in the ring.
    pub(crate) events: Option<UserPtr>,
    /// The timeout in nanoseconds; [`args::FOREVER`] waits without end.
    pub(crate) timeout: i64,
    /// `timeout` is the time at which the wait ends, by the clock of the caller.
    pub(crate) absolute: bool,
    /// The call may be restarted with the same arguments, and then does the same.
    pub(crate) may_restart: bool,
}

/// Takes events, waits for them if there are too few, and returns how many there are. Events that
/// were taken are returned, whatever happens next.
///
/// # Errors
///
/// `EINVAL` if the context was destroyed; `EINTR` if a signal came; `EFAULT` if the events cannot
/// be written. `ERESTARTNOHAND` if no signal came, but work that the task does on its way to user
/// space: the call is then restarted.
pub(crate) fn get_events(ctx: &Kioctx, wanted: &Wanted) -> Result<isize> {
    let capacity = u64::from(ctx.ring().capacity());
    let min = match wanted.events {
        Some(_) => wanted.min,
        // Events that stay in the ring are no more than the ring holds.
        None => wanted.min.min(capacity),
    };
    let mut end = wanted.absolute.then_some(wanted.timeout);
    let mut taken = 0;
    // No wait has failed so far.
    let mut woken = Woken::Ready;
    let mut runs_kicked = true;
    loop {
        // A context that has ended gives no events, not even those that its end posts: the task
        // that destroys a context takes no events.
        let now = match ctx.is_dead() {
            true => Err(EINVAL),
            false => take(ctx, wanted, taken),
        };
        let error = match now {
            Ok(now) => {
                taken = now;
                None
            }
            Err(e) => Some(e),
        };
        let mut left = 0;
        if error.is_none() && taken < min && wanted.timeout > 0 && woken == Woken::Ready {
            left = match wanted.timeout {
                args::FOREVER => args::FOREVER,
                timeout => {
                    let now = task::monotonic();
                    let end = end.get_or_insert_with(|| args::deadline(now, timeout));
                    args::time_left(now, *end)
                }
            };
        }
        if left > 0 {
            // Events that were taken are not in the ring any more. The wait is for no more events
            // than the ring holds at once.
            let missing = match wanted.events {
                Some(_) => min - taken,
                None => min,
            };
            let missing = missing.min(capacity) as u32;
            let ready = || ctx.is_dead() || ctx.ring().wait_for(missing);
            woken = ctx.sleep(runs_kicked, left, ready);
            let end = end.unwrap_or(args::FOREVER);
            let late = || {
                woken != Woken::Ready
                    || task::signal_pending()
                    || args::time_left(task::monotonic(), end) <= 0
            };
            runs_kicked = runs_kicked && run_kicked_inline(ctx, late);
            // Take the events that there are, whatever ended the wait.
            continue;
        }
        let is_peek = wanted.events.is_none();
        return match (taken, error) {
            (0, Some(e)) => Err(e),
            // Events that were only counted have gone with the ring.
            (_, Some(e)) if is_peek => Err(e),
            // As natively, even if the call did not wait.
            (0, None) if task::has_signal() => Err(EINTR),
            // No signal is pending, but work for the task, such as io_uring's. Events that were
            // taken cannot be given back, so a call that took some is not restarted. The work is
            // still pending, and no other task does it; so this task takes the path to user space
            // that restarts the call.
            (_, None)
                if woken == Woken::Signal
                    && taken < min
                    && (taken == 0 || is_peek)
                    && wanted.may_restart
                    && !task::has_signal() =>
            {
                Err(ERESTARTNOHAND)
            }
            (0, None) if woken == Woken::Signal => Err(EINTR),
            _ => Ok(taken as isize),
        };
    }
}

/// Returns the number of events of the call, of which `taken` were taken before: takes more of
/// them, or counts those in the ring.
fn take(ctx: &Kioctx, wanted: &Wanted, taken: u64) -> Result<u64> {
    match wanted.events {
        Some(events) => {
            let to = events.wrapping_byte_add(taken as usize * EVENT_SIZE);
            Ok(taken + ctx.ring().take(to, wanted.nr - taken)?)
        }
        None => Ok(u64::from(ctx.ring().available()).min(wanted.nr)),
    }
}
