// SPDX-License-Identifier: GPL-2.0

//! The boundary: all `unsafe` of the module, one mechanism of the kernel in each file, a safe
//! interface out. Imports the `kernel` crate, `pure`, and the C shim (`rust/shim`) only.

/// What bindgen makes of `include/uapi/linux/kaio.h` and `rust/shim/kaio_shim.h`.
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
mod ffi {
    include!(concat!(env!("KAIO_OBJ"), "/rust/kaio_bindings.rs"));
}

pub(crate) mod device;
pub(crate) mod errno;
pub(crate) mod eventfd;
pub(crate) mod few;
pub(crate) mod file;
pub(crate) mod iocb;
pub(crate) mod iov;
pub(crate) mod lease;
pub(crate) mod lists;
pub(crate) mod lock;
pub(crate) mod mm;
pub(crate) mod module;
pub(crate) mod pages;
pub(crate) mod plug;
pub(crate) mod poll;
pub(crate) mod provider;
pub(crate) mod queue;
pub(crate) mod request;
pub(crate) mod ring_file;
pub(crate) mod sigmask;
pub(crate) mod submitter;
pub(crate) mod sysctl;
pub(crate) mod task;
pub(crate) mod task_cell;
pub(crate) mod uapi;
pub(crate) mod user;
pub(crate) mod wait;
