// SPDX-License-Identifier: LGPL-2.1-or-later

//! Makes the threads of this library.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::null;

use kaio_sys::{Errno, Result};

/// The stack of a thread of this library. A function of the program has a thread of its own.
const STACK: usize = 256 << 10;

/// The function that a thread runs.
pub(super) type Main = extern "C" fn(*mut c_void) -> *mut c_void;

/// The functions of the two threads. Both use the engine, which starts them; so the engine gets the
/// functions from its caller and does not import their modules.
#[derive(Clone, Copy)]
pub(super) struct Mains {
    /// Takes the number of the helper.
    pub(super) helper: Main,
    /// Ignores its argument.
    pub(super) releaser: Main,
}

/// Makes a detached thread, which runs `main` with this number. Signals are blocked in the thread,
/// since the caller has the lock.
///
/// # Errors
///
/// `EAGAIN`: no thread can be made now.
pub(super) fn start(main: Main, number: usize) -> Result<()> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    let mut thread = 0;
    let number = number as *mut c_void;
    // SAFETY: the attributes are used only between init and destroy; `main` takes the number as an
    // integer and does not use it as a pointer.
    let error = unsafe {
        libc::pthread_attr_init(attributes);
        libc::pthread_attr_setdetachstate(attributes, libc::PTHREAD_CREATE_DETACHED);
        libc::pthread_attr_setstacksize(attributes, STACK);
        let mut error = libc::pthread_create(&mut thread, attributes, main, number);
        if error == libc::EINVAL {
            // The program's thread-local variables need more.
            error = libc::pthread_create(&mut thread, null(), main, number);
            if error == 0 {
                libc::pthread_detach(thread);
            }
        }
        libc::pthread_attr_destroy(attributes);
        error
    };
    match error {
        0 => Ok(()),
        _ => Err(Errno::new(libc::EAGAIN)),
    }
}
