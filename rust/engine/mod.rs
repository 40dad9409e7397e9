// SPDX-License-Identifier: GPL-2.0

//! Runs requests. Each file handles one stage of a request's life.
//!
//! The counterpart of io_submit(2) and io_getevents(2) of fs/aio.c, and of `aio_run_iocb()` and
//! `aio_kick_handler()` of the classic fs/aio.c. A request runs in the submit call first. If it was
//! parked, a kick puts it on the run list of its context, and the kick handler runs it. If it was
//! punted, a worker runs it; there are many workers, since a worker may wait. The kick handler and
//! workers act with the submitter's memory, credentials and cgroups.
//!
//! Invariants: `engine::run` is the only reader of a [`Verdict`](crate::ctx::op::Verdict). Only one
//! run of a request goes on at a time. A run ends with the request complete, with a driver, queued
//! or parked. The classic kick handler was delayed if no task waited for events; this one never is.

pub(crate) mod cancel;
mod complete;
pub(crate) mod getevents;
mod hooks;
mod light;
mod order;
mod park;
mod punt;
mod run;
mod submission;
pub(crate) mod submit;
mod worker;
