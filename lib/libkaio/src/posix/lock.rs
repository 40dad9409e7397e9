// SPDX-License-Identifier: LGPL-2.1-or-later

//! The lock around all that this library knows, and what a fork does to it.
//!
//! Who has the lock has all signals blocked. So a handler may start requests whatever it interrupts,
//! and may leave by siglongjmp(); and fork() may be called in a handler.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

use super::engine::Engine;

/// pthread's, not Rust's: the lock is taken before a fork and given back after it, twice.
struct Global {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    engine: UnsafeCell<Engine>,
    signals: UnsafeCell<MaybeUninit<libc::sigset_t>>,
}

// SAFETY: `mutex` is for all threads; the others are only touched by who has it.
unsafe impl Sync for Global {}

static GLOBAL: Global = Global {
    mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
    engine: UnsafeCell::new(Engine::new()),
    signals: UnsafeCell::new(MaybeUninit::uninit()),
};

/// Blocks all signals that a thread can block; returns those that were. (Not the ones that libc
/// needs for itself: pthread_sigmask() sees to that.)
fn block_signals() -> libc::sigset_t {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are written before they are read; this cannot fail.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), old.as_mut_ptr());
        old.assume_init()
    }
}

fn restore_signals(old: &libc::sigset_t) {
    // SAFETY: a set that pthread_sigmask() made.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old, null_mut()) };
}

/// The lock is held.
pub(super) struct Guard {
    signals: libc::sigset_t,
}

/// Takes the lock.
pub(super) fn lock() -> Guard {
    static FORKS: AtomicBool = AtomicBool::new(false);
    let signals = block_signals();
    // SAFETY: a mutex of the default kind, which this thread does not hold: signals are blocked while
    // it does.
    unsafe { libc::pthread_mutex_lock(GLOBAL.mutex.get()) };
    if !FORKS.load(Ordering::Relaxed) {
        // SAFETY: the functions are there as long as the library is. (ENOMEM: tried again.)
        let error = unsafe { libc::pthread_atfork(Some(before), Some(parent), Some(child)) };
        FORKS.store(error == 0, Ordering::Relaxed);
    }
    Guard { signals }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.settle();
        // SAFETY: this thread has it.
        unsafe { libc::pthread_mutex_unlock(GLOBAL.mutex.get()) };
        restore_signals(&self.signals);
    }
}

impl Deref for Guard {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        // SAFETY: the guard is the only way to it, and there is one guard.
        unsafe { &*GLOBAL.engine.get() }
    }
}

impl DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut Engine {
        // SAFETY: as above.
        unsafe { &mut *GLOBAL.engine.get() }
    }
}

extern "C" fn before() {
    let signals = block_signals();
    // SAFETY: as in `lock`; with the mutex `signals` is ours.
    unsafe {
        libc::pthread_mutex_lock(GLOBAL.mutex.get());
        (*GLOBAL.signals.get()).write(signals);
    }
}

extern "C" fn parent() {
    // SAFETY: `before` took the mutex and wrote the set.
    let signals = unsafe { (*GLOBAL.signals.get()).assume_init() };
    // SAFETY: `before` took it, in this thread.
    unsafe { libc::pthread_mutex_unlock(GLOBAL.mutex.get()) };
    restore_signals(&signals);
}

/// The parent's requests are not the child's: POSIX has it inherit none.
extern "C" fn child() {
    // SAFETY: `before` took the mutex, so the engine is ours and whole.
    unsafe { (*GLOBAL.engine.get()).forget() };
    parent();
}
