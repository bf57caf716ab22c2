//! The client's own tests.

use std::collections::BTreeSet;

use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::enrollment::{ChannelKind, Enrollment};
use mdm_core::hook::{Hook, HookMessage};
use mdm_core::ids::{
    DeviceId, EnrollmentId, HookId, HookMessageId, OrganisationId, RunbookId, Serial, SetUpId,
};
use mdm_core::migration::{Notice, SetUp, SetUpState, Verdict, VerdictKind};
use mdm_core::runbook::KeptRunbook;
use mdm_core::store::Batch;
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use super::*;
use crate::app::{Overrides, assemble};
use crate::config::Config;

#[tokio::test(flavor = "multi_thread")]
async fn of_a_server_that_goes_away_meanwhile_the_outcome_is_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    // It takes the question and is killed.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 64];
            let _ = stream.read(&mut asked).await;
        }
    });
    let client = Client {
        way: Way::Socket(path),
        organisation: None,
    };
    let ended = client.post("/api/v1/licences", &json!({})).await;
    let ended = ended.expect_err("no answer");
    let said = format!("{:#}", ended.why);
    assert!(
        said.contains("POST /api/v1/licences") && said.contains("outcome is unknown"),
        "{said}"
    );
    assert_eq!(ended.exit, Exit::Failure);
    let ended = client.get("/api/v1/licences").await;
    let said = format!("{:#}", ended.expect_err("no answer").why);
    assert!(!said.contains("unknown"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    crate::install::lay_out(directory.path(), "Test", "localhost").unwrap();
    let config = Config::for_directory(directory.path());
    let mdm = assemble(&config, &Overrides::default()).await.unwrap();
    for name in ["One", "Two", "Three"] {
        mdm.create_organisation(name, Vec::new()).await.unwrap();
    }
    let organisations = mdm.organisations(OrganisationId(0), 9).await.unwrap();
    let first = &organisations[0];
    let mut batch = Batch::new();
    for id in 1..=3 {
        let at = Timestamp::from_millis(5);
        let mut row = Enrollment::pending(
            first.id,
            EnrollmentId(id),
            format!("UDID-{id}"),
            ChannelKind::Device,
            String::new(),
            at,
        );
        row.serial = Some(Serial::parse(&format!("SERIAL{id}")).unwrap());
        let verdict = Verdict {
            kind: VerdictKind::Ordinary,
            reasons: Vec::new(),
        };
        let mut held = SetUp::begin(
            first.id,
            SetUpId(id),
            &row,
            Platform::Macos,
            None,
            RunbookId(1),
            verdict,
            at,
        );
        let steps = Default::default();
        held.state = SetUpState::Holding { since: at, steps };
        batch.put(held);
        // Where a page begins is a name, with everything that a name may have.
        let name = format!("Nr. {id} & more");
        batch.put(KeptRunbook::new(first.id, &name, Platform::Ios));
        let (hook, message) = (HookId(1), HookMessageId(id));
        let serial = Serial::parse(&format!("SERIAL{id}")).unwrap();
        let told = HookMessage::new(
            first.id,
            message,
            hook,
            DeviceId(id),
            serial,
            Notice::Offered,
            at,
        );
        batch.put(told);
    }
    let at = Timestamp::from_millis(5);
    let url = "https://good.example/in";
    let hook = Hook::new(
        first.id,
        HookId(1),
        "door",
        url,
        BTreeSet::new(),
        Vec::new(),
        at,
    );
    batch.put(hook);
    mdm.store().commit(batch).await.unwrap();
    let client = Client {
        way: Way::Stopped(Box::new(stopped(&config, IfStopped::Read).await.unwrap())),
        organisation: Some(first.code.to_string()),
    };
    for (path, rows, name) in [
        ("/api/v1/organisations", "organisations", "name"),
        ("/api/v1/holds", "holds", "serial"),
        ("/api/v1/runbooks", "runbooks", "name"),
        ("/api/v1/webhooks/door/messages", "messages", "serial"),
    ] {
        let side = match rows {
            "messages" => "before",
            _ => "after",
        };
        for size in 1..=4 {
            let answer = client.walk(size, path, &[rows], side).await.unwrap();
            let all = answer[rows].as_array().unwrap();
            let names: BTreeSet<_> = all.iter().map(|r| r[name].to_string()).collect();
            assert_eq!(
                (all.len(), names.len()),
                (3, 3),
                "{path} by {size}: {answer}"
            );
        }
    }
    drop(client);
    mdm.store().close().await.unwrap();
}

#[tokio::test]
async fn what_names_nothing_is_asked_of_nobody() {
    let client = Client {
        way: Way::Socket("/nobody/serves/here".into()),
        organisation: Some("abc".to_owned()),
    };
    for path in [
        "/api/v1/devices/../give-up",
        "/api/v1/holds/./release",
        "/api/v1/runbooks/..",
        "/api/v1/runbooks/..?revision=1",
    ] {
        let ended = client.post(path, &json!({})).await.expect_err(path);
        assert_eq!(ended.exit, Exit::BadInput, "{path}");
        let said = format!("{:#}", ended.why);
        assert!(said.contains("is the name of nothing"), "{path}: {said}");
        let mut nowhere = Vec::new();
        let read = client.download("GET", path, Vec::new(), &mut nowhere);
        assert_eq!(read.await.expect_err(path).exit, Exit::BadInput, "{path}");
    }
    // Dots within a name are a name, and a question has no parts.
    for path in ["/api/v1/declarations/a..b", "/api/v1/tags?name=/../x"] {
        let target = client.target(path).ok().unwrap();
        assert!(target.starts_with(path), "{target}");
    }
}

#[test]
fn a_body_with_secrets_is_written_in_one_place_and_read_as_json() {
    for open in [json!({}), json!({ "renews": null, "name": "x" })] {
        for length in [0, 1, 2, 3, 1000] {
            let secret = vec![0xa5; length];
            let body = hidden_body(&open, &[("key", &secret), ("token", b"t")]).unwrap();
            let room = body.capacity();
            let read: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(read["key"], STANDARD.encode(&secret));
            assert_eq!(read["token"], "dA==");
            assert_eq!(read["name"], open["name"]);
            // It never had to move, which would have left a copy behind.
            assert!(body.len() <= room && room <= body.len() + 2, "{room}");
        }
    }
}

#[test]
fn patience_without_an_end_is_no_overflow() {
    assert!(until(u64::MAX) > until(1_000_000_000));
    assert!(until(0) <= Instant::now());
}
