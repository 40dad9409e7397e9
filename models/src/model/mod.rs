// SPDX-License-Identifier: GPL-2.0

//! Models: a few threads on the module's state machines, in every interleaving.

mod cancel_table;
mod leases;
mod litmus;
mod promise;
mod request;
mod ring;
mod run_list;
mod submit_cell;
mod wait_queue;
mod word;

use kernel::sync::Arc;
use loom::{cell::UnsafeCell, model::Builder, thread};
use std::sync::atomic::{AtomicU64, Ordering};

/// A value that one thread at a time may use. loom reports a race, which is an access that the orderings
/// of the atomics do not put before or after one that changes the value.
struct Watched<T>(UnsafeCell<T>);

// SAFETY: loom runs one thread at a time, and reports a race before the access.
unsafe impl<T: Send> Sync for Watched<T> {}

impl<T> Watched<T> {
    fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Changes the value.
    fn write<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: no other thread runs during `f`, which makes no access that loom knows.
        self.0.with_mut(|value| f(unsafe { &mut *value }))
    }

    /// Looks at the value.
    fn read<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        // SAFETY: no other thread runs during `f`, which makes no access that loom knows.
        self.0.with(|value| f(unsafe { &*value }))
    }
}

/// Starts a thread that does something with an object of the model.
fn with<O: Send + Sync + 'static, T: 'static>(
    object: &Arc<O>,
    f: impl FnOnce(&O) -> T + 'static,
) -> thread::JoinHandle<T> {
    let object = object.clone();
    thread::spawn(move || f(&object))
}

/// Runs a model in every interleaving.
fn check(model: impl Fn() + Send + Sync + 'static) {
    run(None, model);
}

/// Runs a model of three threads in every interleaving with a bounded number of preemptions, in which a
/// thread that could go on gives way to another one. The bound is KAIO_PREEMPTIONS.
fn check_three(model: impl Fn() + Send + Sync + 'static) {
    let bound = std::env::var("KAIO_PREEMPTIONS").map_or(4, |bound| bound.parse().unwrap());
    run(Some(bound), model);
}

fn run(preemption_bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let runs = std::sync::Arc::new(AtomicU64::new(0));
    let mut builder = Builder::new();
    builder.preemption_bound = preemption_bound;
    let counter = runs.clone();
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    println!("{name}: {} executions", runs.load(Ordering::Relaxed));
}
