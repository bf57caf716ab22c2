//! One of the two is taken away: at the machine alone, with devices that are refused and not sent away, and nothing of it is the other's.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use serde_json::Value;

use super::house::{Ask, House, check_in, described};
use super::{OURS, ask, both_ways, two};

/// Through the local socket, where the administrator of the installation is.
async fn locally(house: &House, method: &str, path: &str, body: &str) -> (u16, Value) {
    let socket = house.directory().join("mdmd.sock");
    let sent = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    });
    let answer = answer.await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organisation_is_taken_away_at_the_machine_alone_and_its_devices_are_not_sent_away() {
    let (ours, theirs) = two().await;
    let (device, other) = (ours.enrolled().await, theirs.enrolled().await);
    let code = ours.org.organisation().code.to_string();
    let path = format!("/api/v1/organisations/{code}/remove");
    let body = serde_json::json!({ "confirm": code, "reason": "sold" }).to_string();
    // Its own administrator does not, over the network, and nobody of another one hears of it.
    let reply = ask(&ours, "post", &path, &ours.token, &body).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    let reply = ask(&theirs, "post", &path, &theirs.token, &body).await;
    assert_eq!(reply.status, 404, "{}", reply.text());
    // A device of it is enrolled.
    let (status, said) = locally(&ours, "POST", &path, &body).await;
    assert_eq!(status, 409, "{said}");
    let unlike = serde_json::json!({ "confirm": "another", "reason": "sold" }).to_string();
    let (status, said) = locally(&ours, "POST", &path, &unlike).await;
    assert_eq!((status, &said["field"]), (400, &"confirm".into()), "{said}");
    let (status, listed) = locally(&ours, "GET", "/api/v1/organisations/removed", "").await;
    assert_eq!(
        (status, listed["removed"].to_string()),
        (200, "[]".to_owned())
    );

    let out = check_in(OURS[0], "CheckOut", "");
    let [signed, _] = both_ways(&ours, "checkin", &device, out);
    assert_eq!(ours.send(signed).await.0, 200);
    let (status, gone) = locally(&ours, "POST", &path, &body).await;
    assert_eq!(status, 200, "{gone}");
    assert_eq!(gone["by"], "local administrator");
    let again = locally(&ours, "POST", &path, &body).await;
    assert_eq!(again, (200, gone.clone()));
    let (_, listed) = locally(&ours, "GET", "/api/v1/organisations/removed", "").await;
    assert_eq!(listed["removed"][0], gone);
    let (_, listed) = locally(&ours, "GET", "/api/v1/organisations", "").await;
    let listed = listed["organisations"].as_array().unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");

    // Its token is one that nobody knows, its devices are refused and not sent away, and the other is served as before.
    let reply = ask(&ours, "get", "/api/v1/devices", &ours.token, "").await;
    assert_eq!(reply.status, 401, "{}", reply.text());
    for ask in [
        ours.idle(&device),
        ours.signed("checkin", &device, check_in(OURS[0], "Authenticate", "")),
    ] {
        let (status, said) = ours.send(ask).await;
        assert_eq!(status, 400, "{said}");
    }
    let enrol = Ask {
        path: ours.path("enrol"),
        post: true,
        body: ours.stand_ins.machine_info(&described(OURS[1]), 2).unwrap(),
        ..Ask::default()
    };
    let (status, said) = ours.send(enrol).await;
    assert_eq!(status, 400, "{said}");
    let (status, said) = theirs.send(theirs.idle(&other)).await;
    assert_eq!(status, 200, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_events_ends_with_its_organisation_and_no_other() {
    let (ours, theirs) = two().await;
    let follow = |house: &House| {
        let socket = ours.directory().join("mdmd.sock");
        let code = house.org.organisation().code.to_string();
        let sent = format!(
            "GET /api/v1/events?organisation={code} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        let (begins, begun) = tokio::sync::oneshot::channel();
        let (ends, ended) = tokio::sync::oneshot::channel();
        // A thread that nobody waits for: one that does not end fails the test instead of holding it.
        std::thread::spawn(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
            stream.write_all(sent.as_bytes()).unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).unwrap();
            let _ = begins.send(head);
            let mut rest = Vec::new();
            let read = stream.read_to_end(&mut rest);
            let _ = ends.send(read.map(|_| rest));
        });
        (begun, ended)
    };
    let ((begun, ended), (their_begun, mut their_end)) = (follow(&ours), follow(&theirs));
    assert_eq!(&begun.await.unwrap(), b"HTTP/1.1 200");
    assert_eq!(&their_begun.await.unwrap(), b"HTTP/1.1 200");

    let code = ours.org.organisation().code.to_string();
    let path = format!("/api/v1/organisations/{code}/remove");
    let body = serde_json::json!({ "confirm": code, "reason": "sold" }).to_string();
    let (status, gone) = locally(&ours, "POST", &path, &body).await;
    assert_eq!(status, 200, "{gone}");
    // It looks every second, and lives for ten minutes otherwise.
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
    let rest = ended.expect("the stream goes on").unwrap().unwrap();
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("retry: 2000"), "{rest}");
    let goes_on = their_end.try_recv();
    assert!(
        matches!(
            goes_on,
            Err(tokio::sync::oneshot::error::TryRecvError::Empty)
        ),
        "another one's stream has ended: {goes_on:?}"
    );
}
