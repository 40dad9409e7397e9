// SPDX-License-Identifier: GPL-2.0

//! What the tools themselves can see: the classic little programs of memory models.
//!
//! A model that passes says nothing if loom cannot show the fault. So here a missing ordering must be
//! noticed, and one that is there must be enough.

use kernel::sync::{
    atomic::{with_barriers, Acquire, AnyOrder, Atomic, Full, Relaxed, Release},
    Arc,
};
use loom::thread;

use super::Watched;

/// One thread writes data and then a flag; the other one sees the flag and reads the data.
fn message<S: AnyOrder + 'static, L: AnyOrder + 'static>(store: fn() -> S, load: fn() -> L) {
    loom::model(move || {
        let shared = Arc::new((Watched::new(0), Atomic::new(0u32)));
        shared.1.load(Relaxed);
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.0.write(|data| *data = 1);
                shared.1.xchg(1, store());
            })
        };
        if shared.1.fetch_add(0, load()) == 1 {
            shared.0.read(|data| assert_eq!(*data, 1));
        }
        writer.join().unwrap();
    });
}

#[test]
fn release_and_acquire_pass_a_message() {
    message(|| Release, || Acquire);
    message(|| Full, || Full);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_store_does_not_pass_a_message() {
    message(|| Relaxed, || Acquire);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_relaxed_load_does_not_take_a_message() {
    message(|| Release, || Relaxed);
}

/// Each of two threads sets its word, and then looks at that of the other one. Fails if neither sees the
/// other.
fn look_at_each_other<S: AnyOrder + 'static>(order: fn() -> S) {
    loom::model(move || {
        let words = Arc::new([Atomic::new(0u32), Atomic::new(0u32)]);
        words[0].load(Relaxed);
        words[1].load(Relaxed);
        let other = {
            let words = words.clone();
            thread::spawn(move || {
                words[0].xchg(1, order());
                words[1].load(Relaxed)
            })
        };
        words[1].xchg(1, order());
        let seen = words[0].load(Relaxed);
        assert!(seen + other.join().unwrap() > 0, "neither sees the other");
    });
}

#[test]
fn a_full_operation_is_a_barrier() {
    with_barriers(|| look_at_each_other(|| Full));
}

#[test]
#[should_panic(expected = "neither sees the other")]
fn release_is_no_barrier() {
    look_at_each_other(|| Release);
}

#[test]
#[should_panic(expected = "neither sees the other")]
fn without_barriers_a_full_operation_is_less_than_the_kernels() {
    look_at_each_other(|| Full);
}
