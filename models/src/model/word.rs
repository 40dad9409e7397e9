// SPDX-License-Identifier: GPL-2.0

//! The contract of `pure::state::Word`, as the module's own word keeps it (`sys/word.rs`).

use super::{check, Watched};
use crate::{pure::state::Word, sys::word::AtomicWord};
use kernel::sync::Arc;
use loom::thread;

const WRITTEN: u32 = 1;
const LOOKED: u32 = 2;

/// A thread that leaves the word as it is, because of the value that it has loaded or that a failed
/// exchange has found, sees what the thread that stored that value wrote before.
#[test]
fn a_value_that_is_only_looked_at_is_acquired() {
    check(|| {
        let shared = Arc::new((Watched::new(0), AtomicWord::new()));
        shared.1.set(0);
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.0.write(|data| *data = 1);
                shared.1.change(|s| (Some(s | WRITTEN), ()));
            })
        };
        let is_written = shared.1.change(|s| match s & WRITTEN {
            0 => (Some(s | LOOKED), false),
            _ => (None, true),
        });
        if is_written {
            shared.0.read(|data| assert_eq!(*data, 1));
        }
        writer.join().unwrap();
    });
}

/// Of two threads that change the word, the later one sees what the earlier one changed and wrote.
#[test]
fn no_change_is_lost() {
    check(|| {
        let shared = Arc::new((Watched::new(0), AtomicWord::new()));
        shared.1.set(0);
        let enter = |shared: &(Watched<u32>, AtomicWord), flag| {
            // The second thread is alone, since the first one has finished.
            shared.1.change(|s| (Some(s | flag), s)) != 0
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.0.read(|_| ());
                if enter(&shared, 1) {
                    shared.0.write(|data| *data += 1);
                }
            })
        };
        shared.0.read(|_| ());
        if enter(&shared, 2) {
            shared.0.write(|data| *data += 1);
        }
        other.join().unwrap();
        shared
            .0
            .read(|data| assert_eq!(*data, 1, "not one is the second"));
        assert_eq!(shared.1.load(), 3);
    });
}
