// SPDX-License-Identifier: LGPL-2.1-or-later

//! The control block, as the program and we share it.
//!
//! The private fields are used as glibc uses them: `__error_code` is `EINPROGRESS` while the
//! request is under way, then 0 or what went wrong, and `__return_value` is what `aio_return()`
//! gives. The value is written before the error (release), and read after it (acquire): who sees
//! that a request is complete sees its value and what was read.
//!
//! This is the one file that touches a control block.

use core::ffi::c_int;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicI32, AtomicIsize, Ordering};

use kaio_sys::uapi::{self, iocb};
use kaio_sys::Result;

use super::c::aiocb;
use super::notify::Notice;

/// The control block of a request.
///
/// Between [`Control::begin`] and [`Control::end`] it is ours as well: POSIX has the program keep it,
/// and its buffer, until the request is complete, and leave it alone. After `end` it may be gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Control(NonNull<aiocb>);

// SAFETY: the fields that threads share are atomic; the others are only read, by whoever has been
// given the block.
unsafe impl Send for Control {}

impl Control {
    /// # Safety
    ///
    /// `block` is null or a control block that is valid as above.
    pub(super) unsafe fn new(block: *const aiocb) -> Option<Self> {
        NonNull::new(block.cast_mut()).map(Self)
    }

    fn error_code(&self) -> &AtomicI32 {
        // SAFETY: the block is valid (`new`) and aligned; this field is only accessed atomically.
        unsafe { AtomicI32::from_ptr(&raw mut (*self.0.as_ptr()).__error_code) }
    }

    fn return_value(&self) -> &AtomicIsize {
        let value = const {
            assert!(size_of::<super::c::__ssize_t>() == size_of::<isize>());
            |block: *mut aiocb| -> *mut isize {
                // SAFETY: only the address of a field is taken; `return_value` has a valid block.
                unsafe { (&raw mut (*block).__return_value).cast() }
            }
        };
        // SAFETY: as `error_code`.
        unsafe { AtomicIsize::from_ptr(value(self.0.as_ptr())) }
    }

    /// `aio_error()`.
    pub(super) fn error(self) -> c_int {
        self.error_code().load(Ordering::Acquire)
    }

    /// `aio_return()`.
    pub(super) fn value(self) -> isize {
        self.return_value().load(Ordering::Relaxed)
    }

    pub(super) fn in_progress(self) -> bool {
        self.error() == libc::EINPROGRESS
    }

    /// The request is under way.
    pub(super) fn begin(self) {
        self.return_value().store(0, Ordering::Relaxed);
        self.error_code()
            .store(libc::EINPROGRESS, Ordering::Release);
    }

    /// The request has ended, with a number of bytes or -errno. The block is the program's again.
    pub(super) fn end(self, res: i64) {
        let (value, error) = match res {
            0.. => (res as isize, 0),
            _ => (-1, res.wrapping_neg() as c_int),
        };
        self.return_value().store(value, Ordering::Relaxed);
        // Release: the value, and what the kernel wrote to the buffer, come before it.
        self.error_code().store(error, Ordering::Release);
    }

    /// `aio_fildes`.
    pub(super) fn file(self) -> c_int {
        // SAFETY: the block is valid, and nobody writes this field now.
        unsafe { (*self.0.as_ptr()).aio_fildes }
    }

    /// `aio_lio_opcode`.
    pub(super) fn opcode(self) -> u32 {
        // SAFETY: as `file`.
        unsafe { (*self.0.as_ptr()).aio_lio_opcode as u32 }
    }

    /// `aio_reqprio`.
    pub(super) fn priority(self) -> c_int {
        // SAFETY: as `file`.
        unsafe { (*self.0.as_ptr()).aio_reqprio }
    }

    /// What `aio_sigevent` asks for.
    pub(super) fn notice(self) -> Result<Notice> {
        // SAFETY: as `file`.
        unsafe { Notice::new(&raw const (*self.0.as_ptr()).aio_sigevent) }
    }

    /// The block has no notification of its own any more, as the `lio_listio()` of old asks.
    pub(super) fn silence(self) {
        // SAFETY: as `file`; the program has given the block to us.
        unsafe { (*self.0.as_ptr()).aio_sigevent.sigev_notify = super::c::SIGEV_NONE as c_int };
    }

    /// The kernel's request for `command`, `IOCB_CMD_*`.
    pub(super) fn iocb(self, command: u32) -> iocb {
        let mut iocb = iocb {
            aio_fildes: self.file() as u32,
            aio_lio_opcode: command as u16,
            ..Default::default()
        };
        if command == uapi::IOCB_CMD_PREAD || command == uapi::IOCB_CMD_PWRITE {
            // SAFETY: as `file`.
            unsafe {
                let block = self.0.as_ptr();
                iocb.aio_buf = (*block).aio_buf as u64;
                iocb.aio_nbytes = (*block).aio_nbytes as u64;
                iocb.aio_offset = (*block).aio_offset;
            }
        }
        iocb
    }
}
