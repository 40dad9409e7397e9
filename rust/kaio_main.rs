// SPDX-License-Identifier: GPL-2.0

//! kaio: asynchronous I/O through `/dev/kaio`.
//!
//! Registers, and lists the parts from the ground up. A request flows one way:
//! decode (`ioctl`), look up (`obj::table`), prepare (`submit`, `ops`), execute (`exec`), perhaps
//! park and be kicked (`sys::request`), complete (`complete`), deliver (`ring`, `getevents`).

use kernel::prelude::*;

mod pure;
mod sys;

mod quota;
mod ring;
mod stats;

mod obj;

mod complete;
mod ops;

mod exec;

mod getevents;
mod submit;

mod ioctl;

mod device;

#[cfg(CONFIG_KAIO_KUNIT_TEST)]
mod tests;

use crate::{
    obj::table::Table,
    sys::{
        device::Registration,
        module,
        queue::Queues, //
    },
};

module! {
    type: Kaio,
    name: "kaio",
    authors: ["The kaio developers"],
    description: "Asynchronous I/O through /dev/kaio",
    license: "GPL",
}

/// The loaded module. Fields are dropped in this order: no new files, then no more work.
struct Kaio {
    _device: Registration<Table>,
    _queues: Queues,
}

impl kernel::Module for Kaio {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let queues = Queues::new()?;
        Ok(Self {
            _device: Registration::new(module::param_mode())?,
            _queues: queues,
        })
    }
}
