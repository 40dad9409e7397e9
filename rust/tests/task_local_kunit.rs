// SPDX-License-Identifier: GPL-2.0

//! Suite `kaio_task_local`: only the task that entered a cell reaches the value, one user at a
//! time.

use kernel::prelude::*;

#[kunit_tests(kaio_task_local)]
mod suite {
    use crate::sys::{
        queue::Owned,
        task_local::TaskLocal, //
    };
    use kernel::{
        prelude::*,
        sync::{
            Arc,
            SetOnce, //
        },
    };

    struct Fixture {
        cell: TaskLocal<u32>,
        /// Tells of another task that has run: it has reached the value, and has entered the cell.
        seen: SetOnce<(bool, bool)>,
    }

    impl Fixture {
        fn new() -> Result<Arc<Self>> {
            let fixture = Self {
                cell: TaskLocal::new(1),
                seen: SetOnce::new(),
            };
            Ok(Arc::new(fixture, GFP_KERNEL)?)
        }
    }

    /// Adds to the value in the cell, as a function deep below `enter` does. Returns the sum, or
    /// `None` if the value cannot be reached.
    fn add(cell: &TaskLocal<u32>, more: u32) -> Option<u32> {
        let added = TaskLocal::reach(
            (cell, more),
            |with| with.0,
            |value, (_, more)| {
                *value += more;
                *value
            },
        );
        added.ok()
    }

    #[test]
    fn the_value_is_reachable_while_entered() -> Result {
        let fixture = Fixture::new()?;
        assert_eq!(add(&fixture.cell, 1), None);
        let within = fixture.cell.enter(|_| add(&fixture.cell, 2));
        assert_eq!(within.ok(), Some(Some(3)));
        assert_eq!(add(&fixture.cell, 4), None);
        let again = fixture
            .cell
            .enter(|entered| entered.with((), |value, ()| *value));
        assert_eq!(again.ok(), Some(Ok(3)));
        Ok(())
    }

    #[test]
    fn the_value_has_one_user_at_a_time() -> Result {
        let fixture = Fixture::new()?;
        let cell = &fixture.cell;
        // The second use is tried through `with`, through `reach` and through `enter`.
        let in_use = cell.enter(|entered| {
            let with = entered.with((), |_, ()| entered.with((), |_, ()| ()).is_err());
            let reach = entered.with((), |_, ()| add(cell, 1).is_none());
            let reached = TaskLocal::reach(cell, |cell| *cell, |_, cell| add(cell, 1).is_none());
            let enter = cell.enter(|_| ()).is_err();
            (with, reach, reached.ok(), enter)
        });
        assert_eq!(in_use.ok(), Some((Ok(true), Ok(true), Some(true), true)));
        // Afterwards the value can be used again.
        assert_eq!(cell.enter(|_| add(cell, 1)).ok(), Some(Some(2)));
        Ok(())
    }

    #[test]
    fn entered_knows_its_cell() -> Result {
        let (fixture, other) = (Fixture::new()?, Fixture::new()?);
        let of = fixture
            .cell
            .enter(|entered| (entered.is_of(&fixture.cell), entered.is_of(&other.cell)));
        assert_eq!(of.ok(), Some((true, false)));
        Ok(())
    }

    #[test]
    fn another_task_cannot_reach_the_value() -> Result {
        let fixture = Fixture::new()?;
        let workers = Owned::new(c"kaio-kunit", 0, 1)?;
        let theirs = fixture.clone();
        let look = move || {
            let reached = add(&theirs.cell, 1).is_some();
            let entered = theirs.cell.enter(|_| ()).is_ok();
            theirs.seen.populate((reached, entered));
        };
        let looked = fixture.cell.enter(|_| {
            workers.queue().try_spawn(GFP_KERNEL, look)?;
            workers.flush();
            Ok::<_, Error>(fixture.seen.copy())
        });
        assert_eq!(looked.ok().transpose()?, Some(Some((false, false))));
        Ok(())
    }
}
