// SPDX-License-Identifier: GPL-2.0

//! What a submit call has at hand: memory for requests, and events to be put into the ring together.

use crate::{
    obj::kiocb::Kiocb,
    sys::{
        few::Few,
        request::Shelf,
        uapi::IoEvent, //
    },
};

/// Events that are put into the ring together.
const TOGETHER: usize = 8;

#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Requests that were over before there was one, and so are not counted yet.
    pub(crate) over: u64,
    /// Requests that a driver completed.
    pub(crate) landed: u64,
}

/// Large, and so not moved: a context has one for the first who submits, others have it on their stack.
pub(crate) struct Tray {
    pub(crate) memory: Shelf<Kiocb>,
    /// Of requests that have ended.
    pub(crate) events: Few<IoEvent, TOGETHER>,
    /// What of those is to be counted how.
    pub(crate) counts: Counts,
}

impl Tray {
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            memory: Few::new(),
            events: Few::new(),
            counts: Counts::default(),
        }
    }
}
