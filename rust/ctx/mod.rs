// SPDX-License-Identifier: GPL-2.0

//! Contexts, requests and operations, and what they are made of.
//!
//! These files refer to each other: a context lists its requests, a request belongs to a context
//! and has an operation, and an operation works on requests. This is the only such circle above
//! `request`.

pub(crate) mod kiocb;
pub(crate) mod kioctx;
pub(crate) mod op;
pub(crate) mod process;
pub(crate) mod queues;
pub(crate) mod quota;
pub(crate) mod ring;
pub(crate) mod slot;
pub(crate) mod stats;
pub(crate) mod submit_state;
pub(crate) mod table;
pub(crate) mod transfer;
pub(crate) mod user;
