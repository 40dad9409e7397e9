// SPDX-License-Identifier: LGPL-2.1-or-later

//! Tickets, each of which is the right and the duty to submit a request to the kernel.

use core::ffi::c_int;
use core::ptr::NonNull;

use super::list::Index;
use super::streams::StreamId;
use super::submission::Submission;

/// A request that has its slot and that the owner of the ticket must submit to the kernel.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    pub(super) index: Index,
    pub(super) submission: NonNull<Submission>,
    pub(super) device: c_int,
    pub(super) context: u64,
    /// The stream that holds its later requests back until `Engine::list_submitted` is called.
    pub(super) listed: Option<StreamId>,
}

// SAFETY: any thread may use a submission, since what threads share in it is atomic. The engine
// does not reuse or free the slot as long as the submission is in progress (`Requests::set_free`,
// `UnlockedUse`).
unsafe impl Send for Ticket {}

impl Ticket {
    /// Returns whether the ticket must be given to `Engine::list_submitted`.
    pub(super) fn is_listed(&self) -> bool {
        self.listed.is_some()
    }

    /// Returns descriptor and context. One system call can submit all tickets for which these are
    /// equal.
    pub(super) fn goes_to(&self) -> (c_int, u64) {
        (self.device, self.context)
    }

    pub(super) fn submission(&self) -> &Submission {
        // SAFETY: the engine does not free the slot before the submission has ended
        // (`Requests::set_free`), and the owner of the ticket ends it after the last use of this
        // reference.
        unsafe { self.submission.as_ref() }
    }
}

/// Tickets that the helper or the releaser uses.
pub(super) struct Batch {
    tickets: [Option<Ticket>; Self::SIZE],
    count: usize,
    /// The stream of the requests, if they have an order. `Engine::released` lets it go on.
    pub(super) stream: Option<StreamId>,
}

impl Batch {
    const SIZE: usize = 32;

    pub(super) fn new() -> Self {
        Self {
            tickets: [None; Self::SIZE],
            count: 0,
            stream: None,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.count < Self::SIZE
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn push(&mut self, ticket: Ticket) {
        if let Some(at) = self.tickets.get_mut(self.count) {
            *at = Some(ticket);
            self.count += 1;
        }
    }

    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> + '_ {
        self.tickets.iter().flatten().copied()
    }
}
