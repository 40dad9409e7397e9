// SPDX-License-Identifier: GPL-2.0

//! Pure logic, which needs no kernel.
//!
//! Invariant: these files import `core` only (scripts/check-layers checks that), so that the same
//! source compiles in user space, where it can be checked exhaustively.

pub(crate) mod args;
pub(crate) mod hash;
pub(crate) mod limits;
pub(crate) mod promise;
pub(crate) mod ring;
pub(crate) mod state;
pub(crate) mod throttle;
