// SPDX-License-Identifier: LGPL-2.1-or-later

//! The buffers of the crate `bytes` (the feature `bytes`).

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};

use super::buffer::{IoBuf, IoBufMut, IoBufSpare};

/// The trait's `slice` takes the value. For `Bytes`, `Bytes::slice(&buf, range)` is the function that
/// shares the memory.
// SAFETY: the memory of `Bytes` is on the heap or static, and is never written as long as a value
// refers to it.
unsafe impl IoBuf for Bytes {
    fn as_ptr(&self) -> *const u8 {
        <[u8]>::as_ptr(self)
    }

    fn len(&self) -> usize {
        Bytes::len(self)
    }
}

// SAFETY: the memory of `BytesMut` is on the heap, moves only through `&mut`, and belongs to one
// value.
unsafe impl IoBuf for BytesMut {
    fn as_ptr(&self) -> *const u8 {
        <[u8]>::as_ptr(self)
    }

    fn len(&self) -> usize {
        BytesMut::len(self)
    }
}

// SAFETY: `as_mut_ptr` is the same memory as `as_ptr`, and only the owner of the value can reach it.
unsafe impl IoBufMut for BytesMut {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        <[u8]>::as_mut_ptr(self)
    }
}

// SAFETY: the spare capacity of `BytesMut` is on the heap, moves only through `&mut`, and belongs to
// one value.
unsafe impl IoBufSpare for BytesMut {
    fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        self.spare_capacity_mut()
    }

    unsafe fn fill(&mut self, count: usize) {
        let len = self.len() + count;
        // SAFETY: the caller promises that so many bytes after the length are initialised.
        unsafe { self.set_len(len) };
    }
}
