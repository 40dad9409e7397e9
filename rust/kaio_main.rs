// SPDX-License-Identifier: GPL-2.0

//! kaio: asynchronous I/O through `/dev/kaio`.
//!
//! This file registers the device and lists the parts of the module from the ground up. A request
//! flows one way: decode (`ioctl`), look up (`ctx::table`), prepare (`engine::submit`, `ops`),
//! execute (`engine`), perhaps park and be kicked (`request`), complete (`engine::complete`),
//! deliver (`ctx::ring`, `engine::getevents`).

use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::{
    ctx::{
        table::Table,
        user::UserTable, //
    },
    provider::Memory,
    sys::{
        device::Registration,
        module,
        queue::Grace,
        sysctl::Sysctls, //
    },
};

mod provider;
mod pure;
mod request;
mod sys;

mod ctx;

mod ops;

mod engine;

mod ioctl;

mod device;

#[cfg(CONFIG_KAIO_KUNIT_TEST)]
mod tests;

module! {
    type: Kaio,
    name: "kaio",
    authors: ["The kaio developers"],
    description: "Asynchronous I/O through /dev/kaio",
    license: "GPL",
}

/// The loaded module. Its fields are dropped in this order: once the device is gone, no file is
/// opened any more, so the workers can end.
struct Kaio {
    _sysctls: Sysctls,
    _device: Registration<Table>,
    _workers: Workers,
    _grace: Grace,
    _memory: Memory,
}

/// The workers of all users. Its drop waits for them.
struct Workers(Arc<UserTable>);

impl Drop for Workers {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

impl kernel::Module for Kaio {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let users = UserTable::new()?;
        Ok(Self {
            _sysctls: Sysctls::new(ctx::quota::nr_word(), ctx::stats::closed())?,
            _device: Registration::new(module::param_mode(), users.clone())?,
            _workers: Workers(users),
            _grace: Grace,
            _memory: Memory,
        })
    }
}
