// SPDX-License-Identifier: LGPL-2.1-or-later

//! Waiting for requests: `aio_suspend()` and `lio_listio(LIO_WAIT)`.
//!
//! Each request has a futex word of its own, the error in its control block, on which the threads
//! that wait for it sleep. So the end of a request wakes only the threads that wait for it.
//! Nothing here takes a lock or allocates, so a signal handler may call these functions; and a
//! handler that interrupts them may leave by siglongjmp().
//!
//! A thread sleeps on one word for all requests, which changes whenever a request ends, if it
//! waits for more requests than futex_waitv(2) takes, or for several with a time limit.

use core::ffi::c_int;
use core::ptr::null_mut;
use core::sync::atomic::{fence, AtomicU32, Ordering};

use kaio_sys::syscall::syscall;
use kaio_sys::{Errno, Result};

use super::c::{pthread_setcanceltype, PTHREAD_CANCEL_ASYNCHRONOUS};
use super::control::Control;
use crate::futex;

/// The number of sleepers, hashed by the address of their word. If it is 0, the thread that ends a
/// request makes no system call. A thread that left its sleep by siglongjmp() or pthread_cancel()
/// stays counted, which costs a needless system call now and then.
static SLEEPERS: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];

/// Changes when a request has ended, if there are sleepers on it.
static ENDED: AtomicU32 = AtomicU32::new(0);

fn sleepers(word: usize) -> &'static AtomicU32 {
    let hash = (word >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    // The hash has eight bits.
    SLEEPERS.get(hash).unwrap_or(&SLEEPERS[0])
}

/// Addresses of futex words whose sleepers are to be woken. Waking them needs no lock.
pub(super) struct WakeList {
    words: [usize; Self::SIZE],
    count: usize,
}

impl WakeList {
    const SIZE: usize = 32;

    pub(super) const fn new() -> Self {
        Self {
            words: [0; Self::SIZE],
            count: 0,
        }
    }

    /// Adds the sleepers that wait for a request that has ended. The control block has its result
    /// already.
    pub(super) fn add_ended(&mut self, control: Control) {
        // Either this thread sees that the sleeper is counted, or the sleeper sees that the word
        // has changed: see `sleep`.
        fence(Ordering::SeqCst);
        if sleepers(control.futex_word()).load(Ordering::Relaxed) != 0 {
            self.add(control.futex_word());
        }
        let all = ENDED.as_ptr() as usize;
        if sleepers(all).load(Ordering::Relaxed) != 0 {
            ENDED.fetch_add(1, Ordering::Release);
            if self.words.iter().take(self.count).all(|&word| word != all) {
                self.add(all);
            }
        }
    }

    /// Adds the threads that sleep on this word.
    pub(super) fn add(&mut self, word: usize) {
        if self.count == Self::SIZE {
            self.wake();
            self.count = 0;
        }
        if let Some(at) = self.words.get_mut(self.count) {
            *at = word;
            self.count += 1;
        }
    }

    pub(super) fn wake(&self) {
        for &word in self.words.iter().take(self.count) {
            futex::wake(word, i32::MAX);
        }
    }
}

/// Returns the point in time (CLOCK_MONOTONIC) that is `timeout` from now.
///
/// # Errors
///
/// `EINVAL`: `timeout` is not a valid time.
pub(super) fn deadline(timeout: &libc::timespec) -> Result<libc::timespec> {
    const SECOND: i64 = 1_000_000_000;
    if timeout.tv_sec < 0 || !(0..SECOND).contains(&timeout.tv_nsec) {
        return Err(Errno::new(libc::EINVAL));
    }
    let mut end = *timeout;
    // SAFETY: `end` is a timespec that the call may write.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut end) };
    let nsec = end.tv_nsec + timeout.tv_nsec;
    end.tv_sec = end
        .tv_sec
        .saturating_add(timeout.tv_sec)
        .saturating_add(nsec / SECOND);
    end.tv_nsec = nsec % SECOND;
    Ok(end)
}

/// Waits until one of the requests has ended. This is a cancellation point.
///
/// # Errors
///
/// `EAGAIN`: `end` has come. `EINTR`: a signal handler has run.
pub(super) fn until_any_ended(
    requests: impl Iterator<Item = Control> + Clone,
    end: Option<&libc::timespec>,
) -> Result<()> {
    let done = || requests.clone().any(|control| !control.in_progress());
    let count = requests.clone().count();
    let one = requests.clone().next().filter(|_| count == 1);
    until(done, || match (one, end) {
        (Some(one), _) => sleep_on_word(one.futex_word(), libc::EINPROGRESS as u32, end, true),
        // The kernel restarts futex_waitv(2) after a handler with SA_RESTART, even with a time
        // limit, and then aio_suspend() could not return EINTR.
        (None, Some(_)) => sleep_on_all(requests.clone(), end),
        (None, None) if count <= SMALL_WAITV => sleep_on_words::<SMALL_WAITV>(requests.clone()),
        (None, None) => sleep_on_words::<MAX_WAITV>(requests.clone()),
    })
}

/// Waits until the word is 0.
///
/// # Errors
///
/// `EINTR`: a signal handler has run.
pub(super) fn until_zero(word: &AtomicU32) -> Result<()> {
    // Acquire: the caller must see what other threads did before the word became 0.
    let done = || word.load(Ordering::Acquire) == 0;
    until(done, || match word.load(Ordering::Acquire) {
        0 => Ok(()),
        seen => sleep_on_word(word.as_ptr() as usize, seen, None, false),
    })
}

/// Calls `sleep` again and again until `done` returns true.
fn until(done: impl Fn() -> bool, sleep: impl Fn() -> Result<()>) -> Result<()> {
    loop {
        if done() {
            return Ok(());
        }
        match sleep() {
            // The word had changed before the thread slept.
            Err(e) if e.get() == libc::EAGAIN => {}
            Ok(()) => {}
            // The handler may have run because of the very request that this thread waits for.
            Err(_) if done() => return Ok(()),
            Err(e) if e.get() == libc::ETIMEDOUT => return Err(Errno::new(libc::EAGAIN)),
            Err(e) => return Err(e),
        }
    }
}

/// A word that the kernel compares before it puts the thread to sleep: `struct futex_waitv`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Waiter {
    value: u64,
    word: u64,
    flags: u32,
    reserved: u32,
}

/// The size of the small array of words, which fits onto a small stack, such as one for signal
/// handlers.
const SMALL_WAITV: usize = 16;
/// FUTEX_WAITV_MAX.
const MAX_WAITV: usize = 128;

/// Sleeps while all of the requests are in progress. There are at most `N` of them; if there are
/// more, the thread sleeps on the word for all requests.
#[inline(never)]
fn sleep_on_words<const N: usize>(requests: impl Iterator<Item = Control> + Clone) -> Result<()> {
    /// The `libc` crate has no names for these on x86-64.
    const SYS_FUTEX_WAITV: libc::c_long = 449;
    const FUTEX2_SIZE_U32: u32 = 2;
    let mut waiters = [Waiter::default(); N];
    let mut count = 0;
    for control in requests.clone() {
        let Some(waiter) = waiters.get_mut(count) else {
            return sleep_on_all(requests, None);
        };
        *waiter = Waiter {
            value: libc::EINPROGRESS as u64,
            word: control.futex_word() as u64,
            flags: FUTEX2_SIZE_U32 | libc::FUTEX_PRIVATE_FLAG as u32,
            reserved: 0,
        };
        count += 1;
    }
    let args = [
        waiters.as_ptr() as usize,
        count,
        0,
        0,
        libc::CLOCK_MONOTONIC as usize,
        0,
    ];
    let words = || requests.clone().map(Control::futex_word);
    match sleep(words(), SYS_FUTEX_WAITV, args, true) {
        // The kernel or a sandbox does not allow the call.
        Err(e) if matches!(e.get(), libc::ENOSYS | libc::EPERM) => sleep_on_all(requests, None),
        result => result,
    }
}

/// Sleeps until any request of the program has ended.
#[inline(never)]
fn sleep_on_all(
    requests: impl Iterator<Item = Control> + Clone,
    end: Option<&libc::timespec>,
) -> Result<()> {
    let word = ENDED.as_ptr() as usize;
    // The sleeper is counted before its last look at the requests: a thread that ends a request
    // after that look sees the count and changes the word.
    sleepers(word).fetch_add(1, Ordering::SeqCst);
    let seen = ENDED.load(Ordering::SeqCst);
    let result = match requests.clone().all(Control::in_progress) {
        true => sleep_on_word(word, seen, end, true),
        false => Ok(()),
    };
    sleepers(word).fetch_sub(1, Ordering::SeqCst);
    result
}

/// Sleeps while the word has this value.
fn sleep_on_word(
    word: usize,
    value: u32,
    end: Option<&libc::timespec>,
    cancelable: bool,
) -> Result<()> {
    let op = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
    let args = [
        word,
        op as usize,
        value as usize,
        end.map_or(0, |end| &raw const *end as usize),
        0,
        libc::FUTEX_BITSET_MATCH_ANY as u32 as usize,
    ];
    sleep(core::iter::once(word), libc::SYS_futex, args, cancelable)
}

/// Makes a system call that sleeps on these words.
fn sleep(
    words: impl Iterator<Item = usize> + Clone,
    call: libc::c_long,
    args: [usize; 6],
    cancelable: bool,
) -> Result<()> {
    let mut kind = 0;
    for word in words.clone() {
        // SeqCst: see `WakeList::add_ended`. The kernel compares the word after this.
        sleepers(word).fetch_add(1, Ordering::SeqCst);
    }
    if cancelable {
        // SAFETY: pthread_cancel() may end the thread anywhere from here on. The thread holds no
        // lock and no memory here, and no frame up to the program has anything to drop; so Rust
        // allows the end of a thread to unwind these frames (RFC 2945).
        unsafe { pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS as c_int, &mut kind) };
    }
    // SAFETY: the callers pass words of control blocks, which the program keeps while it waits for
    // them, or words of the library; the kernel only reads them and the time.
    let ret = unsafe { syscall(call, args) };
    if cancelable {
        // SAFETY: restores the type that pthread_setcanceltype() returned; a null pointer is
        // allowed.
        unsafe { pthread_setcanceltype(kind, null_mut()) };
    }
    for word in words {
        sleepers(word).fetch_sub(1, Ordering::SeqCst);
    }
    ret.map(|_| ())
}
