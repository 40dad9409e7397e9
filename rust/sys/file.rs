// SPDX-License-Identifier: GPL-2.0

//! The file of a request, and the files of a submit call.
//!
//! The counterpart is `ki_filp` of `struct kiocb` in fs/aio.c. What a file can do is in
//! `sys::file_traits`, and what the kernel is asked about it in `sys::file_ops`.
//!
//! A [`File`] is open, or has been closed by the request, and all code gets at the `struct file` by
//! [`File::open`]. No lock is needed.

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    fs,
    prelude::*,
    sync::aref::ARef,
    types::NotThreadSafe, //
};

use super::ffi;

/// A reference to an open file, and what the file can do. May be dropped in any context.
///
/// The file is open until [`Active::close_file`] has closed it. What it can do remains known. Code
/// that needs an open file calls [`File::open`], and has an answer for a closed file.
///
/// [`Active::close_file`]: crate::request::token::Active::close_file
pub(crate) struct File {
    file: Option<ARef<fs::File>>,
    /// `KAIO_FILE_*`, or 0 if [`Files::look`] was not called for the file.
    pub(super) traits: u32,
    /// The number of the look-up in its submit call, from 1 on, or 0 if no call looked it up.
    look_up: u32,
}

/// The files of the requests of one submit call.
///
/// Successive requests are often about the same file. Then the descriptor is looked up once, which
/// has the effect of looking all of them up at the time of the first one.
pub(crate) struct Files {
    last: Option<Borrowed>,
    /// The number of look-ups so far.
    look_ups: u32,
    // `fdget()` may take no reference, if only the current task could close the descriptor
    // meanwhile.
    _not_send: NotThreadSafe,
}

/// A file that the current task has borrowed from its descriptor table, by `fdget()`.
///
/// # Invariants
///
/// - `word` is what `fdget()` returned for `file`.
/// - `file` is not moved out, dropped or closed, and is given out as a shared reference only,
///   because the reference that it stands for belongs to the descriptor table, or to `word`.
struct Borrowed {
    fd: u32,
    word: usize,
    file: ManuallyDrop<File>,
}

impl Borrowed {
    /// Looks a descriptor up. Returns `EBADF` if there is no such descriptor.
    fn get(fd: u32, look_up: u32) -> Result<Self> {
        let mut word = 0;
        // SAFETY: `word` is a local variable. `Drop` gives it back. As `Files` is not `Send` and is
        // a local variable of the submit call, that happens in the same task and the same call, and
        // the call closes no descriptor meanwhile.
        let raw = unsafe { ffi::kaio_fdget(fd, &mut word) };
        let raw = NonNull::new(raw.cast::<fs::File>()).ok_or(EBADF)?;
        Ok(Self {
            fd,
            word,
            file: ManuallyDrop::new(File {
                // SAFETY: `fdget()` keeps the file open until `fdput()`. The `ManuallyDrop` and the
                // type's invariants see to it that the reference, which is not owned here, is not
                // given up. The current task is in an ioctl, which does not call `fdget_pos()`; any
                // other task's call of `fdget_pos()` took the lock of the position.
                file: Some(unsafe { ARef::from_raw(raw) }),
                traits: 0,
                look_up,
            }),
        })
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // SAFETY: by the type's invariant `fdget()` returned `word`, in this task. `file` is not
        // used any more.
        unsafe { ffi::kaio_fdput(self.word) };
    }
}

impl Files {
    /// Makes an object that has looked no descriptor up.
    pub(crate) fn new() -> Self {
        Self {
            last: None,
            look_ups: 0,
            _not_send: NotThreadSafe,
        }
    }

    /// Returns the file of the descriptor `fd`. Returns `EBADF` if there is no such descriptor.
    #[inline]
    pub(crate) fn get(&mut self, fd: u32) -> Result<&File> {
        if self.last.as_ref().is_none_or(|last| last.fd != fd) {
            self.look_ups = self.look_ups.wrapping_add(1);
            self.last = Some(Borrowed::get(fd, self.look_ups)?);
        }
        self.last.as_ref().map(|last| &*last.file).ok_or(EBADF)
    }

    /// Returns the file that [`Self::get`] returned last, and finds out what it can do. Returns
    /// `EBADF` if there is none.
    #[inline]
    pub(crate) fn look(&mut self) -> Result<&File> {
        let last = self.last.as_mut().ok_or(EBADF)?;
        // Each file has at least one trait, so 0 means that they are not known yet.
        if last.file.traits == 0 {
            last.file.traits = match last.file.open() {
                // SAFETY: `last` is borrowed, which keeps what `open` returned open during the
                // call.
                Some(file) => unsafe { ffi::kaio_file_traits(file) },
                None => 0,
            };
        }
        Ok(&last.file)
    }
}

impl Clone for File {
    /// Returns another reference to the file.
    fn clone(&self) -> Self {
        Self {
            file: self.file.clone(),
            traits: self.traits,
            look_up: self.look_up,
        }
    }
}

impl File {
    /// Returns no file, as if it had been closed, for tests.
    #[cfg(CONFIG_KAIO_KUNIT_TEST)]
    pub(crate) fn none() -> Self {
        Self {
            file: None,
            traits: 0,
            look_up: 0,
        }
    }

    /// Returns the number of the look-up in the submit call, in which no two files have the same
    /// one. (A file that is looked up once more has another one.)
    #[inline]
    pub(crate) fn look_up(&self) -> u32 {
        self.look_up
    }

    /// Returns the open file, which stays open as long as `self` is borrowed, or `None` if the
    /// request has closed the file.
    #[inline]
    pub(crate) fn open(&self) -> Option<*mut bindings::file> {
        self.file.as_ref().map(|file| file.as_ptr())
    }

    /// Gives the file up. If this is the last reference, the file is closed before the function
    /// returns, while an `fput()` of a kworker would close it a moment later. Process context, no
    /// locks held. See `Active::close_file`.
    pub(crate) fn close_now(&mut self) {
        if let Some(file) = self.file.take() {
            // SAFETY: `into_raw` returns the reference that `file` owned, and `take` left none
            // behind, so it is given up once. No code may still use a pointer that it got from
            // `open`, as `self` is mutably borrowed.
            unsafe { ffi::kaio_fput_now(ARef::into_raw(file).as_ptr().cast()) };
        }
    }

    /// Returns whether this is the last reference, so that giving it up closes the file. Returns
    /// false if the request has closed the file.
    pub(crate) fn is_last(&self) -> bool {
        match self.open() {
            // SAFETY: the borrow of `self` keeps what `open` returned open during the call.
            Some(file) => unsafe { ffi::kaio_file_is_last(file) },
            None => false,
        }
    }
}
