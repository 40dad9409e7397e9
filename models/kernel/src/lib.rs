// SPDX-License-Identifier: GPL-2.0

//! What the files of the module that are checked in user space use of the kernel crate.
//!
//! The names and the signatures are those of the kernel; behind them are loom and std.

pub mod sync;

/// What KUnit suites import.
pub mod prelude {
    pub use macros::kunit_tests;

    /// The kernel's `Result`. No suite here returns another error than a number.
    pub type Result<T = (), E = i32> = core::result::Result<T, E>;

    /// The error of a wrong argument.
    pub const EINVAL: i32 = -22;
}

/// The size of pages.
pub mod page {
    /// The size of a page of x86-64.
    pub const PAGE_SIZE: usize = 4096;
}

/// Types that stand for a rule.
pub mod types {
    /// A type that is neither `Send` nor `Sync`.
    pub type NotThreadSafe = core::marker::PhantomData<*mut ()>;

    /// The one value of [`NotThreadSafe`].
    #[allow(non_upper_case_globals)]
    pub const NotThreadSafe: NotThreadSafe = core::marker::PhantomData;
}

/// Files, as far as leases know them.
pub mod bindings {
    /// An open file.
    #[allow(non_camel_case_types)]
    pub struct file {
        /// What its release does.
        pub release: Box<dyn Fn() + Send + Sync>,
    }

    /// Gives up the last reference to a file, and so releases it.
    ///
    /// # Safety
    ///
    /// The caller ensures that `file` points to a [`file`] during the call.
    pub unsafe fn fput(file: *mut file) {
        // SAFETY: the caller ensures that the pointer is valid.
        (unsafe { &*file }.release)();
    }
}
