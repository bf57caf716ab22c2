//! The chain over the record: what is committed is sealed by itself, whatever is done to the rows afterwards is found, and a
//! checkpoint that left the building finds an end that was cut off.

mod service_house;

use std::time::Duration;

use mdm_core::audit_seal::Checkpoint;
use mdm_core::ids::{AuditId, AuditSealId, ServerId};
use mdm_core::service::{Org, ProjectChange};
use service_house::House;

/// Lets a minute pass, so that the worker seals.
async fn minute(house: &House) {
    house.clock.advance(Duration::from_secs(61));
    while house.mdm.work(50).await.unwrap() > 0 {}
}

/// Writes a line of the record.
async fn act(house: &House, org: &Org, n: usize) {
    let server: ServerId = house.server;
    org.new_project(&format!("project {n}"), server, &ProjectChange::default())
        .await
        .unwrap();
}

async fn sealed() -> (House, Org, Checkpoint) {
    let house = House::new().await;
    let org = house.org().await.acting_for("Anna");
    // The first round only sets the time of the next.
    minute(&house).await;
    for n in 0..3 {
        act(&house, &org, n).await;
        minute(&house).await;
    }
    let checkpoint = org.checkpoint().await.unwrap();
    (house, org, checkpoint)
}

#[tokio::test]
async fn what_is_committed_is_sealed_by_itself_and_once() {
    let (house, org, checkpoint) = sealed().await;
    let id = org.organisation().id;
    let before = house
        .mdm
        .store()
        .audit_seals(id, AuditSealId(0), 100)
        .await
        .unwrap();
    assert!(before.len() >= 3, "{}", before.len());
    assert_eq!(before.last().unwrap().id, checkpoint.seal);
    let entries = house.mdm.store().audit(id, AuditId(0), 1000).await.unwrap();
    let named: usize = before.iter().map(|s| s.entries.len()).sum();
    assert_eq!(named, entries.len());
    // Nothing came: nothing is sealed.
    minute(&house).await;
    let after = house
        .mdm
        .store()
        .audit_seals(id, AuditSealId(0), 100)
        .await
        .unwrap();
    assert_eq!(after.len(), before.len());
    let report = org.verify_record(Some(&checkpoint)).await.unwrap();
    assert_eq!(report.chain.broken, Vec::<String>::new());
    assert_eq!(report.chain.sealed, u64::try_from(entries.len()).unwrap());
    let tail = org.record_tail(2).await.unwrap();
    assert_eq!(tail.len(), 2);
    assert_eq!(tail[1].id, entries.last().unwrap().id);
}

#[tokio::test]
async fn whatever_is_done_to_the_rows_is_found() {
    for (sql, word) in [
        (
            "UPDATE audit SET doc = replace(doc, 'project 1', 'project 9') WHERE doc LIKE '%project 1%'",
            "was changed after it was sealed",
        ),
        (
            "DELETE FROM audit WHERE doc LIKE '%project 1%'",
            "is not there any more",
        ),
        (
            "UPDATE audit_seals SET doc = replace(doc, '\"previous\":\"', '\"previous\":\"0') WHERE id = 2",
            "seal 2",
        ),
        (
            "DELETE FROM audit_seals WHERE id = 2",
            "seal 2 is not there",
        ),
        // The end goes, and the lines that it named: only the checkpoint knows.
        ("DELETE FROM audit_seals WHERE id >= 3", "checkpoint of"),
        // Whoever seals the whole of it anew has another key.
        (
            "DELETE FROM audit_seals",
            "seal 1 is another than that of the checkpoint",
        ),
    ] {
        let (house, org, mut checkpoint) = sealed().await;
        if word.contains("another than") {
            let id = org.organisation().id;
            let first = house
                .mdm
                .store()
                .audit_seals(id, AuditSealId(0), 1)
                .await
                .unwrap();
            let code = org.organisation().code.to_string();
            checkpoint = first[0].checkpoint(&code, &checkpoint.public_key);
        }
        house.spoil(sql).await;
        house.clock.advance(Duration::from_secs(600));
        let report = org.verify_record(Some(&checkpoint)).await.unwrap();
        let broken = report.chain.broken.join("; ");
        assert!(broken.contains(word), "{sql}: {broken}");
    }
}

#[tokio::test]
async fn a_line_that_comes_late_is_sealed_and_counted_and_a_checkpoint_is_checked_first() {
    let (house, org, checkpoint) = sealed().await;
    house
        .spoil(
            "INSERT INTO audit SELECT organisation, id + 1, version, device, \
             replace(replace(doc, '\"actor\":\"Anna\"', '\"actor\":\"Bo\"'), '\"id\":' || id, '\"id\":' || (id + 1)) \
             FROM audit WHERE doc LIKE '%project 1%'",
        )
        .await;
    house.clock.advance(Duration::from_secs(7200));
    let report = org.verify_record(Some(&checkpoint)).await.unwrap();
    assert_eq!(report.chain.broken, Vec::<String>::new());
    assert_eq!((report.chain.late, report.chain.unsealed), (1, 0));
    let mut other = checkpoint.clone();
    other.hash.replace_range(0..2, "zz");
    let said = org
        .verify_record(Some(&other))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("is not signed by the key that it names"),
        "{said}"
    );
    let mut other = checkpoint;
    other.organisation = "someone".to_owned();
    let said = org
        .verify_record(Some(&other))
        .await
        .unwrap_err()
        .to_string();
    assert!(said.contains("another organisation"), "{said}");
}
