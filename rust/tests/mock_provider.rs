// SPDX-License-Identifier: GPL-2.0

//! A mock provider: its methods do what a test tells them to.
//!
//! Invariants: one task uses a mock, and the mock outlives the requests that it was given.
//! Completed iocbs may be used again, since builds with KUnit are debug builds, which keep their
//! memory.

use core::ptr::{
    self,
    NonNull, //
};

use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    types::Opaque,
    workqueue, //
};

use crate::{
    provider::{
        caller,
        exports::{
            kaio_held_complete,
            kaio_held_kick, //
        },
        iocb::{
            Kept,
            Kind,
            ProviderRef,
            QUEUED,
            RETRY, //
        },
    },
    request::{
        Request, //
    },
    sys::{
        ffi,
        iov::Buffers, //
    },
};

/// -EIOCBRETRY and -EIOCBQUEUED.
pub(crate) const PROMISES: [i64; 2] = [RETRY as i64, QUEUED as i64];

/// Bytes that each request asks for.
pub(crate) const NBYTES: usize = 64;

/// The answer of the retry method.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Retry,
    Queued,
    Result(isize),
}

/// What the retry method does before it answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum EarlyCall {
    Nothing,
    Kick,
    /// Completes with these results.
    Complete(i64, i64),
}

/// A mistake in a provider or its registration.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    None,
    NoName,
    NoFops,
    NoRetry,
    NoFlags,
    /// A flag that does not exist.
    UnknownFlag,
    /// The provider has methods, but its flags say that it has none.
    AnyTaskWithMethods,
    /// The provider belongs to another module than its file operations and the caller that
    /// registers it.
    ForeignProvider,
    /// The file operations belong to another module than the provider and the caller.
    ForeignFops,
    /// A module registers the provider, but neither the provider nor its file operations name an
    /// owner.
    Ownerless,
    /// The provider and its file operations belong to another module than the caller.
    ForeignBoth,
}

/// How often each method was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) retry: u32,
    pub(crate) cancel: u32,
    pub(crate) dtor: u32,
}

struct Script {
    answer: Answer,
    early_call: EarlyCall,
    /// Bytes that each attempt moves.
    moves: usize,
    accepts_cancel: bool,
    /// What happens while the cancel method runs; only the first time.
    during_cancel: Option<KBox<dyn Fn(Pointer)>>,
    calls: Calls,
    /// The number of early kicks and completions that were refused.
    refused: u32,
}

#[pin_data]
struct Inner {
    #[pin]
    provider: Opaque<ffi::kaio_provider>,
    #[pin]
    script: Opaque<Script>,
    #[pin]
    fops: Opaque<bindings::file_operations>,
}

/// The provider. One task uses it.
pub(crate) struct MockProvider(Pin<KBox<Inner>>);

/// What the provider remembers of a request. In debug builds it may be used after the end of the
/// request.
#[derive(Clone, Copy)]
pub(crate) struct Pointer(*mut ffi::kaio_iocb);

/// # Safety
///
/// `iocb` was made by [`MockProvider::provide`], whose mock still exists. The caller must not use
/// the reference after it has called another function.
unsafe fn script<'a>(iocb: *mut ffi::kaio_iocb) -> &'a mut Script {
    // SAFETY: `MockProvider::make` set `private` to the script of the mock, which the caller keeps.
    unsafe { &mut *(*iocb).private.cast::<Script>() }
}

unsafe extern "C" fn retry(iocb: *mut ffi::kaio_iocb) -> isize {
    // SAFETY: kaio passes an iocb that `MockProvider::make` made, and the test keeps the mock.
    let (early_call, answer) = unsafe {
        script(iocb).calls.retry += 1;
        (script(iocb).early_call, script(iocb).answer)
    };
    let pointer = Pointer(iocb);
    let taken = match early_call {
        EarlyCall::Nothing => true,
        EarlyCall::Kick => pointer.kick(),
        EarlyCall::Complete(res, res2) => pointer.complete(res, res2),
    };
    // SAFETY: kaio passes an iocb that `MockProvider::make` made, the test keeps the mock, and
    // during the attempt the iocb belongs to this method.
    unsafe {
        script(iocb).refused += u32::from(!taken);
        // Advance as if the bytes had been copied.
        bindings::iov_iter_advance(&mut (*iocb).ki_iter, script(iocb).moves);
        (*iocb).ki_pos += script(iocb).moves as i64;
    }
    match answer {
        Answer::Retry => RETRY,
        Answer::Queued => QUEUED,
        Answer::Result(res) => res,
    }
}

unsafe extern "C" fn cancel(iocb: *mut ffi::kaio_iocb) -> kernel::ffi::c_int {
    // SAFETY: kaio passes an iocb that `MockProvider::make` made, and the test keeps the mock.
    let during = unsafe {
        script(iocb).calls.cancel += 1;
        script(iocb).during_cancel.take()
    };
    if let Some(during) = during {
        during(Pointer(iocb));
    }
    // SAFETY: kaio passes an iocb that `MockProvider::make` made, and the test keeps the mock.
    match unsafe { script(iocb).accepts_cancel } {
        true => 0,
        false => EBUSY.to_errno(),
    }
}

unsafe extern "C" fn dtor(iocb: *mut ffi::kaio_iocb) {
    // SAFETY: kaio passes an iocb that `MockProvider::make` made, and the test keeps the mock.
    unsafe { script(iocb) }.calls.dtor += 1;
}

/// Waits until `ready` returns `true`, and returns whether that came in time.
fn becomes_true(mut ready: impl FnMut() -> bool) -> bool {
    (0..20_000).any(|_| {
        let now = ready();
        if !now {
            fsleep(Delta::from_millis(1));
        }
        now
    })
}

impl MockProvider {
    pub(crate) fn new(answer: Answer) -> Result<Self> {
        let inner = KBox::pin_init(
            pin_init!(Inner {
                provider: Opaque::new(ffi::kaio_provider {
                    name: c"kunit".as_char_ptr(),
                    owner: ptr::null_mut(),
                    fops: ptr::null(),
                    flags: 0,
                    retry: Some(retry),
                    cancel: Some(cancel),
                    dtor: Some(dtor),
                    list: bindings::list_head::default(),
                    users: bindings::atomic_t::default(),
                }),
                script: Opaque::new(Script {
                    answer,
                    early_call: EarlyCall::Nothing,
                    moves: 0,
                    accepts_cancel: true,
                    during_cancel: None,
                    calls: Calls::default(),
                    refused: 0,
                }),
                fops: Opaque::zeroed(),
            }),
            GFP_KERNEL,
        )?;
        Ok(Self(inner))
    }

    /// Registers the provider for the file operations of the mock `fops_of`, as a built-in driver
    /// does. Returns what `__kaio_register_provider()` returns.
    pub(crate) fn register(&self, fops_of: Option<&MockProvider>) -> Result {
        // SAFETY: one task uses the mock, and the provider is not in the table, so no other task
        // reads it.
        unsafe {
            let provider = &mut *self.0.provider.get();
            provider.flags = ffi::KAIO_PROVIDES_READ;
            provider.fops = fops_of.map_or(ptr::null(), |mock| mock.0.fops.get());
            // No module registers it, as for a driver that is built in.
            kernel::error::to_result(ffi::__kaio_register_provider(provider, ptr::null_mut()))
        }
    }

    /// Unregisters the provider. [`Self::register`] must have succeeded before.
    pub(crate) fn unregister(&self) {
        // SAFETY: the caller has registered the provider.
        unsafe { ffi::kaio_unregister_provider(self.0.provider.get()) };
    }

    /// Unregisters the provider in another task, and calls `action` at a time when the
    /// unregistration could have returned long ago. Returns whether it had returned before
    /// `action`. `ETIMEDOUT` if it does not return at all.
    pub(crate) fn unregister_during(&self, action: impl FnOnce()) -> Result<bool> {
        let provider = self.0.provider.get() as usize;
        let returned = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let tell = returned.clone();
        let other = MockProvider::new(Answer::Retry)?;
        workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
            // SAFETY: the caller has registered the provider, and keeps it until this task is done.
            unsafe { ffi::kaio_unregister_provider(provider as *mut ffi::kaio_provider) };
            tell.store(1u32, Release);
        })?;
        // Each unregistration of `other` waits for two grace periods, as the first one does besides
        // its wait for requests.
        let mut left = 3;
        let seen = becomes_true(|| {
            if other.register(Some(self)).is_ok() {
                other.unregister();
                left -= 1;
            }
            left == 0
        });
        let returned_early = returned.load(Acquire) != 0;
        action();
        match becomes_true(|| returned.load(Acquire) != 0) && seen {
            true => Ok(returned_early),
            false => Err(ETIMEDOUT),
        }
    }

    /// Registers the provider with a mistake, and returns what `__kaio_register_provider()`
    /// returns.
    pub(crate) fn register_with(&self, fault: Fault) -> Result {
        let module = ptr::dangling_mut::<bindings::module>();
        let mut caller = ptr::null_mut();
        // SAFETY: one task uses the mock, and the provider is not in the table, so no other task
        // reads it.
        let provider = unsafe { &mut *self.0.provider.get() };
        // SAFETY: only the registration reads the file operations, and this task calls it below.
        let fops = unsafe { &mut *self.0.fops.get() };
        provider.flags = ffi::KAIO_PROVIDES_READ;
        provider.fops = fops;
        match fault {
            Fault::None => {}
            Fault::NoName => provider.name = ptr::null(),
            Fault::NoFops => provider.fops = ptr::null(),
            Fault::NoRetry => provider.retry = None,
            Fault::NoFlags => provider.flags = 0,
            Fault::UnknownFlag => provider.flags |= ffi::KAIO_ANY_TASK << 1,
            Fault::AnyTaskWithMethods => provider.flags |= ffi::KAIO_ANY_TASK,
            Fault::ForeignProvider => provider.owner = module,
            Fault::ForeignFops => fops.owner = module,
            Fault::Ownerless => caller = module,
            Fault::ForeignBoth => (provider.owner, fops.owner) = (module, module),
        }
        // SAFETY: the provider is not in the table. Registration compares the addresses of modules,
        // and does not read them.
        let ret = unsafe { ffi::__kaio_register_provider(provider, caller) };
        if ret == 0 {
            self.unregister();
        }
        kernel::error::to_result(ret)
    }

    #[allow(clippy::mut_from_ref)]
    fn script(&self) -> &mut Script {
        // SAFETY: one task uses the mock, and holds none of these references across a call of
        // another method.
        unsafe { &mut *self.0.script.get() }
    }

    pub(crate) fn set_answer(&self, answer: Answer) {
        self.script().answer = answer;
    }

    pub(crate) fn set_early_call(&self, early_call: EarlyCall) {
        self.script().early_call = early_call;
    }

    pub(crate) fn set_moves(&self, bytes: usize) {
        self.script().moves = bytes;
    }

    /// Removes all methods but retry.
    pub(crate) fn has_only_retry(&self) {
        // SAFETY: there is no request yet, so no other task reads the provider.
        let provider = unsafe { &mut *self.0.provider.get() };
        provider.cancel = None;
        provider.dtor = None;
    }

    pub(crate) fn refuse_cancel(&self) {
        self.script().accepts_cancel = false;
    }

    pub(crate) fn accept_cancel(&self) {
        self.script().accepts_cancel = true;
    }

    pub(crate) fn during_cancel(&self, during: KBox<dyn Fn(Pointer)>) {
        self.script().during_cancel = Some(during);
    }

    pub(crate) fn calls(&self) -> Calls {
        self.script().calls
    }

    pub(crate) fn refused(&self) -> u32 {
        self.script().refused
    }

    /// Gives the provider a request of the kind `R`, without a file or memory. `ENOMEM`.
    pub(crate) fn provide<R: Request>(&self) -> Result<(ProviderRef<R>, Pointer)> {
        self.make()
    }

    /// Makes a call as read(2) does, and returns its result. `ENOMEM`.
    pub(crate) fn read(&self, nowait: bool) -> Result<isize> {
        let (provider_ref, _) = self.make::<caller::Caller>()?;
        Ok(provider_ref.run_to_end(nowait))
    }

    fn make<K: Kind>(&self) -> Result<(ProviderRef<K>, Pointer)> {
        let mut buffers = Buffers::none();
        buffers.import_single(false, 0, NBYTES)?;
        let iocb = ffi::kaio_iocb {
            ki_filp: ptr::null_mut(),
            ki_user_data: 0,
            ki_nbytes: NBYTES,
            ki_opcode: bindings::IOCB_CMD_PREAD as u16,
            ki_ioprio: 0,
            ki_flags: 0,
            ki_pos: 0,
            // SAFETY: a copy of a valid iterator. Only its count is used, since no test has memory
            // behind it.
            ki_iter: unsafe { ptr::read(buffers.rest(0).as_raw()) },
            private: self.0.script.get().cast(),
        };
        let kept = Kept {
            _file: None,
            _buffers: None,
        };
        let provider = NonNull::new(self.0.provider.get()).ok_or(EINVAL)?;
        // SAFETY: C code changes the counter atomically, too, and the mock keeps it.
        let users = unsafe { Atomic::from_ptr(&raw mut (*provider.as_ptr()).users.counter) };
        // kaio_provider_get() counts a user in the same way.
        users.add(1i32, Relaxed);
        // SAFETY: the provider was counted just now, and the test keeps the mock. The iterator has
        // no buffers that could go.
        let provider_ref = unsafe { ProviderRef::with_provider(iocb, provider, kept) }?;
        let pointer = Pointer(provider_ref.iocb());
        Ok((provider_ref, pointer))
    }
}

impl<K> ProviderRef<K> {
    /// Returns `ki_pos` of a request that began at 0. The provider must not have the request.
    pub(crate) fn pos(&self) -> i64 {
        // SAFETY: the provider does not have the iocb, so only the test uses it.
        unsafe { (*self.iocb()).ki_pos }
    }
}

impl Pointer {
    /// Calls `kaio_kick()`, without a report. Returns whether the kick was accepted.
    pub(crate) fn kick(self) -> bool {
        // SAFETY: builds with KUnit are debug builds, which keep the memory of the iocb.
        unsafe { kaio_held_kick(self.0) }
    }

    /// Calls `kaio_complete()`, without a report. Returns whether the completion was accepted.
    pub(crate) fn complete(self, res: i64, res2: i64) -> bool {
        // SAFETY: builds with KUnit are debug builds, which keep the memory of the iocb.
        unsafe { kaio_held_complete(self.0, res as isize, res2 as isize) }
    }
}
