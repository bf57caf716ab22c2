//! What came from the service before is handed on, with what the hold here brought.

use mdm_core::device::Platform;
use mdm_core::enrollment::ChannelKind;
use mdm_core::ids::{EnrollmentId, RunbookId, Serial};
use mdm_core::library::Audience;
use mdm_core::migration::{Pinned, PinnedRunbook, ProfilePlan, ProfileRole, Variant};
use mdm_core::organisation::Der;
use mdm_core::secret::Secret;
use mdm_core::store::Batch;

use super::{CODE, close, code, hand_on, open, tells_its_code};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_from_the_service_before_is_handed_on_with_what_the_hold_brought() {
    let (first, old, new) = (open().await, open().await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    // The first one has the device's own code, and hands it over.
    let device = first.enrolled().await;
    tells_its_code(&first, &device, CODE).await;
    hand_on(&first, &old).await;

    // The second one brought a network in its hold, and manages the local user of what is a Mac.
    old.enrolled().await;
    let (id, store) = (old.org.organisation().id, old.app.mdm.store());
    let known = Box::pin(old.org.device_report(&serial)).await.unwrap();
    let mut runbook = PinnedRunbook::standard(Platform::Macos, Variant::Migration);
    runbook.profiles.push(ProfilePlan {
        identifier: "org.wifi".to_owned(),
        role: ProfileRole::Network,
        content: Der(WIFI.as_bytes().to_vec()),
    });
    let mut set_up = known.set_up.unwrap();
    set_up.runbook = RunbookId(77);
    let mut channel = known.enrollments.last().unwrap().clone();
    channel.local_user = Some("USER-1".to_owned());
    let mut user = channel.clone();
    user.id = EnrollmentId(channel.id.0 + 1);
    user.version = 0;
    user.key = format!("{}:USER-1", channel.key);
    user.parent = Some(channel.id);
    user.channel = ChannelKind::User {
        short_name: Some("kim".to_owned()),
        long_name: None,
    };
    let mut row = known.device;
    row.facts.product = Some("Mac15,7".to_owned());
    // Its owner's group, which brings it a profile of the library.
    row.groups.insert("Shop".to_owned());
    let groups = row.groups.clone();
    let mut batch = Batch::new();
    batch.put(Pinned {
        organisation: id,
        id: RunbookId(77),
        name: "hold".to_owned(),
        runbook,
    });
    batch.put(set_up).put(channel).put(user).put(row);
    store.commit(batch).await.unwrap();
    let shop = Secret::from_text(WIFI.replace("org.wifi", "org.shop"));
    let whom = Audience::read([""; 0], ["Shop"]).unwrap();
    old.org.put_profile("Shop", &shop, whom).await.unwrap();
    hand_on(&old, &new).await;

    let facts = new.org.original(&serial).await.unwrap();
    assert_eq!(facts.owner.unwrap().value.groups, groups);
    let networks = facts.networks.unwrap().value;
    assert!(
        networks.iter().any(|n| n.ssid == "Hold" && n.managed),
        "{networks:?}"
    );
    let profiles = facts.profiles.unwrap().value;
    let wifi = profiles
        .iter()
        .find(|p| p.identifier == "org.wifi")
        .unwrap();
    assert!(wifi.payloads.contains("com.apple.wifi.managed"), "{wifi:?}");
    assert!(profiles.iter().any(|p| p.identifier == "org.shop"));
    assert_eq!(facts.managed_user.unwrap().value.name, "kim");
    assert_eq!(code(&new, &serial).await, CODE);
    close([first, old, new]).await;
}

const WIFI: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>org.wifi</string><key>PayloadUUID</key><string>7e5fc7a0-0000-4000-8000-000000000001</string>
<key>PayloadContent</key><array><dict>
<key>PayloadType</key><string>com.apple.wifi.managed</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>org.wifi.1</string><key>PayloadUUID</key><string>7e5fc7a0-0000-4000-8000-000000000002</string>
<key>SSID_STR</key><string>Hold</string>
</dict></array></dict></plist>"#;
