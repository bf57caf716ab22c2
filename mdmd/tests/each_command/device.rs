//! `mdmd device` and `mdmd command`: tags, commands, and attempts that nothing but a person ends.

use std::time::Duration;

use mdm_core::enrollment::{ChannelKind, Enrollment, EnrollmentState};
use mdm_core::ids::{EnrollmentId, MoveId, Serial};
use mdm_core::migration::MoveState;
use mdm_core::store::Batch;
use serde_json::json;

use super::stage;
use super::town::Town;

/// Has a device be enrolled, as if it had come by itself.
async fn enrolled(town: &Town, serial: &str) {
    let org = town.org().await;
    let (store, own) = (town.app.mdm.store(), org.organisation().id);
    let serial = Serial::parse(serial).unwrap();
    let device = store.device_by_serial(own, &serial).await.unwrap();
    let mut device = device.unwrap();
    let mut enrolment = Enrollment::pending(
        own,
        EnrollmentId(device.id.0),
        format!("UDID-{serial}"),
        ChannelKind::Device,
        "ab".to_owned(),
        town.app.mdm.now(),
    );
    enrolment.state = EnrollmentState::Enrolled;
    enrolment.device = Some(device.id);
    enrolment.serial = Some(serial);
    device.enrollment = Some(enrolment.id);
    let mut batch = Batch::new();
    batch.put(device).put(enrolment);
    store.commit(batch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_tagged_called_back_and_sent_commands() {
    let (town, serials) = stage().await;
    let serial = serials[0].as_str();
    town.ends(&format!("device|tag|{serial}|--add|lab"), 0, "")
        .await;
    let tags = town.json(&["tag", "list"]).await["tags"].clone();
    assert_eq!(tags, json!({ "lab": 1 }));
    town.ends(&format!("device|tag|{serial}|--take|lab"), 0, "")
        .await;
    assert_eq!(town.json(&["tag", "list"]).await["tags"], json!({}));
    // What is not here yet is neither called back nor asked anything; each says so, of this device.
    let back = format!("device|return|{serial}|--reason|the other works again");
    town.ends(&back, 3, serial).await;
    let send =
        format!("command|send|{serial}|--request|DeviceInformation|--key|Queries=[\"UDID\"]");
    town.ends(&send, 3, serial).await;
    town.ends(&format!("command|send|{serial}|--request|"), 2, "")
        .await;
    // One that is here gets it, once for each time that it is sent, until somebody takes it out again.
    enrolled(&town, serial).await;
    let uuid = "6B6E5B0E-7C39-4D7B-9C39-0D6F6C1B7A11";
    let send = format!("{send}|--uuid|{uuid}");
    town.ends(&send, 0, "queued   1 of 1").await;
    let waiting = async || {
        let listed = town.json(&["command", "list", serial]).await.to_string();
        listed.matches(uuid).count()
    };
    assert_eq!(waiting().await, 1);
    town.ends(&send, 3, "had a command of this UUID already")
        .await;
    assert_eq!(waiting().await, 1);
    town.ends(
        &format!("command|show|{serial}|{uuid}"),
        0,
        "DeviceInformation",
    )
    .await;
    let cancel = format!("command|cancel|{serial}|--uuid|{uuid}");
    town.ends(&cancel, 0, "taken out    1").await;
    let shown = town.json(&["command", "show", serial, uuid]).await;
    assert_eq!(shown["state"], "cancelled");
    let nobody = "command|send|NOBODY1|--request|RestartDevice";
    town.ends(nobody, 3, "NOBODY1").await;
    town.ends("command|list|NOBODY1", 3, "").await;
    town.ends("command|cancel|NOBODY1|--all", 3, "NOBODY1")
        .await;
    // A part of them is not nobody.
    let some = format!("command|cancel|NOBODY1|{serial}|--all");
    town.ends(&some, 4, "not for 1 of the devices").await;
    // What is over can be cancelled again; what never was is mistyped.
    town.ends(&cancel, 0, "taken out    0").await;
    let typo = format!("command|cancel|{serial}|--uuid|nope");
    town.ends(&typo, 2, "uuid: none of these devices").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_nothing_else_ends_is_given_up_by_an_approver_or_by_two() {
    let (town, serials) = stage().await;
    // Called back in vain, more than a day ago: Apple shows these devices nowhere.
    let org = town.org().await;
    let (id, store) = (org.organisation().id, town.app.mdm.store());
    let now = town.app.mdm.now();
    let mut batch = Batch::new();
    for mut attempt in store.all_attempts(id, MoveId(0), 10).await.unwrap() {
        let since = now - Duration::from_secs(25 * 3600);
        attempt.state = MoveState::Cancelling { since };
        attempt.wake_at = Some(now + Duration::from_secs(86_400));
        batch.put(attempt);
    }
    store.commit(batch).await.unwrap();
    let [first, second] = [&serials[0], &serials[1]];
    let look = format!("device|give-up|{first}|--dry-run");
    town.ends(&look, 0, "as abandoned").await;
    let planner = town.token("planner", "planner", &[]).await;
    let words = ["device", "give-up", first, "--reason", "stolen"];
    let refused = town.mdmd_by(&planner, &words).await;
    assert_ne!(refused.exit, 0, "{}", refused.out);
    town.ends(&look, 0, "as abandoned").await;

    let give_up = format!("device|give-up|{first}|--reason|stolen");
    let ended = town.ends(&give_up, 0, "ended as abandoned").await;
    let path = format!("POST /api/v1/devices/{first}/give-up, if it is not refused: ");
    let said = ended.err.lines().find(|l| l.starts_with(&path));
    assert!(
        said.is_some_and(|s| s.contains("pending at Apple")),
        "{}",
        ended.err
    );
    town.ends(&give_up, 3, "no attempt that is open").await;
    let show = format!("device|show|{first}");
    let shown = town.ends(&show, 0, "ended: abandoned").await.out;
    for says in ["by local administrator: stolen", "attempt ended"] {
        assert!(shown.contains(says), "{shown}");
    }
    let report = format!("report|device|{first}");
    let shown = town.ends(&report, 0, "given up because").await.out;
    assert!(shown.contains("stolen"), "{shown}");
    let by = ("local administrator", "migration.given-up");
    let record = town.record().await;
    assert!(
        record
            .iter()
            .any(|(actor, what)| (actor.as_str(), what.as_str()) == by)
    );

    // Where two are demanded always nobody does it alone.
    town.ends("approval|always", 0, "").await;
    let alone = format!("device|give-up|{second}|--reason|lost");
    town.ends(&alone, 3, "mdmd approval confirm").await;
    town.ends("approval|list", 0, &format!("give up {second}"))
        .await;
    town.ends(
        &format!("device|give-up|{second}|--dry-run"),
        0,
        "as abandoned",
    )
    .await;
}
