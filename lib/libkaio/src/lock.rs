// SPDX-License-Identifier: LGPL-2.1-or-later

//! A lock in memory that initially contains zeroes and that a fork clears.
//!
//! The lock knows its owner, since a signal handler that interrupts the owner must not wait for it.
//! If such a handler leaves by siglongjmp(), or if the owner is cancelled asynchronously, the lock
//! stays taken for ever. To exclude that would cost two system calls each time. libkaio(3)
//! documents it.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::futex;

/// The owner, or 0. Bit 0, which no owner has, is set if a thread waits.
#[repr(transparent)]
pub(crate) struct Lock(AtomicU64);

const HAS_WAITERS: u64 = 1;

/// Returns the thread pointer, which identifies this thread. It is aligned and never 0. The psABI
/// of x86-64 keeps it at `%fs:0`, and that of arm64 in a register.
#[inline]
fn this_thread() -> u64 {
    let tp;
    // SAFETY: every thread has its thread pointer at this address, and the code only reads it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("mov {}, fs:0", out(reg) tp, options(nostack, readonly, preserves_flags))
    };
    // SAFETY: reads a register of this thread and changes nothing.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("mrs {}, tpidr_el0", out(reg) tp, options(nostack, nomem, preserves_flags))
    };
    tp
}

impl Lock {
    /// Takes the lock. Returns `false` if this thread has it already, that is, in a signal handler.
    #[inline]
    #[must_use]
    pub(crate) fn lock(&self) -> bool {
        let me = this_thread();
        self.compare_exchange(0, me).is_ok() || self.lock_slow(me)
    }

    #[inline]
    pub(crate) fn unlock(&self) {
        if self.0.swap(0, Ordering::Release) & HAS_WAITERS != 0 {
            futex::wake(self.word(), 1);
        }
    }

    #[inline]
    fn compare_exchange(&self, from: u64, to: u64) -> Result<u64, u64> {
        self.0
            .compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed)
    }

    #[cold]
    fn lock_slow(&self, me: u64) -> bool {
        loop {
            let owner = self.0.load(Ordering::Relaxed);
            if owner & !HAS_WAITERS == me {
                return false;
            }
            // After a wait, take the lock as if other threads waited too; at worst, the next unlock
            // makes a needless wake-up.
            if owner == 0 {
                if self.compare_exchange(0, me | HAS_WAITERS).is_ok() {
                    return true;
                }
            } else if owner & HAS_WAITERS != 0
                || self.compare_exchange(owner, owner | HAS_WAITERS).is_ok()
            {
                // The loop looks at the owner again, whatever ended the sleep.
                let _ = futex::wait(self.word(), (owner | HAS_WAITERS) as u32, None);
            }
        }
    }

    /// Returns the address of the futex word, which is the lower half of the owner and comes first
    /// in memory. Two owners may have the same lower half. Then a sleeper does not notice that the
    /// owner has changed, but the new owner has the bit of waiting threads too, and wakes the
    /// sleeper.
    fn word(&self) -> usize {
        self.0.as_ptr() as usize
    }
}
