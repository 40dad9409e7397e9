// SPDX-License-Identifier: LGPL-2.1-or-later

//! A lock in memory that begins as zeroes and that a fork makes zeroes again.
//!
//! It knows its owner: a signal handler that interrupts the owner must not wait for it. It stays with an
//! owner that such a handler leaves for good by siglongjmp(), or that is cancelled asynchronously: to
//! exclude that would cost two system calls each time. libkaio(3) says so.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use kaio_sys::syscall::syscall;

/// The owner, or 0. Bit 0, which an owner has not: somebody waits.
#[repr(transparent)]
pub(crate) struct Lock(AtomicU64);

const WAITERS: u64 = 1;

/// Who we are: the thread pointer. The psABI keeps it at `%fs:0`; it is aligned and never 0.
#[inline]
fn this_thread() -> u64 {
    let tp;
    // SAFETY: reads the word that every thread has there.
    unsafe { asm!("mov {}, fs:0", out(reg) tp, options(nostack, readonly, preserves_flags)) };
    tp
}

impl Lock {
    /// Takes the lock; `false` if this thread has it already: we are in a signal handler.
    #[inline]
    #[must_use]
    pub(crate) fn lock(&self) -> bool {
        let me = this_thread();
        self.take(0, me).is_ok() || self.wait(me)
    }

    #[inline]
    pub(crate) fn unlock(&self) {
        if self.0.swap(0, Ordering::Release) & WAITERS != 0 {
            self.futex(libc::FUTEX_WAKE, 1);
        }
    }

    #[inline]
    fn take(&self, from: u64, to: u64) -> Result<u64, u64> {
        self.0
            .compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed)
    }

    #[cold]
    fn wait(&self, me: u64) -> bool {
        loop {
            let owner = self.0.load(Ordering::Relaxed);
            if owner & !WAITERS == me {
                return false;
            }
            // Others may wait as well: who got it after a wait wakes one more than it must.
            if owner == 0 {
                if self.take(0, me | WAITERS).is_ok() {
                    return true;
                }
            } else if owner & WAITERS != 0 || self.take(owner, owner | WAITERS).is_ok() {
                self.futex(libc::FUTEX_WAIT, (owner | WAITERS) as u32);
            }
        }
    }

    /// The futex is the lower half, which comes first. Two owners may be alike in it: then a sleeper
    /// stays asleep although the owner changed, but the new one has the bit too, and wakes it.
    fn futex(&self, op: i32, value: u32) {
        let op = (op | libc::FUTEX_PRIVATE_FLAG) as usize;
        let args = [self.0.as_ptr() as usize, op, value as usize, 0, 0, 0];
        // SAFETY: waits without a time-out, or wakes; writes nothing.
        let _ = unsafe { syscall(libc::SYS_futex, args) };
    }
}
