// SPDX-License-Identifier: LGPL-2.1-or-later

//! The lock around the state of this library, and the effect of a fork on it.
//!
//! The thread that has the lock has all signals blocked. So no handler interrupts the holder, and
//! a handler may leave by siglongjmp(). (A handler must not start requests all the same, since
//! that allocates and may make a thread.) The holder calls no cancellation point. A thread with
//! asynchronous cancellation must not call this library, just as it must not call most of libc.
//!
//! Each thread holds the lock for a moment only. A thread that has longer work to do gives the
//! lock back and keeps an [`UnlockedUse`] meanwhile.
//!
//! A fork does not wait for the lock: another thread may have it, and its changes may be half done
//! in the child's copy. The child begins with an empty engine.

use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void, CStr};
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::engine::Engine;
use super::wait::WakeList;

/// The mutex is a pthread mutex instead of Rust's, because the child of a fork must be able to
/// initialize it again.
struct Global {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    engine: UnsafeCell<Engine>,
}

// SAFETY: any thread may use `mutex`; only the thread that holds it uses the engine, since only
// `Guard` gives access to the engine.
unsafe impl Sync for Global {}

static GLOBAL: Global = Global {
    mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
    engine: UnsafeCell::new(Engine::new()),
};

/// Blocks all signals that a thread can block, and returns the old mask. (pthread_sigmask() leaves
/// out the signals that libc needs for itself.) SIGSYS is not blocked: a filter of seccomp raises it
/// for a system call, and kills the process if it is blocked.
fn block_signals() -> libc::sigset_t {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are written before they are read; this cannot fail.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigdelset(all.as_mut_ptr(), libc::SIGSYS);
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), old.as_mut_ptr());
        old.assume_init()
    }
}

fn restore_signals(old: &libc::sigset_t) {
    // SAFETY: pthread_sigmask() has made this set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old, null_mut()) };
}

/// The number of threads that use a part of the engine without the lock.
static UNLOCKED_USES: AtomicU32 = AtomicU32::new(0);
/// The number of forks of this process and its ancestors. It grows by one in the child.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Keeps the slots of requests from being freed while a thread uses a part of the engine without
/// the lock.
pub(super) struct UnlockedUse {
    forks: u32,
}

impl UnlockedUse {
    /// Returns whether this process is the child of a fork that a signal handler made since. The
    /// engine of the child does not know what this thread was using.
    pub(super) fn is_in_child(&self) -> bool {
        self.forks != FORKS.load(Ordering::Relaxed)
    }
}

impl Drop for UnlockedUse {
    fn drop(&mut self) {
        if !self.is_in_child() {
            // Release: this thread's use of the engine comes before the decrement.
            UNLOCKED_USES.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Holds the lock as long as it exists.
pub(super) struct Guard {
    signals: libc::sigset_t,
    by_helper: bool,
}

impl Guard {
    /// Announces that the caller goes on to use parts of the engine after it has given the lock
    /// back.
    pub(super) fn begin_unlocked_use(&self) -> UnlockedUse {
        UNLOCKED_USES.fetch_add(1, Ordering::Relaxed);
        UnlockedUse {
            forks: FORKS.load(Ordering::Relaxed),
        }
    }

    /// Returns whether a thread uses parts of the engine without the lock.
    pub(super) fn has_unlocked_uses(&self) -> bool {
        UNLOCKED_USES.load(Ordering::Acquire) != 0
    }
}

/// Takes the lock.
pub(super) fn lock() -> Guard {
    static CHILDREN_KNOW: AtomicBool = AtomicBool::new(false);
    if !CHILDREN_KNOW.load(Ordering::Acquire) {
        // This must come before the lock is taken for the first time, so that each child runs
        // `child`. Two threads may both register it; then the child begins anew twice. (After
        // ENOMEM the next call tries again.)
        CHILDREN_KNOW.store(at_fork(child) == 0, Ordering::Release);
    }
    let signals = block_signals();
    // SAFETY: this is a mutex of the default kind, and this thread does not hold it: a holder has
    // its signals blocked, so no handler can get here in the middle, and a holder does not call
    // `lock`.
    unsafe { libc::pthread_mutex_lock(GLOBAL.mutex.get()) };
    Guard {
        signals,
        by_helper: false,
    }
}

/// Registers `child` as pthread_atfork() does. glibc has that function in its static part; if this
/// library used it, another libc (musl) could not load the library.
fn at_fork(child: extern "C" fn()) -> c_int {
    type Handler = Option<extern "C" fn()>;
    type Register = unsafe extern "C" fn(Handler, Handler, Handler, *mut c_void) -> c_int;
    let find = |name: &CStr| {
        // SAFETY: the name ends with a zero.
        unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
    };
    let mut register = find(c"__register_atfork");
    if register.is_null() {
        // This function takes the first three arguments and ignores the fourth.
        register = find(c"pthread_atfork");
    }
    if register.is_null() {
        return libc::ENOSYS;
    }
    // SAFETY: both functions can be called by that type. `child` stays in memory because the
    // library is never unloaded, so the registration needs no handle of it.
    unsafe {
        core::mem::transmute::<*mut c_void, Register>(register)(None, None, Some(child), null_mut())
    }
}

/// Takes the lock for the helper, which need not be woken to do its own work.
pub(super) fn lock_as_helper() -> Guard {
    let mut guard = lock();
    guard.by_helper = true;
    guard
}

impl Drop for Guard {
    fn drop(&mut self) {
        let by_helper = self.by_helper;
        loop {
            let more = self.before_unlock(by_helper);
            let wakes = core::mem::replace(&mut self.wakes, WakeList::new());
            // SAFETY: this thread has locked the mutex, in `lock` or at the end of this loop, and
            // the guard was not dropped since.
            unsafe { libc::pthread_mutex_unlock(GLOBAL.mutex.get()) };
            wakes.wake();
            if !more {
                break;
            }
            // Other threads may have taken the lock for a moment.
            // SAFETY: this thread has just unlocked the mutex, and its signals are still blocked.
            unsafe { libc::pthread_mutex_lock(GLOBAL.mutex.get()) };
        }
        restore_signals(&self.signals);
    }
}

impl Deref for Guard {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        // SAFETY: the engine is reached only through a guard, and the mutex allows one guard at a
        // time.
        unsafe { &*GLOBAL.engine.get() }
    }
}

impl DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut Engine {
        // SAFETY: the engine is reached only through a guard, the mutex allows one guard at a
        // time, and `&mut self` excludes other references from this one.
        unsafe { &mut *GLOBAL.engine.get() }
    }
}

/// Gives the child of a fork an empty engine; runs in the child. POSIX says that a child inherits
/// no requests.
extern "C" fn child() {
    let engine = GLOBAL.engine.get();
    let signals = block_signals();
    // SAFETY: the child has one thread, so no other thread has the mutex or the engine. If the
    // mutex is free, the engine is in a consistent state and may be dropped. If it is not, the
    // engine is only overwritten.
    unsafe {
        let is_free = libc::pthread_mutex_trylock(GLOBAL.mutex.get()) == 0;
        // The thread of the unlocked use may be this very thread: a handler forks, and then returns
        // to the call that it interrupted. Then the old engine must stay in memory.
        if is_free && UNLOCKED_USES.load(Ordering::Relaxed) == 0 {
            drop(engine.replace(Engine::new()));
        } else {
            engine.write(Engine::new());
        }
        GLOBAL.mutex.get().write(libc::PTHREAD_MUTEX_INITIALIZER);
    }
    UNLOCKED_USES.store(0, Ordering::Relaxed);
    FORKS.fetch_add(1, Ordering::Relaxed);
    Engine::close_parents_device();
    restore_signals(&signals);
}
