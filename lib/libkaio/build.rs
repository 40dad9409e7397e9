// SPDX-License-Identifier: LGPL-2.1-or-later

//! Has `bindgen` read `<aio.h>`, for POSIX AIO: the control block's private fields are as libc's own
//! code has them, and no struct is typed twice.

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
        "#define _GNU_SOURCE\n#include <aio.h>\n#include <dlfcn.h>\n#include <pthread.h>\n#include <signal.h>\n",
    )?;
    let status = Command::new("bindgen")
        .arg(&wrapper)
        .args(["--use-core", "--no-layout-tests", "--no-doc-comments"])
        .args(["--wrap-unsafe-ops", "--generate-cstr"])
        .args(["--no-prepend-enum-name", "--with-derive-default"])
        .args(["--allowlist-type", "aiocb|aioinit|sigevent|siginfo_t"])
        .args(["--allowlist-var", "(AIO|LIO|SIGEV|SI|PTHREAD_CANCEL)_.*"])
        // What the libc crate lacks.
        .args(["--allowlist-function", "dlvsym|pthread_attr_getdetachstate"])
        .args(["--allowlist-function", "pthread_setcanceltype"])
        .arg("--output")
        .arg(out.join("aio.rs"))
        .status()
        .map_err(|e| format!("bindgen: {e}; install it (Debian: package bindgen)"))?;
    if !status.success() {
        return Err(format!("bindgen cannot read <aio.h>: {status}").into());
    }
    Ok(())
}
