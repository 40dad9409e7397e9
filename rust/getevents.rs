// SPDX-License-Identifier: GPL-2.0

//! io_getevents(2): takes events from the ring, waiting for them if it must.

use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    },
    uaccess::UserPtr,
};

use crate::{
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
}

/// Takes events, or waits for them to be there. Returns how many.
///
/// Events that were taken are returned, whatever happens next. `EINVAL`: the context was destroyed;
/// `EINTR`: a signal came.
pub(crate) fn get_events(ctx: &Kioctx, wanted: &Wanted) -> Result<isize> {
    let capacity = u64::from(ctx.ring().geometry().capacity());
    let min = match wanted.events {
        Some(_) => wanted.min,
        // What stays in the ring is no more than it holds.
        None => wanted.min.min(capacity),
    };
    let start = Instant::<Monotonic>::now();
    let mut taken = 0;
    let mut woken = Woken::Ready;
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
        if error.is_none() && taken < min && wanted.timeout > 0 && woken == Woken::Ready {
            let left = match wanted.timeout {
                args::FOREVER => args::FOREVER,
                timeout => timeout.saturating_sub(start.elapsed().as_nanos()).max(0),
            };
            // Those that were taken are not in the ring any more. No more than it holds can be
            // waited for at once.
            let missing = match wanted.events {
                Some(_) => min - taken,
                None => min,
            };
            let missing = missing.min(capacity) as u32;
            woken = ctx
                .wait()
                .wait(left, || ctx.is_dead() || ctx.ring().available() >= missing);
            // Whatever woke us, take what is there.
            continue;
        }
        return match (taken, error, woken) {
            (0, Some(e), _) => Err(e),
            // The ring in which they are has gone.
            (_, Some(e), _) if wanted.events.is_none() => Err(e),
            // As natively, even if it did not wait.
            (0, None, _) if task::signal_pending() => Err(EINTR),
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
