// SPDX-License-Identifier: GPL-2.0

//! Issues requests: runs `read_iter` and `write_iter` with the kernel's `struct kiocb` of a
//! request.
//!
//! This stands for `aio_prep_rw()`, `aio_read()`, `aio_write()` and `aio_complete_rw()` of
//! fs/aio.c. During an attempt the kiocb, and with it the token, goes to the file system. There are
//! three ways back: [`Active::call`] returns the token, the driver calls `ki_complete`, or the
//! wake-up of a page kicks the request (`IOCB_WAITQ`). Exactly one of these happens. No lock is
//! held during an attempt; `ki_complete` and the wake-up may come in interrupt, even before the
//! attempt has returned.

use core::ptr;

use kernel::{
    bindings,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

use super::{
    pool::Pool,
    token::{
        Active,
        Prepared, //
    },
    Request,
    RequestInner, //
};
use crate::sys::{
    errno,
    ffi,
    file::File,
    iov::Iter,
    uapi::Iocb, //
};

/// No limit on the size of files (`RLIM_INFINITY`).
pub(crate) const NO_LIMIT: usize = usize::MAX;

/// Flags of [`Attempt::flags`]: `IOCB_APPEND` and others.
pub(crate) const APPEND: i32 = ffi::kaio_const_KAIO_IOCB_APPEND as i32;
pub(crate) const DIRECT: i32 = ffi::kaio_const_KAIO_IOCB_DIRECT as i32;
pub(crate) const NOWAIT: i32 = ffi::kaio_const_KAIO_IOCB_NOWAIT as i32;
pub(crate) const NOSIGNAL: i32 = ffi::kaio_const_KAIO_IOCB_NOSIGNAL as i32;

/// For what an attempt may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IssueMode {
    /// The attempt transfers only what is in memory (`IOCB_NOWAIT | IOCB_NOIO`).
    Cached,
    /// The attempt waits for nothing (`IOCB_NOWAIT`).
    NoWait,
    /// The attempt starts to read, and does not wait for pages: the wake-up of the page kicks the
    /// request (`IOCB_WAITQ`).
    Page,
    /// The attempt waits as long as the file needs.
    Wait,
    /// The attempt waits, but is interrupted after a moment, if its wait can be interrupted.
    BoundedWait,
}

/// Returns the kiocb of a request that begins, with what [`Active::call`] needs of it for every
/// kind of request.
pub(super) fn begin<R: Request>(file: &File) -> bindings::kiocb {
    bindings::kiocb {
        ki_filp: file.open().unwrap_or(ptr::null_mut()),
        ki_complete: Some(driver_done::<R>),
        ..pin_init::zeroed()
    }
}

/// One attempt to transfer the rest of a request.
pub(crate) struct Attempt {
    /// The position in the file.
    pub(crate) pos: i64,
    /// `IOCB_*`, as in [`Asked`].
    pub(crate) flags: i32,
    /// The transfer is a write, and not a read.
    pub(crate) write: bool,
    /// For what the attempt may wait.
    pub(crate) effort: IssueMode,
    /// The submitter's limit on the size of files, in bytes, or [`NO_LIMIT`] if the current task is
    /// the submitter, whose limit the file system looks at.
    pub(crate) fsize_limit: usize,
    /// An earlier attempt has transferred a part of the request: then the limit ends the request,
    /// and is no error.
    pub(crate) resumed: bool,
}

/// The outcome of an attempt.
pub(crate) enum Called<R: Request> {
    /// The attempt is over: a number of bytes, or a negative errno.
    Done(Active<R>, isize),
    /// The token went to a driver, and [`Request::driver_done`] follows; or to a page, and
    /// [`Request::kicked`] follows. Either may have come already.
    Queued,
}

/// An entry on the wait queue of a page, and the request that waits there.
///
/// It is in the memory that [`RequestInner::spare`] returns, while the request waits for the page.
pub(super) struct PageWait<R: Request> {
    raw: Opaque<bindings::wait_page_queue>,
    request: *const RequestInner<R>,
}

impl Attempt {
    /// Returns the attempt as the shim takes it.
    fn as_raw(&self) -> ffi::kaio_attempt {
        let extra = match self.effort {
            IssueMode::Cached => ffi::kaio_const_KAIO_IOCB_NOWAIT | ffi::kaio_const_KAIO_IOCB_NOIO,
            IssueMode::NoWait => ffi::kaio_const_KAIO_IOCB_NOWAIT,
            IssueMode::Page => ffi::kaio_const_KAIO_IOCB_WAITQ,
            IssueMode::Wait | IssueMode::BoundedWait => 0,
        };
        ffi::kaio_attempt {
            pos: self.pos,
            fsize_limit: self.fsize_limit,
            flags: self.flags | extra as i32,
            write: self.write,
            resumed: self.resumed,
            moment: self.effort == IssueMode::BoundedWait,
            page_wait: ptr::null_mut(),
        }
    }
}

/// What a transfer asks for, and what its file can do.
pub(crate) struct Asked {
    /// `IOCB_*`, with which each attempt begins.
    pub(crate) flags: i32,
    /// The I/O priority.
    pub(crate) ioprio: u16,
    /// `KAIO_ASKED_*`.
    bits: u32,
}

impl Asked {
    /// Returns whether the submitter asked for `RWF_NOWAIT`.
    pub(crate) fn nowait(&self) -> bool {
        self.bits & ffi::kaio_asked_KAIO_ASKED_NOWAIT != 0
    }

    /// Returns whether an attempt without waiting makes sense. Most file systems do not support
    /// buffered writes without waiting, and some return `EINVAL` for them.
    pub(crate) fn try_first(&self) -> bool {
        self.bits & ffi::kaio_asked_KAIO_ASKED_TRY_FIRST != 0
    }

    /// Returns whether a read can wait for a page without a thread (`FOP_BUFFER_RASYNC`): the
    /// wake-up of the page then kicks the request.
    pub(crate) fn pages(&self) -> bool {
        self.bits & ffi::kaio_asked_KAIO_ASKED_PAGES != 0
    }
}

impl<R: Request> Prepared<R> {
    /// Fills in the kiocb as `aio_prep_rw()` does, with the I/O priority of `asked`, or with
    /// `ioprio` if `asked` has none.
    ///
    /// Returns `EOPNOTSUPP` if the file does not support a flag (`EPERM` or `EINVAL` if the flags
    /// are wrong in another way), `EPERM` or `EINVAL` if the priority is not allowed, and `EBADF`
    /// if the file was closed.
    #[inline]
    pub(crate) fn prep_iocb(&mut self, asked: &Iocb, write: bool, ioprio: u16) -> Result<Asked> {
        let (data, iocb) = self.parts();
        let file = data.file().open().ok_or(EBADF)?;
        // SAFETY: a `Prepared` has the only reference to its request, so this thread may write the
        // kiocb. `file` is open, as `File::open` returned it, and the implementer of `Request`
        // guarantees that the request keeps that file: `ki_filp` is valid until `close_file` clears
        // it. `asked` is a reference.
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
    ///
    /// The result is `-EBADF` if the file was closed, `-EINVAL` if the file has no such method, and
    /// `-EAGAIN` if the attempt would have to wait but may not.
    pub(crate) fn call(self, attempt: &Attempt, iter: &mut Iter) -> Called<R> {
        // A driver may complete the request, or a page kick it, before the call returns. The file
        // system may look at the kiocb until then, so this reference keeps the memory.
        let keep = self.keep();
        let mut raw_attempt = attempt.as_raw();
        if attempt.effort == IssueMode::Page {
            let Some(page_wait) = keep.spare::<PageWait<R>>() else {
                return Called::Done(self, -(bindings::EAGAIN as isize));
            };
            // SAFETY: `spare` returns the memory of the poll entries, which are on no wait queue,
            // and which only the token holder uses. This thread holds the token. Once the call has
            // passed the token to the page, `page_unlocked` is the last function that reads the
            // memory before it makes the token again. The entry is not in a queue yet.
            unsafe {
                (&raw mut (*page_wait).request).write(Arc::as_ptr(&keep));
                raw_attempt.page_wait = Opaque::cast_into(&raw const (*page_wait).raw);
                (&raw mut (*raw_attempt.page_wait).wait.func).write(Some(page_unlocked::<R>));
            }
        }
        let listed = self.is_listed();
        if listed {
            keep.begin_issue();
        }
        let raw = self.leave();
        // SAFETY: this thread held the token, so no other thread uses the kiocb until the callee
        // passes it to a driver; `leave` left the reference that `driver_done` and `page_unlocked`
        // take. By the invariant of `RequestInner`, the kiocb is initialised, and `ki_filp` is null
        // or the file that the request keeps open. `keep` keeps the memory, and `iter` and
        // `raw_attempt` outlive the call.
        let ret = unsafe { ffi::kaio_iocb_call(keep.iocb.get(), iter.as_raw(), &raw_attempt) };
        if ret == -(bindings::EIOCBQUEUED as isize) {
            if listed {
                keep.set_in_flight();
            }
            // The request may have ended meanwhile.
            Pool::give(keep);
            return Called::Queued;
        }
        // SAFETY: any answer but `-EIOCBQUEUED` means, by the contract of `read_iter` and
        // `write_iter`, that neither `ki_complete` nor the wake-up of the page was or will be
        // called. So `raw`, which `leave` returned, is taken here and nowhere else.
        Called::Done(unsafe { Active::take(raw) }, ret)
    }
}

/// Makes the kiocb of a light request that of a full one: a driver then completes a full request.
///
/// # Safety
///
/// The caller has the token of the request, and `iocb` is the first field of its `RequestInner<R>`.
pub(super) unsafe fn become_full<R: Request>(iocb: *mut bindings::kiocb) {
    // SAFETY: the caller has the token, so the kiocb is in memory and no driver uses it.
    unsafe { (*iocb).ki_complete = Some(driver_done::<R>) };
}

impl<R: Request> Active<R> {
    /// Stores the result of a request that has ended, for the worker that completes the request.
    /// The place is `ki_pos` of the kiocb, which no driver has any more.
    pub(crate) fn keep_result(&mut self, res: i64) {
        // SAFETY: by the invariant of `RequestInner` only the owner touches the kiocb, and `self`
        // is the token.
        unsafe { (*self.raw_iocb()).ki_pos = res };
    }

    /// Returns the result that [`Self::keep_result`] stored. The caller knows that it has been
    /// called, as otherwise the number means nothing.
    pub(crate) fn kept_result(&mut self) -> i64 {
        // SAFETY: by the invariant of `RequestInner` only the owner touches the kiocb, and `self`
        // is the token. By the same invariant the kiocb is initialised, since the data of a request
        // that has a token are.
        unsafe { (*self.raw_iocb()).ki_pos }
    }
}

/// The outcome of a transfer without a request.
pub(crate) enum Cached {
    /// The transfer is over: a number of bytes, or a negative errno.
    Done(isize),
    /// The transfer would have to wait: a read whose first page is not in memory, for example.
    WouldBlock,
    /// The transfer cannot be made without a request.
    Unsupported,
}

impl Cached {
    #[inline(always)]
    fn from_result(ret: isize) -> Self {
        match ret as i64 {
            errno::EAGAIN => Self::WouldBlock,
            errno::EOPNOTSUPP => Self::Unsupported,
            _ => Self::Done(ret),
        }
    }
}

/// Reads what is in memory from `file`, to `addr` in the memory of the current task, without a
/// request. Returns [`Cached::Unsupported`] unless [`File::reads_pages`].
#[inline]
pub(crate) fn read_cached(file: &File, addr: usize, len: usize, pos: i64) -> Cached {
    let Some(file) = file.open().filter(|_| file.reads_pages()) else {
        return Cached::Unsupported;
    };
    // SAFETY: the borrow of the `File` keeps what `File::open` returned open during the call. The
    // shim sets the trait of `reads_pages` only for files with `FOP_BUFFER_RASYNC`, which have
    // `read_iter`. The callee checks the address, and keeps no pointer when it returns.
    Cached::from_result(unsafe { ffi::kaio_read_cached(file, addr, len, pos) })
}

/// Reads from `file` to `addr` in the memory of the current task, or writes to it if `write` is
/// true, without a request, if that needs nothing but memory. Returns [`Cached::Unsupported`]
/// unless [`File::reads_memory`] or [`File::writes_memory`], and for a file that is not open for
/// this.
pub(crate) fn transfer_in_memory(
    file: &File,
    addr: usize,
    len: usize,
    pos: i64,
    write: bool,
) -> Cached {
    let may = match write {
        true => file.writes_memory() && file.writable() && file.has_write(),
        false => file.reads_memory() && file.readable() && file.has_read(),
    };
    let Some(file) = file.open().filter(|_| may) else {
        return Cached::Unsupported;
    };
    // SAFETY: the borrow of the `File` keeps what `File::open` returned open during the call. The
    // shim sets the traits only for files of file systems that have `read_iter` and `write_iter`.
    // The callee checks the address, and keeps no pointer when it returns.
    Cached::from_result(unsafe { ffi::kaio_transfer_in_memory(file, addr, len, pos, write) })
}

/// Takes over a request that a driver has completed: this is its `ki_complete`.
///
/// # Safety
///
/// The caller is a file system or driver to which [`Active::call`] passed `iocb`. It calls this
/// once for each call that it answered with `-EIOCBQUEUED`, if no page has the request, and does
/// not use `iocb` afterwards.
unsafe extern "C" fn driver_done<R: Request>(iocb: *mut bindings::kiocb, ret: kernel::ffi::c_long) {
    // SAFETY: the driver passes the kiocb that `call` passed to it, which is initialised, with the
    // file that the request keeps open. The kiocb is the first field of a `RequestInner<R>`
    // (`repr(C)`), so the cast pointer is the one that `leave` returned. The driver calls this once
    // for each attempt, and `call` does not take the token after `-EIOCBQUEUED`.
    let active = unsafe {
        ffi::kaio_iocb_end(iocb);
        Active::<R>::take(iocb.cast::<RequestInner<R>>())
    };
    R::driver_done(active, ret);
}

/// Kicks the request that waits for a page, if the page of this wake-up is that page. This is the
/// callback of the wait-queue entry. It runs under the lock of the page's wait queue, perhaps in
/// interrupt.
///
/// # Safety
///
/// The caller is a wake-up that holds the lock of the queue on which `raw` is. `raw` is the entry
/// of the `wait_page_queue` of a [`PageWait<R>`] that [`Active::call`] set up, and `key` is the
/// `struct wait_page_key` of the wake-up.
unsafe extern "C" fn page_unlocked<R: Request>(
    raw: *mut bindings::wait_queue_entry,
    _mode: kernel::ffi::c_uint,
    _flags: kernel::ffi::c_int,
    key: *mut kernel::ffi::c_void,
) -> kernel::ffi::c_int {
    // SAFETY: the wake-up holds the lock of the queue on which `raw` is, and passes its own key, as
    // this function's contract says. The callee takes the entry off the queue if the page matches.
    if !unsafe { ffi::kaio_page_unlocked(raw, key) } {
        return 0;
    }
    // SAFETY: `raw` is the entry of a `wait_page_queue`, that is the field `raw` of a
    // `PageWait<R>`, and that is in the memory of its request, which `leave` keeps until the token
    // is taken. The entry was on the queue, so the file system answers the call with
    // `-EIOCBQUEUED`: `call` does not take the token, and no driver has the kiocb. The entry is off
    // the queue now, so this happens once, and `request` is the pointer that `leave` returned.
    let active = unsafe {
        let page_wait = kernel::container_of!(raw, bindings::wait_page_queue, wait);
        let page_wait = kernel::container_of!(Opaque::cast_from(page_wait), PageWait<R>, raw);
        Active::<R>::take((*page_wait).request)
    };
    active.kick();
    1
}
