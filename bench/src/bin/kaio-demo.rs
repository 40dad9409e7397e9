// SPDX-License-Identifier: GPL-2.0

//! The program `kaio-demo`: see [`kaio_bench::demo`].

fn main() {
    kaio_bench::demo::main()
}
