// SPDX-License-Identifier: GPL-2.0

//! Suite `kaio_provider`: requests of the mock operation of `retry_kunit`, driven by a mock
//! provider.

use kernel::prelude::*;

#[kunit_tests(kaio_provider)]
mod suite {
    use crate::{
        provider::{self, attempt::Attempted},
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

    fn request(fixture: &Arc<Fixture>, mock: &MockProvider) -> Result<(Active<Mock>, Pointer)> {
        let (provider, pointer) = mock.provide::<Mock>()?;
        Ok((
            Fixture::request_with_provider(fixture, KEY, Some(provider))?,
            pointer,
        ))
    }

    /// Returns what most tests begin with: a mock provider with this answer, and a request of it.
    fn start(answer: Answer) -> Result<(Arc<Fixture>, MockProvider, Active<Mock>, Pointer)> {
        start_with(answer, |_| ())
    }

    /// Returns what [`start`] returns, after `prepare` has changed the provider.
    fn start_with(
        answer: Answer,
        prepare: impl FnOnce(&MockProvider),
    ) -> Result<(Arc<Fixture>, MockProvider, Active<Mock>, Pointer)> {
        let (fixture, mock) = (Fixture::new()?, MockProvider::new(answer)?);
        prepare(&mock);
        let (req, pointer) = request(&fixture, &mock)?;
        Ok((fixture, mock, req, pointer))
    }

    /// Makes an attempt, as `ops::provider` does. Returns the request if it must park.
    fn attempt(req: Active<Mock>) -> Option<Active<Mock>> {
        let provider = req.shared().provider.as_ref().map(Clone::clone)?;
        match provider.attempt(req) {
            Attempted::Done(req, _) => {
                complete(req);
                None
            }
            Attempted::Wait(req) => Some(req),
            Attempted::Queued => None,
        }
    }

    /// Makes an attempt and parks the request. Returns whether the request is parked.
    fn park(req: Active<Mock>) -> bool {
        attempt(req).is_some_and(|req| req.park().is_ok())
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
        let (fixture, mock, req, pointer) = start(Answer::Result(3))?;
        assert!(attempt(req).is_none());
        assert_eq!(fixture.seen(), COMPLETED);
        assert_eq!(mock.calls(), calls(1, 0, 1));
        assert!(!pointer.kick());
        assert!(!pointer.complete(0, 0));
        Ok(())
    }

    #[test]
    fn a_request_without_an_attempt_is_not_destructed() -> Result {
        let (fixture, mock, req, _) = start(Answer::Retry)?;
        drop(req);
        assert_eq!(fixture.seen(), CANCELLED);
        assert_eq!(mock.calls(), calls(0, 0, 0));
        Ok(())
    }

    #[test]
    fn one_kick_runs_the_request_again() -> Result {
        let (fixture, mock, req, pointer) = start(Answer::Retry)?;
        assert!(park(req));
        assert!(pointer.kick());
        assert!(!pointer.kick());
        assert_eq!(fixture.seen().kicked, 1);
        mock.set_answer(Answer::Result(0));
        fixture
            .next_kicked()
            .into_iter()
            .for_each(|req| drop(attempt(req)));
        assert_eq!(fixture.seen().completed, 1);
        assert_eq!(mock.calls(), calls(2, 0, 1));
        Ok(())
    }

    #[test]
    fn a_kick_before_the_answer_prevents_parking() -> Result {
        let (fixture, mock, req, pointer) = start(Answer::Retry)?;
        mock.set_early_call(EarlyCall::Kick);
        let back = attempt(req).and_then(|req| req.park().err());
        assert!(back.is_some());
        assert!(!pointer.kick());
        mock.set_early_call(EarlyCall::Nothing);
        let parked = back.map(park);
        assert_eq!(parked, Some(true));
        assert!(pointer.kick());
        fixture.next_kicked().into_iter().for_each(complete);
        assert_eq!(mock.calls(), calls(2, 0, 1));
        assert_eq!(mock.refused(), 0);
        Ok(())
    }

    #[test]
    fn one_completion_ends_the_request() -> Result {
        let (fixture, mock, req, pointer) = start(Answer::Queued)?;
        assert!(attempt(req).is_none());
        assert_eq!(fixture.seen(), Seen::default());
        assert!(!pointer.kick());
        assert!(pointer.complete(1, 2));
        assert!(!pointer.complete(1, 2));
        assert_eq!(fixture.seen(), COMPLETED);
        assert_eq!(mock.calls(), calls(1, 0, 1));
        Ok(())
    }

    #[test]
    fn a_completion_before_the_answer_ends_the_request() -> Result {
        let (fixture, mock, req, pointer) = start(Answer::Queued)?;
        mock.set_early_call(EarlyCall::Complete(5, 6));
        assert!(attempt(req).is_none());
        assert_eq!(fixture.seen(), COMPLETED);
        assert!(!pointer.complete(1, 2));
        assert_eq!(mock.calls(), calls(1, 0, 1));
        Ok(())
    }

    #[test]
    fn a_completion_before_the_answer_has_both_results() -> Result {
        let (_fixture, mock, req, _) = start(Answer::Queued)?;
        mock.set_early_call(EarlyCall::Complete(5, 6));
        let provider = req.shared().provider.as_ref().map(Clone::clone);
        assert!(attempt(req).is_none());
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
        let (fixture, mock, req, _) = start(Answer::Result(1))?;
        mock.set_early_call(EarlyCall::Complete(5, 6));
        assert!(attempt(req).is_none());
        assert_eq!(fixture.seen(), COMPLETED);
        assert_eq!(mock.calls(), calls(1, 0, 1));
        Ok(())
    }

    #[test]
    fn cancel_of_a_parked_request_takes_the_promise_back() -> Result {
        let (fixture, mock, req, pointer) = start(Answer::Retry)?;
        assert!(park(req));
        assert_eq!(fixture.cancel_table.cancel(KEY), Ok(true));
        assert_eq!(fixture.seen(), CANCELLED);
        assert_eq!(mock.calls(), calls(1, 1, 1));
        assert!(!pointer.kick());
        Ok(())
    }

    #[test]
    fn cancel_ends_a_parked_request_that_the_provider_keeps() -> Result {
        let (fixture, mock, req, pointer) = start(Answer::Retry)?;
        mock.refuse_cancel();
        assert!(park(req));
        assert_eq!(fixture.cancel_table.cancel(KEY), Ok(true));
        assert_eq!(fixture.seen(), CANCELLED);
        assert_eq!(mock.calls(), calls(1, 1, 0));
        assert!(pointer.kick());
        assert!(!pointer.kick());
        assert_eq!(mock.calls(), calls(1, 1, 1));
        assert!(fixture.next_kicked().is_none());
        Ok(())
    }

    #[test]
    fn cancel_ends_a_queued_request_that_is_given_back() -> Result {
        let (fixture, mock, req, pointer) = start(Answer::Queued)?;
        assert!(attempt(req).is_none());
        assert_eq!(fixture.cancel_table.cancel(KEY), Ok(true));
        assert_eq!(fixture.seen(), CANCELLED);
        assert_eq!(mock.calls(), calls(1, 1, 1));
        assert!(!pointer.complete(0, 0));
        Ok(())
    }

    #[test]
    fn cancel_of_a_queued_request_that_is_kept_changes_nothing() -> Result {
        let (fixture, mock, req, pointer) = start(Answer::Queued)?;
        mock.refuse_cancel();
        assert!(attempt(req).is_none());
        assert_eq!(fixture.cancel_table.cancel(KEY), Err(EINVAL));
        assert_eq!(fixture.cancel_table.cancel(KEY), Err(EINVAL));
        assert_eq!(fixture.seen(), Seen::default());
        assert!(pointer.complete(1, 2));
        assert_eq!(fixture.seen(), COMPLETED);
        assert_eq!(mock.calls(), calls(1, 2, 1));
        Ok(())
    }

    #[test]
    fn without_a_cancel_method_a_parked_request_is_still_owed_a_kick() -> Result {
        let (fixture, mock, req, pointer) =
            start_with(Answer::Retry, MockProvider::has_only_retry)?;
        assert!(park(req));
        assert_eq!(fixture.cancel_table.cancel(KEY), Ok(true));
        assert_eq!(fixture.seen(), CANCELLED);
        assert!(pointer.kick());
        assert!(!pointer.kick());
        assert_eq!(mock.calls(), calls(1, 0, 0));
        Ok(())
    }

    #[test]
    fn without_a_cancel_method_a_queued_request_goes_on() -> Result {
        let (fixture, mock, req, pointer) =
            start_with(Answer::Queued, MockProvider::has_only_retry)?;
        assert!(attempt(req).is_none());
        assert_eq!(fixture.cancel_table.cancel(KEY), Err(EINVAL));
        assert_eq!(fixture.seen(), Seen::default());
        assert!(pointer.complete(1, 2));
        assert_eq!(fixture.seen(), COMPLETED);
        assert_eq!(mock.calls(), calls(1, 0, 0));
        Ok(())
    }

    #[test]
    fn the_cancel_method_may_complete_the_request() -> Result {
        let (fixture, mock, req, pointer) = start(Answer::Queued)?;
        mock.during_cancel(KBox::new(
            |pointer: Pointer| {
                let _ = pointer.complete(1, 2);
            },
            GFP_KERNEL,
        )?);
        let provider = req.shared().provider.as_ref().map(Clone::clone);
        assert!(attempt(req).is_none());
        // The cancel method completes the request and returns 0.
        assert_eq!(fixture.cancel_table.cancel(KEY), Ok(true));
        assert_eq!(fixture.seen(), COMPLETED);
        assert_eq!(provider.map(|p| p.res2()), Some(2));
        assert_eq!(mock.calls(), calls(1, 1, 1));
        assert!(!pointer.complete(1, 2));
        Ok(())
    }

    #[test]
    fn the_cancel_method_may_complete_a_read() -> Result {
        let mock = MockProvider::new(Answer::Queued)?;
        mock.during_cancel(KBox::new(
            |pointer: Pointer| {
                let _ = pointer.complete(5, 0);
            },
            GFP_KERNEL,
        )?);
        assert_eq!(mock.read(true)?, 5);
        assert_eq!(mock.calls(), calls(1, 1, 1));
        Ok(())
    }

    #[test]
    fn a_kick_during_the_cancel_method_ends_the_promise() -> Result {
        for refuses in [false, true] {
            let (fixture, mock) = (Fixture::new()?, MockProvider::new(Answer::Retry)?);
            if refuses {
                mock.refuse_cancel();
            }
            mock.during_cancel(KBox::new(
                |pointer: Pointer| {
                    let _ = pointer.kick();
                },
                GFP_KERNEL,
            )?);
            let (req, pointer) = request(&fixture, &mock)?;
            assert!(park(req));
            assert_eq!(fixture.cancel_table.cancel(KEY), Ok(true));
            assert_eq!(fixture.seen(), CANCELLED);
            assert_eq!(mock.calls(), calls(1, 1, 1));
            assert!(!pointer.kick());
        }
        Ok(())
    }

    #[test]
    fn unregistering_waits_for_the_last_request() -> Result {
        let (fixture, mock) = (Fixture::new()?, MockProvider::new(Answer::Queued)?);
        mock.register(Some(&mock))?;
        let (req, pointer) = request(&fixture, &mock)?;
        let none_left = attempt(req).is_none();
        let early = mock.unregister_during(|| {
            let _ = pointer.complete(1, 2);
        });
        assert_eq!((none_left, early), (true, Ok(false)));
        assert_eq!(fixture.seen(), COMPLETED);
        assert_eq!(mock.calls(), calls(1, 0, 1));
        Ok(())
    }

    #[test]
    fn the_end_of_a_context_cancels_queued_requests() -> Result {
        let (fixture, mock, req, _) = start(Answer::Queued)?;
        assert!(attempt(req).is_none());
        fixture.cancel_table.close();
        assert_eq!(fixture.seen(), CANCELLED);
        assert_eq!(mock.calls(), calls(1, 1, 1));
        // A request that is queued after the end of the context is cancelled at once.
        let (late, _) = request(&fixture, &mock)?;
        assert!(attempt(late).is_none());
        assert_eq!(fixture.seen().cancelled, 2);
        assert_eq!(mock.calls(), calls(2, 2, 2));
        Ok(())
    }

    #[test]
    fn a_refused_cancel_during_an_attempt_can_be_repeated() -> Result {
        let (fixture, mock, req, pointer) = start(Answer::Retry)?;
        mock.refuse_cancel();
        assert!(park(req));
        assert!(pointer.kick());
        mock.set_answer(Answer::Queued);
        let again = fixture.next_kicked();
        assert!(again.is_some());
        // The request runs, so the run sees the cancel.
        assert_eq!(fixture.cancel_table.cancel(KEY), Ok(false));
        assert_eq!(mock.calls(), calls(1, 0, 0));
        again.into_iter().for_each(|req| drop(attempt(req)));
        assert_eq!(mock.calls(), calls(2, 1, 0));
        assert_eq!(fixture.cancel_table.cancel(KEY), Err(EINVAL));
        assert_eq!(mock.calls(), calls(2, 2, 0));
        mock.accept_cancel();
        assert_eq!(fixture.cancel_table.cancel(KEY), Ok(true));
        assert_eq!(fixture.seen().cancelled, 1);
        assert_eq!(mock.calls(), calls(2, 3, 1));
        Ok(())
    }

    #[test]
    fn a_context_that_ends_during_a_refusal_cancels_again() -> Result {
        let (fixture, mock, req, pointer) = start(Answer::Queued)?;
        mock.refuse_cancel();
        assert!(attempt(req).is_none());
        let closing = fixture.clone();
        mock.during_cancel(KBox::new(
            move |_| closing.cancel_table.close(),
            GFP_KERNEL,
        )?);
        assert_eq!(fixture.cancel_table.cancel(KEY), Err(EINVAL));
        // The provider was asked once for the canceller and once for the context.
        assert_eq!(mock.calls(), calls(1, 2, 0));
        assert!(pointer.complete(1, 2));
        assert_eq!(fixture.seen(), COMPLETED);
        Ok(())
    }

    #[test]
    fn a_request_given_back_keeps_the_bytes_of_earlier_attempts() -> Result {
        let (fixture, mock, req, pointer) = start(Answer::Retry)?;
        mock.set_moves(3);
        assert!(park(req));
        assert!(pointer.kick());
        mock.set_answer(Answer::Queued);
        mock.set_moves(5);
        let again = fixture.next_kicked();
        let provider = again
            .as_ref()
            .and_then(|req| req.shared().provider.as_ref());
        let provider = provider.map(Clone::clone);
        again.into_iter().for_each(|req| drop(attempt(req)));
        assert_eq!(fixture.cancel_table.cancel(KEY), Ok(true));
        assert_eq!(provider.map(|p| (p.done(), p.pos())), Some((3, 3)));
        Ok(())
    }

    #[test]
    fn a_parked_request_keeps_the_bytes_of_all_attempts() -> Result {
        let (fixture, mock, req, pointer) = start(Answer::Retry)?;
        mock.set_moves(3);
        assert!(park(req));
        assert!(pointer.kick());
        mock.set_moves(5);
        let again = fixture.next_kicked();
        let provider = again
            .as_ref()
            .and_then(|req| req.shared().provider.as_ref());
        let provider = provider.map(Clone::clone);
        assert_eq!(again.map(park), Some(true));
        assert_eq!(fixture.cancel_table.cancel(KEY), Ok(true));
        assert_eq!(provider.map(|p| (p.done(), p.pos())), Some((8, 8)));
        Ok(())
    }

    #[test]
    fn read_returns_the_result() -> Result {
        let mock = MockProvider::new(Answer::Result(3))?;
        assert_eq!(mock.read(false)?, 3);
        assert_eq!(mock.calls(), calls(1, 0, 1));
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

    #[test]
    fn nowait_read_cancels_a_queued_request() -> Result {
        let mock = MockProvider::new(Answer::Queued)?;
        mock.set_moves(3);
        assert_eq!(mock.read(true)?, EAGAIN.to_errno() as isize);
        assert_eq!(mock.calls(), calls(1, 1, 1));
        Ok(())
    }

    #[test]
    fn nowait_read_does_not_wait_for_a_kick() -> Result {
        let mock = MockProvider::new(Answer::Retry)?;
        assert_eq!(mock.read(true)?, EAGAIN.to_errno() as isize);
        assert_eq!(mock.calls(), calls(1, 1, 1));
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
