// SPDX-License-Identifier: GPL-2.0

//! Runs light requests, from the submit call to their event.
//!
//! fs/aio.c has no counterpart: a light request is a transfer that needs neither cancel nor retry
//! (`request::light`). It gets one attempt, in the submit call. The attempt ends it or leaves it to
//! a driver, whose completion ends it. If the attempt or the driver reports that the transfer would
//! have to wait, the request becomes a full one, and a worker does it.

use kernel::prelude::*;

use super::{
    complete::{
        complete_by_driver,
        complete_light,
        Completion, //
    },
    punt::punt,
    submission::Submission, //
};
use crate::{
    ctx::{
        kiocb::{
            direct_bytes_in_call,
            Kiocb,
            LightKiocb, //
        },
        op::IssueContext,
        slot::Slot, //
    },
    pure::args,
    request::{
        light::{
            Light,
            LightAttempt,
            LightCalled,
            LightTransfer, //
        },
        pool::FreeRequest, //
    },
    sys::{
        errno,
        file::File,
        uapi::IoEvent, //
    },
};

/// The security modules are asked again after so many requests, as for so many segments of
/// preadv2(2).
const PERMITTED_USES: u32 = 1024;

/// The reason for which a transfer is not made by a light request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NotLight {
    /// The disk would not start one more transfer now, so a worker is to do it, untried.
    NoRoom,
    /// The transfer is too long for the submit call, there is no memory, or a check refuses the
    /// transfer. The checks of a full request find the errno.
    Refused,
}

impl Submission<'_> {
    /// Returns memory and the attempt for a light request, or the reason for which a full request is
    /// to be made.
    #[inline]
    pub(super) fn prepare_light<'f>(
        &mut self,
        file: &'f File,
        transfer: &LightTransfer,
        ioprio: u16,
        with_eventfd: bool,
    ) -> Result<(FreeRequest<Kiocb>, LightAttempt<'f>), NotLight> {
        if !self.has_room((file.identity(), transfer.write), || file.tags()) {
            return Err(NotLight::NoRoom);
        }
        let bytes = direct_bytes_in_call(transfer.len);
        if !self.may_copy(bytes) {
            return Err(NotLight::Refused);
        }
        let target = (file.look_up(), transfer.write);
        let permitted = self.permitted == target && self.permitted_uses > 0;
        let attempt =
            LightAttempt::new(file, transfer, ioprio, permitted).ok_or(NotLight::Refused)?;
        self.permitted_uses = match permitted {
            true => self.permitted_uses.saturating_sub(1),
            false => PERMITTED_USES,
        };
        self.permitted = target;
        self.take_bytes(bytes);
        let free = self.free_request().map_err(|_| NotLight::Refused)?;
        if with_eventfd && self.has_events() {
            // The wake-up of the eventfd must not come before the events of earlier requests.
            self.flush();
        }
        Ok((free, attempt))
    }

    /// Starts a light request with the memory and the attempt that [`Self::prepare_light`] returned
    /// for `file`.
    #[inline]
    pub(crate) fn start_light(
        &mut self,
        free: FreeRequest<Kiocb>,
        light: impl Init<LightKiocb>,
        attempt: LightAttempt<'_>,
        file: &File,
    ) {
        let stats = &self.ctx.table().stats;
        let punted = stats.punted();
        // Count the request before a driver can complete it.
        stats.submitted(1);
        match Light::issue(free, light, attempt) {
            LightCalled::Queued(memory) => {
                if let Some(free) = memory {
                    self.keep(free);
                }
            }
            LightCalled::Done(light, ret) => {
                let LightTransfer {
                    write, pos, len, ..
                } = light.view().transfer;
                let at_end = |done| !write && file.at_eof(pos.saturating_add(done as i64));
                match usize::try_from(ret) {
                    Err(_) if would_block(ret) => upgrade_and_punt(light, 0),
                    // A disk transfers the rest, unless the file ends here.
                    Ok(done @ 1..) if args::rest(len, done) > 0 && !at_end(done) => {
                        upgrade_and_punt(light, done);
                    }
                    _ => {
                        self.end(light, ret as i64);
                        return;
                    }
                }
            }
        }
        self.note_started(punted);
    }
}

/// Returns whether a disk has answered that it cannot do the transfer without waiting.
fn would_block(ret: isize) -> bool {
    matches!(ret as i64, errno::EAGAIN | errno::EOPNOTSUPP)
}

/// Leaves a light request, of which `done` bytes are done, to a worker. Any context.
#[cold]
fn upgrade_and_punt(light: Light<Kiocb>, done: usize) {
    let key = light.view().key;
    // As in the submit call, a work item wakes the worker: an interrupt has no time for it.
    punt(
        light.upgrade(key, |light| light.into_full(done)),
        IssueContext::Submit,
    );
}

impl Completion for Light<Kiocb> {
    fn ring_slot(&self) -> &Slot {
        &self.view().ring_slot
    }

    fn call(&self) -> u32 {
        self.view().call
    }

    fn may_share(&self) -> bool {
        self.view().ki_eventfd.is_none()
    }

    fn event(&self, res: i64) -> IoEvent {
        self.view().event(res)
    }

    fn disarm(self, to_pool: bool) -> Option<FreeRequest<Kiocb>> {
        let (mut light, memory) = self.finish();
        light.ring_slot.disarm();
        if !to_pool {
            return memory;
        }
        if let Some(free) = memory {
            light.ring_slot.ctx().pool().put(free);
        }
        None
    }

    fn complete(self, res: i64) {
        complete_light(self, res);
    }
}

/// Handles the end of a light request that a driver had. Any context, hard interrupt included.
pub(super) fn driver_done(light: Light<Kiocb>, ret: isize) {
    if would_block(ret) {
        upgrade_and_punt(light, 0);
        return;
    }
    complete_by_driver(light, ret as i64);
}
