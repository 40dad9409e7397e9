// SPDX-License-Identifier: GPL-2.0

//! Helpers of the programs that measure: errors, files, an idle guest.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub const O_DIRECT: i32 = libc::O_DIRECT;

/// Opens a file with these options. The error names the path.
pub fn open(path: &Path, options: &OpenOptions) -> Result<File> {
    let file = options.open(path);
    file.map_err(|e| format!("{}: {e}", path.display()).into())
}

/// Opens `/dev/kaio`. From now on the frequent calls are made by the quick way, as the libraries make
/// them.
pub fn open_kaio() -> io::Result<File> {
    let device = File::options().read(true).write(true).open("/dev/kaio")?;
    // SAFETY: `device` is an open descriptor of the device.
    unsafe { kaio_sys::ioctl::find_quick_way(device.as_raw_fd()) };
    Ok(device)
}

/// Waits until the CPU is idle. For some seconds after boot the kernel is at work, and all else
/// takes twice as long.
pub fn wait_until_idle() -> Result<()> {
    const TICKS: u64 = 100; // in a second
    let idle = || -> Result<u64> {
        let stat = fs::read_to_string("/proc/stat")?;
        let word = stat.split_whitespace().nth(4);
        Ok(word.ok_or("/proc/stat is empty")?.parse::<u64>()?)
    };
    for _ in 0..60 {
        let before = idle()?;
        thread::sleep(Duration::from_secs(1));
        if idle()? - before >= TICKS * 98 / 100 {
            return Ok(());
        }
    }
    println!("  the guest does not come to rest; the times are not to be trusted");
    Ok(())
}
