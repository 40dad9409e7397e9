// SPDX-License-Identifier: GPL-2.0

//! PREAD, PWRITE, PREADV, PWRITEV: `aio_read()` and `aio_write()` of fs/aio.c, made to retry.
//!
//! An attempt in the submit call never waits (`IOCB_NOWAIT`). What it leaves undone:
//!
//! - on a disk, is done by the kick handler, which may wait for it;
//! - on a file that can be polled (pipe, socket, tty), waits there for readiness;
//! - on any other file, is done by the kick handler.

use kernel::prelude::*;

use crate::{
    obj::{
        kiocb::{
            Kiocb,
            Transfer, //
        },
        op::{
            How,
            Op,
            Verdict, //
        },
    },
    pure::args,
    sys::{
        errno,
        iocb::{
            Attempt,
            Called,
            NO_LIMIT, //
        },
        iov::{
            Buffers,
            Iter, //
        },
        request::{
            Active,
            Prepared, //
        },
        uapi::{
            self,
            Iocb, //
        },
    },
};

/// How often in a row a request may be about to wait and not do so, before others get their turn.
const MAX_ROUNDS: u32 = 64;

macro_rules! transfers {
    ($($name:ident: $opcode:expr, write: $write:expr, vector: $vector:expr;)*) => {$(
        pub(super) struct $name;

        impl Op for $name {
            const OPCODE: u16 = $opcode;

            fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>) -> Result {
                prep(iocb, req, $write, $vector)
            }

            fn retry(req: Active<Kiocb>, how: How) -> Verdict {
                retry(req, how)
            }

            fn driver_done(req: Active<Kiocb>, ret: isize) -> Verdict {
                driver_done(req, ret)
            }
        }
    )*};
}

transfers! {
    Pread: uapi::PREAD, write: false, vector: false;
    Pwrite: uapi::PWRITE, write: true, vector: false;
    Preadv: uapi::PREADV, write: false, vector: true;
    Pwritev: uapi::PWRITEV, write: true, vector: true;
}

/// The checks of `aio_prep_rw()` and `aio_read()`, in their order.
fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>, write: bool, vector: bool) -> Result {
    let ioprio = (iocb.aio_flags & uapi::IOCB_FLAG_IOPRIO != 0).then_some(iocb.aio_reqprio as u16);
    let eventfd = iocb.aio_flags & uapi::IOCB_FLAG_RESFD != 0;
    let pos = iocb.aio_offset;
    let flags = req.prep_iocb(pos, iocb.aio_rw_flags as u32, write, eventfd, ioprio)?;
    let nowait = req.wants_nowait();
    let try_first = req.may_try(write);

    let file = &req.data().ki_filp;
    let (mode, method) = if write {
        (file.writable(), file.has_write_iter())
    } else {
        (file.readable(), file.has_read_iter())
    };
    if !mode {
        return Err(EBADF);
    }
    if !method {
        return Err(EINVAL);
    }
    let (addr, len) = (iocb.aio_buf as usize, iocb.aio_nbytes as usize);
    let buffers = if vector {
        Buffers::vector(write, addr, len)?
    } else {
        Buffers::single(write, addr, len)?
    };
    file.verify_area(write, pos, buffers.len())?;

    let transfer = Transfer {
        buffers,
        write,
        pos,
        flags,
        done: 0,
        impatient: nowait || file.of_task() || (file.nonblock() && !file.on_disk()),
        try_first,
        pollable: file.pollable() && !file.on_disk(),
        nowait: false,
        ready: false,
        rounds: 0,
    };
    req.data().transfer = Some(transfer);
    Ok(())
}

/// What to do now.
enum Step {
    Call(Attempt),
    Park,
    Defer,
}

fn next_step(kiocb: &mut Kiocb, how: How) -> Option<Step> {
    let may_try = kiocb.may_try(how);
    let file = &kiocb.ki_filp;
    let transfer = kiocb.transfer.as_mut()?;
    let ready = core::mem::replace(&mut transfer.ready, false);
    let nowait = if transfer.impatient {
        // O_NONBLOCK speaks to files that do not know IOCB_NOWAIT.
        file.nowait()
    } else if transfer.pollable {
        // Whatever can wait for ever must not be waited for. A file that cannot be tried is touched
        // only when it says that it is ready.
        match (may_try, how, ready) {
            (true, _, _) => true,
            (false, How::Work, true) => false,
            (false, _, true) => return Some(Step::Defer),
            (false, _, false) => return Some(Step::Park),
        }
    } else {
        match (how, file.nowait() && transfer.try_first) {
            (How::Work, _) => false,
            (_, true) => true,
            (_, false) => return Some(Step::Defer),
        }
    };
    let pos = if file.on_disk() {
        transfer.pos.saturating_add(transfer.done as i64)
    } else {
        transfer.pos
    };
    transfer.nowait = nowait;
    Some(Step::Call(Attempt {
        pos,
        fsize_limit: match how {
            // The file system looks at the caller's limit itself.
            How::Submit => NO_LIMIT,
            How::Kick | How::Work => kiocb.submitter.fsize_limit(),
        },
        flags: transfer.flags,
        write: transfer.write,
        nowait,
    }))
}

/// What an attempt's result means.
enum Outcome {
    Over(i64),
    /// Not ready.
    NotYet,
    /// Some of it is done and the rest is to be tried again.
    More,
}

/// The attempt could not be made without waiting, and is to be made again.
fn not_yet(transfer: &Transfer, ret: isize) -> bool {
    !transfer.impatient
        && match ret as i64 {
            errno::EAGAIN => transfer.nowait || transfer.pollable,
            // What a disk says that cannot do without waiting. From a socket it is an answer.
            errno::EOPNOTSUPP => transfer.nowait && !transfer.pollable,
            _ => false,
        }
}

fn judge(kiocb: &mut Kiocb, ret: isize) -> Outcome {
    let file = &kiocb.ki_filp;
    let Some(transfer) = kiocb.transfer.as_mut() else {
        return Outcome::Over(ret as i64);
    };
    let nowait = transfer.nowait;
    if not_yet(transfer, ret) {
        return Outcome::NotYet;
    }
    if ret <= 0 {
        return Outcome::Over(if transfer.done > 0 {
            transfer.done as i64
        } else {
            ret as i64
        });
    }
    transfer.rounds = 0;
    transfer.done = transfer.done.saturating_add(ret as usize);
    let over = Outcome::Over(transfer.done as i64);
    if !nowait || transfer.impatient || args::rest(transfer.buffers.len(), transfer.done) == 0 {
        return over;
    }
    match (file.on_disk(), transfer.write) {
        // A disk has the rest, unless the file ends here.
        (true, false) if file.at_eof(transfer.pos.saturating_add(transfer.done as i64)) => over,
        (true, _) => Outcome::More,
        // A blocking write to a pipe or socket goes on until all is written ...
        (false, true) if transfer.pollable => Outcome::More,
        // ... and a read is content with what there is.
        (false, _) => over,
    }
}

fn retry(mut req: Active<Kiocb>, how: How) -> Verdict {
    loop {
        let attempt = match next_step(req.data(), how) {
            Some(Step::Call(attempt)) => attempt,
            Some(Step::Park) => return park(req, how),
            Some(Step::Defer) => return Verdict::Defer(req),
            None => return Verdict::Done(req, errno::EINVAL),
        };
        let Some(mut iter) = rest(req.data()) else {
            return Verdict::Done(req, errno::EINVAL);
        };
        let ret = match req.call(&attempt, &mut iter) {
            Called::Driver => return Verdict::Driver,
            Called::Done(back, ret) => {
                req = back;
                ret
            }
        };
        match judge(req.data(), ret) {
            Outcome::Over(res) => return Verdict::Done(req, res),
            Outcome::NotYet if is_pollable(req.data()) => return park(req, how),
            Outcome::NotYet => return Verdict::Defer(req),
            Outcome::More if is_pollable(req.data()) => {}
            Outcome::More => return Verdict::Defer(req),
        }
    }
}

fn rest(kiocb: &mut Kiocb) -> Option<Iter> {
    let transfer = kiocb.transfer.as_ref()?;
    Some(transfer.buffers.rest(transfer.done))
}

fn is_pollable(kiocb: &mut Kiocb) -> bool {
    kiocb.transfer.as_ref().is_some_and(|t| t.pollable)
}

/// Waits for readiness. If that failed too often in a row, others get their turn first; a file that
/// says that it is ready and is not has given its answer.
fn park(mut req: Active<Kiocb>, how: How) -> Verdict {
    let kiocb = req.data();
    let may_try = kiocb.may_try(how);
    match kiocb.transfer.as_ref() {
        Some(transfer) if transfer.rounds <= MAX_ROUNDS => Verdict::Park(req),
        _ if may_try || how != How::Work => Verdict::Defer(req),
        _ => Verdict::Done(req, errno::EAGAIN),
    }
}

fn driver_done(mut req: Active<Kiocb>, ret: isize) -> Verdict {
    let kiocb = req.data();
    let Some(transfer) = kiocb.transfer.as_mut() else {
        return Verdict::Done(req, ret as i64);
    };
    // A device without a free tag, or one that cannot do without waiting, says so here.
    if not_yet(transfer, ret) {
        return Verdict::Defer(req);
    }
    let done = transfer.done as i64;
    let res = match i64::try_from(ret) {
        Ok(ret) if ret >= 0 => done.saturating_add(ret),
        _ if done > 0 => done,
        _ => ret as i64,
    };
    Verdict::Done(req, res)
}
