//! Clearing away, where a row cannot be read: that one stays as it is, and the round goes on, in its organisation and in all others.

mod service_house;

use std::time::Duration;

use mdm_core::device::Device;
use mdm_core::ids::{DeviceId, Serial};
use mdm_core::original::{DeviceOwner, Said};
use mdm_core::service::{IdentitySettings, Org};
use mdm_core::store::Batch;
use service_house::House;

const DAY: Duration = Duration::from_hours(24);

fn serial() -> Serial {
    Serial::parse("C02KEPT001").unwrap()
}

/// An organisation with a device whose owner is known, which keeps that for thirty days.
async fn keeps(house: &House, org: &Org) {
    let own = org.organisation().id;
    let mut batch = Batch::new();
    batch.put(Device::new(own, DeviceId(house.next_id()), serial()));
    house.mdm.store().commit(batch).await.unwrap();
    keeps_owner(house, org, "Eva Ander").await;
    let keep = IdentitySettings {
        owner_days: Some(30),
        ..IdentitySettings::default()
    };
    org.set_identities(keep).await.unwrap();
}

async fn keeps_owner(house: &House, org: &Org, name: &str) {
    let mut said = Said::nothing(serial());
    let mut owner = DeviceOwner::default();
    owner.name = Some(name.to_owned());
    said.owner = Some(owner);
    let read = house.mdm.now();
    let taken = org.import_originals("Old MDM", read, vec![said]).await;
    assert_eq!(taken.unwrap().changed, 1);
}

/// What some rounds of the worker could not do.
async fn failures(house: &House) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..20 {
        let done = Box::pin(house.mdm.work(50)).await;
        all.extend(done.err().map(|error| error.to_string()));
    }
    all
}

#[tokio::test]
async fn a_row_that_cannot_be_read_keeps_nothing_else_from_being_cleared_away() {
    let house = House::new().await;
    let one = house.org().await;
    let made = house.mdm.create_organisation("Other", Vec::new()).await;
    let other = made.unwrap().org;
    keeps(&house, &one).await;
    keeps(&house, &other).await;
    // The first round only sets the time of the next.
    house.settle().await;
    let own = one.organisation().id;
    assert!(
        own < other.organisation().id,
        "the other one comes after it"
    );
    let spoil = format!("UPDATE originals SET doc = '{{}}' WHERE organisation = {own}");
    assert_eq!(house.spoil(&spoil).await, 1);
    house.clock.advance(40 * DAY);
    let failed = failures(&house).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert!(one.original(&serial()).await.is_err(), "it is as it was");
    let facts = other.original(&serial()).await.unwrap();
    assert_eq!(facts.owner, None, "its time was over ten days ago");
    // What comes later goes in the next round.
    keeps_owner(&house, &other, "Ida Berg").await;
    house.clock.advance(40 * DAY);
    assert!(failures(&house).await.is_empty());
    let facts = other.original(&serial()).await.unwrap();
    assert_eq!(facts.owner, None, "its time was over ten days ago");
}

#[tokio::test]
async fn an_organisation_that_cannot_be_cleared_away_keeps_no_other_and_no_round_from_its_end() {
    let house = House::new().await;
    let one = house.org().await;
    let made = house.mdm.create_organisation("Other", Vec::new()).await;
    let other = made.unwrap().org;
    keeps(&house, &other).await;
    // The first round only sets the time of the next.
    house.settle().await;
    let (own, others) = (one.organisation().id, other.organisation().id);
    for of in [own, others] {
        let over = format!("INSERT INTO repeats VALUES ({of}, 1, 1, 'key', 0, '{{}}')");
        assert_eq!(house.spoil(&over).await, 1);
    }
    let stays = format!(
        "CREATE TRIGGER stays BEFORE DELETE ON repeats WHEN OLD.organisation = {own} BEGIN SELECT RAISE(ABORT, 'it stays'); END"
    );
    house.spoil(&stays).await;
    house.clock.advance(40 * DAY);
    let failed = failures(&house).await;
    assert!(failed.is_empty(), "{failed:?}");
    for (of, left) in [(own, 1), (others, 0)] {
        let still = format!("UPDATE repeats SET version = 2 WHERE organisation = {of}");
        assert_eq!(house.spoil(&still).await, left, "{of}");
    }
    // What comes after that piece was done, too.
    let facts = other.original(&serial()).await.unwrap();
    assert_eq!(facts.owner, None, "its time was over ten days ago");
}
