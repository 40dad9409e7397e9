// SPDX-License-Identifier: GPL-2.0

//! The KUnit suites of `pure`, in user space.

#[path = "../../rust/tests/args_kunit.rs"]
mod args_kunit;
#[path = "../../rust/tests/promise_kunit.rs"]
mod promise_kunit;
#[path = "../../rust/tests/ring_kunit.rs"]
mod ring_kunit;
#[path = "../../rust/tests/state_kunit.rs"]
mod state_kunit;
#[path = "../../rust/tests/throttle_kunit.rs"]
mod throttle_kunit;
