// SPDX-License-Identifier: GPL-2.0

//! kaio for drivers in Rust: a safe interface over `include/linux/kaio.h`.
//!
//! A module includes this file (`#[path = ".../include/rust/kaio.rs"] mod kaio;`): Rust has no other
//! way yet to use the crate of another module. It links against the same GPL-only symbols as C.
//!
//! A [`Provider`] is what an open file is. Its [`Provider::retry`] gets a [`Promise`] with each
//! attempt, which is either used up for a result, or exchanged for a [`Kick`] or a [`Completion`]:
//! the right, and the duty, to kick or to complete once, from any context. They cannot be copied, and
//! to drop one keeps the promise too. So neither can be done twice, or be forgotten by accident (only
//! with `mem::forget()` and its like: the request then never ends); the answer that retry must give
//! comes with them, so it cannot be the wrong one.
//!
//! What C has and this has not: see [`Registration`].

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::to_result,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::Opaque,
};

/// What bindgen makes of the header, among others.
#[allow(
    clippy::all,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    dead_code,
    improper_ctypes,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
mod ffi {
    include!(concat!(env!("KAIO_OBJ"), "/rust/kaio_bindings.rs"));
}

const EIO: isize = -(bindings::EIO as isize);

/// A result as C has it. `EIOCBQUEUED` is a promise to complete, and nobody would keep it: `EIO`.
/// (`EIOCBRETRY` is no errno, so no `Error` can be that.)
fn answer_of(result: Result<usize>) -> isize {
    match result.map_err(|e| e.to_errno() as isize) {
        Ok(bytes) => bytes.min(isize::MAX as usize) as isize,
        Err(QUEUED) => EIO,
        Err(errno) => errno,
    }
}

const QUEUED: isize = -(bindings::EIOCBQUEUED as isize);

/// An open file of a device, and what is done with requests on it.
pub(crate) trait Provider: Send + Sync + Sized + 'static {
    /// Of the device node, and of the provider.
    const NAME: &'static CStr;

    /// What the provider keeps for each request (`private`). Dropped when nobody will touch the
    /// request any more (`dtor`), in any context, hard interrupt included, under the locks of
    /// whoever kicks or completes.
    type State: Send;

    /// The device is opened.
    fn open() -> Result<Arc<Self>>;

    /// The first attempt of a request is about to be made. Process context.
    fn begin(this: ArcBorrow<'_, Self>) -> Result<Self::State>;

    /// Does what can be done without waiting. Process context, in the submitter's memory and with its
    /// credentials; one call at a time for each request.
    fn retry<'a>(
        this: ArcBorrow<'_, Self>,
        req: &mut Attempt<'a, Self>,
        promise: Promise<'a>,
    ) -> Answer<'a>;

    /// A request is to end: gives back what it holds for it, if it still does. Process context, of
    /// whoever it may be; user memory must not be touched. May sleep, but others wait meanwhile.
    fn cancel(this: ArcBorrow<'_, Self>, id: &Id) -> Option<Owed>;

    /// ioctl(2), of 32-bit and 64-bit callers.
    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize>;
}

/// Which request. Two that exist at the same time differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(NonNull<ffi::kaio_iocb>);

// SAFETY: a name: nothing is done with the pointer.
unsafe impl Send for Id {}
// SAFETY: as above.
unsafe impl Sync for Id {}

/// A request during an attempt: `struct kaio_iocb`.
///
/// # Invariants
///
/// The iocb is ours for `'a`, which ends with the attempt.
pub(crate) struct Attempt<'a, P: Provider> {
    iocb: &'a mut ffi::kaio_iocb,
    _provider: PhantomData<P>,
}

impl<P: Provider> Attempt<'_, P> {
    /// Bytes that are still to be moved (`ki_left`).
    pub(crate) fn left(&self) -> usize {
        // SAFETY: every kind of iterator has a count there.
        unsafe {
            self.iocb
                .ki_iter
                .__bindgen_anon_1
                .__bindgen_anon_1
                .as_ref()
                .count
        }
    }

    /// Bytes that were asked for (`ki_nbytes`).
    pub(crate) fn len(&self) -> usize {
        self.iocb.ki_nbytes
    }

    /// Bytes that were moved so far, by all attempts.
    pub(crate) fn done(&self) -> usize {
        self.len().saturating_sub(self.left())
    }

    /// Where the transfer goes on (`ki_pos`); copying moves it.
    pub(crate) fn pos(&self) -> i64 {
        self.iocb.ki_pos
    }

    /// `aio_data` of the submitter; 0 in read(2) and write(2).
    pub(crate) fn user_data(&self) -> u64 {
        self.iocb.ki_user_data
    }

    /// `IOCB_CMD_PREAD` and so on.
    pub(crate) fn opcode(&self) -> u16 {
        self.iocb.ki_opcode
    }

    /// `IOCB_*` bits, as in `struct kiocb`.
    pub(crate) fn flags(&self) -> i32 {
        self.iocb.ki_flags
    }

    /// The I/O priority.
    pub(crate) fn ioprio(&self) -> u16 {
        self.iocb.ki_ioprio
    }

    /// It takes data from the submitter.
    pub(crate) fn is_write(&self) -> bool {
        self.iocb.ki_iter.data_source
    }

    /// Gives data to the submitter of a read; how many bytes: fewer if it asked for fewer, or its
    /// memory faults. 0 for a write.
    pub(crate) fn copy_to(&mut self, from: &[u8]) -> usize {
        if self.is_write() {
            return 0;
        }
        let from = from.get(..self.left()).unwrap_or(from);
        // SAFETY: the iterator is valid, ours, and one that data goes to.
        let done = unsafe { IovIterDest::from_raw(&mut self.iocb.ki_iter) }.copy_to_iter(from);
        self.iocb.ki_pos = self.iocb.ki_pos.wrapping_add(done as i64);
        done
    }

    /// Takes data from the submitter of a write; how many bytes: fewer if it has fewer, or its memory
    /// faults. 0 for a read.
    pub(crate) fn copy_from(&mut self, to: &mut [u8]) -> usize {
        if !self.is_write() {
            return 0;
        }
        let len = to.len().min(self.left());
        let to = to.get_mut(..len).unwrap_or_default();
        // SAFETY: the iterator is valid, ours, and one that data comes from.
        let done = unsafe { IovIterSource::from_raw(&mut self.iocb.ki_iter) }.copy_from_iter(to);
        self.iocb.ki_pos = self.iocb.ki_pos.wrapping_add(done as i64);
        done
    }

    /// What the provider keeps for the request.
    pub(crate) fn state(&mut self) -> &mut P::State {
        // SAFETY: `retry` below sets it before the first attempt; nobody else has it during one.
        unsafe { &mut *self.iocb.private.cast() }
    }
}

/// What retry answers. Made by [`Promise`] only, and good for the attempt that this was given to.
#[must_use]
pub(crate) struct Answer<'a> {
    ret: isize,
    _attempt: PhantomData<fn(&'a ()) -> &'a ()>,
}

/// What the provider owes at the end of an attempt: a result, a kick or a completion.
pub(crate) struct Promise<'a> {
    iocb: NonNull<ffi::kaio_iocb>,
    _attempt: PhantomData<fn(&'a ()) -> &'a ()>,
}

impl<'a> Promise<'a> {
    fn answer(ret: isize) -> Answer<'a> {
        Answer {
            ret,
            _attempt: PhantomData,
        }
    }

    /// The request is over: bytes, of all attempts, or why not. Bytes that were moved count more than
    /// an error. `EIOCBQUEUED` is `EIO`: only [`Self::complete_later`] makes that promise.
    pub(crate) fn result(self, result: Result<usize>) -> Answer<'a> {
        Self::answer(answer_of(result))
    }

    /// It is to be retried when it is kicked (`-EIOCBRETRY`).
    pub(crate) fn kick_later(self) -> (Kick, Answer<'a>) {
        let answer = Self::answer(-(ffi::EIOCBRETRY as isize));
        (Kick(self.iocb), answer)
    }

    /// It will be completed (`-EIOCBQUEUED`).
    pub(crate) fn complete_later(self) -> (Completion, Answer<'a>) {
        let answer = Self::answer(QUEUED);
        (Completion(self.iocb), answer)
    }
}

/// The right and the duty to kick a request, once. Dropping it kicks.
///
/// # Invariants
///
/// A kick is owed for the iocb, or will be when retry returns; so it is there.
pub(crate) struct Kick(NonNull<ffi::kaio_iocb>);

// SAFETY: may be kicked from anywhere.
unsafe impl Send for Kick {}
// SAFETY: nothing can be done with a shared one but to compare it.
unsafe impl Sync for Kick {}

impl Kick {
    /// What the request waits for has happened. Any context, hard interrupt included.
    pub(crate) fn kick(self) {
        drop(self);
    }

    /// Whether it is for this request.
    pub(crate) fn is(&self, id: &Id) -> bool {
        self.0 == id.0
    }
}

impl Drop for Kick {
    fn drop(&mut self) {
        // SAFETY: by the invariant, and once.
        unsafe { ffi::kaio_kick(self.0.as_ptr()) };
    }
}

/// The right and the duty to complete a request, once. Dropping it completes with `-EIO`.
///
/// # Invariants
///
/// A completion is owed for the iocb, or will be when retry returns; so it is there.
pub(crate) struct Completion(NonNull<ffi::kaio_iocb>);

// SAFETY: may be completed from anywhere.
unsafe impl Send for Completion {}
// SAFETY: nothing can be done with a shared one but to compare it.
unsafe impl Sync for Completion {}

impl Completion {
    /// The request is over: bytes, those of earlier attempts included, or why not (which they do not
    /// outweigh); and `io_event.res2`. `EIOCBQUEUED` is `EIO`. Any context, hard interrupt included.
    pub(crate) fn complete(self, result: Result<usize>, res2: i64) {
        let this = ManuallyDrop::new(self);
        let res = answer_of(result);
        // SAFETY: by the invariant, and once: it is not dropped.
        unsafe { ffi::kaio_complete(this.0.as_ptr(), res, res2 as isize) };
    }

    /// Whether it is for this request.
    pub(crate) fn is(&self, id: &Id) -> bool {
        self.0 == id.0
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        // SAFETY: by the invariant, and once.
        unsafe { ffi::kaio_complete(self.0.as_ptr(), EIO, 0) };
    }
}

/// What is given back when a request is cancelled.
pub(crate) enum Owed {
    /// It waited to be kicked.
    Kick(Kick),
    /// It waited to be completed.
    Completion(Completion),
}

impl Owed {
    fn is(&self, id: &Id) -> bool {
        match self {
            Owed::Kick(kick) => kick.is(id),
            Owed::Completion(completion) => completion.is(id),
        }
    }

    /// Takes the promise back.
    fn forget(self) {
        match self {
            Owed::Kick(kick) => core::mem::forget(kick),
            Owed::Completion(completion) => core::mem::forget(completion),
        }
    }
}

/// A device node with its provider, while it exists.
///
/// To be kept by the module: it must not outlive that, nor be forgotten (`mem::forget()`), as any
/// registration of the kernel's.
///
/// For drivers that need no more than this. In C a provider also
///
/// - belongs to file operations of any kind: here it is a misc device with open, release, ioctl, and
///   read and write by the methods; no poll, llseek, mmap or fsync;
/// - has files with a position, if it wants: here they are streams (`stream_open()`), whose
///   [`Attempt::pos`] is `aio_offset` for a request, and 0 for read(2);
/// - may provide reads without writes, or the other way round: here it is both, and
///   [`Provider::retry`] refuses what it does not want;
/// - may leave `FMODE_NOWAIT` out. Here files have it, so that `cancel` must not refuse a completion
///   that is owed for long: whoever says `RWF_NOWAIT` or `O_NONBLOCK` in write(2) waits for it.
pub(crate) struct Registration<P: Provider> {
    inner: Pin<KBox<Inner>>,
    _provider: PhantomData<P>,
}

#[pin_data]
struct Inner {
    #[pin]
    misc: Opaque<bindings::miscdevice>,
    #[pin]
    provider: Opaque<ffi::kaio_provider>,
}

// SAFETY: registering and deregistering may be done by any task.
unsafe impl<P: Provider> Send for Registration<P> {}
// SAFETY: nothing can be done with a shared one.
unsafe impl<P: Provider> Sync for Registration<P> {}

impl<P: Provider> Registration<P> {
    /// Makes the node `/dev/NAME`.
    pub(crate) fn new() -> Result<Self> {
        // One address for both: by that a request finds its provider.
        let fops = &Methods::<P>::FILE;
        let inner = KBox::pin_init(
            pin_init!(Inner {
                misc: Opaque::new(bindings::miscdevice {
                    minor: bindings::MISC_DYNAMIC_MINOR as i32,
                    name: P::NAME.as_char_ptr(),
                    fops,
                    ..pin_init::zeroed()
                }),
                provider: Opaque::new(ffi::kaio_provider {
                    name: P::NAME.as_char_ptr(),
                    owner: owner(),
                    fops,
                    flags: ffi::KAIO_PROVIDES_READ | ffi::KAIO_PROVIDES_WRITE,
                    retry: Some(Methods::<P>::retry),
                    cancel: Some(Methods::<P>::cancel),
                    dtor: Some(Methods::<P>::dtor),
                    list: bindings::list_head::default(),
                    users: bindings::atomic_t::default(),
                }),
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: pinned, and unregistered before it goes; the methods hold what they promise.
        to_result(unsafe { ffi::__kaio_register_provider(inner.provider.get(), owner()) })?;
        // SAFETY: likewise.
        let ret = unsafe { bindings::misc_register(inner.misc.get()) };
        if ret != 0 {
            // SAFETY: registered above.
            unsafe { ffi::kaio_unregister_provider(inner.provider.get()) };
        }
        to_result(ret)?;
        Ok(Self {
            inner,
            _provider: PhantomData,
        })
    }
}

impl<P: Provider> Drop for Registration<P> {
    fn drop(&mut self) {
        // SAFETY: `new` registered both.
        unsafe {
            bindings::misc_deregister(self.inner.misc.get());
            ffi::kaio_unregister_provider(self.inner.provider.get());
        }
    }
}

/// The module that includes this file. Null when it is built in.
#[cfg(MODULE)]
const fn owner() -> *mut bindings::module {
    extern "C" {
        #[allow(improper_ctypes)]
        static __this_module: Opaque<bindings::module>;
    }
    (&raw const __this_module).cast_mut().cast()
}

#[cfg(not(MODULE))]
const fn owner() -> *mut bindings::module {
    core::ptr::null_mut()
}

struct Methods<P>(PhantomData<P>);

impl<P: Provider> Methods<P> {
    const FILE: bindings::file_operations = bindings::file_operations {
        owner: owner(),
        open: Some(Self::open),
        release: Some(Self::release),
        read_iter: Some(ffi::kaio_read_iter),
        write_iter: Some(ffi::kaio_write_iter),
        unlocked_ioctl: Some(Self::ioctl),
        compat_ioctl: bindings::compat_ptr_ioctl,
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `file` is open, and of this device, for `'a`.
    unsafe fn of<'a>(file: *mut bindings::file) -> ArcBorrow<'a, P> {
        // SAFETY: `open` set it, `release` has not come.
        unsafe { ArcBorrow::from_raw((*file).private_data.cast()) }
    }

    /// # Safety
    ///
    /// For the kernel: `file` is being opened.
    unsafe extern "C" fn open(
        inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> kernel::ffi::c_int {
        match P::open() {
            // SAFETY: the file is being opened: nobody else sees it.
            Ok(this) => unsafe {
                // RWF_NOWAIT is known: kaio sees to it.
                (*file).f_mode |= ffi::kaio_const_KAIO_FMODE_NOWAIT;
                (*file).private_data = Arc::into_raw(this).cast_mut().cast();
                bindings::stream_open(inode, file)
            },
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// For the kernel: the last user of `file` is gone.
    unsafe extern "C" fn release(
        _inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> kernel::ffi::c_int {
        // SAFETY: takes back what `open` gave, once.
        drop(unsafe { Arc::<P>::from_raw((*file).private_data.cast()) });
        0
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
        let this = unsafe { Self::of(file) };
        P::ioctl(this, cmd, arg).unwrap_or_else(|e| e.to_errno() as isize)
    }

    /// # Safety
    ///
    /// For kaio: the iocb is ours until this returns.
    unsafe extern "C" fn retry(raw: *mut ffi::kaio_iocb) -> isize {
        // Who keeps the promise does so by this pointer, not by one that goes with the attempt.
        let Some(raw) = NonNull::new(raw) else {
            return answer_of(Err(EINVAL));
        };
        // SAFETY: kaio gives us the iocb for this call, and holds its file.
        let (iocb, this) = unsafe { (&mut *raw.as_ptr(), Self::of((*raw.as_ptr()).ki_filp)) };
        if iocb.private.is_null() {
            match P::begin(this).and_then(|state| Ok(KBox::new(state, GFP_KERNEL_ACCOUNT)?)) {
                Ok(state) => iocb.private = KBox::into_raw(state).cast(),
                Err(e) => return answer_of(Err(e)),
            }
        }
        let promise = Promise {
            iocb: raw,
            _attempt: PhantomData,
        };
        let mut attempt = Attempt::<P> {
            iocb,
            _provider: PhantomData,
        };
        P::retry(this, &mut attempt, promise).ret
    }

    /// # Safety
    ///
    /// For kaio: the iocb is there until this returns.
    unsafe extern "C" fn cancel(iocb: *mut ffi::kaio_iocb) -> kernel::ffi::c_int {
        let Some(id) = NonNull::new(iocb).map(Id) else {
            return EINVAL.to_errno();
        };
        // SAFETY: kaio holds the iocb and its file.
        let this = unsafe { Self::of((*iocb).ki_filp) };
        match P::cancel(this, &id) {
            Some(owed) if owed.is(&id) => {
                owed.forget();
                0
            }
            // None, or another's, whose promise is kept by being dropped.
            _ => EAGAIN.to_errno(),
        }
    }

    /// # Safety
    ///
    /// For kaio: nobody else has the iocb any more.
    unsafe extern "C" fn dtor(iocb: *mut ffi::kaio_iocb) {
        // SAFETY: as the caller promises.
        let state = unsafe { (*iocb).private };
        if !state.is_null() {
            // SAFETY: `retry` made it, and this is called once.
            drop(unsafe { KBox::<P::State>::from_raw(state.cast()) });
        }
    }
}
