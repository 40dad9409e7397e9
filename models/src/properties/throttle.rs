// SPDX-License-Identifier: GPL-2.0

//! `pure/throttle.rs`: a submit call tries as many transfers as there are tags.

use crate::pure::throttle::Throttle;
use proptest::prelude::*;

/// What happens while a submit call starts transfers.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The call has one more transfer, to that file.
    Transfer(usize, bool),
    /// Drivers complete that many.
    Complete(u64),
    /// The next transfer that is tried is refused.
    Refuse,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (prop_oneof![9 => Just(1usize), 1 => Just(2)], prop::bool::weighted(0.1))
            .prop_map(|(file, write)| Step::Transfer(file, write)),
        2 => (1..4u64).prop_map(Step::Complete),
        1 => Just(Step::Refuse),
    ]
}

proptest! {
    #[test]
    fn tags_and_completions_are_what_is_tried(
        // A device has at least one tag.
        tags in 1..6u32,
        before in 0..100u64,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut throttle = Throttle::new();
        let mut done = before;
        let (mut target, mut began, mut tried) = ((0, false), 0, 0);
        let (mut refuse, mut refused) = (false, false);
        for step in steps {
            match step {
                Step::Complete(more) => done += more,
                Step::Refuse => refuse = true,
                Step::Transfer(file, write) => {
                    if target != (file, write) {
                        (target, began, tried, refused) = ((file, write), done, 0, false);
                    }
                    let may = throttle.may_start(target, || tags, || done);
                    prop_assert_eq!(may, !refused && tried < u64::from(tags) + (done - began));
                    if may {
                        tried += 1;
                        refused = std::mem::take(&mut refuse);
                        throttle.started(refused);
                    }
                }
            }
        }
    }
}
