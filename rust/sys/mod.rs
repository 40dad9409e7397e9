// SPDX-License-Identifier: GPL-2.0

//! The boundary to the kernel: each file wraps one mechanism of the kernel in a safe interface.
//!
//! What `unsafe` the module has beyond that is in `request` and `provider`, which are built on
//! this. A file here imports only the `kernel` crate, `pure`, and the C shim (`rust/shim`).

/// What bindgen makes of `include/uapi/linux/kaio.h` and of the headers of `rust/shim`.
#[allow(
    clippy::all,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    dead_code,
    improper_ctypes,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
pub(crate) mod ffi {
    include!(concat!(env!("KAIO_OBJ"), "/rust/kaio_bindings.rs"));
}

pub(crate) mod count;
pub(crate) mod device;
pub(crate) mod errno;
pub(crate) mod eventfd;
pub(crate) mod file;
mod file_ops;
mod file_traits;
pub(crate) mod iov;
pub(crate) mod lease;
pub(crate) mod lock;
pub(crate) mod mm;
pub(crate) mod module;
pub(crate) mod pages;
pub(crate) mod plug;
pub(crate) mod poll;
pub(crate) mod queue;
pub(crate) mod ring_file;
mod ring_vma;
pub(crate) mod runners;
pub(crate) mod sigmask;
pub(crate) mod submitter;
pub(crate) mod sysctl;
pub(crate) mod task;
pub(crate) mod task_local;
pub(crate) mod uapi;
pub(crate) mod user;
pub(crate) mod wait;
pub(crate) mod word;
