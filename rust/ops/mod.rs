// SPDX-License-Identifier: GPL-2.0

//! The table of operations. A new operation is a file in `ops/` and a line in the table.
//!
//! The counterpart of the switch in `__io_submit_one()` of fs/aio.c. Invariant: no two operations
//! of the table have the same opcode, which the build checks.

use crate::{
    ctx::op::OpDef,
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

        /// Bit N says that the `aio_lio_opcode` N is known. Two operations with one opcode do not
        /// build.
        pub(crate) const OPCODES: u64 = {
            let mut seen = 0u64;
            $(
                let bit = 1u64 << <$op as crate::ctx::op::Op>::OPCODE;
                assert!(seen & bit == 0);
                seen |= bit;
            )*
            seen
        };

        /// The operation of each opcode.
        static INDEX: [Option<&OpDef>; 64] = {
            let mut index = [None; 64];
            let mut next = 0;
            $(
                index[<$op as crate::ctx::op::Op>::OPCODE as usize] = Some(&OPS[next]);
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

/// Returns the operation of an opcode.
pub(crate) fn find(opcode: u16) -> Option<&'static OpDef> {
    // The index is masked and not compared with the length of the table, so that a CPU cannot
    // speculate past a comparison (array_index_nospec() is for tables with a comparison).
    let op = INDEX[usize::from(opcode) % INDEX.len()]?;
    // Opcodes with the same low bits share a place in the table.
    (op.opcode == opcode).then_some(op)
}

/// Returns the operation of the file's provider, or else that of the opcode.
pub(crate) fn find_for(opcode: u16, file: &File) -> Option<&'static OpDef> {
    provider::find(opcode, file).or_else(|| find(opcode))
}
