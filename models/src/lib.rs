// SPDX-License-Identifier: GPL-2.0

//! Checks the module's own source in user space.
//!
//! [`pure`] is `rust/pure`, and [`sys`] has those files of `rust/sys` whose memory orderings these
//! state machines rest on. They are compiled as they are; the crate `kernel` beside this one stands for
//! the kernel's.
//!
//! - With the feature `loom`, the tests are models: two or three threads, and loom runs every
//!   interleaving of their atomic accesses, and every value that a load may return under the memory
//!   model of C11. A model that would take too long has a bound on the number of preemptions.
//! - With `properties`, the tests are properties of arithmetic and of single transitions, and the module's
//!   KUnit suites.
//!
//! What the models do between the state machines is a replica of a few lines of `rust/request`,
//! `rust/provider`, `rust/ctx` or `rust/engine`. Each names the functions that it repeats: a change
//! there must be repeated here.

// The models do not use all of the module's files, to which scripts/module clippy applies the kernel's
// lints.
#![allow(dead_code)]

#[allow(clippy::all)]
#[path = "../../rust/pure/mod.rs"]
mod pure;
#[allow(clippy::all)]
mod sys;

#[cfg(all(test, feature = "loom"))]
mod model;
#[cfg(all(test, feature = "properties"))]
mod properties;

#[cfg(all(test, feature = "properties"))]
#[allow(clippy::all)]
mod kunit;
