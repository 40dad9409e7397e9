// SPDX-License-Identifier: GPL-2.0

//! The sysctls `/proc/sys/fs/kaio-*` (`aio_sysctls` of fs/aio.c), and the module parameters that
//! are the same numbers.
//!
//! The mutex of `SOURCES` guards the list of open files. It is taken in process context, and no
//! lock of kaio is taken under it.

use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            AtomicFlag,
            Full, //
        },
        global_lock,
        Arc, //
    },
};

use super::ffi;

/// What `fs.kaio-stat` shows: the numbers of requests since the module was loaded.
pub(crate) use ffi::kaio_stat as Sum;

/// An object that contributes to [`Sum`].
pub(crate) trait Source: Send + Sync + 'static {
    /// Adds the numbers of this object.
    fn add_to(&self, sum: &mut Sum);
}

struct Sources {
    /// The numbers of files that have been closed.
    closed: Option<&'static dyn Source>,
    /// The open files.
    open: KVVec<Arc<dyn Source>>,
}

global_lock! {
    // SAFETY: `Sysctls::new` initialises this once, as `MADE` ensures. The module makes its sysctls
    // before the device, so there is no open file yet that could call `add` or `remove`.
    unsafe(uninit) static SOURCES: Mutex<Sources> = Sources {
        closed: None,
        open: KVVec::new(),
    };
}

/// Adds a file that is opened. Returns `ENOMEM` if there is no memory.
pub(crate) fn add(source: Arc<dyn Source>) -> Result {
    SOURCES.lock().open.push(source, GFP_KERNEL)?;
    Ok(())
}

/// Removes a file that is closed. `hand_over` adds its numbers to those of closed files. As this
/// happens under the mutex, each reader counts the file once.
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

/// Adds the numbers of all files to `sum`.
///
/// # Safety
///
/// The caller ensures that `sum` is initialised and that no other code uses it during the call.
unsafe extern "C" fn read_stat(sum: *mut Sum) {
    // SAFETY: the caller, `kaio_stat_handler()` of the shim, passes its local variable.
    let sum = unsafe { &mut *sum };
    let sources = SOURCES.lock();
    if let Some(closed) = sources.closed {
        closed.add_to(sum);
    }
    for source in sources.open.iter() {
        source.add_to(sum);
    }
}

/// The sysctls have been made, which happens once while the module is loaded.
static MADE: AtomicFlag = AtomicFlag::new(false);

/// The sysctls, while they exist. There is one such value.
///
/// # Invariants
///
/// The pointer is that of a table that is registered, and that only this value unregisters.
pub(crate) struct Sysctls(*mut bindings::ctl_table_header);

// SAFETY: any task may unregister the table.
unsafe impl Send for Sysctls {}
// SAFETY: no method takes a shared reference to a `Sysctls`.
unsafe impl Sync for Sysctls {}

impl Sysctls {
    /// Makes the sysctls. `nr` is the number that `fs.kaio-nr` shows; `closed` has the numbers of
    /// closed files for `fs.kaio-stat`. Returns `EBUSY` if they were made before, and `ENOMEM` if
    /// they cannot be registered.
    pub(crate) fn new(nr: &'static Atomic<u64>, closed: &'static dyn Source) -> Result<Self> {
        if MADE.xchg(true, Full) {
            return Err(EBUSY);
        }
        // SAFETY: only the first call gets here, as `MADE` says, and no other function has used the
        // mutex: there are neither open files nor sysctls.
        unsafe { SOURCES.init() };
        SOURCES.lock().closed = Some(closed);
        // SAFETY: `nr` is static, and C only reads it, by READ_ONCE(). The mutex that `read_stat`
        // locks is initialised, and the callers of `read_stat` are in the shim.
        let header = unsafe { ffi::kaio_sysctl_register(nr.as_ptr(), Some(read_stat)) };
        if header.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: the table was registered just now.
        Ok(Self(header))
    }
}

impl Drop for Sysctls {
    fn drop(&mut self) {
        // SAFETY: by the type's invariant the table is registered, and this unregisters it once.
        unsafe { bindings::unregister_sysctl_table(self.0) };
        // There are no open files any more. The memory of their list is freed here, since no static
        // is dropped.
        SOURCES.lock().open = KVVec::new();
    }
}

/// Returns `fs.kaio-max-nr`, which is the module parameter `max_nr`: the number of requests that
/// all contexts together may hold.
pub(crate) fn max_nr() -> u64 {
    // SAFETY: the function reads a variable by READ_ONCE(), and has no requirement.
    unsafe { ffi::kaio_param_max_nr() }
}

/// Returns `fs.kaio-max-user-nr`, which is the module parameter `max_user_nr`: the number of
/// requests that the contexts of one user may hold.
pub(crate) fn max_user_nr() -> u64 {
    // SAFETY: the function reads a variable by READ_ONCE(), and has no requirement.
    unsafe { ffi::kaio_param_max_user_nr() }
}
