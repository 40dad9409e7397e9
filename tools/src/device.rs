// SPDX-License-Identifier: GPL-2.0

//! Opens the device and asks it what it can do; says what to do if it cannot be used.

use std::fs::{metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use kaio_sys::uapi::{kaio_query, KAIO_ABI_VERSION};

use crate::machine::{self, Module};
use crate::Problem;

/// The path of the device.
pub const PATH: &str = "/dev/kaio";

/// Opens the device, and returns what it says of itself.
///
/// # Errors
///
/// The device cannot be used by this process. The problem says why, and what to do.
pub fn query() -> Result<kaio_query, Problem> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(PATH)
        .map_err(|e| why_not_opened(&e))?;
    // SAFETY: `file` keeps the descriptor open during the call. KAIO_QUERY only fills in the struct
    // that `query` has made; a file that is not kaio's refuses the number.
    let answer = unsafe { kaio_sys::ioctl::query(file.as_raw_fd()) }.map_err(|_| {
        Problem::new(
            format!("{PATH} is not kaio's device: another driver has it."),
            format!("Remove the file, then load the module anew: rm {PATH}; modprobe -r kaio; modprobe kaio"),
        )
    })?;
    fits(answer.version).map(|()| answer)
}

/// Checks that the libraries can work with a module of the ABI `version`.
///
/// # Errors
///
/// The module is older than the libraries.
pub fn fits(version: u32) -> Result<(), Problem> {
    if version >= KAIO_ABI_VERSION {
        return Ok(());
    }
    Err(Problem::new(
        format!("the module that is loaded has version {version} of the ABI, and the libraries need {KAIO_ABI_VERSION}."),
        "Load the installed module, when no program uses the old one: modprobe -r kaio; modprobe kaio",
    ))
}

/// Returns type, numbers, mode and owner of the device node, or `None` if there is none.
pub fn node() -> Option<String> {
    let node = metadata(PATH).ok()?;
    let kind = if node.file_type().is_char_device() {
        format!("char {}:{}", major(node.rdev()), minor(node.rdev()))
    } else {
        "not a character device".to_owned()
    };
    Some(format!(
        "{PATH}, {kind}, mode {:04o}, owner {}:{}",
        node.mode() & 0o7777,
        machine::name_of("/etc/passwd", node.uid()),
        machine::name_of("/etc/group", node.gid())
    ))
}

/// Returns the major number in a `dev_t` of Linux, as major(3) does.
const fn major(device: u64) -> u64 {
    (device >> 8) & 0xfff | (device >> 32) & 0xffff_f000
}

/// Returns the minor number in a `dev_t` of Linux, as minor(3) does.
const fn minor(device: u64) -> u64 {
    device & 0xff | (device >> 12) & 0xffff_ff00
}

/// Returns what to do about an open(2) of the device that failed.
fn why_not_opened(error: &io::Error) -> Problem {
    match error.raw_os_error().unwrap_or(0) {
        libc::ENOENT | libc::ENOTDIR => match machine::module() {
            Module::Loaded(_) => Problem::new(
                format!("the module is loaded, but there is no {PATH} here."),
                format!("If this is a container, let the device in: docker run --device {PATH}; else: udevadm trigger"),
            ),
            other => not_loaded(&other),
        },
        libc::ENXIO | libc::ENODEV => match machine::module() {
            Module::Loaded(_) => Problem::new(
                format!("{PATH} is left over from an earlier load of the module."),
                format!("Remove it, then: udevadm trigger; in a container start the container anew with --device {PATH}"),
            ),
            other => not_loaded(&other),
        },
        libc::EACCES => Problem::new(
            format!("you may not open {PATH}: {}.", mode_and_group()),
            may_not_open(),
        ),
        libc::EPERM => Problem::new(
            format!("this container, or service, does not allow {PATH}."),
            format!("Let it in: docker run --device {PATH}; in a unit of systemd: DeviceAllow={PATH} rw"),
        ),
        _ => Problem::new(
            format!("{PATH} cannot be opened: {error}."),
            "Look at the limits of this process: ulimit -a",
        ),
    }
}

/// Returns how the module is loaded, or installed if it is not.
pub fn not_loaded(module: &Module) -> Problem {
    if *module == Module::Installed {
        return Problem::new(
            "the module kaio is not loaded.",
            "Load it, as root: modprobe kaio",
        );
    }
    let release = machine::release();
    Problem::new(
        format!("the module kaio is not installed for this kernel, {release}."),
        format!(
            "Install it, as root: apt install kaio-dkms linux-headers-{release}; or from its source: make modules_install"
        ),
    )
}

/// Returns the mode and the group of the device node, as part of a sentence.
fn mode_and_group() -> String {
    metadata(PATH).map_or_else(
        |e| e.to_string(),
        |node| {
            format!(
                "its mode is {:04o}, and its group {}",
                node.mode() & 0o777,
                machine::name_of("/etc/group", node.gid())
            )
        },
    )
}

/// Returns what lets the user of this process open the device node, which refuses it now.
fn may_not_open() -> String {
    let user = machine::name_of("/etc/passwd", machine::uid());
    match metadata(PATH) {
        Ok(node) if node.mode() & 0o060 == 0o060 && node.gid() != 0 => format!(
            "Join the group, as root: adduser {user} {}; then log in anew",
            machine::name_of("/etc/group", node.gid())
        ),
        Ok(node) if node.mode() & 0o006 == 0o006 || machine::uid() == 0 => {
            format!("If this is a container, let the device in: docker run --device {PATH}")
        }
        _ => {
            "An administrator gives it to a group in /etc/udev/rules.d/60-kaio.rules (see kaio(4))"
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_device() {
        let device = libc::makedev(10, 0x4_5678);
        assert_eq!((major(device), minor(device)), (10, 0x4_5678));
    }

    #[test]
    fn version_that_fits() {
        assert!(fits(KAIO_ABI_VERSION).is_ok());
        assert!(fits(KAIO_ABI_VERSION + 1).is_ok());
        let problem = fits(KAIO_ABI_VERSION - 1).unwrap_err();
        assert!(
            problem.what.contains("version 0 of the ABI"),
            "{}",
            problem.what
        );
        assert!(problem.remedy.contains("modprobe"), "{}", problem.remedy);
    }
}
