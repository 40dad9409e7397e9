// SPDX-License-Identifier: GPL-2.0

//! KUnit suites. They run when the module is initialised on a kernel with `CONFIG_KUNIT=y`.
//!
//! `assert!` is KUnit's only inside a `#[test]`: helpers return values and assert nothing.

mod args_kunit;
mod promise_kunit;
mod provider_kunit;
mod retry_kunit;
mod ring_kunit;
mod state_kunit;
mod task_cell_kunit;
mod uapi_kunit;
