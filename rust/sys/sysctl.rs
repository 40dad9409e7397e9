// SPDX-License-Identifier: GPL-2.0

//! `/proc/sys/fs/kaio-*`, and the module parameters that are the same numbers.

use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::Atomic,
        global_lock,
        Arc, //
    },
};

use super::ffi;

/// What `fs.kaio-stat` shows: requests since the module was loaded.
pub(crate) use ffi::kaio_stat as Sum;

/// What has a part in [`Sum`].
pub(crate) trait Source: Send + Sync + 'static {
    fn add_to(&self, sum: &mut Sum);
}

struct Sources {
    /// What open files did that are closed.
    closed: Option<&'static dyn Source>,
    open: KVVec<Arc<dyn Source>>,
}

global_lock! {
    // SAFETY: `Sysctls::new` initialises it, when there is no open file and no sysctl yet.
    unsafe(uninit) static SOURCES: Mutex<Sources> = Sources {
        closed: None,
        open: KVVec::new(),
    };
}

/// A file is opened. `ENOMEM`.
pub(crate) fn add(source: Arc<dyn Source>) -> Result {
    SOURCES.lock().open.push(source, GFP_KERNEL)?;
    Ok(())
}

/// It is closed: `hand_over` adds its part to that of closed files. Nobody sees it in both, or in none.
pub(crate) fn remove<S: Source>(source: &S, hand_over: impl FnOnce()) {
    let mut sources = SOURCES.lock();
    let found = sources
        .open
        .iter()
        .position(|entry| core::ptr::addr_eq(Arc::as_ptr(entry), source));
    let entry = found.and_then(|index| sources.open.remove(index).ok());
    hand_over();
    drop(sources);
    drop(entry);
}

/// # Safety
///
/// For the shim: `sum` can be written, and is nobody else's.
unsafe extern "C" fn read_stat(sum: *mut Sum) {
    // SAFETY: the shim promises that.
    let sum = unsafe { &mut *sum };
    let sources = SOURCES.lock();
    if let Some(closed) = sources.closed {
        closed.add_to(sum);
    }
    for source in sources.open.iter() {
        source.add_to(sum);
    }
}

/// The sysctls, while they exist. There is one.
pub(crate) struct Sysctls(*mut bindings::ctl_table_header);

// SAFETY: may be unregistered by any task.
unsafe impl Send for Sysctls {}
// SAFETY: nothing can be done with a shared one.
unsafe impl Sync for Sysctls {}

impl Sysctls {
    /// `nr` is what `fs.kaio-nr` shows; `closed` has the part of closed files in `fs.kaio-stat`. Called
    /// once, when the module is loaded.
    pub(crate) fn new(nr: &'static Atomic<u64>, closed: &'static dyn Source) -> Result<Self> {
        // SAFETY: once, by this function's contract.
        unsafe { SOURCES.init() };
        SOURCES.lock().closed = Some(closed);
        // SAFETY: `nr` lives on, and is only read; the function may be called from now on.
        let header = unsafe { ffi::kaio_sysctl_register(nr.as_ptr(), Some(read_stat)) };
        if header.is_null() {
            return Err(ENOMEM);
        }
        Ok(Self(header))
    }
}

impl Drop for Sysctls {
    fn drop(&mut self) {
        // SAFETY: `new` registered them.
        unsafe { bindings::unregister_sysctl_table(self.0) };
        // Of open files there are none, but their room: nobody drops a static.
        SOURCES.lock().open = KVVec::new();
    }
}

/// `fs.kaio-max-nr`, module parameter `max_nr`: requests that all contexts may hold.
pub(crate) fn max_nr() -> u64 {
    // SAFETY: reads a variable.
    unsafe { ffi::kaio_param_max_nr() }
}

/// `fs.kaio-max-user-nr`, module parameter `max_user_nr`: those of one user.
pub(crate) fn max_user_nr() -> u64 {
    // SAFETY: reads a variable.
    unsafe { ffi::kaio_param_max_user_nr() }
}
