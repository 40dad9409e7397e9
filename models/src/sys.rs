// SPDX-License-Identifier: GPL-2.0

//! The files of `rust/sys` that are checked with their memory orderings.

#[path = "../../rust/sys/lease.rs"]
pub(crate) mod lease;
#[path = "../../rust/sys/task_local.rs"]
pub(crate) mod task_local;
#[path = "../../rust/sys/word.rs"]
pub(crate) mod word;

/// What these files call in C.
pub(crate) mod ffi {
    #[cfg(feature = "loom")]
    use loom::thread_local;
    use std::cell::Cell;
    #[cfg(not(feature = "loom"))]
    use std::thread_local;

    thread_local! {
        static TASK: Cell<usize> = Cell::new(0);
    }

    /// Makes the current thread the task of that address, or an interrupt if it is 0.
    pub(crate) fn become_task(task: usize) {
        TASK.with(|current| current.set(task));
    }

    /// Returns the address of the current task, or 0 in an interrupt.
    ///
    /// # Safety
    ///
    /// There is no requirement.
    pub(crate) unsafe fn kaio_current_if_task() -> usize {
        TASK.with(Cell::get)
    }
}
