// SPDX-License-Identifier: LGPL-2.1-or-later

//! Memory that can be lent to the kernel.

use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error, Layout};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// Owned memory from which a request can write.
///
/// It is `'static`: a borrow could end while the request is in flight, since nothing in Rust
/// makes sure that a destructor runs.
///
/// # Safety
///
/// `as_ptr` and `len` name initialised memory, always the same as long as the value is not
/// accessed through `&mut`. That memory is no part of the value itself: it stays valid, and
/// nobody writes to it, when the value is moved. Who owns it can be dropped in any thread.
pub unsafe trait IoBuf: Send + 'static {
    /// Where the memory begins. Anything if `len` is 0.
    fn as_ptr(&self) -> *const u8;

    /// How many bytes there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Owned memory into which a request can read.
///
/// A read fills it from the beginning, and touches no more than `len` bytes: give a `Vec` the
/// length that is to be read (`vec![0; n]`), not only the capacity.
///
/// # Safety
///
/// As [`IoBuf`]; `as_mut_ptr` names the same memory, may be written through, and nobody but the
/// value's owner reads or writes there.
pub unsafe trait IoBufMut: IoBuf {
    /// Where the memory begins.
    fn as_mut_ptr(&mut self) -> *mut u8;
}

macro_rules! buffers {
    ($($type:ty: $why:literal;)*) => {$(
        #[doc = concat!("SAFETY: ", $why)]
        // SAFETY: the line above.
        unsafe impl IoBuf for $type {
            fn as_ptr(&self) -> *const u8 {
                <[u8]>::as_ptr(self.as_ref())
            }

            fn len(&self) -> usize {
                <[u8]>::len(self.as_ref())
            }
        }
    )*};
}

buffers! {
    Vec<u8>: "heap memory of its own, which moves only through `&mut`.";
    Box<[u8]>: "heap memory of its own.";
    String: "as `Vec<u8>`.";
    Arc<[u8]>: "heap memory that is shared and therefore never written.";
    &'static [u8]: "memory that is never written and stays for ever.";
    &'static str: "as `&'static [u8]`.";
    AlignedBuf: "heap memory of its own.";
}

// SAFETY: its own heap memory, `len` bytes of which are initialised.
unsafe impl IoBufMut for Vec<u8> {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        Vec::as_mut_ptr(self)
    }
}

// SAFETY: its own heap memory.
unsafe impl IoBufMut for Box<[u8]> {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        <[u8]>::as_mut_ptr(self)
    }
}

// SAFETY: its own heap memory.
unsafe impl IoBufMut for AlignedBuf {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.memory.as_ptr()
    }
}

/// Zeroed bytes at an alignment that `O_DIRECT` asks for.
///
/// ```
/// let mut buf = kaio::AlignedBuf::new(8192, 4096);
/// buf[..5].copy_from_slice(b"hello");
/// assert_eq!(buf.as_ptr() as usize % 4096, 0);
/// assert_eq!(buf[5..], [0; 8187]);
/// ```
pub struct AlignedBuf {
    memory: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it owns its memory, as a `Vec<u8>` does.
unsafe impl Send for AlignedBuf {}
// SAFETY: as above.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// `len` zero bytes at a multiple of `align`.
    ///
    /// # Panics
    ///
    /// If `len` is 0, `align` is no power of two, or no memory can be so large.
    pub fn new(len: usize, align: usize) -> Self {
        assert!(len > 0, "a buffer of no bytes");
        let layout =
            Layout::from_size_align(len, align).expect("an alignment that is a power of two");
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else {
            handle_alloc_error(layout);
        };
        Self { memory, layout }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: `new` allocated it with this layout.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: so many bytes are there, zeroed by `new`, and are ours.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is the only way to them.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.layout.size()) }
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf")
            .field("len", &self.layout.size())
            .field("align", &self.layout.align())
            .finish()
    }
}
