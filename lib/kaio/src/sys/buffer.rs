// SPDX-License-Identifier: LGPL-2.1-or-later

//! Memory that a request lends to the kernel.

use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error, Layout};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// Owned memory from which a request can write.
///
/// The type is `'static`: a borrow could end while the request is in flight, since Rust does not
/// guarantee that a destructor runs.
///
/// # Safety
///
/// `as_ptr` and `len` name initialised memory, and the same memory as long as the value is not
/// accessed through `&mut`. That memory lies outside of the value itself: it stays valid when the
/// value is moved, and no code writes to it meanwhile. The value can be dropped in any thread.
pub unsafe trait IoBuf: Send + 'static {
    /// Returns the address of the memory. It may be any address if `len` is 0.
    fn as_ptr(&self) -> *const u8;

    /// Returns the number of bytes.
    fn len(&self) -> usize;

    /// Returns whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Owned memory into which a request can read.
///
/// A read fills the memory from its beginning and writes at most `len` bytes. A `Vec` therefore
/// needs the length that is to be read (`vec![0; n]`); its capacity does not count.
///
/// # Safety
///
/// The type keeps the promises of [`IoBuf`]. `as_mut_ptr` names the same memory and may be written
/// through, and only the owner of the value reads or writes that memory.
pub unsafe trait IoBufMut: IoBuf {
    /// Returns the address of the memory.
    fn as_mut_ptr(&mut self) -> *mut u8;
}

macro_rules! buffers {
    ($($type:ty: $why:literal;)*) => {$(
        #[doc = concat!("SAFETY: ", $why)]
        // SAFETY: the macro's caller gives the reason, which is in the documentation of this impl.
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
    Vec<u8>: "the vector owns its heap memory, which moves only through `&mut`.";
    Box<[u8]>: "the box owns its heap memory.";
    String: "the string owns its heap memory, which moves only through `&mut`.";
    Arc<[u8]>: "the heap memory is shared and therefore never written.";
    &'static [u8]: "the memory is never written and stays for ever.";
    &'static str: "the memory is never written and stays for ever.";
    AlignedBuf: "the buffer owns its heap memory.";
}

// SAFETY: a vector owns its heap memory, of which `len` bytes are initialised, and only its owner
// can reach that memory.
unsafe impl IoBufMut for Vec<u8> {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        Vec::as_mut_ptr(self)
    }
}

// SAFETY: a boxed slice owns its heap memory, and only its owner can reach that memory.
unsafe impl IoBufMut for Box<[u8]> {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        <[u8]>::as_mut_ptr(self)
    }
}

// SAFETY: `AlignedBuf` owns its heap memory, and only its owner can reach that memory.
unsafe impl IoBufMut for AlignedBuf {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.memory.as_ptr()
    }
}

/// Zeroed bytes with the alignment that `O_DIRECT` requires.
///
/// ```
/// let mut buf = linux_kaio::AlignedBuf::new(8192, 4096);
/// buf[..5].copy_from_slice(b"hello");
/// assert_eq!(buf.as_ptr() as usize % 4096, 0);
/// assert_eq!(buf[5..], [0; 8187]);
/// ```
pub struct AlignedBuf {
    memory: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the value owns its memory, which is not tied to a thread.
unsafe impl Send for AlignedBuf {}
// SAFETY: a shared reference only allows reading the memory (`Deref`), which any thread may do.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// Allocates `len` zero bytes at a multiple of `align`.
    ///
    /// # Panics
    ///
    /// Panics if `len` is 0, if `align` is not a power of two, or if memory cannot be that large.
    pub fn new(len: usize, align: usize) -> Self {
        assert!(len > 0, "a buffer of no bytes");
        let layout =
            Layout::from_size_align(len, align).expect("an alignment that is a power of two");
        // SAFETY: `len` is not 0, so the size of the layout is not 0.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else {
            handle_alloc_error(layout);
        };
        Self { memory, layout }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: `new` has allocated `memory` with this layout, and only this drop frees it.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `new` has allocated and zeroed `layout.size()` bytes, which stay until `drop`,
        // and writing to them takes `&mut self`.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: `new` has allocated and zeroed `layout.size()` bytes, which stay until `drop`,
        // and `&mut self` excludes other references to them.
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
