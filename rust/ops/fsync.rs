// SPDX-License-Identifier: GPL-2.0

//! FSYNC and FDSYNC.
//!
//! The counterpart of `aio_fsync()` of fs/aio.c. Invariants: a worker makes the attempt, since the
//! attempt waits for the disk. A submitted fsync is made even if its context ends, and it comes
//! after the writes of its file that are queued before it.

use kernel::prelude::*;

use crate::ctx::op::prelude::*;

macro_rules! fsync_ops {
    ($($name:ident: $opcode:expr, data_only: $data_only:expr;)*) => {$(
        pub(super) struct $name;

        impl Op for $name {
            const OPCODE: u16 = $opcode;
            const KIND: Kind = Kind::Sync;

            fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>) -> Result {
                prep(iocb, req)
            }

            fn issue(req: Active<Kiocb>, context: IssueContext) -> Verdict {
                issue(req, context, $data_only)
            }
        }
    )*};
}

fsync_ops! {
    Fsync: uapi::FSYNC, data_only: false;
    Fdsync: uapi::FDSYNC, data_only: true;
}

fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>) -> Result {
    let unused = iocb.aio_buf | iocb.aio_nbytes | iocb.aio_offset as u64;
    if unused != 0 || iocb.aio_rw_flags != 0 || !req.data().ki_filp.has_fsync() {
        return Err(EINVAL);
    }
    Ok(())
}

fn issue(mut req: Active<Kiocb>, context: IssueContext, data_only: bool) -> Verdict {
    if context != IssueContext::Work {
        return Verdict::Punt(req);
    }
    // From here on the attempt waits for the disk, so the request can neither be cancelled nor hold
    // up others. The writes that were queued before it are done.
    req.withdraw();
    let res = req.data().ki_filp.fsync(data_only);
    Verdict::Done(req, res)
}
