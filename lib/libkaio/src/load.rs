// SPDX-License-Identifier: LGPL-2.1-or-later

//! The code that runs when the library is loaded: it remembers the file of descriptor 2 and, in
//! libkaio, looks for another `syscall()` and detects the kind of libc. It opens the device only if
//! the user asks for that, and finds out which calls the user does not want.

use crate::policy;
use crate::process::Process;

#[used]
#[link_section = ".init_array"]
static ON_LOAD: extern "C" fn() = on_load;

extern "C" fn on_load() {
    policy::remember_stderr();
    if policy::wants_ioctl_only() {
        kaio_sys::ioctl::forbid_quick_way();
    }
    #[cfg(feature = "posix")]
    {
        crate::interpose::find_next_syscall();
        crate::posix::detect_libc();
    }
    if policy::wants_early_open() {
        // If the device cannot be opened, `choose_backend` reports why.
        let _ = Process::get().and_then(Process::choose_backend);
        #[cfg(feature = "posix")]
        crate::posix::open_early();
    }
}
