// SPDX-License-Identifier: LGPL-2.1-or-later

//! What C programs already use, on `/dev/kaio`: libaio's ABI, raw AIO system calls, POSIX AIO.
//!
//! The crate becomes one archive, from which scripts/lib links the shared objects; lib/README.md
//! says which. Nothing is done when one is loaded. From the ground up:
//!
//! - `user`: memory that a caller names; `lock`; `policy`: what happens without a device.
//! - `contexts`, `process`: what this process has; a fork takes it away.
//! - `events`: taking events from the ring. `aio`: the six system calls.
//! - `libaio`, `interpose`: the two ways to make them.
//! - `posix`: stands beside them, with contexts of its own.
//!
//! But in `posix` nothing panics, allocates or needs the standard library. Without the feature of
//! that name the crate proves it: see `must_not_panic`.

#![cfg_attr(not(feature = "posix"), no_std)]

mod aio;
mod contexts;
mod events;
mod interpose;
mod libaio;
mod lock;
#[cfg(not(feature = "posix"))]
mod must_not_panic;
mod policy;
mod process;
mod user;

#[cfg(feature = "posix")]
pub mod posix;
