//! What is on devices and what comes to them: apps that somebody told of, steps that are for others, licences, and what the library has
//! for groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::check::{Check, CheckResult};
use mdm_core::checklist::SeenManifest;
use mdm_core::device::{Device, DeviceRecord, Platform};
use mdm_core::ids::{DeviceId, EnrollmentId, Serial};
use mdm_core::library::{Audience, KeptFile, Package};
use mdm_core::migration::what_if::{CheckFinding, FactSource};
use mdm_core::migration::{AppAction, AppPlan, PinnedRunbook, StepId};
use mdm_core::original::{DeviceOwner, OriginalApp, OriginalNetwork};
use mdm_core::secret::Secret;
use mdm_core::service::{Act, Detail, MigrationAct, ProjectChange, Question, WhatIfReport};
use mdm_core::store::{Batch, Write};
use mdm_core::wire::requests::{
    AssetKind, Manifest, ManifestAsset, ManifestItem, ManifestKind, ManifestMetadata,
};

use super::service_house::{House, START};
use super::{DAY, contents, fleet, fleet_told, found, question, said, serial, wifi};

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
    assert_eq!(rows, [Check::OriginalKind, Check::AppsManifest]);
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
    // What a device of ours has said itself since counts here as it does in the what-if.
    let (store, own) = (house.mdm.store(), org.organisation().id);
    let all = store.originals(own, DeviceId(0), 10).await.unwrap();
    let has_notes = |facts: &mdm_core::original::OriginalFacts| {
        let mut apps = facts.apps.iter().flat_map(|told| &told.value);
        apps.any(|app| app.bundle_id == "com.example.Notes")
    };
    let mut one = all.into_iter().find(has_notes).unwrap();
    one.reported_apps = Some(mdm_core::original::Told {
        value: vec![OriginalApp::new("com.example.later")],
        at: START + 2 * DAY,
        by: mdm_core::original::BY_DEVICE.to_owned(),
    });
    let id = one.id;
    put(&house, one).await;
    change(&house, id, |d| d.enrollment = Some(EnrollmentId(1))).await;
    let counted = async || {
        let (apps, devices) = org.original_apps(None).await.unwrap();
        let apps = apps.into_iter().map(|app| (app.bundle_id, app.devices));
        (apps.collect::<BTreeMap<String, u64>>(), devices)
    };
    let each = |all: &[(&str, u64)]| {
        let all = all.iter().map(|(app, n)| ((*app).to_owned(), *n));
        (all.collect::<BTreeMap<String, u64>>(), 3)
    };
    let newest = [
        ("com.example.Notes", 1),
        ("com.example.later", 1),
        ("com.example.maps", 1),
    ];
    assert_eq!(counted().await, each(&newest));
    // It has left since: what it said is no list of what the other service has given it.
    change(&house, id, |d| d.enrollment = None).await;
    let imported = [("com.example.Notes", 2), ("com.example.maps", 1)];
    assert_eq!(counted().await, each(&imported));
}

async fn put(house: &House, row: impl Into<Write>) {
    let mut batch = Batch::new();
    batch.put(row);
    house.mdm.store().commit(batch).await.unwrap();
}

async fn change(house: &House, id: DeviceId, change: impl FnOnce(&mut Device)) {
    let device = house.mdm.store().device(house.org, id).await.unwrap();
    let mut device = device.unwrap();
    change(&mut device);
    put(house, device).await;
}

#[tokio::test]
async fn what_a_device_said_while_it_was_here_is_not_known_of_the_service_that_it_leaves_now() {
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    let mut untold = said(0);
    untold.apps = None;
    let imported = org.import_originals("Old MDM", START, vec![untold]).await;
    assert_eq!(imported.unwrap().changed, 1);
    let (store, own) = (house.mdm.store(), org.organisation().id);
    let mut all = store.originals(own, DeviceId(0), 10).await.unwrap();
    let mut one = all.remove(0);
    let id = one.id;
    one.reported_apps = Some(mdm_core::original::Told {
        value: vec![OriginalApp::new("com.example.notes")],
        at: START,
        by: mdm_core::original::BY_DEVICE.to_owned(),
    });
    put(&house, one).await;
    house.clock.advance(DAY);
    // Whether it is known which apps it has, by the check and by the forecast.
    let known = async || {
        let report = org.look_at(&question(&house, 1), Detail::Everything).await;
        let report = report.unwrap();
        let mut findings = report.members[0].findings.iter();
        let mapped = findings.find(|f| f.check == Check::AppsMapped).unwrap();
        let told = mapped.result != CheckResult::Unknown;
        assert_eq!(report.forecast.known, u64::from(told), "{mapped:?}");
        assert_eq!(report.forecast.unknown.is_empty(), told);
        told
    };
    // It is enrolled here.
    change(&house, id, |d| d.enrollment = Some(EnrollmentId(1))).await;
    assert!(known().await);
    // It has checked out.
    change(&house, id, |d| d.enrollment = None).await;
    assert!(!known().await);
    // It left, and is here once more: what it said was before that.
    change(&house, id, |d| {
        d.enrollment = Some(EnrollmentId(2));
        d.moved_away = Some(START + Duration::from_secs(3600));
    })
    .await;
    assert!(!known().await);
    // It left before it said so.
    change(&house, id, |d| d.moved_away = Some(START - DAY)).await;
    assert!(known().await);
    // Our list has it no more, since later; and has it again, with an enrolment whose end nobody told.
    change(&house, id, |d| {
        let mut record = DeviceRecord::new(house.server, START + Duration::from_secs(60));
        record.gone = true;
        d.record = Some(record);
    })
    .await;
    assert!(!known().await);
    change(&house, id, |d| {
        let record = DeviceRecord::new(house.server, START + Duration::from_secs(120));
        d.left_list = Some(START + Duration::from_secs(60));
        d.record = Some(record);
    })
    .await;
    assert!(!known().await);
    // It had been off the list before it said so.
    change(&house, id, |d| d.left_list = Some(START - DAY)).await;
    assert!(known().await);
}

#[tokio::test]
async fn a_step_that_is_for_others_brings_a_device_nothing() {
    let house = House::new().await;
    let org = fleet(&house, 3).await;
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
    let of_all = |report: &WhatIfReport| {
        let mut found = report.server.iter();
        let found = found.find(|f| f.check == Check::RunbookValid);
        found.map(|f| (f.result, f.fact.clone()))
    };
    assert_eq!(of_all(&report), None);
    let gaps = serde_json::to_value(&report.profiles).unwrap().to_string();
    assert!(
        gaps.contains("C02WHATIF1") && !gaps.contains("C02WHATIF0"),
        "{gaps}"
    );
    // A word that no device has brings nobody anything, and no device's own findings tell why.
    let runbook = question.runbooks.get_mut(&Platform::Ios).unwrap();
    for step in &mut runbook.steps {
        if step.id == StepId::Network {
            step.only = BTreeSet::from(["lap".to_owned()]);
        }
    }
    let report = org.look_at(&question, Detail::Everything).await.unwrap();
    let fact = "the step network is only for devices with lap: none of these 2 has that, and no other device";
    let warned = Some((CheckResult::Warn, fact.to_owned()));
    assert_eq!(of_all(&report), warned);
    // Another device has it: the word is right, and these two are others.
    let lap = BTreeSet::from(["lap".to_owned()]);
    org.tag_devices(&[serial(2)], &lap, &BTreeSet::new())
        .await
        .unwrap();
    let report = org.look_at(&question, Detail::Everything).await.unwrap();
    assert_eq!(of_all(&report), None);
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
    let limit = |runbook: &mut PinnedRunbook, id: StepId| {
        let step = runbook.steps.iter_mut().find(|step| step.id == id);
        step.unwrap().only.insert("sales".to_owned());
    };
    // The step that keeps apps takes over those to be installed as well, where they are there already.
    limit(runbook, StepId::AppsRequired);
    let report = org.look_at(&question, Detail::Problems).await.unwrap();
    let losing: Vec<&Serial> = report.forecast.losing.iter().collect();
    assert_eq!(losing, [&serial(1)]);
    // With both for others nobody does. The one whose app is kept is one of those others.
    let runbook = question.runbooks.get_mut(&Platform::Ios).unwrap();
    limit(runbook, StepId::AppsKeep);
    let sales = BTreeSet::from(["sales".to_owned()]);
    org.tag_devices(&[serial(2)], &sales, &BTreeSet::new())
        .await
        .unwrap();
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
async fn manifests_are_asked_for_and_what_was_seen_there_is_the_fact() {
    let (house, org) = fleet_told(1).await;
    let mut question = question(&house, 1);
    let (mdm, id) = (&house.mdm, org.organisation().id);
    let source = async |question: &Question| {
        let looked = org.look_at(question, Detail::Everything).await.unwrap();
        let mut findings = looked.members[0].findings.iter();
        let found = findings.find(|f| f.check == Check::AppsManifest);
        found.cloned().unwrap()
    };
    let url = "https://apps.example.com/notes.plist";
    assert!(mdm.manifests_wanted().is_empty());
    // Nobody has looked: that keeps nobody back, and is asked for.
    let found = source(&question).await;
    assert_eq!(found.result, CheckResult::Warn, "{}", found.fact);
    assert_eq!(mdm.manifests_wanted(), [id]);
    assert_eq!(org.manifests().await.unwrap(), [url]);
    // What fails once is not believed, what fails again a minute later is.
    let wrong = async |problem: &str| {
        let seen = SeenManifest::wrong(url, mdm.now(), problem);
        mdm.tell_manifests(id, vec![seen]);
        source(&question).await
    };
    let found = wrong("answers with 503").await;
    assert_eq!(found.result, CheckResult::Warn, "{}", found.fact);
    assert!(found.fact.contains("answers with 503"), "{}", found.fact);
    assert!(mdm.manifests_wanted().is_empty(), "a minute has not passed");
    house.clock.advance(Duration::from_secs(60));
    assert_eq!(mdm.manifests_wanted(), [id]);
    let second = mdm.now();
    let found = wrong("answers with 404").await;
    assert_eq!(found.result, CheckResult::Block, "{}", found.fact);
    let seen = (found.source, found.at);
    assert_eq!(seen, (Some(FactSource::Probe), Some(second)));
    assert!(found.fact.contains("answers with 404"), "{}", found.fact);
    // It is looked at again by itself, and sooner where somebody has asked since.
    house.clock.advance(Duration::from_secs(60));
    assert!(mdm.manifests_wanted().is_empty());
    source(&question).await;
    assert_eq!(mdm.manifests_wanted(), [id]);
    // As it should be, and without hashes.
    for (hashes, result) in [(true, CheckResult::Pass), (false, CheckResult::Warn)] {
        let mut file = ManifestAsset::new(AssetKind::SoftwarePackage, "https://x.example.com/a");
        if hashes {
            file = file.sha256_size(1024_u64).sha256s(vec!["00".repeat(32)]);
        }
        let about = ManifestMetadata::new("com.example.notes", ManifestKind::Software, "Notes");
        let manifest = Manifest::new(vec![ManifestItem::new(vec![file], about)]);
        let read = SeenManifest::read(url, mdm.now(), &manifest.encode());
        mdm.tell_manifests(id, vec![read]);
        let found = source(&question).await;
        assert_eq!(found.result, result, "{}", found.fact);
    }
    // One failure does not take the place of what was seen before; what was seen long ago is not believed any more.
    let found = wrong("answers with 503").await;
    assert!(found.fact.contains("no hashes"), "{}", found.fact);
    house.clock.advance(Duration::from_secs(3600));
    let found = source(&question).await;
    assert!(found.fact.contains("not looked at yet"), "{}", found.fact);
    // Where nobody looks it is said why.
    let barred = SeenManifest::not_looked_at(url, mdm.now(), "its address is not a public one");
    mdm.tell_manifests(id, vec![barred]);
    let found = source(&question).await;
    assert_eq!(found.result, CheckResult::Warn);
    assert!(found.fact.contains("not a public one"), "{}", found.fact);
    assert!(mdm.manifests_wanted().is_empty());
    // What is served here is known without asking: whether there is such a package.
    let kept = KeptFile {
        name: KeptFile::new_name().unwrap(),
        size: 4,
        part_size: 4,
        sha256s: vec!["00".repeat(32)],
    };
    let own = format!("{}/manifest", org.package_url(&kept.name));
    let runbook = question.runbooks.get_mut(&Platform::Ios).unwrap();
    runbook.apps[0].manifest_url = Some(own);
    let found = source(&question).await;
    assert_eq!(found.result, CheckResult::Block, "{}", found.fact);
    assert!(found.fact.contains("no package"), "{}", found.fact);
    let package = Package {
        bundle_identifier: "com.example.notes".to_owned(),
        title: "Notes".to_owned(),
        bundle_version: None,
        url: String::new(),
        size: 0,
        part_size: 0,
        sha256s: Vec::new(),
        managed: false,
        file: None,
    };
    let lab = Audience::from(BTreeSet::from(["lab".to_owned()]));
    org.put_kept_package("notes", package, kept, lab)
        .await
        .unwrap();
    let found = source(&question).await;
    assert_eq!(found.result, CheckResult::Pass, "{}", found.fact);
    assert!(mdm.manifests_wanted().is_empty(), "nobody was asked");
}
