// SPDX-License-Identifier: GPL-2.0

//! The end of every request: event into the ring, eventfd, waiters, in that order. The one door to
//! the ring; `aio_complete()` of fs/aio.c. Any context, hard interrupt included.

use crate::{
    obj::kiocb::Kiocb,
    sys::{
        request::Active,
        uapi::IoEvent, //
    },
};

/// Completes a request with bytes or a negative errno.
pub(crate) fn complete(mut req: Active<Kiocb>, res: i64) {
    // Who finds it to cancel it will see an event.
    req.unlist();
    let obj = req.key();
    let kiocb = req.data();
    kiocb.place.post(&IoEvent {
        data: kiocb.ki_user_data,
        obj,
        res,
        res2: 0,
    });
    // Events of a line come in its order; and who has seen this one finds the line free.
    req.leave_line();
    let kiocb = req.data();
    if let Some(eventfd) = &kiocb.ki_eventfd {
        eventfd.signal();
    }
    let ctx = kiocb.place.ctx();
    ctx.table().stats.completed();
    ctx.wait().wake();
    ctx.table().readers().wake();
    req.finish();
}
