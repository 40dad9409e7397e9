// SPDX-License-Identifier: LGPL-2.1-or-later

//! A thin, safe layer over `/dev/kaio` for asynchronous I/O.
//!
//! A [`Context`] accepts requests and does not wait for them. A request owns its buffer until it is
//! complete. Its [`Pending`] then returns the result and the buffer: [`Pending::wait`] blocks until
//! the request is complete, and a `Pending` is also a [`Future`].
//!
//! ```no_run
//! use linux_kaio::{Context, Op};
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
//! # Ownership
//!
//! - **Buffers.** A request owns its buffer ([`IoBuf`], [`IoBufMut`]). The program can neither free
//!   nor read the buffer while the kernel may use it. No borrow is involved, so memory safety does
//!   not depend on a destructor: a program that forgets a [`Pending`] or a [`Context`] leaks
//!   memory, and nothing worse.
//! - **Files.** An [`Op`] borrows its file until the request is submitted. From then on the kernel
//!   holds its own reference, so the program may close the file.
//! - **Contexts.** A [`Pending`] and a [`Batch`] keep their context alive. The context ends when
//!   all of them and all clones of the [`Context`] have been dropped. The last drop cancels
//!   requests that wait for readiness and waits for requests that a disk has begun. Writes that
//!   were submitted are done.
//!
//! # Futures
//!
//! The crate works with any executor. [`Context::reap`] takes events; a reactor calls it when the
//! descriptor of the context ([`AsFd`]) is readable. A `poll` of a future only reads the ring,
//! which is memory, and makes no system call. [`Context::with_eventfd`] makes that descriptor an
//! eventfd. `examples/async_copy.rs` contains an executor of fifty lines.
//!
//! # Features
//!
//! None is on by default, and then the crate depends on `libc` and `kaio-sys` alone.
//!
//! - `bytes`: `Bytes` and `BytesMut` are buffers.
//! - `tokio`: the module `tokio` with a `File` for that runtime.
//!
//! # Errors
//!
//! A submission does not fail; a request does. A request that the kernel refuses is complete at
//! once, with the error that `io_submit(2)` returns for it. The error `WouldBlock` (`EAGAIN`) means
//! that the context holds as many requests as it can. [`Context::submit_when_room`],
//! [`Context::submit_async`] and [`Batch::submit_all`] wait for room instead.
//!
//! An error that concerns a path names it: "/dev/kaio: No such file or directory". The number of the
//! error is then in its [source].
//!
//! # Fork
//!
//! A context belongs to the process that made it. In the child of a `fork` without `exec`, the
//! inherited context has no request in flight and no event, and a request that the child submits to
//! it completes at once with `EINVAL`. If the child waits for a request that the parent has
//! submitted, the result is `EINVAL` at once, since the request never ends in the child; the parent's
//! request goes on. No function of the inherited context touches the address of the parent's ring,
//! where the child may have memory of its own. This holds for a child by any system call, since the
//! kernel itself clears the word by which the crate knows its process (`MADV_WIPEONFORK`). The child
//! can make a context of its own, and may drop the inherited one.
//!
//! [`AsFd`]: std::os::fd::AsFd
//! [source]: std::error::Error::source
//! [`Future`]: std::future::Future

#![deny(missing_docs, unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// Compile the README's example too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod batch;
mod context;
mod error;
mod pending;
#[allow(unsafe_code, reason = "the boundary")]
mod sys;
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub mod tokio;

pub use batch::Batch;
pub use context::{Context, Query};
pub use pending::Pending;
pub use sys::buffer::{AlignedBuf, IoBuf, IoBufMut, IoBufSpare, Slice};
pub use sys::request::{Completion, Op};

/// The `RWF_*` flags for [`Op::flags`]; see `preadv2(2)`. A newer kernel may accept more flags than
/// these: see [`Query::rw_flags`].
pub mod flags {
    pub use libc::{RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_NOWAIT, RWF_SYNC};
}

/// The features of the module, for [`Query::has`].
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// use linux_kaio::{features, Context};
///
/// let query = Context::new(1)?.query()?;
/// if !query.has(features::FADVISE) {
///     println!("each submission is an ioctl");
/// }
/// # Ok(())
/// # }
/// ```
pub mod features {
    use kaio_sys::uapi;

    /// User space may take events from the ring itself.
    pub const RING_REAP: u64 = uapi::KAIO_FEATURE_RING_REAP as u64;
    /// An eventfd can count completions ([`Context::with_eventfd`](crate::Context::with_eventfd)).
    pub const RESFD: u64 = uapi::KAIO_FEATURE_RESFD as u64;
    /// Requests can have a priority ([`Op::priority`](crate::Op::priority)).
    pub const IOPRIO: u64 = uapi::KAIO_FEATURE_IOPRIO as u64;
    /// Requests can be cancelled.
    pub const CANCEL: u64 = uapi::KAIO_FEATURE_CANCEL as u64;
    /// A wait can have a signal mask.
    pub const SIGMASK: u64 = uapi::KAIO_FEATURE_SIGMASK as u64;
    /// One call can submit requests and wait.
    pub const SUBMIT_WAIT: u64 = uapi::KAIO_FEATURE_SUBMIT_WAIT as u64;
    /// A wait can leave the events in the ring.
    pub const PEEK: u64 = uapi::KAIO_FEATURE_PEEK as u64;
    /// The device's descriptor can be polled.
    pub const POLL: u64 = uapi::KAIO_FEATURE_POLL as u64;
    /// A wait can end at a time of `CLOCK_MONOTONIC`.
    pub const ABSTIME: u64 = uapi::KAIO_FEATURE_ABSTIME as u64;
    /// `fadvise64(2)` on the device stands for the most frequent ioctls.
    pub const FADVISE: u64 = uapi::KAIO_FEATURE_FADVISE as u64;
}
