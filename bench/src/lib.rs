// SPDX-License-Identifier: GPL-2.0

//! The programs of the guests. The crate is not published, and its programs run as root in a guest
//! of kaio (scripts/vm).
//!
//! [`demo`] copies files through `/dev/kaio`. [`compare`] has native AIO, kaio and io_uring do the
//! same work on a slow device. [`bench`] measures what operations cost. The other modules are
//! shared: `request` has what is asked for, `context` is a context of the device, `engines` has all
//! ways of asynchronous I/O behind one trait, `slow` has the cases on a slow device, and the rest
//! are the cases of the benchmark and helpers.
//!
//! All code is in one crate, so that the compiler can put the engines into the loops that are
//! measured; each program in `bin/` is only a call.

pub mod bench;
pub mod compare;
mod context;
pub mod demo;
mod engines;
mod guest;
mod latency;
mod ops;
mod parked;
mod report;
mod request;
mod slow;
mod slow_cases;
mod system;
mod threads;
