// SPDX-License-Identifier: GPL-2.0

//! Suite `kaio_task_cell`: who finds what is in the cell.

use kernel::prelude::*;

#[kunit_tests(kaio_task_cell)]
mod suite {
    use crate::sys::{
        queue::Owned,
        task_cell::TaskCell, //
    };
    use kernel::{
        prelude::*,
        sync::{
            atomic::{
                Atomic,
                Relaxed, //
            },
            Arc, //
        },
    };

    struct World {
        cell: TaskCell<u32>,
        /// What somebody else found out: 0 if he was not there.
        seen: Atomic<u32>,
    }

    impl World {
        fn new() -> Result<Arc<Self>> {
            let world = Self {
                cell: TaskCell::new(1),
                seen: Atomic::new(0),
            };
            Ok(Arc::new(world, GFP_KERNEL)?)
        }
    }

    /// Adds to what is in the cell, as who is called from deep below; the sum, if it is to be found.
    fn add(cell: &TaskCell<u32>, more: u32) -> Option<u32> {
        let added = TaskCell::reach(
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
    fn it_is_found_within() -> Result {
        let world = World::new()?;
        assert_eq!(add(&world.cell, 1), None);
        let within = world.cell.enter(|_| add(&world.cell, 2));
        assert_eq!(within.ok(), Some(Some(3)));
        assert_eq!(add(&world.cell, 4), None);
        let again = world
            .cell
            .enter(|entered| entered.with((), |value, ()| *value));
        assert_eq!(again.ok(), Some(Ok(3)));
        Ok(())
    }

    #[test]
    fn nobody_has_it_twice() -> Result {
        let world = World::new()?;
        let cell = &world.cell;
        // By who has it, by who reaches it, and by who enters it.
        let twice = cell.enter(|entered| {
            let with = entered.with((), |_, ()| entered.with((), |_, ()| ()).is_err());
            let reach = entered.with((), |_, ()| add(cell, 1).is_none());
            let reached = TaskCell::reach(cell, |cell| *cell, |_, cell| add(cell, 1).is_none());
            let enter = cell.enter(|_| ()).is_err();
            (with, reach, reached.ok(), enter)
        });
        assert_eq!(twice.ok(), Some((Ok(true), Ok(true), Some(true), true)));
        // And afterwards it is as before.
        assert_eq!(cell.enter(|_| add(cell, 1)).ok(), Some(Some(2)));
        Ok(())
    }

    #[test]
    fn it_knows_its_own() -> Result {
        let (world, other) = (World::new()?, World::new()?);
        let of = world
            .cell
            .enter(|entered| (entered.is_of(&world.cell), entered.is_of(&other.cell)));
        assert_eq!(of.ok(), Some((true, false)));
        Ok(())
    }

    #[test]
    fn another_task_does_not_find_it() -> Result {
        let world = World::new()?;
        let workers = Owned::new(c"kaio-kunit", 0, 1)?;
        let theirs = world.clone();
        let look = move || {
            let reached = add(&theirs.cell, 1).is_some();
            let entered = theirs.cell.enter(|_| ()).is_ok();
            theirs
                .seen
                .store(1 + 2 * u32::from(reached) + 4 * u32::from(entered), Relaxed);
        };
        let looked = world.cell.enter(|_| {
            workers.queue().try_spawn(GFP_KERNEL, look)?;
            workers.flush();
            Ok::<u32, Error>(world.seen.load(Relaxed))
        });
        assert_eq!(looked.ok().transpose()?, Some(1));
        Ok(())
    }
}
