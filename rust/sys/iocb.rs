// SPDX-License-Identifier: GPL-2.0

//! The kernel's `struct kiocb` of a request: filled in, run, completed by a driver.

use core::ptr;

use kernel::{
    bindings,
    error::to_result,
    prelude::*, //
};

use super::{
    ffi,
    iov::Iter,
    request::{
        Active,
        Prepared,
        Request,
        Tracked, //
    },
};

/// No limit on the size of files (`RLIM_INFINITY`).
pub(crate) const NO_LIMIT: usize = usize::MAX;

/// One attempt: where, how, and under which limit on the size of files, in bytes.
pub(crate) use ffi::kaio_attempt as Attempt;

/// What came of it.
pub(crate) enum Called<R: Request> {
    /// It is over: bytes, or a negative errno.
    Done(Active<R>, isize),
    /// A driver has the token; [`Request::driver_done`] follows, or has come already.
    Driver,
}

impl<R: Request> Prepared<R> {
    /// As `aio_prep_rw()`. `EOPNOTSUPP` for a flag, `EPERM` or `EINVAL` for a priority. Returns the
    /// flags (`IOCB_*`) with which an attempt begins.
    pub(crate) fn prep_iocb(
        &mut self,
        pos: i64,
        rw_flags: u32,
        write: bool,
        eventfd: bool,
        ioprio: Option<u16>,
    ) -> Result<i32> {
        let (data, iocb) = self.parts();
        let file = data.file().as_ptr();
        let ioprio = ioprio.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: nobody else has the request. The file stays in it, so `ki_filp` is valid as long
        // as the kiocb.
        unsafe {
            to_result(ffi::kaio_iocb_prep(
                iocb, file, pos, rw_flags, write, eventfd, ioprio,
            ))?;
            (*iocb).ki_complete = Some(driver_done::<R>);
            Ok((*iocb).ki_flags)
        }
    }

    /// Whether an attempt without waiting makes sense; most file systems know no buffered writes
    /// like that, and some say `EINVAL` to them.
    pub(crate) fn may_try(&mut self, write: bool) -> bool {
        let (_, iocb) = self.parts();
        // SAFETY: nobody else has the request, and its file is open.
        unsafe { ffi::kaio_iocb_may_try(iocb, write) }
    }

    /// The caller asked for `RWF_NOWAIT`.
    pub(crate) fn wants_nowait(&mut self) -> bool {
        let (_, iocb) = self.parts();
        // SAFETY: nobody else has the request.
        unsafe { ffi::kaio_iocb_nowait(iocb) }
    }
}

impl<R: Request> Active<R> {
    /// Runs `read_iter` or `write_iter` once.
    pub(crate) fn call(self, attempt: &Attempt, iter: &mut Iter) -> Called<R> {
        // A driver may complete the request before the call is back, and what the call still
        // touches (file, buffers) is kept by the request.
        let keep = self.keep();
        let raw = self.leave();
        // SAFETY: we are the token holder, so the kiocb is ours; from here on the driver may be.
        // `prep_iocb` filled it in. `iter` outlives the call.
        let ret = unsafe { ffi::kaio_iocb_call(keep.iocb.get(), iter.as_raw(), attempt) };
        if ret == -(bindings::EIOCBQUEUED as isize) {
            return Called::Driver;
        }
        // SAFETY: any other answer means that `ki_complete` was not and will not be called: what
        // we left comes back to us.
        Called::Done(unsafe { Active::take(raw) }, ret)
    }
}

/// `ki_complete`.
///
/// # Safety
///
/// For drivers: once for each attempt that [`Active::call`] answered with [`Called::Driver`].
unsafe extern "C" fn driver_done<R: Request>(iocb: *mut bindings::kiocb, ret: kernel::ffi::c_long) {
    // SAFETY: the driver gives back the kiocb that `call` gave it, once; the kiocb is the first
    // field of a `Tracked<R>`, and `call` left the token with it.
    let active = unsafe {
        ffi::kaio_iocb_end(iocb);
        Active::<R>::take(iocb.cast::<Tracked<R>>())
    };
    R::driver_done(active, ret);
}
