// SPDX-License-Identifier: GPL-2.0

//! A provider that does what a test tells it to.

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

use super::{
    caller,
    kaio_held_complete,
    kaio_held_kick,
    Kept,
    Owner,
    Provided,
    Requests,
    QUEUED,
    RETRY, //
};
use crate::sys::{
    ffi,
    iov::Buffers,
    request::Request, //
};

/// -EIOCBRETRY and -EIOCBQUEUED.
pub(crate) const PROMISES: [i64; 2] = [RETRY as i64, QUEUED as i64];

/// Bytes that each request asks for.
pub(crate) const NBYTES: usize = 64;

/// What the method answers.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Retry,
    Queued,
    Result(isize),
}

/// What the method does before it answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Early {
    Nothing,
    Kick,
    /// With this.
    Complete(i64, i64),
}

/// What is wrong with a provider.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    None,
    Name,
    Files,
    Retry,
    NoFlags,
    /// One that there is not.
    Flags,
    /// It is another module's than that of whoever registers it and of the file operations.
    Foreign,
    /// The file operations are.
    ForeignFiles,
    /// Neither says whose it is, and a module registers it.
    Ownerless,
    /// Both are another module's.
    Both,
}

/// How often what was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) retry: u32,
    pub(crate) cancel: u32,
    pub(crate) dtor: u32,
}

struct Script {
    answer: Answer,
    early: Early,
    /// Bytes that each attempt moves.
    moves: usize,
    gives_back: bool,
    /// What happens while the cancel method runs; once.
    during_cancel: Option<KBox<dyn Fn(Pointer)>>,
    calls: Calls,
    /// Kicks and completions that were refused.
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
pub(crate) struct Rig(Pin<KBox<Inner>>);

/// What the provider remembers of a request: may be used after its end, in debug builds.
#[derive(Clone, Copy)]
pub(crate) struct Pointer(*mut ffi::kaio_iocb);

/// # Safety
///
/// `iocb` is one of [`Rig::provide`], whose rig is still there. The reference is the caller's
/// for as long as it calls nobody.
unsafe fn script<'a>(iocb: *mut ffi::kaio_iocb) -> &'a mut Script {
    // SAFETY: `provide` set it.
    unsafe { &mut *(*iocb).private.cast::<Script>() }
}

unsafe extern "C" fn retry(iocb: *mut ffi::kaio_iocb) -> isize {
    // SAFETY: as above.
    let (early, answer) = unsafe {
        script(iocb).calls.retry += 1;
        (script(iocb).early, script(iocb).answer)
    };
    let pointer = Pointer(iocb);
    let taken = match early {
        Early::Nothing => true,
        Early::Kick => pointer.kick(),
        Early::Complete(res, res2) => pointer.complete(res, res2),
    };
    // SAFETY: as above; the iocb is ours during the attempt.
    unsafe {
        script(iocb).refused += u32::from(!taken);
        // As if it had copied.
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
    // SAFETY: as above.
    let during = unsafe {
        script(iocb).calls.cancel += 1;
        script(iocb).during_cancel.take()
    };
    if let Some(during) = during {
        during(Pointer(iocb));
    }
    // SAFETY: as above.
    match unsafe { script(iocb).gives_back } {
        true => 0,
        false => EBUSY.to_errno(),
    }
}

unsafe extern "C" fn dtor(iocb: *mut ffi::kaio_iocb) {
    // SAFETY: as above.
    unsafe { script(iocb) }.calls.dtor += 1;
}

/// Whether it was in time.
fn in_time(mut ready: impl FnMut() -> bool) -> bool {
    (0..20_000).any(|_| {
        let now = ready();
        if !now {
            fsleep(Delta::from_millis(1));
        }
        now
    })
}

impl Rig {
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
                    early: Early::Nothing,
                    moves: 0,
                    gives_back: true,
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

    /// As a driver does, for file operations that are made up: those of `whose`.
    pub(crate) fn register(&self, whose: Option<&Rig>) -> Result {
        // SAFETY: one task uses it, and it is in no table.
        unsafe {
            let provider = &mut *self.0.provider.get();
            provider.flags = ffi::KAIO_PROVIDES_READ;
            provider.fops = whose.map_or(ptr::null(), |rig| rig.0.fops.get());
            // No module's, as of a driver that is built in.
            kernel::error::to_result(ffi::__kaio_register_provider(provider, ptr::null_mut()))
        }
    }

    /// After [`Self::register`] succeeded.
    pub(crate) fn unregister(&self) {
        // SAFETY: registered.
        unsafe { ffi::kaio_unregister_provider(self.0.provider.get()) };
    }

    /// Unregisters in another task, and does `deed` when it could have returned long ago. Whether it
    /// had; or that it did not return at all.
    pub(crate) fn unregister_during(&self, deed: impl FnOnce()) -> Result<bool> {
        let provider = self.0.provider.get() as usize;
        let returned = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let tell = returned.clone();
        let other = Rig::new(Answer::Retry)?;
        workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
            // SAFETY: registered; and we wait below.
            unsafe { ffi::kaio_unregister_provider(provider as *mut ffi::kaio_provider) };
            tell.store(1u32, Release);
        })?;
        // What has to be waited for each time takes as long as the rest of the first one.
        let mut left = 3;
        let seen = in_time(|| {
            if other.register(Some(self)).is_ok() {
                other.unregister();
                left -= 1;
            }
            left == 0
        });
        let early = returned.load(Acquire) != 0;
        deed();
        match in_time(|| returned.load(Acquire) != 0) && seen {
            true => Ok(early),
            false => Err(ETIME),
        }
    }

    /// What comes of registering it with that fault.
    pub(crate) fn register_with(&self, fault: Fault) -> Result {
        let module = ptr::dangling_mut::<bindings::module>();
        let mut caller = ptr::null_mut();
        // SAFETY: as in `register`.
        let provider = unsafe { &mut *self.0.provider.get() };
        // SAFETY: only registering looks at them.
        let fops = unsafe { &mut *self.0.fops.get() };
        provider.flags = ffi::KAIO_PROVIDES_READ;
        provider.fops = fops;
        match fault {
            Fault::None => {}
            Fault::Name => provider.name = ptr::null(),
            Fault::Files => provider.fops = ptr::null(),
            Fault::Retry => provider.retry = None,
            Fault::NoFlags => provider.flags = 0,
            Fault::Flags => provider.flags |= ffi::KAIO_PROVIDES_WRITE << 1,
            Fault::Foreign => provider.owner = module,
            Fault::ForeignFiles => fops.owner = module,
            Fault::Ownerless => caller = module,
            Fault::Both => (provider.owner, fops.owner) = (module, module),
        }
        // SAFETY: as in `register`; nobody looks into a module.
        let ret = unsafe { ffi::__kaio_register_provider(provider, caller) };
        if ret == 0 {
            self.unregister();
        }
        kernel::error::to_result(ret)
    }

    #[allow(clippy::mut_from_ref)]
    fn script(&self) -> &mut Script {
        // SAFETY: one task uses it, and holds none of these across a call of ours.
        unsafe { &mut *self.0.script.get() }
    }

    pub(crate) fn answers(&self, answer: Answer) {
        self.script().answer = answer;
    }

    pub(crate) fn does_early(&self, early: Early) {
        self.script().early = early;
    }

    pub(crate) fn moves(&self, bytes: usize) {
        self.script().moves = bytes;
    }

    /// It has no method but retry.
    pub(crate) fn has_only_retry(&self) {
        // SAFETY: no request is there yet.
        let provider = unsafe { &mut *self.0.provider.get() };
        provider.cancel = None;
        provider.dtor = None;
    }

    pub(crate) fn keeps(&self) {
        self.script().gives_back = false;
    }

    pub(crate) fn lets_go(&self) {
        self.script().gives_back = true;
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

    /// For a request of a kind `R`, without a file or memory.
    pub(crate) fn provide<R: Request>(&self) -> Result<(Provided, Pointer)> {
        self.make(&Requests::<R>::OWNER)
    }

    /// As read(2) does; what it returns.
    pub(crate) fn read(&self, nowait: bool) -> Result<isize> {
        let (provided, _) = self.make(&caller::CALLER)?;
        Ok(provided.run_to_end(nowait))
    }

    fn make(&self, owner: &'static Owner) -> Result<(Provided, Pointer)> {
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
            // SAFETY: a copy of a valid one; nobody touches what it points to, which is of no test.
            ki_iter: unsafe { ptr::read(buffers.rest(0).as_raw()) },
            private: self.0.script.get().cast(),
        };
        let kept = Kept {
            _file: None,
            _buffers: None,
        };
        let provider = NonNull::new(self.0.provider.get()).ok_or(EINVAL)?;
        // SAFETY: it is as atomic for C.
        let users = unsafe { Atomic::from_ptr(&raw mut (*provider.as_ptr()).users.counter) };
        // As kaio_provider_get() does.
        users.add(1i32, Relaxed);
        // SAFETY: the test keeps us; the iterator points to addresses, not to memory of ours.
        let provided = unsafe { Provided::with_provider(iocb, provider, kept, owner) }?;
        let pointer = Pointer(provided.iocb());
        Ok((provided, pointer))
    }
}

impl Provided {
    /// `ki_pos`, of a request that began at 0. Not while the provider has it.
    pub(crate) fn pos(&self) -> i64 {
        // SAFETY: the test is who has the iocb.
        unsafe { (*self.iocb()).ki_pos }
    }
}

impl Pointer {
    /// `kaio_kick()`, without a report.
    pub(crate) fn kick(self) -> bool {
        // SAFETY: in debug builds, of which the kernel with KUnit is one, the memory stays.
        unsafe { kaio_held_kick(self.0) }
    }

    /// `kaio_complete()`, likewise.
    pub(crate) fn complete(self, res: i64, res2: i64) -> bool {
        // SAFETY: as above.
        unsafe { kaio_held_complete(self.0, res as isize, res2 as isize) }
    }
}
