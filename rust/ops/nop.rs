// SPDX-License-Identifier: GPL-2.0

//! NOOP: completes at once with 0.
//!
//! The opcode is `IOCB_CMD_NOOP`, which mainline defines and refuses. The operation shows what
//! submission and completion cost, and whether they work.

use kernel::prelude::*;

use crate::ctx::{
    kioctx::Kioctx,
    op::prelude::*, //
};

pub(super) struct Nop;

fn is_valid(iocb: &Iocb) -> bool {
    let unused = iocb.aio_buf | iocb.aio_nbytes | iocb.aio_offset as u64;
    unused == 0 && iocb.aio_rw_flags == 0
}

impl Op for Nop {
    const OPCODE: u16 = uapi::NOOP;
    const NEEDS_FILE_TRAITS: bool = false;

    fn try_inline(iocb: &Iocb, _file: &File, _ctx: &Kioctx) -> FastPath {
        match is_valid(iocb) {
            true => FastPath::Done(0),
            false => FastPath::Unsupported,
        }
    }

    fn prep(iocb: &Iocb, _req: &mut Prepared<Kiocb>) -> Result {
        match is_valid(iocb) {
            true => Ok(()),
            false => Err(EINVAL),
        }
    }

    fn issue(req: Active<Kiocb>, _context: IssueContext) -> Verdict {
        Verdict::Done(req, 0)
    }
}
