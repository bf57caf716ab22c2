//! The what-if over rows: what a file told comes in once, what is asked is answered from what is known, and a wave is looked at
//! with its own dates and runbooks. Nothing is written by looking.

mod service_house;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::calendar::Calendar;
use mdm_core::check::{Check, CheckResult};
use mdm_core::device::{Device, OrgReading, Platform};
use mdm_core::ids::{AuditId, DeviceId, Serial};
use mdm_core::library::Audience;
use mdm_core::migration::what_if::CheckFinding;
use mdm_core::migration::{
    AppAction, AppPlan, PinnedRunbook, ProfilePlan, ProfileRole, StepId, Variant,
};
use mdm_core::organisation::Der;
use mdm_core::original::{DeviceOwner, OriginalApp, OriginalEnrolment, OriginalNetwork, Said};
use mdm_core::project::Window;
use mdm_core::secret::Secret;
use mdm_core::service::{
    Act, Detail, Member, MigrationAct, Org, ProjectChange, Question, WhatIfReport,
};
use mdm_core::store::Batch;
use serde_json::json;
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
        let mut reading = OrgReading::default();
        reading.seen = START;
        reading.assigned_server = Some("THEIRS".to_owned());
        reading.capable = Some(true);
        reading.product = Some("iPhone17,1".to_owned());
        reading.added_by_hand = Some(false);
        device.reading = Some(reading);
        batch.put(device);
    }
    house.mdm.store().commit(batch).await.unwrap();
    // Whether the manifest of the notes can be reached nobody looks.
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
    let mut said = Said::nothing(serial(n));
    said.system = Some("26.1".to_owned());
    said.last_seen = Some(START - DAY);
    said.enrolment = Some(OriginalEnrolment::Automated);
    let mut notes = OriginalApp::new("com.example.Notes");
    notes.signed_until = Some(START + 500 * DAY);
    said.apps = Some(vec![notes]);
    said.declarations = Some(Vec::new());
    said.networks = Some(vec![OriginalNetwork::new("Office", true)]);
    said.profiles = Some(Vec::new());
    said
}

fn question(house: &House, count: usize) -> Question {
    Question {
        serials: (0..count).map(serial).collect(),
        destination: house.server,
        deadline: START + 9 * DAY,
        available_from: START,
        runbooks: BTreeMap::from([(Platform::Ios, runbook())]),
    }
}

fn found(report: &WhatIfReport, check: Check) -> Option<(CheckResult, usize)> {
    let row = report.matrix.rows.iter().find(|r| r.check == check)?;
    Some((row.counts_as, row.devices.len()))
}

#[tokio::test]
async fn what_nobody_told_blocks_apps_and_what_was_told_counts() {
    let house = House::new().await;
    let org = fleet(&house, 3).await;
    let before = contents(&house).await;
    let report = org
        .look_at(&question(&house, 3), Detail::Problems)
        .await
        .unwrap();
    assert_eq!((report.blocked, report.warned, report.clear), (3, 0, 0));
    assert_eq!(
        found(&report, Check::AppsMapped),
        Some((CheckResult::Block, 3))
    );
    assert_eq!(
        found(&report, Check::OsMinimum),
        Some((CheckResult::Warn, 3))
    );
    assert_eq!(report.forecast.unknown.len(), 3);
    assert_eq!(contents(&house).await, before, "looking has written");

    let outcome = org
        .import_originals("Old MDM", START, vec![said(0), said(1), said(2)])
        .await
        .unwrap();
    assert_eq!((outcome.changed, outcome.rejected.len()), (3, 0));
    // The service that they leave is not among those that Apple lists: nobody has read the list.
    let report = org
        .look_at(&question(&house, 3), Detail::Everything)
        .await
        .unwrap();
    assert_eq!(
        (report.blocked, report.warned),
        (0, 3),
        "{:#?}",
        report.matrix
    );
    let rows: Vec<Check> = report.matrix.rows.iter().map(|r| r.check).collect();
    assert_eq!(rows, [Check::OriginalKind, Check::AppsSource]);
    assert_eq!(
        (report.forecast.known, report.forecast.losing.len()),
        (3, 0)
    );
    let fact = |check| {
        let member = &report.members[0];
        member.findings.iter().find(|f| f.check == check).unwrap()
    };
    assert_eq!(fact(Check::OsMinimum).at, Some(START));
    // The network is brought by a profile of the runbook, which is read for that.
    assert_eq!(fact(Check::WifiPath).result, CheckResult::Pass);

    // The same file again changes nothing, and an older one does not undo it.
    let again = org
        .import_originals("Old MDM", START, vec![said(0)])
        .await
        .unwrap();
    assert_eq!((again.changed, again.unchanged), (0, 1));
    let mut older = said(0);
    older.system = Some("18.0".to_owned());
    older.apps = Some(vec![OriginalApp::new("com.example.gone")]);
    let older = org
        .import_originals("A drawer", START - DAY, vec![older])
        .await
        .unwrap();
    assert_eq!((older.changed, older.unchanged), (0, 1));
    let mut newer = said(0);
    newer.system = Some("18.7".to_owned());
    newer.apps = Some(vec![OriginalApp::new("com.example.maps")]);
    newer.networks = Some(vec![OriginalNetwork::new("Lab", true)]);
    house.clock.advance(DAY);
    org.import_originals("Old MDM", START + DAY, vec![newer])
        .await
        .unwrap();
    let report = org
        .look_at(&question(&house, 3), Detail::Counts)
        .await
        .unwrap();
    assert_eq!((report.blocked, report.members.len()), (1, 0));
    for check in [Check::OsMinimum, Check::AppsMapped, Check::WifiPath] {
        assert_eq!(
            found(&report, check),
            Some((CheckResult::Block, 1)),
            "{check}"
        );
    }
    assert_eq!(report.forecast.apps[0].bundle_id, "com.example.maps");
    assert_eq!(report.forecast.apps[0].lost.len(), 1);
    let (apps, devices) = org.original_apps(None).await.unwrap();
    assert_eq!(
        (apps[0].bundle_id.as_str(), apps[0].devices, devices),
        ("com.example.Notes", 2, 3)
    );
}

#[tokio::test]
async fn a_step_that_is_for_others_brings_a_device_nothing() {
    let house = House::new().await;
    let org = fleet(&house, 2).await;
    let told = vec![said(0), said(1)];
    org.import_originals("Old MDM", START, told).await.unwrap();
    let lab = BTreeSet::from(["lab".to_owned()]);
    org.tag_devices(&[serial(0)], &lab, &BTreeSet::new())
        .await
        .unwrap();
    let mut question = question(&house, 2);
    let runbook = question.runbooks.get_mut(&Platform::Ios).unwrap();
    for step in &mut runbook.steps {
        if step.id == StepId::Network {
            step.only = lab.clone();
        }
    }
    let report = org.look_at(&question, Detail::Everything).await.unwrap();
    for (n, expected) in [CheckResult::Pass, CheckResult::Block]
        .into_iter()
        .enumerate()
    {
        let findings = &report.members[n].findings;
        let wifi = findings.iter().find(|f| f.check == Check::WifiPath);
        assert_eq!(wifi.unwrap().result, expected, "{n}: {wifi:?}");
    }
    let gaps = serde_json::to_value(&report.profiles).unwrap().to_string();
    assert!(
        gaps.contains("C02WHATIF1") && !gaps.contains("C02WHATIF0"),
        "{gaps}"
    );
}

#[tokio::test]
async fn a_runbook_begins_with_the_apps_that_are_there() {
    let house = House::new().await;
    let org = fleet(&house, 2).await;
    let mut told = said(0);
    told.apps.as_mut().unwrap()[0].store_id = Some(7);
    org.import_originals("Old MDM", START, vec![told, said(1)])
        .await
        .unwrap();
    let keep = Some(AppAction::KeepIfPresent);
    let runbook = org.standard_runbook(Platform::Ios, keep).await.unwrap();
    assert_eq!(runbook.apps.len(), 1);
    assert_eq!(runbook.apps[0].store_id, Some(7));
    runbook.validate().unwrap();
    // With it nothing stands against anybody; no Mac has these apps.
    let mut question = question(&house, 2);
    question.runbooks.get_mut(&Platform::Ios).unwrap().apps = runbook.apps;
    // As long as licences come from elsewhere nobody knows whether it stays: that blocks, until somebody says that they do.
    let report = org.look_at(&question, Detail::Counts).await.unwrap();
    assert_eq!(report.blocked, 2);
    let blocks = Some((CheckResult::Block, 2));
    assert_eq!(found(&report, Check::AppsLicences), blocks);
    let licences = BTreeMap::from([(Check::AppsLicences, Some(CheckResult::Warn))]);
    org.set_unknowns(&licences).await.unwrap();
    let org = house.org().await;
    let report = org.look_at(&question, Detail::Counts).await.unwrap();
    assert_eq!(report.blocked, 0, "{:#?}", report.matrix);
    let mac = org.standard_runbook(Platform::Macos, keep).await.unwrap();
    assert_eq!(mac.apps, []);
}

#[tokio::test]
async fn whoever_loses_an_app_is_blocked() {
    let house = House::new().await;
    let org = fleet(&house, 3).await;
    // One has an app that no step takes over, one an app without a fate, one what is kept.
    let mut rows = vec![said(0), said(1), said(2)];
    rows[0].apps = Some(vec![OriginalApp::new("com.example.nowhere")]);
    rows[1].apps = Some(vec![OriginalApp::new("com.example.forgotten")]);
    org.import_originals("Old MDM", START, rows).await.unwrap();
    let mut question = question(&house, 3);
    let runbook = question.runbooks.get_mut(&Platform::Ios).unwrap();
    runbook.apps.push(AppPlan {
        bundle_id: "com.example.nowhere".to_owned(),
        store_id: None,
        manifest_url: Some("https://apps.example.com/nowhere.plist".to_owned()),
        action: AppAction::Install,
    });
    let mut steps = runbook.steps.iter_mut();
    let required = steps.find(|s| s.id == StepId::AppsRequired).unwrap();
    required.only.insert("sales".to_owned());
    let report = org.look_at(&question, Detail::Problems).await.unwrap();
    let losing: Vec<&Serial> = report.forecast.losing.iter().collect();
    assert_eq!(losing, [&serial(0), &serial(1)]);
    let rules = &org.organisation().settings.unknowns;
    let blocked = report.members.iter().filter(|member| {
        let ios = Some(Platform::Ios);
        let of = |f: &&CheckFinding| f.counts_as(rules, ios) == CheckResult::Block;
        member.findings.iter().any(|f| of(&f))
    });
    let blocked: Vec<&Serial> = blocked.map(|member| &member.serial).collect();
    assert_eq!(blocked, losing, "the forecast and the checks disagree");
    // By whatever door: the act leaves them out, and says what they would lose.
    let act = Act {
        what: MigrationAct::Assign {
            destination: house.server,
            deadline: question.deadline,
            available_from: None,
            runbooks: question.runbooks.clone(),
        },
        serials: question.serials.clone(),
        reason: None,
    };
    let plan = org.plan_act(&act).await.unwrap();
    assert_eq!((plan.members, plan.blocked), (3, 2), "{:?}", plan.findings);
    let forecast = plan.forecast.as_ref().unwrap();
    assert_eq!(forecast.losing.len(), 2);
    // Another app comes to light on one that is left out anyway: what was accepted is void.
    let mut more = said(0);
    let lost = ["com.example.nowhere", "com.example.other"].map(OriginalApp::new);
    more.apps = Some(lost.into());
    house.clock.advance(Duration::from_secs(60));
    org.import_originals("Old MDM", START + Duration::from_secs(60), vec![more])
        .await
        .unwrap();
    let refused = org
        .do_act(&act, &plan.digest)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("are not those that were accepted"),
        "{refused}"
    );
    // A project that is to leave that service, and that nobody has turned on, is named.
    assert!(plan.warnings.iter().all(|w| !w.starts_with("switch: ")));
    let change = ProjectChange {
        originals: Some(BTreeSet::from(["THEIRS".to_owned()])),
        ..ProjectChange::default()
    };
    let made = org
        .new_project("Berlin", house.server, &change)
        .await
        .unwrap();
    let off = async || {
        let plan = org.plan_act(&act).await.unwrap();
        plan.warnings
            .iter()
            .filter(|w| w.starts_with("switch: 3 devices"))
            .count()
    };
    assert_eq!(off().await, 1);
    org.switch_project(made.id, true).await.unwrap();
    assert_eq!(off().await, 0);
}

#[tokio::test]
async fn what_goes_to_a_group_counts_for_those_whose_owner_is_in_it() {
    let house = House::new().await;
    let org = fleet(&house, 2).await;
    let mut rows = vec![said(0), said(1)];
    for (row, group) in rows.iter_mut().zip(["Shop", "Office"]) {
        row.networks = Some(vec![OriginalNetwork::new("Shop floor", true)]);
        let mut owner = DeviceOwner::default();
        owner.groups.insert(group.to_owned());
        row.owner = Some(owner);
    }
    org.import_originals("Old MDM", START, rows).await.unwrap();
    let cut_off = async || {
        let report = org.look_at(&question(&house, 2), Detail::Counts).await;
        let rows = report.unwrap().matrix.rows.into_iter();
        let mut rows = rows.filter(|row| row.check == Check::WifiPath);
        rows.next().map(|row| row.devices).unwrap_or_default()
    };
    assert_eq!(cut_off().await, [serial(0), serial(1)].into());
    let content = Secret::new(wifi("Shop floor").content.0.as_slice());
    let whom = Audience::read([""; 0], ["Shop"]).unwrap();
    org.put_profile("Network", &content, whom).await.unwrap();
    assert_eq!(cut_off().await, [serial(1)].into());
}

#[tokio::test]
async fn a_list_says_which_projects_checks_it_goes_past() {
    let house = House::new().await;
    let org = fleet(&house, 2).await;
    let told = org.import_originals("Old MDM", START, vec![said(0), said(1)]);
    told.await.unwrap();
    // One is at a service that nobody is to leave.
    let store = house.mdm.store();
    let row = store.device_by_serial(house.org, &serial(1)).await;
    let mut elsewhere = row.unwrap().unwrap();
    elsewhere.reading.as_mut().unwrap().assigned_server = Some("OTHERS".to_owned());
    let mut batch = Batch::new();
    batch.put(elsewhere);
    store.commit(batch).await.unwrap();
    let act = |deadline, from| Act {
        what: MigrationAct::Assign {
            destination: house.server,
            deadline,
            available_from: from,
            runbooks: BTreeMap::from([(Platform::Ios, runbook())]),
        },
        serials: vec![serial(0), serial(1)],
        reason: None,
    };
    let deadline = START + 9 * DAY;
    let plan = org.plan_act(&act(deadline, None)).await.unwrap();
    assert_eq!(plan.blocked, 0, "{:?}", plan.findings);

    let blackout = json!({ "first": "2026-12-14", "last": "2026-12-14", "why": "stock-taking" });
    let mut calendar = Calendar::default();
    calendar.blackouts = vec![serde_json::from_value(blackout).unwrap()];
    let change = ProjectChange {
        originals: Some(BTreeSet::from(["THEIRS".to_owned()])),
        window: Some(Window {
            not_before: Some(START + DAY),
            not_after: Some(START + 8 * DAY),
        }),
        calendar: Some(calendar),
        prerequisites: Some(BTreeSet::from(["lock-off".to_owned()])),
        ..ProjectChange::default()
    };
    let made = org.new_project("Berlin", house.server, &change).await;
    let berlin = made.unwrap().id;
    // While the project is off, it is said and keeps nobody back.
    let plan = org.plan_act(&act(deadline, None)).await.unwrap();
    assert_eq!(plan.blocked, 0, "{:?}", plan.findings);
    let said = plan.warnings.join("\n");
    for part in [
        "window: 1 devices: past the project Berlin",
        "prerequisites: 1 devices: past the project Berlin: not met: lock-off",
    ] {
        assert!(said.contains(part), "{said}");
    }
    // While it is on, its checks hold for a list as for its waves, and for those devices alone that leave its services.
    org.switch_project(berlin, true).await.unwrap();
    let against = async |deadline, from| {
        let plan = org.plan_act(&act(deadline, from)).await.unwrap();
        assert!(
            !plan.findings.contains_key(&serial(1)),
            "{:?}",
            plan.findings
        );
        plan.findings
            .get(&serial(0))
            .cloned()
            .unwrap_or_default()
            .join("\n")
    };
    let told = against(deadline, None).await;
    assert!(
        told.contains("would be offered before the project's window begins"),
        "{told}"
    );
    assert!(told.contains("not met: lock-off"), "{told}");
    let told = against(deadline, Some(START + 2 * DAY)).await;
    assert!(
        told.contains("lies outside of the project's window"),
        "{told}"
    );
    let told = against(START + 4 * DAY, Some(START + 2 * DAY)).await;
    assert!(
        told.contains("kept free") && told.contains("stock-taking"),
        "{told}"
    );
    // The sentence stays the same until somebody accepts it.
    let first = org.plan_act(&act(deadline, None)).await.unwrap().digest;
    house.clock.advance(Duration::from_secs(5));
    let second = org.plan_act(&act(deadline, None)).await.unwrap().digest;
    assert_eq!(first, second);
    // With nothing of it in the way it goes.
    let none = ProjectChange {
        prerequisites: Some(BTreeSet::new()),
        ..ProjectChange::default()
    };
    org.change_project(berlin, &none).await.unwrap();
    assert_eq!(against(START + 7 * DAY, Some(START + 2 * DAY)).await, "");
    let second = org.plan_act(&act(deadline, None)).await.unwrap().digest;
    let done = org.do_act(&act(deadline, None), &second).await.unwrap();
    assert_eq!((done.members, done.blocked), (2, 1));
    // Nobody goes past a project that is closed.
    org.close_project(berlin).await.unwrap();
    let plan = org.plan_act(&act(deadline, None)).await.unwrap();
    assert!(
        !plan.findings.contains_key(&serial(0)),
        "{:?}",
        plan.findings
    );
}

#[tokio::test]
async fn a_list_goes_where_one_of_several_projects_has_nothing_against_it() {
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    let told = org.import_originals("Old MDM", START, vec![said(0)]);
    told.await.unwrap();
    for (name, first, last) in [("Berlin", 1_u32, 8_u32), ("Paris", 20, 30)] {
        let change = ProjectChange {
            window: Some(Window {
                not_before: Some(START + first * DAY),
                not_after: Some(START + last * DAY),
            }),
            ..ProjectChange::default()
        };
        let made = org.new_project(name, house.server, &change).await;
        org.switch_project(made.unwrap().id, true).await.unwrap();
    }
    let plan_of = async |from: u32, deadline: u32| {
        let act = Act {
            what: MigrationAct::Assign {
                destination: house.server,
                deadline: START + deadline * DAY,
                available_from: Some(START + from * DAY),
                runbooks: BTreeMap::from([(Platform::Ios, runbook())]),
            },
            serials: vec![serial(0)],
            reason: None,
        };
        org.plan_act(&act).await.unwrap()
    };
    // In the window of one: the other is told of, and keeps nobody back.
    for (from, deadline, other) in [(2, 7, "Paris"), (21, 28, "Berlin")] {
        let plan = plan_of(from, deadline).await;
        assert_eq!(plan.blocked, 0, "{:?}", plan.findings);
        let said = plan.warnings.join("\n");
        let past = format!("window: 1 devices: past the project {other}");
        assert!(said.contains(&past), "{said}");
    }
    // In none.
    let plan = plan_of(10, 15).await;
    assert_eq!(plan.blocked, 1, "{:?}", plan.findings);
    let told = plan.findings[&serial(0)].join("\n");
    for name in ["Berlin", "Paris"] {
        let past = format!("past the project {name}");
        assert!(told.contains(&past), "{told}");
    }
}

#[tokio::test]
async fn a_wave_of_no_project_is_looked_at_with_those_that_it_goes_past() {
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    let told = org.import_originals("Old MDM", START, vec![said(0)]);
    told.await.unwrap();
    let change = ProjectChange {
        prerequisites: Some(BTreeSet::from(["lock-off".to_owned()])),
        ..ProjectChange::default()
    };
    let made = org.new_project("Berlin", house.server, &change).await;
    org.switch_project(made.unwrap().id, true).await.unwrap();
    let member = Member {
        serial: serial(0),
        deadline: START + 9 * DAY,
        available_from: START + DAY,
        original_server: None,
    };
    let runbooks = BTreeMap::from([(Platform::Ios, runbook())]);
    let wave = org
        .plan_wave("host", house.server, &runbooks, &[member])
        .await
        .unwrap();
    let what_if = org.what_if(wave).await.unwrap();
    let told = what_if.blockers[&serial(0)].join("\n");
    let past = "past the project Berlin: not met: lock-off";
    assert!(told.contains(past), "{told}");
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
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    org.import_originals("Old MDM", START, vec![said(0)])
        .await
        .unwrap();
    let act = Act {
        what: MigrationAct::Assign {
            destination: house.server,
            deadline: START + 9 * DAY,
            available_from: None,
            runbooks: BTreeMap::from([(Platform::Ios, runbook())]),
        },
        serials: vec![serial(0)],
        reason: None,
    };
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
    let house = House::new().await;
    let org = fleet(&house, 2).await;
    org.import_originals("Old MDM", START, vec![said(0), said(1)])
        .await
        .unwrap();
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
