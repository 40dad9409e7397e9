// SPDX-License-Identifier: GPL-2.0

//! PREAD, PWRITE, PREADV, PWRITEV: `aio_read()` and `aio_write()` of fs/aio.c, made to retry.
//!
//! An attempt in the submit call never waits (`IOCB_NOWAIT`). What it leaves undone:
//!
//! - of a file in the page cache: a worker starts reading and leaves; who unlocks the page kicks
//!   (`IOCB_WAITQ`). In the submit call nothing is read ahead: that waits for tags and memory;
//! - on any other disk, is done by a worker, who may wait for it;
//! - on a file that can be polled (pipe, socket, tty), waits there for readiness;
//! - on any other file, is done by a worker.

use kernel::prelude::*;

use crate::{
    obj::{
        kiocb::{
            Kiocb,
            Transfer, //
        },
        op::{
            How,
            Now,
            Op,
            Verdict, //
        },
    },
    pure::args,
    sys::{
        errno,
        file::File,
        iocb::{
            self,
            Asked,
            Attempt,
            Cached,
            Called,
            Effort,
            NO_LIMIT, //
        },
        iov::Buffers,
        poll,
        request::{
            Active,
            Prepared, //
        },
        task,
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
            const PLEDGED: bool = $write;

            fn now(iocb: &Iocb, file: &File) -> Now {
                match $write || $vector {
                    true => Now::Unfit,
                    false => read_now(iocb, file),
                }
            }

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

/// Reads what is in the page cache.
fn read_now(iocb: &Iocb, file: &File) -> Now {
    let is_plain = iocb.aio_flags == 0 && iocb.aio_rw_flags == 0;
    if !is_plain || !file.reads_pages() || !file.readable() {
        return Now::Unfit;
    }
    let (addr, len, pos) = (
        iocb.aio_buf as usize,
        iocb.aio_nbytes as usize,
        iocb.aio_offset,
    );
    match iocb::read_cached(file, addr, len, pos) {
        Cached::Done(ret) if usize::try_from(ret) == Ok(len) => Now::Done(ret as i64),
        // It may be all that there is.
        Cached::Done(ret @ 0..) if file.at_eof(pos.saturating_add(ret as i64)) => {
            Now::Done(ret as i64)
        }
        Cached::Missed => Now::Missed,
        // A request reads it once more, and goes on from there.
        Cached::Done(_) | Cached::Unfit => Now::Unfit,
    }
}

/// The checks of `aio_prep_rw()` and `aio_read()`, in their order; [`import`] is the rest of them.
pub(super) fn check(
    iocb: &Iocb,
    req: &mut Prepared<Kiocb>,
    write: bool,
    has_method: impl FnOnce(&File) -> bool,
) -> Result<Asked> {
    let ioprio = req.data().submitter.ioprio();
    let asked = req.prep_iocb(iocb, write, ioprio)?;
    let kiocb = req.data();
    kiocb.submitter.set_ioprio(asked.ioprio);
    let file = &kiocb.ki_filp;
    let mode = match write {
        true => file.writable(),
        false => file.readable(),
    };
    if !mode {
        return Err(EBADF);
    }
    if !has_method(file) {
        return Err(EINVAL);
    }
    Ok(asked)
}

/// Reads where the buffers are.
#[inline]
pub(super) fn import(iocb: &Iocb, buffers: &mut Buffers, write: bool, vector: bool) -> Result {
    let (addr, len) = (iocb.aio_buf as usize, iocb.aio_nbytes as usize);
    match vector {
        true => buffers.import_vector(write, addr, len),
        false => buffers.import_single(write, addr, len),
    }
}

fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>, write: bool, vector: bool) -> Result {
    let asked = check(iocb, req, write, |file| match write {
        true => file.has_write(),
        false => file.has_read(),
    })?;
    let kiocb = req.data();
    let file = &kiocb.ki_filp;
    let plain = match write {
        true => file.plain_write(),
        false => file.plain_read(),
    };
    let transfer = kiocb.transfer.insert(Transfer {
        buffers: Buffers::none(),
        write,
        pos: iocb.aio_offset,
        flags: asked.flags,
        done: 0,
        impatient: asked.nowait() || file.of_task() || (file.nonblock() && !file.on_disk()),
        try_first: asked.try_first(),
        pages: asked.pages(),
        nowait: file.nowait() && !plain,
        tried: !write || !file.character(),
        effort: Effort::NoWait,
        pollable: file.pollable() && !file.on_disk(),
        ready: false,
        rounds: 0,
    });
    import(iocb, &mut transfer.buffers, write, vector)?;
    // `read_now` has asked just now.
    if !kiocb.missed {
        file.verify_area(write, iocb.aio_offset, transfer.buffers.len())?;
    }
    if asked.nowait() && plain {
        return Err(errno::not_supported());
    }
    kiocb.events = poll::events_for(write);
    Ok(())
}

/// What to do now.
enum Step {
    Call(Attempt),
    Park,
    Defer,
}

/// How far the next attempt may go; `Err` if none is to be made.
fn next_effort(kiocb: &mut Kiocb, how: How) -> Result<Effort, Step> {
    let may_try = kiocb.may_try(how);
    let file = &kiocb.ki_filp;
    let Some(transfer) = kiocb.transfer.as_mut() else {
        return Err(Step::Park);
    };
    let ready = core::mem::replace(&mut transfer.ready, false);
    if transfer.impatient {
        // O_NONBLOCK speaks to files that do not know IOCB_NOWAIT.
        return Ok(match transfer.nowait {
            true => Effort::NoWait,
            false => Effort::Wait,
        });
    }
    if transfer.pollable {
        // Whatever can wait for ever must not be waited for. A file that cannot be tried is touched
        // only when it says that it is ready, and not for long.
        return match (may_try, how, ready) {
            (true, _, _) => Ok(Effort::NoWait),
            (false, How::Work, _) if ready || !transfer.tried => {
                transfer.tried = true;
                Ok(Effort::Moment)
            }
            (false, _, _) if ready || !transfer.tried => Err(Step::Defer),
            (false, _, _) => Err(Step::Park),
        };
    }
    match how {
        How::Work if transfer.pages => Ok(Effort::Page),
        How::Work if file.on_disk() => Ok(Effort::Wait),
        How::Work => Ok(Effort::Moment),
        _ if transfer.pages => Ok(Effort::Cached),
        _ if transfer.nowait && transfer.try_first => Ok(Effort::NoWait),
        _ => Err(Step::Defer),
    }
}

fn next_step(kiocb: &mut Kiocb, how: How) -> Step {
    let effort = match next_effort(kiocb, how) {
        Ok(effort) => effort,
        Err(step) => return step,
    };
    let on_disk = kiocb.ki_filp.on_disk();
    let Some(transfer) = kiocb.transfer.as_mut() else {
        return Step::Park;
    };
    transfer.effort = effort;
    Step::Call(Attempt {
        pos: match on_disk {
            true => transfer.pos.saturating_add(transfer.done as i64),
            false => transfer.pos,
        },
        flags: transfer.flags,
        write: transfer.write,
        effort,
        fsize_limit: match how {
            // The file system looks at the caller's limit itself.
            How::Submit => NO_LIMIT,
            How::Kick | How::Work => kiocb.submitter.fsize_limit(),
        },
        resumed: transfer.done > 0,
    })
}

/// What an attempt's result means.
enum Outcome {
    Over(i64),
    /// Not ready.
    NotYet,
    /// Some of it is done and the rest is to be tried again.
    More,
    /// It is to be tried again in another way.
    Again,
}

/// The attempt could not be made without waiting, and is to be made again.
fn not_yet(transfer: &Transfer, ret: isize) -> bool {
    let nowait = matches!(transfer.effort, Effort::Cached | Effort::NoWait);
    !transfer.impatient
        && match ret as i64 {
            errno::EAGAIN => nowait || transfer.pollable,
            // What a disk says that cannot do without waiting. From a socket it is an answer.
            errno::EOPNOTSUPP => nowait && !transfer.pollable,
            errno::EINTR => transfer.effort == Effort::Moment,
            _ => false,
        }
}

fn judge(kiocb: &mut Kiocb, ret: isize, how: How) -> Outcome {
    let file = &kiocb.ki_filp;
    let Some(transfer) = kiocb.transfer.as_mut() else {
        return Outcome::Over(ret as i64);
    };
    let effort = transfer.effort;
    let rest = args::rest(transfer.buffers.len(), transfer.done);
    let at = |done: usize| transfer.pos.saturating_add(done as i64);
    if effort == Effort::Page && ret as i64 == errno::EAGAIN {
        // Nobody will unlock a page for us: not this file, or not now.
        transfer.pages = false;
        return Outcome::Again;
    }
    if not_yet(transfer, ret) {
        return Outcome::NotYet;
    }
    if effort == Effort::Cached && ret == 0 && rest > 0 && !file.at_eof(at(transfer.done)) {
        return Outcome::NotYet;
    }
    if ret <= 0 {
        if ret as i64 == errno::EPIPE && how != How::Submit {
            signal_broken_pipe(file, transfer);
        }
        return Outcome::Over(if transfer.done > 0 {
            transfer.done as i64
        } else {
            ret as i64
        });
    }
    transfer.rounds = 0;
    transfer.done = transfer.done.saturating_add(ret as usize);
    let over = Outcome::Over(transfer.done as i64);
    let waited = effort == Effort::Wait;
    if waited || transfer.impatient || args::rest(transfer.buffers.len(), transfer.done) == 0 {
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

/// A write without readers raises `SIGPIPE`, in whoever calls it: that was a kworker.
fn signal_broken_pipe(file: &File, transfer: &Transfer) {
    // Sockets say what they have done instead.
    let raises = file.sigpipe() && (file.fifo() || transfer.done == 0);
    if transfer.write && raises && transfer.flags & iocb::NOSIGNAL == 0 {
        task::signal_pipe();
    }
}

fn retry(mut req: Active<Kiocb>, how: How) -> Verdict {
    loop {
        let attempt = match next_step(req.data(), how) {
            Step::Call(attempt) => attempt,
            Step::Park => return park(req, how),
            Step::Defer => return Verdict::Defer(req),
        };
        let kiocb = req.data();
        let Some(transfer) = kiocb.transfer.as_ref() else {
            return Verdict::Done(req, errno::EINVAL);
        };
        let mut iter = transfer.buffers.rest(transfer.done);
        if how != How::Submit && (kiocb.ki_filp.on_disk() || !is_pollable(kiocb)) {
            // From here it may be in hardware, or wait for it.
            req.unlist();
            if req.is_cancelled() {
                return Verdict::Cancelled(req);
            }
        }
        let ret = match req.call(&attempt, &mut iter) {
            Called::Gone => return Verdict::Driver,
            Called::Done(back, ret) => {
                req = back;
                ret
            }
        };
        let pollable = is_pollable(req.data());
        match judge(req.data(), ret, how) {
            Outcome::Over(res) => return Verdict::Done(req, res),
            Outcome::NotYet if pollable => return park(req, how),
            // It got its turn, was interrupted, and nobody is left to hear of it.
            Outcome::NotYet if how == How::Work && req.view().place.ctx().is_dead() => {
                return Verdict::Cancelled(req);
            }
            Outcome::NotYet => return Verdict::Defer(req),
            Outcome::More if pollable => {}
            // Where it may wait it goes on; elsewhere that would be to wait.
            Outcome::More if how == How::Work => {}
            Outcome::More => return Verdict::Defer(req),
            Outcome::Again => {}
        }
        if req.is_cancelled() {
            return Verdict::Cancelled(req);
        }
    }
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
