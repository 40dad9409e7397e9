// SPDX-License-Identifier: GPL-2.0

//! A plug, by which block requests that are started together go to their driver together.
//!
//! The counterpart is the plug of `io_submit(2)` in fs/aio.c. A plug belongs to the current task,
//! and needs no lock.

use core::mem::MaybeUninit;

use kernel::bindings;

/// The number of requests that the block layer allocates at once at most (`BLK_MAX_REQUEST_COUNT`).
const MAX_REQUESTS: u64 = 32;

/// Runs `f`, which starts up to `nr` requests, with a plug (`struct blk_plug`) if that is `worth`
/// it.
///
/// The block layer allocates the driver's requests and tags for the whole call when the first
/// request needs one, as it does for io_uring (`blk_start_plug_nr_ios()`). Those that the call has
/// not used are freed when the plug ends.
#[inline]
pub(crate) fn plugged<T>(worth: bool, nr: u64, f: impl FnOnce() -> T) -> T {
    let mut plug = MaybeUninit::<bindings::blk_plug>::uninit();
    if worth {
        // SAFETY: `plug` is a local variable that is not moved, and the same task finishes it
        // below, before it goes. If the task has a plug already (in a nested call), the function
        // leaves `plug` alone.
        unsafe { bindings::blk_start_plug(plug.as_mut_ptr()) };
        // SAFETY: `plug` is in memory. Only the current task uses its plug, and it runs this code.
        // In a nested call the field is not used at all.
        unsafe { (&raw mut (*plug.as_mut_ptr()).nr_ios).write(nr.min(MAX_REQUESTS) as u16) };
    }
    let result = f();
    if worth {
        // SAFETY: this task started `plug` above. If the task has another plug, the function only
        // compares the address.
        unsafe { bindings::blk_finish_plug(plug.as_mut_ptr()) };
    }
    result
}
