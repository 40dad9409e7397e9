// SPDX-License-Identifier: GPL-2.0

//! The program `kaio-bench`: see [`kaio_bench::bench`].

fn main() {
    kaio_bench::bench::main()
}
