// SPDX-License-Identifier: GPL-2.0

//! io_submit(2): iocbs become requests and start.
//!
//! The order of the checks is that of `io_submit_one()` of fs/aio.c, errno by errno.

use kernel::{
    prelude::*,
    sync::Arc,
    uaccess::UserPtr, //
};

use crate::{
    exec,
    obj::{
        kiocb::{
            Kiocb,
            Slot, //
        },
        kioctx::Kioctx,
        op::How,
    },
    ops,
    pure::args,
    sys::{
        eventfd::EventFd,
        file::File,
        lease::Lease,
        request::Prepared,
        submitter::Submitter,
        uapi::{
            self,
            Iocb, //
        },
        user, //
    },
};

/// Starts up to `nr` requests; returns how many, and why not the next one.
pub(crate) fn submit(ctx: &Arc<Kioctx>, iocbpp: UserPtr, nr: i64, compat: bool) -> (u64, Result) {
    let nr = u64::try_from(nr).unwrap_or(0);
    let nr = nr.min(u64::from(ctx.ring().geometry().nr()));
    for k in 0..nr {
        let iocb = read_pointer(iocbpp, k as usize, compat);
        if let Err(e) = iocb.and_then(|iocb| submit_one(ctx, iocb)) {
            return (k, Err(e));
        }
    }
    (nr, Ok(()))
}

/// The caller's pointer number `k`, which is as wide as its pointers are.
fn read_pointer(iocbpp: UserPtr, k: usize, compat: bool) -> Result<usize> {
    if compat {
        let iocb: u32 = user::read(iocbpp.wrapping_byte_add(k * size_of::<u32>()))?;
        Ok(iocb as usize)
    } else {
        let iocb: u64 = user::read(iocbpp.wrapping_byte_add(k * size_of::<u64>()))?;
        Ok(iocb as usize)
    }
}

fn submit_one(ctx: &Arc<Kioctx>, uiocb: usize) -> Result {
    let iocb: Iocb = user::read(UserPtr::from_addr(uiocb))?;
    if iocb.aio_reserved2 != 0 || !args::iocb_len_ok(iocb.aio_nbytes) {
        return Err(EINVAL);
    }
    // A context that was killed meanwhile is like one that was never there.
    let lease = Lease::new(ctx).filter(|ctx| !ctx.is_dead()).ok_or(EINVAL)?;
    let slot = Slot::reserve(lease)?;
    let file = File::get(iocb.aio_fildes)?;
    let eventfd = if iocb.aio_flags & uapi::IOCB_FLAG_RESFD != 0 {
        Some(EventFd::get(iocb.aio_resfd)?)
    } else {
        None
    };
    let key = UserPtr::from_addr(uiocb).wrapping_byte_add(core::mem::offset_of!(Iocb, aio_key));
    user::write(key, &uapi::KIOCB_KEY)?;

    let op = ops::find(iocb.aio_lio_opcode).ok_or(EINVAL)?;
    let kiocb = Kiocb {
        ki_op: op,
        ki_filp: file,
        ki_eventfd: eventfd,
        submitter: Submitter::current(),
        users: None,
        transfer: None,
        events: 0,
        ki_res: uapi::IoEvent {
            data: iocb.aio_data,
            obj: uiocb as u64,
            res: 0,
            res2: 0,
        },
        slot,
    };
    let mut req = Prepared::new(uiocb as u64, kiocb)?;
    (op.prep)(&iocb, &mut req)?;

    ctx.table().stats.submitted();
    exec::run(req.start(), How::Submit);
    Ok(())
}
