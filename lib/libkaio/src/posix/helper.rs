// SPDX-License-Identifier: LGPL-2.1-or-later

//! The one thread of this library: it sleeps until a context has events, completes the requests, and
//! tells the program. It is made for the first request, and ends when there was none for some time.

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};

use kaio_sys::{Errno, Result};

use super::engine::poll;
use super::lock::lock;
use super::notify::Notice;

/// The stack of the helper. What the program has it call has a thread of its own.
const STACK: usize = 256 << 10;
/// When what could not be told is tried again, in milliseconds.
const AGAIN_MS: c_int = 10;

/// Makes the helper of this number. Signals are blocked, and stay so in it: who makes it has the
/// lock.
///
/// # Errors
///
/// `EAGAIN`: there can be no thread now.
pub(super) fn start(number: usize) -> Result<()> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    let mut thread = 0;
    let number = number as *mut c_void;
    // SAFETY: the attributes are used between init and destroy; `run` takes a number.
    let error = unsafe {
        libc::pthread_attr_init(attributes);
        libc::pthread_attr_setdetachstate(attributes, libc::PTHREAD_CREATE_DETACHED);
        libc::pthread_attr_setstacksize(attributes, STACK);
        let mut error = libc::pthread_create(&mut thread, attributes, run, number);
        if error == libc::EINVAL {
            // The program's thread-local variables need more.
            error = libc::pthread_create(&mut thread, null(), run, number);
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

extern "C" fn run(number: *mut c_void) -> *mut c_void {
    // SAFETY: a name that ends with a zero.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"kaio-aio".as_ptr()) };
    let number = number as usize;
    let mut notices: Vec<Notice> = Vec::new();
    // What poll said last; 0 if its time was over.
    let mut said = None;
    loop {
        let mut engine = lock();
        if engine.helper != Some(number) {
            // The device was lost, and another serves the new one.
            notices.drain(..).for_each(|notice| engine.tell(notice));
            break;
        }
        // Somebody else may have taken the events; but that it is ready for ever must not be.
        if !engine.reap() && said.is_some_and(|said| said != 0) && engine.is_lost() {
            engine.lost();
            continue;
        }
        engine.take_notices(&mut notices);
        let idle = engine.is_idle();
        if idle && notices.is_empty() && said == Some(0) {
            engine.helper = None;
            break;
        }
        let device = engine.device();
        let patience = engine.idle.saturating_mul(1000).max(0);
        drop(engine);
        notices.retain(|notice| matches!(notice.deliver(), Err(e) if e.get() == libc::EAGAIN));
        let timeout = match (notices.is_empty(), idle) {
            (false, _) => AGAIN_MS,
            (true, true) => patience,
            (true, false) => -1,
        };
        said = device.map(|device| poll(device, timeout));
    }
    null_mut()
}
