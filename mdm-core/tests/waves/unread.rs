//! A wave with a member that cannot be read: the others are steered, and it stays open for that one.

use std::time::Duration;

use mdm_core::error::Error;
use mdm_core::migration::{MoveState, Outcome};
use mdm_core::store::Batch;
use mdm_core::wave::WaveState;

use super::service_house::{House, START};
use super::steering::end;
use super::{members, under_way};

#[tokio::test]
async fn a_wave_is_steered_by_its_other_members_while_one_cannot_be_read_and_stays_open_for_it() {
    let house = House::new().await;
    let (org, _, pilot) = under_way(&house, 6, 6).await;
    end(&house, &org, pilot, &[Outcome::Failed; 3]).await;
    let all = members(&org, pilot).await;
    let bad = all[5].id.0;
    let alter = async |doc: &str| {
        let sql = format!("UPDATE moves SET doc = {doc} WHERE id = {bad}");
        assert_eq!(house.spoil(&sql).await, 1);
    };
    let looked = async || {
        house.clock.advance(Duration::from_secs(301));
        house.mdm.work(50).await.unwrap();
        let row = house.mdm.store().wave(house.org, pilot).await;
        row.unwrap().unwrap()
    };
    alter("'!' || doc").await;
    // The rule stops it, by those that can be read.
    let paused = looked().await.paused.unwrap();
    assert!(paused.is_by_rule(), "{paused:?}");
    assert!(paused.why.contains("3 of 3"), "{}", paused.why);
    let told = org.unreadable().await.unwrap();
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told, [format!("moves.doc {}/{bad}", house.org.0)]);
    // Who has it go on is shown the others; a gate rests on all.
    let standing = org.pause_wave(pilot, false, "the lift", true).await;
    let standing = standing.unwrap();
    assert_eq!((standing.tally.members, standing.tally.failed), (5, 3));
    let signed = org.sign_gate(pilot, "all well", true).await;
    assert!(matches!(signed, Err(Error::Store(_))), "{signed:?}");
    // All others have ended: of this one nobody knows.
    let mut batch = Batch::new();
    for mut attempt in all[3..5].iter().cloned() {
        attempt.state = MoveState::Ended(Outcome::Migrated);
        attempt.ended = Some(START);
        attempt.wake_at = None;
        batch.put(attempt);
    }
    house.mdm.store().commit(batch).await.unwrap();
    let row = looked().await;
    assert!(row.is_submitted() && row.paused.is_none(), "{row:?}");
    alter("substr(doc, 2)").await;
    let ends = [
        Outcome::Failed,
        Outcome::Failed,
        Outcome::Failed,
        Outcome::Migrated,
        Outcome::Migrated,
        Outcome::Migrated,
    ];
    end(&house, &org, pilot, &ends).await;
    let row = looked().await;
    assert!(matches!(row.state, WaveState::Closed { .. }), "{row:?}");
}
