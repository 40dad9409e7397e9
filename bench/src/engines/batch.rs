// SPDX-License-Identifier: GPL-2.0

//! A batch of iocbs, as native AIO and kaio take it.

use std::io;
use std::ops::Range;
use std::ptr;

use kaio_sys::uapi::iocb;

use crate::request::Request;

/// The iocbs of a batch, and pointers to them.
#[derive(Default)]
pub struct Batch {
    iocbs: Vec<iocb>,
    pub pointers: Vec<*mut iocb>,
}

impl Batch {
    /// Fills in an iocb for each request.
    pub fn prepare(&mut self, requests: &[Request]) {
        self.iocbs.clear();
        self.iocbs.extend(requests.iter().map(Request::iocb));
        if self.pointers.len() != self.iocbs.len() {
            self.pointers = self.iocbs.iter_mut().map(ptr::from_mut).collect();
        }
    }

    /// Submits a part of the batch: calls `submit_some` with the iocbs that are left until it has
    /// taken all of them.
    pub fn submit(
        &self,
        part: Range<usize>,
        mut submit_some: impl FnMut(&[*mut iocb]) -> io::Result<usize>,
    ) -> io::Result<()> {
        let mut left = &self.pointers[part];
        while !left.is_empty() {
            left = &left[submit_some(left)?..];
        }
        Ok(())
    }
}
