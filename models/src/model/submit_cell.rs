// SPDX-License-Identifier: GPL-2.0

//! The cell of a submit call (`sys/task_local.rs`).
//!
//! Invariants: one task at a time is in the cell; what it left there the next one sees; no other task
//! and no interrupt reaches the value.

use super::{check, check_three, Watched};
use crate::sys::{ffi::become_task, task_local::TaskLocal};
use kernel::sync::Arc;
use loom::thread;

type Cell = TaskLocal<Watched<u32>>;

fn cell() -> Arc<Cell> {
    become_task(1);
    let cell = Arc::new(TaskLocal::new(Watched::new(0)));
    assert!(reach(&cell).is_err());
    cell
}

/// Reaches the value, as a driver does within a submit call, and adds to it.
fn reach(cell: &Cell) -> Result<u32, ()> {
    TaskLocal::reach(
        cell,
        |cell| *cell,
        |value, _| {
            value.write(|value| {
                *value += 1;
                *value
            })
        },
    )
    .map_err(|_| ())
}

/// Submits as the task of that address. Returns whether the task got the cell.
fn submit(cell: &Cell, task: usize) -> bool {
    become_task(task);
    let within = cell.enter(|entered| {
        assert!(entered.is_of(cell));
        let first = reach(cell).expect("the value is out of reach");
        let reentered = entered.with((), |_, ()| reach(cell));
        assert_eq!(reentered, Ok(Err(())), "two users of the value");
        assert_eq!(reach(cell), Ok(first + 1));
    });
    within.is_ok()
}

#[test]
fn one_task_after_the_other_is_in_the_cell() {
    check_three(|| {
        let cell = cell();
        let others = [2, 3].map(|task| {
            let cell = cell.clone();
            thread::spawn(move || submit(&cell, task))
        });
        let mine = submit(&cell, 1);
        let entered = others.map(|other| other.join().unwrap());
        assert!(mine || entered[0] || entered[1]);
        // All have left.
        assert!(submit(&cell, 1));
    });
}

#[test]
fn neither_another_task_nor_an_interrupt_reaches_the_value() {
    for task in [0, 2] {
        check(move || {
            let cell = cell();
            let other = {
                let cell = cell.clone();
                thread::spawn(move || {
                    become_task(task);
                    assert!(reach(&cell).is_err());
                    if task == 0 {
                        assert!(cell.enter(|_| ()).is_err());
                    }
                })
            };
            assert!(submit(&cell, 1));
            other.join().unwrap();
        });
    }
}
