// SPDX-License-Identifier: LGPL-2.1-or-later

//! Proves that no code path of libaio.so.1 ends in a panic. The panic handler calls a function that
//! does not exist. If a panic can be reached, the linker names that function and fails.

use core::panic::PanicInfo;

extern "C" {
    fn kaio_code_can_panic() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: the linker removes this code, or fails since the function does not exist.
    unsafe { kaio_code_can_panic() }
}
