// SPDX-License-Identifier: LGPL-2.1-or-later

//! The loss of the device: the program has closed the library's descriptor.

use core::sync::atomic::Ordering;

use super::{Engine, DEVICE};
use crate::posix::device::{may_mean_lost_device, take_events};
use crate::posix::requests::Location;
use crate::posix::streams::WaitsFor;
use crate::posix::submission::Submission;

impl Engine {
    /// Returns whether the program has closed the library's descriptor or has put another file
    /// there.
    pub(super) fn device_is_lost(&self) -> bool {
        match (self.device, self.contexts.first_id()) {
            (Some(fd), Some(context)) => {
                take_events(fd, context, &mut []).is_err_and(may_mean_lost_device)
            }
            _ => false,
        }
    }

    /// Handles the loss of the descriptor. The contexts end with the open file: the thread that
    /// closes the last reference to it waits for requests in flight and then unmaps the rings. That
    /// is the thread of the program that closed the descriptor, or the helper, whose poll holds a
    /// reference. The helper waits until the rings are unmapped: see [`Self::lost_ring`].
    pub(super) fn handle_lost_device(&mut self) {
        let helper = self.helper.take().unwrap_or(self.helpers);
        for index in 0..self.requests.slot_count() {
            let Some(request) = self.requests.get_mut(index) else {
                continue;
            };
            let Location::Kernel(number) = request.location else {
                continue;
            };
            let (id, is_sync) = (request.stream, request.is_sync());
            let ring = self.contexts.get(number).map_or(0, |context| context.id);
            if let Some(request) = self.requests.get_mut(index) {
                request.location = Location::Lost {
                    helper,
                    ring,
                    over: false,
                };
            }
            if let Some(stream) = self.streams.get_mut(id).filter(|_| !is_sync) {
                stream.lost += 1;
            }
        }
        self.contexts.clear();
        self.device = None;
        DEVICE.store(-1, Ordering::Relaxed);
        self.waking = false;
        for id in self.streams.ids() {
            if let Some(WaitsFor::Release(Some(_))) =
                self.streams.waits(id, WaitsFor::Release(None))
            {
                self.streams.forget_queue(id, WaitsFor::Release(None));
            }
            if let Some(stream) = self.streams.get_mut(id) {
                stream.context = None;
                self.update_queues(id);
            }
        }
    }

    pub(super) fn is_lost_ring(&self, id: u64) -> bool {
        (0..self.requests.slot_count()).any(|index| {
            let location = self.requests.get(index).map(|request| request.location);
            matches!(location, Some(Location::Lost { ring, .. }) if ring == id)
        })
    }

    /// Returns a ring of the lost contexts that belong to the helper `number` and are not known to
    /// be over.
    pub(in crate::posix) fn lost_ring(&self, number: usize) -> Option<u64> {
        (0..self.requests.slot_count()).find_map(|index| match self.requests.get(index)?.location {
            Location::Lost {
                helper,
                ring,
                over: false,
            } if helper == number => Some(ring),
            _ => None,
        })
    }

    /// Marks the requests of a lost ring as over: the kernel has none of them in flight any more.
    pub(in crate::posix) fn mark_lost_as_over(&mut self, number: usize, gone: u64) {
        for index in 0..self.requests.slot_count() {
            let request = self.requests.get_mut(index);
            match request.map(|request| &mut request.location) {
                Some(Location::Lost { helper, ring, over }) if *helper == number => {
                    *over |= *ring == gone;
                }
                _ => {}
            }
        }
    }

    /// Ends those requests of lost contexts that are over and belong to the helper `number`.
    /// Returns whether there are more, because another thread is still submitting them.
    pub(in crate::posix) fn end_lost_requests(&mut self, number: usize) -> bool {
        let mut more = false;
        for index in 0..self.requests.slot_count() {
            let location = self.requests.get(index).map(|request| request.location);
            let is_over = matches!(location, Some(Location::Lost { helper, over: true, .. })
                if helper == number);
            if !is_over {
                continue;
            }
            match self
                .requests
                .submission_ref(index)
                .is_some_and(Submission::in_progress)
            {
                true => more = true,
                false => self.end(index, -i64::from(libc::ECANCELED)),
            }
        }
        more
    }
}
