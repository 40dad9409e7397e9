// SPDX-License-Identifier: GPL-2.0

//! Copies between the caller's memory and structs of the contract.

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

/// How many pointers are read at once.
const FEW: usize = 8;

#[allow(private_bounds)]
/// Reads a struct. `EFAULT`.
#[inline]
pub(crate) fn read<T: Plain>(from: UserPtr) -> Result<T> {
    let mut value = MaybeUninit::uninit();
    read_words(from.as_const_ptr() as usize, &mut value).copied()
}

#[allow(private_bounds)]
/// Reads a struct of which the caller has `size` bytes (`copy_struct_from_user()`): what is
/// missing is zero, what is too much must be (`E2BIG`).
pub(crate) fn read_sized<T: Plain>(from: UserPtr, size: usize) -> Result<T> {
    if size == size_of::<T>() {
        return read(from);
    }
    let mut value = MaybeUninit::<T>::zeroed();
    let known = size.min(size_of::<T>());
    // SAFETY: `known` bytes of `value`, as uninitialised memory.
    let bytes =
        unsafe { slice::from_raw_parts_mut(value.as_mut_ptr().cast::<MaybeUninit<u8>>(), known) };
    let mut reader = UserSlice::new(from, size).reader();
    reader.read_raw(bytes)?;
    while !reader.is_empty() {
        let mut rest = [MaybeUninit::<u8>::zeroed(); 64];
        let n = reader.len().min(rest.len());
        reader.read_raw(rest.get_mut(..n).ok_or(EINVAL)?)?;
        // SAFETY: they were zero, and `read_raw` wrote bytes.
        if rest.iter().any(|byte| unsafe { byte.assume_init() } != 0) {
            return Err(E2BIG);
        }
    }
    // SAFETY: all bytes are initialised, and `T` takes any.
    Ok(unsafe { value.assume_init() })
}

#[allow(private_bounds)]
/// Writes a struct of which the caller has `size` bytes (`copy_struct_to_user()`): as much as it
/// has room for, and zero for what it knows and we do not. `EFAULT`.
pub(crate) fn write_sized<T: Plain>(to: UserPtr, size: usize, value: &T) -> Result {
    let known = size.min(size_of::<T>());
    // SAFETY: `T` has no padding.
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
/// Writes a struct. `EFAULT`.
pub(crate) fn write<T: Plain>(to: UserPtr, value: &T) -> Result {
    write_sized(to, size_of::<T>(), value)
}

/// Reads a struct of whole words to where it is to be. `EFAULT`.
#[inline]
fn read_words<T: Plain>(from: usize, to: &mut MaybeUninit<T>) -> Result<&T> {
    const { assert!(size_of::<T>() % WORD == 0 && align_of::<T>() == WORD) };
    // SAFETY: `to` has so many words. The address is checked.
    if !unsafe { ffi::kaio_read_words(to.as_mut_ptr().cast(), from, size_of::<T>() / WORD) } {
        return Err(EFAULT);
    }
    // SAFETY: all of it was written, and any bytes will do (`Plain`).
    Ok(unsafe { to.assume_init_ref() })
}

/// Reads a request. `EFAULT`.
#[inline]
pub(crate) fn read_iocb(from: usize, to: &mut MaybeUninit<Iocb>) -> Result<&Iocb> {
    read_words(from, to)
}

/// The caller's array of pointers, which is read a few at a time.
pub(crate) struct Pointers {
    at: usize,
    nr: u64,
    /// A 32-bit caller's.
    compat: bool,
    few: MaybeUninit<[u64; FEW]>,
    /// The number of the first of those in `few`, if there are.
    first: Option<u64>,
}

impl Pointers {
    pub(crate) fn new(at: UserPtr, nr: u64, compat: bool) -> Self {
        Self {
            at: at.as_const_ptr() as usize,
            nr,
            compat,
            few: MaybeUninit::uninit(),
            first: None,
        }
    }

    /// Number `k`. `EFAULT`.
    #[inline]
    pub(crate) fn get(&mut self, k: u64) -> Result<usize> {
        if let Some(index) = self.first.and_then(|first| k.checked_sub(first)) {
            // SAFETY: it was filled in when `first` was set.
            let few = unsafe { self.few.assume_init_ref() };
            if let Some(pointer) = few.get(index as usize) {
                return Ok(*pointer as usize);
            }
        }
        self.read(k)
    }

    fn read(&mut self, k: u64) -> Result<usize> {
        let at = |width| self.at.wrapping_add(k as usize * width);
        if self.compat {
            return Ok(read_u32(at(size_of::<u32>()))? as usize);
        }
        let at = at(size_of::<u64>());
        if self.nr.saturating_sub(k) >= FEW as u64 {
            self.first = None;
            if let Ok(few) = read_words(at, &mut self.few) {
                self.first = Some(k);
                return Ok(few[0] as usize);
            }
        }
        // Those that can be read count, up to the one that cannot.
        let mut one = MaybeUninit::<u64>::uninit();
        Ok(*read_words(at, &mut one)? as usize)
    }
}

/// Reads half a word. `EFAULT`.
pub(crate) fn read_u32(from: usize) -> Result<u32> {
    let mut value = 0;
    // SAFETY: `value` is ours. The address is checked.
    match unsafe { ffi::kaio_read_u32(&mut value, from) } {
        true => Ok(value),
        false => Err(EFAULT),
    }
}

/// Writes a word. `EFAULT`.
pub(crate) fn write_u32(to: usize, value: u32) -> Result {
    // SAFETY: the address is checked.
    match unsafe { ffi::kaio_write_u32(to, value) } {
        true => Ok(()),
        false => Err(EFAULT),
    }
}
