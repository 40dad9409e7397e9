// SPDX-License-Identifier: GPL-2.0

//! Suite `kaio_provider`: requests of the mock operation of `retry_kunit` whose attempts are made by
//! a provider that does what it is told.

use kernel::prelude::*;

#[kunit_tests(kaio_provider)]
mod suite {
    use crate::{
        sys::{
            errno,
            provider::{
                self,
                rig::{
                    Answer,
                    Calls,
                    Early,
                    Fault,
                    Pointer,
                    Rig,
                    NBYTES, //
                },
                Attempted,
                Provided, //
            },
            request::Active,
        },
        tests::retry_kunit::suite::{
            end,
            Mock,
            Seen,
            World, //
        },
    };
    use kernel::{
        prelude::*,
        sync::Arc, //
    };

    const KEY: u64 = 7;

    fn request(world: &Arc<World>, rig: &Rig) -> Result<(Active<Mock>, Pointer)> {
        let (provided, pointer) = rig.provide::<Mock>()?;
        Ok((World::provided(world, KEY, Some(provided))?, pointer))
    }

    /// An attempt, as `ops::provider` makes it. Gives back who must park.
    fn attempt(req: Active<Mock>) -> Option<Active<Mock>> {
        let provider = req.view().provider.as_ref().map(Provided::again)?;
        match provider.attempt(req) {
            Attempted::Done(req, _) => {
                end(req);
                None
            }
            Attempted::Wait(req) => Some(req),
            Attempted::Gone => None,
        }
    }

    /// An attempt that must wait, and does.
    fn park(req: Active<Mock>) -> bool {
        attempt(req).is_some_and(|req| req.park().is_ok())
    }

    const COMPLETED: Seen = Seen {
        kicked: 0,
        retried: 0,
        completed: 1,
        cancelled: 0,
    };
    const CANCELLED: Seen = Seen {
        completed: 0,
        cancelled: 1,
        ..COMPLETED
    };

    fn calls(retry: u32, cancel: u32, dtor: u32) -> Calls {
        Calls {
            retry,
            cancel,
            dtor,
        }
    }

    #[test]
    fn file_operations_have_one_provider() -> Result {
        let (first, second) = (Rig::new(Answer::Retry)?, Rig::new(Answer::Retry)?);
        assert_eq!(first.register(None), Err(EINVAL));
        let registered = first.register(Some(&first));
        let same = second.register(Some(&first));
        let other = second.register(Some(&second));
        let any = provider::any();
        // Before anything can fail: they must not stay in the table.
        if registered.is_ok() {
            first.unregister();
        }
        if other.is_ok() {
            second.unregister();
        }
        assert_eq!((registered, same, other), (Ok(()), Err(EEXIST), Ok(())));
        assert!(any);
        // Its place is free again.
        let again = second.register(Some(&first));
        assert_eq!(again, Ok(()));
        second.unregister();
        Ok(())
    }

    #[test]
    fn a_provider_must_be_whole_and_of_who_registers_it() -> Result {
        let refused = [
            Fault::Name,
            Fault::Files,
            Fault::Retry,
            Fault::NoFlags,
            Fault::Flags,
            Fault::Foreign,
            Fault::ForeignFiles,
            Fault::Ownerless,
            Fault::Both,
        ];
        for fault in refused {
            let ret = Rig::new(Answer::Retry)?.register_with(fault);
            assert_eq!((fault as u32, ret), (fault as u32, Err(EINVAL)));
        }
        assert_eq!(Rig::new(Answer::Retry)?.register_with(Fault::None), Ok(()));
        Ok(())
    }

    #[test]
    fn a_result_ends_it() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Result(3))?);
        let (req, pointer) = request(&world, &rig)?;
        assert!(attempt(req).is_none());
        assert_eq!(world.seen(), COMPLETED);
        assert_eq!(rig.calls(), calls(1, 0, 1));
        assert!(!pointer.kick());
        assert!(!pointer.complete(0, 0));
        Ok(())
    }

    #[test]
    fn what_was_never_tried_has_no_destructor() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Retry)?);
        let (req, _) = request(&world, &rig)?;
        drop(req);
        assert_eq!(world.seen(), CANCELLED);
        assert_eq!(rig.calls(), calls(0, 0, 0));
        Ok(())
    }

    #[test]
    fn one_kick_runs_it_again() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Retry)?);
        let (req, pointer) = request(&world, &rig)?;
        assert!(park(req));
        assert!(pointer.kick());
        assert!(!pointer.kick());
        assert_eq!(world.seen().kicked, 1);
        rig.answers(Answer::Result(0));
        world.next().into_iter().for_each(|req| drop(attempt(req)));
        assert_eq!(world.seen().completed, 1);
        assert_eq!(rig.calls(), calls(2, 0, 1));
        Ok(())
    }

    #[test]
    fn a_kick_before_the_answer_keeps_it_from_parking() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Retry)?);
        rig.does_early(Early::Kick);
        let (req, pointer) = request(&world, &rig)?;
        let back = attempt(req).and_then(|req| req.park().err());
        assert!(back.is_some());
        assert!(!pointer.kick());
        rig.does_early(Early::Nothing);
        let parked = back.map(park);
        assert_eq!(parked, Some(true));
        assert!(pointer.kick());
        world.next().into_iter().for_each(end);
        assert_eq!(rig.calls(), calls(2, 0, 1));
        assert_eq!(rig.refused(), 0);
        Ok(())
    }

    #[test]
    fn one_completion_ends_it() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Queued)?);
        let (req, pointer) = request(&world, &rig)?;
        assert!(attempt(req).is_none());
        assert_eq!(world.seen(), Seen::default());
        assert!(!pointer.kick());
        assert!(pointer.complete(1, 2));
        assert!(!pointer.complete(1, 2));
        assert_eq!(world.seen(), COMPLETED);
        assert_eq!(rig.calls(), calls(1, 0, 1));
        Ok(())
    }

    #[test]
    fn a_completion_before_the_answer_ends_it() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Queued)?);
        rig.does_early(Early::Complete(5, 6));
        let (req, pointer) = request(&world, &rig)?;
        assert!(attempt(req).is_none());
        assert_eq!(world.seen(), COMPLETED);
        assert!(!pointer.complete(1, 2));
        assert_eq!(rig.calls(), calls(1, 0, 1));
        Ok(())
    }

    #[test]
    fn a_completion_before_the_answer_has_both_results() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Queued)?);
        rig.does_early(Early::Complete(5, 6));
        let (req, _) = request(&world, &rig)?;
        let provided = req.view().provider.as_ref().map(Provided::again);
        assert!(attempt(req).is_none());
        assert_eq!(provided.map(|p| p.res2()), Some(6));
        Ok(())
    }

    #[test]
    fn a_promise_is_no_result_of_a_completion() -> Result {
        for res in provider::rig::PROMISES {
            let rig = Rig::new(Answer::Queued)?;
            rig.does_early(Early::Complete(res, 0));
            assert_eq!(rig.read(false)?, EIO.to_errno() as isize);
            assert_eq!(rig.refused(), 0);
        }
        Ok(())
    }

    #[test]
    fn no_result_is_more_than_was_asked_for() -> Result {
        let most = NBYTES as isize;
        for (res, told) in [(most, most), (most + 1, most), (isize::MAX, most)] {
            let rig = Rig::new(Answer::Result(res))?;
            assert_eq!(rig.read(false)?, told);
            rig.answers(Answer::Queued);
            rig.does_early(Early::Complete(res as i64, 0));
            assert_eq!(rig.read(false)?, told);
        }
        Ok(())
    }

    #[test]
    fn a_completion_counts_more_than_the_answer() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Result(1))?);
        rig.does_early(Early::Complete(5, 6));
        let (req, _) = request(&world, &rig)?;
        assert!(attempt(req).is_none());
        assert_eq!(world.seen(), COMPLETED);
        assert_eq!(rig.calls(), calls(1, 0, 1));
        Ok(())
    }

    #[test]
    fn cancel_of_what_waits_takes_the_promise_back() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Retry)?);
        let (req, pointer) = request(&world, &rig)?;
        assert!(park(req));
        assert_eq!(world.index.cancel(KEY), Some(true));
        assert_eq!(world.seen(), CANCELLED);
        assert_eq!(rig.calls(), calls(1, 1, 1));
        assert!(!pointer.kick());
        Ok(())
    }

    #[test]
    fn cancel_of_what_waits_ends_it_even_if_it_is_kept() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Retry)?);
        rig.keeps();
        let (req, pointer) = request(&world, &rig)?;
        assert!(park(req));
        assert_eq!(world.index.cancel(KEY), Some(true));
        assert_eq!(world.seen(), CANCELLED);
        assert_eq!(rig.calls(), calls(1, 1, 0));
        assert!(pointer.kick());
        assert!(!pointer.kick());
        assert_eq!(rig.calls(), calls(1, 1, 1));
        assert!(world.next().is_none());
        Ok(())
    }

    #[test]
    fn cancel_of_what_is_queued_gives_it_back() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Queued)?);
        let (req, pointer) = request(&world, &rig)?;
        assert!(attempt(req).is_none());
        assert_eq!(world.index.cancel(KEY), Some(true));
        assert_eq!(world.seen(), CANCELLED);
        assert_eq!(rig.calls(), calls(1, 1, 1));
        assert!(!pointer.complete(0, 0));
        Ok(())
    }

    #[test]
    fn cancel_of_what_is_kept_changes_nothing() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Queued)?);
        rig.keeps();
        let (req, pointer) = request(&world, &rig)?;
        assert!(attempt(req).is_none());
        assert_eq!(world.index.cancel(KEY), None);
        assert_eq!(world.index.cancel(KEY), None);
        assert_eq!(world.seen(), Seen::default());
        assert!(pointer.complete(1, 2));
        assert_eq!(world.seen(), COMPLETED);
        assert_eq!(rig.calls(), calls(1, 2, 1));
        Ok(())
    }

    #[test]
    fn without_cancel_what_waits_ends_and_is_still_owed_a_kick() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Retry)?);
        rig.has_only_retry();
        let (req, pointer) = request(&world, &rig)?;
        assert!(park(req));
        assert_eq!(world.index.cancel(KEY), Some(true));
        assert_eq!(world.seen(), CANCELLED);
        assert!(pointer.kick());
        assert!(!pointer.kick());
        assert_eq!(rig.calls(), calls(1, 0, 0));
        Ok(())
    }

    #[test]
    fn without_cancel_what_is_queued_goes_on() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Queued)?);
        rig.has_only_retry();
        let (req, pointer) = request(&world, &rig)?;
        assert!(attempt(req).is_none());
        assert_eq!(world.index.cancel(KEY), None);
        assert_eq!(world.seen(), Seen::default());
        assert!(pointer.complete(1, 2));
        assert_eq!(world.seen(), COMPLETED);
        assert_eq!(rig.calls(), calls(1, 0, 0));
        Ok(())
    }

    #[test]
    fn cancel_may_complete_instead() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Queued)?);
        rig.during_cancel(KBox::new(
            |it: Pointer| {
                let _ = it.complete(1, 2);
            },
            GFP_KERNEL,
        )?);
        let (req, pointer) = request(&world, &rig)?;
        let provided = req.view().provider.as_ref().map(Provided::again);
        assert!(attempt(req).is_none());
        // And returns 0.
        assert_eq!(world.index.cancel(KEY), Some(true));
        assert_eq!(world.seen(), COMPLETED);
        assert_eq!(provided.map(|p| p.res2()), Some(2));
        assert_eq!(rig.calls(), calls(1, 1, 1));
        assert!(!pointer.complete(1, 2));
        Ok(())
    }

    #[test]
    fn cancel_may_complete_a_read_instead() -> Result {
        let rig = Rig::new(Answer::Queued)?;
        rig.during_cancel(KBox::new(
            |it: Pointer| {
                let _ = it.complete(5, 0);
            },
            GFP_KERNEL,
        )?);
        assert_eq!(rig.read(true)?, 5);
        assert_eq!(rig.calls(), calls(1, 1, 1));
        Ok(())
    }

    #[test]
    fn a_kick_during_cancel_is_the_end_of_the_promise() -> Result {
        for keeps in [false, true] {
            let (world, rig) = (World::new()?, Rig::new(Answer::Retry)?);
            if keeps {
                rig.keeps();
            }
            rig.during_cancel(KBox::new(
                |it: Pointer| {
                    let _ = it.kick();
                },
                GFP_KERNEL,
            )?);
            let (req, pointer) = request(&world, &rig)?;
            assert!(park(req));
            assert_eq!(world.index.cancel(KEY), Some(true));
            assert_eq!(world.seen(), CANCELLED);
            assert_eq!(rig.calls(), calls(1, 1, 1));
            assert!(!pointer.kick());
        }
        Ok(())
    }

    #[test]
    fn unregistering_waits_for_the_last_request() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Queued)?);
        rig.register(Some(&rig))?;
        let (req, pointer) = request(&world, &rig)?;
        let none_left = attempt(req).is_none();
        let early = rig.unregister_during(|| {
            let _ = pointer.complete(1, 2);
        });
        assert_eq!((none_left, early), (true, Ok(false)));
        assert_eq!(world.seen(), COMPLETED);
        assert_eq!(rig.calls(), calls(1, 0, 1));
        Ok(())
    }

    #[test]
    fn the_end_of_a_context_asks_for_what_is_queued() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Queued)?);
        let (req, _) = request(&world, &rig)?;
        assert!(attempt(req).is_none());
        world.index.close();
        assert_eq!(world.seen(), CANCELLED);
        assert_eq!(rig.calls(), calls(1, 1, 1));
        // Who queues afterwards is asked at once.
        let (late, _) = request(&world, &rig)?;
        assert!(attempt(late).is_none());
        assert_eq!(world.seen().cancelled, 2);
        assert_eq!(rig.calls(), calls(2, 2, 2));
        Ok(())
    }

    #[test]
    fn a_cancel_during_retry_that_is_refused_can_be_repeated() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Retry)?);
        rig.keeps();
        let (req, pointer) = request(&world, &rig)?;
        assert!(park(req));
        assert!(pointer.kick());
        rig.answers(Answer::Queued);
        let again = world.next();
        assert!(again.is_some());
        // It runs: this is remembered.
        assert_eq!(world.index.cancel(KEY), Some(false));
        assert_eq!(rig.calls(), calls(1, 0, 0));
        again.into_iter().for_each(|req| drop(attempt(req)));
        assert_eq!(rig.calls(), calls(2, 1, 0));
        assert_eq!(world.index.cancel(KEY), None);
        assert_eq!(rig.calls(), calls(2, 2, 0));
        rig.lets_go();
        assert_eq!(world.index.cancel(KEY), Some(true));
        assert_eq!(world.seen().cancelled, 1);
        assert_eq!(rig.calls(), calls(2, 3, 1));
        Ok(())
    }

    #[test]
    fn a_context_that_ends_during_a_refusal_asks_again() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Queued)?);
        rig.keeps();
        let (req, pointer) = request(&world, &rig)?;
        assert!(attempt(req).is_none());
        let closing = world.clone();
        rig.during_cancel(KBox::new(move |_| closing.index.close(), GFP_KERNEL)?);
        assert_eq!(world.index.cancel(KEY), None);
        // By who cancelled, and for the context.
        assert_eq!(rig.calls(), calls(1, 2, 0));
        assert!(pointer.complete(1, 2));
        assert_eq!(world.seen(), COMPLETED);
        Ok(())
    }

    #[test]
    fn what_is_given_back_keeps_what_earlier_attempts_moved() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Retry)?);
        rig.moves(3);
        let (req, pointer) = request(&world, &rig)?;
        assert!(park(req));
        assert!(pointer.kick());
        rig.answers(Answer::Queued);
        rig.moves(5);
        let again = world.next();
        let provided = again.as_ref().and_then(|req| req.view().provider.as_ref());
        let provided = provided.map(Provided::again);
        again.into_iter().for_each(|req| drop(attempt(req)));
        assert_eq!(world.index.cancel(KEY), Some(true));
        assert_eq!(provided.map(|p| (p.done(), p.pos())), Some((3, 3)));
        Ok(())
    }

    #[test]
    fn what_waits_keeps_what_all_attempts_moved() -> Result {
        let (world, rig) = (World::new()?, Rig::new(Answer::Retry)?);
        rig.moves(3);
        let (req, pointer) = request(&world, &rig)?;
        assert!(park(req));
        assert!(pointer.kick());
        rig.moves(5);
        let again = world.next();
        let provided = again.as_ref().and_then(|req| req.view().provider.as_ref());
        let provided = provided.map(Provided::again);
        assert_eq!(again.map(park), Some(true));
        assert_eq!(world.index.cancel(KEY), Some(true));
        assert_eq!(provided.map(|p| (p.done(), p.pos())), Some((8, 8)));
        Ok(())
    }

    #[test]
    fn read_gets_the_result() -> Result {
        let rig = Rig::new(Answer::Result(3))?;
        assert_eq!(rig.read(false)?, 3);
        assert_eq!(rig.calls(), calls(1, 0, 1));
        Ok(())
    }

    #[test]
    fn read_gets_bytes_rather_than_the_error_after_them() -> Result {
        let rig = Rig::new(Answer::Result(EFAULT.to_errno() as isize))?;
        rig.moves(3);
        assert_eq!(rig.read(false)?, 3);
        Ok(())
    }

    #[test]
    fn read_gets_what_it_was_completed_with_before_the_answer() -> Result {
        for answer in [Answer::Queued, Answer::Retry, Answer::Result(1)] {
            let rig = Rig::new(answer)?;
            // They were taken, and it failed.
            rig.moves(3);
            rig.does_early(Early::Complete(i64::from(EIO.to_errno()), 0));
            assert_eq!(rig.read(false)?, EIO.to_errno() as isize);
            assert_eq!(rig.calls(), calls(1, 0, 1));
        }
        Ok(())
    }

    #[test]
    fn read_that_may_not_wait_asks_for_what_is_queued() -> Result {
        let rig = Rig::new(Answer::Queued)?;
        rig.moves(3);
        assert_eq!(rig.read(true)?, EAGAIN.to_errno() as isize);
        assert_eq!(rig.calls(), calls(1, 1, 1));
        Ok(())
    }

    #[test]
    fn read_that_may_not_wait_for_a_kick() -> Result {
        let rig = Rig::new(Answer::Retry)?;
        assert_eq!(rig.read(true)?, EAGAIN.to_errno() as isize);
        assert_eq!(rig.calls(), calls(1, 1, 1));
        Ok(())
    }

    #[test]
    fn no_event_says_restart() {
        for errno in [512, 513, 514, 516] {
            assert_eq!(errno::of_event(-errno), errno::EINTR);
        }
        for res in [0, 512, errno::EINTR, -511, -515, -517] {
            assert_eq!(errno::of_event(res), res);
        }
    }
}
