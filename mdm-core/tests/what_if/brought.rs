//! What is on devices and what comes to them: apps that somebody told of, steps that are for others, licences, and what the library has
//! for groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::check::{Check, CheckResult};
use mdm_core::device::Platform;
use mdm_core::ids::{DeviceId, Serial};
use mdm_core::library::Audience;
use mdm_core::migration::what_if::CheckFinding;
use mdm_core::migration::{AppAction, AppPlan, PinnedRunbook, StepId};
use mdm_core::original::{DeviceOwner, OriginalApp, OriginalNetwork};
use mdm_core::secret::Secret;
use mdm_core::service::{Act, Detail, MigrationAct, ProjectChange};
use mdm_core::store::Batch;

use super::service_house::{House, START};
use super::{DAY, contents, fleet, found, question, said, serial, wifi};

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
    // What a device has said itself since counts here as it does in the what-if.
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
    let mut batch = Batch::new();
    batch.put(one);
    store.commit(batch).await.unwrap();
    let (apps, devices) = org.original_apps(None).await.unwrap();
    let apps: BTreeMap<&str, u64> = apps
        .iter()
        .map(|app| (app.bundle_id.as_str(), app.devices))
        .collect();
    let wanted = ["com.example.Notes", "com.example.later", "com.example.maps"];
    assert_eq!(apps, BTreeMap::from(wanted.map(|app| (app, 1))));
    assert_eq!(devices, 3);
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
