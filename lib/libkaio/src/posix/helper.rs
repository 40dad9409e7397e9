// SPDX-License-Identifier: LGPL-2.1-or-later

//! The one thread of this library: it sleeps until a context has events, completes the requests, and
//! tells the program. It is made for the first request, and ends when there was none for some time.

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};

use kaio_sys::{Errno, Result};

use super::engine::poll;
use super::lock::lock;
use super::notify::Outbox;

/// The stack of the helper. What the program has it call has a thread of its own.
const STACK: usize = 256 << 10;
/// When what could not be told is tried again, in milliseconds.
const AGAIN_MS: c_int = 10;

/// As long as it polls the helper holds the device, even if the program has closed it. Then it is the
/// last who does, and the kernel has it wait for what is in flight.
const LOOK_MS: c_int = 1000;

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
    let mut outbox = Outbox::new();
    // What poll said last; 0 if its time was over.
    let mut said = None;
    loop {
        let mut engine = lock();
        if engine.helper == Some(number) {
            engine.reap();
        }
        if engine.helper != Some(number) {
            // The program has closed the device, and this thread was the last to hold it.
            engine.end_lost(number);
            drop(engine);
            finish(outbox);
            break;
        }
        engine.take_notices(&mut outbox);
        let idle = engine.is_idle();
        if idle && outbox.is_empty() && said == Some(0) {
            engine.helper = None;
            break;
        }
        let more = engine.has_notices();
        let device = engine.device();
        let patience = engine.idle().saturating_mul(1000).max(0);
        drop(engine);
        outbox.deliver();
        let timeout = match (outbox.is_empty(), more, idle) {
            (true, true, _) => 0,
            (true, false, true) => patience,
            (true, false, false) => LOOK_MS,
            (false, _, _) => AGAIN_MS,
        };
        said = device.map(|device| poll(device, timeout));
        if more {
            // That was not its patience.
            said = None;
        }
    }
    null_mut()
}

/// Tells what is left, and what no other helper does.
fn finish(mut outbox: Outbox) {
    loop {
        let mut engine = lock();
        engine.take_notices(&mut outbox);
        drop(engine);
        if outbox.is_empty() {
            break;
        }
        outbox.deliver();
        if !outbox.is_empty() {
            // SAFETY: sleeps only.
            unsafe { libc::poll(null_mut(), 0, AGAIN_MS) };
        }
    }
}
