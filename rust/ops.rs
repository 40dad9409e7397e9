// SPDX-License-Identifier: GPL-2.0

//! The table of operations. A new one is a file in `ops/` and a line here.

use crate::{
    obj::op::OpDef,
    sys::file::File, //
};

mod fsync;
mod nop;
mod poll;
mod provider;
mod rw;

macro_rules! op_table {
    ($($op:ty,)*) => {
        static OPS: &[OpDef] = &[$(OpDef::of::<$op>(),)*];

        /// Bit N: `aio_lio_opcode` N is known. A double one does not build.
        pub(crate) const OPCODES: u64 = {
            let mut seen = 0u64;
            $(
                let bit = 1u64 << <$op as crate::obj::op::Op>::OPCODE;
                assert!(seen & bit == 0);
                seen |= bit;
            )*
            seen
        };

        /// Where in `OPS` an opcode is.
        static INDEX: [Option<u8>; 64] = {
            let mut index = [None; 64];
            let mut next = 0;
            $(
                index[<$op as crate::obj::op::Op>::OPCODE as usize] = Some(next);
                next += 1;
            )*
            let _ = next;
            index
        };
    };
}

op_table! {
    fsync::Fsync,
    fsync::Fdsync,
    nop::Nop,
    poll::Poll,
    rw::Pread,
    rw::Preadv,
    rw::Pwrite,
    rw::Pwritev,
}

/// The operation of an opcode.
pub(crate) fn find(opcode: u16) -> Option<&'static OpDef> {
    let index = (*INDEX.get(usize::from(opcode))?)?;
    OPS.get(usize::from(index))
}

/// Likewise, or that of the file's provider.
pub(crate) fn find_for(opcode: u16, file: &File) -> Option<&'static OpDef> {
    provider::find(opcode, file).or_else(|| find(opcode))
}
