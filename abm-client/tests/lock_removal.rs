//! The removal of an Activation Lock against a scripted service.

mod support;

use abm_client::lock_removal::{LockRemovalClient, Unlock, UnlockRequest};
use abm_client::{BypassCode, TransportError};
use support::{Answer, Hand, NOW, Script, ok, status};

fn client(answers: impl IntoIterator<Item = Answer>) -> (LockRemovalClient, Script) {
    let script = Script::new(answers);
    (
        LockRemovalClient::new(script.clone(), "test/1.0", Hand::at(NOW)),
        script,
    )
}

fn request() -> UnlockRequest {
    UnlockRequest::new("S1", "iPhone17,1", "Müller & Söhne", "person=7")
}

fn code() -> BypassCode {
    BypassCode::parse("3UM43-PUYVY-QYD1-UVCC-HEHJ-FKA4").expect("a code")
}

#[tokio::test]
async fn the_parameters_are_split_between_query_and_body() {
    let (apple, script) = client([ok(""), ok("")]);
    assert_eq!(
        apple
            .unlock_with(&request(), &code())
            .await
            .expect("an answer"),
        Unlock::Unlocked
    );
    let seen = script.last();
    assert_eq!(
        seen.url,
        "https://deviceservices-external.apple.com/deviceservicesworkers/escrowKeyUnlock?serial=S1&productType=iPhone17%2C1"
    );
    assert_eq!(
        seen.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(
        seen.text(),
        "orgName=M%C3%BCller%20%26%20S%C3%B6hne&guid=person%3D7&escrowKey=3UM43-PUYVY-QYD1-UVCC-HEHJ-FKA4"
    );
    let mut cellular = request();
    cellular.imei = Some("1".into());
    cellular.imei2 = Some("2".into());
    cellular.meid = Some("3".into());
    apple
        .unlock_with(&cellular, &code())
        .await
        .expect("an answer");
    assert!(script.last().url.ends_with("&imei=1&imei2=2&meid=3"));
}

#[tokio::test]
async fn a_refused_code_is_a_value_and_is_never_repeated_to_the_reader() {
    let echo = "no lock for 3um43puyvyqyd1uvcchehjfka4";
    let (apple, _) = client([
        status(400, "wrong\ncode"),
        status(404, echo),
        status(403, ""),
    ]);
    let refused = |status, words: Option<&str>| Unlock::CodeRefused {
        status,
        words: words.map(str::to_owned),
    };
    for expected in [
        refused(400, Some("wrong code")),
        refused(404, None),
        refused(403, None),
    ] {
        assert_eq!(
            apple
                .unlock_with(&request(), &code())
                .await
                .expect("a value"),
            expected
        );
    }
}

#[tokio::test]
async fn trouble_leaves_the_outcome_unknown() {
    let broken = Err(TransportError::Interrupted("reset".into()));
    let (apple, script) = client([broken, status(503, ""), status(429, "")]);
    for unknown in [true, true, false] {
        let error = apple
            .unlock_with(&request(), &code())
            .await
            .expect_err("failed");
        assert_eq!(
            (error.is_unknown_outcome(), error.retry_after().is_some()),
            (unknown, true)
        );
    }
    let sent = script.seen().len();
    let mut nobody = request();
    nobody.person = " ".into();
    assert!(
        apple
            .unlock_with(&nobody, &code())
            .await
            .expect_err("refused")
            .is_invalid_input()
    );
    assert!(
        apple
            .unlock(&request(), &"".into())
            .await
            .expect_err("refused")
            .is_invalid_input()
    );
    assert_eq!(script.seen().len(), sent);
}
