// SPDX-License-Identifier: GPL-2.0

//! The file that a request is about.

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

/// An open file, held. May be dropped in any context.
///
/// # Invariants
///
/// `file` is there until [`File::close_now`], which only the end of a request calls.
pub(crate) struct File {
    file: Option<ARef<fs::File>>,
    traits: u32,
}

macro_rules! traits {
    ($($(#[$doc:meta])* $name:ident: $bit:ident,)*) => {
        impl File {$(
            $(#[$doc])*
            pub(crate) fn $name(&self) -> bool {
                self.traits & ffi::$bit != 0
            }
        )*}
    };
}

traits! {
    /// Open for reading (`FMODE_READ`).
    readable: kaio_file_traits_KAIO_FILE_READ,
    /// Open for writing (`FMODE_WRITE`).
    writable: kaio_file_traits_KAIO_FILE_WRITE,
    /// Has `read_iter`, or a `read` that will do: it can be waited for, and does not depend on the
    /// task that calls it.
    has_read: kaio_file_traits_KAIO_FILE_HAS_READ,
    /// Likewise for writing.
    has_write: kaio_file_traits_KAIO_FILE_HAS_WRITE,
    /// A read is a `read`, which does not know `IOCB_NOWAIT`.
    plain_read: kaio_file_traits_KAIO_FILE_PLAIN_READ,
    /// Likewise for writing.
    plain_write: kaio_file_traits_KAIO_FILE_PLAIN_WRITE,
    /// A character device.
    character: kaio_file_traits_KAIO_FILE_CHAR,
    /// Has `fsync`.
    has_fsync: kaio_file_traits_KAIO_FILE_HAS_FSYNC,
    /// Knows `IOCB_NOWAIT` (`FMODE_NOWAIT`).
    nowait: kaio_file_traits_KAIO_FILE_NOWAIT,
    /// Has `poll`.
    pollable: kaio_file_traits_KAIO_FILE_POLL,
    /// A regular file or a block device: it is ready in bounded time, and a short transfer means
    /// its end.
    on_disk: kaio_file_traits_KAIO_FILE_DISK,
    /// A regular file.
    regular: kaio_file_traits_KAIO_FILE_REGULAR,
    /// Its `poll` asks a daemon (FUSE), which may take its time.
    asks: kaio_file_traits_KAIO_FILE_ASKS,
    /// A pipe or FIFO: it knows `IOCB_NOWAIT` even where [`Self::nowait`] says no (a FIFO by name).
    fifo: kaio_file_traits_KAIO_FILE_FIFO,
    /// A write without readers raises `SIGPIPE`.
    sigpipe: kaio_file_traits_KAIO_FILE_SIGPIPE,
    /// What it does depends on the task that calls it (procfs, cgroupfs, signalfd): not for workers.
    of_task: kaio_file_traits_KAIO_FILE_OF_TASK,
    /// `O_NONBLOCK` was set when the request was made.
    nonblock: kaio_file_traits_KAIO_FILE_NONBLOCK,
    /// A regular file or block device, not `O_DIRECT`, whose reads can be left to whoever unlocks the
    /// page, and nobody is to be asked about them.
    reads_pages: kaio_file_traits_KAIO_FILE_PAGES,
}

/// The files of one call's requests. One after another they are often about the same file: it is looked
/// up once, which is as if all had been looked up when the first was.
pub(crate) struct Files {
    last: Option<Lent>,
    // `fdget()` may hold nothing but what the current task does not close meanwhile.
    _not_send: NotThreadSafe,
}

/// A file as long as a call of the current task lasts: what `fdget()` returned.
///
/// # Invariants
///
/// `file` is not moved out, dropped, closed or given out but as a shared reference: the reference count
/// is the descriptor table's, or `word`'s.
struct Lent {
    fd: u32,
    word: usize,
    file: ManuallyDrop<File>,
}

impl Lent {
    fn get(fd: u32) -> Result<Self> {
        let mut word = 0;
        // SAFETY: `word` is ours. It is given back when this is dropped, in the same call: `Files` is
        // on the stack of the ioctl, whose task closes no descriptor meanwhile.
        let raw = unsafe { ffi::kaio_fdget(fd, &mut word) };
        let raw = NonNull::new(raw.cast::<fs::File>()).ok_or(EBADF)?;
        Ok(Self {
            fd,
            word,
            file: ManuallyDrop::new(File {
                // SAFETY: the file is open until then, and by the invariant nobody puts a reference
                // that is not ours. An ioctl holds no `fdget_pos()`.
                file: Some(unsafe { ARef::from_raw(raw) }),
                traits: 0,
            }),
        })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // SAFETY: `kaio_fdget` returned it, to us; the file is not looked at any more.
        unsafe { ffi::kaio_fdput(self.word) };
    }
}

impl Files {
    pub(crate) fn new() -> Self {
        Self {
            last: None,
            _not_send: NotThreadSafe,
        }
    }

    /// `EBADF`.
    #[inline]
    pub(crate) fn get(&mut self, fd: u32) -> Result<&File> {
        if self.last.as_ref().is_none_or(|last| last.fd != fd) {
            self.last = Some(Lent::get(fd)?);
        }
        self.last.as_ref().map(|last| &*last.file).ok_or(EBADF)
    }

    /// The same once more, and what it can do. `EBADF`: there was none.
    #[inline]
    pub(crate) fn look(&mut self) -> Result<&File> {
        let last = self.last.as_mut().ok_or(EBADF)?;
        // There is no file that has no traits.
        if last.file.traits == 0 {
            // SAFETY: the file is open.
            last.file.traits = unsafe { ffi::kaio_file_traits(last.file.as_ptr()) };
        }
        Ok(&last.file)
    }
}

impl File {
    /// The same, held once more.
    pub(crate) fn again(&self) -> Self {
        Self {
            file: self.file.clone(),
            traits: self.traits,
        }
    }

    /// No file at all, for tests.
    #[cfg(CONFIG_KAIO_KUNIT_TEST)]
    pub(crate) fn none() -> Self {
        Self {
            file: None,
            traits: 0,
        }
    }

    /// Null after [`File::close_now`].
    pub(super) fn as_ptr(&self) -> *mut bindings::file {
        self.file
            .as_ref()
            .map_or(core::ptr::null_mut(), |file| file.as_ptr())
    }

    /// Gives the file up, and closes it on the spot if nobody else has it, where a kworker's `fput()`
    /// would do so a moment later. Process context, no locks held.
    pub(crate) fn close_now(&mut self) {
        if let Some(file) = self.file.take() {
            // SAFETY: the reference is given up here, and `file` is forgotten.
            unsafe { ffi::kaio_fput_now(ARef::into_raw(file).as_ptr().cast()) };
        }
    }

    /// Nobody else has it: to give it up is to close it.
    pub(crate) fn is_last(&self) -> bool {
        // SAFETY: the file is open.
        unsafe { ffi::kaio_file_is_last(self.as_ptr()) }
    }

    /// `vfs_fsync()`: waits for the disk.
    pub(crate) fn fsync(&self, data_only: bool) -> i64 {
        // SAFETY: the file is open.
        i64::from(unsafe { bindings::vfs_fsync(self.as_ptr(), i32::from(data_only)) })
    }

    /// What tells files apart that are not the same: the address of the inode, which is there as
    /// long as the file. Not 0.
    pub(crate) fn identity(&self) -> usize {
        // SAFETY: the file is open.
        unsafe { ffi::kaio_file_identity(self.as_ptr()) }
    }

    /// How many requests its device can have in hand, if that is known: more would wait for one of
    /// those to end.
    pub(crate) fn tags(&self) -> u32 {
        // SAFETY: the file is open.
        unsafe { ffi::kaio_file_tags(self.as_ptr()) }
    }

    /// What tells open files apart. Even.
    pub(crate) fn address(&self) -> usize {
        self.as_ptr() as usize
    }

    /// `pos` is at or past the end.
    pub(crate) fn at_eof(&self, pos: i64) -> bool {
        // SAFETY: the file is open.
        unsafe { ffi::kaio_at_eof(self.as_ptr(), pos) }
    }

    /// Whether the caller may transfer `len` bytes at `pos` (`rw_verify_area()`: the position,
    /// mandatory locks, security modules).
    pub(crate) fn verify_area(&self, write: bool, pos: i64, len: usize) -> Result {
        let dir = if write {
            bindings::WRITE
        } else {
            bindings::READ
        };
        // SAFETY: the file is open, `pos` is ours.
        let ret = unsafe { bindings::rw_verify_area(dir as i32, self.as_ptr(), &pos, len) };
        kernel::error::to_result(ret)
    }
}
