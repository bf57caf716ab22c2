//! One of the two is taken away: at the machine alone, with devices that are refused and not sent away, and nothing of it is the other's.

use std::io::{Read as _, Write as _};

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
