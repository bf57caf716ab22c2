//! Attempts that nothing but a person's word ends: their wave and project close, their place is free, and what is kept stays. One that
//! ends otherwise, or whose device can be reached, is given up by nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::approval::Wanted;
use mdm_core::device::Platform;
use mdm_core::errand::{Errand, ErrandKind, ErrandMember, ErrandState, Sending};
use mdm_core::error::Error;
use mdm_core::evidence::{ReportAsk, WholeReport};
use mdm_core::gap::{GapGroup, GapPlace};
use mdm_core::ids::{ApprovalId, ErrandId, MoveId, RunbookId, Serial, SetUpId};
use mdm_core::migration::{MoveState, Outcome, PinnedRunbook, SetUpPhase, Variant, VisibleState};
use mdm_core::service::{GivenUp, Org};
use mdm_core::store::Batch;

use super::service_house::fleet::serial;
use super::service_house::{House, START};
use super::{DAY, closes, members, says, under_way};

const HOUR: Duration = Duration::from_hours(1);

/// Gives it up alone.
async fn gone(org: &Org, serial: &Serial, reason: &str) -> Outcome {
    match org.give_up(serial, reason).await.unwrap() {
        GivenUp::Done(means) => means.outcome,
        GivenUp::Waits(_) => panic!("somebody else was asked"),
    }
}

#[tokio::test]
async fn a_project_with_a_device_that_died_in_its_hold_closes_and_its_place_is_free() {
    let house = House::new().await;
    let (org, id, pilot) = under_way(&house, 3, 3).await;
    let all = members(&org, pilot).await;
    let mut batch = Batch::new();
    let groups = BTreeSet::from([GapGroup::Tag("till".to_owned())]);
    for (n, mut attempt) in all.into_iter().enumerate() {
        attempt.gap = Some(GapPlace {
            since: START,
            groups: groups.clone(),
        });
        match n {
            0 => {
                let set_up = SetUpId(77);
                attempt.enrolled_as = Some(set_up);
                attempt.state = MoveState::Moving {
                    set_up,
                    since: START,
                };
            }
            // Stolen, and disowned in the portal: no reading shows it anywhere.
            1 => {
                attempt.offered = Some(START);
                attempt.state = MoveState::Cancelling { since: START };
            }
            _ => {
                attempt.state = MoveState::Ended(Outcome::Migrated);
                attempt.ended = Some(START);
                attempt.wake_at = None;
            }
        }
        batch.put(attempt);
    }
    let (store, own) = (house.mdm.store(), org.organisation().id);
    store.commit(batch).await.unwrap();
    says(org.close_project(id).await, "mdmd device give-up");
    let taken = async || {
        store
            .attempts_in_gap(own, MoveId(0), 10)
            .await
            .unwrap()
            .len()
    };
    assert_eq!(taken().await, 2);

    // Not without a reason, not the one that has ended, and not before anybody could know.
    let blank = org.give_up(&serial(0), " ").await;
    assert!(matches!(blank, Err(Error::BadInput { .. })), "{blank:?}");
    says(org.give_up(&serial(2), "x").await, "has ended");
    says(org.give_up(&serial(0), "x").await, "less than a day ago");
    says(org.giving_up(&serial(1)).await, "less than an hour ago");
    // An hour counts from when it was sent: it may wait for a person, and its user may still take the prompt.
    house.clock.advance(2 * HOUR);
    says(org.giving_up(&serial(1)).await, "its call-back was sent");
    let called = members(&org, pilot).await.remove(1);
    let (device, serial_of) = (called.device, called.serial.clone());
    let whom = ErrandMember {
        device,
        serial: serial_of,
        attempt: Some(called.id),
    };
    let kind = ErrandKind::Cancel;
    let mut errand = Errand::new(own, ErrandId(1), kind, vec![whom], "Anna", START);
    errand.wave = Some(pilot);
    errand.state = ErrandState::Done;
    errand.ended = Some(START);
    errand.sendings = vec![Sending {
        at: START + HOUR,
        devices: 1,
        activity: Some("A1".to_owned()),
        outcome: None,
    }];
    let mut batch = Batch::new();
    batch.put(errand);
    store.commit(batch).await.unwrap();
    org.giving_up(&serial(1)).await.unwrap();
    house.clock.advance(23 * HOUR);
    let means = org.giving_up(&serial(0)).await.unwrap();
    assert!(
        means.sentence.contains("as failed") && means.sentence.contains("keys and codes"),
        "{means:?}"
    );
    assert_eq!(members(&org, pilot).await[0].ended, None, "only looked at");

    assert_eq!(gone(&org, &serial(0), "it burned").await, Outcome::Failed);
    let stolen = org.giving_up(&serial(1)).await.unwrap();
    assert!(stolen.sentence.contains("pending at Apple"), "{stolen:?}");
    for word in ["may be lost with their data", "licences"] {
        assert!(stolen.sentence.contains(word), "{stolen:?}");
    }
    assert_eq!(gone(&org, &serial(1), "stolen").await, Outcome::Abandoned);
    let all = members(&org, pilot).await;
    assert_eq!(all[0].state, MoveState::Ended(Outcome::Failed));
    assert_eq!(all[0].exceptions[0].why, "Anna gave it up: it burned");
    assert_eq!(all[1].state, MoveState::Ended(Outcome::Abandoned));
    assert_eq!(all[1].exceptions[0].why, "Anna gave it up: stolen");
    assert_eq!(taken().await, 0);
    // What is known of each device tells it: one that never came has no set-up that would.
    for (n, state, why) in [
        (0, VisibleState::Failed, "it burned"),
        (1, VisibleState::Abandoned, "stolen"),
    ] {
        let known = org.device_report(&serial(n)).await.unwrap();
        assert_eq!(known.state, Some(state));
        assert_eq!(known.attempt.unwrap().id, all[n].id);
        let given_up = known.given_up.unwrap();
        assert_eq!(Some(given_up.at), all[n].ended);
        assert_eq!(given_up.by, "Anna");
        assert_eq!(given_up.reason.as_deref(), Some(why));
        assert_eq!(given_up.confirmed_by, None);
        let mut report = WholeReport::default();
        let of = ReportAsk::Device(serial(n));
        org.report_to(&of, &mut report).await.unwrap();
        let facts: BTreeMap<_, _> = report.head.unwrap().facts.into_iter().collect();
        assert_eq!(facts["given up because"], why);
        assert_eq!(facts["given up by"], "Anna");
        assert_eq!(facts["attempt ended"], facts["given up at"]);
    }
    says(
        org.give_up(&serial(0), "x").await,
        "no attempt that is open",
    );
    let record = org.record_tail(100).await.unwrap();
    let said = record.iter().filter(|e| e.what == "migration.given-up");
    let said: Vec<_> = said.collect();
    assert_eq!(said.len(), 2);
    assert_eq!(said[0].actor, "Anna");
    assert_eq!(said[0].detail["reason"], "it burned");
    assert_eq!(said[0].detail["outcome"], "failed");

    // Its wave closes by itself, and then the project can be.
    house.clock.advance(Duration::from_secs(301));
    for _ in 0..10 {
        house.mdm.work(50).await.unwrap();
    }
    closes(&org, id, pilot).await;
    says(org.pause_wave(pilot, true, "late", true).await, "is closed");
}

#[tokio::test]
async fn where_two_are_demanded_another_confirms_it_and_not_before_it_is_hopeless() {
    let house = House::new().await;
    let (org, _, pilot) = under_way(&house, 1, 1).await;
    let bo = org.clone().acting_for("Bo");
    org.demand_two_persons(true).await.unwrap();
    let mut attempt = members(&org, pilot).await.remove(0);
    attempt.state = MoveState::Overdue { since: START };
    let mut batch = Batch::new();
    batch.put(attempt);
    house.mdm.store().commit(batch).await.unwrap();
    house.clock.advance(13 * DAY);
    says(org.give_up(&serial(0), "lost").await, "after 14 days");
    assert!(bo.approvals(ApprovalId(0), 10).await.unwrap().is_empty());
    house.clock.advance(DAY);
    let means = org.giving_up(&serial(0)).await.unwrap().sentence;
    assert!(means.contains("Another person has to confirm"), "{means}");
    let asked = match org.give_up(&serial(0), "lost").await.unwrap() {
        GivenUp::Waits(asked) => asked,
        GivenUp::Done(_) => panic!("nobody else was asked"),
    };
    assert_eq!(members(&org, pilot).await[0].ended, None);
    let waiting = bo.approvals(ApprovalId(0), 10).await.unwrap();
    let open = members(&org, pilot).await.remove(0);
    let of = |attempt| Wanted::GiveUp {
        serial: serial(0),
        attempt,
    };
    assert_eq!(waiting[0].wanted, of(open.id));
    says(org.confirm(asked).await, "another person");
    // What was asked of another attempt ends this one not.
    let mut row = waiting[0].clone();
    row.wanted = of(MoveId(7));
    let mut batch = Batch::new();
    batch.put(row);
    house.mdm.store().commit(batch).await.unwrap();
    says(bo.confirm(asked).await, "another attempt");
    let mut row = bo.approvals(ApprovalId(0), 10).await.unwrap().remove(0);
    row.wanted = of(open.id);
    let mut batch = Batch::new();
    batch.put(row);
    house.mdm.store().commit(batch).await.unwrap();
    bo.confirm(asked).await.unwrap();
    let ended = members(&org, pilot).await.remove(0);
    assert_eq!(ended.state, MoveState::Ended(Outcome::Abandoned));
    assert_eq!(ended.exceptions[0].why, "Anna gave it up: lost");
    let record = org.record_tail(100).await.unwrap();
    let mut said = record.iter().filter(|e| e.what == "migration.given-up");
    let said = said.next().unwrap();
    assert_eq!(said.actor, "Anna");
    assert_eq!(said.detail["confirmed_by"], "Bo");
    let given_up = org.device_report(&serial(0)).await.unwrap().given_up;
    assert_eq!(given_up.unwrap().confirmed_by.as_deref(), Some("Bo"));
}

#[tokio::test]
async fn one_that_can_be_reached_in_its_hold_is_let_go_instead_and_the_hold_of_a_silent_one_stays_guarded()
 {
    let house = House::new().await;
    let phone = house.device("C02SILENT").await;
    let runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    let id = RunbookId(runbook.content_id());
    let org = house.org().await.acting_for("Anna");
    org.pin("the wave's", runbook).await.unwrap();
    house.attempt(&phone, id).await;
    house.enrol(&phone).await;
    let seen = async || org.device_report(&phone.serial).await.unwrap();
    let set_up = seen().await.set_up.unwrap();
    assert!(set_up.held_since().is_some(), "{set_up:?}");
    house.seal_code(&phone, set_up.id).await;
    let attempt = seen().await.attempt.unwrap();
    assert!(
        matches!(attempt.state, MoveState::Moving { .. }),
        "{attempt:?}"
    );
    says(org.give_up(&phone.serial, "x").await, "mdmd hold release");
    house.clock.advance(23 * HOUR);
    says(org.give_up(&phone.serial, "x").await, "mdmd hold release");

    house.clock.advance(2 * HOUR);
    assert_eq!(
        gone(&org, &phone.serial, "its board is dead").await,
        Outcome::Failed
    );
    let after = seen().await;
    assert_eq!(after.device.open_move, None);
    assert!(
        after.secrets.iter().any(|s| s.kind == "server_bypass_code"
            && s.destroyed.is_none()
            && s.replaced.is_none()),
        "{:?}",
        after.secrets
    );
    // Nobody waits for the attempt any more; the device is let go all the same.
    assert!(after.set_up.unwrap().held_since().is_some());
    house.mdm.watch(50).await.unwrap();
    let let_go = seen().await.set_up.unwrap();
    assert_eq!(let_go.phase(), SetUpPhase::Releasing);
}
