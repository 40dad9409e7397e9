// SPDX-License-Identifier: LGPL-2.1-or-later

//! The raw layer on `/dev/kaio`: what the header says, the ioctls, the ring.
//!
//! Nothing here panics, allocates, takes a lock or touches `errno`, so all of it may be called
//! from a signal handler and in the child of a fork. Each function is one system call at most,
//! unless it says otherwise.
//!
//! The parts: [`uapi`] is `include/uapi/linux/kaio.h`, by bindgen. [`syscall`] enters the kernel.
//! [`device`] opens the device. [`ioctl`] has a function for each ioctl. [`ring`] takes events in
//! user space.

#![no_std]

#[cfg(not(all(
    target_arch = "x86_64",
    target_os = "linux",
    target_pointer_width = "64"
)))]
compile_error!("kaio-sys knows how to enter the kernel only on x86-64 Linux");

pub mod device;
pub mod errno;
pub mod ioctl;
pub mod ring;
pub mod syscall;

/// The structs and constants of `include/uapi/linux/kaio.h` and `linux/aio_abi.h`, by bindgen.
/// `KAIO_IOC_*` are the numbers of the ioctls.
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
pub mod uapi {
    include!(concat!(env!("OUT_DIR"), "/uapi.rs"));
}

pub use errno::{Errno, Result};
