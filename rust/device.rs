// SPDX-License-Identifier: GPL-2.0

//! `/dev/kaio`: an open file is a table of contexts.

use kernel::{
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        Arc,
        ArcBorrow, //
    },
};

use crate::{
    ioctl::ioctl,
    obj::{
        table::Table,
        user::Users, //
    },
    sys::{
        device::Device,
        sysctl::{
            self,
            Source,
            Sum, //
        },
        task::Program,
        wait::WaitQueue, //
    },
};

impl Device for Table {
    const NAME: &'static CStr = c"kaio";

    type Shared = Users;

    fn open(users: ArcBorrow<'_, Users>) -> Result<Arc<Self>> {
        let table = Table::new(Users::current(users)?)?;
        sysctl::add(table.clone())?;
        Ok(table)
    }

    fn flush(&self, program: Program) {
        self.wait_for(program);
    }

    fn release(&self) {
        self.close();
        sysctl::remove(self, || self.stats.close());
    }

    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize, compat: bool) -> Result<isize> {
        ioctl(this, cmd, arg, compat)
    }

    fn show_fdinfo(&self, m: &SeqFile) {
        seq_print!(m, "kaio-contexts:\t{}\n", self.len());
        seq_print!(m, "kaio-inflight:\t{}\n", self.stats.inflight());
        self.stats.show(m);
    }

    fn readers(&self) -> &WaitQueue {
        self.readers()
    }

    fn is_readable(&self) -> bool {
        self.is_readable()
    }
}

impl Source for Table {
    fn add_to(&self, sum: &mut Sum) {
        self.stats.add_to(sum);
    }
}
