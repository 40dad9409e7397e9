// SPDX-License-Identifier: GPL-2.0

//! Copies between the memory of the current task and structs of the contract with user space
//! (`copy_from_user()` and `put_user()` of fs/aio.c). Only [`Plain`] types are copied. The
//! functions may fault, so no spinlock is held.

use core::{
    mem::{
        align_of,
        size_of,
        MaybeUninit, //
    },
    slice,
};

use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

use super::{
    ffi,
    uapi::{
        Iocb,
        Plain, //
    },
};

const WORD: usize = size_of::<u64>();

/// The number of pointers that are read at once.
const BATCH: usize = 8;

#[allow(private_bounds)]
/// Reads a struct. Returns `EFAULT` if the memory cannot be read.
#[inline]
pub(crate) fn read<T: Plain>(from: UserPtr) -> Result<T> {
    let mut value = MaybeUninit::uninit();
    read_words(from.as_const_ptr() as usize, &mut value).copied()
}

#[allow(private_bounds)]
/// Reads a struct of which the program has `size` bytes (`copy_struct_from_user()`): bytes that the
/// program lacks are zero. Returns `E2BIG` if bytes that the kernel does not know are not zero, and
/// `EFAULT` if the memory cannot be read.
pub(crate) fn read_sized<T: Plain>(from: UserPtr, size: usize) -> Result<T> {
    if size == size_of::<T>() {
        return read(from);
    }
    let mut value = MaybeUninit::<T>::zeroed();
    let known = size.min(size_of::<T>());
    // SAFETY: `value` has at least `known` bytes and is not used while this slice exists. Memory of
    // `MaybeUninit` needs no initialisation.
    let bytes =
        unsafe { slice::from_raw_parts_mut(value.as_mut_ptr().cast::<MaybeUninit<u8>>(), known) };
    let mut reader = UserSlice::new(from, size).reader();
    reader.read_raw(bytes)?;
    while !reader.is_empty() {
        let mut rest = [MaybeUninit::<u8>::zeroed(); 64];
        let n = reader.len().min(rest.len());
        reader.read_raw(rest.get_mut(..n).ok_or(EINVAL)?)?;
        // SAFETY: all bytes of `rest` were zero, and `read_raw` has written only bytes of user
        // space.
        if rest.iter().any(|byte| unsafe { byte.assume_init() } != 0) {
            return Err(E2BIG);
        }
    }
    // SAFETY: all bytes of `value` were zero, and `read_raw` has written only bytes of user space.
    // `T` is `Plain`, so any bytes are a valid value.
    Ok(unsafe { value.assume_init() })
}

#[allow(private_bounds)]
/// Writes a struct of which the program has `size` bytes (`copy_struct_to_user()`): as much as
/// there is room for, and zeroes for what the program knows and the kernel does not. Returns
/// `EFAULT` if the memory cannot be written.
pub(crate) fn write_sized<T: Plain>(to: UserPtr, size: usize, value: &T) -> Result {
    let known = size.min(size_of::<T>());
    // SAFETY: `value` is borrowed and has at least `known` bytes. `T` is `Plain`, so all of its
    // bytes are initialised.
    let bytes = unsafe { slice::from_raw_parts((&raw const *value).cast::<u8>(), known) };
    let mut writer = UserSlice::new(to, size).writer();
    writer.write_slice(bytes)?;
    while !writer.is_empty() {
        let zeros = [0; 64];
        let n = writer.len().min(zeros.len());
        writer.write_slice(zeros.get(..n).ok_or(EINVAL)?)?;
    }
    Ok(())
}

#[allow(private_bounds)]
/// Writes a struct. Returns `EFAULT` if the memory cannot be written.
pub(crate) fn write<T: Plain>(to: UserPtr, value: &T) -> Result {
    write_sized(to, size_of::<T>(), value)
}

/// Reads a struct of whole words into `to`. Returns `EFAULT` if the memory cannot be read.
#[inline]
fn read_words<T: Plain>(from: usize, to: &mut MaybeUninit<T>) -> Result<&T> {
    const { assert!(size_of::<T>() % WORD == 0 && align_of::<T>() == WORD) };
    let words = to.as_mut_ptr().cast();
    // SAFETY: `words` has as many words as are read, and the alignment of a word, as the assertion
    // says. The callees check the address.
    let done = unsafe {
        match size_of::<T>() / WORD {
            8 => ffi::kaio_read_eight_words(words, from),
            nr => ffi::kaio_read_words(words, from, nr),
        }
    };
    if !done {
        return Err(EFAULT);
    }
    // SAFETY: the function that was called returned true, so it has written all words of `to`. `T`
    // is `Plain`, so any bytes are a valid value.
    Ok(unsafe { to.assume_init_ref() })
}

/// Reads an iocb into `to`. Returns `EFAULT` if the memory cannot be read.
#[inline]
pub(crate) fn read_iocb(from: usize, to: &mut MaybeUninit<Iocb>) -> Result<&Iocb> {
    read_words(from, to)
}

/// A program's array of pointers, which is read in batches.
///
/// # Invariants
///
/// `batch` is initialised if `first` is not `None`.
pub(crate) struct Pointers {
    at: usize,
    nr: u64,
    /// The array is that of a 32-bit program.
    compat: bool,
    batch: MaybeUninit<[u64; BATCH]>,
    /// The index in the array of the first pointer in `batch`.
    first: Option<u64>,
}

impl Pointers {
    /// Makes a reader of the array of `nr` pointers at the address `at`.
    pub(crate) fn new(at: UserPtr, nr: u64, compat: bool) -> Self {
        Self {
            at: at.as_const_ptr() as usize,
            nr,
            compat,
            batch: MaybeUninit::uninit(),
            first: None,
        }
    }

    /// Returns the pointer of index `k`. Returns `EFAULT` if the memory cannot be read.
    #[inline]
    pub(crate) fn get(&mut self, k: u64) -> Result<usize> {
        if let Some(index) = self.first.and_then(|first| k.checked_sub(first)) {
            // SAFETY: by the type's invariant `batch` is initialised, as `first` is not `None`.
            let batch = unsafe { self.batch.assume_init_ref() };
            if let Some(pointer) = batch.get(index as usize) {
                return Ok(*pointer as usize);
            }
        }
        self.read(k)
    }

    /// Reads the pointer of index `k`, and if possible those after it. Returns `EFAULT` if the
    /// memory cannot be read.
    fn read(&mut self, k: u64) -> Result<usize> {
        let at = |width| self.at.wrapping_add(k as usize * width);
        if self.compat {
            return Ok(read_u32(at(size_of::<u32>()))? as usize);
        }
        let at = at(size_of::<u64>());
        if self.nr.saturating_sub(k) >= BATCH as u64 {
            self.first = None;
            if let Ok(batch) = read_words(at, &mut self.batch) {
                // INVARIANT: `read_words` has initialised the batch.
                self.first = Some(k);
                return Ok(batch[0] as usize);
            }
        }
        // The pointers before one that cannot be read are used, so they are read one by one.
        let mut one = MaybeUninit::<u64>::uninit();
        Ok(*read_words(at, &mut one)? as usize)
    }
}

/// Reads a number of 4 bytes. Returns `EFAULT` if the memory cannot be read.
pub(crate) fn read_u32(from: usize) -> Result<u32> {
    let mut value = 0;
    // SAFETY: `value` is a local variable. The callee checks the address.
    match unsafe { ffi::kaio_read_u32(&mut value, from) } {
        true => Ok(value),
        false => Err(EFAULT),
    }
}

/// Writes a number of 4 bytes. Returns `EFAULT` if the memory cannot be written.
pub(crate) fn write_u32(to: usize, value: u32) -> Result {
    // SAFETY: the callee checks the address, and writes to user memory only.
    match unsafe { ffi::kaio_write_u32(to, value) } {
        true => Ok(()),
        false => Err(EFAULT),
    }
}
