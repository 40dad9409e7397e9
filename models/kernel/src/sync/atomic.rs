// SPDX-License-Identifier: GPL-2.0

//! The kernel's atomics, on those of loom or of std.
//!
//! # Orderings
//!
//! `Relaxed`, `Acquire` and `Release` are those of C11. The kernel's `Full` is more than C11 has for
//! one access: a successful operation has a full memory barrier before it and one after it, so that it
//! also orders an earlier store of another word against a later load. Here `Full` is less: acquire and
//! release together. What a model shows with that holds in the kernel all the more. Within
//! [`with_barriers`] a successful `Full` operation is followed by a sequentially consistent fence, for
//! the few models that rely on a barrier; each says why.
//!
//! An exchange that fails orders nothing, as in the kernel.
//!
//! loom cannot show one thing that the kernel's memory model allows: a load that is delayed after a
//! later store of another word by the same thread.

#[cfg(feature = "loom")]
use loom::sync::atomic::{fence, AtomicU64};
#[cfg(not(feature = "loom"))]
use std::sync::atomic::{fence, AtomicU64};
use std::{cell::Cell, sync::atomic::Ordering, sync::OnceLock};

std::thread_local! {
    /// loom runs all threads of a model in the thread of the test.
    static BARRIERS: Cell<bool> = const { Cell::new(false) };
}

/// Runs a model in which [`Full`] operations have a barrier behind them.
pub fn with_barriers(model: impl FnOnce()) {
    BARRIERS.set(true);
    model();
    BARRIERS.set(false);
}

/// The ordering of a read-modify-write operation.
pub trait AnyOrder {
    /// The ordering of C11.
    const ORDER: Ordering;

    /// Does what follows a successful operation.
    fn after() {}
}

/// The ordering of a load.
pub trait AcquireOrRelaxed: AnyOrder {}
/// The ordering of a store.
pub trait ReleaseOrRelaxed: AnyOrder {}

/// No ordering.
pub struct Relaxed;
/// Later accesses stay behind this one.
pub struct Acquire;
/// Earlier accesses stay before this one.
pub struct Release;
/// Accesses stay on their side.
pub struct Full;

impl AnyOrder for Relaxed {
    const ORDER: Ordering = Ordering::Relaxed;
}
impl AnyOrder for Acquire {
    const ORDER: Ordering = Ordering::Acquire;
}
impl AnyOrder for Release {
    const ORDER: Ordering = Ordering::Release;
}
impl AnyOrder for Full {
    const ORDER: Ordering = Ordering::AcqRel;

    fn after() {
        if BARRIERS.get() {
            fence(Ordering::SeqCst);
        }
    }
}

impl AcquireOrRelaxed for Relaxed {}
impl AcquireOrRelaxed for Acquire {}
impl ReleaseOrRelaxed for Relaxed {}
impl ReleaseOrRelaxed for Release {}

/// A value that fits into an atomic.
pub trait Value: Copy {
    /// Returns the value as a number.
    fn number(self) -> u64;
    /// Returns the value of a number.
    fn of(number: u64) -> Self;
}

impl Value for u32 {
    fn number(self) -> u64 {
        self.into()
    }
    fn of(number: u64) -> Self {
        number as u32
    }
}

impl Value for usize {
    fn number(self) -> u64 {
        self as u64
    }
    fn of(number: u64) -> Self {
        number as usize
    }
}

impl Value for bool {
    fn number(self) -> u64 {
        self.into()
    }
    fn of(number: u64) -> Self {
        number != 0
    }
}

/// An atomic value.
///
/// loom's atomics are no constants, and the kernel's are. So this one is made at its first use. A model
/// uses each atomic once before it starts a thread that does.
pub struct Atomic<T> {
    initial: T,
    word: OnceLock<AtomicU64>,
}

/// A flag.
pub type AtomicFlag = Atomic<bool>;

impl<T: Value> Atomic<T> {
    /// Makes an atomic.
    pub const fn new(initial: T) -> Self {
        Self {
            initial,
            word: OnceLock::new(),
        }
    }

    fn word(&self) -> &AtomicU64 {
        self.word
            .get_or_init(|| AtomicU64::new(self.initial.number()))
    }

    /// Loads the value.
    pub fn load<O: AcquireOrRelaxed>(&self, _: O) -> T {
        T::of(self.word().load(O::ORDER))
    }

    /// Stores a value.
    pub fn store<O: ReleaseOrRelaxed>(&self, value: T, _: O) {
        self.word().store(value.number(), O::ORDER);
    }

    /// Replaces the value and returns the one before.
    pub fn xchg<O: AnyOrder>(&self, value: T, _: O) -> T {
        let old = self.word().swap(value.number(), O::ORDER);
        O::after();
        T::of(old)
    }

    /// Replaces `old` by `new`. Returns the value that was found as an error if it is another.
    pub fn cmpxchg<O: AnyOrder>(&self, old: T, new: T, _: O) -> Result<T, T> {
        let found =
            self.word()
                .compare_exchange(old.number(), new.number(), O::ORDER, Ordering::Relaxed);
        if found.is_ok() {
            O::after();
        }
        found.map(T::of).map_err(T::of)
    }

    /// Adds to the value.
    pub fn add<O: AnyOrder>(&self, more: T, order: O) {
        self.fetch_add(more, order);
    }

    /// Adds to the value and returns the one before.
    pub fn fetch_add<O: AnyOrder>(&self, more: T, _: O) -> T {
        let old = self.word().fetch_add(more.number(), O::ORDER);
        O::after();
        T::of(old)
    }

    /// Subtracts from the value and returns the one before.
    pub fn fetch_sub<O: AnyOrder>(&self, less: T, _: O) -> T {
        let old = self.word().fetch_sub(less.number(), O::ORDER);
        O::after();
        T::of(old)
    }
}
