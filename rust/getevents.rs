// SPDX-License-Identifier: GPL-2.0

//! io_getevents(2): takes events from the ring, waiting for them if it must.

use kernel::{
    error::code::ERESTARTNOHAND,
    prelude::*,
    uaccess::UserPtr, //
};

use crate::{
    exec::help,
    obj::kioctx::Kioctx,
    pure::{
        args,
        ring::EVENT_SIZE, //
    },
    sys::{
        task,
        wait::Woken, //
    },
};

/// What a caller waits for.
pub(crate) struct Wanted {
    /// Return only when there were that many ...
    pub(crate) min: u64,
    /// ... and never more than that.
    pub(crate) nr: u64,
    /// Where to put them; `None`: leave them in the ring.
    pub(crate) events: Option<UserPtr>,
    /// In nanoseconds; [`args::FOREVER`]: without end.
    pub(crate) timeout: i64,
    /// `timeout` is when the wait ends, by the caller's clock.
    pub(crate) absolute: bool,
    /// The call may begin anew with the same arguments, which does the same.
    pub(crate) may_restart: bool,
}

/// Takes events, or waits for them to be there. Returns how many.
///
/// Events that were taken are returned, whatever happens next. `EINVAL`: the context was destroyed;
/// `EINTR`: a signal came. `ERESTARTNOHAND`: only work came, which the task does on its way to user
/// space; then the call is to begin anew.
pub(crate) fn get_events(ctx: &Kioctx, wanted: &Wanted) -> Result<isize> {
    let capacity = u64::from(ctx.ring().geometry().capacity());
    let min = match wanted.events {
        Some(_) => wanted.min,
        // What stays in the ring is no more than it holds.
        None => wanted.min.min(capacity),
    };
    let mut end = wanted.absolute.then_some(wanted.timeout);
    let mut taken = 0;
    let mut woken = Woken::Ready;
    let mut helps = true;
    loop {
        // What its end posts is not for us: who destroys it takes no events.
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
            let now = task::monotonic();
            let end = end.get_or_insert_with(|| args::deadline(now, wanted.timeout));
            left = args::time_left(now, *end);
        }
        if left > 0 {
            // Those that were taken are not in the ring any more. No more than it holds can be
            // waited for at once.
            let missing = match wanted.events {
                Some(_) => min - taken,
                None => min,
            };
            let missing = missing.min(capacity) as u32;
            let ready = || ctx.is_dead() || ctx.ring().available() >= missing;
            woken = ctx.sleep(helps, left, ready);
            let end = end.unwrap_or(args::FOREVER);
            let late = || {
                woken != Woken::Ready
                    || task::signal_pending()
                    || args::time_left(task::monotonic(), end) <= 0
            };
            helps = helps && help(ctx, late);
            // Whatever woke us, take what is there.
            continue;
        }
        let is_peek = wanted.events.is_none();
        return match (taken, error) {
            (0, Some(e)) => Err(e),
            // The ring in which they are has gone.
            (_, Some(e)) if is_peek => Err(e),
            // As natively, even if it did not wait.
            (0, None) if task::has_signal() => Err(EINTR),
            // No signal: work, of io_uring for one. What was taken cannot be given back.
            // It is still there, and nobody but this task does it: so the restart takes place.
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

/// How many events there are now that `taken` were: more are taken, or counted.
fn take(ctx: &Kioctx, wanted: &Wanted, taken: u64) -> Result<u64> {
    match wanted.events {
        Some(events) => {
            let to = events.wrapping_byte_add(taken as usize * EVENT_SIZE);
            Ok(taken + ctx.ring().take(to, wanted.nr - taken)?)
        }
        None => Ok(u64::from(ctx.ring().available()).min(wanted.nr)),
    }
}
