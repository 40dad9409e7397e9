// SPDX-License-Identifier: GPL-2.0

//! Has `bindgen` read the header of io_uring: no struct is typed twice. The structs of kaio and of
//! native AIO are those of kaio-sys.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let wrapper = out.join("wrapper.h");
    fs::write(&wrapper, "#include <linux/io_uring.h>\n")?;
    let status = Command::new("bindgen")
        .arg(&wrapper)
        .args(["--use-core", "--no-layout-tests", "--no-doc-comments"])
        .args(["--wrap-unsafe-ops", "--no-prepend-enum-name"])
        .args(["--with-derive-default", "--allowlist-item"])
        .arg("(io_uring|IORING)_.*")
        .arg("--output")
        .arg(out.join("io_uring.rs"))
        .status()
        .map_err(|e| format!("bindgen: {e}; install it (Debian: package bindgen)"))?;
    if !status.success() {
        return Err(format!("bindgen cannot read linux/io_uring.h: {status}").into());
    }
    Ok(())
}
