// SPDX-License-Identifier: LGPL-2.1-or-later

//! The raw layer over `/dev/kaio`: the header's definitions, the ioctls and the ring.
//!
//! No function of this crate panics, allocates, takes a lock or changes `errno`, so a signal
//! handler and the child of a fork may call all of them. A function makes at most one system call
//! unless its documentation says otherwise.
//!
//! The modules: [`uapi`] has the definitions of the header `linux/kaio.h`.
//! [`syscall`] enters the kernel. [`device`] opens the device. [`ioctl`] has a function for each
//! ioctl. [`ring`] takes events in user space.

#![no_std]

#[cfg(any(test, miri, kaio_mock))]
extern crate std;

#[cfg(not(all(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_os = "linux",
    target_pointer_width = "64"
)))]
compile_error!("kaio-sys knows how to enter the kernel only on x86-64 and arm64 Linux");

pub mod device;
pub mod errno;
pub mod ioctl;
#[cfg(any(miri, kaio_mock))]
pub mod mock;
pub mod ring;
#[cfg(not(any(miri, kaio_mock)))]
pub mod syscall;
/// The mock kernel in the place of the kernel.
#[cfg(any(miri, kaio_mock))]
pub mod syscall {
    pub use crate::mock::syscall;
}

#[allow(
    missing_docs,
    dead_code,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::missing_safety_doc
)]
pub mod uapi;

pub use errno::{Errno, Result};
