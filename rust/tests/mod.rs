// SPDX-License-Identifier: GPL-2.0

//! KUnit suites. They run when the module is initialised on a kernel with `CONFIG_KUNIT=y`.
//!
//! Invariant: `assert!` is KUnit's only inside a `#[test]`, so helpers return values and assert
//! nothing.

mod args_kunit;
mod mock_provider;
mod promise_kunit;
mod provider_kunit;
mod retry_kunit;
mod ring_kunit;
mod state_kunit;
mod task_local_kunit;
mod throttle_kunit;
mod uapi_kunit;
