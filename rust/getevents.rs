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
    sys::wait::Woken,
};

/// Takes at least `min` and at most `nr` events, waiting up to `timeout` nanoseconds
/// ([`args::FOREVER`]: without end). Returns how many.
///
/// Events that were taken are returned, whatever happens next. `EINVAL`: the context was destroyed;
/// `EINTR`: a signal came.
pub(crate) fn get_events(
    ctx: &Kioctx,
    min: u64,
    nr: u64,
    events: UserPtr,
    timeout: i64,
) -> Result<isize> {
    let start = Instant::<Monotonic>::now();
    let mut taken = 0;
    let mut woken = Woken::Ready;
    loop {
        let error = match take(ctx, events, taken, nr) {
            Ok(more) => {
                taken += more;
                ctx.is_dead().then_some(EINVAL)
            }
            Err(e) => Some(e),
        };
        if error.is_none() && taken < min && timeout > 0 && woken == Woken::Ready {
            let left = match timeout {
                args::FOREVER => timeout,
                _ => timeout.saturating_sub(start.elapsed().as_nanos()).max(0),
            };
            // No more than the ring holds can be waited for at once.
            let want = (min - taken).min(u64::from(ctx.ring().geometry().capacity())) as u32;
            woken = ctx
                .wait()
                .wait(left, || ctx.is_dead() || ctx.ring().available() >= want);
            // Whatever woke us, take what is there.
            continue;
        }
        return match (taken, error, woken) {
            (0, Some(e), _) => Err(e),
            (0, None, Woken::Signal) => Err(EINTR),
            _ => Ok(taken as isize),
        };
    }
}

fn take(ctx: &Kioctx, events: UserPtr, taken: u64, nr: u64) -> Result<u64> {
    let to = events.wrapping_byte_add(taken as usize * EVENT_SIZE);
    ctx.ring().take(to, nr - taken)
}
