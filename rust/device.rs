// SPDX-License-Identifier: GPL-2.0

//! `/dev/kaio`: an open file is a table of contexts.
//!
//! fs/aio.c has no counterpart, since there the table belongs to an mm. This file only passes file
//! operations on to [`Table`], and ioctls to `ioctl`.

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
    ctx::{
        table::Table,
        user::UserTable, //
    },
    ioctl::{
        ioctl,
        quick_call, //
    },
    sys::{
        device::Device,
        sysctl::{
            self,
            Source,
            Sum, //
        },
        task::FilesOwner,
        wait::WaitQueue, //
    },
};

impl Device for Table {
    const NAME: &'static CStr = c"kaio";

    type Shared = UserTable;

    fn open(users: ArcBorrow<'_, UserTable>) -> Result<Arc<Self>> {
        let table = Table::new(UserTable::current(users)?)?;
        sysctl::add(table.clone())?;
        Ok(table)
    }

    fn flush(&self, owner: FilesOwner) {
        self.drain_on_exit(owner);
    }

    fn release(&self) {
        self.close();
        sysctl::remove(self, || self.stats.close());
    }

    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize, compat: bool) -> Result<isize> {
        ioctl(this, cmd, arg, compat)
    }

    fn fadvise(
        this: ArcBorrow<'_, Self>,
        offset: i64,
        len: i64,
        advice: i32,
    ) -> Option<Result<isize>> {
        quick_call(this, offset, len, advice)
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
