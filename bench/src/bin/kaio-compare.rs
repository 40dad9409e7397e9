// SPDX-License-Identifier: GPL-2.0

//! The program `kaio-compare`: see [`kaio_bench::compare`].

fn main() {
    kaio_bench::compare::main()
}
