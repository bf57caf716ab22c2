//! What may hold a secret is sealed from the runbook to the queue, and opened only for the device that gets it. The database
//! is searched byte by byte; that the search finds what is there is shown by the device's own copy.

mod service_house;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mdm_core::device::Platform;
use mdm_core::error::Error;
use mdm_core::ids::RunbookId;
use mdm_core::migration::{PinnedRunbook, ProfilePlan, ProfileRole, StepId, Variant};
use mdm_core::organisation::Der;
use mdm_core::secret::SecretKind;
use mdm_core::service::Answer;
use mdm_core::store::Batch;
use service_house::{House, command, revealed};

const PASSWORD: &str = "the-password-of-the-wireless-network-at-work";

/// Whether bytes hold the password, as it is or in base64 at any alignment.
fn holds(bytes: &[u8]) -> bool {
    let found = |needle: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
    let hidden = (0..3).any(|skip| {
        let text = STANDARD.encode(&PASSWORD.as_bytes()[skip..]);
        // Without the last group, whose bits depend on what follows.
        found(&text.as_bytes()[..text.len() - 8])
    });
    hidden || found(PASSWORD.as_bytes())
}

#[tokio::test]
async fn a_profile_with_a_password_is_nowhere_in_the_database_and_reaches_the_device() {
    let house = House::new().await;
    let phone = house.device("C02SEALED").await;
    let profile =
        format!("<plist><dict><key>Password</key><string>{PASSWORD}</string></dict></plist>");
    let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    runbook.profiles.push(ProfilePlan {
        identifier: "org.wifi".to_owned(),
        role: ProfileRole::Trust,
        content: Der(profile.clone().into_bytes()),
    });
    let org = house.org().await;
    let id = org.pin("with a password", runbook.clone()).await.unwrap();
    assert_eq!(org.pin("again", runbook.clone()).await.unwrap(), id);
    assert_eq!(id, RunbookId(runbook.content_id()));
    house.attempt(&phone, id).await;
    house.enrol(&phone).await;
    let mut answer = house
        .report(&phone, "<key>Status</key><string>Idle</string>")
        .await
        .unwrap();
    let mut seen = BTreeMap::new();
    while let Some((uuid, kind)) = command(&answer) {
        if let Answer::Plist(bytes) = &answer {
            seen.insert(kind.clone(), bytes.clone());
        }
        if kind == "InstallProfile" {
            break;
        }
        let more = if kind == "DeviceInformation" {
            format!(
                "<key>QueryResponses</key><dict><key>SerialNumber</key><string>{}</string></dict>",
                phone.serial
            )
        } else {
            String::new()
        };
        let body = format!(
            "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>{more}"
        );
        answer = house.report(&phone, &body).await.unwrap();
    }
    let handed = &seen["InstallProfile"];
    let text: String = String::from_utf8(handed.clone())
        .unwrap()
        .split_whitespace()
        .collect();
    assert!(
        text.contains(&STANDARD.encode(&profile)),
        "the device gets another profile"
    );
    assert!(
        holds(text.as_bytes()),
        "the search finds nothing where something is"
    );
    let files = house.files();
    assert!(files.iter().any(|(name, _)| name == "mdm.sqlite"));
    for (name, bytes) in files {
        assert!(!holds(&bytes), "{name} holds the password");
    }
    // The pinned runbook is read as it is kept.
    let s = org
        .device_report(&phone.serial)
        .await
        .unwrap()
        .set_up
        .unwrap();
    assert_eq!(s.runbook, id);
    assert!(s.steps().unwrap().contains_key(&StepId::Trust));
}

#[tokio::test]
async fn a_command_whose_body_does_not_open_keeps_nothing_behind_it() {
    let house = House::new().await;
    let mac = house.mac("C02ESCROW").await;
    house.enrol(&mac).await;
    let org = house.org().await;
    // An operator's release waits behind whatever else is queued for this Mac.
    let s = org
        .device_report(&mac.serial)
        .await
        .unwrap()
        .set_up
        .unwrap();
    let mut sealed = mdm_core::queue::Command::queued(
        org.organisation().id,
        mdm_core::ids::CommandId(house.next_id()),
        s.enrollment,
        "SEALED".to_owned(),
        "InstallProfile",
        vec![1; 60],
        house.mdm.now(),
    );
    sealed.form = mdm_core::queue::BodyForm::Sealed;
    sealed.priority = 1_000;
    let mut batch = Batch::new();
    batch.put(sealed);
    house.mdm.store().commit(batch).await.unwrap();
    let answer = house
        .report(&mac, "<key>Status</key><string>Idle</string>")
        .await
        .unwrap();
    assert_eq!(command(&answer).unwrap().1, "DeviceInformation");
}

#[tokio::test]
async fn a_secret_is_shown_for_a_reason_and_once_that_is_in_the_record() {
    let house = House::new().await;
    let phone = house.phone_with_token("C02SHOWN").await;
    let org = house.org().await.acting_for("anna");
    let ask =
        |reason: &'static str| org.reveal(&phone.serial, SecretKind::UnlockToken, reason, None);
    for nothing in ["", "  "] {
        assert!(matches!(ask(nothing).await, Err(Error::BadInput { .. })));
    }
    let looks = async || {
        let record = house.record(&phone).await;
        let looks = record
            .into_iter()
            .filter(|(what, _)| what == "secret.revealed");
        looks.map(|(_, detail)| detail).collect::<Vec<_>>()
    };
    assert_eq!(looks().await.len(), 0);
    let shown = ask("locked out").await.unwrap();
    assert_eq!(revealed(shown).expose(), b"opens the passcode");
    let looks = looks().await;
    assert_eq!(looks.len(), 1);
    assert_eq!(looks[0]["reason"], "locked out");
    let all = org.record_tail(100).await.unwrap();
    let look = all.iter().find(|e| e.what == "secret.revealed").unwrap();
    assert_eq!(look.actor, "anna");
}
