// SPDX-License-Identifier: GPL-2.0

//! PREAD, PWRITE, PREADV, PWRITEV of files that have a provider (`include/linux/kaio.h`): methods
//! of another module make the attempts.
//!
//! The counterpart of `ki_retry` of the classic fs/aio.c, which drivers could set. Invariant: this
//! is the only operation that has a provider in the shared part of its request.

use kernel::prelude::*;

use super::rw::prep;
use crate::{
    ctx::op::{
        prelude::*,
        OpDef, //
    },
    provider::{
        self,
        attempt::Attempted,
        iocb::{
            ProviderArgs,
            ProviderRef, //
        },
    },
    sys::{
        errno,
        iov::Buffers, //
    },
};

macro_rules! provider_ops {
    ($($name:ident: $opcode:expr, write: $write:expr, vector: $vector:expr;)*) => {
        $(
            struct $name;

            impl Op for $name {
                const OPCODE: u16 = $opcode;

                fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>) -> Result {
                    prep(iocb, req, $write, $vector)
                }

                fn issue(req: Active<Kiocb>, _context: IssueContext) -> Verdict {
                    issue(req)
                }

                fn driver_done(req: Active<Kiocb>, ret: isize) -> Verdict {
                    Verdict::Done(req, errno::of_event(ret as i64))
                }
            }
        )*

        static OPS: &[(OpDef, bool)] = &[$((OpDef::of::<$name>(), $write),)*];
    };
}

provider_ops! {
    Pread: uapi::PREAD, write: false, vector: false;
    Preadv: uapi::PREADV, write: false, vector: true;
    Pwrite: uapi::PWRITE, write: true, vector: false;
    Pwritev: uapi::PWRITEV, write: true, vector: true;
}

/// Returns the operation, if a provider serves such requests of the file.
pub(super) fn find(opcode: u16, file: &File) -> Option<&'static OpDef> {
    if !provider::any() {
        return None;
    }
    let (op, write) = OPS.iter().find(|(op, _)| op.opcode == opcode)?;
    provider::serves(file, *write).then_some(op)
}

fn prep(iocb: &Iocb, req: &mut Prepared<Kiocb>, write: bool, vector: bool) -> Result {
    // The file operations need not have the method, since the provider has its own.
    let asked = prep::check(iocb, req, write, |_| true)?;
    let kiocb = req.data();
    let mut buffers = Buffers::none();
    prep::import(iocb, &mut buffers, write, vector)?;
    kiocb
        .ki_filp
        .verify_area(write, iocb.aio_offset, buffers.len())?;
    let args = ProviderArgs {
        iocb,
        buffers,
        write,
        flags: asked.flags,
        ioprio: kiocb.submitter.ioprio(),
    };
    let provider = ProviderRef::new(&kiocb.ki_filp, args)?;
    req.shared_mut().provider = Some(provider);
    Ok(())
}

fn issue(req: Active<Kiocb>) -> Verdict {
    let Some(provider) = req.shared().provider.clone() else {
        return Verdict::Done(req, errno::EINVAL);
    };
    match provider.attempt(req) {
        Attempted::Done(req, res) => done(req, res),
        // The request must not wait.
        Attempted::Wait(req) if req.view().ki_filp.nonblock() || provider.nowait() => {
            done(req, errno::EAGAIN)
        }
        Attempted::Wait(req) => Verdict::Park(req),
        Attempted::Queued => Verdict::Queued,
    }
}

/// Ends a request. The bytes that it has moved count more than the error that stopped it.
fn done(req: Active<Kiocb>, res: i64) -> Verdict {
    let moved = req.shared().provider.as_ref().map_or(0, ProviderRef::done);
    match res {
        res if res < 0 && moved > 0 => Verdict::Done(req, moved),
        res => Verdict::Done(req, errno::of_event(res)),
    }
}
