// SPDX-License-Identifier: LGPL-2.1-or-later

//! The C interfaces to AIO on `/dev/kaio`: libaio's ABI, raw AIO system calls and POSIX AIO.
//!
//! The crate becomes one archive, from which scripts/lib links the shared objects; lib/README.md
//! lists them. The modules from the bottom up:
//!
//! - `user`: checked access to memory that a caller names; `futex`; `descriptor`; `lock`; `policy`:
//!   what happens without a device.
//! - `contexts`, `process`: the state of this process, which a fork clears.
//! - `events`: taking events from the ring. `aio`: the six system calls.
//! - `libaio`, `interpose`: the two interfaces to these calls. `load`: runs when a library is
//!   loaded.
//! - `posix`: POSIX AIO, with contexts of its own. `unwind`: a function for the standard library.
//!
//! Outside of `posix` no code panics, allocates or needs the standard library. A build without the
//! feature of that name proves that: see `must_not_panic`.

#![cfg_attr(not(feature = "posix"), no_std)]

/// Assembly code: an entry point that a program can jump to (`endbr64`), and a jump from there to
/// `{function}`.
#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    () => {
        "endbr64\njmp {function}"
    };
}

/// Assembly code: an entry point that a program can jump to (`bti c`), and a jump from there to
/// `{function}`.
#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    () => {
        "hint #34\nb {function}"
    };
}

mod aio;
mod contexts;
mod descriptor;
mod events;
mod futex;
mod interpose;
mod libaio;
mod load;
mod lock;
#[cfg(not(feature = "posix"))]
mod must_not_panic;
mod policy;
mod process;
#[cfg(feature = "posix")]
mod unwind;
mod user;

#[cfg(feature = "posix")]
pub mod posix;
