// SPDX-License-Identifier: GPL-2.0

//! Tries transfers before there is a request, or as a light request.
//!
//! fs/aio.c has no counterpart. Invariant: an attempt here waits for nothing, and leaves the errno
//! of a wrong argument to the checks of a full request.

use crate::{
    ctx::{
        kiocb::COPY_EACH,
        op::FastPath, //
    },
    request::{
        issue::{
            self,
            Cached, //
        },
        light::LightTransfer, //
    },
    sys::{
        file::File,
        iov::{
            self,
            MAX_LEN, //
        },
        uapi::{
            self,
            Iocb, //
        },
    },
};

/// Reads from the page cache, if all that is to be read is there.
pub(super) fn read_inline(iocb: &Iocb, file: &File) -> FastPath {
    let is_plain = iocb.aio_flags == 0 && iocb.aio_rw_flags == 0;
    if !is_plain || !file.reads_pages() || !file.readable() {
        return FastPath::Unsupported;
    }
    let (addr, len, pos) = (
        iocb.aio_buf as usize,
        iocb.aio_nbytes as usize,
        iocb.aio_offset,
    );
    if len > COPY_EACH {
        return FastPath::Unsupported;
    }
    match issue::read_cached(file, addr, len, pos) {
        Cached::Done(ret) if usize::try_from(ret) == Ok(len) => FastPath::Copied(ret as i64),
        // The file may end here.
        Cached::Done(ret @ 0..) if file.at_eof(pos.saturating_add(ret as i64)) => {
            FastPath::Copied(ret as i64)
        }
        Cached::WouldBlock => FastPath::WouldBlock,
        // A full request reads the data once more, and goes on from there.
        Cached::Done(_) | Cached::Unsupported => FastPath::Unsupported,
    }
}

/// Returns the transfer of an iocb that may be a light request: O_DIRECT with one buffer and no
/// flags, of a file that may be asked at once. QEMU gives most of its transfers as a vector of one
/// segment.
#[inline]
pub(super) fn light(iocb: &Iocb, file: &File, write: bool, vector: bool) -> Option<LightTransfer> {
    let is_plain = iocb.aio_flags & !uapi::IOCB_FLAG_RESFD == 0 && iocb.aio_rw_flags == 0;
    if !is_plain || !file.tries_on_disk(write) {
        return None;
    }
    let flags = file.iocb_flags();
    if flags & (issue::DIRECT | issue::APPEND) != issue::DIRECT {
        return None;
    }
    let (addr, len) = match (vector, iocb.aio_nbytes) {
        (false, len) => (iocb.aio_buf as usize, len as usize),
        (true, 1) => iov::only_segment(iocb.aio_buf as usize)?,
        (true, _) => return None,
    };
    Some(LightTransfer {
        addr,
        len: len.min(MAX_LEN),
        pos: iocb.aio_offset,
        flags,
        write,
    })
}
