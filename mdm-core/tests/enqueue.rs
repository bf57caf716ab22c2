//! One command for many channels: each gets its own answer, and its own copy.

mod service_house;

use mdm_core::ids::CommandId;
use mdm_core::queue::Command;
use mdm_core::service::{Answer, Enqueued};
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::store::{Batch, SqliteStore};
use mdm_core::wire::command::CommandBody;
use service_house::{House, command};

#[tokio::test]
async fn each_channel_gets_its_own_answer() {
    let house = House::new().await;
    let mut names = Vec::new();
    let mut phones = Vec::new();
    for n in 0..5 {
        let phone = house.device(&format!("C02MANY{n}")).await;
        house.enrol(&phone).await;
        names.push(phone.udid.clone());
        phones.push(phone);
    }
    names.push("00008140-NOBODY".to_owned());
    let org = house.org().await;
    let body = CommandBody::SecurityInfo;
    let first = org.enqueue_many(&names[2..3], "U-1", &body, false).await;
    assert_eq!(first.unwrap(), [Enqueued::Queued]);
    let answers = org.enqueue_many(&names, "U-1", &body, true).await.unwrap();
    use Enqueued::{NotEnrolled, Queued, Taken};
    assert_eq!(
        answers,
        [Queued, Queued, Taken, Queued, Queued, NotEnrolled]
    );
    // Everybody has it once, after what the set-up asked for.
    for phone in &phones {
        let mut seen = 0;
        let mut answer = house
            .report(phone, "<key>Status</key><string>Idle</string>")
            .await;
        for _ in 0..20 {
            let Some((uuid, kind)) = command(answer.as_ref().unwrap()) else {
                break;
            };
            seen += u32::from(uuid == "U-1");
            assert!(uuid != "U-1" || kind == "SecurityInfo");
            let done = format!(
                "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>"
            );
            answer = house.report(phone, &done).await;
        }
        assert_eq!(seen, 1, "{}", phone.serial);
        assert!(!matches!(answer, Ok(Answer::Gone)));
    }
    assert!(org.enqueue_many(&names, "U 1", &body, false).await.is_err());
}

#[tokio::test]
async fn a_part_that_came_too_late_is_handed_over_anew() {
    use Enqueued::{Queued, Taken};
    let house = House::new().await;
    let mut names = Vec::new();
    for n in 0..3 {
        let phone = house.device(&format!("C02LATE{n}")).await;
        house.enrol(&phone).await;
        names.push(phone.udid);
    }
    let disk = SqliteStore::open(&house.path()).await.unwrap();
    let store = FailingStore::new(disk, 0, Moment::Before);
    let mdm = house.over(store.clone());
    let org = mdm.organisation_by_id(house.org).await.unwrap();
    let body = CommandBody::SecurityInfo;
    let first = org.enqueue_many(&names[1..2], "U-1", &body, false).await;
    assert_eq!(first.unwrap(), [Queued]);
    // All of them together, and then in parts, for one has it already.
    store.hold_back(3);
    let answers = org.enqueue_many(&names, "U-1", &body, false).await;
    assert_eq!(answers.unwrap(), [Queued, Taken, Queued]);
    // A process that stands still each time is told so, and nothing is there of what was refused.
    store.hold_back(4);
    let late = org.enqueue_many(&names, "U-2", &body, false).await;
    assert!(late.unwrap_err().is_conflict());
    let answers = org.enqueue_many(&names, "U-2", &body, false).await;
    assert_eq!(answers.unwrap(), [Queued; 3]);
}

/// Two servers may draw the same numbers at the same moment: whose command comes second gets another number, and is queued all the same.
#[tokio::test]
async fn a_number_that_another_server_drew_as_well_keeps_no_command_away() {
    let house = House::new().await;
    let (mut names, mut channels) = (Vec::new(), Vec::new());
    for n in 0..2 {
        let phone = house.device(&format!("C02SAME{n}")).await;
        house.enrol(&phone).await;
        let live = house.mdm.store().enrollments_by_key(house.org, &phone.udid);
        channels.push(live.await.unwrap()[0].id);
        names.push(phone.udid);
    }
    let org = house.org().await;
    let body = CommandBody::SecurityInfo;
    let first = org.enqueue_many(&names[..1], "U-1", &body, false).await;
    assert_eq!(first.unwrap(), [Enqueued::Queued]);
    let store = house.mdm.store();
    let there = async |nth: usize, uuid: &str| {
        let found = store.command(house.org, channels[nth], uuid).await;
        found.unwrap()
    };
    let last = there(0, "U-1").await.unwrap().id;
    // The numbers that are drawn next, in another server's hand.
    let mut batch = Batch::new();
    for n in 1..=6 {
        let uuid = format!("THEIRS-{n}");
        let bytes = body.encode(&uuid).to_vec();
        batch.put(Command::queued(
            house.org,
            CommandId(last.0 + n),
            channels[0],
            uuid,
            "SecurityInfo",
            bytes,
            house.mdm.now(),
        ));
    }
    store.commit(batch).await.unwrap();
    let answers = org.enqueue_many(&names, "U-2", &body, false).await;
    assert_eq!(answers.unwrap(), [Enqueued::Queued; 2]);
    for nth in 0..2 {
        let queued = there(nth, "U-2").await.unwrap();
        assert!(queued.id.0 > last.0 + 6, "{nth}: those were never drawn");
    }
}
