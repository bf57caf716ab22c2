//! A look at a few devices reads what concerns them: however large the waves of other services are, it costs no more statements, and
//! neither does a word by which a step knows other devices.

mod service_house;
mod statements;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::device::{Device, OrgReading, Platform};
use mdm_core::ids::{DeviceId, Serial};
use mdm_core::migration::{PinnedRunbook, StepId, Variant};
use mdm_core::service::{Dates, Detail, Org, ProjectChange, Question};
use mdm_core::store::Batch;
use mdm_core::wave::Preset;
use service_house::{House, START};
use statements::{Counter, all_told, since_then};

const DAY: Duration = Duration::from_hours(24);
/// Members of the wave: several pages of them.
const MEMBERS: usize = 3_000;

fn serial(n: usize) -> Serial {
    Serial::parse(&format!("LOOK{n:05}")).unwrap()
}

/// Devices that Apple shows at a service.
async fn at(house: &House, service: &str, numbers: std::ops::Range<usize>) {
    let org = house.org().await.organisation().id;
    for part in numbers.collect::<Vec<_>>().chunks(1000) {
        let mut batch = Batch::new();
        for n in part {
            let mut device = Device::new(org, DeviceId(house.next_id()), serial(*n));
            let mut reading = OrgReading::default();
            reading.seen = START;
            reading.assigned_server = Some(service.to_owned());
            reading.capable = Some(true);
            reading.product = Some("iPhone17,1".to_owned());
            device.reading = Some(reading);
            batch.put(device);
        }
        house.mdm.store().commit(batch).await.unwrap();
    }
}

/// How many statements a look at one device costs.
async fn cost(house: &House, org: &Org, n: usize) -> usize {
    cost_with(house, org, n, &BTreeSet::new()).await
}

/// The same with a step that is only for devices that are known by these words.
async fn cost_with(house: &House, org: &Org, n: usize, only: &BTreeSet<String>) -> usize {
    let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    let step = runbook.steps.iter_mut().find(|s| s.id == StepId::Trust);
    step.unwrap().only.clone_from(only);
    let question = Question {
        serials: vec![serial(n)],
        destination: house.server,
        deadline: START + 9 * DAY,
        available_from: START,
        runbooks: BTreeMap::from([(Platform::Ios, runbook)]),
        undated: false,
    };
    all_told().await;
    since_then();
    org.look_at(&question, Detail::Problems).await.unwrap();
    all_told().await;
    since_then()
}

#[tokio::test]
async fn a_look_at_one_device_reads_no_wave_that_does_not_concern_it() {
    tracing::subscriber::set_global_default(Counter).unwrap();
    let house = House::new().await;
    let org = house.org().await;
    at(&house, "THEIRS", 0..MEMBERS + 1).await;
    at(&house, "OTHERS", MEMBERS + 1..MEMBERS + 2).await;
    let before = cost(&house, &org, MEMBERS + 1).await;
    assert!(before > 0, "nothing is counted");
    // A step is for the first device, and for others: one page of devices tells that. For one that nobody is known by it takes all.
    let first = BTreeSet::from(["first".to_owned()]);
    org.tag_devices(&[serial(0)], &first, &BTreeSet::new())
        .await
        .unwrap();
    let one = cost_with(&house, &org, MEMBERS + 1, &first).await;
    assert!(one <= before + 2, "{one} statements, {before} without");
    let nobodys = BTreeSet::from(["frist".to_owned()]);
    let all = cost_with(&house, &org, MEMBERS + 1, &nobodys).await;
    assert!(all >= one + 3, "{all} statements, {one} for the first");

    let change = ProjectChange {
        originals: Some(["THEIRS".to_owned()].into()),
        ..ProjectChange::default()
    };
    let made = org.new_project("Berlin", house.server, &change).await;
    let wave = org.new_wave(made.unwrap().id, "pilot", Some(Preset::Pilot));
    let dates = Dates {
        deadline: Some(START + 9 * DAY),
        available_from: Some(START + DAY),
    };
    let members: Vec<Serial> = (0..MEMBERS).map(serial).collect();
    let added = org.add_members(wave.await.unwrap().id, &members, dates);
    assert_eq!(added.await.unwrap(), MEMBERS);

    let elsewhere = cost(&house, &org, MEMBERS + 1).await;
    assert!(
        elsewhere <= before + 3,
        "{elsewhere} statements, {before} without the wave"
    );
    // One of the project is looked at with its gates and with who has which deadline.
    let concerned = cost(&house, &org, MEMBERS).await;
    assert!(
        concerned > elsewhere + 3,
        "{concerned} statements, {elsewhere}"
    );
    // In the wave already: nobody asks what it goes past.
    let member = cost(&house, &org, 0).await;
    assert!(member <= before + 5, "{member} statements, {before}");
}
