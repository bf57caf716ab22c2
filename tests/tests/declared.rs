//! Simulated devices and their declarations over the wire: they synchronise in their hold and afterwards, with faults and without, fetch files, apply what
//! they can, refuse what they cannot, and end with exactly what the server wants them to have.

use std::collections::BTreeSet;

use fixtures::apple::LicenceSeed;
use fixtures::device::DeclaredView;
use mdm_core::ddm::{Channels, Target};
use mdm_core::ids::Serial;
use mdm_core::secret::Secret;
use mdm_core::service::{Activation, ChannelDeclarations, NewDeclaration, NewFile, Org};
use mdmd::rehearsal::{Faults, HouseOptions, Rehearsal, Stage};
use serde_json::{Value, json};
use tests::SOON;

async fn put(org: &Org, new: &NewDeclaration) {
    org.put_declaration(new).await.unwrap();
}

fn declaration(identifier: &str, of: &str, payload: &Value) -> NewDeclaration {
    NewDeclaration::new(identifier, of, payload.as_object().cloned().unwrap())
}

/// An app for iPhones, a credential, a setting that is for Macs only, and what the organisation says of itself.
async fn declare(org: &Org) {
    let behaviour =
        json!({ "BundleID": "net.example.declared", "InstallBehavior": { "Install": "Required" } });
    let mut app = declaration("app", "com.apple.configuration.app.managed", &behaviour);
    let predicate = "(@status(device.model.family) == 'iPhone')".to_owned();
    app.activation = Some(Activation::when(Some(predicate)));
    put(org, &app).await;
    let mut credential = declaration(
        "credential",
        "com.apple.asset.credential.userpassword",
        &json!({}),
    );
    let content = Secret::from_text(r#"{"UserName":"a","Password":"b"}"#.to_owned());
    credential.file = Some(NewFile::new(content, "application/json"));
    put(org, &credential).await;
    let disk = json!({ "Restrictions": { "ExternalStorage": "Disallowed" } });
    let mut disk = declaration(
        "disk",
        "com.apple.configuration.diskmanagement.settings",
        &disk,
    );
    disk.activation = Some(Activation::when(None));
    put(org, &disk).await;
    put(org, &info("Example")).await;
    let members = ["app", "credential", "disk", "info"].map(str::to_owned);
    org.put_declaration_set("all", &members).await.unwrap();
    let everybody = Target::Organisation;
    org.assign_declarations("all", &everybody, Channels::Device)
        .await
        .unwrap();
}

fn info(name: &str) -> NewDeclaration {
    let of = "com.apple.management.organization-info";
    declaration("info", of, &json!({ "Name": name }))
}

async fn seen(stage: &Stage, serial: &str) -> (DeclaredView, ChannelDeclarations) {
    let view = stage.world.declared(serial).await.unwrap();
    let org = stage.org().await.unwrap();
    let serial = Serial::parse(serial).unwrap();
    let shown = org.declarations_of_device(&serial).await.unwrap();
    let view = view.into_iter().next().unwrap_or_default();
    (view, shown.into_iter().next().expect("a channel"))
}

/// The device has what it should have, the server knows, and nothing was ever lost or mixed.
async fn agree(stage: &Stage, serial: &str) -> DeclaredView {
    let (view, shown) = seen(stage, serial).await;
    assert_eq!((view.vanished, view.mixed), (0, 0), "{serial}: {view:?}");
    let wanted: BTreeSet<_> = shown
        .wanted
        .iter()
        .map(|w| (w.identifier.clone(), w.server_token.clone()))
        .collect();
    assert_eq!(
        view.has.iter().cloned().collect::<BTreeSet<_>>(),
        wanted,
        "{serial}"
    );
    assert!(shown.agrees, "{serial}: {shown:?}");
    view
}

async fn story(faults: Faults, devices: u32) {
    let mut rehearsal = Rehearsal::new(devices, 3);
    rehearsal.faults = faults;
    let directory = tempfile::tempdir().unwrap();
    let world = rehearsal.world().await.unwrap();
    let stage = Stage::set(world, directory.path(), HouseOptions::default())
        .await
        .unwrap();
    let org = stage.org().await.unwrap();
    declare(&org).await;
    let (wave, _) = stage.plan_for(None, &SOON).await.unwrap();
    stage.play(wave).await.unwrap();
    let verdicts = stage.world.verdicts().await;
    let free: Vec<_> = verdicts
        .iter()
        .filter(|v| v.enrolled_with_destination)
        .collect();
    assert!(
        free.len() * 4 >= verdicts.len() * 3,
        "few devices are left to look at"
    );
    let mut of_macs = 0;
    for verdict in &free {
        let view = agree(&stage, &verdict.serial).await;
        let is_mac = verdict.platform == "macOS";
        of_macs += usize::from(is_mac);
        let (_, shown) = seen(&stage, &verdict.serial).await;
        let of = |identifier: &str| {
            let mut all = shown.reported.iter();
            all.find(|r| r.identifier == identifier)
                .cloned()
                .expect("a report of it")
        };
        // A file that every device has fetched and compared.
        assert!(
            of("credential").reasons.is_empty(),
            "{:?}",
            of("credential")
        );
        if is_mac {
            assert!(view.invalid.is_empty(), "{view:?}");
            assert_eq!(of("app.activation").reasons[0].code, "Info.Predicate");
            assert!(of("disk").active);
        } else {
            // It says that it does not know the type, and does not get it.
            assert!(shown.wanted.iter().all(|it| it.identifier != "disk"));
            let is_phone = verdict.family == fixtures::device::Family::IPhone;
            assert_eq!(
                view.active.contains(&"app".to_owned()),
                is_phone,
                "{view:?}"
            );
        }
    }
    assert!(of_macs > 0 && of_macs < free.len(), "one platform only");
    // An edit reaches all of them, each once it comes.
    put(&org, &info("Another name")).await;
    for _ in 0..200 {
        stage.settle().await.unwrap();
        let server = stage.mdm().next_due().await.unwrap().map(|t| t.as_millis());
        let next = [stage.world.next_due(), server].into_iter().flatten().min();
        let now = stage.world.clock().now_ms();
        match next.filter(|next| *next > now) {
            Some(next) if next - now < 86_400_000 => {
                stage.world.clock().advance_to(next);
            }
            _ => break,
        }
    }
    for verdict in &free {
        agree(&stage, &verdict.serial).await;
    }
    stage.strike().await.unwrap();
}

/// Apps of the runbooks are declared: every device keeps its own, and says so; a hold's end is told where the system can.
async fn apps_are_the_declarations(faults: Faults, devices: u32) {
    let mut rehearsal = Rehearsal::new(devices, 5);
    rehearsal.faults = faults;
    let directory = tempfile::tempdir().unwrap();
    let world = rehearsal.world().await.unwrap();
    let stage = Stage::set(world, directory.path(), HouseOptions::default())
        .await
        .unwrap();
    let (wave, _) = stage.plan_declaring(&SOON).await.unwrap();
    stage.play(wave).await.unwrap();
    for row in stage.judge().await.unwrap() {
        assert_eq!(row.disagreements, [""; 0], "{}", row.serial);
    }
    let verdicts = stage.world.verdicts().await;
    let (mut declared, mut told) = (0, 0);
    for verdict in verdicts.iter().filter(|v| v.enrolled_with_destination) {
        let serial = Serial::parse(&verdict.serial).unwrap();
        let org = stage.org().await.unwrap();
        let shown = org.declarations_of_device(&serial).await.unwrap();
        let Some(shown) = shown.into_iter().next() else {
            continue;
        };
        let view = stage.world.declared(&verdict.serial).await.unwrap();
        let Some(view) = view.into_iter().next() else {
            assert!(
                matches!(faults, Faults::Many),
                "{}: nothing was declared",
                verdict.serial
            );
            continue;
        };
        let apps = view
            .active
            .iter()
            .filter(|it| it.starts_with("mdmd.app.") && !it.ends_with(".activation"));
        let apps = apps.count();
        declared += usize::from(apps > 0);
        let list = shown
            .status
            .get("app")
            .map(|app| app["managed"]["list"].clone());
        let list = list
            .and_then(|list| list.as_array().cloned())
            .unwrap_or_default();
        let managed = list.iter().filter(|app| app["state"] == "managed").count();
        if matches!(faults, Faults::None) {
            assert_eq!(managed, apps, "{}: {list:?}", verdict.serial);
        }
        // Only what was subscribed to is told, and only by a system that has it.
        let device = org.device_report(&serial).await.unwrap().device;
        let newer = device.facts.os_version.as_deref() == Some("27.0");
        let held = shown
            .status
            .get("mdm")
            .map(|it| it["is-awaiting-configuration"].clone());
        assert!(held.is_none() || newer, "{}: {held:?}", verdict.serial);
        if newer && matches!(faults, Faults::None) {
            assert_eq!(held, Some(json!(false)), "{}", verdict.serial);
            told += 1;
        }
        assert!(!shown.status.contains_key("device"), "{:?}", shown.status);
    }
    assert!(
        declared * 2 > verdicts.len(),
        "{declared} devices have declared apps"
    );
    assert!(told > 0 || matches!(faults, Faults::Many));
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_of_a_migration_become_the_declarations() {
    apps_are_the_declarations(Faults::None, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_they_do_when_messages_are_lost_late_and_doubled_too() {
    apps_are_the_declarations(Faults::Many, 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_without_a_licence_is_refused_as_command_and_as_declaration() {
    // Every device has it. The location has sold it once, and has none.
    const NOTES: (&str, &str) = ("net.example.notes", "900000001");
    let directory = tempfile::tempdir().unwrap();
    let world = Rehearsal::new(8, 5).world().await.unwrap();
    let apple = world.apple();
    apple.buy_licences(&LicenceSeed::app(NOTES.1, Some(0)));
    let stage = Stage::set(world, directory.path(), HouseOptions::default())
        .await
        .unwrap();
    let (wave, _) = stage.plan_declaring(&SOON).await.unwrap();
    stage.play(wave).await.unwrap();
    let rows = stage.judge().await.unwrap();
    let org = stage.org().await.unwrap();
    let mut refused = 0;
    for verdict in stage.world.verdicts().await {
        if verdict.platform == "macOS" {
            continue;
        }
        assert_eq!(verdict.apps_lost, [NOTES.0], "{}", verdict.serial);
        let row = rows.iter().find(|row| row.serial == verdict.serial);
        let exceptions = &row.unwrap().exceptions;
        let named = format!("apps-keep: {}", NOTES.0);
        assert!(exceptions.iter().any(|e| e.what == named), "{exceptions:?}");
        let serial = Serial::parse(&verdict.serial).unwrap();
        let shown = org.declarations_of_device(&serial).await.unwrap();
        let told = shown.first().and_then(|shown| shown.status.get("app"));
        let list = told.and_then(|app| app["managed"]["list"].as_array());
        let mut list = list.into_iter().flatten();
        // Its system may have no declared apps at all.
        let Some(said) = list.find(|app| app["identifier"] == NOTES.0) else {
            continue;
        };
        assert_eq!(said["state"], "failed", "{said}");
        let code = &said["reasons"][0]["code"];
        assert_eq!(code, "Error.LicenseNotFound", "{said}");
        refused += 1;
    }
    assert!(refused > 0, "nobody was asked by declaration");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_have_what_is_declared_and_say_what_they_make_of_it() {
    story(Faults::None, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_they_do_when_messages_are_lost_late_and_doubled() {
    story(Faults::Many, 16).await;
}
