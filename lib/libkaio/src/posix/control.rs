// SPDX-License-Identifier: LGPL-2.1-or-later

//! The control block, which the program and this library share.
//!
//! The private fields are used as glibc uses them: `__error_code` is `EINPROGRESS` while the
//! request is in progress, then 0 or the error, and `__return_value` is the value that
//! `aio_return()` returns. The value is written before the error (release) and read after it
//! (acquire): a thread that sees that a request is complete also sees its value and the data that
//! were read.
//!
//! No other file accesses a control block.

use core::ffi::c_int;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicI32, AtomicIsize, Ordering};

use kaio_sys::uapi::{self, iocb};
use kaio_sys::Result;

use super::c::aiocb;
use super::notification::Notification;

/// The control block of a request.
///
/// Between [`Control::begin`] and [`Control::end`] the library uses it too: POSIX obliges the
/// program to keep the block and its buffer until the request is complete, and to leave them alone.
/// After `end` the program may free the block.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Control(NonNull<aiocb>);

// SAFETY: the fields that threads share are atomic. The others are only read, by a thread that was
// given the block.
unsafe impl Send for Control {}

impl Control {
    /// Returns the control block at `block`, or `None` for a null pointer.
    ///
    /// # Safety
    ///
    /// `block` is null or a control block that stays valid as the documentation of the type
    /// describes.
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
                // SAFETY: only the address of a field is taken, and `new` promises that the block
                // is valid.
                unsafe { (&raw mut (*block).__return_value).cast() }
            }
        };
        // SAFETY: the block is valid (`new`) and aligned; this field is only accessed atomically.
        unsafe { AtomicIsize::from_ptr(value(self.0.as_ptr())) }
    }

    /// Returns the address of the word that changes when the request ends. Threads that wait for
    /// the request sleep on this word.
    pub(super) fn futex_word(self) -> usize {
        self.error_code().as_ptr() as usize
    }

    /// Returns the value for `aio_error()`.
    pub(super) fn error(self) -> c_int {
        self.error_code().load(Ordering::Acquire)
    }

    /// Returns the value for `aio_return()`.
    pub(super) fn value(self) -> isize {
        self.return_value().load(Ordering::Relaxed)
    }

    pub(super) fn in_progress(self) -> bool {
        self.error() == libc::EINPROGRESS
    }

    /// Marks the request as in progress.
    pub(super) fn begin(self) {
        self.return_value().store(0, Ordering::Relaxed);
        self.error_code()
            .store(libc::EINPROGRESS, Ordering::Release);
    }

    /// Ends the request with a number of bytes or -errno. After this the block belongs to the
    /// program again.
    pub(super) fn end(self, res: i64) {
        let (value, error) = match res {
            0.. => (res as isize, 0),
            _ => (-1, res.wrapping_neg() as c_int),
        };
        self.return_value().store(value, Ordering::Relaxed);
        // Release: the value, and the data that the kernel wrote to the buffer, come before the
        // error.
        self.error_code().store(error, Ordering::Release);
    }

    /// Returns `aio_fildes`.
    pub(super) fn file(self) -> c_int {
        // SAFETY: the block is valid (`new`), and the program must not write to it now.
        unsafe { (*self.0.as_ptr()).aio_fildes }
    }

    /// Returns `aio_lio_opcode`.
    pub(super) fn opcode(self) -> u32 {
        // SAFETY: the block is valid (`new`), and the program must not write to it now.
        unsafe { (*self.0.as_ptr()).aio_lio_opcode as u32 }
    }

    /// Returns `aio_reqprio`.
    pub(super) fn priority(self) -> c_int {
        // SAFETY: the block is valid (`new`), and the program must not write to it now.
        unsafe { (*self.0.as_ptr()).aio_reqprio }
    }

    /// Returns the notification that `aio_sigevent` asks for.
    pub(super) fn notification(self) -> Result<Notification> {
        // SAFETY: the block is valid (`new`), and the program must not write to it now.
        unsafe { Notification::new(&raw const (*self.0.as_ptr()).aio_sigevent) }
    }

    /// Removes the notification of the block itself, as the oldest `lio_listio()` does.
    pub(super) fn disable_notification(self) {
        // SAFETY: the block is valid (`new`), and the program has given it to the library in this
        // call.
        unsafe { (*self.0.as_ptr()).aio_sigevent.sigev_notify = super::c::SIGEV_NONE as c_int };
    }

    /// Returns the iocb of the request for `command`, one of `IOCB_CMD_*`.
    pub(super) fn iocb(self, command: u32) -> iocb {
        let mut iocb = iocb {
            aio_fildes: self.file() as u32,
            aio_lio_opcode: command as u16,
            ..Default::default()
        };
        if command == uapi::IOCB_CMD_PREAD || command == uapi::IOCB_CMD_PWRITE {
            // SAFETY: the block is valid (`new`), and the program must not write to it now.
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
