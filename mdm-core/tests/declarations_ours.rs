//! What the server declares by itself: apps that a migration installs or keeps, and the status items that it waits for. It is
//! made by steps of the runbook where the system has it, leaves to people what is theirs, and no hold depends on it.

mod declared;
mod service_house;

use std::collections::BTreeMap;

use declared::{Gear, QUIET, fetch, map, notices, put, set};
use mdm_core::ddm::{Channels, Target};
use mdm_core::device::Platform;
use mdm_core::error::Error;
use mdm_core::ids::WaveId;
use mdm_core::migration::{AppAction, AppPlan, PinnedRunbook, StepId, StepStatus, Variant};
use mdm_core::service::NewDeclaration;
use mdm_core::store::Batch;
use mdm_core::wave::{Wave, WaveState};
use serde_json::{Value, json};
use service_house::{Gadget, House, command, set_up};

const APP: &str = "com.apple.configuration.app.managed";
const NOTES: &str = "net.example.notes";
const MAIL: &str = "net.example.mail";
/// The same app, as the phone spells it.
const SPELLED: &str = "net.example.Mail";
const CHAT: &str = "net.example.chat";

fn app(bundle_id: &str, store_id: Option<u64>, action: AppAction) -> AppPlan {
    AppPlan {
        bundle_id: bundle_id.to_owned(),
        store_id,
        manifest_url: None,
        action,
    }
}

/// A new app, one to be kept that is there, and one to be kept that is not.
fn runbook() -> PinnedRunbook {
    let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    runbook.apps = vec![
        app(NOTES, Some(900_000_001), AppAction::Install),
        app(MAIL, None, AppAction::KeepIfPresent),
        app(CHAT, None, AppAction::KeepIfPresent),
    ];
    runbook.with_declared_apps()
}

/// A phone of this system in its hold, with this runbook.
async fn held(house: &House, serial: &str, system: &str, runbook: PinnedRunbook) -> Gadget {
    let phone = house.device(serial).await;
    let id = house.org().await.pin(serial, runbook).await.unwrap();
    house.attempt(&phone, id).await;
    let body = format!(
        "<key>MessageType</key><string>Authenticate</string>\
         <key>Topic</key><string>com.apple.mgmt.External.house</string>\
         <key>SerialNumber</key><string>{serial}</string><key>ProductName</key><string>iPhone17,2</string>\
         <key>OSVersion</key><string>{system}</string>"
    );
    house.check_in(&phone, &body).await.unwrap();
    let awaits = "<key>AwaitingConfiguration</key><true/>";
    house.token_update(&phone, awaits).await.unwrap();
    phone
}

/// Answers whatever is asked, as a phone of this system that has two of the apps; the types of the commands.
async fn answers(house: &House, phone: &Gadget, system: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut answer = house.report(phone, QUIET).await.unwrap();
    for _ in 0..60 {
        let Some((uuid, kind)) = command(&answer) else {
            break;
        };
        let more = match kind.as_str() {
            "DeviceInformation" => format!(
                "<key>QueryResponses</key><dict><key>SerialNumber</key><string>{}</string>\
                 <key>OSVersion</key><string>{system}</string><key>AwaitingConfiguration</key><true/></dict>",
                phone.serial
            ),
            "InstalledApplicationList" => format!(
                "<key>InstalledApplicationList</key><array><dict><key>Identifier</key><string>{SPELLED}</string></dict></array>"
            ),
            "InstallApplication" => "<key>State</key><string>Managed</string>".to_owned(),
            "ManagedApplicationList" if seen.contains(&"DeviceConfigured".to_owned()) => {
                // They are the declarations' by now.
                "<key>ManagedApplicationList</key><dict/>".to_owned()
            }
            "ManagedApplicationList" => {
                let managed = |id| {
                    format!("<key>{id}</key><dict><key>Status</key><string>Managed</string></dict>")
                };
                format!(
                    "<key>ManagedApplicationList</key><dict>{}{}</dict>",
                    managed(NOTES),
                    managed(SPELLED)
                )
            }
            _ => String::new(),
        };
        seen.push(kind);
        let done = format!(
            "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>{more}"
        );
        answer = house.report(phone, &done).await.unwrap();
    }
    seen
}

async fn step(house: &House, phone: &Gadget, id: StepId) -> StepStatus {
    set_up(house, phone).await.steps().unwrap()[&id]
        .status
        .clone()
}

/// Configurations of a type that a phone has, without their activations.
fn of_type<'a>(gear: &'a Gear, key: &str) -> Vec<&'a Value> {
    let all = gear
        .has
        .values()
        .filter(|held| held.kind == "configuration");
    let payloads = all.map(|held| &held.payload);
    payloads
        .filter(|payload| payload.get(key).is_some())
        .collect()
}

fn apps_told(states: &[(&str, &str)]) -> Value {
    let list: Vec<Value> = states
        .iter()
        .map(|(id, state)| json!({ "identifier": id, "state": state }))
        .collect();
    json!({ "StatusItems": { "app": { "managed": { "list": list } } } })
}

#[tokio::test]
async fn apps_of_a_migration_are_declared_as_required_after_the_commands_and_proved_by_the_status()
{
    let house = House::new().await;
    let phone = held(&house, "C02OURS01", "26.4", runbook()).await;
    let seen = answers(&house, &phone, "26.4").await;
    let place = |kind: &str| seen.iter().position(|it| it == kind);
    let declared = place("DeclarativeManagement").expect("the declaring");
    assert!(place("InstallApplication") < Some(declared), "{seen:?}");
    assert_eq!(place("DeviceConfigured"), None, "{seen:?}");
    let mut gear = Gear::default();
    gear.sync(&house, &phone).await;
    let apps = of_type(&gear, "InstallBehavior");
    let required = |it: &&Value| it["InstallBehavior"]["Install"] == "Required";
    assert!(apps.len() == 2 && apps.iter().all(required), "{apps:?}");
    assert!(apps.iter().any(|it| it["AppStoreID"] == "900000001"));
    // What is not there would be installed by it.
    assert!(
        apps.iter().any(|it| it["BundleID"] == MAIL)
            && !apps.iter().any(|it| it["BundleID"] == CHAT)
    );
    let items = of_type(&gear, "StatusItems");
    assert_eq!(
        items,
        [&json!({ "StatusItems": [{ "Name": "app.managed.list" }] })]
    );
    let of_ours = gear.names().iter().all(|it| it.starts_with("mdmd."));
    assert!(
        of_ours && gear.has.len() == 6,
        "each with its activation: {:?}",
        gear.names()
    );
    // Neither an acknowledgement nor one app is the proof of two. In force is enough for one that is new.
    let one = step(&house, &phone, StepId::DeclareApps).await;
    assert!(matches!(one, StepStatus::Running), "{one:?}");
    declared::status(&house, &phone, &apps_told(&[(NOTES, "downloading")]))
        .await
        .unwrap();
    let one = step(&house, &phone, StepId::DeclareApps).await;
    assert!(matches!(one, StepStatus::Running), "{one:?}");
    declared::status(
        &house,
        &phone,
        &apps_told(&[(NOTES, "managed"), (SPELLED, "managed")]),
    )
    .await
    .unwrap();
    let both = step(&house, &phone, StepId::DeclareApps).await;
    assert!(matches!(both, StepStatus::Done { .. }), "{both:?}");
    // The proof after the release: the commands' list has none of them any more.
    let seen = answers(&house, &phone, "26.4").await;
    assert!(seen.contains(&"DeviceConfigured".to_owned()), "{seen:?}");
    let (seen, end) = (seen.len(), set_up(&house, &phone).await);
    assert!(
        seen > 1 && end.exceptions.is_empty(),
        "{:?}",
        end.exceptions
    );
    let proved = end
        .steps()
        .map(|steps| steps[&StepId::Verify].status.clone());
    assert!(
        proved.is_none_or(|it| matches!(it, StepStatus::Done { .. })),
        "{end:?}"
    );
    // They stay declared.
    gear.sync(&house, &phone).await;
    assert_eq!(of_type(&gear, "InstallBehavior").len(), 2);
}

#[tokio::test]
async fn a_system_without_declared_apps_is_left_to_the_commands() {
    let house = House::new().await;
    let phone = held(&house, "C02OURS02", "17.1", runbook()).await;
    let seen = answers(&house, &phone, "17.1").await;
    assert!(
        !seen.contains(&"DeclarativeManagement".to_owned()),
        "{seen:?}"
    );
    assert!(seen.contains(&"DeviceConfigured".to_owned()), "{seen:?}");
    assert_eq!(notices(&house, &phone).await, 0);
}

#[tokio::test]
async fn an_app_that_a_device_refuses_is_an_exception_where_that_is_required_and_ends_the_waiting()
{
    let house = House::new().await;
    let mut plan = runbook();
    for step in &mut plan.steps {
        step.required |= step.id == StepId::DeclareApps;
    }
    let phone = held(&house, "C02OURS03", "26.4", plan).await;
    answers(&house, &phone, "26.4").await;
    let mut gear = Gear::default();
    gear.sync(&house, &phone).await;
    let refused = gear
        .has
        .iter()
        .find(|(_, held)| held.payload["BundleID"] == MAIL);
    let (identifier, held) = refused.unwrap();
    let report = json!({ "StatusItems": {
        "app": { "managed": { "list": [{ "identifier": NOTES, "state": "managed" }] } },
        "management": { "declarations": { "configurations": [
            { "identifier": identifier, "server-token": held.token, "active": true, "valid": "invalid",
              "reasons": [{ "code": "Error.LicenseNotFound" }] } ] } } } });
    declared::status(&house, &phone, &report).await.unwrap();
    let end = set_up(&house, &phone).await;
    let named = end
        .exceptions
        .iter()
        .find(|it| it.what == format!("declare-apps: {MAIL}"));
    assert!(
        named.is_some_and(|it| it.why.contains("LicenseNotFound")),
        "{:?}",
        end.exceptions
    );
    assert!(
        answers(&house, &phone, "26.4")
            .await
            .contains(&"DeviceConfigured".to_owned())
    );
}

#[tokio::test]
async fn what_people_declare_is_not_declared_twice() {
    let house = House::new().await;
    let org = house.org().await;
    let theirs = json!({ "BundleID": SPELLED, "InstallBehavior": { "Install": "Required", "License": { "Assignment": "Device" } } });
    put(&org, "mail", APP, theirs).await;
    set(&org, "apps", &["mail"]).await;
    org.assign_declarations("apps", &Target::Organisation, Channels::Device)
        .await
        .unwrap();
    let phone = held(&house, "C02OURS04", "26.4", runbook()).await;
    answers(&house, &phone, "26.4").await;
    let mut gear = Gear::default();
    gear.sync(&house, &phone).await;
    let apps = of_type(&gear, "InstallBehavior");
    let of_it = apps.iter().filter(|it| it["BundleID"] == SPELLED);
    assert_eq!(of_it.count(), 1);
    assert_eq!(apps.len(), 2, "{apps:?}");
    // Nor may anybody take a name of ours.
    let taken = NewDeclaration::new("mdmd.app.x", APP, map(&json!({ "BundleID": "x" })));
    assert!(matches!(
        org.put_declaration(&taken).await,
        Err(Error::BadInput { .. })
    ));
}

#[tokio::test]
async fn the_end_of_a_hold_is_seen_by_what_a_newer_system_says_of_itself() {
    let plain = || PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    for (serial, system, has) in [("C02OURS05", "27.0", true), ("C02OURS06", "26.9", false)] {
        let house = House::new().await;
        let phone = held(&house, serial, system, plain()).await;
        house.settle().await;
        let mut gear = Gear::default();
        gear.sync(&house, &phone).await;
        let told: Vec<&Value> = of_type(&gear, "StatusItems");
        assert_eq!(!told.is_empty(), has, "{system}");
        if !has {
            continue;
        }
        assert_eq!(
            told,
            [&json!({ "StatusItems": [{ "Name": "mdm.is-awaiting-configuration" }] })]
        );
        assert!(matches!(
            set_up(&house, &phone).await.state,
            mdm_core::migration::SetUpState::Holding { .. }
        ));
        let out = json!({ "StatusItems": { "mdm": { "is-awaiting-configuration": false } } });
        declared::status(&house, &phone, &out).await.unwrap();
        let state = set_up(&house, &phone).await.state;
        assert!(
            !matches!(state, mdm_core::migration::SetUpState::Holding { .. }),
            "{state:?}"
        );
    }
}

#[tokio::test]
async fn what_a_runbook_waits_for_is_subscribed_to() {
    let house = House::new().await;
    let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    let item = "softwareupdate.install-state".to_owned();
    runbook.status.insert(item, json!("none"));
    let phone = held(&house, "C02OURS07", "27.0", runbook).await;
    answers(&house, &phone, "27.0").await;
    let mut gear = Gear::default();
    gear.sync(&house, &phone).await;
    let told = of_type(&gear, "StatusItems");
    let both = json!({ "StatusItems": [
        { "Name": "mdm.is-awaiting-configuration" }, { "Name": "softwareupdate.install-state" } ] });
    assert_eq!(told, [&both]);
    // The subscription before it went with its activation.
    assert_eq!(gear.has.len(), 2, "{:?}", gear.names());
    let name = gear.names()[0].to_owned();
    assert!(
        fetch(&house, &phone, "configuration", &name)
            .await
            .is_some()
    );
}

#[tokio::test]
async fn an_app_of_a_running_migration_that_would_not_stay_is_refused_and_one_from_before_is_warned_of()
 {
    let house = House::new().await;
    let org = house.org().await;
    let optional = |bundle: &str| {
        map(&json!({ "BundleID": bundle, "InstallBehavior": { "Install": "Optional" } }))
    };
    let before = NewDeclaration::new("mail", APP, optional(MAIL));
    org.put_declaration(&before).await.unwrap();
    let plan = org.pin("keeps", runbook()).await.unwrap();
    let runbooks = BTreeMap::from([(Platform::Ios, plan)]);
    let id = WaveId(house.next_id());
    let mut wave = Wave::draft(
        house.org,
        id,
        "autumn",
        house.server,
        runbooks,
        house.mdm.now(),
    );
    let write = |wave: &Wave| {
        let mut batch = Batch::new();
        batch.put(wave.clone());
        batch
    };
    house.mdm.store().commit(write(&wave)).await.unwrap();
    let warnings = org.what_if(id).await.unwrap().warnings;
    assert!(
        warnings
            .iter()
            .any(|it| it.contains(MAIL) && it.contains("Required")),
        "{warnings:?}"
    );
    // A draft binds nobody.
    let notes = NewDeclaration::new("notes", APP, map(&json!({ "AppStoreID": "900000001" })));
    org.put_declaration(&notes).await.unwrap();
    wave.version = 1;
    wave.state = WaveState::Submitted {
        by: "test".to_owned(),
        at: house.mdm.now(),
        digest: String::new(),
    };
    house.mdm.store().commit(write(&wave)).await.unwrap();
    for (identifier, payload) in [("notes", notes.payload.clone()), ("again", optional(CHAT))] {
        let mut new = NewDeclaration::new(identifier, APP, payload);
        // The same content again is refused as well: it is what is wrong.
        let refused = org.put_declaration(&new).await.unwrap_err();
        assert!(refused.to_string().contains("autumn"), "{refused}");
        new.payload.insert(
            "InstallBehavior".to_owned(),
            json!({ "Install": "Required" }),
        );
        org.put_declaration(&new).await.unwrap();
    }
    let other = NewDeclaration::new("other", APP, optional("net.example.other"));
    org.put_declaration(&other).await.unwrap();
}

const TEST: &str = "com.apple.configuration.management.test";

#[tokio::test]
async fn what_a_device_does_not_know_is_left_out_of_its_list() {
    let house = House::new().await;
    let org = house.org().await;
    put(&org, "old", TEST, json!({ "Echo": "1" })).await;
    let newer = "com.apple.configuration.newer";
    let mut new = NewDeclaration::new("new", newer, map(&json!({ "a": 1 })));
    new.activation = Some(mdm_core::service::Activation::when(None));
    org.put_declaration(&new).await.unwrap();
    set(&org, "s", &["old", "new"]).await;
    org.assign_declarations("s", &Target::Organisation, Channels::Device)
        .await
        .unwrap();
    let phone = held(
        &house,
        "C02OURS08",
        "26.4",
        PinnedRunbook::standard(Platform::Ios, Variant::Migration),
    )
    .await;
    house.settle().await;
    notices(&house, &phone).await;
    let mut gear = Gear::default();
    gear.sync(&house, &phone).await;
    assert_eq!(
        gear.names(),
        ["new", "new.activation", "old"],
        "it has not said what it knows"
    );
    let knows = |configurations: &[&str]| {
        json!({ "StatusItems": { "management": { "client-capabilities": {
            "supported-versions": ["1"], "supported-payloads": { "declarations": {
                "activations": ["com.apple.activation.simple"], "assets": [],
                "configurations": configurations, "management": [] } } } } } })
    };
    declared::status(&house, &phone, &knows(&[TEST]))
        .await
        .unwrap();
    house.settle().await;
    assert_eq!(notices(&house, &phone).await, 1);
    gear.sync(&house, &phone).await;
    assert_eq!(gear.names(), ["old"]);
    let shown = org.declarations_of_device(&phone.serial).await.unwrap();
    assert!(shown[0].agrees);
    // It hears nothing of what it does not get.
    new.payload = map(&json!({ "a": 2 }));
    org.put_declaration(&new).await.unwrap();
    house.settle().await;
    assert_eq!(notices(&house, &phone).await, 0);
    declared::status(&house, &phone, &knows(&[TEST]))
        .await
        .unwrap();
    house.settle().await;
    assert_eq!(
        notices(&house, &phone).await,
        0,
        "the same again is no news"
    );
    // An update of its system knows more.
    declared::status(&house, &phone, &knows(&[TEST, newer]))
        .await
        .unwrap();
    house.settle().await;
    assert_eq!(notices(&house, &phone).await, 1);
    gear.sync(&house, &phone).await;
    assert_eq!(gear.names(), ["new", "new.activation", "old"]);
}
