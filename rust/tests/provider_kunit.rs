// SPDX-License-Identifier: GPL-2.0

//! Suite `kaio_provider`: requests of the mock operation of `retry_kunit`, driven by a mock
//! provider.

use kernel::prelude::*;

#[kunit_tests(kaio_provider)]
mod suite {
    use crate::{
        provider::{
            self,
            attempt::Attempted,
            iocb::ProviderRef, //
        },
        request::token::Active,
        sys::errno,
        tests::{
            mock_provider::{
                Answer,
                Calls,
                EarlyCall,
                Fault,
                MockProvider,
                Pointer,
                NBYTES,
                PROMISES, //
            },
            retry_kunit::suite::{
                complete,
                Fixture,
                Mock,
                Seen,
                CANCELLED,
                COMPLETED, //
            },
        },
    };
    use kernel::{
        prelude::*,
        sync::Arc, //
    };

    const KEY: u64 = 7;
    const AGAIN: isize = errno::EAGAIN as isize;

    /// Nothing has happened.
    const NOTHING: Seen = Seen {
        completed: 0,
        ..COMPLETED
    };

    /// A request of a mock provider, with all that belongs to it.
    struct Given {
        /// The request, while the test is its owner.
        req: Option<Active<Mock>>,
        pointer: Pointer,
        fixture: Arc<Fixture>,
        // Last, because the mock must outlive its requests.
        mock: MockProvider,
    }

    /// The place of a request after an attempt.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum After {
        /// The provider has the request, or the request has ended.
        Gone,
        /// The request waits for a kick.
        Parked,
        /// The request must wait for a kick and must not park, because a kick has come.
        Kicked,
    }

    /// A step of a test, with its expected result.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Step {
        /// The test makes an attempt.
        Attempt(After),
        /// The provider kicks, and the kick is accepted or not.
        Kick(bool),
        /// The provider completes with 1 and 2, and the completion is accepted or not.
        Complete(bool),
        Cancel(Result<bool>),
        /// The test takes the first kicked request, if there is one.
        Next(bool),
        /// The events so far.
        Saw(Seen),
        /// The calls so far of retry, cancel and dtor.
        Called(u32, u32, u32),
    }
    use Step::*;

    impl Given {
        /// Returns a new mock provider, which `prepare` has changed, and a request of it.
        fn new(answer: Answer, prepare: impl FnOnce(&MockProvider)) -> Result<Self> {
            let mock = MockProvider::new(answer)?;
            prepare(&mock);
            Self::of(Fixture::new()?, mock)
        }

        /// Returns a request of this provider.
        fn of(fixture: Arc<Fixture>, mock: MockProvider) -> Result<Self> {
            let (req, pointer) = request(&fixture, &mock)?;
            Ok(Self {
                req: Some(req),
                pointer,
                fixture,
                mock,
            })
        }

        /// Returns the provider's part of the request.
        fn provider(&self) -> Option<ProviderRef<Mock>> {
            let req = self.req.as_ref()?;
            req.shared().provider.clone()
        }

        fn attempt(&mut self) -> After {
            let Some(req) = self.req.take().and_then(attempt) else {
                return After::Gone;
            };
            self.req = req.park().err();
            match self.req {
                Some(_) => After::Kicked,
                None => After::Parked,
            }
        }

        /// Does a step. Returns the step with its actual result.
        fn step(&mut self, step: Step) -> Step {
            match step {
                Attempt(_) => Attempt(self.attempt()),
                Kick(_) => Kick(self.pointer.kick()),
                Complete(_) => Complete(self.pointer.complete(1, 2)),
                Cancel(_) => Cancel(self.fixture.cancel_table.cancel(KEY)),
                Next(_) => {
                    self.req = self.fixture.next_kicked();
                    Next(self.req.is_some())
                }
                Saw(_) => Saw(self.fixture.seen()),
                Called(..) => {
                    let calls = self.mock.calls();
                    Called(calls.retry, calls.cancel, calls.dtor)
                }
            }
        }

        /// Does the steps in order. Returns whether all of them have the expected results, and
        /// prints the first result that differs.
        fn goes(&mut self, steps: &[Step]) -> bool {
            steps.iter().enumerate().all(|(index, &want)| {
                let got = self.step(want);
                if got != want {
                    pr_err!("step {}: {:?}, not {:?}\n", index, got, want);
                }
                got == want
            })
        }
    }

    /// What happens in a test that changes nothing on the way: a new provider with this answer, and
    /// the steps of its request.
    fn goes(answer: Answer, prepare: impl FnOnce(&MockProvider), steps: &[Step]) -> Result<bool> {
        Ok(Given::new(answer, prepare)?.goes(steps))
    }

    /// Returns an action for [`MockProvider::during_cancel`].
    fn action(of: impl Fn(Pointer) + 'static) -> Result<KBox<dyn Fn(Pointer)>> {
        Ok(KBox::new(of, GFP_KERNEL)?)
    }

    fn request(fixture: &Arc<Fixture>, mock: &MockProvider) -> Result<(Active<Mock>, Pointer)> {
        let (provider, pointer) = mock.provide::<Mock>()?;
        Ok((
            Fixture::request_with_provider(fixture, KEY, Some(provider))?,
            pointer,
        ))
    }

    /// Makes an attempt, as `ops::provider` does. Returns the request if it must park.
    fn attempt(req: Active<Mock>) -> Option<Active<Mock>> {
        let provider = req.shared().provider.clone()?;
        match provider.attempt(req) {
            Attempted::Done(req, _) => {
                complete(req);
                None
            }
            Attempted::Wait(req) => Some(req),
            Attempted::Queued => None,
        }
    }

    /// A cancel of a parked request, which the provider gives back.
    const CANCEL_PARKED: &[Step] = &[
        Attempt(After::Parked),
        Cancel(Ok(true)),
        Saw(CANCELLED),
        Called(1, 1, 1),
        Kick(false),
    ];

    /// Makes the provider complete with 5 and 6 before it answers.
    fn completes_early(mock: &MockProvider) {
        mock.set_early_call(EarlyCall::Complete(5, 6));
    }

    fn calls(retry: u32, cancel: u32, dtor: u32) -> Calls {
        Calls {
            retry,
            cancel,
            dtor,
        }
    }

    #[test]
    fn file_operations_have_one_provider() -> Result {
        let (first, second) = (
            MockProvider::new(Answer::Retry)?,
            MockProvider::new(Answer::Retry)?,
        );
        assert_eq!(first.register(None), Err(EINVAL));
        let registered = first.register(Some(&first));
        let same = second.register(Some(&first));
        let other = second.register(Some(&second));
        let any = provider::any();
        // Unregister before an assertion can fail, because the providers must not stay in the
        // table.
        if registered.is_ok() {
            first.unregister();
        }
        if other.is_ok() {
            second.unregister();
        }
        assert_eq!((registered, same, other), (Ok(()), Err(EEXIST), Ok(())));
        assert!(any);
        // The place in the table is free again.
        let again = second.register(Some(&first));
        assert_eq!(again, Ok(()));
        second.unregister();
        Ok(())
    }

    #[test]
    fn registration_refuses_incomplete_and_foreign_providers() -> Result {
        let refused = [
            Fault::NoName,
            Fault::NoFops,
            Fault::NoRetry,
            Fault::NoFlags,
            Fault::UnknownFlag,
            Fault::AnyTaskWithMethods,
            Fault::ForeignProvider,
            Fault::ForeignFops,
            Fault::Ownerless,
            Fault::ForeignBoth,
        ];
        for fault in refused {
            let ret = MockProvider::new(Answer::Retry)?.register_with(fault);
            assert_eq!((fault as u32, ret), (fault as u32, Err(EINVAL)));
        }
        assert_eq!(
            MockProvider::new(Answer::Retry)?.register_with(Fault::None),
            Ok(())
        );
        Ok(())
    }

    #[test]
    fn a_result_ends_the_request() -> Result {
        let steps = [
            Attempt(After::Gone),
            Saw(COMPLETED),
            Called(1, 0, 1),
            Kick(false),
            Complete(false),
        ];
        assert!(goes(Answer::Result(3), |_| (), &steps)?);
        Ok(())
    }

    #[test]
    fn a_request_without_an_attempt_is_not_destructed() -> Result {
        let mut given = Given::new(Answer::Retry, |_| ())?;
        given.req = None;
        assert!(given.goes(&[Saw(CANCELLED), Called(0, 0, 0)]));
        Ok(())
    }

    #[test]
    fn one_kick_runs_the_request_again() -> Result {
        let mut given = Given::new(Answer::Retry, |_| ())?;
        let kicked = NOTHING.with_kicks(1);
        assert!(given.goes(&[Attempt(After::Parked), Kick(true), Kick(false), Saw(kicked)]));
        given.mock.set_answer(Answer::Result(0));
        let done = COMPLETED.with_kicks(1);
        assert!(given.goes(&[Next(true), Attempt(After::Gone), Saw(done), Called(2, 0, 1)]));
        Ok(())
    }

    #[test]
    fn a_kick_before_the_answer_prevents_parking() -> Result {
        let mut given = Given::new(Answer::Retry, |mock| mock.set_early_call(EarlyCall::Kick))?;
        assert!(given.goes(&[Attempt(After::Kicked), Kick(false)]));
        given.mock.set_early_call(EarlyCall::Nothing);
        assert!(given.goes(&[Attempt(After::Parked), Kick(true), Next(true)]));
        given.req.take().into_iter().for_each(complete);
        assert!(given.goes(&[Called(2, 0, 1)]));
        assert_eq!(given.mock.refused(), 0);
        Ok(())
    }

    #[test]
    fn one_completion_ends_the_request() -> Result {
        let steps = [
            Attempt(After::Gone),
            Saw(NOTHING),
            Kick(false),
            Complete(true),
            Complete(false),
            Saw(COMPLETED),
            Called(1, 0, 1),
        ];
        assert!(goes(Answer::Queued, |_| (), &steps)?);
        Ok(())
    }

    #[test]
    fn a_completion_before_the_answer_ends_the_request() -> Result {
        let steps = [
            Attempt(After::Gone),
            Saw(COMPLETED),
            Complete(false),
            Called(1, 0, 1),
        ];
        assert!(goes(Answer::Queued, completes_early, &steps)?);
        Ok(())
    }

    #[test]
    fn a_completion_before_the_answer_has_both_results() -> Result {
        let mut given = Given::new(Answer::Queued, completes_early)?;
        let provider = given.provider();
        assert!(given.goes(&[Attempt(After::Gone)]));
        assert_eq!(provider.map(|p| p.res2()), Some(6));
        Ok(())
    }

    #[test]
    fn a_completion_with_a_promise_gives_eio() -> Result {
        for res in PROMISES {
            let mock = MockProvider::new(Answer::Queued)?;
            mock.set_early_call(EarlyCall::Complete(res, 0));
            assert_eq!(mock.read(false)?, EIO.to_errno() as isize);
            assert_eq!(mock.refused(), 0);
        }
        Ok(())
    }

    #[test]
    fn a_result_is_limited_to_the_bytes_asked_for() -> Result {
        let most = NBYTES as isize;
        for (res, told) in [(most, most), (most + 1, most), (isize::MAX, most)] {
            let mock = MockProvider::new(Answer::Result(res))?;
            assert_eq!(mock.read(false)?, told);
            mock.set_answer(Answer::Queued);
            mock.set_early_call(EarlyCall::Complete(res as i64, 0));
            assert_eq!(mock.read(false)?, told);
        }
        Ok(())
    }

    #[test]
    fn a_completion_overrides_a_result() -> Result {
        let steps = [Attempt(After::Gone), Saw(COMPLETED), Called(1, 0, 1)];
        assert!(goes(Answer::Result(1), completes_early, &steps)?);
        Ok(())
    }

    #[test]
    fn cancel_of_a_parked_request_takes_the_promise_back() -> Result {
        assert!(goes(Answer::Retry, |_| (), CANCEL_PARKED)?);
        Ok(())
    }

    #[test]
    fn cancel_ends_a_parked_request_that_the_provider_keeps() -> Result {
        let steps = [
            Attempt(After::Parked),
            Cancel(Ok(true)),
            Saw(CANCELLED),
            Called(1, 1, 0),
            Kick(true),
            Kick(false),
            Called(1, 1, 1),
            Next(false),
        ];
        assert!(goes(Answer::Retry, MockProvider::refuse_cancel, &steps)?);
        Ok(())
    }

    #[test]
    fn cancel_ends_a_queued_request_that_is_given_back() -> Result {
        let steps = [
            Attempt(After::Gone),
            Cancel(Ok(true)),
            Saw(CANCELLED),
            Called(1, 1, 1),
            Complete(false),
        ];
        assert!(goes(Answer::Queued, |_| (), &steps)?);
        Ok(())
    }

    #[test]
    fn cancel_of_a_queued_request_that_is_kept_changes_nothing() -> Result {
        let steps = [
            Attempt(After::Gone),
            Cancel(Err(EINVAL)),
            Cancel(Err(EINVAL)),
            Saw(NOTHING),
            Complete(true),
            Saw(COMPLETED),
            Called(1, 2, 1),
        ];
        assert!(goes(Answer::Queued, MockProvider::refuse_cancel, &steps)?);
        Ok(())
    }

    #[test]
    fn without_a_cancel_method_a_parked_request_is_still_owed_a_kick() -> Result {
        let steps = [
            Attempt(After::Parked),
            Cancel(Ok(true)),
            Saw(CANCELLED),
            Kick(true),
            Kick(false),
            Called(1, 0, 0),
        ];
        assert!(goes(Answer::Retry, MockProvider::has_only_retry, &steps)?);
        Ok(())
    }

    #[test]
    fn without_a_cancel_method_a_queued_request_goes_on() -> Result {
        let steps = [
            Attempt(After::Gone),
            Cancel(Err(EINVAL)),
            Saw(NOTHING),
            Complete(true),
            Saw(COMPLETED),
            Called(1, 0, 0),
        ];
        assert!(goes(Answer::Queued, MockProvider::has_only_retry, &steps)?);
        Ok(())
    }

    #[test]
    fn the_cancel_method_may_complete_the_request() -> Result {
        let mut given = Given::new(Answer::Queued, |_| ())?;
        given.mock.during_cancel(action(|pointer| {
            let _ = pointer.complete(1, 2);
        })?);
        let provider = given.provider();
        // The cancel method completes the request and returns 0.
        assert!(given.goes(&[Attempt(After::Gone), Cancel(Ok(true)), Saw(COMPLETED)]));
        assert_eq!(provider.map(|p| p.res2()), Some(2));
        assert!(given.goes(&[Called(1, 1, 1), Complete(false)]));
        Ok(())
    }

    #[test]
    fn the_cancel_method_may_complete_a_read() -> Result {
        let mock = MockProvider::new(Answer::Queued)?;
        mock.during_cancel(action(|pointer| {
            let _ = pointer.complete(5, 0);
        })?);
        assert_eq!((mock.read(true)?, mock.calls()), (5, calls(1, 1, 1)));
        Ok(())
    }

    #[test]
    fn a_kick_during_the_cancel_method_ends_the_promise() -> Result {
        for refuses in [false, true] {
            let mut given = Given::new(Answer::Retry, |mock| {
                if refuses {
                    mock.refuse_cancel();
                }
            })?;
            given.mock.during_cancel(action(|pointer| {
                let _ = pointer.kick();
            })?);
            assert!(given.goes(CANCEL_PARKED));
        }
        Ok(())
    }

    #[test]
    fn unregistering_waits_for_the_last_request() -> Result {
        let mock = MockProvider::new(Answer::Queued)?;
        mock.register(Some(&mock))?;
        let mut given = Given::of(Fixture::new()?, mock)?;
        let none_left = given.attempt() == After::Gone;
        let pointer = given.pointer;
        let early = given.mock.unregister_during(|| {
            let _ = pointer.complete(1, 2);
        });
        assert_eq!((none_left, early), (true, Ok(false)));
        assert!(given.goes(&[Saw(COMPLETED), Called(1, 0, 1)]));
        Ok(())
    }

    #[test]
    fn the_end_of_a_context_cancels_queued_requests() -> Result {
        let mut given = Given::new(Answer::Queued, |_| ())?;
        assert!(given.goes(&[Attempt(After::Gone)]));
        given.fixture.cancel_table.close();
        assert!(given.goes(&[Saw(CANCELLED), Called(1, 1, 1)]));
        // A request that is queued after the end of the context is cancelled at once.
        let mut late = Given::of(given.fixture, given.mock)?;
        let both = Seen {
            cancelled: 2,
            ..CANCELLED
        };
        assert!(late.goes(&[Attempt(After::Gone), Saw(both), Called(2, 2, 2)]));
        Ok(())
    }

    #[test]
    fn a_refused_cancel_during_an_attempt_can_be_repeated() -> Result {
        let mut given = Given::new(Answer::Retry, MockProvider::refuse_cancel)?;
        assert!(given.goes(&[Attempt(After::Parked), Kick(true)]));
        given.mock.set_answer(Answer::Queued);
        let steps = [
            Next(true),
            // The request runs, so the run sees the cancel.
            Cancel(Ok(false)),
            Called(1, 0, 0),
            Attempt(After::Gone),
            Called(2, 1, 0),
            Cancel(Err(EINVAL)),
            Called(2, 2, 0),
        ];
        assert!(given.goes(&steps));
        given.mock.accept_cancel();
        let seen = CANCELLED.with_kicks(1);
        assert!(given.goes(&[Cancel(Ok(true)), Saw(seen), Called(2, 3, 1)]));
        Ok(())
    }

    #[test]
    fn a_context_that_ends_during_a_refusal_cancels_again() -> Result {
        let mut given = Given::new(Answer::Queued, MockProvider::refuse_cancel)?;
        assert!(given.goes(&[Attempt(After::Gone)]));
        let closing = given.fixture.clone();
        let close = action(move |_| closing.cancel_table.close())?;
        given.mock.during_cancel(close);
        let steps = [
            Cancel(Err(EINVAL)),
            // The provider was asked once for the canceller and once for the context.
            Called(1, 2, 0),
            Complete(true),
            Saw(COMPLETED),
        ];
        assert!(given.goes(&steps));
        Ok(())
    }

    /// Makes an attempt that moves 3 bytes and one that moves 5 and has this answer, and cancels the
    /// request. Returns the bytes that the request has moved and its position, or `None` if the
    /// second attempt or the cancel went another way.
    fn moved_by_two(second: Answer, after: After) -> Result<Option<(i64, i64)>> {
        let mut given = Given::new(Answer::Retry, |mock| mock.set_moves(3))?;
        let first = given.goes(&[Attempt(After::Parked), Kick(true), Next(true)]);
        given.mock.set_answer(second);
        given.mock.set_moves(5);
        let provider = given.provider().filter(|_| first);
        let ended = given.goes(&[Attempt(after), Cancel(Ok(true))]);
        Ok(provider.filter(|_| ended).map(|p| (p.done(), p.pos())))
    }

    #[test]
    fn a_request_given_back_keeps_the_bytes_of_earlier_attempts() -> Result {
        assert_eq!(moved_by_two(Answer::Queued, After::Gone)?, Some((3, 3)));
        Ok(())
    }

    #[test]
    fn a_parked_request_keeps_the_bytes_of_all_attempts() -> Result {
        assert_eq!(moved_by_two(Answer::Retry, After::Parked)?, Some((8, 8)));
        Ok(())
    }

    #[test]
    fn read_returns_the_result() -> Result {
        let mock = MockProvider::new(Answer::Result(3))?;
        assert_eq!((mock.read(false)?, mock.calls()), (3, calls(1, 0, 1)));
        Ok(())
    }

    #[test]
    fn read_returns_bytes_before_an_error() -> Result {
        let mock = MockProvider::new(Answer::Result(EFAULT.to_errno() as isize))?;
        mock.set_moves(3);
        assert_eq!(mock.read(false)?, 3);
        Ok(())
    }

    #[test]
    fn read_returns_a_completion_before_the_answer() -> Result {
        for answer in [Answer::Queued, Answer::Retry, Answer::Result(1)] {
            let mock = MockProvider::new(answer)?;
            // The bytes were taken, but the completion reports an error.
            mock.set_moves(3);
            mock.set_early_call(EarlyCall::Complete(i64::from(EIO.to_errno()), 0));
            assert_eq!(mock.read(false)?, EIO.to_errno() as isize);
            assert_eq!(mock.calls(), calls(1, 0, 1));
        }
        Ok(())
    }

    /// Returns the result of a read that must not wait, and the calls of the provider.
    fn nowait_read(mock: &MockProvider) -> Result<(isize, Calls)> {
        Ok((mock.read(true)?, mock.calls()))
    }

    #[test]
    fn nowait_read_cancels_a_queued_request() -> Result {
        let mock = MockProvider::new(Answer::Queued)?;
        mock.set_moves(3);
        assert_eq!(nowait_read(&mock)?, (AGAIN, calls(1, 1, 1)));
        Ok(())
    }

    #[test]
    fn nowait_read_does_not_wait_for_a_kick() -> Result {
        let mock = MockProvider::new(Answer::Retry)?;
        assert_eq!(nowait_read(&mock)?, (AGAIN, calls(1, 1, 1)));
        Ok(())
    }

    #[test]
    fn restart_errors_become_eintr() {
        for errno in [512, 513, 514, 516] {
            assert_eq!(errno::of_event(-errno), errno::EINTR);
        }
        for res in [0, 512, errno::EINTR, -511, -515, -517] {
            assert_eq!(errno::of_event(res), res);
        }
    }
}
