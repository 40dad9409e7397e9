// SPDX-License-Identifier: GPL-2.0

//! Suite `kaio_retry`: requests of a mock operation, and who may end them.

use kernel::prelude::*;

#[kunit_tests(kaio_retry)]
pub(super) mod suite {
    use crate::sys::{
        file::File,
        lists::{
            Index,
            Next,
            Order,
            RunList, //
        },
        provider::Provided,
        queue::Owned,
        request::{
            Active,
            Blank,
            Pool,
            Prepared,
            Queued,
            Request,
            Shelf,
            Stranger, //
        },
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
        workqueue::Queue,
    };

    /// What happened.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(in crate::tests) struct Seen {
        pub(in crate::tests) kicked: u32,
        pub(in crate::tests) retried: u32,
        pub(in crate::tests) completed: u32,
        pub(in crate::tests) cancelled: u32,
    }

    #[pin_data]
    pub(in crate::tests) struct World {
        #[pin]
        pub(in crate::tests) index: Index<Mock>,
        #[pin]
        order: Order<Mock>,
        #[pin]
        run_list: RunList<Mock>,
        #[pin]
        pool: Pool<Mock>,
        workers: Owned,
        kicked: Atomic<u32>,
        retried: Atomic<u32>,
        completed: Atomic<u32>,
        cancelled: Atomic<u32>,
    }

    impl World {
        pub(in crate::tests) fn new() -> Result<Arc<Self>> {
            let index = Index::new(8)?;
            let order = Order::new(8)?;
            let pool = Pool::new(1)?;
            let workers = Owned::new(c"kaio-kunit", 0, 1)?;
            Arc::pin_init(
                pin_init!(Self {
                    index <- index,
                    order <- order,
                    run_list <- RunList::new(),
                    pool <- pool,
                    workers,
                    kicked: Atomic::new(0),
                    retried: Atomic::new(0),
                    completed: Atomic::new(0),
                    cancelled: Atomic::new(0),
                }),
                GFP_KERNEL,
            )
        }

        fn request(this: &Arc<Self>, key: u64) -> Result<Active<Mock>> {
            Self::provided(this, key, None)
        }

        /// One that another module drives.
        pub(in crate::tests) fn provided(
            this: &Arc<Self>,
            key: u64,
            provider: Option<Provided>,
        ) -> Result<Active<Mock>> {
            let mock = init!(Mock {
                file: File::none(),
                world: this.clone(),
                provider,
            });
            let blank = match this.pool.take(&mut Shelf::new(), 1) {
                Some(blank) => blank,
                None => Blank::new()?,
            };
            Ok(Prepared::new(key, blank, mock).start())
        }

        pub(in crate::tests) fn seen(&self) -> Seen {
            self.workers.flush();
            Seen {
                kicked: self.kicked.load(Relaxed),
                retried: self.retried.load(Relaxed),
                completed: self.completed.load(Relaxed),
                cancelled: self.cancelled.load(Relaxed),
            }
        }

        /// The kick handler: the token of who is first on the run list.
        pub(in crate::tests) fn next(&self) -> Option<Active<Mock>> {
            self.run_list.pop(Next::Run).and_then(Queued::claim)
        }
    }

    pub(in crate::tests) struct Mock {
        file: File,
        world: Arc<World>,
        pub(in crate::tests) provider: Option<Provided>,
    }

    pub(in crate::tests) fn end(active: Active<Mock>) {
        active.view().world.completed.add(1u32, Relaxed);
        finish(active);
    }

    fn finish(active: Active<Mock>) {
        if let Some(provider) = &active.view().provider {
            provider.end();
        }
        active.finish();
    }

    impl Request for Mock {
        fn cancelled(active: Active<Self>) {
            active.view().world.cancelled.add(1u32, Relaxed);
            finish(active);
        }

        fn driver_done(active: Active<Self>, _ret: isize) {
            end(active);
        }

        fn kicked(queued: Queued<Self>) {
            queued.view().world.kicked.add(1u32, Relaxed);
            if queued.in_order() {
                queued.enqueue();
                return;
            }
            let world = queued.view().world.clone();
            let _ = world.run_list.push(queued, Next::Run);
        }

        fn retry(active: Active<Self>) {
            active.view().world.retried.add(1u32, Relaxed);
            if !active.is_cancelled() {
                end(active);
            }
        }

        type Home = Arc<World>;

        fn home(&self) -> Arc<World> {
            self.world.clone()
        }

        fn pool(home: &Arc<World>) -> &Pool<Self> {
            &home.pool
        }

        fn cancel_elsewhere(&self) -> Option<bool> {
            match &self.provider {
                Some(provider) => provider.cancel(),
                None => Some(false),
            }
        }

        fn file(&self) -> &File {
            &self.file
        }

        fn index(&self) -> &Index<Self> {
            &self.world.index
        }

        fn order(&self) -> &Order<Self> {
            &self.world.order
        }

        fn run_list(&self) -> &RunList<Self> {
            &self.world.run_list
        }

        fn workers(&self) -> &Queue {
            self.world.workers.queue()
        }
    }

    #[test]
    fn a_token_that_is_dropped_cancels() -> Result {
        let world = World::new()?;
        drop(World::request(&world, 1)?);
        let want = Seen {
            cancelled: 1,
            ..Seen::default()
        };
        assert_eq!(world.seen(), want);
        Ok(())
    }

    #[test]
    fn a_kick_before_the_request_parks_is_not_lost() -> Result {
        let world = World::new()?;
        let active = World::request(&world, 1)?;
        Stranger::of(&active).kick();
        let back = active.park().err();
        assert!(back.is_some());
        assert_eq!(world.seen().kicked, 0);
        back.into_iter().for_each(end);
        assert_eq!(world.seen().completed, 1);
        Ok(())
    }

    #[test]
    fn a_kick_of_a_parked_request_runs_it_once() -> Result {
        let world = World::new()?;
        let active = World::request(&world, 1)?;
        let stranger = Stranger::of(&active);
        assert!(active.park().is_ok());
        stranger.kick();
        stranger.kick();
        assert_eq!(world.seen().kicked, 1);
        let active = world.next();
        assert!(active.is_some());
        assert!(world.next().is_none());
        // During the run: it must not park now, but once it has seen it, it may.
        stranger.kick();
        let active = active.and_then(|active| active.park().err());
        assert!(active.is_some());
        let parked = active.map(|active| active.park().is_ok());
        assert_eq!(parked, Some(true));
        stranger.kick();
        world.next().into_iter().for_each(end);
        // After its end.
        stranger.kick();
        assert!(world.next().is_none());
        let want = Seen {
            kicked: 2,
            completed: 1,
            ..Seen::default()
        };
        assert_eq!(world.seen(), want);
        Ok(())
    }

    #[test]
    fn cancel_ends_a_parked_request_at_once() -> Result {
        let world = World::new()?;
        let active = World::request(&world, 7)?;
        let stranger = Stranger::of(&active);
        assert!(active.park().is_ok());
        assert_eq!(world.index.cancel(8), None);
        assert_eq!(world.index.cancel(7), Some(true));
        assert_eq!(world.cancelled.load(Relaxed), 1);
        assert_eq!(world.index.cancel(7), None);
        stranger.kick();
        assert!(world.next().is_none());
        let want = Seen {
            cancelled: 1,
            ..Seen::default()
        };
        assert_eq!(world.seen(), want);
        Ok(())
    }

    #[test]
    fn cancel_ends_a_kicked_request_at_once() -> Result {
        let world = World::new()?;
        let active = World::request(&world, 7)?;
        let stranger = Stranger::of(&active);
        assert!(active.park().is_ok());
        stranger.kick();
        assert_eq!(world.index.cancel(7), Some(true));
        assert_eq!(world.cancelled.load(Relaxed), 1);
        assert!(world.next().is_none());
        Ok(())
    }

    #[test]
    fn cancel_during_a_run_is_remembered() -> Result {
        let world = World::new()?;
        let mut active = World::request(&world, 7)?;
        assert!(active.list());
        assert_eq!(world.index.cancel(7), Some(false));
        assert_eq!(world.cancelled.load(Relaxed), 0);
        assert!(active.is_cancelled());
        let back = active.park().err();
        assert!(back.is_some());
        drop(back);
        assert_eq!(world.seen().cancelled, 1);
        Ok(())
    }

    #[test]
    fn who_is_done_cannot_be_cancelled() -> Result {
        let world = World::new()?;
        let mut active = World::request(&world, 7)?;
        assert!(active.list());
        // As soon as its end is to be announced.
        active.withdraw();
        assert_eq!(world.index.cancel(7), None);
        end(active);
        let want = Seen {
            completed: 1,
            ..Seen::default()
        };
        assert_eq!(world.seen(), want);
        Ok(())
    }

    #[test]
    fn a_driver_completes_what_is_cancelled_meanwhile() -> Result {
        let world = World::new()?;
        let mut active = World::request(&world, 7)?;
        assert!(active.list());
        let stranger = Stranger::of(&active);
        stranger.give(active);
        assert_eq!(world.index.cancel(7), Some(false));
        assert_eq!(world.seen(), Seen::default());
        stranger.kick();
        stranger.complete(0);
        let want = Seen {
            completed: 1,
            ..Seen::default()
        };
        assert_eq!(world.seen(), want);
        Ok(())
    }

    #[test]
    fn a_deferred_request_is_retried_once() -> Result {
        let world = World::new()?;
        let active = World::request(&world, 1)?;
        let stranger = Stranger::of(&active);
        active.defer();
        stranger.kick();
        let want = Seen {
            retried: 1,
            completed: 1,
            ..Seen::default()
        };
        assert_eq!(world.seen(), want);
        Ok(())
    }

    #[test]
    fn the_end_of_a_context_spares_what_was_pledged() -> Result {
        let world = World::new()?;
        let mut pledged = World::request(&world, 1)?;
        pledged.pledge();
        let stranger = Stranger::of(&pledged);
        assert!(pledged.park().is_ok());
        assert!(World::request(&world, 2)?.park().is_ok());
        world.index.close();
        assert_eq!(world.cancelled.load(Relaxed), 1);
        // Nobody parks any more.
        let late = World::request(&world, 3)?.park().err();
        assert!(late.as_ref().is_some_and(|late| late.is_cancelled()));
        drop(late);
        stranger.kick();
        world.next().into_iter().for_each(end);
        let want = Seen {
            kicked: 1,
            completed: 1,
            cancelled: 2,
            ..Seen::default()
        };
        assert_eq!(world.seen(), want);
        Ok(())
    }

    #[test]
    fn a_line_is_kept() -> Result {
        let world = World::new()?;
        let mut first = World::request(&world, 1)?;
        let mut second = World::request(&world, 2)?;
        let mut third = World::request(&world, 3)?;
        let mut other = World::request(&world, 4)?;
        assert!(!world.order.is_busy(64));
        assert!(first.join(64));
        assert!(world.order.is_busy(64));
        assert!(!second.join(64));
        assert!(!third.join(64));
        assert!(other.join(65));
        assert!(second.waits_in_line());
        assert!(second.park().is_ok());
        assert!(third.park().is_ok());
        // Who leaves from the middle changes nothing for the rest.
        assert_eq!(world.index.cancel(2), Some(true));
        assert_eq!(world.seen().retried, 0);
        end(first);
        // The third was kicked, and a worker ran it.
        let want = Seen {
            kicked: 1,
            retried: 1,
            completed: 2,
            cancelled: 1,
        };
        assert_eq!(world.seen(), want);
        assert!(!world.order.is_busy(64));
        end(other);
        assert!(!world.order.is_busy(65));
        Ok(())
    }
}
