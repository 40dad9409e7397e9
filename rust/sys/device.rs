// SPDX-License-Identifier: GPL-2.0

//! The device node. `kernel::miscdevice` sets no owner in Linux 7.2 (an open descriptor would not
//! pin the module), no mode and no poll: these file operations are our own.

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
    task::Program,
    wait::WaitQueue, //
};

/// What an open file of the device is.
pub(crate) trait Device: Sized + Send + Sync + 'static {
    const NAME: &'static CStr;
    /// What all open files share.
    type Shared: Send + Sync + 'static;

    fn open(shared: ArcBorrow<'_, Self::Shared>) -> Result<Arc<Self>>;
    /// A descriptor was closed by `program`.
    fn flush(&self, program: Program);
    /// The last descriptor was closed. Process context; the current task may be anybody.
    fn release(&self);
    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize, compat: bool) -> Result<isize>;
    fn show_fdinfo(&self, m: &SeqFile);
    /// Woken when [`Self::is_readable`] may have become true.
    fn readers(&self) -> &WaitQueue;
    /// For poll(2).
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

// SAFETY: registering and deregistering may be done by any task.
unsafe impl<D: Device> Send for Registration<D> {}
// SAFETY: nothing can be done with a shared one.
unsafe impl<D: Device> Sync for Registration<D> {}

impl<D: Device> Registration<D> {
    /// Makes the node `/dev/NAME` with access `mode`.
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
                    // SAFETY: `slot` is pinned memory for it, which lives until `drop`
                    // deregisters; the operations live on.
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
        // SAFETY: `new` registered it.
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
        show_fdinfo: Some(Self::show_fdinfo),
        poll: Some(Self::poll),
        llseek: Some(bindings::noop_llseek),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// For the kernel: `file` is being opened.
    unsafe extern "C" fn open(
        _inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> kernel::ffi::c_int {
        // SAFETY: the file is being opened; misc_open() has set its private data to the device, which
        // was registered as part of a `Misc` and cannot be deregistered meanwhile.
        let misc: &Misc<D> = unsafe {
            let raw: *mut bindings::miscdevice = (*file).private_data.cast();
            &*kernel::container_of!(Opaque::cast_from(raw), Misc<D>, raw)
        };
        match D::open(misc.shared.as_arc_borrow()) {
            Ok(device) => {
                // SAFETY: the file is being opened: nobody else sees it.
                unsafe { (*file).private_data = Arc::into_raw(device).cast_mut().cast() };
                0
            }
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// For the kernel: `file` is open.
    unsafe extern "C" fn flush(
        file: *mut bindings::file,
        id: bindings::fl_owner_t,
    ) -> kernel::ffi::c_int {
        // SAFETY: the kernel holds the file during the call.
        let device = unsafe { Self::device(file) };
        device.flush(Program::with_files(id as usize));
        0
    }

    /// # Safety
    ///
    /// For the kernel: the last user of `file` is gone.
    unsafe extern "C" fn release(
        _inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> kernel::ffi::c_int {
        // SAFETY: takes back what `open` gave, once.
        let device = unsafe { Arc::<D>::from_raw((*file).private_data.cast()) };
        device.release();
        0
    }

    /// # Safety
    ///
    /// `file` is open, and of this device, for `'a`.
    unsafe fn device<'a>(file: *mut bindings::file) -> ArcBorrow<'a, D> {
        // SAFETY: `open` set it, `release` has not come.
        unsafe { ArcBorrow::from_raw((*file).private_data.cast()) }
    }

    /// # Safety
    ///
    /// For the kernel: `file` is open.
    unsafe extern "C" fn ioctl(
        file: *mut bindings::file,
        cmd: kernel::ffi::c_uint,
        arg: kernel::ffi::c_ulong,
    ) -> kernel::ffi::c_long {
        // SAFETY: the kernel holds the file during the call.
        let device = unsafe { Self::device(file) };
        D::ioctl(device, cmd, arg, false).unwrap_or_else(|e| e.to_errno() as isize)
    }

    /// # Safety
    ///
    /// For the kernel: `file` is open.
    unsafe extern "C" fn compat_ioctl(
        file: *mut bindings::file,
        cmd: kernel::ffi::c_uint,
        arg: kernel::ffi::c_ulong,
    ) -> kernel::ffi::c_long {
        // SAFETY: as above. A 32-bit caller's pointer has 32 bits.
        let device = unsafe { Self::device(file) };
        D::ioctl(device, cmd, arg as u32 as usize, true).unwrap_or_else(|e| e.to_errno() as isize)
    }

    /// # Safety
    ///
    /// For the kernel: `file` is open, `table` is null or valid.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: the kernel holds the file during the call; whoever gets into the queue holds it
        // as long as it stays there.
        let device = unsafe {
            let device = Self::device(file);
            ffi::kaio_poll_wait(file, device.readers().as_raw(), table);
            device
        };
        if device.is_readable() {
            poll::READABLE
        } else {
            0
        }
    }

    /// # Safety
    ///
    /// For the kernel: `m` and `file` are valid.
    unsafe extern "C" fn show_fdinfo(m: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: the kernel holds both during the call.
        let (device, m) = unsafe { (Self::device(file), SeqFile::from_raw(m)) };
        device.show_fdinfo(m);
    }
}
