//! The queue as people see it: all or none, cancelling, looking at what was asked and answered.

mod service_house;

use mdm_core::ids::{AuditId, CommandId};
use mdm_core::queue::CommandState;
use mdm_core::secret::{Secret, SecretKind};
use mdm_core::service::{Answer, Cancel, Enqueued, NewCommand};
use mdm_core::store::SqliteStore;
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::wire::command::CommandBody;
use mdm_core::wire::requests::RotateFileVaultKey;
use service_house::{Gadget, House, command, revealed};
use std::time::Duration;

const IDLE: &str = "<key>Status</key><string>Idle</string>";

fn said(status: &str, uuid: &str, more: &str) -> String {
    format!(
        "<key>Status</key><string>{status}</string><key>CommandUUID</key><string>{uuid}</string>{more}"
    )
}

/// Polls until the device has what it was asked for, or nothing more; answers the UUIDs in order.
async fn drain(house: &House, phone: &Gadget) -> Vec<String> {
    let mut seen = Vec::new();
    let mut answer = house.report(phone, IDLE).await.unwrap();
    while let Some((uuid, _)) = command(&answer) {
        assert!(seen.len() < 50, "{seen:?}");
        answer = house
            .report(phone, &said("Acknowledged", &uuid, ""))
            .await
            .unwrap();
        seen.push(uuid);
    }
    seen
}

#[tokio::test]
async fn all_get_it_or_none() {
    let house = House::new().await;
    let (mut names, mut phones) = (Vec::new(), Vec::new());
    for n in 0..3 {
        let phone = house.device(&format!("C02ALLOR{n}")).await;
        house.enrol(&phone).await;
        names.push(phone.udid.clone());
        phones.push(phone);
    }
    let org = house.org().await;
    let mut new = NewCommand::new("ALL-1", CommandBody::SecurityInfo);
    new.together = true;
    let mut more = names.clone();
    more.push("NOBODY".to_owned());
    use Enqueued::{NotEnrolled, Queued, Taken, Withheld};
    let answers = org.enqueue(&more, &new).await.unwrap();
    assert_eq!(answers, [Withheld, Withheld, Withheld, NotEnrolled]);
    for name in &names {
        assert!(org.command(name, "ALL-1").await.is_err());
    }
    assert_eq!(org.enqueue(&names, &new).await.unwrap(), [Queued; 3]);
    // One that has it already keeps the others from it too.
    let answers = org.enqueue(&names, &new).await.unwrap();
    assert_eq!(answers, [Taken; 3]);
    let twice = [names[0].clone(), names[0].clone()];
    new.uuid = "ALL-2".to_owned();
    assert_eq!(org.enqueue(&twice, &new).await.unwrap(), [Withheld, Taken]);
    for phone in &phones {
        let seen = drain(&house, phone).await;
        assert_eq!(seen.iter().filter(|u| *u == "ALL-1").count(), 1);
    }
}

#[tokio::test]
async fn what_cannot_be_a_command_is_refused_before_anything_is_queued() {
    let house = House::new().await;
    let org = house.org().await;
    let good = NewCommand::new("U", CommandBody::SecurityInfo);
    let check = async |change: fn(&mut NewCommand), what: &str| {
        let mut new = good.clone();
        change(&mut new);
        let error = org.enqueue(&[], &new).await.unwrap_err().to_string();
        assert!(error.starts_with(what), "{error}");
    };
    check(|n| n.uuid = "U 1".to_owned(), "command UUID").await;
    check(
        |n| n.body = CommandBody::Raw(plist::Dictionary::new().into()),
        "command:",
    )
    .await;
    check(|n| n.priority = 91, "priority").await;
    check(|n| n.expires = Some(service_house::START), "expires").await;
    assert_eq!(org.enqueue(&[], &good).await.unwrap(), []);
}

#[tokio::test]
async fn commands_are_cancelled_by_uuid_by_type_and_all_but_never_the_set_ups_own() {
    let house = House::new().await;
    let phone = house.device("C02CANCEL1").await;
    house.enrol(&phone).await;
    let org = house.org().await;
    let name = [phone.udid.clone()];
    for (uuid, body) in [
        ("A", CommandBody::SecurityInfo),
        ("B", CommandBody::UserList),
        ("C", CommandBody::UserList),
        ("D", CommandBody::ManagedMediaList),
    ] {
        org.enqueue(&name, &NewCommand::new(uuid, body))
            .await
            .unwrap();
    }
    let gone = |which: Cancel| {
        let (org, name) = (&org, &name);
        async move { org.cancel_commands(name, &which).await.unwrap()[0].unwrap() }
    };
    let done = gone(Cancel::Uuid("A".to_owned())).await;
    assert_eq!((done.waiting, done.handed_out, done.kept), (1, 0, 0));
    let done = gone(Cancel::RequestType("UserList".to_owned())).await;
    assert_eq!((done.waiting, done.handed_out, done.kept), (2, 0, 0));
    assert_eq!(gone(Cancel::Uuid("A".to_owned())).await, Default::default());
    let done = gone(Cancel::All).await;
    assert_eq!((done.waiting, done.handed_out), (1, 0));
    assert!(done.kept > 0, "the set-up has asked for something");
    // The set-up goes on; of what was cancelled nothing comes, and a late answer to it changes nothing.
    let seen = drain(&house, &phone).await;
    assert!(seen.len() >= done.kept as usize, "{seen:?}");
    assert!(
        !seen
            .iter()
            .any(|u| ["A", "B", "C", "D"].contains(&u.as_str()))
    );
    house
        .report(&phone, &said("Acknowledged", "A", ""))
        .await
        .unwrap();
    let a = org.command(&phone.udid, "A").await.unwrap();
    assert_eq!(a.summary.state, CommandState::Cancelled);
    let strangers = ["NOBODY".to_owned()];
    assert_eq!(
        org.cancel_commands(&strangers, &Cancel::All).await.unwrap(),
        [None]
    );
}

#[tokio::test]
async fn a_person_sees_state_answer_and_reason_but_no_secret() {
    let house = House::new().await;
    let phone = house.device("C02LOOK001").await;
    house.enrol(&phone).await;
    drain(&house, &phone).await;
    let org = house.org().await;
    let name = [phone.udid.clone()];
    let plain = NewCommand::new("PLAIN", CommandBody::SecurityInfo);
    let hidden = CommandBody::install_profile(Secret::from_text("hunter2".to_owned()));
    let mut hidden = NewCommand::new("HIDDEN", hidden);
    hidden.priority = 7;
    hidden.expires = Some(service_house::START + Duration::from_hours(1));
    for new in [&plain, &hidden] {
        assert_eq!(org.enqueue(&name, new).await.unwrap(), [Enqueued::Queued]);
    }
    let open = org.commands(&phone.udid, true, 10).await.unwrap();
    assert_eq!(open.len(), 2, "{open:?}");
    // Priority goes first.
    let first = house.report(&phone, IDLE).await.unwrap();
    assert_eq!(command(&first).unwrap().0, "HIDDEN");
    let chain = "<key>ErrorChain</key><array><dict><key>ErrorCode</key><integer>4001</integer>\
                 <key>ErrorDomain</key><string>MCInstallationErrorDomain</string>\
                 <key>USEnglishDescription</key><string>No</string></dict></array>";
    let next = house
        .report(&phone, &said("Error", "HIDDEN", chain))
        .await
        .unwrap();
    assert_eq!(command(&next).unwrap().0, "PLAIN");
    let told = "<key>SecurityInfo</key><dict><key>FDE_PersonalRecoveryKeyCMS</key>\
                <data>c2VjcmV0</data></dict>";
    let last = house
        .report(&phone, &said("Acknowledged", "PLAIN", told))
        .await
        .unwrap();
    assert_eq!(last, Answer::Empty);
    let shown = org.command(&phone.udid, "HIDDEN").await.unwrap();
    assert_eq!(shown.request, None);
    assert_eq!(shown.summary.state, CommandState::Error);
    assert_eq!(shown.summary.errors, ["MCInstallationErrorDomain 4001: No"]);
    assert_eq!(
        (shown.summary.priority, shown.summary.expires),
        (7, hidden.expires)
    );
    let shown = org.command(&phone.udid, "PLAIN").await.unwrap();
    let request = shown.request.clone().unwrap();
    assert_eq!(request["Command"]["RequestType"], "SecurityInfo");
    let report = shown.report.clone().unwrap();
    assert_eq!(
        report["SecurityInfo"]["FDE_PersonalRecoveryKeyCMS"],
        "redacted"
    );
    let all = serde_json::to_string(&(shown, org.commands(&phone.udid, false, 100).await.unwrap()));
    let all = all.unwrap();
    assert!(
        !all.contains("hunter2") && !all.contains("c2VjcmV0"),
        "{all}"
    );
    assert!(org.commands("NOBODY", true, 10).await.is_err());
    // Every one of them once, a page at a time.
    let whole = org.commands(&phone.udid, false, 100).await.unwrap();
    let (mut read, mut before) = (Vec::new(), CommandId(i64::MAX));
    loop {
        let page = org.commands_before(&phone.udid, before, 1).await.unwrap();
        let Some(last) = page.last() else { break };
        before = last.id;
        read.extend(page.iter().map(|command| command.id));
    }
    let whole: Vec<CommandId> = whole.iter().map(|command| command.id).collect();
    assert!(whole.len() > 1 && read == whole, "{read:?}");
}

#[tokio::test]
async fn devices_are_found_by_serial_number_in_the_order_asked() {
    let house = House::new().await;
    let phone = house.device("C02SERIAL1").await;
    house.enrol(&phone).await;
    let waiting = house.device("C02SERIAL2").await;
    let stranger = mdm_core::ids::Serial::parse("C02NOBODY1").unwrap();
    let asked = [stranger, phone.serial.clone(), waiting.serial.clone()];
    let found = house.org().await.channels_of(&asked).await.unwrap();
    assert_eq!(found, [None, Some(phone.udid.clone()), None]);
}

/// The kinds of secrets that are kept of a device and that nothing has replaced, with their contents.
async fn kept(house: &House, phone: &Gadget, kind: SecretKind) -> Vec<Secret> {
    let org = house.org().await;
    let id = org.device_report(&phone.serial).await.unwrap().device.id;
    let all = house
        .mdm
        .store()
        .secrets(org.organisation().id, id)
        .await
        .unwrap();
    let newest = all
        .iter()
        .filter(|s| s.kind == kind && s.replaced.is_none());
    if newest.count() == 0 {
        return Vec::new();
    }
    vec![revealed(
        org.reveal(&phone.serial, kind, "to see it", None)
            .await
            .unwrap(),
    )]
}

#[tokio::test]
async fn what_answers_to_a_persons_commands_give_away_is_sealed_and_kept() {
    let house = House::new().await;
    let mac = house.mac("C02SECRET1").await;
    house.enrol(&mac).await;
    drain(&house, &mac).await;
    let org = house.org().await;
    let ask = async |uuid: &str, body: CommandBody, told: &str| {
        let new = NewCommand::new(uuid, body);
        org.enqueue(std::slice::from_ref(&mac.udid), &new)
            .await
            .unwrap();
        let answer = house.report(&mac, IDLE).await.unwrap();
        assert_eq!(command(&answer).unwrap().0, uuid);
        let said = said("Acknowledged", uuid, told);
        house.report(&mac, &said).await.unwrap();
    };
    let code = "<key>ActivationLockBypassCode</key><string>9C8YH-4PQ2R</string>";
    ask("CODE", CommandBody::ActivationLockBypassCode, code).await;
    let codes = kept(&house, &mac, SecretKind::DeviceBypassCode).await;
    assert_eq!(codes, [Secret::from_text("9C8YH-4PQ2R")]);

    let token = format!(
        "<key>UnlockToken</key>{}",
        service_house::data(b"unlocks it")
    );
    ask("TOKEN", CommandBody::RequestUnlockToken, &token).await;
    let tokens = kept(&house, &mac, SecretKind::UnlockToken).await;
    assert_eq!(tokens, [Secret::new(*b"unlocks it")]);

    // A rotation to the organisation's own certificate: the new key is read, and the old one is the one before it.
    let escrow = org
        .organisation()
        .escrow
        .as_ref()
        .unwrap()
        .certificate
        .0
        .clone();
    let rotated = |key: &str| {
        let envelope = envelope(&escrow, key);
        format!(
            "<key>RotateResult</key><dict><key>EncryptedNewRecoveryKey</key>{}</dict>",
            service_house::data(&envelope)
        )
    };
    let rotate = || {
        let secret = Secret::from_text("AAAA-BBBB-CCCC-DDDD-EEEE-FFFF");
        CommandBody::from(RotateFileVaultKey::new(secret, escrow.clone()))
    };
    for (uuid, key) in [
        ("ROTATE-1", "ABCD-EFGH-JKLM-NPQR-STUV-WX23"),
        ("ROTATE-2", "WXYZ-EFGH-JKLM-NPQR-STUV-WX23"),
    ] {
        ask(uuid, rotate(), &rotated(key)).await;
        let keys = kept(&house, &mac, SecretKind::RecoveryKey).await;
        assert_eq!(keys, [Secret::from_text(key)]);
    }
    // To somebody else's: the envelope is kept as it came, and the old key is no longer the newest.
    let (elsewhere, _) = house.identity_elsewhere("somebody");
    let foreign = envelope(&elsewhere, "FFFF-EFGH-JKLM-NPQR-STUV-WX23");
    let told = format!(
        "<key>RotateResult</key><dict><key>EncryptedNewRecoveryKey</key>{}</dict>",
        service_house::data(&foreign)
    );
    ask("ROTATE-3", rotate(), &told).await;
    let envelopes = kept(&house, &mac, SecretKind::RecoveryKeyEnvelope).await;
    assert_eq!(envelopes, [Secret::new(foreign)]);
    assert_eq!(kept(&house, &mac, SecretKind::RecoveryKey).await, []);

    let apps = "<key>ManagedApplicationList</key><dict><key>com.example.a</key><dict>\
                <key>Status</key><string>Managed</string><key>UnusedRedemptionCode</key><string>REDEEM-1</string></dict>\
                <key>com.example.b</key><dict><key>UnusedRedemptionCode</key><string>REDEEM-2</string></dict></dict>";
    let list = mdm_core::wire::requests::ManagedApplicationList::default();
    ask("APPS", list.into(), apps).await;
    let codes = kept(&house, &mac, SecretKind::RedemptionCode).await;
    assert_eq!(codes, [Secret::from_text("REDEEM-1\nREDEEM-2")]);
}

fn envelope(certificate: &[u8], plain: &str) -> Vec<u8> {
    use openssl::cms::{CMSOptions, CmsContentInfo};
    let certificate = openssl::x509::X509::from_der(certificate).unwrap();
    let mut to = openssl::stack::Stack::new().unwrap();
    to.push(certificate).unwrap();
    let cipher = openssl::symm::Cipher::aes_256_cbc();
    CmsContentInfo::encrypt(&to, plain.as_bytes(), cipher, CMSOptions::BINARY)
        .unwrap()
        .to_der()
        .unwrap()
}

#[tokio::test]
async fn the_answer_to_a_command_that_was_cancelled_in_flight_is_kept() {
    let house = House::new().await;
    let phone = house.device("C02FLIGHT1").await;
    house.enrol(&phone).await;
    drain(&house, &phone).await;
    let org = house.org().await;
    let name = [phone.udid.clone()];
    let new = NewCommand::new("FLIES", CommandBody::ActivationLockBypassCode);
    org.enqueue(&name, &new).await.unwrap();
    let answer = house.report(&phone, IDLE).await.unwrap();
    assert_eq!(command(&answer).unwrap().0, "FLIES");
    let done = org.cancel_commands(&name, &Cancel::All).await.unwrap();
    assert_eq!(done[0].unwrap().handed_out, 1);
    let code = "<key>ActivationLockBypassCode</key><string>9C8YH-4PQ2R</string>";
    for _ in 0..2 {
        let said = said("Acknowledged", "FLIES", code);
        house.report(&phone, &said).await.unwrap();
        let shown = org.command(&phone.udid, "FLIES").await.unwrap();
        assert_eq!(shown.summary.state, CommandState::Acknowledged);
        assert_eq!(shown.summary.given_up, Some(house.mdm.now()));
        let report = shown.report.unwrap();
        assert_eq!(report["ActivationLockBypassCode"], "redacted");
    }
    let codes = kept(&house, &phone, SecretKind::DeviceBypassCode).await;
    assert_eq!(codes, [Secret::from_text("9C8YH-4PQ2R")]);
}

#[tokio::test]
async fn a_result_of_a_command_that_nobody_asked_for_is_on_record() {
    let house = House::new().await;
    let phone = house.device("C02UNKNOWN").await;
    house.enrol(&phone).await;
    let said = said("Acknowledged", "NOBODYS", "");
    let answer = house.report(&phone, &said).await.unwrap();
    assert!(command(&answer).is_some(), "the next one goes out");
    let refusals = house.org().await.refusals(10).await.unwrap();
    let noted = refusals
        .iter()
        .find(|r| r.reason.contains("is not known"))
        .unwrap();
    assert_eq!(noted.serial.as_ref(), Some(&phone.serial));
}

#[tokio::test]
async fn whoever_asks_is_on_record_in_the_commit_that_asks_however_it_ends() {
    let house = House::new().await;
    let phone = house.device("C02ASKED01").await;
    house.enrol(&phone).await;
    drain(&house, &phone).await;
    let name = [phone.udid.clone()];
    let mut ended = Vec::new();
    for nth in 1..=3 {
        let disk = SqliteStore::open(&house.path()).await.unwrap();
        let store = FailingStore::new(disk, nth, Moment::Before);
        let mdm = house.over(store.clone());
        let org = mdm.organisation_by_id(house.org).await.unwrap();
        let uuid = format!("CUT-{nth}");
        let new = NewCommand::new(&uuid, CommandBody::SecurityInfo);
        let asked = org.enqueue(&name, &new).await.is_ok();
        let org = house.org().await;
        let queued = org.command(&phone.udid, &uuid).await.is_ok();
        let entries = house
            .mdm
            .store()
            .audit(house.org, AuditId(0), 10_000)
            .await
            .unwrap();
        let recorded = entries
            .iter()
            .any(|e| e.what == "commands.queued" && e.detail["uuid"] == uuid.as_str());
        assert_eq!(queued, recorded, "cut at commit {nth}");
        ended.push((asked, queued));
        if !store.has_failed() {
            break;
        }
    }
    assert_eq!(ended, [(false, false), (true, true)]);
}
