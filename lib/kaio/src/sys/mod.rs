// SPDX-License-Identifier: LGPL-2.1-or-later

//! All `unsafe` code of this crate, and the invariant on which its memory safety rests.
//!
//! The invariant: **memory that a request names stays at its address, and no code accesses it,
//! until the event of the request was taken or the context was destroyed.** Ownership keeps it. A
//! [`Request`](request::Request) owns its buffer and gives it out only when the request is
//! complete. The table of its [`SharedContext`](shared_context::SharedContext) holds a reference to
//! the request from before its submission until its event was taken. The handles of the program
//! hold further references, but the invariant does not depend on their destructors: a forgotten
//! handle leaks memory, and nothing worse.

pub(crate) mod buffer;
#[cfg(feature = "bytes")]
mod bytes;
mod process;
mod raw_context;
pub(crate) mod request;
pub(crate) mod shared_context;
