// SPDX-License-Identifier: GPL-2.0

//! Limits how many transfers a submit call tries on one disk.
//!
//! fs/aio.c has no counterpart: there a transfer without a tag waits in the submit call.
//! Invariants: a submit call tries as many transfers to one file, in one direction, as the device
//! has tags, and one more for each transfer that drivers have completed meanwhile, including those
//! of other submitters. After a refusal the call tries no more of them.

/// What a submit call has learnt about the disk of its last transfer.
pub(crate) struct Throttle {
    /// The identity of the file, and whether the transfer wrote to it; identity 0 stands for no file.
    target: (usize, bool),
    /// The number of transfers that may still be tried.
    room: u32,
    /// The number of transfers that drivers had completed when the first transfer to the target came,
    /// or when `room` was computed anew for those that had completed since.
    done: u64,
    /// The device was asked for the number of its tags. It has at least one, so the call asks when
    /// it comes to the second transfer.
    asked: bool,
    refused: bool,
}

impl Throttle {
    pub(crate) const fn new() -> Self {
        Self {
            target: (0, false),
            room: 0,
            done: 0,
            asked: false,
            refused: false,
        }
    }

    /// Returns whether one more transfer to `target` is to be tried. `tags` returns the number of
    /// transfers that the device of the target can have in hand, at least 1; it is called when the
    /// device has a transfer in hand and is to get a second one. `done` returns the number of
    /// transfers that drivers have completed so far.
    #[inline]
    pub(crate) fn may_start(
        &mut self,
        target: (usize, bool),
        tags: impl FnOnce() -> u32,
        done: impl Fn() -> u64,
    ) -> bool {
        if target != self.target {
            *self = Self {
                target,
                room: 1,
                done: done(),
                asked: false,
                refused: false,
            };
        } else if self.room == 0 && !self.refused && !self.asked {
            self.asked = true;
            self.room = tags().saturating_sub(1);
        }
        if self.room == 0 && !self.refused {
            // Every transfer that a driver has completed has released its tag.
            let now = done();
            self.room = u32::try_from(now.saturating_sub(self.done)).unwrap_or(u32::MAX);
            self.done = now;
        }
        self.room > 0
    }

    /// Notes that a transfer to the last target was tried and has not ended, and whether it was
    /// `refused`.
    #[inline]
    pub(crate) fn started(&mut self, refused: bool) {
        self.refused = refused;
        self.room = match refused {
            true => 0,
            false => self.room.saturating_sub(1),
        };
    }
}
