// SPDX-License-Identifier: GPL-2.0

//! Tries transfers before there is a request, or as a light request.
//!
//! fs/aio.c has no counterpart. Invariant: an attempt here is made only if nothing is known for
//! which it would wait, and it leaves the errno of a wrong argument to the checks of a full request.

use crate::{
    ctx::{
        kiocb::COPY_EACH,
        kioctx::Kioctx,
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

/// The buffer of a transfer with one buffer.
struct OneBuffer {
    addr: usize,
    len: usize,
}

/// Returns the buffer of an iocb that has one. QEMU gives most of its transfers as a vector of one
/// segment.
#[inline(always)]
fn one_buffer(iocb: &Iocb, vector: bool) -> Option<OneBuffer> {
    let (addr, len) = match (vector, iocb.aio_nbytes) {
        (false, len) => (iocb.aio_buf as usize, len as usize),
        (true, 1) => iov::only_segment(iocb.aio_buf as usize)?,
        (true, _) => return None,
    };
    Some(OneBuffer { addr, len })
}

/// Returns whether the transfer has no flags, except that an eventfd may count its completion.
#[inline(always)]
fn is_plain(iocb: &Iocb) -> bool {
    iocb.aio_flags & !uapi::IOCB_FLAG_RESFD == 0 && iocb.aio_rw_flags == 0
}

/// Returns the buffer of an iocb whose bytes the submit call may copy.
#[inline(always)]
fn buffer_to_copy(iocb: &Iocb, vector: bool) -> Option<OneBuffer> {
    if !is_plain(iocb) {
        return None;
    }
    one_buffer(iocb, vector).filter(|buffer| buffer.len <= COPY_EACH)
}

/// Reads what is in memory, if all that is to be read is there.
pub(super) fn read_inline(iocb: &Iocb, file: &File, vector: bool) -> FastPath {
    let by_pages = file.reads_pages();
    if !by_pages && !file.reads_memory() {
        return FastPath::Unsupported;
    }
    let Some(OneBuffer { addr, len }) = buffer_to_copy(iocb, vector).filter(|_| file.readable())
    else {
        return FastPath::Unsupported;
    };
    let pos = iocb.aio_offset;
    let cached = match by_pages {
        true => issue::read_cached(file, addr, len, pos),
        false => issue::transfer_in_memory(file, addr, len, pos, false),
    };
    match cached {
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

/// Writes to the page cache, if that needs nothing but memory and no earlier write to the file is
/// left to a worker.
#[inline]
pub(super) fn write_inline(iocb: &Iocb, file: &File, vector: bool, ctx: &Kioctx) -> FastPath {
    match file.writes_memory() {
        true => write_in_memory(iocb, file, vector, ctx),
        false => FastPath::Unsupported,
    }
}

/// Does what [`write_inline`] says. A function of its own, so that a direct write does not pay for
/// its stack frame.
#[inline(never)]
fn write_in_memory(iocb: &Iocb, file: &File, vector: bool, ctx: &Kioctx) -> FastPath {
    if ctx.has_writes_in_line(file.identity()) {
        return FastPath::Unsupported;
    }
    let Some(OneBuffer { addr, len }) = buffer_to_copy(iocb, vector) else {
        return FastPath::Unsupported;
    };
    match issue::transfer_in_memory(file, addr, len, iocb.aio_offset, true) {
        // The write has had its effects, such as SIGXFSZ, so its result is final.
        Cached::Done(ret @ 0..) => FastPath::Copied(ret as i64),
        Cached::Done(ret) => FastPath::Done(ret as i64),
        Cached::WouldBlock => FastPath::WouldBlock,
        Cached::Unsupported => FastPath::Unsupported,
    }
}

/// Returns the transfer of an iocb that may be a light request: O_DIRECT with one buffer and no
/// flags, of a file that may be asked at once.
#[inline]
pub(super) fn light(iocb: &Iocb, file: &File, write: bool, vector: bool) -> Option<LightTransfer> {
    if !is_plain(iocb) || !file.tries_on_disk(write) {
        return None;
    }
    let flags = file.iocb_flags();
    if flags & (issue::DIRECT | issue::APPEND) != issue::DIRECT {
        return None;
    }
    let OneBuffer { addr, len } = one_buffer(iocb, vector)?;
    Some(LightTransfer {
        addr,
        len: len.min(MAX_LEN),
        pos: iocb.aio_offset,
        flags,
        write,
    })
}
