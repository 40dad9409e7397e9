// SPDX-License-Identifier: LGPL-2.1-or-later

//! Memory that a request lends to the kernel.

use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error, Layout};
use std::fmt;
use std::mem::MaybeUninit;
use std::ops::{Bound, Deref, DerefMut, Range, RangeBounds};
use std::ptr::NonNull;
use std::slice;
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

    /// Returns a part of the buffer, which owns all of it. A request then reads into this part, or
    /// writes from it, alone.
    ///
    /// ```
    /// use linux_kaio::IoBuf;
    ///
    /// let part = vec![1, 2, 3, 4, 5].slice(1..4);
    /// assert_eq!(part[..], [2, 3, 4]);
    /// assert_eq!(part.into_inner(), [1, 2, 3, 4, 5]);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the range does not lie within the buffer.
    fn slice(self, range: impl RangeBounds<usize>) -> Slice<Self>
    where
        Self: Sized,
    {
        Slice::new(self, range)
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

/// Owned memory with room after its contents, into which [`Op::read_spare`](crate::Op::read_spare)
/// reads.
///
/// # Safety
///
/// `spare` names the same memory as long as the value is not accessed through `&mut`. That memory
/// lies outside of the value itself: it stays valid when the value is moved. Only the owner of the
/// value reads or writes it. The value can be dropped in any thread.
pub unsafe trait IoBufSpare: Send + 'static {
    /// Returns the room after the contents.
    fn spare(&mut self) -> &mut [MaybeUninit<u8>];

    /// Adds the first `count` bytes of the room to the contents.
    ///
    /// # Safety
    ///
    /// These bytes are initialised, and the room has at least so many bytes.
    unsafe fn fill(&mut self, count: usize);
}

// SAFETY: a vector owns its heap memory, of which the bytes after its length are spare, and only
// its owner can reach that memory.
unsafe impl IoBufSpare for Vec<u8> {
    fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        self.spare_capacity_mut()
    }

    unsafe fn fill(&mut self, count: usize) {
        // SAFETY: the caller promises that so many bytes after the length are initialised.
        unsafe { self.set_len(self.len() + count) };
    }
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

/// A part of a buffer, made by [`IoBuf::slice`]. It owns the whole buffer.
pub struct Slice<B> {
    buffer: B,
    start: usize,
    len: usize,
}

impl<B: IoBuf> Slice<B> {
    fn new(buffer: B, range: impl RangeBounds<usize>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before.checked_add(1).expect("a range of addresses"),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.checked_add(1).expect("a range of addresses"),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => buffer.len(),
        };
        assert!(
            start <= end && end <= buffer.len(),
            "{start}..{end} is not within a buffer of {} bytes",
            buffer.len()
        );
        Self {
            buffer,
            start,
            len: end - start,
        }
    }

    /// Returns the whole buffer.
    pub fn into_inner(self) -> B {
        self.buffer
    }

    /// Returns the whole buffer.
    pub fn get_ref(&self) -> &B {
        &self.buffer
    }

    /// Returns where the part lies in the buffer.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

// SAFETY: the memory is a part of that of `buffer`, as `new` has checked. The part keeps the
// promises that `buffer` keeps for all of its memory, since only the owner of the part can reach
// `buffer` through `&mut`, and it has no such access to the length.
unsafe impl<B: IoBuf> IoBuf for Slice<B> {
    fn as_ptr(&self) -> *const u8 {
        // SAFETY: `new` has checked that `start` is within the buffer.
        unsafe { self.buffer.as_ptr().add(self.start) }
    }

    fn len(&self) -> usize {
        self.len
    }
}

// SAFETY: the memory is the same as that of `as_ptr`, and `buffer` may be written through.
unsafe impl<B: IoBufMut> IoBufMut for Slice<B> {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        // SAFETY: `new` has checked that `start` is within the buffer.
        unsafe { self.buffer.as_mut_ptr().add(self.start) }
    }
}

impl<B: IoBuf> Deref for Slice<B> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: an `IoBuf` names initialised memory, which no code writes while it is borrowed.
        unsafe { slice::from_raw_parts(IoBuf::as_ptr(self), self.len) }
    }
}

impl<B: IoBufMut> DerefMut for Slice<B> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: an `IoBufMut` names initialised memory that only its owner reads or writes, and
        // `&mut self` excludes other references.
        unsafe { slice::from_raw_parts_mut(IoBufMut::as_mut_ptr(self), self.len) }
    }
}

impl<B: IoBuf> AsRef<[u8]> for Slice<B> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<B: IoBuf> fmt::Debug for Slice<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slice")
            .field("range", &self.range())
            .field("of", &self.buffer.len())
            .finish()
    }
}
