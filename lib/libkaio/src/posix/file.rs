// SPDX-License-Identifier: LGPL-2.1-or-later

//! The file to which a descriptor refers.

use core::ffi::c_int;

use crate::descriptor;

/// The file to which a descriptor referred when a request was made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    pub(super) fd: i32,
    /// Device and inode.
    pub(super) identity: (u32, u32, u64),
    /// Set for a pipe, a socket or a terminal: reads that wait for such a file are served in the
    /// order in which they came.
    pub(super) ordered: bool,
    pub(super) socket: bool,
    pub(super) directory: bool,
}

impl File {
    /// Returns the file to which a descriptor refers, as far as this machine knows it without
    /// asking a server or daemon: one that does not answer must not block the call.
    pub(super) fn of(fd: c_int) -> Self {
        let stat = descriptor::status(fd);
        let is_a = |kind| libc::mode_t::from(stat.stx_mode) & libc::S_IFMT == kind;
        let is_plain = is_a(libc::S_IFREG) || is_a(libc::S_IFBLK) || is_a(libc::S_IFDIR);
        Self {
            fd,
            identity: (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino),
            // SAFETY: lseek() by 0 bytes from the current position changes nothing and takes no
            // pointer.
            ordered: !is_plain && unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) } < 0,
            socket: is_a(libc::S_IFSOCK),
            directory: is_a(libc::S_IFDIR),
        }
    }
}
