// SPDX-License-Identifier: LGPL-2.1-or-later

//! The lock around all that this library knows, and what a fork does to it.
//!
//! Who has the lock has all signals blocked. So a handler never interrupts who has it, and may leave by
//! siglongjmp(). (It must not start requests all the same: that allocates, and may make a thread.) And
//! nothing is done with the lock where pthread_cancel() acts. A thread that has itself cancelled
//! asynchronously may not call us, as it may not call most of libc.
//!
//! A fork does not wait for the lock: another thread may have it, and what the child finds may be half
//! done. The child begins anew.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

use super::engine::Engine;

/// pthread's, not Rust's: the child makes another of it.
struct Global {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    engine: UnsafeCell<Engine>,
}

// SAFETY: `mutex` is for all threads; the engine is only touched by who has it.
unsafe impl Sync for Global {}

static GLOBAL: Global = Global {
    mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
    engine: UnsafeCell::new(Engine::new()),
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
    if !FORKS.load(Ordering::Acquire) {
        // Before the lock is taken for the first time: there must be no child that does not know.
        // Two threads may both do it, and the child begins anew twice. (ENOMEM: tried again.)
        // SAFETY: the function is there as long as the library is, which is not unloaded.
        let error = unsafe { libc::pthread_atfork(None, None, Some(child)) };
        FORKS.store(error == 0, Ordering::Release);
    }
    let signals = block_signals();
    // SAFETY: a mutex of the default kind, which this thread does not hold: signals are blocked while
    // it does.
    unsafe { libc::pthread_mutex_lock(GLOBAL.mutex.get()) };
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

/// The parent's requests are not the child's: POSIX has it inherit none.
extern "C" fn child() {
    let engine = GLOBAL.engine.get();
    let signals = block_signals();
    // SAFETY: a child has one thread, so nobody else has the mutex or the engine. If the mutex is
    // free, what it guards is whole. If not, no more is done with it than to write over it.
    unsafe {
        if libc::pthread_mutex_trylock(GLOBAL.mutex.get()) == 0 {
            drop(engine.replace(Engine::new()));
        } else {
            engine.write(Engine::new());
        }
        GLOBAL.mutex.get().write(libc::PTHREAD_MUTEX_INITIALIZER);
    }
    Engine::close_of_parent();
    restore_signals(&signals);
}
