// SPDX-License-Identifier: GPL-2.0

//! The attribute of KUnit suites, for user space.

use proc_macro::TokenStream;

/// Leaves a KUnit suite as it is: a module whose functions are tests.
#[proc_macro_attribute]
pub fn kunit_tests(_name: TokenStream, suite: TokenStream) -> TokenStream {
    suite
}
