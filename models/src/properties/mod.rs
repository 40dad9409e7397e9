// SPDX-License-Identifier: GPL-2.0

//! Properties of arithmetic, for any arguments.

mod arguments;
mod hash;
mod ring;
mod throttle;
