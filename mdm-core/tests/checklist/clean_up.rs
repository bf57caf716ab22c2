//! What the service that devices left has to clean up: who stays on its list, and who comes off it at the word of a person.

use mdm_core::audit::AuditEntry;
use mdm_core::checklist::ItemState;
use mdm_core::clock::Timestamp;
use mdm_core::device::Leaving;
use mdm_core::error::Error;
use mdm_core::evidence::{ReportAsk, WholeReport};
use mdm_core::ids::{AuditId, MoveId, WaveId};
use mdm_core::migration::Outcome;
use mdm_core::service::Org;
use mdm_core::store::Batch;

use super::service_house::House;
use super::{DAY, ended, item, serial, stands, wave};

async fn report(org: &Org, wave: Option<WaveId>) -> WholeReport {
    let mut kept = WholeReport::default();
    let ask = ReportAsk::CleanUp(wave);
    Box::pin(org.report_to(&ask, &mut kept)).await.unwrap();
    let columns = kept.head.as_ref().unwrap().columns.len();
    assert!(kept.rows.iter().all(|row| row.len() == columns));
    kept
}

/// Serial numbers of the list, and whether each is open.
async fn listed(org: &Org, wave: Option<WaveId>) -> Vec<(String, bool)> {
    let report = report(org, wave).await;
    let open = report
        .column("next action")
        .into_iter()
        .map(|c| c.is_string());
    let serials = report.column("serial").into_iter();
    let serials = serials.map(|c| c.as_str().unwrap().to_owned());
    serials.zip(open).collect()
}

#[tokio::test]
async fn who_may_still_be_listed_stays_on_the_clean_up_list_until_somebody_says_otherwise() {
    let house = House::new().await;
    let wave = wave(&house, 5).await;
    let name = "Berlin: clean-up at the original";
    assert_eq!(item(&house, name).await, None, "nobody has left yet");
    let org = house.org().await.acting_for("Anna");
    assert_eq!(listed(&org, Some(wave)).await, []);
    ended(&house, wave, &[0, 1, 2], Outcome::Migrated).await;
    ended(&house, wave, &[3], Outcome::Cancelled).await;
    // What the failures of a device show for a month stays here without end.
    house.clock.advance(DAY * 400);
    let all = |open: [bool; 3]| -> Vec<(String, bool)> {
        let rows = open.iter().enumerate();
        rows.map(|(n, open)| (serial(n).to_string(), *open))
            .collect()
    };
    assert_eq!(listed(&org, Some(wave)).await, all([true, true, true]));
    assert_eq!(listed(&org, None).await, all([true, true, true]));
    let (state, fact) = stands(&house, name).await;
    assert_eq!(state, ItemState::Warn);
    assert!(fact.starts_with("3 of 3 devices"), "{fact}");
    let kept = report(&org, None).await;
    let age = kept.column("age s")[0].as_u64().unwrap();
    assert!(age >= DAY.as_secs() * 400, "{age}");
    assert_eq!(*kept.column("service id")[0], "0A1B2C");
    assert_eq!(*kept.column("who removes it")[0], "original");

    // What is no word is taken from nobody.
    let wrong = |result: Result<usize, Error>, says: &str| {
        let said = result.unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
    };
    let one = [serial(1)];
    wrong(
        org.removed_at_original(wave, Some(&one), " ").await,
        "evidence",
    );
    wrong(org.listed_at_original(wave, Some(&one), "").await, "not");
    for stranger in [serial(3), serial(4), serial(99)] {
        let done = org
            .removed_at_original(wave, Some(&[stranger]), "list")
            .await;
        wrong(done, "is no member of this wave that has migrated");
    }
    let nowhere = org.removed_at_original(WaveId(4711), None, "list").await;
    assert!(matches!(nowhere, Err(Error::NotFound(_))), "{nowhere:?}");
    assert_eq!(listed(&org, Some(wave)).await, all([true, true, true]));

    // One by name, twice; then the rest; then one of them is there after all.
    for new in [1, 0] {
        let done = org
            .removed_at_original(wave, Some(&one), "their list")
            .await;
        assert_eq!(done.unwrap(), new);
    }
    assert_eq!(listed(&org, Some(wave)).await, all([true, false, true]));
    let head = report(&org, None).await.head.unwrap();
    let sums =
        [("to be removed", 2), ("removed", 1)].map(|(name, n)| (name, serde_json::Value::from(n)));
    assert_eq!(head.facts[..], sums);
    assert_eq!(
        head.tables[0].rows[0][1..],
        [2, 1].map(serde_json::Value::from)
    );
    let done = org.removed_at_original(wave, None, "their list").await;
    assert_eq!(done.unwrap(), 2);
    assert_eq!(listed(&org, Some(wave)).await, all([false, false, false]));
    assert_eq!(stands(&house, name).await.0, ItemState::Done);
    let kept = report(&org, Some(wave)).await;
    assert_eq!(*kept.column("said by")[1], "Anna");
    assert_eq!(*kept.column("what shows it")[1], "their list");
    for back in [1, 0] {
        let done = org.listed_at_original(wave, Some(&one), "seen there").await;
        assert_eq!(done.unwrap(), back);
    }
    assert_eq!(listed(&org, Some(wave)).await, all([false, true, false]));
    assert_eq!(stands(&house, name).await.0, ItemState::Warn);
    let record = house.mdm.store().audit(house.org, AuditId(0), 1000).await;
    let record: Vec<AuditEntry> = record.unwrap();
    let count = |what: &str| record.iter().filter(|entry| entry.what == what).count();
    assert_eq!(count("move.removed-at-original"), 3);
    assert_eq!(count("move.listed-at-original"), 1);
    let entry = record.iter().find(|e| e.what == "move.listed-at-original");
    assert_eq!(entry.unwrap().detail["reason"], "seen there");
    assert_eq!(entry.unwrap().actor, "Anna");
}

#[tokio::test]
async fn who_goes_back_or_comes_again_is_nobody_to_be_removed() {
    let house = House::new().await;
    let wave = wave(&house, 4).await;
    ended(&house, wave, &[0, 1, 2, 3], Outcome::Migrated).await;
    let (org, store) = (house.org().await, house.mdm.store());
    house.clock.advance(DAY);
    let attempts = org.members(wave).await.unwrap();
    let mut batch = Batch::new();
    for attempt in &attempts {
        let device = store.device(house.org, attempt.device).await.unwrap();
        let mut device = device.unwrap();
        let n = (0..4).find(|n| serial(*n) == attempt.serial).unwrap();
        match n {
            // It is on its way back.
            0 => {
                let asked = house.mdm.now();
                device.leaving = Some(leaving(asked));
            }
            // It is there again.
            1 => device.reading.as_mut().unwrap().seen = house.mdm.now(),
            // It is to come once more.
            2 => device.open_move = Some(MoveId(house.next_id())),
            _ => continue,
        }
        batch.put(device);
    }
    store.commit(batch).await.unwrap();
    let left = [(serial(3).to_string(), true)];
    assert_eq!(listed(&org, None).await, left);
    let (_, fact) = stands(&house, "Berlin: clean-up at the original").await;
    assert!(fact.starts_with("1 of 1 devices"), "{fact}");
}

fn leaving(asked: Timestamp) -> Leaving {
    serde_json::from_value(serde_json::json!({
        "to": "0A1B2C", "deadline": asked, "asked": asked, "by": "Anna",
    }))
    .unwrap()
}
