// SPDX-License-Identifier: GPL-2.0

//! Block requests that come together go to their driver together.

use core::mem::MaybeUninit;

use kernel::bindings;

/// Runs `f`, with a plug (`struct blk_plug`) if that is `worth` it.
#[inline]
pub(crate) fn plugged<T>(worth: bool, f: impl FnOnce() -> T) -> T {
    let mut plug = MaybeUninit::<bindings::blk_plug>::uninit();
    if worth {
        // SAFETY: the plug stays where it is until it is finished, by the same task. If there is one
        // already (a nested call), it does nothing.
        unsafe { bindings::blk_start_plug(plug.as_mut_ptr()) };
    }
    let result = f();
    if worth {
        // SAFETY: it was started; if it does nothing, only its address is looked at.
        unsafe { bindings::blk_finish_plug(plug.as_mut_ptr()) };
    }
    result
}
