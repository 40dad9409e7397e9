// SPDX-License-Identifier: LGPL-2.1-or-later

//! Asynchronous I/O through `/dev/kaio`: a thin, safe layer.
//!
//! A [`Context`] takes requests and never waits for what they ask for. A request owns its buffer
//! until it is complete, and its [`Pending`] gives both back, the result and the buffer: by
//! [`Pending::wait`], which blocks, or as a [`Future`].
//!
//! ```no_run
//! use kaio::{Context, Op};
//!
//! # fn main() -> std::io::Result<()> {
//! let context = Context::new(64)?;
//! let file = std::fs::File::open("/etc/os-release")?;
//!
//! let pending = context.submit(Op::read(&file, vec![0; 4096], 0));
//! let (result, buf) = pending.wait();
//! print!("{}", String::from_utf8_lossy(&buf[..result?]));
//! # Ok(())
//! # }
//! ```
//!
//! # Who owns what
//!
//! - **Buffers.** A request owns its buffer ([`IoBuf`], [`IoBufMut`]). Nobody can free it, or look
//!   at it, while the kernel may use it: there is no borrow that could be forgotten. To forget a
//!   [`Pending`] or a [`Context`] leaks memory, and nothing worse.
//! - **Files.** An [`Op`] borrows its file until it is submitted. From then on the kernel has a
//!   reference of its own, so the file may be closed.
//! - **Contexts.** A [`Pending`] and a [`Batch`] keep their context. It ends when the last of them
//!   and the last clone of the [`Context`] have gone; that waits for what a disk has in hand, and
//!   cancels what waits for readiness. Writes that were submitted are done.
//!
//! # Futures
//!
//! Any executor will do. Events are taken by whoever calls [`Context::reap`]; a reactor does so
//! when the descriptor of the context ([`AsFd`]) is readable. Until then `poll` of a future only
//! looks into the ring, which is memory. [`Context::with_eventfd`] makes that descriptor an
//! eventfd. `examples/async_copy.rs` has all of an executor in fifty lines.
//!
//! # Errors
//!
//! A submission does not fail; a request does. What the kernel refuses is complete at once, with
//! the error that `io_submit(2)` has for it. `WouldBlock` (`EAGAIN`): the context holds as many
//! requests as it can.
//!
//! # Fork
//!
//! A context belongs to the process that made it. The child of a `fork` without `exec` must not use
//! one that it has inherited: the ring is not there, and the child dies. To drop it is harmless.
//!
//! [`AsFd`]: std::os::fd::AsFd
//! [`Future`]: std::future::Future

#![deny(missing_docs, unsafe_code)]

// The README's example is compiled too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod batch;
mod context;
mod pending;
#[allow(unsafe_code, reason = "the boundary")]
mod sys;

pub use batch::Batch;
pub use context::{Context, Query};
pub use pending::Pending;
pub use sys::buffer::{AlignedBuf, IoBuf, IoBufMut};
pub use sys::request::{Completion, Op};

/// `RWF_*`, for [`Op::flags`]: see `preadv2(2)`. A newer kernel may know more than these
/// ([`Query::rw_flags`]).
pub mod flags {
    pub use libc::{RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_NOWAIT, RWF_SYNC};
}
