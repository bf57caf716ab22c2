//! What the checklist says of a project's own things: what its runbooks bring, the models that nobody has tried, and what the service
//! that devices left has to clean up, with the report and the word of a person that belong to it. And whom the ADE profile of a device
//! that did not wait concerns.

mod clean_up;
#[path = "../service_house/mod.rs"]
mod service_house;
mod unheld;

use std::collections::BTreeSet;
use std::time::Duration;

use mdm_core::checklist::{ChainEnd, ChecklistItem, ClockBeside, Endpoint, ItemState, Outside};
use mdm_core::device::{Device, OrgReading, Platform};
use mdm_core::hook::{Hook, Off};
use mdm_core::ids::{DeviceId, JobId, LocationId, ProjectId, RunbookId, SecretId, Serial, WaveId};
use mdm_core::licences::{Location, Stock};
use mdm_core::migration::{
    AppAction, AppPlan, MoveState, Outcome, PinnedRunbook, ProfilePlan, ProfileRole, Variant,
};
use mdm_core::organisation::{AdeOptions, Der, Issuer};
use mdm_core::service::{Dates, Org, ProjectChange};
use mdm_core::store::Batch;
use service_house::{House, START};

const DAY: Duration = Duration::from_hours(24);

async fn item(house: &House, name: &str) -> Option<ChecklistItem> {
    let list = Box::pin(house.org().await.checklist()).await.unwrap();
    list.items.into_iter().find(|item| item.item == name)
}

/// How an item stands, and what it says.
async fn stands(house: &House, name: &str) -> (ItemState, String) {
    let item = item(house, name).await;
    let item = item.unwrap_or_else(|| panic!("{name} is not on the list"));
    let asks = item.state == ItemState::Done || !item.fix.is_empty();
    assert!(asks, "{name} says nothing of how it is mended");
    (item.state, item.fact)
}

async fn changed(house: &House, project: ProjectId, platform: Platform, with: PinnedRunbook) {
    let change = ProjectChange {
        runbooks: [(platform, with)].into(),
        ..ProjectChange::default()
    };
    let org = house.org().await;
    org.change_project(project, &change).await.unwrap();
}

fn app(bundle: &str, store_id: u64, action: AppAction) -> AppPlan {
    AppPlan {
        bundle_id: bundle.to_owned(),
        store_id: Some(store_id),
        manifest_url: None,
        action,
    }
}

const WIFI: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict><key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>org.wifi</string><key>PayloadUUID</key><string>6B6E5B0E-7C39-4D7B-9C39-0D6F6C1B7A11</string>
<key>PayloadContent</key><array/></dict></plist>"#;

#[tokio::test]
async fn the_checklist_says_what_the_runbooks_of_a_project_bring() {
    use ItemState::{Done, Missing, Warn};
    let house = House::new().await;
    let standard = |platform| PinnedRunbook::standard(platform, Variant::Migration);
    let change = ProjectChange {
        runbooks: [
            (Platform::Ios, standard(Platform::Ios)),
            (Platform::Macos, standard(Platform::Macos)),
        ]
        .into(),
        ..ProjectChange::default()
    };
    let org = house.org().await;
    let project = org.new_project("Berlin", house.server, &change).await;
    let project = project.unwrap().id;
    let (state, fact) = stands(&house, "Berlin: profiles for iOS").await;
    assert_eq!(state, Warn, "{fact}");
    let (state, fact) = stands(&house, "Berlin: apps for iOS").await;
    assert_eq!(state, Warn);
    assert!(fact.contains("is lost with its data"), "{fact}");
    // Nothing that nobody manages goes from a Mac.
    let (state, fact) = stands(&house, "Berlin: apps for macOS").await;
    assert_eq!(state, Done);
    assert!(fact.contains("stays there with its data"), "{fact}");
    let (state, fact) = stands(&house, "Berlin: lock policy").await;
    assert_eq!(state, Done);
    assert!(fact.contains("ask for no Activation Lock"), "{fact}");

    // One that brings a profile, keeps an app without a licence, drops another, and wants the lock.
    let mut own = standard(Platform::Ios);
    own.profiles.push(ProfilePlan {
        identifier: "org.wifi".to_owned(),
        role: ProfileRole::Network,
        content: Der(WIFI.as_bytes().to_vec()),
    });
    own.apps.push(app("app.old", 8, AppAction::Drop));
    changed(&house, project, Platform::Ios, own.clone()).await;
    let (state, _) = stands(&house, "Berlin: profiles for iOS").await;
    assert_eq!(state, Done);
    let (state, fact) = stands(&house, "Berlin: apps for iOS").await;
    assert_eq!(state, Warn, "what is dropped is not brought: {fact}");
    own.apps.push(app("app.mail", 7, AppAction::KeepIfPresent));
    own.lock = true;
    changed(&house, project, Platform::Ios, own).await;
    let (state, fact) = stands(&house, "Berlin: apps for iOS").await;
    assert_eq!(state, Missing);
    assert!(
        fact.contains("app.mail") && !fact.contains("app.old"),
        "{fact}"
    );
    let (state, fact) = stands(&house, "Berlin: lock policy").await;
    assert_eq!(state, Done);
    assert!(
        fact.contains("on iOS; a code was made, sealed and opened"),
        "{fact}"
    );
    // Licences that may not go to devices are none.
    let mut location = Location::new(
        house.org,
        LocationId(house.next_id()),
        "Shops",
        "library",
        SecretId(1),
        JobId(house.next_id()),
    );
    for (assignable, expected) in [(false, Missing), (true, Done)] {
        let stock = Stock {
            total: 5,
            assigned: 0,
            available: 5,
            unlimited: false,
            device_assignable: assignable,
        };
        location.stock = [(7, stock)].into();
        let mut batch = Batch::new();
        batch.put(location.clone());
        house.mdm.store().commit(batch).await.unwrap();
        location.version += 1;
        let (state, fact) = stands(&house, "Berlin: apps for iOS").await;
        assert_eq!(state, expected, "{fact}");
    }

    // A runbook that cannot be read is the first thing to mend.
    let store = house.mdm.store();
    let mut row = store.project(house.org, project).await.unwrap().unwrap();
    row.runbooks.insert(Platform::Ios, RunbookId(4711));
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let (state, fact) = stands(&house, "Berlin: runbook for iOS").await;
    assert_eq!(state, Missing);
    assert!(fact.contains("cannot be read"), "{fact}");
    assert!(item(&house, "Berlin: apps for iOS").await.is_none());
}

fn serial(n: usize) -> Serial {
    Serial::parse(&format!("C02LIST{n:03}")).unwrap()
}

/// A project with a wave of so many devices of two models, which came from a service called `Theirs`.
async fn wave(house: &House, count: usize) -> WaveId {
    let mut batch = Batch::new();
    for n in 0..count {
        let mut device = Device::new(house.org, DeviceId(house.next_id()), serial(n));
        let mut reading = OrgReading::default();
        reading.seen = START;
        reading.assigned_server = Some("0A1B2C".to_owned());
        reading.capable = Some(true);
        reading.product = Some(["iPhone17,1", "iPad16,3"][n % 2].to_owned());
        device.reading = Some(reading);
        batch.put(device);
    }
    house.mdm.store().commit(batch).await.unwrap();
    let org = house.org().await;
    let change = ProjectChange::default();
    let project = org.new_project("Berlin", house.server, &change).await;
    let wave = org.new_wave(project.unwrap().id, "pilot", None).await;
    let wave = wave.unwrap().id;
    let serials: Vec<Serial> = (0..count).map(serial).collect();
    let dates = Dates {
        deadline: Some(START + DAY * 5),
        available_from: Some(START + DAY),
    };
    org.add_members(wave, &serials, dates).await.unwrap();
    wave
}

/// Members have come to an end, as the machine leaves them.
async fn ended(house: &House, wave: WaveId, members: &[usize], end: Outcome) {
    house.clock.advance(Duration::from_hours(1));
    let (org, store) = (house.org().await, house.mdm.store());
    let mut batch = Batch::new();
    for mut attempt in org.members(wave).await.unwrap() {
        if !members.iter().any(|n| serial(*n) == attempt.serial) {
            continue;
        }
        let mut device = store.device(house.org, attempt.device).await.unwrap();
        let device = device.as_mut().unwrap();
        device.open_move = None;
        attempt.state = MoveState::Ended(end);
        attempt.ended = Some(house.mdm.now());
        batch.put(attempt).put(device.clone());
    }
    store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn each_model_is_tried_before_the_list_says_so() {
    let house = House::new().await;
    let wave = wave(&house, 4).await;
    let name = "Berlin: rehearsal";
    assert!(
        stands(&house, name)
            .await
            .1
            .contains("no real device has migrated")
    );
    // One that failed has tried nothing.
    ended(&house, wave, &[3], Outcome::Failed).await;
    assert!(
        stands(&house, name)
            .await
            .1
            .contains("no real device has migrated")
    );
    ended(&house, wave, &[0], Outcome::Migrated).await;
    let (state, fact) = stands(&house, name).await;
    assert_eq!(state, ItemState::Later);
    assert!(fact.ends_with("has migrated yet: iPad16,3"), "{fact}");
    ended(&house, wave, &[1], Outcome::MigratedWithExceptions).await;
    let (state, fact) = stands(&house, name).await;
    assert_eq!(state, ItemState::Done, "{fact}");
    assert!(fact.contains("each of the 2 models"), "{fact}");
}

#[tokio::test]
async fn the_clock_of_the_machine_is_held_against_that_of_apples_answers() {
    let house = House::new().await;
    assert_eq!(item(&house, "clock").await, None, "nobody has asked Apple");
    for (ahead, state, says) in [
        (0, ItemState::Done, "agrees"),
        (-5, ItemState::Done, "agrees"),
        (30, ItemState::Warn, "is 30 seconds ahead of"),
        (-60, ItemState::Warn, "is 60 seconds behind"),
        (61, ItemState::Missing, "is 61 seconds ahead of"),
        (-7_200, ItemState::Missing, "is 7200 seconds behind"),
    ] {
        house.mdm.tell_clock(ClockBeside { at: START, ahead });
        let (found, fact) = stands(&house, "clock").await;
        assert_eq!(found, state, "{fact}");
        assert!(fact.starts_with(says), "{fact}");
    }
}

#[tokio::test]
async fn a_receiver_of_webhooks_that_fails_or_is_off_is_on_the_list() {
    let house = House::new().await;
    let org = house.org().await;
    let url = "https://access.example.com/mdm";
    org.new_hook("access", url, &BTreeSet::new()).await.unwrap();
    let name = "webhook receiver access";
    let (state, fact) = stands(&house, name).await;
    assert_eq!(state, ItemState::Done, "{fact}");
    assert!(fact.contains("told nothing yet"), "{fact}");
    let becomes = async |what: &dyn Fn(&mut Hook)| {
        let mut hook = org.hook_named("access").await.unwrap();
        what(&mut hook);
        let mut batch = Batch::new();
        batch.put(hook);
        house.mdm.store().commit(batch).await.unwrap();
        stands(&house, name).await
    };
    let (state, fact) = becomes(&|hook| hook.taken = Some(START)).await;
    assert_eq!(
        (state, &*fact),
        (ItemState::Done, "takes its messages"),
        "{fact}"
    );
    let (state, fact) = becomes(&|hook| {
        hook.failing_since = Some(START);
        hook.trouble = Some("503".to_owned());
    })
    .await;
    assert_eq!(state, ItemState::Warn);
    assert!(fact.contains("taken nothing since") && fact.ends_with(": 503"));
    let (state, fact) = becomes(&|hook| {
        hook.off = Some(Off {
            at: START,
            why: "it took nothing for five days".to_owned(),
            by_itself: true,
        });
    })
    .await;
    assert_eq!(state, ItemState::Warn);
    assert!(fact.starts_with("is off since"), "{fact}");
    // Who was removed is waited for by nobody.
    becomes_removed(&house, &org).await;
    assert_eq!(item(&house, name).await, None);
}

async fn becomes_removed(house: &House, org: &Org) {
    let mut hook = org.hook_named("access").await.unwrap();
    hook.removed = Some(START);
    let mut batch = Batch::new();
    batch.put(hook);
    house.mdm.store().commit(batch).await.unwrap();
}

/// An item whose name begins so.
async fn begins(house: &House, name: &str) -> Option<(ItemState, String)> {
    let list = Box::pin(house.org().await.checklist()).await.unwrap();
    let mut items = list.items.into_iter();
    let item = items.find(|item| item.item.starts_with(name))?;
    Some((item.state, item.fact))
}

#[tokio::test]
async fn what_ends_before_the_latest_deadline_is_named_wherever_it_stands() {
    use ItemState::{Done, Missing, Warn};
    let house = House::new().await;
    let pilot = wave(&house, 1).await;
    let store = house.mdm.store();
    // A door whose own certificate lasts, under one that does not.
    let door = |days: u32| Endpoint {
        name: "check-in".to_owned(),
        url: "https://mdm.example.com/".to_owned(),
        problem: None,
        trusted_by: Some("anchor_certs".to_owned()),
        ends: Some(START + DAY * 300),
        chain: Some(ChainEnd {
            name: "Small CA".to_owned(),
            ends: START + DAY * days,
        }),
        clock_ahead: Some(0),
    };
    for (days, expected) in [(3, Missing), (300, Done)] {
        let outside = Outside {
            at: house.mdm.now(),
            endpoints: vec![door(days)],
        };
        house.mdm.tell_outside(house.org, outside);
        let (state, fact) = stands(&house, "TLS certificate").await;
        assert_eq!(state, Done, "{fact}");
        let (state, fact) = stands(&house, "authority of the TLS certificate: Small CA").await;
        assert_eq!(state, expected, "{fact}");
    }

    // What ADE profiles pin, and who issues elsewhere.
    let mut row = store.organisation(house.org).await.unwrap().unwrap();
    let authority = row.identity_cas[0].certificate.clone();
    assert!(begins(&house, "anchor that").await.is_none());
    assert!(begins(&house, "authority elsewhere").await.is_none());
    row.anchors = vec![authority.clone()];
    row.issuer = Issuer::Acme {
        directory_url: "https://ca.example.com/directory".to_owned(),
        hardware_bound: false,
        attest: false,
    };
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let anchor = begins(&house, "anchor that ADE profiles pin: ").await;
    assert_eq!(anchor.unwrap().0, Done);
    let (state, fact) = stands(&house, "authority elsewhere").await;
    assert_eq!(state, Warn, "{fact}");
    let mut row = store.organisation(house.org).await.unwrap().unwrap();
    row.trusted_cas = vec![authority];
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let elsewhere = begins(&house, "authority elsewhere: ").await;
    assert_eq!(elsewhere.unwrap().0, Done);

    // A wave with an ADE profile of its own that nobody has defined.
    assert!(begins(&house, "ADE profile of wave").await.is_none());
    let mut options = AdeOptions::default();
    options.department = Some("Shops".to_owned());
    let org = house.org().await;
    let set = org.set_wave_ade_profile(pilot, Some(&options)).await;
    set.unwrap();
    let (state, fact) = stands(&house, "ADE profile of wave pilot").await;
    assert_eq!(state, Missing, "{fact}");
}

#[tokio::test]
async fn the_checklist_warns_of_migrations_that_nobody_planned_and_that_keep_no_app() {
    let house = House::new().await;
    let name = "migrations that nobody planned here";
    let choose = async |platform: Platform, apps: Vec<AppPlan>| {
        let org = house.org().await;
        let mut runbook = PinnedRunbook::standard(platform, Variant::Migration);
        runbook.apps = apps;
        let of = platform.as_str();
        org.edit_runbook(of, platform, runbook, None, "for the test")
            .await
            .unwrap();
        let chosen = std::collections::BTreeMap::from([(platform, Some(of.to_owned()))]);
        org.set_unplanned_runbooks(&chosen).await.unwrap();
    };
    let (state, fact) = stands(&house, name).await;
    assert_eq!(state, ItemState::Warn);
    assert!(fact.contains("on iOS and iPadOS"), "{fact}");
    let kept = || vec![app("app.mail", 7, AppAction::KeepIfPresent)];
    choose(Platform::Ios, kept()).await;
    let (state, fact) = stands(&house, name).await;
    assert_eq!(state, ItemState::Warn);
    assert!(!fact.contains("iOS and"), "{fact}");
    // One that drops all keeps none.
    let dropped = vec![app("app.mail", 7, AppAction::Drop)];
    choose(Platform::Ipados, dropped).await;
    assert_eq!(stands(&house, name).await.0, ItemState::Warn);
    choose(Platform::Ipados, kept()).await;
    assert_eq!(stands(&house, name).await.0, ItemState::Done);
}
