// SPDX-License-Identifier: LGPL-2.1-or-later

//! The boundary: all that memory safety rests on, and all `unsafe` of this crate.
//!
//! The one promise: **memory that a request names stays where it is, and nobody touches it, until
//! the event of the request was taken or the context was destroyed.** It is kept by ownership. A
//! [`Request`](request::Request) owns its buffer and never shows it before it is complete; from
//! before its submission until its event was taken the table of its [`Flight`](flight::Flight)
//! holds a reference to it. Handles hold others, but no promise rests on their destructors: to
//! forget a handle leaks, and no more.

pub(crate) mod buffer;
pub(crate) mod flight;
mod kernel;
pub(crate) mod request;
