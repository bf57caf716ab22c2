//! Requests whose answers are lost and whose effects come late: one activity for one wish, a cancellation that waits for what
//! may still come, and one bad activity that holds up nobody else.

mod apple;
mod back;
mod foreseen;
mod licences;
mod promised;
mod who;

use std::collections::BTreeMap;
use std::time::Duration;

use apple::{DAY, Fate, Looks, MINUTE, OURS, START, Stage};
use mdm_core::calendar::Calendar;
use mdm_core::clock::Clock as _;
use mdm_core::device::MigrationStatus;
use mdm_core::errand::ErrandState;
use mdm_core::error::Error;
use mdm_core::ids::Serial;
use mdm_core::migration::{MoveState, Outcome};
use mdm_core::project::Window;
use mdm_core::secret::Secret;
use mdm_core::service::{Act, Dates, MigrationAct, Org, ProjectChange};

fn scheduled(states: &[MoveState]) -> bool {
    let is = |s: &MoveState| matches!(s, MoveState::Scheduled { .. });
    states.iter().all(is)
}

#[tokio::test]
async fn an_account_of_another_organisation_does_not_replace_ours() {
    let stage = Stage::new(1, MINUTE, &[]).await;
    let org = stage.org().await;
    let key = Secret::from_text("key");
    stage.apple.inside().foreign = true;
    let refused = org.add_api_account("BUSINESSAPI.else", "k", &key).await;
    assert!(
        matches!(refused, Err(Error::Precondition(_))),
        "{refused:?}"
    );
    stage.apple.inside().foreign = false;
    org.add_api_account("BUSINESSAPI.new", "k", &key)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_effect_that_comes_after_a_lost_answer_is_not_asked_for_again() {
    // A few devices are read one by one, many from the list.
    for devices in [2, 8] {
        for lag in [2, 5, 14] {
            let stage = Stage::new(devices, MINUTE * lag, &[Fate::Unanswered]).await;
            let wave = stage.submit("one", &stage.serials).await;
            stage.pass(MINUTE * 16).await;
            let after = format!("{devices} devices, effect after {lag} minutes");
            assert_eq!(stage.apple.asked(), 1, "{after}");
            assert!(scheduled(&stage.states(wave).await), "{after}");
            assert_eq!(stage.errands().await[0].state, ErrandState::Done, "{after}");
        }
    }
}

#[tokio::test]
async fn an_effect_that_comes_late_after_an_answer_is_proved_and_not_called_missing() {
    for lag in [2, 5, 14] {
        let stage = Stage::new(3, MINUTE * lag, &[]).await;
        let wave = stage.submit("one", &stage.serials).await;
        stage.pass(MINUTE * 17).await;
        assert_eq!(stage.apple.asked(), 1);
        assert!(scheduled(&stage.states(wave).await), "after {lag} minutes");
    }
}

#[tokio::test]
async fn a_reading_that_took_long_says_nothing_of_an_effect_that_came_after_it() {
    for fate in [Fate::Answered, Fate::Unanswered] {
        let stage = Stage::new(2, MINUTE * 5, &[fate]).await;
        let wave = stage.submit("one", &stage.serials).await;
        stage.pass(Duration::from_secs(10)).await;
        stage.apple.inside().slow = MINUTE * 20;
        stage.pass(MINUTE * 40).await;
        assert_eq!(stage.apple.asked(), 1, "nothing is sent twice");
        assert!(scheduled(&stage.states(wave).await));
    }
}

#[tokio::test]
async fn most_effects_are_proved_within_minutes() {
    let stage = Stage::new(3, MINUTE * 2, &[]).await;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 5).await;
    assert!(scheduled(&stage.states(wave).await));
}

#[tokio::test]
async fn what_never_reached_apple_is_sent_again_once_nothing_can_come_any_more() {
    let stage = Stage::new(3, MINUTE, &[Fate::Lost]).await;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 14).await;
    assert_eq!(stage.apple.asked(), 1);
    stage.pass(MINUTE * 6).await;
    assert_eq!(stage.apple.asked(), 2);
    assert!(scheduled(&stage.states(wave).await));
}

#[tokio::test]
async fn a_cancellation_waits_for_a_schedule_that_may_still_take_effect() {
    for (devices, lag) in [(2, 5), (8, 5), (2, 14)] {
        let stage = Stage::new(devices, MINUTE * lag, &[Fate::Unanswered]).await;
        let wave = stage.submit("one", &stage.serials).await;
        stage.pass(MINUTE).await;
        stage.apple.inside().lag = MINUTE;
        stage.cancel(&stage.serials).await;
        stage.pass(MINUTE * 60).await;
        for serial in &stage.serials {
            let status = stage.apple.status(serial);
            assert_eq!(status, Some(MigrationStatus::Failed), "{serial}");
        }
        for state in stage.states(wave).await {
            assert_eq!(state, MoveState::Ended(Outcome::Cancelled));
        }
        assert_eq!(stage.apple.asked(), 2, "one schedule, one cancellation");
    }
}

#[tokio::test]
async fn a_schedule_that_was_lost_and_is_cancelled_is_never_sent_again() {
    let stage = Stage::new(2, MINUTE, &[Fate::Lost]).await;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE).await;
    stage.cancel(&stage.serials).await;
    stage.pass(MINUTE * 60).await;
    assert_eq!(stage.apple.asked(), 1);
    for state in stage.states(wave).await {
        assert!(matches!(state, MoveState::Ended(_)), "{state:?}");
    }
    assert_eq!(stage.apple.status(&stage.serials[0]), None);
}

#[tokio::test]
async fn an_activity_that_cannot_be_looked_at_holds_up_no_other_and_has_an_end() {
    let stage = Stage::new(4, MINUTE, &[]).await;
    stage.apple.inside().looks = Looks::Never;
    let first = stage.submit("one", &stage.serials[..2]).await;
    stage.pass(MINUTE).await;
    let second = stage.submit("two", &stage.serials[2..]).await;
    stage.pass(MINUTE * 10).await;
    assert!(scheduled(&stage.states(second).await));
    // The devices themselves tell of the first.
    stage.pass(MINUTE * 300).await;
    assert!(scheduled(&stage.states(first).await));
    for errand in stage.errands().await {
        assert_eq!(errand.state, ErrandState::Done);
    }
    assert_eq!(stage.apple.asked(), 2);
}

#[tokio::test]
async fn what_apple_still_works_on_is_called_back_at_apple() {
    // Longer than a request counts as late, and shorter than it is waited for.
    let stage = Stage::new(2, MINUTE * 60, &[]).await;
    stage.apple.inside().looks = Looks::Never;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 40).await;
    for state in stage.states(wave).await {
        let late = matches!(state, MoveState::SubmitFailed { may_come: true, .. });
        assert!(late, "{state:?}");
    }
    let org = stage.org().await;
    let one = &stage.serials[..1];
    let refused = org.remove_members(wave, Some(one), "the wrong ones").await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("call it back"), "{refused}");
    assert_eq!(org.remove_members(wave, None, "all").await.unwrap(), 0);
    assert_eq!(org.submitted_members(wave).await.unwrap(), stage.serials);
    stage.apple.inside().lag = MINUTE;
    stage.cancel(&stage.serials).await;
    for state in stage.states(wave).await {
        assert!(matches!(state, MoveState::Cancelling { .. }), "{state:?}");
    }
    stage.pass(MINUTE * 400).await;
    for serial in &stage.serials {
        let status = stage.apple.status(serial);
        assert_eq!(status, Some(MigrationStatus::Failed), "{serial}");
    }
    for state in stage.states(wave).await {
        assert_eq!(state, MoveState::Ended(Outcome::Cancelled));
    }
    assert_eq!(stage.apple.asked(), 2, "one schedule, one cancellation");
}

#[tokio::test]
async fn what_never_comes_is_taken_out_once_the_request_has_ended() {
    let stage = Stage::new(2, MINUTE * 100_000, &[]).await;
    stage.apple.inside().looks = Looks::Never;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 300).await;
    assert!(stage.errands().await[0].is_ended());
    for state in stage.states(wave).await {
        let failed = matches!(
            state,
            MoveState::SubmitFailed {
                may_come: false,
                ..
            }
        );
        assert!(failed, "{state:?}");
    }
    let org = stage.org().await;
    let removed = org.remove_members(wave, None, "all").await;
    assert_eq!(removed.unwrap(), 2);
}

#[tokio::test]
async fn a_result_file_that_is_gone_delays_the_proof_and_does_not_stop_it() {
    let stage = Stage::new(2, MINUTE, &[]).await;
    stage.apple.inside().looks = Looks::NoFile;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 60).await;
    assert!(scheduled(&stage.states(wave).await));
    let errand = &stage.errands().await[0];
    assert_eq!((&errand.state, &errand.result), (&ErrandState::Done, &None));
    assert!(errand.status.as_deref().unwrap().contains("410"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_decided_while_an_errand_is_under_way_does_not_wait_for_the_lease() {
    let stage = Stage::new(4, MINUTE, &[Fate::Hangs]).await;
    stage.mdm.set_patience(Some(Duration::from_millis(20)));
    stage.submit("one", &stage.serials[..2]).await;
    // As a server does: rounds go on while the first request hangs.
    let round = async || {
        stage.mdm.work(100).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        stage.clock.advance(Duration::from_secs(1));
    };
    while stage.apple.asked() == 0 {
        round().await;
    }
    stage.submit("two", &stage.serials[2..]).await;
    for _ in 0..5 {
        round().await;
    }
    stage.apple.let_go.notify_one();
    let began = stage.clock.now();
    while stage.apple.asked() < 2 {
        round().await;
        let waited = stage.clock.now().since(began);
        assert!(waited < MINUTE, "the second still waits after {waited:?}");
    }
    stage.mdm.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_have_one_request_under_way_and_keep_the_order() {
    let stage = Stage::new(6, MINUTE, &[Fate::Hangs]).await;
    let (one, two) = (&stage.mdm, stage.process());
    for process in [one, &two] {
        process.set_patience(Some(Duration::from_millis(20)));
    }
    let round = async |process: &mdm_core::service::Mdm| {
        process.work(100).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        stage.clock.advance(Duration::from_secs(1));
    };
    stage.submit("first", &stage.serials[..2]).await;
    while stage.apple.asked() == 0 {
        round(one).await;
    }
    // While the first hangs in one process, two more are decided on in the other one, which goes on for a while.
    stage.submit("second", &stage.serials[2..4]).await;
    stage.submit("third", &stage.serials[4..]).await;
    for _ in 0..60 {
        round(&two).await;
    }
    assert_eq!(stage.apple.asked(), 1, "{:?}", stage.apple.asked_for());
    stage.apple.let_go.notify_one();
    let began = stage.clock.now();
    while stage.apple.asked() < 3 {
        round(one).await;
        round(&two).await;
        let waited = stage.clock.now().since(began);
        assert!(waited < MINUTE, "the others still wait after {waited:?}");
    }
    let in_order: Vec<_> = stage.serials.chunks(2).map(<[_]>::to_vec).collect();
    assert_eq!(stage.apple.asked_for(), in_order);
    one.idle().await;
    two.idle().await;
}

#[tokio::test]
async fn many_cancellations_and_earlier_deadlines_take_two_persons() {
    let stage = Stage::new(60, MINUTE, &[]).await;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 20).await;
    assert!(scheduled(&stage.states(wave).await));
    let org = stage.org().await;
    let (anna, bo) = (org.clone().acting_for("Anna"), org.acting_for("Bo"));
    let act = |what, serials: &[Serial]| Act {
        what,
        serials: serials.to_vec(),
        reason: Some("the pilot failed".to_owned()),
    };
    let asked = stage.apple.asked();
    let does = async |by: &Org, act: &Act| {
        let plan = by.plan_act(act).await.unwrap();
        by.do_act(act, &plan.digest).await.unwrap()
    };

    // Twenty alone; six more are too many for one person and a day.
    let some = act(MigrationAct::Cancel, &stage.serials[..20]);
    assert_eq!(does(&anna, &some).await.approval, None);
    let more = act(MigrationAct::Cancel, &stage.serials[20..26]);
    let waits = does(&anna, &more).await;
    assert!(waits.errands.is_empty());
    let waits = waits.approval.unwrap();
    stage.pass(MINUTE * 20).await;
    assert_eq!(stage.apple.asked(), asked + 1, "only the first twenty");
    assert!(matches!(
        anna.confirm(waits).await,
        Err(Error::Precondition(_))
    ));
    let done = bo.confirm(waits).await.unwrap().act.unwrap();
    assert_eq!(done.errands.len(), 1);
    stage.pass(MINUTE * 20).await;
    assert_eq!(stage.apple.asked(), asked + 2);
    for serial in &stage.serials[..26] {
        assert_eq!(stage.apple.status(serial), Some(MigrationStatus::Failed));
    }

    // An earlier deadline always; and when anything has changed since, nothing is done.
    let early = MigrationAct::Force {
        deadline: START + DAY * 10,
    };
    let plan = anna.plan_act(&act(early, &stage.serials[26..30])).await;
    let plan = plan.unwrap();
    // Nobody is asked before that: nothing could be enforced.
    assert_eq!((plan.requests.len(), plan.findings.len()), (0, 4));
    assert!(plan.findings[&stage.serials[26]][0].contains("is offered from"));
    let deadline = START + DAY * 12;
    let force = act(MigrationAct::Force { deadline }, &stage.serials[26..30]);
    let waits = does(&anna, &force).await.approval.unwrap();
    let one = act(MigrationAct::Cancel, &stage.serials[26..27]);
    assert_eq!(does(&bo, &one).await.approval, None);
    stage.pass(MINUTE * 20).await;
    assert!(matches!(
        bo.confirm(waits).await,
        Err(Error::Precondition(_))
    ));
    let force = act(MigrationAct::Force { deadline }, &stage.serials[27..30]);
    let waits = does(&anna, &force).await.approval.unwrap();
    bo.confirm(waits).await.unwrap();
    stage.pass(MINUTE * 20).await;
    for serial in &stage.serials[27..30] {
        let shown = stage.apple.inside().devices[serial].deadline;
        assert_eq!(shown, Some(deadline));
    }
    let record = bo.record_tail(1000).await.unwrap();
    let forced = record.iter().find(|e| e.what == "migration.force").unwrap();
    assert_eq!(forced.actor, "Anna");
    let second = record.iter().rfind(|e| e.what == "approval.confirmed");
    assert_eq!(second.unwrap().actor, "Bo");
    assert_eq!(second.unwrap().detail["asked_by"], "Anna");
}

fn starts(stage: &Stage, serial: &Serial) {
    let mut inside = stage.apple.inside();
    inside.devices.get_mut(serial).unwrap().status = Some(MigrationStatus::Started);
}

#[tokio::test]
async fn who_begins_before_the_second_person_confirms_keeps_nobody_else_from_being_called_back() {
    let stage = Stage::new(40, MINUTE, &[]).await;
    let wave = stage.submit("one", &stage.serials[..38]).await;
    stage.pass(MINUTE * 20).await;
    let org = stage.org().await;
    let (anna, bo) = (org.clone().acting_for("Anna"), org.acting_for("Bo"));
    let act = Act {
        what: MigrationAct::Cancel,
        serials: stage.serials.clone(),
        reason: Some("the pilot failed".to_owned()),
    };
    let plan = anna.plan_act(&act).await.unwrap();
    // Two of them are not under way yet.
    assert_eq!((plan.members, plan.blocked), (40, 2));
    let waits = anna.do_act(&act, &plan.digest).await.unwrap();
    let waits = waits.approval.unwrap();

    // One begins, one is called back by somebody else, the two get under way, and the lists are read again.
    let [begins, called] = [0, 1].map(|n| stage.serials[n].clone());
    starts(&stage, &begins);
    let other = stage.submit("two", &stage.serials[38..]).await;
    stage.cancel(std::slice::from_ref(&called)).await;
    stage.pass(MINUTE * 30).await;
    bo.pull(&stage.serials).await.unwrap();
    let asked = stage.apple.asked();
    let done = bo.confirm(waits).await.unwrap().act.unwrap();
    assert_eq!((done.members, done.blocked), (40, 4));
    let left: Vec<&Serial> = done.left_out.keys().collect();
    let meant = [&begins, &called, &stage.serials[38], &stage.serials[39]];
    assert_eq!(left, meant, "{:?}", done.left_out);
    assert!(done.left_out[&begins][0].contains("it has begun"));
    assert!(done.left_out[&stage.serials[38]][0].contains("not among those"));
    stage.pass(MINUTE * 60).await;
    assert_eq!(
        stage.apple.asked(),
        asked + 1,
        "one request for all of them"
    );
    let sent = stage.apple.asked_for().pop().unwrap();
    assert_eq!(sent, stage.serials[2..38]);
    for serial in &sent {
        assert_eq!(stage.apple.status(serial), Some(MigrationStatus::Failed));
    }
    for member in stage.states(wave).await {
        let ended = member == MoveState::Ended(Outcome::Cancelled);
        assert!(ended || matches!(member, MoveState::Started { .. }));
    }
    assert!(scheduled(&stage.states(other).await));
    let again = bo.confirm(waits).await;
    assert!(matches!(again, Err(Error::Precondition(_))), "{again:?}");
    let record = bo.record_tail(1000).await.unwrap();
    let entry = record.iter().find(|e| e.what == "approval.left-out");
    let named = &entry.unwrap().detail["left_out"]["serials"];
    assert_eq!(named[0], begins.as_str());
}

#[tokio::test]
async fn another_attempt_than_the_one_that_was_confirmed_is_not_called_back() {
    let stage = Stage::new(30, MINUTE, &[]).await;
    stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 20).await;
    let org = stage.org().await;
    let (anna, bo) = (org.clone().acting_for("Anna"), org.acting_for("Bo"));
    let act = Act {
        what: MigrationAct::Cancel,
        serials: stage.serials.clone(),
        reason: None,
    };
    let plan = anna.plan_act(&act).await.unwrap();
    let waits = anna.do_act(&act, &plan.digest).await.unwrap();
    let again = stage.serials[..1].to_vec();
    stage.cancel(&again).await;
    stage.pass(MINUTE * 30).await;
    let wave = stage.submit("again", &again).await;
    stage.pass(MINUTE * 20).await;
    assert!(scheduled(&stage.states(wave).await));
    let done = bo.confirm(waits.approval.unwrap()).await.unwrap();
    let done = done.act.unwrap();
    assert_eq!(done.left_out.keys().collect::<Vec<_>>(), [&again[0]]);
    stage.pass(MINUTE * 30).await;
    assert!(scheduled(&stage.states(wave).await));
    let failed = Some(MigrationStatus::Failed);
    assert_eq!(stage.apple.status(&stage.serials[1]), failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_errand_that_may_be_sent_again_waits_for_what_another_process_asks() {
    // A round that is given less than a busy machine needs leaves its lease behind.
    const ROUND: Duration = Duration::from_millis(150);
    let stage = Stage::new(6, MINUTE, &[Fate::Lost, Fate::Hangs]).await;
    let (one, two) = (&stage.mdm, stage.process());
    for process in [one, &two] {
        process.set_patience(Some(ROUND));
    }
    let round = async |process: &mdm_core::service::Mdm| {
        process.work(100).await.unwrap();
        // Long enough for what the round has begun, so that the clock does not run away from it.
        tokio::time::sleep(ROUND).await;
        stage.clock.advance(Duration::from_secs(1));
    };
    stage.submit("first", &stage.serials[..2]).await;
    let sent = stage.clock.now();
    stage.pass(MINUTE * 14).await;
    assert_eq!(stage.apple.asked(), 1, "the first is lost");
    // It may be sent again once its effect cannot come any more. A little before that the second goes, and hangs.
    stage.submit("second", &stage.serials[2..4]).await;
    while stage.apple.asked() == 1 {
        round(one).await;
    }
    let waited = stage.clock.now().since(sent);
    assert!(waited < MINUTE * 15, "too late to tell: {waited:?}");
    // What is decided now makes the other process look through all of them.
    stage.clock.set(sent + MINUTE * 15 + Duration::from_secs(5));
    stage.submit("third", &stage.serials[4..]).await;
    // For less than what is asked may be under way.
    for _ in 0..20 {
        round(&two).await;
    }
    assert_eq!(stage.apple.asked(), 2, "{:?}", stage.apple.asked_for());
    stage.apple.let_go.notify_one();
    let began = stage.clock.now();
    while stage.apple.asked() < 4 {
        round(one).await;
        round(&two).await;
        let waited = stage.clock.now().since(began);
        assert!(
            waited < MINUTE * 3,
            "the others still wait after {waited:?}"
        );
    }
    let of: Vec<_> = stage.serials.chunks(2).map(<[_]>::to_vec).collect();
    let sent = [&of[0], &of[1], &of[0], &of[2]].map(Clone::clone);
    assert_eq!(stage.apple.asked_for(), sent);
    one.idle().await;
    two.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_longer_than_its_lease_is_followed_up_in_time() {
    let stage = Stage::new(2, MINUTE, &[Fate::Hangs]).await;
    stage.mdm.set_patience(Some(Duration::from_millis(20)));
    let wave = stage.submit("one", &stage.serials).await;
    let round = async || {
        stage.mdm.work(100).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        stage.clock.advance(Duration::from_secs(1));
    };
    while stage.apple.asked() == 0 {
        round().await;
    }
    // The lease ends while the request hangs, and the job is claimed once more.
    stage.clock.advance(Duration::from_secs(301));
    for _ in 0..3 {
        round().await;
    }
    stage.apple.let_go.notify_one();
    let began = stage.clock.now();
    while !scheduled(&stage.states(wave).await) {
        round().await;
        let waited = stage.clock.now().since(began);
        assert!(waited < MINUTE * 4, "not proved after {waited:?}");
    }
    stage.mdm.idle().await;
}

#[tokio::test]
async fn who_is_at_the_destination_already_is_named() {
    let stage = Stage::new(2, MINUTE, &[]).await;
    let first = stage.serials[0].clone();
    let there = Some(OURS.to_owned());
    stage
        .apple
        .inside()
        .devices
        .get_mut(&first)
        .unwrap()
        .assigned_server = there;
    let org = stage.org().await;
    org.pull(&stage.serials).await.unwrap();
    let wave = stage.plan("one", &stage.serials, &[]).await;
    let what_if = org.what_if(wave).await.unwrap();
    let sentence = "original.kind: it is ours already: it is assigned to the destination";
    let blocked: Vec<_> = what_if.blockers.iter().collect();
    assert_eq!(blocked.len(), 1, "{blocked:?}");
    assert_eq!(*blocked[0].0, first);
    assert!(blocked[0].1[0].starts_with(sentence), "{blocked:?}");
}

#[tokio::test]
async fn a_cancellation_finds_what_was_sent_once_a_person_had_settled_it() {
    let stage = Stage::new(2, MINUTE * 5, &[Fate::Refused, Fate::Unanswered]).await;
    let wave = stage.submit("one", &stage.serials).await;
    // The terms are accepted; half an hour later it goes out, and its answer is lost.
    while stage.apple.asked() == 0 {
        stage.pass(MINUTE).await;
    }
    stage.apple.inside().lag = MINUTE;
    stage.cancel(&stage.serials).await;
    stage.pass(MINUTE * 60).await;
    for serial in &stage.serials {
        let status = stage.apple.status(serial);
        assert_eq!(status, Some(MigrationStatus::Failed), "{serial}");
    }
    for state in stage.states(wave).await {
        assert_eq!(state, MoveState::Ended(Outcome::Cancelled));
    }
}

#[tokio::test]
async fn who_was_moved_further_in_the_portal_counts_to_that_and_is_followed_to_its_end() {
    let stage = Stage::new(1, MINUTE, &[]).await;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 30).await;
    assert!(scheduled(&stage.states(wave).await));
    stage.extend(START + DAY * 40).await;
    // Before ours is sent, somebody moves it in the portal.
    let device = stage.serials[0].clone();
    let further = START + DAY * 50;
    let change = |change: &dyn Fn(&mut mdm_core::device::OrgReading)| {
        change(stage.apple.inside().devices.get_mut(&device).unwrap());
    };
    change(&|reading| reading.deadline = Some(further));
    stage.pass(MINUTE * 30).await;
    assert_eq!(stage.apple.asked(), 1, "it would become earlier");
    let members = stage.org().await.members(wave).await.unwrap();
    assert_eq!(members[0].deadline, further);
    // Once more, and this time nobody here asked for anything; the user begins before it was read.
    change(&|reading| {
        reading.deadline = Some(START + DAY * 55);
        reading.status = Some(MigrationStatus::Started);
    });
    stage.org().await.pull(&stage.serials).await.unwrap();
    let states = stage.states(wave).await;
    assert!(matches!(states[0], MoveState::Started { .. }), "{states:?}");
}

#[tokio::test]
async fn many_devices_are_planned_though_the_lists_take_long() {
    let stage = Stage::new(12, MINUTE, &[]).await;
    stage.pass(MINUTE * 60).await;
    stage.apple.inside().tight = Some(MINUTE * 4);
    let wave = stage.plan("one", &stage.serials, &[]).await;
    let cancel = Act {
        what: MigrationAct::Cancel,
        serials: stage.serials.clone(),
        reason: None,
    };
    let org = stage.org().await;
    let began = stage.clock.now();
    let plan = loop {
        match org.plan_act(&cancel).await {
            Ok(plan) => break plan,
            Err(error) => assert!(error.retry_after().is_some(), "{error}"),
        }
        stage.pass(MINUTE).await;
        let waited = stage.clock.now().since(began);
        assert!(waited < MINUTE * 90, "no plan after {waited:?}");
    };
    let age = |w: &String| w.starts_with("what Apple says of the devices was read from");
    assert!(plan.warnings.iter().any(age), "{plan:?}");
    // Who takes a while to read the plan may accept it.
    stage.pass(MINUTE * 15).await;
    org.do_act(&cancel, &plan.digest).await.unwrap();
    for state in stage.states(wave).await {
        assert_eq!(state, MoveState::Ended(Outcome::Withdrawn));
    }
}

#[tokio::test]
async fn a_deadline_that_has_come_too_near_meanwhile_is_not_sent() {
    let stage = Stage::new(2, MINUTE, &[]).await;
    let wave = stage.submit("one", &stage.serials).await;
    // Nobody worked for a month but an hour less than the notice that people have.
    stage.clock.set(START + DAY * 29 + MINUTE * 60);
    stage.pass(MINUTE * 20).await;
    assert_eq!(stage.apple.asked(), 0);
    for state in stage.states(wave).await {
        let MoveState::SubmitFailed { why, .. } = state else {
            panic!("{state:?}");
        };
        assert!(why.contains("nearer than 24 hours"), "{why}");
        assert!(why.contains("give a later one"), "{why}");
    }
    // Less notice is a setting of the organisation, and then it goes.
    let org = stage.org().await;
    for bad in [0, 721] {
        let refused = org.set_what_if(&BTreeMap::new(), Some(bad)).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.starts_with("notice_hours: "), "{refused}");
    }
    let settings = org.set_what_if(&BTreeMap::new(), Some(2)).await.unwrap();
    assert_eq!(settings.notice_hours, 2);
    stage.accept(wave).await;
    stage.pass(MINUTE * 20).await;
    assert_eq!(stage.apple.asked(), 1);
    assert!(scheduled(&stage.states(wave).await));
}

#[tokio::test]
async fn an_extension_keeps_to_the_window_and_to_the_days_that_are_kept_free() {
    let stage = Stage::new(2, MINUTE, &[]).await;
    let org = stage.org().await.acting_for("Anna");
    let mut calendar = Calendar::default();
    let free = r#"{"first": "2026-12-21", "last": "2027-01-03", "why": "holidays"}"#;
    calendar.blackouts = vec![serde_json::from_str(free).unwrap()];
    let change = ProjectChange {
        window: Some(Window {
            not_before: None,
            not_after: Some(START + DAY * 50),
        }),
        calendar: Some(calendar),
        ..ProjectChange::default()
    };
    let project = org.new_project("move", stage.destination, &change).await;
    let project = project.unwrap().id;
    org.switch_project(project, true).await.unwrap();
    let wave = org.new_wave(project, "all", None).await.unwrap().id;
    let dates = Dates {
        deadline: Some(START + DAY * 7),
        available_from: Some(START + DAY),
    };
    org.add_members(wave, &stage.serials, dates).await.unwrap();
    let seen = org.run_what_if(wave).await.unwrap();
    org.accept(wave, &seen.digest, &[], "").await.unwrap();
    org.submit_accepted(wave, "all").await.unwrap();
    stage.pass(MINUTE * 20).await;
    assert!(scheduled(&stage.states(wave).await));

    let act = |deadline| Act {
        what: MigrationAct::Extend { deadline },
        serials: stage.serials.clone(),
        reason: None,
    };
    let asked = stage.apple.asked();
    for (deadline, why) in [
        (START + DAY * 60, "outside of the project's window"),
        (START + DAY * 20, "a day that is kept free"),
    ] {
        let act = act(deadline);
        let plan = org.plan_act(&act).await.unwrap();
        assert_eq!((plan.members, plan.blocked), (2, 2), "{deadline}");
        for findings in plan.findings.values() {
            assert!(findings[0].contains(why), "{findings:?}");
        }
        let refused = org.do_act(&act, &plan.digest).await;
        assert!(
            matches!(refused, Err(Error::Precondition(_))),
            "{refused:?}"
        );
    }
    stage.pass(MINUTE * 20).await;
    assert_eq!(stage.apple.asked(), asked, "nothing was sent");
    let act = act(START + DAY * 40);
    let plan = org.plan_act(&act).await.unwrap();
    assert_eq!(plan.findings, BTreeMap::new());
    org.do_act(&act, &plan.digest).await.unwrap();
}

#[tokio::test]
async fn an_extension_leaves_who_was_not_asked_yet_the_notice_that_is_owed() {
    let stage = Stage::new(2, MINUTE, &[]).await;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 20).await;
    assert!(scheduled(&stage.states(wave).await));
    // Nobody was asked, and the deadline has passed.
    stage.clock.set(START + DAY * 30 + MINUTE * 180);
    stage.pass(MINUTE).await;
    for state in stage.states(wave).await {
        assert!(matches!(state, MoveState::Overdue { .. }), "{state:?}");
    }
    let org = stage.org().await;
    let act = |hours: u32| Act {
        what: MigrationAct::Extend {
            deadline: stage.clock.now() + MINUTE * 60 * hours,
        },
        serials: stage.serials.clone(),
        reason: None,
    };
    let asked = stage.apple.asked();
    let near = act(18);
    let plan = org.plan_act(&near).await.unwrap();
    assert_eq!((plan.members, plan.blocked), (2, 2));
    for findings in plan.findings.values() {
        assert!(findings[0].contains("nobody was asked yet"), "{findings:?}");
    }
    let refused = org.do_act(&near, &plan.digest).await;
    assert!(
        matches!(refused, Err(Error::Precondition(_))),
        "{refused:?}"
    );
    assert_eq!(stage.apple.asked(), asked, "nothing was sent");

    // Who was asked before gets the hours that whoever extends gives, and that is said.
    let mut batch = mdm_core::store::Batch::new();
    let mut first = org.members(wave).await.unwrap().remove(0);
    first.offered = Some(START + DAY * 10);
    batch.put(first);
    stage.mdm.store().commit(batch).await.unwrap();
    let plan = org.plan_act(&near).await.unwrap();
    assert_eq!((plan.members, plan.blocked), (2, 1));
    assert!(plan.findings.contains_key(&stage.serials[1]));
    let said = |warnings: &[String]| warnings.iter().any(|w| w.starts_with("notice: 1 users"));
    assert!(said(&plan.warnings), "{:?}", plan.warnings);

    let later = act(25);
    let plan = org.plan_act(&later).await.unwrap();
    assert_eq!(plan.findings, BTreeMap::new());
    assert!(!said(&plan.warnings), "{:?}", plan.warnings);
    org.do_act(&later, &plan.digest).await.unwrap();
    assert!(!scheduled(&stage.states(wave).await), "one was offered it");
    for state in stage.states(wave).await {
        assert!(!matches!(state, MoveState::Overdue { .. }), "{state:?}");
    }
}
