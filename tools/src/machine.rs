// SPDX-License-Identifier: GPL-2.0

//! The kernel, the module, the user, the container.

use std::fs::{metadata, read_to_string};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::read;

/// Where the module is.
#[derive(Debug, PartialEq, Eq)]
pub enum Module {
    /// It is loaded; its version.
    Loaded(String),
    /// It is installed for the kernel that runs.
    Installed,
    /// It is not installed for the kernel that runs.
    Absent,
}

/// Returns the release of the kernel, as `uname -r` prints it.
pub fn release() -> String {
    read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "(unknown)".to_owned())
}

/// Returns where the module is.
pub fn module() -> Module {
    if Path::new("/sys/module/kaio").exists() {
        return Module::Loaded(
            read("/sys/module/kaio/version").unwrap_or_else(|| "(none)".to_owned()),
        );
    }
    let base = format!("/lib/modules/{}", release());
    let listed = |file: &str, name: &str| {
        read_to_string(format!("{base}/{file}"))
            .is_ok_and(|text| text.lines().any(|line| has_module(line, name)))
    };
    if listed("modules.dep", "kaio") || listed("modules.builtin", "kaio") {
        Module::Installed
    } else {
        Module::Absent
    }
}

/// Returns true if the line of `modules.dep` is that of the module `name`, compressed or not.
fn has_module(line: &str, name: &str) -> bool {
    let path = line.split(':').next().unwrap_or(line);
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next() == Some(name) && file.contains(".ko")
}

/// Returns whether the kernel was built with Rust, or `None` if its configuration cannot be read.
pub fn has_rust() -> Option<bool> {
    let release = release();
    let text = [
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
        format!("/lib/modules/{release}/build/.config"),
    ]
    .iter()
    .find_map(|path| read_to_string(path).ok())?;
    Some(text.lines().any(|line| line == "CONFIG_RUST=y"))
}

/// Returns the user id of this process.
pub fn uid() -> u32 {
    metadata("/proc/self").map_or(0, |own| own.uid())
}

/// Returns the name of `id` in a file such as `/etc/group`, or the number.
pub fn name_of(file: &str, id: u32) -> String {
    let text = read_to_string(file).unwrap_or_default();
    let name = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    });
    name.map_or_else(|| id.to_string(), str::to_owned)
}

/// Returns what kind of container this is, if a sign of one is here.
pub fn container() -> Option<String> {
    if let Some(kind) = read("/run/systemd/container") {
        return Some(kind);
    }
    for (path, kind) in [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")] {
        if Path::new(path).exists() {
            return Some(kind.to_owned());
        }
    }
    None
}

/// Returns the mode of lockdown(7), if the kernel shows it.
pub fn lockdown() -> Option<String> {
    let text = read("/sys/kernel/security/lockdown")?;
    Some(chosen(&text).to_owned())
}

/// Returns the word in brackets of a list such as `none [integrity] confidentiality`.
fn chosen(text: &str) -> &str {
    text.split_whitespace()
        .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
        .unwrap_or(text)
}

/// Returns the soft limit of a resource of this process, as `/proc/self/limits` names it.
pub fn limit(name: &str) -> String {
    let text = read("/proc/self/limits").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
        .unwrap_or("(unknown)")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_dep() {
        assert!(has_module("updates/dkms/kaio.ko.xz:", "kaio"));
        assert!(has_module("updates/kaio.ko: kernel/lib/x.ko", "kaio"));
        assert!(!has_module("updates/kaio_mock.ko: updates/kaio.ko", "kaio"));
        assert!(!has_module("kernel/fs/x.ko: updates/kaio.ko", "kaio"));
    }

    #[test]
    fn lockdown_list() {
        assert_eq!(chosen("none [integrity] confidentiality"), "integrity");
    }

    #[test]
    fn names() {
        assert_eq!(name_of("/etc/passwd", 0), "root");
        assert_eq!(name_of("/etc/group", 4_000_000_000), "4000000000");
    }
}
