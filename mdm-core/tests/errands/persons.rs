//! What two persons confirm: many cancellations, and deadlines that take time away. What has changed since the first one asked is
//! left out or refused.

use mdm_core::device::MigrationStatus;
use mdm_core::error::Error;
use mdm_core::ids::{Serial, WaveId};
use mdm_core::migration::{MoveState, Outcome};
use mdm_core::service::{Act, MigrationAct, Org};

use super::apple::{DAY, MINUTE, START};
use super::stage::Stage;
use super::{scheduled, starts};

/// So many devices, of which so many are under way by a wave, and the two who are asked.
async fn two_persons(devices: usize, under_way: usize) -> (Stage, WaveId, Org, Org) {
    let stage = Stage::new(devices, MINUTE, &[]).await;
    let wave = stage.submit("one", &stage.serials[..under_way]).await;
    stage.pass(MINUTE * 20).await;
    let org = stage.org().await;
    let (anna, bo) = (org.clone().acting_for("Anna"), org.acting_for("Bo"));
    (stage, wave, anna, bo)
}

#[tokio::test]
async fn many_cancellations_and_earlier_deadlines_take_two_persons() {
    let (stage, wave, anna, bo) = two_persons(60, 60).await;
    assert!(scheduled(&stage.states(wave).await));
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

#[tokio::test]
async fn who_begins_before_the_second_person_confirms_keeps_nobody_else_from_being_called_back() {
    let (stage, wave, anna, bo) = two_persons(40, 38).await;
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
    let (stage, _, anna, bo) = two_persons(30, 30).await;
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
