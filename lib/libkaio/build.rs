// SPDX-License-Identifier: LGPL-2.1-or-later

//! Runs `bindgen` on `<aio.h>` for POSIX AIO, so that no struct is defined twice and the control
//! block's private fields are those of libc's own code.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let wrapper = out.join("aio.h");
    println!("cargo:rerun-if-changed=build.rs");
    fs::write(
        &wrapper,
        "#define _GNU_SOURCE\n#include <aio.h>\n#include <pthread.h>\n#include <signal.h>\n",
    )?;
    let status = Command::new("bindgen")
        .arg(&wrapper)
        .args(["--use-core", "--no-layout-tests", "--no-doc-comments"])
        .args(["--wrap-unsafe-ops", "--generate-cstr"])
        .args(["--no-prepend-enum-name", "--with-derive-default"])
        .args(["--allowlist-type", "aiocb|aioinit|sigevent|siginfo_t"])
        .args(["--allowlist-var", "(AIO|LIO|SIGEV|SI|PTHREAD_CANCEL)_.*"])
        // The libc crate lacks these functions.
        .args(["--allowlist-function", "pthread_attr_getdetachstate"])
        .args(["--allowlist-function", "pthread_setcanceltype"])
        .arg("--output")
        .arg(out.join("aio.rs"))
        .arg("--")
        .args(cross_target()?)
        .status()
        .map_err(|e| format!("bindgen: {e}; install it (Debian: package bindgen)"))?;
    if !status.success() {
        return Err(format!("bindgen cannot read <aio.h>: {status}").into());
    }
    Ok(())
}

/// Returns the option by which clang, inside bindgen, gets the target machine, if that is not the
/// host.
fn cross_target() -> Result<Option<String>, env::VarError> {
    let (target, host) = (env::var("TARGET")?, env::var("HOST")?);
    Ok((target != host).then(|| format!("--target={target}")))
}
