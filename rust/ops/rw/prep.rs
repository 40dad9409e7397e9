// SPDX-License-Identifier: GPL-2.0

//! Prepares transfers: the checks of their arguments, in the order of fs/aio.c, and how each of them
//! waits if it must.

use kernel::prelude::*;

use crate::{
    ctx::{
        kiocb::Kiocb,
        transfer::{
            Readiness,
            Strategy,
            Transfer, //
        },
    },
    request::{
        issue::{
            Asked,
            IssueMode, //
        },
        token::Prepared, //
    },
    sys::{
        errno,
        file::File,
        iov::Buffers,
        poll,
        uapi::Iocb, //
    },
};

/// Makes the checks of `aio_prep_rw()` and `aio_read()`, in their order; [`import`] makes the rest.
///
/// # Errors
///
/// `EBADF` if the file was not opened for this; `EINVAL` if it has no such method; `EOPNOTSUPP` for
/// an unknown flag; `EPERM` or `EINVAL` for an I/O priority.
pub(in crate::ops) fn check(
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

/// Reads the addresses and lengths of the buffers. `EFAULT` or `EINVAL`.
#[inline]
pub(in crate::ops) fn import(
    iocb: &Iocb,
    buffers: &mut Buffers,
    write: bool,
    vector: bool,
) -> Result {
    let (addr, len) = (iocb.aio_buf as usize, iocb.aio_nbytes as usize);
    match vector {
        true => buffers.import_vector(write, addr, len),
        false => buffers.import_single(write, addr, len),
    }
}

pub(super) fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>, write: bool, vector: bool) -> Result {
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
        strategy: strategy_for(file, &asked, write),
        nowait: file.nowait() && !plain,
        mode: IssueMode::NoWait,
        rounds: 0,
    });
    import(iocb, &mut transfer.buffers, write, vector)?;
    // The fast path has just asked for the same area. But a program may have changed a vector
    // meanwhile.
    if !kiocb.would_block || vector {
        file.verify_area(write, iocb.aio_offset, transfer.buffers.len())?;
    }
    if asked.nowait() && plain {
        return Err(errno::not_supported());
    }
    kiocb.events = poll::events_for(write);
    Ok(())
}

/// Returns how a transfer waits. It gets one attempt if only the submitter may make it, or if it is not
/// to wait. It waits by poll if its file may never be ready, and for a page if the file system has the
/// unlocking of the page kick it. Otherwise a worker waits for it.
fn strategy_for(file: &File, asked: &Asked, write: bool) -> Strategy {
    let one_attempt =
        asked.nowait() || file.is_the_submitters(write) || (file.nonblock() && !file.on_disk());
    if one_attempt {
        return Strategy::Once;
    }
    if file.pollable() && !file.on_disk() {
        return Strategy::Poll(match write && file.character() {
            true => Readiness::Untried,
            false => Readiness::NotReady,
        });
    }
    match asked.pages() {
        true => Strategy::Pages,
        false => Strategy::Worker {
            try_first: asked.try_first() && file.keeps_nowait(write),
        },
    }
}
