//! What must not stand between a device and the end of its hold: a long queue, commands of a step that is over, rows that
//! cannot be read; and what must not grow or speak for others meanwhile.

mod service_house;

use std::time::Duration;

use mdm_core::device::{DeviceRecord, Platform};
use mdm_core::error::Error;
use mdm_core::ids::{CommandId, EnrollmentId, JobId, RunbookId, Serial};
use mdm_core::job::{Job, JobKind};
use mdm_core::migration::{AppAction, AppPlan, PinnedRunbook, SetUp, SetUpState, Variant};
use mdm_core::original::{OriginalApp, OriginalFacts, Told};
use mdm_core::queue::{Command, CommandState};
use mdm_core::service::ports::PushOutcome;
use mdm_core::service::{Answer, Peer, Release, WhyGoing};
use mdm_core::store::Batch;
use service_house::{Gadget, House, command, set_up};

const IDLE: &str = "<key>Status</key><string>Idle</string>";

/// A device that has just enrolled, and waits.
async fn held(serial: &str) -> (House, Gadget, SetUp) {
    let house = House::new().await;
    let phone = house.device(serial).await;
    house.enrol(&phone).await;
    let s = set_up(&house, &phone).await;
    (house, phone, s)
}

/// Puts commands into a device's queue that no step asked for.
async fn queue(house: &House, channel: EnrollmentId, count: usize, state: CommandState) {
    let mut batch = Batch::new();
    for _ in 0..count {
        let id = CommandId(house.next_id());
        let mut row = Command::queued(
            house.org().await.organisation().id,
            id,
            channel,
            format!("QUEUED-{id}"),
            "InstallApplication",
            b"<plist/>".to_vec(),
            house.mdm.now(),
        );
        row.state = state;
        batch.put(row);
    }
    house.mdm.store().commit(batch).await.unwrap();
}

async fn idle(house: &House, gadget: &Gadget) -> Option<String> {
    let answer = house.report(gadget, IDLE).await.unwrap();
    command(&answer).map(|(_, kind)| kind)
}

/// The release lets go first what only the hold can save, for some minutes.
async fn last_chance_over(house: &House, gadget: &Gadget) {
    idle(house, gadget).await;
    house
        .clock
        .set(house.mdm.now() + Duration::from_secs(20 * 60));
}

#[tokio::test]
async fn the_release_overtakes_a_queue_of_any_length() {
    let (house, phone, s) = held("C02LONGQUEUE").await;
    queue(&house, s.enrollment, 250, CommandState::NotNow).await;
    house.clock.set(s.ceiling_at.unwrap());
    assert_eq!(house.mdm.watch(10).await.unwrap(), 1);
    last_chance_over(&house, &phone).await;
    assert_eq!(
        idle(&house, &phone).await.as_deref(),
        Some("DeviceConfigured")
    );
}

#[tokio::test]
async fn what_nobody_has_refused_is_seen_behind_a_long_queue_of_refused_ones() {
    let (house, phone, s) = held("C02REFUSED").await;
    queue(&house, s.enrollment, 250, CommandState::NotNow).await;
    queue(&house, s.enrollment, 1, CommandState::Queued).await;
    let mut answers = vec![house.report(&phone, IDLE).await.unwrap()];
    // The question that the set-up asks first.
    if let Some((uuid, kind)) = command(&answers[0]) {
        assert_eq!(kind, "DeviceInformation");
        let refused = format!(
            "<key>Status</key><string>NotNow</string><key>CommandUUID</key><string>{uuid}</string>"
        );
        answers.push(house.report(&phone, &refused).await.unwrap());
    }
    let plain = Answer::Plist(b"<plist/>".to_vec());
    assert!(answers.contains(&plain), "{answers:?}");
}

#[tokio::test]
async fn what_a_device_never_answers_keeps_neither_the_others_nor_its_release() {
    let (house, phone, s) = held("C02MUTE").await;
    let plain = Answer::Plist(b"<plist/>".to_vec());
    // The question who it is, and no word of it.
    let minutes = |n: u64| house.clock.advance(Duration::from_secs(60 * n));
    assert_eq!(
        idle(&house, &phone).await.as_deref(),
        Some("DeviceInformation")
    );
    minutes(1);
    assert_eq!(
        idle(&house, &phone).await.as_deref(),
        Some("DeviceInformation"),
        "it may only have been slow"
    );
    queue(&house, s.enrollment, 2, CommandState::Queued).await;
    let said = async || serde_json::to_string(&set_up(&house, &phone).await).unwrap();
    for round in 1..=3 {
        minutes(3);
        // What stands behind it goes first, and is answered.
        for _ in 0..usize::from(round == 1) * 2 {
            let answer = house.report(&phone, IDLE).await.unwrap();
            assert_eq!(answer, plain, "round {round}");
            let open = house.mdm.store();
            let open = open
                .open_commands(house.org().await.organisation().id, s.enrollment, 10)
                .await
                .unwrap();
            let had = open.iter().find(|c| c.uuid.starts_with("QUEUED")).unwrap();
            let done = format!(
                "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{}</string>",
                had.uuid
            );
            house.report(&phone, &done).await.unwrap();
        }
        // And then it is asked again.
        assert_eq!(
            idle(&house, &phone).await.as_deref(),
            Some("DeviceInformation"),
            "round {round}"
        );
        assert_eq!(
            said().await.contains("\"mute\":true"),
            round == 3,
            "round {round}"
        );
    }
    // It was not silent: nothing is asked once more before its release.
    house
        .clock
        .set(s.ceiling_at.unwrap() - Duration::from_secs(60));
    idle(&house, &phone).await;
    house.clock.set(s.ceiling_at.unwrap());
    house.settle().await;
    assert_eq!(
        idle(&house, &phone).await.as_deref(),
        Some("DeviceConfigured")
    );
}

#[tokio::test]
async fn a_new_generation_voids_a_queue_of_any_length() {
    let (house, _, s) = held("C02VOIDED").await;
    queue(&house, s.enrollment, 1_100, CommandState::Queued).await;
    house.enrol(&house.device("C02VOIDED").await).await;
    let org = house.org().await.organisation().id;
    let open = house.mdm.store().open_commands(org, s.enrollment, 2_000);
    assert_eq!(open.await.unwrap().len(), 0);
}

/// Answers what is asked until an app is to be taken over: the command that asks for it.
async fn to_the_app(house: &House, phone: &Gadget) -> String {
    let mut body = IDLE.to_owned();
    for _ in 0..20 {
        let answer = house.report(phone, &body).await.unwrap();
        let Some((uuid, kind)) = command(&answer) else {
            house.clock.set(house.mdm.now() + Duration::from_secs(60));
            house.settle().await;
            body = IDLE.to_owned();
            continue;
        };
        let app = "<dict><key>Identifier</key><string>app.notes</string></dict>";
        let told = match kind.as_str() {
            "InstallApplication" => return uuid,
            "DeviceInformation" => format!(
                "<key>QueryResponses</key><dict><key>SerialNumber</key><string>{}</string>\
                 <key>AwaitingConfiguration</key><true/></dict>",
                phone.serial
            ),
            "InstalledApplicationList" => {
                format!("<key>InstalledApplicationList</key><array>{app}</array>")
            }
            "ManagedApplicationList" => "<key>ManagedApplicationList</key><dict/>".to_owned(),
            _ => String::new(),
        };
        body = says("Acknowledged", &uuid, &told);
    }
    panic!("no app was taken over");
}

fn says(status: &str, uuid: &str, told: &str) -> String {
    format!(
        "<key>Status</key><string>{status}</string><key>CommandUUID</key><string>{uuid}</string>{told}"
    )
}

/// A phone in its hold whose runbook keeps an app.
async fn keeping_an_app(serial: &str) -> (House, Gadget) {
    let house = House::new().await;
    let phone = house.device(serial).await;
    let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    runbook.apps.push(AppPlan {
        bundle_id: "app.notes".to_owned(),
        store_id: Some(1),
        manifest_url: None,
        action: AppAction::KeepIfPresent,
    });
    let id = RunbookId(runbook.content_id());
    house.org().await.pin("with an app", runbook).await.unwrap();
    house.attempt(&phone, id).await;
    house.enrol(&phone).await;
    (house, phone)
}

#[tokio::test]
async fn an_app_that_a_device_has_already_is_looked_for_in_its_list() {
    for (serial, word) in [
        ("C02QUEUED", "AppAlreadyQueued"),
        ("C02THERE", "AppAlreadyInstalled"),
    ] {
        let (house, phone) = keeping_an_app(serial).await;
        let uuid = to_the_app(&house, &phone).await;
        let reason = format!("<key>RejectionReason</key><string>{word}</string>");
        let mut body = says("Error", &uuid, &reason);
        let mut next = Vec::new();
        for _ in 0..5 {
            let answer = house.report(&phone, &body).await.unwrap();
            body = match command(&answer) {
                Some((uuid, kind)) => {
                    next.push(kind);
                    says("Acknowledged", &uuid, "")
                }
                None => IDLE.to_owned(),
            };
            house.settle().await;
        }
        let has = |kind: &str| next.iter().any(|one| one == kind);
        assert!(has("ManagedApplicationList"), "{word}: {next:?}");
        assert!(!has("InstallApplication"), "{word}: {next:?}");
        let s = set_up(&house, &phone).await;
        assert!(s.exceptions.is_empty(), "{:?}", s.exceptions);
    }
}

#[tokio::test]
async fn an_app_is_not_taken_over_after_the_hold() {
    let (house, phone) = keeping_an_app("C02LATEAPP").await;
    let uuid = to_the_app(&house, &phone).await;
    let refused = says("NotNow", &uuid, "");
    house.report(&phone, &refused).await.unwrap();
    let s = set_up(&house, &phone).await;
    house.clock.set(s.ceiling_at.unwrap());
    assert_eq!(house.mdm.watch(10).await.unwrap(), 1);
    last_chance_over(&house, &phone).await;
    let released = idle(&house, &phone).await;
    assert_eq!(released.as_deref(), Some("DeviceConfigured"));
    // Its report got lost; that it waits no more comes first.
    house
        .token_update(&phone, "<key>AwaitingConfiguration</key><false/>")
        .await
        .unwrap();
    let s = set_up(&house, &phone).await;
    assert!(matches!(s.state, SetUpState::Proving { .. }), "{s:?}");
    for _ in 0..5 {
        let next = idle(&house, &phone).await;
        assert_ne!(next.as_deref(), Some("InstallApplication"));
    }
}

#[tokio::test]
async fn a_device_or_attempt_that_cannot_be_read_keeps_nobody_in_the_hold() {
    for (case, by_watchdog, table) in [
        ("C02ROWA", true, "devices"),
        ("C02ROWB", false, "devices"),
        ("C02ROWC", false, "moves"),
    ] {
        let house = House::new().await;
        let phone = house.device(case).await;
        let runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
        let id = RunbookId(runbook.content_id());
        house
            .org()
            .await
            .pin("the attempt's", runbook)
            .await
            .unwrap();
        house.attempt(&phone, id).await;
        house.enrol(&phone).await;
        let s = set_up(&house, &phone).await;
        let spoilt = house.spoil(&format!("UPDATE {table} SET doc = '{{'")).await;
        assert_eq!(spoilt, 1, "{case}");
        let answer = house.report(&phone, IDLE).await.unwrap();
        let (uuid, _) = command(&answer).unwrap();
        let done = format!(
            "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>\
             <key>QueryResponses</key><dict><key>AwaitingConfiguration</key><true/></dict>"
        );
        house.report(&phone, &done).await.expect(case);
        house
            .token_update(&phone, "<key>AwaitingConfiguration</key><true/>")
            .await
            .expect(case);
        house
            .clock
            .set(s.ceiling_at.unwrap() + Duration::from_secs(1));
        if by_watchdog {
            assert_eq!(house.mdm.watch(10).await.unwrap(), 1, "{case}");
        } else {
            house.mdm.work(50).await.unwrap();
        }
        last_chance_over(&house, &phone).await;
        let mut seen = Vec::new();
        for _ in 0..10 {
            seen.push(idle(&house, &phone).await);
        }
        let release = Some("DeviceConfigured".to_owned());
        assert!(seen.contains(&release), "{case}: {seen:?}");
    }
}

#[tokio::test]
async fn a_command_or_set_up_that_cannot_be_read_keeps_no_other_command() {
    let (house, phone, s) = held("C02COMMAND").await;
    let answer = house.report(&phone, IDLE).await.unwrap();
    let (uuid, _) = command(&answer).unwrap();
    queue(&house, s.enrollment, 1, CommandState::Queued).await;
    let spoil = format!("UPDATE commands SET doc = '{{' WHERE uuid = '{uuid}'");
    assert_eq!(house.spoil(&spoil).await, 1);
    let plain = Answer::Plist(b"<plist/>".to_vec());
    assert_eq!(house.report(&phone, IDLE).await.unwrap(), plain);
    // Its report can be told to nobody, and is not repeated for ever.
    let done = format!(
        "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>"
    );
    assert_eq!(house.report(&phone, &done).await.unwrap(), plain);

    let phone = house.device("C02SETUP").await;
    house.enrol(&phone).await;
    let s = set_up(&house, &phone).await;
    let answer = house.report(&phone, IDLE).await.unwrap();
    let (uuid, _) = command(&answer).unwrap();
    queue(&house, s.enrollment, 1, CommandState::Queued).await;
    let spoil = format!("UPDATE set_ups SET doc = '{{' WHERE id = {}", s.id);
    assert_eq!(house.spoil(&spoil).await, 1);
    let done = format!(
        "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>"
    );
    assert_eq!(house.report(&phone, &done).await.unwrap(), plain);
}

/// How many releases wait for a device.
async fn releases(house: &House, channel: EnrollmentId) -> usize {
    let org = house.org().await.organisation().id;
    let open = house.mdm.store().open_commands(org, channel, 100).await;
    let open = open.unwrap();
    let kind = |c: &&Command| c.request_type == "DeviceConfigured";
    open.iter().filter(kind).count()
}

/// Answers what is asked until nothing more is; every command is acknowledged with these keys.
async fn acknowledge(house: &House, gadget: &Gadget, keys: &str) {
    let mut answer = house.report(gadget, IDLE).await.unwrap();
    for _ in 0..20 {
        let Some((uuid, _)) = command(&answer) else {
            return;
        };
        let done = format!(
            "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>{keys}"
        );
        answer = house.report(gadget, &done).await.unwrap();
    }
}

#[tokio::test]
async fn whoever_lets_a_device_go_is_told_what_was_asked_of_it() {
    let house = House::new().await;
    let phone = house.device("C02LETGO").await;
    let org = house.org().await;
    // Nothing is enrolled: nothing is asked, and nothing is on record as done.
    assert!(matches!(
        org.release_now(&phone.serial).await,
        Err(Error::Precondition(_))
    ));
    house.enrol(&phone).await;
    let s = set_up(&house, &phone).await;
    assert_eq!(
        org.release_now(&phone.serial).await.unwrap(),
        Release::Asked
    );
    assert_eq!(
        org.release_now(&phone.serial).await.unwrap(),
        Release::UnderWay
    );
    assert_eq!(releases(&house, s.enrollment).await, 1);
    last_chance_over(&house, &phone).await;
    acknowledge(&house, &phone, "").await;
    assert_eq!(releases(&house, s.enrollment).await, 0);

    // It is out, and says so: nothing is asked of it any more, and nothing is on record as asked.
    house
        .token_update(&phone, "<key>AwaitingConfiguration</key><false/>")
        .await
        .unwrap();
    let acts = async || {
        let record = house.record(&phone).await;
        record.iter().filter(|(w, _)| w == "operator.acted").count()
    };
    let before = acts().await;
    assert_eq!(before, 2);
    assert!(matches!(
        org.release_now(&phone.serial).await,
        Err(Error::Precondition(_))
    ));
    assert_eq!(releases(&house, s.enrollment).await, 0);
    assert_eq!(acts().await, before);
}

#[tokio::test]
async fn what_it_means_to_let_a_device_go_is_said_before_it_is_done() {
    let house = House::new().await;
    let phone = house.device("C02MEANS").await;
    let org = house.org().await;
    // The same refusal as of the act.
    let refused = org.still_open(&phone.serial).await.unwrap_err();
    assert!(matches!(refused, Error::Precondition(_)), "{refused}");
    let strange = Serial::parse("C02NOBODY").unwrap();
    let unknown = org.still_open(&strange).await.unwrap_err();
    assert!(matches!(unknown, Error::NotFound(_)), "{unknown}");
    let store = house.mdm.store();
    let device = store.device_by_serial(house.org, &phone.serial).await;
    let device = device.unwrap().unwrap();
    let mut original = OriginalFacts::new(house.org, device.id);
    original.apps = Some(Told {
        value: vec![OriginalApp::new("app.mail")],
        at: house.mdm.now() - Duration::from_hours(1),
        by: "Old MDM".to_owned(),
    });
    let mut batch = Batch::new();
    batch.put(original);
    store.commit(batch).await.unwrap();
    house.enrol(&phone).await;
    let open = org.still_open(&phone.serial).await.unwrap();
    assert!(!open.steps.is_empty());
    let going: Vec<_> = open
        .going
        .iter()
        .map(|app| app.bundle_id.as_str())
        .collect();
    assert_eq!((going, open.apps), (vec!["app.mail"], Some(1)));
    assert_eq!(open.going[0].why, WhyGoing::Undecided);
    assert!(
        open.sentence.starts_with("1 of 1 apps will be removed"),
        "{}",
        open.sentence
    );
    // Looking lets nobody go.
    let s = set_up(&house, &phone).await;
    assert_eq!(releases(&house, s.enrollment).await, 0);
}

#[tokio::test]
async fn a_device_that_checks_out_after_its_list_has_lost_it_is_marked_as_moved_once() {
    let (house, phone, _) = held("C02MOVED").await;
    let store = house.mdm.store();
    let row = async || {
        let device = store.device_by_serial(house.org, &phone.serial).await;
        device.unwrap().unwrap()
    };
    let marks = async || {
        let record = house.record(&phone).await;
        record
            .iter()
            .filter(|(w, _)| w == "device.moved-away")
            .count()
    };
    let mut device = row().await;
    let mut record = DeviceRecord::new(house.server, house.mdm.now());
    record.gone = true;
    device.record = Some(record);
    let mut batch = Batch::new();
    batch.put(device);
    store.commit(batch).await.unwrap();
    let org = house.org().await;
    assert!(org.moved_away(&[row().await]).await.unwrap().is_empty());
    let out = "<key>MessageType</key><string>CheckOut</string>";
    house.check_in(&phone, out).await.unwrap();
    let device = row().await;
    assert!(device.moved_away.is_some());
    assert_eq!(marks().await, 1);
    let moved = org.moved_away(std::slice::from_ref(&device)).await.unwrap();
    assert_eq!(moved.get(&device.id), device.moved_away.as_ref());
    house.clock.advance(Duration::from_hours(1));
    house.check_in(&phone, out).await.unwrap();
    assert_eq!(marks().await, 1, "it says so once more");
}

#[tokio::test]
async fn a_device_that_says_that_it_waits_can_be_let_go_without_a_set_up_that_can_be_read() {
    let (house, phone, s) = held("C02NOROW").await;
    let spoil = format!("UPDATE set_ups SET doc = '{{' WHERE id = {}", s.id);
    assert_eq!(house.spoil(&spoil).await, 1);
    let org = house.org().await;
    assert_eq!(org.release_now(&phone.serial).await.unwrap(), Release::Late);
    assert_eq!(
        org.release_now(&phone.serial).await.unwrap(),
        Release::UnderWay
    );
    assert_eq!(releases(&house, s.enrollment).await, 1);
    assert_eq!(
        idle(&house, &phone).await.as_deref(),
        Some("DeviceConfigured")
    );
}

#[tokio::test]
async fn a_hold_that_cannot_be_read_hides_no_other() {
    let house = House::new().await;
    let org = house.org().await;
    for serial in ["C02HOLDA", "C02HOLDB", "C02HOLDC"] {
        house.enrol(&house.device(serial).await).await;
    }
    let all = org.holds(None, 10).await.unwrap();
    assert_eq!(all.len(), 3);
    let spoil = format!("UPDATE set_ups SET doc = '{{' WHERE id = {}", all[0].id);
    assert_eq!(house.spoil(&spoil).await, 1);
    let first = org.holds(None, 1).await.unwrap();
    assert_eq!(first[0].id, all[1].id);
    let after = (first[0].held_since().unwrap(), first[0].id);
    let rest = org.holds(Some(after), 10).await.unwrap();
    assert_eq!(rest.iter().map(|s| s.id).collect::<Vec<_>>(), [all[2].id]);
}

#[tokio::test]
async fn a_push_that_apple_refuses_is_given_up_and_does_not_pile_up() {
    let house = House::new().await;
    let phone = house.device("C02PUSHED").await;
    house.enrol(&phone).await;
    house.settle().await;
    house.spoil("DELETE FROM jobs").await;
    *house.apple.pushes.lock().unwrap() = Some(PushOutcome::CertificateRefused {
        reason: "BadCertificate".to_owned(),
    });
    let s = set_up(&house, &phone).await;
    let (org, enrollment) = (s.organisation, s.enrollment);
    let mut batch = Batch::new();
    let id = JobId(house.next_id());
    batch.put(Job::new(
        org,
        id,
        house.mdm.now(),
        JobKind::Push { enrollment },
    ));
    house.mdm.store().commit(batch).await.unwrap();
    for _ in 0..10 {
        house.settle().await;
        house.clock.set(house.mdm.now() + Duration::from_secs(901));
    }
    let left = house
        .spoil(&format!("DELETE FROM jobs WHERE id = {id}"))
        .await;
    assert_eq!(left, 0, "the push is tried for ever");
}

#[tokio::test]
async fn a_message_says_nothing_over_the_connection_of_another_device() {
    let house = House::new().await;
    let (victim, other) = (
        house.device("C02VICTIM").await,
        house.device("C02OTHER").await,
    );
    house.enrol(&victim).await;
    house.enrol(&other).await;
    let body = victim.plist(IDLE);
    let org = house.org().await;
    let peer = |over: &Gadget| Peer {
        signature: Some(victim.signature(&body)),
        ..over.peer.clone()
    };
    let refused = org.report(&peer(&other), &body).await.unwrap_err();
    assert!(
        matches!(&refused, Error::BadInput { field, .. } if field == "Mdm-Signature"),
        "{refused}"
    );
    let id = org.organisation().id;
    let newest = house.mdm.store().refusals(id, 1).await.unwrap().remove(0);
    assert_eq!(
        (newest.door.as_str(), &newest.serial),
        ("command", &Some(victim.serial.clone()))
    );
    org.report(&peer(&victim), &body).await.unwrap();
    // An older identity of the same device is the device.
    let renewed = house.device("C02VICTIM").await;
    org.report(&peer(&renewed), &body).await.unwrap();
    // A certificate of nobody that we know says nothing.
    let stranger = House::new().await.device("C02STRANGER").await;
    org.report(&peer(&stranger), &body).await.unwrap();
}

#[tokio::test]
async fn a_refusal_names_the_device_whose_certificate_was_proved() {
    let house = House::new().await;
    let (phone, other) = (
        house.device("C02NAMED").await,
        house.device("C02UNNAMED").await,
    );
    house.enrol(&phone).await;
    let org = house.org().await;
    let id = org.organisation().id;
    let newest = async || house.mdm.store().refusals(id, 1).await.unwrap().remove(0);
    // In the name of a device that is not its own.
    let body = other.plist(IDLE);
    org.report(&phone.peer, &body).await.unwrap_err();
    assert_eq!(newest().await.serial, Some(phone.serial.clone()));
    org.check_in(
        &other.peer,
        &phone.plist(
            "<key>MessageType</key><string>CheckOut</string><key>Topic</key><string>t</string>",
        ),
    )
    .await
    .unwrap_err();
    assert_eq!(newest().await.serial, Some(other.serial.clone()));
    org.refused_unread("checkin", &phone.peer, "body: must be at most 10 bytes")
        .await;
    let unread = newest().await;
    assert_eq!(unread.serial, Some(phone.serial.clone()));
    assert_eq!(unread.door, "checkin");
    assert_eq!(unread.reason, "body: must be at most 10 bytes");
    org.refused_unread("command", &Peer::default(), "body: did not arrive in time")
        .await;
    assert_eq!(newest().await.serial, None);
}
