// SPDX-License-Identifier: GPL-2.0

//! The contract with user space: what bindgen makes of `include/uapi/linux/kaio.h` and of the
//! kernel's `linux/aio_abi.h`, which fs/aio.c implements.

use kernel::bindings;

use super::ffi;

pub(crate) use bindings::{
    __kernel_timespec as Timespec,
    io_event as IoEvent,
    iocb as Iocb, //
};
pub(crate) use ffi::{
    kaio_cancel as Cancel,
    kaio_destroy as Destroy,
    kaio_getevents as GetEvents,
    kaio_query as Query,
    kaio_ring as RingHeader,
    kaio_setup as Setup,
    kaio_submit as Submit,
    kaio_submit_wait as SubmitWait, //
};

pub(crate) const ABI_VERSION: u32 = ffi::KAIO_ABI_VERSION;
pub(crate) const RING_MAGIC: u32 = ffi::KAIO_RING_MAGIC;
pub(crate) const RING_COMPAT: u32 = ffi::KAIO_RING_COMPAT_FEATURES;
pub(crate) const RING_INCOMPAT: u32 = ffi::KAIO_RING_INCOMPAT_FEATURES;

/// The `KAIO_FEATURE_*` that this version has.
pub(crate) const FEATURES: u64 = (ffi::KAIO_FEATURE_RING_REAP
    | ffi::KAIO_FEATURE_RESFD
    | ffi::KAIO_FEATURE_IOPRIO
    | ffi::KAIO_FEATURE_CANCEL
    | ffi::KAIO_FEATURE_SIGMASK
    | ffi::KAIO_FEATURE_SUBMIT_WAIT
    | ffi::KAIO_FEATURE_PEEK
    | ffi::KAIO_FEATURE_POLL
    | ffi::KAIO_FEATURE_ABSTIME
    | ffi::KAIO_FEATURE_FADVISE) as u64;

/// KAIO_GETEVENTS leaves the events in the ring.
pub(crate) const GETEVENTS_PEEK: u32 = ffi::KAIO_GETEVENTS_PEEK;
/// The timeout is the time at which the wait ends.
pub(crate) const GETEVENTS_ABSTIME: u32 = ffi::KAIO_GETEVENTS_ABSTIME;

/// The `RWF_*` that the running kernel supports.
pub(crate) const RW_FLAGS: u64 = ffi::kaio_const_KAIO_RWF_KNOWN as u64;

/// The place in an ioctl's number of the size of its struct.
pub(crate) const IOC_SIZE_SHIFT: u32 = bindings::_IOC_SIZESHIFT;
pub(crate) const IOC_SIZE_MASK: u32 = bindings::_IOC_SIZEMASK;

/// The ioctls.
pub(crate) const QUERY: u32 = ffi::kaio_ioctl_KAIO_IOCTL_QUERY;
pub(crate) const SETUP: u32 = ffi::kaio_ioctl_KAIO_IOCTL_SETUP;
pub(crate) const DESTROY: u32 = ffi::kaio_ioctl_KAIO_IOCTL_DESTROY;
pub(crate) const SUBMIT: u32 = ffi::kaio_ioctl_KAIO_IOCTL_SUBMIT;
pub(crate) const GETEVENTS: u32 = ffi::kaio_ioctl_KAIO_IOCTL_GETEVENTS;
pub(crate) const CANCEL: u32 = ffi::kaio_ioctl_KAIO_IOCTL_CANCEL;
pub(crate) const SUBMIT_WAIT: u32 = ffi::kaio_ioctl_KAIO_IOCTL_SUBMIT_WAIT;

pub(crate) const QUERY_SIZE_VER0: usize = ffi::KAIO_QUERY_SIZE_VER0 as usize;
pub(crate) const SETUP_SIZE_VER0: usize = ffi::KAIO_SETUP_SIZE_VER0 as usize;
pub(crate) const DESTROY_SIZE_VER0: usize = ffi::KAIO_DESTROY_SIZE_VER0 as usize;
pub(crate) const SUBMIT_SIZE_VER0: usize = ffi::KAIO_SUBMIT_SIZE_VER0 as usize;
pub(crate) const GETEVENTS_SIZE_VER0: usize = ffi::KAIO_GETEVENTS_SIZE_VER0 as usize;
pub(crate) const CANCEL_SIZE_VER0: usize = ffi::KAIO_CANCEL_SIZE_VER0 as usize;
pub(crate) const SUBMIT_WAIT_SIZE_VER0: usize = ffi::KAIO_SUBMIT_WAIT_SIZE_VER0 as usize;

pub(crate) const IOCB_FLAG_RESFD: u32 = bindings::IOCB_FLAG_RESFD;
/// The number that the kernel writes to `aio_key`, as fs/aio.c does.
pub(crate) const KIOCB_KEY: u32 = 0;

pub(crate) const PREAD: u16 = bindings::IOCB_CMD_PREAD as u16;
pub(crate) const PWRITE: u16 = bindings::IOCB_CMD_PWRITE as u16;
pub(crate) const NOOP: u16 = bindings::IOCB_CMD_NOOP as u16;
pub(crate) const FSYNC: u16 = bindings::IOCB_CMD_FSYNC as u16;
pub(crate) const FDSYNC: u16 = bindings::IOCB_CMD_FDSYNC as u16;
pub(crate) const POLL: u16 = bindings::IOCB_CMD_POLL as u16;
pub(crate) const PREADV: u16 = bindings::IOCB_CMD_PREADV as u16;
pub(crate) const PWRITEV: u16 = bindings::IOCB_CMD_PWRITEV as u16;

/// A struct of the contract, which consists of plain bytes.
///
/// # Safety
///
/// The implementer guarantees that the type consists of integers and has no padding: any bytes are
/// a valid value, and all bytes of a value are initialised.
pub(super) unsafe trait Plain: Copy {}

// SAFETY: `struct kaio_query` has integers only, each aligned by those before it, and no padding at
// the end.
unsafe impl Plain for Query {}
// SAFETY: `struct kaio_setup` has integers only, each aligned by those before it, and no padding at
// the end.
unsafe impl Plain for Setup {}
// SAFETY: `struct kaio_destroy` has integers only, each aligned by those before it, and no padding
// at the end.
unsafe impl Plain for Destroy {}
// SAFETY: `struct kaio_submit` has integers only, each aligned by those before it, and no padding
// at the end.
unsafe impl Plain for Submit {}
// SAFETY: `struct kaio_getevents` has integers only, each aligned by those before it, and no
// padding at the end.
unsafe impl Plain for GetEvents {}
// SAFETY: `struct kaio_cancel` has integers only, each aligned by those before it, and no padding
// at the end.
unsafe impl Plain for Cancel {}
// SAFETY: `struct kaio_submit_wait` has integers only, each aligned by those before it, and no
// padding at the end.
unsafe impl Plain for SubmitWait {}
// SAFETY: `struct iocb` of the kernel's header has integers only, each aligned by those before it,
// and no padding at the end.
unsafe impl Plain for Iocb {}
// SAFETY: `struct __kernel_timespec` consists of two integers of 8 bytes.
unsafe impl Plain for Timespec {}
// SAFETY: a `u32` is an integer.
unsafe impl Plain for u32 {}
// SAFETY: a `u64` is an integer.
unsafe impl Plain for u64 {}
// SAFETY: an array of `u64` consists of integers, and has no padding between them.
unsafe impl<const N: usize> Plain for [u64; N] {}
