// SPDX-License-Identifier: GPL-2.0

//! What the tools know of a machine: the module, the device, the libraries, and programs.

pub mod counters;
pub mod device;
pub mod libraries;
pub mod look;
pub mod machine;
pub mod output;
pub mod procfs;
pub mod program;
pub mod sharing;
pub mod stat;

/// What is wrong, and what the user can do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in one line.
    pub what: String,
    /// What to do, in one line.
    pub remedy: String,
}

impl Problem {
    /// Makes a problem of its two lines.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// Reads a small file of procfs or sysfs; returns its text without the end of the line.
pub fn read(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim_end().to_owned())
}
