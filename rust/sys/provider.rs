// SPDX-License-Identifier: GPL-2.0

//! Requests that another module's methods drive: `struct kaio_iocb` of `include/linux/kaio.h`.
//!
//! A provider holds a bare pointer, and may use it in any context once for each promise that it
//! made (`pure::promise`). So what it points to is an allocation of its own ([`Held`]), apart from
//! the request, and counted: the request has a reference, and the provider has one from its first
//! attempt until it owes nothing. The destructor is called when the last one goes. While a kick or a
//! completion is owed, `owner` leads back to the request; whoever takes the promise takes that too.
//!
//! A request that only waits to be kicked can end at any time: the provider then holds a `Held`
//! that leads nowhere, until it kicks or its cancel method gives the promise back.
//!
//! A caller of read(2) has no request, and waits for the promise itself (`caller`).

mod caller;

use core::{
    cell::UnsafeCell,
    ptr::{
        self,
        NonNull, //
    },
};

use kernel::{
    bindings, fs,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            AtomicFlag,
            Full,
            Relaxed, //
        },
        Arc, //
    },
};

use super::{
    errno, ffi,
    file::File,
    iocb,
    iov::Buffers,
    poll::Polled,
    request::{
        Active,
        Cell,
        Request,
        Tracked, //
    },
};
use crate::pure::promise::{
    Ask,
    End,
    Left,
    Promise,
    Told, //
};

const RETRY: isize = -(ffi::EIOCBRETRY as isize);
const QUEUED: isize = -(bindings::EIOCBQUEUED as isize);

/// Whether there are providers at all.
pub(crate) fn any() -> bool {
    // SAFETY: reads a static key.
    unsafe { ffi::kaio_providers_any() }
}

/// Whether reads, or writes, of this file are a provider's.
pub(crate) fn serves(file: &File, write: bool) -> bool {
    // SAFETY: the file is open.
    unsafe { ffi::kaio_provider_serves(file.as_ptr(), write) }
}

/// What is done about a promise that is kept. `owner` is what was stored with it.
struct Owner {
    /// # Safety
    ///
    /// Takes over `owner`, which was stored by [`Provided::attempt`] for a kick.
    kick: unsafe fn(held: &Held, owner: usize),
    /// # Safety
    ///
    /// Likewise, for a completion.
    complete: unsafe fn(held: &Held, owner: usize),
    /// # Safety
    ///
    /// As `kick`, but nothing is done.
    forget: unsafe fn(owner: usize),
}

/// What a provider has of a request.
///
/// # Invariants
///
/// - `refs` counts the [`Provided`], and one for the provider while `started` and the promise is not
///   over. 0: it is gone, and only `promise` and `refs` are looked at.
/// - `owner` is not 0 while the promise is owed and the request has not ended, or is about to be.
/// - `iocb` is the provider's, but while no attempt runs and nothing is owed.
/// - `before` is its too, which is the attempt's, or whoever ends the request.
/// - `result` is written by who won [`Promise::take`], and read once that is announced.
#[repr(C)]
struct Held {
    iocb: UnsafeCell<ffi::kaio_iocb>,
    promise: Promise<Cell>,
    refs: Atomic<u32>,
    owner: Atomic<usize>,
    owners: &'static Owner,
    started: AtomicFlag,
    /// `ki_iter` and `ki_pos` as the attempt in hand, or the last, found them.
    before: UnsafeCell<(bindings::iov_iter, i64)>,
    result: UnsafeCell<(i64, i64)>,
    provider: NonNull<ffi::kaio_provider>,
    kept: UnsafeCell<Option<Kept>>,
}

/// What the provider may use as long as it has the request.
struct Kept {
    /// None in a test.
    _file: Option<ARef<fs::File>>,
    /// What `ki_iter` points into.
    _buffers: Option<Buffers>,
}

/// A reference to what a provider has of a request. May be dropped in any context.
pub(crate) struct Provided(NonNull<Held>);

// SAFETY: `Held` is made for use from anywhere: what is not atomic has one owner at a time.
unsafe impl Send for Provided {}
// SAFETY: as above.
unsafe impl Sync for Provided {}

/// What one attempt left.
pub(crate) enum Attempted<R: Request> {
    /// The result.
    Done(Active<R>, i64),
    /// To be parked: a kick is owed, or has come just now.
    Wait(Active<R>),
    /// The provider has the token, and [`Request::driver_done`] follows. Or has come already.
    Gone,
}

/// What a request brings with it.
pub(crate) struct Given {
    pub(crate) buffers: Buffers,
    pub(crate) write: bool,
    pub(crate) opcode: u16,
    pub(crate) user_data: u64,
    pub(crate) pos: i64,
    /// `IOCB_*`.
    pub(crate) flags: i32,
    pub(crate) ioprio: u16,
}

impl Provided {
    /// Of the provider that the file has. `EINVAL`: it has none any more.
    pub(crate) fn new<R: Request>(file: &File, given: Given) -> Result<Self> {
        let mut iter = given.buffers.rest(0);
        // SAFETY: `iter` is valid; the buffers that it points into go into the same `Held`.
        let iter = unsafe { ptr::read(iter.as_raw()) };
        let iocb = ffi::kaio_iocb {
            ki_filp: file.as_ptr(),
            ki_user_data: given.user_data,
            ki_nbytes: given.buffers.len(),
            ki_opcode: given.opcode,
            ki_ioprio: given.ioprio,
            ki_flags: given.flags,
            ki_pos: given.pos,
            ki_iter: iter,
            private: ptr::null_mut(),
        };
        // SAFETY: the file is open, and its `Kept` counts it.
        unsafe {
            Self::make(
                iocb,
                given.write,
                Some(given.buffers),
                &Requests::<R>::OWNER,
            )
        }
    }

    /// # Safety
    ///
    /// `iocb.ki_filp` is an open file; `iocb.ki_iter` points into `buffers`, or outlives the promise.
    unsafe fn make(
        iocb: ffi::kaio_iocb,
        write: bool,
        buffers: Option<Buffers>,
        owners: &'static Owner,
    ) -> Result<Self> {
        // SAFETY: the file is open.
        let provider = NonNull::new(unsafe { ffi::kaio_provider_get(iocb.ki_filp, write) });
        let provider = provider.ok_or(EINVAL)?;
        // SAFETY: the file is open. It may be in somebody's `fdget_pos()`: we leave its position alone.
        let file: ARef<fs::File> = unsafe { fs::File::from_raw_file(iocb.ki_filp) }.into();
        let kept = Kept {
            _file: Some(file),
            _buffers: buffers,
        };
        // SAFETY: counted above.
        unsafe { Self::with_provider(iocb, provider, kept, owners) }
    }

    /// # Safety
    ///
    /// As before; and `provider` is registered and counted, which this takes over.
    unsafe fn with_provider(
        iocb: ffi::kaio_iocb,
        provider: NonNull<ffi::kaio_provider>,
        kept: Kept,
        owners: &'static Owner,
    ) -> Result<Self> {
        // SAFETY: only allocates.
        let held = unsafe { ffi::kaio_held_alloc(size_of::<Held>()) }.cast::<Held>();
        let Some(this) = NonNull::new(held) else {
            // SAFETY: it was counted.
            unsafe { ffi::kaio_provider_put(provider.as_ptr()) };
            return Err(ENOMEM);
        };
        // INVARIANT: one reference, no attempt yet.
        // SAFETY: `this` is memory for it, which nobody else uses. Of the iterator's two copies one at
        // a time is used, and neither owns what it points into.
        unsafe {
            let before = (ptr::read(&iocb.ki_iter), iocb.ki_pos);
            this.write(Held {
                iocb: UnsafeCell::new(iocb),
                promise: Promise::new(Cell::new()),
                refs: Atomic::new(1),
                owner: Atomic::new(0),
                owners,
                started: AtomicFlag::new(false),
                before: UnsafeCell::new(before),
                result: UnsafeCell::new((0, 0)),
                provider,
                kept: UnsafeCell::new(Some(kept)),
            });
        }
        Ok(Self(this))
    }

    /// Another reference.
    pub(crate) fn again(&self) -> Self {
        // INVARIANT: counted.
        self.held().refs.add(1u32, Relaxed);
        Self(self.0)
    }

    /// The submitter said `RWF_NOWAIT`.
    pub(crate) fn nowait(&self) -> bool {
        // SAFETY: nobody changes the flags once a request has begun.
        let flags = unsafe { (*self.iocb()).ki_flags };
        flags & iocb::NOWAIT != 0
    }

    /// Another reference to what a provider gives us; `None`: it is gone.
    ///
    /// # Safety
    ///
    /// `iocb` is one of ours, and its memory is still one of a `Held`: the provider owes something
    /// for it (or, in debug builds, did so lately).
    unsafe fn from_provider(iocb: *mut ffi::kaio_iocb) -> Option<Self> {
        let this = NonNull::new(iocb.cast::<Held>())?;
        // SAFETY: as the caller promises; `iocb` is the first field.
        let refs = unsafe { &(*this.as_ptr()).refs };
        let mut old = refs.load(Relaxed);
        while old != 0 {
            match refs.cmpxchg(old, old.wrapping_add(1), Full) {
                // INVARIANT: counted.
                Ok(_) => return Some(Self(this)),
                Err(found) => old = found,
            }
        }
        None
    }

    fn held(&self) -> &Held {
        // SAFETY: by the invariant, it is there as long as it is counted.
        unsafe { self.0.as_ref() }
    }

    fn iocb(&self) -> *mut ffi::kaio_iocb {
        self.held().iocb.get()
    }

    fn method(&self) -> &ffi::kaio_provider {
        // SAFETY: counted when this was made, and registered as it is until that is given back.
        unsafe { self.held().provider.as_ref() }
    }

    /// The provider owes nothing any more: gives its reference back. To be called once.
    fn release(&self) {
        if self.held().started.load(Relaxed) {
            drop(Self(self.0));
        }
    }

    /// Bytes moved so far, which count even if it goes no further. Not while the provider has it.
    pub(crate) fn done(&self) -> i64 {
        // SAFETY: the caller is who has the iocb.
        let iocb = unsafe { &*self.iocb() };
        iocb.ki_nbytes.saturating_sub(count(&iocb.ki_iter)) as i64
    }

    /// An attempt begins: see [`Self::take_back`].
    fn remember(&self) {
        let iocb = self.iocb();
        // SAFETY: the attempt has both. The copy is used only if the original is not any more.
        unsafe { *self.held().before.get() = (ptr::read(&(*iocb).ki_iter), (*iocb).ki_pos) };
    }

    /// A completion was owed, and the provider took that back: what the last attempt took, to be
    /// completed later, was not moved. To be called by whoever ends the request.
    fn take_back(&self) {
        let iocb = self.iocb();
        // SAFETY: the provider is done with the iocb, and the caller has both.
        unsafe {
            let (iter, pos) = &*self.held().before.get();
            (*iocb).ki_iter = ptr::read(iter);
            (*iocb).ki_pos = *pos;
        }
    }

    /// What it was completed with: res and res2.
    fn result(&self) -> (i64, i64) {
        // SAFETY: by the invariant it was written before, and nobody writes it again.
        unsafe { *self.held().result.get() }
    }

    /// Of a request that has ended: `io_event.res2`.
    pub(crate) fn res2(&self) -> i64 {
        match self.held().promise.is_taken() {
            true => self.result().1,
            false => 0,
        }
    }

    /// Calls the retry method. `None`: an attempt runs already, which would be a bug.
    fn call(&self) -> Option<isize> {
        let held = self.held();
        if !held.promise.begin() {
            pr_warn!("a provider was to run a request twice at once\n");
            return None;
        }
        if !held.started.load(Relaxed) {
            held.started.store(true, Relaxed);
            // INVARIANT: the provider's reference.
            held.refs.add(1u32, Relaxed);
        }
        self.remember();
        // Registration refuses a provider without it.
        let retry = self.method().retry?;
        // SAFETY: the iocb is the provider's now, and the caller is in process context.
        let ret = unsafe { retry(self.iocb()) };
        Some(self.checked(ret, c"answers with more bytes than were asked for"))
    }

    /// A result as the caller may trust it: it is about no more than its memory.
    fn checked(&self, res: isize, wrong: &CStr) -> isize {
        let Ok(bytes) = usize::try_from(res) else {
            return res;
        };
        // SAFETY: who gives a result, or is just told it, is who has the iocb.
        let asked = unsafe { (*self.iocb()).ki_nbytes };
        if bytes <= asked {
            return res;
        }
        self.report(wrong);
        asked as isize
    }

    /// Tells the promise what was answered.
    fn answered(&self, answer: impl Fn(&Promise<Cell>) -> (Left, bool)) -> Left {
        loop {
            let (left, wrong) = answer(&self.held().promise);
            if wrong {
                self.report(
                    c"retry broke its promise: kick for -EIOCBRETRY, complete for -EIOCBQUEUED",
                );
            }
            match left {
                Left::Busy => core::hint::spin_loop(),
                left => return left,
            }
        }
    }

    fn report(&self, what: &CStr) {
        let caller = self.method().retry.map_or(0, |retry| retry as usize);
        // SAFETY: prints; `what` is a string.
        unsafe { ffi::kaio_provider_report(what.as_char_ptr(), caller) };
    }

    /// Runs an attempt. Process context, with the submitter's memory and rights.
    pub(crate) fn attempt<R: Request>(&self, mut req: Active<R>) -> Attempted<R> {
        let held = self.held();
        match self.call() {
            Some(RETRY) => {
                // From the answer on a kick finds the way.
                let keep = req.keep();
                held.owner.store(Arc::into_raw(keep) as usize, Relaxed);
                match self.answered(Promise::answer_retry) {
                    Left::Completed => {
                        self.forget();
                        self.completed(req)
                    }
                    Left::Kicked => {
                        self.forget();
                        req.keep().kick();
                        Attempted::Wait(req)
                    }
                    _ => Attempted::Wait(req),
                }
            }
            Some(QUEUED) => {
                // So that it can be found to be cancelled.
                let listed = req.list();
                let keep = req.keep();
                held.owner.store(req.leave() as usize, Relaxed);
                if self.answered(Promise::answer_queued) == Left::Completed {
                    let raw = held.owner.xchg(0, Full) as *const Tracked<R>;
                    // SAFETY: left above; nobody else takes what was completed before the answer.
                    return self.completed(unsafe { Active::take(raw) });
                }
                // Who cancelled it during the attempt left the rest to us.
                if (!listed || keep.is_cancelled()) && self.cancel().is_none() {
                    keep.uncancel();
                    // One that is not listed was asked for because its context has ended.
                    if listed {
                        let _ = Tracked::was_refused(keep.as_arc_borrow());
                    }
                }
                Attempted::Gone
            }
            Some(ret) => match self.answered(Promise::answer_result) {
                Left::Completed => self.completed(req),
                _ => {
                    self.release();
                    Attempted::Done(req, ret as i64)
                }
            },
            None => Attempted::Done(req, errno::EINVAL),
        }
    }

    fn completed<R: Request>(&self, req: Active<R>) -> Attempted<R> {
        self.release();
        R::driver_done(req, self.result().0 as isize);
        Attempted::Gone
    }

    /// Gives up the way back to the request.
    fn forget(&self) {
        let owner = self.held().owner.xchg(0, Full);
        if owner != 0 {
            // SAFETY: stored for a kick; whoever gets it out of `owner` has it alone.
            unsafe { (self.held().owners.forget)(owner) };
        }
    }

    /// Asks the provider, which owes a completion, to give the request back; if it does, ends it as
    /// cancelled. Whether it has ended; `None`: it goes on. Process context, none of our locks.
    pub(crate) fn cancel(&self) -> Option<bool> {
        let held = self.held();
        if held.promise.ask() == Ask::Busy {
            return Some(false);
        }
        let gave = self.ask();
        match held.promise.asked(gave) {
            Told::Act => {
                self.take_back();
                // SAFETY: what was stored for a completion is ours: nobody else takes it now.
                unsafe { (held.owners.complete)(held, held.owner.xchg(0, Full)) };
                self.release();
                Some(true)
            }
            Told::Wrong => None,
            _ => Some(held.promise.is_over()),
        }
    }

    /// Calls the cancel method: whether the provider takes its promise back.
    fn ask(&self) -> bool {
        self.method().cancel.is_some_and(|cancel| {
            // SAFETY: our reference keeps the iocb, and the caller is in process context with no
            // lock held; no attempt runs.
            unsafe { cancel(self.iocb()) == 0 }
        })
    }

    /// The request ends. Once, before its event. Process context if a kick is owed.
    pub(crate) fn end(&self) {
        match self.held().promise.end() {
            End::Owed => {
                self.forget();
                // The provider does not look at the rest of the memory any more.
                let gave = self.ask();
                // What is only to be kicked needs no more of the request than the struct and its file:
                // a provider may take its time.
                // SAFETY: this is called once, and our reference keeps `Drop` away.
                if let Some(kept) = unsafe { &mut *self.held().kept.get() } {
                    kept._buffers = None;
                }
                if gave && self.held().promise.given_up() {
                    self.release();
                }
            }
            End::Over => self.release(),
            End::Before => {}
        }
    }
}

impl Drop for Provided {
    fn drop(&mut self) {
        if self.held().refs.fetch_sub(1u32, Full) != 1 {
            return;
        }
        let started = self.held().started.load(Acquire);
        if let Some(dtor) = self.method().dtor.filter(|_| started) {
            // SAFETY: nobody has the iocb any more but us, and now the destructor.
            unsafe { dtor(self.iocb()) };
        }
        let provider = self.held().provider;
        // SAFETY: the last reference. The memory goes last; by the invariant nobody looks at what is
        // dropped here.
        unsafe {
            drop((*self.held().kept.get()).take());
            ffi::kaio_held_free(self.0.as_ptr().cast());
            ffi::kaio_provider_put(provider.as_ptr());
        }
    }
}

/// Bytes that an iterator has left.
fn count(iter: &bindings::iov_iter) -> usize {
    // SAFETY: every kind of iterator has a count there.
    unsafe { iter.__bindgen_anon_1.__bindgen_anon_1.as_ref().count }
}

/// Of requests that came through the device.
struct Requests<R>(core::marker::PhantomData<R>);

impl<R: Request> Requests<R> {
    const OWNER: Owner = Owner {
        kick: Self::kick,
        complete: Self::complete,
        forget: Self::forget,
    };

    /// # Safety
    ///
    /// See [`Owner`].
    unsafe fn kick(_held: &Held, owner: usize) {
        // SAFETY: `attempt` made it of an `Arc`, and the caller has it alone.
        let request = unsafe { Arc::from_raw(owner as *const Tracked<R>) };
        request.kick();
    }

    /// # Safety
    ///
    /// See [`Owner`].
    unsafe fn complete(held: &Held, owner: usize) {
        // SAFETY: `attempt` left the token, and the caller has it alone.
        let active = unsafe { Active::<R>::take(owner as *const Tracked<R>) };
        if held.promise.is_taken() {
            // SAFETY: by the invariant; the caller has announced it.
            let (res, _) = unsafe { *held.result.get() };
            R::driver_done(active, res as isize);
        }
        // Else it was given back, and the token's drop ends it.
    }

    /// # Safety
    ///
    /// See [`Owner`].
    unsafe fn forget(owner: usize) {
        // SAFETY: as in `kick`.
        drop(unsafe { Arc::from_raw(owner as *const Tracked<R>) });
    }
}

/// `kaio_kick()`. `false`: none was owed.
///
/// # Safety
///
/// For `kaio_kick()`: see [`Provided::from_provider`].
#[no_mangle]
unsafe extern "C" fn kaio_held_kick(iocb: *mut ffi::kaio_iocb) -> bool {
    // SAFETY: as the caller promises.
    let Some(this) = (unsafe { Provided::from_provider(iocb) }) else {
        return false;
    };
    let held = this.held();
    match held.promise.kick() {
        // SAFETY: whoever takes the promise takes what was stored with it.
        Told::Act => unsafe { (held.owners.kick)(held, held.owner.xchg(0, Full)) },
        Told::Remembered => {}
        Told::LetGo => this.release(),
        Told::Wrong => return false,
    }
    true
}

/// `kaio_complete()`. `false`: none was owed.
///
/// # Safety
///
/// For `kaio_complete()`: see [`Provided::from_provider`].
#[no_mangle]
unsafe extern "C" fn kaio_held_complete(
    iocb: *mut ffi::kaio_iocb,
    res: kernel::ffi::c_long,
    res2: kernel::ffi::c_long,
) -> bool {
    // SAFETY: as the caller promises.
    let Some(this) = (unsafe { Provided::from_provider(iocb) }) else {
        return false;
    };
    let held = this.held();
    if !held.promise.take() {
        return false;
    }
    let res = match res {
        // A promise is no result: whoever gets one as such would wait for ever.
        RETRY | QUEUED => {
            this.report(c"completes with -EIOCBRETRY or -EIOCBQUEUED, which is no result");
            EIO.to_errno() as isize
        }
        res => this.checked(res, c"completes with more bytes than were asked for"),
    };
    // SAFETY: by the invariant it is ours to write.
    unsafe { *held.result.get() = (res as i64, res2 as i64) };
    if held.promise.completed() == Told::Act {
        // SAFETY: whoever takes the promise takes what was stored with it.
        unsafe { (held.owners.complete)(held, held.owner.xchg(0, Full)) };
        this.release();
    }
    true
}

/// All providers have gone: their modules link against this one.
pub(crate) struct Memory;

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: nobody has a `Held` any more.
        unsafe { ffi::kaio_held_exit() };
    }
}

#[cfg(CONFIG_KAIO_KUNIT_TEST)]
pub(crate) mod rig;
