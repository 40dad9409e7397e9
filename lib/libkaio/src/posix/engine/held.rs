// SPDX-License-Identifier: LGPL-2.1-or-later

//! Held requests: the queues of streams, and the order in which requests are released.

use kaio_sys::Errno;

use super::Engine;
use crate::policy;
use crate::posix::list::{Index, List};
use crate::posix::streams::{StreamId, Streams, WaitsFor};
use crate::posix::tickets::Batch;

impl Engine {
    /// Puts a stream into the queues for which it qualifies and removes it from the others; removes
    /// the stream itself if it is unused.
    pub(super) fn update_queues(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        let first = stream
            .requests
            .first()
            .and_then(|index| self.requests.get(index));
        let sync = first.is_some_and(|first| first.is_sync() && first.is_held());
        let release = match (stream.held, stream.context) {
            (Some(_), _) if stream.releasing || stream.listed > 0 => None,
            (Some(_), _) if stream.file.ordered && stream.lost > 0 => None,
            (Some(_), Some(number)) if stream.file.ordered && stream.submitted > 0 => Some(
                WaitsFor::Release((self.contexts.room_left(number) == 0).then_some(number)),
            ),
            (Some(_), _) => Some(WaitsFor::Release(None)),
            (None, _) => None,
        };
        if sync != self.streams.waits(id, WaitsFor::Sync).is_some() {
            match sync {
                true => self.enqueue(id, WaitsFor::Sync),
                false => self.dequeue(id, WaitsFor::Sync),
            }
        }
        let waits = self.streams.waits(id, WaitsFor::Release(None));
        // A stream that is in the queue of a context keeps its turn when that context gets room.
        let stays = matches!(
            (waits, release),
            (
                Some(WaitsFor::Release(Some(_))),
                Some(WaitsFor::Release(None))
            )
        ) && self
            .streams
            .get(id)
            .is_some_and(|stream| stream.submitted > 0);
        if waits != release && !stays {
            if let Some(waits) = waits {
                self.dequeue(id, waits);
            }
            if let Some(release) = release {
                self.enqueue(id, release);
            }
        }
        if self.streams.is_unused(id) {
            for session in &mut self.sessions {
                if session.stream == Some(id) {
                    session.stream = self.streams.next_of_fd(id);
                    session.next = session
                        .stream
                        .and_then(|s| self.streams.get(s)?.requests.last());
                }
            }
            self.streams.remove(id);
        }
    }

    /// Calls `change` with the queue for `what`.
    fn change_queue(&mut self, what: WaitsFor, change: impl FnOnce(&mut Streams, &mut List)) {
        match what {
            WaitsFor::Sync => change(&mut self.streams, &mut self.sync_queue),
            WaitsFor::Release(None) => change(&mut self.streams, &mut self.ready_queue),
            WaitsFor::Release(Some(number)) => {
                if let Some(context) = self.contexts.get_mut(number) {
                    change(&mut self.streams, &mut context.stalled);
                }
            }
        }
    }

    fn enqueue(&mut self, id: StreamId, what: WaitsFor) {
        self.change_queue(what, |streams, queue| streams.enqueue(queue, id, what));
    }

    fn dequeue(&mut self, id: StreamId, what: WaitsFor) {
        self.change_queue(what, |streams, queue| streams.dequeue(queue, id, what));
    }

    fn pop_sync(&mut self) -> Option<StreamId> {
        self.streams.pop(&mut self.sync_queue, WaitsFor::Sync)
    }

    fn pop_ready(&mut self) -> Option<StreamId> {
        self.streams
            .pop(&mut self.ready_queue, WaitsFor::Release(None))
    }

    /// Moves one stream that waits for room in this context to the ready queue, if there is room.
    pub(super) fn requeue_stalled(&mut self, number: usize) {
        if self.contexts.room_left(number) == 0 {
            return;
        }
        let Some(context) = self.contexts.get_mut(number) else {
            return;
        };
        let what = WaitsFor::Release(Some(number));
        if let Some(id) = self.streams.pop(&mut context.stalled, what) {
            self.enqueue(id, WaitsFor::Release(None));
        }
    }

    /// Returns whether requests may be submitted to the kernel: a helper must exist to see their
    /// end.
    fn can_release(&self) -> bool {
        self.device.is_some() && self.helper.is_some()
    }

    pub(in crate::posix) fn has_syncs(&self) -> bool {
        !self.sync_queue.is_empty()
    }

    pub(in crate::posix) fn has_ready(&self) -> bool {
        !self.ready_queue.is_empty()
    }

    /// Takes the fsyncs whose turn has come.
    pub(in crate::posix) fn next_syncs(&mut self) -> Option<Batch> {
        let mut batch = Batch::new();
        while batch.has_room() && self.can_release() {
            let Some(id) = self.pop_sync() else {
                break;
            };
            let first = self
                .streams
                .get(id)
                .and_then(|stream| stream.requests.first());
            if let Some(index) = first {
                self.release(index, &mut batch);
            }
            self.update_queues(id);
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Takes requests of one stream whose turn has come. The caller submits them and then calls
    /// [`Self::released`].
    pub(in crate::posix) fn next_release(&mut self) -> Option<Batch> {
        while self.can_release() {
            let mut batch = Batch::new();
            let id = self.pop_ready()?;
            while batch.has_room() {
                let held = self.streams.get(id).and_then(|stream| stream.held);
                let Some(index) = held else {
                    break;
                };
                if !self.release(index, &mut batch) {
                    break;
                }
            }
            let context = self.streams.get(id).and_then(|stream| stream.context);
            if !batch.is_empty() {
                batch.stream = Some(id);
                if let Some(stream) = self.streams.get_mut(id) {
                    stream.releasing = true;
                }
            }
            self.update_queues(id);
            if let Some(number) = context {
                self.requeue_stalled(number);
            }
            if !batch.is_empty() {
                return Some(batch);
            }
        }
        None
    }

    /// Chooses the context of a held request whose turn has come and adds its ticket to the batch.
    /// Returns `false` if the request must still wait.
    fn release(&mut self, index: Index, batch: &mut Batch) -> bool {
        match self.choose(index, 1) {
            Ok(Some(number)) => {
                if let Some(ticket) = self.assign(index, number) {
                    batch.push(ticket);
                }
                true
            }
            Ok(None) => false,
            Err(e) => {
                self.fail(index, e);
                true
            }
        }
    }

    /// Records that the caller has submitted the batch to the kernel: the stream of the batch can
    /// go on.
    pub(in crate::posix) fn released(&mut self, batch: &Batch) {
        let Some(id) = batch.stream else {
            return;
        };
        if let Some(stream) = self.streams.get_mut(id) {
            stream.releasing = false;
        }
        self.update_queues(id);
    }

    /// Fails some of the held requests, since there is no device or no helper for them. Returns
    /// whether there are more.
    pub(super) fn fail_held(&mut self, error: Errno) -> bool {
        const SOME: usize = 32;
        let error = Errno::new(match policy::means_no_device(error) {
            true => libc::ENOSYS,
            false => libc::EAGAIN,
        });
        for _ in 0..SOME {
            let (id, index) = if let Some(id) = self.pop_sync() {
                (id, self.streams.get(id).and_then(|s| s.requests.first()))
            } else if let Some(id) = self.pop_ready() {
                (id, self.streams.get(id).and_then(|s| s.held))
            } else {
                break;
            };
            if let Some(index) = index {
                self.fail(index, error);
            }
            // `update_queues` puts the stream into the queue again if it has more held requests.
            self.update_queues(id);
        }
        self.has_syncs() || self.has_ready()
    }
}
