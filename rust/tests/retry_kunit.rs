// SPDX-License-Identifier: GPL-2.0

//! Suite `kaio_retry`: requests of a mock operation, and the ways in which they end.

use kernel::prelude::*;

#[kunit_tests(kaio_retry)]
pub(super) mod suite {
    use crate::{
        provider::iocb::ProviderRef,
        request::{
            cancel_table::CancelTable,
            light::Light,
            order::OrderQueues,
            pool::{
                FreeRequest,
                Pool,
                RequestCache, //
            },
            queued::QueuedRequest,
            run_list::{
                Next,
                RunList, //
            },
            token::{
                Active,
                Prepared,
                TestDriver, //
            },
            Request, //
        },
        sys::{
            count::Count,
            errno,
            file::File,
            queue::{
                Kworker,
                Owned, //
            },
        },
    };
    use kernel::{
        prelude::*,
        sync::Arc,
        workqueue::Queue, //
    };

    /// How often each event happened.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(in crate::tests) struct Seen {
        pub(in crate::tests) kicked: u32,
        pub(in crate::tests) retried: u32,
        pub(in crate::tests) completed: u32,
        pub(in crate::tests) cancelled: u32,
    }

    impl Seen {
        /// Returns these events with so many kicks besides.
        pub(in crate::tests) const fn with_kicks(self, kicked: u32) -> Self {
            Self { kicked, ..self }
        }
    }

    /// One request was completed.
    pub(in crate::tests) const COMPLETED: Seen = Seen {
        kicked: 0,
        retried: 0,
        completed: 1,
        cancelled: 0,
    };
    /// One request was cancelled.
    pub(in crate::tests) const CANCELLED: Seen = Seen {
        completed: 0,
        cancelled: 1,
        ..COMPLETED
    };
    /// One request was completed by a worker.
    const RETRIED: Seen = Seen {
        retried: 1,
        ..COMPLETED
    };

    #[pin_data]
    pub(in crate::tests) struct Fixture {
        #[pin]
        pub(in crate::tests) cancel_table: CancelTable<Mock>,
        #[pin]
        order: OrderQueues<Mock>,
        #[pin]
        run_list: RunList<Mock>,
        #[pin]
        pool: Pool<Mock>,
        workers: Owned,
        kicked: Count,
        retried: Count,
        completed: Count,
        cancelled: Count,
    }

    impl Fixture {
        pub(in crate::tests) fn new() -> Result<Arc<Self>> {
            let cancel_table = CancelTable::new(8)?;
            let pool = Pool::new(1)?;
            let workers = Owned::new(c"kaio-kunit", 0, 1)?;
            Arc::pin_init(
                pin_init!(Self {
                    cancel_table <- cancel_table,
                    order <- OrderQueues::new(),
                    run_list <- RunList::new(),
                    pool <- pool,
                    workers,
                    kicked: Count::new(),
                    retried: Count::new(),
                    completed: Count::new(),
                    cancelled: Count::new(),
                }),
                GFP_KERNEL,
            )
        }

        fn request(this: &Arc<Self>, key: u64) -> Result<Active<Mock>> {
            Self::request_with_provider(this, key, None)
        }

        /// Returns a fixture with one request, and a driver that refers to the request.
        fn with_request(key: u64) -> Result<(Arc<Self>, Active<Mock>, TestDriver<Mock>)> {
            let this = Self::new()?;
            let active = Self::request(&this, key)?;
            let driver = TestDriver::of(&active);
            Ok((this, active, driver))
        }

        /// Returns a fixture with a parked request, and a driver that refers to the request.
        fn with_parked(key: u64) -> Result<(Arc<Self>, TestDriver<Mock>)> {
            let (this, active, driver) = Self::with_request(key)?;
            active.park().map_err(|_| EAGAIN)?;
            Ok((this, driver))
        }

        /// Returns a fixture with a request that a cancel finds while it runs, and a driver that
        /// refers to the request.
        fn with_listed(key: u64) -> Result<(Arc<Self>, Active<Mock>, TestDriver<Mock>)> {
            let (this, mut active, driver) = Self::with_request(key)?;
            match active.list() {
                true => Ok((this, active, driver)),
                false => Err(EAGAIN),
            }
        }

        /// Returns a fixture with a full request that was a light one before.
        fn with_upgraded(key: u64) -> Result<(Arc<Self>, Active<Mock>)> {
            let this = Self::new()?;
            let light = Self::light(&this)?;
            let active = light.upgrade(key, |fixture| Self::parts(&fixture, None));
            Ok((this, active))
        }

        fn light(this: &Arc<Self>) -> Result<Light<Mock>> {
            Ok(Light::tried(
                FreeRequest::new()?,
                &File::none(),
                this.clone(),
            ))
        }

        fn parts(
            this: &Arc<Self>,
            provider: Option<ProviderRef<Mock>>,
        ) -> (Shared, impl Init<Mock>) {
            let shared = Shared {
                fixture: this.clone(),
                provider,
            };
            let fixture = this.clone();
            let mock = init!(Mock {
                file: File::none(),
                fixture,
            });
            (shared, mock)
        }

        /// Returns a request that a provider drives, if there is one.
        pub(in crate::tests) fn request_with_provider(
            this: &Arc<Self>,
            key: u64,
            provider: Option<ProviderRef<Mock>>,
        ) -> Result<Active<Mock>> {
            let (shared, mock) = Self::parts(this, provider);
            let free = match this.pool.take(&mut RequestCache::new(), 1) {
                Some(free) => free,
                None => FreeRequest::new()?,
            };
            Ok(Prepared::new(key, free, shared, mock).start())
        }

        pub(in crate::tests) fn seen(&self) -> Seen {
            self.workers.flush();
            Seen {
                kicked: self.kicked.get(),
                retried: self.retried.get(),
                completed: self.completed.get(),
                cancelled: self.cancelled.get(),
            }
        }

        /// Returns the first request on the run list, as the kick handler does.
        pub(in crate::tests) fn next_kicked(&self) -> Option<Active<Mock>> {
            self.run_list.pop(Next::Run).and_then(QueuedRequest::claim)
        }
    }

    pub(in crate::tests) struct Mock {
        file: File,
        fixture: Arc<Fixture>,
    }

    pub(in crate::tests) struct Shared {
        fixture: Arc<Fixture>,
        pub(in crate::tests) provider: Option<ProviderRef<Mock>>,
    }

    pub(in crate::tests) fn complete(active: Active<Mock>) {
        active.view().fixture.completed.increment();
        finish(active);
    }

    fn finish(active: Active<Mock>) {
        if let Some(provider) = &active.shared().provider {
            provider.end();
        }
        active.finish();
    }

    // SAFETY: the lists are fields of the fixture, to which the same `Arc` leads as long as the
    // request lives; no code replaces the `Arc` or the file.
    unsafe impl Request for Mock {
        type Shared = Shared;

        fn cancelled(active: Active<Self>) {
            active.view().fixture.cancelled.increment();
            finish(active);
        }

        fn driver_done(active: Active<Self>, _ret: isize) {
            complete(active);
        }

        type Light = Arc<Fixture>;

        fn light_done(light: Light<Self>, ret: isize) {
            let (fixture, _memory) = light.finish();
            match ret as i64 {
                errno::ECANCELED => fixture.cancelled.increment(),
                _ => fixture.completed.increment(),
            };
        }

        fn woken(queued: QueuedRequest<Self>, _events: u32) {
            Self::kicked(queued);
        }

        fn kicked(queued: QueuedRequest<Self>) {
            queued.view().fixture.kicked.increment();
            if queued.in_order() {
                queued.enqueue();
                return;
            }
            let fixture = queued.view().fixture.clone();
            let _ = fixture.run_list.push(queued, Next::Run);
        }

        fn retry(active: Active<Self>, _kworker: Kworker) {
            active.view().fixture.retried.increment();
            if !active.is_cancelled() {
                complete(active);
            }
        }

        fn pool(shared: &Shared) -> &Pool<Self> {
            &shared.fixture.pool
        }

        fn cancel_elsewhere(shared: &Shared) -> Option<bool> {
            match &shared.provider {
                Some(provider) => provider.cancel(),
                None => Some(false),
            }
        }

        fn file(&self) -> &File {
            &self.file
        }

        fn file_mut(&mut self) -> &mut File {
            &mut self.file
        }

        fn cancel_table(shared: &Shared) -> &CancelTable<Self> {
            &shared.fixture.cancel_table
        }

        fn order(&self) -> &OrderQueues<Self> {
            &self.fixture.order
        }

        fn run_list(shared: &Shared) -> &RunList<Self> {
            &shared.fixture.run_list
        }

        fn workers(shared: &Shared) -> &Queue {
            shared.fixture.workers.queue()
        }
    }

    #[test]
    fn dropping_a_token_cancels_the_request() -> Result {
        let fixture = Fixture::new()?;
        drop(Fixture::request(&fixture, 1)?);
        assert_eq!(fixture.seen(), CANCELLED);
        Ok(())
    }

    #[test]
    fn a_kick_before_the_request_parks_is_not_lost() -> Result {
        let (fixture, active, driver) = Fixture::with_request(1)?;
        driver.kick();
        let back = active.park().err();
        assert!(back.is_some());
        assert_eq!(fixture.seen().kicked, 0);
        back.into_iter().for_each(complete);
        assert_eq!(fixture.seen().completed, 1);
        Ok(())
    }

    #[test]
    fn a_kick_of_a_parked_request_runs_it_once() -> Result {
        let (fixture, driver) = Fixture::with_parked(1)?;
        driver.kick();
        driver.kick();
        assert_eq!(fixture.seen().kicked, 1);
        let active = fixture.next_kicked();
        assert!(active.is_some());
        assert!(fixture.next_kicked().is_none());
        // The kick comes during the run: the request must not park once, and may park then.
        driver.kick();
        let active = active.and_then(|active| active.park().err());
        assert!(active.is_some());
        let parked = active.map(|active| active.park().is_ok());
        assert_eq!(parked, Some(true));
        driver.kick();
        fixture.next_kicked().into_iter().for_each(complete);
        // A kick after the end does nothing.
        driver.kick();
        assert!(fixture.next_kicked().is_none());
        assert_eq!(fixture.seen(), COMPLETED.with_kicks(2));
        Ok(())
    }

    #[test]
    fn cancel_ends_a_parked_request_at_once() -> Result {
        let (fixture, driver) = Fixture::with_parked(7)?;
        assert_eq!(fixture.cancel_table.cancel(8), Err(EINVAL));
        assert_eq!(fixture.cancel_table.cancel(7), Ok(true));
        assert_eq!(fixture.cancelled.get(), 1);
        assert_eq!(fixture.cancel_table.cancel(7), Err(EINVAL));
        driver.kick();
        assert!(fixture.next_kicked().is_none());
        assert_eq!(fixture.seen(), CANCELLED);
        Ok(())
    }

    #[test]
    fn cancel_ends_a_kicked_request_at_once() -> Result {
        let (fixture, driver) = Fixture::with_parked(7)?;
        driver.kick();
        assert_eq!(fixture.cancel_table.cancel(7), Ok(true));
        assert_eq!(fixture.cancelled.get(), 1);
        assert!(fixture.next_kicked().is_none());
        Ok(())
    }

    #[test]
    fn cancel_during_a_run_is_remembered() -> Result {
        let (fixture, active, _) = Fixture::with_listed(7)?;
        assert_eq!(fixture.cancel_table.cancel(7), Ok(false));
        assert_eq!(fixture.cancelled.get(), 0);
        assert!(active.is_cancelled());
        let back = active.park().err();
        assert!(back.is_some());
        drop(back);
        assert_eq!(fixture.seen().cancelled, 1);
        Ok(())
    }

    #[test]
    fn a_withdrawn_request_cannot_be_cancelled() -> Result {
        let (fixture, mut active, _) = Fixture::with_listed(7)?;
        // A request is withdrawn before its event is posted.
        active.withdraw();
        assert_eq!(fixture.cancel_table.cancel(7), Err(EINVAL));
        complete(active);
        assert_eq!(fixture.seen(), COMPLETED);
        Ok(())
    }

    #[test]
    fn a_driver_completes_a_request_that_is_cancelled_meanwhile() -> Result {
        let (fixture, active, driver) = Fixture::with_listed(7)?;
        driver.give(active);
        assert_eq!(fixture.cancel_table.cancel(7), Ok(false));
        assert_eq!(fixture.seen(), Seen::default());
        driver.kick();
        driver.complete(0);
        assert_eq!(fixture.seen(), COMPLETED);
        Ok(())
    }

    #[test]
    fn a_punted_request_is_retried_once() -> Result {
        let (fixture, active, driver) = Fixture::with_request(1)?;
        active.punt();
        driver.kick();
        assert_eq!(fixture.seen(), RETRIED);
        Ok(())
    }

    #[test]
    fn a_light_request_that_is_finished_leaves_its_memory() -> Result {
        let fixture = Fixture::new()?;
        let (back, memory) = Fixture::light(&fixture)?.finish();
        assert!(Arc::ptr_eq(&fixture, &back));
        assert!(memory.is_some());
        assert_eq!(fixture.seen(), Seen::default());
        Ok(())
    }

    #[test]
    fn a_light_request_that_is_dropped_is_cancelled() -> Result {
        let fixture = Fixture::new()?;
        drop(Fixture::light(&fixture)?);
        assert_eq!(fixture.seen(), CANCELLED);
        Ok(())
    }

    #[test]
    fn a_light_request_becomes_a_full_one_that_can_be_cancelled() -> Result {
        let (fixture, active) = Fixture::with_upgraded(7)?;
        assert_eq!(active.key(), 7);
        assert!(active.park().is_ok());
        assert_eq!(fixture.cancel_table.cancel(7), Ok(true));
        assert_eq!(fixture.seen(), CANCELLED);
        Ok(())
    }

    #[test]
    fn a_light_request_becomes_a_full_one_that_a_worker_runs() -> Result {
        let (fixture, active) = Fixture::with_upgraded(7)?;
        active.punt();
        assert_eq!(fixture.seen(), RETRIED);
        Ok(())
    }

    #[test]
    fn a_queued_request_that_is_dropped_is_cancelled() -> Result {
        let fixture = Fixture::new()?;
        drop(Fixture::request(&fixture, 1)?.queue());
        let want = Seen {
            retried: 1,
            ..CANCELLED
        };
        assert_eq!(fixture.seen(), want);
        // A parked request is kicked under the lock of a wait queue, so its drop must not take it
        // off there.
        let active = Fixture::request(&fixture, 2)?;
        let driver = TestDriver::of(&active);
        assert!(active.park().is_ok());
        driver.kick();
        drop(fixture.run_list.pop(Next::Run));
        assert_eq!(fixture.seen().cancelled, 2);
        Ok(())
    }

    #[test]
    fn the_end_of_a_context_spares_must_run_requests() -> Result {
        let fixture = Fixture::new()?;
        let mut must_run = Fixture::request(&fixture, 1)?;
        must_run.set_must_run();
        let driver = TestDriver::of(&must_run);
        assert!(must_run.park().is_ok());
        assert!(Fixture::request(&fixture, 2)?.park().is_ok());
        fixture.cancel_table.close();
        assert_eq!(fixture.cancelled.get(), 1);
        // No request parks any more.
        let late = Fixture::request(&fixture, 3)?.park().err();
        assert!(late.as_ref().is_some_and(|late| late.is_cancelled()));
        drop(late);
        driver.kick();
        fixture.next_kicked().into_iter().for_each(complete);
        let want = Seen {
            kicked: 1,
            cancelled: 2,
            ..COMPLETED
        };
        assert_eq!(fixture.seen(), want);
        Ok(())
    }

    #[test]
    fn requests_with_one_order_key_keep_their_order() -> Result {
        let fixture = Fixture::new()?;
        let mut first = Fixture::request(&fixture, 1)?;
        let mut second = Fixture::request(&fixture, 2)?;
        let mut third = Fixture::request(&fixture, 3)?;
        let mut other = Fixture::request(&fixture, 4)?;
        assert!(!fixture.order.is_busy(64));
        assert!(first.join(64));
        assert!(fixture.order.is_busy(64));
        assert!(!second.join(64));
        assert!(!third.join(64));
        assert!(other.join(65));
        assert!(second.waits_for_turn());
        assert!(second.park().is_ok());
        assert!(third.park().is_ok());
        // A request that leaves from the middle of the queue does not change the order of the
        // others.
        assert_eq!(fixture.cancel_table.cancel(2), Ok(true));
        assert_eq!(fixture.seen().retried, 0);
        complete(first);
        // The third request was kicked, and a worker ran it.
        let want = Seen {
            kicked: 1,
            retried: 1,
            completed: 2,
            cancelled: 1,
        };
        assert_eq!(fixture.seen(), want);
        assert!(!fixture.order.is_busy(64));
        complete(other);
        assert!(!fixture.order.is_busy(65));
        Ok(())
    }
}
