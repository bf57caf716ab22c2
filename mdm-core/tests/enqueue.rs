//! One command for many channels: each gets its own answer, and its own copy.

mod service_house;

use mdm_core::service::{Answer, Enqueued};
use mdm_core::store::SqliteStore;
use mdm_core::store::testing::{FailingStore, Moment};
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
