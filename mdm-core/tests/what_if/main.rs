//! The what-if over rows: what a file told comes in once, what is asked is answered from what is known, and a wave is looked at
//! with its own dates and runbooks. Nothing is written by looking, but what the next look at a list is compared with.

mod brought;
mod lists;
mod manifests;
mod passed;
#[path = "../service_house/mod.rs"]
mod service_house;

use std::collections::BTreeMap;
use std::time::Duration;

use mdm_core::check::{Check, CheckResult};
use mdm_core::device::{Device, OrgReading, Platform};
use mdm_core::ids::{AuditId, DeviceId, Serial};
use mdm_core::migration::{
    AppAction, AppPlan, PinnedRunbook, ProfilePlan, ProfileRole, StepId, Variant,
};
use mdm_core::organisation::Der;
use mdm_core::original::{OriginalApp, OriginalNetwork, Said};
use mdm_core::service::{
    Act, Detail, Member, MigrationAct, Org, ProjectChange, Question, WhatIfReport,
};
use mdm_core::store::Batch;
use mdm_core::store::testing::{shown_elsewhere, told_elsewhere};
use service_house::{House, START};

const DAY: Duration = Duration::from_hours(24);

fn serial(n: usize) -> Serial {
    Serial::parse(&format!("C02WHATIF{n}")).unwrap()
}

async fn known(house: &House, n: usize) -> Device {
    let id = DeviceId(house.next_id());
    Device::new(house.org().await.organisation().id, id, serial(n))
}

/// Every device and every line of the record.
async fn contents(house: &House) -> (Vec<Device>, usize) {
    let id = house.org().await.organisation().id;
    let store = house.mdm.store();
    let devices = store.devices(id, DeviceId(0), 1000).await.unwrap();
    let audit = store.audit(id, AuditId(0), 1000).await.unwrap();
    (devices, audit.len())
}

/// So many iPhones that Apple shows at the old service.
async fn fleet(house: &House, count: usize) -> Org {
    let mut batch = Batch::new();
    for n in 0..count {
        let mut device = known(house, n).await;
        device.reading = Some(shown_elsewhere(START));
        batch.put(device);
    }
    house.mdm.store().commit(batch).await.unwrap();
    // What nobody has told of signatures warns: others say what blocks.
    let rules = BTreeMap::from([(Check::AppsSource, Some(CheckResult::Warn))]);
    house.org().await.set_unknowns(&rules).await.unwrap();
    house.org().await
}

fn wifi(ssid: &str) -> ProfilePlan {
    let content = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict>\
         <key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>\
         <key>PayloadIdentifier</key><string>com.example.wifi</string><key>PayloadUUID</key><string>U</string>\
         <key>PayloadContent</key><array><dict><key>PayloadType</key><string>com.apple.wifi.managed</string>\
         <key>SSID_STR</key><string>{ssid}</string></dict></array></dict></plist>"
    );
    ProfilePlan {
        identifier: "com.example.wifi".to_owned(),
        role: ProfileRole::Network,
        content: Der(content.into_bytes()),
    }
}

/// Keeps the notes, brings the network of the office.
fn runbook() -> PinnedRunbook {
    let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    runbook.apps = vec![AppPlan {
        bundle_id: "com.example.notes".to_owned(),
        store_id: None,
        manifest_url: Some("https://apps.example.com/notes.plist".to_owned()),
        action: AppAction::KeepIfPresent,
    }];
    runbook.profiles = vec![wifi("Office")];
    runbook
}

/// Everything that a good export tells.
fn said(n: usize) -> Said {
    let mut said = told_elsewhere(serial(n), START);
    let mut notes = OriginalApp::new("com.example.Notes");
    notes.signed_until = Some(START + 500 * DAY);
    said.apps = Some(vec![notes]);
    said.networks = Some(vec![OriginalNetwork::new("Office", true)]);
    said
}

/// A house with so many of them, of each of which a good export has told.
async fn fleet_told(count: usize) -> (House, Org) {
    let house = House::new().await;
    let org = fleet(&house, count).await;
    let told = org.import_originals("Old MDM", START, (0..count).map(said).collect());
    told.await.unwrap();
    (house, org)
}

/// A list of these devices that goes at this deadline.
fn list(house: &House, devices: &[usize], deadline: u32) -> Act {
    list_from(house, devices, None, deadline)
}

/// The same, offered from another day on than at once.
fn list_from(house: &House, devices: &[usize], from: Option<u32>, deadline: u32) -> Act {
    Act {
        what: MigrationAct::Assign {
            destination: house.server,
            deadline: START + deadline * DAY,
            available_from: from.map(|from| START + from * DAY),
            runbooks: BTreeMap::from([(Platform::Ios, runbook())]),
        },
        serials: devices.iter().copied().map(serial).collect(),
        reason: None,
    }
}

fn question(house: &House, count: usize) -> Question {
    Question {
        serials: (0..count).map(serial).collect(),
        destination: house.server,
        deadline: START + 9 * DAY,
        available_from: START,
        runbooks: BTreeMap::from([(Platform::Ios, runbook())]),
        undated: false,
    }
}

fn found(report: &WhatIfReport, check: Check) -> Option<(CheckResult, usize)> {
    let row = report.matrix.rows.iter().find(|r| r.check == check)?;
    Some((row.counts_as, row.devices.len()))
}

#[tokio::test]
async fn a_runbook_that_is_not_whole_comes_in_by_no_door() {
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    let mut wrong = runbook();
    wrong.steps.retain(|s| s.id != StepId::AppsKeep);
    for step in &mut wrong.steps {
        step.requires.retain(|r| *r != StepId::AppsKeep);
    }
    // It can be run; what its table says would not come true.
    wrong.validate().unwrap();
    let of_a_mac = PinnedRunbook::standard(Platform::Macos, Variant::Migration);
    let good = org
        .new_project("Good", house.server, &ProjectChange::default())
        .await
        .unwrap();
    for (bad, field) in [
        (wrong, "runbooks.ios.apps[0].action"),
        (of_a_mac, "runbooks.ios.steps.bootstrap"),
    ] {
        let runbooks = BTreeMap::from([(Platform::Ios, bad)]);
        let mut asked = question(&house, 1);
        asked.runbooks = runbooks.clone();
        let act = Act {
            what: MigrationAct::Assign {
                destination: house.server,
                deadline: asked.deadline,
                available_from: None,
                runbooks: runbooks.clone(),
            },
            serials: asked.serials.clone(),
            reason: None,
        };
        let change = ProjectChange {
            runbooks,
            ..ProjectChange::default()
        };
        let mut plan = org.plan_file(good.id).await.unwrap();
        plan.project.name = "Elsewhere".to_owned();
        plan.project.runbooks.clone_from(&change.runbooks);
        for (door, refused) in [
            ("look", org.look_at(&asked, Detail::Counts).await.err()),
            ("plan", org.plan_act(&act).await.err()),
            ("do", org.do_act(&act, "0f").await.err()),
            (
                "new",
                org.new_project("Bad", house.server, &change).await.err(),
            ),
            ("set", org.change_project(good.id, &change).await.err()),
            ("import", org.take_plan(&plan).await.err()),
        ] {
            let said = refused.map(|error| error.to_string()).unwrap_or_default();
            assert!(said.starts_with(field), "{door}: {said}");
        }
    }
    let left = org.projects().await.unwrap();
    assert_eq!((left.len(), left[0].id), (1, good.id));
    assert_eq!(left[0].runbooks, good.runbooks);
}

#[tokio::test]
async fn what_nobody_knows_of_the_server_counts_as_somebody_says() {
    let (house, org) = fleet_told(1).await;
    let act = list(&house, &[0], 9);
    let plan = org.plan_act(&act).await.unwrap();
    assert!(plan.against_all.is_empty(), "{:?}", plan.against_all);
    assert!(plan.warnings.iter().any(|w| w.starts_with("await: ")));
    let rules = [Check::Await, Check::Endpoints].map(|check| (check, Some(CheckResult::Block)));
    org.set_unknowns(&rules.into()).await.unwrap();
    let org = house.org().await;
    let plan = org.plan_act(&act).await.unwrap();
    let checks: Vec<&str> = plan
        .against_all
        .iter()
        .filter_map(|a| a.split(':').next())
        .collect();
    assert_eq!(checks, ["await", "endpoints"]);
    assert!(plan.warnings.iter().all(|w| !w.starts_with("await: ")));
    assert!(org.do_act(&act, &plan.digest).await.is_err());
}

#[tokio::test]
async fn a_wave_is_looked_at_with_its_own_dates_and_pinned_runbooks() {
    let (house, org) = fleet_told(2).await;
    let member = |n, days| Member {
        serial: serial(n),
        deadline: START + days * DAY,
        available_from: START,
        original_server: None,
    };
    let runbooks = BTreeMap::from([(Platform::Ios, runbook())]);
    let wave = org
        .plan_wave(
            "pilot",
            house.server,
            &runbooks,
            &[member(0, 9), member(1, 400)],
        )
        .await
        .unwrap();
    let report = org.look_at_wave(wave, Detail::Everything).await.unwrap();
    assert_eq!(
        (report.blocked, report.warned),
        (1, 1),
        "{:#?}",
        report.matrix
    );
    let late = report
        .members
        .iter()
        .find(|m| m.serial == serial(1))
        .unwrap();
    let blocks: Vec<Check> = late
        .findings
        .iter()
        .filter(|f| f.result == CheckResult::Block)
        .map(|f| f.check)
        .collect();
    assert_eq!(blocks, [Check::DeadlineRange]);
    // Pinned, the profile is sealed, and is read all the same.
    let of = |check| {
        late.findings
            .iter()
            .find(|f| f.check == check)
            .unwrap()
            .result
    };
    assert_eq!(of(Check::WifiPath), CheckResult::Pass);
    // Somebody who asks for the same devices is told that they are taken.
    let report = org
        .look_at(&question(&house, 2), Detail::Counts)
        .await
        .unwrap();
    assert_eq!(
        found(&report, Check::InOtherWave),
        Some((CheckResult::Block, 2))
    );
    // The last deadline is after the end of the push certificate.
    let report = org.look_at_wave(wave, Detail::Counts).await.unwrap();
    let push = report
        .server
        .iter()
        .find(|f| f.check == Check::PushCert)
        .unwrap();
    assert_eq!(push.result, CheckResult::Block);
}

#[tokio::test]
async fn what_cannot_be_right_is_refused_row_by_row() {
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    let mut bad = said(0);
    bad.system = Some("Tahoe".to_owned());
    let outcome = org
        .import_originals("Old MDM", START, vec![bad, said(7)])
        .await
        .unwrap();
    assert_eq!(outcome.changed, 0);
    let why: Vec<&str> = outcome.rejected.iter().map(|r| r.why.as_str()).collect();
    assert!(
        why[0].starts_with("system: ") && why[1].starts_with("serial: "),
        "{why:?}"
    );
    let twice = org
        .import_originals("Old MDM", START, vec![said(0), said(0)])
        .await
        .unwrap();
    assert_eq!((twice.changed, twice.rejected.len()), (1, 1));
    for (from, at, rows) in [
        ("", START, vec![said(0)]),
        ("Old MDM", START + 9 * DAY, vec![said(0)]),
        ("Old MDM", START, vec![]),
    ] {
        assert!(org.import_originals(from, at, rows).await.is_err());
    }
    let none = Question {
        serials: Vec::new(),
        ..question(&house, 1)
    };
    assert!(org.look_at(&none, Detail::Counts).await.is_err());
    let rules = |check, answer| BTreeMap::from([(check, Some(answer))]);
    let passing = rules(Check::AppsMapped, CheckResult::Pass);
    assert!(org.set_unknowns(&passing).await.is_err());
    org.set_unknowns(&rules(Check::AdeCurrent, CheckResult::Block))
        .await
        .unwrap();
    let mut quiet = said(0);
    quiet.enrolment = None;
    quiet.serial = serial(900);
    let other = fleet_more(&house).await;
    other
        .import_originals("Old MDM", START, vec![quiet])
        .await
        .unwrap();
    let one = Question {
        serials: vec![serial(900)],
        ..question(&house, 1)
    };
    let report = other.look_at(&one, Detail::Counts).await.unwrap();
    assert_eq!(
        found(&report, Check::AdeCurrent),
        Some((CheckResult::Block, 1))
    );
}

/// One more iPhone, and a handle that has read the organisation anew.
async fn fleet_more(house: &House) -> Org {
    let mut device = known(house, 900).await;
    let mut reading = OrgReading::default();
    reading.seen = START;
    reading.assigned_server = Some("THEIRS".to_owned());
    reading.capable = Some(true);
    reading.product = Some("iPhone17,1".to_owned());
    device.reading = Some(reading);
    let mut batch = Batch::new();
    batch.put(device);
    house.mdm.store().commit(batch).await.unwrap();
    house.org().await
}
