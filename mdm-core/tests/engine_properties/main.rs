//! Laws of the two machines over steered random histories: most of the time the plausible next event, else anything. That
//! every state, every end and every reason for attention was reached is asserted, so that no law holds for want of cases.

#[path = "../engine_story/mod.rs"]
mod engine_story;
mod laws;
mod silence;
mod steering;
mod world;

use std::cell::RefCell;
use std::time::Duration;

use engine_story::{START, plan, set_up};
use mdm_core::device::Platform;
use mdm_core::migration::{
    Ask, Event, OperatorAct, SetUp, Variant, VerdictKind, advance_set_up, release,
};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use steering::Dice;
use world::{Seen, World};

/// How long a release may wait for what only the hold can save.
const GRACE: Duration = Duration::from_mins(5);

fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    // The same histories on every machine: a law that breaks is seen by everybody.
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn the_laws_hold_over_steered_histories_that_reach_everything() {
    let seen = RefCell::new(Seen::default());
    let history = (any::<u8>(), vec(any::<u64>(), 30..240));
    runner(400)
        .run(&history, |(kind, turns)| {
            let platform =
                [Platform::Ios, Platform::Ipados, Platform::Macos][usize::from(kind % 3)];
            let variant = [
                Variant::Migration,
                Variant::Migration,
                Variant::Uncertain,
                Variant::Ordinary,
            ][usize::from(kind / 3 % 4)];
            let mut world = World::new(platform, variant, &seen);
            for (n, turn) in turns.iter().enumerate() {
                let mut dice = Dice(*turn);
                world.now = world.now + Duration::from_secs(dice.roll(20));
                if dice.chance(93) {
                    world.likely(&mut dice);
                } else {
                    world.anything(&mut dice);
                }
                if n % 64 == 37 {
                    world.nobody_waits_for_ever();
                }
            }
            world.nobody_waits_for_ever();
            seen.borrow_mut().histories += 1;
            Ok(())
        })
        .unwrap();
    let seen = seen.into_inner();
    for state in [
        "Planned",
        "Blocked",
        "Ready",
        "Submitting",
        "SubmitFailed",
        "Scheduled",
        "Offered",
        "Overdue",
        "Cancelling",
        "Started",
        "Moving",
        "Stalled",
        "Settling",
        "Migrated",
        "MigratedWithExceptions",
        "Cancelled",
        "Withdrawn",
        "Failed",
        "Abandoned",
        "SetUpEnrolling",
        "SetUpNoHold",
        "SetUpHolding",
        "SetUpReleasing",
        "SetUpProving",
        "SetUpStalled",
        "Proved",
        "ProvedWithExceptions",
        "CheckedOut",
        "Superseded",
    ] {
        assert!(
            seen.states.contains(state),
            "{state} was never reached; reached: {:?}",
            seen.states
        );
    }
    for attention in [
        "Blocked",
        "SubmitFailed",
        "NotVisible",
        "ProfileNotInForce",
        "OverdueWithoutSignIn",
        "CancelUnproved",
        "EnrolmentStalled",
        "NotAwaiting",
        "HoldLong",
        "ReleasedWithoutEvidence",
        "ReleaseUnconfirmed",
        "AppleSaysFailed",
        "ProofIncomplete",
        "RunbookUnreadable",
        "SilentForDays",
    ] {
        assert!(
            seen.attentions.contains(attention),
            "{attention} never occurred; seen: {:?}",
            seen.attentions
        );
    }
    assert!(seen.yields > 20, "a release yielded {} times", seen.yields);
    assert!(
        seen.ended > seen.histories / 4,
        "only {} attempts ended in {} histories",
        seen.ended,
        seen.histories
    );
}

#[test]
fn a_factory_new_mac_with_an_old_deadline_is_always_released() {
    let seen = RefCell::new(Seen::default());
    let history = (any::<bool>(), any::<u8>(), vec(any::<u64>(), 0..60));
    runner(150)
        .run(&history, |(told, awaits, turns)| {
            let mut world = World::new(Platform::Macos, Variant::Uncertain, &seen);
            world.authenticate();
            world.tell_set_up(&Event::Enrolled {
                awaiting: told.then_some(true),
                profile_awaits: awaits > 10,
            });
            world.truthful = true;
            // Faults for a while.
            for turn in turns {
                let mut dice = Dice(turn);
                if !world.answer(&mut dice) || dice.chance(40) {
                    world.wake();
                }
            }
            // Then it behaves.
            for _ in 0..200 {
                while let Some((step, part, attempt, ask)) = world.device.queue.pop_front() {
                    if ask == Ask::Release {
                        world.live.remove(&attempt);
                    }
                    let (status, told) = world.device.run(&ask);
                    world.report(step, part, attempt, status, told);
                }
                if world.s.as_ref().is_some_and(SetUp::is_ended) || !world.device.awaiting {
                    break;
                }
                world.wake();
            }
            assert!(!world.device.awaiting, "still held: {:?}", world.s);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_release_that_the_watchdog_makes_is_the_runners() {
    let mut s = set_up(Platform::Ios, VerdictKind::Migration, None);
    let plan = plan(Platform::Ios, Variant::Migration);
    let enrolled = Event::Enrolled {
        awaiting: Some(true),
        profile_awaits: true,
    };
    s = advance_set_up(&s, &plan, &enrolled, START).next;
    let at = s.ceiling_at.unwrap();
    let watchdog = release(&s, at);
    let operator = advance_set_up(&s, &plan, &Event::Operator(OperatorAct::Release), at);
    assert_eq!(watchdog.effects, operator.effects);
    assert_eq!(watchdog.next.state, operator.next.state);
    let both = release(&operator.next, at);
    assert!(both.effects.is_empty());
}
