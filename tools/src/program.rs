// SPDX-License-Identifier: GPL-2.0

//! Finds a program, and tells whether a library can be loaded into it.

use std::env;
use std::ffi::OsStr;
use std::fs::{metadata, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Problem;

/// Returns the path of the program that execvp(3) would run, if there is one.
pub fn find(name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Path::new(name).exists().then(|| name.into());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| metadata(file).is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0))
}

/// Checks that the dynamic linker loads a library into the program. A script passes: what
/// interprets it is looked at by nothing.
///
/// # Errors
///
/// The libraries cannot reach the program.
pub fn takes_libraries(path: &Path) -> Result<(), Problem> {
    let name = path.display();
    if metadata(path).is_ok_and(|file| file.mode() & 0o6000 != 0) {
        return Err(Problem::new(
            format!("{name} is set-user-ID or set-group-ID: the dynamic linker loads no library of another into it."),
            "Run a copy without these bits.",
        ));
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
    if read.is_err() {
        return Ok(()); // It may be executed all the same.
    }
    match Elf::of(&head) {
        Elf::Other | Elf::Dynamic => Ok(()),
        Elf::Static => Err(Problem::new(
            format!("{name} is statically linked: no library can be loaded into it."),
            "Use a build of it that is dynamically linked.",
        )),
        Elf::Foreign => Err(Problem::new(
            format!("{name} is a program for another machine, or for 32 bits: the libraries are not for it."),
            "Use a build of it for this machine and 64 bits.",
        )),
    }
}

/// What the head of a file says.
#[derive(Debug, PartialEq, Eq)]
enum Elf {
    /// It is no ELF file: a script.
    Other,
    /// The dynamic linker runs it.
    Dynamic,
    /// The kernel runs it by itself.
    Static,
    /// It is not for the machine of this program.
    Foreign,
}

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

const PT_INTERP: u32 = 3;

impl Elf {
    fn of(head: &[u8]) -> Self {
        Self::parse(head).unwrap_or(Self::Other)
    }

    /// Returns `None` for a file that ends too early, or is not of this format.
    fn parse(head: &[u8]) -> Option<Self> {
        if head.get(..4)? != b"\x7fELF" {
            return None;
        }
        let is_64_bit = *head.get(4)? == 2;
        if !is_64_bit || half(head, 18)? != MACHINE {
            return Some(Self::Foreign);
        }
        let start = usize::try_from(u64::from_le_bytes(head.get(32..40)?.try_into().ok()?)).ok()?;
        let (size, count) = (usize::from(half(head, 54)?), usize::from(half(head, 56)?));
        let mut entries = (0..count).filter_map(|i| {
            let at = start.checked_add(i.checked_mul(size)?)?;
            Some(u32::from_le_bytes(
                head.get(at..at.checked_add(4)?)?.try_into().ok()?,
            ))
        });
        Some(if entries.any(|kind| kind == PT_INTERP) {
            Self::Dynamic
        } else {
            Self::Static
        })
    }
}

fn half(head: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(class: u8, machine: u16, kinds: &[u32]) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..4].copy_from_slice(b"\x7fELF");
        head[4] = class;
        head[18..20].copy_from_slice(&machine.to_le_bytes());
        head[32..40].copy_from_slice(&64u64.to_le_bytes());
        head[54..56].copy_from_slice(&56u16.to_le_bytes());
        head[56..58].copy_from_slice(&(kinds.len() as u16).to_le_bytes());
        for kind in kinds {
            let mut entry = [0; 56];
            entry[..4].copy_from_slice(&kind.to_le_bytes());
            head.extend(entry);
        }
        head
    }

    #[test]
    fn heads() {
        assert_eq!(Elf::of(b"#!/bin/sh\n"), Elf::Other);
        assert_eq!(Elf::of(b""), Elf::Other);
        assert_eq!(Elf::of(&elf(2, MACHINE, &[6, PT_INTERP, 1])), Elf::Dynamic);
        assert_eq!(Elf::of(&elf(2, MACHINE, &[6, 1])), Elf::Static);
        assert_eq!(Elf::of(&elf(1, 3, &[PT_INTERP])), Elf::Foreign);
        assert_eq!(Elf::of(&elf(2, 8, &[PT_INTERP])), Elf::Foreign);
    }

    #[test]
    fn head_with_wild_offsets() {
        let mut head = elf(2, MACHINE, &[PT_INTERP]);
        head[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(Elf::of(&head), Elf::Static);
        head.truncate(40);
        assert_eq!(Elf::of(&head), Elf::Other);
    }
}
