// SPDX-License-Identifier: LGPL-2.1-or-later

//! The proof that no path of libaio.so.1 ends in a panic: its handler needs a function that nobody
//! has, so if a panic could be reached, the linker would name it and fail.

use core::panic::PanicInfo;

extern "C" {
    fn kaio_code_can_panic() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: it is never linked.
    unsafe { kaio_code_can_panic() }
}
