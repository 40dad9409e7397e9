// SPDX-License-Identifier: LGPL-2.1-or-later

//! The one thread of this library: it sleeps until a context has events, completes the requests, and
//! tells the program. It is made for the first request, and ends when there was none for some time.

use core::ffi::{c_int, c_void};
use core::mem::{offset_of, MaybeUninit};
use core::ptr::{null, null_mut};

use kaio_sys::syscall::syscall;
use kaio_sys::uapi::{kaio_ring, KAIO_RING_MAGIC};
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

/// How often, every [`AGAIN_MS`], the helper looks whether the ring of a lost context is still there.
/// That is longer than the kernel waits for one open file (10 seconds, rounded up): the end of the
/// kernel's patience, which unmaps the ring, comes first. Only if the ring stays, since a child has the
/// open file too, say, is this the end.
const LOOKS: u32 = 1200;

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
            // The program has closed the device.
            drop(engine);
            finish(outbox, number);
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

/// Ends what was in lost contexts, and tells what is left, and what no other helper does.
fn finish(mut outbox: Outbox, number: usize) {
    let mut looks = LOOKS;
    // The one that was seen to be there no more.
    let mut gone = None;
    loop {
        let mut engine = lock();
        let mut lost = engine.lost_ring(number);
        while let Some(ring) = lost {
            if gone != Some(ring) && looks != 0 && !engine.has_ring(ring) {
                break;
            }
            engine.end_lost(number, ring);
            lost = engine.lost_ring(number);
        }
        engine.take_notices(&mut outbox);
        drop(engine);
        let nothing = outbox.is_empty();
        outbox.deliver();
        match lost {
            Some(ring) if is_mapped(ring) => looks = looks.saturating_sub(1),
            Some(ring) => gone = Some(ring),
            None if nothing => break,
            None if outbox.is_empty() => {}
            None => {
                // SAFETY: sleeps only.
                unsafe { libc::poll(null_mut(), 0, AGAIN_MS) };
            }
        }
    }
}

/// Whether there is a ring at this address, and if so a moment later: it sleeps.
fn is_mapped(ring: u64) -> bool {
    // The kernel compares a word for us, which it may unmap at any time: the magic number of a ring.
    // Other memory of the program's, that has come to be there, has another word.
    let word = (ring as usize).wrapping_add(offset_of!(kaio_ring, magic));
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: libc::c_long::from(AGAIN_MS) * 1_000_000,
    };
    let args = [
        word,
        (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize,
        KAIO_RING_MAGIC as usize,
        &raw const time as usize,
        0,
        0,
    ];
    // SAFETY: only reads the word, if it is there, and the time.
    let answer = unsafe { syscall(libc::SYS_futex, args) };
    !answer.is_err_and(|e| matches!(e.get(), libc::EFAULT | libc::EAGAIN))
}
