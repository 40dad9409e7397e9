// SPDX-License-Identifier: GPL-2.0

//! The kernel's `struct kiocb` of a request: filled in, run, completed by a driver, or kicked by the
//! page that it waits for.

use core::ptr;

use kernel::{
    bindings,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

use super::{
    errno, ffi,
    file::File,
    iov::Iter,
    request::{
        Active,
        Pool,
        Prepared,
        Request,
        Tracked, //
    },
    uapi::Iocb,
};

/// No limit on the size of files (`RLIM_INFINITY`).
pub(crate) const NO_LIMIT: usize = usize::MAX;

/// `IOCB_WRITE` and so on, for [`Attempt::flags`].
pub(crate) const APPEND: i32 = ffi::kaio_const_KAIO_IOCB_APPEND as i32;
pub(crate) const DIRECT: i32 = ffi::kaio_const_KAIO_IOCB_DIRECT as i32;
pub(super) const NOWAIT: i32 = ffi::kaio_const_KAIO_IOCB_NOWAIT as i32;
pub(crate) const NOSIGNAL: i32 = ffi::kaio_const_KAIO_IOCB_NOSIGNAL as i32;

/// How far an attempt may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// What is in memory (`IOCB_NOWAIT | IOCB_NOIO`).
    Cached,
    /// It waits for nothing (`IOCB_NOWAIT`).
    NoWait,
    /// It starts reading, and waits for no page: who unlocks the page kicks (`IOCB_WAITQ`).
    Page,
    /// It waits as long as it takes.
    Wait,
    /// As before, but for a moment only, if it can be interrupted.
    Moment,
}

/// One attempt.
pub(crate) struct Attempt {
    /// Where.
    pub(crate) pos: i64,
    /// `IOCB_*`, as in [`Asked`].
    pub(crate) flags: i32,
    pub(crate) write: bool,
    pub(crate) effort: Effort,
    /// The submitter's limit on the size of files, in bytes, if that is not the current task's.
    pub(crate) fsize_limit: usize,
    /// Some of the request is done already: the limit is its end, not an error.
    pub(crate) resumed: bool,
}

/// What came of it.
pub(crate) enum Called<R: Request> {
    /// It is over: bytes, or a negative errno.
    Done(Active<R>, isize),
    /// A driver has the token, and [`Request::driver_done`] follows; or a page, and
    /// [`Request::kicked`] follows. Or has come already.
    Gone,
}

/// An entry on the wait queue of a page, and whose it is.
pub(super) struct PageWait<R: Request> {
    raw: Opaque<bindings::wait_page_queue>,
    request: *const Tracked<R>,
}

impl Attempt {
    fn as_raw(&self) -> ffi::kaio_attempt {
        let extra = match self.effort {
            Effort::Cached => ffi::kaio_const_KAIO_IOCB_NOWAIT | ffi::kaio_const_KAIO_IOCB_NOIO,
            Effort::NoWait => ffi::kaio_const_KAIO_IOCB_NOWAIT,
            Effort::Page => ffi::kaio_const_KAIO_IOCB_WAITQ,
            Effort::Wait | Effort::Moment => 0,
        };
        ffi::kaio_attempt {
            pos: self.pos,
            fsize_limit: self.fsize_limit,
            flags: self.flags | extra as i32,
            write: self.write,
            resumed: self.resumed,
            moment: self.effort == Effort::Moment,
            page_wait: ptr::null_mut(),
        }
    }
}

/// What a transfer asks for, and what its file can do.
pub(crate) struct Asked {
    /// `IOCB_*`, with which an attempt begins.
    pub(crate) flags: i32,
    /// The I/O priority.
    pub(crate) ioprio: u16,
    /// `KAIO_ASKED_*`.
    bits: u32,
}

impl Asked {
    /// `RWF_NOWAIT`.
    pub(crate) fn nowait(&self) -> bool {
        self.bits & ffi::kaio_asked_KAIO_ASKED_NOWAIT != 0
    }

    /// An attempt without waiting makes sense. Most file systems know no buffered writes like that,
    /// and some say `EINVAL` to them.
    pub(crate) fn try_first(&self) -> bool {
        self.bits & ffi::kaio_asked_KAIO_ASKED_TRY_FIRST != 0
    }

    /// A cold read of the page cache can be left to whoever unlocks the page (`FOP_BUFFER_RASYNC`).
    pub(crate) fn pages(&self) -> bool {
        self.bits & ffi::kaio_asked_KAIO_ASKED_PAGES != 0
    }
}

impl<R: Request> Prepared<R> {
    /// As `aio_prep_rw()`, with the I/O priority that was asked for, or with `ioprio`. `EOPNOTSUPP` for
    /// a flag, `EPERM` or `EINVAL` for a priority.
    #[inline]
    pub(crate) fn prep_iocb(&mut self, asked: &Iocb, write: bool, ioprio: u16) -> Result<Asked> {
        let (data, iocb) = self.parts();
        let file = data.file().as_ptr();
        // SAFETY: nobody else has the request. The file stays in it, so `ki_filp` is valid as long
        // as the kiocb.
        unsafe {
            let bits = ffi::kaio_iocb_prep(iocb, file, asked, write, ioprio);
            (*iocb).ki_complete = Some(driver_done::<R>);
            Ok(Asked {
                bits: u32::try_from(bits).map_err(|_| Error::from_errno(bits))?,
                flags: (*iocb).ki_flags,
                ioprio: (*iocb).ki_ioprio,
            })
        }
    }
}

impl<R: Request> Active<R> {
    /// Runs `read_iter` or `write_iter` once.
    pub(crate) fn call(self, attempt: &Attempt, iter: &mut Iter) -> Called<R> {
        // A driver may complete the request before the call is back, or a page kick it, and what
        // the call still touches (file, buffers) is kept by the request.
        let keep = self.keep();
        let mut raw_attempt = attempt.as_raw();
        if attempt.effort == Effort::Page {
            let Some(page_wait) = keep.spare::<PageWait<R>>() else {
                return Called::Done(self, -(bindings::EAGAIN as isize));
            };
            // SAFETY: we are the token holder: the memory is ours until whoever is left with the token
            // makes it again, and that is the last who looks at it. The entry is in no queue.
            unsafe {
                (&raw mut (*page_wait).request).write(Arc::as_ptr(&keep));
                raw_attempt.page_wait = Opaque::cast_into(&raw const (*page_wait).raw);
                (&raw mut (*raw_attempt.page_wait).wait.func).write(Some(page_unlocked::<R>));
            }
        }
        let listed = self.is_listed();
        if listed {
            keep.lend();
        }
        let raw = self.leave();
        // SAFETY: we are the token holder, so the kiocb is ours; from here on the driver may be.
        // `prep_iocb` filled it in. `iter` outlives the call.
        let ret = unsafe { ffi::kaio_iocb_call(keep.iocb.get(), iter.as_raw(), &raw_attempt) };
        if ret == -(bindings::EIOCBQUEUED as isize) {
            if listed {
                keep.left_away();
            }
            // It may have ended meanwhile.
            Pool::give(keep);
            return Called::Gone;
        }
        // SAFETY: any other answer means that neither `ki_complete` nor a page's wake-up was or
        // will be called: what we left comes back to us.
        Called::Done(unsafe { Active::take(raw) }, ret)
    }
}

/// What a read without a request came to.
pub(crate) enum Cached {
    /// So many bytes, or a negative errno.
    Done(isize),
    /// Not all that is to be read first is in memory.
    Missed,
    /// This file cannot be read so.
    Unfit,
}

/// Reads what is in memory, of a file that [`File::reads_pages`].
pub(crate) fn read_cached(file: &File, addr: usize, len: usize, pos: i64) -> Cached {
    // SAFETY: the file is open and has `read_iter`. The address is checked. The call keeps nothing.
    let ret = unsafe { ffi::kaio_read_cached(file.as_ptr(), addr, len, pos) };
    match ret as i64 {
        errno::EAGAIN => Cached::Missed,
        errno::EOPNOTSUPP => Cached::Unfit,
        _ => Cached::Done(ret),
    }
}

/// `ki_complete`.
///
/// # Safety
///
/// For drivers: once for each attempt that [`Active::call`] answered with [`Called::Gone`].
unsafe extern "C" fn driver_done<R: Request>(iocb: *mut bindings::kiocb, ret: kernel::ffi::c_long) {
    // SAFETY: the driver gives back the kiocb that `call` gave it, once; the kiocb is the first
    // field of a `Tracked<R>`, and `call` left the token with it.
    let active = unsafe {
        ffi::kaio_iocb_end(iocb);
        Active::<R>::take(iocb.cast::<Tracked<R>>())
    };
    R::driver_done(active, ret);
}

/// Wakes up what waits for a page: the one that we wait for was unlocked, or so it may be. Under
/// the lock of the page's wait queue, perhaps in interrupt.
///
/// # Safety
///
/// For wait queues: `raw` is the entry of a `wait_page_queue` that [`Active::call`] set up.
unsafe extern "C" fn page_unlocked<R: Request>(
    raw: *mut bindings::wait_queue_entry,
    _mode: kernel::ffi::c_uint,
    _flags: kernel::ffi::c_int,
    key: *mut kernel::ffi::c_void,
) -> kernel::ffi::c_int {
    // SAFETY: `raw` is in the queue whose lock is held; `key` is what the waker passed for it. If it
    // was ours, the entry is off the queue now.
    if !unsafe { ffi::kaio_page_unlocked(raw, key) } {
        return 0;
    }
    // SAFETY: the entry is part of a `wait_page_queue`, which is part of a `PageWait<R>`, which is in
    // its request; the entry was in the queue, so the call was answered with `Called::Gone`, or will
    // be, and nobody else takes the token.
    let active = unsafe {
        let page_wait = kernel::container_of!(raw, bindings::wait_page_queue, wait);
        let page_wait = kernel::container_of!(Opaque::cast_from(page_wait), PageWait<R>, raw);
        Active::<R>::take((*page_wait).request)
    };
    active.kick();
    1
}
