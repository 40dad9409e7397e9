// SPDX-License-Identifier: GPL-2.0

//! kaio: asynchronous I/O through `/dev/kaio`.
//!
//! Registers, and lists the parts from the ground up. A request flows one way:
//! decode (`ioctl`), look up (`obj::table`), prepare (`submit`, `ops`), execute (`exec`), perhaps
//! park and be kicked (`sys::request`), complete (`complete`), deliver (`ring`, `getevents`).

use kernel::{
    prelude::*,
    sync::Arc, //
};

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
    obj::{
        table::Table,
        user::Users, //
    },
    sys::{
        device::Registration,
        module,
        provider::Memory,
        queue::Grace,
        sysctl::Sysctls, //
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
    _sysctls: Sysctls,
    _device: Registration<Table>,
    _workers: Workers,
    _grace: Grace,
    _memory: Memory,
}

/// All workers. Dropping it waits for them.
struct Workers(Arc<Users>);

impl Drop for Workers {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

impl kernel::Module for Kaio {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let users = Users::new()?;
        Ok(Self {
            _sysctls: Sysctls::new(quota::nr_word(), stats::closed())?,
            _device: Registration::new(module::param_mode(), users.clone())?,
            _workers: Workers(users),
            _grace: Grace,
            _memory: Memory,
        })
    }
}
