// SPDX-License-Identifier: GPL-2.0

//! NOOP (`IOCB_CMD_NOOP`, which mainline defines and refuses): completes at once with 0. It shows
//! what the machinery costs, and whether it works.

use kernel::prelude::*;

use crate::{
    obj::{
        kiocb::Kiocb,
        op::{
            How,
            Now,
            Op,
            Verdict, //
        },
    },
    sys::{
        file::File,
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

pub(super) struct Nop;

fn is_valid(iocb: &Iocb) -> bool {
    let unused = iocb.aio_buf | iocb.aio_nbytes | iocb.aio_offset as u64;
    unused == 0 && iocb.aio_rw_flags == 0
}

impl Op for Nop {
    const OPCODE: u16 = uapi::NOOP;
    const LOOKS_AT_FILE: bool = false;

    fn now(iocb: &Iocb, _file: &File) -> Now {
        match is_valid(iocb) {
            true => Now::Done(0),
            false => Now::Unfit,
        }
    }

    fn prep(iocb: &Iocb, _req: &mut Prepared<Kiocb>) -> Result {
        match is_valid(iocb) {
            true => Ok(()),
            false => Err(EINVAL),
        }
    }

    fn retry(req: Active<Kiocb>, _how: How) -> Verdict {
        Verdict::Done(req, 0)
    }
}
