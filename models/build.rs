// SPDX-License-Identifier: GPL-2.0

//! Compiles what the module has for its KUnit suites, too.

fn main() {
    println!("cargo:rustc-cfg=CONFIG_KAIO_KUNIT_TEST");
    println!("cargo:rerun-if-changed=build.rs");
}
