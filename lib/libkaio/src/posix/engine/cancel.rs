// SPDX-License-Identifier: LGPL-2.1-or-later

//! Cancellation: the calls of `aio_cancel()`, each of which is a session.

use core::ffi::c_int;

use kaio_sys::{ioctl, Errno, Result};

use super::{CancelSession, Cancelled, Engine, NO_ROOM};
use crate::posix::control::Control;
use crate::posix::list::Index;
use crate::posix::requests::{Cancellation, Location};

impl Engine {
    /// Begins `aio_cancel()` of one request, or of all requests of a descriptor. Returns the
    /// number of the session, for [`Self::cancel_step`] and the other functions.
    ///
    /// # Errors
    ///
    /// `EAGAIN`: there is no memory.
    pub(in crate::posix) fn cancel_begin(
        &mut self,
        fd: c_int,
        only: Option<Control>,
    ) -> Result<u64> {
        self.sessions.try_reserve(1).map_err(|_| NO_ROOM)?;
        self.last_session += 1;
        let mut session = CancelSession {
            number: self.last_session,
            stream: None,
            next: None,
            found: false,
            remaining: 0,
            pending: 0,
            cancelled: 0,
        };
        if let Some(only) = only {
            let index = self.requests.of_control(only).filter(|&index| {
                let stream = self.requests.get(index).map(|request| request.stream);
                stream.is_some_and(|s| self.streams.get(s).is_some_and(|s| s.file.fd == fd))
            });
            self.sessions.push(session);
            if let Some(index) = index {
                self.cancel_in_session(index, self.last_session);
            }
        } else {
            // Begin with the last request: a request that waits for earlier ones must not start
            // while those are being cancelled.
            session.stream = self.streams.of_fd(fd);
            session.next = session
                .stream
                .and_then(|id| self.streams.get(id)?.requests.last());
            self.sessions.push(session);
        }
        Ok(self.last_session)
    }

    pub(super) fn session(&mut self, number: u64) -> Option<&mut CancelSession> {
        self.sessions.iter_mut().find(|s| s.number == number)
    }

    /// Continues a cancellation for a limited time. Returns whether there is more to do.
    pub(in crate::posix) fn cancel_step(&mut self, number: u64) -> bool {
        /// The number of requests that one call looks at.
        const SOME: usize = 32;
        for _ in 0..SOME {
            let Some(session) = self.session(number) else {
                return false;
            };
            let Some(id) = session.stream else {
                return false;
            };
            let Some(index) = session.next else {
                let next = self.streams.next_of_fd(id);
                let last = next.and_then(|id| self.streams.get(id)?.requests.last());
                if let Some(session) = self.session(number) {
                    (session.stream, session.next) = (next, last);
                }
                continue;
            };
            let before = self.requests.previous(index);
            if let Some(session) = self.session(number) {
                session.next = before;
            }
            self.cancel_in_session(index, number);
        }
        true
    }

    fn cancel_in_session(&mut self, index: Index, number: u64) {
        let earlier = self.requests.get(index).and_then(|r| r.cancellation);
        let waits = earlier.is_some_and(|c| c.waits);
        // Another `aio_cancel()` has counted this request. From now on this session counts it, and
        // the other one treats it as gone.
        if let Some(other) = earlier.and_then(|c| self.session(c.session)) {
            other.remaining -= 1;
            other.pending -= usize::from(waits);
        }
        if let Some(session) = self.session(number) {
            session.found = true;
            session.remaining += 1;
            session.pending += 1;
        }
        if let Some(request) = self.requests.get_mut(index) {
            request.cancellation = Some(Cancellation {
                session: number,
                waits: true,
                wanted: earlier.is_some_and(|c| c.wanted),
            });
        }
        if self.cancel_one(index).is_err() && !waits {
            self.stop_waiting_for(index);
        }
    }

    /// Makes the session of a request that cannot be cancelled stop waiting for its end.
    pub(super) fn stop_waiting_for(&mut self, index: Index) {
        let request = self.requests.get_mut(index);
        let cancellation = request.and_then(|r| r.cancellation.as_mut());
        let Some(cancellation) = cancellation.filter(|c| c.waits) else {
            return;
        };
        cancellation.waits = false;
        let number = cancellation.session;
        if let Some(session) = self.session(number) {
            session.pending -= 1;
        }
    }

    /// Returns whether this session still waits for requests that it has cancelled.
    pub(in crate::posix) fn cancel_is_pending(&mut self, number: u64) -> bool {
        self.session(number).is_some_and(|s| s.pending > 0)
    }

    /// Ends the session and returns the result of `aio_cancel()`.
    pub(in crate::posix) fn cancel_end(&mut self, number: u64, only: Option<Control>) -> Cancelled {
        let at = self.sessions.iter().position(|s| s.number == number);
        let Some(session) = at.map(|at| self.sessions.swap_remove(at)) else {
            return Cancelled::No;
        };
        match (session.found, only) {
            (true, _) if session.remaining > 0 => Cancelled::No,
            (true, _) if session.cancelled > 0 => Cancelled::Yes,
            (false, Some(control)) if control.in_progress() => Cancelled::Unknown,
            _ => Cancelled::AllDone,
        }
    }

    /// Cancels one request. Returns an error if the request goes on; otherwise it ends soon.
    pub(super) fn cancel_one(&mut self, index: Index) -> Result<()> {
        let Some(request) = self.requests.get_mut(index) else {
            return Ok(());
        };
        let number = match request.location {
            Location::Kernel(number) => number,
            Location::Held => {
                self.end(index, -i64::from(libc::ECANCELED));
                return Ok(());
            }
            // The kernel may still use its buffer.
            Location::Lost { .. } => return Err(Errno::new(libc::EINVAL)),
        };
        let (Some(fd), Some(context)) = (self.device, self.contexts.get(number).map(|c| c.id))
        else {
            return Err(Errno::new(libc::EINVAL));
        };
        let Some(submission) = self.requests.submission_ref(index) else {
            return Ok(());
        };
        // SAFETY: `fd` is the library's descriptor of the device; if the program has put another
        // file there, that file refuses the ioctl. The kernel uses the iocb's address only to find
        // the request.
        let cancelled = unsafe { ioctl::cancel(fd, context, submission.iocb()) };
        if cancelled.is_err() && submission.request_attention() {
            // Another thread is submitting the request at this moment and cancels it afterwards.
            let request = self.requests.get_mut(index);
            if let Some(cancellation) = request.and_then(|r| r.cancellation.as_mut()) {
                cancellation.wanted = true;
            }
            return Ok(());
        }
        cancelled.map(|_| ())
    }
}
