//! Recorded requests, played by the same path as `mdmd replay` plays them: each is answered as its index says; what must not be
//! read is refused with a sentence that says why, leaves nothing behind but a record of the refusal, and the next is served.

use std::path::Path;

use fixtures::recorded::{INDEX, Proof, directory, read_index};
use mdm_core::ids::{AuditId, CommandId, DeviceId, RefusalId};
use mdmd::cli::replay::{Played, Player, ReplayError, play};

/// Longer sentences than this would begin to repeat what was sent.
const SENTENCE: usize = 160;

async fn one(player: &mut Player, file: &str) -> Played {
    let mut played = player.play(file).await.unwrap();
    assert_eq!(played.len(), 1, "{file}");
    played.remove(0)
}

/// Everything that the throw-away server has stored, but for refusals.
async fn everything(player: &Player) -> String {
    let (store, org) = (player.mdm().store(), player.org().organisation().id);
    let mut all = Vec::new();
    for device in store.devices(org, DeviceId(0), 1000).await.unwrap() {
        for channel in store.enrollments_of_device(org, device.id).await.unwrap() {
            let users = store.user_channels(org, channel.id).await.unwrap();
            for speaker in std::iter::once(&channel).chain(&users) {
                let commands = store
                    .commands(org, speaker.id, CommandId(i64::MAX), 1000)
                    .await
                    .unwrap();
                all.push(format!("{speaker:?} {commands:?}"));
            }
            let set_up = store.set_up_of(org, channel.id).await.unwrap();
            all.push(format!("{set_up:?}"));
        }
        let secrets = store.secrets(org, device.id).await.unwrap();
        all.push(format!("{device:?} {secrets:?}"));
    }
    let record = store.audit(org, AuditId(0), 10_000).await.unwrap();
    let jobs = store.jobs_waiting().await.unwrap();
    all.push(format!("{record:?} {jobs}"));
    all.join("\n")
}

/// The newest first. Of one sender only so many are kept.
async fn refusals(player: &Player) -> Vec<RefusalId> {
    let org = player.org().organisation().id;
    let kept = player.mdm().store().refusals(org, 10_000).await.unwrap();
    kept.into_iter().map(|refusal| refusal.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recording_is_answered_as_its_index_says() {
    let index = read_index(&std::fs::read_to_string(directory().join(INDEX)).unwrap()).unwrap();
    let all = play(&directory()).await.unwrap();
    let mut told: Vec<&str> = index.iter().map(|l| l.file.as_str()).collect();
    told.sort_unstable();
    let played: Vec<&str> = all.iter().map(|p| p.file.as_str()).collect();
    assert_eq!(played, told);
    for (line, one) in told.iter().zip(&all) {
        assert_eq!(
            one.expected, None,
            "{line}: {} {:?}",
            one.status, one.sentence
        );
        // A device that gets this gives its enrolment up.
        assert_ne!(one.status, 401, "{line}");
        assert_eq!(one.is_refused(), one.refusal.is_some(), "{line}");
        let of_index = index.iter().find(|l| l.file == one.file).unwrap();
        let (certificate, signed) = match of_index.sender.proof {
            Proof::Certificate | Proof::CertificateOf(_) => (true, false),
            Proof::Signed(_) | Proof::SignatureBeside => (false, true),
            _ => (false, false),
        };
        assert_eq!(one.proof == "certificate", certificate, "{line}");
        assert_eq!(one.proof == "signature", signed, "{line}");
    }

    let stored = |file: &str| {
        let one = all.iter().find(|p| p.file == file).unwrap();
        one.stored.join("; ")
    };
    let check = |file: &str, expected: &str| {
        let stored = stored(file);
        assert!(stored.contains(expected), "{file} stored: {stored}");
    };
    check("iphone/01-authenticate.plist", "enrolment 1: pending");
    check(
        "iphone/04-token-update.plist",
        "pending -> enrolled, awaiting configuration",
    );
    check(
        "iphone/04-token-update.plist",
        "secret unlock_token: sealed",
    );
    check(
        "iphone/05-idle.plist",
        "command DeviceInformation: queued -> sent",
    );
    check("iphone/06-device-information.plist", "sent -> acknowledged");
    check("iphone/08-not-now.plist", "sent -> not now");
    check("iphone/09-error.plist", "sent -> error");
    check(
        "iphone/10-command-format-error.plist",
        "sent -> format error",
    );
    check(
        "iphone/15-token-update-later.plist",
        "-> enrolled, awaiting configuration, push token 1f1e1d1c…, unlock token",
    );
    check("iphone/17-check-out.plist", "-> checked out");
    check(
        "mac/03-user-token-update.plist",
        "user channel 1 of enrolment 1: enrolled",
    );
    check(
        "mac/05-user-acknowledged.plist",
        "command ProfileList: sent -> acknowledged",
    );
    check(
        "mac/06-set-bootstrap-token.plist",
        "secret bootstrap_token: sealed",
    );
    check(
        "mac/09-security-info.plist",
        "command SecurityInfo: sent -> acknowledged",
    );
    check(
        "mac/10-user-check-out.plist",
        "user channel 1 of enrolment 1: enrolled",
    );
    check(
        "spelling/02-token-update.plist",
        "not awaiting configuration",
    );
    check("spelling/04-dates.plist", "sent -> acknowledged");
    for silent in [
        "iphone/02-authenticate-again.plist",
        "iphone/03-idle-too-early.plist",
        "iphone/07-device-information-again.plist",
        "iphone/11-unknown-command.plist",
        "iphone/18-idle-after-check-out.plist",
        "mac/07-get-bootstrap-token.plist",
    ] {
        assert_eq!(stored(silent), "", "{silent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_read_leaves_a_record_and_the_next_is_served() {
    let mut player = Player::open(&directory()).await.unwrap();
    let files = player.files();
    for file in files
        .iter()
        .filter(|f| f.starts_with("iphone/") || f.starts_with("mac/"))
    {
        one(&mut player, file).await;
    }
    let bad: Vec<_> = files
        .iter()
        .filter(|f| f.starts_with("refused/") || f.starts_with("signed/"))
        .collect();
    assert!(bad.len() > 30);
    for file in bad {
        // Once for the enrolment session that a device new to the server goes through before it speaks.
        one(&mut player, file).await;
        let (before, known) = (everything(&player).await, refusals(&player).await);
        let played = one(&mut player, file).await;
        assert!(played.is_refused(), "{file} was answered {}", played.status);
        assert!(
            played.stored.is_empty(),
            "{file} stored {:?}",
            played.stored
        );
        assert!(
            everything(&player).await == before,
            "{file} left something behind"
        );
        let newer = refusals(&player).await.into_iter();
        let newer = newer.filter(|id| known.first().is_none_or(|last| id > last));
        assert_eq!(newer.count(), 1, "{file}");
        let (sentence, recorded) = (played.sentence.unwrap(), played.refusal.unwrap());
        assert_eq!(sentence, recorded, "{file}");
        assert!(sentence.len() <= SENTENCE, "{file}: {sentence}");
        let next = one(&mut player, "mac/07-get-bootstrap-token.plist").await;
        assert_eq!((next.status, next.kind), (200, "plist"), "after {file}");
    }
    player.close().await.unwrap();
}

fn put(directory: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(directory.join(name), bytes).unwrap();
}

fn recorded(file: &str) -> Vec<u8> {
    std::fs::read(directory().join(file)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_body_is_refused_at_the_door_and_the_next_is_served() {
    let here = tempfile::tempdir().unwrap();
    put(
        here.path(),
        "1.plist",
        &recorded("mac/01-authenticate.plist"),
    );
    let text = String::from_utf8(recorded("mac/02-token-update.plist")).unwrap();
    let padding = format!("<!--{}-->\n<plist", " ".repeat(9 * 1024 * 1024));
    put(
        here.path(),
        "2.plist",
        text.replace("<plist", &padding).as_bytes(),
    );
    put(here.path(), "3.plist", text.as_bytes());
    let all = play(here.path()).await.unwrap();
    assert_eq!(all[1].status, 413);
    let sentence = all[1].sentence.as_deref().unwrap();
    assert!(sentence.contains("at most"), "{sentence}");
    assert!(all[1].stored.is_empty());
    assert_eq!(all[2].status, 200);
    assert!(all[2].stored.join("; ").contains("pending -> enrolled"));
}

/// What a user has: a dump of whole exchanges without an index, in which a device enrols a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_another_server_is_played_and_a_second_enrolment_gets_its_own_session() {
    let here = tempfile::tempdir().unwrap();
    let mut dump = Vec::new();
    for file in [
        "mac/01-authenticate.plist",
        "mac/02-token-update.plist",
        "mac/09-security-info.plist",
        "mac/01-authenticate.plist",
        "mac/02-token-update.plist",
    ] {
        dump.extend(recorded(file));
    }
    put(here.path(), "requests.dump", &dump);
    // Signed for another server: refused, whatever the certificate.
    std::fs::create_dir(here.path().join("signed")).unwrap();
    for name in [
        "signed/01-foreign.plist",
        "signed/01-foreign.plist.signature",
    ] {
        put(here.path(), name, &recorded(name));
    }
    let all = play(here.path()).await.unwrap();
    let files: Vec<&str> = all.iter().map(|p| p.file.as_str()).collect();
    assert_eq!(files[1], "requests.dump#2");
    assert!(all[..5].iter().all(|p| p.status == 200), "{all:#?}");
    assert!(
        all[2]
            .stored
            .join("; ")
            .contains("command SecurityInfo: sent -> acknowledged")
    );
    let last = all[4].stored.join("; ");
    assert!(last.contains("enrolment 2: pending -> enrolled"), "{last}");
    assert!(last.contains("-> superseded"), "{last}");
    assert_eq!((all[5].status, all[5].proof.as_str()), (400, "signature"));
}

/// What is printed of a recording names its secrets and shows none.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_recording_holds_no_secret() {
    let said = serde_json::to_string(&play(&directory()).await.unwrap()).unwrap();
    assert!(said.contains("secret bootstrap_token: sealed"));
    for file in [
        "iphone/04-token-update.plist",
        "mac/06-set-bootstrap-token.plist",
    ] {
        let text = String::from_utf8(recorded(file)).unwrap();
        let long = text.lines().map(str::trim).filter(|l| l.len() == 60);
        let mut found = 0;
        for line in long.filter(|l| !l.contains('<')) {
            assert!(!said.contains(line), "{file}");
            found += 1;
        }
        assert!(found > 1, "{file} has no secret to look for");
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_read_is_the_callers_fault() {
    let here = tempfile::tempdir().unwrap();
    for path in [here.path().to_owned(), here.path().join("missing.plist")] {
        let error = Player::open(&path).await.unwrap_err();
        assert!(matches!(error, ReplayError::Path(_)), "{error}");
        assert!(error.to_string().contains(here.path().to_str().unwrap()));
    }
}
