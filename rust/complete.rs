// SPDX-License-Identifier: GPL-2.0

//! The end of every request: event into the ring, eventfd, waiters, in that order. The one door to
//! the ring; `aio_complete()` of fs/aio.c. Any context, hard interrupt included.

use crate::{
    obj::{
        kiocb::Kiocb,
        kioctx::Kioctx, //
    },
    sys::{
        provider::Provided,
        request::Active,
        uapi::IoEvent, //
    },
};

/// The event of a request that ends with bytes or a negative errno.
pub(crate) fn event_of(req: &Active<Kiocb>, res: i64) -> IoEvent {
    IoEvent {
        data: req.view().ki_user_data,
        obj: req.key(),
        res,
        res2: req.view().provider.as_ref().map_or(0, Provided::res2),
    }
}

/// Completes a request with bytes or a negative errno.
pub(crate) fn complete(mut req: Active<Kiocb>, res: i64) {
    if let Some(provider) = &req.view().provider {
        provider.end();
    }
    // Who finds it to cancel it will see an event.
    req.unlist();
    let event = event_of(&req, res);
    req.data().place.post(&event);
    // Events of a line come in its order; and who has seen this one finds the line free.
    req.leave_line();
    let kiocb = req.data();
    if let Some(eventfd) = &kiocb.ki_eventfd {
        eventfd.signal();
    }
    tell(kiocb.place.ctx(), 1);
    req.finish();
}

/// Posts events of requests that owe them, and that nobody else has to do with.
pub(crate) fn post(ctx: &Kioctx, events: &[IoEvent]) {
    ctx.ring().post(events);
    tell(ctx, events.len());
}

fn tell(ctx: &Kioctx, events: usize) {
    let table = ctx.table();
    table.stats.completed(events as u64);
    ctx.wait().wake();
    table.readers().wake();
}
