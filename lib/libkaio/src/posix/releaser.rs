// SPDX-License-Identifier: LGPL-2.1-or-later

//! The releaser: a thread that submits held reads and writes to the kernel. The kernel may make it
//! wait for their buffers. So this cannot be the helper, on which all requests depend, and it
//! cannot be a thread of the program, to which the buffers may not belong. A thread that finds
//! such requests starts the releaser, which is seldom; the releaser ends when it had nothing to do
//! for a second.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::Ordering;

use super::engine::RELEASER_KICKS;
use super::lock::lock;
use super::submit;
use crate::futex;

pub(super) extern "C" fn run(_: *mut c_void) -> *mut c_void {
    const IDLE_TIMEOUT: libc::timespec = libc::timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    // SAFETY: the name ends with a zero, and the kernel copies it.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"kaio-aio-late".as_ptr()) };
    let mut late = false;
    loop {
        let mut engine = lock();
        let seen = RELEASER_KICKS.load(Ordering::Acquire);
        let Some(batch) = engine.next_release() else {
            if late && !engine.has_ready() {
                engine.releaser = false;
                break;
            }
            drop(engine);
            let slept = futex::wait(RELEASER_KICKS.as_ptr() as usize, seen, Some(&IDLE_TIMEOUT));
            late = slept.is_err_and(|e| e.get() == libc::ETIMEDOUT);
            continue;
        };
        let unlocked = engine.begin_unlocked_use();
        drop(engine);
        // A request that fails has its error in its control block.
        let _ = submit::all(&unlocked, batch.tickets());
        lock().released(&batch);
    }
    null_mut()
}
