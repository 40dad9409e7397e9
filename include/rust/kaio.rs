// SPDX-License-Identifier: GPL-2.0

//! kaio for drivers in Rust: a safe interface over `include/linux/kaio.h`.
//!
//! A module includes this file (`#[path = ".../include/rust/kaio.rs"] mod kaio;`), since Rust has
//! no other way yet to use the crate of another module. It links against the same GPL-only symbols
//! as a driver in C.
//!
//! A [`Provider`] represents an open file. Its [`Provider::retry`] gets a [`Promise`] with each
//! attempt. It either consumes the promise for a result, or exchanges it for a [`Kick`] or a
//! [`Completion`]: the right, and the duty, to kick or to complete the request once. It may do that
//! in any context in which a spinlock may be taken: with `PREEMPT_RT` in the thread of an
//! interrupt, otherwise in hard interrupt too; in no kernel under a raw spinlock. A `Kick` or
//! `Completion` cannot be copied, and dropping it keeps the promise too. So a provider can neither
//! keep a promise twice nor forget it by accident (it can only with `mem::forget()` and similar
//! functions: then the request never ends). The answer that retry must return comes with the `Kick`
//! or `Completion`, so it cannot be the wrong one.
//!
//! [`Registration`] lists the features of the interface in C that this one lacks.

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

/// The definitions that bindgen makes of the header, among others.
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

/// Converts a result to the form of C. `EIOCBQUEUED` would be a promise to complete that no code
/// keeps, so it becomes `EIO`. (`EIOCBRETRY` is no errno, so no `Error` can have that value.)
fn answer_of(result: Result<usize>) -> isize {
    match result.map_err(|e| e.to_errno() as isize) {
        Ok(bytes) => bytes.min(isize::MAX as usize) as isize,
        Err(QUEUED) => EIO,
        Err(errno) => errno,
    }
}

const QUEUED: isize = -(bindings::EIOCBQUEUED as isize);

/// An open file of a device, and the operations for requests on it.
pub(crate) trait Provider: Send + Sync + Sized + 'static {
    /// The name of the device node and of the provider.
    const NAME: &'static CStr;

    /// The data that the provider keeps for each request (`private`). kaio drops it when no code
    /// uses the request any more (`dtor`), in any context in which a spinlock may be taken, with
    /// the locks of the caller that kicks or completes the request.
    type State: Send;

    /// Opens the device.
    fn open() -> Result<Arc<Self>>;

    /// Makes the data of a request before its first attempt. Called in process context.
    fn begin(this: ArcBorrow<'_, Self>) -> Result<Self::State>;

    /// Does what is possible without waiting. Called in process context, in the submitter's memory
    /// and with its credentials; one call at a time for each request.
    fn retry<'a>(
        this: ArcBorrow<'_, Self>,
        req: &mut Attempt<'a, Self>,
        promise: Promise<'a>,
    ) -> Answer<'a>;

    /// Gives back the `Kick` or `Completion` of a request that must end, if the provider still
    /// holds it. Called in process context of any task; it must not touch user memory. It may
    /// sleep, but other requests wait meanwhile.
    fn cancel(this: ArcBorrow<'_, Self>, id: &Id) -> Option<Owed>;

    /// Implements ioctl(2) for 32-bit and 64-bit callers.
    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize>;
}

/// The identity of a request. Two requests that exist at the same time have different ones.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(NonNull<ffi::kaio_iocb>);

// SAFETY: the pointer is only compared and never dereferenced.
unsafe impl Send for Id {}
// SAFETY: the pointer is only compared and never dereferenced.
unsafe impl Sync for Id {}

/// A request during an attempt: `struct kaio_iocb`.
///
/// # Invariants
///
/// The attempt has exclusive access to the iocb for `'a`, which ends with the attempt.
pub(crate) struct Attempt<'a, P: Provider> {
    iocb: &'a mut ffi::kaio_iocb,
    _provider: PhantomData<P>,
}

impl<P: Provider> Attempt<'_, P> {
    /// Returns the number of bytes that are still to be moved (`ki_left`).
    pub(crate) fn left(&self) -> usize {
        // SAFETY: every kind of iterator has its count in this member of the union.
        unsafe {
            self.iocb
                .ki_iter
                .__bindgen_anon_1
                .__bindgen_anon_1
                .as_ref()
                .count
        }
    }

    /// Returns the number of bytes that the submitter asked for (`ki_nbytes`).
    pub(crate) fn len(&self) -> usize {
        self.iocb.ki_nbytes
    }

    /// Returns the number of bytes that all attempts have moved so far.
    pub(crate) fn done(&self) -> usize {
        self.len().saturating_sub(self.left())
    }

    /// Returns the position at which the transfer goes on (`ki_pos`). Copying advances it.
    pub(crate) fn pos(&self) -> i64 {
        self.iocb.ki_pos
    }

    /// Returns `aio_data` of the submitter, or 0 in read(2) and write(2).
    pub(crate) fn user_data(&self) -> u64 {
        self.iocb.ki_user_data
    }

    /// Returns `IOCB_CMD_PREAD` or another opcode.
    pub(crate) fn opcode(&self) -> u16 {
        self.iocb.ki_opcode
    }

    /// Returns the `IOCB_*` bits, as in `struct kiocb`.
    pub(crate) fn flags(&self) -> i32 {
        self.iocb.ki_flags
    }

    /// Returns the I/O priority.
    pub(crate) fn ioprio(&self) -> u16 {
        self.iocb.ki_ioprio
    }

    /// Returns whether the request takes data from the submitter.
    pub(crate) fn is_write(&self) -> bool {
        self.iocb.ki_iter.data_source
    }

    /// Copies data to the submitter of a read. Returns the number of bytes, which is smaller than
    /// the length of `from` if the submitter asked for fewer bytes or its memory faults. Returns 0
    /// for a write.
    pub(crate) fn copy_to(&mut self, from: &[u8]) -> usize {
        if self.is_write() {
            return 0;
        }
        let from = from.get(..self.left()).unwrap_or(from);
        // SAFETY: by the invariant of `Attempt` the iterator is valid and not shared; `is_write`
        // says that data goes to it.
        let done = unsafe { IovIterDest::from_raw(&mut self.iocb.ki_iter) }.copy_to_iter(from);
        self.iocb.ki_pos = self.iocb.ki_pos.wrapping_add(done as i64);
        done
    }

    /// Copies data from the submitter of a write. Returns the number of bytes, which is smaller
    /// than the length of `to` if the submitter has fewer bytes or its memory faults. Returns 0 for
    /// a read.
    pub(crate) fn copy_from(&mut self, to: &mut [u8]) -> usize {
        if !self.is_write() {
            return 0;
        }
        let len = to.len().min(self.left());
        let to = to.get_mut(..len).unwrap_or_default();
        // SAFETY: by the invariant of `Attempt` the iterator is valid and not shared; `is_write`
        // says that data comes from it.
        let done = unsafe { IovIterSource::from_raw(&mut self.iocb.ki_iter) }.copy_from_iter(to);
        self.iocb.ki_pos = self.iocb.ki_pos.wrapping_add(done as i64);
        done
    }

    /// Returns the data that the provider keeps for the request.
    pub(crate) fn state(&mut self) -> &mut P::State {
        // SAFETY: `Methods::retry` has set `private` before the first attempt, and no other code
        // uses it during an attempt.
        unsafe { &mut *self.iocb.private.cast() }
    }
}

/// The answer of retry. Only [`Promise`] makes it, and it is valid for the attempt of that promise.
#[must_use]
pub(crate) struct Answer<'a> {
    ret: isize,
    _attempt: PhantomData<fn(&'a ()) -> &'a ()>,
}

/// The duty of the provider at the end of an attempt: a result, a kick or a completion.
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

    /// Ends the request with the number of bytes of all attempts, or with an error. Bytes that were
    /// moved override an error. `EIOCBQUEUED` becomes `EIO`: only [`Self::complete_later`] makes
    /// that promise.
    pub(crate) fn result(self, result: Result<usize>) -> Answer<'a> {
        Self::answer(answer_of(result))
    }

    /// Promises to kick the request, which is then retried (`-EIOCBRETRY`).
    pub(crate) fn kick_later(self) -> (Kick, Answer<'a>) {
        let answer = Self::answer(-(ffi::EIOCBRETRY as isize));
        (Kick(self.iocb), answer)
    }

    /// Promises to complete the request (`-EIOCBQUEUED`).
    pub(crate) fn complete_later(self) -> (Completion, Answer<'a>) {
        let answer = Self::answer(QUEUED);
        (Completion(self.iocb), answer)
    }
}

/// The right and the duty to kick a request once. Dropping it kicks.
///
/// # Invariants
///
/// A kick is owed for the iocb, or will be when retry returns, so the iocb exists.
pub(crate) struct Kick(NonNull<ffi::kaio_iocb>);

// SAFETY: any task and any interrupt may call kaio_kick().
unsafe impl Send for Kick {}
// SAFETY: a shared reference only allows comparing the pointer.
unsafe impl Sync for Kick {}

impl Kick {
    /// Kicks the request, since the event that it waits for has happened. May be called in any
    /// context in which a spinlock may be taken, as the documentation of this file describes.
    pub(crate) fn kick(self) {
        drop(self);
    }

    /// Returns whether this is the kick of that request.
    pub(crate) fn is(&self, id: &Id) -> bool {
        self.0 == id.0
    }
}

impl Drop for Kick {
    fn drop(&mut self) {
        // SAFETY: by the invariant a kick is owed for the iocb. The value is dropped once.
        unsafe { ffi::kaio_kick(self.0.as_ptr()) };
    }
}

/// The right and the duty to complete a request once. Dropping it completes with `-EIO`.
///
/// # Invariants
///
/// A completion is owed for the iocb, or will be when retry returns, so the iocb exists.
pub(crate) struct Completion(NonNull<ffi::kaio_iocb>);

// SAFETY: any task and any interrupt may call kaio_complete().
unsafe impl Send for Completion {}
// SAFETY: a shared reference only allows comparing the pointer.
unsafe impl Sync for Completion {}

impl Completion {
    /// Completes the request with the number of bytes, including those of earlier attempts, or with
    /// an error (which these bytes do not override), and with `io_event.res2`. `EIOCBQUEUED`
    /// becomes `EIO`. May be called in any context in which a spinlock may be taken, as the
    /// documentation of this file describes.
    pub(crate) fn complete(self, result: Result<usize>, res2: i64) {
        let this = ManuallyDrop::new(self);
        let res = answer_of(result);
        // SAFETY: by the invariant a completion is owed for the iocb. `ManuallyDrop` prevents a
        // second one.
        unsafe { ffi::kaio_complete(this.0.as_ptr(), res, res2 as isize) };
    }

    /// Returns whether this is the completion of that request.
    pub(crate) fn is(&self, id: &Id) -> bool {
        self.0 == id.0
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        // SAFETY: by the invariant a completion is owed for the iocb. The value is dropped once.
        unsafe { ffi::kaio_complete(self.0.as_ptr(), EIO, 0) };
    }
}

/// The promise that the provider gives back when a request is cancelled.
pub(crate) enum Owed {
    /// The request waited for a kick.
    Kick(Kick),
    /// The request waited for its completion.
    Completion(Completion),
}

impl Owed {
    fn is(&self, id: &Id) -> bool {
        match self {
            Owed::Kick(kick) => kick.is(id),
            Owed::Completion(completion) => completion.is(id),
        }
    }

    /// Takes the promise back without keeping it.
    fn forget(self) {
        match self {
            Owed::Kick(kick) => core::mem::forget(kick),
            Owed::Completion(completion) => core::mem::forget(completion),
        }
    }
}

/// A device node with its provider. Dropping it removes both.
///
/// The module must keep this value: as with any registration of the kernel, the value must not
/// outlive the module, nor be forgotten (`mem::forget()`).
///
/// The interface in C offers more. There a provider also
///
/// - belongs to file operations of any kind: here it is a misc device with open, release, ioctl,
///   and read and write by the methods; it has no poll, llseek, mmap or fsync;
/// - has files with a position if it wants: here they are streams (`stream_open()`), whose
///   [`Attempt::pos`] is `aio_offset` for a request, and 0 for read(2);
/// - may provide reads without writes, or writes without reads: here it provides both, and
///   [`Provider::retry`] refuses what it does not support;
/// - may omit `FMODE_NOWAIT`. Here files have that mode, so `cancel` must not refuse a completion
///   for long: a caller of write(2) with `RWF_NOWAIT` or `O_NONBLOCK` waits for it.
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

// SAFETY: any task may register and deregister.
unsafe impl<P: Provider> Send for Registration<P> {}
// SAFETY: a shared reference gives access to nothing.
unsafe impl<P: Provider> Sync for Registration<P> {}

impl<P: Provider> Registration<P> {
    /// Makes the node `/dev/NAME`.
    pub(crate) fn new() -> Result<Self> {
        // Both get the same address, by which a request finds its provider.
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
        // SAFETY: the struct is pinned and is unregistered before it is dropped; its methods keep
        // the contract of `struct kaio_provider`.
        to_result(unsafe { ffi::__kaio_register_provider(inner.provider.get(), owner()) })?;
        // SAFETY: the struct is pinned and is deregistered before it is dropped; its file
        // operations keep the contract of `struct file_operations`.
        let ret = unsafe { bindings::misc_register(inner.misc.get()) };
        if ret != 0 {
            // SAFETY: the provider was registered above.
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
        // SAFETY: `new` has registered both, and only this drop removes them.
        unsafe {
            bindings::misc_deregister(self.inner.misc.get());
            ffi::kaio_unregister_provider(self.inner.provider.get());
        }
    }
}

/// Returns the module that includes this file, or null when it is built in.
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
    /// `file` is an open file of this device for `'a`.
    unsafe fn of<'a>(file: *mut bindings::file) -> ArcBorrow<'a, P> {
        // SAFETY: `open` has set `private_data`, and `release` is called only after the last use of
        // the file.
        unsafe { ArcBorrow::from_raw((*file).private_data.cast()) }
    }

    /// # Safety
    ///
    /// Only the kernel calls this, when it opens `file`.
    unsafe extern "C" fn open(
        inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> kernel::ffi::c_int {
        match P::open() {
            // SAFETY: the file is being opened, so no other code uses it.
            Ok(this) => unsafe {
                // The driver supports RWF_NOWAIT, since kaio handles it.
                (*file).f_mode |= ffi::kaio_const_KAIO_FMODE_NOWAIT;
                (*file).private_data = Arc::into_raw(this).cast_mut().cast();
                bindings::stream_open(inode, file)
            },
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Only the kernel calls this, when the last user of `file` is gone.
    unsafe extern "C" fn release(
        _inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> kernel::ffi::c_int {
        // SAFETY: `open` has stored this reference, and the kernel calls `release` once.
        drop(unsafe { Arc::<P>::from_raw((*file).private_data.cast()) });
        0
    }

    /// # Safety
    ///
    /// Only the kernel calls this, with an open `file`.
    unsafe extern "C" fn ioctl(
        file: *mut bindings::file,
        cmd: kernel::ffi::c_uint,
        arg: kernel::ffi::c_ulong,
    ) -> kernel::ffi::c_long {
        // SAFETY: the kernel keeps the file open during the call.
        let this = unsafe { Self::of(file) };
        P::ioctl(this, cmd, arg).unwrap_or_else(|e| e.to_errno() as isize)
    }

    /// # Safety
    ///
    /// Only kaio calls this, and gives it exclusive access to the iocb until it returns.
    unsafe extern "C" fn retry(raw: *mut ffi::kaio_iocb) -> isize {
        // A `Kick` or `Completion` gets this pointer instead of one derived from the attempt's
        // reference, since it lives longer than the attempt.
        let Some(raw) = NonNull::new(raw) else {
            return answer_of(Err(EINVAL));
        };
        // SAFETY: kaio gives this call exclusive access to the iocb and keeps its file open.
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
    /// Only kaio calls this, and keeps the iocb until it returns.
    unsafe extern "C" fn cancel(iocb: *mut ffi::kaio_iocb) -> kernel::ffi::c_int {
        let Some(id) = NonNull::new(iocb).map(Id) else {
            return EINVAL.to_errno();
        };
        // SAFETY: kaio keeps the iocb and its file.
        let this = unsafe { Self::of((*iocb).ki_filp) };
        match P::cancel(this, &id) {
            Some(owed) if owed.is(&id) => {
                owed.forget();
                0
            }
            // There is no promise, or it belongs to another request and is kept by being dropped.
            _ => EAGAIN.to_errno(),
        }
    }

    /// # Safety
    ///
    /// Only kaio calls this, when no other code uses the iocb any more.
    unsafe extern "C" fn dtor(iocb: *mut ffi::kaio_iocb) {
        // SAFETY: the caller promises that no other code uses the iocb.
        let state = unsafe { (*iocb).private };
        if !state.is_null() {
            // SAFETY: `retry` has made this box, and kaio calls `dtor` once.
            drop(unsafe { KBox::<P::State>::from_raw(state.cast()) });
        }
    }
}
