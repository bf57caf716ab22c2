//! Enrolments that look like a migration and are none, or are one and do not look like it: a factory-new Mac with a stale deadline, an
//! iPad that was wiped in an open wave, a device that migrated last month and gets a new deadline, a device that was set up from a
//! backup. Each gets the right verdict with its reasons, and each is let go.

mod service_house;

use std::time::Duration;

use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::ids::RunbookId;
use mdm_core::migration::{
    MoveState, PinnedRunbook, SetUp, SetUpEnd, SetUpState, StepId, Variant, VerdictKind,
};
use mdm_core::store::Batch;
use service_house::{Gadget, House, START, command};

const IDLE: &str = "<key>Status</key><string>Idle</string>";
const DAY: Duration = Duration::from_hours(24);

async fn set_up(house: &House, gadget: &Gadget) -> SetUp {
    let report = house.org().await.device_report(&gadget.serial).await;
    report.unwrap().set_up.unwrap()
}

/// What Apple's list says of its deadline, and which it has completed.
async fn deadlines(house: &House, gadget: &Gadget, shown: Timestamp, completed: &[Timestamp]) {
    let report = house.org().await.device_report(&gadget.serial).await;
    let mut device = report.unwrap().device;
    device.record.as_mut().unwrap().deadline = Some(shown);
    device.completed_deadlines = completed.to_vec();
    let mut batch = Batch::new();
    batch.put(device);
    house.mdm.store().commit(batch).await.unwrap();
}

/// The device answers whatever it is asked until it is out of its hold; answers what it was asked.
async fn lives(house: &House, gadget: &Gadget) -> Vec<String> {
    let mut asked = Vec::new();
    let mut body = IDLE.to_owned();
    for _ in 0..200 {
        let answer = house.report(gadget, &body).await.unwrap();
        let Some((uuid, kind)) = command(&answer) else {
            if set_up(house, gadget).await.is_ended() {
                return asked;
            }
            house.clock.set(house.mdm.now() + Duration::from_mins(2));
            house.settle().await;
            body = IDLE.to_owned();
            continue;
        };
        let told = match kind.as_str() {
            "DeviceInformation" => format!(
                "<key>QueryResponses</key><dict><key>SerialNumber</key><string>{}</string>\
                 <key>AwaitingConfiguration</key><true/></dict>",
                gadget.serial
            ),
            "SecurityInfo" => {
                "<key>SecurityInfo</key><dict><key>FDE_Enabled</key><false/></dict>".to_owned()
            }
            "ProfileList" => "<key>ProfileList</key><array><dict><key>PayloadIdentifier</key>\
                 <string>mdmd.filevault-escrow</string></dict></array>"
                .to_owned(),
            _ => String::new(),
        };
        asked.push(kind);
        body = format!(
            "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>{told}"
        );
    }
    panic!("it was never let go: {asked:?}");
}

/// It was let go once, by the answer that it gave, and before the ceiling of its hold.
async fn let_go(house: &House, gadget: &Gadget) {
    let asked = lives(house, gadget).await;
    let releases = asked.iter().filter(|kind| *kind == "DeviceConfigured");
    assert_eq!(releases.count(), 1, "{asked:?}");
    let s = set_up(house, gadget).await;
    assert_eq!(
        s.state,
        SetUpState::Ended(SetUpEnd::Proved),
        "{:?}",
        s.exceptions
    );
    let held = s.released.unwrap().since(s.hold_began.unwrap());
    assert!(held <= Duration::from_mins(45), "{held:?}");
    assert!(!s.proofs.is_empty(), "where its steps stood is lost");
}

fn reasons(s: &SetUp) -> String {
    s.verdict.reasons.join("; ")
}

#[tokio::test]
async fn a_factory_new_mac_with_a_stale_deadline_is_uncertain_and_is_let_go() {
    let house = House::new().await;
    let mac = house.mac("C02FACTORY").await;
    deadlines(&house, &mac, START - DAY * 40, &[]).await;
    house.enrol(&mac).await;
    let s = set_up(&house, &mac).await;
    assert_eq!(s.verdict.kind, VerdictKind::Uncertain);
    assert!(reasons(&s).contains("proves nothing"), "{}", reasons(&s));
    assert_eq!(s.move_id, None);
    let_go(&house, &mac).await;
}

#[tokio::test]
async fn an_ipad_that_is_wiped_in_an_open_wave_is_still_its_member_and_is_let_go() {
    let house = House::new().await;
    let mut ipad = house.device("C02WIPED").await;
    "iPad14,1".clone_into(&mut ipad.product);
    let runbook = PinnedRunbook::standard(Platform::Ipados, Variant::Migration);
    let id = RunbookId(runbook.content_id());
    house.org().await.pin("the wave's", runbook).await.unwrap();
    house.attempt(&ipad, id).await;
    house.enrol(&ipad).await;
    let first = set_up(&house, &ipad).await;
    assert_eq!(first.verdict.kind, VerdictKind::Migration);
    // It is wiped in the middle, and comes back with a new identity and without a word of farewell.
    let mut wiped = house.device("C02WIPED").await;
    "iPad14,1".clone_into(&mut wiped.product);
    house.enrol(&wiped).await;
    let s = set_up(&house, &wiped).await;
    assert_ne!(s.id, first.id);
    assert_eq!(s.verdict.kind, VerdictKind::Migration, "{}", reasons(&s));
    assert_eq!(s.move_id, first.move_id);
    let before = house.org().await.set_up(first.id).await.unwrap().unwrap();
    assert_eq!(before.state, SetUpState::Ended(SetUpEnd::Superseded));
    let_go(&house, &wiped).await;
    let report = house
        .org()
        .await
        .device_report(&wiped.serial)
        .await
        .unwrap();
    let attempt = report.attempt.unwrap();
    assert!(
        matches!(attempt.state, MoveState::Settling { .. }),
        "{:?}",
        attempt.state
    );
}

#[tokio::test]
async fn a_device_that_migrated_last_month_is_ordinary_for_that_deadline_and_uncertain_for_a_new_one()
 {
    let house = House::new().await;
    let last_month = START - DAY * 30;
    let phone = house.device("C02MOVED").await;
    deadlines(&house, &phone, last_month, &[last_month]).await;
    house.enrol(&phone).await;
    let s = set_up(&house, &phone).await;
    assert_eq!(s.verdict.kind, VerdictKind::Ordinary);
    assert!(
        reasons(&s).contains("is complete already"),
        "{}",
        reasons(&s)
    );
    let_go(&house, &phone).await;
    // A new deadline on it is another migration, which nobody here has planned.
    let again = house.device("C02MOVED").await;
    deadlines(&house, &again, START + DAY * 5, &[last_month]).await;
    house.enrol(&again).await;
    let s = set_up(&house, &again).await;
    assert_eq!(s.verdict.kind, VerdictKind::Uncertain, "{}", reasons(&s));
    let_go(&house, &again).await;
}

#[tokio::test]
async fn a_device_that_is_set_up_from_a_backup_enrols_anew_and_is_let_go() {
    let house = House::new().await;
    let done = START - DAY;
    let phone = house.device("C02BACKUP").await;
    deadlines(&house, &phone, done, &[done]).await;
    house.enrol(&phone).await;
    let_go(&house, &phone).await;
    let before = set_up(&house, &phone).await;
    // Restored: the same device, a new enrolment; what the backup had of the old one is void.
    let restored = house.device("C02BACKUP").await;
    house.enrol(&restored).await;
    let s = set_up(&house, &restored).await;
    assert_ne!(s.id, before.id);
    assert_eq!(s.verdict.kind, VerdictKind::Ordinary, "{}", reasons(&s));
    assert!(s.steps().unwrap().get(&StepId::AppsKeep).is_none());
    let_go(&house, &restored).await;
}
