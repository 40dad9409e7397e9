// SPDX-License-Identifier: LGPL-2.1-or-later

//! Runs `bindgen` on the uapi header, as the module's own build does, so that no struct is defined
//! twice.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// bindgen does not expand `_IOWR()`, but it evaluates a constant.
const IOCTLS: [&str; 7] = [
    "QUERY",
    "SETUP",
    "DESTROY",
    "SUBMIT",
    "GETEVENTS",
    "CANCEL",
    "SUBMIT_WAIT",
];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let uapi = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../include/uapi");
    let header = uapi.join("linux/kaio.h");
    println!("cargo:rerun-if-changed={}", header.display());
    println!("cargo:rerun-if-changed=build.rs");

    let mut text = String::from("#include <linux/kaio.h>\n");
    text += "#include <linux/time_types.h>\n"; // __kernel_timespec
    for name in IOCTLS {
        text += &format!("static const unsigned long KAIO_IOC_{name} = KAIO_{name};\n");
    }
    let wrapper = out.join("wrapper.h");
    fs::write(&wrapper, text)?;
    let status = Command::new("bindgen")
        .arg(&wrapper)
        .args(["--use-core", "--no-layout-tests", "--no-doc-comments"])
        .args([
            "--generate-cstr",
            "--wrap-unsafe-ops",
            "--no-prepend-enum-name",
        ])
        .args(["--with-derive-default", "--allowlist-item"])
        .arg("(kaio|KAIO|IOCB)_.*|iocb|io_event|__kernel_timespec")
        .arg("--output")
        .arg(out.join("uapi.rs"))
        .arg("--")
        .arg(format!("-I{}", uapi.display()))
        .args(cross_target()?)
        .status()
        .map_err(|e| format!("bindgen: {e}; install it (Debian: package bindgen)"))?;
    if !status.success() {
        return Err(format!("bindgen cannot read {}: {status}", header.display()).into());
    }
    Ok(())
}

/// Returns the option by which clang, inside bindgen, gets the target machine, if that is not the
/// host.
fn cross_target() -> Result<Option<String>, env::VarError> {
    let (target, host) = (env::var("TARGET")?, env::var("HOST")?);
    Ok((target != host).then(|| format!("--target={target}")))
}
