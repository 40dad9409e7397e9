// SPDX-License-Identifier: GPL-2.0

//! The device node, and its file operations.
//!
//! fs/aio.c has system calls instead. `kernel::miscdevice` of Linux 7.2 sets no owner (an open file
//! would not pin the module), no mode and no poll. The private data of an open file is an `Arc` of
//! the [`Device`] from `open` to `release`. No locks are taken here.

use core::marker::PhantomData;

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::Opaque,
};

use super::{
    ffi,
    module,
    poll,
    task::FilesOwner,
    wait::WaitQueue, //
};

/// An open file of the device.
pub(crate) trait Device: Sized + Send + Sync + 'static {
    /// The name of the node in `/dev`.
    const NAME: &'static CStr;
    /// What all open files share.
    type Shared: Send + Sync + 'static;

    /// Makes the object of a file that is being opened. The error is that of open(2).
    fn open(shared: ArcBorrow<'_, Self::Shared>) -> Result<Arc<Self>>;
    /// Takes note that `owner` has closed a descriptor of the file.
    fn flush(&self, owner: FilesOwner);
    /// Takes note that the last reference to the file has gone. Process context of any task.
    fn release(&self);
    /// Carries out an ioctl (`compat`: of a 32-bit program). Returns `ENOTTY` for unknown commands.
    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize, compat: bool) -> Result<isize>;
    /// Carries out an fadvise64(2) that stands for an ioctl. Returns `None` if it does not.
    fn fadvise(
        this: ArcBorrow<'_, Self>,
        offset: i64,
        len: i64,
        advice: i32,
    ) -> Option<Result<isize>>;
    /// Writes what `/proc/PID/fdinfo` shows of the file.
    fn show_fdinfo(&self, m: &SeqFile);
    /// Returns the wait queue, which is woken when [`Self::is_readable`] may have become true.
    fn readers(&self) -> &WaitQueue;
    /// Returns whether poll(2) is to report that the file is readable.
    fn is_readable(&self) -> bool;
}

/// A device node, while it exists.
pub(crate) struct Registration<D: Device>(Pin<KBox<Misc<D>>>);

#[pin_data]
struct Misc<D: Device> {
    #[pin]
    raw: Opaque<bindings::miscdevice>,
    shared: Arc<D::Shared>,
}

// SAFETY: any task may deregister a device, and `D::Shared` is `Send` and `Sync`.
unsafe impl<D: Device> Send for Registration<D> {}
// SAFETY: no method takes a shared reference to a `Registration`.
unsafe impl<D: Device> Sync for Registration<D> {}

impl<D: Device> Registration<D> {
    /// Makes the node `/dev/NAME` with that access `mode`. Returns `ENOMEM` if there is no memory,
    /// and otherwise the error of `misc_register()`, such as `EBUSY`.
    pub(crate) fn new(mode: u16, shared: Arc<D::Shared>) -> Result<Self> {
        let misc = KBox::pin_init(
            try_pin_init!(Misc::<D> {
                shared,
                raw <- Opaque::try_ffi_init(|slot: *mut bindings::miscdevice| {
                    let mut misc: bindings::miscdevice = pin_init::zeroed();
                    misc.minor = bindings::MISC_DYNAMIC_MINOR as i32;
                    misc.name = D::NAME.as_char_ptr();
                    misc.fops = &Ops::<D>::FILE;
                    misc.mode = mode;
                    // SAFETY: `slot` is pinned memory for a `struct miscdevice`, which is freed
                    // only after `drop` has deregistered it. The name and the file operations are
                    // static.
                    unsafe {
                        slot.write(misc);
                        to_result(bindings::misc_register(slot))
                    }
                }),
            }? Error),
            GFP_KERNEL,
        )?;
        Ok(Self(misc))
    }
}

impl<D: Device> Drop for Registration<D> {
    fn drop(&mut self) {
        // SAFETY: `new` registered the device, and `drop` deregisters it once.
        unsafe { bindings::misc_deregister(self.0.raw.get()) };
    }
}

struct Ops<D>(PhantomData<D>);

impl<D: Device> Ops<D> {
    const FILE: bindings::file_operations = bindings::file_operations {
        owner: module::owner(),
        open: Some(Self::open),
        flush: Some(Self::flush),
        release: Some(Self::release),
        unlocked_ioctl: Some(Self::ioctl),
        compat_ioctl: Some(Self::compat_ioctl),
        fadvise: Some(Self::fadvise),
        show_fdinfo: Some(Self::show_fdinfo),
        poll: Some(Self::poll),
        llseek: Some(bindings::noop_llseek),
        ..pin_init::zeroed()
    };

    /// Opens a file of the device.
    ///
    /// # Safety
    ///
    /// The caller is `misc_open()`, and `file` is being opened.
    unsafe extern "C" fn open(
        _inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> kernel::ffi::c_int {
        // SAFETY: misc_open() has set the private data to the field `raw` of a `Misc<D>` that `new`
        // registered. It holds the mutex of misc_deregister(), so the `Misc<D>` stays in memory.
        let misc: &Misc<D> = unsafe {
            let raw: *mut bindings::miscdevice = (*file).private_data.cast();
            &*kernel::container_of!(Opaque::cast_from(raw), Misc<D>, raw)
        };
        match D::open(misc.shared.as_arc_borrow()) {
            Ok(device) => {
                // SAFETY: the file is being opened, so only the current task has it.
                unsafe { (*file).private_data = Arc::into_raw(device).cast_mut().cast() };
                0
            }
            Err(e) => e.to_errno(),
        }
    }

    /// Tells the device that the current task has closed a descriptor.
    ///
    /// # Safety
    ///
    /// The caller is the kernel, which holds `file` during the call, and `open` has opened `file`.
    unsafe extern "C" fn flush(
        file: *mut bindings::file,
        id: bindings::fl_owner_t,
    ) -> kernel::ffi::c_int {
        // SAFETY: `open` has opened the file, and the kernel holds it during the call.
        let device = unsafe { Self::device(file) };
        device.flush(FilesOwner::with_files(id as usize));
        0
    }

    /// Gives up the object of the file.
    ///
    /// # Safety
    ///
    /// The caller is the kernel, which calls this once, when the last reference to `file` has gone.
    unsafe extern "C" fn release(
        _inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> kernel::ffi::c_int {
        // SAFETY: `open` has set the private data by `Arc::into_raw`; the kernel calls this once.
        let device = unsafe { Arc::<D>::from_raw((*file).private_data.cast()) };
        device.release();
        0
    }

    /// Returns the object of a file.
    ///
    /// # Safety
    ///
    /// The caller ensures that `open` has opened `file`, and that the kernel holds it for `'a`.
    unsafe fn device<'a>(file: *mut bindings::file) -> ArcBorrow<'a, D> {
        // SAFETY: `open` has set the private data to what `Arc::into_raw` returned. The caller
        // ensures that the file is held, so `release` does not take that reference during `'a`.
        unsafe { ArcBorrow::from_raw((*file).private_data.cast()) }
    }

    /// Carries out an ioctl.
    ///
    /// # Safety
    ///
    /// The caller is the kernel, which holds `file` during the call, and `open` has opened `file`.
    unsafe extern "C" fn ioctl(
        file: *mut bindings::file,
        cmd: kernel::ffi::c_uint,
        arg: kernel::ffi::c_ulong,
    ) -> kernel::ffi::c_long {
        // SAFETY: `open` has opened the file, and the kernel holds it during the call.
        let device = unsafe { Self::device(file) };
        D::ioctl(device, cmd, arg, false).unwrap_or_else(|e| e.to_errno() as isize)
    }

    /// Carries out an ioctl of a 32-bit program.
    ///
    /// # Safety
    ///
    /// The caller is the kernel, which holds `file` during the call, and `open` has opened `file`.
    unsafe extern "C" fn compat_ioctl(
        file: *mut bindings::file,
        cmd: kernel::ffi::c_uint,
        arg: kernel::ffi::c_ulong,
    ) -> kernel::ffi::c_long {
        // SAFETY: `open` has opened the file, and the kernel holds it during the call.
        let device = unsafe { Self::device(file) };
        // A pointer of a 32-bit program has 32 bits.
        D::ioctl(device, cmd, arg as u32 as usize, true).unwrap_or_else(|e| e.to_errno() as isize)
    }

    /// Carries out an fadvise64(2).
    ///
    /// # Safety
    ///
    /// The caller is the kernel, which holds `file` during the call, and `open` has opened `file`.
    unsafe extern "C" fn fadvise(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        len: bindings::loff_t,
        advice: kernel::ffi::c_int,
    ) -> kernel::ffi::c_int {
        // SAFETY: `open` has opened the file, and the kernel holds it during the call.
        let device = unsafe { Self::device(file) };
        match D::fadvise(device, offset, len, advice) {
            // The number of requests or events of a context is far below the limit.
            Some(Ok(ret)) => kernel::ffi::c_int::try_from(ret).unwrap_or(kernel::ffi::c_int::MAX),
            Some(Err(e)) => e.to_errno(),
            // SAFETY: the kernel holds the file, and this is what it does for a file without this
            // method.
            None => unsafe { bindings::generic_fadvise(file, offset, len, advice) },
        }
    }

    /// Returns the poll events of a file, and adds the wait queue to `table`.
    ///
    /// # Safety
    ///
    /// The caller is the kernel, which holds `file` during the call, and `open` has opened `file`.
    /// `table` is null or valid. An entry that it puts on the queue leaves it before `release`.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: `open` has opened the file, and the kernel holds it during the call. The wait
        // queue is in the object of the file, which `release` gives up after the entries have left.
        let device = unsafe {
            let device = Self::device(file);
            ffi::kaio_poll_wait(file, device.readers().as_raw(), table);
            device
        };
        match device.is_readable() {
            true => poll::READABLE,
            false => 0,
        }
    }

    /// Shows the file in `/proc/PID/fdinfo`.
    ///
    /// # Safety
    ///
    /// The caller is the kernel, which holds both during the call, and `open` has opened `file`.
    unsafe extern "C" fn show_fdinfo(m: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: `open` has opened the file, and the kernel holds `file` and `m` during the call.
        let (device, m) = unsafe { (Self::device(file), SeqFile::from_raw(m)) };
        device.show_fdinfo(m);
    }
}
