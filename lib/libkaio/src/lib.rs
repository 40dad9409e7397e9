// SPDX-License-Identifier: LGPL-2.1-or-later

//! The C libraries: libaio's ABI, `syscall()`, POSIX AIO.

pub mod posix;
