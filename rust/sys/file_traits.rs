// SPDX-License-Identifier: GPL-2.0

//! What a file can do, as `kaio_file_traits()` of the shim found when the request was made.
//!
//! fs/aio.c has no counterpart, as it runs each request in io_submit(2). The traits of a file are a
//! number that does not change. They remain known when the file is closed. There are no locks.

use super::{
    ffi,
    file::File, //
};

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
    /// Returns whether the file is open for reading (`FMODE_READ`).
    readable: kaio_file_traits_KAIO_FILE_READ,
    /// Returns whether the file is open for writing (`FMODE_WRITE`).
    writable: kaio_file_traits_KAIO_FILE_WRITE,
    /// Returns whether the file has `read_iter`, or a `read` that kaio can use: a request can wait
    /// for the file, and the result does not depend on the task that calls the method.
    has_read: kaio_file_traits_KAIO_FILE_HAS_READ,
    /// Returns whether the file has `write_iter`, or a `write` that kaio can use: a request can
    /// wait for the file, and the result does not depend on the task that calls the method.
    has_write: kaio_file_traits_KAIO_FILE_HAS_WRITE,
    /// Returns whether the file is read by `read`, which does not support `IOCB_NOWAIT`.
    plain_read: kaio_file_traits_KAIO_FILE_PLAIN_READ,
    /// Returns whether the file is written by `write`, which does not support `IOCB_NOWAIT`.
    plain_write: kaio_file_traits_KAIO_FILE_PLAIN_WRITE,
    /// Returns whether the file is a character device.
    character: kaio_file_traits_KAIO_FILE_CHAR,
    /// Returns whether the file has `fsync`.
    has_fsync: kaio_file_traits_KAIO_FILE_HAS_FSYNC,
    /// Returns whether the file supports `IOCB_NOWAIT` (`FMODE_NOWAIT`).
    nowait: kaio_file_traits_KAIO_FILE_NOWAIT,
    /// Returns whether the file has `poll`.
    pollable: kaio_file_traits_KAIO_FILE_POLL,
    /// Returns whether the file is a regular file or a block device: such a file is ready in
    /// bounded time, and a short transfer means that the file ends there.
    on_disk: kaio_file_traits_KAIO_FILE_DISK,
    /// Returns whether the file is a regular file.
    regular: kaio_file_traits_KAIO_FILE_REGULAR,
    /// Returns whether the `poll` of the file asks a daemon (FUSE), which may take its time.
    slow_poll: kaio_file_traits_KAIO_FILE_ASKS,
    /// Returns whether the file is a pipe or FIFO. Such a file supports `IOCB_NOWAIT` even if
    /// [`Self::nowait`] returns false, as for a FIFO that was opened by its name.
    fifo: kaio_file_traits_KAIO_FILE_FIFO,
    /// Returns whether a write raises `SIGPIPE` if the file has no readers.
    sigpipe: kaio_file_traits_KAIO_FILE_SIGPIPE,
    /// Returns whether the results of the file's methods may depend on the task that calls them
    /// (procfs, netlink, devices that were not examined), so that workers must not call them. The
    /// shim lists the files for which the results do not.
    task_bound: kaio_file_traits_KAIO_FILE_OF_TASK,
    /// Returns whether the file is a terminal whose reads the kernel records for the reading task,
    /// since the kernel was told to audit the submitter. Workers must not read it, but may write to
    /// it.
    audited: kaio_file_traits_KAIO_FILE_AUDITED,
    /// Returns whether the file is a signalfd: only the task to which the signals are sent can find
    /// out whether the file is ready.
    signals: kaio_file_traits_KAIO_FILE_SIGNALS,
    /// Returns whether `O_NONBLOCK` was set when the request was made.
    nonblock: kaio_file_traits_KAIO_FILE_NONBLOCK,
    /// Returns whether the file is a regular file or block device, not `O_DIRECT`, of which a read
    /// can wait for a page without a thread, and needs no permission event of fanotify.
    reads_pages: kaio_file_traits_KAIO_FILE_PAGES,
    /// Returns whether the file is a regular file or block device whose reads do not wait if they
    /// are told not to. The shim lists the file systems for which that is known.
    keeps_nowait_in_reads: kaio_file_traits_KAIO_FILE_TRY_READ,
    /// Returns whether the file is a regular file or block device whose writes do not wait if they
    /// are told not to. The shim lists the file systems for which that is known.
    keeps_nowait_in_writes: kaio_file_traits_KAIO_FILE_TRY_WRITE,
    /// Returns whether the file is a regular file that can be read in the submit call if its data
    /// are in memory (`request::issue::transfer_in_memory`).
    reads_memory: kaio_file_traits_KAIO_FILE_MEMORY_READ,
    /// Returns whether the file is a regular file that can be written in the submit call if that
    /// needs nothing but memory (`request::issue::transfer_in_memory`).
    writes_memory: kaio_file_traits_KAIO_FILE_MEMORY_WRITE,
}

impl File {
    /// Returns whether only the submitter, and no worker, may read from this file or write to it.
    pub(crate) fn is_the_submitters(&self, write: bool) -> bool {
        self.task_bound() || (self.audited() && !write)
    }

    /// Returns whether a transfer with `IOCB_NOWAIT` does not wait. With some file systems it does;
    /// other files keep what they promise by the flag.
    pub(crate) fn keeps_nowait(&self, write: bool) -> bool {
        match (self.on_disk(), write) {
            (false, _) => true,
            (true, false) => self.keeps_nowait_in_reads(),
            (true, true) => self.keeps_nowait_in_writes(),
        }
    }

    /// Returns whether the submit call may try to read, or to write if `write` is true, a regular
    /// file or block device: it is open for that, has `read_iter` or `write_iter`, and does not
    /// wait.
    #[inline]
    pub(crate) fn tries_on_disk(&self, write: bool) -> bool {
        match write {
            true => self.writable() && self.keeps_nowait_in_writes() && self.has_write(),
            false => self.readable() && self.keeps_nowait_in_reads() && self.has_read(),
        }
    }
}
