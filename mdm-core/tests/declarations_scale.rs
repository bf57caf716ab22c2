//! Ten thousand devices with thirty declarations each, on either database: an edit reaches exactly those that have it, tokens of the others stay as
//! they are, and neither the walk over all of them nor one device's synchronisation costs more statements than a few.

mod declared;
mod service_house;
mod statements;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use declared::{Gear, map, notices};
use mdm_core::ddm::manifest::scopes;
use mdm_core::ddm::{Channels, DeclaredChannel, Target};
use mdm_core::device::Device;
use mdm_core::enrollment::{ChannelKind, Enrollment, EnrollmentState};
use mdm_core::ids::{DeviceId, EnrollmentId, Serial};
use mdm_core::service::{NewDeclaration, Org};
use mdm_core::store::testing::TestPostgres;
use mdm_core::store::{Batch, PostgresOptions, PostgresStore};
use serde_json::json;
use service_house::House;
use statements::{Counter, since_then};

const TEST: &str = "com.apple.configuration.management.test";
const DEVICES: i64 = 10_000;
/// Of the thirty, half are everybody's and half are of a tag that every second device has.
const EACH: usize = 15;
const KIND: &str = "DeclarativeManagement";

async fn put(org: &Org, name: &str, content: &str) {
    let new = NewDeclaration::new(name, TEST, map(&json!({ "Echo": content })));
    org.put_declaration(&new).await.unwrap();
}

/// Devices that have been enrolled for long; every second one has the tag.
async fn people(house: &House) -> Vec<(DeviceId, EnrollmentId)> {
    let org = house.org().await;
    let id = org.organisation().id;
    let mut all = Vec::new();
    for page in 0..DEVICES / 1000 {
        let mut batch = Batch::new();
        for n in page * 1000..(page + 1) * 1000 {
            let device = DeviceId(house.next_id());
            let channel = EnrollmentId(house.next_id());
            let serial = Serial::parse(&format!("SCALE{n:05}")).unwrap();
            let mut row = Device::new(id, device, serial.clone());
            row.enrollment = Some(channel);
            if n % 2 == 0 {
                row.tags = BTreeSet::from(["lab".to_owned()]);
            }
            let key = format!("UDID-{n}");
            let kind = ChannelKind::Device;
            let mut enrolment =
                Enrollment::pending(id, channel, key, kind, "00".to_owned(), org_now(house));
            enrolment.state = EnrollmentState::Enrolled;
            enrolment.device = Some(device);
            enrolment.serial = Some(serial);
            batch.put(row).put(enrolment);
            all.push((device, channel));
        }
        house.mdm.store().commit(batch).await.unwrap();
    }
    all
}

fn org_now(house: &House) -> mdm_core::clock::Timestamp {
    house.mdm.now()
}

/// Channels with a notice in their queues.
async fn told(house: &House, all: &[(DeviceId, EnrollmentId)]) -> BTreeSet<EnrollmentId> {
    let org = house.org().await;
    let ids: Vec<EnrollmentId> = all.iter().map(|(_, channel)| *channel).collect();
    let store = house.mdm.store();
    let open = store.open_commands_of_type(org.organisation().id, &ids, KIND);
    open.await
        .unwrap()
        .into_iter()
        .map(|c| c.enrollment)
        .collect()
}

/// As if every device had taken the list that it should have now, and answered its notice.
async fn all_synchronise(house: &House, all: &[(DeviceId, EnrollmentId)]) {
    let org = house.org().await;
    let id = org.organisation().id;
    let store = house.mdm.store();
    let now = house.mdm.now();
    let mut lists = BTreeMap::new();
    for (device, channel) in all.iter().take(2) {
        let row = store.device(id, *device).await.unwrap().unwrap();
        let shown = org.declarations_of_device(&row.serial).await.unwrap();
        let token = [shown[0].token.clone()];
        let list = store.declaration_manifests_of(id, &token).await.unwrap();
        let list = list.first().expect("a list that the walk wrote").id;
        let channel = store.enrollment(id, *channel).await.unwrap().unwrap();
        assert!(!scopes(&channel, Some(&row)).is_empty());
        lists.insert(row.tags.is_empty(), list);
    }
    for part in all.chunks(1000) {
        let ids: Vec<EnrollmentId> = part.iter().map(|(_, channel)| *channel).collect();
        let known = store.declared_channels_of(id, &ids).await.unwrap();
        let known: BTreeMap<_, _> = known.into_iter().map(|row| (row.id, row)).collect();
        let devices: Vec<DeviceId> = part.iter().map(|(device, _)| *device).collect();
        let devices = store.devices_of(id, &devices).await.unwrap();
        let mut batch = Batch::new();
        for device in devices {
            let channel = device.enrollment.unwrap();
            let fresh = || DeclaredChannel::new(id, channel, now);
            let mut row = known.get(&channel).cloned().unwrap_or_else(fresh);
            row.tell(lists[&device.tags.is_empty()], now);
            batch.put(row);
        }
        for mut command in store.open_commands_of_type(id, &ids, KIND).await.unwrap() {
            command.state = mdm_core::queue::CommandState::Acknowledged;
            command.settled = Some(now);
            batch.put(command);
        }
        store.commit(batch).await.unwrap();
    }
}

/// The walk after a change, without the pushes that it leaves.
async fn walk(house: &House) -> usize {
    since_then();
    // One page for each round: jobs that were put after it have larger ids, and pushes find nobody to push.
    let mut rounds = 0;
    while house.mdm.work(1).await.unwrap() > 0 && rounds < 60_000 {
        rounds += 1;
        let org = house.org().await;
        let id = mdm_core::ids::JobId(-org.organisation().id.0);
        let walk = house.mdm.store().job_times(org.organisation().id, id);
        if walk.await.unwrap().is_none() {
            break;
        }
    }
    since_then()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_reaches_exactly_those_that_have_it_in_few_statements() {
    tracing::subscriber::set_global_default(Counter).unwrap();
    // One after the other: what is counted is everybody's.
    reaches_those_that_have_it(House::new().await).await;
    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let url = server.database().await;
    let store = PostgresStore::connect(&url, PostgresOptions::default()).await;
    reaches_those_that_have_it(House::over_store(Arc::new(store.unwrap())).await).await;
    server.clean().await;
}

async fn reaches_those_that_have_it(house: House) {
    let org = house.org().await;
    let all = people(&house).await;
    for n in 0..EACH {
        put(&org, &format!("all.{n}"), "0").await;
        put(&org, &format!("lab.{n}"), "0").await;
    }
    for (name, target) in [
        ("all", Target::Organisation),
        ("lab", Target::Tag("lab".to_owned())),
    ] {
        let members: Vec<String> = (0..EACH).map(|n| format!("{name}.{n}")).collect();
        org.put_declaration_set(name, &members).await.unwrap();
        org.assign_declarations(name, &target, Channels::Device)
            .await
            .unwrap();
    }
    walk(&house).await;
    let everybody: BTreeSet<EnrollmentId> = all.iter().map(|(_, channel)| *channel).collect();
    assert_eq!(told(&house, &all).await.len(), everybody.len());
    all_synchronise(&house, &all).await;
    assert_eq!(told(&house, &all).await, BTreeSet::new());
    let lab: BTreeSet<EnrollmentId> = all.iter().step_by(2).map(|(_, channel)| *channel).collect();
    let token = async |n: i64| {
        let serial = Serial::parse(&format!("SCALE{n:05}")).unwrap();
        let shown = org.declarations_of_device(&serial).await.unwrap();
        (shown[0].token.clone(), shown[0].wanted.len())
    };
    let (of_lab, of_others) = (token(0).await, token(1).await);
    assert_eq!((of_lab.1, of_others.1), (2 * EACH, EACH));

    put(&org, "lab.3", "1").await;
    let cost = walk(&house).await;
    assert_eq!(
        told(&house, &all).await,
        lab,
        "who is told is not who has it"
    );
    assert_ne!(token(0).await.0, of_lab.0);
    assert_eq!(
        token(1).await,
        of_others,
        "a token of who does not have it changed"
    );
    // Twenty pages; each reads eight lists and claims and keeps its job. What is left over are the writes of ten thousand rows,
    // many to a statement.
    eprintln!("an edit among {DEVICES} devices: {cost} statements");
    assert!(cost < 20 * 40, "{cost} statements for a walk");

    // One device, from the first question to the report.
    let phone = house.device("C02SCALE01").await;
    house.enrol(&phone).await;
    let lab = mdm_core::library::tags(["lab"]).unwrap();
    org.tag_devices(std::slice::from_ref(&phone.serial), &lab, &BTreeSet::new())
        .await
        .unwrap();
    notices(&house, &phone).await;
    since_then();
    let mut gear = Gear::default();
    gear.sync(&house, &phone).await;
    let cost = since_then();
    assert_eq!(gear.names().len(), 2 * EACH);
    eprintln!("a full synchronisation of thirty declarations: {cost} statements");
    // Thirty-three messages.
    assert!(cost <= 33 * 8, "{cost} statements for a synchronisation");
    // And when there is no news, one message.
    gear.sync(&house, &phone).await;
    let cost = since_then();
    assert!(
        cost <= 10,
        "{cost} statements to hear that there is no news"
    );
}
