//! The service where something is broken: rows that cannot be read, secrets that do not open, identities that are revoked,
//! answers that never came. Each test spoils one thing and says what must go on all the same.

mod service_house;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mdm_core::device::Platform;
use mdm_core::enrollment::EnrollmentState;
use mdm_core::error::Error;
use mdm_core::ids::{CommandId, JobId, RunbookId, SetUpId};
use mdm_core::job::{Job, JobKind};
use mdm_core::migration::{Attention, PinnedRunbook, SetUpState, StepId, StepStatus, Variant};
use mdm_core::queue::{Command, CommandState};
use mdm_core::secret::SecretKind;
use mdm_core::service::ports::{LockOutcome, PushOutcome};
use mdm_core::service::{Answer, NewCommand};
use mdm_core::store::Batch;
use mdm_core::wire::command::CommandBody;
use service_house::{Gadget, House, START, command, data, revealed, set_up};

/// An attempt with a runbook of its own for a device.
async fn attempt(house: &House, gadget: &Gadget, lock: bool) -> RunbookId {
    let org = house.org().await;
    let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    runbook.lock = lock;
    let id = RunbookId(runbook.content_id());
    org.pin("the attempt's", runbook).await.unwrap();
    house.attempt(gadget, id).await;
    id
}

#[tokio::test]
async fn a_device_whose_runbook_cannot_be_read_enrols_and_is_released() {
    let house = House::new().await;
    let phone = house.device("C02RUNBOOK").await;
    let runbook = attempt(&house, &phone, false).await;
    assert_eq!(
        house
            .spoil(&format!(
                "UPDATE runbooks SET doc = '{{' WHERE id = {runbook}"
            ))
            .await,
        1
    );
    // Another process, which never read it.
    let house = house.restarted().await;
    house.enrol(&phone).await;
    let s = set_up(&house, &phone).await;
    assert!(matches!(s.state, SetUpState::Holding { .. }), "{s:?}");
    assert_eq!(s.attention, Some(Attention::RunbookUnreadable));
    assert!(s.move_id.is_some(), "the set-up forgets its attempt");
    house.clock.set(s.ceiling_at.unwrap());
    assert_eq!(house.mdm.watch(10).await.unwrap(), 1);
    let answer = house
        .report(&phone, "<key>Status</key><string>Idle</string>")
        .await
        .unwrap();
    assert_eq!(command(&answer).unwrap().1, "DeviceConfigured");
}

#[tokio::test]
async fn a_secret_that_does_not_open_is_replaced_by_what_the_device_gives() {
    let house = House::new().await;
    let phone = house.device("C02SECRET").await;
    house.enrol(&phone).await;
    let token = |word: &[u8]| format!("<key>UnlockToken</key>{}", data(word));
    house.token_update(&phone, &token(b"first")).await.unwrap();
    let held = |house: &House| {
        let org = house.mdm.clone();
        let serial = phone.serial.clone();
        async move {
            let all = org
                .organisations(mdm_core::ids::OrganisationId(0), 1)
                .await
                .unwrap();
            let org = org.organisation_by_id(all[0].id).await.unwrap();
            org.device_report(&serial).await.unwrap().secrets
        }
    };
    assert_eq!(held(&house).await.len(), 1);
    // The sealed bytes are spoilt, not the row.
    let spoilt = house
        .spoil("UPDATE secrets SET doc = json_set(doc, '$.sealed', 'AAAA') WHERE doc LIKE '%unlock_token%'")
        .await;
    assert_eq!(spoilt, 1);
    house.token_update(&phone, &token(b"second")).await.unwrap();
    assert_eq!(held(&house).await.len(), 2);
    assert!(
        house
            .record(&phone)
            .await
            .iter()
            .any(|(what, _)| what == "secret.unreadable")
    );
    let shown = house
        .org()
        .await
        .reveal(
            &phone.serial,
            mdm_core::secret::SecretKind::UnlockToken,
            "a test",
            None,
        )
        .await
        .unwrap();
    assert_eq!(revealed(shown).expose(), b"second");
    // Nor does a row that cannot be read at all refuse the device.
    assert!(
        house
            .spoil("UPDATE secrets SET doc = '{' WHERE doc LIKE '%unlock_token%'")
            .await
            > 0
    );
    house.token_update(&phone, &token(b"third")).await.unwrap();
}

#[tokio::test]
async fn a_new_generation_voids_the_commands_of_user_channels_too() {
    let house = House::new().await;
    let mac = house.device("C02USERS").await;
    house.enrol(&mac).await;
    house
        .token_update(
            &mac,
            "<key>UserID</key><string>U1</string><key>UserShortName</key><string>anna</string>",
        )
        .await
        .unwrap();
    let org = house.org().await;
    let report = org.device_report(&mac.serial).await.unwrap();
    let (org_id, parent) = (org.organisation().id, report.enrollments[0].id);
    let users = house
        .mdm
        .store()
        .user_channels(org_id, parent)
        .await
        .unwrap();
    let user = users[0].id;
    let mut batch = Batch::new();
    batch.put(Command::queued(
        org_id,
        CommandId(house.next_id()),
        user,
        "USER-COMMAND".to_owned(),
        "ProfileList",
        vec![1],
        START,
    ));
    house.mdm.store().commit(batch).await.unwrap();
    let again = house.device("C02USERS").await;
    house.enrol(&again).await;
    let user = house
        .mdm
        .store()
        .enrollment(org_id, user)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(user.state, EnrollmentState::Superseded);
    let left = house
        .mdm
        .store()
        .command(org_id, user.id, "USER-COMMAND")
        .await
        .unwrap();
    assert_eq!(left.unwrap().state, CommandState::Cancelled);
}

#[tokio::test]
async fn a_clock_set_back_between_two_runs_makes_no_older_generation_of_the_newer() {
    let house = House::new().await;
    let phone = house.device("C02CLOCK").await;
    attempt(&house, &phone, true).await;
    house.enrol(&phone).await;
    let first = set_up(&house, &phone).await;
    // The next run starts with a clock that has been corrected: nothing of the first is in its memory.
    house.clock.set(START - Duration::from_hours(2));
    let house = house.restarted().await;
    let again = house.device("C02CLOCK").await;
    house.enrol(&again).await;
    let second = set_up(&house, &again).await;
    assert!(second.id > first.id, "the older set-up counts as the newer");
    assert!(second.enrollment > first.enrollment);
    let report = house
        .org()
        .await
        .device_report(&again.serial)
        .await
        .unwrap();
    assert_eq!(report.attempt.unwrap().set_up(), Some(second.id));
    let states: Vec<_> = report.enrollments.iter().map(|e| e.state).collect();
    assert_eq!(
        states,
        [EnrollmentState::Superseded, EnrollmentState::Enrolled]
    );
}

#[tokio::test]
async fn a_revoked_identity_is_refused_at_the_next_message() {
    let house = House::new().await;
    let (phone, other) = (
        house.device("C02REVOKED").await,
        house.device("C02OTHER").await,
    );
    house.enrol(&phone).await;
    house.enrol(&other).await;
    let idle = "<key>Status</key><string>Idle</string>";
    house.report(&phone, idle).await.unwrap();
    let org = house.org().await;
    assert!(matches!(
        org.revoke_identity(&phone.serial, " ").await,
        Err(Error::BadInput { .. })
    ));
    assert_eq!(
        org.revoke_identity(&phone.serial, "stolen").await.unwrap(),
        1
    );
    assert_eq!(
        org.revoke_identity(&phone.serial, "stolen").await.unwrap(),
        0
    );
    for refused in [
        house.report(&phone, idle).await,
        house.token_update(&phone, "").await,
    ] {
        assert!(matches!(refused, Err(Error::Revoked)), "{refused:?}");
    }
    house.report(&other, idle).await.unwrap();
    let refusals = house
        .mdm
        .store()
        .refusals(org.organisation().id, 10)
        .await
        .unwrap();
    assert_eq!(
        refusals
            .iter()
            .filter(|r| r.reason.contains("revoked"))
            .count(),
        2
    );
    assert!(
        house
            .record(&phone)
            .await
            .iter()
            .any(|(what, detail)| { what == "identity.revoked" && detail["reason"] == "stolen" })
    );
    // It comes back by enrolling anew.
    let anew = house.device("C02REVOKED").await;
    house.enrol(&anew).await;
    house.report(&anew, idle).await.unwrap();
}

/// Answers the first question, so that the steps of the attempt begin; then lets the worker ask for the lock.
async fn to_the_lock(house: &House, phone: &Gadget) {
    attempt(house, phone, true).await;
    house.enrol(phone).await;
    let answer = house
        .report(phone, "<key>Status</key><string>Idle</string>")
        .await
        .unwrap();
    let (uuid, kind) = command(&answer).unwrap();
    assert_eq!(kind, "DeviceInformation");
    let body = format!(
        "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>\
         <key>QueryResponses</key><dict><key>SerialNumber</key><string>{}</string>\
         <key>AwaitingConfiguration</key><true/></dict>",
        phone.serial
    );
    house.report(phone, &body).await.unwrap();
}

/// Apple is asked for the lock, and answers so.
async fn apple_answers(house: &House, outcome: LockOutcome) {
    house.apple.locks.lock().unwrap().push(Some(outcome));
    house.settle().await;
}

async fn lock_of(house: &House, phone: &Gadget) -> StepStatus {
    set_up(house, phone).await.steps().unwrap()[&StepId::Lock]
        .status
        .clone()
}

#[tokio::test]
async fn a_lock_that_was_there_before_we_ever_asked_is_not_taken_for_ours() {
    let house = House::new().await;
    let phone = house.device("C02FOREIGN").await;
    to_the_lock(&house, &phone).await;
    // A process that sealed the code and died before it asked has left a code that nobody was asked with.
    let s = set_up(&house, &phone).await;
    house.seal_code(&phone, SetUpId(s.id.0)).await;
    apple_answers(&house, LockOutcome::AlreadyLocked).await;
    assert!(matches!(
        lock_of(&house, &phone).await,
        StepStatus::Excepted { .. }
    ));
    assert_eq!(house.apple.asked.lock().unwrap().len(), 1);
    // The code that opens nothing is shown to nobody in front of the locked device,
    let kind = SecretKind::ServerBypassCode;
    let org = house.org().await;
    let shown = org.reveal(&phone.serial, kind, "locked", None).await;
    assert!(matches!(shown, Err(Error::NotFound(_))));
    // and when the device enrols anew its lock is still somebody else's.
    let phone = house.device("C02FOREIGN").await;
    to_the_lock(&house, &phone).await;
    apple_answers(&house, LockOutcome::AlreadyLocked).await;
    assert!(matches!(
        lock_of(&house, &phone).await,
        StepStatus::Excepted { .. }
    ));
}

#[tokio::test]
async fn an_answer_that_hangs_keeps_nobody_else_waiting() {
    let house = House::new().await;
    let hangs = Arc::new(tokio::sync::Semaphore::new(0));
    *house.apple.hangs.lock().unwrap() = Some(Arc::clone(&hangs));
    let phone = house.device("C02HANGS").await;
    to_the_lock(&house, &phone).await;
    house.mdm.set_patience(Some(Duration::from_millis(50)));
    while house.apple.asked.lock().unwrap().is_empty() {
        house.mdm.work(100).await.unwrap();
    }
    // Its lease ends, and nobody asks a second time beside it.
    house.clock.advance(Duration::from_secs(400));
    for _ in 0..3 {
        house.mdm.work(100).await.unwrap();
    }
    assert_eq!(house.apple.asked.lock().unwrap().len(), 1);
    // Another device wants to be woken.
    let other = house.device("C02NEXT").await;
    house.enrol(&other).await;
    let wakes = set_up(&house, &other).await.wake_at.unwrap();
    house.clock.set(wakes + Duration::from_secs(3_600));
    for _ in 0..5 {
        house.mdm.work(100).await.unwrap();
    }
    let woken = set_up(&house, &other).await.wake_at;
    assert!(woken.is_none_or(|at| at > wakes), "it was not woken");
    let idle = tokio::time::timeout(Duration::from_millis(50), house.mdm.idle());
    assert!(idle.await.is_err(), "its job is still under way");
    *house.apple.hangs.lock().unwrap() = None;
    // However often it was asked meanwhile.
    hangs.add_permits(10);
    house.mdm.idle().await;
}

#[tokio::test]
async fn a_lock_after_an_answer_that_never_came_is_uncertain_and_one_that_was_confirmed_is_ours() {
    let house = House::new().await;
    let phone = house.device("C02UNSURE").await;
    to_the_lock(&house, &phone).await;
    house
        .apple
        .locks
        .lock()
        .unwrap()
        .extend([Some(LockOutcome::AlreadyLocked), None]);
    house.settle().await;
    house.clock.advance(Duration::from_secs(30));
    house.settle().await;
    let asked = house.apple.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0], asked[1], "a repeat has another code");
    let StepStatus::Skipped { why } = lock_of(&house, &phone).await else {
        panic!("not uncertain");
    };
    assert!(why.contains("not proved"), "{why}");

    let house = House::new().await;
    let phone = house.device("C02SURE").await;
    to_the_lock(&house, &phone).await;
    apple_answers(&house, LockOutcome::Success).await;
    assert!(matches!(
        lock_of(&house, &phone).await,
        StepStatus::Done { .. }
    ));
    // The same device enrols anew: its lock is still on, with the code that is held.
    let phone = house.device("C02SURE").await;
    to_the_lock(&house, &phone).await;
    apple_answers(&house, LockOutcome::AlreadyLocked).await;
    assert!(matches!(
        lock_of(&house, &phone).await,
        StepStatus::Done { .. }
    ));
}

#[tokio::test]
async fn rows_that_cannot_be_read_or_woken_keep_nobody_else_waiting() {
    let house = House::new().await;
    let mut phones = Vec::new();
    for n in 0..6 {
        let phone = house.device(&format!("C02HEAD{n}")).await;
        house.enrol(&phone).await;
        phones.push(phone);
        house.clock.advance(Duration::from_secs(1));
    }
    // The first three cannot be read, the next two belong to an organisation that is gone.
    let heads: Vec<i64> = {
        let mut ids = Vec::new();
        for phone in &phones {
            ids.push(set_up(&house, phone).await.id.0);
        }
        ids
    };
    for id in &heads[..3] {
        house
            .spoil(&format!("UPDATE set_ups SET doc = '{{' WHERE id = {id}"))
            .await;
    }
    for id in &heads[3..5] {
        house
            .spoil(&format!(
                "UPDATE set_ups SET organisation = 77, doc = json_set(doc, '$.organisation', 77) WHERE id = {id}"
            ))
            .await;
    }
    house.clock.advance(Duration::from_mins(50));
    // Rounds of two: each must reach the healthy one behind five that fail.
    for _ in 0..4 {
        house.mdm.watch(2).await.unwrap();
    }
    let s = set_up(&house, &phones[5]).await;
    assert!(matches!(s.state, SetUpState::Releasing { .. }), "{s:?}");
    let wake = s.wake_at.unwrap();
    house
        .clock
        .set(house.mdm.now().max(wake) + Duration::from_secs(1));
    let mut last = 0;
    for _ in 0..20 {
        last = house.mdm.work(2).await.unwrap();
    }
    assert_eq!(last, 0, "failing rows make the worker spin");
    let s = set_up(&house, &phones[5]).await;
    assert!(s.wake_at.unwrap() > house.mdm.now(), "{s:?}");
    let answer = house
        .report(&phones[5], "<key>Status</key><string>Idle</string>")
        .await
        .unwrap();
    assert_ne!(answer, Answer::Empty);
}

#[tokio::test]
async fn settled_commands_go_after_their_time_and_nothing_else_does() {
    let house = House::new().await;
    let phone = house.device("C02OLD").await;
    house.enrol(&phone).await;
    let answer = house
        .report(&phone, "<key>Status</key><string>Idle</string>")
        .await
        .unwrap();
    let (uuid, _) = command(&answer).unwrap();
    let body = format!(
        "<key>Status</key><string>Error</string><key>CommandUUID</key><string>{uuid}</string>"
    );
    house.report(&phone, &body).await.unwrap();
    let org = house.org().await;
    let (id, enrollment) = (
        org.organisation().id,
        set_up(&house, &phone).await.enrollment,
    );
    let settled = async || {
        let all = house
            .mdm
            .store()
            .commands(id, enrollment, CommandId(i64::MAX), 100)
            .await
            .unwrap();
        all.iter().filter(|c| c.uuid == uuid).count()
    };
    house.settle().await;
    for _ in 0..80 {
        house.clock.advance(Duration::from_hours(24));
        house.settle().await;
    }
    assert_eq!(settled().await, 1, "deleted before its time");
    let record = house.record(&phone).await.len();
    for _ in 0..12 {
        house.clock.advance(Duration::from_hours(24));
        house.settle().await;
    }
    assert_eq!(settled().await, 0, "kept for ever");
    assert!(
        house.record(&phone).await.len() >= record,
        "the record was touched"
    );
    let live = house
        .mdm
        .store()
        .enrollment(id, enrollment)
        .await
        .unwrap()
        .unwrap();
    assert!(live.is_live());
}

#[tokio::test]
async fn pushes_that_hang_keep_room_for_everything_else() {
    let house = House::new().await;
    let phone = house.device("C02PUSHES").await;
    to_the_lock(&house, &phone).await;
    let held = set_up(&house, &phone).await;
    let hangs = Arc::new(tokio::sync::Semaphore::new(0));
    *house.apple.pushes_hang.lock().unwrap() = Some(Arc::clone(&hangs));
    house.mdm.set_patience(Some(Duration::from_millis(20)));
    // Far more than there is room for, and all of them before the lock.
    let mut batch = Batch::new();
    let kind = JobKind::Push {
        enrollment: held.enrollment,
    };
    for n in 1..=2_500 {
        let due = START - Duration::from_secs(60);
        batch.put(Job::new(held.organisation, JobId(n), due, kind.clone()));
    }
    house.mdm.store().commit(batch).await.unwrap();
    let until_asked = async {
        while house.apple.asked.lock().unwrap().is_empty() {
            house.mdm.work(50).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(60), until_asked).await;
    assert!(asked.is_ok(), "the lock waits behind pushes");
    let pushed = house.apple.pushed.load(Ordering::SeqCst);
    assert!((50..1_100).contains(&pushed), "{pushed}");
    *house.apple.pushes_hang.lock().unwrap() = None;
    hangs.add_permits(5_000);
    house.mdm.idle().await;
}

#[tokio::test]
async fn a_device_is_pushed_once_for_many_commands() {
    let house = House::new().await;
    let phone = house.device("C02MANYCMD").await;
    house.enrol(&phone).await;
    *house.apple.pushes.lock().unwrap() = Some(PushOutcome::Delivered);
    house.settle().await;
    let before = house.apple.pushed.load(Ordering::SeqCst);
    let org = house.org().await;
    let name = [phone.udid.clone()];
    for n in 0..10 {
        let new = NewCommand::new(format!("MANY-{n}"), CommandBody::SecurityInfo);
        org.enqueue(&name, &new).await.unwrap();
    }
    house.settle().await;
    let pushed = house.apple.pushed.load(Ordering::SeqCst) - before;
    assert_eq!(pushed, 1);
    // And once more for what comes later.
    let new = NewCommand::new("LATER", CommandBody::SecurityInfo);
    org.enqueue(&name, &new).await.unwrap();
    house.settle().await;
    assert_eq!(house.apple.pushed.load(Ordering::SeqCst) - before, 2);
}

#[tokio::test]
async fn one_device_that_cannot_be_read_stops_no_round_and_wakes_the_others_once() {
    let house = House::new().await;
    let (broken, phone) = (
        house.device("C02BROKEN1").await,
        house.device("C02STALE01").await,
    );
    for gadget in [&broken, &phone] {
        house.enrol(gadget).await;
    }
    // Their set-ups wake them for reasons of their own.
    let asleep = "UPDATE set_ups SET wake_at = NULL, ceiling_at = NULL";
    assert_eq!(house.spoil(asleep).await, 2);
    // And a whole organisation beside it.
    let other = house
        .mdm
        .create_organisation("Other", Vec::new())
        .await
        .unwrap()
        .org;
    let other = other.organisation().id;
    *house.apple.pushes.lock().unwrap() = Some(PushOutcome::Delivered);
    house.settle().await;
    house.clock.advance(Duration::from_hours(24 * 30));
    house.settle().await;
    for sql in [
        "UPDATE devices SET doc = '{' WHERE serial = 'C02BROKEN1'".to_owned(),
        format!("UPDATE organisations SET doc = '{{' WHERE id = {other}"),
    ] {
        assert_eq!(house.spoil(&sql).await, 1, "{sql}");
    }
    let house = house.restarted().await;
    house.settle().await;
    // Everything else that comes up has its time before the devices are looked at.
    house.clock.advance(Duration::from_hours(1));
    let before = house.apple.pushed.load(Ordering::SeqCst);
    house.settle().await;
    for _ in 0..5 {
        assert_eq!(house.mdm.work(50).await.unwrap(), 0);
    }
    let pushed = house.apple.pushed.load(Ordering::SeqCst) - before;
    assert_eq!(pushed, 1, "the one that can be read, once");
}

#[tokio::test]
async fn a_token_that_was_said_again_is_not_dead_of_what_apple_said_before() {
    let house = House::new().await;
    let phone = house.device("C02TOKENS1").await;
    house.enrol(&phone).await;
    *house.apple.pushes.lock().unwrap() = Some(PushOutcome::Delivered);
    house.settle().await;
    let org = house.org().await;
    let name = [phone.udid.clone()];
    let dead = async |uuid: &str, since| {
        *house.apple.pushes.lock().unwrap() = Some(PushOutcome::Gone { since: Some(since) });
        let new = NewCommand::new(uuid, CommandBody::SecurityInfo);
        org.enqueue(&name, &new).await.unwrap();
        house.settle().await;
        let report = org.device_report(&phone.serial).await.unwrap();
        report.enrollments[0].push_dead_since.is_some()
    };
    house.clock.advance(Duration::from_hours(1));
    let before = house.mdm.now();
    house.clock.advance(Duration::from_hours(1));
    // The very same token, and therefore good at this moment.
    house.token_update(&phone, "").await.unwrap();
    assert!(!dead("BEFORE", before).await);
    assert!(dead("NOW", house.mdm.now()).await);
    // Its next words end that, too.
    house.clock.advance(Duration::from_hours(1));
    house.token_update(&phone, "").await.unwrap();
    let report = org.device_report(&phone.serial).await.unwrap();
    assert_eq!(report.enrollments[0].push_dead_since, None);
}
