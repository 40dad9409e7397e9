// SPDX-License-Identifier: LGPL-2.1-or-later

//! The functions of the ioctls, against the mock kernel: what they pass to the kernel and make of
//! its answers. Without `--cfg kaio_mock` this file is empty.

#![cfg(any(miri, kaio_mock))]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kaio_sys::ioctl::{self, Submitted, Wait};
use kaio_sys::ring::Ring;
use kaio_sys::uapi::{self, __kernel_timespec, io_event, iocb};
use kaio_sys::{device, mock, Errno};

/// What the mock kernel is told holds for all threads, so one test runs at a time.
static ONE: Mutex<()> = Mutex::new(());

/// A device with a context, and a file for requests.
struct Fixture {
    fd: i32,
    ctx: u64,
    file: OwnedFd,
    _one: MutexGuard<'static, ()>,
}

impl Fixture {
    fn new(entries: u32) -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let fd = device::open().expect("the mock device");
        // SAFETY: `device::open` has returned the descriptor.
        let ctx = unsafe { ioctl::setup(fd, entries) }.expect("a context");
        // SAFETY: eventfd() takes no pointer and returns a descriptor that no other code owns.
        let file = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_NONBLOCK)) };
        Self {
            fd,
            ctx,
            file,
            _one: one,
        }
    }

    fn noop(&self, data: u64) -> iocb {
        iocb {
            aio_data: data,
            aio_lio_opcode: uapi::IOCB_CMD_NOOP as u16,
            aio_fildes: self.file.as_raw_fd() as u32,
            ..Default::default()
        }
    }

    fn submit(&self, iocbs: &mut [iocb]) -> Result<Submitted, Errno> {
        let pointers: Vec<*mut iocb> = iocbs.iter_mut().map(std::ptr::from_mut).collect();
        // SAFETY: `fd` is a descriptor of the device, and the requests have no buffers.
        unsafe { ioctl::submit(self.fd, self.ctx, pointers.len() as i64, pointers.as_ptr()) }
    }

    /// Takes events by the ioctl.
    fn get_events(&self, min: i64, max: usize) -> Result<Vec<(u64, i64)>, Errno> {
        let mut events = vec![io_event::default(); max];
        let wait = Wait {
            min_nr: min,
            nr: max as i64,
            events: events.as_mut_ptr(),
            ..Wait::default()
        };
        // SAFETY: there is room for `nr` events, and no other thread takes events.
        let count = unsafe { ioctl::get_events(self.fd, self.ctx, &wait) }?;
        Ok(events[..count].iter().map(|e| (e.data, e.res)).collect())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // SAFETY: the fixture owns the descriptor, and no code uses the ring after this.
        unsafe { device::close(self.fd) };
    }
}

fn errno<T: std::fmt::Debug>(result: Result<T, Errno>) -> i32 {
    result.expect_err("an error").get()
}

#[test]
fn query_returns_what_the_kernel_says() {
    let fixture = Fixture::new(4);
    // SAFETY: the fixture owns the descriptor.
    let query = unsafe { ioctl::query(fixture.fd) }.unwrap();
    assert_eq!(query.version, uapi::KAIO_ABI_VERSION);
    assert_eq!(query.nr, 4);
    assert_ne!(query.features & u64::from(uapi::KAIO_FEATURE_PEEK), 0);
}

#[test]
fn open_returns_the_error() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    mock::fail_open(libc::EACCES);
    assert_eq!(errno(device::open()), libc::EACCES);
    mock::fail_open(0);
}

#[test]
fn open_avoids_low_descriptors() {
    let fixture = Fixture::new(1);
    assert!(fixture.fd >= 3);
}

#[test]
fn setup_of_no_requests_fails() {
    let fixture = Fixture::new(1);
    // SAFETY: the fixture owns the descriptor.
    assert_eq!(errno(unsafe { ioctl::setup(fixture.fd, 0) }), libc::EINVAL);
}

#[test]
fn submit_returns_the_number_and_what_stopped_it() {
    let fixture = Fixture::new(4);
    let mut iocbs = [fixture.noop(1), fixture.noop(2), fixture.noop(3)];
    iocbs[1].aio_lio_opcode = 999;
    let submitted = fixture.submit(&mut iocbs).unwrap();
    assert_eq!(submitted.count, 1);
    assert_eq!(submitted.stopped, Some(Errno::new(libc::EINVAL)));
    assert_eq!(errno(fixture.submit(&mut iocbs[1..])), libc::EINVAL);
    let submitted = fixture.submit(&mut iocbs[2..]).unwrap();
    assert_eq!((submitted.count, submitted.stopped), (1, None));
    assert_eq!(fixture.get_events(2, 4).unwrap(), [(1, 0), (3, 0)]);
}

#[test]
fn full_context_refuses_and_taken_events_make_room() {
    let fixture = Fixture::new(2);
    let mut iocbs = [1, 2, 3].map(|data| fixture.noop(data));
    let submitted = fixture.submit(&mut iocbs).unwrap();
    assert_eq!(submitted.stopped, Some(Errno::new(libc::EAGAIN)));
    assert_eq!(errno(fixture.submit(&mut iocbs[2..])), libc::EAGAIN);
    assert_eq!(fixture.get_events(1, 1).unwrap(), [(1, 0)]);
    assert_eq!(fixture.submit(&mut iocbs[2..]).unwrap().count, 1);
}

#[test]
fn ring_and_ioctl_see_the_same_events() {
    let fixture = Fixture::new(3);
    // SAFETY: the context lives as long as the fixture.
    let ring = unsafe { Ring::new(fixture.ctx) }.expect("a ring");
    assert_eq!(ring.slots(), 4);
    for round in 0..10 {
        fixture.submit(&mut [fixture.noop(round)]).unwrap();
        assert_eq!(ring.available(), 1);
        let mut event = io_event::default();
        // SAFETY: there is room for one event, and no other thread takes events.
        assert_eq!(unsafe { ring.take(&mut event, 1) }, 1);
        assert_eq!(event.data, round);
        fixture.submit(&mut [fixture.noop(round)]).unwrap();
        assert_eq!(fixture.get_events(1, 1).unwrap(), [(round, 0)]);
        assert_eq!(ring.available(), 0);
    }
}

#[test]
fn wait_ends_with_its_time() {
    let fixture = Fixture::new(1);
    let time = __kernel_timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    };
    let wait = Wait {
        min_nr: 1,
        nr: 1,
        timeout: &time,
        flags: uapi::KAIO_GETEVENTS_PEEK,
        ..Wait::default()
    };
    // SAFETY: the call takes no event, and the time lives until it returns.
    let count = unsafe { ioctl::get_events(fixture.fd, fixture.ctx, &wait) };
    assert_eq!(count, Ok(0));
}

#[test]
fn cancel_ends_a_request_that_waits() {
    let fixture = Fixture::new(2);
    mock::hold(fixture.file.as_raw_fd());
    let mut request = fixture.noop(7);
    let address = &raw mut request;
    // SAFETY: the request has no buffer, and is there until its event was taken.
    unsafe {
        ioctl::submit(fixture.fd, fixture.ctx, 1, &address).unwrap();
        assert_eq!(mock::waiting(), 1);
        assert_eq!(ioctl::cancel(fixture.fd, fixture.ctx, address), Ok(true));
        let again = ioctl::cancel(fixture.fd, fixture.ctx, address);
        assert_eq!(errno(again), libc::EINVAL);
    }
    let expected = (7, i64::from(-libc::ECANCELED));
    assert_eq!(fixture.get_events(1, 2).unwrap(), [expected]);
    mock::release(fixture.file.as_raw_fd());
}

#[test]
fn submit_wait_submits_and_waits() {
    let fixture = Fixture::new(4);
    let mut iocbs = [1, 2].map(|data| fixture.noop(data));
    let pointers = iocbs.each_mut().map(std::ptr::from_mut);
    let wait = Wait {
        min_nr: 2,
        nr: 2,
        flags: uapi::KAIO_GETEVENTS_PEEK,
        ..Wait::default()
    };
    // SAFETY: the requests have no buffers, and the call takes no event.
    let (submitted, count) =
        unsafe { ioctl::submit_wait(fixture.fd, fixture.ctx, 2, pointers.as_ptr(), &wait) };
    assert_eq!(
        (submitted.count, submitted.stopped, count),
        (2, None, Ok(2))
    );
}

#[test]
fn ended_context_is_unknown() {
    let fixture = Fixture::new(1);
    // SAFETY: no code uses the ring any more.
    unsafe { ioctl::destroy(fixture.fd, fixture.ctx) }.unwrap();
    assert_eq!(errno(fixture.submit(&mut [fixture.noop(0)])), libc::EINVAL);
    assert_eq!(errno(fixture.get_events(0, 1)), libc::EINVAL);
    // SAFETY: no code uses the ring any more.
    let again = unsafe { ioctl::destroy(fixture.fd, fixture.ctx) };
    assert_eq!(errno(again), libc::EINVAL);
}

#[test]
fn other_files_are_no_device() {
    let fixture = Fixture::new(1);
    // SAFETY: the fixture owns the file.
    let query = unsafe { ioctl::query(fixture.file.as_raw_fd()) };
    assert_eq!(errno(query), libc::ENOTTY);
}
