// SPDX-License-Identifier: GPL-2.0

//! FSYNC, FDSYNC: `aio_fsync()` of fs/aio.c. A worker does it; once submitted it is done.

use kernel::prelude::*;

use crate::{
    obj::{
        kiocb::Kiocb,
        op::{
            How,
            Op,
            Verdict, //
        },
    },
    sys::{
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

macro_rules! syncs {
    ($($name:ident: $opcode:expr, data_only: $data_only:expr;)*) => {$(
        pub(super) struct $name;

        impl Op for $name {
            const OPCODE: u16 = $opcode;
            const PLEDGED: bool = true;

            fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>) -> Result {
                prep(iocb, req)
            }

            fn retry(req: Active<Kiocb>, how: How) -> Verdict {
                retry(req, how, $data_only)
            }
        }
    )*};
}

syncs! {
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

fn retry(mut req: Active<Kiocb>, how: How, data_only: bool) -> Verdict {
    if how != How::Work {
        return Verdict::Defer(req);
    }
    // From here it waits for the disk; the writes that were before it are done.
    req.withdraw();
    let res = req.data().ki_filp.fsync(data_only);
    Verdict::Done(req, res)
}
