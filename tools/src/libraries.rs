// SPDX-License-Identifier: GPL-2.0

//! Finds the libraries that belong to this program.

use std::env;
use std::path::{Path, PathBuf};

use crate::Problem;

/// The folder of the libraries, for a place that is not one of those below.
pub const VARIABLE: &str = "KAIO_LIBDIR";

/// The file for `LD_PRELOAD`.
pub const PRELOAD: &str = "libkaio.so.1";

#[cfg(target_arch = "x86_64")]
const MULTIARCH: &str = "x86_64-linux-gnu";
#[cfg(target_arch = "aarch64")]
const MULTIARCH: &str = "aarch64-linux-gnu";

/// Returns the path of the library for `LD_PRELOAD`.
///
/// # Errors
///
/// The library is not there.
pub fn preload() -> Result<PathBuf, Problem> {
    find(&folders(), &[PRELOAD])
}

/// Returns the folder for `LD_LIBRARY_PATH`, which has kaio's libaio.
///
/// # Errors
///
/// The library is not there.
pub fn libaio() -> Result<PathBuf, Problem> {
    let mut path = find(&folders(), &["kaio/libaio.so.1t64", "libaio.so.1t64"])?;
    path.pop();
    Ok(path)
}

/// Returns the folders in which the libraries may be: the one that the user names, or those beside
/// the folder of this program.
fn folders() -> Vec<PathBuf> {
    if let Some(folder) = env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
        return vec![folder.into()];
    }
    let Some(prefix) = env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.parent()?.to_owned()))
    else {
        return vec![];
    };
    vec![prefix.join("lib").join(MULTIARCH), prefix.join("lib")]
}

fn find(folders: &[PathBuf], names: &[&str]) -> Result<PathBuf, Problem> {
    let all = || {
        folders
            .iter()
            .flat_map(|folder| names.iter().map(|name| folder.join(name)))
    };
    let path = all().find(|path| path.is_file()).ok_or_else(|| {
        let places: Vec<_> = folders
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        Problem::new(
            format!(
                "{} is in none of these folders: {}.",
                names[0],
                places.join(", ")
            ),
            format!("Install the package libkaio1, or name the folder: {VARIABLE}=DIR"),
        )
    })?;
    separable(&path)?;
    Ok(path)
}

/// Checks that the dynamic linker reads the path as one.
fn separable(path: &Path) -> Result<(), Problem> {
    let text = path.display().to_string();
    if text.contains([' ', ':', ';']) {
        return Err(Problem::new(
            format!("the dynamic linker cannot be given the path '{text}': it takes spaces and colons for the end of a path."),
            format!("Make a link to the folder without them, and name that: {VARIABLE}=DIR"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there() {
        let problem = find(&["/nonexistent".into()], &[PRELOAD]).unwrap_err();
        assert_eq!(
            problem.what,
            "libkaio.so.1 is in none of these folders: /nonexistent."
        );
    }

    #[test]
    fn path_with_a_space() {
        assert!(separable(Path::new("/a/b.so")).is_ok());
        assert!(separable(Path::new("/a b/c.so")).is_err());
        assert!(separable(Path::new("/a:b/c.so")).is_err());
    }
}
