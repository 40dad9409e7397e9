// SPDX-License-Identifier: GPL-2.0

//! PREAD, PWRITE, PREADV, PWRITEV of files that have a provider (`include/linux/kaio.h`): another
//! module's methods do them. The one place where the core learns of providers.

use kernel::prelude::*;

use crate::{
    obj::{
        kiocb::Kiocb,
        op::{
            How,
            Op,
            OpDef,
            Verdict, //
        },
    },
    ops::rw,
    sys::{
        errno,
        file::File,
        iov::Buffers,
        provider::{
            self,
            Attempted,
            Given,
            Provided, //
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

macro_rules! provided {
    ($($name:ident: $opcode:expr, write: $write:expr, vector: $vector:expr;)*) => {
        $(
            struct $name;

            impl Op for $name {
                const OPCODE: u16 = $opcode;

                fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>) -> Result {
                    prep(iocb, req, $write, $vector)
                }

                fn retry(req: Active<Kiocb>, _how: How) -> Verdict {
                    retry(req)
                }

                fn driver_done(req: Active<Kiocb>, ret: isize) -> Verdict {
                    Verdict::Done(req, errno::of_event(ret as i64))
                }
            }
        )*

        static OPS: &[(OpDef, bool)] = &[$((OpDef::of::<$name>(), $write),)*];
    };
}

provided! {
    Pread: uapi::PREAD, write: false, vector: false;
    Preadv: uapi::PREADV, write: false, vector: true;
    Pwrite: uapi::PWRITE, write: true, vector: false;
    Pwritev: uapi::PWRITEV, write: true, vector: true;
}

/// The operation, if it is a provider's.
pub(super) fn find(opcode: u16, file: &File) -> Option<&'static OpDef> {
    if !provider::any() {
        return None;
    }
    let (op, write) = OPS.iter().find(|(op, _)| op.opcode == opcode)?;
    provider::serves(file, *write).then_some(op)
}

fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>, write: bool, vector: bool) -> Result {
    // The file operations need not have the method.
    let asked = rw::check(iocb, req, write, |_| true)?;
    let kiocb = req.data();
    let mut buffers = Buffers::none();
    rw::import(iocb, &mut buffers, write, vector)?;
    kiocb
        .ki_filp
        .verify_area(write, iocb.aio_offset, buffers.len())?;
    let given = Given {
        buffers,
        write,
        opcode: iocb.aio_lio_opcode,
        user_data: iocb.aio_data,
        pos: iocb.aio_offset,
        flags: asked.flags,
        ioprio: kiocb.submitter.ioprio(),
    };
    kiocb.provider = Some(Provided::new::<Kiocb>(&kiocb.ki_filp, given)?);
    Ok(())
}

fn retry(req: Active<Kiocb>) -> Verdict {
    let kiocb = req.view();
    let Some(provider) = kiocb.provider.as_ref().map(Provided::again) else {
        return Verdict::Done(req, errno::EINVAL);
    };
    match provider.attempt(req) {
        Attempted::Done(req, res) => done(req, res),
        // It is not to wait.
        Attempted::Wait(req) if req.view().ki_filp.nonblock() || provider.nowait() => {
            done(req, errno::EAGAIN)
        }
        Attempted::Wait(req) => Verdict::Park(req),
        Attempted::Gone => Verdict::Driver,
    }
}

/// What was moved counts more than why the rest was not.
fn done(req: Active<Kiocb>, res: i64) -> Verdict {
    let moved = req.view().provider.as_ref().map_or(0, Provided::done);
    match res {
        res if res < 0 && moved > 0 => Verdict::Done(req, moved),
        res => Verdict::Done(req, errno::of_event(res)),
    }
}
